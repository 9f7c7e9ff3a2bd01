r"""The cell of creatives: tables of their fields, or text.

In text, creatives stand between `;` marks. A banner of an image may be written by place, as
`id|w|h|image_url|landing_url|attr attr`; any other as `key=value` between `|` marks, in any order, with a space
between the values of a list: `id=v1|media=video|mime=video/mp4|api=7 8|approvals=alpha:approved` and so on, or
`id=n1|media=native|native.title=Shoes|landing_url=https://shop.example/`.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bidder.core.campaigns import Approval, Creative, Media, Native, Status
from bidder.store.columns_cells import (
    DOMAINS,
    IDENTIFIER,
    TEXTS,
    URL,
    Kind,
    WrongParts,
    escape,
    items_of,
    matching,
    member,
    plain,
    split,
    strip,
    text_of,
    text_up_to,
    whole,
)
from bidder.store.columns_targeting import LANGUAGE

_PLACED = ("id", "w", "h", "image_url", "landing_url", "attr")
_KEY = re.compile(r"\s*[A-Za-z][A-Za-z_. ]*=")
_MIME = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


_Read = Callable[[Any], Any]


class _WrongFields(ValueError):
    """What is wrong with fields of a creative: messages, each with its field; empty where there is no such field."""

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(message for message, _ in found))
        self.found = tuple(found)


def _number(low: int, high: int, what: str) -> _Read:
    return lambda cell: whole(text_of(cell), low, high, what)


def _numbers(what: str) -> _Read:
    return lambda cell: tuple(whole(item, 1, 1_000, what) for item in items_of(cell))


def _boolean(cell: object) -> bool:
    if isinstance(cell, bool):
        return cell
    text = text_of(cell)
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"must be true or false, was {text[:80]!r}")
    return _BOOLEANS[text.lower()]


def _markup(cell: object) -> str:
    """Markup as it is, spaces at its ends too."""
    return cell if isinstance(cell, str) else text_of(cell)


def _mime(cell: object) -> str:
    return str(matching(_MIME, "a type such as video/mp4").read(text_of(cell).lower()))


def _approvals(cell: object) -> dict[str, Approval]:
    """Approvals by exchange: a table, or texts such as `alpha:approved`."""
    if isinstance(cell, Mapping):
        pairs = [(str(name).strip(), state) for name, state in cell.items()]
    else:
        pairs = [
            (name.strip(), state) for name, _, state in (item.rpartition(":") for item in items_of(cell))
        ]
    states = {name: member(Approval).read(state) for name, state in pairs}
    if "" in states or len(states) < len(pairs) or any(len(name) > 120 for name in states):
        raise ValueError(f"must name each exchange once, in 1 to 120 characters, was {cell!r:.80}")
    return states


def _native(cell: object) -> Native:
    table = cell if isinstance(cell, Mapping) else None
    if table is None:
        raise ValueError(f"must be a table of {', '.join(_NATIVE)}, was {cell!r:.80}")
    return Native(**_read_fields(table, _NATIVE))


_PIXELS = _number(1, 10_000, "pixels")
_TEXT = text_up_to(2_000).read
_NATIVE: dict[str, _Read] = {
    **dict.fromkeys(("title", "text", "sponsored", "cta"), _TEXT),
    **dict.fromkeys(("icon_url", "image_url"), URL.read),
    **dict.fromkeys(("icon_w", "icon_h", "image_w", "image_h"), _PIXELS),
}
_CREATIVE: dict[str, _Read] = {
    "id": IDENTIFIER.read,
    "media": member(Media).read,
    "w": _PIXELS,
    "h": _PIXELS,
    "flex": _boolean,
    "image_url": URL.read,
    "html": _markup,
    "btype": _number(1, 4, "a banner type"),
    "media_url": URL.read,
    "mime": _mime,
    "duration_s": _number(1, 3_600, "seconds"),
    "bitrate_kbps": _number(1, 1_000_000, "kilobits a second"),
    "protocols": _numbers("protocols"),
    "linearity": _number(1, 2, "a linearity"),
    "delivery": _number(1, 3, "a delivery method"),
    "api": _numbers("frameworks"),
    "native": _native,
    "landing_url": URL.read,
    "attr": _numbers("attributes"),
    "adomain": DOMAINS.read,
    "cat": TEXTS.read,
    "bundle": text_up_to(200).read,
    "language": LANGUAGE.read,
    "status": member(Status).read,
    "approvals": _approvals,
}
"""How each field of a creative is read; all of `Creative` are here."""
_SPACE = "\\ "
_LISTS = frozenset({"attr", "api", "protocols", "adomain", "cat", "approvals"})
_KEYS = (*(name for name in _CREATIVE if name != "native"), *(f"native.{name}" for name in _NATIVE))


_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Creative)}
"""What each field is where nothing is said; those without a default must be said."""


def _read_fields(table: Mapping[Any, Any], readers: Mapping[str, _Read]) -> dict[str, Any]:
    """Values of a table's fields that are not blank.

    Raises:
        _WrongFields: if any are unknown or wrong; each is named.
    """
    values: dict[str, Any] = {}
    wrong: list[tuple[str, str]] = []
    for name, cell in table.items():
        if name not in readers:
            wrong.append((_unknown(str(name), _KEYS if "." in str(name) else tuple(readers)), ""))
            continue
        if _is_blank(cell):
            continue
        try:
            values[name] = readers[name](cell)
        except _WrongFields as error:
            wrong += [(said, f"{name}.{within}" if within else str(name)) for said, within in error.found]
        except ValueError as error:
            wrong.append((str(error), str(name)))
    if wrong:
        raise _WrongFields(wrong)
    return values


def _is_blank(cell: object) -> bool:
    return cell is None or cell in ("", [], {})


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"nearest is {near[0]}" if near else f"allowed are {', '.join(known)}"
    return f"must have fields of a creative, was {name[:80]!r}; {hint}"


def _creative(fields: Mapping[Any, Any]) -> Creative:
    missing = [name for name in ("id", "landing_url") if _is_blank(fields.get(name))]
    if missing:
        raise ValueError(f"must have an id and a landing_url each, was without {' and '.join(missing)}")
    creative_id = fields["id"]
    try:
        IDENTIFIER.read(creative_id)
    except ValueError:
        raise ValueError(
            f"must have ids of 1 to 64 letters, digits or ._:-, was {str(creative_id)[:80]!r}"
        ) from None
    try:
        values = _read_fields(fields, _CREATIVE)
    except _WrongFields as error:
        raise WrongParts(
            f"{said}, in creative {creative_id}" + (f", field {field}" if field else "")
            for said, field in error.found
        ) from None
    try:
        return Creative(**values)
    except ValueError as error:
        raise ValueError(f"must be whole: {error}") from None


def _creatives(cell: object) -> tuple[Creative, ...]:
    pieces: list[Any] = []
    if isinstance(cell, list):
        pieces += cell
    else:
        stripped = (strip(piece) for piece in split(cell if isinstance(cell, str) else text_of(cell), ";"))
        pieces += (piece for piece in stripped if piece)
    creatives: list[Creative] = []
    wrong: list[str] = []
    for piece in pieces:
        try:
            creatives.append(_creative(_table(piece) if isinstance(cell, list) else _fields_of_text(piece)))
        except WrongParts as error:
            wrong += error.messages
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise WrongParts(wrong)
    seen: set[str] = set()
    for creative in creatives:
        if creative.id in seen:
            times = sum(other.id == creative.id for other in creatives)
            raise ValueError(f"must have ids of their own, was {creative.id!r} {times} times")
        seen.add(creative.id)
    if not creatives:
        raise ValueError("must hold at least one creative, was empty")
    return tuple(creatives)


def _table(cell: object) -> Mapping[Any, Any]:
    table = cell if isinstance(cell, Mapping) else None
    if table is None:
        raise ValueError(f"must be tables of {', '.join(_CREATIVE)}, was {cell!r:.80}")
    return table


def _fields_of_text(piece: str) -> dict[str, Any]:
    parts = split(piece, "|")
    if _KEY.match(piece):
        return _fields_of_keys(parts)
    if not 5 <= len(parts) <= 6:
        raise ValueError(
            f"must be id|w|h|image_url|landing_url, with |attr if any, or key=value|..., was {piece[:80]!r}"
        )
    fields: dict[str, Any] = dict(zip(_PLACED, (plain(strip(part)) for part in parts), strict=False))
    for name in ("w", "h", "image_url"):
        # By place a blank is one that was forgotten, so it is told as what it is.
        fields[name] = fields[name] or " "
    fields["attr"] = str(fields.get("attr", "")).split()
    return fields


def _fields_of_keys(parts: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    native: dict[str, Any] = {}
    for part in parts:
        key, equals, raw = strip(part).partition("=")
        name = re.sub(r"[\s-]+", "_", key.strip().lower())
        if not equals:
            raise ValueError(f"must be key=value between | marks, was {part[:80]!r}")
        of, within = fields, name
        if name in _KEYS and name.startswith("native."):
            of, within = native, name.removeprefix("native.")
        if within in of:
            raise ValueError(f"must have each field once, was {name} twice")
        of[within] = _list_of(raw) if name in _LISTS else plain(strip(raw))
    return fields | {"native": native} if native else fields


def _list_of(raw: str) -> list[str]:
    """Values between spaces; a space within a value has a backslash before it."""
    return [plain(item) for item in split(strip(raw), " ") if item]


def _to_table(creative: Creative) -> dict[str, Any]:
    """All that a creative says, as a table; what it leaves at its default is left out."""
    table: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(creative, name)
        if value not in (default, {}):
            table[name] = _to_plain(value)
    return table


def _to_plain(value: Any) -> Any:
    if isinstance(value, Native):
        assets = {name: getattr(value, name) for name in _NATIVE}
        return {name: asset for name, asset in assets.items() if asset}
    built = msgspec.to_builtins(value)
    return list(built) if isinstance(built, tuple) else built


def creatives_text(tables: Sequence[Mapping[str, Any]]) -> str:
    """Creatives as one cell of text."""
    return ";".join(map(creative_text, tables))


def creative_text(table: Mapping[str, Any]) -> str:
    """One creative as text: by place where it says no more than an image banner does."""
    if set(_PLACED[:-1]) <= set(table) <= set(_PLACED):
        parts = [escape(str(table[field])) for field in _PLACED[:-1]]
        if "attr" in table:
            parts.append(" ".join(map(str, table["attr"])))
        return "|".join(parts)
    pairs: list[str] = []
    for name, value in table.items():
        if name == "native":
            pairs += [f"native.{within}={_escape_ends(str(own))}" for within, own in value.items()]
        elif name == "approvals":
            pairs.append(_list_text(name, [f"{exchange}:{state}" for exchange, state in value.items()]))
        elif isinstance(value, list):
            pairs.append(_list_text(name, map(str, value)))
        else:
            pairs.append(f"{name}={_escape_ends(str(value))}")
    return "|".join(pairs)


def _list_text(name: str, values: Iterable[str]) -> str:
    return f"{name}={' '.join(escape(value).replace(' ', _SPACE) for value in values)}"


def _escape_ends(text: str) -> str:
    """A text whose spaces at its ends are not cut off when it is read."""
    escaped = escape(text)
    if text[-1:].isspace():
        escaped = f"{escaped[:-1]}\\{escaped[-1]}"
    return f"\\{escaped}" if text[:1].isspace() and len(text) > 1 else escaped


CREATIVES = Kind(_creatives, lambda creatives: [_to_table(creative) for creative in creatives])
