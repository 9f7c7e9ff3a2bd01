"""The value of a conversion: zeros, long tails, the right sum, and its files in the bundle."""

import json
import shutil

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from models.artifact import load_bundle, save_bundle
from models.check import check_file
from models.dataset import TrainingTable, table_from_arrow
from models.errors import ArtifactError, TableError
from models.train import TrainParams, train_bundle
from models.training.value import deviance
from tests.support.training import DECLARATIONS, make_table

PARAMS = TrainParams(num_threads=1, max_rounds=80)
NANOS = 10**9


def mean_value(campaign: np.ndarray) -> np.ndarray:
    """Expected nanos of a conversion: 40 % are worth nothing, the rest 5, 10 or 20 units by campaign."""
    return 0.6 * 5.0 * 2.0**campaign * NANOS


def valued(
    rows: int = 20_000, seed: int = 5, zeros: float = 0.4, tail: float = 0.8
) -> tuple[pa.Table, np.ndarray]:
    """A table with values of conversions, and the expected value of a conversion of each row."""
    arrow = make_table(rows, seed, conversion_rate=0.6, click_rate=0.4)
    random = np.random.default_rng(seed)
    campaign = np.array([int(text[1:]) for text in arrow["campaign"].to_pylist()])
    spread = np.exp(random.normal(-(tail**2) / 2, tail, rows))
    value = 5.0 * 2.0**campaign * NANOS * spread * (random.random(rows) >= zeros)
    converted = np.array([flag == 1 for flag in arrow["conversion"].to_pylist()])
    column = pa.array(np.where(converted, np.round(value), 0.0))
    return arrow.append_column("value_nanos", column), mean_value(campaign) / 0.6 * (1 - zeros)


def read(arrow: pa.Table, **options: object) -> TrainingTable:
    return table_from_arrow(arrow, DECLARATIONS, source="t", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["gamma", "tweedie", "lognormal", "auto"])
def test_value_is_right_in_sum_and_by_campaign(kind, tmp_path):
    """About 2,000 conversions to learn from and 450 to set the scale: its standard error is 6 %."""
    arrow, truth = valued()
    table = read(arrow)
    params = msgspec.structs.replace(PARAMS, value_model=kind)
    bundle = train_bundle(table, DECLARATIONS, tmp_path / "m", params=params)
    assert bundle.value is not None
    report = bundle.manifest.training.value
    assert report.kind in {"gamma", "tweedie", "lognormal"} if kind == "auto" else report.kind == kind
    assert report.zeros == pytest.approx(0.4, abs=0.04)
    assert report.gain > 0.02
    found = bundle.value.nanos(bundle.spec.encode_table(table.columns))
    truth = truth[np.argsort(np.asarray(arrow["at_ns"]), kind="stable")]
    assert found.sum() / truth.sum() == pytest.approx(1.0, abs=0.15)
    for one in np.unique(truth):
        mine = truth == one
        # Shrinkage draws to the mean, which is 2.3, 1.2 and 0.6 times the truth of the three.
        assert found[mine].mean() / one == pytest.approx(1.0, abs=0.37)
    assert np.corrcoef(found, truth)[0, 1] > 0.9


def test_files_of_the_value_come_back_as_they_were(tmp_path):
    arrow, _ = valued(8000)
    bundle = train_bundle(
        read(arrow), DECLARATIONS, tmp_path / "m", params=msgspec.structs.replace(PARAMS, value_model="gamma")
    )
    loaded = load_bundle(bundle.path)
    assert loaded.value == bundle.value
    assert loaded.value.positive_text is not None
    checked = check_file(bundle.path)
    assert checked.fits
    assert [one.name for one in checked.models] == ["ctr", "cvr", "value", "value_positive"]
    assert (checked.differing, checked.largest_difference) == (0, 0.0)
    assert set(loaded.manifest.files) >= {"value.txt", "value.json", "value_positive.txt"}
    x = bundle.spec.encode_table(read(arrow).columns)
    np.testing.assert_array_equal(loaded.value.nanos(x), bundle.value.nanos(x))
    assert loaded.value.nanos(x[:0]).shape == (0,)


@pytest.mark.parametrize("name", ["value.txt", "value.json", "value_positive.txt"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damaged_file_of_the_value_is_named(name, damage, tmp_path):
    arrow, _ = valued(4000)
    bundle = train_bundle(
        read(arrow),
        DECLARATIONS,
        tmp_path / "m",
        params=msgspec.structs.replace(PARAMS, value_model="gamma", max_rounds=5),
    )
    path = bundle.path / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-20] if damage == "cut" else data.replace(b"1", b"2", 1))
    with pytest.raises(ArtifactError, match=f"{name} must"):
        load_bundle(bundle.path)


