"""Frequency caps through the engine: what counts from the bid to the exposure, for whom, and across tables."""

from typing import Any

import pytest

from bidder.core.campaigns import Advertiser, Campaign, Cap, LineItem, Status
from bidder.core.engine import Engine
from bidder.core.exposures import Exposure
from bidder.core.messages import SettlementKind
from bidder.core.users import key_text, user_key
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import Offer, S, campaign, settlement

ONCE = Cap(impressions=1, seconds=3_600)
NOW_NS = 7_200 * S


def capped(**changes: Any) -> Campaign:
    return campaign(**({"caps": (ONCE,)} | changes))


def ask(
    engine: Engine, name: str, now_ns: int = NOW_NS, user: str | None = "u1", **more: Any
) -> dict[str, Any]:
    who = {"user": {"id": user}} if user is not None else {}
    (row,) = make.decide(engine, make.body(Offer(id=name, more={**who, **more})), now_ns=now_ns)
    return row


def reasons(engine: Engine, count: int = 3, **more: Any) -> list[int]:
    return [ask(engine, f"r{number}", **more)["reason"] for number in range(count)]


def exposure(bid_id: str, at_ns: int = NOW_NS, line: str = "c1", user: str = "u1") -> Exposure:
    key = key_text(user_key(None, (), None, user, "default"))
    return Exposure(
        bid_id=bid_id, user=key, line_item_id=line, campaign_id="c1", advertiser="shop", at_ns=at_ns
    )


def test_a_bid_counts_from_the_moment_that_it_is_made() -> None:
    assert reasons(make.engine([capped()])) == [Reason.BID, Reason.CAPPED, Reason.CAPPED]


def test_bids_of_one_call_count_for_each_other() -> None:
    engine = make.engine([capped(caps=(Cap(impressions=2, seconds=60),))])
    bodies = [make.body(Offer(id=f"r{number}", more={"user": {"id": "u1"}})) for number in range(4)]
    rows = make.decide(engine, *bodies, now_ns=NOW_NS)
    assert [row["reason"] for row in rows] == [Reason.BID] * 2 + [Reason.CAPPED] * 2


def test_another_user_is_another() -> None:
    engine = make.engine([capped()])
    assert ask(engine, "r1", user="u1")["reason"] == Reason.BID
    assert ask(engine, "r2", user="u2")["reason"] == Reason.BID


def test_a_bid_that_lost_counts_no_more() -> None:
    engine = make.engine([capped()])
    row = ask(engine, "r1")
    engine.settle([settlement(SettlementKind.VOIDED, row["bid_id"])], NOW_NS)
    assert (engine.caps.pending, ask(engine, "r2")["reason"]) == (0, Reason.BID)


def test_a_bid_of_which_nothing_is_heard_counts_until_its_result_is_due() -> None:
    engine = make.engine([capped()])
    ask(engine, "r1")
    assert ask(engine, "r2", NOW_NS + 60 * S - 1)["reason"] == Reason.CAPPED
    engine.tick(NOW_NS + 60 * S)
    assert (engine.caps.pending, ask(engine, "r3", NOW_NS + 60 * S)["reason"]) == (0, Reason.BID)


def test_a_won_bid_counts_until_its_billing() -> None:
    engine = make.engine([capped()])
    row = ask(engine, "r1")
    engine.settle([settlement(SettlementKind.WON, row["bid_id"])], NOW_NS + S)
    engine.tick(NOW_NS + 61 * S)
    assert ask(engine, "r2", NOW_NS + 300 * S)["reason"] == Reason.CAPPED
    engine.tick(NOW_NS + 660 * S)
    assert ask(engine, "r3", NOW_NS + 660 * S)["reason"] == Reason.BID


def test_an_exposure_counts_once_for_its_window() -> None:
    engine = make.engine([capped()])
    row = ask(engine, "r1")
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 5)], NOW_NS + S)
    shown = exposure(row["bid_id"], NOW_NS + 1)
    engine.expose([shown], NOW_NS + S)
    engine.expose([shown], NOW_NS + S)
    engine.tick(NOW_NS + 1_000 * S)
    assert ask(engine, "r2", NOW_NS + 3_600 * S)["reason"] == Reason.CAPPED
    assert ask(engine, "r3", NOW_NS + 3_600 * S + 1)["reason"] == Reason.BID
    assert engine.caps.exposures.repeated == 1


