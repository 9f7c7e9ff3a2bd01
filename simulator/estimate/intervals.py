"""Intervals from bootstrap draws: Student's t on the scale where counts, ratios or differences are nearly normal."""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]

LEVEL = 0.95


class Measure(msgspec.Struct, frozen=True):
    """An estimate and its interval; NaN is written as None where nothing can be said."""

    point: float | None
    low: float | None
    high: float | None

    def less(self, number: float) -> "Measure":
        """The same with a number taken off; nothing stays nothing."""
        if self.point is None or self.low is None or self.high is None:
            return NOTHING
        return Measure(self.point - number, self.low - number, self.high - number)


NOTHING = Measure(None, None, None)


def count_measure(
    point: float, draws: Floats, events: float | None = None, widen: float = 1.0, level: float = LEVEL
) -> Measure:
    """Of a count or a sum of counts: the interval is even on the scale of its square root.

    Args:
        point: the estimate. draws: float64[B], its bootstrap. events: that were seen in all, where outcomes are rare:
            a bootstrap of none would be certain, a Poisson count is not. widen: factor of the deviation.
        level: of the interval.
    """
    root = math.sqrt(max(point, 0.0))
    deviation = float(np.sqrt(np.maximum(draws, 0.0)).std(ddof=1)) if len(draws) > 1 else 0.0
    if events is not None:
        # What follows from so many Poisson events is at least as uncertain as they are.
        deviation = max(deviation, 0.5 * math.sqrt(max(point, 1.0) / max(events, 1.0)))
    reach = _quantile(len(draws), level) * deviation * widen
    return Measure(point, max(root - reach, 0.0) ** 2, (root + reach) ** 2)


def ratio_measure(
    over: float, under: float, overs: Floats, unders: Floats, widen: float = 1.0, level: float = LEVEL
) -> Measure:
    """Of `over` / `under`: the interval is even on the logarithm; nothing where one of them is not above 0."""
    good = (overs > 0.0) & (unders > 0.0)
    if not (over > 0.0 and under > 0.0) or good.sum() < max(2, 0.8 * len(good)):
        return NOTHING
    point = over / under
    deviation = float(np.log(overs[good] / unders[good]).std(ddof=1))
    reach = math.exp(_quantile(int(good.sum()), level) * deviation * widen)
    return Measure(point, point / reach, point * reach)


def difference_measure(point: float, draws: Floats, level: float = LEVEL) -> Measure:
    """Of what may be above or below 0, such as value less spend, or one side less another: the interval is even.

    Args:
        point: the estimate. draws: float64[B], its bootstrap. level: of the interval.
    """
    deviation = float(draws.std(ddof=1)) if len(draws) > 1 else 0.0
    reach = _quantile(len(draws), level) * deviation
    return Measure(point, point - reach, point + reach)


def _quantile(draws: int, level: float) -> float:
    return float(stdtrit(max(draws - 1, 1), (1.0 + level) / 2))
