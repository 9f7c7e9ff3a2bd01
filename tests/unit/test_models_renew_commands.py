"""`clearbid models registry`, `renew` and `drift`, as a person runs them."""

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from models.commands import register
from models.dataset import read_table
from models.errors import ArtifactError, TableError
from models.registry import ModelRegistry
from models.registry.files import locked
from models.registry.schema import goal_of
from models.train import TrainParams, train_bundle
from tests.support.bundles import make_bundle
from tests.support.training import DECLARATIONS, make_table, write_parquet
from tests.unit.test_models_renewal import later, rows_of

SPEC = """
[[feature]]
name = "domain"
kind = "categorical"
[[feature]]
name = "floor_cpm"
kind = "numeric"
[[feature]]
name = "campaign"
kind = "categorical"
side = "campaign"
"""
CONFIG = """
window = "60d"
min_positives = 40
draws = 400
calibration = [0.8, 1.25]
calibration_hard = [0.5, 2.0]
[train]
num_threads = 1
max_rounds = 30
"""


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    register(found)
    return found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A registry whose champion knows little, declarations, settings, and a table of later rows."""
    (tmp_path / "features.toml").write_text(SPEC)
    (tmp_path / "renew.toml").write_text(CONFIG)
    write_parquet(tmp_path / "old.parquet", make_table(6_000, seed=8))
    write_parquet(tmp_path / "rows.parquet", later(make_table(8_000, seed=9)))
    return tmp_path


def run(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def done(app: typer.Typer, *arguments: object) -> Any:
    """The JSON that a command prints."""
    result = run(app, *arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_the_life_of_a_registry(app: typer.Typer, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    one, two = (make_bundle(tmp_path / str(seed), seed).hash for seed in (1, 2))
    assert done(app, "registry", "add", registry, tmp_path / "1")["model"] == one
    assert done(app, "registry", "promote", registry, one[:6])["aliases"] == {"champion": one}
    added = done(app, "registry", "add", registry, tmp_path / "2", "--challenger", "--who", "ann")
    assert added["aliases"] == {"champion": one, "challenger": two}
    assert done(app, "registry", "promote", registry, "challenger")["aliases"] == {"champion": two}
    assert done(app, "registry", "rollback", registry, "--reason", "it overbid")["aliases"] == {
        "champion": one
    }
    listed = done(app, "registry", "list", registry)["models"]
    assert [(each["hash"], each["status"], each["damage"]) for each in listed] == [
        (one, "champion", None),
        (two, "archived", None),
    ]
    entries = done(app, "registry", "log", registry)["entries"]
    assert [(each["event"], each["reason"]) for each in entries[-2:]] == [
        ("promote", "promoted by hand"),
        ("rollback", "it overbid"),
    ]
    assert entries[3]["by"] == "ann"
    assert (
        done(app, "registry", "show", registry, two[:8])["hash"] == done(app, "show", tmp_path / "2")["hash"]
    )
    assert done(app, "registry", "show", registry, two[:8])["status"] == "archived"
    assert "status" not in done(app, "show", tmp_path / "2")


def test_tables_for_people(app: typer.Typer, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    one = make_bundle(tmp_path / "1", 1).hash
    two = make_bundle(tmp_path / "2", 2).hash
    run(app, "registry", "add", registry, tmp_path / "1")
    assert one[:12] in run(app, "registry", "promote", registry, one).stdout
    run(app, "registry", "add", registry, tmp_path / "2", "--challenger")
    (registry / two / "cvr.txt").write_text("gone wrong")
    said = run(app, "registry", "list", registry).stdout
    for words in (one[:12], two[:12], "champion", "challenger", "damaged"):
        assert words in said
    assert "challenger none" in run(app, "registry", "archive", registry).stdout.replace("  ", " ")
    assert "archive" in run(app, "registry", "log", registry, "--last", "1").stdout


def test_what_cannot_be_scored_is_not_added(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ArtifactError("differs")

    make_bundle(tmp_path / "1", 1)
    monkeypatch.setattr("models.scorer.Scorer", refuse)
    result = run(app, "registry", "add", tmp_path / "registry", tmp_path / "1")
    assert isinstance(result.exception, ArtifactError)
    assert not (tmp_path / "registry").exists()


def test_what_was_checked_is_what_is_promoted(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The challenger becomes another while the first is checked."""
    kept = ModelRegistry(tmp_path / "registry")
    one, two = (kept.add(make_bundle(tmp_path / str(seed), seed).path, "made") for seed in (1, 2))
    kept.challenge(one, "the first")
    monkeypatch.setattr("models.scorer.Scorer", lambda _: kept.challenge(two, "meanwhile"))
    assert done(app, "registry", "promote", kept.path, "challenger")["model"] == one
    assert kept.aliases() == {"champion": one, "challenger": two}


