"""Requests to columns: what a model and targeting are shown of a request."""

from typing import Any

import numpy as np
import orjson
import pytest

from bidder.core.opportunity import (
    RAW_FEATURES,
    Audience,
    RowEncoder,
    audience_of,
    hour_of_week,
    raw_features,
)
from bidder.core.scoring import Model, empty_table
from bidder.core.settings import EngineSettings
from bidder.core.specs import SlotBook
from bidder.core.table import LineTable
from bidder.core.views import ViewBook
from bidder.openrtb.codec import decode
from bidder.openrtb.request import BidRequest, Imp
from bidder.privacy.permissions import ALL, PRECISE_GEO, PROFILE
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


def first_size(imp: Imp) -> tuple[str | None, str | None]:
    """Size and position that a model is shown of an impression."""
    settings = EngineSettings()
    slots = SlotBook(LineTable({}, 0, settings)).media(imp, ("imp", 0), 10**9)
    return slots[0].features if slots else (None, None)


def request(**changes: Any) -> BidRequest:
    return decode(orjson.dumps({**WHOLE, **changes})).request


def audience(made: BidRequest, permitted: int = ALL) -> Audience:
    return audience_of(made, "one", permitted, ViewBook())


def raw(made: BidRequest, permitted: int = ALL, floor: int = 0, hour: int = 0) -> dict[str, Any]:
    imp = made.imp[0]
    size, position = first_size(imp)
    values = raw_features(audience(made, permitted), imp.tagid, size, position, floor, hour)
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


@pytest.mark.parametrize(
    ("permitted", "lost"),
    [(ALL & ~PROFILE, {"segment_count"}), (ALL & ~PRECISE_GEO, {"city"}), (0, {"city", "segment_count"})],
)
def test_what_is_not_permitted_is_as_if_absent(permitted: int, lost: set[str]) -> None:
    plain, private = raw(request()), raw(request(), permitted)
    assert {name for name in plain if plain[name] != private[name]} == lost
    assert private["city"] is None or "city" not in lost
    assert private["segment_count"] == (0.0 if "segment_count" in lost else 2.0)


def test_an_app_is_known_by_its_bundle_and_else_by_its_domain() -> None:
    assert raw(request(site=None, app={"bundle": "Com.Game", "domain": "g.example"}))["domain"] == "com.game"
    assert raw(request(site=None, app={"domain": "g.example"}))["domain"] == "g.example"


@pytest.mark.parametrize(
    ("banner", "size"),
    [
        ({"format": [{"w": 300, "h": 250}, {"w": 1, "h": 2}], "w": 5, "h": 5}, "300x250"),
        ({"w": 5, "h": 6}, "5x6"),
        ({"w": 5}, None),
        ({"w": 0, "h": 0}, None),
        ({"format": [{"w": 300}, {}]}, None),
        ({"format": [{"wratio": 6, "hratio": 5}, {"w": 7, "h": 8}]}, "7x8"),
        ({}, None),
    ],
)
def test_the_size_is_the_first_of_format_or_else_the_banners(
    banner: dict[str, Any], size: str | None
) -> None:
    assert first_size(request(imp=[{"id": "1", "banner": banner}]).imp[0])[0] == size


def test_other_media_have_no_size() -> None:
    assert first_size(request(imp=[{"id": "1", "video": {}}]).imp[0]) == (None, None)


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


def encoded(made: BidRequest, floor: int = 0, spec: FeatureSpec = SPEC, hour: int = 0) -> dict[str, float]:
    """Codes of a row by the names of their features."""
    encoder = RowEncoder(spec)
    imp = made.imp[0]
    row = np.frombuffer(
        encoder.row(audience(made), imp.tagid, first_size(imp), floor, hour), dtype=np.float64
    )
    return dict(zip([spec.names[index] for index in encoder.indices], row.tolist(), strict=True))


def test_a_row_holds_the_codes_of_the_request_features_alone() -> None:
    assert encoded(request(), floor=1_500_000) == {
        "region": 2.0, "segment:s2": 1.0, "floor_cpm": 1.5, "segment:s9": 0.0, "city": 0.0,
    }  # fmt: skip


