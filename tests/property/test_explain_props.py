"""Explanations against the engine: on random markets they say what its funnel counts, and change nothing."""

from collections import Counter
from random import Random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core.campaigns import (
    Advertiser,
    Budgets,
    Campaign,
    Cap,
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
from bidder.core.engine import Engine
from bidder.core.explain import Explainer, Explanation, explain
from bidder.core.messages import Brake
from bidder.core.settings import EngineSettings, ExchangeRules, PacingSettings
from bidder.core.traffic import TrafficRules
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import FOREVER_NS, S
from tests.support.naive_price import bid_again

NOW_NS = 1_772_409_600 * S + 5 * 3_600 * S
HOUR_NS = 3_600 * S
SETTINGS = EngineSettings(
    exchanges={
        "one": ExchangeRules(first_price_shade=0.6, schain_required=True),
        "two": ExchangeRules(strict=True, discrepancy_ppm=20_000),
    },
    pacing=PacingSettings(eta=0.05, start=0.4, weekly_opportunities=1000.0),
    external_scores=True,
    traffic=TrafficRules(user_per_minute=3, address_per_minute=9),
    data_centres=("10.1.0.0/16",),
    rates={"base": "USD", "rates": {"2026-03-01": {"EUR": "1.1", "JPY": "0.0067", "KWD": "3.2"}}},
)
BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36"
AGENTS = (None, *[BROWSER] * 15, "Googlebot/2.1")
IDS = [f"l{number}" for number in range(6)]


def _creatives(random: Random) -> tuple[Any, ...]:
    https = "https://cdn.shop.example/a"
    some = [
        make.creative("k1", language="en", w=300, h=250, attr=random.choice(((), (1,)))),
        make.creative("k2", w=728, h=90, image_url=random.choice(("http", "https")) + "://cdn.example/a.png"),
        make.creative(
            "k3", w=300, h=250, cat=("IAB7",), approvals={"one": random.choice(("approved", "rejected"))}
        ),
        make.creative(
            "k4", media=Media.VIDEO, media_url=https, mime="video/mp4", duration_s=15, image_url=""
        ),
        make.creative(
            "k5", media=Media.VIDEO, media_url=https, mime="video/mp4", duration_s=30, image_url=""
        ),
        make.creative(
            "k6", media=Media.AUDIO, media_url=https, mime="audio/mpeg", duration_s=20, image_url=""
        ),
        make.creative("k7", media=Media.NATIVE, native=Native(title="Shop"), image_url=""),
    ]
    return tuple(random.sample(some, random.randint(3, 7)))


def _targeting(random: Random) -> Targeting:
    """Mostly no rule in a dimension."""

    def rule(*values: str) -> Rule:
        return make.random_rule(random, values) if random.random() < 0.4 else Rule()

    return Targeting(
        geo=rule("CA", "NY", "USA"),
        city=rule("paris", "FRA/paris"),
        circle=rule("48.85,2.35,25km"),
        exchange=rule("one", "two"),
        deal=random.choice((*[Rule()] * 9, Rule(("d1",)), Rule(("d1", "d2")), Rule((), ("d2",)))),
        inventory=rule("site", "app"),
        device=rule("desktop", "phone"),
        os=rule("windows", "ios"),
        browser=rule(
            "chrome",
        ),
        connection=rule("wifi", "cellular"),
        language=rule("en", "de"),
        domain=rule("news.example", "blog.example"),
        content=rule("IAB1", "IAB2-3"),
        keyword=rule("cars", "boats"),
        placement=rule("pos:1", "instl"),
        viewability=rule("50"),
        segment=rule("s1", "s2"),
        hour=rule("5", "6", "7"),
        expression=random.choice((*[Rule()] * 9, Rule(('imp.tagid == "a"',)))),
    )


def _caps(random: Random) -> tuple[Cap, ...]:
    some = (Cap(impressions=1, seconds=3_600), Cap(impressions=2, seconds=86_400))
    return tuple(random.sample(some, random.choice((0, 0, 1, 2))))


def _budgets(random: Random) -> Budgets:
    return Budgets(
        daily_nanos=random.choice((0, 0, 3_000_000)),
        lifetime_nanos=random.choice((0, 0, S)),
        lifetime_impressions=random.choice((0, 0, 0, 5)),
    )


def _item(random: Random, line_id: str) -> LineItem:
    return LineItem(
        id=line_id,
        status=Status.PAUSED if random.random() < 0.05 else Status.ACTIVE,
        budgets=_budgets(random) if random.random() < 0.3 else Budgets(),
        flights=() if random.random() < 0.9 else (Flight(start_ns=NOW_NS, end_ns=NOW_NS + HOUR_NS),),
        value_nanos=random.choice((0, 0, S, 400 * S)),
        targeting=_targeting(random) if random.random() < 0.6 else Targeting(),
        modifiers=() if random.random() < 0.6 else (Modifier(dimension="geo", value="CA", factor=0.5),),
        caps=_caps(random),
    )


def _campaign(random: Random, campaign_id: str, line_ids: list[str]) -> Campaign:
    return make.campaign(
        campaign_id,
        advertiser=random.choice(("shop", "bank")),
        cat=random.choice(((), ("IAB7-39",))),
        goal=random.choice((Goal.CLICK, Goal.CONVERSION)),
        value_nanos=random.choice((1, 3 * S, 40 * S, 40 * S)),
        max_bid_cpm_micros=random.choice((1, 700_000, 9_000_000)),
        min_bid_cpm_micros=random.choice((0, 0, 0, 1_000, 800_000)),
        fees=random.choice(((), (), (Fee(name="m", ppm=150_000, cpm_micros=random.choice((0, 90_001))),))),
        pacing=random.choice((Pacing.EVEN, Pacing.ASAP)),
        budgets=_budgets(random) if random.random() < 0.3 else Budgets(),
        targeting=_targeting(random) if random.random() < 0.4 else Targeting(),
        caps=_caps(random),
        unknown_user=random.choice(("refuse", "allow")),
        creatives=_creatives(random),
        line_items=tuple(_item(random, line_id) for line_id in line_ids),
    )


def _engine(random: Random, *, scored: bool) -> Engine:
    """Up to six line items of three campaigns, one of them its own line item, with most of their leases."""
    campaigns = [
        _campaign(random, "c1", IDS[:3]),
        _campaign(random, "c2", IDS[3 : random.choice((4, 6))]),
        _campaign(random, "c3", []),
    ]
    zone = random.choice(("UTC", "Europe/Paris"))
    advertisers = {
        "shop": Advertiser(id="shop", time_zone=zone, budgets=_budgets(random), caps=_caps(random))
    }
    engine = Engine(SETTINGS, make.KEY, make.model(1) if scored else None, make.START)
    engine.adopt_campaigns({one.id: one for one in campaigns}, 1, NOW_NS, advertisers)
    leases = [
        make.lease(
            account_id,
            granted_nanos=random.choice((300_000, 2_000_000, 2_000_000, 5 * S)),
            bid_until_ns=NOW_NS if random.random() < 0.05 else FOREVER_NS,
        )
        for account_id in engine.wallet.purse._accounts
        if random.random() < 0.97
    ]
    engine.adopt_leases(leases, NOW_NS)
    for name in ("l/l1", "l/l2", "c/c3", "a/shop"):
        if random.random() < 0.05:
            tripped = random.random() < 0.5
            engine.brake([Brake(version=1, name=name, stopped=True, at_ns=0, tripped=tripped)], NOW_NS)
    return engine


def _imp(random: Random, number: int) -> dict[str, Any]:
    some = random.choice
    imp: dict[str, Any] = {
        "id": str(number),
        "bidfloor": some((0, 0, 0, 0.0004, 0.5, 1.2)),
        "bidfloorcur": some((*["USD"] * 15, "EUR", "XXX")),
        "secure": some((0, 0, 1)),
        "instl": some((0, 1)),
        "tagid": some(("a", "b")),
        "metric": [{"type": "viewability", "value": some((0.3, 0.7))}],
    }
    video = {"mimes": ["video/mp4"], "minduration": some((0, 20)), "maxduration": some((20, 60)), "plcmt": 1}
    pod = {"poddur": 60, "maxseq": some((2, 3))} if random.random() < 0.4 else {}
    floors = {"durfloors": [{"mindur": 1, "maxdur": 20, "bidfloor": 0.3}]} if random.random() < 0.3 else {}
    kind = some(("banner", "banner", "banner", "video", "video", "audio", "native", "both"))
    if kind in {"banner", "both"}:
        imp["banner"] = {"format": [{"w": 300, "h": 250}, {"w": 728, "h": 90}][: some((1, 2))], "pos": 1}
        imp["banner"]["battr"] = some(([], [1]))
    if kind in {"video", "both"}:
        imp["video"] = video | (pod if kind == "video" else {}) | floors
    if kind == "audio":
        imp["audio"] = {"mimes": ["audio/mpeg"], "maxduration": some((10, 60))}
    if kind == "native":
        asset = {"id": 1, "required": 1, "title": {"len": some((2, 90))}}
        imp["native"] = {"request": orjson.dumps({"native": {"assets": [asset]}}).decode()}
    if random.random() < 0.3:
        deals = [
            {
                "id": some(("d1", "d2", "d3")),
                "bidfloor": some((0, 0.2)),
                "at": some((1, 2, 3, 9)),
                "guar": some((0, 1)),
            }
            | some(
                ({}, {}, {"wadomain": ["shop.example"]}, {"wadomain": ["bank.example"]}, {"wseat": ["other"]})
            )
            for _ in range(some((1, 2)))
        ]
        imp["pmp"] = {"private_auction": some((0, 0, 0, 1)), "deals": deals}
    if random.random() < 0.3:
        imp["ext"] = {
            "clearbid": {"campaign": some((*IDS, "c3")), "pctr": some((0.0, 1e-9, 0.002, 0.01, 1.0))}
        }
    if random.random() < 0.1:
        imp["qty"] = {"multiplier": some((0, 0.5, 3))}
    return imp


def _request(random: Random, number: int) -> dict[str, Any]:
    some, rare = random.choice, random.random
    request: dict[str, Any] = {
        "id": f"r{number if rare() < 0.9 else 0}",
        "at": some((*(1, 2) * 15, 3)),
        "imp": [_imp(random, place) for place in range(some((1, 1, 2, 3)))],
        "cur": some((["USD"], ["EUR"], ["KWD"], ["XXX"])) if rare() < 0.2 else ["USD"],
        "ext": {"exchange": some(("one", "two", "default", "default"))},
        "device": {
            "os": some((*["Windows"] * 15, "iOS")),
            "ua": some(AGENTS),
            "ip": some(("192.0.2.1", "10.1.2.3")) if rare() < 0.1 else "192.0.2.9",
            "geo": {
                "country": some(("USA", "FRA")),
                "region": some(("CA", "NY")),
                "city": "Paris",
                "lat": some((48.86, 40.0)),
                "lon": 2.35,
            },
            "devicetype": some((2, 4)),
            "language": some(("en", "de")),
            "connectiontype": some((2, 6)),
        },
        "user": {"id": some(("", "u1", "u2")), "data": [{"segment": [{"id": some(("s1", "s2"))}]}]},
        "badv": some((*[[]] * 9, ["shop.example"])),
        "bcat": some((*[[]] * 7, ["IAB7"])),
        "site": {
            "domain": some(("news.example", "a.blog.example")),
            "cat": ["IAB1-2"],
            "keywords": "cars, boats",
        },
        "source": {}
        if rare() < 0.03
        else {"schain": {"complete": 1, "nodes": [{"asi": "a.example", "sid": "1"}]}},
        "tmax": some((*[200] * 29, 10)),
    }
    if rare() < 0.05:
        request["wseat"] = [some(("clearbid", "other"))]
    if rare() < 0.3:
        request["source"]["tid"] = some(("t1", "t2", "t3", "t4", "t5", "t6"))
    if rare() < 0.1:
        request["test"] = 1
    if rare() < 0.1:
        request["acat"] = some((["IAB7"], ["IAB1"]))
    if rare() < 0.1:
        request["wlang"] = [some(("fr", "en"))]
    if rare() < 0.02:
        request["device"]["geo"]["lat"] = "north"
    return request


def _body(random: Random, number: int) -> bytes:
    return b'{"id":' if random.random() < 0.02 else orjson.dumps(_request(random, number))


def _counted(engine: Engine, line_id: str) -> Counter[str]:
    status = engine.status(NOW_NS)[line_id]
    found = Counter(status.refused) + Counter(status.funnel)
    del found["eligible"]
    return found


def _state(engine: Engine) -> tuple[Any, ...]:
    """All that a decision rests on and may change, copied."""
    purse, traffic, pacer = engine.wallet.purse, engine.gate.traffic, engine._pacer
    assert pacer is not None
    arrays = (
        purse.available, purse.books, engine.wallet.available, engine.wallet.lease_until, engine.wallet.chains,
        *engine.caps.arrays(), pacer.rows, pacer.counts, engine.wallet.offered,
        engine.funnel.stages, engine.funnel.counters,
        *(limiter._table for limiter in traffic._limiters if limiter is not None), engine.table.rows, engine._base,
    )  # fmt: skip
    rest = (
        dict(engine.gate._offers), dict(engine.reasons), engine.opportunities, engine.repaired,
        len(engine.wallet.purse._names), engine.caps.pending, traffic.bad_addresses, engine._slots._count,
        len(engine._batch.rows),
    )  # fmt: skip
    return tuple(array.tobytes() for array in arrays), rest


NOT_COUNTED = {"request", "duplicate"}


def _check(random: Random, requests: int, *, scored: bool) -> Counter[str]:
    """Explains each request for every line item, then has it decided; the funnels must move as explained."""
    engine = _engine(random, scored=scored)
    explainer = Explainer(engine)
    seen: Counter[str] = Counter()
    now_ns, body = NOW_NS, b""
    for number in range(requests):
        body = body if body and random.random() < 0.15 else _body(random, number)
        now_ns += random.choice((*[0] * 9, 1, S, HOUR_NS))
        before = _state(engine)
        explained = {line: explainer.explain(body, line, now_ns) for line in engine.table.ids}
        assert _state(engine) == before
        counts = {line: _counted(engine, line) for line in engine.table.ids}
        answers = engine.decide([body], [0], now_ns)
        reasons = Counter(row["reason"] for row in make.decisions(answers))
        for line, found in explained.items():
            _check_prices(line, found)
            stages = Counter(one.stage for one in found.opportunities if not found.test)
            moved = _counted(engine, line) - counts[line]
            wanted = Counter({k: n for k, n in stages.items() if k not in NOT_COUNTED})
            assert moved == wanted, (moved, wanted, line, body)
            assert _ends_alike(found, reasons), (reasons, found, body)
            seen.update(one.stage for one in found.opportunities)
            seen.update(rule.reason for rule in found.refused)
    return seen


def _check_prices(line: str, found: Explanation) -> None:
    """The figures of a price make the bid, and where the line item wins, that is the bid that wins."""
    for one in found.opportunities:
        if one.price is not None:
            assert bid_again(orjson.loads(msgspec.json.encode(one.price))) == one.price.offer_nanos
            if one.winner == line:
                assert one.price.offer_nanos == one.winner_bid_nanos


def _ends_alike(found: Explanation, reasons: Counter[int]) -> bool:
    """Whether the engine's own rows end as explained; a request that is refused as a whole has other rows."""
    first = found.refused[0].reason if found.refused else ""
    if first and first != Reason.SAME_OPPORTUNITY.name:
        return set(reasons) == {Reason[first]}
    return reasons == Counter(Reason[one.reason] for one in found.opportunities)


@given(random=st.randoms(use_true_random=False), requests=st.integers(1, 8), scored=st.booleans())
@settings(max_examples=30)
def test_the_first_refusal_is_what_the_funnel_counts(random: Random, requests: int, scored: bool) -> None:
    _check(random, requests, scored=scored)


def test_random_markets_end_in_every_stage() -> None:
    """Guards the test above: its markets are no desert."""
    seen: Counter[str] = Counter()
    for seed in range(24):
        seen += _check(Random(seed), 12, scored=seed % 2 == 0)
    assert seen["bid"] > 10
    wanted = {
        "outbid",
        "stopped",
        "creative",
        "pod",
        "capped",
        "no_lease",
        "unscored",
        "no_value",
        "below_floor",
        "budget",
    }
    wanted |= {
        "inactive",
        "flight",
        "deal",
        "format",
        "geo",
        "circle",
        "segment",
        "blocked",
        "expression",
        "hour",
    }
    wanted |= {"request", "duplicate", "AUCTION_TYPE", "CURRENCY", "SEAT", "EXPIRED", "SCHAIN_INCOMPLETE"}
    wanted |= {
        "CRAWLER",
        "DATA_CENTRE",
        "USER_RATE",
        "ADDRESS_RATE",
        "SAME_OPPORTUNITY",
        "INVALID",
        "MALFORMED",
    }
    assert wanted - set(seen) == set()


@pytest.mark.parametrize("seed", range(8))
def test_every_line_item_names_the_same_winner(seed: int) -> None:
    random = Random(seed)
    engine = _engine(random, scored=True)
    for number in range(10):
        body = _body(random, number)
        found = [explain(engine, body, line, NOW_NS) for line in engine.table.ids]
        winners = {tuple((one.winner, one.winner_bid_nanos) for one in each.opportunities) for each in found}
        assert len(winners) == 1
        bids = [
            row["bid_cpm_micros"] for row in make.decide(engine, body, now_ns=NOW_NS) if not row["reason"]
        ]
        assert Counter(bids) == Counter(nanos for winner, nanos in winners.pop() if winner)


def test_no_state_changes_when_a_bid_is_explained() -> None:
    engine = _engine(Random(3), scored=True)
    before = _state(engine)
    body = orjson.dumps(_request(Random(1), 1) | {"test": 0, "tmax": 500})
    for line in engine.table.ids:
        explain(engine, body, line, NOW_NS)
    assert _state(engine) == before
