"""Answers for notebooks: their frames, what they refuse, and the example, run from its first cell to its last."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from bidder.errors import InputError
from simulator import api
from simulator.allocate.curves import read_curves
from simulator.estimate.curves import write_curves
from simulator.estimate.estimate import Estimates, Point
from simulator.forecast.asked import controller_of
from simulator.history.loading import load_auctions
from simulator.history.schema import SCHEMA
from simulator.notebook import frames, results
from simulator.notebook.amounts import each_nanos, nanos_of
from simulator.sweep.table import sweep_table
from simulator.whatif.change import Change
from simulator.whatif.compare import what_if
from tests.support.data import ROOT

EXAMPLE = ROOT / "simulator" / "notebook" / "example.ipynb"
CAMPAIGN = "cedar-trips"
SMALL = "ROWS, DAYS, DRAWS = 8_000, 8.0, 25"
COUNTS = """
import json
from simulator.notebook.results import Result
found = {name: value.frame().height for name, value in list(globals().items())
         if isinstance(value, Result) and not name.startswith("_")}
print(json.dumps(found))
"""
RUN = """
import asyncio, sys
import nbformat
from nbclient import NotebookClient
source, out = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
nbformat.write(notebook, out)
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sample history."""
    out = tmp_path_factory.mktemp("history") / "sample.parquet"
    return api.make_history("sample", out, api.Options(sample_rows=6_000, sample_days=6.0)).path


@pytest.fixture(scope="module")
def estimated(log: Path) -> api.EstimateResult:
    """Curves of two campaigns, and a budget that the log says nothing of."""
    names = [CAMPAIGN, "delta-play"]
    return api.estimate(log, names, budget_shares=(0.5, 1.0, 1.2, 400.0), draws=22, imputations=1)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Names of libraries that cannot be imported."""
    gone: set[str] = set()

    def imported(name: str) -> ModuleType:
        if name in gone:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return import_module(name)

    monkeypatch.setattr(frames, "import_module", imported)
    monkeypatch.setattr(results, "find_spec", lambda name: None if name in gone else object())
    return gone


def test_a_history_is_a_frame_of_its_rows_and_of_its_campaigns(log: Path) -> None:
    found = api.history(log)
    rows = found.frame()
    assert (rows.height, rows.columns) == (6_000, SCHEMA.names)
    campaigns = found.campaigns()
    assert campaigns["spend_nanos"].dtype == pl.Int64
    assert campaigns["spend_nanos"].sum() == rows["paid_nanos"].sum()
    own = api.history(log, columns=["paid_nanos"], campaign=CAMPAIGN).frame()
    tallied = campaigns.row(by_predicate=pl.col("campaign") == CAMPAIGN, named=True)
    assert own.columns == ["paid_nanos"]
    assert (own.height, own["paid_nanos"].sum()) == (tallied["rows"], tallied["spend_nanos"])


def test_an_estimate_is_a_row_a_question_and_says_what_it_refused(estimated: api.EstimateResult) -> None:
    found = estimated.frame()
    assert found["campaign"].to_list() == [CAMPAIGN] * 4 + ["delta-play"] * 4
    answered, refused = (
        found.filter(pl.col("refused").is_null()),
        found.filter(pl.col("refused").is_not_null()),
    )
    assert refused["budget_nanos"].to_list() == [
        one.estimates.points[3].budget_nanos for one in estimated.reports
    ]
    assert refused["clicks"].null_count() == refused["extrapolated"].null_count() == 2
    assert (answered["clicks_low"] <= answered["clicks"]).all()
    assert (answered["clicks"] <= answered["clicks_high"]).all()
    assert found["budget_nanos"].dtype == pl.Int64
    point = estimated.reports[0].estimates.points[1]
    assert found.row(1, named=True)["spend_nanos_high"] == point.spend_nanos.high


def test_curves_of_an_estimate_are_those_of_its_file(estimated: api.EstimateResult, tmp_path: Path) -> None:
    path = tmp_path / "curves.parquet"
    write_curves(path, [report.estimates for report in estimated.reports])
    by_file, at_hand = read_curves(path), estimated.curves()
    assert (by_file.names, by_file.draws, by_file.current) == (at_hand.names, at_hand.draws, at_hand.current)
    for column, arrays in by_file.columns.items():
        assert all(map(np.array_equal, arrays, at_hand.columns[column]))
    plans = [api.allocate(curves, sure=0) for curves in (estimated, at_hand, path, str(path))]
    assert len({tuple(one.plan.recommended) for one in plans}) == 1


