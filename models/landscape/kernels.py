"""Compiled functions of the landscape: estimators on counts, and the lookups that price a bid.

Bins of a grid g of G points: bin 0 is (0, g0], bin k is (g(k-1), g(k)], bin G is all above the last point.
Counts of a stratum, weights and fractions allowed:

    exact[k]   prices to beat known to lie in bin k             k in 0..G
    above[j]   lost bids: the price to beat is above g(j)       j in 0..G-1
    below[j]   won bids of hidden price: it is at most g(j)     j in 0..G-1

A lookup between two points is linear in the price; the NumPy twins are in `curves`.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@njit(cache=True)
def product_limit(exact: Floats, above: Floats, mass: Floats) -> None:
    """mass[k] = probability of bin k by the product limit (Kaplan and Meier, JASA 1958).

    The hazard of bin k is exact[k] over what is still at risk: all that ends in bin k or later. Above the
    highest observation nothing is at risk: what is left of the probability stays in the last bin.
    """
    last = exact.shape[0] - 1
    # From the right, so that no difference of large sums stands for a small one.
    at_risk = exact[last]
    for k in range(last - 1, -1, -1):
        at_risk += exact[k] + above[k]
        mass[k] = exact[k] / at_risk if exact[k] > 0.0 else 0.0
    left = 1.0
    for k in range(last):
        hazard = mass[k]
        mass[k] = left * hazard
        left *= 1.0 - hazard
    mass[last] = left


@njit(cache=True)
def isotonic_share(below: Floats, above: Floats, mass: Floats) -> None:
    """mass[k] from wins and losses alone: the share of wins, pooled until it never falls as the bid rises.

    That is the maximum likelihood where every observation is only "won" or "lost" (Ayer et al., 1955).
    """
    points = below.shape[0]
    share = np.empty(points)
    weight = np.empty(points)
    length = np.empty(points, dtype=np.int64)
    blocks = 0
    for j in range(points):
        seen = below[j] + above[j]
        if seen <= 0.0:
            continue
        share[blocks] = below[j] / seen
        weight[blocks] = seen
        length[blocks] = j  # the first point of the block
        blocks += 1
        while blocks > 1 and share[blocks - 2] >= share[blocks - 1]:
            both = weight[blocks - 2] + weight[blocks - 1]
            share[blocks - 2] += (share[blocks - 1] - share[blocks - 2]) * weight[blocks - 1] / both
            weight[blocks - 2] = both
            blocks -= 1
    won = 0.0
    block = 0
    for j in range(points):
        mass[j] = 0.0
        if block < blocks and length[block] == j:
            mass[j] = max(share[block] - won, 0.0)
            won += mass[j]
            block += 1
    mass[points] = max(1.0 - won, 0.0)


@njit(cache=True)
def self_consistent(
    exact: Floats, above: Floats, below: Floats, mass: Floats, rounds: int, tolerance: float
) -> int:
    """Refines mass in place until it is what its own expectation gives (Turnbull, JASA 1974); returns the rounds.

    Each round spreads every win of hidden price over the bins below its bid as the present mass lies there,
    and takes the product limit of the whole. A bin whose mass is 0 stays so: begin with some mass wherever
    there may be any.
    """
    bins = exact.shape[0]
    full = np.empty(bins)
    fresh = np.empty(bins)
    for step in range(rounds):
        cumulated = 0.0
        for k in range(bins):
            full[k] = exact[k]
        # A win at point j goes to bins 0..j: from the right, the sum of below[j] / P(z <= g(j)) over j >= k.
        for k in range(bins - 1):
            cumulated += mass[k]
            fresh[k] = below[k] / cumulated if below[k] > 0.0 and cumulated > 0.0 else 0.0
        pull = 0.0
        for k in range(bins - 2, -1, -1):
            pull += fresh[k]
            full[k] += mass[k] * pull
        product_limit(full, above, fresh)
        change = 0.0
        for k in range(bins):
            change = max(change, abs(fresh[k] - mass[k]))
            mass[k] = fresh[k]
        if change < tolerance:
            return step + 1
    return rounds


@njit(cache=True)
def point_below(price: float, grid: NDArray[np.int64]) -> int:
    """Place of the last point at or below a price; -1 where there is none."""
    if not price >= grid[0]:
        return -1
    low = np.int64(0)
    count = np.int64(grid.shape[0])
    while count > 1:
        half = count >> 1
        low += half * np.int64(grid[low + half] <= price)
        count -= half
    return low  # type: ignore[return-value]


@njit(cache=True)
def win_probability(bid: float, stratum: int, grid: NDArray[np.int64], survival: Floats) -> float:
    """P(win | bid): 0 for a bid of 0 or less, linear between points, level above the last; NaN bids win nothing."""
    if not bid > 0.0:
        return 0.0
    low = point_below(bid, grid)
    last = grid.shape[0] - 1
    if low >= last:
        return float(1.0 - survival[stratum, last])
    if low < 0:
        return float(bid / grid[0] * (1.0 - survival[stratum, 0]))
    share = (bid - grid[low]) / (grid[low + 1] - grid[low])
    start = survival[stratum, low]
    return float(1.0 - (start + share * (survival[stratum, low + 1] - start)))


@njit(cache=True)
def expected_price(bid: float, stratum: int, grid: NDArray[np.int64], expected: Floats) -> float:
    """Mean price to beat of the auctions that a bid wins: linear between points, from (0, 0), level above."""
    if not bid > 0.0:
        return 0.0
    low = point_below(bid, grid)
    last = grid.shape[0] - 1
    if low >= last:
        return float(expected[stratum, last])
    if low < 0:
        return float(bid / grid[0] * expected[stratum, 0])
    share = (bid - grid[low]) / (grid[low + 1] - grid[low])
    start = expected[stratum, low]
    return float(start + share * (expected[stratum, low + 1] - start))


@njit(cache=True)
def win_probabilities(
    bids: Floats, strata: NDArray[np.int64], grid: NDArray[np.int64], survival: Floats, out: Floats
) -> None:
    """out[i] = P(win | bids[i]) in strata[i]."""
    for i in range(bids.shape[0]):
        out[i] = win_probability(bids[i], strata[i], grid, survival)


@njit(cache=True)
def expected_prices(
    bids: Floats, strata: NDArray[np.int64], grid: NDArray[np.int64], expected: Floats, out: Floats
) -> None:
    """out[i] = mean price to beat of what bids[i] wins in strata[i]."""
    for i in range(bids.shape[0]):
        out[i] = expected_price(bids[i], strata[i], grid, expected)
