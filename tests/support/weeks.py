"""Weeks of auctions with known truth: a world's day stretched over weeks, with nights and week ends."""

import numpy as np
from numpy.typing import NDArray

from simulator.estimate.controller import Outcome, played
from simulator.history.auctions import Auctions
from simulator.worlds.draw import world_of
from simulator.worlds.recipe import RECIPES
from simulator.worlds.truth import lot_of
from simulator.worlds.world import World

HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS


class Weeks:
    """A log of `days` of which the truth is known.

    Attributes:
        log: the whole of it. world: where it comes from.
    """

    def __init__(self, seed: int, days: int = 21, auctions: int = 40_000, recipe: str = "second") -> None:
        self.world: World = world_of(RECIPES[recipe], seed, auctions)
        rng = np.random.default_rng([seed, 5])
        hour = np.arange(days * 24)
        shape = 1 + 0.6 * np.sin((hour % 24 - 9) / 24 * 2 * np.pi)
        share = shape * np.where((hour // 24 + 3) % 7 >= 5, 1.3, 1.0)
        share = share * np.exp(np.repeat(rng.normal(0, 0.05, days), 24))
        many = rng.multinomial(auctions, share / share.sum())
        at = np.sort(np.repeat(hour, many) * HOUR_NS + rng.integers(0, HOUR_NS, auctions))
        self.log: Auctions = self.world.log._replace(at_ns=at.astype(np.int64))

    def cut(self, day: int) -> int:
        """The first row of a day."""
        return int(np.searchsorted(self.log.at_ns, day * DAY_NS))

    def truth(self, rows: NDArray[np.int64], budget_nanos: int) -> Outcome:
        """What a budget really brings on some rows, with the controller warm."""
        hidden = self.world.hidden
        lot = lot_of(self.log, hidden.price, hidden.click, hidden.conversion, hidden.factor)
        return played(lot, rows, budget_nanos, self.world.controller)
