"""Substitution macros of OpenRTB 2.6 section 4.4: their names, and what exchanges put in their place."""

import re
from enum import StrEnum
from typing import Final, NamedTuple

from bidder.money import MAX_NANOS

AUCTION_ID: Final = "${AUCTION_ID}"
AUCTION_BID_ID: Final = "${AUCTION_BID_ID}"
AUCTION_IMP_ID: Final = "${AUCTION_IMP_ID}"
AUCTION_SEAT_ID: Final = "${AUCTION_SEAT_ID}"
AUCTION_AD_ID: Final = "${AUCTION_AD_ID}"
AUCTION_PRICE: Final = "${AUCTION_PRICE}"
AUCTION_CURRENCY: Final = "${AUCTION_CURRENCY}"
AUCTION_MBR: Final = "${AUCTION_MBR}"
AUCTION_LOSS: Final = "${AUCTION_LOSS}"
AUCTION_MIN_TO_WIN: Final = "${AUCTION_MIN_TO_WIN}"
AUCTION_MULTIPLIER: Final = "${AUCTION_MULTIPLIER}"
AUCTION_IMP_TS: Final = "${AUCTION_IMP_TS}"
AUCTION_DISCOUNT_PCT: Final = "${AUCTION_DISCOUNT_PCT}"
AUCTION_DISCOUNT_CPM: Final = "${AUCTION_DISCOUNT_CPM}"

AUDIT: Final = "AUDIT"
"""What stands in place of any value when a creative is rendered for review: nobody has won anything."""

# Digits are bounded before they are made a number: int() of a long text is quadratic. The exponent is what
# Java and JavaScript write for small prices: 1.0E-4.
_NUMBER = re.compile(r"([+-]?)(?=\.?\d)(\d{0,15})(?:\.(\d{0,24}))?(?:[eE]([+-]?\d{1,2}))?\Z", re.ASCII)
# As most exchanges write it; what does not look so is read by the whole rule.
_PLAIN = re.compile(r"(\d{1,12})(?:\.(\d{1,6}))?\Z", re.ASCII)
_OPAQUE = re.compile(r"[A-Za-z0-9_+/-]{16,256}={0,2}\Z", re.ASCII)
# "${AUCTION_PRICE}", with any of its marks percent-encoded once or twice, or stripped by a template engine.
_MACRO = re.compile(
    r"(?:\$|%(?:25)?24)?(?:\{|%(?:25)?7B)\s*[A-Z_]+(?::[A-Z0-9]+)?\s*(?:\}|%(?:25)?7D)\Z", re.I
)
_MICRO_DIGITS = 6


class PriceOutcome(StrEnum):
    """What came in place of `${AUCTION_PRICE}`; only POSITIVE is a price.

    ENCRYPTED is without keys to read it (`openrtb.encrypted`), TAMPERED and UNENCRYPTED are in spite of them.
    """

    POSITIVE = "positive"
    ZERO = "zero"
    NEGATIVE = "negative"
    EMPTY = "empty"
    AUDIT = "audit"
    UNEXPANDED = "unexpanded"
    ENCRYPTED = "encrypted"
    TAMPERED = "tampered"
    UNENCRYPTED = "unencrypted"
    UNREADABLE = "unreadable"


class Price(NamedTuple):
    """A price that an exchange sent, in CPM micros; 0 unless the outcome is POSITIVE."""

    outcome: PriceOutcome
    cpm_micros: int


_NO_PRICE = {outcome: Price(outcome, 0) for outcome in PriceOutcome}


def is_unexpanded(text: str) -> bool:
    """Whether the text is still a macro, percent-encoded or not."""
    return _MACRO.match(text) is not None


def parse_auction_price(text: str) -> Price:
    """The price in `text`, exactly and without a float.

    Up to six decimals are exact. Finer prices are rounded up to the next micro: what we owe is then never
    booked as less, and as a cap is a whole number of micros, a rounded price passes it only where the
    exact one does.

    Args:
        text: what stands in the query, percent-decoded.
    """
    plain = _PLAIN.match(text)
    if plain is not None:
        whole, fraction = plain[1], plain[2] or ""
        micros = int(whole + fraction.ljust(_MICRO_DIGITS, "0"))
        return Price(PriceOutcome.POSITIVE, micros) if micros else _NO_PRICE[PriceOutcome.ZERO]
    text = text.strip()
    match = _NUMBER.match(text)
    if match is None:
        return _NO_PRICE[_not_a_number(text)]
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", int(match[4] or 0)
    mantissa = int(whole + fraction)
    if mantissa == 0:
        return _NO_PRICE[PriceOutcome.ZERO]
    if sign == "-":
        return _NO_PRICE[PriceOutcome.NEGATIVE]
    shift = _MICRO_DIGITS + exponent - len(fraction)
    micros = mantissa * 10**shift if shift >= 0 else -(-mantissa // 10**-shift)
    if micros > MAX_NANOS:
        return _NO_PRICE[PriceOutcome.UNREADABLE]
    return Price(PriceOutcome.POSITIVE, micros)


def _not_a_number(text: str) -> PriceOutcome:
    if not text:
        return PriceOutcome.EMPTY
    if text.upper() == AUDIT:
        return PriceOutcome.AUDIT
    if is_unexpanded(text):
        return PriceOutcome.UNEXPANDED
    if _OPAQUE.match(text):
        return PriceOutcome.ENCRYPTED
    return PriceOutcome.UNREADABLE
