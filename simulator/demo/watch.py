"""What a run shows while it goes on: the live table, and the curves that the report draws."""

import time

from simulator.demo.embedded import Run
from simulator.demo.live import CampaignSnapshot, LiveTable, Snapshot
from simulator.exchange.books import CampaignBooks
from simulator.report import CurvePoint

_CURVE_S = 0.25
_NOTHING = CampaignBooks()


class Watch:
    """Looks at a run now and then.

    Args:
        table: where to show it.

    Attributes:
        curves: spend against plan by campaign id.
    """

    def __init__(self, table: LiveTable) -> None:
        self.curves: dict[str, list[CurvePoint]] = {}
        self._table = table
        self._next_point_s = 0.0
        self._last = (time.monotonic(), 0)

    def __call__(self, run: Run) -> None:
        """Takes a point of the curves and draws the table, each where it is time."""
        if time.monotonic() >= self._next_point_s:
            self._next_point_s = time.monotonic() + _CURVE_S
            self._point(run)
        if self._table.due():
            self._table.update(self._snapshot(run))

    def _point(self, run: Run) -> None:
        now_ns = min(run.clock.now_ns(), run.plan.end_ns)
        for campaign_id, status in run.worker.engine.status(now_ns).items():
            budget = run.plan.campaigns[campaign_id].budget_nanos
            point = CurvePoint(now_ns, status.posted_nanos, int(budget * status.planned_share))
            points = self.curves.setdefault(campaign_id, [])
            if points and points[-1].at_ns == now_ns:
                points.pop()
            points.append(point)

    def _snapshot(self, run: Run) -> Snapshot:
        engine, shell, latency = run.worker.engine, run.shell, run.worker.latency
        books = shell.exchange.books
        timed = latency.count > 0
        return Snapshot(
            now_ns=run.clock.now_ns(),
            speedup=run.speedup,
            progress=shell.offered / shell.row_count,
            requests=run.worker.requests,
            opportunities=engine.opportunities,
            bids=run.worker.bids,
            wins=sum(own.wins for own in books.campaigns.values()),
            late_wins=engine.late_wins,
            requests_per_second=self._rate(run.worker.requests),
            p50_ms=latency.quantile_ms(0.5) if timed else None,
            p99_ms=latency.quantile_ms(0.99) if timed else None,
            currency=run.plan.currency,
            campaigns=self._campaigns(run),
        )

    def _rate(self, requests: int) -> float:
        then_s, before = self._last
        now_s = time.monotonic()
        self._last = (now_s, requests)
        return (requests - before) / max(now_s - then_s, 1e-3)

    def _campaigns(self, run: Run) -> list[CampaignSnapshot]:
        books = run.shell.exchange.books.campaigns
        shown = []
        for campaign_id, status in run.worker.engine.status(run.clock.now_ns()).items():
            campaign, own = run.plan.campaigns[campaign_id], books.get(campaign_id, _NOTHING)
            shown.append(
                CampaignSnapshot(
                    id=campaign_id,
                    name=campaign.name,
                    budget_nanos=campaign.budget_nanos,
                    spend_nanos=status.posted_nanos,
                    plan_nanos=int(campaign.budget_nanos * status.planned_share),
                    impressions=own.impressions,
                    clicks=own.clicks,
                    conversions=own.conversions,
                    value_nanos=own.value_nanos,
                )
            )
        return shown
