"""Budget -> spend, impressions, clicks, conversions, value, ROI and cost of a conversion, with intervals.

What is known is taken as it was: a new bid that is not above the logged one lost where that lost, and a known price
is that price. What is hidden is drawn (`prices`), what an impression brings is corrected on what was won
(`outcomes`), and the live controller spends the budget again. An interval is a bootstrap of users, or of blocks of
time, in which all of it is redone. Rivals are taken not to react: `sensitivity` says what dearer prices would do.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulator.estimate.controller import Outcome
from simulator.estimate.intervals import NOTHING, Measure, count_measure, ratio_measure
from simulator.estimate.resampling import by_user, groups_of, times_of
from simulator.estimate.study import Scenario, Study

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS, IMPUTATIONS = 100, 4
SUPPORT_QUANTILE, SUPPORT_FACTOR = 0.99, 2.0
"""Bids whose quantile is above so many times the logged bids' are not estimated: nothing is known of prices there."""
SHIFTS = (0.9, 1.1, 1.25)
"""Factors of all prices that the sensitivity shows."""
WIDENED = 0.15
"""What outcomes are worth beyond the prices that were won is a law carried on, which no bootstrap doubts: their
intervals are wider by so much of the share of spend on drawn prices. From worlds (`clearbid worlds`): where half was
drawn, deviations were 1.07 times what the bootstrap said."""
SPEND, IMPRESSIONS, CLICKS, CONVERSIONS, VALUE, DRAWN = range(6)


class Shift(msgspec.Struct, frozen=True):
    """What a scenario would bring if all prices were `price_factor` times as high."""

    price_factor: float
    spend_nanos: float
    clicks: float
    conversions: float
    value_nanos: float


class Point(msgspec.Struct, frozen=True):
    """One scenario.

    budget_nanos: None where logged bids were scaled by `scale`. roas, roi: see `simulator.returns`. cpa, cpc: nanos a
    conversion and a click. extrapolated: share of the spend that went to auctions whose price was drawn. refused: why
    nothing is said, None where something is.
    """

    budget_nanos: int | None
    scale: float
    spend_nanos: Measure = NOTHING
    impressions: Measure = NOTHING
    clicks: Measure = NOTHING
    conversions: Measure = NOTHING
    value_nanos: Measure = NOTHING
    roas: Measure = NOTHING
    roi: Measure = NOTHING
    cpa: Measure = NOTHING
    cpc: Measure = NOTHING
    extrapolated: float = 0.0
    shifts: tuple[Shift, ...] = ()
    refused: str | None = None


class Estimates(msgspec.Struct, frozen=True):
    """All scenarios of one campaign; `table` is float64[1 + draws, scenarios, 6], the point first."""

    campaign: str
    opportunities: int
    wins: int
    clicks: int
    conversions: int
    spend_nanos: int
    seed: int
    draws: int
    grouped: str
    points: tuple[Point, ...]
    table: tuple[tuple[tuple[float, ...], ...], ...]

    def array(self) -> Floats:
        """float64[1 + draws, scenarios, 6]: spend, impressions, clicks, conversions, value, spend on drawn prices."""
        return np.array(self.table, dtype=np.float64)


def estimate(
    study: Study,
    scenarios: Sequence[Scenario],
    *,
    draws: int = DRAWS,
    imputations: int = IMPUTATIONS,
    seed: int = 1,
    by: str = "auto",
    workers: int = 1,
    shifts: Sequence[float] = SHIFTS,
    refuse: bool = True,
) -> Estimates:
    """Estimates scenarios; the same seed gives the same numbers, however many workers there are.

    Args:
        study: the log. scenarios: what is asked. draws: of the bootstrap. imputations: of hidden prices, for
            the point.
        seed: of all draws. by: `user`, `block` or `auto`, see `resampling`. workers: processes.
        shifts: factors of all prices for the sensitivity. refuse: what is beyond the support.
    """
    groups = groups_of(study.log, by)
    asked = tuple(scenarios)
    ones = times_of(groups, seed, 0)
    found = [_point_of(study, ones, asked, seed, imputations)]
    found += _drawn(study, groups, asked, seed, draws, workers)
    table = np.array(found)
    lot = study.lot(ones.astype(np.float64), _seed_of(seed, 0, 0))
    moved = {
        factor: study.outcomes(study.lot(ones.astype(np.float64), _seed_of(seed, 0, 0), factor), ones, asked)
        for factor in shifts
    }
    log = study.log
    points = []
    for place, scenario in enumerate(asked):
        refused = unsupported(study, lot, scenario) if refuse else None
        if refused is not None:
            points.append(Point(scenario.budget_nanos, scenario.scale, refused=refused))
            continue
        shifted = tuple(
            Shift(
                factor,
                one[place].spend_nanos,
                one[place].clicks,
                one[place].conversions,
                one[place].value_nanos,
            )
            for factor, one in moved.items()
        )
        point = _measured(scenario, table[:, place], log.clicked, log.converted, shifted)
        if not study.conversions_known:
            point = msgspec.structs.replace(point, conversions=NOTHING, cpa=NOTHING)
        points.append(point)
    return Estimates(
        campaign=log.campaign,
        opportunities=log.opportunities,
        wins=int(log.won.sum()),
        clicks=int((log.clicked == 1).sum()),
        conversions=int((log.converted == 1).sum()),
        spend_nanos=int(log.paid_nanos.sum()),
        seed=seed,
        draws=draws,
        grouped="users" if by_user(study.log, by) else "quarters of an hour",
        points=tuple(points),
        table=tuple(tuple(tuple(float(x) for x in row) for row in one) for one in table),
    )


