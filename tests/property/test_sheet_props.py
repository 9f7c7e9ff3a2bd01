"""Any tree of advertisers, campaigns, line items and creatives survives every format of a sheet."""

import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bidder.core.campaigns import (
    DIMENSIONS,
    MAX_CAP_IMPRESSIONS,
    MAX_CAP_SECONDS,
    MAX_WINDOW_SECONDS,
    Advertiser,
    Approval,
    Budgets,
    Campaign,
    Cap,
    Creative,
    Flight,
    Goal,
    LineItem,
    Media,
    Modifier,
    Native,
    Pacing,
    Rule,
    Status,
    Targeting,
)
from bidder.errors import SheetError
from bidder.money import MAX_NANOS
from bidder.store.columns import COLUMNS, Level
from bidder.store.columns_targeting import BROWSERS, CONNECTIONS, DEVICES, INVENTORIES, SYSTEMS
from bidder.store.sheet import Sheet, parse_sheet, to_csv, to_json, to_toml

START_NS, END_NS = 10**18, 2 * 10**18

_marks = st.sampled_from("abé;|\\,\"'=*:/ \u00a0{}[]#%$\t")
_inner = st.text(_marks, max_size=6)
_text = st.builds("{}{}{}".format, st.sampled_from("aé;|\\=\"'*"), _inner, st.sampled_from("bé;|\\=\"'*"))
"""Text with the marks that sheets use themselves, without spaces at its ends: these are cut off."""
_line = _text.map(lambda text: text.replace("\t", " "))
_lower = _line.map(str.lower)
_identifier = st.text("abXY09._:-", min_size=1, max_size=6)
_domain = st.sampled_from(["a.example", "news.example", "x-y.co.example", "1.example"])
_url = st.builds("https://{}/{}".format, _domain, st.text("ab;|\\,\"'?=&%*", max_size=6))
_nanos = st.integers(1, MAX_NANOS)
_limit = st.one_of(st.just(0), _nanos)
_count = st.one_of(st.just(0), st.integers(1, 10**12))
_status = st.sampled_from(Status)


def _tuple(
    values: st.SearchStrategy[Any], most: int = 2, **options: Any
) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=most, **options).map(tuple)


_VALUES: dict[str, st.SearchStrategy[str]] = {
    "geo": st.sampled_from(["USA", "CA", "USA-CA", "CHN-216", "DE"]),
    "city": st.sampled_from(["paris", "FRA/paris", "new york", "são paulo"]),
    "circle": st.sampled_from(["48.85,2.35,25km", "-33.9,151.2,0.5km"]),
    "exchange": _line,
    "deal": _line,
    "inventory": st.sampled_from(INVENTORIES),
    "device": st.sampled_from(DEVICES),
    "os": st.sampled_from(SYSTEMS),
    "browser": st.sampled_from(BROWSERS),
    "carrier": _lower,
    "connection": st.sampled_from(CONNECTIONS),
    "language": st.sampled_from(["en", "de"]),
    "domain": st.sampled_from(["news.example", "com.example.app", "123456789"]),
    "content": st.sampled_from(["IAB7", "IAB7-12", "9:150", "6:JLBCU7"]),
    "keyword": _lower,
    "placement": st.sampled_from(["instl", "rewarded", "pos:1", "plcmt:4", "tag:A b"]),
    "viewability": st.sampled_from([str(share) for share in range(10, 101, 10)]),
    "segment": _line,
    "hour": st.integers(0, 167).map(str),
    "expression": st.sampled_from(
        ['device.make == "Ap|p;le" and imp.instl == 1', r'site.page contains "a\\\"b"', "not exists(app.ver)"]
    ),
}


def _rule(name: str) -> st.SearchStrategy[Rule]:
    values = _tuple(_VALUES[name], 1 if name == "viewability" else 2)
    return st.builds(Rule, values, values)


_targeting = st.builds(
    lambda rules: Targeting(**rules),
    st.fixed_dictionaries({}, optional={name: _rule(name) for name in DIMENSIONS}),
)
_modifier = st.sampled_from(DIMENSIONS).flatmap(
    lambda name: st.builds(
        Modifier,
        dimension=st.just(name),
        value=_VALUES[name],
        factor=st.floats(0, 10) | st.sampled_from([1.2, 0.1, 10]),
    )
)
_cap = st.builds(
    Cap,
    impressions=st.integers(1, MAX_CAP_IMPRESSIONS),
    seconds=st.integers(1, MAX_CAP_SECONDS) | st.sampled_from([60, 3_600, 86_400, 604_800]),
)
_flight = st.tuples(st.integers(START_NS, END_NS - 1), st.integers(1, 10**17)).map(
    lambda pair: Flight(start_ns=pair[0], end_ns=min(pair[0] + pair[1], END_NS))
)


