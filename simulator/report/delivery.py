"""Spend and pacing: small multiples of spend against plan."""

from collections.abc import Sequence

from models.pages.blocks import data_details, section, table
from models.pages.charts import ChartIds
from models.pages.markup import Markup, el, join
from simulator.report import text
from simulator.report.blocks import column
from simulator.report.charts import pacing_chart, thin
from simulator.report.rows import MOST_CHARTS, largest
from simulator.report.summary import CampaignResult, CurvePoint, RunResult, share

_CURVE_POINTS = 960
_MOST_CURVE_POINTS = 48


def pacing(result: RunResult, ids: ChartIds) -> Markup:
    """Small multiples: spend against plan, a card a campaign."""
    shown = largest(result.campaigns)[:MOST_CHARTS]
    points = min(_MOST_CURVE_POINTS, _CURVE_POINTS // max(len(shown), 1))
    left_out = len(result.campaigns) - len(shown)
    note = "Money spent since the start against what the pacing plan had foreseen, in percent of each budget."
    if left_out:
        note += f" The {len(shown)} largest budgets; {left_out} more are in the table below."
    cards = [_pacing_card(result, ids, campaign, points) for campaign in shown]
    return section(
        "Spend and pacing", note, _line_legend() if cards else None, el("div", *cards, class_="grid")
    )


def _pacing_card(result: RunResult, ids: ChartIds, campaign: CampaignResult, most: int) -> Markup:
    points = thin(result.curves.get(campaign.id, ()), most)
    spent = (
        f"{text.money(campaign.spend_nanos)} of {text.money(campaign.budget_nanos)} {campaign.currency} "
        f"({text.percent(share(campaign.spend_nanos, campaign.budget_nanos))})"
    )
    state, tone = pacing_state(campaign, points[-1] if points else None)
    head = join(el("h3", campaign.name), el("p", spent, class_="note"))
    standing = el("p", state, class_=f"state {tone}".strip()) if state else None
    why = _why_behind(result, campaign) if state.startswith("Underpacing") else ""
    standing = join(standing, el("p", why, class_="note")) if why else standing
    if not points or not campaign.budget_nanos:
        drawn: list[Markup] = [el("p", "No curve was recorded.", class_="note")]
    else:
        span_ns = (result.started_at_ns, result.ended_at_ns)
        chart = pacing_chart(ids, campaign.name, points, campaign.budget_nanos, span_ns)
        drawn = [chart, data_details("Data", _curve_table(campaign, points))]
    return el("div", head, standing, *drawn, class_="card")


def pacing_state(campaign: CampaignResult, last: CurvePoint | None) -> tuple[str, str]:
    """How the campaign stood at its last point, in words, and the class of its colour.

    Underpacing is a spend of 99 % of the plan or less, as buyers know it from their consoles.
    """
    if campaign.spend_nanos > campaign.budget_nanos:
        return "Over budget", "bad"
    if campaign.spend_nanos == campaign.budget_nanos:
        return "Budget spent", "good"
    if last is None or not last.plan_nanos:
        return "", ""
    of_plan = last.spend_nanos / last.plan_nanos
    if of_plan <= 0.99:
        return f"Underpacing: {text.percent(of_plan)} of plan", "bad" if of_plan < 0.8 else ""
    return ("On track", "good") if of_plan <= 1.05 else (f"Ahead: {text.percent(of_plan)} of plan", "")


def _why_behind(result: RunResult, campaign: CampaignResult) -> str:
    """What of the run's own counts may hold a campaign behind its plan, in a sentence; empty where nothing does."""
    causes = []
    offered, timeouts = result.exchange.get("offered", 0), result.exchange.get("timeouts", 0)
    if timeouts and offered:
        causes.append(
            f"{text.percent(share(timeouts, offered))} of all requests were answered too late: their bids cannot win "
            "but keep money set aside until their time is over"
        )
    if dry := campaign.funnel.get("budget", 0):
        causes.append(
            f"{text.count(dry)} of its {text.count(campaign.eligible)} eligible opportunities "
            f"({text.percent(share(dry, campaign.eligible))}) found its money spent or set aside for bids in the air"
        )
    return f"What may hold it back: {'; '.join(causes)}." if causes else ""


def _curve_table(campaign: CampaignResult, points: Sequence[CurvePoint]) -> Markup:
    columns = [
        column("Time (UTC)"),
        column(f"Spend ({campaign.currency})", "Spend"),
        column(f"Plan ({campaign.currency})", "Plan"),
    ]
    rows = [
        [
            text.moment(point.at_ns, "%m-%d %H:%M:%S"),
            text.exact(point.spend_nanos),
            text.exact(point.plan_nanos),
        ]
        for point in points
    ]
    return table(f"Spend and plan of {campaign.name}", columns, rows)


def _line_legend() -> Markup:
    def swatch(kind: str, name: str) -> Markup:
        line = el("path", d="M0 5L26 5", class_=f"line {kind}")
        return el("span", el("svg", line, viewBox="0 0 26 10", aria_hidden="true"), name)

    return el("div", swatch("spend", "Spend"), swatch("plan", "Plan"), class_="legend")
