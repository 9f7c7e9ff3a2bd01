"""A check of a replay by bids that were drawn at random, which needs no law of prices.

Where exploration drew a bid, its density is known. The new policy, spread by the same exploration round its
bid b', is
worth what the replay says, v(b'), plus what the replay was wrong by on the drawn bids, weighted by how much more
likely the new policy would have drawn them (Dudik, Langford and Li, ICML 2011):

    mean of v(b') + min(c, q(b | b') / q(b)) (y - v(b))

v(b) is the corrected prediction times the chance to win. The second term is 0 on average where either prices and
predictions or the densities are right. How far it may be from 0 by chance is what the replay itself says, whose
clicks are events of chance v(b): where a budget is far from the logged one a few heavy clicks decide, and their
spread as it was seen is a third of the true one whenever they did not come (see `tails`).
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulator.estimate.controller import Lot
from simulator.estimate.prices import Curves
from simulator.estimate.study import Study
from simulator.estimate.tails import Sum

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_RATIO = 10.0
LEAST_ROWS = 100
LEAST_CLICKS = 2.0
"""Equal clicks that a verdict needs: with fewer even none at all would be no surprise."""
BLIND_DRAWS = 16


class Check(msgspec.Struct, frozen=True):
    """Replay and doubly robust estimate on explored auctions.

    rows: explored auctions. effective: how many clicks of equal weight are as certain as the weighted ones that the
    replay expects (Kish). replayed, doubly: clicks that the new bids, spread by exploration, win on them.
    error: standard deviation of the difference if the replay is right. deviations: of the standard normal law, as far
    in its tail as the difference is in its own; None where `effective` is too little to tell.
    """

    budget_nanos: int
    rows: int
    effective: float
    replayed: float
    doubly: float
    error: float
    deviations: float | None


def doubly_check(study: Study, lot: Lot, budget_nanos: int) -> Check | None:
    """The check of one budget; None where too few bids were explored.

    Clicks are taken to be independent given what is predicted. Predictions are corrected on the whole log, explored
    rows with it: where a share s of the clicks is of explored bids, deviations are about sqrt(1 - s) as large.

    Args:
        study: the log. lot: with the log's own rows once each. budget_nanos: whose bids are checked.
    """
    log = study.log
    density = log.density
    turns, bids = study.bids(lot, budget_nanos)
    explored = np.isfinite(density[turns]) & (log.bid_nanos[turns] > 0) & (bids > 0)
    rows, fresh = turns[explored], bids[explored]
    if len(rows) < LEAST_ROWS:
        return None
    sigma = sigma_of(density)
    curves = study.curves(np.ones(log.opportunities))
    was = log.bid_nanos[rows]
    # The centre of a new bid is without its own exploration.
    centre = fresh / study.factor[rows]
    before, after = _replayed(study, curves, lot, (rows, was, centre), sigma)
    distance = (np.log(was) - np.log(np.maximum(centre, 1.0))) / sigma
    wanted = np.exp(-(distance**2) / 2.0) / (sigma * math.sqrt(2.0 * math.pi))
    ratio = np.minimum(wanted / density[rows], MOST_RATIO)
    got = np.where(log.won[rows] & (log.clicked[rows] > 0), 1.0, 0.0)
    law = Sum(ratio, before)
    seen, squares = float(ratio @ got), float((ratio**2) @ before)
    effective = law.mean**2 / squares if squares > 0 else 0.0
    return Check(
        budget_nanos=budget_nanos,
        rows=len(rows),
        effective=effective,
        replayed=float(after.sum()),
        doubly=float(after.sum()) + seen - law.mean,
        error=law.deviation,
        deviations=law.score(seen) if effective >= LEAST_CLICKS else None,
    )


def _replayed(
    study: Study, curves: Curves, lot: Lot, part: tuple[Ints, Ints, Floats], sigma: float
) -> tuple[Floats, Floats]:
    """Clicks that the replay expects of the old bid of each row, and of the new one with its exploration."""
    rows, was, centre = part
    line = study.click_line(np.ones(study.log.opportunities), curves, lot.price)
    before, after = np.zeros(len(rows)), np.zeros(len(rows))
    for number in range(BLIND_DRAWS):
        price = study.blind_prices(curves, number + 1)
        chance, own = study.clicks_at(price, line)[rows], price[rows]
        moved = np.random.default_rng([number, 29]).normal(0.0, sigma, len(rows))
        before += chance * (was >= own)
        after += chance * (centre * np.exp(moved) >= own)
    return before / BLIND_DRAWS, after / BLIND_DRAWS


def sigma_of(density: Floats) -> float:
    """Deviation of the normal law whose densities these are, by its entropy; 0 where there are none."""
    known = density[np.isfinite(density) & (density > 0.0)]
    if not len(known):
        return 0.0
    return math.exp(-float(np.log(known).mean()) - 0.5 - 0.5 * math.log(2.0 * math.pi))
