"""`clearbid models train` and `clearbid models show`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.commands.options import Features, Json, Model, TableFile, check_out
from models.commands.progress import bars

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.artifact import ModelBundle
    from models.reports import ModelReport, TrainingReport
    from models.training.params import TrainParams


_HEADS = (
    "NE: normalized entropy, log loss over that of always guessing the average, below 1 is better; "
    "sum p/y: events predicted over events that happened, 1 is right; "
    "ECE: expected calibration error, mean distance of the predicted from the real rate"
)


def train(
    table: TableFile,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory to write the model to.", show_default=False)
    ],
    features: Features = None,
    params: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Training parameters, TOML; options win over it. `clearbid models params` lists the keys.",
        ),
    ] = None,
    goal: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of 0 and 1 whose ones count as conversions.")
    ] = "conversion",
    delay: Annotated[
        str | None,
        typer.Option(
            metavar="HOW", help="Late conversions: auto, none, elapsed or buckets.", show_default="auto"
        ),
    ] = None,
    delay_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column whose values have delays of their own.")
    ] = None,
    negative_rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Share of the rows without a click to learn from.", show_default="1"
        ),
    ] = None,
    split_by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Part the rows by a column's values.", show_default="time"),
    ] = None,
    tune: Annotated[int, typer.Option(metavar="N", min=0, help="Try N sets of parameters first.")] = 0,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out columns without any value.")
    ] = False,
    allow_prior: Annotated[
        bool, typer.Option("--allow-prior", help="Accept rows without any click: a model of the rate alone.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the training.")] = 1,
    json: Json = False,
) -> None:
    """Train, calibrate and measure a click and a conversion model, and one of the value of a conversion."""
    from models.dataset import read_table
    from models.schema import DEFAULT_DECLARATIONS, load_declarations
    from models.scorer import Scorer
    from models.train import train_bundle

    check_out(out, folder=True)
    chosen = _params(
        params,
        {"delay": delay, "delay_by": delay_by, "negative_rate": negative_rate, "split_by": split_by},
        drop_missing=drop_missing,
        allow_prior=allow_prior,
    )
    declarations = load_declarations(features) if features else DEFAULT_DECLARATIONS
    keep = () if chosen.split_by == "time" else (chosen.split_by,)
    rows = read_table(table, declarations, goal=goal, keep=keep)
    with bars(quiet=json) as progress:
        bundle = train_bundle(rows, declarations, out, seed=seed, params=chosen, progress=progress, tune=tune)
    Scorer(bundle)  # a model that the bidder would refuse must fail here, not there
    print_bundle(bundle, json=json)


def _params(
    path: Path | None, options: dict[str, object], *, drop_missing: bool, allow_prior: bool
) -> "TrainParams":
    """Parameters of the file, with the options that were given over them."""
    import msgspec

    from models.errors import TableError
    from models.training.params import TrainParams, load_params

    base = load_params(path) if path else TrainParams()
    given: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    given |= {"drop_missing": True} if drop_missing else {}
    given |= {"allow_prior": True} if allow_prior else {}
    try:
        return msgspec.convert({**msgspec.structs.asdict(base), **given}, TrainParams)
    except msgspec.ValidationError as error:
        raise TableError(f"training parameters must be as documented: {error}") from error


def show(
    directory: Model,
    json: Json = False,
) -> None:
    """Check a trained model and print what it is."""
    from models.artifact import load_bundle

    print_bundle(load_bundle(directory), json=json)


def print_bundle(bundle: "ModelBundle", *, json: bool, status: str = "") -> None:
    """Prints what a model is; `status` is what it is in its registry."""
    if json:
        import msgspec

        own = {"status": status} if status else {}
        report = {"path": str(bundle.path), **own, **msgspec.to_builtins(bundle.manifest)}
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    from rich.console import Console

    Console().print(_summary(bundle, status), _metrics(bundle))


def _kind(report: "ModelReport") -> str:
    from models.pages.text import counted

    return (
        "one rate for all clicks"
        if report.kind == "mean"
        else f"{report.kind} ({counted(report.rounds, 'tree')})"
    )


def _summary(bundle: "ModelBundle", status: str) -> "RenderableType":
    import msgspec
    from rich.table import Table

    from models.unseen import is_brought

    manifest = bundle.manifest
    grid = Table.grid(padding=(0, 2))
    kinds = (f"{name} {_kind(report)}" for name, report in manifest.models.items())
    parts = ("calibration", "test") if is_brought(bundle) else ("train", "calibration", "test")
    rows = ", ".join(f"{manifest.rows.get(part, 0):,} {part}" for part in parts)
    if is_brought(bundle):
        rows += "; trained elsewhere, on rows that are not known"
    for name, value in (
        ("model", str(bundle.path)),
        ("hash", manifest.hash),
        *((("status", status),) if status else ()),
        ("models", ", ".join(kinds)),
        ("features", f"{len(bundle.spec)}, spec {manifest.spec_hash[:12]}"),
        ("table", f"{manifest.created_from}, sha256 {manifest.table_sha256[:12]}"),
        ("rows", rows),
        ("versions", ", ".join(f"{name} {number}" for name, number in manifest.versions.items())),
    ):
        grid.add_row(name, value)
    if not isinstance(manifest.training, msgspec.UnsetType):
        for name, value in _learned(manifest.training):
            grid.add_row(name, value)
    return grid


def _learned(report: "TrainingReport") -> "Iterator[tuple[str, str]]":
    """What was learned of which rows, in words; only what is not as usual."""
    from models.pages.text import counted

    delay, value, tuning = report.delay, report.value, report.tuning
    if report.goal != "conversion":
        yield "goal", report.goal
    if report.split_by != "time":
        yield "split", f"by {report.split_by}: no value of it is in two slices"
    if report.left_out:
        yield "left out", f"{', '.join(report.left_out)}: every value is missing"
    if report.weighted:
        yield "weights", f"rows say as much as {report.effective_rows:,.0f} equal ones"
    if report.click_shift:
        yield (
            "sampled",
            f"{counted(report.click_rows, 'row')} for the trees, log odds put right by {report.click_shift:.3f}",
        )
    if delay.method != "none":
        half, end = _span(delay.median_ns), _span(delay.horizon_ns)
        late = f"{delay.to_come:.1%} of those expected within {end} are still to come"
        yield "delays", f"{delay.method}: half of the conversions come within {half}, {late}"
    elif delay.why:
        yield "delays", f"conversions not seen count as none: {delay.why}"
    if value is not None:
        tested = "none to test it" if value.ratio is None else f"sum v/actual {value.ratio:.3f} on test rows"
        worth = f"{counted(value.rows, 'conversion')}, {value.zeros:.0%} worth nothing"
        yield "value", f"{value.kind} ({counted(value.rounds, 'tree')}) of {worth}, {tested}"
    if tuning is not None:
        found = ", ".join(f"{name} {number:.4g}" for name, number in tuning.found.items()) or "nothing better"
        trials = counted(tuning.trials, "trial")
        losses = f"log loss {tuning.log_loss_default:.5f} to {tuning.log_loss_best:.5f}"
        yield "tuned", f"{trials}, {losses}: {found}"


def _span(ns: int) -> str:
    for unit, size in (("d", 86_400e9), ("h", 3_600e9), ("min", 60e9)):
        if ns >= size:
            return f"{ns / size:.1f} {unit}"
    return f"{ns / 1e9:.1f} s"


def _metrics(bundle: "ModelBundle") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from models.commands.labels import labels_said, rows_shown

    names = ("rows", "positives", "auc", "log_loss", "normalized_entropy", "calibration_ratio", "ece")
    heads = ("rows", "pos.", "AUC", "log loss", "NE", "sum p/y", "ECE")
    table = Table(
        title=_judged_on(bundle), caption=f"{_HEADS}{labels_said(bundle)}", pad_edge=False, box=SIMPLE_HEAD
    )
    table.add_column(no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right")
    for label, metrics in rows_shown(bundle):
        table.add_row(label, *(_shown(getattr(metrics, field)) for field in names))
    return table


def _judged_on(bundle: "ModelBundle") -> str:
    from models.unseen import is_brought

    if is_brought(bundle):
        return (
            f"on the later half of {bundle.manifest.created_from}; what its trees learned from is not known"
        )
    by = bundle.manifest.params.get("split_by", "time")
    return (
        "on rows later than all that training saw"
        if by == "time"
        else f"on rows of a {by} that training never saw"
    )


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
