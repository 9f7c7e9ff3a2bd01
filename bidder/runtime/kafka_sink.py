"""Publishing to Kafka: batches of our own making, one on its way for each partition.

What is published waits in a lane, one for each (topic, partition), while the lane's last batch is on its way.
Whatever gathered meanwhile becomes its next batch. So the order within a partition holds even where aiokafka
sends a batch again, batches grow by themselves when the broker is slow, and `publish` waits for nothing but
room in the buffer. Batches are closed builders: `send` would add to an open one, and one future for each
message costs more than the message.

The producer is neither idempotent nor transactional. In aiokafka 0.14 one batch that fails for good (too large,
or expired without a leader) has already taken its sequence numbers, and every later batch to that partition is
refused as out of order, for ever. Duplicates, which idempotence would save us, our consumers drop by the
message's own id anyway.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bidder.errors import DeliveryError, InvariantError
from bidder.runtime.kafka_link import (
    Timeouts,
    describe,
    end_within,
    partition_counts,
    unanswered,
    unknown_topics,
)
from bidder.runtime.partitioner import Partitioner, check_partition
from bidder.runtime.transport import Outbound, Run, TransportStats

# What a record may take besides key and value: lengths, offset, timestamp (21 bytes) and the batch's head (61).
_OVERHEAD_BYTES = 21 + 61


_Record = tuple[bytes | None, bytes, int, float]
"""Key, value, timestamp in milliseconds, and when its time is over, in seconds of the monotonic clock."""


class _Lane:
    """Messages of one partition: how many came, how many are settled, and those that still wait."""

    __slots__ = ("busy", "entered", "partition", "settled", "topic", "waiting")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[_Record] = deque()
        self.busy = False
        self.entered = 0
        self.settled = 0


class KafkaSink:
    """A `Sink` on Kafka.

    Args:
        bootstrap: `host:port[,host:port...]`.
        client_id: name of this client in the broker's logs.
        acks: "all" in-sync replicas for what carries money, 1 (the leader) for what may be lost with it.
        max_batch_bytes: size of a batch; it must be no more than the broker takes (`message.max.bytes`).
        max_buffered: messages that may be unacknowledged before `publish` waits.
        max_message_bytes: size of key and value above which a message is refused.
        timeouts: how long to wait for what.

    Attributes:
        stats: counters of what it did.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str,
        acks: Literal["all", 1] = "all",
        max_batch_bytes: int = 262_144,
        max_buffered: int = 10_000,
        max_message_bytes: int = 1_000_000,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.stats = TransportStats()
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._acks = acks
        self._max_batch_bytes = max_batch_bytes
        self._max_buffered = max_buffered
        self._max_message_bytes = max_message_bytes
        self._timeouts = timeouts or Timeouts()
        self._producer: AIOKafkaProducer | None = None
        self._closing = False
        self._partitioner = Partitioner()
        self._partitions: dict[str, int] = {}
        self._met: set[str] = set()
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._unacknowledged = 0
        self._progress = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        # Since the last flush: what was taken, what failed, and where and why.
        self._taken = self._lost = 0
        self._lost_topics: set[str] = set()
        self._last_error = ""

    async def start(self) -> None:
        """Connects.

        Raises:
            BrokerUnavailable: nobody answers within `timeouts.connect`.
        """
        self._partitions = await partition_counts(self._bootstrap, self._timeouts)
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            acks=self._acks,
            max_batch_size=self._max_batch_bytes,
            # The lifetime of a batch as well; see `_fail_expired`.
            request_timeout_ms=int(self._timeouts.delivery * 1000),
        )
        try:
            async with asyncio.timeout(self._timeouts.connect):
                await producer.start()
            self._producer = producer
        except (KafkaError, TimeoutError) as error:
            raise unanswered(self._bootstrap, error) from error
        finally:
            if self._producer is None:
                await end_within(producer.stop(), self._timeouts.stop)

    async def publish(self, messages: Sequence[Outbound]) -> None:
        """Takes messages for delivery; waits only while `max_buffered` are unacknowledged.

        Raises:
            UnknownTopic: of a topic that the broker does not have; nothing of the call is sent.
            ConfigError: of a partition that the topic does not have; nothing of the call is sent.
            DeliveryError: some messages are too large; all others of the call are taken.
        """
        await self._learn_topics({message.topic for message in messages})
        routed = self._route(messages)
        fitting = [pair for pair in routed if _size(pair[1]) <= self._max_message_bytes]
        start = 0
        while start < len(fitting):
            room = self._max_buffered - self._unacknowledged
            if room > 0:
                await self._take(fitting[start : start + room])
                start += room
            else:
                self._progress.clear()
                await self._progress.wait()
            self._running()
        if len(fitting) < len(routed):
            self._refuse([m for _, m in routed if _size(m) > self._max_message_bytes])

    async def send(self, runs: Sequence[Run]) -> None:
        """Takes runs of messages for delivery, as `publish` does messages, and raises what it does."""
        await self._learn_topics({run.topic for run in runs})
        for run in runs:
            check_partition(run.topic, run.partition, self._partitions[run.topic])
        too_large: list[Outbound] = []
        most = self._max_message_bytes - _OVERHEAD_BYTES
        for topic, partition, values in runs:
            fitting = values
            if len(max(values, key=len, default=b"")) > most:
                fitting = [value for value in values if len(value) <= most]
                too_large += [
                    Outbound(topic, None, value, partition) for value in values if len(value) > most
                ]
            await self._enter(self._lane(topic, partition), fitting)
        if too_large:
            self._refuse(too_large)

    async def _enter(self, lane: _Lane, values: Sequence[bytes]) -> None:
        """Puts values without a key into a lane, as there is room, and sends what it can."""
        start = 0
        while start < len(values):
            while (room := self._max_buffered - self._unacknowledged) <= 0:
                self._progress.clear()
                await self._progress.wait()
            self._running()
            part = values[start : start + room]
            start += room
            timestamp_ms, deadline_s = self._now()
            lane.waiting.extend([(None, value, timestamp_ms, deadline_s) for value in part])
            self._note_taken(lane, len(part))
            await self._send_from(lane)

    async def flush(self) -> None:
        """Waits for everything published before the call.

        Raises:
            DeliveryError: messages were not acknowledged since the last flush; says how many and where.
        """
        marks = [(lane, lane.entered) for lane in self._lanes.values() if lane.settled < lane.entered]
        while any(lane.settled < mark for lane, mark in marks):
            self._progress.clear()
            await self._progress.wait()
        self._report_losses()

    async def stop(self) -> None:
        """Delivers what it holds, for at most `timeouts.stop`, and disconnects.

        Raises:
            DeliveryError: messages that no `flush` has reported were not acknowledged.
        """
        producer, self._closing = self._producer, True
        if producer is None:
            return
        await end_within(self._drain(), self._timeouts.stop)
        self._producer = None
        for sending in self._sending:
            sending.cancel()
        for lane in self._lanes.values():
            self._settle(lane, lane.entered - lane.settled, "the sink was stopped first")
        # With batches left its own stop would wait for them: one more chance, and it must not take long.
        if not await end_within(producer.stop(), self._timeouts.stop if not self._lost else 0.1):
            await _abandon(producer)
        self._report_losses()

    def _running(self) -> AIOKafkaProducer:
        if self._producer is None or self._closing:
            raise InvariantError(f"the sink {self._client_id} is not running: start it before it publishes")
        return self._producer

    async def _learn_topics(self, topics: set[str]) -> None:
        self._running()
        if not topics <= self._partitions.keys():
            self._partitions |= await partition_counts(self._bootstrap, self._timeouts)
        if unknown := topics - self._partitions.keys():
            raise unknown_topics(self._bootstrap, unknown, self._partitions)

    def _route(self, messages: Sequence[Outbound]) -> list[tuple[_Lane, Outbound]]:
        routed = []
        for message in messages:
            topic = message.topic
            routed.append(
                (self._lane(topic, self._partitioner.choose(message, self._partitions[topic])), message)
            )
        for topic in {m.topic for m in messages if m.key is None and m.partition is None}:
            self._partitioner.end_turn(topic)
        return routed

    def _lane(self, topic: str, partition: int) -> _Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
        return lane

    async def _take(self, routed: Sequence[tuple[_Lane, Outbound]]) -> None:
        timestamp_ms, deadline_s = self._now()
        for lane, message in routed:
            lane.waiting.append((message.key, message.value, timestamp_ms, deadline_s))
            self._note_taken(lane, 1)
        for lane in {lane for lane, _ in routed}:
            await self._send_from(lane)

    def _now(self) -> tuple[int, float]:
        return time.time_ns() // 1_000_000, time.monotonic() + self._timeouts.delivery

    def _note_taken(self, lane: _Lane, count: int) -> None:
        lane.entered += count
        self._taken += count
        self._unacknowledged += count
        self.stats.published += count

    async def _send_from(self, lane: _Lane) -> None:
        if lane.topic in self._met:
            await self._send_next(lane)
        else:
            # The client first asks the broker about the topic: that may take long, and nobody waits here.
            self._send_soon(lane)

    async def _send_next(self, lane: _Lane) -> None:
        """Sends one batch of what waits, unless the last one is still on its way.

        Of a topic that was met before nothing in here waits: `send_batch` would for a batch before it only.
        """
        if lane.busy or not lane.waiting:
            return
        producer = self._producer
        assert producer is not None, "who stops the sink has settled all lanes"
        lane.busy = True
        builder = producer.create_batch()
        count = 0
        while lane.waiting:
            key, value, timestamp_ms, _ = lane.waiting[0]
            if builder.append(timestamp=timestamp_ms, key=key, value=value) is None:
                break
            lane.waiting.popleft()
            count += 1
        builder.close()
        try:
            sent = await producer.send_batch(builder, lane.topic, partition=lane.partition)
        except Exception as error:  # noqa: BLE001 - whatever the client raised, these were not delivered
            self._finish(lane, count, error)
        else:
            self._met.add(lane.topic)
            sent.add_done_callback(partial(self._on_sent, lane, count))

    def _on_sent(self, lane: _Lane, count: int, sent: asyncio.Future[object]) -> None:
        self._finish(lane, count, asyncio.CancelledError() if sent.cancelled() else sent.exception())

    def _finish(self, lane: _Lane, count: int, error: BaseException | None) -> None:
        if self._producer is None:
            return  # stopped: everything is settled already
        lane.busy = False
        if error is None:
            self._settle(lane, count, None)
        else:
            self._settle(lane, count, describe(error))
            self._fail_expired(lane)
        self._send_soon(lane)

    def _send_soon(self, lane: _Lane) -> None:
        if lane.waiting:
            sending = asyncio.get_running_loop().create_task(self._send_next(lane))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    def _fail_expired(self, lane: _Lane) -> None:
        # What waited behind a batch that took all its time has had its own time too. Without this each batch of
        # a long lane would wait `timeouts.delivery` once more, and a flush for the sum of them.
        now_s = time.monotonic()
        count = 0
        while lane.waiting and lane.waiting[0][3] <= now_s:
            lane.waiting.popleft()
            count += 1
        self._settle(lane, count, self._last_error)

    def _settle(self, lane: _Lane, count: int, error: str | None) -> None:
        """Notes `count` messages of a lane as acknowledged or, with an error, as failed."""
        if not count:
            return
        lane.settled += count
        if self._producer is None:
            lane.waiting.clear()
        self._unacknowledged -= count
        if error is None:
            self.stats.acknowledged += count
        else:
            self.stats.failed += count
            self._lost += count
            self._lost_topics.add(lane.topic)
            self._last_error = error
        self._progress.set()

    def _refuse(self, messages: Sequence[Outbound]) -> None:
        self.stats.failed += len(messages)
        largest = max(messages, key=_size)
        raise DeliveryError(
            f"a message to topic {largest.topic} must be at most {self._max_message_bytes} bytes, was "
            f"{_size(largest)}; {len(messages)} too large not sent, all others of the call are taken"
        )

    def _report_losses(self) -> None:
        taken, lost, topics = self._taken, self._lost, self._lost_topics
        self._taken = self._unacknowledged
        self._lost, self._lost_topics = 0, set()
        if lost:
            raise DeliveryError(
                f"{lost} of {taken} messages to {', '.join(sorted(topics))} were not acknowledged by Kafka at "
                f"{self._bootstrap} ({self._last_error}); whether they are stored is unknown"
            )

    async def _drain(self) -> None:
        while self._unacknowledged:
            self._progress.clear()
            await self._progress.wait()


def _size(message: Outbound) -> int:
    return len(message.value) + len(message.key or b"") + _OVERHEAD_BYTES


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Cuts the connections of a producer that does not stop; it has no public way to give up its batches."""
    endings: Iterable[object] = (producer._sender, producer.client)  # noqa: SLF001
    for part in endings:
        await end_within(part.close(), 1.0)  # type: ignore[attr-defined]
