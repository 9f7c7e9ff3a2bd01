"""Numbers as people read them: shares that never round to 0 or to all, spans of time, counts."""

import math
from datetime import UTC, datetime

DASH = "\N{EN DASH}"
"""Stands where a number does not exist, such as a cost per click without clicks."""

_NS_PER_S = 10**9


def count(value: int | None) -> str:
    """A whole number with thousands marks."""
    return DASH if value is None else f"{value:,}"


def counted(value: float, one: str, many: str = "") -> str:
    """A number with what it counts: `1 tree`, `2,000 trees`.

    Args:
        value: how many. one: what one of them is called. many: several, where it is not `one` and an s.
    """
    said = f"{value:,.0f}"
    return f"{said} {one if said == '1' else many or one + 's'}"


def percent(fraction: float | None, decimals: int = 1) -> str:
    """A fraction as a percentage; a little above nothing is not 0 %, a little short of all is not 100 %."""
    if fraction is None or not math.isfinite(fraction):
        return DASH
    for places in range(decimals, 5):
        text = f"{fraction * 100:.{places}f}"
        if (float(text) == 0) == (fraction == 0) and (float(text) == 100) == (fraction == 1):
            return f"{text}%"
    return (
        "<0.0001%" if fraction < 0.5 else ">99.9999%" if fraction < 1 else f"{fraction * 100:.{decimals}f}%"
    )


def ratio(value: float | None, decimals: int = 2) -> str:
    """A plain ratio such as a return on ad spend."""
    return DASH if value is None or not math.isfinite(value) else f"{value:,.{decimals}f}"


def milliseconds(value: float | None) -> str:
    """A latency with about three digits that count."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} ms"


def duration(seconds: float) -> str:
    """A span of time in its two largest units, such as `2 min 5 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, smaller, small_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def lag(ns: int) -> str:
    """How much one event was before another, as `duration`; what rounds to no time is still some."""
    return "less than 0.1 s" if abs(ns) < 5 * 10**7 else duration(abs(ns) / _NS_PER_S)


def moment(at_ns: int, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """A time on the run's clock, UTC."""
    return datetime.fromtimestamp(at_ns // _NS_PER_S, UTC).strftime(form)


def plain(name: str) -> str:
    """A reason or counter name as words: `NO_CANDIDATE` as `No candidate`."""
    words = name.replace("_", " ").strip()
    words = words.lower() if words.isupper() else words
    return words[:1].upper() + words[1:]
