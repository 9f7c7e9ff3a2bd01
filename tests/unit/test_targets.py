"""Goals and targets through the engine: what is bid, what results and outcomes do to it, what is told of it."""

import json
import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest

from bidder.core import target_kernels as kernels
from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules
from bidder.core.campaigns import Campaign, Goal, LineItem, Modifier
from bidder.core.engine import Engine
from bidder.core.explain import explain
from bidder.core.inbox import Inbox
from bidder.core.line_book import aimed_lines
from bidder.core.lines import LEAST_CHANCE, Aim, Target, lines_of
from bidder.core.messages import CREATIVES, ONE_IMPRESSION, LineCounts, NoticeKind, SettlementKind, encode
from bidder.core.settings import EngineSettings, PacingSettings, TargetSettings
from bidder.openrtb.reasons import Reason
from tests.support import banking
from tests.support import factories as make
from tests.support.factories import Offer, S, body, campaign, lease, settlement

CENT = S // 100


def engine(settings: TargetSettings | None = None, **changes: Any) -> Engine:
    """One campaign with much money, whose budget's multiplier stays near its start of a half."""
    pacing = PacingSettings(eta=1e-12, target="fixed")
    made = EngineSettings(external_scores=True, pacing=pacing, targets=settings or TargetSettings())
    return make.engine([campaign(**changes)], settings=made)


def bid(made: Engine, pctr: float = 0.001, name: str = "r1", now_ns: int = 0, **more: Any) -> dict[str, Any]:
    (row,) = make.decide(made, body(Offer(id=name, external=("c1", pctr), **more)), now_ns=now_ns)
    return row


def post(made: Engine, row: dict[str, Any], nanos: int, now_ns: int = 0) -> None:
    made.settle([settlement(SettlementKind.POSTED, row["bid_id"], nanos)], now_ns)


def counts(spend: int, clicks: int = 0, conversions: int = 0, value: int = 0, name: str = "c1") -> LineCounts:
    return LineCounts(
        campaign_id="c1", line_item_id=name, spend_nanos=spend, clicks=clicks, conversions=conversions,
        value_nanos=value,
    )  # fmt: skip


# -- what may be stated -----------------------------------------------------------------------------------------


def test_two_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="must be one of target_cpc_nanos, target_cpa_nanos"):
        campaign(target_cpc_nanos=1, target_cpa_nanos=1)
    with pytest.raises(ValueError, match="line item l1 must be one of"):
        campaign(line_items=(LineItem(id="l1", target_cpc_nanos=1, target_roas_ppm=1),))


@pytest.mark.parametrize("changes", [{"goal": Goal.VALUE}, {"target_roas_ppm": 2_000_000}])
def test_what_rests_on_a_value_needs_one(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="value_nanos of campaign c1 must be > 0"):
        campaign(value_nanos=0, **changes)
    assert campaign(**changes)
    item = LineItem(id="l1", value_nanos=S, **changes)
    assert campaign(value_nanos=0, line_items=(item,))


@pytest.mark.parametrize("goal", [Goal.VIEW, Goal.COMPLETE])
def test_a_return_of_views_is_refused(goal: Goal) -> None:
    with pytest.raises(ValueError, match="must be click, conversion or value, was"):
        campaign(goal=goal, target_roas_ppm=1_000_000)


def targets(one: Campaign) -> dict[str, tuple[Target, ...]]:
    return {line.id: line.targets for line in lines_of({one.id: one}, {})}


def test_a_target_of_its_own_takes_the_place_of_the_campaigns() -> None:
    items = (
        LineItem(id="l1"),
        LineItem(id="l2", target_cpc_nanos=7),
        LineItem(id="l3", cpm_cap_micros=9),
    )
    found = targets(campaign(target_cpa_nanos=5, cpm_cap_micros=8, line_items=items))
    whole, cap = Target("c1", Aim.CPA, 5), Target("c1", Aim.CPM, 8)
    assert found == {
        "l1": (whole, cap),
        "l2": (Target("l2", Aim.CPC, 7), cap),
        "l3": (whole, Target("l3", Aim.CPM, 9)),
    }


