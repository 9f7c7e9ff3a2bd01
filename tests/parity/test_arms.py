"""From a run to its landscape, to a run that bids by it, to what that saves: the whole way by commands."""

import math
from pathlib import Path

import orjson
import pytest
import uvloop
from scipy.stats import norm
from typer.testing import CliRunner, Result

from bidder.cli.main import build_app
from bidder.core.settings import ShadingSettings
from models.dataset import read_table
from models.schema import Declaration
from simulator.demo.embedded import DECISION_LOG, run_embedded
from simulator.demo.plan import Plan
from simulator.history.convert import convert
from simulator.history.file import History
from tests.parity.conftest import KEY, trained

SHADING = ShadingSettings(holdout=0.3, explore_share=0.2, exploration_budget_ppm=1_000_000)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), [*map(str, arguments)])


@pytest.fixture(scope="module")
def landscape(embedded_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landscape")
    made = command("export", embedded_run, "--out", folder / "t.parquet", "--with-lost")
    assert made.exit_code == 0, made.output
    fitted = command(
        "models", "landscape", folder / "t.parquet", "--out", folder / "a.landscape", "--by", "prediction,exchange",
        "--min-rows", 20, "--draws", 10,
    )  # fmt: skip
    assert fitted.exit_code == 0, fitted.output
    return folder / "a.landscape"


@pytest.fixture(scope="module")
def shaded_run(market: Plan, table: Path, landscape: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shaded")
    model = trained(table, folder / "model", seed=1)
    uvloop.run(
        run_embedded(
            market, model, folder, KEY, 100_000.0, lambda run: None, landscape=landscape, priced=SHADING
        )
    )
    return folder


def bids_of(folder: Path) -> list[dict[str, object]]:
    rows = [orjson.loads(line) for line in (folder / DECISION_LOG).read_bytes().splitlines()]
    return [row for row in rows if row["reason"] == 0]


def test_a_run_bids_by_the_landscape_and_replays_byte_by_byte(shaded_run: Path) -> None:
    bids = bids_of(shaded_run)
    arms = {row.get("arm") for row in bids}
    assert arms == {None, "landscape", "held"}
    assert [row for row in bids if "explore_factor" in row]
    again = command("replay", shaded_run, "--json")
    assert again.exit_code == 0, again.output
    assert orjson.loads(again.output)["identical"] is True


def test_a_history_of_a_run_has_the_densities_of_explored_bids(shaded_run: Path, tmp_path: Path) -> None:
    """Given that they were explored; those that ended at a bound have none, and the others none either."""
    bids = {row["bid_id"]: row for row in bids_of(shaded_run)}
    done = convert(shaded_run, tmp_path / "h.parquet")
    rows = [row for table in History(done.table).tables() for row in table.to_pylist()]
    explored = [row for row in rows if row["density"] is not None]
    moved = [row for row in rows if bids[row["bid_id"]].get("explore_factor")]
    assert 0 < len(explored) <= len(moved) < len(rows)
    for row in explored:
        factor = float(bids[row["bid_id"]]["explore_factor"])  # type: ignore[arg-type]
        law = norm(0.0, SHADING.explore_sigma)
        assert row["density"] == pytest.approx(law.pdf(math.log(factor)), rel=0.03)


def test_the_arms_of_a_run_are_compared(shaded_run: Path) -> None:
    told = command("shading", shaded_run, "--json", "--draws", 200)
    assert told.exit_code == 0, told.output
    found = orjson.loads(told.output)
    bids = bids_of(shaded_run)
    for arm in ("landscape", "held"):
        known = found[arm]["bids"]
        assert 0 < known <= sum(row.get("arm") == arm for row in bids)
        assert found[arm]["wins"] <= known
    assert found["held"]["share"] == 0.3
    assert found["explored"] > 0
    shown = command("shading", shaded_run, "--draws", 200)
    assert "cost of a win" in shown.output


def test_a_run_without_arms_is_told_how_to_get_some(embedded_run: Path) -> None:
    told = command("shading", embedded_run)
    assert told.exit_code != 0
    assert "has none landscape and none held" in f"{told.output} {told.exception}"


def test_an_export_has_arms_and_densities(shaded_run: Path, tmp_path: Path) -> None:
    made = command("export", shaded_run, "--out", tmp_path / "t.parquet", "--with-lost")
    assert made.exit_code == 0, made.output
    table = read_table(tmp_path / "t.parquet", [Declaration("exchange", "categorical")], lost=True)
    by_id = {row["bid_id"]: row for row in bids_of(shaded_run)}
    rows = [by_id[bid_id] for bid_id in table.extras["bid_id"]]
    assert [row.get("arm") for row in rows] == list(table.extras["arm"])
    assert table.extras["log_density"].tolist() == [row.get("log_density", 0.0) for row in rows]
