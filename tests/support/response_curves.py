"""Response curves for tests: saturating ones, with draws that err as estimates do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.money import NANOS_PER_UNIT
from simulator.allocate.curves import CurveSet, read_curves, write_curves

GRID = tuple(step / 20 for step in range(2, 51, 2))


class Market(NamedTuple):
    """A campaign: value it could bring at most, the budget that brings 63 % of it, its budget now; units of money."""

    name: str
    ceiling: float
    scale: float
    current: float

    def value(self, budget_nanos: NDArray[np.float64]) -> NDArray[np.float64]:
        """Value of budgets in nanos, by the truth."""
        spent = budget_nanos / (self.scale * NANOS_PER_UNIT)
        return np.asarray(self.ceiling * NANOS_PER_UNIT * (1.0 - np.exp(-spent)))


def rows_of(
    markets: Sequence[Market], draws: int = 0, noise: float = 0.05, seed: int = 1, *, current: bool = True
) -> dict[str, list[Any]]:
    """Rows of a file of curves.

    Args:
        markets: the campaigns. draws: bootstrap draws beside the point estimate. noise: relative error of a curve as
            a whole: the point estimate has one against the truth, each draw another against the point estimate.
        seed: of the errors. current: whether budgets as they are are stated.
    """
    random = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {}
    for market in markets:
        budgets = np.array(
            [round(share * market.current * NANOS_PER_UNIT) for share in GRID], dtype=np.float64
        )
        point = market.value(budgets) * _error(random, noise)
        for draw in range(draws + 1):
            values = point * (_error(random, noise) if draw else 1.0)
            for budget, value in zip(budgets.tolist(), values.tolist(), strict=True):
                row = {
                    "campaign": market.name, "draw": draw, "budget_nanos": int(budget), "spend_nanos": int(budget),
                    "impressions": budget / 1e6, "clicks": value / 1e8, "conversions": value / 1e10,
                    "value_nanos": value, "extrapolated": 0.1,
                }  # fmt: skip
                if current:
                    row["current_nanos"] = round(market.current * NANOS_PER_UNIT)
                for name, cell in row.items():
                    rows.setdefault(name, []).append(cell)
    return rows


def curve_set(path: Path, markets: Sequence[Market], **kwargs: Any) -> CurveSet:
    """Curves as they come back from a file."""
    write_curves(path, rows_of(markets, **kwargs))
    return read_curves(path)


def _error(random: np.random.Generator, noise: float) -> float:
    return float(random.lognormal(-(noise**2) / 2, noise)) if noise else 1.0


SHOES = Market("shoes", 400.0, 80.0, 100.0)
BOOKS = Market("books", 150.0, 60.0, 100.0)
TOYS = Market("toys", 360.0, 150.0, 50.0)
THREE = (SHOES, BOOKS, TOYS)
