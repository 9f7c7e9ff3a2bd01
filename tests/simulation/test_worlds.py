"""Estimates judged by worlds whose truth is known: a seeded sample; the full run is `clearbid worlds --workers 2`.

The bounds of the sample are wide enough for its chance and far from what the negative controls do.
"""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from simulator.quality.series import log_series
from simulator.worlds.draw import world_of
from simulator.worlds.halves import halves
from simulator.worlds.proof import Row, judge, plan_of, read, rows_of, run
from simulator.worlds.recipe import BREAKING, RECIPES
from simulator.worlds.truth import market_run, true_outcome
from tests.support.data import recorded

AUCTIONS, DRAWS, SEED = 15_000, 16, 900


def row(rows: list[Row], recipe: str, control: str, share: float, measure: str) -> Row:
    (found,) = (
        one
        for one in rows
        if (one.recipe, one.control, one.share, one.measure) == (recipe, control, share, measure)
    )
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    path = tmp_path_factory.mktemp("worlds") / "worlds.jsonl"
    lines = run(path, plan_of(12, 4, 0, SEED), draws=DRAWS, auctions=AUCTIONS)
    return rows_of(lines, together=True)


@pytest.mark.parametrize("share", [0.5, 1.0, 2.0])
def test_estimates_are_near_the_truth_and_intervals_hold_it(sample: list[Row], share: float) -> None:
    for measure in ("spend_nanos", "impressions", "clicks", "conversions", "value_nanos"):
        found = row(sample, "all", "", share, measure)
        assert abs(found.steady) < max(4 * found.steady_error, 0.03), found
        assert found.covered >= 0.75, found


def test_won_auctions_alone_find_nothing_more_to_buy(sample: list[Row]) -> None:
    """The negative control: without what was lost, twice the budget cannot be spent."""
    found = row(sample, "second", "won-only", 2.0, "clicks")
    assert found.bias < -0.25
    assert found.covered == 0.0
    assert row(sample, "second", "won-only", 2.0, "spend_nanos").bias < -0.3
    assert abs(row(sample, "second", "won-only", 0.5, "clicks").bias) < 0.2


def test_predictions_as_they_are_promise_too_much(sample: list[Row]) -> None:
    """The negative control: uncorrected predictions of auctions that were never won."""
    found = row(sample, "second", "uncalibrated", 2.0, "clicks")
    assert found.bias > 0.1
    assert found.steady > max(5 * found.steady_error, 0.05)


def test_a_run_goes_on_where_it_stopped_and_repeats_itself(tmp_path: Path) -> None:
    path = tmp_path / "worlds.jsonl"
    plan = plan_of(2, 0, 0, SEED)
    first = run(path, plan[:1], draws=10, auctions=3_000)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"recipe": "torn')
    lines = run(path, plan, draws=10, auctions=3_000)
    assert path.read_bytes().startswith(whole)
    assert [line.seed for line in lines] == [SEED, SEED + 1]
    assert lines[0] == first[0] == judge("second", SEED, draws=10, auctions=3_000)
    assert read(path) == lines


def test_the_plan_holds_every_kind_of_world() -> None:
    plan = plan_of(402, 40, 40, 1)
    assert sum(not control and name not in BREAKING for name, control, _ in plan) == 402
    assert {name for name, _, _ in plan} == set(RECIPES)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_log_is_what_the_world_let_its_bidder_see(name: str) -> None:
    world = world_of(RECIPES[name], 3, 4_000)
    log, price = world.log, world.hidden.price
    assert ((log.bid_nanos >= price) == log.won).all()
    assert log.paid_nanos.sum() <= world.budget_nanos
    assert log.paid_nanos.sum() > 0.97 * world.budget_nanos
    assert (log.clicked[~log.won] == -1).all()
    expected = world.hidden.click[log.won].sum()
    assert abs((log.clicked == 1).sum() - expected) < 5 * np.sqrt(expected)
    again = world_of(RECIPES[name], 3, 4_000)
    assert all(
        np.array_equal(a, b) for a, b in zip(log[1:], again.log[1:], strict=True) if a.dtype != np.float64
    )
    if not world.recipe.hidden and world.recipe.budget_shock == 1.0:
        assert true_outcome(world, world.budget_nanos).spend_nanos == log.paid_nanos.sum()


def test_rivals_that_learn_answer_to_a_larger_budget() -> None:
    world = world_of(RECIPES["learning"], 3, 20_000)
    bids, before = market_run(world, world.budget_nanos)
    assert bids.tolist() == world.log.bid_nanos.tolist()
    _, after = market_run(world, 2 * world.budget_nanos)
    # What we take from them they have left for the rest: prices rise.
    assert np.mean(after) > 1.01 * np.mean(before)


def test_what_the_log_does_not_hold_bends_estimates() -> None:
    """The documented failure: hidden kinds that are dearer, and that the bidder bid more for."""
    errors = []
    for seed in range(4):
        line = judge("confounded", seed, draws=10, auctions=30_000)
        (found,) = (one for one in line.judged if (one.share, one.measure) == (0.5, "impressions"))
        errors.append(found.point / found.truth - 1.0)
    assert np.mean(errors) > 0.08


def test_half_of_a_real_campaign_lets_the_other_half_be_expected() -> None:
    """iPinYou: every other block of a thousand auctions; the later half is reported, with its drift."""
    series = log_series(recorded("ipinyou/auctions.parquet"))[:2]
    rows = halves([one.part(0, 60_000) for one in series], draws=12)
    assert {row.split for row in rows} == {"time", "blocks"}
    for one in rows:
        if one.split == "blocks":
            assert one.inside, one
            assert one.shown_spend_nanos == pytest.approx(one.spend_nanos, rel=0.02)


def test_the_command_prints_rows(tmp_path: Path) -> None:
    out = tmp_path / "worlds.jsonl"
    arguments = [
        "worlds",
        "--out",
        str(out),
        "--worlds",
        "2",
        "--controls",
        "0",
        "--breaking",
        "0",
        "--draws",
        "10",
    ]
    result = CliRunner().invoke(build_app(), [*arguments, "--auctions", "3000", "--json"])
    assert result.exit_code == 0, result.output
    told = msgspec.json.decode(result.stdout)
    assert {one["recipe"] for one in told["rows"]} == {"all", "second", "first"}
    assert "covered" in CliRunner().invoke(build_app(), [*arguments, "--auctions", "3000"]).output


@pytest.mark.slow
def test_four_hundred_worlds(tmp_path: Path) -> None:
    """Bias at most 1 % and coverage of 93 to 97 %; `CLEARBID_WORLDS` names a file to go on with."""
    path = Path(os.environ.get("CLEARBID_WORLDS", tmp_path / "worlds.jsonl"))
    rows = rows_of(run(path, plan_of(402, 40, 0, 20_000), draws=40, workers=2), together=True)
    for share in (0.5, 1.0, 2.0):
        clicks = row(rows, "all", "", share, "clicks")
        assert abs(clicks.steady) <= 0.01
        assert abs(row(rows, "all", "", share, "spend_nanos").bias) <= 0.01
        for measure in ("clicks", "conversions", "roas", "cpa"):
            assert 0.93 <= row(rows, "all", "", share, measure).covered <= 0.97
    assert row(rows, "second", "won-only", 2.0, "clicks").covered <= 0.05
    assert row(rows, "second", "uncalibrated", 2.0, "clicks").steady > 0.05
