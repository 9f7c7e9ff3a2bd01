"""A world: what the bidder logged, and what it could not see."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.estimate.controller import Controller
from simulator.history.auctions import Auctions
from simulator.worlds.recipe import Recipe

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Hidden(NamedTuple):
    """What no log holds, n auctions.

    Attributes:
        price: int64[n], nanos, to beat; where rivals learn, as it was in the logged run.
        click, conversion: float64[n], true probabilities; the latter after a click, however late.
        factor: float64[n], by which the bidder moved each bid: exploration, and what the log does not tell.
        rivals: float64[n, K], nanos that each learning rival thinks an impression is worth; K may be 0.
        rival_budgets: int64[K], nanos.
    """

    price: Ints
    click: Floats
    conversion: Floats
    factor: Floats
    rivals: Floats
    rival_budgets: Ints


class World(NamedTuple):
    """One market with known truth.

    Attributes:
        recipe, seed: what it was drawn by. log: what the bidder logged. hidden: the truth.
        budget_nanos: what the logged run could spend. controller: of the logged run.
        known_until_ns: the end of the log: conversions after it are not in it.
        delay_ns: mean time from click to conversion.
    """

    recipe: Recipe
    seed: int
    log: Auctions
    hidden: Hidden
    budget_nanos: int
    controller: Controller
    known_until_ns: int
    delay_ns: float
