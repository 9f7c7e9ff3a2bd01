"""The Parquet file of a history: written in row groups, read in row groups, never held whole."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bidder.errors import InputError
from simulator.export.columns import TableFile
from simulator.history.checking import check_table
from simulator.history.schema import META_KEY, SCHEMA, VERSION, HistoryRow, Meta
from simulator.history.tally import HistoryTally
from simulator.reading import why

GROUP_ROWS = 65_536
"""Rows of a row group: what a reader holds at a time."""
Progress = Callable[[int, int], None]
"""Called with how much is done, and all of it; the unit is the caller's."""


class HistoryWriter:
    """Writes a history; the file is there once the block is left without an error.

    Args:
        path: of the file; one of that name is replaced.
        meta: of the history.

    Attributes:
        tally: of what was written. drops: rows of the source that are not in the history, by cause.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path, meta: Meta) -> None:
        if path.suffix.lower() != ".parquet":
            raise InputError(f"history {path} must end in .parquet, was {path.suffix!r}")
        schema = SCHEMA.with_metadata({META_KEY: msgspec.json.encode(meta)})
        self._file = TableFile(path, schema)
        self._rows: list[HistoryRow] = []
        self.tally = HistoryTally()
        self.drops: Counter[str] = Counter()

    def add(self, row: HistoryRow) -> None:
        """Adds one row, in the order of time."""
        self._rows.append(row)
        if len(self._rows) >= GROUP_ROWS:
            self.flush()

    def add_table(self, table: pa.Table) -> None:
        """Adds a table of `SCHEMA`, in the order of time.

        Raises:
            InputError: a row breaks a rule of the schema.
        """
        self.flush()
        for begin in range(0, table.num_rows, GROUP_ROWS):
            self._write(table.slice(begin, GROUP_ROWS))

    def flush(self) -> None:
        """Writes the rows that wait, so that `tally` counts them."""
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
            self._rows.clear()
            self._write(pa.Table.from_arrays(arrays, schema=SCHEMA))

    def _write(self, table: pa.Table) -> None:
        check_table(table, self.tally.rows, self.tally.last_ns if self.tally.rows else -(2**63))
        self.tally.add(table)
        self._file.add_table(table)

    def __enter__(self) -> Self:
        """Itself."""
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the file, or removes what there is of it."""
        try:
            if kind is None:
                self.flush()
        except BaseException as own:
            self._file.__exit__(type(own), own, own.__traceback__)
            raise
        self._file.__exit__(kind, error, trace)


class History:
    """One history on disk.

    Args:
        path: of the file.

    Attributes:
        meta: what it says of itself. rows: of all of it. groups: row groups.

    Raises:
        InputError: no such file, no history, or one of another version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(
                f"history {self.path} must be a file that is there: make one by `clearbid history`"
            )
        try:
            described = pq.read_metadata(self.path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"history must be a Parquet file, was {self.path}: {why(error)}") from None
        text = (described.metadata or {}).get(META_KEY)
        if text is None:
            raise InputError(
                f"{self.path} must be a history, is another table: make one by `clearbid history`, of "
                "a foreign table with --mapping"
            )
        try:
            self.meta = msgspec.json.decode(text, type=Meta)
        except msgspec.DecodeError as error:
            raise InputError(f"history {self.path} does not say what it is: {error}") from None
        if self.meta.version != VERSION:
            raise InputError(
                f"version of history {self.path} must be {VERSION}, was {self.meta.version}: make it again by "
                "`clearbid history`"
            )
        self.rows: int = described.num_rows
        self.groups: int = described.num_row_groups

    def tables(
        self, columns: Sequence[str] | None = None, *, progress: Progress | None = None
    ) -> Iterator[pa.Table]:
        """The row groups in order, each held alone.

        Args:
            columns: names out of `SCHEMA` to read; None for all. progress: hears of rows.

        Raises:
            InputError: the file breaks off.
        """
        done = 0
        try:
            # Buffered readers read ahead of need, and so hold several groups at a time.
            with pq.ParquetFile(self.path, pre_buffer=False) as file:
                for group in range(self.groups):
                    table = file.read_row_group(group, columns=columns, use_threads=False)
                    yield table
                    done += table.num_rows
                    if progress is not None:
                        progress(done, self.rows)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"history {self.path} cannot be read to its end: {str(error)[:120]}") from None

    def span(self) -> tuple[int, int]:
        """Times of the first and the last offer; 0 and 0 where there is no row."""
        described = pq.read_metadata(self.path)
        place = SCHEMA.names.index("offered_ns")
        # A list column counts as one, so that places of leaves are those of columns.
        parts = [described.row_group(n).column(place).statistics for n in range(self.groups)]
        known = [part for part in parts if part is not None and part.has_min_max]
        return (known[0].min, known[-1].max) if known else (0, 0)

    def tally(self) -> HistoryTally:
        """Counts all of it."""
        found = HistoryTally()
        wanted = (
            "offered_ns", "campaign", "user", "price_kind", "won", "clicked", "converted", "paid_nanos",
            "value_nanos",
        )  # fmt: skip
        for table in self.tables(wanted):
            found.add(table)
        return found
