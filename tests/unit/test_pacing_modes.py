"""How budgets are spread: modes, hours and gaps, days, impressions, several budgets at once, shares of deals."""

import math
from typing import Any

import numpy as np
import pytest

from bidder.core.budgets import Unit, day_of
from bidder.core.campaigns import Budgets, Campaign, Flight, LineItem, Pacing, Rule, Status, Targeting
from bidder.core.draw_kernels import takes_part
from bidder.core.engine import Engine
from bidder.core.messages import SettlementKind
from bidder.core.pacing import Pacer
from bidder.core.pacing_groups import PacingGroups
from bidder.core.pacing_kernels import G_DRIFT, G_MULTIPLIER, meet
from bidder.core.plans import EVERY_HOUR, Plans, merged
from bidder.core.settings import EngineSettings, PacingSettings
from bidder.core.table import LineTable
from bidder.core.traffic_shape import TrafficShape
from tests.support import factories as make
from tests.support.factories import S, campaign

HOUR_NS = 3_600 * S
DAY_NS = 24 * HOUR_NS
MONDAY_NS = 1_772_409_600 * S


def week(**changes: Any) -> Campaign:
    return campaign(**({"start_ns": MONDAY_NS, "end_ns": MONDAY_NS + 7 * DAY_NS} | changes))


def groups_of(*campaigns: Campaign) -> PacingGroups:
    return PacingGroups(LineTable({one.id: one for one in campaigns}, 1).lines)


def hours(*local: int) -> Targeting:
    return Targeting(hour=Rule(tuple(map(str, local))))


def over(one: Campaign, at_ns: int, zone: str = "UTC") -> float:
    (group,) = groups_of(one).groups
    return float(Plans([group._replace(zone=zone)], TrafficShape(), MONDAY_NS).over(at_ns)[0])


def solved(one: Campaign, share: float, spent: float, **changes: Any) -> float:
    """The rate that is aimed at, over the even one, after a share of the plan and of the budget."""
    fields = {"eta": 0.01, "first_eta": 0.0, "start": 0.5, "weekly_opportunities": 1_000.0} | changes
    made = Pacer(groups_of(one).groups, TrafficShape(), PacingSettings(**fields), MONDAY_NS)
    numbers = [np.array([units], dtype=np.int64) for units in (10**9, 10**9, round(spent * 10**9))]
    made.refresh(MONDAY_NS + round(share * 7 * DAY_NS), *numbers, np.zeros((1, 3), dtype=np.int64))
    return math.log(float(made.drift[0])) / 0.01


# -- plans ----------------------------------------------------------------------------------------------------


def test_the_plan_goes_on_in_targeted_hours_alone() -> None:
    one = week(targeting=hours(8, 9, 32, 33))
    at = [MONDAY_NS + hour * HOUR_NS for hour in (0, 8, 9, 10, 30, 33, 34, 160)]
    assert [over(one, now) for now in at] == pytest.approx([0, 0, 0.25, 0.5, 0.5, 0.75, 1, 1])


