"""Plans against worlds whose truth is known: how often the interval has the true gain, what moving really brings.

Each world has curves of its own, an estimate of them that errs, and draws that err about the estimate as it errs
about the truth, as a bootstrap does.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from bidder.money import NANOS_PER_UNIT
from simulator.allocate.curves import MEASURES
from simulator.allocate.plan import Plan, Rules, plan
from simulator.allocate.terms import Shares, TermsFile, asked_of
from tests.support.response_curves import Market, curve_set

WORLDS = 80
EVERYTHING = Rules(sure=0.0, least_gain=-1.0)


class Told(NamedTuple):
    """Of one world: what was promised of the best split, and what is true."""

    true_gain: float
    apparent: float
    low: float
    high: float
    naive_low: float
    true_recommended: float


def world(tmp_path: Path, seed: int) -> Told:
    """Eight campaigns that are about alike, so that the choice between them is mostly of errors."""
    random = np.random.default_rng(seed)
    markets = [Market(f"c{number}", 100.0 * random.lognormal(0, 0.1), 60.0, 50.0) for number in range(8)]
    curves = curve_set(tmp_path / f"{seed}.parquet", markets, draws=40, noise=0.12, seed=seed)
    asked = asked_of(curves.names, curves.current, TermsFile(all=Shares(min_share=0.5, max_share=1.5)))
    found = plan(curves, asked, MEASURES["value"], rules=EVERYTHING)
    assert found.sureness is not None
    drawn = [
        sum(
            each.value(a) - each.value(b)
            for each, a, b in zip(responses, found.best, found.base, strict=True)
        )
        for responses in (curves.responses(MEASURES["value"], draw) for draw in range(1, curves.draws))
    ]
    sure = found.sureness
    return Told(
        _truth(markets, found, found.best), found.apparent, sure.low, sure.high,
        float(np.percentile(drawn, 2.5)), _truth(markets, found, found.recommended),
    )  # fmt: skip


def _truth(markets: list[Market], found: Plan, split: tuple[int, ...]) -> float:
    """True value that a split adds to the present one."""
    return sum(
        float(each.value(np.array([float(new)]))[0] - each.value(np.array([float(old)]))[0])
        for each, new, old in zip(markets, split, found.base, strict=True)
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Told]:
    folder = tmp_path_factory.mktemp("worlds")
    return [world(folder, seed) for seed in range(WORLDS)]


def test_the_interval_has_the_true_gain_about_as_often_as_it_says(told: list[Told]) -> None:
    held = np.mean([each.low <= each.true_gain <= each.high for each in told])
    assert 0.88 <= held <= 1.0


def test_the_point_estimates_gain_is_too_good_and_the_corrected_one_is_not(told: list[Told]) -> None:
    """The negative control: without the correction more is promised than comes, well beyond the error of the mean."""
    promised = np.array([each.apparent - each.true_gain for each in told])
    corrected = np.array([(each.low + each.high) / 2 - each.true_gain for each in told])
    error = promised.std() / np.sqrt(len(told))
    assert promised.mean() > 5 * error
    assert abs(corrected.mean()) < promised.mean() / 2


def test_draws_of_the_chosen_split_alone_promise_too_much(told: list[Told]) -> None:
    """The usual percentile interval: its lower end is above the truth far more often than one time in forty."""
    assert np.mean([each.naive_low > each.true_gain for each in told]) > 0.1
    assert np.mean([each.low > each.true_gain for each in told]) < 0.07


def test_moving_by_the_plan_pays_on_the_whole(told: list[Told]) -> None:
    gains = np.array([each.true_recommended for each in told]) / NANOS_PER_UNIT
    assert gains.mean() > 2 * gains.std() / np.sqrt(len(gains))
