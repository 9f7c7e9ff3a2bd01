"""Responses whatever stands in names, addresses and ids: valid JSON, well-formed XML, nothing lost."""

import json
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.campaigns import Native
from bidder.openrtb.markup.banner import CACHEBUSTER, CLICK_URL, html_banner, image_banner
from bidder.openrtb.markup.native import native_markup
from bidder.openrtb.markup.pieces import TOKEN, Pieces, Slot
from bidder.openrtb.markup.vast import VERSIONS, VastAd, vast
from bidder.openrtb.native import answer, native_ask
from bidder.openrtb.response import BidFacts, BidTemplate, Billing, NoticeUrls, bid_response, json_text

ANY = st.text()
# What makes trouble, more often than chance would: the languages' own marks, our placeholders, both escaped forms.
MARKS = st.sampled_from(
    [
        "]]>",
        "<![CDATA[",
        "&amp;",
        "&",
        '"',
        "'",
        "\\",
        "\\u0000",
        "\0",
        "${AUCTION_PRICE}",
        "%s",
        "{}",
        "{0}",
        "</a>",
    ]
)
ODD = st.lists(st.one_of(ANY, MARKS), max_size=6).map("".join)
WITHOUT_TOKEN = ODD.map(lambda text: text.replace(TOKEN, ""))
URLS = st.lists(WITHOUT_TOKEN, min_size=1, max_size=3).map(TOKEN.join)
IDENTIFIERS = st.text("ABCabc019-_", min_size=1, max_size=24)
NUMBERS = st.integers(0, 10_000)
LISTS = st.lists(ODD, max_size=3).map(tuple)


def filled(pieces: Pieces) -> str:
    marks = {Slot.EXCHANGE_TOKEN: "EXCHANGE", Slot.BROWSER_TOKEN: "BROWSER", Slot.BID_ID: "BID"}
    return "".join(marks[piece] if isinstance(piece, Slot) else piece for piece in pieces)


def of_url(url: str, mark: str = "BROWSER") -> str:
    return url.replace(TOKEN, mark)


def in_xml(url: str) -> str:
    """A URL as an XML document gives it back: spaces, controls and non-characters are percent-encoded."""
    return "".join(
        "".join(f"%{byte:02X}" for byte in mark.encode())
        if mark <= " " or mark in "\x7f\ufffe\uffff"
        else mark
        for mark in url
    )


ADS = st.builds(
    VastAd,
    id=ODD,
    media_url=WITHOUT_TOKEN,
    mime=ODD,
    duration_s=st.integers(0, 3_600),
    w=NUMBERS,
    h=NUMBERS,
    bitrate_kbps=NUMBERS,
    delivery=st.integers(1, 3),
    linearity=st.integers(1, 2),
    skippable=st.booleans(),
    audio=st.booleans(),
    click_url=URLS,
    pixel_url=URLS,
    billing_url=URLS,
)


@given(ADS, st.sampled_from(sorted(VERSIONS)))
def test_every_document_is_well_formed_and_gives_its_urls_back(ad: VastAd, protocol: int) -> None:
    root = ET.fromstring(filled(vast(ad, protocol)))
    linear = ad.linearity == 1
    file, click = (
        next(root.iter(name))
        for name in (("MediaFile", "ClickThrough") if linear else ("StaticResource", "NonLinearClickThrough"))
    )
    billing = [in_xml(of_url(ad.billing_url, "EXCHANGE"))] if ad.billing_url else []
    assert [element.text for element in root.iter("Impression")] == [
        text or None for text in (*billing, in_xml(of_url(ad.pixel_url)))
    ]
    assert (file.text or "", click.text or "") == (in_xml(ad.media_url), in_xml(of_url(ad.click_url)))


def markups(billing: Billing) -> st.SearchStrategy[Pieces]:
    """Any pieces in the order that a template takes: the billing token, if there is one, first."""
    anything = st.lists(st.one_of(ODD, st.sampled_from([Slot.BROWSER_TOKEN, Slot.BID_ID])), max_size=12)
    opening = (Slot.EXCHANGE_TOKEN,) if billing == "impression" else ()
    return st.tuples(ODD, anything).map(lambda made: (made[0], *opening, *made[1]))


FACTS = st.builds(
    BidFacts,
    cid=ODD,
    crid=ODD,
    adomain=LISTS,
    mtype=st.integers(1, 4),
    bundle=ODD,
    iurl=ODD,
    cat=LISTS,
    cattax=st.integers(1, 9),
    attr=st.lists(NUMBERS, max_size=3).map(tuple),
    apis=st.lists(NUMBERS, max_size=3).map(tuple),
    protocol=NUMBERS,
    language=ODD,
    w=NUMBERS,
    h=NUMBERS,
    dur=NUMBERS,
    exp=NUMBERS,
)
NOTICES = st.builds(NoticeUrls, nurl=URLS, burl=URLS, lurl=URLS, pixel=URLS, click=URLS, conversion=URLS)


