"""Requests to columns: the one place where an OpenRTB field becomes a feature or a targeting value.

Training tables are written through `raw_features` too, so what a model learned from is what it is served.
"""

import struct
from collections.abc import Hashable
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bidder.core.devices import Agent
from bidder.core.views import DeviceView, GeoView, ViewBook, remember
from bidder.openrtb.request import BidRequest, User
from bidder.privacy.permissions import PRECISE_GEO, PROFILE
from models.schema import SEGMENT_PREFIX, Feature, FeatureSpec

RAW_FEATURES = (
    "exchange",
    "region",
    "city",
    "domain",
    "tag_id",
    "size",
    "position",
    "os",
    "browser",
    "device_type",
    "hour",
    "weekday",
    "floor_cpm",
    "segment_count",
)
"""Names of what `raw_features` returns, in its order; a model may use these and `segment:ID` (1.0 or 0.0).

A segment is that of the request or of our own profile of the user; `segment_count` counts the request's alone.
"""
NUMERIC_FEATURES = ("floor_cpm", "segment_count")
"""Those that are numbers; all others are texts, and so categorical in a model."""

NS_PER_HOUR = 3_600_000_000_000
HOURS_PER_WEEK = 168
_EPOCH_HOUR_OF_WEEK = 72
"""1970-01-01 was a Thursday: hour 72 of a week that begins on Monday."""
_HOURS = tuple(str(hour) for hour in range(24))
_WEEKDAYS = tuple(str(day) for day in range(7))

Raw = str | float | None
_K = TypeVar("_K", bound=Hashable)


