"""Markup of banners: an image behind a link, or a third party's html with the macros it asks for.

Both end with our impression pixel, which is an image of one pixel by one. Behind html, which may hold scripts anyway,
stands a script that tells of a view: half of it in sight for one second, as the Media Rating Council counts. An image
banner gets none: with a script it would be an ad of another type (`btype` 3), which slots may block.
"""

import html as entities
import re

from bidder.openrtb.markup.pieces import TOKEN, Pieces, Slot, escaped, url_pieces

CLICK_URL = "${CLICK_URL}"
CACHEBUSTER = "${CACHEBUSTER}"
"""Macros of a third party's html, filled by us; all others are the exchange's."""

_MACROS = re.compile(r"(\$\{CLICK_URL\}|\$\{CACHEBUSTER\})")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\"'<>`\\;]")
_SCRIPT = (
    "<script>!function(s,o,t){function v(){document.hidden?t=setTimeout(v,1e3):(o.disconnect(),(new Image).src="
    "s.previousSibling.getAttribute('src').split({}))}(o=window.IntersectionObserver)&&(o=new o(function(e){"
    "clearTimeout(t);e.pop().intersectionRatio<.5||(t=setTimeout(v,1e3))},{threshold:.5})).observe(s.parentNode)}"
    "(document.currentScript)</script>"
)
_FILL = "width:100%;height:auto"


def image_banner(
    image_url: str, click_url: str, pixel_url: str, w: int, h: int, *, flex: bool, billing_url: str = ""
) -> Pieces:
    """An image of `w` by `h` pixels behind a link.

    Args:
        image_url: what it shows. click_url, pixel_url: with `TOKEN` where the browser's token goes.
        w: pixels. h: pixels.
        flex: fill the width of the slot at the image's own ratio instead (section 3.2.10, `wratio`).
        billing_url: called when it is shown, with `TOKEN` where the exchange's token goes; or empty.
    """
    size = f'style="{_FILL}"' if flex else f'width="{w}" height="{h}"'
    return (
        '<a href="',
        *escaped(url_pieces(click_url), entities.escape),
        f'" target="_blank" rel="noopener"><img src="{entities.escape(image_url)}" {size} alt=""></a>',
        *_pixels(pixel_url, billing_url),
    )


def html_banner(
    html: str, click_url: str, pixel_url: str, *, view_url: str = "", billing_url: str = ""
) -> Pieces:
    """Third-party html with its macros filled, and behind it the impression pixel and what tells of a view.

    `${CLICK_URL}` stands in attributes and in scripts, where `&amp;` would be wrong, so it is filled with the
    plain URL, in which whatever could end an attribute or a string of a script is percent-encoded.
    `${CACHEBUSTER}` is the id of the bid.
    """
    filled = {
        CLICK_URL: escaped(url_pieces(click_url), _percent_encoded),
        CACHEBUSTER: (Slot.BID_ID,),
    }
    pieces: list[str | Slot] = []
    for part in _MACROS.split(html):
        pieces.extend(filled.get(part, (part,)))
    return (*pieces, *_pixels(pixel_url, billing_url), *_viewed(pixel_url, view_url))


def pixel(pixel_url: str, slot: Slot = Slot.BROWSER_TOKEN) -> Pieces:
    """An image of one pixel by one that says that the markup was shown."""
    return (
        '<img src="',
        *escaped(url_pieces(pixel_url, slot), entities.escape),
        '" width="1" height="1" alt="">',
    )


def _pixels(pixel_url: str, billing_url: str) -> Pieces:
    billing = pixel(billing_url, Slot.EXCHANGE_TOKEN) if billing_url else ()
    return (*billing, *pixel(pixel_url))


def _viewed(pixel_url: str, view_url: str) -> Pieces:
    """A script that calls `view_url` with the token of the pixel before it, once, when its parent was viewed.

    The token is taken from there, as it is half as long as the script. A page in the background shows nothing: the
    second begins anew.
    """
    if not view_url:
        return ()
    (before, after), (shown, viewed) = (url.split(TOKEN) for url in (pixel_url, view_url))
    assert after == viewed, f"addresses must differ before their token alone, were {pixel_url} and {view_url}"
    return (_SCRIPT.replace("{}", f'"{_percent_encoded(before)}").join("{_percent_encoded(shown)}"'),)


def _percent_encoded(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)
