"""What a batch was asked, as bytes: from a bidder that leaves targeting's refusals out to whoever counts them.

    u8 version | i64 at_ns | i64 table version | u64 fingerprint of the table | u32 rows | u32 words | u32 spare rows
    u64[words], what was in flight | i32[spare], numbers of rows that requests made | u64[spare, words], those rows
    i32[], the record

All numbers are little endian. The record is what the kernel saw, see `core.showing`; with the table it says which
values were asked. No user and no request is named.
"""

import struct
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64, xxh3_64_intdigest

from bidder.core.table import LineTable
from bidder.core.targeting_kernels import END
from bidder.errors import InputError

_HEAD = struct.Struct("<BqqQIII")
_VERSION = 1


class Match(NamedTuple):
    """One batch: `rows` opportunities that count, by the table of `fingerprint`.

    awake: uint64[words]. spare: int32[]; spare_rows: uint64[spare, words]. record: int32[].
    """

    at_ns: int
    table_version: int
    fingerprint: int
    rows: int
    awake: NDArray[np.uint64]
    spare: NDArray[np.int32]
    spare_rows: NDArray[np.uint64]
    record: NDArray[np.int32]


def fingerprint(table: LineTable) -> int:
    """Tells tables apart: two of one fingerprint refuse the same for the same record."""
    digest = xxh3_64("\n".join(table.ids).encode())
    for array in (table.active, table.base[1:], table.refusals, table.rows[: table.first_spare]):
        digest.update(np.ascontiguousarray(array).tobytes())
    return xxh3_64_intdigest(digest.digest())


def encode_match(
    table: LineTable, table_fingerprint: int, awake: NDArray[np.uint64], rows: int, record: bytes, at_ns: int
) -> bytes:
    """The bytes of one batch.

    Args:
        table: that decided it. table_fingerprint: its own. awake: uint64[words] in flight. rows: opportunities.
        record: int32 little endian, of these rows. at_ns: when.
    """
    numbers = np.frombuffer(record, dtype=np.int32)
    numbers = numbers[numbers != END]
    numbers = np.where(numbers < 0, ~numbers, numbers)
    spare = np.unique(numbers[numbers >= table.first_spare])
    head = _HEAD.pack(_VERSION, at_ns, table.version, table_fingerprint, rows, table.words, len(spare))
    return b"".join((head, awake.tobytes(), spare.tobytes(), table.rows[spare].tobytes(), record))


def decode_match(value: bytes) -> Match:
    """What `encode_match` wrote.

    Raises:
        InputError: it is of another version or not whole.
    """
    if len(value) < _HEAD.size or value[0] != _VERSION:
        raise InputError(f"record of matches must be of version {_VERSION}, was {value[:1].hex() or 'empty'}")
    _, at_ns, version, mark, rows, words, spare = _HEAD.unpack_from(value)
    sizes = (8 * words, 4 * spare, 8 * spare * words)
    starts = [_HEAD.size]
    for size in sizes:
        starts.append(starts[-1] + size)
    if starts[-1] > len(value) or (len(value) - starts[-1]) % 4:
        raise InputError(f"record of matches must be whole, was cut at {len(value)} bytes")
    awake, numbers, bits = (value[begin:end] for begin, end in pairwise(starts))
    return Match(
        at_ns,
        version,
        mark,
        rows,
        np.frombuffer(awake, dtype=np.uint64),
        np.frombuffer(numbers, dtype=np.int32),
        np.frombuffer(bits, dtype=np.uint64).reshape(spare, words),
        np.frombuffer(value[starts[-1] :], dtype=np.int32),
    )
