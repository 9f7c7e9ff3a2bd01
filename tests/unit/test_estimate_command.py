"""`clearbid estimate`: a history in, numbers, curves and a page out."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.errors import InputError
from simulator.estimate.asking import ask, controller_of, numbers_of
from simulator.estimate.curves import SCHEMA
from simulator.history.auctions import Auctions
from simulator.history.schema import HistoryRow
from simulator.worlds.draw import world_of
from simulator.worlds.recipe import RECIPES
from simulator.worlds.world import World
from tests.support.histories import written

AUCTIONS = 4_000


def rows_of(log: Auctions, delay_ns: int = 0) -> list[HistoryRow]:
    """A world's log as rows of a history."""
    until = int(log.at_ns.max()) + 10**12
    return [
        HistoryRow(
            id=f"o{i}", offered_ns=int(log.at_ns[i]), exchange="adx", user=int(log.user[i]) or None,
            placement=f"p{log.stratum[i]}", region="CA" if i % 2 else "NY", floor_nanos=int(log.floor_nanos[i]),
            first_price=bool(log.first_price[i]), campaign="c1", click_probability=float(log.click[i]),
            conversion_probability=float(log.conversion[i]), worth_nanos=int(log.worth_nanos[i]),
            bid_nanos=int(log.bid_nanos[i]), density=None if np.isnan(log.density[i]) else float(log.density[i]),
            won=bool(log.won[i]), price_kind=int(log.price_kind[i]), price_nanos=int(log.price_nanos[i]),
            paid_nanos=int(log.paid_nanos[i]), clicked=None if log.clicked[i] < 0 else bool(log.clicked[i]),
            clicked_ns=int(log.at_ns[i]) if log.clicked[i] > 0 else None,
            converted=None if log.converted[i] < 0 else bool(log.converted[i]),
            converted_ns=int(log.at_ns[i]) + delay_ns if log.converted[i] > 0 else None,
            value_nanos=int(log.value_nanos[i]), known_until_ns=until,
        )
        for i in range(log.opportunities)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    return world_of(RECIPES["second"], 12, AUCTIONS)


@pytest.fixture(scope="module")
def history(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("history") / "log.parquet", rows_of(world.log)).path


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["estimate", *map(str, arguments)])
    return result.exit_code, result.output


