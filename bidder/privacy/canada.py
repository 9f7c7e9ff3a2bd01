"""TCF Canada, section 5 of GPP: as the European string, with implied consent where that has legitimate interest.

Source: IAB Tech Lab, "GPP Extension: IAB TCF Canada Technical Specification". Its ranges of vendors are Fibonacci
coded; platforms have also written them as Europe does, under the same version. Nothing in a string tells which it is,
so both are tried, and where both make a whole string, only what both permit is permitted. Older strings end before
the publisher's restrictions, which later ones have as in Europe.
"""

from collections.abc import Callable

from bidder.privacy.bits import Bits, ConsentError, bits_of
from bidder.privacy.tcf import TcfVerdict, purpose

_VERSION = 1
_SHORTEST, _LONGEST = 39, 4096
"""Characters: a head and two empty lists; and more than any platform writes."""
_FIRST_CMP = 2
_MAX_PURPOSE, _PURPOSES = 24, 10
_MAX_VENDOR = 65_535
_ONLY_EXPRESS, _ONLY_IMPLIED = 1, 2
_UNUSED = purpose(1)

_Ranges = Callable[[Bits, int, int], bool]
"""From bits, the highest id and an id: whether a list of ranges has it."""


def read_tcf_canada(text: str, vendor_id: int) -> TcfVerdict:
    """What a `tcfcav1` section says for one vendor; express consent as consent, implied as interest.

    Purpose 1 is not used in Canada, so it never has a basis. Restrictions as in Europe: 1 express consent only, 2
    implied only, any other kind neither.

    Raises:
        ConsentError: another version, truncated, impossible, or from no registered platform.
    """
    core = text.partition(".")[0]
    size = len(core)
    if not _SHORTEST <= size <= _LONGEST or size & 3 == 1:
        raise ConsentError(
            f"TCF Canada string must be of {_SHORTEST} to {_LONGEST} characters, not 1 over a 4-fold, was {size}"
        )
    number = bits_of(core)
    verdicts = []
    failed = None
    for in_ranges in (_in_fibonacci_ranges, _in_plain_ranges):
        try:
            verdicts.append(_verdict(Bits(number, 6 * size), vendor_id, in_ranges))
        except ConsentError as error:
            failed = error
    if failed and not verdicts:
        raise failed
    first, last = verdicts[0], verdicts[-1]
    return TcfVerdict(
        first.policy_version,
        first.purposes & last.purposes,
        first.vendor_consent and last.vendor_consent,
        first.vendor_interest and last.vendor_interest,
        first.precise_geo,
    )


def _verdict(bits: Bits, vendor_id: int, in_ranges: _Ranges) -> TcfVerdict:
    version = bits.uint(6)
    if version != _VERSION:
        raise ConsentError(f"version of a TCF Canada string must be {_VERSION}, was {version}")
    bits.uint(72)  # created, last updated
    cmp_id = bits.uint(12)
    if cmp_id < _FIRST_CMP:
        raise ConsentError(f"CMP id of a TCF Canada string must be {_FIRST_CMP} or more, was {cmp_id}")
    bits.uint(42)  # platform's version, screen, language, version of the vendor list
    policy = bits.uint(6)
    bits.uint(1)  # stacks
    features = bits.uint(12)
    express = bits.uint(24) >> _MAX_PURPOSE - _PURPOSES & ~_UNUSED
    implied = bits.uint(24) >> _MAX_PURPOSE - _PURPOSES & ~_UNUSED
    vendor_express = _has_vendor(bits, vendor_id, in_ranges)
    vendor_implied = _has_vendor(bits, vendor_id, in_ranges)
    no_express, no_implied = _restrictions(bits, vendor_id)
    basis = (express & ~no_express if vendor_express else 0) | (
        implied & ~no_implied if vendor_implied else 0
    )
    return TcfVerdict(policy, basis, vendor_express, vendor_implied, features >> 11 == 1)


def _has_vendor(bits: Bits, vendor_id: int, in_ranges: _Ranges) -> bool:
    most = bits.uint(16)
    if bits.uint(1):
        return in_ranges(bits, most, vendor_id)
    field = bits.uint(most)
    return 0 < vendor_id <= most and field >> most - vendor_id & 1 == 1


def _in_fibonacci_ranges(bits: Bits, most: int, vendor_id: int) -> bool:
    """Each range by its distance from the end of the one before, and a wide one by its width less one."""
    found = False
    last = 0
    for _ in range(bits.uint(12)):
        wide = bits.uint(1)
        first = last + bits.fibonacci()
        last = first + bits.fibonacci() if wide else first
        _check(first, last, most)
        found |= first <= vendor_id <= last
    return found


def _in_plain_ranges(bits: Bits, most: int, vendor_id: int) -> bool:
    found = False
    for _ in range(bits.uint(12)):
        wide = bits.uint(1)
        first = bits.uint(16)
        last = bits.uint(16) if wide else first
        _check(first, last, most)
        found |= first <= vendor_id <= last
    return found


def _check(first: int, last: int, most: int) -> None:
    if not 0 < first <= last <= most:
        raise ConsentError(f"range of vendors must ascend in 1 to {most}, was {first} to {last}")


def _restrictions(bits: Bits, vendor_id: int) -> tuple[int, int]:
    """Masks of purposes that this vendor may not rest on express, and not on implied consent."""
    no_express = no_implied = 0
    if bits.rest_is_zero():
        return no_express, no_implied
    for _ in range(bits.uint(12)):
        number, kind = bits.uint(6), bits.uint(2)
        if not 0 < number <= _MAX_PURPOSE:
            raise ConsentError(f"purpose of a restriction must be 1 to {_MAX_PURPOSE}, was {number}")
        if _in_plain_ranges(bits, _MAX_VENDOR, vendor_id) and number <= _PURPOSES:
            no_express |= purpose(number) if kind != _ONLY_EXPRESS else 0
            no_implied |= purpose(number) if kind != _ONLY_IMPLIED else 0
    if not bits.rest_is_zero():
        raise ConsentError(
            f"TCF Canada string must be zero after its last field, was not in its last {bits.left} bits"
        )
    return no_express, no_implied
