"""What Clearbid needs of a Kafka broker, asked of the embedded broker and of Apache Kafka by two client libraries.

A test here that holds for one broker and not for the other is a fault of the embedded one.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from simulator.broker.codes import ApiKey, ErrorCode
from simulator.broker.wire import Writer
from tests.support.kafka_clients import (
    CLIENTS,
    SESSION_TIMEOUT_MS,
    AioClient,
    Client,
    ConfluentClient,
    Consumer,
    Received,
    Refused,
    Sent,
)
from tests.support.raw_kafka import batch, produce_body, raw_client

ROOT = Path(__file__).parents[2]
# Old enough to be told from "now", young enough for retention by time to leave it alone.
AN_HOUR_AGO_MS = int(time.time() * 1000) - 3_600_000


def other(client: Client) -> Client:
    """The other library at the same broker."""
    kind = ConfluentClient if isinstance(client, AioClient) else AioClient
    return kind(client.bootstrap)


async def filled(client: Client, topic: str, count: int, *, partitions: int = 1) -> None:
    """Creates a topic with `count` numbered records, spread evenly."""
    await client.create_topic(topic, partitions)
    async with client.producer() as producer:
        await producer.send(topic, [Sent(str(n).encode(), partition=n % partitions) for n in range(count)])


def values(records: list[Received]) -> list[int]:
    return [int(record.value) for record in records]


async def until_assigned(
    ready: Callable[[], bool], *consumers: Consumer, timeout_s: float = 20
) -> list[Received]:
    """Polls until the members have what they should; what they read meanwhile."""
    records: list[Received] = []
    deadline_s = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline_s, f"assigned: {[consumer.assigned() for consumer in consumers]}"
        for polled in await asyncio.gather(*(consumer.poll(1000, 0.1) for consumer in consumers)):
            records += polled
    return records


# --- records ----------------------------------------------------------------------------------------------------


async def test_a_record_comes_back_with_key_headers_and_time(client: Client, topic: str) -> None:
    await client.create_topic(topic, 1)
    headers = (("trace", b"\x00\x01"), ("trace", b"twice"), ("empty", b""))
    async with client.producer() as producer, client.consumer(topic, partitions=[0]) as consumer:
        await producer.send(topic, [Sent(b"body", b"key", 0, AN_HOUR_AGO_MS, headers)])
        assert await consumer.read(1) == [Received(0, 0, b"key", b"body", AN_HOUR_AGO_MS, headers)]


async def test_a_record_without_key_has_none(client: Client, topic: str) -> None:
    await client.create_topic(topic, 1)
    async with client.producer() as producer, client.consumer(topic, partitions=[0]) as consumer:
        await producer.send(topic, [Sent(b"body")])
        assert (await consumer.read(1))[0].key is None


async def test_records_of_one_library_are_read_by_the_other(client: Client, topic: str) -> None:
    await filled(client, topic, 100)
    async with other(client).consumer(topic, partitions=[0]) as consumer:
        assert values(await consumer.read(100)) == list(range(100))


async def test_order_holds_within_a_partition_and_offsets_have_no_gap(client: Client, topic: str) -> None:
    await client.create_topic(topic, 3)
    async with client.producer() as producer, client.consumer(topic, partitions=[0, 1, 2]) as consumer:
        for start in range(0, 600, 150):
            await producer.send(
                topic, [Sent(str(n).encode(), partition=n % 3) for n in range(start, start + 150)]
            )
        records = await consumer.read(600)
    for partition in range(3):
        mine = [record for record in records if record.partition == partition]
        assert [record.offset for record in mine] == list(range(200))
        assert values(mine) == list(range(partition, 600, 3))


async def test_the_producer_is_told_where_each_record_stands(client: Client, topic: str) -> None:
    await client.create_topic(topic, 2)
    async with client.producer() as producer:
        assert await producer.send(topic, [Sent(b"a", partition=1), Sent(b"b", partition=1)]) == [
            (1, 0),
            (1, 1),
        ]
        assert await producer.send(topic, [Sent(b"c", partition=1), Sent(b"d", partition=0)]) == [
            (1, 2),
            (0, 0),
        ]


async def test_both_libraries_choose_the_same_partition_for_a_key(bootstrap: str, topic: str) -> None:
    keys = [f"user-{n}-{'x' * (n % 7)}".encode() for n in range(60)]
    chosen: list[list[int]] = []
    for kind in CLIENTS.values():
        client = kind(bootstrap)
        if not chosen:
            await client.create_topic(topic, 8)
        async with client.producer() as producer:
            placed = await producer.send(topic, [Sent(b"", key) for key in keys])
        chosen.append([partition for partition, _ in placed])
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) == set(range(8))


async def test_gzip_passes_through(client: Client, topic: str) -> None:
    await client.create_topic(topic, 1)
    async with (
        client.producer(gzip=True) as producer,
        other(client).consumer(topic, partitions=[0]) as consumer,
    ):
        await producer.send(topic, [Sent(f"{n}".encode() * 100) for n in range(50)])
        assert [record.value for record in await consumer.read(50)] == [
            f"{n}".encode() * 100 for n in range(50)
        ]


async def test_an_idle_fetch_wakes_when_something_is_produced(client: Client, topic: str) -> None:
    await client.create_topic(topic, 1)
    async with (
        client.producer() as producer,
        client.consumer(topic, partitions=[0], max_wait_ms=8000) as consumer,
    ):
        await producer.send(topic, [Sent(b"first")])
        await consumer.read(1)
        reading = asyncio.create_task(consumer.read(1))
        await asyncio.sleep(0.7)
        started_s = time.monotonic()
        await producer.send(topic, [Sent(b"second")])
        assert (await reading)[0].value == b"second"
        # Without the wake it would be the 8 s of the fetch.
        assert time.monotonic() - started_s < 2


async def test_an_oversize_record_is_refused_and_the_next_is_taken(client: Client, topic: str) -> None:
    await client.create_topic(topic, 1)
    async with client.producer() as producer:
        with pytest.raises(Refused) as refused:
            await producer.send(topic, [Sent(b"x" * (1024 * 1024 + 100))])
        assert refused.value.code == ErrorCode.MESSAGE_TOO_LARGE
        assert await producer.send(topic, [Sent(b"x" * 1_000_000)]) == [(0, 0)]


async def test_many_partitions_are_read_from_one_consumer(client: Client, topic: str) -> None:
    await filled(client, topic, 1000, partitions=100)
    async with client.consumer(topic, partitions=range(100)) as consumer:
        assert sorted(values(await consumer.read(1000))) == list(range(1000))


# --- topics -----------------------------------------------------------------------------------------------------


async def test_a_topic_has_the_partitions_it_was_created_with(client: Client, topic: str) -> None:
    await client.create_topic(topic, 7)
    assert await client.partitions(topic) == 7


async def test_a_topic_is_created_once(client: Client, topic: str) -> None:
    await client.create_topic(topic, 1)
    with pytest.raises(Refused) as refused:
        await client.create_topic(topic, 1)
    assert refused.value.code == ErrorCode.TOPIC_ALREADY_EXISTS


@pytest.mark.parametrize(
    ("name", "partitions", "code"),
    [("a topic", 1, ErrorCode.INVALID_TOPIC), ("topic-of-none", 0, ErrorCode.INVALID_PARTITIONS)],
)
async def test_a_topic_that_cannot_be_is_refused(
    bootstrap: str, name: str, partitions: int, code: int
) -> None:
    with pytest.raises(Refused) as refused:
        await AioClient(bootstrap).create_topic(name, partitions)
    assert refused.value.code == code


async def test_an_unknown_topic_is_an_error(client: Client, topic: str) -> None:
    with pytest.raises(Refused) as refused:
        await client.partitions(topic)
    assert refused.value.code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_deleted_topic_is_unknown(client: Client, topic: str) -> None:
    await client.create_topic(topic, 1)
    await client.delete_topic(topic)
    with pytest.raises(Refused) as refused:
        await client.partitions(topic)
    assert refused.value.code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


# --- where to read ----------------------------------------------------------------------------------------------


async def test_first_and_end_offset_are_told(client: Client, topic: str) -> None:
    await filled(client, topic, 10)
    async with client.consumer(topic, partitions=[0]) as consumer:
        assert await consumer.limits(topic, 0) == (0, 10)


async def test_an_empty_partition_begins_where_it_ends(client: Client, topic: str) -> None:
    await client.create_topic(topic, 1)
    async with client.consumer(topic, partitions=[0]) as consumer:
        assert await consumer.limits(topic, 0) == (0, 0)


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_the_offset_of_a_time_is_that_of_the_first_record_not_older(
    client: Client, topic: str, *, gzip: bool
) -> None:
    await client.create_topic(topic, 1)
    async with client.producer(gzip=gzip) as producer:
        await producer.send(topic, [Sent(b"", timestamp_ms=AN_HOUR_AGO_MS + 10 * n) for n in range(20)])
        await producer.send(topic, [Sent(b"", timestamp_ms=AN_HOUR_AGO_MS + 10 * n) for n in range(20, 40)])
    async with client.consumer(topic, partitions=[0]) as consumer:
        for at_ms, offset in [(-1000, 0), (0, 0), (1, 1), (70, 7), (195, 20), (390, 39), (391, None)]:
            assert await consumer.offset_at(topic, 0, AN_HOUR_AGO_MS + at_ms) == offset


async def test_a_consumer_reads_on_from_where_it_seeks(client: Client, topic: str) -> None:
    await filled(client, topic, 20)
    async with client.consumer(topic, partitions=[0]) as consumer:
        assert values(await consumer.read(20)) == list(range(20))
        await consumer.seek(topic, 0, 13)
        assert values(await consumer.read(7)) == list(range(13, 20))


async def test_only_the_given_partitions_are_read(client: Client, topic: str) -> None:
    await filled(client, topic, 30, partitions=3)
    async with client.consumer(topic, partitions=[2]) as consumer:
        assert values(await consumer.read(10)) == list(range(2, 30, 3))
        assert await consumer.poll(1, 0.3) == []


async def test_reset_to_latest_reads_only_what_is_new(client: Client, topic: str) -> None:
    await filled(client, topic, 5)
    async with (
        client.consumer(topic, partitions=[0], reset="latest") as consumer,
        client.producer() as producer,
    ):
        assert await consumer.poll(1, 1.0) == []
        await producer.send(topic, [Sent(b"5")])
        assert values(await consumer.read(1)) == [5]


async def test_below_the_start_of_the_log_the_reset_policy_decides(client: Client, topic: str) -> None:
    await filled(client, topic, 10)
    await client.delete_records(topic, 0, 6)
    async with client.consumer(topic, partitions=[0], reset="earliest") as consumer:
        assert await consumer.limits(topic, 0) == (6, 10)
        assert values(await consumer.read(4)) == [6, 7, 8, 9]
        await consumer.seek(topic, 0, 2)
        assert values(await consumer.read(4)) == [6, 7, 8, 9]


# --- idempotent producers ---------------------------------------------------------------------------------------


async def test_an_idempotent_producer_stores_each_record_once(client: Client, topic: str) -> None:
    await client.create_topic(topic, 2)
    async with client.producer(idempotent=True) as producer:
        for start in range(0, 300, 100):
            await producer.send(
                topic, [Sent(str(n).encode(), partition=n % 2) for n in range(start, start + 100)]
            )
    async with client.consumer(topic, partitions=[0, 1]) as consumer:
        assert sorted(values(await consumer.read(300))) == list(range(300))
        assert await consumer.limits(topic, 0) == (0, 150)


async def test_a_retried_batch_is_stored_once(bootstrap: str, topic: str) -> None:
    await AioClient(bootstrap).create_topic(topic, 1)
    async with raw_client(bootstrap) as raw:
        producer_id = await raw.producer_id()
        first, second = (
            batch(b"a", b"b", producer_id=producer_id, producer_epoch=0, base_sequence=sequence)
            for sequence in (0, 2)
        )
        assert await raw.produce(topic, 0, first) == (ErrorCode.NONE, 0)
        assert await raw.produce(topic, 0, second) == (ErrorCode.NONE, 2)
        assert await raw.produce(topic, 0, first) == (ErrorCode.NONE, 0)
        assert await raw.end_offset(topic, 0) == 4


async def test_a_gap_in_the_sequence_is_refused(bootstrap: str, topic: str) -> None:
    await AioClient(bootstrap).create_topic(topic, 1)
    async with raw_client(bootstrap) as raw:
        producer_id = await raw.producer_id()
        for sequence, code in [(0, ErrorCode.NONE), (5, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)]:
            records = batch(b"a", producer_id=producer_id, producer_epoch=0, base_sequence=sequence)
            assert (await raw.produce(topic, 0, records))[0] == code


async def test_producer_ids_differ(bootstrap: str) -> None:
    async with raw_client(bootstrap) as raw:
        assert await raw.producer_id() != await raw.producer_id()


# --- groups -----------------------------------------------------------------------------------------------------


async def test_one_member_has_all_partitions(client: Client, topic: str, group: str) -> None:
    await filled(client, topic, 40, partitions=4)
    async with client.consumer(topic, group=group) as consumer:
        assert sorted(values(await consumer.read(40))) == list(range(40))
        assert consumer.assigned() == {0, 1, 2, 3}


async def test_a_group_goes_on_where_it_committed(client: Client, topic: str, group: str) -> None:
    await filled(client, topic, 10)
    async with client.consumer(topic, group=group) as consumer:
        await consumer.read(10)
        await consumer.commit(topic, {0: 4})
    started_s = time.monotonic()
    async with client.consumer(topic, group=group) as consumer:
        assert values(await consumer.read(6)) == [4, 5, 6, 7, 8, 9]
        # The first member left, so the second has nobody to wait for.
        assert time.monotonic() - started_s < SESSION_TIMEOUT_MS / 1000 - 1


async def test_without_a_commit_a_group_begins_anew(client: Client, topic: str, group: str) -> None:
    await filled(client, topic, 3)
    for _ in range(2):
        async with client.consumer(topic, group=group) as consumer:
            assert values(await consumer.read(3)) == [0, 1, 2]


async def test_offsets_that_one_library_committed_are_seen_by_the_other(
    client: Client, topic: str, group: str
) -> None:
    await filled(client, topic, 10, partitions=2)
    async with client.consumer(topic, group=group) as consumer:
        await consumer.read(10)
        await consumer.commit(topic, {0: 3})
    async with other(client).consumer(topic, group=group, partitions=[0, 1]) as consumer:
        assert await consumer.committed(topic, 0) == 3
        assert await consumer.committed(topic, 1) is None


async def test_who_reads_given_partitions_may_commit_too(client: Client, topic: str, group: str) -> None:
    await filled(client, topic, 10)
    async with client.consumer(topic, group=group, partitions=[0]) as consumer:
        await consumer.read(10)
        await consumer.commit(topic, {0: 7})
        assert await consumer.committed(topic, 0) == 7


async def test_two_members_share_the_partitions_and_no_record_is_lost(
    client: Client, topic: str, group: str
) -> None:
    await client.create_topic(topic, 4)
    async with client.consumer(topic, group=group) as first, client.consumer(topic, group=group) as second:
        await until_assigned(lambda: len(first.assigned()) == len(second.assigned()) == 2, first, second)
        assert first.assigned() | second.assigned() == {0, 1, 2, 3}
        async with client.producer() as producer:
            await producer.send(topic, [Sent(str(n).encode(), partition=n % 4) for n in range(200)])
        mine, theirs = await asyncio.gather(first.read(100), second.read(100))
        assert sorted(values(mine) + values(theirs)) == list(range(200))


async def test_members_of_both_libraries_share_a_group(bootstrap: str, topic: str, group: str) -> None:
    await AioClient(bootstrap).create_topic(topic, 6)
    async with AsyncExitStack() as stack:
        # Range is a strategy that both know; the order in which they join must not matter.
        members = [
            await stack.enter_async_context(kind(bootstrap).consumer(topic, group=group))
            for kind in (AioClient, ConfluentClient, AioClient)
        ]
        await until_assigned(lambda: [len(member.assigned()) for member in members] == [2, 2, 2], *members)
        assert set.union(*(member.assigned() for member in members)) == set(range(6))


async def test_when_a_member_leaves_the_other_takes_over(client: Client, topic: str, group: str) -> None:
    await client.create_topic(topic, 4)
    async with client.consumer(topic, group=group) as stays:
        async with client.consumer(topic, group=group) as leaves:
            await until_assigned(lambda: len(stays.assigned()) == len(leaves.assigned()) == 2, stays, leaves)
        started_s = time.monotonic()
        await until_assigned(lambda: len(stays.assigned()) == 4, stays)
        # It left by name, so nobody waits for its session to end.
        assert time.monotonic() - started_s < SESSION_TIMEOUT_MS / 1000 - 1


@asynccontextmanager
async def member_process(client: Client, group: str, topic: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A group member in a process of its own."""
    name = next(name for name, kind in CLIENTS.items() if isinstance(client, kind))
    command = [sys.executable, "-m", "tests.support.kafka_clients", name, client.bootstrap, group, topic]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_killed_member_is_replaced_when_its_session_ends(
    client: Client, topic: str, group: str
) -> None:
    await client.create_topic(topic, 4)
    async with client.consumer(topic, group=group) as stays:
        await until_assigned(lambda: len(stays.assigned()) == 4, stays)
        async with member_process(client, group, topic) as killed:
            await until_assigned(lambda: len(stays.assigned()) == 2, stays)
            assert killed.stdout is not None
            await killed.stdout.readline()
            killed.kill()
            killed_s = time.monotonic()
            await until_assigned(lambda: len(stays.assigned()) == 4, stays)
            waited_s = time.monotonic() - killed_s
    session_s = SESSION_TIMEOUT_MS / 1000
    # Its last heartbeat was up to one interval before the kill, and the other hears of it at its own next one.
    assert session_s - 1.5 < waited_s < session_s + 4


