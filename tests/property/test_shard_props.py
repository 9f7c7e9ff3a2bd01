"""Two banks share four shards, and shards move at any step: the books are those of one bank."""

from typing import Any

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bidder.core.bankrules import BankRules
from bidder.core.messages import (
    LEASES,
    NOTICES,
    SETTLEMENTS,
    SLICES,
    Lease,
    NoticeKind,
    Settlements,
    SliceReport,
    SliceRow,
    encode,
)
from bidder.core.shards import shard_of
from bidder.errors import InvariantError
from bidder.runtime.bank import BankService
from bidder.runtime.bank_shards import ShardedBank
from bidder.runtime.transport import Message, Outbound
from bidder.store.books import Books
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, advertiser, campaign, notice

OF = 4
ADVERTISERS = [f"shop-{number}" for number in range(6)]
CAMPAIGNS = [f"c{number}" for number in range(8)]
SEATS = ("s1", "s2")
RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S)
KINDS = [NoticeKind.WIN, NoticeKind.BILLING, NoticeKind.CLICK, NoticeKind.IMPRESSION, NoticeKind.LOSS]


def owner(campaign_id: str) -> str:
    return ADVERTISERS[int(campaign_id[1:]) % len(ADVERTISERS)]


def fill(database: Database) -> None:
    stated = [campaign(each, advertiser=owner(each), budget_nanos=S // 50) for each in CAMPAIGNS]
    limits = [advertiser(each, lifetime_nanos=S // 30) for each in ADVERTISERS]
    CampaignStore(database).put_all(stated, limits, at_ns=0)


class Member:
    """One bank of the group: what it believes to hold, and up to where it has read."""

    def __init__(self, database: Database) -> None:
        self.bank = ShardedBank(database, RULES, OF)
        self.notices: dict[int, int] = {}
        self.slices = 0


class Group(RuleBasedStateMachine):
    """The broker's side of two banks: logs, who has which partition, what is committed."""

    @initialize(strays=st.booleans())
    def begin(self, strays: bool) -> None:
        self.strays = strays
        self.now_ns = S
        self.database = Database(":memory:", durable=False)
        fill(self.database)
        self.logs: dict[tuple[str, int], list[Message]] = {(NOTICES, p): [] for p in range(OF)}
        self.logs[SLICES, 0] = []
        self.committed = dict.fromkeys(range(OF), 0)
        self.assigned = [frozenset({0, 1}), frozenset({2, 3})]
        self.members = [Member(self.database) for _ in range(2)]
        self.sent: list[Any] = []
        self.posted: dict[str, set[int]] = {}
        self.epochs: dict[tuple[str, str], int] = {}
        self.starts = dict.fromkeys(SEATS, 0)
        self.sequence = 0
        for index in range(2):
            self.hear(index)

    # -- the world ------------------------------------------------------------------------------------------

    @rule(
        bids=st.lists(
            st.tuples(st.sampled_from([*CAMPAIGNS, "c99"]), st.integers(1, 30), st.sampled_from(KINDS)),
            min_size=1,
            max_size=6,
        ),
        seat=st.sampled_from(SEATS),
        named=st.booleans(),
        astray=st.sampled_from([None, None, 0, 3]),
    )
    def notify(
        self, bids: list[tuple[str, int, NoticeKind]], seat: str, named: bool, astray: int | None
    ) -> None:
        """Notices come, some twice, some keyed by who did not know the advertiser."""
        for campaign_id, number, kind in bids:
            whose = owner(campaign_id) if campaign_id in CAMPAIGNS else "nobody"
            one = notice(
                kind,
                f"{campaign_id}-{number}",
                campaign_id=campaign_id,
                seat=seat,
                at_ns=self.now_ns,
                liable_until_ns=200 * S,
                advertiser_id=whose if named else "",
            )
            self.sent.append(one)
            home = shard_of(whose, OF)
            self.append(NOTICES, astray if self.strays and astray is not None else home, encode(one))

    @rule(seat=st.sampled_from(SEATS), again=st.booleans())
    def ask(self, seat: str, again: bool) -> None:
        """A seat starts, or a start asks again."""
        if not again or not self.starts[seat]:
            self.starts[seat] += 1
        start = f"start-{self.starts[seat]}"
        report = SliceReport(seat=seat, epoch=0, seq=0, start_id=start, at_ns=self.now_ns, rows=())
        self.append(SLICES, 0, encode(report))

    @rule(seat=st.sampled_from(SEATS), share=st.integers(0, 10))
    def report(self, seat: str, share: int) -> None:
        """A seat that has its epoch says what it did with its leases, of whichever shard."""
        start = f"start-{self.starts[seat]}"
        epoch = self.epochs.get((seat, start))
        if epoch is None:
            return
        self.sequence += 1
        rows = tuple(SliceRow(name, 0, share * S // 500, 0) for name in [*CAMPAIGNS, "a/shop-1/money"])
        report = SliceReport(
            seat=seat, epoch=epoch, seq=self.sequence, start_id=start, at_ns=self.now_ns, rows=rows
        )
        self.append(SLICES, 0, encode(report))

    @rule(seconds=st.sampled_from([1, 1, 11, 31, 70]))
    def wait(self, seconds: int) -> None:
        self.now_ns += seconds * S

    # -- the banks ------------------------------------------------------------------------------------------

    @rule(index=st.integers(0, 1), most=st.integers(1, 9), told=st.sampled_from([True, True, True, False]))
    def read(self, index: int, most: int, told: bool) -> None:
        """A bank takes what it believes to be its own; it may crash before it says what came of it."""
        member = self.members[index]
        batch: list[Message] = []
        for partition, place in member.notices.items():
            some = self.logs[NOTICES, partition][place : place + most]
            member.notices[partition] += len(some)
            batch += some
        some = self.logs[SLICES, 0][member.slices : member.slices + most]
        member.slices += len(some)
        out = member.bank.on_messages([*batch, *some], self.now_ns)
        if not told:
            self.crash(index)
            return
        self.tell(out)
        member.bank.published()
        for message in batch:
            # The broker takes no offset of a partition that is no longer a member's.
            if member.bank.holds(message.partition) and message.partition in self.assigned[index]:
                self.committed[message.partition] = max(self.committed[message.partition], message.offset + 1)

    @rule(index=st.integers(0, 1))
    def tick(self, index: int) -> None:
        self.tell(self.members[index].bank.on_tick(self.now_ns))
        self.members[index].bank.published()

    @rule(first=st.sets(st.integers(0, OF - 1)), heard=st.sets(st.integers(0, 1)))
    def move(self, first: set[int], heard: set[int]) -> None:
        """Partitions are shared out anew; who does not hear of it goes on as before for a while."""
        self.assigned = [frozenset(first), frozenset(range(OF)) - first]
        for index in sorted(heard):
            self.hear(index)

    @rule(index=st.integers(0, 1))
    def hear(self, index: int) -> None:
        """A bank learns what is its own, and reads on from what is committed."""
        member = self.members[index]
        self.tell(member.bank.assign(self.assigned[index], self.now_ns))
        member.notices = {partition: self.committed[partition] for partition in self.assigned[index]}
        member.slices = member.bank.resume().get((SLICES, 0), 0)

    @rule(index=st.integers(0, 1))
    def crash(self, index: int) -> None:
        self.members[index] = Member(self.database)
        self.hear(index)

    # -- what must hold -------------------------------------------------------------------------------------

    def append(self, topic: str, partition: int, value: bytes) -> None:
        log = self.logs[topic, partition]
        log.append(Message(topic, partition, len(log), None, value, 0))

    def tell(self, out: list[Outbound]) -> None:
        for each in out:
            if each.topic == NOTICES:
                assert each.partition is not None
                self.append(NOTICES, each.partition, each.value)
            elif each.topic == LEASES:
                lease = msgspec.json.decode(each.value, type=Lease)
                known = self.epochs.setdefault((lease.seat, lease.start_id), lease.epoch)
                assert known == lease.epoch, "a start has one epoch, whichever bank tells it"
            elif each.topic == SETTLEMENTS:
                for row in msgspec.json.decode(each.value, type=Settlements).each():
                    if row.amount_nanos:
                        self.posted.setdefault(row.bid_id, set()).add(row.amount_nanos)

    @invariant()
    def every_epoch_is_of_one_start(self) -> None:
        if hasattr(self, "epochs"):
            numbers = [(seat, epoch) for (seat, _), epoch in self.epochs.items()]
            assert len(numbers) == len(set(numbers))

    @invariant()
    def bookings_add_up_and_nothing_is_granted_twice(self) -> None:
        if not hasattr(self, "database"):
            return
        Books(self.database).verify()
        with self.database.reading() as session:
            over = session.execute(
                """SELECT accounts.account_id FROM accounts LEFT JOIN grants
                     ON grants.account_id = accounts.account_id AND freed = 0 AND granted > posted
                   GROUP BY accounts.account_id, limit_units, booked, uncovered
                   HAVING booked - uncovered + coalesce(sum(granted - posted), 0) > limit_units"""
            ).fetchall()
        assert over == []

    def teardown(self) -> None:
        """All hear, all is read; then one bank that had read the same has the same books."""
        if not hasattr(self, "members"):
            return
        for index in range(2):
            self.hear(index)
        for _ in range(3):  # what went astray was sent on
            for index in range(2):
                self.read(index, 10_000, told=True)
                self.tick(index)
        for member in self.members:
            member.bank.close()
        with Database(":memory:", durable=False) as alone:
            fill(alone)
            one = BankService.open(alone, RULES, S)
            one.on_messages(
                [Message(NOTICES, 0, place, None, encode(each), 0) for place, each in enumerate(self.sent)],
                self.now_ns,
            )
            theirs = BankService.open(self.database, RULES, self.now_ns)
            order = {"unbilled", "refused"} if self.strays else set()
            assert [counts(each, order) for each in theirs.report()] == [
                counts(each, order) for each in one.report()
            ]
            if not self.strays:
                assert theirs.bank.refused() == one.bank.refused()
            theirs.verify()
        booked = {
            bid: {amount}
            for bid, amount in rows(
                self.database, "SELECT bid_id, amount_nanos FROM bookings WHERE amount_nanos > 0"
            )
        }
        assert self.posted == booked, "who made a bid hears of its money, with one amount"
        assert rows(self.database, "SELECT count(*) FROM outbox") == [(0,)]
        self.database.close()


def counts(report: Any, order: set[str]) -> dict[str, Any]:
    """What does not hang on when leases were granted, nor on the `order` in which notices came.

    A notice that is sent on to its shard comes there behind others, and after a crash twice.
    """
    fields = msgspec.structs.asdict(report)
    left_out = {"leased_nanos", "uncovered_nanos", *order}
    return {name: value for name, value in fields.items() if name not in left_out}


def rows(database: Database, query: str) -> list[Any]:
    with database.reading() as session:
        return session.execute(query).fetchall()


THOROUGH = settings(
    max_examples=50,
    stateful_step_count=40,
    phases=(Phase.generate,),  # a failing run is told as it was: shrinking it takes minutes
)


def test_shards_that_move_at_any_step_leave_the_books_of_one_bank() -> None:
    run_state_machine_as_test(Group, settings=THOROUGH)


MUTATIONS: dict[str, tuple[type, str, Any]] = {
    "no owner is asked for": (Books, "_check_owner", lambda *_: None),
    "a notice astray is taken as it is": (BankService, "_home", lambda self, _: self.shard.number),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_bank_that_breaks_a_rule_of_shards_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The property above can fail."""
    monkeypatch.setattr(*MUTATIONS[name])
    with pytest.raises((AssertionError, InvariantError, ExceptionGroup)):
        run_state_machine_as_test(Group, settings=settings(THOROUGH, max_examples=200, derandomize=True))
