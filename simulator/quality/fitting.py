"""Parameters of the baselines, fitted on the earlier part of a log alone, as their papers do.

| policy | fitted | how |
|---|---|---|
| const, rand | the bid, its bound | most value within the budget, of 40 geometric steps up to the highest price |
| mcpc | bid over value | the log's own cost per click (with one click added) |
| lin | bid over value | most value within the budget share, of 40 geometric steps |
| ortb | c, lambda | c by least squares of b / (c + b) on the share of prices below b; lambda as for lin |
| pid, waterlevel | gains | most value of a few combinations, the mean over starts of the optimum x 1/4 and x 4 |
| rlb | value function | prices of the earlier part as they are, its mean value, episodes of 1,000 auctions |
| ptr, bslb | nothing | the throttle starts at a tenth of auctions |

The papers choose by clicks; here by expected value, because the earlier part of a log has a few clicks only, and
that favours the baselines. The optimum from which starts are taken is the earlier part's own.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.quality.hindsight import knapsack
from simulator.quality.policies import EPISODE, Auctions, Tuned, even_plan, play, state_of
from simulator.quality.policy_kernels import rlb_table
from simulator.quality.series import Series, Slots

Floats = NDArray[np.float64]

_STEPS = 40
_RLB_UNITS = 8_192
"""Columns of its value function at most: where an episode's budget has more steps of price, they are pooled."""
_PID_GAINS = tuple((p, i, d) for p in (0.1, 0.3, 1.0) for i in (0.01, 0.05, 0.2) for d in (0.0, 0.1))
_WATERLEVEL_GAINS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
STARTS = (0.25, 4.0)


class Market(NamedTuple):
    """The part to fit on, with the share of its cost that a budget may spend."""

    series: Series
    worth_nanos: int
    share: float

    @property
    def budget_nanos(self) -> int:
        """The same share of this part's cost."""
        return int(self.series.cost_nanos * self.share)

    @property
    def value(self) -> Floats:
        """Value of each auction, nanos."""
        return self.series.theta * self.worth_nanos


def auctions_of(
    series: Series, worth_nanos: int, slots: Slots | None = None, *, truth: bool = True
) -> Auctions:
    """A series as the loop plays it, on an even plan; value won is the true one where it is known and asked for."""
    n = len(series.price)
    value = series.theta * worth_nanos
    gain = series.truth * worth_nanos if truth and series.truth is not None else value
    of = np.zeros(n, dtype=np.int32) if slots is None else slots.of
    parts = 1 if slots is None else len(slots.step)
    return Auctions(value, gain, series.price, series.click, even_plan(n), of, parts, series.cap_nanos)


def fitted(name: str, market: Market) -> Tuned:
    """Parameters of a policy for a market."""
    if name == "mcpc":
        clicks = int(market.series.click.sum()) + 1
        return Tuned(a=market.series.cost_nanos / clicks / market.worth_nanos)
    if name == "rlb":
        return rlb(market.series, market.worth_nanos, market.share)
    return _best(name, market)


def candidates(name: str, market: Market) -> list[Tuned]:
    """Parameters to choose from."""
    if name in ("const", "rand"):
        top = float(market.series.cap_nanos) * (2.0 if name == "rand" else 1.0)
        return [Tuned(a=float(a)) for a in np.geomspace(top / 1e3, top, _STEPS)]
    if name == "lin":
        return [Tuned(a=float(a)) for a in _around(market)]
    if name == "ortb":
        c = win_constant(market.series)
        return [Tuned(a=float(a), b=c) for a in _around(market, 1e4)]
    if name == "pid":
        return [Tuned(p, i, d) for p, i, d in _PID_GAINS]
    if name == "waterlevel":
        return [Tuned(gain) for gain in _WATERLEVEL_GAINS]
    return [Tuned()]


def optimal_multiplier(value: Floats, price: NDArray[np.int64], budget: int) -> float:
    """The multiplier of value that hindsight would bid: 1 / price of money."""
    rate = knapsack(value, price, budget).rate
    return 1.0 / rate if rate > 0.0 else 1.0


def _around(market: Market, width: float = 100.0) -> Floats:
    """Geometric steps round the multiplier that hindsight would have bid on the part to fit on."""
    best = optimal_multiplier(market.value, market.series.price, market.budget_nanos)
    return np.geomspace(best / width, best * 10.0, _STEPS)


def _best(name: str, market: Market) -> Tuned:
    found = candidates(name, market)
    if len(found) == 1:
        return found[0]
    auctions = auctions_of(market.series, market.worth_nanos, truth=False)
    n = len(auctions.price)
    best = optimal_multiplier(market.value, market.series.price, market.budget_nanos)
    starts = [best * factor for factor in STARTS] if name in ("pid", "waterlevel") else [1.0]

    def won(tuned: Tuned) -> float:
        return sum(
            play(state_of(name, tuned, market.budget_nanos, n, start), auctions).value for start in starts
        )

    return max(found, key=won)


def win_constant(series: Series) -> float:
    """The c of b / (c + b) that is nearest to the share of prices below b, over whole steps of price; in nanos."""
    bids = np.arange(1, series.cap_nanos // series.unit_nanos + 1, dtype=np.float64)
    if len(bids) > _RLB_UNITS:
        bids = np.linspace(1.0, len(bids), _RLB_UNITS)
    won = np.searchsorted(np.sort(series.price), bids * series.unit_nanos, side="left") / len(series.price)
    steps = np.geomspace(0.01, 100.0, 400) * float(np.mean(series.price)) / series.unit_nanos
    errors = [float(((bids / (c + bids) - won) ** 2).sum()) for c in steps]
    return float(steps[int(np.argmin(errors))]) * series.unit_nanos


def rlb(series: Series, worth_nanos: int, share: float, episode: int = EPISODE) -> Tuned:
    """The value function of RLB for episodes of `episode` auctions with `share` of their mean cost."""
    budget = series.cost_nanos / len(series.price) * episode * share
    unit = series.unit_nanos * max(1, -(-int(budget / series.unit_nanos) // (_RLB_UNITS - 1)))
    units = int(budget) // unit + 2
    prices = -(-series.price // unit)
    chances = np.bincount(prices) / len(prices)
    table = _table(tuple(chances.tolist()), float(series.theta.mean()), episode, units)
    return Tuned(a=1.0 / worth_nanos, table=table, unit_nanos=unit, cap_units=series.cap_nanos // unit)


@cache
def _table(chances: tuple[float, ...], theta: float, episode: int, units: int) -> Floats:
    table = np.zeros((episode, units))
    rlb_table(np.array(chances), theta, table)
    return table
