"""Money under faults: a seeded sample of what `clearbid faults --seeds 200 --auctions 10000` plays in full."""

import math
from functools import cache

import orjson
import pytest

from bidder.core.messages import NoticeKind
from simulator.faults.bounds import tolerated
from simulator.faults.credits import GOAL
from simulator.faults.plan import KINDS, NO_FAULTS, Scenario, scenario
from simulator.faults.report import Report
from simulator.faults.run import LEAST_SPENT, Outcome, Run, play

AUCTIONS = 1_500
SEEDS = (2, 4, 7, 9, 11, 13, 23, 75)
"""Each kind of market, with faults and without."""


@cache
def played(seed: int) -> Outcome:
    return play(scenario(seed, AUCTIONS))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_that_is_promised_about_money_fails(seed: int) -> None:
    outcome = played(seed)
    assert outcome.violations == {}, outcome.said
    assert outcome.wins > 20


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed % 2 == 0])
def test_without_faults_the_budgets_bind(seed: int) -> None:
    """Else staying within them would prove nothing."""
    outcome = played(seed)
    assert outcome.faults == {}
    assert LEAST_SPENT * outcome.feasible_nanos <= outcome.spend_nanos <= outcome.feasible_nanos
    assert outcome.late_wins == 0


def test_of_a_campaign_no_more_may_be_left_than_it_has_and_than_a_bid_costs() -> None:
    run = Run(_plan(4))
    try:
        names = [campaign.id for campaign in run.plan.campaigns]
        dearest = run._crumbs()
        assert 0 < dearest < sum(run.plan.budgets[name].limit for name in names)
        for place, name in enumerate(names):
            run.oracle.bounds[name].in_time = run.plan.budgets[name].limit - place
        assert run._crumbs() == sum(range(len(names))) < dearest
        run.oracle.bounds[names[0]].late = 5
        assert run._crumbs() == sum(range(len(names))), "what passed its budget leaves nothing"
    finally:
        for tracker in run.trackers:
            tracker.leave()


def test_the_seeds_of_the_sample_bring_faults_of_every_kind() -> None:
    found = {name for seed in SEEDS for name, count in played(seed).faults.items() if count}
    assert found >= {
        "crash_bidder", "crash_tracker", "crash_bank", "crash_in_transaction", "stall", "message_delayed", "ack_lost",
        "send_repeated", "send_torn",
        "broker_outage", "database_outage", "rebalance", "takeover", "call_lost", "call_never_called",
        "call_repeated", "call_reordered", "very_late", "false_loss", "invalid_call", "rogue_notice", "budget_change",
        "tracker_disk_outage", "tracker_cut_off",
        "event_lost", "event_unanswered", "event_repeated", "event_reordered", "event_never_called", "event_forged",
    }  # fmt: skip


def test_the_seeds_of_the_sample_have_late_wins() -> None:
    assert sum(played(seed).late_wins for seed in SEEDS) > 25


def test_the_seeds_of_the_sample_have_spools_in_use_stops_and_shards_of_two_banks() -> None:
    assert sum(played(seed).spooled for seed in SEEDS) > 10
    assert all(played(seed).stops for seed in SEEDS)
    assert {(plan.banks, plan.shards) for plan in map(_plan, SEEDS)} >= {(1, 1), (2, 2)}


def _plan(seed: int) -> Scenario:
    return scenario(seed, AUCTIONS)


def test_every_unit_and_time_of_budget_binds_somewhere() -> None:
    """Of the flight, of a day and of impressions: each is nearly used up without being passed."""
    run = Run(scenario(2, AUCTIONS))
    run.play()
    spent = {name: bound.in_time / bound.allowed for name, bound in run.oracle.bounds.items()}
    assert max(spent.values()) <= 1
    (first_day,) = (share for name, share in spent.items() if name.startswith("c/c3/money/d") and share > 0.9)
    assert first_day > LEAST_SPENT
    assert spent["c/c1/imps"] > LEAST_SPENT
    assert spent["c2"] > LEAST_SPENT


def test_all_ways_to_book_money_are_in_use() -> None:
    """By the win, by `burl` and by what the markup calls; with fees and without."""
    run = Run(scenario(4, AUCTIONS))
    run.play()
    charges = {bid.charge for bid in run.oracle.bids.values() if bid.billed_ns}
    assert {charge.money for charge in charges} == {NoticeKind.WIN, NoticeKind.BILLING}
    assert {charge.ppm for charge in charges} == {0, 20_000, 50_001, 70_001}


