"""What a native slot asks for, and what of an ad answers it (Native Ads API 1.0 to 1.2).

`imp.native.request` is JSON in a string, and placements repeat it letter by letter: it is read once. What cannot
be read refuses the slot and never just the one asset, for then a required one might be missed.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from bidder.memory import forgettable
from bidder.openrtb.markup.pieces import ascii_json

MAX_REQUEST_CHARACTERS = 8_192
"""Longest request that is read; real ones have 300 to 2,000 characters. `MEMO` of them are kept."""
MAX_BRACKETS = 400
"""Most objects and lists of a request, so that reading it never recurses further than any caller's stack allows."""
MEMO = 4_096

ICON, MAIN = 1, 3
"""Native image asset types (AdCOM "Native Image Asset Types")."""
SPONSORED, DESCRIPTION, CALL_TO_ACTION = 1, 2, 12
"""Native data asset types (AdCOM "Native Data Asset Types") that an ad may have."""
_IMPRESSION_EVENT, _VIEW_EVENT, _PIXEL_METHOD = 1, 2, 1
_FIRST_UNROOTED = (1, 1)
_LATEST = "1.2"
_MIMES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": "image/svg+xml",
    "avif": "image/avif",
}


class AssetAsk(msgspec.Struct, frozen=True, gc=False):
    """One asset on order.

    id: to be repeated in the answer. kind: of asset; `other` is one that we never have. type: of image or data.
    length: most characters, 0 where unlimited. w, h: pixels, 0 where any; exact unless `w_least`, `h_least`.
    mimes: types of image to choose from; empty where any.
    """

    id: int | str
    kind: Literal["title", "image", "data", "video", "other"]
    required: bool = False
    type: int = 0
    length: int = 0
    w: int = 0
    h: int = 0
    w_least: bool = False
    h_least: bool = False
    mimes: tuple[str, ...] = ()


