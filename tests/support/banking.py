"""Builders for tests of the bank: one campaign, one seat, and the messages about them."""

from typing import Any

from bidder.core.campaigns import Advertiser, Budgets, Campaign, Creative, LineItem
from bidder.core.messages import Notice, NoticeKind, SliceReport, SliceRow

S = 1_000_000_000
"""Nanoseconds in a second, and nanos in a unit of currency."""


def campaign(campaign_id: str = "c1", **changes: Any) -> Campaign:
    """A campaign of 100 units at no more than 2.00 CPM, flight from second 0 to a million."""
    fields: dict[str, Any] = {
        "name": f"Campaign {campaign_id}",
        "advertiser": "acme",
        "adomain": ("acme.example",),
        "budget_nanos": 100 * S,
        "start_ns": 0,
        "end_ns": 1_000_000 * S,
        "value_nanos": 1 * S,
        "max_bid_cpm_micros": 2_000_000,
        "creatives": (
            Creative(
                id="b1",
                w=300,
                h=250,
                image_url="https://cdn.acme.example/b1.png",
                landing_url="https://acme.example/",
            ),
        ),
    }
    return Campaign(id=campaign_id, **(fields | _with_budgets(changes)))


def item(line_item_id: str, **changes: Any) -> LineItem:
    """A line item; what concerns `Budgets` may be given by itself."""
    return LineItem(id=line_item_id, **_with_budgets(changes))


def advertiser(advertiser_id: str = "acme", **changes: Any) -> Advertiser:
    """An advertiser; what concerns `Budgets` may be given by itself."""
    return Advertiser(id=advertiser_id, **_with_budgets(changes))


def _with_budgets(changes: dict[str, Any]) -> dict[str, Any]:
    limits = {name: changes.pop(name) for name in Budgets.__struct_fields__ if name in changes}
    return changes | ({"budgets": Budgets(**limits)} if limits else {})


def bid_id(name: str) -> str:
    """A bid id of the length that they have."""
    return name.ljust(16, "-")


def notice(kind: NoticeKind, bid: str = "b-1", **changes: Any) -> Notice:
    """A notice of `c1` for seat `s1`, epoch 1, in time, at the cap of 2.00 CPM where it has a price."""
    priced = kind in {NoticeKind.WIN, NoticeKind.BILLING}
    fields: dict[str, Any] = {
        "campaign_id": "c1",
        "seat": "s1",
        "epoch": 1,
        "cap_nanos": 2_000_000,
        "price_nanos": 2_000_000 if priced else 0,
        "value_nanos": 0,
        "event_id": "",
        "at_ns": 10 * S,
        "liable_until_ns": 100 * S,
    }
    return Notice(kind=kind, bid_id=bid_id(bid), **(fields | changes))


def ask(start_id: str = "a", seat: str = "s1", at_ns: int = 0) -> SliceReport:
    """A seat's request for an epoch."""
    return SliceReport(seat=seat, epoch=0, seq=0, start_id=start_id, at_ns=at_ns, rows=())


def used(
    posted: int,
    reserved: int,
    *,
    seq: int,
    epoch: int = 1,
    start_id: str = "a",
    seat: str = "s1",
    at_ns: int = 0,
    account_id: str = "c1",
) -> SliceReport:
    """A seat's report of what it did with an account, `c1` unless told otherwise."""
    row = SliceRow(account_id=account_id, granted_nanos=0, reserved_nanos=reserved, posted_nanos=posted)
    return SliceReport(seat=seat, epoch=epoch, seq=seq, start_id=start_id, at_ns=at_ns, rows=(row,))
