"""`clearbid models explain`, as a person runs it, and the pages it writes."""

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from models.commands import register
from models.dataset import table_from_arrow
from models.errors import ArtifactError, TableError
from models.explain.charts import span_chart
from models.explain.permutation import Shuffled
from models.explain.words import added, chance, times, verdict
from models.pages.charts import ChartIds
from models.train import TrainParams, train_bundle
from tests.support.training import DECLARATIONS, make_table, write_parquet

ODD_BID = "<b>&'\"\x00"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A model, the prior one of a table with few clicks, and the table with ids."""
    folder = tmp_path_factory.mktemp("explain")
    rows = make_table(3000)
    params = TrainParams(num_threads=1, max_rounds=20)
    train_bundle(table_from_arrow(rows, DECLARATIONS, source="t"), DECLARATIONS, folder / "m", params=params)
    few = table_from_arrow(make_table(300, click_rate=0.03, conversion_rate=0.5), DECLARATIONS, source="t")
    train_bundle(few, DECLARATIONS, folder / "prior", params=params)
    ids = [f"b{number}" for number in range(2999)] + [ODD_BID]
    write_parquet(folder / "rows.parquet", rows.append_column("bid_id", pa.array(ids)))
    write_parquet(folder / "plain.parquet", rows)
    return folder


def run(files: Path, *arguments: object, model: str = "m", table: str = "rows.parquet") -> Any:
    app = typer.Typer()
    register(app)
    words = ["models", "explain", files / model, files / table, *arguments]
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "100"})


def ran(files: Path, *arguments: object, **how: str) -> str:
    done = run(files, *arguments, **how)
    assert done.exit_code == 0, (done.output, done.exception)
    return str(done.stdout)


def texts(page: str) -> list[str]:
    """All text of a page that must be well-formed XML and load nothing."""
    root = ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert not {"script", "img", "link", "iframe"} & {element.tag for element in root.iter()}
    assert not any(name in element.attrib for element in root.iter() for name in ("src", "href", "onclick"))
    return [text.strip() for text in root.itertext() if text.strip()]


def test_a_row_is_found_by_number_and_by_bid_id(files):
    by_number = json.loads(ran(files, "--row", 8, "--json"))
    by_id = json.loads(ran(files, "--bid-id", "b7", "--json"))
    assert by_number == by_id
    assert (by_id["row"], by_id["bid_id"]) == (8, "b7")
    assert [one["model"] for one in by_id["models"]] == ["ctr", "cvr"]


def test_the_table_for_people_has_the_numbers_of_the_json(files):
    said = ran(files, "--row", 1)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    for one in json.loads(ran(files, "--row", 1, "--json"))["models"]:
        assert f"probability of a {one['title']}: {chance(one['probability'])}" in said
        for step in one["steps"]:
            words = [
                step["name"],
                *step["value"].split(),
                added(step["contribution"]),
                times(step["odds_factor"]),
            ]
            assert " ".join([*words, chance(step["probability"])]) in lines
        assert added(one["calibration"]) in said


def test_as_many_contributions_are_told_as_are_asked_for(files):
    one = json.loads(ran(files, "--row", 5, "--top", 2, "--json"))["models"][0]
    many = json.loads(ran(files, "--row", 5, "--top", 50, "--json"))["models"][0]
    assert len(one["steps"]) == 2
    assert one["steps"] == many["steps"][:2]
    assert one["rest"] == pytest.approx(math.fsum(step["contribution"] for step in many["steps"][2:]))
    assert "all other features" in ran(files, "--row", 5, "--top", 2)


def test_without_a_row_the_table_is_told(files):
    found = json.loads(ran(files, "--sample", 500, "--json"))
    assert (found["rows"], found["sampled"], found["table"]) == (3000, 500, "rows.parquet")
    assert found == json.loads(ran(files, "--global", "--sample", 500, "--json"))
    said = " ".join(ran(files, "--sample", 500).split())
    heaviest = found["models"][0]["groups"][0]
    assert f"{heaviest['name']} {heaviest['mean_absolute']:.4f}" in said
    assert "contributions of 500 of 3,000 rows" in said
    assert "may have been learned from, which flatters" in said  # not the very file of the training


def test_a_prior_says_that_nothing_weighs(files):
    said = " ".join(ran(files, "--sample", 50, model="prior").split())
    assert "for every row: no tree splits" in said
    one = json.loads(ran(files, "--row", 1, "--json", model="prior"))["models"][0]
    assert (one["steps"], one["base"]) == ([], one["raw"])


def test_a_page_of_a_row_shows_the_numbers_of_the_json(files, tmp_path):
    page = tmp_path / "row.html"
    found = json.loads(ran(files, "--row", 3000, "--page", page, "--json"))
    shown = texts(page.read_text(encoding="utf-8"))
    assert found["bid_id"] == ODD_BID
    assert "Why, row 3000, bid <b>&'\"\N{REPLACEMENT CHARACTER}" in shown
    for one in found["models"]:
        for number in (
            chance(one["probability"]),
            chance(one["base_probability"]),
            added(one["calibration"]),
        ):
            assert shown.count(number) >= 2
        for step in one["steps"]:
            assert {step["name"], step["value"], times(step["odds_factor"])} <= set(shown)
            assert shown.count(added(step["contribution"])) >= 2  # in the chart and in the table
            assert chance(step["probability"]) in shown


@pytest.mark.parametrize("model", ["m", "prior"])
def test_a_page_of_a_table_shows_the_numbers_of_the_json(files, tmp_path, model):
    page = tmp_path / "all.html"
    found = json.loads(ran(files, "--page", page, "--sample", 300, "--json", model=model))
    shown = texts(page.read_text(encoding="utf-8"))
    for one in found["models"]:
        assert chance(one["mean_probability"]) in " ".join(shown)
        for weight in (*one["groups"], *one["features"]):
            assert {weight["name"], f"{weight['mean_absolute']:.4f}", added(weight["mean"])} <= set(shown)
        for shuffle in one["shuffled"]:
            assert f"{shuffle['loss_increase']:+.2%}" in shown
            assert f"{shuffle['low']:+.2%} to {shuffle['high']:+.2%}" in shown
        for campaign in one["campaigns"] if one["groups"] else ():
            assert {campaign["name"], f"{campaign['rows']:,}"} <= set(shown)
        for dependence in one["dependence"]:
            for part in dependence["bins"]:
                assert {part["label"], added(part["mean_contribution"])} <= set(shown)


def test_numbers_are_written_so_that_nothing_is_none():
    assert [chance(p) for p in (0.5, 0.09, 0.0000123, 0.9999999)] == ["50.0%", "9.00%", "0.00123%", "100%"]
    assert chance(1e-9) == "<0.0001%"
    assert [times(f) for f in (1.0, 12.5, 1234.5, 0.0123)] == ["×1.00", "×12.50", "×1.23e+03", "×0.0123"]  # noqa: RUF001
    assert [added(c) for c in (0.1234, -2.0)] == ["+0.123", "-2.000"]


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.01, 0.02, "yes"), (-0.01, 0.02, "not shown"), (-0.02, -0.01, "hurts")]
)
def test_an_interval_on_one_side_of_nothing_is_a_verdict(low, high, said):
    one = Shuffled(name="g", moved=0.1, loss_increase=(low + high) / 2, low=low, high=high, matters=low > 0)
    assert verdict(one) == said


def test_a_chart_of_nothing_is_drawn_all_the_same():
    assert ET.fromstring(span_chart(ChartIds(), "t", "d", [], 0.0)).tag == "svg"


# -- wrong input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "table", "said"),
    [
        (("--row", 0), "rows.parquet", "--row must be 1 to 3000, the rows of rows.parquet, was 0"),
        (("--row", 3001), "rows.parquet", "was 3001"),
        (("--bid-id", "nobody"), "rows.parquet", "--bid-id must be in the column bid_id"),
        (("--bid-id", "b1"), "plain.parquet", "must have the column bid_id for --bid-id, has not: use --row"),
        (("--row", 1), "none.parquet", "none.parquet must be a file"),
    ],
)
def test_a_row_that_is_not_there_is_said_to_be_so(files, arguments, table, said):
    done = run(files, *arguments, table=table)
    assert isinstance(done.exception, TableError)
    assert said in str(done.exception)


def test_a_table_without_a_feature_of_the_model_is_refused(files):
    rows = make_table(50).drop_columns(["segments"])
    write_parquet(files / "bare.parquet", rows)
    done = run(files, "--row", 1, table="bare.parquet")
    assert isinstance(done.exception, TableError)
    assert "must have the column segments" in str(done.exception)


def test_a_row_and_the_whole_table_exclude_each_other(files):
    done = run(files, "--row", 1, "--global")
    assert done.exit_code == 2
    assert "--row and --global must not be given together" in " ".join(done.output.replace("│", " ").split())


def test_a_page_that_cannot_be_written_is_said_to_be_so(files, tmp_path):
    (tmp_path / "no").write_text("")
    done = run(files, "--row", 1, "--page", tmp_path / "no" / "page.html")
    assert isinstance(done.exception, TableError)
    assert "is a file: name another place" in str(done.exception)


def test_a_model_that_is_not_there_is_said_to_be_so(files):
    done = run(files, "--row", 1, model="nowhere")
    assert isinstance(done.exception, ArtifactError)


@pytest.mark.parametrize("asked", [("--row", 1), ("--sample", 200)])
def test_a_page_is_named_when_it_is_written(files, tmp_path, asked):
    said = ran(files, *asked, "--page", tmp_path / "p.html")
    assert said.endswith(f"Page: {tmp_path / 'p.html'}\n")
