"""The breaker of all spend, over the shards of a process and over processes."""

from collections.abc import Iterator, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.bankrules import BankRules
from bidder.core.brakes import WINDOW_S, Velocity
from bidder.core.guard import Guard, Watch
from bidder.core.lines import Line, lines_of
from bidder.core.messages import ALL, NOTICES, SLICES, NoticeKind, SliceReport, SliceRow, Trip, encode
from bidder.core.messages import Message as Record
from bidder.core.settings import BrakeSettings
from bidder.core.shards import Shard, shard_of
from bidder.runtime.bank_shards import ShardedBank
from bidder.runtime.transport import Message
from bidder.store.brakes import BrakeStore
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, campaign, notice

OF = 4
SHOPS = tuple(next(f"shop-{n}" for n in range(99) if shard_of(f"shop-{n}", OF) == each) for each in range(OF))
LIMIT = 100
BRAKES = BrakeSettings(factor=0, max_nanos_per_minute=LIMIT, reset_seconds=20)
RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S, brakes=BRAKES)


def lines(*shards: int) -> tuple[Line, ...]:
    return lines_of({f"c{n}": campaign(f"c{n}", advertiser=SHOPS[n]) for n in shards}, {})


def watching(*held: int, of: int = OF) -> tuple[Guard, dict[int, Watch]]:
    guard = Guard(BRAKES)
    return guard, {n: guard.watch(Shard(n, of), lambda n=n: lines(n)) for n in held}  # type: ignore[misc]


def spend(watch: Watch, number: int, nanos: int, at_ns: int = 0) -> None:
    watch.spend((f"c{number}", f"c{number}", SHOPS[number]), nanos, at_ns)


def test_the_spend_of_all_shards_of_a_process_is_one() -> None:
    guard, watches = watching(*range(OF))
    for number, watch in watches.items():
        spend(watch, number, 25)
    assert guard.tripped(S) == []
    spend(watches[2], 2, 1, S)
    (trip,) = guard.tripped(2 * S)
    assert (trip.name, trip.nanos, trip.limit, trip.until_ns) == (ALL, 101, 100, 22 * S)
    assert guard.tripped(3 * S) == []


@given(st.lists(st.integers(0, 60), min_size=OF, max_size=OF), st.integers(0, 2**OF - 1))
def test_more_than_the_limit_in_a_minute_trips_some_process_however_shards_lie(
    spent: list[int], split: int
) -> None:
    """Two processes with any shards each; neither knows what the other spends."""
    tripped = []
    for side in (0, 1):
        held = [n for n in range(OF) if split >> n & 1 == side]
        guard, watches = watching(*held)
        for number in held:
            spend(watches[number], number, spent[number])
        tripped += guard.tripped(S)
    if sum(spent) > LIMIT:
        assert tripped
    if split in (0, 2**OF - 1):
        assert bool(tripped) == (sum(spent) > LIMIT), "one that holds all is exact"


def test_a_shard_that_is_held_no_more_takes_its_spend_and_its_part_away() -> None:
    guard, watches = watching(0, 1)
    spend(watches[0], 0, 30)
    spend(watches[1], 1, 20)
    guard.keep({0})
    spend(watches[0], 0, 0)
    (trip,) = guard.tripped(S)
    assert (trip.nanos, trip.limit) == (30, 25)
    guard, watches = watching(0, 1)
    spend(watches[1], 1, 50)
    guard.keep({0})
    spend(watches[0], 0, 25)
    assert guard.tripped(S) == []


def report(
    seat: str, at_ns: int, *, whole: bool = True, trips: Sequence[Trip] = (), **used: int
) -> SliceReport:
    rows = tuple(
        SliceRow(account_id=name, granted_nanos=0, reserved_nanos=nanos, posted_nanos=0)
        for name, nanos in used.items()
    )
    return SliceReport(
        seat=seat, epoch=1, seq=at_ns, start_id="a", at_ns=at_ns, rows=rows, whole=whole, trips=tuple(trips)
    )


