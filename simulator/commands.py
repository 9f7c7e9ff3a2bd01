"""The simulator's commands, and of them `clearbid export`: the bids of a run as a training table."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import ConfigOption

if TYPE_CHECKING:
    from simulator.export.run import Exported, Progress

_LEFT_OUT = {
    "lost": "lost: --with-lost keeps them",
    "open": "not settled when the books end",
    "unshown": "won, but never billed or shown",
    "no_body": "request not in the journal at that time",
    "unlike": "request in the journal gives another floor",
    "no_campaign": "campaign not in the journal",
    "test": "on test traffic",
    "unreadable": "lines of the decision log that cannot be read",
}
"""Why bids are no rows of an export."""


def register(app: typer.Typer) -> None:
    """Adds the commands of the simulator."""
    from simulator.estimate.commands import estimate
    from simulator.faults.commands import faults
    from simulator.history.commands import history
    from simulator.quality.commands import quality
    from simulator.replay_commands import parity, replay
    from simulator.worlds.commands import worlds

    app.command()(replay)
    app.command()(parity)
    app.command()(export)
    app.command()(history)
    app.command()(estimate)
    app.command()(faults)
    app.command()(quality)
    app.command()(worlds)


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run: journals, decisions.jsonl and clearbid.db.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The table to write, .parquet.", show_default=False)
    ],
    with_lost: Annotated[
        bool, typer.Option("--with-lost", help="Bids that lost are rows too, with `won` 0.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Bids from then on, such as 2026-05-01T12:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Bids before then.")] = None,
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The decision log, if it is elsewhere.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option(
            "--db",
            metavar="FILE",
            help="The bank's database, if it is elsewhere: a file, or a postgresql:// URL; else clearbid.db of the "
            "run, else store.url of the configuration.",
        ),
    ] = None,
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the bids of a run as a training table: what the bidder saw of each, and what became of it."""
    from bidder.cli.sample import instant_of
    from bidder.errors import InputError
    from simulator.export.decisions import FAR_NS
    from simulator.export.run import export_run, source_of

    since_ns = instant_of(since, "--since") if since is not None else 0
    until_ns = instant_of(until, "--until") if until is not None else FAR_NS
    if since_ns >= until_ns:
        raise InputError(f"--since must be before --until, was {since}, and {until}")
    source = source_of(run, decisions, _store_of(run, db, config))
    with _bar(quiet=json) as progress:
        done = export_run(
            source, out, with_lost=with_lost, since_ns=since_ns, until_ns=until_ns, progress=progress
        )
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    else:
        _print_export(done)


def _store_of(run: Path, db: str | None, config: Path | None) -> str | None:
    """Of the database that is not the run's own: one that is named, else one at the URL of the configuration."""
    from bidder.cli.options import configured
    from simulator.export.run import DATABASE

    if db is not None:
        return configured(config, db=db).store.place
    return None if (run / DATABASE).exists() else configured(config).store.url


@contextmanager
def _bar(*, quiet: bool) -> "Iterator[Progress]":
    """How much of the journals is read, on standard error, so that what is printed can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bars:
        task = bars.add_task("journal", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _print_export(done: "Exported") -> None:
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.table import Table

    def when(at_ns: int) -> str:
        return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")

    grid = Table.grid(padding=(0, 2))
    rate = done.rows / done.seconds if done.seconds else 0.0
    for name, value in (
        ("table", done.table),
        (
            "rows",
            f"{done.rows:,}: {done.impressions:,} impressions, {done.lost:,} lost bids; {rate:,.0f} a second",
        ),
        ("outcomes", f"{done.clicks:,} clicks, {done.conversions:,} conversions after one"),
        ("users", f"{done.users:,} rows with a key of the user"),
        ("bids", f"{when(done.first_ns)} to {when(done.last_ns)} UTC"),
        ("known until", f"{when(done.known_until_ns)} UTC, the last booking"),
        ("models", ", ".join(f"{name} ({count:,} rows)" for name, count in done.models.items())),
        ("always null", ", ".join(done.always_null)),
        *(("left out", f"{count:,} {_LEFT_OUT[name]}") for name, count in done.left_out.items()),
        *(("torn end", f"{name}: what is whole before it was read") for name in done.truncated),
    ):
        grid.add_row(name, value)
    Console().print(grid)
