"""What an opportunity shows in each dimension: one rule against one request, by the whole engine."""

from typing import Any

import pytest

from bidder.core.campaigns import Advertiser, Modifier, Rule, Targeting
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import Offer, S, campaign

MONDAY_NS = 1_772_409_600 * S
BANNER = {
    "id": "1",
    "banner": {"w": 300, "h": 250, "pos": 1},
    "ext": {"clearbid": {"campaign": "c1", "pctr": 0.001}},
}
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile/15E148 Safari/604.1"


def reason(dimension: str, rule: Rule, now_ns: int = MONDAY_NS, zone: str = "UTC", **request: Any) -> Reason:
    engine = make.engine([], now_ns=now_ns)
    own = campaign(targeting=Targeting(**{dimension: rule}))
    engine.adopt_campaigns({"c1": own}, 1, now_ns, {"shop": Advertiser(id="shop", time_zone=zone)})
    imp = {**BANNER, **request.pop("imp", {})}
    (row,) = make.decide(engine, make.body(Offer(more={"imp": [imp], **request})), now_ns=now_ns)
    return Reason(row["reason"])


def device(**fields: Any) -> dict[str, Any]:
    return {"device": fields}


def geo(**fields: Any) -> dict[str, Any]:
    return device(geo=fields)


def site(**fields: Any) -> dict[str, Any]:
    return {"site": fields}


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("exchange", "one", {"ext": {"exchange": "one"}}),
    ("inventory", "site", {"site": {}}),
    ("inventory", "app", {"app": {}}),
    ("inventory", "dooh", {"dooh": {}}),
    ("geo", "USA", geo(country="USA")),
    ("geo", "CA", geo(region="CA")),
    ("geo", "USA-CA", geo(country="USA", region="CA")),
    ("city", "paris", geo(city="Paris")),
    ("city", "FRA/paris", geo(city="PARIS", country="FRA")),
    ("circle", "48.8566,2.3522,25km", geo(lat=48.9, lon=2.3)),
    ("device", "tv", device(devicetype=3)),
    ("device", "phone", device(ua=PHONE)),
    ("device", "phone", device(ua=PHONE, devicetype=1)),
    ("os", "ios", device(ua=PHONE)),
    ("os", "windows", device(os="Windows")),
    ("browser", "safari", device(ua=PHONE)),
    ("carrier", "orange", device(carrier="Orange")),
    ("connection", "wifi", device(connectiontype=2)),
    ("connection", "cellular", device(connectiontype=7)),
    ("language", "de", device(language="DE-ch")),
    ("domain", "site.example", site(domain="a.B.site.example")),
    ("domain", "com.game", {"app": {"bundle": "com.Game"}}),
    ("content", "IAB7", site(cat=["IAB7-39"])),
    ("content", "IAB7", site(pagecat=["IAB7"])),
    ("content", "IAB7", site(sectioncat=["IAB7-1"])),
    ("content", "9:150", site(cat=["150"], cattax=9)),
    ("content", "IAB1", site(content={"cat": ["IAB1-2"]})),
    ("keyword", "cars", site(keywords="boats, Cars ,x")),
    ("keyword", "cars", site(kwarray=["cars"])),
    ("keyword", "cars", site(content={"keywords": "CARS"})),
    ("placement", "instl", {"imp": {"instl": 1}}),
    ("placement", "rewarded", {"imp": {"rwdd": 1}}),
    ("placement", "pos:1", {}),
    ("placement", "tag:top", {"imp": {"tagid": "top"}}),
    ("viewability", "70", {"imp": {"metric": [{"type": "viewability", "value": 0.7}]}}),
    ("viewability", "70", {"imp": {"metric": [{"type": "viewability", "value": 1.0}]}}),
    ("segment", "s1", {"user": {"data": [{"segment": [{"id": "s1"}]}]}}),
    ("hour", "0", {}),
    ("expression", 'imp.banner.pos == 1 and device.make == "Apple"', device(make="Apple")),
]


