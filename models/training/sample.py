"""What one model may see, and how a sample of it gives the probability of the whole.

Rows may be sampled twice: before they came to us (the column `weight` says how many rows each stands for), and by
us, where only a share of the rows without a click is kept (`negative_rate`). Both change the rate, and the
second, or any sampling by label alone, changes nothing else: with a share r1 of the positives and r0 of the
negatives kept, the odds of the sample are r1 / r0 times the true odds, for every x. So trees are grown on the
sampled rows as they are, and log(r0 / r1) is added to their sum, which for r1 = 1 is the correction
q = p / (p + (1 - p) / w) of He et al. (ADKDD 2014, section 6.3) in log odds: exact, and nothing to do when
scoring. Weights that vary within a label go into the likelihood instead.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.dataset import TrainingTable

Floats = NDArray[np.float64]
MIN_POSITIVES = 20


class Sample(msgspec.Struct, frozen=True):
    """Features and labels of N rows.

    Attributes:
        x: float64[N, F]. y: float64[N] of 0.0 and 1.0.
        weight: float64[N], how many rows each stands for; None where each stands for itself.
        seen: float64[N] in (0, 1], the probability that an event of this row would be known by now; None where
            labels are complete. See `training.delay`.
    """

    x: Floats
    y: Floats
    weight: Floats | None = None
    seen: Floats | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def can_teach(self) -> bool:
        """Whether there is enough of both labels to learn from."""
        positives = int(self.y.sum())
        return min(positives, len(self.y) - positives) >= MIN_POSITIVES

    @property
    def weights(self) -> Floats:
        """The weights, ones where there are none."""
        return np.ones(len(self.y)) if self.weight is None else self.weight

    @property
    def exposure(self) -> Floats:
        """How many rows with a complete label each row is worth."""
        return self.weights if self.seen is None else self.weights * self.seen

    def rows(self, which: slice | NDArray[np.bool_]) -> "Sample":
        """Some of the rows."""
        weight, seen = (None if part is None else part[which] for part in (self.weight, self.seen))
        return Sample(self.x[which], self.y[which], weight, seen)


def weight_of(table: TrainingTable) -> Floats | None:
    """The column `weight`, None where there is none or all its weights are 1."""
    found = table.extras.get("weight")
    if found is None:
        return None
    weight = np.asarray(found, dtype=np.float64)
    return None if (weight == 1.0).all() else weight


def click_sample(table: TrainingTable, x: Floats) -> Sample:
    """All rows, labelled by their clicks."""
    return Sample(x, table.click, weight_of(table))


def conversion_sample(table: TrainingTable, x: Floats) -> Sample:
    """The clicked rows whose conversion is known, labelled by it."""
    known = (table.click > 0) & ~np.isnan(table.conversion)
    return Sample(x, table.conversion, weight_of(table)).rows(known)


def thinned(sample: Sample, rate: float, seed: int) -> tuple[Sample, float]:
    """A sample with only a share of its negatives, and what to add to log odds learned from it.

    Args:
        sample: all rows. rate: share of the negatives to keep, in (0, 1].
        seed: the same rows are kept for the same seed, rate and number of rows.
    """
    if rate >= 1.0:
        return sample, 0.0
    random = np.random.default_rng([seed, 0x5A])
    kept = (random.random(len(sample)) < rate) | (sample.y > 0)
    return sample.rows(kept), float(np.log(rate))


def unweighted(sample: Sample) -> tuple[Sample, float]:
    """The sample without weights where they say nothing but the label, and what to add to log odds."""
    if sample.weight is None or sample.seen is not None:
        return sample, 0.0
    of_label = [np.unique(sample.weight[sample.y == label]) for label in (1.0, 0.0)]
    if any(len(found) != 1 for found in of_label):
        return sample, 0.0
    return Sample(sample.x, sample.y), float(np.log(of_label[0][0] / of_label[1][0]))