@pytest.fixture
def registry(files: Path) -> ModelRegistry:
    made = ModelRegistry(files / "registry")
    declared = tuple(item for item in DECLARATIONS if item.name in {"domain", "floor_cpm", "campaign"})
    arrow = make_table(6_000, seed=8)
    order = pa.array(np.random.default_rng(0).permutation(6_000))
    for name in ("click", "conversion"):  # dealt out anew, so that it learns the mean only
        arrow = arrow.set_column(arrow.column_names.index(name), name, arrow[name].take(order))
    params = TrainParams(num_threads=1, max_rounds=10, fixed_rounds=10)
    bundle = train_bundle(rows_of(arrow), declared, files / "m", params=params)
    made.promote(made.add(bundle.path, "the first"), "the first")
    return made


def arguments(files: Path, *more: object) -> list[object]:
    options = ["--features", files / "features.toml", "--params", files / "renew.toml"]
    return ["renew", files / "registry", files / "rows.parquet", *options, *more]


def test_renew_trains_gates_and_says_why(app: typer.Typer, files: Path, registry: ModelRegistry) -> None:
    page = files / "new" / "round.html"
    found = done(app, *arguments(files, "--shadow-rows", "0", "--page", page))
    assert found["outcome"] == "promoted", found["words"]
    drawn = page.read_text()
    ET.fromstring(drawn.removeprefix("<!DOCTYPE html>\n"))
    entropy = next(check["numbers"] for check in found["checks"] if check["name"] == "normalized entropy")
    for words in (
        "Promoted: passed the gate", 'class="verdict good"', "Champion against challenger",
        f"{entropy['ctr']['difference']:+.4f}", "Checks and their reasons", "What has moved most",
        found["champion"][:12],
    ):  # fmt: skip
        assert words in drawn
    for check in found["checks"]:
        assert f"<dt>{check['name']}</dt>" in drawn
    assert registry.hash_of("champion") == found["champion"]
    assert [check["name"] for check in found["checks"]] == [
        "features", "normalized entropy", "calibration ctr", "calibration cvr", "drift", "speed",
    ]  # fmt: skip
    assert 'renewal_round_outcome{outcome="promoted"} 1.0' in (files / "registry/metrics.prom").read_text()


def test_renewal_keeps_the_goal_of_the_champion(app: typer.Typer, files: Path) -> None:
    """Leads are told in a column of their own; the column of conversions says something else."""
    arrow, later_rows = make_table(6_000, seed=8), later(make_table(8_000, seed=9))
    for name, rows in (("old", arrow), ("rows", later_rows)):
        leads = rows.append_column("lead", rows["conversion"])
        write_parquet(files / f"{name}.parquet", leads.drop_columns(["conversion"]))
    declared = tuple(item for item in DECLARATIONS if item.name in {"domain", "floor_cpm", "campaign"})
    table = read_table(files / "old.parquet", declared, goal="lead")
    params = TrainParams(num_threads=1, max_rounds=2, fixed_rounds=2)
    kept = ModelRegistry(files / "registry")
    kept.promote(
        kept.add(train_bundle(table, declared, files / "m", params=params).path, "leads"), "the first"
    )
    page = files / "round.html"
    found = done(app, *arguments(files, "--page", page))
    assert 'class="verdict care"' in page.read_text()
    assert (found["checks"][0]["name"], found["checks"][0]["passed"]) == ("features", True)
    assert [one.manifest and goal_of(one.manifest) for one in kept.models()] == ["lead", "lead"]
    result = run(
        app, "drift", files / "registry", files / "rows.parquet", "--reference", files / "old.parquet"
    )
    assert "calibration cvr: predicted" in result.stdout


def test_renew_for_people(app: typer.Typer, files: Path, registry: ModelRegistry) -> None:
    said = " ".join(run(app, *arguments(files)).stdout.split())
    for words in ("normalized entropy passed ctr: -0.", "challenging: passed the gate", "champion", "speed"):
        assert words in said


def test_refresh_writes_the_table_anew(app: typer.Typer, files: Path, registry: ModelRegistry) -> None:
    table = files / "rows.parquet"
    table.rename(files / "kept.parquet")
    copy = f"import shutil; shutil.copy({str(files / 'kept.parquet')!r}, {str(table)!r})"
    assert (
        done(app, *arguments(files, "--refresh", f'{sys.executable} -c "{copy}"'))["outcome"] == "challenging"
    )
    for command, said in (
        (f"{sys.executable} -c 'import sys; sys.exit(\"no disk\")'", "ended with 1: no disk"),
        ("no-such-command", "must be a command that runs"),
        ("'", "must be a command that runs"),
    ):
        result = run(app, *arguments(files, "--refresh", command))
        assert isinstance(result.exception, TableError)
        assert said in str(result.exception)
    assert registry.log()[-1].event == "fail"
    assert 'outcome="failed"} 1.0' in (files / "registry/metrics.prom").read_text()