@pytest.mark.parametrize(("dimension", "value", "request_"), CASES)
def test_a_rule_to_include_admits_what_is_shown(dimension: str, value: str, request_: dict[str, Any]) -> None:
    assert reason(dimension, Rule(include=("0" if dimension == "hour" else value,)), **request_) == Reason.BID


@pytest.mark.parametrize(("dimension", "value", "request_"), CASES)
def test_a_rule_to_exclude_bars_what_is_shown(dimension: str, value: str, request_: dict[str, Any]) -> None:
    assert reason(dimension, Rule(exclude=(value,)), **request_) == Reason[dimension.upper()]


@pytest.mark.parametrize(
    ("dimension", "value", "request_"),
    [
        ("geo", "USA-CA", geo(region="CA")),
        ("city", "FRA/paris", geo(city="Paris", country="USA")),
        ("circle", "48.8566,2.3522,25km", geo(lat=48.9)),
        ("circle", "48.8566,2.3522,25km", geo(lat=50.9, lon=2.3)),
        ("device", "desktop", device(devicetype=4)),
        ("connection", "wifi", device(connectiontype=0)),
        ("domain", "example", site(domain="site.example")),
        ("domain", "site.example", site(domain="mysite.example")),
        ("domain", "game", {"app": {"bundle": "com.game"}}),
        ("content", "IAB7-39", site(cat=["IAB7"])),
        ("content", "IAB7", site(cat=["IAB7"], cattax=9)),
        ("keyword", "car", site(keywords="cars")),
        ("viewability", "70", {"imp": {"metric": [{"type": "viewability", "value": 0.69}]}}),
        ("viewability", "10", {"imp": {"metric": [{"type": "viewability", "value": 7.0}]}}),
        ("viewability", "10", {"imp": {"metric": [{"type": "click", "value": 0.9}]}}),
        ("hour", "1", {}),
        ("expression", "imp.banner.pos == 2", {}),
    ],
)
def test_what_is_not_shown_does_not_admit(dimension: str, value: str, request_: dict[str, Any]) -> None:
    assert reason(dimension, Rule(include=(value,)), **request_) == Reason[dimension.upper()]


@pytest.mark.parametrize(
    "dimension", [name for name, _, _ in CASES if name not in ("exchange", "hour", "placement")]
)
def test_a_bare_request_shows_nothing(dimension: str) -> None:
    value = next(value for name, value, _ in CASES if name == dimension)
    bare = {"device": None, "site": None, "user": None}
    assert reason(dimension, Rule(include=(value,)), **bare) == Reason[dimension.upper()]


# -- time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "hour"), [("UTC", "0"), ("Asia/Kolkata", "5"), ("America/New_York", "163")])
def test_hours_are_by_the_advertisers_clock(zone: str, hour: str) -> None:
    assert reason("hour", Rule(include=(hour,)), zone=zone) == Reason.BID
    assert reason("hour", Rule(exclude=(hour,)), zone=zone) == Reason.HOUR


def test_an_hour_ends_on_the_nanosecond_also_where_zones_are_off_by_a_half() -> None:
    half_past = MONDAY_NS + 1_800 * S
    for now_ns, wanted in ((half_past - 1, Reason.BID), (half_past, Reason.HOUR)):
        assert reason("hour", Rule(include=("5",)), now_ns=now_ns, zone="Asia/Kolkata") == wanted


def test_one_engine_goes_through_the_hours() -> None:
    engine = make.engine([campaign(targeting=Targeting(hour=Rule(include=("0", "2"))))], now_ns=MONDAY_NS)
    found = []
    for number in range(13):
        now_ns = MONDAY_NS + number * 900 * S - 1
        (row,) = make.decide(engine, make.body(Offer(id=f"r{number}")), now_ns=now_ns)
        found.append(row["reason"] == Reason.BID)
    assert found == [False] + [True] * 4 + [False] * 4 + [True] * 4


