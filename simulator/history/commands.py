"""`clearbid history`: any log as a canonical history, for replays, estimates and forecasts."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.bar import progress_bar

if TYPE_CHECKING:
    from simulator.history.convert import Converted

_MOST_CAMPAIGNS = 20
"""Campaigns that are printed; the JSON object has all."""
_PRICES = {"exact": "known", "above": "above our bid", "at_most": "at most our bid", "unknown": "not known"}
"""What is known of the price to beat, in words."""


def history(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A run's folder, iPinYou season logs or Parquet files, an OpenRTB log (.jsonl), any CSV or Parquet "
            "with --mapping, or `sample`: four weeks of a synthetic market.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The history to write, .parquet.", show_default=False)
    ],
    mapping: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file that says which column of a table is what; simulator/README.md has one to start from.",
        ),
    ] = None,
    log_source: Annotated[
        list[str] | None,
        typer.Option(
            "--log-source", metavar="NAME", help="Of an iPinYou Parquet file; again for each, or `all`."
        ),
    ] = None,
    currency: Annotated[str, typer.Option(metavar="CODE", help="Of an OpenRTB log.")] = "USD",
    wait: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1.0, help="For results in an OpenRTB log; then a bid has lost."),
    ] = 3_600.0,
    with_requests: Annotated[
        bool,
        typer.Option("--with-requests", help="Keep the bodies of requests: they may say things of people."),
    ] = False,
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The decision log of a run, if it is elsewhere.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="FILE", help="The bank's database of a run, if it is elsewhere."),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=1_000, max=100_000_000, metavar="N", help="Opportunities of the sample.")
    ] = 120_000,
    days: Annotated[float, typer.Option(min=0.1, max=366, metavar="DAYS", help="Of the sample.")] = 28.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the sample.")] = 7,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a log as a canonical history: one row an opportunity, with what was bid, won, paid and followed."""
    from simulator.history.convert import Options, convert

    options = Options(
        mapping, _sources(source, log_source), currency, wait, with_requests, db, decisions, seed, rows, days
    )  # fmt: skip
    with progress_bar("history", quiet=json) as progress:
        done = convert(source, out, options, progress=progress)
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    else:
        _print(done)


def _sources(place: Path, names: list[str] | None) -> tuple[str, ...] | None:
    if not names or names != ["all"]:
        return tuple(names) if names else None
    from simulator.history.logrows import all_sources
    from simulator.logs.ipinyou import detect

    return all_sources(detect(place))


def when(at_ns: int) -> str:
    """A time to read."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _print(done: "Converted") -> None:
    from rich.console import Console
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    rate = done.rows / done.seconds if done.seconds else 0.0
    kinds = ", ".join(f"{count:,} {_PRICES.get(name, name)}" for name, count in done.price_kinds.items())
    for name, value in (
        ("history", done.table),
        ("of", f"{done.source}, money in {done.currency}, times {done.clock}"),
        ("rows", f"{done.rows:,}: {done.unbid:,} without a bid, {done.open:,} open; {rate:,.0f} a second"),
        ("won", f"{done.won:,}, {done.won_share:.1%} of the bids whose result is known"),
        ("price to beat", kinds),
        ("users", f"{done.users:,} rows with a key of the user"),
        ("offers", f"{when(done.first_ns)} to {when(done.last_ns)}"),
        *(("left out", f"{n:,} {cause}{_example(done, cause)}") for cause, n in done.drops.items()),
    ):
        grid.add_row(name, value)
    console = Console()
    console.print(grid)
    console.print(_campaigns(done))


def _example(done: "Converted", cause: str) -> str:
    return f" ({done.examples[cause]})" if cause in done.examples else ""


def _campaigns(done: "Converted") -> object:
    from rich.table import Table

    from bidder.money import NANOS_PER_UNIT

    table = Table("campaign", *("rows", "won", "spend", "clicks", "conversions"), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in list(done.campaigns.items())[:_MOST_CAMPAIGNS]:
        spend = f"{one.spend_nanos / NANOS_PER_UNIT:,.2f}"
        table.add_row(name, f"{one.rows:,}", f"{one.won:,}", spend, f"{one.clicks:,}", f"{one.conversions:,}")
    if len(done.campaigns) > _MOST_CAMPAIGNS:
        table.add_row(f"and {len(done.campaigns) - _MOST_CAMPAIGNS:,} more, see --json")
    return table
