"""Columns of a campaign sheet: how each is read into a `Campaign`, and written from one.

A cell is text in CSV; in TOML and JSON it may also be a whole number, a date, a list or a list of tables. Money
is decimal text in currency units and never passes through a float.
"""

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from bidder.core.campaigns import Campaign, Creative, Goal, Pacing, Rule, Status
from bidder.money import MICROS_PER_UNIT, NANOS_PER_UNIT, format_decimal, parse_decimal

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
_CURRENCY = re.compile(r"[A-Z]{3}")
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)", re.IGNORECASE
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_CREATIVE_FIELDS = ("id", "w", "h", "image_url", "landing_url", "attr")
_DIMENSIONS = ("geo", "exchange", "domain", "segment", "hour")
_Member = TypeVar("_Member", Status, Goal, Pacing)


class Column(NamedTuple):
    """One column.

    Attributes:
        name: header, lower case with underscores.
        read: makes the value of a cell; raises ValueError saying what must be and what was.
        write: text, a list of texts, or tables for the creatives.
        required: whether a row without it is wrong.
    """

    name: str
    read: Callable[[Any], Any]
    write: Callable[[Campaign], Any]
    required: bool = False


def _text(cell: object) -> str:
    """A cell as text; a float is refused, since it cannot hold money or an id exactly."""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, dt.datetime):
        return cell.isoformat()
    raise ValueError(f'must be text such as "8.50" in quotes, was {cell!r}')


def _items(cell: object) -> list[str]:
    """A cell as a list: of text between `;` marks, or a list as it is."""
    if isinstance(cell, list):
        items = [_text(item) for item in cell]
    else:
        items = [_plain(piece.strip()) for piece in split(_text(cell), ";")]
    return [item for item in items if item]


def split(text: str, mark: str) -> list[str]:
    r"""Parts of a text between marks; a `\` before a mark makes it part of the text, and is kept."""
    parts = [""]
    escaped = False
    for character in text:
        if character == mark and not escaped:
            parts.append("")
            continue
        parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def escape(text: str) -> str:
    r"""A text as a part between `;` and `|` marks."""
    return re.sub(r"([\\;|])", r"\\\1", text)


def _plain(piece: str) -> str:
    return re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL)


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[object], str]:
    def read(cell: object) -> str:
        text = _text(cell)
        if not pattern.fullmatch(text):
            raise ValueError(f"must be {what}, was {text[:80]!r}")
        return text

    return read


def _name(cell: object) -> str:
    text = _text(cell)
    if not 1 <= len(text) <= 120:
        raise ValueError(f"must have 1 to 120 characters, was {len(text)} long")
    return text


def _money(scale: int) -> Callable[[object], int]:
    def read(cell: object) -> int:
        text = _text(cell)
        amount = parse_decimal(text, scale)
        if amount <= 0:
            raise ValueError(f"must be > 0, was {text}")
        return amount

    return read


def _member(kind: type[_Member]) -> Callable[[object], _Member]:
    def read(cell: object) -> _Member:
        text = _text(cell)
        try:
            return kind(text.lower())
        except ValueError:
            raise ValueError(f"must be {' or '.join(kind)}, was {text[:80]!r}") from None

    return read


def parse_instant(cell: object) -> int:
    """Nanoseconds since the epoch of an ISO 8601 date and time with its zone, from 1970 to 2200.

    Raises:
        ValueError: if it is not one, or has no zone.
    """
    text = _text(cell)
    moment = _moment(text)
    if moment is None:
        raise ValueError(f"must be a date, time and zone such as 2026-05-01T00:00:00Z, was {text[:80]!r}")
    whole, fraction_ns = moment
    since = whole - _EPOCH
    if not 0 <= since.days < 84_000:
        raise ValueError(f"must be from 1970 to 2199, was {text[:80]!r}")
    return (since.days * 86_400 + since.seconds) * NANOS_PER_UNIT + fraction_ns


