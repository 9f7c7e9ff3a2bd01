"""Response curves as a file: the one format between what estimates curves and what uses them.

A table, Parquet or a JSON array of objects, a row for each campaign, draw and budget:

| column | type | what |
|---|---|---|
| campaign | text | whose curve |
| draw | int32 | 0 is the point estimate; 1 and on are bootstrap draws of the whole estimate |
| budget_nanos | int64 | the budget that is asked about, >= 0; each once a curve |
| spend_nanos | int64 | what would be spent of it, >= 0 |
| impressions, clicks, conversions | float64 | what it would bring, >= 0 |
| value_nanos | float64 | what that would be worth, nanos, >= 0 |
| extrapolated | float64 | share of the spend from auctions that had to be imputed, 0 to 1 |
| current_nanos | int64 | optional: the campaign's budget as it is, > 0; the same in all of its rows |

Every draw of a campaign has the budgets of its draw 0, and every campaign has every draw: draw 7 of one was made with
draw 7 of another. Rows may come in any order; other columns are left alone. A budget of 0 brings nothing and need not
be stated.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bidder.core.responses import Points, Response, points_of
from bidder.errors import InputError
from bidder.money import MAX_NANOS
from simulator.history.schema import META_KEY
from simulator.reading import why

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCHEMA = pa.schema(
    [
        ("campaign", pa.string()),
        ("draw", pa.int32()),
        ("budget_nanos", pa.int64()),
        ("spend_nanos", pa.int64()),
        ("impressions", pa.float64()),
        ("clicks", pa.float64()),
        ("conversions", pa.float64()),
        ("value_nanos", pa.float64()),
        ("extrapolated", pa.float64()),
    ]
)
"""The columns that a file must have."""

CURRENT = pa.field("current_nanos", pa.int64())
_MOST = {"draw": 1_000_000, "extrapolated": 1}
_MADE = "`clearbid estimate HISTORY --out FILE`"
_ROUNDING = 1e-9
"""How far beyond 1 a share may be, as it is a quotient of rounded sums."""


class Measure(NamedTuple):
    """What a curve counts: its column, its name, and how many of its units a unit of money is worth stating for.

    per_unit: a return of one a nano, times this, is what people say: value per money, or events a unit of money.
    """

    column: str
    name: str
    per_unit: float


MEASURES = {
    "value": Measure("value_nanos", "value", 1.0),
    "conversions": Measure("conversions", "conversions", 1e9),
    "clicks": Measure("clicks", "clicks", 1e9),
    "impressions": Measure("impressions", "impressions", 1e9),
}


class CurveSet(NamedTuple):
    """All curves of a file.

    Attributes:
        names: of the campaigns, in order of their names. budgets: int64[points] of each, nanos.
        columns: by column, float64[draws, points] of each campaign. draws: 1 and the bootstrap draws.
        current: nanos by campaign, where it is stated.
    """

    names: tuple[str, ...]
    budgets: tuple[Ints, ...]
    columns: Mapping[str, tuple[Floats, ...]]
    draws: int
    current: Mapping[str, int]

    def responses(self, measure: Measure, draw: int = 0) -> list[Response]:
        """The curves of a draw."""
        return [Response(name, self._points(place, measure, draw)) for place, name in enumerate(self.names)]

    def extrapolated(self, place: int, budget: int) -> float:
        """Share of a campaign's spend at a budget that is imputed, by the point estimate."""
        known = self.columns["extrapolated"][place][0]
        return min(1.0, float(np.interp(budget, self.budgets[place], known)))

    def _points(self, place: int, measure: Measure, draw: int) -> Points:
        return points_of(
            self.names[place],
            self.budgets[place].tolist(),
            self.columns[measure.column][place][draw].tolist(),
            self.columns["spend_nanos"][place][draw].tolist(),
        )


def read_curves(path: Path) -> CurveSet:
    """Reads a file of curves, Parquet (`.parquet`) or JSON (`.json`).

    Raises:
        InputError: what is wrong with which row and column, and what is allowed.
    """
    return curves_of(_table_of(path), path)


def curves_of(table: pa.Table, path: Path) -> CurveSet:
    """The curves of a table that is at hand.

    Args:
        table: with the columns that a file must have. path: what errors call it.

    Raises:
        InputError: as `read_curves`.
    """
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise InputError(
            f"{path.name} must have the columns {', '.join(SCHEMA.names)}, has no {', '.join(missing)}: make such a "
            f"file by {_MADE}"
        )
    fields = [*SCHEMA, *([CURRENT] if CURRENT.name in table.column_names else [])]
    columns = {field.name: _column(path, table, field) for field in fields}
    if not table.num_rows:
        raise InputError(f"{path.name} must have rows, has none")
    _check_ranges(path, columns)
    return _gather(path, columns)


