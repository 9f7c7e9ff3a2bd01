"""Fetch: batches out.

A fetch that finds too little waits for its partitions to grow, at most as long as the client said; the produce
that grows them wakes it. No fetch sessions are made (KIP-227): each fetch names all its partitions.
"""

import asyncio
from struct import Struct
from typing import NamedTuple

from simulator.broker.codes import ApiKey, ErrorCode
from simulator.broker.requests import Api, Request
from simulator.broker.topics import Partition, TopicStore
from simulator.broker.wire import Buffer, Reader, Writer

# What one response carries at most, whatever the client asks: Kafka's default of fetch.max.bytes.
_MAX_FETCH_BYTES = 55 * 1024 * 1024

_WANTED_V4 = Struct(">iqi")
_WANTED_V5 = Struct(">iqqi")
_WANTED_V9 = Struct(">iiqqi")
_FOUND_V4 = Struct(">ihqqi")
_FOUND_V5 = Struct(">ihqqqi")
_FOUND_V11 = Struct(">ihqqqii")


class _Wanted(NamedTuple):
    number: int
    offset: int
    max_bytes: int


class _Found(NamedTuple):
    number: int
    error: ErrorCode
    end_offset: int
    start_offset: int
    batches: list[Buffer]
    size_bytes: int


class _Fetch:
    """One fetch: what it wants, and what it found when last it looked."""

    def __init__(self, request: Request, topics: TopicStore) -> None:
        reader = request.reader
        self.request = request
        self._topics = topics
        reader.int32()  # The id of a replica; consumers send -1.
        self.max_wait_ms = reader.int32()
        self._min_bytes = reader.int32()
        self._max_bytes = min(reader.int32(), _MAX_FETCH_BYTES)
        reader.int8()  # Isolation level: without transactions both are the same.
        self.session_id = 0
        if request.version >= 7:
            self.session_id = reader.int32()
            reader.int32()
        self._wanted = [(reader.string(), _read_wanted(reader, request.version)) for _ in reader.array()]
        self._found: list[tuple[str, list[_Found]]] = []

    def look(self) -> bool:
        """Gathers what is there now; true when it should be sent: enough bytes, or an error to tell."""
        self._found = []
        left_bytes = self._max_bytes
        failed = False
        for topic, partitions in self._wanted:
            rows = []
            for wanted in partitions:
                row = self._find(topic, wanted, left_bytes)
                left_bytes -= row.size_bytes
                failed = failed or row.error != ErrorCode.NONE
                rows.append(row)
            self._found.append((topic, rows))
        return failed or not self._wanted or self._max_bytes - left_bytes >= self._min_bytes

    def partitions(self) -> list[Partition]:
        """Partitions to wait for."""
        pairs = ((topic, wanted.number) for topic, partitions in self._wanted for wanted in partitions)
        found = (self._topics.partition(topic, index) for topic, index in pairs)
        return [partition for partition in found if partition is not None]

    def answer(self) -> None:
        """Sends what was found, by the version of the request."""
        version = self.request.version
        body = Writer()
        body.int32(0)
        if version >= 7:
            body.int16(ErrorCode.NONE)
            body.int32(0)
        body.int32(len(self._found))
        for topic, rows in self._found:
            body.string(topic)
            body.int32(len(rows))
            for row in rows:
                _write_found(body, row, version)
        self.request.answer(body)

    def _find(self, topic: str, wanted: _Wanted, left_bytes: int) -> _Found:
        partition = self._topics.partition(topic, wanted.number)
        if partition is None:
            return _Found(wanted.number, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, -1, [], 0)
        log = partition.log
        # The first batch of a response goes out however long it is (KIP-74), lest a reader be stuck before it.
        first = left_bytes == self._max_bytes
        piece = log.read(wanted.offset, max(0, min(left_bytes, wanted.max_bytes)), at_least_one=first)
        if piece is None:
            return _Found(wanted.number, ErrorCode.OFFSET_OUT_OF_RANGE, -1, log.start_offset, [], 0)
        return _Found(
            wanted.number, ErrorCode.NONE, log.end_offset, log.start_offset, piece.batches, piece.size_bytes
        )


def _read_wanted(reader: Reader, version: int) -> list[_Wanted]:
    if version >= 9:
        rows = [reader.unpack(_WANTED_V9) for _ in reader.array()]
        return [_Wanted(index, offset, size) for index, _, offset, _, size in rows]
    if version >= 5:
        rows = [reader.unpack(_WANTED_V5) for _ in reader.array()]
        return [_Wanted(index, offset, size) for index, offset, _, size in rows]
    rows = [reader.unpack(_WANTED_V4) for _ in reader.array()]
    return [_Wanted(index, offset, size) for index, offset, size in rows]


def _write_found(body: Writer, row: _Found, version: int) -> None:
    # After the offsets: no aborted transactions and, from version 11 on, no replica that would be nearer.
    index, error, end, start = row.number, row.error, row.end_offset, row.start_offset
    if version >= 11:
        body.pack(_FOUND_V11, index, error, end, end, start, 0, -1)
    elif version >= 5:
        body.pack(_FOUND_V5, index, error, end, end, start, 0)
    else:
        body.pack(_FOUND_V4, index, error, end, end, 0)
    body.pieces(row.batches, row.size_bytes)


class _Parked:
    """A fetch that waits: for a log to grow, for its time to end, or for its client to go away."""

    def __init__(self, fetch: _Fetch) -> None:
        self._fetch = fetch
        self._loop = asyncio.get_running_loop()
        self._partitions = fetch.partitions()
        self._done = False
        self._woken = False
        for partition in self._partitions:
            partition.waiting[self._wake] = None
        fetch.request.abandoned = self._release
        self._timer = self._loop.call_later(fetch.max_wait_ms / 1000, self._give_up)

    def _wake(self) -> None:
        """Looks again soon; many changes before that are one.

        Not at once: that would nest the work of this connection in that of the producer's.
        """
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        self._woken = False
        if not self._done and self._fetch.look():
            self._release()
            self._fetch.answer()

    def _give_up(self) -> None:
        self._release()
        self._fetch.look()
        self._fetch.answer()

    def _release(self) -> None:
        self._done = True
        self._timer.cancel()
        for partition in self._partitions:
            partition.waiting.pop(self._wake, None)


class FetchApi:
    """Answers Fetch.

    Args:
        topics: the logs.
    """

    def __init__(self, topics: TopicStore) -> None:
        self._topics = topics

    def apis(self) -> list[Api]:
        """What it answers."""
        return [Api(ApiKey.FETCH, 4, 11, self._fetch)]

    def _fetch(self, request: Request) -> None:
        fetch = _Fetch(request, self._topics)
        if fetch.session_id:
            body = Writer()
            body.int32(0)
            body.int16(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
            body.int32(0)
            body.int32(0)
            request.answer(body)
        elif fetch.look() or fetch.max_wait_ms <= 0:
            fetch.answer()
        else:
            _Parked(fetch)
