"""`clearbid forecast`: what a future flight would bring, from a campaign's history."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.bar import progress_bar
from simulator.named import named


def forecast(
    history: Annotated[
        Path, typer.Argument(metavar="HISTORY", help="Made by `clearbid history`.", show_default=False)
    ],
    campaign: Annotated[
        str, typer.Option(metavar="ID", help="Whose traffic it is; the largest campaign by default.")
    ] = "",
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Begin of the flight, such as 2026-12-01T00:00:00Z; by default the first whole hour after the "
            "history.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[
        float, typer.Option(min=0.05, max=366, metavar="DAYS", help="Length of the flight.")
    ] = 7.0,
    budgets: Annotated[
        str,
        typer.Option(
            metavar="AMOUNTS",
            help="Budgets in units of the account, 100,200; by default what as long a time cost at the end.",
        ),
    ] = "",
    max_bids: Annotated[
        str,
        typer.Option(
            "--max-bids", metavar="CPMS", help="Highest bids, 2.5,5; by default the highest logged."
        ),
    ] = "",
    frequency_cap: Annotated[
        int,
        typer.Option(
            min=0, max=10_000, metavar="N", help="Most impressions of a user in the flight, 0 for no cap."
        ),
    ] = 0,
    zone: Annotated[
        str, typer.Option(metavar="ZONE", help="Time zone of the people who are reached.")
    ] = "UTC",
    holidays: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help='TOML with a table [holidays]: "2026-12-25" = 0.5.', show_default=False
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="COLUMN", help="Show results by group too, such as region.")
    ] = "",
    backtest: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Tries it on the last days of the history too.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything that is drawn.")] = 7,
    draws: Annotated[
        int,
        typer.Option(min=10, max=1_000, metavar="N", help="Simulated flights that figures come from."),
    ] = 40,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an HTML page.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Forecast a flight: spend, reach, clicks and whether the budget will be spent, with 95 % intervals.

    Opportunities are those that the campaign bid for: what it left alone has no prediction to bid by.
    """
    import msgspec

    from bidder.zones import instant_of
    from models.pages.write import check_page, write_page
    from simulator.forecast import asked as reading
    from simulator.forecast import flight as flights
    from simulator.forecast.backtest import DAY_NS
    from simulator.forecast.backtest import backtest as tried
    from simulator.forecast.page import render
    from simulator.forecast.said import plain, print_forecast
    from simulator.history.loading import campaigns_in, load_auctions
    from simulator.reading import amounts

    check_page(page)
    name = campaign or campaigns_in(history)[0]
    log = load_auctions(history, name)
    start_ns = instant_of(start, "--start") if start is not None else reading.hour_after(history)
    length_ns = round(days * DAY_NS)
    asked = flights.Flight(
        start_ns,
        start_ns + length_ns,
        amounts(budgets, "--budgets", 10**9) or (reading.last_spend(log, length_ns),),
        amounts(max_bids, "--max-bids", 10**6) or (int(log.bid_nanos.max()),),
        frequency_cap,
        zone,
        reading.holidays_of(holidays),
    )
    controller = reading.controller_of(log, max(asked.max_bids_nanos))
    groups = reading.grouping_of(history, name, by, log.opportunities)
    with progress_bar("simulated flights", quiet=json) as progress:
        found = flights.forecast(log, asked, controller, seed=seed, draws=draws, by=groups, progress=progress)
        test = (
            tried(log, controller, backtest, zone=zone, seed=seed, draws=draws, progress=progress)
            if backtest
            else None
        )
    if page is not None:
        write_page(page, render(found, name, test))
    if json:
        said = {
            "campaign": name,
            "seed": seed,
            "draws": draws,
            "forecast": plain(found),
            "backtest": named(test),
        }
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        return
    print_forecast(found, name, test)
    if page is not None:
        sys.stdout.write(f"Page: {page}\n")
