"""What is allowed in a sheet and is likely not meant."""

import msgspec
import pytest

from bidder.core.campaigns import Advertiser, Budgets, Campaign, Flight, LineItem, Rule, Targeting
from bidder.store.sheet_warnings import warnings_of
from tests.support.banking import campaign

UNIT = 10**9
DAY_NS = 86_400 * UNIT
OWN = msgspec.structs.replace(campaign("c"), start_ns=DAY_NS, end_ns=10 * DAY_NS, budget_nanos=500 * UNIT)


def said_of(now_ns: int = 2 * DAY_NS, **changes: object) -> list[str]:
    return warnings_of([msgspec.structs.replace(OWN, **changes)], [], now_ns)


def near(places: str) -> Targeting:
    return Targeting(geo=Rule(include=tuple(places.split())))


def test_nothing_is_said_of_a_sheet_that_is_meant() -> None:
    item = LineItem(
        id="i",
        budgets=Budgets(lifetime_nanos=100 * UNIT, daily_nanos=10 * UNIT),
        flights=(Flight(start_ns=DAY_NS, end_ns=3 * DAY_NS),),
    )
    advertiser = Advertiser(id="a", budgets=Budgets(lifetime_impressions=5, daily_impressions=5))
    places = near("DEU CA USA-NY FRA-75 216 BY-1")
    own = msgspec.structs.replace(
        OWN, line_items=(item,), targeting=places, budgets=Budgets(daily_nanos=500 * UNIT)
    )
    assert warnings_of([own], [advertiser], 2 * DAY_NS) == []


@pytest.mark.parametrize(("now_ns", "number"), [(10 * DAY_NS - 1, 0), (10 * DAY_NS, 1)])
def test_a_flight_that_is_over_is_told_from_its_end_on(now_ns: int, number: int) -> None:
    assert (
        said_of(now_ns)
        == ["campaign c: its flight is over since 1970-01-11T00:00:00Z, so it cannot bid"][:number]
    )


def test_line_items_whose_flights_are_over_are_told_while_their_campaign_goes_on() -> None:
    flights = (Flight(start_ns=DAY_NS, end_ns=2 * DAY_NS),)
    items = (LineItem(id="i", flights=flights), LineItem(id="j"))
    assert said_of(2 * DAY_NS, line_items=items) == [
        "line item i: its flights are over since 1970-01-03T00:00:00Z, so it cannot bid"
    ]
    assert len(said_of(10 * DAY_NS, line_items=items)) == 1


def test_a_limit_of_a_day_above_the_whole_is_told_at_each_level() -> None:
    more = Budgets(daily_nanos=600 * UNIT)
    item = LineItem(id="i", budgets=Budgets(lifetime_nanos=100 * UNIT, daily_nanos=101 * UNIT))
    advertiser = Advertiser(
        id="a", budgets=Budgets(daily_nanos=1, lifetime_impressions=10, daily_impressions=11)
    )
    own: Campaign = msgspec.structs.replace(OWN, budgets=more, line_items=(item,))
    assert warnings_of([own], [advertiser], 2 * DAY_NS) == [
        "advertiser a: daily_impressions 11 is above impressions 10, so it limits nothing",
        "campaign c: daily_budget 600 is above the budget of 500 for all days, so it limits nothing",
        "line item i: daily_budget 101 is above the budget of 100 for all days, so it limits nothing",
    ]


@pytest.mark.parametrize("place", ["GERMANY", "XX"])
def test_a_place_that_is_no_country_and_no_state_is_told(place: str) -> None:
    (said,) = said_of(targeting=near(f"USA {place}"))
    assert said.startswith(f"campaign c: geo {place} is neither a country's three letters nor a state")
    (said,) = said_of(line_items=(LineItem(id="i", targeting=near(place)),))
    assert said.startswith(f"line item i: geo {place}")
