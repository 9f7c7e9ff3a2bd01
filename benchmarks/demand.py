"""The demand side of the benchmark market: advertisers, campaigns and line items, as many as asked for.

Line items come by the hundred. Each hundred has the same mix of rules, over every dimension that there is, and in a
market of more than one hundred each is for some of the publishers alone (a *cell*), which it names by their domains,
their placements or their keywords. So about as many line items remain for a request whatever their number, as
where more customers mean narrower line items. With one cell they grow with the number.
"""

from random import Random

from benchmarks.inventory import CARRIERS, CATEGORIES, DEALS, EXCHANGES, SEGMENTS, WORDS, Inventory, Publisher
from bidder.core.campaigns import (
    Advertiser,
    Approval,
    Budgets,
    Campaign,
    Cap,
    Creative,
    Goal,
    LineItem,
    Media,
    Modifier,
    Native,
    Pacing,
    Rule,
    Targeting,
)

BLOCK = 100
PER_CAMPAIGN, PER_ADVERTISER = 4, 20
AMPLE_NANOS = 10**17
"""A budget that no run can spend, and that paces nothing: flights last another seventy years, and a hundred million
units are ten times what a line item could spend in them at the traffic that its plan foresees; a hundredth paced."""
AMPLE_IMPRESSIONS = 10**11
HOUR_S, DAY_S = 3_600, 86_400
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "America/Los_Angeles", "Asia/Tokyo")
EXPRESSIONS = (
    "device.w >= 1080 and not exists(device.ext.emulator)",
    'imp.instl == 1 or site.page contains "sport"',
)
CLICK_VALUE = 0.31
CONVERSION_VALUE = 4.3
"""Median worth of a click and of a conversion, in units of money: so that about half of the requests are bid on."""
_COUNTRIES = ("USA", "DEU", "FRA", "GBR", "CAN")
_REGIONS = ("CA", "NY", "TX", "IL", "FL", "WA", "GA", "CO")
_BANNERS = ((300, 250), (728, 90), (320, 50), (160, 600), (300, 600), (970, 250), (320, 100), (336, 280))


