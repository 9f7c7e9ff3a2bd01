"""The primitive types of the Kafka protocol, and the frames that carry them.

Knows bytes only: no request, no socket. Every length that comes from outside is checked against what is
there before anything is read or allocated by it, so that a frame of rubbish costs no more than its size.
Source: "Protocol Primitive Types" in the protocol guide of Kafka.
"""

from collections.abc import Iterator
from struct import Struct
from struct import error as struct_error

Buffer = bytes | bytearray | memoryview

_INT8 = Struct(">b")
_INT16 = Struct(">h")
_INT32 = Struct(">i")
_INT64 = Struct(">q")
_LENGTH_BYTES = 4
# A varint of 64 bits takes ten groups of seven.
_MAX_VARINT_BYTES = 10


class WireError(Exception):
    """Bytes that are not of the protocol; whoever sent them loses the connection.

    Args:
        message: what was wrong.
        reason: the counter of closed connections that it belongs to.
    """

    def __init__(self, message: str, reason: str = "malformed") -> None:
        super().__init__(message)
        self.reason = reason


class Reader:
    """Takes primitives from a buffer, one after another.

    Args:
        data: the bytes; slices that `take` returns share its memory.

    All methods raise `WireError` when the bytes end early or a length is out of range.
    """

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._end = len(self._data)

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return self._end - self._at

    def unpack(self, layout: Struct) -> tuple[int, ...]:
        """Fixed-size integers by `layout`, read at once: the fast way for a run of them."""
        try:
            values = layout.unpack_from(self._data, self._at)
        except struct_error as error:
            raise WireError(f"need {layout.size} bytes at {self._at}, {self.left} are left") from error
        self._at += layout.size
        return values

    def int8(self) -> int:
        """A signed integer of 8 bits."""
        return self.unpack(_INT8)[0]

    def int16(self) -> int:
        """A signed integer of 16 bits."""
        return self.unpack(_INT16)[0]

    def int32(self) -> int:
        """A signed integer of 32 bits."""
        return self.unpack(_INT32)[0]

    def int64(self) -> int:
        """A signed integer of 64 bits."""
        return self.unpack(_INT64)[0]

    def boolean(self) -> bool:
        """One byte; anything but 0 is true."""
        return self.unpack(_INT8)[0] != 0

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, not copied."""
        if size < 0 or size > self._end - self._at:
            raise WireError(f"length must be from 0 to the {self.left} bytes left at {self._at}, was {size}")
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def nullable_string(self) -> str | None:
        """Text in UTF-8 after its length of 16 bits; -1 is null."""
        size = self.int16()
        if size == -1:
            return None
        try:
            return str(self.take(size), "utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"text must be UTF-8: {error}") from error

    def string(self) -> str:
        """Text that must not be null."""
        text = self.nullable_string()
        if text is None:
            raise WireError("text must not be null here")
        return text

    def nullable_bytes(self) -> memoryview | None:
        """Bytes after their length of 32 bits, not copied; -1 is null."""
        size = self.int32()
        return None if size == -1 else self.take(size)

    def bytes_(self) -> bytes:
        """A copy of bytes that must not be null."""
        data = self.nullable_bytes()
        if data is None:
            raise WireError("bytes must not be null here")
        return bytes(data)

    def array(self) -> range:
        """A counter over the items of an array that must not be null."""
        items = self.nullable_array()
        if items is None:
            raise WireError("array must not be null here")
        return items

    def nullable_array(self) -> range | None:
        """A counter over the items that follow; -1 items is null. An item has at least one byte."""
        size = self.int32()
        if size == -1:
            return None
        if size < 0 or size > self.left:
            raise WireError(f"array must have from 0 to {self.left} items, had {size}")
        return range(size)

    def varint(self) -> int:
        """A signed integer in zigzag groups of seven bits, as inside records."""
        value = 0
        for index in range(_MAX_VARINT_BYTES):
            byte = self.int8() & 0xFF
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise WireError(f"varint must end within {_MAX_VARINT_BYTES} bytes")


class Writer:
    """Gathers primitives; big pieces are kept by reference and not copied."""

    __slots__ = ("_buffer", "_chunks", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._chunks: list[Buffer] = []
        self._size = 0

    def pack(self, layout: Struct, *values: int) -> None:
        """Fixed-size integers by `layout`, written at once."""
        self._buffer += layout.pack(*values)

    def int8(self, value: int) -> None:
        """A signed integer of 8 bits."""
        self._buffer += _INT8.pack(value)

    def int16(self, value: int) -> None:
        """A signed integer of 16 bits."""
        self._buffer += _INT16.pack(value)

    def int32(self, value: int) -> None:
        """A signed integer of 32 bits."""
        self._buffer += _INT32.pack(value)

    def int64(self, value: int) -> None:
        """A signed integer of 64 bits."""
        self._buffer += _INT64.pack(value)

    def boolean(self, value: bool) -> None:
        """One byte."""
        self._buffer.append(1 if value else 0)

    def string(self, text: str | None) -> None:
        """Text in UTF-8 after its length of 16 bits, or null."""
        if text is None:
            self._buffer += b"\xff\xff"
            return
        data = text.encode()
        self._buffer += _INT16.pack(len(data))
        self._buffer += data

    def bytes_(self, data: Buffer | None) -> None:
        """Bytes after their length of 32 bits, or null."""
        if data is None:
            self.int32(-1)
            return
        self.int32(len(data))
        self._buffer += data

    def uvarint(self, value: int) -> None:
        """An unsigned integer in groups of seven bits, as in flexible versions."""
        while value >= 0x80:
            self._buffer.append((value & 0x7F) | 0x80)
            value >>= 7
        self._buffer.append(value)

    def varint(self, value: int) -> None:
        """A signed integer in zigzag groups of seven bits, as inside records."""
        self.uvarint((value << 1) ^ (value >> 63))

    def pieces(self, pieces: list[Buffer], size: int) -> None:
        """Bytes of `size` in all, in several pieces that are kept by reference, after their length."""
        self.int32(size)
        self._flush()
        self._chunks += pieces
        self._size += size

    def chunks(self) -> list[Buffer]:
        """All that was written, in order."""
        self._flush()
        return self._chunks

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size + len(self._buffer)

    def join(self) -> bytes:
        """All that was written, in one piece."""
        return b"".join(self.chunks())

    def _flush(self) -> None:
        if self._buffer:
            self._chunks.append(self._buffer)
            self._size += len(self._buffer)
            self._buffer = bytearray()


def frame(correlation_id: int, body: Writer) -> list[Buffer]:
    """A response with its size and header (version 0), in pieces to be written one after another."""
    head = _INT32.pack(_INT32.size + body.size) + _INT32.pack(correlation_id)
    return [head, *body.chunks()]


class FrameBuffer:
    """Cuts a stream of bytes into frames, each after its length of 32 bits.

    Args:
        max_frame_bytes: the longest frame taken; what a peer can make us hold is bounded by it.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._held: list[Buffer] = []
        self._held_bytes = 0
        self._needed_bytes = _LENGTH_BYTES

    def feed(self, data: Buffer) -> Iterator[memoryview]:
        """The frames that `data` completes, without their lengths.

        Raises:
            WireError: a length below zero or above the limit; the stream cannot be read on.
        """
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes < self._needed_bytes:
            return
        view = memoryview(data if len(self._held) == 1 else b"".join(self._held))
        self._held = []
        self._held_bytes = 0
        at = 0
        while len(view) - at >= _LENGTH_BYTES:
            size = self._length(view, at)
            end = at + _LENGTH_BYTES + size
            if end > len(view):
                self._hold(view[at:], _LENGTH_BYTES + size)
                return
            yield view[at + _LENGTH_BYTES : end]
            at = end
        self._hold(view[at:], _LENGTH_BYTES)

    def _length(self, view: memoryview, at: int) -> int:
        size: int = _INT32.unpack_from(view, at)[0]
        if size < 0:
            raise WireError(f"frame length must be >= 0, was {size}")
        if size > self._max_frame_bytes:
            raise WireError(
                f"frame must be at most {self._max_frame_bytes} bytes, was {size}", "frame_too_large"
            )
        return size

    def _hold(self, rest: memoryview, needed_bytes: int) -> None:
        self._needed_bytes = needed_bytes
        if len(rest):
            self._held = [rest]
            self._held_bytes = len(rest)
