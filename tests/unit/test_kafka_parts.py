"""The parts of the Kafka transport that need no broker."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, NotLeaderForPartitionError

from bidder.errors import ConfigError
from bidder.runtime.kafka import KafkaSink, KafkaSource, Timeouts
from bidder.runtime.kafka_link import describe, end_within, parse_bootstrap
from bidder.runtime.kafka_queues import PartitionQueues
from bidder.runtime.kafka_watch import ProgressWatch
from bidder.runtime.transport import ControlSource, Sink, Source

ONE, TWO = TopicPartition("t", 0), TopicPartition("t", 1)


class Record(NamedTuple):
    offset: int
    key: bytes | None = None
    value: bytes | None = b"v"
    timestamp: int = 5


def records(start: int, end: int) -> list[Record]:
    return [Record(offset) for offset in range(start, end)]


def test_kafka_parts_keep_the_protocols() -> None:
    source = KafkaSource("h:1", ["t"], group=None, client_id="c")
    parts: tuple[Source, ControlSource, Sink] = source, source, KafkaSink("h:1", client_id="c")
    assert len(parts) == 3


# Queues


def test_a_full_queue_is_paused_once_and_goes_on_at_half() -> None:
    queues = PartitionQueues(high=10)
    queues.assign([ONE, TWO])
    assert not queues.put(ONE, records(0, 9))
    assert queues.put(ONE, records(9, 30))
    assert not queues.put(ONE, records(30, 31))
    assert queues.paused == {ONE}
    assert queues.take(25)[1] == []
    assert queues.take(1)[1] == [ONE]
    assert queues.paused == set()


def test_every_queue_has_its_turn_when_one_message_is_taken_at_a_time() -> None:
    queues = PartitionQueues(high=100)
    queues.assign([ONE, TWO])
    queues.put(ONE, records(0, 50))
    queues.put(TWO, records(0, 5))
    assert sorted(queues.take(1)[0][0].partition for _ in range(4)) == [0, 0, 1, 1]


def test_messages_are_taken_in_order_and_the_next_offset_is_known() -> None:
    queues = PartitionQueues(high=100)
    queues.assign([ONE])
    queues.put(ONE, [Record(3, b"k", b"v"), Record(7, None, None)])
    messages, _ = queues.take(9)
    assert messages == [("t", 0, 3, b"k", b"v", 5), ("t", 0, 7, None, b"", 5)]
    assert queues.next_polled == {ONE: 8}


def test_a_new_assignment_forgets_what_was_queued() -> None:
    queues = PartitionQueues(high=3)
    queues.assign([ONE, TWO])
    queues.put(ONE, records(0, 5))
    queues.take(1)
    queues.assign([ONE])
    assert (len(queues), queues.waiting(ONE), queues.waiting(TWO)) == (0, 0, 0)
    assert (queues.paused, queues.next_polled) == (set(), {})
    assert queues.take(5) == ([], [])


def test_no_partitions_are_no_trouble() -> None:
    queues = PartitionQueues(high=3)
    queues.assign([])
    assert queues.take(5) == ([], [])


# Watch


def test_what_shows_the_same_for_too_long_is_stalled() -> None:
    watch = ProgressWatch(10)
    watch.see("a", 1, 0)
    watch.see("a", 1, 9)
    assert watch.stalled(10) is None
    assert watch.stalled(10.1) == "a"


def test_another_mark_is_progress() -> None:
    watch = ProgressWatch(10)
    watch.see("a", 1, 0)
    watch.see("a", 2, 9)
    assert watch.stalled(18) is None
    assert watch.stalled(20) == "a"


def test_what_is_well_does_not_stall_whatever_it_shows() -> None:
    watch = ProgressWatch(10)
    for now_s in range(0, 100, 5):
        watch.see("a", 1, now_s, well=True)
        assert watch.stalled(now_s + 1) is None


def test_one_stalled_thing_is_found_among_others() -> None:
    watch = ProgressWatch(10)
    for now_s in range(20):
        watch.see("moving", now_s, now_s)
        watch.see("still", 0, now_s)
    assert watch.stalled(19) == "still"
    watch.forget()
    assert watch.stalled(100) is None


# Links


@pytest.mark.parametrize(
    ("bootstrap", "addresses"),
    [
        ("localhost:9092", [("localhost", 9092)]),
        ("a:1, b:65535", [("a", 1), ("b", 65535)]),
        ("[::1]:9092", [("::1", 9092)]),
    ],
)
def test_addresses_are_read(bootstrap: str, addresses: list[tuple[str, int]]) -> None:
    assert parse_bootstrap(bootstrap) == addresses


@pytest.mark.parametrize(
    "bootstrap", ["", "localhost", "localhost:", ":9092", "a:1,b", "a:1,", "a:0", "a:70000", "a:9o92"]
)
def test_an_address_that_cannot_be_read_is_a_setting_to_correct(bootstrap: str) -> None:
    with pytest.raises(ConfigError, match="Kafka address must be host:port"):
        parse_bootstrap(bootstrap)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Timeouts(stop=0), "timeout stop must be > 0 s, was 0"),
        (lambda: Timeouts(stall=float("nan")), "timeout stall must be > 0 s, was nan"),
        (lambda: Timeouts(commit=8), "revoke_grace and commit must be below 10 s together, were 2 and 8"),
    ],
)
def test_timeouts_that_cannot_be_are_refused(make: Callable[[], Timeouts], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TimeoutError(), "TimeoutError"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (KafkaConnectionError("gone"), "KafkaConnectionError: gone"),
        (NotLeaderForPartitionError(), "[Error 6] NotLeaderForPartitionError"),
    ],
)
def test_an_error_is_described_in_one_line(error: Exception, line: str) -> None:
    assert describe(error) == line


async def test_an_end_in_time_is_waited_for() -> None:
    assert await end_within(asyncio.sleep(0.01), 5)


async def test_an_end_that_fails_is_no_orderly_end() -> None:
    async def failing() -> None:
        raise ValueError

    assert not await end_within(failing(), 5)


async def test_an_end_that_hangs_is_cancelled() -> None:
    assert not await end_within(asyncio.sleep(60), 0.01)


async def test_an_end_that_will_not_be_cancelled_is_left_behind() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(1.2)

    started = time.monotonic()
    assert not await end_within(stubborn(), 0.01)
    assert time.monotonic() - started < 1.2
    await asyncio.sleep(0.3)
