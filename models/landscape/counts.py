"""What was observed in each stratum, as arrays that are added to and fade with age.

A bid between two points of the grid is shared between both in proportion to its distance, which errs by far
less than to round it; between 0 and the first point, the part of 0 says nothing. A bid above the last point
counts as one of the last point, a price above it as one of the tail.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import TableError
from models.landscape.grid import Grid
from models.landscape.observations import ABOVE, BELOW, EXACT, Observations

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Counts:
    """Weights of what was seen, by stratum (its own rows only, not its children's) and by bin or point.

    Attributes:
        grid: int64[G].
        exact: float64[S, G + 1], prices to beat in each bin.
        price_sum: float64[S, G + 1], their sum, micros of CPM.
        above: float64[S, G], lost bids at each point.
        below: float64[S, G], won bids of hidden price at each point.
        at_ns: the time to which the weights have faded; None before the first row.
        half_life_ns: the age at which a row counts half; None where rows do not fade.
    """

    grid: Grid
    exact: Floats
    price_sum: Floats
    above: Floats
    below: Floats
    at_ns: int | None = None
    half_life_ns: int | None = None

    def decay(self, at_ns: int) -> None:
        """Lets all weights fade to a later time; an earlier one changes nothing."""
        if self.at_ns is None:
            self.at_ns = at_ns
        if at_ns <= self.at_ns:
            return
        if self.half_life_ns is not None:
            factor = 0.5 ** ((at_ns - self.at_ns) / self.half_life_ns)
            for part in (self.exact, self.price_sum, self.above, self.below):
                np.multiply(part, factor, out=part)
        self.at_ns = at_ns

    def update(self, seen: Observations, strata: NDArray[np.int64], draws: Floats | None = None) -> None:
        """Adds rows, each faded by its age, after all has faded to the newest of them.

        Args:
            seen: new rows, in any order; late ones fade as if they had come in time.
            strata: int64[N], the stratum of each.
            draws: float64[N], how often a bootstrap drew each; None is once.

        Raises:
            TableError: a stratum that is not there.
        """
        if len(seen) == 0:
            return
        if len(strata) != len(seen) or strata.min() < 0 or strata.max() >= len(self.exact):
            raise TableError(
                f"strata of {len(seen)} rows must be 0 to {len(self.exact) - 1}, one for each row"
            )
        self.decay(int(seen.at_ns.max()))
        weight = seen.weight if draws is None else seen.weight * draws
        if self.half_life_ns is not None and self.at_ns is not None:
            weight = weight * 0.5 ** ((self.at_ns - seen.at_ns) / self.half_life_ns)
        self._add_exact(seen, strata, weight)
        for kind, out in ((ABOVE, self.above), (BELOW, self.below)):
            self._add_bids(seen.kind == kind, seen, strata, weight, out)

    def with_children(self, parents: NDArray[np.int64]) -> "Counts":
        """The same with each stratum's children added to it.

        Args:
            parents: int64[S], places of the parents, which stand before their children.
        """
        whole = Counts(
            self.grid,
            self.exact.copy(),
            self.price_sum.copy(),
            self.above.copy(),
            self.below.copy(),
            self.at_ns,
            self.half_life_ns,
        )
        for part in (whole.exact, whole.price_sum, whole.above, whole.below):
            for place in range(len(parents) - 1, 0, -1):
                part[parents[place]] += part[place]
        return whole

    def total(self) -> Floats:
        """float64[S]: weight of each stratum's own rows."""
        return np.asarray(self.exact.sum(axis=1) + self.above.sum(axis=1) + self.below.sum(axis=1))

    def _add_exact(self, seen: Observations, strata: NDArray[np.int64], weight: Floats) -> None:
        rows = seen.kind == EXACT
        price, bins = seen.cpm_micros[rows], len(self.grid) + 1
        flat = strata[rows] * bins + np.searchsorted(self.grid, price, side="left")
        size = self.exact.size
        self.exact += np.bincount(flat, weight[rows], size).reshape(self.exact.shape)
        self.price_sum += np.bincount(flat, weight[rows] * price, size).reshape(self.exact.shape)

    def _add_bids(
        self,
        rows: NDArray[np.bool_],
        seen: Observations,
        strata: NDArray[np.int64],
        weight: Floats,
        out: Floats,
    ) -> None:
        bid, points = seen.cpm_micros[rows], len(self.grid)
        upper = np.searchsorted(self.grid, bid, side="left")  # the first point at or above the bid
        ends = np.concatenate([[0], self.grid, [self.grid[-1]]]).astype(np.float64)
        width = ends[upper + 1] - ends[upper]
        share = np.where(width > 0, (bid - ends[upper]) / np.where(width > 0, width, 1.0), 0.0)
        for place, part in ((upper - 1, 1.0 - share), (upper, share)):
            inside = (place >= 0) & (place < points)
            flat = strata[rows][inside] * points + place[inside]
            out += np.bincount(flat, (weight[rows] * part)[inside], out.size).reshape(out.shape)


def empty_counts(grid: Grid, strata: int, half_life_ns: int | None = None) -> Counts:
    """Counts of nothing.

    Raises:
        TableError: `half_life_ns` is not above 0.
    """
    if half_life_ns is not None and half_life_ns <= 0:
        raise TableError(f"half-life must be above 0, was {half_life_ns} ns")
    bins = (strata, len(grid) + 1)
    points = (strata, len(grid))
    parts = (np.zeros(bins), np.zeros(bins), np.zeros(points), np.zeros(points))
    return Counts(grid, *parts, None, half_life_ns)