@given(st.data(), FACTS, NOTICES, ODD, ODD)
def test_every_bid_says_exactly_what_its_template_was_given(
    data: st.DataObject, facts: BidFacts, urls: NoticeUrls, line_item_id: str, imp_id: str
) -> None:
    billing: Billing = data.draw(st.sampled_from(["burl", "impression"]))
    markup = data.draw(markups(billing))
    template = BidTemplate(facts, urls, markup, billing=billing, line_item_id=line_item_id)
    text = template.bid(
        "BID", json_text(imp_id), "1.25", "EXCHANGE", "BROWSER", ',"dealid":"d"', ',"slotinpod":1'
    )
    clearbid = {"cv": of_url(urls.conversion)} | ({"li": line_item_id} if line_item_id else {})
    expected: dict[str, Any] = {
        "id": "BID",
        "impid": imp_id,
        "price": 1.25,
        "nurl": of_url(urls.nurl, "EXCHANGE"),
        "lurl": of_url(urls.lurl, "EXCHANGE"),
        "adm": filled(markup),
        "ext": {"clearbid": clearbid},
        "dealid": "d",
        "slotinpod": 1,
    } | msgspec.to_builtins(facts)
    if billing == "burl":
        expected["burl"] = of_url(urls.burl, "EXCHANGE")
    assert orjson.loads(text) == json.loads(json.dumps(expected))


@given(st.lists(IDENTIFIERS, min_size=3, max_size=3, unique=True), markups("impression"))
def test_each_slot_gets_its_own_filling(marks: list[str], markup: Pieces) -> None:
    bid_id, token, browser_token = marks
    facts = BidFacts(cid="c", crid="k", adomain=("a",), mtype=2)
    urls = NoticeUrls(nurl="n", burl="b", lurl="l", pixel="p", click="c", conversion="v")
    made = BidTemplate(facts, urls, markup, billing="impression").bid(bid_id, "1", "1", token, browser_token)
    fillings = {Slot.BID_ID: bid_id, Slot.EXCHANGE_TOKEN: token, Slot.BROWSER_TOKEN: browser_token}
    expected = "".join(fillings[piece] if isinstance(piece, Slot) else piece for piece in markup)
    assert orjson.loads(made)["adm"] == expected


@given(ODD, ODD, ODD)
def test_any_id_and_seat_leave_a_valid_response(request_id: str, imp_id: str, seat: str) -> None:
    facts = BidFacts(cid="c", crid="k", adomain=("a",), mtype=1)
    urls = NoticeUrls(nurl="n", burl="b", lurl="l", pixel="p", click="c", conversion="v")
    bid = BidTemplate(facts, urls, ("x",)).bid("BID", json_text(imp_id), "1", "T", "B")
    got = orjson.loads(bid_response(request_id, "BID", "USD", seat, [bid, bid]))
    assert (got["id"], got["seatbid"][0]["seat"]) == (request_id, seat)
    assert [made["impid"] for made in got["seatbid"][0]["bid"]] == [imp_id, imp_id]


class Tags(HTMLParser):
    """The tags of markup with their attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@given(ODD, URLS, URLS, st.booleans())
def test_an_image_banner_gives_its_urls_back(image: str, click: str, pixel: str, flex: bool) -> None:
    found = Tags(filled(image_banner(image, click, pixel, 300, 250, flex=flex))).found
    size = {"style": "width:100%;height:auto"} if flex else {"width": "300", "height": "250"}
    assert found == [
        ("a", {"href": of_url(click), "target": "_blank", "rel": "noopener"}),
        ("img", {"src": image, "alt": ""} | size),
        ("img", {"src": of_url(pixel), "width": "1", "height": "1", "alt": ""}),
    ]


@given(st.lists(st.one_of(WITHOUT_TOKEN, st.sampled_from([CLICK_URL, CACHEBUSTER])), max_size=8))
def test_html_is_kept_to_the_letter_around_its_macros(parts: list[str]) -> None:
    text = "".join(parts)
    adm = filled(html_banner(text, f"https://t.example/c?t={TOKEN}&u=1", "https://t.example/i"))
    expected = text.replace(CLICK_URL, "https://t.example/c?t=BROWSER&u=1").replace(CACHEBUSTER, "BID")
    assert adm.startswith(expected + '<img src="https://t.example/i"')


@given(ODD.filter(bool), ODD, ODD, URLS, URLS, st.one_of(st.integers(), ODD))
def test_a_native_ad_gives_its_assets_and_urls_back(
    title: str, text: str, image: str, click: str, pixel: str, asset_id: int | str
) -> None:
    assets = [
        {"id": asset_id, "required": 1, "title": {}},
        {"id": "t", "data": {"type": 2}},
        {"id": "i", "img": {}},
    ]
    ask, _ = native_ask(json.dumps({"assets": assets}))
    if asset_id in ("t", "i"):
        assert ask is None
        return
    assert ask is not None
    made = answer(ask, Native(title=title, text=text, image_url=image))
    assert made is not None
    got = orjson.loads(filled(native_markup(made, click, pixel)))
    expected = [{"id": asset_id, "title": {"text": title}}]
    expected += [{"id": "t", "data": {"value": text}}] if text else []
    expected += [{"id": "i", "img": {"url": image}}] if image else []
    assert got["assets"] == expected
    assert (got["link"]["url"], got["imptrackers"]) == (of_url(click), [of_url(pixel)])
