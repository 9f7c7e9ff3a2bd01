"""Training tables: read, checked, in the order of time, cut into slices by time.

A table is Parquet or CSV, one row an impression that was shown (or, where it has a column `won`, a bid):

| column | what |
|---|---|
| `at_ns` | int64, when it was offered, nanoseconds since the epoch |
| `click` | 0 or 1 |
| `conversion` | 0 or 1, null where not known; counts only where `click` is 1; another column can be the goal |
| features | raw: texts or numbers, named as declared; see `models.schema` |
| others | optional, see `models.extras`; with a column `won`, lost bids are rows too, and have no click |
"""

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models import columns
from models.errors import TableError
from models.extras import NUMBERS, TEXTS, TIMES, UNKNOWN_NS, Extra
from models.pages.text import lag
from models.paths import no_file
from models.saying import few
from models.schema import Declaration, check_declarations

TIME, CLICK, CONVERSION = "at_ns", "click", "conversion"
FILE_ROW = "file_row"
"""int64[N] of a table that was read with labels from the future: where in its file each row stands, from 0."""

CLICK_TIME, CONVERSION_TIME, OBSERVED_UNTIL = TIMES

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainingTable:
    """Rows in the order of time.

    Attributes:
        columns: for each declared column a sequence of texts (or None), a float64 array (NaN where missing), or
            a sequence of tuples of segment ids; as `models.texts` where read from a file.
        at_ns: int64[N], ascending.
        click: float64[N] of 0.0 and 1.0; NaN for lost bids, which are there only where they were asked for.
        conversion: float64[N] of 0.0, 1.0 and NaN where not known; of the column `goal`.
        source: name of the table, for messages and the manifest.
        sha256: of the table's bytes.
        extras: the columns of `models.extras` that the table has, and texts that were asked for by name.
        goal: name of the column whose ones are conversions.
    """

    columns: dict[str, Sequence[object] | Floats]
    at_ns: NDArray[np.int64]
    click: Floats
    conversion: Floats
    source: str
    sha256: str
    extras: dict[str, Extra] = field(default_factory=dict)
    goal: str = CONVERSION

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.at_ns)

    def slice(self, begin: int, end: int) -> "TrainingTable":
        """Rows begin..end-1."""
        return self._pick(lambda values: values[begin:end])

    def take(self, rows: NDArray[np.int64]) -> "TrainingTable":
        """Rows at these places, which must ascend so that time does."""
        places = rows.tolist()

        def pick(values: Any) -> Any:
            return [values[row] for row in places] if isinstance(values, list | tuple) else values[rows]

        return self._pick(pick)

    def _pick(self, pick: Callable[[Any], Any]) -> "TrainingTable":
        return replace(
            self,
            columns={name: pick(values) for name, values in self.columns.items()},
            at_ns=pick(self.at_ns),
            click=pick(self.click),
            conversion=pick(self.conversion),
            extras={name: pick(values) for name, values in self.extras.items()},
        )


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Three slices, each wholly later than the one before."""

    train: TrainingTable
    calibration: TrainingTable
    test: TrainingTable


def read_table(
    path: Path,
    declarations: Sequence[Declaration],
    *,
    lost: bool = False,
    goal: str = CONVERSION,
    keep: Sequence[str] = (),
) -> TrainingTable:
    """Reads and checks a training table.

    Args:
        path: `.parquet` or `.csv`. All values of a CSV are taken as text, so that a code like `007` stays.
        declarations: which columns are features, and of what kind.
        lost: keep bids that were lost, where the table has any.
        goal: the column of 0 and 1 (null where not known) whose ones count as conversions.
        keep: further columns to keep, as texts, among the extras.

    Raises:
        TableError: the file is missing or unreadable, has no rows, lacks a column, holds a value that is
            not allowed or a label from the future: the column, the row (the first is 1) and what is allowed
            are named.
    """
    arrow, digest = read_arrow(path)
    return table_from_arrow(
        arrow, declarations, source=path.name, sha256=digest, lost=lost, goal=goal, keep=keep
    )


def read_arrow(path: Path) -> tuple[Any, str]:
    """The `pyarrow.Table` of a file as it is, and the sha256 of its bytes.

    Raises:
        TableError: the file is missing, unreadable, or neither `.parquet` nor `.csv`.
    """
    if why := no_file(path):
        raise TableError(f"training table {path} must be a file, {why}")
    readers = {".parquet": _read_parquet, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TableError(f"training table {path} must end in {' or '.join(readers)}, was {path.suffix!r}")
    try:
        arrow = reader(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TableError(f"training table {path} must be readable {path.suffix[1:]}: {reason}") from error
    return arrow, digest


def _read_parquet(path: Path) -> Any:
    return pq.read_table(path)


def _read_csv(path: Path) -> Any:
    with path.open(newline="", encoding="utf-8") as file:
        names = next(csv.reader(file), [])
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    return pyarrow.csv.read_csv(path, convert_options=options)


def table_from_arrow(
    arrow: Any,
    declarations: Sequence[Declaration],
    *,
    source: str,
    sha256: str = "",
    lost: bool = False,
    goal: str = CONVERSION,
    keep: Sequence[str] = (),
    any_times: bool = False,
) -> TrainingTable:
    """Checks an Arrow table and puts it in the order of time (rows of one time stay as they were).

    Args:
        arrow: `pyarrow.Table`.
        declarations: which columns are features, and of what kind.
        source: what messages and the manifest call it.
        sha256: of its bytes; made from the content where empty.
        any_times: let labels from the future pass, for who counts them; `FILE_ROW` tells where each row was.
        lost: as `read_table`.
        goal: as `read_table`.
        keep: as `read_table`.

    Raises:
        TableError: as `read_table`.
    """
    check_declarations(declarations)
    required = (TIME, CLICK, goal, *(item.name for item in declarations if not item.optional), *keep)
    _check_present(arrow, required, source)
    if any(item.name == goal for item in declarations):
        raise TableError(
            f"feature {goal} must not be the goal of the training too ({source}): take it out of the declarations"
        )
    at_ns = columns.times(arrow[TIME], TIME, source)
    won = _flags(arrow, "won", source)
    click = columns.labels(arrow[CLICK], CLICK, source, may_be_null=won is not None)
    _check_lost(click, won, source)
    conversion = columns.labels(arrow[goal], goal, source, may_be_null=True)
    extras = _extras(arrow, goal, source)
    if any_times:
        extras[FILE_ROW] = np.arange(arrow.num_rows, dtype=np.int64)  # who counts what is wrong says where
    else:
        _check_times(at_ns, click, conversion, extras, goal, source)
    order = np.argsort(at_ns, kind="stable")
    if won is not None and not lost:
        order = order[won[order] > 0.0]
        if len(order) == 0:
            raise TableError(f"training table {source} must have impressions, all its rows have won = 0")
    features = {
        item.name: _feature(arrow[item.name], item, source)
        for item in declarations
        if item.name in arrow.column_names
    }
    extras |= {name: columns.texts(arrow[name], name, source) for name in keep if name not in extras}
    table = TrainingTable(features, at_ns, click, conversion, source, sha256 or _digest(arrow), extras, goal)
    return table.take(order)


def _check_present(arrow: Any, required: Sequence[str], source: str) -> None:
    for name in required:
        if name not in arrow.column_names:
            raise TableError(
                f"training table {source} must have the column {name}, has {few(arrow.column_names, 12)}: "
                f"take a table that has it, as `clearbid export` writes one, or train on the columns of this one "
                f"(--features of `clearbid models train`)"
            )
    if arrow.num_rows == 0:
        raise TableError(f"training table {source} must have rows, had none")


def _feature(column: Any, item: Declaration, source: str) -> Sequence[object] | Floats:
    if item.kind == "numeric":
        return columns.numbers(column, item.name, source)
    if item.kind == "segments":
        return columns.segment_lists(column)
    return columns.texts(column, item.name, source)


def _flags(arrow: Any, name: str, source: str) -> Floats | None:
    """A column of 0 and 1, or None where there is none."""
    if name not in arrow.column_names:
        return None
    return columns.labels(arrow[name], name, source, may_be_null=False)


def _check_lost(click: Floats, won: Floats | None, source: str) -> None:
    if won is None:
        return
    for name, wrong in (
        ("null on an impression", np.isnan(click) & (won > 0)),
        ("1 on a lost bid", (click > 0) & (won == 0)),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0]) + 1
            raise TableError(
                f"click must be 0 or 1 where won is 1 and not 1 where it is 0, was {name} (row {row}, {source})"
            )


def _extras(arrow: Any, goal: str, source: str) -> dict[str, Extra]:
    """The optional columns; the time of another goal than `conversion` is the column `GOAL_at_ns`."""
    found: dict[str, Extra] = {}
    for name in arrow.column_names:
        if name in NUMBERS:
            found[name] = columns.numbers(arrow[name], name, source)
        elif name in TIMES and (name != CONVERSION_TIME or goal == CONVERSION):
            found[name] = columns.instants(arrow[name], name, source)
        elif name in TEXTS:
            found[name] = columns.texts(arrow[name], name, source)
    at = f"{goal}_at_ns"
    if goal != CONVERSION and at in arrow.column_names:
        found[CONVERSION_TIME] = columns.instants(arrow[at], at, source)
    _check_positive(found, "weight", "> 0: give every row a weight, or leave the column out", source)
    _check_positive(found, "value_nanos", ">= 0 or null: book refunds apart", source)
    return found


def _check_positive(found: dict[str, Extra], name: str, allowed: str, source: str) -> None:
    values = found.get(name)
    if not isinstance(values, np.ndarray):
        return
    wrong = ~(values > 0) if name == "weight" else values < 0
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise TableError(f"{name} must be {allowed}; was {values[row]} (row {row + 1}, {source})")


def _check_times(
    at_ns: Instants, click: Floats, conversion: Floats, extras: dict[str, Extra], goal: str, source: str
) -> None:
    """Refuses labels from the future: what happened must follow its cause and lie before the end of observation."""
    times = {TIME: at_ns, **{name: np.asarray(extras[name]) for name in TIMES if name in extras}}
    for early, late in (
        (TIME, CLICK_TIME),
        (TIME, CONVERSION_TIME),
        (CLICK_TIME, CONVERSION_TIME),
        (TIME, OBSERVED_UNTIL),
        (CLICK_TIME, OBSERVED_UNTIL),
        (CONVERSION_TIME, OBSERVED_UNTIL),
    ):
        if early in times and late in times:
            _check_order(early, times[early], late, times[late], source)
    told = times.get(CONVERSION_TIME)
    if told is not None:
        wrong = (told != UNKNOWN_NS) & (click > 0) & (conversion == 0)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0]) + 1
            raise TableError(f"{goal} must be 1 where its time is told, was 0 (row {row}, {source})")


def _check_order(early: str, before: Instants, late: str, after: Instants, source: str) -> None:
    wrong = (before != UNKNOWN_NS) & (after != UNKNOWN_NS) & (after < before)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        gap = lag(int(before[row] - after[row]))
        raise TableError(
            f"{late} must not be before {early}, was {gap} before it (row {row + 1}, {source}): "
            f"a label from the future; mend the clocks or the join that made the table"
        )


def _digest(arrow: Any) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.schema.remove_metadata()) as writer:
        writer.write_table(arrow.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def split_by_time(table: TrainingTable, calibration: float = 0.15, test: float = 0.15) -> TimeSplit:
    """Cuts a table into train, calibration and test by time; rows of one time fall into one slice.

    Args:
        table: in the order of time.
        calibration: share of the rows for calibration.
        test: share of the rows, the last ones, for the test.

    Raises:
        TableError: the rows have too few different times to make three slices.
    """
    total = len(table)
    starts = [0]
    for share in (1.0 - calibration - test, 1.0 - test):
        at = table.at_ns[min(int(total * share), total - 1)]
        starts.append(int(np.searchsorted(table.at_ns, at, side="left")))
    bounds = [*starts, total]
    if any(end <= begin for begin, end in pairwise(bounds)):
        raise TableError(
            f"training table {table.source} must spread over time so that it can be cut into train, "
            f"calibration and test, had {total} rows at {len(np.unique(table.at_ns))} different {TIME}"
        )
    return TimeSplit(*(table.slice(begin, end) for begin, end in pairwise(bounds)))
