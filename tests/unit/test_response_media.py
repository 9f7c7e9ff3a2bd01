"""Bids of every media: what each says, whose token stands where, and how their markup looks."""

import html
import itertools
import json
import re
import shutil
import subprocess
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import jsonschema
import orjson
import pytest

from bidder.core.campaigns import Campaign, Creative, Media, Native
from bidder.core.templatebook import notice_urls, template_of, writable_protocols
from bidder.core.token import landing_is_signed
from bidder.core.urls import TrackingUrls
from bidder.openrtb.markup.banner import html_banner
from bidder.openrtb.markup.pieces import Slot
from bidder.openrtb.native import NativeAsk, native_ask
from bidder.openrtb.response import (
    TOKEN,
    BidFacts,
    BidTemplate,
    Billing,
    NoBid,
    NoticeUrls,
    bid_response,
    no_bid_response,
)
from simulator.exchange.markup import click_url, is_secure, pixel_url
from tests.support.data import recorded

KEY = b"k" * 32
TRACKING = TrackingUrls("https://t.example")
LANDING = "https://shop.example/p?a=1&b='2'"
BID_ID = "B" * 16
IMAGE: dict[str, Any] = {"w": 300, "h": 250, "image_url": "https://cdn.example/a.png?x=1&y=2"}
VIDEO: dict[str, Any] = {
    "media": Media.VIDEO,
    "media_url": "https://cdn.example/v.mp4",
    "mime": "video/mp4",
    "duration_s": 15,
    "w": 640,
    "h": 360,
}
AUDIO: dict[str, Any] = {
    "media": Media.AUDIO,
    "media_url": "https://cdn.example/v.mp3",
    "mime": "audio/mpeg",
    "duration_s": 30,
}
NATIVE: dict[str, Any] = {
    "media": Media.NATIVE,
    "native": Native(
        title="Shoes", image_url="https://cdn.example/n.png", icon_url="https://cdn.example/i.png"
    ),
}
ALL = pytest.mark.parametrize(
    "fields", [IMAGE, VIDEO, AUDIO, NATIVE], ids=["banner", "video", "audio", "native"]
)
VAST = pytest.mark.parametrize("fields", [VIDEO, AUDIO], ids=["video", "audio"])


def ask_of(text: str = '{"ver":"1.2","assets":[{"id":1,"required":1,"title":{"len":90}}]}') -> NativeAsk:
    ask, fault = native_ask(text)
    assert ask is not None, fault
    return ask


def creative_of(fields: dict[str, Any] = IMAGE, **changes: Any) -> Creative:
    return Creative(**({"id": "k1", "landing_url": LANDING} | fields | changes))


def campaign_of(creative: Creative, **changes: Any) -> Campaign:
    fields: dict[str, Any] = {
        "id": "c1",
        "name": "Spring",
        "advertiser": "a1",
        "adomain": ("shop.example",),
        "budget_nanos": 1,
        "start_ns": 0,
        "end_ns": 1,
        "value_nanos": 1,
        "max_bid_cpm_micros": 1,
        "creatives": (creative,),
    }
    return Campaign(**(fields | changes))


def template(creative: Creative, campaign: dict[str, Any] | None = None, **options: Any) -> BidTemplate:
    ask = ask_of() if creative.media is Media.NATIVE else None
    return template_of(
        campaign_of(creative, **(campaign or {})),
        creative,
        notice_urls(creative, TRACKING, KEY),
        **({"line_item_id": "c1", "ask": ask, "exp_s": 0} | options),
    )


def text_of(made: BidTemplate, **changes: str) -> str:
    fields = {
        "bid_id": BID_ID,
        "imp_id_json": '"1"',
        "price": "1.25",
        "token": "TOKEN",
        "browser_token": "BROWSER",
    }
    return made.bid(**(fields | changes))


