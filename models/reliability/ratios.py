"""Predicted over happened, with intervals.

A model that is right has a ratio of 1 in every group of rows that could be told apart before the label was
known. The predicted sum is taken as given; the number that happened is a sum of rare events. Its interval is
that of Fay and Feuer (Statistics in Medicine, 1997) for weighted sums of Poisson counts: exact where all
weights are 1 (Garwood, 1936), never too short in their simulations. Where events are common, as conversions
after a click may be, it is wider than need be.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
TENTHS = 10

Floats = NDArray[np.float64]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted over happened in one group of rows; None where nothing happened.

    Attributes:
        rows, positives: how many, unweighted.
        predicted, happened: sums of weight x probability and of weight x label.
        ratio: predicted / happened. low, high: its interval; high is None where happened may be 0.
    """

    rows: int
    positives: int
    predicted: float
    happened: float
    ratio: float | None
    low: float | None
    high: float | None

    def excludes_one(self) -> bool:
        """Whether the interval lies wholly above or below 1."""
        return (self.low is not None and self.low > 1.0) or (self.high is not None and self.high < 1.0)


class Tenth(msgspec.Struct, frozen=True, kw_only=True):
    """A tenth of the rows by some value: its range, and its ratio without and with weights of won rows."""

    begin: float
    end: float
    plain: Ratio
    weighted: Ratio | None


def ratio_of(p: Floats, labels: Floats, weights: Floats | None = None) -> Ratio:
    """The ratio of a group of rows.

    Args:
        p: float64[N] probabilities. labels: float64[N] of 0.0 and 1.0.
        weights: float64[N]; None is one each.
    """
    w = np.ones(len(p)) if weights is None else weights
    predicted, happened = float((w * p).sum()), float((w * labels).sum())
    low, high = events_interval(w[labels > 0], float(w.max()) if len(w) else 1.0)
    return Ratio(
        rows=len(p),
        positives=int(labels.sum()),
        predicted=predicted,
        happened=happened,
        ratio=predicted / happened if happened > 0.0 else None,
        low=predicted / high if len(p) else None,
        high=predicted / low if low > 0.0 else None,
    )


def events_interval(weights: Floats, largest: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the expected weighted sum of events, of which these were seen.

    Args:
        weights: float64[E] of the events seen.
        largest: weight that one more event could have had.
        level: of confidence.
    """
    from scipy.stats import chi2

    total, variance = float(weights.sum()), float((weights * weights).sum())
    tail = (1.0 - level) / 2.0
    low = 0.0
    if variance > 0.0:
        low = variance / (2.0 * total) * float(chi2.ppf(tail, 2.0 * total * total / variance))
    more, wider = total + largest, variance + largest * largest
    high = wider / (2.0 * more) * float(chi2.ppf(1.0 - tail, 2.0 * more * more / wider))
    return low, high


def by_tenths(
    values: Floats,
    p: Floats,
    labels: Floats,
    sampling: Floats | None = None,
    winning: Floats | None = None,
) -> tuple[Tenth, ...]:
    """Ratios of ten groups of about equally many rows in the order of a value; equal values stay together.

    Args:
        values: float64[N]; rows where it is NaN are left out.
        p, labels: as `ratio_of`.
        sampling: float64[N], how many rows each stands for.
        winning: float64[N], `sampling` times one over the chance to win.
    """
    known = ~np.isnan(values)
    if not known.any():
        return ()
    edges = np.unique(np.quantile(values[known], np.arange(1, TENTHS) / TENTHS, method="inverted_cdf"))
    group = np.where(known, np.searchsorted(edges, values, side="left"), -1)
    return tuple(_tenth(group == k, values, p, labels, sampling, winning) for k in np.unique(group[known]))


def _tenth(
    rows: NDArray[np.bool_],
    values: Floats,
    p: Floats,
    labels: Floats,
    sampling: Floats | None,
    winning: Floats | None,
) -> Tenth:
    return Tenth(
        begin=float(values[rows].min()),
        end=float(values[rows].max()),
        plain=ratio_of(p[rows], labels[rows], None if sampling is None else sampling[rows]),
        weighted=None if winning is None else ratio_of(p[rows], labels[rows], winning[rows]),
    )


def worst(tenths: Sequence[Tenth]) -> float | None:
    """Largest factor by which a tenth is off, either way; None where none has a ratio."""
    logs = [abs(math.log(t.plain.ratio)) for t in tenths if t.plain.ratio]
    return math.exp(max(logs)) if logs else None
