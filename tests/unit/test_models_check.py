"""`clearbid models check`: whether a model that somebody brings would bid, and what to do where not."""

import json
import re

import lightgbm as lgb
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from bidder.core.opportunity import RAW_FEATURES
from bidder.core.scoring import CAMPAIGN_FEATURES
from models import check as checking
from models.check import check_file
from models.commands import register
from models.dataset import read_table
from models.errors import ArtifactError, TableError
from models.schema import SERVED, Declaration, Feature, FeatureSpec, serving_faults
from models.scorer import RowScorer
from models.train import TrainParams, train_bundle
from tests.support.training import make_table, write_parquet


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    register(found)
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(checking, "_TIMED_S", 0.001)


def write(path, names=("floor_cpm", "segment_count"), categorical=(), rounds=5, **params):
    random = np.random.default_rng(1)
    x = random.normal(size=(600, len(names)))
    for place in categorical:
        x[:, place] = random.integers(0, 6, 600)
    y = (np.sin(2 * x[:, 0]) + x[:, 1] + random.normal(size=600) > 0).astype(float)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 2, **params}
    settings |= {"min_data_per_group": 2, "cat_smooth": 1.0}
    data = lgb.Dataset(x, y, feature_name=list(names), categorical_feature=list(categorical), params=settings)
    lgb.train(settings, data, rounds).save_model(path)
    return path


def spec_file(path, *features):
    path.write_bytes(FeatureSpec(features).to_json())
    return path


def run(app, *arguments):
    return CliRunner().invoke(app, ["models", "check", *map(str, arguments)])


# -- what fits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "output"),
    [
        ({}, "log odds"),
        ({"sigmoid": 2.5}, "log odds over 2.5"),
        ({"boost_from_average": False, "is_unbalance": True}, "log odds"),
        ({"objective": "cross_entropy"}, "log odds"),
        ({"objective": "regression"}, "value"),
        ({"objective": "regression", "reg_sqrt": True}, "root of the value, with its sign"),
        ({"objective": "regression_l1"}, "value"),
        ({"objective": "huber"}, "value"),
        ({"objective": "poisson"}, "logarithm of the mean"),
        ({"objective": "tweedie"}, "logarithm of the mean"),
        ({"boosting": "dart", "drop_rate": 0.5}, "log odds"),
        ({"data_sample_strategy": "goss"}, "log odds"),
        ({"extra_trees": True, "zero_as_missing": True}, "log odds"),
        ({"num_leaves": 64}, "log odds"),
    ],
)
def test_any_single_sum_of_trees_fits_whatever_its_objective(tmp_path, params, output):
    report = check_file(write(tmp_path / "m.txt", **params))
    assert report.fits, report.faults
    assert report.models[0].output == output
    assert (report.rows, report.differing, report.largest_difference) == (2000, 0, 0.0)
    assert [one.batch for one in report.speeds] == [1, 32, 512]
    assert all(one.ratio == one.lightgbm_us / one.ours_us for one in report.speeds)


def test_needs_are_the_features_that_splits_ask_for(tmp_path):
    path = write(tmp_path / "m.txt", ("floor_cpm", "region", "hour"), categorical=(1,), rounds=8)
    report = check_file(path)
    dump = lgb.Booster(model_file=path).dump_model()
    counts = dict(
        zip(dump["feature_names"], lgb.Booster(model_file=path).feature_importance("split"), strict=True)
    )
    assert {one.name: one.splits for one in report.needs} == {name: n for name, n in counts.items() if n}
    assert {one.name: one.kind for one in report.needs}["region"] == "categorical"
    assert 1 <= {one.name: one.codes for one in report.needs}["region"] <= 6


def test_bundle_is_compared_on_the_rows_of_a_table(tmp_path, app):
    declarations = (Declaration("domain", "categorical"), Declaration("campaign", "categorical", "campaign"))
    path = tmp_path / "rows.parquet"
    write_parquet(path, make_table(1500))
    params = TrainParams(max_rounds=10, fixed_rounds=10)
    train_bundle(read_table(path, declarations), declarations, tmp_path / "model", seed=1, params=params)
    done = run(app, tmp_path / "model", path, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["kind"], report["fits"], report["rows"], report["differing"]) == ("bundle", True, 3500, 0)
    assert report["rows_from"] == "rows.parquet and generated rows"
    assert [one["name"] for one in report["models"]] == ["ctr", "cvr"]


