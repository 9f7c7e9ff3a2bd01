"""VAST documents of video and audio ads: InLine, one creative, versions 2.0 to 4.3.

The order of elements is that of the schemas of VAST 2.0.1, 3.0 and 4.2, which differ: from 4.0 on `Linear`
has its clicks last, and each creative names itself in `UniversalAdId`. Only from 4.0 on can a document ask to be
told that it was viewed (`ViewableImpression`, judged by the player). Tracking events and errors are left out, for
nobody of ours listens to them.

The namespace of 4.x is left out as well. No player asks for it, and its name begins with `http://`, which the
scanners of exchanges take for insecure content (`imp.secure`).
"""

import re
from typing import Final

import msgspec

from bidder.openrtb.markup.pieces import Pieces, Slot, escaped, url_pieces

VERSIONS: Final = {2: "2.0", 3: "3.0", 7: "4.0", 11: "4.1", 13: "4.2", 15: "4.3"}
"""Version by AdCOM number ("Creative Subtypes - Audio/Video") of what we write; no wrapper, VAST 1.0 or DAAST."""

SKIP_AFTER_S: Final = 5
"""When a skippable ad may be skipped: creatives do not say, and five seconds are what players use."""

_AD_SYSTEM = "Clearbid"
_STREAMING = 1
_NON_LINEAR = 2
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_URL = re.compile("[\x00-\x20\x7f\ud800-\udfff\ufffe\uffff]")
_ENTITIES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


class VastAd(msgspec.Struct, frozen=True, kw_only=True):
    """What a document says of one ad.

    id: of the creative. media_url, mime: its file and what type it has. duration_s: seconds. w, h: pixels, 0 for
    audio. bitrate_kbps: 0 where unknown. delivery: AdCOM "Delivery Methods". linearity: 2 lies over the content.
    skippable: after `SKIP_AFTER_S`, from VAST 3.0 on. audio: no picture. click_url: with `TOKEN` where the
    browser's token goes. pixel_url: the same, called when the ad starts. billing_url: called then too, with
    `TOKEN` where the exchange's token goes; empty where the exchange calls `burl`. view_url: called when the ad was
    viewed, with `TOKEN` where the browser's token goes; empty where nobody asks.
    """

    id: str
    media_url: str
    mime: str
    duration_s: int
    w: int = 0
    h: int = 0
    bitrate_kbps: int = 0
    delivery: int = 2
    linearity: int = 1
    skippable: bool = False
    audio: bool = False
    click_url: str
    pixel_url: str
    billing_url: str = ""
    view_url: str = ""


def vast(ad: VastAd, protocol: int) -> Pieces:
    """The document of an ad.

    Args:
        ad: what it says.
        protocol: one of `VERSIONS`.
    """
    version = VERSIONS[protocol]
    modern = version >= "4"
    title = ("<AdTitle>", xml_text(ad.id), "</AdTitle>")
    impressions = (
        *(_element("Impression", url_pieces(ad.billing_url, Slot.EXCHANGE_TOKEN)) if ad.billing_url else ()),
        *_element("Impression", url_pieces(ad.pixel_url)),
    )
    # From 4.1 on every serving of an ad has an id of its own; the schemas put it before the title.
    serving: Pieces = ("<AdServingId>", Slot.BID_ID, "</AdServingId>") if version >= "4.1" else ()
    ad_type = ' adType="audio"' if ad.audio and version >= "4.1" else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><VAST version="{version}"><Ad id="{xml_text(ad.id)}"{ad_type}>',
        f"<InLine><AdSystem>{_AD_SYSTEM}</AdSystem>",
        *((*impressions, *_viewable(ad), *serving, *title) if modern else (*title, *impressions)),
        f'<Creatives><Creative id="{xml_text(ad.id)}">',
        *_universal_id(version),
        *(_non_linear(ad) if ad.linearity == _NON_LINEAR else _linear(ad, version)),
        "</Creative></Creatives></InLine></Ad></VAST>",
    )


def _viewable(ad: VastAd) -> Pieces:
    """What is called when the player judges the ad viewed; nobody views audio."""
    if not ad.view_url or ad.audio:
        return ()
    return ("<ViewableImpression>", *_element("Viewable", url_pieces(ad.view_url)), "</ViewableImpression>")


def _universal_id(version: str) -> Pieces:
    """Where an id of a public registry goes; `unknown` is the schema's word for a creative that has none."""
    if version < "4":
        return ()
    value = ' idValue="unknown"' if version == "4.0" else ""
    return (f'<UniversalAdId idRegistry="unknown"{value}>unknown</UniversalAdId>',)


def _linear(ad: VastAd, version: str) -> Pieces:
    skip = ""
    if ad.skippable and version >= "3":
        skip = f' skipoffset="{clock(min(SKIP_AFTER_S, ad.duration_s))}"'
    bitrate = f' bitrate="{ad.bitrate_kbps}"' if ad.bitrate_kbps else ""
    delivery = "streaming" if ad.delivery == _STREAMING else "progressive"
    files = (
        f'<MediaFiles><MediaFile delivery="{delivery}" type="{xml_text(ad.mime)}"{bitrate}',
        f' width="{ad.w}" height="{ad.h}">',
        *cdata((ad.media_url,)),
        "</MediaFile></MediaFiles>",
    )
    clicks = ("<VideoClicks>", *_element("ClickThrough", url_pieces(ad.click_url)), "</VideoClicks>")
    body = (*files, *clicks) if version >= "4" else (*clicks, *files)
    return (f"<Linear{skip}><Duration>{clock(ad.duration_s)}</Duration>", *body, "</Linear>")


def _non_linear(ad: VastAd) -> Pieces:
    return (
        f'<NonLinearAds><NonLinear width="{ad.w}" height="{ad.h}" minSuggestedDuration="{clock(ad.duration_s)}">',
        f'<StaticResource creativeType="{xml_text(ad.mime)}">',
        *cdata((ad.media_url,)),
        "</StaticResource>",
        *_element("NonLinearClickThrough", url_pieces(ad.click_url)),
        "</NonLinear></NonLinearAds>",
    )


def clock(seconds: int) -> str:
    """Seconds as `hh:mm:ss`."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _element(name: str, url: Pieces) -> Pieces:
    return (f"<{name}>", *cdata(url), f"</{name}>")


def cdata(url: Pieces) -> Pieces:
    """A URL as the schemas want it, in CDATA; what no XML document may hold is percent-encoded.

    A `]]>` goes into two sections, for it ends one.
    """
    return ("<![CDATA[", *escaped(url, _cdata_text), "]]>")


def _cdata_text(text: str) -> str:
    return _NOT_URL.sub(_percent_encoded, text).replace("]]>", "]]]]><![CDATA[>")


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def xml_text(text: str) -> str:
    """Text for elements and attributes; what no XML document may hold becomes U+FFFD."""
    return _NOT_XML.sub("\ufffd", text).translate(_ENTITIES)
