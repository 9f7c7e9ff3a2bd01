"""`clearbid models landscape`."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.commands.options import Json, Page, check_out, refuse_given
from models.commands.progress import bars

if TYPE_CHECKING:
    from models.dataset import TrainingTable
    from models.landscape.curves import Landscape
    from models.landscape.measure import LaterRows
    from models.landscape.observations import Observations
    from models.landscape.page import Curve

_FITTED = ("by", "half_life", "shrinkage", "min_rows", "points")
"""Options that say how a new landscape is made."""

_SHOWN = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Quantiles of the bids at which the table shows a curve."""


def landscape(
    context: typer.Context,
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="Table with lost bids, .parquet or .csv.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write.", show_default=False)],
    by: Annotated[
        str,
        typer.Option(
            metavar="COLUMNS",
            help="Levels of the strata, each inside the one before: prediction, placement, hour, or columns.",
        ),
    ] = "prediction,placement,hour",
    add_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Landscape to add these rows to; it keeps its grid, strata and half-life."
        ),
    ] = None,
    half_life: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Age at which a bid counts half, such as 7d, 12h, 30m."),
    ] = None,
    shrinkage: Annotated[
        float, typer.Option(metavar="BIDS", help="Of how many bids the wider stratum speaks.")
    ] = 10.0,
    min_rows: Annotated[int, typer.Option(metavar="N", help="Fewest bids of a stratum.", min=1)] = 200,
    points: Annotated[int, typer.Option(metavar="N", help="Prices of the grid, 64 to 512.")] = 96,
    top: Annotated[
        int, typer.Option(metavar="N", help="Strata to show beside all: the largest of each level.", min=0)
    ] = 12,
    draws: Annotated[int, typer.Option(metavar="N", help="Fits for the bands.", min=10)] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the bands.")] = 1,
    page: Page = None,
    json: Json = False,
) -> None:
    """Fit how likely a bid wins and what a win costs, from won and lost bids."""
    from models.landscape.curves import check_is_new, fit_landscape, grid_of, landscape_of, shares
    from models.landscape.measure import errors_on, on_later_rows
    from models.landscape.observations import observe
    from models.landscape.page import render, shown_span
    from models.landscape.store import load_landscape, save_landscape
    from models.pages.write import check_page, write_page
    from models.spans import span_ns

    check_page(page)
    check_out(out, folder=False)
    if add_to is not None:
        refuse_given(context, _FITTED, "--add-to", "which keeps those of the landscape that is added to")
        refuse_given(
            context, ("draws", "seed"), "--add-to", "as counted rows cannot be drawn again for bands"
        )
    old = load_landscape(add_to) if add_to else None
    levels = old.strata.by if old else _levels(by)
    half_life_ns = span_ns(half_life, "--half-life") if half_life is not None else None
    rows = read_bids(table, levels)
    if old:
        check_is_new(old, rows.sha256, table)
    seen = observe(rows)
    if seen.won.all():
        from models.errors import TableError

        raise TableError(
            f"table {table} must have bids that were lost, all its rows have won = 1: every price looks low without "
            f"them; export the run again with --with-lost"
        )
    grid = old.grid if old else grid_of(seen, points)
    fit = fit_landscape(
        rows, levels, grid=grid, half_life_ns=half_life_ns, shrinkage=shrinkage, min_rows=min_rows, seen=seen
    )
    later = errors_on(rows, seen, old) if old else _later(on_later_rows, rows, seen, fit, min_rows)
    if old:
        old.counts.update(seen, old.strata.encode(rows, seen.rows))
        tables = {**old.tables, rows.sha256: rows.source}
        fit = landscape_of(old.counts, old.strata, old.shrinkage, tables)
    digest = save_landscape(out, fit)
    curves = _curves(fit, rows, seen, top=top, draws=0 if old else draws, seed=seed, quiet=json)
    if page:
        won = float((seen.won * seen.weight).sum() / seen.weight.sum())
        html = render(fit, curves, shares(seen), won, later, seen.dropped, _window(seen), shown_span(seen))
        write_page(page, html)
    _print(out, digest, fit, curves, shares(seen), later, seen, json=json)
    if page and not json:
        typer.echo(f"Page: {page}")


def read_bids(table: Path, levels: tuple[str, ...], more: tuple[Any, ...] = ()) -> "TrainingTable":
    """Reads a table with its lost bids, and the columns of the levels where it has them."""
    from models.dataset import read_table
    from models.landscape.strata import ALIASES, PREDICTION
    from models.schema import Declaration

    names = dict.fromkeys(ALIASES.get(level, level) for level in levels if level != PREDICTION)
    asked = [Declaration(name, "categorical", optional=True) for name in names]
    # A table is read by its features; hour stands for none where no level is a column.
    known = {item.name for item in more}
    wanted = [*more, *(item for item in asked if item.name not in known)]
    return read_table(table, wanted or [Declaration("hour", "categorical", optional=True)], lost=True)


def _levels(by: str) -> tuple[str, ...]:
    from models.errors import TableError

    names = tuple(name.strip() for name in by.split(",") if name.strip())
    if len(set(names)) != len(names):
        raise TableError(f"levels of --by must differ, were {by}")
    return names


