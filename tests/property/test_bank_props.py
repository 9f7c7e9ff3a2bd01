"""What the bank promises, held against workers, crashes, repeats and delays that hypothesis makes up.

The workers here are honest: they reserve a bid's full price within their grant before they bid, never after the
end of their lease, and a bid's money event comes in time unless the machine delays it on purpose. What counts as
late is the machine's knowledge, by the bid's own end, never the bank's.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bidder.core.account import Grant
from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules
from bidder.core.bidbook import BidBook
from bidder.core.bookings import BankState
from bidder.core.effects import Effects
from bidder.core.leasing import Leasing, Seat
from bidder.core.messages import CampaignChange, Lease, Notice, NoticeKind, SliceReport, SliceRow
from bidder.errors import InvariantError
from bidder.store.books import Batch, Books
from bidder.store.database import Database
from tests.support.banking import S, bid_id, campaign, notice

RULES = BankRules(
    lease_ns=30 * S,
    longest_reservation_ns=60 * S,
    margin_ns=5 * S,
    min_chunk_bids=3,
    spent_refresh_ns=S,
    late_tail_ns=30 * S,
)
MAX_BID = 10
BUDGET = 400
SEATS = ("s1", "s2")


@dataclass
class Bid:
    """One bid in the world: what it may cost, and until when its notice is in time."""

    id: str
    seat: str
    epoch: int
    cap: int
    until_ns: int
    notices: list[Notice] = field(default_factory=list)


@dataclass
class Worker:
    """An honest seat: what it was granted, holds in reserve and has posted."""

    seat: str
    start_id: str
    epoch: int = 0
    seq: int = 0
    granted: int = 0
    posted: int = 0
    bid_until_ns: int = 0
    reserved: dict[str, Bid] = field(default_factory=dict)

    def take(self, lease: Lease, now_ns: int) -> None:
        if lease.seat != self.seat or lease.start_id != self.start_id:
            return
        assert self.epoch in {0, lease.epoch}
        assert lease.bid_until_ns >= self.bid_until_ns, "leases come in order"
        if lease.granted_nanos < self.granted:
            if lease.bid_until_ns == self.bid_until_ns:
                assert lease.bid_until_ns < now_ns, "a grant only grows within a lease that may be bid on"
                return  # less is taken with a later end only, as `Wallet.lease` has it
            assert lease.granted_nanos >= self.granted - self.free, "only free money is taken back"
        self.epoch, self.granted, self.bid_until_ns = lease.epoch, lease.granted_nanos, lease.bid_until_ns

    @property
    def free(self) -> int:
        return self.granted - self.posted - sum(bid.cap for bid in self.reserved.values())

    def report(self, now_ns: int) -> SliceReport:
        row = SliceRow("c1", self.granted, sum(bid.cap for bid in self.reserved.values()), self.posted)
        self.seq += 1
        return SliceReport(
            seat=self.seat,
            epoch=self.epoch,
            seq=self.seq if self.epoch else 0,
            start_id=self.start_id,
            at_ns=now_ns,
            rows=(row,) if self.epoch else (),
        )


class World(RuleBasedStateMachine):
    """One campaign, two seats, one bank on a real database that may crash after any step."""

    @initialize(budget=st.integers(1, BUDGET))
    def begin(self, budget: int) -> None:
        self.now_ns = S
        self.database = Database(":memory:", durable=False)
        self.books = Books(self.database)
        self.books.claim()
        self.campaign = campaign(budget_nanos=budget, max_bid_cpm_micros=MAX_BID)
        self.highest_budget = budget
        self.bank = self._bank()
        self.starts = 0
        self.workers = [self._worker(seat) for seat in SEATS]
        self.bids = 0
        self.in_flight: list[Bid] = []
        self.delivered: list[Notice] = []
        self.paid: dict[str, int] = {}
        self.late_paid = 0
        self._report()

    def _bank(self) -> Bank:
        return Bank(RULES, {"c1": self.campaign}, self.books.load(self.now_ns))

    def _worker(self, seat: str) -> Worker:
        self.starts += 1
        return Worker(seat, f"start-{self.starts}")

    def _keep(self, effects: Effects) -> None:
        self.books.write(Batch(steps=[effects.rows]))
        for lease in effects.leases:
            for worker in self.workers:
                worker.take(lease, self.now_ns)

    def _book(self, notices: Sequence[Notice]) -> None:
        effects = self.bank.apply(notices, self.now_ns)
        self._keep(effects)
        for settlement in effects.settlements:
            if not settlement.amount_nanos:
                continue
            assert settlement.bid_id not in self.paid, "a bid is paid once"
            self.paid[settlement.bid_id] = settlement.amount_nanos
            if settlement.late:
                self.late_paid += settlement.amount_nanos
            for worker in self.workers:
                if (worker.seat, worker.epoch) == (settlement.seat, settlement.epoch):
                    worker.posted += settlement.amount_nanos
                    worker.reserved.pop(settlement.bid_id, None)

    @rule(index=st.integers(0, 1), prices=st.lists(st.integers(1, MAX_BID), max_size=8))
    def bid(self, index: int, prices: list[int]) -> None:
        """A worker bids as long as its lease lasts and its grant has room."""
        worker = self.workers[index]
        for price in prices:
            if worker.epoch and self.now_ns < worker.bid_until_ns and price <= worker.free:
                self.bids += 1
                end_ns = self.now_ns + RULES.longest_reservation_ns
                bid = Bid(bid_id(f"bid-{self.bids}"), worker.seat, worker.epoch, price, end_ns)
                worker.reserved[bid.id] = bid
                self.in_flight.append(bid)

    @rule(data=st.data())
    def pay(self, data: st.DataObject) -> None:
        """Some bids win: their money events come now, some of them twice, some with a loss or click about them."""
        if not self.in_flight:
            return
        chosen = data.draw(
            st.lists(st.sampled_from(self.in_flight), unique_by=lambda bid: bid.id, max_size=6)
        )
        kinds = st.lists(st.sampled_from([NoticeKind.WIN, NoticeKind.LOSS, NoticeKind.CLICK]), max_size=2)
        batch: list[Notice] = []
        for bid in chosen:
            batch += [self._notice(kind, bid) for kind in [*data.draw(kinds), NoticeKind.BILLING]]
        if data.draw(st.booleans()):
            batch += batch[::2]
        self.in_flight = [bid for bid in self.in_flight if bid not in chosen]
        self._deliver(batch)

    def _deliver(self, batch: list[Notice]) -> None:
        self.delivered += batch
        self._book(batch)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Any notice may come again at any time."""
        if self.delivered:
            self._book([data.draw(st.sampled_from(self.delivered))])

    @rule(data=st.data())
    def cheat(self, data: st.DataObject) -> None:
        """A price above the cap, or none, books nothing."""
        if self.in_flight:
            bid = data.draw(st.sampled_from(self.in_flight))
            price = data.draw(st.sampled_from([bid.cap + 1, 0, -bid.cap]))
            self._book([msgspec.structs.replace(self._notice(NoticeKind.BILLING, bid), price_nanos=price)])

    def _notice(self, kind: NoticeKind, bid: Bid) -> Notice:
        return notice(
            kind,
            bid.id,
            seat=bid.seat,
            epoch=bid.epoch,
            cap_nanos=bid.cap,
            price_nanos=bid.cap if kind is not NoticeKind.CLICK else 0,
            at_ns=self.now_ns,
            liable_until_ns=bid.until_ns,
        )

    @rule(seconds=st.integers(1, 20), silent=st.sets(st.sampled_from(SEATS)))
    def wait(self, seconds: int, silent: set[str]) -> None:
        """Time goes on; workers end the reservations whose time is over, and those not silent report."""
        self.now_ns += seconds * S
        self._expire()
        self._report(silent)

    @rule(seconds=st.sampled_from([30, 45, 59, 61, 96, 200]), silent=st.sets(st.sampled_from(SEATS)))
    def pause(self, seconds: int, silent: set[str]) -> None:
        """Nobody hears of anybody for a while, then some report."""
        self.now_ns += seconds * S
        self._expire()
        self._keep(self.bank.tick(self.now_ns))
        self._report(silent)

    def _expire(self) -> None:
        for worker in self.workers:
            worker.reserved = {
                key: bid for key, bid in worker.reserved.items() if bid.until_ns >= self.now_ns
            }

    def _report(self, silent: Collection[str] = ()) -> None:
        reports = [worker.report(self.now_ns) for worker in self.workers if worker.seat not in silent]
        self._keep(self.bank.apply(reports, self.now_ns))
        self._keep(self.bank.tick(self.now_ns))

    @rule(index=st.integers(0, 1))
    def replace_worker(self, index: int) -> None:
        """A worker dies and another takes its seat; it knows nothing of the old one's bids."""
        self.workers[index] = self._worker(SEATS[index])
        self._report()

    @rule()
    def crash_bank(self) -> None:
        """The bank dies after a write and is built again from its books."""
        before = self.bank.report()
        self.bank = self._bank()
        assert self.bank.report() == before

    @rule(budget=st.integers(1, BUDGET))
    def set_budget(self, budget: int) -> None:
        self.campaign = msgspec.structs.replace(self.campaign, budget_nanos=budget)
        self.highest_budget = max(self.highest_budget, budget)
        self._keep(self.bank.adopt([CampaignChange(version=1, campaign_id="c1", campaign=self.campaign)]))

    @invariant()
    def in_time_spend_stays_within_the_highest_budget(self) -> None:
        assert sum(self.paid.values()) - self.late_paid <= self.highest_budget

    @invariant()
    def all_that_is_promised_fits_the_budget_but_for_late_spend(self) -> None:
        (report,) = self.bank.report()
        assert report.spend_nanos + report.leased_nanos <= self.highest_budget + report.late_nanos

    @invariant()
    def only_late_spend_is_uncovered(self) -> None:
        (report,) = self.bank.report()
        assert report.uncovered_nanos <= report.late_nanos

    @invariant()
    def the_bank_booked_what_was_paid(self) -> None:
        (report,) = self.bank.report()
        assert (report.spend_nanos, report.late_nanos) == (sum(self.paid.values()), self.late_paid)

    @invariant()
    def the_books_add_up(self) -> None:
        self.bank.check()
        self.books.verify()

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()


