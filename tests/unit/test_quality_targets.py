"""Targets of cost and return: policies, markets with known truth, and what is judged of them."""

import math

import numpy as np
import pytest

from bidder.core import target_kernels as core
from simulator.quality.check import check_policy
from simulator.quality.goals import goals
from simulator.quality.hindsight import budget_and_return
from simulator.quality.runs import Table
from simulator.quality.target_policies import HEADROOM, NAMES, play_target, target_state
from simulator.quality.targets import CASES, Case, Market, TargetRow, bid_law, measure_targets

AUCTIONS = 20_000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_every_policy_keeps_what_policies_keep(name: str, seed: int) -> None:
    cap = 10_000_000
    check_policy(target_state(name, 40 * cap, 400, ripe_auctions=5.0), cap, seed)


@pytest.mark.parametrize("binds", ["target", "both", "budget"])
def test_the_optimum_of_a_market_is_the_coupled_dual(binds: str) -> None:
    market = Market(Case("tCPA", "second", binds, 0), 3, AUCTIONS)
    offers = market.offers
    best = budget_and_return(market.worth, market.worth, offers.price.astype(float), market.budget_nanos, 1.0)
    assert market.best == pytest.approx(best.value, rel=2e-3)


def test_the_best_bid_at_first_price_is_better_than_one_in_proportion() -> None:
    market = Market(Case("tCPA", "first", "target", 0), 3, AUCTIONS)
    assert 0.85 < market.linear / market.best < 0.99


def test_the_law_of_first_price_bids_is_the_best_of_all_bids() -> None:
    from scipy.special import ndtr

    from simulator.quality.targets import _MEAN_CHANCE, _SIGMA_PRICE, _WORTH_NANOS

    scale = _MEAN_CHANCE * _WORTH_NANOS
    for value in (0.2, 1.0, 5.0):
        bids = np.linspace(0.001, value, 20_000) * scale
        gain = (value * scale - bids) * ndtr(np.log(bids / scale) / _SIGMA_PRICE)
        assert np.interp(value * scale, *bid_law()) == pytest.approx(bids[gain.argmax()], rel=1e-2)


@pytest.mark.parametrize("delay", [0, 300])
@pytest.mark.parametrize("price", ["second", "first"])
def test_a_target_that_binds_is_kept_where_the_budget_alone_would_miss_it(price: str, delay: int) -> None:
    market = Market(Case("tCPA", price, "target", delay), 5, 40_000)
    found = {}
    for name in ("target", "budget"):
        state = target_state(name, market.budget_nanos, 40_000, ripe_auctions=market.case.lag)
        done = play_target(state, market.offers, delay)
        found[name] = done.spend_nanos / done.observed - 1.0
        if name == "target":
            assert done.worth / market.linear > 0.94
    assert found["target"] < 0.02
    assert found["budget"] > 0.4


def test_where_the_budget_binds_a_target_costs_nothing() -> None:
    market = Market(Case("tCPA", "second", "budget", 0), 5, 40_000)
    states = {name: target_state(name, market.budget_nanos, 40_000) for name in ("target", "budget")}
    found = {name: play_target(state, market.offers).worth for name, state in states.items()}
    assert found["target"] == pytest.approx(found["budget"], rel=2e-3)


@pytest.mark.parametrize("wrong", [0.7, 1.5])
def test_outcomes_put_wrong_predictions_right(wrong: float) -> None:
    market = Market(Case("tCPA", "second", "target", 100, wrong=wrong), 5, 40_000)
    state = target_state("target", market.budget_nanos, 40_000, ripe_auctions=market.case.lag)
    done = play_target(state, market.offers, 100)
    assert abs(done.spend_nanos / done.observed - 1.0) < 0.02
    row = state.s[-core.T_COLUMNS - 7 : -7]
    assert row[core.T_RATIO] == pytest.approx(1 / wrong, rel=0.15)


def test_the_same_outcomes_known_later_move_it_later() -> None:
    ends = []
    for lag in (100, 5_000):
        market = Market(Case("tCPA", "second", "target", 0, lag=lag, wrong=1.5), 5, AUCTIONS)
        state = target_state("target", market.budget_nanos, AUCTIONS, ripe_auctions=lag)
        play_target(state, market.offers)
        ends.append(float(state.s[-core.T_COLUMNS - 7 : -7][core.T_OUTCOMES]))
    assert ends[0] > 1.1 * ends[1] > 0.0


def row(**changes: object) -> TargetRow:
    fields = {
        "case": "c", "policy": "target", "binds": "target", "price": "second", "wrong": 1.0, "shift": 1.0, "delay": 0,
        "violation": 0.0, "worst_violation": 0.01, "expected": 0.0, "ratio": 0.99, "worst_ratio": 0.98,
        "worst_linear": 0.98, "score": 0.99, "spent": 1.0, "outcomes": 10.0, "overspend_nanos": 0,
    }  # fmt: skip
    return TargetRow(**(fields | changes))


