"""Markup of banners: an image behind a link, or a third party's html with the macros it asks for.

Both end with our impression pixel, which is an image of one pixel by one.
"""

import html as entities
import re

from bidder.openrtb.markup.pieces import Pieces, Slot, escaped, url_pieces

CLICK_URL = "${CLICK_URL}"
CACHEBUSTER = "${CACHEBUSTER}"
"""Macros of a third party's html, filled by us; all others are the exchange's."""

_MACROS = re.compile(r"(\$\{CLICK_URL\}|\$\{CACHEBUSTER\})")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\"'<>`\\;]")
_FILL = "width:100%;height:auto"


def image_banner(image_url: str, click_url: str, pixel_url: str, w: int, h: int, *, flex: bool) -> Pieces:
    """An image of `w` by `h` pixels behind a link.

    Args:
        image_url: what it shows. click_url, pixel_url: with `TOKEN` where the browser's token goes.
        w: pixels. h: pixels.
        flex: fill the width of the slot at the image's own ratio instead (section 3.2.10, `wratio`).
    """
    size = f'style="{_FILL}"' if flex else f'width="{w}" height="{h}"'
    return (
        '<a href="',
        *escaped(url_pieces(click_url), entities.escape),
        f'" target="_blank" rel="noopener"><img src="{entities.escape(image_url)}" {size} alt=""></a>',
        *pixel(pixel_url),
    )


def html_banner(html: str, click_url: str, pixel_url: str) -> Pieces:
    """Third-party html with its macros filled, and the impression pixel behind it.

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
    return (*pieces, *pixel(pixel_url))


def pixel(pixel_url: str) -> Pieces:
    """An image of one pixel by one that says that the markup was shown."""
    return (
        '<img src="',
        *escaped(url_pieces(pixel_url), entities.escape),
        '" width="1" height="1" alt="">',
    )


def _percent_encoded(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)
