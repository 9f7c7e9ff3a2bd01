"""Compiled sums over the rows of one draw: plain arrays and scalars only, no fastmath.

A draw is `times`: how often each cluster counts. A row of weight w in cluster c weighs w * times[c].
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

WEIGHT, LABELS, PREDICTED, SURPRISE, PAIRS = range(5)
"""Columns of `part_sums`: weight, weighted y, p and -log p(y), and pairs in the right order (ties half)."""
N_SUMS = 5


@njit(cache=True)
def part_sums(
    start: NDArray[np.int64],
    bins: NDArray[np.int64],
    p: NDArray[np.float64],
    y: NDArray[np.float64],
    surprise: NDArray[np.float64],
    weight: NDArray[np.float64],
    cluster: NDArray[np.int32],
    times: NDArray[np.uint8],
    out: NDArray[np.float64],
    gaps: NDArray[np.float64],
) -> None:
    """Sums of one draw for each part.

    Args:
        start: int64[S + 1], rows start[s] .. start[s + 1] - 1 are part s, p ascending among them.
        bins: int64[S], how many the expected calibration error has.
        p, y, surprise, weight: float64[N], by row.
        cluster: int32[N], by row.
        times: uint8[C], by cluster.
        out: float64[S, N_SUMS], written.
        gaps: float64[S, B], weighted p less weighted y of each bin, written.
    """
    for s in range(start.shape[0] - 1):
        total = labels = predicted = surprised = pairs = 0.0
        below = 0.0  # weight of negatives with a lower p
        tied_positive = tied_negative = 0.0
        last = -1.0
        for i in range(start[s], start[s + 1]):
            if p[i] != last:
                pairs += tied_positive * (below + 0.5 * tied_negative)
                below += tied_negative
                tied_positive = tied_negative = 0.0
                last = p[i]
            w = weight[i] * times[cluster[i]]
            wy = w * y[i]
            tied_positive += wy
            tied_negative += w - wy
            total += w
            labels += wy
            predicted += w * p[i]
            surprised += w * surprise[i]
        out[s, WEIGHT] = total
        out[s, LABELS] = labels
        out[s, PREDICTED] = predicted
        out[s, SURPRISE] = surprised
        out[s, PAIRS] = pairs + tied_positive * (below + 0.5 * tied_negative)
        gaps[s] = 0.0
        bin_gaps(start[s], start[s + 1], bins[s], p, y, weight, cluster, times, gaps[s])


@njit(cache=True)
def bin_gaps(
    begin: int,
    end: int,
    bins: int,
    p: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    cluster: NDArray[np.int32],
    times: NDArray[np.uint8],
    out: NDArray[np.float64],
) -> None:
    """Adds up the gaps of bins of equal weight, rows of one p shared out: those of `evaluate.ece`.

    The bins are those of the rows as they are, whatever is drawn.
    """
    total = 0.0
    for i in range(begin, end):
        total += weight[i]
    b = 0
    room = total / bins if bins else 0.0
    i = begin
    while i < end:
        value = p[i]
        tied = gap = 0.0
        while i < end and p[i] == value:
            tied += weight[i]
            gap += weight[i] * times[cluster[i]] * (value - y[i])
            i += 1
        rest = tied
        while rest > room and b < bins - 1:
            out[b] += gap * (room / tied)
            rest -= room
            b += 1
            room = total / bins
        out[b] += gap * (rest / tied)
        room -= rest


@njit(cache=True)
def group_sums(
    group: NDArray[np.int64],
    cluster: NDArray[np.int32],
    values: NDArray[np.float64],
    times: NDArray[np.uint8],
    out: NDArray[np.float64],
) -> None:
    """out[g, k] = sum of times * values[i, k] over the rows i of group g; float64[G, K], set to 0 first."""
    out[:] = 0.0
    for i in range(group.shape[0]):
        drawn = times[cluster[i]]
        if drawn:
            for k in range(values.shape[1]):
                out[group[i], k] += drawn * values[i, k]
