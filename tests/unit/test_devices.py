"""What user agents and client hints say of a device."""

import random

import pytest

from bidder.core.devices import UNKNOWN, Agent, agent_of, structured_agent, system_of
from simulator.logs.world import DEVICES


def browser_of(ua: str) -> str:
    """The browser as models learned it: the first of these marks, since Edge also says Chrome and Chrome Safari."""
    marks = {"edg": "edge", "opr": "opera", "chrome": "chrome", "crios": "chrome", "firefox": "firefox",
             "fxios": "firefox", "safari": "safari", "msie": "ie", "trident": "ie"}  # fmt: skip
    return next((name for mark, name in marks.items() if mark in ua.lower()), "other")


WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IOS_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)"
IPAD = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
CHROME = f"{WEBKIT} Chrome/126.0.0.0 Safari/537.36"
MOBILE = f"{WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36"
WEBVIEW = f"{WEBKIT} Version/4.0 Chrome/126.0.0.0 Mobile Safari/537.36"
LUMIA = "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; RM-1152)"

PEOPLE = [
    (f"{WINDOWS} {CHROME}", "windows", "chrome", "desktop"),
    (f"{WINDOWS} {CHROME} Edg/126.0.0.0", "windows", "edge", "desktop"),
    (f"{WINDOWS} {CHROME} OPR/111.0.0.0", "windows", "opera", "desktop"),
    ("Mozilla/5.0 (Windows NT 10.0; rv:127.0) Gecko/20100101 Firefox/127.0", "windows", "firefox", "desktop"),
    ("Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", "windows", "ie", "desktop"),
    ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Tablet PC 2.0)", "windows", "ie", "desktop"),
    (f"{MAC} {IOS_WEBKIT} Version/17.5 Safari/605.1.15", "macos", "safari", "desktop"),
    (f"{MAC} {IOS_WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1", "macos", "safari", "tablet"),
    (f"Mozilla/5.0 (X11; Linux x86_64) {CHROME}", "linux", "chrome", "desktop"),
    (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME}", "chromeos", "chrome", "desktop"),
    (f"{IPHONE} {IOS_WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1", "ios", "safari", "phone"),
    (f"{IPHONE} {IOS_WEBKIT} CriOS/126.0 Mobile/15E148 Safari/604.1", "ios", "chrome", "phone"),
    (f"{IPHONE} {IOS_WEBKIT} FxiOS/127.0 Mobile/15E148 Safari/605.1.15", "ios", "firefox", "phone"),
    (f"{IPHONE} {IOS_WEBKIT} GSA/320.0 Mobile/15E148 Safari/604.1", "ios", "webview", "phone"),
    (f"{IPHONE} {IOS_WEBKIT} Mobile/15E148", "ios", "webview", "phone"),
    (f"{IPHONE} {IOS_WEBKIT} Mobile/15E148 [FBAN/FBIOS;FBAV/470.0]", "ios", "webview", "phone"),
    (f"{IPAD} {IOS_WEBKIT} Version/16.6 Mobile/15E148 Safari/604.1", "ios", "safari", "tablet"),
    (f"Mozilla/5.0 (Linux; Android 10; K) {MOBILE}",
     "android", "chrome", "phone"),
    (f"Mozilla/5.0 (Linux; Android 13; SM-X700) {CHROME}", "android", "chrome", "tablet"),
    (f"Mozilla/5.0 (Linux; Android 13; SM-S908B) {WEBKIT} SamsungBrowser/25.0 Chrome/121.0 Mobile Safari/537.36",
     "android", "samsung", "phone"),
    (f"Mozilla/5.0 (Linux; Android 11; CPH2209 Build/RP1A; wv) {WEBVIEW}",
     "android", "webview", "phone"),
    ("Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0", "android", "firefox", "tablet"),
    ("Dalvik/2.1.0 (Linux; U; Android 11; SM-G960F)", "android", "other", None),
    (f"Mozilla/5.0 (Linux; Android 9; CUBOT X19) {MOBILE}",
     "android", "chrome", "phone"),
    (f"Mozilla/5.0 (Linux; Android 10; CUBOT_NOTE_20) {MOBILE}",
     "android", "chrome", "phone"),
    (f"{LUMIA} {MOBILE} Edge/15.15254", "windows", "edge", "phone"),
    ("Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5", "other", "firefox", "phone"),
    (f"Mozilla/5.0 (Web0S; Linux/SmartTV) {CHROME} WebAppManager", "tv", "chrome", "tv"),
    ("Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/538.1 (KHTML, like Gecko) Version/5.0 TV Safari/538.1",
     "tv", "safari", "tv"),
    ("Mozilla/5.0 (Linux; Tizen 2.3; SM-Z130H) AppleWebKit/537.3 (KHTML, like Gecko) Mobile Safari/537.3",
     "linux", "safari", "phone"),
    ("Roku/DVP-9.0 (919.00E04142A)", "tv", "other", "tv"),
    ("AppleTV11,1/11.1", "tv", "other", "tv"),
    ("AppleCoreMedia/1.0.0.19J346 (Apple TV; U; CPU OS 15_0 like Mac OS X; en_us)", "tv", "other", "tv"),
    (f"Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR2 Build/PTT1) {CHROME}", "android", "chrome", "tv"),
    (f"Mozilla/5.0 (Linux; Android 7.1.2; AFTMM Build/NS6265; wv) {WEBVIEW}",
     "android", "webview", "tv"),
    (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) {CHROME} Edge/44.18363", "windows", "edge", "tv"),
    ("okhttp/4.12.0", "other", "other", None),
    ("Spotify/8.9 CFNetwork/1496.0.7 Darwin/23.5.0", "other", "other", None),
    ("some words after dark", "other", "other", None),
]  # fmt: skip

