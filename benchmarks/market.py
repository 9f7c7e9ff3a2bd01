"""The benchmark market: requests, line items, models and settings that together look like production.

    market = make_market(lines=100)
    engine = market.engine(market.model())
    answers = engine.decide(market.bodies.bodies(0, 64), [0] * 64, market.origin_ns)

Everything follows from the seed. `benchmarks.inventory` and `benchmarks.traffic` make the requests,
`benchmarks.demand` the line items. About ten line items are candidates for a request, whether there are 100 or
10,000, unless `growing`; about half of the requests get a bid.
"""

from dataclasses import dataclass, replace
from functools import cache

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from benchmarks.demand import AMPLE_IMPRESSIONS, AMPLE_NANOS, BLOCK, PER_ADVERTISER, PER_CAMPAIGN, Demand
from benchmarks.inventory import EXCHANGES, SEGMENTS, SIZES, VENDOR, Inventory
from benchmarks.traffic import PATIENT_TMAX_MS, TMAX_MS, Bodies
from bidder.core.budgets import Unit, accounts_of
from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.engine import Engine
from bidder.core.messages import ONE_IMPRESSION, Lease
from bidder.core.opportunity import RAW_FEATURES
from bidder.core.scoring import CAMPAIGN_FEATURES, Model
from bidder.core.settings import EngineSettings, ExchangeRules, PacingSettings, UserSettings
from bidder.privacy.permissions import PrivacyPolicy
from models.compile import compile_boosters
from models.schema import Feature, FeatureSpec

SEED = 7
BODIES = 20_000
KEY = bytes(range(32))
SEAT = "seat-1"
EPOCH = 1
START_ID = "benchmark"
ORIGIN_NS = 1_795_003_200 * 10**9
"""What the clock shows when a run begins: Wednesday 2026-11-18, 12:00 UTC."""
NS_PER_DAY = 86_400 * 10**9
TREES, LEAVES, TRAINING_ROWS = 100, 31, 20_000
CTR_RANGE, CVR_RANGE = (0.0005, 0.02), (0.01, 0.2)
KNOTS = 64
_MODEL_SEGMENTS, _MODEL_LINES, _MODEL_TAGS = 24, 1_000, 1_000


@dataclass(frozen=True)
class Market:
    """One market.

    Attributes:
        seed: of all of it. inventory: supply. campaigns, advertisers: demand, by id. lines: how many line items.
        bodies: requests, with a minute for an answer.
        settings: of the engine. origin_ns: the time at the begin.
    """

    seed: int
    inventory: Inventory
    campaigns: dict[str, Campaign]
    advertisers: dict[str, Advertiser]
    lines: int
    bodies: Bodies
    settings: EngineSettings
    origin_ns: int = ORIGIN_NS

    @property
    def hurried(self) -> Bodies:
        """The same requests with `TMAX_MS` for an answer."""
        return _bodies(self.seed, len(self.bodies), TMAX_MS)

    def leases(self, start_id: str = START_ID, days: int = 1) -> list[Lease]:
        """Leases of every budget for a start, with more than a run can spend; `days` from today on."""
        found: dict[str, Lease] = {}
        for campaign in self.campaigns.values():
            advertiser = self.advertisers[campaign.advertiser]
            for item in campaign.line_items:
                for day in range(days):
                    for budget in accounts_of(campaign, item, advertiser, self.origin_ns + day * NS_PER_DAY):
                        money = budget.unit is Unit.MONEY
                        found[budget.account_id] = Lease(
                            seat=SEAT,
                            epoch=EPOCH,
                            start_id=start_id,
                            account_id=budget.account_id,
                            granted_nanos=AMPLE_NANOS if money else AMPLE_IMPRESSIONS * ONE_IMPRESSION,
                            bid_until_ns=budget.end_ns,
                            budget_nanos=budget.limit,
                            spent_nanos=0,
                            seats=1,
                        )
        return list(found.values())

    def model(self) -> Model:
        """The compiled models; the same for markets of any number of line items."""
        return trained(self.seed).model()

    def engine(self, model: Model | None, *, settings: EngineSettings | None = None) -> Engine:
        """An engine with these campaigns and leases."""
        engine = Engine(settings or self.settings, KEY, model, START_ID)
        engine.adopt_campaigns(self.campaigns, 1, self.origin_ns, self.advertisers)
        engine.adopt_leases(self.leases(), self.origin_ns)
        return engine


