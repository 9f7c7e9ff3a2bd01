"""Campaigns in the store: versions, audit, all or nothing."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bidder.core.campaigns import Advertiser, Budgets, Campaign, Creative, LineItem, Rule, Status, Targeting
from bidder.core.messages import AdvertiserChange, CampaignChange
from bidder.errors import InputError
from bidder.store.campaigns import CampaignStore
from bidder.store.database import MIGRATIONS, Database
from bidder.store.differences import differences
from bidder.store.driver import RowRefused
from tests.support.banking import S, campaign


@pytest.fixture
def store(place: str) -> Iterator[CampaignStore]:
    with Database(place, durable=False) as database:
        yield CampaignStore(database)


def test_what_is_put_is_what_is_there(store: CampaignStore) -> None:
    result = store.put([campaign("b"), campaign("a")], at_ns=5)
    assert result == (("b", "a"), (), ())
    assert store.all() == {"a": campaign("a"), "b": campaign("b")}
    assert store.get("a") == campaign("a")
    assert store.get("none") is None


def test_a_put_that_changes_nothing_takes_no_version(store: CampaignStore) -> None:
    store.put([campaign("a")], at_ns=5)
    assert store.put([campaign("a")], at_ns=6) == ((), (), ("a",))
    assert store.version() == 1
    assert len(store.audit()) == 1


def test_a_put_that_fails_leaves_nothing_of_itself(store: CampaignStore) -> None:
    def campaigns() -> Iterator[Campaign]:
        yield campaign("a")
        raise InputError("the second is bad")

    with pytest.raises(InputError):
        store.put(campaigns(), at_ns=5)
    assert (store.all(), store.version(), store.audit()) == ({}, 0, [])


def test_changes_since_a_version_are_the_campaigns_as_they_now_are(store: CampaignStore) -> None:
    store.put([campaign("a"), campaign("b")], at_ns=5)
    seen = store.version()
    store.set_budget("a", 7, at_ns=6)
    store.set_budget("a", 8, at_ns=7)
    (change,) = store.changes_since(seen)
    assert (change.version, change.campaign_id, change.campaign) == (4, "a", campaign("a", budget_nanos=8))
    assert store.changes_since(change.version) == []
    assert [change.campaign_id for change in store.changes_since(0)] == ["b", "a"]


def test_a_change_of_another_connection_is_seen(place: str) -> None:
    with Database(place) as one, Database(place) as other:
        CampaignStore(one).put([campaign("a")], at_ns=5)
        assert CampaignStore(other).changes_since(0)[0].campaign == campaign("a")


def test_each_change_has_its_audit_row(store: CampaignStore) -> None:
    store.put([campaign("a")], at_ns=1)
    store.set_budget("a", 200 * S, at_ns=2)
    store.set_status("a", Status.PAUSED, at_ns=3, actor="web")
    store.put([campaign("a")], at_ns=4)
    rows = store.audit("a")
    assert [(row.version, row.at_ns, row.actor, row.what) for row in rows] == [
        (1, 1, "cli", "create"),
        (2, 2, "cli", "budget"),
        (3, 3, "web", "status"),
        (4, 4, "cli", "replace"),
    ]
    assert [(row.old, row.new) for row in rows[1:3]] == [
        ("100000000000", "200000000000"),
        ('"active"', '"paused"'),
    ]
    assert rows[0].old is None


def test_pausing_twice_is_pausing_once(store: CampaignStore) -> None:
    store.put([campaign("a")], at_ns=1)
    store.set_status("a", Status.PAUSED, at_ns=2)
    store.set_status("a", Status.PAUSED, at_ns=3)
    assert (store.version(), len(store.audit())) == (2, 2)


def test_an_unknown_campaign_is_named_with_its_nearest(store: CampaignStore) -> None:
    with pytest.raises(InputError, match="was 'spring'; there are none: import a sheet first"):
        store.set_budget("spring", 5, at_ns=1)
    store.put([campaign("spring-sale")], at_ns=1)
    with pytest.raises(InputError, match="was 'spring-sael'; nearest: spring-sale"):
        store.set_status("spring-sael", Status.PAUSED, at_ns=2)


def test_a_budget_must_be_above_zero(store: CampaignStore) -> None:
    store.put([campaign("a")], at_ns=1)
    with pytest.raises(InputError, match="budget of campaign a must be > 0, was 0 nanos"):
        store.set_budget("a", 0, at_ns=2)


def test_a_campaign_that_cannot_be_read_is_named(place: str) -> None:
    with Database(place) as database:
        store = CampaignStore(database)
        store.put([campaign("a")], at_ns=1)
        with database.transaction() as connection:
            connection.execute("""UPDATE campaigns SET body = '{"id": "a", "colour": "red"}'""")
        with pytest.raises(InputError, match="campaign a in the store cannot be read"):
            store.all()


def tree(campaign_id: str = "a", **changes: object) -> Campaign:
    """A campaign of two line items, `a-1` and `a-2`."""
    items = (LineItem(id=f"{campaign_id}-1"), LineItem(id=f"{campaign_id}-2"))
    return campaign(campaign_id, **({"line_items": items} | changes))


ACME = Advertiser(id="acme", name="Acme", time_zone="Europe/Berlin")


def test_advertisers_are_kept_beside_campaigns(store: CampaignStore) -> None:
    assert store.put_advertisers([ACME], at_ns=1) == (("acme",), (), ())
    assert store.put_advertisers([ACME], at_ns=2) == ((), (), ("acme",))
    assert (store.advertisers(), store.all(), store.version()) == ({"acme": ACME}, {}, 1)


def test_changes_of_both_kinds_come_in_the_order_of_versions(store: CampaignStore) -> None:
    store.put([campaign("a")], at_ns=1)
    store.put_advertisers([ACME], at_ns=2)
    store.put([campaign("b")], at_ns=3)
    assert store.changes_since(0) == [
        CampaignChange(version=1, campaign_id="a", campaign=campaign("a")),
        AdvertiserChange(version=2, advertiser_id="acme", advertiser=ACME),
        CampaignChange(version=3, campaign_id="b", campaign=campaign("b")),
    ]
    store.set_advertiser_status("acme", Status.PAUSED, at_ns=4)
    (change,) = store.changes_since(3)
    assert isinstance(change, AdvertiserChange)
    assert (change.version, change.advertiser) == (4, msgspec.structs.replace(ACME, status=Status.PAUSED))


def test_a_whole_sheet_is_put_at_once_advertisers_first(store: CampaignStore) -> None:
    assert store.put_all([campaign("a")], [ACME], at_ns=1) == ((("a",), (), ()), (("acme",), (), ()))
    assert [type(change) for change in store.changes_since(0)] == [AdvertiserChange, CampaignChange]


def test_a_put_of_both_that_fails_leaves_neither(store: CampaignStore) -> None:
    clash = [tree("a"), campaign("a-1")]
    with pytest.raises(InputError, match="was 'a-1' in campaigns a and a-1"):
        store.put_all(clash, [ACME], at_ns=1)
    assert (store.advertisers(), store.all(), store.version(), store.audit()) == ({}, {}, 0, [])


def test_two_campaigns_cannot_share_a_line_item_id_even_if_put_apart(store: CampaignStore) -> None:
    store.put([tree("a")], at_ns=1)
    items = (LineItem(id="a-2"), LineItem(id="b-2"))
    with pytest.raises(
        InputError, match="ids of line items must be of their own in the whole store, was 'a-2'"
    ):
        store.put([campaign("b", line_items=items)], at_ns=2)
    assert list(store.all()) == ["a"]


@pytest.mark.parametrize(
    ("line_item_id", "daily", "what", "old"),
    [
        (None, False, "budget", "100000000000"),
        (None, True, "daily_budget", "0"),
        ("a-2", False, "budget", "0"),
        ("a-2", True, "daily_budget", "0"),
    ],
)
def test_a_budget_of_each_kind_is_set_and_audited(
    store: CampaignStore, line_item_id: str | None, daily: bool, what: str, old: str
) -> None:
    store.put([tree()], at_ns=1)
    new = store.set_budget("a", 7 * S, at_ns=2, line_item_id=line_item_id, daily=daily)
    assert store.all() == {"a": new}
    budgets = new.budgets if line_item_id is None else new.line_items[1].budgets
    whole = new.budget_nanos if line_item_id is None else budgets.lifetime_nanos
    assert (budgets.daily_nanos if daily else whole) == 7 * S
    row = store.audit()[-1]
    assert (row.campaign_id, row.line_item_id, row.what, row.old, row.new) == (
        "a",
        line_item_id or "",
        what,
        old,
        "7000000000",
    )
    assert new.line_items[0] == LineItem(id="a-1")


def test_a_limit_of_a_line_item_can_be_taken_away(store: CampaignStore) -> None:
    items = (LineItem(id="a-1", budgets=Budgets(lifetime_nanos=5, daily_nanos=3)),)
    store.put([campaign("a", line_items=items)], at_ns=1)
    new = store.set_budget("a", 0, at_ns=2, line_item_id="a-1")
    assert new.line_items[0].budgets == Budgets(daily_nanos=3)


def test_a_line_item_is_paused_alone(store: CampaignStore) -> None:
    store.put([tree()], at_ns=1)
    new = store.set_status("a", Status.PAUSED, at_ns=2, line_item_id="a-2")
    assert [item.status for item in new.line_items] == [Status.ACTIVE, Status.PAUSED]
    assert new.status is Status.ACTIVE


def test_an_unknown_line_item_is_named_with_its_nearest(store: CampaignStore) -> None:
    store.put([tree(), campaign("b")], at_ns=1)
    with pytest.raises(InputError, match="line item must be one of campaign a's, was 'a-3'; nearest: a-"):
        store.set_status("a", Status.PAUSED, at_ns=2, line_item_id="a-3")
    with pytest.raises(InputError, match="was 'b': the campaign states none and is its own"):
        store.set_status("b", Status.PAUSED, at_ns=2, line_item_id="b")


def test_an_advertiser_that_only_campaigns_name_can_be_paused(store: CampaignStore) -> None:
    store.put([campaign("a")], at_ns=1)
    store.set_advertiser_status("acme", Status.PAUSED, at_ns=2)
    assert store.advertisers() == {"acme": Advertiser(id="acme", status=Status.PAUSED)}
    (row,) = store.audit(advertiser_id="acme")
    assert (row.version, row.campaign_id, row.what, row.old, row.new) == (
        2,
        "",
        "status",
        '"active"',
        '"paused"',
    )


def test_an_unknown_advertiser_is_named_with_its_nearest(store: CampaignStore) -> None:
    store.put([campaign("a")], at_ns=1)
    with pytest.raises(InputError, match="advertiser must be one of the store's, was 'acne'; nearest: acme"):
        store.set_advertiser_status("acne", Status.PAUSED, at_ns=2)


def test_the_audit_of_a_store_of_the_first_schema_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE schema_versions (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT"
    )
    for statement in MIGRATIONS[0].statements:
        connection.execute(statement)
    connection.execute("INSERT INTO schema_versions VALUES (1, 'campaigns and books')")
    body = msgspec.json.encode(campaign("a")).decode()
    connection.execute("INSERT INTO campaigns VALUES ('a', 1, ?)", (body,))
    connection.execute("UPDATE numbers SET value = 1 WHERE name = 'campaigns_version'")
    connection.execute("INSERT INTO audit VALUES (7, 1, 5, 'cli', 'a', 'create', NULL, ?)", (body,))
    connection.commit()
    connection.close()
    with Database(path) as database:
        store = CampaignStore(database)
        store.put_advertisers([ACME], at_ns=6)
        rows = store.audit()
    assert rows[0] == (1, 5, "cli", "a", "create", None, body, "", "", "")
    assert (rows[1].version, rows[1].advertiser_id) == (2, "acme")


@pytest.mark.parametrize("ids", [("a", "acme"), (None, None), ("none", None), (None, "none")])
def test_an_audit_row_is_about_one_campaign_or_advertiser_that_is_there(
    place: str, ids: tuple[str | None, str | None]
) -> None:
    with Database(place) as database:
        CampaignStore(database).put_all([campaign("a")], [ACME], at_ns=1)
        with pytest.raises(RowRefused), database.transaction() as connection:
            connection.execute(
                "INSERT INTO audit (version, at_ns, actor, campaign_id, advertiser_id, what, new) "
                "VALUES (9, 9, 'x', ?, ?, 'status', '')",
                ids,
            )


def test_differences_name_columns_line_items_and_creatives() -> None:
    old = tree(targeting=Targeting(geo=Rule(("USA",))), budgets=Budgets(daily_nanos=5 * S))
    (creative,) = old.creatives
    other = Creative(id="b2", w=1, h=1, image_url="http://a.example/", landing_url="http://a.example/")
    new = tree(
        targeting=Targeting(geo=Rule(("USA", "CAN"))),
        creatives=(msgspec.structs.replace(creative, w=320), other),
        line_items=(
            LineItem(id="a-1", budgets=Budgets(lifetime_nanos=2 * S)),
            LineItem(id="a-3", name="New"),
        ),
    )
    assert differences(old, new) == [
        ("", "daily_budget", "5", ""),
        ("", "geo", "USA", "USA;CAN"),
        ("", "creative b1 w", "300", "320"),
        ("", "creative b2", "", "b2|1|1|http://a.example/|http://a.example/"),
        ("a-1", "budget", "", "2"),
        ("a-2", "line item", "status active", ""),
        ("a-3", "line item", "", "name New, status active"),
    ]
    assert differences(old, old) == []


def test_of_a_long_list_only_what_came_and_went_is_a_difference() -> None:
    many = tuple(f"site-{number}.example" for number in range(50))
    old = campaign(targeting=Targeting(domain=Rule(many)))
    new = campaign(targeting=Targeting(domain=Rule((*many[1:], "new.example"))))
    assert differences(old, new) == [
        (
            "",
            "domain",
            "50 values, of them only here: site-0.example",
            "50 values, of them only here: new.example",
        )
    ]


def test_an_order_that_changed_is_a_difference() -> None:
    old, new = tree(), tree(line_items=(LineItem(id="a-2"), LineItem(id="a-1")))
    assert differences(old, new) == [("", "order of line items", "a-1 a-2", "a-2 a-1")]


def test_a_campaign_stays_with_its_advertiser(store: CampaignStore) -> None:
    store.put([campaign("a")], at_ns=1)
    with pytest.raises(InputError, match="advertiser of campaign a must stay 'acme', was 'other'"):
        store.put([campaign("b"), campaign("a", advertiser="other")], at_ns=2)
    assert list(store.all()) == ["a"]
