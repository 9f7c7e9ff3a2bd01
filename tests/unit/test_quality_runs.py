"""Series, the table of runs, goals, and how they are told."""

import json
import xml.etree.ElementTree as ET

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bidder.errors import InputError
from simulator.quality.commands import measure_all
from simulator.quality.first_markets import MARKETS
from simulator.quality.goals import OURS, goals
from simulator.quality.hindsight import knapsack
from simulator.quality.page import render
from simulator.quality.policies import NAMES, STARTED
from simulator.quality.report import Quality, json_object, means
from simulator.quality.runs import Bound, Case, Row, Table, measure
from simulator.quality.series import Series, log_series, slots_of, synthetic_series
from tests.support.data import recorded

NO_HOURS = np.zeros(0, dtype=np.int32)


@pytest.fixture(scope="module")
def found() -> Quality:
    """Everything of a small market."""
    return measure_all(None, 3, 10_000, whole_engine=False)


# -- series ---------------------------------------------------------------------------------------------------


def write_log(path, rows, **columns):
    n = rows
    table = {
        "source": ["sam_1458.train"] * n,
        "campaign": [1458] * n,
        "click": [0, 1] * (n // 2),
        "market_price": list(range(n)),
        "pctr_lr_insample": [0.25] * n,
        "pctr_lr_sam": [None, 0.5] * (n // 2),
    }
    pq.write_table(pa.table(table | columns), path)
    return path


def test_a_log_is_read_by_campaign_and_source(tmp_path) -> None:
    sources = ["sam_1458.train"] * 3_000 + ["rlb_train_episode"] * 3_000
    hours = [np.datetime64("2013-06-06T10", "us") + np.timedelta64(i // 1_000, "h") for i in range(6_000)]
    path = write_log(tmp_path / "log.parquet", 6_000, source=sources, local_hour=hours)
    log, blocks = sorted(log_series(path), key=lambda one: one.name, reverse=True)
    assert (log.name, blocks.name) == ("1458 log", "1458 blocks")
    assert log.theta[:4].tolist() == [0.25, 0.5, 0.25, 0.5]
    assert log.price[:3].tolist() == [0, 10_000, 20_000]
    assert log.click[:4].tolist() == [0, 1, 0, 1]
    assert log.hour[[0, 999, 1_000, 2_999]].tolist() == [0, 0, 1, 2]
    assert (log.truth, len(blocks.price)) == (None, 3_000)


def test_rows_that_are_none_are_left_out(tmp_path) -> None:
    prices = [float(n) for n in range(2_400)]
    prices[0], prices[1] = float("nan"), -1.0
    sam = [0.5] * 2_400
    sam[2] = 1.5
    path = write_log(tmp_path / "log.parquet", 2_400, market_price=prices, pctr_lr_sam=sam)
    (one,) = log_series(path)
    assert (len(one.price), one.price[0]) == (2_397, 30_000)


def test_a_log_without_enough_rows_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="at least 2000 auctions"):
        log_series(write_log(tmp_path / "log.parquet", 1_000))


def test_a_log_of_requests_is_refused(tmp_path) -> None:
    names = ("source", "click", "weekday", "slotwidth", "slotheight", "payprice", "advertiser")
    pq.write_table(pa.table({name: [1] for name in names}), tmp_path / "log.parquet")
    with pytest.raises(InputError, match="--log must be iPinYou auctions"):
        log_series(tmp_path / "log.parquet")


def test_the_synthetic_market_is_a_function_of_its_seed() -> None:
    one, again, other = (next(synthetic_series(seed, 1, 3_000)) for seed in (1, 1, 2))
    assert np.array_equal(one.theta, again.theta)
    assert not np.array_equal(one.price, other.price)
    assert one.truth is not None
    assert one.theta.mean() == pytest.approx(one.truth.mean(), rel=0.05)
    assert 0.2 < np.corrcoef(np.log(one.truth), np.log(one.price))[0, 1] < 0.7


def test_the_earlier_quarter_is_for_fitting() -> None:
    earlier, later = next(synthetic_series(1, 1, 4_000)).split()
    assert (len(earlier.price), len(later.price)) == (1_000, 3_000)
    assert earlier.hour[-1] <= later.hour[0]


def made(n: int, hour: np.ndarray = NO_HOURS) -> Series:
    price = np.ones(n, dtype=np.int64)
    return Series("x", np.ones(n), None, price, np.zeros(n, dtype=np.uint8), hour, 1)


def test_parts_of_a_curve_lie_in_one_hour_and_one_step() -> None:
    hour = np.repeat(np.arange(3, dtype=np.int32), [10, 50, 40])
    slots = slots_of(made(100, hour), 4)
    assert slots.auctions.tolist() == [10, 15, 25, 10, 15, 25]
    assert slots.hour.tolist() == [0, 1, 1, 1, 2, 2]
    assert slots.by_step(np.arange(6)).tolist() == [1, 2, 7, 5]


def test_the_hourly_error_is_of_the_traffic_s_share() -> None:
    hour = np.repeat(np.arange(2, dtype=np.int32), [25, 75])
    slots = slots_of(made(100, hour), 4)
    even = np.array([25, 25, 25, 25])
    assert slots.hourly_error(even, 100) == pytest.approx(0.0)
    assert slots.hourly_error(np.array([35, 25, 20, 20]), 100) == pytest.approx(10 / 50)
    assert not slots_of(made(100), 4).hours


# -- runs -----------------------------------------------------------------------------------------------------


def test_nothing_passes_hindsight_or_the_budget(found: Quality) -> None:
    assert {row.policy for row in found.rows} == set(NAMES)
    for row in found.rows:
        assert row.value <= row.hindsight * (1 + 1e-9)
        assert row.spend_nanos <= row.budget_nanos
        assert row.overspend_nanos == 0


def test_there_is_a_row_for_each_campaign_budget_start_delay_and_policy(found: Quality) -> None:
    keys = [(row.campaign, row.share, row.start, row.delay, row.policy) for row in found.rows]
    assert len(set(keys)) == len(keys) == 4 * 3 * 3 * (2 * len(STARTED) + len(NAMES) - len(STARTED))


def test_bounds_are_those_of_the_later_part() -> None:
    one = next(synthetic_series(4, 1, 8_000))
    case = Case(*one.split(), 1 / 8, 4)
    later = one.split()[1]
    best = knapsack(later.theta, later.price, later.cost_nanos // 8)
    assert case.bound.clicks == pytest.approx(best.value, rel=1e-6)
    assert case.bound.multiplier == pytest.approx(1 / 16, rel=1e-3)
    assert 0.9 < case.bound.smoothness < 1.0
    assert 0.99 < case.bound.waiting[0] <= 1.0
    assert case.bound.waiting[0] > case.bound.waiting[1] > case.bound.waiting[2]
    assert case.bound.model is not None
    assert 0.5 < case.bound.model < 1.0


def test_the_model_costs_nothing_where_it_is_the_truth() -> None:
    one = next(synthetic_series(4, 1, 8_000))
    assert one.truth is not None
    bound = Case(*one._replace(theta=one.truth).split(), 1 / 8, 4).bound
    assert bound.model == pytest.approx(1.0)


def test_a_curve_ends_with_what_was_spent(found: Quality) -> None:
    curves = [row for row in found.rows if row.curve]
    assert {row.policy for row in curves} == {"dual", "pid"}
    assert all(row.curve[-1] == pytest.approx(row.spent, abs=1e-5) for row in curves)


def test_ours_is_above_the_baselines_that_know_no_more() -> None:
    """Started four times off, with notices at once, on a market that it never saw."""
    table = measure(synthetic_series(11, 1, 40_000), 11, shares=(1 / 8,), delays=(0,))
    ours = min(row.ratio for row in table.rows if row.policy == OURS)
    others = {row.policy: row.ratio for row in table.rows if row.policy in STARTED - {OURS}}
    assert ours > max(others.values())
    assert ours > 0.98


# -- goals, JSON, page ----------------------------------------------------------------------------------------


def row(**changes: object) -> Row:
    fields: dict[str, object] = {
        "campaign": "a", "share": 1 / 8, "start": 4.0, "delay": 0, "policy": OURS, "value": 99.0, "true_value": None,
        "hindsight": 100.0, "spend_nanos": 999, "budget_nanos": 1_000, "wins": 1, "clicks": 1, "bids": 1,
        "refused": 0,
        "deviation": 0.001, "hourly": None, "overspend_nanos": 0,
    }  # fmt: skip
    return Row(**(fields | changes))  # type: ignore[arg-type]  # a test names fields with their own types


def bound(smoothness: float = 1.0) -> Bound:
    return Bound("a", 1 / 8, 10, 1_000, 1, 100.0, 0.1, smoothness, None)


def test_a_goal_is_held_by_its_worst_case() -> None:
    table = Table([bound()], [row(), row(start=0.25, value=98.0), row(policy="pid", value=1.0)])
    goal = goals(table, [], [])[1]
    assert (goal.worst, goal.met, goal.cases, goal.holds) == (0.98, 1, 2, False)
    assert goal.where == "a, budget 1/8, start x 0.25"
    assert goals(Table([bound()], [row()]), [], [])[1].holds


def test_even_spending_is_judged_by_what_it_can_reach() -> None:
    found = {goal.name: goal for goal in goals(Table([bound(0.99)], [row(value=98.01)]), [], [])}
    assert found["value / hindsight that spends evenly, no delay"].worst == pytest.approx(0.99)


def test_late_money_is_judged_by_what_it_can_reach() -> None:
    late = msgspec.structs.replace(bound(0.98), waiting=(1.0, 0.99, 0.95))
    found = {goal.name: goal for goal in goals(Table([late], [row(delay=1_000, value=91.0)]), [], [])}
    goal = found["value / hindsight that spends evenly and waits as long, delay 1,000"]
    assert goal.worst == pytest.approx(0.91 / (0.98 * 0.95))


def test_delay_is_judged_beside_the_same_run_without() -> None:
    table = Table([bound()], [row(), row(delay=100, value=98.0), row(delay=1_000, value=90.0)])
    found = {goal.name: goal for goal in goals(table, [], [])}
    assert found["value lost by delay 100"].worst == pytest.approx(0.01)
    assert found["value / hindsight, delay 1,000"].worst == pytest.approx(0.9)


def test_overspend_of_anyone_fails_the_goal() -> None:
    table = Table([bound()], [row(), row(policy="pid", overspend_nanos=3)])
    goal = next(goal for goal in goals(table, [], []) if goal.name.startswith("overspend"))
    assert (goal.worst, goal.holds) == (3.0, False)
    assert "pid" in goal.where


def test_means_are_over_campaigns_and_starts() -> None:
    (mean,) = means([row(), row(start=0.25, value=97.0, spend_nanos=500)])
    assert (mean.ratio, mean.least, mean.spent) == (pytest.approx(0.98), 0.97, 0.5)


def test_the_json_object_holds_what_follows_too(found: Quality) -> None:
    plain = json.loads(json_object(found))
    assert plain["seed"] == 3
    assert len(plain["rows"]) == len(found.rows)
    first = plain["rows"][0]
    assert first["ratio"] == pytest.approx(first["value"] / first["hindsight"])
    assert all("holds" in goal for goal in plain["goals"])


def test_the_page_is_well_formed_and_shows_every_run(found: Quality) -> None:
    text = render(found)
    assert "http" not in text.replace("http-equiv", "")
    page = ET.fromstring(text.removeprefix("<!DOCTYPE html>"))
    said = "".join(page.itertext())
    for name in {row.campaign for row in found.rows}:
        assert f"{name}: {sum(one.campaign == name for one in found.rows)} runs" in said
    assert "seed 3" in said
    assert len(page.findall(".//svg[@role='img']")) == 3 + 4 + 6 + len(MARKETS)


def test_a_page_without_runs_is_one_too(found: Quality) -> None:
    empty = msgspec.structs.replace(
        found, rows=[], bounds=[], episodes=[], regimes=[], engine=[], goals=goals(Table(), [], [])
    )
    ET.fromstring(render(empty).removeprefix("<!DOCTYPE html>"))


def test_the_same_seed_measures_the_same(found: Quality) -> None:
    again = measure_all(None, 3, 10_000, whole_engine=False)
    assert (again.rows, again.episodes, again.regimes) == (found.rows, found.episodes, found.regimes)
    assert all(one.same for one in again.engine)


# -- on the recorded log --------------------------------------------------------------------------------------


def test_on_recorded_auctions_ours_reaches_what_even_spending_can() -> None:
    """Every piece, an eighth of its cost, four times off: 98 % of the best even plan, 99.5 % of the money."""
    table = measure(
        log_series(recorded("ipinyou/auctions.parquet")), 7, shares=(1 / 8,), delays=(0,), policies=(OURS,)
    )
    smooth = {bound.campaign: bound.smoothness for bound in table.bounds}
    assert len(table.rows) == 2 * len(smooth) == 16
    for one in table.rows:
        assert one.ratio >= 0.98 * smooth[one.campaign], one
        assert 0.995 <= one.spent <= 1.0, one
