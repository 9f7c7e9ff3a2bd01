"""An engine and its slow twin on one random market, and what must be equal of the two."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import exp
from random import Random
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np

from bidder.core.budgets import accounts_of
from bidder.core.campaigns import Advertiser, Campaign, Goal
from bidder.core.engine import FUNNEL, Engine
from bidder.core.exposures import Exposure
from bidder.core.messages import Brake, CreativeCounts, Lease
from bidder.core.opportunity import hour_of_week
from bidder.core.pacing_kernels import G_DRIFT, G_LEAST, G_PULL
from bidder.core.profiles import Profile
from bidder.core.settings import EngineSettings
from bidder.core.token import bid_id_text
from bidder.core.users import key_text, user_key
from bidder.core.valuing import OUTCOMES
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support import markets, naive_scorer
from tests.support.factories import S
from tests.support.naive_engine import Account, NaiveEngine, Outcome, Pace, pace_keys
from tests.support.naive_showing import NaiveLine, Shown

NOW_NS = 1_772_409_600 * S + 5 * 3_600 * S
"""A Monday, 05:00 UTC."""


@cache
def _dumps(seed: int) -> list[dict[str, Any]]:
    return [lgb.Booster(model_str=text).dump_model() for text in make.model_texts(seed)]


def naive_row(line: NaiveLine, shown: Shown, floor: int) -> np.ndarray:
    """What the models of `factories` are shown, in the order of their spec."""
    system = shown.device.get("os")
    values: dict[str, str | float | None] = {
        "region": shown.geo.get("region"),
        "campaign": line.campaign.id,
        "floor_cpm": floor / 1e6,
        "size": _first_size(shown.imp),
        "os": system.lower() if system else None,
        "segment:s1": float("s1" in (*_sent_segments(shown), *shown.segments)),
        "hour": str(hour_of_week(shown.now_ns) % 24),
        "advertiser": line.campaign.advertiser,
    }
    found = [
        float(feature.vocabulary.index(value) + 1 if value in feature.vocabulary else 0)
        if feature.kind == "categorical"
        else value
        for feature, value in ((feature, values[feature.name]) for feature in make.SPEC.features)
    ]
    return np.array(found)


def naive_score(line: NaiveLine, shown: Shown, floor: int) -> tuple[float, float]:
    """Probabilities of model 1, by LightGBM's own dump."""
    row = naive_row(line, shown, floor)
    raws = [naive_scorer.raw_score(dump, row) for dump in _dumps(1)]
    knots, probability = list(make.KNOTS_RAW), list(make.KNOTS_PROBABILITY)
    pctr = naive_scorer.calibrated(raws[0], knots, probability)
    return pctr, naive_scorer.calibrated(raws[1], knots, [50 * p for p in probability])


@cache
def _value_dumps(seed: int) -> list[dict[str, Any]]:
    return [lgb.Booster(model_str=text).dump_model() for text in make.value_model(seed).texts]


def naive_value(line: NaiveLine, shown: Shown, floor: int) -> float:
    """Nanos of a conversion by value model 1."""
    row, model = naive_row(line, shown, floor), make.value_model(1)
    raw, second = (naive_scorer.raw_score(dump, row) for dump in _value_dumps(1))
    positive = naive_scorer.calibrated(second, *(knots.tolist() for knots in model.knots))
    return model.table.scale_nanos * exp(raw) * positive


def _first_size(imp: dict[str, Any]) -> str | None:
    banner = imp.get("banner")
    if banner is None:
        return None
    sizes = [size for size in banner.get("format") or [banner] if size.get("w") and size.get("h")]
    return f"{sizes[0]['w']}x{sizes[0]['h']}" if sizes else None


def _sent_segments(shown: Shown) -> list[str]:
    if not shown.permitted & 2:
        return []
    return [one["id"] for data in shown.request.get("user", {}).get("data", ()) for one in data["segment"]]


@dataclass
class Market:
    """Campaigns and money, in an engine and in its twin."""

    campaigns: list[Campaign]
    advertisers: dict[str, Advertiser]
    engine: Engine
    twin: NaiveEngine
    line_ids: list[str] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)

    def bodies(self, random: Random, count: int, *, scored: bool) -> list[bytes]:
        """Well-formed requests; some come twice."""
        found: list[bytes] = []
        for number in range(count):
            if found and random.random() < 0.1:
                found.append(random.choice(found))
            else:
                found.append(markets.random_body(random, number, self.line_ids, scored=scored))
        return found