def write_curves(path: Path, rows: Mapping[str, Sequence[Any]]) -> None:
    """Writes a file of curves.

    Args:
        path: `.parquet` or `.json`. rows: by column, as the format states.

    Raises:
        InputError: a missing or unknown column, or a suffix that is neither.
    """
    names = [*SCHEMA.names, *([CURRENT.name] if CURRENT.name in rows else [])]
    if sorted(rows) != sorted(names):
        raise InputError(f"columns of curves must be {', '.join(names)}, were {', '.join(rows)}")
    schema = SCHEMA if CURRENT.name not in rows else SCHEMA.append(CURRENT)
    table = pa.table({name: rows[name] for name in names}, schema=schema)
    if path.suffix == ".json":
        path.write_text(json.dumps(table.to_pylist()), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(table, path, compression="zstd")
    else:
        raise InputError(f"{path.name} must end in .parquet or .json")


def _table_of(path: Path) -> pa.Table:
    if path.suffix not in {".parquet", ".json"}:
        raise InputError(f"{path.name} must end in .parquet or .json: a file of response curves")
    if not path.is_file():
        raise InputError(f"curves {path} must be a file that is there: make it by {_MADE}")
    try:
        if path.suffix == ".parquet":
            return _parquet(path)
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path.name} must be a readable file of response curves: {why(error)}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path.name} must be a JSON array of objects, one a row")
    for number, row in enumerate(rows, start=1):
        for name in SCHEMA.names:
            if name not in row:
                raise InputError(f"row {number} of {path.name} must have {name}, has none")
    names = [*SCHEMA.names, *([CURRENT.name] if any(CURRENT.name in row for row in rows) else [])]
    # Each column as Python objects, so that a wrong cell is named by its row and not by a library.
    return pa.table({name: _loose(path, name, [row.get(name) for row in rows]) for name in names})


def _parquet(path: Path) -> pa.Table:
    if META_KEY in (pq.read_schema(path).metadata or {}):
        raise InputError(
            f"{path.name} must be a file of response curves, is a history: make curves of it by {_MADE}"
        )
    return pq.read_table(path)


def _loose(path: Path, name: str, cells: list[object]) -> pa.Array:
    wanted = str if name == "campaign" else (int, float)
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, wanted) or isinstance(cell, bool):
            kind = "text" if name == "campaign" else "a number"
            raise InputError(f"{name} of row {number} of {path.name} must be {kind}, was {json.dumps(cell)}")
    if name != "campaign" and any(isinstance(cell, float) for cell in cells):
        return pa.array([float(cell) for cell in cells], pa.float64())  # type: ignore[arg-type]
    return pa.array(cells)


def _column(path: Path, table: pa.Table, field: pa.Field) -> NDArray[Any]:
    """A column in its type, without nulls."""
    column = table.column(field.name)
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0]) + 1
        raise InputError(f"{field.name} of row {row} of {path.name} must be there, was null")
    try:
        return np.asarray(column.cast(field.type).to_numpy(zero_copy_only=False))
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(
            f"{field.name} of {path.name} must be {field.type}, was {column.type}: {error}"
        ) from error


def _check_ranges(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    for name, cells in columns.items():
        if name == "campaign":
            wrong, allowed = cells == "", "not be empty"
        else:
            most = _MOST.get(name, MAX_NANOS)
            least = 1 if name == CURRENT.name else 0
            reach = most + _ROUNDING if name == "extrapolated" else most
            wrong, allowed = ~((cells >= least) & (cells <= reach)), f"be from {least} to {most}"
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(f"{name} of row {row + 1} of {path.name} must {allowed}, was {cells[row]}")


def _gather(path: Path, columns: Mapping[str, NDArray[Any]]) -> CurveSet:
    """Rows as arrays by campaign."""
    names, whose = np.unique(columns["campaign"].astype(str), return_inverse=True)
    order = np.lexsort((columns["budget_nanos"], columns["draw"], whose))
    draws = int(columns["draw"].max()) + 1
    budgets: list[Ints] = []
    found: dict[str, list[Floats]] = {name: [] for name in SCHEMA.names[3:]}
    current: dict[str, int] = {}
    ends = np.searchsorted(whose[order], np.arange(len(names) + 1))
    for place, name in enumerate(names.tolist()):
        rows = order[ends[place] : ends[place + 1]]
        points, cut = divmod(len(rows), draws)
        if cut or (columns["draw"][rows] != np.repeat(np.arange(draws), points)).any():
            raise InputError(
                f"campaign {name} in {path.name} must have draws 0 to {draws - 1} with the same budgets each, has "
                f"{len(rows)} rows of draws {sorted(set(columns['draw'][rows].tolist()))[:5]}"
            )
        grid = columns["budget_nanos"][rows].reshape(draws, points)
        _check_grid(path, name, grid, rows.reshape(draws, points))
        budgets.append(grid[0].astype(np.int64))
        for column, arrays in found.items():
            arrays.append(columns[column][rows].reshape(draws, points).astype(np.float64))
        if CURRENT.name in columns:
            stated = np.unique(columns[CURRENT.name][rows])
            if len(stated) > 1:
                raise InputError(
                    f"{CURRENT.name} of campaign {name} in {path.name} must be one amount, was {stated[:3].tolist()}"
                )
            current[name] = int(stated[0])
    arrays_of = {column: tuple(arrays) for column, arrays in found.items()}
    return CurveSet(tuple(names.tolist()), tuple(budgets), arrays_of, draws, current)


def _check_grid(path: Path, name: str, grid: Ints, rows: Ints) -> None:
    """Every draw of a campaign has the budgets of its draw 0, each once, and one of them above 0."""
    repeated = np.flatnonzero(np.diff(grid[0]) == 0)
    if len(repeated):
        row = int(rows[0, repeated[0] + 1]) + 1
        raise InputError(
            f"budget_nanos of row {row} of {path.name} must stand once for draw 0 of campaign {name}, was "
            f"{grid[0, repeated[0]]} again"
        )
    other = np.argwhere(grid != grid[0])
    if len(other):
        draw, point = other[0].tolist()
        raise InputError(
            f"budget_nanos of row {int(rows[draw, point]) + 1} of {path.name} must be {grid[0, point]}, as draw 0 of "
            f"campaign {name} has it, was {grid[draw, point]} in draw {draw}"
        )
    if grid[0, -1] <= 0:
        raise InputError(f"campaign {name} in {path.name} must have a budget > 0, has none")
