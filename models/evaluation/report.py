"""A bundle judged by a table: everything in one value, as `--json` prints it and the page shows it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import ModelBundle, load_bundle
from models.evaluation.compare import Comparison, compare_samples
from models.evaluation.fairness import Exposure, Fairness, by_group
from models.evaluation.intervals import DRAWS, LEVEL, Judged, Sample, judge
from models.evaluation.leaning import still_to_come
from models.evaluation.rows import Rows, chosen, predictions, read_rows, samples_of, unripe
from models.evaluation.slices import ColumnReport, by_column, deciles, flag
from models.evaluation.slicing import Floats, Slicing, slicing_of
from models.pages.text import counted
from models.ripe import horizon_of

GAIN_STEPS = 50
UNRIPE_SHARE = 0.02
"""Share of clicks watched too briefly from which the conversion model's figures are said to be early."""

Progress = Callable[[str, int, int], None]
"""Told of (stage, done, total); stages are `read`, `score`, `ctr`, `cvr` and `group`."""


class ModelEvaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one model of the bundle did.

    Attributes:
        judged: on all its rows.
        deciles: by tenth of the rows in the order of the prediction.
        gain: (share of the rows with the highest predictions, share of the positives among them).
        columns: by each column that was asked for.
        against: what it changes against the other bundle's.
    """

    judged: Judged
    deciles: ColumnReport
    gain: tuple[tuple[float, float], ...]
    columns: tuple[ColumnReport, ...]
    against: Comparison | None


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle on a table.

    Attributes:
        model, hash: directory and content hash of the bundle. window_ns: its training window.
        against, against_hash: of the bundle it was compared with.
        table, table_sha256: what it was judged by. table_window_ns: its first and last time.
        impressions: rows that were shown. rows: those and lost bids, where they were read.
        learned: impressions inside a training window. same_table: it was trained on this very table.
        held_out: only rows that can not have taught it were used.
        brought: its trees learned elsewhere, it is not known when; the window is that of their calibration.
        labels: of conversions: `settled`, of clicks that were watched for as long as conversions may take, or
            `complete`, where the models know of no delay; see `models show` for the third kind.
        clusters: `user` or `time`, what the bootstrap draws. weighted: whether rows have weights.
        level, draws, seed: of the intervals.
        warnings: what makes these numbers less than they seem, in sentences.
        models: by name, `ctr` and `cvr`; without `cvr` where no clicked row has a known conversion.
        fairness: by group, where one was asked for.
    """

    model: str
    hash: str
    window_ns: tuple[int, int]
    against: str | None
    against_hash: str | None
    table: str
    table_sha256: str
    table_window_ns: tuple[int, int]
    impressions: int
    rows: int
    learned: int
    same_table: bool
    held_out: bool
    brought: bool
    labels: str
    clusters: str
    weighted: bool
    level: float
    draws: int
    seed: int
    warnings: tuple[str, ...]
    models: dict[str, ModelEvaluation]
    fairness: Fairness | None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to look at: columns to part by, a group column, a bundle to compare with, and how to draw."""

    by: Sequence[str] = ()
    group: str | None = None
    against: Path | None = None
    held_out: bool = False
    draws: int = DRAWS
    seed: int = 1


def evaluate_bundle(
    directory: Path, table: Path, wishes: Wishes | None = None, progress: Progress | None = None
) -> Evaluation:
    """Judges a bundle by a table.

    Args:
        directory: of the bundle.
        table: `.parquet` or `.csv`.
        wishes: what to look at.
        progress: told how far it is.

    Raises:
        TableError: the table is unfit: see `rows.read_rows`; or has no column to part by.
        ArtifactError: a bundle is broken, or the two can not be compared.
    """
    wishes = wishes or Wishes()
    tell = progress or (lambda _stage, _done, _total: None)
    tell("read", 0, 1)
    bundle = load_bundle(directory)
    other = load_bundle(wishes.against) if wishes.against else None
    bundles = [bundle] if other is None else [bundle, other]
    names = [*wishes.by, *([wishes.group] if wishes.group else [])]
    rows = read_rows(table, bundles, names, lost=wishes.group is not None, held_out=wishes.held_out)
    slicings = [slicing_of(name, chosen(rows.values(name), rows.shown)) for name in wishes.by]
    groups = slicing_of(wishes.group, rows.values(wishes.group)) if wishes.group else None
    tell("read", 1, 1)
    tell("score", 0, len(bundles))
    probabilities = [predictions(rows, each) for each in bundles]
    tell("score", len(bundles), len(bundles))
    samples = [samples_of(rows, each) for each in probabilities]
    models: dict[str, ModelEvaluation] = {}
    for name, (inside, sample) in samples[0].items():
        if len(sample) == 0:
            continue
        rival = samples[1][name][1] if other else None
        models[name] = _judge_model(name, inside, sample, rival, slicings, wishes, tell)
    fairness = (
        _fairness(rows, probabilities[0][:, 0], groups, samples[0]["ctr"][1], wishes) if groups else None
    )
    tell("group", 1, 1)
    return _evaluation(bundle, other, rows, models, fairness, wishes)


def _judge_model(
    name: str,
    inside: NDArray[np.bool_],
    sample: Sample,
    rival: Sample | None,
    slicings: Sequence[Slicing],
    wishes: Wishes,
    tell: Progress,
) -> ModelEvaluation:
    total = 2 + len(slicings) + (rival is not None)
    draws, seed = wishes.draws, wishes.seed
    judged = judge(sample, draws=draws, seed=seed)
    tell(name, 1, total)
    tenths = deciles(sample, draws=draws, seed=seed)
    tell(name, 2, total)
    columns = []
    for done, slicing in enumerate(slicings, start=3):
        columns.append(by_column(sample, slicing.take(inside), draws=draws, seed=seed))
        tell(name, done, total)
    against = compare_samples(rival, sample, draws=draws, seed=seed) if rival is not None else None
    tell(name, total, total)
    return ModelEvaluation(
        judged=judged, deciles=tenths, gain=gain(sample), columns=tuple(flag(columns)), against=against
    )


def gain(sample: Sample, steps: int = GAIN_STEPS) -> tuple[tuple[float, float], ...]:
    """Share of the positives in the highest predicted share of the rows, at even steps; nothing without positives.

    Rows of one prediction come in any order, so that between their ends the curve is straight.
    """
    positives = sample.weights * sample.y
    if positives.sum() == 0.0:
        return ()
    _, group = np.unique(-sample.p, return_inverse=True)
    rows = np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=sample.weights))])
    hits = np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=positives))])
    shares = np.linspace(0.0, 1.0, steps + 1)
    found = np.interp(shares, rows / rows[-1], hits / hits[-1])
    return tuple(zip(shares.tolist(), found.tolist(), strict=True))


def _fairness(rows: Rows, clicks: Floats, groups: Slicing, ctr: Sample, wishes: Wishes) -> Fairness:
    """The groups of all rows, lost bids too; flags from the impressions."""
    predicted = np.zeros(len(rows.table))
    predicted[rows.shown] = clicks
    found = rows.table.extras.get("price_cpm_micros")
    price = np.where(rows.shown, found, 0.0) if isinstance(found, np.ndarray) else None
    exposure = Exposure(
        weights=rows.weights,
        shown=rows.shown,
        click=np.where(rows.shown, rows.table.click, 0.0),
        predicted=predicted,
        price_cpm_micros=None if price is None else np.nan_to_num(price),
        unpriced=0 if price is None else int(np.isnan(price).sum()),
        clusters=rows.clusters,
        has_lost=not bool(rows.shown.all()),
    )
    parts = flag([by_column(ctr, groups.take(rows.shown), draws=0, seed=wishes.seed)])[0]
    return by_group(exposure, groups, parts, draws=wishes.draws, seed=wishes.seed)


def _evaluation(
    bundle: ModelBundle,
    other: ModelBundle | None,
    rows: Rows,
    models: dict[str, ModelEvaluation],
    fairness: Fairness | None,
    wishes: Wishes,
) -> Evaluation:
    table = rows.table
    return Evaluation(
        model=str(bundle.path),
        hash=bundle.hash,
        window_ns=bundle.manifest.window_ns,
        against=str(other.path) if other else None,
        against_hash=other.hash if other else None,
        table=table.source,
        table_sha256=table.sha256,
        table_window_ns=(int(table.at_ns[0]), int(table.at_ns[-1])),
        impressions=int(rows.shown.sum()),
        rows=len(table),
        learned=rows.learned,
        same_table=rows.same_table,
        held_out=rows.held_out,
        brought=rows.brought,
        labels="settled" if horizon_of(bundle, other) else "complete",
        clusters="user" if rows.by_user else "time",
        weighted=bool((rows.weights != rows.weights[0]).any()),
        level=LEVEL,
        draws=wishes.draws,
        seed=wishes.seed,
        warnings=tuple(_warnings(rows, models)),
        models=models,
        fairness=fairness,
    )


def _why_unjudged(rows: Rows) -> str:
    """Why no click judges the conversion model, in words."""
    clicked = rows.shown & (rows.table.click > 0)
    known = clicked & ~np.isnan(rows.table.conversion)
    if not clicked.any():
        return "no row was clicked"
    if not known.any():
        return "no clicked row has a known conversion"
    bought = int((known & (rows.table.conversion > 0)).sum())
    return (
        f"none of {counted(int(known.sum()), 'click')} was watched for as long as the conversion model looks ahead. "
        f"{counted(bought, 'conversion')} of them came so far, more may: judge it by older clicks"
    )


def _warnings(rows: Rows, models: dict[str, ModelEvaluation]) -> list[str]:
    said = []
    shown = int(rows.shown.sum())
    if rows.same_table and not rows.held_out:
        said.append(
            "A model learned from this very table (same sha256), so these numbers are too kind: judge it with "
            "--held-out, by the last rows, which training only measured on, or by a later table."
        )
    elif rows.learned:
        said.append(
            f"{rows.learned:,} of {counted(shown, 'impression')} ({rows.learned / shown:.0%}) lie in a training "
            f"window. A model may have learned from them, so these numbers are too kind: judge it with --held-out, "
            f"or by a later table."
        )
    if rows.brought:
        said.append(
            "It is not known when its trees learned (`models import` made a model): if they learned from these rows, "
            "these numbers are too kind."
        )
    if "cvr" not in models:
        said.append(f"The conversion model can not be judged: {_why_unjudged(rows)}.")
    young = int((rows.shown & ~rows.settled & (rows.table.click > 0)).sum())
    if young and "cvr" in models:
        said.append(
            f"{counted(young, 'click was', 'clicks were')} watched for less time than the conversion model looks "
            f"ahead: it is judged without."
        )
    early, clicks = unripe(rows), models["cvr"].judged.rows if "cvr" in models else 0
    if early > UNRIPE_SHARE * clicks:
        said.append(
            f"{early:,} of {counted(clicks, 'click')} were watched for less time than most conversions take: some of "
            f"theirs are still to come, {still_to_come(models['cvr'].judged.calibration_ratio.value)}. Judge the "
            f"conversion model by older clicks."
        )
    for name, model in models.items():
        judged = model.judged
        if judged.positives in {0, judged.rows}:
            kind = "positive" if judged.positives == 0 else "negative"
            said.append(
                f"{name}: none of {judged.rows:,} rows is {kind}, so AUC and normalized entropy are not defined: "
                f"judge it by more rows."
            )
    return said