def hour_of_week(now_ns: int) -> int:
    """Hour since Monday 00:00 UTC, 0 to 167."""
    return (now_ns // NS_PER_HOUR + _EPOCH_HOUR_OF_WEEK) % HOURS_PER_WEEK


class Audience(msgspec.Struct, gc=False):
    """What a request says that all its impressions share, after privacy took away what it must.

    domain: registrable domain of the site or host below it, or bundle of the app. segments: ids in the request.
    """

    exchange: str
    domain: str | None
    geo: GeoView
    device: DeviceView
    segments: tuple[str, ...]
    request: BidRequest

    @property
    def country(self) -> str | None:
        """`device.geo.country`."""
        return self.geo.country

    @property
    def region(self) -> str | None:
        """`device.geo.region`."""
        return self.geo.region

    @property
    def city(self) -> str | None:
        """`device.geo.city`, where it may be used."""
        return self.geo.city

    @property
    def agent(self) -> Agent:
        """What the device says of itself."""
        return self.device.agent

    @property
    def os(self) -> str | None:
        """`device.os` in small letters."""
        return self.device.os


def audience_of(request: BidRequest, exchange: str, permitted: int, views: ViewBook) -> Audience:
    """Reads the shared values of a request.

    Args:
        request: the decoded request.
        exchange: name of the exchange that sent it.
        permitted: what may be used, see `bidder.privacy.permissions`; without PROFILE segments are as if absent,
            without PRECISE_GEO the city.
        views: kinds of devices and places met before.
    """
    site, app, device, user = request.site, request.app, request.device, request.user
    domain = site.domain if site is not None else app.bundle or app.domain if app is not None else None
    if domain and not domain.islower():
        domain = domain.lower()
    return Audience(
        exchange,
        domain or None,
        views.geo(device.geo if device is not None else None, permitted & PRECISE_GEO != 0),
        views.device(device),
        _segments(user) if user is not None and user.data and permitted & PROFILE else (),
        request,
    )


def _segments(user: User) -> tuple[str, ...]:
    return tuple([one.id for data in user.data or () for one in data.segment or () if one.id])


def raw_features(
    audience: Audience,
    tag_id: str | None,
    size: str | None,
    position: str | None,
    floor_cpm_micros: int,
    hour: int,
) -> tuple[Raw, ...]:
    """Values of one opportunity, in the order of `RAW_FEATURES`; None where unknown.

    Args:
        audience: the request's shared values.
        tag_id: `imp.tagid`. size, position: of the slot, see `core.specs.Slot`.
        floor_cpm_micros: floor in the account's currency.
        hour: hour of the week, see `hour_of_week`.
    """
    weekday, hour_of_day = divmod(hour, 24)
    return (
        audience.exchange,
        audience.geo.region,
        audience.geo.city,
        audience.domain,
        tag_id,
        size,
        position,
        audience.device.os,
        audience.device.family,
        audience.device.kind,
        _HOURS[hour_of_day],
        _WEEKDAYS[weekday],
        floor_cpm_micros / 1e6,
        float(len(audience.segments)),
    )


_GROUPS = (
    ("exchange",),
    ("region", "city"),
    ("domain",),
    ("os", "browser", "device_type"),
    ("tag_id",),
    ("size", "position"),
    ("hour", "weekday"),
)
"""Categorical features that are found together: their codes are kept as bytes, group by group."""
_EXCHANGE, _GEO, _DOMAIN, _DEVICE, _TAG, _SLOT, _HOUR = range(len(_GROUPS))
_MOST_CODES = 65_536


class RowEncoder:
    """Writes raw values as the float64 codes of a model's request-side features.

    The codes of a group of features are looked up once for each thing that they are of (a kind of device, a domain)
    and kept as bytes; a row is these bytes one after the other, then the numbers, then a mark a segment.

    Args:
        spec: the model's features. A request-side feature must be one of `RAW_FEATURES` or `segment:ID`.

    Raises:
        ValueError: a request-side feature that no request has, or one of the wrong kind: its values would be
            other numbers here than in the table that the model learned from.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        by_name = {spec.names[index]: index for index in spec.request.tolist()}
        for index in by_name.values():
            _check(spec.features[index])
        kinds = {name: spec.features[index].kind for name, index in by_name.items()}
        order: list[str] = []
        self._groups: list[list[dict[str, float] | None]] = []
        for group in _GROUPS:
            own = [name for name in group if kinds.get(name) == "categorical"]
            order += own
            codes = {name: _codes_of(spec.features[by_name[name]]) for name in own}
            self._groups.append([codes.get(name) for name in group])
        self._numeric = [RAW_FEATURES.index(name) for name in kinds if name in NUMERIC_FEATURES]
        self._usual = self._numeric == [_FLOOR, _COUNT]
        order += [RAW_FEATURES[place] for place in self._numeric]
        marks = [name for name in by_name if name.startswith(SEGMENT_PREFIX)]
        self._segments = {name.removeprefix(SEGMENT_PREFIX): place for place, name in enumerate(marks)}
        order += marks
        self.indices: NDArray[np.int32] = np.asarray([by_name[name] for name in order], dtype=np.int32)
        self.width = len(order)
        self._blank = [0.0] * len(marks)
        self._pack = struct.Struct(f"={len(self._numeric) + len(marks)}d").pack
        self._exchanges: dict[str, bytes] = {}
        self._geos: dict[GeoView, bytes] = {}
        self._domains: dict[str | None, bytes] = {}
        self._devices: dict[DeviceView, bytes] = {}
        self._tags: dict[str | None, bytes] = {}
        self._slots: dict[tuple[str | None, str | None], bytes] = {}
        self._hours: dict[int, bytes] = {}

    def forget(self) -> None:
        """Forgets the codes of what was met in requests."""
        for known in (
            self._exchanges, self._geos, self._domains, self._devices, self._tags, self._slots, self._hours,
        ):  # fmt: skip
            known.clear()

    def row(
        self,
        audience: Audience,
        tag_id: str | None,
        slot: tuple[str | None, str | None],
        floor: int,
        hour: int,
        own: tuple[str, ...] = (),
    ) -> bytes:
        """One opportunity as the bytes of float64[width]: the codes of what `raw_features` gives for it.

        Args:
            audience: the request's shared values. tag_id: `imp.tagid`. slot: its size and position.
            floor: in CPM micros of the account. hour: of the week.
            own: segments that we know of the user ourselves, where they may be used.
        """
        exchange, geo, domain, device = audience.exchange, audience.geo, audience.domain, audience.device
        if (of_exchange := self._exchanges.get(exchange)) is None:
            of_exchange = self._look(self._exchanges, exchange, _EXCHANGE, (exchange,))
        if (of_geo := self._geos.get(geo)) is None:
            of_geo = self._look(self._geos, geo, _GEO, (geo.region, geo.city))
        if (of_domain := self._domains.get(domain)) is None:
            of_domain = self._look(self._domains, domain, _DOMAIN, (domain,))
        if (of_device := self._devices.get(device)) is None:
            of_device = self._look(self._devices, device, _DEVICE, (device.os, device.family, device.kind))
        if (of_tag := self._tags.get(tag_id)) is None:
            of_tag = self._look(self._tags, tag_id, _TAG, (tag_id,))
        if (of_slot := self._slots.get(slot)) is None:
            of_slot = self._look(self._slots, slot, _SLOT, slot)
        if (of_hour := self._hours.get(hour)) is None:
            of_hour = self._look(self._hours, hour, _HOUR, _clock(hour))
        head = of_exchange + of_geo + of_domain + of_device + of_tag + of_slot + of_hour
        return head + self._rest(audience.segments, floor, own)

    def _rest(self, segments: tuple[str, ...], floor: int, own: tuple[str, ...]) -> bytes:
        """Numbers, then a mark for each segment that the model knows."""
        wanted = self._segments
        marks = self._blank
        if wanted and (segments or own):
            marks = marks.copy()
            for segment in (*segments, *own):
                if segment in wanted:
                    marks[wanted[segment]] = 1.0
        if self._usual:
            return self._pack(floor / 1e6, float(len(segments)), *marks)
        numbers = [floor / 1e6 if place == _FLOOR else float(len(segments)) for place in self._numeric]
        return self._pack(*numbers, *marks)

    def _look(self, known: dict[_K, bytes], key: _K, group: int, values: tuple[str | None, ...]) -> bytes:
        """The codes of a group's features as bytes; of a group that the model does not use, none."""
        codes = [
            vocabulary.get(value, 0.0) if value is not None else 0.0
            for vocabulary, value in zip(self._groups[group], values, strict=True)
            if vocabulary is not None
        ]
        return remember(known, key, struct.pack(f"={len(codes)}d", *codes), _MOST_CODES)


def _check(feature: Feature) -> None:
    """Raises `ValueError` where requests have no such feature, or none of its kind."""
    name = feature.name
    if name not in RAW_FEATURES and not name.startswith(SEGMENT_PREFIX):
        raise ValueError(f"feature must be one of {', '.join(RAW_FEATURES)} or segment:ID, was {name}")
    kind = "numeric" if name in NUMERIC_FEATURES or name not in RAW_FEATURES else "categorical"
    if feature.kind != kind:
        raise ValueError(
            f"feature {name} must be {kind}, was {feature.kind}: declare it so and train the model again"
        )


def _codes_of(feature: Feature) -> dict[str, float]:
    return {value: float(code) for code, value in enumerate(feature.vocabulary, start=1)}


def _clock(hour: int) -> tuple[str, str]:
    weekday, hour_of_day = divmod(hour, 24)
    return _HOURS[hour_of_day], _WEEKDAYS[weekday]


_FLOOR, _COUNT = RAW_FEATURES.index("floor_cpm"), RAW_FEATURES.index("segment_count")
