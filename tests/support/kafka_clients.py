"""Two Kafka clients behind one face, so that a fact of the contract is written once and asked of both.

`AioClient` drives aiokafka, `ConfluentClient` librdkafka: two readings of the protocol that know nothing of each
other. `python -m tests.support.kafka_clients CLIENT BOOTSTRAP GROUP TOPIC` is a group member in a process of its
own, to be killed.
"""

import asyncio
import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import aiokafka
import aiokafka.admin
import aiokafka.errors
import confluent_kafka
import confluent_kafka.admin
from confluent_kafka.cimpl import NewTopic

T = TypeVar("T")

# The shortest session that Apache Kafka takes without being told otherwise.
SESSION_TIMEOUT_MS = 6000
HEARTBEAT_MS = 300
# Above the broker's limit, so that the broker is who refuses.
_CLIENT_MAX_BYTES = 8 * 1024 * 1024
_REQUEST_TIMEOUT_MS = 10_000


class Sent(NamedTuple):
    """A record to send."""

    value: bytes
    key: bytes | None = None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Received(NamedTuple):
    """A record that was read."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...]


class Refused(Exception):
    """The broker answered with an error code of the protocol."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with code {code}")
        self.code = code


class Producer(ABC):
    """Sends records."""

    @abstractmethod
    async def send(self, topic: str, records: Sequence[Sent]) -> list[tuple[int, int]]:
        """Sends all at once; where each came to stand: partition and offset. Raises `Refused`."""


class Consumer(ABC):
    """Reads records; commits only when told to."""

    rebalances = 0

    @abstractmethod
    async def poll(self, count: int, timeout_s: float) -> list[Received]:
        """What is there within `timeout_s`, at most `count`; may return early with less."""

    @abstractmethod
    def assigned(self) -> set[int]:
        """Partitions that this member has now."""

    @abstractmethod
    async def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Stores where to read next, by partition."""

    @abstractmethod
    async def committed(self, topic: str, partition: int) -> int | None:
        """Where the group will read next."""

    @abstractmethod
    async def seek(self, topic: str, partition: int, offset: int) -> None:
        """Reads on from `offset`."""

    @abstractmethod
    async def limits(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset, and the one after the last."""

    @abstractmethod
    async def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """First offset that is not older; None or -1 when all are."""

    async def read(self, count: int, timeout_s: float = 15) -> list[Received]:
        """Exactly `count` records, or fewer when time is up."""
        records: list[Received] = []
        deadline_s = monotonic() + timeout_s
        while len(records) < count and monotonic() < deadline_s:
            records += await self.poll(count - len(records), 0.2)
        return records


