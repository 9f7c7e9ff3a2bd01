"""Brakes: what stops bids at once, by hand and where money goes too fast."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec
import pytest

from bidder.core.brakes import Limits, Velocity, names_of
from bidder.core.campaigns import Advertiser, Budgets, Campaign, Flight, LineItem, Pacing, Rule, Targeting
from bidder.core.engine import Engine
from bidder.core.lines import Line, lines_of
from bidder.core.messages import ALL, Brake, Settlement, SettlementKind, Trip
from bidder.core.settings import BrakeSettings
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import Offer, S

MINUTE_NS = 60 * S
DAY_NS = 1_440 * MINUTE_NS
STOPPED = Reason.STOPPED
_versions = count(1)


def stop(name: str, **changes: Any) -> Brake:
    fields: dict[str, Any] = {"stopped": True, "at_ns": 0} | changes
    return Brake(version=next(_versions), name=name, **fields)


def reason(engine: Engine, request_id: str, now_ns: int = 0, campaign_id: str = "c1") -> int:
    (row,) = make.decide(
        engine, make.body(Offer(id=request_id, external=(campaign_id, 0.001))), now_ns=now_ns
    )
    return int(row["reason"])


def bid(engine: Engine, request_id: str, now_ns: int) -> dict[str, Any]:
    (row,) = make.decide(engine, make.body(Offer(id=request_id)), now_ns=now_ns)
    assert isinstance(row, dict)
    return row


# -- by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["all", "a/shop", "c/c1"])
def test_a_stop_holds_from_the_next_batch_on(name: str) -> None:
    engine = make.engine()
    assert reason(engine, "r1") == Reason.BID
    engine.brake([stop(name)], 0)
    assert reason(engine, "r2") == STOPPED
    engine.brake([stop(name, stopped=False)], 0)
    assert reason(engine, "r3") == Reason.BID


def test_a_line_item_is_stopped_alone() -> None:
    items = (LineItem(id="x"), LineItem(id="y"))
    engine = make.engine([make.campaign(line_items=items)])
    engine.brake([stop("l/x")], 0)
    assert reason(engine, "r1", campaign_id="x") == Reason.UNSCORED  # y is asked on, and has no score
    counts = engine.funnel.counts()
    assert (counts["x"].stages["stopped"], counts["y"].stages["stopped"]) == (1, 0)
    assert all(one.adds_up for one in counts.values())


@pytest.mark.parametrize("name", ["a/other", "c/c2", "l/c1"])
def test_a_stop_of_another_stops_nobody_else(name: str) -> None:
    engine = make.engine()
    engine.brake([stop(name)], 0)
    assert reason(engine, "r1") == Reason.BID


def test_a_stop_outlives_a_change_of_campaigns() -> None:
    engine = make.engine()
    engine.brake([stop("c/c1")], 0)
    engine.adopt_campaigns({"c1": make.campaign(name="other")}, 2, 0)
    assert reason(engine, "r1") == STOPPED


def test_a_stop_that_comes_before_its_campaign_holds() -> None:
    engine = make.engine([make.campaign("c2")], [make.lease(), make.lease("c2")])
    engine.brake([stop("c/c1")], 0)
    engine.adopt_campaigns({"c1": make.campaign()}, 2, 0)
    assert reason(engine, "r1") == STOPPED


def test_an_older_message_changes_nothing() -> None:
    engine = make.engine()
    old, new = stop("all", stopped=False), stop("all")
    engine.brake([new], 0)
    engine.brake([old], 0)
    assert reason(engine, "r1") == STOPPED


def test_a_stop_for_a_time_ends_by_itself() -> None:
    engine = make.engine()
    engine.brake([stop("all", until_ns=10 * S)], 0)
    assert [reason(engine, f"r{at}", at) for at in (10 * S - 1, 10 * S)] == [STOPPED, Reason.BID]


def test_a_persons_stop_is_told_before_a_breakers() -> None:
    engine = make.engine()
    engine.brake([stop("all", tripped=True, until_ns=10 * S), stop("c/c1")], 0)
    assert reason(engine, "r1") == STOPPED
    engine.brake([stop("c/c1", stopped=False)], 0)
    assert reason(engine, "r2") == Reason.TRIPPED


def test_test_traffic_is_stopped_too_and_not_counted() -> None:
    engine = make.engine()
    engine.brake([stop("all")], 0)
    (row,) = make.decide(engine, make.body(Offer(test=True)))
    assert row["reason"] == STOPPED
    assert engine.funnel.counts()["c1"].asked == 0


# -- limits -----------------------------------------------------------------------------------------------------


def lines(*campaigns: Campaign, advertisers: Sequence[Advertiser] = ()) -> tuple[Line, ...]:
    return lines_of({one.id: one for one in campaigns}, {one.id: one for one in advertisers})


def limit(name: str, *campaigns: Campaign, advertisers: Sequence[Advertiser] = (), **changes: Any) -> int:
    settings = BrakeSettings(**{"floor_bids": 1, **changes})
    return Limits(lines(*campaigns, advertisers=advertisers), settings).of(name)


def day(**changes: Any) -> Campaign:
    """Ten units in a flight of a day: a 144th of a unit a minute."""
    return make.campaign(**{"end_ns": DAY_NS, "budget_nanos": 1_440 * S, "max_bid_cpm_micros": 1, **changes})


def test_names_of_a_line_item_are_its_own_and_those_above() -> None:
    (alone,) = lines(make.campaign())
    assert names_of(alone) == ("c/c1", "a/shop", ALL)
    (item,) = lines(make.campaign(line_items=(LineItem(id="x"),)))
    assert names_of(item) == ("l/x", "c/c1", "a/shop", ALL)


def test_a_limit_is_a_multiple_of_the_even_rate() -> None:
    assert limit("c/c1", day()) == 10 * S
    assert limit("c/c1", day(), factor=3) == 3 * S
    assert limit("c/c1", day(), factor=0) == 0


def test_a_budget_of_a_day_comes_before_that_of_the_flight() -> None:
    assert limit("c/c1", day(budgets=Budgets(daily_nanos=2_880 * S))) == 20 * S


def test_tiny_budgets_have_the_floor() -> None:
    assert limit("c/c1", day(max_bid_cpm_micros=7 * S), floor_bids=5) == 35 * S


def test_what_is_stated_holds_below_the_floor_too() -> None:
    assert limit("c/c1", day(max_bid_cpm_micros=7 * S, max_nanos_per_minute=3), floor_bids=5) == 3


def test_who_buys_as_fast_as_possible_has_only_a_limit_that_is_stated() -> None:
    assert limit("c/c1", day(pacing=Pacing.ASAP)) == 0
    assert limit("c/c1", day(pacing=Pacing.ASAP, max_nanos_per_minute=4)) == 4


def test_hours_that_targeting_closes_make_the_even_rate_higher() -> None:
    """Six hours of each day: four times the rate."""
    hours = tuple(str(24 * weekday + hour) for weekday in range(7) for hour in range(6))
    open_some = Targeting(hour=Rule(hours, ()))
    assert limit("c/c1", day(targeting=open_some)) == 40 * S
    daily = Budgets(daily_nanos=1_440 * S)
    assert limit("c/c1", day(targeting=open_some, budgets=daily)) == 40 * S
    assert limit("c/c1", day(targeting=Targeting(hour=Rule((), hours)))) == 10 * -(-4 * S // 3)


def test_line_items_and_advertisers_have_limits_of_their_own() -> None:
    own = LineItem(
        id="x",
        budgets=Budgets(lifetime_nanos=60 * S),
        flights=(Flight(start_ns=0, end_ns=60 * MINUTE_NS),),
    )
    campaign = day(line_items=(own, LineItem(id="y", max_nanos_per_minute=9), LineItem(id="z")))
    assert [limit(f"l/{name}", campaign) for name in "xyz"] == [10 * S, 9, 0]
    of_a_day = Advertiser(id="shop", budgets=Budgets(daily_nanos=1_440 * S))
    assert limit("a/shop", campaign, advertisers=[of_a_day]) == 10 * S
    stated = Advertiser(id="shop", max_nanos_per_minute=8)
    assert limit("a/shop", campaign, advertisers=[stated]) == 8
    assert limit("a/shop", campaign) == 0
    assert limit(ALL, campaign, max_nanos_per_minute=11) == 11


# -- flow -------------------------------------------------------------------------------------------------------


def over(velocity: Velocity, at_ns: int, most: int = 100) -> list[Trip]:
    return velocity.over(Limits(lines(make.campaign(max_nanos_per_minute=most)), BrakeSettings()), at_ns)


def test_a_flow_above_its_limit_trips_once_it_is_looked_at() -> None:
    velocity = Velocity(BrakeSettings(reset_seconds=5))
    velocity.spend(("c/c1",), 101, 7 * S)
    assert over(velocity, 8 * S) == [Trip("c/c1", 8 * S, 13 * S, 101, 100)]
    assert over(velocity, 8 * S) == []  # of nothing new


def test_at_its_limit_nothing_trips() -> None:
    velocity = Velocity(BrakeSettings())
    velocity.spend(("c/c1",), 100, 0)
    assert over(velocity, S) == []


@pytest.mark.parametrize(("second", "trips"), [(59, 1), (60, 0)])
def test_a_flow_is_that_of_the_last_minute(second: int, trips: int) -> None:
    velocity = Velocity(BrakeSettings())
    velocity.spend(("c/c1",), 60, 0)
    velocity.spend(("c/c1",), 60, second * S)
    assert len(over(velocity, second * S + 1)) == trips


def test_of_what_is_set_aside_a_share_counts() -> None:
    velocity = Velocity(BrakeSettings(reserved_ppm=250_000))
    velocity.reserve(("c/c1",), 400, 0)
    assert over(velocity, S) == []
    velocity.reserve(("c/c1",), 1, 0)
    (trip,) = over(velocity, S)
    assert trip.nanos == 101  # rounded up


def test_what_is_told_late_is_no_rush() -> None:
    velocity = Velocity(BrakeSettings())
    for minute in range(10):
        velocity.spend(("c/c1",), 90, minute * MINUTE_NS)
    assert over(velocity, 9 * MINUTE_NS) == []


# -- a price that runs away ---------------------------------------------------------------------------------------


def runaway(engine: Engine, begin_ns: int, seconds: int, step_ns: int) -> list[tuple[int, dict[str, Any]]]:
    """Every request is bid on at the most, every bid wins and is billed at once; (time, row) of each request."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for number in range(seconds * S // step_ns):
        at_ns = begin_ns + number * step_ns
        row = bid(engine, f"{begin_ns}-{number}", at_ns)
        rows.append((at_ns, row))
        if row["reason"] == Reason.BID:
            booked = Settlement(
                kind=SettlementKind.POSTED,
                seat=make.SEAT,
                epoch=1,
                bid_id=row["bid_id"],
                campaign_id="c1",
                amount_nanos=row["bid_cpm_micros"],
                late=False,
                bid_at_ns=at_ns,
            )
            engine.settle([booked], at_ns)
        engine.tick(at_ns)
    return rows


