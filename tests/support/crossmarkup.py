"""Reads the markup of a bid as players and pages do; part of `tests.support.crosscheck`."""

import json
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from tests.support import crossread as read
from tests.support.crossread import Unreadable

_VERSIONS = {2: "2.0", 3: "3.0", 7: "4.0", 11: "4.1", 13: "4.2", 15: "4.3"}
_ENDINGS = {"png": "image/png", "gif": "image/gif", "webp": "image/webp", "svg": "image/svg+xml"}
_CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)\Z")

_SHOWN = 1
"""Event of an impression (native 1.2, section 7.6)."""


def markup_faults(
    bid: dict[str, Any], creative: Any, medium: str, slot: dict[str, Any], *, secure: bool
) -> list[str]:
    """What is wrong with `adm`, by medium."""
    reader = {"banner": _html, "video": _vast, "audio": _vast, "native": _native}[medium]
    found, urls = reader(bid, creative, slot)
    urls += [bid[name] for name in ("nurl", "burl", "lurl", "iurl") if name in bid]
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in (("https",) if secure else ("https", "http")) or not parts.netloc:
            found.append(f"address {url!r:.100}")
    if ("burl" in bid) == (medium in ("video", "audio")):
        found.append("billed by none or by both of burl and impression")
    return found


def _image_mime(creative: Any) -> str:
    ending = urlsplit(creative.image_url).path.rpartition(".")[2].lower()
    return creative.mime.lower() or ("text/html" if creative.html else _ENDINGS.get(ending, "image/jpeg"))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self.links.append(values.get("href") or "")
        if tag == "img":
            self.images.append(values.get("src") or "")


def _html(bid: dict[str, Any], creative: Any, slot: dict[str, Any]) -> tuple[list[str], list[str]]:
    found = []
    mimes = [mime.lower() for mime in read.texts(slot.get("mimes"), "mimes")]
    if mimes and _image_mime(creative) not in mimes:
        found.append(f"mime {_image_mime(creative)}")
    page = _Page()
    page.feed(bid["adm"])
    if len(page.links) != 1 or len(page.images) != 2 or "${" in bid["adm"]:
        found.append(f"adm {bid['adm']!r:.200}")
    return found, page.links + page.images


def _vast(bid: dict[str, Any], creative: Any, slot: dict[str, Any]) -> tuple[list[str], list[str]]:
    try:
        root = ET.fromstring(bid["adm"].encode())
    except ET.ParseError as error:
        return [f"VAST {error}"], []
    found = []
    if (root.tag, root.get("version")) != ("VAST", _VERSIONS.get(bid["protocol"])):
        found.append(f"VAST {root.get('version')} as protocol {bid['protocol']}")
    mimes = [mime.lower() for mime in read.texts(slot.get("mimes"), "mimes")]
    linear, over = root.findall("./Ad/InLine/Creatives/Creative/Linear"), root.findall(".//NonLinear")
    if creative.linearity == 2 and bid["mtype"] == 2:
        files = root.findall(".//NonLinear/StaticResource")
        kinds, clock = (
            [one.get("creativeType") for one in files],
            [one.get("minSuggestedDuration") for one in over],
        )
        clicks = root.findall(".//NonLinearClickThrough")
    else:
        files = root.findall("./Ad/InLine/Creatives/Creative/Linear/MediaFiles/MediaFile")
        kinds, clock = [one.get("type") for one in files], [one.findtext("Duration") for one in linear]
        clicks = root.findall(".//VideoClicks/ClickThrough")
        skips = [one.get("skipoffset") for one in linear]
        if any(skips) and 16 not in bid.get("attr", ()):
            found.append("skippable without attr 16")
    if not kinds or not all(kind is not None and kind.lower() in mimes for kind in kinds):
        found.append(f"files of {kinds}, allowed {mimes}")
    times = [_CLOCK.match(one or "") for one in clock]
    seconds = [int(t[1]) * 3600 + int(t[2]) * 60 + int(t[3]) for t in times if t]
    if seconds != [bid["dur"]]:
        found.append(f"duration {clock}, dur {bid['dur']}")
    impressions = root.findall("./Ad/InLine/Impression")
    if len(impressions) != 2 or len(clicks) != 1:
        found.append(f"{len(impressions)} impressions and {len(clicks)} clicks")
    return found, [(one.text or "").strip() for one in (*files, *impressions, *clicks)]


