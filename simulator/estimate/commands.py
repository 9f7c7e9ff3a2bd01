"""`clearbid estimate`: what budgets would have brought, from a history, with intervals."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.estimate.asking import Asked
    from simulator.estimate.report import Report


def estimate(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="History, .parquet.", show_default=False)],
    campaign: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Campaign; again for each. All of the history by default.", show_default=False
        ),
    ] = None,
    budgets: Annotated[
        str, typer.Option(metavar="SHARES", help="Budgets as shares of what the log spent.")
    ] = ".5,1,2",
    scales: Annotated[
        str,
        typer.Option(metavar="FACTORS", help="Logged bids times these, without a budget, such as .8,1.2."),
    ] = "",
    by: Annotated[
        str, typer.Option(metavar="LEVELS", help="Strata of prices: placement, prediction, hour.")
    ] = "placement",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Bid for these auctions alone; again for each column."),
    ] = None,
    groups: Annotated[
        str, typer.Option(metavar="NAME", help="What the bootstrap draws: user, block (15 min) or auto.")
    ] = "auto",
    draws: Annotated[int, typer.Option(min=10, metavar="N", help="Draws of the bootstrap.")] = 100,
    imputations: Annotated[
        int, typer.Option(min=1, metavar="N", help="Draws of hidden prices for the point.")
    ] = 4,
    cap: Annotated[float | None, typer.Option(min=0.0, metavar="CPM", help="Highest bid.")] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything that is drawn.")] = 1,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = 1,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Curves with all draws, .parquet.")] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML page; of the first campaign.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each campaign.")] = False,
) -> None:
    """Estimate what budgets would have brought: spend, clicks, conversions, value, ROI, with 95 % intervals.

    Exit code 1 where every question of a campaign is beyond what its log can tell.
    """
    from rich.console import Console

    from bidder.errors import InputError
    from models.pages.write import check_page, write_page
    from simulator.estimate.asking import ask, checked_only, numbers_of
    from simulator.estimate.curves import write_curves
    from simulator.estimate.page import render
    from simulator.estimate.report import json_object, print_report
    from simulator.history.loading import campaigns_in
    from simulator.history.schema import SCHEMA

    if groups not in ("auto", "user", "block"):
        raise InputError(f"--groups must be auto, user or block, was {groups}")
    check_page(page)
    shares, factors = numbers_of(budgets, "--budgets"), numbers_of(scales, "--scales")
    filters = checked_only(only or (), SCHEMA.names)
    found: list[Report] = []
    for name in campaign or campaigns_in(log):
        asked = ask(
            log, name, budgets=shares, scales=factors, by=[level for level in by.split(",") if level],
            only=filters, cap_nanos=None if cap is None else round(cap * 1e6),
        )  # fmt: skip
        found.append(report_of(asked, draws, imputations, seed, groups, workers))
    if out is not None:
        write_curves(out, [one.estimates for one in found])
    if page is not None:
        write_page(page, render(found[0]))
    for one in found:
        if json:
            sys.stdout.write(json_object(one).decode() + "\n")
        else:
            print_report(one, Console())
    empty = any(all(point.refused for point in one.estimates.points) for one in found)
    raise typer.Exit(1 if empty else 0)


def report_of(asked: "Asked", draws: int, imputations: int, seed: int, groups: str, workers: int) -> "Report":
    """All that is told of what was asked."""
    import numpy as np

    from simulator.estimate.doubly import doubly_check
    from simulator.estimate.estimate import estimate as estimated
    from simulator.estimate.report import Report, notes_of

    study = asked.study
    found = estimated(
        study, asked.scenarios, draws=draws, imputations=imputations, seed=seed, by=groups, workers=workers
    )
    lot = study.lot(np.ones(study.log.opportunities), seed)
    checks = [
        doubly_check(study, lot, point.budget_nanos)
        for point in found.points
        if point.refused is None and point.budget_nanos is not None
    ]
    kept = tuple(check for check in checks if check is not None)
    return Report(asked.source, asked.currency, found, kept, notes_of(wins_only=asked.wins_only))
