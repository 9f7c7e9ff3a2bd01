"""A LightGBM text that somebody else trained, made into a bundle that bids.

The trees stay as they are. What a bidder needs besides is made from a table of impressions: its first half calibrates
raw scores to probabilities, whatever the objective was, and its second half, later in time, measures them. A row
counts as often as its column `weight` says. Without a conversion model every click converts alike: the mean of the
first half, as if ten more rows with 1 % had been seen.
"""

import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.artifact import FORMAT, MODEL_NAMES, Manifest, ModelBundle, ModelReport, save_bundle
from models.calibration import CalibrationTable, calibrate, fit_calibration, sigmoid
from models.check import check_file
from models.compile import compile_boosters
from models.dataset import TrainingTable, read_table
from models.errors import ArtifactError, TableError
from models.evaluate import evaluate
from models.paths import no_file
from models.saying import few_said
from models.schema import FeatureSpec, check_servable
from models.scorer import score_rows
from models.training.sample import weight_of
from models.trees import parse_forest

MIN_ROWS = 100
_PRIOR_POSITIVES, _PRIOR_ROWS = 0.1, 10.0

Floats = NDArray[np.float64]


def bring_model(
    click: Path, spec: Path, table: Path, out: Path, conversion: Path | None = None
) -> ModelBundle:
    """Writes a bundle of brought models.

    Args:
        click: LightGBM text that ranks impressions by clicks. spec: its features, `spec.json`.
        table: impressions with labels, that the models were not trained on. out: directory to write.
        conversion: LightGBM text that ranks clicks by conversions, or None.

    Raises:
        ArtifactError: features that no bidder serves; a text that does not fit, with each reason; or a directory
            that cannot be written.
        TableError: a table that does not fit the spec, or is too small.
    """
    features = FeatureSpec.from_json(_bytes_of(spec))
    check_servable(features)
    paths = {"ctr": click, "cvr": conversion or click}
    for path in dict.fromkeys(paths.values()):
        if why := no_file(path):
            raise ArtifactError(f"model {path} must be a file, a LightGBM text, {why}")
    for path in dict.fromkeys(paths.values()):
        report = check_file(path, spec=spec)
        if not report.fits:
            raise ArtifactError(f"model file {path} does not fit this bidder: {few_said(report.faults)}")
    rows = read_table(table, features.declarations())
    cut = int(np.searchsorted(rows.at_ns, rows.at_ns[len(rows) // 2], side="left"))
    if min(cut, len(rows) - cut) < MIN_ROWS:
        raise TableError(
            f"calibration table {table} must have {MIN_ROWS} rows in each half by time, "
            f"had {cut} and {len(rows) - cut}"
        )
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    raw = score_rows(
        compile_boosters([texts[name] for name in MODEL_NAMES], len(features)),
        features.encode_table(rows.columns),
    )
    found = weight_of(rows)
    weights = np.ones(len(rows)) if found is None else found
    calibration: dict[str, CalibrationTable] = {}
    reports: dict[str, ModelReport] = {}
    for place, name in enumerate(MODEL_NAMES):
        labels = rows.click if name == "ctr" else np.where(rows.click > 0, rows.conversion, np.nan)
        known = ~np.isnan(labels)
        first = known & (np.arange(len(rows)) < cut)
        flat = name == "cvr" and conversion is None
        calibration[name] = (
            _flat(labels[first], weights[first])
            if flat
            else fit_calibration(raw[first, place], labels[first], weights[first])
        )
        later = known & ~first
        reports[name] = _report(
            texts[name], calibration[name], raw[later, place], labels[later], weights[later], flat=flat
        )
    return save_bundle(out, _manifest(rows, weights, cut, reports, paths), features, texts, calibration)


def _bytes_of(spec: Path) -> bytes:
    if why := no_file(spec):
        raise ArtifactError(f"feature spec {spec} must be a file, {why}")
    try:
        return spec.read_bytes()
    except OSError as error:
        raise ArtifactError(f"feature spec {spec} must be readable: {error.strerror}") from error


def _flat(labels: Floats, weights: Floats) -> CalibrationTable:
    """One knot: the same probability at any score."""
    mean = (float(labels @ weights) + _PRIOR_POSITIVES) / (float(weights.sum()) + _PRIOR_ROWS)
    return CalibrationTable("offset", (0.0,), (mean,))


def _report(
    text: str, table: CalibrationTable, raw: Floats, labels: Floats, weights: Floats, *, flat: bool
) -> ModelReport:
    return ModelReport(
        kind="mean" if flat else "lightgbm",
        rounds=len(parse_forest(text).trees),
        early_stopping=False,
        training_rows=0,
        training_positives=0,
        calibration=table.method,
        before=evaluate(labels, sigmoid(raw), weights),
        after=evaluate(labels, calibrate(table, raw), weights),
    )


def _manifest(
    rows: TrainingTable,
    weights: Floats,
    cut: int,
    reports: dict[str, ModelReport],
    paths: dict[str, Path],
) -> Manifest:
    known = (rows.click > 0) & ~np.isnan(rows.conversion)
    return Manifest(
        format=FORMAT,
        spec_hash="",
        files={},
        window_ns=(int(rows.at_ns[0]), int(rows.at_ns[-1])),
        rows={"train": 0, "calibration": cut, "test": len(rows) - cut},
        label_rates={
            "ctr": float(np.average(rows.click, weights=weights)),
            "cvr": float(np.average(rows.conversion[known], weights=weights[known])) if known.any() else 0.0,
        },
        table_sha256=rows.sha256,
        created_from=rows.source,
        params={"brought": {name: path.name for name, path in paths.items()}},
        models=reports,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("lightgbm", "numpy", "scipy", "pyarrow")},
        },
    )
