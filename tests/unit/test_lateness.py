"""What is kept back for late spend, how it is measured, and what seats use of budgets."""

import math
from random import Random

import msgspec
import pytest

from bidder.core.account import Account
from bidder.core.bank import Bank
from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bidbook import BidBook
from bidder.core.bookings import AccountRow, BankState
from bidder.core.delays import DelayHistogram
from bidder.core.effects import Draft
from bidder.core.lateness import BLOCK_WINS, Lateness, LateTail, late_billings
from bidder.core.messages import Lease, Notice, NoticeKind, SliceReport, SliceRow
from bidder.errors import InvariantError
from tests.support.banking import S, advertiser, ask, bid_id, campaign, item, notice

RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S)


def fed(shares_ppm: list[int], rules: BankRules = RULES) -> Lateness:
    """A block each hour, of which so many millionths came uncovered."""
    lateness = Lateness(rules)
    for hour, ppm in enumerate(shares_ppm):
        for _ in range(BLOCK_WINS):
            lateness.book("acme", hour * HOUR_NS, 1_000_000, ppm, Draft())
    return lateness


def test_before_enough_is_measured_the_share_is_the_one_assumed() -> None:
    assert Lateness(RULES).share_ppm(0) == RULES.late_start_ppm == 3_000
    assert fed([0] * 98).share_ppm(98 * HOUR_NS) == 3_000


def test_where_nothing_is_late_the_share_falls_to_its_floor() -> None:
    assert fed([0] * 99).share_ppm(99 * HOUR_NS) == RULES.late_floor_ppm == 1_000


def test_the_share_is_an_order_statistic_of_the_blocks() -> None:
    """Wilks: of 119 blocks the 119th of 120 places is taken at .99, the 108th at .9."""
    shares = [*range(5_000, 5_000 + 119)]
    shares[-1], shares[60] = shares[60], shares[-1]
    assert fed(shares).share_ppm(119 * HOUR_NS) == 5_118
    low = BankRules(late_quantile_ppm=900_000)
    assert fed(shares, low).share_ppm(119 * HOUR_NS) == 5_107


def test_what_is_late_now_counts_at_once_and_no_share_passes_the_ceiling() -> None:
    low = BankRules(late_quantile_ppm=500_000)
    assert fed([0] * 60 + [40_000], low).share_ppm(61 * HOUR_NS) == 40_000
    assert fed([0] * 60 + [900_000], low).share_ppm(61 * HOUR_NS) == RULES.late_ceiling_ppm


def tail_of(*late_by: tuple[int, int, int]) -> LateTail:
    """So many billings, so many seconds late, worth so much each."""
    tail = LateTail(msgspec.structs.replace(RULES, late_tail_ns=60 * S))
    for times, seconds, nanos in late_by:
        for _ in range(times):
            tail.book(seconds * S, nanos)
    return tail


def test_the_tail_is_too_short_where_more_late_money_than_the_quantile_leaves_comes_after_it() -> None:
    assert not tail_of((99, 60, 1), (1, 61, 1)).too_short
    assert tail_of((99, 60, 1), (1, 61, 2)).too_short
    assert tail_of((98, 60, 1), (2, 61, 1)).too_short


def test_of_few_late_billings_no_tail_is_said_to_be_long() -> None:
    assert not tail_of((19, 99, 1)).too_short
    assert tail_of((20, 99, 1)).too_short
    assert not tail_of((1_000, 0, 1), (19, 99, 1)).too_short


def test_late_billings_are_counted_and_those_in_time_are_not() -> None:
    tail = tail_of((3, -5, 7), (2, 0, 7), (4, 30, 7), (2, 99, 5))
    assert (tail.billings, tail.late_nanos, tail.beyond, tail.beyond_nanos, tail.longest_ns) == (
        6, 38, 2, 10, 99 * S,
    )  # fmt: skip