CRAWLERS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://google.example/bot.html)",
    f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) {MOBILE} (compatible; Googlebot/2.1)",
    "Googlebot-Image/1.0",
    "Mediapartners-Google",
    f"{IPHONE} {IOS_WEBKIT} (compatible; AdsBot-Google-Mobile; +http://google.example)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://bing.example/bingbot.htm)",
    f"{WINDOWS} {CHROME} BingPreview/1.0b",
    "Mozilla/5.0 (compatible; YandexBot/3.0)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp)",
    "DuckDuckBot/1.1",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0)",
    "archive.org_bot",
    "GPTBot/1.2",
    "facebookexternalhit/1.1",
    "grapeshot crawler",
    "Mozilla/5.0 (compatible; UptimeRobot/2.0)",
    f"{MAC} {CHROME} Chrome-Lighthouse",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1",
    "python-requests/2.32.0",
    "Python-urllib/3.11",
    "curl/8.5.0",
    "Wget/1.21",
    "Go-http-client/1.1",
    "Java/17.0.2",
    "Scrapy/2.11",
    "PostmanRuntime/7.26.8",
    "MYSPIDER",
    "Acme Crawler",
]


@pytest.mark.parametrize(("ua", "os", "browser", "device_class"), PEOPLE)
def test_what_an_agent_says(ua: str, os: str, browser: str, device_class: str | None) -> None:
    agent = agent_of(ua)
    assert (agent.os, agent.browser, agent.device_class, agent.crawler) == (os, browser, device_class, False)


@pytest.mark.parametrize("ua", CRAWLERS)
def test_crawlers_are_bots(ua: str) -> None:
    agent = agent_of(ua)
    assert (agent.crawler, agent.device_class) == (True, "bot")


@pytest.mark.parametrize("ua", [None, ""])
def test_no_agent_says_nothing(ua: str | None) -> None:
    assert agent_of(ua) is UNKNOWN
    assert Agent() == UNKNOWN


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: f"{device.os}-{device.browser}")
def test_devices_of_the_world_are_read_as_they_were_when_models_learned(device) -> None:
    agent = agent_of(device.ua)
    assert (agent.browser, agent.os) == (browser_of(device.ua), device.os)
    assert not agent.crawler


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: f"{device.os}-{device.browser}")
def test_devices_of_the_world_are_of_the_right_class(device) -> None:
    assert (agent_of(device.ua).device_class == "phone") == device.mobile


@pytest.mark.parametrize("ua", [*(ua for ua, *_ in PEOPLE), *CRAWLERS])
def test_the_family_is_what_models_learned_from(ua: str) -> None:
    agent = agent_of(ua)
    assert agent.family == browser_of(ua)
    assert agent.browser in {agent.family, "samsung", "webview"}


def test_the_family_is_what_models_learned_from_whatever_marks_come_together() -> None:
    words = ["Edg/1", "OPR/2", "Chrome/3", "CriOS/4", "Firefox/5", "FxiOS/6", "Safari/7", "MSIE 8", "Trident/9",
             "Mozilla/5.0", "iPhone", "Android", "Windows NT", "; wv)", "SamsungBrowser/2", "bot/1"]  # fmt: skip
    rng = random.Random(7)
    for _ in range(500):
        ua = " ".join(rng.sample(words, rng.randint(1, 6)))
        assert agent_of(ua).family == browser_of(ua)


def test_only_the_first_512_signs_are_read() -> None:
    assert agent_of("x" * 512 + " Googlebot/2.1") == agent_of("x" * 600)
    assert not agent_of("x" * 512 + " Googlebot/2.1").crawler


def test_an_agent_is_remembered() -> None:
    assert agent_of("Remembered/1.0 (Windows NT)") is agent_of("Remembered/1.0 " + "(Windows NT)")


BRANDS = ("Not A;Brand", "Chromium", "Google Chrome")


