"""What a run shows while it goes on: the live table, and the curves that the report draws."""

import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from bidder.core.traffic_shape import TrafficShape
from simulator.demo.books import read_reports
from simulator.demo.distributed import Distributed, ExchangeFigures
from simulator.demo.embedded import Run
from simulator.demo.live import CampaignSnapshot, LiveTable, Snapshot
from simulator.demo.plan import Plan
from simulator.exchange.books import CampaignBooks
from simulator.report import CurvePoint

_CURVE_S = 0.25
_DISTANT_S = 1.0
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

    def finish(self, run: Run) -> None:
        """Takes the run as it ended, whether or not it is time."""
        self._point(run)
        took_s = max(run.shell.ended_s - run.shell.began_s, 1e-3)
        rate = run.worker.requests / took_s
        self._table.update(msgspec.structs.replace(self._snapshot(run), requests_per_second=rate))

    def _point(self, run: Run) -> None:
        now_ns = min(run.clock.now_ns(), run.plan.end_ns)
        for campaign_id, own in _money(run, now_ns).items():
            point = CurvePoint(now_ns, own.posted_nanos, own.plan_nanos)
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
            speedup=self._speed(run),
            progress=shell.offered / shell.row_count,
            requests=run.worker.requests,
            opportunities=engine.opportunities,
            bids=run.worker.bids,
            wins=sum(own.wins for own in books.campaigns.values()),
            late_wins=engine.late_wins,
            offered=books.offered,
            timeouts=books.timeouts,
            requests_per_second=self._rate(run.worker.requests),
            p50_ms=latency.quantile_ms(0.5) if timed else None,
            p99_ms=latency.quantile_ms(0.99) if timed else None,
            currency=run.plan.currency,
            campaigns=self._campaigns(run),
        )

    def _speed(self, run: Run) -> float:
        """Seconds of the clock for each of the wall, as it went; what was asked for before anything did."""
        began_s = run.shell.began_s
        if not began_s:
            return run.speedup
        return (run.clock.now_ns() - run.plan.start_ns) / 1e9 / max(time.monotonic() - began_s, 1e-3)

    def _rate(self, requests: int) -> float:
        then_s, before = self._last
        now_s = time.monotonic()
        self._last = (now_s, requests)
        return (requests - before) / max(now_s - then_s, 1e-3)

    def _campaigns(self, run: Run) -> list[CampaignSnapshot]:
        books = run.shell.exchange.books.campaigns
        shown = []
        for campaign_id, money in _money(run, run.clock.now_ns()).items():
            campaign, own = run.plan.campaigns[campaign_id], books.get(campaign_id, _NOTHING)
            shown.append(
                CampaignSnapshot(
                    id=campaign_id,
                    name=campaign.name,
                    budget_nanos=campaign.budget_nanos,
                    spend_nanos=money.posted_nanos,
                    plan_nanos=money.plan_nanos,
                    impressions=own.impressions,
                    clicks=own.clicks,
                    conversions=own.conversions,
                    value_nanos=own.value_nanos,
                )
            )
        return shown


class DistantWatch:
    """Looks at a run of other processes by what they write: the bank's database and the exchange's file.

    Args:
        table: where to show it. plan: what is played. database_path: of the bank. speedup: of the clock.

    Attributes:
        curves: spend against plan by campaign id.
    """

    def __init__(self, table: LiveTable, plan: Plan, database_path: Path, speedup: float) -> None:
        self.curves: dict[str, list[CurvePoint]] = {}
        self._table = table
        self._plan = plan
        self._database_path = database_path
        self._speedup = speedup
        self._shape = TrafficShape(plan.pacing.traffic_shape)
        self._next_s = 0.0
        self._last = (time.monotonic(), 0)

    def __call__(self, seen: ExchangeFigures | None, now_ns: int) -> None:
        """Takes a point of the curves and draws the table, where it is time."""
        if seen is None or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _DISTANT_S
        now_ns = min(now_ns, self._plan.end_ns)
        campaigns = self._campaigns(now_ns)
        for campaign in campaigns:
            point = CurvePoint(now_ns, campaign.spend_nanos, campaign.plan_nanos)
            points = self.curves.setdefault(campaign.id, [])
            if points and points[-1].at_ns == now_ns:
                points.pop()
            points.append(point)
        self._table.update(self._snapshot(seen, campaigns, now_ns))

    def finish(self, run: Distributed) -> None:
        """Takes the run as it ended, from settled books and the bidder's own figures."""
        self._next_s = 0.0
        self(run.exchange, self._plan.end_ns)
        figures, campaigns = run.figures, self._campaigns(self._plan.end_ns)
        self._table.update(
            msgspec.structs.replace(
                self._snapshot(run.exchange, campaigns, self._plan.end_ns),
                requests=figures.requests,
                opportunities=figures.opportunities,
                bids=figures.bids,
                late_wins=figures.late_wins,
                requests_per_second=figures.requests / max(run.exchange.duration_s, 1e-3),
                p50_ms=figures.p50_ms,
                p99_ms=figures.p99_ms,
            )
        )

    def _campaigns(self, now_ns: int) -> list[CampaignSnapshot]:
        found = []
        for campaign_id, report in sorted(read_reports(self._database_path, now_ns).items()):
            campaign = self._plan.campaigns[campaign_id]
            begin, now, end = (
                float(self._shape.weeks(at_ns)) for at_ns in (campaign.start_ns, now_ns, campaign.end_ns)
            )
            over = min(max((now - begin) / max(end - begin, 1e-12), 0.0), 1.0)
            found.append(
                CampaignSnapshot(
                    id=campaign_id,
                    name=campaign.name,
                    budget_nanos=report.budget_nanos,
                    spend_nanos=report.spend_nanos,
                    plan_nanos=int(report.budget_nanos * over),
                    impressions=report.impressions,
                    clicks=report.clicks,
                    conversions=report.conversions,
                    value_nanos=report.value_nanos,
                )
            )
        return found

    def _snapshot(self, seen: ExchangeFigures, campaigns: list[CampaignSnapshot], now_ns: int) -> Snapshot:
        books = seen.books
        then_s, before = self._last
        self._last = (time.monotonic(), books.offered)
        return Snapshot(
            now_ns=now_ns,
            speedup=self._speedup,
            progress=books.offered / self._plan.row_count,
            requests=books.offered,
            opportunities=books.offered,
            bids=sum(own.bids for own in books.campaigns.values()),
            wins=sum(own.wins for own in books.campaigns.values()),
            late_wins=0,
            offered=books.offered,
            timeouts=books.timeouts,
            requests_per_second=(books.offered - before) / max(time.monotonic() - then_s, 1e-3),
            p50_ms=None,
            p99_ms=None,
            currency=self._plan.currency,
            campaigns=campaigns,
        )


class _Money(NamedTuple):
    """A campaign's spend at the seat, and what its plan foresaw by now."""

    posted_nanos: int
    plan_nanos: int


def _money(run: Run, now_ns: int) -> dict[str, _Money]:
    """Money of each campaign that the engine knows, all its line items together."""
    engine = run.worker.engine
    purse = engine.wallet.purse
    found: dict[str, _Money] = {}
    for line_id, status in engine.status(now_ns).items():
        campaign = engine.table.lines[engine.table.index[line_id]].campaign
        if campaign.id not in found:
            # Every bid of a campaign is charged to the account of its id, whatever else it is charged to.
            posted = purse.posted(purse.account(campaign.id))
            found[campaign.id] = _Money(posted, int(campaign.budget_nanos * status.planned_share))
    return found
