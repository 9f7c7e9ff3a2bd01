"""What is promised about money, tried on whole runs with budgets that bind and with everything that can go wrong."""

from collections.abc import Callable
from functools import cache

import pytest

from bidder.core.account import Account
from bidder.core.engine import FUNNEL
from bidder.errors import InvariantError
from bidder.openrtb.reasons import Reason
from simulator.demo.books import exchange_books
from simulator.demo.inprocess import NO_FAULTS, Faults, Played, run_in_process
from simulator.demo.plan import Plan
from simulator.report import book_mismatches
from tests.support.playing import KEY, S, decision_rows, overspent, scored_plan

PATIENCE_S = 20.0
LEASE_NS = 20 * S
RESERVATION_NS = 40 * S


def after(plan: Plan, seconds: int) -> int:
    return plan.start_ns + seconds * S


FAULTS: dict[str, Callable[[Plan], Faults]] = {
    "nothing": lambda plan: NO_FAULTS,
    "notices in time, but late": lambda plan: Faults(notice_delay_ns=RESERVATION_NS // 4),
    "notices after their reservation": lambda plan: Faults(notice_delay_ns=2 * RESERVATION_NS),
    "notices twice": lambda plan: Faults(duplicate_share=0.7),
    "notices lost": lambda plan: Faults(loss_share=0.3),
    "notices out of order": lambda plan: Faults(reorder_share=0.7, shuffle_ns=LEASE_NS // 2),
    "settlements late": lambda plan: Faults(settlement_delay_ns=LEASE_NS // 2),
    "bank silent for a while": lambda plan: Faults(bank_silent_ns=(after(plan, 50), after(plan, 110))),
    "bidder restarts": lambda plan: Faults(restarts_ns=(after(plan, 20), after(plan, 110))),
    "all of it": lambda plan: Faults(
        loss_share=0.1,
        duplicate_share=0.3,
        reorder_share=0.3,
        shuffle_ns=3 * RESERVATION_NS,
        settlement_delay_ns=5 * S,
        bank_silent_ns=(after(plan, 50), after(plan, 80)),
        restarts_ns=(after(plan, 100), after(plan, 103)),
    ),
}


@cache
def run(name: str = "nothing", seed: int = 7) -> Played:
    plan = scored_plan(seed)
    return run_in_process(plan, None, None, KEY, patience_s=PATIENCE_S, faults=FAULTS[name](plan))


def with_faults(faults: Faults, seed: int = 7) -> Played:
    return run_in_process(scored_plan(seed), None, None, KEY, patience_s=PATIENCE_S, faults=faults)


def reasons(played: Played) -> dict[int, int]:
    totals: dict[int, int] = {}
    for worker in played.workers:
        for reason, count in worker.engine.reasons.items():
            totals[reason] = totals.get(reason, 0) + count
    return totals


# -- budgets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "seed"), [*((name, 7) for name in FAULTS), ("all of it", 8), ("all of it", 9)]
)
def test_no_campaign_spends_more_than_its_budget_and_its_late_wins(name: str, seed: int) -> None:
    assert overspent(run(name, seed), scored_plan(seed)) == {}


@pytest.mark.parametrize("name", FAULTS)
def test_the_budgets_of_these_runs_bind(name: str) -> None:
    """Else a run that spends within its budget would prove nothing."""
    assert reasons(run(name))[Reason.BUDGET] > 20


def _grant_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank that forgets what it granted already."""
    monkeypatch.setattr(Account, "room", property(lambda account: account.limit))


def test_a_bank_that_grants_twice_overspends_and_these_tests_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _grant_twice(monkeypatch)
    monkeypatch.setattr(Account, "check", lambda account: None)
    plan = scored_plan()
    assert overspent(with_faults(NO_FAULTS), plan).keys() == plan.campaigns.keys()


def test_a_bank_that_grants_twice_stops_by_its_own_check(monkeypatch: pytest.MonkeyPatch) -> None:
    _grant_twice(monkeypatch)
    with pytest.raises(
        InvariantError, match=r"what is booked on and granted of account aurora-\w+ must be at most"
    ):
        with_faults(NO_FAULTS)


# -- the books on both sides --------------------------------------------------------------------------------


def test_without_faults_our_books_are_the_exchanges() -> None:
    played = run("nothing")
    assert book_mismatches(played.reports.values(), exchange_books(played.books)) == []
    assert sum(report.clicks for report in played.reports.values()) > 0


@pytest.mark.parametrize(
    "name", ["notices twice", "notices out of order", "settlements late", "bidder restarts"]
)
def test_what_only_repeats_disorders_or_restarts_leaves_the_books_alike(name: str) -> None:
    played = run(name)
    assert book_mismatches(played.reports.values(), exchange_books(played.books)) == []


def test_a_notice_that_comes_twice_is_booked_once() -> None:
    played = run("notices twice")
    assert sum(report.refused["duplicate"] for report in played.reports.values()) > 50


def test_lost_notices_show_in_the_books() -> None:
    """The comparison of books can fail."""
    played = run("notices lost")
    wrong = book_mismatches(played.reports.values(), exchange_books(played.books))
    assert any(
        line.startswith("spend_nanos of campaign aurora-brand must be the exchange's") for line in wrong
    )


@pytest.mark.parametrize("name", ["nothing", "notices twice", "notices after their reservation"])
def test_the_bidders_ledger_has_what_the_bank_has(name: str) -> None:
    played = run(name)
    (worker,) = played.workers
    posted = {name: status.posted_nanos for name, status in worker.engine.status(0).items()}
    assert posted == {name: report.spend_nanos for name, report in played.reports.items()}


def test_every_opportunity_ends_in_a_bid_or_a_reason_and_every_funnel_adds_up() -> None:
    played = run()
    (worker,) = played.workers
    assert sum(reasons(played).values()) == worker.engine.opportunities == scored_plan().row_count
    for status in worker.engine.status(0).values():
        assert status.funnel["eligible"] == sum(status.funnel[name] for name in FUNNEL[1:])


# -- late wins ----------------------------------------------------------------------------------------------


def test_a_win_after_its_reservation_is_booked_and_flagged() -> None:
    played = run("notices after their reservation")
    for report in played.reports.values():
        assert report.late_wins == report.impressions > 0
        assert report.late_nanos == report.spend_nanos
    assert book_mismatches(played.reports.values(), exchange_books(played.books)) == []


def test_the_bidder_counts_late_wins_as_the_bank_does() -> None:
    played = run("notices after their reservation")
    (worker,) = played.workers
    assert worker.engine.late_wins == sum(report.late_wins for report in played.reports.values())


def test_no_win_is_late_where_notices_come_in_time() -> None:
    played = run("notices in time, but late")
    assert [report.late_wins for report in played.reports.values()] == [0, 0]


def test_money_that_was_billed_in_time_is_not_bid_again_however_late_the_bidder_hears_of_it() -> None:
    """Settlements come long after the reservations' own end; the bank's word that frees them comes behind them."""
    plan = scored_plan()
    played = with_faults(Faults(settlement_delay_ns=5 * RESERVATION_NS))
    assert overspent(played, plan) == {}
    assert [report.uncovered_nanos for report in played.reports.values()] == [0, 0]
    assert min(report.spend_nanos for report in played.reports.values()) > 0


def test_spend_that_came_too_late_is_counted_as_uncovered() -> None:
    """Its money had been bid again by then."""
    played = run("notices after their reservation")
    assert sum(report.uncovered_nanos for report in played.reports.values()) > 0


# -- a silent bank, a new start -----------------------------------------------------------------------------


def test_bidding_ends_with_the_lease_when_the_bank_falls_silent() -> None:
    plan = scored_plan()
    silent_ns = after(plan, 50)
    rows = decision_rows(with_faults(Faults(bank_silent_ns=(silent_ns, plan.end_ns))))
    late = [row for row in rows if row["at_ns"] >= silent_ns]
    assert max(row["at_ns"] for row in late if row["reason"] == Reason.BID) <= silent_ns + LEASE_NS
    ended = [row["reason"] for row in late if row["at_ns"] > silent_ns + LEASE_NS]
    assert len(ended) > 100
    assert set(ended) <= {Reason.NO_LEASE, Reason.UNSCORED, Reason.BUDGET}


def test_bidding_goes_on_when_the_bank_speaks_again() -> None:
    plan = scored_plan(budget_nanos=S)
    faults = Faults(bank_silent_ns=(after(plan, 50), after(plan, 120)))
    rows = decision_rows(run_in_process(plan, None, None, KEY, patience_s=PATIENCE_S, faults=faults))
    silent = [row["reason"] for row in rows if after(plan, 75) <= row["at_ns"] < after(plan, 120)]
    assert Reason.NO_LEASE in silent
    assert Reason.BID not in silent
    assert Reason.BID in [row["reason"] for row in rows if row["at_ns"] >= after(plan, 125)]


def test_a_new_start_of_a_seat_gets_a_new_epoch_and_bids() -> None:
    played = run("bidder restarts")
    assert [worker.engine.epoch for worker in played.workers] == [1, 2, 3]
    assert all(worker.bids > 0 for worker in played.workers)


def test_the_bids_of_two_epochs_are_never_the_same() -> None:
    bids = [row["bid_id"] for row in decision_rows(run("bidder restarts")) if row["reason"] == Reason.BID]
    assert len(bids) == len(set(bids)) > 50


def test_wins_of_a_start_that_is_gone_are_booked() -> None:
    played = run("bidder restarts")
    last = played.workers[-1].engine.status(0)
    for name, report in played.reports.items():
        assert report.spend_nanos == played.books.of(name).spend_nanos > last[name].posted_nanos
