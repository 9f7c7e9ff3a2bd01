"""Local clocks: where offsets change, what hour and day it is, and when these end."""

import zoneinfo
from datetime import UTC, datetime
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from bidder import zones
from bidder.core.opportunity import hour_of_week
from bidder.errors import InputError
from bidder.zones import (
    day_end_ns,
    is_zone,
    local_day,
    local_hour_of_week,
    next_local_hour_ns,
    zone_offsets,
)

HOUR_NS = 3_600 * 10**9


def ns(text: str) -> int:
    """An ISO instant in UTC as nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def utc(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M")


def day(text: str) -> int:
    return ns(text) // (24 * HOUR_NS)


def year(zone: str, number: int = 2026) -> zones.ZoneArrays:
    return zone_offsets(zone, ns(f"{number}-01-01"), ns(f"{number}-12-31T23:59:59"))


@pytest.mark.parametrize(
    ("zone", "changes", "offsets_h"),
    [
        ("America/New_York", ["2026-03-08T07:00", "2026-11-01T06:00"], [-5, -4, -5]),
        ("Europe/Berlin", ["2026-03-29T01:00", "2026-10-25T01:00"], [1, 2, 1]),
        ("Australia/Lord_Howe", ["2026-04-04T15:00", "2026-10-03T15:30"], [11, 10.5, 11]),
        ("Asia/Kathmandu", [], [5.75]),
        ("UTC", [], [0]),
    ],
)
def test_offsets_change_when_the_clocks_do(zone: str, changes: list[str], offsets_h: list[float]) -> None:
    transitions_ns, offsets_s = year(zone)
    assert [utc(at) for at in transitions_ns.tolist()] == ["2026-01-01T00:00", *changes]
    assert (offsets_s / 3_600).tolist() == offsets_h


def test_arrays_are_int64_and_cannot_be_written() -> None:
    for array in year("Europe/Berlin"):
        assert array.dtype == np.int64
        assert not array.flags.writeable


def test_the_first_transition_is_the_first_instant_to_the_nano() -> None:
    first_ns = ns("2026-07-01") + 123_456_789
    assert zone_offsets("Europe/Berlin", first_ns, first_ns)[0].tolist() == [first_ns]


def test_a_change_at_the_first_instant_itself_is_its_offset() -> None:
    at_ns = ns("2026-03-29T01:00")
    transitions_ns, offsets_s = zone_offsets("Europe/Berlin", at_ns, at_ns)
    assert (transitions_ns.tolist(), offsets_s.tolist()) == ([at_ns], [7_200])
    transitions_ns, offsets_s = zone_offsets("Europe/Berlin", at_ns - 1, at_ns)
    assert (transitions_ns.tolist(), offsets_s.tolist()) == ([at_ns - 1, at_ns], [3_600, 7_200])


def test_a_change_within_the_day_of_the_last_instant_is_known() -> None:
    last_ns = ns("2026-10-24T23:00")
    arrays = zone_offsets("Europe/Berlin", ns("2026-10-01"), last_ns)
    assert utc(day_end_ns(arrays, last_ns)) == "2026-10-25T23:00"


def test_a_long_flight_has_the_changes_of_all_its_years() -> None:
    transitions_ns, _ = zone_offsets("Europe/Berlin", ns("2020-01-01"), ns("2040-01-01"))
    assert len(transitions_ns) == 1 + 2 * 20


def test_offsets_are_remembered() -> None:
    assert year("Europe/Berlin")[0] is year("Europe/Berlin")[0]


def test_offsets_come_from_the_package_and_not_from_the_machine(tmp_path: Path) -> None:
    """A machine whose Auckland is at UTC."""
    (tmp_path / "Pacific").mkdir()
    (tmp_path / "Pacific" / "Auckland").write_bytes(
        (files("tzdata") / "zoneinfo" / "UTC").read_bytes(),
    )
    zoneinfo.reset_tzpath(to=[tmp_path])
    try:
        assert datetime.fromtimestamp(0, ZoneInfo.no_cache("Pacific/Auckland")).hour == 0
        zones._zone.cache_clear()
        zones._changes.cache_clear()
        assert year("Pacific/Auckland", 2031)[1].tolist() == [46_800, 43_200, 46_800]
    finally:
        zoneinfo.reset_tzpath()


@pytest.mark.parametrize(
    ("was", "near"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("america/new york", "America/New_York"),
        ("Kathmandu", "Asia/Kathmandu"),
        ("xyzzy", "such as Europe/Berlin"),
        ("../../etc/passwd", "must be a name of the IANA database"),
    ],
)
def test_an_unknown_zone_is_told_with_near_ones(was: str, near: str) -> None:
    with pytest.raises(InputError, match="time zone must be") as caught:
        zone_offsets(was, 0, 0)
    assert near in str(caught.value)
    assert not is_zone(was)


def test_the_last_instant_cannot_be_before_the_first() -> None:
    with pytest.raises(InputError, match="must be at least first_ns 5, was 4"):
        zone_offsets("UTC", 5, 4)


def test_zones_and_links_are_known() -> None:
    assert all(is_zone(name) for name in ("UTC", "Europe/Berlin", "US/Eastern", "America/Indiana/Knox"))


@pytest.mark.parametrize("now", ["1970-01-01", "2026-11-22T13:00", "2026-11-23", "2026-11-29T23:59:59"])
def test_the_hour_in_utc_is_that_of_opportunities(now: str) -> None:
    arrays = zone_offsets("UTC", ns(now), ns(now))
    assert local_hour_of_week(arrays, ns(now)) == hour_of_week(ns(now))


def test_a_new_yorker_has_no_second_hour_on_the_spring_day() -> None:
    """2026-03-08 is a Sunday: its hours are 144 to 167."""
    start_ns = ns("2026-03-08T05:00")
    hours = [local_hour_of_week(year("America/New_York"), start_ns + n * HOUR_NS) - 144 for n in range(23)]
    assert hours == [0, 1, *range(3, 24)]


def test_a_new_yorker_has_the_first_hour_twice_on_the_autumn_day() -> None:
    start_ns = ns("2026-11-01T04:00")
    hours = [local_hour_of_week(year("America/New_York"), start_ns + n * HOUR_NS) - 144 for n in range(25)]
    assert hours == [0, 1, 1, *range(2, 24)]


@pytest.mark.parametrize(
    ("zone", "now", "hour"),
    [
        ("Asia/Kathmandu", "2026-11-22T18:14:59", 6 * 24 + 23),
        ("Asia/Kathmandu", "2026-11-22T18:15:00", 0),
        ("Australia/Lord_Howe", "2026-10-03T15:29:59", 6 * 24 + 1),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00", 6 * 24 + 2),
    ],
)
def test_zones_of_half_and_quarter_hours_turn_when_their_clocks_do(zone: str, now: str, hour: int) -> None:
    assert local_hour_of_week(year(zone), ns(now)) == hour


@pytest.mark.parametrize(
    ("zone", "now", "local"),
    [
        ("America/New_York", "2026-03-08T04:59:59", "2026-03-07"),
        ("America/New_York", "2026-03-08T05:00:00", "2026-03-08"),
        ("Asia/Kathmandu", "2026-05-01T18:14:59", "2026-05-01"),
        ("Asia/Kathmandu", "2026-05-01T18:15:00", "2026-05-02"),
    ],
)
def test_the_local_day_turns_at_local_midnight(zone: str, now: str, local: str) -> None:
    assert local_day(year(zone), ns(now)) == day(local)


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [
        ("America/New_York", "2026-03-08T05:00", 23),
        ("America/New_York", "2026-11-01T04:00", 25),
        ("Europe/Berlin", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-24T22:00", 25),
        ("Australia/Lord_Howe", "2026-04-04T13:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-03T13:30", 23.5),
        ("Asia/Kathmandu", "2026-05-01T18:15", 24),
        ("UTC", "2026-05-01T00:00", 24),
    ],
)
def test_a_day_is_as_long_as_its_clocks_make_it(zone: str, now: str, hours: float) -> None:
    arrays, start_ns = year(zone), ns(now)
    assert local_day(arrays, start_ns - 1) < local_day(arrays, start_ns)
    assert day_end_ns(arrays, start_ns) - start_ns == hours * HOUR_NS
    assert day_end_ns(arrays, start_ns + int(hours * HOUR_NS) - 1) == day_end_ns(arrays, start_ns)


def test_a_day_whose_clock_is_put_back_at_its_very_end_goes_on() -> None:
    """Beirut puts 00:00 of 2026-10-25 back to 23:00: the day before it gains the hour."""
    arrays = year("Asia/Beirut")
    end_ns = day_end_ns(arrays, ns("2026-10-24T12:00"))
    assert utc(end_ns) == "2026-10-24T22:00"
    assert day_end_ns(arrays, ns("2026-10-24T21:30")) == end_ns


def test_a_day_that_begins_at_one_begins_where_the_clock_was_put_forward() -> None:
    """In Beirut midnight of 2026-03-29 never shows: 00:00 is 01:00."""
    arrays = year("Asia/Beirut")
    assert utc(day_end_ns(arrays, ns("2026-03-28T12:00"))) == "2026-03-28T22:00"
    assert utc(day_end_ns(arrays, ns("2026-03-28T22:00"))) == "2026-03-29T21:00"


def test_a_day_that_was_left_out_ends_the_day_before_it() -> None:
    """Samoa went from 29 to 31 December 2011."""
    arrays = year("Pacific/Apia", 2011)
    end_ns = day_end_ns(arrays, ns("2011-12-30T00:00"))
    assert (utc(end_ns), local_day(arrays, end_ns)) == ("2011-12-30T10:00", day("2011-12-31"))


@pytest.mark.parametrize(
    ("zone", "now", "then"),
    [
        ("UTC", "2026-05-01T00:00", "2026-05-01T01:00"),
        ("Asia/Kathmandu", "2026-05-01T00:00", "2026-05-01T00:15"),
        ("Australia/Lord_Howe", "2026-04-04T14:10", "2026-04-04T15:30"),
        ("America/New_York", "2026-11-01T05:30", "2026-11-01T07:00"),
    ],
)
def test_the_next_hour_comes_when_the_clock_shows_it(zone: str, now: str, then: str) -> None:
    assert utc(next_local_hour_ns(year(zone), ns(now))) == then


def test_before_and_after_the_known_time_the_nearest_offset_is_taken() -> None:
    arrays = zone_offsets("Europe/Berlin", ns("2026-03-28"), ns("2026-03-30"))
    assert local_hour_of_week(arrays, ns("2026-01-05T00:00")) == 1
    assert local_hour_of_week(arrays, ns("2026-12-07T00:00")) == 2


def _changes(zone: ZoneInfo) -> list[int]:
    """Where a zone of the standard library changes its offset, as its Python half keeps them."""
    seconds, infos = zone._trans_utc, [zone._tti_before, *zone._ttinfos]  # type: ignore[attr-defined]
    offsets = [info.utcoff for info in infos]
    return [at for at, before, after in zip(seconds, offsets, offsets[1:], strict=False) if before != after]


def test_no_zone_of_the_package_changes_twice_within_a_step() -> None:
    from zoneinfo._zoneinfo import ZoneInfo as Readable  # the compiled one shows no transitions

    shortest_s = {}
    for name in zones._names():
        with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
            changes = _changes(Readable.from_file(data))
        shortest_s[name] = min((b - a for a, b in pairwise(changes)), default=10**9)
    assert len(shortest_s) > 500
    assert min(shortest_s.values()) > zones._STEP_S