def test_on_a_schedule_a_failed_round_is_not_the_end(
    app: typer.Typer, files: Path, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    (files / "rows.parquet").rename(files / "later.parquet")
    result = run(app, *arguments(files, "--every", "6h", "--json"))
    outcomes = [json.loads(line)["outcome"] for line in result.stdout.splitlines() if line.startswith("{")]
    assert outcomes == ["failed", "failed"]
    assert all(21_000 < seconds <= 21_600 for seconds in waits)


def test_on_a_schedule_nothing_unforeseen_is_the_end(
    app: typer.Typer,
    files: Path,
    registry: ModelRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A round that fails in its own code, gauges that cannot be written, a registry that is away."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            registry.path.rename(files / "away")
        if len(waits) == 4:
            raise KeyboardInterrupt

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def wrong(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("models.renewal.gauges.write_gauges", full)
    monkeypatch.setattr("models.renewal.rounds.Renewal._window", wrong)
    result = run(app, *arguments(files, "--every", "6h", "--json"))
    rounds = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [(one["outcome"], one["words"]) for one in rounds] == [
        ("failed", "ZeroDivisionError: by nothing")
    ] * 2
    assert len(waits) == 4
    assert "No space left on device" in caplog.text
    assert "a round ended early, 2 of them did" in caplog.text
    (files / "away").rename(registry.path)
    assert registry.log()[-1].reason == "ZeroDivisionError: by nothing"
    assert isinstance(run(app, *arguments(files)).exception, ZeroDivisionError)


def test_two_renewals_of_one_registry_do_not_run_at_once(
    app: typer.Typer, files: Path, registry: ModelRegistry
) -> None:
    with locked(registry.path / "renewal.lock", wait_s=1, said=""):
        result = run(app, *arguments(files))
    assert "another renewal of this registry runs" in str(result.exception)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--every", "soon"), "every must be a number"),
        (("--window", "x"), "window must be a number"),
        (("--shadow-rows", "-1"), "shadow_rows must be at least 0, was -1"),
    ],
)
def test_bad_options_are_refused(
    app: typer.Typer, files: Path, registry: ModelRegistry, more: tuple[str, ...], said: str
) -> None:
    assert said in str(run(app, *arguments(files, *more)).exception)


def test_drift_of_like_rows_is_no_alarm_and_its_page_is_well_formed(
    app: typer.Typer, files: Path, registry: ModelRegistry
) -> None:
    page = files / "drift.html"
    reference = ("--reference", files / "old.parquet")
    result = run(app, "drift", files / "registry", files / "rows.parquet", *reference, "--page", page)
    assert result.exit_code == 0, result.output
    assert "no alarm" in result.stdout
    body = page.read_text().removeprefix("<!DOCTYPE html>\n")
    tree = ET.fromstring(body)
    assert len(tree.findall(".//svg")) == 1
    assert "<script" not in body
    assert "http" not in body.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_drift_of_other_rows_is_exit_code_one_and_names_what_moved(
    app: typer.Typer, files: Path, registry: ModelRegistry
) -> None:
    arrow = later(make_table(2_000, seed=10))
    place = arrow.column_names.index("floor_cpm")
    doubled = [None if value is None else 3 * value for value in arrow["floor_cpm"].to_pylist()]
    moved = arrow.set_column(place, "floor_cpm", [doubled])
    write_parquet(files / "moved.parquet", moved)
    result = run(
        app, "drift", files / "m", files / "moved.parquet", "--reference", files / "old.parquet", "--json"
    )
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert any(words.startswith("floor_cpm: PSI") for words in found["alarms"])
    page = files / "moved.html"
    said = run(
        app, "drift", files / "m", files / "moved.parquet", "--reference", files / "old.parquet", "--page", page
    )  # fmt: skip
    assert "alarm: floor_cpm" in said.stdout
    assert "alarms" in page.read_text()


def test_drift_without_a_reference_wants_rows_of_both_times(
    app: typer.Typer, files: Path, registry: ModelRegistry
) -> None:
    result = run(app, "drift", files / "m", files / "rows.parquet")
    assert "name what it learned from with --reference" in str(result.exception)


def test_drift_takes_the_training_window_out_of_one_table(
    app: typer.Typer, files: Path, registry: ModelRegistry
) -> None:
    """Old rows and later ones in two files that one pattern names."""
    folder = files / "days"
    folder.mkdir()
    (files / "old.parquet").rename(folder / "1.parquet")
    (files / "rows.parquet").rename(folder / "2.parquet")
    found = done(app, "drift", files / "m", folder / "*.parquet")
    assert found["rows"] == [6_000, 8_000]
