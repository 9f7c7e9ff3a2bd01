"""`clearbid worlds`: estimates judged by markets whose truth is known, and by halves of real campaigns."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from simulator.worlds.halves import Half
    from simulator.worlds.proof import Row


def worlds(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="A line for each world; a stopped run goes on there.")
    ] = Path("worlds.jsonl"),
    sound: Annotated[
        int, typer.Option("--worlds", min=0, metavar="N", help="Worlds that keep the assumptions.")
    ] = 402,
    controls: Annotated[int, typer.Option(min=0, metavar="N", help="Worlds of each negative control.")] = 40,
    breaking: Annotated[
        int, typer.Option(min=0, metavar="N", help="Worlds of each kind that breaks an assumption.")
    ] = 40,
    auctions: Annotated[int, typer.Option(min=2_000, metavar="N", help="Of each world.")] = 50_000,
    draws: Annotated[int, typer.Option(min=10, metavar="N", help="Of each bootstrap.")] = 40,
    log: Annotated[
        Path | None, typer.Option(metavar="PARQUET", help="iPinYou auctions, for halves of real campaigns.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the first world.")] = 20_000,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge estimates by worlds with known truth: bias and coverage, negative controls, broken assumptions.

    Figures of one seed are the same whatever the number of processes.
    """
    import msgspec
    from rich.console import Console

    from simulator.quality.series import log_series
    from simulator.worlds.halves import halves
    from simulator.worlds.proof import plan_of, rows_of, run

    console = Console(stderr=True)
    plan = plan_of(sound, controls, breaking, seed)
    lines = run(
        out, plan, draws=draws, auctions=auctions, workers=workers, tell=None if json else console.print
    )
    rows = rows_of(lines, together=True) + [row for row in rows_of(lines, together=False) if not row.control]
    real = halves(log_series(log), seed=seed, draws=draws) if log is not None else []
    if json:
        told = {
            "rows": rows,
            "halves": [msgspec.structs.asdict(half) | {"inside": half.inside} for half in real],
        }
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    else:
        print_rows(rows, Console())
        print_halves(real, Console())


def print_rows(rows: "list[Row]", console: "Console") -> None:
    """Bias, its error and coverage, a line for each measure at each share of the budget."""
    from rich.table import Table

    table = Table("worlds", "budget", "measure", "number", "bias", "without luck", "covered", "half-width")
    for row in dict.fromkeys(rows):
        table.add_row(
            f"{row.recipe} {row.control}".strip(), f"x {row.share:g}", row.measure, str(row.worlds),
            f"{row.bias:+.2%} +- {row.error:.2%}", f"{row.steady:+.2%} +- {row.steady_error:.2%}",
            f"{row.covered:.1%}", f"{row.width:.1%}",
        )  # fmt: skip
    console.print(table)


def print_halves(rows: "list[Half]", console: "Console") -> None:
    """What one half of a campaign let expect, beside the other."""
    from rich.table import Table

    if not rows:
        return
    table = Table("campaign", "halves by", "budget", "expected clicks", "shown", "inside")
    for row in rows:
        table.add_row(
            row.campaign, row.split, f"x {row.share:g}", f"{row.clicks:.1f} ({row.low:.1f} to {row.high:.1f})",
            f"{row.shown:.0f}", "refused" if row.refused else "yes" if row.inside else "no",
        )  # fmt: skip
    console.print(table)
