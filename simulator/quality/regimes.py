"""Changes that a day brings, on a first-price market whose truth is known: who finds his way back, and how soon.

The market. Click probabilities are log-normal, the highest rival bid is log-normal and independent of them, the
winner pays his bid. Auctions come evenly over a day; the plan knows that and nothing of the change. At noon traffic
doubles, prices rise by half, nothing comes for an hour, or the budget is raised by half or cut by a quarter.

The oracle knows the laws and the change, not the draws: it bids argmax (v - lambda b) P(win | b), one lambda a day
such that the expected spend is the budget, and its expected value bounds what can be expected of anyone. Policies
bid a constant share of what they wish, as the engine does at first price.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bidder.core.settings import ExchangeRules
from simulator.quality.fitting import Market, candidates
from simulator.quality.policies import Auctions, Played, Run, Tuned, state_of
from simulator.quality.policy_kernels import K_BUDGET, K_EPISODE_BUDGET
from simulator.quality.series import Series

Floats = NDArray[np.float64]

MINUTES, NOON = 1_440, 720
RATE = 200
"""Auctions a minute: so many that the luck of a quarter of an hour is some 4 % of its spend."""
POLICIES = ("dual", "pid", "waterlevel", "bslb")
_SIGMA_VALUE, _SIGMA_PRICE = 1.0, 0.6
_THETA = 0.001
_MEDIAN_NANOS = 1_000_000
"""Median of the highest rival bid: one unit of account a thousand."""
_BUDGET_SHARE = 1 / 8
_WORTH_OVER_MARGINAL = 16
_QUARTER = 15
_BAND, _LOOK = 0.1, 30
"""Recovered: for the next half hour spend is within a tenth of what would use up the budget evenly."""


class Scenario(NamedTuple):
    """What happens at noon.

    traffic, prices, budget: factors from noon on. outage: minutes without auctions from noon on.
    """

    name: str
    traffic: float = 1.0
    prices: float = 1.0
    budget: float = 1.0
    outage: int = 0


SCENARIOS = (
    Scenario("steady"),
    Scenario("traffic x 2", traffic=2.0),
    Scenario("prices + 50 %", prices=1.5),
    Scenario("outage of an hour", outage=60),
    Scenario("budget + 50 %", budget=1.5),
    Scenario("budget - 25 %", budget=0.75),
)


class RegimeRow(msgspec.Struct, frozen=True):
    """One policy in one scenario.

    ratio: value over the oracle's, of the day. linear: that of the best bid in proportion to value. after: value from
    noon on over what the oracle makes of the same remaining money from noon on; 1 - after is the regret of the
    change. recovery: minutes from noon until spend is back, None where it never is. quarters: mean error of spend in
    quarters of an hour that have auctions, over what was to be spent in one.
    """

    scenario: str
    policy: str
    delay: int
    ratio: float
    linear: float
    after: float
    recovery: int | None
    spend_nanos: int
    budget_nanos: int
    overspend_nanos: int
    quarters: float
    curve: tuple[float, ...]


def measure_regimes(
    seed: int,
    *,
    delays: Sequence[int] = (0, 100),
    policies: Sequence[str] = POLICIES,
    progress: Callable[[str], None] = lambda _: None,
) -> list[RegimeRow]:
    """Every policy in every scenario; parameters are of a steady day of another seed."""
    training = Day(SCENARIOS[0], seed + 1)
    tuned = {name: tuned_on(name, training) for name in policies}
    rows = []
    for scenario in SCENARIOS:
        progress(f"first price, {scenario.name}")
        day = Day(scenario, seed)
        rows += [day.row(name, tuned[name], delay) for delay in delays for name in policies]
    return rows


def tuned_on(name: str, day: "Day") -> Tuned:
    """Most value on a day, of a few parameters."""
    market = Market(day.series, day.worth_nanos, _BUDGET_SHARE)
    found = candidates(name, market)
    if len(found) == 1:
        return found[0]
    return max(found, key=lambda one: day.play(name, one, 0)[1].value)


class Law(NamedTuple):
    """What the oracle makes of auctions at each lambda: expected value and spend of one, rising lambda."""

    rates: Floats
    values: Floats
    spends: Floats

    def at(self, rate: float) -> tuple[float, float]:
        """Value in clicks and spend in nanos of one auction."""
        place = np.log(rate)
        return (
            float(np.interp(place, np.log(self.rates), self.values)),
            float(np.interp(place, np.log(self.rates), self.spends)),
        )


@cache
def oracle_law() -> Law:
    """Best bids at prices of scale 1, by a fine grid of bids for each of 400 values."""
    theta = _values()
    bids = _MEDIAN_NANOS * np.geomspace(0.02, 60.0, 800)
    wins = ndtr(np.log(bids / _MEDIAN_NANOS) / _SIGMA_PRICE)
    rates = np.geomspace(1e-12, 1e-6, 400)
    values, spends = np.zeros(len(rates)), np.zeros(len(rates))
    for place, rate in enumerate(rates):
        best = ((theta[:, None] - rate * bids) * wins).argmax(axis=1)
        values[place], spends[place] = (theta * wins[best]).mean(), (bids * wins)[best].mean()
    return Law(rates, values, spends)


def oracle(parts: Sequence[tuple[float, float]], budget: float) -> tuple[float, float]:
    """Expected clicks of the best use of a budget, and its lambda in clicks a nano.

    Args:
        parts: auctions and scale of prices of each part of the time. budget: nanos.
    """
    # With prices c times as high the best bid is c times that at lambda c, wins as often and costs c times as much.
    law = oracle_law()

    def spend(rate: float) -> float:
        return sum(count * scale * law.at(rate * scale)[1] for count, scale in parts)

    low, high = float(law.rates[0]), float(law.rates[-1])
    for _ in range(80):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if spend(middle) > budget else (low, middle)
    return sum(count * law.at(high * scale)[0] for count, scale in parts), high


def proportional(parts: Sequence[tuple[float, float]], budget: float) -> float:
    """Expected clicks of the best bid in proportion to value, the same all day: what a constant share leaves."""
    theta = _values()

    def clicks_and_spend(factor: float) -> tuple[float, float]:
        bids = factor * theta
        wins = [count * ndtr(np.log(bids / (_MEDIAN_NANOS * scale)) / _SIGMA_PRICE) for count, scale in parts]
        return float(sum((theta * won).mean() for won in wins)), float(
            sum((bids * won).mean() for won in wins)
        )

    low, high = 1e3, 1e15
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if clicks_and_spend(middle)[1] > budget else (middle, high)
    return clicks_and_spend(low)[0]


def _values() -> Floats:
    """Click probabilities at the middles of 400 equal shares of their law."""
    return np.asarray(_THETA * np.exp(_SIGMA_VALUE * ndtri((np.arange(400) + 0.5) / 400)))


class Day:
    """One seeded day of a scenario."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        rng = np.random.default_rng([seed, 71])
        counts = np.full(MINUTES, RATE)
        counts[NOON:] = round(RATE * scenario.traffic)
        counts[NOON : NOON + scenario.outage] = 0
        scale = np.where(np.arange(MINUTES) < NOON, 1.0, scenario.prices)
        self._minute = np.repeat(np.arange(MINUTES, dtype=np.int32), counts)
        n = len(self._minute)
        theta = np.minimum(_THETA * np.exp(_SIGMA_VALUE * rng.normal(size=n)), 1.0)
        price = _MEDIAN_NANOS * np.exp(_SIGMA_PRICE * rng.normal(size=n)) * scale[self._minute]
        click = (rng.random(n) < theta).astype(np.uint8)
        none = np.zeros(0, dtype=np.int32)
        self.series = Series(
            scenario.name, theta, None, np.maximum(price, 1).astype(np.int64), click, none, 10_000
        )
        mean = _MEDIAN_NANOS * np.exp(_SIGMA_PRICE**2 / 2)
        self.budget_nanos = int(MINUTES * RATE * mean * _BUDGET_SHARE)
        self._halves = ((float(counts[:NOON].sum()), 1.0), (float(counts[NOON:].sum()), scenario.prices))
        self._best = oracle(self._halves, self.last_budget_nanos)
        self._linear = proportional(self._halves, self.last_budget_nanos)
        _, rate = oracle([(MINUTES * RATE, 1.0)], self.budget_nanos)
        self.worth_nanos = int(_WORTH_OVER_MARGINAL / rate)
        within = np.arange(n) - np.searchsorted(self._minute, self._minute)
        over = (self._minute + within / np.maximum(counts[self._minute], 1)) / MINUTES
        value = theta * self.worth_nanos
        self._auctions = Auctions(
            value, theta, self.series.price, click, over, self._minute, MINUTES, self.series.cap_nanos,
            first_price=True, shade=ExchangeRules().first_price_shade,
        )  # fmt: skip
        self._noon = int(np.searchsorted(self._minute, NOON))

    @property
    def last_budget_nanos(self) -> int:
        """The budget from noon on."""
        return int(self.budget_nanos * self.scenario.budget)

    def play(self, name: str, tuned: Tuned, delay: int) -> tuple[Played, Played]:
        """What came of a policy until noon, and of the whole day."""
        start = 1.0 / _WORTH_OVER_MARGINAL
        state = state_of(name, tuned, self.budget_nanos, MINUTES * RATE, start)
        run = Run(state, self._auctions, delay)
        run.play(0, self._noon)
        morning = run.played()
        state.k[[K_BUDGET, K_EPISODE_BUDGET]] = self.last_budget_nanos
        run.play(self._noon, len(self.series.price))
        return morning, run.played()

    def row(self, name: str, tuned: Tuned, delay: int) -> RegimeRow:
        """One policy, measured."""
        morning, day = self.play(name, tuned, delay)
        budget = self.last_budget_nanos
        best, _ = self._best
        rest, _ = oracle(self._halves[1:], budget - morning.spend_nanos)
        return RegimeRow(
            scenario=self.scenario.name,
            policy=name,
            delay=delay,
            ratio=day.value / best,
            linear=self._linear / best,
            after=(day.value - morning.value) / rest,
            recovery=self._recovery(day.slots),
            spend_nanos=day.spend_nanos,
            budget_nanos=budget,
            overspend_nanos=day.overspend_nanos,
            quarters=self._quarters(day.slots),
            curve=tuple(np.round(np.cumsum(day.slots)[9::10] / budget, 5).tolist()),
        )

    def _recovery(self, spent: NDArray[np.int64]) -> int | None:
        """Minutes from noon until the next half hour spends as it should."""
        sums = np.concatenate(([0], np.cumsum(spent)))
        for minute in range(NOON + self.scenario.outage, MINUTES - _LOOK):
            should = (self.last_budget_nanos - sums[minute]) * _LOOK / (MINUTES - minute)
            if abs(sums[minute + _LOOK] - sums[minute] - should) <= _BAND * should:
                return minute - NOON - self.scenario.outage
        return None

    def _quarters(self, spent: NDArray[np.int64]) -> float:
        """Error of spend by quarters of an hour: of the budget's even share, from noon on of what was left then."""
        by = spent.reshape(-1, _QUARTER).sum(axis=1)
        there = (
            np.add.reduceat(np.bincount(self._minute, minlength=MINUTES), np.arange(0, MINUTES, _QUARTER)) > 0
        )
        half = NOON // _QUARTER
        planned = np.full(len(by), self.budget_nanos / len(by))
        planned[half:] = (self.last_budget_nanos - by[:half].sum()) / max(int(there[half:].sum()), 1)
        return float(np.abs(by - planned)[there].mean() / planned[there].mean())