@pytest.mark.parametrize(
    ("level", "capped"),
    [
        ("line item", {"a": 1, "b": 0, "c2": 0}),
        ("campaign", {"a": 1, "b": 1, "c2": 0}),
        ("advertiser", {"a": 1, "b": 1, "c2": 1}),
    ],
)
def test_a_cap_counts_the_impressions_of_what_it_is_set_on(level: str, capped: dict[str, int]) -> None:
    caps = {name: (ONCE,) if name == level else () for name in ("line item", "campaign", "advertiser")}
    items = (LineItem(id="a", caps=caps["line item"]), LineItem(id="b"))
    table = {"c1": campaign(caps=caps["campaign"], line_items=items), "c2": campaign("c2")}
    engine = make.engine([])
    engine.adopt_campaigns(table, 1, NOW_NS, {"shop": Advertiser(id="shop", caps=caps["advertiser"])})
    engine.adopt_leases([make.lease("c1"), make.lease("c2")], NOW_NS)
    for number, name in enumerate(("a", "a", "b", "c2")):
        offer = Offer(id=f"r{number}", external=(name, 0.001), more={"user": {"id": "u"}})
        before = engine.funnel.counts()[name].stages["capped"]
        (row,) = make.decide(engine, make.body(offer), now_ns=NOW_NS)
        refused = engine.funnel.counts()[name].stages["capped"] - before
        assert (row["reason"] != Reason.BID) == refused == (capped[name] if number else 0)


@pytest.mark.parametrize(("unknown", "reason"), [("refuse", Reason.CAPPED), ("allow", Reason.BID)])
def test_an_unknown_user_is_as_the_campaign_says(unknown: str, reason: Reason) -> None:
    assert reasons(make.engine([capped(unknown_user=unknown)]), user=None) == [reason] * 3


def test_a_user_who_may_not_be_identified_is_unknown() -> None:
    engine = make.engine([capped(unknown_user="allow")])
    assert reasons(engine, regs={"coppa": 1}) == [Reason.BID] * 3
    assert (len(engine.caps.table), engine.caps.pending) == (0, 0)


def test_a_test_bid_is_counted_by_nobody() -> None:
    engine = make.engine([capped()])
    assert reasons(engine, test=1) == [Reason.BID] * 3
    assert (len(engine.caps.table), engine.caps.pending) == (0, 0)


def test_without_caps_nothing_is_kept_of_users() -> None:
    engine = make.engine([campaign()])
    reasons(engine)
    assert (len(engine.caps.table), engine.caps.pending) == (0, 0)


# -- across tables --------------------------------------------------------------------------------------------


def test_what_is_pending_and_shown_stays_when_campaigns_change() -> None:
    engine = make.engine([capped()])
    ask(engine, "r1")
    engine.adopt_campaigns({"c0": campaign("c0", status=Status.PAUSED), "c1": capped()}, 2, NOW_NS)
    assert ask(engine, "r2")["reason"] == Reason.CAPPED


def test_a_bid_of_a_removed_line_item_is_freed() -> None:
    engine = make.engine([capped()])
    row = ask(engine, "r1")
    engine.adopt_campaigns({}, 2, NOW_NS)
    engine.settle([settlement(SettlementKind.VOIDED, row["bid_id"])], NOW_NS)
    engine.adopt_campaigns({"c1": capped()}, 3, NOW_NS)
    assert (engine.caps.pending, ask(engine, "r2")["reason"]) == (0, Reason.BID)


def test_a_higher_limit_widens_what_is_kept() -> None:
    engine = make.engine([capped()])
    ask(engine, "r1")
    engine.adopt_campaigns({"c1": capped(caps=(Cap(impressions=3, seconds=3_600),))}, 2, NOW_NS)
    assert [ask(engine, f"s{number}")["reason"] for number in range(3)] == [
        Reason.BID,
        Reason.BID,
        Reason.CAPPED,
    ]


def test_a_model_that_is_swapped_leaves_caps_and_money_as_they_are() -> None:
    engine = make.engine([capped()])
    row = ask(engine, "r1")
    before = engine.status(NOW_NS)
    engine.adopt_model(make.model(1), NOW_NS)
    # A new table solves the plan of pacing again, as each tick does.
    again = {
        name: one._replace(multiplier=before[name].multiplier) for name, one in engine.status(NOW_NS).items()
    }
    assert again == before
    assert ask(engine, "r2")["reason"] == Reason.CAPPED
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 5)], NOW_NS)
    assert engine.status(NOW_NS)["c1"].posted_nanos == 5
    scored = ask(engine, "r3", user="u2", imp=[{"id": "1", "banner": {"w": 300, "h": 250}}])
    assert scored["reason"] in (Reason.BID, Reason.NO_VALUE)
