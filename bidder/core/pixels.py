"""Signed names of advertisers' pixels: who reports a conversion, and of what, where no bid is named.

    ADVERTISER~GOAL~SIGNATURE

Ids hold no `~` (`core.campaigns.Identifier`), so a name has one reading; the goal may be empty. The signature is
keyed BLAKE2b (RFC 7693 section 2.5) of 15 bytes over the text before it. A pixel stands on a public page, so its name
proves that we gave it to that advertiser and not who calls it: it gives no right but to report conversions. It is
good as long as its key is, so a secret that signed pixels stays among the old ones until they are replaced.
"""

import hmac
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from bidder.core.campaigns import is_identifier
from bidder.core.token import TokenError, personal_hash, short_text
from bidder.errors import InputError

_PERSON = b"clearbid.pixel"
_MAC_BYTES = 15
_MAC_TEXT = 20
_MARK = "~"
_MAX_TEXT = 64 + 64 + _MAC_TEXT + 2


class Pixel(NamedTuple):
    """Whose pixel, and what the advertiser calls that which it reports; empty where it says nothing."""

    advertiser_id: str
    goal: str


def sign_pixel(pixel: Pixel, key: bytes) -> str:
    """The signed name of a pixel, safe in a query as it is.

    Args:
        pixel: what it says.
        key: the newest signing key, at least 16 bytes.

    Raises:
        InputError: if the advertiser or the goal is no id, or the key is too short.
    """
    for what, text in zip(("advertiser", "goal"), pixel, strict=True):
        if not is_identifier(text) and (text or what == "advertiser"):
            raise InputError(f"{what} of a pixel must be 1 to 64 letters, digits or ._:-, was {text[:80]!r}")
    said = _MARK.join(pixel)
    return f"{said}{_MARK}{_mac(said, key)}"


def read_pixel(text: str, keys: Sequence[bytes]) -> Pixel:
    """What the name of a pixel says, once its signature has been checked in constant time.

    Raises:
        TokenError: `malformed` or `forged`.
    """
    said, mark, mac = text.rpartition(_MARK)
    advertiser_id, middle, goal = said.partition(_MARK)
    formed = (
        len(text) <= _MAX_TEXT
        and mark
        and middle
        and is_identifier(advertiser_id)
        and (not goal or is_identifier(goal))
        and len(mac) == _MAC_TEXT
        and mac.isascii()
    )
    if not formed:
        raise TokenError("malformed")
    if not any(hmac.compare_digest(_mac(said, key), mac) for key in keys):
        raise TokenError("forged")
    return Pixel(advertiser_id, goal)


def _mac(said: str, key: bytes) -> str:
    hashed = _hash(key).copy()
    hashed.update(said.encode())
    return short_text(hashed.digest())


@lru_cache(maxsize=16)
def _hash(key: bytes) -> "blake2b":
    return personal_hash(key, _PERSON, _MAC_BYTES)
