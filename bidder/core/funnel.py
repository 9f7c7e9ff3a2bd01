"""Where each line item's opportunities ended: exact counts that add up.

For every line item, over all opportunities that were asked (test traffic is not):

    asked = refused by its first dimension, dimension by dimension + eligible
    eligible = stopped + creative + pod + capped + no_lease + unscored + no_value + below_floor + budget + outbid
               + bid

What targeting refuses is counted in the hot path by bit-sliced counters (`core.funnel_kernels`), which is cheap to
about a thousand line items. Above that the engine leaves it out and hands over each batch's record: what was asked
is a pure function of the record and the table, and `Recount` makes the same counts of it anywhere.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.dimensions import Dimension
from bidder.core.funnel_kernels import MOST_ROWS, SLICES, drain, recount
from bidder.core.table import LineTable
from bidder.core.targeting_kernels import END

STAGES = (
    "eligible", "stopped", "creative", "pod", "capped", "no_lease", "unscored", "no_value", "below_floor", "budget",
    "outbid", "bid",
)  # fmt: skip
"""Columns of the funnel past targeting, `core.kernels.F_...`."""


class Counts(NamedTuple):
    """One line item's counts; `refused` by dimension, those without any left out."""

    asked: int
    refused: dict[str, int]
    stages: dict[str, int]

    @property
    def adds_up(self) -> bool:
        """Whether every opportunity ended once."""
        stages = self.stages
        ended = sum(stages.values()) - stages["eligible"]
        return ended == stages["eligible"] and sum(self.refused.values()) + stages["eligible"] == self.asked

    def plus(self, more: "Counts") -> "Counts":
        """The sum of two."""
        names = self.refused.keys() | more.refused.keys()
        return Counts(
            self.asked + more.asked,
            {name: self.refused.get(name, 0) + more.refused.get(name, 0) for name in sorted(names)},
            {name: times + more.stages[name] for name, times in self.stages.items()},
        )


class Funnel:
    """Counts of all line items of the current table, and of those that were before.

    Args:
        counting: whether refusals are counted in the hot path.

    Attributes:
        stages: int64[lines, len(STAGES)], changed by the kernel. counters: see `core.funnel_kernels`.
    """

    def __init__(self, counting: bool) -> None:
        self.counting = counting
        self._gone: dict[str, Counts] = {}
        self._table: LineTable | None = None
        self._rows = 0
        self.stages: NDArray[np.int64] = np.zeros((0, len(STAGES)), dtype=np.int64)
        self.counters: NDArray[np.uint64] = np.zeros((0, SLICES, 1), dtype=np.uint64)
        self._refused: NDArray[np.int64] = np.zeros((0, len(Dimension) + 1), dtype=np.int64)
        self._asked: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._told_stages = self.stages.copy()
        self._told_refused = self._refused.copy()
        self._told_asked = self._asked.copy()
        self._untold: dict[str, Counts] = {}

    def install(self, table: LineTable) -> None:
        """Goes on with another table; counts of line items that stay, or come back, go on."""
        old = self._table
        self._drain()
        was = old.index if old is not None else {}
        # Row by row in arrays: with thousands of line items an object for each would hold up the loop.
        rows = np.array([was.get(line_id, -1) for line_id in table.ids], dtype=np.int64)
        kept = rows >= 0
        self._part(np.setdiff1d(np.arange(len(was), dtype=np.int64), rows[kept]))
        self.stages, self._told_stages = (
            _moved(each, rows, kept) for each in (self.stages, self._told_stages)
        )
        self._refused, self._told_refused = (
            _moved(each, rows, kept) for each in (self._refused, self._told_refused)
        )
        self._asked, self._told_asked = (_moved(each, rows, kept) for each in (self._asked, self._told_asked))
        self.counters = np.zeros((len(table.dimensions), SLICES, table.words), dtype=np.uint64)
        self._table = table
        for line_id in [line_id for line_id in self._gone if line_id in table.index]:
            self._restore(table.index[line_id], self._gone.pop(line_id))

    def _part(self, rows: NDArray[np.int64]) -> None:
        """Keeps counts of line items that leave the table, and what was not told of them."""
        counted = rows[(self._asked[rows] > 0) | (self.stages[rows].any(axis=1))]
        untold = self._changes(counted)
        self._gone |= self._counts(counted, self._asked, self._refused, self.stages)
        for line_id, counts in untold.items():
            before = self._untold.get(line_id)
            self._untold[line_id] = counts if before is None else before.plus(counts)

    def _restore(self, row: int, counts: Counts) -> None:
        self.stages[row] = self._told_stages[row] = list(counts.stages.values())
        self._asked[row] = self._told_asked[row] = counts.asked
        for name, times in counts.refused.items():
            self._refused[row, _column(name)] = self._told_refused[row, _column(name)] = times

    def room(self, rows: int) -> None:
        """Makes sure that the counters can take so many rows more."""
        if self._rows + rows > MOST_ROWS:
            self._drain()

    def counted(self, rows: int) -> None:
        """So many opportunities were asked."""
        self._rows += rows

    def _drain(self) -> None:
        table = self._table
        if table is None:
            return
        totals = np.zeros((table.words * 64, len(table.dimensions)), dtype=np.int64)
        drain(self.counters, totals)
        for place, dimension in enumerate(table.dimensions):
            self._refused[:, dimension] += totals[: len(table), place]
        self._asked += self._rows
        self._refused[_inactive(table), len(Dimension)] += self._rows
        self._rows = 0

    def add(self, asked: int, refused: Mapping[str, Mapping[str, int]]) -> None:
        """Takes over counts that a `Recount` made of this engine's records, by line item."""
        assert self._table is not None, "records are of a table"
        self._asked += asked
        for line_id, times in refused.items():
            row = self._table.index.get(line_id)
            if row is not None:
                for name, count in times.items():
                    self._refused[row, _column(name)] += count

    def counts(self) -> dict[str, Counts]:
        """Counts of every line item of the table, by id."""
        self._drain()
        return self._counts(
            np.arange(len(self._asked), dtype=np.int64), self._asked, self._refused, self.stages
        )

    def untold(self) -> dict[str, Counts]:
        """What was counted since this was last asked, of each line item of which anything was, by id."""
        self._drain()
        changed = (
            (self._asked != self._told_asked)
            | (self.stages != self._told_stages).any(axis=1)
            | (self._refused != self._told_refused).any(axis=1)
        )
        found, self._untold = self._untold, {}
        for line_id, counts in self._changes(np.flatnonzero(changed)).items():
            before = found.get(line_id)
            found[line_id] = counts if before is None else before.plus(counts)
        self._told_stages = self.stages.copy()
        self._told_refused = self._refused.copy()
        self._told_asked = self._asked.copy()
        return found

    def _changes(self, rows: NDArray[np.int64]) -> dict[str, Counts]:
        return self._counts(
            rows,
            self._asked - self._told_asked,
            self._refused - self._told_refused,
            self.stages - self._told_stages,
        )

    def _counts(
        self,
        rows: NDArray[np.int64],
        asked: NDArray[np.int64],
        refused: NDArray[np.int64],
        stages: NDArray[np.int64],
    ) -> dict[str, Counts]:
        """Some rows of the arrays, by line item."""
        if self._table is None:
            return {}
        ids = self._table.ids
        by_row = zip(
            rows.tolist(), asked[rows].tolist(), refused[rows].tolist(), stages[rows].tolist(), strict=True
        )
        return {
            ids[row]: Counts(
                times_asked,
                {_name(place): times for place, times in enumerate(times_refused) if times},
                dict(zip(STAGES, times_ended, strict=True)),
            )
            for row, times_asked, times_refused, times_ended in by_row
        }


