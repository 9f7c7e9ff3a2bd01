"""What there is in the synthetic market: exchanges, regions, sites, placements, devices, topics.

Static tables, drawn once from the market's seed. Names are made up, on the reserved names of RFC 2606
(`.example`), and addresses come from the range set aside for benchmarks (RFC 2544), so that nothing here
points at anybody.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

COUNTRY = "USA"
EXCHANGES = ("adx-one", "adx-two", "adx-three")
EXCHANGE_SHARES = (0.45, 0.35, 0.20)
FIRST_PRICE_EXCHANGES = frozenset({"adx-three"})
"""Exchanges of the synthetic market that sell at first price; the others sell at second price."""

REGIONS = (
    "CA", "TX", "FL", "NY", "PA", "IL", "OH", "GA", "NC", "MI", "NJ", "VA", "WA", "AZ", "TN", "MA",
    "IN", "MO", "MD", "WI", "CO", "MN", "SC", "AL", "LA", "KY", "OR", "OK", "CT", "UT", "IA", "NV",
    "AR", "MS", "KS",
)  # fmt: skip
CITIES_PER_REGION = 4

TOPICS = (
    "autos", "books", "business", "careers", "cooking", "education", "fashion", "finance", "fitness",
    "gaming", "gardening", "health", "movies", "music", "news", "outdoors", "science", "sports",
    "technology", "travel",
)  # fmt: skip
"""Topics of sites and, under the same names, the segments of users."""

DOMAINS = 400
SIZES = ((300, 250), (728, 90), (160, 600), (320, 50), (300, 600))


class Placement(NamedTuple):
    """One kind of ad place: size (index in `SIZES`), AdCOM placement position, share of impressions."""

    size: int
    position: int
    share: float


# AdCOM "Placement Positions": 1 above the fold, 3 below the fold, 4 header, 5 footer, 6 sidebar.
DESKTOP_PLACEMENTS = (
    Placement(0, 1, 0.28),
    Placement(0, 3, 0.20),
    Placement(1, 4, 0.22),
    Placement(2, 6, 0.16),
    Placement(4, 6, 0.14),
)
MOBILE_PLACEMENTS = (
    Placement(3, 4, 0.30),
    Placement(3, 5, 0.32),
    Placement(0, 1, 0.20),
    Placement(0, 3, 0.18),
)
PLACEMENTS = DESKTOP_PLACEMENTS + MOBILE_PLACEMENTS


class Device(NamedTuple):
    """One kind of device: operating system, browser, user agent, whether mobile, share of users."""

    os: str
    browser: str
    ua: str
    mobile: bool
    share: float


_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
DEVICES = (
    Device("windows", "chrome", f"{_WINDOWS}) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36", False, 0.24),
    Device(
        "windows", "edge", f"{_WINDOWS}) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", False, 0.09
    ),
    Device("windows", "firefox", f"{_WINDOWS}; rv:127.0) Gecko/20100101 Firefox/127.0", False, 0.05),
    Device(
        "macos",
        "safari",
        f"{_MAC}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
        False,
        0.07,
    ),
    Device("macos", "chrome", f"{_MAC}) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36", False, 0.05),
    Device(
        "linux",
        "firefox",
        "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        False,
        0.02,
    ),
    Device(
        "android",
        "chrome",
        f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36",
        True,
        0.29,
    ),
    Device("ios", "safari", f"{_IPHONE} Version/17.5 Mobile/15E148 Safari/604.1", True, 0.19),
)
OPERATING_SYSTEMS = tuple(dict.fromkeys(device.os for device in DEVICES))


def zipf(n: int, exponent: float) -> Floats:
    """Shares of `n` things by rank, falling as rank ** -exponent."""
    weights = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


class World:
    """The tables that depend on the seed.

    Attributes:
        domain_names: `DOMAINS` names, most visited first.
        domain_topic: topic index of each.
        domain_share: share of visits of each.
        domain_quality: how much better or worse than the mean a site's visitors respond, on the logit scale.
        domain_names_of_topic: domain indexes of each topic, most visited first.
        region_share: share of users of each region.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        # Every topic has its sites at all ranks: topics are dealt round by round in a shuffled order.
        rounds = [rng.permutation(len(TOPICS)) for _ in range(DOMAINS // len(TOPICS))]
        self.domain_topic: Ints = np.concatenate(rounds).astype(np.int64)
        self.domain_names = tuple(
            f"{TOPICS[topic]}-{rank:03d}.example" for rank, topic in enumerate(self.domain_topic.tolist())
        )
        self.domain_share: Floats = zipf(DOMAINS, 0.9)
        self.domain_quality: Floats = rng.normal(0.0, 0.3, DOMAINS)
        self.domains_of_topic: Ints = np.stack(
            [np.flatnonzero(self.domain_topic == t) for t in range(len(TOPICS))]
        )
        self.region_share: Floats = zipf(len(REGIONS), 0.7)