_budgets = st.builds(
    Budgets,
    lifetime_nanos=_limit,
    daily_nanos=_limit,
    lifetime_impressions=_count,
    daily_impressions=_count,
)
_numbers = _tuple(st.integers(1, 1_000))
_pixels = st.integers(1, 10_000)
_markup = st.builds(
    "{}<a href='${{CLICK_URL}}'>{}".format,
    st.text("\n\r\t ;|\\", max_size=3),
    st.text("\n ;|\\=", max_size=4),
)
_native = st.builds(
    Native,
    title=_text,
    text=st.just("") | _text,
    sponsored=st.just("") | _text,
    cta=st.just("") | _text,
    icon_url=st.just("") | _url,
    icon_w=st.just(0) | _pixels,
    image_url=st.just("") | _url,
    image_h=st.just(0) | _pixels,
)
_common = {
    "landing_url": _url,
    "attr": _numbers,
    "api": _numbers,
    "adomain": _tuple(_domain),
    "cat": _tuple(_text),
    "bundle": st.just("") | _text,
    "language": st.sampled_from(["", "en"]),
    "status": _status,
    "approvals": st.dictionaries(_line, st.sampled_from(Approval), max_size=2),
}
_of_media: dict[Media, dict[str, st.SearchStrategy[Any]]] = {
    Media.BANNER: {"w": _pixels, "h": _pixels, "flex": st.booleans(), "btype": st.integers(0, 4)},
    Media.VIDEO: {
        "w": st.just(0) | _pixels,
        "media_url": _url,
        "mime": st.sampled_from(["video/mp4", "application/x-mpegURL".lower()]),
        "duration_s": st.integers(1, 3_600),
        "bitrate_kbps": st.integers(0, 1_000_000),
        "protocols": _numbers,
        "linearity": st.integers(1, 2),
        "delivery": st.integers(1, 3),
    },
    Media.AUDIO: {"media_url": _url, "mime": st.just("audio/mp4"), "duration_s": st.integers(1, 3_600)},
    Media.NATIVE: {"native": _native},
}


def _creative(creative_id: str) -> st.SearchStrategy[Creative]:
    plain = st.builds(
        Creative,
        id=st.just(creative_id),
        w=_pixels,
        h=_pixels,
        image_url=_url,
        landing_url=_url,
        attr=_numbers,
    )
    rich = [
        st.builds(Creative, id=st.just(creative_id), media=st.just(media), **_common, **own)
        for media, own in _of_media.items()
        if media is not Media.BANNER
    ]
    banner = _common | _of_media[Media.BANNER]
    rich += [
        st.builds(Creative, id=st.just(creative_id), **banner, **{side: made})
        for side, made in (("image_url", _url), ("html", _markup))
    ]
    return st.one_of(plain, *rich)


_buying: dict[str, st.SearchStrategy[Any]] = {
    "status": _status,
    "targeting": _targeting,
    "modifiers": _tuple(_modifier),
    "caps": _tuple(_cap),
}


_window = st.sampled_from([0, 1, 90, 3_600, 86_400, 7 * 86_400, MAX_WINDOW_SECONDS]) | st.integers(
    0, MAX_WINDOW_SECONDS
)


def _line_item(item_id: str, creative_ids: tuple[str, ...]) -> st.SearchStrategy[LineItem]:
    return st.builds(
        LineItem,
        id=st.just(item_id),
        name=st.just("") | _text,
        budgets=_budgets,
        flights=_tuple(_flight),
        goal=st.none() | st.sampled_from(Goal),
        value_nanos=_limit,
        max_bid_cpm_micros=st.just(0) | st.integers(10**6, MAX_NANOS),
        min_bid_cpm_micros=st.integers(0, 10**6),
        pacing=st.none() | st.sampled_from(Pacing),
        ahead_percent=st.integers(0, 100),
        catch_up=st.none() | st.sampled_from(("spread", "drop")),
        unknown_user=st.sampled_from([None, "refuse", "allow"]),
        click_window_seconds=st.none() | _window,
        view_window_seconds=st.none() | _window,
        creatives=_tuple(st.sampled_from(creative_ids)),
        **_buying,
    )


