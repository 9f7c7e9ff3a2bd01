"""From a training table to a bundle: click model, conversion model, calibration, report.

The rows are cut by time and each slice is used for one thing:

    |---------- train ----------|-- calibration --|---- test ----|
    |---- trees ----|-- stop  --|

Trees grow on the first 85 % of `train` and the rest of it decides when to stop; where that rest holds fewer
than 20 positives it can decide nothing, and trees grow on all of `train` for a fixed number of rounds. The
vocabularies are those of `train`. `test` is looked at once, for the report.

The click model sees all rows, the conversion model those clicked whose conversion is known. With fewer than 20
positives (or negatives) to learn from, a model is its prior: one tree of one leaf, whose value is the log odds
of the mean label, as if 10 more rows had been seen with 1 % positives: without any row it must not promise a
conversion for every second click. It is a LightGBM model like any other, and the report says `prior`.
"""

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import FORMAT, MODEL_NAMES, Manifest, ModelBundle, ModelReport, save_bundle
from models.calibration import CalibrationTable, calibrate, fit_calibration, sigmoid
from models.dataset import TimeSplit, TrainingTable, split_by_time
from models.errors import TableError
from models.evaluate import evaluate
from models.schema import Declaration, FeatureSpec, fit_spec

MIN_POSITIVES = 20
GROWN_SHARE = 0.85
PRIOR_POSITIVES, PRIOR_ROWS = 0.1, 10.0

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Told of (stage, done, total) as training goes on; stages are `encode`, `ctr`, `cvr` and `write`."""


class TrainParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to train.

    Attributes:
        num_leaves: of a tree; events are rare, so that small trees and strong shrinkage generalise best (64 is
            the limit of the scorer).
        learning_rate: shrinkage of each tree.
        max_rounds: most trees.
        fixed_rounds: trees where nothing can decide when to stop.
        patience: rounds without gain before stopping.
        min_data_in_leaf: fewest rows of a leaf; lowered for small tables to a hundredth of the rows.
        lambda_l2: shrinks leaf values.
        cat_smooth, cat_l2: shrink the statistics of a category, and splits on categories.
        min_data_per_group: fewest rows of a category that a split may single out; lowered for small tables
            to a hundredth of the rows.
        feature_fraction, bagging_fraction: share of features and of rows that each tree sees.
        max_categories, min_count: of vocabularies, see `schema.fit_spec`.
        num_threads: of LightGBM, which gives the same trees for any number (`deterministic`).
        calibration_share, test_share: of the rows.
    """

    num_leaves: int = 8
    learning_rate: float = 0.05
    max_rounds: int = 400
    fixed_rounds: int = 60
    patience: int = 40
    min_data_in_leaf: int = 300
    lambda_l2: float = 20.0
    cat_smooth: float = 300.0
    cat_l2: float = 200.0
    min_data_per_group: int = 1000
    feature_fraction: float = 0.4
    bagging_fraction: float = 0.7
    max_categories: int = 1000
    min_count: int = 10
    num_threads: int = 2
    calibration_share: float = 0.15
    test_share: float = 0.15


class _Sample(msgspec.Struct, frozen=True):
    """Features and labels of the rows that one model may look at."""

    x: Floats
    y: Floats

    @property
    def can_teach(self) -> bool:
        positives = int(self.y.sum())
        return min(positives, len(self.y) - positives) >= MIN_POSITIVES


class _Fitted(msgspec.Struct, frozen=True):
    text: str
    kind: str
    rounds: int
    early_stopping: bool


def train_bundle(
    table: TrainingTable,
    declarations: Sequence[Declaration],
    out_dir: Path,
    *,
    seed: int = 1,
    params: TrainParams | None = None,
    progress: Progress | None = None,
) -> ModelBundle:
    """Trains, calibrates, measures and writes a bundle.

    Args:
        table: as `dataset.read_table` gives it.
        declarations: the features to use.
        out_dir: directory to write, made where it is not there.
        seed: of LightGBM; with the same table, parameters and library versions the bundle is the same.
        params: how to train.
        progress: told how far it is.

    Raises:
        TableError: the table is unfit: too few rows or times, or a column is missing.
        ArtifactError: the directory cannot be written.
    """
    params = params or TrainParams()
    _check_params(params)
    tell = progress or (lambda _stage, _done, _total: None)
    split = split_by_time(table, params.calibration_share, params.test_share)
    spec = fit_spec(
        split.train.columns, declarations, max_categories=params.max_categories, min_count=params.min_count
    )
    slices = _encode(split, spec, tell)
    texts: dict[str, str] = {}
    calibration: dict[str, CalibrationTable] = {}
    reports: dict[str, ModelReport] = {}
    for name in MODEL_NAMES:
        samples = {part: _sample(name, *slices[part]) for part in slices}
        fitted = _fit(name, samples["train"], spec, params, seed, tell)
        booster = lgb.Booster(model_str=fitted.text)
        calibration[name] = fit_calibration(_raw(booster, samples["calibration"].x), samples["calibration"].y)
        texts[name] = fitted.text
        reports[name] = _report(fitted, samples, calibration[name], _raw(booster, samples["test"].x))
    tell("write", 0, 1)
    manifest = _manifest(table, split, reports, {"seed": seed, **msgspec.structs.asdict(params)})
    bundle = save_bundle(out_dir, manifest, spec, texts, calibration)
    tell("write", 1, 1)
    return bundle


def _check_params(params: TrainParams) -> None:
    shares = params.calibration_share + params.test_share
    if min(params.calibration_share, params.test_share) <= 0.0 or shares >= 0.9:
        raise TableError(f"shares of calibration and test must be > 0 and sum to below 0.9, were {shares}")
    if not 2 <= params.num_leaves <= 31:
        raise TableError(f"num_leaves must be 2 to 31, was {params.num_leaves}")


