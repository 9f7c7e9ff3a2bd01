"""Up to when trackers have brought what they took, and what of a bank waits for it."""

import asyncio

import msgspec
import pytest

from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules
from bidder.core.bookings import BankState
from bidder.core.lowwater import LowWater
from bidder.core.messages import (
    NOTICES,
    SETTLEMENTS,
    SLICES,
    TOPICS,
    TRACKERS,
    Notice,
    NoticeKind,
    Settlements,
    TrackerMark,
    encode,
)
from bidder.errors import DeliveryError
from bidder.runtime.bank import BANK_GROUP, BankService
from bidder.runtime.bank_loop import read_mark, run_bank
from bidder.runtime.bus import Bus
from bidder.runtime.clock import SystemClock
from bidder.runtime.http import Reply
from bidder.runtime.transport import Message, Outbound
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from bidder.web.publish import NoticePublisher
from bidder.web.spool import Spool
from simulator.disk import SimulatedDisk
from tests.support.banking import S, ask, campaign, notice

WAIT, LEASE = 60 * S, 30 * S
BEGUN = 1_000 * S


def mark(tracker: str, until_s: int, *, left: bool = False) -> TrackerMark:
    return TrackerMark(tracker=tracker, until_ns=until_s * S, left=left)


def water(*marks: TrackerMark) -> LowWater:
    low = LowWater(WAIT, LEASE, BEGUN)
    for each in marks:
        low.take(each)
    return low


def test_the_least_of_all_marks_counts() -> None:
    low = water(mark("a", 1_050), mark("b", 1_040))
    assert low.until_ns(1_051 * S) == 1_040 * S
    low.take(mark("b", 1_051))
    assert low.until_ns(1_052 * S) == 1_050 * S


def test_a_mark_that_comes_behind_a_later_one_changes_nothing() -> None:
    assert water(mark("a", 1_050), mark("a", 1_040)).until_ns(1_051 * S) == 1_050 * S


def test_what_a_silent_tracker_may_keep_is_waited_for_so_long_and_no_longer() -> None:
    low = water(mark("a", 1_040), mark("b", 1_099))
    wait_s = WAIT // S
    assert low.until_ns(1_099 * S) == 1_040 * S
    assert low.until_ns(1_100 * S) == 1_040 * S
    low.take(mark("b", 1_110))
    assert low.until_ns(1_110 * S) == (1_110 - wait_s) * S, "what it took since is waited for as long"
    low.take(mark("b", 1_000 + 90_000))
    assert low.until_ns((1_001 + 90_000) * S) == (1_000 + 90_000) * S, "after a day of silence it is gone"
    low.take(mark("a", 91_100))
    low.take(mark("b", 91_200))
    assert low.until_ns(91_200 * S) == (91_200 - wait_s) * S, "it is known again when it speaks"


def test_one_that_left_with_nothing_kept_is_not_waited_for() -> None:
    assert (
        water(mark("a", 1_040), mark("b", 1_050), mark("a", 1_040, left=True)).until_ns(1_051 * S)
        == 1_050 * S
    )


def test_without_trackers_nothing_is_waited_for() -> None:
    assert water().until_ns(1_031 * S) == 1_031 * S


def test_at_its_start_a_bank_frees_nothing_before_it_knows_who_there_is() -> None:
    assert water().until_ns(1_029 * S) == 0
    low = water(mark("old", 990), mark("cut-off", 999))
    assert low.until_ns(1_010 * S) == 0
    low.take(mark("alive", 1_010))
    assert low.until_ns(1_011 * S) == 990 * S


def test_a_mark_that_cannot_be_read_is_none() -> None:
    assert read_mark(Message(TRACKERS, 0, 0, b"a", b"{}", 0)) is None
    assert read_mark(Message(TRACKERS, 0, 0, b"a", encode(mark("a", 7)), 0)) == mark("a", 7)


RULES = BankRules(lease_ns=3 * S, longest_reservation_ns=60 * S, margin_ns=5 * S)


def test_a_grant_is_not_freed_while_trackers_may_keep_what_posts_to_it() -> None:
    bank = Bank(RULES, {"c1": campaign()}, BankState())
    bank.apply([ask()], 0)
    bank.tick(0)
    leased = [own.leased for own in bank.accounts()]
    bank.tick(200 * S, told_until_ns=68 * S)
    assert [own.leased for own in bank.accounts()] == leased != [0]
    bank.tick(200 * S, told_until_ns=69 * S)
    assert [own.leased for own in bank.accounts()] == [0]


