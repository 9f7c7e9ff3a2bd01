"""Late billings on long flights and daily budgets of every level: how often are budgets kept, what does it cost?

As `simulator.faults.late` it drives the bank itself on virtual time by the same law of late billings, but six budgets
at a time, each of which binds: the money of a campaign, of a line item and of an advertiser, for a flight of days and
for one day. All of them share the hours, and with them the bad ones. Each is spent evenly and used up a little
before its end; what is freed of ended reservations is bid again, so that nothing stands for a late billing but the
reserve. Before the first that is judged the bank knows a history of hours that the same law made; from then on it
measures by itself.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from bidder.core.bank import Bank
from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bookings import BankState, LateRow
from bidder.core.budgets import accounts_of
from bidder.core.campaigns import Advertiser, Budgets, Campaign, Flight, LineItem
from bidder.core.lateness import BLOCK_WINS
from bidder.core.messages import Notice
from simulator.faults.dice import Dice
from simulator.faults.honest import HonestSeat
from simulator.faults.late import (
    LEAST_PRICE_NANOS,
    MAX_BID_NANOS,
    ROUND_NS,
    ROUNDS,
    RULES,
    LateLaw,
    billing,
    campaign_of,
    drawn_share,
)
from simulator.faults.plan import S

LONG_RULES = msgspec.structs.replace(RULES, late_tail_ns=2 * HOUR_NS)
"""The tail of late billings must be stated as long as they take: of a long flight only that is left at its end."""
LEVELS = ("campaign", "line item", "advertiser")
TIMES = ("flight", "day")
_DAY_HOURS = 24
_FIRST_HOUR = 400_008
"""Of the first that is judged; a day begins in UTC."""
_WINS_AN_HOUR = 240
"""Of each of the six: together their hours are blocks (`core.lateness`)."""
_MEAN_NANOS = (LEAST_PRICE_NANOS + MAX_BID_NANOS) // 2
_SPENT_BY_PPM = 960_000
"""Part of a budget's time in which it is used up, if nothing is kept back."""
_ASKS = 6
_AHEAD = 10**15
"""What does not bind."""
_MILLION = 1_000_000


class Kept(NamedTuple):
    """One budget: its level and time, limit, what was booked and what of that came uncovered, and its wins."""

    level: str
    time: str
    limit: int
    booked: int
    uncovered: int
    wins: int

    @property
    def held(self) -> bool:
        """Whether it was kept."""
        return self.booked <= self.limit

    @property
    def unspent(self) -> int:
        """What was left of it."""
        return max(0, self.limit - self.booked)


class Kind(NamedTuple):
    """What came of all budgets of a level and time.

    `unspent_ppm` is what was left of them in millionths; `most_over_ppm` the most by which one was passed.
    """

    level: str
    time: str
    budgets: int
    held: int
    unspent_ppm: int
    late_ppm: int
    most_over_ppm: int


def summed_up(budgets: Iterable[Kept]) -> list[Kind]:
    """By level and time."""
    found: dict[tuple[str, str], list[Kept]] = {}
    for each in budgets:
        found.setdefault((each.level, each.time), []).append(each)
    return [_kind(level, time, each) for (level, time), each in sorted(found.items())]


