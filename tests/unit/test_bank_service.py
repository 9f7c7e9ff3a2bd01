"""The bank on its books: what is written with what, told when, and what a crash leaves."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import pytest

from bidder.config import load_config
from bidder.core.bankrules import BankRules
from bidder.core.campaigns import Status
from bidder.core.exposures import Exposure
from bidder.core.messages import (
    CAMPAIGNS,
    CREATIVES,
    EXPOSURES,
    LEASES,
    NOTICES,
    SETTLEMENTS,
    SLICES,
    AdvertiserChange,
    CampaignChange,
    Conversion,
    CreativeCounts,
    Lease,
    NoticeKind,
    Settlement,
    SettlementKind,
    Settlements,
    encode,
    in_bulk,
)
from bidder.core.messages import Message as Record
from bidder.core.users import key_text
from bidder.errors import DeliveryError, InvariantError
from bidder.money import MAX_NANOS
from bidder.runtime.bank import BANK_GROUP, BANK_TOPICS, BankService, bank_rules
from bidder.runtime.bank_loop import _BankLoop, run_bank
from bidder.runtime.bus import Bus, BusSource
from bidder.runtime.clock import SystemClock, VirtualClock
from bidder.runtime.transport import Message, Outbound, Share
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, advertiser, ask, bid_id, campaign, item, notice, used

BILLING = NoticeKind.BILLING
_Record = TypeVar("_Record", Settlement, Lease, CampaignChange, AdvertiserChange, Exposure, CreativeCounts)
RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S, late_share_ppm=0)


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with Database(place, durable=False) as database:
        CampaignStore(database).put([campaign()], at_ns=0)
        yield database


def wire(*records: Record, topic: str = NOTICES, first: int = 0) -> list[Message]:
    return [Message(topic, 0, first + number, None, encode(each), 0) for number, each in enumerate(records)]


_TOPIC_OF = {Lease: LEASES, Exposure: EXPOSURES, CreativeCounts: CREATIVES}


def told(out: Sequence[Outbound], kind: type[_Record]) -> list[_Record]:
    """Messages of a kind, from its topic; settlements one by one."""
    if kind is Settlement:
        bulk = [
            msgspec.json.decode(each.value, type=Settlements) for each in out if each.topic == SETTLEMENTS
        ]
        return [row for settlements in bulk for row in settlements.each()]
    changes = CampaignChange | AdvertiserChange
    if kind in {CampaignChange, AdvertiserChange}:
        found = [msgspec.json.decode(each.value, type=changes) for each in out if each.topic == CAMPAIGNS]
        return [change for change in found if isinstance(change, kind)]
    return [msgspec.json.decode(each.value, type=kind) for each in out if each.topic == _TOPIC_OF[kind]]


def spend(service: BankService) -> int:
    return sum(report.spend_nanos for report in service.report())


def test_a_booked_notice_is_a_settlement_to_its_seat(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    out = service.on_messages(wire(notice(BILLING)), 10 * S)
    assert [(each.topic, each.key) for each in out] == [(SETTLEMENTS, b"s1")]
    (settlement,) = told(out, Settlement)
    assert settlement.amount_nanos == 2_000_000


def test_what_was_booked_survives_a_crash(database: Database) -> None:
    BankService.open(database, RULES, 0).on_messages(wire(notice(BILLING)), 10 * S)
    again = BankService.open(database, RULES, 11 * S)
    assert spend(again) == 2_000_000
    again.verify()


def test_messages_read_again_after_a_crash_change_and_count_nothing(database: Database) -> None:
    batch = wire(
        notice(BILLING), notice(BILLING), notice(NoticeKind.CLICK), notice(BILLING, "b-2", price_nanos=0)
    )
    first = BankService.open(database, RULES, 0)
    first.on_messages(batch, 10 * S)
    again = BankService.open(database, RULES, 11 * S)
    assert again.on_messages(batch, 11 * S) == []
    assert again.report() == first.report()


def test_a_batch_of_old_and_new_takes_the_new(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(notice(BILLING)), 10 * S)
    service.on_messages(wire(notice(BILLING), notice(BILLING, "b-2")), 11 * S)
    assert spend(service) == 4_000_000
    assert service.report()[0].refused == {}


def test_a_broker_that_began_again_at_offset_zero_loses_no_money(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(notice(BILLING), first=500), 10 * S)
    service.on_messages(wire(ask(), topic=SLICES, first=500), 10 * S)
    again = BankService.open(database, RULES, 11 * S)
    assert len(told(again.on_messages(wire(notice(BILLING, "b-2"), first=0), 11 * S), Settlement)) == 1
    again.on_messages(wire(ask("b"), topic=SLICES, first=0), 11 * S)
    assert [lease.epoch for lease in told(again.on_tick(11 * S), Lease)] == [2]
    assert spend(again) == 4_000_000


def test_what_was_booked_and_not_acknowledged_is_told_again(database: Database) -> None:
    out = BankService.open(database, RULES, 0).on_messages(wire(notice(BILLING)), 10 * S)
    again = BankService.open(database, RULES, 11 * S)
    assert told(again.restate(11 * S), Settlement) == told(out, Settlement)


def test_what_was_acknowledged_is_not_told_again(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(notice(BILLING)), 10 * S)
    service.published()
    service.on_messages(wire(notice(BILLING, "b-2"), first=1), 10 * S)
    assert [each.bid_id for each in told(service.restate(11 * S), Settlement)] == [bid_id("b-2")]
    service.published()
    service.close()
    assert told(BankService.open(database, RULES, 11 * S).restate(11 * S), Settlement) == []


def test_a_start_tells_all_campaigns_and_live_leases(database: Database) -> None:
    first = BankService.open(database, RULES, 0)
    first.on_messages(wire(ask(), topic=SLICES), 0)
    leases = told(first.on_tick(0), Lease)
    out = BankService.open(database, RULES, 1 * S).restate(1 * S)
    assert told(out, Lease) == leases
    assert told(out, CampaignChange) == [CampaignChange(version=1, campaign_id="c1", campaign=campaign())]


def test_a_lease_has_a_key_of_its_own_since_its_topic_is_compacted(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    assert [out.key for out in service.on_tick(0)] == [b"s1 c1"]


def test_a_changed_campaign_is_told_with_the_next_tick(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    service.on_tick(0)
    CampaignStore(database).set_budget("c1", 200 * S, at_ns=1)
    out = service.on_tick(1 * S)
    (change,) = told(out, CampaignChange)
    (lease,) = told(out, Lease)
    assert (change.campaign and change.campaign.budget_nanos, lease.budget_nanos) == (200 * S, 200 * S)
    assert told(service.on_tick(2 * S), CampaignChange) == []


def test_a_paused_campaign_is_told_paused(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    CampaignStore(database).set_status("c1", Status.PAUSED, at_ns=1)
    (change,) = told(service.on_tick(1 * S), CampaignChange)
    assert change.campaign is not None
    assert change.campaign.status is Status.PAUSED


def test_an_unreadable_message_is_counted_and_passed(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    bad = Message(NOTICES, 0, 0, None, b"{", 0)
    later = Message(NOTICES, 0, 1, None, encode(notice(BILLING, v=2)), 0)
    service.on_messages([bad, later, *wire(notice(BILLING), first=2)], 10 * S)
    assert service.bank.refused() == {"malformed": 2}
    assert spend(service) == 2_000_000


def altered(record: Record, **fields: object) -> bytes:
    """The record as JSON with other fields, whatever they may be."""
    return msgspec.json.encode({**msgspec.json.decode(encode(record)), **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"liable_until_ns": 2**63 - 1},
        {"liable_until_ns": -1},
        {"at_ns": 2**63},
        {"at_ns": -(2**62)},
        {"epoch": 2**62 + 1},
        {"epoch": 2**63},
        {"epoch": -1},
        {"price_nanos": 2**63, "cap_nanos": 2**63},
        {"price_nanos": -1},
        {"value_nanos": 2**63},
        {"bid_id": "short"},
        {"bid_id": "b-1------------\0"},
        {"campaign_id": "c1\0"},
        {"campaign_id": "x" * 65},
        {"seat": "s\0"},
        {"seat": "s" * 256},
        {"event_id": "e" * 65},
    ],
)
def test_a_notice_that_the_books_cannot_keep_is_counted_and_passed(
    database: Database, fields: dict[str, object]
) -> None:
    service = BankService.open(database, RULES, 0)
    bad = Message(NOTICES, 0, 0, None, altered(notice(BILLING), **fields), 0)
    service.on_messages([bad, *wire(notice(BILLING, "b-2"), first=1)], 10 * S)
    service.on_tick(11 * S)
    assert (service.bank.refused(), spend(service)) == ({"malformed": 1}, 2_000_000)


@pytest.mark.parametrize("number", [10**30, 2**70])
def test_a_number_of_any_length_is_counted_and_passed(database: Database, number: int) -> None:
    service = BankService.open(database, RULES, 0)
    text = encode(notice(BILLING)).replace(b":2000000", b":" + str(number).encode())
    service.on_messages([Message(NOTICES, 0, 0, None, text, 0)], 10 * S)
    assert service.bank.refused() == {"malformed": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": 2**63},
        {"epoch": 2**63},
        {"at_ns": 2**63},
        {"seat": ""},
        {"seat": "s\0"},
        {"start_id": "a" * 256},
        {"rows": [{"account_id": "c1", "granted_nanos": 0, "reserved_nanos": -1, "posted_nanos": 0}]},
        {"rows": [{"account_id": "c1", "granted_nanos": 0, "reserved_nanos": 0, "posted_nanos": 2**63}]},
    ],
)
def test_a_report_that_the_books_cannot_keep_is_counted_and_passed(
    database: Database, fields: dict[str, object]
) -> None:
    service = BankService.open(database, RULES, 0)
    bad = Message(SLICES, 0, 0, None, altered(ask(), **fields), 0)
    service.on_messages([bad], 10 * S)
    assert told(service.on_tick(11 * S), Lease) == []
    assert service.bank.refused() == {"malformed": 1}


def test_spend_past_the_largest_amount_is_refused(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    much: dict[str, Any] = {"price_nanos": MAX_NANOS, "cap_nanos": MAX_NANOS}
    service.on_messages(wire(notice(BILLING, **much), notice(BILLING, "b-2", **much)), 10 * S)
    service.on_tick(11 * S)
    assert (service.bank.refused(), spend(service)) == ({"bad_value": 1}, MAX_NANOS)


def test_nothing_is_freed_in_the_first_lease_after_a_start(database: Database) -> None:
    first = BankService.open(database, RULES, 0)
    first.on_messages(wire(ask(), topic=SLICES), 0)
    first.on_tick(0)
    again = BankService.open(database, RULES, 500 * S)
    again.on_tick(529 * S)
    assert again.report()[0].leased_nanos == 25 * S
    again.on_tick(530 * S)
    assert again.report()[0].leased_nanos == 0


def marks(out: Sequence[Outbound]) -> list[int]:
    """Up to when seats were told that all notices were heard, in seconds."""
    records = [msgspec.json.decode(each.value, type=Settlements) for each in out if each.topic == SETTLEMENTS]
    return [record.heard_until_ns // S for record in records if record.heard_until_ns]


def test_a_seat_is_told_up_to_when_all_notices_were_heard(database: Database) -> None:
    """Less the margin, since its clock may be ahead of the bank's."""
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    assert marks(service.on_tick(20 * S, 17 * S)) == [17 - 5]
    assert all(lease.held for lease in service.bank.live_leases(20 * S))


