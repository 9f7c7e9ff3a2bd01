"""Record batches (magic 2): the header of 61 bytes that the broker reads and, in two places, rewrites.

The records themselves stay opaque: they are read only to answer "the first offset at or after this time",
and never on the way of a message. The checksum covers the bytes from `attributes` on, so the base offset and
the leader epoch before it can be rewritten; it is checked by whoever consumes, not here.
Source: "Record Batch" in the Kafka documentation, section Message Format.
"""

import zlib
from struct import Struct
from typing import NamedTuple

from simulator.broker.wire import Buffer, Reader, WireError

HEADER_BYTES = 61
# Base offset and length stand before what `batch_length` counts.
LOG_OVERHEAD_BYTES = 12
MAGIC = 2
NO_PRODUCER_ID = -1

_HEADER = Struct(">qiibIhiqqqhii")
_BASE_OFFSET = Struct(">q")
_LEADER_EPOCH = Struct(">i")
_LEADER_EPOCH_AT = 12
_COMPRESSION_MASK = 0x07
_TRANSACTIONAL_BIT = 0x10
_CONTROL_BIT = 0x20
_GZIP = 1
ZSTD = 4


class BatchHeader(NamedTuple):
    """The header of one batch."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def compression(self) -> int:
        """Number of the codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & _COMPRESSION_MASK

    @property
    def is_transactional(self) -> bool:
        """Whether it belongs to a transaction or marks the end of one."""
        return bool(self.attributes & (_TRANSACTIONAL_BIT | _CONTROL_BIT))


def read_header(batch: Buffer) -> BatchHeader:
    """The header of exactly one batch.

    Raises:
        WireError: too short, of an older format, of another length than it says, or with a record count that
            does not fit its offsets.
    """
    if len(batch) < HEADER_BYTES:
        raise WireError(f"batch must have at least {HEADER_BYTES} bytes, had {len(batch)}")
    header = BatchHeader(*_HEADER.unpack_from(batch))
    if header.magic != MAGIC:
        raise WireError(f"batch must have magic {MAGIC}, had {header.magic}")
    if header.batch_length + LOG_OVERHEAD_BYTES != len(batch):
        raise WireError(
            f"batch says {header.batch_length} bytes, {len(batch) - LOG_OVERHEAD_BYTES} are there"
        )
    if header.record_count < 1 or header.last_offset_delta != header.record_count - 1:
        raise WireError(f"batch of {header.record_count} records cannot end at {header.last_offset_delta}")
    return header


def place(batch: bytearray, base_offset: int, leader_epoch: int) -> None:
    """Writes into `batch` where in the log it stands."""
    _BASE_OFFSET.pack_into(batch, 0, base_offset)
    _LEADER_EPOCH.pack_into(batch, _LEADER_EPOCH_AT, leader_epoch)


def first_at_or_after(batch: Buffer, timestamp_ms: int) -> tuple[int, int]:
    """Offset and time of the first record of `batch` that is not older than `timestamp_ms`.

    Records in a codec that the standard library does not have are not looked into: then it is the batch's first
    offset, which comes at or before the right one.

    Raises:
        WireError: the records cannot be read, or none is young enough.
    """
    header = read_header(batch)
    body = memoryview(batch)[HEADER_BYTES:]
    if header.compression == _GZIP:
        try:
            body = memoryview(zlib.decompress(body, wbits=31))
        except zlib.error as error:
            raise WireError(f"records must be gzip: {error}") from error
    elif header.compression:
        return header.base_offset, header.base_timestamp_ms
    reader = Reader(body)
    for _ in range(header.record_count):
        record = Reader(reader.take(reader.varint()))
        record.int8()
        record_timestamp_ms = header.base_timestamp_ms + record.varint()
        offset = header.base_offset + record.varint()
        if record_timestamp_ms >= timestamp_ms:
            return offset, record_timestamp_ms
    raise WireError(
        f"no record at or after {timestamp_ms} although the header says {header.max_timestamp_ms}"
    )
