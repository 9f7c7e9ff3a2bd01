"""Weighted sums of rare events: their scores against sums that were drawn, and at the ends of what is possible."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from simulator.estimate.doubly import Check
from simulator.estimate.report import check_line, checks_line
from simulator.estimate.tails import Sum


@pytest.mark.parametrize("level", [0.03, 0.1, 0.3])
def test_scores_are_those_of_sums_that_were_drawn(level: float) -> None:
    """A spread of the weights of e to the 1.5: the law is far from normal at these counts."""
    rng = np.random.default_rng(3)
    weight = np.exp(rng.normal(0.0, 1.5, 600))
    chance = np.clip(level * np.exp(rng.normal(0.0, 0.5, 600)), 0.0, 1.0)
    law = Sum(weight, chance)
    drawn = np.sort(np.concatenate([(rng.random((2_000, 600)) < chance) @ weight for _ in range(20)]))
    assert law.mean == pytest.approx(drawn.mean(), rel=0.02)
    assert law.deviation == pytest.approx(drawn.std(), rel=0.03)
    for share in (0.002, 0.02, 0.2, 0.5, 0.8, 0.98, 0.998):
        place = int(share * len(drawn))
        assert law.score(float(drawn[place])) == pytest.approx(norm.ppf(share), abs=0.13)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), n=st.integers(8, 60))
def test_scores_never_fall_as_the_sum_rises(seed: int, n: int) -> None:
    """Between two sums that are possible they stand still, to some digits."""
    rng = np.random.default_rng(seed)
    law = Sum(rng.uniform(0.5, 2.0, n), rng.uniform(0.2, 0.8, n))
    total = float(law.weight.sum())
    found = [law.score(total * part / 40) for part in range(41)]
    assert np.isfinite(found).all()
    assert (np.diff(found[1:-1]) > -2e-3).all()
    assert found[1] < -1.0 < 1.0 < found[39]


@pytest.mark.parametrize(
    ("heavy", "light"), [(5.0, 1.0), (5.0, 0.3), (10.0, 0.3), (5.0, 1e-4), (5.0, 1e-8), (5.0, 1e-170)]
)
@pytest.mark.parametrize("seen", [(0, 20), (2, 30), (9, 25)])
def test_weights_of_two_sizes_are_as_surprising_as_they_are(
    heavy: float, light: float, seen: tuple[int, int]
) -> None:
    """Against all pairs of counts; light events too small to tell apart in the sum count by their middle."""
    law = Sum(np.repeat([heavy, light], [200, 2_000]), np.repeat([0.02, 0.01], [200, 2_000]))
    heavies, lights = binom.pmf(np.arange(60), 200, 0.02), binom.pmf(np.arange(200), 2_000, 0.01)
    sums = np.add.outer(heavy * np.arange(60), light * np.arange(200))
    total, chances = heavy * seen[0] + light * seen[1], np.outer(heavies, lights)
    near = 1e-9 * heavy if light > 0.1 else 250 * light
    at, under = np.abs(sums - total) <= near, sums < total - near
    exact = chances[under].sum() + chances[at].sum() / 2
    assert law.score(total) == pytest.approx(norm.ppf(exact), abs=0.005)


def test_what_is_beyond_the_digits_keeps_its_side() -> None:
    """No heavy event of 200 at a tenth each is a chance of 7e-10, whatever came of light ones."""
    law = Sum(np.repeat([5.0, 1e-8], [200, 2_000]), np.repeat([0.1, 0.01], [200, 2_000]))
    assert law.score(20e-8) < -4.7


def test_none_and_all_are_the_middle_of_their_probability() -> None:
    law = Sum(np.array([1.0, 2.0]), np.array([0.1, 0.5]))
    assert norm.cdf(law.score(0.0)) == pytest.approx(0.45 / 2)
    assert norm.sf(law.score(3.0)) == pytest.approx(0.05 / 2)
    assert Sum(np.zeros(0), np.zeros(0)).score(0.0) == 0.0
    assert Sum(np.zeros(2), np.full(2, 0.5)).score(0.0) == 0.0


def test_an_event_that_could_not_be_is_far_out() -> None:
    law = Sum(np.array([1.0, 1.0]), np.array([0.0, 0.2]))
    assert law.score(1.9) > 4.0
    assert math.isfinite(law.score(2.0))


def check(deviations: float | None, effective: float = 10.0) -> Check:
    return Check(28_200_000_000, 1_000, effective, 28.2, 14.5, 8.0, deviations)


@pytest.mark.parametrize(
    ("deviations", "said"),
    [
        (-2.4, "in 1.6 % of cases: passes"),
        (3.1, "in 0.19 % of cases: do not rely on it"),
        (-6.0, "less than once in 10,000 times: do not rely on it"),
        (0.0, "in nearly every case: passes"),
    ],
)
def test_a_check_tells_a_chance_and_a_verdict(deviations: float, said: str) -> None:
    line = check_line(check(deviations))
    assert line.endswith(said)
    assert "deviations" not in line
    assert "standard error" not in line


def test_one_line_tells_the_worst_of_all_checks_and_how_many_were_judged() -> None:
    passing = checks_line([check(0.5), check(-2.4), check(None, 1.0)])
    assert passing.startswith("Explored bids: 2 of 3 budgets could be judged, all pass. Worst: ")
    assert passing.endswith("1.6 % of cases: passes")
    failing = checks_line([check(0.5), check(-4.0)])
    assert "2 of 2 budgets could be judged, 1 must not be relied on. Worst: " in failing
    none = checks_line([check(None, 0.5), check(None, 1.5)])
    assert none.startswith("Explored bids: 0 of 2 budgets could be judged. budget 28.20")
    assert none.endswith("as certain as 1.5 clicks: too few to tell")