@st.composite
def _campaign(draw: st.DrawFn, campaign_id: str) -> Campaign:
    creative_ids = draw(st.lists(_identifier, min_size=1, max_size=3, unique=True).map(tuple))
    item_ids = draw(st.lists(st.integers(0, 9), max_size=2, unique=True))
    return draw(
        st.builds(
            Campaign,
            id=st.just(campaign_id),
            name=_text,
            advertiser=_identifier,
            adomain=_tuple(_domain, min_size=1),
            cat=_tuple(_text),
            bundle=st.just("") | _text,
            currency=st.sampled_from(["USD", "EUR"]),
            budget_nanos=_nanos,
            budgets=_budgets,
            start_ns=st.just(START_NS),
            end_ns=st.just(END_NS),
            goal=st.sampled_from(Goal),
            value_nanos=_nanos,
            max_bid_cpm_micros=st.integers(10**6, MAX_NANOS),
            min_bid_cpm_micros=st.integers(0, 10**6),
            pacing=st.sampled_from(Pacing),
            ahead_percent=st.integers(0, 100),
            catch_up=st.sampled_from(("spread", "drop")),
            shared_pacing=st.booleans(),
            unknown_user=st.sampled_from(["refuse", "allow"]),
            click_window_seconds=_window,
            view_window_seconds=_window,
            creatives=st.tuples(*map(_creative, creative_ids)),
            line_items=st.tuples(
                *(_line_item(f"{campaign_id}-{number}", creative_ids) for number in item_ids)
            ),
            **_buying,
        )
    )


def _advertiser(advertiser_id: str) -> st.SearchStrategy[Advertiser]:
    return st.builds(
        Advertiser,
        id=st.just(advertiser_id),
        name=st.just("") | _text,
        status=_status,
        time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"]),
        budgets=_budgets,
        caps=_tuple(_cap),
    )


_sheets = st.builds(
    Sheet,
    st.sampled_from([("a",), ("a", "b")]).flatmap(lambda ids: st.tuples(*map(_campaign, ids))).map(list),
    st.sampled_from([(), ("acme",), ("acme", "b")])
    .flatmap(lambda ids: st.tuples(*map(_advertiser, ids)))
    .map(list),
)
_fewer = settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@_fewer
@given(_sheets)
def test_a_csv_export_is_an_import_of_the_same_tree(sheet: Sheet) -> None:
    assert parse_sheet(to_csv(*sheet), ".csv", "s.csv") == sheet


@_fewer
@given(_sheets)
def test_a_json_export_is_an_import_of_the_same_tree(sheet: Sheet) -> None:
    assert parse_sheet(to_json(*sheet), ".json", "s.json") == sheet


@_fewer
@given(_sheets)
def test_a_toml_export_is_an_import_of_the_same_tree(sheet: Sheet) -> None:
    assert parse_sheet(to_toml(*sheet), ".toml", "s.toml") == sheet


_junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 10**20)
    | st.floats()
    | st.sampled_from(["", " ", "x", "a=b*c", "1/", "\\", "|"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "native", "w", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
_base = json.loads(
    to_json(
        [
            Campaign(
                id="a",
                name="A",
                advertiser="acme",
                adomain=("acme.example",),
                budget_nanos=1,
                start_ns=START_NS,
                end_ns=END_NS,
                value_nanos=1,
                max_bid_cpm_micros=1,
                creatives=(Creative(id="b", w=1, h=1, html="<a>", landing_url="https://a.example/"),),
                line_items=(LineItem(id="a-1"),),
            )
        ],
        [Advertiser(id="acme")],
    )
)
_PLACES: dict[str, tuple[str, ...]] = {
    "advertiser": tuple(COLUMNS[Level.ADVERTISER]),
    "campaign": (*COLUMNS[Level.CAMPAIGN], "line_item"),
    "line_item": tuple(COLUMNS[Level.LINE_ITEM]),
    "creatives": (*Creative.__struct_fields__, "native"),
}


@settings(max_examples=200)
@given(
    st.sampled_from(list(_PLACES)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.sampled_from(_PLACES[kind]))
    ),
    _junk,
)
def test_whatever_stands_in_a_cell_is_read_or_named(place: tuple[str, str], junk: Any) -> None:
    kind, column = place
    sheet = copy.deepcopy(_base)
    (campaign,) = sheet["campaign"]
    tables = {"campaign": campaign, "advertiser": sheet["advertiser"][0]}
    table = tables.get(kind) or campaign[kind][0]
    table[column] = junk
    try:
        read = parse_sheet(json.dumps(sheet), ".json", "s.json")
    except SheetError:
        return  # any other error is a failure
    assert parse_sheet(to_csv(*read), ".csv", "s.csv") == read
