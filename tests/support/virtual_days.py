"""Virtual days of campaigns that pace one account's money: what each day brings, with and without moves.

A campaign's auctions are a sample of values and prices; it wins where its multiplier times the value passes the
price, and pays the price. Each day the multiplier is the one that spends what is left over the days left, as pacing
finds it. Values drift from day to day. What the portfolio sees errs: clicks are counted, multipliers told with noise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.portfolio_live import LiveRules, Standing, propose

DAY_NS = 86_400 * 10**9
UNIT = 10**9
_CLICK_NANOS = UNIT // 2
_SAMPLE = 3_000


class Lived(NamedTuple):
    """What became of an account.

    Attributes:
        value: true value of all days, units. spent: units. budgets: int64[days + 1, campaigns], nanos.
        holds: why nothing moved, or "", by day. spent_by: nanos by campaign.
    """

    value: float
    spent: float
    budgets: NDArray[np.int64]
    holds: list[str]
    spent_by: NDArray[np.int64]

    @property
    def directions(self) -> NDArray[np.int64]:
        """Where each budget went each day, -1, 0 or 1, int64[days, campaigns]."""
        return np.sign(np.diff(self.budgets, axis=0))


class Account:
    """Campaigns of one account.

    Args:
        seed: of everything. campaigns: how many. days: of their flights. drift: daily change of what an auction is
            worth, standard deviation of the logarithm. alike: whether all campaigns are the same.
    """

    def __init__(
        self, seed: int, campaigns: int = 6, days: int = 30, drift: float = 0.05, *, alike: bool = False
    ) -> None:
        random = np.random.default_rng(seed)
        one = random.lognormal(0.0, 0.8, (1 if alike else campaigns, _SAMPLE))
        self._values = np.broadcast_to(one, (campaigns, _SAMPLE)) * 2e-3 * UNIT
        self._prices = random.lognormal(-0.3, 0.7, (1 if alike else campaigns, _SAMPLE)) * 2e-3 * UNIT
        self._prices = np.broadcast_to(self._prices, (campaigns, _SAMPLE))
        spread = 0.0 if alike else 0.4
        self._auctions = random.lognormal(0.0, spread, campaigns) * 100_000
        worth = random.lognormal(0.0, spread, campaigns)
        walk = np.cumsum(random.normal(0.0, drift, (days, campaigns)), axis=0)
        self._worth = worth * np.exp(walk)
        self.start = np.full(campaigns, 800 * UNIT, dtype=np.int64)
        self._seed, self.days = seed, days

    def live(self, rules: LiveRules | None) -> Lived:
        """All days; without rules nothing moves."""
        random = np.random.default_rng(self._seed + 1)
        budgets, spent = self.start.copy(), np.zeros_like(self.start)
        last: list[tuple[int, int]] = [(0, 0)] * len(budgets)
        history, holds, value = [budgets.copy()], list[str](), 0.0
        for day in range(self.days):
            seen = []
            for place in range(len(budgets)):
                plan = (budgets[place] - spent[place]) / (self.days - day)
                multiplier, cost, brought = self._day(place, day, plan)
                spent[place] += cost
                value += brought
                clicks = random.poisson(brought / _CLICK_NANOS)
                told = multiplier * random.lognormal(0.0, 0.03) if multiplier < 1.0 else 1.0
                way, when = last[place]
                seen.append(
                    Standing(
                        name=f"c{place}", budget=int(budgets[place]), spent=int(spent[place]),
                        rest_ns=(self.days - day - 1) * DAY_NS, window_ns=DAY_NS, window_spend=cost,
                        window_value=int(clicks) * _CLICK_NANOS, multiplier=min(told, 1.0), moved=way,
                        moved_ago_ns=(day + 1 - when) * DAY_NS,
                    )
                )  # fmt: skip
            if rules is not None:
                found = propose(seen, rules)
                holds.append(found.hold)
                assert found.gain >= 0.0
                for name, budget in found.budgets(seen).items():
                    place = int(name[1:])
                    last[place] = (1 if budget > budgets[place] else -1), day + 1
                    budgets[place] = budget
            history.append(budgets.copy())
        return Lived(value / UNIT, float(spent.sum()) / UNIT, np.array(history), holds, spent)

    def _day(self, place: int, day: int, plan: float) -> tuple[float, int, float]:
        """Multiplier that spends the plan, at most 1; what it spends and brings, nanos."""
        values, prices = self._values[place] * self._worth[day, place], self._prices[place]
        each = self._auctions[place] / _SAMPLE
        low, high = 1e-6, 1.0
        for _ in range(40):
            middle = (low * high) ** 0.5
            low, high = (
                (middle, high) if prices[prices < middle * values].sum() * each < plan else (low, middle)
            )
        won = prices < high * values
        # Never more than the plan: what the last auctions would cost beyond it is not bought.
        cost, brought = prices[won].sum() * each, values[won].sum() * each
        part = min(1.0, plan / cost) if cost else 0.0
        return high, int(cost * part), float(brought * part)