async def test_seats_are_told_to_free_what_trackers_have_brought_and_no_more() -> None:
    clock, stop = SystemClock(), asyncio.Event()
    now_ns = clock.now_ns()
    bus = Bus(dict.fromkeys(TOPICS, 1))
    sink = bus.sink()
    with Database(":memory:") as database:
        CampaignStore(database).put([campaign(start_ns=now_ns, end_ns=now_ns + 3_600 * S)], at_ns=1)
        service = BankService.open(database, RULES, now_ns)
        source = bus.source((NOTICES, SLICES, TRACKERS), BANK_GROUP)
        await source.start()
        low_water = LowWater(WAIT, LEASE, now_ns - S)
        task = asyncio.create_task(
            run_bank(service, source, bus.sink(), clock, stop, tick_s=0.01, low_water=low_water)
        )
        kept_ns = now_ns - S // 2
        await sink.publish([Outbound(TRACKERS, b"t1", encode(TrackerMark(tracker="t1", until_ns=kept_ns)))])
        await sink.publish([Outbound(SLICES, b"s1", encode(ask(at_ns=now_ns)))])
        assert await heard(bus, kept_ns - RULES.margin_ns - 1) == kept_ns - RULES.margin_ns
        await asyncio.sleep(0.3)
        assert await heard(bus, 0) == kept_ns - RULES.margin_ns
        brought = TrackerMark(tracker="t1", until_ns=kept_ns + S // 2)
        await sink.publish([Outbound(TRACKERS, b"t1", encode(brought))])
        assert await heard(bus, kept_ns - RULES.margin_ns) == brought.until_ns - RULES.margin_ns
        stop.set()
        await task


async def heard(bus: Bus, above_ns: int) -> int:
    """The latest mark that a seat was told, once it is above a time."""
    async with asyncio.timeout(10):
        while True:
            told = [msgspec.json.decode(each.value, type=Settlements) for each in bus.log(SETTLEMENTS)[0]]
            latest = max((each.heard_until_ns for each in told), default=0)
            if latest > above_ns:
                return latest
            await asyncio.sleep(0.01)


class Broker:
    """A sink that notes what was acknowledged, in order, and can be away."""

    def __init__(self) -> None:
        self.away = False
        self.acknowledged: list[Outbound] = []
        self._held: list[Outbound] = []

    async def start(self) -> None: ...

    async def publish(self, messages: list[Outbound]) -> None:
        self._held += messages

    async def flush(self) -> None:
        held, self._held = self._held, []
        if self.away:
            raise DeliveryError("away")
        self.acknowledged += held

    async def stop(self) -> None: ...

    @property
    def marks(self) -> list[TrackerMark]:
        found = [each for each in self.acknowledged if each.topic == TRACKERS]
        return [read_mark(Message(TRACKERS, 0, 0, each.key, each.value, 0)) or mark("?", 0) for each in found]

    @property
    def notices(self) -> int:
        return sum(each.topic == NOTICES for each in self.acknowledged)


def told(publisher: NoticePublisher, at_s: int) -> "asyncio.Future[Reply]":
    one: Notice = notice(NoticeKind.BILLING, bid=f"b-{at_s}", at_ns=at_s * S)
    answer = publisher.submit(one, Reply(204))
    assert isinstance(answer, asyncio.Future)
    return answer


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidder.web.publish._REPLAY_AGAIN_S", 0.01)


async def test_a_tracker_says_up_to_when_all_it_took_is_written() -> None:
    """By itself where nothing waits; with a batch only that what came before it is there."""
    broker = Broker()
    publisher = NoticePublisher(broker, name="t1")  # type: ignore[arg-type]
    task = asyncio.ensure_future(publisher.run())
    publisher.tick(10 * S)
    await some_turns()
    first = told(publisher, 11)
    publisher.tick(12 * S)
    await first
    await some_turns()
    publisher.stop()
    await task
    assert broker.marks == [mark("t1", 10), mark("t1", 11), mark("t1", 12, left=True)]


async def test_while_anything_is_spooled_there_is_no_mark_and_no_farewell() -> None:
    broker = Broker()
    disk = SimulatedDisk()
    publisher = NoticePublisher(
        broker,  # type: ignore[arg-type]
        spool=Spool(disk, 1 << 20),
        patience_s=0.02,
        threaded=False,
        name="t1",
    )
    task = asyncio.ensure_future(publisher.run())
    broker.away = True
    assert (await told(publisher, 11)).status == 204
    publisher.tick(12 * S)
    await some_turns()
    assert publisher.spool
    publisher.stop()
    await task
    assert broker.marks == []


async def test_when_the_spool_is_empty_again_marks_go_on_behind_what_it_held() -> None:
    broker = Broker()
    publisher = NoticePublisher(
        broker,  # type: ignore[arg-type]
        spool=Spool(SimulatedDisk(), 1 << 20),
        patience_s=0.02,
        threaded=False,
        name="t1",
    )
    task = asyncio.ensure_future(publisher.run())
    broker.away = True
    assert (await told(publisher, 11)).status == 204
    publisher.tick(12 * S)
    broker.away = False
    async with asyncio.timeout(5):
        while not broker.marks:
            publisher.tick(13 * S)
            await asyncio.sleep(0.005)
    assert broker.notices == 1
    assert broker.acknowledged[0].topic == NOTICES
    assert broker.marks[0] in (mark("t1", 12), mark("t1", 13))
    publisher.stop()
    await task


async def test_a_tracker_without_a_name_says_nothing() -> None:
    broker = Broker()
    publisher = NoticePublisher(broker)  # type: ignore[arg-type]
    task = asyncio.ensure_future(publisher.run())
    publisher.tick(10 * S)
    await some_turns()
    publisher.stop()
    await task
    assert broker.acknowledged == []
