"""Random markets: advertisers, campaigns, line items and creatives of every kind, and requests for all of it.

Most rules and fields are left out most of the time, so that a random request mostly comes as far as a price; each
appears often enough that a hundred markets meet all of them.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import orjson

from bidder.core.campaigns import (
    Advertiser,
    Approval,
    Budgets,
    Campaign,
    Cap,
    Creative,
    Fee,
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
from bidder.core.opportunity import hour_of_week
from bidder.core.settings import EngineSettings, ExchangeRules, PacingSettings
from tests.support import factories as make
from tests.support.factories import FOREVER_NS, S

SETTINGS = EngineSettings(
    exchanges={
        "one": ExchangeRules(first_price_shade=0.6, result_seconds=20.0),
        "two": ExchangeRules(
            first_price_shade=0.8,
            approval="required",
            currency="EUR",
            dedupe_seconds=0.0,
            discrepancy_ppm=12_345,
        ),
    },
    pacing=PacingSettings(eta=0.01, start=0.4, weekly_opportunities=1000.0),
    external_scores=True,
    rates={"base": "USD", "rates": {"2026-03-01": {"EUR": "1.0842", "JPY": "0.006613"}}},
)
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1"
)
_LONG = tuple(f"site{number}.example" for number in range(40))
_VALUES: dict[str, tuple[str, ...]] = {
    "geo": ("CA", "NY", "USA", "USA-CA"),
    "city": ("paris", "FRA/paris", "USA/albany"),
    "circle": ("48.8566,2.3522,25km", "40.7,-74,300km"),
    "exchange": ("one", "two", "default"),
    "inventory": ("site", "app", "dooh"),
    "device": ("desktop", "phone", "tv"),
    "os": ("windows", "ios", "linux"),
    "browser": ("chrome", "safari"),
    "carrier": ("verizon", "orange"),
    "connection": ("wifi", "cellular"),
    "language": ("en", "de"),
    "domain": ("news.example", "a.news.example", "blog.example", "com.game"),
    "content": ("IAB7", "IAB7-39", "1:IAB1-2", "9:150"),
    "keyword": ("cars", "sport"),
    "placement": ("instl", "rewarded", "pos:1", "plcmt:2", "tag:top"),
    "viewability": ("50", "70"),
    "segment": ("s1", "s2", "s3"),
    "expression": ('device.make == "Apple"', "imp.instl == 1 or exists(user.id)", "not device.w >= 400"),
}
_NATIVE_ASKS = (
    {"ver": "1.2", "assets": [{"id": 1, "required": 1, "title": {"len": 25}}]},
    {"ver": "1.2", "assets": [{"id": 1, "required": 1, "title": {"len": 5}}]},
    {"assets": [{"id": 1, "title": {"len": 90}}, {"id": 2, "required": 1, "img": {"type": 3, "wmin": 200}}]},
)


def _some(random: Random, chance: float) -> bool:
    return random.random() < chance


def rule(random: Random, values: Sequence[str], chance: float = 0.02) -> Rule:
    """Mostly no rule; else some values to include, to exclude, or both."""
    if not _some(random, chance):
        return Rule()
    most = max(1, len(values) * 2 // 3)
    kind = random.choice(("include", "include", "exclude", "both"))
    include = random.sample(values, random.randint(1, most)) if kind != "exclude" else ()
    exclude = random.sample(values, 1) if kind != "include" else ()
    return Rule(tuple(include), tuple(exclude))


def targeting(random: Random, now_ns: int) -> Targeting:
    """Rules in a few of all dimensions."""
    rules = {name: rule(random, values) for name, values in _VALUES.items()}
    if _some(random, 0.04):
        rules["domain"] = Rule((*_LONG, "news.example"), ())
    hours = tuple(str((hour_of_week(now_ns) + shift) % 168) for shift in (-5, 0, 5, 6, 30))
    rules["hour"] = rule(random, hours)
    # Time zones make it hours away from each other, so that few of these are now.
    if _some(random, 0.2):
        deals = ("d1", "d2", "d3")
        rules["deal"] = Rule(tuple(random.sample(deals, random.randint(1, 2))))
    elif _some(random, 0.05):
        rules["deal"] = Rule((), ("d2",))
    return Targeting(**rules)


def modifiers(random: Random, now_ns: int) -> tuple[Modifier, ...]:
    """Up to two."""
    found = []
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        values = {**_VALUES, "deal": ("d1", "d2"), "hour": (str(hour_of_week(now_ns)), "7")}
        name = random.choice(sorted(values))
        factor = random.choice((0.0, 0.5, 1.1, 3.0))
        found.append(Modifier(dimension=name, value=random.choice(values[name]), factor=factor))
    return tuple(found)


def caps(random: Random, chance: float = 0.15) -> tuple[Cap, ...]:
    """Mostly none."""
    if not _some(random, chance):
        return ()
    return tuple(
        Cap(impressions=random.choice((1, 1, 2, 3)), seconds=random.choice((5, 60, 3_600)))
        for _ in range(random.choice((1, 2)))
    )


def budgets(random: Random, chance: float = 0.1) -> Budgets:
    """Mostly none; the limits are the bank's affair, and what matters here is that there is an account."""
    return Budgets(**{name: 10**9 for name in Budgets.__struct_fields__ if _some(random, chance)})


