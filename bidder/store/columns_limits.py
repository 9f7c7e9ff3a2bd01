"""Cells of limits: frequency caps, flights and windows of attribution.

Such as `3/day`, `2026-05-01T00:00:00Z/2026-06-01T00:00:00Z` and `30d`.
"""

import re

from bidder.core.campaigns import MAX_CAP_IMPRESSIONS, MAX_CAP_SECONDS, MAX_WINDOW_SECONDS, Cap, Flight
from bidder.store.columns_cells import Kind, format_instant, items_of, parse_instant, text_of

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_NAMES = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_CAP = re.compile(
    r"(\d{1,6})\s*/\s*(?:(\d{1,9})\s*([smhdw])|(minute|hour|day|week))", re.IGNORECASE | re.ASCII
)

_WINDOW = re.compile(r"(\d{1,9})\s*([smhdw])", re.IGNORECASE | re.ASCII)
_OFF = "off"


def _cap(text: str) -> Cap:
    match = _CAP.fullmatch(text)
    if match is None:
        raise ValueError(
            f"must be impressions in a time such as 3/day, 10/week or 2/3600s, was {text[:80]!r}"
        )
    impressions = int(match[1])
    seconds = _NAMES[match[4].lower()] if match[4] else int(match[2]) * _SECONDS[match[3].lower()]
    if not 1 <= impressions <= MAX_CAP_IMPRESSIONS:
        raise ValueError(f"must be 1 to {MAX_CAP_IMPRESSIONS} impressions, was {text[:80]!r}")
    if not 1 <= seconds <= MAX_CAP_SECONDS:
        raise ValueError(f"must be of 1 second to {MAX_CAP_SECONDS // 86_400} days, was {text[:80]!r}")
    return Cap(impressions=impressions, seconds=seconds)


def _cap_text(cap: Cap) -> str:
    name = next((name for name, seconds in _NAMES.items() if seconds == cap.seconds), f"{cap.seconds}s")
    return f"{cap.impressions}/{name}"


CAPS = Kind(
    lambda cell: tuple(_cap(item) for item in items_of(cell)),
    lambda caps: [_cap_text(cap) for cap in caps],
)


def flight(start_ns: int, end_ns: int, end: object) -> Flight:
    """A flight; `end` is how the sheet has the end.

    Raises:
        ValueError: if it ends before it starts.
    """
    if end_ns <= start_ns:
        raise ValueError(f"must be after start, was {end}")
    return Flight(start_ns=start_ns, end_ns=end_ns)


def _flight(text: str) -> Flight:
    start, slash, end = text.partition("/")
    if not slash:
        raise ValueError(
            f"must be start/end such as 2026-05-01T00:00:00Z/2026-05-08T00:00:00Z, was {text[:80]!r}"
        )
    return flight(parse_instant(start), parse_instant(end), end.strip())


def flight_text(own: Flight) -> str:
    """A flight as a cell has it."""
    return f"{format_instant(own.start_ns)}/{format_instant(own.end_ns)}"


FLIGHTS = Kind(
    lambda cell: tuple(_flight(item) for item in items_of(cell)),
    lambda flights: [flight_text(own) for own in flights],
)


def _window(cell: object) -> int:
    text = text_of(cell)
    if text.lower() in {_OFF, "0"}:
        return 0
    match = _WINDOW.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2].lower()] if match else 0
    if not 1 <= seconds <= MAX_WINDOW_SECONDS:
        raise ValueError(
            f"must be a time such as 30d, 12h or 90m, at most {MAX_WINDOW_SECONDS // 86_400}d, or off, "
            f"was {text[:80]!r}"
        )
    return seconds


def _window_text(seconds: int | None) -> str:
    if not seconds:
        return "" if seconds is None else _OFF
    unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


WINDOW = Kind(_window, _window_text)
