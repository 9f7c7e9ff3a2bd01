"""The topics of the broker, their partitions, and the bound on the memory that all of them hold."""

import re
from collections.abc import Callable, Iterator, Mapping

from simulator.broker.codes import ErrorCode
from simulator.broker.log import PartitionLog
from simulator.broker.producers import Sequences
from simulator.broker.records import BatchHeader

MAX_PARTITIONS = 10_000
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
# Dropping from the fullest partition costs a look at all of them; a sixteenth at a time makes that rare.
_DROP_SHARE = 16


class Partition:
    """One partition: its log, what it knows of producers, and who waits for it to grow.

    Args:
        retention_bytes: above it the oldest batches are dropped.
    """

    __slots__ = ("log", "sequences", "waiting")

    def __init__(self, retention_bytes: int) -> None:
        self.log = PartitionLog(retention_bytes)
        self.sequences = Sequences()
        # Called after the log grew or went away. A dict, because its order is the order of coming.
        self.waiting: dict[Callable[[], None], None] = {}

    def wake(self) -> None:
        """Calls all who wait."""
        for waiter in list(self.waiting):
            waiter()


class TopicStore:
    """All topics.

    Args:
        retention_bytes: most bytes that one partition holds.
        memory_bytes: most bytes that all partitions hold together.
    """

    def __init__(self, *, retention_bytes: int, memory_bytes: int) -> None:
        self._retention_bytes = retention_bytes
        self._memory_bytes = memory_bytes
        self._topics: dict[str, list[Partition]] = {}
        self.held_bytes = 0
        self.dropped_bytes = 0

    @property
    def topics(self) -> Mapping[str, list[Partition]]:
        """Partitions by topic, in order of their numbers."""
        return self._topics

    def partition(self, topic: str, index: int) -> Partition | None:
        """One partition, or None."""
        partitions = self._topics.get(topic)
        if partitions is None or not 0 <= index < len(partitions):
            return None
        return partitions[index]

    def check_new(self, topic: str, partitions: int) -> ErrorCode:
        """Whether a topic of that name and size may be created."""
        if topic in {".", ".."} or not _TOPIC_NAME.fullmatch(topic):
            return ErrorCode.INVALID_TOPIC
        if topic in self._topics:
            return ErrorCode.TOPIC_ALREADY_EXISTS
        if not 1 <= partitions <= MAX_PARTITIONS:
            return ErrorCode.INVALID_PARTITIONS
        return ErrorCode.NONE

    def create(self, topic: str, partitions: int) -> ErrorCode:
        """Creates a topic unless `check_new` refuses it."""
        error = self.check_new(topic, partitions)
        if not error:
            self._topics[topic] = [Partition(self._retention_bytes) for _ in range(partitions)]
        return error

    def delete(self, topic: str) -> ErrorCode:
        """Deletes a topic with all it holds, and tells those who wait for it."""
        partitions = self._topics.pop(topic, None)
        if partitions is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        for partition in partitions:
            self.held_bytes -= partition.log.size_bytes
            partition.wake()
        return ErrorCode.NONE

    def append(self, partition: Partition, batch: bytearray, header: BatchHeader) -> int:
        """Appends a checked batch, makes room if there is too much, and returns its first offset."""
        before_bytes = partition.log.size_bytes
        base_offset = partition.log.append(batch, header)
        partition.sequences.note(header, base_offset)
        after_bytes = partition.log.size_bytes
        self.held_bytes += after_bytes - before_bytes
        self.dropped_bytes += before_bytes + len(batch) - after_bytes
        while self.held_bytes > self._memory_bytes and self._make_room():
            pass
        return base_offset

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Moves the start of a log, on request of a client."""
        before_bytes = partition.log.size_bytes
        partition.log.delete_before(offset)
        self.held_bytes -= before_bytes - partition.log.size_bytes

    def _all(self) -> Iterator[Partition]:
        return (partition for partitions in self._topics.values() for partition in partitions)

    def _make_room(self) -> bool:
        """Drops the oldest of the fullest partition; false when nothing more can go."""
        log = max((partition.log for partition in self._all()), key=lambda log: log.size_bytes)
        before_bytes = log.size_bytes
        target_bytes = before_bytes - before_bytes // _DROP_SHARE
        dropped = False
        while self.held_bytes > self._memory_bytes and log.drop_oldest():
            dropped = True
            self.held_bytes -= before_bytes - log.size_bytes
            self.dropped_bytes += before_bytes - log.size_bytes
            before_bytes = log.size_bytes
            if before_bytes <= target_bytes:
                break
        return dropped
