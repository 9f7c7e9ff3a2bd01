"""Privacy strings of the United States: US Privacy, and the national and state sections of GPP.

A state section is a version in six bits, then fields of two bits each, in an order of its own: 0 not applicable; for
a notice 1 given, 2 not given; for an opt-out 1 opted out, 2 did not; for a consent 1 refused, 2 given; 3 is not
defined. Further segments after dots hold Global Privacy Control (GPC) or, in the newest sections, the consents to
sensitive data. Source: IAB Tech Lab, Global Privacy Platform, "Sections/US-National" and "Sections/US-States"; where
they and the encoder that platforms use differ (sections 24 to 27), the encoder.

What a section says is read to four flags:

| flag | set by |
|---|---|
| OPTED_OUT | sale, sharing or targeted advertising opted out (1); GPC (1); a notice of processing, of sharing or of one of these rights not given (2) |
| KNOWN_CHILD | a consent for a known child that applies at all (1 or 2): the user is known to be a child |
| NO_SENSITIVE | a category of sensitive data refused (1), or the notice of that right not given (2) |
| NO_PRECISE_GEO | the category of precise geolocation refused (1), or the notice of that right not given (2) |

Fields on other uses of the data and on the industry's own agreement (MSPA) are decoded and decide nothing.
"""  # noqa: E501  (a row of a table is one line)

from functools import lru_cache
from itertools import product
from typing import Final

import msgspec

from bidder.memory import forgettable
from bidder.privacy.bits import Bits, ConsentError, bits_of

OPTED_OUT: Final = 1
KNOWN_CHILD: Final = 2
NO_SENSITIVE: Final = 4
NO_PRECISE_GEO: Final = 8

US_PRIVACY: Final = {
    f"1{notice}{opt_out}{lspa}": OPTED_OUT if opt_out in "Yy" else 0
    for notice, opt_out, lspa in product("YNyn-", repeat=3)
}
"""Flags of every US Privacy string: version, notice given, opted out of sale, LSPA; `-` where not applicable."""

_VERSION_BITS = 6
_KEPT = 4096
"""Sections hold a few choices and no time or id, so that few differ; those read are kept."""
_LONGEST = 64
"""Characters of a section with its segments; the longest has 21, and padding without end must not fill the cache."""
_OPT_OUTS = frozenset({"SaleOptOut", "SharingOptOut", "TargetedAdvertisingOptOut"})
_SENSITIVE = "SensitiveDataProcessing"
_CHILD = "KnownChildSensitiveDataConsents"
_GPC_TYPE = 1
_LATER_CATEGORIES = 8
"""Of sensitive data in sections 25 to 27, precise geolocation the last."""


class _Layout(msgspec.Struct, frozen=True):
    """Fields of one version of a section: (name, how many of two bits); masks have the low bit of each."""

    fields: tuple[tuple[str, int], ...]
    width: int
    opt_outs: int
    notices: int
    sensitive_notices: int
    children: int
    sensitive: int
    precise_geo: int


def _layout(precise_geo: int, names: str) -> _Layout:
    """Lays out fields named in order, `Name:count` for several; precise_geo: its category, from 1, 0 for none."""
    fields = tuple(
        (name, int(count or 1)) for name, _, count in (word.partition(":") for word in names.split())
    )
    width = sum(count for _, count in fields)
    masks = dict.fromkeys(
        ("opt_outs", "notices", "sensitive_notices", "children", "sensitive", "precise_geo"), 0
    )
    left = width
    for name, count in fields:
        left -= count
        mask = sum(1 << 2 * at for at in range(left, left + count))
        masks["opt_outs"] |= mask if name in _OPT_OUTS else 0
        masks["children"] |= mask if name == _CHILD else 0
        if name.endswith("Notice"):
            masks["sensitive_notices" if name.startswith("Sensitive") else "notices"] |= mask
        elif name == _SENSITIVE:
            masks["sensitive"] |= mask
            masks["precise_geo"] |= 1 << 2 * (left + count - precise_geo) if precise_geo else 0
    return _Layout(fields, width, **masks)


