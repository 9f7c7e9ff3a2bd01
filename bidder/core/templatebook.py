"""From the records of a campaign and a creative to the template of its bids.

What the template says stands in `openrtb.response`, how its markup looks in `openrtb.markup`; here are the rules
of which record says what: a creative speaks for itself and its campaign for what it leaves open.
"""

from math import gcd

from bidder.core.campaigns import Campaign, Creative, Media
from bidder.core.token import sign_landing
from bidder.core.urls import TrackingUrls
from bidder.openrtb.markup.banner import CACHEBUSTER, html_banner, image_banner
from bidder.openrtb.markup.native import native_markup
from bidder.openrtb.markup.pieces import Pieces
from bidder.openrtb.markup.vast import VERSIONS, VastAd, vast
from bidder.openrtb.native import NativeAnswer, NativeAsk, answer
from bidder.openrtb.response import (
    MTYPE_AUDIO,
    MTYPE_BANNER,
    MTYPE_NATIVE,
    MTYPE_VIDEO,
    TOKEN,
    BidFacts,
    BidTemplate,
    Billing,
    NoticeUrls,
)
from bidder.openrtb.taxonomy import DEFAULT_CATTAX, qualified

SKIPPABLE = 16
"""AdCOM "Creative Attributes": the viewer can skip it."""
_MTYPES = {
    Media.BANNER: MTYPE_BANNER,
    Media.VIDEO: MTYPE_VIDEO,
    Media.AUDIO: MTYPE_AUDIO,
    Media.NATIVE: MTYPE_NATIVE,
}
_USUAL_PROTOCOLS = {Media.VIDEO: (3,), Media.AUDIO: (11,)}
"""VAST 3.0 knows skippable ads and is read everywhere; 4.1 is the first that knows audio."""


def notice_urls(creative: Creative, tracking: TrackingUrls, key: bytes) -> NoticeUrls:
    """The URLs of a creative's bids, with `TOKEN` where the token goes.

    Args:
        creative: whose landing page is signed.
        tracking: of the tracker.
        key: signs the landing page.
    """
    return NoticeUrls(
        nurl=tracking.nurl(TOKEN),
        burl=tracking.burl(TOKEN),
        lurl=tracking.lurl(TOKEN),
        pixel=tracking.pixel(TOKEN),
        click=tracking.click(TOKEN, sign_landing(creative.landing_url, key)),
        conversion=tracking.conversion(TOKEN),
        view=tracking.view(TOKEN),
    )


def writable_protocols(creative: Creative) -> tuple[int, ...]:
    """Protocols in which a creative can be served (AdCOM "Creative Subtypes - Audio/Video").

    Those that it states and that we write; what is usual for its media where it states none. Empty for banner and
    native, and for an ad that states only wrappers, VAST 1.0 or DAAST, which can be shown nowhere.
    """
    if creative.media not in _USUAL_PROTOCOLS:
        return ()
    stated = creative.protocols or _USUAL_PROTOCOLS[creative.media]
    return tuple(protocol for protocol in stated if protocol in VERSIONS)


def template_of(
    campaign: Campaign,
    creative: Creative,
    urls: NoticeUrls,
    *,
    line_item_id: str,
    ask: NativeAsk | None,
    exp_s: int,
    protocol: int = 0,
    billing: Billing | None = None,
) -> BidTemplate:
    """The template of a creative's bids.

    Args:
        campaign: whose bids they are (`cid`). creative: what they show (`crid`).
        urls: of the creative, with `TOKEN` where the token goes.
        line_item_id: who bids; named in our own extension where it is not the campaign by another name.
        ask: what a native slot asks for; None for other media.
        exp_s: seconds between auction and impression that we accept; 0 says nothing of it.
        protocol: VAST version to write, one of `writable_protocols`; 0 means the first of them.
        billing: what tells us that an impression is owed; None is what is usual for the media: for video and audio
            the impression, for others `burl`.

    Raises:
        AssertionError: the creative cannot be shown so: no such protocol, or a native slot that it does not meet.
            Targeting lets neither through.
    """
    media = creative.media
    is_vast = media in _USUAL_PROTOCOLS
    billing = billing or ("impression" if is_vast else "burl")
    billing_url = urls.burl if billing == "impression" else ""
    written = _protocol(creative, protocol) if is_vast else 0
    if is_vast:
        markup = vast(_vast_ad(creative, urls, billing_url), written)
    elif media is Media.NATIVE:
        made = _native_answer(creative, ask)
        markup = native_markup(made, urls.click, urls.pixel, view_url=urls.view, billing_url=billing_url)
    else:
        markup = _banner(creative, urls, billing_url)
    facts = _facts(campaign, creative, written, exp_s)
    other_id = line_item_id if line_item_id != campaign.id else ""
    return BidTemplate(facts, urls, markup, billing=billing, line_item_id=other_id)


