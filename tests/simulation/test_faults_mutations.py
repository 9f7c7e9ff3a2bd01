"""The fault simulation can fail: each of these mistakes, put into the bidder's own code, is found by a seeded run.

The same runs without the mistake find nothing.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest

from bidder.core import attribution
from bidder.core.account import Account
from bidder.core.attribution import Attribution
from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules, Rule
from bidder.core.bidbook import BidBook
from bidder.core.brakes import Brakes
from bidder.core.engine import Engine
from bidder.core.held import Held
from bidder.core.lateness import Lateness
from bidder.core.leasing import Leasing
from bidder.core.lowwater import LowWater
from bidder.core.messages import NOTICES, Conversion, Lease, Notice, Settlements, encode
from bidder.core.wallet import Wallet
from bidder.errors import DependencyError
from bidder.runtime.transport import Outbound
from bidder.store.books import Batch, Books
from bidder.web import spool
from bidder.web.publish import NoticePublisher
from bidder.web.rules import Amounts
from bidder.web.spool import Spool
from simulator.faults.plan import NO_FAULTS, Faults, S, scenario
from simulator.faults.report import Report
from simulator.faults.run import Outcome, play

AUCTIONS = 1_000
LATE, USUAL = "all_win_late_full", "second_price"
OUTAGES = Faults(broker_out=3 * S, repeated=0.5)
LATE_ONES = Faults(very_late=0.1, false_loss=0.1)
CUT_OFF = Faults(tracker_cut=2 * S, reordered=0.1, call_lost=0.2)
CRASHES = Faults(crash_steps=300, takeover=6 * S)

Patch = pytest.MonkeyPatch


class Case(NamedTuple):
    """A mistake, and a run that finds it by one of these violations."""

    mistake: Callable[[Patch], None]
    seed: int
    kind: str
    faults: Faults
    found: frozenset[str]


def book_twice(patch: Patch) -> None:
    """The bank forgets that a bid's money is booked."""
    patch.setattr(BidBook, "spent", lambda self, bid_id: False)


def release_early(patch: Patch) -> None:
    """A seat frees a reservation two seconds before its time."""

    def expire(self: Wallet, now_ns: int) -> list[int]:
        tags, _ = self.purse.expire_rows(now_ns + 2 * S)
        self.sync()
        return [tag for tag in tags.tolist() if tag]

    patch.setattr(Wallet, "expire", expire)


def end_by_own_clock(patch: Patch) -> None:
    """A seat frees a reservation when its own clock says so, whatever the bank has not heard of yet."""
    patch.setattr(Wallet, "hear", lambda self, heard_until_ns: setattr(self, "_heard_ns", None))


def expire_everything(patch: Patch) -> None:
    """A seat frees all reservations on each tick."""

    def expire(self: Wallet, now_ns: int) -> list[int]:
        self.purse.expire_rows(now_ns + 3_600 * S)
        self.sync()
        return []

    patch.setattr(Wallet, "expire", expire)


def answer_before_durable(patch: Patch) -> None:
    """The tracker answers, and publishes after that."""

    async def commit(self: Any, batch: list[Any]) -> None:
        self._answer(batch, durable=True)
        messages = [Outbound(NOTICES, one.notice.campaign_id.encode(), encode(one.notice)) for one in batch]
        try:
            await self._sink.publish(messages)
            await self._sink.flush()
        except DependencyError:
            self.counts["undelivered"] += len(batch)

    patch.setattr(NoticePublisher, "_commit", commit)


def resume_epoch(patch: Patch) -> None:
    """A worker that starts again says that it is the one before."""
    begin = Engine.__init__

    def again(self: Engine, settings: Any, key: bytes, model: Any, start_id: str) -> None:
        begin(self, settings, key, model, settings.seat)

    patch.setattr(Engine, "__init__", again)


def commit_first(patch: Patch) -> None:
    """The bank keeps the offsets in one transaction, the books in the next, and reads nothing twice."""
    write = Books.write

    def torn(self: Books, batch: Batch) -> int:
        if batch.offsets:
            write(self, Batch(offsets=batch.offsets))
        return write(self, batch._replace(offsets={}))

    patch.setattr(Books, "write", torn)
    apply = Bank.apply

    def once(self: Bank, messages: Any, now_ns: int, *, redelivered: bool = False, epochs: Any = None) -> Any:
        return apply(self, [] if redelivered else messages, now_ns, epochs=epochs)

    patch.setattr(Bank, "apply", once)


def free_grants_early(patch: Patch) -> None:
    """The bank takes a grant back when its bidding ends, while its bids may still be billed."""
    patch.setattr(Leasing, "_free_at_ns", lambda self, grant: grant.bid_until_ns)


def trust_prices(patch: Patch) -> None:
    """The bank books whatever price a notice states."""

    def verdict(self: BidBook, notice: Notice) -> Rule | None:
        return (
            Rule.DUPLICATE if self.spent(notice.bid_id) else None if notice.price_nanos > 0 else Rule.NO_PRICE
        )

    patch.setattr(BidBook, "_money_verdict", verdict)


