"""Reads a Parquet log whose rows know their time only roughly: count first, then place, then sort."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from simulator.logs.parquet import ParquetLog
from simulator.logs.rows import LogRow
from simulator.logs.timeline import Ints, Spread, in_time_order

TEXT = pa.large_string()
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
MAX_OWNERS = 1 << 20
"""Pairs of source and campaign that a log may have."""


class TwoPassReader:
    """Rows of a log in time order, bad ones left out and counted.

    The first pass learns how many rows share each hour, the second reads them. A kind of log says what its columns
    are, which rows are faulty, what is known of a row's time, and how columns become a `LogRow`.

    Args:
        log: the file.
        sources: to take, the first of which sets the first day.
        drops: where rows that are left out are counted by cause; None counts them nowhere.

    Attributes:
        types: columns to read. time_columns: those that tell the time. campaign_column: who won.
        micros_per_unit: CPM micros in one unit of the price columns.
    """

    types: dict[str, pa.DataType]
    micros_per_unit: int
    time_columns: tuple[str, ...]
    campaign_column: str

    def __init__(self, log: ParquetLog, sources: tuple[str, ...], drops: Counter[str] | None) -> None:
        self._log = log
        self._sources = sources
        self._drops: Counter[str] = Counter() if drops is None else drops
        self._spread = Spread()
        self._first_day: dict[int, int] = {}
        self._owners: dict[tuple[str, str], int] = {}

    def rows(self, run_rows: int) -> Iterator[LogRow]:
        """Surveys the log now, and reads it as it is asked for."""
        self._survey()
        ordered = in_time_order(self._timed(), run_rows)
        return (self.row(values) for values in ordered)

    def _survey(self) -> None:
        """First pass: rows of each span, first day of each source."""
        wanted = {name: self.types[name] for name in self.time_columns}
        for table in self._log.batches(wanted | {name: self.types[name] for name in self.checked()}):
            kept = table.filter(self._good(table))
            if not kept.num_rows:
                continue
            source, begin_ns, length_ns = self._source_index(kept), *self.span(kept)
            self._spread.count(self._number(kept, begin_ns, length_ns)[length_ns > 0])
            for index in np.unique(source).tolist():
                day = int(begin_ns[source == index].min() // DAY_NS)
                self._first_day[index] = min(day, self._first_day.get(index, day))

    def _timed(self) -> Iterator[pa.Table]:
        """Second pass: the rows with their time and place in the log put first, bad ones left out."""
        place = 0
        for whole in self._log.batches(self.types):
            numbered = whole.add_column(0, "place", pa.array(np.arange(place, place + whole.num_rows)))
            place += whole.num_rows
            kept = numbered.filter(self._good(whole, self._drops))
            if kept.num_rows:
                yield kept.add_column(0, "at_ns", pa.array(self._times(kept)))

    def _times(self, table: pa.Table) -> Ints:
        source, begin_ns, length_ns = self._source_index(table), *self.span(table)
        at_ns = begin_ns.copy()
        loose = length_ns > 0
        spans = self._number(table, begin_ns, length_ns)[loose]
        at_ns[loose] = self._spread.times(spans, begin_ns[loose], length_ns[loose])
        axis_day = next(self._first_day[i] for i in range(len(self._sources)) if i in self._first_day)
        moved = np.array([axis_day - self._first_day.get(i, axis_day) for i in range(len(self._sources))])
        return np.asarray(at_ns + moved[source] * DAY_NS)

    def _number(self, table: pa.Table, begin_ns: Ints, length_ns: Ints) -> Ints:
        """A number for each span: its hour, whether it is a whole day, and whose it is."""
        return (begin_ns // HOUR_NS * 2 + (length_ns > HOUR_NS)) * MAX_OWNERS + self._owner(table)

    def _owner(self, table: pa.Table) -> Ints:
        """Numbers of (source, campaign): each spreads its rows for itself."""
        pairs = zip(table["source"].to_pylist(), table[self.campaign_column].to_pylist(), strict=True)
        owners = self._owners
        return np.fromiter((owners.setdefault(pair, len(owners)) for pair in pairs), np.int64, table.num_rows)

    def _good(self, table: pa.Table, drops: Counter[str] | None = None) -> NDArray[np.bool_]:
        """Which rows to keep; each of the others is counted by its first fault."""
        good = np.ones(table.num_rows, np.bool_)
        for cause, fault in self._faults(table):
            hit = good & fault.to_numpy(zero_copy_only=False)
            good &= ~hit
            if drops is not None and hit.any():
                drops[cause] += int(hit.sum())
        return good

    def _faults(self, table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        chosen = pc.is_in(table["source"], value_set=pa.array(self._sources, TEXT))
        yield "source not chosen", flags(pc.invert(chosen))
        yield (
            "click is neither 0 nor 1",
            flags(pc.invert(pc.is_in(table["click"], value_set=pa.array([0, 1])))),
        )
        for name, cause, may_be_unknown in self.prices():
            price = table[name]
            # A price above a million units is no price; one finer than a micro would not be exact.
            micros = pc.multiply(price, float(self.micros_per_unit))
            whole = pc.equal(pc.round(micros, 4), pc.round(micros))
            fair = pc.and_(pc.and_(pc.greater_equal(price, 0.0), pc.less_equal(price, 1e6)), whole)
            yield cause, flags(pc.invert(fair), unknown=not may_be_unknown)
        yield from self.more_faults(table)

    def _source_index(self, table: pa.Table) -> Ints:
        found = pc.index_in(table["source"], value_set=pa.array(self._sources, TEXT))
        return np.asarray(pa.chunked_array(found).to_numpy()).astype(np.int64)

    def checked(self) -> tuple[str, ...]:
        """Columns that decide whether a row is kept."""
        raise NotImplementedError

    def prices(self) -> tuple[tuple[str, str, bool], ...]:
        """Price columns, each with the cause by which bad ones are counted, and whether null is none of them."""
        raise NotImplementedError

    def more_faults(self, table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        """Faults of this kind of log."""
        raise NotImplementedError

    def span(self, table: pa.Table) -> tuple[Ints, Ints]:
        """Begin of the span that a row's time is in, and length of it, 0 where the time is exact."""
        raise NotImplementedError

    def row(self, values: tuple[Any, ...]) -> LogRow:
        """One row; `values` are time, place in the log, and the columns of `types`."""
        raise NotImplementedError


def flags(values: pa.ChunkedArray, *, unknown: bool = False) -> pa.ChunkedArray:
    """Flags with null read as `unknown`."""
    return pc.fill_null(values, unknown)


def column(values: pa.ChunkedArray, missing: int) -> Ints:
    """Whole numbers with null read as `missing`, int64 (n,)."""
    return np.asarray(pc.fill_null(values, missing).to_numpy(), dtype=np.int64)
