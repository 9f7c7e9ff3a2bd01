"""The run on virtual time itself: it repeats, and what is not decided in time is not bid on."""

from pathlib import Path

import pytest

from bidder.openrtb.reasons import Reason
from simulator.demo.inprocess import Faults, Played, run_in_process
from simulator.exchange.delays import FixedDelay, LogNormalDelay
from tests.support.playing import KEY, S, decision_rows, scored_plan

ROWS = 300
SPREAD = LogNormalDelay(0.05, 0.5, 0.2)
WILD = Faults(loss_share=0.1, duplicate_share=0.3, reorder_share=0.3, settlement_delay_ns=S)


def play(seed: int = 7, **changes: object) -> Played:
    plan = scored_plan(seed, ROWS, 40.0, S // 50)
    return run_in_process(plan, None, None, KEY, patience_s=5.0, **changes)  # type: ignore[arg-type]


def test_two_runs_give_the_same_bytes_and_the_same_books() -> None:
    one, two = (play(latency=SPREAD, faults=WILD) for _ in range(2))
    assert one.digest == two.digest
    assert one.reports == two.reports
    assert one.books == two.books
    assert one.statuses == two.statuses


@pytest.mark.parametrize("changes", [{"seed": 8}, {"faults": WILD}, {"latency": SPREAD}])
def test_another_seed_fault_or_latency_gives_other_bytes(changes: dict[str, object]) -> None:
    assert play(**changes).digest != play().digest  # type: ignore[arg-type]


def test_how_many_are_decided_at_once_changes_no_decision() -> None:
    alone, together = (decision_rows(play(batch=batch, latency=FixedDelay(S // 10))) for batch in (1, 64))
    assert alone == together
    assert {row["reason"] for row in alone} >= {Reason.BID, Reason.BUDGET}


def test_requests_that_waited_past_their_deadline_get_no_bid_and_no_others() -> None:
    """The exchange gives 250 ms, 20 of which are for the way there and back."""
    plan = scored_plan(7, ROWS, 1.0, S)
    played = run_in_process(plan, None, None, KEY, latency=LogNormalDelay(0.3, 0.5, 2.0))
    offered_ns = {row.id: row.at_ns for row in plan.rows()}
    ended = [(row["at_ns"] - offered_ns[row["request_id"]], row["reason"]) for row in decision_rows(played)]
    late = [reason for waited_ns, reason in ended if waited_ns > 232 * S // 1000]
    in_time = [reason for waited_ns, reason in ended if waited_ns < 228 * S // 1000]
    assert len(late) > 10
    assert set(late) == {Reason.EXPIRED}
    assert len(in_time) > 10
    assert Reason.EXPIRED not in in_time


def test_a_journal_is_kept_for_each_start(tmp_path: Path) -> None:
    plan = scored_plan(7, ROWS, 40.0, S // 50)
    faults = Faults(restarts_ns=(plan.start_ns + 3 * S,))
    run_in_process(plan, None, tmp_path, KEY, patience_s=5.0, faults=faults)
    assert (tmp_path / "clearbid.db").exists()
    assert (tmp_path / "journal").stat().st_size > 10_000
    assert (tmp_path / "start-2" / "journal").stat().st_size > 10_000
