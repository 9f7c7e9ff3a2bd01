"""The lookups of a landscape in NumPy alone, an oracle for its compiled ones."""

import numpy as np

from models.landscape.curves import Floats, Grid, Landscape, Places


def win_probability_by_numpy(landscape: Landscape, bids: Floats, strata: Places) -> Floats:
    """The formula of `kernels.win_probability`, to the last bit, without compiled code."""
    low, share = _between(landscape.grid, bids)
    start, end = _ends(landscape.survival, strata, low)
    inside = 1.0 - (start + share * (end - start))
    below = bids / landscape.grid[0] * (1.0 - landscape.survival[strata, 0])
    return _pieces(landscape.grid, bids, inside, below, 1.0 - landscape.survival[strata, -1])


def mean_price_by_numpy(landscape: Landscape, bids: Floats, strata: Places) -> Floats:
    """The formula of `kernels.expected_price`, to the last bit, without compiled code."""
    low, share = _between(landscape.grid, bids)
    start, end = _ends(landscape.expected_price, strata, low)
    below = bids / landscape.grid[0] * landscape.expected_price[strata, 0]
    return _pieces(
        landscape.grid, bids, start + share * (end - start), below, landscape.expected_price[strata, -1]
    )


def _between(grid: Grid, bids: Floats) -> tuple[Places, Floats]:
    low = np.clip(np.searchsorted(grid, bids, side="right") - 1, 0, len(grid) - 2)
    return low, (bids - grid[low]) / (grid[low + 1] - grid[low])


def _ends(curve: Floats, strata: Places, low: Places) -> tuple[Floats, Floats]:
    return curve[strata, low], curve[strata, low + 1]


def _pieces(grid: Grid, bids: Floats, inside: Floats, below: Floats, above: Floats) -> Floats:
    found = np.where(bids < grid[0], below, np.where(bids >= grid[-1], above, inside))
    return np.asarray(np.where(bids > 0.0, found, 0.0))
