"""Gathers opportunities as columns for the kernel: one row for each impression on offer."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.call import FIRST_PRICE_AT, Call
from bidder.core.kernels import EXTERNAL, FIRST_PRICE, TEST
from bidder.core.opportunity import Audience, RowEncoder, raw_features, sizes_of
from bidder.core.table import SECURE_MARK, CampaignTable, Dimension
from bidder.openrtb.request import BidRequest, Imp

_MAX_HOST_LENGTH = 253
"""Of a host by RFC 1035; the parents of a longer text, all dots, would take a minute to write."""
_MAX_LABELS = 8
"""Labels of a host that are looked at: rules name registrable domains, senders may send anything."""
CAPACITY = 256
"""Rows of a batch; a longer list of requests is taken in several, which changes nothing."""


class Row(NamedTuple):
    """What answering needs of one row and the kernel does not."""

    call: Call
    imp_id: str
    bid_id: bytes
    sizes: tuple[str, ...]
    floor_cpm_micros: int


class Batch:
    """Columns of up to `CAPACITY` opportunities, written row by row and used again.

    Args:
        encoder: of the model's request-side features, or None where scores come from outside.
        external_scores: whether requests' own click probabilities are believed.
    """

    def __init__(self, encoder: RowEncoder | None, external_scores: bool) -> None:
        self._encoder = encoder
        self._external_scores = external_scores
        width = encoder.width if encoder is not None else 0
        self.values: NDArray[np.float64] = np.zeros((CAPACITY, max(width, 1)), dtype=np.float64)
        self._value_bytes = memoryview(self.values.data).cast("B")
        self.floors: NDArray[np.int64] = np.zeros(CAPACITY, dtype=np.int64)
        self.flags: NDArray[np.int64] = np.zeros(CAPACITY, dtype=np.int64)
        self.shades: NDArray[np.float64] = np.ones(CAPACITY, dtype=np.float64)
        self.external: NDArray[np.float64] = np.zeros((CAPACITY, 2), dtype=np.float64)
        self.chosen: NDArray[np.int32] = np.zeros(CAPACITY, dtype=np.int32)
        self.bids: NDArray[np.int64] = np.zeros(CAPACITY, dtype=np.int64)
        self.reasons: NDArray[np.int32] = np.zeros(CAPACITY, dtype=np.int32)
        self.logged: NDArray[np.float64] = np.zeros((CAPACITY, 3), dtype=np.float64)
        self.rows: list[Row] = []
        self.ids: set[bytes] = set()
        self._starts: list[int] = []
        self._value_ids: list[int] = []

    def clear(self) -> None:
        """Empties the batch."""
        self.rows.clear()
        self.ids.clear()
        self._starts.clear()
        self._value_ids.clear()

    def starts(self) -> NDArray[np.int32]:
        """int32[rows, dimensions + 1]: where the values of each dimension begin in `value_ids`."""
        return np.array(self._starts, dtype=np.int32).reshape(len(self.rows), len(Dimension) + 1)

    def value_ids(self) -> NDArray[np.int32]:
        """int32[]: rows of the table's include and exclude."""
        return np.array(self._value_ids, dtype=np.int32)

    def add(self, call: Call, imp: Imp, bid: bytes, floor: int, table: CampaignTable, hour: int) -> None:
        """Writes one impression as the next row.

        Args:
            call: a request that can be bid on. imp: one of its impressions, with a banner.
            bid: id that a bid on it would have.
            floor: floor in CPM micros of the account's currency.
            table: campaigns whose values count.
            hour: hour of the week, see `opportunity.hour_of_week`.
        """
        request, audience = call.request, call.audience
        assert request is not None, "a call without a request has no rows"
        row = len(self.rows)
        sizes = sizes_of(imp)
        if self._encoder is not None:
            raw = raw_features(audience, imp, sizes, floor, hour)
            self._encoder.write(raw, audience.segments, self._value_bytes, row)
        asked = _secure(sizes) if imp.secure else sizes
        self._target(table, call, audience, imp, asked, hour)
        self.floors[row] = floor
        self.shades[row] = call.rules.first_price_shade
        flags = FIRST_PRICE if request.at == FIRST_PRICE_AT else 0
        if call.test:
            flags |= TEST
        if self._external_scores:
            flags |= self._outside(imp, table, row)
        self.flags[row] = flags
        self.rows.append(Row(call, imp.id, bid, asked, floor))
        self.ids.add(bid)

    def _outside(self, imp: Imp, table: CampaignTable, row: int) -> int:
        """Notes the click probability that the request brings, and returns its flag."""
        outside = imp.ext.clearbid if imp.ext is not None else None
        if outside is None:
            return 0
        self.external[row, 0] = table.index.get(outside.campaign, -1)
        self.external[row, 1] = min(max(outside.pctr, 0.0), 1.0)
        return EXTERNAL

    def _target(
        self,
        table: CampaignTable,
        call: Call,
        audience: Audience,
        imp: Imp,
        asked: tuple[str, ...],
        hour: int,
    ) -> None:
        """Appends the rows of the values that an opportunity shows, a run for each dimension, in their order."""
        starts, found = self._starts, self._value_ids
        exchanges, sizes, hours, places, domains, segments, blocks = table.values
        begin = starts.append
        begin(len(found))
        if audience.exchange in exchanges:
            found.append(exchanges[audience.exchange])
        begin(len(found))
        found += [sizes[size] for size in asked if size in sizes]
        begin(len(found))
        if hours and (text := str(hour)) in hours:
            found.append(hours[text])
        begin(len(found))
        if places:
            found += [places[place] for place in (audience.region, audience.country) if place in places]
        begin(len(found))
        if domains and audience.domain:
            found += [domains[name] for name in _domains(call.request, audience.domain) if name in domains]
        begin(len(found))
        if segments:
            found += [segments[segment] for segment in audience.segments if segment in segments]
        begin(len(found))
        if blocks:
            found += [blocks[block] for block in _blocked(call, imp) if block in blocks]
        begin(len(found))


@lru_cache(maxsize=4_096)
def _secure(sizes: tuple[str, ...]) -> tuple[str, ...]:
    """Sizes as values that only creatives with https have."""
    return tuple(SECURE_MARK + size for size in sizes)


def _domains(request: BidRequest | None, domain: str) -> tuple[str, ...]:
    """Values of `Dimension.DOMAIN`: rules name registrable domains, requests also the hosts below them."""
    host = request is not None and request.site is not None and len(domain) <= _MAX_HOST_LENGTH
    return _with_parents(domain) if host else (domain,)


@lru_cache(maxsize=16_384)
def _with_parents(domain: str) -> tuple[str, ...]:
    """A domain and its parents of two labels or more: `news.site.example`, `site.example`."""
    labels = domain.split(".")[-_MAX_LABELS:]
    return tuple(".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))


def _blocked(call: Call, imp: Imp) -> tuple[str, ...]:
    """What bars a campaign from this impression, as values of `Dimension.BLOCKED`; mostly nothing does."""
    battr = imp.banner.battr if imp.banner is not None else None
    return (*call.blocked, *(f"attr:{attr}" for attr in battr)) if battr else call.blocked