_SALE = "SaleOptOutNotice TargetedAdvertisingOptOutNotice"
_CHOICES = "SaleOptOut TargetedAdvertisingOptOut"
_MORE = "AdditionalDataProcessingConsent"
_MSPA = "MspaCoveredTransaction MspaOptOutOptionMode MspaServiceProviderMode"
_SHARING = f"SharingNotice {_SALE} {_CHOICES}"
_PROCESSING = f"ProcessingNotice {_SALE} {_CHOICES}"
_LATER = f"MspaCoveredTransaction MspaMode {_PROCESSING}"
_NATIONAL = (
    "SharingNotice SaleOptOutNotice SharingOptOutNotice TargetedAdvertisingOptOutNotice"
    " SensitiveDataProcessingOptOutNotice SensitiveDataLimitUseNotice SaleOptOut SharingOptOut"
    " TargetedAdvertisingOptOut"
)
_PROCESSING_ONE_CHILD = _layout(8, f"{_PROCESSING} {_SENSITIVE}:8 {_CHILD} {_MORE} {_MSPA}")
_PROCESSING_CHILDREN = _layout(8, f"{_PROCESSING} {_SENSITIVE}:8 {_CHILD}:3 {_MORE} {_MSPA}")
_LATER_ONE_CHILD = _layout(0, f"{_LATER} {_CHILD} {_MORE}")
_USNAT = 7
_NATIONAL_2 = _layout(8, f"{_NATIONAL} {_SENSITIVE}:16 {_CHILD}:3 PersonalDataConsents {_MSPA}")

_LAYOUTS: Final = {
    (_USNAT, 1): _layout(8, f"{_NATIONAL} {_SENSITIVE}:12 {_CHILD}:2 PersonalDataConsents {_MSPA}"),
    (_USNAT, 2): _NATIONAL_2,
    (8, 1): _layout(
        3,
        "SaleOptOutNotice SharingOptOutNotice SensitiveDataLimitUseNotice SaleOptOut SharingOptOut"
        f" {_SENSITIVE}:9 {_CHILD}:2 PersonalDataConsents {_MSPA}",
    ),
    (9, 1): _layout(8, f"{_SHARING} {_SENSITIVE}:8 {_CHILD} {_MSPA}"),
    (10, 1): _layout(0, f"{_SHARING} {_SENSITIVE}:7 {_CHILD} {_MSPA}"),
    (11, 1): _layout(
        8,
        f"SharingNotice {_SALE} SensitiveDataProcessingOptOutNotice {_CHOICES} {_SENSITIVE}:8 {_CHILD} {_MSPA}",
    ),
    (12, 1): _layout(8, f"{_SHARING} {_SENSITIVE}:8 {_CHILD}:3 {_MSPA}"),
    (13, 1): _PROCESSING_CHILDREN,
    (14, 1): _layout(8, f"{_SHARING} {_SENSITIVE}:8 {_CHILD}:3 {_MORE} {_MSPA}"),
    (15, 1): _layout(11, f"{_PROCESSING} {_SENSITIVE}:11 {_CHILD}:3 {_MORE} {_MSPA}"),
    (16, 1): _PROCESSING_ONE_CHILD,
    (17, 1): _layout(9, f"{_PROCESSING} {_SENSITIVE}:9 {_CHILD}:5 {_MORE} {_MSPA}"),
    (18, 1): _layout(
        8, f"ProcessingNotice {_SALE} SensitiveDataOptOutNotice {_CHOICES} {_SENSITIVE}:8 {_CHILD} {_MSPA}"
    ),
    (19, 1): _PROCESSING_ONE_CHILD,
    (20, 1): _PROCESSING_CHILDREN,
    (21, 1): _layout(8, f"{_PROCESSING} {_SENSITIVE}:10 {_CHILD}:5 {_MORE} {_MSPA}"),
    (22, 1): _PROCESSING_ONE_CHILD,
    (23, 1): _PROCESSING_ONE_CHILD,
    (24, 1): _layout(0, f"{_LATER} {_MORE}"),
    (25, 1): _LATER_ONE_CHILD,
    (26, 1): _LATER_ONE_CHILD,
    (27, 1): _LATER_ONE_CHILD,
}
"""By GPP section id and version: 7 national, 8 CA, 9 VA, 10 CO, 11 UT, 12 CT, 13 FL, 14 MT, 15 OR, 16 TX, 17 DE,
18 IA, 19 NE, 20 NH, 21 NJ, 22 TN, 23 MN, 24 MD, 25 IN, 26 KY, 27 RI."""

US_SECTIONS: Final = frozenset(section for section, _ in _LAYOUTS)
_WITH_SENSITIVE_SEGMENT = frozenset({25, 26, 27})


@forgettable
@lru_cache(maxsize=_KEPT)
def read_us(section: int, text: str) -> int:
    """Flags of a national or state section.

    Args:
        section: its id in GPP, one of `US_SECTIONS`.
        text: the section, its segments between dots.

    Raises:
        ConsentError: unknown version, truncated, a value that is not defined, or bits set where none are.
    """
    core, *segments = _split(section, text)
    layout, _, values = _core(section, core)
    ones, twos = values, values >> 1
    flags = 0
    if ones & layout.opt_outs or twos & layout.notices:
        flags |= OPTED_OUT
    if (ones | twos) & layout.children:
        flags |= KNOWN_CHILD
    if twos & layout.sensitive_notices:
        flags |= NO_SENSITIVE | NO_PRECISE_GEO
    if ones & layout.sensitive:
        flags |= NO_SENSITIVE
    if ones & layout.precise_geo:
        flags |= NO_PRECISE_GEO
    for segment in segments:
        flags |= _segment_flags(section, segment)
    return flags


