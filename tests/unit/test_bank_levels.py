"""The bank's budgets at several levels, exposures and counts of creatives, one fact a test."""

from typing import Any

import msgspec
import pytest

from bidder.core.bank import AccountReport, Bank, CampaignReport, LineItemReport
from bidder.core.bankrules import BankRules
from bidder.core.bookings import AccountRow, BankState, CreativeRow, GrantRow, RefusalRow, TallyRow
from bidder.core.campaigns import Campaign, Flight, Status
from bidder.core.effects import Effects
from bidder.core.exposures import Exposure
from bidder.core.messages import (
    ONE_IMPRESSION,
    AdvertiserChange,
    CampaignChange,
    CreativeCounts,
    Notice,
    NoticeKind,
    SettlementKind,
)
from bidder.money import MAX_NANOS
from tests.support.banking import S, advertiser, ask, bid_id, campaign, item, notice, used

WIN, BILLING, LOSS = NoticeKind.WIN, NoticeKind.BILLING, NoticeKind.LOSS
IMPRESSION, CLICK, CONVERSION = NoticeKind.IMPRESSION, NoticeKind.CLICK, NoticeKind.CONVERSION
HOUR = 3600 * S
RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S, late_share_ppm=0)


def make(*campaigns: Campaign, rules: BankRules = RULES) -> Bank:
    return Bank(rules, {each.id: each for each in campaigns or (campaign(),)})


def only(bank: Bank) -> CampaignReport:
    (report,) = bank.report()
    return report


def kinds(effects: Effects) -> list[SettlementKind]:
    return [settlement.kind for settlement in effects.settlements]


def started(bank: Bank, now_ns: int = 0) -> Effects:
    """Seat s1 asks, and gets epoch 1."""
    bank.apply([ask()], now_ns)
    return bank.tick(now_ns)


def state_of(*steps: Effects) -> BankState:
    """What a store would give back after these steps."""
    accounts: dict[Any, AccountRow] = {}
    tallies: dict[Any, TallyRow] = {}
    creatives: dict[Any, CreativeRow] = {}
    refusals: dict[Any, RefusalRow] = {}
    grants: dict[Any, GrantRow] = {}
    for step in steps:
        accounts |= {row.account_id: row for row in step.rows.accounts}
        tallies |= {row[:2]: row for row in step.rows.tallies}
        creatives |= {row[:2]: row for row in step.rows.creatives}
        refusals |= {row[:2]: row for row in step.rows.refusals}
        grants |= {row[:3]: row for row in step.rows.grants}
        for key in step.rows.dropped:
            grants.pop(tuple(key), None)
    return BankState(
        accounts=accounts.values(),
        tallies=tallies.values(),
        creatives=creatives.values(),
        refusals=refusals.values(),
        grants=grants.values(),
        seats=[row for step in steps for row in step.rows.seats],
        bookings=[row for step in steps for row in step.rows.bookings],
        touches=[row for step in steps for row in step.rows.bookings],
    )


# Budgets of several levels

DAY = 24 * HOUR
BEGIN = 20_780 * DAY
"""Midnight of a day in UTC."""
LONG: dict[str, Any] = {"start_ns": 0, "end_ns": 30_000 * DAY}


def of_shop(*campaigns: Campaign, **budgets: Any) -> Bank:
    """A bank with these campaigns of the advertiser `acme`, who has budgets."""
    return Bank(RULES, {each.id: each for each in campaigns}, None, {"acme": advertiser(**budgets)})


def account(bank: Bank, account_id: str) -> AccountReport:
    (found,) = [each for each in bank.accounts() if each.id == account_id]
    return found


def booked(bank: Bank) -> dict[str, int]:
    return {each.id: each.booked for each in bank.accounts() if each.booked}


def bill(bid: str = "b-1", **changes: Any) -> Notice:
    """A billing of a bid that was made at noon of the day."""
    noon = BEGIN + 12 * HOUR
    return notice(
        BILLING, bid, **({"at_ns": noon, "liable_until_ns": noon + 60 * S, "bid_at_ns": noon} | changes)
    )


def leased(effects: Effects) -> dict[str, int]:
    return {lease.account_id: lease.granted_nanos for lease in effects.leases}


