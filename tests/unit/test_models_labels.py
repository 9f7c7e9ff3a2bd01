"""Which labels a conversion model is judged by, and which way it is off: the same in every command."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from models.artifact import load_bundle
from models.commands import register
from models.commands.labels import label_word
from models.dataset import read_table
from models.evaluation.intervals import Interval, Sample, judge, sample_of
from models.evaluation.leaning import fault, predicts, still_to_come
from models.evaluation.slices import by_column, flag
from models.evaluation.slicing import slicing_of
from models.evaluation.words import calibration_said, off_said
from models.reports import ModelReport
from models.train import TrainParams, train_bundle
from tests.support.delayed import DAY_NS, DECLARATIONS, delayed_clicks
from tests.support.training import write_parquet

PARAMS = TrainParams(max_rounds=10, fixed_rounds=10, num_threads=1)


def watched(arrow: pa.Table, days: np.ndarray) -> pa.Table:
    """The table with each click watched for its own number of days."""
    at = arrow["at_ns"].to_numpy()
    until = at + (days * DAY_NS).astype(np.int64)
    told = np.array([-1 if value is None else value for value in arrow["conversion_at_ns"].to_pylist()])
    come = (told >= 0) & (told <= until)
    click = arrow["click"].to_numpy() > 0
    for name, column in (
        ("observed_until_ns", pa.array(until)),
        ("conversion_at_ns", pa.array(told, mask=~come)),
        ("conversion", pa.array(come.astype(np.int64), mask=~click)),
    ):
        arrow = arrow.set_column(arrow.column_names.index(name), name, column)
    return arrow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table in which every second click was watched for twelve days, the others for two; a model of it."""
    path = tmp_path_factory.mktemp("labels")
    arrow, _, _ = delayed_clicks("exponential", 12_000, seed=4, click_rate=0.6)
    arrow = watched(arrow, np.where(np.arange(len(arrow)) % 2 > 0, 12.0, 2.0))
    write_parquet(path / "rows.parquet", arrow)
    table = read_table(path / "rows.parquet", DECLARATIONS)
    train_bundle(table, DECLARATIONS, path / "late", params=PARAMS)
    none = msgspec.structs.replace(PARAMS, delay="none")
    train_bundle(table, DECLARATIONS, path / "complete", params=none)
    return path


def run(*arguments: object, codes: tuple[int, ...] = (0,)) -> Any:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, ["models", *map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code in codes, (done.output, done.exception)
    return done


def test_the_settled_figures_of_training_are_those_of_evaluate(folder: Path) -> None:
    report = load_bundle(folder / "late").manifest.models["cvr"]
    assert report.settled
    found = json.loads(
        run(
            "evaluate", folder / "late", folder / "rows.parquet", "--held-out", "--draws", 50, "--json"
        ).stdout
    )
    judged = found["models"]["cvr"]["judged"]
    assert found["labels"] == "settled"
    assert judged["rows"] == report.settled.rows > 100
    assert judged["rows"] < report.after.rows  # of which every second one is not settled
    for name in ("auc", "log_loss", "normalized_entropy", "calibration_ratio", "ece"):
        assert judged[name]["value"] == pytest.approx(getattr(report.settled, name), rel=1e-9)
    assert report.settled.calibration_ratio != pytest.approx(report.after.calibration_ratio, rel=1e-6)


def test_each_says_in_one_word_which_labels_it_means(folder: Path) -> None:
    shown = " ".join(run("show", folder / "late").stdout.split())
    for words in (
        "cvr raw interim",
        "cvr isotonic interim",
        "cvr isotonic settled",
        "settled: clicks watched",
    ):
        assert words in shown
    page = folder / "late.html"
    done = run("evaluate", folder / "late", folder / "rows.parquet", "--held-out", "--page", page)
    assert "cvr settled" in done.stdout
    assert "Labels are settled" in page.read_text()
    for command in (
        ("show", folder / "complete"),
        ("evaluate", folder / "complete", folder / "rows.parquet"),
    ):
        said = run(*command).stdout
        assert "settled" not in said
        assert "interim" not in said


def test_a_refit_is_judged_by_settled_labels_and_drops_the_old_ones(folder: Path, tmp_path: Path) -> None:
    run(
        "calibration",
        folder / "late",
        folder / "rows.parquet",
        "--refit",
        "--out",
        tmp_path / "m",
        codes=(0, 1),
    )
    bundle = load_bundle(tmp_path / "m")
    assert (label_word(load_bundle(folder / "late")), label_word(bundle)) == ("interim", "settled")
    assert not bundle.manifest.models["cvr"].settled
    assert "interim" not in run("show", tmp_path / "m").stdout


def test_a_report_without_settled_figures_is_written_as_it_was_before_there_were_any(folder: Path) -> None:
    report = load_bundle(folder / "complete").manifest.models["cvr"]
    assert "settled" not in msgspec.to_builtins(report)
    assert msgspec.convert(msgspec.to_builtins(report), ModelReport) == report


@pytest.mark.parametrize(
    ("ratio", "off", "means", "later"),
    [
        (0.9, "10.0% too few clicks", "too few clicks, so bids are too low", "predicts too few by more"),
        (
            1.1,
            "10.0% too many clicks",
            "too many clicks, so bids are too high",
            "predicts too many may be on",
        ),
    ],
)
def test_headline_verdict_and_warning_lean_the_same_way(
    ratio: float, off: str, means: str, later: str
) -> None:
    said = (predicts("ctr", ratio), fault("ctr", ratio), still_to_come(ratio))
    assert off in said[0]
    assert means in said[1]
    assert later in said[2]
    other = "too many" if ratio < 1.0 else "too few"
    assert not [one for one in said if other in one]


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        (
            (0.61, 0.57, 0.653),
            "39.0% too few clicks on 90 impressions (95% interval 34.7% to 43.0% too few).",
        ),
        (
            (1.2, 1.1, 1.3),
            "20.0% too many clicks on 90 impressions (95% interval 10.0% to 30.0% too many).",
        ),
        ((0.99, 0.97, 1.02), "(95% interval 3.0% too few to 2.0% too many)."),
    ],
)
def test_the_interval_leans_as_the_headline_does(ratios: tuple[float, float, float], said: str) -> None:
    y = np.repeat([1.0, 0.0], [20, 70])
    judged = judge(sample_of(y, np.full(90, 0.2)), draws=50)
    judged = msgspec.structs.replace(judged, calibration_ratio=Interval(*ratios))
    assert said in calibration_said("ctr", judged)


