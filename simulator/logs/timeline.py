"""Puts the rows of a log on a time axis, in order, however large the log is.

`Spread` gives times to rows that know only a span (an hour, a day): evenly over it, in log order. It reads
the log once for how many share each span, and then again to place them. `in_time_order` is a merge sort:
runs that fit memory are sorted there and, once there are too many, written to temporary files and merged.
"""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]

RUN_ROWS = 262_144
"""Rows sorted in memory at a time, and kept there as long as the whole log has no more."""

_READ_ROWS = 8_192


class Spread:
    """Even times within spans. Every span is known by a number of the caller's choice."""

    def __init__(self) -> None:
        self._total: dict[int, int] = {}
        self._placed: dict[int, int] = {}

    def count(self, spans: Ints) -> None:
        """Counts rows of each span; to be called for the whole log before the first `fractions`."""
        numbers, counts = np.unique(spans, return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            self._total[number] = self._total.get(number, 0) + count

    def places(self, spans: Ints) -> tuple[Ints, Ints]:
        """For each row how many of its span came before, and how many there are; both int64 (n,)."""
        numbers, inverse = np.unique(spans, return_inverse=True)
        before, total = np.zeros(len(spans), np.int64), np.zeros(len(spans), np.int64)
        for index, number in enumerate(numbers.tolist()):
            rows = np.flatnonzero(inverse == index)
            placed = self._placed.get(number, 0)
            before[rows] = placed + np.arange(len(rows))
            total[rows] = self._total[number]
            self._placed[number] = placed + len(rows)
        return before, total

    def times(self, spans: Ints, begin_ns: Ints, length_ns: Ints) -> Ints:
        """Times of the rows: the middles of as many equal parts of the span as it has rows."""
        before, total = self.places(spans)
        return begin_ns + (length_ns * (2 * before + 1) // (2 * total))


def in_time_order(tables: Iterable[pa.Table], run_rows: int = RUN_ROWS) -> Iterator[tuple[Any, ...]]:
    """Rows of all tables as tuples of Python values, sorted by the first column.

    Args:
        tables: of one schema, with the time (int64) first and the place in the log (int64) second, which decides
            where times are equal.
        run_rows: rows to hold in memory.
    """
    with tempfile.TemporaryDirectory(prefix="clearbid-log-") as folder:
        runs: list[Iterator[tuple[Any, ...]]] = []
        held: list[pa.Table] = []
        for table in tables:
            held.append(table)
            if sum(part.num_rows for part in held) >= run_rows:
                runs.append(_spilled(_sorted(held), Path(folder) / f"{len(runs)}.arrow"))
                held = []
        if held:
            runs.append(_tuples(_sorted(held).to_batches(_READ_ROWS)))
        yield from (
            heapq.merge(*runs, key=itemgetter(0, 1))
            if len(runs) > 1
            else (row for run in runs for row in run)
        )


def _sorted(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    first, second = table.column_names[:2]
    return table.sort_by([(first, "ascending"), (second, "ascending")])


def _spilled(table: pa.Table, path: Path) -> Iterator[tuple[Any, ...]]:
    """Writes a run now and reads it back when it is asked for, a few rows at a time."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_READ_ROWS)
    return _read_back(path)


def _read_back(path: Path) -> Iterator[tuple[Any, ...]]:
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as reader:
        yield from _tuples(reader)


def _tuples(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