def fees(random: Random, name: str) -> tuple[Fee, ...]:
    """Mostly none."""
    if not _some(random, 0.3):
        return ()
    return (
        Fee(name=name, ppm=random.choice((1, 150_000, 333_333)), cpm_micros=random.choice((0, 7, 200_001))),
    )


def random_creative(random: Random, name: str) -> Creative:
    """A banner, mostly; else a video, audio or native ad."""
    media = random.choice((*[Media.BANNER] * 7, Media.VIDEO, Media.VIDEO, Media.AUDIO, Media.NATIVE))
    fields: dict[str, Any] = {
        "media": media,
        "attr": random.choice((*((),) * 6, (1,), (16,))),
        "adomain": random.choice((*((),) * 4, ("other.example",))),
        "cat": random.choice((*((),) * 5, ("IAB3",), ("9:150", "IAB7-1"))),
        "language": random.choice(("", "", "en", "pt")),
        "api": random.choice((*((),) * 12, (5,), (5, 7))),
        "status": Status.PAUSED if _some(random, 0.08) else Status.ACTIVE,
        "bundle": random.choice((*("",) * 5, "com.shop")),
        "landing_url": "https://shop.example/",
    }
    if _some(random, 0.75):
        fields["approvals"] = {
            exchange: random.choice((*[Approval.APPROVED] * 12, Approval.REJECTED))
            for exchange in random.sample(("one", "two", "two", "three"), 2)
        }
    scheme = random.choice(("http", "https", "https"))
    if media is Media.BANNER:
        fields["w"], fields["h"] = random.choice(make.SIZES)
        fields["flex"] = _some(random, 0.2)
        if _some(random, 0.2):
            fields["html"] = '<a href="${CLICK_URL}">sale</a>'
        else:
            fields["image_url"] = f"{scheme}://cdn.shop.example/a.{random.choice(('png', 'gif', 'jpg'))}"
    elif media is Media.NATIVE:
        image = {"image_url": f"{scheme}://cdn.shop.example/n.jpg", "image_w": 300, "image_h": 200}
        fields["native"] = Native(
            title=random.choice(("Sale", "A sale for all")), **(image if _some(random, 0.5) else {})
        )
    else:
        fields |= {
            "media_url": f"{scheme}://cdn.shop.example/a",
            "mime": "video/mp4" if media is Media.VIDEO else "audio/mpeg",
            "duration_s": random.choice((6, 15, 15, 30)),
            "bitrate_kbps": random.choice((0, 800, 5_000)),
            "protocols": random.choice(((), (), (2, 3), (7,))),
            "delivery": random.choice((2, 2, 1)),
        }
        if media is Media.VIDEO:
            fields |= {"w": 640, "h": 360, "linearity": random.choice((1, 1, 1, 2))}
    return Creative(id=name, **fields)


