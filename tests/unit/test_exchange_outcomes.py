"""Outcome laws: who clicks, who converts."""

import pytest

from simulator.exchange.outcomes import LoggedOutcomes, SyntheticOutcomes
from simulator.logs.conversions import ConversionLaw
from simulator.logs.plans import PLANS
from simulator.logs.synthetic import SyntheticMarket
from tests.support.data import row

ROWS = 20_000


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return SyntheticMarket(3, 2 * ROWS)


def test_synthetic_clicks_come_at_the_true_rate(market):
    outcomes = SyntheticOutcomes(market)
    rows = list(market.opportunities())
    expected = sum(market.true_ctr(each, "delta-play") for each in rows)
    clicks = sum(outcomes.clicked(each, "delta-play") for each in rows)
    assert abs(clicks - expected) < 4 * expected**0.5


def test_synthetic_conversions_come_at_the_true_rate(market):
    outcomes = SyntheticOutcomes(market)
    rows = list(market.opportunities())
    expected = sum(market.true_cvr(each, "beacon-card") for each in rows)
    conversions = sum(outcomes.converted(each, "beacon-card")[0] for each in rows)
    assert abs(conversions - expected) < 4 * expected**0.5


def test_synthetic_conversion_is_worth_half_to_one_and_a_half_of_the_plans_mean(market):
    outcomes = SyntheticOutcomes(market)
    plan = next(plan for plan in PLANS if plan.id == "beacon-card")
    values = [outcomes.converted(each, plan.id) for each in market.opportunities()]
    worths = [value for converted, value in values if converted]
    mean_nanos = plan.conversion_cents * 10_000_000
    assert all(0.5 * mean_nanos <= worth <= 1.5 * mean_nanos for worth in worths)
    assert 0.9 * mean_nanos < sum(worths) / len(worths) < 1.1 * mean_nanos


def test_synthetic_row_draws_one_fate_for_all_campaigns(market):
    outcomes = SyntheticOutcomes(market)
    for each in market.opportunities():
        rates = {plan.id: market.true_ctr(each, plan.id) for plan in PLANS}
        clicked = [rate for name, rate in rates.items() if outcomes.clicked(each, name)]
        missed = [rate for name, rate in rates.items() if not outcomes.clicked(each, name)]
        assert not clicked or not missed or min(clicked) >= max(missed)


def test_unknown_campaign_never_gets_a_click_or_conversion(market):
    outcomes = SyntheticOutcomes(market)
    each = next(market.opportunities())
    assert (outcomes.clicked(each, "nobody"), outcomes.converted(each, "nobody")) == (False, (False, 0))


def test_logged_click_counts_for_the_campaign_that_logged_it():
    assert LoggedOutcomes(ConversionLaw(1)).clicked(row(campaign="7", clicked=True), "7")


def test_logged_click_does_not_count_for_another():
    outcomes = LoggedOutcomes(ConversionLaw(1))
    each = row(campaign="7", clicked=True, converted=True, value_nanos=5)
    assert (outcomes.clicked(each, "8"), outcomes.converted(each, "8")) == (False, (False, 0))


def test_row_without_click_is_not_clicked():
    outcomes = LoggedOutcomes(ConversionLaw(1))
    assert not any(outcomes.clicked(row(campaign="7", clicked=clicked), "7") for clicked in (False, None))


def test_logged_conversion_goes_before_the_law():
    each = row(campaign="7", clicked=True, converted=True, value_nanos=5)
    assert LoggedOutcomes(ConversionLaw(1)).converted(each, "7") == (True, 5)


def test_conversion_that_the_log_does_not_know_follows_the_law():
    law = ConversionLaw(1, mean_rate=0.5)
    rows = [row(id=str(number), campaign="7", clicked=True) for number in range(50)]
    found = [LoggedOutcomes(law).converted(each, "7") for each in rows]
    assert found == [law.converted(each) for each in rows]
    assert {converted for converted, _ in found} == {True, False}
