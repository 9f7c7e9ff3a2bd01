"""Shards of the books: who may write of which, what moves with a shard, and what all of them must agree on."""

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bidder.core.bankrules import BankRules
from bidder.core.messages import (
    CAMPAIGNS as CHANGES,
)
from bidder.core.messages import (
    CREATIVES,
    EXPOSURES,
    LEASES,
    NOTICES,
    SETTLEMENTS,
    SLICES,
    Lease,
    NoticeKind,
    Settlements,
    encode,
)
from bidder.core.messages import Message as Record
from bidder.core.shards import WHOLE, Shard, shard_of
from bidder.errors import DependencyError
from bidder.runtime import bank_loop
from bidder.runtime.bank import BANK_GROUP, BankService
from bidder.runtime.bank_loop import _BankLoop, run_bank
from bidder.runtime.bank_shards import BankSource, ShardedBank
from bidder.runtime.bus import Bus
from bidder.runtime.clock import SystemClock, VirtualClock
from bidder.runtime.transport import Message, Outbound, Share
from bidder.store.books import Batch, Books, BooksTaken, Start
from bidder.store.campaigns import CampaignStore
from bidder.store.database import MIGRATIONS, Database
from tests.support.banking import S, advertiser, ask, campaign, item, notice, used

BILLING = NoticeKind.BILLING
RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S)
OF = 2
ONE, OTHER = (next(f"shop-{n}" for n in range(9) if shard_of(f"shop-{n}", OF) == each) for each in range(OF))
BOTH = frozenset(range(OF))


def fill(database: Database) -> None:
    """A campaign in each shard, with an advertiser that is stated."""
    stated = [campaign("c0", advertiser=ONE), campaign("c1", advertiser=OTHER)]
    limits = [advertiser(each, lifetime_nanos=90 * S) for each in (ONE, OTHER)]
    CampaignStore(database).put_all(stated, limits, at_ns=0)


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with Database(place, durable=False) as database:
        fill(database)
        yield database


@pytest.fixture
def beside(place: str, database: Database) -> Iterator[Database]:
    """The same database by another connection, as another process has it."""
    with Database(place, durable=False) as other:
        yield other


def wire(partition: int, *records: Record, topic: str = NOTICES, first: int = 0) -> list[Message]:
    return [Message(topic, partition, first + n, None, encode(each), 0) for n, each in enumerate(records)]


def bill(number: int, bid: str = "b-1", **changes: Any) -> Record:
    """A bill of the campaign of a shard."""
    whose = (ONE, OTHER)[number]
    return notice(BILLING, bid, **({"campaign_id": f"c{number}", "advertiser_id": whose} | changes))


def leases(out: Sequence[Outbound]) -> list[Lease]:
    return [msgspec.json.decode(each.value, type=Lease) for each in out if each.topic == LEASES]


def told(out: Sequence[Outbound], topic: str) -> list[bytes]:
    return [each.value for each in out if each.topic == topic]


def spend(database: Database) -> int:
    with database.reading() as session:
        (nanos,) = session.execute("SELECT coalesce(sum(amount_nanos), 0) FROM bookings").fetchone()
    return int(nanos)


# Who may write


def test_a_zombie_cannot_write_and_loses_that_shard_alone(database: Database, beside: Database) -> None:
    zombie, heir = ShardedBank(database, RULES, OF), ShardedBank(beside, RULES, OF)
    zombie.assign(BOTH, 0)
    heir.assign(frozenset({1}), 0)
    out = zombie.on_messages([*wire(0, bill(0)), *wire(1, bill(1, "b-2"))], 10 * S)
    assert [each.each()[0].campaign_id for each in map(settlements, told(out, SETTLEMENTS))] == ["c0"]
    assert (zombie.holds(0), zombie.holds(1)) == (True, False)
    assert isinstance(zombie.adrift(), BooksTaken)
    heir.on_messages(wire(1, bill(1, "b-2")), 11 * S)
    assert spend(database) == 4_000_000
    zombie.assign(frozenset({0}), 12 * S)
    assert zombie.adrift() is None
    heir.verify()


