"""The transport inside one process: no sockets, no waiting, any clock. For simulation and for tests.

`Bus` keeps what it was given in lists, one for each partition, and remembers what each group committed. Its
sources and sinks speak the protocols of `runtime.transport`; under each `async` method lies a plain one
(`take`, `put`, `store`), so that a simulation on virtual time can drive the bus without an event loop.

Unlike Kafka it forgets nothing as long as it lives, compacts nothing, and a group has one source at a time:
who wants several workers gives each its own group or its own topic.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from bidder.errors import ConfigError, InvariantError, UnknownTopic
from bidder.runtime.partitioner import Partitioner, check_partition
from bidder.runtime.shares import fair_shares
from bidder.runtime.transport import Message, Outbound, Run, Share


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Bus:
    """Topics in memory.

    Args:
        topics: the number of partitions of each topic, > 0.
        timestamp_ms: gives the timestamp of each message that is put; by default the wall clock.
    """

    def __init__(self, topics: Mapping[str, int], timestamp_ms: Callable[[], int] = _wall_ms) -> None:
        for topic, count in topics.items():
            if count < 1:
                raise ConfigError(f"partitions of topic {topic} must be > 0, was {count}")
        self._logs: dict[str, list[list[Message]]] = {
            topic: [[] for _ in range(count)] for topic, count in topics.items()
        }
        self._committed: dict[tuple[str, str, int], int] = {}
        self._live_groups: set[tuple[str | None, str]] = set()
        self._arrivals: set[asyncio.Event] = set()
        self._timestamp_ms = timestamp_ms

    def source(
        self, topics: Sequence[str], group: str | None = None, *, from_beginning: bool = True
    ) -> "BusSource":
        """A reader of `topics`: from where its group committed, without a group from the beginning or end."""
        return BusSource(self, tuple(topics), group, from_beginning)

    def sink(self) -> "BusSink":
        """A writer to any topic of the bus."""
        return BusSink(self)

    def committed(self, group: str, topic: str, partition: int) -> int:
        """The offset that `group` reads next there; 0 when it committed nothing."""
        return self._committed.get((group, topic, partition), 0)

    def log(self, topic: str) -> list[list[Message]]:
        """The messages of each partition of `topic`, oldest first."""
        try:
            return self._logs[topic]
        except KeyError:
            raise UnknownTopic(
                f"topic {topic} is not on the bus; it has {', '.join(sorted(self._logs)) or 'none'}"
            ) from None

    def append(self, messages: Sequence[Outbound], partitioner: Partitioner) -> None:
        """Takes all of `messages` or, when a topic or partition is not there, none."""
        logs = [self.log(message.topic) for message in messages]
        chosen = [partitioner.choose(message, len(log)) for message, log in zip(messages, logs, strict=True)]
        for topic in {m.topic for m in messages if m.key is None and m.partition is None}:
            partitioner.end_turn(topic)
        now_ms = self._timestamp_ms()
        for (topic, key, value, _), partition, log in zip(messages, chosen, logs, strict=True):
            partition_log = log[partition]
            partition_log.append(Message(topic, partition, len(partition_log), key, value, now_ms))
        for event in self._arrivals:
            event.set()

    def extend(self, runs: Sequence[Run]) -> None:
        """Takes all messages of `runs` or, when a topic or partition is not there, none."""
        logs = [self.log(run.topic) for run in runs]
        for run, log in zip(runs, logs, strict=True):
            check_partition(run.topic, run.partition, len(log))
        now_ms = self._timestamp_ms()
        for (topic, partition, values), log in zip(runs, logs, strict=True):
            partition_log = log[partition]
            first = len(partition_log)
            partition_log += [
                Message(topic, partition, first + number, None, value, now_ms)
                for number, value in enumerate(values)
            ]
        for event in self._arrivals:
            event.set()

    def commit(self, group: str, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Stores the offsets that `group` is to read next."""
        for (topic, partition), offset in next_offsets.items():
            log = self.log(topic)
            end = len(log[partition]) if 0 <= partition < len(log) else -1
            if not 0 <= offset <= end:
                raise InvariantError(
                    f"offset of group {group} in {topic}/{partition} must be 0 to {end}, was {offset}"
                )
            self._committed[group, topic, partition] = offset

    def enter(self, arrival: asyncio.Event, group: str | None, topics: Sequence[str]) -> None:
        """Lets a source in, whose `arrival` each put sets; a group has at most one source for each topic."""
        places = {(group, topic) for topic in topics} if group is not None else set()
        taken = sorted(topic for _, topic in places & self._live_groups)
        if taken:
            raise InvariantError(f"group {group} already has a source on topic {taken[0]}; stop it first")
        self._live_groups |= places
        self._arrivals.add(arrival)

    def leave(self, arrival: asyncio.Event, group: str | None, topics: Sequence[str]) -> None:
        """Lets a source go and frees its group."""
        self._live_groups -= {(group, topic) for topic in topics} if group is not None else set()
        self._arrivals.discard(arrival)


