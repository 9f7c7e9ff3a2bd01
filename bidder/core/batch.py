"""Gathers opportunities as columns: a row for each impression, each of its deals, each place in a pod."""

import struct
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from bidder.core.call import Call
from bidder.core.creatives import ALL_BITS
from bidder.core.deals import Deal, DealBook
from bidder.core.decision_columns import (
    BY_LANDSCAPE,
    EXTERNAL,
    FIRST_PRICE,
    FIXED_PRICE,
    GUARANTEED,
    LOG_COLUMNS,
    OUT_COLUMNS,
    ROW_COLUMNS,
    SECURE,
    TEST,
)
from bidder.core.gate import FIRST_PRICE_AT, FIXED_PRICE_AT, SECOND_PRICE_AT, Exchange, Gate
from bidder.core.messages import ONE_IMPRESSION
from bidder.core.opportunity import RowEncoder
from bidder.core.settings import EngineSettings
from bidder.core.shading import Shading
from bidder.core.showing import Showing
from bidder.core.specs import NO_FLOORS, Slot, SlotBook
from bidder.core.table import LineTable
from bidder.core.token import bid_id
from bidder.core.views import remember
from bidder.memory import forget_texts
from bidder.money import cpm_micros_from_float
from bidder.openrtb.mending import Step
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import BidRequest, Imp, Metric
from bidder.openrtb.response import json_text
from bidder.privacy.permissions import PRECISE_GEO, PROFILE

CAPACITY = 256
"""Rows of a batch; a longer list of requests is taken in several, which changes nothing."""
_LARGE_BYTES = 16_384
_MOST_LARGE_BYTES = 256 * 1024**2
"""What is remembered of requests is bounded in number; this bounds its bytes where bodies are made to be large."""
MOST_IN_A_POD = 8
"""Places of a dynamic pod that are bid on, where the request does not say how many there are."""
_MOST_MULTIPLIER = 1e6
_AUCTION = {FIRST_PRICE_AT: FIRST_PRICE, SECOND_PRICE_AT: 0, FIXED_PRICE_AT: FIXED_PRICE}
_ONE = 1_000_000_000
_NO_VALUES: NDArray[np.float64] = np.zeros((0, 1), dtype=np.float64)
_ANY = -1
_PERSONAL = PROFILE | PRECISE_GEO
"""What must be permitted for an expression to read of users: their places are among it."""
_NONE = -1


class Columns(Protocol):
    """Opportunities as the kernel reads them and writes what became of them, see `core.kernels.decide_rows`."""

    columns: NDArray[np.int64]
    external: NDArray[np.float64]
    out: NDArray[np.int64]
    logged: NDArray[np.float64]

    def values(self) -> NDArray[np.float64]:
        """float64[rows, request features]."""
        ...

    def record(self) -> NDArray[np.int32]:
        """int32[]: what the rows show in each dimension."""
        ...

    def row_blocks(self) -> NDArray[np.int32]:
        """int32[]: what rows bar of single creatives."""
        ...

    def codes(self) -> NDArray[np.int32]:
        """int32[rows, levels]: where in the landscape a row is."""
        ...


class Opportunity(msgspec.Struct, gc=False):
    """One opportunity on its way: what answering needs of it and the kernel does not.

    `deal` is None in the open auction, `number` the place in a pod of `pod_s` seconds, `bid_id` that of a bid on it.
    """

    call: Call
    place: int
    imp: Imp
    imp_json: str
    slots: Sequence[Slot]
    parts: list[bytes]
    deal: Deal | None
    floor: int
    quantity: int
    pod_s: int
    number: int
    bid_id: bytes = b""

    def end(self, reason: int) -> None:
        """Ends without a bid."""
        deal = self.deal.json if self.deal is not None else ""
        self.call.end(self.place, self.imp_json, reason, self.floor, deal)

    def name(self, epoch: int, seat: str) -> bytes:
        """The id of a bid on it: the same opportunity redelivered in an epoch gives the same one."""
        call = self.call
        part = "d" + self.deal.id if self.deal is not None else f"p{self.number}" if self.number else ""
        self.bid_id = bid_id(call.exchange.name, call.request_id, self.imp.id, epoch, seat, part)
        return self.bid_id


