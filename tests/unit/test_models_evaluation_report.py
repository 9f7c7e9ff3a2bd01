"""`clearbid models evaluate`, as a person runs it: what it says, what it warns of, what it refuses."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import typer
from msgspec import structs
from typer.testing import CliRunner

from models.artifact import load_bundle
from models.bring import bring_model
from models.commands import register
from models.dataset import read_table, split_by_time
from models.errors import ArtifactError, TableError
from models.evaluate import evaluate
from models.schema import Declaration
from models.scorer import Scorer
from models.train import TrainParams, train_bundle
from models.unseen import first_unseen
from tests.support.training import DECLARATIONS, make_table, write_parquet

QUICK = TrainParams(max_rounds=40, fixed_rounds=20, num_threads=1)
YEAR_NS = 365 * 86_400 * 10**9


@pytest.fixture(scope="module")
def app():
    found = typer.Typer()
    register(found)
    return found


def later(table, by_ns=YEAR_NS):
    """The same rows, later."""
    return replaced(table, "at_ns", pa.array(np.asarray(table["at_ns"]) + by_ns))


def replaced(table, name, values):
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models of one table, the second without the domain; the table; later rows of the same law."""
    path = tmp_path_factory.mktemp("evaluate")
    write_parquet(path / "rows.parquet", make_table(5000))
    write_parquet(path / "later.parquet", later(make_table(4000, seed=6)))
    for name, declarations in (("model", DECLARATIONS), ("small", DECLARATIONS[2:])):
        train_bundle(read_table(path / "rows.parquet", declarations), declarations, path / name, params=QUICK)
    return path


def run(app, *arguments):
    return CliRunner().invoke(app, ["models", "evaluate", *map(str, arguments)])


def found(app, *arguments):
    done = run(app, *arguments, "--json", "--draws", 50)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def values_of(judged):
    return {name: each["value"] for name, each in judged.items() if isinstance(each, dict)}


def test_the_numbers_are_those_of_the_scorer_and_of_evaluate(app, folder):
    shown = found(app, folder / "model", folder / "later.parquet")
    rows = read_table(folder / "later.parquet", DECLARATIONS)
    bundle = load_bundle(folder / "model")
    p = Scorer(bundle).probabilities(bundle.spec.encode_table(rows.columns))
    known = (rows.click > 0) & ~np.isnan(rows.conversion)
    for name, plain in (
        ("ctr", evaluate(rows.click, p[:, 0])),
        ("cvr", evaluate(rows.conversion[known], p[known, 1])),
    ):
        judged = shown["models"][name]["judged"]
        assert (judged["rows"], judged["positives"]) == (plain.rows, plain.positives)
        for metric in ("auc", "log_loss", "normalized_entropy", "calibration_ratio", "ece"):
            assert judged[metric]["value"] == pytest.approx(getattr(plain, metric), rel=1e-9)
    assert (shown["learned"], shown["warnings"], shown["clusters"]) == (0, [], "time")


