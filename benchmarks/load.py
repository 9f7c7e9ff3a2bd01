"""A generator's memory of one run, without any I/O: what was sent and when, what was answered, what is settled.

A request's latency runs from the moment at which the schedule wanted it sent. A generator that falls behind, or
a worker that makes it wait, so adds to the latency and hides nothing (no coordinated omission).
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import AMPLE_NANOS, SEAT
from bidder.core.campaigns import Campaign
from bidder.core.messages import CampaignChange, Lease, Settlement, SettlementKind, encode
from bidder.money import MICROS_PER_UNIT

WON_OF = 4
"""One bid in so many is won, the others lose: 25 %."""
PRICE_SHARE = (4, 5)
"""A won impression costs four fifths of its bid, so that every post gives money back."""
EPOCH = 1
NOT_YET = -1


class _Bid(msgspec.Struct, gc=False):
    id: str
    price: float
    cid: str


class _SeatBid(msgspec.Struct, gc=False):
    bid: list[_Bid] = []


class _Response(msgspec.Struct, gc=False):
    id: str
    seatbid: list[_SeatBid] = []


_read = msgspec.json.Decoder(_Response).decode


class Bank:
    """Stands in for the bank: ample leases, and a settlement for every bid, of a fixed share of winners.

    Attributes:
        posted_nanos: what it booked, by campaign.
    """

    def __init__(self, campaigns: Sequence[Campaign]) -> None:
        self.posted_nanos = dict.fromkeys((campaign.id for campaign in campaigns), 0)
        self._campaigns = campaigns
        self._bids = 0

    def changes(self) -> list[tuple[str, bytes]]:
        """The campaigns as messages: key and value of each."""
        return [
            (c.id, encode(CampaignChange(version=1, campaign_id=c.id, campaign=c))) for c in self._campaigns
        ]

    def leases(self, start_id: str) -> list[tuple[str, bytes]]:
        """Leases for a start, of all money and until the flight's end: key and value of each."""
        return [
            (
                f"{SEAT}|{campaign.id}",
                encode(
                    Lease(
                        seat=SEAT,
                        epoch=EPOCH,
                        start_id=start_id,
                        account_id=campaign.id,
                        granted_nanos=AMPLE_NANOS,
                        bid_until_ns=campaign.end_ns,
                        budget_nanos=campaign.budget_nanos,
                        spent_nanos=0,
                        seats=1,
                    )
                ),
            )
            for campaign in self._campaigns
        ]

    def settle(self, bid: _Bid) -> list[bytes]:
        """What the worker is told of a bid: won and then posted, or voided."""
        self._bids += 1
        if self._bids % WON_OF:
            return [self._settlement(SettlementKind.VOIDED, bid, 0)]
        amount = max(1, round(bid.price * MICROS_PER_UNIT) * PRICE_SHARE[0] // PRICE_SHARE[1])
        self.posted_nanos[bid.cid] += amount
        return [
            self._settlement(SettlementKind.WON, bid, 0),
            self._settlement(SettlementKind.POSTED, bid, amount),
        ]

    def _settlement(self, kind: SettlementKind, bid: _Bid, amount_nanos: int) -> bytes:
        return encode(
            Settlement(
                kind=kind,
                seat=SEAT,
                epoch=EPOCH,
                bid_id=bid.id,
                campaign_id=bid.cid,
                amount_nanos=amount_nanos,
                late=False,
            )
        )


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

    def receive(self, response: bytes, at_ns: int) -> list[bytes]:
        """Notes an answer that came at `at_ns` and gives the settlements of its bids."""
        answer = _read(response)
        number = int(answer.id)
        if number >= self.sent or self._answered_ns[number] != NOT_YET:
            self.repeated += 1
            return []
        self._answered_ns[number] = at_ns
        self.answered += 1
        settlements: list[bytes] = []
        for seat in answer.seatbid:
            for bid in seat.bid:
                self._bid[number] = 1
                settlements += self._bank.settle(bid)
        return settlements

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
