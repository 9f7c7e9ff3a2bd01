"""Global Privacy Platform strings: which sections they hold, and which of them are in force.

A GPP string is a header and its sections between tildes. The header lists the ids of the sections, in their order,
as ranges of Fibonacci numbers. Source: IAB Tech Lab, Global Privacy Platform, "Consent String Specification".
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from bidder.memory import forgettable
from bidder.privacy.bits import Bits, ConsentError, bits_of

TCF_EUROPE: Final = 2
TCF_CANADA: Final = 5
US_PRIVACY_SECTION: Final = 6

_TYPE = 3
_VERSION = 1
_UNKNOWN = 0
"""In `gpp_sid`: which sections apply is not known yet. Below it stands -1: none applies."""
_MAX_SECTION = 255
"""Ids end at 27 today; a header that names more than this is not a list of sections."""
_LONGEST = 64
"""Characters of a header; the fullest today has 8."""
_KEPT = 1024
"""A header says which laws a publisher writes sections for, so that few differ."""


def in_force(text: str | None, sids: Sequence[int] | None) -> list[tuple[int, str]]:
    """Ids and texts of the sections that apply.

    Args:
        text: the GPP string, if there is one.
        sids: `regs.gpp_sid`. Only the sections that it lists apply; -1 says that none does. Where it is absent or
            empty, or has a 0, it is not known which apply, and all of the string do.

    Raises:
        ConsentError: no GPP string, sections and header that differ, or a listed section that is not there.
    """
    if sids and max(sids) < _UNKNOWN:
        return []
    if not text:
        raise ConsentError(f"GPP string must be there for the sections in force, {sids}, was not")
    header, *sections = text.split("~")
    ids = section_ids(header)
    if len(ids) != len(sections):
        raise ConsentError(f"GPP string must have the {len(ids)} sections of its header, had {len(sections)}")
    if not sids or _UNKNOWN in sids:
        return list(zip(ids, sections, strict=True))
    found = []
    for sid in sids:
        if sid > _UNKNOWN:
            if sid not in ids:
                raise ConsentError(f"GPP string must have the sections in force, had not {sid}")
            found.append((sid, sections[ids.index(sid)]))
    return found


@forgettable
@lru_cache(maxsize=_KEPT)
def section_ids(header: str) -> tuple[int, ...]:
    """Ids of the sections that the header of a GPP string lists, in the order of the sections.

    Raises:
        ConsentError: not a GPP header of version 1, truncated, or ids that no section has.
    """
    if len(header) > _LONGEST:
        raise ConsentError(f"GPP header must have {_LONGEST} characters or less, had {len(header)}")
    bits = Bits(bits_of(header), 6 * len(header))
    kind, version = bits.uint(6), bits.uint(6)
    if (kind, version) != (_TYPE, _VERSION):
        raise ConsentError(
            f"GPP header must be of type {_TYPE} and version {_VERSION}, was {kind} and {version}"
        )
    ids: list[int] = []
    last = 0
    for _ in range(bits.uint(12)):
        two_ends = bits.uint(1)
        first = last + bits.fibonacci()
        last = first + bits.fibonacci() if two_ends else first
        if last > _MAX_SECTION:
            raise ConsentError(f"GPP section ids must be {_MAX_SECTION} or less, one was {last}")
        ids.extend(range(first, last + 1))
    if not bits.rest_is_zero():
        raise ConsentError("GPP header must be zero after its sections, was not")
    return tuple(ids)
