"""What the bidder saw of an opportunity, made again from the body that it read: for training tables.

The same gate, views, slots and deals as in `Engine.decide` read the body, so a table that is written from here holds
what a model is served. What privacy took away from the request is taken away here too. Nothing of line items
matters: features are the same for all of them.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from bidder.core.batch import floor_of
from bidder.core.deals import DealBook
from bidder.core.gate import ACCOUNT_RATE, FIRST_PRICE_AT, Exchange, Gate, Visitor
from bidder.core.opportunity import Raw, hour_of_week, raw_features
from bidder.core.profiles import Profile
from bidder.core.settings import EngineSettings
from bidder.core.specs import SlotBook
from bidder.core.table import LineTable
from bidder.errors import RequestError
from bidder.memory import forget_texts
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import BidRequest, Imp
from bidder.privacy.permissions import PROFILE


class Glimpse(NamedTuple):
    """One opportunity as it was seen.

    Attributes:
        features: values of `RAW_FEATURES`, in their order.
        segments: ids in the request and of our own profile of the user, empty where they may not be used.
        floor_cpm_micros: in the account's currency.
        first_price: whether the winner pays what it bid.
        user: key of the user, 0 where not known, or where it may not be measured or profiled.
    """

    features: tuple[Raw, ...]
    segments: tuple[str, ...]
    floor_cpm_micros: int
    first_price: bool
    user: int


class Sight:
    """A request that passed the gate; made by `Hindsight.look`.

    Attributes:
        request: as decoded. exchange: that sent it. visitor: who asks, and what of that may be used.
    """

    __slots__ = ("_book", "exchange", "now_ns", "request", "visitor")

    def __init__(
        self, book: "Hindsight", request: BidRequest, exchange: Exchange, visitor: Visitor, now_ns: int
    ) -> None:
        self._book = book
        self.request = request
        self.exchange = exchange
        self.visitor = visitor
        self.now_ns = now_ns

    def glimpse(self, imp_id: str, deal_id: str = "") -> Glimpse | None:
        """An impression in the open auction, or one of its deals; None where it is not there or not to be bid on."""
        for number, imp in enumerate(self.request.imp):
            if imp.id == imp_id:
                try:
                    return self._book.glimpse(self, number, imp, deal_id)
                except RequestError:
                    return None
        return None


class _Only:
    """Wants some deals and no others."""

    def __init__(self, deals: Collection[str]) -> None:
        self._deals = deals

    def wants(self, deal: str) -> bool:
        return deal in self._deals


class Hindsight:
    """Looks at bodies as an engine of these settings did.

    Args:
        settings: of the engine that read them.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._gate = Gate(settings)
        self._slots = SlotBook(LineTable({}, 0, settings))

    def hear(self, profiles: Iterable[Profile]) -> None:
        """Takes user profiles, as the engine did."""
        for profile in profiles:
            self._gate.profiles.take(profile)

    def exchange(self, name: str) -> Exchange:
        """The exchange of a name, with its rules."""
        return self._gate.exchange(name)

    def look(self, body: bytes, now_ns: int) -> Sight | None:
        """The request in a body; None where it cannot be read or its terms let nobody bid.

        Args:
            body: OpenRTB BidRequest, JSON. now_ns: when it was decided. Its age and the rates of its user and address
                are not asked again: who was bid on had passed them.
        """
        try:
            request = decode(body).request
        except RequestError:
            return None
        if self._slots.crowded:
            self._forget()
        name = request.ext.exchange if request.ext is not None else ""
        exchange = self._gate.exchange(name or self._settings.default_exchange)
        visitor = self._gate.admit(request, exchange, 0, now_ns, test=True)
        return None if isinstance(visitor, Reason) else Sight(self, request, exchange, visitor, now_ns)

    def _forget(self) -> None:
        forget_texts()
        self._gate.forget()
        self._slots.forget()

    def glimpse(self, sight: Sight, number: int, imp: Imp, deal_id: str) -> Glimpse | None:
        """One opportunity of a request; see `Sight.glimpse`."""
        rate = self._gate.rate(imp.bidfloorcur, sight.now_ns)
        slots = self._slots.media(imp, ("imp", number), rate or ACCOUNT_RATE)
        if not slots:
            return None
        terms = self._deal(imp, deal_id, sight) if deal_id else (floor_of(imp, rate, slots), sight.request.at)
        if terms is None or isinstance(terms[0], Reason):
            return None
        floor, auction = terms
        visitor, (size, position) = sight.visitor, slots[0].features
        hour = hour_of_week(sight.now_ns)
        return Glimpse(
            raw_features(visitor.audience, imp.tagid, size, position, floor, hour),
            tuple(dict.fromkeys((*visitor.audience.segments, *visitor.segments))),
            floor,
            auction == FIRST_PRICE_AT,
            visitor.user if visitor.permitted & PROFILE else 0,
        )

    def _deal(self, imp: Imp, deal_id: str, sight: Sight) -> tuple[int, int] | None:
        """Floor and auction type of a deal, by the book that the engine reads them with."""
        if not imp.pmp:
            return None
        # A new book each time: one keeps what it read for the deals that were wanted then.
        book = DealBook(_Only((deal_id,)), self._slots, self._settings.buyer)
        for deal in book.read(bytes(imp.pmp), (), self._gate, sight.now_ns).deals:
            if deal.refused is None:
                return deal.floor, sight.request.at if deal.at is None else deal.at
        return None
