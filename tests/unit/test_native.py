"""Native orders: read as senders write them, answered in the ids asked, or refused with a reason."""

import json
from typing import Any

import pytest

from bidder.core.campaigns import Native
from bidder.openrtb.markup.native import native_markup
from bidder.openrtb.markup.pieces import TOKEN, Slot
from bidder.openrtb.native import (
    MAX_BRACKETS,
    MAX_REQUEST_CHARACTERS,
    AssetAsk,
    NativeAnswer,
    NativeAsk,
    answer,
    native_ask,
)
from tests.support.data import recorded

ADS = Native(
    title="Shoes that fit",
    text="Walk further in them.",
    sponsored="Shop",
    cta="Buy now",
    icon_url="https://cdn.example/icon.png",
    icon_w=80,
    icon_h=80,
    image_url="https://cdn.example/main.jpg?v=1",
    image_w=1200,
    image_h=627,
)
TITLE = {"id": 1, "required": 1, "title": {"len": 90}}


def order(*assets: dict[str, Any], **changes: Any) -> str:
    return json.dumps({"ver": "1.2", "assets": list(assets) or [TITLE]} | changes)


def asked(*assets: dict[str, Any], **changes: Any) -> NativeAsk:
    ask, fault = native_ask(order(*assets, **changes))
    assert ask is not None, fault
    return ask


def asset(**fields: Any) -> AssetAsk:
    return asked({"id": 1, "required": 1} | fields).assets[0]


def met(fields: dict[str, Any], native: Native = ADS, mime: str = "") -> Any:
    """What answers one required asset, or None."""
    made = answer(asked({"id": 7, "required": 1} | fields), native, mime)
    return None if made is None else json.loads(made.assets)[0]


def img(**fields: Any) -> dict[str, Any]:
    return {"img": {"type": 3} | fields}


def data(number: int, **fields: Any) -> dict[str, Any]:
    return {"data": {"type": number} | fields}


# --- reading


def test_the_root_of_1_0_is_taken_off_and_wanted_back() -> None:
    ask, _ = native_ask(json.dumps({"native": {"ver": "1.0", "assets": [TITLE]}}))
    assert ask is not None
    assert (ask.ver, ask.rooted, len(ask.assets)) == ("1.0", True, 1)


def test_an_order_without_a_root_is_answered_without_one() -> None:
    assert not asked(ver="1.0").rooted


@pytest.mark.parametrize(
    ("ver", "rooted"), [("1", True), ("1.0", True), (1, True), ("1.1", False), ("1.2", False), ("x", False)]
)
def test_only_a_root_of_1_0_is_given_back(ver: str | int, rooted: bool) -> None:
    ask, _ = native_ask(json.dumps({"native": {"ver": ver, "assets": [TITLE]}}))
    assert ask is not None
    assert ask.rooted is rooted


def test_a_root_of_an_unstated_version_is_given_back() -> None:
    ask, _ = native_ask(json.dumps({"native": {"assets": [TITLE]}}))
    assert ask is not None
    assert (ask.ver, ask.rooted) == ("1.2", True)


def test_an_unstated_version_is_the_latest() -> None:
    ask, _ = native_ask(json.dumps({"assets": [TITLE]}))
    assert ask is not None
    assert (ask.ver, ask.rooted) == ("1.2", False)


def test_integers_in_strings_and_true_for_one_are_read() -> None:
    made = asset(required=True, img={"type": "3", "wmin": "300", "hmin": 250.0})
    assert (made.required, made.type, made.w, made.h) == (True, 3, 300, 250)


@pytest.mark.parametrize("given", [3, "3", "main image", 0])
def test_the_id_of_an_asset_is_given_back_as_it_came(given: int | str) -> None:
    made = answer(asked(TITLE | {"id": given}), ADS)
    assert made is not None
    assert json.loads(made.assets)[0]["id"] == given


def test_unknown_fields_are_passed_over() -> None:
    assert asked(TITLE | {"ext": {"x": 1}}, layout="list", plcmttype=None, ext=[[]]).assets[0].kind == "title"


