"""The price of an explanation is the engine's own: its figures multiply to the bid, and the models say why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from bidder.cli.price_story import Reasoner, price_table
from bidder.core.campaigns import Goal, LineItem, Media, Modifier, Rule, Targeting
from bidder.core.engine import Engine
from bidder.core.explain import Explanation, explain
from bidder.core.opportunity import RAW_FEATURES
from bidder.core.pacing_kernels import G_DRIFT, G_LEAST, G_MULTIPLIER, G_PULL
from bidder.core.scoring import NATIVE_MARK
from bidder.core.settings import EngineSettings, ExchangeRules
from bidder.errors import InputError
from bidder.store.model import load_model
from models.artifact import ModelBundle
from models.dataset import table_from_arrow
from models.explain.attribution import log_odds
from models.train import TrainParams, train_bundle
from tests.support import factories as make
from tests.support.bundles import make_bundle
from tests.support.factories import Offer, S
from tests.support.naive_price import bid_again
from tests.support.training import DECLARATIONS, make_table

NOW_NS = 1_772_409_600 * S
SETTINGS = EngineSettings(
    exchanges={"one": ExchangeRules(first_price_shade=0.7)},
    rates={"base": "USD", "rates": {"2026-03-01": {"EUR": "1.1", "JPY": "0.0067"}}},
)
PLAIN = Offer(external=None, exchange="one", at=1, region="CA", os="ios")


def told(found: Explanation) -> list[dict[str, Any]]:
    """Its opportunities, as they are in JSON."""
    return list(orjson.loads(msgspec.json.encode(found)).get("opportunities", []))


def priced(engine: Engine, body: bytes, line: str = "c1") -> dict[str, Any]:
    return told(explain(engine, body, line, NOW_NS))[0]


def bids_of(engine: Engine, body: bytes) -> list[int]:
    return [row["bid_cpm_micros"] for row in make.decide(engine, body, now_ns=NOW_NS) if not row["reason"]]


def test_the_figures_multiply_to_the_bid_that_the_engine_makes() -> None:
    modifiers = tuple(
        Modifier(dimension=dimension, value=value, factor=factor)
        for dimension, value, factor in (("geo", "CA", 1.1), ("os", "ios", 0.7), ("os", "windows", 3.0))
    )
    campaign = make.campaign(goal=Goal.CONVERSION, value_nanos=40 * S, modifiers=modifiers)
    engine = make.engine([campaign], settings=SETTINGS, model=make.model(1), now_ns=NOW_NS)
    price = priced(engine, make.body(PLAIN))["price"]
    assert [(one["dimension"], one["factor"]) for one in price["applied"]] == [("geo", 1.1), ("os", 0.7)]
    assert price["modifiers"] == 1.1 * 0.7
    assert (price["goal"], price["goal_value_nanos"], price["shade"]) == ("conversion", 40 * S, 0.7)
    assert price["value_nanos"] == price["pctr"] * 40 * S * price["pcvr"] * 1.1 * 0.7
    assert price["worth_nanos"] == price["value_nanos"] * price["multiplier"] * 0.7
    assert bids_of(engine, make.body(PLAIN)) == [price["offer_nanos"]] == [bid_again(price)]


@pytest.mark.parametrize(
    ("campaign", "offer"),
    [
        ({}, {}),
        ({"value_nanos": 500 * S, "max_bid_cpm_micros": 700_000}, {}),
        ({"min_bid_cpm_micros": 8_000_000}, {}),
        ({}, {"floor_cpm_micros": 100_000}),
        ({}, {"floor_cpm_micros": 8_000_000}),
        ({"value_nanos": 1}, {}),
        ({}, {"more": {"cur": ["EUR"]}}),
        ({"value_nanos": 2_000}, {"more": {"cur": ["JPY"]}}),
    ],
)
def test_bounds_floors_and_currencies_do_what_they_are_told_to_do(
    campaign: dict[str, Any], offer: dict[str, Any]
) -> None:
    engine = make.engine([make.campaign(**campaign)], settings=SETTINGS, model=make.model(1), now_ns=NOW_NS)
    body = make.body(replace(PLAIN, **offer))
    price = priced(engine, body)["price"]
    assert price["offer_nanos"] == bid_again(price)
    assert bids_of(engine, body) == [price["offer_nanos"]] * (price["offer_nanos"] > 0)


def test_a_deal_is_paced_by_a_share_and_says_so() -> None:
    """Whatever the multiplier, the price is the deal's; of 200 opportunities about a fourth are taken."""
    engine = make.engine([make.campaign(targeting=Targeting(deal=Rule(("d1",))))])
    engine._pacer.rows[0, [G_MULTIPLIER, G_DRIFT, G_PULL]] = 0.25, 1.0, 0.0
    deal = {"id": "d1", "at": 3, "bidfloor": 0.5}
    taken = 0
    for number in range(200):
        body = orjson.dumps(
            {
                "id": f"q{number}",
                "imp": [
                    {
                        "id": "1",
                        "banner": {"w": 300, "h": 250},
                        "ext": {"clearbid": {"campaign": "c1", "pctr": 0.001}},
                        "pmp": {"private_auction": 1, "deals": [deal]},
                    }
                ],
            }
        )
        (opportunity,) = told(explain(engine, body, "c1", 1))
        price = opportunity["price"]
        assert (price["offer_nanos"], price["multiplier"], price["share"]) == (500_000, 1.0, 0.25)
        bids = bids_of(engine, body)
        assert opportunity["stage"] == ("bid" if bids else "budget")
        if not bids:
            (rule,) = (rule for rule in opportunity["rules"] if rule["name"] == "budget")
            assert rule["wants"] == "25.0% of the deal's opportunities, by pacing"
        taken += len(bids)
    assert 30 <= taken <= 70


