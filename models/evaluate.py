"""The numbers by which a probability is judged; plain NumPy, exact, no sampling.

Labels y are 0 or 1, probabilities p strictly inside (0, 1), both one-dimensional and of one length. A number
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


def evaluate(y: Floats, p: Floats) -> Metrics:
    """All metrics of one set of rows."""
    return Metrics(
        rows=len(y),
        positives=int(y.sum()),
        auc=_known(auc(y, p)),
        log_loss=_known(log_loss(y, p)),
        normalized_entropy=_known(normalized_entropy(y, p)),
        calibration_ratio=_known(calibration_ratio(y, p)),
        ece=_known(ece(y, p)),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def auc(y: Floats, p: Floats) -> float:
    """Share of (positive, negative) pairs in the right order, ties half; NaN without both kinds.

    Mann-Whitney's U over midranks. Ranks are kept doubled, so they are integers and the sum is exact.
    """
    positives = int(y.sum())
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return math.nan
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts, dtype=np.int64)
    doubled_midrank = 2 * ends - counts + 1
    doubled = int(doubled_midrank[inverse][y > 0].sum()) - positives * (positives + 1)
    return doubled / (2 * positives * negatives)


def log_loss(y: Floats, p: Floats) -> float:
    """Mean of -log p(label) in nats; NaN without rows."""
    if len(y) == 0:
        return math.nan
    return float(-np.mean(np.where(y > 0, np.log(p), np.log1p(-p))))


def normalized_entropy(y: Floats, p: Floats) -> float:
    """Log loss over the entropy of the mean label; NaN where all labels are the same."""
    mean = float(y.mean()) if len(y) else 0.0
    if not 0.0 < mean < 1.0:
        return math.nan
    entropy = -(mean * math.log(mean) + (1.0 - mean) * math.log1p(-mean))
    return log_loss(y, p) / entropy


def calibration_ratio(y: Floats, p: Floats) -> float:
    """Sum of p over sum of labels; NaN without a positive."""
    positives = float(y.sum())
    return float(p.sum()) / positives if positives else math.nan


def ece(y: Floats, p: Floats, bins: int = 20) -> float:
    """Mean of |mean p - mean y| over `bins` bins of equally many rows in the order of p; NaN without rows."""
    if len(y) == 0:
        return math.nan
    order = np.argsort(p, kind="stable")
    edges = np.linspace(0, len(y), min(bins, len(y)) + 1).astype(np.int64)
    gaps = np.add.reduceat(p[order] - y[order], edges[:-1])
    return float(np.abs(gaps).sum() / len(y))
