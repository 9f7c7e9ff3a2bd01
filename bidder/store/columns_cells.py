r"""Cells of a sheet: text, lists, amounts, times and choices, each read and written exactly.

A cell is text in CSV; in TOML and JSON it may also be a whole number, a date, a list or a table. Money is decimal
text in currency units and never passes through a float. In text, `;` stands between the values of a list and `|`
between the fields of a creative; a `\` before a mark, or before a space that would be cut off, makes it part of
the text.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from bidder.core.campaigns import is_identifier
from bidder.errors import InputError
from bidder.money import MICROS_PER_UNIT, NANOS_PER_UNIT, format_decimal, parse_decimal
from bidder.zones import zone_offsets

_DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
_CURRENCY = re.compile(r"[A-Z]{3}")
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)", re.IGNORECASE
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MAX_COUNT = 10**12
_Member = TypeVar("_Member", bound=StrEnum)


class Kind(NamedTuple):
    """A kind of cell.

    Attributes:
        read: makes the value of a cell that is not blank; raises ValueError saying what must be and what was.
        write: the cell of a value: text, or a list of texts or tables; "" or [] where the value says nothing.
    """

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


class WrongParts(ValueError):
    """Several things that are wrong with one cell; each of `messages` is what a ValueError of one would say."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("; ".join(self.messages))


def text_of(cell: object) -> str:
    """A cell as text; a float is refused, since it cannot hold money or an id exactly."""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, dt.datetime):
        return cell.isoformat()
    raise ValueError(f'must be text such as "8.50" in quotes, was {cell!r}')


def items_of(cell: object) -> list[str]:
    """A cell as a list: of text between `;` marks, or a list as it is."""
    if isinstance(cell, list):
        items = [text_of(item) for item in cell]
    else:
        items = [plain(strip(piece)) for piece in split(text_of(cell), ";")]
    return [item for item in items if item]


def split(text: str, mark: str) -> list[str]:
    r"""Parts of a text between marks; a `\` before a mark makes it part of the text, and is kept."""
    if "\\" not in text:
        return text.split(mark)
    parts = [""]
    escaped = False
    for character in text:
        if character == mark and not escaped:
            parts.append("")
            continue
        parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def strip(piece: str) -> str:
    r"""A piece of text without spaces at its ends; one at the end that has a `\` before it stays."""
    bare = piece.strip()
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return piece.lstrip()[: len(bare) + 1] if backslashes % 2 else bare


def escape(text: str) -> str:
    r"""A text as a part between `;` and `|` marks."""
    return re.sub(r"([\\;|])", r"\\\1", text)


def plain(piece: str) -> str:
    """A part of a text as it was before `escape`."""
    return re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL)


def matching(pattern: re.Pattern[str], what: str) -> Kind:
    """Text of a form; `what` says it in an error."""

    def read(cell: object) -> str:
        text = text_of(cell)
        if not pattern.fullmatch(text):
            raise ValueError(f"must be {what}, was {text[:80]!r}")
        return text

    return Kind(read, str)


def text_up_to(length: int, least: int = 1) -> Kind:
    """Text of a length."""

    def read(cell: object) -> str:
        text = text_of(cell)
        if not least <= len(text) <= length:
            raise ValueError(f"must have {least} to {length} characters, was {len(text)} long")
        return text

    return Kind(read, str)


def member(kind: type[_Member]) -> Kind:
    """One of the values of an enumeration, in any case."""

    def read(cell: object) -> _Member:
        text = text_of(cell)
        try:
            return kind(text.lower())
        except ValueError:
            raise ValueError(f"must be {' or '.join(kind)}, was {text[:80]!r}") from None

    return Kind(read, lambda value: "" if value is None else value.value)


def choice(*names: str) -> Kind:
    """One of a few words, in any case."""

    def read(cell: object) -> str:
        text = text_of(cell)
        if text.lower() not in names:
            raise ValueError(f"must be {' or '.join(names)}, was {text[:80]!r}")
        return text.lower()

    return Kind(read, lambda value: "" if value is None else value)


