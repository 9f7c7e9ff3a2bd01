"""The summary of a run: the JSON object, the derived metrics, the checks."""

import json

import msgspec
import pytest

from simulator.report.summary import (
    Check,
    ExchangeBook,
    Latency,
    RunResult,
    book_mismatches,
    books_verdict,
    cpa_nanos,
    cpc_nanos,
    ctr,
    ecpm_nanos,
    json_object,
    share,
    sum_checks,
    totals,
    win_rate,
)
from simulator.report.text import roi_text
from simulator.returns import roas, roi
from tests.support.results import run_result

FIXED = [
    "requests",
    "opportunities",
    "bids",
    "wins",
    "requests_per_second",
    "decision_latency_ms",
    "late_wins",
    "campaigns",
]
FIXED_OF_A_CAMPAIGN = [
    "id",
    "budget_nanos",
    "spend_nanos",
    "impressions",
    "clicks",
    "conversions",
    "value_nanos",
]


def test_json_begins_with_the_promised_keys_in_order():
    written = json.loads(json_object(run_result()))
    assert list(written)[: len(FIXED)] == FIXED
    assert list(written["decision_latency_ms"]) == ["p50", "p99"]
    for campaign in written["campaigns"]:
        assert list(campaign)[: len(FIXED_OF_A_CAMPAIGN)] == FIXED_OF_A_CAMPAIGN


def test_json_leaves_the_curves_out_and_nothing_else():
    written = json.loads(json_object(run_result()))
    assert set(RunResult.__struct_fields__) - set(written) == {"curves"}


def test_json_is_one_line():
    assert b"\n" not in json_object(run_result())


def test_json_reads_back_as_the_same_run():
    result = run_result()
    assert msgspec.json.decode(json_object(result), type=RunResult) == msgspec.structs.replace(
        result, curves={}
    )


def test_json_keeps_every_nano_of_an_amount_that_no_float_holds():
    spend_nanos = 2**53 + 1
    result = run_result(1)
    campaign = msgspec.structs.replace(result.campaigns[0], spend_nanos=spend_nanos)
    written = json_object(msgspec.structs.replace(result, campaigns=[campaign]))
    assert f'"spend_nanos":{spend_nanos},'.encode() in written


def test_json_writes_a_latency_that_was_not_measured_as_null():
    written = json.loads(json_object(run_result(decision_latency_ms=Latency(p50=None, p99=None))))
    assert written["decision_latency_ms"] == {"p50": None, "p99": None}


def test_a_run_of_two_currencies_is_refused():
    campaigns = list(run_result(2).campaigns)
    campaigns[1] = msgspec.structs.replace(campaigns[1], currency="EUR")
    with pytest.raises(ValueError, match=r"must share one currency, were in \['EUR', 'USD'\]"):
        run_result(2, campaigns=campaigns)


def test_a_run_with_a_campaign_twice_is_refused():
    campaign = run_result(1).campaigns[0]
    with pytest.raises(ValueError, match="campaign ids must be unique"):
        run_result(1, campaigns=[campaign, campaign])


@pytest.mark.parametrize(
    "metric",
    [share, win_rate, ctr, roas, roi, cpc_nanos, cpa_nanos, ecpm_nanos],
    ids=lambda metric: metric.__name__,
)
def test_a_metric_with_nothing_to_divide_by_does_not_exist(metric):
    assert metric(5, 0) is None


def test_metrics_by_hand():
    assert win_rate(25, 100) == 0.25
    assert ctr(3, 1_000) == 0.003
    assert roas(3_000, 2_000) == 1.5
    assert roi(3_000, 2_000) == 0.5
    assert roi(0, 2_000) == -1.0
    assert cpc_nanos(10_000_000_000, 3) == 3_333_333_333
    assert cpa_nanos(10_000_000_000, 6) == 1_666_666_667
    # 2.50 for a thousand is 2_500_000 nanos for one.
    assert ecpm_nanos(2_500_000 * 400, 400) == 2_500_000_000


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "\N{EN DASH}"), (0.125, "+12.5%"), (-1.0, "-100%"), (6.687, "+669%"), (0.0, "+0.0%")],
)
def test_a_roi_is_read_as_a_share_that_was_gained(value, said):
    assert roi_text(value) == said


