"""The transport inside one process."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.errors import ConfigError, InvariantError, UnknownTopic
from bidder.runtime.bus import Bus, BusSink, BusSource
from bidder.runtime.clock import VirtualClock
from bidder.runtime.partitioner import partition_of
from bidder.runtime.transport import ControlSource, Outbound, Sink, Source


def numbered(count: int, topic: str = "t", partition: int | None = 0, start: int = 0) -> list[Outbound]:
    return [Outbound(topic, None, b"%d" % i, partition) for i in range(start, start + count)]


def values(messages: Sequence[object]) -> list[int]:
    return [int(message.value) for message in messages]  # type: ignore[attr-defined]


def test_bus_parts_keep_the_protocols() -> None:
    bus = Bus({"t": 1})
    parts: tuple[Source, ControlSource, Sink] = bus.source(["t"]), bus.source(["t"]), bus.sink()
    assert [type(part) for part in parts] == [BusSource, BusSource, BusSink]


def test_messages_come_as_they_were_put() -> None:
    clock = VirtualClock(1_700_000_000_000_000_000)
    bus = Bus({"t": 4}, timestamp_ms=lambda: clock.now_ns() // 1_000_000)
    bus.sink().put([Outbound("t", b"user", b"body")])
    (message,) = bus.source(["t"]).take(10)
    assert message == ("t", partition_of(b"user", 4), 0, b"user", b"body", 1_700_000_000_000)


def test_offsets_count_within_each_partition() -> None:
    bus = Bus({"t": 2})
    bus.sink().put(numbered(3, partition=0) + numbered(2, partition=1))
    assert [(m.partition, m.offset) for m in bus.source(["t"]).take(9)] == [
        (1, 0),
        (1, 1),
        (0, 0),
        (0, 1),
        (0, 2),
    ]


def test_a_new_source_of_a_group_resumes_at_the_committed_offset() -> None:
    bus = Bus({"t": 1})
    bus.sink().put(numbered(10))
    first = bus.source(["t"], group="bank")
    assert values(first.take(6)) == [0, 1, 2, 3, 4, 5]
    first.store({("t", 0): 4})
    first.close()
    assert values(bus.source(["t"], group="bank").take(99)) == [4, 5, 6, 7, 8, 9]
    assert bus.committed("bank", "t", 0) == 4
    assert bus.committed("other", "t", 0) == 0


def test_groups_read_apart_from_each_other() -> None:
    bus = Bus({"t": 1})
    bus.sink().put(numbered(3))
    bank, bid = bus.source(["t"], group="bank"), bus.source(["t"], group="bid")
    bank.take(9)
    bank.store({("t", 0): 3})
    assert values(bid.take(9)) == [0, 1, 2]


def test_a_source_without_a_group_can_begin_at_the_end() -> None:
    bus = Bus({"t": 1})
    bus.sink().put(numbered(3))
    source = bus.source(["t"], from_beginning=False)
    source.open()
    bus.sink().put(numbered(2, start=3))
    assert values(source.take(9)) == [3, 4]


def test_a_source_without_a_group_cannot_commit() -> None:
    with pytest.raises(InvariantError, match="without a group cannot commit"):
        Bus({"t": 1}).source(["t"]).store({("t", 0): 0})


@pytest.mark.parametrize(("partition", "offset"), [(0, 4), (0, -1), (1, 0)])
def test_only_what_was_put_can_be_committed(partition: int, offset: int) -> None:
    bus = Bus({"t": 1})
    bus.sink().put(numbered(3))
    with pytest.raises(InvariantError, match="offset of group g in t/"):
        bus.source(["t"], group="g").store({("t", partition): offset})


def test_a_group_has_one_source_at_a_time() -> None:
    bus = Bus({"t": 1, "u": 1})
    first = bus.source(["t"], group="g")
    first.open()
    with pytest.raises(InvariantError, match="group g already has a source on topic t"):
        bus.source(["t", "u"], group="g").open()
    bus.source(["u"], group="g").open()
    first.close()
    bus.source(["t"], group="g").open()


def test_a_take_is_shared_fairly_by_the_partitions() -> None:
    bus = Bus({"t": 3})
    bus.sink().put(numbered(50, partition=0) + numbered(1, partition=1) + numbered(50, partition=2))
    taken = bus.source(["t"]).take(11)
    assert [sum(m.partition == p for m in taken) for p in range(3)] == [5, 1, 5]


def test_every_partition_gets_its_turn_when_one_message_is_taken_at_a_time() -> None:
    bus = Bus({"t": 3})
    for partition in range(3):
        bus.sink().put(numbered(5 * (1 + partition), partition=partition))
    source = bus.source(["t"])
    assert {source.take(1)[0].partition for _ in range(3)} == {0, 1, 2}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=30))
def test_nothing_is_lost_or_turned_round(steps: list[tuple[int, int]]) -> None:
    bus = Bus({"t": 3})
    source, sink = bus.source(["t"]), bus.sink()
    put: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    taken: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    for step, (partition, count) in enumerate(steps):
        if partition < 3:
            bodies = [b"%d-%d" % (step, i) for i in range(count)]
            put[partition] += bodies
            sink.put([Outbound("t", None, body, partition) for body in bodies])
        else:
            for message in source.take(count):
                taken[message.partition].append(message.value)
    for message in source.take(10_000):
        taken[message.partition].append(message.value)
    assert taken == put


def test_caught_up_is_when_all_that_was_there_at_the_start_is_taken() -> None:
    bus = Bus({"t": 2})
    bus.sink().put(numbered(2, partition=0) + numbered(1, partition=1))
    source = bus.source(["t"])
    assert not source.caught_up()
    source.open()
    bus.sink().put(numbered(5, partition=1, start=1))
    source.take(2)
    assert not source.caught_up()
    source.take(2)
    assert source.caught_up()


def test_an_empty_topic_is_caught_up_at_once() -> None:
    source = Bus({"t": 2}).source(["t"])
    source.open()
    assert source.caught_up()


async def test_a_mark_is_passed_when_all_that_was_there_then_is_taken() -> None:
    bus = Bus({"t": 2})
    source = bus.source(["t"])
    assert not await source.passed(), "without a mark nothing is known"
    bus.sink().put(numbered(2, partition=0) + numbered(1, partition=1))
    source.mark()
    bus.sink().put(numbered(5, partition=1, start=1))
    source.take(2)
    assert not await source.passed()
    source.take(2)
    assert await source.passed()


async def test_a_new_mark_forgets_the_one_before() -> None:
    bus = Bus({"t": 1})
    source = bus.source(["t"])
    source.mark()
    assert await source.passed()
    bus.sink().put(numbered(1))
    source.mark()
    assert not await source.passed()


def test_an_unknown_topic_is_named_with_those_that_are_there() -> None:
    bus = Bus({"t": 1, "s": 1})
    with pytest.raises(UnknownTopic, match="topic nowhere is not on the bus; it has s, t"):
        bus.source(["t", "nowhere"]).open()
    with pytest.raises(UnknownTopic, match="nowhere"):
        bus.sink().put([Outbound("t", None, b""), Outbound("nowhere", None, b"")])
    assert bus.source(["t"]).take(9) == [], "of a refused call nothing is put"


def test_a_topic_needs_a_partition() -> None:
    with pytest.raises(ConfigError, match="partitions of topic t must be > 0, was 0"):
        Bus({"t": 0})


async def test_a_poll_with_nothing_there_returns_at_once() -> None:
    source = Bus({"t": 1}).source(["t"])
    await source.start()
    assert await source.poll(10, 0) == []


async def test_a_poll_waits_for_the_first_message() -> None:
    bus = Bus({"t": 1})
    source, sink = bus.source(["t"]), bus.sink()
    await sink.start()
    waiting = asyncio.create_task(source.poll(10, 30))
    await asyncio.sleep(0)
    await sink.publish(numbered(2))
    assert values(await waiting) == [0, 1]
    await sink.flush()
    await sink.stop()


async def test_a_poll_is_not_ended_by_messages_for_others() -> None:
    bus = Bus({"t": 1, "u": 1})
    waiting = asyncio.create_task(bus.source(["t"]).poll(10, 30))
    await asyncio.sleep(0)
    bus.sink().put(numbered(1, topic="u"))
    await asyncio.sleep(0)
    bus.sink().put(numbered(1, start=7))
    assert values(await waiting) == [7]


async def test_a_poll_gives_up_after_its_time() -> None:
    assert await Bus({"t": 1}).source(["t"]).poll(10, 0.01) == []


async def test_a_waiting_poll_returns_when_the_source_stops() -> None:
    source: BusSource = Bus({"t": 1}).source(["t"], group="g")
    waiting = asyncio.create_task(source.poll(10, 30))
    await asyncio.sleep(0)
    await source.stop()
    assert await waiting == []
    await source.stop()
    assert await source.poll(10, 30) == []


async def test_commit_is_store() -> None:
    bus = Bus({"t": 1})
    bus.sink().put(numbered(2))
    source = bus.source(["t"], group="g")
    await source.poll(1, 0)
    await source.commit({("t", 0): 1})
    assert bus.committed("g", "t", 0) == 1