def random_line(random: Random, name: str, creatives: Sequence[Creative], now_ns: int) -> LineItem:
    """A line item that leaves most to its campaign."""
    flights = {
        "now": (Flight(start_ns=0, end_ns=now_ns - 5), Flight(start_ns=now_ns, end_ns=now_ns + 10**9)),
        "over": (Flight(start_ns=1, end_ns=now_ns),),
    }
    own = random.sample([one.id for one in creatives], random.randint(1, len(creatives)))
    return LineItem(
        id=name,
        status=Status.PAUSED if _some(random, 0.06) else Status.ACTIVE,
        budgets=budgets(random),
        flights=flights.get(random.choice((*["none"] * 8, "now", "over")), ()),
        goal=random.choice((None, None, None, Goal.CONVERSION, Goal.VIEW, Goal.COMPLETE)),
        value_nanos=random.choice((0, 0, 7 * S)),
        max_bid_cpm_micros=random.choice((0, 0, 3_000_000)),
        min_bid_cpm_micros=random.choice((0, 0, 0, 500_000)),
        fees=fees(random, "own"),
        pacing=random.choice((None, None, Pacing.ASAP)),
        ahead_percent=50 if len(own) == 1 else 0,
        catch_up="drop" if len(own) == 2 else None,
        targeting=targeting(random, now_ns) if _some(random, 0.5) else Targeting(),
        modifiers=modifiers(random, now_ns),
        caps=caps(random),
        unknown_user=random.choice((None, None, "allow")),
        creatives=tuple(own) if _some(random, 0.5) else (),
    )


def random_campaign(random: Random, name: str, now_ns: int) -> Campaign:
    """A campaign with up to three line items of its own."""
    creatives = [random_creative(random, f"k{number}") for number in range(random.choice((1, 2, 3, 4)))]
    always, ends_next = (0, FOREVER_NS), (now_ns, now_ns + 1)
    start_ns, end_ns = random.choice((*[always] * 14, ends_next, (0, now_ns)))
    count = random.choice((0, 0, 1, 2, 3))
    return make.campaign(
        name,
        advertiser=random.choice(("shop", "bank")),
        adomain=(random.choice(("shop.example", "www.shop.example", "bank.example")),),
        cat=random.choice(((), ("IAB7",), ("IAB7-39",), ("IAB1-2", "IAB3"))),
        bundle=random.choice(("", "", "", "com.app")),
        status=Status.PAUSED if _some(random, 0.05) else Status.ACTIVE,
        start_ns=start_ns,
        end_ns=end_ns,
        goal=(goal := random.choice((Goal.CLICK, Goal.CLICK, Goal.CONVERSION, *Goal))),
        value_nanos=random.choice((1 if goal is Goal.VALUE else 0, 1, *[3 * S] * 5, 40 * S, 500 * S)),
        max_bid_cpm_micros=random.choice((1, 700_000, *[9_000_000] * 4)),
        min_bid_cpm_micros=random.choice((0, 0, 0, 100_000)),
        fees=fees(random, "above"),
        budgets=budgets(random, 0.05),
        pacing=random.choice((Pacing.AHEAD if count == 1 else Pacing.EVEN, Pacing.ASAP)),
        shared_pacing=count == 3,
        targeting=targeting(random, now_ns) if _some(random, 0.7) else Targeting(),
        modifiers=modifiers(random, now_ns),
        caps=caps(random, 0.08),
        unknown_user=random.choice(("refuse", "allow")),
        creatives=tuple(creatives),
        line_items=tuple(random_line(random, f"{name}.{n}", creatives, now_ns) for n in range(count)),
    )


def random_advertisers(random: Random) -> dict[str, Advertiser]:
    """Of the two that random campaigns name, some or none."""
    return {
        name: Advertiser(
            id=name,
            status=Status.PAUSED if _some(random, 0.04) else Status.ACTIVE,
            time_zone=random.choice(ZONES),
            budgets=budgets(random, 0.05),
            caps=caps(random, 0.08),
        )
        for name in ("shop", "bank")
        if _some(random, 0.6)
    }


# -- requests -----------------------------------------------------------------------------------------------------


