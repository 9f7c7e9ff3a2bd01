"""The bank's rules, one fact a test."""

from typing import Any

import msgspec
import pytest

from bidder.core.bank import AccountReport, Bank, CampaignReport, LineItemReport
from bidder.core.bankrules import MAX_EVENT_VALUE_NANOS, MAX_EVENTS_A_BID, BankRules
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
    SliceReport,
)
from bidder.money import MAX_NANOS
from tests.support.banking import S, advertiser, ask, bid_id, campaign, item, notice, used

WIN, BILLING, LOSS = NoticeKind.WIN, NoticeKind.BILLING, NoticeKind.LOSS
IMPRESSION, CLICK, CONVERSION = NoticeKind.IMPRESSION, NoticeKind.CLICK, NoticeKind.CONVERSION
HOUR = 3600 * S
RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S)


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


# Notices


def test_a_win_is_not_a_spend() -> None:
    bank = make()
    effects = bank.apply([notice(WIN)], 10 * S)
    assert kinds(effects) == [SettlementKind.WON]
    assert (only(bank).wins, only(bank).spend_nanos) == (1, 0)


def test_billing_books_its_price_once() -> None:
    bank = make()
    effects = bank.apply(
        [notice(BILLING, price_nanos=1_500_000), notice(BILLING, price_nanos=1_900_000)], 10 * S
    )
    assert [(each.kind, each.amount_nanos) for each in effects.settlements] == [
        (SettlementKind.POSTED, 1_500_000)
    ]
    assert only(bank).spend_nanos == 1_500_000
    assert only(bank).refused == {"duplicate": 1}


def test_win_and_billing_are_one_win() -> None:
    bank = make()
    bank.apply([notice(WIN), notice(BILLING), notice(BILLING, "b-2"), notice(WIN, "b-2")], 10 * S)
    assert (only(bank).wins, only(bank).spend_nanos) == (2, 4_000_000)


def test_a_win_after_its_billing_is_not_told_again() -> None:
    bank = make()
    bank.apply([notice(BILLING)], 10 * S)
    assert bank.apply([notice(WIN)], 10 * S).settlements == ()


def test_where_the_win_is_the_money_event_it_books_and_billing_informs() -> None:
    bank = make(rules=BankRules(money_event="win"))
    effects = bank.apply([notice(WIN, price_nanos=7), notice(BILLING, price_nanos=9)], 10 * S)
    assert kinds(effects) == [SettlementKind.POSTED]
    assert (only(bank).wins, only(bank).spend_nanos) == (1, 7)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"price_nanos": 2_000_001}, "above_cap"),
        ({"price_nanos": 0}, "no_price"),
        ({"price_nanos": -1}, "no_price"),
        ({"at_ns": 100 * S + 72 * HOUR + 1}, "expired"),
    ],
)
def test_a_billing_is_refused_by_rule(change: dict[str, Any], rule: str) -> None:
    bank = make()
    effects = bank.apply([notice(BILLING, **change)], 10 * S)
    assert effects.settlements == ()
    assert effects.rows.bookings == ()
    assert (only(bank).spend_nanos, only(bank).refused) == (0, {rule: 1})


def test_a_notice_of_an_unknown_campaign_is_refused_and_counted() -> None:
    bank = make()
    effects = bank.apply([notice(BILLING, campaign_id="nobody")], 10 * S)
    assert effects.settlements == ()
    assert bank.refused() == {"unknown_campaign": 1}


def test_a_refused_billing_leaves_the_way_for_a_right_one() -> None:
    bank = make()
    bank.apply([notice(BILLING, price_nanos=3_000_000), notice(BILLING, price_nanos=1)], 10 * S)
    assert only(bank).spend_nanos == 1


def test_a_late_billing_is_booked_flagged_and_counted() -> None:
    bank = make()
    effects = bank.apply([notice(BILLING, at_ns=100 * S + 1)], 101 * S)
    assert effects.settlements[0].late
    assert effects.rows.bookings[0].late
    assert (only(bank).late_wins, only(bank).late_nanos, only(bank).spend_nanos) == (1, 2_000_000, 2_000_000)


def test_a_billing_at_the_last_moment_is_in_time() -> None:
    bank = make()
    effects = bank.apply([notice(BILLING, at_ns=100 * S)], 101 * S)
    assert not effects.settlements[0].late
    assert only(bank).late_wins == 0


