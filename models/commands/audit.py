"""`clearbid models audit`: is this table fit to learn from?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.commands.options import Features, Json, Page, TableFile
from models.commands.progress import bars

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.audit.findings import Audit

_TONES = {"block": "bold red", "care": "yellow", "note": "dim"}


def audit(
    table: TableFile,
    features: Features = None,
    serve: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE", help="What is served, to compare with; else the last 15 % of the rows."
        ),
    ] = None,
    page: Page = None,
    json: Json = False,
) -> None:
    """Say whether a table is fit to learn from, and why not. The exit code is 1 where it is not ready."""
    from models.audit.audit import audit_table
    from models.audit.page import render
    from models.pages.write import check_page, write_page
    from models.schema import DEFAULT_DECLARATIONS, load_declarations

    check_page(page)
    declarations = load_declarations(features) if features else DEFAULT_DECLARATIONS
    with bars(quiet=json) as progress:
        found = audit_table(
            table, declarations, serve=serve, progress=lambda done, total: progress("columns", done, total)
        )
    if page is not None:
        write_page(page, render(found))
    _print(found, page, json=json)
    if found.verdict == "not ready":
        raise typer.Exit(1)


def _print(found: "Audit", page: Path | None, *, json: bool) -> None:
    import msgspec

    if json:
        report = {"verdict": found.verdict, **msgspec.to_builtins(found)}
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    from rich.console import Console

    from models.audit.page import sentence

    Console().print(sentence(found), _findings(found), _columns(found))
    if page is not None:
        sys.stdout.write(f"Page: {page}\n")


def _findings(found: "Audit") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    if not found.findings:
        return ""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("", "Where", "Found", "What to do"):
        table.add_column(head, overflow="fold")
    for place, one in enumerate(found.findings, start=1):
        where = f"{one.check}: {one.column}" if one.column else one.check
        table.add_row(f"{place} {one.severity}", where, one.said, one.do, style=_TONES[one.severity])
    return table


def _columns(found: "Audit") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from models.pages import text

    caption = f"PSI and unseen: against {found.other}" if found.other else None
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=caption)
    table.add_column("Feature", no_wrap=True)
    for head in ("Missing", "Distinct", "Rare", "AUC alone", "PSI", "Unseen"):
        table.add_column(head, justify="right")
    for one in found.columns:
        table.add_row(
            one.name,
            text.percent(one.missing),
            text.count(one.distinct),
            text.percent(one.rare),
            text.ratio(one.auc, 3),
            text.ratio(one.psi, 3),
            text.percent(one.unseen),
        )
    return table
