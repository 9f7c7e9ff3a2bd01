"""Signed tokens: what a tracking URL must tell us of its bid, and that nobody else can write.

A token carries the bid, who pays and the most that may be booked, so a tracker needs no table of bids. Bytes
before base64 (urlsafe, no padding):

    byte 0       version in the high half, scope in the low half
    byte 1       id of the key (first byte of its digest), so that keys can be rotated
    byte 2       0
    3 ..         bid id, epoch, partition, price cap, currency, its rate, impressions, user, the three times
    ..           kind of the money event, fees; lengths of six names; campaign, line item, creative, seat,
                 advertiser and exchange; zeros up to a multiple of 3
    last 18      signature of all from byte 3 on

Every part but the last begins at a multiple of three bytes, so the two tokens of a bid share one base64 text but
for their first four and last 24 characters.

The signature is keyed BLAKE2b (RFC 7693 section 2.5; the key is the first block) with `person` naming use and
version. One hash of 36 bytes signs both scopes: the first half is the signature of `Scope.EXCHANGE`, the second
that of `Scope.BROWSER`. The halves of a keyed hash tell nothing of each other, so who reads the browser's token
cannot write the exchange's; and a scope that was changed in byte 0 is looked for in the other half.

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

from bidder.core.messages import ONE_IMPRESSION, NoticeKind
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT

VERSION = 3
BID_ID_BYTES = 12
MIN_KEY_BYTES = 16

_MAC_BYTES = 18
_MAC_TEXT = 24
_LANDING_MAC_BYTES = 12
_START_BYTES = 3
_MAX_TEXT = 2048  # far above the longest token we make, far below what an attacker may have us decode
_BID_ID_TEXT = slice(_START_BYTES // 3 * 4, (_START_BYTES + BID_ID_BYTES) // 3 * 4)
_HEAD = struct.Struct(f">{BID_ID_BYTES}sqiq3sqqQqqq")
_STANDING = struct.Struct(">BIq6B")
_HEAD_BYTES = _HEAD.size
_NAMES_BYTES = _HEAD_BYTES + _STANDING.size
_TO_URL = bytes.maketrans(b"+/", b"-_")
# '+', '/' and '=' map to a byte outside the alphabet, otherwise a token would have several spellings.
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")
_PERSON = b"clearbid.token.3"
_LANDING_PERSON = b"clearbid.landing"  # so that neither signature passes for the other
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


class TokenFields(msgspec.Struct, frozen=True, gc=False):
    """What a token says of its bid.

    `bid_id` is 12 raw bytes. `cap_nanos` is the most that the whole bid may cost in the account's currency, 0 for a
    bid on test traffic, which may cost nothing. `currency` is the one of the bid, `rate_nanos` what one unit of it
    is worth in nanos of the account, as it was when the bid was made. Until `result_until_ns` the reservation
    waits for a result, until `liable_until_ns` for its billing. `partition` is that of the request, -1 where it
    came by no partition. `line_item_id` is empty where it is the campaign's. `bid_at_ns` is when the bid was made,
    `impressions` what it buys in millionths, `user` the key of its user: 0 where that is not known or may not be
    kept. `advertiser_id` is whose root of budgets it is, `exchange` who sold it. `money` is the `NoticeKind` that
    books its spend there. Beside the price its budgets pay `fee_ppm` millionths of the price and
    `fee_cpm_micros` an impression; `cap_nanos` is of the price alone.
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
    line_item_id: str = ""
    creative_id: str = ""
    bid_at_ns: int = 0
    rate_nanos: int = NANOS_PER_UNIT
    impressions: int = ONE_IMPRESSION
    user: int = 0
    advertiser_id: str = ""
    exchange: str = ""
    money: int = int(NoticeKind.BILLING)
    fee_ppm: int = 0
    fee_cpm_micros: int = 0


def personal_hash(key: bytes, person: bytes, size: int) -> "hashlib.blake2b":
    """Keyed BLAKE2b with nothing hashed yet; a key above 64 bytes is hashed first, as RFC 2104 does.

    Raises:
        InputError: if the key is below 16 bytes.
    """
    _id_of(key)
    short = key if len(key) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(key).digest()
    return hashlib.blake2b(key=short, digest_size=size, person=person)


def _id_of(key: bytes) -> int:
    if len(key) < MIN_KEY_BYTES:
        raise InputError(f"key of tokens must have at least {MIN_KEY_BYTES} bytes, was {len(key)}")
    return hashlib.blake2b(key, digest_size=1, person=b"clearbid.key").digest()[0]