def test_unit_costs_stay_exact_where_floats_would_not():
    assert cpc_nanos(9_000_000_000_000_000_001, 1) == 9_000_000_000_000_000_001


def test_totals_are_the_sums_over_campaigns():
    result = run_result()
    total = totals(result.campaigns)
    for name in total._fields:
        assert getattr(total, name) == sum(getattr(campaign, name) for campaign in result.campaigns)


def test_totals_of_no_campaigns_are_zero():
    assert set(totals([])) == {0}


def test_every_sum_of_a_consistent_run_holds():
    assert all(check.holds for check in sum_checks(run_result()))


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"reasons": {"PACED": 1}}, "opportunities = bids + no-bids by reason"),
        ({"losses": {"LOST_TO_HIGHER_BID": 1}}, "bids = wins + losses by reason"),
    ],
)
def test_a_sum_that_does_not_hold_is_found(changes, broken):
    assert [check.what for check in sum_checks(run_result(**changes)) if not check.holds] == [broken]


def test_a_campaign_that_hides_a_drop_is_found():
    result = run_result(1)
    campaign = result.campaigns[0]
    campaign = msgspec.structs.replace(campaign, eligible=campaign.eligible + 1)
    broken = [check for check in sum_checks(run_result(1, campaigns=[campaign])) if not check.holds]
    assert [check.what for check in broken] == ["eligible = bids + drops by reason, all campaigns"]


def test_losses_that_nobody_told_of_are_not_checked():
    assert not any("losses" in check.what for check in sum_checks(run_result(losses={})))


def test_a_check_is_two_numbers_that_must_be_the_same():
    assert Check("a", 1, 1).holds
    assert not Check("a", 1, 2).holds


def test_books_that_agree_have_no_mismatch():
    result = run_result()
    assert book_mismatches(result.campaigns, result.exchange_books) == []
    assert books_verdict(result)


@pytest.mark.parametrize("name", ExchangeBook.__struct_fields__)
def test_one_nano_or_one_event_off_is_a_mismatch_that_names_both_numbers(name):
    result = run_result()
    books = dict(result.exchange_books)
    ours = getattr(books["c03"], name)
    books["c03"] = msgspec.structs.replace(books["c03"], **{name: ours + 1})
    assert book_mismatches(result.campaigns, books) == [
        f"{name} of campaign c03 must be the exchange's {ours + 1}, was {ours}"
    ]


def test_a_campaign_that_only_the_exchange_knows_is_a_mismatch():
    result = run_result(1)
    book = ExchangeBook(wins=1, impressions=0, clicks=0, conversions=0, spend_nanos=7, value_nanos=0)
    assert book_mismatches(result.campaigns, {**result.exchange_books, "c99": book}) == [
        "wins of campaign c99 must be the exchange's 1, was 0",
        "spend_nanos of campaign c99 must be the exchange's 7, was 0",
    ]


def test_a_campaign_without_events_needs_no_entry_at_the_exchange():
    result = run_result(1)
    zeros = dict.fromkeys(("wins", "impressions", "clicks", "conversions", "spend_nanos", "value_nanos"), 0)
    idle = msgspec.structs.replace(result.campaigns[0], id="c99", **zeros)
    assert book_mismatches([*result.campaigns, idle], result.exchange_books) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"books_agree": False},
        {"mismatches": ["spend of c01"]},
        {
            "exchange_books": {
                "c01": ExchangeBook(
                    wins=0, impressions=0, clicks=0, conversions=0, spend_nanos=1, value_nanos=0
                )
            }
        },
    ],
    ids=["said", "listed", "seen"],
)
def test_the_verdict_is_bad_if_anything_speaks_against_the_books(changes):
    assert not books_verdict(run_result(**changes))
