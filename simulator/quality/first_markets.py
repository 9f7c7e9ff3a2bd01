"""First-price markets whose law of prices is known: what the best bids are there, and what they bring.

Values are log-normal; the price to beat is log-normal too, of a law of its own in each placement, or the floor where
that is higher. Nothing tells the bidder the price: he hears whether he won.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bidder.core.shading import envelopes_of
from models.landscape.grid import price_grid
from simulator.quality.first_price_kernels import best_bids

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEDIAN_NANOS = 1_000_000
_POINTS = 512
_SIGMA_VALUE = 1.0


class Market(NamedTuple):
    """A law of prices.

    Attributes:
        medians: of the price in each placement, over `MEDIAN_NANOS`. sigmas: of its logarithm. floors: in the same
            unit as medians, 0 for none. follow: how far values rise with prices: value times median to that power.
        worth: median value over `MEDIAN_NANOS`.
    """

    name: str
    medians: tuple[float, ...]
    sigmas: tuple[float, ...]
    floors: tuple[float, ...]
    follow: float = 0.0
    worth: float = 1.5

    def wins(self, bids: Floats, stratum: NDArray[np.int32]) -> Floats:
        """P(win | bid), the truth."""
        median, sigma, floor = (np.array(one)[stratum] for one in (self.medians, self.sigmas, self.floors))
        with np.errstate(divide="ignore"):
            below = ndtr(np.log(bids / (median * MEDIAN_NANOS)) / sigma)
        return np.where((bids > 0) & (bids >= np.rint(floor * MEDIAN_NANOS)), below, 0.0)


MARKETS = (
    Market("one law", (1.0,), (0.6,), (0.0,)),
    Market("thin margins", (1.0,), (0.15,), (0.0,), worth=1.2),
    Market("eight placements", (0.3, 0.5, 0.7, 0.9, 1.2, 1.6, 2.2, 3.0), (0.4, 0.8, 0.5, 0.3, 0.6, 0.7, 0.4, 0.5),
           (0.0,) * 8, follow=0.8),
    Market("floors", (0.6, 1.0, 1.5), (0.6, 0.5, 0.7), (0.5, 1.0, 1.0), follow=0.5),
)  # fmt: skip


class Draws(NamedTuple):
    """Auctions of a market: float64[n] values, int64[n] least bids that win, int32[n] placements, bool[n] clicks."""

    value: Floats
    price: Ints
    stratum: NDArray[np.int32]
    click: NDArray[np.uint8]


def draw_market(market: Market, seed: int, auctions: int) -> Draws:
    """Seeded auctions."""
    rng = np.random.default_rng([seed, 83, *market.name.encode()])
    stratum = rng.integers(0, len(market.medians), auctions).astype(np.int32)
    median, sigma, floor = (np.array(one)[stratum] for one in (market.medians, market.sigmas, market.floors))
    value = MEDIAN_NANOS * market.worth * median**market.follow
    value = value * np.exp(_SIGMA_VALUE * rng.normal(size=auctions))
    rival = MEDIAN_NANOS * median * np.exp(sigma * rng.normal(size=auctions))
    price = np.ceil(np.maximum(rival, np.rint(floor * MEDIAN_NANOS))).astype(np.int64)
    return Draws(value, price, stratum, np.zeros(auctions, dtype=np.uint8))


class Curves(NamedTuple):
    """What `shaded_bid` reads."""

    starts: Ints
    worths: Floats
    segments: NDArray[np.int32]
    grid: Ints
    survival: Floats

    @classmethod
    def of(cls, grid: Ints, survival: Floats) -> "Curves":
        """Ready to price by."""
        return cls(*envelopes_of(grid, np.ascontiguousarray(survival)), grid, np.ascontiguousarray(survival))

    def bids(self, worth: Floats, stratum: NDArray[np.int32]) -> Floats:
        """The best bid of each."""
        out = np.zeros(len(worth))
        best_bids(worth, stratum, *self, out)
        return out


def true_curves(market: Market) -> Curves:
    """The law itself on a fine grid, with steps where floors are."""
    low, high = 0.02 * min(market.medians), 60.0 * max(market.medians)
    floors = {round(floor * MEDIAN_NANOS) + step for floor in market.floors if floor for step in (-1, 0)}
    even = price_grid(low * MEDIAN_NANOS, high * MEDIAN_NANOS, _POINTS - len(floors))
    grid = np.unique(np.concatenate([even, np.array(sorted(floors), dtype=np.int64)]))
    strata = range(len(market.medians))
    won = np.array([market.wins(grid.astype(np.float64), np.full(len(grid), one)) for one in strata])
    return Curves.of(grid, 1.0 - won)


class Best(NamedTuple):
    """What the law allows: bids, and by auction what they bring; with a budget the price of money too.

    surplus: (v - b) P(win | b). value: v P. spend: b P, expected. rate: lambda.
    """

    bids: Floats
    surplus: Floats
    value: Floats
    spend: Floats
    rate: float


def best_of(market: Market, draws: Draws, budget: float | None = None) -> Best:
    """The best bids of one who knows the law and all values, but no price.

    With a budget bids are the best for v / lambda, the one lambda for which the expected spend is the budget; its
    value bounds what anyone can expect.
    """
    curves = true_curves(market)

    def at(rate: float) -> Best:
        bids = curves.bids(draws.value / rate, draws.stratum)
        won = market.wins(bids, draws.stratum)
        return Best(bids, (draws.value - bids) * won, draws.value * won, bids * won, rate)

    found = at(1.0)
    if budget is None or found.spend.sum() <= budget:
        return found
    low, high = 1.0, 1e6
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if at(middle).spend.sum() > budget else (low, middle)
    return at(high)