def _kept(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _banner(random: Random) -> dict[str, Any]:
    some = random.choice
    w, h = some(make.SIZES)
    sizes = [{"w": w, "h": h} for w, h in random.sample(make.SIZES, some((1, *[3] * 6)))]
    flex = {"wratio": 6, "hratio": 5}
    return _kept(
        {
            **some((*[{"format": sizes}] * 12, {"format": [flex, *sizes[:1]]}, {"w": w, "h": h}, {})),
            "battr": some((*[None] * 8, [1], [3, 9])),
            "btype": some((*[None] * 8, [2], [3])),
            "api": some((None, [5, 7], [5, 7])),
            "mimes": some((*[None] * 12, ["image/png", "image/GIF"], ["text/html"])),
            "pos": some((None, 0, 1)),
        }
    )


def _linear(random: Random, mime: str) -> dict[str, Any]:
    some = random.choice
    pod = _some(random, 0.25)
    return _kept(
        {
            "mimes": some(([mime],) * 15 + ([mime.upper()], ["x/y"], [])),
            "minduration": some((*[None] * 5, 10)),
            "maxduration": some((*[None] * 4, 15, 20)),
            "rqddurs": some((*[None] * 8, [15, 30])),
            "poddur": some((20, 30, 45)) if pod else None,
            "maxseq": some((None, 2, 3, 12)) if pod else None,
            "slotinpod": some((None, 1)) if pod else None,
            "protocols": some((*[None] * 4, [2, 3], [11, 12], [7, 3, 11])),
            "battr": some((*[None] * 8, [1])),
            "api": some((None, [5, 7])),
            "minbitrate": some((*[None] * 8, 1_000)),
            "maxbitrate": some((*[None] * 8, 4_000)),
            "delivery": some((*[None] * 8, [2], [1, 3])),
            "mincpmpersec": some((*[None] * 7, 0.05, 0.2)),
            "durfloors": some(
                (*[None] * 7, [{"mindur": 1, "maxdur": 15, "bidfloor": 1.5}, {"mindur": 16, "bidfloor": 0.4}])
            ),
            **({} if mime.startswith("audio") else {"skip": some((*[None] * 6, 1)), "pos": some((None, 1))}),
            **({} if mime.startswith("audio") else {"linearity": some((*[None] * 4, 1, 2))}),
            **(
                {}
                if mime.startswith("audio")
                else {"plcmt": some((None, 2)), "protocol": some((*[None] * 5, 3))}
            ),
        }
    )


def _deals(random: Random) -> dict[str, Any]:
    some = random.choice
    deals = [
        _kept(
            {
                "id": name,
                "bidfloor": some((None, None, 0.3, 2.0)),
                "bidfloorcur": some((*[None] * 5, "EUR", "CHF")),
                "at": some((*[None] * 4, 1, 2, 3, 3, 3, 7)),
                "wseat": some((*[None] * 12, ["clearbid"], ["rival"])),
                "wadomain": some((*[None] * 8, ["shop.example"], ["Bank.example", "co.example"])),
                "guar": some((None, None, 1)),
                "mincpmpersec": some((*[None] * 5, 0.1)),
                "durfloors": some((*[None] * 6, [{"maxdur": 20, "bidfloor": 0.9}])),
            }
        )
        for name in random.sample(("d1", "d2", "d3", "d9"), random.randint(2, 4))
    ]
    return _kept({"private_auction": some((None, 0, 1)), "deals": deals if _some(random, 0.95) else None})


def random_imp(random: Random, name: str, line_ids: Sequence[str], *, scored: bool) -> dict[str, Any]:
    """One impression of one or more media."""
    some = random.choice
    media = some(
        (*[("banner",)] * 9, ("video",), ("video",), ("audio",), ("native",), ("banner", "video", "native"))
    )
    imp: dict[str, Any] = {"id": name}
    if "banner" in media:
        imp["banner"] = _banner(random)
    if "video" in media:
        imp["video"] = _linear(random, "video/mp4")
    if "audio" in media:
        imp["audio"] = _linear(random, "audio/mpeg")
    if "native" in media:
        asked = orjson.dumps(some(_NATIVE_ASKS)).decode()
        imp["native"] = {"request": asked if _some(random, 0.9) else "{", "ver": "1.2"}
    if _some(random, 0.2 if scored else 0.97):
        outside = some((0.0, 1e-9, *[0.002] * 4, *[0.01] * 4, 1.0, 7.0))
        imp["ext"] = {
            "clearbid": {"campaign": some(line_ids) if _some(random, 0.95) else "unknown", "pctr": outside}
        }
    return imp | _kept(
        {
            "bidfloor": some((*[None] * 4, 0.000001, 0.4, 0.7, 0.700001)),
            "bidfloorcur": some((*[None] * 12, "EUR", "EUR", "JPY", "CHF")),
            "secure": some((None, 0, 1)),
            "instl": some((*[None] * 3, 1)),
            "rwdd": some((*[None] * 5, 1)),
            "tagid": some((None, "top", "low")),
            "qty": some((*[None] * 24, {"multiplier": 2.5}, {"multiplier": 0.3}, {"multiplier": 0})),
            "metric": some(
                (
                    *[None] * 2,
                    [{"type": "viewability", "value": 0.7}],
                    [{"type": "click", "value": 0.7}],
                    [{"type": "video_completion_rate", "value": 0.9}],
                )
            ),
            "pmp": _deals(random) if _some(random, 0.2) else None,
        }
    )


def _place(random: Random) -> dict[str, Any]:
    some = random.choice
    kind = some((*["site"] * 6, "app", "app", "dooh", "none"))
    if kind == "none":
        return {}
    content = {"cat": [some(("IAB7-39", "IAB1"))], "keywords": some(("cars", "Sport ,x"))}
    own = _kept(
        {
            "domain": some(
                (None, "news.example", "A.News.example", "x.a.news.example", "blog.example", "site7.example")
            ),
            "bundle": some(("com.game", "com.Other")) if kind == "app" else None,
            "cat": some((None, ["IAB7-39"], ["IAB1-2", "IAB3"])),
            "pagecat": some((*[None] * 4, ["150"])),
            "cattax": some((*[None] * 5, 9)),
            "keywords": some((None, None, "cars,  SPORT")),
            "kwarray": some((*[None] * 5, ["Sport"])),
            "content": content if _some(random, 0.2) else None,
        }
    )
    return {kind: own}


def _device(random: Random) -> dict[str, Any]:
    some = random.choice
    geo = {
        "region": some((None, "CA", "NY", "TX")),
        "country": some((None, "USA", "FRA")),
        "city": some((None, "Paris", "Albany")),
        "lat": some((None, 48.9, 40.8)),
        "lon": some((None, 2.3, -74.2)),
    }
    ua, os = some(((None, None), (None, "Windows"), (CHROME, "Windows"), (CHROME, None), (IPHONE, "iOS")))
    return _kept(
        {
            "geo": _kept(geo),
            "ua": ua,
            "os": os,
            "make": some((None, "Apple")),
            "w": some((None, 390, 1080)),
            "devicetype": some((None, None, 1, 2, 4) if ua is not IPHONE else (None, 4)),
            "language": some((None, "en", "de-CH")),
            "carrier": some((None, "Verizon")),
            "connectiontype": some((None, 1, 2, 6)),
            "lmt": some((*[None] * 8, 1)),
            "ifa": some((*[None] * 3, "aaaa-1", "AAAA-2")),
        }
    )


def random_request(
    random: Random, number: int, line_ids: Sequence[str], *, scored: bool, imps: int = 0
) -> dict[str, Any]:
    """A well-formed request of its own id; with `scored` most leave the probability to the model."""
    some = random.choice
    count = imps or some((1, 1, 1, 2, 3))
    exchange = some((None, "one", "one", "one", "two", "three"))
    request = _kept(
        {
            "id": f"r{number}",
            "imp": [random_imp(random, str(place), line_ids, scored=scored) for place in range(count)],
            "at": some((*[None] * 20, *[1] * 12, 2, 3)),
            "cur": some((*[None] * 24, *[["USD"]] * 12, *[["EUR"]] * 6, ["CHF", "JPY"], ["CHF"])),
            "device": _device(random) if _some(random, 0.9) else None,
            "test": some((*[None] * 6, 1)),
            "tmax": some((*[None] * 60, 5)),
            "wseat": some((*[None] * 60, ["clearbid"], ["rival"])),
            "bseat": some((*[None] * 60, ["clearbid"])),
            "badv": some((*[None] * 14, ["shop.example"], ["example"], ["Bank.example", "other.example"])),
            "bcat": some((*[None] * 16, ["IAB7"], ["IAB3"], ["IAB7-39", "IAB1"])),
            "acat": some((*[None] * 40, ["IAB7", "IAB3"])),
            "cattax": some((*[None] * 12, 1, 9)),
            "bapp": some((*[None] * 16, ["com.app", "com.shop"])),
            "wlang": some((*[None] * 30, ["en"], ["PT-br"])),
            "ext": {"exchange": exchange} if exchange is not None else None,
            "regs": some((*[None] * 8, {"coppa": 1}, {"us_privacy": "1YYN"}, {"us_privacy": "1YNN"})),
            "source": {"tid": f"t{random.randint(0, 60)}"} if _some(random, 0.3) else None,
            "user": _kept(
                {
                    "id": some((None, "u1", "u2", "u3")),
                    "data": [
                        {"segment": [{"id": name} for name in random.sample(make.SEGMENTS, some((0, 1, 2)))]}
                    ],
                }
            ),
        }
    )
    return request | _place(random)


def random_body(random: Random, number: int, line_ids: Sequence[str], *, scored: bool) -> bytes:
    """`random_request` as bytes."""
    return orjson.dumps(random_request(random, number, line_ids, scored=scored))