def test_a_notice_older_than_what_bids_are_remembered_for_is_refused() -> None:
    bank = make()
    bank.apply([notice(BILLING)], 10 * S)
    end_ns = 100 * S + RULES.keep_ns
    bank.tick(end_ns + 2 * HOUR)
    bank.apply([notice(BILLING)], end_ns + 2 * HOUR)
    assert (only(bank).spend_nanos, only(bank).refused) == (2_000_000, {"expired": 1})


def test_forgetting_old_bids_keeps_those_that_may_still_repeat() -> None:
    bank = make()
    bank.apply([notice(BILLING)], 10 * S)
    bank.tick(100 * S + RULES.keep_ns)
    bank.apply([notice(BILLING)], 100 * S + RULES.keep_ns)
    assert only(bank).refused == {"duplicate": 1}


def test_a_loss_voids() -> None:
    assert kinds(make().apply([notice(LOSS)], 10 * S)) == [SettlementKind.VOIDED]


def test_a_loss_after_booked_spend_voids_nothing() -> None:
    bank = make()
    assert kinds(bank.apply([notice(BILLING), notice(LOSS)], 10 * S)) == [SettlementKind.POSTED]


def test_a_billing_after_a_loss_is_still_owed() -> None:
    bank = make()
    effects = bank.apply([notice(LOSS), notice(BILLING)], 10 * S)
    assert kinds(effects) == [SettlementKind.VOIDED, SettlementKind.POSTED]


def test_impressions_and_clicks_count_once_a_bid() -> None:
    bank = make()
    bank.apply([notice(BILLING), *[notice(IMPRESSION)] * 2, *[notice(CLICK)] * 3], 10 * S)
    assert (only(bank).impressions, only(bank).clicks, only(bank).refused) == (1, 1, {"duplicate": 3})


def test_conversions_count_once_an_event_and_sum_their_value() -> None:
    bank = make()
    sale = notice(CONVERSION, event_id="order-1", value_nanos=3 * S)
    bank.apply([notice(BILLING), sale, sale, notice(CONVERSION, event_id="order-2", value_nanos=S)], 10 * S)
    assert (only(bank).conversions, only(bank).value_nanos) == (2, 4 * S)


@pytest.mark.parametrize("value_nanos", [-1, MAX_EVENT_VALUE_NANOS + 1])
def test_a_conversion_of_absurd_value_is_refused(value_nanos: int) -> None:
    bank = make()
    bank.apply([notice(CONVERSION, value_nanos=value_nanos)], 10 * S)
    assert (only(bank).conversions, only(bank).refused) == (0, {"bad_value": 1})


def test_a_click_of_a_bid_without_spend_is_counted_and_flagged() -> None:
    bank = make()
    effects = bank.apply([notice(CLICK), notice(CONVERSION, value_nanos=S)], 10 * S)
    assert [booking.unbilled for booking in effects.rows.bookings] == [True, True]
    assert (only(bank).clicks, only(bank).conversions, only(bank).unbilled) == (1, 1, 2)


def test_an_impression_without_spend_is_no_flag() -> None:
    bank = make()
    bank.apply([notice(IMPRESSION)], 10 * S)
    assert only(bank).unbilled == 0


def test_a_conversion_is_taken_longer_than_the_other_notices() -> None:
    bank = make()
    at_ns = 100 * S + 100 * HOUR
    bank.apply([notice(CONVERSION, at_ns=at_ns), notice(CLICK, at_ns=at_ns)], at_ns)
    assert (only(bank).conversions, only(bank).clicks, only(bank).refused) == (1, 0, {"expired": 1})


def test_redelivered_notices_change_and_count_nothing() -> None:
    bank = make()
    batch = [notice(WIN), notice(BILLING), notice(CLICK), notice(BILLING, "b-2", price_nanos=0)]
    bank.apply(batch, 10 * S)
    before = bank.report()
    effects = bank.apply(batch, 11 * S, redelivered=True)
    assert bank.report() == before
    assert not effects.rows


def test_redelivered_but_unknown_money_is_booked() -> None:
    """A broker that lost its log starts again at offset 0: what it then brings is new."""
    bank = make()
    bank.apply([notice(BILLING)], 10 * S, redelivered=True)
    assert only(bank).spend_nanos == 2_000_000


def test_unreadable_messages_are_counted() -> None:
    bank = make()
    effects = bank.count_malformed(2)
    assert effects.rows.refusals == (("", "malformed", 2),)


# Leases


