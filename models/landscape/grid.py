"""Prices on which curves are kept."""

import numpy as np
from numpy.typing import NDArray

from models.errors import TableError

MIN_POINTS, POINTS, MAX_POINTS = 64, 96, 512

Grid = NDArray[np.int64]


def price_grid(low_cpm_micros: float, high_cpm_micros: float, points: int = POINTS) -> Grid:
    """Prices evenly spaced in the logarithm, rounded to micros of CPM.

    Args:
        low_cpm_micros: the first price, > 0; a lower one counts as this.
        high_cpm_micros: the last price; what lies above is one tail.
        points: how many, 64 to 512. A step is as wide as the curve is blurred: with 96 points from 0.05 to
            50, 7 %.

    Returns:
        int64[points], strictly ascending. Where low and high are too close for whole micros, high is moved
        up.

    Raises:
        TableError: a number out of these ranges.
    """
    if not MIN_POINTS <= points <= MAX_POINTS:
        raise TableError(f"points of a price grid must be {MIN_POINTS} to {MAX_POINTS}, was {points}")
    if not 0 < low_cpm_micros <= high_cpm_micros < 2**53:
        raise TableError(
            f"a price grid must begin above 0 and not end before, was {low_cpm_micros} to {high_cpm_micros}"
        )
    low = max(1.0, float(low_cpm_micros))
    high = max(float(high_cpm_micros), low * 1.5)
    spaced = np.rint(np.geomspace(low, high, points)).astype(np.int64)
    # Near 1 micro neighbours round to the same price: each is moved above the one before.
    steps = np.arange(points)
    return np.asarray(np.maximum.accumulate(spaced - steps) + steps)


def with_jumps(grid: Grid, cpm_micros: NDArray[np.float64]) -> Grid:
    """A grid of about as many points with steps where prices repeat.

    Floors and round numbers hold much of the mass: the curve jumps there, and between two points it is linear. So
    each of the most frequent prices becomes a point, and so does the micro below it, where the jump begins. At most
    half of the points go to jumps; the others stay evenly spaced in the logarithm.

    Args:
        grid: int64[G], as `price_grid` gives it.
        cpm_micros: float64[N], known prices; one that holds less than 1 / (2 G) of them is no jump.
    """
    values, counts = np.unique(np.rint(cpm_micros).astype(np.int64), return_counts=True)
    frequent = (
        (counts > 1) & (counts * 2 * len(grid) > len(cpm_micros)) & (values > grid[0]) & (values < grid[-1])
    )
    values, counts = values[frequent], counts[frequent]
    jumps = values[np.argsort(-counts, kind="stable")[: len(grid) // 4]]
    even = grid[
        np.unique(np.rint(np.linspace(0, len(grid) - 1, len(grid) - 2 * len(jumps))).astype(np.int64))
    ]
    return np.unique(np.concatenate([even, jumps, np.maximum(jumps - 1, grid[0])]))


def check_grid(grid: Grid) -> Grid:
    """The same grid, or `TableError` where it is not strictly ascending int64 above 0 of 2 to 512 points."""
    good = grid.dtype == np.int64 and grid.ndim == 1 and 2 <= len(grid) <= MAX_POINTS
    if not good or grid[0] <= 0 or (np.diff(grid) <= 0).any():
        raise TableError(f"a price grid must be 2 to {MAX_POINTS} ascending whole prices above 0, was {grid}")
    return grid
