"""Time zones: UTC offsets as arrays, and local hours and days as integer arithmetic on them.

Offsets are read from the pinned `tzdata` package, never from the machine, so that a replay elsewhere sees the
same clocks. Reading needs `zoneinfo` and happens where a campaign is adopted; what the engine asks for at every
opportunity is plain arithmetic on the two arrays of `zone_offsets`.
"""

import difflib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from bidder.errors import InputError

ZoneArrays = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Instants (ns, UTC) and the UTC offset (s) that holds from each on; see `zone_offsets`."""

NS_PER_SECOND = 1_000_000_000
HOURS_PER_WEEK = 168
_HOUR_S = 3_600
_DAY_S = 86_400
_EPOCH_HOUR_OF_WEEK = 72
"""1970-01-01 was a Thursday: hour 72 of a week that begins on Monday."""
_STEP_S = 2 * _DAY_S
"""How far apart offsets are looked at. No zone of `tzdata` ever changed twice within six days (a test looks at
all of them), so two days cannot hide a change that was taken back."""
_BLOCK_S = 128 * _STEP_S
"""Changes are remembered in blocks of this length, so that campaigns with other flights share them."""
_BEYOND_S = 2 * _DAY_S
"""Changes this long after the last instant are told too: the local day of that instant ends there."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_number(text: str) -> int:
    """Days since 1970-01-01 of a date such as `2026-12-25`.

    Raises:
        ValueError: it is none.
    """
    return date.fromisoformat(text).toordinal() - _EPOCH.toordinal()


def is_zone(text: str) -> bool:
    """Whether `text` is a zone or a link of the IANA database, such as `Europe/Berlin`."""
    return text in _names()