def test_a_seat_that_asks_gets_an_epoch_and_a_lease_that_names_its_start() -> None:
    (lease,) = started(make()).leases
    assert (lease.seat, lease.epoch, lease.start_id, lease.account_id) == ("s1", 1, "a", "c1")
    assert (lease.bid_until_ns, lease.budget_nanos, lease.spent_nanos, lease.seats) == (30 * S, 100 * S, 0, 1)


def test_the_first_chunk_is_a_quarter_of_the_budget() -> None:
    assert started(make()).leases[0].granted_nanos == 25 * S


def test_the_epoch_is_in_the_rows_before_a_lease_names_it() -> None:
    effects = make().apply([ask()], 0)
    assert effects.rows.seats == (("s1", 1, "a"),)
    assert effects.leases == ()


def test_the_same_start_asking_again_gets_the_same_epoch_and_its_leases_again() -> None:
    bank = make()
    first = started(bank).leases
    effects = started(bank, 1 * S)
    assert effects.leases == first
    assert effects.rows.seats == ()


def test_a_new_start_gets_the_next_epoch() -> None:
    bank = make()
    started(bank)
    bank.apply([ask("b")], 1 * S)
    assert bank.tick(1 * S).leases[0].epoch == 2


def test_a_replaced_start_that_asks_again_stays_replaced() -> None:
    bank = make()
    started(bank)
    bank.apply([ask("b")], 1 * S)
    effects = bank.apply([ask("a")], 2 * S)
    assert effects.rows.seats == ()
    assert [lease.epoch for lease in bank.tick(2 * S).leases] == [2]


def test_what_an_old_epoch_holds_comes_back_only_after_its_last_reservation() -> None:
    bank = make()
    started(bank)
    bank.apply([ask("b")], 1 * S)
    bank.tick(1 * S)
    held = only(bank).leased_nanos
    assert held == 25 * S + 75 * S // 4
    until_ns = (30 + 60 + 5) * S
    bank.apply([used(0, 0, seq=1, epoch=2, start_id="b")], until_ns)
    bank.tick(until_ns)
    assert only(bank).leased_nanos >= held
    effects = bank.tick(until_ns + 1)
    assert only(bank).leased_nanos < held
    assert effects.rows.dropped == (("c1", "s1", 1),)


def test_nothing_is_freed_while_notices_wait_unread() -> None:
    bank = make()
    started(bank)
    bank.tick(1000 * S, seen_until_ns=10 * S)
    assert only(bank).leased_nanos == 25 * S
    bank.tick(1000 * S, seen_until_ns=1000 * S)
    assert only(bank).leased_nanos == 0


def test_a_report_of_an_old_epoch_renews_nothing() -> None:
    bank = make()
    started(bank)
    bank.apply([ask("b")], 1 * S)
    bank.tick(1 * S)
    bank.apply([used(0, 0, seq=9, epoch=1, start_id="a")], 25 * S)
    assert bank.tick(25 * S).leases == ()


def test_a_seat_is_topped_up_when_less_than_half_a_chunk_is_unspent() -> None:
    bank = make()
    started(bank)
    bank.apply([used(10 * S, 5 * S, seq=1)], 1 * S)
    assert bank.tick(1 * S).leases == ()
    bank.apply([used(10 * S, 6 * S, seq=2)], 2 * S)
    assert bank.tick(2 * S).leases[0].granted_nanos == 25 * S + 75 * S // 4


def test_an_old_report_does_not_undo_a_newer_one() -> None:
    bank = make()
    started(bank)
    bank.apply([used(0, 24 * S, seq=2), used(0, 0, seq=1)], 1 * S)
    assert bank.tick(1 * S).leases[0].granted_nanos > 25 * S


