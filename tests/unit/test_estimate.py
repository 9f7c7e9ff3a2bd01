"""Estimates: the loops against slow twins, what is known kept, what is hidden drawn by its law, budgets kept."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.estimate import play_kernels as kernels
from simulator.estimate.controller import Controller, played, swept
from simulator.estimate.doubly import doubly_check, sigma_of
from simulator.estimate.estimate import Scenario, estimate, unsupported
from simulator.estimate.intervals import NOTHING, count_measure, difference_measure, ratio_measure
from simulator.estimate.lateness import LEAST_DELAYS, exponential, learned
from simulator.estimate.outcomes import clipped_weights, fit_line
from simulator.estimate.resampling import groups_of, times_of
from simulator.estimate.study import Options, Study
from simulator.history.auctions import ABOVE, AT_MOST, EXACT, UNKNOWN
from simulator.worlds.draw import world_of
from simulator.worlds.recipe import RECIPES
from simulator.worlds.world import World
from tests.support.naive_estimate import naive_play, naive_sweep, random_lot

AUCTIONS = 12_000


@pytest.fixture(scope="module")
def world() -> World:
    return world_of(RECIPES["second"], 5, AUCTIONS)


@pytest.fixture(scope="module")
def first() -> World:
    return world_of(RECIPES["first"], 5, AUCTIONS)


def ones(world: World) -> np.ndarray:
    return np.ones(world.log.opportunities, dtype=np.int64)


def test_intervals_of_a_difference_hold_it_as_often_as_they_say() -> None:
    """Of few draws: a normal interval of six holds it in 87 of 100."""
    rng = np.random.default_rng(6)
    held = []
    for _ in range(2_000):
        point, draws = rng.normal(-3.0, 2.0), rng.normal(0.0, 2.0, 6)
        found = difference_measure(point, draws)
        assert found.low is not None
        assert found.high is not None
        assert found.high - point == pytest.approx(point - found.low)
        held.append(found.low <= -3.0 <= found.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)
    assert difference_measure(1.0, np.zeros(0)).low == 1.0


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 120),
    budget=st.integers(1, 40_000_000),
    delay=st.integers(0, 4),
    tick=st.integers(1, 5),
)
def test_a_budget_is_played_as_by_the_slow_twin(
    seed: int, n: int, budget: int, delay: int, tick: int
) -> None:
    lot = random_lot(seed, n)
    rows = np.sort(np.random.default_rng(seed).integers(0, n, n))
    controller = Controller(0.5, 900_000, shade=0.7, delay=delay, tick=tick)
    bids = np.zeros(n, dtype=np.int64)
    found = played(lot, rows, budget, controller, bids)
    naive = naive_play(lot, rows.tolist(), budget, controller)
    assert bids.tolist() == naive.bids
    assert (found.spend_nanos, found.impressions, found.drawn_nanos) == (naive.spend, naive.wins, naive.drawn)
    assert found.clicks == pytest.approx(naive.clicks)
    assert found.spend_nanos <= budget


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 200), multiplier=st.floats(0.01, 3.0))
def test_a_multiplier_is_swept_as_by_the_slow_twin(seed: int, n: int, multiplier: float) -> None:
    lot, controller = random_lot(seed, n), Controller(0.5, 900_000, shade=0.7)
    found = swept(lot, np.arange(n), np.array([multiplier]), controller)[0]
    naive = naive_sweep(lot, multiplier, controller)
    assert (found.spend_nanos, found.impressions, found.drawn_nanos) == (naive.spend, naive.wins, naive.drawn)
    assert found.clicks == pytest.approx(naive.clicks)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 200))
def test_wins_and_clicks_rise_with_the_multiplier(seed: int, n: int) -> None:
    found = swept(
        random_lot(seed, n), np.arange(n), np.geomspace(0.01, 3.0, 12), Controller(0.5, 10**9, shade=0.7)
    )
    for low, high in pairwise(found):
        assert low.impressions <= high.impressions
        assert low.clicks <= high.clicks + 1e-9


def test_the_logged_policy_gives_the_log_again_to_the_nano(world: World) -> None:
    log = world.log
    study = Study(log, world.controller)
    lot = study.lot(np.ones(log.opportunities), 3)
    found = study.outcomes(lot, ones(world), (Scenario(world.budget_nanos), Scenario(None, 1.0)))
    for one in found:
        assert one.spend_nanos == log.paid_nanos.sum()
        assert one.impressions == log.won.sum()
        assert one.clicks == (log.clicked == 1).sum()
        assert one.conversions == (log.converted == 1).sum()
        assert one.value_nanos == log.value_nanos.sum()
        assert one.extrapolated == 0.0
    assert study.bids(lot, world.budget_nanos)[1].tolist() == log.bid_nanos.tolist()


def test_at_first_price_too(first: World) -> None:
    log, study = first.log, Study(first.log, first.controller)
    lot = study.lot(np.ones(log.opportunities), 3)
    one = study.outcomes(lot, ones(first), (Scenario(first.budget_nanos),))[0]
    assert (one.spend_nanos, one.impressions) == (log.paid_nanos.sum(), log.won.sum())
    assert one.extrapolated == 0.0


@pytest.mark.parametrize("name", ["second", "first"])
def test_what_the_log_says_of_a_price_is_kept(name: str) -> None:
    log = world_of(RECIPES[name], 6, AUCTIONS).log
    unknown = np.arange(log.opportunities) % 7 == 0
    log = log._replace(
        price_kind=np.where(unknown, UNKNOWN, log.price_kind).astype(np.uint8),
        price_nanos=np.where(unknown, 0, log.price_nanos),
    )
    price = Study(log, Controller(0.5, 10**9)).lot(np.ones(log.opportunities), 1).price
    kind, bound = log.price_kind, log.price_nanos
    assert (price >= 1).all()
    assert (price[kind == EXACT] == bound[kind == EXACT]).all()
    assert (price[kind == ABOVE] > bound[kind == ABOVE]).all()
    assert (price[kind == AT_MOST] <= bound[kind == AT_MOST]).all()


def test_hidden_prices_follow_their_law() -> None:
    """Of one stratum with known curve, drawn given that they are above a bid."""
    n = 40_000
    grid = np.array([100, 200, 400, 800], dtype=np.int64)
    cumulated = np.array([[0.1, 0.3, 0.6, 0.8]])
    kind, bound = np.full(n, ABOVE, dtype=np.uint8), np.full(n, 200, dtype=np.int64)
    price = np.empty(n, dtype=np.int64)
    kernels.impute(kind, bound, np.ones(n), np.zeros(n, dtype=np.int64), grid, cumulated, 7, price)
    assert price.min() > 200
    assert (price == kernels.NEVER).mean() == pytest.approx(0.2 / 0.7, abs=0.01)
    assert (price <= 400).mean() == pytest.approx(0.3 / 0.7, abs=0.01)
    # Between two points the law is even.
    assert (price <= 300).mean() == pytest.approx(0.15 / 0.7, abs=0.01)


def test_drawn_prices_are_those_of_the_world(world: World) -> None:
    """Within what was bid: how many lost auctions half as high a bid again would win."""
    log = world.log
    price = Study(log, world.controller).lot(np.ones(log.opportunities), 1).price
    lost = log.price_kind == ABOVE
    more = 1.5 * log.bid_nanos
    truth = (world.hidden.price <= more)[lost].sum()
    assert (price <= more)[lost].sum() == pytest.approx(truth, rel=0.06)


def test_one_seed_gives_one_answer_however_many_workers(world: World) -> None:
    study = Study(world.log, world.controller._replace(seed=9))
    asked = (Scenario(world.budget_nanos), Scenario(2 * world.budget_nanos))
    found = [estimate(study, asked, draws=10, seed=4, workers=workers, shifts=()) for workers in (1, 2)]
    assert found[0] == found[1]
    other = estimate(study, asked, draws=10, seed=5, shifts=())
    assert other.table[1] != found[0].table[1]


def test_more_than_was_ever_bid_is_refused_and_the_quantile_named(world: World) -> None:
    study = Study(world.log, world.controller)
    found = estimate(
        study, (Scenario(world.budget_nanos), Scenario(8 * world.budget_nanos), Scenario(None, 2.5)), draws=10
    )
    assert [point.refused is None for point in found.points] == [True, False, False]
    assert "99% quantile of its bids must be at most 2 times that of the logged bids" in str(
        found.points[1].refused
    )
    assert found.points[1].clicks == NOTHING
    lot = study.lot(np.ones(world.log.opportunities), 1)
    assert unsupported(study, lot, Scenario(None, 1.9)) is None


def test_a_filter_bids_for_its_auctions_alone(world: World) -> None:
    only = world.log.stratum < 10
    whole, part = (Study(world.log, world.controller, only=mask) for mask in (None, only))
    lot = part.lot(np.ones(world.log.opportunities), 1)
    asked = (Scenario(world.budget_nanos),)
    turns, bids = part.bids(lot, world.budget_nanos)
    assert only[turns[bids > 0]].all()
    # The same money on fewer auctions buys dearer ones.
    assert (
        part.outcomes(lot, ones(world), asked)[0].clicks < whole.outcomes(lot, ones(world), asked)[0].clicks
    )


def test_dearer_prices_bring_less(world: World) -> None:
    study = Study(world.log, world.controller)
    point = estimate(study, (Scenario(world.budget_nanos),), draws=10, shifts=(0.8, 1.0, 1.25)).points[0]
    clicks = [shift.clicks for shift in point.shifts]
    assert clicks == sorted(clicks, reverse=True)
    assert clicks[0] > 1.05 * clicks[2]


def test_a_correction_finds_the_law_that_labels_follow() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (60_000, 2))
    p = 0.03 * np.exp(0.5 * x[:, 0])
    seen = (rng.random(len(x)) < p * np.exp(-0.3 - 0.2 * x[:, 0] + 0.25 * x[:, 1])).astype(float)
    line = fit_line(x, p, seen, np.ones(len(x)))
    assert line.beta == pytest.approx([-0.3, -0.2, 0.25], abs=0.08)
    assert (p * line.factor(x)).sum() == pytest.approx(seen.sum(), rel=0.02)


def test_tenths_follow_a_law_that_is_no_line() -> None:
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, (200_000, 1))
    bend = np.where(x[:, 0] > 0.5, 2.0, 1.0)
    seen = (rng.random(len(x)) < 0.02 * bend).astype(float)
    line = fit_line(x, np.full(len(x), 0.02), seen, np.ones(len(x)))
    plain = fit_line(x, np.full(len(x), 0.02), seen, np.ones(len(x)), tenths=False)
    off, off_plain = (np.abs(one.factor(x) / bend - 1).mean() for one in (line, plain))
    assert off < 0.6 * off_plain


def test_no_clicks_at_all_leave_a_finite_correction() -> None:
    line = fit_line(np.zeros((50, 2)), np.full(50, 0.01), np.zeros(50), np.ones(50))
    assert np.isfinite(line.factor(np.zeros((1, 2)))).all()
    assert 0.0 < line.factor(np.zeros((1, 2)))[0] < 1.0


def test_weights_are_bounded_and_keep_their_sum() -> None:
    weight = clipped_weights(np.array([0.001, 0.5, 0.5, 0.9] * 5), np.ones(20))
    assert weight.sum() == pytest.approx(20)
    assert weight.max() < 8


def test_an_interval_of_nothing_is_not_nothing() -> None:
    """A bootstrap of no clicks is certain, a Poisson count of none is not."""
    measure = count_measure(0.0, np.zeros(50), 0.0)
    assert measure.low == 0.0
    assert measure.high is not None
    assert 0.9 < measure.high < 5.0
    assert ratio_measure(1.0, 0.0, np.ones(10), np.zeros(10)) == NOTHING


def test_intervals_hold_poisson_counts_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = []
    for _ in range(600):
        truth = 60.0
        seen = rng.poisson(truth)
        measure = count_measure(float(seen), rng.poisson(seen, 40).astype(float), float(seen))
        assert measure.low is not None
        assert measure.high is not None
        held.append(measure.low <= truth <= measure.high)
    assert 0.92 < np.mean(held) < 0.98


def test_delays_are_learned_although_slow_conversions_of_young_clicks_are_missing() -> None:
    rng = np.random.default_rng(6)
    hour = 3600 * 10**9
    elapsed = (rng.random(40_000) * 24 * hour).astype(np.int64)
    delay = (rng.exponential(6 * hour, 40_000)).astype(np.int64)
    seen = delay <= elapsed
    found = learned(delay[seen], elapsed[seen], 24 * hour)
    assert found is not None
    law = -np.expm1(-np.arange(1, 23) / 6.0) / -math.expm1(-4.0)
    shares = np.interp(np.arange(1, 23) * hour, found.delays_ns, found.shares)
    assert shares == pytest.approx(law, abs=0.03)
    naive = np.searchsorted(np.sort(delay[seen]), 6 * hour) / seen.sum()
    assert naive > law[5] + 0.1
    assert learned(delay[: LEAST_DELAYS - 1], delay[: LEAST_DELAYS - 1], hour) is None


def test_late_conversions_are_counted_for_those_that_will_come() -> None:
    found = []
    for seed in range(6):
        world = world_of(RECIPES["delayed"], seed, 20_000)
        late = exponential(world.known_until_ns, world.delay_ns)
        log = world.log
        expected = (world.hidden.conversion * (log.clicked == 1)).sum()
        asked = (Scenario(None, 1.0),)
        for lateness in (late, None):
            study = Study(log, world.controller, lateness)
            one = study.outcomes(study.lot(np.ones(log.opportunities), 1), ones(world), asked)[0]
            found.append(one.conversions / expected)
    counted, plain = np.mean(found[::2]), np.mean(found[1::2])
    assert plain < 0.85
    assert abs(counted - 1.0) < 0.12


def test_explored_bids_agree_with_the_replay(world: World) -> None:
    assert sigma_of(world.log.density) == pytest.approx(0.3, abs=0.03)
    study = Study(world.log, world.controller._replace(seed=8))
    lot = study.lot(np.ones(world.log.opportunities), 1)
    for share in (0.5, 1.0, 2.0):
        check = doubly_check(study, lot, int(world.budget_nanos * share))
        assert check is not None
        assert check.deviations is None or abs(check.deviations) < 3.5
        assert check.error < check.replayed * 2
    assert (
        doubly_check(
            Study(world.log._replace(density=np.full(AUCTIONS, np.nan)), world.controller), lot, 10**9
        )
        is None
    )


def test_explored_bids_find_predictions_that_are_wrong(world: World) -> None:
    """An estimator that believes predictions three times too high is found out by the outcomes of drawn bids."""
    big = world_of(RECIPES["second"], 7, 60_000)
    log = big.log._replace(click=np.minimum(3.0 * big.log.click, 0.99), worth_nanos=big.log.worth_nanos // 3)
    study = Study(log, big.controller._replace(seed=8), options=Options(corrected=False))
    check = doubly_check(study, study.lot(np.ones(60_000), 1), big.budget_nanos)
    assert check is not None
    assert check.deviations is not None
    assert check.deviations < -4.0


def test_a_log_of_every_second_user_says_half_of_everything(world: World) -> None:
    """Why rows have no weight: a sample by users, wins and losses alike, says its share of the whole."""
    user = world.log.user
    half = np.where(user == 0, np.arange(AUCTIONS) % 2 == 0, user % 2 == 0)
    asked = (Scenario(world.budget_nanos // 2), Scenario(world.budget_nanos))
    halved = tuple(Scenario(int(one.budget_nanos * half.mean())) for one in asked)
    found = []
    for log, scenarios in ((world.log, asked), (world.log.take(np.flatnonzero(half)), halved)):
        study = Study(log, world.controller)
        times = np.ones(log.opportunities, dtype=np.int64)
        found.append(study.outcomes(study.lot(times.astype(np.float64), 1), times, scenarios))
    for whole, part in zip(*found, strict=True):
        assert part.impressions / whole.impressions == pytest.approx(half.mean(), rel=0.08)
        assert part.spend_nanos / whole.spend_nanos == pytest.approx(half.mean(), rel=0.02)


def test_users_are_drawn_whole_and_blocks_where_there_are_none(world: World) -> None:
    log = world.log
    groups = groups_of(log)
    known = log.user > 0
    assert len(np.unique(groups[known])) == len(np.unique(log.user[known]))
    assert len(np.unique(groups[~known])) == (~known).sum()
    times = times_of(groups, 3, 1)
    assert all(len(set(times[log.user == user])) == 1 for user in np.unique(log.user[known])[:50])
    assert times_of(groups, 3, 0).tolist() == [1] * AUCTIONS
    blocks = groups_of(log._replace(user=np.zeros(AUCTIONS, dtype=np.uint64)))
    assert 90 <= len(np.unique(blocks)) <= 96


def test_a_log_without_losses_or_prices_is_played_as_it_is(world: World) -> None:
    """Nothing is known of what was lost, so nothing is drawn for less than an infinite price."""
    log = world.log.take(np.flatnonzero(world.log.won))
    study = Study(log, world.controller)
    lot = study.lot(np.ones(log.opportunities), 1)
    assert (lot.price == log.price_nanos).all()
    blank = world.log._replace(
        price_kind=np.full(AUCTIONS, UNKNOWN, dtype=np.uint8), won=np.zeros(AUCTIONS, dtype=np.bool_)
    )
    price = Study(blank, world.controller).lot(np.ones(AUCTIONS), 1).price
    assert (price == kernels.NEVER).all()
