"""The log of one partition, the bound on memory, and the header of a batch."""

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.broker.codes import ErrorCode
from simulator.broker.log import PartitionLog
from simulator.broker.records import HEADER_BYTES, first_at_or_after, read_header
from simulator.broker.topics import TopicStore
from simulator.broker.wire import WireError, Writer


def batch(
    *timestamps_ms: int, pad_bytes: int = 0, codec: int = 0, max_timestamp_ms: int | None = None
) -> bytearray:
    """A batch of empty records at these times; its checksum is not made, for nobody looks at it here."""
    records = bytearray()
    for index, timestamp_ms in enumerate(timestamps_ms):
        record = Writer()
        record.int8(0)
        record.varint(timestamp_ms - timestamps_ms[0])
        record.varint(index)
        record.varint(-1)
        record.varint(0)
        record.varint(0)
        length = Writer()
        length.varint(record.size)
        records += length.join() + record.join()
    body = bytes(records) + bytes(pad_bytes)
    if codec == 1:
        body = gzip.compress(body)
    count = len(timestamps_ms)
    newest_ms = max(timestamps_ms) if max_timestamp_ms is None else max_timestamp_ms
    head = (
        0,
        HEADER_BYTES - 12 + len(body),
        -1,
        2,
        0,
        codec,
        count - 1,
        timestamps_ms[0],
        newest_ms,
        -1,
        -1,
        -1,
        count,
    )
    return bytearray(struct.pack(">qiibIhiqqqhii", *head) + body)


def append(log: PartitionLog, records: bytearray) -> int:
    return log.append(records, read_header(records))


def offsets(
    log: PartitionLog, offset: int, max_bytes: int = 1 << 20, *, at_least_one: bool = True
) -> list[int]:
    """Base offsets of what a read gives, as written in the batches."""
    piece = log.read(offset, max_bytes, at_least_one=at_least_one)
    assert piece is not None
    assert piece.size_bytes == sum(map(len, piece.batches))
    return [read_header(each).base_offset for each in piece.batches]


@given(st.lists(st.integers(1, 5), max_size=30))
def test_offsets_are_given_without_gap(sizes: list[int]) -> None:
    log = PartitionLog(1 << 30)
    given_offsets = [append(log, batch(*range(size))) for size in sizes]
    assert given_offsets == [sum(sizes[:index]) for index in range(len(sizes))]
    assert (log.start_offset, log.end_offset) == (0, sum(sizes))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.data())
def test_a_read_begins_with_the_batch_that_holds_the_offset(sizes: list[int], data: st.DataObject) -> None:
    log = PartitionLog(1 << 30)
    bases = [append(log, batch(*range(size))) for size in sizes]
    offset = data.draw(st.integers(0, sum(sizes) - 1))
    assert offsets(log, offset) == [
        base for base, size in zip(bases, sizes, strict=True) if base + size > offset
    ]


def test_the_stored_batch_says_where_it_stands_and_is_otherwise_unchanged() -> None:
    log = PartitionLog(1 << 30)
    append(log, batch(1, 2, 3))
    sent = batch(4)
    original = bytes(sent)
    append(log, sent)
    piece = log.read(3, 1 << 20, at_least_one=True)
    assert piece is not None
    stored = bytes(piece.batches[0])
    assert struct.unpack_from(">q", stored)[0] == 3
    assert struct.unpack_from(">i", stored, 12)[0] == 0
    assert (stored[8:12], stored[16:]) == (original[8:12], original[16:])


def test_at_the_end_of_the_log_there_is_nothing() -> None:
    log = PartitionLog(1 << 30)
    append(log, batch(1))
    assert offsets(log, 1) == []


@pytest.mark.parametrize("offset", [-1, 2])
def test_outside_of_the_log_is_no_read(offset: int) -> None:
    log = PartitionLog(1 << 30)
    append(log, batch(1))
    assert log.read(offset, 1 << 20, at_least_one=True) is None


def test_a_read_gives_as_many_whole_batches_as_fit() -> None:
    log = PartitionLog(1 << 30)
    size_bytes = len(batch(1))
    for _ in range(5):
        append(log, batch(1))
    assert offsets(log, 1, 3 * size_bytes) == [1, 2, 3]
    assert offsets(log, 1, 3 * size_bytes - 1) == [1, 2]


def test_the_first_batch_is_given_however_long_it_is_if_asked_so() -> None:
    log = PartitionLog(1 << 30)
    append(log, batch(1, pad_bytes=1000))
    assert offsets(log, 0, 10) == [0]
    assert offsets(log, 0, 10, at_least_one=False) == []


def test_above_its_limit_the_oldest_batches_go() -> None:
    size_bytes = len(batch(1, pad_bytes=100))
    log = PartitionLog(3 * size_bytes)
    for _ in range(10):
        append(log, batch(1, pad_bytes=100))
    assert (log.start_offset, log.end_offset, log.size_bytes) == (7, 10, 3 * size_bytes)
    assert log.read(6, 1 << 20, at_least_one=True) is None
    assert offsets(log, 7) == [7, 8, 9]


def test_the_newest_batch_stays_even_above_the_limit() -> None:
    log = PartitionLog(10)
    append(log, batch(1))
    append(log, batch(1, pad_bytes=500))
    assert offsets(log, 1) == [1]


