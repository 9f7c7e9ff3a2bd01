"""Virtual time: a heap of what happens when. Its clock is the one that judges."""

import heapq
from collections.abc import Callable
from hashlib import blake2b


class Life:
    """One run of a process; what is planned for it does not happen once it has ended."""

    __slots__ = ("alive",)

    def __init__(self) -> None:
        self.alive = True


class Scheduler:
    """What happens when, in order; of one time in the order in which it was planned.

    Args:
        start_ns: time at the beginning.

    Attributes:
        now_ns: the time. events: how many happened.
    """

    def __init__(self, start_ns: int) -> None:
        self.now_ns = start_ns
        self.events = 0
        self._planned = 0
        self._heap: list[tuple[int, int, Callable[[], None], Life | None]] = []
        self._digest = blake2b(digest_size=16)

    def at(self, at_ns: int, act: Callable[[], None], life: Life | None = None) -> None:
        """Plans `act`; what is late already happens next."""
        self._planned += 1
        heapq.heappush(self._heap, (max(at_ns, self.now_ns), self._planned, act, life))

    def after(self, wait_ns: int, act: Callable[[], None], life: Life | None = None) -> None:
        """Plans `act` so much later."""
        self.at(self.now_ns + wait_ns, act, life)

    def step(self) -> bool:
        """Lets the next thing happen; False where there is none."""
        while self._heap:
            at_ns, _, act, life = heapq.heappop(self._heap)
            if life is None or life.alive:
                self.now_ns = at_ns
                self.events += 1
                act()
                return True
        return False

    def trace(self, *what: bytes) -> None:
        """Notes what happened: two runs with one digest did the same."""
        self._digest.update(b"%d " % self.now_ns)
        for part in what:
            self._digest.update(part)

    @property
    def digest(self) -> str:
        """Of all that was noted."""
        return self._digest.hexdigest()