@pytest.mark.parametrize("seed", [2, 75])
def test_orders_are_told_in_every_way_and_count_for_clicks_and_views(seed: int) -> None:
    """Else that they are booked as they must be would prove little."""
    run = Run(_plan(seed))
    outcome = run.play()
    found = run.oracle.credits.found
    assert outcome.conversions == len(found) > 60
    assert outcome.orders > outcome.conversions, "some count for nothing"
    assert outcome.orders_again > 15
    assert sum(row.goal == GOAL for row in found) > 40
    assert sum(row.goal != GOAL for row in found) > 10
    assert {row.touch for row in found} == {NoticeKind.CLICK, NoticeKind.IMPRESSION}
    assert len({row.line for row in found}) > 2
    assert outcome.value_nanos == sum(row.value_nanos for row in found) > 0


def test_the_seeds_of_the_sample_have_conversions_under_faults() -> None:
    faulty = [played(seed) for seed in SEEDS if seed % 2]
    assert sum(outcome.conversions for outcome in faulty) > 100
    assert sum(outcome.orders_again for outcome in faulty) > 15


def test_a_report_counts_clicks_orders_and_conversions() -> None:
    report = Report()
    report.add(played(2))
    report.add(played(4))
    said = orjson.loads(report.json())
    for name in ("clicks", "orders", "orders_again", "conversions", "value_nanos"):
        assert said[name] == getattr(played(2), name) + getattr(played(4), name) > 0, name


def test_the_same_seed_gives_the_same_trace() -> None:
    first, again = played(7), play(scenario(7, AUCTIONS))
    assert again.digest == first.digest
    assert again.faults == first.faults
    assert again.events == first.events


def test_another_seed_gives_another_trace() -> None:
    assert played(7).digest != played(9).digest


def test_half_of_the_seeds_are_without_faults_and_every_kind_of_market_is_in_both() -> None:
    plans = [scenario(seed, AUCTIONS) for seed in range(16)]
    calm = {plan.kind for plan in plans if plan.faults == NO_FAULTS}
    faulty = {plan.kind for plan in plans if plan.faults != NO_FAULTS}
    assert calm == faulty == set(KINDS)
    assert sum(plan.faulty for plan in plans) == 8


def test_a_report_names_the_command_that_repeats_a_failure() -> None:
    report = Report()
    report.add(played(2))
    assert orjson.loads(report.json())["again"] == []
    plan = scenario(2, AUCTIONS)
    report.add(play(_spending_more_than(plan)))
    said = orjson.loads(report.json())
    assert said["again"] == [f"clearbid faults --seed 2 --auctions {AUCTIONS}"]
    assert said["violations"]["overspent"] > 0


def _spending_more_than(plan: Scenario) -> Scenario:
    """The same run, judged by half of its budgets."""
    halves = {name: budget._replace(limit=budget.limit // 2) for name, budget in plan.budgets.items()}
    return plan._replace(budgets=halves)


def test_an_auction_that_nobody_saw_cannot_be_billed() -> None:
    """The books of the exchange are its own: they hold what was written for bids that it took, and no others."""
    run = Run(scenario(4, AUCTIONS))
    outcome = run.play()
    billed = [bid for bid in run.oracle.bids.values() if bid.billed_ns]
    assert sum(bid.cost_nanos for bid in billed) == outcome.spend_nanos
    assert all(0 < bid.price_nanos <= bid.cap_nanos for bid in billed)


def test_a_late_law_that_is_measured_leaves_budgets_nearly_spent_and_kept() -> None:
    outcome = played(75)
    assert outcome.measured
    assert outcome.late_wins > 0
    assert 0.9 < outcome.spend_nanos / outcome.feasible_nanos <= 1
    assert outcome.passed <= tolerated(outcome.budgets, 990_000)


@pytest.mark.parametrize(("judged", "most"), [(1, 1), (8, 2), (64, 4), (1_000, 21)])
def test_what_is_tolerated_is_passed_by_chance_in_one_of_a_thousand_runs(judged: int, most: int) -> None:
    chances = [math.comb(judged, n) * 0.01**n * 0.99 ** (judged - n) for n in range(judged + 1)]
    assert sum(chances[most + 1 :]) <= 0.001 < sum(chances[most:])
    assert tolerated(judged, 990_000) == most