@pytest.mark.parametrize(
    ("trackers", "takes"),
    [
        ([{"event": 1, "methods": [1, 2]}], True),
        ([{"event": 2, "methods": [1]}, {"event": 1, "methods": [1]}], True),
        ([{"event": 1, "methods": [2]}], False),
        ([{"event": 555, "methods": [1]}], False),
        ([{"event": 1}], False),
        (None, False),
    ],
)
def test_a_pixel_goes_where_one_is_taken_for_the_impression(trackers: Any, takes: bool) -> None:
    assert asked(eventtrackers=trackers).pixel_event is takes


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "truncated"),
        ("{json string}", "malformed"),
        ("[]", "Expected `object`"),
        ('"{}"', "Expected `object`"),
        ("null", "Expected `object`"),
        ("{}", "ask for assets"),
        ('{"assets":[]}', "ask for assets"),
        ('{"native":{"assets":null}}', "ask for assets"),
        (order({"required": 1, "title": {"len": 9}}), "missing required field `id`"),
        (order({"id": 1, "required": "yes", "title": {}}), "Expected `bool | int"),
        (order({"id": 1, "data": {"len": 9}}), "missing required field `type`"),
        (order({"id": 1, "img": {"w": 0.5}}), "got `float`"),
        (order(TITLE, TITLE), "must differ"),
    ],
)
def test_an_order_that_cannot_be_read_is_refused_with_the_reason(text: str, why: str) -> None:
    ask, fault = native_ask(text)
    assert ask is None
    assert why in fault


def test_a_long_order_is_refused() -> None:
    longest = order(ext="x" * (MAX_REQUEST_CHARACTERS - len(order(ext=""))))
    assert native_ask(longest)[0] is not None
    assert f"at most {MAX_REQUEST_CHARACTERS} characters" in native_ask(longest + " ")[1]


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_a_deep_order_is_refused_and_does_not_exhaust_the_stack(bracket: str) -> None:
    ask, fault = native_ask('{"ext":' + bracket * (MAX_BRACKETS + 1))
    assert ask is None
    assert f"at most {MAX_BRACKETS} objects and lists" in fault
    assert native_ask('{"ext":' + bracket * (MAX_BRACKETS - 2))[0] is None


def test_equal_orders_are_one_object() -> None:
    assert asked(TITLE, layout=1) is asked(TITLE, layout=2)


def test_orders_that_differ_are_different_keys() -> None:
    assert asked(TITLE) != asked(TITLE, ver="1.1")


def test_recorded_orders_are_read_or_refused_with_a_reason() -> None:
    lines = recorded("openrtb/requests_valid.jsonl").read_text().splitlines()
    texts = {
        imp["native"]["request"]
        for line in lines
        for imp in json.loads(line).get("imp") or ()
        if "request" in imp.get("native", {})
    }
    results = [native_ask(text) for text in texts]
    assert all((ask is None) == bool(fault) for ask, fault in results)
    assert sum(ask is not None for ask, _ in results) > len(results) / 2


# --- answering


def test_a_title_is_given_whole() -> None:
    assert met({"title": {"len": 14}}) == {"id": 7, "title": {"text": "Shoes that fit"}}


def test_a_title_that_is_too_long_is_not_cut() -> None:
    assert met({"title": {"len": 13}}) is None


@pytest.mark.parametrize("title", [{}, {"len": 0}, {"len": None}])
def test_a_title_without_a_limit_takes_any(title: dict[str, Any]) -> None:
    assert met({"title": title}) is not None


@pytest.mark.parametrize(("number", "text"), [(1, "Shop"), (2, "Walk further in them."), (12, "Buy now")])
def test_texts_are_given_by_their_type(number: int, text: str) -> None:
    assert met(data(number, len=25)) == {"id": 7, "data": {"value": text}}


def test_a_text_that_is_too_long_is_not_cut() -> None:
    assert met(data(2, len=20)) is None


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 10, 11, 500])
def test_a_text_that_no_ad_has_is_not_made_up(number: int) -> None:
    assert met(data(number)) is None


@pytest.mark.parametrize(("number", "field"), [(1, "sponsored"), (2, "text"), (12, "cta")])
def test_a_text_that_the_ad_lacks_is_not_given(number: int, field: str) -> None:
    assert met(data(number), Native(title="x")) is None
    assert met(data(number), Native(title="x", **{field: "y"})) is not None  # type: ignore[arg-type]


def test_an_icon_and_a_main_image_are_told_apart() -> None:
    assert met(img(type=1)) == {"id": 7, "img": {"url": ADS.icon_url, "w": 80, "h": 80}}
    assert met(img(type=3)) == {"id": 7, "img": {"url": ADS.image_url, "w": 1200, "h": 627}}


def test_an_image_of_no_type_is_the_main_one() -> None:
    assert met({"img": {}})["img"]["url"] == ADS.image_url


@pytest.mark.parametrize("number", [2, 4, 500])
def test_an_image_of_another_type_cannot_be_given(number: int) -> None:
    assert met(img(type=number)) is None


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ({"w": 1200, "h": 627}, True),
        ({"w": 1200}, True),
        ({"w": 1201}, False),
        ({"h": 626}, False),
        ({"wmin": 1200, "hmin": 627}, True),
        ({"wmin": 1201}, False),
        ({"hmin": 628}, False),
        ({"w": 180, "h": 120, "wmin": 0, "hmin": 0}, True),
        ({"w": 0, "h": 0}, True),
    ],
)
def test_w_alone_is_exact_and_wmin_is_a_least(size: dict[str, int], fits: bool) -> None:
    assert (met(img(**size)) is not None) is fits


