"""Compiled functions over a `LeafMaskTable`: plain arrays and scalars only, no fastmath.

    row of a value        feature_row
    AND of rows           left[t] = masks[r1, t] & masks[r2, t] & ...
    score of a model      sum over its trees t, in order, of leaf_values[t, ctz(left[t] & right[t])]
    probability           linear between the knots of the model's calibration

    value                 scale * e^score, times P(worth anything) where a second model gives it

The order of the sum is LightGBM's, so the score is the same to the last bit.
"""

import math

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, njit, types
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic
from numpy.typing import NDArray

NUMERIC, CATEGORICAL, UNUSED = 0, 1, 2

Masks = NDArray[np.uint32] | NDArray[np.uint64]
"""Leaves as bits: 32 of a tree where none has more, which halves what is read for a score; else 64."""

B_FEATURE, B_CATEGORICAL, B_ROW, B_START, B_COUNT = range(5)
"""Columns of `bins`: a feature that some split asks for, whether it is categorical, its first row, where its
thresholds or codes begin and how many there are."""

_ONE = np.uint64(1)
_TWO, _THREE, _FOUR = np.uint64(2), np.uint64(3), np.uint64(4)
_LAST_BIT = np.uint64(63)
_MOST_EXPONENT = 709.0
"""Above it e^x is near the largest double."""
_BLOCK = 16
"""Rows that are binned together: their searches do not wait for each other, and a block stays in the cache."""

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    import ctypes

    _CALL = ctypes.CFUNCTYPE(ctypes.c_int, *(ctypes.c_void_p,) * 4)

    def ctz(word: int) -> int:
        """Number of trailing zero bits of a word that is not 0, 64 for 0: what the intrinsic below does."""
        number = int(word)
        return (number & -number).bit_length() - 1 if number else 64

    def call_address(function: int, first: int, second: int, third: int, fourth: int) -> int:
        """What the intrinsic below does."""
        return int(_CALL(int(function))(int(first), int(second), int(third), int(fourth)))
