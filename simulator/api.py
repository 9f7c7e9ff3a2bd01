"""The simulator for notebooks: what the commands answer, as results with frames.

    from simulator import api

    log = api.make_history("sample", "sample.parquet")
    api.estimate(log.path, "cedar-trips", budgets=(0.5, 1, 1.5)).frame()

Every function reads a history that `clearbid history` or `make_history` made, and returns a result: `frame()` is a
frame of polars, else of pandas, else an error that names the extra `clearbid[notebook]`; `table()` is the same in
Arrow and needs neither; `page()`, where there is one, is the page that the command writes.

Money that goes in is in units of the account, highest bids are CPM, both as a whole number, a text such as `"12.50"`
or a `Decimal`: never a float. Money that comes out is in nanos of the unit. The same seed gives the same figures.
Errors are `bidder.errors.InputError`, and say what was wrong and what is allowed.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import msgspec

from bidder.errors import InputError
from bidder.zones import instant_of
from simulator.allocate.curves import MEASURES, CurveSet, read_curves
from simulator.allocate.goals import Wanted
from simulator.allocate.plan import Rules, plan
from simulator.allocate.terms import TermsFile, asked_of, read_terms
from simulator.estimate import estimate as estimating
from simulator.estimate.asking import ask
from simulator.estimate.commands import report_of
from simulator.forecast import flight as flights
from simulator.forecast.asked import controller_of, grouping_of, last_spend
from simulator.forecast.backtest import DAY_NS
from simulator.forecast.backtest import backtest as tried
from simulator.history.auctions import Auctions
from simulator.history.conditions import where_of
from simulator.history.convert import Options, convert
from simulator.history.file import History
from simulator.history.loading import campaigns_in, load_auctions
from simulator.notebook.amounts import Amount, each_nanos, names_of, nanos_of, optional_nanos
from simulator.notebook.results import (
    EstimateResult,
    ForecastResult,
    HistoryResult,
    PlanResult,
    SweepResult,
    WhatIfResult,
)
from simulator.sweep import run as sweeping
from simulator.sweep.backends import backend_of
from simulator.sweep.space import axis_of, grid, random_points
from simulator.whatif import compare
from simulator.whatif.asked import scores_of
from simulator.whatif.change import Change

__all__ = [
    "EstimateResult",
    "ForecastResult",
    "HistoryResult",
    "Options",
    "PlanResult",
    "SweepResult",
    "WhatIfResult",
    "allocate",
    "estimate",
    "forecast",
    "history",
    "make_history",
    "sweep",
    "whatif",
]

_UNITS, _CPM = 10**9, 10**6
Place = Path | str


def make_history(source: Place, out: Place, options: Options | None = None) -> HistoryResult:
    """Writes the history of a log, as `clearbid history` does.

    Args:
        source: a run's folder, iPinYou logs, an OpenRTB log, a table with a mapping, or `sample`.
        out: the Parquet file, made new. options: how to read the source.

    Raises:
        InputError: the source is of no known kind or gives no row, or the file cannot be written.
    """
    convert(Path(source), Path(out), options)
    return history(out)


def history(
    path: Place, *, columns: Iterable[str] | None = None, campaign: str | None = None
) -> HistoryResult:
    """A history on disk.

    Args:
        path: of the file. columns: of `frame()`, None for all. campaign: whose bids alone; None for all there is.

    Returns:
        Its rows as a frame, one an opportunity; `campaigns()` is a frame of what each campaign won and spent.

    Raises:
        InputError: no such file, or no history; columns and campaign are looked at when the frame is made.
    """
    return HistoryResult(History(path), None if columns is None else names_of(columns), campaign)


def estimate(
    path: Place,
    campaign: str | Iterable[str] | None = None,
    *,
    budget_shares: Sequence[float] = (0.5, 1.0, 2.0),
    bid_factors: Sequence[float] = (),
    max_bid: Amount | None = None,
    where: str | Iterable[str] = (),
    strata: Sequence[str] = ("placement",),
    resample: Literal["auto", "user", "block"] = "auto",
    draws: int = estimating.DRAWS,
    imputations: int = estimating.IMPUTATIONS,
    seed: int = 1,
    workers: int = 1,
) -> EstimateResult:
    """What budgets would have brought, with 95 % intervals.

    Args:
        path: of the history. campaign: one, several, or None for all of them.
        budget_shares: budgets as shares of what the log spent, above 0. bid_factors: of the logged bids, without a
            budget. max_bid: CPM. where: conditions that an auction must hold to be bid for, see `whatif`.
        strata: levels of the strata of prices, of placement, prediction and hour. resample: what intervals draw
            again. draws: of the bootstrap. imputations: of hidden prices. seed: of all draws. workers: processes.

    Returns:
        A row a campaign and question; `curves()` is what `allocate` takes. A question beyond what the log can tell
        has a reason in `refused` and no figures.

    Raises:
        InputError: no such history, campaign, column or level; a share or a number of draws that is out of range.
    """
    if resample not in {"auto", "user", "block"}:
        raise InputError(f"resample must be auto, user or block, was {resample}")
    for name, numbers in (("budget_shares", budget_shares), ("bid_factors", bid_factors)):
        for number in numbers:
            if not 0.0 < number < 1e6:
                raise InputError(f"{name} must be numbers above 0, such as (0.5, 1, 2), was {number!r}")
    if not (budget_shares or bid_factors):
        raise InputError("an estimate must be asked something: give budget_shares or bid_factors")
    _check_draws(draws)
    if imputations < 1:
        raise InputError(f"imputations must be 1 or more, was {imputations}")
    max_bid_nanos = optional_nanos(max_bid, "max_bid", _CPM)
    reports = []
    for name in names_of(campaign) or campaigns_in(path):
        asked = ask(
            Path(path), name, budget_shares=budget_shares, bid_factors=bid_factors, strata=names_of(strata),
            where=names_of(where), max_bid_nanos=max_bid_nanos,
        )  # fmt: skip
        reports.append(report_of(asked, draws, imputations, seed, resample, workers))
    return EstimateResult(tuple(reports))


def forecast(  # noqa: PLR0913, each is one thing that may be asked, by its name
    path: Place,
    campaign: str | None = None,
    *,
    start: str | None = None,
    days: float = 7.0,
    budgets: Iterable[Amount] = (),
    max_bids: Iterable[Amount] = (),
    frequency_cap: int = 0,
    zone: str = "UTC",
    holidays: Mapping[date, float] | None = None,
    by: str = "",
    backtest_days: float = 0.0,
    seed: int = 7,
    draws: int = flights.DRAWS,
) -> ForecastResult:
    """What a flight to come would bring, with 95 % intervals.

    Args:
        path: of the history. campaign: whose traffic; None for the largest.
        start: such as `2026-12-01T00:00:00Z`; None for the end of the history. days: of the flight, up to 366.
        budgets: each is answered for; none is what as long a time cost at the end. max_bids: CPM; none is the highest
            logged. frequency_cap: most impressions of a user, 0 for none. zone: whose clock people live by.
        holidays: factors of traffic by local day. by: a text column of the history that tells groups apart.
        backtest_days: at the end of the history, to try the forecast on; 0 for none.
        seed: of all draws. draws: simulated flights.

    Returns:
        A row a budget and highest bid; `hours()`, `win_rates()` and `groups()` are frames too.

    Raises:
        InputError: no such history, campaign, column or zone; too short a past; an argument that is out of range.
    """
    _check_draws(draws)
    if not 0.0 < days <= 366:
        raise InputError(f"days must be above 0 and at most 366, was {days!r}")
    if frequency_cap < 0 or not backtest_days >= 0:
        raise InputError(
            f"frequency_cap and backtest_days must be 0 or more, were {frequency_cap!r} and {backtest_days!r}"
        )
    name, log = _log_of(path, campaign)
    start_ns = instant_of(start, "start") if start is not None else int(log.at_ns[-1]) + 1
    length_ns = round(days * DAY_NS)
    flight = flights.Flight(
        start_ns,
        start_ns + length_ns,
        each_nanos(budgets, "budgets", _UNITS) or (last_spend(log, length_ns),),
        each_nanos(max_bids, "max_bids", _CPM) or (int(log.bid_nanos.max()),),
        frequency_cap,
        zone,
        holidays or {},
    )
    controller = controller_of(log, max(flight.max_bids_nanos))
    groups = grouping_of(Path(path), name, by, log.opportunities)
    found = flights.forecast(log, flight, controller, seed=seed, draws=draws, by=groups)
    tested = None
    if backtest_days:
        tested = tried(log, controller, backtest_days, zone=zone, seed=seed, draws=draws)
    return ForecastResult(name, found, tested)


def whatif(  # noqa: PLR0913, as above
    path: Place,
    campaign: str | None = None,
    *,
    budget: Amount | None = None,
    new_budget: Amount | None = None,
    worth: Amount | None = None,
    to_click: bool = False,
    max_bid: Amount | None = None,
    where: str | Iterable[str] = (),
    price_factor: float = 1.0,
    scores: Place | None = None,
    shade: float | None = None,
    eta: float | None = None,
    is_new: bool = False,
    seed: int = 7,
    draws: int = compare.DRAWS,
) -> WhatIfResult:
    """The past with something changed, beside the past as it was bid, with 95 % intervals of the difference.

    Args:
        path: of the history. campaign: whose past; None for the largest.
        budget: of both sides; None is what was spent.
        new_budget, worth, max_bid: another budget, worth of a click or conversion, highest bid (CPM).
        to_click: clicks in place of conversions; it needs a worth. where: another targeting, conditions such as
            `region=CA,TX` or `region!=CA`, which must all hold. price_factor: of rivals' prices, 0.1 to 10.
        scores: Parquet with `id` and `click_probability` of another model.
        shade: share of the value bid at first price, 0.05 to 1. eta: step of pacing, 1e-6 to 0.1.
        is_new: the other side is a new line item, whose outcomes are worth `worth`. seed: of all draws.
        draws: of the intervals.

    Returns:
        A row a figure: `name`, `before`, `after`, `difference`; `found.verdict` says whether it helps.

    Raises:
        InputError: nothing is changed, or a change that cannot be made or is out of range; no such history or
            campaign.
    """
    _check_draws(draws)
    _check_ranges(price_factor, shade, eta)
    name, log = _log_of(path, campaign)
    change = Change(
        budget_nanos=optional_nanos(new_budget, "new_budget", _UNITS),
        worth_nanos=optional_nanos(worth, "worth", _UNITS),
        to_click=to_click,
        max_bid_nanos=optional_nanos(max_bid, "max_bid", _CPM),
        price_factor=price_factor,
        only=where_of(Path(path), name, list(names_of(where))),
        click=scores_of(None if scores is None else Path(scores), Path(path), name),
        shade=shade,
        eta=eta,
        is_new=is_new,
    )
    controller = controller_of(log, int(log.bid_nanos.max()))
    whole = _budget(log, budget)
    return WhatIfResult(compare.what_if(log, controller, whole, change, seed=seed, draws=draws))


def sweep(
    path: Place,
    campaign: str | None = None,
    *,
    vary: Mapping[str, Iterable[Amount | float] | str],
    budget: Amount | None = None,
    random: int = 0,
    order: str = "surplus",
    seed: int = 7,
    draws: int = sweeping.DRAWS,
    workers: int = 1,
    dask: str = "",
) -> SweepResult:
    """A past played with many settings, the best first.

    Args:
        path: of the history. campaign: whose past; None for the largest.
        vary: values of each setting, such as `{"budget": [10, 20], "max_bid": "1:10:5"}`: a list, `LOW:HIGH:MANY`
            evenly in the logarithm, or with `random` also `LOW:HIGH`. Settings are budget, max_bid, worth,
            price_factor, shade and eta; these are of trials, so that floats may stand.
        budget: where it is not varied; None is what was spent. random: so many points in place of a grid.
        order: best first by surplus, value, clicks, conversions or roi. seed: of all draws. draws: of the intervals.
        workers: processes. dask: address of a cluster's scheduler in place of them.

    Returns:
        A row a point: its settings, its figures with intervals, `roi` and `extrapolated`.

    Raises:
        InputError: no such setting, order, history or campaign, or a value that is out of range.
    """
    _check_draws(draws)
    axes = [axis_of(f"{name}={_values(values)}") for name, values in vary.items()]
    points = random_points(axes, random, seed) if random else grid(axes)
    name, log = _log_of(path, campaign)
    found = sweeping.sweep(
        log,
        controller_of(log, int(log.bid_nanos.max())),
        _budget(log, budget),
        points,
        seed=seed,
        draws=draws,
        order=order,
        backend=backend_of(workers, dask),
    )
    return SweepResult(name, tuple(found))


def allocate(
    curves: EstimateResult | CurveSet | Place,
    *,
    total: Amount | None = None,
    wanted: Wanted | None = None,
    terms: Mapping[str, Any] | Place | None = None,
    freeze: str | Iterable[str] = (),
    measure: str = "value",
    sure: float = 0.8,
) -> PlanResult:
    """One budget shared out between campaigns by their curves: what to move, and how sure the gain is.

    Args:
        curves: estimates of several campaigns, a set of curves, or a file of them.
        total: money to place; None is what the budgets sum to now. wanted: another goal than the most of a total, see
            `simulator.allocate.goals`. terms: what may be done with each campaign, a TOML file or its tables as a
            mapping, see `simulator.allocate.terms`. freeze: campaigns that stay as they are.
        measure: what is to be most: value, conversions, clicks or impressions.
        sure: hold where the move helps in a smaller share of draws, 0 to 1.

    Returns:
        A row a campaign, with its budget now, the best one and the recommended one; `plan.hold` says why nothing is
        to be moved where that is so.

    Raises:
        InputError: curves, terms or a goal that cannot be used, saying which and why.
    """
    if measure not in MEASURES:
        raise InputError(f"measure must be one of {', '.join(MEASURES)}, was {measure}")
    if not 0.0 <= sure <= 1.0:
        raise InputError(f"sure must be from 0 to 1, was {sure!r}")
    known, source = _curves(curves)
    goal = wanted or Wanted()
    if total is not None:
        goal = goal._replace(total=nanos_of(total, "total", _UNITS))
    asked = asked_of(known.names, known.current, _terms(terms), names_of(freeze))
    return PlanResult(plan(known, asked, MEASURES[measure], goal, Rules(sure=sure)), known, source)


def _log_of(path: Place, campaign: str | None) -> tuple[str, Auctions]:
    """A campaign of a history, the largest where none is named."""
    name = campaigns_in(path)[0] if campaign is None else campaign
    return name, load_auctions(path, name)


def _budget(log: Auctions, budget: Amount | None) -> int:
    return int(log.paid_nanos.sum()) if budget is None else nanos_of(budget, "budget", _UNITS)


def _values(values: Iterable[Amount | float] | str) -> str:
    return values if isinstance(values, str) else ",".join(str(value) for value in values)


def _curves(curves: EstimateResult | CurveSet | Place) -> tuple[CurveSet, str]:
    if isinstance(curves, EstimateResult):
        return curves.curves(), curves.reports[0].source
    if isinstance(curves, CurveSet):
        return curves, "curves"
    return read_curves(Path(curves)), Path(curves).name


def _terms(terms: Mapping[str, Any] | Place | None) -> TermsFile:
    if not isinstance(terms, Mapping):
        return read_terms(None if terms is None else Path(terms))
    try:
        return msgspec.convert(terms, TermsFile)
    except msgspec.ValidationError as error:
        raise InputError(f"terms must be the tables of a file of bounds: {error}") from error


def _check_draws(draws: int) -> None:
    if not 10 <= draws <= 10_000:
        raise InputError(f"draws must be from 10 to 10000, was {draws!r}")


def _check_ranges(price_factor: float, shade: float | None, eta: float | None) -> None:
    """The ranges of the command."""
    for name, value, low, high in (
        ("price_factor", price_factor, 0.1, 10.0),
        ("shade", shade, 0.05, 1.0),
        ("eta", eta, 1e-6, 0.1),
    ):
        if value is not None and not low <= value <= high:
            raise InputError(f"{name} must be from {low:g} to {high:g}, was {value!r}")
