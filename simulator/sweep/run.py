"""Every point of a sweep on every draw: hidden prices and outcomes are made once a draw and played many times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.estimate.controller import Controller, value_of
from simulator.estimate.estimate import above, highest
from simulator.estimate.intervals import Measure, count_measure, difference_measure
from simulator.estimate.resampling import groups_of, times_of
from simulator.estimate.study import Study
from simulator.history.auctions import Auctions
from simulator.returns import roi
from simulator.sweep.backends import Backend, Here
from simulator.sweep.space import Point, change_of
from simulator.whatif.compare import Side

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS = 20
FIGURES = ("spend_nanos", "impressions", "clicks", "conversions", "value_nanos", "drawn_nanos")
ORDERS = ("surplus", "value", "clicks", "conversions", "roi")


class Swept(NamedTuple):
    """One point: its settings, its figures, and surplus (value less spend), each with a 95 % interval.

    `roi` as `simulator.returns` has it, None where nothing is spent; `extrapolated` the share of the spend on drawn
    prices. `refused` says why nothing should be read from it, where its bids are beyond what the log can tell: such
    points come last.
    """

    point: Point
    spend_nanos: Measure
    impressions: Measure
    clicks: Measure
    conversions: Measure
    value_nanos: Measure
    surplus_nanos: Measure
    roi: float | None
    extrapolated: float
    refused: str | None = None


@dataclass(frozen=True)
class Sweep:
    """What one draw needs: called with a draw's number it plays all points on it."""

    study: Study
    controller: Controller
    budget_nanos: int
    points: tuple[Point, ...]
    groups: Ints
    seed: int

    def __call__(self, draw: int) -> Floats:
        """float64[points, figures + 1] of a draw; 0 is the log itself.

        The last column is each point's highest bid (see `simulator.estimate.estimate.highest`), of draw 0 alone.
        """
        times = times_of(self.groups, self.seed, draw)
        lot = self.study.lot(times.astype(np.float64), self.seed * 1_009 + draw)
        found = np.zeros((len(self.points), len(FIGURES) + 1))
        for place, point in enumerate(self.points):
            side = self._side(point)
            bids = side.no_bids(times) if draw == 0 else None
            got = side.outcome(lot, times, bids)
            found[place, :-1] = [getattr(got, name) for name in FIGURES]
            found[place, -1] = 0.0 if bids is None else highest(bids[bids > 0])
        return found

    def _side(self, point: Point) -> Side:
        change, log = change_of(point), self.study.log
        budget = self.budget_nanos if change.budget_nanos is None else change.budget_nanos
        return Side(
            self.study, change.controller(self.controller), budget, np.arange(log.opportunities),
            value_of(change.log(log)), change.price_factor,
        )  # fmt: skip


def sweep(
    log: Auctions,
    controller: Controller,
    budget_nanos: int,
    points: Sequence[Point],
    *,
    seed: int,
    draws: int = DRAWS,
    order: str = "surplus",
    backend: Backend | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Swept]:
    """Plays a past with many settings; the same seed gives the same figures on every backend.

    Args:
        log: one campaign's. controller: that bid. budget_nanos: where a point names none. points: settings.
        seed: of all draws. draws: of the intervals. order: best first by one of `ORDERS`. backend: where.
        progress: hears of draws.

    Raises:
        InputError: no point, no such order, or a budget that is not above 0.
    """
    if order not in ORDERS:
        raise InputError(f"--order must be one of {', '.join(ORDERS)}, was {order}")
    if not points:
        raise InputError("a sweep must have a point, has none")
    if budget_nanos <= 0:
        raise InputError(f"budget must be above 0, was {budget_nanos}")
    task = Sweep(Study(log, controller), controller, budget_nanos, tuple(points), groups_of(log), seed)
    found = []
    for result in (backend or Here()).map(task, range(draws + 1)):
        found.append(result)
        if progress is not None:
            progress(len(found), draws + 1)
    table = np.array(found)
    logged = highest(log.bid_nanos[log.bid_nanos > 0])
    rows = [
        _swept(point, table[:, k])._replace(refused=above(logged, table[0, k, -1]))
        for k, point in enumerate(points)
    ]
    return sorted(rows, key=lambda row: (row.refused is not None, -_rank(row, order)))


def _swept(point: Point, table: Floats) -> Swept:
    """One point of float64[1 + draws, figures + 1]."""
    first, draws = table[0], table[1:]
    spend, value, drawn = first[0], first[4], first[5]
    spends, impressions, clicks, conversions, values = (
        count_measure(float(first[k]), draws[:, k]) for k in range(5)
    )
    return Swept(
        point, spends, impressions, clicks, conversions, values,
        surplus_nanos=difference_measure(float(value - spend), draws[:, 4] - draws[:, 0]),
        roi=roi(float(value), float(spend)),
        extrapolated=float(drawn / spend) if spend > 0 else 0.0,
    )  # fmt: skip


def _rank(row: Swept, order: str) -> float:
    if order == "roi":
        return -1.0 if row.roi is None else row.roi
    measure: Measure = {
        "surplus": row.surplus_nanos,
        "value": row.value_nanos,
        "clicks": row.clicks,
        "conversions": row.conversions,
    }[order]
    return measure.point or 0.0
