"""Reads a bid request as a patient stranger would: what can be read is read, what cannot is said to be unreadable.

Shares no code with the bidder, whose own patience is what the cross-checks judge. Null means absent. `hard` readers
raise `Unreadable`: on such a field rests a rule of the auction, and a bid made without knowing it is a fault.
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

T = TypeVar("T")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*\Z", re.ASCII)


class Unreadable(Exception):
    """A value that is there and says nothing."""


def body_of(body: bytes) -> Any:
    """The body as plain values; bytes that are no UTF-8 survive in strings.

    Raises:
        ValueError: no JSON. RecursionError: too deep.
    """
    return json.loads(body.decode("utf-8", "surrogateescape"), strict=False, parse_int=_int)


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) < 4_000 else math.inf


def number(value: Any, what: str) -> Decimal | None:
    """A number, or a number written as text."""
    if value is None:
        return None
    if isinstance(value, bool | int):
        return Decimal(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return Decimal(repr(value))
    if isinstance(value, str) and _NUMBER.match(value) and math.isfinite(float(value)):
        return Decimal(value.strip())
    raise Unreadable(f"{what} {value!r:.60}")


def whole(value: Any, what: str) -> int | None:
    """A number without a fraction."""
    found = number(value, what)
    if found is None:
        return None
    if abs(found) > 10**400 or found != int(found):
        raise Unreadable(f"{what} {value!r:.60}")
    return int(found)


def text(value: Any, what: str) -> str | None:
    """Text, or a number that stands for it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unreadable(f"{what} {value!r:.60}")
    return str(int(value)) if value == int(value) else repr(value)


def record(value: Any, what: str) -> dict[str, Any]:
    """An object; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable(f"{what} {value!r:.60}")
    return value


def _each(value: Any, what: str, reader: Callable[[Any, str], T | None]) -> list[T]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    read = [reader(one, f"{what}[{place}]") for place, one in enumerate(values)]
    return [one for one in read if one is not None]


def texts(value: Any, what: str) -> list[str]:
    """A list of texts; a single one stands for a list of it."""
    return _each(value, what, text)


def wholes(value: Any, what: str) -> list[int]:
    """A list of numbers without fractions."""
    return _each(value, what, whole)


def records(value: Any, what: str) -> list[dict[str, Any]]:
    """A list of objects."""
    return _each(value, what, lambda one, name: None if one is None else record(one, name))


def soft(reader: Callable[[Any, str], T], value: Any) -> T | None:
    """What a reader finds, or None where the value says nothing."""
    try:
        return reader(value, "")
    except Unreadable:
        return None


def soft_list(reader: Callable[[Any, str], T | None], value: Any) -> list[T]:
    """The elements of a list that can be read."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    read = [soft(reader, one) for one in values if one is not None]
    return [one for one in read if one is not None]


def same_id(value: Any, answered: str) -> bool:
    """Whether an answer repeats an id, which may have come as a number."""
    try:
        return text(value, "id") == answered
    except Unreadable:
        return False