def market(
    random: Random,
    campaigns: int,
    *,
    scored: bool,
    settings: EngineSettings = markets.SETTINGS,
    now_ns: int = NOW_NS,
    plain: bool = False,
    valued: bool = False,
) -> Market:
    """The same random campaigns, budgets, counts, exposures and profiles in an engine and in its twin.

    `valued`: most conversions are worth what a model says.
    `plain`: no campaign has line items, so that there are as many of these as campaigns.
    """
    own = [markets.random_campaign(random, f"c{number}", now_ns) for number in range(1, campaigns + 1)]
    if plain:
        own = [msgspec.structs.replace(one, line_items=()) for one in own]
    if valued:
        own = [_by_value(Random(f"{one.id} {len(own)}"), one) for one in own]
    advertisers = markets.random_advertisers(random)
    model = make.valued_model(1) if valued else make.model(1) if scored else None
    engine = Engine(settings, make.KEY, model, make.START)
    engine.adopt_campaigns({one.id: one for one in own}, 1, now_ns, advertisers)
    twin = NaiveEngine(
        own, settings, naive_score if scored else None, advertisers, value=naive_value if valued else None
    )
    _lease(random, engine, twin, now_ns)
    _pace(engine, twin, settings)
    _brake(random, engine, twin, now_ns)
    profiles = _remember(random, own, engine, twin, now_ns)
    return Market(own, advertisers, engine, twin, [line.id for line in twin.lines], profiles)


def _by_value(random: Random, own: Campaign) -> Campaign:
    """The campaign with conversions that are worth what the model says, or some of its line items'."""
    source = random.choice(("model", "model", "stated"))
    items = tuple(
        msgspec.structs.replace(
            item,
            goal=random.choice((Goal.CONVERSION, Goal.VALUE)),
            value_source=random.choice(("model", "stated", None)),
        )
        for item in own.line_items
    )
    changes: dict[str, Any] = {"goal": Goal.CONVERSION, "value_source": source, "line_items": items}
    return msgspec.structs.replace(own, value_nanos=own.value_nanos or S, **changes)


def _lease(random: Random, engine: Engine, twin: NaiveEngine, now_ns: int) -> None:
    leases: dict[str, Lease] = {}
    for line in twin.lines:
        for one in accounts_of(line.campaign, line.item, line.advertiser, now_ns):
            if one.account_id in leases or random.random() < 0.03:
                continue
            granted = random.choice((0, 2_000_000, *[30_000_000] * 4, 5 * S))
            until_ns = now_ns if random.random() < 0.04 else make.FOREVER_NS
            leases[one.account_id] = make.lease(one.account_id, granted_nanos=granted, bid_until_ns=until_ns)
            twin.accounts[one.account_id] = Account(granted, until_ns)
    engine.adopt_leases(list(leases.values()) or [make.lease("nobody")], now_ns)


def _pace(engine: Engine, twin: NaiveEngine, settings: EngineSettings) -> None:
    status = engine.status(NOW_NS)
    for row, line in enumerate(twin.lines):
        start = 1.0 if line.asap else settings.pacing.start
        assert status[line.id].multiplier == start
        keys, groups = pace_keys(line), engine.wallet.groups_of(row)
        assert len(keys) == len(groups)
        for key, group in zip(keys, groups, strict=True):
            learned = engine._pacer.rows[group]
            held = Random(f"{line.id} {len(twin.lines)}")
            if held.random() < 0.1:
                learned[G_LEAST] = held.choice((100_000.0, 1_000_000.0, 1e9))
            others = [pace_keys(other) for other in twin.lines if key in pace_keys(other)]
            tied = all(other == keys for other in others)
            twin.paces[key] = Pace(start, *learned[[G_DRIFT, G_PULL, G_LEAST]].tolist(), tied=tied)
    twin.turn(NOW_NS)


def _brake(random: Random, engine: Engine, twin: NaiveEngine, now_ns: int) -> None:
    """Stops a few for a while, by hand or by a breaker."""
    names = ["all", *(f"a/{line.campaign.advertiser}" for line in twin.lines)]
    names += [f"c/{line.campaign.id}" for line in twin.lines]
    names += [f"l/{line.id}" for line in twin.lines if line.item is not None]
    for version, name in enumerate(sorted(set(names)), 1):
        if random.random() < (0.01 if name == "all" else 0.04):
            until_ns = random.choice((now_ns + 6 * S, now_ns + 61 * S, make.FOREVER_NS))
            tripped = random.random() < 0.5
            brake = Brake(
                version=version, name=name, stopped=True, at_ns=now_ns, until_ns=until_ns, tripped=tripped
            )
            engine.brake([brake], now_ns)
            twin.brakes[name] = Reason.TRIPPED if tripped else Reason.STOPPED, until_ns


