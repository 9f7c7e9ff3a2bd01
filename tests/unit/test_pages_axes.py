"""Axes with round ends and short ticks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.pages.axes import round_axis, short


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"), (0.25, "0.25"), (950.0, "950"), (999.9, "1k"), (1_500.0, "1.5k"), (12_000.0, "12k"),
        (2_000_000.0, "2M"), (3.0e9, "3G"), (-2_500.0, "-2.5k"), (0.000123, "0.000123"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_without_an_exponent(value: float, said: str) -> None:
    assert short(value) == said


def test_an_axis_ends_at_round_numbers() -> None:
    axis = round_axis("spend", 0.0, 13_047.0)
    assert (axis.low, axis.high) == (0.0, 15_000.0)
    assert [label for _, label in axis.ticks] == ["0", "5k", "10k", "15k"]


@given(st.floats(-1e6, 1e9), st.floats(1e-3, 1e9))
def test_all_that_is_shown_lies_on_the_axis(low: float, width: float) -> None:
    axis = round_axis("x", low, low + width)
    assert axis.low <= low + 1e-6 * width
    assert axis.high >= low + width * (1 - 1e-6)
    assert 3 <= len(axis.ticks) <= 8


@given(st.floats(1e-6, 1e12))
def test_no_two_ticks_read_alike(high: float) -> None:
    labels = [label for _, label in round_axis("x", 0.0, high).ticks]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) <= 11
    assert not any("e" in label for label in labels)


def test_one_number_has_an_axis_too() -> None:
    assert round_axis("x", 5.0, 5.0).low < 5.0 < round_axis("x", 5.0, 5.0).high
    assert round_axis("x", 0.0, 0.0).low < round_axis("x", 0.0, 0.0).high
