"""Attribution at the bank, one fact a test; against its naive twin it is held in `property`."""

from typing import Any

import pytest

from bidder.core.bank import Bank
from bidder.core.bankrules import HOUR_NS, MAX_EVENT_VALUE_NANOS, MAX_EVENTS_A_BID, BankRules
from bidder.core.bookings import BankState, Booking
from bidder.core.effects import Effects
from bidder.core.held import MAX_HELD_AN_ADVERTISER
from bidder.core.messages import CampaignChange, Conversion, Notice, NoticeKind
from bidder.core.users import key_text
from tests.support.banking import S, bid_id, campaign, item, notice

BILLING, IMPRESSION, CLICK, CONVERSION = (
    NoticeKind.BILLING, NoticeKind.IMPRESSION, NoticeKind.CLICK, NoticeKind.CONVERSION,
)  # fmt: skip
DAY_NS = 24 * HOUR_NS
RULES = BankRules()
USER, TABLET = 7, 8


def make(**changes: Any) -> Bank:
    return Bank(RULES, {"c1": campaign(**changes)})


def touch(kind: NoticeKind, bid: str = "b-1", at_ns: int = 10 * S, **changes: Any) -> Notice:
    fields = {"advertiser_id": "acme", "user": USER, "bid_at_ns": at_ns, "creative_id": "b1"}
    return notice(kind, bid, at_ns=at_ns, liable_until_ns=at_ns + 100 * S, **(fields | changes))


def sale(order_id: str = "o-1", at_ns: int = 20 * S, **changes: Any) -> Conversion:
    fields: dict[str, Any] = {
        "advertiser_id": "acme", "order_id": order_id, "value_nanos": 3 * S, "at_ns": at_ns, "arrived_ns": at_ns,
        "users": (key_text(USER),),
    }  # fmt: skip
    return Conversion(**(fields | changes))


def booked(effects: Effects) -> list[Booking]:
    return [row for row in effects.rows.bookings if row.kind == CONVERSION]


def reasons(bank: Bank) -> dict[str, int]:
    return {row.reason: row.times for row in bank.unattributed()}


def given_up(bank: Bank, now_ns: int) -> dict[str, int]:
    """Reasons once nothing waits any more."""
    bank.tick(now_ns + RULES.hold_ns)
    return reasons(bank)


def test_a_conversion_of_a_user_is_booked_on_the_bid_of_the_last_click() -> None:
    bank = make()
    bank.apply(
        [touch(BILLING), touch(CLICK), touch(CLICK, "b-2", 12 * S), touch(IMPRESSION, "b-3", 15 * S)], 15 * S
    )
    (row,) = booked(bank.apply([sale(goal="purchase")], 21 * S))
    assert row[:4] == (bid_id("b-2"), CONVERSION, "o-1", "c1")
    assert (row.value_nanos, row.at_ns, row.booked_ns) == (3 * S, 20 * S, 21 * S)
    assert (row.touch, row.touch_at_ns, row.goal, row.user_key) == (CLICK, 12 * S, "purchase", key_text(USER))
    assert (row.line_item_id, row.creative_id, row.advertiser_id, row.unbilled) == ("c1", "b1", "acme", True)
    (report,) = bank.report()
    assert (report.conversions, report.view_conversions, report.value_nanos, report.unbilled) == (
        1,
        0,
        3 * S,
        2,
    )


def test_without_a_click_in_its_window_it_is_booked_on_the_last_impression() -> None:
    bank = make(click_window_seconds=5, view_window_seconds=100)
    bank.apply([touch(CLICK), touch(BILLING), touch(BILLING, "b-2", 12 * S)], 15 * S)
    (row,) = booked(bank.apply([sale()], 21 * S))
    assert (row.bid_id, row.touch, row.unbilled) == (bid_id("b-2"), IMPRESSION, False)
    (report,) = bank.report()
    assert (report.conversions, report.view_conversions) == (1, 1)