def test_curves_of_a_campaign_of_which_all_was_refused_are_no_rows(estimated: api.EstimateResult) -> None:
    one = estimated.reports[0]
    asked = one.estimates
    none = Estimates(
        "none", asked.opportunities, asked.wins, asked.clicks, asked.conversions, asked.spend_nanos, asked.seed,
        asked.draws, asked.grouped, (Point(10**9, 1.0, refused="too much"),), tuple((row[0],) for row in asked.table),
    )  # fmt: skip
    refused = type(one)(one.source, one.currency, none, (), ())
    both = api.EstimateResult((*estimated.reports, refused))
    assert both.curves().names == estimated.curves().names
    with pytest.raises(InputError, match="must have rows, has none"):
        api.EstimateResult((refused,)).curves()


def test_a_plan_is_a_row_a_campaign_within_its_terms(estimated: api.EstimateResult) -> None:
    found = api.allocate(estimated, terms={"all": {"min_share": 0.6}}, sure=0)
    rows = found.frame()
    assert rows["campaign"].to_list() == [CAMPAIGN, "delta-play"]
    assert rows["recommended_nanos"].sum() == rows["current_nanos"].sum()
    assert (rows["best_nanos"] >= 0.6 * rows["current_nanos"] - 1).all()
    frozen = api.allocate(estimated, freeze=CAMPAIGN).frame()
    assert frozen["best_nanos"].to_list() == frozen["current_nanos"].to_list()
    less = api.allocate(estimated, total="0.50").frame()
    assert less["best_nanos"].sum() == 500_000_000


def test_a_forecast_has_a_row_a_budget_and_frames_of_hours_win_rates_and_groups(log: Path) -> None:
    found = api.forecast(log, CAMPAIGN, days=2, budgets=["0.1", 1], by="region", draws=10)
    rows = found.frame()
    assert rows["budget_nanos"].to_list() == [100_000_000, 1_000_000_000]
    assert rows["verdict"].to_list() == [one.verdict for one in found.found.deliveries]
    hours = found.hours()
    assert set(hours["at_ns"].diff().drop_nulls()) == {3_600 * 10**9}
    assert hours["opportunities"].sum() == pytest.approx(found.found.opportunities.point)
    assert found.win_rates()["won"].is_sorted()
    groups = found.groups().group_by("budget_nanos", maintain_order=True).agg(pl.col("spend_nanos").sum())
    assert groups["spend_nanos"].to_list() == pytest.approx(rows["spend_nanos"].to_list(), rel=1e-6)


def test_a_what_if_is_what_the_simulator_says(log: Path) -> None:
    found = api.whatif(log, CAMPAIGN, max_bid=Decimal("1.5"), budget=1, draws=10)
    own = load_auctions(log, CAMPAIGN)
    controller = controller_of(own, int(own.bid_nanos.max()))
    same = what_if(own, controller, 10**9, Change(max_bid_nanos=1_500_000), seed=7, draws=10)
    rows = found.frame()
    assert rows["name"].to_list() == [line.name for line in same.lines]
    assert rows["difference_low"].to_list() == [line.difference.low for line in same.lines]
    assert same.verdict in repr(found)


def test_a_sweep_takes_lists_and_ranges(log: Path) -> None:
    found = api.sweep(log, CAMPAIGN, vary={"budget": [Decimal("0.5"), 1], "max_bid": "1:4:3"}, draws=10)
    rows = found.frame()
    assert rows.height == 6
    assert rows["surplus_nanos"].is_sorted(descending=True)
    assert found.table().equals(sweep_table(found.points))
    drawn = api.sweep(log, CAMPAIGN, vary={"max_bid": "1:4"}, random=2, order="clicks", draws=10).frame()
    assert drawn["max_bid"].is_between(1, 4).all()
    assert drawn["clicks"].is_sorted(descending=True)
    assert sorted(rows["max_bid"]) == pytest.approx([1.0, 1.0, 2.0, 2.0, 4.0, 4.0])


