"""The market that ships: deterministic, in order, learnable, with budgets that bind where they say."""

from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from bidder.core.campaigns import Goal
from bidder.core.servable import check_campaigns
from bidder.errors import InputError
from simulator.logs.behaviour import sigmoid
from simulator.logs.plans import PLANS
from simulator.logs.rows import LogRow
from simulator.logs.synthetic import CHUNK_ROWS, MAX_BID_CPM_MICROS, SyntheticMarket, default_campaigns
from simulator.logs.world import EXCHANGES, FIRST_PRICE_EXCHANGES, REGIONS, SIZES

ROWS = 60_000


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return SyntheticMarket(11, ROWS)


@pytest.fixture(scope="module")
def training(market) -> list[LogRow]:
    return list(market.training_log())


@pytest.fixture(scope="module")
def offers(market) -> list[LogRow]:
    return list(market.opportunities())


def test_same_seed_gives_the_same_rows():
    first, second = (SyntheticMarket(5, 400) for _ in range(2))
    assert list(first.training_log()) == list(second.training_log())
    assert list(first.opportunities()) == list(second.opportunities())


def test_other_seed_gives_other_rows():
    assert list(SyntheticMarket(5, 400).opportunities()) != list(SyntheticMarket(6, 400).opportunities())


def test_log_can_be_read_twice(market, training):
    assert list(islice(market.training_log(), 100)) == training[:100]


