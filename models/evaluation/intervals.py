"""Metrics with intervals: 95 % percentiles of a bootstrap over clusters.

The expected calibration error needs another interval: it sums absolute gaps, to which noise only adds. A draw adds
its own noise to that of the rows, so percentiles lie above the truth, for a well calibrated model nearly always. The
noise of the gaps themselves is known from the draws, and by the triangle inequality the truth can be less than the
estimate by no more than the sum of the noise: the low end is the estimate less the 97.5 % percentile of that sum,
not below 0, the high end is a percentile as for the others. It holds the truth at least as often as it says. And what
chance alone gives a model that is exactly right is stated beside it, as `ece_by_chance`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.clusters import Clusters, packed
from models.evaluate import surprise
from models.evaluation import kernels
from models.evaluation.resampling import draws_of

LEVEL = 0.95
MIN_EVENTS = 10
"""Fewest positives, and fewest negatives, for an interval: below, percentiles cover far less than they say."""
MIN_CLUSTERS = 10
"""Fewest users, or stretches of time: what a handful of users do says little of the next ones."""
ECE_BINS = 20
DRAWS = 200

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Tell = Callable[[int, int], None]
"""Told of (done, total) draws."""


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number and the ends of its 95 % interval; None where it is not defined, or rows are too few for ends."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __iter__(self) -> Iterator[float | None]:
        """Value, low, high: `value, low, high = interval`."""
        return iter((self.value, self.low, self.high))


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was found on some rows; fields as in `models.evaluate.Metrics`, with intervals.

    Attributes:
        rows, positives: counted, whatever they weigh.
        clusters: users or stretches of time that these rows fall into.
        rate: weighted mean label. predicted: weighted mean prediction.
        ece_by_chance: expected value of the ECE if every prediction were exactly right; above it is news.
    """

    rows: int
    positives: int
    clusters: int
    rate: Interval
    predicted: Interval
    auc: Interval
    log_loss: Interval
    normalized_entropy: Interval
    calibration_ratio: Interval
    ece: Interval
    ece_by_chance: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """Labels and predictions of rows, in the order of time.

    Attributes:
        y: float64[N] of 0.0 and 1.0.
        p: float64[N] inside (0, 1).
        weights: float64[N] > 0.
        clusters: int32[N], as `clusters.clusters_of` gives them.
    """

    y: Floats
    p: Floats
    weights: Floats
    clusters: Clusters

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.y)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Sample":
        """The sample of some rows."""
        return Sample(self.y[rows], self.p[rows], self.weights[rows], self.clusters[rows])


def sample_of(
    y: Floats, p: Floats, weights: Floats | None = None, clusters: Clusters | None = None
) -> Sample:
    """A sample; without weights each row is one, without clusters each row is a cluster of its own.

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, p is not inside (0, 1), or a weight is not > 0.
    """
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    c = np.arange(len(y), dtype=np.int32) if clusters is None else clusters
    if not len(y) == len(p) == len(w) == len(c):
        raise ValueError(
            f"labels, predictions, weights and clusters must be of one length, "
            f"were {len(y)}, {len(p)}, {len(w)}, {len(c)}"
        )
    if not ((y == 0.0) | (y == 1.0)).all():
        raise ValueError("labels must be 0 or 1")
    if not ((p > 0.0) & (p < 1.0)).all():
        raise ValueError("predictions must be inside (0, 1)")
    if not ((w > 0.0) & np.isfinite(w)).all():
        raise ValueError("weights must be > 0 and finite")
    return Sample(y, p, w, c)


def judge(sample: Sample, *, draws: int = DRAWS, seed: int = 1, tell: Tell | None = None) -> Judged:
    """Metrics of all rows, with intervals."""
    whole = np.zeros(len(sample), dtype=np.int64)
    return judge_parts(sample, whole, 1, draws=draws, seed=seed, tell=tell)[0]


def judge_parts(
    sample: Sample, codes: Codes, parts: int, *, draws: int = DRAWS, seed: int = 1, tell: Tell | None = None
) -> list[Judged]:
    """Metrics of each part of the rows, with intervals.

    Args:
        sample: the rows.
        codes: int64[N], the part of each row, 0 .. parts - 1.
        parts: how many; one may have no rows.
        draws: of the bootstrap; the same clusters are drawn for all parts.
        seed: of the draws.
        tell: told how far it is.
    """
    sums, gaps = part_draws(sample, codes, parts, draws, seed, tell)
    found, calibration = metric_draws(sums), ece_draws(sums, gaps)
    rows = np.bincount(codes, minlength=parts)
    positives = np.bincount(codes, weights=sample.y, minlength=parts).astype(np.int64)
    clusters = _clusters_by_part(sample, codes, parts)
    certain = [enough(*each) for each in zip(positives, rows - positives, clusters, strict=True)]
    chance = [_ece_by_chance(sample.take(codes == part)) for part in range(parts)]
    return [
        Judged(
            rows=int(rows[part]),
            positives=int(positives[part]),
            clusters=clusters[part],
            ece_by_chance=chance[part],
            ece=_ece_interval(*(each[:, part] for each in calibration), certain=certain[part]),
            **{name: interval(values[:, part], certain=certain[part]) for name, values in found.items()},
        )
        for part in range(parts)
    ]


