"""Groups of auctions and the groups they belong to.

A stratum is a path of values such as prediction decile `3`, placement `top`, hour `9`; its parent is the path
without its last value, and stratum 0 is all. A value is a stratum of its own inside its parent where it was
seen in enough rows; the others of a parent are one stratum together, named `*`, as are values that come
later. Where even those are few, the row belongs to the parent. So a placement that nobody has seen is priced
as rare ones are.

The order matters: a level stands inside those before it. What the own bid follows should come first, which is
the
prediction: only inside a stratum must bids not depend on the price to beat.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.dataset import TrainingTable
from models.errors import TableError

PREDICTION, HOUR = "prediction", "hour"
ALIASES = {"placement": "tag_id"}
"""Names that people use, and the columns that hold them."""

OTHERS = "*"
"""Value that stands for all values too rare to be a stratum."""

MIN_ROWS = 200
DECILES = 10
_HOUR_NS = 3600 * 10**9


class Stratum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One group: its path of values (`""` stands for missing), its parent's place, rows it was made from."""

    path: tuple[str, ...]
    parent: int
    rows: int


class Strata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All groups, parents before children.

    Attributes:
        by: names of the levels, each inside those before it.
        edges: where deciles of the prediction part: a prediction p is in the first decile whose edge is above
            p.
        strata: the groups; the first is all.
    """

    by: tuple[str, ...]
    edges: tuple[float, ...]
    strata: tuple[Stratum, ...]

    def __len__(self) -> int:
        """Number of strata."""
        return len(self.strata)

    def places(self) -> dict[tuple[str, ...], int]:
        """Place of every path."""
        return {stratum.path: place for place, stratum in enumerate(self.strata)}

    def find(self, values: Sequence[str], places: Mapping[tuple[str, ...], int] | None = None) -> int:
        """The stratum of one auction.

        Args:
            values: a text for each level; see `decile` for the prediction.
            places: as `places()` gives it, for who asks often.
        """
        known = self.places() if places is None else places
        at = known[()]
        for value in values:
            child = _child(self.strata[at].path, value, known)
            if child is None:
                break
            at = child
        return at

    def decile(self, prediction: float) -> str:
        """Value of the level `prediction` for a predicted probability; `""` where it is NaN."""
        if math.isnan(prediction):
            return ""
        return str(int(np.searchsorted(np.array(self.edges), prediction, side="right")))

    def name(self, place: int) -> str:
        """A stratum as people read it."""
        path = self.strata[place].path
        return (
            ", ".join(f"{level} {_said(level, value)}" for level, value in zip(self.by, path, strict=False))
            or "all"
        )

    def encode(self, table: TrainingTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[N]: the stratum of each of these rows of a table.

        Raises:
            TableError: a column is missing.
        """
        known = self.places()
        columns = [_level(table, level, rows, self.edges) for level in self.by]
        found = np.zeros(len(rows), dtype=np.int64)
        for depth, (values, codes) in enumerate(columns):
            deep = np.array([len(stratum.path) == depth for stratum in self.strata])[found]
            pairs, inverse = np.unique(found * len(values) + codes, return_inverse=True)
            child = np.empty(len(pairs), dtype=np.int64)
            for k, pair in enumerate(pairs.tolist()):
                parent, place = divmod(pair, len(values))
                place_of_child = _child(self.strata[parent].path, values[place], known)
                child[k] = parent if place_of_child is None else place_of_child
            found = np.where(deep, child[inverse], found)
        return found


def fit_strata(
    table: TrainingTable, rows: NDArray[np.int64], by: Sequence[str], *, min_rows: int = MIN_ROWS
) -> Strata:
    """The strata of a table.

    Args:
        table: with the columns of `by`.
        rows: which of its rows count.
        by: levels, in their order: `prediction` (deciles of the column `pctr`), `hour` (the column, or from
            the time, UTC), `placement` (the column `tag_id`), or any column of texts.
        min_rows: fewest rows of a stratum.

    Raises:
        TableError: a level is named twice, or its column is missing.
    """
    if len(set(by)) != len(by):
        raise TableError(f"levels of strata must differ, were {', '.join(by)}")
    edges = _edges(table, rows) if PREDICTION in by else ()
    strata = [Stratum((), 0, len(rows))]
    at = np.zeros(len(rows), dtype=np.int64)
    for depth, level in enumerate(by):
        values, codes = _level(table, level, rows, edges)
        inside = np.flatnonzero(np.array([len(stratum.path) == depth for stratum in strata])[at])
        pairs, inverse, counts = np.unique(
            at[inside] * len(values) + codes[inside], return_inverse=True, return_counts=True
        )
        child = _grow(strata, values, pairs, counts, min_rows)
        at[inside] = child[inverse]
    return Strata(tuple(by), edges, tuple(strata))