async def test_a_static_member_comes_back_without_a_rebalance(client: Client, topic: str, group: str) -> None:
    await client.create_topic(topic, 4)
    async with client.consumer(topic, group=group, instance_id="stays") as stays:
        async with client.consumer(topic, group=group, instance_id="restarts") as before:
            await until_assigned(lambda: len(stays.assigned()) == len(before.assigned()) == 2, stays, before)
            had = before.assigned()
        rebalances = stays.rebalances
        async with client.consumer(topic, group=group, instance_id="restarts") as after:
            await until_assigned(lambda: len(after.assigned()) == 2, stays, after)
            await until_assigned(lambda: True, stays, after)
            assert after.assigned() == had
            await stays.poll(1, 3 * 0.3)
            assert stays.rebalances == rebalances


# --- what no library can be made to send ------------------------------------------------------------------------


async def test_a_client_that_is_too_new_is_told_the_versions(bootstrap: str) -> None:
    """KIP-511: whatever version of ApiVersions is asked, the answer is one that every client can read."""
    async with raw_client(bootstrap) as raw:
        body = Writer()
        body.uvarint(0)  # From version 3 on the header ends in tagged fields; there are none.
        reader = await raw.ask(ApiKey.API_VERSIONS, 99, body)
        assert reader.int16() == ErrorCode.UNSUPPORTED_VERSION
        rows = [(reader.int16(), reader.int16(), reader.int16()) for _ in reader.array()]
        assert ApiKey.API_VERSIONS in {key for key, _, _ in rows}