def _moment(text: str) -> tuple[dt.datetime, int] | None:
    """Whole seconds, and the nanoseconds beyond, which `datetime` cannot hold."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    try:
        whole = dt.datetime.fromisoformat(match[1] + match[3].upper())
    except ValueError:
        return None
    return whole, int((match[2] or "").ljust(9, "0"))


def format_instant(at_ns: int) -> str:
    """ISO 8601 text in UTC, exact to the nanosecond."""
    seconds, fraction = divmod(at_ns, NANOS_PER_UNIT)
    text = (_EPOCH + dt.timedelta(seconds=seconds)).replace(tzinfo=None).isoformat(timespec="seconds")
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{text}{tail}Z"


def _domains(cell: object) -> tuple[str, ...]:
    domains = tuple(item.lower() for item in _items(cell))
    for domain in domains:
        if not _DOMAIN.fullmatch(domain):
            raise ValueError(f"must be domains such as shop.example, was {domain[:80]!r}")
    return domains


def _upper(cell: object) -> tuple[str, ...]:
    return tuple(item.upper() for item in _items(cell))


def _lower(cell: object) -> tuple[str, ...]:
    return tuple(item.lower() for item in _items(cell))


def _as_is(cell: object) -> tuple[str, ...]:
    return tuple(_items(cell))


def _hours(cell: object) -> tuple[str, ...]:
    return tuple(str(_number(item, 0, 167, "hours of the week")) for item in _items(cell))


def _number(text: str, low: int, high: int, what: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not low <= int(text) <= high:
        raise ValueError(f"must be {what} from {low} to {high}, was {text[:80]!r}")
    return int(text)


def _creatives(cell: object) -> tuple[Creative, ...]:
    if isinstance(cell, list):
        creatives = tuple(_creative(_fields_of_table(table)) for table in cell)
    else:
        pieces = [piece.strip() for piece in split(_text(cell), ";")]
        creatives = tuple(_creative(_fields_of_text(piece)) for piece in pieces if piece)
    ids = [creative.id for creative in creatives]
    for creative_id in ids:
        if ids.count(creative_id) > 1:
            raise ValueError(
                f"must have ids of their own, was {creative_id!r} {ids.count(creative_id)} times"
            )
    if not creatives:
        raise ValueError("must hold at least one creative, was empty")
    return creatives


def _fields_of_text(piece: str) -> dict[str, object]:
    parts = [_plain(part.strip()) for part in split(piece, "|")]
    if not 5 <= len(parts) <= 6:
        raise ValueError(f"must be id|w|h|image_url|landing_url, with |attr if any, was {piece[:80]!r}")
    fields: dict[str, object] = dict(zip(_CREATIVE_FIELDS, parts, strict=False))
    fields["attr"] = str(fields.get("attr", "")).split()
    return fields


def _fields_of_table(table: object) -> dict[str, object]:
    fields = table if isinstance(table, dict) else {}
    missing = set(_CREATIVE_FIELDS[:-1]) - set(fields)
    unknown = set(fields) - set(_CREATIVE_FIELDS)
    if missing or unknown:
        wrong = ", ".join(sorted(map(str, missing or unknown)))
        raise ValueError(
            f"must be tables of {', '.join(_CREATIVE_FIELDS)}, was {'without' if missing else 'with'} {wrong}"
        )
    return fields


def _creative(fields: dict[str, object]) -> Creative:
    creative_id = _text(fields["id"])
    if not _IDENTIFIER.fullmatch(creative_id):
        raise ValueError(f"must have ids of 1 to 64 letters, digits or ._:-, was {creative_id[:80]!r}")
    try:
        return Creative(
            id=creative_id,
            w=_number(_text(fields["w"]), 1, 10_000, "pixels"),
            h=_number(_text(fields["h"]), 1, 10_000, "pixels"),
            image_url=_url(_text(fields["image_url"])),
            landing_url=_url(_text(fields["landing_url"])),
            attr=tuple(_number(item, 1, 10_000, "attributes") for item in _items(fields.get("attr", []))),
        )
    except ValueError as error:
        raise ValueError(f"{error}, in creative {creative_id}") from None


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"\s", text)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"must be a URL such as https://cdn.example/banner.png, was {text[:80]!r}")
    return text


def _write_creatives(campaign: Campaign) -> list[dict[str, object]]:
    return [
        {
            "id": creative.id,
            "w": creative.w,
            "h": creative.h,
            "image_url": creative.image_url,
            "landing_url": creative.landing_url,
            "attr": list(creative.attr),
        }
        for creative in campaign.creatives
    ]


def creatives_text(tables: Sequence[dict[str, Any]]) -> str:
    """Creatives as one cell of text."""
    lines = []
    for table in tables:
        parts = [escape(str(table[field])) for field in _CREATIVE_FIELDS[:-1]]
        if table["attr"]:
            parts.append(" ".join(map(str, table["attr"])))
        lines.append("|".join(parts))
    return ";".join(lines)


def _rules(dimension: str, read: Callable[[object], tuple[str, ...]]) -> tuple[Column, Column]:
    def rule(campaign: Campaign) -> Rule:
        found: Rule = getattr(campaign.targeting, dimension)
        return found

    return (
        Column(dimension, read, lambda campaign: list(rule(campaign).include)),
        Column(f"exclude_{dimension}", read, lambda campaign: list(rule(campaign).exclude)),
    )


_identifier = _matching(_IDENTIFIER, "1 to 64 letters, digits or ._:-")

COLUMNS = (
    Column("id", _identifier, lambda campaign: campaign.id, required=True),
    Column("name", _name, lambda campaign: campaign.name, required=True),
    Column("advertiser", _identifier, lambda campaign: campaign.advertiser, required=True),
    Column("adomain", _domains, lambda campaign: list(campaign.adomain), required=True),
    Column("cat", _as_is, lambda campaign: list(campaign.cat)),
    Column("status", _member(Status), lambda campaign: campaign.status.value),
    Column(
        "currency", _matching(_CURRENCY, "three capitals such as USD"), lambda campaign: campaign.currency
    ),
    Column(
        "budget",
        _money(NANOS_PER_UNIT),
        lambda campaign: format_decimal(campaign.budget_nanos, NANOS_PER_UNIT),
        required=True,
    ),
    Column("start", parse_instant, lambda campaign: format_instant(campaign.start_ns), required=True),
    Column("end", parse_instant, lambda campaign: format_instant(campaign.end_ns), required=True),
    Column("goal", _member(Goal), lambda campaign: campaign.goal.value),
    Column(
        "value",
        _money(NANOS_PER_UNIT),
        lambda campaign: format_decimal(campaign.value_nanos, NANOS_PER_UNIT),
        required=True,
    ),
    Column(
        "max_bid_cpm",
        _money(MICROS_PER_UNIT),
        lambda campaign: format_decimal(campaign.max_bid_cpm_micros, MICROS_PER_UNIT),
        required=True,
    ),
    Column("pacing", _member(Pacing), lambda campaign: campaign.pacing.value),
    *_rules("geo", _upper),
    *_rules("exchange", _as_is),
    *_rules("domain", _lower),
    *_rules("segment", _as_is),
    *_rules("hour", _hours),
    Column("creatives", _creatives, _write_creatives, required=True),
)
"""All columns, in the order in which they are written."""

FIELDS = {"budget": "budget_nanos", "start": "start_ns", "end": "end_ns", "value": "value_nanos"} | {
    "max_bid_cpm": "max_bid_cpm_micros"
}
"""Fields of `Campaign` whose columns have another name."""

DIMENSIONS = _DIMENSIONS
"""Fields of `Targeting`, each with a column to include and one to exclude."""
