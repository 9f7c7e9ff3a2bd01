"""The funnel: from opportunities to conversions, and what dropped the rest."""

from collections.abc import Mapping, Sequence

from models.pages.blocks import data_details, section, table
from models.pages.charts import Bar, BarRow, ChartIds, bar_chart
from models.pages.markup import Content, Markup, el
from simulator.report import text
from simulator.report.blocks import column
from simulator.report.reasons import refusal_words, words
from simulator.report.rows import merged_rows, name_cell, with_rest
from simulator.report.summary import CampaignResult, RunResult, share, totals, win_rate

_LESS = "\N{MINUS SIGN}\N{NO-BREAK SPACE}"
_MOST_REASONS = 12
_MOST_REASON_COLUMNS = 6


def funnel(result: RunResult, ids: ChartIds) -> Markup:
    """From opportunities to conversions, and what dropped the rest."""
    total = totals(result.campaigns)
    stages = (
        ("Opportunities", result.opportunities),
        ("Bids", result.bids),
        ("Wins", result.wins),
        ("Impressions", total.impressions),
        ("Clicks", total.clicks),
        ("Conversions", total.conversions),
    )
    return section(
        "Funnel",
        f"{text.count(result.requests)} bid requests offered "
        f"{text.count(result.opportunities)} opportunities, "
        "one for each impression on offer. Each ended in a bid or in a reason.",
        el(
            "div",
            el("div", *_stages(stages, ids), class_="card"),
            el("div", _no_bids(result, ids), _losses(result, ids), class_="stack"),
            class_="pair",
        ),
        _targeting(result.campaigns) if result.campaigns else None,
        _campaign_funnels(result.campaigns) if result.campaigns else None,
    )


def _stages(stages: Sequence[tuple[str, int]], ids: ChartIds) -> list[Markup]:
    rows, lines = [], []
    before: tuple[str, int] | None = None
    for name, number in stages:
        part = share(number, before[1]) if before else None
        value = text.count(number)
        if before:
            value += f"  ({text.percent(part)} of {before[0].lower()})"
        rows.append(BarRow(name, value, (Bar(part or 0.0 if before else 1.0, "spend"),)))
        lines.append([name, text.count(number), text.percent(part) if before else text.DASH])
        before = (name, number)
    said = ", ".join(f"{name.lower()} {text.count(number)}" for name, number in stages)
    columns = [column("Step"), column("Count"), column("Of the step before")]
    return [
        el("h3", "From opportunity to conversion"),
        el("p", "Each bar is the share of the step before it.", class_="note"),
        bar_chart(ids, "From opportunity to conversion", f"In order: {said}.", rows),
        data_details("Data", table("Steps of the funnel", columns, lines)),
    ]


def _no_bids(result: RunResult, ids: ChartIds) -> Markup:
    whole = result.opportunities - result.bids
    parts = _drops("Why no bid was made", "opportunities without a bid", result.reasons, whole, ids)
    return el("div", *parts, class_="card")


def _losses(result: RunResult, ids: ChartIds) -> Markup | None:
    if not result.losses:
        return None
    whole = result.bids - result.wins
    parts = _drops("Why bids did not win", "bids without a win", result.losses, whole, ids)
    return el("div", *parts, class_="card")


def _drops(heading: str, noun: str, counts: Mapping[str, int], whole: int, ids: ChartIds) -> list[Markup]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    entries = [(words(name), number, "drop") for name, number in ranked]
    missing = whole - sum(counts.values())
    if missing:
        entries.append(("Not explained" if missing > 0 else "Counted twice", abs(missing), "fault"))
    shown = [entry for entry in entries if entry[1]]
    if len(shown) > _MOST_REASONS:
        rest = shown[_MOST_REASONS - 1 :]
        shown = [
            *shown[: _MOST_REASONS - 1],
            (f"{len(rest)} other reasons", sum(number for _, number, _ in rest), "drop"),
        ]
    rows = [
        BarRow(
            name,
            f"{text.count(number)}  ({text.percent(share(number, whole))})",
            (Bar(share(number, whole) or 0, tone),),
        )
        for name, number, tone in shown
    ]
    columns = [column("Reason"), column("Count"), column(f"Of {noun}")]
    body = [[name, text.count(number), text.percent(share(number, whole))] for name, number, _ in entries]
    foot = ["All", text.count(whole), text.percent(share(whole, whole))]
    return [
        el("h3", heading),
        el("p", f"{text.count(whole)} {noun}.", class_="note"),
        bar_chart(ids, heading, f"{text.count(whole)} {noun}, by reason.", rows) if rows else Markup(),
        data_details("Data", table(heading, columns, body, foot)),
    ]


