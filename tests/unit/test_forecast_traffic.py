"""Traffic to come, on courses of known law."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from bidder.errors import InputError
from simulator.forecast.traffic import NS_PER_HOUR, Counts, Traffic, TrafficModel, clock_of, count_hours

DAY = 24 * NS_PER_HOUR


def course(
    seed: int, days: int, *, trend: float = 0.0, spread: float = 0.05, base: float = 200.0, past: int = 0
):
    """Counts by hour from 1970: a day's wave, fuller week ends, errors of days that stay by half, Poisson noise."""
    rng = np.random.default_rng(seed)
    hour = np.arange(days * 24)
    shape = (1 + 0.6 * np.sin((hour % 24 - 9) / 24 * 2 * np.pi)) * np.where(
        (hour // 24 + 3) % 7 >= 5, 1.3, 1.0
    )
    errors = np.zeros(days)
    for day in range(1, days):
        errors[day] = 0.5 * errors[day - 1] + rng.normal(0, spread)
    return rng.poisson(base * shape * np.exp(trend * (hour / 24 - past) + errors[hour // 24])).astype(
        np.float64
    )


def ahead(counts, past: int, days: int, seed: int = 1) -> Traffic:
    model = TrafficModel(Counts(0, counts[: past * 24]))
    return model.forecast(past * DAY, (past + days) * DAY, seed=seed)


@pytest.mark.parametrize(("past", "days", "trend"), [(14, 7, 0.0), (28, 7, 0.01), (28, 14, 0.0)])
def test_intervals_cover_what_comes_and_the_middle_is_not_off(past: int, days: int, trend: float) -> None:
    inside, errors = 0, []
    for seed in range(40):
        counts = course(seed, past + days, trend=trend, past=past)
        found = ahead(counts, past, days, seed)
        low, high = found.interval()
        came = counts[past * 24 :].sum()
        inside += low <= came <= high
        errors.append(found.expected.sum() / came - 1)
    assert inside >= 35  # of 40 at 95 %; 34 or fewer has a chance of .3 %
    assert abs(np.mean(errors)) < 0.04


def test_a_shorter_past_says_less() -> None:
    widths = []
    for past in (8, 14, 28):
        low, high = ahead(course(3, past), past, 7).interval()
        widths.append((high - low) / ahead(course(3, past), past, 7).expected.sum())
    assert widths[0] > widths[1] > widths[2] > 0.05


def test_shape_and_trend_are_those_of_the_past() -> None:
    counts = course(1, 56, trend=0.01, spread=0.0, base=2_000, past=56)
    model = TrafficModel(Counts(0, counts))
    assert model.trend == pytest.approx(0.01, abs=0.001)
    week = clock_of("UTC", 0, 56 * 24).hour_of_week
    ends = model.shape[week[48:72]].mean() / model.shape[week[96:120]].mean()  # a Saturday against a Monday
    assert ends == pytest.approx(1.3, abs=0.03)


def test_hours_follow_the_local_clock_through_a_change_of_summer_time() -> None:
    begin = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) // 3600
    hours = clock_of("Europe/Berlin", begin, 28 * 24).hour_of_week
    counts = np.where(hours % 24 == 12, 1_000.0, 10.0)
    model = TrafficModel(Counts(begin, counts), "Europe/Berlin")
    start = (begin + 28 * 24) * NS_PER_HOUR
    found = model.forecast(start, start + DAY, seed=1, draws=10)
    assert int(np.argmax(found.expected)) == 10  # noon in summer is ten in UTC; the past began in winter


def test_a_holiday_of_the_past_is_no_shape_and_one_to_come_is_less() -> None:
    counts = course(2, 28, spread=0.0)
    counts[14 * 24 : 15 * 24] *= 0.2
    told = {date(1970, 1, 15): 0.2, date(1970, 1, 30): 0.5}
    model = TrafficModel(Counts(0, counts), holidays=told)
    plain = TrafficModel(Counts(0, counts))
    assert model.shape[72:96].mean() > 1.1 * plain.shape[72:96].mean()
    found = model.forecast(28 * DAY, 30 * DAY, seed=1, draws=10).expected
    assert found[24:].sum() == pytest.approx(0.5 * found[:24].sum(), rel=0.25)


def test_a_part_of_an_hour_counts_for_its_part() -> None:
    model = TrafficModel(Counts(0, np.full(96, 100.0)))
    found = model.forecast(96 * NS_PER_HOUR + NS_PER_HOUR // 2, 98 * NS_PER_HOUR, seed=1, draws=4)
    assert found.expected == pytest.approx([50.0, 100.0], rel=1e-6)


def test_counts_leave_out_hours_that_are_not_whole() -> None:
    at = np.arange(0, 72 * 60) * (NS_PER_HOUR // 60) + NS_PER_HOUR // 2
    found = count_hours(at.astype(np.int64))
    assert found.first_hour == 1
    assert set(found.counts.tolist()) == {60.0}
    weighted = count_hours(at.astype(np.int64), np.full(len(at), 2.5))
    assert weighted.counts.sum() == pytest.approx(2.5 * found.counts.sum())


def test_the_same_seed_draws_the_same() -> None:
    counts = course(5, 21)
    assert (ahead(counts, 21, 3, 7).draws == ahead(counts, 21, 3, 7).draws).all()
    assert (ahead(counts, 21, 3, 7).draws != ahead(counts, 21, 3, 8).draws).any()


def test_what_cannot_be_told_is_an_error() -> None:
    with pytest.raises(InputError, match="must cover 2 days, was empty"):
        count_hours(np.zeros(0, dtype=np.int64))
    with pytest.raises(InputError, match=r"must cover 2 days, was 9\.0 hours"):
        count_hours(np.arange(10, dtype=np.int64) * NS_PER_HOUR)
    with pytest.raises(InputError, match="must hold an opportunity"):
        TrafficModel(Counts(0, np.zeros(96)))
    with pytest.raises(InputError, match="must have a factor above 0"):
        TrafficModel(Counts(0, np.ones(96)), holidays={date(2026, 12, 25): 0.0})
    with pytest.raises(InputError, match="after its start"):
        TrafficModel(Counts(0, np.ones(96))).forecast(5, 5, seed=1)