def bid(creative: Creative, campaign: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(text_of(template(creative, campaign, **options)))
    return found


# --- what a bid says


@pytest.mark.parametrize(("fields", "mtype"), [(IMAGE, 1), (VIDEO, 2), (AUDIO, 3), (NATIVE, 4)])
def test_every_bid_says_its_media_and_whose_it_is(fields: dict[str, Any], mtype: int) -> None:
    got = bid(creative_of(fields))
    told = {key: got[key] for key in ("id", "impid", "price", "mtype", "cid", "crid", "adomain")}
    assert told == {
        "id": BID_ID,
        "impid": "1",
        "price": 1.25,
        "mtype": mtype,
        "cid": "c1",
        "crid": "k1",
        "adomain": ["shop.example"],
    }


@ALL
def test_what_a_creative_leaves_open_is_left_out(fields: dict[str, Any]) -> None:
    absent = {"cat", "cattax", "attr", "apis", "bundle", "language", "exp", "dealid", "wratio", "hratio"}
    assert absent.isdisjoint(bid(creative_of(fields)))


@ALL
def test_what_a_creative_states_is_said(fields: dict[str, Any]) -> None:
    stated = {"cat": ("IAB1",), "attr": (3,), "api": (5, 7), "bundle": "com.shop", "language": "en"}
    got = bid(creative_of(fields, **stated), exp_s=600)
    told = {key: got[key] for key in ("cat", "attr", "apis", "bundle", "language", "exp")}
    assert told == {
        "cat": ["IAB1"],
        "attr": [3],
        "apis": [5, 7],
        "bundle": "com.shop",
        "language": "en",
        "exp": 600,
    }


def test_a_creative_speaks_for_itself_and_its_campaign_for_the_rest() -> None:
    campaign = {"cat": ("IAB2",), "bundle": "com.all"}
    rest = bid(creative_of(), campaign)
    assert (rest["adomain"], rest["cat"], rest["bundle"]) == (["shop.example"], ["IAB2"], "com.all")
    own = bid(creative_of(adomain=("own.example",), cat=("IAB3",), bundle="com.own"), campaign)
    assert (own["adomain"], own["cat"], own["bundle"]) == (["own.example"], ["IAB3"], "com.own")


@pytest.mark.parametrize(
    ("stated", "cattax", "cat"),
    [
        (("IAB1", "9:150", "IAB2"), None, ["IAB1", "IAB2"]),
        (("9:150", "IAB1", "9:151"), 9, ["150", "151"]),
        (("7:1",), 7, ["1"]),
    ],
)
def test_categories_are_of_one_taxonomy(stated: tuple[str, ...], cattax: int | None, cat: list[str]) -> None:
    got = bid(creative_of(cat=stated))
    assert (got.get("cattax"), got["cat"]) == (cattax, cat)


@pytest.mark.parametrize(
    ("fields", "size"),
    [(IMAGE, (300, 250)), (VIDEO, (640, 360)), (AUDIO, (None, None)), (NATIVE, (None, None))],
)
def test_banner_and_video_say_their_size(fields: dict[str, Any], size: tuple[int | None, int | None]) -> None:
    got = bid(creative_of(fields))
    assert (got.get("w"), got.get("h")) == size


def test_a_flex_banner_says_its_ratio_instead() -> None:
    got = bid(creative_of(w=1_600, h=900, flex=True))
    assert (got["wratio"], got["hratio"]) == (16, 9)
    assert {"w", "h"}.isdisjoint(got)
    assert 'style="width:100%;height:auto"' in got["adm"]


@pytest.mark.parametrize(("fields", "dur"), [(VIDEO, 15), (AUDIO, 30), (IMAGE, None), (NATIVE, None)])
def test_video_and_audio_say_how_long_they_are(fields: dict[str, Any], dur: int | None) -> None:
    assert bid(creative_of(fields, duration_s=dur or 9)).get("dur") == dur


@pytest.mark.parametrize(
    ("fields", "iurl"),
    [
        (IMAGE, "https://cdn.example/a.png?x=1&y=2"),
        (IMAGE | {"image_url": "https://cdn.example/a.png?cb=${CACHEBUSTER}"}, None),
        (IMAGE | {"image_url": "", "html": "<b>x</b>"}, None),
        (VIDEO, None),
        (VIDEO | {"image_url": "https://cdn.example/still.png"}, "https://cdn.example/still.png"),
        (NATIVE, "https://cdn.example/n.png"),
        (
            NATIVE | {"native": Native(title="x", icon_url="https://cdn.example/i.png")},
            "https://cdn.example/i.png",
        ),
    ],
)
def test_the_sample_image_has_no_cache_buster(fields: dict[str, Any], iurl: str | None) -> None:
    assert bid(creative_of(fields)).get("iurl") == iurl


def test_a_line_item_is_named_where_it_is_not_the_campaign() -> None:
    assert bid(creative_of(), line_item_id="l1")["ext"]["clearbid"]["li"] == "l1"
    assert "li" not in bid(creative_of(), line_item_id="c1")["ext"]["clearbid"]


def test_deal_and_place_in_a_pod_are_added() -> None:
    text = text_of(template(creative_of(VIDEO)), deal_json=',"dealid":"d\\"1"', extra=',"slotinpod":1')
    got = orjson.loads(text)
    assert (got["dealid"], got["slotinpod"]) == ('d"1', 1)


@ALL
def test_no_field_is_said_twice(fields: dict[str, Any]) -> None:
    stated = {"cat": ("IAB1",), "attr": (16,), "api": (7,), "bundle": "b", "language": "en"}
    made = template(creative_of(fields, **stated), exp_s=9, line_item_id="l1")
    seen: list[str] = []
    json.loads(text_of(made), object_pairs_hook=lambda pairs: seen.extend(name for name, _ in pairs))
    assert len(seen) == len(set(seen))


@ALL
def test_a_bid_is_valid_by_the_schema(fields: dict[str, Any]) -> None:
    schema = json.loads(recorded("openrtb/openrtb-2.6-klaussilveira.schema.json").read_text())
    stated = {"cat": ("9:150",), "attr": (16,), "api": (7,), "bundle": "b", "language": "en"}
    made = text_of(template(creative_of(fields, **stated), exp_s=9), deal_json=',"dealid":"d1"')
    response = orjson.loads(bid_response("r", BID_ID, "USD", "s", [made]))
    jsonschema.Draft7Validator({**schema, "oneOf": [{"$ref": "#/$defs/BidResponse"}]}).validate(response)


@pytest.mark.parametrize("price", ["0.000001", "1", "9007199254.740993"])
def test_the_price_is_the_text_that_was_given(price: str) -> None:
    assert f'"price":{price},' in text_of(template(creative_of()), price=price)


# --- whose token stands where


@ALL
@pytest.mark.parametrize("billing", ["burl", "impression"])
def test_the_tokens_go_where_they_may_be_read(fields: dict[str, Any], billing: Billing) -> None:
    got = bid(creative_of(fields), billing=billing)
    billed_by_markup = billing == "impression"
    notices = [got[name] for name in ("nurl", "lurl", "burl") if name in got]
    assert all("?t=TOKEN&" in url and "BROWSER" not in url for url in notices)
    assert ("burl" in got) is not billed_by_markup
    assert got["adm"].count("TOKEN") == billed_by_markup
    assert got["adm"].count("t=BROWSER") == 2
    assert got["ext"]["clearbid"]["cv"] == "https://t.example/v?t=BROWSER"


@VAST
def test_vast_is_billed_by_its_impression_unless_told_otherwise(fields: dict[str, Any]) -> None:
    got = bid(creative_of(fields))
    calls = [element.text for element in ET.fromstring(got["adm"]).iter("Impression")]
    assert calls == [
        "https://t.example/bill?t=TOKEN&p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}",
        "https://t.example/i?t=BROWSER",
    ]


@VAST
def test_vast_billed_by_burl_has_no_second_bill_in_its_markup(fields: dict[str, Any]) -> None:
    got = bid(creative_of(fields), billing="burl")
    assert [element.text for element in ET.fromstring(got["adm"]).iter("Impression")] == [
        "https://t.example/i?t=BROWSER"
    ]
    assert got["burl"] == "https://t.example/bill?t=TOKEN&p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}"


@pytest.mark.parametrize(
    ("billing", "slot"), [("burl", Slot.EXCHANGE_TOKEN), ("impression", Slot.BROWSER_TOKEN)]
)
def test_a_bid_with_two_bills_or_none_is_never_made(billing: Billing, slot: Slot) -> None:
    urls = NoticeUrls(nurl="n", burl="b", lurl="l", pixel="p", click="c", conversion="v")
    facts = BidFacts(cid="c", crid="k", adomain=("a",), mtype=2)
    with pytest.raises(AssertionError, match="exchange's token only where billing is by impression"):
        BidTemplate(facts, urls, ("x", slot), billing=billing)


@pytest.mark.parametrize("order", list(itertools.permutations(Slot)))
def test_tokens_and_the_id_may_stand_in_any_order(order: tuple[Slot, ...]) -> None:
    urls = NoticeUrls(nurl=f"n{TOKEN}", burl="b", lurl="l", pixel="p", click="c", conversion=f"v{TOKEN}")
    facts = BidFacts(cid="c", crid="k", adomain=("a",), mtype=2)
    markup = ("<", *itertools.chain.from_iterable((slot, "|") for slot in order), ">")
    got = orjson.loads(text_of(BidTemplate(facts, urls, markup, billing="impression")))
    words = {Slot.EXCHANGE_TOKEN: "TOKEN", Slot.BROWSER_TOKEN: "BROWSER", Slot.BID_ID: BID_ID}
    assert got["adm"] == f"<{'|'.join(words[slot] for slot in order)}|>"
    assert (got["nurl"], got["ext"]["clearbid"]["cv"]) == ("nTOKEN", "vBROWSER")


# --- banners


def test_an_image_banner_shows_the_image_and_leads_through_the_tracker() -> None:
    adm = bid(creative_of())["adm"]
    assert "https://cdn.example/a.png?x=1&y=2" in html.unescape(adm)
    assert 'width="300" height="250"' in adm
    assert pixel_url(adm) == "https://t.example/i?t=BROWSER"
    query = parse_qs(urlsplit(click_url(adm)).query)
    assert query["t"] == ["BROWSER"]
    assert landing_is_signed(query["u"][0], query["s"][0], [KEY])


def test_html_has_its_macros_filled_and_the_pixel_behind_it() -> None:
    own = '<a href="${CLICK_URL}"><img src="https://ad.example/i?cb=${CACHEBUSTER}&p=${AUCTION_PRICE}"></a>'
    adm = bid(creative_of(html=own, image_url=""))["adm"]
    assert f"?cb={BID_ID}&p=${{AUCTION_PRICE}}" in adm
    query = parse_qs(urlsplit(click_url(adm)).query)
    assert (query["t"], query["u"]) == (["BROWSER"], [LANDING])
    assert '<img src="https://t.example/i?t=BROWSER" width="1" height="1" alt=""><script>' in adm


IMPRESSION_BILL = "https://t.example/bill?t=TOKEN&p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}"


@pytest.mark.parametrize("own", ["", "<b>own</b>", '<a href="${CLICK_URL}">${CACHEBUSTER}</a>'])
def test_a_banner_billed_by_its_impression_calls_the_billing_url_when_it_is_shown(own: str) -> None:
    got = bid(creative_of(html=own), billing="impression")
    images = re.findall(r'<img src="([^"]*)" width="1" height="1"', got["adm"])
    assert [html.unescape(url) for url in images] == [IMPRESSION_BILL, "https://t.example/i?t=BROWSER"]
    assert "burl" not in got


@pytest.mark.parametrize("events", [[], [1], [2], [1, 2]])
def test_a_native_ad_billed_by_its_impression_calls_the_billing_url_and_tells_of_a_view(
    events: list[int],
) -> None:
    trackers = [{"event": event, "methods": [2, 1]} for event in events]
    ask = ask_of(json.dumps({"ver": "1.2", "assets": [{"id": 1, "title": {}}], "eventtrackers": trackers}))
    adm = orjson.loads(bid(creative_of(NATIVE), ask=ask, billing="impression")["adm"])
    shown = [IMPRESSION_BILL, "https://t.example/i?t=BROWSER"]
    asked = [{"event": 1, "method": 1, "url": url} for url in shown] if 1 in events else []
    asked += [{"event": 2, "method": 1, "url": "https://t.example/view?t=BROWSER"}] if 2 in events else []
    assert adm.get("eventtrackers", []) == asked
    assert adm.get("imptrackers", []) == ([] if 1 in events else shown)


# --- views


def test_html_tells_of_a_view_and_an_image_holds_no_script() -> None:
    adm = bid(creative_of(html="<b>own</b>"))["adm"]
    script = adm.partition("<script>")[2]
    assert script.endswith("(document.currentScript)</script>")
    assert '.split("https://t.example/i?t=").join("https://t.example/view?t=")' in script
    assert len(script) < 450
    assert "<script" not in bid(creative_of())["adm"]


_PAGE = """
const timers = [], calls = []; let seen, observed, gone = false;
const window = {IntersectionObserver: class {
  constructor(f) { seen = ratio => f([{intersectionRatio: 0}, {intersectionRatio: ratio}]) }
  observe(e) { observed = e } disconnect() { gone = true } }};
const IntersectionObserver = window.IntersectionObserver;
class Image { set src(url) { calls.push(url) } }
const setTimeout = (f, ms) => { timers.push([f, ms]); return timers.length };
const clearTimeout = n => { if (n) timers[n - 1] = null };
const run = () => { const due = timers.splice(0); for (const t of due) if (t) { t[0]() } };
const document = {hidden: false, currentScript: {parentNode: "AD", previousSibling: {getAttribute: n => PIXEL}}};
"""
_VIEWS = """
const said = [observed];
seen(0.4); run(); said.push(calls.length);          // too little of it
seen(0.5); seen(0.2); run(); said.push(calls.length);  // gone before its second was over
document.hidden = true; seen(0.9); run(); said.push(calls.length);
document.hidden = false; said.push(timers.map(t => t[1])); run(); said.push(calls, gone);
console.log(JSON.stringify(said));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the script of the markup in node")
def test_a_view_is_half_of_the_ad_for_a_second_in_a_page_that_is_seen() -> None:
    adm = bid(creative_of(html="<b>own</b>"))["adm"]
    script = adm.partition("<script>")[2].removesuffix("</script>")
    page = _PAGE.replace("PIXEL", '"https://t.example/i?t=BROWSER"') + script + ";" + _VIEWS
    ended = subprocess.run(["node", "-e", page], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ended.stdout) == ["AD", 0, 0, 0, [1000], ["https://t.example/view?t=BROWSER"], True]


def test_a_browser_without_an_observer_tells_of_no_view() -> None:
    script = bid(creative_of(html="<b>own</b>"))["adm"].partition("<script>")[2]
    assert "(o=window.IntersectionObserver)&&" in script


@VAST
@pytest.mark.parametrize("protocol", [3, 11])
def test_only_video_from_vast_4_on_tells_of_a_view(fields: dict[str, Any], protocol: int) -> None:
    adm = bid(creative_of(fields, protocols=(3, 11)), protocol=protocol)["adm"]
    told = [element.text for element in ET.fromstring(adm).findall("Ad/InLine/ViewableImpression/Viewable")]
    assert told == (["https://t.example/view?t=BROWSER"] if fields is VIDEO and protocol == 11 else [])


@pytest.mark.parametrize("times", [0, 1, 2, 5])
def test_macros_may_stand_in_html_any_number_of_times(times: int) -> None:
    part = "[${CLICK_URL}|${CACHEBUSTER}]"
    adm = bid(creative_of(html="<p>" + part * times + "</p>"))["adm"]
    made = re.findall(r"\[([^|\]]*)\|([^\]]*)\]", adm)
    assert len(made) == times
    assert {cachebuster for _, cachebuster in made} <= {BID_ID}
    assert all(url.startswith("https://t.example/c?t=BROWSER&u=") for url, _ in made)


def test_html_is_preferred_to_the_image_which_is_then_its_sample() -> None:
    got = bid(creative_of(html="<b>own</b>"))
    assert got["adm"].startswith("<b>own</b>")
    assert got["iurl"] == IMAGE["image_url"]


@pytest.mark.parametrize("mark", ['"', "'", "<", ">", "`", "\\", " ", "\n", ";"])
def test_a_click_url_ends_no_attribute_and_no_string_of_a_script(mark: str) -> None:
    pieces = html_banner("${CLICK_URL}", f"https://t.example/{mark}?t={TOKEN}&x=1", "https://t.example/i")
    clicked = "".join(piece for piece in pieces[:-1] if isinstance(piece, str)).split("<img")[0]
    assert clicked == f"https://t.example/%{ord(mark):02X}?t=&x=1"


@pytest.mark.parametrize("text", ["\0", "\\u0000", '"', "</script>", "${", "é💡", "\u2028"])
def test_odd_characters_of_html_survive(text: str) -> None:
    assert bid(creative_of(html=f"<p>{text}</p>"))["adm"].startswith(f"<p>{text}</p><img")


@ALL
def test_markup_loads_nothing_insecure(fields: dict[str, Any]) -> None:
    assert is_secure(bid(creative_of(fields))["adm"])


# --- video and audio


@pytest.mark.parametrize(
    ("fields", "stated", "writable"),
    [
        (VIDEO, (), (3,)),
        (AUDIO, (), (11,)),
        (VIDEO, (2, 5, 7, 1), (2, 7)),
        (AUDIO, (9, 10), ()),
        (VIDEO, (5, 6), ()),
        (IMAGE, (2,), ()),
        (NATIVE, (), ()),
    ],
)
def test_an_ad_can_be_served_in_the_versions_that_are_written(
    fields: dict[str, Any], stated: tuple[int, ...], writable: tuple[int, ...]
) -> None:
    assert writable_protocols(creative_of(fields, protocols=stated)) == writable


@pytest.mark.parametrize(
    ("asked", "protocol", "version"),
    [(0, 2, "2.0"), (3, 3, "3.0"), (7, 7, "4.0"), (11, 11, "4.1"), (13, 13, "4.2")],
)
def test_the_document_is_of_the_version_asked_for(asked: int, protocol: int, version: str) -> None:
    got = bid(creative_of(VIDEO, protocols=(2, 3, 7, 11, 13)), protocol=asked)
    assert (got["protocol"], ET.fromstring(got["adm"]).attrib["version"]) == (protocol, version)


@pytest.mark.parametrize(("stated", "asked"), [((2,), 3), ((5,), 0), ((9,), 9)])
def test_a_version_that_the_ad_does_not_have_is_never_made_up(stated: tuple[int, ...], asked: int) -> None:
    with pytest.raises(AssertionError, match=f"creative k1 for protocol {asked}, which must be one of"):
        template(creative_of(VIDEO, protocols=stated), protocol=asked)


@pytest.mark.parametrize("fields", [IMAGE, NATIVE])
def test_banner_and_native_have_no_protocol(fields: dict[str, Any]) -> None:
    assert "protocol" not in bid(creative_of(fields, protocols=(2,)))


def test_attribute_16_makes_a_video_skippable() -> None:
    skippable, plain = (ET.fromstring(bid(creative_of(VIDEO, attr=attr))["adm"]) for attr in ((16,), ()))
    assert next(skippable.iter("Linear")).attrib == {"skipoffset": "00:00:05"}
    assert next(plain.iter("Linear")).attrib == {}


def test_the_serving_of_an_ad_is_named_by_its_bid() -> None:
    adm = bid(creative_of(AUDIO))["adm"]
    assert next(ET.fromstring(adm).iter("AdServingId")).text == BID_ID


def test_audio_has_no_picture_and_lies_over_nothing() -> None:
    adm = bid(creative_of(AUDIO, w=300, h=250, linearity=2))["adm"]
    file = next(ET.fromstring(adm).iter("MediaFile"))
    assert (file.attrib["width"], file.attrib["height"]) == ("0", "0")


def test_a_non_linear_video_is_an_overlay() -> None:
    adm = bid(creative_of(VIDEO, linearity=2, mime="image/png"))["adm"]
    assert next(ET.fromstring(adm).iter("StaticResource")).attrib == {"creativeType": "image/png"}


# --- native


def test_a_native_bid_answers_what_was_asked() -> None:
    ask = ask_of('{"assets":[{"id":7,"img":{"type":3}},{"id":"8","title":{}}]}')
    adm = orjson.loads(bid(creative_of(NATIVE), ask=ask)["adm"])
    assert adm["assets"] == [
        {"id": 7, "img": {"url": "https://cdn.example/n.png"}},
        {"id": "8", "title": {"text": "Shoes"}},
    ]
    assert adm["link"]["url"].startswith("https://t.example/c?t=BROWSER&u=")
    assert adm["imptrackers"] == ["https://t.example/i?t=BROWSER"]


@pytest.mark.parametrize(
    "ask", [None, ask_of('{"assets":[{"id":1,"required":1,"video":{}}]}')], ids=["none", "video"]
)
def test_a_slot_that_a_native_ad_does_not_meet_gets_no_template(ask: NativeAsk | None) -> None:
    with pytest.raises(AssertionError, match="native creative k1, which does not meet"):
        template(creative_of(NATIVE), ask=ask)


# --- no bid


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("nbr", b'{"id":"r","seatbid":[],"nbr":2}'),
        ("empty_seatbid", b'{"id":"r","seatbid":[]}'),
        ("empty_object", b"{}"),
        ("none", b""),
    ],
)
def test_no_bid_is_said_in_the_form_of_the_exchange(form: NoBid, body: bytes) -> None:
    assert no_bid_response("r", 2, form) == body
