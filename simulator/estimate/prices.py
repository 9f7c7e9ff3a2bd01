"""The law of hidden prices: the product limit in strata, on ratios to a reference price."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.landscape.counts import Counts
from models.landscape.estimate import SHRINKAGE, bin_masses
from models.landscape.grid import POINTS, price_grid
from simulator.estimate import play_kernels as kernels
from simulator.estimate.reference import MIN_ROWS, reference_prices
from simulator.history.auctions import ABOVE, AT_MOST, EXACT, UNKNOWN, Auctions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_UNIT = 1e6
"""A ratio of 1 on the grid, whose points are whole."""
VALUE_GROUPS = 3


class Curves(NamedTuple):
    """P(ratio <= point): float64[S, G] at the points of int64[G]."""

    grid: Ints
    cumulated: Floats


class Prices:
    """What a log says of prices, ready to be counted with any weights of its rows.

    Args:
        auctions: of the log. value: float64[n], what bidding believes.

    Attributes:
        scale: float64[n], nanos of a ratio of `_UNIT` on the grid. stratum: int64[n]. ratio: float64[n], price or
            bid that bounds it over the reference.
    """

    def __init__(self, auctions: Auctions, value: Floats) -> None:
        self._auctions = auctions
        self.reference = reference_prices(auctions)
        self.scale = self.reference / _UNIT
        self.stratum, self._parents = strata_of(auctions.stratum, value)
        seen = (auctions.price_kind != UNKNOWN) & (auctions.price_nanos > 0)
        ratio = np.where(seen, auctions.price_nanos / self.scale, np.nan)
        self.grid = _grid(ratio[seen])
        self._exact = self._places(seen & (auctions.price_kind == EXACT), ratio)
        self._above = self._shares(seen & (auctions.price_kind == ABOVE), ratio)
        self._below = self._shares(seen & (auctions.price_kind == AT_MOST), ratio)

    def _places(self, rows: NDArray[np.bool_], ratio: Floats) -> tuple[Ints, Ints]:
        kept = np.flatnonzero(rows)
        bins = np.searchsorted(self.grid, ratio[kept], side="left")
        return kept, self.stratum[kept] * (len(self.grid) + 1) + bins

    def _shares(self, rows: NDArray[np.bool_], ratio: Floats) -> tuple[Ints, Ints, Floats]:
        """Rows, the lower point of each in a frame with a point at 0, and the share of the upper one."""
        kept = np.flatnonzero(rows)
        points = len(self.grid)
        frame = np.concatenate([[0], self.grid]).astype(np.float64)
        low = np.clip(np.searchsorted(frame, ratio[kept], side="right") - 1, 0, points - 1)
        share = np.clip((ratio[kept] - frame[low]) / (frame[low + 1] - frame[low]), 0.0, 1.0)
        return kept, self.stratum[kept] * (points + 1) + low, share

    def curves(self, times: Floats) -> Curves:
        """The law where each row counts float64[n] times."""
        strata, points = len(self._parents), len(self.grid)
        kept, flat = self._exact
        exact = _sums(flat, times[kept], strata * (points + 1)).reshape(strata, points + 1)
        above, below = (self._bounds(part, times, strata, points) for part in (self._above, self._below))
        counts = Counts(self.grid, exact, np.zeros_like(exact), above, below)
        masses = bin_masses(counts, self._parents, SHRINKAGE)
        return Curves(self.grid, np.minimum(np.cumsum(masses[:, :-1], axis=1), 1.0))

    def _bounds(self, part: tuple[Ints, Ints, Floats], times: Floats, strata: int, points: int) -> Floats:
        kept, flat, share = part
        weight, size = times[kept], strata * (points + 1)
        out = _sums(flat, weight * (1.0 - share), size) + _sums(flat + 1, weight * share, size + 1)[:size]
        # The point at 0 says nothing: any price is above it.
        return np.ascontiguousarray(out.reshape(strata, points + 1)[:, 1:])

    def impute(self, curves: Curves, seed: int, *, blind: bool = False) -> Ints:
        """int64[n], the price of each auction: known, or drawn from what the log says of it; `blind` draws all."""
        kind = self._auctions.price_kind
        if blind:
            kind = np.full(len(kind), UNKNOWN, dtype=np.uint8)
        found: Ints = np.empty(self._auctions.opportunities, dtype=np.int64)
        kernels.impute(
            kind, self._auctions.price_nanos, self.scale, self.stratum, curves.grid,
            curves.cumulated, seed, found,
        )  # fmt: skip
        return found

    def win_probability(self, curves: Curves, bids: Ints, rows: Ints) -> Floats:
        """float64[len(rows)]: P(price <= bid) of some rows."""
        found = np.empty(len(rows))
        kernels.reach(bids / self.scale[rows], self.stratum[rows], curves.grid, curves.cumulated, found)
        return found


def strata_of(stratum: NDArray[np.int32], value: Floats) -> tuple[Ints, Ints]:
    """Strata of an estimate: all, the log's own inside, thirds of value inside those; int64[n], and int64[S] parents.

    One of fewer than `MIN_ROWS` rows belongs to its parent.
    """
    place: Ints = np.zeros(len(stratum), dtype=np.int64)
    parents = [0]
    own = np.unique(stratum, return_inverse=True)[1].astype(np.int64)
    _grow(place, parents, own)
    thirds: Ints = np.zeros(len(stratum), dtype=np.int64)
    for at in range(len(parents)):
        rows = np.flatnonzero((place == at) & np.isfinite(value))
        if len(rows):
            cuts = np.quantile(value[rows], np.arange(1, VALUE_GROUPS) / VALUE_GROUPS)
            thirds[rows] = np.searchsorted(cuts, value[rows], side="right")
    _grow(place, parents, thirds)
    return place, np.array(parents, dtype=np.int64)


def _grow(place: Ints, parents: list[int], level: Ints) -> None:
    """Moves rows to the children of where they are, where those are large enough."""
    pairs, inverse, counts = np.unique(
        place * (int(level.max(initial=0)) + 1) + level, return_inverse=True, return_counts=True
    )
    parent_of = pairs // (int(level.max(initial=0)) + 1)
    child = np.array(parent_of)
    for k in np.flatnonzero(counts >= MIN_ROWS).tolist():
        child[k] = len(parents)
        parents.append(int(parent_of[k]))
    place[:] = child[inverse]


def _sums(places: Ints, weight: Floats, size: int) -> Floats:
    # Of nothing, `bincount` gives whole numbers.
    return np.bincount(places, weight, size).astype(np.float64)


def _grid(ratio: Floats) -> Ints:
    if not len(ratio):
        return price_grid(1.0, 2.0)
    return price_grid(max(float(np.quantile(ratio, 1e-4)), 1.0), float(ratio.max()), POINTS)