def test_the_same_seed_gives_the_same_and_another_seed_other_intervals(app, folder):
    one, again, other = (
        found(app, folder / "model", folder / "later.parquet", "--seed", seed)["models"]["ctr"]["judged"]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert one["auc"]["low"] != other["auc"]["low"]
    assert one["auc"]["value"] == other["auc"]["value"]


def test_parts_sum_to_the_whole_for_both_models(app, folder):
    shown = found(
        app, folder / "model", folder / "later.parquet", "--by", "campaign, domain,segments,hour,day"
    )
    for name in ("ctr", "cvr"):
        model = shown["models"][name]
        assert [column["column"] for column in model["columns"]] == [
            "campaign",
            "domain",
            "segments",
            "hour",
            "day",
        ]
        for column in model["columns"]:
            total = sum(part["judged"]["rows"] for part in column["slices"])
            assert column["overlapping"] == (column["column"] == "segments")
            assert (total == model["judged"]["rows"]) == (not column["overlapping"])


def test_the_table_it_learned_from_is_named_loudly_and_held_out_rows_are_those_of_training(app, folder):
    done = run(app, folder / "model", folder / "rows.parquet", "--draws", 50)
    assert done.exit_code == 0
    assert "learned from this very table" in " ".join(done.stderr.split())
    assert "too kind" in done.stdout
    shown = found(app, folder / "model", folder / "rows.parquet", "--held-out")
    assert shown["warnings"] == []
    rows = read_table(folder / "rows.parquet", DECLARATIONS)
    assert shown["impressions"] == len(split_by_time(rows).test)
    report = json.loads((folder / "model" / "manifest.json").read_text())["models"]["ctr"]["after"]
    mine = values_of(shown["models"]["ctr"]["judged"])
    for metric in ("auc", "log_loss", "normalized_entropy", "calibration_ratio", "ece"):
        assert mine[metric] == pytest.approx(report[metric], rel=1e-9)


def test_of_a_brought_model_it_is_not_known_when_its_trees_learned(app, folder, tmp_path):
    model, page = folder / "model", tmp_path / "page.html"
    bring_model(model / "ctr.txt", model / "spec.json", folder / "rows.parquet", tmp_path / "m")
    done = run(app, tmp_path / "m", folder / "later.parquet", "--draws", 50, "--page", page)
    assert done.stdout.endswith(f"Page: {page}\n")
    assert done.exit_code == 0, done.output
    assert "not known when its trees learned" in " ".join(done.stdout.split())
    assert "not known when its trees learned (`models import` made" in " ".join(done.stderr.split())
    assert "later than training" not in " ".join(done.stdout.split())
    assert "not known when its trees learned, calibrated on" in page.read_text()
    for table in ("later.parquet", "rows.parquet"):
        refused = run(app, tmp_path / "m", folder / table, "--held-out")
        assert isinstance(refused.exception, TableError)
        assert "it is not known when its trees learned" in str(refused.exception)


def test_no_rows_are_held_out_where_slices_are_not_parted_by_time(app, folder, tmp_path):
    users = pa.array([f"u{place % 500}" for place in range(5000)])
    write_parquet(tmp_path / "rows.parquet", replaced(make_table(5000), "user", users))
    params = TrainParams(max_rounds=5, fixed_rounds=5, num_threads=1, split_by="user")
    train_bundle(
        read_table(tmp_path / "rows.parquet", DECLARATIONS), DECLARATIONS, tmp_path / "m", params=params
    )
    refused = run(app, tmp_path / "m", tmp_path / "rows.parquet", "--held-out")
    assert isinstance(refused.exception, TableError)
    for words in ("parted by user, not by time", "which rows it held out is not known", "export later rows"):
        assert words in str(refused.exception)
    later_rows = found(app, tmp_path / "m", folder / "later.parquet", "--held-out")
    assert later_rows["impressions"] == 4000


def test_test_rows_to_which_a_calibration_was_fitted_are_not_held_out(folder, tmp_path):
    bundle = load_bundle(folder / "model")
    rows = read_table(folder / "rows.parquet", DECLARATIONS)
    begin = first_unseen(rows, bundle)
    params = {**bundle.manifest.params, "recalibration": {"until_ns": int(rows.at_ns[begin + 100])}}
    fitted = replace(bundle, manifest=structs.replace(bundle.manifest, params=params))
    assert first_unseen(rows, fitted) == begin + 101


def test_rows_of_the_training_window_are_counted_and_held_out_leaves_later_ones(app, folder, tmp_path):
    mixed = pa.concat_tables([make_table(300, seed=9), later(make_table(700, seed=10))])
    write_parquet(tmp_path / "mixed.parquet", mixed)
    shown = found(app, folder / "model", tmp_path / "mixed.parquet")
    assert 290 <= shown["learned"] <= 300
    assert "of 1,000 impressions" in shown["warnings"][0]
    shown = found(app, folder / "model", tmp_path / "mixed.parquet", "--held-out")
    assert (shown["learned"], shown["warnings"]) == (0, [])
    assert shown["impressions"] >= 700


def test_no_later_rows_are_refused(app, folder, tmp_path):
    write_parquet(tmp_path / "early.parquet", later(make_table(500), -YEAR_NS))
    done = run(app, folder / "model", tmp_path / "early.parquet", "--held-out")
    assert isinstance(done.exception, TableError)
    assert "export later rows" in str(done.exception)


def test_the_model_that_knows_more_is_better_than_the_other_one(app, folder):
    arguments = (folder / "model", folder / "later.parquet", "--against", folder / "small")
    against = found(app, *arguments)["models"]["ctr"]["against"]
    assert against["better"]
    assert against["differences"]["normalized_entropy"]["high"] < 0.0
    back = found(app, folder / "small", folder / "later.parquet", "--against", folder / "model")
    assert not back["models"]["ctr"]["against"]["better"]
    assert "The new model is better" in run(app, *arguments).stdout


def test_groups_with_lost_bids_prices_and_users(app, folder, tmp_path):
    table, random = later(make_table(3000, seed=8)), np.random.default_rng(8)
    won = (np.asarray(table["click"]) > 0) | (random.random(3000) < 0.5)
    table = replaced(table, "click", pa.array(np.asarray(table["click"]), mask=~won))
    table = replaced(table, "won", pa.array(won.astype(int)))
    table = replaced(table, "price_cpm_micros", pa.array(random.exponential(1e6, 3000), mask=~won))
    table = replaced(table, "user", pa.array([f"u{k}" for k in random.integers(0, 900, 3000)]))
    table = replaced(table, "gender", pa.array([("f", "m", None)[k] for k in random.integers(0, 3, 3000)]))
    write_parquet(tmp_path / "bids.parquet", table)
    shown = found(app, folder / "model", tmp_path / "bids.parquet", "--group", "gender")
    assert shown["clusters"] == "user"
    assert (shown["rows"], shown["impressions"]) == (3000, int(won.sum()))
    assert shown["models"]["ctr"]["judged"]["rows"] == int(won.sum())
    groups = shown["fairness"]["groups"]
    assert [group["label"] for group in groups][-1] == "not known"
    for share in ("impression_share", "bid_share", "spend_share"):
        assert sum(group[share]["value"] for group in groups) == pytest.approx(1.0)
    alone = found(app, folder / "model", tmp_path / "bids.parquet")
    assert alone["models"]["ctr"]["judged"] == shown["models"]["ctr"]["judged"] | {
        name: alone["models"]["ctr"]["judged"][name] for name in values_of(alone["models"]["ctr"]["judged"])
    }
    text = run(app, folder / "model", tmp_path / "bids.parquet", "--group", "gender", "--draws", 50).stdout
    assert "groups of gender" in text


@pytest.mark.parametrize(("watched_s", "early"), [(50_000, False), (30, True)])
def test_clicks_that_were_hardly_watched_are_said_to_be_early(app, folder, tmp_path, watched_s, early):
    """Conversions take up to 100 s after the click; every other click was watched for so long."""
    table = later(make_table(4000, seed=15))
    at_ns, click = np.asarray(table["at_ns"]), np.asarray(table["click"]) > 0
    converted = click & (np.array([value or 0 for value in table["conversion"].to_pylist()]) > 0)
    took_ns = np.random.default_rng(3).integers(0, 100 * 10**9, 4000)
    watched_ns = np.where(np.arange(4000) % 2 == 0, watched_s, 50_000) * 10**9
    converted &= took_ns <= watched_ns
    known = pa.array(converted.astype(int), mask=~click)
    table = replaced(table, "conversion", known)
    table = replaced(table, "click_at_ns", pa.array(at_ns, mask=~click))
    table = replaced(table, "conversion_at_ns", pa.array(at_ns + took_ns, mask=~converted))
    table = replaced(table, "observed_until_ns", pa.array(at_ns + watched_ns))
    write_parquet(tmp_path / "watched.parquet", table)
    said = " ".join(found(app, folder / "model", tmp_path / "watched.parquet")["warnings"])
    unconverted = int((click & ~converted & (watched_ns == watched_s * 10**9)).sum())
    assert unconverted > 100
    assert (f"{unconverted:,} of {int(click.sum()):,} clicks were watched for less time" in said) == early


def test_weights_count_as_that_many_rows(app, folder, tmp_path):
    table = later(make_table(800, seed=12))
    times = np.random.default_rng(1).integers(1, 4, 800)
    write_parquet(tmp_path / "weighed.parquet", replaced(table, "weight", pa.array(times)))
    write_parquet(tmp_path / "repeated.parquet", table.take(np.repeat(np.arange(800), times)))
    one, other = (
        found(app, folder / "model", tmp_path / f"{name}.parquet", "--by", "campaign")
        for name in ("weighed", "repeated")
    )
    assert (one["weighted"], other["weighted"]) == (True, False)
    for name in ("ctr", "cvr"):
        mine, theirs = (values_of(each["models"][name]["judged"]) for each in (one, other))
        assert mine == pytest.approx(theirs, rel=1e-9)
        for a, b in zip(
            *(each["models"][name]["columns"][0]["slices"] for each in (one, other)), strict=True
        ):
            assert a["label"] == b["label"]
            assert values_of(a["judged"]) == pytest.approx(values_of(b["judged"]), rel=1e-9)


def test_labels_all_alike_are_judged_as_far_as_they_go(app, folder, tmp_path):
    table = later(make_table(400, seed=13))
    table = replaced(table, "click", pa.array([0] * 400))
    write_parquet(tmp_path / "none.parquet", replaced(table, "conversion", pa.array([None] * 400, pa.int8())))
    page = tmp_path / "none.html"
    done = run(app, folder / "model", tmp_path / "none.parquet", "--by", "campaign", "--page", page)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert "none of 400 rows is positive" in said
    assert "can not be judged: no row was clicked" in said
    assert "No clicks happened on 400 impressions" in " ".join(done.stdout.split())
    assert "\N{EN DASH}" in page.read_text()
    ET.fromstring(page.read_text())


def test_missing_features_are_named_with_what_to_do(app, folder, tmp_path):
    table = make_table(300).drop_columns(["domain", "segments"])
    write_parquet(tmp_path / "poor.parquet", table)
    done = run(app, folder / "model", tmp_path / "poor.parquet")
    assert isinstance(done.exception, TableError)
    assert "lacks domain, segments" in str(done.exception)
    assert "export it with" in str(done.exception)


@pytest.mark.parametrize("option", ["--by", "--group"])
def test_a_column_that_is_not_there_is_named(app, folder, option):
    done = run(app, folder / "model", folder / "later.parquet", option, "line_item")
    assert isinstance(done.exception, TableError)
    assert "must have the column line_item" in str(done.exception)
    assert "campaign" in str(done.exception)


def test_a_table_without_impressions_is_refused(app, folder, tmp_path):
    table = replaced(later(make_table(50)), "click", pa.array([None] * 50, pa.int8()))
    table = replaced(table, "conversion", pa.array([None] * 50, pa.int8()))
    write_parquet(tmp_path / "lost.parquet", replaced(table, "won", pa.array([0] * 50)))
    for more in ((), ("--group", "campaign")):
        done = run(app, folder / "model", tmp_path / "lost.parquet", *more)
        assert isinstance(done.exception, TableError)
        assert "must have impressions" in str(done.exception)


def test_models_that_read_a_column_in_two_ways_are_not_compared(app, folder, tmp_path):
    other = (Declaration("campaign", "categorical", "campaign"), Declaration("floor_cpm", "categorical"))
    train_bundle(read_table(folder / "rows.parquet", other), other, tmp_path / "other", params=QUICK)
    done = run(app, folder / "model", folder / "later.parquet", "--against", tmp_path / "other")
    assert isinstance(done.exception, ArtifactError)
    assert "floor_cpm" in str(done.exception)


def test_a_page_that_can_not_be_written_is_refused_before_the_work(app, folder, tmp_path):
    (tmp_path / "no").write_text("")
    done = run(app, folder / "model", folder / "later.parquet", "--page", tmp_path / "no" / "page.html")
    assert isinstance(done.exception, TableError)
    assert "--page" in str(done.exception)
    assert "is a file" in str(done.exception)


def test_the_page_says_what_json_says_and_escapes_it(app, folder, tmp_path):
    table = later(make_table(3000, seed=14))
    names = [f"<li>&{k}" for k in np.random.default_rng(2).integers(0, 30, 3000)]
    write_parquet(tmp_path / "named.parquet", replaced(table, "line_item", pa.array(names)))
    page = tmp_path / "page.html"
    arguments = [
        "--by",
        "line_item,floor_cpm",
        "--group",
        "campaign",
        "--against",
        folder / "small",
        "--page",
        page,
    ]
    shown = found(app, folder / "model", tmp_path / "named.parquet", *arguments)
    text = page.read_text()
    root = ET.fromstring(text)
    said = "".join(root.itertext())
    assert "<li>&" not in text
    assert "&lt;li&gt;&amp;amp;" not in text
    assert "&lt;li&gt;&amp;7" in text
    for part in shown["models"]["ctr"]["columns"][0]["slices"]:
        assert part["label"] in said
    judged = shown["models"]["ctr"]["judged"]
    assert f"{judged['normalized_entropy']['value']:.4f}" in said
    assert "Against the older model" in said
    assert "Fairness by campaign" in said
    assert "script" not in text
    assert all(not value.startswith("http") for each in root.iter() for value in each.attrib.values())


def test_every_chart_has_its_numbers_in_a_table(app, folder, tmp_path):
    page = tmp_path / "page.html"
    run(
        app,
        folder / "model",
        folder / "later.parquet",
        "--by",
        "campaign",
        "--group",
        "exchange",
        "--page",
        page,
    )
    root = ET.fromstring(page.read_text())
    cards = [
        each for each in root.iter("div") if each.get("class") == "card" and each.find("svg") is not None
    ]
    assert len(cards) == 7
    for card in cards:
        said = "".join(card.itertext())
        assert card.find(".//table") is not None or "against the whole" in said
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(ids) == len(set(ids))


def test_the_gain_of_a_model_that_knows_something_is_above_chance(app, folder):
    gain = found(app, folder / "model", folder / "later.parquet")["models"]["ctr"]["gain"]
    assert gain[0] == [0.0, 0.0]
    assert gain[-1] == pytest.approx([1.0, 1.0])
    assert all(later[1] >= earlier[1] for earlier, later in pairwise(gain))
    assert {round(rows, 2): hits for rows, hits in gain}[0.2] > 0.25
