"""Rows of the past in the order of a time to come: each hour is filled from past hours of its place in the week."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.forecast.traffic import HOURS_PER_DAY, NS_PER_HOUR, clock_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOURS_PER_WEEK = 168


class Past(NamedTuple):
    """Past rows by hour of the week.

    Attributes:
        rows: int64[n], places of the rows, those of one hour of the week together. begin: int64[169], where each
            begins. zone: of the clock.
    """

    rows: Ints
    begin: Ints
    zone: str


class Future(NamedTuple):
    """A course of the time to come.

    Attributes:
        rows: int64[m], the past row that comes at each turn. hour: int64[m], hours after the first.
        weight: opportunities that each turn stands for.
    """

    rows: Ints
    hour: Ints
    weight: float


def past_of(at_ns: Ints, zone: str) -> Past:
    """Past rows by hour of the week.

    Args:
        at_ns: int64[n] in order of time, not empty. zone: whose clock counts.

    Raises:
        InputError: no such zone.
    """
    first = int(at_ns[0] // NS_PER_HOUR)
    hours = int(at_ns[-1] // NS_PER_HOUR) - first + 1
    week = clock_of(zone, first, hours).hour_of_week[at_ns // NS_PER_HOUR - first]
    order = np.argsort(week, kind="stable")
    begin = np.searchsorted(week[order], np.arange(HOURS_PER_WEEK + 1))
    return Past(order.astype(np.int64), begin.astype(np.int64), zone)


def lay_out(past: Past, times: Ints, first_hour: int, counts: Floats, most_rows: int, seed: int) -> Future:
    """Fills hours to come with past rows, drawn with replacement.

    An hour of the week that was never seen takes the same hour of other days, and if there is none, any.

    Args:
        past: rows by hour of the week. times: int64[n], how often each row counts. first_hour: after the epoch, UTC.
        counts: float64[hours], opportunities. most_rows: turns to play, beyond which each stands for several.
        seed: of the draws.
    """
    rng = np.random.default_rng([seed, 73])
    weight = max(float(counts.sum()) / most_rows, 1.0)
    week = clock_of(past.zone, first_hour, len(counts)).hour_of_week
    turns = rng.poisson(counts / weight)
    drawn = [
        _draw(_candidates(past, times, int(place)), int(many), rng)
        for place, many in zip(week, turns, strict=True)
    ]
    hour = np.repeat(np.arange(len(counts), dtype=np.int64), turns)
    return Future(np.concatenate(drawn) if drawn else np.zeros(0, dtype=np.int64), hour, weight)


def _candidates(past: Past, times: Ints, place: int) -> Ints:
    """Past rows for an hour of the week, each as often as it counts."""
    for places in (
        (place,),
        range(place % HOURS_PER_DAY, HOURS_PER_WEEK, HOURS_PER_DAY),
        range(HOURS_PER_WEEK),
    ):
        rows = np.concatenate([past.rows[past.begin[each] : past.begin[each + 1]] for each in places])
        often = times[rows]
        if often.any():
            return np.repeat(rows, often)
    return past.rows


def _draw(rows: Ints, many: int, rng: np.random.Generator) -> Ints:
    # In the order of the past, so that what happened within an hour keeps its course.
    return rows[np.sort(rng.integers(0, len(rows), many))]
