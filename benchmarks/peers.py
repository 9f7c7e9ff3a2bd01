"""What else one could do: JSON to dicts and a walk through them, a loop over all line items, LightGBM's own predict.

Each does one part of a decision and is let off all others. All run in one thread.
"""

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import orjson
from lightgbm.basic import _LIB, _safe_call
from numpy.typing import NDArray

from bidder.core.devices import agent_of
from bidder.core.lines import Line
from bidder.core.opportunity import hour_of_week
from models.schema import SEGMENT_PREFIX

Shown = dict[str, set[str]]
_DEVICES = {2: "desktop", 3: "tv", 4: "phone", 5: "tablet", 6: "console", 7: "box"}
_CONNECTIONS = {
    1: "ethernet",
    2: "wifi",
    3: "cellular",
    4: "cellular",
    5: "cellular",
    6: "cellular",
    7: "cellular",
}
_RAW_SCORE, _FLOAT64 = 1, 1
UNASKED = frozenset({"circle", "viewability", "expression"})
"""Dimensions that the loop is let off."""


def walk(body: bytes, hour: str) -> Shown:
    """What one request shows in the dimensions of targeting, read from dicts."""
    return shown_by(orjson.loads(body), hour)


def shown_by(request: dict[str, Any], hour: str) -> Shown:
    """What a request as dicts shows."""
    imp = request["imp"][0]
    device, user = request.get("device") or {}, request.get("user") or {}
    geo = device.get("geo") or {}
    place = request.get("site") or request.get("app") or {}
    country, region, city = geo.get("country"), geo.get("region"), (geo.get("city") or "").lower()
    agent = agent_of(device.get("ua"))
    domain = (place.get("domain") or place.get("bundle") or "").lower()
    labels = domain.split(".")
    banner, video = imp.get("banner") or {}, imp.get("video") or {}
    formats = {f"{one.get('w')}x{one.get('h')}" for one in banner.get("format") or ()}
    formats |= {name for name in ("video", "native") if imp.get(name)}
    placements = {f"tag:{imp.get('tagid')}", f"pos:{banner.get('pos', video.get('pos', 0))}"}
    placements |= {name for name, flag in (("instl", "instl"), ("rewarded", "rwdd")) if imp.get(flag)}
    return {
        "exchange": {(request.get("ext") or {}).get("exchange", "")},
        "format": formats,
        "inventory": {"site" if "site" in request else "app"},
        "hour": {hour},
        "geo": {str(country), str(region), f"{country}-{region}"},
        "city": {city, f"{country}/{city}"},
        "device": {_DEVICES.get(device.get("devicetype", 0), "")},
        "os": {agent.os or ""},
        "browser": {agent.browser or ""},
        "carrier": {(device.get("carrier") or "").lower()},
        "connection": {_CONNECTIONS.get(device.get("connectiontype", 0), "")},
        "language": {(device.get("language") or "")[:2].lower()},
        "domain": {".".join(labels[start:]) for start in range(max(1, len(labels) - 1))},
        "content": set(place.get("cat") or ()) | set(place.get("pagecat") or ()),
        "keyword": {word.strip().lower() for word in (place.get("keywords") or "").split(",")},
        "placement": placements,
        "segment": {one["id"] for data in user.get("data") or () for one in data.get("segment") or ()},
        "deal": {deal["id"] for deal in (imp.get("pmp") or {}).get("deals") or ()},
        "advertiser": set(request.get("badv") or ()),
        "category": set(request.get("bcat") or ()),
    }


def features_by(request: dict[str, Any], imp: dict[str, Any], at_ns: int) -> dict[str, Any]:
    """Values of the request-side features, by name, read from dicts."""
    weekday, hour = divmod(hour_of_week(at_ns), 24)
    device = request.get("device") or {}
    geo, place = device.get("geo") or {}, request.get("site") or request.get("app") or {}
    banner, video = imp.get("banner") or {}, imp.get("video") or {}
    segments = [
        segment["id"] for data in (request.get("user") or {}).get("data") or () for segment in data["segment"]
    ]
    size = next(iter(banner.get("format") or ()), None)
    values: dict[str, Any] = {
        "exchange": request["ext"]["exchange"],
        "region": geo.get("region"),
        "city": geo.get("city"),
        "domain": place.get("bundle") or place.get("domain"),
        "tag_id": imp.get("tagid"),
        "size": f"{size['w']}x{size['h']}" if size else None,
        "position": str(banner.get("pos", video.get("pos"))),
        "os": (device.get("os") or "").lower(),
        "browser": agent_of(device.get("ua")).family,
        "device_type": str(device["devicetype"]) if "devicetype" in device else None,
        "hour": str(hour),
        "weekday": str(weekday),
        "floor_cpm": imp.get("bidfloor", 0.0),
        "segment_count": float(len(segments)),
    }
    for segment in segments:
        values[SEGMENT_PREFIX + segment] = 1.0
    return values