def _native(bid: dict[str, Any], creative: Any, slot: dict[str, Any]) -> tuple[list[str], list[str]]:
    try:
        order, answer = json.loads(slot["request"]), json.loads(bid["adm"])
        order, rooted = (order["native"], True) if isinstance(order.get("native"), dict) else (order, False)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return [f"native {error!r}"], []
    found = []
    ver = str(order.get("ver") or ("1.0" if rooted else "1.2"))
    if rooted and ver.split(".")[:2] in (["1"], ["1", "0"]):
        answer = answer.get("native", {})
    asked = {_key(one.get("id")): one for one in read.soft_list(read.record, order.get("assets"))}
    given = {_key(one.get("id")): one for one in answer.get("assets", ())}
    if len(given) != len(answer.get("assets", ())) or not given or not given.keys() <= asked.keys():
        found.append(f"assets {list(given)} of {list(asked)}")
    for key, one in asked.items():
        if key in given:
            found += _asset(one, given[key], creative)
        elif _required(one):
            found.append(f"asset {key} is required")
    urls = [one["img"]["url"] for one in given.values() if "img" in one] + [
        answer.get("link", {}).get("url", "")
    ]
    trackers = answer.get("eventtrackers", ())
    for event in {one["event"] for one in trackers}:
        if not _takes_pixels(order, event):
            found.append(f"eventtracker {event} not asked for")
    pixels = [one["url"] for one in trackers if one["event"] == _SHOWN]
    views = [one["url"] for one in trackers if one["event"] != _SHOWN]
    pixels += answer.get("imptrackers", [])
    if len(pixels) != 1:
        found.append(f"pixels {pixels}")
    if len(views) > 1:
        found.append(f"views {views}")
    return found, urls + pixels + views


def _key(value: Any) -> str:
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _required(asset: dict[str, Any]) -> bool:
    """What cannot be read counts as required."""
    try:
        return bool(read.number(asset.get("required"), "required"))
    except Unreadable:
        return True


def _takes_pixels(order: dict[str, Any], event: int) -> bool:
    return any(
        read.soft(read.whole, one.get("event")) == event
        and 1 in read.soft_list(read.whole, one.get("methods"))
        for one in read.soft_list(read.record, order.get("eventtrackers"))
    )


def _asset(asked: dict[str, Any], given: dict[str, Any], creative: Any) -> list[str]:
    native = creative.native
    kinds = [kind for kind in ("title", "img", "data") if isinstance(asked.get(kind), dict)]
    if not kinds or kinds[0] not in given:
        return [f"asset {given} for {asked}"]
    kind = kinds[0]
    order = asked[kind]
    length = read.soft(read.whole, order.get("len")) or 0
    type_ = read.soft(read.whole, order.get("type"))
    if kind == "img":
        icon = type_ == 1
        w, h = (native.icon_w, native.icon_h) if icon else (native.image_w, native.image_h)
        fits = all(
            one >= (read.whole(order[least], least) or 0)
            if order.get(least) is not None
            else (read.soft(read.whole, order.get(exact)) or one) == one
            for one, exact, least in ((w, "w", "wmin"), (h, "h", "hmin"))
        )
        url = native.icon_url if icon else native.image_url
        return (
            []
            if fits and given["img"]["url"] == url and type_ in (None, 1, 3)
            else [f"image {given} for {asked}"]
        )
    if kind == "title":
        text, own = given["title"]["text"], native.title
    else:
        own = {1: native.sponsored, 2: native.text, 12: native.cta}.get(type_ or 0, "")
        text = given["data"]["value"]
    return (
        []
        if text and text == own and (length <= 0 or len(text) <= length)
        else [f"{kind} {given} for {asked}"]
    )
