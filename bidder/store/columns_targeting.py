"""Cells of targeting: which values each dimension takes, and modifiers that name such a value.

The words are those of `core.campaigns.Targeting`; a value that no opportunity could ever show is refused here,
where the person who wrote it still looks.
"""

import difflib
import re
from collections.abc import Callable
from decimal import Decimal

from bidder.core.campaigns import DIMENSIONS, Modifier
from bidder.core.circles import parse_circle
from bidder.core.expressions import compile_expression
from bidder.errors import InputError
from bidder.openrtb.taxonomy import DEFAULT_CATTAX, qualified
from bidder.store.columns_cells import Kind, items_of, list_of, text_of, whole

INVENTORIES = ("site", "app", "dooh")
DEVICES = ("desktop", "phone", "tablet", "tv", "console", "box", "dooh")
CONNECTIONS = ("wifi", "ethernet", "cellular")
SYSTEMS = ("windows", "macos", "linux", "android", "ios", "chromeos", "tv", "other")
BROWSERS = ("chrome", "edge", "opera", "safari", "firefox", "ie", "samsung", "webview", "other")

_MAX_LENGTH = 200
_GEO = re.compile(r"[A-Z0-9]{1,8}(-[A-Z0-9]{1,8}){0,2}")
_CITY = re.compile(r"(?:([a-zA-Z]{2,3})/)?([^/]+)")
_LANGUAGE = re.compile(r"[a-z]{2}")
_IAB = re.compile(r"IAB\d{1,2}(-\d{1,3})?")
_FACTOR = re.compile(r"\d{1,2}(\.\d+)?", re.ASCII)
_HOURS = re.compile(r"\s*-\s*")
_NO_CONTROL = re.compile(r"[^\x00-\x1f\x7f]+")
_PLACEMENTS = "instl, rewarded, pos:0 to pos:7, plcmt:1 to plcmt:4 or tag:ID"
_PLACEMENT = re.compile(r"(instl|rewarded|pos:[0-7]|plcmt:[1-4]|tag:\S(.*\S)?)")


def _value(text: str) -> str:
    """Any text that a request could show."""
    if len(text) > _MAX_LENGTH or not _NO_CONTROL.fullmatch(text):
        raise ValueError(
            f"must be values of up to {_MAX_LENGTH} characters in one line each, was {text[:80]!r}"
        )
    return text


def _lower(text: str) -> str:
    return _value(text.lower())


def _among(names: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() in names:
            return text.lower()
        near = difflib.get_close_matches(text.lower(), names, n=1)
        hint = f"; nearest is {near[0]}" if near else ""
        raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}, was {text[:80]!r}{hint}")

    return read


