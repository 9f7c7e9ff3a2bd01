"""A bank's brakes: who may not be leased to, and whose money goes too fast over all seats.

A bank counts what is booked, at the time of each bid, and what seats set aside: by how much `reserved + posted` of a
campaign's flight grew between two reports of a seat. What it finds, and what seats found themselves, is written down
by whoever runs the bank and comes back as a `Brake`, so that all hear of it and the audit has it.

A process has one `Guard` over all the shards it holds, and a `Watch` for each. An advertiser is in one shard, so what
its names spend is known there whole. The overall limit (`max_nanos_per_minute`) is over all processes, and none knows
what the others spend. So each lets the shards that it holds spend, together, their part of it,

    limit * held // of,

and the parts sum to at most the limit: wherever all spend more than that, some process does more than its part, and
stops all. One process that holds every shard has the whole limit and is exact. Where several share the shards and
spend is uneven over them it trips early, never late.

What seats found is written by the process that holds the shard of the name, `all` by that of shard 0: once.
"""

from collections.abc import Callable, Collection, Iterable

import msgspec

from bidder.core.brakes import MILLION, Limits, Stops, Velocity, names_of, reason_of
from bidder.core.lines import NS_PER_SECOND, Line
from bidder.core.messages import ALL, Brake, SliceReport, Trip
from bidder.core.settings import BrakeSettings
from bidder.core.shards import Shard

_FORGET_NS = 3_600 * NS_PER_SECOND
"""A seat that was silent for so long is forgotten: what it says next is where it begins to be counted."""

_FIRST = 0
"""The shard whose holder writes down what is of nobody's: a stop of all."""


class _Used:
    """What a seat last said it used of each campaign's flight, in one epoch."""

    __slots__ = ("at_ns", "epoch", "of")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.at_ns = 0
        self.of: dict[str, int] = {}


class Watch:
    """What the advertisers of one shard spend and set aside.

    Args:
        settings: of the breaker. lines: gives all line items of the shard as they now are.

    Attributes:
        velocity: how fast each name goes. lines: as given.
    """

    def __init__(self, settings: BrakeSettings, lines: Callable[[], Iterable[Line]]) -> None:
        self.velocity = Velocity(settings)
        self.lines = lines
        self._used: dict[str, _Used] = {}

    def spend(self, own: tuple[str, str, str], nanos: int, bid_at_ns: int) -> None:
        """Counts what was booked of (campaign, line item, advertiser)."""
        campaign_id, line_item_id, advertiser_id = own
        names = [f"c/{campaign_id}", f"a/{advertiser_id}", ALL]
        if line_item_id != campaign_id:
            names.append(f"l/{line_item_id}")
        self.velocity.spend(names, nanos, bid_at_ns)

    def report(self, report: SliceReport, advertiser_of: Callable[[str], str | None]) -> None:
        """Counts what a seat set aside since its last report, of campaigns of this shard.

        `advertiser_of` gives None for those of others: their own shard counts them.
        """
        used = self._used.get(report.seat)
        if used is None or used.epoch != report.epoch:
            used = self._used[report.seat] = _Used(report.epoch)
        if report.at_ns < used.at_ns:
            return  # read again
        used.at_ns = report.at_ns
        before = used.of
        if report.whole:
            used.of = {}
        for row in report.rows:
            campaign_id = row.account_id
            if "/" in campaign_id:
                continue
            advertiser_id = advertiser_of(campaign_id)
            if advertiser_id is None:
                continue
            now_used = row.reserved_nanos + row.posted_nanos
            # What is first heard of may have been set aside at any time.
            more = now_used - before.get(campaign_id, now_used)
            used.of[campaign_id] = now_used
            if more > 0:
                self.velocity.reserve((f"c/{campaign_id}", f"a/{advertiser_id}", ALL), more, report.at_ns)

    def forget_silent(self, now_ns: int) -> None:
        """Forgets seats that said nothing for long."""
        for seat in [seat for seat, used in self._used.items() if used.at_ns < now_ns - _FORGET_NS]:
            del self._used[seat]

    def __len__(self) -> int:
        """Seats and their campaigns that it remembers."""
        return sum(1 + len(used.of) for used in self._used.values())


