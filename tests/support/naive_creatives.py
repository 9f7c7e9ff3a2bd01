"""The slow twin of `bidder.core.creative_kernels`: one creative against one slot, field by field; and the draw."""

import math
from collections.abc import Sequence
from typing import Any

from bidder.core.campaigns import Approval, Campaign, Creative, Media
from bidder.core.settings import EngineSettings
from bidder.core.templatebook import writable_protocols
from bidder.openrtb.reasons import Reason
from tests.support.naive_showing import Shown, bars, fits_native, fits_size, is_slot

_IMAGES = {"png": "image/png", "gif": "image/gif", "webp": "image/webp", "svg": "image/svg+xml"}
_WORD = 2**64


def naive_fault(
    campaign: Campaign, creative: Creative, shown: Shown, settings: EngineSettings, seconds_left: float
) -> Reason | None:
    """Why a creative cannot be shown in an impression: the first of all checks in their order."""
    imp, media = shown.imp, creative.media
    asked = imp.get(media.value)
    if (
        asked is None
        or not is_slot(media, asked)
        or (media is Media.BANNER and not fits_size(creative, asked))
    ):
        return Reason.CREATIVE_SIZE
    linear = media in (Media.VIDEO, Media.AUDIO)
    checks = (
        (_approved(creative, shown.exchange, settings), Reason.CREATIVE_APPROVAL),
        (not imp.get("secure") or creative.secure, Reason.CREATIVE_SECURE),
        (not bars(shown.request, campaign, creative), Reason.CREATIVE_BLOCKED),
        (not set(creative.attr) & _barred_attributes(asked, media), Reason.CREATIVE_ATTRIBUTE),
        (media is not Media.BANNER or _btype(creative) not in asked.get("btype", ()), Reason.CREATIVE_TYPE),
        (_mime_fits(creative, asked), Reason.CREATIVE_MIME),
        (set(creative.api) <= set(asked.get("api", ())), Reason.CREATIVE_API),
        (not linear or _protocol_fits(creative, asked), Reason.CREATIVE_PROTOCOL),
        (not linear or _duration_fits(creative, asked, seconds_left), Reason.CREATIVE_DURATION),
        (not linear or _delivery_fits(creative, asked), Reason.CREATIVE_DELIVERY),
        (_language_fits(creative, shown.request), Reason.CREATIVE_LANGUAGE),
        (media is not Media.NATIVE or fits_native(creative, asked), Reason.CREATIVE_ASSETS),
    )
    return next((reason for holds, reason in checks if not holds), None)


def _approved(creative: Creative, exchange: str, settings: EngineSettings) -> bool:
    assumed = settings.rules(exchange).approval == "assumed"
    if exchange in settings.exchanges:
        stated = creative.approvals.get(exchange)
        return assumed if stated is None else stated is Approval.APPROVED
    # Exchanges without rules of their own are one to us.
    others = [what for name, what in creative.approvals.items() if name not in settings.exchanges]
    return assumed and all(what is Approval.APPROVED for what in others)


def _barred_attributes(asked: dict[str, Any], media: Media) -> set[int]:
    skips = media is Media.VIDEO and asked.get("skip")
    return {*asked.get("battr", ()), *((16,) if skips else ())}


def _btype(creative: Creative) -> int:
    return creative.btype or (3 if creative.html else 2)


def _mime_fits(creative: Creative, asked: dict[str, Any]) -> bool:
    if creative.media is Media.NATIVE or not asked.get("mimes"):
        return True
    mime = creative.mime.lower()
    if not mime:
        ending = creative.image_url.split("?")[0].split(".")[-1].lower()
        mime = "text/html" if creative.html else _IMAGES.get(ending, "image/jpeg")
    return mime in [one.lower() for one in asked["mimes"]]


def _protocol_fits(creative: Creative, asked: dict[str, Any]) -> bool:
    own = set(writable_protocols(creative))
    listed = asked.get("protocols")
    if listed is None and creative.media is Media.VIDEO and asked.get("protocol"):
        listed = [asked["protocol"]]
    return bool(own if listed is None else own & set(listed))


def _duration_fits(creative: Creative, asked: dict[str, Any], seconds_left: float) -> bool:
    seconds = creative.duration_s
    if seconds > seconds_left:
        return False
    if asked.get("rqddurs"):
        return seconds in asked["rqddurs"] and seconds <= (asked.get("poddur") or math.inf)
    most = asked.get("maxduration") or asked.get("poddur") or math.inf
    return bool(asked.get("minduration", 0) <= seconds <= most)


def _delivery_fits(creative: Creative, asked: dict[str, Any]) -> bool:
    rate = creative.bitrate_kbps
    if rate and not asked.get("minbitrate", 0) <= rate <= (asked.get("maxbitrate") or math.inf):
        return False
    wanted = asked.get("linearity") if creative.media is Media.VIDEO else None
    if wanted and wanted != creative.linearity:
        return False
    return not asked.get("delivery") or creative.delivery in asked["delivery"]


def _language_fits(creative: Creative, request: dict[str, Any]) -> bool:
    allowed = [one.lower() for one in (*request.get("wlang", ()), *request.get("wlangb", ()))]
    return not allowed or (
        bool(creative.language)
        and any(creative.language.lower() in (one, one.split("-")[0]) for one in allowed)
    )


# -- which of several ---------------------------------------------------------------------------------------------


class Random:
    """SplitMix64 in whole numbers of Python."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def uniform(self) -> float:
        self._state = (self._state + 0x9E3779B97F4A7C15) % _WORD
        word = self._state
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % _WORD
        word = (word ^ word >> 27) * 0x94D049BB133111EB % _WORD
        return (((word ^ word >> 31) >> 11) + 0.5) * 2.0**-53

    def gamma(self, shape: float) -> float:
        d = shape - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)
        while True:
            normal = math.sqrt(-2.0 * math.log(self.uniform())) * math.cos(2.0 * math.pi * self.uniform())
            v = (1.0 + c * normal) ** 3
            if v > 0.0 and math.log(self.uniform()) < 0.5 * normal * normal + d - d * v + d * math.log(v):
                return d * v


def naive_choice(seed: int, fitting: Sequence[tuple[int, float, float]]) -> int:
    """The place among a line item's creatives whose drawn click rate is the highest.

    Args:
        seed: of the bid. fitting: place, times shown and clicks of each creative that fits.
    """
    rates: list[tuple[float, int]] = []
    for place, shown, clicked in fitting:
        random = Random(seed + place)
        a = random.gamma(1.0 + clicked)
        rates.append((a / (a + random.gamma(199.0 + max(shown - clicked, 0.0))), place))
    return max(rates, key=lambda pair: (pair[0], -pair[1]))[1]