def fast(**changes: Any) -> Engine:
    """A budget of 1,440 units a day, so one a minute; each bid costs a tenth of a unit."""
    own = day(max_bid_cpm_micros=S // 10, value_nanos=10_000 * S, **changes)
    settings = msgspec.structs.replace(
        make.SETTINGS, brakes=BrakeSettings(factor=2, floor_bids=1, reset_seconds=120)
    )
    lease = make.lease(granted_nanos=1_440 * S, budget_nanos=1_440 * S)
    return make.engine([own], [lease], settings=settings)


def test_a_price_that_runs_away_is_cut_within_a_second() -> None:
    """A hundred bids a second, all of which win at the most: two units are allowed in a minute."""
    engine = fast()
    rows = runaway(engine, 0, 30, S // 100)
    bids = [at_ns for at_ns, row in rows if row["reason"] == Reason.BID]
    assert bids[-1] < 1 * S
    # The limit, a tenth of which was what is set aside, and the bid that passed it.
    assert 2 * S * 10 // 11 <= len(bids) * (S // 10) <= 2 * S + S // 10
    assert {row["reason"] for at_ns, row in rows if at_ns > bids[-1]} == {Reason.TRIPPED}
    assert engine.brakes.trips == 1
    assert engine.funnel.counts()["c1"].adds_up


def test_without_a_breaker_it_runs_on() -> None:
    """Guards the test above."""
    engine = fast(pacing=Pacing.ASAP)
    assert all(row["reason"] == Reason.BID for _, row in runaway(engine, 0, 30, S // 100))


def test_the_breaker_resets_itself_and_trips_again() -> None:
    engine = fast()
    runaway(engine, 0, 1, S // 100)
    assert reason(engine, "later", 119 * S) == Reason.TRIPPED
    assert reason(engine, "free", 121 * S) == Reason.BID
    runaway(engine, 122 * S, 1, S // 100)
    assert engine.brakes.trips == 2


def test_letting_go_ends_a_trip_and_begins_anew() -> None:
    engine = fast()
    runaway(engine, 0, 1, S // 100)
    engine.brake([stop("c/c1", stopped=False)], 2 * S)
    assert [reason(engine, f"go{n}", (3 + n) * S) for n in range(3)] == [Reason.BID] * 3
    runaway(engine, 7 * S, 1, S // 100)
    assert engine.brakes.trips == 2


def test_an_even_spend_does_not_trip() -> None:
    """A bid each six seconds is the even rate."""
    engine = fast()
    rows = runaway(engine, 0, 3_600, 6 * S)
    assert {row["reason"] for _, row in rows} == {Reason.BID}


def test_a_seat_tells_of_its_trips_until_it_hears_of_them() -> None:
    engine = fast()
    runaway(engine, 0, 1, S // 100)
    (trip,) = engine.tick(2 * S).trips
    assert (trip.name, trip.limit) == ("c/c1", 2 * S)
    assert engine.tick(3 * S).trips == (trip,)
    engine.brake([stop("c/c1", tripped=True, until_ns=trip.until_ns)], 3 * S)
    assert engine.tick(4 * S).trips == ()
    assert reason(engine, "after", 4 * S) == Reason.TRIPPED


def test_where_requests_of_one_time_are_split_changes_nothing() -> None:
    """Though the first twenty of them pass the limit: time has not moved on."""
    bodies = [make.body(Offer(id=f"r{number}")) for number in range(300)]
    whole, parts = fast(), fast()
    one = make.decide(whole, *bodies, now_ns=5)
    assert one == [row for body in bodies for row in make.decide(parts, body, now_ns=5)]
    assert {row["reason"] for row in one} == {Reason.BID}
    assert reason(whole, "next", 6) == reason(parts, "next", 6) == Reason.TRIPPED


def test_a_trip_lasts_no_longer_than_was_said() -> None:
    engine = fast()
    runaway(engine, 0, 1, S // 100)
    (trip,) = engine.tick(2 * S).trips
    assert engine.tick(trip.until_ns).trips == ()
