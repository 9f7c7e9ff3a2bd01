"""Training tables: read, checked, in the order of time, cut into slices by time.

A table is Parquet or CSV, one row an impression that was shown (or, where it has a column `won`, a bid):

| column | what |
|---|---|
| `at_ns` | int64, when it was offered, nanoseconds since the epoch |
| `click` | 0 or 1 |
| `conversion` | 0 or 1, null where not known; counts only where `click` is 1 |
| features | raw: texts or numbers, named as declared; see `models.schema` |
| others | optional, see `models.extras`; with a column `won`, lost bids are rows too, and have no click |
"""

import contextlib
import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.errors import TableError
from models.extras import NUMBERS, TEXTS, TIMES, UNKNOWN_NS, Extra
from models.schema import Declaration, check_declarations, segments_of

TIME, CLICK, CONVERSION = "at_ns", "click", "conversion"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrainingTable:
    """Rows in the order of time.

    Attributes:
        columns: for each declared column a list of texts (or None), a float64 array (NaN where missing), or a
            list of tuples of segment ids.
        at_ns: int64[N], ascending.
        click: float64[N] of 0.0 and 1.0; NaN for lost bids, which are there only where they were asked for.
        conversion: float64[N] of 0.0, 1.0 and NaN where not known.
        source: name of the table, for messages and the manifest.
        sha256: of the table's bytes.
        extras: the columns of `models.extras` that the table has.
    """

    columns: dict[str, Sequence[object] | Floats]
    at_ns: NDArray[np.int64]
    click: Floats
    conversion: Floats
    source: str
    sha256: str
    extras: dict[str, Extra] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.at_ns)

    def slice(self, begin: int, end: int) -> "TrainingTable":
        """Rows begin..end-1."""
        columns = {name: values[begin:end] for name, values in self.columns.items()}
        parts = (self.at_ns[begin:end], self.click[begin:end], self.conversion[begin:end])
        extras = {name: values[begin:end] for name, values in self.extras.items()}
        return TrainingTable(columns, *parts, self.source, self.sha256, extras)


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Three slices, each wholly later than the one before."""

    train: TrainingTable
    calibration: TrainingTable
    test: TrainingTable


def read_table(path: Path, declarations: Sequence[Declaration], *, lost: bool = False) -> TrainingTable:
    """Reads and checks a training table.

    Args:
        path: `.parquet` or `.csv`. All values of a CSV are taken as text, so that a code like `007` stays.
        declarations: which columns are features, and of what kind.
        lost: keep bids that were lost, where the table has any.

    Raises:
        TableError: the file is missing or unreadable, has no rows, lacks a column, or holds a value that is
            not allowed: the column, the row (the first is 1) and what is allowed are named.
    """
    arrow, digest = read_arrow(path)
    return table_from_arrow(arrow, declarations, source=path.name, sha256=digest, lost=lost)


def read_arrow(path: Path) -> tuple[Any, str]:
    """The `pyarrow.Table` of a file as it is, and the sha256 of its bytes.

    Raises:
        TableError: the file is missing, unreadable, or neither `.parquet` nor `.csv`.
    """
    if not path.is_file():
        raise TableError(f"training table {path} must be a file, is not there")
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
    arrow: Any, declarations: Sequence[Declaration], *, source: str, sha256: str = "", lost: bool = False
) -> TrainingTable:
    """Checks an Arrow table and puts it in the order of time (rows of one time stay as they were).

    Args:
        arrow: `pyarrow.Table`.
        declarations: which columns are features, and of what kind.
        source: what messages and the manifest call it.
        sha256: of its bytes; made from the content where empty.
        lost: as `read_table`.

    Raises:
        TableError: as `read_table`.
    """
    check_declarations(declarations)
    for name in (TIME, CLICK, CONVERSION, *(item.name for item in declarations if not item.optional)):
        if name not in arrow.column_names:
            raise TableError(
                f"training table {source} must have the column {name}, has {', '.join(arrow.column_names)}"
            )
    if arrow.num_rows == 0:
        raise TableError(f"training table {source} must have rows, had none")
    at_ns = _times(arrow[TIME], source)
    won = _flags(arrow, "won", source)
    click = _labels(arrow[CLICK], CLICK, source, may_be_null=won is not None)
    _check_lost(click, won, source)
    conversion = _labels(arrow[CONVERSION], CONVERSION, source, may_be_null=True)
    order = np.argsort(at_ns, kind="stable")
    if won is not None and not lost:
        order = order[won[order] > 0.0]
        if len(order) == 0:
            raise TableError(f"training table {source} must have impressions, all its rows have won = 0")
    columns = {
        item.name: _column(arrow[item.name], item, source, order)
        for item in declarations
        if item.name in arrow.column_names
    }
    digest = sha256 or _digest(arrow)
    extras = _extras(arrow, source, order)
    return TrainingTable(columns, at_ns[order], click[order], conversion[order], source, digest, extras)


def _flags(arrow: Any, name: str, source: str) -> Floats | None:
    """A column of 0 and 1, or None where there is none."""
    return _labels(arrow[name], name, source, may_be_null=False) if name in arrow.column_names else None


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


def _extras(arrow: Any, source: str, order: NDArray[np.int64]) -> dict[str, Extra]:
    found: dict[str, Extra] = {}
    for name in arrow.column_names:
        if name in NUMBERS:
            found[name] = _numbers(arrow[name], name, source)[order]
        elif name in TIMES:
            found[name] = _instants(arrow[name], name, source)[order]
        elif name in TEXTS:
            found[name] = arrow[name].cast(pa.string()).take(pa.array(order)).to_pylist()
    weight = found.get("weight")
    if isinstance(weight, np.ndarray) and not (weight > 0).all():
        row = int(np.flatnonzero(~(weight > 0))[0])
        raise TableError(f"weight must be > 0, was {weight[row]} ({source})")
    return found


def _digest(arrow: Any) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.schema.remove_metadata()) as writer:
        writer.write_table(arrow.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _refuse(column: str, source: str, values: Sequence[object], is_good: Any, allowed: str) -> TableError:
    """The error that names the first value that is not good."""
    for row, value in enumerate(values, start=1):
        if not is_good(value):
            shown = "null" if value is None else repr(value)
            return TableError(f"{column} must be {allowed}, was {shown} (row {row}, {source})")
    return TableError(f"{column} must be {allowed}, is not in {source}")


def _is_whole(value: object) -> bool:
    try:
        return value is not None and -(2**63) <= int(value) < 2**63  # type: ignore[call-overload]
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    try:
        return value is None or not math.isinf(float(value))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return False


def _times(column: Any, source: str) -> NDArray[np.int64]:
    allowed = "whole nanoseconds since the epoch"
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns"))
    try:
        found = column.cast(pa.int64())
    except (pa.ArrowException, NotImplementedError):
        found = None
    if found is None or found.null_count:
        raise _refuse(TIME, source, column.to_pylist(), _is_whole, allowed)
    return np.asarray(found.to_numpy(), dtype=np.int64)


def _instants(column: Any, name: str, source: str) -> NDArray[np.int64]:
    """int64, `UNKNOWN_NS` where null."""
    try:
        filled = pc.fill_null(column.cast(pa.int64()), UNKNOWN_NS)
    except (pa.ArrowException, NotImplementedError) as error:
        allowed = "whole nanoseconds since the epoch, or null"
        raise _refuse(
            name, source, column.to_pylist(), lambda value: value is None or _is_whole(value), allowed
        ) from error
    return np.asarray(filled.to_numpy(), dtype=np.int64)


def _numbers(column: Any, name: str, source: str) -> Floats:
    """float64, NaN where null; infinities are refused because a threshold can not tell how large they are."""
    values: Floats | None = None
    with contextlib.suppress(pa.ArrowException, NotImplementedError):
        values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    if values is None or np.isinf(values).any():
        raise _refuse(name, source, column.to_pylist(), _is_number, "a finite number or missing")
    return values


def _labels(column: Any, name: str, source: str, *, may_be_null: bool) -> Floats:
    allowed = "0 or 1, or null where not known" if may_be_null else "0 or 1"
    values: Floats | None = None
    with contextlib.suppress(pa.ArrowException, NotImplementedError):
        values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    missing = np.asarray(column.is_null().to_numpy(), dtype=np.bool_)
    good = (may_be_null & missing) | ((values == 0.0) | (values == 1.0)) if values is not None else None
    if values is None or good is None or not good.all():

        def is_good(value: object) -> bool:
            return (may_be_null and value is None) or value in (0, 1) or value in ("0", "1")

        raise _refuse(name, source, column.to_pylist(), is_good, allowed)
    return values


def _column(
    column: Any, item: Declaration, source: str, order: NDArray[np.int64]
) -> Sequence[object] | Floats:
    if item.kind == "numeric":
        return _numbers(column, item.name, source)[order]
    taken = column.take(pa.array(order))
    if item.kind == "segments":
        return [segments_of(value) for value in taken.to_pylist()]
    if pa.types.is_dictionary(taken.type):
        taken = taken.cast(taken.type.value_type)
    if pa.types.is_floating(taken.type):
        taken = pc.if_else(pc.is_nan(taken), pa.scalar(None, taken.type), taken)
    try:
        texts = pc.cast(taken, pa.string())
    except (pa.ArrowException, NotImplementedError) as error:
        raise TableError(f"column {item.name} of {source} must hold texts, was {column.type}") from error
    found: list[object] = texts.to_pylist()
    return found


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
