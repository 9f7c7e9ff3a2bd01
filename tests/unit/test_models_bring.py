"""`clearbid models import`: a LightGBM text that was trained elsewhere becomes a bundle that bids."""

import json
import re

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from bidder.store.model import load_model
from models import check as checking
from models.artifact import load_bundle
from models.bring import bring_model
from models.calibration import calibrate
from models.commands import register
from models.dataset import read_table
from models.errors import ArtifactError, TableError
from models.schema import Declaration, fit_spec
from models.scorer import Scorer
from tests.support.training import make_table, write_parquet

DECLARATIONS = (
    Declaration("domain", "categorical"),
    Declaration("floor_cpm", "numeric"),
    Declaration("segments", "segments", top=3),
    Declaration("campaign", "categorical", "campaign"),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(checking, "_TIMED_S", 0.001)


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A folder with a regression of clicks on other rows, its spec, and a table."""
    folder = tmp_path_factory.mktemp("brought")
    old = read_table(write_parquet(folder / "old.parquet", make_table(3000, seed=8)), DECLARATIONS)
    spec = fit_spec(old.columns, DECLARATIONS)
    x = spec.encode_table(old.columns)
    params = {"objective": "regression", "verbose": -1, "num_leaves": 8, "num_threads": 1}
    data = lgb.Dataset(x, old.click, categorical_feature=[0, len(spec) - 1], params=params)
    lgb.train(params, data, 30).save_model(folder / "click.txt")
    (folder / "spec.json").write_bytes(spec.to_json())
    write_parquet(folder / "rows.parquet", make_table(4000))
    return folder


def bring(folder, out, **changes):
    given = {
        "click": folder / "click.txt",
        "spec": folder / "spec.json",
        "table": folder / "rows.parquet",
    } | changes
    return bring_model(**given, out=out)


def test_brought_model_is_calibrated_and_bids(brought, tmp_path):
    bundle = bring(brought, tmp_path / "m")
    assert bundle.manifest.models["ctr"].after.auc > 0.6
    assert bundle.manifest.models["ctr"].after.calibration_ratio == pytest.approx(1.0, abs=0.15)
    assert bundle.manifest.params == {"brought": {"ctr": "click.txt", "cvr": "click.txt"}}
    assert load_bundle(tmp_path / "m").hash == bundle.hash
    assert not load_model(tmp_path / "m").fallback
    rows = read_table(brought / "rows.parquet", DECLARATIONS)
    x = bundle.spec.encode_table(rows.columns)
    raw = lgb.Booster(model_file=brought / "click.txt").predict(x, raw_score=True)
    found = Scorer(bundle).probabilities(x)
    assert np.allclose(found[:, 0], calibrate(bundle.calibration["ctr"], raw), rtol=0, atol=1e-15)


def test_without_a_conversion_model_every_click_converts_alike(brought, tmp_path):
    bundle = bring(brought, tmp_path / "m")
    rows = read_table(brought / "rows.parquet", DECLARATIONS)
    half = rows.slice(0, 2000)
    known = half.conversion[half.click > 0]
    found = Scorer(bundle).probabilities(bundle.spec.encode_table(rows.columns))
    assert np.unique(found[:, 1]).tolist() == [pytest.approx((known.sum() + 0.1) / (len(known) + 10))]
    assert bundle.manifest.models["cvr"].kind == "mean"


def test_sampled_table_is_calibrated_to_the_population(brought, tmp_path):
    sampled = make_table(4000)
    weight = np.where(sampled["click"].to_numpy() > 0, 1.0, 100.0)  # negatives were kept 1 in 100
    sampled = sampled.append_column("weight", pa.array(weight))
    bundle = bring(brought, tmp_path / "m", table=write_parquet(tmp_path / "sampled.parquet", sampled))
    rows = read_table(tmp_path / "sampled.parquet", DECLARATIONS)
    p = Scorer(bundle).probabilities(bundle.spec.encode_table(rows.columns))[:, 0]
    population = float(np.repeat(rows.click, weight.astype(int)).mean())
    assert population < 0.01
    half = slice(0, 2000)
    of_half = float(np.repeat(rows.click[half], weight[half].astype(int)).mean())
    assert np.average(p[half], weights=weight[half]) == pytest.approx(of_half, rel=1e-6)
    assert bundle.manifest.label_rates["ctr"] == pytest.approx(population, rel=1e-12)
    assert bundle.manifest.models["ctr"].after.calibration_ratio == pytest.approx(1.0, abs=0.15)


def test_flat_conversion_rate_counts_weights(brought, tmp_path):
    table = make_table(4000)
    bought = np.array([value == 1 for value in table["conversion"].to_pylist()])
    table = table.append_column("weight", pa.array(np.where(bought, 1.0, 5.0)))
    bundle = bring(brought, tmp_path / "m", table=write_parquet(tmp_path / "sampled.parquet", table))
    ones = (bought & (table["click"].to_numpy() > 0))[:2000].sum()
    zeros = (~bought & (table["click"].to_numpy() > 0))[:2000].sum()
    assert bundle.calibration["cvr"].probability[0] == pytest.approx(
        (ones + 0.1) / (ones + 5 * zeros + 10), rel=1e-12
    )


def test_conversion_model_of_its_own_is_used(brought, tmp_path):
    bundle = bring(brought, tmp_path / "m", conversion=brought / "click.txt")
    assert bundle.manifest.models["cvr"].kind == "lightgbm"
    assert len(bundle.calibration["cvr"].raw) > 1


def test_text_that_does_not_fit_is_refused_with_each_reason(brought, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text((brought / "click.txt").read_text().replace("num_class=1", "num_class=2"))
    with pytest.raises(ArtifactError, match=r"does not fit this bidder: .*num_class=1"):
        bring(brought, tmp_path / "m", click=other)
    assert not (tmp_path / "m").exists()


def test_text_that_is_no_model_is_refused_as_such(brought, tmp_path):
    (tmp_path / "note.txt").write_text("not a model\n")
    with pytest.raises(ArtifactError, match="must be a LightGBM model text"):
        bring(brought, tmp_path / "out", click=tmp_path / "note.txt")


def test_features_that_no_bidder_serves_are_refused_before_the_work(brought, tmp_path):
    other = tmp_path / "other.json"
    other.write_bytes((brought / "spec.json").read_bytes().replace(b'"floor_cpm"', b'"shoe_size"'))
    with pytest.raises(ArtifactError, match=r"those that a bidder serves: .*was shoe_size; train it without"):
        bring(brought, tmp_path / "m", spec=other, table=tmp_path / "none.parquet")
    with pytest.raises(ArtifactError, match="must be a file, is not there"):
        bring(brought, tmp_path / "m", spec=tmp_path / "none.json")
    assert not (tmp_path / "m").exists()


def test_table_that_is_too_small_is_refused(brought, tmp_path):
    small = write_parquet(tmp_path / "small.parquet", make_table(150))
    with pytest.raises(TableError, match="must have 100 rows in each half by time, had 75 and 75"):
        bring(brought, tmp_path / "m", table=small)


def warned(folder, out, **changes):
    said = []
    bring(folder, out, warn=said.append, **changes)
    return said


def test_a_model_that_ranks_well_and_is_calibrated_on_steady_rows_is_not_warned_of(brought, tmp_path):
    assert warned(brought, tmp_path / "m") == []


def test_a_model_that_ranks_by_chance_is_warned_of_and_made(brought, tmp_path):
    table = make_table(4000)
    shuffled = np.random.default_rng(2).permutation(table["click"].to_numpy())
    place = table.column_names.index("click")
    table = table.set_column(place, "click", pa.array(shuffled))
    table = table.set_column(
        table.column_names.index("conversion"),
        "conversion",
        pa.array([0 if one else None for one in shuffled], pa.int8()),
    )
    path = write_parquet(tmp_path / "chance.parquet", table)
    said = warned(brought, tmp_path / "m", table=path)
    assert re.match(r"ctr: on the later half of the table its AUC is 0\.[45]\d+ \(0\.4.* to 0\.5", said[0])
    assert "not shown to be above .5" in said[0]
    assert any("normalized entropy is 1." in each for each in said)
    app = typer.Typer()
    register(app)
    given = [brought / "click.txt", path, "--spec", brought / "spec.json", "--out", tmp_path / "again"]
    done = CliRunner().invoke(app, ["models", "import", *map(str, given)])
    assert done.exit_code == 0
    assert "warning: ctr: on the later half" in done.stderr


def test_a_calibration_that_later_rows_refute_is_warned_of_with_both_numbers(brought, tmp_path):
    """The text gives log odds that are right in the second half; the first half had half the clicks."""
    old = read_table(brought / "rows.parquet", DECLARATIONS)
    spec = fit_spec(old.columns, DECLARATIONS)
    params = {"objective": "binary", "verbose": -1, "num_leaves": 8, "num_threads": 1}
    x = spec.encode_table(old.columns)
    data = lgb.Dataset(x, old.click, categorical_feature=[0, len(spec) - 1], params=params)
    lgb.train(params, data, 30).save_model(tmp_path / "binary.txt")
    (tmp_path / "spec.json").write_bytes(spec.to_json())
    table = make_table(4000)
    click = table["click"].to_numpy().copy()
    click[:2000] *= np.random.default_rng(1).random(2000) < 0.5
    table = table.set_column(table.column_names.index("click"), "click", pa.array(click))
    path = write_parquet(tmp_path / "moved.parquet", table)
    (said,) = warned(
        brought, tmp_path / "m", click=tmp_path / "binary.txt", spec=tmp_path / "spec.json", table=path
    )
    number = r"(\d\.\d{4})"
    found = re.search(
        rf"log loss {number} before, {number} after; predicted over happened {number} before, {number}", said
    )
    assert float(found[1]) < float(found[2])
    assert float(found[4]) < 0.7 < 0.9 < float(found[3])


def test_command_prints_what_was_made(brought, tmp_path):
    app = typer.Typer()
    register(app)
    given = [brought / "click.txt", brought / "rows.parquet", "--spec", brought / "spec.json"]
    done = CliRunner().invoke(
        app, ["models", "import", *map(str, given), "--out", str(tmp_path / "m"), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == {"train": 0, "calibration": 2000, "test": 2000}


def test_what_a_brought_model_learned_from_is_claimed_nowhere(brought, tmp_path):
    app = typer.Typer()
    register(app)
    given = [brought / "click.txt", brought / "rows.parquet", "--spec", brought / "spec.json"]
    done = CliRunner().invoke(app, ["models", "import", *map(str, given), "--out", str(tmp_path / "m")])
    again = CliRunner().invoke(app, ["models", "show", str(tmp_path / "m")])
    assert done.exit_code == again.exit_code == 0, done.output
    for said in (" ".join(each.stdout.split()) for each in (done, again)):
        assert "on the later half of rows.parquet; what its trees learned from is not known" in said
        assert "2,000 calibration, 2,000 test; trained elsewhere" in said
        assert "cvr one rate for all clicks" in said
        assert "cvr mean" in said
        for claim in ("training saw", "prior", " 0 train", "cvr raw"):
            assert claim not in said