def test_a_bid_that_would_hold_money_for_little_is_told() -> None:
    engine = make.engine([make.campaign()])
    engine._pacer.rows[0, G_LEAST] = 1e9
    (opportunity,) = told(explain(engine, make.body(Offer()), "c1", 1))
    (rule,) = (rule for rule in opportunity["rules"] if rule["name"] == "budget")
    assert (opportunity["stage"], opportunity["reason"]) == ("budget", "BUDGET")
    assert rule["wants"] == "at least 1, as bids under way hold most of what is left"
    assert bids_of(engine, make.body(Offer())) == []


@pytest.mark.parametrize("guaranteed", [0, 1])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("floor", [0.0, 0.1, 5.0])
def test_deals_are_bid_on_at_their_own_terms(guaranteed: int, at: int, floor: float) -> None:
    request = orjson.loads(make.body(PLAIN))
    deal = {"id": "d1", "at": at, "bidfloor": floor, "guar": guaranteed}
    request["imp"][0]["pmp"] = {"private_auction": 1, "deals": [deal]}
    body = orjson.dumps(request)
    engine = make.engine(
        [make.campaign(targeting=Targeting(deal=Rule(("d1",))))],
        settings=SETTINGS,
        model=make.model(1),
        now_ns=NOW_NS,
    )
    price = priced(engine, body)["price"]
    assert (price["fixed_price"], price["guaranteed"]) == (at == 3, guaranteed == 1)
    assert bid_again(price) == price["offer_nanos"]
    assert bids_of(engine, body) == [price["offer_nanos"]] * (price["offer_nanos"] > 0)


def test_features_are_what_the_models_were_shown() -> None:
    items = (LineItem(id="l1"), LineItem(id="l2"))
    engine = make.engine(
        [make.campaign(line_items=items)], settings=SETTINGS, model=make.model(1), now_ns=NOW_NS
    )
    offer = replace(PLAIN, domain="news.example", segments=("s1", "s2"), floor_cpm_micros=250_000)
    features = priced(engine, make.body(offer), "l2")["price"]["features"]
    assert {*RAW_FEATURES, "segments", "campaign", "advertiser", "line_item"} == features.keys()
    wanted = {
        "domain": "news.example", "region": "CA", "os": "ios", "size": "300x250", "floor_cpm": 0.25, "hour": "0",
        "weekday": "0", "segments": ["s1", "s2"], "segment_count": 2.0, "campaign": "c1", "line_item": "l2",
        "city": None,
    }  # fmt: skip
    assert {name: features[name] for name in wanted} == wanted