class Batch:
    """Columns of up to `CAPACITY` opportunities, written row by row and used again.

    Args:
        encoder: of the model's request-side features, or None where scores come from outside.
        settings: of the engine. gate: knows rates. shading: prices the open auction at first price.
    """

    def __init__(
        self, encoder: RowEncoder | None, settings: EngineSettings, gate: Gate, shading: Shading
    ) -> None:
        self._encoder = encoder
        self._gate = gate
        self._external_scores = settings.external_scores
        self._currency = settings.currency
        self._seat = settings.seat
        self._buyer = settings.buyer
        width = encoder.width if encoder is not None else 0
        self._width = width
        self._values: list[bytes] = []
        self._shading = shading
        self._by_landscape = bool(shading)
        self._no_codes = (0,) * len(shading.levels)
        self._codes: list[int] = []
        self.columns: NDArray[np.int64] = np.zeros((CAPACITY, ROW_COLUMNS), dtype=np.int64)
        self._column_bytes = memoryview(self.columns.data).cast("B")
        self._pack = struct.Struct(f"4qQ{ROW_COLUMNS - 5}q").pack_into
        self.external: NDArray[np.float64] = np.zeros(CAPACITY, dtype=np.float64)
        self.out: NDArray[np.int64] = np.zeros((CAPACITY, OUT_COLUMNS), dtype=np.int64)
        self.logged: NDArray[np.float64] = np.zeros((CAPACITY, LOG_COLUMNS), dtype=np.float64)
        self.rows: list[Opportunity] = []
        self.ids: set[bytes] = set()
        self._parts: list[bytes] = []
        self._large_bytes = 0
        self._row_blocks: list[int] = []

    def adopt(self, table: LineTable, slots: SlotBook, showing: Showing) -> None:
        """Goes on with another table; the batch must be empty."""
        self._table, self._slots, self._showing = table, slots, showing
        self._deals = DealBook(showing, slots, self._buyer)
        self._exchange_bits: dict[str, int] = {}

    def clear(self) -> None:
        """Empties the batch."""
        self.rows.clear()
        self.ids.clear()
        self._parts.clear()
        self._values.clear()
        self._codes.clear()
        self._row_blocks.clear()

    def crowded(self, body_bytes: int) -> bool:
        """Whether to `forget` before the next request, a body of so many bytes, is read."""
        if body_bytes > _LARGE_BYTES:
            self._large_bytes += body_bytes
        return self._slots.crowded or self._large_bytes > _MOST_LARGE_BYTES

    def forget(self) -> None:
        """Forgets what was met in requests, which changes nothing but time; the batch must be empty."""
        assert not self.rows, "rows hold numbers of what would be forgotten"
        self._large_bytes = 0
        forget_texts()
        self._gate.forget()
        self._slots.forget()
        self._showing.forget()
        if self._encoder is not None:
            self._encoder.forget()

    def values(self) -> NDArray[np.float64]:
        """float64[rows, request features]: codes of `RowEncoder`."""
        if not self._width:
            return _NO_VALUES
        return np.frombuffer(bytearray(b"".join(self._values)), dtype=np.float64).reshape(-1, self._width)

    def codes(self) -> NDArray[np.int32]:
        """int32[rows, levels]: codes of `Shading`."""
        return np.array(self._codes, dtype=np.int32).reshape(len(self.rows), len(self._no_codes))

    def record(self) -> NDArray[np.int32]:
        """int32[]: parts of all rows, one after the other."""
        return np.frombuffer(bytearray(b"".join(self._parts)), dtype=np.int32)

    def record_of(self, rows: Sequence[int]) -> bytes:
        """`record` of some rows, as bytes."""
        width = len(self._parts) // len(self.rows)
        return b"".join([part for row in rows for part in self._parts[row * width : (row + 1) * width]])

    def row_blocks(self) -> NDArray[np.int32]:
        """int32[]: what rows bar of single creatives."""
        return np.array(self._row_blocks or (0,), dtype=np.int32)

    # -- gathering ------------------------------------------------------------------------------------------

    def gather(self, call: Call) -> list[Opportunity]:
        """The opportunities of a request that may be bid on, in order; those that may not are ended.

        Args:
            call: a request that passed the gate.

        Raises:
            RequestError: a part that was never read before turns out to be unreadable.
        """
        request = call.request
        assert request is not None, "a call without a request has no rows"
        parts = self._showing.of_request(call.visitor, call.now_ns)
        found: list[Opportunity] = []
        for number, imp in enumerate(request.imp):
            self._impression(call, imp, ("imp", number), parts, found)
        return found

    def _impression(
        self,
        call: Call,
        imp: Imp,
        at: tuple[Step, ...],
        parts: list[bytes],
        found: list[Opportunity],
    ) -> None:
        imp_json = json_text(imp.id)
        rate = _ONE if imp.bidfloorcur == self._currency else self._gate.rate(imp.bidfloorcur, call.now_ns)
        slots = self._slots.media(imp, at, rate or _ONE)
        call.repaired += sum([slot.repaired for slot in slots])
        if not slots:
            call.end(call.place(), imp_json, Reason.MEDIA_TYPE)
            return
        offers = self._deals.read(bytes(imp.pmp), at, self._gate, call.now_ns) if imp.pmp else None
        if offers is not None:
            call.repaired += offers.repaired
        personal = call.visitor.permitted & _PERSONAL == _PERSONAL
        own = self._showing.of_imp(parts, imp, slots, personal, call.body)
        quantity = ONE_IMPRESSION if imp.qty is None else _quantity(imp.qty.multiplier)
        if quantity < 1:
            call.end(call.place(), imp_json, Reason.INVALID)
            return
        if offers is None or not offers.private:
            floor = floor_of(imp, rate, slots)
            if isinstance(floor, Reason):
                call.end(call.place(), imp_json, floor)
            else:
                self._open(call, imp, imp_json, slots, own, floor, quantity, found)
        elif not any(self._showing.for_deal(own, deal.id, ()) is not None for deal in offers.deals):
            call.end(call.place(), imp_json, Reason.PRIVATE_AUCTION)
        for deal in offers.deals if offers is not None else ():
            shown = self._showing.for_deal(own, deal.id, deal.wadomain)
            if shown is not None:
                place = call.place()
                refused = deal.refused
                if refused is not None:
                    call.end(place, imp_json, refused, 0, deal.json)
                else:
                    found.append(
                        Opportunity(
                            call, place, imp, imp_json, slots, shown, deal, deal.floor, quantity, 0, 0
                        )
                    )

    def _open(
        self,
        call: Call,
        imp: Imp,
        imp_json: str,
        slots: Sequence[Slot],
        parts: list[bytes],
        floor: int,
        quantity: int,
        found: list[Opportunity],
    ) -> None:
        """The open auction of an impression: one place, or as many as a dynamic pod has."""
        pod_s = slots[0].pod_s if len(slots) == 1 else 0
        places = min(slots[0].slots or MOST_IN_A_POD, MOST_IN_A_POD) if pod_s else 1
        found += [
            Opportunity(call, call.place(), imp, imp_json, slots, parts, None, floor, quantity, pod_s, number)
            for number in range(places)
        ]

    # -- rows -----------------------------------------------------------------------------------------------

    def add(self, pending: Opportunity, hour: int, pod_first: int) -> None:
        """Writes one opportunity as the next row.

        Args:
            pending: as `gather` gave it, with its bid id. hour: hour of the week.
            pod_first: row of the first place in its pod, -1 where it is in none.
        """
        call, imp, slots, deal = pending.call, pending.imp, pending.slots, pending.deal
        request, visitor, exchange = call.request, call.visitor, call.exchange
        assert request is not None, "a call without a request has no rows"
        row = len(self.rows)
        assert row < CAPACITY, "a full batch is run before the next row"
        first = slots[0]
        if self._encoder is not None:
            self._values.append(
                self._encoder.row(
                    visitor.audience, imp.tagid, first.features, pending.floor, hour, visitor.segments
                )
            )
        self._parts += pending.parts
        begin = len(self._row_blocks)
        if self._table.creatives.block_ids:
            self._row_blocks += self._showing.row_blocks(request)
        flags = _AUCTION[request.at if deal is None or deal.at is None else deal.at]
        if self._by_landscape:
            flags |= self._place(pending, flags, hour)
        if imp.secure:
            flags |= SECURE
        if call.test:
            flags |= TEST
        outside = _NONE
        if self._external_scores and imp.ext is not None and imp.ext.clearbid is not None:
            flags |= EXTERNAL
            outside = self._table.index.get(imp.ext.clearbid.campaign, _NONE)
            self.external[row] = min(max(imp.ext.clearbid.pctr, 0.0), 1.0)
        floors = NO_FLOORS
        if deal is not None:
            floors = deal.floors
            if deal.guaranteed:
                flags |= GUARANTEED
        languages = _ANY
        if request.wlang is not None or request.wlangb is not None:
            languages = self._languages(request)
        bit = self._exchange_bits.get(exchange.name)
        self._pack(
            self._column_bytes,
            row * ROW_COLUMNS * 8,
            flags,
            pending.floor,
            exchange.index,
            bit if bit is not None else self._bit_of(exchange),
            visitor.user,
            pending.quantity,
            visitor.rate_nanos,
            call.now_ns + exchange.wait_ns,
            int.from_bytes(pending.bid_id[:7], "big"),
            *_media(slots),
            floors.per_second_nanos,
            floors.begin,
            floors.end,
            begin,
            len(self._row_blocks),
            languages,
            pod_first,
            pending.pod_s,
            outside,
            0 if deal is not None else _NONE,
            *(measured(imp.metric) if imp.metric else _USUAL),
        )
        self.rows.append(pending)
        self.ids.add(pending.bid_id)

    def _place(self, pending: Opportunity, flags: int, hour: int) -> int:
        """Writes where in the landscape a row is; `BY_LANDSCAPE` where it is priced by that."""
        # A deal has rivals of its own, of whom the open auction's prices say nothing.
        if flags != FIRST_PRICE or pending.deal is not None:
            self._codes += self._no_codes
            return 0
        audience, slot = pending.call.visitor.audience, pending.slots[0].features
        self._codes += self._shading.codes(audience, pending.imp.tagid, slot, hour)
        return BY_LANDSCAPE

    def _bit_of(self, exchange: Exchange) -> int:
        bit = self._table.creatives.bit_of(exchange.name)
        return remember(self._exchange_bits, exchange.name, bit, 4_096)

    def _languages(self, request: BidRequest) -> int:
        """Languages of creatives that are allowed, as bits (`wlang`, `wlangb`, section 3.2.1)."""
        if not (request.wlang or request.wlangb):
            return _ANY
        own = self._table.creatives.languages
        allowed = [*(request.wlang or ()), *(request.wlangb or ())]
        return own.bits(_tongues(allowed)) & ALL_BITS