def test_goals_of_targets_are_judged() -> None:
    good = [row(), row(policy="pid", score=0.9), row(price="first", worst_ratio=0.5)]
    found = {
        goal.name: goal for goal in goals(Table([], []), [], [], targets=good) if goal.name.startswith("tCPA")
    }
    assert len(found) == 4
    assert all(goal.holds and goal.cases for goal in found.values())
    poor = [
        row(worst_violation=0.03),
        row(worst_ratio=0.94),
        row(price="first", worst_linear=0.94),
        row(policy="pid", score=1.0),
    ]
    assert not any(
        goal.holds for goal in goals(Table([], []), [], [], targets=poor) if goal.name.startswith("tCPA")
    )


def test_overspend_of_targets_is_judged_with_all_other() -> None:
    goal = next(
        one
        for one in goals(Table([], []), [], [], targets=[row(overspend_nanos=1)])
        if one.name.startswith("overspend")
    )
    assert not goal.holds


def test_rows_are_the_same_each_time_and_have_a_name_of_their_own() -> None:
    cases = [CASES[0], CASES[-1]]
    first, second = (measure_targets(3, cases=cases, seeds=1, auctions=5_000) for _ in range(2))
    assert first == second
    assert len({(one.case, one.policy) for one in first}) == 2 * len(NAMES)
    assert len({case.name for case in CASES}) == len(CASES)


# -- steps --------------------------------------------------------------------------------------------------------


def target(start: float = 0.4) -> np.ndarray:
    made = np.zeros(core.T_COLUMNS)
    core.begin_target(made, start)
    return made


def test_without_history_a_bid_is_worth_and_its_room() -> None:
    assert core.most_of(target(0.4), 100.0, 100.0) == pytest.approx(140.0)


def test_dear_wins_take_room_and_cheap_ones_give_it() -> None:
    for paid, less in ((250.0, True), (10.0, False)):
        made = target()
        core.opportunity_seen(made, True)
        core.bid_made(made, 100.0, 300.0)
        core.solve_target(made, 0.002, 0.02, 200.0, 0.0)
        before = made[core.T_ROOM] * math.exp(-made[core.T_CHARGED])
        core.bid_ended(made, 100.0, 300.0, 1.0, paid)
        assert (made[core.T_ROOM] < before) == less
        assert made[core.T_HELD] == made[core.T_HELD_WORTH] == made[core.T_CHARGED] == 0.0


def test_a_loss_leaves_room_as_it_was_before_its_bid() -> None:
    made = target()
    core.opportunity_seen(made, True)
    core.bid_made(made, 100.0, 100.0)
    core.solve_target(made, 0.002, 0.02, 200.0, 0.0)
    before = made[core.T_ROOM]
    core.bid_made(made, 50.0, 60.0)
    assert made[core.T_ROOM] != before
    core.bid_ended(made, 50.0, 60.0, 0.5, -1.0)
    assert made[core.T_ROOM] == pytest.approx(before, rel=1e-12)


def test_room_stays_within_its_bounds() -> None:
    for paid in (0.0, 1e9):
        made = target()
        for _ in range(2_000):
            core.opportunity_seen(made, True)
            core.bid_made(made, 100.0, 100.0)
            core.bid_ended(made, 100.0, 100.0, 1.0, paid)
            core.solve_target(made, 0.1, 0.1, 0.0, 0.5)
        assert core.MIN_ROOM <= made[core.T_ROOM] <= core.MAX_ROOM


def test_where_the_budget_binds_room_does_not_wind_up() -> None:
    bound, free = target(), target()
    for made, binds in ((bound, True), (free, False)):
        for _ in range(3_000):
            core.opportunity_seen(made, binds)
            core.bid_made(made, 100.0, 110.0)
            core.bid_ended(made, 100.0, 110.0, 1.0, 60.0)
            core.solve_target(made, 0.002, 0.0, 0.0, 0.0)
    assert math.log(free[core.T_ROOM] / 0.4) < 0.2 * math.log(bound[core.T_ROOM] / 0.4)


def test_observed_over_predicted_is_drawn_to_one_by_its_prior() -> None:
    made = target()
    made[[core.T_BOUGHT, core.T_BOUGHT_COUNT, core.T_RIPE, core.T_OBSERVED]] = 400.0, 400.0, 400.0, 200.0
    assert core.ratio_of(made, 200.0) == pytest.approx((200 + 200) / (400 + 200))
    assert core.ratio_of(made, 1e-9) == pytest.approx(0.5)
    assert core.ratio_of(made, 0.0) == 1.0
    made[core.T_OBSERVED] = 1e9
    assert core.ratio_of(made, 200.0) == core.MAX_RATIO


def test_worth_whose_outcomes_cannot_be_known_yet_is_not_held_against_them() -> None:
    made = target()
    made[core.T_BOUGHT] = 100.0
    core.ripen(made, 0.25)
    assert made[core.T_RIPE] == pytest.approx(25.0)
    core.ripen(made, 1.0)
    assert made[core.T_RIPE] == pytest.approx(100.0)


def test_headroom_is_what_value_has_above_worth() -> None:
    market = Market(CASES[0], 1, 1_000)
    assert market.offers.value == pytest.approx(HEADROOM * market.worth)
