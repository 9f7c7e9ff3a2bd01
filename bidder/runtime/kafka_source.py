"""Reading from Kafka: one pump drains the client into queues, `poll` takes from the queues.

Why not `getmany` in the worker itself: in aiokafka any partition with records that nobody took blocks the next
fetch from its broker. A pump that takes everything at once keeps all partitions moving; a partition whose queue
is full is paused, always after it was drained, because pausing throws away what is buffered.

`getmany` moves the position when it returns, so only offsets that the caller names as finished are committed.
When partitions are taken from us their queues are dropped and the work in hand gets a moment to be finished and
committed: then nothing is lost, and little is done twice.

aiokafka is silent when the broker is gone. A watch raises out of `poll` when a partition gets no answer, or has
more to read and does not move, for `Timeouts.stall`.
"""

import asyncio
import time
from collections.abc import Collection, Hashable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, UnsupportedVersionError

from bidder.errors import DependencyError, InvariantError
from bidder.runtime.kafka_link import (
    SESSION_S,
    Timeouts,
    describe,
    end_within,
    partition_counts,
    unanswered,
    unknown_topics,
)
from bidder.runtime.kafka_queues import PartitionQueues
from bidder.runtime.kafka_watch import ProgressWatch
from bidder.runtime.transport import Message, Share, TransportStats

# A partition that is resumed while a fetch for the others is parked at the broker waits for that fetch to end. So
# where work queues up fetches are parked for a short time only, at 8 ms of CPU a second when nothing comes;
# control topics hardly ever fill a queue.
_FETCH_MAX_WAIT_MS = 100
_CONTROL_FETCH_MAX_WAIT_MS = 500
_HEARTBEAT_MS = 1_000


