"""What a browser would find in a banner's markup: where a click leads, and the pixel that says it was shown."""

import html
import re

_LINK = re.compile(r"<a\s[^>]*?\bhref\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_IMAGE = re.compile(r"<img\s[^>]*>", re.IGNORECASE)
_SOURCE = re.compile(r"\bsrc\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_ONE_WIDE = re.compile(r"\bwidth\s*=\s*[\"']?1(?![\d.%])", re.IGNORECASE)
_ONE_HIGH = re.compile(r"\bheight\s*=\s*[\"']?1(?![\d.%])", re.IGNORECASE)
# A page served by https may load from its own machine by http: the loopback address is "potentially trustworthy"
# (W3C Secure Contexts, section 3.1). Anything else by http is mixed content, which `imp.secure` forbids.
_INSECURE = re.compile(r"http://(?!127\.0\.0\.1[:/]|localhost[:/]|\[::1\][:/])", re.IGNORECASE)


def is_secure(markup: str) -> bool:
    """Whether nothing in the markup goes by plain http to another machine (2.6 section 3.2.4, `secure`)."""
    return _INSECURE.search(markup) is None


def click_url(markup: str) -> str:
    """Target of the first link, or nothing."""
    link = _LINK.search(markup)
    return "" if link is None else _unescaped(link)


def pixel_url(markup: str) -> str:
    """Source of the last image of one by one pixel, or nothing."""
    for tag in reversed(_IMAGE.findall(markup)):
        if _ONE_WIDE.search(tag) and _ONE_HIGH.search(tag):
            source = _SOURCE.search(tag)
            return "" if source is None else _unescaped(source)
    return ""


def _unescaped(match: re.Match[str]) -> str:
    return html.unescape(match[1] if match[1] is not None else match[2])
