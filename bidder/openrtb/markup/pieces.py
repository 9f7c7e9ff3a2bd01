"""Text with holes: what a template says, in pieces, and between them the slots that each bid fills.

A slot is no character that stands for it, so no text of an advertiser can be taken for one, and each piece is
escaped by itself, once for every language that it is written in (HTML in JSON, XML in JSON, JSON in JSON).
"""

import json
from collections.abc import Callable, Iterable
from enum import Enum

_NUL = "\0"
TOKEN = _NUL
"""Stands in a URL where the token goes; no URL that we take holds it."""


class Slot(Enum):
    """What a bid fills in: two tokens by who may read them, and its own id."""

    EXCHANGE_TOKEN = 1
    BROWSER_TOKEN = 2
    BID_ID = 3


Pieces = tuple[str | Slot, ...]


def url_pieces(url: str, slot: Slot = Slot.BROWSER_TOKEN) -> Pieces:
    """A URL with `slot` in every place of `TOKEN`."""
    return spliced(url.split(TOKEN), (slot,))


def spliced(parts: Iterable[str], between: Pieces) -> Pieces:
    """`parts` with `between` in every gap."""
    pieces: list[str | Slot] = []
    for number, part in enumerate(parts):
        if number:
            pieces.extend(between)
        pieces.append(part)
    return tuple(pieces)


def escaped(pieces: Pieces, escape: Callable[[str], str]) -> Pieces:
    """Every text of `pieces` through `escape`, which must work character by character; slots stay."""
    return tuple(piece if isinstance(piece, Slot) else escape(piece) for piece in pieces)


def json_pieces(pieces: Pieces) -> Pieces:
    """`pieces` as one JSON string with its quotes; what fills the slots must need no escape."""
    return ('"', *escaped(pieces, _json_inside), '"')


def _json_inside(text: str) -> str:
    return ascii_json(text)[1:-1]


def ascii_json(value: object) -> str:
    """`value` as compact JSON of ASCII alone: a response is then one byte a character and encoded by a copy."""
    return json.dumps(value, separators=(",", ":"))


def cut(pieces: Pieces, slot: Slot) -> list[Pieces]:
    """`pieces` cut at every `slot`, which is left out."""
    parts: list[list[str | Slot]] = [[]]
    for piece in pieces:
        if piece is slot:
            parts.append([])
        else:
            parts[-1].append(piece)
    return [tuple(part) for part in parts]


def texts(parts: Iterable[Pieces]) -> list[str]:
    """Each of `parts` as one text.

    Raises:
        AssertionError: if one holds a slot.
    """
    made = []
    for part in parts:
        assert not any(isinstance(piece, Slot) for piece in part), f"slots must be cut out, were in {part}"
        made.append("".join(piece for piece in part if isinstance(piece, str)))
    return made
