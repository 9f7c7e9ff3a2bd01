"""`clearbid models landscape` and `calibration`, as a person runs them, on good and on bad input."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from models.artifact import load_bundle
from models.commands import register
from models.dataset import table_from_arrow
from models.errors import ArtifactError, TableError
from models.landscape.observations import ABOVE, EXACT, Observations
from models.landscape.page import cpm, shown_span
from models.landscape.store import load_landscape
from models.landscape.strata import Strata, Stratum, largest
from models.reliability.store import load_factor
from models.scorer import Scorer
from models.train import TrainParams, train_bundle
from tests.support.landscapes import market, write_market
from tests.support.training import DECLARATIONS, make_table, write_parquet

FAST = TrainParams(max_rounds=20, fixed_rounds=20, num_threads=1)


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    register(found)
    return found


def run(app, *arguments):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def refusal(app, kind, *arguments):
    done = run(app, *arguments)
    assert isinstance(done.exception, kind), done.output
    return str(done.exception)


@pytest.fixture
def bids(tmp_path):
    return write_market(tmp_path / "market.parquet", market(4000))


def well_formed(path):
    text = path.read_text()
    assert "http" not in text.replace("http-equiv", "")
    ET.fromstring(text.removeprefix("<!DOCTYPE html>"))
    return text


def test_landscape_prints_writes_and_shows(app, bids, tmp_path):
    out, page = tmp_path / "m.landscape", tmp_path / "m.html"
    done = run(app, "landscape", bids, "--out", out, "--page", page, "--draws", 10, "--top", 3)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith(f"Page: {page}\n")
    for words in ("4,000; left out: none", "chance to win by bid", "later rows", "prediction"):
        assert words in done.stdout
    text = well_formed(page)
    for words in (
        "wins every second auction",
        "Chance to win by bid",
        "On later rows",
        "How each figure is computed",
    ):
        assert words in text
    assert len(load_landscape(out).strata) > 10


def test_landscape_as_json_is_that_of_the_file(app, bids, tmp_path):
    arguments = ["landscape", bids, "--out", tmp_path / "m", "--by", "placement", "--draws", 10, "--json"]
    one, two = run(app, *arguments), run(app, *arguments)
    assert one.exit_code == 0, one.output
    assert one.stdout == two.stdout
    found, fit = json.loads(one.stdout), load_landscape(tmp_path / "m")
    assert found["by"] == ["placement"]
    assert found["strata"] == 5
    assert found["curves"][0]["win_probability"] == (1.0 - fit.survival[0]).tolist()
    assert sum(found["shares"].values()) == pytest.approx(1.0)
    assert found["later_rows"]["rows"] == 1000


def test_rows_added_later_are_the_landscape_of_both(app, tmp_path):
    whole = market(4000)
    for name, rows in (("all", whole), ("early", whole.slice(0, 2500)), ("late", whole.slice(2500))):
        write_market(tmp_path / f"{name}.parquet", rows)
    common = ["--by", "placement", "--draws", 10, "--json", "--half-life", "12h"]
    run(app, "landscape", tmp_path / "early.parquet", "--out", tmp_path / "early", *common)
    done = run(
        app, "landscape", tmp_path / "late.parquet", "--out", tmp_path / "both", "--add-to", tmp_path / "early",
        "--page", tmp_path / "both.html", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "all bids before" in well_formed(tmp_path / "both.html")
    run(app, "landscape", tmp_path / "all.parquet", "--out", tmp_path / "all", *common)
    both, alone = load_landscape(tmp_path / "both"), load_landscape(tmp_path / "all")
    assert both.counts.half_life_ns == 12 * 3600 * 10**9
    found = json.loads(done.stdout)
    assert found["curves"][0]["low"] is None  # rows that are only counted cannot be drawn again
    assert found["later_rows"]["rows"] == 1500  # all that is new, by what was known before
    assert found["later_rows"]["mean_error"] < 0.05
    bids = np.linspace(3e5, 2e6, 20)
    np.testing.assert_allclose(both.win_probability(bids), alone.win_probability(bids), atol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--half-life", "7"], "--half-life must be a number and one of s, m, h, d, w"),
        (["--half-life", "0d"], "above 0"),
        (["--points", "7"], "64 to 512, was 7"),
        (["--shrinkage", "-1"], "shrinkage must be 0 or more"),
        (["--by", "nothing"], "column nothing for strata by nothing"),
        (["--by", "hour,hour"], "must differ"),
    ],
)
def test_landscape_refuses_what_cannot_be(app, bids, tmp_path, options, message):
    assert message in refusal(app, TableError, "landscape", bids, "--out", tmp_path / "m", *options)
    assert not (tmp_path / "m").exists()


def test_landscape_needs_lost_bids(app, tmp_path):
    write_parquet(tmp_path / "rows.parquet", make_table(300))
    said = refusal(app, TableError, "landscape", tmp_path / "rows.parquet", "--out", tmp_path / "m")
    assert "must have the column won" in said
    assert "export the run again with its lost bids" in said


def test_landscape_of_won_bids_alone_is_refused(app, tmp_path):
    table = auctions(3_000)
    write_parquet(tmp_path / "won.parquet", table.filter(pc.equal(table["won"], 1)))
    said = refusal(app, TableError, "landscape", tmp_path / "won.parquet", "--out", tmp_path / "l.json")
    assert "must have bids that were lost" in said
    assert not (tmp_path / "l.json").exists()


@pytest.mark.parametrize(
    "option", ["--by", "--half-life", "--shrinkage", "--min-rows", "--points", "--draws", "--seed"]
)
def test_options_without_effect_beside_add_to_are_refused_by_name(app, bids, tmp_path, option):
    run(app, "landscape", bids, "--out", tmp_path / "m", "--draws", 10)
    said = refusal(
        app, TableError, "landscape", bids, "--out", tmp_path / "n", "--add-to", tmp_path / "m", option,
        "7d" if option == "--half-life" else 64,
    )  # fmt: skip
    assert said.startswith(f"{option} must not stand beside --add-to")
    assert not (tmp_path / "n").exists()


def test_the_same_table_is_not_added_twice(app, bids, tmp_path):
    run(app, "landscape", bids, "--out", tmp_path / "m", "--draws", 10)
    more = write_market(tmp_path / "more.parquet", market(2000, seed=9))
    assert run(app, "landscape", more, "--out", tmp_path / "m", "--add-to", tmp_path / "m").exit_code == 0
    assert list(load_landscape(tmp_path / "m").tables.values()) == ["market.parquet", "more.parquet"]
    again = bids.rename(tmp_path / "copy.parquet")
    for table, name in ((again, "market.parquet"), (more, "more.parquet")):
        said = refusal(
            app, TableError, "landscape", table, "--out", tmp_path / "n", "--add-to", tmp_path / "m"
        )
        assert f"holds it as {name}" in said
    assert not (tmp_path / "n").exists()


def test_the_page_says_which_strata_it_shows_and_where_its_axis_ends(app, tmp_path):
    table = market(4000)
    price = table["price_cpm_micros"].to_pylist()
    paid = [place for place, value in enumerate(price) if value is not None]
    for place in paid[::20]:
        price[place] = 1.0  # one in twenty has no floor and no rival: a millionth of a unit
    place = table.column_names.index("price_cpm_micros")
    bids = write_market(
        tmp_path / "low.parquet", table.set_column(place, "price_cpm_micros", pa.array(price))
    )
    page = tmp_path / "m.html"
    done = run(app, "landscape", bids, "--out", tmp_path / "m", "--draws", 10, "--top", 5, "--page", page)
    assert done.exit_code == 0, done.output
    fit, text = load_landscape(tmp_path / "m"), well_formed(page)
    assert fit.grid[0] == 1
    shown = f"5 of {len(fit.strata) - 1} strata are shown, the largest of each level in turn"
    assert shown in " ".join(text.split())
    assert shown in " ".join(done.stdout.split())
    bid = np.array(table["bid_cpm_micros"].to_pylist())
    low, high = np.quantile(bid, [0.005, 0.995], method="inverted_cdf")
    said = re.search(r"runs from (\S+) to (\S+) CPM", text)
    assert said[2] == cpm(high)
    assert float(said[1]) == pytest.approx(low / 10 / 1e6, rel=0.06)  # prices widen it by a decade at most
    ticks = [node.text for node in ET.fromstring(text.removeprefix("<!DOCTYPE html>")).iter("text")]
    assert said[1] in ticks
    assert "1e-06" not in ticks


def observed(kinds, prices, bids, weights=None):
    rows = np.arange(len(bids))
    weight = np.ones(len(bids)) if weights is None else np.array(weights)
    return Observations(
        rows, np.array(kinds, np.int8), np.array(prices), np.array(bids), rows >= 0, weight, rows, {}
    )


def test_the_axis_spans_the_middle_of_bids_and_of_the_prices_near_them():
    bids = np.geomspace(1e6, 1e7, 1001)
    prices = bids / 2.0
    low, high = shown_span(observed([EXACT] * 1001, prices, bids))
    assert (low, high) == (prices[5], bids[995])
    far = np.where(np.arange(1001) < 40, 1.0, prices)
    assert shown_span(observed([EXACT] * 1001, far, bids))[0] == bids[5] / 10.0
    assert shown_span(observed([ABOVE] * 1001, bids, bids)) == (bids[5], bids[995])
    heavy = shown_span(observed([ABOVE] * 3, [1e6, 2e6, 3e6], [1e6, 2e6, 3e6], [0.001, 1.0, 0.001]))
    assert heavy == (1e6, 4e6)  # one bid holds all of the middle: a doubling to either side


def test_the_largest_strata_are_chosen_level_by_level():
    paths = [(), ("a",), ("b",), ("a", "x"), ("a", "*"), ("b", "*"), ("c",)]
    parents, rows = [0, 0, 0, 1, 1, 2, 0], [100, 60, 30, 40, 20, 30, 10]
    strata = Strata(("one", "two"), (), tuple(map(Stratum, paths, parents, rows)))
    assert largest(strata, 3) == [1, 2, 3]
    assert largest(strata, 4) == [1, 2, 3, 4]
    assert largest(strata, 99) == [1, 2, 6, 3, 4]  # the fifth holds all of its parent's rows
    assert largest(strata, 0) == []


def test_landscape_of_another_file_is_not_added_to(app, bids, tmp_path):
    (tmp_path / "old").write_text("{}")
    said = refusal(
        app, ArtifactError, "landscape", bids, "--out", tmp_path / "m", "--add-to", tmp_path / "old"
    )
    assert "must be a landscape, is not" in said


def auctions(rows, seed=5):
    """A training table's impressions and the bids that were lost beside them; clicks are twice what is learned."""
    table = make_table(rows, seed=seed, click_rate=0.5)
    random = np.random.default_rng(seed)
    click = np.array(table["click"].to_pylist())
    z = np.rint(np.exp(13.0 + 0.3 * click + random.normal(0, 0.5, rows)))
    bid = np.rint(np.exp(13.1 + random.normal(0, 0.5, rows)))
    won = z <= bid
    table = table.drop_columns(["click", "conversion"])
    columns = {
        "click": pa.array(click, mask=~won),
        "conversion": pa.array((random.random(rows) < 0.4).astype(int), mask=~(won & (click > 0))),
        "won": pa.array(won.astype(np.int64)),
        "bid_cpm_micros": pa.array(bid),
        "price_cpm_micros": pa.array(z, mask=~won),
        "tag_id": pa.array(["top", "side"] * (rows // 2)),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    learned = table_from_arrow(make_table(4000), DECLARATIONS, source="learned.parquet")
    train_bundle(learned, DECLARATIONS, folder / "model", params=FAST)
    write_parquet(folder / "rows.parquet", auctions(12_000))
    return folder


def test_calibration_measures_every_model_by_price_bid_and_prediction(app, trained):
    done = run(app, "calibration", trained / "model", trained / "rows.parquet", "--json")
    assert done.exit_code == 0, done.output
    models = json.loads(done.stdout)["models"]
    found = models["ctr"]["as it is"]
    assert found["overall"]["high"] < 1.0
    assert set(found["tenths"]) == {"price", "bid", "prediction"}
    assert found["won"]["rows"] == found["overall"]["rows"]
    assert models["cvr"]["as it is"]["overall"]["rows"] == found["overall"]["positives"]


def test_calibration_for_people_says_it_in_a_sentence(app, trained, tmp_path):
    page = tmp_path / "c.html"
    done = run(app, "calibration", trained / "model", trained / "rows.parquet", "--page", page)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith(f"Page: {page}\n")
    for text in (" ".join(done.stdout.split()), well_formed(page)):
        assert "too low on what was won" in text
        assert "Interval outside 0.95 to 1.05" in text


def test_help_says_that_no_bidder_reads_the_factor_by_price(app):
    said = " ".join(run(app, "calibration", "--help").stdout.replace("\u2502", " ").split())
    assert "nothing in the bidder reads it yet" in said


def test_refit_is_right_on_later_rows_and_keeps_the_trees(app, trained, tmp_path):
    out, factor = tmp_path / "model", tmp_path / "factor.json"
    done = run(
        app, "calibration", trained / "model", trained / "rows.parquet", "--refit", "--out", out,
        "--price-factor", factor, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    states = json.loads(done.stdout)["models"]["ctr"]
    before, after, factored = (
        states[name] for name in ("as it is", "fitted again", "with the factor by price")
    )
    assert before["overall"]["high"] < 0.95
    assert after["overall"]["low"] < 1.0 < after["overall"]["high"]
    assert after["overall"]["rows"] == before["overall"]["rows"]
    change = json.loads(done.stdout)["refit"]["ctr"]
    assert change["rows"] == after["overall"]["rows"]
    assert [one["ratio"] for one in change["ratio"]] == [one["overall"]["ratio"] for one in (before, after)]
    assert change["difference"][2] < 0.0

    def spread(found):
        return max(abs(np.log(tenth["plain"]["ratio"])) for tenth in found["tenths"]["price"])

    assert spread(factored) < spread(after)
    old, new = load_bundle(trained / "model"), load_bundle(out)
    assert new.texts == old.texts
    assert new.hash != old.hash
    assert new.calibration["ctr"] != old.calibration["ctr"]
    assert new.manifest.params["recalibration"]["of"] == old.hash
    assert new.manifest.models["ctr"].after.calibration_ratio == pytest.approx(after["overall"]["ratio"])
    Scorer(new)
    load_factor(factor, new.hash)


def test_a_refit_that_is_worse_on_later_rows_says_so(app, trained, tmp_path):
    """The earlier rows were clicked by a robot: what is fitted to them promises far too much of the later ones."""
    rows = pq.read_table(trained / "rows.parquet")
    shown = rows["won"].to_numpy() > 0 if "won" in rows.column_names else np.ones(len(rows), dtype=bool)
    robot = (
        shown & (np.arange(len(rows)) < 0.65 * len(rows)) & (np.random.default_rng(1).random(len(rows)) < 0.5)
    )
    place = rows.column_names.index("click")
    clicks = [1 if odd else click for odd, click in zip(robot, rows["click"].to_pylist(), strict=True)]
    write_parquet(tmp_path / "rows.parquet", rows.set_column(place, "click", pa.array(clicks, pa.int64())))
    page = tmp_path / "c.html"
    arguments = ["--refit", "--out", tmp_path / "m", "--page", page]
    done = run(app, "calibration", trained / "model", tmp_path / "rows.parquet", *arguments)
    assert done.exit_code == 1
    assert "warning: ctr: on " in done.stderr
    for text in (done.stderr, done.stdout, well_formed(page)):
        assert "THE NEW TABLE IS WORSE." in " ".join(text.split())
    assert "held out: later than those of the fit" in " ".join(done.stdout.split())


def test_one_event_is_not_called_right(app, trained, tmp_path):
    rows = make_table(1000)
    clicks = np.zeros(1000, dtype=np.int64)
    clicks[500] = 1
    rows = rows.set_column(rows.column_names.index("click"), "click", pa.array(clicks))
    rows = rows.set_column(rows.column_names.index("conversion"), "conversion", pa.nulls(1000, pa.int64()))
    write_parquet(tmp_path / "rows.parquet", rows.slice(498, 6))
    done = run(app, "calibration", trained / "model", tmp_path / "rows.parquet")
    said = " ".join(done.stdout.split())
    assert "Clicks: 1 of them on what was won are too few events to tell" in said
    assert "Too few events to judge by: 1, at least 30 are needed." in said
    assert "right" not in said


def test_rows_of_a_refit_are_not_taken_for_unseen(app, trained, tmp_path):
    old = load_bundle(trained / "model")
    table = make_table(2000, seed=9)
    newer = np.asarray(table["at_ns"]) + old.manifest.window_ns[1]
    write_parquet(tmp_path / "newer.parquet", table.set_column(0, "at_ns", pa.array(newer)))
    arguments = [trained / "model", tmp_path / "newer.parquet", "--refit", "--out", tmp_path / "m"]
    assert run(app, "calibration", *arguments).exit_code == 0
    fitted = load_bundle(tmp_path / "m").manifest
    assert fitted.window_ns[0] == old.manifest.window_ns[0]
    assert newer[1395] <= fitted.window_ns[1] < newer[1405]  # 70 % of the rows, and not the ones after
    done = run(app, "evaluate", tmp_path / "m", tmp_path / "newer.parquet", "--held-out", "--json")
    assert json.loads(done.stdout)["impressions"] == int((newer > fitted.window_ns[1]).sum())


def test_a_refit_on_older_rows_does_not_shorten_the_window(app, trained, tmp_path):
    old = load_bundle(trained / "model").manifest
    write_parquet(tmp_path / "older.parquet", pq.read_table(trained / "rows.parquet").slice(0, 2000))
    arguments = [trained / "model", tmp_path / "older.parquet", "--refit", "--out", tmp_path / "m"]
    assert run(app, "calibration", *arguments).exit_code == 0
    assert load_bundle(tmp_path / "m").manifest.window_ns == old.window_ns


def test_refit_for_all_bids_differs_from_that_for_won_ones(app, trained, tmp_path):
    ratios = {}
    for target in ("won", "bids"):
        arguments = ["--refit", "--out", tmp_path / target, "--target", target, "--json"]
        done = run(app, "calibration", trained / "model", trained / "rows.parquet", *arguments)
        found = json.loads(done.stdout)["models"]["ctr"]["fitted again"]
        ratios[target] = {key: found[key] for key in ("overall", "weighted")}
    for target, key in (("won", "overall"), ("bids", "weighted")):
        assert ratios[target][key]["low"] < 1.0 < ratios[target][key]["high"]
    assert ratios["bids"]["overall"]["ratio"] != ratios["won"]["overall"]["ratio"]


def test_few_events_keep_the_old_table(app, trained, tmp_path):
    write_parquet(tmp_path / "few.parquet", auctions(400))
    done = run(
        app,
        "calibration",
        trained / "model",
        tmp_path / "few.parquet",
        "--refit",
        "--out",
        tmp_path / "m",
        "--json",
    )
    assert "kept, too few events" in json.loads(done.stdout)["models"]["cvr"]
    assert load_bundle(tmp_path / "m").calibration["cvr"] == load_bundle(trained / "model").calibration["cvr"]


def test_calibration_by_a_landscape_file(app, trained, tmp_path):
    rows = trained / "rows.parquet"
    run(app, "landscape", rows, "--out", tmp_path / "l", "--by", "placement", "--draws", 10)
    done = run(app, "calibration", trained / "model", rows, "--landscape", tmp_path / "l", "--json")
    own = run(app, "calibration", trained / "model", rows, "--json")
    one, other = (json.loads(x.stdout)["models"]["ctr"]["as it is"]["weighted"]["ratio"] for x in (done, own))
    assert one == pytest.approx(other, rel=1e-9)


def test_impressions_alone_are_measured_without_weights(app, trained, tmp_path):
    write_parquet(tmp_path / "rows.parquet", make_table(1000))
    done = run(app, "calibration", trained / "model", tmp_path / "rows.parquet")
    assert done.exit_code == 0, done.output
    assert "no weights: the table has no lost bids" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--refit"], "--refit and --out DIR belong together"),
        (["--out", "x"], "--refit and --out DIR belong together"),
        (["--clip", "0.1"], "clip of the weights must be 1 or more"),
        (["--landscape", "none"], "must be a file, is not there"),
    ],
)
def test_calibration_refuses_options_that_cannot_be(app, trained, options, message):
    done = run(app, "calibration", trained / "model", trained / "rows.parquet", *options)
    assert message in str(done.exception)
    assert isinstance(done.exception, ArtifactError | TableError)


def test_calibration_never_overwrites_its_model(app, trained):
    model = trained / "model"
    said = refusal(
        app, ArtifactError, "calibration", model, trained / "rows.parquet", "--refit", "--out", model
    )
    assert "another directory" in said


def test_target_of_all_bids_needs_lost_bids(app, trained, tmp_path):
    write_parquet(tmp_path / "rows.parquet", make_table(300))
    arguments = ["calibration", trained / "model", tmp_path / "rows.parquet", "--target", "bids"]
    assert "--target bids needs lost bids" in refusal(app, TableError, *arguments)


def test_rows_of_one_time_cannot_be_refitted(app, trained, tmp_path):
    table = make_table(300)
    write_parquet(tmp_path / "rows.parquet", table.set_column(0, "at_ns", pa.array([7] * 300, pa.int64())))
    arguments = [
        "calibration",
        trained / "model",
        tmp_path / "rows.parquet",
        "--refit",
        "--out",
        tmp_path / "m",
    ]
    assert "must spread over time" in refusal(app, TableError, *arguments)
    assert not (tmp_path / "m").exists()


def test_table_of_other_features_is_refused_by_name(app, trained, tmp_path):
    write_parquet(tmp_path / "rows.parquet", make_table(300).drop_columns(["domain"]))
    said = refusal(app, TableError, "calibration", trained / "model", tmp_path / "rows.parquet")
    assert "must have the column domain" in said


def test_nothing_but_lost_bids_is_refused(app, trained, tmp_path):
    table = make_table(300)
    table = table.set_column(1, "click", pa.array([None] * 300, pa.int64()))
    table = table.set_column(2, "conversion", pa.array([None] * 300, pa.int64()))
    table = table.append_column("won", pa.array([0] * 300))
    write_parquet(tmp_path / "rows.parquet", table)
    assert "must have won rows" in refusal(
        app, TableError, "calibration", trained / "model", tmp_path / "rows.parquet"
    )