def test_every_budget_of_a_line_item_is_leased_on_its_own() -> None:
    shoes = item("shoes", daily_impressions=1_000)
    bank = of_shop(campaign(line_items=(shoes,), lifetime_nanos=40 * S, **LONG), daily_nanos=8 * S)
    assert leased(started(bank, BEGIN)) == {
        "c1": 25 * S,
        "c/c1/money": 10 * S,
        "a/acme/money/d20780": 2 * S,
        "l/shoes/imps/d20780": 250 * ONE_IMPRESSION,
    }


def test_impressions_are_leased_whole() -> None:
    bank = make(campaign(lifetime_impressions=1_001))
    assert leased(started(bank))["c/c1/imps"] == 251 * ONE_IMPRESSION


def test_a_chunk_of_impressions_is_never_below_some_bids() -> None:
    bank = make(campaign(lifetime_impressions=300))
    assert leased(started(bank))["c/c1/imps"] == 100 * ONE_IMPRESSION


def test_a_chunk_of_money_is_sized_by_the_largest_bid_of_what_charges_to_it() -> None:
    dear = item("dear", max_bid_cpm_micros=400_000_000)
    bank = make(campaign(line_items=(item("cheap"), dear)))
    assert leased(started(bank))["c1"] == 40 * S


def test_a_booking_charges_every_account_of_its_line_item_on_the_day_of_the_bid() -> None:
    shoes = item("shoes", daily_nanos=S, lifetime_impressions=100)
    bank = of_shop(
        campaign(line_items=(shoes, item("hats", lifetime_nanos=S)), daily_nanos=S, **LONG),
        daily_nanos=S,
        daily_impressions=50,
    )
    bank.tick(BEGIN)
    bank.apply([bill(line_item_id="shoes", impressions=2_500_000, price_nanos=7)], BEGIN + DAY)
    assert booked(bank) == {
        "c1": 7,
        "a/acme/money/d20780": 7,
        "a/acme/imps/d20780": 2_500_000,
        "c/c1/money/d20780": 7,
        "l/shoes/money/d20780": 7,
        "l/shoes/imps": 2_500_000,
    }


def test_a_bid_before_midnight_that_is_billed_after_it_is_of_the_day_before() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=S)
    bank.tick(BEGIN)
    bank.tick(BEGIN + DAY)
    bank.apply([bill(bid_at_ns=BEGIN + DAY - 1), bill("b-2", bid_at_ns=BEGIN + DAY)], BEGIN + DAY)
    assert account(bank, "a/acme/money/d20780").booked == 2_000_000
    assert account(bank, "a/acme/money/d20781").booked == 2_000_000


def test_a_notice_that_does_not_say_when_its_bid_was_made_is_of_the_day_on_which_it_came() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=S)
    effects = bank.apply([bill(bid_at_ns=0)], BEGIN)
    assert account(bank, "a/acme/money/d20780").booked == 2_000_000
    assert effects.settlements[0].bid_at_ns == BEGIN + 12 * HOUR


def test_a_day_is_one_of_the_advertisers_zone() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=S, time_zone="America/New_York")
    bank.apply([bill(bid_at_ns=BEGIN + HOUR)], BEGIN + HOUR)
    day = account(bank, "a/acme/money/d20779")
    assert (day.booked, day.begin_ns, day.end_ns) == (2_000_000, BEGIN - 19 * HOUR, BEGIN + 5 * HOUR)


def test_a_repeat_charges_no_account_again() -> None:
    bank = of_shop(campaign(daily_impressions=9, **LONG), daily_nanos=S)
    bank.apply([bill(), bill(), bill(event_id="x")], BEGIN)
    assert booked(bank) == {
        "c1": 2_000_000,
        "a/acme/money/d20780": 2_000_000,
        "c/c1/imps/d20780": ONE_IMPRESSION,
    }


def test_spend_that_one_of_its_accounts_cannot_hold_is_booked_on_none() -> None:
    bank = of_shop(campaign(**LONG), campaign("c2", **LONG), lifetime_nanos=S)
    most: dict[str, Any] = {"price_nanos": MAX_NANOS, "cap_nanos": MAX_NANOS}
    bank.apply([bill(**most), bill("b-2", campaign_id="c2")], BEGIN)
    assert booked(bank) == {"c1": MAX_NANOS, "a/acme/money": MAX_NANOS}
    assert bank.refused() == {"bad_value": 1}


