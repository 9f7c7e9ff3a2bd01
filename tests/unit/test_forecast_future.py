"""Past rows laid out over hours to come."""

import numpy as np
import pytest

from simulator.forecast.future import lay_out, past_of
from simulator.forecast.traffic import NS_PER_HOUR, clock_of

HOURS = 21 * 24


def past_times(zone: str = "UTC"):
    at = np.repeat(np.arange(HOURS, dtype=np.int64), 5) * NS_PER_HOUR
    return at, past_of(at, zone)


def test_an_hour_is_filled_from_its_own_place_in_the_week() -> None:
    at, past = past_times("America/New_York")
    counts = np.full(48, 30.0)
    found = lay_out(past, np.ones(len(at), dtype=np.int64), HOURS, counts, 10**6, seed=1)
    of_past = clock_of("America/New_York", 0, HOURS).hour_of_week[at[found.rows] // NS_PER_HOUR]
    of_future = clock_of("America/New_York", HOURS, 48).hour_of_week[found.hour]
    assert (of_past == of_future).all()
    assert found.weight == 1.0
    assert len(found.rows) == pytest.approx(48 * 30, rel=0.1)
    assert (np.diff(found.hour) >= 0).all()


def test_more_than_can_be_played_stands_for_several() -> None:
    at, past = past_times()
    found = lay_out(past, np.ones(len(at), dtype=np.int64), HOURS, np.full(24, 1_000.0), 2_400, seed=1)
    assert found.weight == pytest.approx(10.0)
    assert len(found.rows) * found.weight == pytest.approx(24_000, rel=0.1)


def test_rows_that_do_not_count_are_not_drawn_and_others_as_often_as_they_do() -> None:
    at, past = past_times()
    times = np.zeros(len(at), dtype=np.int64)
    times[::5], times[1::5] = 1, 3
    found = lay_out(past, times, HOURS, np.full(168, 100.0), 10**6, seed=2)
    which = found.rows % 5
    assert set(which.tolist()) == {0, 1}
    assert (which == 1).mean() == pytest.approx(0.75, abs=0.02)


def test_an_hour_of_the_week_that_was_never_seen_takes_the_same_hour_of_other_days() -> None:
    at = np.repeat(np.arange(48, dtype=np.int64), 5) * NS_PER_HOUR
    past = past_of(at, "UTC")
    found = lay_out(past, np.ones(len(at), dtype=np.int64), 96, np.full(24, 20.0), 10**6, seed=3)
    assert ((at[found.rows] // NS_PER_HOUR) % 24 == found.hour % 24).all()


def test_the_same_seed_lays_out_the_same() -> None:
    at, past = past_times()
    one, two, other = (
        lay_out(past, np.ones(len(at), dtype=np.int64), HOURS, np.full(24, 20.0), 10**6, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one.rows.tolist() == two.rows.tolist()
    assert one.rows.tolist() != other.rows.tolist()