def _encode(split: TimeSplit, spec: FeatureSpec, tell: Progress) -> dict[str, tuple[TrainingTable, Floats]]:
    out: dict[str, tuple[TrainingTable, Floats]] = {}
    for place, part in enumerate(("train", "calibration", "test")):
        tell("encode", place, 3)
        rows: TrainingTable = getattr(split, part)
        out[part] = (rows, spec.encode_table(rows.columns))
    tell("encode", 3, 3)
    return out


def _sample(name: str, rows: TrainingTable, x: Floats) -> _Sample:
    if name == "ctr":
        return _Sample(x, rows.click)
    known = (rows.click > 0) & ~np.isnan(rows.conversion)
    return _Sample(x[known], rows.conversion[known])


def _fit(
    name: str, sample: _Sample, spec: FeatureSpec, params: TrainParams, seed: int, tell: Progress
) -> _Fitted:
    if not sample.can_teach:
        tell(name, 1, 1)
        return _Fitted(_prior_text(sample.y, spec), "prior", 1, early_stopping=False)
    cut = int(len(sample.y) * GROWN_SHARE)
    grown, held = _Sample(sample.x[:cut], sample.y[:cut]), _Sample(sample.x[cut:], sample.y[cut:])
    stops = held.can_teach and grown.can_teach
    rounds = params.max_rounds if stops else params.fixed_rounds
    used = grown if stops else sample
    data = _dataset(used, spec, params, seed)
    callbacks: list[Any] = [lambda env: tell(name, env.iteration + 1, rounds)]
    if stops:
        callbacks.append(lgb.early_stopping(params.patience, verbose=False))
    booster = lgb.train(
        _lightgbm_params(params, seed, len(used.y)),
        data,
        num_boost_round=rounds,
        valid_sets=[data.create_valid(held.x, held.y)] if stops else None,
        callbacks=callbacks,
    )
    best = booster.best_iteration if stops else booster.current_iteration()
    tell(name, rounds, rounds)
    return _Fitted(booster.model_to_string(num_iteration=best), "lightgbm", best, early_stopping=stops)


def _lightgbm_params(params: TrainParams, seed: int, rows: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "verbose": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": params.num_threads,
        "num_leaves": params.num_leaves,
        "learning_rate": params.learning_rate,
        "lambda_l2": params.lambda_l2,
        "min_data_in_leaf": min(params.min_data_in_leaf, max(5, rows // 100)),
        "cat_smooth": params.cat_smooth,
        "cat_l2": params.cat_l2,
        "min_data_per_group": min(params.min_data_per_group, max(5, rows // 100)),
        "feature_fraction": params.feature_fraction,
        "bagging_fraction": params.bagging_fraction,
        "bagging_freq": 1,
    }


def _dataset(sample: _Sample, spec: FeatureSpec, params: TrainParams, seed: int) -> lgb.Dataset:
    categorical = [place for place, feature in enumerate(spec.features) if feature.kind == "categorical"]
    return lgb.Dataset(
        sample.x,
        sample.y,
        # LightGBM forbids `:` in names, and the spec has the real ones.
        feature_name=[f"f{place}" for place in range(len(spec))],
        categorical_feature=categorical,
        params=_lightgbm_params(params, seed, len(sample.y)),
        free_raw_data=False,
    )


def _prior_text(labels: Floats, spec: FeatureSpec) -> str:
    """A LightGBM model of one leaf; two rows with the smoothed counts as weights make it."""
    positives = float(labels.sum()) + PRIOR_POSITIVES
    params = {"objective": "binary", "verbose": -1, "num_leaves": 2, "min_data_in_leaf": 2, "num_threads": 1}
    data = lgb.Dataset(
        np.zeros((2, len(spec))),
        np.array([1.0, 0.0]),
        weight=np.array([positives, len(labels) + PRIOR_ROWS - positives]),
        feature_name=[f"f{place}" for place in range(len(spec))],
        params={**params, "feature_pre_filter": False},
    )
    return str(lgb.train(params, data, num_boost_round=1).model_to_string())


def _raw(booster: lgb.Booster, x: Floats) -> Floats:
    if len(x) == 0:
        return np.empty(0)
    return np.asarray(booster.predict(x, raw_score=True), dtype=np.float64)


def _report(
    fitted: _Fitted, samples: dict[str, _Sample], calibration: CalibrationTable, test_raw: Floats
) -> ModelReport:
    labels = samples["test"].y
    return ModelReport(
        kind=fitted.kind,
        rounds=fitted.rounds,
        early_stopping=fitted.early_stopping,
        training_rows=len(samples["train"].y),
        training_positives=int(samples["train"].y.sum()),
        calibration=calibration.method,
        before=evaluate(labels, sigmoid(test_raw)),
        after=evaluate(labels, calibrate(calibration, test_raw)),
    )


def _manifest(
    table: TrainingTable, split: TimeSplit, reports: dict[str, ModelReport], params: dict[str, Any]
) -> Manifest:
    known = (table.click > 0) & ~np.isnan(table.conversion)
    return Manifest(
        format=FORMAT,
        spec_hash="",
        files={},
        window_ns=(int(table.at_ns[0]), int(table.at_ns[-1])),
        rows={"train": len(split.train), "calibration": len(split.calibration), "test": len(split.test)},
        label_rates={
            "ctr": float(table.click.mean()),
            "cvr": float(table.conversion[known].mean()) if known.any() else 0.0,
        },
        table_sha256=table.sha256,
        created_from=table.source,
        params=params,
        models=reports,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("lightgbm", "numpy", "scipy", "pyarrow")},
        },
    )
