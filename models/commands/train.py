"""`clearbid models train` and `clearbid models show`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.artifact import ModelBundle
    from models.train import Progress


_HEADS = (
    "NE: normalized entropy, log loss over that of always guessing the average, below 1 is better; "
    "sum p/y: events predicted over events that happened, 1 is right; "
    "ECE: expected calibration error, mean distance of the predicted from the real rate"
)


def train(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="Training table, .parquet or .csv.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory to write the model to.", show_default=False)
    ],
    spec: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Feature declarations, TOML: a table `feature` for each."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the training.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Train, calibrate and measure a click and a conversion model."""
    from models.dataset import read_table
    from models.schema import DEFAULT_DECLARATIONS, load_declarations
    from models.scorer import Scorer
    from models.train import train_bundle

    declarations = load_declarations(spec) if spec else DEFAULT_DECLARATIONS
    rows = read_table(table, declarations)
    with bars(quiet=json) as progress:
        bundle = train_bundle(rows, declarations, out, seed=seed, progress=progress)
    Scorer(bundle)  # a model that the bidder would refuse must fail here, not there
    _print(bundle, json=json)


def show(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory of a trained model.", show_default=False)
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Check a trained model and print what it is."""
    from models.artifact import load_bundle

    _print(load_bundle(directory), json=json)


@contextmanager
def bars(*, quiet: bool, stages: tuple[str, ...] = ("encode", "ctr", "cvr", "write")) -> "Iterator[Progress]":
    """One bar a stage, on stderr, so that what is printed can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), disable=quiet) as bars:
        tasks = {stage: bars.add_task(stage, total=None) for stage in stages}
        yield lambda stage, done, total: bars.update(tasks[stage], completed=done, total=total)


def _print(bundle: "ModelBundle", *, json: bool) -> None:
    if json:
        import msgspec

        report = {"path": str(bundle.path), **msgspec.to_builtins(bundle.manifest)}
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    from rich.console import Console

    Console().print(_summary(bundle), _metrics(bundle))


def _summary(bundle: "ModelBundle") -> "RenderableType":
    from rich.table import Table

    manifest = bundle.manifest
    grid = Table.grid(padding=(0, 2))
    kinds = (f"{name} {report.kind} ({report.rounds} trees)" for name, report in manifest.models.items())
    rows = ", ".join(f"{manifest.rows.get(part, 0):,} {part}" for part in ("train", "calibration", "test"))
    for name, value in (
        ("model", str(bundle.path)),
        ("hash", manifest.hash),
        ("models", ", ".join(kinds)),
        ("features", f"{len(bundle.spec)}, spec {manifest.spec_hash[:12]}"),
        ("table", f"{manifest.created_from}, sha256 {manifest.table_sha256[:12]}"),
        ("rows", rows),
        ("versions", ", ".join(f"{name} {number}" for name, number in manifest.versions.items())),
    ):
        grid.add_row(name, value)
    return grid


def _metrics(bundle: "ModelBundle") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    names = ("rows", "positives", "auc", "log_loss", "normalized_entropy", "calibration_ratio", "ece")
    heads = ("rows", "pos.", "AUC", "log loss", "NE", "sum p/y", "ECE")
    table = Table(
        title="on rows later than all that training saw", caption=_HEADS, pad_edge=False, box=SIMPLE_HEAD
    )
    table.add_column(no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right")
    for name, report in bundle.manifest.models.items():
        for label, metrics in (("raw", report.before), (report.calibration, report.after)):
            table.add_row(f"{name} {label}", *(_shown(getattr(metrics, field)) for field in names))
    return table


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