def instant_of(text: str, option: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 text with a zone, to the microsecond.

    Args:
        text: such as `2026-05-01T12:00:00Z`. option: that asks for it, for the error.

    Raises:
        InputError: the text is none, has no zone, or is before 1970.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.timestamp() < 0:
        raise InputError(f"{option} must be ISO 8601 with a zone, such as 2026-05-01T12:00:00Z, was {text}")
    return int(at.timestamp() * 1_000_000) * 1_000


def zone_offsets(zone: str, first_ns: int, last_ns: int) -> ZoneArrays:
    """UTC offsets of a zone over a time, memoised.

    Args:
        zone: name in the IANA database, such as `America/New_York`; case counts.
        first_ns: first instant that will be asked for, ns since 1970 UTC.
        last_ns: last instant that will be asked for.

    Returns:
        transitions_ns int64[n], rising, the first of them `first_ns`, and offsets_s int64[n]: local time minus
        UTC from each instant on, until the next. Changes up to two days after `last_ns` are among them, so that
        the end of its local day is known. Both are read-only.

    Raises:
        InputError: if the zone is unknown, with near matches; or if `last_ns` is before `first_ns`.
    """
    if last_ns < first_ns:
        raise InputError(f"last_ns of a zone must be at least first_ns {first_ns}, was {last_ns}")
    return _arrays(zone, first_ns, last_ns)


def local_hour_of_week(zone_arrays: ZoneArrays, now_ns: int) -> int:
    """Hour since Monday 00:00 local time, 0 to 167; as `core.opportunity.hour_of_week` for UTC.

    Args:
        zone_arrays: as `zone_offsets` gave them, of a time that holds `now_ns`. Before it the first offset is
            taken, after it the last.
        now_ns: the instant, ns since 1970 UTC.
    """
    return (_local_s(zone_arrays, now_ns) // _HOUR_S + _EPOCH_HOUR_OF_WEEK) % HOURS_PER_WEEK


def local_day(zone_arrays: ZoneArrays, now_ns: int) -> int:
    """Days since 1970-01-01 on a local calendar; arguments as of `local_hour_of_week`."""
    return _local_s(zone_arrays, now_ns) // _DAY_S


def next_local_hour_ns(zone_arrays: ZoneArrays, now_ns: int) -> int:
    """First instant after `now_ns` at which the local clock shows another hour; arguments as before.

    Where the clock is put back by half an hour, as on Lord Howe Island, that hour lasts 90 minutes.
    """
    return _next_change_ns(zone_arrays, now_ns, _HOUR_S)


def day_end_ns(zone_arrays: ZoneArrays, now_ns: int) -> int:
    """First instant after `now_ns` at which `local_day` is another; arguments as before."""
    return _next_change_ns(zone_arrays, now_ns, _DAY_S)


def _local_s(zone_arrays: ZoneArrays, now_ns: int) -> int:
    return now_ns // NS_PER_SECOND + int(zone_arrays[1][_index(zone_arrays, now_ns)])


def _index(zone_arrays: ZoneArrays, now_ns: int) -> int:
    """Place of the offset that holds at `now_ns`."""
    return max(int(zone_arrays[0].searchsorted(now_ns, "right")) - 1, 0)


def _next_change_ns(zone_arrays: ZoneArrays, now_ns: int, unit_s: int) -> int:
    """First instant after `now_ns` at which local seconds divided by `unit_s` give another whole number."""
    transitions_ns, offsets_s = zone_arrays
    index = _index(zone_arrays, now_ns)
    offset_s = int(offsets_s[index])
    unit = (now_ns // NS_PER_SECOND + offset_s) // unit_s
    for later in range(index + 1, len(transitions_ns)):
        change_ns = int(transitions_ns[later])
        # A clock that is put back at the very end of the unit shows the same unit once more: not `<=`.
        if ((unit + 1) * unit_s - offset_s) * NS_PER_SECOND < change_ns:
            break
        offset_s = int(offsets_s[later])
        if (change_ns // NS_PER_SECOND + offset_s) // unit_s != unit:
            return change_ns
    return ((unit + 1) * unit_s - offset_s) * NS_PER_SECOND


@lru_cache(maxsize=4_096)
def _arrays(zone: str, first_ns: int, last_ns: int) -> ZoneArrays:
    first_s, last_s = first_ns // NS_PER_SECOND, last_ns // NS_PER_SECOND + _BEYOND_S
    transitions_ns, offsets_s = [first_ns], [_offset_s(_zone(zone), first_s)]
    for block in range(first_s // _BLOCK_S, last_s // _BLOCK_S + 1):
        for change_s, offset_s in _changes(zone, block):
            if first_s < change_s <= last_s:
                transitions_ns.append(change_s * NS_PER_SECOND)
                offsets_s.append(offset_s)
    arrays = np.asarray(transitions_ns, np.int64), np.asarray(offsets_s, np.int64)
    for array in arrays:
        array.flags.writeable = False
    return arrays


@lru_cache(maxsize=4_096)
def _changes(zone: str, block: int) -> tuple[tuple[int, int], ...]:
    """Instants (s) after the begin of a block, up to its end, at which the offset changes; and to what."""
    return tuple(_search(_zone(zone), block * _BLOCK_S, (block + 1) * _BLOCK_S))


def _search(zone: ZoneInfo, first_s: int, last_s: int) -> Iterator[tuple[int, int]]:
    before_s = _offset_s(zone, first_s)
    for start_s in range(first_s, last_s, _STEP_S):
        after_s = _offset_s(zone, start_s + _STEP_S)
        if after_s != before_s:
            yield _halve(zone, start_s, start_s + _STEP_S, before_s), after_s
        before_s = after_s


def _halve(zone: ZoneInfo, low_s: int, high_s: int, before_s: int) -> int:
    """The second at which the offset stops to be `before_s`, between two that do not agree."""
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        if _offset_s(zone, middle_s) == before_s:
            low_s = middle_s
        else:
            high_s = middle_s
    return high_s


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    # Not `fromtimestamp`, which some platforms bound to what the machine's C library can show.
    offset = (_EPOCH + timedelta(seconds=at_s)).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // timedelta(seconds=1)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    """A zone from the package alone: `ZoneInfo(name)` would look on the machine first."""
    if name not in _names():
        raise InputError(f"time zone must be a name of the IANA database, was {name[:64]!r}; {_near(name)}")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def _near(name: str) -> str:
    """Names like the one that is unknown: as written, and by its city alone."""
    by_folded = {each.lower(): each for each in sorted(_names())}
    by_city = {folded.rpartition("/")[2]: each for folded, each in by_folded.items()}
    folded = "_".join(name[:64].lower().split())
    found = [by_folded[each] for each in difflib.get_close_matches(folded, by_folded, n=3)]
    found += [by_city[each] for each in difflib.get_close_matches(folded, by_city, n=2, cutoff=0.8)]
    return f"nearest: {', '.join(dict.fromkeys(found))}" if found else "such as Europe/Berlin"
