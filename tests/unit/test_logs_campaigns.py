"""Campaigns made from a log of somebody else's auctions."""

from fractions import Fraction

import pytest

from bidder.core.campaigns import Goal
from bidder.core.servable import check_campaigns
from bidder.errors import InputError
from simulator.logs.ipinyou import Kind, read_features
from simulator.logs.logged import BUDGET_SHARES, VALUE_OVER_COST_PER_CLICK, campaigns_of, summarise
from tests.support.data import recorded, row

LOG = [
    row(id="1", at_ns=10, campaign="7", clicked=True, market_cpm_micros=400_000_000, floor_cpm_micros=0),
    row(id="2", at_ns=20, campaign="7", clicked=False, market_cpm_micros=100_000_000, w=728, h=90),
    row(id="3", at_ns=30, campaign="8", clicked=False, market_cpm_micros=None, floor_cpm_micros=80_000_000),
    row(id="4", at_ns=40),
]


def test_budget_is_a_share_of_the_logged_cost():
    assert [c.budget_nanos for c in campaigns_of(summarise(LOG), Fraction(1, 4))] == [120_000_000, 20_000_000]


def test_click_is_worth_a_multiple_of_its_logged_cost():
    seven, eight = campaigns_of(summarise(LOG), Fraction(1, 4))
    assert seven.value_nanos == VALUE_OVER_COST_PER_CLICK * 500_000_000 // 2
    assert eight.value_nanos == VALUE_OVER_COST_PER_CLICK * 80_000_000


def test_flight_covers_the_log():
    assert {(c.start_ns, c.end_ns) for c in campaigns_of(summarise(LOG), Fraction(1, 4))} == {(10, 41)}


def test_flight_can_be_told():
    assert {(c.start_ns, c.end_ns) for c in campaigns_of(summarise(LOG), Fraction(1, 4), 5, 50)} == {(5, 50)}


def test_creatives_are_of_the_sizes_that_were_shown():
    seven, eight = campaigns_of(summarise(LOG), Fraction(1, 4))
    assert [(c.w, c.h) for c in seven.creatives] == [(300, 250), (728, 90)]
    assert [(c.w, c.h) for c in eight.creatives] == [(300, 250)]


def test_campaigns_pay_for_clicks_in_yuan_where_the_log_saw_them():
    campaigns = campaigns_of(summarise(LOG), Fraction(1, 4))
    check_campaigns({c.id: c for c in campaigns}, "CNY")
    assert {(c.goal, c.targeting.exchange.include) for c in campaigns} == {(Goal.CLICK, ("adx-one",))}


@pytest.mark.parametrize("share", [Fraction(0), Fraction(3, 2)])
def test_share_must_be_a_share(share):
    with pytest.raises(InputError, match="budget share must be above 0 and at most 1"):
        campaigns_of(summarise(LOG), share)


@pytest.mark.parametrize("rows", [[], [row()]])
def test_log_without_campaigns_is_refused(rows):
    with pytest.raises(InputError, match="log must have rows that a campaign won"):
        campaigns_of(summarise(rows), Fraction(1, 4))


def test_recorded_log_gives_campaigns_whose_budgets_bind_at_their_value():
    """Bidding the value at the mean logged click rate would win most rows and spend far above the budget."""
    rows = list(read_features(recorded("ipinyou/features.parquet")))
    summary = summarise(rows)
    for campaign in campaigns_of(summary, BUDGET_SHARES[Kind.FEATURES]):
        logged = summary.campaigns[campaign.id]
        bid = campaign.value_nanos * (logged.clicks + 1) / logged.rows
        prices = [max(r.market_cpm_micros, r.floor_cpm_micros) for r in rows if r.campaign == campaign.id]
        assert sum(price for price in prices if price < bid) > 2 * campaign.budget_nanos