def tracker_trusts_prices(patch: Patch) -> None:
    """The tracker takes whatever price the exchange states."""
    price = Amounts.price_nanos

    def uncapped(self: Amounts, call: Any, *, unknown_passes: bool) -> int:
        import msgspec

        token = msgspec.structs.replace(call.token, cap_nanos=10**15)
        return price(self, call._replace(token=token), unknown_passes=unknown_passes)

    patch.setattr(Amounts, "price_nanos", uncapped)


def keep_nothing(patch: Patch) -> None:
    """The spool says that notices are on the disk, and does not write them."""
    patch.setattr(Spool, "append", lambda self, records: len(records))


def forget_the_spool(patch: Patch) -> None:
    """A tracker that starts again does not look at what its disk has."""
    patch.setattr(spool, "_found", lambda files: [])


def give_up_at_once(patch: Patch) -> None:
    """The publisher has a spool, and does not use it."""
    begin = NoticePublisher.__init__

    def without(self: NoticePublisher, sink: Any, **settings: Any) -> None:
        begin(self, sink, **settings | {"spool": None})

    patch.setattr(NoticePublisher, "__init__", without)


def drive_on(patch: Patch) -> None:
    """A seat does not hear of stops."""
    patch.setattr(Brakes, "take", lambda self, brakes, now_ns: None)


def pay_no_fees(patch: Patch) -> None:
    """The bank books the price alone."""
    patch.setattr(Notice, "cost_nanos", property(lambda self: self.price_nanos))


def keep_back_nothing(patch: Patch) -> None:
    """The bank grants all that there is, and nothing stands aside for late spend."""
    patch.setattr(Account, "keep_back", lambda self, share_ppm, now_ns, tail_ns: None)


def hide_what_passed(patch: Patch) -> None:
    """The bank does not count what late spend took beyond limit and reserve."""

    def measure(self: Account) -> None:
        self.held = min(self.held, max(0, self.limit - self.committed))

    patch.setattr(Account, "_measure_over", measure)
    patch.setattr(Account, "check", lambda self: None)


def ignore_cuts(patch: Patch) -> None:
    """The bank takes a higher limit and no lower one."""
    restate = Account.restate

    def higher(self: Account) -> bool:
        before = self.limit
        restate(self)
        self.limit = max(before, self.limit)
        return self.limit != before

    patch.setattr(Account, "restate", higher)


