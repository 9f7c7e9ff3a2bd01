"""Produce: batches in.

A request is read to its end before anything of it is stored, so that a malformed one leaves no trace.
"""

from struct import Struct

from simulator.broker.codes import ApiKey, ErrorCode
from simulator.broker.records import ZSTD, BatchHeader, read_header
from simulator.broker.requests import Api, Request
from simulator.broker.topics import Partition, TopicStore
from simulator.broker.wire import WireError, Writer

# Kafka's default of message.max.bytes: 1 MiB and the 12 bytes before what a batch counts as its length.
DEFAULT_MAX_BATCH_BYTES = 1024 * 1024 + 12
# Older versions carry older formats of messages. They are named in ApiVersions, as Kafka 4 does, only because
# librdkafka concludes from them that compression is possible.
_OLDEST_VERSION = 3
_ZSTD_VERSION = 7
_NOT_STORED = -1
_PRODUCED_V0 = Struct(">ihq")
_PRODUCED_V2 = Struct(">ihqq")
_PRODUCED_V5 = Struct(">ihqqq")

_Batches = list[tuple[str, list[tuple[int, memoryview | None]]]]


class ProduceApi:
    """Answers Produce.

    Args:
        topics: the logs.
        max_batch_bytes: the longest batch taken.
    """

    def __init__(self, topics: TopicStore, max_batch_bytes: int) -> None:
        self._topics = topics
        self._max_batch_bytes = max_batch_bytes

    def apis(self) -> list[Api]:
        """What it answers."""
        return [Api(ApiKey.PRODUCE, 0, 7, self._produce)]

    def _produce(self, request: Request) -> None:
        reader = request.reader
        transactional = request.version >= _OLDEST_VERSION and reader.nullable_string() is not None
        acks = reader.int16()
        reader.int32()  # How long to wait for replicas; there are none.
        batches: _Batches = [
            (reader.string(), [(reader.int32(), reader.nullable_bytes()) for _ in reader.array()])
            for _ in reader.array()
        ]
        refused = _refusal_of_all(request.version, acks, transactional=transactional)
        body, failed, grown = self._store(batches, request.version, refused)
        if acks:
            request.answer(body)
        elif failed:
            # Nobody waits for an answer; a closed connection is the one sign that the client can see.
            request.drop("refused_without_acks")
        else:
            request.answer(None)
        for partition in grown:
            partition.wake()

    def _store(
        self, batches: _Batches, version: int, refused: ErrorCode
    ) -> tuple[Writer, bool, list[Partition]]:
        """Stores what may be stored: the response, whether something was refused, and the logs that grew."""
        body = Writer()
        failed = False
        grown: list[Partition] = []
        body.int32(len(batches))
        for topic, rows in batches:
            body.string(topic)
            body.int32(len(rows))
            for index, records in rows:
                partition = self._topics.partition(topic, index)
                error, base_offset = refused, _NOT_STORED
                if not error:
                    error, base_offset = self._append(partition, records, version)
                failed = failed or error != ErrorCode.NONE
                start_offset = -1
                if partition is not None:
                    start_offset = partition.log.start_offset
                    if not error:
                        grown.append(partition)
                _write_row(body, version, index, error, base_offset, start_offset)
        if version >= 1:
            body.int32(0)
        return body, failed, grown

    def _append(
        self, partition: Partition | None, records: memoryview | None, version: int
    ) -> tuple[ErrorCode, int]:
        """Stores one batch: the error, and where it stands, now or since the producer's first try."""
        if partition is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, _NOT_STORED
        if records is not None and len(records) > self._max_batch_bytes:
            return ErrorCode.MESSAGE_TOO_LARGE, _NOT_STORED
        try:
            header = read_header(records or b"")
        except WireError:
            return ErrorCode.INVALID_RECORD, _NOT_STORED
        checked = partition.sequences.check(header)
        error = _refusal(header, version) or checked.error
        if error or records is None:
            return error, _NOT_STORED
        if checked.stored_at is not None:
            return ErrorCode.NONE, checked.stored_at
        return ErrorCode.NONE, self._topics.append(partition, bytearray(records), header)


def _refusal_of_all(version: int, acks: int, *, transactional: bool) -> ErrorCode:
    if version < _OLDEST_VERSION:
        return ErrorCode.UNSUPPORTED_VERSION
    if transactional:
        return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    return ErrorCode.NONE if acks in {-1, 0, 1} else ErrorCode.INVALID_REQUIRED_ACKS


def _refusal(header: BatchHeader, version: int) -> ErrorCode:
    if header.is_transactional:
        return ErrorCode.INVALID_RECORD
    if header.compression > ZSTD or (header.compression == ZSTD and version < _ZSTD_VERSION):
        return ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    return ErrorCode.NONE


def _write_row(
    body: Writer, version: int, index: int, error: ErrorCode, base_offset: int, start_offset: int
) -> None:
    # The time of appending is -1: records keep the time that their producer gave them.
    if version >= 5:
        body.pack(_PRODUCED_V5, index, error, base_offset, -1, start_offset)
    elif version >= 2:
        body.pack(_PRODUCED_V2, index, error, base_offset, -1)
    else:
        body.pack(_PRODUCED_V0, index, error, base_offset)