def test_hours_are_the_advertisers() -> None:
    one = week(targeting=hours(8))
    assert over(one, MONDAY_NS + 3 * HOUR_NS // 2, "Asia/Kolkata") == 0.0
    assert over(one, MONDAY_NS + 3 * HOUR_NS, "Asia/Kolkata") == pytest.approx(0.5)
    assert over(one, MONDAY_NS + 4 * HOUR_NS, "Asia/Kolkata") == pytest.approx(1.0)


def test_hours_follow_the_clock_when_it_is_put_on() -> None:
    """In Berlin on 29 March 2026: 8 o'clock is 7 UTC before, 6 UTC after."""
    start = MONDAY_NS + 26 * DAY_NS
    one = campaign(start_ns=start, end_ns=start + 2 * DAY_NS, targeting=hours(*range(8, 168, 24)))
    (group,) = (group._replace(zone="Europe/Berlin") for group in groups_of(one).groups)
    plans = Plans([group], TrafficShape(), start)
    at = [float(plans.over(start + hour * HOUR_NS)[0]) for hour in (7, 8, 30, 31)]
    assert at == pytest.approx([0.0, 0.5, 0.5, 1.0])


def test_the_plan_stands_still_between_flights() -> None:
    items = (
        LineItem(
            id="a",
            flights=tuple(
                Flight(start_ns=MONDAY_NS + day * DAY_NS, end_ns=MONDAY_NS + (day + 1) * DAY_NS)
                for day in (0, 3)
            ),
        ),
    )
    one = week(line_items=items)
    at = [over(one, MONDAY_NS + day * DAY_NS) for day in (0, 1, 2, 3, 4, 6)]
    assert at == pytest.approx([0.0, 0.5, 0.5, 0.5, 1.0, 1.0])


def test_a_shared_budget_is_spent_when_any_of_its_active_line_items_may() -> None:
    day = Flight(start_ns=MONDAY_NS, end_ns=MONDAY_NS + DAY_NS)
    items = (
        LineItem(id="a", flights=(day,), targeting=hours(1, 2)),
        LineItem(id="b", flights=(day,), targeting=hours(2, 3)),
        LineItem(id="c", status=Status.PAUSED),
    )
    (group,) = groups_of(week(line_items=items)).groups
    assert (group.flights, group.hours) == (((day.start_ns, day.end_ns),), {1, 2, 3})


def test_spans_are_merged() -> None:
    assert merged([(5, 9), (1, 3), (2, 4), (9, 10)]) == ((1, 4), (5, 10))


# -- modes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9])
def test_ahead_spends_faster_at_first_and_slower_at_last(share: float) -> None:
    """On its curve, t + a t (1 - t), the rate is its slope."""
    one = week(pacing=Pacing.AHEAD, ahead_percent=40)
    spent = share + 0.4 * share * (1 - share)
    assert solved(one, share, spent) == pytest.approx(1.4 - 0.8 * share, rel=1e-6)


def test_ahead_makes_up_for_what_was_missed() -> None:
    assert solved(week(pacing=Pacing.AHEAD, ahead_percent=40), 0.5, 0.2) > 1.4


def test_missed_delivery_is_spread_over_the_rest_or_dropped() -> None:
    assert solved(week(), 0.5, 0.1) == pytest.approx(1.8)
    assert solved(week(catch_up="drop"), 0.5, 0.1) == pytest.approx(1.0)
    assert solved(week(catch_up="drop"), 0.5, 0.8) == pytest.approx(0.4)
    dropped = week(catch_up="drop", pacing=Pacing.AHEAD, ahead_percent=40)
    assert solved(dropped, 0.25, 0.0) == pytest.approx(1.2)


def test_who_knows_nothing_bids_at_most_so_much() -> None:
    settings = PacingSettings(start=0.5, first_wins=3, first_most=0.2)
    made = Pacer(groups_of(week()).groups, TrafficShape(), settings, MONDAY_NS)
    budget = np.array([10**9], dtype=np.int64)
    seen = []
    for number in range(5):
        made.refresh(MONDAY_NS + number, budget, budget, 0 * budget, np.zeros((1, 3), dtype=np.int64))
        meet(made.rows, made.counts, np.zeros(1, dtype=np.int32), 0, 1, True)
        seen.append(float(made.multipliers[0]))
        made.spend(0, 1)
    assert seen[:3] == pytest.approx([0.2] * 3, rel=0.01)
    assert max(seen[:3]) <= 0.2 < seen[4]


# -- several budgets ------------------------------------------------------------------------------------------


def names_of(made: PacingGroups, line: int) -> list[str]:
    begin, end = made.starts[line : line + 2]
    return [made.groups[place].account_id for place in made.places[begin:end].tolist()]


LIMITS = Budgets(lifetime_nanos=S, daily_nanos=S, lifetime_impressions=9, daily_impressions=5)
OWN = ["l/a/money", "l/a/imps"]


def test_every_budget_with_an_end_has_a_multiplier() -> None:
    made = groups_of(
        week(budgets=Budgets(daily_impressions=7), line_items=(LineItem(id="a", budgets=LIMITS),))
    )
    assert names_of(made, 0) == ["c1", *OWN, "c/c1/imps", *OWN]
    assert [group.daily for group in made.groups] == [False, False, False, True, True, True]
    assert [group.unit for group in made.groups][1:3] == [Unit.MONEY, Unit.IMPRESSIONS]
    assert all(group.tied for group in made.groups)


def test_with_shared_pacing_line_items_go_by_the_campaigns_budgets() -> None:
    items = (LineItem(id="a", budgets=LIMITS), LineItem(id="b"))
    apart, shared = (groups_of(week(line_items=items, shared_pacing=said)) for said in (False, True))
    assert names_of(apart, 0) == ["c1", *OWN, *OWN]
    assert names_of(shared, 0) == names_of(shared, 1) == ["c1"]
    assert [group.tied for group in apart.groups][:2] == [False, True]
    assert shared.groups[0].tied


def test_who_buys_as_fast_as_possible_is_paced_by_none() -> None:
    made = groups_of(week(pacing=Pacing.ASAP, budgets=LIMITS))
    assert [group.asap for group in made.groups] == [True]


@pytest.mark.parametrize(("tied", "most"), [(True, 0.2), (False, 0.9 * math.e)])
def test_a_multiplier_that_does_not_bind_is_held_below_twice_the_one_that_does(
    tied: bool, most: float
) -> None:
    items = (LineItem(id="a", budgets=Budgets(lifetime_nanos=S)), *(() if tied else (LineItem(id="b"),)))
    made = Pacer(groups_of(week(line_items=items)).groups, TrafficShape(), PacingSettings(), MONDAY_NS)
    made.rows[:2, G_MULTIPLIER] = 0.9, 0.1
    made.rows[:2, G_DRIFT] = math.e, 1.0
    assert meet(made.rows, made.counts, np.array([0, 1], dtype=np.int32), 0, 2, True) == 0.1
    assert made.rows[:2, G_MULTIPLIER].tolist() == pytest.approx([min(most, 1.0), 0.1])
    assert made.seen[:2].tolist() == [1, 1]


def test_the_next_day_goes_on_with_the_multiplier_and_counts_anew() -> None:
    (_, daily) = groups_of(week(budgets=Budgets(daily_nanos=S))).groups
    made = Pacer([daily], TrafficShape(), PacingSettings(weekly_opportunities=7_000.0), MONDAY_NS)
    budget = np.array([S], dtype=np.int64)
    made.multipliers[0], made.seen[0] = 0.25, 500
    noon = MONDAY_NS + DAY_NS // 2
    made.refresh(noon, budget, budget, budget // 2, np.zeros((1, 3), dtype=np.int64))
    assert float(made.plan(noon)[0]) == pytest.approx(0.5)
    made.turn(MONDAY_NS + DAY_NS)
    assert float(made.plan(MONDAY_NS + DAY_NS + HOUR_NS)[0]) == pytest.approx(1 / 24)
    assert (float(made.multipliers[0]), int(made.seen[0])) == (0.25, 0)


def test_a_share_of_a_deals_opportunities_is_drawn_by_their_seeds() -> None:
    seeds = np.random.default_rng(3).integers(0, 2**56, 20_000).tolist()
    for share in (0.0, 0.1, 0.5, 1.0):
        taken = np.mean([takes_part(seed, share) for seed in seeds])
        assert taken == pytest.approx(share, abs=0.01)
    assert all(takes_part(seed, 0.5) for seed in seeds if takes_part(seed, 0.1))


# -- through the engine ---------------------------------------------------------------------------------------

OPPORTUNITIES = 4_000
DAYS = 2


def run(one: Campaign, accounts: dict[str, int], seed: int = 5) -> np.ndarray:
    """Spends and impressions, float64[eighths of two days, 2], of second-price auctions without delay."""
    pacing = PacingSettings(eta=0.003, start=0.2, weekly_opportunities=7.0 * OPPORTUNITIES / DAYS)
    engine = Engine(EngineSettings(pacing=pacing, external_scores=True), make.KEY, None, make.START)
    engine.adopt_campaigns({one.id: one}, 1, MONDAY_NS)
    leases = [make.lease(name, granted_nanos=limit, budget_nanos=limit) for name, limit in accounts.items()]
    engine.adopt_leases(leases, MONDAY_NS)
    random = np.random.default_rng(seed)
    rivals = (random.gamma(2.0, 300_000.0, OPPORTUNITIES) + 50_000).astype(np.int64).tolist()
    scores = random.gamma(2.0, 0.0003, OPPORTUNITIES).tolist()
    spent = np.zeros((16, 2))
    for number in range(OPPORTUNITIES):
        now_ns = MONDAY_NS + DAYS * DAY_NS * number // OPPORTUNITIES
        if number % 20 == 0:
            engine.tick(now_ns)
        offer = make.Offer(id=f"r{number}", external=("c1", scores[number]))
        (row,) = make.decide(engine, make.body(offer), now_ns=now_ns)
        if row["reason"] == 0:
            won = row["bid_cpm_micros"] > rivals[number]
            kind, amount = (SettlementKind.POSTED, rivals[number]) if won else (SettlementKind.VOIDED, 0)
            engine.settle([make.settlement(kind, row["bid_id"], amount)], now_ns)
            spent[16 * number // OPPORTUNITIES] += (amount, won)
    return spent


def day_accounts(name: str, limit: int) -> dict[str, int]:
    first = day_of("UTC", MONDAY_NS).number
    return {f"{name}/d{first + day}": limit for day in range(DAYS)}


def two_days(**changes: Any) -> Campaign:
    return campaign(**({"start_ns": MONDAY_NS, "end_ns": MONDAY_NS + DAYS * DAY_NS} | changes))


def test_a_daily_budget_is_spread_over_its_day() -> None:
    limit = 100_000_000
    one = two_days(budgets=Budgets(daily_nanos=limit))
    spent = run(one, {"c1": 10 * S, **day_accounts("c/c1/money", limit)})[:, 0] / limit
    days = spent.reshape(DAYS, 8)
    assert (days.sum(axis=1) > 0.96).all()
    assert (days.sum(axis=1) <= 1.0).all()
    assert np.abs(np.cumsum(days, axis=1) - np.arange(1, 9) / 8).max() < 0.1


def test_a_daily_budget_of_impressions_is_spread_over_its_day() -> None:
    limit = 150
    one = two_days(budgets=Budgets(daily_impressions=limit))
    won = run(one, {"c1": 10 * S, **day_accounts("c/c1/imps", limit * 10**6)})[:, 1] / limit
    days = won.reshape(DAYS, 8)
    assert (days.sum(axis=1) > 0.94).all()
    assert (days.sum(axis=1) <= 1.0).all()
    assert np.abs(np.cumsum(days, axis=1) - np.arange(1, 9) / 8).max() < 0.12


def test_a_lifetime_budget_of_impressions_is_spread_over_the_flight() -> None:
    limit = 300
    one = two_days(budgets=Budgets(lifetime_impressions=limit))
    won = run(one, {"c1": 10 * S, "c/c1/imps": limit * 10**6})[:, 1] / limit
    assert 0.95 < won.sum() <= 1.0
    assert np.abs(np.cumsum(won) - np.arange(1, 17) / 16).max() < 0.1


def test_the_budget_that_binds_has_the_word() -> None:
    """The flight's money would last for four times the day's."""
    limit = 50_000_000
    one = two_days(budget_nanos=4 * DAYS * limit, budgets=Budgets(daily_nanos=limit))
    spent = run(one, {"c1": 4 * DAYS * limit, **day_accounts("c/c1/money", limit)})[:, 0]
    assert 0.95 * DAYS * limit < spent.sum() <= DAYS * limit


def test_hours_that_are_targeted_get_the_whole_budget() -> None:
    one = two_days(budget_nanos=150_000_000, targeting=hours(*range(12, 24), *range(36, 48)))
    spent = run(one, {"c1": 150_000_000})[:, 0] / 150_000_000
    halves = spent.reshape(4, 4).sum(axis=1)
    assert halves.tolist() == pytest.approx([0.0, 0.5, 0.0, 0.5], abs=0.06)


def test_ahead_is_ahead_in_the_engine() -> None:
    budget = 200_000_000
    one = two_days(budget_nanos=budget, pacing=Pacing.AHEAD, ahead_percent=60)
    spent = np.cumsum(run(one, {"c1": budget})[:, 0]) / budget
    share = np.arange(1, 17) / 16
    assert np.abs(spent - (share + 0.6 * share * (1 - share))).max() < 0.06


def test_every_hour_is_no_rule() -> None:
    (group,) = groups_of(week()).groups
    assert group.hours == EVERY_HOUR