def _facts(campaign: Campaign, creative: Creative, protocol: int, exp_s: int) -> BidFacts:
    cattax, cat = _one_taxonomy(creative.cat or campaign.cat)
    w, h, flex = creative.w, creative.h, creative.flex and creative.media is Media.BANNER
    sized = creative.media in {Media.BANNER, Media.VIDEO}
    common = gcd(w, h) or 1
    return BidFacts(
        cid=campaign.id,
        crid=creative.id,
        adomain=creative.adomain or campaign.adomain,
        mtype=_MTYPES[creative.media],
        bundle=creative.bundle or campaign.bundle,
        iurl=_sample_image(creative),
        cat=cat,
        cattax=cattax,
        attr=creative.attr,
        apis=creative.api,
        protocol=protocol,
        language=creative.language,
        w=w if sized and not flex else 0,
        h=h if sized and not flex else 0,
        wratio=w // common if flex else 0,
        hratio=h // common if flex else 0,
        dur=creative.duration_s if creative.media in _USUAL_PROTOCOLS else 0,
        exp=exp_s,
    )


def _one_taxonomy(categories: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """The taxonomy of the first category and all categories that are of it: a bid has one `cattax`."""
    read = [qualified(category) for category in categories]
    cattax = read[0][0] if read else DEFAULT_CATTAX
    return cattax, tuple(category for taxonomy, category in read if taxonomy == cattax)


def _sample_image(creative: Creative) -> str:
    """`iurl`: an image by which people can judge the ad, without a cache buster; empty where it has none."""
    native = creative.native
    choices = (creative.image_url, *((native.image_url, native.icon_url) if native is not None else ()))
    return next((url for url in choices if url and CACHEBUSTER not in url), "")


def _banner(creative: Creative, urls: NoticeUrls, billing_url: str) -> Pieces:
    if creative.html:
        return html_banner(creative.html, urls.click, urls.pixel, view_url=urls.view, billing_url=billing_url)
    w, h, flex = creative.w, creative.h, creative.flex
    return image_banner(creative.image_url, urls.click, urls.pixel, w, h, flex=flex, billing_url=billing_url)


def _native_answer(creative: Creative, ask: NativeAsk | None) -> NativeAnswer:
    made = None
    if ask is not None and creative.native is not None:
        made = answer(ask, creative.native, creative.mime)
    assert made is not None, f"targeting let through native creative {creative.id}, which does not meet {ask}"
    return made


def _protocol(creative: Creative, protocol: int) -> int:
    known = writable_protocols(creative)
    wanted = protocol or (known[0] if known else 0)
    assert wanted in known, (
        f"targeting let through creative {creative.id} for protocol {protocol}, which must be one of {known}"
    )
    return wanted


def _vast_ad(creative: Creative, urls: NoticeUrls, billing_url: str) -> VastAd:
    audio = creative.media is Media.AUDIO
    return VastAd(
        id=creative.id,
        media_url=creative.media_url,
        mime=creative.mime,
        duration_s=creative.duration_s,
        w=0 if audio else creative.w,
        h=0 if audio else creative.h,
        bitrate_kbps=creative.bitrate_kbps,
        delivery=creative.delivery,
        linearity=1 if audio else creative.linearity,
        skippable=SKIPPABLE in creative.attr,
        audio=audio,
        click_url=urls.click,
        pixel_url=urls.pixel,
        billing_url=billing_url,
        view_url=urls.view,
    )