World.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestWorld = World.TestCase


def test_a_feasible_budget_is_granted_and_spent_to_the_last_nano() -> None:
    """Two seats that always win use up all of a budget, though it is small."""
    bank = Bank(RULES, {"c1": campaign(budget_nanos=1_003, max_bid_cpm_micros=MAX_BID)}, BankState())
    workers = [Worker(seat, seat) for seat in SEATS]
    spent = bids = 0
    for second in range(1, 400):
        now_ns = second * S
        bank.apply([worker.report(now_ns) for worker in workers], now_ns)
        for lease in bank.tick(now_ns).leases:
            for worker in workers:
                worker.take(lease, now_ns)
        for worker in workers:
            price = min(3, worker.free)
            if price > 0:
                bids += 1
                bill = notice(
                    NoticeKind.BILLING,
                    f"bid-{bids}",
                    seat=worker.seat,
                    cap_nanos=price,
                    price_nanos=price,
                    at_ns=now_ns,
                    liable_until_ns=now_ns + S,
                )
                (settlement,) = bank.apply([bill], now_ns).settlements
                worker.posted += settlement.amount_nanos
                spent += settlement.amount_nanos
    assert spent == 1_003


@pytest.mark.parametrize("cut", [1, 7, 50])
@pytest.mark.parametrize("seats", [SEATS[:1], SEATS])
def test_a_budget_cut_below_what_is_committed_is_still_spent_to_the_last_nano(
    seats: Sequence[str], cut: int
) -> None:
    """Leases end, what they held comes back, and what is left of the lower budget is bid on again."""
    bank = Bank(RULES, {"c1": campaign(budget_nanos=1_000, max_bid_cpm_micros=MAX_BID)}, BankState())
    workers = [Worker(seat, seat) for seat in seats]
    bids = budget = 0
    for second in range(1, 800):
        now_ns = second * S
        bank.apply([worker.report(now_ns) for worker in workers], now_ns)
        for lease in bank.tick(now_ns).leases:
            for worker in workers:
                worker.take(lease, now_ns)
        (report,) = bank.report()
        if report.spend_nanos >= 500 and not budget and report.leased_nanos > cut:
            budget = report.spend_nanos + report.leased_nanos - cut
            lower = campaign(budget_nanos=budget, max_bid_cpm_micros=MAX_BID)
            bank.adopt([CampaignChange(version=2, campaign_id="c1", campaign=lower)])
            continue  # a lease that is bid on to its end would never come back
        for worker in workers:
            price = min(3, worker.free)
            if price > 0 and now_ns < worker.bid_until_ns and (not budget or second > 300):
                bids += 1
                bill = notice(
                    NoticeKind.BILLING,
                    f"bid-{bids}",
                    seat=worker.seat,
                    cap_nanos=price,
                    price_nanos=price,
                    at_ns=now_ns,
                    liable_until_ns=now_ns + S,
                )
                (settlement,) = bank.apply([bill], now_ns).settlements
                worker.posted += settlement.amount_nanos
    (report,) = bank.report()
    assert budget
    assert (report.spend_nanos, report.uncovered_nanos, report.leased_nanos) == (budget, 0, 0)


