"""Brakes: what stops bids at once, whatever budgets and leases still allow.

A *stop* is set by a person and holds until it is let go, or by the breaker and holds for `reset_seconds`. It is of
a line item (`l/ID`), a campaign (`c/ID`), an advertiser (`a/ID`) or all (`all`), and travels as one small message
(`messages.Brake`). A seat obeys with the next batch that it decides: no table is made for it. The bank renews no
lease for a stopped line item, and grants none.

The *breaker* looks at how fast money goes, as a function of events and times alone:

    flow(name, now) = sum over the last 60 s of what was spent + reserved_ppm / 10^6 x what was set aside

by the second of the bid. It trips where the flow of a name is above its limit for a minute: the one that the
document states (`max_nanos_per_minute`), else `factor` times the even rate of its budget, and never below
`floor_bids` of its largest bids. The even rate is that of the day's budget where one is stated, else of the
flight's, over the hours that its targeting leaves open. Who buys as fast as possible (`pacing = "asap"`) has no even
rate, and only a limit that is stated.

What was added at one time is looked at once time moves on: so where a batch is split changes nothing.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.campaigns import Pacing
from bidder.core.lines import Line
from bidder.core.messages import ALL, Brake, Trip
from bidder.core.settings import NS_PER_SECOND, BrakeSettings
from bidder.openrtb.reasons import Reason

WINDOW_S = 60
MILLION = 1_000_000
_NEVER_NS = 2**62
_HOURS_A_DAY, _HOURS_A_WEEK = 24, 168
_EVERY_HOUR = frozenset(range(_HOURS_A_WEEK))
_MINUTE_NS = 60 * NS_PER_SECOND

Names = tuple[str, ...]


def names_of(line: Line) -> Names:
    """What may stop a line item: itself, its campaign, its advertiser, all."""
    above = (f"c/{line.campaign.id}", f"a/{line.campaign.advertiser}", ALL)
    return above if line.item is None else (f"l/{line.id}", *above)


# -- limits -------------------------------------------------------------------------------------------------


class Limits:
    """Nanos a minute that each name may spend.

    Args:
        lines: all line items. settings: how limits are made where none is stated.
    """

    def __init__(self, lines: Iterable[Line], settings: BrakeSettings) -> None:
        self._settings = settings
        self._lines: dict[str, list[Line]] = {}
        for line in lines:
            for name in names_of(line)[:-1]:
                self._lines.setdefault(name, []).append(line)
        self._known: dict[str, int] = {ALL: settings.max_nanos_per_minute}

    def of(self, name: str) -> int:
        """Nanos a minute; 0 where there is no limit."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._make(name, self._lines.get(name, ()))
        return found

    def knows(self, name: str) -> bool:
        """Whether a line item has this name, or stands below it; `all` is nobody's."""
        return name in self._lines

    def _make(self, name: str, lines: Sequence[Line]) -> int:
        if not lines:
            return 0
        stated = _stated(name, lines[0])
        if stated or not self._settings.factor:
            return stated
        if any(line.pacing is Pacing.ASAP for line in lines):
            return 0
        even = _even_rate(name, lines)
        floor = self._settings.floor_bids * max(line.most_nanos for line in lines)
        return max(self._settings.factor * even, floor) if even else 0


def _stated(name: str, line: Line) -> int:
    if name[0] == "a":
        return line.advertiser.max_nanos_per_minute
    if name[0] == "c":
        return line.campaign.max_nanos_per_minute
    return line.item.max_nanos_per_minute if line.item is not None else 0


