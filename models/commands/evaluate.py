"""`clearbid models evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.commands.options import Json, Model, Page, TableFile
from models.commands.progress import bars

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.evaluation.intervals import Interval
    from models.evaluation.report import Evaluation
    from models.evaluation.slices import ColumnReport

_HEADS = (
    "in brackets 95 % intervals; NE: normalized entropy, below 1 is better than the average rate; sum p/y: events "
    "predicted over events that happened; ECE: expected calibration error, and what chance alone would make it"
)
_SETTLED = "; settled: clicks that were watched for as long as conversions may take"


def evaluate(
    directory: Model,
    table: TableFile,
    by: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Columns to judge by part, joined by commas.")
    ] = "",
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of groups to be compared for fairness.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Older model to compare with, on the same rows.")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Only rows that the models can not have learned from.")
    ] = False,
    page: Page = None,
    draws: Annotated[
        int, typer.Option(metavar="N", min=50, max=10_000, help="Draws of the bootstrap.")
    ] = 200,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the draws.")] = 1,
    json: Json = False,
) -> None:
    """Judge a trained model by a table: how well, how surely, where and for whom."""
    from models.evaluation.report import Wishes, evaluate_bundle
    from models.pages.write import check_page, write_page

    columns = tuple(dict.fromkeys(name.strip() for name in by.split(",") if name.strip()))
    wishes = Wishes(columns, group, against, held_out, draws, seed)
    check_page(page)
    with bars(quiet=json) as progress:
        found = evaluate_bundle(directory, table, wishes, progress)
    for warning in found.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    if page is not None:
        from models.evaluation.page import render

        write_page(page, render(found))
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    _print(found)
    if page is not None:
        typer.echo(f"Page: {page}")


def _print(found: "Evaluation") -> None:
    from rich.console import Console
    from rich.markup import escape

    from models.evaluation.words import comparison_said, sentence, verdict

    console = Console()
    said, good = verdict(found)
    console.print(escape(sentence(found)), style="bold", highlight=False)
    console.print(escape(said), style="green" if good else "red", highlight=False)
    console.print(_models(found))
    for name, model in found.models.items():
        if model.against is not None:
            console.print(f"{name}: {comparison_said(name, model.against)}", highlight=False)
        for column in model.columns:
            console.print(_column(name, column))
    if found.fairness is not None:
        console.print(_groups(found))
        for limit in found.fairness.limits:
            console.print(f"- {limit}", highlight=False)


def _models(found: "Evaluation") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from models.evaluation.words import shown, window_said
    from models.pages.text import DASH, count

    table = Table(
        title=f"{found.table}, {window_said(found)}",
        caption=_HEADS + (_SETTLED if found.labels == "settled" and "cvr" in found.models else ""),
        pad_edge=False,
        box=SIMPLE_HEAD,
        title_style="",
    )
    for head in ("", *found.models):
        kind = f" {found.labels}" if head == "cvr" and found.labels != "complete" else ""
        table.add_column(f"{head}{kind}", justify="right" if head else "left", no_wrap=True)
    judged = [model.judged for model in found.models.values()]
    chance = (DASH if each.ece_by_chance is None else f"{each.ece_by_chance:.4f}" for each in judged)
    table.add_row("rows", *(count(each.rows) for each in judged))
    table.add_row("positives", *(count(each.positives) for each in judged))
    for head, name, decimals in (
        ("AUC", "auc", 4),
        ("log loss", "log_loss", 4),
        ("NE", "normalized_entropy", 4),
        ("sum p/y", "calibration_ratio", 3),
        ("ECE", "ece", 4),
    ):
        table.add_row(head, *(shown(getattr(each, name), decimals) for each in judged))
    table.add_row("ECE by chance", *chance)
    return table


def _column(model: str, column: "ColumnReport") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from models.evaluation.words import off_said, shown
    from models.pages.text import count, percent

    caption = f"{off_said([column])} (false discoveries at most 5 %)"
    if column.overlapping:
        caption += "; a row may be in several parts"
    table = Table(
        title=f"{model} by {escape(column.column)}", caption=caption, pad_edge=False, box=SIMPLE_HEAD
    )
    table.add_column("", overflow="fold")
    for head in ("rows", "pos.", "rate", "AUC", "NE", "sum p/y", "off"):
        table.add_column(head, justify="right", no_wrap=True)
    for part in column.slices:
        judged = part.judged
        table.add_row(
            escape(part.label),
            count(judged.rows),
            count(judged.positives),
            percent(judged.rate.value, 2),
            _plain(judged.auc),
            _plain(judged.normalized_entropy),
            shown(judged.calibration_ratio, 2),
            "off" if part.flagged else "not tested" if part.p_value is None else "no",
        )
    return table


def _groups(found: "Evaluation") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from models.evaluation.words import shown
    from models.pages.text import count

    assert found.fairness is not None
    table = Table(title=f"groups of {escape(found.fairness.column)}", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for head in ("shown", "of shown", "of bids", "of spend", "CTR / all", "pCTR / all", "sum p/y", "off"):
        table.add_column(head, justify="right", no_wrap=head == "sum p/y")
    for group in found.fairness.groups:
        table.add_row(
            escape(group.label),
            count(group.impressions),
            *(_share(each) for each in (group.impression_share, group.bid_share, group.spend_share)),
            _plain(group.actual_ratio),
            _plain(group.predicted_ratio),
            shown(group.calibration_ratio, 2),
            "off" if group.label in found.fairness.flagged else "",
        )
    return table


def _plain(interval: "Interval") -> str:
    """Without its interval, which a terminal has no room for: the page and `--json` have it."""
    from models.pages.text import DASH

    return DASH if interval.value is None else f"{interval.value:.2f}"


def _share(interval: "Interval | None") -> str:
    from models.pages.text import percent

    return percent(interval.value if interval else None)