@given(st.lists(st.sampled_from(["append", "drop", "delete"]), max_size=200), st.data())
def test_the_log_is_right_after_any_appends_and_drops(steps: list[str], data: st.DataObject) -> None:
    log = PartitionLog(1 << 30)
    kept: list[tuple[int, int]] = []
    start = 0
    for step in steps:
        if step == "append":
            records = batch(*range(1 + log.end_offset % 3), pad_bytes=log.end_offset % 7)
            size_bytes = len(records)
            kept.append((append(log, records), size_bytes))
        elif step == "drop" and log.drop_oldest():
            kept.pop(0)
            start = max(start, kept[0][0])
        elif step == "delete":
            start = data.draw(st.integers(log.start_offset, log.end_offset))
            log.delete_before(start)
            ends = [*(base for base, _ in kept[1:]), log.end_offset]
            kept = [each for each, end in zip(kept, ends[: len(kept)], strict=True) if end > start]
        assert log.start_offset == start
        assert log.size_bytes == sum(size for _, size in kept)
        assert offsets(log, start, 1 << 30) == [base for base, _ in kept if start < log.end_offset]


def test_many_drops_do_not_lose_the_place() -> None:
    log = PartitionLog(20 * len(batch(1)))
    for _ in range(5000):
        append(log, batch(1))
    assert offsets(log, 4990) == list(range(4990, 5000))


# --- time -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [0, 1], ids=["plain", "gzip"])
def test_a_time_stands_at_the_first_record_that_is_not_older(codec: int) -> None:
    log = PartitionLog(1 << 30)
    append(log, batch(100, 110, 120, codec=codec))
    append(log, batch(130, 125, 150, codec=codec))
    found = [log.first_at_or_after(at_ms) for at_ms in (0, 101, 120, 126, 131, 151)]
    assert found == [(0, 100), (1, 110), (2, 120), (3, 130), (5, 150), None]


def test_a_time_does_not_stand_before_the_start() -> None:
    log = PartitionLog(1 << 30)
    append(log, batch(100, 110, 120))
    log.delete_before(2)
    assert log.first_at_or_after(0) == (2, 100)


def test_in_a_codec_that_is_not_read_a_time_stands_at_the_start_of_its_batch() -> None:
    log = PartitionLog(1 << 30)
    append(log, batch(100))
    append(log, batch(110, 120, codec=4))
    assert log.first_at_or_after(115) == (1, 110)


def test_a_batch_that_promised_a_time_it_has_not_is_passed_over() -> None:
    log = PartitionLog(1 << 30)
    append(log, batch(100, max_timestamp_ms=500))
    append(log, batch(300))
    assert log.first_at_or_after(200) == (1, 300)


def test_records_that_are_not_gzip_are_an_error() -> None:
    records = batch(1)
    struct.pack_into(">h", records, 21, 1)
    with pytest.raises(WireError, match="gzip"):
        first_at_or_after(records, 0)


# --- headers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "layout", "value", "message"),
    [
        (16, ">b", 1, "magic 2"),
        (8, ">i", 3, "batch says 3 bytes"),
        (57, ">i", 0, "cannot end at"),
        (23, ">i", 9, "cannot end at 9"),
    ],
)
def test_a_header_that_cannot_be_is_an_error(at: int, layout: str, value: int, message: str) -> None:
    records = batch(1, 2)
    struct.pack_into(layout, records, at, value)
    with pytest.raises(WireError, match=message):
        read_header(records)


@given(st.binary(max_size=200))
def test_rubbish_is_no_batch(data: bytes) -> None:
    with pytest.raises(WireError):
        read_header(data)


# --- topics -----------------------------------------------------------------------------------------------------


def store_append(store: TopicStore, topic: str, index: int, records: bytearray) -> int:
    partition = store.partition(topic, index)
    assert partition is not None
    return store.append(partition, records, read_header(records))


def test_all_partitions_together_stay_within_the_memory() -> None:
    limit_bytes = 50_000
    store = TopicStore(retention_bytes=limit_bytes, memory_bytes=limit_bytes)
    store.create("busy", 2)
    store.create("quiet", 1)
    store_append(store, "quiet", 0, batch(1))
    sent_bytes = store.held_bytes
    for number in range(300):
        records = batch(1, pad_bytes=500 + number)
        sent_bytes += len(records)
        store_append(store, "busy", number % 2, records)
        assert store.held_bytes <= limit_bytes
    held = sum(each.log.size_bytes for partitions in store.topics.values() for each in partitions)
    assert (store.held_bytes, store.dropped_bytes) == (held, sent_bytes - held)
    quiet = store.partition("quiet", 0)
    assert quiet is not None
    # What is dropped is of the partition that holds most.
    assert quiet.log.start_offset == 0


def test_deleting_a_topic_frees_its_memory_and_wakes_who_waits() -> None:
    store = TopicStore(retention_bytes=1000, memory_bytes=1000)
    store.create("gone", 1)
    store_append(store, "gone", 0, batch(1))
    partition = store.partition("gone", 0)
    assert partition is not None
    woken: list[str] = []
    partition.waiting[lambda: woken.append("once")] = None
    assert store.delete("gone") is ErrorCode.NONE
    assert (store.held_bytes, woken) == (0, ["once"])
    assert store.delete("gone") is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ü", "x" * 250])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    assert TopicStore(retention_bytes=1, memory_bytes=1).create(name, 1) is ErrorCode.INVALID_TOPIC


def test_deleted_records_free_their_memory() -> None:
    store = TopicStore(retention_bytes=10_000, memory_bytes=10_000)
    store.create("t", 1)
    for _ in range(3):
        store_append(store, "t", 0, batch(1))
    partition = store.partition("t", 0)
    assert partition is not None
    store.delete_before(partition, 2)
    assert store.held_bytes == partition.log.size_bytes == len(batch(1))
    assert store.dropped_bytes == 0
