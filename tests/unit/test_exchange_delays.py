"""Delays after an auction."""

from itertools import pairwise

import pytest

from simulator.exchange.delays import Delays, FixedDelay, LogNormalDelay


def test_median_draw_is_the_median():
    assert LogNormalDelay(0.2, 0.6, 10.0).draw_ns(0.5) == 200_000_000


def test_delay_grows_with_the_draw():
    draws = [LogNormalDelay(1.0, 0.8, 60.0).draw_ns(step / 100) for step in range(1, 100)]
    assert all(before < after for before, after in pairwise(draws))


@pytest.mark.parametrize("draw", [2.0**-54, 1 - 2.0**-53])
def test_no_delay_is_below_zero_or_above_its_cap(draw):
    for delay in Delays():
        assert 0 <= delay.draw_ns(draw) <= delay.longest_ns


def test_longest_chain_is_the_sum_of_the_caps():
    assert Delays(*(FixedDelay(n) for n in (1, 10, 100, 1_000))).longest_ns == 1_111
