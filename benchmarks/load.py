"""A generator's memory of one run, without any I/O: what was sent and when, what was answered, what is settled.

A request's latency runs from the moment at which the schedule wanted it sent. A generator that falls behind, or
a worker that makes it wait, so adds to the latency and hides nothing (no coordinated omission).
"""

from array import array
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.market import EPOCH, KEY, SEAT, Market
from bidder.core.exposures import Exposure
from bidder.core.messages import (
    AdvertiserChange,
    CampaignChange,
    SettlementKind,
    SettlementRow,
    Settlements,
    encode,
)
from bidder.core.token import TokenFields, bid_id_text, read
from bidder.core.users import key_text

WON_OF = 4
"""One bid in so many is won, the others lose: 25 %."""
PRICE_SHARE = (4, 5)
"""A won impression costs four fifths of its bid, so that every post gives money back."""
MOST_ROWS = 500
"""Settlements in one record, as the bank writes them."""
NOT_YET = -1


class _Bid(msgspec.Struct, gc=False):
    nurl: str


class _SeatBid(msgspec.Struct, gc=False):
    bid: list[_Bid] = []


class _Response(msgspec.Struct, gc=False):
    id: str
    seatbid: list[_SeatBid] = []


_read = msgspec.json.Decoder(_Response).decode


class Told(NamedTuple):
    """What a worker is told of bids: records of `settlements` and of `exposures`, encoded."""

    settlements: list[bytes]
    exposures: list[bytes]