@pytest.mark.parametrize(
    ("brands", "platform", "mobile", "model", "os", "browser", "device_class"),
    [
        (BRANDS, "Windows", 0, None, "windows", "chrome", "desktop"),
        (("Google Chrome",), "Windows", 0, None, "windows", "chrome", "desktop"),
        (("Chromium", "Microsoft Edge", "Not?A_Brand"), "macOS", 0, "", "macos", "edge", "desktop"),
        (("Chromium", "Opera"), "Linux", 0, None, "linux", "opera", "desktop"),
        (("Chromium", "Brave"), "Linux", 0, None, "linux", "chrome", "desktop"),
        (BRANDS, "Chrome OS", 0, None, "chromeos", "chrome", "desktop"),
        (BRANDS, "Chromium OS", 0, None, "chromeos", "chrome", "desktop"),
        (BRANDS, "Android", 1, "Pixel 7", "android", "chrome", "phone"),
        (BRANDS, "Android", 0, "SM-X700", "android", "chrome", "tablet"),
        (BRANDS, "Android", 0, "BRAVIA 4K", "android", "chrome", "tv"),
        (("Chromium", "Samsung Internet"), "Android", 1, None, "android", "samsung", "phone"),
        (("Android WebView", "Chromium"), "Android", 1, None, "android", "webview", "phone"),
        (("Chromium", "Microsoft Edge WebView2"), "Windows", 0, None, "windows", "webview", "desktop"),
        (("Safari",), "iOS", 1, "iPhone", "ios", "safari", "phone"),
        (("Safari",), "iOS", None, "iPad", "ios", "safari", "tablet"),
        (("Firefox",), "Linux", None, None, "linux", "firefox", "desktop"),
        (("Chromium",), "Tizen", 0, None, "tv", "chrome", "tv"),
        (("Acme Browser",), "Fuchsia", None, None, "other", "other", None),
        (BRANDS, None, 1, None, None, "chrome", "phone"),
        (BRANDS, None, 0, None, None, "chrome", None),
        ((), "Windows", 0, None, "windows", None, "desktop"),
        ((), None, None, None, None, None, None),
    ],
)
def test_what_client_hints_say(brands, platform, mobile, model, os, browser, device_class) -> None:
    agent = structured_agent(brands, platform, mobile, model)
    assert (agent.os, agent.browser, agent.device_class, agent.crawler) == (os, browser, device_class, False)


@pytest.mark.parametrize(
    "grease",
    [
        "Not A;Brand",
        " Not A;Brand",
        "Not?A_Brand",
        "Not:A-Brand",
        "(Not(A:Brand",
        "Not/A)Brand",
        "Not.A/Brand",
    ],
)
def test_made_up_brands_are_no_brands(grease: str) -> None:
    assert structured_agent((grease,), None, None, None).browser is None


def test_a_headless_brand_is_a_bot() -> None:
    agent = structured_agent(("HeadlessChrome", "Chromium"), "Linux", 0, None)
    assert (agent.crawler, agent.device_class, agent.browser) == (True, "bot", "chrome")


@pytest.mark.parametrize(
    ("brands", "family"),
    [
        (("Chromium", "Samsung Internet"), "chrome"),
        (("Android WebView", "Chromium"), "chrome"),
        (("Chromium", "Microsoft Edge WebView2"), "edge"),
        (("Chromium", "Opera"), "opera"),
        (("Safari",), "safari"),
        ((), None),
    ],
)
def test_the_family_of_hints_is_that_of_the_text_of_the_same_browser(brands, family) -> None:
    assert structured_agent(brands, "Windows", 0, None).family == family


@pytest.mark.parametrize(
    ("brands", "model"),
    [((*BRANDS, "x" * 10_000), None), (BRANDS, "x" * 10_000), ((*BRANDS, *(["y"] * 100)), None)],
)
def test_long_hints_are_read_and_not_remembered(brands: tuple[str, ...], model: str | None) -> None:
    agent = structured_agent(brands, "Windows", 0, model)
    assert (agent.os, agent.browser) == ("windows", "chrome")
    assert structured_agent(brands, "Windows", 0, model) is not agent


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("Windows 10", "windows"), ("win", "windows"), ("macOS", "macos"), ("Mac OS X", "macos"), ("OS X", "macos"),
        ("iOS", "ios"), ("iPhone OS", "ios"), ("iPadOS", "ios"), (" ANDROID ", "android"), ("Fire OS", "android"),
        ("Chrome OS", "chromeos"), ("CrOS", "chromeos"), ("tvOS", "tv"), ("webOS", "tv"), ("Roku OS", "tv"),
        ("Linux", "linux"), ("Ubuntu", "linux"), ("test-os", None), ("", None), (None, None), ("x" * 9_999, None),
    ],
)  # fmt: skip
def test_system_of_a_name(name: str | None, system: str | None) -> None:
    assert system_of(name) == system
