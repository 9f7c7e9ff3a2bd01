"""The engine against its slow twin, and what must hold whatever it is asked."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import lightgbm as lgb
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core.batch import CAPACITY
from bidder.core.call import Answer
from bidder.core.campaigns import Campaign
from bidder.core.engine import FUNNEL, Engine
from bidder.core.opportunity import size_text
from bidder.core.settings import EngineSettings, ExchangeRules, PacingSettings
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support import naive_scorer
from tests.support.factories import Offer, S
from tests.support.naive_engine import NaiveEngine, Outcome, account

NOW_NS = 1_772_409_600 * S + 5 * 3_600 * S
SHADE = 0.6
SETTINGS = EngineSettings(
    exchanges={name: ExchangeRules(first_price_shade=SHADE) for name in ("one", "two", "default")},
    pacing=PacingSettings(eta=0.01, start=0.4, weekly_opportunities=1000.0),
    external_scores=True,
)
ROOT = Path(__file__).resolve().parents[2]


@cache
def _dumps(seed: int) -> list[dict[str, Any]]:
    return [lgb.Booster(model_str=text).dump_model() for text in make.model_texts(seed)]


def _score(campaign: Campaign, offer: Offer, hour: int) -> tuple[float, float]:
    """Probabilities of model 1, by LightGBM's own dump."""
    shown: dict[str, str | float | None] = {
        "region": offer.region,
        "campaign": campaign.id,
        "floor_cpm": offer.floor_cpm_micros / 1e6,
        "size": size_text(*offer.sizes[0]) if offer.sizes else None,
        "os": offer.os.lower() if offer.os else None,
        "segment:s1": 1.0 if "s1" in offer.segments else 0.0,
        "hour": str(hour % 24),
        "advertiser": campaign.advertiser,
    }
    row = [
        float(feature.vocabulary.index(value) + 1 if value in feature.vocabulary else 0)
        if feature.kind == "categorical"
        else value
        for feature, value in ((feature, shown[feature.name]) for feature in make.SPEC.features)
    ]
    raws = [naive_scorer.raw_score(dump, np.array(row)) for dump in _dumps(1)]
    knots, probability = list(make.KNOTS_RAW), list(make.KNOTS_PROBABILITY)
    pctr = naive_scorer.calibrated(raws[0], knots, probability)
    return pctr, naive_scorer.calibrated(raws[1], knots, [50 * p for p in probability])


def _market(random: Random, campaigns: int, *, scored: bool) -> tuple[list[Campaign], Engine, NaiveEngine]:
    """The same random campaigns and money in an engine and in its twin."""
    ids = [f"c{number}" for number in range(1, campaigns + 1)]
    table = [make.random_campaign(random, name, NOW_NS) for name in ids]
    leases = [
        make.lease(
            name,
            granted_nanos=random.choice((0, 2_000_000, 30_000_000, 30_000_000, 5 * S)),
            bid_until_ns=NOW_NS if random.random() < 0.1 else make.FOREVER_NS,
        )
        for name in ids
        if random.random() < 0.95
    ]
    model = make.model(1) if scored else None
    engine = make.engine(table, leases, settings=SETTINGS, model=model, now_ns=NOW_NS)
    granted = {lease.account_id: (lease.granted_nanos, lease.bid_until_ns) for lease in leases}
    accounts = {
        one.id: account(one, *granted.get(one.id, (0, 0)), 0.4, float(engine._pacer.drift[row]))
        for row, one in enumerate(engine.table.campaigns)
    }
    return table, engine, NaiveEngine(table, accounts, SHADE, _score if scored else None)


def _outcome(row: dict[str, Any]) -> Outcome:
    return Outcome(
        Reason(row["reason"]),
        row.get("campaign_id", ""),
        row.get("bid_cpm_micros", 0),
        row.get("pctr", 0.0),
        row.get("pcvr", 0.0),
        row.get("multiplier", 0.0),
    )


def _check_against_the_twin(random: Random, campaigns: int, offers: int, *, scored: bool) -> None:
    table, engine, twin = _market(random, campaigns, scored=scored)
    ids = [one.id for one in table]
    asked = [make.random_offer(random, number, ids, scored=scored) for number in range(offers)]
    rows = make.decide(engine, *map(make.body, asked), now_ns=NOW_NS)
    assert [_outcome(row) for row in rows] == twin.decide(asked, NOW_NS)
    for name, status in engine.status(NOW_NS).items():
        own = twin.accounts[name]
        assert status.granted_nanos - status.reserved_nanos == own.free_nanos
        assert (status.seen, status.multiplier) == (own.seen, own.multiplier)
        assert status.funnel == {stage: own.funnel[stage] for stage in FUNNEL}


