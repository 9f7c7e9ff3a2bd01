"""Operating system and browser family out of the user agents that logs keep.

Public logs often keep only a reduced form, `windows_chrome`; others keep the full string. A reduced form is
written back as the shortest user agent that says the same, because that is what a bid request carries.
"""

from functools import lru_cache
from typing import NamedTuple


class Agent(NamedTuple):
    """A user agent: the string to send, operating system and browser family, lower case; None where unknown."""

    ua: str | None
    os: str | None
    browser: str | None


NO_AGENT = Agent(None, None, None)
# The more particular mark first: an iPad says Mac OS X, Android says Linux, Opera and Edge say Chrome,
# Chrome says Safari, and a shell round Internet Explorer says MSIE.
_SYSTEMS = (
    ("iphone", "ios"), ("ipad", "ios"), ("ipod", "ios"), ("android", "android"), ("windows", "windows"),
    ("mac os", "mac"), ("macintosh", "mac"), ("linux", "linux"), ("x11", "linux"),
)  # fmt: skip
_BROWSERS = (
    ("maxthon", "maxthon"), ("theworld", "theworld"), ("metasr", "sogou"), ("edg", "edge"), ("opr/", "opera"),
    ("opera", "opera"), ("chrome", "chrome"), ("crios", "chrome"), ("firefox", "firefox"), ("fxios", "firefox"),
    ("safari", "safari"), ("msie", "ie"), ("trident", "ie"),
)  # fmt: skip
_PRODUCTS = {"ie": "MSIE", "chrome": "Chrome", "safari": "Safari", "firefox": "Firefox", "opera": "OPR/"}
_REDUCED_MAX = 32


@lru_cache(maxsize=16_384)
def agent_of(text: str | None) -> Agent:
    """Reads a logged user agent, reduced (`windows_chrome`) or full."""
    if not text:
        return NO_AGENT
    system, mark, browser = text.partition("_")
    if mark and len(text) <= _REDUCED_MAX and (system + browser).isalnum():
        return _reduced(system.lower(), browser.lower())
    lowered = text.lower()
    return Agent(text, _first(_SYSTEMS, lowered), _first(_BROWSERS, lowered))


def _reduced(system: str, browser: str) -> Agent:
    product = _PRODUCTS.get(browser, browser)
    return Agent(
        f"Mozilla/5.0 ({system}) {product}",
        None if system == "other" else system,
        None if browser == "other" else browser,
    )


def _first(marks: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for mark, name in marks if mark in text), None)