class Client(ABC):
    """One client library at one broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    @abstractmethod
    async def create_topic(self, topic: str, partitions: int) -> None:
        """Creates a topic and waits until it can be used. Raises `Refused`."""

    @abstractmethod
    async def delete_topic(self, topic: str) -> None:
        """Deletes a topic."""

    @abstractmethod
    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Moves the start of a partition."""

    @abstractmethod
    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises `Refused`."""

    @abstractmethod
    def producer(
        self, *, idempotent: bool = False, gzip: bool = False
    ) -> "contextlib.AbstractAsyncContextManager[Producer]":
        """A producer that partitions by murmur2 where no partition is given."""

    @abstractmethod
    def consumer(
        self,
        topic: str,
        *,
        group: str | None = None,
        partitions: Sequence[int] = (),
        reset: str = "earliest",
        max_wait_ms: int = 500,
        instance_id: str | None = None,
    ) -> "contextlib.AbstractAsyncContextManager[Consumer]":
        """A consumer: a member of `group`, a reader of given partitions, or, with both, a reader that commits."""


# --- aiokafka ---------------------------------------------------------------------------------------------------


class _AioProducer(Producer):
    def __init__(self, producer: Any) -> None:
        self._producer = producer

    async def send(self, topic: str, records: Sequence[Sent]) -> list[tuple[int, int]]:
        futures = [
            await self._producer.send(
                topic,
                record.value,
                key=record.key,
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
                headers=list(record.headers),
            )
            for record in records
        ]
        # All are waited for, so that none fails unseen when the first one has failed.
        await asyncio.wait(futures)
        for error in [future.exception() for future in futures]:
            if isinstance(error, aiokafka.errors.KafkaError):
                raise Refused(error.errno) from error
        placed = [future.result() for future in futures]
        return [(record.partition, record.offset) for record in placed]


class _Count(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: object) -> None:
        pass

    def on_partitions_assigned(self, assigned: object) -> None:
        self._consumer.rebalances += 1


class _AioConsumer(Consumer):
    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    async def poll(self, count: int, timeout_s: float) -> list[Received]:
        found = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=count)
        return [
            Received(
                record.partition,
                record.offset,
                record.key,
                record.value,
                record.timestamp,
                tuple(record.headers),
            )
            for records in found.values()
            for record in records
        ]

    def assigned(self) -> set[int]:
        return {each.partition for each in self._consumer.assignment()}

    async def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        await self._consumer.commit(
            {aiokafka.TopicPartition(topic, partition): offset for partition, offset in offsets.items()}
        )

    async def committed(self, topic: str, partition: int) -> int | None:
        offset: int | None = await self._consumer.committed(aiokafka.TopicPartition(topic, partition))
        return offset

    async def seek(self, topic: str, partition: int, offset: int) -> None:
        self._consumer.seek(aiokafka.TopicPartition(topic, partition), offset)

    async def limits(self, topic: str, partition: int) -> tuple[int, int]:
        key = aiokafka.TopicPartition(topic, partition)
        return (await self._consumer.beginning_offsets([key]))[key], (
            await self._consumer.end_offsets([key])
        )[key]

    async def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        key = aiokafka.TopicPartition(topic, partition)
        found = (await self._consumer.offsets_for_times({key: timestamp_ms}))[key]
        return None if found is None else int(found.offset)


class AioClient(Client):
    """aiokafka."""

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        admin = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def create_topic(self, topic: str, partitions: int) -> None:
        async with self._admin() as admin:
            response = await admin.create_topics([aiokafka.admin.NewTopic(topic, partitions, 1)])
            code = response.topic_errors[0][1]
            if code:
                raise Refused(code)
            await _until(lambda: self._ready(admin, topic, partitions))

    async def _ready(self, admin: Any, topic: str, partitions: int) -> bool:
        described = (await admin.describe_topics([topic]))[0]
        leaders = [each["leader"] for each in described["partitions"]]
        return len(leaders) == partitions and min(leaders) >= 0

    async def delete_topic(self, topic: str) -> None:
        async with self._admin() as admin:
            await admin.delete_topics([topic])

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        async with self._admin() as admin:
            key = aiokafka.TopicPartition(topic, partition)
            await admin.delete_records({key: aiokafka.admin.RecordsToDelete(before)})

    async def partitions(self, topic: str) -> int:
        async with self._admin() as admin:
            described = (await admin.describe_topics([topic]))[0]
            if described["error_code"]:
                raise Refused(described["error_code"])
            return len(described["partitions"])

    @asynccontextmanager
    async def producer(self, *, idempotent: bool = False, gzip: bool = False) -> AsyncIterator[Producer]:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            enable_idempotence=idempotent,
            compression_type="gzip" if gzip else None,
            linger_ms=20,
            max_batch_size=512 * 1024,
            max_request_size=_CLIENT_MAX_BYTES,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        await producer.start()
        try:
            yield _AioProducer(producer)
        finally:
            await producer.stop()

    @asynccontextmanager
    async def consumer(
        self,
        topic: str,
        *,
        group: str | None = None,
        partitions: Sequence[int] = (),
        reset: str = "earliest",
        max_wait_ms: int = 500,
        instance_id: str | None = None,
    ) -> AsyncIterator[Consumer]:
        inner = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=group,
            group_instance_id=instance_id,
            auto_offset_reset=reset,
            enable_auto_commit=False,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            fetch_max_wait_ms=max_wait_ms,
        )
        consumer = _AioConsumer(inner)
        if partitions:
            inner.assign([aiokafka.TopicPartition(topic, partition) for partition in partitions])
        else:
            inner.subscribe([topic], listener=_Count(consumer))
        await inner.start()
        try:
            yield consumer
        finally:
            await inner.stop()


# --- confluent-kafka --------------------------------------------------------------------------------------------


def _checked(call: Callable[[], T]) -> T:
    try:
        return call()
    except confluent_kafka.KafkaException as error:
        raise Refused(error.args[0].code()) from error


class _ConfluentProducer(Producer):
    def __init__(self, producer: confluent_kafka.Producer) -> None:
        self._producer = producer

    async def send(self, topic: str, records: Sequence[Sent]) -> list[tuple[int, int]]:
        return await asyncio.to_thread(self._send, topic, records)

    def _send(self, topic: str, records: Sequence[Sent]) -> list[tuple[int, int]]:
        placed: list[tuple[int, int]] = [(-1, -1)] * len(records)
        codes: list[int] = []

        def note_for(index: int) -> Callable[[Any, Any], None]:
            def note(error: Any, message: Any) -> None:
                if error is not None:
                    codes.append(error.code())
                placed[index] = (message.partition(), message.offset())

            return note

        for index, record in enumerate(records):
            self._producer.produce(
                topic,
                record.value,
                key=record.key,
                partition=-1 if record.partition is None else record.partition,
                timestamp=record.timestamp_ms or 0,
                headers=list(record.headers),
                on_delivery=note_for(index),
            )
        assert self._producer.flush(_REQUEST_TIMEOUT_MS / 1000) == 0, "not all was delivered in time"
        if codes:
            raise Refused(codes[0])
        return placed


class _ConfluentConsumer(Consumer):
    def __init__(self, consumer: confluent_kafka.Consumer) -> None:
        self._consumer = consumer

    async def poll(self, count: int, timeout_s: float) -> list[Received]:
        return await asyncio.to_thread(self._poll, count, timeout_s)

    def _poll(self, count: int, timeout_s: float) -> list[Received]:
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        # `consume` waits for the full count; with no time it takes what is there.
        messages = [first, *(self._consumer.consume(count - 1, 0) if count > 1 else [])]
        errors = [error for message in messages if (error := message.error()) is not None]
        for error in errors:
            # The others are news that librdkafka deals with itself, such as a coordinator that is not ready yet.
            if error.fatal():
                raise Refused(error.code())
        return [
            Received(
                message.partition() or 0,
                message.offset() or 0,
                message.key(),
                message.value() or b"",
                message.timestamp()[1],
                tuple(message.headers() or ()),  # type: ignore[arg-type]
            )
            for message in messages
            if message.error() is None
        ]

    def assigned(self) -> set[int]:
        return {each.partition for each in self._consumer.assignment()}

    async def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        wanted = [confluent_kafka.TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        await asyncio.to_thread(_checked, lambda: self._consumer.commit(offsets=wanted, asynchronous=False))

    async def committed(self, topic: str, partition: int) -> int | None:
        wanted = [confluent_kafka.TopicPartition(topic, partition)]
        found = await asyncio.to_thread(self._consumer.committed, wanted, 10)
        return found[0].offset if found[0].offset >= 0 else None

    async def seek(self, topic: str, partition: int, offset: int) -> None:
        await asyncio.to_thread(self._consumer.seek, confluent_kafka.TopicPartition(topic, partition, offset))

    async def limits(self, topic: str, partition: int) -> tuple[int, int]:
        key = confluent_kafka.TopicPartition(topic, partition)
        first, end = await asyncio.to_thread(self._consumer.get_watermark_offsets, key, 10)
        return first, end

    async def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        wanted = [confluent_kafka.TopicPartition(topic, partition, timestamp_ms)]
        found = await asyncio.to_thread(self._consumer.offsets_for_times, wanted, 10)
        # librdkafka says "end" where no record is young enough.
        return found[0].offset if found[0].offset >= 0 else None


class ConfluentClient(Client):
    """confluent-kafka, which is librdkafka."""

    def _admin(self) -> confluent_kafka.admin.AdminClient:
        return confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap})

    async def create_topic(self, topic: str, partitions: int) -> None:
        admin = self._admin()
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1)
        future = admin.create_topics([new])[topic]
        await asyncio.to_thread(_checked, lambda: future.result(10))
        await _until(lambda: self._ready(admin, topic, partitions))

    async def _ready(self, admin: confluent_kafka.admin.AdminClient, topic: str, partitions: int) -> bool:
        found = (await asyncio.to_thread(admin.list_topics, topic, 10)).topics[topic]
        leaders = [each.leader for each in found.partitions.values()]
        return len(leaders) == partitions and min(leaders) >= 0

    async def delete_topic(self, topic: str) -> None:
        admin = self._admin()  # Must outlive the future: what it has not done when it goes is given up.
        future = admin.delete_topics([topic])[topic]
        await asyncio.to_thread(_checked, lambda: future.result(10))

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        key = confluent_kafka.TopicPartition(topic, partition, before)
        admin = self._admin()
        futures = admin.delete_records([key])
        for future in futures.values():
            await asyncio.to_thread(future.result, 10)

    async def partitions(self, topic: str) -> int:
        found = (await asyncio.to_thread(self._admin().list_topics, topic, 10)).topics[topic]
        if found.error is not None:
            raise Refused(found.error.code())
        return len(found.partitions)

    @asynccontextmanager
    async def producer(self, *, idempotent: bool = False, gzip: bool = False) -> AsyncIterator[Producer]:
        yield _ConfluentProducer(
            confluent_kafka.Producer(
                {
                    "bootstrap.servers": self.bootstrap,
                    "acks": "all",
                    "enable.idempotence": idempotent,
                    "compression.type": "gzip" if gzip else "none",
                    "linger.ms": 20,
                    "message.max.bytes": _CLIENT_MAX_BYTES,
                    "message.timeout.ms": _REQUEST_TIMEOUT_MS,
                    "partitioner": "murmur2_random",
                }
            )
        )

    @asynccontextmanager
    async def consumer(
        self,
        topic: str,
        *,
        group: str | None = None,
        partitions: Sequence[int] = (),
        reset: str = "earliest",
        max_wait_ms: int = 500,
        instance_id: str | None = None,
    ) -> AsyncIterator[Consumer]:
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": self.bootstrap,
            # It must have one; a reader of given partitions joins none.
            "group.id": group or f"none-{uuid4()}",
            "auto.offset.reset": reset,
            "enable.auto.commit": False,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "fetch.wait.max.ms": max_wait_ms,
            # Of a log that was cut off it tells at each fetch; that is what the test is about.
            "log_level": 2,
        }
        if instance_id is not None:
            settings["group.instance.id"] = instance_id
        inner = confluent_kafka.Consumer(settings)
        consumer = _ConfluentConsumer(inner)

        def count(*_: object) -> None:
            consumer.rebalances += 1

        if partitions:
            inner.assign([confluent_kafka.TopicPartition(topic, partition) for partition in partitions])
        else:
            inner.subscribe([topic], on_assign=count)
        try:
            yield consumer
        finally:
            await asyncio.to_thread(inner.close)


# --- both -------------------------------------------------------------------------------------------------------

CLIENTS: dict[str, type[Client]] = {"aiokafka": AioClient, "confluent": ConfluentClient}


async def _until(ready: Callable[[], Any], timeout_s: float = 10) -> None:
    deadline_s = monotonic() + timeout_s
    while not await ready():
        assert monotonic() < deadline_s, f"not ready within {timeout_s} s"
        await asyncio.sleep(0.02)


async def _be_a_member(client: Client, group: str, topic: str) -> None:
    """Stays in a group and tells its partitions whenever they change."""
    told: set[int] = set()
    async with client.consumer(topic, group=group) as consumer:
        while True:
            await consumer.poll(100, 0.1)
            if consumer.assigned() != told:
                told = consumer.assigned()
                print("assigned", *sorted(told), flush=True)


if __name__ == "__main__":
    _name, _bootstrap, _group, _topic = sys.argv[1:]
    asyncio.run(_be_a_member(CLIENTS[_name](_bootstrap), _group, _topic))
