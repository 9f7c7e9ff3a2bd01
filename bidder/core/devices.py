"""What a user agent says of a device: its system, browser and class, and whether it owns up to being no person.

Two sources, one answer: the text of `device.ua`, or the client hints of `device.sua` (OpenRTB 2.6 section 3.2.29),
which is the better one where both are there. All of it is a claim by the sender. Answers are remembered: agents
repeat. Marks are matched in small letters, the more particular first.
"""

import re
from functools import lru_cache

import msgspec

from bidder.memory import forgettable

MAX_UA_LENGTH = 512
"""Agents are remembered, so what is remembered of one is bounded."""
_MAX_NAME_LENGTH = 64


class Agent(msgspec.Struct, frozen=True, gc=False):
    """What a user agent says; None where there is none to say it or where it does not tell.

    Attributes:
        os: `windows`, `macos`, `linux`, `android`, `ios`, `chromeos`, `tv` (tvOS, webOS, Tizen, Roku and their
            like), `other`. An iPad that asks for desktop sites says `macos`, an Android phone then says `linux`.
        browser: `chrome`, `edge`, `opera`, `safari`, `firefox`, `ie`, `samsung`, `webview` (a page within an
            app), `other`.
        family: the engine's own name of the browser, without `samsung` and `webview`: what models learn from.
        device_class: `desktop`, `phone`, `tablet`, `tv`, `bot`.
        crawler: whether it names a crawler, a monitor, a headless browser or a script's HTTP library.
    """

    os: str | None = None
    browser: str | None = None
    family: str | None = None
    device_class: str | None = None
    crawler: bool = False


UNKNOWN = Agent()
"""What nothing says."""

_FAMILIES = (
    ("edg", "edge"),
    ("opr", "opera"),
    ("chrome", "chrome"),
    ("crios", "chrome"),
    ("firefox", "firefox"),
    ("fxios", "firefox"),
    ("safari", "safari"),
    ("msie", "ie"),
    ("trident", "ie"),
)
"""Edge and Opera also say Chrome, Chrome also says Safari. Models were trained on what this table answers."""

_WEBVIEWS = ("; wv)", "fban/", "fbav/", "fb_iab", "instagram", "micromessenger", "bytedancewebview", "musical_ly",
             "snapchat", " gsa/", "pinterest/", "linkedinapp", "twitter for", " line/")  # fmt: skip

_BOT = re.compile(r"(?<!cu)bot(?![a-z])")
"""The word, wherever it ends a name; Cubot makes phones."""
_CRAWLERS = (
    *("crawl", "spider", "scraper", "slurp", "archiver", "validator"),
    # Search engines and assistants that do not say "bot".
    *(
        "mediapartners-google",
        "apis-google",
        "google-inspectiontool",
        "googleother",
        "feedfetcher",
        "google favicon",
    ),
    *("google-read-aloud", "google-extended", "bingpreview", "yandeximages", "yandexmetrika", "yandexdirect"),
    *(
        "chatgpt-user",
        "perplexity-user",
        "meta-external",
        "facebookexternalhit",
        "facebookcatalog",
        "embedly",
    ),
    *("skypeuripreview", "vkshare", "quora link preview"),
    # Verification and competitive research of advertising.
    *("grapeshot", "admantx", "proximic", "ias_wombles", "ias-wombles", "geoedge", "adbeat", "gumgum"),
    # Monitors and page testers.
    *(
        "pingdom",
        "statuscake",
        "site24x7",
        "gtmetrix",
        "lighthouse",
        "pagespeed",
        "catchpoint",
        "thousandeyes",
    ),
    *(
        "datadogsynthetics",
        "newrelicpinger",
        "ruxitagent",
        "gomezagent",
        "ptst/",
        "screaming frog",
        "sitebulb",
    ),
    # Browsers without a person, and what drives them.
    *(
        "headless",
        "phantomjs",
        "slimerjs",
        "casperjs",
        "selenium",
        "webdriver",
        "puppeteer",
        "playwright",
        "cypress/",
    ),
    *("nightmare", "jsdom", "prerender"),
    # Libraries and tools of scripts; okhttp and CFNetwork alone are how apps speak.
    *(
        "python-requests",
        "python-urllib",
        "python/",
        "aiohttp",
        "python-httpx",
        "scrapy",
        "curl/",
        "libcurl",
        "wget",
    ),
    *(
        "libwww",
        "lwp::",
        "go-http-client",
        "node-fetch",
        "axios/",
        "undici",
        "postmanruntime",
        "insomnia/",
        "httpie",
    ),
    *(
        "restsharp",
        "guzzle",
        "mechanize",
        "httpunit",
        "httrack",
        "nutch",
        "heritrix",
        "zgrab",
        "masscan",
        "nmap",
    ),
    *("nikto", "sqlmap", "nessus", "censys", "netcraft"),
)
"""Agents that say themselves that they are no person; every mark would be a lie in a person's browser.

Searched one by one: as one regular expression the same list took ten times as long.
"""
_CRAWLER_STARTS = ("java/", "php/", "ruby")

