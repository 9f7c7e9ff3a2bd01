"""Flights forecast on markets whose truth is known."""

import numpy as np
import pytest

from bidder.errors import InputError
from simulator.forecast.backtest import backtest
from simulator.forecast.flight import Flight, Forecast, Grouping, forecast, verdict_of
from tests.support.weeks import DAY_NS, Weeks

PAST, DAYS = 14, 7


def asked(weeks: Weeks, factors: tuple[float, ...]) -> tuple[Forecast, list[int]]:
    budgets = [int(weeks.log.paid_nanos.sum() * DAYS / 21 * factor) for factor in factors]
    flight = Flight(
        PAST * DAY_NS, (PAST + DAYS) * DAY_NS, tuple(budgets), (weeks.world.controller.cap_nanos,)
    )
    past = weeks.log.take(slice(0, weeks.cut(PAST)))
    return forecast(past, flight, weeks.world.controller, seed=1, draws=20), budgets


@pytest.mark.parametrize("recipe", ["second", "first"])
def test_intervals_hold_what_a_flight_really_brings(recipe: str) -> None:
    inside: dict[str, int] = {"opportunities": 0, "impressions": 0, "clicks": 0, "value_nanos": 0}
    seeds = range(4)
    for seed in seeds:
        weeks = Weeks(seed, recipe=recipe)
        found, budgets = asked(weeks, (1.0, 2.0))
        came = weeks.log.opportunities - weeks.cut(PAST)
        inside["opportunities"] += 2 * (found.opportunities.low <= came <= found.opportunities.high)
        for delivery, budget in zip(found.deliveries, budgets, strict=True):
            rows = np.arange(weeks.cut(PAST), weeks.log.opportunities)
            truth = weeks.truth(rows, budget)
            assert delivery.spend_nanos.point == pytest.approx(truth.spend_nanos, rel=0.03)
            for name in ("impressions", "clicks", "value_nanos"):
                said = getattr(delivery, name)
                inside[name] += said.low * 0.99 <= getattr(truth, name) <= said.high * 1.01
    # Eight each; with 20 courses an interval holds nine of ten.
    assert all(many >= 5 for many in inside.values()), inside


def test_a_budget_beyond_what_the_traffic_costs_is_at_risk() -> None:
    found, budgets = asked(Weeks(3), (0.5, 100.0))
    likely, risky = found.deliveries
    assert (likely.verdict, risky.verdict) == ("likely", "at risk")
    assert likely.spent >= 0.9
    assert risky.spent == 0.0
    assert risky.spend_nanos.high < budgets[1]


def test_a_figure_is_the_median_of_the_simulated_flights_and_lies_within_its_interval() -> None:
    weeks = Weeks(6)
    past = weeks.log.take(slice(0, weeks.cut(PAST)))
    flight = Flight(PAST * DAY_NS, (PAST + 2) * DAY_NS, (10**8, 10**15), (weeks.world.controller.cap_nanos,))
    found = forecast(past, flight, weeks.world.controller, seed=3, draws=11)
    assert found.draws == 11
    for delivery in found.deliveries:
        for name in (
            "spend_nanos",
            "impressions",
            "clicks",
            "conversions",
            "value_nanos",
            "users",
            "frequency",
        ):
            said = getattr(delivery, name)
            assert said.low <= said.point <= said.high, name
    # A whole number of turns that stand for one each: the median of an odd number of flights is one of them.
    assert found.deliveries[0].impressions.point.is_integer()
    alone = forecast(past, flight, weeks.world.controller, seed=3, draws=0)
    assert alone.deliveries[0].clicks.low == alone.deliveries[0].clicks.point


def test_a_verdict_is_of_the_share_of_simulated_flights() -> None:
    assert [verdict_of(share) for share in (1.0, 0.9, 0.89, 0.5, 0.49, 0.0)] == [
        "likely", "likely", "in doubt", "in doubt", "at risk", "at risk"
    ]  # fmt: skip


