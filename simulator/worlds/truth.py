"""What any budget really brings in a world: the same auctions under the same controller, with nothing hidden."""

import numpy as np
from numpy.typing import NDArray

from simulator.estimate.controller import Controller, Lot, Outcome, played, value_of
from simulator.history.auctions import Auctions
from simulator.quality.policy_kernels import F_COLUMNS, K_COLUMNS
from simulator.worlds.market_kernels import compete
from simulator.worlds.world import World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def lot_of(log: Auctions, price: Ints, click: Floats, conversion: Floats, factor: Floats) -> Lot:
    """Auctions with their true prices and probabilities, as the loops play them."""
    n = log.opportunities
    gain = np.stack([click, click * conversion, click * conversion * log.worth_nanos], axis=1)
    none = np.zeros(n, dtype=np.uint8)
    return Lot(
        value_of(log),
        factor,
        price,
        log.floor_nanos,
        none,
        np.zeros(n, dtype=np.int64),
        gain,
        log.first_price,
    )


def true_outcome(world: World, budget_nanos: int) -> Outcome:
    """The expected result of a budget; where rivals learn, the whole market plays again."""
    log, hidden = world.log, world.hidden
    lot = lot_of(log, hidden.price, hidden.click, hidden.conversion, hidden.factor)
    if not world.recipe.rivals:
        return played(lot, np.arange(log.opportunities), budget_nanos, world.controller)
    bids, price = market_run(world, budget_nanos)
    won = bids >= price
    paid = np.where(price > log.floor_nanos, price - 1, price)[won]
    clicks, conversions, value = lot.gain[won].sum(axis=0).tolist()
    return Outcome(float(paid.sum()), float(won.sum()), clicks, conversions, value, 0.0)


def market_run(world: World, budget_nanos: int) -> tuple[Ints, Ints]:
    """Our bids and the prices to beat where all bidders learn."""
    log, hidden, controller = world.log, world.hidden, world.controller
    n, rivals = hidden.rivals.shape
    values = np.concatenate([value_of(log)[:, None], hidden.rivals], axis=1)
    budgets = [budget_nanos, *hidden.rival_budgets.tolist()]
    s, k = np.zeros((rivals + 1, F_COLUMNS)), np.zeros((rivals + 1, K_COLUMNS), dtype=np.int64)
    for place, budget in enumerate(budgets):
        own = controller if place == 0 else _rival(controller)
        state = own.state(budget, n)
        s[place], k[place] = state.s, state.k
    bids: Ints = np.zeros(n, dtype=np.int64)
    price: Ints = np.zeros(n, dtype=np.int64)
    caps = np.full(rivals + 1, controller.cap_nanos)
    compete(
        values, hidden.factor, log.floor_nanos, caps, s, k, bids, price, np.zeros(rivals + 1, dtype=np.int64)
    )
    return bids, price


def _rival(controller: Controller) -> Controller:
    return controller._replace(start=0.25)
