"""Control messages: applied in order, or counted and left out."""

from typing import Any

import msgspec
import pytest

from bidder.core.campaigns import Advertiser, LineItem, Rule, Status, Targeting
from bidder.core.creatives import MAX_BITS
from bidder.core.engine import Engine
from bidder.core.exposures import Exposure
from bidder.core.inbox import Inbox
from bidder.core.messages import (
    CAMPAIGNS,
    LEASES,
    SETTLEMENTS,
    AdvertiserChange,
    CampaignChange,
    CreativeCounts,
    Message,
    Settlement,
    SettlementKind,
    encode,
)
from bidder.core.profiles import Profile
from bidder.core.users import key_text, user_key
from tests.support import factories as make
from tests.support.factories import S, campaign, creative, lease, settlement


@pytest.fixture
def engine() -> Engine:
    return Engine(make.SETTINGS, make.KEY, None, make.START)


@pytest.fixture
def inbox(engine: Engine) -> Inbox:
    return Inbox(engine)


def change(campaign_id: str = "c1", version: int = 1, **changes: Any) -> CampaignChange:
    return CampaignChange(version=version, campaign_id=campaign_id, campaign=campaign(campaign_id, **changes))


def apply(inbox: Inbox, *messages: Message | bytes) -> None:
    inbox.apply([("t", one if isinstance(one, bytes) else encode(one)) for one in messages], 0)


def altered(message: Message, **fields: Any) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(encode(message)), **fields})


def test_campaigns_and_leases_of_one_batch_make_a_bidder(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, lease(), change())
    assert make.decide(engine, make.body(make.Offer()))[0]["reason"] == 0


def test_a_lease_waits_for_its_campaign(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, lease())
    apply(inbox, change())
    assert make.decide(engine, make.body(make.Offer()))[0]["reason"] == 0


def test_the_table_has_the_newest_version(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change("c1", 7), change("c2", 5))
    assert (engine.table.ids, engine.table.version, inbox.campaigns) == (("c1", "c2"), 7, 2)


def test_a_removed_campaign_is_gone(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change("c1", 1), change("c2", 2))
    apply(inbox, CampaignChange(version=3, campaign_id="c1", campaign=None))
    assert (engine.table.ids, engine.table.version) == (("c2",), 3)


def test_removing_what_is_not_there_changes_nothing(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change("c1", 1))
    table = engine.table
    apply(inbox, CampaignChange(version=2, campaign_id="c9", campaign=None))
    assert engine.table is table
    assert inbox.refused == {}


@pytest.mark.parametrize(
    "nothing",
    [
        CampaignChange(version=9, campaign_id="none", campaign=None),
        AdvertiserChange(version=9, advertiser_id="none", advertiser=None),
    ],
)
def test_what_changes_nothing_leaves_the_version_whatever_batch_it_comes_in(
    nothing: CampaignChange | AdvertiserChange,
) -> None:
    versions = []
    for batches in ([[change(version=1), nothing]], [[change(version=1)], [nothing]]):
        engine = Engine(make.SETTINGS, make.KEY, None, make.START)
        inbox = Inbox(engine)
        for batch in batches:
            apply(inbox, *batch)
        versions.append(engine.table.version)
    assert versions == [1, 1]


def test_words_of_campaigns_that_are_gone_leave_room_for_others(inbox: Inbox, engine: Engine) -> None:
    def speaking(campaign_id: str, version: int, first: int) -> CampaignChange:
        attrs = tuple(range(first, first + MAX_BITS))
        return change(campaign_id, version, creatives=(creative(attr=attrs),))

    apply(inbox, speaking("c1", 1, 1))
    apply(inbox, CampaignChange(version=2, campaign_id="c1", campaign=None))
    apply(inbox, speaking("c2", 3, 100))
    assert (engine.table.ids, inbox.refused) == (("c2",), {})


def test_settlements_reach_the_wallet(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change(), lease())
    row = make.decide(engine, make.body(make.Offer()))[0]
    apply(inbox, settlement(SettlementKind.POSTED, row["bid_id"], 900_000))
    assert engine.status(0)["c1"].posted_nanos == 900_000


