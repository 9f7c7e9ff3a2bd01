"""The value of a conversion by the model, within the bounds of the line item; compiled, called by `core.kernels`.

An opportunity is binned for the value model once, when the first of its candidates asks, so that requests without
such line items do not pay for it.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

from bidder.core.decision_columns import VALUE_LEAST, VALUE_MOST, VALUE_NANOS
from models.kernels import B_FEATURE, and_rows, bin_one, calibrated, expected_value, lightgbm_raw, raw_score

V_MODEL, V_RAISED, V_LOWERED, V_STATED = range(4)
V_COLUMNS = 4
"""What became of a prediction: taken as it is, raised to the least or lowered to the most that the line item allows,
or not known, so that the value that the line item states took its place."""


@njit(cache=True)
def conversion_value(
    values, row, masked, bins, thresholds, category_rows, masks, leaf_values, tree_start, knots_raw,
    knots_probability, scale, own, mask, rows, handles, whole, columns, counts, count,
):  # fmt: skip
    """What a conversion of a line item is worth at an opportunity, nanos; counted by what became of the prediction.

    Args:
        values: float64[n, request features]. row: the opportunity. masked: whether `mask` is of it already.
        bins to scale: see `bidder.core.valuing.ValueArrays`. own: uint64[trees], of the line item's features.
        mask, rows: uint64[trees] and int64[at least bins], scratch. handles, whole: see `predicted_value`.
        columns: int64[], of the line item. counts: int64[V_COLUMNS], of it. count: what to add there.
    """
    if not masked and handles.shape[0] == 0:
        value_mask(values, row, bins, thresholds, category_rows, masks, rows, mask)
    predicted = predicted_value(
        mask, own, leaf_values, tree_start, knots_raw, knots_probability, scale, handles, whole
    )
    found, outcome = bounded_value(predicted, columns[VALUE_NANOS], columns[VALUE_LEAST], columns[VALUE_MOST])
    counts[outcome] += count
    return found


@njit(cache=True)
def value_mask(values, row, bins, thresholds, category_rows, masks, rows, mask):
    """ANDs the leaf rows of one opportunity's features into `mask`, once for all its candidates.

    Args:
        values: float64[n, request features]. bins: int32[u, 5], by B_ column, B_FEATURE a place in a row of `values`.
        thresholds, category_rows, masks: see `LeafMaskTable`. rows: int64[at least u], scratch.
    """
    for u in range(bins.shape[0]):
        rows[u] = bin_one(values[row, bins[u, B_FEATURE]], u, bins, thresholds, category_rows)
    and_rows(masks, rows, bins.shape[0], mask)


@njit(cache=True)
def predicted_value(
    mask, own, leaf_values, tree_start, knots_raw, knots_probability, scale, handles, whole
):  # fmt: skip
    """What the model says, nanos; NaN where there is none, and whatever a broken one gives.

    Args:
        mask, own: uint64[trees], of the opportunity and of the line item. leaf_values, tree_start, knots_raw,
            knots_probability: see `LeafMaskTable`; no start of a model where there is none. scale: nanos.
        handles: of all models where LightGBM itself scores, those of the value behind clicks and conversions.
        whole: the whole row, then.
    """
    if tree_start.shape[0] < 2:
        return np.nan
    positive, native = 1.0, handles.shape[0] > 0
    if native:
        raw = lightgbm_raw(handles, 2, whole)
    else:
        raw = raw_score(mask, own, leaf_values, tree_start[0], tree_start[1])
    if tree_start.shape[0] > 2:
        if native:
            second = lightgbm_raw(handles, 3, whole)
        else:
            second = raw_score(mask, own, leaf_values, tree_start[1], tree_start[2])
        positive = calibrated(second, knots_raw, knots_probability, 0, knots_raw.shape[0])
    return expected_value(raw, positive, scale)


@njit(cache=True)
def bounded_value(predicted, stated, least, most):
    """Whole nanos of a prediction within its bounds, and what became of it by V_ column.

    Args:
        predicted: nanos, of which NaN, infinity and what is below 0 are not known. stated, least, most: nanos.
    """
    # Asked this way round, NaN is not known either.
    if not 0.0 <= predicted < np.inf:
        return stated, V_STATED
    if predicted < least:
        return least, V_RAISED
    if predicted > most:
        return most, V_LOWERED
    return np.int64(predicted), V_MODEL
