"""One request body on its way through `Engine.decide`, and what comes of it."""

from typing import NamedTuple

import msgspec

from bidder.core.opportunity import Audience, audience_of
from bidder.core.settings import EngineSettings
from bidder.errors import RequestError
from bidder.money import cpm_micros_from_float
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason, nbr
from bidder.openrtb.request import BidRequest, Imp
from bidder.openrtb.response import bid_response, no_bid_response
from bidder.privacy.permissions import may_use_personal_data

FIRST_PRICE_AT = 1
SECOND_PRICE_AT = 2


class Decision(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The log row of one opportunity: how it ended and what was known of it; amounts in CPM micros.

    `error` holds the JSON path and cause of a body that could not be read. No user id stands here.
    """

    at_ns: int
    reason: int
    request_id: str = ""
    imp_id: str = ""
    exchange: str = ""
    campaign_id: str = ""
    creative_id: str = ""
    bid_id: str = ""
    bid_cpm_micros: int = 0
    floor_cpm_micros: int = 0
    pctr: float = 0.0
    pcvr: float = 0.0
    multiplier: float = 0.0
    table_version: int = 0
    model: str = ""
    test: bool = False
    error: str = ""


class Answer(NamedTuple):
    """What one body got: the response for the exchange (empty where it has no id to answer to), log rows."""

    response: bytes
    decisions: bytes
    bid: bool


_encode = msgspec.json.Encoder().encode


class Call:
    """One body: its request where it can be read, the bids on it, and a decision for each impression.

    Args:
        body: as it came. age_ns: wall time since the exchange sent it. now_ns: the time.
        settings: of the engine.

    Attributes:
        request: None where it could not be read or nothing of it can be bid on.
        repaired: values that were mended or dropped.
    """

    __slots__ = (
        "_audience",
        "_blocked",
        "bids",
        "decisions",
        "exchange",
        "now_ns",
        "repaired",
        "request",
        "request_id",
        "rules",
        "test",
    )

    def __init__(self, body: bytes, age_ns: int, now_ns: int, settings: EngineSettings) -> None:
        self.now_ns = now_ns
        self.bids: list[str] = []
        self.decisions: list[Decision] = []
        self.request: BidRequest | None = None
        self.request_id = ""
        self.exchange = settings.default_exchange
        self.test = False
        self.repaired = 0
        self._audience: Audience | None = None
        self._blocked: tuple[str, ...] | None = None
        try:
            request, self.repaired = decode(body)
        except RequestError as error:
            reason = Reason.MALFORMED if error.path == "$" else Reason.INVALID
            self.decisions.append(Decision(at_ns=now_ns, reason=reason, error=str(error)))
            return
        self.request_id = request.id
        self.exchange = exchange_of(request, settings)
        self.rules = settings.rules(self.exchange)
        self.test = request.test != 0
        refused = self._refused(request, age_ns, settings)
        if refused is None:
            self.request = request
        else:
            for imp in request.imp:
                self.end(imp.id, refused)

    def _refused(self, request: BidRequest, age_ns: int, settings: EngineSettings) -> Reason | None:
        """Why nothing of a request can be bid on, or None."""
        if request.at not in (FIRST_PRICE_AT, SECOND_PRICE_AT):
            return Reason.AUCTION_TYPE
        # An absent list means the exchange's usual currency: USD unless agreed otherwise (section 3.2.1).
        if settings.currency not in (request.cur or ("USD",)):
            return Reason.CURRENCY
        if (request.wseat and settings.buyer not in request.wseat) or settings.buyer in (request.bseat or ()):
            return Reason.SEAT
        left_ms = (request.tmax or self.rules.default_tmax_ms) - self.rules.network_margin_ms
        return Reason.EXPIRED if age_ns >= left_ms * 1_000_000 else None

    @property
    def audience(self) -> Audience:
        """What all its impressions share, read once."""
        found = self._audience
        if found is None:
            assert self.request is not None, "only a request that can be bid on has an audience"
            found = audience_of(self.request, self.exchange, may_use_personal_data(self.request))
            self._audience = found
        return found

    @property
    def blocked(self) -> tuple[str, ...]:
        """What the request bars on all its impressions, as values of `Dimension.BLOCKED`, read once."""
        found = self._blocked
        if found is None:
            assert self.request is not None, "only a request that can be bid on bars something"
            badv, bcat = self.request.badv or (), self.request.bcat or ()
            found = (*("adv:" + domain.lower() for domain in badv), *("cat:" + category for category in bcat))
            self._blocked = found
        return found

    def end(self, imp_id: str, reason: Reason, floor_cpm_micros: int = 0) -> None:
        """Notes that an impression got no bid."""
        self.decisions.append(
            Decision(
                at_ns=self.now_ns,
                reason=reason,
                request_id=self.request_id,
                imp_id=imp_id,
                exchange=self.exchange,
                floor_cpm_micros=floor_cpm_micros,
                test=self.test,
            )
        )

    def answer(self, buyer: str, currency: str) -> Answer:
        """The response and the log rows, once every impression has ended.

        Args:
            buyer: the seat name that exchanges know us by. currency: of the bids.
        """
        self._sort()
        decisions = self.decisions
        rows = b"".join([_encode(decision) + b"\n" for decision in decisions])
        if self.bids:
            first = next(decision.bid_id for decision in decisions if decision.bid_id)
            return Answer(bid_response(self.request_id, first, currency, buyer, self.bids), rows, True)
        if not self.request_id:
            return Answer(b"", rows, False)
        return Answer(no_bid_response(self.request_id, nbr(Reason(decisions[-1].reason))), rows, False)

    def _sort(self) -> None:
        """Puts decisions in the order of the impressions; which ended first tells where a batch was full."""
        if self.request is not None and len(self.decisions) > 1:
            place = {imp.id: number for number, imp in enumerate(self.request.imp)}
            self.decisions.sort(key=lambda decision: place[decision.imp_id])


def exchange_of(request: BidRequest, settings: EngineSettings) -> str:
    """Name of the exchange that sent a request."""
    ext = request.ext
    return (ext.exchange if ext is not None else None) or settings.default_exchange


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
