"""IAB TCF v2 strings: what they say for one vendor, read lazily; and all they say, for explanations.

A TC string is segments between dots, the core first. The core is a head of fixed fields, then two lists of
vendors (consent, legitimate interest), each a field of bits or a list of ranges, then the restrictions of the
publisher. Source: IAB Tech Lab, "Consent string and vendor list formats v2".

Nothing is guessed. A string that ends early, that has a bit set where all has been said, that names vendor 0 or a
purpose that cannot be, is refused whole with `ConsentError`.
"""

from functools import lru_cache

import msgspec

from bidder.memory import forgettable
from bidder.privacy.bits import Bits, ConsentError, bits_of, sextets_of

_VERSION = 2
_BODY_AT = 213
"""Bits of the head, where the lists of vendors begin."""
_SHORTEST = 44
"""Characters that hold a head, two empty lists and no restrictions."""
_LONGEST = 8192
"""Characters of a segment that are read; real ones have 2,000 at most, and the work grows faster than the length."""
_CONSENT_ONLY_POLICY = 4
"""From policy 4 on (TCF 2.2) no vendor may rest purposes 3 to 6 on legitimate interest."""
_FIRST_CMP = 2
"""Ids 0 and 1 of consent platforms are nobody's: no registered platform made such a string."""
_KEPT = 4096
"""Lists kept read. Who takes all or refuses all has the same ranges as all others who do, and restrictions are the
publisher's: neither holds a time or an id. The string itself does and is never kept."""
_LONGEST_KEPT = 2048
"""Characters of the string's end with a list that is kept: the two caches stay below 20 MB whatever is sent."""

_M12, _M16, _M17, _M33 = (1 << 12) - 1, (1 << 16) - 1, (1 << 17) - 1, (1 << 33) - 1
_TWO_ENDS = 1 << 32
_TAIL = 16
"""Zero bits put below a list of ranges, so that its last entry can be read as wide as the widest."""
_MAX_VENDOR = _M16
_MAX_PURPOSE = 24
_PURPOSES = 10
_ONLY_CONSENT, _ONLY_INTEREST = 1, 2


def purpose(number: int) -> int:
    """The bit of a purpose, 1 to 10, in the masks of this module: purpose 1 is the highest of ten bits."""
    return 1 << _PURPOSES - number


_NEVER_INTEREST = purpose(1)
_NEVER_INTEREST_NOW = sum(map(purpose, (1, 3, 4, 5, 6)))


class TcfVerdict(msgspec.Struct, frozen=True, gc=False):
    """What one TC string says for one vendor.

    policy_version: of the TCF policies. purposes: mask of purposes (see `purpose`) that have a legal basis for this
    vendor, after the publisher's restrictions. vendor_consent, vendor_interest: whether the vendor has consent, or
    legitimate interest (in Canada express, or implied consent). precise_geo: special feature 1, opted in.
    """

    policy_version: int
    purposes: int
    vendor_consent: bool
    vendor_interest: bool
    precise_geo: bool


class Restriction(msgspec.Struct, frozen=True):
    """A publisher's restriction: purpose; kind 0 not allowed, 1 consent only, 2 interest only; vendor ids."""

    purpose: int
    kind: int
    vendors: tuple[int, ...]


class TcString(msgspec.Struct, frozen=True, kw_only=True):
    """All that a TC string says, in the order and by the names of the specification; times in Unix milliseconds.

    Lists of purposes, features and vendors are ids from 1, ascending. `purpose_one_treatment` means that purpose 1
    was not disclosed at all. The fields from `vendors_disclosed` on come of segments after the core, and are empty
    where there are none.
    """

    version: int
    created_ms: int
    updated_ms: int
    cmp_id: int
    cmp_version: int
    consent_screen: int
    consent_language: str
    vendor_list_version: int
    policy_version: int
    service_specific: bool
    non_standard_texts: bool
    special_features: tuple[int, ...]
    purposes_consent: tuple[int, ...]
    purposes_interest: tuple[int, ...]
    purpose_one_treatment: bool
    publisher_country: str
    vendors_consent: tuple[int, ...]
    vendors_interest: tuple[int, ...]
    restrictions: tuple[Restriction, ...]
    vendors_disclosed: tuple[int, ...] = ()
    vendors_allowed: tuple[int, ...] = ()
    publisher_consent: tuple[int, ...] = ()
    publisher_interest: tuple[int, ...] = ()
    custom_purposes: int = 0
    custom_consent: tuple[int, ...] = ()
    custom_interest: tuple[int, ...] = ()