def settlements(value: bytes) -> Settlements:
    return msgspec.json.decode(value, type=Settlements)


def test_a_zombie_leases_nothing(database: Database, beside: Database) -> None:
    zombie = ShardedBank(database, RULES, OF)
    zombie.assign(BOTH, 0)
    zombie.on_messages(wire(0, ask(), topic=SLICES), 0)
    ShardedBank(beside, RULES, OF).assign(BOTH, 0)
    assert leases(zombie.on_tick(0)) == []
    assert zombie.services == {}


def test_a_zombie_numbers_no_start(database: Database, beside: Database) -> None:
    zombie = ShardedBank(database, RULES, OF)
    zombie.assign(BOTH, 0)
    ShardedBank(beside, RULES, OF).assign(BOTH, 0)
    zombie.on_messages(wire(0, ask(), topic=SLICES), 0)
    with database.reading() as session:
        assert session.execute("SELECT * FROM epochs").fetchall() == []


def test_a_shard_that_was_another_banks_meanwhile_is_read_again(database: Database, beside: Database) -> None:
    first, second = ShardedBank(database, RULES, OF), ShardedBank(beside, RULES, OF)
    first.assign(BOTH, 0)
    kept = first.services[0]
    second.assign(frozenset({1}), 0)
    second.on_messages(wire(1, bill(1)), 10 * S)
    second.assign(frozenset(), 11 * S)
    first.assign(BOTH, 12 * S)
    assert first.services[0] is kept
    assert [report.spend_nanos for report in first.report()] == [0, 2_000_000]
    first.on_messages(wire(1, bill(1, "b-2"), first=1), 13 * S)
    assert spend(database) == 4_000_000


def test_books_that_are_shared_out_among_another_number_end_all_before(
    database: Database, beside: Database
) -> None:
    whole = BankService.open(database, RULES, 0)
    ShardedBank(beside, RULES, OF).assign(frozenset({1}), 0)
    with pytest.raises(BooksTaken, match=r"shard 0 of 1 in .* must be written by its owner, bank 2"):
        whole.on_messages(wire(0, bill(0)), 10 * S)
    again = BankService.open(database, RULES, 0)
    again.on_messages(wire(0, bill(0), bill(1, "b-2")), 10 * S)
    assert spend(database) == 4_000_000


def test_more_partitions_than_at_the_start_end_the_bank(database: Database) -> None:
    with pytest.raises(DependencyError, match="notices must have the 2 partitions that it had"):
        ShardedBank(database, RULES, OF).assign(frozenset({2}), 0)


# What moves with a shard


def test_a_shard_has_its_advertisers_rows_and_no_others(database: Database) -> None:
    both = ShardedBank(database, RULES, OF)
    both.assign(BOTH, 0)
    bills = bill(0, user=7), bill(1, "b-2", user=7), bill(1, "b-3", user=7)
    both.on_messages([*wire(0, *bills[:1]), *wire(1, *bills[1:])], 10 * S)
    both.on_messages(wire(0, ask(), topic=SLICES), 10 * S)
    both.on_tick(10 * S)
    whose = {"c0": ONE, "c1": OTHER}
    for number, own in ((0, ONE), (1, OTHER)):
        state = Books(database, Shard(number, OF)).load(10 * S, whose)
        assert {row.account_id for row in state.accounts} == {f"c{number}", f"a/{own}/money"}
        assert {row.account_id for row in state.grants} == {f"c{number}", f"a/{own}/money"}
        assert {row.advertiser_id for row in state.touches} == {own}
        assert {row.campaign_id for row in state.tallies} == {f"c{number}"}
        assert len(list(state.bookings)) == 1 + number
    assert len(list(Books(database, WHOLE).load(10 * S).bookings)) == 3