def test_scores_from_outside_have_no_features() -> None:
    price = priced(make.engine(), make.body(Offer()))["price"]
    assert "features" not in price
    assert bid_again(price) == price["offer_nanos"] > 0


# -- joined with the models ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    table = table_from_arrow(make_table(6000), DECLARATIONS, source="t")
    params = TrainParams(num_threads=1, max_rounds=40, fixed_rounds=20)
    return train_bundle(table, DECLARATIONS, tmp_path_factory.mktemp("m") / "m", params=params)


@pytest.mark.parametrize("goal", [Goal.CLICK, Goal.CONVERSION])
@pytest.mark.parametrize("domain", ["d7.example", "new.example", None])
def test_contributions_add_up_to_the_probabilities_that_the_engine_bids_on(
    bundle: ModelBundle, goal: Goal, domain: str | None
) -> None:
    campaigns = [make.campaign("c2", goal=goal)]
    engine = make.engine(campaigns, settings=SETTINGS, model=load_model(bundle.path), now_ns=NOW_NS)
    offer = replace(PLAIN, domain=domain, segments=("s1", "s3", "odd"), floor_cpm_micros=1_250_000)
    found = Reasoner(bundle.path, 99, engine.model_hash).add(explain(engine, make.body(offer), "c2", NOW_NS))
    (one,) = told(found)
    wanted = {"ctr": one["price"]["pctr"]}
    if goal is Goal.CONVERSION:
        wanted["cvr"] = one["price"]["pcvr"]
    assert {each["model"]: each["probability"] for each in one["contributions"]} == wanted
    for each in one["contributions"]:
        total = each["base"] + sum(step["contribution"] for step in each["steps"]) + each["calibration"]
        assert total == pytest.approx(log_odds(each["probability"]), rel=1e-12)
    values = {step["name"]: step["value"] for step in one["contributions"][0]["steps"]}
    shown = {"d7.example": "d7.example", "new.example": "new.example (unknown to the model)", None: "missing"}
    assert values["domain"] == shown[domain]
    assert values["campaign"] == "c2"


def test_a_model_that_was_replaced_meanwhile_is_not_explained(bundle: ModelBundle, tmp_path: Path) -> None:
    engine = make.engine(
        [make.campaign("c2")], settings=SETTINGS, model=load_model(bundle.path), now_ns=NOW_NS
    )
    other = make_bundle(tmp_path / "m", 1)
    found = explain(engine, make.body(PLAIN), "c2", NOW_NS)
    with pytest.raises(
        InputError, match=f"was {bundle.hash[:12]} and is {other.hash[:12]} now: run it again"
    ):
        Reasoner(tmp_path / "m", 3, engine.model_hash).add(found)
    native = f"{bundle.hash}{NATIVE_MARK}"  # of an engine that lets LightGBM score
    assert Reasoner(bundle.path, 3, native).add(found).opportunities[0].contributions


def test_the_best_opportunity_alone_has_contributions(bundle: ModelBundle) -> None:
    engine = make.engine(
        [make.campaign("c2")], settings=SETTINGS, model=load_model(bundle.path), now_ns=NOW_NS
    )
    dear = replace(PLAIN, imp_id="2", floor_cpm_micros=100_000)
    request = orjson.loads(make.body(PLAIN, dear))
    request["imp"][0]["banner"] = None
    request["imp"][0]["video"] = {"mimes": ["video/mp4"]}
    found = Reasoner(bundle.path, 3, engine.model_hash).add(
        explain(engine, orjson.dumps(request), "c2", NOW_NS)
    )
    assert sum(bool(one.contributions) for one in found.opportunities) == 1
    best = max(found.opportunities, key=lambda one: one.price.bid_nanos if one.price is not None else -1)
    assert best.contributions
    assert len(best.contributions[0].steps) <= 3