def read_tcf(text: str, vendor_id: int) -> TcfVerdict:
    """What a TC string of version 2 says for one vendor; segments after the core are not looked at.

    A purpose has a basis by the user's consent to it and to the vendor, or by legitimate interest in both, which
    purpose 1 never has, and from policy 4 on purposes 3 to 6 neither. Restrictions of the publisher (0 not
    allowed, 1 consent only, 2 interest only; 3 is not defined and taken for 0) take bases away.

    Args:
        text: the whole string.
        vendor_id: of the Global Vendor List, from 1; 0 is no vendor and has no basis for anything.

    Raises:
        ConsentError: not TCF v2, truncated, impossible, from no registered platform, or of the global scope, which
            "is considered invalid" (`IsServiceSpecific`).
    """
    core = text.partition(".")[0]
    size = len(core)
    if not _SHORTEST <= size <= _LONGEST or size & 3 == 1:
        raise _wrong_size("TC string", size, _SHORTEST)
    v = sextets_of(core)
    # Fields of the head lie at sextets: version at 0, CMP id at 13 and 14, policy at 22; bits 138 and 140, scope and
    # special feature 1, are in 23; purposes 1 to 10 begin at bit 152 in 25, those of interest at bit 176 in 29.
    if v[0] != _VERSION:
        raise ConsentError(f"version of a TC string must be {_VERSION}, was {v[0]}")
    if v[13] == 0 and v[14] < _FIRST_CMP:
        raise ConsentError(f"CMP id of a TC string must be {_FIRST_CMP} or more, was {v[14]}")
    if v[23] < 32:
        raise ConsentError("scope of a TC string must be one service (IsServiceSpecific=1), was global")
    policy = v[22]
    consent = (v[25] & 15) << 6 | v[26]
    interest = (v[29] & 15) << 6 | v[30]
    interest &= ~_NEVER_INTEREST if policy < _CONSENT_ONLY_POLICY else ~_NEVER_INTEREST_NOW
    vendor_consent, at = _vendor(core, v, _BODY_AT, vendor_id)
    vendor_interest, at = _vendor(core, v, at, vendor_id)
    if 6 * size - at < 12:
        raise _truncated()
    basis = _basis(
        core, v, at, vendor_id, consent if vendor_consent else 0, interest if vendor_interest else 0
    )
    return TcfVerdict(policy, basis, vendor_consent, vendor_interest, v[23] & 8 != 0)


