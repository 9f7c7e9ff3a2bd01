"""Spans of time as people write them: `90m`, `6h`, `14d`."""

import re

from models.errors import TableError

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)
_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9, "w": 7 * 86400 * 10**9}


def span_ns(text: str, name: str, *, may_be_nothing: bool = False) -> int:
    """Nanoseconds of a span.

    Args:
        text: a number and one of s, m, h, d, w. name: what errors call it.
        may_be_nothing: whether 0 is one.

    Raises:
        TableError: it is none, or is 0 where it must not be.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise TableError(f"{name} must be a number and one of s, m, h, d, w, such as 6h or 14d, was {text!r}")
    span = int(float(found[1]) * _NS[found[2]])
    if span == 0 and not may_be_nothing:
        raise TableError(f"{name} must be above 0, was {text!r}")
    return span


def is_span(text: str) -> bool:
    """Whether a text ends as a span does, and is no date."""
    return text.strip()[-1:] in _NS
