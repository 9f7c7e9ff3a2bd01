"""The bank's brakes: who may not be leased to, and whose money goes too fast over all seats.

It counts what is booked, at the time of each bid, and what seats set aside: by how much `reserved + posted` of a
campaign's flight grew between two reports of a seat. What it finds, and what seats found themselves, is written down
by whoever runs the bank and comes back as a `Brake`, so that all hear of it and the audit has it.
"""

from collections.abc import Callable, Iterable

from bidder.core.brakes import Limits, Stops, Velocity, names_of, reason_of
from bidder.core.lines import Line
from bidder.core.messages import ALL, Brake, SliceReport, Trip
from bidder.core.settings import BrakeSettings


class Guard:
    """Brakes as the bank holds them.

    Args:
        settings: of the breaker. lines: gives all line items as they now are.
    """

    def __init__(self, settings: BrakeSettings, lines: Callable[[], Iterable[Line]]) -> None:
        self._settings = settings
        self._lines = lines
        self._limits: Limits | None = None
        self._velocity = Velocity(settings)
        self._stops = Stops()
        self._reported: list[Trip] = []
        self._used: dict[str, tuple[int, dict[str, int]]] = {}
        self._let_go: set[str] = set()
        self._let_go_ns: dict[str, int] = {}

    def take(self, brakes: Iterable[Brake]) -> None:
        """Takes what was stopped or let go."""
        for brake in brakes:
            if self._stops.take(brake) and not brake.stopped:
                self._velocity.forget(brake.name)
                self._let_go.add(brake.name)

    def restate(self) -> None:
        """Line items changed, and with them their limits."""
        self._limits = None

    def stopped(self, now_ns: int) -> Callable[[Line], bool] | None:
        """Whether a line item may not be leased to; None where all may."""
        stopped = self._stops.active(now_ns)
        return (lambda line: reason_of(names_of(line), stopped) > 0) if stopped else None

    def spend(self, own: tuple[str, str, str], nanos: int, bid_at_ns: int) -> None:
        """Counts what was booked of (campaign, line item, advertiser)."""
        campaign_id, line_item_id, advertiser_id = own
        names = [f"c/{campaign_id}", f"a/{advertiser_id}", ALL]
        if line_item_id != campaign_id:
            names.append(f"l/{line_item_id}")
        self._velocity.spend(names, nanos, bid_at_ns)

    def report(self, report: SliceReport, advertiser_of: Callable[[str], str]) -> None:
        """Counts what a seat set aside since its last report, and takes the trips of its breaker."""
        self._reported += report.trips
        epoch, used = self._used.get(report.seat, (0, {}))
        if epoch != report.epoch:
            used = {}
            self._used[report.seat] = (report.epoch, used)
        for row in report.rows:
            campaign_id = row.account_id
            if "/" in campaign_id:
                continue
            now_used = row.reserved_nanos + row.posted_nanos
            # What is first heard of may have been set aside at any time.
            more = now_used - used.get(campaign_id, now_used)
            used[campaign_id] = now_used
            if more > 0:
                names = (f"c/{campaign_id}", f"a/{advertiser_of(campaign_id)}", ALL)
                self._velocity.reserve(names, more, report.at_ns)

    def tripped(self, now_ns: int) -> list[Trip]:
        """What must be stopped and is not, each once."""
        # A trip that was under way when its name was let go is of the past.
        self._let_go_ns |= dict.fromkeys(self._let_go, now_ns)
        self._let_go.clear()
        if self._limits is None:
            self._limits = Limits(self._lines(), self._settings)
        reported = [
            trip
            for trip in self._reported
            if trip.until_ns > now_ns and trip.at_ns > self._let_go_ns.get(trip.name, -1)
        ]
        self._reported = []
        found: list[Trip] = []
        for trip in (*reported, *self._velocity.over(self._limits, now_ns)):
            if not self._stops.holds(trip.name, now_ns):
                self._stops.trip(trip)
                found.append(trip)
        return found
