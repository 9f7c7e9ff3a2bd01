"""`clearbid estimate`: what budgets would have brought, from a history, with intervals."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.estimate.asking import Asked
    from simulator.estimate.report import Report


def estimate(
    history: Annotated[
        Path, typer.Argument(metavar="HISTORY", help="Made by `clearbid history`.", show_default=False)
    ],
    campaign: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Campaign; again for each. All of the history by default.", show_default=False
        ),
    ] = None,
    budget_shares: Annotated[
        str,
        typer.Option(
            metavar="SHARES",
            help="Budgets as shares of what each campaign spent: 1 is all of it, 2 twice that.",
        ),
    ] = ".5,1,2",
    bid_factors: Annotated[
        str,
        typer.Option(metavar="FACTORS", help="Logged bids times these, without a budget, such as .8,1.2."),
    ] = "",
    max_bid: Annotated[
        str,
        typer.Option(
            metavar="CPM",
            help="Highest bid, money for 1,000 impressions; by default four times the highest logged.",
        ),
    ] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=A,B",
            help="Bid for these auctions alone; != for all others; again for each condition.",
            show_default=False,
        ),
    ] = None,
    strata: Annotated[
        str,
        typer.Option(metavar="LEVELS", help="What prices are told apart by: placement, prediction, hour."),
    ] = "placement",
    resample: Annotated[
        str,
        typer.Option(metavar="UNIT", help="What intervals draw again: user, block (15 minutes) or auto."),
    ] = "auto",
    draws: Annotated[int, typer.Option(min=10, metavar="N", help="Draws that intervals are made of.")] = 100,
    imputations: Annotated[
        int, typer.Option(min=1, metavar="N", help="Draws of hidden prices for the estimate itself.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything that is drawn.")] = 1,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write curves with all draws, .parquet, for `clearbid allocate`.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an HTML page.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Estimate what budgets would have brought: spend, clicks, conversions, value, ROI, with 95 % intervals.

    ROI is (value - spend) / spend.

    Exit code 1 where every question of a campaign is beyond what its log can tell.
    """
    from rich.console import Console

    from bidder.errors import InputError
    from models.pages.write import check_page, write_page
    from simulator.estimate.asking import ask, numbers_of
    from simulator.estimate.curves import write_curves
    from simulator.estimate.page import render
    from simulator.estimate.report import json_object, print_report
    from simulator.history.loading import campaigns_in
    from simulator.reading import check_out, one_amount

    if resample not in ("auto", "user", "block"):
        raise InputError(f"--resample must be auto, user or block, was {resample}")
    check_page(page)
    check_out(out, "--out")
    shares = numbers_of(budget_shares, "--budget-shares")
    factors = numbers_of(bid_factors, "--bid-factors")
    if not shares and not factors:
        raise InputError("an estimate must be asked something: give --budget-shares or --bid-factors")
    max_bid_nanos = one_amount(max_bid, "--max-bid", 10**6)
    found: list[Report] = []
    for name in campaign or campaigns_in(history):
        asked = ask(
            history, name, budget_shares=shares, bid_factors=factors, where=where or (),
            strata=[level for level in strata.split(",") if level], max_bid_nanos=max_bid_nanos,
        )  # fmt: skip
        found.append(report_of(asked, draws, imputations, seed, resample, workers))
    if out is not None:
        write_curves(out, [one.estimates for one in found])
    if page is not None:
        write_page(page, render(found))
    if json:
        sys.stdout.write(json_object(found).decode() + "\n")
    else:
        print_report(found, Console())
        if page is not None:
            sys.stdout.write(f"Page: {page}\n")
    empty = any(all(point.refused for point in one.estimates.points) for one in found)
    raise typer.Exit(1 if empty else 0)


def report_of(
    asked: "Asked", draws: int, imputations: int, seed: int, resample: str, workers: int
) -> "Report":
    """All that is told of what was asked."""
    import numpy as np

    from simulator.estimate.doubly import doubly_check
    from simulator.estimate.estimate import estimate as estimated
    from simulator.estimate.report import Report, notes_of

    study = asked.study
    found = estimated(
        study, asked.scenarios, draws=draws, imputations=imputations, seed=seed, by=resample, workers=workers
    )
    lot = study.lot(np.ones(study.log.opportunities), seed)
    checks = [
        doubly_check(study, lot, point.budget_nanos)
        for point in found.points
        if point.refused is None and point.budget_nanos is not None
    ]
    kept = tuple(check for check in checks if check is not None)
    return Report(asked.source, asked.currency, found, kept, notes_of(wins_only=asked.wins_only))