def test_seats_of_an_advertisers_budget_get_no_more_of_it_than_there_is() -> None:
    bank = of_shop(campaign(**LONG), campaign("c2", **LONG), lifetime_nanos=S, lifetime_impressions=10)
    bank.apply([ask("a", "s1"), ask("b", "s2")], BEGIN)
    grants: dict[str, int] = {}
    for lease in bank.tick(BEGIN).leases:
        grants[lease.account_id] = grants.get(lease.account_id, 0) + lease.granted_nanos
    assert (grants["a/acme/money"], grants["a/acme/imps"]) == (400_000_000, 10 * ONE_IMPRESSION)
    assert account(bank, "a/acme/imps").leased == 10 * ONE_IMPRESSION


def test_the_accounts_of_the_next_day_are_leased_before_it_begins() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    assert "a/acme/money/d20781" not in leased(started(bank, BEGIN + DAY - 31 * S))
    bank.apply([used(0, 0, seq=1)], BEGIN + DAY - 30 * S)
    assert leased(bank.tick(BEGIN + DAY - 30 * S))["a/acme/money/d20781"] == 2 * S


def test_a_seat_that_reports_can_bid_at_every_moment_of_two_days() -> None:
    """On each day's account it holds a lease that has not ended, and none lasts longer than the day."""
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    first_ns = BEGIN + DAY - 200 * S
    until: dict[str, int] = {}
    granted: dict[str, int] = {}
    bank.apply([ask()], first_ns)
    for second in range(400):
        now_ns = first_ns + second * S
        for lease in bank.tick(now_ns).leases:
            until[lease.account_id], granted[lease.account_id] = lease.bid_until_ns, lease.granted_nanos
        day = f"a/acme/money/d{now_ns // DAY}"
        assert until[day] > now_ns
        assert granted[day] == 2 * S
        bank.apply([used(0, 0, seq=second + 1, at_ns=now_ns)], now_ns)
    assert until["a/acme/money/d20780"] == BEGIN + DAY


def test_a_day_begins_with_its_whole_limit() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=4_000_000)
    bank.tick(BEGIN)
    bank.apply([bill(), bill("b-2")], BEGIN)
    bank.apply([ask()], BEGIN + DAY - S)
    grants = leased(bank.tick(BEGIN + DAY - S))
    assert (grants["a/acme/money/d20780"], grants["a/acme/money/d20781"]) == (0, 4_000_000)


def test_what_a_day_leased_comes_back_after_it_and_its_grants_are_forgotten() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    started(bank, BEGIN + DAY - 10 * S)
    assert account(bank, "a/acme/money/d20780").leased == 2 * S
    effects = bank.tick(BEGIN + DAY + 65 * S + 1)
    assert ("a/acme/money/d20780", "s1", 1) in effects.rows.dropped
    day = account(bank, "a/acme/money/d20780")
    assert (day.leased, day.limit) == (0, 8 * S)


def test_a_day_is_forgotten_once_nothing_can_post_to_it() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    bank.tick(BEGIN)
    last_ns = BEGIN + DAY + RULES.longest_reservation_ns + RULES.keep_ns
    late = bill(bid_at_ns=BEGIN + DAY - 1, at_ns=BEGIN + DAY, liable_until_ns=BEGIN + DAY - 1 + 60 * S)
    bank.tick(BEGIN + DAY)
    bank.tick(last_ns)
    bank.recall(bank.forgotten([late], last_ns - 1), (), last_ns - 1)
    bank.apply([late], last_ns - 1)
    assert account(bank, "a/acme/money/d20780").booked == 2_000_000
    bank.tick(last_ns + S)
    assert "a/acme/money/d20780" not in {each.id for each in bank.accounts()}
    bank.apply([msgspec.structs.replace(late, bid_id=bid_id("b-2"))], last_ns + S)
    assert only(bank).refused == {"expired": 1}


def test_a_forgotten_day_is_not_begun_anew() -> None:
    """A token that says that its bid may be billed for ever: the money is owed, the row of the day stays."""
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    now_ns = BEGIN + DAY + RULES.longest_reservation_ns + RULES.keep_ns + S
    effects = bank.apply([bill(liable_until_ns=now_ns)], now_ns)
    assert only(bank).spend_nanos == 2_000_000
    assert [row.account_id for row in effects.rows.accounts] == ["c1"]