def grant_what_was_cut(patch: Patch) -> None:
    """The bank knows of a lower limit, and grants as if it were half as much again."""
    room = property(lambda self: max(0, self.limit * 3 // 2 - self.reserve - self.committed))
    patch.setattr(Account, "room", room)
    patch.setattr(Account, "check", lambda self: None)


def double_leases(patch: Patch) -> None:
    """A seat takes each lease for twice what it is."""
    lease = Wallet.lease

    def twice(self: Wallet, each: Lease) -> None:
        import msgspec

        lease(self, msgspec.structs.replace(each, granted_nanos=2 * each.granted_nanos))

    patch.setattr(Wallet, "lease", twice)


def free_by_the_clock(patch: Patch) -> None:
    """The bank says that it has heard all there is, whatever it has read."""
    marks = Leasing.marks

    def at_once(self: Leasing, now_ns: int, seen_until_ns: int) -> list[Settlements]:
        del seen_until_ns
        return marks(self, now_ns, now_ns + 2 * S)

    patch.setattr(Leasing, "marks", at_once)


def wait_for_no_tracker(patch: Patch) -> None:
    """The bank does not ask what trackers still keep."""
    patch.setattr(LowWater, "until_ns", lambda self, now_ns: now_ns)


def count_orders_again(patch: Patch) -> None:
    """The bank forgets which orders it has."""
    patch.setattr(Attribution, "_is_known", lambda self, advertiser_id, order_id, now_ns: False)


def credit_the_first(patch: Patch) -> None:
    """A conversion counts for the first touch within its window."""
    patch.setattr(attribution, "last_of", lambda touch: (-touch.at_ns, touch.bid_id))


def credit_at_any_time(patch: Patch) -> None:
    """A conversion counts for a touch however long ago."""
    patch.setattr(Attribution, "_is_within", lambda self, touch, kind, at_ns, now_ns: True)


def answer_conversions_at_once(patch: Patch) -> None:
    """The tracker answers a shop, and publishes after that."""
    submit = NoticePublisher.submit

    def at_once(self: NoticePublisher, notice: Any, reply: Any) -> Any:
        answer = submit(self, notice, reply)
        return reply if isinstance(notice, Conversion) else answer

    patch.setattr(NoticePublisher, "submit", at_once)


def forget_who_waits(patch: Patch) -> None:
    """The bank writes nothing of conversions that wait for their touch: in a crash they are lost."""
    put = Held.put

    def unwritten(self: Held, conversion: Conversion, until_ns: int, draft: Any) -> bool:
        kept = put(self, conversion, until_ns, draft)
        draft.held.clear()
        return kept

    patch.setattr(Held, "put", unwritten)


def wait_for_no_touch(patch: Patch) -> None:
    """The bank counts a conversion whose touch is under way as one of nobody's."""
    patch.setattr(Held, "put", lambda self, conversion, until_ns, draft: False)


CASES = (
    Case(book_twice, 1, USUAL, Faults(repeated=0.5), frozenset({"invariant"})),
    Case(release_early, 1, LATE, NO_FAULTS, frozenset({"overspent"})),
    Case(end_by_own_clock, 1, LATE, NO_FAULTS, frozenset({"overspent"})),
    Case(expire_everything, 1, LATE, NO_FAULTS, frozenset({"overspent"})),
    Case(answer_before_durable, 1, LATE, NO_FAULTS, frozenset({"not_durable"})),
    Case(resume_epoch, 1, USUAL, CRASHES, frozenset({"epoch_resumed"})),
    Case(commit_first, 1, LATE, Faults(crash_steps=80), frozenset({"lost"})),
    Case(free_grants_early, 2, LATE, Faults(crash_steps=1_200, takeover=4 * S), frozenset({"overspent"})),
    Case(trust_prices, 1, USUAL, Faults(rogue=S), frozenset({"invented", "lost"})),
    Case(keep_nothing, 1, USUAL, OUTAGES, frozenset({"not_durable"})),
    Case(forget_the_spool, 10, LATE, OUTAGES._replace(crash_steps=200), frozenset({"not_delivered"})),
    Case(give_up_at_once, 1, USUAL, OUTAGES, frozenset({"turned_away"})),
    Case(drive_on, 2, USUAL, NO_FAULTS, frozenset({"bid_while_stopped"})),
    Case(pay_no_fees, 2, USUAL, NO_FAULTS, frozenset({"lost"})),
    Case(keep_back_nothing, 2, USUAL, NO_FAULTS, frozenset({"no_reserve"})),
    Case(hide_what_passed, 27, LATE, LATE_ONES, frozenset({"over"})),
    Case(ignore_cuts, 1, USUAL, Faults(budget_changes=4 * S), frozenset({"limit"})),
    Case(grant_what_was_cut, 1, LATE, Faults(budget_changes=4 * S), frozenset({"granted"})),
    Case(double_leases, 2, USUAL, NO_FAULTS, frozenset({"beyond_grant"})),
    Case(free_by_the_clock, 1, LATE, NO_FAULTS, frozenset({"uncovered"})),
    Case(wait_for_no_tracker, 1, LATE, Faults(tracker_cut=4 * S), frozenset({"uncovered"})),
    Case(tracker_trusts_prices, 1, USUAL, Faults(invalid=0.3), frozenset({"tracker_rule"})),
    Case(count_orders_again, 1, USUAL, Faults(repeated=0.5), frozenset({"order_twice"})),
    Case(credit_the_first, 2, USUAL, NO_FAULTS, frozenset({"credit"})),
    Case(credit_at_any_time, 2, USUAL, NO_FAULTS, frozenset({"credit"})),
    Case(answer_conversions_at_once, 2, USUAL, NO_FAULTS, frozenset({"not_durable"})),
    Case(forget_who_waits, 9, LATE, Faults(crash_steps=150), frozenset({"conversion_uncounted"})),
    Case(wait_for_no_touch, 8, USUAL, CUT_OFF, frozenset({"conversion_lost"})),
)


def run(case: Case) -> Outcome:
    return play(scenario(case.seed, AUCTIONS, case.faults, case.kind))


@cache
def sound(seed: int, kind: str, faults: Faults) -> Outcome:
    return play(scenario(seed, AUCTIONS, faults, kind))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mistake.__name__)
def test_a_mistake_in_the_code_is_found(case: Case, monkeypatch: Patch) -> None:
    case.mistake(monkeypatch)
    outcome = run(case)
    assert case.found & outcome.violations.keys(), outcome.violations


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mistake.__name__)
def test_the_same_run_without_the_mistake_finds_nothing(case: Case) -> None:
    outcome = sound(case.seed, case.kind, case.faults)
    assert outcome.violations == {}, outcome.said


def test_a_share_that_is_not_measured_is_found_over_seeds(monkeypatch: Patch) -> None:
    """One budget that late spend passed proves nothing, many do: of runs whose law of late notices the bank knew."""
    assert "late_reserve" not in measured().summary().violations
    monkeypatch.setattr(Lateness, "_measured", lambda self: BankRules().late_floor_ppm)
    report = measured()
    assert report.summary().judged_passed > report.summary().tolerated
    assert report.violations >= report.summary().violations["late_reserve"] > 0


def measured() -> Report:
    report = Report()
    for seed in (25, 65, 75):
        report.add(play(scenario(seed, AUCTIONS)))
    return report
