"""A forecast of days that are over, from what was before them, beside what came."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bidder.errors import InputError
from simulator.estimate.controller import Controller
from simulator.forecast.flight import DRAWS, FULL, Flight, Range, forecast
from simulator.forecast.traffic import HOURS_PER_DAY, LEAST_DAYS, NS_PER_HOUR
from simulator.history.auctions import Auctions

DAY_NS = HOURS_PER_DAY * NS_PER_HOUR


class Compared(NamedTuple):
    """One figure: what was said, what came, and whether it is money."""

    name: str
    said: Range
    came: float
    is_money: bool

    @property
    def inside(self) -> bool:
        """Whether what came lies in the interval; money to 1 %, which counts as spent."""
        room = 1.0 - FULL if self.is_money else 0.0
        return self.said.low * (1 - room) <= self.came <= self.said.high * (1 + room)


class Backtest(NamedTuple):
    """How a forecast of `days` that are over did."""

    days: float
    rows: tuple[Compared, ...]


def backtest(
    log: Auctions,
    controller: Controller,
    days: float,
    *,
    zone: str = "UTC",
    seed: int,
    draws: int = DRAWS,
    progress: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Forecasts the last days with the budget that was spent in them.

    Clicks and conversions that came are of what was shown; the interval is of their mean, so that few of either lie
    outside more often than one time in twenty: their own chance is added to it (Poisson).

    Args:
        log: of the campaign. controller: that spent. days: at the end of the log. zone, seed, draws, progress: see
            `forecast`.

    Raises:
        InputError: there is no spend in those days, or too little before them.
    """
    end_ns = int(log.at_ns[-1]) + 1
    start_ns = end_ns - round(days * DAY_NS)
    cut = int(np.searchsorted(log.at_ns, start_ns))
    before = (start_ns - int(log.at_ns[0])) / DAY_NS
    if before < LEAST_DAYS + 0.1:
        whole = (end_ns - int(log.at_ns[0])) / DAY_NS
        raise InputError(
            f"--backtest must leave {LEAST_DAYS} days before it: the history of campaign {log.campaign} has "
            f"{whole:.1f} days, was {days:g}"
        )
    last = log.take(slice(cut, None))
    spend = int(last.paid_nanos.sum())
    if spend <= 0:
        raise InputError(
            f"the last {days:g} days of campaign {log.campaign} must hold spend to compare, have none"
        )
    flight = Flight(start_ns, end_ns, (spend,), (controller.cap_nanos,), zone=zone)
    found = forecast(log.take(slice(0, cut)), flight, controller, seed=seed, draws=draws, progress=progress)
    said = found.deliveries[0]
    rng = np.random.default_rng([seed, 83])
    clicks, conversions = (float((each == 1).sum()) for each in (last.clicked, last.converted))
    rows = [
        Compared("opportunities", found.opportunities, float(last.opportunities), is_money=False),
        Compared("spend", said.spend_nanos, float(spend), is_money=True),
        Compared("impressions", said.impressions, float(last.won.sum()), is_money=False),
        Compared("clicks", _with_chance(said.clicks, rng), clicks, is_money=False),
    ]
    if said.conversions.high > 0:
        rows.append(Compared("conversions", _with_chance(said.conversions, rng), conversions, is_money=False))
    return Backtest(days, tuple(rows))


def _with_chance(mean: Range, rng: np.random.Generator) -> Range:
    """The interval of a count whose mean is uncertain: normal in its root, then Poisson."""
    low, high = np.sqrt(max(mean.low, 0.0)), np.sqrt(max(mean.high, 0.0))
    roots = rng.normal((low + high) / 2, max((high - low) / 3.92, 0.0), 4_000)
    ends = np.quantile(rng.poisson(np.maximum(roots, 0.0) ** 2), [0.025, 0.975])
    return Range(mean.point, float(ends[0]), float(ends[1]))
