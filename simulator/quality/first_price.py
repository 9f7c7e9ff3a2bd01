"""First price learned from wins and losses alone, on markets whose law is known.

A bidder begins with a constant share of what a win is worth. After every `EVERY` auctions it estimates the landscape
anew from its own bids, of which it heard whether they won, and bids the best by that; a share of auctions is held
out and a share explored, as live. Beside it: the constant share, the best constant share of all, the value itself,
and one who knows the law from the begin. All is measured by the law: expected surplus of each bid over that of the
best bid; with a budget the expected value of the bids over the best that the budget can buy.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bidder.core.pacing_kernels import begin_group
from bidder.core.settings import ExchangeRules, PacingSettings
from models.landscape.counts import empty_counts
from models.landscape.curves import Landscape, landscape_of
from models.landscape.grid import price_grid
from models.landscape.observations import ABOVE, BELOW, Observations
from models.landscape.strata import Strata, Stratum
from simulator.quality import policy_kernels as kernels
from simulator.quality.first_markets import (
    MARKETS,
    MEDIAN_NANOS,
    Best,
    Curves,
    Draws,
    Market,
    best_of,
    draw_market,
    true_curves,
)
from simulator.quality.first_price_kernels import LANDSCAPE, SHARE, TRUTHFUL, play_first, quotes_first
from simulator.quality.policies import Auctions, Played, even_plan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AUCTIONS = 200_000
EVERY = 5_000
HOLDOUT, EXPLORED, SIGMA = 0.05, 0.02, 0.2
BUDGET_SHARES = (1 / 8, 1 / 2)
"""Budgets over what the best bids would spend without one."""
TENTHS = 10
_SHARES = np.arange(0.05, 1.0001, 0.05)
_CAP_OVER_MEDIAN = 60
_FAR = 2**62


class FirstRow(msgspec.Struct, frozen=True):
    """One bidder on one market.

    budget: over what the best bids spend without one, None for no budget. surplus: expected surplus over the best
    bid's in the later half, without what was held out; whole: with it. value: expected value over the best that the
    budget buys, of all auctions. tenths: surplus over the best bid's by tenths of the auctions. held, explored: bids.
    """

    market: str
    policy: str
    budget: float | None
    surplus: float
    whole: float
    value: float
    spend_nanos: int
    budget_nanos: int
    overspend_nanos: int
    wins: int
    bids: int
    held: int
    explored: int
    tenths: tuple[float, ...]


class Bidder(NamedTuple):
    """A bidder at first price, for `check_policy`: its kind, state, share of w, and curves where it has any."""

    kind: int
    s: Floats
    k: Ints
    share: float
    paced: bool
    law: Floats
    curves: Curves
    learned: bool

    def copy(self) -> "Bidder":
        """The same, to go another way."""
        return self._replace(s=self.s.copy(), k=self.k.copy())

    def play(self, auctions: Auctions, delay: int = 0) -> Played:
        """Plays all auctions, all of placement 0."""
        run = Run(self, auctions, np.zeros(len(auctions.value), dtype=np.int32), delay)
        run.play(0, len(auctions.price), self.curves, learned=self.learned)
        return run.played()

    def quotes(self, values: Floats, over: float, cap: int) -> Ints:
        """What it would bid for each value, as it stands."""
        out, scratch = np.zeros(len(values), dtype=np.int64), self.copy()
        quotes_first(
            self.kind, self.share, self.paced, self.learned, values, over, cap, 0, *self.curves, self.s, self.k,
            scratch.s, scratch.k, out,
        )  # fmt: skip
        return out


def bidder_of(
    kind: int,
    budget_nanos: int | None,
    auctions: int,
    *,
    curves: Curves | None = None,
    share: float | None = None,
    start: float = 0.5,
    explores: bool = False,
    seed: int = 1,
) -> Bidder:
    """A bidder at the begin of a campaign.

    Args:
        kind: of `first_price_kernels`. budget_nanos: None for no budget. auctions: that are expected.
        curves: that it knows. share: of w where it bids that, by default the exchange's. start: multiplier.
        explores: whether some auctions are held out and explored. seed: of its draws.
    """
    s = np.zeros(kernels.F_COLUMNS)
    k = np.zeros(kernels.K_COLUMNS, dtype=np.int64)
    settings = PacingSettings()
    begin_group(s[kernels.F_PACE :], k[kernels.K_PACE :], start, float(auctions))
    s[[kernels.F_ETA, kernels.F_FIRST_ETA]] = settings.eta, settings.first_eta
    k[kernels.K_BUDGET] = _FAR if budget_nanos is None else budget_nanos
    k[kernels.K_TICK], k[kernels.K_SEED] = 1, seed
    law = np.array([HOLDOUT, EXPLORED, SIGMA] if explores else [0.0, 0.0, SIGMA])
    own = ExchangeRules().first_price_shade if share is None else share
    none = Curves.of(np.array([1, 2], dtype=np.int64), np.ones((1, 2)))
    return Bidder(kind, s, k, own, budget_nanos is not None, law, curves or none, curves is not None)


class Run:
    """A bidder on auctions, that may be stopped and gone on with; bids and factors of chance are kept."""

    def __init__(
        self, bidder: Bidder, auctions: Auctions, stratum: NDArray[np.int32], delay: int = 0
    ) -> None:
        self._bidder, self._auctions, self._stratum = bidder, auctions, stratum
        self._ring: Ints = np.zeros((delay + 1, 2), dtype=np.int64)
        self._totals: Ints = np.zeros(kernels.TOTALS, dtype=np.int64)
        self._sums: Floats = np.zeros(kernels.SUMS)
        self._slots: Ints = np.zeros(auctions.slots, dtype=np.int64)
        self.bids: Ints = np.zeros(len(auctions.value), dtype=np.int64)
        self.factors: Floats = np.zeros(len(auctions.value))

    def play(self, begin: int, end: int, curves: Curves, *, learned: bool) -> None:
        """Plays auctions `begin` to `end` by these curves, where any are learned."""
        one, auctions = self._bidder, self._auctions
        play_first(
            one.kind, one.share, one.paced, learned, begin, end, auctions.value, auctions.price, auctions.click,
            auctions.over, auctions.slot, self._stratum, auctions.cap_nanos, one.law, *curves, one.s, one.k,
            self._ring, self._totals, self._sums, self._slots, self.bids, self.factors,
        )  # fmt: skip

    def played(self) -> Played:
        """What came of it so far."""
        totals = self._totals.tolist()
        over = max(0, totals[kernels.T_SPEND] - int(self._bidder.k[kernels.K_BUDGET]))
        return Played(
            float(self._sums[kernels.S_VALUE]), totals[kernels.T_SPEND], totals[kernels.T_WINS],
            totals[kernels.T_CLICKS], totals[kernels.T_BIDS], totals[kernels.T_REFUSED],
            totals[kernels.T_MOST_RESERVED], float(self._sums[kernels.S_DEVIATION]), over, self._slots.copy(),
        )  # fmt: skip


class Learner:
    """The landscape of a market, estimated from own bids.

    Args:
        market: whose placements are the strata; nothing of its law is used.
    """

    def __init__(self, market: Market) -> None:
        count = len(market.medians)
        leaves = tuple(Stratum((str(one),), 0, 0) for one in range(count))
        self._strata = Strata(("placement",), (), (Stratum((), 0, 0), *leaves))
        grid = price_grid(0.02 * MEDIAN_NANOS, _CAP_OVER_MEDIAN * MEDIAN_NANOS)
        self._counts = empty_counts(grid, 1 + count)

    def hear(self, bids: Ints, won: NDArray[np.bool_], stratum: NDArray[np.int32], at: int) -> None:
        """Counts bids, of which nothing is known but whether they won."""
        made = np.flatnonzero(bids > 0)
        bid = bids[made].astype(np.float64)
        seen = Observations(
            made, np.where(won[made], BELOW, ABOVE).astype(np.int8), bid, bid, won[made], np.ones(len(made)),
            made.astype(np.int64) + at, {},
        )  # fmt: skip
        self._counts.update(seen, stratum[made].astype(np.int64) + 1)

    def landscape(self) -> Landscape:
        """Of what was counted so far."""
        return landscape_of(self._counts, self._strata)

    def curves(self) -> Curves:
        """Of the placements."""
        fitted = self.landscape()
        return Curves.of(fitted.grid, fitted.survival[1:])


def learn(run: Run, draws: Draws, market: Market, every: int = EVERY) -> None:
    """Plays all auctions, and estimates the landscape anew after each so many."""
    learner, n = Learner(market), len(draws.value)
    curves, learned = Curves.of(np.array([1, 2], dtype=np.int64), np.ones((1, 2))), False
    for begin in range(0, n, every):
        end = min(begin + every, n)
        run.play(begin, end, curves, learned=learned)
        own = run.bids[begin:end]
        learner.hear(own, own >= draws.price[begin:end], draws.stratum[begin:end], begin)
        curves, learned = learner.curves(), True


def measure_first(
    seed: int,
    *,
    auctions: int = AUCTIONS,
    markets: Sequence[Market] = MARKETS,
    progress: Callable[[str], None] = lambda _: None,
) -> list[FirstRow]:
    """Every bidder on every market, without a budget and with some."""
    rows = []
    for market in markets:
        draws = draw_market(market, seed, auctions)
        free = best_of(market, draws)
        for share in (None, *BUDGET_SHARES):
            progress(f"first price, {market.name}" + ("" if share is None else f", budget {share:.3g}"))
            budget = None if share is None else int(free.spend.sum() * share)
            rows += Case(market, draws, share, budget, seed).rows()
    return rows


class Case:
    """One market with one budget, or none."""

    def __init__(
        self, market: Market, draws: Draws, share: float | None, budget: int | None, seed: int
    ) -> None:
        self._market, self._draws, self._share, self._budget, self._seed = market, draws, share, budget, seed
        self._best: Best = best_of(market, draws, budget)
        n = len(draws.value)
        zero = np.zeros(n, dtype=np.int32)
        cap = int(_CAP_OVER_MEDIAN * max(market.medians) * MEDIAN_NANOS)
        self._auctions = Auctions(
            draws.value, draws.value, draws.price, draws.click, even_plan(n), zero, 1, cap
        )

    def rows(self) -> list[FirstRow]:
        """All bidders."""
        known = true_curves(self._market)
        best = self._best_share() if self._budget is None else None
        plans = [
            ("landscape", LANDSCAPE, None, None),
            ("law known", LANDSCAPE, known, None),
            ("constant share", SHARE, None, None),
            *([("best constant share", SHARE, None, best)] if best is not None else []),
            ("truthful", TRUTHFUL, None, None),
        ]
        return [self._row(*plan) for plan in plans]

    def _row(self, name: str, kind: int, curves: Curves | None, share: float | None) -> FirstRow:
        n = len(self._draws.value)
        bidder = bidder_of(
            kind, self._budget, n, curves=curves, share=share, start=min(1.0, 2.0 / self._best.rate),
            explores=name == "landscape", seed=self._seed,
        )  # fmt: skip
        run = Run(bidder, self._auctions, self._draws.stratum)
        if name == "landscape":
            learn(run, self._draws, self._market)
        else:
            run.play(0, n, bidder.curves, learned=bidder.learned)
        return self._measured(name, run, bidder)

    def _measured(self, name: str, run: Run, bidder: Bidder) -> FirstRow:
        draws, best, done = self._draws, self._best, run.played()
        bids = run.bids.astype(np.float64)
        won = self._market.wins(bids, draws.stratum)
        ours = (draws.value / best.rate - bids) * won
        theirs = (draws.value / best.rate - best.bids) * (best.value / draws.value)
        held = held_out(bidder, len(bids), learned=name == "landscape")
        late = np.arange(len(bids)) >= len(bids) // 2
        free = late & ~held
        tenths = [part.sum() for part in np.array_split(ours, TENTHS)]
        wanted = [part.sum() for part in np.array_split(theirs, TENTHS)]
        return FirstRow(
            market=self._market.name,
            policy=name,
            budget=self._share,
            surplus=float(ours[free].sum() / theirs[free].sum()),
            whole=float(ours[late].sum() / theirs[late].sum()),
            value=float((draws.value * won).sum() / best.value.sum()),
            spend_nanos=done.spend_nanos,
            budget_nanos=self._budget or 0,
            overspend_nanos=done.overspend_nanos,
            wins=done.wins,
            bids=done.bids,
            held=int(held.sum()),
            explored=int((run.factors > 0).sum()),
            tenths=tuple(round(float(a / b), 4) for a, b in zip(tenths, wanted, strict=True)),
        )

    def _best_share(self) -> float:
        """The constant share of most expected surplus."""
        draws = self._draws

        def surplus(share: float) -> float:
            bids = share * draws.value
            return float(((draws.value - bids) * self._market.wins(bids, draws.stratum)).sum())

        return float(max(_SHARES, key=surplus))


def held_out(bidder: Bidder, auctions: int, *, learned: bool) -> NDArray[np.bool_]:
    """Which auctions are held out, by the draws of the loop; none where nothing is learned."""
    from bidder.core.exploration_kernels import A_HELD, arm_of

    out = np.zeros(auctions, dtype=np.bool_)
    if learned and bidder.law[0] > 0:
        seed = int(bidder.k[kernels.K_SEED]) << 32
        out[:] = [arm_of(seed + t, True, bidder.law) == A_HELD for t in range(auctions)]
        out[:EVERY] = False
    return out