def unsupported(study: Study, lot: object, scenario: Scenario) -> str | None:
    """Why a scenario is beyond what the log can tell, in words; None where it is not."""
    logged = study.log.bid_nanos[study.log.bid_nanos > 0]
    if not len(logged):
        return "the log must hold bids, has none"
    if scenario.budget_nanos is None:
        bids = np.rint(logged * scenario.scale)
    else:
        bids = study.bids(lot, scenario.budget_nanos)[1]  # type: ignore[arg-type]
        bids = bids[bids > 0]
    return beyond(logged, bids)


def beyond(logged: Ints | Floats, bids: Ints | Floats) -> str | None:
    """Why bids are beyond what the logged ones can tell, in words; None where they are not, or there are none."""
    return above(highest(logged), highest(bids))


def highest(bids: Ints | Floats) -> float:
    """The quantile of bids that is compared with that of others; 0 where there are none."""
    return float(np.quantile(bids, SUPPORT_QUANTILE)) if len(bids) else 0.0


def above(was: float, now: float) -> str | None:
    """Why bids of a highest one are beyond what logged ones can tell, in words; None where they are not."""
    if now <= SUPPORT_FACTOR * was:
        return None
    return (
        f"the {SUPPORT_QUANTILE:.0%} quantile of its bids must be at most {SUPPORT_FACTOR:g} times that of "
        f"the logged bids ({was / 1e6:.4g} CPM), was {now / 1e6:.4g} CPM: ask for less, or explore higher bids first"
    )


def _point_of(study: Study, ones: Ints, asked: tuple[Scenario, ...], seed: int, imputations: int) -> Floats:
    """float64[scenarios, 6]: mean of the imputations."""
    found = [
        _array(study.outcomes(study.lot(ones.astype(np.float64), _seed_of(seed, 0, number)), ones, asked))
        for number in range(imputations)
    ]
    return np.asarray(np.mean(found, axis=0))


def _drawn(
    study: Study, groups: Ints, asked: tuple[Scenario, ...], seed: int, draws: int, workers: int
) -> list[Floats]:
    if workers <= 1 or draws < 2:
        return [_draw_of(study, groups, asked, seed, draw) for draw in range(1, draws + 1)]
    # Fresh processes: a fork would copy whatever threads hold.
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(study, groups, asked, seed)
    ) as pool:
        return list(pool.map(_one, range(1, draws + 1), chunksize=max(1, math.ceil(draws / (4 * workers)))))


_MINE: list[tuple[Study, Ints, tuple[Scenario, ...], int]] = []
"""What a worker process was given at its begin."""


def _begin(study: Study, groups: Ints, asked: tuple[Scenario, ...], seed: int) -> None:
    _MINE[:] = [(study, groups, asked, seed)]


def _one(draw: int) -> Floats:
    study, groups, asked, seed = _MINE[0]
    return _draw_of(study, groups, asked, seed, draw)


def _draw_of(study: Study, groups: Ints, asked: tuple[Scenario, ...], seed: int, draw: int) -> Floats:
    """float64[scenarios, 6] of one bootstrap draw: prices, corrections and the controller anew."""
    times = times_of(groups, seed, draw)
    lot = study.lot(times.astype(np.float64), _seed_of(seed, draw, 0))
    return _array(study.outcomes(lot, times, asked))


def _array(outcomes: Sequence[Outcome]) -> Floats:
    return np.array(outcomes, dtype=np.float64)


def _seed_of(seed: int, draw: int, number: int) -> int:
    return (seed * 1_000_003 + draw * 61 + number * 7_919) & 0xFFFF_FFFF


def _measured(
    scenario: Scenario,
    table: Floats,
    clicked: NDArray[np.int8],
    converted: NDArray[np.int8],
    shifts: tuple[Shift, ...],
) -> Point:
    point, draws = table[0], table[1:]
    clicks, conversions = float((clicked == 1).sum()), float((converted == 1).sum())

    extrapolated = float(point[DRAWN] / point[SPEND]) if point[SPEND] > 0 else 0.0
    wide = 1.0 + WIDENED * extrapolated

    def count(column: int, events: float | None = None, widen: float = 1.0) -> Measure:
        return count_measure(float(point[column]), draws[:, column], events, widen)

    def ratio(over: int, under: int) -> Measure:
        return ratio_measure(float(point[over]), float(point[under]), draws[:, over], draws[:, under], wide)

    back = ratio(VALUE, SPEND)
    return Point(
        budget_nanos=scenario.budget_nanos,
        scale=scenario.scale,
        spend_nanos=count(SPEND),
        impressions=count(IMPRESSIONS),
        clicks=count(CLICKS, clicks, wide),
        conversions=count(CONVERSIONS, conversions, wide),
        value_nanos=count(VALUE, None, wide),
        roas=back,
        roi=back.less(1.0),
        cpa=ratio(SPEND, CONVERSIONS),
        cpc=ratio(SPEND, CLICKS),
        extrapolated=extrapolated,
        shifts=shifts,
    )