# -- privacy --------------------------------------------------------------------------------------------------

PRIVATE = {"regs": {"coppa": 1}}


@pytest.mark.parametrize(
    ("dimension", "value", "request_"),
    [
        ("segment", "s1", {"user": {"data": [{"segment": [{"id": "s1"}]}]}}),
        ("city", "paris", geo(city="Paris")),
        ("circle", "48.8566,2.3522,25km", geo(lat=48.9, lon=2.3)),
        ("expression", "exists(user.id)", {"user": {"id": "u"}}),
        ("expression", "device.geo.lat > 1", geo(lat=48.9, lon=2.3)),
    ],
)
@pytest.mark.parametrize("law", [PRIVATE, {"regs": {"us_privacy": "1YYN"}}, {"regs": {"gdpr": 1}}])
def test_what_may_not_be_used_is_not_shown(
    dimension: str, value: str, request_: dict[str, Any], law: dict[str, Any]
) -> None:
    assert reason(dimension, Rule(include=(value,)), **request_) == Reason.BID
    assert reason(dimension, Rule(include=(value,)), **request_, **law) == Reason[dimension.upper()]


def test_what_is_not_personal_may_be_used_under_any_law() -> None:
    assert reason("geo", Rule(include=("USA",)), **geo(country="USA"), **PRIVATE) == Reason.BID
    assert reason("expression", Rule(include=("imp.banner.pos == 1",)), **PRIVATE) == Reason.BID


# -- modifiers ------------------------------------------------------------------------------------------------


def bid_with(*modifiers: tuple[str, str, float], targeting: Targeting | None = None, **request: Any) -> int:
    found = tuple(Modifier(dimension=name, value=value, factor=factor) for name, value, factor in modifiers)
    engine = make.engine([campaign(modifiers=found, targeting=targeting or Targeting())], now_ns=MONDAY_NS)
    imp = {**BANNER, **request.pop("imp", {})}
    (row,) = make.decide(engine, make.body(Offer(more={"imp": [imp], **request})), now_ns=MONDAY_NS)
    return int(row.get("bid_cpm_micros", 0))


@pytest.mark.parametrize(("dimension", "value", "request_"), CASES)
def test_a_modifier_counts_where_its_value_is_shown(
    dimension: str, value: str, request_: dict[str, Any]
) -> None:
    assert bid_with((dimension, value, 3.0), **request_) == 3_000_000


def test_a_modifier_does_not_count_where_its_value_is_not_shown() -> None:
    assert bid_with(("geo", "CA", 3.0), ("segment", "s1", 3.0), ("hour", "9", 3.0)) == 1_000_000


def test_modifiers_multiply_and_zero_is_no_bid() -> None:
    shown = geo(country="USA", region="CA")
    assert bid_with(("geo", "CA", 0.5), ("geo", "USA", 3.0), **shown) == 1_500_000
    assert bid_with(("geo", "CA", 0.0), **shown) == 0


def test_a_modifier_on_one_site_of_a_long_list_is_of_that_site_alone() -> None:
    names = tuple(f"s{number}.example" for number in range(100))
    long = Targeting(domain=Rule(include=names))
    bids = [
        bid_with(("domain", "s3.example", 3.0), targeting=long, **site(domain=f"s{number}.example"))
        for number in (3, 4)
    ]
    assert bids == [3_000_000, 1_000_000]


def test_a_bid_beyond_what_an_integer_holds_is_the_most_that_is_allowed() -> None:
    wild = tuple(Modifier(dimension="placement", value="pos:1", factor=10.0) for _ in range(12))
    own = campaign(modifiers=wild, value_nanos=9 * 10**18, max_bid_cpm_micros=9_000_000)
    (row,) = make.decide(make.engine([own]), make.body(Offer(more={"imp": [BANNER]})))
    assert row["bid_cpm_micros"] == 9_000_000