def test_late_billings_of_nothing_count_nowhere() -> None:
    tail = tail_of((19, 99, 1), (5, 99, 0), (5, 99, -1))
    assert (tail.billings, tail.too_short) == (19, False)
    told = late_billings(RULES, [(99 * S, 1)] * 19 + [(99 * S, 0), (99 * S, -1), (0, 1)])
    assert (told.billings, told.late_nanos) == (19, 19)


@pytest.mark.parametrize("seed", range(8))
def test_a_bank_and_the_books_say_the_same_of_the_same_late_billings(seed: int) -> None:
    random = Random(seed)
    said = set()
    for _ in range(200):
        rules = msgspec.structs.replace(
            RULES,
            late_tail_ns=random.randint(1, 12),
            late_quantile_ppm=random.choice((500_000, 900_001, 990_000)),
        )
        rows = [(random.randint(-2, 12), random.randint(0, 9)) for _ in range(random.choice((19, 40, 200)))]
        tail = LateTail(rules)
        for by_ns, nanos in rows:
            tail.book(by_ns, nanos)
        told = late_billings(rules, rows)
        assert (told.billings, told.late_nanos, told.longest_ns, told.too_short) == (
            tail.billings, tail.late_nanos, tail.longest_ns, tail.too_short,
        )  # fmt: skip
        said.add(told.too_short)
    assert said == {True, False}


def test_what_left_the_window_counts_no_more() -> None:
    lateness = fed([90_000])
    assert lateness.share_ppm(HOUR_NS) == 90_000
    assert lateness.share_ppm((RULES.late_window_hours + 1) * HOUR_NS) == RULES.late_start_ppm


def test_a_bank_that_starts_again_measures_the_same() -> None:
    draft = Draft()
    lateness = Lateness(RULES)
    for number in range(3 * BLOCK_WINS):
        lateness.book(f"a{number % 3}", number % 2 * HOUR_NS, 1_000, number % 90, draft)
    again = Lateness(RULES, draft.lateness.values())
    assert again.share_ppm(2 * HOUR_NS) == lateness.share_ppm(2 * HOUR_NS) > RULES.late_start_ppm


def account(limit: int) -> Account:
    return Account(AccountRow("c1", limit_units=limit))


def test_the_reserve_is_a_share_of_what_may_still_come_and_ends_with_it() -> None:
    own = account(1_000_000)
    grant = own.open("s1", 1)
    own.keep_back(10_000, 0, HOUR_NS)
    assert (own.reserve, own.held, own.room) == (10_000, 10_000, 990_000)
    own.give(grant, 990_000)
    own.book(990_000, grant, late=False)
    own.keep_back(10_000, 1, HOUR_NS)
    assert (own.reserve, own.room) == (10_000, 0)
    own.keep_back(10_000, HOUR_NS, HOUR_NS)
    own.keep_back(10_000, 2 * HOUR_NS, HOUR_NS)
    assert (own.reserve, own.room) == (100, 9_900)


def test_uncovered_spend_within_the_reserve_stays_within_the_limit() -> None:
    own = account(1_000_000)
    grant = own.open("s1", 1)
    own.keep_back(10_000, 0, HOUR_NS)
    own.give(grant, 990_000)
    own.book(990_000, grant, late=False)
    assert own.book(10_000, None, late=True) == 10_000
    own.check()
    assert (own.booked, own.over, own.held) == (1_000_000, 0, 0)


def test_uncovered_spend_beyond_the_reserve_is_counted_as_over() -> None:
    own = account(1_000_000)
    grant = own.open("s1", 1)
    own.keep_back(10_000, 0, HOUR_NS)
    own.give(grant, 990_000)
    own.book(10_001, None, late=True)
    own.check()
    assert own.over == 1


def test_the_check_sees_a_grant_that_eats_the_reserve() -> None:
    own = account(1_000_000)
    grant = own.open("s1", 1)
    own.keep_back(10_000, 0, HOUR_NS)
    grant.granted = own.outstanding = 990_001
    with pytest.raises(InvariantError, match="must be at most 990000"):
        own.check()


