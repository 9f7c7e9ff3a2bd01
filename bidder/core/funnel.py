"""Where each line item's opportunities ended: exact counts that add up.

For every line item, over all opportunities that were asked (test traffic is not):

    asked = refused by its first dimension, dimension by dimension + eligible
    eligible = creative + pod + capped + no_lease + unscored + no_value + below_floor + budget + outbid + bid

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
from bidder.core.kernels import END
from bidder.core.table import LineTable

STAGES = (
    "eligible", "creative", "pod", "capped", "no_lease", "unscored", "no_value", "below_floor", "budget", "outbid",
    "bid",
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

    def install(self, table: LineTable) -> None:
        """Goes on with another table; counts of line items that stay go on."""
        old = {} if self._table is None else self.counts()
        self._gone |= old
        count = len(table)
        self.stages = np.zeros((count, len(STAGES)), dtype=np.int64)
        self._refused = np.zeros((count, len(Dimension) + 1), dtype=np.int64)
        self._asked = np.zeros(count, dtype=np.int64)
        self.counters = np.zeros((len(table.dimensions), SLICES, table.words), dtype=np.uint64)
        self._table = table
        for row, line_id in enumerate(table.ids):
            counts = self._gone.pop(line_id, None)
            if counts is not None:
                self.stages[row] = list(counts.stages.values())
                self._asked[row] = counts.asked
                for name, times in counts.refused.items():
                    self._refused[row, _column(name)] = times

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
        table = self._table
        if table is None:
            return {}
        stages, refused, asked = self.stages.tolist(), self._refused.tolist(), self._asked.tolist()
        return {
            line_id: Counts(
                asked[row],
                {_name(place): times for place, times in enumerate(refused[row]) if times},
                dict(zip(STAGES, stages[row], strict=True)),
            )
            for row, line_id in enumerate(table.ids)
        }


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
