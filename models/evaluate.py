"""The numbers by which a probability is judged; plain NumPy, exact, no sampling.

Labels y are 0 or 1, probabilities p strictly inside (0, 1), weights > 0, all one-dimensional and of one length. A
row of weight 3 counts as that row three times. The order of the rows does not matter, ties of p included. A number
that is not defined for the labels at hand (no positive, no negative, no row) is NaN, never a guess.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one model did on one set of rows; None where a number is not defined there.

    Attributes:
        rows: how many.
        positives: how many with label 1.
        auc: area under the ROC curve; ties count half.
        log_loss: mean of -log p(label), nats.
        normalized_entropy: log loss over that of the constant mean label (He et al., ADKDD 2014); below 1 is
            better than knowing only the mean.
        calibration_ratio: sum of p over sum of labels.
        ece: expected calibration error over bins of equally many rows, absolute.
    """

    rows: int
    positives: int
    auc: float | None
    log_loss: float | None
    normalized_entropy: float | None
    calibration_ratio: float | None
    ece: float | None


def evaluate(y: Floats, p: Floats, weights: Floats | None = None) -> Metrics:
    """All metrics of one set of rows.

    Args:
        y: float64[N] of 0.0 and 1.0.
        p: float64[N] inside (0, 1).
        weights: float64[N], how many rows each one stands for, > 0; None is 1 each. `rows` and `positives` of the
            result count rows, whatever they weigh.
    """
    w = np.ones(len(y)) if weights is None else weights
    return Metrics(
        rows=len(y),
        positives=int(y.sum()),
        auc=_known(auc(y, p, w)),
        log_loss=_known(log_loss(y, p, w)),
        normalized_entropy=_known(normalized_entropy(y, p, w)),
        calibration_ratio=_known(calibration_ratio(y, p, w)),
        ece=_known(ece(y, p, weights=w)),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def auc(y: Floats, p: Floats, weights: Floats | None = None) -> float:
    """Share of (positive, negative) pairs in the right order, ties half; NaN without both kinds.

    Mann-Whitney's U, a pair weighing the product of its rows' weights. It is kept doubled, so that without weights,
    and with whole ones, every sum is a whole number and exact.
    """
    _, group = np.unique(p, return_inverse=True)
    w = np.ones(len(y)) if weights is None else weights
    positive = np.bincount(group, weights=np.where(y > 0, w, 0.0))
    negative = np.bincount(group, weights=np.where(y > 0, 0.0, w))
    pairs = float(positive.sum()) * float(negative.sum())
    if pairs == 0.0:
        return math.nan
    doubled_below = 2.0 * np.cumsum(negative) - negative
    return float((positive * doubled_below).sum()) / (2.0 * pairs)


def log_loss(y: Floats, p: Floats, weights: Floats | None = None) -> float:
    """Mean of -log p(label) in nats; NaN without rows."""
    if len(y) == 0:
        return math.nan
    return float(np.average(surprise(y, p), weights=weights))


def surprise(y: Floats, p: Floats) -> Floats:
    """float64[N]: -log p(label) of each row, nats."""
    return -np.where(y > 0, np.log(p), np.log1p(-p))


def normalized_entropy(y: Floats, p: Floats, weights: Floats | None = None) -> float:
    """Log loss over the entropy of the mean label; NaN where all labels are the same."""
    mean = float(np.average(y, weights=weights)) if len(y) else 0.0
    if not 0.0 < mean < 1.0:
        return math.nan
    entropy = -(mean * math.log(mean) + (1.0 - mean) * math.log1p(-mean))
    return log_loss(y, p, weights) / entropy


def calibration_ratio(y: Floats, p: Floats, weights: Floats | None = None) -> float:
    """Sum of p over sum of labels; NaN without a positive."""
    w = np.ones(len(y)) if weights is None else weights
    positives = float(w @ y)
    return float(w @ p) / positives if positives else math.nan


def ece(y: Floats, p: Floats, bins: int = 20, weights: Floats | None = None) -> float:
    """Mean of |mean p - mean y| over `bins` bins of equal weight in the order of p; NaN without rows.

    Rows of one p are one thing: where an edge falls among them, both bins get their part of all of them. So neither
    the order of the rows nor a row written as several changes the result. There are never more bins than values.
    """
    if len(y) == 0:
        return math.nan
    w = np.ones(len(y)) if weights is None else weights
    values, group = np.unique(p, return_inverse=True)
    ends = np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=w))])
    gaps = np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=w * (p - y)))])
    edges = np.linspace(0.0, ends[-1], min(bins, len(values)) + 1)
    return float(np.abs(np.diff(np.interp(edges, ends, gaps))).sum() / ends[-1])