def _grow(
    strata: list[Stratum],
    values: list[str],
    pairs: NDArray[np.int64],
    counts: NDArray[np.int64],
    min_rows: int,
) -> NDArray[np.int64]:
    """Adds the children of one level; the place of each (parent, value) pair's stratum."""
    child = np.empty(len(pairs), dtype=np.int64)
    parents, places = np.divmod(pairs, len(values))
    for k in np.flatnonzero(counts >= min_rows).tolist():
        child[k] = len(strata)
        strata.append(Stratum((*strata[parents[k]].path, values[places[k]]), int(parents[k]), int(counts[k])))
    rare = counts < min_rows
    for parent in np.unique(parents[rare]).tolist():
        together = rare & (parents == parent)
        rows = int(counts[together].sum())
        child[together] = len(strata) if rows >= min_rows else parent
        if rows >= min_rows:
            strata.append(Stratum((*strata[parent].path, OTHERS), parent, rows))
    return child


def _said(level: str, value: str) -> str:
    if level == PREDICTION and value not in ("", OTHERS):
        return f"tenth {int(value) + 1}"
    return {"": "(none)", OTHERS: "(others)"}.get(value, value)


def largest(strata: Strata, most: int) -> list[int]:
    """Places of the largest strata, of each level in turn, so that small ones inside large ones are seen too.

    One that holds all of its parent's rows says nothing new and is left out.

    Args:
        strata: of a landscape. most: how many at most.
    """
    rows = [stratum.rows for stratum in strata.strata]
    new = [place for place in range(1, len(strata)) if rows[place] < rows[strata.strata[place].parent]]
    order = sorted(new, key=lambda place: -rows[place])
    levels = [
        [place for place in order if len(strata.strata[place].path) == depth + 1]
        for depth in range(len(strata.by))
    ]
    turns = [place for turn in zip_longest(*levels) for place in turn if place is not None]
    return sorted(turns[:most], key=lambda place: (len(strata.strata[place].path), order.index(place)))


def _child(path: tuple[str, ...], value: str, known: Mapping[tuple[str, ...], int]) -> int | None:
    """The stratum of a value inside a path, or of all rare ones; None where both were too few."""
    found = known.get((*path, value))
    return known.get((*path, OTHERS)) if found is None else found


def _edges(table: TrainingTable, rows: NDArray[np.int64]) -> tuple[float, ...]:
    prediction = _prediction(table)[rows]
    known = prediction[~np.isnan(prediction)]
    cuts = np.quantile(known, np.arange(1, DECILES) / DECILES) if len(known) else np.empty(0)
    return tuple(np.unique(cuts).tolist())


def _prediction(table: TrainingTable) -> NDArray[np.float64]:
    if "pctr" not in table.extras:
        raise TableError(
            f"table {table.source} must have the column pctr for strata by {PREDICTION}: export the run again, or "
            f"leave {PREDICTION} out of --by"
        )
    return np.asarray(table.extras["pctr"], dtype=np.float64)


def _level(
    table: TrainingTable, level: str, rows: NDArray[np.int64], edges: tuple[float, ...]
) -> tuple[list[str], NDArray[np.int64]]:
    """Values of a level, and the place among them of each row; a missing value is `""`."""
    if level == PREDICTION:
        prediction = _prediction(table)[rows]
        codes = np.searchsorted(np.array(edges), prediction, side="right")
        values = [str(k) for k in range(len(edges) + 1)] + [""]
        return values, np.where(np.isnan(prediction), len(edges) + 1, codes).astype(np.int64)
    name = ALIASES.get(level, level)
    if name in table.columns:
        texts = table.columns[name]
        # A text `*` would be taken for the others: it is told apart by a second star.
        cells = [str(texts[row]) if texts[row] is not None else "" for row in rows.tolist()]
        known = {value: place for place, value in enumerate(sorted(set(cells)))}
        return list(known), np.array([known[cell] for cell in cells], dtype=np.int64)
    if level == HOUR:
        return [str(hour) for hour in range(24)], table.at_ns[rows] // _HOUR_NS % 24
    raise TableError(
        f"table {table.source} must have the column {name} for strata by {level}: it has "
        f"{', '.join(sorted(table.columns)) or 'none that was asked for'}; name another in --by"
    )
