"""The input journal of a worker: what went into the engine and when, for a replay to make the outputs again.

An append-only binary file of frames, all numbers little endian:

    frame     u32 length of the payload | u8 kind | u64 xxh3_64 of payload | u16 check of these three | payload
    HEADER    JSON object: `journal` (version of this layout) and what the writer was given
    DECIDE    i64 now_ns | u32 n | n x u32 length of a body | n x i64 age_ns | the bodies, one after another
    CONTROL   i64 now_ns | u32 n | n x (u16 length of the name, u32 length of the value) | names and values
    TICK      i64 now_ns
    OUTPUT    16 bytes: digest of what the engine answered to the input before it
    ADOPT     i64 now_ns | u64 n: the table of the campaigns as they were after the first n CONTROL frames
    MODEL     i64 now_ns | hash of the bundle that decides from here on, as text
    LANDSCAPE i64 now_ns | sha256 of the landscape that prices from here on, as text

A table is made beside the loop and takes up to a second, so the frame that adopts it stands where it was adopted,
and names the last change that it knows of.

A crash can tear the last frame only, and a reader stops cleanly there. A frame that is wrong anywhere else is
damage: the replay of a journal with a hole would be a replay of something that never happened. The check of
the head tells the two apart: without it a damaged length would look like a torn end.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import orjson
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from bidder.errors import InputError

FORMAT_VERSION = 2
DIGEST_BYTES = 16

_HEADER, _DECIDE, _CONTROL, _TICK, _OUTPUT, _ADOPT, _MODEL, _LANDSCAPE = range(1, 9)
_HEAD = struct.Struct("<IBQ")
_CHECK = struct.Struct("<H")
_FRAME = struct.Struct("<IBQH")
_NOW = struct.Struct("<q")
_NOW_COUNT = struct.Struct("<qI")
_NOW_CONTROLS = struct.Struct("<qQ")
_FIRST_HEAD, _FIRST_FRAME = struct.Struct("<IBI"), struct.Struct("<IBIH")
"""Frames of version 1, whose checks were crc32: read only to tell what a file is."""
_ITEM = struct.Struct("<HI")
_BUFFER_BYTES = 1 << 20


class Decide(NamedTuple):
    """A batch of request bodies as they came, with the age of each when it was decided."""

    now_ns: int
    bodies: tuple[bytes, ...]
    ages_ns: tuple[int, ...]


class Control(NamedTuple):
    """Messages that change what the worker knows: (topic or kind, value), in the order they were applied."""

    now_ns: int
    items: tuple[tuple[str, bytes], ...]


class Tick(NamedTuple):
    """One tick of the engine."""

    now_ns: int


class Output(NamedTuple):
    """What the engine answered to the entry before, as a digest; see `output_digest`."""

    digest: bytes


class Adopt(NamedTuple):
    """The table of the campaigns as they were after the first `controls` control entries took its place."""

    now_ns: int
    controls: int


class ModelChange(NamedTuple):
    """Another bundle decides from here on; `hash` names it."""

    now_ns: int
    hash: str


class LandscapeChange(NamedTuple):
    """Another landscape prices from here on; `hash` names it."""

    now_ns: int
    hash: str


Entry = Decide | Control | Tick | Output | Adopt | ModelChange | LandscapeChange


def output_digest(outputs: Sequence[bytes]) -> bytes:
    """16 bytes that differ when any byte of `outputs`, their order or where one ends differs (XXH3, 128 bits).

    It finds what differs by accident. Who wants to forge a journal must be kept from it by other means: no digest in
    it is secret.
    """
    return xxh3_128_digest(struct.pack(f"<{len(outputs)}I", *map(len, outputs)) + b"".join(outputs))


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class JournalWriter:
    """Appends entries to a new file; buffered, so call `flush` where a reader must see them.

    Bodies say things of people, so only the file's owner may read it.

    Args:
        path: of the file, which must not be there yet.
        meta: what a replay must match or know: versions of libraries, CPU family, settings, model hash. It
            must be fit for JSON; bytes go in as text.

    Raises:
        InputError: the file is already there or cannot be made.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        header = orjson.dumps(
            {**meta, "journal": FORMAT_VERSION}, option=orjson.OPT_SORT_KEYS, default=_as_text
        )
        try:
            self._file = open(path, "xb", buffering=_BUFFER_BYTES, opener=_for_its_owner)  # noqa: SIM115
        except FileExistsError:
            raise InputError(f"journal {path} must not exist yet; move it away or name another") from None
        except OSError as error:
            raise InputError(f"journal {path} cannot be made: {error.strerror}") from error
        self._write(_HEADER, header)
        self.flush()

    def decide(self, now_ns: int, bodies: Sequence[bytes], ages_ns: Sequence[int]) -> None:
        """Notes a batch that is decided at `now_ns`; as many ages as bodies."""
        count = len(bodies)
        assert count == len(ages_ns), f"{count} bodies but {len(ages_ns)} ages"
        head = struct.pack(f"<qI{count}I{count}q", now_ns, count, *map(len, bodies), *ages_ns)
        self._write(_DECIDE, b"".join((head, *bodies)))

    def control(self, now_ns: int, items: Sequence[tuple[str, bytes]]) -> None:
        """Notes messages applied at `now_ns`: (topic or kind, value) of each."""
        parts = [_NOW_COUNT.pack(now_ns, len(items))]
        tail: list[bytes] = []
        for name, value in items:
            encoded = name.encode()
            parts.append(_ITEM.pack(len(encoded), len(value)))
            tail += (encoded, value)
        self._write(_CONTROL, b"".join((*parts, *tail)))

    def tick(self, now_ns: int) -> None:
        """Notes a tick at `now_ns`."""
        self._write(_TICK, _NOW.pack(now_ns))

    def output(self, digest: bytes) -> None:
        """Notes what came of the input before; `digest` is by `output_digest`."""
        assert len(digest) == DIGEST_BYTES, f"a digest has {DIGEST_BYTES} bytes, was {len(digest)}"
        self._write(_OUTPUT, digest)

    def adopt(self, now_ns: int, controls: int) -> None:
        """Notes that a table was adopted: of the campaigns as they were after `controls` control entries."""
        self._write(_ADOPT, _NOW_CONTROLS.pack(now_ns, controls))

    def model(self, now_ns: int, bundle_hash: str) -> None:
        """Notes that another bundle was adopted."""
        self._write(_MODEL, _NOW.pack(now_ns) + bundle_hash.encode())

    def landscape(self, now_ns: int, sha256: str) -> None:
        """Notes that another landscape was adopted."""
        self._write(_LANDSCAPE, _NOW.pack(now_ns) + sha256.encode())

    def flush(self) -> None:
        """Hands what is buffered to the operating system; a crash of the process then loses nothing."""
        self._file.flush()

    def close(self) -> None:
        """Flushes and closes; may be called again."""
        self._file.close()

    def __enter__(self) -> Self:
        """The writer itself; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes."""
        self.close()

    def _write(self, kind: int, payload: bytes) -> None:
        head = _HEAD.pack(len(payload), kind, xxh3_64_intdigest(payload))
        self._file.write(head + _CHECK.pack(zlib.crc32(head) & 0xFFFF))
        self._file.write(payload)