def test_an_image_of_unknown_size_meets_no_demand_on_it() -> None:
    plain = Native(title="x", image_url="https://cdn.example/a.png")
    assert met(img(wmin=1), plain) is None
    assert met(img(), plain) == {"id": 7, "img": {"url": "https://cdn.example/a.png"}}


@pytest.mark.parametrize(
    ("url", "mimes", "fits"),
    [
        ("https://cdn.example/a.png", ["image/png"], True),
        ("https://cdn.example/a.PNG?x=.gif", ["image/png"], True),
        ("https://cdn.example/a.png", ["image/jpeg", "image/gif"], False),
        ("https://cdn.example/a.jpg", ["image/jpg"], True),
        ("https://cdn.example/a.jpeg", ["IMAGE/JPEG"], True),
        ("https://cdn.example/a", ["image/png"], False),
        ("https://cdn.example/a", [], True),
    ],
)
def test_an_image_is_of_a_type_that_is_taken(url: str, mimes: list[str], fits: bool) -> None:
    assert (met(img(mimes=mimes), Native(title="x", image_url=url)) is not None) is fits


def test_the_type_of_an_image_is_taken_from_the_creative_where_its_address_does_not_tell() -> None:
    plain = Native(title="x", image_url="https://cdn.example/a")
    assert met(img(mimes=["image/webp"]), plain, "image/webp") is not None


@pytest.mark.parametrize("fields", [{"video": {"mimes": ["video/mp4"]}}, {}, {"ext": {"x": 1}}])
def test_a_required_video_or_unknown_asset_refuses_the_slot(fields: dict[str, Any]) -> None:
    assert met(fields) is None


def test_what_is_not_required_and_cannot_be_given_is_left_out() -> None:
    ask = asked(
        {"id": 4, "video": {"mimes": []}},
        {"id": 1, "required": 1, "title": {"len": 90}},
        {"id": 2, "data": {"type": 2, "len": 3}},
        {"id": 3, "required": 0, "img": {"type": 1, "w": 50}},
    )
    made = answer(ask, ADS)
    assert made is not None
    assert [given["id"] for given in json.loads(made.assets)] == [1]


def test_one_required_asset_that_is_not_met_refuses_the_slot() -> None:
    assert answer(asked(TITLE, {"id": 2, "required": 1, "data": {"type": 3}}), ADS) is None


def test_an_order_of_which_nothing_can_be_given_is_refused() -> None:
    assert answer(asked({"id": 2, "data": {"type": 3}}), ADS) is None


# --- the response object


def markup(**changes: Any) -> Any:
    made = answer(asked(**changes), ADS)
    return written(made)


def written(made: NativeAnswer | None) -> Any:
    assert made is not None
    click, pixel = f'https://t.example/c?t={TOKEN}&u="x"', f"https://t.example/i?t={TOKEN}"
    pieces = native_markup(made, click, pixel)
    assert pieces.count(Slot.BROWSER_TOKEN) == 2
    return json.loads("".join(piece if isinstance(piece, str) else "BROWSER" for piece in pieces))


def test_the_response_has_the_version_asked_the_assets_and_the_link() -> None:
    made = markup(ver="1.1")
    assert made == {
        "ver": "1.1",
        "assets": [{"id": 1, "title": {"text": "Shoes that fit"}}],
        "link": {"url": 'https://t.example/c?t=BROWSER&u="x"'},
        "imptrackers": ["https://t.example/i?t=BROWSER"],
    }


def test_the_impression_goes_to_the_event_trackers_where_they_take_it() -> None:
    made = markup(eventtrackers=[{"event": 1, "methods": [1]}])
    assert made["eventtrackers"] == [{"event": 1, "method": 1, "url": "https://t.example/i?t=BROWSER"}]
    assert "imptrackers" not in made


def test_the_response_of_1_0_stands_in_its_root() -> None:
    ask, _ = native_ask(json.dumps({"native": {"ver": "1.0", "assets": [TITLE]}}))
    assert ask is not None
    made = written(answer(ask, ADS))
    assert (list(made), made["native"]["ver"]) == (["native"], "1.0")


@pytest.mark.parametrize("text", ['"', "\\", "\0", "\n", "</script>", "💡", "\\u0000", "${AUCTION_PRICE}"])
def test_odd_characters_of_an_asset_survive(text: str) -> None:
    made = written(answer(asked(), Native(title=text)))
    assert made["assets"][0]["title"]["text"] == text