def _named(counts: Mapping[str, int], most: int) -> tuple[list[str], list[str]]:
    """The names that count most, and those of the rest that count at all: a column of zeros says nothing."""
    ranked = sorted((name for name, count in counts.items() if count), key=lambda name: (-counts[name], name))
    # One name alone takes as much room as a column of the rest.
    return (ranked, []) if len(ranked) <= most + 1 else (ranked[:most], ranked[most:])


def _cells(counts: Mapping[str, int], named: Sequence[str], others: Sequence[str]) -> list[Content]:
    """Counts by name, those of the rest in one."""
    cells: list[Content] = [text.count(counts.get(name, 0)) for name in named]
    return [*cells, *([text.count(sum(counts.get(name, 0) for name in others))] if others else [])]


def _targeting(campaigns: Sequence[CampaignResult]) -> Markup | None:
    """What targeting left of all that was asked; nothing where nobody counted."""
    merged = merged_rows("", f"All {len(campaigns)} campaigns", campaigns)
    if not merged.asked:
        return None
    named, others = _named(merged.refused, _MOST_REASON_COLUMNS)

    def cells(row: CampaignResult) -> list[Content]:
        return [
            name_cell(row),
            text.count(row.asked),
            *_cells(row.refused, named, others),
            text.count(row.eligible),
            text.percent(share(row.eligible, row.asked)),
        ]

    columns = [
        column("Campaign"),
        column("Asked"),
        *(column(f"{_LESS}{refusal_words(name)}") for name in named),
        *([column(f"{_LESS}Other rules")] if others else []),
        column("= Eligible"),
        column("Of asked"),
    ]
    note = "Every opportunity is held against each line item; its first rule that refuses drops it."
    return el(
        "div",
        el("h3", "What targeting left to each campaign"),
        el("p", note, class_="note"),
        table("Targeting by campaign", columns, [cells(row) for row in with_rest(campaigns)], cells(merged)),
        class_="card",
        style="margin-top:14px",
    )


def _campaign_funnels(campaigns: Sequence[CampaignResult]) -> Markup:
    merged = merged_rows("", f"All {len(campaigns)} campaigns", campaigns)
    named, others = _named(merged.funnel, _MOST_REASON_COLUMNS)
    rows = with_rest(campaigns)
    gap = any(row.eligible - row.bids != sum(row.funnel.values()) for row in campaigns)

    def cells(row: CampaignResult) -> list[Content]:
        dropped = sum(row.funnel.values())
        return [
            name_cell(row),
            text.count(row.eligible),
            *_cells(row.funnel, named, others),
            *([el("span", text.count(row.eligible - row.bids - dropped), class_="bad")] if gap else []),
            text.count(row.bids),
            text.count(row.wins),
            text.percent(win_rate(row.wins, row.bids)),
            text.count(row.impressions),
            text.count(row.clicks),
            text.count(row.conversions),
        ]

    columns = [
        column("Campaign"),
        column("Eligible", "Eligible"),
        *(column(f"{_LESS}{words(name)}") for name in named),
        *([column(f"{_LESS}Other reasons")] if others else []),
        *([column(f"{_LESS}Not explained")] if gap else []),
        column("= Bids"),
        column("Wins"),
        column("Win rate", "Win rate"),
        column("Impressions", "Impressions"),
        column("Clicks"),
        column("Conversions"),
    ]
    return el(
        "div",
        el("h3", "Why each campaign delivered what it did"),
        el("p", "Eligible opportunities, less what dropped them before a bid, are the bids.", class_="note"),
        table("Funnel by campaign", columns, [cells(row) for row in rows], cells(merged)),
        class_="card",
        style="margin-top:14px",
    )
