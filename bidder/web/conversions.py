"""Conversions that name their user: what a call of an advertiser's pixel or server says, as a `Conversion`.

Query: `a` name of the pixel (`core.pixels`); who converted, as many as are known: `u` our own id, `x` an extended id
as `source:id`, `d` the advertising id of a device; `v` worth and `c` its currency, as of any conversion; `o` id of
the order, else `e` id of the event; `at` when it was, in whole seconds or milliseconds since the epoch.

- Ids are used where privacy lets us identify and measure (`privacy.permissions`), by `gdpr`, `gdpr_consent`,
  `us_privacy`, `gpp`, `gpp_sid`, `coppa` and `lmt` of the call, and by the browser's own `Sec-GPC` (Global Privacy
  Control). Else they are dropped here, before anything is published, and the conversion is counted without them.
- An id that was not filled in, or of more than 256 characters, is none.
- A stated time counts if it is not ahead of us by more than a minute, nor further back than conversions are taken
  for; else it is the time of the call. It is the end of the second that it names, so that a click of the same
  second is before it.
- Without `o` and `e` each call is a conversion of its own.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from bidder.core.messages import Conversion
from bidder.core.pixels import read_pixel
from bidder.core.token import short_text
from bidder.core.users import key_text, user_keys
from bidder.openrtb.macros import is_unexpanded
from bidder.privacy.permissions import IDENTIFY, MEASURE, PrivacyPolicy, permissions

PARAMETERS = frozenset(
    {"a", "u", "x", "d", "v", "c", "o", "e", "at"}
    | {"gdpr", "gdpr_consent", "us_privacy", "gpp", "gpp_sid", "coppa", "lmt"}
)
_MAX_ID = 256
_MAX_SECTIONS = 32
_AHEAD_NS = 60_000_000_000
_TIME_UNITS_NS = {10: 1_000_000_000, 13: 1_000_000}
_NEEDED = IDENTIFY | MEASURE


def conversion_of(
    query: Mapping[str, str],
    headers: Mapping[bytes, bytes],
    keys: Sequence[bytes],
    policy: PrivacyPolicy,
    value_nanos: int,
    at_ns: int,
    now_ns: int,
) -> Conversion:
    """The conversion that a call tells of.

    Args:
        query: its parameters; ids of order and event have been checked.
        headers: lower-case names.
        keys: every signing key that is still good.
        policy: our place under the privacy laws.
        value_nanos: what it was worth. at_ns: when it was. now_ns: the time of the call.

    Raises:
        TokenError: the pixel is not one of ours.
    """
    pixel = read_pixel(query.get("a", ""), keys)
    permitted = is_permitted(query, headers, policy)
    users = tuple(map(key_text, _users(query))) if permitted else ()
    return Conversion(
        advertiser_id=pixel.advertiser_id,
        goal=pixel.goal,
        order_id=query.get("o") or query.get("e") or _own_id(query, now_ns),
        value_nanos=value_nanos,
        at_ns=at_ns,
        arrived_ns=now_ns,
        users=users,
        permitted=permitted,
    )


def stated_ns(query: Mapping[str, str], earliest_ns: int, now_ns: int) -> int | None:
    """When a call says that its conversion was, at most `now_ns`; None where it says nothing that can be."""
    text = query.get("at", "")
    unit_ns = _TIME_UNITS_NS.get(len(text))
    if unit_ns is None or not (text.isascii() and text.isdigit()):
        return None
    at_ns = (int(text) + 1) * unit_ns - 1
    return min(at_ns, now_ns) if earliest_ns <= at_ns <= now_ns + _AHEAD_NS else None


def is_permitted(query: Mapping[str, str], headers: Mapping[bytes, bytes], policy: PrivacyPolicy) -> bool:
    """Whether the ids of a call may be used."""
    gdpr = query.get("gdpr", "")
    sections = query.get("gpp_sid", "").replace("_", ",").split(",")[:_MAX_SECTIONS]
    permitted = permissions(
        coppa=_flag(query.get("coppa", "")),
        gdpr=_flag(gdpr) if gdpr and not is_unexpanded(gdpr) else None,
        consent=_stated(query, "gdpr_consent"),
        us_privacy=_stated(query, "us_privacy"),
        gpp=_stated(query, "gpp"),
        gpp_sid=[int(one) for one in sections if one.isascii() and one.isdigit() and len(one) < 4],
        lmt=_flag(query.get("lmt", "")),
        dnt=_flag(headers.get(b"sec-gpc", b"").decode("latin-1")),
        policy=policy,
    )
    return permitted & _NEEDED == _NEEDED


def _flag(text: str) -> int:
    """1 unless it says no: what is not understood is taken to be the stricter."""
    return int(text not in {"", "0"} and not is_unexpanded(text))


def _stated(query: Mapping[str, str], name: str) -> str | None:
    text = query.get(name, "")
    return text if text and not is_unexpanded(text) else None


def _users(query: Mapping[str, str]) -> tuple[int, ...]:
    own, extended, device = (_id(query.get(name, "")) for name in "uxd")
    source, _, uid = extended.partition(":")
    return user_keys(own, source, uid, device)


def _id(text: str) -> str:
    return "" if len(text) > _MAX_ID or is_unexpanded(text) else text


def _own_id(query: Mapping[str, str], now_ns: int) -> str:
    """An id of the call itself; the record keeps it when it is published twice."""
    said = "&".join(f"{name}={query.get(name, '')}" for name in "auxdv")
    return f"auto:{short_text(blake2b(f'{said}&{now_ns}'.encode(), digest_size=12).digest())}"
