"""Pacing: the plan, the multiplier, and budgets spent by the real kernel on a small market."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.campaigns import Campaign, Pacing
from bidder.core.engine import Engine
from bidder.core.messages import SettlementKind
from bidder.core.pacing import Pacer
from bidder.core.pacing_groups import PacingGroups
from bidder.core.pacing_kernels import G_CHARGED, G_LEAST, G_PULL, G_TRAFFIC, G_UNIT, charged, power_of_e
from bidder.core.settings import EngineSettings, PacingSettings
from bidder.core.table import LineTable
from bidder.core.traffic_shape import TrafficShape
from tests.support import factories as make
from tests.support.factories import S, campaign

HOUR_NS = 3_600 * S
WEEK_NS = 168 * HOUR_NS
MONDAY_NS = 1_772_409_600 * S


def pacer(*campaigns: Campaign, weights: tuple[float, ...] = (), **changes: Any) -> Pacer:
    table = LineTable({one.id: one for one in campaigns or (week(),)}, 1)
    groups = PacingGroups(table.lines).groups
    fields: dict[str, Any] = {"eta": 0.01, "first_eta": 0.0, "start": 0.5, "weekly_opportunities": 1000.0}
    return Pacer(groups, TrafficShape(weights), PacingSettings(**(fields | changes)))


def week(campaign_id: str = "c1", **changes: Any) -> Campaign:
    return campaign(campaign_id, **({"start_ns": MONDAY_NS, "end_ns": MONDAY_NS + WEEK_NS} | changes))


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """So that the first example of a property does not wait for a compiler."""
    made = pacer()
    solve(made, MONDAY_NS, S)
    made.spend(0, S)
    made.release(money(0))
    charged(made.rows[0], 1)


def money(nanos: int) -> Any:
    return np.array([nanos], dtype=np.int64)


def solve(
    made: Pacer, now_ns: int, budget: int, spent: int = 0, reserved: int = 0, offered: int | None = None
) -> None:
    """Solves the plan of the only group, at the only seat; bids under way are all that was bid unless said."""
    books = np.array([[reserved, spent, reserved if offered is None else offered]], dtype=np.int64)
    made.refresh(now_ns, money(budget), money(budget), money(spent), books)


def ready(**changes: Any) -> Pacer:
    """A pacer at the begin of a week with a budget of a unit for a thousand opportunities."""
    made = pacer(**changes)
    solve(made, MONDAY_NS, S)
    return made


# -- the plan -------------------------------------------------------------------------------------------------


def test_plan_goes_from_0_to_1_over_the_flight() -> None:
    made = pacer()
    at = [MONDAY_NS - 1, MONDAY_NS, MONDAY_NS + WEEK_NS // 4, MONDAY_NS + WEEK_NS, MONDAY_NS + 2 * WEEK_NS]
    assert [float(made.plan(now)[0]) for now in at] == pytest.approx([0.0, 0.0, 0.25, 1.0, 1.0])


def test_plan_follows_the_shape_of_the_traffic() -> None:
    weights = tuple(3.0 if hour < 84 else 1.0 for hour in range(168))
    made = pacer(weights=weights)
    assert float(made.plan(MONDAY_NS + WEEK_NS // 2)[0]) == pytest.approx(0.75)


def test_plan_stands_still_in_hours_without_traffic() -> None:
    weights = tuple(0.0 if hour < 84 else 1.0 for hour in range(168))
    made = pacer(weights=weights)
    assert float(made.plan(MONDAY_NS + 80 * HOUR_NS)[0]) == 0.0


def test_plan_of_a_flight_over_hours_without_traffic_is_finite() -> None:
    weights = tuple(0.0 if hour < 84 else 1.0 for hour in range(168))
    made = pacer(week(end_ns=MONDAY_NS + HOUR_NS), weights=weights)
    solve(made, MONDAY_NS + HOUR_NS // 2, S)
    assert np.isfinite(made.drift).all()


@given(st.lists(st.integers(0, 3 * WEEK_NS), min_size=2, max_size=20))
def test_plan_never_falls_and_stays_in_0_to_1(offsets: list[int]) -> None:
    made = pacer(weights=tuple(float(hour % 5) for hour in range(168)))
    plan = [float(made.plan(MONDAY_NS - WEEK_NS + offset)[0]) for offset in sorted(offsets)]
    assert all(0.0 <= one <= two <= 1.0 for one, two in pairwise(plan))


def test_weeks_count_on_across_mondays() -> None:
    shape = TrafficShape(tuple(float(hour) for hour in range(168)))
    assert float(shape.weeks(MONDAY_NS + WEEK_NS) - shape.weeks(MONDAY_NS)) == pytest.approx(1.0)
    assert float(shape.weeks(-WEEK_NS) - shape.weeks(0)) == pytest.approx(-1.0)


@pytest.mark.parametrize("weights", [(1.0,) * 167, (0.0,) * 168, (-1.0, *(1.0,) * 167)])
def test_a_shape_that_is_none_is_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be 168 weights"):
        TrafficShape(weights)


# -- the multiplier -------------------------------------------------------------------------------------------


def test_asap_stays_at_1_whatever_is_spent() -> None:
    made = pacer(week(pacing=Pacing.ASAP))
    solve(made, MONDAY_NS + WEEK_NS // 2, S, S)
    made.spend(0, S)
    charged(made.rows[0], S)
    made.release(money(S))
    assert (float(made.multipliers[0]), float(made.drift[0])) == (1.0, 1.0)


@given(st.integers(0, 10 * S), st.integers(0, 10 * S))
def test_more_spend_never_leaves_a_higher_multiplier(one: int, two: int) -> None:
    left, right = ready(), ready()
    left.spend(0, min(one, two))
    right.spend(0, max(one, two))
    assert left.multipliers[0] >= right.multipliers[0]


@given(st.lists(st.integers(0, 5 * S), max_size=60))
def test_the_multiplier_stays_in_0_to_1(spends: list[int]) -> None:
    made = ready(eta=0.1)
    for nanos in spends:
        made.spend(0, nanos)
        assert 0.0 < made.multipliers[0] <= 1.0


def test_one_spend_moves_by_a_bounded_step() -> None:
    made = ready()
    made.spend(0, 10**18)
    assert float(made.multipliers[0]) == pytest.approx(0.5 * math.exp(-0.5))


def test_all_bids_under_way_move_by_a_bounded_step_and_give_it_back() -> None:
    made = ready()
    for _ in range(50):
        charged(made.rows[0], S)
    assert float(made.multipliers[0]) == pytest.approx(0.5 * math.exp(-3.0))
    made.release(money(0))
    assert float(made.multipliers[0]) == pytest.approx(0.5)


def test_an_unknown_budget_moves_nothing() -> None:
    made = pacer()
    made.spend(0, S)
    charged(made.rows[0], S)
    solve(made, MONDAY_NS, 0)
    made.spend(0, S)
    assert (float(made.multipliers[0]), float(made.drift[0])) == (0.5, 1.0)


def test_on_plan_drift_and_spend_balance() -> None:
    """At the rate of the plan what opportunities lift, spending takes back."""
    made = pacer(eta=0.001)
    solve(made, MONDAY_NS, 1000 * S)
    for _ in range(100):
        made.multipliers[0] *= made.drift[0]
        made.spend(0, S)
    assert float(made.multipliers[0]) == pytest.approx(0.5, rel=0.01)


def test_behind_the_plan_lifts_faster_than_ahead_of_it() -> None:
    drifts = []
    for spent in (0, 25, 50, 75, 100):
        made = pacer()
        solve(made, MONDAY_NS + WEEK_NS // 2, 100, spent)
        drifts.append(float(made.drift[0]))
    assert drifts == sorted(drifts, reverse=True)
    assert drifts[0] > drifts[-1] == 1.0


def test_the_last_instant_of_a_flight_lifts_by_a_bounded_rate() -> None:
    made = pacer(eta=0.01)
    solve(made, MONDAY_NS + WEEK_NS, 100)
    assert float(made.drift[0]) == pytest.approx(math.exp(0.04))


def test_overspend_does_not_turn_the_drift_around() -> None:
    made = pacer()
    solve(made, MONDAY_NS + HOUR_NS, 100, 150)
    assert float(made.drift[0]) == 1.0


# -- what is learned ------------------------------------------------------------------------------------------


def test_a_bid_that_costs_what_was_expected_moves_nothing_at_its_result() -> None:
    """It moved the multiplier when it was made: 0.3 of a bid is expected to be spent before any has ended."""
    made = ready(eta=0.001)
    charged(made.rows[0], S // 100)
    lowered = float(made.multipliers[0])
    assert lowered == pytest.approx(0.5 * math.exp(-0.001 * 1000 * 0.003))
    made.spend(0, 3 * S // 1000)
    made.release(money(0))
    assert float(made.multipliers[0]) == pytest.approx(lowered, rel=1e-12)


def test_a_bid_that_lost_or_ended_gives_back_what_it_was_charged() -> None:
    made = ready()
    charged(made.rows[0], S // 100)
    made.release(money(0))
    assert float(made.multipliers[0]) == pytest.approx(0.5, rel=1e-12)
    assert float(made.rows[0, G_CHARGED]) == 0.0


def test_what_bids_under_way_will_cost_is_not_spent_again() -> None:
    """At half of the plan a tenth is spent; bids hold the whole rest, and 3 tenths of that will be spent."""
    made = pacer(eta=0.001)
    solve(made, MONDAY_NS + WEEK_NS // 2, 1_000, 100, 900, 1_000)
    assert math.log(made.drift[0]) / 0.001 == pytest.approx((0.9 - 0.3 * 0.9) / 0.5, rel=0.01)


def test_the_share_of_bids_that_is_spent_is_learned() -> None:
    """Bids of 5 a turn cost 1: after a thousand turns that counts, and 200 at 0.3."""
    made = ready(eta=0.001)
    offered = spent = 0
    for number in range(1_000):
        made.seen[0] += 1
        offered, spent = offered + 5, spent + 1
        solve(made, MONDAY_NS + number, 10**6, spent, 0, offered)
    ratio = made.rows[0, G_PULL] / made.rows[0, G_UNIT]
    assert ratio == pytest.approx((1_000 * 0.2 + 200 * 0.3) / 1_200, rel=0.01)


def test_steps_times_the_delay_of_results_are_bounded() -> None:
    """Of 1,000 bids of 5, 500 are under way: a step of more than a thousandth would be too much."""
    made = ready(eta=0.01)
    made.seen[0] = 1_000
    solve(made, MONDAY_NS, 10**9, 0, 2_500, 5_000)
    assert math.log(made.drift[0]) == pytest.approx(0.001, rel=0.01)


def test_first_steps_are_larger_and_shrink() -> None:
    made = pacer(eta=0.001, first_eta=0.015)
    steps = []
    for seen in (0, 300, 2_700):
        made.seen[0] = seen
        solve(made, MONDAY_NS, S)
        steps.append(math.log(made.drift[0]))
    assert steps == pytest.approx([0.016, 0.0085, 0.0025])


def short(held: float, over: float = 0.1) -> Pacer:
    """A hundred opportunities bid 5 each of a budget of 1,000; spends of 2; a share is held of the 800 left."""
    made = ready(eta=0.001)
    for _ in range(100):
        made.spend(0, 2)
    made.seen[0] = 100
    solve(made, MONDAY_NS + round(over * WEEK_NS), 1_000, 200, round(held * 800), 1_000)
    return made


def test_a_least_bid_rises_as_money_gets_short() -> None:
    """Nothing up to three tenths held; half of the money free and half held: 0.3 of a spend x 0.2 / 0.5."""
    least = [float(short(held).rows[0, G_LEAST]) for held in (0.0, 0.3, 0.5, 0.8, 0.95)]
    assert least[:2] == [0.0, 0.0]
    assert least[2] == pytest.approx(0.3 * 2 * 0.2 / 0.5)
    assert least[2] < least[3] < least[4]


def test_the_plan_asks_for_no_more_than_held_money_can_buy() -> None:
    """All is held by bids of 10 a turn, 80 turns long: in 80 turns at most what they come to spend."""
    made = short(1.0, 0.8)
    ratio = made.rows[0, G_PULL] / made.rows[0, G_UNIT]
    step = float(made.rows[0, G_UNIT]) * 1_000 / float(made.rows[0, G_TRAFFIC])
    most = 0.7 * ratio * 0.8 * made.rows[0, G_TRAFFIC] / 80
    assert math.log(made.drift[0]) / step == pytest.approx(most)
    assert most < (0.8 - ratio * 0.8) / 0.2


def traffic(gaps: list[float]) -> float:
    """Opportunities of a whole plan of 100,000 after gaps of so many mean distances."""
    made = pacer(weekly_opportunities=100_000.0)
    solve(made, MONDAY_NS, S)
    at = 0.0
    for gap in gaps:
        at += gap
        made.seen[0] += 1
        solve(made, MONDAY_NS + round(at * WEEK_NS / 100_000), S)
    return float(made.rows[0, G_TRAFFIC])


def test_the_rate_of_traffic_follows_a_change_within_some_thousand_opportunities() -> None:
    assert traffic([1.0] * 3_000) == pytest.approx(100_000, rel=1e-3)
    assert traffic([1.0] * 3_000 + [0.5] * 6_000) == pytest.approx(200_000, rel=0.06)


def test_an_outage_is_no_rate_of_traffic() -> None:
    """Without the bound a gap of 20,000 distances would make a tenth of it."""
    assert traffic([1.0] * 3_000 + [20_000.0]) > 85_000


def test_ticks_without_opportunities_change_no_rate() -> None:
    one, two = traffic([1.0] * 500), pacer(weekly_opportunities=100_000.0)
    solve(two, MONDAY_NS, S)
    for number in range(1, 501):
        for part in (0.25, 0.5, 0.75):
            solve(two, MONDAY_NS + round((number - 1 + part) * WEEK_NS / 100_000), S)
        two.seen[0] += 1
        solve(two, MONDAY_NS + round(number * WEEK_NS / 100_000), S)
    assert float(two.rows[0, G_TRAFFIC]) == pytest.approx(one, rel=1e-9)


def test_a_fixed_target_is_the_budget_over_the_foreseen_traffic() -> None:
    """Nothing that was learned moves it, nor what is left, nor bids under way."""
    made = pacer(eta=0.001, first_eta=0.015, target="fixed")
    made.seen[0] = 700
    solve(made, MONDAY_NS + WEEK_NS // 2, 1_000, 900, 50, 5_000)
    charged(made.rows[0], 50)
    assert math.log(made.drift[0]) == pytest.approx(0.001)
    assert float(made.multipliers[0]) == 0.5
    made.spend(0, 10)
    assert float(made.multipliers[0]) == pytest.approx(0.5 * math.exp(-0.001 * 10 * 1_000 / 1_000))


@given(st.floats(-3.0, 3.0))
def test_powers_of_e_are_to_the_rounding(x: float) -> None:
    assert power_of_e(x) == pytest.approx(math.exp(x), rel=5e-16)


@given(st.lists(st.tuples(*[st.integers(0, 10 * S)] * 4, st.integers(0, 2 * WEEK_NS)), max_size=20))
def test_whatever_books_say_the_multiplier_stays_in_0_to_1(
    ticks: list[tuple[int, int, int, int, int]],
) -> None:
    made = pacer(first_eta=0.1)
    for spent, reserved, offered, budget, offset in ticks:
        made.seen[0] += offset % 7
        solve(made, MONDAY_NS + offset, budget, spent, reserved, offered)
        charged(made.rows[0], reserved)
        made.spend(0, spent)
        made.release(money(spent))
        assert 0.0 < made.multipliers[0] <= 1.0
        assert np.isfinite(made.rows).all()


# -- what goes on in a new table ------------------------------------------------------------------------------


def test_what_was_learned_moves_to_new_rows() -> None:
    old = pacer(week("a"), week("b"))
    old.multipliers[:] = (0.25, 0.75)
    old.seen[:] = (3, 4)
    new = pacer(week("0"), week("a"), week("c"))
    new.adopt(old)
    assert new.multipliers.tolist() == [0.5, 0.25, 0.5]
    assert new.seen.tolist() == [0, 3, 0]


def test_who_is_paced_no_more_starts_anew() -> None:
    """The line items that are paced and those that are not do not share a multiplier, whatever budget they share."""
    old, new = pacer(week("a")), pacer(week("a", pacing=Pacing.ASAP))
    old.multipliers[:] = 0.25
    new.adopt(old)
    assert new.multipliers.tolist() == [1.0]


# -- budgets on a small market --------------------------------------------------------------------------------

OPPORTUNITIES = 6_000
FLIGHT_NS = 24 * HOUR_NS
TICKS = 200
BUDGET = 300_000_000


def market(seats: int, start: float, **changes: Any) -> tuple[list[Engine], int]:
    """Engines of some seats, and a budget for a tenth of what full value buys: a multiplier of about 0.2."""
    budget = BUDGET
    one = campaign(
        start_ns=MONDAY_NS, end_ns=MONDAY_NS + FLIGHT_NS, budget_nanos=budget, value_nanos=2 * S, **changes
    )
    pacing = PacingSettings(eta=0.003, start=start, weekly_opportunities=7.0 * OPPORTUNITIES / seats)
    engines = []
    for seat in range(seats):
        settings = EngineSettings(pacing=pacing, external_scores=True, seat=f"seat-{seat}")
        engines.append(Engine(settings, make.KEY, None, make.START))
        engines[-1].adopt_campaigns({"c1": one}, 1, MONDAY_NS)
    return engines, budget


def top_up(engine: Engine, engines: list[Engine], budget: int, spent: int, now_ns: int) -> None:
    """Leases one more chunk where little is left of the last, as a bank does, and lets time pass."""
    room = budget - spent - sum(int(each.wallet.purse.available[0]) for each in engines)
    chunk = min(room, max(room // (4 * len(engines)), 10_000_000))
    few = int(engine.wallet.purse.available[0]) * 2 < chunk
    told = make.lease(
        seat=engine.settings.seat,
        granted_nanos=engine.wallet.purse.granted(0) + (chunk if few else 0),
        budget_nanos=budget,
        spent_nanos=spent,
        seats=len(engines),
    )
    engine.adopt_leases([told], now_ns)
    engine.tick(now_ns)


def run(engines: list[Engine], budget: int, seed: int = 5) -> tuple[int, list[int]]:
    """Second-price auctions against seeded rivals; returns what was spent in all, and by quarters of the flight."""
    random = np.random.default_rng(seed)
    rivals = (random.gamma(2.0, 300_000.0, OPPORTUNITIES) + 50_000).astype(np.int64)
    scores = random.gamma(2.0, 0.0003, OPPORTUNITIES)
    spent, quarters = 0, [0, 0, 0, 0]
    for number in range(OPPORTUNITIES):
        now_ns = MONDAY_NS + FLIGHT_NS * number // OPPORTUNITIES
        if number % (OPPORTUNITIES // TICKS) == 0:
            for engine in engines:
                top_up(engine, engines, budget, spent, now_ns)
        engine = engines[number % len(engines)]
        offer = make.Offer(id=f"r{number}", external=("c1", float(scores[number])))
        (row,) = make.decide(engine, make.body(offer), now_ns=now_ns)
        if row["reason"] != 0:
            continue
        won = row["bid_cpm_micros"] > rivals[number]
        # Prices are scaled so that a few thousand impressions spend the budget.
        kind, amount = (SettlementKind.POSTED, int(rivals[number])) if won else (SettlementKind.VOIDED, 0)
        engine.settle([make.settlement(kind, row["bid_id"], amount, seat=engine.settings.seat)], now_ns)
        spent += amount
        quarters[4 * number // OPPORTUNITIES] += amount
    return spent, quarters


@pytest.mark.parametrize("start", [0.05, 0.2, 0.8])
@pytest.mark.parametrize("seats", [1, 2])
def test_a_binding_budget_is_spent_and_never_passed(seats: int, start: float) -> None:
    engines, budget = market(seats, start)
    spent, _ = run(engines, budget)
    assert 0.97 * budget <= spent <= budget


@pytest.mark.parametrize("seats", [1, 2])
def test_even_pacing_spreads_the_budget_over_the_flight(seats: int) -> None:
    engines, budget = market(seats, 0.3)
    _, quarters = run(engines, budget)
    assert all(0.18 <= quarter / budget <= 0.32 for quarter in quarters)


def test_asap_spends_as_early_as_it_can() -> None:
    engines, budget = market(1, 1.0, pacing=Pacing.ASAP)
    spent, quarters = run(engines, budget)
    assert 0.97 * budget <= spent <= budget
    assert quarters[0] > 0.9 * budget
