"""The slow twin of `bidder.core.table`, `showing` and `rows`: line items and their rules, asked one after another.

It reads a BidRequest as plain dicts, and what ad-ops stated as it stands: no rows of bits, no words of a table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from math import asin, cos, radians, sin, sqrt
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from bidder.core.campaigns import (
    Advertiser,
    Campaign,
    Creative,
    Goal,
    LineItem,
    Media,
    Modifier,
    Pacing,
    Rule,
    Status,
)
from bidder.core.circles import EARTH_RADIUS_KM, parse_circle
from bidder.core.devices import agent_of
from bidder.core.expressions import Expression, compile_expression
from bidder.openrtb.native import answer, native_ask
from bidder.openrtb.reasons import Reason
from bidder.openrtb.taxonomy import covers, qualified
from bidder.privacy.permissions import PRECISE_GEO, PROFILE

NAMES = (
    "exchange", "deal", "format", "inventory", "hour", "geo", "city", "circle", "device", "os", "browser", "carrier",
    "connection", "language", "domain", "content", "keyword", "placement", "viewability", "segment", "expression",
    "blocked",
)  # fmt: skip
"""Dimensions in the order in which they are asked, the flight before them all."""

_DEVICES = {2: "desktop", 3: "tv", 4: "phone", 5: "tablet", 6: "console", 7: "box", 8: "dooh"}
_CONNECTIONS = {1: "ethernet", 2: "wifi", **dict.fromkeys((3, 4, 5, 6, 7), "cellular")}


@dataclass(eq=False)
class NaiveLine:
    """A line item with what its campaign and its advertiser say too; `item` is None where there is none."""

    id: str
    campaign: Campaign
    item: LineItem | None
    advertiser: Advertiser
    creatives: list[Creative] = field(default_factory=list)

    def said(self, name: str) -> Any:
        """The line item's own value where it says something, else the campaign's."""
        own = getattr(self.item, name) if self.item is not None else None
        return own or getattr(self.campaign, name)

    @property
    def conversion(self) -> bool:
        return self.said("goal") in (Goal.CONVERSION, Goal.VALUE)

    @property
    def worth(self) -> int:
        """Of a goal event; where nothing is stated, what makes the highest bid of a small probability."""
        least = {Goal.CLICK: 1e-3, Goal.VIEW: 0.1, Goal.COMPLETE: 0.1}.get(self.said("goal"), 1e-5)
        return int(self.said("value_nanos")) or round(self.said("max_bid_cpm_micros") / least)

    @property
    def asap(self) -> bool:
        return self.said("pacing") is Pacing.ASAP

    @property
    def active(self) -> bool:
        parts = [self.advertiser.status, self.campaign.status]
        if self.item is not None:
            parts.append(self.item.status)
        return bool(self.creatives) and Status.PAUSED not in parts

    def in_flight(self, now_ns: int) -> bool:
        if not self.campaign.start_ns <= now_ns < self.campaign.end_ns:
            return False
        flights = self.item.flights if self.item is not None else ()
        return not flights or any(flight.start_ns <= now_ns < flight.end_ns for flight in flights)

    def rule(self, name: str) -> Rule:
        above: Rule = getattr(self.campaign.targeting, name)
        if self.item is None:
            return above
        own: Rule = getattr(self.item.targeting, name)
        return Rule(own.include or above.include, above.exclude + own.exclude)

    @property
    def modifiers(self) -> tuple[Modifier, ...]:
        return self.campaign.modifiers + (self.item.modifiers if self.item is not None else ())


def naive_lines(campaigns: Sequence[Campaign], advertisers: Mapping[str, Advertiser]) -> list[NaiveLine]:
    """All line items in the order of their ids."""
    lines: list[NaiveLine] = []
    for campaign in campaigns:
        advertiser = advertisers.get(campaign.advertiser, Advertiser(id=campaign.advertiser))
        active = [creative for creative in campaign.creatives if creative.status is Status.ACTIVE]
        for item in campaign.line_items:
            own = [creative for creative in active if not item.creatives or creative.id in item.creatives]
            lines.append(NaiveLine(item.id, campaign, item, advertiser, own))
        if not campaign.line_items:
            lines.append(NaiveLine(campaign.id, campaign, None, advertiser, active))
    return sorted(lines, key=lambda line: line.id)


@dataclass(eq=False)
class Shown:
    """One opportunity as targeting sees it: an impression in the open auction, or in one of its deals."""

    request: dict[str, Any]
    imp: dict[str, Any]
    exchange: str
    permitted: int
    segments: tuple[str, ...]
    now_ns: int
    deal: dict[str, Any] | None = None

    @property
    def device(self) -> dict[str, Any]:
        return self.request.get("device") or {}

    @property
    def geo(self) -> dict[str, Any]:
        return self.device.get("geo") or {}

    @property
    def place(self) -> dict[str, Any]:
        return self.request.get("site") or self.request.get("app") or self.request.get("dooh") or {}


def first_refusal(line: NaiveLine, shown: Shown, *, deals: bool) -> str | None:
    """The dimension that refuses a line item first, or None. `deals`: whether any line item names one."""
    if not line.in_flight(shown.now_ns):
        return "flight"
    for name in NAMES:
        if name == "format":
            admitted = any(_fits(creative, shown.imp) for creative in line.creatives)
        elif name == "blocked":
            admitted = not _blocked(line, shown.request)
        elif name == "deal":
            admitted = not deals or _deal(line, shown)
        else:
            admitted = _keeps(line, name, shown)
        if not admitted:
            return name
    return None


def reason_of(dimension: str) -> Reason:
    """The reason that a dimension refuses with."""
    return Reason.SIZE if dimension == "format" else Reason[dimension.upper()]


def names_deals(line: NaiveLine) -> set[str]:
    """Deals that a line item names in any way."""
    rule = line.rule("deal")
    return {*rule.include, *rule.exclude, *(one.value for one in line.modifiers if one.dimension == "deal")}


def factors(line: NaiveLine, shown: Shown) -> list[float]:
    """What the value of an opportunity is multiplied by, in the order in which it is stated."""
    return [one.factor for one in line.modifiers if _is_shown(line, one.dimension, one.value, shown)]


def _keeps(line: NaiveLine, name: str, shown: Shown) -> bool:
    rule = line.rule(name)
    if any(_is_shown(line, name, value, shown) for value in rule.exclude):
        return False
    return not rule.include or any(_is_shown(line, name, value, shown) for value in rule.include)


def _is_shown(line: NaiveLine, name: str, value: str, shown: Shown) -> bool:
    if name == "deal":
        return shown.deal is not None and shown.deal["id"] == value
    if name == "hour":
        local = datetime.fromtimestamp(shown.now_ns // 10**9, ZoneInfo(line.advertiser.time_zone))
        return int(value) == local.weekday() * 24 + local.hour
    if name == "content":
        return _content(value, shown)
    if name == "expression":
        both = PROFILE | PRECISE_GEO
        return _expression(value).matches(shown.request, shown.imp, shown.permitted & both == both)
    if name == "circle":
        return _circle(value, shown)
    return value in _READERS[name](shown)


# -- one dimension each -------------------------------------------------------------------------------------------


def _deal(line: NaiveLine, shown: Shown) -> bool:
    rule = line.rule("deal")
    if shown.deal is None:
        return not rule.include
    if shown.deal["id"] not in rule.include or shown.deal["id"] in rule.exclude:
        return False
    allowed = [domain.lower() for domain in shown.deal.get("wadomain") or ()]
    return not allowed or all(
        any(_below(domain.lower(), one) for one in allowed)
        for creative in line.creatives
        for domain in creative.adomain or line.campaign.adomain
    )


def _below(host: str, domain: str) -> bool:
    """Whether a host is the domain or below it; a single label has nothing below it."""
    return host == domain or ("." in domain and host.endswith("." + domain))


def _fits(creative: Creative, imp: dict[str, Any]) -> bool:
    """Whether an impression takes a creative of this medium, and of this size or native form."""
    asked = imp.get(creative.media.value)
    if asked is None or not is_slot(creative.media, asked):
        return False
    if creative.media is Media.BANNER:
        return fits_size(creative, asked)
    if creative.media is Media.NATIVE:
        return fits_native(creative, asked)
    return True


def is_slot(media: Media, asked: dict[str, Any]) -> bool:
    """Whether a medium of an impression can be bid on at all."""
    if media is Media.NATIVE:
        return native_ask(asked.get("request", ""))[0] is not None
    return media is Media.BANNER or bool(asked.get("mimes"))


def fits_size(creative: Creative, banner: dict[str, Any]) -> bool:
    sizes = banner.get("format") or [banner]
    for size in sizes:
        w, h = size.get("w") or 0, size.get("h") or 0
        wratio, hratio = size.get("wratio") or 0, size.get("hratio") or 0
        if (
            w
            and h
            and ((creative.w, creative.h) == (w, h) or (creative.flex and creative.w * h == creative.h * w))
        ):
            return True
        if (
            not (w and h)
            and wratio
            and hratio
            and creative.flex
            and creative.w * hratio == creative.h * wratio
        ):
            return True
    return False


def fits_native(creative: Creative, asked: dict[str, Any]) -> bool:
    ask = native_ask(asked["request"])[0]
    return (
        ask is not None
        and creative.native is not None
        and answer(ask, creative.native, creative.mime) is not None
    )


def _content(value: str, shown: Shown) -> bool:
    taxonomy, wanted = qualified(value)
    place, content = shown.place, shown.place.get("content") or {}
    own = [*place.get("cat", ()), *place.get("sectioncat", ()), *place.get("pagecat", ())]
    said = [(place.get("cattax", 1), category) for category in own]
    said += [(content.get("cattax", 1), category) for category in content.get("cat", ())]
    return any(cattax == taxonomy and covers(taxonomy, wanted, category) for cattax, category in said)


@cache
def _expression(text: str) -> Expression:
    return compile_expression(text)


def _circle(text: str, shown: Shown) -> bool:
    lat, lon = shown.geo.get("lat"), shown.geo.get("lon")
    if lat is None or lon is None or not shown.permitted & PRECISE_GEO:
        return False
    circle = parse_circle(text)
    south = sin(radians(lat - circle.lat) / 2) ** 2
    west = sin(radians(lon - circle.lon) / 2) ** 2
    half = sqrt(south + cos(radians(lat)) * cos(radians(circle.lat)) * west)
    return 2 * EARTH_RADIUS_KM * asin(half) <= circle.km


def _geo(shown: Shown) -> list[str]:
    region, country = shown.geo.get("region"), shown.geo.get("country")
    both = [f"{country}-{region}"] if region and country else []
    return [text for text in (region, country) if text] + both


def _city(shown: Shown) -> list[str]:
    city = shown.geo.get("city")
    if not city or not shown.permitted & PRECISE_GEO:
        return []
    return [city.lower(), f"{shown.geo.get('country')}/{city.lower()}"]


def _domain(shown: Shown) -> list[str]:
    app = shown.request.get("app")
    if app is not None:
        return [(app.get("bundle") or app.get("domain") or "").lower()]
    host = (shown.request.get("site") or {}).get("domain", "").lower()
    labels = host.split(".")
    return [host, *(".".join(labels[start:]) for start in range(1, len(labels) - 1))]


def _keywords(shown: Shown) -> list[str]:
    words: list[str] = []
    for one in (shown.place, shown.place.get("content") or {}):
        words += [*one.get("keywords", "").split(","), *one.get("kwarray", ())]
    return [word.strip().lower() for word in words]


def _placements(shown: Shown) -> list[str]:
    imp = shown.imp
    found = [name for name, key in (("instl", "instl"), ("rewarded", "rwdd")) if imp.get(key)]
    found += [f"tag:{imp['tagid']}"] if imp.get("tagid") else []
    for name in ("banner", "video"):
        if name in imp and is_slot(Media(name), imp[name]):
            found.append(f"pos:{imp[name].get('pos', 0)}")
    if "plcmt" in imp.get("video", {}) and is_slot(Media.VIDEO, imp["video"]):
        found.append(f"plcmt:{imp['video']['plcmt']}")
    return found


def _viewability(shown: Shown) -> list[str]:
    measured = [one["value"] for one in shown.imp.get("metric", ()) if one["type"] == "viewability"]
    return [str(step) for step in range(10, 101, 10) if measured and 100 * measured[0] >= step - 1e-9]


def _segments(shown: Shown) -> list[str]:
    if not shown.permitted & PROFILE:
        return []
    user = shown.request.get("user") or {}
    sent = [one["id"] for data in user.get("data", ()) for one in data.get("segment", ())]
    return [*sent, *shown.segments]


def _inventory(shown: Shown) -> list[str]:
    return [name for name in ("site", "app", "dooh") if name in shown.request]


def _device(shown: Shown) -> list[str | None]:
    stated = _DEVICES.get(shown.device.get("devicetype", 0))
    return [stated or agent_of(shown.device.get("ua")).device_class]


_READERS: dict[str, Callable[[Shown], Sequence[str | None]]] = {
    "exchange": lambda shown: [shown.exchange],
    "inventory": _inventory,
    "geo": _geo,
    "city": _city,
    "device": _device,
    "os": lambda shown: [agent_of(shown.device.get("ua")).os or shown.device.get("os", "").lower()],
    "browser": lambda shown: [agent_of(shown.device.get("ua")).browser],
    "carrier": lambda shown: [shown.device.get("carrier", "").lower()],
    "connection": lambda shown: [_CONNECTIONS.get(shown.device.get("connectiontype", 0))],
    "language": lambda shown: [shown.device.get("language", "")[:2].lower()],
    "domain": _domain,
    "keyword": _keywords,
    "placement": _placements,
    "viewability": _viewability,
    "segment": _segments,
}


# -- what is barred ---------------------------------------------------------------------------------------------


def bars(request: dict[str, Any], campaign: Campaign, creative: Creative) -> set[tuple[str, str]]:
    """What of the request's blocklists bars a creative: kind and value."""
    found: set[tuple[str, str]] = set()
    for own in creative.adomain or campaign.adomain:
        found |= {("adv", one.lower()) for one in request.get("badv", ()) if _below(own.lower(), one.lower())}
    for category in creative.cat or campaign.cat:
        taxonomy, plain = qualified(category)
        if taxonomy == request.get("cattax", 1):
            found |= {("cat", one) for one in request.get("bcat", ()) if covers(taxonomy, one, plain)}
    bundle = creative.bundle or campaign.bundle
    return found | {("app", one) for one in request.get("bapp", ()) if one == bundle}


def _blocked(line: NaiveLine, request: dict[str, Any]) -> bool:
    """Whether one entry bars all creatives of a line item alike, or an allow list does not hold one of them."""
    if set.intersection(*(bars(request, line.campaign, creative) for creative in line.creatives)):
        return True
    allowed = request.get("acat")
    return bool(allowed) and not all(
        _allowed(request, line.campaign, creative) for creative in line.creatives
    )


def _allowed(request: dict[str, Any], campaign: Campaign, creative: Creative) -> bool:
    cattax = request.get("cattax", 1)
    own = [plain for taxonomy, plain in map(qualified, creative.cat or campaign.cat) if taxonomy == cattax]
    return bool(own) and all(any(covers(cattax, one, plain) for one in request["acat"]) for plain in own)


def as_dict(body: bytes) -> dict[str, Any]:
    """A body as this twin reads it."""
    request: dict[str, Any] = orjson.loads(body)
    return request
