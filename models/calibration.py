"""Raw score -> probability: a monotone table of at most 256 knots, linear between them, level outside.

Two ways to fit one, by how many labels of the rarer kind there are:

- *isotonic* (Zadrozny and Elkan, KDD 2002) from 50 on: the pool-adjacent-violators fit gives steps; each
  step becomes one knot at its mean score, so that the table rises instead of jumping and keeps the ranking.
  The fit picks its last steps because they clicked: 3 clicks of 4 rows, where the mean is 2 %, are luck for the
  most part, and a bidder pays for it. So the steps at the top that hold fewer than 10 positives together are
  pulled towards the model's own sigmoid, stretched and moved to fit the rows (Platt, 1999), as if 10 more
  positives had come at its rate (empirical Bayes with a gamma prior). It only ever lowers them.
- *offset* below: the model's own sigmoid moved by one number, held near 0 by a prior (standard deviation
  0.5 in log odds), because a staircase through a handful of clicks would be noise. Without labels it is the
  sigmoid.

Either way the sum of probabilities over the rows of the fit equals the sum of labels, up to the prior.

Rows may have weights: how many rows each stands for where rows were sampled, or one over the chance that it
was won. Only their ratios count. They are scaled to sum to the effective number of rows (Kish), so that few
rows of large weight are not taken for many: 10 clicks that stand for 1,000 are still 10 clicks.
"""

import math
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError, TableError

MAX_KNOTS = 256
MIN_ISOTONIC = 50
PRIOR_STD = 0.5
TOP_POSITIVES = 10.0
"""Positives that the highest steps must hold together to stand on their own, and what their prior is worth."""
SLOPE_STD = 10.0

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


def fit_calibration(raw: Floats, labels: Floats, weights: Floats | None = None) -> CalibrationTable:
    """The table for raw scores and 0/1 labels of rows that the model was not trained on.

    Args:
        raw: float64[N] raw scores; N may be 0.
        labels: float64[N] of 0.0 and 1.0.
        weights: float64[N], finite and >= 0; rows of weight 0 do not count. None is one each.

    Raises:
        TableError: a weight is not finite or below 0; the first such row is named.
    """
    scaled = _scaled(weights, len(raw))
    kept = scaled > 0.0
    raw, labels, scaled = raw[kept], labels[kept], scaled[kept]
    fewest = min(effective_rows(scaled[labels > 0]), effective_rows(scaled[labels == 0]))
    # Below 50.0 only by rounding is 50.
    fit = _fit_isotonic if fewest >= MIN_ISOTONIC - 1e-6 else _fit_offset
    table = fit(raw, labels, scaled)
    check_table(table, "the fit")
    return table


