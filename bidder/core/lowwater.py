"""Up to when trackers have brought all that they took: the low-water mark of the notices' topic.

A bank that has read its topic to the end has not heard of what a tracker still keeps: one that is cut off from the
broker spools notices that came in time. So trackers say now and then up to when all that they took is written
(`core.messages.TrackerMark`), and what is freed waits for the least of them: a reservation is freed when its bank has
read all that was there when it had heard the marks. Each notice that a silent tracker may keep is waited for
`wait_ns`; what is brought after that counts as late (`core.lateness`). One that is silent for a day is forgotten.

A tracker that a bank has never heard of is not waited for: its first mark must have been written before it is cut
off. Marks stand in a compacted topic of one partition, which a bank reads from its beginning, so it knows at its own
start who there is; until it has read a mark that is younger than itself, or for one lease, nothing is freed.
"""

from bidder.core.messages import TrackerMark

_KNOWN_NS = 86_400_000_000_000
"""Silent for so long a tracker is gone, though it never said so."""


class LowWater:
    """The marks of all trackers.

    Args:
        wait_ns: how long a notice that one may keep is waited for.
        lease_ns: how long after its start a bank waits for a young mark.
        begun_ns: when the bank began.
    """

    def __init__(self, wait_ns: int, lease_ns: int, begun_ns: int) -> None:
        self._wait_ns = wait_ns
        self._begun_ns = begun_ns
        self._sure_ns = begun_ns + lease_ns
        self._until: dict[str, int] = {}

    def take(self, mark: TrackerMark) -> None:
        """Takes what a tracker says; a mark that comes behind a later one changes nothing."""
        if mark.left:
            self._until.pop(mark.tracker, None)
        else:
            self._until[mark.tracker] = max(mark.until_ns, self._until.get(mark.tracker, 0))
        if mark.until_ns >= self._begun_ns:
            self._sure_ns = min(self._sure_ns, mark.until_ns)

    def until_ns(self, now_ns: int) -> int:
        """Up to when known trackers have written all that they took, but for what each keeps longer than the wait."""
        if now_ns < self._sure_ns:
            return 0
        known_ns = now_ns - _KNOWN_NS
        self._until = {name: until_ns for name, until_ns in self._until.items() if until_ns > known_ns}
        # Not forgotten after the wait: what it took later than that is waited for as long.
        floor_ns = now_ns - self._wait_ns
        return min(now_ns, *(max(each, floor_ns) for each in self._until.values())) if self._until else now_ns
