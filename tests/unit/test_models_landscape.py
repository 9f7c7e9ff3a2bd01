"""The landscape estimators against truth, closed forms and SciPy; what no row can tell is said, not guessed."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import isotonic_regression

from models.errors import TableError
from models.landscape.counts import empty_counts
from models.landscape.curves import (
    landscape_of,
    parents_of,
)
from models.landscape.estimate import bin_masses, survival_of
from models.landscape.grid import MAX_POINTS, check_grid, price_grid, with_jumps
from models.landscape.kernels import isotonic_share, product_limit, self_consistent
from models.landscape.measure import kl_divergence
from models.landscape.observations import EXACT
from models.landscape.strata import Strata, Stratum
from tests.support.landscape_lookups import mean_price_by_numpy, win_probability_by_numpy
from tests.support.landscapes import (
    ALONE,
    fit_alone,
    log_normal,
    naive_product_limit,
    seen,
)

GRID = price_grid(5e4, 2e7)
WHOLE = np.arange(1, 31)


def error(landscape, upto):
    """Largest distance from the truth of `log_normal` at points below `upto`."""
    points = landscape.grid[landscape.grid < upto].astype(float)
    truth = stats.norm.cdf((np.log(points) - 13.8) / 0.6)
    return np.abs(landscape.win_probability(points) - truth).max()


def reach(bid):
    return np.quantile(bid, 0.95)


def test_product_limit_is_that_of_scipy_and_of_the_slow_twin():
    random = np.random.default_rng(2)
    z, bid = random.integers(1, 31, 400), random.integers(1, 31, 400)
    found = fit_alone(seen(z, bid), WHOLE)
    times, died = np.minimum(z, bid), z <= bid
    theirs = stats.ecdf(stats.CensoredData.right_censored(times, ~died)).sf.evaluate(WHOLE)
    np.testing.assert_allclose(found.survival[0], theirs, rtol=0, atol=1e-12)
    for at in (1, 7, 30):
        assert found.survival[0][at - 1] == pytest.approx(naive_product_limit(times, died, at), abs=1e-12)


def test_a_bid_that_equals_the_price_wins():
    found = fit_alone(seen([10, 10, 20], [10, 10, 10]), WHOLE)
    assert found.win_probability(10)[0] == pytest.approx(2 / 3)
    assert found.win_probability(9)[0] == 0.0


def test_wins_and_losses_alone_give_the_pooled_share_of_wins_of_scipy():
    random = np.random.default_rng(3)
    z, bid = random.integers(1, 31, 500), random.integers(1, 31, 500)
    found = fit_alone(seen(z, bid, first_price=True), WHOLE)
    bids, inverse, counts = np.unique(bid, return_inverse=True, return_counts=True)
    share = np.bincount(inverse, weights=(z <= bid)) / counts
    theirs = isotonic_regression(share, weights=counts.astype(float)).x
    np.testing.assert_allclose(found.win_probability(bids), theirs, atol=1e-12)


def test_self_consistency_alone_finds_the_pooled_share_of_wins():
    """Two ways to one maximum: the mixed estimator, given only wins and losses, must end where pooling does."""
    random = np.random.default_rng(4)
    z, bid = random.integers(1, 11, 3000), random.integers(1, 11, 3000)
    counts = empty_counts(np.arange(1, 11), 1)
    counts.update(seen(z, bid, first_price=True), np.zeros(3000, dtype=np.int64))
    pooled, mass = np.empty(11), np.full(11, 1 / 11)
    isotonic_share(counts.below[0], counts.above[0], pooled)
    self_consistent(np.zeros(11), counts.above[0], counts.below[0], mass, 200_000, 1e-13)
    np.testing.assert_allclose(np.cumsum(mass)[:-1], np.cumsum(pooled)[:-1], atol=1e-4)


def test_mixed_estimate_maximises_the_likelihood():
    """No small move of mass from one bin to another makes what was seen more likely."""
    random = np.random.default_rng(5)
    z, bid = random.integers(1, 11, 2000), random.integers(1, 11, 2000)
    counts = empty_counts(np.arange(1, 11), 1)
    counts.update(seen(z, bid, first_price=random.random(2000) < 0.5), np.zeros(2000, dtype=np.int64))
    exact, above, below = counts.exact[0], counts.above[0], counts.below[0]
    mass = np.full(11, 1 / 11)
    self_consistent(exact, above, below, mass, 100_000, 1e-13)

    def likelihood(p):
        left = 1.0 - np.cumsum(p)[:-1]
        parts = ((exact, p), (above, left), (below, 1.0 - left))
        return sum(seen_here[seen_here > 0] @ np.log(of[seen_here > 0]) for seen_here, of in parts)

    best = likelihood(mass)
    for source in range(10):
        for target in range(10):
            moved = mass.copy()
            step = 0.01 * mass[source]
            moved[source] -= step
            moved[target] += step
            assert likelihood(moved) <= best + 1e-7


@pytest.mark.parametrize(("first_price", "allowed"), [(False, (0.08, 0.03, 0.01)), (True, (0.2, 0.09, 0.04))])
def test_error_falls_as_rows_grow(first_price, allowed):
    for rows, most in zip((1000, 10_000, 100_000), allowed, strict=True):
        z, bid = log_normal(rows)
        assert error(fit_alone(seen(z, bid, first_price=first_price), GRID), reach(bid)) < most


def test_winners_alone_look_cheap_whatever_their_number():
    """The negative control: without lost bids the estimate is wrong, and more rows do not mend it."""
    for rows in (10_000, 100_000):
        z, bid = log_normal(rows)
        won = z <= bid
        found = fit_alone(seen(z[won], bid[won]), GRID)
        assert error(found, reach(bid)) > 0.25
        assert found.win_probability(1e6)[0] > fit_alone(seen(z, bid), GRID).win_probability(1e6)[0] + 0.2


def test_first_price_with_the_price_told_is_as_good_as_second_price():
    z, bid = log_normal(20_000)
    assert error(fit_alone(seen(z, bid, first_price=True, told=True), GRID), 1e8) < 0.015


def test_mixed_auctions_beat_first_price_alone():
    z, bid = log_normal(20_000)
    first = np.arange(20_000) % 2 == 0
    alone = error(fit_alone(seen(z[first], bid[first], first_price=True), GRID), reach(bid))
    assert error(fit_alone(seen(z, bid, first_price=first), GRID), reach(bid)) < alone


def test_mean_price_of_wins_is_that_of_the_truth():
    z, bid = log_normal(200_000)
    found = fit_alone(seen(z, bid), GRID)
    for b in (5e5, 1e6, 2e6):
        assert found.mean_price(b)[0] == pytest.approx(z[z <= b].mean(), rel=0.01)


def test_all_lost_promises_nothing():
    found = fit_alone(seen([50.0] * 20, [10.0] * 20), WHOLE)
    np.testing.assert_array_equal(found.win_probability([5, 10, 30, 1e9]), 0.0)
    np.testing.assert_array_equal(found.mean_price([5.0, 10.0]), [5.0, 10.0])


def test_all_won_at_known_prices_is_the_plain_share():
    z = np.array([3, 3, 7, 20])
    found = fit_alone(seen(z, [30] * 4), WHOLE)
    np.testing.assert_allclose(found.win_probability([2, 3, 7, 19, 20]), [0, 0.5, 0.75, 0.75, 1])
    assert found.mean_price(7)[0] == pytest.approx(13 / 3)


def test_all_won_at_hidden_prices_is_won_from_the_lowest_bid_on():
    found = fit_alone(seen([1, 1, 1], [5, 8, 9], first_price=True), WHOLE)
    np.testing.assert_allclose(found.win_probability([5, 8, 30]), 1.0)


@pytest.mark.parametrize(("z", "expected"), [(4, 1.0), (9, 0.0)])
def test_one_row(z, expected):
    assert fit_alone(seen([z], [6]), WHOLE).win_probability(6)[0] == expected


def test_above_the_highest_bid_the_curve_is_level():
    found = fit_alone(seen([3, 20, 20], [10, 10, 10]), WHOLE)
    np.testing.assert_allclose(found.win_probability([10, 29, 30, 1e12]), 1 / 3)


def test_no_bid_and_no_number_win_nothing():
    found = fit_alone(seen([3, 4], [10, 10]), WHOLE)
    np.testing.assert_array_equal(found.win_probability([0, -1, np.nan]), 0.0)
    np.testing.assert_array_equal(found.mean_price([0, -1, np.nan]), 0.0)


def test_between_points_it_is_linear():
    found = fit_alone(seen([10, 20], [30, 30]), [10, 20, 30])
    np.testing.assert_allclose(found.win_probability([5, 10, 15, 20]), [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(found.mean_price([5, 10, 15, 20]), [5, 10, 12.5, 15])


def test_bids_between_points_meet_a_linear_truth():
    """Prices and bids spread evenly; a coarse grid for wins and losses, the usual steps where prices show."""
    random = np.random.default_rng(6)
    z, bid = random.uniform(0, 4e6, 400_000), random.uniform(0, 4e6, 400_000)
    coarse, usual = np.arange(1, 5) * 1_000_000, price_grid(5e4, 4e6)
    for grid, first_price, most in ((coarse, True, 0.006), (usual, False, 0.006)):
        found = fit_alone(seen(z, bid, first_price=first_price), grid)
        inside = grid[grid < 3.5e6]
        np.testing.assert_allclose(found.win_probability(inside), inside / 4e6, atol=most)


def test_lookup_by_kernel_and_by_numpy_agree_bit_for_bit():
    z, bid = log_normal(5000)
    found = fit_alone(seen(z, bid), GRID)
    bids = np.concatenate([np.random.default_rng(7).uniform(-1e5, 3e7, 5000), GRID, GRID + 1, GRID - 1])
    places = np.zeros(len(bids), dtype=np.int64)
    assert np.array_equal(found.win_probability(bids, places), win_probability_by_numpy(found, bids, places))
    assert np.array_equal(found.mean_price(bids, places), mean_price_by_numpy(found, bids, places))


@pytest.mark.parametrize("stratum", [-1, 1])
def test_stratum_that_is_not_there_is_refused(stratum):
    with pytest.raises(IndexError, match="stratum must be 0 to 0"):
        fit_alone(seen([3], [10]), WHOLE).win_probability(5, stratum)


FAMILY = Strata(("placement",), (), (Stratum((), 0, 0), Stratum(("a",), 0, 0), Stratum(("b",), 0, 0)))


def family(rows, shrinkage, half_life_ns=None):
    """Two placements: a wins at 5, b at 20; `rows` each."""
    counts = empty_counts(WHOLE, 3, half_life_ns)
    z = [5] * rows[0] + [20] * rows[1]
    counts.update(seen(z, [30] * len(z)), np.array([1] * rows[0] + [2] * rows[1]))
    return landscape_of(counts, FAMILY, shrinkage)


def test_few_rows_follow_the_parent_and_many_themselves():
    few, many = family((2, 998), 100.0), family((5000, 5000), 100.0)
    assert few.win_probability(5, 1)[0] == pytest.approx((2 + 100 * 0.002) / 102)
    assert many.win_probability(5, 1)[0] > 0.98
    assert family((2, 998), 0.0).win_probability(5, 1)[0] == 1.0


def test_a_stratum_without_rows_is_its_parent():
    found = family((0, 40), 10.0)
    np.testing.assert_allclose(found.survival[1], found.survival[2])


def test_shrinkage_is_the_mean_of_a_beta_stacy_posterior():
    """By hand: hazard = (parent's mass * m + deaths) / (parent's mass beyond * m + at risk)."""
    counts = empty_counts(np.arange(1, 5), 2)
    parents = np.array([0, 0])
    counts.update(seen([1, 2, 3, 4, 4, 4], [4, 4, 4, 4, 2, 2]), np.array([0, 0, 0, 0, 1, 1]))
    counts.update(seen([2, 4], [4, 2]), np.array([1, 1]))
    m = 6.0
    whole = counts.with_children(parents)
    prior = np.empty(5)
    product_limit(whole.exact[0], whole.above[0], prior)
    left, expected = 1.0, []
    for k in range(4):
        risk = m * prior[k:].sum() + whole.exact[1][k:].sum() + whole.above[1][k:].sum()
        left *= 1.0 - (m * prior[k] + whole.exact[1][k]) / risk
        expected.append(left)
    found = survival_of(bin_masses(counts, parents, m))[1]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_all_is_the_mixture_of_its_strata_where_bids_follow_prices():
    """Bids and prices rise together from a to b: together they look dear, stratum by stratum they do not."""
    random = np.random.default_rng(8)
    rows = 40_000
    group = random.integers(0, 2, rows)
    z = np.exp(13.0 + group + random.normal(0, 0.4, rows))
    bid = np.exp(12.6 + 1.2 * group + random.normal(0, 0.4, rows))
    counts = empty_counts(GRID, 3)
    counts.update(seen(z, bid), group + 1)
    found = landscape_of(counts, FAMILY)
    b = 6e5
    together = fit_alone(seen(z, bid), GRID).win_probability(b)[0]
    truth = (z <= b).mean()
    assert abs(found.win_probability(b, 0)[0] - truth) < 0.02
    assert abs(together - truth) > 0.05


def test_old_rows_fade_by_half_in_a_half_life():
    counts = empty_counts(WHOLE, 1, half_life_ns=100)
    counts.update(seen([5] * 8, [30] * 8, at_ns=[0] * 8), np.zeros(8, dtype=np.int64))
    counts.update(seen([20] * 2, [30] * 2, at_ns=[200] * 2), np.zeros(2, dtype=np.int64))
    assert counts.total()[0] == pytest.approx(8 / 4 + 2)
    assert landscape_of(counts, ALONE).win_probability(5)[0] == pytest.approx(0.5)
    counts.decay(300)
    assert counts.total()[0] == pytest.approx(2.0)
    counts.decay(250)
    assert counts.at_ns == 300
    assert counts.total()[0] == pytest.approx(2.0)


def test_a_market_that_drifts_is_followed_only_by_rows_that_fade():
    z, bid = log_normal(40_000)
    z = z * np.linspace(0.5, 2.0, len(z))
    at = np.arange(len(z))
    z_now = z[-4000:]
    truth = (z_now <= 1e6).mean()
    errors = {}
    for half_life_ns in (None, 2000):
        counts = empty_counts(GRID, 1, half_life_ns)
        counts.update(seen(z, bid, at_ns=at), np.zeros(len(z), dtype=np.int64))
        errors[half_life_ns] = abs(landscape_of(counts, ALONE).win_probability(1e6)[0] - truth)
    assert errors[2000] < 0.04 < 0.15 < errors[None]


def test_weights_count_as_that_many_rows():
    z, bid = np.array([5, 20, 9, 30]), np.array([10, 10, 25, 12])
    times = np.array([3, 1, 2, 4])
    weighted = fit_alone(seen(z, bid, weight=times), WHOLE)
    repeated = fit_alone(seen(np.repeat(z, times), np.repeat(bid, times)), WHOLE)
    np.testing.assert_allclose(weighted.survival, repeated.survival, atol=1e-15)


def test_update_refuses_a_stratum_that_is_not_there():
    with pytest.raises(TableError, match="strata of 1 rows must be 0 to 0"):
        empty_counts(WHOLE, 1).update(seen([3], [10]), np.array([1]))


@pytest.mark.parametrize(
    ("low", "high", "points"), [(1, 2, 96), (5e4, 5e7, 64), (1, 1e9, 512), (100, 100, 64)]
)
def test_grid_ascends_strictly_whatever_its_ends(low, high, points):
    found = check_grid(price_grid(low, high, points))
    assert len(found) == points
    assert found[0] == low
    assert found[-1] >= high


@pytest.mark.parametrize(
    ("low", "high", "points", "message"),
    [
        (0, 5, 96, "begin above 0"),
        (5, 4, 96, "not end before"),
        (1, float("nan"), 96, "not end before"),
        (1, 5, 63, "64 to 512, was 63"),
        (1, 5, MAX_POINTS + 1, "64 to 512"),
    ],
)
def test_grid_out_of_range_is_refused(low, high, points, message):
    with pytest.raises(TableError, match=message):
        price_grid(low, high, points)


def test_prices_that_repeat_become_points_and_others_do_not():
    grid = price_grid(100, 10_000, 64)
    prices = np.concatenate(
        [np.full(300, 777.0), np.full(200, 5000.0), np.arange(1000, 1500), [10_000.0] * 99]
    )
    found = with_jumps(grid, prices)
    assert {776, 777, 4999, 5000} <= set(found.tolist())
    assert not set(range(1001, 1499)) & set(found.tolist()) - set(grid.tolist())
    assert (found[0], found[-1]) == (grid[0], grid[-1])
    assert len(found) == 64
    assert with_jumps(grid, np.empty(0)).tolist() == grid.tolist()


def test_a_jump_at_a_round_price_is_a_step_where_it_is_a_point():
    random = np.random.default_rng(15)
    z = np.where(random.random(20_000) < 0.4, 1e6, np.exp(random.normal(13.8, 0.6, 20_000)))
    bid = np.exp(random.normal(13.9, 0.7, 20_000))
    observed = seen(z, bid)
    grid = with_jumps(GRID, observed.cpm_micros[observed.kind == EXACT])
    truth = [(z <= 1e6).mean(), (z < 0.99e6).mean()]
    np.testing.assert_allclose(fit_alone(observed, grid).win_probability([1e6, 0.99e6]), truth, atol=0.02)
    even = fit_alone(observed, GRID).win_probability([1e6, 0.99e6])
    assert np.abs(even - truth).max() > 0.05  # the control: on the plain grid the jump is smeared


@pytest.mark.parametrize("half_life_ns", [0, -5])
def test_half_life_must_be_above_nothing(half_life_ns):
    with pytest.raises(TableError, match="half-life must be above 0"):
        empty_counts(WHOLE, 1, half_life_ns)


@pytest.mark.parametrize("shrinkage", [-1.0, float("nan"), float("inf")])
def test_shrinkage_must_be_a_number_of_bids(shrinkage):
    with pytest.raises(TableError, match="shrinkage must be 0 or more"):
        landscape_of(empty_counts(WHOLE, 1), ALONE, shrinkage)


def test_kl_is_zero_for_equals_and_that_of_scipy_otherwise():
    q, p = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.25, 0.25])
    assert kl_divergence(q, q) == 0.0
    assert kl_divergence(q, p, 0.0) == pytest.approx(stats.entropy(q, p))


def test_parents_of_strata():
    assert parents_of(FAMILY).tolist() == [0, 0, 0]
