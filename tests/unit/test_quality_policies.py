"""Policies: what all keep, what each does, and the loop that plays them."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from simulator.quality import policy_kernels as kernels
from simulator.quality.check import check_policy
from simulator.quality.fitting import Market, auctions_of, fitted, optimal_multiplier, win_constant
from simulator.quality.hindsight import knapsack
from simulator.quality.policies import NAMES, Auctions, Run, Tuned, even_plan, play, state_of
from simulator.quality.series import Series, synthetic_series
from tests.support.data import ROOT
from tests.support.naive_quality import naive_play

WORTH = 1_000_000_000


@pytest.fixture(scope="module")
def series() -> Series:
    return next(synthetic_series(3, 1, 8_000))


@pytest.fixture(scope="module")
def tuned(series: Series) -> dict[str, Tuned]:
    market = Market(series, WORTH, 1 / 8)
    return {name: fitted(name, market) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_every_policy_keeps_what_policies_keep(name: str, seed: int, tuned: dict[str, Tuned]) -> None:
    cap = 10_000_000
    state = state_of(name, tuned[name], 40 * cap, 400, 0.3, seed=seed, episode=100)
    check_policy(state, cap, seed)


@pytest.mark.parametrize("name", NAMES)
def test_where_a_run_is_stopped_changes_nothing(name: str, series: Series, tuned: dict[str, Tuned]) -> None:
    auctions = auctions_of(series, WORTH)
    n = len(series.price)
    whole, parts = (Run(state_of(name, tuned[name], 10**9, n, 0.1), auctions, 7) for _ in range(2))
    whole.play(0, n)
    for begin, end in ((0, 1), (1, 5), (5, 3_000), (3_000, n)):
        parts.play(begin, end)
    assert whole.played()[:-1] == parts.played()[:-1]
    assert np.array_equal(whole.state.s, parts.state.s)


def lot(value: list[float], price: list[int], **changes: object) -> Auctions:
    n = len(value)
    made = Auctions(
        np.array(value), np.array(value), np.array(price), np.ones(n, dtype=np.uint8), even_plan(n),
        np.zeros(n, dtype=np.int32), 1, 1_000,
    )  # fmt: skip
    return made._replace(**changes)  # type: ignore[arg-type]  # a test names fields with their own types


def linear(budget: int, auctions: int = 10) -> object:
    return state_of("lin", Tuned(a=1.0), budget, auctions)


def test_a_tie_goes_to_the_rival_and_a_nano_more_wins() -> None:
    done = play(linear(1_000), lot([10.0, 10.0, 10.9], [10, 9, 10]))
    assert (done.wins, done.spend_nanos, done.clicks, done.value) == (1, 9, 1, 10.0)


def test_at_first_price_the_shaded_bid_is_paid() -> None:
    done = play(linear(1_000), lot([100.0, 100.0], [79, 80], first_price=True, shade=0.8))
    assert (done.wins, done.spend_nanos) == (1, 80)


def test_the_guard_counts_what_is_under_way() -> None:
    """At once, a budget of 25 pays two bids of 10 that cost 1; while notices wait, it can promise two only."""
    values, prices = [10.0] * 6, [1] * 6
    assert play(linear(25), lot(values, prices)).wins == 6
    late = play(linear(25), lot(values, prices), delay=9)
    assert (late.wins, late.refused, late.most_reserved_nanos) == (2, 4, 20)


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_a_notice_is_heard_before_the_auction_that_many_later(delay: int) -> None:
    done = play(linear(19), lot([10.0] * 6, [1] * 6), delay)
    assert done.wins == {0: 6, 1: 3, 2: 2}[delay]


def test_the_plan_is_missed_by_the_largest_distance() -> None:
    done = play(linear(100), lot([100.0, 0.0, 0.0, 0.0], [60, 1, 1, 1]))
    assert done.deviation == pytest.approx(0.6)


def test_ortb_bids_its_formula() -> None:
    state = state_of("ortb", Tuned(a=0.5, b=300.0), 10**9, 10)
    out = quotes(state, [1_000.0])
    assert out == [int(math.sqrt(300.0 * 1_000.0 * 0.5 + 300.0**2) - 300.0)]


def quotes(state: object, values: list[float], over: float = 0.0) -> list[int]:
    out = np.zeros(len(values), dtype=np.int64)
    own = state.copy()
    kernels.quotes(
        state.number, np.array(values), over, 10**6, state.s, state.k, state.table, own.s, own.k, out
    )
    return out.tolist()


def test_draws_are_even_and_of_each_other_apart() -> None:
    draws = np.array([[kernels.uniform_of(seed, number) for number in range(4_000)] for seed in range(3)])
    assert all(stats.kstest(row, "uniform").pvalue > 0.01 for row in draws)
    assert np.abs(np.corrcoef(np.vstack([draws[:, 1:], draws[:, :-1]])) - np.eye(6)).max() < 0.06


def test_bslb_bids_more_where_money_is_left() -> None:
    state = state_of("bslb", Tuned(), 1_000, 10, 0.5)
    assert quotes(state, [100.0], over=0.75) == [200]
    state.k[kernels.K_SPENT] = 900
    assert quotes(state, [100.0], over=0.75) == [20]


def test_the_throttle_enters_a_share_of_auctions_and_bids_the_same_in_all() -> None:
    state = state_of("ptr", Tuned(), 10**12, 10_000, 0.5)
    done = play(state, lot([100.0] * 400, [1] * 400))
    assert 15 <= done.bids <= 70
    assert done.wins == done.bids


@pytest.mark.parametrize("name", ["pid", "waterlevel"])
def test_controllers_bid_higher_behind_the_plan_and_lower_ahead_of_it(name: str) -> None:
    def phi(price: int) -> float:
        state = state_of(name, Tuned(a=0.5), 300_000, 1_500, 0.5)
        play(state, lot([1_000.0] * 510, [price] * 510, over=np.arange(510) / 1_500))
        return float(state.s[kernels.F_PHI])

    assert phi(900) > 0 > phi(400)


def naive_rlb(chances: list[float], theta: float, turns: int, money: int) -> float:
    """Value by trying every highest price: the definition, without its shortcut."""
    if turns == 0:
        return 0.0
    lost = naive_rlb(chances, theta, turns - 1, money)
    best = 0.0
    for top in range(-1, min(len(chances) - 1, money)):
        won = sum(
            chances[price] * (theta + naive_rlb(chances, theta, turns - 1, money - price) - lost)
            for price in range(top + 2)
        )
        best = max(best, won)
    return lost + best


@pytest.mark.parametrize("money", range(7))
def test_the_value_function_is_what_trying_all_bids_gives(money: int) -> None:
    chances = [0.1, 0.3, 0.0, 0.4, 0.2]
    table = np.zeros((4, 7))
    kernels.rlb_table(np.array(chances), 0.25, table)
    assert table[3, money] == pytest.approx(naive_rlb(chances, 0.25, 3, money))


def test_rlb_bids_the_highest_price_that_is_worth_its_money() -> None:
    table = np.zeros((4, 50))
    chances = np.full(10, 0.1)
    kernels.rlb_table(chances, 0.25, table)
    tuned = Tuned(a=1.0, table=table, unit_nanos=100, cap_units=9)
    state = state_of("rlb", tuned, 1_000, 4, episode=4)
    for theta in (0.01, 0.1, 0.3, 5.0):
        best = max(d for d in range(10) if theta + table[3, 10 - d] - table[3, 10] >= 0)
        assert quotes(state, [theta]) == [min(best * 100 + 1, 1_000)]


def test_the_win_constant_is_found_again() -> None:
    rng = np.random.default_rng(5)
    u = rng.random(50_000)
    price = np.ceil(70 * u / (1 - u)).clip(max=2_000).astype(np.int64) * 10
    n = len(price)
    made = Series("x", np.ones(n), None, price, np.zeros(n, dtype=np.uint8), np.zeros(0, dtype=np.int32), 10)
    assert win_constant(made) == pytest.approx(700, rel=0.05)


def test_dual_reaches_the_optimum_of_a_stationary_market() -> None:
    one = next(synthetic_series(9, 1, 60_000))
    rng = np.random.default_rng(2)
    order = rng.permutation(len(one.price))
    one = one._replace(theta=one.theta[order], price=one.price[order])
    budget = one.cost_nanos // 8
    worth = int(16e9 * optimal_multiplier(one.theta * 1e9, one.price, budget))
    auctions = auctions_of(one, worth, truth=False)
    best = knapsack(auctions.value, auctions.price, budget)
    for factor in (0.25, 4.0):
        done = play(state_of("dual", Tuned(), budget, len(one.price), factor / best.rate), auctions)
        assert done.value >= 0.99 * best.value
        assert 0.999 * budget <= done.spend_nanos <= budget


@pytest.mark.parametrize("policy", ["dual", "bslb", "waterlevel"])
@pytest.mark.parametrize("delay", [0, 1, 30])
@pytest.mark.parametrize("seed", range(3))
def test_the_loop_is_its_slow_twin(policy: str, delay: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 1_300
    values, prices = rng.lognormal(6, 1, n), rng.integers(0, 900, n)
    over = np.sort(rng.random(n))
    budget, start = int(prices.sum() // (4 + seed)), 0.7
    tuned = Tuned(a=0.3, eta=0.01)
    state = state_of(policy, tuned, budget, n, start)
    done = play(state, lot(values.tolist(), prices.tolist(), over=over), delay)
    slow = naive_play(policy, values.tolist(), prices.tolist(), over.tolist(), budget, 1_000, delay, start)
    assert (done.spend_nanos, done.wins, done.bids, done.refused) == slow[1:5]
    assert done.value == pytest.approx(slow.value)
    assert done.deviation == pytest.approx(slow.deviation)
    last = kernels.F_MULTIPLIER if policy == "dual" else kernels.F_PHI
    assert float(state.s[last]) == pytest.approx(slow.last, rel=1e-9)
    assert done.wins > 50


def test_the_loop_is_its_slow_twin_without_compilation() -> None:
    """The same once more, interpreted."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", "slow_twin and not compilation"],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
