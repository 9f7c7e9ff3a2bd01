"""`clearbid models train` and `show`, as a person runs them."""

import json

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
    arguments = ["train", files / "rows.parquet", "--out", files / "m", "--spec", files / "features.toml"]
    done = run(app, *arguments, "--json")
    assert done.exit_code == 0, done.output
    shown = run(app, "show", files / "m", "--json")
    assert json.loads(done.stdout) == json.loads(shown.stdout)
    assert json.loads(done.stdout)["rows"] == {"train": 1050, "calibration": 225, "test": 225}


def test_tables_for_people_name_the_metrics(app, files):
    done = run(app, "train", files / "rows.parquet", "--out", files / "m", "--spec", files / "features.toml")
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
    run(app, "train", files / "rows.parquet", "--out", files / "m", "--spec", files / "features.toml")
    (files / "m" / "ctr.txt").write_text("tree\n")
    done = run(app, "show", files / "m")
    assert isinstance(done.exception, ArtifactError)
    assert "ctr.txt" in str(done.exception)