def frees_with_the_lease(_: Leasing, grant: Grant) -> int:
    """Forgets that reservations outlast the lease."""
    return grant.bid_until_ns


def never_spent(_: BidBook, bid: str) -> bool:
    """Forgets that a bid was paid."""
    return False


def resumes_epochs(leasing: Leasing, seat: Seat, start_id: str, *_: object) -> None:
    """Lets a new start go on in the old one's epoch."""
    seat.enter(max(seat.epoch, 1), start_id)
    leasing._forget_sent(seat)


def check(world: World) -> None:
    """All that must hold, as after each step of a trial."""
    world.in_time_spend_stays_within_the_highest_budget()
    world.all_that_is_promised_fits_the_budget_but_for_late_spend()
    world.only_late_spend_is_uncovered()
    world.the_bank_booked_what_was_paid()
    world.the_books_add_up()


def every_bid_wins_at_the_end_of_its_time(world: World) -> None:
    """Bids of a seat whose lease has ended since are paid in time."""
    world.bid(index=0, prices=[MAX_BID] * 10)
    world.pause(seconds=45, silent=set(SEATS))
    world._deliver([world._notice(NoticeKind.BILLING, bid) for bid in world.in_flight])


def every_notice_comes_twice(world: World) -> None:
    """The exchange tries its billing notices again."""
    world.bid(index=0, prices=[MAX_BID])
    for _ in range(2):
        world._deliver([world._notice(NoticeKind.BILLING, bid) for bid in world.in_flight])


