"""Why not, rule by rule: each rule answers for itself, in words, whatever the others say."""

from typing import Any

import msgspec
import orjson
import pytest

from bidder.core.campaigns import Budgets, Cap, Flight, LineItem, Media, Modifier, Rule, Status, Targeting
from bidder.core.engine import Engine
from bidder.core.explain import Explainer, Explanation, Opportunity, explain
from bidder.core.settings import EngineSettings, ExchangeRules
from bidder.errors import InputError
from tests.support import factories as make
from tests.support.factories import FOREVER_NS, Offer, S

NOW_NS = 1_772_409_600 * S
PLAIN = Offer()


def one(engine: Engine, offer: Offer | bytes = PLAIN, line: str = "c1", now_ns: int = NOW_NS) -> Opportunity:
    """The only opportunity of an offer, explained."""
    body = offer if isinstance(offer, bytes) else make.body(offer)
    (found,) = explain(engine, body, line, now_ns).opportunities
    return found


def rules(found: Opportunity) -> dict[str, Any]:
    return {rule.name: rule for rule in found.rules}


def refusing(found: Opportunity) -> list[str]:
    return [rule.name for rule in found.rules if rule.passed is False]


def test_a_bid_has_no_refusal() -> None:
    found = one(make.engine())
    assert (found.stage, found.reason, found.winner) == ("bid", "BID", "c1")
    assert refusing(found) == []


def test_a_dimension_says_what_is_wanted_and_what_is_shown() -> None:
    engine = make.engine([make.campaign(targeting=Targeting(geo=Rule(("USA-CA", "USA-NY"), ("USA-TX",))))])
    found = rules(one(engine, Offer(country="DEU", region="BY")))["geo"]
    assert (found.passed, found.reason) == (False, "GEO")
    assert (found.wants, found.shows) == ("USA-CA, USA-NY; not USA-TX", "DEU-BY")


def test_every_refusing_rule_is_told_and_not_the_first_alone() -> None:
    campaign = make.campaign(
        targeting=Targeting(geo=Rule(("USA",)), os=Rule(("ios",)), segment=Rule(("s1",))),
        end_ns=NOW_NS,
        status=Status.PAUSED,
        max_bid_cpm_micros=100_000,
    )
    leases = [make.lease(granted_nanos=1, bid_until_ns=NOW_NS)]
    found = one(
        make.engine([campaign], leases), Offer(os="Windows", sizes=((1, 1),), floor_cpm_micros=2_000_000)
    )
    wanted = [
        "inactive",
        "flight",
        "format",
        "geo",
        "os",
        "segment",
        "creative",
        "no_lease",
        "below_floor",
        "budget",
    ]
    assert refusing(found) == wanted
    assert found.stage == "inactive"


def test_each_creative_has_its_fault() -> None:
    creatives = (
        make.creative("small", w=1, h=1),
        make.creative("barred", attr=(3,)),
        make.creative("plain", image_url="http://cdn.example/a.png"),
        make.creative("good"),
    )
    found = one(make.engine([make.campaign(creatives=creatives)]), Offer(battr=(3,), secure=True))
    faults = {fit.creative_id: fit.fault for fit in found.creatives}
    assert faults == {
        "small": "CREATIVE_SIZE",
        "barred": "CREATIVE_ATTRIBUTE",
        "plain": "CREATIVE_SECURE",
        "good": "",
    }


def test_a_cap_tells_its_count_against_its_limit() -> None:
    engine = make.engine(
        [make.campaign(caps=(Cap(impressions=2, seconds=3_600), Cap(impressions=9, seconds=86_400)))]
    )
    offers = [Offer(id=name, more={"user": {"id": "u1"}}) for name in "abc"]
    make.decide(engine, *map(make.body, offers[:2]), now_ns=NOW_NS)
    found = one(engine, offers[2])
    assert [(cap.level, cap.count, cap.limit, cap.refuses) for cap in found.caps] == [
        ("campaign", 2, 2, True),
        ("campaign", 2, 9, False),
    ]
    assert found.stage == "capped"


def test_a_cap_of_an_unknown_user_says_so() -> None:
    found = one(make.engine([make.campaign(caps=(Cap(impressions=2, seconds=60),))]))
    assert rules(found)["capped"].shows == "a user who is not known"
    assert found.stage == "capped"


def test_each_budget_tells_what_it_has_and_what_is_needed() -> None:
    campaign = make.campaign(budgets=Budgets(lifetime_impressions=3, lifetime_nanos=S))
    leases = [
        make.lease(),
        make.lease("c/c1/money", granted_nanos=7),
        make.lease("c/c1/imps", granted_nanos=10**6),
    ]
    found = one(make.engine([campaign], leases))
    stand = {one.account_id: (one.available, one.needed, one.enough) for one in found.accounts}
    assert stand == {
        "c1": (5 * S, 1_000_000, True),
        "c/c1/money": (7, 1_000_000, False),
        "c/c1/imps": (10**6, 10**6, True),
    }
    assert found.stage == "budget"


