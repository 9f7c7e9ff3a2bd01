"""Prices that an exchange encrypts: 28 bytes as web-safe base64, by two keys that buyer and exchange share.

The scheme is the one that Google's exchange published and others took over ("Decrypt price confirmations"):

    16 bytes    initialisation vector, different for each price
    8 bytes     CPM in micros, big-endian, XOR the first 8 bytes of HMAC-SHA1(encryption key, vector)
    4 bytes     the first 4 of HMAC-SHA1(integrity key, price || vector)

32 bits of signature are few, but who guesses needs a genuine token for each try, and may win no more than a price up
to the bid.
"""

import binascii
import hmac

from bidder.errors import InputError
from bidder.money import MAX_NANOS
from bidder.openrtb.macros import Price, PriceOutcome, parse_auction_price

KEY_BYTES = 32
_VECTOR, _PRICE, _SIGNATURE = 16, 8, 4
_BYTES = _VECTOR + _PRICE + _SIGNATURE
_TEXT = 38
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")
_TO_URL = bytes.maketrans(b"+/", b"-_")
# What is no price whether or not it was encrypted.
_SAID_OPENLY = frozenset({PriceOutcome.EMPTY, PriceOutcome.AUDIT, PriceOutcome.UNEXPANDED})


class PriceCipher:
    """Reads the prices of one exchange, and writes them as it does.

    Args:
        encryption: key of 32 bytes that hides prices. integrity: key of 32 bytes that signs them.

    Raises:
        InputError: if one has another length.
    """

    __slots__ = ("_pads", "_signs")

    def __init__(self, encryption: bytes, integrity: bytes) -> None:
        if len(encryption) != KEY_BYTES or len(integrity) != KEY_BYTES:
            raise InputError(
                f"keys of prices must have {KEY_BYTES} bytes each, had {len(encryption)} and {len(integrity)}"
            )
        self._pads = hmac.new(encryption, digestmod="sha1")
        self._signs = hmac.new(integrity, digestmod="sha1")

    def parse(self, text: str) -> Price:
        """The price in `text`, which must be encrypted: a plain one anybody may have written who saw the token.

        Args:
            text: what stands in the query, percent-decoded.
        """
        plain = parse_auction_price(text)
        if plain.outcome in _SAID_OPENLY:
            return plain
        raw = _decoded(text.strip())
        if raw is None:
            opaque = plain.outcome is PriceOutcome.ENCRYPTED
            return Price(PriceOutcome.TAMPERED if opaque else PriceOutcome.UNENCRYPTED, 0)
        vector, hidden = raw[:_VECTOR], raw[_VECTOR:-_SIGNATURE]
        price = self._masked(hidden, vector)
        if not hmac.compare_digest(self._signature(price, vector), raw[-_SIGNATURE:]):
            return Price(PriceOutcome.TAMPERED, 0)
        micros = int.from_bytes(price, "big")
        if micros == 0:
            return Price(PriceOutcome.ZERO, 0)
        return (
            Price(PriceOutcome.POSITIVE, micros) if micros <= MAX_NANOS else Price(PriceOutcome.UNREADABLE, 0)
        )

    def encrypt(self, cpm_micros: int, vector: bytes) -> str:
        """A price as the exchange sends it; `vector` has 16 bytes and is used once."""
        price = cpm_micros.to_bytes(_PRICE, "big")
        raw = vector + self._masked(price, vector) + self._signature(price, vector)
        return binascii.b2a_base64(raw, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")

    def _masked(self, price: bytes, vector: bytes) -> bytes:
        pad = self._pads.copy()
        pad.update(vector)
        mask = int.from_bytes(pad.digest()[:_PRICE], "big")
        return (int.from_bytes(price, "big") ^ mask).to_bytes(_PRICE, "big")

    def _signature(self, price: bytes, vector: bytes) -> bytes:
        signed = self._signs.copy()
        signed.update(price + vector)
        return signed.digest()[:_SIGNATURE]


def _decoded(text: str) -> bytes | None:
    """The 28 bytes of a text of that form; None where it is another."""
    text = text.rstrip("=")
    if len(text) != _TEXT or not text.isascii():
        return None
    try:
        return binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"==", strict_mode=True)
    except binascii.Error:
        return None
