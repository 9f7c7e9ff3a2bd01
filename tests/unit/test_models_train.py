"""Training, the bundle it writes, and the checks on reading it back."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from models.artifact import MODEL_NAMES, ModelBundle, load_bundle
from models.calibration import calibrate
from models.dataset import TrainingTable, table_from_arrow
from models.errors import ArtifactError, TableError
from models.scorer import Scorer
from models.train import TrainParams, train_bundle
from tests.support.lightgbm_models import lightgbm_raw, same_bits
from tests.support.training import DECLARATIONS, make_table

PARAMS = TrainParams(num_threads=1, max_rounds=40, fixed_rounds=10)


def load(arrow: pa.Table) -> TrainingTable:
    return table_from_arrow(arrow, DECLARATIONS, source="impressions.parquet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> ModelBundle:
    out = tmp_path_factory.mktemp("models") / "first"
    return train_bundle(load(make_table()), DECLARATIONS, out, params=PARAMS)


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained.path, tmp_path / "copy"))


def test_report_tells_where_the_model_came_from(trained):
    manifest = trained.manifest
    assert manifest.created_from == "impressions.parquet"
    assert manifest.rows == {"train": 2800, "calibration": 600, "test": 600}
    assert manifest.window_ns[0] < manifest.window_ns[1]
    assert manifest.params["seed"] == 1
    assert set(manifest.versions) >= {"python", "lightgbm", "numpy"}


def test_both_models_learn_the_law_of_the_table(trained):
    ctr, cvr = (trained.manifest.models[name] for name in MODEL_NAMES)
    assert (ctr.kind, ctr.early_stopping, ctr.calibration) == ("lightgbm", True, "isotonic")
    assert ctr.after.auc is not None
    assert ctr.after.auc > 0.65
    assert ctr.after.normalized_entropy is not None
    assert ctr.after.normalized_entropy < 0.97
    assert ctr.after.calibration_ratio == pytest.approx(1.0, abs=0.25)
    assert cvr.kind == "lightgbm"
    assert cvr.after.rows == ctr.after.positives


def test_conversions_of_rows_without_click_are_not_looked_at(tmp_path):
    """The negative control of leakage: conversions written on unclicked rows change nothing."""
    arrow = make_table()
    lies = [1 if value is None else value for value in arrow["conversion"].to_pylist()]
    place = arrow.column_names.index("conversion")
    one = train_bundle(load(arrow), DECLARATIONS, tmp_path / "a", params=PARAMS)
    two = train_bundle(
        load(arrow.set_column(place, "conversion", pa.array(lies))),
        DECLARATIONS,
        tmp_path / "b",
        params=PARAMS,
    )
    assert one.texts == two.texts


def test_later_rows_do_not_reach_the_trees_the_vocabulary_or_the_calibration(trained, tmp_path):
    arrow = make_table()
    late = arrow.num_rows - 600
    click = [1 - value if row >= late else value for row, value in enumerate(arrow["click"].to_pylist())]
    domain = [
        "new.example" if row >= late else value for row, value in enumerate(arrow["domain"].to_pylist())
    ]
    arrow = arrow.set_column(1, "click", pa.array(click)).set_column(
        arrow.column_names.index("domain"), "domain", pa.array(domain)
    )
    other = train_bundle(load(arrow), DECLARATIONS, tmp_path / "m", params=PARAMS)
    assert other.texts == trained.texts
    assert other.spec.hash == trained.spec.hash
    assert other.calibration == trained.calibration
    assert other.manifest.models["ctr"].after != trained.manifest.models["ctr"].after


def test_same_table_and_seed_give_the_same_bundle(trained, tmp_path):
    again = train_bundle(load(make_table()), DECLARATIONS, tmp_path / "m", params=PARAMS)
    assert again.hash == trained.hash
    assert (again.path / "manifest.json").read_bytes() == (trained.path / "manifest.json").read_bytes()


def test_number_of_threads_does_not_change_the_trees(trained, tmp_path):
    params = TrainParams(num_threads=2, max_rounds=40, fixed_rounds=10)
    again = train_bundle(load(make_table()), DECLARATIONS, tmp_path / "m", params=params)
    for name in MODEL_NAMES:
        assert again.texts[name].split("end of trees")[0] == trained.texts[name].split("end of trees")[0]


def test_few_conversions_make_a_prior_of_one_leaf(tmp_path):
    table = load(make_table(conversion_rate=0.01))
    bundle = train_bundle(table, DECLARATIONS, tmp_path / "m", params=PARAMS)
    report = bundle.manifest.models["cvr"]
    assert (report.kind, report.rounds, report.calibration) == ("prior", 1, "offset")
    p = (report.training_positives + 0.1) / (report.training_rows + 10)
    raw = Scorer(bundle).score_rows(bundle.spec.encode_table(table.columns))[:, 1]
    np.testing.assert_allclose(raw, np.log(p / (1 - p)), rtol=1e-6)


def test_table_without_a_click_still_gives_a_bundle_that_scores(tmp_path):
    table = load(make_table(300, click_rate=1e-12))
    assert table.click.sum() == 0
    with pytest.raises(TableError, match=r"there is no click: give more rows, or .* --allow-prior"):
        train_bundle(table, DECLARATIONS, tmp_path / "m", params=PARAMS)
    params = msgspec.structs.replace(PARAMS, allow_prior=True)
    bundle = train_bundle(table, DECLARATIONS, tmp_path / "m", params=params)
    p = Scorer(load_bundle(bundle.path)).probabilities(bundle.spec.encode_table(table.columns))
    np.testing.assert_allclose(p[:, 1], 0.01, rtol=1e-3)
    assert ((p[:, 0] > 0.0) & (p[:, 0] < 0.01)).all()
    assert bundle.manifest.models["ctr"].after.auc is None


def test_progress_is_told_by_stage(tmp_path):
    told: list[tuple[str, int, int]] = []
    train_bundle(
        load(make_table(1000)),
        DECLARATIONS,
        tmp_path / "m",
        params=PARAMS,
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["encode", "ctr", "cvr", "write"]
    assert all(0 <= done <= total for _, done, total in told)
    assert {stage for stage, done, total in told if done == total} == {"encode", "ctr", "cvr", "write"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (TrainParams(num_leaves=64), "num_leaves must be 2 to 31, was 64"),
        (TrainParams(test_share=0.9), "shares"),
        (TrainParams(calibration_share=0.0), "shares"),
    ],
)
def test_parameters_out_of_range_are_refused(params, message, tmp_path):
    with pytest.raises(TableError, match=message):
        train_bundle(load(make_table(100)), DECLARATIONS, tmp_path, params=params)


def test_loaded_bundle_is_the_saved_one(trained):
    loaded = load_bundle(trained.path)
    assert loaded.manifest == trained.manifest
    assert loaded.texts == trained.texts
    assert loaded.calibration == trained.calibration
    assert loaded.spec.features == trained.spec.features


def test_scorer_gives_lightgbm_scores_and_calibrated_probabilities(trained):
    values = trained.spec.encode_table(load(make_table(500, seed=9)).columns)
    scorer = Scorer(load_bundle(trained.path))
    raw, p = scorer.score_rows(values), scorer.probabilities(values)
    for m, name in enumerate(MODEL_NAMES):
        assert same_bits(raw[:, m], lightgbm_raw(trained.texts[name], values)).all()
        assert same_bits(p[:, m], calibrate(trained.calibration[name], raw[:, m])).all()


def test_sides_of_the_features_are_kept(trained):
    assert [trained.spec.names[place] for place in trained.spec.campaign] == ["campaign"]
    assert len(trained.spec.request) + 1 == len(trained.spec)


@pytest.mark.parametrize("name", ["manifest.json", "spec.json", "ctr.txt", "cvr.txt", "calibration.json"])
def test_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} must exist, does not: train"):
        load_bundle(copied)


@pytest.mark.parametrize("name", ["spec.json", "ctr.txt", "cvr.txt", "calibration.json"])
def test_one_altered_byte_is_found(copied, name):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(
        ArtifactError, match=rf"{name} must have sha256 \w+, was \w+: it was altered"
    ) as caught:
        load_bundle(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
@pytest.mark.parametrize("name", ["spec.json", "ctr.txt", "calibration.json"])
def test_a_file_that_was_cut_is_told_from_one_that_was_altered(copied, name, share):
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArtifactError, match=rf"{name} must be whole, was cut short at [\d,]+ bytes?: copy"):
        load_bundle(copied)


def test_altered_metric_in_the_manifest_is_found(copied):
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["models"]["ctr"]["after"]["auc"] = 0.99
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"manifest\.json must have the hash"):
        load_bundle(copied)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "must have format 1 or 2, was None"),
        ('{"format": 3}', "must have format 1 or 2, was 3"),
        ('{"format": 1}', "is broken"),
    ],
)
def test_broken_manifest_is_one_clear_line(copied, text, message):
    (copied / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_bundle(copied)
    assert "\n" not in str(caught.value)


def test_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere"):
        load_bundle(tmp_path / "nowhere")


def test_directory_that_cannot_be_written_is_named(trained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="must be writable"):
        train_bundle(load(make_table(300)), DECLARATIONS, tmp_path / "file" / "m", params=PARAMS)
