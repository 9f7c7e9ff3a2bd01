"""What all commands of `clearbid models` share: words of options, what they write, wrong kinds of paths, tables."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import lightgbm as lgb
import pytest
import typer
from typer.testing import CliRunner, Result

from models import check as checking
from models.commands import register
from models.dataset import read_table
from models.errors import ModelError
from models.pages.text import counted
from models.schema import fit_spec, load_declarations
from tests.support.audiences import make_users
from tests.support.landscapes import market, write_market
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
WRITERS: dict[str, tuple[str, ...]] = {
    "train --out": ("train", "rows.parquet", "--features", "f.toml"),
    "audit --page": ("audit", "rows.parquet", "--features", "f.toml"),
    "evaluate --page": ("evaluate", "m", "rows.parquet", "--draws", "50"),
    "explain --page": ("explain", "m", "rows.parquet", "--row", "1"),
    "calibration --page": ("calibration", "m", "rows.parquet"),
    "calibration --out": ("calibration", "m", "rows.parquet", "--refit"),
    "calibration --price-factor": ("calibration", "m", "priced.parquet"),
    "landscape --out": ("landscape", "market.parquet", "--draws", "10"),
    "landscape --page": ("landscape", "market.parquet", "--out", "l", "--draws", "10"),
    "segments --out": ("segments", "users.parquet", "--k", "2", "--min-users", "20"),
    "segments --page": ("segments", "users.parquet", "--out", "s", "--k", "2", "--min-users", "20"),
    "drift --page": ("drift", "m", "rows.parquet", "--reference", "rows.parquet"),
    "renew --page": ("renew", "registry", "rows.parquet", "--features", "f.toml"),
    "import --out": ("import", "click.txt", "rows.parquet", "--spec", "spec.json"),
}
"""Each option that names what a command writes, and how the command is run."""


def application() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def commands() -> dict[str, list[Any]]:
    """Parameters of each command."""

    def walk(command: Any, name: str) -> dict[str, list[Any]]:
        children = getattr(command, "commands", None)
        if children is None:
            return {name.strip(): command.params}
        found: dict[str, list[Any]] = {}
        for own, child in children.items():
            found |= walk(child, f"{name} {own}")
        return found

    models: Any = typer.main.get_command(application())
    return walk(models.commands["models"] if "models" in getattr(models, "commands", {}) else models, "")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(application(), ["models", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that commands read."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "f.toml").write_text(SPEC)
    table = make_table(1500)
    write_parquet(folder / "rows.parquet", table)
    price = [1_000_000.0 + place for place in range(len(table))]
    write_parquet(folder / "priced.parquet", table.append_column("price_cpm_micros", [price]))
    write_market(folder / "market.parquet", market(1500))
    write_parquet(folder / "users.parquet", make_users(120)[0])
    declarations = load_declarations(folder / "f.toml")
    rows = read_table(folder / "rows.parquet", declarations)
    spec = fit_spec(rows.columns, declarations)
    (folder / "spec.json").write_bytes(spec.to_json())
    params = {"objective": "binary", "verbose": -1, "num_leaves": 4, "num_threads": 1}
    data = lgb.Dataset(spec.encode_table(rows.columns), rows.click, categorical_feature=[0, 1], params=params)
    lgb.train(params, data, 5).save_model(folder / "click.txt")
    arguments = ("--features", folder / "f.toml", "--out", folder / "m")
    assert run("train", folder / "rows.parquet", *arguments).exit_code == 0
    assert run("registry", "add", folder / "registry", folder / "m").exit_code == 0
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_TIMED_S", 0.001)


def test_every_option_that_writes_is_looked_at() -> None:
    options = {
        f"{name} {option}"
        for name, params in commands().items()
        for each in params
        for option in each.opts
        if option in {"--out", "--page", "--price-factor"}
    }
    assert options == WRITERS.keys()


@pytest.mark.parametrize("name", WRITERS)
def test_folders_above_what_is_written_are_made(
    name: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    target = Path(name.replace(" ", "")) / "deep" / "it"
    done = run(*WRITERS[name], name.split()[1], target)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in {0, 1}, done.output  # 1: not ready, or an alarm
    assert target.exists()


@pytest.mark.parametrize("name", WRITERS)
def test_what_can_not_be_written_is_refused_alike_before_anything_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that the commands read is there: who read first would say so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    option = name.split()[1]
    wants_folder = option == "--out" and not name.startswith("landscape")
    wrong = (
        ("file", "must be a folder, is a file") if wants_folder else ("folder", "must be a file, is a folder")
    )
    for path, said in (wrong, ("file/deeper/it", "is a file: name another place")):
        done = run(*WRITERS[name], option, path)
        assert isinstance(done.exception, ModelError), done.output
        assert str(done.exception).startswith(f"{option} {path} must be")
        assert said in str(done.exception)


def test_tables_of_every_page_scroll_in_a_frame_of_their_own(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    pages = {name: WRITERS[name] for name in WRITERS if name.endswith("--page")}
    seen = 0
    for name, arguments in pages.items():
        page = made / f"{name.split()[0]}.html"
        run(*arguments, "--page", page)
        text = page.read_text(encoding="utf-8")
        tree = ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
        frames = [node for node in tree.iter("div") if "scroll" in (node.get("class") or "").split()]
        framed = sum(len(frame.findall("table")) for frame in frames)
        assert framed == len(list(tree.iter("table")))
        assert re.search(r"\.scroll \{[^}]*overflow-x: auto", text)
        seen += framed
    assert seen > len(pages)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "f.toml"), "model f.toml must be a folder, is a file: name the folder"),
        (("evaluate", "f.toml", "rows.parquet"), "model f.toml must be a folder, is a file"),
        (("drift", "f.toml", "rows.parquet"), "model f.toml must be a folder, is a file"),
        (("registry", "add", "new", "f.toml"), "model f.toml must be a folder, is a file"),
        (("registry", "list", "f.toml"), "registry f.toml must be a folder with registry.json, is a file"),
        (("registry", "list", "m"), "registry m must be a folder with registry.json, has none"),
        (("registry", "add", "f.toml", "m"), "is a file: name another folder"),
        (("audit", "m"), "training table m must be a file, is a folder: name a file in it"),
        (("evaluate", "m", "m"), "training table m must be a file, is a folder"),
        (("landscape", "m", "--out", "l2"), "training table m must be a file, is a folder"),
        (("segments", "m", "--out", "s2"), "training table m must be a file, is a folder"),
        (("drift", "m", "m"), "training table m must be a file, is a folder"),
        (("audit", "rows.parquet", "--features", "m"), "feature declarations m must be a file, is a folder"),
        (
            ("train", "rows.parquet", "--out", "m2", "--params", "m"),
            "training parameters m must be a file, is a",
        ),
        (
            ("renew", "registry", "rows.parquet", "--params", "m"),
            "renewal settings m must be a file, is a folder",
        ),
        (
            ("landscape", "market.parquet", "--out", "l2", "--add-to", "m"),
            "landscape m must be a file, is a folder",
        ),
        (
            ("segments", "users.parquet", "--out", "s2", "--previous", "f.toml"),
            "segments f.toml must be a folder, is",
        ),
        (("check", "click.txt", "--spec", "m"), "feature spec m must be a file, is a folder"),
        (
            ("import", "m", "rows.parquet", "--spec", "spec.json", "--out", "m2"),
            "model m must be a file, a LightGBM",
        ),
        (
            ("import", "click.txt", "m", "--spec", "spec.json", "--out", "m2"),
            "training table m must be a file, is a",
        ),
    ],
)
def test_a_path_of_the_wrong_kind_is_said_in_the_same_words(
    arguments: tuple[str, ...], said: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    done = run(*arguments)
    assert isinstance(done.exception, ModelError), (done.output, done.exception)
    assert said in str(done.exception)
    assert "Errno" not in str(done.exception)


def test_an_option_has_one_meaning_in_all_commands() -> None:
    """Options of one name take the same kind of value; a model, a table and a registry are named by their place."""
    metavars: dict[str, set[str | None]] = {}
    places: dict[str, set[str]] = {}
    for params in commands().values():
        for each in params:
            if each.param_type_name == "option":
                metavars.setdefault(each.opts[0], set()).add(each.metavar)
            else:
                places.setdefault(each.metavar.strip("[]"), set()).add(each.name)
    assert {name: found for name, found in metavars.items() if len(found) > 1} == {"--out": {"DIR", "FILE"}}
    assert {name for name, found in metavars.items() if "TABLE" in found} == {"--serve", "--reference"}
    assert places["TABLE"] == {"table"}
    assert "--config" not in metavars  # that is the bidder's file


@pytest.mark.parametrize(
    ("value", "words", "said"),
    [
        (1, ("tree",), "1 tree"),
        (0, ("alarm",), "0 alarms"),
        (2_000, ("row",), "2,000 rows"),
        (1, ("leaf", "leaves"), "1 leaf"),
        (3, ("stratum", "strata"), "3 strata"),
        (1.2, ("equal row",), "1 equal row"),
        (1.6, ("equal row",), "2 equal rows"),
    ],
)
def test_numbers_agree_with_what_they_count(value: float, words: tuple[str, ...], said: str) -> None:
    assert counted(value, *words) == said
