"""Who pays for a bid: budgets of all levels, by day, and what leases and settlements do to them."""

from typing import Any

import pytest

from bidder.core.campaigns import Advertiser, Budgets, Campaign, LineItem
from bidder.core.engine import Engine
from bidder.core.messages import ONE_IMPRESSION, Lease, SettlementKind
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import Offer, S, campaign, settlement

DAY = 86_400 * S
MONDAY_NS = 1_772_409_600 * S
MONDAY = MONDAY_NS // DAY
BID = 1_000_000
"""What the plain campaign bids."""
ITEM = LineItem(id="l1", budgets=Budgets(lifetime_nanos=5 * S, daily_nanos=5 * S, daily_impressions=9))
OWN: Campaign = campaign(line_items=(ITEM,), budgets=Budgets(lifetime_impressions=9))
SHOP = Advertiser(id="shop", time_zone="America/New_York", budgets=Budgets(daily_nanos=5 * S))
YESTERDAY = MONDAY - 1
ACCOUNTS = (
    "c1", "c/c1/imps", "l/l1/money", f"a/shop/money/d{YESTERDAY}", f"l/l1/money/d{YESTERDAY}",
    f"l/l1/imps/d{YESTERDAY}",
)  # fmt: skip
"""Of a bid at Monday 00:00 UTC, when it is still Sunday in New York."""


def leases(*names: str, **changes: Any) -> list[Lease]:
    return [
        make.lease(name, **({"granted_nanos": 9 * ONE_IMPRESSION if "/imps" in name else 5 * S} | changes))
        for name in names
    ]


def engine(*names: str, now_ns: int = MONDAY_NS, **changes: Any) -> Engine:
    made = Engine(make.SETTINGS, make.KEY, None, make.START)
    made.adopt_campaigns({"c1": OWN}, 1, now_ns, {"shop": SHOP})
    made.adopt_leases(leases(*(names or ACCOUNTS), **changes), now_ns)
    return made


def bid(made: Engine, name: str = "r1", now_ns: int = MONDAY_NS, **changes: Any) -> dict[str, Any]:
    (row,) = make.decide(made, make.body(Offer(id=name, external=("l1", 0.001), **changes)), now_ns=now_ns)
    return row


def books(made: Engine, now_ns: int = MONDAY_NS) -> dict[str, tuple[int, int]]:
    """What of each leased account is reserved and posted."""
    _, rows = made.wallet.rows(now_ns, whole=True)
    return {row.account_id: (row.reserved_nanos, row.posted_nanos) for row in rows}


def test_a_bid_reserves_in_every_budget_of_its_line_item() -> None:
    made = engine()
    assert bid(made)["reason"] == Reason.BID
    assert books(made) == {name: (ONE_IMPRESSION if "/imps" in name else BID, 0) for name in ACCOUNTS}


@pytest.mark.parametrize("missing", ACCOUNTS)
def test_a_budget_without_a_lease_is_not_bid_on(missing: str) -> None:
    assert bid(engine(*(name for name in ACCOUNTS if name != missing)))["reason"] == Reason.NO_LEASE


@pytest.mark.parametrize("short", ACCOUNTS)
def test_a_budget_a_unit_short_stops_the_bid_and_changes_nothing(short: str) -> None:
    made = engine(*(name for name in ACCOUNTS if name != short))
    need = ONE_IMPRESSION if "/imps" in short else BID
    made.adopt_leases(leases(short, granted_nanos=need - 1), MONDAY_NS)
    assert bid(made)["reason"] == Reason.BUDGET
    assert set(books(made).values()) == {(0, 0)}
    fresh = engine(*(name for name in ACCOUNTS if name != short))
    fresh.adopt_leases(leases(short, granted_nanos=need), MONDAY_NS)
    assert bid(fresh)["reason"] == Reason.BID