def decode_us(section: int, text: str) -> dict[str, int | bool | tuple[int, ...]]:
    """Every field of a national or state section by its name in the specification, for explanations.

    Fields of several values are tuples; `Gpc` is there where its segment is.

    Raises:
        ConsentError: as `read_us`.
    """
    core, *segments = _split(section, text)
    layout, version, values = _core(section, core)
    found: dict[str, int | bool | tuple[int, ...]] = {
        "MspaVersion" if layout.fields[0][0] == "MspaCoveredTransaction" else "Version": version
    }
    bits = Bits(values, 2 * layout.width)
    for name, count in layout.fields:
        found[name] = bits.uint(2) if count == 1 else tuple(bits.uint(2) for _ in range(count))
    for segment in segments:
        if _is_sensitive(section, segment):
            found[_SENSITIVE] = _later_categories(segment)
        else:
            found["Gpc"] = _gpc(segment)
    return found


def _split(section: int, text: str) -> list[str]:
    if len(text) > _LONGEST:
        raise ConsentError(f"GPP section {section} must have {_LONGEST} characters or less, had {len(text)}")
    return text.split(".")


def _core(section: int, core: str) -> tuple[_Layout, int, int]:
    """Layout, version and fields of a core segment, the fields as one number, in which no value is 3."""
    size = 6 * len(core)
    bits = bits_of(core)
    if not size:
        raise ConsentError(f"GPP section {section} must not be empty, was")
    version = bits >> size - _VERSION_BITS
    layout = _LAYOUTS.get((section, version))
    if layout is None:
        raise ConsentError(f"version of GPP section {section} must be one that is known, was {version}")
    left = size - _VERSION_BITS - 2 * layout.width
    if left > 0 and section == _USNAT and bits & (1 << left) - 1:
        # An encoder that was in wide use wrote the longer lists of version 2 under the number 1.
        layout = _NATIONAL_2
        left = size - _VERSION_BITS - 2 * layout.width
    if left < 0:
        raise ConsentError(
            f"GPP section {section} must have {2 * layout.width} bits of fields, ended before: truncated"
        )
    if bits & (1 << left) - 1:
        raise ConsentError(
            f"GPP section {section} must be zero after its last field, was not in its last {left} bits"
        )
    values = bits >> left & (1 << 2 * layout.width) - 1
    if values & values >> 1 & _lows(layout.width):
        raise ConsentError(f"values of GPP section {section} must be 0 to 2, one was 3")
    return layout, version, values


def _lows(width: int) -> int:
    """The low bit of each of so many fields of two bits."""
    return ((1 << 2 * width) - 1) // 3


def _segment_flags(section: int, segment: str) -> int:
    if not _is_sensitive(section, segment):
        return OPTED_OUT if _gpc(segment) else 0
    categories = _later_categories(segment)
    return (NO_SENSITIVE if 1 in categories else 0) | (NO_PRECISE_GEO if categories[-1] == 1 else 0)


def _is_sensitive(section: int, segment: str) -> bool:
    """A segment of sensitive data has 17 bits, of GPC 3."""
    return section in _WITH_SENSITIVE_SEGMENT and len(segment) > 2


def _gpc(segment: str) -> bool:
    """Global Privacy Control: segment type 1 in two bits, then the signal."""
    bits = Bits(bits_of(segment), 6 * len(segment))
    if (kind := bits.uint(2)) != _GPC_TYPE:
        raise ConsentError(f"type of a GPP sub-section must be {_GPC_TYPE}, was {kind}")
    signal = bits.uint(1) == 1
    if not bits.rest_is_zero():
        raise ConsentError("GPC sub-section must be zero after its signal, was not")
    return signal


def _later_categories(segment: str) -> tuple[int, ...]:
    """Consents of sections 25 to 27: one bit that says that they are there, then a value of two bits for each.

    The specification has no such bit, the encoder has. A segment without it and not empty may be of either kind,
    so that all its categories are taken for refused.
    """
    bits = Bits(bits_of(segment), 6 * len(segment))
    there = bits.uint(1)
    values = tuple(bits.uint(2) for _ in range(_LATER_CATEGORIES))
    if not there:
        return (1,) * _LATER_CATEGORIES if any(values) or not bits.rest_is_zero() else values
    if 3 in values or not bits.rest_is_zero():
        raise ConsentError(
            f"categories of sensitive data must be {_LATER_CATEGORIES} values of 0 to 2, were not"
        )
    return values