class KafkaSource:
    """A `Source`, `MarkedSource` and `SharedSource` on Kafka, and without a group a `ControlSource`.

    With a group it shares the topics' partitions with the other members and goes on at the committed offsets.
    Without one it reads all partitions that the topics have at the start and commits nothing.

    Args:
        bootstrap: `host:port[,host:port...]`.
        topics: which to read; they must be there.
        group: consumer group, or None.
        client_id: name of this client in the broker's logs.
        from_beginning: where to begin in a partition of which nothing is committed: at the oldest message, or
            with those that come after the start.
        max_queue_messages: fetched messages of one partition that may wait; beyond, it is paused.
        timeouts: how long to wait for what.
        prefix: of all `topics`, which messages are to be without.

    Attributes:
        stats: counters of what it did.
        partitions: how many its first topic has; 0 before the start.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        *,
        group: str | None,
        client_id: str,
        from_beginning: bool = True,
        max_queue_messages: int = 2_000,
        timeouts: Timeouts | None = None,
        prefix: str = "",
    ) -> None:
        self.stats = TransportStats()
        self.partitions = 0
        self._bootstrap = bootstrap
        self._topics = tuple(topics)
        self._group = group
        self._client_id = client_id
        self._from_beginning = from_beginning
        self._since_ms: Mapping[str, int] = {}
        self._timeouts = timeouts or Timeouts()
        self._queues = PartitionQueues(max_queue_messages, prefix)
        self._watch = ProgressWatch(self._timeouts.stall)
        self._consumer: AIOKafkaConsumer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._arrived = asyncio.Event()
        self._joined = asyncio.Event()
        self._finishing = asyncio.Event()
        self._commit_lock = asyncio.Lock()
        self._finished: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._mark_ms: float | None = None
        self._mark_answers: dict[TopicPartition, int] = {}
        self._mark_ends: dict[TopicPartition, int] = {}
        self._share = Share(0, frozenset())
        self._failure: tuple[str, BaseException | None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Connects, and waits (within `timeouts.connect`) for its place in the group.

        Raises:
            BrokerUnavailable: nobody answers within `timeouts.connect`.
            UnknownTopic: a topic is not there; it is not created.
        """
        counts = await partition_counts(self._bootstrap, self._timeouts)
        if unknown := set(self._topics) - counts.keys():
            raise unknown_topics(self._bootstrap, unknown, counts)
        partitions = [TopicPartition(t, p) for t in self._topics for p in range(counts[t])]
        self.partitions = counts[self._topics[0]]
        consumer = self._make_consumer()
        try:
            async with asyncio.timeout(self._timeouts.connect):
                await consumer.start()
                if self._group is None:
                    await self._assign_all(consumer, partitions)
            self._consumer = consumer
        except (KafkaError, TimeoutError) as error:
            raise unanswered(self._bootstrap, error) from error
        finally:
            if self._consumer is None:
                await self._end(consumer)
        if self._group is not None:
            consumer.subscribe(self._topics, listener=_Listener(self))
            await self._join()
        self._tasks = [
            asyncio.create_task(self._pump(consumer)),
            asyncio.create_task(self._watch_over(consumer)),
        ]

    async def begin(self, since_ms: Mapping[str, int]) -> None:
        """See `HistorySource`; only without a group."""
        if self._group is not None:
            raise InvariantError(f"group {self._group} goes on where it was and not at a time")
        self._since_ms = since_ms
        await self.start()

    async def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """See `Source`; no partition starves while others have much.

        Raises:
            DependencyError: Kafka failed us: reading raised, or nothing moves although it should.
        """
        # Let the pump and the sender have their turn even where the caller never has to wait.
        await asyncio.sleep(0)
        messages = self._take(max_messages)
        if messages or timeout_s <= 0:
            return messages
        try:
            async with asyncio.timeout(timeout_s):
                while not messages and not self._stopping:
                    self._arrived.clear()
                    await self._arrived.wait()
                    messages = self._take(max_messages)
        except TimeoutError:
            pass
        return messages

    async def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Commits finished work: by (topic, partition), the offset to read next.

        A commit that the group refuses because it is rebalancing, or that takes too long, is counted and kept
        for the next one. Offsets of partitions that are no longer ours are counted and dropped: their new
        owner reads those messages again.

        Raises:
            DependencyError: the broker refuses for good, such as for want of a right.
        """
        if self._group is None:
            raise InvariantError(f"a source without a group cannot commit (topics {', '.join(self._topics)})")
        for (topic, partition), offset in next_offsets.items():
            at = TopicPartition(topic, partition)
            self._finished[at] = max(offset, self._finished.get(at, 0))
        self._finishing.set()
        await self._send_commits()

    def caught_up(self) -> bool:
        """Whether everything has been polled that was there when the source started; only without a group."""
        if self._group is not None:
            raise InvariantError(
                f"only a source without a group is caught up at some time, not {self._group}"
            )
        return self._consumer is not None and not self._ends

    def share(self) -> Share:
        """See `SharedSource`."""
        return self._share

    def rewind(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """See `SharedSource`; only without a group."""
        if self._group is not None:
            raise InvariantError(f"group {self._group} goes on where it was and not at an offset")
        if self._consumer is None:
            return
        for (topic, partition), offset in next_offsets.items():
            at = TopicPartition(topic, partition)
            if at in self._consumer.assignment():
                self._consumer.seek(at, offset)
                if self._queues.clear(at):
                    self._consumer.resume(at)

    def mark(self) -> None:
        """See `MarkedSource`."""
        self._mark_ms = time.time() * 1000
        self._mark_answers = {}
        self._mark_ends = {}

    async def passed(self) -> bool:
        """See `MarkedSource`; False without a mark or a place in the group.

        A partition's end is known by the second answer of the broker after the mark: the first may have been
        under way before. One that is paused or gets no answer is not known to be read, however empty its queue.
        """
        consumer = self._consumer
        if consumer is None or not self._joined.is_set() or not self._find_mark_ends(consumer):
            return False
        for at, end in list(self._mark_ends.items()):
            position, _ = await _mark(consumer, at)
            first = self._queues.first(at)
            if (position if first is None else first) < end:
                return False
        return bool(self._mark_ends)

    def _find_mark_ends(self, consumer: AIOKafkaConsumer) -> bool:
        """Takes the end of each partition as an answer after the mark tells it; whether all are known."""
        ours = consumer.assignment()
        self._mark_ends = {at: end for at, end in self._mark_ends.items() if at in ours}
        for at in ours - self._mark_ends.keys():
            answered_ms, end = consumer.last_poll_timestamp(at), consumer.highwater(at)
            if self._mark_ms is None or answered_ms is None or answered_ms <= self._mark_ms:
                continue
            if answered_ms > self._mark_answers.setdefault(at, answered_ms):
                self._mark_ends[at] = end
        return len(self._mark_ends) == len(ours)

    async def stop(self) -> None:
        """Leaves the group and disconnects, within about twice `timeouts.stop`."""
        consumer, self._consumer = self._consumer, None
        self._stopping = True
        self._arrived.set()
        self._finishing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if consumer is not None:
            await self._end(consumer)

    # Reading

    def _make_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if self._from_beginning else "latest",
            fetch_max_wait_ms=_CONTROL_FETCH_MAX_WAIT_MS if self._group is None else _FETCH_MAX_WAIT_MS,
            session_timeout_ms=int(SESSION_S * 1000),
            heartbeat_interval_ms=_HEARTBEAT_MS,
            # Range gives partition n of every topic to one member, as our co-partitioned topics need. The
            # sticky assignor of aiokafka keeps its state in the class: two members in one process share it.
            partition_assignment_strategy=(RangePartitionAssignor,),
        )

    async def _assign_all(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        consumer.assign(partitions)
        self.on_assigned(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        dated = {at: self._since_ms[at.topic] for at in partitions if at.topic in self._since_ms}
        if dated:
            begins |= await _offsets_since(consumer, dated, ends)
        for at in partitions:
            # Set here and not by the client at its first fetch, or messages sent meanwhile would be missed.
            consumer.seek(at, begins[at] if self._from_beginning else ends[at])
        self._ends = {at: ends[at] for at in partitions if self._from_beginning and ends[at] > begins[at]}

    async def _join(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts.connect):
                await self._joined.wait()
        except TimeoutError:
            # Not an error yet: a member that crashed keeps its place until its session ends. The watch decides.
            pass

    async def _pump(self, consumer: AIOKafkaConsumer) -> None:
        try:
            while True:
                batches = await consumer.getmany(timeout_ms=200)
                # No await from here to the pause: the client would fetch more for a queue that is full.
                full = [at for at, records in batches.items() if self._queues.put(at, records)]
                if full:
                    consumer.pause(*full)
                    self.stats.paused = len(self._queues.paused)
                if self._ends:
                    await self._look_for_ends(consumer)
                self._arrived.set()
        except Exception as error:  # noqa: BLE001 - whatever it was, who polls must hear of it
            self._fail(f"{self._name()} failed: {describe(error)}", error)

    async def _look_for_ends(self, consumer: AIOKafkaConsumer) -> None:
        for at, end in list(self._ends.items()):
            # The position passes what compaction or a transaction left out at the end; messages do not.
            if self._queues.waiting(at) == 0 and await consumer.position(at) >= end:
                self._ends.pop(at, None)

    def _take(self, max_messages: int) -> list[Message]:
        if self._failure is not None:
            message, cause = self._failure
            raise DependencyError(message) from cause
        messages, resumed = self._queues.take(max_messages)
        if resumed and self._consumer is not None:
            self._consumer.resume(*resumed)
            self.stats.paused = len(self._queues.paused)
        if self._ends:
            for at, polled in self._queues.next_polled.items():
                if polled >= self._ends.get(at, polled):
                    self._ends.pop(at, None)
        self.stats.polled += len(messages)
        return messages

    # Membership and commits

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Drops what is queued of partitions taken from us and lets the work in hand finish."""
        in_hand = {at: n for at, n in self._queues.next_polled.items() if at in partitions}
        self._joined.clear()
        self._queues.assign(())
        self.stats.paused = 0
        try:
            async with asyncio.timeout(self._timeouts.revoke_grace):
                while not self._stopping and any(self._finished.get(at, 0) < n for at, n in in_hand.items()):
                    self._finishing.clear()
                    await self._finishing.wait()
        except TimeoutError:
            pass
        try:
            await self._send_commits()
        except DependencyError as error:
            self._fail(str(error), error)  # the client would only log it

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Begins with the partitions given to us, each at its committed offset."""
        self._queues.assign(partitions)
        first = frozenset(at.partition for at in partitions if at.topic == self._topics[0])
        self._share = Share(self._share.generation + 1, first)
        self._finished.clear()
        self._committed.clear()
        self._mark_answers = {}
        self._mark_ends = {}
        self._watch.forget()
        self._joined.set()

    async def _send_commits(self) -> None:
        async with self._commit_lock:
            consumer = self._consumer
            if consumer is None:
                return
            ours = consumer.assignment()
            for at in self._finished.keys() - ours:
                del self._finished[at]
                self.stats.commit_failures += 1
            due = {at: n for at, n in self._finished.items() if n > self._committed.get(at, -1)}
            if due:
                await self._send(consumer, due)

    async def _send(self, consumer: AIOKafkaConsumer, due: dict[TopicPartition, int]) -> None:
        try:
            async with asyncio.timeout(self._timeouts.commit):
                await consumer.commit(due)
        except TimeoutError:
            self.stats.commit_failures += 1
        except KafkaError as error:
            self.stats.commit_failures += 1
            if not _passes(error):
                raise DependencyError(f"{self._name()}: a commit was refused: {describe(error)}") from error
        else:
            self._committed |= due
            self.stats.committed += 1

    # Health and end

    async def _watch_over(self, consumer: AIOKafkaConsumer) -> None:
        now_s = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self._watch.interval_s)
            joined = self._joined.is_set()
            self._watch.see("membership", None, now_s(), well=joined)
            for at in consumer.assignment() if joined else ():
                mark = await _mark(consumer, at)
                self._watch.see(at, mark, now_s(), well=at in self._queues.paused)
            stalled = self._watch.stalled(now_s())
            if stalled is not None:
                self._fail(
                    f"{self._name()} made no progress for {self._watch.limit_s:g} s: {_stall(stalled)}"
                )
                return

    def _fail(self, message: str, cause: BaseException | None = None) -> None:
        self._failure = message, cause
        self._arrived.set()

    def _name(self) -> str:
        of = f" as group {self._group}" if self._group is not None else ""
        return f"reading {', '.join(self._topics)} from Kafka at {self._bootstrap}{of}"

    async def _end(self, consumer: AIOKafkaConsumer) -> None:
        if not await end_within(consumer.stop(), self._timeouts.stop):
            await _abandon(consumer)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types for mypy
    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._source.on_revoked(revoked)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        # Not a coroutine: with an await in between, records could come before there are queues for them.
        self._source.on_assigned(assigned)


async def _offsets_since(
    consumer: AIOKafkaConsumer, since_ms: dict[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Offset of the first message of each partition that was sent since a time; its end where all are older."""
    try:
        found = await consumer.offsets_for_times(since_ms)
    except UnsupportedVersionError:
        return {}
    return {at: ends[at] if offset is None else offset.offset for at, offset in found.items()}


