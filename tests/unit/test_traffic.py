"""Invalid traffic is refused where it is clear, and for nothing else."""

from typing import Any

import msgspec
import pytest

from bidder.core.devices import UNKNOWN, agent_of, structured_agent
from bidder.core.networks import NetworkSet
from bidder.core.traffic import (
    ADDRESS_RATE,
    CRAWLER,
    DATA_CENTRE,
    IMPOSSIBLE_DEVICE,
    USER_RATE,
    TrafficFilter,
    TrafficRules,
    impossible,
)
from simulator.logs.world import DEVICES

NOW = 1_772_409_600 * 10**9
SECOND = 10**9
NETWORKS = NetworkSet.from_lines(["203.0.113.0/24", "2001:db8::/32"], "list")
WINDOWS = agent_of("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0 Safari/537.36")
MAC = agent_of("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17.5 Safari/605.1.15")
LINUX = agent_of("Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36")
IPHONE = agent_of("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148 Safari/604.1")
IPAD = agent_of("Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) Mobile/15E148 Safari/604.1")
ANDROID = agent_of("Mozilla/5.0 (Linux; Android 10; K) Chrome/126.0 Mobile Safari/537.36")
CHROMEBOOK = agent_of("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/126.0 Safari/537.36")
LUMIA = agent_of(
    "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft) Chrome/52.0 Mobile Safari/537.36"
)
ROKU = agent_of("Roku/DVP-9.0 (919.00E04142A)")
FIRE_TV = agent_of("Mozilla/5.0 (Linux; Android 7.1.2; AFTMM Build/NS6265) Chrome/126.0 Mobile Safari/537.36")
XBOX = agent_of("Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) Edge/44.18363")
OTHER = agent_of("some device")
BOT = agent_of("Mozilla/5.0 (compatible; Googlebot/2.1)")


def judge(traffic: TrafficFilter, **changes: Any) -> int:
    """The verdict on a plain request of nobody known, with some values changed."""
    plain = {
        "agent": ANDROID, "ip": "198.51.100.7", "ipv6": None, "device_type": 4, "os": "Android", "is_app": False,
        "now_ns": NOW, "user_key": 0, "address_key": 0,
    }  # fmt: skip
    return traffic.verdict(**{**plain, **changes})


def filter_of(**rules: Any) -> TrafficFilter:
    return TrafficFilter(TrafficRules(**rules), NETWORKS, users=64, addresses=64)


def test_a_plain_request_passes() -> None:
    assert judge(filter_of()) == 0


def test_a_request_that_says_nothing_passes() -> None:
    nothing = {"agent": UNKNOWN, "ip": None, "device_type": None, "os": None}
    assert judge(filter_of(), **nothing) == 0


def test_verdicts_have_the_numbers_that_were_agreed() -> None:
    assert (CRAWLER, DATA_CENTRE, IMPOSSIBLE_DEVICE, USER_RATE, ADDRESS_RATE) == (1, 2, 3, 4, 5)


def test_a_crawler_is_refused() -> None:
    assert judge(filter_of(), agent=BOT, os=None) == CRAWLER


def test_a_crawler_by_its_hints_is_refused() -> None:
    agent = structured_agent(("HeadlessChrome",), "Linux", 0, None)
    assert judge(filter_of(), agent=agent, os=None) == CRAWLER


def test_crawlers_may_be_let_through() -> None:
    assert judge(filter_of(crawlers=False), agent=BOT, os=None) == 0


@pytest.mark.parametrize(
    "address",
    [
        {"ip": "203.0.113.9"},
        {"ip": None, "ipv6": "2001:db8::9"},
        {"ipv6": "2001:db8::9"},
        {"ip": "203.0.113.0", "ipv6": "2001:db9::1"},
        {"ip": None, "ipv6": "::ffff:203.0.113.9"},
    ],
)
def test_an_address_of_a_data_centre_is_refused(address: dict[str, Any]) -> None:
    assert judge(filter_of(), **address) == DATA_CENTRE


