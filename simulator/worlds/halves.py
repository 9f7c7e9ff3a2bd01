"""Real auctions: what one half of a campaign lets expect, beside what its other half shows.

Halves are the earlier and the later auctions, which is a forecast, or every other block of a thousand, which
differ by chance alone. The first half is bid for by the live controller and logged as a bidder would see it: the
price of what was lost stays hidden. The estimate from that log is compared with the controller on the second half,
whose prices are all known and whose clicks are real. Both halves' clicks are chance, so the interval counts both; a
campaign whose prices or click rates moved may lie outside in the forecast, which is what no log can know.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulator.estimate.controller import Controller, Lot, played, value_of
from simulator.estimate.estimate import estimate
from simulator.estimate.intervals import LEVEL, count_measure
from simulator.estimate.study import Scenario, Study
from simulator.history.auctions import ABOVE, EXACT, UNKNOWN, Auctions
from simulator.quality.fitting import optimal_multiplier
from simulator.quality.runs import worth_of
from simulator.quality.series import Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARES = (0.5, 1.0, 2.0)
SPLITS = ("time", "blocks")
BLOCK = 1_000
BUDGET_SHARE = 1 / 8
"""The logged budget over the price of all auctions of the first half."""
_SECOND_NS = 10**9
_EXPLORED, _SIGMA = 0.05, 0.3


class Half(msgspec.Struct, frozen=True):
    """A campaign at a share of its logged budget; split: `time` or `blocks`.

    clicks: that the first half lets expect; low and high: between which the second half's are to lie at 95 %. shown:
    clicks of the second half. spend_nanos, shown_spend_nanos: the same of spend. logged: clicks of the log.
    """

    campaign: str
    split: str
    share: float
    logged: int
    clicks: float
    low: float
    high: float
    shown: float
    spend_nanos: float
    shown_spend_nanos: float
    extrapolated: float
    refused: str | None

    @property
    def inside(self) -> bool:
        """Whether the second half showed what was to be expected."""
        return self.refused is None and self.low <= self.shown <= self.high


def halves(series: Sequence[Series], *, seed: int = 1, draws: int = 60) -> list[Half]:
    """The rows of all campaigns, by both ways to halve them."""
    return [row for one in series for split in SPLITS for row in _campaign(one, split, seed, draws)]


def halved(series: Series, split: str) -> tuple[Series, Series]:
    """Two parts of equal length."""
    if split == "time":
        middle = len(series.price) // 2
        return series.part(0, middle), series.part(middle, 2 * middle)
    whole = len(series.price) // (2 * BLOCK) * 2 * BLOCK
    odd = np.arange(whole) // BLOCK % 2 == 1
    return _rows(series, np.flatnonzero(~odd)), _rows(series, np.flatnonzero(odd))


def _rows(series: Series, rows: Ints) -> Series:
    return series._replace(theta=series.theta[rows], price=series.price[rows], click=series.click[rows])


def _campaign(series: Series, split: str, seed: int, draws: int) -> list[Half]:
    first, second = halved(series, split)
    middle = len(first.price)
    budget = int(first.cost_nanos * BUDGET_SHARE)
    worth = worth_of(first, budget)
    start = optimal_multiplier(first.theta * worth, first.price, budget)
    # From somewhat beside the optimum, which nobody knows.
    controller = Controller(
        min(1.0, start * 1.3), first.cap_nanos * 4, explored=_EXPLORED, sigma=_SIGMA, seed=seed
    )
    log = logged(first, worth, budget, controller)
    study = Study(log, controller._replace(seed=seed + 1))
    asked = [Scenario(int(budget * share)) for share in SHARES]
    found = estimate(study, asked, draws=draws, seed=seed, by="block", shifts=())
    later = bare(second, worth)
    rows = []
    for place, (share, point) in enumerate(zip(SHARES, found.points, strict=True)):
        shown = played(
            lot_of(later, second, controller._replace(seed=seed + 2)),
            np.arange(middle), int(budget * share), controller,
        )  # fmt: skip
        clicks = found.array()[:, place, 2]
        low, high = _beside(clicks[0], clicks[1:], float(found.clicks))
        rows.append(
            Half(
                series.name, split, share, found.clicks, float(clicks[0]), low, high, shown.clicks,
                float(found.array()[0, place, 0]), shown.spend_nanos, point.extrapolated, point.refused,
            )
        )  # fmt: skip
    return rows


def _beside(point: float, draws: Floats, events: float) -> tuple[float, float]:
    """Between which a Poisson count beside an estimate lies: on the scale of roots its own deviation is a half."""
    own = count_measure(point, draws, events)
    assert own.high is not None
    reach = math.hypot(math.sqrt(own.high) - math.sqrt(max(point, 0.0)), 0.5 * _NORMAL)
    root = math.sqrt(max(point, 0.0))
    return max(root - reach, 0.0) ** 2, (root + reach) ** 2


_NORMAL = 1.959964 if LEVEL == 0.95 else math.nan


def bare(series: Series, worth_nanos: int) -> Auctions:
    """A series as auctions that nobody bid for; a second apart, since its times are not known."""
    n = len(series.price)
    none = np.zeros(n, dtype=np.int64)
    unknown = np.full(n, -1, dtype=np.int8)
    return Auctions(
        campaign=series.name, at_ns=np.arange(n, dtype=np.int64) * _SECOND_NS, user=np.zeros(n, dtype=np.uint64),
        stratum=np.zeros(n, dtype=np.int32), click=series.theta, conversion=np.full(n, np.nan),
        worth_nanos=np.full(n, worth_nanos, dtype=np.int64), bid_nanos=none, density=np.full(n, np.nan),
        won=np.zeros(n, dtype=np.bool_), price_kind=np.full(n, UNKNOWN, dtype=np.uint8), price_nanos=none,
        paid_nanos=none, floor_nanos=none, first_price=np.zeros(n, dtype=np.bool_), clicked=unknown,
        converted=unknown, value_nanos=none,
    )  # fmt: skip


def lot_of(log: Auctions, series: Series, controller: Controller) -> Lot:
    """A series with nothing hidden: its real clicks, and a tie that goes to the rival."""
    n = len(series.price)
    clicks = series.click.astype(np.float64)
    gain = np.stack([clicks, np.zeros(n), clicks * log.worth_nanos], axis=1)
    known = np.zeros(n, dtype=np.uint8)
    return Lot(
        value_of(log), controller.factors(n), series.price + 1, log.floor_nanos, known, log.bid_nanos, gain,
        log.first_price,
    )  # fmt: skip


def logged(series: Series, worth_nanos: int, budget_nanos: int, controller: Controller) -> Auctions:
    """What a bidder with this budget would have logged of a series: prices and clicks of what it won, no others."""
    log = bare(series, worth_nanos)
    n = log.opportunities
    lot = lot_of(log, series, controller)
    bids: Ints = np.zeros(n, dtype=np.int64)
    played(lot, np.arange(n), budget_nanos, controller, bids)
    won = (bids > 0) & (bids >= lot.price)
    kind = np.where(won, EXACT, np.where(bids > 0, ABOVE, UNKNOWN)).astype(np.uint8)
    drawn = lot.factor != 1.0
    distance = np.log(lot.factor) / _SIGMA
    density = np.exp(-(distance**2) / 2) / (_SIGMA * math.sqrt(2 * math.pi))
    return log._replace(
        bid_nanos=bids,
        density=np.where(drawn & (bids > 0), density, np.nan),
        won=won,
        price_kind=kind,
        price_nanos=np.where(won, lot.price, bids),
        paid_nanos=np.where(won, series.price, 0),
        clicked=np.where(won, series.click, -1).astype(np.int8),
    )