def money(scale: int) -> Kind:
    """An amount above 0 in `1/scale` of a currency unit; 0 is written as blank."""

    def read(cell: object) -> int:
        text = text_of(cell)
        amount = parse_decimal(text, scale)
        if amount <= 0:
            raise ValueError(f"must be > 0, was {text}")
        return amount

    return Kind(read, lambda amount: format_decimal(amount, scale) if amount else "")


def whole(text: str, low: int, high: int, what: str) -> int:
    """A whole number within bounds.

    Raises:
        ValueError: if it is none, or outside them.
    """
    if not re.fullmatch(r"\d{1,13}", text, re.ASCII) or not low <= int(text) <= high:
        raise ValueError(f"must be {what} from {low} to {high}, was {text[:80]!r}")
    return int(text)


def list_of(read_one: Callable[[str], str]) -> Kind:
    """A list of texts, each made by `read_one`."""
    return Kind(lambda cell: tuple(read_one(item) for item in items_of(cell)), list)


def parse_instant(cell: object) -> int:
    """Nanoseconds since the epoch of an ISO 8601 date and time with its zone, from 1970 to 2200.

    Raises:
        ValueError: if it is not one, or has no zone.
    """
    text = text_of(cell)
    moment = _moment(text)
    if moment is None:
        raise ValueError(f"must be a date, time and zone such as 2026-05-01T00:00:00Z, was {text[:80]!r}")
    whole_s, fraction_ns = moment
    since = whole_s - _EPOCH
    if not 0 <= since.days < 84_000:
        raise ValueError(f"must be from 1970 to 2199, was {text[:80]!r}")
    return (since.days * 86_400 + since.seconds) * NANOS_PER_UNIT + fraction_ns


def _moment(text: str) -> tuple[dt.datetime, int] | None:
    """Whole seconds, and the nanoseconds beyond, which `datetime` cannot hold."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    try:
        whole_s = dt.datetime.fromisoformat(match[1] + match[3].upper())
    except ValueError:
        return None
    return whole_s, int((match[2] or "").ljust(9, "0"))


def format_instant(at_ns: int) -> str:
    """ISO 8601 text in UTC, exact to the nanosecond."""
    seconds, fraction = divmod(at_ns, NANOS_PER_UNIT)
    text = (_EPOCH + dt.timedelta(seconds=seconds)).replace(tzinfo=None).isoformat(timespec="seconds")
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{text}{tail}Z"


def _identifier(cell: object) -> str:
    text = text_of(cell)
    if not is_identifier(text):
        raise ValueError(f"must be 1 to 64 letters, digits or ._:-, was {text[:80]!r}")
    return text


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text.lower()):
        raise ValueError(f"must be domains such as shop.example, was {text.lower()[:80]!r}")
    return text.lower()


def _url(cell: object) -> str:
    text = text_of(cell)
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"\s", text)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"must be a URL such as https://cdn.example/banner.png, was {text[:80]!r}")
    return text


def _zone(cell: object) -> str:
    text = text_of(cell)
    try:
        zone_offsets(text, 0, 0)
    except InputError as error:
        raise ValueError(str(error).removeprefix("time zone ")) from None
    return text


def _count(cell: object) -> int:
    return whole(text_of(cell), 1, _MAX_COUNT, "a whole number")


def _percent(cell: object) -> int:
    return whole(text_of(cell), 1, 100, "a whole number")


def _yes(cell: object) -> bool:
    text = text_of(cell).lower()
    if text not in ("yes", "no"):
        raise ValueError(f"must be yes or no, was {text[:80]!r}")
    return text == "yes"


IDENTIFIER = Kind(_identifier, str)
IDENTIFIERS = list_of(_identifier)
NAME = text_up_to(120)
CURRENCY = matching(_CURRENCY, "three capitals such as USD")
AMOUNT = money(NANOS_PER_UNIT)
CPM = money(MICROS_PER_UNIT)
COUNT = Kind(_count, lambda count: str(count) if count else "")
PERCENT = Kind(_percent, lambda percent: str(percent) if percent else "")
YES = Kind(_yes, lambda said: "yes" if said else "")
INSTANT = Kind(parse_instant, format_instant)
DOMAINS = list_of(_domain)
TEXTS = list_of(str)
URL = Kind(_url, str)
ZONE = Kind(_zone, str)
