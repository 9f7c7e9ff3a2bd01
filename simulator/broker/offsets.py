"""ListOffsets and DeleteRecords: where logs begin and end, where a time stands in them, and cutting them off."""

from simulator.broker.codes import ApiKey, ErrorCode
from simulator.broker.log import LEADER_EPOCH
from simulator.broker.requests import Api, Request
from simulator.broker.topics import TopicStore
from simulator.broker.wire import Reader, Writer

_LATEST = -1
_EARLIEST = -2
_UNKNOWN = -1
# DeleteRecords: all that is there.
_TO_THE_END = -1


class OffsetsApi:
    """Answers ListOffsets and DeleteRecords.

    Args:
        topics: the logs.
    """

    def __init__(self, topics: TopicStore) -> None:
        self._topics = topics

    def apis(self) -> list[Api]:
        """What it answers."""
        return [
            Api(ApiKey.LIST_OFFSETS, 1, 5, self._list_offsets),
            Api(ApiKey.DELETE_RECORDS, 0, 1, self._delete_records),
        ]

    def _list_offsets(self, request: Request) -> None:
        reader, version = request.reader, request.version
        reader.int32()  # The id of a replica.
        if version >= 2:
            reader.int8()  # Isolation level.
        wanted = [
            (reader.string(), [_read_wanted(reader, version) for _ in reader.array()]) for _ in reader.array()
        ]
        body = Writer()
        if version >= 2:
            body.int32(0)
        body.int32(len(wanted))
        for topic, rows in wanted:
            body.string(topic)
            body.int32(len(rows))
            for index, timestamp_ms in rows:
                error, offset, found_ms = self._offset_at(topic, index, timestamp_ms)
                body.int32(index)
                body.int16(error)
                body.int64(found_ms)
                body.int64(offset)
                if version >= 4:
                    body.int32(LEADER_EPOCH if offset >= 0 else _UNKNOWN)
        request.answer(body)

    def _offset_at(self, topic: str, index: int, timestamp_ms: int) -> tuple[ErrorCode, int, int]:
        partition = self._topics.partition(topic, index)
        if partition is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, _UNKNOWN, _UNKNOWN
        if timestamp_ms == _LATEST:
            return ErrorCode.NONE, partition.log.end_offset, _UNKNOWN
        if timestamp_ms == _EARLIEST:
            return ErrorCode.NONE, partition.log.start_offset, _UNKNOWN
        offset, found_ms = partition.log.first_at_or_after(timestamp_ms) or (_UNKNOWN, _UNKNOWN)
        return ErrorCode.NONE, offset, found_ms

    def _delete_records(self, request: Request) -> None:
        reader = request.reader
        wanted = [
            (reader.string(), [(reader.int32(), reader.int64()) for _ in reader.array()])
            for _ in reader.array()
        ]
        body = Writer()
        body.int32(0)
        body.int32(len(wanted))
        for topic, rows in wanted:
            body.string(topic)
            body.int32(len(rows))
            for index, offset in rows:
                error, start_offset = self._delete_before(topic, index, offset)
                body.int32(index)
                body.int64(start_offset)
                body.int16(error)
        request.answer(body)

    def _delete_before(self, topic: str, index: int, offset: int) -> tuple[ErrorCode, int]:
        partition = self._topics.partition(topic, index)
        if partition is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, _UNKNOWN
        log = partition.log
        upto = log.end_offset if offset == _TO_THE_END else offset
        if not 0 <= upto <= log.end_offset:
            return ErrorCode.OFFSET_OUT_OF_RANGE, _UNKNOWN
        self._topics.delete_before(partition, upto)
        return ErrorCode.NONE, log.start_offset


def _read_wanted(reader: Reader, version: int) -> tuple[int, int]:
    index = reader.int32()
    if version >= 4:
        reader.int32()  # The leader's epoch as the client knows it.
    return index, reader.int64()