class BusSource:
    """A `Source` on a bus; made by `Bus.source`. Opens itself at its first use."""

    def __init__(self, bus: Bus, topics: Sequence[str], group: str | None, from_beginning: bool) -> None:
        self._bus = bus
        self._topics = topics
        self._group = group
        self._from_beginning = from_beginning
        self._next: dict[tuple[str, int], int] | None = None
        self._ends: dict[tuple[str, int], int] = {}
        self._marks: dict[tuple[str, int], int] | None = None
        self._turn = 0
        self._arrival = asyncio.Event()
        self._closed = False

    def open(self) -> None:
        """Takes its place in the group and its position in each partition; raises `UnknownTopic`."""
        if self._next is not None:
            return
        ends = {(t, p): len(log) for t in self._topics for p, log in enumerate(self._bus.log(t))}
        self._bus.enter(self._arrival, self._group, self._topics)
        self._ends = ends
        if self._group is not None:
            self._next = {(t, p): self._bus.committed(self._group, t, p) for t, p in ends}
        else:
            self._next = dict.fromkeys(ends, 0) if self._from_beginning else dict(ends)

    def close(self) -> None:
        """Leaves; what was not committed will be read again by the next source of the group."""
        if self._next is not None and not self._closed:
            self._closed = True
            self._bus.leave(self._arrival, self._group, self._topics)
            self._arrival.set()

    def take(self, max_messages: int) -> list[Message]:
        """Whatever is there now, at most `max_messages`, the partitions taking turns at being first."""
        self.open()
        if self._closed:
            return []
        assert self._next is not None
        places = self._rotated()
        shares = fair_shares([self._lag(at) for at in places], max_messages)
        taken: list[Message] = []
        for at, share in zip(places, shares, strict=True):
            if share:
                start = self._next[at]
                taken += self._bus.log(at[0])[at[1]][start : start + share]
                self._next[at] = start + share
        return taken

    def store(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """What `commit` does, without an event loop."""
        if self._group is None:
            raise InvariantError(f"a source without a group cannot commit (topics {', '.join(self._topics)})")
        self._bus.commit(self._group, next_offsets)

    def caught_up(self) -> bool:
        """Whether everything was taken that was there when the source opened."""
        return self._next is not None and all(self._next[at] >= end for at, end in self._ends.items())

    def mark(self) -> None:
        """See `MarkedSource`."""
        self.open()
        self._marks = {(t, p): len(log) for t in self._topics for p, log in enumerate(self._bus.log(t))}

    async def passed(self) -> bool:
        """See `MarkedSource`; False without a mark."""
        if self._next is None or self._marks is None:
            return False
        return all(self._next[at] >= end for at, end in self._marks.items())

    def share(self) -> Share:
        """See `SharedSource`: always all of its first topic, since a group has one source."""
        return Share(1, frozenset(range(len(self._bus.log(self._topics[0])))))

    def rewind(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """See `SharedSource`."""
        self.open()
        assert self._next is not None
        for at, offset in next_offsets.items():
            if at in self._next:
                self._next[at] = min(self._next[at], offset)

    async def start(self) -> None:
        """Opens; raises `UnknownTopic`."""
        self.open()

    async def begin(self, since_ms: Mapping[str, int]) -> None:
        """See `HistorySource`."""
        self.open()
        assert self._next is not None
        for topic, partition in self._next:
            log, since = self._bus.log(topic)[partition], since_ms.get(topic, 0)
            self._next[topic, partition] = bisect_left(log, since, key=attrgetter("timestamp_ms"))

    async def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """See `Source`; with `timeout_s` 0 it does not even yield to the event loop."""
        messages = self.take(max_messages)
        if messages or timeout_s <= 0:
            return messages
        try:
            async with asyncio.timeout(timeout_s):
                while not messages and not self._closed:
                    self._arrival.clear()
                    await self._arrival.wait()
                    messages = self.take(max_messages)
        except TimeoutError:
            pass
        return messages

    async def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Stores the offsets to read next; raises `InvariantError` without a group or past the end."""
        self.store(next_offsets)

    async def stop(self) -> None:
        """Leaves at once; a poll that waits returns."""
        self.close()

    def _rotated(self) -> list[tuple[str, int]]:
        assert self._next is not None
        places = list(self._next)
        self._turn = (self._turn + 1) % len(places) if places else 0
        return places[self._turn :] + places[: self._turn]

    def _lag(self, at: tuple[str, int]) -> int:
        assert self._next is not None
        return len(self._bus.log(at[0])[at[1]]) - self._next[at]


class BusSink:
    """A `Sink` on a bus; made by `Bus.sink`. What it takes is there at once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._partitioner = Partitioner()

    def put(self, messages: Sequence[Outbound]) -> None:
        """Takes all of `messages` or none; raises `UnknownTopic`."""
        self._bus.append(messages, self._partitioner)

    async def start(self) -> None:
        """Nothing to connect."""

    async def publish(self, messages: Sequence[Outbound]) -> None:
        """See `put`."""
        self.put(messages)

    async def send(self, runs: Sequence[Run]) -> None:
        """Takes all messages of `runs` or none; raises `UnknownTopic`."""
        self._bus.extend(runs)

    async def flush(self) -> None:
        """Everything is delivered already."""

    async def stop(self) -> None:
        """Nothing is held."""