def _even_rate(name: str, lines: Sequence[Line]) -> int:
    """Nanos a minute, rounded up; 0 where no budget has a time."""
    line = lines[0]
    if name[0] == "a":
        daily, whole = line.advertiser.budgets.daily_nanos, 0
    elif name[0] == "c":
        daily, whole = line.campaign.budgets.daily_nanos, line.campaign.budget_nanos
    else:
        assert line.item is not None, "a name of a line item is of one that is stated"
        daily, whole = line.item.budgets.daily_nanos, line.item.budgets.lifetime_nanos
    hours = _open_hours(lines)
    if daily:
        days = [sum(hour // _HOURS_A_DAY == day for hour in hours) for day in range(7)]
        return -(-daily // (60 * min((open_h for open_h in days if open_h), default=_HOURS_A_DAY)))
    flights = (
        [(flight.start_ns, flight.end_ns) for flight in line.flights]
        if name[0] == "l"
        else [(line.campaign.start_ns, line.campaign.end_ns)]
    )
    open_ns = sum(end - start for start, end in flights) * (len(hours) or _HOURS_A_WEEK)
    return -(-whole * _MINUTE_NS * _HOURS_A_WEEK // open_ns) if open_ns else 0


def _open_hours(lines: Sequence[Line]) -> frozenset[int]:
    """Hours of the week in which the targeting of some line item lets it bid."""
    found: frozenset[int] = frozenset()
    for line in lines:
        rule = line.rules.get("hour")
        if rule is None:
            return _EVERY_HOUR
        included = frozenset(map(int, rule.include)) if rule.include else _EVERY_HOUR
        found |= included - frozenset(map(int, rule.exclude))
    return found


# -- how fast money goes ------------------------------------------------------------------------------------


class _Flow:
    """Weight by second of the last minute."""

    __slots__ = ("_pruned", "_seconds", "total")

    def __init__(self) -> None:
        self._seconds: dict[int, int] = {}
        self._pruned = 0
        self.total = 0

    def add(self, second: int, weight: int) -> None:
        self._seconds[second] = self._seconds.get(second, 0) + weight
        self.total += weight

    def prune(self, second: int) -> None:
        """Forgets what is a window or more before `second`."""
        if second != self._pruned:
            self._pruned = second
            for old in [each for each in self._seconds if each <= second - WINDOW_S]:
                self.total -= self._seconds.pop(old)


class Velocity:
    """How fast the money of each name goes, and whose goes too fast.

    Args:
        settings: weight of what is set aside, and how long a trip holds.
    """

    def __init__(self, settings: BrakeSettings) -> None:
        self._reserved_ppm = settings.reserved_ppm
        self._reset_ns = int(settings.reset_seconds * NS_PER_SECOND)
        self._flows: dict[str, _Flow] = {}
        self._touched: dict[str, None] = {}
        self._swept = 0

    def __len__(self) -> int:
        """Names that it remembers."""
        return len(self._flows)

    def reserve(self, names: Iterable[str], nanos: int, at_ns: int) -> None:
        """Counts money that was set aside for a bid."""
        self._add(names, nanos * self._reserved_ppm, at_ns)

    def spend(self, names: Iterable[str], nanos: int, at_ns: int) -> None:
        """Counts money that was spent, at the time of its bid: what was told late is no rush."""
        self._add(names, nanos * MILLION, at_ns)

    def _add(self, names: Iterable[str], weight: int, at_ns: int) -> None:
        second = at_ns // NS_PER_SECOND
        for name in names:
            flow = self._flows.get(name)
            if flow is None:
                flow = self._flows[name] = _Flow()
            flow.add(second, weight)
            self._touched[name] = None

    def over(self, limits: Limits, now_ns: int) -> list[Trip]:
        """Names that go too fast, of those of which anything was counted since this was last asked."""
        touched, self._touched = self._touched, {}
        second = now_ns // NS_PER_SECOND
        found: list[Trip] = []
        for name in touched:
            flow, limit = self._flows[name], limits.of(name)
            flow.prune(second)
            if limit and flow.total > limit * MILLION:
                nanos = -(-flow.total // MILLION)
                found.append(Trip(name, now_ns, now_ns + self._reset_ns, nanos, limit))
            elif not flow.total:
                del self._flows[name]
        if second >= self._swept + WINDOW_S:
            self._sweep(second)
        return found

    def is_touched(self, name: str) -> bool:
        """Whether anything of a name was counted since `over` was last asked."""
        return name in self._touched

    def flow(self, name: str, now_ns: int) -> int:
        """Millionths of nanos of the last minute."""
        flow = self._flows.get(name)
        if flow is None:
            return 0
        flow.prune(now_ns // NS_PER_SECOND)
        return flow.total

    def _sweep(self, second: int) -> None:
        """Forgets names of which nothing was counted for a window: they may never come again."""
        self._swept = second
        for name, flow in list(self._flows.items()):
            flow.prune(second)
            if not flow.total and name not in self._touched:
                del self._flows[name]

    def forget(self, name: str) -> None:
        """Begins anew with a name that was let go."""
        self._flows.pop(name, None)
        self._touched.pop(name, None)


# -- what is stopped ----------------------------------------------------------------------------------------


class Stopped(NamedTuple):
    """That a name may not bid, with which reason, until when."""

    reason: Reason
    until_ns: int


class Stops:
    """Names that may not bid: as was told, and as a breaker found by itself."""

    def __init__(self) -> None:
        self._told: dict[str, Brake] = {}
        self._found: dict[str, Trip] = {}

    def take(self, brake: Brake) -> bool:
        """Takes what was told of a name; whether it was news. Letting go ends what a breaker found, too."""
        known = self._told.get(brake.name)
        if known is not None and brake.version <= known.version:
            return False
        self._told[brake.name] = brake
        if not brake.stopped:
            self._found.pop(brake.name, None)
        return True

    def trip(self, trip: Trip) -> None:
        """Takes what a breaker found."""
        self._found[trip.name] = trip

    def holds(self, name: str, now_ns: int) -> bool:
        """Whether a name may not bid now."""
        return self._of(name, now_ns) is not None

    def active(self, now_ns: int) -> dict[str, Stopped]:
        """All that holds now."""
        every = {name: self._of(name, now_ns) for name in (*self._told, *self._found)}
        return {name: one for name, one in every.items() if one is not None}

    def untold(self, now_ns: int) -> tuple[Trip, ...]:
        """What was found here and is not known to be told to all."""
        for name in [name for name, trip in self._found.items() if trip.until_ns <= now_ns]:
            del self._found[name]
        return tuple(
            trip for name, trip in sorted(self._found.items()) if _told(self._told.get(name), now_ns) is None
        )

    def _of(self, name: str, now_ns: int) -> Stopped | None:
        told = _told(self._told.get(name), now_ns)
        if told is not None:
            return told
        trip = self._found.get(name)
        return Stopped(Reason.TRIPPED, trip.until_ns) if trip is not None and now_ns < trip.until_ns else None


def _told(brake: Brake | None, now_ns: int) -> Stopped | None:
    if brake is None or not brake.stopped or (brake.until_ns and now_ns >= brake.until_ns):
        return None
    return Stopped(Reason.TRIPPED if brake.tripped else Reason.STOPPED, brake.until_ns or _NEVER_NS)


def reason_of(names: Iterable[str], stopped: dict[str, Stopped]) -> int:
    """The reason with which some name refuses, a person's before a breaker's; 0 where none does."""
    return min((int(stopped[name].reason) for name in names if name in stopped), default=0)


# -- a seat's -----------------------------------------------------------------------------------------------


class Watched(NamedTuple):
    """What brakes need of a table: made with it, beside the loop.

    names: by line item. limited: those of them that have a limit. limits: of all.
    """

    names: list[Names]
    limited: list[Names]
    limits: Limits

    @classmethod
    def of(cls, lines: Sequence[Line], settings: BrakeSettings) -> "Watched":
        """Of the line items of a table."""
        limits = Limits(lines, settings)
        names = [names_of(line) for line in lines]
        limited = [tuple([name for name in own if limits.of(name)]) for own in names]
        return cls(names, limited, limits)


class Brakes:
    """Brakes of one seat.

    Args:
        settings: of the breaker.

    Attributes:
        reasons: int32[lines], the reason with which each line item is stopped, 0 where it is not.
        trips: times that the breaker of this seat tripped.
    """

    def __init__(self, settings: BrakeSettings) -> None:
        self._velocity = Velocity(settings)
        self._stops = Stops()
        self._watched = Watched([], [], Limits((), settings))
        self._at_ns = -_NEVER_NS
        self._edge_ns = _NEVER_NS
        self.reasons: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self.trips = 0

    def install(self, watched: Watched, now_ns: int) -> None:
        """Goes on with another table."""
        self._watched = watched
        self._look(now_ns)

    def take(self, brakes: Iterable[Brake], now_ns: int) -> None:
        """Obeys what was told, at once."""
        for brake in brakes:
            if self._stops.take(brake) and not brake.stopped:
                self._velocity.forget(brake.name)
        self._look(now_ns)

    def turn(self, now_ns: int) -> None:
        """Lets time pass: what was counted before now may trip, what was stopped for a time may end."""
        if now_ns > self._at_ns:
            found = self._velocity.over(self._watched.limits, now_ns)
            new = [trip for trip in found if not self._stops.holds(trip.name, now_ns)]
            for trip in new:
                self._stops.trip(trip)
            self.trips += len(new)
            if new or now_ns >= self._edge_ns:
                self._look(now_ns)
        elif now_ns < self._at_ns:
            self._look(now_ns)
        self._at_ns = now_ns

    def reserve(self, row: int, nanos: int, now_ns: int) -> None:
        """Counts what a bid of a line item set aside."""
        names = self._watched.limited[row]
        if names:
            self._velocity.reserve(names, nanos, now_ns)

    def spend(self, row: int, nanos: int, bid_at_ns: int) -> None:
        """Counts what a bid of a line item spent."""
        names = self._watched.limited[row]
        if names:
            self._velocity.spend(names, nanos, bid_at_ns)

    def untold(self, now_ns: int) -> tuple[Trip, ...]:
        """Trips of this seat that the bank does not seem to know of."""
        return self._stops.untold(now_ns)

    def stopped(self, now_ns: int) -> dict[str, Stopped]:
        """Names that may not bid."""
        return self._stops.active(now_ns)

    def reasons_at(self, now_ns: int) -> NDArray[np.int32]:
        """`reasons` at a time; changes nothing."""
        names, stopped = self._watched.names, self._stops.active(now_ns)
        if not stopped:
            return np.zeros(len(names), dtype=np.int32)
        if ALL in stopped and stopped[ALL].reason is Reason.STOPPED:
            return np.full(len(names), Reason.STOPPED, dtype=np.int32)
        free = stopped.keys().isdisjoint
        return np.array([0 if free(own) else reason_of(own, stopped) for own in names], dtype=np.int32)

    def _look(self, now_ns: int) -> None:
        self.reasons = self.reasons_at(now_ns)
        self._edge_ns = min((one.until_ns for one in self._stops.active(now_ns).values()), default=_NEVER_NS)
