"""Bid responses as a strict exchange reads them: what is wrong with a bid, by name.

The rules are those of OpenRTB 2.6 sections 4.2.1 to 4.2.3 and the markup rules of 3.2.4 and 3.2.6, for one
banner impression of one size.
"""

from decimal import Decimal, InvalidOperation
from enum import StrEnum

import msgspec

from bidder.money import MICROS_PER_UNIT, parse_decimal
from simulator.exchange.markup import is_secure
from simulator.logs.requests import IMP_ID
from simulator.logs.rows import LogRow

MAX_BID_CPM_MICROS = 1_000_000 * MICROS_PER_UNIT
MTYPE_BANNER = 1


class Violation(StrEnum):
    """What an exchange does not accept."""

    MALFORMED = "malformed"
    UNKNOWN_AUCTION = "unknown_auction"
    IMPRESSION = "impression"
    PRICE = "price"
    CURRENCY = "currency"
    FLOOR = "floor"
    CAMPAIGN = "campaign"
    CREATIVE = "creative"
    ADVERTISER = "advertiser"
    MEDIA_TYPE = "media_type"
    SIZE = "size"
    MARKUP = "markup"
    NOT_SECURE = "not_secure"
    BILLING_URL = "billing_url"


LOST_TO_HIGHER_BID = 102
LOSS_CODES = {
    Violation.IMPRESSION: 3,
    Violation.PRICE: 9,
    Violation.CURRENCY: 3,
    Violation.FLOOR: 100,
    Violation.CAMPAIGN: 3,
    Violation.CREATIVE: 8,
    Violation.ADVERTISER: 6,
    Violation.MEDIA_TYPE: 204,
    Violation.SIZE: 203,
    Violation.MARKUP: 7,
    Violation.NOT_SECURE: 207,
    Violation.BILLING_URL: 3,
}
"""Loss reasons (OpenRTB 2.6 list 5.25) that go into `${AUCTION_LOSS}` of a bid that is refused."""


class _Clearbid(msgspec.Struct, gc=False):
    cv: str = ""


class _BidExt(msgspec.Struct, gc=False):
    clearbid: _Clearbid | None = None


class Bid(msgspec.Struct, gc=False):
    """Section 4.2.3, as far as this exchange reads it; the price stays text, so that no float touches it."""

    id: str
    impid: str = ""
    price: msgspec.Raw = msgspec.Raw()
    adid: str = ""
    nurl: str = ""
    burl: str = ""
    lurl: str = ""
    adm: str = ""
    adomain: list[str] = []
    cid: str = ""
    crid: str = ""
    mtype: int = MTYPE_BANNER
    w: int = 0
    h: int = 0
    ext: _BidExt | None = None

    @property
    def conversion_url(self) -> str:
        """Where a conversion is reported: `ext.clearbid.cv`, or nothing."""
        return self.ext.clearbid.cv if self.ext is not None and self.ext.clearbid is not None else ""


class SeatBid(msgspec.Struct, gc=False):
    """Section 4.2.2."""

    bid: list[Bid]
    seat: str = ""


class Answer(msgspec.Struct, gc=False):
    """Section 4.2.1."""

    id: str
    seatbid: list[SeatBid] = []
    bidid: str = ""
    cur: str = "USD"


class _OnlyId(msgspec.Struct):
    id: str


_decoder = msgspec.json.Decoder(Answer)
_id_decoder = msgspec.json.Decoder(_OnlyId)


def read_answer(body: bytes) -> Answer | None:
    """The response, or None where it is not one."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def read_id(body: bytes) -> str | None:
    """The auction that a malformed response speaks of, where that much can be read."""
    try:
        return _id_decoder.decode(body).id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def price_cpm_micros(text: bytes) -> int:
    """A JSON number as CPM micros, exactly; what is finer than a micro is cut off, never charged.

    Raises:
        ValueError: if it is no number, not above 0, or above a million units CPM.
    """
    try:
        micros = parse_decimal(text.decode(), MICROS_PER_UNIT)
    except ValueError:
        micros = _from_decimal(text.decode())
    if not 0 < micros <= MAX_BID_CPM_MICROS:
        raise ValueError(f"price must be above 0 and at most 1000000 CPM, was {text[:40]!r}")
    return micros


def _from_decimal(text: str) -> int:
    """Numbers with an exponent or more than six decimals."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"price must be a number, was {text[:40]!r}") from None
    # An exponent can ask for a number of a thousand million digits: bound it before it is written out.
    if not number.is_finite() or not -30 < number.adjusted() < 7:
        raise ValueError(f"price must be above 0 and at most 1000000 CPM, was {text[:40]!r}")
    return int(number.scaleb(6))


def fault_of(bid: Bid, price: int, row: LogRow) -> Violation | None:
    """The first rule that a bid breaks, its price apart, or None.

    Args:
        bid: as received.
        price: in CPM micros.
        row: what was on offer.
    """
    faults = (
        (bid.impid != IMP_ID, Violation.IMPRESSION),
        (price < row.floor_cpm_micros, Violation.FLOOR),
        (not bid.cid, Violation.CAMPAIGN),
        (not bid.crid, Violation.CREATIVE),
        (not bid.adomain or not all(bid.adomain), Violation.ADVERTISER),
        (bid.mtype != MTYPE_BANNER, Violation.MEDIA_TYPE),
        (bid.w != row.w or bid.h != row.h, Violation.SIZE),
        (not bid.adm, Violation.MARKUP),
        (not is_secure(bid.adm), Violation.NOT_SECURE),
        (not bid.burl, Violation.BILLING_URL),
    )
    return next((violation for broken, violation in faults if broken), None)
