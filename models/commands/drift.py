"""`clearbid models drift`: whether fresh rows are of the kind that a model learned from."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.commands.options import Json, Page

if TYPE_CHECKING:
    from models.dataset import TrainingTable
    from models.renewal.drift import DriftReport
    from models.scorer import Scorer


def drift(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Directory of a model, or a registry.", show_default=False),
    ],
    table: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="Fresh rows: a table, or a quoted pattern.", show_default=False),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE", help="What it learned from; default: the rows of TABLE up to its window's end."
        ),
    ] = None,
    page: Page = None,
    json: Json = False,
) -> None:
    """Compare fresh rows with those of the training window: exit code 1 where there is an alarm."""
    from models.artifact import load_bundle
    from models.pages.write import check_page, write_page
    from models.renewal.drift import drift_of
    from models.renewal.page import drift_page
    from models.scorer import Scorer

    check_page(page)
    scorer = Scorer(load_bundle(directory))
    before, fresh = _sides(scorer, table, reference)
    report = drift_of(scorer, before, fresh)
    if page is not None:
        write_page(page, drift_page(report, scorer.bundle.hash))
    if json:
        import msgspec

        found: dict[str, Any] = {
            "model": scorer.bundle.hash,
            "alarms": report.alarms,
            **msgspec.to_builtins(report),
        }
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _print(report)
        if page is not None:
            typer.echo(f"Page: {page}")
    raise typer.Exit(1 if report.alarms else 0)


def _sides(scorer: "Scorer", table: str, reference: str | None) -> tuple["TrainingTable", "TrainingTable"]:
    """Reference and fresh rows."""
    from models.errors import TableError
    from models.registry.schema import goal_of
    from models.renewal.tables import between, read_tables

    wanted, goal = scorer.bundle.spec.declarations(), goal_of(scorer.bundle.manifest)
    rows = read_tables(table, wanted, goal=goal)
    if reference is not None:
        return read_tables(reference, wanted, goal=goal), rows
    begin_ns, end_ns = scorer.bundle.manifest.window_ns
    before, fresh = between(rows, begin_ns, end_ns + 1), between(rows, end_ns + 1, 2**63 - 1)
    if not len(before) or not len(fresh):
        raise TableError(
            f"table {rows.source} must have rows in the model's training window and rows after it, has {len(before)} "
            f"and {len(fresh)}: name what it learned from with --reference"
        )
    return before, fresh


def _print(report: "DriftReport") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from models.pages.text import counted

    table = Table(
        title=f"{counted(report.rows[1], 'fresh row')} against {report.rows[0]:,}",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("feature", no_wrap=True)
    for head in ("PSI", "limit", "KS", "limit"):
        table.add_column(head, justify="right")
    table.add_column("")
    shifts = sorted((*report.features, *report.predictions), key=lambda one: -one.psi)
    for one in shifts:
        numbers = (one.psi, one.psi_limit, one.ks, one.ks_limit)
        table.add_row(one.name, *("-" if value is None else f"{value:.3f}" for value in numbers), one.level)
    console = Console()
    console.print(table)
    for part in report.calibration:
        console.print(f"{part.name}: {part.words}, {part.level}", highlight=False)
    for words in report.alarms:
        console.print(f"alarm: {words}", highlight=False, markup=False)
    if not report.alarms:
        console.print("no alarm")
