"""The summary of a run: our books as the bank has them, the exchange's beside them."""

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bidder.core.bank import CampaignReport
from bidder.core.status import Status
from bidder.runtime.figures import Figures
from bidder.store.seat import versions
from models.evaluate import Metrics
from simulator.demo.books import exchange_books, read_reports
from simulator.demo.plan import TMAX_MS, Plan
from simulator.exchange.books import Books
from simulator.report import (
    CampaignResult,
    CurvePoint,
    Latency,
    RunResult,
    book_mismatches,
    drops,
    no_bids,
    summed,
)


def run_result(
    plan: Plan,
    figures: Figures,
    books: Books,
    database_path: Path,
    *,
    duration_s: float,
    failed_calls: int,
    transport: str,
    metrics: Mapping[str, Metrics],
    curves: Mapping[str, Sequence[CurvePoint]],
) -> RunResult:
    """Adds a run up.

    Args:
        plan: what was played. figures: of the bidder. books: of the exchange.
        database_path: of the bank.
        duration_s: wall seconds from the first offer to the last answer.
        failed_calls: of the exchange to the tracker.
        transport: what carried the messages, in words. metrics: of the models. curves: of spend.
    """
    reports = read_reports(database_path, plan.end_ns)
    theirs = exchange_books(books)
    mismatches = book_mismatches(reports.values(), theirs)
    if failed_calls:
        mismatches.append(
            f"calls of the exchange to the tracker must all be answered, {failed_calls} were not"
        )
    won = sum(report.wins for report in reports.values())
    duration_s = max(duration_s, 1e-3)
    return RunResult(
        requests=figures.requests,
        opportunities=figures.opportunities,
        bids=figures.bids,
        wins=won,
        requests_per_second=figures.requests / duration_s,
        decision_latency_ms=Latency(p50=figures.p50_ms, p99=figures.p99_ms),
        late_wins=figures.late_wins,
        campaigns=[_campaign(plan, reports[name], figures.campaigns) for name in sorted(reports)],
        books_agree=not mismatches,
        mismatches=mismatches,
        reasons=no_bids(figures.reasons),
        losses=_losses(books, figures.bids, won),
        exchange=_counts(books),
        exchange_books=theirs,
        duration_s=duration_s,
        speedup=(plan.end_ns - plan.start_ns) / 1e9 / duration_s,
        transport=transport,
        log=plan.name,
        seed=plan.seed,
        models=metrics,
        started_at_ns=plan.start_ns,
        ended_at_ns=plan.end_ns,
        generated_at_ns=time.time_ns(),
        versions=versions() | {"clearbid": importlib.metadata.version("clearbid")},
        synthetic=plan.notes,
        deadline_ms=TMAX_MS,
        curves=curves,
    )


def _campaign(plan: Plan, report: CampaignReport, lines: Mapping[str, Status]) -> CampaignResult:
    """One campaign, the funnels of its line items added up."""
    campaign = plan.campaigns[report.id]
    ids = [item.id for item in campaign.line_items] or [campaign.id]
    own = [lines[line_id] for line_id in ids if line_id in lines]
    funnel = summed(status.funnel for status in own)
    return CampaignResult(
        id=report.id,
        budget_nanos=report.budget_nanos,
        spend_nanos=report.spend_nanos,
        impressions=report.impressions,
        clicks=report.clicks,
        conversions=report.conversions,
        value_nanos=report.value_nanos,
        uncovered_nanos=report.uncovered_nanos,
        view_conversions=report.view_conversions,
        name=campaign.name,
        advertiser=campaign.advertiser,
        currency=campaign.currency,
        goal=campaign.goal.value,
        eligible=funnel.get("eligible", 0),
        bids=funnel.get("bid", 0),
        wins=report.wins,
        funnel=drops(funnel),
        asked=sum(status.asked for status in own),
        refused=summed(status.refused for status in own),
    )


def _losses(books: Books, bids: int, wins: int) -> dict[str, int]:
    """Bids that were not won, by what the exchange did with them; what it never counted came after its deadline."""
    lost = sum(own.losses for own in books.campaigns.values())
    rejected = sum(own.rejected for own in books.campaigns.values())
    found = {
        "LOST_TO_HIGHER_BID": lost,
        "REJECTED": rejected,
        "BID_CAME_AFTER_THE_DEADLINE": bids - wins - lost - rejected,
    }
    return {name: count for name, count in found.items() if count}


def _counts(books: Books) -> dict[str, int]:
    counts = {
        "offered": books.offered,
        "answered": books.answered,
        "no_bids": books.no_bids,
        "timeouts": books.timeouts,
        "late": books.late,
        "repeats": books.repeats,
    }
    return counts | {f"violation_{name}": count for name, count in books.violations.items()}