async def test_a_request_of_an_unknown_kind_ends_the_connection(bootstrap: str) -> None:
    async with raw_client(bootstrap) as raw:
        await raw.send_request(9999, 0, Writer())
        assert await raw.is_closed()


async def test_a_frame_of_negative_length_ends_the_connection(bootstrap: str) -> None:
    async with raw_client(bootstrap) as raw:
        await raw.send(b"\xff\xff\xff\xff rubbish")
        assert await raw.is_closed()


async def test_a_request_that_ends_early_ends_the_connection(bootstrap: str) -> None:
    async with raw_client(bootstrap) as raw:
        body = Writer()
        body.int32(1_000_000)
        await raw.send_request(ApiKey.METADATA, 1, body)
        assert await raw.is_closed()


async def test_responses_come_in_the_order_of_requests(bootstrap: str, topic: str) -> None:
    """A fetch that waits holds up what was asked after it on the same connection."""
    await filled(AioClient(bootstrap), topic, 1)
    fetch = Writer()
    for number in (-1, 500, 1, 1 << 20):
        fetch.int32(number)
    fetch.int8(0)
    fetch.int32(1)
    fetch.string(topic)
    fetch.int32(1)
    fetch.int32(0)
    fetch.int64(1)
    fetch.int32(1 << 20)
    async with raw_client(bootstrap) as raw:
        started_s = time.monotonic()
        sent = [
            await raw.send_request(ApiKey.FETCH, 4, fetch),
            await raw.send_request(ApiKey.API_VERSIONS, 0, Writer()),
        ]
        assert [(await raw.receive())[0] for _ in sent] == sent
        assert time.monotonic() - started_s >= 0.45


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        pytest.param(lambda records: records[:40], None, id="cut short"),
        pytest.param(lambda records: records + records, ErrorCode.INVALID_RECORD, id="two batches"),
        pytest.param(
            lambda records: records[:16] + b"\x01" + records[17:], ErrorCode.INVALID_RECORD, id="magic 1"
        ),
    ],
)
async def test_a_batch_that_cannot_be_is_refused(
    bootstrap: str, topic: str, break_it: Callable[[bytearray], bytearray], code: int | None
) -> None:
    await AioClient(bootstrap).create_topic(topic, 1)
    async with raw_client(bootstrap) as raw:
        refused, _ = await raw.produce(topic, 0, break_it(batch(b"a", b"b")))
        assert refused != ErrorCode.NONE
        assert code is None or refused == code
    async with raw_client(bootstrap) as raw:
        assert await raw.end_offset(topic, 0) == 0