WON = settlement(SettlementKind.WON, "A" * 16)
POSTED = settlement(SettlementKind.POSTED, "A" * 16, 5)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (b"", "unreadable"),
        (b"{", "unreadable"),
        (b"\xff", "unreadable"),
        (b"null", "unreadable"),
        (b'{"type":"notice"}', "unreadable"),
        (encode(WON).replace(b"settlement", b"surprise"), "unreadable"),
        (altered(WON, bid_id="short"), "unreadable"),
        (altered(WON, bid_id="A" * 15 + "="), "unreadable"),
        (altered(WON, bid_id="A" * 15 + "\n"), "unreadable"),
        (altered(WON, kind=9), "unreadable"),
        (altered(WON, amount_nanos=1), "unreadable"),
        (altered(POSTED, amount_nanos=0), "unreadable"),
        (altered(POSTED, amount_nanos=-5), "unreadable"),
        (altered(POSTED, amount_nanos=2**63), "unreadable"),
        (altered(POSTED, v=2), "version"),
        (altered(lease(), granted_nanos=-1), "unreadable"),
        (altered(lease(), granted_nanos=2**70), "unreadable"),
        (altered(lease(), bid_until_ns=2**63), "unreadable"),
        (altered(lease(), bid_until_ns=-1), "unreadable"),
        (altered(lease(), epoch=0), "unreadable"),
        (altered(lease(), seats=0), "unreadable"),
        (altered(lease(), v=0), "version"),
        (altered(change(), version=0), "inconsistent"),
        (altered(change(), campaign_id="c2"), "inconsistent"),
        (encode(change(start_ns=2**63, end_ns=2**63 + 1)), "unreadable"),
        (encode(change(end_ns=10**30)), "unreadable"),
        (encode(change(budget_nanos=-1)), "unreadable"),
        (encode(change(currency="EUR")), "unservable"),
        (encode(change(creatives=(creative(landing_url="javascript:alert(1)"),))), "unservable"),
        (encode(change(creatives=(creative(landing_url="https://a.example/ b"),))), "unservable"),
        (encode(change(creatives=(creative(image_url="https://a.example/\\u0000"),))), "unservable"),
        (encode(change(creatives=(creative(image_url="https://a.example/\0"),))), "unservable"),
        (encode(change(creatives=(creative(image_url="ftp://cdn.example/a.png"),))), "unservable"),
    ],
)
def test_what_cannot_be_taken_is_counted_and_left_out(
    inbox: Inbox, engine: Engine, value: bytes, cause: str
) -> None:
    apply(inbox, value)
    assert inbox.refused == {cause: 1}
    assert inbox.last_refusal
    assert (engine.epoch, inbox.campaigns, len(engine.table)) == (0, 0, 0)


def test_the_rest_of_a_batch_with_a_bad_message_is_applied(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change(), b"{", lease(), altered(WON, bid_id="x"))
    assert inbox.refused == {"unreadable": 2}
    assert make.decide(engine, make.body(make.Offer()))[0]["reason"] == 0


def test_a_campaign_that_becomes_unservable_no_longer_bids(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change(version=1))
    apply(inbox, change(version=2, currency="EUR"))
    assert len(engine.table) == 0


def test_a_paused_campaign_stays_adopted(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change(version=1))
    apply(inbox, change(version=2, status=Status.PAUSED))
    assert (inbox.campaigns, int(engine.table.active[0])) == (1, 0)


@pytest.mark.parametrize("message", [WON, POSTED, lease(), lease(bid_until_ns=0, budget_nanos=0), change()])
def test_what_the_bank_sends_can_be_read(inbox: Inbox, message: Message) -> None:
    apply(inbox, message)
    assert inbox.refused == {}


def test_a_settlement_says_of_itself_that_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="amount must be > 0 where posted"):
        settlement(SettlementKind.POSTED, "A" * 16, 0)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(altered(WON, amount_nanos=3), type=Settlement)


def test_topics_are_named_in_refusals(inbox: Inbox) -> None:
    for topic in (CAMPAIGNS, LEASES, SETTLEMENTS):
        inbox.apply([(topic, b"x")], 0)
        assert topic in inbox.last_refusal


def test_a_repeat_changes_nothing(inbox: Inbox, engine: Engine) -> None:
    batch = [change(), lease(granted_nanos=5 * S), POSTED]
    apply(inbox, *batch)
    before = engine.status(0)
    apply(inbox, *batch)
    assert engine.status(0) == before


# -- line items, advertisers, users -----------------------------------------------------------------------------


def test_a_line_item_of_another_campaign_is_not_taken(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change("c1", 1, line_items=(LineItem(id="l1"),)))
    apply(inbox, change("c2", 2, line_items=(LineItem(id="l2"), LineItem(id="l1"))))
    assert (engine.table.ids, inbox.refused) == (("l1",), {"unservable": 1})
    assert "l1 of campaign c2" in inbox.last_refusal


def test_a_line_item_may_move_once_its_campaign_let_it_go(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change("c1", 1, line_items=(LineItem(id="l1"), LineItem(id="l2"))))
    apply(inbox, change("c1", 2, line_items=(LineItem(id="l2"),)))
    apply(inbox, change("c2", 3, line_items=(LineItem(id="l1"),)))
    assert (engine.table.ids, inbox.refused) == (("l1", "l2"), {})


