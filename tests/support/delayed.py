"""Clicks with conversions that come late, by a law that is known: what a delay-aware model must find again."""

from typing import Literal

import numpy as np
import pyarrow as pa

from models.schema import Declaration

DAY_NS = 86_400 * 10**9
DAYS = 30
DECLARATIONS = (
    Declaration("domain", "categorical"),
    Declaration("age", "numeric"),
    Declaration("campaign", "categorical", "campaign"),
)
Law = Literal["exponential", "pareto", "by_campaign"]


def rate(domain: np.ndarray, campaign: np.ndarray) -> np.ndarray:
    """P(conversion ever | click)."""
    return 0.04 + 0.04 * domain + 0.08 * campaign


def draw_delays(law: Law, campaign: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Days from click to conversion."""
    if law == "exponential":
        return random.exponential(4.0, len(campaign))
    if law == "pareto":  # Lomax of shape 1.2: the mean is 10 days, the variance infinite
        return 2.0 * random.pareto(1.2, len(campaign))
    return random.exponential(np.where(campaign > 0, 9.0, 1.0))


def come_by(law: Law, campaign: np.ndarray, days: float) -> np.ndarray:
    """P(delay <= days | conversion), closed form."""
    if law == "exponential":
        return np.full(len(campaign), 1.0 - np.exp(-days / 4.0))
    if law == "pareto":
        return np.full(len(campaign), 1.0 - (1.0 + days / 2.0) ** -1.2)
    return 1.0 - np.exp(-days / np.where(campaign > 0, 9.0, 1.0))


def delayed_clicks(
    law: Law, rows: int, seed: int, click_rate: float = 1.0
) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """A table of thirty days as its last evening sees it, P(conversion ever) of its rows, and their campaign."""
    random = np.random.default_rng(seed)
    domain, campaign = random.integers(0, 5, rows), random.integers(0, 2, rows)
    p = rate(domain, campaign)
    at = np.sort(random.random(rows)) * DAYS
    delay = np.minimum(draw_delays(law, campaign, random), 100.0 * DAYS)
    click = random.random(rows) < click_rate
    come = click & (random.random(rows) < p) & (at + delay <= DAYS)
    ns = (at * DAY_NS).astype(np.int64)
    told = ns + np.maximum((delay * DAY_NS).astype(np.int64), 1)
    end = np.full(rows, DAYS * DAY_NS)
    table = pa.table(
        {
            "at_ns": ns,
            "click": click.astype(np.int64),
            "conversion": pa.array(np.where(come, 1, 0), mask=~click),
            "click_at_ns": pa.array(ns, mask=~click),
            "conversion_at_ns": pa.array(np.minimum(told, end), mask=~come),
            "observed_until_ns": end,
            "domain": [f"d{value}" for value in domain],
            "age": random.normal(size=rows),
            "campaign": [f"c{value}" for value in campaign],
        }
    )
    return table, p, campaign
