"""Metrics by part of a column, and which parts are off by more than chance allows.

With many parts some lie outside their 95 % interval by chance alone. So a part is flagged by a test of its own:
z = (sum w y - sum w p) / s, where s is the larger of two standard deviations, that of the cluster totals of
w (y - p) (rows of one user are alike) and that of labels drawn from p (which holds where nothing was clicked). The
p-values of all parts of all columns are adjusted together (Benjamini and Hochberg, 1995): of those flagged, at most
5 % are expected to be false. A part with fewer than 5 expected positives or negatives, or
10 clusters, is not tested.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import DRAWS, MIN_CLUSTERS, Judged, Sample, Tell, judge_parts
from models.evaluation.slicing import Slicing, bands_of

FALSE_DISCOVERIES = 0.05
MIN_EXPECTED = 5.0

Floats = NDArray[np.float64]


class SliceReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One part.

    Attributes:
        label: the value, the band, or `others`.
        judged: its metrics.
        p_value: that its predictions sum to its labels; None where too little is expected for a test.
        adjusted: the smallest share of false discoveries at which it would be flagged.
        flagged: whether its calibration is off, with all parts that were looked at in mind.
    """

    label: str
    judged: Judged
    p_value: float | None
    adjusted: float | None = None
    flagged: bool = False


class ColumnReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The parts of one column. overlapping: a row may be in several, so that they do not sum to the whole."""

    column: str
    overlapping: bool
    slices: tuple[SliceReport, ...]

    @property
    def tested(self) -> int:
        """How many parts had enough expected for a test."""
        return sum(part.p_value is not None for part in self.slices)

    @property
    def flagged(self) -> tuple[SliceReport, ...]:
        """The parts that are off."""
        return tuple(part for part in self.slices if part.flagged)


def by_column(
    sample: Sample, slicing: Slicing, *, draws: int = DRAWS, seed: int = 1, tell: Tell | None = None
) -> ColumnReport:
    """Metrics of each part that has rows; flags are set by `flag`."""
    rows = sample.take(slicing.rows)
    parts = len(slicing.labels)
    judged = judge_parts(rows, slicing.codes, parts, draws=draws, seed=seed, tell=tell)
    chances = [calibration_p_value(rows.take(slicing.codes == part)) for part in range(parts)]
    found = (
        SliceReport(label=label, judged=metrics, p_value=chance)
        for label, metrics, chance in zip(slicing.labels, judged, chances, strict=True)
        if metrics.rows
    )
    return ColumnReport(column=slicing.column, overlapping=slicing.overlapping, slices=tuple(found))


def deciles(sample: Sample, *, draws: int = DRAWS, seed: int = 1) -> ColumnReport:
    """Metrics by tenth of the rows in the order of the prediction."""
    bands = bands_of("prediction", sample.p, sample.weights)
    return flag([by_column(sample, bands, draws=draws, seed=seed)])[0]


def calibration_p_value(sample: Sample) -> float | None:
    """Two-sided p-value that the labels have the predictions as their means; None where too little is expected."""
    expected = float(sample.weights @ sample.p)
    share = expected / float(sample.weights.sum()) if len(sample) else 0.0
    few = len(np.unique(sample.clusters)) < MIN_CLUSTERS
    if few or min(share, 1.0 - share) * len(sample) < MIN_EXPECTED:
        return None
    gaps = sample.weights * (sample.y - sample.p)
    clustered = float((np.bincount(sample.clusters, weights=gaps) ** 2).sum())
    binomial = float((sample.weights**2 * sample.p * (1.0 - sample.p)).sum())
    z = float(gaps.sum()) / math.sqrt(max(clustered, binomial))
    return math.erfc(abs(z) / math.sqrt(2.0))


def flag(reports: Sequence[ColumnReport]) -> list[ColumnReport]:
    """The same reports with `adjusted` and `flagged`, over all parts of all of them together."""
    chances = [part.p_value for report in reports for part in report.slices]
    adjusted = iter(benjamini_hochberg(chances))
    return [
        msgspec.structs.replace(
            report, slices=tuple(_flagged(part, next(adjusted)) for part in report.slices)
        )
        for report in reports
    ]


def _flagged(part: SliceReport, adjusted: float | None) -> SliceReport:
    off = adjusted is not None and adjusted <= FALSE_DISCOVERIES
    return msgspec.structs.replace(part, adjusted=adjusted, flagged=off)


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values, in the order given; None stays None and does not count."""
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    out: list[float | None] = [None] * len(p_values)
    lowest = 1.0
    for rank in range(len(known), 0, -1):
        value, place = known[rank - 1]
        lowest = min(lowest, value * len(known) / rank)
        out[place] = lowest
    return out
