"""The latency histogram: quantiles within its promise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.runtime.latency import LatencyHistogram


def test_empty_histogram_has_quantiles_of_zero() -> None:
    assert LatencyHistogram().quantile_ms(0.99) == 0.0


@given(st.integers(1, 3_600 * 10**9))
def test_a_quantile_is_within_one_and_a_half_percent(duration_ns: int) -> None:
    histogram = LatencyHistogram()
    histogram.add(duration_ns)
    assert histogram.quantile_ms(0.5) == pytest.approx(duration_ns / 1e6, rel=0.015)


def test_quantiles_part_the_events() -> None:
    histogram = LatencyHistogram()
    histogram.add(1_000_000, 98)
    histogram.add(50_000_000, 2)
    assert histogram.count == 100
    assert histogram.quantile_ms(0.5) == pytest.approx(1.0, rel=0.015)
    assert histogram.quantile_ms(0.98) == pytest.approx(1.0, rel=0.015)
    assert histogram.quantile_ms(0.99) == pytest.approx(50.0, rel=0.015)
    assert histogram.quantile_ms(1.0) == pytest.approx(50.0, rel=0.015)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=50), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_quantiles_never_fall(durations_ns: list[int], one: float, two: float) -> None:
    histogram = LatencyHistogram()
    for duration_ns in durations_ns:
        histogram.add(duration_ns)
    low, high = sorted((one, two))
    assert histogram.quantile_ms(low) <= histogram.quantile_ms(high)


@pytest.mark.parametrize("duration_ns", [-5, 0, 1, 2**63, 10**30])
def test_absurd_durations_are_counted_at_the_ends(duration_ns: int) -> None:
    histogram = LatencyHistogram()
    histogram.add(duration_ns)
    assert histogram.count == 1
    assert histogram.quantile_ms(0.5) > 0.0


def test_a_quantile_of_what_came_since_leaves_out_what_was_before() -> None:
    histogram = LatencyHistogram()
    histogram.add(50_000_000, 1_000)
    before = histogram.counts()
    assert histogram.quantile_ms(0.5, before) == 0.0
    histogram.add(1_000_000, 10)
    assert histogram.quantile_ms(0.99, before) == pytest.approx(1.0, rel=0.015)
