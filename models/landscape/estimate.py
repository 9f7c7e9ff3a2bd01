"""Counts -> curves.

Which estimator, by what a stratum holds:

- prices and losses: the product limit of Kaplan and Meier;
- wins of hidden price and losses (first price): the pooled share of wins, which is the maximum likelihood;
- all three: self-consistency (Turnbull), begun from an even mixture of both.

A stratum is shrunk to its parent by adding `shrinkage` bids whose prices lie as the parent's curve says. For
prices and losses this is the mean of a beta-Stacy posterior (Walker and Muliere, Annals of Statistics 1997):
with few rows the curve is the parent's, with many its own, and above the stratum's own highest bid it goes on
in the parent's shape. Stratum 0 has no parent: above the highest bid of all its curve is level, so that its
win probability is a lower bound there.

Bids follow predictions and prices do too, so that the estimate of all bids together is wrong even with many
rows. What is given for stratum 0 in the end is therefore the mixture of its children, by their weight; the
estimate of all together only serves them as parent.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from models.landscape.counts import Counts
from models.landscape.kernels import isotonic_share, product_limit, self_consistent

SHRINKAGE = 10.0
"""With strata of 200 rows and more, 5 to 20 erred least on later rows of made markets; 100 at least doubled it."""
MAX_ROUNDS, TOLERANCE = 1000, 1e-6

Floats = NDArray[np.float64]


def bin_masses(
    counts: Counts,
    parents: NDArray[np.int64],
    shrinkage: float = SHRINKAGE,
    only: Collection[int] | None = None,
) -> Floats:
    """Probability that the price to beat lies in each bin.

    Args:
        counts: of each stratum's own rows.
        parents: int64[S], places of the parents, which stand before their children.
        shrinkage: of how many bids the parent speaks, >= 0.
        only: places to estimate, each with all its parents, beside stratum 0 and its children; None is all.

    Returns:
        float64[S, G + 1], rows that sum to 1; rows left out are those of the parent.
    """
    whole = counts.with_children(parents)
    masses = np.zeros_like(counts.exact)
    for place in range(len(parents)):
        prior = masses[parents[place]] if place else None
        if prior is not None and only is not None and place not in only and parents[place] > 0:
            masses[place] = prior
            continue
        exact = whole.exact[place] if prior is None else whole.exact[place] + shrinkage * prior
        masses[place] = _masses(exact, whole.above[place], whole.below[place], prior)
    children = np.flatnonzero(parents[1:] == 0) + 1
    weights = np.append(whole.total()[children], counts.total()[0])
    if len(children) and weights.sum() > 0.0:
        masses[0] = weights / weights.sum() @ masses[[*children, 0]]
    return masses


def _masses(exact: Floats, above: Floats, below: Floats, prior: Floats | None) -> Floats:
    mass: Floats = np.empty(len(exact))
    if not below.any():
        product_limit(exact, above, mass)
        return mass
    isotonic_share(below, above, mass)
    if not exact.any():
        return mass
    seen = np.empty(len(exact))
    product_limit(exact, above, seen)
    # Mass everywhere: self-consistency cannot bring back a bin that begins empty.
    even = np.full(len(exact), 1.0 / len(exact))
    start: Floats = (mass + seen + even + (even if prior is None else prior)) / 4.0
    self_consistent(exact, above, below, start, MAX_ROUNDS, TOLERANCE)
    return start


def survival_of(masses: Floats) -> Floats:
    """float64[S, G]: P(price to beat > point), within [0, 1] and never rising along a row."""
    left = 1.0 - np.cumsum(masses[:, :-1], axis=1)
    return np.asarray(np.minimum.accumulate(np.clip(left, 0.0, 1.0), axis=1))


def expected_of(masses: Floats, counts: Counts) -> Floats:
    """float64[S, G]: mean price to beat of what a bid at each point wins, never falling along a row.

    Prices inside a bin count as their mean over all strata, or as the bin's middle where none was seen. Where
    nothing is won, the price stands at the bid, which it cannot pass.
    """
    cumulated = np.cumsum(masses[:, :-1], axis=1)
    paid = np.cumsum(masses[:, :-1] * bin_centres(counts)[:-1], axis=1)
    points = counts.grid.astype(np.float64)
    mean = np.where(cumulated > 1e-12, paid / np.where(cumulated > 1e-12, cumulated, 1.0), points)
    return np.asarray(np.maximum.accumulate(np.minimum(mean, points), axis=1))


def bin_centres(counts: Counts) -> Floats:
    """float64[G + 1]: mean price seen in each bin over all strata, else its middle; the tail's is the last point."""
    ends = np.concatenate([[0], counts.grid, [counts.grid[-1]]]).astype(np.float64)
    exact, prices = counts.exact.sum(axis=0), counts.price_sum.sum(axis=0)
    middle = (ends[1:] + ends[:-1]) / 2
    seen = np.where(exact > 0, prices / np.where(exact > 0, exact, 1.0), middle)
    seen[-1] = ends[-1]
    # Decay leaves rounding behind: a mean is held inside its bin.
    return np.asarray(np.clip(seen, ends[:-1], ends[1:]))