def test_report_for_people_says_needs_bits_speed_and_verdict(tmp_path, app):
    done = run(app, write(tmp_path / "m.txt"))
    assert done.exit_code == 0, done.output
    for words in ("floor_cpm (numeric", "0 of 2,000 rows differ in a bit", "LightGBM us", "verdict", "fits"):
        assert words in done.stdout


# -- what does not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_leaves": 100}, "1 to 64 leaves, had .*: train it again with num_leaves=64"),
        ({"objective": "regression", "linear_tree": True}, "train with linear_tree=false"),
        (
            {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
            "a random forest.*boosting=gbdt",
        ),
        ({"objective": "multiclass", "num_class": 2}, "num_class=1"),
        ({"names": ("colour", "age")}, "colour, age|age, colour"),
        ({"names": ("Column_0", "Column_1")}, "name their spec.json with --spec"),
        ({"names": ("hour", "region")}, "must be categorical, its splits are numeric"),
        ({"names": ("floor_cpm", "region"), "categorical": (1,)}, "name their vocabularies with --spec"),
    ],
)
def test_model_that_does_not_fit_ends_with_1_and_says_why(tmp_path, app, params, message):
    done = run(app, write(tmp_path / "m.txt", **params), "--json")
    assert done.exit_code == 1, done.output
    report = json.loads(done.stdout)
    assert not report["fits"]
    assert any(re.search(message, fault) for fault in report["faults"]), report["faults"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((Feature("floor_cpm", "numeric", "request"),), "the 1 features of the spec, was on 2"),
        (
            (Feature("floor_cpm", "numeric", "request"), Feature("age", "numeric", "request")),
            "named as in the spec, in its order, has region where the spec has age: name the spec",
        ),
        (
            (Feature("floor_cpm", "numeric", "request"), Feature("region", "numeric", "request")),
            "feature region must be categorical, was numeric",
        ),
        (
            (
                Feature("floor_cpm", "numeric", "request"),
                Feature("region", "categorical", "request", ("CA",)),
            ),
            "codes of region must be 0 to 1 .*, splits name",
        ),
        (
            (
                Feature("floor_cpm", "numeric", "campaign"),
                Feature("region", "categorical", "request", tuple("abcde")),
            ),
            "campaign feature must be one of campaign, advertiser, line_item, was floor_cpm",
        ),
    ],
)
def test_model_that_is_not_of_its_spec_is_told_apart(tmp_path, features, message):
    path = write(tmp_path / "m.txt", ("floor_cpm", "region"), categorical=(1,), rounds=20)
    report = check_file(path, spec=spec_file(tmp_path / "spec.json", *features))
    assert not report.fits
    assert any(re.search(message, fault) for fault in report.faults), report.faults


def test_feature_that_no_split_uses_must_be_served_too(tmp_path):
    """A bidder that loads the model encodes all its features."""
    path = write(
        tmp_path / "m.txt", ("floor_cpm", "age"), rounds=1, num_leaves=2, interaction_constraints="[0]"
    )
    features = (Feature("floor_cpm", "numeric", "request"), Feature("age", "numeric", "request"))
    report = check_file(path, spec=spec_file(tmp_path / "spec.json", *features))
    assert [need.name for need in report.needs] == ["floor_cpm"]
    assert not report.fits
    assert any("was age; train it without them" in fault for fault in report.faults), report.faults


def test_model_of_its_spec_fits(tmp_path):
    path = write(tmp_path / "m.txt", ("f0", "f1"), categorical=(1,))
    spec = spec_file(
        tmp_path / "spec.json",
        Feature("floor_cpm", "numeric", "request"),
        Feature("region", "categorical", "request", tuple("abcde")),
    )
    assert check_file(path, spec=spec).fits


def test_compiled_scores_that_differ_are_a_fault_with_their_count(tmp_path, monkeypatch):
    old = RowScorer.__call__
    monkeypatch.setattr(RowScorer, "__call__", lambda self, values: np.nextafter(old(self, values), np.inf))
    report = check_file(write(tmp_path / "m.txt"))
    assert not report.fits
    assert report.differing == report.rows == 2000
    assert report.largest_difference > 0.0
    assert "equal LightGBM" in report.faults[0]


