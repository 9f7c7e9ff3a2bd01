"""The seam to the message broker: a `Source` to poll and commit, a `Sink` to publish and flush.

Two kinds stand behind it: `runtime.kafka` (aiokafka) and the in-process `Bus` below, which has no sockets
and no waiting, for simulation on virtual time and for tests. Delivery is at least once; whoever consumes is
idempotent by the message's own id.
"""

from collections.abc import Mapping, Sequence
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


class Sink(Protocol):
    """Messages out."""

    async def start(self) -> None:
        """Connects; raises `BrokerUnavailable`."""
        ...

    async def publish(self, messages: Sequence[Outbound]) -> None:
        """Takes messages for delivery and returns; waits only where the buffer is full."""
        ...

    async def flush(self) -> None:
        """Returns when all published messages are acknowledged; raises `DeliveryError` if some were not."""
        ...

    async def stop(self) -> None:
        """Delivers what it holds, within a bounded time."""
        ...
