"""The protocol of the published click tables: episodes of 1,000 auctions, each with a budget of its own.

What an episode does not spend is lost. Our policy plays it twice: in episodes, where only its multiplier goes on from
one to the next, and once with all the money for all auctions, as a campaign has it. `hindsight` is what the optimum
of expected clicks of each episode would have got in real clicks: more than that is luck.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from simulator.quality.fitting import Market, auctions_of, candidates, fitted, optimal_multiplier, rlb
from simulator.quality.hindsight import by_return, knapsack
from simulator.quality.hindsight_kernels import fill
from simulator.quality.policies import EPISODE, Auctions, Run, Tuned, play, state_of
from simulator.quality.policy_kernels import F_MULTIPLIER
from simulator.quality.published import CLICKS, SOURCES, same_rows
from simulator.quality.series import Series

SHARES = (1 / 32, 1 / 16, 1 / 8)
POLICIES = ("mcpc", "lin", "ortb", "rlb", "dual")
_ETA = 0.01
"""Step of ours where an episode has its own budget: a thousand auctions leave no time for a small one."""


class EpisodeRow(msgspec.Struct, frozen=True):
    """Clicks of one campaign at one budget share.

    clicks: by policy; `dual_whole` is ours with all the money at once; `hindsight` of each episode's optimum.
    value: expected clicks by policy. published: by strategy, None where there is none. rows: how they compare.
    """

    campaign: str
    share: float
    auctions: int
    clicks: dict[str, int]
    value: dict[str, float]
    published: dict[str, int] | None
    source: str | None
    rows: str


def measure_episodes(
    series: Iterable[Series],
    *,
    shares: Sequence[float] = SHARES,
    progress: Callable[[str], None] = lambda _: None,
) -> list[EpisodeRow]:
    """The table for the later part of each series; parameters are of the earlier part."""
    rows = []
    for one in series:
        earlier, later = one.split()
        for share in shares:
            progress(f"{one.name}, episodes, budget {share:.3g}")
            rows.append(_row(one.name, earlier, later, share))
    return rows


def _row(name: str, earlier: Series, later: Series, share: float) -> EpisodeRow:
    budget = int(earlier.cost_nanos / len(earlier.price) * EPISODE * share)
    total = later.cost_nanos * share
    worth = max(1, int(16e9 * optimal_multiplier(later.theta * 1e9, later.price, int(total))))
    market = Market(earlier, worth, share)
    auctions, training = in_episodes(later, worth), in_episodes(earlier, worth)
    clicks, value = {}, {}
    for policy in POLICIES:
        tuned = tuned_in_episodes(policy, market, training, budget)
        clicks[policy], value[policy] = play_episodes(policy, tuned, auctions, budget, _first(market))
    n = len(later.price)
    whole = auctions_of(later, worth, truth=False)
    done = play(state_of("dual", Tuned(), budget * n // EPISODE, n, _first(market)), whole)
    clicks["dual_whole"], value["dual_whole"] = done.clicks, done.value
    clicks["hindsight"], value["hindsight"] = _hindsight(auctions, budget)
    campaign = name.partition(" ")[0]
    found = CLICKS.get(share, {}).get(campaign)
    return EpisodeRow(
        name,
        share,
        n,
        clicks,
        {policy: amount / worth for policy, amount in value.items()},
        None if found is None else found._asdict(),
        SOURCES.get(share) if found is not None else None,
        same_rows(name) if found is not None else "not published",
    )


def _first(market: Market) -> float:
    """Where ours begins: the multiplier that would have been best on the earlier part."""
    return min(1.0, optimal_multiplier(market.value, market.series.price, market.budget_nanos))


def in_episodes(series: Series, worth_nanos: int) -> Auctions:
    """A series whose plan begins anew with each episode."""
    auctions = auctions_of(series, worth_nanos, truth=False)
    return auctions._replace(over=np.arange(len(series.price)) % EPISODE / EPISODE)


def play_episodes(
    policy: str, tuned: Tuned, auctions: Auctions, budget_nanos: int, start: float
) -> tuple[int, float]:
    """Clicks and value of a policy that gets a budget for every `EPISODE` auctions."""
    clicks, value, n = 0, 0.0, len(auctions.price)
    for begin in range(0, n, EPISODE):
        end = min(begin + EPISODE, n)
        state = state_of(policy, tuned, budget_nanos * (end - begin) // EPISODE, end - begin, start)
        run = Run(state, auctions, 0)
        run.play(begin, end)
        done = run.played()
        clicks += done.clicks
        value += done.value
        start = float(state.s[F_MULTIPLIER])
    return clicks, value


def tuned_in_episodes(policy: str, market: Market, training: Auctions, budget_nanos: int) -> Tuned:
    """Parameters by the protocol itself on the earlier part."""
    if policy == "dual":
        return Tuned(eta=_ETA)
    if policy == "mcpc":
        return fitted(policy, market)
    if policy == "rlb":
        return rlb(market.series, market.worth_nanos, market.share)
    return max(
        candidates(policy, market), key=lambda one: play_episodes(policy, one, training, budget_nanos, 1.0)[1]
    )


def _hindsight(auctions: Auctions, budget_nanos: int) -> tuple[int, float]:
    """Real clicks of the auctions that each episode's optimum buys whole, and its expected value."""
    clicks, value, n = 0, 0.0, len(auctions.price)
    for begin in range(0, n, EPISODE):
        rows = slice(begin, min(begin + EPISODE, n))
        part, price = auctions.value[rows], auctions.price[rows]
        budget = budget_nanos * len(price) // EPISODE
        order = by_return(part, price)
        clicks += int(auctions.click[rows][order[: fill(order, part, price, float(budget))[2]]].sum())
        value += knapsack(part, price, budget).value
    return clicks, value