class Guard:
    """Brakes as a bank process holds them, over all its shards.

    Args:
        settings: of the breaker.
    """

    def __init__(self, settings: BrakeSettings) -> None:
        self._settings = settings
        # What all spend is summed over the shards, see `_overall`.
        self._own = msgspec.structs.replace(settings, max_nanos_per_minute=0)
        self._limits: Limits | None = None
        self._watches: dict[Shard, Watch] = {}
        self._stops = Stops()
        self._reported: list[Trip] = []
        self._let_go: set[str] = set()
        self._let_go_ns: dict[str, int] = {}

    def watch(self, shard: Shard, lines: Callable[[], Iterable[Line]]) -> Watch:
        """Begins with a shard, anew where it was held before: its line items as `lines` gives them."""
        watch = self._watches[shard] = Watch(self._settings, lines)
        self.restate()
        return watch

    def keep(self, shards: Collection[int]) -> None:
        """Ends with all shards but these; what they spent counts here no more."""
        self._watches = {shard: watch for shard, watch in self._watches.items() if shard.number in shards}
        self.restate()

    def take(self, brakes: Iterable[Brake]) -> None:
        """Takes what was stopped or let go."""
        for brake in brakes:
            if self._stops.take(brake) and not brake.stopped:
                for watch in self._watches.values():
                    watch.velocity.forget(brake.name)
                self._let_go.add(brake.name)

    def restate(self) -> None:
        """Line items changed, and with them their limits."""
        self._limits = None

    def stopped(self, now_ns: int) -> Callable[[Line], bool] | None:
        """Whether a line item may not be leased to; None where all may."""
        stopped = self._stops.active(now_ns)
        return (lambda line: reason_of(names_of(line), stopped) > 0) if stopped else None

    def reported(self, trips: Iterable[Trip]) -> None:
        """Takes trips of a seat's breaker; each shard that is held hears of the same ones."""
        self._reported += trips

    def tripped(self, now_ns: int) -> list[Trip]:
        """What must be stopped and is not, each once."""
        # A trip that was under way when its name was let go is of the past.
        self._let_go_ns |= dict.fromkeys(self._let_go, now_ns)
        self._let_go.clear()
        if self._limits is None:
            self._limits = Limits(
                (line for watch in self._watches.values() for line in watch.lines()), self._own
            )
        found: list[Trip] = []
        for trip in (*self._taken(self._limits, now_ns), *self._over(self._limits, now_ns)):
            if not self._stops.holds(trip.name, now_ns):
                self._stops.trip(trip)
                found.append(trip)
        return found

    def _taken(self, limits: Limits, now_ns: int) -> list[Trip]:
        """Trips of seats that are ours to write down and not over."""
        reported, self._reported = self._reported, []
        first = any(shard.number == _FIRST for shard in self._watches)
        return [
            trip
            for trip in reported
            if (first if trip.name == ALL else limits.knows(trip.name))
            and trip.until_ns > now_ns
            and trip.at_ns > self._let_go_ns.get(trip.name, -1)
        ]

    def _over(self, limits: Limits, now_ns: int) -> list[Trip]:
        """Names that go too fast by what the shards count."""
        spent = any(watch.velocity.is_touched(ALL) for watch in self._watches.values())
        found: list[Trip] = []
        for watch in self._watches.values():
            watch.forget_silent(now_ns)
            found += watch.velocity.over(limits, now_ns)
        return found + self._overall(now_ns) if spent else found

    def _overall(self, now_ns: int) -> list[Trip]:
        """The trip of all, where the shards that are held spend more than their part."""
        most = self._settings.max_nanos_per_minute
        weight = sum(watch.velocity.flow(ALL, now_ns) for watch in self._watches.values())
        # All are of one number of shards: what was shared out anew is claimed anew.
        limit = most * len(self._watches) // max(shard.of for shard in self._watches)
        if not most or weight <= limit * MILLION:
            return []
        until_ns = now_ns + int(self._settings.reset_seconds * NS_PER_SECOND)
        return [Trip(ALL, now_ns, until_ns, -(-weight // MILLION), limit)]