else:

    @njit(cache=True, inline="always")
    def ctz(word: int) -> int:
        """Number of trailing zero bits of a uint32 or uint64, its width for 0: one instruction."""
        return trailing_zeros(word)  # type: ignore[call-arg]

    @intrinsic
    def call_address(_context, function, first, second, third, fourth):  # type: ignore[no-untyped-def]
        """Calls the C function of four pointers at an address.

        A ctypes function would bar its caller from Numba's cache, since its address is another in each process; here
        the address is an argument.
        """
        given = types.int32(function, first, second, third, fourth)

        def generate(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            pointer = ir.IntType(8).as_pointer()
            kind = ir.FunctionType(ir.IntType(32), [pointer] * 4)
            callee, *rest = arguments
            return builder.call(
                builder.inttoptr(callee, kind.as_pointer()), [builder.inttoptr(one, pointer) for one in rest]
            )

        return given, generate


@njit(cache=True)
def lightgbm_raw(handles: NDArray[np.int64], model: int, row: NDArray[np.float64]) -> float:
    """Raw score by LightGBM's own fast call for single rows; NaN, which is worth nothing, where the call fails.

    Args:
        handles: of `models.native.NativeModels`. model: place among its models.
        row: float64[F + 1], the row's values and space for the score.
    """
    length = handles[-1:]
    score = row[-1:]
    length[0] = 0
    code = call_address(
        handles[0], handles[1 + model], row.ctypes.data, length.ctypes.data, score.ctypes.data
    )
    if code != 0 or length[0] != 1:
        return np.nan
    return float(score[0])


@njit(cache=True)
def feature_row(
    value: float,
    f: int,
    feature_kind: NDArray[np.uint8],
    first_row: NDArray[np.int32],
    thr_start: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    cat_start: NDArray[np.int32],
    category_rows: NDArray[np.int32],
) -> np.int64:
    """Row of `masks` for one value of feature f.

    The search takes the same steps whatever the value, without a branch on it: which way a branch would go
    cannot be guessed, and an ordinary search cost three quarters of all scoring.
    """
    row = np.int64(first_row[f])
    kind = feature_kind[f]
    if kind == NUMERIC:
        low = np.int64(thr_start[f])
        start = low
        count = np.int64(thr_start[f + 1]) - low
        if value != value:
            return row + count + 1
        while count > 1:
            half = count >> 1
            low += half * np.int64(thresholds[low + half - 1] < value)
            count -= half
        return row + (low - start) + np.int64(thresholds[low] < value)
    if kind == CATEGORICAL:
        begin = np.int64(cat_start[f])
        # LightGBM cuts to an integer, so -0.5 is code 0. NaN fails both comparisons.
        if value > -1.0 and value < np.float64(np.int64(cat_start[f + 1]) - begin):
            return np.int64(category_rows[begin + np.int64(value)])
    return row


@njit(cache=True)
def and_rows(masks: Masks, rows: NDArray[np.int64], n: int, out: Masks) -> None:
    """out[t] = AND of masks[rows[i], t] for i in 0..n-1; all ones, which changes nothing, where n is 0.

    Four rows at a time, so that `out` is read and written a quarter as often.
    """
    if n == 0:
        for t in range(out.shape[0]):
            out[t] |= ~out[t]
        return
    first = np.uint64(rows[0])
    for t in range(out.shape[0]):
        out[t] = masks[first, t]
    i = np.uint64(1)
    end = np.uint64(n)
    while i + _FOUR <= end:
        a, b = np.uint64(rows[i]), np.uint64(rows[i + _ONE])
        c, d = np.uint64(rows[i + _TWO]), np.uint64(rows[i + _THREE])
        for t in range(out.shape[0]):
            out[t] &= masks[a, t] & masks[b, t] & masks[c, t] & masks[d, t]
        i += _FOUR
    while i < end:
        a = np.uint64(rows[i])
        for t in range(out.shape[0]):
            out[t] &= masks[a, t]
        i += _ONE


@njit(cache=True)
def raw_score(
    left: Masks,
    right: Masks,
    leaf_values: NDArray[np.float64],
    first_tree: int,
    end_tree: int,
) -> float:
    """Raw score of one model for the leaves that both sides leave possible.

    `& 63` costs nothing beside the sum and keeps a broken table from reading past `leaf_values`. Places are unsigned:
    a place that might be negative is looked at before each use, which took two thirds of the time.
    """
    total = 0.0
    first = np.uint64(first_tree)
    for k in range(np.uint64(end_tree - first_tree)):
        t = first + k
        total += leaf_values[t, np.uint64(ctz(left[t] & right[t])) & _LAST_BIT]
    return total


@njit(cache=True)
def raw_score_pair(
    left: Masks,
    right: Masks,
    leaf_values: NDArray[np.float64],
    first_tree: int,
    middle_tree: int,
    end_tree: int,
) -> tuple[float, float]:
    """Raw scores of two models whose trees follow each other; the same bits as `raw_score` for each.

    One sum waits for its own last addition; two sums side by side do not wait for each other.
    """
    one = 0.0
    two = 0.0
    first, middle = np.uint64(first_tree), np.uint64(middle_tree)
    both = np.uint64(min(middle_tree - first_tree, end_tree - middle_tree))
    for k in range(both):
        t = first + k
        u = middle + k
        one += leaf_values[t, np.uint64(ctz(left[t] & right[t])) & _LAST_BIT]
        two += leaf_values[u, np.uint64(ctz(left[u] & right[u])) & _LAST_BIT]
    for k in range(both, np.uint64(middle_tree - first_tree)):
        t = first + k
        one += leaf_values[t, np.uint64(ctz(left[t] & right[t])) & _LAST_BIT]
    for k in range(both, np.uint64(end_tree - middle_tree)):
        u = middle + k
        two += leaf_values[u, np.uint64(ctz(left[u] & right[u])) & _LAST_BIT]
    return one, two


@njit(cache=True)
def calibrated(
    raw: float,
    knots_raw: NDArray[np.float64],
    knots_probability: NDArray[np.float64],
    start: int,
    end: int,
) -> float:
    """Probability of a raw score: linear between knots start..end-1, level outside; NaN without knots."""
    if end <= start:
        return np.nan
    if raw <= knots_raw[start]:
        return float(knots_probability[start])
    if raw >= knots_raw[end - 1]:
        return float(knots_probability[end - 1])
    low = np.int64(start)
    count = np.int64(end) - low
    while count > 1:
        half = count >> 1
        low += half * np.int64(knots_raw[low + half] <= raw)
        count -= half
    share = (raw - knots_raw[low]) / (knots_raw[low + 1] - knots_raw[low])
    return float(knots_probability[low] + share * (knots_probability[low + 1] - knots_probability[low]))


@njit(cache=True)
def bin_one(
    value: float,
    u: int,
    bins: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    category_rows: NDArray[np.int32],
) -> np.int64:
    """Row of `masks` for one value of the feature of bins[u]; `feature_row` with what it reads in one place."""
    row = np.int64(bins[u, B_ROW])
    low = start = np.uint64(bins[u, B_START])
    count = np.uint64(bins[u, B_COUNT])
    if bins[u, B_CATEGORICAL] != 0:
        if value > -1.0 and value < np.float64(count):
            return np.int64(category_rows[start + np.uint64(np.int64(value))])
        return row
    if value != value:
        return row + np.int64(count) + 1
    while count > _ONE:
        half = count >> _ONE
        low += half * np.uint64(thresholds[low + half - _ONE] < value)
        count -= half
    return row + np.int64(low - start) + np.int64(thresholds[low] < value)


@njit(cache=True)
def bin_block(
    values: NDArray[np.float64],
    first: int,
    n: int,
    u: int,
    bins: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    category_rows: NDArray[np.int32],
    low: NDArray[np.uint64],
    rows: NDArray[np.int64],
) -> None:
    """rows[b, u] = `bin_one` of values[first + b] for b in 0..n-1: one search goes down all values step by step."""
    f = np.uint64(bins[u, B_FEATURE])
    row = np.int64(bins[u, B_ROW])
    start, count = np.uint64(bins[u, B_START]), np.uint64(bins[u, B_COUNT])
    if bins[u, B_CATEGORICAL] != 0:
        end = np.float64(count)
        for b in range(n):
            value = values[first + b, f]
            known = value > -1.0 and value < end
            # Read in any case and choose after: whether a code is known cannot be guessed.
            found = np.int64(category_rows[start + np.uint64(np.int64(value if known else 0.0))])
            rows[b, u] = found if known else row
        return
    missing = row + np.int64(count) + 1
    for b in range(n):
        low[b] = start
    while count > _ONE:
        half = count >> _ONE
        for b in range(n):
            low[b] += half * np.uint64(thresholds[low[b] + half - _ONE] < values[first + b, f])
        count -= half
    for b in range(n):
        value = values[first + b, f]
        found = row + np.int64(low[b] - start) + np.int64(thresholds[low[b]] < value)
        rows[b, u] = found if value == value else missing


@njit(cache=True)
def score_rows(
    values: NDArray[np.float64],
    bins: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    category_rows: NDArray[np.int32],
    masks: Masks,
    leaf_values: NDArray[np.float64],
    tree_start: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """out[i, m] = raw score of model m for the whole row values[i]: both sides at once.

    A row by itself is binned feature by feature, more of them in blocks; the bits are the same.
    """
    n_rows, used = values.shape[0], bins.shape[0]
    # Where no split asks for any feature every tree is a single leaf, and any row will do.
    width = max(1, used)
    left = np.empty(masks.shape[1], dtype=masks.dtype)
    if n_rows == 1:
        row = np.empty(width, dtype=np.int64)
        row[0] = 0
        for u in range(used):
            row[u] = bin_one(values[0, np.uint64(bins[u, B_FEATURE])], u, bins, thresholds, category_rows)
        and_rows(masks, row, width, left)
        for m in range(out.shape[1]):
            out[0, m] = raw_score(left, left, leaf_values, tree_start[m], tree_start[m + 1])
        return
    rows = np.zeros((_BLOCK, width), dtype=np.int64)
    low = np.empty(_BLOCK, dtype=np.uint64)
    for first in range(0, n_rows, _BLOCK):
        n = min(_BLOCK, n_rows - first)
        for u in range(used):
            bin_block(values, first, n, u, bins, thresholds, category_rows, low, rows)
        for b in range(n):
            and_rows(masks, rows[b], width, left)
            for m in range(out.shape[1]):
                out[first + b, m] = raw_score(left, left, leaf_values, tree_start[m], tree_start[m + 1])


@njit(cache=True)
def leaf_rows(
    values: NDArray[np.float64],
    masks: Masks,
    feature_kind: NDArray[np.uint8],
    first_row: NDArray[np.int32],
    thr_start: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    cat_start: NDArray[np.int32],
    category_rows: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    """out[i, t] = leaf of tree t for the row values[i], or -1 where not exactly one leaf is possible."""
    rows = np.empty(values.shape[1], dtype=np.int64)
    left = np.empty(masks.shape[1], dtype=masks.dtype)
    for i in range(values.shape[0]):
        for f in range(values.shape[1]):
            rows[f] = feature_row(
                values[i, f], f, feature_kind, first_row, thr_start, thresholds, cat_start, category_rows
            )
        and_rows(masks, rows, values.shape[1], left)
        for t in range(out.shape[1]):
            word = left[t]
            alone = word != 0 and (word & (word - _ONE)) == 0
            out[i, t] = np.int32(ctz(word)) if alone else np.int32(-1)


@njit(cache=True)
def calibrate_rows(
    raw: NDArray[np.float64],
    knots_start: NDArray[np.int32],
    knots_raw: NDArray[np.float64],
    knots_probability: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """out[i, m] = probability of raw[i, m] by the calibration of model m."""
    for i in range(raw.shape[0]):
        for m in range(raw.shape[1]):
            out[i, m] = calibrated(
                raw[i, m], knots_raw, knots_probability, knots_start[m], knots_start[m + 1]
            )


@njit(cache=True)
def expected_value(raw: float, positive: float, scale: float) -> float:
    """Expected value of a conversion, nanos: see `models.value`. NaN and infinity are for the caller to refuse.

    Args:
        raw: score of the value. positive: P(value > 0), 1.0 where no model gives it. scale: nanos.
    """
    if raw > _MOST_EXPONENT:
        return np.inf
    return float(scale * math.exp(raw) * positive)


@njit(cache=True)
def value_rows(
    raw: NDArray[np.float64],
    scale: float,
    knots_raw: NDArray[np.float64],
    knots_probability: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """out[i] = `expected_value` of raw[i], whose second column, where it has one, is of P(value > 0)."""
    for i in range(raw.shape[0]):
        positive = 1.0
        if raw.shape[1] > 1:
            positive = calibrated(raw[i, 1], knots_raw, knots_probability, 0, knots_raw.shape[0])
        out[i] = expected_value(raw[i, 0], positive, scale)