def test_a_segment_of_our_own_profile_is_marked_and_not_counted() -> None:
    spec = FeatureSpec((*SPEC.features, Feature("segment_count", "numeric", "request")))
    encoder, asked = RowEncoder(spec), (audience(request()), "top", ("1x2", None), 0, 0)

    def marks(*own: str) -> dict[str, float]:
        row = np.frombuffer(encoder.row(*asked, own), dtype=np.float64)
        return dict(zip([spec.names[index] for index in encoder.indices], row.tolist(), strict=True))

    assert marks() == marks("unknown") == encoded(request(), spec=spec)
    assert marks("s9", "s2") == marks() | {"segment:s9": 1.0}
    assert encoder.row(*asked) == encoder.row(*asked, ())


def test_unknown_category_is_code_0() -> None:
    assert encoded(request(device=None))["region"] == 0.0


EVERY = FeatureSpec(
    tuple(
        Feature(name, "numeric", "request")
        if name in ("floor_cpm", "segment_count")
        else Feature(name, "categorical", "request", ("zzz", *values))
        for name, values in (
            *(("weekday", ("6", "0")), ("hour", ("23", "0")), ("os", ("windows",)), ("device_type", ("2",))),
            *(("segment_count", ()), ("region", ("CA",)), ("exchange", ("one",)), ("city", ("LA",))),
            *(("domain", ("news.example",)), ("size", ("300x250",)), ("position", ("3",)), ("floor_cpm", ())),
            *(("tag_id", ("top",)), ("browser", ("chrome",))),
        )
    )
)


@pytest.mark.parametrize(
    "made",
    [request(), request(device=None), request(user=None, site=None), request(imp=[{"id": "1", "video": {}}])],
)
def test_a_row_is_what_training_tables_are_written_from(made: BidRequest) -> None:
    shown = raw(made, floor=250_000, hour=7 * 24 - 1)
    codes = encoded(made, floor=250_000, spec=EVERY, hour=7 * 24 - 1)
    assert set(codes) == set(RAW_FEATURES)
    for feature in EVERY.features:
        value = shown[feature.name]
        if feature.kind == "categorical":
            assert codes[feature.name] == (
                feature.vocabulary.index(value) + 1 if value in feature.vocabulary else 0
            )
        else:
            assert codes[feature.name] == value


def test_an_encoder_asked_again_says_the_same() -> None:
    """What is kept of one request is of that kind of request."""
    encoder = RowEncoder(EVERY)
    views = ViewBook()
    mixed = [request(), request(device=None), request(site=None), request()]
    rows = [encoder.row(audience_of(made, "one", ALL, views), "top", ("1x2", None), 5, 3) for made in mixed]
    alone = [RowEncoder(EVERY).row(audience(made), "top", ("1x2", None), 5, 3) for made in mixed]
    assert rows == alone
    assert rows[0] == rows[3] != rows[1]


@pytest.mark.parametrize(
    ("feature", "wrong"),
    [
        (Feature("shoe_size", "numeric", "request"), "was shoe_size"),
        (
            Feature("floor_cpm", "categorical", "request", ("1",)),
            "floor_cpm must be numeric, was categorical",
        ),
        (Feature("segment_count", "categorical", "request"), "segment_count must be numeric"),
        (Feature("segment:s1", "categorical", "request"), "segment:s1 must be numeric"),
        (Feature("hour", "numeric", "request"), "hour must be categorical, was numeric"),
    ],
    ids=["unknown", "floor", "count", "segment", "hour"],
)
def test_a_feature_that_a_request_has_not_or_not_of_this_kind_is_refused(
    feature: Feature, wrong: str
) -> None:
    """It would be another number here than in the table that the model learned from."""
    with pytest.raises(ValueError, match=wrong):
        RowEncoder(FeatureSpec((Feature("region", "categorical", "request"), feature)))


def test_a_number_of_a_campaign_is_refused() -> None:
    spec = FeatureSpec((Feature("campaign", "numeric", "campaign"),))
    with pytest.raises(ValueError, match="campaign must be categorical, was numeric"):
        Model.of(spec, empty_table(), "x")
