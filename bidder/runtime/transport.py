"""The seam to the message broker: a `Source` to poll and commit, a `Sink` to publish and flush.

Two kinds stand behind it: `runtime.kafka` (aiokafka) and the in-process `Bus` of `runtime.bus`, which has no
sockets and no waiting, for simulation on virtual time and for tests. Both choose partitions alike, by
`runtime.partitioner`. Delivery is at least once; whoever consumes is idempotent by the message's own id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Message(NamedTuple):
    """One message read; `timestamp_ms` is the wall time at which it was sent."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp_ms: int


class Outbound(NamedTuple):
    """One message to send; without a partition the key chooses it, without a key they take turns."""

    topic: str
    key: bytes | None
    value: bytes
    partition: int | None = None


class Run(NamedTuple):
    """Messages without a key to one partition of a topic, in order: what a batch of requests brings forth."""

    topic: str
    partition: int
    values: Sequence[bytes]


@dataclass(slots=True)
class TransportStats:
    """What one source or sink did since it was made; plain counters, only ever growing but for `paused`.

    Attributes:
        polled: messages handed out.
        committed: requests to commit that the broker took.
        commit_failures: requests that it did not take, and offsets of partitions that are no longer ours.
        published: messages taken for delivery.
        acknowledged: of those, messages that the broker acknowledged.
        failed: of those, messages that it did not, those too large included.
        paused: partitions that are not read just now because their queue is full.
    """

    polled: int = 0
    committed: int = 0
    commit_failures: int = 0
    published: int = 0
    acknowledged: int = 0
    failed: int = 0
    paused: int = 0


class Source(Protocol):
    """Messages of some topics, in order within each partition."""

    async def start(self) -> None:
        """Connects; raises `BrokerUnavailable` or `UnknownTopic`."""
        ...

    async def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """Whatever is there now, at most `max_messages`; waits at most `timeout_s` for the first."""
        ...

    async def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Stores, by (topic, partition), the offset to read next; call it for finished work only."""
        ...

    async def stop(self) -> None:
        """Leaves within a bounded time whatever the broker does."""
        ...


class ControlSource(Source, Protocol):
    """A source that a process reads to the end before it takes work: campaigns, leases, settlements."""

    def caught_up(self) -> bool:
        """Whether everything has been polled that was there when the source started."""
        ...


class HistorySource(ControlSource, Protocol):
    """A control source that is begun late, and where the broker can tell times apart not at the beginning."""

    async def begin(self, since_ms: Mapping[str, int]) -> None:
        """Begins, instead of `start`: at the oldest message, but where a topic is named at what was sent since then.

        Times are milliseconds of the wall. Where the broker cannot tell times apart, it begins at the oldest.
        """
        ...


class MarkedSource(Source, Protocol):
    """A source that can prove up to when everything has been polled: an empty poll does not, nor a short one."""

    def mark(self) -> None:
        """Forgets the mark before; from now on `passed` is about all that is there at this moment."""
        ...

    async def passed(self) -> bool:
        """Whether everything has been polled that was there at the mark; False while that is not known."""
        ...


class Share(NamedTuple):
    """What a source has of a topic that a group shares out: partitions, and which sharing-out it was.

    `generation` grows with each: partitions that are in two of them may have been another member's in between.
    """

    generation: int
    partitions: frozenset[int]


class SharedSource(MarkedSource, Protocol):
    """A source of a topic that is shared out, and maybe of others that every member reads whole."""

    def share(self) -> Share:
        """What it has now of its first topic; what it had stays until it is told anew."""
        ...

    def rewind(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Goes back, by (topic, partition), to an offset, in partitions of topics that it reads whole."""
        ...


class Sink(Protocol):
    """Messages out."""

    async def start(self) -> None:
        """Connects; raises `BrokerUnavailable`."""
        ...

    async def publish(self, messages: Sequence[Outbound]) -> None:
        """Takes messages for delivery and returns; waits only where the buffer is full."""
        ...

    async def send(self, runs: Sequence[Run]) -> None:
        """`publish` of runs of messages, without an object for each."""
        ...

    async def flush(self) -> None:
        """Returns when all published messages are acknowledged; raises `DeliveryError` if some were not."""
        ...

    async def stop(self) -> None:
        """Delivers what it holds, within a bounded time."""
        ...
