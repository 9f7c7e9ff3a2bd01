"""The spool: notices kept on the local disk while the broker is away, so that their callers can be answered.

Segments are files that are only ever appended to, numbered in order, a frame a notice:

    mark 4 | CRC-32 4 | length of the key 2 | length of the value 4 | key | value

The CRC is of the segment's number and all that follows the CRC, so that neither half a frame nor blocks of an older
file pass for one. Rules:

- `append` returns when its frames are on the disk, one sync for all of them; only then may anybody be answered.
- What a crash leaves half written is no frame: reading passes over it to the next one. Nothing is ever appended
  behind it, as every start and every failed write begins a new segment.
- After a write that failed nothing is known of its segment's tail, so it is not synced again: a second sync may
  succeed without the bytes.
- The whole is bounded, and holds at most one batch more in a segment than it should.
- Segments go to the broker oldest first, and go away when all of one was acknowledged. A crash between the two sends
  one again; the bank books each bid once.

Plain calls, no clock and no thread: `web.publish` runs it beside the event loop, a simulation calls it as it likes.
"""

import struct
import zlib
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from bidder.errors import DependencyError, InvariantError

_MARK = b"\xabntc"  # its first byte stands in no notice: those are ASCII
_HEAD = struct.Struct(">4sIHI")
_LENGTHS = struct.Struct(">HI")
_NUMBER = struct.Struct(">q")
_SUFFIX = ".notices"
_SEGMENT_BYTES = 1 << 20
MAX_VALUE_BYTES = 1 << 20


class Files(Protocol):
    """A folder, as far as the spool needs one; every method may raise `OSError`."""

    def sizes(self) -> dict[str, int]:
        """Every file and its bytes."""
        ...

    def read(self, name: str) -> bytes:
        """All of a file."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Puts bytes behind a file, made where it is missing; returns when they would survive a power cut."""
        ...

    def remove(self, name: str) -> None:
        """Deletes a file; one that is not there is deleted."""
        ...


class Record(NamedTuple):
    """One message that waits for the broker."""

    key: bytes
    value: bytes


class Batch(NamedTuple):
    """What to send next, and the number to give back to `Spool.done` when all of it was acknowledged."""

    number: int
    records: list[Record]


class _Segment:
    __slots__ = ("number", "size")

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size