def _window(seen: "Observations") -> tuple[int, int]:
    return int(seen.at_ns[0]), int(seen.at_ns[-1])


def _later(
    measure: Any, rows: "TrainingTable", seen: "Observations", fit: "Landscape", min_rows: int
) -> "LaterRows | None":
    """None where the table is too small or of one time: the curves stand, their error is not known."""
    from models.errors import TableError

    try:
        found: LaterRows = measure(rows, seen, fit, min_rows=min_rows)
    except TableError:
        return None
    return found


def _curves(
    fit: "Landscape",
    rows: "TrainingTable",
    seen: "Observations",
    *,
    top: int,
    draws: int,
    seed: int,
    quiet: bool,
) -> "list[Curve]":
    import numpy as np

    from models.landscape.measure import bands
    from models.landscape.page import Curve
    from models.landscape.strata import largest

    places = fit.strata.encode(rows, seen.rows)
    sizes = np.array([stratum.rows for stratum in fit.strata.strata])
    shown = [0, *largest(fit.strata, top)]
    # Rows that are only counted cannot be drawn again: a landscape that was added to has no bands.
    low: Any = [None] * len(shown)
    high: Any = low
    if draws:
        with bars(quiet=quiet) as tell:
            told = partial(tell, "bands")
            low, high = bands(fit, seen, places, shown, draws=draws, seed=seed, tell=told)
    return [
        Curve(
            fit.strata.name(place), int(sizes[place]), 1.0 - fit.survival[place], low[k], high[k],
            fit.expected_price[place],
        )
        for k, place in enumerate(shown)
    ]  # fmt: skip


def _print(
    out: Path,
    digest: str,
    fit: "Landscape",
    curves: "list[Curve]",
    shares: dict[str, float],
    later: "LaterRows | None",
    seen: "Observations",
    *,
    json: bool,
) -> None:
    if json:
        import msgspec

        report = {
            "path": str(out),
            "sha256": digest,
            "rows": len(seen),
            "window_ns": _window(seen),
            "shares": shares,
            "dropped": seen.dropped,
            "by": fit.strata.by,
            "strata": len(fit.strata),
            "tables": fit.tables,
            "grid_cpm_micros": fit.grid.tolist(),
            "later_rows": msgspec.to_builtins(later) if later else None,
            "curves": [
                {
                    "name": curve.name,
                    "bids": curve.bids,
                    "win_probability": curve.win_probability.tolist(),
                    "low": None if curve.low is None else curve.low.tolist(),
                    "high": None if curve.high is None else curve.high.tolist(),
                    "mean_price_cpm_micros": curve.mean_price.tolist(),
                }
                for curve in curves
            ],
        }
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    from rich.console import Console

    console = Console()
    console.print(_summary(out, digest, fit, shares, later, seen), _table(fit, curves, seen))


def _summary(
    out: Path,
    digest: str,
    fit: "Landscape",
    shares: dict[str, float],
    later: "LaterRows | None",
    seen: "Observations",
) -> Any:
    from rich.table import Table

    from models.pages.text import counted

    grid = Table.grid(padding=(0, 2))
    known = f"known {shares['exact']:.1%}, above the bid {shares['above']:.1%}, at most the bid {shares['below']:.1%}"
    error = "not measured: too few rows, or all at one time"
    if later:
        error = (
            f"win rate off by {later.mean_error:.2%} in the mean of ten groups, {later.largest_error:.2%} at most; "
            f"predicted {later.predicted:.1%}, was {later.win_rate:.1%}"
        )
        error += "" if later.kl is None else f"; KL {later.kl:.4f}"
    left_out = "; ".join(f"{count:,} {reason}" for reason, count in seen.dropped.items()) or "none"
    for name, value in (
        ("landscape", f"{out}, sha256 {digest[:12]}"),
        ("bids", f"{len(seen):,}; left out: {left_out}"),
        ("price to beat", known),
        ("tables", ", ".join(fit.tables.values())),
        (
            "strata",
            f"{counted(len(fit.strata), 'stratum', 'strata')} by {', '.join(fit.strata.by) or 'nothing'}",
        ),
        ("later rows", error),
    ):
        grid.add_row(name, value)
    return grid


def _table(fit: "Landscape", curves: "list[Curve]", seen: "Observations") -> Any:
    import numpy as np
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from models.landscape.page import cpm, shown_words

    shown = Table(
        title="chance to win by bid (CPM), and half the width of its 95% band",
        caption=shown_words(len(curves) - 1, fit),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    shown.add_column("stratum", overflow="fold")
    shown.add_column("bids", justify="right")
    quantiles = np.quantile(seen.bid_cpm_micros, _SHOWN)
    places = np.unique(np.minimum(np.searchsorted(fit.grid, quantiles), len(fit.grid) - 1)).tolist()
    for place in places:
        shown.add_column(cpm(float(fit.grid[place])), justify="right")
    for curve in curves:
        cells = (_cell(curve, place) for place in places)
        shown.add_row(curve.name, f"{curve.bids:,}", *cells)
    return shown


def _cell(curve: "Curve", place: int) -> str:
    chance = f"{curve.win_probability[place]:.1%}"
    if curve.low is None or curve.high is None:
        return chance
    return f"{chance} ±{(curve.high[place] - curve.low[place]) * 50:.1f}"
