"""When a budget is to be spent: flights, the hours in which line items may bid, and the traffic that falls into them.

A *group* is what one multiplier is for: the line items that share one budget and the way in which it is spent. Its
*plan* goes from 0 to 1 over its flights, with the traffic of the hours of the week that targeting leaves open, on the
advertiser's clock; it stands still between flights and in hours in which nobody of the group may bid.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.budgets import Unit, day_of
from bidder.core.campaigns import Pacing
from bidder.core.opportunity import HOURS_PER_WEEK, NS_PER_HOUR
from bidder.core.traffic_shape import TrafficShape
from bidder.zones import is_zone, zone_offsets

Spans = tuple[tuple[int, int], ...]
"""[start, end) in ns, in order of time."""

EVERY_HOUR = frozenset(range(HOURS_PER_WEEK))
_BLOCK_NS = 8 * HOURS_PER_WEEK * NS_PER_HOUR
"""Offsets of zones are asked for, and remembered, in blocks of this length."""
_LEAST = 1e-12


class Group(NamedTuple):
    """Line items that share a multiplier.

    Attributes:
        account_id: their budget; of a daily one without its day. unit: what it counts. daily: whether it is of a day.
        pacing, ahead, drop: how it is spent; ahead is how much faster than evenly at the begin, 0 to 1; drop is
            whether what was missed is not made up.
        flights: when. hours: of the week, on the clock of `zone`, in which somebody may bid.
        tied: whether its line items have the same budgets, all of them: no other keeps one of them from its own.
    """

    account_id: str
    flights: Spans
    pacing: Pacing = Pacing.EVEN
    ahead: float = 0.0
    drop: bool = False
    unit: Unit = Unit.MONEY
    daily: bool = False
    hours: frozenset[int] = EVERY_HOUR
    zone: str = "UTC"
    tied: bool = True

    @property
    def asap(self) -> bool:
        """Whether it is not paced."""
        return self.pacing is Pacing.ASAP

    def account_on(self, now_ns: int) -> str:
        """Its account at a time."""
        return f"{self.account_id}/d{day_of(self.zone, now_ns).number}" if self.daily else self.account_id

    def spans_on(self, now_ns: int) -> Spans:
        """What its account is for: its flights, or what of them lies in the day; the day where nothing does."""
        if not self.daily:
            return self.flights
        day = day_of(self.zone, now_ns)
        parts = ((max(start, day.begin_ns), min(end, day.end_ns)) for start, end in self.flights)
        return tuple(part for part in parts if part[0] < part[1]) or ((day.begin_ns, day.end_ns),)


def merged(spans: Sequence[tuple[int, int]]) -> Spans:
    """The union of spans, in order of time."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


class _Calendar:
    """Hours of a zone as a shape, at the offset of the clock that holds."""

    def __init__(
        self, zone: str, hours: frozenset[int], flights: list[int], shape: TrafficShape, now_ns: int
    ) -> None:
        self.flights = flights
        self._zone, self._hours, self._whole = zone if is_zone(zone) else "UTC", hours, shape
        self._offset_s: int | None = None
        self.shape = shape
        self.turn(now_ns)

    def turn(self, now_ns: int) -> bool:
        """Whether the clock was put back or on, by which hours are others."""
        if self._hours == EVERY_HOUR:
            return False
        block = max(now_ns, 0) // _BLOCK_NS
        instants, offsets_s = zone_offsets(self._zone, block * _BLOCK_NS, (block + 1) * _BLOCK_NS)
        offset_s = int(offsets_s[max(int(instants.searchsorted(now_ns, "right")) - 1, 0)])
        if offset_s == self._offset_s:
            return False
        self._offset_s, self.shape = offset_s, self._whole.open_in(self._hours, offset_s)
        return True


class Plans:
    """The plans of some groups, on the day of `now_ns` where budgets are of a day.

    Attributes:
        begin: float64[groups], where each begins, in weeks of traffic.
        total: float64[groups], weeks of traffic of all its flights.
    """

    def __init__(self, groups: Sequence[Group], shape: TrafficShape, now_ns: int) -> None:
        calendars: dict[tuple[str, frozenset[int]], list[int]] = {}
        spans: list[tuple[int, int]] = []
        starts: list[int] = []
        for group in groups:
            starts.append(len(spans))
            own = group.spans_on(now_ns)
            key = ("", EVERY_HOUR) if group.hours == EVERY_HOUR else (group.zone, group.hours)
            calendars.setdefault(key, []).extend(range(len(spans), len(spans) + len(own)))
            spans += own
        self._starts = np.array(starts, dtype=np.int64)
        self._spans = np.array(spans, dtype=np.int64).reshape(-1, 2)
        self._of: NDArray[np.int64] = np.zeros(len(spans), dtype=np.int64)
        self._begins: NDArray[np.float64] = np.zeros(len(spans))
        self._lengths: NDArray[np.float64] = np.zeros(len(spans))
        self._calendars: list[_Calendar] = []
        for (zone, hours), places in calendars.items():
            found = _Calendar(zone, hours, places, shape, now_ns)
            self._of[places] = len(self._calendars)
            self._calendars.append(found)
            self._measure(found)
        self._sum()

    def _measure(self, calendar: _Calendar) -> None:
        own = calendar.flights
        begins = calendar.shape.weeks(self._spans[own, 0])
        self._begins[own] = begins
        self._lengths[own] = calendar.shape.weeks(self._spans[own, 1]) - begins

    def _sum(self) -> None:
        if len(self._starts):
            self.begin = self._begins[self._starts]
            self.total = np.maximum(np.add.reduceat(self._lengths, self._starts), _LEAST)
        else:
            self.begin = self.total = np.zeros(0)

    def over(self, now_ns: int) -> NDArray[np.float64]:
        """Share of each plan that is over, float64[groups] in [0, 1]."""
        if not len(self._starts):
            return self.total
        turned = [calendar for calendar in self._calendars if calendar.turn(now_ns)]
        for calendar in turned:
            self._measure(calendar)
        if turned:
            self._sum()
        now = np.array([float(calendar.shape.weeks(now_ns)) for calendar in self._calendars])
        gone = np.clip(now[self._of] - self._begins, 0.0, self._lengths)
        return np.minimum(np.add.reduceat(gone, self._starts) / self.total, 1.0)
