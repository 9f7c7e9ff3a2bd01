"""Callers are answered while the broker is away, and what they were answered reaches it when it is back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bidder.core.messages import NOTICES
from bidder.errors import BrokerUnavailable, DeliveryError, InvariantError
from bidder.runtime.http import Reply
from bidder.runtime.transport import Outbound, Run
from bidder.web.disk import Disk
from bidder.web.publish import NoticePublisher
from bidder.web.spool import Spool
from simulator.disk import SimulatedDisk
from tests.unit.test_track_publish import NO_CONTENT, notice, waiting

RETRY = Reply(503, (("Retry-After", "1"),))
AMPLE = 1 << 22


class Broker:
    """A sink whose broker goes away and comes back; `log` is what it has."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.there = asyncio.Event()
        self.there.set()
        self.fails_with: BaseException | None = None
        self.took: list[Outbound] = []
        self.slow_s = 0.0

    async def start(self) -> None: ...

    async def publish(self, messages: Sequence[Outbound]) -> None:
        assert {message.topic for message in messages} == {NOTICES}
        self.took += messages

    async def send(self, runs: Sequence[Run]) -> None: ...

    async def flush(self) -> None:
        if self.fails_with is not None:
            self.took.clear()
            raise self.fails_with
        await self.there.wait()
        await asyncio.sleep(self.slow_s)
        self.log += [message.value for message in self.took]
        self.took.clear()

    async def stop(self) -> None: ...


def number_of(value: bytes) -> int:
    return int(value.split(b'"bid_id":"')[1][:16])


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidder.web.publish._REPLAY_AGAIN_S", 0.01)


@asynccontextmanager
async def publishing(
    broker: Broker,
    disk: SimulatedDisk | Disk,
    max_bytes: int = AMPLE,
    *,
    threaded: bool = True,
    segment_bytes: int = 4_096,
) -> AsyncIterator[NoticePublisher]:
    spool = Spool(disk, max_bytes, segment_bytes)
    publisher = NoticePublisher(broker, spool=spool, patience_s=0.02, max_batch=50, threaded=threaded)
    task = asyncio.ensure_future(publisher.run())
    try:
        yield publisher
    finally:
        publisher.stop()
        await asyncio.wait_for(task, 5)


async def told(publisher: NoticePublisher, first: int, count: int) -> list[Reply]:
    return await asyncio.gather(
        *(waiting(publisher, notice(number)) for number in range(first, first + count))
    )


async def until_empty(publisher: NoticePublisher) -> None:
    async with asyncio.timeout(5):
        while publisher.spool:  # noqa: ASYNC110 - it empties by itself, nothing tells of it
            await asyncio.sleep(0.005)


async def test_while_the_broker_is_there_the_disk_is_not_touched(broker: Broker) -> None:
    disk = SimulatedDisk()
    async with publishing(broker, disk) as publisher:
        assert await told(publisher, 0, 20) == [NO_CONTENT] * 20
    assert disk.syncs == 0
    assert len(broker.log) == 20


@pytest.mark.parametrize("error", [None, BrokerUnavailable("away"), DeliveryError("not acknowledged")])
@pytest.mark.parametrize("threaded", [True, False])
async def test_through_an_outage_all_are_answered_and_all_arrive_in_order(
    broker: Broker, error: BaseException | None, threaded: bool
) -> None:
    async with publishing(broker, SimulatedDisk(), threaded=threaded) as publisher:
        assert await told(publisher, 0, 10) == [NO_CONTENT] * 10
        broker.fails_with = error
        broker.there.clear()
        for first in range(10, 130, 40):
            assert await told(publisher, first, 40) == [NO_CONTENT] * 40
        assert [number_of(value) for value in broker.log] == list(range(10))
        broker.fails_with = None
        broker.there.set()
        assert await told(publisher, 130, 10) == [NO_CONTENT] * 10
        await until_empty(publisher)
        assert await told(publisher, 140, 10) == [NO_CONTENT] * 10
        assert publisher.spool is not None
        spooled = publisher.spool.counts["spooled"]
    found = [number_of(value) for value in broker.log]
    assert list(dict.fromkeys(found)) == list(range(150))
    assert publisher.spool.counts["replayed"] == spooled >= 120
    assert publisher.counts["refused"] == 0


