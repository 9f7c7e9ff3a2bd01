"""The transport over Kafka, as the worker and the bank use it."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import pytest

from bidder.errors import (
    BrokerUnavailable,
    ClearbidError,
    ConfigError,
    DeliveryError,
    DependencyError,
    InvariantError,
    UnknownTopic,
)
from bidder.runtime.kafka import KafkaSink, KafkaSource, Timeouts, ensure_topics, partition_counts
from bidder.runtime.kafka_link import find_broker
from bidder.runtime.partitioner import partition_of
from bidder.runtime.transport import Message, Outbound, Run, Source

QUICK = Timeouts(connect=5, delivery=1, commit=1, stop=1, stall=1, revoke_grace=2)
PATIENCE_S = 20.0


def fresh(name: str = "topic") -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def topic(bootstrap: str) -> str:
    """A topic of four partitions that no other test knows."""
    name = fresh()
    await ensure_topics(bootstrap, {name: 4})
    return name


@asynccontextmanager
async def running_sink(bootstrap: str, **settings: object) -> AsyncIterator[KafkaSink]:
    sink = KafkaSink(bootstrap, client_id="test-sink", **settings)  # type: ignore[arg-type]
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()


@asynccontextmanager
async def running_source(
    bootstrap: str, topic: str, group: str | None = None, **settings: object
) -> AsyncIterator[KafkaSource]:
    source = KafkaSource(bootstrap, [topic], group=group, client_id="test-source", **settings)  # type: ignore[arg-type]
    await source.start()
    try:
        yield source
    finally:
        await source.stop()


async def publish(bootstrap: str, messages: list[Outbound]) -> None:
    async with running_sink(bootstrap) as sink:
        await sink.publish(messages)
        await sink.flush()


async def polled(source: Source, count: int, at_once: int = 100) -> list[Message]:
    """Polls until there are `count` messages."""
    messages: list[Message] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(messages) < count:
            messages += await source.poll(at_once, 0.5)
    return messages


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not met():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def next_offsets(messages: Iterable[Message]) -> dict[tuple[str, int], int]:
    return {(m.topic, m.partition): m.offset + 1 for m in messages}


def numbered(topic: str, numbers: Iterable[int], partition: int | None = None) -> list[Outbound]:
    return [
        Outbound(topic, None if partition is not None else b"%d" % i, b"%d" % i, partition) for i in numbers
    ]


def numbers(messages: Iterable[Message]) -> list[int]:
    return [int(m.value) for m in messages]


# What is published is polled


@pytest.mark.parametrize("count", [1, 7, 3000])
async def test_what_is_published_is_polled(bootstrap: str, topic: str, count: int) -> None:
    before_ms = time.time_ns() // 1_000_000
    await publish(bootstrap, numbered(topic, range(count)))
    async with running_source(bootstrap, topic) as source:
        messages = await polled(source, count)
    assert sorted(numbers(messages)) == list(range(count))
    for m in messages:
        assert m.partition == partition_of(m.key or b"", 4)
        assert m.key == m.value
        assert before_ms <= m.timestamp_ms <= time.time_ns() // 1_000_000
    assert source.stats.polled == count


async def test_order_holds_within_a_partition(bootstrap: str, topic: str) -> None:
    async with running_sink(bootstrap, max_batch_bytes=1000) as sink:
        for start in range(0, 500, 10):
            await sink.publish(numbered(topic, range(start, start + 10), partition=2))
        await sink.flush()
        assert (sink.stats.published, sink.stats.acknowledged, sink.stats.failed) == (500, 500, 0)
    async with running_source(bootstrap, topic) as source:
        messages = await polled(source, 500)
    assert numbers(messages) == list(range(500))
    assert [m.offset for m in messages] == list(range(500))


async def test_a_message_without_a_key_or_a_value_comes_as_it_was(bootstrap: str, topic: str) -> None:
    await publish(bootstrap, [Outbound(topic, None, b"", 1), Outbound(topic, b"", b"v", 1)])
    async with running_source(bootstrap, topic) as source:
        messages = await polled(source, 2)
    assert [(m.key, m.value) for m in messages] == [(None, b""), (b"", b"v")]


async def test_messages_without_a_key_take_turns_by_call(bootstrap: str, topic: str) -> None:
    async with running_sink(bootstrap) as sink:
        for _ in range(4):
            await sink.publish([Outbound(topic, None, b"x")] * 3)
        await sink.flush()
    async with running_source(bootstrap, topic) as source:
        messages = await polled(source, 12)
    assert sorted(m.partition for m in messages) == [p for p in range(4) for _ in range(3)]


async def test_a_poll_takes_at_most_what_was_asked_from_all_partitions_alike(
    bootstrap: str, topic: str
) -> None:
    for partition in range(4):
        await publish(bootstrap, numbered(topic, range(100), partition))
    async with running_source(bootstrap, topic) as source:
        await until(lambda: len(source._queues) == 400)
        messages = await source.poll(40, 1)
    assert [sum(m.partition == p for m in messages) for p in range(4)] == [10, 10, 10, 10]


async def test_a_poll_with_nothing_there_waits_its_time_and_no_longer(bootstrap: str, topic: str) -> None:
    async with running_source(bootstrap, topic) as source:
        started = time.monotonic()
        assert await source.poll(10, 0) == []
        assert await source.poll(10, 0.2) == []
        assert 0.2 <= time.monotonic() - started < 2


async def test_a_waiting_poll_returns_when_the_source_stops(bootstrap: str, topic: str) -> None:
    async with running_source(bootstrap, topic) as source:
        waiting = asyncio.create_task(source.poll(10, 60))
        await asyncio.sleep(0.05)
    assert await waiting == []


# Offsets and groups


async def test_a_group_resumes_at_the_committed_offset(bootstrap: str, topic: str) -> None:
    await publish(bootstrap, numbered(topic, range(20), partition=0))
    group = fresh("group")
    async with running_source(bootstrap, topic, group) as source:
        first = await polled(source, 20)
        await source.commit(next_offsets(first[:8]))
        assert (source.stats.committed, source.stats.commit_failures) == (1, 0)
    async with running_source(bootstrap, topic, group) as source:
        assert numbers(await polled(source, 12)) == list(range(8, 20))


async def test_only_what_is_named_is_committed(bootstrap: str, topic: str) -> None:
    await publish(bootstrap, numbered(topic, range(20), partition=0))
    group = fresh("group")
    async with running_source(bootstrap, topic, group) as source:
        await polled(source, 20)
    async with running_source(bootstrap, topic, group) as source:
        assert numbers(await polled(source, 20)) == list(range(20))


async def test_a_commit_for_a_partition_of_others_is_counted_and_dropped(bootstrap: str, topic: str) -> None:
    async with running_source(bootstrap, topic, fresh("group")) as source:
        await source.commit({("elsewhere", 0): 5, (topic, 0): 0})
        assert (source.stats.committed, source.stats.commit_failures) == (1, 1)


async def test_a_source_without_a_group_cannot_commit(bootstrap: str, topic: str) -> None:
    async with running_source(bootstrap, topic) as source:
        with pytest.raises(InvariantError, match="without a group cannot commit"):
            await source.commit({(topic, 0): 1})


async def test_two_members_share_the_partitions_and_lose_nothing(bootstrap: str, topic: str) -> None:
    """One works alone, a second joins, the first leaves: every message is done, hardly any twice."""
    group, total, done = fresh("group"), 3000, list[int]()

    async def work(source: KafkaSource, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            messages = await source.poll(20, 0.1)
            await asyncio.sleep(0.002)
            done.extend(numbers(messages))
            await source.commit(next_offsets(messages))

    async def feed(sink: KafkaSink) -> None:
        for start in range(0, total, 10):
            await sink.publish(numbered(topic, range(start, start + 10)))
            await asyncio.sleep(0.01)
        await sink.flush()

    async with running_sink(bootstrap) as sink, running_source(bootstrap, topic, group) as second_source:
        leave, end = asyncio.Event(), asyncio.Event()
        feeding = asyncio.create_task(feed(sink))
        async with running_source(bootstrap, topic, group) as first_source:
            first = asyncio.create_task(work(first_source, leave))
            second = asyncio.create_task(work(second_source, end))
            await until(lambda: first_source.stats.polled > 200 and second_source.stats.polled > 200)
            leave.set()
            await first
        await feeding
        await until(lambda: len(set(done)) == total)
        end.set()
        await second
    assert len(done) - total < 100, "what was in hand at a rebalance may come twice, and no more"


async def test_work_in_hand_at_a_rebalance_is_committed_before_the_partitions_go(
    bootstrap: str, topic: str
) -> None:
    group = fresh("group")
    await publish(bootstrap, numbered(topic, range(40)))
    second = KafkaSource(bootstrap, [topic], group=group, client_id="second")
    async with running_source(bootstrap, topic, group) as first:
        in_hand = await polled(first, 40)
        joining = asyncio.create_task(second.start())
        await until(lambda: not first._joined.is_set())
        await asyncio.sleep(0.2)
        await first.commit(next_offsets(in_hand))
        await joining
        assert await first.poll(10, 1) + await second.poll(10, 1) == []
        await second.stop()


# Control topics


async def test_caught_up_when_all_that_was_there_at_the_start_is_polled(bootstrap: str, topic: str) -> None:
    await publish(bootstrap, numbered(topic, range(30)))
    async with running_source(bootstrap, topic) as source:
        await polled(source, 29, at_once=29)
        assert not source.caught_up()
        await publish(bootstrap, numbered(topic, range(30, 40)))
        await polled(source, 1)
        await until(source.caught_up)


async def test_a_source_of_an_empty_topic_is_caught_up_at_once(bootstrap: str, topic: str) -> None:
    async with running_source(bootstrap, topic) as source:
        assert source.caught_up()


async def test_a_source_from_the_end_sees_what_comes_after_its_start(bootstrap: str, topic: str) -> None:
    await publish(bootstrap, numbered(topic, range(10)))
    async with running_source(bootstrap, topic, from_beginning=False) as source:
        assert source.caught_up()
        await publish(bootstrap, numbered(topic, range(10, 13), partition=0))
        assert numbers(await polled(source, 3)) == [10, 11, 12]


async def test_a_member_of_a_group_is_never_caught_up(bootstrap: str, topic: str) -> None:
    async with running_source(bootstrap, topic, fresh("group")) as source:
        with pytest.raises(InvariantError, match="without a group"):
            source.caught_up()


# Marks


async def passes(source: KafkaSource, within_s: float = PATIENCE_S) -> bool:
    """Whether the source passes its mark in that time."""
    for _ in range(int(within_s / 0.02)):
        if await source.passed():
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_mark_is_passed_when_all_that_was_there_then_is_polled(bootstrap: str, topic: str) -> None:
    await publish(bootstrap, numbered(topic, range(30)))
    async with running_source(bootstrap, topic, fresh("group")) as source:
        source.mark()
        assert not await source.passed(), "nothing is known before an answer"
        await polled(source, 29, at_once=29)
        assert not await passes(source, within_s=1)
        await polled(source, 1)
        assert await passes(source)


async def test_a_mark_is_not_passed_while_a_full_queue_is_paused(bootstrap: str, topic: str) -> None:
    await publish(bootstrap, numbered(topic, range(300), partition=1))
    async with running_source(bootstrap, topic, fresh("group"), max_queue_messages=10) as source:
        await until(lambda: source.stats.paused == 1)
        source.mark()
        assert not await passes(source, within_s=1)
        await polled(source, 300)
        assert await passes(source)


async def test_a_mark_after_what_was_polled_waits_for_an_answer_of_its_own(
    bootstrap: str, topic: str
) -> None:
    async with running_source(bootstrap, topic, fresh("group")) as source:
        source.mark()
        assert await passes(source)
        source.mark()
        assert not await source.passed()
        assert await passes(source)


async def test_a_source_without_a_mark_passes_nothing(bootstrap: str, topic: str) -> None:
    async with running_source(bootstrap, topic, fresh("group")) as source:
        assert not await passes(source, within_s=0.5)


# Back-pressure


async def test_a_source_that_is_not_polled_stops_fetching(bootstrap: str, topic: str) -> None:
    body = bytes(2000)
    total = 8000
    async with running_sink(bootstrap) as sink:
        for _ in range(total // 100):
            await sink.publish([Outbound(topic, None, body)] * 100)
        await sink.flush()
    async with running_source(bootstrap, topic, max_queue_messages=100) as source:
        await until(lambda: source.stats.paused == 4)
        held = len(source._queues)
        await asyncio.sleep(0.5)
        assert len(source._queues) == held, "a partition with a full queue is not read on"
        # One fetch of a partition brings at most a mebibyte, so at most 524 of these beyond the mark.
        assert 400 <= held <= 4 * (100 + 524)
        assert len(await polled(source, total)) == total
        assert source.stats.paused == 0


async def test_a_sink_holds_no_more_than_its_bound(bootstrap: str, topic: str) -> None:
    async with running_sink(bootstrap, max_buffered=50) as sink:
        publishing = asyncio.create_task(sink.publish(numbered(topic, range(2000))))
        most = 0
        while not publishing.done():
            most = max(most, sink._unacknowledged)
            await asyncio.sleep(0)
        await sink.flush()
        assert 0 < most <= 50
        assert sink.stats.acknowledged == 2000


# Errors


async def test_an_unknown_topic_is_named_with_those_that_are_there(bootstrap: str, topic: str) -> None:
    nowhere = fresh("nowhere")
    source = KafkaSource(bootstrap, [topic, nowhere], group="g", client_id="test")
    with pytest.raises(
        UnknownTopic, match=rf"topic {nowhere} is not in Kafka at {bootstrap}, which has .*{topic}"
    ):
        await source.start()
    await source.stop()
    async with running_sink(bootstrap) as sink:
        with pytest.raises(UnknownTopic, match=f"topic {nowhere} is not in Kafka"):
            await sink.publish([Outbound(topic, None, b"x"), Outbound(nowhere, None, b"x")])
        assert sink.stats.published == 0
    assert nowhere not in await partition_counts(bootstrap, QUICK), "who asks for a topic must not create it"


async def test_a_topic_made_after_the_start_can_be_published_to(bootstrap: str) -> None:
    async with running_sink(bootstrap) as sink:
        late = fresh("late")
        await ensure_topics(bootstrap, {late: 1})
        await sink.publish([Outbound(late, None, b"x")])
        await sink.flush()
        assert sink.stats.acknowledged == 1


async def test_a_partition_that_is_not_there_is_refused(bootstrap: str, topic: str) -> None:
    async with running_sink(bootstrap) as sink:
        with pytest.raises(ConfigError, match=f"partition of {topic} must be 0 to 3, was 4"):
            await sink.publish([Outbound(topic, None, b"x", 0), Outbound(topic, None, b"x", 4)])
        assert sink.stats.published == 0


async def test_a_message_too_large_is_refused_and_the_rest_goes_out(bootstrap: str, topic: str) -> None:
    async with running_sink(bootstrap) as sink:
        with pytest.raises(
            DeliveryError, match=rf"topic {topic} must be at most 1000000 bytes, was 2000\d\d\d; 1 "
        ):
            await sink.publish(
                [
                    Outbound(topic, b"k", b"before"),
                    Outbound(topic, b"k", bytes(2_000_000)),
                    Outbound(topic, b"k", b"after"),
                ]
            )
        await sink.flush()
        assert (sink.stats.published, sink.stats.acknowledged, sink.stats.failed) == (2, 2, 1)
        await sink.publish([Outbound(topic, b"k", b"later")])
        await sink.flush()
    async with running_source(bootstrap, topic) as source:
        assert [m.value for m in await polled(source, 3)] == [b"before", b"after", b"later"]


async def test_a_message_larger_than_a_batch_goes_out_alone(bootstrap: str, topic: str) -> None:
    bodies = [b"a", bytes(5000), b"b"]
    async with running_sink(bootstrap, max_batch_bytes=1000) as sink:
        await sink.publish([Outbound(topic, None, body, 0) for body in bodies])
        await sink.flush()
    async with running_source(bootstrap, topic) as source:
        assert [m.value for m in await polled(source, 3)] == bodies


async def test_what_the_broker_refuses_fails_the_flush_and_not_what_follows(
    bootstrap: str, topic: str
) -> None:
    """Kafka takes batches of up to 1,048,588 bytes; a sink set wrongly learns it only from the broker."""
    async with running_sink(bootstrap, max_message_bytes=4_000_000, timeouts=QUICK) as sink:
        await sink.publish([Outbound(topic, None, bytes(2_000_000), 0)])
        with pytest.raises(
            DeliveryError, match=f"1 of 1 messages to {topic} were not acknowledged by Kafka at "
        ):
            await sink.flush()
        await sink.publish([Outbound(topic, None, b"x", 0)])
        await sink.flush()
        assert (sink.stats.acknowledged, sink.stats.failed) == (1, 1)


async def test_a_sink_that_does_not_run_says_so(bootstrap: str, topic: str) -> None:
    sink = KafkaSink(bootstrap, client_id="idle")
    with pytest.raises(InvariantError, match="sink idle is not running"):
        await sink.publish([Outbound(topic, None, b"x")])
    await sink.stop()


async def test_topics_that_are_there_are_left_as_they_are(bootstrap: str, topic: str) -> None:
    other = fresh()
    assert await ensure_topics(bootstrap, {topic: 9, other: 2}, compacted=[other]) == [other]
    counts = await partition_counts(bootstrap, QUICK)
    assert (counts[topic], counts[other]) == (4, 2)


async def test_topics_that_kafka_refuses_are_named(bootstrap: str) -> None:
    with pytest.raises(DependencyError, match="did not create topic no/slash with 1 partitions"):
        await ensure_topics(bootstrap, {"no/slash": 1})


# No broker, or one that goes away


@pytest.fixture
def free_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize(
    "make",
    [
        lambda at, wait: KafkaSource(at, ["t"], group=None, client_id="test", timeouts=wait),
        lambda at, wait: KafkaSource(at, ["t"], group="g", client_id="test", timeouts=wait),
        lambda at, wait: KafkaSink(at, client_id="test", timeouts=wait),
    ],
    ids=["control source", "group source", "sink"],
)
async def test_a_broker_that_is_not_there_is_one_clear_line(
    free_address: str,
    make: Callable[[str, Timeouts], KafkaSource | KafkaSink],
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = make(free_address, Timeouts(connect=0.5))
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable) as caught:
        await part.start()
    await part.stop()
    assert time.monotonic() - started < 2
    message = str(caught.value)
    assert message.startswith(f"no Kafka broker answers at {free_address}: connection refused (")
    assert "tries in 0.5 s); start one there or correct the address" in message
    assert "\n" not in message
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_a_broker_that_comes_late_is_found(free_address: str) -> None:
    port = int(free_address.rpartition(":")[2])
    finding = asyncio.create_task(find_broker(free_address, 20))
    await asyncio.sleep(0.3)
    async with embedded_process({"t": 1}, port=port):
        await finding


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something answers that is not Kafka"),
        (b"", "the connection is closed without an answer"),
        (None, "no answer"),
    ],
)
async def test_something_else_at_the_address_is_told_from_a_broker(answer: bytes | None, reason: str) -> None:
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is None:
            await reader.read()
        writer.write(answer or b"")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        served.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}: {reason}"):
            # One try only, so that there is one connection to see the end of.
            await find_broker(f"127.0.0.1:{port}", 0.05)
        await served.wait()


@asynccontextmanager
async def embedded_process(topics: dict[str, int], port: int = 0) -> AsyncIterator[tuple[str, int]]:
    """The embedded broker in a process of its own, that can be killed or frozen: (address, pid)."""
    arguments = [f"--topic={name}:{count}" for name, count in topics.items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "simulator.broker", f"--port={port}"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode().split()
        yield line[1], process.pid
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "frozen"])
async def test_a_flush_fails_when_the_broker_dies_and_stop_is_bounded(end: signal.Signals) -> None:
    async with embedded_process({"t": 4}) as (address, pid):
        sink = KafkaSink(address, client_id="test", max_batch_bytes=1000, timeouts=QUICK)
        await sink.start()
        await sink.publish(numbered("t", range(100)))
        await sink.flush()
        os.kill(pid, end)
        started = time.monotonic()
        await sink.publish(numbered("t", range(1000)))
        with pytest.raises(
            DeliveryError, match=r"^1000 of 1000 messages to t were not acknowledged by Kafka at "
        ):
            await sink.flush()
        assert time.monotonic() - started < 6 * QUICK.delivery
        assert (sink.stats.acknowledged, sink.stats.failed) == (100, 1000)
        await bounded(sink.stop())


async def test_what_a_sink_could_not_deliver_before_its_stop_is_an_error() -> None:
    async with embedded_process({"t": 1}) as (address, pid):
        sink = KafkaSink(address, client_id="test", timeouts=Timeouts(delivery=60, stop=0.5))
        await sink.start()
        os.kill(pid, signal.SIGSTOP)
        await sink.publish(numbered("t", range(10)))
        started = time.monotonic()
        with pytest.raises(DeliveryError, match=r"10 of 10 messages .* \(the sink was stopped first\)"):
            await sink.stop()
        assert time.monotonic() - started < 5
        assert sink.stats.failed == 10


@pytest.mark.parametrize("group", [None, "g"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "frozen"])
async def test_a_poll_fails_when_the_broker_is_gone_and_stop_is_bounded(
    end: signal.Signals, group: str | None
) -> None:
    async with embedded_process({"t": 2}) as (address, pid):
        await publish(address, numbered("t", range(10)))
        source = KafkaSource(address, ["t"], group=group, client_id="test", timeouts=QUICK)
        await source.start()
        messages = await polled(source, 10)
        os.kill(pid, end)
        with pytest.raises(
            DependencyError, match=f"Kafka at {address}.* made no progress for 1 s: partition"
        ):
            await polled(source, 1)
        if group is not None:
            await bounded(source.commit(next_offsets(messages)))
            assert source.stats.commit_failures == 1
        await bounded(source.stop())


async def test_a_source_with_nothing_to_read_is_not_taken_for_stalled(bootstrap: str, topic: str) -> None:
    async with running_source(bootstrap, topic, fresh("group"), timeouts=QUICK) as source:
        await publish(bootstrap, numbered(topic, range(3)))
        await polled(source, 3)
        assert await source.poll(1, 3 * QUICK.stall) == []


async def test_a_source_that_is_not_polled_is_not_taken_for_stalled(bootstrap: str, topic: str) -> None:
    await publish(bootstrap, [Outbound(topic, None, bytes(2000), 0)] * 1500)
    async with running_source(bootstrap, topic, timeouts=QUICK, max_queue_messages=10) as source:
        await asyncio.sleep(3 * QUICK.stall)
        assert len(await polled(source, 1500)) == 1500


async def test_an_error_of_the_client_comes_out_of_poll(
    bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_source(bootstrap, topic) as source:

        async def broken(**_: object) -> None:
            raise ValueError("not what was expected")

        monkeypatch.setattr(source._consumer, "getmany", broken)
        with pytest.raises(
            DependencyError, match=f"reading {topic} from Kafka at .* failed: ValueError: not what"
        ):
            await polled(source, 1)


async def bounded(ending: Awaitable[None]) -> None:
    started = time.monotonic()
    await ending
    assert time.monotonic() - started < 6


def test_our_errors_say_whose_fault_it_is() -> None:
    assert issubclass(BrokerUnavailable, ClearbidError)
    assert (BrokerUnavailable.exit_code, ConfigError.exit_code, InvariantError.exit_code) == (3, 2, 70)


async def test_a_history_begins_at_a_time_in_the_topics_that_are_named(bootstrap: str) -> None:
    old, whole = fresh("dated"), fresh("whole")
    await ensure_topics(bootstrap, {old: 2, whole: 1}, retention_hours={old: 24})
    sink = KafkaSink(bootstrap, client_id="test")
    await sink.start()
    await sink.publish([Outbound(topic, None, b"before", 0) for topic in (old, whole)])
    await sink.flush()
    await asyncio.sleep(0.05)
    since_ms = time.time_ns() // 1_000_000
    await sink.send([Run(old, 0, [b"after", b"later"])])
    await sink.flush()
    source = KafkaSource(bootstrap, [old, whole], group=None, client_id="test")
    await source.begin({old: since_ms})
    found: list[bytes] = []
    async with asyncio.timeout(10):
        while not source.caught_up():
            found += [message.value for message in await source.poll(10, 0.1)]
    await source.stop()
    await sink.stop()
    assert sorted(found) == [b"after", b"before", b"later"]