class Journal:
    """A journal that is being read: iterate it once for its entries.

    Attributes:
        meta: what the writer was given, and `journal`, the version of the layout.
        truncated: whether the file ended inside a frame; known once the iteration is over.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._offset = 0
        self.truncated = False
        self.meta = self._read_meta()

    @property
    def bytes_read(self) -> int:
        """Where the next entry begins, for who shows progress."""
        return self._offset

    def __iter__(self) -> Iterator[Entry]:
        """Entries as they were written; raises `InputError` with the offset where one is damaged."""
        with self._file:
            while (frame := self._next_frame()) is not None:
                offset, kind, payload = frame
                yield self._decode(offset, kind, payload)

    def close(self) -> None:
        """Closes the file; only for who does not read to the end."""
        self._file.close()

    def _read_meta(self) -> dict[str, Any]:
        self._refuse_first_version()
        frame = self._next_frame()
        if frame is None or frame[1] != _HEADER:
            raise InputError(f"{self._path} is no journal: it must begin with a whole header")
        meta: dict[str, Any] = orjson.loads(frame[2])
        version = meta.get("journal")
        if version != FORMAT_VERSION:
            raise InputError(f"version of journal {self._path} must be {FORMAT_VERSION}, was {version}")
        return meta

    def _refuse_first_version(self) -> None:
        """Names what version 1 wrote: what its engine answered, this one would not answer again."""
        start = self._file.read(_FIRST_FRAME.size)
        self._file.seek(0)
        if len(start) < _FIRST_FRAME.size:
            return
        _, kind, _, check = _FIRST_FRAME.unpack(start)
        if kind == _HEADER and zlib.crc32(start[: _FIRST_HEAD.size]) & 0xFFFF == check:
            raise InputError(
                f"version of journal {self._path} must be {FORMAT_VERSION}, was 1: replay it with the version of "
                "Clearbid that wrote it"
            )

    def _next_frame(self) -> tuple[int, int, bytes] | None:
        offset = self._offset
        head = self._file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            self.truncated = bool(head)
            return None
        length, kind, sum_, check = _FRAME.unpack(head)
        if zlib.crc32(head[: _HEAD.size]) & 0xFFFF != check:
            raise self._damage(offset, "no head of a frame")
        payload = self._file.read(length)
        if len(payload) < length:
            self.truncated = True
            return None
        if xxh3_64_intdigest(payload) != sum_:
            raise self._damage(offset, "a frame whose checksum does not match")
        self._offset += _FRAME.size + length
        return offset, kind, payload

    def _decode(self, offset: int, kind: int, payload: bytes) -> Entry:
        try:
            return _DECODERS[kind](payload)
        except (KeyError, struct.error, UnicodeDecodeError, ValueError) as error:
            raise self._damage(offset, f"a frame of kind {kind} that cannot be read ({error})") from error

    def _damage(self, offset: int, what: str) -> InputError:
        self._file.close()
        return InputError(f"journal {self._path} is damaged at byte {offset}: {what}")


def read_journal(path: Path) -> Journal:
    """Opens a journal and reads its header.

    Raises:
        InputError: the file is not there, is no journal, or is of another version.
    """
    try:
        file = path.open("rb", buffering=_BUFFER_BYTES)
    except OSError as error:
        raise InputError(f"journal {path} cannot be read: {error.strerror}") from error
    try:
        return Journal(path, file)
    except InputError:
        file.close()
        raise


def _decode_decide(payload: bytes) -> Decide:
    now_ns, count = _NOW_COUNT.unpack_from(payload)
    heads = struct.unpack_from(f"<{count}I{count}q", payload, _NOW_COUNT.size)
    bodies = _split(payload, _NOW_COUNT.size + 12 * count, heads[:count])
    return Decide(now_ns, tuple(bodies), heads[count:])


def _decode_control(payload: bytes) -> Control:
    now_ns, count = _NOW_COUNT.unpack_from(payload)
    start = _NOW_COUNT.size + _ITEM.size * count
    lengths = [length for pair in _ITEM.iter_unpack(payload[_NOW_COUNT.size : start]) for length in pair]
    parts = _split(payload, start, lengths)
    names, values = parts[::2], parts[1::2]
    return Control(now_ns, tuple(zip(map(bytes.decode, names), values, strict=True)))


def _decode_output(payload: bytes) -> Output:
    if len(payload) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes, was {len(payload)}")
    return Output(payload)


def _split(payload: bytes, start: int, lengths: Sequence[int]) -> list[bytes]:
    parts = []
    for length in lengths:
        parts.append(payload[start : start + length])
        start += length
    if start != len(payload):
        raise ValueError(f"parts end at {start} of {len(payload)} bytes")
    return parts


def _decode_tick(payload: bytes) -> Tick:
    return Tick(*_NOW.unpack(payload))


def _decode_adopt(payload: bytes) -> Adopt:
    return Adopt(*_NOW_CONTROLS.unpack(payload))


def _decode_model(payload: bytes) -> ModelChange:
    (now_ns,) = _NOW.unpack_from(payload)
    return ModelChange(now_ns, payload[_NOW.size :].decode())


def _decode_landscape(payload: bytes) -> LandscapeChange:
    return LandscapeChange(*_decode_model(payload))


_DECODERS: dict[int, Callable[[bytes], Entry]] = {
    _DECIDE: _decode_decide,
    _CONTROL: _decode_control,
    _TICK: _decode_tick,
    _OUTPUT: _decode_output,
    _ADOPT: _decode_adopt,
    _MODEL: _decode_model,
    _LANDSCAPE: _decode_landscape,
}


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"cannot be put into the header of a journal: {value!r}")
