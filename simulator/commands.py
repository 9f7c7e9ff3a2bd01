"""The simulator's commands, and of them `clearbid export` and `clearbid shading`.

`export`: the bids of a run as a training table. `shading`: what bids by the landscape save beside those held out.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import ConfigOption
from simulator.bar import progress_bar

if TYPE_CHECKING:
    from simulator.arms import Compared, Range
    from simulator.export.run import Exported

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
    from simulator.allocate.commands import allocate
    from simulator.estimate.commands import estimate
    from simulator.faults.commands import faults
    from simulator.forecast.commands import forecast
    from simulator.history.commands import history
    from simulator.quality.commands import quality
    from simulator.replay_commands import parity, replay
    from simulator.sweep.commands import sweep
    from simulator.whatif.commands import whatif
    from simulator.worlds.commands import worlds

    app.command()(sweep)
    app.command()(whatif)
    app.command()(forecast)
    app.command()(replay)
    app.command()(parity)
    app.command()(export)
    app.command()(allocate)
    app.command()(history)
    app.command()(estimate)
    app.command()(shading)
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
    with progress_bar("journal", quiet=json, as_bytes=True) as progress:
        done = export_run(
            source, out, with_lost=with_lost, since_ns=since_ns, until_ns=until_ns, progress=progress
        )
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    else:
        _print_export(done)


def shading(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run: journals, decisions.jsonl and clearbid.db.",
            show_default=False,
        ),
    ],
    block: Annotated[
        str, typer.Option(metavar="SPAN", help="Length of the bootstrap's blocks of time, such as 15m.")
    ] = "15m",
    draws: Annotated[int, typer.Option(metavar="N", help="Draws of the bootstrap.", min=100)] = 1_000,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the bootstrap.", min=0)] = 1,
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The decision log, if it is elsewhere.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option(
            "--db", metavar="FILE", help="The bank's database, if it is elsewhere: a file or a URL."
        ),
    ] = None,
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare bids by the landscape with those that were held out: cost per win and surplus, with intervals."""
    from models.spans import span_ns
    from simulator.arms import compare_run
    from simulator.export.run import source_of

    source = source_of(run, decisions, _store_of(run, db, config))
    found = compare_run(source, block_ns=span_ns(block, "--block"), draws=draws, seed=seed)
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _print_arms(found)


def _print_arms(found: "Compared") -> None:
    from rich.console import Console
    from rich.table import Table

    from bidder.money import NANOS_PER_UNIT

    def said(one: "Range", scale: float, digits: int) -> str:
        if one.value is None:
            return "-"
        text = f"{one.value * scale:,.{digits}f}"
        if one.low is None or one.high is None:
            return text
        return f"{text} ({one.low * scale:,.{digits}f} to {one.high * scale:,.{digits}f})"

    table = Table("", "by the landscape", "held out", title="first price; 95% intervals by blocks of time")
    arms = (found.landscape, found.held)
    unit, cpm = 1 / NANOS_PER_UNIT, 1e-6
    table.add_row("share of opportunities", *(f"{arm.share:.1%}" for arm in arms))
    table.add_row("bids, wins", *(f"{arm.bids:,}, {arm.wins:,}" for arm in arms))
    table.add_row("cost of a win, CPM", *(said(arm.cost_per_win_nanos, cpm, 4) for arm in arms))
    table.add_row("wins, of all traffic", *(said(arm.wins_scaled, 1.0, 0) for arm in arms))
    table.add_row("spend, of all traffic", *(said(arm.spend_scaled_nanos, unit, 4) for arm in arms))
    table.add_row("surplus, of all traffic", *(said(arm.surplus_nanos, unit, 4) for arm in arms))
    console = Console()
    console.print(table)
    console.print(
        f"a win costs {said(found.saving, 100.0, 1)} % less; surplus {said(found.gain_nanos, unit, 4)} more"
    )
    left = "; ".join(f"{count:,} {_LEFT_OUT[name]}" for name, count in found.left_out.items()) or "none"
    console.print(f"{found.blocks:,} blocks, {found.explored:,} explored bids; left out: {left}")


def _store_of(run: Path, db: str | None, config: Path | None) -> str | None:
    """Of the database that is not the run's own: one that is named, else one at the URL of the configuration."""
    from bidder.cli.options import configured
    from simulator.export.run import DATABASE

    if db is not None:
        return configured(config, db=db).store.place
    return None if (run / DATABASE).exists() else configured(config).store.url


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