def _media(slots: Sequence[Slot]) -> list[int]:
    """The slot of each medium, -1 for none."""
    media = [_NONE] * 4
    for slot in slots:
        media[slot.media - 1] = slot.row
    return media


def places_after(found: Sequence[Opportunity], number: int) -> int:
    """How many places the pod has that begins with this opportunity: they must stand in one batch."""
    first = found[number]
    return sum(one.pod_s > 0 and one.imp is first.imp and one.deal is None for one in found[number:])


VIEWABLE_PPM, COMPLETED_PPM = 500_000, 600_000
"""How likely a view and a completion are where nobody measured the slot."""
_USUAL = VIEWABLE_PPM, COMPLETED_PPM


def measured(metrics: Sequence[Metric]) -> tuple[int, int]:
    """Millionths of views and of completions that were measured of a slot (section 3.2.5), else what is usual."""
    found = {one.type: round(one.value * 1e6) for one in metrics if 0.0 <= one.value <= 1.0}
    return found.get("viewability", VIEWABLE_PPM), found.get("video_completion_rate", COMPLETED_PPM)


def floor_of(imp: Imp, rate_nanos: int | None, slots: Sequence[Slot]) -> int | Reason:
    """An impression's floor in CPM micros of the account, or why it cannot be bid on.

    Args:
        imp: the impression. rate_nanos: what a unit of its floor's currency is worth, None where not known.
        slots: its media, of which some have floors of their own.
    """
    cpm = imp.bidfloor
    if cpm == 0.0 and (rate_nanos is not None or all(not slot.floored for slot in slots)):
        return 0
    if rate_nanos is None:
        return Reason.FLOOR_CURRENCY
    try:
        micros = cpm_micros_from_float(cpm)
    except ValueError:
        return Reason.INVALID
    return micros if rate_nanos == _ONE else -(-micros * rate_nanos // _ONE)


def _quantity(multiplier: float) -> int:
    """Millionths of an impression that one showing counts as (`imp.qty`, section 3.2.31); 0 where it is no number."""
    return round(multiplier * ONE_IMPRESSION) if 0 < multiplier <= _MOST_MULTIPLIER else 0


def _tongues(languages: Sequence[str]) -> list[str]:
    """Languages in small letters, and the plain language of each that names a region: `pt-br` lets `pt` in."""
    return [name for language in languages for name in {language.lower(), language.lower().split("-", 1)[0]}]