def _like(pattern: re.Pattern[str], words: str, fold: Callable[[str], str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        folded = fold(text)
        if not pattern.fullmatch(folded):
            raise ValueError(f"must be {words}, was {text[:80]!r}")
        return folded

    return read


def _city(text: str) -> str:
    match = _CITY.fullmatch(_value(text))
    if match is None:
        raise ValueError(f"must be names such as paris or FRA/paris, was {text[:80]!r}")
    country, name = match.groups()
    return name.strip().lower() if country is None else f"{country.upper()}/{name.strip().lower()}"


def _circle(text: str) -> str:
    try:
        parse_circle(text)
    except InputError as error:
        message = str(error)
        form = message.startswith("circle ")
        raise ValueError(message.removeprefix("circle ") if form else f"must be circles: {message}") from None
    return text


def _expression(text: str) -> str:
    try:
        compile_expression(text)
    except InputError as error:
        raise ValueError(str(error).removeprefix("expression ")) from None
    return text


def _domain(text: str) -> str:
    folded = _lower(text)
    if re.search(r"[\s/:@?#]", folded) or folded.startswith("."):
        raise ValueError(
            f"must be domains or app bundles such as news.example or com.example.app, was {text[:80]!r}"
        )
    return folded


def _category(text: str) -> str:
    folded = text.upper() if text[:3].lower() == "iab" else _value(text)
    try:
        taxonomy, category = qualified(folded)
    except InputError as error:
        raise ValueError(str(error).removeprefix("category ")) from None
    if taxonomy == DEFAULT_CATTAX and not _IAB.fullmatch(category):
        raise ValueError(f"must be ids such as IAB1-2, or 9:150 with the cattax, was {text[:80]!r}")
    return folded


def _placement(text: str) -> str:
    word, colon, rest = _value(text).partition(":")
    folded = f"{word.strip().lower()}{colon}{rest.strip()}"
    if not _PLACEMENT.fullmatch(folded):
        raise ValueError(f"must be {_PLACEMENTS}, was {text[:80]!r}")
    return folded


def _share(text: str) -> str:
    share = whole(text.removesuffix("%").strip(), 10, 100, "a share in steps of ten")
    if share % 10:
        raise ValueError(f"must be a share in steps of ten from 10 to 100, was {text[:80]!r}")
    return str(share)


def _shares(cell: object) -> tuple[str, ...]:
    shares = tuple(map(_share, items_of(cell)))
    if len(shares) > 1:
        raise ValueError(f"must be one value, was {'; '.join(shares)}")
    return shares


def _hour(text: str) -> str:
    return str(whole(text, 0, 167, "hours of the week"))


def _hours(cell: object) -> tuple[str, ...]:
    """Hours of the week; `8-18` stands for all from 8 to 18."""
    hours: list[str] = []
    for item in items_of(cell):
        first, *rest = _HOURS.split(item)
        if len(rest) > 1:
            _hour(item)
        last = int(_hour(rest[0] if rest else first))
        begin = int(_hour(first))
        if last < begin:
            raise ValueError(f"must be hours from the lower to the higher, was {item!r}")
        hours += map(str, range(begin, last + 1))
    return tuple(hours)


_LANGUAGES = "languages of two letters such as en"
_VALUES: dict[str, Callable[[str], str]] = {
    "geo": _like(_GEO, "countries or regions such as USA, CA or USA-CA", str.upper),
    "city": _city,
    "circle": _circle,
    "exchange": _value,
    "deal": _value,
    "inventory": _among(INVENTORIES),
    "device": _among(DEVICES),
    "os": _among(SYSTEMS),
    "browser": _among(BROWSERS),
    "carrier": _lower,
    "connection": _among(CONNECTIONS),
    "language": _like(_LANGUAGE, _LANGUAGES, str.lower),
    "domain": _domain,
    "content": _category,
    "keyword": _lower,
    "placement": _placement,
    "viewability": _share,
    "segment": _value,
    "hour": _hour,
    "expression": _expression,
}
"""How one value of each dimension is read."""

TARGETING: dict[str, Kind] = {name: list_of(read) for name, read in _VALUES.items()}
"""How the cells of each dimension are read, to include and to exclude alike."""
TARGETING["hour"] = Kind(_hours, list)
TARGETING["viewability"] = Kind(_shares, list)

LANGUAGE = Kind(lambda cell: _VALUES["language"](text_of(cell)), str)


def _modifier(text: str) -> Modifier:
    dimension, equals, rest = text.partition("=")
    value, times, factor = rest.rpartition("*")
    dimension, value, factor = dimension.strip().lower(), value.strip(), factor.strip()
    if not (equals and times and value):
        raise ValueError(f"must be dimension=value*factor such as device=phone*1.2, was {text[:80]!r}")
    if dimension not in _VALUES:
        near = difflib.get_close_matches(dimension, _VALUES, n=1)
        hint = f"nearest is {near[0]}" if near else f"allowed are {', '.join(DIMENSIONS)}"
        raise ValueError(f"must name a dimension, was {dimension[:80]!r}; {hint}")
    if not _FACTOR.fullmatch(factor) or not 0 <= float(factor) <= 10:
        raise ValueError(f"must have factors from 0 to 10 such as 1.2, was {text[:80]!r}")
    try:
        read = _VALUES[dimension](value)
    except ValueError as error:
        raise ValueError(f"{error}, in modifier {text[:80]!r}") from None
    return Modifier(dimension=dimension, value=read, factor=float(factor))


def _modifier_text(modifier: Modifier) -> str:
    # The shortest text that reads back as the same double, without an exponent.
    factor = format(Decimal(repr(float(modifier.factor))), "f")
    return f"{modifier.dimension}={modifier.value}*{factor.removesuffix('.0')}"


MODIFIERS = Kind(
    lambda cell: tuple(_modifier(item) for item in items_of(cell)),
    lambda modifiers: [_modifier_text(modifier) for modifier in modifiers],
)
