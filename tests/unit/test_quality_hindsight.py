"""Hindsight: optima beside a linear programme, and beside trying all subsets."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from simulator.quality.hindsight import (
    budget_and_return,
    by_return,
    by_slots,
    chosen_by,
    knapsack,
    slots_knapsack,
    with_delay,
)
from simulator.quality.hindsight_kernels import waited


def drawn(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    value = rng.lognormal(0, 1, n) * (rng.random(n) > 0.1)
    return value, rng.integers(0, 50, n)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0, 2.0])
def test_the_knapsack_is_the_linear_programme(seed: int, share: float) -> None:
    value, price = drawn(seed)
    budget = share * price.sum()
    found = linprog(-value, A_ub=[price], b_ub=[budget], bounds=(0, 1))
    best = knapsack(value, price, budget)
    assert best.value == pytest.approx(-found.fun, rel=1e-9, abs=1e-12)
    assert best.rate == pytest.approx(-found.ineqlin.marginals[0], rel=1e-6, abs=1e-9)
    assert best.spend <= budget


@pytest.mark.parametrize("seed", range(5))
def test_whole_auctions_fall_short_by_one_value_at_most(seed: int) -> None:
    value, price = drawn(seed, 12)
    budget = price.sum() // 3
    whole = max(
        float(value @ picked) for picked in product((0, 1), repeat=12) if price @ np.array(picked) <= budget
    )
    best = knapsack(value, price, budget).value
    assert whole <= best + 1e-9 <= whole + value.max() + 2e-9


def test_of_equals_the_earlier_is_bought_first() -> None:
    assert by_return(np.array([1.0, 2.0, 0.0, 1.0, 3.0]), np.array([1, 2, 1, 1, 0])).tolist() == [4, 0, 1, 3]


def test_slots_of_their_own_budget_are_never_better() -> None:
    value, price = drawn(3, 400)
    slot = (np.arange(400) * 8 // 400).astype(np.int32)
    whole = knapsack(value, price, 900).value
    assert 0 < by_slots(value, price, 900, slot, 8) <= whole
    assert by_slots(value, price, 900, np.zeros(400, dtype=np.int32), 1) == pytest.approx(whole)
    parts = [knapsack(value[slot == s], price[slot == s], 900 / 8).value for s in range(8)]
    assert by_slots(value, price, 900, slot, 8) == pytest.approx(sum(parts))


def test_a_guess_is_judged_by_the_truth() -> None:
    truth, price = drawn(4, 300)
    best = knapsack(truth, price, 600).value
    assert chosen_by(truth, truth, price, 600) == pytest.approx(best)
    assert chosen_by(truth[::-1].copy(), truth, price, 600) < best
    assert chosen_by(3 * truth, truth, price, 600) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("budget", [0.0, 3.0, 15.0, 60.0, 500.0])
def test_several_slots_are_the_linear_programme(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    value = rng.lognormal(0, 0.6, (15, 3)).cumsum(axis=1)
    value[rng.random((15, 3)) < 0.2] *= 0.4
    price = np.sort(rng.integers(0, 12, (15, 3)), axis=1).astype(float)
    rows = np.kron(np.eye(15), np.ones(3))
    found = linprog(
        -value.ravel(), A_ub=np.vstack([price.ravel(), rows]), b_ub=[budget, *[1.0] * 15], bounds=(0, None)
    )
    assert slots_knapsack(value, price, budget).value == pytest.approx(-found.fun, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("target", [0.0, 0.8, 1.5, 4.0])
@pytest.mark.parametrize("budget", [20.0, 200.0, 1e6])
def test_budget_and_return_are_the_linear_programme(seed: int, target: float, budget: float) -> None:
    rng = np.random.default_rng(seed)
    value, score = rng.lognormal(2.5, 1, 60), rng.lognormal(0, 1, 60)
    price = rng.integers(1, 50, 60).astype(float)
    slack = value - target * price
    found = linprog(-score, A_ub=np.vstack([price, -slack]), b_ub=[budget, 0.0], bounds=(0, 1))
    best = budget_and_return(score, value, price, budget, target)
    assert best.value == pytest.approx(-found.fun, rel=1e-6)


def test_who_waits_for_notices_gets_less_the_longer_it_takes() -> None:
    rng = np.random.default_rng(3)
    value, price = rng.lognormal(14.0, 1.0, 5_000), rng.lognormal(13.0, 0.6, 5_000).astype(np.int64)
    budget = int(price.sum()) // 16
    best = knapsack(value, price, budget)
    found = [with_delay(value, price, budget, 10**9, best, delay) for delay in (0, 20, 100, 400)]
    assert best.value >= found[0] > 0.99 * best.value
    assert found == sorted(found, reverse=True)


def test_a_least_bid_while_money_is_short_saves_it_for_more() -> None:
    """Of a budget of 11, bids of 1 that lose hold all when one comes that is worth 10 and costs 1."""
    value, price = np.array([1.0] * 10 + [10.0]), np.array([2] * 10 + [1], dtype=np.int64)
    without, with_least = (
        waited(value, price, 100, 11, 1.0, least, 0.0, np.zeros((21, 2), dtype=np.int64)) for least in (0, 2)
    )
    assert (without, with_least) == (0.0, 10.0)