@pytest.mark.parametrize(("late_ns", "counts"), [(0, True), (1, False)])
@pytest.mark.parametrize(
    ("kind", "window"), [(CLICK, "click_window_seconds"), (BILLING, "view_window_seconds")]
)
def test_a_window_holds_to_its_last_moment(kind: NoticeKind, window: str, late_ns: int, counts: bool) -> None:
    bank = make(**{window: 3_600})
    bank.apply([touch(kind)], 10 * S)
    at_ns = 10 * S + HOUR_NS + late_ns
    assert bool(booked(bank.apply([sale(at_ns=at_ns)], at_ns))) == counts
    assert given_up(bank, at_ns) == ({} if counts else {"outside_window": 1})


def test_by_default_a_click_counts_for_thirty_days_and_a_view_for_one() -> None:
    bank = make()
    bank.apply([touch(CLICK), touch(BILLING, "b-2", user=TABLET)], 10 * S)
    assert booked(bank.apply([sale(at_ns=30 * DAY_NS)], 30 * DAY_NS))
    for order, at_ns in (("o-2", DAY_NS + 10 * S), ("o-3", DAY_NS + 11 * S)):
        bank.apply([sale(order, at_ns=at_ns, users=(key_text(TABLET),))], 2 * DAY_NS)
    assert given_up(bank, 2 * DAY_NS) == {"outside_window": 1}


@pytest.mark.parametrize("window", ["click_window_seconds", "view_window_seconds"])
def test_a_window_of_nothing_is_off(window: str) -> None:
    bank = make(**{window: 0})
    bank.apply([touch(CLICK if window.startswith("click") else BILLING)], 10 * S)
    bank.apply([sale(at_ns=10 * S)], 10 * S)
    assert given_up(bank, 10 * S) == {"outside_window": 1}


def test_a_line_item_has_windows_of_its_own() -> None:
    bank = make(click_window_seconds=60, line_items=(item("short", click_window_seconds=5), item("long")))
    bank.apply([touch(CLICK, line_item_id="long"), touch(CLICK, "b-2", 12 * S, line_item_id="short")], 12 * S)
    (row,) = booked(bank.apply([sale()], 21 * S))
    assert row.line_item_id == "long"


def test_a_changed_window_holds_from_then_for_those_that_wait_too() -> None:
    bank = make(click_window_seconds=5)
    bank.apply([touch(CLICK)], 10 * S)
    assert not booked(bank.apply([sale()], 21 * S))
    bank.adopt([CampaignChange(version=2, campaign_id="c1", campaign=campaign(click_window_seconds=50))])
    assert booked(bank.tick(22 * S))


def test_a_touch_after_the_conversion_counts_for_nothing() -> None:
    bank = make()
    bank.apply([touch(CLICK, at_ns=20 * S + 1)], 21 * S)
    bank.apply([sale()], 21 * S)
    assert given_up(bank, 21 * S) == {"no_touch": 1}


def test_a_late_conversion_counts_by_its_own_time_for_what_came_before_it() -> None:
    bank = make()
    bank.apply([touch(CLICK), touch(CLICK, "b-2", 3 * DAY_NS)], 3 * DAY_NS)
    (row,) = booked(bank.apply([sale(at_ns=DAY_NS, arrived_ns=9 * DAY_NS)], 9 * DAY_NS))
    assert (row.bid_id, row.at_ns, row.late) == (bid_id("b-1"), DAY_NS, True)


def test_no_conversion_counts_for_a_bid_whose_time_is_over() -> None:
    bank = make(click_window_seconds=90 * 86_400)
    bank.apply([touch(CLICK)], 10 * S)
    now_ns = 110 * S + RULES.keep_ns
    assert booked(bank.apply([sale(at_ns=now_ns)], now_ns))
    bank.apply([sale("o-2", at_ns=20 * S)], now_ns + 1)
    assert given_up(bank, now_ns + 1) == {"outside_window": 1}


def test_any_of_the_ids_that_are_stated_finds_the_touch_and_the_last_one_wins() -> None:
    bank = make()
    bank.apply([touch(CLICK), touch(CLICK, "b-2", 12 * S, user=TABLET)], 12 * S)
    (row,) = booked(bank.apply([sale(users=(key_text(USER), key_text(TABLET)))], 21 * S))
    assert (row.bid_id, row.user_key) == (bid_id("b-2"), key_text(TABLET))


