"""What privacy signals of a request let us use: a small set of permissions, the intersection of all signals.

| permission | lets us use |
|---|---|
| IDENTIFY | ids of the user and the device: frequency caps, `buyeruid`, `ifa` |
| PROFILE | behavioural segments, personalised ads, model features about the user |
| MEASURE | clicks and impressions joined to the bid |
| PRECISE_GEO | latitude and longitude, and the city |

| signal | source | rule |
|---|---|---|
| `regs.coppa` | OpenRTB 2.6 3.2.3; COPPA | MEASURE alone, which counts by bid and not by user |
| `device.lmt`, `device.dnt` | OpenRTB 2.6 3.2.18 | MEASURE alone |
| `regs.gdpr` = 0 | OpenRTB 2.6 3.2.3 | all; a consent string is not looked at |
| `regs.gdpr` absent, no string | OpenRTB 2.6 3.2.3 | `PrivacyPolicy.gdpr_unknown` |
| `regs.gdpr` = 1, or absent with a string | OpenRTB 2.6 3.2.20; TCF v2 | as the string says for our vendor; none where it is missing or broken |
| - IDENTIFY | TCF purposes 1 and 2 | store and access; basic ads, which caps are part of |
| - PROFILE | purposes 1, 2, 3 and 4 | make a profile, use it: on an id, for an ad |
| - MEASURE | purpose 7 | measure ads |
| - PRECISE_GEO | special feature 1, purpose 2 | opted in, consent to the vendor, and ads to use it for |
| `regs.us_privacy` | IAB US Privacy 1.0 | opted out of sale: MEASURE alone; not well formed: as opted out; else all |
| `regs.gpp`, `regs.gpp_sid` | OpenRTB 2.6 3.2.3; GPP | what every section in force permits; none where one is broken, unknown or missing |
| - section 2 | GPP, EEA | as a TCF string, in force whatever `regs.gdpr` |
| - section 5 | GPP, Canada | as a TCF string without purpose 1, which Canada does not use |
| - section 6 | GPP, US Privacy | as `us_privacy`, but none where not well formed |
| - sections 7 to 27 | GPP, US national and states | opted out, or a known child: MEASURE alone; sensitive data refused: no PROFILE; precise geolocation refused: no PRECISE_GEO |
"""  # noqa: E501  (a row of a table is one line)

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from bidder.privacy.bits import ConsentError
from bidder.privacy.canada import read_tcf_canada
from bidder.privacy.gpp import TCF_CANADA, TCF_EUROPE, US_PRIVACY_SECTION, in_force
from bidder.privacy.tcf import TcfVerdict, purpose, read_tcf
from bidder.privacy.us import (
    KNOWN_CHILD,
    NO_PRECISE_GEO,
    NO_SENSITIVE,
    OPTED_OUT,
    US_PRIVACY,
    US_SECTIONS,
    read_us,
)

IDENTIFY: Final = 1
PROFILE: Final = 2
MEASURE: Final = 4
PRECISE_GEO: Final = 8
NONE: Final = 0
ALL: Final = 15

_US_OPT_OUT_POSITION = 2
_US_LENGTH = 4


class PrivacyPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Our own place under the privacy laws.

    vendor_id: our id in the IAB Europe Global Vendor List; 0 where we are not registered, so that no TCF string
    permits us anything. gdpr_unknown: what a request means that has neither `regs.gdpr` nor a consent string:
    `personal`, that GDPR does not apply, or `none`, that nothing is permitted.
    """

    vendor_id: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    gdpr_unknown: Literal["personal", "none"] = "personal"


def permissions(
    coppa: int,
    gdpr: int | None,
    consent: str | None,
    us_privacy: str | None,
    gpp: str | None,
    gpp_sid: Sequence[int] | None,
    lmt: int,
    dnt: int,
    policy: PrivacyPolicy,
) -> int:
    """Permissions of a request, OR-ed: the intersection of what each signal permits by the table of this module.

    Never raises on what a sender wrote: what cannot be read permits nothing. An empty string or list is an absent
    one.

    Args:
        coppa: `regs.coppa`.
        gdpr: `regs.gdpr`, None where absent.
        consent: `user.consent`.
        us_privacy: `regs.us_privacy`.
        gpp: `regs.gpp`.
        gpp_sid: `regs.gpp_sid`.
        lmt: `device.lmt`.
        dnt: `device.dnt`.
        policy: ours.
    """
    permitted = ALL
    if gdpr or (consent and gdpr is None):
        permitted = _by_consent(consent, policy.vendor_id)
    elif gdpr is None and policy.gdpr_unknown == "none":
        return NONE
    if coppa or lmt or dnt:
        permitted &= MEASURE
    if us_privacy:
        permitted &= _BY_US_FLAGS[US_PRIVACY.get(us_privacy, OPTED_OUT)]
    if permitted and (gpp or gpp_sid):
        permitted &= _by_gpp(gpp, gpp_sid, policy.vendor_id)
    return permitted


def _by_consent(consent: str | None, vendor_id: int) -> int:
    if not consent or not vendor_id:
        return NONE
    try:
        return _by_verdict(read_tcf(consent, vendor_id), _BY_PURPOSES)
    except ConsentError:
        return NONE


def _by_gpp(text: str | None, sids: Sequence[int] | None, vendor_id: int) -> int:
    permitted = ALL
    try:
        for section, content in in_force(text, sids):
            permitted &= _by_section(section, content, vendor_id)
    except ConsentError:
        return NONE
    return permitted


def _by_section(section: int, content: str, vendor_id: int) -> int:
    if section in US_SECTIONS:
        return _BY_US_FLAGS[read_us(section, content)]
    if section == TCF_EUROPE:
        return _by_verdict(read_tcf(content, vendor_id), _BY_PURPOSES)
    if section == TCF_CANADA:
        return _by_verdict(read_tcf_canada(content, vendor_id), _BY_CANADIAN_PURPOSES)
    if section == US_PRIVACY_SECTION and content in US_PRIVACY:
        return _BY_US_FLAGS[US_PRIVACY[content]]
    raise ConsentError(f"GPP section in force must be one that is known and well formed, was {section}")


def _by_verdict(verdict: TcfVerdict, by_purposes: tuple[int, ...]) -> int:
    permitted = by_purposes[verdict.purposes]
    if verdict.precise_geo and verdict.vendor_consent and verdict.purposes & _BASIC_ADS:
        return permitted | PRECISE_GEO
    return permitted


_STORE, _BASIC_ADS, _MEASURE_ADS = purpose(1), purpose(2), purpose(7)
_PROFILES = purpose(3) | purpose(4)


def _permitted_by(purposes: int) -> int:
    """All but PRECISE_GEO, which is no purpose."""
    identify = _STORE | _BASIC_ADS
    profile = identify | _PROFILES
    return (
        (IDENTIFY if purposes & identify == identify else 0)
        | (PROFILE if purposes & profile == profile else 0)
        | (MEASURE if purposes & _MEASURE_ADS else 0)
    )


def _permitted_in_us(flags: int) -> int:
    permitted = MEASURE if flags & (OPTED_OUT | KNOWN_CHILD) else ALL
    permitted &= ~PROFILE if flags & NO_SENSITIVE else ALL
    return permitted & (~PRECISE_GEO if flags & NO_PRECISE_GEO else ALL)


_BY_PURPOSES = tuple(_permitted_by(purposes) for purposes in range(1 << 10))
_BY_CANADIAN_PURPOSES = tuple(_permitted_by(purposes | _STORE) for purposes in range(1 << 10))
_BY_US_FLAGS = tuple(_permitted_in_us(flags) for flags in range(1 << 4))