async def test_under_traffic_that_never_rests_the_spool_is_left_again(broker: Broker) -> None:
    """Else each batch would find the one before it in the spool, and go there too, for ever."""
    broker.there.clear()
    broker.slow_s = 0.01
    number = 0
    async with publishing(broker, SimulatedDisk(), segment_bytes=1 << 20) as publisher:

        async def call(until_published: int) -> None:
            nonlocal number
            while publisher.counts["published"] < until_published:
                number += 1
                assert await waiting(publisher, notice(number)) == NO_CONTENT

        calls = [asyncio.ensure_future(call(50)) for _ in range(20)]
        await asyncio.sleep(0.1)
        broker.there.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*calls)
    found = [number_of(value) for value in broker.log]
    assert list(dict.fromkeys(found)) == sorted(set(found)) == list(range(1, number + 1))


async def test_a_full_spool_asks_callers_to_come_again_and_loses_nobody_else(broker: Broker) -> None:
    disk, kept, number = SimulatedDisk(), [], 0
    broker.there.clear()
    async with publishing(broker, disk, max_bytes=20_000) as publisher:
        refused = 0
        while refused < 50:
            for reply in await told(publisher, number, 10):
                assert reply in {NO_CONTENT, RETRY}
                if reply == NO_CONTENT:
                    kept.append(number)
                refused += reply == RETRY
                number += 1
        assert publisher.spool is not None
        assert publisher.counts["refused"] == publisher.spool.counts["full"] == refused
        assert publisher.spool.bytes <= 20_000
        broker.there.set()
        await until_empty(publisher)
        assert await told(publisher, number, 1) == [NO_CONTENT]
    found = {number_of(value) for value in broker.log}
    assert found >= {*kept, number}


async def test_a_disk_that_fails_is_a_503_until_it_does_not(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    disk = SimulatedDisk()
    broker.there.clear()
    async with publishing(broker, disk) as publisher:
        disk.fail(failing=True)
        assert await told(publisher, 0, 3) == [RETRY] * 3
        disk.fail(failing=False)
        assert await told(publisher, 3, 3) == [NO_CONTENT] * 3
        assert "notices cannot be spooled" in caplog.text
        broker.there.set()
        await until_empty(publisher)
    assert {number_of(value) for value in broker.log} >= {3, 4, 5}


async def test_without_a_spool_that_can_be_used_the_broker_is_asked_again(broker: Broker) -> None:
    disk = SimulatedDisk()
    disk.fail(failing=True)
    async with publishing(broker, disk) as publisher:
        broker.there.clear()
        assert await told(publisher, 0, 1) == [RETRY]
        broker.there.set()
        await asyncio.sleep(0.05)
        assert await told(publisher, 1, 1) == [NO_CONTENT]


@pytest.mark.parametrize("threaded", [True, False])
async def test_a_tracker_that_died_finds_its_notices_and_sends_them_first(
    broker: Broker, tmp_path: Path, threaded: bool
) -> None:
    broker.there.clear()
    with Disk(tmp_path) as disk:
        async with publishing(broker, disk, threaded=threaded) as publisher:
            assert await told(publisher, 0, 30) == [NO_CONTENT] * 30
        broker.took.clear()
    assert broker.log == []
    broker.there.set()
    with Disk(tmp_path) as disk:
        async with publishing(broker, disk, threaded=threaded) as publisher:
            assert await told(publisher, 30, 10) == [NO_CONTENT] * 10
            await until_empty(publisher)
        assert disk.sizes() == {}
    assert [number_of(value) for value in broker.log] == list(range(40))


async def test_a_stop_in_an_outage_answers_and_keeps_what_waits(broker: Broker) -> None:
    broker.there.clear()
    disk = SimulatedDisk()
    publisher = NoticePublisher(broker, spool=Spool(disk, AMPLE), patience_s=0.02)
    answers = [waiting(publisher, notice(number)) for number in range(5)]
    publisher.stop()
    await asyncio.wait_for(publisher.run(), 5)
    assert [answer.result() for answer in answers] == [NO_CONTENT] * 5
    batch = Spool(disk, AMPLE).oldest()
    assert batch is not None
    assert len(batch.records) == 5


async def test_a_rule_broken_while_spooled_notices_are_sent_ends_the_publisher(broker: Broker) -> None:
    broker.fails_with = BrokerUnavailable("away")
    publisher = NoticePublisher(broker, spool=Spool(SimulatedDisk(), AMPLE), patience_s=0.02)
    running = asyncio.ensure_future(publisher.run())
    await waiting(publisher, notice())
    broker.fails_with = InvariantError("broken")
    with pytest.raises(InvariantError, match="broken"):
        await asyncio.wait_for(running, 5)
    assert publisher.submit(notice(), NO_CONTENT) == RETRY
