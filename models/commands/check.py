"""`clearbid models check`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.commands.options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.check import Report
    from models.needs import TextCheck

_SHOWN_NEEDS = 12


def check(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="LightGBM model text, or directory of a model.", show_default=False
        ),
    ],
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TABLE]", help="Rows to compare on too, .parquet or .csv.", show_default=False
        ),
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Features of a LightGBM text: a model's spec.json.")
    ] = None,
    json: Json = False,
) -> None:
    """Say whether a model could bid: needs, bits, speed against LightGBM. The exit code is 1 where it could not."""
    from models.check import check_file

    if json:
        report = check_file(file, table=table, spec=spec)
    else:
        from rich.console import Console

        with Console(stderr=True).status("") as status:
            report = check_file(file, table=table, spec=spec, progress=status.update)
    _print(report, json=json)
    if not report.fits:
        raise typer.Exit(1)


def _print(report: "Report", *, json: bool) -> None:
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    from rich.console import Console

    console = Console()
    console.print(_summary(report))
    if report.speeds:
        console.print(_speeds(report))


def _summary(report: "Report") -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    from models.pages.text import counted

    grid = Table.grid(padding=(0, 2))
    rows = [("model", f"{report.path} ({report.kind})")]
    rows.append(("verdict", "fits" if report.fits else "does not fit"))
    rows += [("fault", fault) for fault in report.faults]
    rows += [(one.name, _text(one)) for one in report.models]
    if all(one.read for one in report.models):
        rows.append(("needs", _needs(report)))
    if report.rows:
        rows.append(("compiled", f"{report.table_bytes / 1e6:,.1f} MB"))
        found = f"{report.differing:,} of {counted(report.rows, 'row')} differ in a bit"
        rows.append(("LightGBM", f"{found}, by at most {report.largest_difference:g} ({report.rows_from})"))
    rows += [("note", note) for note in report.notes]
    for name, value in rows:
        style = "red" if name == "fault" or (name == "verdict" and not report.fits) else ""
        grid.add_row(name, Text(value, style=style))
    return grid


def _text(one: "TextCheck") -> str:
    from models.pages.text import counted

    if not one.read:
        return "not read to its end"
    size = counted(one.trees, "tree") + (
        f" of at most {counted(one.leaves, 'leaf', 'leaves')}" if one.leaves else ""
    )
    return f"{size}, {counted(one.features, 'feature')}, {one.objective}; its raw score is the {one.output}"


def _needs(report: "Report") -> str:
    shown = [f"{one.name} ({one.kind}, {one.splits:,})" for one in report.needs[:_SHOWN_NEEDS]]
    rest = len(report.needs) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "") if shown else "no feature"


def _speeds(report: "Report") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="CPU time a row, one thread, all its models", pad_edge=False, box=SIMPLE_HEAD)
    for head in ("batch", "ours us", "LightGBM us", "ratio"):
        table.add_column(head, justify="right")
    for one in report.speeds:
        table.add_row(str(one.batch), f"{one.ours_us:.2f}", f"{one.lightgbm_us:.2f}", f"{one.ratio:.1f}x")
    return table