class Bank:
    """Stands in for the bank: ample leases, and a settlement for every bid, of a fixed share of winners.

    Settlements travel in bulk, as the bank sends them; every won impression of a known user is an exposure.

    Args:
        market: whose campaigns and leases.

    Attributes:
        posted_nanos: what it booked, by campaign. bids: settled so far.
    """

    def __init__(self, market: Market) -> None:
        self.posted_nanos = dict.fromkeys(market.campaigns, 0)
        self.bids = 0
        self._market = market
        self._rows: list[SettlementRow] = []
        self._exposures: list[bytes] = []

    def changes(self) -> list[tuple[str, bytes]]:
        """Advertisers and campaigns as messages: key and value of each."""
        market = self._market
        advertisers = [
            (f"advertiser/{name}", encode(AdvertiserChange(version=1, advertiser_id=name, advertiser=one)))
            for name, one in market.advertisers.items()
        ]
        return advertisers + [
            (name, encode(CampaignChange(version=1, campaign_id=name, campaign=one)))
            for name, one in market.campaigns.items()
        ]

    def leases(self, start_id: str) -> list[tuple[str, bytes]]:
        """Leases for a start, of all money and until each budget's end: key and value of each."""
        return [(f"{SEAT}|{one.account_id}", encode(one)) for one in self._market.leases(start_id)]

    def settle(self, nurl: str) -> None:
        """Books a bid by the address of its win notice, which holds its token: won and posted, or voided."""
        self.bids += 1
        token = read(nurl.partition("?t=")[2].partition("&")[0], [KEY])
        if self.bids % WON_OF:
            self._row(SettlementKind.VOIDED, token, 0)
            return
        amount = max(1, token.cap_nanos * PRICE_SHARE[0] // PRICE_SHARE[1])
        self.posted_nanos[token.campaign_id] += amount
        self._row(SettlementKind.WON, token, 0)
        self._row(SettlementKind.POSTED, token, amount)
        if token.user:
            self._exposures.append(encode(self._exposure(token)))

    def settle_responses(self, responses: Iterable[bytes]) -> None:
        """Settles all bids of responses."""
        for response in responses:
            for seat in _read(response).seatbid if response else ():
                for bid in seat.bid:
                    self.settle(bid.nurl)

    def _row(self, kind: SettlementKind, token: TokenFields, amount_nanos: int) -> None:
        bid = bid_id_text(token.bid_id)
        self._rows.append(
            SettlementRow(
                kind,
                bid,
                token.campaign_id,
                token.line_item_id,
                amount_nanos,
                False,
                token.bid_at_ns,
                token.impressions,
            )
        )

    def _exposure(self, token: TokenFields) -> Exposure:
        return Exposure(
            bid_id=bid_id_text(token.bid_id),
            user=key_text(token.user),
            line_item_id=token.line_item_id,
            campaign_id=token.campaign_id,
            advertiser=self._market.campaigns[token.campaign_id].advertiser,
            at_ns=token.bid_at_ns,
        )

    def tell(self) -> Told:
        """What was booked since it was last asked."""
        rows, self._rows = self._rows, []
        exposures, self._exposures = self._exposures, []
        records = [
            encode(Settlements(seat=SEAT, epoch=EPOCH, rows=tuple(rows[first : first + MOST_ROWS])))
            for first in range(0, len(rows), MOST_ROWS)
        ]
        return Told(records, exposures)


class Load:
    """What was sent and answered, by request number.

    Args:
        bank: settles the bids.

    Attributes:
        sent, answered: counts.
        repeated: answers to what was answered before or never asked; a right worker makes none.
    """

    def __init__(self, bank: Bank) -> None:
        self.sent = 0
        self.answered = 0
        self.repeated = 0
        self._bank = bank
        self._due_ns = array("q")
        self._answered_ns = array("q")
        self._bid = array("b")

    @property
    def outstanding(self) -> int:
        """Requests without an answer."""
        return self.sent - self.answered

    def send(self, due_ns: int) -> int:
        """Takes the next request's number; `due_ns` is when it should go, on the monotonic clock."""
        number = self.sent
        self._due_ns.append(due_ns)
        self._answered_ns.append(NOT_YET)
        self._bid.append(0)
        self.sent += 1
        return number

    def receive(self, response: bytes, at_ns: int) -> None:
        """Notes an answer that came at `at_ns`, and lets the bank settle its bids."""
        answer = _read(response)
        number = int(answer.id)
        if number >= self.sent or self._answered_ns[number] != NOT_YET:
            self.repeated += 1
            return
        self._answered_ns[number] = at_ns
        self.answered += 1
        for seat in answer.seatbid:
            for bid in seat.bid:
                self._bid[number] = 1
                self._bank.settle(bid.nurl)

    def records(self, first: int = 0) -> "Records":
        """What is known of the requests from number `first` on."""
        return Records(
            np.array(self._due_ns[first:], dtype=np.int64),
            np.array(self._answered_ns[first:], dtype=np.int64),
            np.array(self._bid[first:], dtype=np.bool_),
        )


class Records(NamedTuple):
    """Columns of requests in the order in which they were due.

    Attributes:
        due_ns: int64[n], when each was to be sent.
        answered_ns: int64[n], when its answer came; `NOT_YET` where none did.
        bid: bool[n], whether that was a bid.
    """

    due_ns: NDArray[np.int64]
    answered_ns: NDArray[np.int64]
    bid: NDArray[np.bool_]

    def answers(self, begin_ns: int, end_ns: int) -> NDArray[np.bool_]:
        """bool[n], whose answer came in [begin, end)."""
        return (self.answered_ns >= begin_ns) & (self.answered_ns < end_ns)

    def rate(self, begin_ns: int, end_ns: int) -> float:
        """Answers a second in [begin, end)."""
        return int(self.answers(begin_ns, end_ns).sum()) / ((end_ns - begin_ns) / 1e9)


def schedule(seed: int, rate_per_s: float, seconds: float) -> NDArray[np.int64]:
    """When requests are due, int64[n] nanoseconds from the begin: a Poisson process, the same for a seed.

    Args:
        seed: of the gaps. rate_per_s: mean requests a second, > 0. seconds: length.
    """
    count = int(rate_per_s * seconds * 1.2) + 100
    gaps = np.random.default_rng(seed).exponential(1e9 / rate_per_s, count)
    due = np.cumsum(gaps).astype(np.int64)
    assert due[-1] > seconds * 1e9, "a fifth and a hundred more than the mean must be enough"
    return due[due < seconds * 1e9]
