"""Responses: valid JSON whatever the ids hold, and the exact price."""

import html
import re
from typing import Any

import orjson
import pytest

from bidder.openrtb.response import TOKEN, BannerTemplate, NoticeUrls, bid_response, no_bid_response

AWKWARD = [
    '"',
    "\\",
    "\0",
    "\n",
    "\u2028",
    "</script>",
    "${AUCTION_PRICE}",
    "{}",
    "\U0001f600",
    "\\u0000",
    "é",
]


def template(**changes: Any) -> BannerTemplate:
    fields: dict[str, Any] = {
        "campaign_id": "c1",
        "creative_id": "k1",
        "adomain": ("shop.example",),
        "cat": ("IAB1",),
        "attr": (3,),
        "w": 300,
        "h": 250,
        "image_url": "https://cdn.example/a.png?x=1&y=2",
        "urls": NoticeUrls(
            nurl=f"https://t.example/win?t={TOKEN}&p=${{AUCTION_PRICE}}",
            burl=f"https://t.example/bill?t={TOKEN}&p=${{AUCTION_PRICE}}",
            lurl=f"https://t.example/loss?t={TOKEN}",
            pixel=f"https://t.example/i?t={TOKEN}",
            click=f"https://t.example/c?t={TOKEN}&u=https%3A%2F%2Fshop.example",
            conversion=f"https://t.example/v?t={TOKEN}",
        ),
    }
    return BannerTemplate(**(fields | changes))


def bid(made: BannerTemplate | None = None, imp_id: str = "1", micros: int = 1_250_000) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(
        (made or template()).bid("B" * 16, imp_id, micros, "TOKEN", "BROWSER")
    )
    return answer


def test_bid_says_what_an_exchange_checks() -> None:
    got = bid()
    fixed = {
        key: got[key]
        for key in ("id", "impid", "price", "cid", "crid", "adomain", "cat", "attr", "mtype", "w", "h")
    }
    assert fixed == {
        "id": "B" * 16,
        "impid": "1",
        "price": 1.25,
        "cid": "c1",
        "crid": "k1",
        "adomain": ["shop.example"],
        "cat": ["IAB1"],
        "attr": [3],
        "mtype": 1,
        "w": 300,
        "h": 250,
    }


def test_empty_cat_and_attr_are_left_out() -> None:
    assert {"cat", "attr"}.isdisjoint(bid(template(cat=(), attr=())))


@pytest.mark.parametrize(
    ("micros", "text"),
    [(1, "0.000001"), (1_000_000, "1"), (1_500_000, "1.5"), (9_007_199_254_740_993, "9007199254.740993")],
)
def test_price_is_written_digit_by_digit(micros: int, text: str) -> None:
    made = template().bid("B" * 16, "1", micros, "T", "B")
    assert re.search(r'"price":([0-9.]+)', made)[1] == text  # type: ignore[index]


def test_notices_carry_the_exchange_token_and_markup_the_browser_one() -> None:
    got = bid()
    notices = got["nurl"] + got["burl"] + got["lurl"]
    assert (notices.count("t=TOKEN"), notices.count("BROWSER")) == (3, 0)
    markup = got["adm"] + got["ext"]["clearbid"]["cv"]
    assert (markup.count("t=BROWSER"), markup.count("=TOKEN")) == (3, 0)


def test_macros_stay_as_the_exchange_replaces_them() -> None:
    assert bid()["burl"].endswith("&p=${AUCTION_PRICE}")


def test_markup_escapes_urls_and_gives_them_back() -> None:
    adm = bid()["adm"]
    assert "x=1&amp;y=2" in adm
    assert "https://cdn.example/a.png?x=1&y=2" in html.unescape(adm)


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_ids_leave_valid_json(text: str) -> None:
    made = template().bid("B" * 16, text, 1, "T", "B")
    got = orjson.loads(bid_response(text, "B" * 16, "USD", text, [made, made]))
    assert (got["id"], got["seatbid"][0]["seat"], got["seatbid"][0]["bid"][1]["impid"]) == (text, text, text)
    assert orjson.loads(no_bid_response(text, 2))["id"] == text


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_names_of_a_campaign_leave_valid_json(text: str) -> None:
    got = bid(template(campaign_id=text, adomain=(text,), cat=(text,)))
    assert (got["cid"], got["adomain"], got["cat"]) == (text, [text], [text])


def test_no_bid_has_an_empty_seatbid_and_the_reason() -> None:
    assert orjson.loads(no_bid_response("r", 15)) == {"id": "r", "seatbid": [], "nbr": 15}


def test_bid_response_names_currency_and_bidid() -> None:
    got = orjson.loads(
        bid_response("r", "B" * 16, "USD", "clearbid", [template().bid("B" * 16, "1", 1, "T", "B")])
    )
    assert (got["cur"], got["bidid"], len(got["seatbid"]), len(got["seatbid"][0]["bid"])) == (
        "USD",
        "B" * 16,
        1,
        1,
    )