def _kind(level: str, time: str, budgets: list[Kept]) -> Kind:
    limits, booked = sum(each.limit for each in budgets), sum(each.booked for each in budgets)
    return Kind(
        level,
        time,
        len(budgets),
        sum(each.held for each in budgets),
        _MILLION * sum(each.unspent for each in budgets) // limits,
        _MILLION * sum(each.uncovered for each in budgets) // booked,
        max(0, *(_MILLION * (each.booked - each.limit) // each.limit for each in budgets)),
    )


def play_flights(
    seed: int,
    *,
    flights: int,
    flight_days: int = 3,
    known_hours: int = 168,
    law: LateLaw | None = None,
    rules: BankRules = LONG_RULES,
) -> tuple[Kept, ...]:
    """Plays flights one after the other, three at a time, and the days in them beside these.

    Args:
        seed: of all that is drawn. flights: how many of each level, of `flight_days` days.
        known_hours: what the bank has measured when it begins. law: how billings come late. rules: of the bank.

    Returns:
        Every budget, those of flights and those of days.
    """
    return _Play(seed, flights, flight_days * _DAY_HOURS, known_hours, law or LateLaw(), rules).run()


class _Line(NamedTuple):
    """Who bids in some hours: what it charges, and which budget binds it."""

    level: str
    time: str
    campaign: Campaign
    item: LineItem | None
    advertiser: Advertiser
    hours: range
    limit: int

    def accounts(self, at_ns: int) -> tuple[str, ...]:
        """What a bid of that time charges."""
        return tuple(
            each.account_id for each in accounts_of(self.campaign, self.item, self.advertiser, at_ns)
        )

    def binding(self, at_ns: int) -> str:
        """The budget that binds then."""
        campaign, item = self.campaign.id, self.item.id if self.item is not None else ""
        if self.time == "flight" and self.level == "campaign":
            return campaign
        name = {
            "campaign": f"c/{campaign}",
            "line item": f"l/{item}",
            "advertiser": f"a/{self.advertiser.id}",
        }
        day = f"/d{at_ns // (_DAY_HOURS * HOUR_NS)}" if self.time == "day" else ""
        return f"{name[self.level]}/money{day}"

    @property
    def quota(self) -> int:
        """What it bids in a round."""
        hours = _DAY_HOURS if self.time == "day" else len(self.hours)
        return self.limit * _MILLION // (hours * ROUNDS * _SPENT_BY_PPM)


class _Play:
    def __init__(
        self, seed: int, flights: int, flight_hours: int, known_hours: int, law: LateLaw, rules: BankRules
    ) -> None:
        self._dice, self._law, self._rules = Dice(seed, "flights"), law, rules
        self._hours = flights * flight_hours
        lines = [line for number in range(flights) for line in _flights(number, flight_hours)]
        self._lines = [*lines, *_days(self._hours)]
        advertisers = {line.advertiser.id: line.advertiser for line in self._lines}
        history = _history(Dice(seed, "history"), law, known_hours)
        self._bank = Bank(
            rules,
            {line.campaign.id: line.campaign for line in self._lines},
            BankState(lateness=history),
            advertisers,
        )
        self._seat = HonestSeat(self._bank, _FIRST_HOUR * HOUR_NS)
        self._late: dict[int, list[tuple[Notice, tuple[str, ...]]]] = {}
        self._judged: dict[str, _Line] = {}
        self._found: dict[str, tuple[int, int]] = {}
        self._wins: dict[str, int] = {}
        self._bids = 0

    def run(self) -> tuple[Kept, ...]:
        """All hours, and as long after the last as its billings take."""
        first_ns = _FIRST_HOUR * HOUR_NS
        in_time: list[tuple[Notice, tuple[str, ...]]] = []
        share = 0.0
        for number in range((self._hours + 3) * ROUNDS):
            now_ns = first_ns + number * ROUND_NS
            self._hear([*in_time, *self._late.pop(number, ())], now_ns)
            self._seat.report(now_ns)
            if number % ROUNDS == 0:
                share = drawn_share(self._law, self._dice)
                self._look()
            hour = number // ROUNDS
            in_time = self._bid([line for line in self._lines if hour in line.hours], now_ns, share)
        self._look()
        return tuple(self._kept())

    def _hear(self, notices: list[tuple[Notice, tuple[str, ...]]], now_ns: int) -> None:
        """The bank books what has come, the seat posts it; reservations of the round before are over."""
        self._bank.apply([notice for notice, _ in notices], now_ns)
        for notice, accounts in notices:
            for name in accounts:
                self._seat.slice(name).posted += notice.price_nanos
                self._wins[name] = self._wins.get(name, 0) + 1
        self._seat.end_round()

    def _look(self) -> None:
        for report in self._bank.accounts():
            self._found[report.id] = (report.booked, report.uncovered)

    def _bid(
        self, lines: list[_Line], now_ns: int, late_share: float
    ) -> list[tuple[Notice, tuple[str, ...]]]:
        """Bids of each line item what it may, asks for more; gives what is billed in time."""
        in_time: list[tuple[Notice, tuple[str, ...]]] = []
        left = {number: line.quota for number, line in enumerate(lines)}
        for asked in range(_ASKS):
            at_ns = now_ns + asked * S
            for number, line in enumerate(lines):
                left[number] -= self._bid_line(line, left[number], at_ns, late_share, in_time)
            if all(each < MAX_BID_NANOS for each in left.values()):
                break
            self._seat.report(at_ns)
        return in_time

    def _bid_line(
        self,
        line: _Line,
        most: int,
        at_ns: int,
        late_share: float,
        in_time: list[tuple[Notice, tuple[str, ...]]],
    ) -> int:
        """Bids of one line item until nothing is left; gives how much that was."""
        accounts = line.accounts(at_ns)
        self._judged.setdefault(line.binding(at_ns), line)
        slices = [self._seat.slice(name) for name in accounts]
        if any(at_ns >= each.until_ns for each in slices):
            return 0
        room = min(most, *(each.free for each in slices))
        spent = 0
        while room - spent >= MAX_BID_NANOS:
            notice, late = self._win(line, at_ns, late_share)
            spent += notice.price_nanos
            if late:
                due = -(-(notice.at_ns - _FIRST_HOUR * HOUR_NS) // ROUND_NS)
                self._late.setdefault(due, []).append((notice, accounts))
            else:
                in_time.append((notice, accounts))
        for each in slices:
            each.reserved += spent
        return spent

    def _win(self, line: _Line, bid_ns: int, late_share: float) -> tuple[Notice, bool]:
        dice = self._dice
        self._bids += 1
        price = dice.between(LEAST_PRICE_NANOS, MAX_BID_NANOS)
        late = dice.chance(late_share)
        after_ns = dice.between(*self._law.delay_ns) if late else ROUND_NS // 2
        notice = billing(self._bids, line.campaign.id, bid_ns, bid_ns + after_ns, price, self._rules)
        item = line.item.id if line.item is not None else ""
        return msgspec.structs.replace(notice, line_item_id=item, advertiser_id=line.advertiser.id), late

    def _kept(self) -> Iterator[Kept]:
        for name, line in self._judged.items():
            booked, uncovered = self._found[name]
            yield Kept(line.level, line.time, line.limit, booked, uncovered, self._wins.get(name, 0))


def _history(dice: Dice, law: LateLaw, hours: int) -> list[LateRow]:
    """What a bank has measured of hours of the same law, a block each."""
    rows = []
    for hour in range(_FIRST_HOUR - hours, _FIRST_HOUR):
        share = drawn_share(law, dice)
        spent = late = 0
        for _ in range(BLOCK_WINS):
            price = dice.between(LEAST_PRICE_NANOS, MAX_BID_NANOS)
            spent += price
            late += price * dice.chance(share)
        rows.append(LateRow("before", hour, spent, late, BLOCK_WINS))
    return rows


def _flights(number: int, hours: int) -> Iterator[_Line]:
    """Three budgets of one flight, each of an advertiser of its own."""
    of = range(number * hours, (number + 1) * hours)
    limit = hours * _WINS_AN_HOUR * _MEAN_NANOS
    for level in LEVELS:
        name = f"{level[0]}{number}"
        budgets = Budgets(lifetime_nanos=limit)
        item = LineItem(id=f"{name}-i", budgets=budgets) if level == "line item" else None
        whose = Advertiser(id=f"a-{name}", budgets=budgets if level == "advertiser" else Budgets())
        money = limit if level == "campaign" else _AHEAD
        yield _Line(
            level, "flight", _campaign(name, whose, of, money, item, Budgets()), item, whose, of, limit
        )


def _days(hours: int) -> Iterator[_Line]:
    """Three budgets of one day, over all the time."""
    limit = _DAY_HOURS * _WINS_AN_HOUR * _MEAN_NANOS
    for level in LEVELS:
        name = f"d{level[0]}"
        budgets = Budgets(daily_nanos=limit)
        item = LineItem(id=f"{name}-i", budgets=budgets) if level == "line item" else None
        whose = Advertiser(id=f"a-{name}", budgets=budgets if level == "advertiser" else Budgets())
        own = budgets if level == "campaign" else Budgets()
        campaign = _campaign(name, whose, range(hours), _AHEAD, item, own)
        yield _Line(level, "day", campaign, item, whose, range(hours), limit)


def _campaign(
    name: str, whose: Advertiser, hours: range, money: int, item: LineItem | None, budgets: Budgets
) -> Campaign:
    begin_ns, end_ns = ((_FIRST_HOUR + hour) * HOUR_NS for hour in (hours.start, hours.stop))
    if item is not None:
        item = msgspec.structs.replace(item, flights=(Flight(start_ns=begin_ns, end_ns=end_ns),))
    return msgspec.structs.replace(
        campaign_of(name, begin_ns, end_ns, money),
        advertiser=whose.id,
        budgets=budgets,
        line_items=(item,) if item is not None else (),
    )