@pytest.mark.parametrize(
    "address", [{"ip": "203.0.114.9"}, {"ipv6": "2001:db9::1"}, {"ip": None}, {"ip": ""}]
)
def test_an_address_elsewhere_passes(address: dict[str, Any]) -> None:
    assert judge(filter_of(), **address) == 0


def test_data_centres_may_be_let_through() -> None:
    assert judge(filter_of(data_centres=False), ip="203.0.113.9") == 0


def test_without_networks_every_address_passes() -> None:
    assert judge(TrafficFilter(TrafficRules(), NetworkSet(), 8, 8), ip="203.0.113.9") == 0


def test_bad_addresses_refuse_nothing_and_are_counted() -> None:
    traffic = filter_of()
    assert judge(traffic, ip="unknown", ipv6="unknown") == 0
    assert judge(traffic, ip="203.0.113", ipv6="2001:db8::1") == DATA_CENTRE
    assert judge(traffic) == 0
    assert traffic.bad_addresses == 3


@pytest.mark.parametrize(
    ("agent", "device_type", "os", "is_app"),
    [
        (IPHONE, 4, "Windows", False),
        (IPHONE, None, "Android", False),
        (IPHONE, None, "Linux", True),
        (ANDROID, None, "iOS", False),
        (ANDROID, None, "iPadOS", True),
        (ANDROID, None, "Windows 10", False),
        (WINDOWS, None, "macOS", False),
        (WINDOWS, None, "Linux", False),
        (WINDOWS, None, "Android", True),
        (MAC, None, "Android", True),
        (LINUX, None, "iOS", True),
        (LUMIA, None, "Android", False),
        (XBOX, None, "Android", False),
        (IPHONE, 3, None, False),
        (IPAD, 7, "iOS", True),
        (ROKU, 4, None, True),
        (BOT, None, None, True),
    ],
)
def test_a_device_that_contradicts_itself_is_impossible(agent, device_type, os, is_app) -> None:
    assert impossible(agent, device_type, os, is_app)


@pytest.mark.parametrize(
    ("agent", "device_type", "os", "is_app"),
    [
        (IPHONE, 4, "iOS", False),
        (IPHONE, 1, "macOS", False),
        (MAC, 5, "iPadOS", False),  # an iPad asks for desktop sites
        (MAC, 4, "iOS", True),
        (LINUX, 4, "Android", False),  # so does Chrome on Android
        (LINUX, 4, "Android", True),
        (WINDOWS, 4, "Android", False),  # and other browsers there, as Windows
        (MAC, 4, "Android", False),
        (CHROMEBOOK, 2, "Android", True),  # runs its apps
        (ANDROID, None, "Chrome OS", True),
        (ANDROID, None, "Linux", False),
        (LUMIA, 4, "Windows Phone", False),
        (WINDOWS, 3, "Windows", False),
        (XBOX, 3, "Windows", True),
        (FIRE_TV, 3, "Fire OS", True),
        (FIRE_TV, 4, "Android", True),
        (ANDROID, 3, "Android", True),
        (ROKU, 3, "Linux", True),
        (ROKU, 3, "Roku", True),
        (ROKU, 2, "Windows", True),
        (IPHONE, 4, "webOS", False),
        (IPHONE, 2, "iOS", False),
        (IPHONE, 4, "test-os", False),
        (IPHONE, 4, "", False),
        (IPHONE, 99, None, False),
        (OTHER, 4, "iOS", True),
        (UNKNOWN, 3, "iOS", True),
        (BOT, None, None, False),
    ],
)
def test_what_a_person_may_hold_is_possible(agent, device_type, os, is_app) -> None:
    assert not impossible(agent, device_type, os, is_app)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: f"{device.os}-{device.browser}")
@pytest.mark.parametrize("is_app", [False, True])
def test_devices_of_the_world_pass(device, is_app: bool) -> None:
    found = judge(
        filter_of(),
        agent=agent_of(device.ua),
        os=device.os,
        device_type=4 if device.mobile else 2,
        is_app=is_app,
    )
    assert found == 0


def test_an_impossible_device_is_refused() -> None:
    assert judge(filter_of(), agent=IPHONE, os="Windows") == IMPOSSIBLE_DEVICE