def effective_rows(weights: Floats) -> float:
    """Of how many equal rows a weighted mean is as certain: (sum w)^2 / sum w^2 (Kish, 1965); 0 without rows."""
    squares = float((weights * weights).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0


def _scaled(weights: Floats | None, rows: int) -> Floats:
    """Weights that sum to the effective number of rows; all 1 where there are none."""
    if weights is None:
        return np.ones(rows)
    wrong = ~(np.isfinite(weights) & (weights >= 0.0))
    if len(weights) != rows or wrong.any():
        row = int(np.flatnonzero(wrong)[0]) if wrong.any() else -1
        was = f"{weights[row]} (row {row + 1})" if wrong.any() else f"{len(weights)} for {rows} rows"
        raise TableError(f"weights of a calibration must be finite and >= 0, one for each row, were {was}")
    total = float(weights.sum())
    return np.asarray(weights * (effective_rows(weights) / total)) if total > 0.0 else np.zeros(rows)


def _fit_offset(raw: Floats, labels: Floats, weights: Floats) -> CalibrationTable:
    offset = 0.0
    for _ in range(100):  # Newton on a convex function of one number
        p = sigmoid(raw + offset)
        slope = float((weights * p * (1.0 - p)).sum()) + PRIOR_STD**-2
        step = (float((weights * (p - labels)).sum()) + offset * PRIOR_STD**-2) / slope
        offset -= float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-12:
            break
    low, high = (float(raw.min()), float(raw.max())) if len(raw) else (-10.0, 10.0)
    knots = np.linspace(low - 2.0, high + 2.0, MAX_KNOTS)
    p = sigmoid(knots + offset)
    return CalibrationTable("offset", tuple(knots.tolist()), tuple(p.tolist()))


class _Steps(NamedTuple):
    """float64[K] each, in the order of scores: mean score, weight of rows and of positives, its effective positives.

    `above` is the effective number of positives of a step and all steps above it.
    """

    centre: Floats
    rows: Floats
    hits: Floats
    events: Floats
    above: Floats


def _fit_isotonic(raw: Floats, labels: Floats, weights: Floats) -> CalibrationTable:
    steps = _steps(raw, labels, weights)
    # Sums of weights round; a share of exactly 0 or 1 must stay one.
    share = np.clip(steps.hits / steps.rows, 0.0, 1.0)
    sober = _sober_top(steps, share, raw, labels, weights)
    p = np.minimum(_never_certain(share, steps.rows), sober)
    p = _balance(steps.centre, p, raw, float((labels * weights).sum()), weights)
    return CalibrationTable("isotonic", tuple(steps.centre.tolist()), tuple(p.tolist()))


def _steps(raw: Floats, labels: Floats, weights: Floats) -> _Steps:
    """The steps of the pool-adjacent-violators fit, at most one a knot."""
    from scipy.optimize import isotonic_regression

    scores, inverse = np.unique(raw, return_inverse=True)
    weight, positives, squares = (
        np.bincount(inverse, weights=each).astype(np.float64)
        for each in (weights, labels * weights, labels * weights * weights)
    )
    starts = np.asarray(isotonic_regression(positives / weight, weights=weight).blocks)[:-1]
    into = _knot_of_block(np.add.reduceat(weight, starts))

    def sums(values: Floats) -> Floats:
        return np.bincount(into, weights=np.add.reduceat(values, starts)).astype(np.float64)

    rows, hits, square = sums(weight), sums(positives), sums(squares)
    return _Steps(
        sums(scores * weight) / rows, rows, hits, _effective(hits, square),
        _effective(np.cumsum(hits[::-1]), np.cumsum(square[::-1]))[::-1],
    )  # fmt: skip


def _effective(total: Floats, squares: Floats) -> Floats:
    """Kish's number of sums of weights and of their squares; 0 where there is nothing."""
    return np.asarray(total * total / np.where(squares > 0.0, squares, 1.0))


def _sober_top(steps: _Steps, share: Floats, raw: Floats, labels: Floats, weights: Floats) -> Floats:
    """float64[K], what steps may say at most: 1 but for the few at the top that rest on a handful of positives.

    Such a step of n positives at a rate of r, where the stretched sigmoid says q, may say (n + m) / (n / r + m / q).
    """
    most = np.ones(len(share))
    thin = steps.above < TOP_POSITIVES
    if thin.any() and not thin.all():
        prior = _stretched(raw, labels, weights, steps.centre[thin])
        events, rate = steps.events[thin], share[thin]
        most[thin] = (events + TOP_POSITIVES) / (events / rate + TOP_POSITIVES / prior)
        # The steps rise: none may fall below the last that stands on its own.
        most[thin] = np.maximum.accumulate(np.maximum(most[thin], share[~thin].max()))
    return most


def _stretched(raw: Floats, labels: Floats, weights: Floats, at: Floats) -> Floats:
    """sigmoid(a + b x raw) at some scores, a and b >= 0 of the largest likelihood."""
    centre = float(np.average(raw, weights=weights))
    scale = max(float(np.sqrt(np.average((raw - centre) ** 2, weights=weights))), 1e-12)
    columns = np.stack((np.ones(len(raw)), (raw - centre) / scale))
    rate = float(np.average(labels, weights=weights))
    found = np.array([math.log(rate) - math.log1p(-rate), 0.0])
    held = np.diag(
        [0.0, SLOPE_STD**-2]
    )  # labels that a score tells apart wholly would have no largest likelihood
    for _ in range(100):
        p = sigmoid(found @ columns)
        curvature = (columns * (weights * p * (1.0 - p))) @ columns.T + held
        step = np.linalg.solve(curvature, columns @ (weights * (p - labels)) + held @ found)
        found = found - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-10:
            break
    return sigmoid(found[0] + max(float(found[1]), 0.0) * (at - centre) / scale)


def _never_certain(p: Floats, rows: Floats) -> Floats:
    """The lowest step where it saw no positive, and the highest where it saw nothing else, moved inwards.

    Half a row stands in, but never so much that the step passes the half way to its neighbour: a single row
    at the end must not lift all others.
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


def _balance(x: Floats, p: Floats, raw: Floats, positives: float, weights: Floats) -> Floats:
    """Moves all knots by one number in log odds, so that the probabilities of the fit sum to the labels."""
    odds = np.log(p) - np.log1p(-p)
    low, high = -5.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        table = CalibrationTable("isotonic", tuple(x), tuple(sigmoid(odds + middle)))
        if math.fsum(weights * calibrate(table, raw)) > positives:
            high = middle
        else:
            low = middle
    return sigmoid(odds + (low + high) / 2)
