"""Groups of opportunities within which bids are taken not to depend on prices.

Estimates of censored prices need that: whoever bids more where prices are higher would bend them. The default group
is placement x tenth of the predicted click probability x hour of the day. A placement is exchange and `placement`, or
domain where the log has no placement; those with few rows are one group together.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bidder.core.opportunity import NS_PER_HOUR
from simulator.history.checking import numbers

TENTHS = 10
HOURS = 24
LEAST_ROWS = 1_000
"""Rows that a placement must have to be a group of its own."""
MOST_PLACEMENTS = 4_095
MOST_PROBABILITIES = 4_000_000
"""Probabilities that are held to find the tenths of; of more, every second is let go, again and again."""
COLUMNS = ("offered_ns", "exchange", "placement", "domain", "click_probability")
"""Columns of a history that strata are made of."""

Place = tuple[str, str]


class Strata(NamedTuple):
    """How opportunities are numbered: `(placement * 11 + tenth) * 24 + hour`.

    Attributes:
        placements: exchange and placement of the codes 1, 2, ...; 0 is all others.
        edges: float64[9], the inner bounds of the tenths; a row without a probability has tenth 10.
    """

    placements: tuple[Place, ...]
    edges: NDArray[np.float64]

    @property
    def groups(self) -> int:
        """No number is as high."""
        return (len(self.placements) + 1) * (TENTHS + 1) * HOURS

    def of(self, table: pa.Table) -> NDArray[np.int32]:
        """Numbers of the rows of a table that has `COLUMNS`, int32[n]."""
        codes = {place: code for code, place in enumerate(self.placements, start=1)}
        exchanges, places = _places(table)
        # Few pairs and many rows: each distinct pair is looked up once.
        pairs, inverse = _distinct(exchanges, places)
        found = np.array([codes.get(pair, 0) for pair in pairs], dtype=np.int32)
        code = found[inverse]
        probability = table.column("click_probability").to_numpy()
        tenth = np.searchsorted(self.edges, probability, side="right").astype(np.int32)
        tenth[np.isnan(probability)] = TENTHS
        hour = (numbers(table, "offered_ns", 0) // NS_PER_HOUR % HOURS).astype(np.int32)
        return np.asarray((code * (TENTHS + 1) + tenth) * HOURS + hour, dtype=np.int32)

    def part_of(self, stratum: int) -> tuple[Place | None, int, int]:
        """Placement (None: the others), tenth (10: no probability) and hour of a number."""
        rest, hour = divmod(stratum, HOURS)
        code, tenth = divmod(rest, TENTHS + 1)
        return (self.placements[code - 1] if code else None), tenth, hour


def learn_strata(tables: Iterable[pa.Table], *, least_rows: int = LEAST_ROWS) -> Strata:
    """The default strata of some rows.

    Args:
        tables: with `COLUMNS`. least_rows: what a placement must have to be a group of its own.
    """
    counts: Counter[Place] = Counter()
    held: list[NDArray[np.float64]] = []
    step, seen = 1, 0
    for table in tables:
        pairs, inverse = _distinct(*_places(table))
        for pair, count in zip(pairs, np.bincount(inverse, minlength=len(pairs)).tolist(), strict=True):
            counts[pair] += count
        probability = table.column("click_probability").to_numpy()
        known = probability[~np.isnan(probability)]
        held.append(known[-seen % step :: step])
        seen += len(known)
        while sum(map(len, held)) > MOST_PROBABILITIES:
            held, step = [np.concatenate(held)[::2]], step * 2
    values = np.concatenate(held) if held else np.zeros(0)
    inner = np.arange(1, TENTHS) / TENTHS
    edges = np.quantile(values, inner) if len(values) else np.zeros(TENTHS - 1)
    # By count and then by name, so that the codes do not depend on the order of the rows.
    common = sorted((-count, pair) for pair, count in counts.items() if count >= least_rows)
    return Strata(tuple(pair for _, pair in common[:MOST_PLACEMENTS]), edges)


def _places(table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    place = pc.coalesce(table.column("placement"), table.column("domain"), pa.scalar(""))
    return table.column("exchange"), place


def _distinct(exchanges: pa.ChunkedArray, places: pa.ChunkedArray) -> tuple[list[Place], NDArray[np.int64]]:
    """The distinct pairs, and for each row which it has."""
    if not len(exchanges):
        return [], np.zeros(0, dtype=np.int64)
    first, second = (pc.dictionary_encode(each).combine_chunks() for each in (exchanges, places))
    width = len(second.dictionary)
    joint = first.indices.to_numpy().astype(np.int64) * width + second.indices.to_numpy()
    found, inverse = np.unique(joint, return_inverse=True)
    names, others = first.dictionary.to_pylist(), second.dictionary.to_pylist()
    pairs = [(names[one // width], others[one % width]) for one in found.tolist()]
    return pairs, inverse.astype(np.int64)