def test_a_crawler_in_an_app_is_impossible_where_crawlers_are_let_through() -> None:
    assert judge(filter_of(crawlers=False), agent=BOT, os=None, is_app=True) == IMPOSSIBLE_DEVICE


def test_impossible_devices_may_be_let_through() -> None:
    assert judge(filter_of(impossible_devices=False), agent=IPHONE, os="Windows") == 0


def test_a_user_over_the_rate_is_refused() -> None:
    traffic = filter_of(user_per_minute=3)
    assert [judge(traffic, user_key=5) for _ in range(5)] == [0, 0, 0, USER_RATE, USER_RATE]
    assert judge(traffic, user_key=6) == 0


def test_an_address_over_the_rate_is_refused() -> None:
    traffic = filter_of(address_per_minute=2)
    assert [judge(traffic, address_key=5, user_key=user) for user in (1, 2, 3)] == [0, 0, ADDRESS_RATE]


def test_users_and_addresses_of_one_key_are_counted_apart() -> None:
    traffic = filter_of(user_per_minute=2, address_per_minute=2)
    assert [judge(traffic, user_key=7), judge(traffic, address_key=7), judge(traffic, user_key=7)] == [
        0,
        0,
        0,
    ]


def test_a_rate_is_by_the_minute() -> None:
    traffic = filter_of(user_per_minute=1)
    judge(traffic, user_key=5)
    assert judge(traffic, user_key=5, now_ns=NOW + 30 * SECOND) == USER_RATE
    assert judge(traffic, user_key=5, now_ns=NOW + 100 * SECOND) == 0


def test_nobody_known_has_no_rate() -> None:
    traffic = filter_of(user_per_minute=1, address_per_minute=1)
    assert [judge(traffic) for _ in range(3)] == [0, 0, 0]


def test_a_limit_of_0_is_none() -> None:
    traffic = filter_of(user_per_minute=0, address_per_minute=0)
    assert {judge(traffic, user_key=5, address_key=6) for _ in range(10_000)} == {0}


def test_the_rates_of_the_defaults_are_held() -> None:
    traffic = filter_of()
    assert [judge(traffic, user_key=5) for _ in range(601)] == [0] * 600 + [USER_RATE]
    addresses = [judge(traffic, address_key=5) for _ in range(6_001)]
    assert addresses == [0] * 6_000 + [ADDRESS_RATE]


def test_what_is_not_counted_is_neither_counted_nor_held_to_the_rate() -> None:
    traffic = filter_of(user_per_minute=1)
    assert [judge(traffic, user_key=5, count=False) for _ in range(5)] == [0] * 5
    assert judge(traffic, user_key=5) == 0
    assert judge(traffic, user_key=5, count=False) == 0


def test_what_is_not_counted_is_still_judged() -> None:
    assert judge(filter_of(), agent=BOT, os=None, count=False) == CRAWLER


def test_what_is_refused_counts_for_the_rate() -> None:
    traffic = filter_of(user_per_minute=2)
    assert [judge(traffic, agent=BOT, os=None, user_key=5) for _ in range(2)] == [CRAWLER, CRAWLER]
    assert judge(traffic, user_key=5) == USER_RATE


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"agent": BOT, "ip": "203.0.113.9", "is_app": True}, CRAWLER),
        ({"agent": IPHONE, "os": "Windows", "ip": "203.0.113.9"}, DATA_CENTRE),
        ({"agent": IPHONE, "os": "Windows"}, IMPOSSIBLE_DEVICE),
        ({}, USER_RATE),
        ({"user_key": 6}, ADDRESS_RATE),
    ],
)
def test_the_first_sign_is_the_verdict(changes: dict[str, Any], found: int) -> None:
    traffic = filter_of(user_per_minute=1, address_per_minute=1)
    judge(traffic, user_key=5, address_key=5)
    assert judge(traffic, **{"user_key": 5, "address_key": 5, **changes}) == found


@pytest.mark.parametrize(
    "rules",
    [{"user_per_minute": -1}, {"address_per_minute": 2**31 + 1}, {"user_per_hour": 5}, {"crawlers": "no"}],
)
def test_rules_out_of_range_or_unknown_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(rules, TrafficRules)