def _moved(counts: NDArray[np.int64], rows: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Counts of the rows of another table: those that were at `rows` where `kept`, else 0."""
    moved = np.zeros((len(rows), *counts.shape[1:]), dtype=np.int64)
    moved[kept] = counts[rows[kept]]
    return moved


def _name(place: int) -> str:
    return "inactive" if place == len(Dimension) else Dimension(place).name.lower()


def _column(name: str) -> int:
    return len(Dimension) if name == "inactive" else int(Dimension[name.upper()])


class Recount:
    """Makes the counts of targeting from records, beside the bidder.

    Args:
        table: of the version that the records were made with.
    """

    def __init__(self, table: LineTable) -> None:
        self._table = table
        self._counters = np.zeros((len(table.dimensions), SLICES, table.words), dtype=np.uint64)
        self._totals = np.zeros((table.words * 64, len(table.dimensions)), dtype=np.int64)
        self._left = np.zeros(table.words, dtype=np.uint64)
        self._rows = 0
        self.asked = 0

    def take(self, record: NDArray[np.int32], awake: NDArray[np.uint64], rows: int) -> None:
        """Counts one batch's record.

        Args:
            record: int32[], as the engine made it, of opportunities that count. awake: uint64[words], what was in
                flight. rows: opportunities in it.
        """
        if self._rows + rows > MOST_ROWS:
            self._drain()
        table = self._table
        base = table.base.copy()
        base[0] = awake
        recount(rows, table.active, base, table.rows, record, END, self._left, self._counters)
        self._rows += rows
        self.asked += rows

    def _drain(self) -> None:
        drain(self._counters, self._totals)
        self._rows = 0

    def refused(self) -> dict[str, dict[str, int]]:
        """Refusals of each line item by dimension."""
        self._drain()
        names: Sequence[str] = [*map(_name, self._table.dimensions), _name(len(Dimension))]
        inactive = np.zeros((len(self._table), 1), dtype=np.int64)
        inactive[_inactive(self._table)] = self.asked
        totals = np.hstack((self._totals[: len(self._table)], inactive)).tolist()
        return {
            line_id: {name: times for name, times in zip(names, row, strict=True) if times}
            for line_id, row in zip(self._table.ids, totals, strict=True)
        }


def _inactive(table: LineTable) -> NDArray[np.bool_]:
    """bool[lines], line items that may not bid whatever is asked."""
    bits = np.unpackbits(table.active.view(np.uint8), bitorder="little")
    inactive: NDArray[np.bool_] = bits[: len(table)] == 0
    return inactive
