"""`clearbid quality`, as a person runs it."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from bidder.errors import InputError
from simulator.commands import register


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    register(found)
    return found


def run(app: typer.Typer, *arguments: object):
    return CliRunner().invoke(app, ["quality", *map(str, arguments)])


def test_it_measures_prints_and_writes(app, tmp_path) -> None:
    done = run(app, "--rows", 10_000, "--seed", 5, "--out", tmp_path / "new" / "folder")
    assert done.exit_code == 0, done.output
    assert "synthetic market, seed 5" in done.output
    plain = json.loads((tmp_path / "new" / "folder" / "quality.json").read_text())
    assert plain["seed"] == 5
    assert "<svg" in (tmp_path / "new" / "folder" / "quality.html").read_text()


def test_with_json_one_object_is_all_that_is_printed(app, tmp_path) -> None:
    done = run(app, "--rows", 10_000, "--json", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((tmp_path / "quality.json").read_text())


def test_a_log_that_is_not_there_is_refused(app, tmp_path) -> None:
    done = run(app, "--log", tmp_path / "none.parquet", "--out", tmp_path)
    assert isinstance(done.exception, InputError)
    assert "none.parquet" in str(done.exception)


def test_a_log_of_something_else_is_refused(app, tmp_path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "log.parquet")
    assert isinstance(run(app, "--log", tmp_path / "log.parquet", "--out", tmp_path).exception, InputError)


def test_a_folder_that_is_a_file_is_refused(app, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    done = run(app, "--out", tmp_path / "file")
    assert isinstance(done.exception, InputError)
    assert "--out must be a folder" in str(done.exception)
