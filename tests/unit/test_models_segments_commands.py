"""`clearbid models segments`, as a person runs it: tables, JSON, page, schedule, refusals."""

import json
import os
import signal
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from subprocess import PIPE, Popen

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from models.commands import register
from models.errors import ArtifactError, ModelError, TableError
from models.segments.folder import load_segments
from tests.support.audiences import make_users
from tests.support.training import write_parquet

_RUN = "from bidder.cli.main import main; main()"


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    register(found)
    return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "rows.parquet", make_users(300, unknown=7)[0])


def run(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", "segments", *map(str, arguments)])


def test_json_is_the_report_that_was_written(app: typer.Typer, table: Path, tmp_path: Path) -> None:
    done = run(app, table, "--out", tmp_path / "s", "--json", "--min-users", 20)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    written = json.loads((tmp_path / "s" / "segments.json").read_text())
    assert {name: told[name] for name in written} == written
    assert told["hash"] == load_segments(tmp_path / "s").manifest.hash
    assert (told["verdict"], len(told["segments"]), told["rows_unknown_user"]) == ("found", 4, 7)


def test_assignments_hold_each_user_once(app: typer.Typer, table: Path, tmp_path: Path) -> None:
    run(app, table, "--out", tmp_path / "s", "--k", 4, "--min-users", 20)
    found = pq.read_table(tmp_path / "s" / "assignments.parquet")
    assert found.column_names == ["user", "segment"]
    users = set(pq.read_table(table)["user"].to_pylist()) - {None}
    assert sorted(found["user"].to_pylist()) == sorted(users)
    assert set(found["segment"].to_pylist()) == {f"found-0{number}" for number in range(1, 5)}


def test_tables_and_page_are_for_people_and_name_nobody(
    app: typer.Typer, table: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = run(app, table, "--out", tmp_path / "s", "--k", 4, "--min-users", 20, "--page", page)
    assert done.stdout.endswith(f"Page: {page}\n")
    said, drawn = " ".join(done.stdout.split()), page.read_text()
    for words in ("verdict", "found-01", "x the clicks", "after Holm's correction", "the bidder's choice"):
        assert words in said
    for words in ("Which segment answers which campaign", "part of the day: evening", "device_type: phone"):
        assert words in drawn
    for user in set(pq.read_table(table)["user"].to_pylist()) - {None}:
        assert user not in drawn
        assert user not in done.stdout
    ET.fromstring(drawn.removeprefix("<!DOCTYPE html>\n"))
    assert "<script" not in drawn
    assert not [word for word in ("src=", "href=", "url(") if word in drawn]


def test_no_segments_is_an_answer_and_not_an_error(app: typer.Typer, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", make_users(300, kinds=())[0])
    page = tmp_path / "page.html"
    done = run(app, path, "--out", tmp_path / "s", "--page", page)
    assert done.exit_code == 0, done.output
    assert "no structure found" in done.stdout
    assert "No structure found in 300 users" in page.read_text()
    assert load_segments(tmp_path / "s").segment_of == {}


def test_a_refresh_replaces_the_set_and_says_what_changed(
    app: typer.Typer, table: Path, tmp_path: Path
) -> None:
    options = ("--k", 4, "--min-users", 20)
    run(app, table, "--out", tmp_path / "s", *options)
    first = load_segments(tmp_path / "s")
    write_parquet(table, make_users(300, seed=8, first_user=50)[0])
    page = tmp_path / "page.html"
    done = run(app, table, "--previous", tmp_path / "s", "--page", page, *options)
    assert done.exit_code == 0, done.output
    assert "Refreshed: 4 names kept, 0 new, 0 retired" in done.stdout
    assert "50 joined, 50 left." in " ".join(done.stdout.split())
    assert "Since the last time" in page.read_text()
    second = load_segments(tmp_path / "s")
    assert second.manifest.before == first.manifest.hash
    assert len(second.removed) == 50
    same = [user for user, segment in second.segment_of.items() if first.segment_of.get(user) == segment]
    assert len(same) > 240


def test_since_takes_a_span_or_a_date(app: typer.Typer, table: Path, tmp_path: Path) -> None:
    rows = []
    for since in ("30d", "7d", "2026-03-10", "2026-03-10T12:00:00+00:00"):
        done = run(
            app, table, "--out", tmp_path / "s", "--k", 2, "--min-users", 20, "--since", since, "--json"
        )
        rows.append(json.loads(done.stdout)["rows"])
    assert rows[0] == pq.read_metadata(table).num_rows - 7
    assert rows[0] > rows[1] > rows[2] > rows[3] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--out or --previous must name a folder"),
        (["--out", "s", "--k", "1"], "--k must be auto or a number from 2 to 100, was 1"),
        (["--out", "s", "--k", "many"], "was many"),
        (["--out", "s", "--since", "yesterday"], "--since must be a span such as 14d or a date"),
        (["--out", "s", "--since", "xd"], "--since must be a number and one of s, m, h, d, w"),
        (["--out", "s", "--since", "2030-01-01"], "must have rows since 2030-01-01, has none"),
        (["--out", "s", "--page", "s/page.html"], "--page must lie outside of s"),
        (["--out", "s", "--every", "0h"], "--every must be above 0, was '0h'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    app: typer.Typer,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(app, table, *options)
    assert isinstance(done.exception, ModelError)
    assert words in str(done.exception)
    assert not Path("s").exists()


def test_wrong_files_are_refused(app: typer.Typer, table: Path, tmp_path: Path) -> None:
    none = run(app, tmp_path / "none.parquet", "--out", tmp_path / "s")
    assert isinstance(none.exception, TableError)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").write_text("x")
    full = run(app, table, "--out", tmp_path / "full")
    assert isinstance(full.exception, ArtifactError)
    before = run(app, table, "--previous", tmp_path / "nothing")
    assert isinstance(before.exception, ArtifactError)


def test_on_a_schedule_a_bad_table_leaves_the_segments_as_they_were(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    arguments = [
        "models",
        "segments",
        str(table),
        "--out",
        str(out),
        "--k",
        "4",
        "--min-users",
        "20",
        "--json",
    ]
    running = Popen(
        [sys.executable, "-c", _RUN, *arguments, "--every", "0.1s"],
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    told = [json.loads(running.stdout.readline()) for _ in range(2)]
    assert told[1]["churn"]["stayed"] == 300
    assert told[1]["churn"]["kept"] == [f"found-0{number}" for number in range(1, 5)]
    table.write_bytes(b"half a table")
    while "segments stay as they were" not in running.stderr.readline():
        assert running.poll() is None
    os.kill(running.pid, signal.SIGTERM)
    running.communicate(timeout=30)
    assert running.returncode == 0
    assert len(load_segments(out).segment_of) == 300