_TV_SYSTEMS = ("smart-tv", "smarttv", "smart_tv", "appletv", "apple tv", "tvos", "web0s", "webos.tv",
               "netcast", "roku", "vidaa", "viera", "crkey")  # fmt: skip
_TELEVISIONS = (
    *(
        "hbbtv",
        "bravia",
        "android tv",
        "googletv",
        "google tv",
        " dtv",
        "opera tv",
        "playstation",
        "xbox",
        "nintendo",
    ),
    *("ce-html", "mibox", "inettvbrowser"),
    # Fire TV names its models AFT and some letters.
    "; aft",
)
_SYSTEMS = (
    # Windows Phone says Android and iPhone as well: Windows goes first.
    (("windows",), "windows"),
    (("android", "dalvik", "; adr "), "android"),
    (_TV_SYSTEMS, "tv"),
    (("iphone", "ipad", "ipod"), "ios"),
    (("; cros ",), "chromeos"),
    (("macintosh", "mac os x", "mac_powerpc"), "macos"),
    (("linux", "x11;", "ubuntu"), "linux"),
)
_PHONES = ("iphone", "ipod", "windows phone", "iemobile", "opera mini", "opera mobi", "blackberry", "bb10", "kaios",
           "symbian")  # fmt: skip
_TABLETS = ("ipad", "playbook", "kindle", " silk/")
_DESKTOPS = frozenset({"windows", "macos", "linux", "chromeos"})


def _says(text: str, marks: tuple[str, ...]) -> bool:
    for mark in marks:  # noqa: SIM110 - `any` of a generator takes twice as long, and there are many marks
        if mark in text:
            return True
    return False


def _crawls(text: str) -> bool:
    return (
        ("bot" in text and _BOT.search(text) is not None)
        or text.startswith(_CRAWLER_STARTS)
        or _says(text, _CRAWLERS)
    )


def agent_of(ua: str | None) -> Agent:
    """What the text of a user agent says; `UNKNOWN` where it is None or empty. Remembered by its first 512 signs."""
    return _agent_of(ua[:MAX_UA_LENGTH]) if ua else UNKNOWN


@forgettable
@lru_cache(maxsize=16_384)
def _agent_of(ua: str) -> Agent:
    text = ua.lower()
    family = next((name for mark, name in _FAMILIES if mark in text), "other")
    os = (
        "tv"
        if _is_tizen_tv(text)
        else next((name for marks, name in _SYSTEMS if _says(text, marks)), "other")
    )
    crawler = _crawls(text)
    return Agent(
        os=os,
        browser=_browser(text, os, family),
        family=family,
        device_class="bot" if crawler else _class(text, os),
        crawler=crawler,
    )


def _is_tizen_tv(text: str) -> bool:
    """Tizen runs phones, watches and televisions; only the last say TV as a word."""
    return "tizen" in text and " tv" in text


def _browser(text: str, os: str, family: str) -> str:
    if "samsungbrowser" in text:
        return "samsung"
    # On iOS every browser says Safari; a page within an app does not.
    within = os == "ios" and "applewebkit" in text and "safari" not in text
    return "webview" if within or _says(text, _WEBVIEWS) else family


def _class(text: str, os: str) -> str | None:
    if os == "tv" or _is_television(text):
        return "tv"
    if _says(text, _TABLETS) or ("tablet" in text and "tablet pc" not in text):
        return "tablet"
    if _says(text, _PHONES):
        return "phone"
    mobile = "mobile" in text
    if os == "android":
        # Browsers on phones say Mobile and on tablets do not; what an app's own client says tells nothing.
        whole = "mozilla/" in text and ("chrome/" in text or "safari/" in text)
        return "phone" if mobile else "tablet" if whole else None
    if os in _DESKTOPS and mobile:
        # An iPad that asks for desktop sites is a Macintosh with a Mobile/ in the pages of apps.
        return "tablet" if os == "macos" else "phone"
    return "desktop" if os in _DESKTOPS else None


def _is_television(text: str) -> bool:
    return _says(text, _TELEVISIONS) or _says(text, _TV_SYSTEMS)


