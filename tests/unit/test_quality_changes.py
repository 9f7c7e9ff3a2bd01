"""Regimes and episodes: the oracle, recovery, and the published protocol."""

import numpy as np
import pytest
from scipy.special import ndtr

from simulator.quality.episodes import in_episodes, measure_episodes, play_episodes
from simulator.quality.policies import EPISODE, Tuned
from simulator.quality.published import CLICKS, same_rows
from simulator.quality.regimes import (
    MINUTES,
    NOON,
    SCENARIOS,
    Day,
    Scenario,
    measure_regimes,
    oracle,
    oracle_law,
    proportional,
)
from simulator.quality.series import synthetic_series

BUDGET = 4e9
DAY = [(72_000.0, 1.0)]


def test_the_oracle_spends_its_budget_and_wins_more_with_more() -> None:
    values = [oracle(DAY, budget)[0] for budget in (BUDGET / 4, BUDGET, 2 * BUDGET)]
    rates = [oracle(DAY, budget)[1] for budget in (BUDGET / 4, BUDGET, 2 * BUDGET)]
    assert values == sorted(values)
    assert rates == sorted(rates, reverse=True)
    spend = 72_000 * oracle_law().at(oracle(DAY, BUDGET)[1])[1]
    assert spend == pytest.approx(BUDGET, rel=0.01)


def test_the_price_of_money_is_the_slope_of_the_oracle() -> None:
    (less, _), (value, rate), (more, _) = (oracle(DAY, BUDGET * (1 + step)) for step in (-0.05, 0.0, 0.05))
    assert (more - less) / (0.1 * BUDGET) == pytest.approx(rate, rel=0.05)
    assert less < value < more


def test_prices_and_budget_twice_as_high_buy_the_same() -> None:
    assert oracle([(72_000.0, 2.0)], 2 * BUDGET)[0] == pytest.approx(oracle(DAY, BUDGET)[0], rel=0.01)


def test_a_bid_in_proportion_wins_less_than_the_best_bid() -> None:
    assert 0.8 < proportional(DAY, BUDGET) / oracle(DAY, BUDGET)[0] < 1.0


def test_the_oracle_is_met_by_the_draws_of_a_day() -> None:
    """Its best bids on the drawn auctions win its expected clicks and spend its budget, to a few percent."""
    day = Day(SCENARIOS[0], 5)
    value, rate = oracle([(float(len(day.series.price)), 1.0)], day.budget_nanos)
    theta, price = day.series.theta[:8_000], day.series.price[:8_000]
    bids = 1e6 * np.geomspace(0.02, 60.0, 300)
    wins = ndtr(np.log(bids / 1e6) / 0.6)
    best = bids[((theta[:, None] - rate * bids) * wins).argmax(axis=1)]
    won = best > price
    assert theta[won].sum() * 36 == pytest.approx(value, rel=0.1)
    assert best[won].sum() * 36 == pytest.approx(day.budget_nanos, rel=0.1)


def test_a_scenario_changes_what_it_says_from_noon_on() -> None:
    steady, busy, dear, out = (
        Day(one, 5)
        for one in (
            SCENARIOS[0],
            Scenario("x", traffic=2.0),
            Scenario("y", prices=1.5),
            Scenario("z", outage=60),
        )
    )
    n = len(steady.series.price)
    assert len(busy.series.price) == 1.5 * n
    assert np.median(dear.series.price[n // 2 :]) == pytest.approx(
        1.5 * np.median(steady.series.price[n // 2 :]), rel=0.01
    )
    assert np.array_equal(dear.series.price[: n // 2], steady.series.price[: n // 2])
    assert len(out.series.price) == n - 60 * n // MINUTES
    assert Day(Scenario("w", budget=0.75), 5).last_budget_nanos == int(0.75 * steady.budget_nanos)


def test_recovery_is_when_spend_is_back() -> None:
    day = Day(SCENARIOS[0], 5)
    each = day.budget_nanos // MINUTES
    spent = np.full(MINUTES, each)
    assert day._recovery(spent) == 0
    spent[NOON : NOON + 100] = 0
    after = day._recovery(spent)
    assert after is None or after > 90
    spent[NOON + 100 :] = (day.budget_nanos - each * NOON) // (MINUTES - NOON - 100)
    assert 95 <= day._recovery(spent) <= 105


def test_nobody_passes_the_oracle_by_more_than_luck_or_the_last_budget() -> None:
    for row in measure_regimes(3, delays=(0,), policies=("dual", "bslb")):
        assert row.ratio < 1.03
        assert row.overspend_nanos == 0
        assert row.curve[-1] == pytest.approx(row.spend_nanos / row.budget_nanos, abs=1e-4)


# -- episodes -------------------------------------------------------------------------------------------------


def test_every_episode_has_its_own_budget() -> None:
    """What one leaves is lost, and the last, which is shorter, has less."""
    series = next(synthetic_series(2, 1, 2_500))
    auctions = in_episodes(series, 10**9)._replace(price=np.full(2_500, 1_000, dtype=np.int64))
    clicks, value = play_episodes("const", Tuned(a=2_000.0), auctions, 20_500, 1.0)
    won = [*range(19), *range(EPISODE, EPISODE + 19), *range(2 * EPISODE, 2 * EPISODE + 9)]
    assert value == pytest.approx(float(auctions.value[won].sum()))
    assert clicks == int(auctions.click[won].sum())


def test_the_table_of_episodes_stays_below_each_optimum() -> None:
    rows = measure_episodes(synthetic_series(2, 1, 12_000), shares=(1 / 16,))
    (row,) = rows
    for policy in ("mcpc", "lin", "ortb", "rlb", "dual"):
        assert row.value[policy] <= row.value["hindsight"]
    assert row.value["rlb"] > row.value["mcpc"]
    assert (row.published, row.rows) == (None, "not published")


def test_published_figures_keep_their_sums() -> None:
    """The paper tells the means of its table, cut to whole clicks: 37, 114, 157, 170."""
    table = np.array(list(CLICKS[1 / 16].values()))
    assert np.floor(table.mean(axis=0)).tolist() == [37, 114, 157, 170]
    assert CLICKS[1 / 32].keys() == CLICKS[1 / 16].keys()


@pytest.mark.parametrize(
    ("name", "words"),
    [("2259 log", "head of the test part"), ("2997 blocks", "other rows"), ("1458 log", "other rows")],
)
def test_it_is_said_which_rows_are_compared(name: str, words: str) -> None:
    assert words in same_rows(name)
