"""The funnel hour by hour: what was counted since the last full hour, as records that brokers take."""

from collections.abc import Callable, Mapping

from bidder.core.funnel import Counts
from bidder.core.messages import FunnelHour, FunnelRow

HOUR_NS = 3_600 * 1_000_000_000
ROWS_A_PART = 1_000
"""Rows in one record, at some 300 bytes each."""


class FunnelHours:
    """Cuts counts at full hours of the shared clock.

    Args:
        seat, start_id: whose counts. untold: gives what was counted since it was asked before, by line item.
    """

    def __init__(self, seat: str, start_id: str, untold: Callable[[], Mapping[str, Counts]]) -> None:
        self._seat = seat
        self._start_id = start_id
        self._untold = untold
        self._hour_ns = self._end_ns = 0
        self._parts = 0
        self._due: list[FunnelHour] = []

    def turn(self, now_ns: int) -> None:
        """Call it before anything is counted at `now_ns`, so that each count is of its own hour."""
        if now_ns < self._end_ns:
            return
        if self._end_ns:
            self.end()
        self._hour_ns = now_ns // HOUR_NS * HOUR_NS
        self._end_ns = self._hour_ns + HOUR_NS

    def end(self) -> None:
        """Takes what was counted in this hour so far as a part of it."""
        counts = self._untold()
        rows = [
            FunnelRow(line_id, one.asked, one.refused, {name: n for name, n in one.stages.items() if n})
            for line_id, one in sorted(counts.items())
        ]
        for first in range(0, len(rows), ROWS_A_PART):
            self._due.append(
                FunnelHour(
                    seat=self._seat,
                    start_id=self._start_id,
                    part=self._parts,
                    hour_ns=self._hour_ns,
                    rows=tuple(rows[first : first + ROWS_A_PART]),
                )
            )
            self._parts += 1

    def due(self) -> list[FunnelHour]:
        """Parts that were not handed over yet."""
        due, self._due = self._due, []
        return due