def _passes(error: KafkaError) -> bool:
    """Whether a commit failed only because the group is moving or the broker is away for a moment."""
    return error.retriable or isinstance(error, CommitFailedError | IllegalStateError)


async def _mark(consumer: AIOKafkaConsumer, at: TopicPartition) -> tuple[int, int | None]:
    """What must change for a partition to be well: its position and, where it has read all, the last answer."""
    end, answered_ms = consumer.highwater(at), consumer.last_poll_timestamp(at)
    try:
        async with asyncio.timeout(0.1):  # returns at once unless the client does not know where to begin
            position: int = await consumer.position(at)
    except (TimeoutError, IllegalStateError):
        return -1, None
    return position, answered_ms if end is None or position >= end else None


def _stall(stalled: Hashable) -> str:
    if isinstance(stalled, TopicPartition):
        return (
            f"partition {stalled.partition} of {stalled.topic} gets no answer or does not move; "
            "look whether the broker runs and the partition has a leader"
        )
    return "the group gives it no place; look whether the broker runs and the group is stable"


async def _abandon(consumer: AIOKafkaConsumer) -> None:
    """Cuts off a consumer that does not stop; it has no public way to leave without asking the broker."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001
    for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task"):
        task = getattr(coordinator, name, None)
        if task is not None:
            task.cancel()
    for part in (fetcher, consumer._client):  # noqa: SLF001
        if part is not None:
            await end_within(part.close(), 1.0)
