"""From a training table to a bundle: click model, conversion model, value of a conversion, calibration, report.

The rows are cut by time (or by groups, see `training.split`) and each slice is used for one thing:

    |---------- train ----------|-- calibration --|---- test ----|
    |---- trees ----|-- stop  --|

Trees grow on the first 85 % of `train` and the rest of it decides when to stop; where that rest holds fewer
than 20 positives it can decide nothing, and trees grow on all of `train` for a fixed number of rounds. The
vocabularies are those of `train`. `test` is looked at once, for the report. A search for parameters (`tune`)
is judged on the calibration rows.

The click model sees all rows, the conversion model those clicked whose conversion is known, or, where the table
tells the times, all clicked with what is known so far (`training.delay`). With too few positives (or negatives)
to learn from, a model is its prior, and the report says `prior`; rows without any click are refused.
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import FORMAT, MODEL_NAMES, Manifest, ModelBundle, save_bundle
from models.calibration import CalibrationTable, calibrate, sigmoid
from models.dataset import TimeSplit, TrainingTable
from models.evaluate import Metrics, evaluate
from models.reports import DelayReport, ModelReport, TrainingReport, TuningReport
from models.ripe import settled
from models.schema import Declaration, FeatureSpec, fit_spec
from models.training.checks import check_clicks, usable
from models.training.delays import Conversions, conversions_of
from models.training.fit import Fitted, Progress, fit_table, fit_trees
from models.training.params import TrainParams, check_params
from models.training.sample import Sample, click_sample, conversion_sample, weight_of
from models.training.split import split_table
from models.training.value import fit_value, values_of
from models.value import ValueModel

__all__ = ["Progress", "TrainParams", "train_bundle"]

Floats = NDArray[np.float64]
Slices = dict[str, tuple[TrainingTable, Floats]]


class _Learned(msgspec.Struct, frozen=True):
    """One model with its calibration and report."""

    fitted: Fitted
    calibration: CalibrationTable
    report: ModelReport


def train_bundle(
    table: TrainingTable,
    declarations: Sequence[Declaration],
    out_dir: Path,
    *,
    seed: int = 1,
    params: TrainParams | None = None,
    progress: Progress | None = None,
    tune: int = 0,
) -> ModelBundle:
    """Trains, calibrates, measures and writes a bundle.

    Args:
        table: as `dataset.read_table` gives it.
        declarations: the features to use.
        out_dir: directory to write, made where it is not there.
        seed: of LightGBM and of all sampling; with the same table, parameters and library versions the bundle is
            the same.
        params: how to train.
        progress: told how far it is: stages `encode`, `tune`, `ctr`, `cvr`, `value` and `write`, of which `tune` and
            `value` may not come.
        tune: how many parameters to try first (needs optuna); 0 takes `params` as they are.

    Raises:
        TableError: the table is unfit: too few rows or times, a column without values, labels of one class, or
            lacking what the parameters ask for.
        ArtifactError: the directory cannot be written.
    """
    params = params or TrainParams()
    check_params(params)
    tell = progress or (lambda _stage, _done, _total: None)
    kept, left_out = usable(table, declarations, params)
    split = split_table(table, params, seed)
    check_clicks(split.train, params)
    spec = fit_spec(
        split.train.columns, kept, max_categories=params.max_categories, min_count=params.min_count
    )
    slices = _encode(split, spec, tell)
    clicks = {part: click_sample(*slices[part]) for part in slices}
    tuning: TuningReport | None = None
    if tune:
        from models.training.tune import tune_params

        params, tuning = tune_params(clicks, spec, params, seed, tune, tell)
    conversions = conversions_of(slices, spec, params, seed)
    learned = {
        "ctr": _learn("ctr", clicks, spec, params, seed, tell),
        "cvr": _learn("cvr", conversions.samples, spec, params, seed, tell),
    }
    if conversions.report.method != "none":
        learned["cvr"] = _with_settled(learned["cvr"], *slices["test"], conversions.report.horizon_ns)
    value = None
    if _has_values(table):
        value = fit_value({part: values_of(*slices[part]) for part in slices}, spec, params, seed, tell)
    tell("write", 0, 1)
    report = _training_report(
        table, params, left_out, learned["ctr"].fitted, _delay_report(conversions, learned["cvr"])
    )
    report = msgspec.structs.replace(report, value=value[1] if value else None, tuning=tuning)
    manifest = _manifest(table, split, learned, report, {"seed": seed, **msgspec.structs.asdict(params)})
    bundle = _save(out_dir, manifest, spec, learned, value[0] if value else None)
    tell("write", 1, 1)
    return bundle


def _encode(split: TimeSplit, spec: FeatureSpec, tell: Progress) -> Slices:
    out: Slices = {}
    for place, part in enumerate(("train", "calibration", "test")):
        tell("encode", place, 3)
        rows: TrainingTable = getattr(split, part)
        out[part] = (rows, spec.encode_table(rows.columns))
    tell("encode", 3, 3)
    return out


def _has_values(table: TrainingTable) -> bool:
    """Whether values are told, of conversions and not of another goal."""
    return table.goal == "conversion" and "value_nanos" in table.extras


def _learn(
    name: str, samples: dict[str, Sample], spec: FeatureSpec, params: TrainParams, seed: int, tell: Progress
) -> _Learned:
    fitted = fit_trees(name, samples["train"], spec, params, seed, tell)
    held, test = samples["calibration"], samples["test"]
    calibration = fit_table(fitted.raw(held.x), held)
    raw = fitted.raw(test.x)
    report = ModelReport(
        kind=fitted.kind,
        rounds=fitted.rounds,
        early_stopping=fitted.early_stopping,
        training_rows=len(samples["train"]),
        training_positives=int(samples["train"].y.sum()),
        calibration=calibration.method,
        before=_metrics(test, sigmoid(raw)),
        after=_metrics(test, calibrate(calibration, raw)),
    )
    return _Learned(fitted, calibration, report)


def _with_settled(learned: _Learned, rows: TrainingTable, x: Floats, horizon_ns: int) -> _Learned:
    """The same with its metrics on clicks of the test that were watched for the whole horizon."""
    sample = conversion_sample(rows, x)
    known = (rows.click > 0) & ~np.isnan(rows.conversion)
    sample = sample.rows(settled(rows, horizon_ns)[known])
    metrics = _metrics(sample, calibrate(learned.calibration, learned.fitted.raw(sample.x)))
    report = msgspec.structs.replace(learned.report, settled=metrics)
    return msgspec.structs.replace(learned, report=report)


def _metrics(sample: Sample, p: Floats) -> Metrics:
    """Judged by what is known: where labels are so far, against the probability of being known by now."""
    expected = p if sample.seen is None else np.clip(p * sample.seen, 1e-15, None)
    if sample.weight is None:
        return evaluate(sample.y, expected)
    return evaluate(sample.y, expected, sample.weight)


def _delay_report(conversions: Conversions, cvr: _Learned) -> DelayReport:
    if conversions.report.method == "none":
        return conversions.report
    late, come = 0.0, 0.0
    for sample in conversions.samples.values():
        p = calibrate(cvr.calibration, cvr.fitted.raw(sample.x))
        assert sample.seen is not None
        waiting = np.where(sample.y > 0, 0.0, p * (1.0 - sample.seen) / (1.0 - p * sample.seen))
        late += float((sample.weights * waiting).sum())
        come += float((sample.weights * sample.y).sum())
    return msgspec.structs.replace(conversions.report, to_come=late / (late + come) if late + come else 0.0)


def _training_report(
    table: TrainingTable, params: TrainParams, left_out: tuple[str, ...], ctr: Fitted, delay: DelayReport
) -> TrainingReport:
    weight = weight_of(table)
    return TrainingReport(
        goal=table.goal,
        split_by=params.split_by,
        left_out=left_out,
        weighted=weight is not None,
        effective_rows=float(len(table)) if weight is None else float(weight.sum() ** 2 / (weight**2).sum()),
        click_rows=ctr.rows,
        click_shift=ctr.shift,
        delay=delay,
    )


def _manifest(
    table: TrainingTable,
    split: TimeSplit,
    learned: dict[str, _Learned],
    training: TrainingReport,
    params: dict[str, Any],
) -> Manifest:
    known = (table.click > 0) & ~np.isnan(table.conversion)
    weight = np.ones(len(table)) if (found := weight_of(table)) is None else found
    return Manifest(
        format=FORMAT,
        spec_hash="",
        files={},
        window_ns=(int(table.at_ns[0]), int(table.at_ns[-1])),
        rows={"train": len(split.train), "calibration": len(split.calibration), "test": len(split.test)},
        label_rates={
            "ctr": float((weight * table.click).sum() / weight.sum()),
            "cvr": float((weight * table.conversion)[known].sum() / weight[known].sum())
            if known.any()
            else 0.0,
        },
        table_sha256=table.sha256,
        created_from=table.source,
        params=params,
        models={name: learned[name].report for name in MODEL_NAMES},
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("lightgbm", "numpy", "scipy", "pyarrow")},
        },
        training=training,
    )


def _save(
    out_dir: Path,
    manifest: Manifest,
    spec: FeatureSpec,
    learned: dict[str, _Learned],
    value: ValueModel | None,
) -> ModelBundle:
    texts = {name: learned[name].fitted.text for name in MODEL_NAMES}
    calibration = {name: learned[name].calibration for name in MODEL_NAMES}
    return save_bundle(out_dir, manifest, spec, texts, calibration, value)