def test_leases_of_a_shard_that_moved_go_on_and_nothing_comes_back_for_one_lease(
    database: Database, beside: Database
) -> None:
    first, second = ShardedBank(database, RULES, OF), ShardedBank(beside, RULES, OF)
    first.assign(BOTH, 0)
    first.on_messages(wire(0, ask(), topic=SLICES), 0)
    before = {lease.account_id: lease for lease in leases(first.on_tick(0))}
    assert set(before) == {"c0", "c1", f"a/{ONE}/money", f"a/{OTHER}/money"}
    first.assign(frozenset({0}), 20 * S)
    out = second.assign(frozenset({1}), 20 * S)
    assert leases(out) == [before[f"a/{OTHER}/money"], before["c1"]]
    assert len(told(out, CHANGES)) == 2, "its campaign and advertiser, and no others"
    late = ShardedBank(database, RULES, OF)
    late.assign(frozenset({1}), 200 * S)
    late.on_tick(229 * S)
    assert late.report()[0].leased_nanos == before["c1"].granted_nanos
    late.on_tick(230 * S)
    assert late.report()[0].leased_nanos == 0


def test_what_a_shard_did_not_tell_is_told_by_whoever_has_it_next(
    database: Database, beside: Database
) -> None:
    first, second = ShardedBank(database, RULES, OF), ShardedBank(beside, RULES, OF)
    first.assign(BOTH, 0)
    first.on_messages([*wire(0, bill(0)), *wire(1, bill(1, "b-2"))], 10 * S)
    (value,) = told(second.assign(frozenset({1}), 11 * S), SETTLEMENTS)
    assert [row.campaign_id for row in settlements(value).each()] == ["c1"]
    second.published()
    second.close()
    with database.reading() as session:
        assert session.execute("SELECT shard FROM outbox").fetchall() == [(0,)]


def test_a_change_is_told_by_the_bank_of_its_advertiser(database: Database) -> None:
    banks = [ShardedBank(database, RULES, OF) for _ in range(2)]
    for number, bank in enumerate(banks):
        bank.assign(frozenset({number}), 0)
    CampaignStore(database).set_budget("c1", 5 * S, at_ns=1)
    assert [len(told(bank.on_tick(S), CHANGES)) for bank in banks] == [0, 1]
    assert [len(told(bank.on_tick(2 * S), CHANGES)) for bank in banks] == [0, 0]


def test_a_notice_astray_is_sent_on_to_its_shard(database: Database) -> None:
    bank = ShardedBank(database, RULES, OF)
    bank.assign(BOTH, 0)
    stray = bill(1, advertiser_id="")  # of a token that does not name the advertiser
    (out,) = bank.on_messages(wire(0, stray), 10 * S)
    assert (out.topic, out.partition, out.value, spend(database)) == (NOTICES, 1, encode(stray), 0)
    bank.on_messages([Message(NOTICES, 1, 0, None, out.value, 0)], 11 * S)
    assert spend(database) == 2_000_000


def test_a_billing_that_waits_in_another_shards_partition_is_covered_after_the_number_of_shards_changed(
    database: Database, beside: Database
) -> None:
    """Else its own shard frees the money before the other sends it on, and tells the seat that all was heard."""
    whole = BankService.open(database, RULES, 0)
    whole.on_messages(wire(0, ask(), topic=SLICES), 0)
    assert {lease.bid_until_ns for lease in leases(whole.on_tick(0))} == {30 * S}
    waits = bill(1, at_ns=25 * S, bid_at_ns=20 * S, liable_until_ns=80 * S)  # in partition 0, of before
    first, second = ShardedBank(database, RULES, OF), ShardedBank(beside, RULES, OF)
    second.assign(frozenset({1}), 35 * S)
    first.assign(frozenset({0}), 36 * S)
    report = used(0, 2_000_000, seq=1, at_ns=96 * S)
    second.on_messages(wire(0, report, topic=SLICES, first=1), 96 * S)
    out = second.on_tick(96 * S)  # nothing of that grant could come in time, were all of it in its partition
    assert told(out, SETTLEMENTS) == []
    (sent_on,) = first.on_messages(wire(0, waits), 97 * S)
    second.on_messages([Message(NOTICES, 1, 0, None, sent_on.value, 0)], 98 * S)
    (report_of,) = second.report()
    assert (report_of.spend_nanos, report_of.uncovered_nanos) == (2_000_000, 0)
    second.published()
    second.on_messages(wire(0, used(2_000_000, 0, seq=2, at_ns=101 * S), topic=SLICES, first=2), 101 * S)
    assert told(second.on_tick(101 * S), SETTLEMENTS) != [], "the word is given again"