def test_a_budget_without_a_lease_is_named() -> None:
    found = rules(one(make.engine([make.campaign(budgets=Budgets(lifetime_nanos=S))], [make.lease()])))[
        "no_lease"
    ]
    assert (found.passed, found.shows) == (False, "none of c/c1/money")


def test_the_price_shows_how_the_bid_is_made() -> None:
    campaign = make.campaign(modifiers=(Modifier(dimension="geo", value="CA", factor=0.5),))
    settings = EngineSettings(external_scores=True, exchanges={"one": ExchangeRules(first_price_shade=0.8)})
    engine = make.engine([campaign], settings=settings)
    found = one(engine, Offer(exchange="one", at=1, region="CA", country="USA", floor_cpm_micros=900_000))
    price = found.price
    assert price is not None
    assert (price.pctr, price.modifiers, price.multiplier, price.shade) == (0.001, 0.5, 0.5, 0.8)
    assert price.value_nanos == 0.001 * 2 * S * 0.5
    assert (price.bid_nanos, price.floor_nanos) == (400_000, 900_000)
    assert rules(found)["below_floor"].shows == "bid 0.4"
    assert found.stage == "below_floor"


def test_a_bid_of_a_line_item_with_more_to_give_outbids() -> None:
    items = (LineItem(id="low", value_nanos=S), LineItem(id="high", value_nanos=3 * S))
    engine = make.engine([make.campaign(line_items=items)], settings=EngineSettings(), model=make.model(1))
    found = one(engine, Offer(external=None), "low")
    assert (found.stage, found.winner) == ("outbid", "high")
    assert found.price is not None
    assert found.winner_bid_nanos > found.price.bid_nanos > 0


def test_all_that_is_against_a_request_is_told() -> None:
    body = make.body(
        Offer(at=3, more={"cur": ["XXX"], "wseat": ["other"], "tmax": 1, "device": {"ua": "Googlebot/2.1"}})
    )
    found = explain(make.engine(), body, "c1", NOW_NS)
    assert [rule.reason for rule in found.refused] == [
        "AUCTION_TYPE",
        "CURRENCY",
        "SEAT",
        "EXPIRED",
        "CRAWLER",
    ]
    assert found.opportunities[0].reason == "AUCTION_TYPE"


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"{", "MALFORMED"), (b'{"id":"x"}', "INVALID"), (b"\xff", "MALFORMED"), (b"", "MALFORMED")],
)
def test_what_cannot_be_read_is_said_to_be(body: bytes, reason: str) -> None:
    found = explain(make.engine(), body, "c1", NOW_NS)
    assert [rule.reason for rule in found.refused] == [reason]
    assert found.refused[0].shows
    assert found.opportunities == ()


def test_a_line_item_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InputError, match="line item must be one of c1, was c2"):
        explain(make.engine(), make.body(Offer()), "c2", NOW_NS)


def test_places_of_a_pod_are_told_apart() -> None:
    creative = make.creative(
        media=Media.VIDEO, media_url="https://a.example/v.mp4", mime="video/mp4", duration_s=15, image_url=""
    )
    engine = make.engine([make.campaign(creatives=(creative,))])
    request = orjson.loads(make.body(Offer()))
    request["imp"][0]["video"] = {"mimes": ["video/mp4"], "poddur": 60, "maxseq": 2}
    del request["imp"][0]["banner"]
    found = explain(engine, orjson.dumps(request), "c1", NOW_NS)
    assert [(place.place, place.stage) for place in found.opportunities] == [(0, "bid"), (1, "pod")]


def test_flights_are_told_in_utc() -> None:
    flight = Flight(start_ns=NOW_NS + S, end_ns=FOREVER_NS)
    engine = make.engine([make.campaign(line_items=(LineItem(id="l1", flights=(flight,)),))])
    found = rules(one(engine, line="l1"))["flight"]
    assert found.passed is False
    assert (found.wants, found.shows) == (
        "2026-03-02T00:00:01Z to 2096-10-02T07:06:40Z",
        "2026-03-02T00:00:00Z",
    )


def test_an_explainer_follows_the_engine_to_its_next_table() -> None:
    engine = make.engine()
    explainer = Explainer(engine)
    explainer.explain(make.body(Offer()), "c1", NOW_NS)
    engine.adopt_campaigns({"c2": make.campaign("c2")}, 2, NOW_NS)
    assert explainer.explain(make.body(Offer()), "c2", NOW_NS).campaign_id == "c2"


def test_the_next_days_budgets_are_asked_before_the_engine_turns() -> None:
    day_ns = 86_400 * S
    engine = make.engine([make.campaign(budgets=Budgets(daily_nanos=S))], now_ns=NOW_NS)
    found = one(engine, now_ns=NOW_NS + day_ns)
    assert [account.account_id for account in found.accounts] == ["c1", f"c/c1/money/d{NOW_NS // day_ns + 1}"]
    assert found.stage == "no_lease"


def test_an_explanation_survives_json() -> None:
    found = explain(make.engine(), make.body(Offer()), "c1", NOW_NS)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
