"""Auctions whose price to beat is known to the test and hidden from the estimate; slow twins of the estimators."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.dataset import TrainingTable, table_from_arrow
from models.landscape.counts import empty_counts
from models.landscape.curves import Landscape, landscape_of
from models.landscape.observations import ABOVE, BELOW, EXACT, Observations
from models.landscape.strata import Strata, Stratum
from models.schema import Declaration

ALONE = Strata((), (), (Stratum((), 0, 0),))
HOUR_NS = 3600 * 10**9
LEVELS = (Declaration("tag_id", "categorical"), Declaration("hour", "categorical", optional=True))


def seen(z, bid, *, first_price=False, told=False, weight=None, at_ns=None) -> Observations:
    """What a bidder sees of auctions with price to beat z."""
    z, bid = np.asarray(z, dtype=np.float64), np.asarray(bid, dtype=np.float64)
    won = z <= bid
    exact = np.full(len(z), True) if told else won & ~np.asarray(first_price)
    kind = np.where(exact, EXACT, np.where(won, BELOW, ABOVE)).astype(np.int8)
    rows = np.arange(len(z))
    return Observations(
        rows=rows,
        kind=kind,
        cpm_micros=np.where(exact, z, bid),
        bid_cpm_micros=bid,
        won=won,
        weight=np.ones(len(z)) if weight is None else np.asarray(weight, dtype=np.float64),
        at_ns=rows if at_ns is None else np.asarray(at_ns, dtype=np.int64),
        dropped={},
    )


def fit_alone(observed: Observations, grid) -> Landscape:
    """One stratum."""
    counts = empty_counts(np.asarray(grid, dtype=np.int64), 1)
    counts.update(observed, np.zeros(len(observed), dtype=np.int64))
    return landscape_of(counts, ALONE)


def log_normal(rows: int, seed: int = 1):
    """Prices and independent bids that win about 38 %; the law of the prices is log-normal (13.8, 0.6)."""
    random = np.random.default_rng(seed)
    return np.exp(random.normal(13.8, 0.6, rows)), np.exp(random.normal(13.6, 0.7, rows))


def naive_product_limit(times, died, at):
    """P(time > at) by the formula of Kaplan and Meier, one death at a time."""
    left = 1.0
    for moment in sorted(set(times)):
        if moment > at:
            break
        deaths = sum(1 for t, d in zip(times, died, strict=True) if t == moment and d)
        risk = sum(1 for t in times if t >= moment)
        left *= 1.0 - deaths / risk
    return left


def market(rows: int = 6000, seed: int = 3, *, first_price: bool = False) -> pa.Table:
    """Placements, hours and predictions that prices and bids both follow, as an exported table with lost bids."""
    random = np.random.default_rng(seed)
    placement, hour = random.integers(0, 4, rows), random.integers(0, 24, rows)
    pctr = np.exp(random.normal(-4.0, 0.6, rows))
    z = np.rint(np.exp(13.0 + 0.3 * placement + 0.5 * np.log(pctr * 50) + random.normal(0, 0.4, rows)))
    bid = np.rint(np.exp(13.2 + 0.6 * np.log(pctr * 50) + random.normal(0, 0.5, rows)))
    won = z <= bid
    click = random.random(rows) < pctr
    return pa.table(
        {
            "at_ns": pa.array(np.arange(rows) * (48 * HOUR_NS // rows) // 24 * 24, pa.int64()),
            "click": pa.array([int(c) if w else None for c, w in zip(click, won, strict=True)], pa.int64()),
            "conversion": pa.array([None] * rows, pa.int64()),
            "tag_id": pa.array([f"p{value}" for value in placement]),
            "hour": pa.array([str(value) for value in hour]),
            "pctr": pa.array(pctr),
            "won": pa.array(won.astype(np.int64)),
            "first_price": pa.array(np.full(rows, int(first_price))),
            "bid_cpm_micros": pa.array(bid),
            "price_cpm_micros": pa.array(bid if first_price else z, mask=~won),
        }
    )


def read_market(table: pa.Table) -> TrainingTable:
    return table_from_arrow(table, LEVELS, source="market.parquet", lost=True)


def write_market(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path
