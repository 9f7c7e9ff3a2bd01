"""What privacy signals of a request let us use.

First rule set: any signal that may forbid personal data takes all of it away: no user id, no segments, no
fine place. Reading consent strings can only give permissions back, so this errs on the side of the law.
"""

from bidder.openrtb.request import BidRequest, Regs

_US_OPT_OUT_POSITION = 2
_US_LENGTH = 4


def may_use_personal_data(request: BidRequest) -> bool:
    """Whether user id, segments and city may enter features, caps or logs.

    False under COPPA (`regs.coppa`), where GDPR applies (`regs.gdpr`, and the 2.5 place `regs.ext.gdpr`),
    where a GPP string is present, where `us_privacy` is not a plain "did not opt out", or where the device limits
    tracking (`device.lmt`, `device.dnt`). OpenRTB 2.6 sections 3.2.3 and 3.2.18.
    """
    device = request.device
    if device is not None and (device.lmt or device.dnt):
        return False
    return request.regs is None or not _may_be_regulated(request.regs)


def _may_be_regulated(regs: Regs) -> bool:
    """Both places count, that of 2.6 and that of 2.5: where they differ, the one that forbids."""
    ext = regs.ext
    if regs.coppa or regs.gdpr or regs.gpp or (ext is not None and (ext.gdpr or ext.gpp)):
        return True
    privacy = (regs.us_privacy, ext.us_privacy if ext is not None else None)
    return any(text and not _us_allows(text) for text in privacy)


def _us_allows(text: str) -> bool:
    """IAB US Privacy string: version, notice, opt-out of sale, LSPA; `-` where the law does not apply."""
    return len(text) == _US_LENGTH and text[0] == "1" and text[_US_OPT_OUT_POSITION] in "N-"
