"""A bundle with its calibration fitted again on newer rows; the trees stay, the hash is another."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import MODEL_NAMES, ModelBundle, ModelReport, save_bundle
from models.calibration import CalibrationTable, calibrate, fit_calibration, sigmoid
from models.dataset import TrainingTable
from models.errors import TableError
from models.evaluate import evaluate
from models.reliability.report import Sample
from models.reliability.won import won_weights

FIT_SHARE = 0.7

Floats = NDArray[np.float64]


def cut_of(sample: Sample, table: TrainingTable, share: float = FIT_SHARE) -> int:
    """How many rows of a sample are for the fit: earlier than all others, rows of one time together.

    Raises:
        TableError: all its rows are of one time.
    """
    at_ns = table.at_ns[sample.rows]
    if len(at_ns) == 0:
        return 0
    cut = int(np.searchsorted(at_ns, at_ns[min(int(len(at_ns) * share), len(at_ns) - 1)], side="left"))
    if cut == 0:
        raise TableError(
            f"table {table.source} must spread over time: calibration is fitted to its earlier rows and measured "
            f"on the later ones, and all {len(at_ns)} are of one time"
        )
    return cut


def refit_tables(
    old: dict[str, CalibrationTable],
    samples: dict[str, Sample],
    raw: dict[str, Floats],
    chances: Floats | None,
    clip: float,
) -> dict[str, CalibrationTable]:
    """A calibration table for each model.

    Args:
        old: the present ones; where fewer than 50 rows have the label 1, or the label 0, the old one stays:
            a few events are no reason to forget many.
        samples: rows to fit. raw: float64[N] raw scores of these rows.
        chances: float64[table], P(win | bid): each row then also counts one over its chance; None does not.
        clip: largest such weight.
    """
    tables = {}
    for name, sample in samples.items():
        weights = sample.sampling
        if chances is not None:
            winning, _ = won_weights(chances[sample.rows], clip)
            weights = winning if weights is None else winning * weights
        fresh = fit_calibration(raw[name], sample.labels, weights)
        tables[name] = fresh if fresh.method == "isotonic" else old[name]
    return tables


def refit_bundle(
    bundle: ModelBundle,
    out_dir: Path,
    tables: dict[str, CalibrationTable],
    later: dict[str, tuple[Floats, Sample]],
    note: dict[str, object],
    until_ns: int,
) -> ModelBundle:
    """Writes the bundle with other calibration tables; its manifest says what they were fitted to.

    Its training window ends no earlier than the rows of the fit: these can not judge it any more.

    Args:
        bundle: the one that was read.
        out_dir: directory to write.
        tables: one for each model.
        later: raw scores of rows later than those of the fit, and these rows; the reports are measured on them.
        note: what the tables were fitted to, kept among the parameters as `recalibration`.
        until_ns: time of the last row of the fit.

    Raises:
        ArtifactError: the directory cannot be written.
    """
    reports = {
        name: _report(bundle.manifest.models[name], tables[name], *later[name]) for name in MODEL_NAMES
    }
    begin_ns, end_ns = bundle.manifest.window_ns
    manifest = msgspec.structs.replace(
        bundle.manifest,
        window_ns=(begin_ns, max(end_ns, until_ns)),
        models={**bundle.manifest.models, **reports},
        params={**bundle.manifest.params, "recalibration": {"of": bundle.hash, "until_ns": until_ns, **note}},
    )
    return save_bundle(out_dir, manifest, bundle.spec, bundle.texts, tables, bundle.value)


def _report(report: ModelReport, table: CalibrationTable, raw: Floats, rows: Sample) -> ModelReport:
    return msgspec.structs.replace(
        report,
        calibration=table.method,
        before=evaluate(rows.labels, sigmoid(raw), rows.sampling),
        after=evaluate(rows.labels, calibrate(table, raw), rows.sampling),
        settled=msgspec.UNSET,  # both are now
    )
