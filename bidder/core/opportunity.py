"""Requests to columns: the one place where an OpenRTB field becomes a feature or a targeting value.

Training tables are written through `raw_features` too, so what a model learned from is what it is served.
"""

import struct
from functools import lru_cache
from operator import itemgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from bidder.core.devices import Agent, agent_of, structured_agent
from bidder.openrtb.request import BidRequest, Device, User
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
"""Names of what `raw_features` returns, in its order; a model may use these and `segment:ID` (1.0 or 0.0)."""

NS_PER_HOUR = 3_600_000_000_000
HOURS_PER_WEEK = 168
_EPOCH_HOUR_OF_WEEK = 72
"""1970-01-01 was a Thursday: hour 72 of a week that begins on Monday."""
_HOURS = tuple(str(hour) for hour in range(24))
_WEEKDAYS = tuple(str(day) for day in range(7))

Raw = str | float | None


def hour_of_week(now_ns: int) -> int:
    """Hour since Monday 00:00 UTC, 0 to 167."""
    return (now_ns // NS_PER_HOUR + _EPOCH_HOUR_OF_WEEK) % HOURS_PER_WEEK


class Audience(msgspec.Struct, gc=False):
    """What a request says that all its impressions share, after privacy took away what it must.

    `agent` is what the device says of itself, by structured hints before the user agent (section 3.2.18).
    """

    exchange: str
    domain: str | None
    region: str | None
    country: str | None
    city: str | None
    os: str | None
    browser: str | None
    device_type: str | None
    segments: tuple[str, ...]
    agent: Agent
    request: BidRequest


def audience_of(request: BidRequest, exchange: str, permitted: int) -> Audience:
    """Reads the shared values of a request.

    Args:
        request: the decoded request.
        exchange: name of the exchange that sent it.
        permitted: what may be used, see `bidder.privacy.permissions`; without PROFILE segments are as if absent,
            without PRECISE_GEO the city.
    """
    site, app, device, user = request.site, request.app, request.device, request.user
    domain = site.domain if site is not None else app.bundle or app.domain if app is not None else None
    segments = _segments(user) if user is not None and user.data and permitted & PROFILE else ()
    if domain and not domain.islower():
        domain = domain.lower()
    if device is None:
        return Audience(
            exchange, domain, None, None, None, None, None, None, segments, agent_of(None), request
        )
    geo, os, kind = device.geo, device.os, device.devicetype
    agent = agent_of_device(device)
    return Audience(
        exchange,
        domain or None,
        geo.region if geo is not None else None,
        geo.country if geo is not None else None,
        geo.city if geo is not None and permitted & PRECISE_GEO else None,
        os.lower() if os else None,
        agent.family if device.ua else None,
        _TYPES[kind] if kind is not None and 0 <= kind < 10 else None if kind is None else str(kind),
        segments,
        agent,
        request,
    )


_TYPES = tuple(map(str, range(10)))


def agent_of_device(device: Device) -> Agent:
    """What a device says of itself; structured hints where there are any (section 3.2.29), else the user agent."""
    hints = device.sua
    if hints is None or not (hints.browsers or hints.platform):
        return agent_of(device.ua)
    brands = tuple(one.brand for one in hints.browsers or ())
    platform = hints.platform.brand if hints.platform is not None else None
    return structured_agent(brands, platform, hints.mobile, hints.model)


def _segments(user: User) -> tuple[str, ...]:
    return tuple([one.id for data in user.data or () for one in data.segment or () if one.id])


@lru_cache(maxsize=4_096)
def size_text(w: int, h: int) -> str:
    """`300x250`."""
    return f"{w}x{h}"


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
        audience.region,
        audience.city,
        audience.domain,
        tag_id,
        size,
        position,
        audience.os,
        audience.browser,
        audience.device_type,
        _HOURS[hour_of_day],
        _WEEKDAYS[weekday],
        floor_cpm_micros / 1e6,
        float(len(audience.segments)),
    )


class RowEncoder:
    """Writes raw values as the float64 codes of a model's request-side features.

    Args:
        spec: the model's features. A request-side feature must be one of `RAW_FEATURES` or `segment:ID`.

    Raises:
        ValueError: a request-side feature that no request has.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._codes: list[dict[object, float]] = []
        self._numeric: list[int] = []
        self._segments: dict[str, int] = {}
        places = {"categorical": [], "numeric": [], "segment": []}  # type: dict[str, list[int]]
        for index in spec.request.tolist():
            places[self._kind(spec.features[index])].append(index)
        # Those of a kind stand together, so that a row is written in three runs without a look at each.
        order = [*places["categorical"], *places["numeric"], *places["segment"]]
        self.indices: NDArray[np.int32] = np.asarray(order, dtype=np.int32)
        for index in places["categorical"]:
            feature = spec.features[index]
            codes: dict[object, float] = {v: float(c) for c, v in enumerate(feature.vocabulary, start=1)}
            self._codes.append(codes)
        names = [spec.features[index].name for index in places["categorical"]]
        # One of two places is asked for more, as a getter of a single one gives no tuple.
        self._pick = itemgetter(*map(RAW_FEATURES.index, names), 0, 0)
        self._zeros = [0.0] * len(names)
        self._numeric = [RAW_FEATURES.index(spec.features[index].name) for index in places["numeric"]]
        for place, index in enumerate(places["segment"]):
            self._segments[spec.features[index].name.removeprefix(SEGMENT_PREFIX)] = place
        self.width = len(order)
        self._blank = [0.0] * len(self._segments)
        self._pack = struct.Struct(f"{self.width}d").pack_into

    def _kind(self, feature: Feature) -> str:
        if feature.name.startswith(SEGMENT_PREFIX):
            return "segment"
        if feature.name not in RAW_FEATURES:
            raise ValueError(
                f"feature must be one of {', '.join(RAW_FEATURES)} or segment:ID, was {feature.name}"
            )
        return feature.kind

    def write(self, raw: tuple[Raw, ...], segments: tuple[str, ...], out: memoryview, row: int) -> None:
        """Packs one opportunity into row `row` of `out`, the bytes of a float64[rows, width] array."""
        codes = map(_get, self._codes, self._pick(raw), self._zeros)
        numbers = [raw[source] if isinstance(raw[source], float) else _NAN for source in self._numeric]
        wanted = self._segments
        if not wanted:
            self._pack(out, row * self.width * 8, *codes, *numbers)
            return
        marks = self._blank.copy()
        for segment in segments:
            place = wanted.get(segment)
            if place is not None:
                marks[place] = 1.0
        self._pack(out, row * self.width * 8, *codes, *numbers, *marks)


_NAN = float("nan")
_get = dict.get
