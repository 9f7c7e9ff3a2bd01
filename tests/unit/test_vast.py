"""VAST documents: well-formed in every version, with the elements of its schema in their order."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bidder.openrtb.markup.pieces import TOKEN, Slot
from bidder.openrtb.markup.vast import SKIP_AFTER_S, VERSIONS, VastAd, clock, vast, xml_text

FILLED = {Slot.EXCHANGE_TOKEN: "EXCHANGE", Slot.BROWSER_TOKEN: "BROWSER", Slot.BID_ID: "BID"}
ALL = sorted(VERSIONS)
MODERN = [number for number in ALL if VERSIONS[number] >= "4"]
SERVED = [number for number in ALL if VERSIONS[number] >= "4.1"]
ODD = [
    "https://a.example/?a=1&b=2",
    "https://a.example/?q=]]>&r=]]]]>>",
    "https://a.example/?q='\"<tag>&amp;",
    "https://a.example/${AUCTION_PRICE}?p=%24%7B",
    "https://ä.example/ü?ö=é",
]


def ad(**changes: Any) -> VastAd:
    fields: dict[str, Any] = {
        "id": "k1",
        "media_url": "https://cdn.example/v.mp4?a=1&b=2",
        "mime": "video/mp4",
        "duration_s": 15,
        "w": 640,
        "h": 360,
        "bitrate_kbps": 900,
        "click_url": f"https://t.example/c?t={TOKEN}&u=x",
        "pixel_url": f"https://t.example/i?t={TOKEN}",
    }
    return VastAd(**(fields | changes))


def text_of(made: VastAd, protocol: int = 3) -> str:
    return "".join(piece if isinstance(piece, str) else FILLED[piece] for piece in vast(made, protocol))


def document(made: VastAd | None = None, protocol: int = 3) -> ET.Element:
    return ET.fromstring(text_of(made or ad(), protocol))


def inline(made: VastAd | None = None, protocol: int = 3) -> ET.Element:
    found = document(made, protocol).find("Ad/InLine")
    assert found is not None
    return found


def one(element: ET.Element, path: str) -> ET.Element:
    found = element.findall(path)
    assert len(found) == 1, f"{path} must be there once, was {len(found)} times"
    return found[0]


def names(element: ET.Element) -> list[str]:
    return [child.tag for child in element]


@pytest.mark.parametrize("protocol", ALL)
def test_a_document_says_its_version(protocol: int) -> None:
    assert document(protocol=protocol).attrib == {"version": VERSIONS[protocol]}


@pytest.mark.parametrize("protocol", [2, 3])
def test_before_4_the_title_comes_first_and_the_file_last(protocol: int) -> None:
    made = inline(protocol=protocol)
    assert names(made) == ["AdSystem", "AdTitle", "Impression", "Creatives"]
    assert names(one(made, "Creatives/Creative")) == ["Linear"]
    assert names(one(made, "Creatives/Creative/Linear")) == ["Duration", "VideoClicks", "MediaFiles"]


@pytest.mark.parametrize("protocol", MODERN)
def test_from_4_on_the_impression_comes_first_and_the_click_last(protocol: int) -> None:
    made = inline(protocol=protocol)
    serving = ["AdServingId"] if protocol in SERVED else []
    assert names(made) == ["AdSystem", "Impression", *serving, "AdTitle", "Creatives"]
    assert names(one(made, "Creatives/Creative")) == ["UniversalAdId", "Linear"]
    assert names(one(made, "Creatives/Creative/Linear")) == ["Duration", "MediaFiles", "VideoClicks"]


@pytest.mark.parametrize("protocol", ALL)
def test_a_view_is_asked_for_from_4_on_behind_the_impression(protocol: int) -> None:
    made = inline(ad(view_url=f"https://t.example/view?t={TOKEN}"), protocol)
    found = [one.text for one in made.findall("ViewableImpression/Viewable")]
    assert found == (["https://t.example/view?t=BROWSER"] if protocol in MODERN else [])
    if protocol in MODERN:
        assert names(made)[:3] == ["AdSystem", "Impression", "ViewableImpression"]


def test_nobody_is_asked_whether_audio_was_viewed() -> None:
    assert "Viewable" not in text_of(ad(audio=True, view_url="https://t.example/view"), 11)


@pytest.mark.parametrize("protocol", SERVED)
def test_from_4_1_on_the_serving_is_named_by_the_bid(protocol: int) -> None:
    assert one(inline(protocol=protocol), "AdServingId").text == "BID"


def test_only_4_0_repeats_the_universal_id_as_an_attribute() -> None:
    found = {
        VERSIONS[protocol]: one(inline(protocol=protocol), "Creatives/Creative/UniversalAdId")
        for protocol in MODERN
    }
    assert {version for version, element in found.items() if "idValue" in element.attrib} == {"4.0"}
    assert {element.text for element in found.values()} == {"unknown"}


@pytest.mark.parametrize("protocol", ALL)
def test_the_file_has_type_size_bitrate_and_delivery(protocol: int) -> None:
    file = one(inline(protocol=protocol), ".//MediaFile")
    assert file.attrib == {
        "delivery": "progressive",
        "type": "video/mp4",
        "bitrate": "900",
        "width": "640",
        "height": "360",
    }
    assert file.text == "https://cdn.example/v.mp4?a=1&b=2"


def test_a_bitrate_that_is_not_known_is_left_out() -> None:
    assert "bitrate" not in one(inline(ad(bitrate_kbps=0)), ".//MediaFile").attrib


@pytest.mark.parametrize(("number", "word"), [(1, "streaming"), (2, "progressive"), (3, "progressive")])
def test_delivery_is_one_of_the_two_words_of_vast(number: int, word: str) -> None:
    assert one(inline(ad(delivery=number)), ".//MediaFile").attrib["delivery"] == word


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00"), (15, "00:00:15"), (60, "00:01:00"), (754, "00:12:34"), (3_600, "01:00:00")],
)
def test_a_duration_is_written_as_a_clock(seconds: int, text: str) -> None:
    assert clock(seconds) == text
    assert one(inline(ad(duration_s=seconds)), ".//Duration").text == text


@pytest.mark.parametrize("protocol", [number for number in ALL if number != 2])
def test_a_skippable_ad_says_when_it_can_be_skipped(protocol: int) -> None:
    made = one(inline(ad(skippable=True), protocol), ".//Linear")
    assert made.attrib == {"skipoffset": f"00:00:0{SKIP_AFTER_S}"}


def test_an_ad_that_is_over_sooner_can_be_skipped_at_its_end() -> None:
    assert one(inline(ad(skippable=True, duration_s=3)), ".//Linear").attrib == {"skipoffset": "00:00:03"}


def test_vast_2_knows_nothing_of_skipping() -> None:
    assert one(inline(ad(skippable=True), 2), ".//Linear").attrib == {}


def test_an_ad_that_cannot_be_skipped_says_nothing_of_it() -> None:
    assert one(inline(ad()), ".//Linear").attrib == {}


@pytest.mark.parametrize("protocol", ALL)
def test_a_click_and_the_pixel_carry_the_browser_token(protocol: int) -> None:
    made = inline(protocol=protocol)
    assert one(made, ".//ClickThrough").text == "https://t.example/c?t=BROWSER&u=x"
    assert one(made, "Impression").text == "https://t.example/i?t=BROWSER"


@pytest.mark.parametrize("protocol", ALL)
def test_billing_by_impression_comes_before_the_pixel_with_the_exchange_token(protocol: int) -> None:
    billing = f"https://t.example/bill?t={TOKEN}&p=${{AUCTION_PRICE}}"
    made = inline(ad(billing_url=billing), protocol)
    assert [element.text for element in made.findall("Impression")] == [
        "https://t.example/bill?t=EXCHANGE&p=${AUCTION_PRICE}",
        "https://t.example/i?t=BROWSER",
    ]


@pytest.mark.parametrize("protocol", ALL)
def test_no_event_is_tracked_that_nobody_listens_to(protocol: int) -> None:
    assert not inline(protocol=protocol).findall(".//Tracking")
    assert not inline(protocol=protocol).findall(".//Error")


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("linearity", [1, 2])
def test_nothing_in_a_document_looks_insecure(protocol: int, linearity: int) -> None:
    assert "http://" not in text_of(ad(linearity=linearity), protocol)


# --- audio


@pytest.mark.parametrize("protocol", SERVED)
def test_audio_says_so_from_4_1_on(protocol: int) -> None:
    assert one(document(ad(audio=True), protocol), "Ad").attrib["adType"] == "audio"


@pytest.mark.parametrize("protocol", [number for number in ALL if number not in SERVED])
def test_audio_is_no_type_of_ad_before_4_1(protocol: int) -> None:
    assert "adType" not in one(document(ad(audio=True), protocol), "Ad").attrib


def test_an_audio_file_has_no_picture() -> None:
    file = one(inline(ad(audio=True, mime="audio/mpeg", w=0, h=0), 11), ".//MediaFile")
    assert (file.attrib["type"], file.attrib["width"], file.attrib["height"]) == ("audio/mpeg", "0", "0")


# --- non-linear


@pytest.mark.parametrize("protocol", ALL)
def test_an_overlay_is_a_static_resource_behind_a_click(protocol: int) -> None:
    made = one(
        inline(ad(linearity=2, mime="image/png", media_url="https://cdn.example/o.png"), protocol),
        "Creatives/Creative/NonLinearAds/NonLinear",
    )
    assert made.attrib == {"width": "640", "height": "360", "minSuggestedDuration": "00:00:15"}
    assert names(made) == ["StaticResource", "NonLinearClickThrough"]
    resource = one(made, "StaticResource")
    assert (resource.attrib, resource.text) == ({"creativeType": "image/png"}, "https://cdn.example/o.png")
    assert one(made, "NonLinearClickThrough").text == "https://t.example/c?t=BROWSER&u=x"


def test_an_overlay_has_no_linear_part() -> None:
    assert not inline(ad(linearity=2)).findall(".//Linear")


# --- what is escaped


@pytest.mark.parametrize("url", ODD)
@pytest.mark.parametrize("linearity", [1, 2])
def test_odd_characters_of_a_url_survive(url: str, linearity: int) -> None:
    made = inline(
        ad(media_url=url, click_url=url, pixel_url=url, billing_url=url + TOKEN, linearity=linearity)
    )
    path = ".//MediaFile" if linearity == 1 else ".//StaticResource"
    click = ".//ClickThrough" if linearity == 1 else ".//NonLinearClickThrough"
    assert [one(made, path).text, one(made, click).text] == [url, url]
    assert [element.text for element in made.findall("Impression")] == [url + "EXCHANGE", url]


@pytest.mark.parametrize(
    ("text", "encoded"),
    [("\r\n", "%0D%0A"), (" ", "%20"), ("\x01", "%01"), ("\ud800", "%ED%A0%80"), ("\uffff", "%EF%BF%BF")],
)
def test_what_no_document_may_hold_is_percent_encoded_in_a_url(text: str, encoded: str) -> None:
    made = inline(ad(media_url=f"https://cdn.example/{text}"))
    assert one(made, ".//MediaFile").text == f"https://cdn.example/{encoded}"


@pytest.mark.parametrize("text", ["Fish & Chips", "<b>", "]]>", "a\"b'c", "a\tb\r\nc", "Größe 💡"])
def test_odd_characters_of_a_name_survive(text: str) -> None:
    made = inline(ad(id=text, mime=text))
    assert one(made, "AdTitle").text == text
    assert one(made, "Creatives/Creative").attrib["id"] == text
    assert one(made, ".//MediaFile").attrib["type"] == text


@pytest.mark.parametrize("text", ["\0", "\x1f", "\ud800", "\ufffe"])
def test_what_no_document_may_hold_is_replaced_in_a_name(text: str) -> None:
    assert xml_text(f"a{text}b") == "a\ufffdb"
