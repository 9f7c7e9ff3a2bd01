"""Operating system and browser out of logged user agents."""

import pytest

from bidder.core import devices
from simulator.logs.agents import NO_AGENT, agent_of


@pytest.mark.parametrize(
    ("text", "os", "browser"),
    [
        ("windows_chrome", "windows", "chrome"),
        ("android_safari", "android", "safari"),
        ("other_opera", None, "opera"),
        ("windows_other", "windows", None),
        ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0)", "windows", "ie"),
        ("Mozilla/5.0 (iPad; CPU OS 6_1 like Mac OS X) AppleWebKit/536.26 Safari/8536.25", "ios", "safari"),
        (
            "Mozilla/5.0 (Windows NT 5.1) AppleWebKit/535.11 Chrome/17.0 Safari/535.11 SE 2.X MetaSr 1.0",
            "windows",
            "sogou",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.7; rv:24.0) Gecko/20100101 Firefox/24.0",
            "mac",
            "firefox",
        ),
        ("curl", None, None),
    ],
)
def test_system_and_browser(text, os, browser):
    agent = agent_of(text)
    assert (agent.os, agent.browser) == (os, browser)


@pytest.mark.parametrize("text", [None, ""])
def test_no_agent_is_unknown(text):
    assert agent_of(text) == NO_AGENT


def test_full_agent_is_kept_as_it_is():
    assert agent_of("Mozilla/5.0 (X11; Linux)").ua == "Mozilla/5.0 (X11; Linux)"


@pytest.mark.parametrize("browser", ["ie", "chrome", "safari", "firefox", "opera"])
def test_bidder_reads_the_browser_of_a_reduced_agent(browser):
    ua = agent_of(f"windows_{browser}").ua
    assert ua is not None
    assert devices.agent_of(ua).family == browser