@pytest.mark.parametrize("value", [0, 1, 7, 8, 9, 15, 16, 1_000, 123_456_789, 10**12])
def test_a_bound_of_delays_is_at_most_an_eighth_too_high(value: int) -> None:
    delays = DelayHistogram()
    delays.add(value)
    assert value <= delays.quantile_ns(999_000) <= value * 9 / 8
    assert (delays.within(value - 1), delays.within(2 * value + 1)) == (0, 1)


def test_delays_that_fade_follow_what_is_new() -> None:
    delays = DelayHistogram(1_000)
    for value in [10] * 1_000 + [1_000] * 5_000:
        delays.add(value)
    assert delays.quantile_ns(10_000) >= 1_000


# -- seats ----------------------------------------------------------------------------------------------------


class Seat:
    """An honest seat that wins at the full price what it is asked, as far as its lease goes."""

    def __init__(self, name: str) -> None:
        self.name, self.seq, self.granted, self.posted, self.until_ns = name, 0, 0, 0, 0

    def report(self, now_ns: int) -> SliceReport:
        self.seq += 1
        rows = (SliceRow("c1", self.granted, 0, self.posted),) if self.until_ns else ()
        epoch = 1 if self.until_ns else 0
        return SliceReport(
            seat=self.name, epoch=epoch, seq=self.seq * epoch, start_id=self.name, at_ns=now_ns, rows=rows
        )

    def take(self, lease: Lease) -> None:
        if lease.seat == self.name:
            self.granted, self.until_ns = lease.granted_nanos, lease.bid_until_ns

    def wins(self, now_ns: int, bids: int, price: int) -> list[Notice]:
        """Billing notices of so many bids."""
        if now_ns >= self.until_ns:
            return []
        bids = min(bids, (self.granted - self.posted) // price)
        won = []
        for _ in range(bids):
            self.posted += price
            won.append(
                notice(
                    NoticeKind.BILLING,
                    f"{self.name}-{self.posted}",
                    seat=self.name,
                    cap_nanos=price,
                    price_nanos=price,
                    at_ns=now_ns,
                    liable_until_ns=now_ns + S,
                )
            )
        return won


def played(budget: int, bids_a_second: list[float], seconds: int, price: int = 10) -> tuple[Bank, list[Seat]]:
    """Seats of different speed on one budget, the largest bid of which costs ten."""
    rules = BankRules(
        lease_ns=30 * S,
        longest_reservation_ns=60 * S,
        margin_ns=5 * S,
        min_chunk_bids=20,
        late_tail_ns=60 * S,
    )
    bank = Bank(rules, {"c1": campaign(budget_nanos=budget, max_bid_cpm_micros=10)}, BankState())
    seats = [Seat(f"s{number}") for number in range(len(bids_a_second))]
    for second in range(seconds):
        now_ns = second * S
        bank.apply([seat.report(now_ns) for seat in seats], now_ns)
        for lease in bank.tick(now_ns).leases:
            for seat in seats:
                seat.take(lease)
        for seat, speed in zip(seats, bids_a_second, strict=True):
            bids = math.floor((second + 1) * speed) - math.floor(second * speed)
            bank.apply(seat.wins(now_ns, bids, price), now_ns)
        bank.check()
    return bank, seats


@pytest.mark.parametrize("fast", range(8))
def test_ten_bids_over_eight_seats_are_spent_whichever_of_them_is_asked(fast: int) -> None:
    bank, _ = played(100, [0.2 if seat == fast else 0.0 for seat in range(8)], 1_500)
    assert bank.report()[0].spend_nanos == 100


def test_a_small_budget_over_many_seats_that_are_all_asked_is_spent() -> None:
    bank, _ = played(400, [0.05] * 8, 1_500, price=7)
    assert 0.99 * 400 <= bank.report()[0].spend_nanos <= 400


def test_a_fast_and_a_slow_seat_get_shares_by_their_speed() -> None:
    """The slow seat holds some leases' worth and not half of what is left."""
    bank, (fast, slow) = played(200_000, [20.0, 1.0], 600)
    assert fast.posted == pytest.approx(20 * slow.posted, rel=0.05)
    bank, (fast, slow) = played(200_000, [20.0, 1.0], 1_500)
    assert bank.report()[0].spend_nanos >= 0.99 * 200_000


def test_the_bank_tells_what_is_locked() -> None:
    bank, (seat,) = played(1_000, [0.0], 2)
    row = SliceRow("c1", seat.granted, 30, 0)
    bank.apply([SliceReport(seat="s0", epoch=1, seq=9, start_id="s0", at_ns=2 * S, rows=(row,))], 2 * S)
    (own,) = bank.accounts()
    assert (own.locked, own.reserve) == (30, 3)


def spent_late(*notices: Notice) -> tuple[int, int]:
    """Money spent, and the part that counts as late spend, of notices while a lease covers all."""
    bank = Bank(RULES, {"c1": campaign()}, BankState())
    bank.apply([ask()], 0)
    bank.tick(0)
    (row,) = bank.apply(notices, 10 * S).rows.lateness
    (own,) = bank.accounts()
    assert own.uncovered == 0
    return row.spent_nanos, row.uncovered_nanos


BILLED = notice(NoticeKind.BILLING, result_until_ns=20 * S)


@pytest.mark.parametrize(
    ("notices", "late"),
    [
        ([BILLED], 0),
        ([notice(NoticeKind.WIN, result_until_ns=20 * S), BILLED], 0),
        ([notice(NoticeKind.WIN), notice(NoticeKind.LOSS), BILLED], 0),
        ([notice(NoticeKind.LOSS), BILLED], 2_000_000),
        ([notice(NoticeKind.LOSS), notice(NoticeKind.WIN), BILLED], 2_000_000),
        ([notice(NoticeKind.BILLING, result_until_ns=9 * S)], 2_000_000),
        ([notice(NoticeKind.WIN, result_until_ns=9 * S), BILLED], 2_000_000),
        ([notice(NoticeKind.LOSS, bid="other"), BILLED], 0),
        ([notice(NoticeKind.BILLING, at_ns=101 * S)], 2_000_000),
    ],
    ids=[
        "billed", "won and billed", "a loss after the win", "a loss", "a loss before the win", "billed unawaited",
        "won unawaited", "another lost", "late",
    ],
)  # fmt: skip
def test_spend_whose_reservation_had_ended_counts_as_late_though_a_grant_covers_it(
    notices: list[Notice], late: int
) -> None:
    assert spent_late(*notices) == (2_000_000, late)


def test_a_bid_that_was_let_go_is_forgotten_when_it_is_not_liable_any_more() -> None:
    bids = BidBook(RULES)
    bids.let_go(notice(NoticeKind.LOSS))
    bids.evict(100 * S)
    assert bids.was_let_go(bid_id("b-1"))
    bids.evict(106 * S)
    assert not bids.was_let_go(bid_id("b-1"))


@pytest.mark.parametrize("level", ["line item", "advertiser"])
@pytest.mark.parametrize("limit", ["lifetime_nanos", "daily_nanos"])
def test_what_is_uncovered_on_a_budget_of_any_level_counts(level: str, limit: str) -> None:
    """The campaign's own money covers it; the narrow budget, of a flight or a day, does not."""
    narrow = {limit: 3_000_000}
    one = item("i1", **narrow if level == "line item" else {})
    whose = advertiser(**narrow if level == "advertiser" else {})
    bank = Bank(RULES, {"c1": campaign(line_items=(one,))}, BankState(), {"acme": whose})
    bank.apply([ask()], 0)
    bank.tick(0)
    wins = [
        notice(NoticeKind.BILLING, bid=f"b-{n}", line_item_id="i1", price_nanos=1_000_000, bid_at_ns=9 * S)
        for n in range(4)
    ]
    rows = [row for win in wins for row in bank.apply([win], 10 * S).rows.lateness]
    (own,) = [each for each in bank.accounts() if each.uncovered]
    assert own.uncovered >= 1_000_000
    assert own.id.startswith("l/i1/money" if level == "line item" else "a/acme/money")
    assert [row.uncovered_nanos for row in rows][-1] >= 1_000_000
