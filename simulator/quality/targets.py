"""Targets of cost an outcome or of return, on markets with known truth, beside the best within budget and target.

The market. What an impression is worth at target is log-normal: the probability of an outcome times what one may
cost, or its expected value over the target return. The highest rival bid is log-normal too, at second price
correlated with the worth. An outcome becomes known some time after the notice of its win; where predictions are
wrong by a factor only outcomes say so. Prices may rise by half at half-time.

The optimum knows every auction: bids in proportion to worth, the highest proportion at which spend is within budget
and worth at least spend. With the worth as goal that is the coupled dual, (1 + nu) / (mu + nu), of both constraints
(`hindsight.budget_and_return` has it for any goal). At first price it bids argmax (v - b) P(win | b) of that multiple
v, by the law of prices.

No policy online keeps a return at all times with sub-linear regret (Vaze and Sinha 2025), so a violation is
reported, of the whole campaign: spend over what its outcomes turned out to be worth at target, less 1.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bidder.core.settings import ExchangeRules
from simulator.quality.target_policies import HEADROOM, NAMES, Offers, play_target, target_state

Floats = NDArray[np.float64]

AUCTIONS, SEEDS = 80_000, 2
_MEAN_CHANCE = 0.05
_WORTH_NANOS = 1_000_000_000
_SIGMA_WORTH, _SIGMA_PRICE, _TOGETHER = 1.0, 0.8, 0.5
_SIGMA_VALUE = 0.5
_NO_CAP = 10**13
_PLENTY = 10**17
_STEPS = 30


class Case(NamedTuple):
    """One market.

    Attributes:
        kind: `tCPA` or `tROAS`. price: `second` or `first`. binds: `target`, `budget` or `both`, at the optimum.
        delay: auctions until a notice. lag: mean auctions from there to an outcome. wrong: predicted over true
            probability. shift: factor of prices from half-time on.
    """

    kind: str
    price: str
    binds: str
    delay: int
    lag: int = 1_000
    wrong: float = 1.0
    shift: float = 1.0

    @property
    def name(self) -> str:
        """In words."""
        said = [
            self.kind,
            f"{self.price} price",
            f"{self.binds} binds" if self.binds != "both" else "both bind",
        ]
        if self.wrong != 1.0:
            said.append(f"predicted x {self.wrong:g}")
        if self.shift != 1.0:
            said.append(f"prices x {self.shift:g}")
        return ", ".join([*said, f"delay {self.delay:,}"])


CASES = (
    *(
        Case(kind, price, binds, delay)
        for kind in ("tCPA", "tROAS")
        for price in ("second", "first")
        for binds in ("target", "both", "budget")
        for delay in (0, 1_000)
    ),
    *(
        Case("tCPA", "second", binds, delay, shift=1.5)
        for binds in ("target", "both")
        for delay in (0, 1_000)
    ),
    *(Case("tCPA", "second", "target", delay, wrong=wrong) for wrong in (0.8, 1.3) for delay in (0, 1_000)),
    *(Case("tCPA", "second", "budget", delay, shift=3.0) for delay in (0, 1_000)),
)
_TARGETS = {"target": 0.8, "both": 1.0, "budget": 1.5}
"""What an outcome may cost, over the mean rival bid for one."""


class TargetRow(msgspec.Struct, frozen=True):
    """One policy in one market, over its seeds.

    violation: spend over what outcomes were worth at target, less 1: mean, and that of the worst seed. expected:
    the same by true probabilities. ratio: true worth won over the optimum's, mean and worst. worst_linear:
    worst over that of the best bids in proportion to worth, which a constant share at first price cannot pass.
    score: mean of ratio x min(1, 1 / (1 + violation))^2, which punishes a violation by its square. spent: spend
    over the optimum's.
    """

    case: str
    policy: str
    binds: str
    price: str
    wrong: float
    shift: float
    delay: int
    violation: float
    worst_violation: float
    expected: float
    ratio: float
    worst_ratio: float
    worst_linear: float
    score: float
    spent: float
    outcomes: float
    overspend_nanos: int


class Market:
    """One seeded market of a case.

    Args:
        case: what it is. seed: of its draws. auctions: how many.
    """

    def __init__(self, case: Case, seed: int, auctions: int = AUCTIONS) -> None:
        self.case = case
        rng = np.random.default_rng([seed, 91])
        n = auctions
        drawn = rng.normal(size=n)
        chance = np.minimum(_MEAN_CHANCE * np.exp(_SIGMA_WORTH * drawn - _SIGMA_WORTH**2 / 2), 0.5)
        together = _TOGETHER if case.price == "second" else 0.0
        rival = together * drawn + math.sqrt(1.0 - together**2) * rng.normal(size=n)
        scale = np.where(np.arange(n) < n // 2, 1.0, case.shift)
        self._scale = scale
        price = _MEAN_CHANCE * _WORTH_NANOS * np.exp(_SIGMA_PRICE * rival) * scale
        price_nanos = np.maximum(price, 1).astype(np.int64)
        each = np.full(n, _TARGETS[case.binds] * _WORTH_NANOS)
        spread = (
            np.exp(_SIGMA_VALUE * rng.normal(size=n) - _SIGMA_VALUE**2 / 2) if case.kind == "tROAS" else 1.0
        )
        outcome = np.where(rng.random(n) < chance, each * spread, 0.0)
        lag = rng.exponential(case.lag, n).astype(np.int64)
        predicted = np.minimum(chance * case.wrong, 1.0)
        self.worth = chance * each
        first = case.price == "first"
        self.offers = Offers(
            predicted * each * HEADROOM, predicted, self.worth, price_nanos, outcome, lag, np.arange(n) / n, _NO_CAP,
            first_price=first, shade=ExchangeRules().first_price_shade if first else 1.0,
        )  # fmt: skip
        self.budget_nanos = self._budget()
        self.best, self.best_spend = self.optimum(self.budget_nanos)
        first = self.offers.first_price
        self.linear = self.optimum(self.budget_nanos, proportional=True)[0] if first else self.best

    def _budget(self) -> int:
        """What the best within the target spends, or a third of it; plenty where only the target is to bind."""
        _, spend = self.optimum(_PLENTY)
        return {"target": _PLENTY, "both": int(spend), "budget": int(0.3 * spend)}[self.case.binds]

    def optimum(self, budget: float, *, proportional: bool = False) -> tuple[float, float]:
        """Worth and spend of the highest multiple of worth that keeps budget and target, by bisection.

        Args:
            budget: nanos. proportional: of bids in proportion to worth, which are the best at second price alone.
        """
        bought = self._proportional if proportional else self._bought
        low, high = 0.0, 64.0
        for _ in range(_STEPS):
            middle = (low + high) / 2.0
            worth, spend = bought(middle)
            low, high = (middle, high) if spend <= min(budget, worth) else (low, middle)
        return bought(low)

    def _bought(self, multiple: float) -> tuple[float, float]:
        price = self.offers.price
        if self.offers.first_price:
            bid = np.interp(multiple * self.worth / self._scale, *bid_law()) * self._scale
            won = bid > price
            return float(self.worth[won].sum()), float(bid[won].sum())
        won = multiple * self.worth > price
        return float(self.worth[won].sum()), float(price[won].sum())

    def _proportional(self, multiple: float) -> tuple[float, float]:
        """What bids in proportion to worth buy: at second price the best there are."""
        if not self.offers.first_price:
            return self._bought(multiple)
        won = multiple * self.worth > self.offers.price
        worth = float(self.worth[won].sum())
        return worth, multiple * worth


@cache
def bid_law() -> tuple[Floats, Floats]:
    """Values, and argmax (v - b) P(win | b) at first price of each, by the law of rival bids at scale 1."""
    bids = np.geomspace(1e-3, 1e3, 4_000) * _MEAN_CHANCE * _WORTH_NANOS
    wins = ndtr(np.log(bids / (_MEAN_CHANCE * _WORTH_NANOS)) / _SIGMA_PRICE)
    # The first-order condition v = b + F / f has one solution, as F / f rises.
    density = np.exp(-0.5 * (np.log(bids / (_MEAN_CHANCE * _WORTH_NANOS)) / _SIGMA_PRICE) ** 2) / (
        bids * _SIGMA_PRICE * math.sqrt(2.0 * math.pi)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = bids + wins / density
    kept = np.isfinite(worth)
    return worth[kept], bids[kept]


def measure_targets(
    seed: int,
    *,
    cases: Sequence[Case] = CASES,
    seeds: int = SEEDS,
    auctions: int = AUCTIONS,
    progress: Callable[[str], None] = lambda _: None,
) -> list[TargetRow]:
    """Every policy in every case."""
    rows = []
    for case in cases:
        progress(f"targets, {case.name}")
        markets = [Market(case, seed + number, auctions) for number in range(seeds)]
        rows += [_row(case, name, markets) for name in NAMES]
    return rows


def _row(case: Case, name: str, markets: Sequence[Market]) -> TargetRow:
    violations, expected, ratios, scores, spent, outcomes, overspend = [], [], [], [], [], [], 0
    linear = []
    for market in markets:
        n = len(market.offers.price)
        state = target_state(name, market.budget_nanos, n, ripe_auctions=case.lag)
        done = play_target(state, market.offers, case.delay)
        violations.append(done.spend_nanos / max(done.observed, 1.0) - 1.0)
        expected.append(done.spend_nanos / max(done.worth, 1.0) - 1.0)
        ratios.append(done.worth / market.best)
        linear.append(done.worth / market.linear)
        scores.append(ratios[-1] * min(1.0, 1.0 / (1.0 + violations[-1])) ** 2)
        spent.append(done.spend_nanos / market.best_spend)
        outcomes.append(done.outcomes)
        overspend = max(overspend, done.overspend_nanos)
    return TargetRow(
        case=case.name,
        policy=name,
        binds=case.binds,
        price=case.price,
        wrong=case.wrong,
        shift=case.shift,
        delay=case.delay,
        violation=float(np.mean(violations)),
        worst_violation=max(violations),
        expected=float(np.mean(expected)),
        ratio=float(np.mean(ratios)),
        worst_ratio=min(ratios),
        worst_linear=min(linear),
        score=float(np.mean(scores)),
        spent=float(np.mean(spent)),
        outcomes=float(np.mean(outcomes)),
        overspend_nanos=overspend,
    )
