"""Answers as Arrow tables.

Money is in nanos; what was asked for is int64, an estimate of money is float64. A figure with a 95 % interval is
three columns: `clicks`, `clicks_low`, `clicks_high`. A null says that nothing can be said.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from bidder.errors import InputError
from simulator.allocate.curves import CurveSet
from simulator.allocate.plan import Plan
from simulator.estimate.estimate import Estimates
from simulator.forecast.flight import Forecast
from simulator.forecast.traffic import NS_PER_HOUR
from simulator.history.file import History
from simulator.history.schema import SCHEMA
from simulator.history.tally import CampaignTally, HistoryTally
from simulator.whatif.compare import WhatIf

_TALLIED = ("rows", "won", "lost", "spend_nanos", "clicks", "conversions", "conversion_value_nanos")
_ESTIMATED = ("spend_nanos", "impressions", "clicks", "conversions", "value_nanos", "roi")
_DELIVERED = ("spend_nanos", "impressions", "clicks", "conversions", "value_nanos", "users", "frequency")


class Interval(Protocol):
    """A figure and its interval."""

    @property
    def point(self) -> float | None:
        """The figure."""

    @property
    def low(self) -> float | None:
        """Its lower end."""

    @property
    def high(self) -> float | None:
        """Its upper end."""


def history_table(history: History, columns: Sequence[str] | None, campaign: str | None) -> pa.Table:
    """Rows of a history, as `simulator.history.schema.SCHEMA` has them.

    Args:
        history: on disk. columns: that are wanted, None for all. campaign: whose bids alone; None for every row.

    Raises:
        InputError: no such column, no such campaign, or the history cannot be read.
    """
    wanted = list(SCHEMA.names if columns is None else columns)
    unknown = [name for name in wanted if name not in SCHEMA.names]
    if unknown or not wanted:
        raise InputError(
            f"columns must be some of {', '.join(SCHEMA.names)}, were {', '.join(unknown) or 'none'}"
        )
    read = wanted if campaign is None else [*dict.fromkeys([*wanted, "campaign"])]
    parts = []
    for group in history.tables(read):
        kept = group if campaign is None else group.filter(_of(group, campaign))
        parts.append(kept.select(wanted))
    schema = pa.schema([SCHEMA.field(name) for name in wanted])
    found = pa.concat_tables(parts) if parts else schema.empty_table()
    if campaign is not None and not found.num_rows:
        known = ", ".join(sorted(history.tally().campaigns)) or "it has none"
        raise InputError(f"campaign must be one of history {history.path}: {known}; was {campaign!r}")
    return found


def campaigns_table(tally: HistoryTally) -> pa.Table:
    """A row a campaign, the largest first: what it bid for, won, spent and got; all int64."""
    found: list[tuple[str, CampaignTally]] = sorted(
        tally.campaigns.items(), key=lambda each: (-each[1].rows, each[0])
    )
    columns = {"campaign": pa.array([name for name, _ in found], pa.string())}
    return pa.table(columns | {name: _ints(getattr(one, name) for _, one in found) for name in _TALLIED})


def estimates_table(found: Iterable[Estimates]) -> pa.Table:
    """A row a campaign and question: `budget_nanos`, or `scale` of the logged bids; figures; why it was refused."""
    rows = [(one.campaign, point) for one in found for point in one.points]
    points = [point for _, point in rows]
    columns: dict[str, Any] = {
        "campaign": pa.array([name for name, _ in rows], pa.string()),
        "budget_nanos": _ints(point.budget_nanos for point in points),
        "scale": _floats(point.scale for point in points),
    }
    for name in _ESTIMATED:
        columns |= _figure(name, [getattr(point, name) for point in points])
    columns |= _figure("cpa_nanos", [point.cpa for point in points])
    columns |= _figure("cpc_nanos", [point.cpc for point in points])
    columns["extrapolated"] = _floats(None if point.refused else point.extrapolated for point in points)
    columns["refused"] = pa.array([point.refused for point in points], pa.string())
    return pa.table(columns)


def deliveries_table(found: Forecast) -> pa.Table:
    """A row a budget and highest bid: figures of the flight, `spent` (share of draws) and `verdict`."""
    rows = found.deliveries
    columns: dict[str, Any] = {
        "budget_nanos": _ints(row.budget_nanos for row in rows),
        "max_bid_nanos": _ints(row.max_bid_nanos for row in rows),
    }
    for name in _DELIVERED:
        columns |= _figure(name, [getattr(row, name) for row in rows])
    columns |= {
        name: _floats(getattr(row, name) for row in rows) for name in ("capped", "spent", "extrapolated")
    }
    columns["verdict"] = pa.array([row.verdict for row in rows], pa.string())
    return pa.table(columns)


def hours_table(found: Forecast) -> pa.Table:
    """A row an hour of the flight: its begin `at_ns` since 1970 UTC, int64, and expected `opportunities`, float64."""
    begins = ((found.first_hour + place) * NS_PER_HOUR for place in range(len(found.hours)))
    return pa.table({"at_ns": _ints(begins), "opportunities": _floats(found.hours.tolist())})


def win_rates_table(found: Forecast) -> pa.Table:
    """A row a bid: `bid_nanos` an impression, int64, and the share of opportunities that it wins, float64."""
    bids = _ints(point.bid_nanos for point in found.curve)
    return pa.table({"bid_nanos": bids} | _figure("won", [point.won for point in found.curve]))


def groups_table(found: Forecast) -> pa.Table:
    """A row a budget, highest bid and group: spend and impressions of the point estimate; no row without groups."""
    rows = [(one, name, *one.by[name]) for one in found.deliveries for name in one.by]
    return pa.table(
        {
            "budget_nanos": _ints(row[0].budget_nanos for row in rows),
            "max_bid_nanos": _ints(row[0].max_bid_nanos for row in rows),
            "name": pa.array([row[1] for row in rows], pa.string()),
            "spend_nanos": _floats(row[2] for row in rows),
            "impressions": _floats(row[3] for row in rows),
        }
    )


def whatif_table(found: WhatIf) -> pa.Table:
    """A row a figure, by `name`: `before`, `after` and `difference`; money in nanos where the name says so."""
    columns: dict[str, Any] = {"name": pa.array([line.name for line in found.lines], pa.string())}
    for side in ("before", "after", "difference"):
        columns |= _figure(side, [getattr(line, side) for line in found.lines])
    return pa.table(columns)


def plan_table(found: Plan, curves: CurveSet) -> pa.Table:
    """A row a campaign: its budgets (int64), what its move brings, and why no more moves.

    `current_nanos` is the budget as it is, `base_nanos` what the plan is compared with, then `best_nanos` and
    `recommended_nanos`. `gain` is of the measure of the plan, `return_before` and `return_after` are that of the
    first and of the last nano that moves. `extrapolated` is the share of the spend then that is imputed.
    """
    splits = {
        "current": found.current,
        "base": found.base,
        "best": found.best,
        "recommended": found.recommended,
    }
    columns: dict[str, Any] = {"campaign": pa.array(found.names, pa.string())}
    columns |= {f"{name}_nanos": _ints(split) for name, split in splits.items()}
    for name in ("gain", "return_before", "return_after"):
        columns[name] = _floats(getattr(move, name) for move in found.moves)
    columns["stopped"] = pa.array([move.stopped for move in found.moves], pa.string())
    columns["extrapolated"] = _floats(
        curves.extrapolated(place, budget) for place, budget in enumerate(found.recommended)
    )
    return pa.table(columns)


def _of(group: pa.Table, campaign: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(group.column("campaign"), campaign), False)


def _figure(name: str, measures: Sequence[Interval | None]) -> dict[str, pa.Array]:
    return {
        name: _floats(None if one is None else one.point for one in measures),
        f"{name}_low": _floats(None if one is None else one.low for one in measures),
        f"{name}_high": _floats(None if one is None else one.high for one in measures),
    }


def _ints(values: Iterable[int | None]) -> pa.Array:
    return pa.array(list(values), pa.int64())


def _floats(values: Iterable[float | None]) -> pa.Array:
    return pa.array(list(values), pa.float64())
