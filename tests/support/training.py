"""A small training table with a known law, for tests of the models."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.schema import Declaration

DECLARATIONS = (
    Declaration("exchange", "categorical"),
    Declaration("domain", "categorical"),
    Declaration("floor_cpm", "numeric"),
    Declaration("segments", "segments", optional=True, top=4),
    Declaration("campaign", "categorical", "campaign"),
)


def make_table(
    rows: int = 4000, seed: int = 5, conversion_rate: float = 0.3, click_rate: float = 0.2
) -> pa.Table:
    """Clicks that depend on domain, campaign and a segment; conversions on the campaign."""
    random = np.random.default_rng(seed)
    domain = random.integers(0, 8, rows)
    campaign = random.integers(0, 3, rows)
    segments = [[f"s{k}" for k in range(6) if random.random() < 0.3] for _ in range(rows)]
    lift = np.array([0.8 if "s1" in ids else 0.0 for ids in segments])
    odds = np.log(click_rate / (1 - click_rate)) + 0.3 * (domain - 4) + 0.5 * (campaign - 1) + lift - 0.3
    click = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    bought = random.random(rows) < conversion_rate * (0.5 + 0.5 * campaign)
    floor = random.exponential(1.0, rows)
    return pa.table(
        {
            "at_ns": pa.array(np.sort(random.integers(0, 10**15, rows)), pa.int64()),
            "click": pa.array(click),
            "conversion": pa.array(
                [int(b) if c else None for b, c in zip(bought, click, strict=True)], pa.int8()
            ),
            "exchange": pa.array([f"x{value}" for value in random.integers(0, 2, rows)]),
            "domain": pa.array([f"d{value}.example" for value in domain]),
            "floor_cpm": pa.array([None if f < 0.1 else float(f) for f in floor], pa.float64()),
            "segments": pa.array(segments, pa.list_(pa.string())),
            "campaign": pa.array([f"c{value}" for value in campaign]),
        }
    )


def write_parquet(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path
