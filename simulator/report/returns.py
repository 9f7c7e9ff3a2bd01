"""Return by campaign: what each cost and what it brought."""

from collections.abc import Sequence
from typing import NamedTuple

from models.pages.blocks import section, table
from models.pages.charts import Bar, BarRow, ChartIds, bar_chart
from models.pages.markup import Content, Markup, el, join
from simulator.report import text
from simulator.report.blocks import amount, column
from simulator.report.rows import MOST_CHARTS, largest, merged_rows, name_cell, with_rest
from simulator.report.summary import (
    CampaignResult,
    RunResult,
    cpa_nanos,
    cpc_nanos,
    ctr,
    ecpm_nanos,
    share,
)
from simulator.returns import roas


def returns(result: RunResult, ids: ChartIds) -> Markup:
    """What each campaign cost and what it brought."""
    rows = with_rest(result.campaigns)
    currency = result.currency
    note = (
        f"All amounts in {currency}, rounded to be read; hover a cell for the exact amount, "
        "a header for its formula."
    )
    charted = largest(result.campaigns)[:MOST_CHARTS]
    return section(
        "Return by campaign",
        note if currency else "No campaign took part.",
        el("div", _table_of(rows, result.campaigns, currency), class_="card") if rows else None,
        el("div", _chart_of(charted, currency, ids), class_="card", style="margin-top:14px")
        if rows
        else None,
    )


def _table_of(rows: Sequence[CampaignResult], campaigns: Sequence[CampaignResult], currency: str) -> Markup:
    columns = [
        column("Campaign"),
        column(f"Budget ({currency})", "Budget"),
        column(f"Spend ({currency})", "Spend"),
        column("Spent", "Spent"),
        column("Impressions", "Impressions"),
        column(f"eCPM ({currency})", "eCPM"),
        column("Clicks"),
        column("CTR", "CTR"),
        column(f"CPC ({currency})", "CPC"),
        column("Conversions"),
        column("After a view", "After a view"),
        column(f"CPA ({currency})", "CPA"),
        column(f"Value ({currency})", "Value"),
        column("ROAS", "ROAS"),
    ]
    total = merged_rows("", f"All {len(campaigns)} campaigns", campaigns)
    places = _Places.of([*rows, total])
    body = [_roi_row(row, places) for row in rows]
    return table("Return by campaign", columns, body, _roi_row(total, places))


class _Places(NamedTuple):
    """Decimals of each column of amounts."""

    money: int
    ecpm: int
    cpc: int
    cpa: int

    @classmethod
    def of(cls, rows: Sequence[CampaignResult]) -> "_Places":
        return cls(
            text.decimals_for([row.budget_nanos for row in rows]),
            text.decimals_for([ecpm_nanos(row.spend_nanos, row.impressions) or 0 for row in rows]),
            text.decimals_for([cpc_nanos(row.spend_nanos, row.clicks) or 0 for row in rows]),
            text.decimals_for([cpa_nanos(row.spend_nanos, row.conversions) or 0 for row in rows]),
        )


def _roi_row(row: CampaignResult, places: _Places) -> list[Content]:
    spend = row.spend_nanos
    return [
        name_cell(row),
        amount(row.budget_nanos, places.money),
        amount(spend, places.money),
        text.percent(share(spend, row.budget_nanos)),
        text.count(row.impressions),
        amount(ecpm_nanos(spend, row.impressions), places.ecpm),
        text.count(row.clicks),
        text.percent(ctr(row.clicks, row.impressions), 2),
        amount(cpc_nanos(spend, row.clicks), places.cpc),
        text.count(row.conversions),
        text.count(row.view_conversions),
        amount(cpa_nanos(spend, row.conversions), places.cpa),
        amount(row.value_nanos, places.money),
        text.ratio(roas(row.value_nanos, spend)),
    ]


def _chart_of(campaigns: Sequence[CampaignResult], currency: str, ids: ChartIds) -> Markup:
    most = max((max(row.spend_nanos, row.value_nanos) for row in campaigns), default=0) or 1
    rows = [
        BarRow(
            row.name,
            f"ROAS {text.ratio(roas(row.value_nanos, row.spend_nanos))}",
            (Bar(row.spend_nanos / most, "spend"), Bar(row.value_nanos / most, "value")),
            tracked=False,
        )
        for row in campaigns
    ]
    half = (len(rows) + 1) // 2
    key = (
        el("span", _square("spend"), f"Spend ({currency})"),
        el("span", _square("value"), f"Value ({currency})"),
    )
    charts = [
        bar_chart(ids, "Spend and value by campaign", f"Longest bar: {currency} {text.money(most)}.", part)
        for part in (rows[:half], rows[half:])
        if part
    ]
    return join(
        el("h3", "What each campaign cost and what it brought"),
        el("div", *key, class_="legend"),
        el("div", *charts, class_="pair"),
    )


def _square(kind: str) -> Markup:
    return el(
        "svg",
        el("rect", x=8, y=0, width=10, height=10, rx=2, class_=kind),
        viewBox="0 0 26 10",
        aria_hidden="true",
    )
