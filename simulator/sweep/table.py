"""A sweep as a Parquet file: a row a point, best first; money in nanos."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bidder.errors import InputError
from simulator.reading import why_unwritten
from simulator.sweep.run import Swept

MEASURES = ("spend_nanos", "impressions", "clicks", "conversions", "value_nanos", "surplus_nanos")


def sweep_table(rows: Sequence[Swept]) -> pa.Table:
    """Columns: each setting that was varied; each figure, with `_low` and `_high`; `roi`; `extrapolated`."""
    columns: dict[str, list[float | None]] = {}
    for name in rows[0].point if rows else ():
        columns[name] = [row.point[name] for row in rows]
    for name in MEASURES:
        measures = [getattr(row, name) for row in rows]
        columns[name] = [measure.point for measure in measures]
        columns[f"{name}_low"] = [measure.low for measure in measures]
        columns[f"{name}_high"] = [measure.high for measure in measures]
    columns["roi"] = [row.roi for row in rows]
    columns["extrapolated"] = [row.extrapolated for row in rows]
    return pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items()})


def write_sweep(path: Path, rows: Sequence[Swept]) -> None:
    """Writes it.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        pq.write_table(sweep_table(rows), path)
    except OSError as error:
        raise InputError(f"--out must be a file to write, was {path}: {why_unwritten(error)}") from None
