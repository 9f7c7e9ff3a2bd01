"""`Landscape`: for each stratum, how likely a bid wins and what a win costs; read by kernels and by people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.dataset import TrainingTable
from models.errors import TableError
from models.landscape import kernels
from models.landscape.counts import Counts, empty_counts
from models.landscape.estimate import SHRINKAGE, bin_masses, expected_of, survival_of
from models.landscape.grid import POINTS, Grid, check_grid, price_grid, with_jumps
from models.landscape.observations import ABOVE, BELOW, EXACT, Observations, observe
from models.landscape.strata import MIN_ROWS, Strata, fit_strata

DEFAULT_BY = ("prediction", "placement", "hour")

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Landscape:
    """Curves of all strata on one grid; the arrays that kernels read.

    Attributes:
        grid: int64[G], prices, micros of CPM, ascending.
        survival: float64[S, G], P(price to beat > point).
        expected_price: float64[S, G], mean price to beat of what a bid at the point wins, micros of CPM. That
            is what a second price auction charges; at first price a win costs the bid.
        strata: which row is whose.
        counts: what the curves were made from; `update` it and call `landscape_of` for newer ones.
        shrinkage: of how many bids a parent speaks.
        tables: sha256 -> name of each table that it was made from, in the order in which they came.
    """

    grid: Grid
    survival: Floats
    expected_price: Floats
    strata: Strata
    counts: Counts
    shrinkage: float
    tables: Mapping[str, str]

    @property
    def source(self) -> str:
        """The names of its tables."""
        return " and ".join(self.tables.values())

    def win_probability(self, bids_cpm_micros: ArrayLike, strata: ArrayLike = 0) -> Floats:
        """P(win | bid): 0 at 0, linear between points, level above the last; NaN bids win nothing.

        Args:
            bids_cpm_micros: [N]. strata: [N], or one for all; as `strata.find` and `strata.encode` give them.

        Raises:
            IndexError: a stratum that is not there.
        """
        bids, places = self._pairs(bids_cpm_micros, strata)
        out = np.empty(len(bids))
        kernels.win_probabilities(bids, places, self.grid, self.survival, out)
        return out

    def mean_price(self, bids_cpm_micros: ArrayLike, strata: ArrayLike = 0) -> Floats:
        """Mean price to beat of what each bid wins, micros of CPM: as `win_probability`."""
        bids, places = self._pairs(bids_cpm_micros, strata)
        out = np.empty(len(bids))
        kernels.expected_prices(bids, places, self.grid, self.expected_price, out)
        return out

    def _pairs(self, bids_cpm_micros: ArrayLike, strata: ArrayLike) -> tuple[Floats, Places]:
        bids, places = np.broadcast_arrays(
            np.atleast_1d(np.asarray(bids_cpm_micros, dtype=np.float64)), np.asarray(strata, dtype=np.int64)
        )
        # The kernels do not look: a place outside would read memory of someone else.
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(self.strata):
            raise IndexError(
                f"stratum must be 0 to {len(self.strata) - 1}, was {places.min()} to {places.max()}"
            )
        return np.array(bids), np.array(places)  # copies: what was broadcast can be read only


def landscape_of(
    counts: Counts, strata: Strata, shrinkage: float = SHRINKAGE, tables: Mapping[str, str] | None = None
) -> Landscape:
    """The curves of what was counted so far.

    Args:
        counts: of each stratum. strata: which row of it is whose. shrinkage: of how many bids a parent speaks.
        tables: sha256 -> name of each that was counted.

    Raises:
        TableError: `shrinkage` is negative.
    """
    if not 0.0 <= shrinkage < np.inf:
        raise TableError(f"shrinkage must be 0 or more bids, was {shrinkage}")
    masses = bin_masses(counts, parents_of(strata), shrinkage)
    return Landscape(
        counts.grid, survival_of(masses), expected_of(masses, counts), strata, counts, shrinkage, tables or {}
    )


def fit_landscape(
    table: TrainingTable,
    by: Sequence[str] = DEFAULT_BY,
    *,
    grid: Grid | None = None,
    half_life_ns: int | None = None,
    shrinkage: float = SHRINKAGE,
    min_rows: int = MIN_ROWS,
    seen: Observations | None = None,
) -> Landscape:
    """The landscape of a table with lost bids.

    Args:
        table: read with `lost=True` and the columns of `by`.
        by: levels of the strata, in their order; see `strata.fit_strata`.
        grid: int64[G] prices; by default those of `grid_of`.
        half_life_ns: age at which a row counts half; None is no fading.
        shrinkage: of how many bids a parent speaks.
        min_rows: fewest rows of a stratum.
        seen: rows of the table to use, by default all that say something.

    Raises:
        TableError: a column is missing, or a number is out of range.
    """
    seen = observe(table) if seen is None else seen
    strata = fit_strata(table, seen.rows, by, min_rows=min_rows)
    if grid is None:
        grid = grid_of(seen)
    counts = empty_counts(check_grid(grid), len(strata), half_life_ns)
    counts.update(seen, strata.encode(table, seen.rows))
    return landscape_of(counts, strata, shrinkage, {table.sha256: table.source})


def check_is_new(fitted: Landscape, sha256: str, table: Path) -> None:
    """Refuses a table whose rows a landscape holds already: each would count twice.

    Args:
        fitted: to be added to. sha256: of the table. table: its path, for the message.

    Raises:
        TableError: it is one of those.
    """
    if sha256 in fitted.tables:
        raise TableError(
            f"table {table} must be new to the landscape that is added to, which holds it as {fitted.tables[sha256]} "
            f"(sha256 {sha256[:12]}): add only rows that it has not seen"
        )


def grid_of(seen: Observations, points: int = POINTS) -> Grid:
    """Prices from the lowest to the highest that was bid or seen, with steps where prices repeat."""
    low, high = float(seen.cpm_micros.min()), float(max(seen.cpm_micros.max(), seen.bid_cpm_micros.max()))
    return with_jumps(price_grid(low, high, points), seen.cpm_micros[seen.kind == EXACT])


def parents_of(strata: Strata) -> Places:
    """int64[S]: place of each stratum's parent; that of stratum 0 is 0."""
    return np.array([stratum.parent for stratum in strata.strata], dtype=np.int64)


def shares(seen: Observations) -> dict[str, float]:
    """Share of bids by what they say: `exact`, `above` (lost) and `below` (won at a hidden price)."""
    return {name: seen.share(kind) for name, kind in (("exact", EXACT), ("above", ABOVE), ("below", BELOW))}