def test_a_lower_highest_bid_wins_less() -> None:
    weeks = Weeks(2)
    cap = weeks.world.controller.cap_nanos
    flight = Flight(PAST * DAY_NS, (PAST + DAYS) * DAY_NS, (10**15,), (cap // 200, cap))
    past = weeks.log.take(slice(0, weeks.cut(PAST)))
    low, high = forecast(past, flight, weeks.world.controller, seed=1, draws=10).deliveries
    assert low.impressions.point < high.impressions.point
    assert low.spend_nanos.point / low.impressions.point <= cap / 200


def test_the_win_rate_rises_with_the_bid() -> None:
    found, _ = asked(Weeks(1), (1.0,))
    won = [point.won.point for point in found.curve]
    assert won == sorted(won)
    assert all(point.won.low <= point.won.high for point in found.curve)
    assert won[-1] > 0.9


def test_groups_add_up_to_all() -> None:
    weeks = Weeks(4)
    past = weeks.log.take(slice(0, weeks.cut(PAST)))
    codes = (np.arange(past.opportunities) % 3).astype(np.int64)
    flight = Flight(PAST * DAY_NS, (PAST + 2) * DAY_NS, (10**9,), (weeks.world.controller.cap_nanos,))
    found = forecast(
        past, flight, weeks.world.controller, seed=1, draws=10, by=Grouping(codes, ("a", "b", "c"))
    )
    (delivery,) = found.deliveries
    assert set(delivery.by) == {"a", "b", "c"}
    assert sum(spend for spend, _ in delivery.by.values()) == pytest.approx(
        delivery.spend_nanos.point, rel=1e-3
    )
    assert sum(wins for _, wins in delivery.by.values()) == pytest.approx(delivery.impressions.point)


def test_a_cap_takes_impressions_and_not_users() -> None:
    weeks = Weeks(5)
    past = weeks.log.take(slice(0, weeks.cut(PAST)))
    flight = Flight(PAST * DAY_NS, (PAST + DAYS) * DAY_NS, (10**15,), (weeks.world.controller.cap_nanos,))
    (free,), (capped,) = (
        forecast(past, flight._replace(cap=cap), weeks.world.controller, seed=1, draws=10).deliveries
        for cap in (0, 1)
    )
    assert free.users is not None
    assert capped.users is not None
    assert capped.users.point == free.users.point
    assert capped.frequency is not None
    assert capped.frequency.point == pytest.approx(1.0)
    assert 0 < capped.capped < 1


def test_a_backtest_says_what_came() -> None:
    weeks = Weeks(6)
    found = backtest(weeks.log, weeks.world.controller, 5.0, seed=1, draws=20)
    by_name = {row.name: row for row in found.rows}
    assert by_name["opportunities"].came == pytest.approx(weeks.log.opportunities - weeks.cut(16), abs=5)
    assert sum(row.inside for row in found.rows) >= len(found.rows) - 1


def test_the_same_seed_says_the_same() -> None:
    weeks = Weeks(7, auctions=20_000)
    one, two = (asked(weeks, (1.0,))[0] for _ in range(2))
    assert one.deliveries == two.deliveries
    assert one.curve == two.curve


def test_what_cannot_be_asked_is_an_error() -> None:
    weeks = Weeks(1, auctions=20_000)
    flight = Flight(21 * DAY_NS, 28 * DAY_NS, (10**9,), (10**8,))
    for wrong, said in (
        (flight._replace(end_ns=21 * DAY_NS), "after its start"),
        (flight._replace(start_ns=10 * DAY_NS), "--start must not be before the campaign's last bid"),
        (flight._replace(budgets_nanos=(0,)), "each budget must be above 0"),
        (flight._replace(max_bids_nanos=()), "each max bid must be above 0"),
    ):
        with pytest.raises(InputError, match=said):
            forecast(weeks.log, wrong, weeks.world.controller, seed=1)
    with pytest.raises(InputError, match="must hold opportunities"):
        forecast(weeks.log.take(slice(0, 0)), flight, weeks.world.controller, seed=1)