def enough(positives: int, negatives: int, clusters: int) -> bool:
    """Whether there is enough for an interval."""
    return bool(min(positives, negatives) >= MIN_EVENTS and clusters >= MIN_CLUSTERS)


def part_draws(
    sample: Sample, codes: Codes, parts: int, draws: int, seed: int, tell: Tell | None = None
) -> tuple[Floats, Floats]:
    """Sums float64[1 + draws, parts, kernels.N_SUMS] and gaps float64[1 + draws, parts, ECE_BINS] of `part_sums`.

    The first are of the rows as they are, the others of each draw.
    """
    order = np.lexsort((sample.p, codes))
    ends = np.cumsum(np.bincount(codes, minlength=parts))
    start = np.concatenate([[0], ends]).astype(np.int64)
    p, y, weight = sample.p[order], sample.y[order], sample.weights[order]
    bins = np.array([_bins(p[start[s] : start[s + 1]]) for s in range(parts)], dtype=np.int64)
    clusters, n_clusters = packed(sample.clusters)
    rows = (p, y, surprise(y, p), weight, clusters[order])
    sums, gaps = np.empty((1 + draws, parts, kernels.N_SUMS)), np.empty((1 + draws, parts, ECE_BINS))
    kernels.part_sums(start, bins, *rows, np.ones(n_clusters, dtype=np.uint8), sums[0], gaps[0])
    for draw, times in enumerate(draws_of(n_clusters, draws, seed), start=1):
        kernels.part_sums(start, bins, *rows, times, sums[draw], gaps[draw])
        if tell:
            tell(draw, draws)
    return sums, gaps


def _bins(p_ascending: Floats) -> int:
    """As many bins as there are values, at most `ECE_BINS`."""
    if len(p_ascending) == 0:
        return 0
    return min(ECE_BINS, 1 + int(np.count_nonzero(np.diff(p_ascending))))


def metric_draws(sums: Floats) -> dict[str, Floats]:
    """The metrics of each draw and part, float64[1 + draws, parts] each; NaN where not defined."""
    w, y, p, loss, pairs = (sums[..., k] for k in range(kernels.N_SUMS))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = y / w
        entropy = -(rate * np.log(rate) + (1.0 - rate) * np.log1p(-rate))
        out = {
            "rate": rate,
            "predicted": p / w,
            "auc": pairs / (y * (w - y)),
            "log_loss": loss / w,
            "normalized_entropy": loss / w / entropy,
            "calibration_ratio": p / y,
        }
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in out.items()}


def ece_draws(sums: Floats, gaps: Floats) -> tuple[Floats, Floats]:
    """The ECE of each draw, and the sum of |noise| of its gaps, float64[1 + draws, parts] each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = gaps / sums[..., kernels.WEIGHT, None]
    return np.abs(mean).sum(axis=2), np.abs(mean - mean[:1]).sum(axis=2)


def interval(values: Floats, *, certain: bool = True) -> Interval:
    """The first of the values, and the percentiles of the others.

    Args:
        values: float64[1 + draws]; draws where the number is not defined are left out.
        certain: whether there are events enough for an interval at all.
    """
    value = float(values[0])
    if not math.isfinite(value):
        return Interval(None)
    drawn = values[1:][np.isfinite(values[1:])]
    if not certain or len(drawn) == 0 or len(drawn) < 0.9 * (len(values) - 1):
        return Interval(value)
    low, high = np.quantile(drawn, ((1.0 - LEVEL) / 2, (1.0 + LEVEL) / 2))
    return Interval(value, float(low), float(high))


def _ece_interval(values: Floats, noise: Floats, *, certain: bool) -> Interval:
    """See the head of this module."""
    found, error = interval(values, certain=certain), interval(noise, certain=certain)
    if found.value is None or found.high is None or error.high is None:
        return found
    return Interval(found.value, max(0.0, found.value - error.high), max(found.value, found.high))


def _clusters_by_part(sample: Sample, codes: Codes, parts: int) -> list[int]:
    return [len(np.unique(sample.clusters[codes == part])) for part in range(parts)]


def _ece_by_chance(sample: Sample) -> float | None:
    """Mean of |gap| if y were drawn from p itself: a normal's mean absolute value, bin by bin, over all weight."""
    if len(sample) == 0:
        return None
    order = np.argsort(sample.p, kind="stable")
    p, w = sample.p[order], sample.weights[order]
    place = np.cumsum(w) - w / 2
    bin_of = np.minimum((place / w.sum() * _bins(p)).astype(np.int64), ECE_BINS - 1)
    variance = np.bincount(bin_of, weights=w * w * p * (1.0 - p))
    return float(np.sqrt(variance * 2.0 / math.pi).sum() / w.sum())
