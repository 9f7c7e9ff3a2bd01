"""What was fetched and not yet polled: one queue for each partition, with marks that say when to stop fetching."""

from collections import deque
from collections.abc import Collection, Iterable

from aiokafka import ConsumerRecord, TopicPartition

from bidder.runtime.shares import fair_shares
from bidder.runtime.transport import Message

_new = tuple.__new__
"""Makes a `Message` without the detour by its own constructor, which costs as much again."""


class PartitionQueues:
    """Bounded queues of fetched messages.

    Args:
        high: messages in one queue at which its partition is to be paused; it may grow beyond by what one
            fetch brings. At half of it the partition may go on.
        prefix: of the broker's topics, which messages are to be without.

    Attributes:
        paused: the partitions that are to be paused now.
        next_polled: for each partition, the offset after the last message that was taken.
    """

    def __init__(self, high: int, prefix: str = "") -> None:
        self._high = high
        self._cut = len(prefix)
        self._low = high // 2
        self._queues: dict[TopicPartition, deque[Message]] = {}
        self._turn = 0
        self.paused: set[TopicPartition] = set()
        self.next_polled: dict[TopicPartition, int] = {}

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """Begins anew with these partitions: whatever was queued of others or of these is gone."""
        self._queues = {at: deque() for at in sorted(partitions)}
        self.paused = set()
        self.next_polled = {}

    def clear(self, at: TopicPartition) -> bool:
        """Drops what waits of one partition; whether it was to be paused and may go on."""
        if at in self._queues:
            self._queues[at].clear()
        self.next_polled.pop(at, None)
        was_paused = at in self.paused
        self.paused.discard(at)
        return was_paused

    def put(self, at: TopicPartition, records: Iterable[ConsumerRecord]) -> bool:
        """Queues what was fetched of an assigned partition; whether it is to be paused from now on."""
        queue = self._queues[at]
        topic, partition = at.topic[self._cut :], at.partition
        # A deletion mark of a compacted topic has no value; to us it is an empty one.
        queue.extend(
            [_new(Message, (topic, partition, r.offset, r.key, r.value or b"", r.timestamp)) for r in records]
        )
        if len(queue) < self._high or at in self.paused:
            return False
        self.paused.add(at)
        return True

    def take(self, max_messages: int) -> tuple[list[Message], list[TopicPartition]]:
        """At most `max_messages`, shared fairly, and the partitions that may be fetched from again."""
        places = list(self._queues)
        self._turn = (self._turn + 1) % len(places) if places else 0
        places = places[self._turn :] + places[: self._turn]
        shares = fair_shares([len(self._queues[at]) for at in places], max_messages)
        taken: list[Message] = []
        for at, share in zip(places, shares, strict=True):
            if share:
                queue = self._queues[at]
                taken += [queue.popleft() for _ in range(share)]
                self.next_polled[at] = taken[-1].offset + 1
        resumed = [at for at in self.paused if len(self._queues[at]) <= self._low]
        self.paused.difference_update(resumed)
        return taken, resumed

    def waiting(self, at: TopicPartition) -> int:
        """Messages queued of one partition; 0 when it is not ours."""
        return len(self._queues.get(at, ()))

    def first(self, at: TopicPartition) -> int | None:
        """Offset of the oldest message queued of one partition, or None."""
        queue = self._queues.get(at)
        return queue[0].offset if queue else None

    def __len__(self) -> int:
        """Messages queued in all."""
        return sum(map(len, self._queues.values()))