@lru_cache(maxsize=65_536)
def standing_part(
    campaign_id: str,
    line_item_id: str,
    creative_id: str,
    seat: str,
    advertiser_id: str,
    exchange: str,
    money: int,
    fee_ppm: int,
    fee_cpm_micros: int,
) -> bytes:
    """What all bids of a creative at an exchange share, as a token carries it, with what pads it: made once.

    Raises:
        InputError: if a name has more than 255 bytes, or a number does not fit.
    """
    texts = (campaign_id, line_item_id, creative_id, seat, advertiser_id, exchange)
    names = [text.encode() for text in texts]
    try:
        blob = b"".join((_STANDING.pack(money, fee_ppm, fee_cpm_micros, *map(len, names)), *names))
    except struct.error as error:
        raise InputError(
            f"names in a token must have at most 255 bytes, and its fees fit 4 and 8, were {texts}, {fee_ppm} and "
            f"{fee_cpm_micros}"
        ) from error
    return blob + bytes(-(_HEAD_BYTES + len(blob)) % 3)


class Signer:
    """Signs with one key; the engine keeps one and calls `pair` for each bid.

    Args:
        key: at least 16 bytes.

    Raises:
        InputError: if it is shorter.
    """

    __slots__ = ("_browser", "_exchange", "_hash", "id")

    def __init__(self, key: bytes) -> None:
        self.id = _id_of(key)
        self._hash = personal_hash(key, _PERSON, 2 * _MAC_BYTES)
        self._exchange = _start(Scope.EXCHANGE, self.id)
        self._browser = _start(Scope.BROWSER, self.id)

    def macs(self, body: bytes) -> bytes:
        """The signatures of a body: that of the exchange, then that of the browser."""
        hashed = self._hash.copy()
        hashed.update(body)
        return hashed.digest()

    def pair(
        self,
        bid: bytes,
        standing: bytes,
        epoch: int,
        partition: int,
        cap_nanos: int,
        currency: bytes,
        result_until_ns: int,
        liable_until_ns: int,
        bid_at_ns: int,
        rate_nanos: int,
        impressions: int,
        user: int,
    ) -> tuple[str, str]:
        """The tokens of a bid for exchange and browser: as `sign_pair`, without a struct in between.

        Args:
            bid: id of 12 bytes. standing: as `standing_part` made it. currency: three bytes; `struct` would cut or
                fill other lengths unseen. The rest as in `TokenFields`.
        """
        body = (
            _HEAD.pack(
                bid,
                epoch,
                partition,
                cap_nanos,
                currency,
                rate_nanos,
                impressions,
                user,
                bid_at_ns,
                result_until_ns,
                liable_until_ns,
            )
            + standing
        )
        hashed = self._hash.copy()
        hashed.update(body)
        text = binascii.b2a_base64(body + hashed.digest(), newline=False).translate(_TO_URL).decode("ascii")
        middle = text[: -2 * _MAC_TEXT]
        return (
            f"{self._exchange}{middle}{text[-2 * _MAC_TEXT : -_MAC_TEXT]}",
            f"{self._browser}{middle}{text[-_MAC_TEXT:]}",
        )


def _start(scope: Scope, key_id: int) -> str:
    return short_text(bytes((VERSION << 4 | scope, key_id, 0)))


_signer = lru_cache(maxsize=16)(Signer)


def sign(fields: TokenFields, key: bytes, scope: Scope = Scope.EXCHANGE) -> str:
    """The token of a bid, about 220 characters, safe in a query as it is.

    Args:
        fields: what it says; names of at most 255 bytes, a currency of three ASCII letters.
        key: the newest signing key, at least 16 bytes.
        scope: what it gives a right to.

    Raises:
        InputError: if a field does not fit its place, or the key is too short.
    """
    return sign_pair(fields, key)[scope is Scope.BROWSER]


def sign_pair(fields: TokenFields, key: bytes) -> tuple[str, str]:
    """The two tokens of a bid, of `Scope.EXCHANGE` and of `Scope.BROWSER`; see `sign`."""
    signer = _signer(key)
    currency, bid = fields.currency.encode(), fields.bid_id
    if len(currency) != 3 or len(bid) != BID_ID_BYTES:
        raise InputError(f"bid id and currency must have 12 and 3 bytes, were {bid!r} and {currency!r}")
    standing = standing_part(
        fields.campaign_id,
        fields.line_item_id,
        fields.creative_id,
        fields.seat,
        fields.advertiser_id,
        fields.exchange,
        fields.money,
        fields.fee_ppm,
        fields.fee_cpm_micros,
    )
    try:
        return signer.pair(
            bid,
            standing,
            fields.epoch,
            fields.partition,
            fields.cap_nanos,
            currency,
            fields.result_until_ns,
            fields.liable_until_ns,
            fields.bid_at_ns,
            fields.rate_nanos,
            fields.impressions,
            fields.user,
        )
    except struct.error as error:
        raise InputError(f"fields of a token must fit 64 bits, were {fields}") from error


