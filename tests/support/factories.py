"""Builders for tests of the engine: campaigns, offers and their OpenRTB bodies, leases, engines, a model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

import numpy as np
import orjson

from bidder.core.campaigns import Campaign, Creative, Goal, Pacing, Rule, Status, Targeting
from bidder.core.engine import Engine
from bidder.core.messages import Lease, Settlement, SettlementKind
from bidder.core.opportunity import hour_of_week
from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings
from bidder.core.valuing import ValueForest
from models.calibration import CalibrationTable
from models.compile import compile_boosters, compile_value
from models.schema import Feature, FeatureSpec
from models.value import ValueModel, ValueTable
from tests.support.lightgbm_models import random_text

S = 1_000_000_000
"""Nanoseconds in a second, and nanos in a unit of currency."""
KEY = b"test key of thirty-two bytes ..."
SEAT = "seat-1"
START = "start-1"
SETTINGS = EngineSettings(external_scores=True)
FOREVER_NS = 4_000_000_000 * S


def creative(creative_id: str = "k1", **changes: Any) -> Creative:
    """A banner of 300 x 250, all https."""
    fields: dict[str, Any] = {
        "w": 300,
        "h": 250,
        "image_url": "https://cdn.shop.example/banner.png",
        "landing_url": "https://shop.example/sale?a=1&b=2",
    }
    return Creative(id=creative_id, **(fields | changes))


def campaign(campaign_id: str = "c1", **changes: Any) -> Campaign:
    """A campaign without targeting: 2 units a click, at most 9 CPM, 10 units of budget, one banner."""
    fields: dict[str, Any] = {
        "name": f"Campaign {campaign_id}",
        "advertiser": "shop",
        "adomain": ("shop.example",),
        "budget_nanos": 10 * S,
        "start_ns": 0,
        "end_ns": FOREVER_NS,
        "value_nanos": 2 * S,
        "max_bid_cpm_micros": 9_000_000,
        "creatives": (creative(),),
    }
    return Campaign(id=campaign_id, **(fields | changes))


@dataclass(frozen=True)
class Offer:
    """One impression on offer in plain values; `body` writes it as an exchange does."""

    id: str = "r1"
    imp_id: str = "1"
    exchange: str = "default"
    sizes: tuple[tuple[int, int], ...] = ((300, 250),)
    secure: bool = False
    region: str | None = None
    country: str | None = None
    domain: str | None = None
    os: str | None = None
    segments: tuple[str, ...] = ()
    badv: tuple[str, ...] = ()
    bcat: tuple[str, ...] = ()
    battr: tuple[int, ...] = ()
    floor_cpm_micros: int = 0
    at: int = 2
    test: bool = False
    external: tuple[str, float] | None = ("c1", 0.001)
    more: dict[str, Any] = field(default_factory=dict)
    """Further attributes of the request, as they are."""

    def with_(self, **changes: Any) -> "Offer":
        """The offer with some values changed."""
        return replace(self, **changes)


def body(*offers: Offer) -> bytes:
    """A BidRequest with the impressions of `offers`; what they share is taken from the first."""
    first = offers[0]
    device = {"os": first.os, "geo": _known({"region": first.region, "country": first.country})}
    request: dict[str, Any] = {
        "id": first.id,
        "at": first.at,
        "imp": [_imp(offer) for offer in offers],
        "cur": ["USD"],
        "ext": {"exchange": first.exchange},
        "device": _known(device),
        "user": {"data": [{"segment": [{"id": segment} for segment in first.segments]}]},
        "badv": list(first.badv),
        "bcat": list(first.bcat),
    }
    if first.domain is not None:
        request["site"] = {"domain": first.domain}
    if first.test:
        request["test"] = 1
    return orjson.dumps(request | first.more)


def _imp(offer: Offer) -> dict[str, Any]:
    banner = {"format": [{"w": w, "h": h} for w, h in offer.sizes], "battr": list(offer.battr)}
    imp: dict[str, Any] = {
        "id": offer.imp_id,
        "banner": banner,
        "bidfloor": offer.floor_cpm_micros / 1e6,
        "secure": int(offer.secure),
    }
    if offer.external is not None:
        imp["ext"] = {"clearbid": {"campaign": offer.external[0], "pctr": offer.external[1]}}
    return imp


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def lease(campaign_id: str = "c1", **changes: Any) -> Lease:
    """5 of 10 units granted to the one seat, epoch 1, without an end."""
    fields: dict[str, Any] = {
        "seat": SEAT,
        "epoch": 1,
        "start_id": START,
        "granted_nanos": 5 * S,
        "bid_until_ns": FOREVER_NS,
        "budget_nanos": 10 * S,
        "spent_nanos": 0,
        "seats": 1,
    }
    return Lease(account_id=campaign_id, **(fields | changes))


def settlement(kind: SettlementKind, bid_id: str, amount_nanos: int = 0, **changes: Any) -> Settlement:
    """What the bank says of a bid of campaign c1."""
    fields: dict[str, Any] = {"seat": SEAT, "epoch": 1, "campaign_id": "c1", "late": False}
    return Settlement(kind=kind, bid_id=bid_id, amount_nanos=amount_nanos, **(fields | changes))


def engine(
    campaigns: Iterable[Campaign] = (),
    leases: Sequence[Lease] | None = None,
    *,
    settings: EngineSettings | None = None,
    model: Model | None = None,
    now_ns: int = 0,
) -> Engine:
    """An engine with these campaigns (one plain one if none) and leases (a plain one for each if None)."""
    table = {one.id: one for one in campaigns} or {"c1": campaign()}
    made = Engine(settings or SETTINGS, KEY, model, START)
    made.adopt_campaigns(table, 1, now_ns)
    made.adopt_leases([lease(name) for name in table] if leases is None else leases, now_ns)
    return made


def decisions(answers: Iterable[Any]) -> list[dict[str, Any]]:
    """The decision rows of answers, decoded."""
    return [orjson.loads(line) for answer in answers for line in answer.decisions.splitlines()]


def decide(engine: Engine, *bodies: bytes, now_ns: int = 0, age_ns: int = 0) -> list[dict[str, Any]]:
    """The decision rows of one call."""
    return decisions(engine.decide(bodies, [age_ns] * len(bodies), now_ns))


REGIONS = ("CA", "NY", "TX")
SIZES = ((300, 250), (728, 90), (160, 600))
SYSTEMS = ("windows", "ios")
SEGMENTS = ("s1", "s2", "s3")
CAMPAIGN_IDS = tuple(f"c{number}" for number in range(1, 6))

SPEC = FeatureSpec(
    (
        Feature("region", "categorical", "request", REGIONS),
        Feature("campaign", "categorical", "campaign", CAMPAIGN_IDS),
        Feature("floor_cpm", "numeric", "request"),
        Feature("size", "categorical", "request", tuple(f"{w}x{h}" for w, h in SIZES)),
        Feature("os", "categorical", "request", SYSTEMS),
        Feature("segment:s1", "numeric", "request"),
        Feature("hour", "categorical", "request", tuple(str(hour) for hour in range(24))),
        Feature("advertiser", "categorical", "campaign", ("shop", "bank")),
    )
)
KNOTS_RAW = (-8.0, 0.0, 8.0)
KNOTS_PROBABILITY = (0.0, 0.002, 0.01)


def model_texts(seed: int) -> tuple[str, str]:
    """A click and a conversion model of random trees."""
    random = np.random.default_rng(seed)
    categorical = [feature.kind == "categorical" for feature in SPEC.features]
    return random_text(random, categorical, 6), random_text(random, categorical, 4)


@cache
def model(seed: int = 1) -> Model:
    """The compiled models of `model_texts`, both calibrated alike."""
    table = compile_boosters(model_texts(seed), len(SPEC))
    count = len(KNOTS_RAW)
    table = replace(
        table,
        knots_start=np.array([0, count, 2 * count], dtype=np.int32),
        knots_raw=np.array(KNOTS_RAW * 2),
        knots_probability=np.array(KNOTS_PROBABILITY + tuple(50 * p for p in KNOTS_PROBABILITY)),
    )
    return Model.of(SPEC, table, f"{seed:064x}")


@cache
def value_model(seed: int = 1) -> ValueModel:
    """A model of the value of a conversion of random trees; some 3 units, half of them worth nothing."""
    random = np.random.default_rng([seed, 3])
    categorical = [feature.kind == "categorical" for feature in SPEC.features]
    positive = CalibrationTable("offset", KNOTS_RAW, (0.2, 0.5, 0.9))
    table = ValueTable(kind="gamma", scale_nanos=3e9, positive=positive)
    return ValueModel(random_text(random, categorical, 5), random_text(random, categorical, 3), table)


@cache
def valued_model(seed: int = 1) -> Model:
    """`model` with `value_model`."""
    value = value_model(seed)
    forest = ValueForest(compile_value(value, len(SPEC)), value.table.scale_nanos)
    return Model.of(SPEC, model(seed).table, f"{seed:064x}", None, forest)


def random_campaign(random: Random, campaign_id: str, now_ns: int) -> Campaign:
    """A campaign with any mix of rules over the values that `random_offer` shows."""
    sizes = random.sample(SIZES, random.choice((1, 2, 3, 3)))
    always, ends_next = (0, FOREVER_NS), (now_ns, now_ns + 1)
    start_ns, end_ns = random.choice((*[always] * 8, ends_next, (0, now_ns), (now_ns + 1, FOREVER_NS)))
    return campaign(
        campaign_id,
        advertiser=random.choice(("shop", "bank")),
        adomain=(random.choice(("shop.example", "www.shop.example", "bank.example", "x.co.example")),),
        cat=random.choice(((), ("IAB7",), ("IAB7-39",), ("IAB1-2", "IAB3"))),
        status=Status.PAUSED if random.random() < 0.1 else Status.ACTIVE,
        start_ns=start_ns,
        end_ns=end_ns,
        goal=random.choice((Goal.CLICK, Goal.CLICK, Goal.CONVERSION)),
        value_nanos=random.choice((1, 3 * S, 3 * S, 3 * S, 3 * S, 40 * S, 40 * S, 500 * S)),
        max_bid_cpm_micros=random.choice((1, 700_000, 9_000_000, 9_000_000)),
        pacing=random.choice((Pacing.EVEN, Pacing.ASAP)),
        targeting=Targeting(
            geo=random_rule(random, (*REGIONS, "USA")),
            exchange=random_rule(random, ("one", "two")),
            domain=random_rule(random, ("news.example", "a.news.example", "blog.example")),
            segment=random_rule(random, SEGMENTS),
            hour=random_rule(random, (str(hour_of_week(now_ns)), "3", "100")),
        ),
        creatives=tuple(
            creative(
                f"k{number}",
                w=w,
                h=h,
                image_url=random.choice(("http", "https", "https")) + "://cdn.shop.example/a.png",
                attr=random.choice((*((),) * 8, (1,), (2, 3))),
            )
            for number, (w, h) in enumerate(sizes)
        ),
    )


def random_rule(random: Random, values: tuple[str, ...]) -> Rule:
    """Mostly no rule; else some values to include, to exclude, or both."""
    kind = random.choice((*("none",) * 17, "include", "exclude", "both"))
    most = max(1, len(values) * 2 // 3)
    include = random.sample(values, random.randint(1, most)) if kind in {"include", "both"} else ()
    exclude = random.sample(values, random.randint(1, min(2, most))) if kind in {"exclude", "both"} else ()
    return Rule(tuple(include), tuple(exclude))


def random_offer(random: Random, number: int, campaign_ids: Sequence[str], *, scored: bool) -> Offer:
    """An offer of its own id; with `scored` some leave the probability to the model."""
    some = random.choice
    external = (some((*campaign_ids, "unknown")), some((0.0, 1e-9, 0.002, 0.002, 0.01, 0.01, 1.0, 7.0)))
    return Offer(
        id=f"r{number}",
        exchange=some(("one", "two", "default")),
        sizes=tuple(random.sample(SIZES, some((1, 2, 2, 3, 3)))) if random.random() < 0.95 else (),
        secure=some((False, False, True)),
        region=some((None, *REGIONS)),
        country=some((None, "USA", "DEU")),
        domain=some((None, "news.example", "A.News.example", "x.a.news.example", "blog.example")),
        os=some((None, *SYSTEMS, "Other")),
        segments=tuple(random.sample(SEGMENTS, random.randint(0, 2))),
        badv=some((*((),) * 6, ("shop.example",), ("example",), ("Bank.example", "co.example"))),
        bcat=some((*((),) * 6, ("IAB7",), ("IAB7-39",), ("IAB1",))),
        battr=some((*((),) * 6, (1,), (3, 9))),
        floor_cpm_micros=some((0, 0, 0, 0, 1, 400_000, 700_000, 700_001)),
        at=some((1, 2)),
        test=some((False, False, False, True)),
        external=None if scored and random.random() < 0.8 else external,
    )