class Spool:
    """Notices on a disk, oldest first; one thread at a time may use it.

    Args:
        files: where they are; what is there from before is sent first.
        max_bytes: of all segments together.
        segment_bytes: from which size on a segment gets a successor.

    Attributes:
        bytes: on the disk, or at most so many.
        counts: notices `spooled`, `replayed` and refused as `full`, `failed` writes, `torn_bytes` that were of no
            frame.

    Raises:
        DependencyError: the folder cannot be read.
    """

    def __init__(self, files: Files, max_bytes: int, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self.counts: Counter[str] = Counter()
        self._segments = deque(_found(files))
        self._next = self._segments[-1].number + 1 if self._segments else 1
        self._open = False
        self._held: Batch | None = None
        self.bytes = sum(segment.size for segment in self._segments)

    def __bool__(self) -> bool:
        """Whether anything may wait to be sent."""
        return bool(self._segments)

    def __len__(self) -> int:
        """Segments that wait."""
        return len(self._segments)

    def append(self, records: Sequence[Record]) -> int:
        """Keeps records as far as there is room; returns how many of them, from the first, are on the disk.

        Raises:
            DependencyError: they could not be written; none of them counts as kept.
        """
        segment = self._last()
        frames, size = [], 0
        for record in records:
            frame = _frame(record, segment.number)
            if self.bytes + size + len(frame) > self._max_bytes:
                break
            frames.append(frame)
            size += len(frame)
        if frames:
            self._write(segment, b"".join(frames))
        self.counts["spooled"] += len(frames)
        self.counts["full"] += len(records) - len(frames)
        return len(frames)

    def oldest(self) -> Batch | None:
        """What to send next: all of the oldest segment, which takes no more from now on; None where nothing waits.

        Raises:
            DependencyError: it cannot be read; nothing behind it is sent before it.
        """
        while self._held is None and self._segments:
            segment = self._segments[0]
            self._open = self._open and len(self._segments) > 1
            try:
                data = self._files.read(_name(segment.number))
            except FileNotFoundError:
                data = b""
            except OSError as error:
                raise DependencyError(
                    f"spooled notices {_name(segment.number)} cannot be read: {error}; mend the disk, or move the "
                    "file away and start again"
                ) from error
            records, torn = read_frames(data, segment.number)
            self.counts["torn_bytes"] += torn
            if records:
                self._held = Batch(segment.number, records)
            else:
                self._forget()
        return self._held

    def done(self, number: int) -> None:
        """Deletes a segment whose records were all acknowledged.

        Raises:
            DependencyError: it cannot be deleted, and is sent again.
            InvariantError: it is not the one that `oldest` gave.
        """
        if self._held is None or self._held.number != number:
            raise InvariantError(f"segment that was sent must be the oldest, {self._held}, was {number}")
        sent = len(self._held.records)
        self._forget()
        self.counts["replayed"] += sent

    def _last(self) -> _Segment:
        """The segment that is written to now."""
        if self._open and self._segments[-1].size < self._segment_bytes:
            return self._segments[-1]
        self._open = False
        return _Segment(self._next, 0)

    def _write(self, segment: _Segment, data: bytes) -> None:
        if not self._open:
            self._segments.append(segment)
            self._next = segment.number + 1
        before, segment.size = segment.size, segment.size + len(data)
        self.bytes += len(data)
        try:
            self._files.append(_name(segment.number), data)
        except OSError as error:
            self.counts["failed"] += 1
            self._give_up(segment, before)
            raise DependencyError(f"notices cannot be spooled to {_name(segment.number)}: {error}") from error
        self._open = True

    def _give_up(self, segment: _Segment, before: int) -> None:
        """Closes a segment after a failed write; one that nobody was answered for goes away."""
        self._open = False
        if before:
            return
        try:
            self._files.remove(_name(segment.number))
        except OSError:
            return  # it counts as large as it can be, and goes when it was sent
        self._segments.pop()
        self.bytes -= segment.size

    def _forget(self) -> None:
        segment = self._segments[0]
        try:
            self._files.remove(_name(segment.number))
        except OSError as error:
            raise DependencyError(
                f"spooled notices {_name(segment.number)} cannot be deleted: {error}"
            ) from error
        self._segments.popleft()
        self.bytes -= segment.size
        self._held = None


def _found(files: Files) -> list[_Segment]:
    """The segments of a folder in order; other files are none of ours."""
    try:
        sizes = files.sizes()
    except OSError as error:
        raise DependencyError(f"folder of spooled notices cannot be read: {error}") from error
    return sorted(
        (
            _Segment(int(name.removesuffix(_SUFFIX)), size)
            for name, size in sizes.items()
            if name.endswith(_SUFFIX) and name.removesuffix(_SUFFIX).isdecimal()
        ),
        key=lambda segment: segment.number,
    )


def _name(number: int) -> str:
    return f"{number:016d}{_SUFFIX}"


def _frame(record: Record, number: int) -> bytes:
    assert len(record.value) <= MAX_VALUE_BYTES, "notices are bounded, see `core.messages.Notice`"
    body = _LENGTHS.pack(len(record.key), len(record.value)) + record.key + record.value
    return _HEAD.pack(_MARK, _crc(body, number), len(record.key), len(record.value)) + body[_LENGTHS.size :]


def _crc(body: bytes, number: int) -> int:
    return zlib.crc32(body, zlib.crc32(_NUMBER.pack(number)))


def read_frames(data: bytes, number: int) -> tuple[list[Record], int]:
    """The records of a segment, in order, and how many of its bytes belong to none."""
    records: list[Record] = []
    at = torn = 0
    while at < len(data):
        record = _record_at(data, at, number)
        if record is not None:
            records.append(record)
            at += _HEAD.size + len(record.key) + len(record.value)
            continue
        found = data.find(_MARK, at + 1)
        end = found if found >= 0 else len(data)
        torn += end - at
        at = end
    return records, torn


def _record_at(data: bytes, at: int, number: int) -> Record | None:
    """The record whose frame begins at `at`, or None where none does or not all of it is there."""
    if len(data) - at < _HEAD.size:
        return None
    mark, crc, key_bytes, value_bytes = _HEAD.unpack_from(data, at)
    begin = at + _HEAD.size
    middle, end = begin + key_bytes, begin + key_bytes + value_bytes
    if mark != _MARK or value_bytes > MAX_VALUE_BYTES or end > len(data):
        return None
    if _crc(data[begin - _LENGTHS.size : end], number) != crc:
        return None
    return Record(data[begin:middle], data[middle:end])
