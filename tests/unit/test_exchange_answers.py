"""The rules by which a strict exchange refuses bids, and prices as exact integers."""

import json

import pytest

from simulator.exchange.answers import LOSS_CODES, Violation, fault_of, price_cpm_micros, read_answer
from simulator.exchange.markup import click_url, is_secure, pixel_url
from tests.support.data import ADM, answer, bid, recorded, row


def fault(**changes: object) -> Violation | None:
    parsed = read_answer(answer(bid(**changes)))
    assert parsed is not None
    only = parsed.seatbid[0].bid[0]
    return fault_of(only, price_cpm_micros(bytes(only.price)), row())


def test_good_bid_has_no_fault():
    assert fault() is None


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"impid": "2"}, Violation.IMPRESSION),
        ({"price": 0.499999}, Violation.FLOOR),
        ({"cid": ...}, Violation.CAMPAIGN),
        ({"crid": ""}, Violation.CREATIVE),
        ({"adomain": []}, Violation.ADVERTISER),
        ({"adomain": [""]}, Violation.ADVERTISER),
        ({"mtype": 2}, Violation.MEDIA_TYPE),
        ({"w": 320}, Violation.SIZE),
        ({"h": ...}, Violation.SIZE),
        ({"adm": ""}, Violation.MARKUP),
        ({"adm": ADM.replace("https://cdn", "http://cdn")}, Violation.NOT_SECURE),
        ({"burl": ...}, Violation.BILLING_URL),
    ],
)
def test_broken_rule_is_named(change, violation):
    assert fault(**change) is violation


def test_bid_at_the_floor_is_accepted():
    assert fault(price=0.5) is None


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        (b"2.5", 2_500_000),
        (b"0.000001", 1),
        (b"1e-6", 1),
        (b"1.0E-4", 100),
        (b"1000000", 1_000_000_000_000),
        (b"0.1", 100_000),
        (b"1.2000009", 1_200_000),
        (b"4.350000000000000000000001", 4_350_000),
    ],
)
def test_price_is_exact(text, micros):
    assert price_cpm_micros(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        b"0",
        b"-1",
        b"0.0000001",
        b'"2.5"',
        b"null",
        b"true",
        b"",
        b"1000000.000001",
        b"1e999999999",
        b"NaN",
        b"1e-99",
    ],
)
def test_price_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="price must be"):
        price_cpm_micros(text)


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"1.", b".5", b"0x1"])
def test_number_that_json_does_not_know_makes_no_answer(text):
    assert read_answer(answer(bid(price=12345)).replace(b"12345", text)) is None


def test_reasons_given_for_refusals_are_those_of_the_specification():
    codes = json.loads(recorded("openrtb/enumerations.json").read_text())["loss_reason_codes"]
    assert {str(code) for code in LOSS_CODES.values()} <= set(codes)


def test_every_violation_of_a_bid_has_a_loss_reason():
    assert set(LOSS_CODES) == set(Violation) - {Violation.MALFORMED, Violation.UNKNOWN_AUCTION}


def test_click_is_the_first_link():
    assert click_url("<b><A class=x HREF = 'https://a.example/?x=1&amp;y=2'>") == "https://a.example/?x=1&y=2"


def test_pixel_is_the_last_one_by_one_image():
    first, last = (f'<img src="https://p.example/{n}" width="1" height="1"/>' for n in (1, 2))
    assert (
        pixel_url(f'{first}{last}<img width="10" height="1" src="https://p.example/3">')
        == "https://p.example/2"
    )


def test_image_as_wide_as_a_percent_is_no_pixel():
    assert pixel_url('<img src="https://p.example/" width="1%" height="1">') == ""


@pytest.mark.parametrize("markup", ["", "<p>text</p>", "<a>no target</a>", "<img width=1 height=1>"])
def test_markup_without_link_or_pixel_has_none(markup):
    assert (click_url(markup), pixel_url(markup)) == ("", "")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.0.0.1", "localhost:1", "[::1]:9"])
def test_own_machine_is_secure_over_http(host):
    assert is_secure(f'<img src="http://{host}/i">')


@pytest.mark.parametrize("host", ["t.example", "127.0.0.1.t.example", "localhost.example", "127.0.0.12"])
def test_other_machine_is_not_secure_over_http(host):
    assert not is_secure(f'<img src="HTTP://{host}/i">')