async def test_a_partition_that_is_not_there_is_refused(bootstrap: str, topic: str) -> None:
    await AioClient(bootstrap).create_topic(topic, 1)
    async with raw_client(bootstrap) as raw:
        assert (await raw.produce(topic, 1, batch(b"a")))[0] == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_only_known_numbers_of_acks_are_taken(bootstrap: str, topic: str) -> None:
    await AioClient(bootstrap).create_topic(topic, 1)
    async with raw_client(bootstrap) as raw:
        assert (await raw.produce(topic, 0, batch(b"a"), acks=7))[0] == ErrorCode.INVALID_REQUIRED_ACKS


async def test_without_acks_a_record_is_stored_and_not_answered(bootstrap: str, topic: str) -> None:
    await AioClient(bootstrap).create_topic(topic, 1)
    async with raw_client(bootstrap) as raw:
        await raw.send_request(ApiKey.PRODUCE, 7, produce_body(topic, 0, batch(b"a"), acks=0))
        assert await raw.end_offset(topic, 0) == 1


async def test_without_acks_a_refusal_ends_the_connection(bootstrap: str, topic: str) -> None:
    async with raw_client(bootstrap) as raw:
        await raw.send_request(ApiKey.PRODUCE, 7, produce_body(topic, 0, batch(b"a"), acks=0))
        assert await raw.is_closed()


async def test_who_is_no_member_cannot_commit_in_a_generation(bootstrap: str, topic: str, group: str) -> None:
    await AioClient(bootstrap).create_topic(topic, 1)
    body = Writer()
    body.string(group)
    body.int32(3)
    body.string("nobody")
    body.int64(-1)
    body.int32(1)
    body.string(topic)
    body.int32(1)
    body.int32(0)
    body.int64(5)
    body.string("")
    async with raw_client(bootstrap) as raw:
        reader = await raw.ask(ApiKey.OFFSET_COMMIT, 2, body)
        assert reader.int32() == 1
        reader.string()
        assert reader.int32() == 1
        reader.int32()
        assert reader.int16() == ErrorCode.ILLEGAL_GENERATION
