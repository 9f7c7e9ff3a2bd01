"""Budgets as accounts: their names, limits and times, and which of them a bid charges."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bidder.core.budgets import FOREVER_NS, Budget, Day, Unit, accounts_of, day_of, zone_is_known
from bidder.core.campaigns import Flight
from bidder.core.messages import ONE_IMPRESSION
from bidder.zones import local_day, zone_offsets
from tests.support.banking import S, advertiser, campaign, item

MONEY, IMPRESSIONS = Unit.MONEY, Unit.IMPRESSIONS
DAY = 86_400 * S
NOON = 20_780 * DAY + DAY // 2
FLIGHT = (0, 1_000_000 * S)
EVERYTHING = {
    "lifetime_nanos": 1,
    "lifetime_impressions": 2,
    "daily_nanos": 3,
    "daily_impressions": 4,
}


def at(zone: str, *parts: int) -> int:
    """The instant of a local time, ns."""
    return int(datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp()) * S


def names(budgets: tuple[Budget, ...]) -> list[str]:
    return [budget.account_id for budget in budgets]


def test_the_money_of_a_flight_is_an_account_of_the_campaigns_id() -> None:
    assert accounts_of(campaign(), None, advertiser(), NOON) == (
        Budget("c1", MONEY, 100 * S, *FLIGHT, "acme"),
    )


def test_each_level_has_four_accounts_and_the_flights_is_the_first() -> None:
    shoes = item("shoes-1", **EVERYTHING)
    accounts = accounts_of(campaign(line_items=(shoes,), **EVERYTHING), shoes, advertiser(**EVERYTHING), NOON)
    assert names(accounts) == [
        "c1",
        "a/acme/money",
        "a/acme/imps",
        "c/c1/money",
        "c/c1/imps",
        "l/shoes-1/money",
        "l/shoes-1/imps",
        "a/acme/money/d20780",
        "a/acme/imps/d20780",
        "c/c1/money/d20780",
        "c/c1/imps/d20780",
        "l/shoes-1/money/d20780",
        "l/shoes-1/imps/d20780",
    ]


def test_impressions_are_limited_in_millionths() -> None:
    _, money, imps, *_ = accounts_of(campaign(**EVERYTHING), None, advertiser(), NOON)
    assert (money.unit, money.limit) == (MONEY, 1)
    assert (imps.unit, imps.limit) == (IMPRESSIONS, 2 * ONE_IMPRESSION)


def test_a_campaign_without_line_items_has_no_account_of_one() -> None:
    accounts = accounts_of(campaign(daily_nanos=5), None, advertiser(), NOON)
    assert names(accounts) == ["c1", "c/c1/money/d20780"]


def test_a_day_lasts_from_local_midnight_to_local_midnight() -> None:
    berlin = advertiser(time_zone="Europe/Berlin", daily_nanos=7)
    (_, daily) = accounts_of(campaign(), None, berlin, at("Europe/Berlin", 2026, 11, 22, 0, 30))
    assert daily == Budget(
        "a/acme/money/d20779",
        MONEY,
        7,
        at("Europe/Berlin", 2026, 11, 22, 0, 0),
        at("Europe/Berlin", 2026, 11, 23, 0, 0),
        "acme",
    )


def test_an_advertisers_lifetime_has_no_end() -> None:
    (_, lifetime) = accounts_of(campaign(), None, advertiser(lifetime_nanos=9), NOON)
    assert (lifetime.begin_ns, lifetime.end_ns) == (0, FOREVER_NS)


def test_a_line_items_lifetime_is_from_its_first_flight_to_its_last_within_the_campaigns() -> None:
    flights = (Flight(start_ns=50, end_ns=60), Flight(start_ns=5, end_ns=10**18))
    shoes = item("shoes-1", lifetime_nanos=9, flights=flights)
    (_, lifetime) = accounts_of(campaign(line_items=(shoes,)), shoes, advertiser(), NOON)
    assert (lifetime.begin_ns, lifetime.end_ns) == (5, FLIGHT[1])


@pytest.mark.parametrize(("parts", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_a_day_on_which_the_clock_changes_is_an_hour_shorter_or_longer(
    parts: tuple[int, int, int], hours: int
) -> None:
    day = day_of("Europe/Berlin", at("Europe/Berlin", *parts, 12, 0))
    assert (day.end_ns - day.begin_ns) == hours * 3_600 * S
    assert day.begin_ns == at("Europe/Berlin", *parts, 0, 0)


def test_a_day_that_a_zone_left_out_is_left_out() -> None:
    """Samoa went from 2011-12-29 to 2011-12-31."""
    before = day_of("Pacific/Apia", at("Pacific/Apia", 2011, 12, 29, 12, 0))
    after = day_of("Pacific/Apia", before.end_ns)
    assert after.number - before.number == 2
    assert after.begin_ns == before.end_ns


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_days_follow_each_other_without_a_gap_and_are_those_of_the_zone(zone: str) -> None:
    first_ns = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * S
    arrays = zone_offsets(zone, first_ns, first_ns + 400 * DAY)
    day = day_of(zone, first_ns)
    for _ in range(400):
        for at_ns in (max(day.begin_ns, first_ns), day.end_ns - 1):
            assert day_of(zone, at_ns) == day
            assert local_day(arrays, at_ns) == day.number
        following = day_of(zone, day.end_ns)
        assert (following.number, following.begin_ns) == (day.number + 1, day.end_ns)
        day = following


def test_the_first_and_the_last_instants_have_a_day() -> None:
    assert day_of("UTC", 0) == Day(0, 0, DAY)
    assert day_of("Asia/Tokyo", FOREVER_NS).begin_ns <= FOREVER_NS


def test_a_zone_that_there_is_not_is_known_to_be_none_and_counts_as_utc() -> None:
    assert not zone_is_known(advertiser(time_zone="Mars/Olympus"))
    assert zone_is_known(advertiser(time_zone="Europe/Berlin"))
    assert day_of("Mars/Olympus", NOON) == day_of("UTC", NOON)
