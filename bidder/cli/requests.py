"""Bid requests as commands are given them: marks at their begin, ids of what the engine refused, many in one file."""

import codecs

import msgspec

_NUMBER = b"-0123456789"


class _Named(msgspec.Struct, gc=False):
    """What is read of a request whose other fields may be of any kind."""

    id: msgspec.Raw = msgspec.Raw(b"")


_named = msgspec.json.Decoder(_Named)


def unmarked(data: bytes) -> bytes:
    """Bytes of a file without the byte order mark that some editors put before UTF-8."""
    return data.removeprefix(codecs.BOM_UTF8)


def request_id_of(body: bytes) -> str:
    """The id of a JSON object, as far as it is text or a number; empty where there is none to be read."""
    try:
        raw = bytes(_named.decode(body).id)
        return raw.decode() if raw[:1] in _NUMBER else str(msgspec.json.decode(raw, type=str))
    except (msgspec.DecodeError, RecursionError):
        return ""


def requests_of(data: bytes) -> list[bytes]:
    """Requests of a file: one over all its lines, or one a line. Empty lines are passed over."""
    data = unmarked(data)
    lines = [line for line in data.splitlines() if line.strip()]
    # Where no line is an object, the lines are parts of a request that could not be read: it is told once.
    return lines if not _is_object(data) and any(map(_is_object, lines)) else [data] * bool(lines)


def _is_object(text: bytes) -> bool:
    try:
        _named.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
