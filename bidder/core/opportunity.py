"""Requests to columns: the one place where an OpenRTB field becomes a feature or a targeting value.

Training tables are written through `raw_features` too, so what a model learned from is what it is served.
"""

import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.openrtb.request import BidRequest, Imp
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


class Audience(NamedTuple):
    """What a request says that all its impressions share, after privacy took away what it must."""

    exchange: str
    domain: str | None
    region: str | None
    country: str | None
    city: str | None
    os: str | None
    browser: str | None
    device_type: str | None
    segments: tuple[str, ...]


def audience_of(request: BidRequest, exchange: str, personal: bool) -> Audience:
    """Reads the shared values of a request.

    Args:
        request: the decoded request.
        exchange: name of the exchange that sent it.
        personal: whether personal data may be used; if not, segments and city are as if absent.
    """
    site, app, device = request.site, request.app, request.device
    domain = site.domain if site is not None else app.bundle or app.domain if app is not None else None
    geo = device.geo if device is not None else None
    os = device.os if device is not None else None
    ua = device.ua if device is not None else None
    return Audience(
        exchange=exchange,
        domain=domain.lower() if domain else None,
        region=geo.region if geo is not None else None,
        country=geo.country if geo is not None else None,
        city=geo.city if geo is not None and personal else None,
        os=os.lower() if os else None,
        browser=browser_of(ua[:_MAX_UA_LENGTH]) if ua else None,
        device_type=str(device.devicetype) if device is not None and device.devicetype is not None else None,
        segments=_segments(request) if personal else (),
    )


def _segments(request: BidRequest) -> tuple[str, ...]:
    user = request.user
    if user is None:
        return ()
    return tuple(segment.id for data in user.data or () for segment in data.segment or () if segment.id)


_BROWSERS = (
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
"""Marks in a user agent, the more particular first: Edge and Opera also say Chrome, Chrome also says Safari."""


_MAX_UA_LENGTH = 512
"""Agents are remembered, so what is remembered of one is bounded."""


@lru_cache(maxsize=16_384)
def browser_of(ua: str) -> str:
    """Browser family in a user agent string; `other` where none is known. Remembered: agents repeat."""
    text = ua.lower()
    return next((name for mark, name in _BROWSERS if mark in text), "other")


@lru_cache(maxsize=4_096)
def size_text(w: int, h: int) -> str:
    """`300x250`."""
    return f"{w}x{h}"


def sizes_of(imp: Imp) -> tuple[str, ...]:
    """Sizes that a banner slot takes, in the order of preference given; empty where none is known.

    OpenRTB 2.6 section 3.2.6: `format` if there, else `w` and `h`.
    """
    banner = imp.banner
    if banner is None:
        return ()
    if banner.format:
        return tuple(size_text(size.w, size.h) for size in banner.format if size.w and size.h)
    return (size_text(banner.w, banner.h),) if banner.w and banner.h else ()


def raw_features(
    audience: Audience, imp: Imp, sizes: tuple[str, ...], floor_cpm_micros: int, hour: int
) -> tuple[Raw, ...]:
    """Values of one opportunity, in the order of `RAW_FEATURES`; None where unknown.

    Args:
        audience: the request's shared values.
        imp: the impression.
        sizes: as `sizes_of` gave them.
        floor_cpm_micros: floor in the account's currency.
        hour: hour of the week, see `hour_of_week`.
    """
    weekday, hour_of_day = divmod(hour, 24)
    return (
        audience.exchange,
        audience.region,
        audience.city,
        audience.domain,
        imp.tagid,
        sizes[0] if sizes else None,
        str(imp.banner.pos) if imp.banner is not None else None,
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
        self.indices: NDArray[np.int32] = np.asarray(spec.request, dtype=np.int32)
        self._categorical: list[tuple[int, int, dict[str, float]]] = []
        self._numeric: list[tuple[int, int]] = []
        self._segments: dict[str, int] = {}
        self._blank = [0.0] * len(self.indices)
        for position, index in enumerate(self.indices.tolist()):
            self._place(position, spec.features[index])
        self._pack = struct.Struct(f"{len(self._blank)}d").pack_into
        self.width = len(self._blank)

    def _place(self, position: int, feature: Feature) -> None:
        name = feature.name
        if name.startswith(SEGMENT_PREFIX):
            self._segments[name.removeprefix(SEGMENT_PREFIX)] = position
        elif name not in RAW_FEATURES:
            raise ValueError(f"feature must be one of {', '.join(RAW_FEATURES)} or segment:ID, was {name}")
        elif feature.kind == "categorical":
            codes = {value: float(code) for code, value in enumerate(feature.vocabulary, start=1)}
            self._categorical.append((position, RAW_FEATURES.index(name), codes))
        else:
            self._numeric.append((position, RAW_FEATURES.index(name)))

    def write(self, raw: tuple[Raw, ...], segments: tuple[str, ...], out: memoryview, row: int) -> None:
        """Packs one opportunity into row `row` of `out`, the bytes of a float64[rows, width] array."""
        values = self._blank.copy()
        for position, source, codes in self._categorical:
            values[position] = codes.get(raw[source], 0.0)  # type: ignore[arg-type]  # None is in no vocabulary
        for position, source in self._numeric:
            value = raw[source]
            values[position] = value if isinstance(value, float) else float("nan")
        wanted = self._segments
        if wanted:
            for segment in segments:
                place = wanted.get(segment)
                if place is not None:
                    values[place] = 1.0
        self._pack(out, row * self.width * 8, *values)
