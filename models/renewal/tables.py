"""The rows of a round: one table or all that a pattern names, cut to a window of time."""

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.dataset import CONVERSION, TrainingTable, read_table
from models.errors import TableError
from models.schema import Declaration


def read_tables(
    pattern: str, declarations: Sequence[Declaration], *, goal: str = CONVERSION
) -> TrainingTable:
    """The rows of every table that a path or a pattern such as `rows/*.parquet` names, in the order of time.

    `goal` is as in `dataset.read_table`.

    Raises:
        TableError: no file is there, one is unfit, or two have different columns.
    """
    # Not `Path.glob`, which takes no absolute pattern.
    names = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern))  # noqa: PTH207
    paths = [Path(name) for name in names]
    if not paths:
        raise TableError(f"training tables {pattern} must be there, none is")
    tables = [read_table(path, declarations, goal=goal) for path in paths]
    return tables[0] if len(tables) == 1 else _joined(tables, pattern)


def _joined(tables: Sequence[TrainingTable], source: str) -> TrainingTable:
    first = tables[0]
    for other in tables[1:]:
        if other.columns.keys() != first.columns.keys() or other.extras.keys() != first.extras.keys():
            differ = (other.columns.keys() ^ first.columns.keys()) | (
                other.extras.keys() ^ first.extras.keys()
            )
            raise TableError(
                f"training tables {source} must have the same columns, {first.source} and {other.source} differ in "
                f"{', '.join(sorted(differ))}"
            )
    at_ns = np.concatenate([table.at_ns for table in tables])
    order = np.argsort(at_ns, kind="stable")

    def column(parts: Sequence[Any]) -> Any:
        if all(isinstance(part, np.ndarray) for part in parts):
            return np.concatenate(parts)[order]
        values = [value for part in parts for value in part]
        return [values[place] for place in order.tolist()]

    return replace(
        first,
        columns={name: column([table.columns[name] for table in tables]) for name in first.columns},
        at_ns=at_ns[order],
        click=column([table.click for table in tables]),
        conversion=column([table.conversion for table in tables]),
        source=source,
        sha256=hashlib.sha256("".join(table.sha256 for table in tables).encode()).hexdigest(),
        extras={name: column([table.extras[name] for table in tables]) for name in first.extras},
    )


def between(table: TrainingTable, begin_ns: int, end_ns: int) -> TrainingTable:
    """Rows with begin <= at_ns < end."""
    first, last = np.searchsorted(table.at_ns, (begin_ns, end_ns), side="left")
    return table.slice(int(first), int(max(first, last)))
