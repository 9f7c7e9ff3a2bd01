"""Topics and groups of one installation on a shared broker: names with a prefix outside, without it inside."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from bidder.runtime.kafka import KafkaSink, KafkaSource, ensure_topics
from bidder.runtime.transport import Message, Outbound, Run, Share


class KafkaPlace:
    """Where one installation's messages are.

    Args:
        bootstrap: `host:port[,host:port...]`.
        prefix: put before every topic and group; empty where the broker is ours alone.
    """

    def __init__(self, bootstrap: str, prefix: str = "") -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix

    async def ensure_topics(
        self,
        partitions: Mapping[str, int],
        compacted: Collection[str] = (),
        retention_hours: Mapping[str, int] | None = None,
        replicas: int = 1,
        guarded: Collection[str] = (),
    ) -> None:
        """Creates topics that are missing; see `kafka_link.ensure_topics`."""
        await ensure_topics(
            self.bootstrap,
            {self.prefix + topic: count for topic, count in partitions.items()},
            [self.prefix + topic for topic in compacted],
            retention_hours={self.prefix + topic: n for topic, n in (retention_hours or {}).items()},
            replicas=replicas,
            guarded=[self.prefix + topic for topic in guarded],
        )

    def source(self, topics: Sequence[str], group: str | None, client_id: str) -> "PlacedSource":
        """A source of topics from their beginning, or from where the group is."""
        source = KafkaSource(
            self.bootstrap,
            [self.prefix + topic for topic in topics],
            group=self.prefix + group if group is not None else None,
            client_id=client_id,
            from_beginning=True,
            prefix=self.prefix,
        )
        return PlacedSource(source, self.prefix)

    def sink(self, client_id: str, acks: Literal["all", 1] = "all") -> "PlacedSink":
        """A sink."""
        return PlacedSink(KafkaSink(self.bootstrap, client_id=client_id, acks=acks), self.prefix)


class PlacedSource:
    """A `HistorySource` and `SharedSource` whose messages have their topic without the prefix."""

    def __init__(self, source: KafkaSource, prefix: str) -> None:
        self._source = source
        self._prefix = prefix
        self.stats = source.stats

    async def start(self) -> None:
        """Connects."""
        await self._source.start()

    async def begin(self, since_ms: Mapping[str, int]) -> None:
        """Begins, topics that are named at a time; for a source without a group, instead of `start`."""
        await self._source.begin({self._prefix + topic: since for topic, since in since_ms.items()})

    async def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """Whatever is there now, at most `max_messages`."""
        return await self._source.poll(max_messages, timeout_s)

    async def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Stores the offsets to read next."""
        await self._source.commit(
            {(self._prefix + topic, p): offset for (topic, p), offset in next_offsets.items()}
        )

    def caught_up(self) -> bool:
        """Whether all that was there at the start has been read; for a source without a group."""
        return self._source.caught_up()

    def mark(self) -> None:
        """Begins to look for all that is there now."""
        self._source.mark()

    async def passed(self) -> bool:
        """Whether all that was there at the mark has been polled."""
        return await self._source.passed()

    @property
    def partitions(self) -> int:
        """How many its first topic has; 0 before the start."""
        return self._source.partitions

    def share(self) -> Share:
        """What it has now of its first topic."""
        return self._source.share()

    def rewind(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Goes back to offsets; for a source without a group."""
        self._source.rewind(
            {(self._prefix + topic, p): offset for (topic, p), offset in next_offsets.items()}
        )

    async def stop(self) -> None:
        """Leaves."""
        await self._source.stop()


class PlacedSink:
    """A `Sink` that puts the prefix before topics."""

    def __init__(self, sink: KafkaSink, prefix: str) -> None:
        self._sink = sink
        self._prefix = prefix
        self.stats = sink.stats

    async def start(self) -> None:
        """Connects."""
        await self._sink.start()

    async def publish(self, messages: Sequence[Outbound]) -> None:
        """Takes messages for delivery."""
        if self._prefix:
            messages = [message._replace(topic=self._prefix + message.topic) for message in messages]
        await self._sink.publish(messages)

    async def send(self, runs: Sequence[Run]) -> None:
        """Takes runs of messages for delivery."""
        if self._prefix:
            runs = [Run(self._prefix + topic, partition, values) for topic, partition, values in runs]
        await self._sink.send(runs)

    async def flush(self) -> None:
        """Returns when all published messages are acknowledged."""
        await self._sink.flush()

    async def stop(self) -> None:
        """Delivers what it holds."""
        await self._sink.stop()
