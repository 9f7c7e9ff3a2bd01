"""Campaigns for every medium and the usual sizes, so that requests of any kind may find a bid.

Advertisers differ in what exchanges bar: domains, categories, apps, attributes, frameworks, plain http, language.
Some line items stand behind deals, some read the request through every dimension there is. Prices spread from
cents to tens of units, so floors matter.
"""

from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

from bidder.core.campaigns import (
    Approval,
    Campaign,
    Cap,
    Creative,
    LineItem,
    Media,
    Modifier,
    Native,
    Rule,
    Targeting,
)
from bidder.core.engine import Engine
from bidder.core.settings import EngineSettings, ExchangeRules, TrafficRules
from tests.support import factories as make
from tests.support.crosscheck import Terms
from tests.support.factories import S

NOW_NS = 1_772_409_600 * S
"""2026-03-02 00:00 UTC."""
BUDGET = 1_000_000 * S
DEALS = ("123", "333", "444", "V123", "1452f.eadb4.7aaa", "1452f.eadb4.f9bc", "deal-id-1")
"""Ids of deals in the recorded requests; `SYNTHETIC_DEALS` are those of `tests.support.bodies`."""
SYNTHETIC_DEALS = ("open-1", "fixed-1", "guaranteed-1")
RATES = {"EUR": "1.1", "GBP": "1.25", "JPY": "0.0068", "CHF": "1.15", "PLN": "0.25"}
SIZES = (
    *(
        (300, 250),
        (728, 90),
        (320, 50),
        (300, 600),
        (160, 600),
        (970, 250),
        (320, 480),
        (300, 300),
        (320, 100),
    ),
    *(
        (300, 50),
        (468, 60),
        (320, 250),
        (250, 250),
        (336, 280),
        (120, 600),
        (480, 320),
        (600, 300),
        (320, 320),
    ),
)
OTHER_SIZES = (
    *(
        (300, 250),
        (320, 50),
        (728, 90),
        (300, 600),
        (300, 150),
        (300, 200),
        (128, 100),
        (90, 728),
        (770, 250),
    ),
    *((640, 480), (240, 400), (1920, 1080), (1080, 1920), (970, 90), (100, 100), (500, 300), (900, 450)),
)
_REJECTED = {"picky": Approval.REJECTED}
_CDN = "https://cdn.catalog.example/"


def _image(number: int, size: tuple[int, int], **changes: Any) -> Creative:
    w, h = size
    return make.creative(f"i{number}", w=w, h=h, **{"image_url": f"{_CDN}{w}x{h}.png"} | changes)


def _html(number: int, size: tuple[int, int], **changes: Any) -> Creative:
    w, h = size
    html = f'<a href="${{CLICK_URL}}"><img src="{_CDN}{w}.gif?cb=${{CACHEBUSTER}}"></a>'
    return make.creative(f"h{number}", w=w, h=h, image_url="", html=html, **changes)


def _linear(name: str, seconds: int, **changes: Any) -> Creative:
    video: dict[str, Any] = {
        "media": Media.VIDEO,
        "w": 640,
        "h": 360,
        "image_url": "",
        "media_url": f"{_CDN}{name}.mp4?a=1&b=2",
        "mime": "video/mp4",
        "duration_s": seconds,
        "protocols": (2, 3, 7),
    }
    return make.creative(name, **video | changes)


def _audio(name: str, seconds: int, mime: str, **changes: Any) -> Creative:
    return _linear(name, seconds, **{"media": Media.AUDIO, "w": 0, "h": 0, "mime": mime} | changes)


def _native(name: str, image: tuple[int, int], icon: tuple[int, int] = (0, 0), **changes: Any) -> Creative:
    assets = {
        "title": "Garden shed",
        "text": "A shed for a garden",
        "sponsored": "Shop",
        "cta": "See it",
        "image_url": f"{_CDN}main.jpg",
        "image_w": image[0],
        "image_h": image[1],
    }
    if icon[0]:
        assets |= {"icon_url": f"{_CDN}icon.png", "icon_w": icon[0], "icon_h": icon[1]}
    native = Native(**assets | changes)
    return make.creative(name, media=Media.NATIVE, w=0, h=0, image_url="", native=native)


def _campaign(number: int, creatives: tuple[Creative, ...], **changes: Any) -> Campaign:
    name = f"c{number}"
    fields: dict[str, Any] = {
        "advertiser": f"adv-{number}",
        "adomain": (f"brand-{number}.example",),
        "budget_nanos": BUDGET,
        "value_nanos": 4 * S,
        "max_bid_cpm_micros": 40_000_000,
        "creatives": creatives,
    }
    return make.campaign(name, **fields | changes)


