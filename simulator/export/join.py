"""Bids and the bodies that they answered, joined by time, exchange and id of the request. Pure.

Journal and decision log of a seat are both in the order of time, so only what is near in time is held. Rows of a log
with several partitions may stand up to `DISORDER_NS` from their place.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bidder.core.call import Decision
from bidder.core.campaigns import Campaign
from bidder.core.hindsight import Glimpse, Hindsight, Sight
from simulator.export.inputs import Moment

DISORDER_NS = 10_000_000_000
_Key = tuple[str, str]


class Joined(NamedTuple):
    """A bid with what the bidder saw when it made it.

    Attributes:
        bid: row of the decision log. glimpse: what was seen of the opportunity. campaign: that bid.
        reserved_until_ns: when the money that was set aside for it came free, where nothing was billed.
        body: of the request.
    """

    bid: Decision
    glimpse: Glimpse
    campaign: Campaign
    reserved_until_ns: int
    body: bytes = b""


class Join:
    """Finds the bodies of bids.

    Args:
        bids: in the order of time but for `DISORDER_NS`.
        left_out: counts bids without a body (`no_body`), bids whose body gives another floor or can not be bid on
            (`unlike`: log and journal are of different runs or versions), and those for a campaign that the journal
            does not have (`no_campaign`).
    """

    def __init__(self, bids: Iterable[Decision], left_out: Counter[str]) -> None:
        self._bids = iter(bids)
        self._next = next(self._bids, None)
        self._left_out = left_out
        self._waiting: OrderedDict[int, dict[_Key, list[Decision]]] = OrderedDict()

    def of(self, moment: Moment, hindsight: Hindsight) -> Iterator[Joined]:
        """The bids of one call of the engine; the moments of a run must come in their order.

        Args:
            moment: the call. hindsight: by the settings of that engine.
        """
        self._fetch(moment.now_ns + DISORDER_NS)
        waiting = self._waiting.get(moment.now_ns)
        for body in moment.bodies if waiting else ():
            if not waiting:
                break
            sight = hindsight.look(body, moment.now_ns)
            if sight is not None:
                bids = waiting.pop((sight.exchange.name, sight.request.id), ())
                yield from self._seen(bids, sight, moment, body)
        self._give_up(moment.now_ns - DISORDER_NS)

    def end(self) -> None:
        """Counts the bids for which no moment came."""
        for _ in self._bids if self._next is not None else ():
            self._left_out["no_body"] += 1
        self._left_out["no_body"] += self._next is not None
        self._next = None
        for waiting in self._waiting.values():
            self._left_out["no_body"] += sum(map(len, waiting.values()))
        self._waiting.clear()

    def _fetch(self, until_ns: int) -> None:
        while self._next is not None and self._next.at_ns <= until_ns:
            bid = self._next
            same = self._waiting.setdefault(bid.at_ns, {}).setdefault((bid.exchange, bid.request_id), [])
            # A log that is delivered at least once may hold a row twice.
            if all(other.bid_id != bid.bid_id for other in same):
                same.append(bid)
            self._next = next(self._bids, None)

    def _give_up(self, before_ns: int) -> None:
        while self._waiting and next(iter(self._waiting)) < before_ns:
            _, waiting = self._waiting.popitem(last=False)
            self._left_out["no_body"] += sum(map(len, waiting.values()))

    def _seen(self, bids: Iterable[Decision], sight: Sight, moment: Moment, body: bytes) -> Iterator[Joined]:
        exchange = sight.exchange
        until_ns = moment.now_ns + exchange.result_ns + exchange.billing_ns
        for bid in bids:
            glimpse = sight.glimpse(bid.imp_id, bid.deal_id)
            campaign = moment.campaigns.get(bid.campaign_id)
            if glimpse is None or glimpse.floor_cpm_micros != bid.floor_cpm_micros:
                self._left_out["unlike"] += 1
            elif campaign is None:
                self._left_out["no_campaign"] += 1
            else:
                yield Joined(bid, glimpse, campaign, until_ns, body)
