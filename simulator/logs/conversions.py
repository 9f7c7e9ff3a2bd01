"""A synthetic conversion law on top of real clicks, for logs that hold no conversions (iPinYou holds none).

    P(conversion | click) = 1 / (1 + exp(-(base + sum over fields of effect(field, value))))

A field is one of `FIELDS`; its effect is drawn from N(0, strength^2) by a keyed hash of the seed, the field's
name and its value, so that the same region or exchange always helps or harms by the same amount, and a model
can learn it. Whether a click converts and what it is worth are draws by the row's id. The worth is log-normal round
the mean of the campaign that was clicked, in whole hundredths of a unit, sigma 0.4.

Nothing here is measured; reports must call these conversions synthetic. When a conversion comes is not part of
this law: `simulator.exchange.delays` says so for all kinds of log.
"""

import math
from statistics import NormalDist

from simulator.logs.draws import key_of, uniform, uniforms
from simulator.logs.rows import LogRow

FIELDS = ("campaign", "exchange", "region", "size", "os", "hour")
MEAN_RATE = 0.08
HOUR_NS = 3_600_000_000_000
_CENT_NANOS = 10_000_000
_SIGMA = 0.4
_quantile = NormalDist().inv_cdf


class ConversionLaw:
    """Conversions of clicks, a function of the row and the seed alone.

    Args:
        seed: from 0 to 2**64 - 1.
        mean_rate: conversion probability of a click whose fields have no effect, between 0 and 1.
        mean_value_units: worth of a conversion in units of the account's currency, in the middle of campaigns;
            each campaign's own mean is a half to two times that.
        strength: standard deviation of each field's effect on the logit.
    """

    def __init__(
        self,
        seed: int,
        mean_rate: float = MEAN_RATE,
        mean_value_units: float = 40.0,
        strength: float = 0.4,
    ) -> None:
        if not 0 < mean_rate < 1:
            raise ValueError(f"mean_rate must be between 0 and 1, was {mean_rate}")
        if not mean_value_units > 0:
            raise ValueError(f"mean_value_units must be above 0, was {mean_value_units}")
        self._base = math.log(mean_rate / (1 - mean_rate))
        self._mean_cents = mean_value_units * 100
        self._strength = strength
        self._effect_key = key_of(seed, "conversion effect")
        self._draw_key = key_of(seed, "conversion draw")
        self._effects: dict[tuple[str, str], float] = {}

    def probability(self, row: LogRow) -> float:
        """P(conversion | click) of a row for the campaign that logged it."""
        values = (
            row.campaign, row.exchange, row.region, f"{row.w}x{row.h}", row.os, str(row.at_ns // HOUR_NS % 24),
        )  # fmt: skip
        logit = self._base + sum(
            self._effect(field, value)
            for field, value in zip(FIELDS, values, strict=True)
            if value is not None
        )
        return 1.0 / (1.0 + math.exp(-logit))

    def converted(self, row: LogRow) -> tuple[bool, int]:
        """Whether a click on the row converts, and what that is worth in nanos, 0 where it does not."""
        draw, worth, _, _ = uniforms(self._draw_key, row.id)
        if draw >= self.probability(row):
            return False, 0
        mean_cents = self._mean_cents * 2.0 ** (2 * self._share(row.campaign or "") - 1)
        cents = round(mean_cents * math.exp(_SIGMA * _quantile(worth) - _SIGMA**2 / 2))
        return True, max(1, cents) * _CENT_NANOS

    def annotate(self, row: LogRow) -> LogRow:
        """The row with its conversion filled in where it was clicked and the log does not know."""
        if not row.clicked or row.converted is not None:
            return row
        converted, value_nanos = self.converted(row)
        return row._replace(converted=converted, value_nanos=value_nanos)

    def _effect(self, field: str, value: str) -> float:
        known = self._effects.get((field, value))
        if known is None:
            known = self._strength * _quantile(uniform(self._effect_key, f"{field}={value}"))
            self._effects[field, value] = known
        return known

    def _share(self, campaign: str) -> float:
        return uniform(self._effect_key, f"worth={campaign}")
