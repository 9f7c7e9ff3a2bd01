"""A LightGBM text that somebody else trained, made into a bundle that bids.

The trees stay as they are. What a bidder needs besides is made from a table of impressions: its first half calibrates
raw scores to probabilities, whatever the objective was, and its second half, later in time, measures them. A row
counts as often as its column `weight` says. Without a conversion model every click converts alike: the mean of the
first half, as if ten more rows with 1 % had been seen.
"""

import math
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.artifact import FORMAT, MODEL_NAMES, Manifest, ModelBundle, ModelReport, save_bundle
from models.calibration import CalibrationTable, calibrate, fit_calibration, sigmoid
from models.check import check_file
from models.clusters import clusters_in
from models.compile import compile_boosters
from models.dataset import TrainingTable, read_table
from models.errors import ArtifactError, TableError
from models.evaluate import Metrics, evaluate
from models.evaluation.intervals import Interval, Judged, judge, sample_of
from models.pages.text import counted
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
    click: Path,
    spec: Path,
    table: Path,
    out: Path,
    conversion: Path | None = None,
    warn: Callable[[str], None] = lambda _said: None,
) -> ModelBundle:
    """Writes a bundle of brought models.

    Args:
        click: LightGBM text that ranks impressions by clicks. spec: its features, `spec.json`.
        table: impressions with labels, that the models were not trained on. out: directory to write.
        conversion: LightGBM text that ranks clicks by conversions, or None.
        warn: told what speaks against bidding by it, see `doubts`.

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
        if not flat:
            p = calibrate(calibration[name], raw[later, place])
            users = clusters_in(rows.extras, len(rows))[later]
            judged = judge(sample_of(labels[later], p, weights[later], users))
            for said in doubts(name, judged, reports[name]):
                warn(said)
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


def doubts(name: str, judged: Judged, report: ModelReport) -> list[str]:
    """What speaks against bidding by a model: it ranks no better than chance, or was made worse by its calibration.

    A calibration that is worse on later rows is kept all the same: to choose by the rows that measure would make the
    measure too kind.

    Args:
        name: `ctr` or `cvr`. judged: calibrated, on the rows of the second half. report: before and after on them.
    """
    of = f"{name}: on the later half of the table"
    found = []
    auc, entropy = judged.auc, judged.normalized_entropy
    if auc.value is None or auc.low is None or auc.high is None:
        found.append(
            f"{of} {counted(judged.positives, 'event')} of {counted(judged.rows, 'row')} are too few to say whether "
            f"it ranks better than chance: import it with a larger table"
        )
    elif auc.low <= 0.5:
        found.append(
            f"{of} its AUC is {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}), not shown to be above .5, which is "
            f"chance: check that --spec names its features in their order and codes"
        )
    if entropy.value is not None and entropy.value >= 1.0:
        found.append(
            f"{of} its normalized entropy is {entropy.value:.4f}, 1 or more: it knows no more than the average rate"
        )
    before, after = report.before, report.after
    if _is_worse(before, after, judged.calibration_ratio):
        found.append(
            f"{of} its {report.calibration} calibration is worse than its own scores: log loss "
            f"{_told(before.log_loss)} before, {_told(after.log_loss)} after; predicted over happened "
            f"{_told(before.calibration_ratio)} before, {_told(after.calibration_ratio)} after: rates moved between "
            f"the halves, or the first is too small"
        )
    return found


def _is_worse(before: Metrics, after: Metrics, ratio: Interval) -> bool:
    """Whether calibrated probabilities cost more, or are surely off and further than the model's own."""
    if before.log_loss is not None and after.log_loss is not None and after.log_loss > before.log_loss:
        return True
    if not before.calibration_ratio or not after.calibration_ratio or ratio.low is None or ratio.high is None:
        return False
    further = abs(math.log(after.calibration_ratio)) > abs(math.log(before.calibration_ratio))
    return further and not ratio.low <= 1.0 <= ratio.high


def _told(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"


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
