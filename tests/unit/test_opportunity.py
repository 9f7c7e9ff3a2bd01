"""Requests to columns: what a model and targeting are shown of a request."""

import struct
from typing import Any

import numpy as np
import orjson
import pytest

from bidder.core.opportunity import (
    RAW_FEATURES,
    RowEncoder,
    audience_of,
    browser_of,
    hour_of_week,
    raw_features,
    sizes_of,
)
from bidder.openrtb.codec import decode
from bidder.openrtb.request import BidRequest
from models.schema import Feature, FeatureSpec

HOUR_NS = 3_600 * 10**9
WHOLE: dict[str, Any] = {
    "id": "r",
    "imp": [
        {
            "id": "1",
            "banner": {"format": [{"w": 300, "h": 250}, {"w": 728, "h": 90}], "pos": 3},
            "tagid": "top",
        }
    ],
    "site": {"domain": "News.Example"},
    "device": {
        "ua": "Mozilla/5.0 Chrome/126 Safari/537",
        "os": "Windows",
        "devicetype": 2,
        "geo": {"country": "USA", "region": "CA", "city": "LA"},
    },
    "user": {"data": [{"segment": [{"id": "s1"}, {}]}, {}, {"segment": [{"id": "s2"}]}]},
}


def request(**changes: Any) -> BidRequest:
    return decode(orjson.dumps({**WHOLE, **changes})).request


def raw(made: BidRequest, personal: bool = True, floor: int = 0, hour: int = 0) -> dict[str, Any]:
    imp = made.imp[0]
    values = raw_features(audience_of(made, "one", personal), imp, sizes_of(imp), floor, hour)
    return dict(zip(RAW_FEATURES, values, strict=True))


def test_features_of_a_whole_request() -> None:
    assert raw(request(), floor=250_000, hour=7 * 24 - 1) == {
        "exchange": "one",
        "region": "CA",
        "city": "LA",
        "domain": "news.example",
        "tag_id": "top",
        "size": "300x250",
        "position": "3",
        "os": "windows",
        "browser": "chrome",
        "device_type": "2",
        "hour": "23",
        "weekday": "6",
        "floor_cpm": 0.25,
        "segment_count": 2.0,
    }


def test_features_of_a_bare_request_are_unknown() -> None:
    bare = raw(request(imp=[{"id": "1", "video": {}}], site=None, device=None, user=None))
    known = {name for name, value in bare.items() if value is not None}
    assert known == {"exchange", "hour", "weekday", "floor_cpm", "segment_count"}


def test_without_personal_data_city_and_segments_are_as_if_absent() -> None:
    plain, private = raw(request()), raw(request(), personal=False)
    assert {name for name in plain if plain[name] != private[name]} == {"city", "segment_count"}
    assert (private["city"], private["segment_count"]) == (None, 0.0)


def test_an_app_is_known_by_its_bundle_and_else_by_its_domain() -> None:
    assert raw(request(site=None, app={"bundle": "Com.Game", "domain": "g.example"}))["domain"] == "com.game"
    assert raw(request(site=None, app={"domain": "g.example"}))["domain"] == "g.example"


@pytest.mark.parametrize(
    ("banner", "sizes"),
    [
        ({"format": [{"w": 300, "h": 250}, {"w": 1, "h": 2}], "w": 5, "h": 5}, ("300x250", "1x2")),
        ({"w": 5, "h": 6}, ("5x6",)),
        ({"w": 5}, ()),
        ({"w": 0, "h": 0}, ()),
        ({"format": [{"w": 300}, {}]}, ()),
        ({}, ()),
    ],
)
def test_sizes_are_those_of_format_or_else_of_the_banner(
    banner: dict[str, Any], sizes: tuple[str, ...]
) -> None:
    assert sizes_of(request(imp=[{"id": "1", "banner": banner}]).imp[0]) == sizes


def test_other_media_have_no_sizes() -> None:
    assert sizes_of(request(imp=[{"id": "1", "video": {}}]).imp[0]) == ()


@pytest.mark.parametrize(
    ("at_ns", "hour"),
    [
        (0, 72),  # 1970-01-01 was a Thursday
        (HOUR_NS - 1, 72),
        (HOUR_NS, 73),
        (4 * 24 * HOUR_NS - 1, 167),  # the last instant of that Sunday
        (4 * 24 * HOUR_NS, 0),
        (-1, 71),
        (-72 * HOUR_NS - 1, 167),
        (1_772_409_600 * 10**9, 0),  # Monday, 2 March 2026, 00:00
    ],
)
def test_hour_of_the_week_begins_on_monday(at_ns: int, hour: int) -> None:
    assert hour_of_week(at_ns) == hour


@pytest.mark.parametrize(
    ("ua", "browser"),
    [
        ("Chrome/126 Safari/537 Edg/126", "edge"),
        ("Chrome/126 Safari/537 OPR/99", "opera"),
        ("Chrome/126 Safari/537", "chrome"),
        ("CriOS/126 Safari/604", "chrome"),
        ("FxiOS/126 Safari/604", "firefox"),
        ("Version/17 Safari/605", "safari"),
        ("Trident/7.0", "ie"),
        ("curl/8", "other"),
        ("", "other"),
    ],
)
def test_browser_is_named_by_its_most_particular_mark(ua: str, browser: str) -> None:
    assert browser_of(ua) == browser


SPEC = FeatureSpec(
    (
        Feature("region", "categorical", "request", ("NY", "CA")),
        Feature("campaign", "categorical", "campaign", ("c1",)),
        Feature("segment:s2", "numeric", "request"),
        Feature("floor_cpm", "numeric", "request"),
        Feature("segment:s9", "numeric", "request"),
        Feature("city", "categorical", "request", ("SF",)),
    )
)


def encoded(made: BidRequest, row: int = 1, floor: int = 0) -> list[float]:
    encoder = RowEncoder(SPEC)
    out = np.full((3, encoder.width), -1.0)
    audience, imp = audience_of(made, "one", True), made.imp[0]
    values = raw_features(audience, imp, sizes_of(imp), floor, 0)
    encoder.write(values, audience.segments, memoryview(out.data).cast("B"), row)
    assert (np.delete(out, row, axis=0) == -1.0).all()
    return [float(value) for value in out[row]]


def test_encoder_writes_codes_in_the_order_of_the_request_features() -> None:
    assert RowEncoder(SPEC).indices.tolist() == [0, 2, 3, 4, 5]
    assert encoded(request(), floor=1_500_000) == [2.0, 1.0, 1.5, 0.0, 0.0]


def test_encoder_writes_only_its_own_row() -> None:
    assert encoded(request(), row=0) == encoded(request(), row=2)


def test_unknown_category_is_code_0() -> None:
    assert encoded(request(device=None))[0] == 0.0


def test_a_numeric_feature_without_a_value_is_nan() -> None:
    encoder = RowEncoder(FeatureSpec((Feature("region", "numeric", "request"),)))
    out = np.zeros((1, 1))
    imp = request().imp[0]
    encoder.write(
        raw_features(audience_of(request(), "one", True), imp, (), 0, 0),
        (),
        memoryview(out.data).cast("B"),
        0,
    )
    assert np.isnan(out[0, 0])


def test_a_feature_that_no_request_has_is_refused() -> None:
    with pytest.raises(ValueError, match="was shoe_size"):
        RowEncoder(FeatureSpec((Feature("shoe_size", "numeric", "request"),)))


def test_a_row_beyond_the_columns_raises_instead_of_writing() -> None:
    with pytest.raises(struct.error):
        encoded(request(), row=3)
