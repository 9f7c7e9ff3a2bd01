"""What a calibration that was fitted again changes, on rows later than those of the fit.

A table fitted to few or odd rows can be worse than the one it replaces. Both tables are judged on the same rows: the
difference of a row is its new log loss less its old, and the interval is of their mean, rows of one user together.
"""

import math
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.clusters import clustered_variance
from models.evaluate import surprise
from models.reliability.ratios import LEVEL, MIN_EVENTS, Ratio, ratio_of
from models.reliability.report import Sample

Floats = NDArray[np.float64]


class TableChange(msgspec.Struct, frozen=True, kw_only=True):
    """One model, with the table before and the new one.

    Attributes:
        name: of the model. kept: the table before stays, for want of events to fit another.
        target: `won` rows count as they are; for `bids` each also counts one over its chance to win, as in the fit.
        rows, events: later than those of the fit, that both tables are judged by.
        learned: of these rows, how many are not later than what the model was made from: the table before, and the
            trees, may have been fitted to them.
        log_loss: mean over the rows in nats, before and after; None without rows.
        difference: after less before, with its 95 % interval; None without rows.
        ratio: predicted over happened, before and after.
    """

    name: str
    kept: bool
    target: Literal["won", "bids"]
    rows: int
    events: int
    learned: int
    log_loss: tuple[float, float] | None
    difference: tuple[float, float, float] | None
    ratio: tuple[Ratio, Ratio]

    @property
    def is_worse(self) -> bool:
        """Whether the new table loses more, be it by chance."""
        return self.difference is not None and self.difference[0] > 0.0

    @property
    def is_surely_worse(self) -> bool:
        """Whether the whole interval of the difference is above 0, on rows with events enough."""
        return self.difference is not None and self.difference[1] > 0.0 and self.events >= MIN_EVENTS


def change_of(
    name: str,
    sample: Sample,
    before: Floats,
    after: Floats,
    *,
    kept: bool,
    learned: int,
    target: Literal["won", "bids"] = "won",
) -> TableChange:
    """Compares two tables.

    Args:
        name: of the model. sample: N rows later than those of the fit, with the weights of the target.
        before, after: float64[N], probabilities of these rows by each table.
        kept, learned, target: as `TableChange`.
    """
    y, w = sample.labels, np.ones(len(sample.labels)) if sample.sampling is None else sample.sampling
    losses, found = None, None
    if len(y):
        total = float(w.sum())
        each = surprise(y, before), surprise(y, after)
        losses = float((w * each[0]).sum()) / total, float((w * each[1]).sum()) / total
        found = _interval(each[1] - each[0], w, sample)
    return TableChange(
        name=name,
        kept=kept,
        target=target,
        rows=len(y),
        events=int(y.sum()),
        learned=learned,
        log_loss=losses,
        difference=found,
        ratio=(
            ratio_of(before, y, sample.sampling, sample.clusters),
            ratio_of(after, y, sample.sampling, sample.clusters),
        ),
    )


def _interval(change: Floats, w: Floats, sample: Sample) -> tuple[float, float, float]:
    mean = float((w * change).sum()) / float(w.sum())
    rest = w * (change - mean)
    variance = max(clustered_variance(rest, sample.clusters), float((rest * rest).sum()))
    far = NormalDist().inv_cdf((1.0 + LEVEL) / 2.0) * math.sqrt(variance) / float(w.sum())
    return mean, mean - far, mean + far


def change_words(change: TableChange) -> str:
    """What changed, where it was measured, and whether that is worse."""
    if change.kept:
        return f"{change.name}: the table stays as it was, too few events to fit another."
    if change.log_loss is None or change.difference is None:
        return f"{change.name}: no row is later than those of the fit, so the new table is not judged at all."
    weighted = ", weighted as all that is bid on" if change.target == "bids" else ""
    where = f"on {change.rows:,} rows with {change.events:,} events, held out: later than those of the fit{weighted}"
    before, after = change.log_loss
    mean, low, high = change.difference
    share = f" ({mean / before:+.2%})" if before > 0.0 else ""
    ratios = " to ".join("none" if one.ratio is None else f"{one.ratio:.3f}" for one in change.ratio)
    words = (
        f"{change.name}: {where}, log loss goes from {before:.5f} to {after:.5f}{share}, a change of {mean:+.2g} "
        f"({low:+.2g} to {high:+.2g}); predicted over happened from {ratios}. {_judgement(change)}"
    )
    if change.learned:
        words += (
            f" {change.learned:,} of these rows are not later than what the model was made from, which favours the "
            "table before."
        )
    return words


def _judgement(change: TableChange) -> str:
    if change.events < MIN_EVENTS:
        return f"{change.events:,} events are too few to tell which is better, {MIN_EVENTS} are needed."
    if change.is_surely_worse:
        return "THE NEW TABLE IS WORSE."
    if change.is_worse:
        return "The new table is worse here, no more than chance may explain."
    _, _, high = change.difference or (0.0, 0.0, 0.0)
    return "The new table is better." if high < 0.0 else "The new table is no clear gain."