def test_the_first_start_holds_nothing_back(database: Database) -> None:
    ShardedBank(database, RULES, OF).assign(BOTH, 0)
    assert Books(database, Shard(0, OF)).shared_ns() is None


# What all of them agree on


def test_a_start_has_one_epoch_in_all_shards(database: Database, beside: Database) -> None:
    first, second = ShardedBank(database, RULES, OF), ShardedBank(beside, RULES, OF)
    first.assign(frozenset({0}), 0)
    second.assign(frozenset({1}), 0)
    asked = wire(0, ask("a"), ask("b"), topic=SLICES)
    first.on_messages(asked, 0)
    second.on_messages(asked[:1], 0)
    assert {lease.epoch for lease in leases(first.on_tick(0))} == {2}
    assert {lease.epoch for lease in leases(second.on_tick(0))} == {1}
    second.on_messages(asked[1:], 1 * S)
    assert {(lease.start_id, lease.epoch) for lease in leases(second.on_tick(1 * S))} == {("b", 2)}


def test_a_shard_that_missed_the_request_serves_who_has_an_epoch_already(database: Database) -> None:
    first, second = ShardedBank(database, RULES, OF), ShardedBank(database, RULES, OF)
    first.assign(frozenset({0}), 0)
    second.assign(frozenset({1}), 0)
    first.on_messages(wire(0, ask(), topic=SLICES), 0)
    second.on_messages(wire(0, used(0, 0, seq=1, epoch=1), topic=SLICES, first=1), S)
    assert {lease.epoch for lease in leases(second.on_tick(S))} == {1}


def test_banks_that_number_at_the_same_moment_never_give_a_number_twice(place: str) -> None:
    with Database(place, durable=False) as database:
        fill(database)
    seats = [f"s{number}" for number in range(5)]

    def number(shard: int) -> dict[tuple[str, str], int]:
        with Database(place, durable=False) as own:
            books = Books(own, Shard(shard, 4))
            books.claim()
            found: dict[tuple[str, str], int] = {}
            for start in range(6):
                # Some starts all banks hear of, others one alone; each bank in another order.
                starts = [Start(seat, f"{start}-{shard % 2}", True) for seat in seats]
                found |= books.number(starts[shard:] + starts[:shard])
            return found

    with ThreadPoolExecutor(4) as threads:
        agreed = list(threads.map(number, range(4)))
    assert agreed[0] == agreed[2]
    assert agreed[1] == agreed[3]
    every = agreed[0] | agreed[1]
    for seat in seats:
        assert sorted(epoch for (own, _), epoch in every.items() if own == seat) == list(range(1, 13))


def test_notices_of_unknown_campaigns_are_counted_together(database: Database, beside: Database) -> None:
    first, second = ShardedBank(database, RULES, OF), ShardedBank(beside, RULES, OF)
    first.assign(frozenset({0}), 0)
    second.assign(frozenset({1}), 0)
    for offset in range(3):
        nobodys = notice(BILLING, f"n-{offset}", campaign_id="c9")
        first.on_messages(wire(0, nobodys, first=offset), 10 * S)
        second.on_messages(wire(1, nobodys, nobodys, first=2 * offset), 10 * S)
    first.assign(BOTH, 11 * S)
    first.on_messages(wire(1, notice(BILLING, "n-9", campaign_id="c9"), first=6), 11 * S)
    assert BankService.open(database, RULES, 12 * S).bank.refused() == {"unknown_campaign": 10}


