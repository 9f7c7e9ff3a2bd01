"""Signed tokens: what a tracking URL must tell us of its bid, and that nobody else can write.

A token carries the bid, who pays and the most that may be booked, so a tracker needs no table of bids. Bytes
before base64 (urlsafe, no padding):

    byte 0       version in the high half, scope in the low half
    byte 1       id of the key (first byte of its digest), so that keys can be rotated
    2 ..         bid id, epoch, partition, price cap, currency, the two times, lengths of the two names
    ..           campaign id, seat, zeros up to a length that base64 needs no padding for
    last 16      HMAC-SHA256 (RFC 2104) of all before, truncated (RFC 2104 section 5)

One text only reads as one token: characters outside the alphabet, padding and unused bits are all refused.
"""

import binascii
import hashlib
import hmac
import struct
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from urllib.parse import quote

import msgspec

from bidder.errors import InputError

VERSION = 1
BID_ID_BYTES = 12
MIN_KEY_BYTES = 16

_MAC_BYTES = 16
_LANDING_MAC_BYTES = 12
_MAX_TEXT = 1024  # far above the longest token we make, far below what an attacker may have us decode
_HEAD = struct.Struct(f">BB{BID_ID_BYTES}sqiq3sqqBB")
_HEAD_BYTES = _HEAD.size
_TO_URL = bytes.maketrans(b"+/", b"-_")
# '+', '/' and '=' map to a byte outside the alphabet, otherwise a token would have several spellings.
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"\0", b"\0\0")
_LANDING_DOMAIN = b"landing\0"  # no token starts with 'l', so neither signature passes for the other
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


