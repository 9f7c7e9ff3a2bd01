"""What clients ask about the broker itself: versions, metadata, coordinators, producer ids; and topics to manage.

Transactions are refused as not allowed, at the first request that names one: both clients then fail at once
and say so, where a truer "not supported" would be tried again and again.
"""

from typing import NamedTuple

from simulator.broker.codes import ApiKey, ErrorCode
from simulator.broker.coordinator import Coordinator
from simulator.broker.log import LEADER_EPOCH
from simulator.broker.producers import ProducerIds
from simulator.broker.requests import Api, Request
from simulator.broker.topics import TopicStore
from simulator.broker.wire import Reader, Writer

NODE_ID = 1
_CLUSTER_ID = "clearbid-embedded"
_GROUP_KEY = 0
# An AuthorizedOperations field that was not asked for.
_NOT_ASKED = -(2**31)
_FLEXIBLE_API_VERSIONS = 3
_NO_TRANSACTIONS = "the embedded broker has no transactions"


class Address(NamedTuple):
    """Where clients are told to connect."""

    host: str
    port: int


class _NewTopic(NamedTuple):
    name: str
    partitions: int
    replication_factor: int
    assigned: list[int]


class ClusterApi:
    """Answers requests about the broker and its topics.

    Args:
        topics: the topics.
        coordinator: to drop the offsets of deleted topics.
        address: where clients are told to connect.
        auto_create_partitions: partitions of a topic that is made because somebody asked for it; 0 makes none.
    """

    def __init__(
        self, topics: TopicStore, coordinator: Coordinator, address: Address, auto_create_partitions: int
    ) -> None:
        self._topics = topics
        self._coordinator = coordinator
        self._address = address
        self._auto_create_partitions = auto_create_partitions
        self._producer_ids = ProducerIds()

    def apis(self) -> list[Api]:
        """What it answers, but for ApiVersions, which needs the whole table."""
        return [
            Api(ApiKey.METADATA, 0, 8, self._metadata),
            Api(ApiKey.FIND_COORDINATOR, 0, 2, self._find_coordinator),
            Api(ApiKey.CREATE_TOPICS, 0, 4, self._create_topics),
            Api(ApiKey.DELETE_TOPICS, 0, 3, self._delete_topics),
            Api(ApiKey.INIT_PRODUCER_ID, 0, 1, self._init_producer_id),
        ]

    def _metadata(self, request: Request) -> None:
        reader, version = request.reader, request.version
        count = reader.nullable_array() if version >= 1 else reader.array()
        names = None if count is None else [reader.string() for _ in count]
        may_create = reader.boolean() if version >= 4 else True
        if names is None or (version == 0 and not names):
            names = list(self._topics.topics)
        body = Writer()
        if version >= 3:
            body.int32(0)
        body.int32(1)
        self._write_node(body)
        if version >= 1:
            body.string(None)  # The rack.
        if version >= 2:
            body.string(_CLUSTER_ID)
        if version >= 1:
            body.int32(NODE_ID)
        body.int32(len(names))
        for name in names:
            if may_create and self._auto_create_partitions and name not in self._topics.topics:
                self._topics.create(name, self._auto_create_partitions)
            self._write_topic(body, name, version)
        if version >= 8:
            body.int32(_NOT_ASKED)
        request.answer(body)

    def _write_node(self, body: Writer) -> None:
        body.int32(NODE_ID)
        body.string(self._address.host)
        body.int32(self._address.port)

    def _write_topic(self, body: Writer, name: str, version: int) -> None:
        partitions = self._topics.topics.get(name)
        error = ErrorCode.NONE
        if partitions is None:
            invalid = self._topics.check_new(name, 1)
            error = invalid or ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        body.int16(error)
        body.string(name)
        if version >= 1:
            body.boolean(False)  # Whether it is a topic of the broker's own.
        body.int32(len(partitions or ()))
        for index in range(len(partitions or ())):
            body.int16(ErrorCode.NONE)
            body.int32(index)
            body.int32(NODE_ID)
            if version >= 7:
                body.int32(LEADER_EPOCH)
            for _ in range(2):  # Replicas, and those of them that are in sync.
                body.int32(1)
                body.int32(NODE_ID)
            if version >= 5:
                body.int32(0)  # Replicas that are offline.
        if version >= 8:
            body.int32(_NOT_ASKED)

    def _find_coordinator(self, request: Request) -> None:
        reader, version = request.reader, request.version
        reader.string()
        is_group = version < 1 or reader.int8() == _GROUP_KEY
        body = Writer()
        if version >= 1:
            body.int32(0)
        body.int16(ErrorCode.NONE if is_group else ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        if version >= 1:
            body.string(None if is_group else _NO_TRANSACTIONS)
        if is_group:
            self._write_node(body)
        else:
            body.int32(-1)
            body.string("")
            body.int32(-1)
        request.answer(body)

    def _init_producer_id(self, request: Request) -> None:
        transactional = request.reader.nullable_string() is not None
        body = Writer()
        body.int32(0)
        body.int16(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED if transactional else ErrorCode.NONE)
        body.int64(-1 if transactional else self._producer_ids.take())
        body.int16(-1 if transactional else 0)
        request.answer(body)

    def _create_topics(self, request: Request) -> None:
        reader, version = request.reader, request.version
        new = [_read_new_topic(reader) for _ in reader.array()]
        reader.int32()  # How long to wait for it.
        only_check = version >= 1 and reader.boolean()
        body = Writer()
        if version >= 2:
            body.int32(0)
        body.int32(len(new))
        for topic in new:
            error = self._create(topic, only_check=only_check)
            body.string(topic.name)
            body.int16(error)
            if version >= 1:
                body.string(error.name.replace("_", " ").lower() if error else None)
        request.answer(body)

    def _create(self, topic: _NewTopic, *, only_check: bool) -> ErrorCode:
        if topic.assigned and sorted(topic.assigned) != list(range(len(topic.assigned))):
            return ErrorCode.INVALID_REPLICA_ASSIGNMENT
        if not topic.assigned and topic.replication_factor not in {-1, 1}:
            return ErrorCode.INVALID_REPLICATION_FACTOR
        partitions = len(topic.assigned) or (1 if topic.partitions == -1 else topic.partitions)
        if only_check:
            return self._topics.check_new(topic.name, partitions)
        return self._topics.create(topic.name, partitions)

    def _delete_topics(self, request: Request) -> None:
        reader, version = request.reader, request.version
        names = [reader.string() for _ in reader.array()]
        reader.int32()
        body = Writer()
        if version >= 1:
            body.int32(0)
        body.int32(len(names))
        for name in names:
            body.string(name)
            body.int16(self._topics.delete(name))
            self._coordinator.forget_topic(name)
        request.answer(body)


def _read_new_topic(reader: Reader) -> _NewTopic:
    name, partitions, replication_factor = reader.string(), reader.int32(), reader.int16()
    assigned = []
    for _ in reader.array():
        assigned.append(reader.int32())
        for _ in reader.array():
            reader.int32()
    for _ in reader.array():  # Settings: read and set aside.
        reader.string()
        reader.nullable_string()
    return _NewTopic(name, partitions, replication_factor, assigned)


class VersionsApi:
    """Answers ApiVersions: which requests, in which versions.

    Args:
        apis: all the others.
    """

    def __init__(self, apis: list[Api]) -> None:
        self._own = Api(ApiKey.API_VERSIONS, 0, _FLEXIBLE_API_VERSIONS, self._api_versions)
        self._apis = sorted([*apis, self._own], key=lambda api: api.key)

    def apis(self) -> list[Api]:
        """The whole table."""
        return self._apis

    def _api_versions(self, request: Request) -> None:
        """Answers a client of any version: a newer one is told in version 0 what there is (KIP-511)."""
        body = Writer()
        if request.version > _FLEXIBLE_API_VERSIONS:
            self._write_plain(body, ErrorCode.UNSUPPORTED_VERSION)
        elif request.version == _FLEXIBLE_API_VERSIONS:
            self._write_flexible(body)
        else:
            self._write_plain(body, ErrorCode.NONE)
            if request.version >= 1:
                body.int32(0)
        request.answer(body)

    def _write_plain(self, body: Writer, error: ErrorCode) -> None:
        body.int16(error)
        body.int32(len(self._apis))
        for api in self._apis:
            body.int16(api.key)
            body.int16(api.oldest)
            body.int16(api.newest)

    def _write_flexible(self, body: Writer) -> None:
        body.int16(ErrorCode.NONE)
        body.uvarint(len(self._apis) + 1)
        for api in self._apis:
            body.int16(api.key)
            body.int16(api.oldest)
            body.int16(api.newest)
            body.uvarint(0)
        body.int32(0)
        body.uvarint(0)