def test_another_advertisers_touch_counts_for_nothing() -> None:
    bank = make()
    bank.apply([touch(CLICK)], 10 * S)
    bank.apply([sale(advertiser_id="other")], 20 * S)
    assert given_up(bank, 20 * S) == {"no_touch": 1}


# -- orders -----------------------------------------------------------------------------------------------------


def test_an_order_counts_once_whichever_way_it_is_told() -> None:
    bank = make()
    bank.apply([touch(CLICK), touch(CLICK, "b-2", 12 * S)], 12 * S)
    direct = touch(CONVERSION, at_ns=20 * S, event_id="e-1", order_id="o-1", value_nanos=S, bid_at_ns=10 * S)
    assert booked(bank.apply([direct], 20 * S))
    assert not booked(bank.apply([sale("o-1"), touch(CONVERSION, "b-2", 20 * S, order_id="o-1")], 21 * S))
    assert (reasons(bank), bank.refused()) == ({"duplicate_order": 1}, {"duplicate_order": 1})
    assert booked(bank.apply([sale("o-2")], 21 * S))
    again = touch(CONVERSION, at_ns=22 * S, event_id="e-2", order_id="o-2", bid_at_ns=10 * S)
    bank.apply([again], 22 * S)
    assert (bank.report()[0].conversions, bank.refused()) == (2, {"duplicate_order": 2})


def test_an_event_of_a_bid_is_no_other_as_an_order() -> None:
    """Else the books would refuse the row, and the bank would end."""
    bank = make()
    bank.apply([touch(CLICK), touch(CONVERSION, event_id="x")], 10 * S)
    bank.apply([sale("x")], 21 * S)
    assert reasons(bank) == {"duplicate_order": 1}


def test_another_advertiser_may_use_the_same_order() -> None:
    other = campaign("c2", advertiser="other")
    bank = Bank(RULES, {"c1": campaign(), "c2": other})
    theirs = touch(CLICK, "b-2", campaign_id="c2", advertiser_id="other")
    bank.apply([touch(CLICK), theirs], 10 * S)
    assert len(booked(bank.apply([sale(), sale(advertiser_id="other")], 21 * S))) == 2


def test_an_order_is_remembered_as_long_as_bids_are() -> None:
    bank = make()
    bank.apply([touch(CLICK)], 10 * S)
    bank.apply([sale()], 20 * S)
    end_ns = 20 * S + RULES.keep_ns
    bank.tick(end_ns)
    bank.apply([touch(CLICK, "b-2", end_ns)], end_ns)
    bank.apply([sale(at_ns=end_ns)], end_ns)
    assert reasons(bank) == {"duplicate_order": 1}
    assert booked(bank.apply([sale(at_ns=end_ns + 1)], end_ns + 1))
    bank.tick(end_ns + 2 * HOUR_NS)
    bank.apply([sale(at_ns=end_ns + 2 * HOUR_NS)], end_ns + 2 * HOUR_NS)
    assert reasons(bank) == {"duplicate_order": 2}, "what is forgotten is the first of it alone"


def test_a_bid_takes_so_many_events_whoever_tells_of_them() -> None:
    bank = make()
    bank.apply([touch(CLICK)], 10 * S)
    effects = bank.apply([sale(f"o-{number}") for number in range(MAX_EVENTS_A_BID + 2)], 21 * S)
    assert len(booked(effects)) == MAX_EVENTS_A_BID
    assert reasons(bank) == {"too_many_events": 2}


# -- what counts for nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"permitted": False, "users": ()}, "not_permitted"),
        ({"users": ()}, "unknown_user"),
        ({"value_nanos": MAX_EVENT_VALUE_NANOS + 1}, "bad_value"),
        ({"users": (key_text(99),)}, "no_touch"),
    ],
)
def test_what_counts_for_no_bid_is_counted_with_its_worth(changes: dict[str, Any], reason: str) -> None:
    bank = make()
    bank.apply([touch(CLICK)], 10 * S)
    bank.apply([sale(**changes)], 20 * S)
    assert given_up(bank, 20 * S) == {reason: 1}
    (row,) = bank.unattributed()
    assert (row.advertiser_id, row.value_nanos) == ("acme", changes.get("value_nanos", 3 * S))