class TokenError(InputError):
    """A token that cannot be trusted.

    Args:
        reason: `malformed` (not a token of ours by its form), `forged` (the signature is of no key of ours)
            or `scope` (a genuine token, used where it gives no right).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"token must be signed by us for this use, was {reason}")
        self.reason = reason


class Scope(IntEnum):
    """What a token gives a right to; the larger includes the smaller.

    The browser sees the URLs in the markup. A token taken from there must not book spend, so markup carries
    BROWSER and only the notice URLs, which go to the exchange, carry EXCHANGE.
    """

    BROWSER = 1
    EXCHANGE = 2


_BROWSER_START = bytes((VERSION << 4 | Scope.BROWSER,))


class TokenFields(msgspec.Struct, frozen=True, gc=False):
    """What a token says of its bid.

    `bid_id` is 12 raw bytes. `cap_nanos` is the most that one impression may cost, 0 for a bid on test traffic,
    which may cost nothing. Until `result_until_ns`
    the reservation waits for a result, until `liable_until_ns` for its billing. `partition` is that of the
    request, -1 where it came by no partition.
    """

    bid_id: bytes
    campaign_id: str
    seat: str
    epoch: int
    partition: int
    cap_nanos: int
    currency: str
    result_until_ns: int
    liable_until_ns: int


class _Key:
    """A key ready for use: HMAC's two padded blocks are hashed once, not for every bid (2.6 times faster)."""

    __slots__ = ("id", "inner", "outer")

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise InputError(f"key of tokens must have at least {MIN_KEY_BYTES} bytes, was {len(key)}")
        block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
        self.id = hashlib.blake2b(key, digest_size=1, person=b"clearbid.key").digest()[0]
        self.inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self.outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA256 of `message`, 32 bytes."""
        inner = self.inner.copy()
        inner.update(message)
        outer = self.outer.copy()
        outer.update(inner.digest())
        return outer.digest()


_key = lru_cache(maxsize=16)(_Key)


def sign(fields: TokenFields, key: bytes, scope: Scope = Scope.EXCHANGE) -> str:
    """The token of a bid, about 120 characters, safe in a query as it is.

    Args:
        fields: what it says; names of at most 255 bytes, a currency of three ASCII letters.
        key: the newest signing key, at least 16 bytes.
        scope: what it gives a right to.

    Raises:
        InputError: if a field does not fit its place, or the key is too short.
    """
    signer = _key(key)
    return _sealed(_body(fields, signer, scope), signer)


def sign_pair(fields: TokenFields, key: bytes) -> tuple[str, str]:
    """The two tokens of a bid, of `Scope.EXCHANGE` and of `Scope.BROWSER`; see `sign`."""
    signer = _key(key)
    body = _body(fields, signer, Scope.EXCHANGE)
    return _sealed(body, signer), _sealed(_BROWSER_START + body[1:], signer)


def _body(fields: TokenFields, signer: _Key, scope: Scope) -> bytes:
    """What is signed, with the padding that base64 wants."""
    campaign, seat = fields.campaign_id.encode(), fields.seat.encode()
    currency, bid = fields.currency.encode(), fields.bid_id
    if len(currency) != 3 or len(bid) != BID_ID_BYTES:
        raise InputError(f"bid id and currency must have 12 and 3 bytes, were {bid!r} and {currency!r}")
    try:
        head = _HEAD.pack(
            VERSION << 4 | scope,
            signer.id,
            bid,
            fields.epoch,
            fields.partition,
            fields.cap_nanos,
            currency,
            fields.result_until_ns,
            fields.liable_until_ns,
            len(campaign),
            len(seat),
        )
    except struct.error as error:
        raise InputError(f"fields of a token must fit 64 bits and 255 bytes a name, were {fields}") from error
    body = head + campaign + seat
    return body + _PADDING[-(len(body) + _MAC_BYTES) % 3]


def _sealed(body: bytes, signer: _Key) -> str:
    signed = body + signer.mac(body)[:_MAC_BYTES]
    return binascii.b2a_base64(signed, newline=False).translate(_TO_URL).decode("ascii")


def read(token: str, keys: Sequence[bytes], need: Scope = Scope.EXCHANGE) -> TokenFields:
    """What a token says, once its signature has been checked in constant time.

    Args:
        token: text as it came.
        keys: every key that is still good, newest first.
        need: the right that its use asks for.

    Raises:
        TokenError: with its `reason`; nothing of a token that fails is looked at but version and key id.
    """
    raw = _decode(token)
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not any(
        candidate.id == raw[1] and hmac.compare_digest(candidate.mac(body)[:_MAC_BYTES], mac)
        for candidate in map(_key, keys)
    ):
        raise TokenError("forged")
    if raw[0] & 15 < need:
        raise TokenError("scope")
    return _unpack(body)


def _decode(token: str) -> bytes:
    if len(token) > _MAX_TEXT:
        raise TokenError("malformed")
    try:
        raw = binascii.a2b_base64(token.encode("ascii").translate(_FROM_URL), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise TokenError("malformed") from error
    if len(raw) < _HEAD_BYTES + _MAC_BYTES or raw[0] >> 4 != VERSION:
        raise TokenError("malformed")
    return raw


def _unpack(body: bytes) -> TokenFields:
    _, _, bid, epoch, partition, cap, currency, result, liable, campaign_bytes, seat_bytes = (
        _HEAD.unpack_from(body)
    )
    middle = _HEAD_BYTES + campaign_bytes
    end = middle + seat_bytes
    assert len(body) - end < 3, "a signed token has its own length"
    campaign, seat = body[_HEAD_BYTES:middle].decode(), body[middle:end].decode()
    return TokenFields(bid, campaign, seat, epoch, partition, cap, currency.decode(), result, liable)


def bid_id(exchange: str, request_id: str, imp_id: str, epoch: int, seat: str) -> bytes:
    """The id of a bid, 12 bytes: the same request redelivered in an epoch gives the same one.

    Each text goes in behind its length, so that no two lists of texts are the same bytes. 96 bits keep the
    chance of one collision among 10**10 live bids below 10**-9.
    """
    text = f"{len(exchange)}:{exchange}{len(request_id)}:{request_id}{len(imp_id)}:{imp_id}{epoch}:{seat}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=BID_ID_BYTES).digest()


def bid_id_text(bid: bytes) -> str:
    """A bid id as the 16 characters that messages and responses carry."""
    return binascii.b2a_base64(bid, newline=False).translate(_TO_URL).decode("ascii")


def bid_id_bytes(text: str) -> bytes:
    """The 12 bytes behind the text of a bid id; raises `TokenError` if it is none."""
    try:
        raw = binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise TokenError("malformed") from error
    if len(raw) != BID_ID_BYTES:
        raise TokenError("malformed")
    return raw


def sign_landing(url: str, key: bytes) -> str:
    """The query part that lets a click go to `url`: `u=...&s=...`; made once for each creative.

    Only what we signed is redirected to, so the click endpoint is no open redirect. Letters beyond ASCII are
    percent-encoded first, as a Location header must be (RFC 9110 section 10.2.2).

    Raises:
        InputError: if the address is not http or https, or holds spaces or control characters.
    """
    if not url.startswith(("https://", "http://")) or any(
        c.isspace() or ord(c) < 0x20 or c == "\x7f" for c in url
    ):
        raise InputError(
            f"landing URL must be http(s) without spaces or control characters, was {url[:200]!r}"
        )
    plain = quote(url, safe=_PRINTABLE)
    return f"u={quote(plain, safe='')}&s={_landing_mac(plain, key)}"


def landing_is_signed(url: str, signature: str, keys: Sequence[bytes]) -> bool:
    """Whether `signature` is ours for `url`, both as they came out of the query."""
    if not url.isascii() or not signature.isascii():
        return False
    return any(hmac.compare_digest(_landing_mac(url, key), signature) for key in keys)


def _landing_mac(url: str, key: bytes) -> str:
    mac = _key(key).mac(_LANDING_DOMAIN + url.encode("ascii"))[:_LANDING_MAC_BYTES]
    return binascii.b2a_base64(mac, newline=False).translate(_TO_URL).decode("ascii")
