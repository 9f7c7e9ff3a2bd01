"""What a demo plays, and the settings that follow from it, for one process and for four."""

import stat
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.config import load_config
from bidder.core.settings import EngineSettings
from bidder.errors import InputError
from bidder.runtime.bank import bank_rules
from simulator.demo import commands
from simulator.demo.distributed import (
    ExchangeFigures,
    _config,
    read_exchange,
    write_exchange,
)
from simulator.demo.embedded import (
    LONGEST_S,
    MAX_SPEEDUP,
    PATIENCE_S,
    bank_rules_for,
    settings_for,
    times_for,
)
from simulator.demo.plan import Plan, log_plan, synthetic_plan, traffic_of
from simulator.exchange.books import Books
from tests.support.playing import S, scored_plan
from tests.support.training import make_table, write_parquet

HOUR_NS = 3_600 * S


@pytest.fixture(scope="module")
def plan() -> Plan:
    return synthetic_plan(seed=5, training_rows=2_000, rows=500)


def test_it_has_its_rows_in_order_within_every_flight(plan: Plan) -> None:
    rows = list(plan.rows())
    assert len(rows) == plan.row_count == 500
    assert all(one.at_ns <= two.at_ns for one, two in pairwise(rows))
    assert plan.start_ns <= rows[0].at_ns
    assert rows[-1].at_ns < plan.end_ns
    for campaign in plan.campaigns.values():
        assert (campaign.start_ns, campaign.end_ns) == (plan.start_ns, plan.end_ns)


def test_what_it_learns_from_is_over_before_it_is_played(plan: Plan) -> None:
    assert plan.training is not None
    assert max(row.at_ns for row in plan.training()) < plan.start_ns


def test_the_played_part_is_a_day(plan: Plan) -> None:
    assert plan.end_ns - plan.start_ns == 24 * HOUR_NS


def test_the_same_seed_plays_the_same_and_another_does_not(plan: Plan) -> None:
    again, other = (synthetic_plan(seed, training_rows=2_000, rows=500) for seed in (5, 6))
    assert list(again.rows()) == list(plan.rows()) != list(other.rows())
    assert again.campaigns == plan.campaigns


def test_scores_come_from_outside_where_nothing_is_learned(plan: Plan) -> None:
    assert not plan.external_scores
    assert scored_plan().external_scores


def test_a_day_of_too_few_rows_is_refused() -> None:
    with pytest.raises(
        InputError, match="rows to play must be at least 439 beside 160000 to learn from, was 438"
    ):
        synthetic_plan(training_rows=160_000, rows=438)
    synthetic_plan(training_rows=3_650, rows=10)


def test_the_demo_refuses_too_few_rows_before_it_begins(tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app(), ["demo", "--rows", "438", "--out", str(tmp_path / "runs")])
    assert isinstance(result.exception, InputError)
    assert "rows to play must be at least 439" in str(result.exception)
    assert result.output == ""


def test_a_log_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "other.parquet", make_table(20))
    with pytest.raises(InputError, match=str(path)):
        log_plan(path)


def test_traffic_is_weighed_by_hour_and_counted_by_week() -> None:
    monday_ns = 1_772_409_600 * S
    times = [monday_ns + hour * HOUR_NS + i * S for hour in range(24) for i in range(3 if hour == 9 else 1)]
    shape, weekly = traffic_of(times, monday_ns, monday_ns + 24 * HOUR_NS)
    assert len(shape) == 168
    assert shape[9] == 3 * shape[8] == shape[9 + 24]
    assert weekly == pytest.approx(7 * len(times))


# -- times and settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("speedup", [1.0, 100.0, 50_000.0, MAX_SPEEDUP])
def test_the_parts_allow_each_other_the_same_patience_on_the_wall(speedup: float) -> None:
    assert times_for(speedup) / speedup >= PATIENCE_S


@pytest.mark.parametrize("speedup", [1.0, MAX_SPEEDUP, 1e9])
def test_settings_of_any_speed_are_allowed_ones(plan: Plan, speedup: float, tmp_path: Path) -> None:
    assert 60.0 <= times_for(speedup) <= LONGEST_S
    path = tmp_path / "clearbid.toml"
    path.write_text(_config(plan, "127.0.0.1:9092", tmp_path, times_for(speedup), None))
    load_config(path, env={})


def test_no_pace_is_above_what_times_allow(plan: Plan) -> None:
    assert commands._pace(plan, 1.0) == pytest.approx(24 * 3_600 / 500)
    assert commands._pace(plan, 1e9) == MAX_SPEEDUP


def test_four_processes_have_the_rules_of_one(plan: Plan, tmp_path: Path) -> None:
    """But for where they are, and how often a seat hears of spend alone."""
    speedup = 20_000.0
    path = tmp_path / "clearbid.toml"
    path.write_text(_config(plan, "127.0.0.1:9092", tmp_path, times_for(speedup), None))
    config = load_config(path, env={})
    one = settings_for(plan, speedup, config.track.public_url)
    several = config.engine_settings()
    named = EngineSettings.__struct_fields__
    assert {name: getattr(several, name) for name in named} == {name: getattr(one, name) for name in named}
    ours, theirs = bank_rules_for(speedup), bank_rules(config, speedup)
    for name in ("lease_ns", "longest_reservation_ns", "margin_ns", "min_chunk_bids"):
        assert getattr(theirs, name) == pytest.approx(getattr(ours, name))


def test_two_runs_on_one_broker_share_no_topic(plan: Plan, tmp_path: Path) -> None:
    texts = [_config(plan, "127.0.0.1:9092", tmp_path, times_for(1.0), None) for _ in range(2)]
    one, two = (tomllib.loads(text) for text in texts)
    assert one["kafka"]["prefix"] != two["kafka"]["prefix"]
    assert one["track"]["secret"] != two["track"]["secret"]


# -- files ------------------------------------------------------------------------------------------------------


def test_the_exchanges_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    books = Books(offered=7)
    books.of("c1").spend_nanos = 2**53 + 1
    figures = ExchangeFigures(books=books, duration_s=1.5, failed_calls=2, late_offers=3, done=True)
    write_exchange(tmp_path / "books.json", figures)
    assert read_exchange(tmp_path / "books.json") == figures
    assert [path.name for path in tmp_path.iterdir()] == ["books.json"]


def test_figures_that_are_not_there_yet_are_none(tmp_path: Path) -> None:
    assert read_exchange(tmp_path / "books.json") is None
    (tmp_path / "books.json").write_text("{")
    assert read_exchange(tmp_path / "books.json") is None


def test_two_runs_in_one_second_have_a_folder_each(tmp_path: Path) -> None:
    one, two = (commands.run_folder(tmp_path / "runs") for _ in range(2))
    assert one != two
    assert one.is_dir()
    assert two.is_dir()


def test_a_folder_that_cannot_be_made_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=stat.S_IRUSR)
    with pytest.raises(InputError, match=r"--out must be a folder to write to, was .*file"):
        commands.run_folder(tmp_path / "file")