def test_few_values_make_the_mean(tmp_path):
    arrow, _ = valued(600)
    table = read(arrow)
    bundle = train_bundle(table, DECLARATIONS, tmp_path / "m", params=PARAMS)
    report = bundle.manifest.training.value
    assert (report.kind, report.rounds) == ("prior", 1)
    found = bundle.value.nanos(bundle.spec.encode_table(table.columns))
    assert np.unique(found).size == 1
    rows = (table.conversion == 1.0)[: bundle.manifest.rows["train"] + bundle.manifest.rows["calibration"]]
    value = table.extras["value_nanos"][: len(rows)][rows]
    assert value.min() <= found[0] <= value.max()
    assert found[0] == pytest.approx(value.mean(), rel=0.35)


def test_no_value_above_zero_makes_no_model(tmp_path):
    arrow, _ = valued(2000, zeros=1.1)
    bundle = train_bundle(read(arrow), DECLARATIONS, tmp_path / "m", params=PARAMS)
    assert bundle.value is None
    assert bundle.manifest.training.value is None
    assert not (bundle.path / "value.txt").exists()


def test_bundle_without_value_leaves_no_file_of_one_before(tmp_path):
    arrow, _ = valued(4000)
    train_bundle(read(arrow), DECLARATIONS, tmp_path / "m", params=PARAMS)
    assert (tmp_path / "m" / "value.txt").exists()
    params = msgspec.structs.replace(PARAMS, value_model="none")
    train_bundle(read(arrow), DECLARATIONS, tmp_path / "m", params=params)
    assert not list((tmp_path / "m").glob("value*"))
    assert load_bundle(tmp_path / "m").value is None


def test_deviance_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(6)
    value = random.exponential(1.0, 200) * (random.random(200) < 0.7)
    guess, weight = random.exponential(1.0, 200) + 0.1, random.random(200) + 0.5
    theirs = metrics.mean_tweedie_deviance(value, guess, sample_weight=weight, power=1.5)
    assert deviance(value, guess, weight) == pytest.approx(theirs, rel=1e-12)


def test_negative_value_is_refused_with_its_row():
    arrow, _ = valued(100)
    column = pa.array([0.0, -5.0, *[0.0] * 98])
    arrow = arrow.set_column(arrow.column_names.index("value_nanos"), "value_nanos", column)
    with pytest.raises(TableError, match=r"value_nanos must be >= 0 or null: .* was -5.0 \(row 2, t\)"):
        read(arrow)


def test_another_goal_is_the_conversion_and_has_no_value(tmp_path):
    arrow, _ = valued(6000)
    churn = [None if flag is None else 1 - flag for flag in arrow["conversion"].to_pylist()]
    arrow = arrow.drop_columns(["conversion"]).append_column("churn", pa.array(churn, pa.int8()))
    table = read(arrow, goal="churn")
    bundle = train_bundle(table, DECLARATIONS, tmp_path / "m", params=PARAMS)
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    assert manifest["training"]["goal"] == "churn"
    assert manifest["label_rates"]["cvr"] == pytest.approx(np.nanmean(table.conversion))
    assert bundle.value is None


def test_goal_must_be_a_column_and_no_feature():
    arrow, _ = valued(100)
    with pytest.raises(TableError, match="must have the column churn, has"):
        read(arrow, goal="churn")
    with pytest.raises(TableError, match="feature exchange must not be the goal"):
        read(arrow, goal="exchange")


def test_bundle_of_format_1_still_loads(tmp_path):
    """Written as the version before wrote it: no field `training`, and the hash over a text without it."""
    bundle = train_bundle(
        read(make_table(1000)),
        DECLARATIONS,
        tmp_path / "m",
        params=msgspec.structs.replace(PARAMS, max_rounds=5),
    )
    old = msgspec.structs.replace(bundle.manifest, format=1, training=msgspec.UNSET)
    shutil.rmtree(bundle.path)
    save_bundle(bundle.path, old, bundle.spec, bundle.texts, bundle.calibration)
    assert "training" not in json.loads((bundle.path / "manifest.json").read_text())
    assert load_bundle(bundle.path).manifest.training is msgspec.UNSET
