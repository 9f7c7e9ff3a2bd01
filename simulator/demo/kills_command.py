"""`clearbid kills`: real processes, killed at random moments."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from simulator.demo.kills import KillReport


def kills(
    kafka: Annotated[str, typer.Option(help="An Apache Kafka.", metavar="HOST:PORT")],
    times: Annotated[
        int, typer.Option("--kills", min=0, help="How often a process is killed.", metavar="N")
    ] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.", metavar="N")] = 7,
    rows: Annotated[
        int | None, typer.Option(min=100, help="Rows to play; else as long as the kills take.", metavar="N")
    ] = None,
    banks: Annotated[int, typer.Option(min=1, help="Bank processes.", metavar="N")] = 1,
    bidders: Annotated[int, typer.Option(min=1, help="Bidder processes, a seat each.", metavar="N")] = 2,
    trackers: Annotated[int, typer.Option(min=1, help="Tracker processes.", metavar="N")] = 2,
    store: Annotated[
        str | None,
        typer.Option(help="An empty PostgreSQL; else a SQLite in the folder of the run.", metavar="URL"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for runs.", metavar="DIR")] = Path("clearbid-kills"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object last.")] = False,
) -> None:
    """Kill bidders, trackers and banks at random moments, then compare the books with the exchange's.

    Exit code 0 only where nothing was lost, doubled or overspent.
    """
    import asyncio

    import msgspec
    from rich.console import Console

    from bidder.core.warm import warm_kernels
    from simulator.demo.commands import find_kafka, models_of, plan_arguments, plan_of, run_folder
    from simulator.demo.kills import KillSettings, run_kills, with_budgets
    from simulator.demo.live import LiveTable

    settings = KillSettings(
        kills=times, seed=seed, banks=banks, bidders=bidders, trackers=trackers, store=store
    )
    # As long as the kills take, and a while after the last.
    rows = rows or int(settings.rows_per_second * (settings.every_s * (times + 4)))
    training_rows = max(2_000, rows // 10)
    find_kafka(kafka)
    console = Console(stderr=json)
    folder = run_folder(out)
    with LiveTable(console) as table:
        plan = with_budgets(plan_of(None, rows, training_rows, seed), settings.budget_share)
        _, model = models_of(plan, folder, table)
        warm_kernels(model)  # so that no process compiles them while the others already run
    again = plan_arguments(None, rows, training_rows, seed)
    report = asyncio.run(run_kills(plan, kafka, folder, again, settings, console.print))
    _say_kills(console, report)
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    raise typer.Exit(0 if report.holds else 1)


def _say_kills(console: "Console", report: "KillReport") -> None:
    """A kill run in words."""
    from simulator.report.text import exact, money

    killed = ", ".join(f"{name} {times}" for name, times in report.kills.items())
    console.print(
        f"Killed: {killed or 'nothing'}; {report.seconds:.0f} s, {report.bids:,} bids, {report.wins:,} wins."
    )
    for line in report.own_exits:
        console.print(f"Started again: {line}")
    console.print(
        f"Spend {money(report.spend_nanos)} of {money(report.budget_nanos)}, 95 % of the budget or more in "
        f"{report.bound_campaigns} of {report.campaigns} campaigns; uncovered {exact(report.uncovered_nanos)}."
    )
    console.print(
        f"Calls without an answer: {report.unanswered}. Budgets passed: {len(report.over)}, by more than was "
        f"uncovered: {len(report.overspent)}."
    )
    for line in report.mismatches:
        console.print(f"[red]{line}[/red]")
    console.print("The books agree to the nano." if report.holds else "[red]The promise is broken.[/red]")