class Demand:
    """Campaigns and advertisers by id.

    Args:
        inventory: whose publishers the cells are made of. lines: a multiple of 100.
        seed: of all of it. cells: parts of the publishers that line items are for; 1 is all of them.
        expressions: whether two line items of each hundred have an expression.
    """

    def __init__(
        self, inventory: Inventory, lines: int, seed: int, cells: int, *, expressions: bool = True
    ) -> None:
        if lines < BLOCK or lines % BLOCK:
            raise ValueError(f"line items must be a multiple of {BLOCK}, was {lines}")
        self._seed = seed
        self._expressions = expressions
        self._tags: dict[int, list[str]] = {}
        for placement in inventory.placements:
            self._tags.setdefault(placement.publisher.number, []).append(placement.tag)
        self._cells = [
            [one for one in inventory.publishers if one.number % cells == cell] for cell in range(cells)
        ]
        self.campaigns = {
            one.id: one for one in (self._campaign(number) for number in range(lines // PER_CAMPAIGN))
        }
        self.advertisers = {
            one.id: one for one in (self._advertiser(number) for number in range(lines // PER_ADVERTISER))
        }

    def _random(self, what: str, number: int) -> Random:
        return Random(f"{self._seed}-{what}-{number}")

    def _advertiser(self, number: int) -> Advertiser:
        return Advertiser(
            id=f"adv-{number:04d}",
            time_zone=ZONES[number % len(ZONES)],
            budgets=Budgets(daily_nanos=AMPLE_NANOS, lifetime_nanos=AMPLE_NANOS if number % 3 == 0 else 0),
            caps=(Cap(impressions=20, seconds=DAY_S),) if number % 2 else (),
        )

    def _campaign(self, number: int) -> Campaign:
        random = self._random("campaign", number)
        owner = number // (PER_ADVERTISER // PER_CAMPAIGN)
        domain = f"brand-{owner % 300:03d}.example"
        return Campaign(
            id=f"cmp-{number:05d}",
            name=f"Campaign {number}",
            advertiser=f"adv-{owner:04d}",
            adomain=(domain,),
            cat=(f"IAB{1 + owner % 20}-{1 + number % 5}",),
            budget_nanos=AMPLE_NANOS,
            budgets=Budgets(
                daily_nanos=AMPLE_NANOS if number % 2 else 0,
                daily_impressions=AMPLE_IMPRESSIONS if number % 5 == 0 else 0,
            ),
            start_ns=0,
            end_ns=4_000_000_000_000_000_000,
            goal=Goal.CONVERSION if number % 5 < 2 else Goal.CLICK,
            value_nanos=10**9,
            max_bid_cpm_micros=25_000_000,
            pacing=Pacing.ASAP if number % 7 == 0 else Pacing.EVEN,
            caps=(Cap(impressions=12, seconds=DAY_S),) if number % 3 == 0 else (),
            unknown_user="refuse" if number % 4 == 0 else "allow",
            creatives=_creatives(random, number, domain),
            line_items=tuple(
                self._line(number * PER_CAMPAIGN + place, goal_is_conversion=number % 5 < 2)
                for place in range(PER_CAMPAIGN)
            ),
        )

    def _line(self, number: int, *, goal_is_conversion: bool) -> LineItem:
        own = self._random("line", number)
        base = number % BLOCK
        mixed = self._random("mix", base)
        value = (CONVERSION_VALUE if goal_is_conversion else CLICK_VALUE) * own.lognormvariate(0.0, 0.5)
        caps = (Cap(impressions=3, seconds=HOUR_S), Cap(impressions=8, seconds=DAY_S)) if base % 2 else ()
        return LineItem(
            id=f"li-{number:05d}",
            value_nanos=int(value * 1e9),
            budgets=Budgets(
                daily_nanos=AMPLE_NANOS if base % 5 < 3 else 0,
                lifetime_nanos=AMPLE_NANOS if base % 5 < 2 else 0,
                lifetime_impressions=AMPLE_IMPRESSIONS if base % 9 == 0 else 0,
            ),
            caps=caps,
            targeting=self._targeting(mixed, base, number // BLOCK % len(self._cells)),
            modifiers=_modifiers(mixed, base),
        )

    # -- targeting ------------------------------------------------------------------------------------------

    def _targeting(self, random: Random, base: int, cell: int) -> Targeting:
        rules = _broad(random)
        special = _special(random, base, expressions=self._expressions)
        return Targeting(**(rules | special | self._cell(random, base, cell, {*rules, *special})))

    def _cell(self, random: Random, base: int, cell: int, taken: set[str]) -> dict[str, Rule]:
        """Names the publishers of the cell; all line items do, by one of three dimensions."""
        publishers = self._cells[cell]
        kind = ("domain", "placement", "keyword")[base % 3]
        assert kind not in taken, "what names the cell must not be narrowed by another rule"
        if kind == "domain":
            # A list is long, and most of it is not of these exchanges.
            others = tuple(f"elsewhere-{random.randrange(5_000)}.example" for _ in range(20))
            return {kind: Rule(include=(*(one.domain for one in publishers), *others))}
        if kind == "placement":
            return {
                kind: Rule(
                    include=tuple(f"tag:{tag}" for one in publishers for tag in self._tags[one.number])
                )
            }
        return {kind: Rule(include=tuple(map(_title, publishers)))}


def _title(publisher: Publisher) -> str:
    return f"title-{publisher.number}"


def _broad(random: Random) -> dict[str, Rule]:
    """Two or three rules that each let between a third and nine tenths through."""
    rules = {
        "geo": _geo(random),
        "device": Rule(include=random.choice((("phone",), ("phone", "tablet"), ("desktop",), ("desktop", "phone")))),
        "os": Rule(exclude=(random.choice(("ios", "android", "macos", "windows")),)),
        "browser": Rule(include=random.choice((("chrome",), ("chrome", "safari", "webview"), ("safari", "webview")))),
        "inventory": Rule(include=(random.choice(("site", "site", "app")),)),
        "exchange": Rule(include=tuple(random.sample(EXCHANGES, random.randint(3, 5)))),
        "language": Rule(include=random.choice((("en",), ("en", "de"), ("en", "fr", "pt")))),
        "content": Rule(exclude=tuple(random.sample(CATEGORIES, 4))),
        "connection": Rule(include=random.choice((("wifi",), ("wifi", "ethernet"), ("cellular", "wifi")))),
        "hour": Rule(include=tuple(str(hour) for hour in range(168) if random.random() < 0.75)),
    }  # fmt: skip
    return {name: rules[name] for name in random.sample(list(rules), random.choice((2, 3, 3)))}


def _geo(random: Random) -> Rule:
    countries = random.sample(_COUNTRIES[1:], random.randint(0, 2)) or ["GBR"]
    if random.random() < 0.7:
        countries.append("USA")
    return Rule(include=tuple(countries), exclude=tuple(random.sample(_REGIONS, random.randint(0, 2))))


def _special(random: Random, base: int, *, expressions: bool) -> dict[str, Rule]:
    """Rarer rules, so that every dimension is used by some of a hundred."""
    place = base % 25
    if place in (0, 1, 2):
        return {"deal": Rule(include=tuple(random.sample(DEALS, 6)))}
    if place in (3, 4):
        return {"segment": Rule(include=tuple(random.sample(SEGMENTS, 40)))}
    found: dict[int, dict[str, Rule]] = {
        5: {"city": Rule(include=("new york", "chicago", "DEU/berlin", "london"))},
        6: {"circle": Rule(include=("40.71,-74.01,60km", "34.05,-118.24,80km", "52.52,13.40,40km"))},
        7: {"carrier": Rule(include=tuple(name.lower() for name in CARRIERS[:3]))},
        8: {"viewability": Rule(include=("50",))},
        9: {"content": Rule(include=tuple(random.sample(CATEGORIES, 8)))},
        10: {"segment": Rule(exclude=tuple(random.sample(SEGMENTS, 30)))},
    }
    if base % 3 != 2:
        found[11] = {"keyword": Rule(exclude=tuple(random.sample(WORDS, 3)))}
    if base % 3 != 0:
        found[12] = {"domain": Rule(exclude=tuple(f"news-{number}.example" for number in range(40)))}
    if base % 3 != 1:
        found[13] = {"placement": Rule(exclude=("instl", "rewarded"))}
    if base in (14, 39) and expressions:
        return {"expression": Rule(include=(EXPRESSIONS[base % 2],))}
    return found.get(place, {})


def _modifiers(random: Random, base: int) -> tuple[Modifier, ...]:
    if base % 5 > 1:
        return ()
    known = (
        ("device", "phone", 1.2),
        ("geo", "CA", 1.3),
        ("hour", "66", 0.9),
        ("exchange", "cedar", 0.8),
        ("os", "ios", 1.1),
    )
    return tuple(
        Modifier(dimension=dimension, value=value, factor=factor)
        for dimension, value, factor in random.sample(known, random.randint(1, 3))
    )


# -- creatives ----------------------------------------------------------------------------------------------


def _creatives(random: Random, number: int, domain: str) -> tuple[Creative, ...]:
    sizes = [_BANNERS[0], *random.sample(_BANNERS[1:], random.randint(2, 5))]
    found = [_banner(random, number, place, w, h, domain) for place, (w, h) in enumerate(sizes)]
    if number % 3 == 0:
        found += [_video(number, seconds, domain) for seconds in (15, 30)]
    if number % 4 == 0:
        found.append(_native(number, domain))
    return tuple(found)


def _banner(random: Random, number: int, place: int, w: int, h: int, domain: str) -> Creative:
    return Creative(
        id=f"cr-{number}-{place}",
        w=w,
        h=h,
        image_url=f"https://cdn.{domain}/{number}/{w}x{h}.png",
        landing_url=f"https://www.{domain}/landing?c={number}",
        attr=random.choice(((), (), (), (2,))),
        api=random.choice(((), (), (), (), (7,))),
        approvals={"flint": Approval.PENDING} if random.random() < 0.05 else {},
    )


def _video(number: int, seconds: int, domain: str) -> Creative:
    return Creative(
        id=f"cr-{number}-v{seconds}",
        media=Media.VIDEO,
        w=640,
        h=360,
        media_url=f"https://cdn.{domain}/{number}/{seconds}.mp4",
        mime="video/mp4",
        duration_s=seconds,
        bitrate_kbps=1_200,
        landing_url=f"https://www.{domain}/landing?c={number}",
    )


def _native(number: int, domain: str) -> Creative:
    assets = Native(
        title=f"Offer {number} of the week",
        text="Free delivery until Sunday.",
        sponsored=domain,
        image_url=f"https://cdn.{domain}/{number}/main.jpg",
        image_w=1_200,
        image_h=628,
        icon_url=f"https://cdn.{domain}/{number}/icon.png",
        icon_w=80,
        icon_h=80,
    )
    return Creative(
        id=f"cr-{number}-n",
        media=Media.NATIVE,
        native=assets,
        landing_url=f"https://www.{domain}/n?c={number}",
    )