class LinearScan:
    """Goes through all line items and, for each, through its rules until one refuses.

    Args:
        lines: of a table.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = [(row, _rules(line)) for row, line in enumerate(lines)]

    def candidates(self, shown: Shown) -> list[int]:
        """Rows of the line items that are admitted."""
        found = []
        for row, rules in self._lines:
            for dimension, include, exclude in rules:
                values = shown[dimension]
                if include and include.isdisjoint(values):
                    break
                if exclude and not exclude.isdisjoint(values):
                    break
            else:
                found.append(row)
        return found


def _rules(line: Line) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """The format first, then what the line item states, then what requests bar."""
    found = [("format", frozenset(_formats(line)), frozenset[str]())]
    for name, rule in line.rules.items():
        if name not in UNASKED:
            found.append((name, frozenset(rule.include), frozenset(rule.exclude)))
    found.append(("advertiser", frozenset(), frozenset(line.campaign.adomain)))
    found.append(("category", frozenset(), frozenset(line.campaign.cat)))
    return found


def _formats(line: Line) -> Iterable[str]:
    for creative in line.creatives:
        yield f"{creative.w}x{creative.h}" if creative.media.value == "banner" else creative.media.value


def hour_text(now_ns: int) -> str:
    """The hour of the week that all requests of a run show, in UTC."""
    return str(hour_of_week(now_ns))


# -- LightGBM -----------------------------------------------------------------------------------------------


class Predict:
    """`Booster.predict` on all candidates of an opportunity at once, one call a model."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._boosters = [lgb.Booster(model_str=text) for text in texts]

    def scores(self, rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Raw scores of float64[candidates, features], of each model float64[candidates]."""
        return [
            np.asarray(one.predict(rows, raw_score=True, num_threads=1), dtype=np.float64)
            for one in self._boosters
        ]


class SingleRowFast:
    """LightGBM's fast path for one row, `LGBM_BoosterPredictForMatSingleRowFast`, a call a candidate and model."""

    def __init__(self, texts: Sequence[str], features: int) -> None:
        self._boosters = [lgb.Booster(model_str=text) for text in texts]
        self._fast = [self._prepare(one, features) for one in self._boosters]
        self._row = np.zeros(features)
        self._length = ctypes.c_int64(0)
        self._out = (ctypes.c_double * 1)()

    def _prepare(self, booster: lgb.Booster, features: int) -> ctypes.c_void_p:
        fast = ctypes.c_void_p()
        _safe_call(
            _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle,  # noqa: SLF001 - there is no public way to the C API
                ctypes.c_int(_RAW_SCORE),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(features),
                ctypes.c_char_p(b"num_threads=1"),
                ctypes.byref(fast),
            )
        )
        return fast

    def scores(self, rows: NDArray[np.float64]) -> list[list[float]]:
        """Raw scores of float64[candidates, features], C-contiguous: of each model a list by candidate."""
        call = _LIB.LGBM_BoosterPredictForMatSingleRowFast
        length, out = ctypes.byref(self._length), self._out
        begin, step = rows.ctypes.data, rows.strides[0]
        found: list[list[float]] = []
        for fast in self._fast:
            own = []
            for number in range(len(rows)):
                if call(fast, ctypes.c_void_p(begin + number * step), length, out):
                    raise RuntimeError("LightGBM refused a row")
                own.append(out[0])
            found.append(own)
        return found

    def close(self) -> None:
        """Frees what LightGBM keeps for the calls."""
        for fast in self._fast:
            _safe_call(_LIB.LGBM_FastConfigFree(fast))
        self._fast = []
