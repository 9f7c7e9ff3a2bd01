"""Opportunities of each hour to come, from counts of hours that were.

    count of hour h = level x trend^(days) x shape(hour of the week) x holiday x error of the day x error of the hour

The shape is a mean by hour of the week, drawn towards hour of the day times day of the week where few weeks are
known. The trend is the median of all slopes between days that are a week apart or more (Theil and Sen), of the
logarithm of what days deviate from the shape; it is damped, since no traffic grows for ever. The level forgets with
a half-life of two weeks. Errors of days follow each other (autoregression of one day); those of hours are drawn from
what was seen.

A draw is uncertain of everything that was fitted: spread and persistence of the errors, level, trend, and each day of
the week by the weeks in which it was seen. Where little is known, a prior spread stands in: few days look alike.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.errors import InputError
from bidder.zones import HOURS_PER_WEEK, zone_offsets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NS_PER_HOUR = 3_600_000_000_000
HOURS_PER_DAY = 24
LEAST_DAYS = 2
"""Days of counts without which nothing is said: the shape of a day must have been seen twice."""
TREND_DAYS = 21
"""Days from which on a trend is told from the days of the week."""
DAMPING = 0.98
"""What is left of a trend's step a day later (Gardner and McKenzie 1985 damp trends so)."""
PRIOR_WEEKS = 2.0
"""Weeks that the product of day and hour counts for, against the hour of the week itself."""
HALF_LIFE_DAYS = 14.0
"""Age at which a day counts half for the level."""
PRIOR_SPREAD, PRIOR_DAYS = 0.1, 4.0
"""Spread of a day's error where nothing is known, and how many days that counts for."""
UNSEEN_SPREAD = 0.2
"""Spread of a day of the week that was never seen."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_THURSDAY = 3


class Clock(NamedTuple):
    """Hours as an advertiser's clock shows them.

    Attributes:
        day: int64[n], local days since 1970. hour_of_week: int64[n], from Monday 00:00. Hours are whole in UTC, so
        that zones of half hours are off by one.
    """

    day: Ints
    hour_of_week: Ints


class Counts(NamedTuple):
    """Opportunities by whole hour of UTC: `first_hour` hours after the epoch, then each hour, float64[n]."""

    first_hour: int
    counts: Floats


class Traffic(NamedTuple):
    """Opportunities of each hour of a time to come.

    Attributes:
        first_hour: hours since the epoch, UTC. expected: float64[n].
        draws: float64[draws, n], each a course that the future could take.
    """

    first_hour: int
    expected: Floats
    draws: Floats

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Bounds of the sum over all hours."""
        low, high = np.quantile(self.draws.sum(axis=1), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def clock_of(zone: str, first_hour: int, hours: int) -> Clock:
    """Local days and hours of `hours` hours of UTC.

    Raises:
        InputError: no such zone.
    """
    at_ns = (first_hour + np.arange(hours, dtype=np.int64)) * NS_PER_HOUR
    changes, offsets = zone_offsets(zone, int(at_ns[0]), int(at_ns[-1]))
    offset_s = offsets[np.searchsorted(changes, at_ns, side="right") - 1]
    local = at_ns // 10**9 + offset_s
    day = local // 86_400
    weekday = (day + _THURSDAY) % 7
    return Clock(day, weekday * HOURS_PER_DAY + local % 86_400 // 3_600)


def count_hours(at_ns: Ints, weight: Floats | None = None) -> Counts:
    """Counts by hour; the first and the last are left out where they are not whole.

    Args:
        at_ns: int64[n] in order of time. weight: float64[n], how many opportunities a row stands for.

    Raises:
        InputError: less than `LEAST_DAYS` of whole hours.
    """
    if not len(at_ns):
        raise InputError(f"past traffic must cover {LEAST_DAYS} days, was empty")
    hour = at_ns // NS_PER_HOUR
    first, last = int(hour[0]) + 1, int(hour[-1])
    if last - first < LEAST_DAYS * HOURS_PER_DAY - 1:
        covered = (int(at_ns[-1]) - int(at_ns[0])) / NS_PER_HOUR
        raise InputError(
            f"past traffic must cover {LEAST_DAYS} days, was {covered:.1f} hours: give a longer history"
        )
    inside = (hour >= first) & (hour < last)
    sums = np.bincount(
        (hour[inside] - first).astype(np.int64),
        weights=None if weight is None else weight[inside],
        minlength=last - first,
    )
    return Counts(first, sums.astype(np.float64))


class TrafficModel:
    """What was learnt of past hours.

    Args:
        counts: of the past.
        zone: the clock by which people live there.
        holidays: factors by local day, of the past and of the future: 0.5 is half of an ordinary such day.

    Attributes:
        shape: float64[168], mean 1. level: opportunities of an hour at the end of the past, without shape.
        trend: of the logarithm, a day. hour_errors: what was left of hours, in roots of their mean.

    Raises:
        InputError: a holiday's factor is not above 0; the past holds no opportunity; no such zone.
    """

    def __init__(
        self, counts: Counts, zone: str = "UTC", holidays: Mapping[date, float] | None = None
    ) -> None:
        self._zone = zone
        self._holidays = dict(holidays or {})
        for day, factor in self._holidays.items():
            if not 0 < factor < 1_000:
                raise InputError(f"holiday {day} must have a factor above 0 and below 1,000, was {factor}")
        values = counts.counts
        if values.sum() <= 0:
            raise InputError("past traffic must hold an opportunity, has none")
        clock = clock_of(zone, counts.first_hour, len(values))
        plain = values / self._factors(clock.day)
        self.shape = _shape(plain, clock)
        self._last_day = int(clock.day[-1])
        days, sums, expected = _days(plain, self.shape[clock.hour_of_week], clock.day)
        logs = np.log(np.maximum(sums, 0.5) / expected)
        self.trend = _slope(days, logs) if len(days) >= TREND_DAYS else 0.0
        straight = logs - self.trend * (days - days[-1])
        weight = 0.5 ** ((days[-1] - days) / HALF_LIFE_DAYS)
        level = float(np.average(straight, weights=weight))
        self.level = float(np.exp(level))
        self._errors = _errors_of(days, straight - level, weight)
        fitted = self.shape[clock.hour_of_week] * np.exp(
            logs[np.searchsorted(days, clock.day).clip(0, len(days) - 1)]
        )
        self.hour_errors = (plain - fitted)[fitted > 0] / np.sqrt(fitted[fitted > 0])

    def forecast(self, start_ns: int, end_ns: int, *, seed: int, draws: int = 200) -> Traffic:
        """Opportunities of the hours in [start, end); a part of an hour counts for its part.

        Args:
            start_ns, end_ns: the time to come. seed: of the draws. draws: how many.

        Raises:
            InputError: the end is not after the start.
        """
        if end_ns <= start_ns:
            raise InputError(f"end of the flight must be after its start, was {end_ns} <= {start_ns}")
        first, last = start_ns // NS_PER_HOUR, -(-end_ns // NS_PER_HOUR)
        hours = np.arange(first, last, dtype=np.int64)
        part = (
            np.minimum((hours + 1) * NS_PER_HOUR, end_ns) - np.maximum(hours * NS_PER_HOUR, start_ns)
        ) / NS_PER_HOUR
        clock = clock_of(self._zone, first, len(hours))
        ahead = np.maximum(clock.day - self._last_day, 0).astype(np.float64)
        grown = self.trend * DAMPING * (1 - DAMPING**ahead) / (1 - DAMPING)
        expected = (
            self.level * np.exp(grown) * self.shape[clock.hour_of_week] * self._factors(clock.day) * part
        )
        return Traffic(first, expected, self._draw(expected, clock.day, ahead, seed, draws))

    def _draw(self, expected: Floats, day: Ints, ahead: Floats, seed: int, draws: int) -> Floats:
        rng = np.random.default_rng([seed, 71])
        known = self._errors
        span = int(max(day[-1] - self._last_day, 0)) + 1
        place = np.maximum(day - self._last_day, 0)
        weekday = (day + _THURSDAY) % 7
        found = np.empty((draws, len(expected)), dtype=np.float64)
        for draw in range(draws):
            spread = known.spread * np.sqrt(known.freedom / rng.chisquare(known.freedom))
            stays = float(np.clip(rng.normal(known.stays, known.stays_error), 0.0, 0.95))
            slow = spread * np.sqrt((1 + stays) / (1 - stays))
            trend = rng.normal(0.0, slow * known.trend_error)
            # A trend that is wrong makes the level wrong by the age of what the level was read from.
            level = rng.normal(0.0, slow * known.level_error) + trend * known.age
            days = (
                rng.normal(0.0, 1.0, 7)
                * np.where(known.weeks > 0, spread, UNSEEN_SPREAD)
                / np.sqrt(np.maximum(known.weeks, 1))
            )
            grown = trend * DAMPING * (1 - DAMPING**ahead) / (1 - DAMPING)
            course = _course(known.last, spread, stays, span, rng)[place]
            mean = expected * np.exp(level + grown + days[weekday] + course)
            noise = rng.choice(self.hour_errors, size=len(mean)) if len(self.hour_errors) else 0.0
            found[draw] = np.maximum(mean + noise * np.sqrt(mean), 0.0)
        return found

    def _factors(self, day: Ints) -> Floats:
        found = np.ones(len(day), dtype=np.float64)
        for when, factor in self._holidays.items():
            found[day == when.toordinal() - _EPOCH_DAY] = factor
        return found


def day_text(day: int) -> str:
    """A local day since 1970 as people write it."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def _shape(plain: Floats, clock: Clock) -> Floats:
    """Mean by hour of the week over the mean of all; hours and days that were not seen are as others are."""
    mean = plain.mean()
    hour_of_day, weekday = clock.hour_of_week % HOURS_PER_DAY, clock.hour_of_week // HOURS_PER_DAY
    by_hour = _means(plain, hour_of_day, HOURS_PER_DAY) / mean
    by_day = _means(plain / by_hour[hour_of_day], weekday, 7) / mean
    product = (by_day[:, None] * by_hour[None, :]).ravel()
    seen = np.bincount(clock.hour_of_week, minlength=HOURS_PER_WEEK)
    sums = np.bincount(clock.hour_of_week, weights=plain, minlength=HOURS_PER_WEEK) / mean
    shape = (sums + PRIOR_WEEKS * product) / (seen + PRIOR_WEEKS)
    return np.asarray(np.maximum(shape, 1e-9) / max(shape.mean(), 1e-9), dtype=np.float64)


def _means(values: Floats, group: Ints, groups: int) -> Floats:
    count = np.bincount(group, minlength=groups)
    sums = np.bincount(group, weights=values, minlength=groups)
    whole = values.mean()
    means = np.where(count > 0, sums / np.maximum(count, 1), whole)
    return np.asarray(np.maximum(means, whole * 1e-6), dtype=np.float64)


def _days(plain: Floats, shape: Floats, day: Ints) -> tuple[Floats, Floats, Floats]:
    """Days of which at least half is known: their numbers, their sums, and what the shape alone makes of them."""
    first = int(day[0])
    hours = np.bincount(day - first)
    sums = np.bincount(day - first, weights=plain)
    expected = np.bincount(day - first, weights=shape)
    kept = hours >= HOURS_PER_DAY // 2
    days = np.flatnonzero(kept).astype(np.float64) + first
    return days, sums[kept].astype(np.float64), expected[kept].astype(np.float64)


def _slope(days: Floats, logs: Floats) -> float:
    """Median of the slopes between days that are a week apart or more."""
    later, earlier = np.triu_indices(len(days), k=1)[::-1]
    apart = days[later] - days[earlier]
    kept = apart >= 7
    return float(np.median((logs[later] - logs[earlier])[kept] / apart[kept])) if kept.any() else 0.0


class _Errors(NamedTuple):
    """What is known of the errors of days, and how uncertain it makes what was fitted.

    spread: of one day. freedom: days that say so. stays: share of an error that is left a day later. last: the error
    of the last day. level_error, trend_error: in spreads. weeks: int64[7], times that each day of the week was seen.
    """

    spread: float
    freedom: float
    stays: float
    stays_error: float
    last: float
    level_error: float
    trend_error: float
    age: float
    weeks: Ints


def _errors_of(days: Floats, left: Floats, weight: Floats) -> _Errors:
    n = len(left)
    weekday = (days.astype(np.int64) + _THURSDAY) % 7
    weeks = np.bincount(weekday, minlength=7)
    # Each day of the week that was fitted takes away a freedom, and so does the level.
    free = max(n - int((weeks > 0).sum()), 0)
    spread = np.sqrt((float((left**2).sum()) + PRIOR_DAYS * PRIOR_SPREAD**2) / (free + PRIOR_DAYS))
    near = np.diff(days) == 1
    square = float((left[:-1][near] ** 2).sum())
    # Fitted days of the week hide what stays of an error, so where there are few weeks half is assumed to.
    seen = float((left[1:] * left[:-1])[near].sum()) / square if square > 0 else 0.0
    trust = free / (free + 10.0)
    stays = float(np.clip(trust * seen + (1 - trust) * 0.5, 0.0, 0.9))
    shares = weight / weight.sum()
    return _Errors(
        spread=float(spread),
        freedom=free + PRIOR_DAYS,
        stays=stays,
        stays_error=1.0 / np.sqrt(max(n, 1)),
        last=float(left[-1]) if free else 0.0,
        level_error=float(np.sqrt((shares**2).sum())),
        trend_error=float(np.sqrt(12.0 / n**3)) if n >= TREND_DAYS else 0.0,
        age=float((shares * (days[-1] - days)).sum()),
        weeks=weeks.astype(np.int64),
    )


def _course(last: float, spread: float, stays: float, days: int, rng: np.random.Generator) -> Floats:
    """Errors of days that follow the last one, of which the first is that one itself."""
    fresh = rng.normal(0.0, spread * np.sqrt(1 - stays**2), days)
    found = np.empty(days, dtype=np.float64)
    found[0] = last
    for day in range(1, days):
        found[day] = stays * found[day - 1] + fresh[day]
    return found