def test_what_a_seat_sets_aside_counts_in_the_shard_of_its_campaign_alone() -> None:
    settings = msgspec.structs.replace(BRAKES, reserved_ppm=1_000_000)
    guard = Guard(settings)
    watches = [guard.watch(Shard(n, 2), lambda: ()) for n in range(2)]
    for at_ns, nanos in ((S, 0), (2 * S, 60), (2 * S, 60), (S, 0), (3 * S, 60)):
        for number, watch in enumerate(watches):
            said = report("s1", at_ns, c0=nanos, c1=nanos)
            watch.report(said, lambda name, n=number: SHOPS[n] if name == f"c{n}" else None)  # type: ignore[misc]
    assert [watch.velocity.flow(ALL, 3 * S) for watch in watches] == [60_000_000] * 2
    assert [trip.nanos for trip in guard.tripped(3 * S)] == [120]


def test_a_report_leaves_nothing_of_campaigns_and_seats_that_are_gone() -> None:
    watch = Watch(BRAKES, lambda: ())
    for day in range(300):
        for seat in ("stays", f"pod-{day}"):
            watch.report(report(seat, day * 86_400 * S, **{f"c{day}": 1}), lambda _: "shop")
        watch.forget_silent(day * 86_400 * S)
    assert len(watch) == 4


def test_names_of_which_nothing_is_counted_any_more_are_forgotten() -> None:
    velocity, guard = Velocity(BRAKES), Guard(BRAKES)
    watch = guard.watch(Shard(0, 1), lambda: ())
    for day in range(300):
        spend(watch, 0, 1, day * 86_400 * S)
        watch.spend((f"x{day}", f"y{day}", "shop"), 1, day * 86_400 * S)
        guard.tripped(day * 86_400 * S)
        guard.tripped((day * 86_400 + WINDOW_S + 1) * S)
        assert len(watch.velocity) <= 6
    assert len(velocity) == 0


# -- with books -----------------------------------------------------------------------------------------------------


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with Database(place, durable=False) as database:
        CampaignStore(database).put_all(
            [campaign(f"c{n}", advertiser=SHOPS[n], budget_nanos=10**9) for n in range(OF)], [], at_ns=0
        )
        yield database


def wire(partition: int, *records: Record, topic: str = NOTICES, first: int = 0) -> list[Message]:
    return [Message(topic, partition, first + n, None, encode(each), 0) for n, each in enumerate(records)]


def bill(number: int, price_nanos: int, at_ns: int = 10 * S) -> Record:
    times = {"at_ns": at_ns, "bid_at_ns": at_ns, "liable_until_ns": at_ns + 60 * S}
    return notice(
        NoticeKind.BILLING,
        f"b{number}-{at_ns // S}",
        campaign_id=f"c{number}",
        advertiser_id=SHOPS[number],
        price_nanos=price_nanos,
        **times,
    )


def test_a_bank_of_all_shards_trips_at_the_limit_and_writes_it_once(database: Database) -> None:
    bank, store = ShardedBank(database, RULES, OF), BrakeStore(database)
    bank.assign(frozenset(range(OF)), 0)
    bank.on_messages([each for n in range(OF) for each in wire(n, bill(n, LIMIT // OF))], 10 * S)
    bank.on_tick(11 * S)
    assert store.history() == [], "each shard spends a quarter of it"
    bank.on_messages(wire(0, bill(0, 1, 11 * S), first=1), 11 * S)
    for second in range(12, 16):
        bank.on_tick(second * S)
    assert [(row.name, row.reason) for row in store.history()] == [
        (ALL, f"{LIMIT + 1} nanos in a minute, allowed are {LIMIT}")
    ]


def test_a_trip_that_a_seat_reports_is_written_by_the_holder_of_its_shard_alone(database: Database) -> None:
    banks = [ShardedBank(database, RULES, OF), ShardedBank(database, RULES, OF)]
    banks[0].assign(frozenset({0, 1}), 0)
    banks[1].assign(frozenset({2, 3}), 0)
    names = [ALL, f"a/{SHOPS[1]}", "c/c2", "c/c3", "c/nobodys"]
    said = report("s1", 10 * S, trips=[Trip(name, 10 * S, 900 * S, 2, 1) for name in names])
    for number, bank in enumerate(banks):
        bank.on_messages(wire(0, said, topic=SLICES), 10 * S)
        for shard in (0, 1):
            for trip in bank.services[2 * number + shard].bank.tripped(11 * S):
                BrakeStore(database).trip(trip)
    assert sorted(row.name for row in BrakeStore(database).history()) == sorted(names[:-1])
