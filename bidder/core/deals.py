"""The deals of an impression (OpenRTB 2.6 sections 3.2.11 and 3.2.12), read once and remembered by their bytes.

A deal's floor is its own and in its own currency, which it does not inherit from the impression. A deal whose
terms cannot be known is not bid on, and says why.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bidder.core.gate import FIRST_PRICE_AT, FIXED_PRICE_AT, SECOND_PRICE_AT, Gate
from bidder.core.settings import NS_PER_SECOND
from bidder.core.specs import NO_FLOORS, Floors, SlotBook
from bidder.money import cpm_micros_from_float
from bidder.openrtb.mending import Step
from bidder.openrtb.parts import PMP
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import Deal as DealOffer
from bidder.openrtb.response import json_text

CAPACITY = 4_096
_ONE = 1_000_000_000
_HOUR_NS = 3_600 * NS_PER_SECOND


class Deal(msgspec.Struct, frozen=True, gc=False):
    """One deal: its floor in CPM micros of the account, how it is priced, and why it cannot be bid on, if so."""

    id: str
    json: str
    floor: int
    at: int | None
    guaranteed: bool
    wadomain: tuple[str, ...]
    floors: Floors
    refused: Reason | None


class Offers(msgspec.Struct, frozen=True, gc=False):
    """The deals of an impression.

    private: whether there is no open auction beside them. repaired: how many of its values were mended.
    """

    private: bool
    deals: Sequence[Deal]
    repaired: int = 0


_NOTHING = Offers(False, ())


class Wants(Protocol):
    """Knows which deals matter."""

    def wants(self, deal: str) -> bool:
        """Whether a deal is one to read."""
        ...


class DealBook:
    """The deals seen so far, for one table.

    Args:
        showing: knows which deals any line item wants; others are not read further. slots: keeps their floors.
        buyer: the seat name that exchanges know us by.
    """

    def __init__(self, showing: Wants, slots: SlotBook, buyer: str) -> None:
        self._showing = showing
        self._slots = slots
        self._buyer = buyer
        self._forgotten = slots.forgotten
        self._known: dict[tuple[bytes, int], Offers] = {}

    def read(self, raw: bytes, at: tuple[Step, ...], gate: Gate, now_ns: int) -> Offers:
        """The deals of one `pmp`.

        Args:
            raw: its JSON. at: where its impression stands. gate: knows rates, which change by the hour at most.
            now_ns: the time.

        Raises:
            RequestError: a part on which the rules of the auction rest cannot be read.
        """
        if self._forgotten != self._slots.forgotten or len(self._known) >= CAPACITY:
            self._known.clear()
            self._forgotten = self._slots.forgotten
        key = (raw, now_ns // _HOUR_NS)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._read(raw, at, gate, now_ns)
        return found

    def _read(self, raw: bytes, at: tuple[Step, ...], gate: Gate, now_ns: int) -> Offers:
        pmp, repaired = PMP.read(raw, at)
        if pmp is None:
            return _NOTHING
        # An id that is there twice is one deal, by the terms that come first: it gets one bid.
        wanted: dict[str, DealOffer] = {}
        for deal in pmp.deals or ():
            if self._wanted(deal):
                wanted.setdefault(deal.id, deal)
        deals = [self._deal(deal, gate, now_ns) for deal in wanted.values()]
        return Offers(bool(pmp.private_auction), deals, repaired)

    def _wanted(self, deal: DealOffer) -> bool:
        return bool(deal.id) and len(deal.id) <= 256 and self._showing.wants(deal.id)

    def _deal(self, deal: DealOffer, gate: Gate, now_ns: int) -> Deal:
        rate = gate.rate(deal.bidfloorcur, now_ns)
        refused: Reason | None = None
        floor, floors = 0, NO_FLOORS
        if deal.wseat and self._buyer not in deal.wseat:
            refused = Reason.SEAT
        elif deal.at not in (None, FIRST_PRICE_AT, SECOND_PRICE_AT, FIXED_PRICE_AT):
            refused = Reason.AUCTION_TYPE
        elif rate is None and (deal.bidfloor or deal.mincpmpersec or deal.durfloors):
            refused = Reason.FLOOR_CURRENCY
        else:
            try:
                micros = cpm_micros_from_float(deal.bidfloor)
                floor = -(-micros * (rate or _ONE) // _ONE)
            except ValueError:
                refused = Reason.INVALID
            floors = self._slots.floors(deal.mincpmpersec, deal.durfloors, rate or _ONE)
        return Deal(
            deal.id,
            json_text(deal.id),
            floor,
            deal.at,
            bool(deal.guar),
            tuple(deal.wadomain or ()),
            floors,
            refused,
        )