def _banners() -> list[Campaign]:
    plain = tuple(_image(number, size) for number, size in enumerate(SIZES))
    other = tuple(_html(number, size) for number, size in enumerate(OTHER_SIZES))
    # What a rule may bar pays more than what none does, or a wrong bid would lose to a right one unseen.
    barred = SIZES[:4]
    return [
        _campaign(1, plain, value_nanos=3 * S),
        _campaign(2, other, value_nanos=2 * S, cat=("IAB3-1",)),
        _campaign(3, tuple(_image(n, s, flex=True) for n, s in enumerate(((300, 250), (4, 3), (16, 9))))),
        _campaign(
            4, tuple(_image(n, s, image_url="http://cdn.catalog.example/a.gif") for n, s in enumerate(barred)),
            value_nanos=20 * S, adomain=("www.ford.com", "company1.com"),
        ),
        _campaign(
            5, tuple(_image(n, s, attr=(1, 13), api=(5,)) for n, s in enumerate(barred)),
            value_nanos=24 * S, cat=("IAB7-39", "IAB9-9"),
        ),
        _campaign(
            6, tuple(_html(n, s, btype=4, language="pt", attr=(3,)) for n, s in enumerate(barred)),
            value_nanos=28 * S, cat=("6:211", "6:514"), bundle="com.bad.app",
        ),
        _campaign(
            7, tuple(_image(n, s, language="en", cat=("IAB25-3",)) for n, s in enumerate(barred)),
            value_nanos=18 * S, bundle="com.existing.blocked", adomain=("shop.bad.com",),
        ),
        _campaign(
            8, tuple(_image(n, s, approvals=_REJECTED, cat=("9:150",)) for n, s in enumerate(barred)),
            value_nanos=26 * S, adomain=("news.apple.com",), cat=("IAB1-2",),
        ),
    ]  # fmt: skip


def _films() -> list[Campaign]:
    films = (
        _linear("v6", 6), _linear("v10", 10, attr=(16,)),
        _linear("v15", 15, bitrate_kbps=800), _linear("v20", 20, protocols=(3,), delivery=1), _linear("v30", 30),
        _linear("v60", 60, protocols=(7, 11)), _linear("v130", 130),
        _linear("v2", 2, mime="video/webm"), _linear("v12", 12, linearity=2, protocols=(2,)),
        _linear("v25", 25, mime="video/x-flv", protocols=(2,)), _linear("v8", 8, api=(2, 7)),
        _linear("v9", 9, media_url="http://cdn.catalog.example/v9.mp4"),
    )  # fmt: skip
    sounds = (
        _audio("a10", 10, "audio/mp4"), _audio("a20", 20, "audio/mp4", protocols=(2, 3)),
        _audio("a30", 30, "audio/mpeg", protocols=(2, 3, 11)), _audio("a16", 16, "audio/mp3"),
    )  # fmt: skip
    halves = (films[:6], films[6:], films[2:5])
    return [
        *(_campaign(20 + number, own, value_nanos=(6 + 5 * number) * S) for number, own in enumerate(halves)),
        _campaign(24, (films[10], films[11]), value_nanos=30 * S, cat=("IAB8-18",)),
        _campaign(25, sounds[:2], value_nanos=5 * S),
        _campaign(26, sounds[2:], value_nanos=9 * S, adomain=("heywire.com",)),
    ]


def _natives() -> list[Campaign]:
    natives = (
        _native("n1", (1200, 627), (128, 128)), _native("n2", (180, 120)), _native("n3", (120, 100)),
        _native("n4", (300, 250), (80, 80)), _native("n5", (480, 320)), _native("n6", (1200, 627), (80, 80)),
        _native("n7", (150, 50), (50, 50)), _native("n8", (250, 250), (15, 15), sponsored="", cta=""),
    )  # fmt: skip
    return [
        _campaign(30, natives[:4], value_nanos=5 * S),
        _campaign(31, natives[4:], value_nanos=11 * S, cat=("IAB8-5",)),
    ]


def _dealt() -> list[Campaign]:
    """Line items behind deals, each id with one of its own; and one that never meets the open auction."""
    creatives = (*(_image(n, s) for n, s in enumerate(SIZES[:6])), _linear("v15", 15), _linear("v30", 30))
    items = tuple(
        LineItem(id=f"d{number}", targeting=Targeting(deal=Rule((deal,))), value_nanos=(3 + 6 * number) * S)
        for number, deal in enumerate((*DEALS, *SYNTHETIC_DEALS))
    )
    return [
        _campaign(40, creatives, line_items=items),
        _campaign(
            41,
            tuple(_image(n, s, attr=(1,)) for n, s in enumerate(SIZES[:4])),
            targeting=Targeting(deal=Rule((*DEALS, *SYNTHETIC_DEALS))),
            adomain=("dealer.example",),
            value_nanos=40 * S,
        ),
    ]


