"""Numbers as text: exact money, shares that do not round to nothing or to all, escaping."""

import xml.etree.ElementTree as ET
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.pages.markup import el, escape, join
from simulator.report import text


@given(st.integers(-(2**63), 2**63), st.integers(0, 9))
def test_money_is_the_nearest_step_of_the_exact_amount(nanos, decimals):
    written = Fraction(text.money(nanos, decimals).replace(",", ""))
    assert abs(written - Fraction(nanos, 10**9)) <= Fraction(1, 2 * 10**decimals)


@given(st.integers(-(2**63), 2**63))
def test_exact_money_is_the_amount_itself(nanos):
    assert Fraction(text.exact(nanos).replace(",", "")) * 10**9 == nanos


@pytest.mark.parametrize(
    ("nanos", "decimals", "written"),
    [
        (1_234_567_890_123_456_789, 2, "1,234,567,890.12"),
        (5_000_000, 2, "0.01"),
        (4_999_999, 2, "0.00"),
        (-4_999_999, 2, "0.00"),
        (-1_005_000_000, 2, "-1.01"),
        (1_500_000_000, 0, "2"),
        (None, 2, "–"),  # noqa: RUF001
    ],
)
def test_money_by_hand(nanos, decimals, written):
    assert text.money(nanos, decimals) == written


@pytest.mark.parametrize(
    ("fraction", "written"),
    [
        (0.5, "50.0%"),
        (0.0, "0.0%"),
        (1.0, "100.0%"),
        (0.99996, "99.996%"),
        (0.9999999999, ">99.9999%"),
        (0.0004, "0.04%"),
        (1e-12, "<0.0001%"),
        (1.0000000001, "100.0%"),
        (1.2, "120.0%"),
        (float("nan"), "–"),  # noqa: RUF001
        (None, "–"),  # noqa: RUF001
    ],
)
def test_percent_by_hand(fraction, written):
    assert text.percent(fraction) == written


@given(st.floats(0, 1))
def test_only_nothing_is_0_percent_and_only_all_is_100_percent(fraction):
    written = text.percent(fraction)
    assert (written == "0.0%") == (fraction == 0)
    assert (written == "100.0%") == (fraction == 1)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.42, "0.4 s"),
        (9.97, "10.0 s"),
        (71.4, "1 min 11 s"),
        (3_600, "1 h"),
        (86_400 * 3 + 7_200, "3 d 2 h"),
    ],
)
def test_duration_by_hand(seconds, written):
    assert text.duration(seconds) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(1.843, "1.84 ms"), (17.91, "17.9 ms"), (1_234.5, "1,234 ms"), (None, "–")],  # noqa: RUF001
)
def test_milliseconds_by_hand(value, written):
    assert text.milliseconds(value) == written


@pytest.mark.parametrize(
    ("name", "written"), [("NO_CANDIDATE", "No candidate"), ("late_wins", "Late wins"), ("", "")]
)
def test_reason_names_become_words(name, written):
    assert text.plain(name) == written


def test_a_column_of_small_amounts_gets_four_decimals():
    assert text.decimals_for([999_999_999]) == 4
    assert text.decimals_for([1, 10**9]) == 2


def test_moments_are_utc():
    assert text.moment(1_370_649_600 * 10**9) == "2013-06-08 00:00:00 UTC"


@given(st.text(), st.text())
def test_any_text_survives_as_content_and_as_attribute(content, attribute):
    read = ET.fromstring(el("p", content, title=attribute))
    unsafe = (*range(9), 11, 12, *range(14, 32), 0x7F, 0xFFFE, 0xFFFF)
    # A carriage return, with its line feed or without, is a line feed to every reader of XML and HTML.
    same = dict.fromkeys(unsafe, "\ufffd") | {0x0D: "\n"}
    assert (read.text or "") == content.replace("\r\n", "\n").translate(same)
    assert "<" not in escape(attribute)


def test_a_lone_surrogate_can_be_written_as_utf_8():
    assert escape("a\ud800b").encode() == "a\ufffdb".encode()


def test_markup_goes_in_as_it_is_and_text_does_not():
    assert join(el("b", "x"), "<b>", None) == "<b>x</b>&lt;b&gt;"


def test_underscores_of_attribute_names_become_hyphens_and_none_leaves_one_out():
    assert (
        el("rect", class_="a", aria_label="b", x=None, y=1.5) == '<rect class="a" aria-label="b" y="1.5" />'
    )