def test_bad_input_ends_with_2_where_a_model_that_does_not_fit_ends_with_1(tmp_path, app):
    done = run(app, tmp_path / "nothing.txt")
    assert isinstance(done.exception, ArtifactError)
    assert done.exception.exit_code == 2
    done = run(app, write(tmp_path / "m.txt", num_leaves=100))
    assert done.exit_code == 1
    assert "does not fit" in done.stdout


def broken(text):
    return text[: int(len(text) * 0.7)]


@pytest.mark.parametrize(
    ("params", "alter", "fault"),
    [
        ({"num_leaves": 100}, str, "tree 0 of the model must have 1 to 64 leaves"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, str, "was a random forest"),
        ({}, broken, "was cut short in tree"),
        ({}, lambda text: text[:60], "was cut short before its first tree"),
    ],
)
def test_fault_of_a_refused_text_comes_first_and_nothing_is_said_of_what_was_not_read(
    tmp_path, app, params, alter, fault
):
    names = ("floor_cpm", *(f"colour{place}" for place in range(35)))
    path = write(tmp_path / "m.txt", names, **params)
    path.write_text(alter(path.read_text()))
    features = [Feature(name, "numeric", "request") for name in names]
    done = run(app, path, "--spec", spec_file(tmp_path / "spec.json", *features))
    assert done.exit_code == 1, done.output
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line[:1].strip()]
    assert [words[0] for words in lines] == ["model", "verdict", "fault", "m.txt"]
    assert fault in " ".join(done.stdout.split())
    assert not {"needs", "note"} & {words[0] for words in lines}
    assert lines[-1][1].strip() == "not read to its end"


@pytest.mark.parametrize("named", [True, False])
def test_many_features_that_no_request_has_are_five_and_how_many_more(tmp_path, named):
    names = tuple(f"colour{place}" for place in range(36))
    path = write(tmp_path / "m.txt", names, rounds=40)
    features = [Feature(name, "numeric", "request") for name in names]
    report = check_file(path, spec=spec_file(tmp_path / "spec.json", *features) if named else None)
    (fault,) = report.faults
    assert re.search(r"were (colour\d+, ){4}colour\d+ and 31 more", fault)
    assert "train it without them" in fault
    assert "m.txt" not in fault
    assert len(fault) < 500


def test_many_names_of_another_spec_are_five_and_how_many_more(tmp_path):
    path = write(tmp_path / "m.txt", tuple(f"colour{place}" for place in range(36)))
    features = [Feature(f"segment:{place}", "numeric", "request") for place in range(36)]
    report = check_file(path, spec=spec_file(tmp_path / "spec.json", *features))
    (fault,) = report.faults
    assert "has colour0 where the spec has segment:0, " in fault
    assert " and 31 more: name the spec that it was trained with" in fault


def test_what_keeps_from_looking_is_an_error(tmp_path):
    path = write(tmp_path / "m.txt")
    (tmp_path / "noise.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="must be a file, is not there"):
        check_file(tmp_path / "nothing.txt")
    with pytest.raises(ArtifactError, match="save it with Booster"):
        check_file(tmp_path / "noise.txt")
    with pytest.raises(TableError, match="name their spec"):
        check_file(path, table=tmp_path / "rows.parquet")
    with pytest.raises(ArtifactError, match="manifest"):
        check_file(tmp_path)
    with pytest.raises(ArtifactError, match="with features of its own"):
        check_file(tmp_path, spec=path)
    with pytest.raises(ArtifactError, match="feature spec must be JSON"):
        check_file(path, spec=path)


# -- what a bidder serves -----------------------------------------------------------------------------------------


def test_served_features_are_those_of_the_bidder():
    assert set(SERVED["request"]) == set(RAW_FEATURES)
    assert set(SERVED["campaign"]) == set(CAMPAIGN_FEATURES)


def test_segment_is_served_as_a_number_of_the_request_only():
    assert serving_faults([Feature("segment:s1", "numeric", "request")]) == []
    assert len(serving_faults([Feature("segment:s1", "categorical", "request")])) == 1
    assert len(serving_faults([Feature("segment:s1", "numeric", "campaign")])) == 1
