"""How impressions of the synthetic market come about: when, where on the page, at which floor and rival price."""

import numpy as np

from simulator.logs.behaviour import HOUR_NS, Columns
from simulator.logs.world import DESKTOP_PLACEMENTS, MOBILE_PLACEMENTS, PLACEMENTS, Flags, Floats, Ints

# Monday 00:00 is hour 0 of the week; 1 January 1970, where the clock starts, was a Thursday.
_EPOCH_HOUR_OF_WEEK = 72
# Traffic by the hour of the day, the peak being 1.
_LEVELS = np.array(
    [0.55, 0.40, 0.30, 0.24, 0.20, 0.22, 0.32, 0.45, 0.58, 0.66, 0.70, 0.74,
     0.80, 0.78, 0.74, 0.74, 0.76, 0.80, 0.86, 0.94, 1.00, 0.98, 0.86, 0.70]
)  # fmt: skip
PLACEMENT_SIZE = np.array([placement.size for placement in PLACEMENTS])
PLACEMENT_POSITION = np.array([placement.position for placement in PLACEMENTS])
_DESKTOP_CDF = np.cumsum([placement.share for placement in DESKTOP_PLACEMENTS])
_MOBILE_CDF = np.cumsum([placement.share for placement in MOBILE_PLACEMENTS])


def hour_of_week(at_ns: Ints) -> Ints:
    """Hours since Monday 00:00 UTC, 0 to 167."""
    return np.asarray((at_ns // HOUR_NS + _EPOCH_HOUR_OF_WEEK) % 168)


def arrivals(begin_ns: int, end_ns: int, share: Floats) -> Ints:
    """Times by which each `share` of the traffic from `begin_ns` to `end_ns` has come.

    Traffic peaks at eight in the evening, is a fifth of that at four in the morning, and is a tenth weaker at the
    weekend; within an hour it is even.
    """
    first = begin_ns // HOUR_NS
    edges = np.arange(first, -(-end_ns // HOUR_NS) + 1, dtype=np.int64) * HOUR_NS
    edges = np.clip(edges, begin_ns, end_ns) - begin_ns
    hour = hour_of_week(edges[:-1] + begin_ns)
    weight = np.where(hour >= 120, 0.9, 1.0) * _LEVELS[hour % 24] * np.diff(edges)
    cumulated = np.concatenate([[0.0], np.cumsum(weight)])
    offset = np.interp(share * cumulated[-1], cumulated, edges.astype(np.float64))
    return np.asarray(np.minimum(offset.astype(np.int64), end_ns - begin_ns - 1) + begin_ns)


def placements(rng: np.random.Generator, mobile: Flags) -> Ints:
    """A place on the page for each row, by the device."""
    draw = rng.random(len(mobile))
    desktop = np.searchsorted(_DESKTOP_CDF, draw).clip(max=len(DESKTOP_PLACEMENTS) - 1)
    small = np.searchsorted(_MOBILE_CDF, draw).clip(max=len(MOBILE_PLACEMENTS) - 1)
    return np.where(mobile, small + len(DESKTOP_PLACEMENTS), desktop)


def floors(rng: np.random.Generator, quality: Floats, exchange: Ints) -> Ints:
    """Floors in CPM micros, whole cents: none for a quarter of the rows, higher on better sites."""
    usd = np.exp(rng.normal(-1.1, 0.5, len(quality)) + 0.5 * quality + 0.15 * exchange)
    cents = np.where(rng.random(len(quality)) < 0.25, 0, np.round(usd * 100)).astype(np.int64)
    return cents * 10_000


def rival_prices(
    rng: np.random.Generator, columns: Columns, quality: Floats, floor: Ints
) -> tuple[Ints, Flags]:
    """The highest rival price in CPM micros, and whether there is a rival at all; 0 where there is none.

    Log-normal. Rivals see what we see: they pay more on better sites, above the fold, for larger formats and in
    the evening, and more where the floor is higher.
    """
    n = len(floor)
    place = np.where(columns.position == 1, 0.18, np.where(columns.position == 3, -0.15, 0.0))
    size = np.array([0.10, -0.05, -0.10, -0.35, 0.25])[columns.size]
    evening = 0.12 * np.sin((columns.hour - 14) / 24 * 2 * np.pi)
    log_usd = 0.62 + 0.75 * quality + place + size + evening + 0.45 * np.log1p(floor / 1e6)
    price = np.exp(log_usd + rng.normal(0.0, 0.65, n))
    rivals = rng.random(n) >= 0.06
    return np.where(rivals, np.round(price * 100) * 10_000, 0).astype(np.int64), rivals
