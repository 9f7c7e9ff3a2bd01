"""The page of an estimate: curves with bands, every number, dearer prices, explored bids, assumptions."""

from collections.abc import Sequence

from models.pages.blocks import (
    Column,
    Figure,
    card,
    document,
    facts,
    figures,
    glossary,
    header,
    pair,
    section,
    table,
)
from models.pages.charts import Axis, ChartIds, Series, legend, plane_chart
from models.pages.markup import Markup, el
from models.pages.text import count, percent
from simulator.estimate.estimate import Estimates, Point
from simulator.estimate.intervals import Measure
from simulator.estimate.report import Report, asked_of, cells, check_line, counted, scenarios_said
from simulator.report.text import money

_HOW = {
    "Spend": "what the live controller spends of the budget on the auctions of the log, played again",
    "Clicks": "as they were where the log knows them, else the predicted probability, corrected by what was seen of "
    "impressions that were won at that prediction and price",
    "Interval": "95 %: users, or quarters of an hour, drawn again with replacement, and on each draw the "
    "law of prices, the correction and the controller anew; Student's t on roots of counts, logarithms of ratios",
    "Drawn": "share of the spend that goes to auctions which were lost then, at prices drawn from the product limit "
    "of their stratum, given that they are above the bid that lost",
    "Refused": "bids whose 99 % quantile is above twice that of the logged bids: nothing is known of prices there",
    "Dearer prices": "every price times a factor, the budget spent again: what rivals that react could do",
    "Explored bids": "the doubly robust estimate on bids that exploration drew, beside what the replay says of "
    "them; standard error and deviations by the chances that the replay itself gives",
}
_COLUMNS = (
    Column("Asked"), Column("Spend", _HOW["Spend"]), Column("Impressions"), Column("Clicks", _HOW["Clicks"]),
    Column("Conversions"), Column("Value"), Column("ROI", "value over spend"), Column("CPA", "spend a conversion"),
    Column("Drawn", _HOW["Drawn"]),
)  # fmt: skip


def render(found: Report) -> str:
    """The whole page: one HTML document that loads nothing."""
    ids = ChartIds()
    one = found.estimates
    return document(
        f"Estimate of {one.campaign}",
        _header(found),
        figures(_figures(one)),
        _curves(one, ids),
        section(
            "Every number", "Estimate, and in brackets its 95 % interval.",
            card(table("Estimates", _COLUMNS, [cells(point) for point in one.points if point.refused is None])),
        ),
        _refused(one.points),
        _shifts(one.points),
        _checks(found),
        section("What is taken for granted", None, card(el("ul", *(el("li", note) for note in found.notes)))),
        section("Conditions", None, card(facts(_conditions(found)))),
        glossary(_HOW),
    )  # fmt: skip


def _header(found: Report) -> Markup:
    one = found.estimates
    answered = [point for point in one.points if point.refused is None]
    lead = "Nothing could be estimated: every question is beyond what was bid."
    if answered:
        best = answered[-1]
        lead = f"{asked_of(best)}: {counted(best.clicks)} clicks, {counted(best.conversions)} conversions."
    refused = len(answered) < len(one.points)
    return header(
        f"Estimate: {one.campaign}", lead, f"{found.source}, {found.currency}", scenarios_said(one.points),
        good=not refused, care=refused,
    )  # fmt: skip


def _figures(one: Estimates) -> list[Figure]:
    return [
        Figure("Auctions", count(one.opportunities), f"{count(one.wins)} won"),
        Figure("Spent", money(one.spend_nanos), "in the log"),
        Figure("Clicks", count(one.clicks), f"{count(one.conversions)} conversions"),
        Figure("Draws", count(one.draws), f"of {one.grouped}, seed {one.seed}"),
    ]


def _curves(one: Estimates, ids: ChartIds) -> Markup | None:
    points = sorted(
        (point for point in one.points if point.refused is None and point.spend_nanos.point),
        key=lambda point: point.spend_nanos.point or 0.0,
    )
    if len(points) < 2:
        return None
    drawn = [
        _curve(ids, name, points, [getattr(point, field) for point in points], scale)
        for name, field, scale in (
            ("Clicks", "clicks", 1.0), ("Conversions", "conversions", 1.0), ("Value", "value_nanos", 1e-9),
            ("ROI", "roi", 1.0),
        )
    ]  # fmt: skip
    return section(
        "What money brings",
        "Solid: the estimate; dashed: the ends of its 95 % interval.",
        pair(*filter(None, drawn)),
    )


def _curve(
    ids: ChartIds, name: str, points: Sequence[Point], measures: Sequence[Measure], scale: float
) -> Markup | None:
    told = [
        (
            (point.spend_nanos.point or 0.0) * 1e-9,
            one.point * scale,
            (one.low or 0.0) * scale,
            (one.high or 0.0) * scale,
        )
        for point, one in zip(points, measures, strict=True)
        if one.point is not None
    ]
    if len(told) < 2 or max(row[3] for row in told) <= 0.0:
        return None
    series = (
        Series(name, tuple((x, y) for x, y, _, _ in told), "spend", marked=True),
        Series("low end", tuple((x, low) for x, _, low, _ in told), "plan"),
        Series("high end", tuple((x, high) for x, _, _, high in told), "plan"),
    )
    across = _axis("spend", max(row[0] for row in told))
    upward = _axis(name.lower(), max(row[3] for row in told))
    return card(
        el("h3", name),
        legend(series[:2]),
        plane_chart(ids, f"{name} by spend", "The estimate between two dashed lines.", across, upward, series),
    )  # fmt: skip


def _axis(name: str, top: float) -> Axis:
    return Axis(name, 0.0, top, tuple((top * part, f"{top * part:.3g}") for part in (0.0, 0.5, 1.0)))


def _refused(points: Sequence[Point]) -> Markup | None:
    refused = [point for point in points if point.refused is not None]
    if not refused:
        return None
    rows = [(asked_of(point), point.refused or "") for point in refused]
    return section("Refused", _HOW["Refused"], card(facts(rows)))


def _shifts(points: Sequence[Point]) -> Markup | None:
    rows = [
        [
            f"{asked_of(point)}, prices x {shift.price_factor:g}", money(round(shift.spend_nanos)),
            f"{shift.clicks:,.1f}", f"{shift.conversions:,.1f}", money(round(shift.value_nanos)),
        ]
        for point in points
        for shift in point.shifts
    ]  # fmt: skip
    if not rows:
        return None
    columns = [Column(name) for name in ("Asked", "Spend", "Clicks", "Conversions", "Value")]
    return section("Dearer prices", _HOW["Dearer prices"], card(table("Prices moved", columns, rows)))


def _checks(found: Report) -> Markup | None:
    if not found.checks:
        return None
    lines = [el("li", check_line(check)) for check in found.checks]
    return section("Explored bids", _HOW["Explored bids"], card(el("ul", *lines)))


def _conditions(found: Report) -> list[tuple[str, str]]:
    one = found.estimates
    drawn = max((point.extrapolated for point in one.points), default=0.0)
    return [
        ("Seed", str(one.seed)),
        ("Draws", f"{one.draws}, by {one.grouped}"),
        ("Largest share drawn", percent(drawn)),
        ("Money", found.currency),
    ]
