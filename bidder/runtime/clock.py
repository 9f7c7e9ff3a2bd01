"""One clock for all parts.

Money, pacing, leases and reservation times run on `Clock.now_ns()`. Deadlines and latencies are of the wall and
never pass through it: they use `time.monotonic_ns()`, and between processes the message's own timestamp.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Nanoseconds since the Unix epoch, never going backwards."""

    def now_ns(self) -> int:
        """The time now."""
        ...


class SystemClock:
    """The wall clock, kept from going backwards by running on the monotonic clock from one reading."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """The time now."""
        return self._offset_ns + time.monotonic_ns()


class AffineClock:
    """Runs `speedup` times as fast as the wall from `origin_ns`, which it shows at `wall_origin_ns`.

    Several processes share one such clock by sharing these three numbers.

    Args:
        origin_ns: time shown when the wall shows `wall_origin_ns`.
        wall_origin_ns: wall time (`time.time_ns()`) of the start; before it the clock stands still.
        speedup: shown seconds for each second of the wall, > 0.
    """

    def __init__(self, origin_ns: int, wall_origin_ns: int, speedup: float) -> None:
        if speedup <= 0:
            raise ValueError(f"speedup must be > 0, was {speedup}")
        self.origin_ns = origin_ns
        self.wall_origin_ns = wall_origin_ns
        self.speedup = speedup
        self._monotonic_origin_ns = time.monotonic_ns() + wall_origin_ns - time.time_ns()

    def now_ns(self) -> int:
        """The time now."""
        elapsed_ns = max(0, time.monotonic_ns() - self._monotonic_origin_ns)
        return self.origin_ns + int(elapsed_ns * self.speedup)

    def wall_seconds_until(self, at_ns: int) -> float:
        """Wall seconds from now until the clock shows `at_ns`; negative when it has passed."""
        return (at_ns - self.now_ns()) / (self.speedup * 1e9)


class VirtualClock:
    """Shows what it was last told, for simulation and tests."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """The time now."""
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Moves on to `now_ns`; going back is a mistake of the caller."""
        assert now_ns >= self._now_ns, f"the clock cannot go back from {self._now_ns} to {now_ns}"
        self._now_ns = now_ns