def a_worker_is_replaced_with_all_its_bids_open(world: World) -> None:
    """The old worker's bids and those of the new one are all paid in time."""
    world.bid(index=0, prices=[MAX_BID] * 10)
    world.replace_worker(index=0)
    world.bid(index=0, prices=[MAX_BID] * 10)
    world._deliver([world._notice(NoticeKind.BILLING, bid) for bid in world.in_flight])


_CASES = [
    (every_bid_wins_at_the_end_of_its_time, Leasing, "_free_at_ns", frees_with_the_lease),
    (every_notice_comes_twice, BidBook, "spent", never_spent),
    (a_worker_is_replaced_with_all_its_bids_open, Leasing, "_open_epoch", resumes_epochs),
]


@pytest.mark.parametrize("story", [case[0] for case in _CASES])
def test_a_hard_story_keeps_every_promise(story: Callable[[World], None]) -> None:
    world = World()
    world.begin(budget=100)
    story(world)
    check(world)
    assert sum(world.paid.values()) >= MAX_BID
    world.teardown()


@pytest.mark.parametrize(("story", "part", "name", "mutant"), _CASES)
def test_the_world_catches_a_bank_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[World], None],
    part: type,
    name: str,
    mutant: Callable[..., object],
) -> None:
    """Negative control: each of these mistakes breaks a promise, and is seen."""
    monkeypatch.setattr(part, name, mutant)
    world = World()
    world.begin(budget=100)
    with pytest.raises((AssertionError, InvariantError)):
        _tell(story, world)
    world.teardown()


def _tell(story: Callable[[World], None], world: World) -> None:
    story(world)
    check(world)
