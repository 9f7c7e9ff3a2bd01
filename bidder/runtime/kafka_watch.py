"""Noticing that nothing moves: aiokafka does not tell when a broker is gone or a partition has lost its leader."""

from collections.abc import Hashable


class ProgressWatch:
    """Knows for how long each watched thing shows the same mark.

    Args:
        limit_s: seconds without progress after which a thing is stalled.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.interval_s = min(1.0, limit_s / 4)
        self._seen: dict[Hashable, tuple[Hashable, float]] = {}

    def see(self, thing: Hashable, mark: Hashable, now_s: float, *, well: bool = False) -> None:
        """Notes what `thing` shows: another mark than the last time is progress, and so is being `well`."""
        last = self._seen.get(thing)
        if well or last is None or last[0] != mark:
            self._seen[thing] = (mark, now_s)

    def stalled(self, now_s: float) -> Hashable | None:
        """A thing that showed no progress for longer than the limit, or None."""
        for thing, (_, since_s) in self._seen.items():
            if now_s - since_s > self.limit_s:
                return thing
        return None

    def forget(self) -> None:
        """Begins anew with everything, such as after other partitions were assigned."""
        self._seen.clear()