def test_each_shard_reads_reports_up_to_a_place_of_its_own(database: Database) -> None:
    bank = ShardedBank(database, RULES, OF)
    bank.assign(frozenset({0}), 0)
    bank.on_messages(wire(0, ask(), topic=SLICES), 0)
    bank.on_messages(wire(0, used(0, 0, seq=1, epoch=1), topic=SLICES, first=1), S)
    bank.on_tick(S)
    bank.close()
    assert bank.resume() == {(SLICES, 0): 2}
    assert Books(database, Shard(0, OF)).offsets() == {(SLICES, 0): 2}
    bank.assign(BOTH, 2 * S)
    assert bank.resume() == {(SLICES, 0): 0}


def test_rows_from_before_accounts_named_their_advertiser_find_their_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    with monkeypatch.context() as patch:
        patch.setattr("bidder.store.database.MIGRATIONS", [each for each in MIGRATIONS if each.version < 5])
        Database(path, durable=False).close()
    raw = sqlite3.connect(path)
    names = [
        "c0",
        f"a/{ONE}/money",
        "c/c0/imps/d3",
        "l/shoes/money",
        "c1",
        f"a/{OTHER}/imps",
        "l/hats/imps/d9",
    ]
    forever = 9_000_000_000_000_000_000
    raw.executemany(
        "INSERT INTO accounts VALUES (?, 0, 0, 0, 0, 0, 0, 0, ?)", [(name, forever) for name in names]
    )
    raw.executemany(
        """INSERT INTO bookings (bid_id, kind, event_id, campaign_id, seat, epoch, price_nanos, amount_nanos,
               value_nanos, at_ns, booked_ns, late, unbilled, keep_until_ns)
           VALUES (?, 1, '', ?, 's1', 1, 0, 0, 0, 0, 0, 0, 0, ?)""",
        [("b0", "c0", forever), ("b1", "c1", forever)],
    )
    raw.commit()
    raw.close()
    whose = {"c0": ONE, "l/shoes": ONE, "c1": OTHER, "l/hats": OTHER}
    with Database(path, durable=False) as database:
        for number, expected in ((0, names[:4]), (1, names[4:])):
            state = Books(database, Shard(number, OF)).load(0, whose)
            assert sorted(row.account_id for row in state.accounts) == sorted(expected)
            assert [row.bid_id for row in state.bookings] == [f"b{number}"]


def test_line_items_that_were_taken_away_stay_in_their_shard(database: Database) -> None:
    store = CampaignStore(database)
    store.put([campaign("c1", advertiser=OTHER, line_items=(item("hats", lifetime_nanos=9 * S),))], at_ns=1)
    bank = ShardedBank(database, RULES, OF)
    bank.assign(BOTH, 0)
    bank.on_messages(wire(1, bill(1, line_item_id="hats")), 10 * S)
    store.put([campaign("c1", advertiser=OTHER, line_items=(item("caps"),))], at_ns=2)
    state = Books(database, Shard(1, OF)).load(0, {"c0": ONE, "c1": OTHER})
    assert "l/hats/money" in {row.account_id for row in state.accounts}


# The loop


def make_bus() -> Bus:
    return Bus(dict.fromkeys((NOTICES, SLICES, SETTLEMENTS, LEASES, CHANGES, EXPOSURES, CREATIVES), OF))


async def test_all_shards_in_one_process_are_one_bank(database: Database) -> None:
    now_ns = SystemClock().now_ns()
    bus, stop = make_bus(), asyncio.Event()
    source = BankSource(bus.source((NOTICES,), BANK_GROUP), bus.source((SLICES,)))
    await source.start()
    bank = ShardedBank(database, RULES, OF)
    task = asyncio.create_task(run_bank(bank, source, bus.sink(), SystemClock(), stop, tick_s=0.01))
    times = {"at_ns": now_ns, "liable_until_ns": now_ns + 60 * S}
    bills = [bill(n % OF, f"b-{n}", **times) for n in range(20)]
    await bus.sink().publish(
        [Outbound(NOTICES, each.advertiser_id.encode(), encode(each)) for each in bills]  # type: ignore[attr-defined]
    )
    for _ in range(500):
        if sum(bus.committed(BANK_GROUP, NOTICES, number) for number in range(OF)) == 20:
            break
        await asyncio.sleep(0.01)
    stop.set()
    await task
    assert spend(database) == 20 * 2_000_000
    assert [bus.committed(BANK_GROUP, NOTICES, number) for number in range(OF)] == [10, 10]
    bank.verify()


