"""`clearbid models train` and `show`, as a person runs them."""

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from models.commands import register
from models.errors import ArtifactError, TableError
from tests.support.training import make_table, write_parquet

SPEC = """
[[feature]]
name = "domain"
kind = "categorical"
[[feature]]
name = "campaign"
kind = "categorical"
side = "campaign"
"""


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    register(found)
    return found


@pytest.fixture
def files(tmp_path):
    write_parquet(tmp_path / "rows.parquet", make_table(1500))
    (tmp_path / "features.toml").write_text(SPEC)
    return tmp_path


def run(app, *arguments):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def test_train_then_show_print_the_same_report(app, files):
    arguments = ["train", files / "rows.parquet", "--out", files / "m", "--features", files / "features.toml"]
    done = run(app, *arguments, "--json")
    assert done.exit_code == 0, done.output
    shown = run(app, "show", files / "m", "--json")
    assert json.loads(done.stdout) == json.loads(shown.stdout)
    assert json.loads(done.stdout)["rows"] == {"train": 1050, "calibration": 225, "test": 225}


def test_tables_for_people_name_the_metrics(app, files):
    done = run(
        app, "train", files / "rows.parquet", "--out", files / "m", "--features", files / "features.toml"
    )
    assert done.exit_code == 0, done.output
    for word in ("AUC", "NE", "ctr", "cvr", "rows.parquet"):
        assert word in done.stdout
    said = " ".join(done.stdout.split())
    for words in (
        "NE: normalized entropy",
        "sum p/y: events predicted over",
        "ECE: expected calibration error",
    ):
        assert words in said


def test_declared_column_that_is_missing_is_raised_for_the_caller(app, files):
    done = run(app, "train", files / "rows.parquet", "--out", files / "m")
    assert isinstance(done.exception, TableError)
    assert "must have the column region" in str(done.exception)
    assert not (files / "m").exists()


def test_show_of_an_altered_model_is_raised_for_the_caller(app, files):
    run(app, "train", files / "rows.parquet", "--out", files / "m", "--features", files / "features.toml")
    (files / "m" / "ctr.txt").write_text("tree\n")
    done = run(app, "show", files / "m")
    assert isinstance(done.exception, ArtifactError)
    assert "ctr.txt" in str(done.exception)


def valued(arrow):
    """The table with all that a run can tell: times, values, and another goal."""
    import numpy as np
    import pyarrow as pa

    at, rows = np.asarray(arrow["at_ns"]), len(arrow)
    click = np.asarray(arrow["click"]) > 0
    bought = np.array([flag == 1 for flag in arrow["conversion"].to_pylist()])
    wait = np.random.default_rng(1).exponential(0.05 * 10**15, rows).astype(np.int64)
    come = bought & (at + wait < 10**15)
    columns = {
        "conversion": pa.array(come.astype(int), mask=~click),
        "click_at_ns": pa.array(at, mask=~click),
        "conversion_at_ns": pa.array(at + wait, mask=~come),
        "observed_until_ns": np.full(rows, 10**15),
        "value_nanos": np.where(come, 5e9, 0.0),
        "churn": pa.array(bought.astype(int), mask=~click),
        "day": [f"d{value}" for value in at // (10**15 // 30)],
    }
    arrow = arrow.drop_columns(["conversion"])
    for name, column in columns.items():
        arrow = arrow.append_column(name, column if isinstance(column, pa.Array) else pa.array(column))
    return arrow


def test_what_was_corrected_is_said_in_words(app, files):
    write_parquet(files / "rows.parquet", valued(make_table(6000)))
    (files / "p.toml").write_text("max_rounds = 20\n")
    done = run(
        app,
        *("train", files / "rows.parquet", "--out", files / "m", "--features", files / "features.toml"),
        *("--params", files / "p.toml", "--negative-rate", "0.5", "--delay", "elapsed"),
    )
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    for words in (
        "log odds put right by -0.693",
        "delays elapsed: half of the conversions come within",
        "value ",
    ):
        assert words in said
    report = json.loads(run(app, "show", files / "m", "--json").stdout)
    assert report["training"]["delay"]["method"] == "elapsed"
    assert report["training"]["value"]["zeros"] == 0
    assert report["params"]["max_rounds"] == 20
    assert report["params"]["negative_rate"] == 0.5


def test_goal_and_groups_are_named(app, files):
    write_parquet(files / "rows.parquet", valued(make_table(3000)))
    done = run(
        app,
        *("train", files / "rows.parquet", "--out", files / "m", "--features", files / "features.toml"),
        *("--goal", "churn", "--split-by", "day"),
    )
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    for words in (
        "goal churn",
        "by day: no value of it is in two slices",
        "on rows of a day that training never saw",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--delay", "later"), "training parameters must be as documented: .*later"),
        (("--negative-rate", "0"), "negative_rate must be above 0"),
        (("--split-by", "shop"), "must have the column shop"),
        (("--goal", "churn"), "must have the column churn"),
        (("--params", "nowhere.toml"), "nowhere.toml must be a file, is not there"),
    ],
)
def test_bad_options_are_raised_for_the_caller(app, files, options, said):
    done = run(
        app,
        "train",
        files / "rows.parquet",
        "--out",
        files / "m",
        "--features",
        files / "features.toml",
        *options,
    )
    assert isinstance(done.exception, TableError)
    assert re.search(said, str(done.exception))
    assert not (files / "m").exists()


def test_rows_without_a_click_need_leave(app, files):
    import pyarrow as pa

    rows = make_table(900)
    write_parquet(files / "rows.parquet", rows.set_column(1, "click", pa.array([0] * 900)))
    arguments = ("train", files / "rows.parquet", "--out", files / "m", "--features", files / "features.toml")
    assert "--allow-prior" in str(run(app, *arguments).exception)
    done = run(app, *arguments, "--allow-prior")
    assert done.exit_code == 0, done.output
    assert "ctr prior" in done.stdout
