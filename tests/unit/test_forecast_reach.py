"""Users among impressions, on populations of known law."""

import numpy as np
import pytest

from bidder.errors import InputError
from simulator.forecast.reach import fit_population


def seen(rate: "np.ndarray", rng: "np.random.Generator") -> "np.ndarray":
    return np.repeat(np.arange(1, len(rate) + 1), rng.poisson(rate)).astype(np.uint64)


@pytest.mark.parametrize(("shape", "mean"), [(0.5, 3.0), (2.0, 1.5), (0.3, 10.0)])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0, 3.0])
def test_reach_frequency_and_cap_are_those_of_another_time_of_the_same_users(
    shape: float, mean: float, share: float
) -> None:
    rng = np.random.default_rng(11)
    rate = rng.gamma(shape, mean / shape, 20_000)
    population = fit_population(seen(rate, rng))
    times = rng.poisson(rate * share)
    found = population.reach(float(times.sum()))
    assert found.users == pytest.approx(float((times > 0).sum()), rel=0.03)
    assert found.frequency == pytest.approx(times.sum() / (times > 0).sum(), rel=0.03)
    capped = population.reach(float(times.sum()), cap=3)
    assert capped.lost == pytest.approx(1 - np.minimum(times, 3).sum() / times.sum(), abs=0.02)


def test_counting_users_of_the_past_alone_would_be_wrong() -> None:
    rng = np.random.default_rng(3)
    rate = rng.gamma(0.5, 6.0, 20_000)
    past = seen(rate, rng)
    times = rng.poisson(rate * 3)
    by_share = len(np.unique(past)) * 3
    assert by_share > 2 * (times > 0).sum()


def test_unknown_users_are_like_the_known() -> None:
    rng = np.random.default_rng(5)
    users = seen(rng.gamma(1.0, 2.0, 20_000), rng)
    whole = fit_population(users)
    hidden = users.copy()
    hidden[np.isin(users, np.unique(users)[::2])] = 0
    assert fit_population(hidden).users == pytest.approx(whole.users, rel=0.05)


def test_users_who_came_once_make_no_end_of_a_population() -> None:
    population = fit_population(np.arange(1, 1_001, dtype=np.uint64))
    found = population.reach(500.0)
    assert 450 < found.users <= 500


def test_what_cannot_be_told_is_an_error() -> None:
    with pytest.raises(InputError, match="needs 100 known users, the history has 3"):
        fit_population(np.array([1, 2, 3, 0], dtype=np.uint64))
    population = fit_population(np.repeat(np.arange(1, 1_001), 3).astype(np.uint64))
    with pytest.raises(InputError, match="impressions must be from 0"):
        population.reach(1e9)
    assert population.reach(0.0).users == 0
