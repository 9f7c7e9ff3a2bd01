"""Raw score -> probability: a monotone table of at most 256 knots, linear between them, level outside.

Two ways to fit one, by how many labels of the rarer kind there are:

- *isotonic* (Zadrozny and Elkan, KDD 2002) from 50 on: the pool-adjacent-violators fit gives steps; each
  step becomes one knot at its mean score, so that the table rises instead of jumping and keeps the ranking.
- *offset* below: the model's own sigmoid moved by one number, held near 0 by a prior (standard deviation
  0.5 in log odds), because a staircase through a handful of clicks would be noise. Without labels it is the
  sigmoid.

Either way the sum of probabilities over the rows of the fit equals the sum of labels, up to the prior.
"""

import math
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError

MAX_KNOTS = 256
MIN_ISOTONIC = 50
PRIOR_STD = 0.5

Floats = NDArray[np.float64]


class CalibrationTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Knots of one model: `raw` strictly ascending, `probability` not descending and inside (0, 1)."""

    method: Literal["isotonic", "offset"]
    raw: tuple[float, ...]
    probability: tuple[float, ...]


def check_table(table: CalibrationTable, name: str) -> None:
    """Raises `ArtifactError` where a table breaks what the kernel relies on."""
    raw, probability = np.array(table.raw), np.array(table.probability)
    if not 1 <= len(raw) == len(probability) <= MAX_KNOTS:
        raise ArtifactError(
            f"calibration of {name} must have 1 to {MAX_KNOTS} knots in pairs, "
            f"had {len(raw)} scores and {len(probability)} probabilities"
        )
    if not (np.isfinite(raw).all() and (np.diff(raw) > 0).all()):
        raise ArtifactError(f"calibration of {name} must have strictly ascending finite scores")
    if not ((probability > 0).all() and (probability < 1).all() and (np.diff(probability) >= 0).all()):
        raise ArtifactError(f"calibration of {name} must have probabilities inside (0, 1), never descending")


def calibrate(table: CalibrationTable, raw: Floats) -> Floats:
    """Probabilities of raw scores, by the formula of `kernels.calibrated`."""
    x, p = np.array(table.raw), np.array(table.probability)
    if len(x) == 1:
        return np.full(len(raw), p[0])
    low = np.clip(np.searchsorted(x, raw, side="right") - 1, 0, len(x) - 2)
    share = (raw - x[low]) / (x[low + 1] - x[low])
    between = p[low] + share * (p[low + 1] - p[low])
    return np.asarray(np.where(raw <= x[0], p[0], np.where(raw >= x[-1], p[-1], between)))


def sigmoid(raw: Floats) -> Floats:
    """1 / (1 + exp(-raw)), kept inside (0, 1)."""
    p = 1.0 / (1.0 + np.exp(-np.clip(raw, -700.0, 700.0)))
    return np.asarray(np.clip(p, 1e-15, 1.0 - 1e-15))


def fit_calibration(raw: Floats, labels: Floats) -> CalibrationTable:
    """The table for raw scores and 0/1 labels of rows that the model was not trained on.

    Args:
        raw: float64[N] raw scores; N may be 0.
        labels: float64[N] of 0.0 and 1.0.
    """
    positives = int(labels.sum())
    enough = min(positives, len(labels) - positives) >= MIN_ISOTONIC
    table = _fit_isotonic(raw, labels) if enough else _fit_offset(raw, labels)
    check_table(table, "the fit")
    return table


def _fit_offset(raw: Floats, labels: Floats) -> CalibrationTable:
    offset = 0.0
    for _ in range(100):  # Newton on a convex function of one number
        p = sigmoid(raw + offset)
        slope = float((p * (1.0 - p)).sum()) + PRIOR_STD**-2
        step = (float((p - labels).sum()) + offset * PRIOR_STD**-2) / slope
        offset -= float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-12:
            break
    low, high = (float(raw.min()), float(raw.max())) if len(raw) else (-10.0, 10.0)
    knots = np.linspace(low - 2.0, high + 2.0, MAX_KNOTS)
    p = sigmoid(knots + offset)
    return CalibrationTable("offset", tuple(knots.tolist()), tuple(p.tolist()))


def _fit_isotonic(raw: Floats, labels: Floats) -> CalibrationTable:
    from scipy.optimize import isotonic_regression

    scores, inverse, counts = np.unique(raw, return_inverse=True, return_counts=True)
    weight = counts.astype(np.float64)
    positives = np.bincount(inverse, weights=labels)
    fit = isotonic_regression(positives / weight, weights=weight)
    starts = np.asarray(fit.blocks)[:-1]
    block_weight = np.add.reduceat(weight, starts)
    block_positives = np.add.reduceat(positives, starts)
    block_score = np.add.reduceat(scores * weight, starts)
    into = _knot_of_block(block_weight)
    rows = np.bincount(into, weights=block_weight).astype(np.float64)
    hits = np.bincount(into, weights=block_positives)
    centre = np.bincount(into, weights=block_score) / rows
    p = _balance(centre, _never_certain(hits / rows, rows), raw, float(labels.sum()))
    return CalibrationTable("isotonic", tuple(centre.tolist()), tuple(p.tolist()))


def _never_certain(p: Floats, rows: Floats) -> Floats:
    """The lowest step where it saw no positive, and the highest where it saw nothing else, moved inwards.

    Half a row stands in, but never so much that the step passes the half way to its neighbour: a single row at
    the end must not lift all others.
    """
    lowest, highest = p[p > 0.0].min(), p[p < 1.0].max()
    inside = np.where(p == 0.0, np.minimum(0.5 / rows, lowest / 2), p)
    return np.where(p == 1.0, np.maximum(1.0 - 0.5 / rows, (1.0 + highest) / 2), inside)


def _knot_of_block(block_weight: Floats) -> NDArray[np.int64]:
    """Which knot each step goes to: one each, or neighbours together by their share of the rows."""
    if len(block_weight) <= MAX_KNOTS:
        return np.arange(len(block_weight))
    middle = np.cumsum(block_weight) - block_weight / 2
    place = np.floor(middle / block_weight.sum() * MAX_KNOTS).astype(np.int64)
    return np.asarray(np.unique(place, return_inverse=True)[1])


def _balance(x: Floats, p: Floats, raw: Floats, positives: float) -> Floats:
    """Moves all knots by one number in log odds, so that the probabilities of the fit sum to the labels."""
    odds = np.log(p) - np.log1p(-p)
    low, high = -5.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        table = CalibrationTable("isotonic", tuple(x), tuple(sigmoid(odds + middle)))
        if math.fsum(calibrate(table, raw)) > positives:
            high = middle
        else:
            low = middle
    return sigmoid(odds + (low + high) / 2)