class MovingSource:
    """A source whose share a test moves, with the messages that it was given."""

    def __init__(self) -> None:
        self.now = Share(0, frozenset())
        self.waiting: list[Message] = []
        self.committed: dict[tuple[str, int], int] = {}
        self.rewound: list[Mapping[tuple[str, int], int]] = []

    async def start(self) -> None:
        """Nothing to connect."""

    async def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        taken, self.waiting = self.waiting, []
        return taken

    async def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        self.committed |= next_offsets

    def mark(self) -> None:
        """All is read at once."""

    async def passed(self) -> bool:
        return True

    def share(self) -> Share:
        return self.now

    def rewind(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        self.rewound.append(dict(next_offsets))

    async def stop(self) -> None:
        """Nothing is held."""


async def test_a_bank_that_slept_commits_nothing_of_a_shard_it_lost_and_goes_on(
    database: Database, beside: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, bus = MovingSource(), make_bus()
    with ThreadPoolExecutor(1) as thread:
        bank = ShardedBank(database, RULES, OF)
        loop = _BankLoop(bank, source, bus.sink(), VirtualClock(10 * S), thread)
        source.now = Share(1, BOTH)
        await loop.round(0)
        ShardedBank(beside, RULES, OF).assign(frozenset({1}), 10 * S)
        source.waiting = [*wire(0, bill(0)), *wire(1, bill(1, "b-2"))]
        await loop.round(0)
        await loop.commit()
        assert source.committed == {(NOTICES, 0): 1}
        assert spend(database) == 2_000_000
        source.now = Share(2, frozenset({0}))
        source.waiting = wire(0, bill(0, "b-3"), first=1)
        monkeypatch.setattr(bank_loop, "_ADRIFT_S", 0.0)
        for _ in range(3):
            await loop.round(0)
    assert spend(database) == 4_000_000


async def rounds(loop: _BankLoop, count: int) -> None:
    for _ in range(count):
        await loop.round(0)


async def test_a_bank_that_never_hears_why_its_shard_is_anothers_ends(
    database: Database, beside: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_loop, "_ADRIFT_S", 0.0)
    source, bus = MovingSource(), make_bus()
    with ThreadPoolExecutor(1) as thread:
        loop = _BankLoop(ShardedBank(database, RULES, OF), source, bus.sink(), VirtualClock(10 * S), thread)
        source.now = Share(1, BOTH)
        await loop.round(0)
        ShardedBank(beside, RULES, OF).assign(BOTH, 10 * S)
        source.waiting = wire(0, bill(0))
        await loop.round(0)
        with pytest.raises(BooksTaken, match="another bank has taken it over"):
            await rounds(loop, 3)


async def test_a_new_shard_frees_and_leases_nothing_before_what_waits_is_read(database: Database) -> None:
    class Behind(MovingSource):
        async def passed(self) -> bool:
            return False

    source, bus = Behind(), make_bus()
    first = ShardedBank(database, RULES, OF)
    first.assign(BOTH, 0)
    first.on_messages(wire(0, ask(), topic=SLICES), 0)
    first.on_tick(0)
    with ThreadPoolExecutor(1) as thread:
        bank = ShardedBank(database, RULES, OF)
        loop = _BankLoop(bank, source, bus.sink(), VirtualClock(900 * S), thread)
        source.now = Share(1, BOTH)
        source.waiting = wire(0, ask("b"), topic=SLICES, first=1)
        for _ in range(3):
            await loop.round(0)
        assert [report.leased_nanos > 0 for report in bank.report()] == [True, True]
        assert bus.log(LEASES) == [[], []]
    assert source.rewound == [{(SLICES, 0): 1}]


def test_a_batch_of_a_bank_that_never_claimed_is_refused(database: Database) -> None:
    with pytest.raises(BooksTaken):
        Books(database, Shard(1, OF)).write(Batch())