@pytest.mark.parametrize("who", ["advertiser", "campaign", "line item", "zone"])
def test_nobody_is_leased_what_is_paused(who: str) -> None:
    paused = {"status": Status.PAUSED}
    shop = {"advertiser": paused, "zone": {"time_zone": "Mars/Olympus"}}.get(who, {})
    bank = of_shop(
        campaign(
            line_items=(item("shoes", daily_nanos=S, **(paused if who == "line item" else {})),),
            daily_nanos=S,
            **LONG,
            **(paused if who == "campaign" else {}),
        ),
        daily_nanos=S,
        **shop,
    )
    assert leased(started(bank, BEGIN)) == {}


def test_a_paused_line_item_leaves_the_others_their_budgets() -> None:
    shoes = item("shoes", lifetime_nanos=S, status=Status.PAUSED)
    bank = make(campaign(line_items=(shoes, item("hats", lifetime_nanos=2 * S)), daily_nanos=3 * S))
    assert set(leased(started(bank))) == {"c1", "l/hats/money", "c/c1/money/d0"}


def test_a_line_item_is_leased_in_its_own_flights() -> None:
    flights = (Flight(start_ns=100 * S, end_ns=200 * S), Flight(start_ns=500 * S, end_ns=600 * S))
    bank = make(campaign(line_items=(item("shoes", lifetime_nanos=S, flights=flights),)))
    seen = []
    for second in range(0, 800, 10):
        bank.apply([ask(f"start-{second}")], second * S)
        if "l/shoes/money" in leased(bank.tick(second * S)):
            seen.append(second)
    assert (seen[0], max(s for s in seen if s < 400), min(s for s in seen if s > 300), seen[-1]) == (
        70,
        190,
        470,
        590,
    )


def test_an_advertiser_that_is_paused_is_leased_no_more_and_then_again() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    started(bank, BEGIN)
    paused = advertiser(daily_nanos=8 * S, status=Status.PAUSED)
    bank.adopt([AdvertiserChange(version=2, advertiser_id="acme", advertiser=paused)])
    bank.apply([used(0, 0, seq=1)], BEGIN + 20 * S)
    assert bank.tick(BEGIN + 20 * S).leases == ()
    bank.adopt([AdvertiserChange(version=3, advertiser_id="acme", advertiser=advertiser(daily_nanos=8 * S))])
    bank.apply([used(0, 0, seq=2)], BEGIN + 25 * S)
    assert set(leased(bank.tick(BEGIN + 25 * S))) == {"c1", "a/acme/money/d20780"}


def test_a_daily_limit_that_is_raised_reaches_the_seat_on_the_same_day() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    started(bank, BEGIN)
    bank.adopt([AdvertiserChange(version=2, advertiser_id="acme", advertiser=advertiser(daily_nanos=9 * S))])
    (lease,) = bank.tick(BEGIN + S).leases
    assert (lease.account_id, lease.budget_nanos) == ("a/acme/money/d20780", 9 * S)


def test_a_daily_limit_that_is_cut_below_what_is_leased_ends_with_the_leases() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    started(bank, BEGIN)
    bank.adopt([AdvertiserChange(version=2, advertiser_id="acme", advertiser=advertiser(daily_nanos=S))])
    for second in range(1, 30):
        bank.apply([used(0, 0, seq=second)], BEGIN + second * S)
        for lease in bank.tick(BEGIN + second * S).leases:
            if lease.account_id != "c1":
                assert (lease.bid_until_ns, lease.budget_nanos) == (BEGIN + 30 * S, S)
    bank.check()


def test_a_day_that_is_over_keeps_the_limit_that_it_had() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    bank.tick(BEGIN)
    bank.tick(BEGIN + DAY)
    bank.adopt([AdvertiserChange(version=2, advertiser_id="acme", advertiser=advertiser(daily_nanos=S))])
    bank.tick(BEGIN + DAY + S)
    limits = [account(bank, f"a/acme/money/d{day}").limit for day in (20_780, 20_781)]
    assert limits == [8 * S, S]


def test_a_budget_that_is_no_more_is_leased_no_more() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    started(bank, BEGIN)
    bank.adopt([AdvertiserChange(version=2, advertiser_id="acme", advertiser=None)])
    bank.apply([used(0, 0, seq=1)], BEGIN + 20 * S)
    terms = {lease.account_id: lease.bid_until_ns for lease in bank.tick(BEGIN + 20 * S).leases}
    assert terms == {"c1": BEGIN + 50 * S, "a/acme/money/d20780": BEGIN + 30 * S}
    bank.check()


