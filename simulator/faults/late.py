"""A stated law of late billings, long enough to be learnt: does the measured reserve hold at its quantile?

Driven is the bank itself (`core.bank`) on virtual hours; the seat is the simplest honest one: it bids all that it
was granted, frees a reservation when its time is over, and bids that money again. Each hour is one campaign with a
budget of its own that binds. The law: most hours have no late billing; in a share of them, drawn by the hour, each
billing is late with a probability of that hour, which is exponential. A late billing comes when its reservation, and
the flight, are long over, so that nothing stands for it but the reserve.

What is judged, of each hour after enough of them were seen: was the spend of its account within its budget? The
measured share must hold in `late_quantile_ppm` of them (`core.lateness`).
"""

from typing import NamedTuple

from bidder.core.bank import Bank
from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.campaigns import Campaign, Creative, Pacing
from bidder.core.lateness import BLOCK_WINS
from bidder.core.messages import Notice, NoticeKind
from simulator.faults.dice import Dice
from simulator.faults.honest import HonestSeat
from simulator.faults.plan import S

_MINUTE_NS = HOUR_NS // 60
ROUNDS = 6
ROUND_NS = HOUR_NS // ROUNDS
_ASKS = 12
"""How often a seat asks for more in a round, a second apart."""
_FIRST_HOUR = 400_000
MAX_BID_NANOS = 1_000_000
LEAST_PRICE_NANOS = 500_000
_WINS_AN_HOUR = BLOCK_WINS * 13 // 10
"""Of these the reserve takes some; a block has at least `BLOCK_WINS`: each hour is one."""

RULES = BankRules(
    lease_ns=15 * _MINUTE_NS,
    longest_reservation_ns=9 * _MINUTE_NS,
    margin_ns=_MINUTE_NS // 2,
    min_chunk_bids=2,
    accept_ns=3 * HOUR_NS,
    conversion_ns=3 * HOUR_NS,
)


class LateLaw(NamedTuple):
    """How billings come late.

    bad_hours: share of hours in which any do. mean_share: of billings that do, over all hours. delay_ns: least and
    most time from a bid to its late billing.
    """

    bad_hours: float = 0.1
    mean_share: float = 0.002
    delay_ns: tuple[int, int] = (70 * _MINUTE_NS, 100 * _MINUTE_NS)


class Hour(NamedTuple):
    """One account: its limit, what was booked and what of that came uncovered, the most that was kept back for it."""

    limit: int
    booked: int
    uncovered: int
    reserve: int
    wins: int

    @property
    def held(self) -> bool:
        """Whether the budget was kept."""
        return self.booked <= self.limit


class LateOutcome(NamedTuple):
    """Hours that were judged, in order."""

    seed: int
    hours: tuple[Hour, ...]

    @property
    def held(self) -> int:
        """Hours whose budget was kept."""
        return sum(hour.held for hour in self.hours)

    @property
    def reserve_ppm(self) -> int:
        """Millionths of the budgets that were kept back at most, on average."""
        return 1_000_000 * sum(hour.reserve for hour in self.hours) // sum(hour.limit for hour in self.hours)

    @property
    def late_ppm(self) -> int:
        """Millionths of the spend that came uncovered."""
        return (
            1_000_000 * sum(hour.uncovered for hour in self.hours) // sum(hour.booked for hour in self.hours)
        )


def play_late(
    seed: int, *, learnt_hours: int, judged_hours: int, law: LateLaw | None = None, rules: BankRules = RULES
) -> LateOutcome:
    """Plays hours and judges the last ones.

    Args:
        seed: of all that is drawn. learnt_hours: before the first that is judged. judged_hours: how many are.
        law: how billings come late. rules: of the bank.
    """
    play = _Play(seed, learnt_hours + judged_hours, law or LateLaw(), rules)
    return LateOutcome(seed, tuple(play.run()[learnt_hours:]))