@given(random=st.randoms(use_true_random=False), campaigns=st.integers(1, 5), offers=st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_engine_equals_its_twin_on_outside_scores(random: Random, campaigns: int, offers: int) -> None:
    _check_against_the_twin(random, campaigns, offers, scored=False)


@given(random=st.randoms(use_true_random=False), campaigns=st.integers(1, 5), offers=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_engine_equals_its_twin_on_modelled_scores(random: Random, campaigns: int, offers: int) -> None:
    _check_against_the_twin(random, campaigns, offers, scored=True)


@pytest.mark.parametrize("campaigns", [1, 63, 64, 65, 127, 128, 129, 200])
def test_engine_equals_its_twin_across_words_of_64_campaigns(campaigns: int) -> None:
    _check_against_the_twin(Random(campaigns), campaigns, 60, scored=True)


def test_twin_market_is_no_desert() -> None:
    """Guards the tests above: their markets end in bids and in most reasons, not in one."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        random = Random(seed)
        table, engine, _ = _market(random, 1 + seed % 5, scored=seed % 2 == 0)
        ids = [one.id for one in table]
        asked = [make.random_offer(random, n, ids, scored=seed % 2 == 0) for n in range(12)]
        rows = make.decide(engine, *map(make.body, asked), now_ns=NOW_NS)
        seen.update(Reason(row["reason"]).name for row in rows)
    assert seen["BID"] > 80
    assert seen.keys() >= {"SIZE", "EXCHANGE", "HOUR", "GEO", "DOMAIN", "SEGMENT", "BLOCKED", "FLIGHT"}
    assert seen.keys() >= {"UNSCORED", "NO_LEASE", "NO_VALUE", "BELOW_FLOOR", "BUDGET"}


def test_engine_equals_its_twin_on_a_seeded_sample() -> None:
    for seed in range(6):
        _check_against_the_twin(Random(seed), 5 if seed else 66, 12, scored=seed % 2 == 0)


def test_kernels_equal_the_twin_without_compilation() -> None:
    """The seeded sample once more, interpreted."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        f"{__file__}::test_engine_equals_its_twin_on_a_seeded_sample",
    ]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _traffic(random: Random, requests: int) -> list[bytes]:
    """Bodies with repeats, test flags, several impressions, other media and some that cannot be read."""
    bodies: list[bytes] = []
    for number in range(requests):
        kind = random.random()
        if bodies and kind < 0.2:
            bodies.append(random.choice(bodies))
            continue
        if kind < 0.25:
            bodies.append(random.choice((b"{", b'{"id":"x"}', b"[]")))
            continue
        first = make.random_offer(random, number, ["c1", "c2", "c3"], scored=True)
        offers = [
            make.random_offer(random, number, ["c1", "c2", "c3"], scored=True).with_(imp_id=str(place))
            for place in range(random.choice((1, 1, 2, 4)))
        ]
        request = orjson.loads(make.body(first, *offers))
        for imp in request["imp"]:
            if random.random() < 0.15:
                imp["video"] = imp.pop("banner")
        bodies.append(orjson.dumps(request))
    return bodies


def _split(engine: Engine, bodies: Sequence[bytes], cuts: Sequence[int]) -> list[Answer]:
    edges = [0, *sorted(cuts), len(bodies)]
    answers: list[Answer] = []
    for begin, end in pairwise(edges):
        answers += engine.decide(bodies[begin:end], [0] * (end - begin), NOW_NS)
    return answers


def _same_state(one: Engine, two: Engine) -> None:
    assert one.status(NOW_NS) == two.status(NOW_NS)
    assert (one.reasons, one.opportunities, one.repaired) == (two.reasons, two.opportunities, two.repaired)
    assert one.tick(NOW_NS) == two.tick(NOW_NS)


@given(data=st.data(), seed=st.integers(0, 2**32), requests=st.integers(1, 25))
@settings(max_examples=120, deadline=None)
def test_splitting_a_batch_changes_nothing(data: st.DataObject, seed: int, requests: int) -> None:
    bodies = _traffic(Random(seed), requests)
    _, whole, _ = _market(Random(seed + 1), 3, scored=True)
    _, parts, _ = _market(Random(seed + 1), 3, scored=True)
    cuts = data.draw(st.lists(st.integers(0, len(bodies)), max_size=4))
    assert whole.decide(bodies, [0] * len(bodies), NOW_NS) == _split(parts, bodies, cuts)
    _same_state(whole, parts)


@given(seed=st.integers(0, 2**32), capacity=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_where_a_batch_is_full_changes_nothing(seed: int, capacity: int) -> None:
    bodies = _traffic(Random(seed), 15)
    _, roomy, _ = _market(Random(seed), 3, scored=True)
    _, small, _ = _market(Random(seed), 3, scored=True)
    whole = roomy.decide(bodies, [0] * len(bodies), NOW_NS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bidder.core.engine.CAPACITY", capacity)
        assert small.decide(bodies, [0] * len(bodies), NOW_NS) == whole
    _same_state(roomy, small)


@pytest.mark.parametrize("seed", range(2))
def test_a_call_beyond_the_capacity_of_a_batch_equals_single_calls(seed: int) -> None:
    bodies = _traffic(Random(seed), 2 * CAPACITY)
    _, whole, _ = _market(Random(seed), 3, scored=True)
    _, parts, _ = _market(Random(seed), 3, scored=True)
    assert whole.decide(bodies, [0] * len(bodies), NOW_NS) == _split(parts, bodies, range(len(bodies)))
    _same_state(whole, parts)


def test_swapping_two_requests_does_change_something() -> None:
    """Guards the tests of splitting: order matters where the money is for one bid only."""
    bodies = [make.body(Offer(id=name)) for name in ("r1", "r2")]
    ends = []
    for order in (bodies, bodies[::-1]):
        engine = make.engine(leases=[make.lease(granted_nanos=1_500_000)])
        ends.append({row["request_id"]: row["reason"] for row in make.decide(engine, *order)})
    assert ends == [{"r1": Reason.BID, "r2": Reason.BUDGET}, {"r2": Reason.BID, "r1": Reason.BUDGET}]


@given(seed=st.integers(0, 2**32), requests=st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_two_engines_give_the_same_bytes(seed: int, requests: int) -> None:
    bodies = _traffic(Random(seed), requests)
    engines = [_market(Random(seed), 4, scored=True)[1] for _ in range(2)]
    one, two = (engine.decide(bodies, [0] * len(bodies), NOW_NS) for engine in engines)
    assert one == two
    _same_state(*engines)


@given(seed=st.integers(0, 2**32), requests=st.integers(1, 25))
@settings(max_examples=80, deadline=None)
def test_every_opportunity_ends_once_and_money_adds_up(seed: int, requests: int) -> None:
    bodies = _traffic(Random(seed), requests)
    table, engine, _ = _market(Random(seed), 4, scored=True)
    by_id = {one.id: one for one in table}
    free = {name: engine.ledger.granted(engine.ledger.account(name)) for name in by_id}
    for body, answer in zip(bodies, engine.decide(bodies, [0] * len(bodies), NOW_NS), strict=True):
        rows = make.decisions([answer])
        try:
            imps = {imp["id"]: imp for imp in orjson.loads(body)["imp"]}
            assert [row["imp_id"] for row in rows] == list(imps)
        except (orjson.JSONDecodeError, TypeError, KeyError):
            assert [row["reason"] for row in rows] in ([Reason.MALFORMED], [Reason.INVALID])
            continue
        bids = {bid["impid"]: bid for bid in _bids(answer)}
        assert set(bids) == {row["imp_id"] for row in rows if row["reason"] == Reason.BID}
        for row in rows:
            if row["reason"] != Reason.BID:
                continue
            one, nanos = by_id[row["campaign_id"]], row["bid_cpm_micros"]
            pctr = row["pctr"] * (row["pcvr"] if one.goal == "conversion" else 1.0)
            assert 0 < nanos <= min(one.max_bid_cpm_micros, pctr * one.value_nanos * row["multiplier"])
            assert nanos >= round(imps[row["imp_id"]]["bidfloor"] * 1e6)
            assert bids[row["imp_id"]]["price"] * 1e6 == pytest.approx(nanos, abs=1e-6)
            assert nanos <= free[one.id]
            if not row.get("test"):
                free[one.id] -= nanos
    _adds_up(engine, free)


def _bids(answer: Answer) -> list[dict[str, Any]]:
    seats = orjson.loads(answer.response)["seatbid"] if answer.response else []
    return [bid for seat in seats for bid in seat["bid"]]


def _adds_up(engine: Engine, free: dict[str, int]) -> None:
    for name, status in engine.status(NOW_NS).items():
        assert status.granted_nanos - status.reserved_nanos == free[name]
        ends = [count for stage, count in status.funnel.items() if stage != "eligible"]
        assert sum(ends) == status.funnel["eligible"]


@given(seed=st.integers(0, 2**32), requests=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_test_requests_change_nothing(seed: int, requests: int) -> None:
    random = Random(seed)
    offers = [make.random_offer(random, n, ["c1", "c2", "c3"], scored=True) for n in range(requests)]
    _, tried, _ = _market(Random(seed), 3, scored=True)
    _, fresh, _ = _market(Random(seed), 3, scored=True)
    make.decide(tried, *[make.body(offer.with_(test=True)) for offer in offers], now_ns=NOW_NS)
    _same_state(tried, fresh)
    live = [make.body(offer.with_(test=False)) for offer in offers]
    assert tried.decide(live, [0] * requests, NOW_NS) == fresh.decide(live, [0] * requests, NOW_NS)