def test_impressions_are_counted_by_the_quantity() -> None:
    made = engine()
    imp = {"id": "1", "banner": {"w": 300, "h": 250}, "qty": {"multiplier": 2.5}}
    imp["ext"] = {"clearbid": {"campaign": "l1", "pctr": 0.001}}
    assert bid(made, more={"imp": [imp]})["reason"] == Reason.BID
    found = books(made)
    assert (found["c1"][0], found["c/c1/imps"][0]) == (BID * 5 // 2, ONE_IMPRESSION * 5 // 2)


# -- days -----------------------------------------------------------------------------------------------------


def today(name: str, day: int) -> str:
    return f"{name}/d{day}"


DAILY = ("a/shop/money", "l/l1/money", "l/l1/imps")


def test_a_day_ends_at_midnight_by_the_advertisers_clock() -> None:
    made = engine(*ACCOUNTS, *(today(name, MONDAY) for name in DAILY))
    midnight_ns = MONDAY_NS + 5 * 3_600 * S
    assert bid(made, "r1", midnight_ns - 1)["reason"] == Reason.BID
    assert books(made)[today("a/shop/money", MONDAY)] == (0, 0)
    second = bid(made, "r2", midnight_ns)["bid_cpm_micros"]
    assert books(made)[today("a/shop/money", MONDAY)] == (second, 0)
    assert books(made)[today("a/shop/money", YESTERDAY)] == (BID, 0)


def test_a_new_day_is_not_bid_on_before_its_lease() -> None:
    made = engine()
    tomorrow_ns = MONDAY_NS + 20 * 3_600 * S
    assert bid(made, "r1", tomorrow_ns)["reason"] == Reason.NO_LEASE
    made.adopt_leases(leases(*(today(name, MONDAY) for name in DAILY)), tomorrow_ns)
    assert bid(made, "r2", tomorrow_ns)["reason"] == Reason.BID


def test_what_yesterday_reserved_is_posted_on_yesterday() -> None:
    made = engine(*ACCOUNTS, *(today(name, MONDAY) for name in DAILY))
    row = bid(made)
    later_ns = MONDAY_NS + 6 * 3_600 * S
    bid(made, "r2", later_ns)
    posted = settlement(SettlementKind.POSTED, row["bid_id"], 700, line_item_id="l1", bid_at_ns=MONDAY_NS)
    made.settle([posted], later_ns)
    assert books(made)[today("l/l1/money", YESTERDAY)] == (0, 700)
    assert books(made)[today("l/l1/money", MONDAY)][1] == 0


def test_a_late_post_of_yesterdays_bid_is_owed_by_yesterday() -> None:
    made = engine(*ACCOUNTS, *(today(name, MONDAY) for name in DAILY))
    row = bid(made)
    later_ns = MONDAY_NS + 6 * 3_600 * S
    made.tick(later_ns)
    made.adopt_leases(leases(*(today(name, YESTERDAY) for name in DAILY)), later_ns)
    posted = settlement(
        SettlementKind.POSTED, row["bid_id"], 700, line_item_id="l1", bid_at_ns=MONDAY_NS, late=True
    )
    made.settle([posted], later_ns)
    assert made.late_wins == 1
    assert books(made)[today("l/l1/money", YESTERDAY)] == (0, 700)
    assert books(made)[today("l/l1/imps", YESTERDAY)] == (0, ONE_IMPRESSION)
    assert books(made)[today("l/l1/money", MONDAY)] == (0, 0)


def test_a_late_post_of_a_removed_line_item_is_owed_by_its_budgets() -> None:
    made = engine()
    row = bid(made)
    made.tick(MONDAY_NS + 61 * S)
    made.adopt_campaigns({}, 2, MONDAY_NS + 62 * S)
    posted = settlement(
        SettlementKind.POSTED, row["bid_id"], 700, line_item_id="l1", bid_at_ns=MONDAY_NS, late=True
    )
    made.settle([posted], MONDAY_NS + 63 * S)
    assert books(made)["c1"] == (0, 700)
    assert books(made)["l/l1/money"] == (0, 700)


def test_a_post_of_a_line_item_that_was_never_here_is_owed_by_its_campaign() -> None:
    made = engine()
    posted = settlement(
        SettlementKind.POSTED, "A" * 16, 700, line_item_id="gone", campaign_id="c9", late=True
    )
    made.settle([posted], MONDAY_NS)
    made.adopt_leases(leases("c9"), MONDAY_NS)
    assert books(made)["c9"] == (0, 700)


def test_days_that_are_over_are_told_no_more() -> None:
    made = engine(bid_until_ns=MONDAY_NS + 3_600 * S)
    assert today("l/l1/money", YESTERDAY) in books(made)
    left = books(made, MONDAY_NS + 2 * DAY)
    assert today("l/l1/money", YESTERDAY) not in left
    assert "c1" in left


# -- whose money paces ----------------------------------------------------------------------------------------


def test_line_items_of_one_campaign_share_its_multiplier_and_who_has_money_goes_by_the_lesser() -> None:
    rich = LineItem(id="rich", budgets=Budgets(lifetime_nanos=S))
    own = campaign(line_items=(LineItem(id="a"), LineItem(id="b"), rich))
    made = make.engine([own], [make.lease("c1"), make.lease("l/rich/money", budget_nanos=S)])
    row = make.decide(made, make.body(Offer(external=("a", 0.001))))[0]
    made.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000, line_item_id="a")], 1)
    status = made.status(1)
    assert status["a"].multiplier == status["b"].multiplier == status["rich"].multiplier < 0.5
    row = make.decide(made, make.body(Offer(id="r2", external=("rich", 0.001))))[0]
    made.settle([settlement(SettlementKind.POSTED, row["bid_id"], 100_000, line_item_id="rich")], 1)
    status = made.status(1)
    assert status["rich"].multiplier == status["a"].multiplier == status["b"].multiplier
    _, own_money = made.wallet.groups_of(made.table.index["rich"])
    assert status["rich"].multiplier < made._pacer.multipliers[own_money] < 0.5
    assert int(made.wallet.books_of(own_money)[2]) == 100_000


def test_only_what_changed_is_told_between_whole_reports() -> None:
    made = engine()
    assert made.wallet.rows(MONDAY_NS, whole=True)[0]
    assert made.wallet.rows(MONDAY_NS, whole=False) == (False, ())
    bid(made)
    whole, rows = made.wallet.rows(MONDAY_NS, whole=False)
    assert (whole, {row.account_id for row in rows}) == (False, set(ACCOUNTS))
