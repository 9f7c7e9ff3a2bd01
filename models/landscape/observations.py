"""What each row of a table says of the price to beat.

| row | what it says |
|---|---|
| its price to beat was told (`min_to_win_cpm_micros`) | that price |
| won at second price | the price paid |
| won at first price, or at a price that is missing | at most the bid |
| lost | above the bid |

A row that contradicts itself says nothing and is counted: lost although the bid reached the price that was
told (the bid was lost for another reason), won below it, or paid more than was bid.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.dataset import TrainingTable
from models.errors import TableError

EXACT, ABOVE, BELOW = 0, 1, 2

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Observations:
    """Rows that say something, in the order of time.

    Attributes:
        rows: int64[N], their places in the table.
        kind: int8[N], `EXACT`, `ABOVE` or `BELOW`.
        cpm_micros: float64[N]: the price to beat where exact, else the bid.
        bid_cpm_micros: float64[N].
        won: bool[N].
        weight: float64[N], how many bids a row stands for.
        at_ns: int64[N].
        dropped: how many rows said nothing, by reason.
    """

    rows: NDArray[np.int64]
    kind: NDArray[np.int8]
    cpm_micros: Floats
    bid_cpm_micros: Floats
    won: NDArray[np.bool_]
    weight: Floats
    at_ns: NDArray[np.int64]
    dropped: dict[str, int]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def slice(self, begin: int, end: int) -> "Observations":
        """Rows begin..end-1; `dropped` is that of the whole."""
        return self.take(np.arange(begin, end))

    def take(self, places: NDArray[np.int64]) -> "Observations":
        """Rows at these places; `dropped` is that of the whole."""
        return Observations(
            rows=self.rows[places],
            kind=self.kind[places],
            cpm_micros=self.cpm_micros[places],
            bid_cpm_micros=self.bid_cpm_micros[places],
            won=self.won[places],
            weight=self.weight[places],
            at_ns=self.at_ns[places],
            dropped=self.dropped,
        )

    def share(self, kind: int) -> float:
        """Share of the bids (by weight) that are of a kind."""
        total = float(self.weight.sum())
        return float(self.weight[self.kind == kind].sum()) / total if total else 0.0


def observe(table: TrainingTable) -> Observations:
    """Reads what a table with lost bids says of prices.

    Args:
        table: read with `lost=True`; needs `won` and `bid_cpm_micros`, uses `first_price`,
            `price_cpm_micros`, `min_to_win_cpm_micros` and `weight` where they are there.

    Raises:
        TableError: a needed column is missing, or no row says anything.
    """
    won = (
        _needed(
            table, "won", "without lost bids every price looks low: export the run again with its lost bids"
        )
        > 0
    )
    bid = _needed(table, "bid_cpm_micros", "export the run again")
    price, told = _optional(table, "price_cpm_micros"), _optional(table, "min_to_win_cpm_micros")
    first = _optional(table, "first_price") > 0
    is_told = told > 0
    is_paid = won & ~first & (price > 0) & ~is_told
    dropped = {
        "bid is missing or not above 0": ~(bid > 0),
        "lost although the bid reached the price that was told": ~won & is_told & (bid >= told),
        "won below the price that was told": won & is_told & (bid < told),
        "paid more than was bid": is_paid & (price > bid),
    }
    says = ~np.any(np.array(list(dropped.values())), axis=0)
    if not says.any():
        raise TableError(f"table {table.source} must have rows with a bid above 0, has none that can be used")
    kind = np.where(is_told | is_paid, EXACT, np.where(won, BELOW, ABOVE)).astype(np.int8)
    cpm_micros = np.where(is_told, told, np.where(is_paid, price, bid))
    weight = _optional(table, "weight", 1.0)
    every = Observations(
        rows=np.arange(len(table)),
        kind=kind,
        cpm_micros=cpm_micros,
        bid_cpm_micros=bid,
        won=won,
        weight=weight,
        at_ns=table.at_ns,
        dropped={name: int(rows.sum()) for name, rows in dropped.items() if rows.any()},
    )
    return every.take(np.flatnonzero(says))


def _needed(table: TrainingTable, name: str, remedy: str) -> Floats:
    if name not in table.extras:
        raise TableError(f"table {table.source} must have the column {name}: {remedy}")
    return np.asarray(table.extras[name], dtype=np.float64)


def _optional(table: TrainingTable, name: str, default: float = np.nan) -> Floats:
    found = table.extras.get(name)
    return np.full(len(table), default) if found is None else np.asarray(found, dtype=np.float64)