def test_of_a_bid_whose_user_may_not_be_kept_there_is_no_touch() -> None:
    bank = make()
    bank.apply([touch(CLICK, user=0)], 10 * S)
    bank.apply([sale()], 20 * S)
    assert given_up(bank, 20 * S) == {"no_touch": 1}


def test_a_conversion_that_names_its_bid_too_late_is_refused_by_rule() -> None:
    bank = make(click_window_seconds=5)
    late = touch(CONVERSION, at_ns=20 * S, bid_at_ns=10 * S, order_id="o-1", event_id="o-1")
    assert not booked(bank.apply([touch(CLICK), late], 20 * S))
    assert bank.refused() == {"outside_window": 1}
    assert booked(bank.apply([touch(CLICK, "b-2", 19 * S), sale("o-1")], 21 * S)), "its order is still free"


# -- those that wait --------------------------------------------------------------------------------------------


def test_a_conversion_waits_for_its_click() -> None:
    bank = make()
    (row,) = bank.apply([sale()], 21 * S).rows.held
    assert row.until_ns == 21 * S + RULES.hold_ns
    assert bank.tick(22 * S).rows.released == ()
    bank.apply([touch(CLICK)], 23 * S)
    effects = bank.tick(24 * S)
    assert (len(booked(effects)), effects.rows.released) == (1, (row.message,))
    assert given_up(bank, 24 * S) == {}


def test_it_waits_while_the_bank_has_not_heard_all_of_that_time() -> None:
    bank = make()
    bank.apply([sale()], 21 * S)
    bank.tick(21 * S + 2 * RULES.hold_ns, 21 * S)
    assert reasons(bank) == {}
    bank.apply([touch(CLICK)], 21 * S + 2 * RULES.hold_ns)
    assert booked(bank.tick(21 * S + 2 * RULES.hold_ns, 22 * S))


def test_a_record_that_comes_twice_waits_once() -> None:
    bank = make()
    assert len(bank.apply([sale(), sale()], 21 * S).rows.held) == 1
    assert reasons(bank) == {"duplicate_order": 1}


def test_one_advertiser_has_so_many_waiting() -> None:
    bank = make()
    effects = bank.apply([sale(f"o-{number}") for number in range(MAX_HELD_AN_ADVERTISER + 2)], 21 * S)
    assert (len(effects.rows.held), reasons(bank)) == (MAX_HELD_AN_ADVERTISER, {"no_touch": 2})
    assert bank.apply([sale(advertiser_id="other")], 21 * S).rows.held


def test_one_that_was_heard_before_is_neither_counted_nor_waits() -> None:
    bank = make()
    effects = bank.apply([sale()], 21 * S, redelivered=True)
    assert not effects.rows
    assert given_up(bank, 21 * S) == {}


def test_a_bank_built_from_its_rows_goes_on_where_it_was() -> None:
    bank = make()
    steps = [bank.apply([touch(CLICK), sale("o-1"), sale("o-2", users=(key_text(TABLET),))], 21 * S)]
    steps.append(bank.apply([sale("o-1")], 22 * S))
    state = BankState(
        tallies=[row for step in steps for row in step.rows.tallies][-1:],
        bookings=[row for step in steps for row in step.rows.bookings],
        touches=[row for step in steps for row in step.rows.bookings],
        orders=[row for step in steps for row in step.rows.orders],
        held=[row for step in steps for row in step.rows.held],
        unattributed=[row for step in steps for row in step.rows.unattributed],
    )
    again = Bank(RULES, {"c1": campaign()}, state)
    for one in (bank, again):
        assert reasons(one) == {"duplicate_order": 1}
        effects = one.apply([sale("o-1"), sale("o-3"), touch(CLICK, "b-2", user=TABLET)], 23 * S)
        assert [row.bid_id for row in booked(effects)] == [bid_id("b-1")]
        assert [row.bid_id for row in booked(one.tick(24 * S))] == [bid_id("b-2")]
        assert reasons(one) == {"duplicate_order": 2}
        assert one.line_items() == bank.line_items()
