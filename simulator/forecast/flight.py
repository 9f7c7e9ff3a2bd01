"""A flight to come: what budgets and bids would bring on traffic of the past, laid out over the future.

Each draw takes a course of the traffic, draws the past again (users, or blocks of time), estimates hidden prices and
outcomes from it again, lays its rows out over the hours of the flight, and lets the live controller spend each
budget. Each is a simulated flight. A figure is the median of them, and its interval the middle 95 %: it holds what is
uncertain of traffic, prices and outcomes alike. Draw 0, of the log as it is and the expected traffic, is one course
by chance too; only what needs one course, groups and shares of the spend, is read from it.

Assumed, and said on every page: rivals do not react, the opportunities to come are like those of the past, and a
budget does not change what users do.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.errors import InputError
from models.pages.text import moment
from simulator.estimate import play_kernels as kernels
from simulator.estimate.controller import Controller, Lot, Outcome, played, swept
from simulator.estimate.resampling import groups_of, times_of
from simulator.estimate.study import Study
from simulator.forecast.future import Future, Past, lay_out, past_of
from simulator.forecast.reach import Population, fit_population
from simulator.forecast.traffic import NS_PER_HOUR, Traffic, TrafficModel, count_hours
from simulator.history.auctions import Auctions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_ROWS = 200_000
"""Turns that a draw plays at most; beyond, each stands for several."""
DRAWS = 40
FULL = 0.99
"""Share of a budget that counts as spent."""
LIKELY, IN_DOUBT = 0.9, 0.5
"""Shares of draws in which a budget is spent, from which on its delivery is likely, or in doubt; else at risk."""
STARTS = np.exp(np.linspace(np.log(1e-3), 0.0, 25))
CURVE_POINTS = 25


class Flight(NamedTuple):
    """What is asked.

    Attributes:
        start_ns, end_ns: of the flight. budgets_nanos: each is answered for. max_bids_nanos: with each of these.
        cap: most impressions of one user in the flight, 0 for none. zone: whose clock counts.
        holidays: factors of traffic by local day.
    """

    start_ns: int
    end_ns: int
    budgets_nanos: tuple[int, ...]
    max_bids_nanos: tuple[int, ...]
    cap: int = 0
    zone: str = "UTC"
    holidays: Mapping[date, float] = {}


class Range(NamedTuple):
    """A figure and its 95 % interval."""

    point: float
    low: float
    high: float


class Delivery(NamedTuple):
    """What one budget with one highest bid brings.

    Attributes:
        budget_nanos, max_bid_nanos: asked for. spend_nanos to value_nanos: of the whole flight.
        users, frequency: None where users are not known. capped: share of impressions that the cap takes away.
        spent: share of draws in which the budget is spent to 99 %. verdict: `likely`, `in doubt` or `at risk`.
        extrapolated: share of the spend that rests on drawn prices.
        by: spend and impressions by group; they sum to those of the flight.
    """

    budget_nanos: int
    max_bid_nanos: int
    spend_nanos: Range
    impressions: Range
    clicks: Range
    conversions: Range
    value_nanos: Range
    users: Range | None
    frequency: Range | None
    capped: float
    spent: float
    verdict: str
    extrapolated: float
    by: dict[str, tuple[float, float]]


class CurvePoint(NamedTuple):
    """The share of opportunities that a bid wins."""

    bid_nanos: int
    won: Range


class Forecast(NamedTuple):
    """All that is said of a flight.

    `opportunities`: of the flight. `hours`: float64[hours], expected. `trend`: of the traffic, a day.
    `deliveries`: by budget and highest bid. `curve`: win rate by bid. `population`: behind the past. `draws`: flights
    that were simulated.
    """

    opportunities: Range
    first_hour: int
    hours: Floats
    trend: float
    deliveries: tuple[Delivery, ...]
    curve: tuple[CurvePoint, ...]
    population: Population | None
    days: float
    draws: int


class Grouping(NamedTuple):
    """Groups of rows, such as regions: int64[n] codes, and their names."""

    codes: Ints
    names: tuple[str, ...]


def forecast(
    log: Auctions,
    flight: Flight,
    controller: Controller,
    *,
    seed: int,
    draws: int = DRAWS,
    by: Grouping | None = None,
    most_rows: int = MOST_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> Forecast:
    """Forecasts a flight from a campaign's past.

    Args:
        log: opportunities of the past, also those that were not bid for. flight: what is asked. controller: that
            spends. seed: of all draws. draws: of the intervals. by: groups to tell apart. most_rows: of a draw.
        progress: hears of draws.

    Raises:
        InputError: the past is too short, the flight is empty or begins before the past does, or a budget is 0.
    """
    _check(log, flight)
    model = TrafficModel(count_hours(log.at_ns), flight.zone, flight.holidays)
    traffic = model.forecast(flight.start_ns, flight.end_ns, seed=seed, draws=max(draws, 1))
    study, past = Study(log, controller), past_of(log.at_ns, flight.zone)
    groups = groups_of(log)
    questions = [(budget, bid) for budget in flight.budgets_nanos for bid in flight.max_bids_nanos]
    play = _Play(flight, study, controller, past, traffic, most_rows, seed)
    outcomes, curves, sizes = [], [], []
    shown: list[dict[str, tuple[float, float]]] = []
    bids = _curve_bids(log, flight)
    for draw in range(draws + 1):
        times = times_of(groups, seed, draw)
        lot = study.lot(times.astype(np.float64), seed * 1_009 + draw)
        future = play.future(times, draw)
        outcomes.append([play.outcome(lot, future, *question) for question in questions])
        if draw == 0 and by is not None:
            shown = [play.by_group(lot, future, *question, by) for question in questions]
        curves.append(_won(lot.price, times, bids))
        sizes.append(float(len(future.rows)) * future.weight)
        if progress is not None:
            progress(draw + 1, draws + 1)
    people = _People(log, flight, seed, draws)
    found = [
        _delivery(question, [row[k] for row in outcomes], people, flight.cap, shown[k] if shown else {})
        for k, question in enumerate(questions)
    ]
    won = np.array(curves)
    return Forecast(
        opportunities=_range(np.concatenate([[traffic.expected.sum()], traffic.draws.sum(axis=1)])),
        first_hour=traffic.first_hour,
        hours=traffic.expected,
        trend=model.trend,
        deliveries=tuple(found),
        curve=tuple(CurvePoint(int(bid), _range(won[:, k])) for k, bid in enumerate(bids)),
        population=people.point,
        days=(flight.end_ns - flight.start_ns) / (24 * NS_PER_HOUR),
        draws=draws,
    )


class _Play(NamedTuple):
    """What every draw of a forecast shares."""

    flight: Flight
    study: Study
    controller: Controller
    past: Past
    traffic: Traffic
    most_rows: int
    seed: int

    def future(self, times: Ints, draw: int) -> Future:
        counts = self.traffic.expected if draw == 0 else self.traffic.draws[draw - 1]
        return lay_out(
            self.past, times, self.traffic.first_hour, counts, self.most_rows, self.seed * 10_007 + draw
        )

    def outcome(self, lot: Lot, future: Future, budget_nanos: int, max_bid_nanos: int) -> Outcome:
        """What a budget brings, scaled to all that the turns stand for."""
        controller = self._warm(lot, future, budget_nanos, max_bid_nanos)
        one = played(lot, future.rows, max(int(budget_nanos / future.weight), 1), controller)
        return Outcome(*(each * future.weight for each in one))

    def by_group(
        self, lot: Lot, future: Future, budget_nanos: int, max_bid_nanos: int, by: Grouping
    ) -> dict[str, tuple[float, float]]:
        """Spend and impressions of each group."""
        bids: Ints = np.zeros(len(future.rows), dtype=np.int64)
        controller = self._warm(lot, future, budget_nanos, max_bid_nanos)
        played(lot, future.rows, max(int(budget_nanos / future.weight), 1), controller, bids)
        price, first = lot.price[future.rows], lot.first_price[future.rows]
        won = (bids > 0) & (bids >= price)
        paid = np.where(won, np.where(first, bids, price), 0)
        code = by.codes[future.rows]
        spend = np.bincount(code, paid, len(by.names)) * future.weight
        wins = np.bincount(code, won, len(by.names)) * future.weight
        order = np.argsort(-spend, kind="stable")
        return {by.names[k]: (float(spend[k]), float(wins[k])) for k in order if wins[k] > 0}

    def _warm(self, lot: Lot, future: Future, budget_nanos: int, max_bid_nanos: int) -> Controller:
        """The controller as it stands where it has bid before: near the multiplier that spends the budget."""
        controller = self.controller._replace(cap_nanos=max_bid_nanos)
        rows = future.rows[:: max(len(future.rows) // 20_000, 1)]
        share = len(rows) / max(len(future.rows), 1)
        spends = np.array([each.spend_nanos for each in swept(lot, rows, STARTS, controller)])
        enough = np.flatnonzero(spends * future.weight >= budget_nanos * share)
        start = float(STARTS[enough[0]]) if len(enough) else 1.0
        return controller._replace(start=start)


class _People:
    """The population behind a past, and draws of it; none where users are not known."""

    def __init__(self, log: Auctions, flight: Flight, seed: int, draws: int) -> None:
        self.point: Population | None = None
        self._drawn: list[Population] = []
        span = int(log.at_ns[-1] - log.at_ns[0])
        # Users come and go: how the population grows with time is read from half of the past against all of it.
        self._times = (flight.end_ns - flight.start_ns) / max(span, 1)
        try:
            self.point = fit_population(log.user)
            half = fit_population(log.user[: int(np.searchsorted(log.at_ns, log.at_ns[0] + span // 2))])
        except InputError:
            return
        self._growth = float(np.clip(np.log2(self.point.users / half.users), 0.0, 1.0))
        known = log.user[log.user != 0]
        each = np.unique(known, return_inverse=True)[1]
        counts = np.bincount(each)
        rng = np.random.default_rng([seed, 79])
        for _ in range(draws):
            again = rng.choice(counts, len(counts))
            drawn = np.repeat(np.arange(1, len(again) + 1, dtype=np.uint64), again)
            self._drawn.append(fit_population(drawn)._replace(known=self.point.known))

    def reach(self, impressions: Floats, cap: int) -> tuple[Range, Range, float] | None:
        """Users, frequency, and the share that the cap takes, of draws of impressions; None where not known."""
        if self.point is None:
            return None
        rows = []
        for draw, shown in enumerate(impressions):
            one = self.point if draw == 0 else self._drawn[draw - 1]
            users = one.users * self._times**self._growth
            if draw:
                users /= one.known
            rows.append(one._replace(users=users).reach(float(shown), cap))
        return (
            _middle(np.array([row.users for row in rows])),
            _middle(np.array([row.frequency for row in rows])),
            rows[0].lost,
        )


def verdict_of(spent: float) -> str:
    """What the share of draws in which a budget is spent says of its delivery."""
    return "likely" if spent >= LIKELY else "in doubt" if spent >= IN_DOUBT else "at risk"


def _delivery(
    question: tuple[int, int],
    outcomes: Sequence[Outcome],
    people: _People,
    cap: int,
    by: dict[str, tuple[float, float]],
) -> Delivery:
    columns = {name: np.array([getattr(one, name) for one in outcomes]) for name in Outcome._fields}
    reached = people.reach(columns["impressions"], cap)
    drawn = columns["spend_nanos"][1:] if len(outcomes) > 1 else columns["spend_nanos"]
    spent = float((drawn >= FULL * question[0]).mean())
    spend, impressions = _middle(columns["spend_nanos"]), _middle(columns["impressions"])
    return Delivery(
        budget_nanos=question[0],
        max_bid_nanos=question[1],
        spend_nanos=spend,
        impressions=impressions,
        clicks=_middle(columns["clicks"]),
        conversions=_middle(columns["conversions"]),
        value_nanos=_middle(columns["value_nanos"]),
        users=reached[0] if reached else None,
        frequency=reached[1] if reached else None,
        capped=reached[2] if reached else 0.0,
        spent=spent,
        verdict=verdict_of(spent),
        extrapolated=outcomes[0].extrapolated,
        by=_scaled(by, spend.point, impressions.point),
    )


def _scaled(
    by: dict[str, tuple[float, float]], spend: float, impressions: float
) -> dict[str, tuple[float, float]]:
    """Groups of one simulated flight, so that they sum to the figures of the flight."""
    spent, won = (sum(column) for column in zip(*by.values(), strict=True)) if by else (0.0, 0.0)
    if not (spent and won):
        return by
    return {name: (own * spend / spent, wins * impressions / won) for name, (own, wins) in by.items()}


def _middle(values: Floats) -> Range:
    """Median and middle 95 % of the simulated flights, which follow the first value; that where there are none."""
    if len(values) < 2:
        return _range(values)
    return _range(values)._replace(point=float(np.median(values[1:])))


def _range(values: Floats) -> Range:
    """The first value, and the middle 95 % of the others.

    These are courses that a flight may take and not errors about a point: spend stops at its budget, so that no
    scale makes it normal.
    """
    if len(values) < 2:
        return Range(float(values[0]), float(values[0]), float(values[0]))
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Range(float(values[0]), float(low), float(high))


def _curve_bids(log: Auctions, flight: Flight) -> Ints:
    """Bids of the win-rate curve: from a hundredth of the highest bid asked for to it, evenly in the logarithm."""
    top = max(flight.max_bids_nanos)
    low = max(min(int(log.floor_nanos.min()), top // 100), top // 1_000, 1)
    return np.unique(np.rint(np.geomspace(low, top, CURVE_POINTS)).astype(np.int64))


def _won(price: Ints, times: Ints, bids: Ints) -> Floats:
    """float64[bids], share of the rows whose price each bid reaches."""
    order = np.argsort(price, kind="stable")
    weight = np.cumsum(times[order])
    place = np.searchsorted(price[order], bids, side="right")
    return np.asarray(np.where(place > 0, weight[np.maximum(place - 1, 0)], 0) / max(int(weight[-1]), 1))


def _check(log: Auctions, flight: Flight) -> None:
    if flight.end_ns <= flight.start_ns:
        raise InputError(
            f"end of the flight must be after its start, was {flight.end_ns} <= {flight.start_ns}"
        )
    if not log.opportunities:
        raise InputError(f"history of campaign {log.campaign} must hold opportunities, has none")
    if flight.start_ns < int(log.at_ns[-1]) - 3_600 * 10**9:
        raise InputError(
            f"--start must not be before the campaign's last bid of the history, {moment(int(log.at_ns[-1]))}, was "
            f"{moment(flight.start_ns)}"
        )
    for name, values in (("budget", flight.budgets_nanos), ("max bid", flight.max_bids_nanos)):
        if not values or min(values) <= 0:
            raise InputError(f"each {name} must be above 0, was {values}")
    if min(flight.max_bids_nanos) >= kernels.NEVER:
        raise InputError(f"max bid must be below {kernels.NEVER} nanos, was {min(flight.max_bids_nanos)}")
