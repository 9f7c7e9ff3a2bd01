"""Campaigns in the store: versions, audit, all or nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bidder.core.campaigns import Campaign, Status
from bidder.errors import InputError
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, campaign


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CampaignStore]:
    with Database(tmp_path / "a.db", durable=False) as database:
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


def test_a_change_of_another_connection_is_seen(tmp_path: Path) -> None:
    with Database(tmp_path / "a.db") as one, Database(tmp_path / "a.db") as other:
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


def test_a_campaign_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with Database(tmp_path / "a.db") as database:
        store = CampaignStore(database)
        store.put([campaign("a")], at_ns=1)
        with database.transaction() as connection:
            connection.execute("""UPDATE campaigns SET body = '{"id": "a", "colour": "red"}'""")
        with pytest.raises(InputError, match="campaign a in the store cannot be read"):
            store.all()