@pytest.mark.parametrize(
    ("row", "lease"),
    [
        ({"posted": 0, "reserved": 0, "at_ns": 900 * S}, (10 * S // 4, 930 * S)),
        ({"posted": 0, "reserved": 1, "at_ns": 900 * S}, (25 * S, 30 * S)),
        ({"posted": 0, "reserved": 0, "at_ns": 29 * S}, (25 * S, 30 * S)),
    ],
)
def test_a_grant_that_fits_no_more_begins_again_once_its_seat_holds_nothing(
    row: dict[str, Any], lease: tuple[int, int]
) -> None:
    bank = make(campaign(max_bid_cpm_micros=1_000_000))
    started(bank)
    bank.tick(200 * S)
    bank.adopt([CampaignChange(version=2, campaign_id="c1", campaign=campaign(budget_nanos=10 * S))])
    bank.apply([used(seq=1, **row)], 900 * S)
    told = bank.tick(900 * S).leases
    assert [(each.granted_nanos, each.bid_until_ns) for each in told] == [lease]


def test_a_chunk_is_never_below_some_maximum_bids() -> None:
    bank = make(campaign(max_bid_cpm_micros=500_000_000))
    assert started(bank).leases[0].granted_nanos == 50 * S


def test_all_that_is_left_is_granted_where_it_is_less_than_a_chunk() -> None:
    bank = make(campaign(budget_nanos=7))
    assert started(bank).leases[0].granted_nanos == 7


def test_a_rest_below_one_bid_goes_with_the_chunk() -> None:
    bank = make(campaign(budget_nanos=201_000_000))
    assert started(bank).leases[0].granted_nanos == 201_000_000


def test_seats_share_what_is_left() -> None:
    bank = make()
    bank.apply([ask("a", "s1"), ask("b", "s2")], 0)
    leases = bank.tick(0).leases
    assert [(lease.seat, lease.granted_nanos, lease.seats) for lease in leases] == [
        ("s1", 12_500_000_000, 2),
        ("s2", 87_500_000_000 // 8, 2),
    ]


def test_a_lease_is_renewed_while_its_seat_reports() -> None:
    bank = make()
    started(bank)
    bank.apply([used(0, 0, seq=1)], 11 * S)
    assert bank.tick(11 * S).leases[0].bid_until_ns == 41 * S


def test_the_lease_of_a_silent_seat_is_not_renewed() -> None:
    bank = make()
    started(bank)
    assert bank.tick(11 * S).leases == ()


def test_a_seat_that_comes_back_in_its_epoch_gets_its_grant_again_where_it_fits() -> None:
    bank = make()
    started(bank)
    bank.tick(200 * S)
    assert only(bank).leased_nanos == 0
    bank.apply([used(0, 0, seq=1)], 201 * S)
    assert bank.tick(201 * S).leases[0].granted_nanos == 25 * S
    assert only(bank).leased_nanos == 25 * S


def test_a_seat_that_comes_back_gets_nothing_where_its_grant_no_longer_fits() -> None:
    bank = make(campaign(budget_nanos=1 * S, max_bid_cpm_micros=100_000_000))
    started(bank)
    bank.tick(200 * S)
    bank.apply([ask("z", "s2")], 200 * S)
    bank.tick(200 * S)
    bank.apply([used(0, 0, seq=1)], 201 * S)
    assert [lease.seat for lease in bank.tick(201 * S).leases if lease.bid_until_ns > 201 * S] == []
    assert only(bank).leased_nanos == 1 * S


def test_a_paused_campaign_gets_no_new_grants() -> None:
    bank = make(campaign(status=Status.PAUSED))
    assert started(bank).leases == ()


def test_an_ended_campaign_gets_no_new_grants() -> None:
    bank = make(campaign(end_ns=5 * S))
    assert started(bank, 5 * S).leases == ()


def test_a_campaign_gets_leases_one_lease_before_it_starts() -> None:
    bank = make(campaign(start_ns=100 * S))
    assert started(bank, 69 * S).leases == ()
    bank.apply([ask()], 70 * S)
    assert len(bank.tick(70 * S).leases) == 1


def test_booked_spend_moves_out_of_the_grant() -> None:
    bank = make()
    started(bank)
    bank.apply([notice(BILLING)], 10 * S)
    assert (only(bank).leased_nanos, only(bank).uncovered_nanos) == (25 * S - 2_000_000, 0)


def test_spend_after_its_grant_was_freed_is_booked_as_uncovered() -> None:
    bank = make()
    started(bank)
    bank.tick(200 * S)
    bank.apply([notice(BILLING, at_ns=201 * S)], 201 * S)
    assert (only(bank).spend_nanos, only(bank).uncovered_nanos, only(bank).late_wins) == (
        2_000_000,
        2_000_000,
        1,
    )


def test_a_raised_budget_reaches_the_seat_with_the_next_tick() -> None:
    bank = make()
    started(bank)
    bank.adopt([CampaignChange(version=2, campaign_id="c1", campaign=campaign(budget_nanos=200 * S))])
    assert bank.tick(1 * S).leases[0].budget_nanos == 200 * S


def test_a_budget_cut_below_what_is_leased_ends_with_the_leases() -> None:
    bank = make()
    started(bank)
    bank.adopt([CampaignChange(version=2, campaign_id="c1", campaign=campaign(budget_nanos=10 * S))])
    for second in range(1, 30):
        bank.apply([used(0, 25 * S, seq=second)], second * S)
        for lease in bank.tick(second * S).leases:
            assert (lease.granted_nanos, lease.bid_until_ns, lease.budget_nanos) == (25 * S, 30 * S, 10 * S)
    bank.check()


def test_a_removed_campaign_still_books_what_is_owed() -> None:
    bank = make()
    started(bank)
    bank.adopt([CampaignChange(version=2, campaign_id="c1", campaign=None)])
    bank.apply([notice(BILLING)], 10 * S)
    assert (only(bank).budget_nanos, only(bank).spend_nanos) == (0, 2_000_000)


def test_spend_alone_is_told_every_so_often() -> None:
    bank = make()
    started(bank)
    bank.apply([notice(BILLING), used(2_000_000, 0, seq=1)], S // 10)
    assert bank.tick(S // 10).leases == ()
    bank.apply([used(2_000_000, 0, seq=2)], S // 5)
    assert bank.tick(S // 5).leases[0].spent_nanos == 2_000_000


def test_a_new_campaign_is_leased_with_the_next_tick() -> None:
    bank = make()
    started(bank)
    bank.adopt([CampaignChange(version=2, campaign_id="c2", campaign=campaign("c2"))])
    assert [lease.account_id for lease in bank.tick(1 * S).leases] == ["c2"]


# Recovery


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
    )


def test_a_bank_rebuilt_from_its_rows_reports_the_same() -> None:
    bank = make()
    steps = [
        bank.apply([ask()], 0),
        bank.tick(0),
        bank.apply([notice(WIN), notice(BILLING), notice(CLICK), notice(BILLING, price_nanos=1)], 10 * S),
        bank.apply([notice(BILLING, campaign_id="nobody")], 10 * S),
    ]
    again = Bank(RULES, {"c1": campaign()}, state_of(*steps))
    assert again.report() == bank.report()
    assert again.refused() == bank.refused()
    assert again.live_leases(11 * S) == bank.live_leases(11 * S)


def test_a_rebuilt_bank_books_no_bid_again() -> None:
    bank = make()
    steps = [bank.apply([notice(BILLING), notice(CONVERSION, event_id="e")], 10 * S)]
    again = Bank(RULES, {"c1": campaign()}, state_of(*steps))
    again.apply([notice(BILLING), notice(CONVERSION, event_id="e")], 11 * S)
    assert (only(again).spend_nanos, only(again).conversions) == (2_000_000, 1)


def test_a_rebuilt_bank_resumes_no_epoch() -> None:
    bank = make()
    steps = [bank.apply([ask("a")], 0), bank.tick(0), bank.apply([ask("b")], 1 * S)]
    again = Bank(RULES, {"c1": campaign()}, state_of(*steps))
    again.apply([ask("a"), ask("c")], 2 * S)
    assert [lease.epoch for lease in again.tick(2 * S).leases] == [3]


def test_splitting_a_batch_anywhere_changes_nothing() -> None:
    batch: list[Notice | SliceReport] = [
        ask(),
        *map(notice, (WIN, BILLING, BILLING)),
        notice(LOSS, "b-2"),
        used(1, 1, seq=1),
    ]
    whole = make()
    whole.apply(batch, 10 * S)
    last = whole.tick(10 * S)
    for cut in range(len(batch)):
        parts = make()
        parts.apply(batch[:cut], 10 * S)
        parts.apply(batch[cut:], 10 * S)
        assert parts.tick(10 * S) == last
        assert parts.report() == whole.report()


def test_a_bid_on_test_traffic_can_never_be_billed() -> None:
    bank = make(campaign())
    started(bank)
    bank.apply([notice(BILLING, cap_nanos=0)], 10 * S)
    assert only(bank).spend_nanos == 0
    assert only(bank).refused == {"above_cap": 1}


def test_a_bid_has_only_so_many_conversions() -> None:
    bank = make(campaign())
    started(bank)
    for number in range(MAX_EVENTS_A_BID + 3):
        bank.apply([notice(CONVERSION, event_id=str(number))], 10 * S)
    assert only(bank).conversions == MAX_EVENTS_A_BID
    assert only(bank).refused == {"too_many_events": 3}


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