_BRANDS = (
    ("edge webview", "webview"),
    ("android webview", "webview"),
    ("samsung", "samsung"),
    ("edge", "edge"),
    ("opera", "opera"),
    ("firefox", "firefox"),
    ("safari", "safari"),
    ("internet explorer", "ie"),
    ("chrome", "chrome"),
    # Brave, Vivaldi, Yandex and others name Chromium beside themselves, and say Chrome in their text.
    ("chromium", "chrome"),
)
_NOT_LETTERS = re.compile(r"[^a-z]+")
_GREASE = "notabrand"
"""What is left of a brand that stands there so that nobody relies on the list: `Not A;Brand`, `Not?A_Brand`."""
_MAX_BRANDS = 16


def structured_agent(
    brands: tuple[str, ...], platform: str | None, mobile: int | None, model: str | None
) -> Agent:
    """What client hints say (OpenRTB 2.6 section 3.2.29). Remembered, unless they are uncommonly long.

    Args:
        brands: `sua.browsers[].brand`; made-up brands such as `Not A;Brand` are ignored.
        platform: `sua.platform.brand`.
        mobile: `sua.mobile`: 1 where the browser prefers a mobile page.
        model: `sua.model`.
    """
    try:
        return _structured_agent(brands, platform, mobile, model)
    except _TooLong:
        cut = tuple(brand[:_MAX_NAME_LENGTH] for brand in brands[:_MAX_BRANDS])
        short = platform[:_MAX_NAME_LENGTH] if platform else None
        return _hinted(cut, short, mobile, model[:_MAX_NAME_LENGTH] if model else None)


class _TooLong(Exception):
    """Hints too long to be remembered: what raises is not, and what fits is not measured at each call."""


@forgettable
@lru_cache(maxsize=16_384)
def _structured_agent(
    brands: tuple[str, ...], platform: str | None, mobile: int | None, model: str | None
) -> Agent:
    if len(brands) > _MAX_BRANDS or max(map(len, (*brands, platform or "", model or ""))) > _MAX_NAME_LENGTH:
        raise _TooLong
    return _hinted(brands, platform, mobile, model)


def _hinted(brands: tuple[str, ...], platform: str | None, mobile: int | None, model: str | None) -> Agent:
    names = [name for brand in brands if (name := brand.lower()) and _NOT_LETTERS.sub("", name) != _GREASE]
    said = " | ".join(names)
    browser = next((found for mark, found in _BRANDS if mark in said), "other") if said else None
    os = system_of(platform) or ("other" if platform else None)
    crawler = any(_crawls(name) for name in names)
    return Agent(
        os=os,
        browser=browser,
        family=_family(browser, said),
        device_class="bot" if crawler else _hinted_class(os, mobile, (model or "").lower()),
        crawler=crawler,
    )


def _family(browser: str | None, said: str) -> str | None:
    """As the text of the same browser would be read: an app's page says Chrome on Android, Edge within Windows."""
    if browser == "webview":
        return "edge" if "edge" in said else "chrome"
    return "chrome" if browser == "samsung" else browser


def _hinted_class(os: str | None, mobile: int | None, model: str) -> str | None:
    if os == "tv" or _is_television(f"; {model}"):
        return "tv"
    if "ipad" in model:
        return "tablet"
    if mobile == 1 or "iphone" in model:
        return "phone"
    if os in _DESKTOPS:
        return "desktop"
    return "tablet" if os == "android" and mobile == 0 else None


_SYSTEM_NAMES = (
    ("win", "windows"),
    ("xbox", "windows"),
    ("mac", "macos"),
    ("os x", "macos"),
    ("osx", "macos"),
    ("ios", "ios"),
    ("iphone", "ios"),
    ("ipad", "ios"),
    ("ipod", "ios"),
    ("android", "android"),
    ("fire os", "android"),
    ("fireos", "android"),
    ("chrome os", "chromeos"),
    ("chromeos", "chromeos"),
    ("chromium os", "chromeos"),
    ("cros", "chromeos"),
    ("tvos", "tv"),
    ("apple tv", "tv"),
    ("webos", "tv"),
    ("web0s", "tv"),
    ("tizen", "tv"),
    ("roku", "tv"),
    ("netcast", "tv"),
    ("vidaa", "tv"),
    ("linux", "linux"),
    ("ubuntu", "linux"),
    ("debian", "linux"),
    ("fedora", "linux"),
)


def system_of(name: str | None) -> str | None:
    """The system that `device.os` or `sua.platform.brand` names, as `Agent.os` calls it; None where it is not known.

    Beginnings decide, so that a version may follow: `Windows 10`, `Mac OS X`, `iOS 17`.
    """
    return _system_of(name[:_MAX_NAME_LENGTH]) if name else None


@forgettable
@lru_cache(maxsize=4_096)
def _system_of(name: str) -> str | None:
    text = name.strip().lower()
    return next((system for mark, system in _SYSTEM_NAMES if text.startswith(mark)), None)
