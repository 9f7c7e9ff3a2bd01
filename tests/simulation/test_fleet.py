"""What four seats deliver of budgets that they share, against one seat on the same requests."""

from functools import cache

import pytest

from bidder.core.engine import Engine
from bidder.openrtb.reasons import Reason
from simulator.demo.inprocess import Played
from tests.support.fleet import Share, by_key, run_fleet
from tests.support.playing import S, overspent, scored_plan

BUDGET_NANOS = 6 * S // 5
SEATS = 4


def mostly_the_first(message: object, seats: int) -> int:
    """Sixteen of nineteen requests go to one seat, one to each of the others."""
    return max(0, by_key(message, 19) - 15) % seats  # type: ignore[arg-type]


SHARES: dict[str, Share] = {"evenly": by_key, "mostly the first": mostly_the_first}


@cache
def run(seats: int, share: str = "evenly") -> Played:
    return run_fleet(scored_plan(7, 6_000, 10.0, BUDGET_NANOS), seats, share=SHARES[share], tick_s=0.5)


def value_of(played: Played) -> int:
    """What was bought: every row brings the same click probability, so an impression is worth as much as another."""
    return sum(report.impressions for report in played.reports.values())


def posted(engine: Engine, account_id: str) -> int:
    return engine.wallet.purse.posted(engine.wallet.purse.account(account_id))


@pytest.mark.parametrize("share", SHARES)
def test_four_seats_spend_a_feasible_budget_and_never_more(share: str) -> None:
    played = run(SEATS, share)
    assert overspent(played, scored_plan(7, 6_000, 10.0, BUDGET_NANOS)) == {}
    for report in played.reports.values():
        assert 0.995 * report.budget_nanos <= report.spend_nanos <= report.budget_nanos


@pytest.mark.parametrize("share", SHARES)
def test_four_seats_buy_what_one_buys(share: str) -> None:
    alone, shared = value_of(run(1)), value_of(run(SEATS, share))
    print(f"\nfour seats, {share}: {shared:,} impressions, one: {alone:,}; {shared / alone - 1:+.3%}")
    assert alone > 1_000
    assert abs(shared - alone) <= 0.005 * alone


def test_all_seats_take_part() -> None:
    """Else four would be one, and their delivery no wonder."""
    for worker in run(SEATS).workers:
        assert all(posted(worker.engine, name) > BUDGET_NANOS // 20 for name in run(SEATS).reports)


def test_these_budgets_bind() -> None:
    reasons = [worker.engine.reasons.get(Reason.BUDGET, 0) for worker in run(SEATS).workers]
    assert sum(reasons) > 100
