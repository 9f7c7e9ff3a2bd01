"""What requests say of their devices and places, read once for all requests that say the same.

There are few kinds of devices and few places of users against the number of requests. What targeting and models want
of one is worked out when it is first met, and kept with its view: a view is the same object for the same words, so
what is known of it is found by its identity.
"""

from collections.abc import Hashable
from typing import TypeVar

from bidder.core.devices import Agent, agent_of, structured_agent
from bidder.openrtb.parts import SUA
from bidder.openrtb.request import Device, Geo

MOST_VIEWS = 16_384
"""Views remembered of one kind; past that all of the kind are forgotten, which changes nothing but time."""
_TYPES = tuple(map(str, range(10)))
_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class DeviceView:
    """A kind of device.

    Attributes:
        agent: what it says of itself, by structured hints before the user agent (section 3.2.18). family: its browser
            as models know it, None without an agent. os: `device.os` in small letters. kind: `devicetype` as
            text, number: as it came. carrier, connection, language: as `device` has them.
    """

    __slots__ = ("agent", "carrier", "connection", "family", "kind", "language", "number", "os")

    def __init__(self, device: Device | None) -> None:
        self.agent: Agent = agent_of_device(device) if device is not None else agent_of(None)
        self.family = self.agent.family if device is not None and device.ua else None
        os = device.os if device is not None else None
        self.os = os.lower() if os else None
        number = device.devicetype if device is not None else None
        self.number = number
        self.kind = None if number is None else _TYPES[number] if 0 <= number < 10 else str(number)
        self.carrier = device.carrier if device is not None else None
        self.connection = device.connectiontype if device is not None else None
        self.language = device.language if device is not None else None


class GeoView:
    """A place of users: country, region and, where it may be used, city; None where not stated."""

    __slots__ = ("city", "country", "region")

    def __init__(self, country: str | None, region: str | None, city: str | None) -> None:
        self.country = country
        self.region = region
        self.city = city


def agent_of_device(device: Device) -> Agent:
    """What a device says of itself; structured hints where there are any (section 3.2.29), else the user agent.

    A user agent that names a crawler is believed whatever stands beside it: hints are those of the browser it drives.
    """
    said = agent_of(device.ua)
    hints = SUA.read(bytes(device.sua), ("device",))[0] if device.sua else None
    if said.crawler or hints is None or not (hints.browsers or hints.platform):
        return said
    brands = tuple(one.brand for one in hints.browsers or ())
    platform = hints.platform.brand if hints.platform is not None else None
    return structured_agent(brands, platform, hints.mobile, hints.model)


class ViewBook:
    """The views met so far."""

    def __init__(self) -> None:
        self._devices: dict[tuple[object, ...], DeviceView] = {}
        self._geos: dict[tuple[str | None, str | None, str | None], GeoView] = {}
        self._no_device = DeviceView(None)
        self._no_geo = GeoView(None, None, None)

    def forget(self) -> None:
        """Forgets all views; those in use live on."""
        self._devices.clear()
        self._geos.clear()

    def device(self, device: Device | None) -> DeviceView:
        """The view of a device."""
        if device is None:
            return self._no_device
        key = (
            device.ua, device.devicetype, device.os, device.carrier, device.connectiontype, device.language,
            bytes(device.sua) if device.sua else None,
        )  # fmt: skip
        found = self._devices.get(key)
        return found if found is not None else remember(self._devices, key, DeviceView(device))

    def geo(self, geo: Geo | None, precise: bool) -> GeoView:
        """The view of a place; its city only where a precise one may be used."""
        if geo is None:
            return self._no_geo
        key = (geo.country, geo.region, geo.city if precise else None)
        found = self._geos.get(key)
        return found if found is not None else remember(self._geos, key, GeoView(*key))


def remember(known: dict[_K, _V], key: _K, value: _V, most: int = MOST_VIEWS) -> _V:
    """Keeps a value in a dict of bounded size and returns it."""
    if len(known) >= most:
        known.clear()
    known[key] = value
    return value