def test_a_mark_is_told_again_only_when_it_moved_by_a_part_of_a_lease(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    times = [20 * S, 20 * S, 20 * S + S // 2, 22 * S]
    assert [marks(service.on_tick(22 * S, seen_ns)) for seen_ns in times] == [[15], [], [], [17]]


def test_no_mark_passes_a_settlement_that_was_not_acknowledged(database: Database) -> None:
    """Else a seat would free what a billing has spent, before it hears of the billing."""
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    service.on_messages(wire(notice(BILLING)), 11 * S)
    assert marks(service.on_tick(20 * S)) == []
    service.restate(21 * S)
    assert marks(service.on_tick(21 * S)) == []
    service.published()
    assert marks(service.on_tick(22 * S)) == [17]


def test_a_start_tells_no_mark_before_what_was_untold(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    service.on_messages(wire(notice(BILLING), first=1), 11 * S)
    again = BankService.open(database, RULES, 20 * S)
    again.on_messages(wire(ask(), topic=SLICES, first=1), 20 * S)
    assert marks(again.on_tick(20 * S)) == []
    assert told(again.restate(21 * S), Settlement)
    again.published()
    assert marks(again.on_tick(21 * S)) == [16]


def test_a_failed_write_ends_the_service(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    with database.transaction() as connection:
        connection.execute(
            """INSERT INTO bookings (bid_id, kind, event_id, campaign_id, seat, epoch, price_nanos, amount_nanos,
                   value_nanos, at_ns, booked_ns, late, unbilled, keep_until_ns)
               VALUES (?, 2, '', 'c1', 's1', 1, 0, 0, 0, 0, 0, 0, 0, 0)""",
            (bid_id("b-1"),),
        )
    with pytest.raises(InvariantError, match="the books refuse a row"):
        service.on_messages(wire(notice(BILLING)), 10 * S)
    with database.transaction() as connection:
        connection.execute("DELETE FROM bookings")
    with pytest.raises(InvariantError, match="memory is ahead of its books"):
        service.on_messages(wire(notice(BILLING, "b-2")), 10 * S)
    assert spend(BankService.open(database, RULES, 11 * S)) == 0


def test_a_lease_outlasts_many_ticks_however_fast_the_clock() -> None:
    config = load_config(None, {})
    assert bank_rules(config).lease_ns == 30 * S
    assert bank_rules(config, speedup=1000.0).lease_ns == 4000 * S


def test_a_reservation_can_last_as_long_as_result_and_billing_of_any_exchange() -> None:
    config = load_config(None, {"CLEARBID_EXCHANGES_SLOW_BILLING_SECONDS": "3600"})
    assert bank_rules(config).longest_reservation_ns == (60 + 3600) * S


async def run_until(service: BankService, bus: Bus, done: asyncio.Event) -> None:
    source, sink = bus.source(BANK_TOPICS, BANK_GROUP), bus.sink()
    await source.start()
    await sink.start()
    await run_bank(service, source, sink, SystemClock(), done, tick_s=0.01)


def make_bus() -> Bus:
    return Bus(dict.fromkeys((NOTICES, SLICES, SETTLEMENTS, LEASES, CAMPAIGNS, EXPOSURES, CREATIVES), 1))


async def appears(bus: Bus, topic: str, count: int) -> list[Message]:
    """Messages of a topic once there are `count`, marks without a settlement left out; fails after five seconds."""
    found: list[Message] = []
    for _ in range(500):
        found = [
            message for message in bus.log(topic)[0] if b'"rows":[]' not in message.value or topic == SLICES
        ]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{topic} must get {count} messages, was {len(found)}")


async def test_a_running_bank_leases_settles_and_commits(database: Database) -> None:
    now_ns = SystemClock().now_ns()
    CampaignStore(database).put([campaign(start_ns=now_ns, end_ns=now_ns + 3600 * S)], at_ns=1)
    bus, stop = make_bus(), asyncio.Event()
    service = BankService.open(database, RULES, now_ns)
    task = asyncio.create_task(run_until(service, bus, stop))
    await bus.sink().publish([Outbound(SLICES, b"s1", encode(ask(at_ns=now_ns)))])
    lease = msgspec.json.decode((await appears(bus, LEASES, 1))[0].value, type=Lease)
    bill = notice(BILLING, at_ns=now_ns, liable_until_ns=now_ns + 60 * S)
    await bus.sink().publish([Outbound(NOTICES, b"c1", encode(bill))])
    await appears(bus, SETTLEMENTS, 1)
    stop.set()
    await task
    assert (lease.epoch, lease.granted_nanos) == (1, 25 * S)
    assert (bus.committed(BANK_GROUP, NOTICES, 0), bus.committed(BANK_GROUP, SLICES, 0)) == (1, 1)
    service.verify()


async def test_a_change_by_another_connection_reaches_the_topic_within_a_second(
    database: Database, place: str
) -> None:
    bus, stop = make_bus(), asyncio.Event()
    task = asyncio.create_task(run_until(BankService.open(database, RULES, 0), bus, stop))
    await appears(bus, CAMPAIGNS, 1)
    with Database(place) as other:
        CampaignStore(other).set_budget("c1", 7, at_ns=1)
    async with asyncio.timeout(1):
        messages = await appears(bus, CAMPAIGNS, 2)
    stop.set()
    await task
    assert msgspec.json.decode(messages[1].value, type=CampaignChange).campaign == campaign(budget_nanos=7)


class FailingSink:
    """A sink whose broker takes nothing for the first flushes."""

    def __init__(self, bus: Bus, failures: int) -> None:
        self._sink = bus.sink()
        self._failures = failures
        self._held: list[Outbound] = []

    async def start(self) -> None:
        await self._sink.start()

    async def publish(self, messages: Sequence[Outbound]) -> None:
        self._held += messages

    async def flush(self) -> None:
        held, self._held = self._held, []
        if self._failures:
            self._failures -= 1
            raise DeliveryError("no broker")
        await self._sink.publish(held)

    async def stop(self) -> None:
        await self._sink.stop()


async def test_what_a_broker_did_not_take_is_told_again(database: Database) -> None:
    bus, stop = make_bus(), asyncio.Event()
    now_ns = SystemClock().now_ns()
    bill = notice(BILLING, at_ns=now_ns, liable_until_ns=now_ns + 60 * S)
    await bus.sink().publish([Outbound(NOTICES, b"c1", encode(bill))])
    source, sink = bus.source(BANK_TOPICS, BANK_GROUP), FailingSink(bus, failures=3)
    await source.start()
    await sink.start()
    service = BankService.open(database, RULES, 0)
    task = asyncio.create_task(run_bank(service, source, sink, SystemClock(), stop, tick_s=0.01))
    await appears(bus, SETTLEMENTS, 1)
    await appears(bus, CAMPAIGNS, 1)
    stop.set()
    await task
    assert told(BankService.open(database, RULES, 0).restate(0), Settlement) == []


class SlowSource:
    """A source that hands out at most so many messages at a time, and none where it stalls."""

    def __init__(self, source: BusSource, at_once: int) -> None:
        self._source = source
        self.at_once = at_once

    async def start(self) -> None:
        await self._source.start()

    async def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        return await self._source.poll(min(max_messages, self.at_once), timeout_s) if self.at_once else []

    async def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        await self._source.commit(next_offsets)

    def mark(self) -> None:
        self._source.mark()

    async def passed(self) -> bool:
        return await self._source.passed()

    def share(self) -> Share:
        return self._source.share()

    def rewind(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        self._source.rewind(next_offsets)

    async def stop(self) -> None:
        await self._source.stop()


class Silence:
    """A seat that was granted all of 10 units, and a bank that was away while 3,000 notices came."""

    def __init__(self, database: Database, bus: Bus) -> None:
        CampaignStore(database).set_budget("c1", 10 * S, at_ns=0)
        self.rules = msgspec.structs.replace(RULES, min_chunk_bids=5_000)
        self.database = database
        self.bus = bus
        self.clock = VirtualClock(S)
        self.source = SlowSource(bus.source(BANK_TOPICS, BANK_GROUP), 100)

    def open(self, thread: ThreadPoolExecutor) -> _BankLoop:
        self.service = BankService.open(self.database, self.rules, self.clock.now_ns())
        return _BankLoop(self.service, self.source, self.bus.sink(), self.clock, thread)

    async def lease_all(self, loop: _BankLoop) -> int:
        """How many bids of 0.002 units the seat was granted."""
        await self.bus.sink().publish([Outbound(SLICES, b"s1", encode(ask()))])
        for _ in range(3):
            await loop.round(0)
        return self.service.report()[0].leased_nanos // 2_000_000

    async def go_on_without_a_bank(self, bids: int, until_ns: int) -> None:
        """All that was granted is billed in time, behind 1,000 impressions; the seat reports what it knows."""
        shown = [notice(NoticeKind.IMPRESSION, f"i-{n}", liable_until_ns=60 * S) for n in range(1_000)]
        billed = [notice(BILLING, f"b-{n}", at_ns=20 * S, liable_until_ns=60 * S) for n in range(bids)]
        await self.bus.sink().publish([Outbound(NOTICES, b"c1", encode(one)) for one in [*shown, *billed]])
        await self.bus.sink().publish([Outbound(SLICES, b"s1", encode(used(0, 0, seq=1)))])
        self.clock.advance_to(until_ns)


async def test_no_lease_is_renewed_before_what_waited_during_a_silence_is_booked(database: Database) -> None:
    bus = make_bus()
    world = Silence(database, bus)
    with ThreadPoolExecutor(1) as thread:
        loop = world.open(thread)
        bids = await world.lease_all(loop)
        leases = len(bus.log(LEASES)[0])
        await world.go_on_without_a_bank(bids, 80 * S)
        while world.service.report()[0].spend_nanos < 10 * S:
            assert len(bus.log(LEASES)[0]) == leases
            await loop.round(0)
    assert (bids, world.service.report()[0].uncovered_nanos) == (5_000, 0)


async def test_nothing_is_freed_after_a_start_before_what_waited_is_booked(database: Database) -> None:
    bus = make_bus()
    world = Silence(database, bus)
    with ThreadPoolExecutor(1) as thread:
        await world.go_on_without_a_bank(await world.lease_all(world.open(thread)), 900 * S)
        await bus.sink().publish([Outbound(SLICES, b"s1", encode(ask("b")))])
        loop = world.open(thread)
        world.clock.advance_to(1_000 * S)
        while world.service.report()[0].spend_nanos < 10 * S:
            await loop.round(0)
    (report,) = world.service.report()
    assert (report.spend_nanos, report.leased_nanos, report.uncovered_nanos) == (10 * S, 0, 0)


async def test_an_empty_poll_of_a_source_that_stalls_frees_nothing(database: Database) -> None:
    bus = make_bus()
    world = Silence(database, bus)
    with ThreadPoolExecutor(1) as thread:
        loop = world.open(thread)
        await world.go_on_without_a_bank(await world.lease_all(loop), 900 * S)
        world.source.at_once = 0
        for _ in range(3):
            await loop.round(0)
        assert world.service.report()[0].leased_nanos == 10 * S


async def test_money_comes_back_once_all_that_waited_is_booked(database: Database) -> None:
    """The gate opens again: what nobody billed is free."""
    bus = make_bus()
    world = Silence(database, bus)
    with ThreadPoolExecutor(1) as thread:
        loop = world.open(thread)
        bids = await world.lease_all(loop)
        await world.go_on_without_a_bank(bids - 1_000, 900 * S)
        for until_ns in (900 * S, 1_100 * S):
            world.clock.advance_to(until_ns)
            for _ in range(70):
                await loop.round(0)
    (report,) = world.service.report()
    assert (report.spend_nanos, report.leased_nanos) == (8 * S, 0)


def test_reports_of_a_seat_keep_its_lease(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    service.on_tick(0)
    service.on_messages(wire(used(0, 0, seq=1), topic=SLICES, first=1), 15 * S)
    (lease,) = told(service.on_tick(15 * S), Lease)
    assert lease.bid_until_ns == 45 * S


# Settlements in bulk


def test_settlements_of_a_batch_are_one_record_a_seat_and_epoch(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    batch = [
        notice(BILLING, "b-1"),
        notice(BILLING, "b-2", seat="s2"),
        notice(NoticeKind.LOSS, "b-3"),
        notice(BILLING, "b-4", epoch=2),
    ]
    out = service.on_messages(wire(*batch), 10 * S)
    records = [msgspec.json.decode(each.value, type=Settlements) for each in out]
    assert [(each.key, record.seat, record.epoch) for each, record in zip(out, records, strict=True)] == [
        (b"s1", "s1", 1),
        (b"s2", "s2", 1),
        (b"s1", "s1", 2),
    ]
    assert [row.bid_id for row in records[0].rows] == [bid_id("b-1"), bid_id("b-3")]


def test_a_record_holds_so_many_settlements_and_loses_none() -> None:
    rows = [
        Settlement(
            kind=SettlementKind.POSTED,
            seat="s1",
            epoch=1,
            bid_id=bid_id(f"b-{number}"),
            campaign_id="c1",
            amount_nanos=number + 1,
            late=number % 2 == 0,
            line_item_id="shoes",
            bid_at_ns=number,
            impressions=3,
        )
        for number in range(1_001)
    ]
    records = in_bulk(rows)
    assert [len(record.rows) for record in records] == [500, 500, 1]
    again = [msgspec.json.decode(encode(record), type=Settlements) for record in records]
    assert [row for record in again for row in record.each()] == rows


# Advertisers, exposures, creatives


def test_a_changed_advertiser_is_told_under_a_key_of_its_own_and_limits_with_the_next_tick(
    database: Database,
) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    service.on_tick(0)
    stated = advertiser(lifetime_nanos=8 * S)
    CampaignStore(database).put_advertisers([stated], at_ns=1)
    out = service.on_tick(1 * S)
    (change,) = told(out, AdvertiserChange)
    assert (change.advertiser_id, change.advertiser) == ("acme", stated)
    assert [each.key for each in out if each.topic == CAMPAIGNS] == [b"advertiser/acme"]
    assert [(lease.account_id, lease.budget_nanos) for lease in told(out, Lease)] == [("a/acme/money", 8 * S)]
    assert told(service.on_tick(2 * S), AdvertiserChange) == []


def test_a_start_knows_and_tells_all_advertisers(database: Database) -> None:
    stated = advertiser(lifetime_nanos=8 * S)
    CampaignStore(database).put_advertisers([stated], at_ns=1)
    service = BankService.open(database, RULES, 0)
    assert [change.advertiser for change in told(service.restate(0), AdvertiserChange)] == [stated]
    service.on_messages(wire(ask(), topic=SLICES), 0)
    assert {lease.account_id for lease in told(service.on_tick(0), Lease)} == {"c1", "a/acme/money"}


def test_days_and_line_items_survive_a_crash(database: Database) -> None:
    store = CampaignStore(database)
    store.put([campaign(line_items=(item("shoes", daily_nanos=S, daily_impressions=9),))], at_ns=1)
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(ask(), topic=SLICES), 0)
    service.on_tick(0)
    bill = notice(BILLING, line_item_id="shoes", bid_at_ns=5 * S, creative_id="b1")
    service.on_messages(wire(bill), 10 * S)
    service.on_tick(86_400 * S)
    again = BankService.open(database, RULES, 86_400 * S)
    again.on_tick(86_400 * S)
    assert again.bank.accounts() == service.bank.accounts()
    assert [each.id for each in again.bank.accounts() if each.booked] == [
        "c1",
        "l/shoes/imps/d0",
        "l/shoes/money/d0",
    ]
    assert again.bank.line_items() == service.bank.line_items()
    again.verify()


def shown(bid: str = "b-1", **changes: Any) -> Record:
    fields: dict[str, Any] = {"user": 0xABC, "partition": 3, "creative_id": "b1"}
    return notice(NoticeKind.IMPRESSION, bid, **(fields | changes))


def test_an_exposure_goes_to_the_partition_of_its_bids_request(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    out = service.on_messages(wire(shown(), shown("b-2", partition=-1)), 10 * S)
    assert [(each.key, each.partition) for each in out if each.topic == EXPOSURES] == [
        (b"0000000000000abc", 3),
        (b"0000000000000abc", None),
    ]
    assert [exposure.bid_id for exposure in told(out, Exposure)] == [bid_id("b-1"), bid_id("b-2")]


def test_an_exposure_that_was_not_acknowledged_is_told_again(database: Database) -> None:
    out = BankService.open(database, RULES, 0).on_messages(wire(shown()), 10 * S)
    again = BankService.open(database, RULES, 11 * S).restate(11 * S)
    assert [each for each in again if each.topic == EXPOSURES] == [
        each for each in out if each.topic == EXPOSURES
    ]


def test_counts_of_creatives_are_told_by_creative_and_again_after_a_start(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(shown(), notice(NoticeKind.CLICK, creative_id="b1")), 10 * S)
    out = service.on_tick(10 * S)
    counts = CreativeCounts(campaign_id="c1", creative_id="b1", impressions=1, clicks=1)
    assert [(each.key, told([each], CreativeCounts)) for each in out if each.topic == CREATIVES] == [
        (b"c1/b1", [counts])
    ]
    service.published()
    service.close()
    assert told(BankService.open(database, RULES, 11 * S).restate(11 * S), CreativeCounts) == [counts]


@pytest.mark.parametrize(
    "fields",
    [
        {"user": 2**64},
        {"user": -1},
        {"user": 10**30},
        {"line_item_id": "a/b"},
        {"line_item_id": "x" * 65},
        {"creative_id": "b\0"},
        {"bid_at_ns": -1},
        {"bid_at_ns": 2**63},
        {"impressions": -1},
        {"impressions": 10**12 + 1},
        {"partition": -2},
        {"partition": 2**31},
    ],
)
def test_a_notice_of_a_bid_that_cannot_be_is_counted_and_passed(
    database: Database, fields: dict[str, object]
) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages([Message(NOTICES, 0, 0, None, altered(shown(), **fields), 0)], 10 * S)
    assert service.bank.refused() == {"malformed": 1}


SALE = Conversion(
    advertiser_id="acme", order_id="o-1", value_nanos=3 * S, at_ns=10 * S, arrived_ns=10 * S, users=(key_text(7),)
)  # fmt: skip


def test_a_conversion_that_waits_survives_a_crash_and_finds_its_click(database: Database) -> None:
    BankService.open(database, RULES, 0).on_messages(wire(SALE), 10 * S)
    service = BankService.open(database, RULES, 11 * S)
    service.on_messages(wire(SALE), 11 * S)  # again, as the broker does not know that it was booked
    click = notice(NoticeKind.CLICK, advertiser_id="acme", user=7, at_ns=9 * S)
    service.on_messages(wire(click, first=1), 12 * S)
    service.on_tick(13 * S)
    service.verify()
    assert (service.report()[0].conversions, service.bank.unattributed()) == (1, [])
    with database.reading() as connection:
        (left,) = connection.execute("SELECT count(*) FROM held").fetchone()
        orders = connection.execute("SELECT advertiser_id, order_id, bid_id FROM orders").fetchall()
    assert (left, orders) == (0, [("acme", "o-1", bid_id("b-1"))])


def test_why_conversions_count_for_nothing_survives_a_crash(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    service.on_messages(wire(SALE), 10 * S)
    service.on_tick(10 * S + RULES.hold_ns)
    again = BankService.open(database, RULES, 11 * S)
    assert [tuple(row) for row in again.bank.unattributed()] == [("acme", "no_touch", 1, 3 * S)]


@pytest.mark.parametrize(
    "change", [{"users": ["7"]}, {"users": [key_text(7)] * 4}, {"order_id": ""}, {"value_nanos": -1}]
)
def test_a_conversion_that_the_books_cannot_keep_is_counted_and_passed(
    database: Database, change: dict[str, Any]
) -> None:
    service = BankService.open(database, RULES, 0)
    value = msgspec.json.encode(msgspec.json.decode(encode(SALE)) | change)
    service.on_messages([Message(NOTICES, 0, 0, None, value, 0)], 10 * S)
    assert service.bank.refused() == {"malformed": 1}


def test_billings_that_come_later_than_the_setting_says_are_said_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    rules = msgspec.structs.replace(RULES, late_tail_ns=60 * S)
    service = BankService.open(database, rules, 0)
    late = [notice(BILLING, f"b{n}", at_ns=(161 + n) * S, price_nanos=1) for n in range(20)]
    service.on_messages(wire(*late[:19]), 200 * S)
    service.on_tick(200 * S)
    assert "late_tail_seconds" not in caplog.text
    service.on_messages(wire(*late[19:], first=19), 201 * S)
    for second in range(3):
        service.on_tick((201 + second) * S)
    (said,) = [record.getMessage() for record in caplog.records if "late_tail_seconds" in record.message]
    assert "was 60: of 20 late billings 20 came later, the last after 80 s" in said
