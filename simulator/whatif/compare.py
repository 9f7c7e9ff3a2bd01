"""Both sides on the same draws: their results, the difference, and how likely it helps.

Both sides meet the same auctions, the same hidden prices wherever they read the log alike, and the same bootstrap of
users, so that what they have in common cancels out of the difference: its interval is of the difference alone. What
a click brings is what it was; a change of what the bidder believes changes what is bid, never what is true. Only of a
new line item value is by its own worth.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal
from simulator.estimate import play_kernels as kernels
from simulator.estimate.controller import Controller, Lot, Outcome, played, value_of
from simulator.estimate.estimate import beyond
from simulator.estimate.intervals import Measure, count_measure, difference_measure
from simulator.estimate.resampling import groups_of, times_of
from simulator.estimate.study import Study
from simulator.history.auctions import Auctions
from simulator.whatif.change import Change

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS = 60
LIKELY = 0.95
FIELDS = ("spend_nanos", "impressions", "clicks", "conversions", "value_nanos")


class Span(NamedTuple):
    """A figure and its 95 % interval."""

    point: float
    low: float
    high: float


class Line(NamedTuple):
    """One figure of both sides, and the difference of the second to the first."""

    name: str
    before: Span
    after: Span
    difference: Span


class WhatIf(NamedTuple):
    """What a change would have brought.

    Attributes:
        campaign: whose past. budget_nanos: before and after. lines: spend to value, and value less spend (`surplus`).
        better: share of the draws in which surplus is greater. verdict: `better`, `worse` or `no clear difference`.
        extrapolated: share of the spend after the change on auctions whose price was drawn.
        shared: share of what the change wins that was won before it too.
    """

    campaign: str
    budget_nanos: tuple[int, int]
    lines: tuple[Line, ...]
    better: float
    verdict: str
    extrapolated: float
    shared: float


def what_if(
    log: Auctions,
    controller: Controller,
    budget_nanos: int,
    change: Change,
    *,
    seed: int,
    draws: int = DRAWS,
    progress: Callable[[int, int], None] | None = None,
) -> WhatIf:
    """Plays a past twice.

    Args:
        log: one campaign's. controller: that bid. budget_nanos: that it had. change: of the other side. seed: of all
            draws. draws: of the intervals. progress: hears of draws.

    Raises:
        InputError: nothing is changed, a budget is not above 0, the change cannot be made on this log, or its bids
            are beyond what the log can tell (see `simulator.estimate.estimate`).
    """
    if change.is_none:
        raise InputError(
            "what-if must change something: --new-budget, --worth, --goal, --max-bid, --price-factor, --where, "
            "--scores, --shade or --eta"
        )
    budget_after = budget_nanos if change.budget_nanos is None else change.budget_nanos
    for budget in (budget_nanos, budget_after):
        if budget <= 0:
            raise InputError(f"budget must be above 0, was {budget}")
    changed = change.log(log)
    before = Side(Study(log, controller), controller, budget_nanos, np.arange(log.opportunities))
    rows = np.arange(log.opportunities) if change.only is None else np.flatnonzero(change.only)
    if not len(rows):
        raise InputError(f"--where must leave auctions of campaign {log.campaign} to bid for, leaves none")
    worth = change.worth_nanos if change.is_new else None
    after = Side(before.study, change.controller(controller), budget_after, rows, value_of(changed),
                  change.price_factor, worth, changed)  # fmt: skip
    groups = groups_of(log)
    found = []
    shared = 0.0
    for draw in range(draws + 1):
        times = times_of(groups, seed, draw)
        lot = before.study.lot(times.astype(np.float64), seed * 1_009 + draw)
        if draw:
            found.append((before.outcome(lot, times), after.outcome(lot, times)))
        else:
            bids = (before.no_bids(times), after.no_bids(times))
            found.append((before.outcome(lot, times, bids[0]), after.outcome(lot, times, bids[1])))
            shared = _shared((before, after), bids, lot, times)
            refused = beyond(log.bid_nanos[log.bid_nanos > 0], bids[1][bids[1] > 0])
            if refused is not None:
                raise InputError(
                    f"what-if of campaign {log.campaign} asks for more than its log can tell: {refused}. "
                    f"{_lower(change, budget_after)}"
                )
        if progress is not None:
            progress(draw + 1, draws + 1)
    return _said(log.campaign, (budget_nanos, budget_after), found, shared)


def _lower(change: Change, budget_after: int) -> str:
    """Which option to lower, in words, where a side would bid beyond the log."""
    whose = (
        "for all auctions"
        if change.only is None
        else f"for the {int(change.only.sum()):,} auctions it may bid for"
    )
    said = f"Its budget is {format_decimal(budget_after, NANOS_PER_UNIT)} {whose}: lower it by "
    said += (
        "--new-budget (or --budget, that of both sides)" if change.budget_nanos is None else "--new-budget"
    )
    return said + (
        ", or lower --max-bid" if change.max_bid_nanos is not None else ", or bound bids by --max-bid"
    )


class Side:
    """One side: what it believes, its budget, and where it may bid.

    Args:
        study: the log. controller: that bids. budget_nanos: that it has. rows: int64[m], where it may bid.
        value: float64[n], nanos that it believes each impression to be worth; None is the log's. price_factor: of
            rivals' prices. worth_nanos: of an outcome of the goal of `log`; None is the log's.
    """

    def __init__(
        self,
        study: Study,
        controller: Controller,
        budget_nanos: int,
        rows: Ints,
        value: Floats | None = None,
        price_factor: float = 1.0,
        worth_nanos: int | None = None,
        log: Auctions | None = None,
    ) -> None:
        self._worth_nanos, self._log = worth_nanos, study.log if log is None else log
        self.study, self._controller, self._budget_nanos = study, controller, budget_nanos
        self._rows, self._value, self._price_factor = rows, value, price_factor

    def outcome(self, lot: Lot, times: Ints, bids: Ints | None = None) -> Outcome:
        """What the budget brings on the rows that count; `bids`, of `no_bids`, is filled where given."""
        lot = self.lot(lot)
        turns = self.turns(times)
        if bids is None:
            return played(lot, turns, self._budget_nanos, self._controller)
        return played(lot, turns, self._budget_nanos, self._controller, bids)

    def lot(self, lot: Lot) -> Lot:
        """The auctions as this side sees and meets them."""
        if self._value is not None:
            lot = lot._replace(value=self._value)
        if self._price_factor != 1.0:
            reachable = lot.price < kernels.NEVER
            dearer = np.rint(np.where(reachable, lot.price, 0) * self._price_factor).astype(np.int64)
            lot = lot._replace(price=np.where(reachable, dearer, lot.price))
        if self._worth_nanos is not None:
            goal = kernels.G_CLICKS if np.isnan(self._log.conversion).all() else kernels.G_CONVERSIONS
            gain = lot.gain.copy()
            gain[:, kernels.G_VALUE] = gain[:, goal] * self._worth_nanos
            lot = lot._replace(gain=gain)
        return lot

    def no_bids(self, times: Ints) -> Ints:
        """int64[turns], zeros: to be filled with the bid of each turn."""
        return np.zeros(len(self.turns(times)), dtype=np.int64)

    def turns(self, times: Ints) -> Ints:
        """Rows in turn, each as often as it counts."""
        return np.repeat(self._rows, times[self._rows])


def _shared(sides: tuple[Side, Side], bids: tuple[Ints, Ints], lot: Lot, times: Ints) -> float:
    """Share of the auctions that the second side wins which the first wins too, by what both bid."""
    won = []
    for side, own in zip(sides, bids, strict=True):
        turns = side.turns(times)
        won.append(np.unique(turns[(own > 0) & (own >= side.lot(lot).price[turns])]))
    return float(np.isin(won[1], won[0]).mean()) if len(won[1]) else 0.0


def _said(
    campaign: str, budgets: tuple[int, int], found: list[tuple[Outcome, Outcome]], shared: float
) -> WhatIf:
    lines = []
    for name in FIELDS:
        sides = np.array([[getattr(side, name) for side in pair] for pair in found])
        lines.append(line_of(name, sides))
    surplus = np.array([[side.value_nanos - side.spend_nanos for side in pair] for pair in found])
    lines.append(line_of("surplus_nanos", surplus))
    gain = surplus[1:, 1] - surplus[1:, 0]
    better = float((gain > 0).mean() + (gain == 0).mean() / 2) if len(gain) else 0.5
    return WhatIf(
        campaign, budgets, tuple(lines), better, verdict_of(better), found[0][1].extrapolated, shared
    )


def verdict_of(better: float) -> str:
    """What the share of draws in which a side is better says."""
    if better >= LIKELY:
        return "better"
    return "worse" if better <= 1 - LIKELY else "no clear difference"


def line_of(name: str, sides: Floats) -> Line:
    """One figure of float64[1 + draws, 2], the point first; intervals are those of `clearbid estimate`."""
    measure = count_measure if name in FIELDS else difference_measure
    before, after = (_span(measure(float(side[0]), side[1:])) for side in sides.T)
    difference = sides[:, 1] - sides[:, 0]
    return Line(name, before, after, _span(difference_measure(float(difference[0]), difference[1:])))


def _span(found: Measure) -> Span:
    assert found.point is not None, "counts and differences have a point"
    low, high = (found.point if end is None else end for end in (found.low, found.high))
    return Span(found.point, low, high)