def _vendor(core: str, v: bytes, at: int, vendor_id: int) -> tuple[bool, int]:
    """Whether the list of vendors at a bit has this one, and the bit where the list ends."""
    end = 6 * len(v)
    if at + 17 > end:
        raise _truncated()
    i = at // 6
    # 17 bits from anywhere in a sextet lie in four of them, of which the last may be past the end.
    word = v[i] << 18 | v[i + 1] << 12 | v[i + 2] << 6 | (v[i + 3] if i + 3 < len(v) else 0)
    head = word >> 7 - at % 6 & _M17
    most = head >> 1
    at += 17
    if head & 1:
        tail = core[at // 6 :]
        read = _range_list if len(tail) <= _LONGEST_KEPT else _range_list.__wrapped__
        found, width = read(tail, at % 6, most, vendor_id)
        return found, at + width
    if at + most > end:
        raise _truncated()
    if not 0 < vendor_id <= most:
        return False, at + most
    bit = at + vendor_id - 1
    return v[bit // 6] >> 5 - bit % 6 & 1 != 0, at + most


@forgettable
@lru_cache(maxsize=_KEPT)
def _range_list(tail: str, skipped: int, most: int, vendor_id: int) -> tuple[bool, int]:
    """Whether a list of ranges has this vendor, and its width; it begins with their number, after skipped bits."""
    left = 6 * len(tail) - skipped - 12
    if left < 0:
        raise _truncated()
    bits = bits_of(tail)
    found, after = _ranges(bits << _TAIL, left + _TAIL, bits >> left & _M12, most, vendor_id)
    return found, 12 + left + _TAIL - after


def _ranges(bits: int, left: int, count: int, most: int, vendor_id: int) -> tuple[bool, int]:
    """Whether one of `count` ranges has this vendor, and how many bits are left after them, `_TAIL` among them."""
    found = False
    try:
        for _ in range(count):
            # An entry is a flag and one id or two; the widest is looked at, and what it has too much is left.
            entry = bits >> left - 33 & _M33
            if entry < _TWO_ENDS:
                first = last = entry >> 16
                left -= 17
                if first == vendor_id:
                    found = True
            else:
                first, last = entry >> 16 & _M16, entry & _M16
                left -= 33
                if first <= vendor_id <= last:
                    found = True
            if not 0 < first <= last <= most:
                raise ConsentError(f"range of vendors must ascend in 1 to {most}, was {first} to {last}")
    except ValueError:  # a shift by less than nothing: the entry begins past the end
        raise _truncated() from None
    if left < _TAIL:
        raise _truncated()
    return found and vendor_id > 0, left


def _basis(core: str, v: bytes, at: int, vendor_id: int, consent: int, interest: int) -> int:
    """Purposes with a basis after the restrictions at a bit."""
    i = at // 6
    if i < len(v) and (v[i] & (1 << 6 - at % 6) - 1 or v.count(0, i + 1) + i + 1 < len(v)):
        tail = core[i:]
        read = _restrictions if len(tail) <= _LONGEST_KEPT else _restrictions.__wrapped__
        no_consent, no_interest = read(tail, at % 6, vendor_id)
        return consent & ~no_consent | interest & ~no_interest
    return consent | interest


@forgettable
@lru_cache(maxsize=_KEPT)
def _restrictions(tail: str, skipped: int, vendor_id: int) -> tuple[int, int]:
    """Masks of purposes that this vendor may not rest on consent, and not on interest."""
    bits = bits_of(tail) << _TAIL
    left = 6 * len(tail) - skipped + _TAIL - 12
    if left < _TAIL:
        raise _truncated()
    no_consent = no_interest = 0
    for _ in range(bits >> left & _M12):
        left -= 20
        if left < _TAIL:
            raise _truncated()
        head = bits >> left & 0xFFFFF
        number, kind = head >> 14, head >> 12 & 3
        if not 0 < number <= _MAX_PURPOSE:
            raise ConsentError(f"purpose of a restriction must be 1 to {_MAX_PURPOSE}, was {number}")
        found, left = _ranges(bits, left, head & _M12, _MAX_VENDOR, vendor_id)
        if found and number <= _PURPOSES:
            no_consent |= purpose(number) if kind != _ONLY_CONSENT else 0
            no_interest |= purpose(number) if kind != _ONLY_INTEREST else 0
    if bits & (1 << left) - 1:
        raise ConsentError(
            f"consent string must be zero after its last field, was not in its last {left - _TAIL} bits"
        )
    return no_consent, no_interest


def _wrong_size(what: str, size: int, least: int) -> ConsentError:
    return ConsentError(
        f"{what} must be of {least} to {_LONGEST} characters, not 1 over a multiple of 4, was {size}"
    )


def _truncated() -> ConsentError:
    return ConsentError("consent string must hold all the fields that it announces, ended before: truncated")


def decode_tcf(text: str) -> TcString:
    """Everything in a TC string of version 2, for explanations; the hot path asks `read_tcf`.

    It shows what is there: a string of the global scope or of no registered platform is decoded too, though
    `read_tcf` takes neither for consent.

    Raises:
        ConsentError: another version, truncated or impossible, in any segment.
    """
    core, *others = text.split(".")
    bits = _reader(core)
    version = bits.uint(6)
    if version != _VERSION:
        raise ConsentError(f"version of a TC string must be {_VERSION}, was {version}")
    fields = {
        "version": version,
        "created_ms": bits.uint(36) * 100,
        "updated_ms": bits.uint(36) * 100,
        "cmp_id": bits.uint(12),
        "cmp_version": bits.uint(12),
        "consent_screen": bits.uint(6),
        "consent_language": bits.letters(),
        "vendor_list_version": bits.uint(12),
        "policy_version": bits.uint(6),
        "service_specific": bits.uint(1) == 1,
        "non_standard_texts": bits.uint(1) == 1,
        "special_features": bits.flags(12),
        "purposes_consent": bits.flags(24),
        "purposes_interest": bits.flags(24),
        "purpose_one_treatment": bits.uint(1) == 1,
        "publisher_country": bits.letters(),
        "vendors_consent": _vendors(bits),
        "vendors_interest": _vendors(bits),
        "restrictions": tuple(_restriction(bits) for _ in range(bits.uint(12))),
    }
    _must_end(bits)
    for other in others:
        fields |= _segment(_reader(other))
    return msgspec.convert(fields, TcString)


def _reader(segment: str) -> Bits:
    size = len(segment)
    if size > _LONGEST or size & 3 == 1:
        raise _wrong_size("TC segment", size, 0)
    return Bits(bits_of(segment), 6 * size)


def _segment(bits: Bits) -> dict[str, object]:
    """Fields of a segment after the core, which begins with its type in three bits."""
    kind = bits.uint(3)
    if kind == 1:
        found: dict[str, object] = {"vendors_disclosed": _vendors(bits)}
    elif kind == 2:
        found = {"vendors_allowed": _vendors(bits)}
    elif kind == 3:
        found = {"publisher_consent": bits.flags(24), "publisher_interest": bits.flags(24)}
        custom = found["custom_purposes"] = bits.uint(6)
        found |= {"custom_consent": bits.flags(custom), "custom_interest": bits.flags(custom)}
    else:
        raise ConsentError(f"type of a TC segment must be 1 to 3, was {kind}")
    _must_end(bits)
    return found


def _vendors(bits: Bits) -> tuple[int, ...]:
    most = bits.uint(16)
    return _ids(bits, most) if bits.uint(1) else bits.flags(most)


def _restriction(bits: Bits) -> Restriction:
    number = bits.uint(6)
    if not 0 < number <= _MAX_PURPOSE:
        raise ConsentError(f"purpose of a restriction must be 1 to {_MAX_PURPOSE}, was {number}")
    return Restriction(number, bits.uint(2), _ids(bits, _MAX_VENDOR))


def _ids(bits: Bits, most: int) -> tuple[int, ...]:
    """Ids of a list of ranges; gathered in one number, as ranges may overlap and be 65,535 wide."""
    found = 0
    for _ in range(bits.uint(12)):
        two_ends = bits.uint(1)
        first = bits.uint(16)
        last = bits.uint(16) if two_ends else first
        if not 0 < first <= last <= most:
            raise ConsentError(f"range of vendors must ascend in 1 to {most}, was {first} to {last}")
        found |= (1 << last + 1) - (1 << first)
    return tuple(number for number in range(1, found.bit_length()) if found >> number & 1)


def _must_end(bits: Bits) -> None:
    if not bits.rest_is_zero():
        raise ConsentError(
            f"consent string must be zero after its last field, was not in its last {bits.left} bits"
        )
