"""The file of curves: what budgets bring, point and bootstrap draws, for who divides money between campaigns.

| column | type | what |
|---|---|---|
| `campaign` | text | its name |
| `draw` | int32 | 0 the point estimate, 1 and on the bootstrap draws |
| `budget_nanos` | int64 | what may be spent |
| `spend_nanos` | int64 | what is spent |
| `clicks`, `conversions`, `impressions` | float64 | expected counts |
| `value_nanos` | float64 | expected value |
| `extrapolated` | float64 | share of the spend that went to auctions whose price was drawn |
| `current_nanos` | int64 | what the log spent: the budget as it is |

Budgets that an estimate refuses are not in the file.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bidder.errors import InputError
from simulator.estimate.estimate import CLICKS, CONVERSIONS, DRAWN, IMPRESSIONS, SPEND, VALUE, Estimates
from simulator.reading import why_unwritten

SCHEMA = pa.schema(
    {
        "campaign": pa.string(),
        "draw": pa.int32(),
        "budget_nanos": pa.int64(),
        "spend_nanos": pa.int64(),
        "clicks": pa.float64(),
        "conversions": pa.float64(),
        "value_nanos": pa.float64(),
        "impressions": pa.float64(),
        "extrapolated": pa.float64(),
        "current_nanos": pa.int64(),
    }
)


def curves_table(found: Sequence[Estimates]) -> pa.Table:
    """All campaigns' curves, by campaign, draw and budget."""
    return pa.concat_tables([_of(one) for one in found]) if found else SCHEMA.empty_table()


def write_curves(path: Path, found: Sequence[Estimates]) -> None:
    """Writes them as one Parquet file.

    Raises:
        InputError: the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        pq.write_table(curves_table(found), part)
        part.replace(path)
    except OSError as error:
        raise InputError(f"--out must be a file to write, was {path}: {why_unwritten(error)}") from None


def _of(found: Estimates) -> pa.Table:
    kept = [
        place
        for place, point in enumerate(found.points)
        if point.refused is None and point.budget_nanos is not None
    ]
    kept.sort(key=lambda place: found.points[place].budget_nanos or 0)
    table = found.array()[:, kept]
    draws, budgets = table.shape[:2]
    # The width is said: of a campaign whose every budget was refused nothing is left to tell it by.
    flat = table.reshape(draws * budgets, table.shape[2])
    spend = flat[:, SPEND]
    columns = {
        "campaign": [found.campaign] * len(flat),
        "draw": np.repeat(np.arange(draws, dtype=np.int32), budgets),
        "budget_nanos": np.tile(
            np.array([found.points[place].budget_nanos for place in kept], np.int64), draws
        ),
        "spend_nanos": np.rint(spend).astype(np.int64),
        "clicks": flat[:, CLICKS],
        "conversions": flat[:, CONVERSIONS],
        "value_nanos": flat[:, VALUE],
        "impressions": flat[:, IMPRESSIONS],
        "extrapolated": np.divide(flat[:, DRAWN], spend, out=np.zeros(len(flat)), where=spend > 0.0),
        "current_nanos": np.full(len(flat), found.spend_nanos, dtype=np.int64),
    }
    return pa.table(columns, schema=SCHEMA)