def test_a_return_is_what_may_be_spent_for_an_event() -> None:
    (found,) = targets(campaign(value_nanos=3 * S, target_roas_ppm=4_000_000))["c1"]
    assert found == Target("c1", Aim.ROAS, 3 * S // 4)


# -- goals ------------------------------------------------------------------------------------------------------


def test_without_a_value_the_highest_bid_is_the_bound() -> None:
    made = engine(value_nanos=0)
    usual = LEAST_CHANCE[Goal.CLICK]
    assert bid(made, usual)["bid_cpm_micros"] == pytest.approx(4_500_000, rel=1e-9)
    assert bid(made, 3 * usual, "r2")["bid_cpm_micros"] == 9_000_000


def metric(kind: str, value: float) -> dict[str, Any]:
    request = json.loads(body(Offer(external=None)))
    request["imp"][0]["metric"] = [{"type": kind, "value": value, "vendor": "v"}]
    return {"imp": request["imp"]}


@pytest.mark.parametrize(
    ("more", "chance"),
    [
        ({}, 0.5),
        (metric("viewability", 0.8), 0.8),
        (metric("viewability", 7.0), 0.5),
        (metric("other", 0.9), 0.5),
    ],
)
def test_a_view_is_as_likely_as_was_measured(more: dict[str, Any], chance: float) -> None:
    made = engine(goal=Goal.VIEW, value_nanos=CENT // 100)
    (row,) = make.decide(made, body(Offer(external=None, more=more)))
    assert row["bid_cpm_micros"] == int(0.5 * round(chance * 1e6) / 1e6 * (CENT // 100))


def test_a_banner_is_played_to_no_end() -> None:
    made = engine(goal=Goal.COMPLETE)
    (row,) = make.decide(made, body(Offer(external=None)))
    assert row["reason"] == Reason.NO_VALUE


def test_a_video_is_played_to_its_end_as_often_as_was_measured() -> None:
    video = make.creative(
        media="video", image_url="", media_url="https://v.example/a.mp4", mime="video/mp4", duration_s=15,
        protocols=(2,),
    )  # fmt: skip
    video = msgspec.convert(msgspec.to_builtins(video), type(video))
    made = engine(goal=Goal.COMPLETE, value_nanos=CENT // 100, creatives=(video,))
    slot = {"mimes": ["video/mp4"], "minduration": 5, "maxduration": 30, "protocols": [2], "w": 300, "h": 250}
    imp = {"id": "1", "video": slot, "metric": [{"type": "video_completion_rate", "value": 0.25}]}
    (row,) = make.decide(made, body(Offer(external=None, more={"imp": [imp]})))
    assert row["bid_cpm_micros"] == int(0.5 * 0.25 * (CENT // 100))


# -- bids -------------------------------------------------------------------------------------------------------


def test_the_smaller_of_budget_and_target_is_bid() -> None:
    worth = int(0.001 * 50 * CENT)
    made = engine(target_cpc_nanos=50 * CENT)
    row = bid(made)
    assert row["bid_cpm_micros"] == pytest.approx(1.4 * worth, rel=1e-6)
    assert row["multiplier"] == pytest.approx(1.4 * worth / (0.001 * 2 * S))
    assert bid(engine(target_cpc_nanos=5 * S))["bid_cpm_micros"] == 1_000_000


def test_a_modifier_moves_what_a_target_allows_and_not_what_is_kept() -> None:
    twice = (Modifier(dimension="inventory", value="site", factor=2.0),)
    plain, made = engine(target_cpc_nanos=CENT), engine(target_cpc_nanos=CENT, modifiers=twice)
    rows = [bid(one, domain="a.example") for one in (plain, made)]
    assert rows[1]["bid_cpm_micros"] == pytest.approx(2 * rows[0]["bid_cpm_micros"], rel=1e-4)
    for one, row in zip((plain, made), rows, strict=True):
        post(one, row, 10)
    worth = [one.status(0)["c1"].targets[0].worth_nanos for one in (plain, made)]
    assert worth[0] == worth[1] == pytest.approx(0.001 * CENT)


def test_a_cap_on_the_mean_price_bounds_bids() -> None:
    made = engine(cpm_cap_micros=200_000)
    assert bid(made)["bid_cpm_micros"] == 200_000 + int(0.4 * 2_000_000)
    for number in range(300):
        row = bid(made, 0.001, f"s{number}", now_ns=number * S)
        post(made, row, row["bid_cpm_micros"], number * S)
        made.tick(number * S)
    assert bid(made, 0.001, "last", now_ns=300 * S)["bid_cpm_micros"] < 400_000


def test_dear_results_lower_bids_and_cheap_ones_raise_them() -> None:
    last = {}
    for paid in (1.0, 0.1):
        made = engine(target_cpc_nanos=20 * CENT)
        for number in range(50):
            row = bid(made, 0.001, f"r{number}", now_ns=number * S)
            post(made, row, int(paid * row["bid_cpm_micros"]), number * S)
            made.tick(number * S)
        last[paid] = bid(made, 0.001, "last", now_ns=50 * S)["bid_cpm_micros"]
    assert last[1.0] < int(1.4 * 0.2 * 1e6) < last[0.1]


def test_a_bid_of_test_traffic_moves_nothing() -> None:
    made = engine(target_cpc_nanos=20 * CENT)
    made.tick(0)
    before = made.targets.rows.copy()
    bid(made, 0.001, "t", test=True)
    assert (made.targets.rows == before).all()


def test_losses_and_silence_end_a_bid_and_a_late_billing_still_counts() -> None:
    made = engine(target_cpc_nanos=20 * CENT)
    rows = [bid(made, 0.001, f"r{number}") for number in range(3)]
    held = made.targets.rows[0, 8:10].tolist()
    assert min(held) > 0.0
    made.settle([settlement(SettlementKind.VOIDED, rows[0]["bid_id"])], S)
    assert made.targets.rows[0, 8:10].tolist() == pytest.approx([2 / 3 * one for one in held])
    made.tick(3_600 * S - 1)
    assert made.targets.rows[0, 8:10].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    late = engine(target_cpc_nanos=20 * CENT)
    row = bid(late)
    late.tick(61 * S)
    post(late, row, 100_000, 62 * S)
    (found,) = late.status(62 * S)["c1"].targets
    assert (found.spent_nanos, found.worth_nanos) == (100_000, pytest.approx(0.001 * 20 * CENT))
    post(late, row, 100_000, 63 * S)
    assert late.status(63 * S)["c1"].targets[0].spent_nanos == 100_000


def play(made: Engine, auctions: int, seed: int) -> float:
    """Plays second-price auctions, settled at once; spend over worth at target, less 1."""
    draw = random.Random(seed)
    for number in range(auctions):
        pctr = min(0.002 * draw.lognormvariate(0.0, 0.8), 0.5)
        price = int(0.002 * 40 * CENT * draw.lognormvariate(0.0, 0.8))
        row = bid(made, pctr, f"p{number}", now_ns=number * S)
        won = row.get("bid_cpm_micros", 0) > price
        kind = SettlementKind.POSTED if won else SettlementKind.VOIDED
        made.settle([settlement(kind, row["bid_id"], price if won else 0)], number * S)
        made.tick(number * S)
    (found,) = made.status(auctions * S)["c1"].targets
    return found.spent_nanos / found.worth_nanos - 1.0


def test_the_engine_keeps_a_target() -> None:
    auctions = 4_000
    made = engine(target_cpc_nanos=40 * CENT, value_nanos=8 * S, end_ns=auctions * S)
    violation = play(made, auctions, 5)
    assert -0.1 < violation < 0.02
    assert made.status(0)["c1"].posted_nanos > 0


def test_the_engine_and_the_kernels_that_are_measured_are_one() -> None:
    auctions, settings = 400, TargetSettings()
    made = engine(target_cpc_nanos=40 * CENT, end_ns=auctions * S)
    # The engine solves its plan when it takes campaigns and leases, then at each tick.
    row = np.zeros(kernels.T_COLUMNS)
    kernels.begin_target(row, settings.start)
    prior = float(settings.prior_outcomes)

    def solve(over: float, seconds: float) -> None:
        kernels.ripen(row, -math.expm1(-seconds / settings.click_delay_seconds))
        kernels.solve_target(row, settings.eta, settings.first_eta, prior, over)

    for _ in range(3):
        solve(0.0, 0.0)
    draw = random.Random(11)
    for number in range(auctions):
        pctr, price = 0.002 * draw.random(), int(0.002 * 40 * CENT * draw.random())
        worth = pctr * (40 * CENT)
        most, paced = kernels.most_of(row, worth, worth), 0.5 * pctr * 2 * S
        decided = bid(made, pctr, f"p{number}", now_ns=number * S)
        assert decided["bid_cpm_micros"] == int(min(most, paced))
        kernels.opportunity_seen(row, most < paced)
        # As many impressions as a bid buys: rounded as there, where it is one.
        worth = worth * ONE_IMPRESSION / ONE_IMPRESSION
        kernels.bid_made(row, worth, float(decided["bid_cpm_micros"]))
        won = decided["bid_cpm_micros"] > price
        kind = SettlementKind.POSTED if won else SettlementKind.VOIDED
        made.settle([settlement(kind, decided["bid_id"], price if won else 0)], number * S)
        amount = float(decided["bid_cpm_micros"])
        kernels.bid_ended(row, worth, amount, worth / (40 * CENT), float(price) if won else -1.0)
        made.tick(number * S)
        solve(number / auctions, 0.0 if number == 0 else 1.0)
        assert made.targets.rows[0].tolist() == row.tolist()


def test_a_target_that_stays_keeps_what_it_learned_and_a_changed_one_begins_anew() -> None:
    made = engine(target_cpc_nanos=20 * CENT)
    for number in range(20):
        post(made, bid(made, 0.001, f"r{number}"), 1_000)
        made.tick(number * S)
    room = made.status(0)["c1"].targets[0].room
    assert room != 0.4
    made.adopt_campaigns(
        {"c1": campaign(target_cpc_nanos=20 * CENT, max_bid_cpm_micros=8_000_000)}, 2, 21 * S
    )
    assert made.status(0)["c1"].targets[0].room == pytest.approx(room, rel=0.05)
    made.adopt_campaigns({"c1": campaign(target_cpc_nanos=21 * CENT)}, 3, 22 * S)
    assert made.status(0)["c1"].targets[0].room == 0.4


# -- outcomes ---------------------------------------------------------------------------------------------------


def bought(prior: int = 10, clicks: int = 20, spend: int = 0) -> Engine:
    """An engine that won twenty clicks by prediction, and was told of some."""
    settings = TargetSettings(prior_outcomes=prior, click_delay_seconds=0.0)
    made = engine(settings, target_cpc_nanos=20 * CENT, budget_nanos=1_000 * S)
    made.adopt_leases([lease(granted_nanos=900 * S, budget_nanos=1_000 * S)], 0)
    for number in range(40):
        post(made, bid(made, 0.5, f"r{number}"), 1_000_000)
    made.targets.take([counts(spend or 40_000_000, clicks)])
    made.tick(S)
    return made


@pytest.mark.parametrize(("clicks", "ratio"), [(20, 1.0), (40, 5 / 3), (5, 0.5)])
def test_outcomes_correct_predictions(clicks: int, ratio: float) -> None:
    (found,) = bought(clicks=clicks).status(0)["c1"].targets
    assert found.ratio == pytest.approx(ratio)
    assert found.outcomes == pytest.approx(clicks)


def test_a_seat_takes_its_part_of_the_outcomes_of_all() -> None:
    (found,) = bought(clicks=40, spend=80_000_000).status(0)["c1"].targets
    assert found.outcomes == pytest.approx(20)
    assert found.ratio == pytest.approx(1.0)


def test_it_learns_until_enough_is_known() -> None:
    assert bought(prior=21).status(0)["c1"].targets[0].learning
    assert not bought(prior=20).status(0)["c1"].targets[0].learning
    assert not engine(cpm_cap_micros=1_000_000).status(0)["c1"].targets[0].learning


def test_what_came_before_a_seat_began_is_not_its_own() -> None:
    made = engine(TargetSettings(prior_outcomes=10, click_delay_seconds=0.0), target_cpc_nanos=20 * CENT)
    made.targets.take([counts(10 * S, 1_000)])
    made.tick(S)
    assert made.status(0)["c1"].targets[0].outcomes == 0
    post(made, bid(made, 0.5), 1_000_000)
    made.targets.take([counts(10 * S + 1_000_000, 1_003)])
    made.tick(2 * S)
    assert made.status(0)["c1"].targets[0].outcomes == pytest.approx(3)


def test_a_return_goes_by_the_value_that_came() -> None:
    settings = TargetSettings(prior_outcomes=1, conversion_delay_seconds=0.0)
    made = engine(settings, target_roas_ppm=2_000_000, value_nanos=S)
    post(made, bid(made, 0.5), 1_000_000)
    made.targets.take([counts(1_000_000, 1, 1, S)])
    made.tick(S)
    (found,) = made.status(0)["c1"].targets
    assert found.ratio == pytest.approx((S / 2 + S / 2) / (S / 4 + S / 2), rel=0.01)


def test_counts_come_by_the_topic_of_creatives() -> None:
    made = engine(target_cpc_nanos=20 * CENT)
    inbox = Inbox(made)
    inbox.apply([(CREATIVES, encode(counts(1, 2)))], 0)
    assert inbox.refused == {}
    assert made.targets._told["c1"] == counts(1, 2)


# -- the bank ---------------------------------------------------------------------------------------------------


def test_the_bank_tells_of_line_items_with_a_target_alone() -> None:
    rules = BankRules(late_share_ppm=0)
    for target, told in ((0, 0), (CENT, 1)):
        bank = Bank(rules, {"c1": banking.campaign(target_cpa_nanos=target)})
        bank.apply([banking.notice(NoticeKind.BILLING, price_nanos=1_500_000)], 10 * S)
        bank.apply(
            [banking.notice(NoticeKind.CLICK), banking.notice(NoticeKind.CONVERSION, value_nanos=7)], 11 * S
        )
        found = bank.tick(12 * S).line_counts
        assert len(found) == told
        assert found == bank.line_counts()
        if told:
            assert found == (counts(1_500_000, 1, 1, 7, found[0].line_item_id),)
            assert bank.tick(13 * S).line_counts == ()


def test_line_items_with_a_target_are_known() -> None:
    items = (LineItem(id="l1"), LineItem(id="l2", target_cpc_nanos=1))
    assert aimed_lines(campaign(line_items=items)) == {"l2"}
    assert aimed_lines(campaign(line_items=items, target_cpa_nanos=1)) == {"l1", "l2"}
    assert aimed_lines(campaign(target_cpa_nanos=1)) == {"c1"}
    assert aimed_lines(campaign(cpm_cap_micros=1)) == aimed_lines(None) == frozenset()


# -- explained --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"target_cpc_nanos": 20 * CENT},
        {"target_cpc_nanos": 20 * CENT, "cpm_cap_micros": 100_000},
        {"value_nanos": 0, "cpm_cap_micros": 100_000},
        {"goal": Goal.VIEW, "value_nanos": CENT // 100, "cpm_cap_micros": 10_000},
    ],
)
def test_what_a_target_allows_is_explained(changes: dict[str, Any]) -> None:
    made = engine(**changes)
    offer = body(Offer(at=1))
    price = explain(made, offer, "c1", 0).opportunities[0].price
    assert price is not None
    paced = min(price.value_nanos * price.multiplier, *(one.allowed_nanos for one in price.aimed))
    assert price.worth_nanos == pytest.approx(paced * price.shade)
    (row,) = make.decide(made, offer)
    assert price.offer_nanos == row["bid_cpm_micros"] == int(price.worth_nanos)
    assert [one.aim for one in price.aimed] == [one.aim for one in made.status(0)["c1"].targets]
    assert all(one.learning == (one.aim != "cpm") for one in price.aimed)
