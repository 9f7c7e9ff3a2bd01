"""Invalid traffic: requests that no person stands behind.

Four signs tell it, from what requests say of themselves and how often they come: an agent that names itself a
crawler, an address in a data centre, a device that contradicts itself, and more requests of one user or address
than a person makes. Only what is clear refuses; what is unknown never does.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

import msgspec

from bidder.core.devices import Agent, system_of
from bidder.core.networks import IN, NO_ADDRESS, NetworkSet
from bidder.core.rates import RateLimiter
from bidder.memory import forgettable

CRAWLER, DATA_CENTRE, IMPOSSIBLE_DEVICE, USER_RATE, ADDRESS_RATE = range(1, 6)
"""What `TrafficFilter.verdict` answers beside 0, which is: nothing against it."""

NS_PER_MINUTE = 60_000_000_000
USERS, ADDRESSES = 2**18, 2**17
"""Keys remembered by default: 16 MB and 8 MB."""

_PER_MINUTE = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class TrafficRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which invalid traffic is refused.

    crawlers: agents that name themselves crawlers, monitors, headless browsers or scripts. data_centres: addresses
    in the networks of the operator's list. impossible_devices: devices that contradict themselves.
    user_per_minute, address_per_minute: most requests of one user or address in a minute; 0 is no limit.
    """

    crawlers: bool = True
    data_centres: bool = True
    impossible_devices: bool = True
    user_per_minute: _PER_MINUTE = 600
    address_per_minute: _PER_MINUTE = 6_000


class TrafficFilter:
    """Judges requests by the rules, and counts them for the rates.

    Args:
        rules: what is refused.
        networks: of data centres.
        users: users whose rate is remembered, 64 bytes each; see `RateLimiter`.
        addresses: addresses likewise.

    Attributes:
        bad_addresses: `ip` and `ipv6` texts so far that were no addresses; they refuse nothing.
    """

    def __init__(
        self, rules: TrafficRules, networks: NetworkSet, users: int = USERS, addresses: int = ADDRESSES
    ) -> None:
        self._crawlers = rules.crawlers
        self._impossible = rules.impossible_devices
        self._networks = networks if rules.data_centres and len(networks) else None
        self._most = (rules.user_per_minute, rules.address_per_minute)
        self._limiters = (
            _limiter(users, rules.user_per_minute),
            _limiter(addresses, rules.address_per_minute),
        )
        self._user_hit, self._address_hit = map(_hit_of, self._limiters)
        self.bad_addresses = 0

    def verdict(
        self,
        agent: Agent,
        ip: str | None,
        ipv6: str | None,
        device_type: int | None,
        os: str | None,
        is_app: bool,
        now_ns: int,
        user_key: int,
        address_key: int,
        count: bool = True,
    ) -> int:
        """The first of the signs in the order of their numbers, or 0.

        Args:
            agent: of the device's user agent.
            ip: `device.ip`.
            ipv6: `device.ipv6`.
            device_type: `device.devicetype` (AdCOM list "Device Types").
            os: `device.os`.
            is_app: whether the inventory is an app.
            now_ns: when the request came.
            user_key: hash of who, 64 bits; 0 where that is unknown.
            address_key: hash of the address, 64 bits; 0 where that is unknown.
            count: whether it counts for the rates, and is held to them. If so it does whatever else is against it,
                so that the rate of a crawler is its rate; a test request should not.
        """
        user_over = address_over = False
        if count:
            if user_key and self._user_hit is not None:
                user_over = self._user_hit(user_key, now_ns)
            if address_key and self._address_hit is not None:
                address_over = self._address_hit(address_key, now_ns)
        if agent.crawler and self._crawlers:
            return CRAWLER
        if self._networks is not None and self._in_data_centre(self._networks, ip, ipv6):
            return DATA_CENTRE
        if self._impossible and impossible(agent, device_type, os, is_app):
            return IMPOSSIBLE_DEVICE
        return USER_RATE if user_over else ADDRESS_RATE if address_over else 0

    def over(self, user_key: int, address_key: int, now_ns: int) -> tuple[bool, bool]:
        """Whether one request more of this user and of this address would be over its rate; nothing is counted."""
        user, address = (
            limiter is not None and key != 0 and limiter.count(key, now_ns) >= most
            for limiter, most, key in zip(self._limiters, self._most, (user_key, address_key), strict=True)
        )
        return user, address

    def _in_data_centre(self, networks: NetworkSet, ip: str | None, ipv6: str | None) -> bool:
        four = networks.find(ip) if ip else 0
        six = networks.find(ipv6) if ipv6 else 0
        self.bad_addresses += (four == NO_ADDRESS) + (six == NO_ADDRESS)
        return IN in (four, six)


_FAMILIES = {
    "windows": "windows",
    "macos": "apple",
    "ios": "apple",
    "linux": "linux",
    "android": "linux",
    "chromeos": "linux",
}
"""Systems that pass for one another: an iPad asks for desktop sites as a Mac, Android as Linux, Chrome OS runs
Android's apps. Televisions are in none: their makers call their systems by many names."""
_PHONE_SYSTEMS = frozenset({"ios", "android"})
_TV_TYPES = frozenset({3, 7})
"""Connected TV and set-top box."""
_PHONE_TYPE = 4
_FLAT, _OF_A_PHONE = 1, 2
_MAX_OS_LENGTH = 64


def impossible(agent: Agent, device_type: int | None, os: str | None, is_app: bool) -> bool:
    """Whether a device says of itself what cannot be true at once.

    - An agent of one family of systems and `device.os` of another: an iPhone with Windows. But a phone's browser
      that asks for the desktop site lies on its owner's behalf, so on the web a desktop agent does not contradict
      a phone's system; in an app nobody can ask for that.
    - An iPhone or iPad that is a television or set-top box.
    - A television's own system on a phone.
    - A crawler in an app.
    """
    said = agent.os
    if said == "ios" and device_type in _TV_TYPES:
        return True
    if said == "tv" and device_type == _PHONE_TYPE:
        return True
    if os and said:
        contradiction = _contradiction(said, os[:_MAX_OS_LENGTH])
        if contradiction == _FLAT or (contradiction and (is_app or agent.device_class != "desktop")):
            return True
    return is_app and agent.crawler


@forgettable
@lru_cache(maxsize=4_096)
def _contradiction(said: str, os: str) -> int:
    """Whether an agent's system and `device.os` are of two families, and whether the latter is a phone's."""
    named = system_of(os) or ""
    family = _FAMILIES.get(said)
    if family is None or _FAMILIES.get(named, family) == family:
        return 0
    return _OF_A_PHONE if named in _PHONE_SYSTEMS else _FLAT


def _limiter(capacity: int, per_minute: int) -> RateLimiter | None:
    return RateLimiter(capacity, NS_PER_MINUTE, per_minute) if per_minute else None


def _hit_of(limiter: RateLimiter | None) -> Callable[[int, int], bool] | None:
    return limiter.hit if limiter is not None else None
