"""Amounts from text, to text, and the one float that is let in."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.money import (
    MAX_NANOS,
    MICROS_PER_UNIT,
    NANOS_PER_UNIT,
    cpm_micros_from_float,
    format_decimal,
    parse_decimal,
)


@given(st.integers(-MAX_NANOS, MAX_NANOS), st.sampled_from([NANOS_PER_UNIT, MICROS_PER_UNIT]))
def test_what_is_written_is_read_back(amount: int, scale: int) -> None:
    assert parse_decimal(format_decimal(amount, scale), scale) == amount


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("-0", 0),
        ("12.5", 12_500_000_000),
        ("0.000000001", 1),
        ("1.000000000000", 10**9),
        ("007", 7 * 10**9),
        ("1.", 10**9),
        ("-3.25", -3_250_000_000),
        ("9000000000", MAX_NANOS),
    ],
)
def test_decimal_text_is_exact(text: str, nanos: int) -> None:
    assert parse_decimal(text, NANOS_PER_UNIT) == nanos


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "+1",
        "1e3",
        "1,000",
        ".5",
        "--1",
        "1.2.3",
        "0x10",
        "nan",
        "inf",
        "\u0661",
        "1_0",
        "9" * 14,
        "1\n",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a decimal number"):
        parse_decimal(text, NANOS_PER_UNIT)


@pytest.mark.parametrize("text", ["0.0000000001", "1.0000000001"])
def test_finer_than_a_nano_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most 9 decimals"):
        parse_decimal(text, NANOS_PER_UNIT)


def test_more_than_the_largest_amount_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at most 9000000000"):
        parse_decimal("9000000000.000000001", NANOS_PER_UNIT)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1, "0.000000001"), (-1, "-0.000000001"), (1_500_000_000, "1.5"), (10**10, "10")],
)
def test_text_has_no_trailing_zeros(amount: int, text: str) -> None:
    assert format_decimal(amount, NANOS_PER_UNIT) == text


@given(st.integers(0, 10**12))
def test_a_price_of_six_decimals_comes_in_exactly(micros: int) -> None:
    assert cpm_micros_from_float(float(format_decimal(micros, MICROS_PER_UNIT))) == micros


@given(st.floats(0.0, 1e6))
def test_a_floor_never_comes_in_lower_nor_a_micro_higher(cpm: float) -> None:
    micros = cpm_micros_from_float(cpm)
    assert micros / MICROS_PER_UNIT >= cpm
    assert micros - Fraction(cpm) * MICROS_PER_UNIT < 1 + Fraction(1, 1000)


@pytest.mark.parametrize("cpm", [-0.01, 1e6 + 1, float("inf"), float("-inf"), float("nan")])
def test_what_is_no_price_is_refused(cpm: float) -> None:
    with pytest.raises(ValueError, match="must be a price from 0 to 1000000 CPM"):
        cpm_micros_from_float(cpm)
