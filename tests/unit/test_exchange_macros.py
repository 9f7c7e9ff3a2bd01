"""Macros of OpenRTB 2.6 section 4.4 in the exchange's hands."""

import json

import pytest

from simulator.exchange.answers import read_answer
from simulator.exchange.auction import decide
from simulator.exchange.macros import Macros
from tests.support.data import answer, bid, recorded


def macros(price: int = 2_500_000, rival: int = 1_200_000, loss: int = 0, **changes: object) -> Macros:
    parsed = read_answer(answer(bid(**changes)))
    assert parsed is not None
    seat = parsed.seatbid[0]
    return Macros(
        parsed, seat.seat, seat.bid[0], price, decide(price, 500_000, rival, first_price=False), loss
    )


@pytest.mark.parametrize(
    ("macro", "value"),
    [
        ("AUCTION_ID", "row-1"),
        ("AUCTION_BID_ID", "resp-1"),
        ("AUCTION_IMP_ID", "1"),
        ("AUCTION_SEAT_ID", "s1"),
        ("AUCTION_AD_ID", "ad-7"),
        ("AUCTION_PRICE", "1.2"),
        ("AUCTION_CURRENCY", "USD"),
        ("AUCTION_MBR", "0.48"),
        ("AUCTION_LOSS", "0"),
        ("AUCTION_MIN_TO_WIN", "1.200001"),
        ("AUCTION_MULTIPLIER", "1"),
        ("AUCTION_IMP_TS", ""),
    ],
)
def test_macro_of_a_win(macro, value):
    assert macros(adid="ad-7").expand(f"x=${{{macro}}}&") == f"x={value}&"


def test_every_macro_of_the_specification_is_replaced():
    names = json.loads(recorded("openrtb/enumerations.json").read_text())["macros"]
    assert "$" not in macros().expand("&".join(names))


def test_loser_is_told_no_price():
    lost = macros(price=1_000_000, loss=102)
    assert lost.expand("${AUCTION_PRICE},${AUCTION_LOSS},${AUCTION_MIN_TO_WIN}") == ",102,1.200001"


def test_value_is_percent_encoded():
    assert macros(adid="a b&c/d").expand("${AUCTION_AD_ID}") == "a%20b%26c%2Fd"


def test_value_that_looks_like_a_macro_is_not_expanded_again():
    assert macros(adid="${AUCTION_PRICE}").expand("${AUCTION_AD_ID}") == "%24%7BAUCTION_PRICE%7D"


def test_base64_form():
    assert macros().expand("${AUCTION_PRICE:B64}") == "MS4y"


@pytest.mark.parametrize(
    "text", ["${AUCTION_PRICEY}", "${auction_price}", "$AUCTION_PRICE", "${ AUCTION_PRICE }"]
)
def test_what_the_specification_does_not_spell_stays(text):
    assert macros().expand(text) == text


def test_market_bid_ratio_is_cut_not_rounded_up():
    assert macros(price=3_000_000, rival=2_000_000).expand("${AUCTION_MBR}") == "0.666666"