def make_market(
    lines: int = BLOCK,
    *,
    growing: bool = False,
    bodies: int = BODIES,
    seed: int = SEED,
    expressions: bool = True,
) -> Market:
    """Draws a market.

    Args:
        lines: line items, a multiple of 100. growing: whether candidates grow with them.
        bodies: different requests. seed: of all of it.
        expressions: whether some line items have an expression, for which a request must be read whole.
    """
    inventory = _inventory(seed)
    cells = 1 if growing else min(lines // BLOCK, 100)
    demand = Demand(inventory, lines, seed, cells, expressions=expressions)
    return Market(
        seed,
        inventory,
        demand.campaigns,
        demand.advertisers,
        lines,
        _bodies(seed, bodies, PATIENT_TMAX_MS),
        engine_settings(),
    )


@cache
def _inventory(seed: int) -> Inventory:
    return Inventory(seed)


@cache
def _bodies(seed: int, count: int, tmax_ms: int) -> Bodies:
    return Bodies(_inventory(seed), count, seed, tmax_ms)


def engine_settings() -> EngineSettings:
    """Everything on: exchanges with rules of their own, consent, rates, data centres, caps with room."""
    # Replayed traffic is faster than any clock: the money of a bid waits as long as a run of seconds takes.
    rules = {
        name: ExchangeRules(
            first_price_shade=0.65 + 0.05 * place,
            result_seconds=20.0 + place,
            billing_seconds=120.0,
            schain_complete=place % 2 == 0,
            schain_required=place % 3 == 0,
            schain_blocked=("resold.example", "hub.example/77"),
        )
        for place, name in enumerate(EXCHANGES)
    }
    networks = tuple(
        f"{first}.{second}.0.0/16" for first in (3, 13, 18, 34, 52) for second in range(0, 200, 4)
    )
    return EngineSettings(
        seat=SEAT,
        exchanges=rules,
        privacy=PrivacyPolicy(vendor_id=VENDOR),
        rates={"base": "USD", "rates": {"2026-11-17": {"EUR": "1.0842", "GBP": "1.2731"}}},
        data_centres=networks,
        users=UserSettings(cap_pairs=400_000),
        pacing=PacingSettings(start=1.0, weekly_opportunities=5e6),
    )


# -- models -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """Click and conversion models of 100 trees of 31 leaves: LightGBM texts and what they mean.

    Attributes:
        spec: their features. texts: of `ctr` and `cvr`. knots: float64[2, KNOTS] of each, raw score and probability.
    """

    spec: FeatureSpec
    texts: tuple[str, str]
    knots: tuple[NDArray[np.float64], ...]

    def model(self) -> Model:
        """Compiled, calibrated."""
        table = replace(
            compile_boosters(self.texts, len(self.spec)),
            knots_start=np.array([0, KNOTS, 2 * KNOTS], dtype=np.int32),
            knots_raw=np.concatenate([raw for raw, _ in self.knots]),
            knots_probability=np.concatenate([probability for _, probability in self.knots]),
        )
        return Model.of(self.spec, table, f"{self.spec.hash}")


@cache
def trained(seed: int = SEED) -> Trained:
    """Trains both models on seeded rows with a hidden law; about four seconds."""
    spec = _spec(_inventory(seed))
    random = np.random.default_rng(seed)
    rows = np.zeros((TRAINING_ROWS, len(spec)))
    odds = np.zeros((2, TRAINING_ROWS))
    categorical = [place for place, feature in enumerate(spec.features) if feature.kind == "categorical"]
    for place, feature in enumerate(spec.features):
        if place in categorical:
            count = len(feature.vocabulary) + 1
            weights = 1 / np.arange(1, count + 1) ** 0.8
            rows[:, place] = random.choice(count, TRAINING_ROWS, p=weights / weights.sum())
            odds += 0.45 * random.normal(size=(2, count))[:, rows[:, place].astype(int)]
        else:
            rows[:, place] = (
                random.exponential(2.0, TRAINING_ROWS)
                if ":" not in feature.name
                else random.random(TRAINING_ROWS) < 0.05
            )
            odds += 0.2 * random.normal(size=(2, 1)) * rows[:, place]
    labels = random.random((2, TRAINING_ROWS)) < 1 / (
        1 + np.exp(1.5 - odds + odds.mean(axis=1, keepdims=True))
    )
    boosters = [_grow(rows, one.astype(np.float64), categorical, seed) for one in labels]
    ranges = (CTR_RANGE, CVR_RANGE)
    return Trained(
        spec,
        (boosters[0].model_to_string(), boosters[1].model_to_string()),
        tuple(
            _knots(booster, rows, low, high) for booster, (low, high) in zip(boosters, ranges, strict=True)
        ),
    )


def _grow(
    rows: NDArray[np.float64], labels: NDArray[np.float64], categorical: list[int], seed: int
) -> lgb.Booster:
    settings = {
        "objective": "binary", "verbose": -1, "num_leaves": LEAVES, "num_threads": 1, "deterministic": True,
        "force_row_wise": True, "seed": seed, "learning_rate": 0.05, "min_data_in_leaf": 20, "feature_fraction": 0.6,
        "min_data_per_group": 20, "cat_smooth": 5.0, "max_bin": 63,
    }  # fmt: skip
    data = lgb.Dataset(rows, labels, categorical_feature=categorical, params=settings)
    return lgb.train(settings, data, num_boost_round=TREES)


def _knots(booster: lgb.Booster, rows: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Raw scores evenly between the extremes, and probabilities that grow evenly in their logarithm."""
    raw = np.asarray(booster.predict(rows[:4_000], raw_score=True, num_threads=1))
    return np.vstack((np.linspace(raw.min(), raw.max(), KNOTS), np.geomspace(low, high, KNOTS)))


def _spec(inventory: Inventory) -> FeatureSpec:
    users = inventory.users
    known: dict[str, tuple[str, ...]] = {
        "exchange": EXCHANGES,
        "region": tuple(dict.fromkeys(user.region for user in users)),
        "city": tuple(dict.fromkeys(user.city for user in users)),
        "domain": tuple(one.domain if one.app else f"www.{one.domain}" for one in inventory.publishers),
        "tag_id": tuple(placement.tag for placement in inventory.placements[:_MODEL_TAGS]),
        "size": tuple(f"{w}x{h}" for w, h in SIZES),
        "position": ("0", "1", "3"),
        "os": ("android", "ios", "windows", "macos", "linux"),
        "browser": ("chrome", "safari", "edge", "firefox"),
        "device_type": ("2", "4", "5"),
        "hour": tuple(map(str, range(24))),
        "weekday": tuple(map(str, range(7))),
        "campaign": tuple(f"cmp-{number:05d}" for number in range(_MODEL_LINES // PER_CAMPAIGN)),
        "advertiser": tuple(f"adv-{number:04d}" for number in range(_MODEL_LINES // PER_ADVERTISER)),
        "line_item": tuple(f"li-{number:05d}" for number in range(_MODEL_LINES)),
    }
    features = [
        Feature(name, "categorical", "request", known[name])
        if name in known
        else Feature(name, "numeric", "request")
        for name in RAW_FEATURES
    ]
    features += [Feature(f"segment:{name}", "numeric", "request") for name in SEGMENTS[:_MODEL_SEGMENTS]]
    features += [Feature(name, "categorical", "campaign", known[name]) for name in CAMPAIGN_FEATURES]
    return FeatureSpec(features)