def test_a_history_becomes_numbers_curves_and_a_page(history: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "curves.parquet", tmp_path / "page.html"
    code, text = run(
        history, "--campaign", "c1", "--budget-shares", "2,.5,1,9", "--bid-factors", "1", "--draws", "10",
        "--out", out, "--page", page, "--json",
    )  # fmt: skip
    assert code == 0
    (found,) = json.loads(text)["campaigns"]
    assert [point["refused"] is None for point in found["points"]] == [True, True, True, False, True]
    spent = found["spend_nanos"]
    again = found["points"][4]
    assert again["spend_nanos"]["point"] == spent
    assert again["clicks"]["point"] == found["clicks"]
    for point in found["points"][:3]:
        assert point["spend_nanos"]["point"] <= point["budget_nanos"]
        assert point["clicks"]["low"] < point["clicks"]["point"] < point["clicks"]["high"]
        assert [shift["price_factor"] for shift in point["shifts"]] == [0.9, 1.1, 1.25]
    _check_curves(out, found)
    _check_page(page, found)


def _check_curves(out: Path, found: dict) -> None:
    table = pq.read_table(out)
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    # Three budgets that were not refused, ascending, in the point and each of ten draws.
    assert [row["draw"] for row in rows] == [draw for draw in range(11) for _ in range(3)]
    budgets = sorted(point["budget_nanos"] for point in found["points"][:3])
    assert [row["budget_nanos"] for row in rows[:3]] == budgets
    assert rows[0]["campaign"] == "c1"
    by_budget = {point["budget_nanos"]: point for point in found["points"][:3]}
    for row in rows[:3]:
        point = by_budget[row["budget_nanos"]]
        assert row["clicks"] == point["clicks"]["point"]
        assert row["extrapolated"] == pytest.approx(point["extrapolated"])
    assert all(0.0 <= row["extrapolated"] <= 1.0 for row in rows)


def _check_page(page: Path, found: dict) -> None:
    html = page.read_text()
    root = ET.fromstring(html.partition("\n")[2])
    assert not [node for node in root.iter() if node.tag in ("script", "link", "img")]
    text = "".join(root.itertext())
    assert "Rivals do not react" in text
    assert "99% quantile" in text
    assert "prices x 1.25" in text
    assert f"{found['points'][0]['clicks']['point']:,.0f}"[:2] in text


def test_several_campaigns_are_one_json_object_and_one_page(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = rows_of(world.log.take(slice(0, 1_500)))
    other = [row._replace(id=f"b{row.id}", campaign="c2 <b>") for row in rows[:1_000]]
    merged = sorted([*rows, *other], key=lambda row: row.offered_ns)
    path = written(tmp_path / "two.parquet", merged).path
    asked = ("--budget-shares", ".5,1", "--draws", "10", "--page", tmp_path / "page.html")
    code, text = run(path, *asked, "--json")
    assert code == 0
    found = json.loads(text)
    assert [one["campaign"] for one in found["campaigns"]] == ["c1", "c2 <b>"]
    assert (found["source"], found["currency"]) == ("two.parquet", "USD")
    for one in found["campaigns"]:
        for point in one["points"]:
            value, spend = point["value_nanos"]["point"], point["spend_nanos"]["point"]
            assert point["roas"]["point"] == pytest.approx(value / spend)
            assert point["roi"]["point"] == pytest.approx((value - spend) / spend)
            assert point["roi"]["low"] < point["roi"]["point"] < point["roi"]["high"]
    _check_parts((tmp_path / "page.html").read_text())
    printed = run(path, *asked)[1]
    assert all(len(line) <= 80 for line in printed.splitlines() if not line.startswith("Page: "))
    assert all(name in printed for name in ("c1", "c2 <b>", "ROI"))


def _check_parts(html: str) -> None:
    """Each campaign has a picture that leads to a part of its own, and no axis has an exponent."""
    root = ET.fromstring(html.partition("\n")[2])
    ids = {node.get("id") for node in root.iter()}
    links = list(root.iter("a"))
    assert [link.text for link in links] == ["c1", "c2 <b>"]
    assert all(str(link.get("href")).removeprefix("#") in ids for link in links)
    assert [node.findtext("summary") for node in root.iter("details")] == ["c1", "c2 <b>"]
    ticks = [str(node.text) for svg in root.iter("svg") for node in svg.iter("text")]
    assert len(ticks) > 40
    assert not [tick for tick in ticks if "e+" in tick or "e-" in tick]


def test_a_filter_and_strata_by_name(history: Path) -> None:
    code, text = run(
        history, "--campaign", "c1", "--budget-shares", "1", "--draws", "10", "--where", "region=CA",
        "--strata", "placement,hour", "--resample", "block", "--json",
    )  # fmt: skip
    assert code == 0
    (found,) = json.loads(text)["campaigns"]
    assert found["grouped"] == "quarters of an hour"
    assert found["points"][0]["clicks"]["point"] < found["clicks"] * 1.05


def test_a_table_is_printed(history: Path) -> None:
    code, text = run(history, "--campaign", "c1", "--budget-shares", "1", "--draws", "10")
    assert code == 0
    assert "explored bids" in text
    assert "Rivals do not react" in text


def test_only_questions_beyond_the_log_is_an_error_code(history: Path) -> None:
    code, text = run(
        history, "--campaign", "c1", "--budget-shares", "", "--bid-factors", "5", "--draws", "10"
    )
    assert code == 1
    assert "refused" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--campaign", "c2"], "campaign must be one of history"),
        (["--campaign", "c1", "--budget-shares", "a"], "--budget-shares must be numbers above 0"),
        (["--campaign", "c1", "--where", "colour=red"], "--where must name a column out of"),
        (["--campaign", "c1", "--where", "region=TX"], "leaves none"),
        (
            ["--campaign", "c1", "--strata", "moon"],
            "--strata must name levels of placement, prediction, hour",
        ),
        (["--campaign", "c1", "--resample", "x"], "--resample must be auto, user or block"),
    ],
)
def test_a_wrong_question_says_what_is_allowed(history: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(build_app(), ["estimate", str(history), *arguments, "--draws", "10"])
    assert result.exit_code != 0
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)


def test_a_campaign_without_predictions_cannot_be_asked(world: World, tmp_path: Path) -> None:
    rows = [row._replace(click_probability=None) for row in rows_of(world.log.take(slice(0, 50)))]
    path = written(tmp_path / "log.parquet", rows).path
    with pytest.raises(InputError, match="must have click_probability"):
        ask(path, "c1", budget_shares=[1.0])


def test_the_controller_is_read_from_the_log(world: World) -> None:
    found = controller_of(world.log)
    assert found.start == pytest.approx(world.controller.start, rel=0.15)
    assert found.explored == pytest.approx(0.05, abs=0.02)
    assert found.sigma == pytest.approx(0.3, abs=0.05)
    assert found.shade == 1.0


def test_delays_of_a_history_are_learned(world: World, tmp_path: Path) -> None:
    log = world_of(RECIPES["second"], 13, 40_000).log
    kept = np.flatnonzero((log.converted > 0) | (np.arange(40_000) % 100 == 0))
    path = written(tmp_path / "log.parquet", rows_of(log.take(kept), delay_ns=600 * 10**9)).path
    asked = ask(path, "c1", budget_shares=[1.0])
    late = asked.study.late
    assert late[log.at_ns[kept] < log.at_ns.max() - 10**13].min() == 1.0


def test_numbers_are_read() -> None:
    assert numbers_of(" .5, 1,2 ", "--budget-shares") == [0.5, 1.0, 2.0]
    for text in ("0", "-1", "nan", "inf", "1;2"):
        with pytest.raises(InputError, match="--budget-shares"):
            numbers_of(text, "--budget-shares")