def test_the_largest_campaign_is_taken_where_none_is_named(log: Path) -> None:
    assert (
        api.sweep(log, vary={"budget": [1]}, draws=10).campaign == api.history(log).campaigns()["campaign"][0]
    )


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (
            lambda log: api.estimate(log, CAMPAIGN, budget_shares=(0.5, -1)),
            "budget_shares must be numbers above 0",
        ),
        (lambda log: api.estimate(log, CAMPAIGN, budget_shares=()), "give budget_shares or bid_factors"),
        (lambda log: api.estimate(log, CAMPAIGN, draws=1), "draws must be from 10"),
        (lambda log: api.estimate(log, CAMPAIGN, where="nowhere=CA"), "must name a column out of"),
        (lambda log: api.estimate(log, CAMPAIGN, resample="hour"), "resample must be auto, user or block"),  # type: ignore[arg-type]
        (lambda log: api.estimate(log, "nobody"), "campaign must be one of history"),
        (lambda log: api.forecast(log, days=0), "days must be above 0"),
        (lambda log: api.forecast(log, budgets="100"), "budgets must be a list of amounts"),
        (api.whatif, "must change something"),
        (lambda log: api.whatif(log, new_budget=12.5), "new_budget must be a whole number, a text"),  # type: ignore[arg-type]
        (lambda log: api.whatif(log, eta=1.0), "eta must be from"),
        (lambda log: api.sweep(log, vary={"weather": [1]}), "must name one of budget"),
        (lambda log: api.sweep(log, vary={"max_bid": "1:2:3"}, budget="0"), "budget must be above 0"),
        (lambda log: api.history(log, columns=["weather"]).frame(), "columns must be some of"),
        (lambda log: api.history(log, campaign="nobody").frame(), "campaign must be one of history"),
        (api.allocate, "must be a file of response curves, is a history"),
        (lambda log: api.allocate(log, measure="joy"), "measure must be one of"),
        (lambda log: api.allocate(log, sure=80), "sure must be from 0 to 1"),
    ],
)
def test_what_cannot_be_asked_is_named(log: Path, ask: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ask(log)


def test_terms_that_are_none_are_named(estimated: api.EstimateResult) -> None:
    with pytest.raises(InputError, match="terms must be the tables of a file of bounds"):
        api.allocate(estimated, terms={"al": {}})


@pytest.mark.parametrize("given", [12, "12", " 12.0 ", Decimal("1.2E1"), np.int64(12)])
def test_money_is_read_exactly(given: Any) -> None:
    assert nanos_of(given, "budget", 10**9) == 12_000_000_000


@pytest.mark.parametrize("given", [True, 12.0, np.float64(12), None, "12,5", 0, "-1", Decimal("nan"), "1e3"])
def test_what_is_no_amount_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="budgets "):
        each_nanos([given], "budgets", 10**9)


def test_without_a_library_the_extra_is_named_and_the_table_is_still_there(
    estimated: api.EstimateResult, without: set[str]
) -> None:
    without |= {"polars", "pandas"}
    with pytest.raises(InputError, match=r"pip install 'clearbid\[notebook\]'"):
        estimated.frame()
    assert estimated.table().num_rows == 8
    assert estimated._repr_html_() is None


def test_pandas_keeps_whole_numbers_where_cells_are_null(log: Path, without: set[str]) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    without |= {"polars"}
    found = api.history(log, columns=["shown_ns"]).frame()
    assert isinstance(found, pandas.DataFrame)
    assert str(found["shown_ns"].dtype) == "int64[pyarrow]"
    assert found["shown_ns"].isna().any()


def test_a_page_stands_in_a_frame_of_its_own(log: Path, estimated: api.EstimateResult) -> None:
    plan = api.allocate(estimated)
    shown = plan._repr_html_() or ""
    assert plan.page().startswith("<!DOCTYPE html>")
    assert shown.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert 'sandbox=""' in shown
    assert shown.count("<") == 2
    one = api.EstimateResult(estimated.reports[:1])
    assert "iframe" in (one._repr_html_() or "")
    assert CAMPAIGN in one.page()
    # Several campaigns have no page of them all.
    assert "iframe" not in (estimated._repr_html_() or "iframe")
    assert api.history(log)._repr_html_() is None


def test_the_example_holds_no_outputs() -> None:
    cells = json.loads(EXAMPLE.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}


def test_the_example_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    notebook = json.loads(EXAMPLE.read_text())
    (sizes,) = (cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    sizes["source"] = SMALL
    notebook["cells"].append({**sizes, "id": "counts", "metadata": {}, "source": COUNTS})
    source, out = tmp_path / "small.ipynb", tmp_path / "run.ipynb"
    source.write_text(json.dumps(notebook))
    places = ("HOME", "TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    # In a process of its own: what a client of Jupyter warns of is not ours to mend.
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(source), str(out)],
        env=os.environ | dict.fromkeys(places, str(tmp_path)) | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    code = [cell for cell in json.loads(out.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [output["output_type"] for cell in code for output in cell["outputs"]]
    assert "error" not in kinds
    assert kinds.count("execute_result") >= 8
    counts = json.loads("".join(code[-1]["outputs"][0]["text"]))
    assert counts.keys() == {
        "log",
        "bids",
        "estimated",
        "week",
        "capped",
        "richer",
        "swept",
        "curves",
        "plan",
    }
    assert all(counts.values())
    assert counts["log"] == 8_000