def test_what_is_right_or_not_known_leans_nowhere() -> None:
    assert predicts("cvr", 1.0004) == "Predicts conversions right on the whole"
    assert still_to_come(None) == "so its calibration is not known yet"


@pytest.mark.parametrize(("rate", "leans"), [(0.5, "too few by more than is measured"), (2.0, "on its way")])
def test_the_warning_of_fresh_clicks_follows_the_figure(
    rate: float, leans: str, folder: Path, tmp_path: Path
) -> None:
    """The same model, by rows with twice and with half as many conversions as it learned."""
    arrow, _, _ = delayed_clicks("exponential", 6_000, seed=5, click_rate=0.6)
    at = arrow["at_ns"].to_numpy() + 31 * DAY_NS
    random = np.random.default_rng(1)
    click = arrow["click"].to_numpy() > 0
    mean = load_bundle(folder / "complete").manifest.label_rates["cvr"]
    come = click & (random.random(len(arrow)) < mean / rate)
    for name, column in (
        ("at_ns", pa.array(at)),
        ("click_at_ns", pa.array(at, mask=~click)),
        ("conversion", pa.array(come.astype(np.int64), mask=~click)),
        ("conversion_at_ns", pa.array(at + DAY_NS, mask=~come)),
        ("observed_until_ns", pa.array(np.where(come, at + 3 * DAY_NS, at + DAY_NS // 2))),
    ):
        arrow = arrow.set_column(arrow.column_names.index(name), name, column)
    write_parquet(tmp_path / "fresh.parquet", arrow)
    done = run("evaluate", folder / "complete", tmp_path / "fresh.parquet", "--draws", 50, "--json")
    ratio = json.loads(done.stdout)["models"]["cvr"]["judged"]["calibration_ratio"]["value"]
    assert (ratio > 1.0) == (rate > 1.0)
    assert leans in " ".join(done.stderr.split())


def test_parts_tested_and_parts_with_an_interval_are_both_counted() -> None:
    """Nothing happened in `b`, of which much was expected; `c` is too small for either."""
    names = ["a"] * 400 + ["b"] * 400 + ["c"] * 12
    y = np.array([float(place % 10 == 0) if name == "a" else 0.0 for place, name in enumerate(names)])
    size = len(y)
    sample = Sample(y, np.full(size, 0.1), np.ones(size), np.arange(size, dtype=np.int32))
    columns = flag([by_column(sample, slicing_of("name", names), draws=50)])
    said = off_said(columns)
    assert said.startswith("1 of 2 tested parts off by more than chance allows")
    assert "of 3 parts 2 can be tested" in said
    assert "and 1 have an interval" in said
    alone = flag([by_column(sample, slicing_of("name", ["a"] * size), draws=50)])
    assert (
        off_said(alone, "tenth")
        == f"{len(alone[0].flagged)} of 1 tested tenth off by more than chance allows"
    )