def test_rows_are_as_many_as_asked_for(training, offers):
    assert (len(training), len(offers)) == (ROWS // 2, ROWS // 2)


def test_rows_are_in_order_of_time_across_chunks(training, offers):
    assert len(training) > CHUNK_ROWS
    assert all(before.at_ns <= after.at_ns for before, after in pairwise(training + offers))


def test_parts_keep_to_their_windows(market, training, offers):
    assert market.start_ns <= training[0].at_ns
    assert training[-1].at_ns < market.split_ns <= offers[0].at_ns
    assert offers[-1].at_ns < market.end_ns


def test_ids_are_unique(training, offers):
    assert len({row.id for row in training + offers}) == ROWS


def test_training_rows_know_their_outcome(training):
    assert {row.campaign for row in training} == {plan.id for plan in PLANS}
    assert all(row.clicked is not None and row.converted is not None for row in training)
    assert all(bool(row.value_nanos) == row.converted and row.clicked >= row.converted for row in training)


def test_opportunities_tell_no_outcome(offers):
    assert {(row.campaign, row.clicked, row.converted, row.value_nanos) for row in offers} == {
        (None, None, None, 0)
    }


def test_rates_are_as_documented(training):
    clicks = [row for row in training if row.clicked]
    assert 0.01 < len(clicks) / len(training) < 0.02
    assert 0.05 < sum(row.converted for row in clicks) / len(clicks) < 0.11


def test_logged_clicks_come_at_the_true_rate(market, training):
    for plan in PLANS:
        rows = [row for row in training if row.campaign == plan.id]
        expected = sum(market.true_ctr(row, plan.id) for row in rows)
        assert abs(sum(row.clicked for row in rows) - expected) < 4 * expected**0.5


def test_true_rates_tell_clicked_rows_from_others(market, training):
    rates = np.array([market.true_ctr(row, row.campaign) for row in training])
    clicked = np.array([row.clicked for row in training])
    better = (rates[clicked][:, None] > rates[~clicked][None, :2_000]).mean()
    assert 0.65 < better < 0.85


def test_rate_of_one_row_equals_that_of_columns(market, offers):
    chunk = market._chunk(1, 0)
    clicks = sigmoid(market.behaviour.click_logits(chunk.behaviour))
    buys = sigmoid(market.behaviour.buy_logits(chunk.behaviour))
    for index in range(0, 2_000, 97):
        for column, plan in enumerate(PLANS):
            assert market.true_ctr(offers[index], plan.id) == pytest.approx(clicks[index, column], rel=1e-12)
            assert market.true_cvr(offers[index], plan.id) == pytest.approx(buys[index, column], rel=1e-12)


def test_users_of_its_topics_answer_a_campaign_more(market, offers):
    travel = [market.true_ctr(row, "cedar-trips") for row in offers if "travel" in row.segments]
    others = [market.true_ctr(row, "cedar-trips") for row in offers if "travel" not in row.segments]
    assert np.mean(travel) > 1.5 * np.mean(others)


def test_market_has_what_it_says(offers):
    assert {row.exchange for row in offers} == set(EXCHANGES) > FIRST_PRICE_EXCHANGES
    assert {row.region for row in offers} == set(REGIONS)
    assert {(row.w, row.h) for row in offers} == set(SIZES)
    assert 380 <= len({row.domain for row in offers}) <= 400
    assert len({segment for row in offers for segment in row.segments}) == 20


def test_few_sites_have_most_visits(offers):
    visits = Counter(row.domain for row in offers).most_common()
    assert sum(count for _, count in visits[:40]) > 0.4 * len(offers)


def test_evening_has_more_traffic_than_night(market, offers):
    hours = Counter(row.at_ns // 3_600_000_000_000 % 24 for row in offers)
    assert hours[20] > 3 * hours[4]


def test_phone_formats_go_to_phones(offers):
    assert {row.os for row in offers if (row.w, row.h) == (320, 50)} == {"android", "ios"}


def test_rivals_are_sometimes_absent_and_never_free(offers):
    absent = sum(row.market_cpm_micros is None for row in offers)
    assert 0.04 < absent / len(offers) < 0.08
    assert all(row.market_cpm_micros > 0 for row in offers if row.market_cpm_micros is not None)


def test_rivals_pay_more_where_the_floor_is_higher(offers):
    pairs = [(row.floor_cpm_micros, row.market_cpm_micros) for row in offers if row.market_cpm_micros]
    assert np.corrcoef(np.log1p(np.array(pairs, dtype=float).T))[0, 1] > 0.05


def test_rivals_pay_more_for_rows_that_are_clicked_more(market, offers):
    rows = [row for row in offers[:10_000] if row.market_cpm_micros]
    prices = np.log([row.market_cpm_micros for row in rows])
    rates = np.log([market.true_ctr(row, "aurora-brand") for row in rows])
    assert np.corrcoef(prices, rates)[0, 1] > 0.15


def test_campaigns_fly_over_the_evaluation_part_exactly(market):
    assert {(c.start_ns, c.end_ns) for c in default_campaigns(market)} == {(market.split_ns, market.end_ns)}


def test_campaigns_are_six_of_four_advertisers_with_both_goals(market):
    campaigns = default_campaigns(market)
    assert (len(campaigns), len({c.advertiser for c in campaigns})) == (6, 4)
    assert {c.goal for c in campaigns} == {Goal.CLICK, Goal.CONVERSION}
    check_campaigns({c.id: c for c in campaigns}, "USD")


def test_every_kind_of_targeting_is_used(market):
    rules = [c.targeting for c in default_campaigns(market)]
    for name in ("geo", "domain", "segment", "hour"):
        assert any(getattr(rule, name).include for rule in rules), name


def test_creatives_are_secure_and_on_reserved_names(market):
    for campaign in default_campaigns(market):
        assert all(creative.secure for creative in campaign.creatives)
        assert all(creative.landing_url.split("/")[2].endswith(".example") for creative in campaign.creatives)


def test_four_of_six_budgets_bind(market):
    spend = market.unconstrained_spend_nanos()
    binding = [c.id for c in default_campaigns(market) if c.budget_nanos < spend[c.id]]
    assert binding == ["aurora-brand", "aurora-sale", "beacon-card", "beacon-loan"]


def test_unconstrained_spend_is_what_a_greedy_replay_spends(market, offers):
    """The pilot's estimate against all rows, bid by true rates at the second price without budgets."""
    campaigns = {campaign.id: campaign for campaign in default_campaigns(market)}
    spend = Counter[str]()
    for row in offers:
        bids = {name: expected_nanos(market, row, c) for name, c in campaigns.items() if may_bid(row, c)}
        best = max(bids, key=bids.__getitem__)
        price = max(row.floor_cpm_micros, row.market_cpm_micros or 0)
        if min(bids[best], MAX_BID_CPM_MICROS) > price:
            spend[best] += price
    estimate = market.unconstrained_spend_nanos()
    assert all(0.8 < spend[name] / estimate[name] < 1.25 for name in campaigns)


def may_bid(row, campaign) -> bool:
    rules = campaign.targeting
    hour = str((row.at_ns // 3_600_000_000_000 + 72) % 168)
    return (
        (not rules.geo.include or row.region in rules.geo.include)
        and (not rules.domain.include or row.domain in rules.domain.include)
        and (not rules.hour.include or hour in rules.hour.include)
        and (not rules.segment.include or not set(rules.segment.include).isdisjoint(row.segments))
        and any((row.w, row.h) == (creative.w, creative.h) for creative in campaign.creatives)
    )


def expected_nanos(market, row, campaign) -> float:
    rate = market.true_ctr(row, campaign.id)
    if campaign.goal is Goal.CONVERSION:
        rate *= market.true_cvr(row, campaign.id)
    return rate * campaign.value_nanos


def test_training_rows_keep_to_the_targeting_of_their_campaign(market, training):
    campaigns = {campaign.id: campaign for campaign in default_campaigns(market)}
    assert all(may_bid(row, campaigns[row.campaign]) for row in training)


def test_budgets_grow_with_the_rows():
    small, large = (default_campaigns(SyntheticMarket(2, rows)) for rows in (10_000, 100_000))
    ratios = [b.budget_nanos / a.budget_nanos for a, b in zip(small, large, strict=True)]
    assert all(7 < ratio < 14 for ratio in ratios)


def test_smallest_market_has_a_row_in_each_part():
    market = SyntheticMarket(0, 2, days=0.01)
    assert (len(list(market.training_log())), len(list(market.opportunities()))) == (1, 1)
    assert all(campaign.budget_nanos > 0 for campaign in default_campaigns(market))


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"seed": -1, "rows": 10}, "seed must be"),
        ({"seed": 1, "rows": 1}, "rows must be"),
        ({"seed": 1, "rows": 10, "days": 0.0}, "days must be"),
        ({"seed": 1, "rows": 10, "training_share": 1.0}, "training_share must be"),
    ],
)
def test_argument_out_of_range_is_named(arguments, what):
    with pytest.raises(InputError, match=what):
        SyntheticMarket(**arguments)