def test_a_request_that_is_refused_has_no_contributions(bundle: ModelBundle) -> None:
    engine = make.engine(
        [make.campaign("c2")], settings=SETTINGS, model=load_model(bundle.path), now_ns=NOW_NS
    )
    found = explain(engine, b"{", "c2", NOW_NS)
    assert Reasoner(bundle.path, 3, engine.model_hash).add(found) is found


def test_video_prices_have_the_floor_of_their_duration() -> None:
    creative = make.creative(
        media=Media.VIDEO, media_url="https://a.example/v.mp4", mime="video/mp4", duration_s=15, image_url=""
    )
    campaign = make.campaign(creatives=(creative,), value_nanos=40 * S)
    engine = make.engine([campaign], settings=SETTINGS, model=make.model(1), now_ns=NOW_NS)
    request = orjson.loads(make.body(PLAIN))
    del request["imp"][0]["banner"]
    floors = [{"mindur": 1, "maxdur": 20, "bidfloor": 0.3}]
    request["imp"][0]["video"] = {"mimes": ["video/mp4"], "durfloors": floors, "maxduration": 30}
    body = orjson.dumps(request)
    price = priced(engine, body)["price"]
    assert price["floor_nanos"] == 300_000
    assert bids_of(engine, body) == [price["offer_nanos"]] == [bid_again(price)]


# -- in words -----------------------------------------------------------------------------------------------


def story(*, would_be: bool = False, **campaign: Any) -> list[list[str]]:
    """Rows of the table of a price: words, factor, CPM."""
    engine = make.engine([make.campaign(**campaign)], settings=SETTINGS, model=make.model(1), now_ns=NOW_NS)
    (found,) = explain(
        engine, make.body(replace(PLAIN, floor_cpm_micros=400_000)), "c1", NOW_NS
    ).opportunities
    assert found.price is not None
    table = price_table(found.price, would_be=would_be)
    return [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_the_story_goes_from_the_probability_to_the_bid() -> None:
    rows = story(
        goal=Goal.CONVERSION,
        value_nanos=100 * S,
        modifiers=(Modifier(dimension="geo", value="CA", factor=0.5),),
    )
    assert [row[0] for row in rows] == [
        "probability of a click",
        "x value of a conversion",
        "x probability of a conversion of a click",
        "x modifier geo CA",
        "x multiplier (pacing even)",
        "x shade (first price)",
        "at most (max bid)",
        "floor",
        "[bold]= bid[/]",
    ]
    amounts = [float(row[2]) for row in rows[1:6]]
    factors = [float(row[1]) for row in rows[2:6]]
    for before, factor, after in zip(amounts, factors, amounts[1:], strict=False):
        assert after == pytest.approx(before * factor, rel=1e-4)
    assert rows[-1][2] == f"[bold]{rows[5][2]}[/]"


@pytest.mark.parametrize(
    ("campaign", "said"),
    [
        ({"value_nanos": 900 * S, "max_bid_cpm_micros": 500_000}, "= bid, cut to the max bid"),
        ({"value_nanos": 900 * S, "max_bid_cpm_micros": 300_000}, "no bid: 0.3 is below the floor"),
        ({"value_nanos": 1}, "no bid: worth too little"),
    ],
)
def test_the_story_says_what_made_the_bid(campaign: dict[str, Any], said: str) -> None:
    assert story(**campaign)[-1][0] == f"[bold]{said}[/]"


def test_lightgbm_is_not_loaded_to_tell_a_price(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, bidder.core.explain, bidder.cli.price_story; print('lightgbm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_bid_that_a_rule_refuses_is_told_as_what_it_would_be() -> None:
    assert story(would_be=True, value_nanos=900 * S)[-1][0].endswith("(would be)[/]")
    assert not story(value_nanos=900 * S)[-1][0].endswith("(would be)[/]")
    assert story(would_be=True, value_nanos=1)[-1][0] == "[bold]no bid: worth too little[/]"