def test_a_budget_that_comes_later_is_leased_with_the_next_tick() -> None:
    bank = of_shop(campaign(**LONG))
    started(bank, BEGIN)
    both = advertiser(daily_nanos=8 * S, lifetime_impressions=1_000)
    bank.adopt([AdvertiserChange(version=2, advertiser_id="acme", advertiser=both)])
    assert set(leased(bank.tick(BEGIN + S))) == {"a/acme/money/d20780", "a/acme/imps"}


def test_a_line_item_that_is_no_more_still_charges_campaign_and_advertiser() -> None:
    bank = of_shop(campaign(line_items=(item("hats"),), lifetime_nanos=S, **LONG), lifetime_nanos=S)
    bank.apply([bill(line_item_id="shoes")], BEGIN)
    assert set(booked(bank)) == {"c1", "c/c1/money", "a/acme/money"}


def test_another_zone_moves_the_day_that_is_open() -> None:
    bank = of_shop(campaign(**LONG), daily_nanos=8 * S)
    bank.tick(BEGIN + 12 * HOUR)
    there = advertiser(daily_nanos=8 * S, time_zone="America/New_York")
    bank.adopt([AdvertiserChange(version=2, advertiser_id="acme", advertiser=there)])
    bank.tick(BEGIN + 12 * HOUR + S)
    day = account(bank, "a/acme/money/d20780")
    assert (day.begin_ns, day.end_ns) == (BEGIN + 5 * HOUR, BEGIN + 29 * HOUR)
    bank.apply([ask()], BEGIN + 26 * HOUR)
    assert "a/acme/money/d20780" in leased(bank.tick(BEGIN + 26 * HOUR))


def test_line_items_are_reported_each_with_what_came_of_it() -> None:
    bank = make(campaign(line_items=(item("shoes"), item("hats"))))
    shoes = [notice(kind, line_item_id="shoes") for kind in (WIN, BILLING, IMPRESSION, CLICK)]
    hats = notice(CONVERSION, "b-2", line_item_id="hats", value_nanos=S)
    bank.apply([*shoes, hats, notice(BILLING, "b-3", line_item_id="hats", at_ns=101 * S)], 10 * S)
    assert bank.line_items() == [
        LineItemReport(
            campaign_id="c1",
            id="hats",
            spend_nanos=2_000_000,
            late_nanos=2_000_000,
            wins=1,
            impressions=0,
            clicks=0,
            conversions=1,
            value_nanos=S,
            late_wins=1,
            unbilled=1,
            view_conversions=1,
        ),
        LineItemReport(
            campaign_id="c1",
            id="shoes",
            spend_nanos=2_000_000,
            late_nanos=0,
            wins=1,
            impressions=1,
            clicks=1,
            conversions=0,
            value_nanos=0,
            late_wins=0,
            unbilled=0,
        ),
    ]
    assert (only(bank).spend_nanos, only(bank).wins, only(bank).value_nanos) == (4_000_000, 2, S)


def test_what_a_campaign_does_itself_is_reported_under_its_own_id() -> None:
    bank = make()
    bank.apply([notice(BILLING), notice(BILLING, "b-2", line_item_id="c1")], 10 * S)
    assert [(each.campaign_id, each.id, each.spend_nanos) for each in bank.line_items()] == [
        ("c1", "c1", 4_000_000)
    ]


def test_a_settlement_says_whose_budgets_it_charged_on_which_day() -> None:
    bank = make(campaign(line_items=(item("shoes"),)))
    effects = bank.apply([notice(BILLING, line_item_id="shoes", bid_at_ns=9 * S, impressions=3)], 10 * S)
    (told,) = effects.settlements
    assert (told.line_item_id, told.bid_at_ns, told.impressions) == ("shoes", 9 * S, 3)


def test_a_rebuilt_bank_knows_every_account_line_item_and_creative() -> None:
    shoes = item("shoes", daily_nanos=S, lifetime_impressions=100)
    campaigns = {"c1": campaign(line_items=(shoes,), daily_impressions=7, **LONG)}
    shop = {"acme": advertiser(daily_nanos=8 * S)}
    bank = Bank(RULES, campaigns, None, shop)
    steps = [
        bank.apply([ask()], BEGIN),
        bank.tick(BEGIN),
        bank.apply([bill(line_item_id="shoes", creative_id="b1")], BEGIN + S),
        bank.tick(BEGIN + DAY - S),
        bank.tick(BEGIN + DAY + S),
    ]
    again = Bank(RULES, campaigns, state_of(*steps), shop)
    again.tick(BEGIN + DAY + S)
    assert again.accounts() == bank.accounts()
    assert again.line_items() == bank.line_items()
    assert again.report() == bank.report()
    assert again.creative_counts() == bank.creative_counts() != ()
    assert again.live_leases(BEGIN + DAY) == bank.live_leases(BEGIN + DAY)


