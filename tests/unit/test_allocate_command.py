"""`clearbid allocate`, as an analyst runs it."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from bidder.core.campaigns import Campaign
from bidder.errors import InputError
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from simulator.allocate.curves import write_curves
from simulator.commands import register
from tests.support.factories import campaign
from tests.support.response_curves import THREE, Market, rows_of

UNIT = 10**9


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    register(found)
    return found


@pytest.fixture
def curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "160")
    write_curves(tmp_path / "curves.parquet", rows_of(THREE, draws=40, noise=0.02))
    return tmp_path / "curves.parquet"


def run(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["allocate", *map(str, arguments)])


def store(place: Path, budgets: dict[str, int]) -> Path:
    """A store with campaigns of these budgets, in units."""
    made = [
        msgspec.structs.replace(campaign(name), budget_nanos=units * UNIT) for name, units in budgets.items()
    ]
    with Database(place) as database:
        CampaignStore(database).put(made, at_ns=1)
    return place


def stored(place: Path) -> dict[str, Campaign]:
    with Database(place) as database:
        return CampaignStore(database).all()


def test_it_prints_moves_proof_and_the_gain_with_its_interval(app: typer.Typer, curves: Path) -> None:
    done = run(app, curves)
    assert done.exit_code == 0, done.output
    assert "answer" in done.stdout
    assert "95 % interval" in done.stdout
    told = " ".join(done.stdout.split())
    assert "optimal: no other split" in told
    assert "KKT" not in told
    assert all(name in done.stdout for name in ("shoes", "books", "toys"))


def test_on_hold_nothing_is_said_to_be_even_and_what_is_told_is_what_was_estimated(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    near = (Market("a", 105.0, 60.0, 100.0), Market("b", 100.0, 60.0, 100.0))
    curves = tmp_path / "near.parquet"
    write_curves(curves, rows_of(near, draws=40, noise=0.2, seed=4))
    done = run(app, curves, "--sure", "1")
    assert "Hold:" in done.stdout
    assert done.stdout.count("on hold") == 2
    for wrong in ("even", "flattered", "brings no more than elsewhere"):
        assert wrong not in done.stdout
    assert "as estimated" in done.stdout
    assert "for having picked what looks best" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80
    plain = json.loads(run(app, curves, "--sure", "1", "--json").stdout)
    assert plain["estimated"]["now"] == plain["estimated"]["recommended"]
    rows = pq.read_table(curves).to_pylist()
    now = sum(
        row["value_nanos"] for row in rows if not row["draw"] and row["budget_nanos"] == row["current_nanos"]
    )
    assert plain["estimated"]["now"] == pytest.approx(now)
    assert plain["concave"]["now"] >= plain["estimated"]["now"]
    for move in plain["moves"]:
        assert move["return_of_last"] >= move["return_of_next"]


def test_with_json_one_object_is_all_that_is_printed(app: typer.Typer, curves: Path) -> None:
    plain = json.loads(run(app, curves, "--json", "--freeze", "toys").stdout)
    assert plain["certificate"]["residual"] < 1e-6
    assert plain["sureness"]["draws"] == 40
    assert sum(move["to_nanos"] for move in plain["moves"]) == 250 * UNIT
    toys = next(move for move in plain["moves"] if move["campaign"] == "toys")
    assert (toys["from_nanos"], toys["to_nanos"], toys["why_no_more"]) == (50 * UNIT, 50 * UNIT, "frozen")


def test_the_page_loads_nothing_and_shows_every_campaign(app: typer.Typer, curves: Path) -> None:
    page = curves.with_name("page.html")
    done = run(app, curves, "--page", page)
    assert done.exit_code == 0
    assert done.stdout.endswith(f"Page: {page}\n")
    text = page.read_text()
    tree = ET.fromstring(text.partition("\n")[2])
    assert sorted(str(each.text) for each in tree.iter("h3")) == ["books", "shoes", "toys"]
    assert len([each for each in tree.iter("svg") if each.get("role") == "img"]) == 3
    assert "<script" not in text
    assert "KKT residual" in text
    assert "http" not in text.replace("http-equiv", "")


def test_budgets_of_the_store_come_before_those_of_the_curves(
    app: typer.Typer, curves: Path, tmp_path: Path
) -> None:
    db = store(tmp_path / "a.db", {"shoes": 120, "books": 80, "toys": 60})
    plain = json.loads(run(app, curves, "--db", db, "--json").stdout)
    assert plain["total_nanos"]["now"] == 260 * UNIT


def test_apply_writes_the_recommended_budgets_and_why(app: typer.Typer, curves: Path, tmp_path: Path) -> None:
    db = store(tmp_path / "a.db", {"shoes": 100, "books": 100, "toys": 50})
    plain = json.loads(run(app, curves, "--db", db, "--json").stdout)
    assert {name: each.budget_nanos for name, each in stored(db).items()} == {
        "shoes": 100 * UNIT, "books": 100 * UNIT, "toys": 50 * UNIT,
    }  # fmt: skip
    assert run(app, curves, "--apply", db).exit_code == 0
    new = {move["campaign"]: move["to_nanos"] for move in plain["moves"]}
    assert {name: each.budget_nanos for name, each in stored(db).items()} == new
    with Database(db) as database:
        rows = [row for row in CampaignStore(database).audit() if row.what == "budget"]
    assert {row.actor for row in rows} == {"allocate"}
    assert all("a unit of money brings" in row.why for row in rows)


def test_apply_changes_nothing_where_a_budget_is_another_one_by_now(
    app: typer.Typer, curves: Path, tmp_path: Path
) -> None:
    db = store(tmp_path / "a.db", {"shoes": 100, "books": 100, "toys": 51})
    bounds = tmp_path / "b.toml"
    bounds.write_text('[campaigns.toys]\ncurrent = "50"\n')
    done = run(app, curves, "--apply", db, "--bounds", bounds)
    assert isinstance(done.exception, InputError)
    assert "budget of campaign toys must still be 50000000000 nanos, was 51000000000" in str(done.exception)
    assert stored(db)["books"].budget_nanos == 100 * UNIT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target-roas", "2", "--min-spend"), "--target-roas and --min-spend must not be given together"),
        (("--target-roas", "-2"), "--target-roas must be > 0"),
        (("--target-mroas", "1", "--measure", "clicks"), "--target-mroas is of value"),
        (("--target-cpa", "0"), "--target-cpa must be > 0, was 0"),
        (("--total", "lots"), "--total must be a decimal number"),
        (("--total", "10000"), "total must be at most 625"),
        (("--measure", "fame"), "--measure must be one of value, conversions, clicks, impressions, was fame"),
        (("--freeze", "hats"), "campaign must be one of the curves', was 'hats'"),
        (("--db", "none.db"), "database none.db must be there"),
    ],
)
def test_what_cannot_be_is_refused(
    app: typer.Typer, curves: Path, options: tuple[str, ...], said: str
) -> None:
    done = run(app, curves, *options)
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)


def test_a_campaign_that_the_store_does_not_have_is_named(
    app: typer.Typer, curves: Path, tmp_path: Path
) -> None:
    db = store(tmp_path / "a.db", {"shoes": 100, "books": 100})
    done = run(app, curves, "--db", db)
    assert "campaign of the curves must be one of the store's, was 'toys'" in str(done.exception)


@pytest.mark.parametrize(
    "options", [("--target-roas", "2.5"), ("--target-cpa", "4"), ("--target-mroas", "1.5"), ("--min-spend",)]
)
def test_each_goal_gives_an_answer(app: typer.Typer, curves: Path, options: tuple[str, ...]) -> None:
    done = run(app, curves, *options)
    assert done.exit_code == 0, done.output
    assert "Place " in done.stdout
