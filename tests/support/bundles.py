"""Small bundles that pass all checks, made without training: for tests that need models, not their sense."""

from pathlib import Path

import lightgbm as lgb
import numpy as np

from models.artifact import FORMAT, MODEL_NAMES, Manifest, ModelBundle, ModelReport, save_bundle
from models.calibration import CalibrationTable
from models.evaluate import evaluate
from models.schema import Feature, FeatureSpec
from models.value import ValueModel
from tests.support import factories as make

FEATURES = (
    Feature("exchange", "categorical", "request", ("x0", "x1")),
    Feature("floor_cpm", "numeric", "request"),
    Feature("campaign", "categorical", "campaign", ("c1", "c2")),
)
_REPORT = ModelReport(
    kind="lightgbm",
    rounds=3,
    early_stopping=False,
    training_rows=400,
    training_positives=200,
    calibration="offset",
    before=evaluate(np.array([1.0, 0.0]), np.array([0.6, 0.4])),
    after=evaluate(np.array([1.0, 0.0]), np.array([0.6, 0.4])),
)


def make_bundle(
    path: Path, seed: int, *, extra: str | None = None, probability: tuple[float, float] = (0.001, 0.5)
) -> ModelBundle:
    """A bundle whose trees follow from `seed`; `extra` names one more categorical feature of the request."""
    features = FEATURES + ((Feature(extra, "categorical", "request", ("a", "b")),) if extra else ())
    spec = FeatureSpec(features)
    random = np.random.default_rng(seed)
    rows = random.integers(0, 3, (400, len(spec))).astype(np.float64)
    texts = {}
    for name in ("ctr", "cvr"):
        labels = (random.random(400) < 0.2 + 0.2 * rows[:, seed % 3]).astype(np.float64)
        params = {
            "objective": "binary", "verbose": -1, "num_leaves": 4, "num_threads": 1, "seed": seed,
            "min_data_in_leaf": 5, "deterministic": True, "force_row_wise": True,
        }  # fmt: skip
        texts[name] = str(lgb.train(params, lgb.Dataset(rows, labels), num_boost_round=3).model_to_string())
    table = CalibrationTable("offset", (-3.0, 3.0), probability)
    manifest = Manifest(
        format=FORMAT,
        spec_hash="",
        files={},
        window_ns=(0, 1000 + seed),
        rows={"train": 400},
        label_rates={"ctr": 0.4, "cvr": 0.4},
        table_sha256="0" * 64,
        created_from="made",
        params={"seed": seed},
        models={"ctr": _REPORT, "cvr": _REPORT},
        versions={},
    )
    return save_bundle(path, manifest, spec, texts, dict.fromkeys(("ctr", "cvr"), table))


def random_bundle(path: Path, value: ValueModel | None = None, seed: int = 1) -> ModelBundle:
    """The random models of `factories`, with a model of value or without."""
    texts = dict(zip(MODEL_NAMES, make.model_texts(seed), strict=True))
    knots = dict(zip(MODEL_NAMES, ((1e-9, 0.002, 0.01), (1e-9, 0.1, 0.5)), strict=True))
    calibration = {name: CalibrationTable("offset", make.KNOTS_RAW, knots[name]) for name in texts}
    manifest = Manifest(
        format=FORMAT, spec_hash="", files={}, window_ns=(0, 1), rows={}, label_rates={}, table_sha256="",
        created_from="rows", params={}, models=dict.fromkeys(MODEL_NAMES, _REPORT), versions={},
    )  # fmt: skip
    return save_bundle(path, manifest, make.SPEC, texts, calibration, value)