class NativeAsk(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What a native slot asks for; equal for equal orders, and fit to be a key.

    ver: version of the response it wants. rooted: the response stands in an object `{"native": ...}`.
    pixel_event, view_event: it takes a pixel for the events impression and viewable (`eventtrackers`, from 1.2 on).
    """

    ver: str
    rooted: bool
    pixel_event: bool
    assets: tuple[AssetAsk, ...]
    view_event: bool = False


class NativeAnswer(msgspec.Struct, frozen=True, gc=False):
    """What of an ad answers an order: `assets` is the JSON text of the response's list, in ASCII."""

    ver: str
    rooted: bool
    pixel_event: bool
    assets: str
    view_event: bool = False


class NativeAssets(Protocol):
    """What an ad may have; each empty, or 0, where it has none. Sizes in pixels."""

    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def sponsored(self) -> str: ...
    @property
    def cta(self) -> str: ...
    @property
    def icon_url(self) -> str: ...
    @property
    def icon_w(self) -> int: ...
    @property
    def icon_h(self) -> int: ...
    @property
    def image_url(self) -> str: ...
    @property
    def image_w(self) -> int: ...
    @property
    def image_h(self) -> int: ...


class _Title(msgspec.Struct, gc=False):
    len: int | None = None


class _Image(msgspec.Struct, gc=False):
    type: int | None = None
    w: int | None = None
    h: int | None = None
    wmin: int | None = None
    hmin: int | None = None
    mimes: list[str] | None = None


class _Data(msgspec.Struct, gc=False):
    type: int
    len: int | None = None


class _Video(msgspec.Struct, gc=False):
    """That a video is asked for is all that matters: none of our native ads has one."""


class _Asset(msgspec.Struct, gc=False):
    id: int | str
    required: int | bool | None = None
    title: _Title | None = None
    img: _Image | None = None
    data: _Data | None = None
    video: _Video | None = None


class _EventTracker(msgspec.Struct, gc=False):
    event: int | None = None
    methods: list[int] | None = None


class _Order(msgspec.Struct, gc=False):
    assets: list[_Asset] | None = None
    ver: str | int | float | None = None
    eventtrackers: list[_EventTracker] | None = None


class _Root(_Order, gc=False):
    """The order itself, or around it an object of one field."""

    native: _Order | None = None


# Not strict: senders put integers into strings and write `true` for 1.
_decode = msgspec.json.Decoder(_Root, strict=False).decode


@forgettable
@lru_cache(maxsize=MEMO)
def native_ask(request: str) -> tuple[NativeAsk | None, str]:
    """What a native slot asks for, or None and why that cannot be known.

    Args:
        request: `imp.native.request`.
    """
    if len(request) > MAX_REQUEST_CHARACTERS:
        return (
            None,
            f"native request must have at most {MAX_REQUEST_CHARACTERS} characters, was {len(request)}",
        )
    if request.count("{") + request.count("[") > MAX_BRACKETS:
        return None, f"native request must have at most {MAX_BRACKETS} objects and lists, was more"
    try:
        root = _decode(request)
    except (msgspec.MsgspecError, UnicodeError) as error:
        return None, f"native request must be of Native 1.0 to 1.2: {error}"
    order = root.native if root.native is not None else root
    if not order.assets:
        return None, "native request must ask for assets, was without"
    asset_ids = [asset.id for asset in order.assets]
    if len(set(asset_ids)) < len(asset_ids):
        return None, "ids of the assets of a native request must differ, were not all different"
    return _one(_ask(order, rooted=root.native is not None)), ""


@forgettable
@lru_cache(maxsize=MEMO)
def _one(ask: NativeAsk) -> NativeAsk:
    """The same object for equal orders, which makes them quick keys."""
    return ask


def _ask(order: _Order, *, rooted: bool) -> NativeAsk:
    ver = "" if order.ver is None else str(order.ver)
    trackers = order.eventtrackers or ()
    return NativeAsk(
        ver=ver or _LATEST,
        # Only 1.0 has the root, in request and response; a sender that leaves its version open gets its own form.
        rooted=rooted and (not ver or _numbers(ver) < _FIRST_UNROOTED),
        pixel_event=_takes_pixel(trackers, _IMPRESSION_EVENT),
        assets=tuple(_asset_ask(asset) for asset in order.assets or ()),
        view_event=_takes_pixel(trackers, _VIEW_EVENT),
    )


def _takes_pixel(trackers: Iterable[_EventTracker], event: int) -> bool:
    """Whether a pixel is taken for an event."""
    return any(one.event == event and _PIXEL_METHOD in (one.methods or ()) for one in trackers)


def _numbers(ver: str) -> tuple[int, ...]:
    """`1.1` as (1, 1); what is no number counts as the latest."""
    parts = (ver + ".0" if "." not in ver else ver).split(".")
    return tuple(int(part) if part.isascii() and part.isdigit() and len(part) < 9 else 99 for part in parts)


def _asset_ask(asset: _Asset) -> AssetAsk:
    required = bool(asset.required)
    if asset.title is not None:
        return AssetAsk(asset.id, "title", required, length=max(asset.title.len or 0, 0))
    if asset.img is not None:
        return _image_ask(asset.id, required, asset.img)
    if asset.data is not None:
        return AssetAsk(asset.id, "data", required, asset.data.type, max(asset.data.len or 0, 0))
    return AssetAsk(asset.id, "video" if asset.video is not None else "other", required)


def _image_ask(asset_id: int | str, required: bool, image: _Image) -> AssetAsk:
    # "If only w is included, it should be considered an exact requirement" (Native 1.2 section 4.4).
    w_least, h_least = image.wmin is not None, image.hmin is not None
    return AssetAsk(
        asset_id,
        "image",
        required,
        MAIN if image.type is None else image.type,
        w=max((image.wmin if w_least else image.w) or 0, 0),
        h=max((image.hmin if h_least else image.h) or 0, 0),
        w_least=w_least,
        h_least=h_least,
        mimes=tuple(sorted({_mime(name) for name in image.mimes or ()})),
    )


def _mime(name: str) -> str:
    name = name.strip().lower()
    return "image/jpeg" if name == "image/jpg" else name


def answer(ask: NativeAsk, native: NativeAssets, mime: str = "") -> NativeAnswer | None:
    """The assets of an ad that were asked for, in the ids asked, or None where a required one cannot be met.

    Nothing is cut to fit: an ad says what its advertiser wrote, or is not shown. What is not required and does
    not fit is left out.

    Args:
        ask: the order.
        native: what the ad has.
        mime: type of its images where their addresses do not tell.
    """
    given: list[dict[str, object]] = []
    for asset in ask.assets:
        content = _content(asset, native, mime)
        if content is not None:
            given.append({"id": asset.id, **content})
        elif asset.required:
            return None
    if not given:
        return None
    return NativeAnswer(ask.ver, ask.rooted, ask.pixel_event, ascii_json(given), ask.view_event)


def _content(asset: AssetAsk, native: NativeAssets, mime: str) -> dict[str, object] | None:
    """What answers one asset, or None."""
    if asset.kind == "title":
        return {"title": {"text": native.title}} if _fits(native.title, asset.length) else None
    if asset.kind == "data":
        texts = {SPONSORED: native.sponsored, DESCRIPTION: native.text, CALL_TO_ACTION: native.cta}
        value = texts.get(asset.type, "")
        return {"data": {"value": value}} if _fits(value, asset.length) else None
    if asset.kind == "image" and asset.type == ICON:
        return _image(asset, native.icon_url, native.icon_w, native.icon_h, mime)
    if asset.kind == "image" and asset.type == MAIN:
        return _image(asset, native.image_url, native.image_w, native.image_h, mime)
    return None


def _fits(text: str, length: int) -> bool:
    return bool(text) and (not length or len(text) <= length)


def _image(asset: AssetAsk, url: str, w: int, h: int, mime: str) -> dict[str, object] | None:
    fits = (
        url
        and (w >= asset.w if asset.w_least else asset.w in {0, w})
        and (h >= asset.h if asset.h_least else asset.h in {0, h})
        and (not asset.mimes or _mime_of(url, mime) in asset.mimes)
    )
    if not fits:
        return None
    size = {"w": w, "h": h} if w and h else {}
    return {"img": {"url": url, **size}}


def _mime_of(url: str, otherwise: str) -> str:
    """Type of an image by the ending of its address."""
    ending = urlsplit(url).path.rpartition(".")[2].lower()
    return _MIMES.get(ending) or _mime(otherwise)
