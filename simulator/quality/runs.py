"""The table of quality: campaign x budget x start x delay x policy, beside hindsight."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulator.quality.fitting import STARTS, Market, auctions_of, fitted, optimal_multiplier
from simulator.quality.hindsight import Optimum, by_slots, chosen_by, knapsack, with_delay
from simulator.quality.policies import NAMES, STARTED, Auctions, Tuned, play, state_of
from simulator.quality.series import Series, Slots, slots_of

BUDGET_SHARES = (1 / 32, 1 / 8, 1 / 2)
DELAYS = (0, 100, 1_000)
STEPS = 200
"""Slots of the plan that smoothness is priced with."""
WORTH_OVER_MARGINAL = 16
"""Worth of a click over what the last one costs at the optimum: a start of four times the optimum is below 1."""
CURVES = frozenset({"dual", "pid"})
"""Policies whose spend curves are kept."""
Progress = Callable[[str], None]


class Bound(msgspec.Struct, frozen=True):
    """What could be had of one campaign and budget.

    clicks: expected clicks of the optimum for the believed probabilities. smoothness: the optimum where each of 200
    slots of traffic has its share of the budget, over the optimum. model: what the choice by believed probabilities
    is truly worth over the optimum by true ones; None where the truth is not known. multiplier: the optimum's.
    waiting: value over the optimum's where notices wait for each of `DELAYS`, of one who need not learn but whose
    money is locked by bids under way as ours is, see `with_delay`.
    """

    campaign: str
    share: float
    auctions: int
    budget_nanos: int
    worth_nanos: int
    clicks: float
    multiplier: float
    smoothness: float
    model: float | None
    waiting: tuple[float, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One policy on one campaign.

    share: budget over the cost of all auctions. start: of its multiplier over the optimum's, None where it was
    fitted. delay: auctions until a notice is heard. value: expected clicks won, by the believed probabilities, as
    hindsight is; true_value by the true ones, None where not known. deviation: largest distance of the spend curve
    from the plan, over the budget. hourly: mean error of the hours' spend over what was planned, None where hours are
    not known. curve: spend over budget after each fiftieth of the traffic, of a few policies.
    """

    campaign: str
    share: float
    start: float | None
    delay: int
    policy: str
    value: float
    true_value: float | None
    hindsight: float
    spend_nanos: int
    budget_nanos: int
    wins: int
    clicks: int
    bids: int
    refused: int
    deviation: float
    hourly: float | None
    overspend_nanos: int
    curve: tuple[float, ...] = ()

    @property
    def ratio(self) -> float:
        """Value over hindsight."""
        return self.value / self.hindsight if self.hindsight > 0 else 1.0

    @property
    def spent(self) -> float:
        """Spend over budget."""
        return self.spend_nanos / max(self.budget_nanos, 1)


class Table(msgspec.Struct):
    """Bounds and rows of all campaigns."""

    bounds: list[Bound] = msgspec.field(default_factory=list)
    rows: list[Row] = msgspec.field(default_factory=list)


def measure(
    series: Iterable[Series],
    seed: int,
    *,
    shares: Sequence[float] = BUDGET_SHARES,
    delays: Sequence[int] = DELAYS,
    policies: Sequence[str] = NAMES,
    progress: Progress = lambda _: None,
) -> Table:
    """Plays every policy on the later part of each series."""
    table = Table()
    for one in series:
        earlier, later = one.split()
        for share in shares:
            progress(f"{one.name}, budget {share:.3g}")
            case = Case(earlier, later, share, seed)
            table.bounds.append(case.bound)
            for name in policies:
                table.rows += case.rows(name, delays)
    return table


class Case:
    """One campaign with one budget.

    Args:
        earlier: to fit baselines on. later: to measure. share: budget over cost. seed: of what is drawn.
    """

    def __init__(self, earlier: Series, later: Series, share: float, seed: int) -> None:
        self.series, self.share, self._seed = later, share, seed
        self.budget_nanos = int(later.cost_nanos * share)
        self.worth_nanos = worth_of(later, self.budget_nanos)
        self.market = Market(earlier, self.worth_nanos, share)
        self.slots: Slots = slots_of(later, STEPS)
        self.auctions: Auctions = auctions_of(later, self.worth_nanos, self.slots, truth=False)
        self.bound = self._bound()

    def _bound(self) -> Bound:
        value, price, budget = self.auctions.value, self.auctions.price, self.budget_nanos
        best = knapsack(value, price, budget)
        steps = (np.arange(len(price)) * STEPS // len(price)).astype(np.int32)
        smooth = by_slots(value, price, budget, steps, STEPS)
        model = None
        if self.series.truth is not None:
            true = self.series.truth * self.worth_nanos
            model = chosen_by(value, true, price, budget) / knapsack(true, price, budget).value
        return Bound(
            self.series.name, self.share, len(price), budget, self.worth_nanos, best.value / self.worth_nanos,
            optimal_multiplier(value, price, budget), smooth / best.value, model, self._waiting(best),
        )  # fmt: skip

    def _waiting(self, best: Optimum) -> tuple[float, ...]:
        value, price, cap = self.auctions.value, self.auctions.price, self.auctions.cap_nanos
        return tuple(
            with_delay(value, price, self.budget_nanos, cap, best, delay) / best.value for delay in DELAYS
        )

    def rows(self, name: str, delays: Sequence[int]) -> list[Row]:
        """A policy at all starts that it has, and all delays."""
        tuned = fitted(name, self.market)
        starts: tuple[float | None, ...] = STARTS if name in STARTED else (None,)
        return [self.row(name, tuned, start, delay) for delay in delays for start in starts]

    def row(self, name: str, tuned: Tuned, start: float | None, delay: int) -> Row:
        """One run."""
        n = len(self.auctions.price)
        first = self.bound.multiplier * (1.0 if start is None else start)
        state = state_of(name, tuned, self.budget_nanos, n, min(first, 1.0), seed=self._seed)
        done = play(state, self.auctions, delay)
        true = None
        if self.series.truth is not None:
            again = state_of(name, tuned, self.budget_nanos, n, min(first, 1.0), seed=self._seed)
            gained = self.auctions._replace(gain=self.series.truth)
            true = play(again, gained, delay).value
        slots, budget = self.slots, self.budget_nanos
        return Row(
            campaign=self.series.name,
            share=self.share,
            start=start,
            delay=delay,
            policy=name,
            value=done.value / self.worth_nanos,
            true_value=true,
            hindsight=self.bound.clicks,
            spend_nanos=done.spend_nanos,
            budget_nanos=budget,
            wins=done.wins,
            clicks=done.clicks,
            bids=done.bids,
            refused=done.refused,
            deviation=done.deviation,
            hourly=slots.hourly_error(done.slots, budget) if slots.hours else None,
            overspend_nanos=done.overspend_nanos,
            curve=self._curve(done.slots) if name in CURVES else (),
        )

    def _curve(self, spent: NDArray[np.int64]) -> tuple[float, ...]:
        """Spend over budget after each fiftieth of the traffic."""
        points = np.cumsum(self.slots.by_step(spent))[STEPS // 50 - 1 :: STEPS // 50]
        return tuple(np.round(points / max(self.budget_nanos, 1), 5).tolist())


def worth_of(series: Series, budget_nanos: int) -> int:
    """Whole nanos that a click is worth, see `WORTH_OVER_MARGINAL`."""
    scale = 1e9
    multiplier = optimal_multiplier(series.theta * scale, series.price, budget_nanos)
    return max(1, int(WORTH_OVER_MARGINAL * multiplier * scale))
