"""One canonical key of a user: which of the identifiers in a request stands for the person.

OpenRTB 2.6 sections 3.2.18, 3.2.20, 3.2.27 and 3.2.28 bring up to four kinds. Ours, in order:

1. `user.buyeruid`: our own id, matched by cookie sync; the same whichever exchange sends it.
2. `user.eids[].uids[]`: by `atype` a person's (3) before a browser's, a device's or an app's (1, 2) before one that
   does not say or that only its vendor knows; where several are left, the first by source and then by id.
3. `device.ifa`: the advertising id of a device, in lower case; all zeros mean that its owner switched it off.
4. `user.id`: the exchange's own, so it counts within that exchange only.

Hashed device ids (`didsha1`, `dpidmd5` and their like) are deprecated and not read. Texts that stand for no id
(empty, only zeros and dashes) are none. The caller leaves out what it may not use: with COPPA, without
consent or with limited tracking none of them comes here and the key is 0, the unknown user.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from xxhash import xxh3_64_intdigest

UNKNOWN = 0
"""The key of a user of whom nothing is known, or may be."""

UserText = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
"""A user key as messages carry it, see `key_text`."""

Eids = Sequence[tuple[str, Sequence[tuple[str, int | None]]]]
"""For each source (`eids[].source`) its ids with their `atype`."""

_RANKS: dict[int | None, int] = {3: 0, 1: 1, 2: 1}
_LAST_RANK = 2
_PLACEHOLDER = "0-"


def user_key(buyeruid: str | None, eids: Eids, ifa: str | None, user_id: str | None, exchange: str) -> int:
    """The 64-bit key of a user, 1 to 2**64 - 1; 0 where no id is given.

    It is the XXH3 hash of the id behind its kind, so that ids of two kinds never meet.

    Args:
        buyeruid: `user.buyeruid`.
        eids: `user.eids`, source and ids.
        ifa: `device.ifa`.
        user_id: `user.id`.
        exchange: name of the exchange that sent the request, as configured.
    """
    if buyeruid and buyeruid.strip(_PLACEHOLDER):
        return xxh3_64_intdigest(b"b" + buyeruid.encode()) or 1
    if eids and (best := _best_eid(eids)) is not None:
        return xxh3_64_intdigest(b"e%b\0%b" % (best[0].encode(), best[1].encode())) or 1
    if ifa and ifa.strip(_PLACEHOLDER):
        return xxh3_64_intdigest(b"i" + ifa.lower().encode()) or 1
    if user_id and user_id.strip(_PLACEHOLDER):
        return xxh3_64_intdigest(b"u%b\0%b" % (exchange.encode(), user_id.encode())) or 1
    return UNKNOWN


def user_keys(buyeruid: str, source: str, uid: str, ifa: str) -> tuple[int, ...]:
    """The keys of each id of a user by itself, the strongest first; without those that are no id.

    A request is known by its strongest id alone. Who tells of a user later may know fewer of them, or more: so
    each is looked for.

    Args:
        buyeruid: our own id. source, uid: an extended id. ifa: of the device. Each may be empty.
    """
    keys = (
        user_key(buyeruid, (), None, None, ""),
        user_key(None, ((source, ((uid, None),)),), None, None, "") if source else UNKNOWN,
        user_key(None, (), ifa, None, ""),
    )
    return tuple(key for key in keys if key)


def _best_eid(eids: Eids) -> tuple[str, str] | None:
    """Source and id of the extended id that stands for the person best."""
    best: tuple[str, str] | None = None
    best_rank = _LAST_RANK
    for source, uids in eids:
        for uid, atype in uids:
            rank = _RANKS.get(atype, _LAST_RANK)
            if rank > best_rank or not source or not uid.strip(_PLACEHOLDER):
                continue
            found = (source.lower(), uid)
            if best is None or rank < best_rank or found < best:
                best, best_rank = found, rank
    return best


def key_text(key: int) -> str:
    """A key as text: 16 hexadecimal digits in lower case."""
    return f"{key:016x}"


def key_of(text: str) -> int:
    """The key of a text that `key_text` wrote; the text has been checked (`UserText`)."""
    return int(text, 16)


def user_key_text(
    buyeruid: str | None, eids: Eids, ifa: str | None, user_id: str | None, exchange: str
) -> bytes:
    """The Kafka message key of all that is about one user; empty for the unknown user: publish without a key.

    Requests and exposures of a user must meet in one partition, so that one worker owns the user's caps:
    whoever publishes requests (the shell that takes them from an exchange) keys them by this, and whoever
    publishes exposures and profiles by the same text, into topics with as many partitions.
    """
    key = user_key(buyeruid, eids, ifa, user_id, exchange)
    return key_text(key).encode() if key else b""