def users(exchanges: Iterable[str] = ("one", "two", "three", "default")) -> list[int]:
    """Keys of the users whom random requests know."""
    ids = [user_key(None, (), None, name, exchange) for name in ("u1", "u2", "u3") for exchange in exchanges]
    return ids + [user_key(None, (), ifa, None, "") for ifa in ("aaaa-1", "aaaa-2")]


def _remember(
    random: Random, campaigns: list[Campaign], engine: Engine, twin: NaiveEngine, now_ns: int
) -> list[Profile]:
    """What was shown before, and what is known of users; the profiles are handed back."""
    exposures = []
    profiles: list[Profile] = []
    for number, user in enumerate(users()):
        line = random.choice(twin.lines)
        at_ns = now_ns - random.choice((1, 30, 50_000)) * S
        names = (line.id, line.campaign.id, line.campaign.advertiser)
        exposures.append(
            Exposure(
                bid_id=bid_id_text(number.to_bytes(12, "big")),
                user=key_text(user),
                line_item_id=names[0],
                campaign_id=names[1],
                advertiser=names[2],
                at_ns=at_ns,
            )
        )
        levels = zip(("line", "campaign", "advertiser"), names, strict=True)
        twin.exposures += [(user, (level, name), at_ns) for level, name in levels]
        if random.random() < 0.3:
            own = tuple(random.sample(make.SEGMENTS, 2))
            twin.segments[user] = own, now_ns + 30 * S
            profiles.append(
                Profile(user=key_text(user), segments=own, at_ns=now_ns, expires_ns=now_ns + 30 * S)
            )
    engine.profile(profiles)
    engine.expose(exposures, now_ns)
    for campaign in campaigns:
        for creative in campaign.creatives:
            shown, clicks = random.choice(((0, 0), (500, 1), (4_000, 40)))
            twin.creative_counts[campaign.id, creative.id] = (shown, clicks)
            engine.count_creatives(
                [
                    CreativeCounts(
                        campaign_id=campaign.id, creative_id=creative.id, impressions=shown, clicks=clicks
                    )
                ]
            )
    return profiles


# -- what must be equal -------------------------------------------------------------------------------------------


def outcome(row: dict[str, Any]) -> Outcome:
    """A row of the log in the words of the twin."""
    return Outcome(
        Reason(row["reason"]),
        row.get("imp_id", ""),
        row.get("deal_id", ""),
        row.get("floor_cpm_micros", 0),
        row.get("line_item_id", "") or row.get("campaign_id", ""),
        row.get("creative_id", ""),
        row.get("bid_cpm_micros", 0),
        row.get("currency", ""),
        row.get("price_micros", 0),
        row.get("pctr", 0.0),
        row.get("pcvr", 0.0),
        row.get("multiplier", 0.0),
        row.get("conversion_value_nanos", 0),
    )


def check_equal(own: Market, bodies: Sequence[bytes], now_ns: int = NOW_NS) -> list[Outcome]:
    """Decides in both and compares outcomes, money, pacing and funnels; returns the outcomes."""
    rows = [outcome(row) for row in make.decide(own.engine, *bodies, now_ns=now_ns)]
    expected = own.twin.decide(bodies, now_ns)
    for row, wanted in zip(rows, expected, strict=False):
        assert row == wanted
    assert len(rows) == len(expected)
    check_state(own, now_ns)
    return rows


def check_state(own: Market, now_ns: int = NOW_NS) -> None:
    """What was left in both must be the same."""
    engine, twin = own.engine, own.twin
    assert engine.values.totals()._asdict() == {name: twin.valued[name] for name in OUTCOMES}
    purse = engine.wallet.purse
    for account_id in engine.wallet.leases:
        number = purse._accounts[account_id]
        if account_id in twin.accounts:
            assert int(purse.available[number]) == twin.accounts[account_id].free, account_id
    status = engine.status(now_ns)
    counts = engine.funnel.counts()
    for line in twin.lines:
        pace = min((twin.paces[key] for key in pace_keys(line)), key=lambda one: one.multiplier)
        tale = twin.tales[line.id]
        assert (status[line.id].seen, status[line.id].multiplier) == (pace.seen, pace.multiplier)
        assert status[line.id].funnel == {stage: tale.stages[stage] for stage in FUNNEL}
        assert (status[line.id].asked, status[line.id].refused) == (tale.asked, dict(tale.refused))
        assert counts[line.id].adds_up