def read(token: str, keys: Sequence[bytes], need: Scope = Scope.EXCHANGE) -> TokenFields:
    """What a token says, once its signature has been checked in constant time.

    Args:
        token: text as it came.
        keys: every key that is still good, newest first.
        need: the right that its use asks for.

    Raises:
        TokenError: with its `reason`; nothing of a token that fails is looked at but version, scope and key id.
    """
    raw = _decode(token)
    body, mac = raw[_START_BYTES:-_MAC_BYTES], raw[-_MAC_BYTES:]
    half = slice(_MAC_BYTES) if raw[0] & 15 == Scope.EXCHANGE else slice(_MAC_BYTES, None)
    for key in keys:
        signer = _signer(key)
        if signer.id == raw[1] and hmac.compare_digest(signer.macs(body)[half], mac):
            break
    else:
        raise TokenError("forged")
    if raw[0] & 15 < need:
        raise TokenError("scope")
    return _unpack(body)


def _decode(token: str) -> bytes:
    """The bytes of a text that has the form of a token: known version and scope, whole, nothing in byte 2."""
    if len(token) > _MAX_TEXT:
        raise TokenError("malformed")
    try:
        raw = binascii.a2b_base64(token.encode("ascii").translate(_FROM_URL), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise TokenError("malformed") from error
    shortest = _START_BYTES + _NAMES_BYTES + _MAC_BYTES
    if len(raw) < shortest or len(raw) % 3 or raw[0] not in _STARTS or raw[2]:
        raise TokenError("malformed")
    return raw


_STARTS = frozenset(VERSION << 4 | scope for scope in Scope)


def _unpack(body: bytes) -> TokenFields:
    head = _HEAD.unpack_from(body)
    bid, epoch, partition, cap, currency, rate, impressions, user, bid_at, result, liable = head
    standing = _standing(body[_HEAD_BYTES:])
    campaign, line_item, creative, seat, advertiser, exchange, money, fee_ppm, fee_cpm_micros = standing
    return TokenFields(
        bid,
        campaign,
        seat,
        epoch,
        partition,
        cap,
        currency.decode(),
        result,
        liable,
        line_item,
        creative,
        bid_at,
        rate,
        impressions,
        user,
        advertiser,
        exchange,
        money,
        fee_ppm,
        fee_cpm_micros,
    )


@lru_cache(maxsize=16_384)
def _standing(blob: bytes) -> tuple[str, str, str, str, str, str, int, int, int]:
    """What `standing_part` wrote, read once for all bids that share it; only what is signed comes here."""
    money, fee_ppm, fee_cpm_micros, *lengths = _STANDING.unpack_from(blob)
    at, names = _STANDING.size, []
    for length in lengths:
        names.append(blob[at : at + length].decode())
        at += length
    assert len(blob) - at < 3, "a signed token has its own length"
    campaign, line_item, creative, seat, advertiser, exchange = names
    return campaign, line_item, creative, seat, advertiser, exchange, money, fee_ppm, fee_cpm_micros


def bid_id(exchange: str, request_id: str, imp_id: str, epoch: int, seat: str, part: str = "") -> bytes:
    """The id of a bid, 12 bytes: the same request redelivered in an epoch gives the same one.

    Each text goes in behind its length, so that no two lists of texts are the same bytes. 96 bits keep the
    chance of one collision among 10**10 live bids below 10**-9. `part` tells a deal or a place in a pod from the
    impression in the open auction.
    """
    names = (
        f"{len(exchange)}:{exchange}{len(request_id)}:{request_id}{len(imp_id)}:{imp_id}{len(part)}:{part}"
    )
    text = f"{names}{epoch}:{seat}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=BID_ID_BYTES).digest()


def bid_id_text(bid: bytes) -> str:
    """A bid id as the 16 characters that messages and responses carry."""
    return short_text(bid)


def bid_id_of(token: str) -> str:
    """The bid id in the text of a token that was read: its letters stand there as they are."""
    return token[_BID_ID_TEXT]


def short_text(raw: bytes) -> str:
    """Bytes as text that is safe in a query: base64 with `-` and `_`; a multiple of 3 bytes has no padding."""
    return binascii.b2a_base64(raw, newline=False).translate(_TO_URL).decode("ascii")


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
    hashed = _landing(key).copy()
    hashed.update(url.encode("ascii"))
    return short_text(hashed.digest())


@lru_cache(maxsize=16)
def _landing(key: bytes) -> "hashlib.blake2b":
    return personal_hash(key, _LANDING_PERSON, _LANDING_MAC_BYTES)
