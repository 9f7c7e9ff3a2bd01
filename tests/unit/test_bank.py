"""The bank's rules, one fact a test."""

from typing import Any

import pytest

from bidder.core.bank import Bank, CampaignReport
from bidder.core.bankrules import MAX_EVENT_VALUE_NANOS, MAX_EVENTS_A_BID, BankRules
from bidder.core.bookings import AccountRow, BankState, CreativeRow, GrantRow, RefusalRow, TallyRow
from bidder.core.campaigns import Campaign, Status
from bidder.core.effects import Effects
from bidder.core.messages import (
    CampaignChange,
    Notice,
    NoticeKind,
    SettlementKind,
    SliceReport,
)
from bidder.errors import InvariantError
from tests.support.banking import S, ask, campaign, notice, used

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


def test_a_billing_ahead_of_the_win_that_books_tells_the_seat_that_its_bid_won() -> None:
    """Or the seat would free the money at the end of its wait for a result, and a win in time would find it gone."""
    effects = make().apply([notice(BILLING, price_nanos=7, money=WIN)], 10 * S)
    assert kinds(effects) == [SettlementKind.WON]


def test_where_the_win_is_the_money_event_it_books_and_billing_informs() -> None:
    bank = make()
    effects = bank.apply(
        [notice(WIN, price_nanos=7, money=WIN), notice(BILLING, price_nanos=9, money=WIN)], 10 * S
    )
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


def test_fees_are_booked_with_the_price_and_kept_apart() -> None:
    bank = make()
    effects = bank.apply([notice(BILLING, price_nanos=1_000_000, fees_nanos=50_001)], 10 * S)
    assert only(bank).spend_nanos == effects.settlements[0].amount_nanos == 1_050_001
    (booking,) = effects.rows.bookings
    assert (booking.price_nanos, booking.amount_nanos, booking.fees_nanos) == (1_000_000, 1_050_001, 50_001)


@pytest.mark.parametrize(("at_ns", "counted"), [(10 * S, 0), (101 * S, 2_000_000)])
def test_late_spend_counts_for_the_reserve_though_a_grant_still_covers_it(at_ns: int, counted: int) -> None:
    bank = make()
    bank.apply([ask()], S)
    (lease,) = bank.tick(S).leases
    assert lease.granted_nanos > 2_000_000
    effects = bank.apply([notice(BILLING, at_ns=at_ns)], 2 * S)
    assert only(bank).uncovered_nanos == 0
    assert [row.uncovered_nanos for row in effects.rows.lateness] == [counted]


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


def test_of_a_bid_that_is_remembered_no_more_the_books_are_asked() -> None:
    bank = make()
    bill = notice(BILLING, bid_at_ns=9 * S)
    (row,) = bank.apply([bill], 10 * S).rows.bookings
    last_ns = 9 * S + RULES.remember_ns
    for now_ns in (10 * S, last_ns):
        bank.tick(now_ns)
        assert bank.forgotten([bill], now_ns) == frozenset()
    now_ns = last_ns + HOUR
    bank.tick(now_ns)
    assert bank.forgotten([bill], now_ns) == {bill.bid_id}
    bank.recall([bill.bid_id], [row], now_ns)
    bank.apply([bill], now_ns)
    assert (only(bank).spend_nanos, only(bank).refused) == (2_000_000, {"duplicate": 1})


def test_a_bid_that_was_not_recalled_books_nothing() -> None:
    bank = make()
    bank.tick(9 * RULES.remember_ns)
    with pytest.raises(InvariantError, match="must be recalled before a notice of it is taken"):
        bank.apply([notice(BILLING, bid_at_ns=HOUR)], 9 * RULES.remember_ns)


def test_the_books_are_not_asked_of_bids_whose_notice_is_refused_anyhow() -> None:
    bank = make()
    assert bank.forgotten([notice(BILLING, bid_at_ns=9 * S)], 101 * S + RULES.keep_ns) == frozenset()


def test_a_loss_voids() -> None:
    assert kinds(make().apply([notice(LOSS)], 10 * S)) == [SettlementKind.VOIDED]


def test_a_loss_after_booked_spend_voids_nothing() -> None:
    bank = make()
    assert kinds(bank.apply([notice(BILLING), notice(LOSS)], 10 * S)) == [SettlementKind.POSTED]


def test_a_billing_after_a_loss_is_still_owed() -> None:
    bank = make()
    bank.apply([notice(WIN, "b-9"), notice(LOSS, "b-9")], 10 * S)  # a win that was heard of outweighs it
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
        ({"posted": 0, "reserved": 0, "at_ns": 900 * S}, (200_000_000, 930 * S)),
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
