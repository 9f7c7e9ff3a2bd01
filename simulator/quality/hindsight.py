"""The best that anyone could have done: what one buys who knows every value and every price beforehand.

All are upper bounds of what a policy can win, because parts of auctions may be bought; the gap to whole auctions is
at most one auction's value. Values are expected values, never realised clicks: who knows the clicks buys all of
them with hardly any money, which bounds nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.quality.hindsight_kernels import fill, hull_steps, taken, waited

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FACTORS = (0.97, 1.0, 1.03, 1.06)
_LEAST_BIDS = (0.0, 0.5, 1.0, 1.5, 2.5)
_SHORT = (0.5, 0.8, 0.95)
_TOLERANCE = 1e-13
_FAR = 1e18
_LEAST = 1e-9


class Optimum(NamedTuple):
    """The best use of a budget.

    Attributes:
        value: of what is bought, nanos.
        spend: its price, nanos.
        rate: value of the last nano: price of money, the dual of the budget; 0 where money is left over.
    """

    value: float
    spend: float
    rate: float


def knapsack(value: Floats, price: Ints | Floats, budget: float) -> Optimum:
    """Second price, one slot: fractional knapsack, the rows of most value for their price first. O(n log n).

    Args:
        value: float64[n], nanos, >= 0. price: int64[n] or float64[n], nanos, >= 0. budget: nanos, >= 0.
    """
    order = by_return(value, price)
    bought, spend, place, share = fill(order, value, price, float(budget))
    if place == len(order):
        return Optimum(bought, spend, 0.0)
    row = order[place]
    return Optimum(bought, spend, float(value[row] / price[row]) if share >= 0.0 else 0.0)


def by_return(value: Floats, price: Ints | Floats) -> NDArray[np.int64]:
    """Rows worth something, most value over price first, free ones before all; of equals the earlier first."""
    rows = np.flatnonzero(value > 0.0)
    with np.errstate(divide="ignore"):
        ratio = value[rows] / price[rows]
    return np.asarray(rows[np.argsort(-ratio, kind="stable")], dtype=np.int64)


def by_slots(value: Floats, price: Ints, budget: float, slot: NDArray[np.int32], slots: int) -> float:
    """Value of the best where each slot of the plan has its share of the budget, by its share of the rows."""
    counts = np.bincount(slot, minlength=slots)
    order = np.argsort(slot, kind="stable")
    ends = np.cumsum(counts)
    parts = [order[end - count : end] for count, end in zip(counts, ends, strict=True) if count]
    return float(
        sum(knapsack(value[part], price[part], budget * len(part) / len(value)).value for part in parts)
    )


def chosen_by(guess: Floats, truth: Floats, price: Ints, budget: float) -> float:
    """True value of what is best by a guessed value: what is left of the optimum with that model."""
    order = by_return(guess, price)
    _, _, place, share = fill(order, guess, price, float(budget))
    return float(truth[order[:place]].sum() + (share * truth[order[place]] if place < len(order) else 0.0))


def with_delay(value: Floats, price: Ints, budget: int, cap: int, best: Optimum, delay: int) -> float:
    """The most value that was found for one who knows the market but sets each bid aside until its notice.

    The multiplier is the optimum's or near it, from begin to end. While money is short, bids below the best of a few
    least bids are not made. No bound by proof: what a sound use of that knowledge comes to.

    Args:
        value: float64[n], nanos. price: int64[n], nanos. budget, cap: nanos. best: the optimum without delay.
        delay: auctions until a notice is heard.
    """
    if best.rate <= 0.0:
        return best.value
    mean = float(price[value / best.rate > price].mean())
    found = 0.0
    for factor in _FACTORS:
        for least in _LEAST_BIDS:
            for short in _SHORT if least else _SHORT[:1]:
                ring = np.zeros((delay + 1, 2), dtype=np.int64)
                found = max(
                    found, waited(value, price, cap, budget, factor / best.rate, least * mean, short, ring)
                )
    return found


def slots_knapsack(value: Floats, price: Floats, budget: float) -> Optimum:
    """Several slots, of each auction one at most: multiple-choice knapsack by its hull relaxation.

    Steps along the upper hull of each auction fall in return, so that taking the best steps of all auctions while
    money lasts takes each auction's in their order (Sinha and Zoltners 1979).

    Args:
        value, price: float64[n, slots], slots of an auction in order of price. budget: nanos.
    """
    gains, costs = np.zeros(value.shape), np.zeros(value.shape)
    hull_steps(value, price, gains, costs)
    return knapsack(gains.ravel(), costs.ravel(), budget)


def budget_and_return(score: Floats, value: Floats, price: Floats, budget: float, target: float) -> Optimum:
    """Most score where spend is within budget and value at least `target` times spend, by nested bisection.

    The dual: min over mu, nu >= 0 of mu B + sum max(0, score + nu (value - target price) - mu price). It is convex,
    and its slopes are what is left of the budget and the surplus of the return. The inner bisection finds the mu of
    a nu.

    Args:
        score: float64[n], what is to be most. value, price: float64[n], nanos. budget: nanos, >= 0.
        target: least value for a nano spent.
    """
    slack = value - target * price
    if _inner(score, price, slack, budget, 0.0)[1] >= 0.0:
        low = high = 0.0
    else:
        low, high = 0.0, 1.0
        while _inner(score, price, slack, budget, high)[1] < 0.0 and high < _FAR:
            high *= 4.0
    while high - low > _TOLERANCE * max(high, _LEAST):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _inner(score, price, slack, budget, middle)[1] >= 0.0 else (middle, high)
    money, _ = _inner(score, price, slack, budget, high)
    total, cost, _ = taken(score, price, slack, money, high)
    return Optimum(total + money * budget, min(cost, budget), money)


def _inner(
    score: Floats, price: Floats, slack: Floats, budget: float, ros_price: float
) -> tuple[float, float]:
    """The price of money at which a price of the return spends the budget, and the surplus of the return there.

    Where a row stands on the edge, a part of it is bought, such that the budget is spent to the end.
    """
    _, cost, surplus = taken(score, price, slack, 0.0, ros_price)
    if cost <= budget:
        return 0.0, surplus
    low, high = 0.0, 1.0
    while taken(score, price, slack, high, ros_price)[1] > budget and high < _FAR:
        high *= 4.0
    while high - low > _TOLERANCE * max(high, _LEAST):
        middle = (low + high) / 2.0
        low, high = (
            (middle, high) if taken(score, price, slack, middle, ros_price)[1] > budget else (low, middle)
        )
    _, less, poor = taken(score, price, slack, high, ros_price)
    _, more, rich = taken(score, price, slack, low, ros_price)
    part = (budget - less) / (more - less) if more > less else 0.0
    return high, poor + part * (rich - poor)
