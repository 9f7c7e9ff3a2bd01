"""Densities of a run's bids in its history: the law that drew them, without the share, and none at a bound."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from bidder.core.call import Decision
from bidder.core.exploration_kernels import L_SHARE, L_SIGMA, LAW_COLUMNS, explored_bid
from bidder.core.settings import ShadingSettings
from simulator.estimate.doubly import sigma_of
from simulator.history.runs import density_of

LAW = ShadingSettings(explore_share=0.1, explore_sigma=0.3)


def drawn(normal: float, low: int = 1, high: int = 10**9) -> Decision:
    """A bid of 700,000 as the engine explores it."""
    law = np.zeros(LAW_COLUMNS)
    law[L_SHARE], law[L_SIGMA] = LAW.explore_share, LAW.explore_sigma
    bid, log_density = explored_bid(700_000, normal, low, high, law)
    return Decision(0, 0, bid_cpm_micros=bid, explore_factor=bid / 700_000, log_density=log_density)


@pytest.mark.parametrize("normal", [-2.5, -0.4, 0.0, 1.3, 3.0])
def test_the_density_is_that_of_the_law_given_that_it_was_explored(normal: float) -> None:
    assert density_of(drawn(normal), LAW) == pytest.approx(norm(0, 0.3).pdf(0.3 * normal), rel=1e-4)


def test_a_bid_at_a_bound_and_one_that_was_not_moved_have_none() -> None:
    for normal, low, high in ((1.0, 1, 750_000), (-1.0, 650_000, 10**9)):
        assert density_of(drawn(normal, low, high), LAW) is None
    assert density_of(Decision(0, 0, bid_cpm_micros=5, log_density=math.log1p(-0.1)), LAW) is None


def test_another_law_than_that_of_the_settings_is_not_believed() -> None:
    other = ShadingSettings(explore_share=0.1, explore_sigma=0.2)
    assert density_of(drawn(1.0), other) is None


def test_the_spread_is_found_again_from_densities() -> None:
    rng = np.random.default_rng(1)
    found = [density_of(drawn(normal), LAW) for normal in rng.normal(0.0, 1.0, 2_000)]
    assert sigma_of(np.array(found, dtype=np.float64)) == pytest.approx(0.3, rel=0.05)
