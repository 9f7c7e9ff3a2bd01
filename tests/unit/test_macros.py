"""What exchanges put in place of macros (OpenRTB 2.6 section 4.4)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.openrtb import macros
from bidder.openrtb.macros import Price, PriceOutcome, is_unexpanded, parse_auction_price


@pytest.mark.parametrize(
    ("text", "cpm_micros"),
    [
        ("1", 1_000_000),
        ("2.5", 2_500_000),
        ("2.50", 2_500_000),
        ("0.000001", 1),
        ("1.234567", 1_234_567),
        ("007.5", 7_500_000),
        ("5.", 5_000_000),
        (".5", 500_000),
        (" 1.5 ", 1_500_000),
        ("+1.5", 1_500_000),
        ("0.1", 100_000),
        ("8.7", 8_700_000),
        ("1.1", 1_100_000),
        ("1.0E-4", 100),
        ("1e-06", 1),
        ("1.5e2", 150_000_000),
        ("9000000000000", 9_000_000_000_000_000_000),
    ],
)
def test_a_price_of_up_to_six_decimals_is_exact(text: str, cpm_micros: int) -> None:
    assert parse_auction_price(text) == Price(PriceOutcome.POSITIVE, cpm_micros)


@pytest.mark.parametrize(
    ("text", "cpm_micros"),
    [
        ("1.2345670", 1_234_567),
        ("1.2345671", 1_234_568),
        ("1.2345679", 1_234_568),
        ("0.0000001", 1),
        ("1e-7", 1),
        ("1e-99", 1),
        ("2.4999999999999999", 2_500_000),
    ],
)
def test_a_finer_price_is_rounded_up(text: str, cpm_micros: int) -> None:
    assert parse_auction_price(text) == Price(PriceOutcome.POSITIVE, cpm_micros)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", PriceOutcome.EMPTY),
        ("  ", PriceOutcome.EMPTY),
        ("0", PriceOutcome.ZERO),
        ("0.000", PriceOutcome.ZERO),
        ("-0", PriceOutcome.ZERO),
        ("0e9", PriceOutcome.ZERO),
        ("-1", PriceOutcome.NEGATIVE),
        ("-0.0000001", PriceOutcome.NEGATIVE),
        ("AUDIT", PriceOutcome.AUDIT),
        ("audit", PriceOutcome.AUDIT),
        ("${AUCTION_PRICE}", PriceOutcome.UNEXPANDED),
        ("%24%7BAUCTION_PRICE%7D", PriceOutcome.UNEXPANDED),
        ("%2524%257BAUCTION_PRICE%257D", PriceOutcome.UNEXPANDED),
        ("%24{AUCTION_PRICE}", PriceOutcome.UNEXPANDED),
        ("$%7bAUCTION_PRICE%7d", PriceOutcome.UNEXPANDED),
        ("{AUCTION_PRICE}", PriceOutcome.UNEXPANDED),
        ("${AUCTION_PRICE:B64}", PriceOutcome.UNEXPANDED),
        ("OG46wAAMCggBI0VniavN7-mNy0VTKPbB3o5CMQ==", PriceOutcome.ENCRYPTED),
        ("YWJjMTIzZGVmNDU2Z2hpN7fhCuPemCce_6msaw", PriceOutcome.ENCRYPTED),
        ("386e3ac0000c0a080123456789abcdef", PriceOutcome.ENCRYPTED),
        ("nan", PriceOutcome.UNREADABLE),
        ("inf", PriceOutcome.UNREADABLE),
        ("1,5", PriceOutcome.UNREADABLE),
        ("1.2.3", PriceOutcome.UNREADABLE),
        ("$1", PriceOutcome.UNREADABLE),
        ("0x10", PriceOutcome.UNREADABLE),
        ("1_000", PriceOutcome.UNREADABLE),
        ("\N{ARABIC-INDIC DIGIT ONE}", PriceOutcome.UNREADABLE),
        (".", PriceOutcome.UNREADABLE),
        ("e5", PriceOutcome.UNREADABLE),
        ("1\n2", PriceOutcome.UNREADABLE),
        ("9000000000000.000001", PriceOutcome.UNREADABLE),
        ("1e99", PriceOutcome.UNREADABLE),
        ("1" * 100_000 + "!", PriceOutcome.UNREADABLE),
    ],
)
def test_what_is_no_price_has_a_name(text: str, outcome: PriceOutcome) -> None:
    assert parse_auction_price(text) == Price(outcome, 0)


def test_a_rounded_price_passes_a_cap_only_where_the_exact_one_does() -> None:
    cap = 2_500_000
    assert parse_auction_price("2.4999999").cpm_micros <= cap
    assert parse_auction_price("2.5000000").cpm_micros <= cap
    assert parse_auction_price("2.5000000001").cpm_micros > cap


def test_names_are_spelt_as_the_specification_has_them() -> None:
    names = {value for name, value in vars(macros).items() if name.startswith("AUCTION_")}
    assert names == {
        f"${{AUCTION_{name}}}"
        for name in (
            *("ID", "BID_ID", "IMP_ID", "SEAT_ID", "AD_ID", "PRICE", "CURRENCY", "MBR", "LOSS", "MIN_TO_WIN"),
            *("MULTIPLIER", "IMP_TS", "DISCOUNT_PCT", "DISCOUNT_CPM"),
        )
    }


@pytest.mark.parametrize("text", ["USD", "", "102", "${", "{}", "x${AUCTION_PRICE}"])
def test_an_expanded_value_is_not_a_macro(text: str) -> None:
    assert not is_unexpanded(text)


@given(st.from_regex(r"[+-]?\d{0,17}(\.\d{0,9})?", fullmatch=True))
def test_the_short_way_reads_what_the_whole_rule_reads(text: str) -> None:
    short = parse_auction_price(text)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bidder.openrtb.macros._PLAIN", re.compile("(?!)"))
        assert parse_auction_price(text) == short
