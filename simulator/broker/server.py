"""The embedded broker: a Kafka of one node in memory, for the demo and for tests."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Mapping

from bidder.errors import ConfigError
from simulator.broker.cluster_api import Address, ClusterApi, VersionsApi
from simulator.broker.codes import ErrorCode
from simulator.broker.connection import Connection, Connections
from simulator.broker.coordinator import MIN_SESSION_TIMEOUT_S, Coordinator
from simulator.broker.fetch import FetchApi
from simulator.broker.group_api import GroupApi
from simulator.broker.offsets import OffsetsApi
from simulator.broker.produce import DEFAULT_MAX_BATCH_BYTES, ProduceApi
from simulator.broker.requests import Api
from simulator.broker.topics import MAX_PARTITIONS, TopicStore

# Kafka's default of socket.request.max.bytes.
_MAX_FRAME_BYTES = 100 * 1024 * 1024
_MEMORY_BYTES = 256 * 1024 * 1024


class EmbeddedBroker:
    """Speaks the Kafka protocol on a loopback address, so that any Kafka client can be used without a Kafka.

    What it has: topics and partitions, long polls that wake on produce, consumer groups (classic protocol, with
    static members), committed offsets, idempotent producers, offsets by time, deletion of old records.

    What it has not, and a Kafka has: it is **not durable** (all is in memory and ends with the process); it is one
    node; there is no compaction (compacted topics are kept whole, settings of topics are read and set aside); no
    retention by time; no transactions (refused with an error); no TLS, no login, no ACLs, which is why it
    listens on loopback only; no check of the batches' checksums, which consumers make themselves. When the memory
    bound is reached the oldest batches go, read or not: `dropped_bytes` says how much.

    Args:
        topics: partitions of each topic that is there from the start.
        host: the loopback address to listen on.
        port: the port; 0 takes a free one.
        auto_create_partitions: partitions of a topic that is made because a client asked for it; 0: none is made.
        retention_bytes: most bytes that one partition holds; None: only `memory_bytes` bounds it.
        memory_bytes: most bytes of messages that all partitions hold together.
        max_batch_bytes: the longest batch taken.
        max_frame_bytes: the longest request taken.
        min_session_timeout_s: the shortest session that a group member may ask for.

    Raises:
        ConfigError: a topic's name or partitions, or an address that is not of the loopback.
    """

    def __init__(
        self,
        topics: Mapping[str, int],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        auto_create_partitions: int = 0,
        retention_bytes: int | None = None,
        memory_bytes: int = _MEMORY_BYTES,
        max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES,
        max_frame_bytes: int = _MAX_FRAME_BYTES,
        min_session_timeout_s: float = MIN_SESSION_TIMEOUT_S,
    ) -> None:
        self._host = _loopback(host)
        self._port = port
        self._auto_create_partitions = auto_create_partitions
        self._max_batch_bytes = max_batch_bytes
        self._max_frame_bytes = max_frame_bytes
        self._topics = TopicStore(
            retention_bytes=memory_bytes if retention_bytes is None else retention_bytes,
            memory_bytes=memory_bytes,
        )
        for name, partitions in topics.items():
            _create(self._topics, name, partitions)
        self._coordinator = Coordinator(min_session_timeout_s)
        self._connections = Connections()
        self._groups = GroupApi(self._coordinator, self._topics)
        self._server: asyncio.Server | None = None

    @property
    def bootstrap(self) -> str:
        """Address to give to clients, `HOST:PORT`; the port is known once the broker was started."""
        return f"{self._host}:{self._port}"

    @property
    def closed_connections(self) -> Counter[str]:
        """Connections that ended, by reason."""
        return self._connections.closed

    @property
    def held_bytes(self) -> int:
        """Bytes of messages in memory."""
        return self._topics.held_bytes

    @property
    def dropped_bytes(self) -> int:
        """Bytes of messages dropped because there were too many."""
        return self._topics.dropped_bytes

    async def start(self) -> str:
        """Listens; returns the address to give to clients.

        A broker that was stopped may be started again: it keeps its port, its messages and its offsets.

        Raises:
            OSError: the port is taken.
        """
        assert self._server is None, "the broker runs already"
        loop = asyncio.get_running_loop()
        apis: dict[int, Api] = {}
        self._server = await loop.create_server(
            lambda: Connection(apis, self._connections, self._max_frame_bytes), self._host, self._port
        )
        self._port = self._server.sockets[0].getsockname()[1]
        apis.update({api.key: api for api in self._all_apis()})
        self._groups.arm()
        return self.bootstrap

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Closes the port and all connections; what is not sent after `timeout_s` is cut off."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self._groups.stop()
        for connection in list(self._connections.open):
            connection.close("broker_stopped")
        try:
            await asyncio.wait_for(self._connections.all_closed.wait(), timeout_s)
        except TimeoutError:
            for connection in list(self._connections.open):
                connection.abort()
            await self._connections.all_closed.wait()
        await server.wait_closed()

    def _all_apis(self) -> list[Api]:
        """The requests that can be answered; the address is known by now."""
        cluster = ClusterApi(
            self._topics, self._coordinator, Address(self._host, self._port), self._auto_create_partitions
        )
        return VersionsApi(
            [
                *ProduceApi(self._topics, self._max_batch_bytes).apis(),
                *FetchApi(self._topics).apis(),
                *OffsetsApi(self._topics).apis(),
                *self._groups.apis(),
                *cluster.apis(),
            ]
        ).apis()


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigError(
            f"host of the embedded broker must be a loopback address, was {host!r}: it has no login; run a Kafka "
            "to be reached from elsewhere"
        )
    return host


def _create(topics: TopicStore, name: str, partitions: int) -> None:
    error = topics.create(name, partitions)
    if error is ErrorCode.INVALID_TOPIC:
        raise ConfigError(
            f"topic must be 1 to 249 of the letters a-z, A-Z, 0-9, '.', '_' and '-', was {name!r}"
        )
    if error is ErrorCode.INVALID_PARTITIONS:
        raise ConfigError(f"partitions of topic {name} must be from 1 to {MAX_PARTITIONS}, was {partitions}")
