"""Predicted over happened, with intervals.

A model that is right has a ratio of 1 in every group of rows that could be told apart before the label was
known. The predicted sum is taken as given; the number that happened is a sum of rare events. Its interval is
that of Fay and Feuer (Statistics in Medicine, 1997) for weighted sums of Poisson counts: exact for rare events
of equal weight (Garwood, 1936), never too short in their simulations. The variance is multiplied by how much more, or
less, the events vary than such counts do: less where they are common, as conversions after a click may be; more where
those of one user, or of one stretch of time, come together, and then an event counts as that many (the design effect
of Kish, 1965). Clusters may widen an interval, never narrow it. The gate of a renewal, its drift and the reliability
of a model all use this interval, each at its level.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.clusters import Clusters, clustered_variance

LEVEL = 0.95
TENTHS = 10
MIN_EVENTS = 30
"""Fewest events to call a model right by: the 95 % interval of 30 goes from 0.70 to 1.48."""

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


def ratio_of(
    p: Floats,
    labels: Floats,
    weights: Floats | None = None,
    clusters: Clusters | None = None,
    level: float = LEVEL,
) -> Ratio:
    """The ratio of a group of rows.

    Args:
        p: float64[N] probabilities. labels: float64[N] of 0.0 and 1.0.
        weights: float64[N]; None is one each.
        clusters: int32[N], which rows belong together, see `models.clusters`; None takes each for itself.
        level: of confidence.
    """
    w = np.ones(len(p)) if weights is None else weights
    predicted, happened = float((w * p).sum()), float((w * labels).sum())
    largest = float(w.max()) if len(w) else 1.0
    effect = _design_effect(p, labels, w, clusters)
    low, high = events_interval(w[labels > 0], largest, level, effect)
    return Ratio(
        rows=len(p),
        positives=int(labels.sum()),
        predicted=predicted,
        happened=happened,
        ratio=predicted / happened if happened > 0.0 else None,
        low=predicted / high if len(p) else None,
        high=predicted / low if low > 0.0 else None,
    )


def _design_effect(p: Floats, labels: Floats, w: Floats, clusters: Clusters | None) -> float:
    """How many times the variance of independent Poisson counts the weighted sum of labels has.

    Labels vary about the prediction over the ratio, so that a prediction which is wrong as a whole is not taken for
    noise.
    """
    poisson = float((w * w * labels).sum())
    if poisson <= 0.0:
        return 1.0
    expected = np.minimum(p * float((w * labels).sum()) / float((w * p).sum()), 1.0)
    residual = w * (labels - expected)
    alone = float((residual * residual).sum())
    together = 0.0 if clusters is None else clustered_variance(residual, clusters)
    # Where every label was certain nothing varies; then they count as independent ones.
    return max(alone, together) / poisson or 1.0


def events_interval(
    weights: Floats, largest: float, level: float = LEVEL, effect: float = 1.0
) -> tuple[float, float]:
    """Interval of the expected weighted sum of events, of which these were seen.

    Args:
        weights: float64[E] of the events seen.
        largest: weight that one more event could have had.
        level: of confidence.
        effect: how many times the variance of independent events they have; above 1, so many come at once.
    """
    from scipy.stats import chi2

    largest *= max(effect, 1.0)
    total, variance = float(weights.sum()), effect * float((weights * weights).sum())
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
    clusters: Clusters | None = None,
) -> tuple[Tenth, ...]:
    """Ratios of ten groups of about equally many rows in the order of a value; equal values stay together.

    Args:
        values: float64[N]; rows where it is NaN are left out.
        p, labels: as `ratio_of`.
        sampling: float64[N], how many rows each stands for.
        winning: float64[N], `sampling` times one over the chance to win.
        clusters: as `ratio_of`.
    """
    known = ~np.isnan(values)
    if not known.any():
        return ()
    edges = np.unique(np.quantile(values[known], np.arange(1, TENTHS) / TENTHS, method="inverted_cdf"))
    group = np.where(known, np.searchsorted(edges, values, side="left"), -1)
    columns = (values, p, labels, sampling, winning, clusters)
    return tuple(
        _tenth(*(None if column is None else column[group == k] for column in columns))  # type: ignore[arg-type]
        for k in np.unique(group[known])
    )


def _tenth(
    values: Floats,
    p: Floats,
    labels: Floats,
    sampling: Floats | None,
    winning: Floats | None,
    clusters: Clusters | None,
) -> Tenth:
    return Tenth(
        begin=float(values.min()),
        end=float(values.max()),
        plain=ratio_of(p, labels, sampling, clusters),
        weighted=None if winning is None else ratio_of(p, labels, winning, clusters),
    )


def worst(tenths: Sequence[Tenth]) -> float | None:
    """Largest factor by which a tenth is off, either way; None where none has a ratio."""
    logs = [abs(math.log(t.plain.ratio)) for t in tenths if t.plain.ratio]
    return math.exp(max(logs)) if logs else None