def _readers() -> list[Campaign]:
    """Line items whose rules read the request through every dimension."""
    creatives = (
        *(_image(n, s) for n, s in enumerate(SIZES[:8])),
        _linear("v15", 15),
        _native("n1", (1200, 627)),
    )
    excludes = Targeting(
        geo=Rule((), ("ATA",)), city=Rule((), ("nowhere",)), circle=Rule((), ("0.0,0.0,5km",)),
        exchange=Rule((), ("nobody",)), inventory=Rule((), ("dooh",)), device=Rule((), ("console",)),
        os=Rule((), ("bada",)), browser=Rule((), ("netscape",)), carrier=Rule((), ("none",)),
        connection=Rule((), ("ethernet",)), language=Rule((), ("la",)), domain=Rule((), ("blocked.example",)),
        content=Rule((), ("IAB24", "9:150")), keyword=Rule((), ("casino",)), placement=Rule((), ("pos:7", "tag:x")),
        segment=Rule((), ("s9",)), expression=Rule((), ('imp.tagid == "x" or device.geo.zip startswith "0"',)),
    )  # fmt: skip
    includes = Targeting(
        inventory=Rule(("site", "app")),
        expression=Rule(("exists(imp.id) and not imp.bidfloor > 50",)),
        hour=Rule(tuple(str(hour) for hour in range(168))),
    )
    items = (
        LineItem(id="r1", targeting=excludes, value_nanos=12 * S),
        LineItem(id="r2", targeting=includes, value_nanos=8 * S),
        LineItem(id="r3", targeting=Targeting(viewability=Rule(("50",))), value_nanos=30 * S),
        LineItem(id="r4", caps=(Cap(impressions=2, seconds=3600),), unknown_user="allow", value_nanos=9 * S),
    )
    modifiers = (
        Modifier(dimension="inventory", value="app", factor=1.5),
        Modifier(dimension="geo", value="USA", factor=2.0),
        Modifier(dimension="placement", value="instl", factor=0.5),
    )
    return [_campaign(50, creatives, line_items=items, modifiers=modifiers)]


@cache
def campaigns() -> dict[str, Campaign]:
    """The catalog, by id."""
    every = [*_banners(), *_films(), *_natives(), *_dealt(), *_readers()]
    return {one.id: one for one in every}


def settings(**changes: Any) -> EngineSettings:
    """Settings for the catalog: https notices, rates, an exchange for each form of an answer without bids."""
    fields: dict[str, Any] = {
        "public_url": "https://track.example",
        "rates": {"base": "USD", "rates": {"2026-03-02": RATES}},
        # All recorded requests come of a few addresses that were put in place of the real ones.
        "traffic": TrafficRules(user_per_minute=0, address_per_minute=0),
        "exchanges": {
            "silent": ExchangeRules(no_bid="none"),
            "brief": ExchangeRules(no_bid="empty_object", currency="EUR"),
            "empty": ExchangeRules(no_bid="empty_seatbid", first_price_shade=0.9),
            "picky": ExchangeRules(strict=True, approval="assumed"),
        },
    }
    return EngineSettings(**fields | changes)


def terms(**changes: Any) -> Terms:
    """The same for the cross-checks."""
    fields: dict[str, Any] = {
        "buyer": "clearbid",
        "rates": {"USD": "1", **RATES},
        "agreed": {"brief": "EUR"},
        "no_bid": {"silent": "none", "brief": "empty_object", "empty": "empty_seatbid"},
        "margin_ms": 20,
    }
    return Terms(**fields | changes)


def some(seed: int) -> dict[str, Campaign]:
    """About half of the catalog, by a seed: what never wins beside the dearest wins without it."""
    random = Random(f"{seed}-catalog")
    found = {name: one for name, one in campaigns().items() if random.random() < 0.5}
    return found or dict(campaigns())


def engine(table: Mapping[str, Campaign] | None = None, now_ns: int = NOW_NS) -> Engine:
    """An engine with the catalog, or what there is of it, money without end and the models of `factories.model`."""
    table = table or campaigns()
    leases = [make.lease(name, granted_nanos=BUDGET, budget_nanos=BUDGET) for name in table]
    return make.engine(table.values(), leases, settings=settings(), model=make.model(1), now_ns=now_ns)
