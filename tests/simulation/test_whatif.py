"""One thing changed, on markets whose truth is known."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bidder.errors import InputError
from simulator.estimate.controller import Controller, played
from simulator.history.conditions import where_of
from simulator.history.loading import load_auctions
from simulator.whatif import compare
from simulator.whatif.asked import scores_of, splittable
from simulator.whatif.change import Change
from simulator.whatif.compare import verdict_of, what_if
from simulator.whatif.split import split_test
from simulator.worlds.draw import world_of
from simulator.worlds.recipe import RECIPES
from simulator.worlds.truth import true_outcome
from simulator.worlds.world import World
from tests.support.histories import sampled


def world(seed: int, recipe: str = "second", auctions: int = 20_000) -> World:
    return world_of(RECIPES[recipe], seed, auctions)


def test_the_difference_of_a_doubled_budget_is_that_of_the_truth() -> None:
    inside = 0
    for seed in range(6):
        one = world(seed)
        budget = one.budget_nanos
        found = what_if(one.log, one.controller, budget, Change(budget_nanos=2 * budget), seed=seed, draws=25)
        truth = [true_outcome(one, each) for each in (budget, 2 * budget)]
        (clicks,) = (line for line in found.lines if line.name == "clicks")
        inside += clicks.difference.low <= truth[1].clicks - truth[0].clicks <= clicks.difference.high
        assert found.lines[0].after.point == pytest.approx(2 * budget, rel=0.02)
    assert inside >= 4


def test_each_side_is_played_once_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    one, calls = world(5, auctions=4_000), []
    monkeypatch.setattr(compare, "played", lambda *a: calls.append(1) or played(*a))
    found = what_if(one.log, one.controller, one.budget_nanos, Change(shade=0.9), seed=1, draws=4)
    assert len(calls) == 2 * (4 + 1)
    assert 0.5 < found.shared <= 1.0
    for line in found.lines:
        assert line.after.low <= line.after.point <= line.after.high
        assert line.before.low >= 0.0 or line.name == "surplus_nanos"


def test_dearer_rivals_take_value_away() -> None:
    one = world(1)
    found = what_if(one.log, one.controller, one.budget_nanos, Change(price_factor=1.5), seed=1, draws=20)
    assert (found.verdict, found.better) == ("worse", 0.0)
    assert found.shared > 0.9


def test_a_model_that_knows_the_truth_is_better_and_one_of_noise_is_worse() -> None:
    one = world(2)
    rng = np.random.default_rng(1)
    truth = what_if(
        one.log, one.controller, one.budget_nanos, Change(click=one.hidden.click), seed=1, draws=20
    )
    noise = one.log.click * np.exp(rng.normal(0, 1.5, one.log.opportunities))
    worse = what_if(
        one.log, one.controller, one.budget_nanos, Change(click=np.minimum(noise, 1.0)), seed=1, draws=20
    )
    assert truth.lines[-1].difference.point > 0 > worse.lines[-1].difference.point
    assert worse.verdict == "worse"


def test_targeting_leaves_out_what_it_leaves_out() -> None:
    one = world(3)
    only = one.log.stratum < 15
    found = what_if(one.log, one.controller, one.budget_nanos, Change(only=only), seed=1, draws=10)
    all_of = what_if(
        one.log, one.controller, one.budget_nanos, Change(only=np.ones_like(only)), seed=1, draws=10
    )
    assert found.lines[1].after.point <= only.sum()
    assert all(line.difference.point == 0 for line in all_of.lines)
    assert (all_of.verdict, all_of.better) == ("no clear difference", 0.5)


def test_a_new_line_item_is_worth_what_it_says() -> None:
    one = world(4)
    worth = int(one.log.worth_nanos[0])
    plain, double = (
        what_if(
            one.log, one.controller, one.budget_nanos, Change(is_new=True, worth_nanos=each), seed=1, draws=10
        )
        for each in (worth, 2 * worth)
    )
    assert double.lines[4].after.point == pytest.approx(2 * plain.lines[4].after.point, rel=0.02)


def test_an_experiment_of_a_policy_with_itself_finds_nothing_more_often_than_it_should() -> None:
    found = 0
    for seed in range(8):
        one = world(seed, auctions=15_000)
        said = split_test(one.log, one.controller, one.controller, one.budget_nanos, seed=seed, draws=20)
        found += said.verdict != "no clear difference"
    assert found <= 3  # one in ten by chance


def test_an_experiment_finds_what_is_large_and_says_how_large_that_must_be() -> None:
    one = world(5, "first")
    low: Controller = one.controller._replace(cap_nanos=one.controller.cap_nanos // 2_000)
    said = split_test(one.log, one.controller, low, one.budget_nanos, seed=1, draws=20)
    assert said.verdict == "worse"
    assert 0.01 < said.detectable < 1.0
    assert said.lines[0].before.point <= one.budget_nanos * 1.001


def test_what_an_experiment_says_of_each_side_is_what_all_would_bring() -> None:
    one = world(6)
    said = split_test(one.log, one.controller, one.controller, one.budget_nanos, seed=1, draws=10)
    truth = true_outcome(one, one.budget_nanos)
    assert said.lines[2].before.point == pytest.approx(truth.clicks, rel=0.25)


def test_verdicts() -> None:
    assert [verdict_of(each) for each in (1.0, 0.95, 0.94, 0.06, 0.05, 0.0)] == [
        "better", "better", "no clear difference", "no clear difference", "worse", "worse"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sampled(tmp_path_factory.mktemp("whatif") / "history.parquet", 6_000, 7.0)


def test_conditions_choose_rows_by_their_texts(history: Path) -> None:
    log = load_auctions(history, "cedar-trips")
    here, there = (
        where_of(history, "cedar-trips", ["region=CA, TX"]),
        where_of(history, "cedar-trips", ["region!=CA,TX"]),
    )
    assert here is not None
    assert there is not None
    assert len(here) == log.opportunities
    assert (here ^ there).all()
    both = where_of(history, "cedar-trips", ["region=CA,TX", "os=android"])
    assert both is not None
    assert 0 < both.sum() < here.sum()
    assert where_of(history, "cedar-trips", []) is None
    for wrong, said in (
        ("region", "must be such as"),
        ("colour=red", "must name a column out of"),
        ("region=", "such as"),
        (
            "region=Mars",
            "--where must leave auctions of campaign cedar-trips to bid for, region=Mars leaves none",
        ),
    ):
        with pytest.raises(InputError, match=said):
            where_of(history, "cedar-trips", [wrong])


def test_scores_of_another_model_are_joined_by_id(history: Path, tmp_path: Path) -> None:
    ids = pq.read_table(history, columns=["id", "campaign"]).filter(
        pa.compute.field("campaign") == "cedar-trips"
    )["id"]
    some = ids.to_pylist()[::2]
    pq.write_table(pa.table({"id": some, "click_probability": [0.5] * len(some)}), tmp_path / "s.parquet")
    found = scores_of(tmp_path / "s.parquet", history, "cedar-trips")
    assert found is not None
    assert found[0] == 0.5
    assert np.isnan(found[1])
    pq.write_table(pa.table({"id": some, "click_probability": [1.5] * len(some)}), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=r"from 0 to 1, was 1\.5 in row 0"):
        scores_of(tmp_path / "bad.parquet", history, "cedar-trips")
    with pytest.raises(
        InputError, match=r"columns id \(text\) and click_probability \(number\): is not there"
    ):
        scores_of(history.with_name("nothing.parquet"), history, "cedar-trips")


def test_what_cannot_be_asked_is_an_error() -> None:
    one = world(1, auctions=15_000)
    half = np.where(np.arange(15_000) % 3 == 0, 0.1, np.nan)
    for change, said in (
        (Change(), "must change something: --new-budget"),
        (Change(budget_nanos=0), "budget must be above 0"),
        (Change(only=np.zeros(15_000, dtype=np.bool_)), "leaves none"),
        (Change(click=half), "at least 50%"),
        (Change(is_new=True), "must have --worth"),
        (Change(to_click=True), "must come with --worth"),
    ):
        with pytest.raises(InputError, match=said):
            what_if(one.log, one.controller, one.budget_nanos, change, seed=1, draws=5)
    with pytest.raises(InputError, match=r"from \.05 to \.95"):
        split_test(one.log, one.controller, one.controller, 10**9, seed=1, share=0.99)
    for change in (Change(), Change(price_factor=2.0), Change(click=half, shade=0.5)):
        with pytest.raises(InputError, match="--split"):
            splittable(change)
    splittable(Change(shade=0.5))


def test_a_refusal_names_the_options_that_are_to_be_lowered() -> None:
    one = world(7, auctions=4_000)
    few = one.log.stratum < 2
    whole = one.budget_nanos
    high = 100 * int(one.log.bid_nanos.max())
    loose = one.controller._replace(cap_nanos=high)
    for change, said in (
        (
            Change(only=few),
            rf"the {int(few.sum()):,} auctions .*: lower it by --new-budget \(or --budget, .*bound bids",
        ),
        (Change(only=few, budget_nanos=whole), "lower it by --new-budget, or bound bids by --max-bid"),
        (
            Change(only=few, budget_nanos=whole, max_bid_nanos=high),
            "lower it by --new-budget, or lower --max-bid",
        ),
    ):
        with pytest.raises(InputError, match=said):
            what_if(one.log, loose, whole, change, seed=1, draws=1)
    low = Change(only=few, budget_nanos=whole, max_bid_nanos=int(np.quantile(one.log.bid_nanos, 0.99)))
    assert what_if(one.log, loose, whole, low, seed=1, draws=1).lines[0].after.point < whole