def test_a_lease_alone_writes_no_row_of_an_account_again() -> None:
    bank = make()
    assert [row.account_id for row in started(bank).rows.accounts] == ["c1"]
    bank.apply([used(0, 0, seq=1)], 11 * S)
    effects = bank.tick(11 * S)
    assert [row.account_id for row in effects.rows.grants] == ["c1"]
    assert effects.rows.accounts == ()


# Exposures and creatives

USER = 0xFEDC_BA98_7654_3210


def shown(kind: NoticeKind, bid: str = "b-1", **changes: Any) -> Notice:
    return notice(kind, bid, **({"user": USER, "partition": 3, "creative_id": "b1"} | changes))


@pytest.mark.parametrize("kinds", [(IMPRESSION, BILLING), (BILLING, IMPRESSION), (BILLING, BILLING)])
def test_the_first_word_of_an_impression_is_one_exposure(kinds: tuple[NoticeKind, ...]) -> None:
    bank = make()
    steps = [bank.apply([shown(kind, at_ns=(10 + n) * S)], 20 * S) for n, kind in enumerate(kinds)]
    ((placed,), ()) = (step.exposures for step in steps)
    assert placed == (
        Exposure(
            bid_id=bid_id("b-1"),
            user="fedcba9876543210",
            line_item_id="c1",
            campaign_id="c1",
            advertiser="acme",
            at_ns=10 * S,
        ),
        3,
    )


@pytest.mark.parametrize("kind", [WIN, LOSS, CLICK, CONVERSION])
def test_no_other_notice_is_an_exposure(kind: NoticeKind) -> None:
    assert make().apply([shown(kind)], 10 * S).exposures == ()


def test_there_is_no_exposure_of_a_user_that_is_not_known() -> None:
    assert make().apply([shown(BILLING, user=0)], 10 * S).exposures == ()


def test_a_refused_billing_is_no_exposure() -> None:
    assert make().apply([shown(BILLING, price_nanos=3_000_000)], 10 * S).exposures == ()


def test_an_exposure_is_one_of_its_line_item_and_of_who_the_campaign_was_of() -> None:
    bank = make(campaign(line_items=(item("shoes"),)))
    bank.adopt([CampaignChange(version=2, campaign_id="c1", campaign=None)])
    (placed,) = bank.apply([shown(IMPRESSION, line_item_id="shoes", partition=-1)], 10 * S).exposures
    assert (placed.exposure.line_item_id, placed.exposure.advertiser, placed.partition) == (
        "shoes",
        "acme",
        -1,
    )


def test_a_rebuilt_bank_tells_no_exposure_again() -> None:
    steps = [make().apply([shown(IMPRESSION)], 10 * S)]
    again = Bank(RULES, {"c1": campaign()}, state_of(*steps))
    assert again.apply([shown(IMPRESSION), shown(BILLING)], 11 * S).exposures == ()


def test_a_creative_is_counted_once_a_bid_however_its_impression_is_told() -> None:
    bank = make()
    bank.apply([shown(IMPRESSION), shown(BILLING), shown(CLICK), shown(CLICK), shown(BILLING, "b-2")], 10 * S)
    assert bank.creative_counts() == (
        CreativeCounts(campaign_id="c1", creative_id="b1", impressions=2, clicks=1),
    )


def test_counts_of_a_creative_are_told_every_so_often() -> None:
    bank = make()
    told = []
    for tenth in range(10):
        now_ns = 10 * S + tenth * S // 10
        bank.apply([shown(IMPRESSION, f"b-{tenth}")], now_ns)
        told += [(tenth, counts.impressions) for counts in bank.tick(now_ns).creative_counts]
    assert told == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    told_last = bank.tick(11 * S).creative_counts
    assert [counts.impressions for counts in told_last] == [10]
    assert bank.tick(12 * S).creative_counts == ()


def test_a_bid_that_names_no_creative_counts_for_none() -> None:
    bank = make()
    bank.apply([shown(IMPRESSION, creative_id="")], 10 * S)
    assert bank.creative_counts() == ()
