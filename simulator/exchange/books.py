"""The exchange's own books: what it sold to whom, in integers; the other side of the bidder's ledger."""

from collections import Counter

import msgspec

from bidder.core.messages import NoticeKind


class Call(msgspec.Struct, frozen=True, gc=False, order=True):
    """One thing that follows an auction, to happen at `at_ns`: a URL to call, and what it is about.

    Calls sort by their time. `price_nanos` is what was paid for the impression (WIN, BILLING), else 0;
    `value_nanos` what a CONVERSION is worth, else 0.
    """

    at_ns: int
    kind: NoticeKind
    url: str
    campaign_id: str
    price_nanos: int = 0
    value_nanos: int = 0


class CampaignBooks(msgspec.Struct):
    """One campaign, by the `cid` of its bids.

    Every bid is won, lost or rejected. `impressions` and `spend_nanos` count what was billed, at the moment
    of billing; `shown` counts impression pixels.
    """

    bids: int = 0
    wins: int = 0
    losses: int = 0
    rejected: int = 0
    impressions: int = 0
    spend_nanos: int = 0
    shown: int = 0
    clicks: int = 0
    conversions: int = 0
    value_nanos: int = 0


class Books(msgspec.Struct):
    """All auctions.

    offered = answered + timeouts + those still open. An answer is a bid or a no-bid. `late` counts answers after the
    time was up, `repeats` answers to an auction that had one: neither changes anything.
    """

    offered: int = 0
    answered: int = 0
    no_bids: int = 0
    timeouts: int = 0
    late: int = 0
    repeats: int = 0
    violations: dict[str, int] = msgspec.field(default_factory=Counter)
    campaigns: dict[str, CampaignBooks] = msgspec.field(default_factory=dict)

    def of(self, campaign_id: str) -> CampaignBooks:
        """The books of one campaign, opened when first asked for."""
        books = self.campaigns.get(campaign_id)
        if books is None:
            books = self.campaigns[campaign_id] = CampaignBooks()
        return books

    def book(self, call: Call) -> None:
        """Books what happens at the moment of a call."""
        books = self.of(call.campaign_id)
        if call.kind is NoticeKind.BILLING:
            books.impressions += 1
            books.spend_nanos += call.price_nanos
        elif call.kind is NoticeKind.IMPRESSION:
            books.shown += 1
        elif call.kind is NoticeKind.CLICK:
            books.clicks += 1
        elif call.kind is NoticeKind.CONVERSION:
            books.conversions += 1
            books.value_nanos += call.value_nanos
