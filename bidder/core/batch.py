"""Gathers opportunities as columns for the kernel: one row for each impression on offer."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.kernels import EXTERNAL, FIRST_PRICE, TEST
from bidder.core.opportunity import RowEncoder, audience_of, hour_of_week, raw_features, sizes_of
from bidder.core.settings import EngineSettings
from bidder.core.table import SECURE_MARK, CampaignTable, Dimension
from bidder.core.token import bid_id
from bidder.money import cpm_micros_from_float
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import BidRequest, Imp
from bidder.privacy.permissions import may_use_personal_data

CAPACITY = 256
"""Rows of a batch; a longer list of requests is taken in several, which changes nothing."""
_FIRST_PRICE_AT = 1
_SECOND_PRICE_AT = 2


class Row(NamedTuple):
    """What answering needs of one row and the kernel does not."""

    request: int
    imp_id: str
    bid_id: bytes
    sizes: tuple[str, ...]
    floor_cpm_micros: int
    test: bool


class Batch:
    """Columns of up to `CAPACITY` opportunities, written row by row and used again.

    Args:
        settings: of the engine.
        encoder: of the model's request-side features, or None where scores come from outside.
    """

    def __init__(self, settings: EngineSettings, encoder: RowEncoder | None) -> None:
        self._settings = settings
        self._encoder = encoder
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

    def add(
        self,
        number: int,
        request: BidRequest,
        imp: Imp,
        bid: bytes,
        floor: int,
        table: CampaignTable,
        now_ns: int,
    ) -> None:
        """Writes one impression as the next row.

        Args:
            number: place of the request in the call.
            request: decoded request. imp: one of its impressions, with a banner.
            bid: id that a bid on it would have.
            floor: floor in CPM micros of the account's currency.
            table: campaigns whose values count.
            now_ns: time of the batch.
        """
        row = len(self.rows)
        exchange = exchange_of(request, self._settings)
        audience = audience_of(request, exchange, may_use_personal_data(request))
        sizes = sizes_of(imp)
        hour = hour_of_week(now_ns)
        if self._encoder is not None:
            raw = raw_features(audience, imp, sizes, floor, hour)
            self._encoder.write(raw, audience.segments, self._value_bytes, row)
        asked = tuple(SECURE_MARK + size for size in sizes) if imp.secure else sizes
        geo = tuple(place for place in (audience.region, audience.country) if place)
        domains = _domains(request, audience.domain) if audience.domain else ()
        self._target(
            table, ((exchange,), asked, (str(hour),), geo, domains, audience.segments, _blocked(request, imp))
        )
        self.floors[row] = floor
        self.flags[row] = FIRST_PRICE * (request.at == _FIRST_PRICE_AT) | TEST * bool(request.test)
        self.shades[row] = self._settings.rules(exchange).first_price_shade
        outside = imp.ext.clearbid if imp.ext is not None else None
        if outside is not None and self._settings.external_scores:
            self.flags[row] |= EXTERNAL
            self.external[row, 0] = table.index.get(outside.campaign, -1)
            self.external[row, 1] = min(max(outside.pctr, 0.0), 1.0)
        self.rows.append(Row(number, imp.id, bid, asked, floor, bool(request.test)))
        self.ids.add(bid)

    def _target(self, table: CampaignTable, shown: tuple[tuple[str, ...], ...]) -> None:
        """Appends the rows of the values that an opportunity shows, a run for each dimension."""
        found = self._value_ids
        self._starts.append(len(found))
        for names, values in zip(table.values, shown, strict=True):
            if names:
                for value in values:
                    place = names.get(value)
                    if place is not None:
                        found.append(place)
            self._starts.append(len(found))


def _domains(request: BidRequest, domain: str) -> tuple[str, ...]:
    """Values of `Dimension.DOMAIN`: rules name registrable domains, requests also the hosts below them."""
    return _with_parents(domain) if request.site is not None else (domain,)


@lru_cache(maxsize=16_384)
def _with_parents(domain: str) -> tuple[str, ...]:
    """A domain and its parents of two labels or more: `news.site.example`, `site.example`."""
    labels = domain.split(".")
    return tuple(".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))


def _blocked(request: BidRequest, imp: Imp) -> tuple[str, ...]:
    """What this request bars, as values of `Dimension.BLOCKED`; most requests bar nothing."""
    battr = imp.banner.battr if imp.banner is not None else []
    if not (request.badv or request.bcat or battr):
        return ()
    return (
        *("adv:" + domain.lower() for domain in request.badv),
        *("cat:" + category for category in request.bcat),
        *(f"attr:{attr}" for attr in battr),
    )


def exchange_of(request: BidRequest, settings: EngineSettings) -> str:
    """Name of the exchange that sent a request."""
    ext = request.ext
    return (ext.exchange if ext is not None else None) or settings.default_exchange


def refuse_request(request: BidRequest, age_ns: int, settings: EngineSettings) -> Reason | None:
    """Why nothing of a request can be bid on, or None.

    Args:
        request: decoded request.
        age_ns: wall time since the exchange sent it.
        settings: of the engine.
    """
    if request.at not in (_FIRST_PRICE_AT, _SECOND_PRICE_AT):
        return Reason.AUCTION_TYPE
    # An absent list means the exchange's usual currency: USD unless agreed otherwise (section 3.2.1).
    if settings.currency not in (request.cur or ("USD",)):
        return Reason.CURRENCY
    if (request.wseat and settings.buyer not in request.wseat) or settings.buyer in request.bseat:
        return Reason.SEAT
    rules = settings.rules(exchange_of(request, settings))
    left_ms = (request.tmax or rules.default_tmax_ms) - rules.network_margin_ms
    return Reason.EXPIRED if age_ns >= left_ms * 1_000_000 else None


def floor_of(imp: Imp, settings: EngineSettings) -> int | Reason:
    """The impression's floor in CPM micros, or why it cannot be bid on."""
    if imp.banner is None:
        return Reason.MEDIA_TYPE
    if imp.pmp is not None and imp.pmp.private_auction:
        return Reason.PRIVATE_AUCTION
    if imp.bidfloor == 0.0:
        return 0
    if imp.bidfloorcur != settings.currency:
        return Reason.FLOOR_CURRENCY
    try:
        return cpm_micros_from_float(imp.bidfloor)
    except ValueError:
        return Reason.INVALID


def id_of(request: BidRequest, imp: Imp, epoch: int, settings: EngineSettings) -> bytes:
    """Id of the bid on one impression: the same for a request that is delivered again in this epoch."""
    return bid_id(exchange_of(request, settings), request.id, imp.id, epoch, settings.seat)
