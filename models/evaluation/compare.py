"""Two models on the same rows: differences with intervals from paired draws.

Both models are drawn on the same clusters, so that what is hard for both cancels: the interval of a difference is
much narrower than the intervals of the two numbers would suggest.
"""

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.clusters import Clusters
from models.evaluation.intervals import (
    DRAWS,
    Interval,
    Sample,
    Tell,
    enough,
    interval,
    metric_draws,
    part_draws,
    sample_of,
)

Floats = NDArray[np.float64]

LOWER_IS_BETTER: Mapping[str, bool] = {"normalized_entropy": True, "log_loss": True, "auc": False}


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the new model changes.

    Attributes:
        rows, positives: that both were judged by.
        differences: new less old, by metric; for normalized entropy and log loss below 0 is better, for AUC above.
        probability_better: share of the draws in which the new model was better, equal ones half, by metric; None
            where too little happened.
        better: the whole interval of the difference in normalized entropy is below 0.
    """

    rows: int
    positives: int
    differences: dict[str, Interval]
    probability_better: dict[str, float | None]
    better: bool

    def __getitem__(self, metric: str) -> Interval:
        """The difference in one metric: `difference, low, high = comparison["normalized_entropy"]`."""
        return self.differences[metric]


def compare(
    y: Floats,
    p_old: Floats,
    p_new: Floats,
    weights: Floats | None = None,
    *,
    clusters: Clusters | None = None,
    draws: int = DRAWS,
    seed: int = 1,
) -> Comparison:
    """Compares two models on the same rows.

    Args:
        y: float64[N] of 0.0 and 1.0.
        p_old, p_new: float64[N] inside (0, 1).
        weights: float64[N] > 0; None is 1 each.
        clusters: int32[N], which rows belong together; None takes each row for itself.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        ValueError: as `intervals.sample_of`.
    """
    return compare_samples(
        sample_of(y, p_old, weights, clusters), sample_of(y, p_new, weights, clusters), draws=draws, seed=seed
    )


def compare_samples(
    old: Sample, new: Sample, *, draws: int = DRAWS, seed: int = 1, tell: Tell | None = None
) -> Comparison:
    """As `compare`, of two samples with the same labels, weights and clusters."""
    whole = np.zeros(len(old), dtype=np.int64)
    before = metric_draws(part_draws(old, whole, 1, draws, seed, tell)[0])
    after = metric_draws(part_draws(new, whole, 1, draws, seed, tell)[0])
    positives = int(old.y.sum())
    certain = enough(positives, len(old) - positives, len(np.unique(old.clusters)))
    differences, probability = {}, {}
    for name, lower in LOWER_IS_BETTER.items():
        change = (after[name] - before[name])[:, 0]
        differences[name] = interval(change, certain=certain)
        drawn = change[1:][np.isfinite(change[1:])]
        good = (drawn < 0.0 if lower else drawn > 0.0) + 0.5 * (drawn == 0.0)
        probability[name] = float(good.mean()) if certain and len(drawn) else None
    high = differences["normalized_entropy"].high
    return Comparison(
        rows=len(old),
        positives=positives,
        differences=differences,
        probability_better=probability,
        better=high is not None and high < 0.0,
    )