class _Play:
    def __init__(self, seed: int, hours: int, law: LateLaw, rules: BankRules) -> None:
        self._dice, self._law, self._hours, self._rules = Dice(seed, "late"), law, hours, rules
        campaigns = {each.id: each for each in map(_campaign, range(hours))}
        self._bank = Bank(rules, campaigns)
        self._seat = HonestSeat(self._bank, _FIRST_HOUR * HOUR_NS)
        self._late: dict[int, list[Notice]] = {}
        self._reserves = dict.fromkeys(campaigns, 0)
        self._bids = 0
        self._wins = dict.fromkeys(campaigns, 0)
        self._found: dict[str, tuple[int, int]] = {}

    def run(self) -> list[Hour]:
        """All hours, in order, and as long after the last as its billings take."""
        first_ns = _FIRST_HOUR * HOUR_NS
        in_time: list[Notice] = []
        for number in range((self._hours + 3) * ROUNDS):
            now_ns = first_ns + number * ROUND_NS
            self._hear([*in_time, *self._late.pop(number, ())], now_ns)
            self._report(now_ns)
            if number % ROUNDS == 0:
                share = drawn_share(self._law, self._dice)
            in_time = self._bid(number, now_ns, share) if number < self._hours * ROUNDS else []
        self._look()
        return [
            Hour(_limit(), *self._found[name], self._reserves[name], wins)
            for name, wins in self._wins.items()
        ]

    def _hear(self, notices: list[Notice], now_ns: int) -> None:
        """The bank books what has come; the seat posts it. Reservations of the round before are over."""
        if notices:
            self._bank.apply(notices, now_ns)
        for notice in notices:
            self._seat.slice(notice.campaign_id).posted += notice.price_nanos
            self._wins[notice.campaign_id] += 1
        self._seat.end_round()

    def _report(self, now_ns: int) -> None:
        self._seat.report(now_ns)
        self._look()

    def _look(self) -> None:
        for report in self._bank.accounts():
            self._reserves[report.id] = max(self._reserves[report.id], report.reserve)
            self._found[report.id] = (report.booked, report.uncovered)

    def _bid(self, number: int, now_ns: int, late_share: float) -> list[Notice]:
        """Bids what is granted of the hour's account, asks for more; gives what is billed in time."""
        name = f"h{number // ROUNDS}"
        mine, in_time = self._seat.slice(name), []
        # In equal parts, so that the last round bids what was freed of those before.
        left = _limit() // (ROUNDS - 1)
        for asked in range(_ASKS):
            at_ns = now_ns + asked * S
            while min(left, mine.free) >= MAX_BID_NANOS and at_ns < mine.until_ns:
                notice, late = self._win(name, at_ns, late_share)
                mine.reserved += notice.price_nanos
                left -= notice.price_nanos
                if late:
                    due = -(-(notice.at_ns - _FIRST_HOUR * HOUR_NS) // ROUND_NS)
                    self._late.setdefault(due, []).append(notice)
                else:
                    in_time.append(notice)
            if left < MAX_BID_NANOS:
                break
            self._report(at_ns)
        return in_time

    def _win(self, name: str, bid_ns: int, late_share: float) -> tuple[Notice, bool]:
        dice = self._dice
        self._bids += 1
        price = dice.between(LEAST_PRICE_NANOS, MAX_BID_NANOS)
        late = dice.chance(late_share)
        after_ns = dice.between(*self._law.delay_ns) if late else ROUND_NS // 2
        return billing(self._bids, name, bid_ns, bid_ns + after_ns, price, self._rules), late


def drawn_share(law: LateLaw, dice: Dice) -> float:
    """Which share of an hour's billings comes late."""
    if not dice.chance(law.bad_hours):
        return 0.0
    return min(1.0, dice.about(1e6 * law.mean_share / law.bad_hours) / 1e6)


def _limit() -> int:
    return _WINS_AN_HOUR * (LEAST_PRICE_NANOS + MAX_BID_NANOS) // 2


def billing(number: int, name: str, bid_ns: int, at_ns: int, price: int, rules: BankRules) -> Notice:
    """The billing of a campaign's bid that came at `at_ns`."""
    return Notice(
        kind=NoticeKind.BILLING,
        bid_id=f"{number:016d}",
        campaign_id=name,
        seat="s",
        epoch=1,
        cap_nanos=price,
        price_nanos=price,
        value_nanos=0,
        event_id="",
        at_ns=at_ns,
        liable_until_ns=bid_ns + rules.longest_reservation_ns,
        bid_at_ns=bid_ns,
        advertiser_id="acme",
    )


def _campaign(number: int) -> Campaign:
    begin_ns = (_FIRST_HOUR + number) * HOUR_NS
    return campaign_of(f"h{number}", begin_ns, begin_ns + HOUR_NS, _limit())


def campaign_of(name: str, begin_ns: int, end_ns: int, budget_nanos: int) -> Campaign:
    """One campaign, in flight from one time to another."""
    return Campaign(
        id=name,
        name=name,
        advertiser="acme",
        adomain=("acme.example",),
        budget_nanos=budget_nanos,
        start_ns=begin_ns,
        end_ns=end_ns,
        value_nanos=1_000_000_000,
        max_bid_cpm_micros=MAX_BID_NANOS,
        pacing=Pacing.ASAP,
        creatives=(
            Creative(
                id="k",
                w=300,
                h=250,
                image_url="https://cdn.example/banner.png",
                landing_url="https://shop.example/",
            ),
        ),
    )
