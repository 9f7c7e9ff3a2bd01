"""`clearbid sweep`: a campaign's past with many settings."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.bar import progress_bar
from simulator.named import named

if TYPE_CHECKING:
    from simulator.sweep.run import Swept

SHOWN = 20


def sweep(
    history: Annotated[
        Path, typer.Argument(metavar="HISTORY", help="Made by `clearbid history`.", show_default=False)
    ],
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="SETTING=VALUES",
            help="budget=10,20,40, max_bid=1:10:5 or, with --random, max_bid=1:10; of budget, max_bid, worth, "
            "price_factor, shade, eta. Points of a range are spread by ratio: 1:25:3 is 1, 5, 25. Again for each.",
            show_default=False,
        ),
    ],
    campaign: Annotated[
        str, typer.Option(metavar="ID", help="Whose past it is; the largest campaign by default.")
    ] = "",
    budget: Annotated[
        str,
        typer.Option(
            metavar="AMOUNT",
            help="Budget where it is not varied, units of the account; by default what was spent.",
        ),
    ] = "",
    random: Annotated[
        int, typer.Option(min=0, max=100_000, metavar="N", help="So many random points instead of a grid.")
    ] = 0,
    order: Annotated[
        str, typer.Option(metavar="FIGURE", help="Best first by surplus, value, clicks, conversions or roi.")
    ] = "surplus",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything that is drawn.")] = 7,
    draws: Annotated[
        int, typer.Option(min=2, max=1_000, metavar="N", help="Draws that intervals are made of.")
    ] = 20,
    workers: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Processes.")] = 1,
    dask: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Scheduler of a Dask cluster, tcp://HOST:PORT.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all points, .parquet.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Sweep settings over a past: prices and outcomes are drawn once, and then played with every point."""
    import msgspec

    from simulator.forecast.asked import controller_of
    from simulator.history.loading import campaigns_in, load_auctions
    from simulator.reading import check_out, one_amount
    from simulator.sweep.backends import backend_of
    from simulator.sweep.run import sweep as swept
    from simulator.sweep.space import axis_of, grid, random_points
    from simulator.sweep.table import write_sweep

    check_out(out, "--out")
    axes = [axis_of(text) for text in vary]
    points = random_points(axes, random, seed) if random else grid(axes)
    name = campaign or campaigns_in(history)[0]
    log = load_auctions(history, name)
    budget_nanos = one_amount(budget, "--budget", 10**9)
    with progress_bar("draws", quiet=json) as progress:
        found = swept(
            log,
            controller_of(log, int(log.bid_nanos.max())),
            budget_nanos or int(log.paid_nanos.sum()),
            points,
            seed=seed,
            draws=draws,
            order=order,
            backend=backend_of(workers, dask),
            progress=progress,
        )
    if out is not None:
        write_sweep(out, found)
    if json:
        said = {
            "campaign": name,
            "seed": seed,
            "draws": draws,
            "order": order,
            "points": [named(row) for row in found],
        }
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        return
    _print(name, found)
    if out is not None:
        sys.stdout.write(f"All {len(found)} points: {out}\n")


def _print(name: str, found: "list[Swept]") -> None:
    from rich.console import Console
    from rich.table import Table

    from models.pages.text import count
    from simulator.report.text import money, roi_text

    console = Console()
    console.print(f"{name}: {len(found)} points, the best first; surplus is value less spend")
    grid = Table(box=None, pad_edge=False)
    for setting in found[0].point:
        grid.add_column(setting.replace("_", " "), justify="right", overflow="fold")
    for column in ("spend", "clicks", "conversions", "value", "surplus (95 %)", "ROI"):
        grid.add_column(column, justify="right", overflow="fold")
    for row in found[:SHOWN]:
        gain = row.surplus_nanos
        grid.add_row(
            *(f"{value:g}" for value in row.point.values()),
            money(round(row.spend_nanos.point or 0)),
            count(round(row.clicks.point or 0)),
            count(round(row.conversions.point or 0)),
            money(round(row.value_nanos.point or 0)),
            f"{money(round(gain.point or 0))} ({money(round(gain.low or 0))} to {money(round(gain.high or 0))})",
            roi_text(row.roi),
            style=None if row.refused is None else "dim",
        )
    console.print(grid)
    beyond = sum(row.refused is not None for row in found)
    if beyond:
        console.print(
            f"{beyond} points, dimmed and last, bid beyond what the log can tell: {found[-1].refused}"
        )