def test_campaigns_that_need_more_words_than_there_are_bits_leave_the_others_as_they_are(
    inbox: Inbox, engine: Engine
) -> None:
    def speaking(campaign_id: str, first: int) -> CampaignChange:
        own = tuple(creative(f"k{n}", language=f"l{n}") for n in range(first, first + 40))
        return change(campaign_id, 1, creatives=own)

    apply(inbox, speaking("c1", 0), speaking("c2", 20), speaking("c3", 40), speaking("c4", 10))
    assert (engine.table.ids, inbox.refused) == (("c1", "c2", "c4"), {"unservable": 1})
    assert f"at most {MAX_BITS} different languages" in inbox.last_refusal


@pytest.mark.parametrize(
    "targeting",
    [
        Targeting(circle=Rule(include=("here",))),
        Targeting(expression=Rule(include=("(",))),
        Targeting(content=Rule(include=("x:1",))),
    ],
)
def test_rules_that_cannot_be_read_are_not_served(inbox: Inbox, targeting: Targeting) -> None:
    apply(inbox, change(targeting=targeting))
    assert inbox.refused == {"unservable": 1}


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two batches"])
@pytest.mark.parametrize("newest", [None, "EUR", "USD"], ids=["taken away", "unservable", "paused"])
def test_an_older_version_of_a_campaign_does_not_come_back(
    inbox: Inbox, engine: Engine, newest: str | None, together: bool
) -> None:
    new = change(version=5, currency=newest, status=Status.PAUSED) if newest is not None else None
    messages = [new or CampaignChange(version=5, campaign_id="c1", campaign=None), change(version=4)]
    apply(inbox, change(version=3), change("c2", version=4))
    for batch in [messages] if together else [[one] for one in messages]:
        apply(inbox, *batch)
    # Bits of what may bid: where c1 is paused it is there, as the first, and off.
    ids, bits = (("c1", "c2"), 0b10) if newest == "USD" else (("c2",), 0b1)
    assert (engine.table.version, engine.table.ids, int(engine.table.active[0])) == (5, ids, bits)
    assert inbox.refused["older"] == 1
    assert "c1 must have version 5 or later, was 4" in inbox.last_refusal


def test_the_same_version_again_and_a_later_one_are_taken(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change(version=5, status=Status.PAUSED))
    apply(inbox, change(version=5, status=Status.PAUSED))
    apply(inbox, change(version=6))
    assert (int(engine.table.active[0]), engine.table.version, inbox.refused) == (1, 6, {})


def test_versions_of_one_campaign_say_nothing_of_another(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change(version=9), change("c2", version=4), stated(version=2))
    assert (engine.table.ids, inbox.refused) == (("c1", "c2"), {})


def test_an_older_version_of_an_advertiser_does_not_come_back(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, stated(version=3, status=Status.PAUSED), change(version=1, advertiser="shop"))
    apply(inbox, stated(version=2))
    assert (int(engine.table.active[0]), inbox.refused) == (0, {"older": 1})


def stated(version: int = 1, **changes: Any) -> AdvertiserChange:
    return AdvertiserChange(
        version=version, advertiser_id="shop", advertiser=Advertiser(id="shop", **changes)
    )


def test_an_advertiser_pauses_its_campaigns_and_lets_them_go_on(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change(), stated(2, status=Status.PAUSED))
    assert int(engine.table.active[0]) == 0
    apply(inbox, AdvertiserChange(version=3, advertiser_id="shop", advertiser=None))
    assert (int(engine.table.active[0]), engine.table.version) == (1, 3)


def test_an_advertiser_whose_days_cannot_be_told_does_not_bid(inbox: Inbox, engine: Engine) -> None:
    apply(inbox, change(), stated(2, time_zone="Mars/Olympus"))
    assert (int(engine.table.active[0]), inbox.refused) == (0, {"unservable": 1})


def test_an_advertiser_by_another_name_contradicts_itself(inbox: Inbox) -> None:
    apply(inbox, AdvertiserChange(version=1, advertiser_id="bank", advertiser=Advertiser(id="shop")))
    assert inbox.refused == {"inconsistent": 1}


def test_exposures_profiles_and_counts_reach_the_engine(inbox: Inbox, engine: Engine) -> None:
    user = key_text(user_key(None, (), None, "u", "default"))
    apply(inbox, change())
    apply(
        inbox,
        Profile(user=user, segments=("s9",), at_ns=0, expires_ns=S),
        CreativeCounts(campaign_id="c1", creative_id="k1", impressions=50, clicks=5),
        CreativeCounts(campaign_id="c1", creative_id="gone", impressions=9, clicks=9),
    )
    shown = Exposure(
        bid_id="A" * 16, user=user, line_item_id="c1", campaign_id="c1", advertiser="shop", at_ns=0
    )
    inbox.apply([("exposures", encode(shown)), ("exposures", b"{")], 0)
    assert engine.gate.profiles.segments(int(user, 16), 0) == ("s9",)
    assert (float(engine._shown.impressions[0]), float(engine._shown.clicks[0])) == (50.0, 5.0)
    assert inbox.refused == {"unreadable": 1}
