"""The shape of traffic over the week: stated, learned from what came, and other on holidays."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.opportunity import HOURS_PER_WEEK, NS_PER_HOUR
from bidder.core.settings import DAYS, Holiday
from bidder.zones import day_number

_DAY_NS = 24 * NS_PER_HOUR
_WEEK_NS = HOURS_PER_WEEK * NS_PER_HOUR
_MONDAY_NS = -72 * NS_PER_HOUR
"""A Monday 00:00 UTC at or before the epoch, so that phases count from it."""
_THURSDAY = 3
"""1970-01-01 was one."""
_QUARTERS = 4 * HOURS_PER_WEEK
"""Offsets of time zones are whole quarters of an hour."""
_DAY_EDGES = np.arange(97, dtype=np.float64) * (NS_PER_HOUR // 4)
_NEW_WEEK = 0.25
"""What the latest week counts for in the learned traffic of an hour, once four were seen."""
_LEAST_HOURS = 12
"""Hours that must be known before any of it counts: the first day that was not begun late."""
_PRIOR_WEEKS = 0.5
"""Weight of what is thought of an hour beside each week in which it was seen."""


class Override(NamedTuple):
    """A day that is like another: when it begins, the day of the week that it is like, 0 to 6, and its factor."""

    start_ns: int
    day: int
    factor: float


def overrides(holidays: Mapping[str, Holiday]) -> tuple[Override, ...]:
    """Holidays by date, in UTC."""
    found = []
    for text, holiday in sorted(holidays.items()):
        number = day_number(text)
        day = DAYS.index(holiday.like) if holiday.like else (number + _THURSDAY) % 7
        found.append(Override(number * _DAY_NS, day, holiday.factor))
    return tuple(found)


class TrafficShape:
    """How much of a week's traffic falls into each hour.

    Args:
        weights: float[168], traffic by hour from Monday 00:00 UTC, any scale; empty for an even week.
        holidays: days that are like another.
        is_open: bool[672], the quarters of hours that count; None for all.

    Attributes:
        stated: float[168], what was thought of the traffic before anything was learned.
    """

    def __init__(
        self,
        weights: Sequence[float] = (),
        holidays: Sequence[Override] = (),
        is_open: NDArray[np.bool_] | None = None,
    ) -> None:
        if weights and (len(weights) != HOURS_PER_WEEK or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError(f"traffic shape must be {HOURS_PER_WEEK} weights >= 0, not all 0")
        filled = np.asarray(weights or [1.0] * HOURS_PER_WEEK, dtype=np.float64)
        self._weights, self._holidays = tuple(weights), tuple(holidays)
        shares = filled / filled.sum()
        self.stated: Sequence[float] = weights
        quarters = np.repeat(shares / 4, 4)
        counted = np.ones(_QUARTERS, dtype=np.bool_) if is_open is None else is_open
        self._others = [_other(one, quarters, counted) for one in holidays]
        if is_open is not None:
            shares = quarters * is_open
        self._edges = np.arange(len(shares) + 1, dtype=np.float64) * (_WEEK_NS // len(shares))
        self._sums = np.concatenate(([0.0], np.cumsum(shares)))
        self._week = 1.0 if is_open is None else float(self._sums[-1])

    def weighted(self, weights: Sequence[float]) -> "TrafficShape":
        """Other hours that were learned, the same holidays."""
        found = TrafficShape(weights, self._holidays)
        found.stated = self.stated
        return found

    def open_in(self, hours: frozenset[int], offset_s: int) -> "TrafficShape":
        """The same traffic with nothing outside of local hours of the week, where local time is UTC + `offset_s`."""
        quarter = np.arange(_QUARTERS)
        local = (quarter + offset_s // 900) % _QUARTERS // 4
        return TrafficShape(self._weights, self._holidays, np.isin(local, sorted(hours)))

    def weeks(self, at_ns: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """Traffic from a fixed Monday to `at_ns`, in weeks of all traffic."""
        at = np.asarray(at_ns, dtype=np.int64)
        whole, phase = np.divmod(at - _MONDAY_NS, _WEEK_NS)
        found = whole * self._week + np.interp(phase.astype(np.float64), self._edges, self._sums)
        for start_ns, more in self._others:
            found = found + np.interp((at - start_ns).astype(np.float64), _DAY_EDGES, more)
        return found


def _other(
    one: Override, quarters: NDArray[np.float64], counted: NDArray[np.bool_]
) -> tuple[int, NDArray[np.float64]]:
    """How much more than usually has come on a holiday by each quarter of an hour, float64[97]; less is below 0."""
    first = (one.start_ns - _MONDAY_NS) % _WEEK_NS // _DAY_NS * 96
    usual, like = quarters[first : first + 96], quarters[one.day * 96 : one.day * 96 + 96]
    more = (one.factor * like - usual) * counted[first : first + 96]
    return one.start_ns, np.concatenate(([0.0], np.cumsum(more)))


class TrafficLearner:
    """Learns the shape from opportunities by hour of the week, and from nothing else, so that a replay learns it too.

    Only whole hours count: one in which nothing came, and the first after it, say more of us than of the traffic.

    Attributes:
        means: float64[168], opportunities of an hour, the latest week counting for a quarter at least.
        weeks: int64[168], how often each hour was seen.
    """

    def __init__(self) -> None:
        self.means: NDArray[np.float64] = np.zeros(HOURS_PER_WEEK)
        self.weeks: NDArray[np.int64] = np.zeros(HOURS_PER_WEEK, dtype=np.int64)
        self._hour, self._count, self._whole = -1, 0, False

    def count(self, opportunities: int, now_ns: int) -> bool:
        """Counts opportunities; whether the first of another day in UTC are among them."""
        hour = now_ns // NS_PER_HOUR
        turned = False
        if hour > self._hour:
            if self._whole:
                self._learn()
            turned = self._hour >= 0 and hour // 24 != self._hour // 24
            self._whole = hour == self._hour + 1
            self._hour, self._count = hour, 0
        self._count += opportunities
        return turned

    def _learn(self) -> None:
        slot = (self._hour - _MONDAY_NS // NS_PER_HOUR) % HOURS_PER_WEEK
        weight = max(1.0 / (self.weeks[slot] + 1), _NEW_WEEK)
        self.means[slot] += (self._count - self.means[slot]) * weight
        self.weeks[slot] += 1

    def weights(self, stated: Sequence[float]) -> tuple[float, ...]:
        """The shape, float[168], empty before half a day's hours were seen.

        An hour that was never seen is like the same hour of other days, else as stated.

        Args:
            stated: float[168], what was thought of the traffic, any scale; empty for an even week.
        """
        seen = self.weeks > 0
        if seen.sum() < _LEAST_HOURS or not self.means.any():
            return ()
        thought = np.asarray(stated or [1.0] * HOURS_PER_WEEK, dtype=np.float64)
        known = float(thought[seen].sum())
        thought = thought * (float(self.means[seen].sum()) / known if known > 0.0 else 1.0)
        days, by_hour = seen.reshape(7, 24).sum(axis=0), self.means.reshape(7, 24).sum(axis=0)
        alike = np.where(days > 0, by_hour / np.maximum(days, 1), np.nan)
        thought = np.where(np.isnan(np.tile(alike, 7)), thought, np.tile(alike, 7))
        found = (thought * _PRIOR_WEEKS + self.means * self.weeks) / (_PRIOR_WEEKS + self.weeks)
        return tuple(found.tolist()) if found.sum() > 0.0 else ()

    def shape(self, before: TrafficShape) -> TrafficShape:
        """The shape that was learned; `before` where that is nothing yet."""
        weights = self.weights(before.stated)
        return before.weighted(weights) if weights else before
