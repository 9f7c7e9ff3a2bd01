"""How people of the synthetic market answer ads: the true click and conversion probabilities.

Both are logistic in effects that one can name:

    logit P(click)      = a_c + affinity(segments, c) + position + size + site + hour + system
    logit P(conversion) = b_c + affinity'(segments, c) + site/2 + system'

Affinity sums over the user's segments: large and positive for the topics a campaign is made for, small and
drawn from the seed for all others. The intercepts a_c and b_c are solved for, so that the mean over a pilot
sample is each plan's `ctr` and `cvr` whatever the seed.
"""

import math
from typing import NamedTuple

import numpy as np

from simulator.logs.plans import PLANS, Plan
from simulator.logs.rows import LogRow
from simulator.logs.world import OPERATING_SYSTEMS, SIZES, TOPICS, Flags, Floats, Ints, World

HOUR_NS = 3_600_000_000_000
_POSITION = {1: 0.35, 3: -0.45, 4: 0.05, 5: -0.30, 6: -0.10}
_SIZE = {(300, 250): 0.20, (728, 90): -0.20, (160, 600): -0.30, (320, 50): 0.00, (300, 600): 0.35}
_CLICK_SYSTEM = {"windows": -0.10, "macos": -0.05, "linux": -0.40, "android": 0.20, "ios": 0.10}
_BUY_SYSTEM = {"windows": 0.25, "macos": 0.35, "linux": 0.00, "android": -0.30, "ios": 0.05}
# People click more in the evening and least before dawn.
_HOUR = tuple(0.22 * math.sin((hour - 14) / 24 * 2 * math.pi) for hour in range(24))


class Columns(NamedTuple):
    """What moves behaviour, one element a row, for many rows at once.

    `interests` is bool (n, topics); `size`, `system` and `domain` index their tables; `position` is the
    AdCOM code; `hour` the hour of the day, UTC.
    """

    interests: Flags
    domain: Ints
    size: Ints
    position: Ints
    system: Ints
    hour: Ints


class Behaviour:
    """The truth about clicks and conversions.

    Args:
        seed: of the market.
        world: its tables.
        pilot: a sample of what is on offer, over which the mean rates are set.
    """

    def __init__(self, seed: int, world: World, pilot: Columns) -> None:
        rng = np.random.default_rng([seed, 3])
        self._click_affinity = _affinity(rng, strength=1.25)
        self._buy_affinity = _affinity(rng, strength=0.80)
        self._quality = world.domain_quality
        self._positions = np.array([_POSITION.get(code, 0.0) for code in range(18)])
        self._sizes = np.array([_SIZE[size] for size in SIZES])
        self._click_systems = np.array([_CLICK_SYSTEM[name] for name in OPERATING_SYSTEMS])
        self._buy_systems = np.array([_BUY_SYSTEM[name] for name in OPERATING_SYSTEMS])
        self._hours = np.array(_HOUR)
        self._click_base = np.zeros(len(PLANS))
        self._buy_base = np.zeros(len(PLANS))
        self._click_base = _intercepts(self.click_logits(pilot), [plan.ctr for plan in PLANS])
        self._buy_base = _intercepts(self.buy_logits(pilot), [plan.cvr for plan in PLANS])
        self._index = {plan.id: index for index, plan in enumerate(PLANS)}
        self._topic = {topic: index for index, topic in enumerate(TOPICS)}
        self._quality_of = dict(zip(world.domain_names, world.domain_quality.tolist(), strict=True))

    def click_logits(self, columns: Columns) -> Floats:
        """Logits of the click probability, float64 (n, campaigns)."""
        row = (
            self._quality[columns.domain]
            + self._positions[columns.position]
            + self._sizes[columns.size]
            + self._hours[columns.hour]
            + self._click_systems[columns.system]
        )
        return np.asarray(columns.interests @ self._click_affinity + row[:, None] + self._click_base)

    def buy_logits(self, columns: Columns) -> Floats:
        """Logits of the conversion probability given a click, float64 (n, campaigns)."""
        row = 0.5 * self._quality[columns.domain] + self._buy_systems[columns.system]
        return np.asarray(columns.interests @ self._buy_affinity + row[:, None] + self._buy_base)

    def ctr(self, row: LogRow, campaign_id: str) -> float:
        """Click probability of `row` for a campaign; 0 for one the market does not know."""
        campaign = self._index.get(campaign_id)
        if campaign is None:
            return 0.0
        logit = (
            self._click_base[campaign]
            + self._sum(self._click_affinity, row, campaign)
            + self._quality_of.get(row.domain or "", 0.0)
            + _POSITION.get(row.position, 0.0)
            + _SIZE.get((row.w, row.h), 0.0)
            + _HOUR[row.at_ns // HOUR_NS % 24]
            + _CLICK_SYSTEM.get(row.os or "", 0.0)
        )
        return 1.0 / (1.0 + math.exp(-logit))

    def cvr(self, row: LogRow, campaign_id: str) -> float:
        """Conversion probability of a click on `row` for a campaign; 0 for one the market does not know."""
        campaign = self._index.get(campaign_id)
        if campaign is None:
            return 0.0
        logit = (
            self._buy_base[campaign]
            + self._sum(self._buy_affinity, row, campaign)
            + 0.5 * self._quality_of.get(row.domain or "", 0.0)
            + _BUY_SYSTEM.get(row.os or "", 0.0)
        )
        return 1.0 / (1.0 + math.exp(-logit))

    def _sum(self, affinity: Floats, row: LogRow, campaign: int) -> float:
        topics = self._topic
        return float(sum(affinity[topics[name], campaign] for name in row.segments if name in topics))


def sigmoid(logits: Floats) -> Floats:
    """Probabilities of logits."""
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def _affinity(rng: np.random.Generator, strength: float) -> Floats:
    """Effect of each (topic, campaign): `strength` where the campaign is made for the topic."""
    made_for = np.array([[topic in plan.topics for plan in PLANS] for topic in TOPICS])
    return np.asarray(rng.normal(0.0, 0.12, made_for.shape) + strength * made_for)


def _intercepts(logits: Floats, targets: list[float]) -> Floats:
    """The intercept of each column that brings its mean probability to the target, by bisection."""
    low, high = np.full(len(targets), -20.0), np.full(len(targets), 20.0)
    for _ in range(50):
        middle = (low + high) / 2
        above = sigmoid(logits + middle).mean(axis=0) > np.array(targets)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray((low + high) / 2)


def conversion_value_nanos(plan: Plan, draw: float) -> int:
    """Worth of one conversion: half to one and a half of the plan's mean, by a uniform draw, in whole cents."""
    return round(plan.conversion_cents * (0.5 + draw)) * 10_000_000
