"""The page of estimates: every campaign with curves and bands, all numbers, dearer prices, explored bids."""

from collections.abc import Sequence

from models.pages.axes import round_axis, short
from models.pages.blocks import (
    Column,
    Figure,
    card,
    document,
    facts,
    figures,
    glossary,
    grid,
    header,
    section,
    table,
    two_lines,
)
from models.pages.charts import ChartIds, Series, plane_chart
from models.pages.markup import Markup, el, join
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
    "ROI": "(value - spend) / spend: what is gained above the money spent; at 0 % the money is back",
    "On drawn prices": "share of the spend that goes to auctions which were lost then, at prices drawn from the "
    "product limit of their stratum, given that they are above the bid that lost",
    "Refused": "bids whose 99 % quantile is above twice that of the logged bids: nothing is known of prices there",
    "Dearer prices": "every price times a factor, the budget spent again: what rivals that react could do",
    "Explored bids": "the doubly robust estimate on bids that exploration drew, beside what the replay says of "
    "them; how often chance alone parts them so far is by the chances that the replay itself gives, whose law is "
    "skewed: dividing the difference by its standard error, in the JSON object, tells less",
}
_COLUMNS = (
    Column("Asked"), Column("Spend", _HOW["Spend"]), Column("Impressions"), Column("Clicks", _HOW["Clicks"]),
    Column("Conversions"), Column("Value"), Column("ROI", _HOW["ROI"]), Column("CPA", "spend a conversion"),
    Column("On drawn prices", _HOW["On drawn prices"]),
)  # fmt: skip

_DRAWN = (
    ("Clicks", "clicks", 1.0), ("Conversions", "conversions", 1.0), ("Value", "value_nanos", 1e-9),
    ("ROI", "roi", 1.0),
)  # fmt: skip
"""Measures that have a picture: name, field, and what makes people's units of it."""


def render(found: Sequence[Report]) -> str:
    """The whole page, of all campaigns that were estimated: one HTML document that loads nothing.

    Args:
        found: reports of one history, at least one.
    """
    ids = ChartIds()
    one = found[0]
    title = (
        f"Estimate of {one.estimates.campaign}" if len(found) == 1 else f"Estimates of {len(found)} campaigns"
    )
    return document(
        title,
        _header(found, title),
        figures(_figures(found)),
        _overview(found, ids),
        *(_campaign(report, ids, several=len(found) > 1) for report in found),
        section("What is taken for granted", None, card(el("ul", *(el("li", note) for note in one.notes)))),
        section("Conditions", None, card(facts(_conditions(found)))),
        glossary(_HOW),
    )


def _header(found: Sequence[Report], title: str) -> Markup:
    points = [point for report in found for point in report.estimates.points]
    answered = [point for point in points if point.refused is None]
    lead = "Nothing could be estimated: every question is beyond what was bid."
    if answered and len(found) == 1:
        best = answered[-1]
        lead = f"{asked_of(best)}: {counted(best.clicks)} clicks, {counted(best.conversions)} conversions."
    elif answered:
        lead = "What other budgets would have brought each campaign, and how sure that is."
    refused = len(answered) < len(points)
    return header(
        title,
        lead,
        f"{found[0].source}, {found[0].currency}",
        scenarios_said(points),
        good=not refused,
        care=refused,
    )


def _figures(found: Sequence[Report]) -> list[Figure]:
    each = [report.estimates for report in found]
    one = each[0]
    return [
        Figure(
            "Auctions",
            count(sum(one.opportunities for one in each)),
            f"{count(sum(one.wins for one in each))} won",
        ),
        Figure("Spent", money(sum(one.spend_nanos for one in each)), "in the log"),
        Figure(
            "Clicks",
            count(sum(one.clicks for one in each)),
            f"{count(sum(one.conversions for one in each))} conversions",
        ),
        Figure("Draws", count(one.draws), f"of {one.grouped}, seed {one.seed}"),
    ]


def _overview(found: Sequence[Report], ids: ChartIds) -> Markup | None:
    """Small pictures of all campaigns, each leading to its own part."""
    if len(found) == 1:
        return None
    cards = []
    for report in found:
        one = report.estimates
        name, field, scale = ("Value", "value_nanos", 1e-9) if _has_value(one) else ("Clicks", "clicks", 1.0)
        drawn = _plane(ids, name, _answered(one), field, scale, whose=one.campaign)
        spent = f"Spent {money(one.spend_nanos)}, {count(one.clicks)} clicks, {count(one.conversions)} conversions."
        nothing = el("p", "Fewer than two budgets could be answered.", class_="note")
        link = el("a", one.campaign, href=f"#{_anchor(one)}")
        cards.append(card(el("h3", link), el("p", spent, class_="note"), drawn or nothing))
    note = "What each campaign would have got for other amounts spent. Its name leads to all of its numbers."
    return section("All campaigns", note, grid(*cards))


def _campaign(report: Report, ids: ChartIds, *, several: bool) -> Markup:
    """All that is told of one campaign; of several in a part that opens."""
    one = report.estimates
    rows = [[*map(two_lines, cells(point))] for point in one.points if point.refused is None]
    parts = join(
        _curves(one, ids),
        section(
            "Every number", "Each estimate, and below it its 95 % interval.",
            card(table("Estimates", _COLUMNS, rows, stacks=True)),
        ),
        _refused(one.points),
        _shifts(one.points),
        _checks(report),
    )  # fmt: skip
    if not several:
        return parts
    # The name that links lead to stands inside, so that a browser opens the part for it.
    return el("details", el("summary", one.campaign), el("div", parts, id=_anchor(one)), class_="part")


def _anchor(one: Estimates) -> str:
    """An id that every campaign has a different one of, whatever its name is made of."""
    return "campaign-" + one.campaign.encode().hex()


def _answered(one: Estimates) -> list[Point]:
    """Points that can be drawn, by what they spend."""
    return sorted(
        (point for point in one.points if point.refused is None and point.spend_nanos.point),
        key=lambda point: point.spend_nanos.point or 0.0,
    )


def _has_value(one: Estimates) -> bool:
    return any((point.value_nanos.point or 0.0) > 0.0 for point in one.points)


def _curves(one: Estimates, ids: ChartIds) -> Markup | None:
    points = _answered(one)
    if len(points) < 2:
        return None
    drawn = []
    for name, field, scale in _DRAWN:
        plane = _plane(ids, name, points, field, scale)
        if plane is not None:
            drawn.append(card(el("h3", name), plane))
    note = "Solid: the estimate; dashed: the ends of its 95 % interval. Money is in units of the account."
    return section("What money brings", note, grid(*drawn))


def _plane(
    ids: ChartIds, name: str, points: Sequence[Point], field: str, scale: float, whose: str = ""
) -> Markup | None:
    """A measure over what is spent; None where there is nothing to draw."""
    told = []
    for point in points:
        one: Measure = getattr(point, field)
        if one.point is not None and one.low is not None and one.high is not None:
            spend = (point.spend_nanos.point or 0.0) * 1e-9
            told.append((spend, one.point * scale, one.low * scale, one.high * scale))
    if len(told) < 2 or max(row[3] for row in told) <= 0.0:
        return None
    series = (
        Series("low end", tuple((x, low) for x, _, low, _ in told), "plan"),
        Series("high end", tuple((x, high) for x, _, _, high in told), "plan"),
        Series(name, tuple((x, y) for x, y, _, _ in told), "spend", marked=True),
    )
    share = field == "roi"
    upward = round_axis(
        name,
        min(0.0, *(row[2] for row in told)),
        max(row[3] for row in told),
        _whole_percent if share else short,
    )
    across = round_axis("spend", 0.0, max(row[0] for row in told))
    title = f"{name} by spend{f', {whose}' if whose else ''}"
    return plane_chart(ids, title, "The estimate between two dashed lines.", across, upward, series)


def _whole_percent(value: float) -> str:
    return f"{value:,.0%}"


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


def _conditions(found: Sequence[Report]) -> list[tuple[str, str]]:
    one = found[0].estimates
    drawn = max((point.extrapolated for report in found for point in report.estimates.points), default=0.0)
    return [
        ("Seed", str(one.seed)),
        ("Draws", f"{one.draws}, by {one.grouped}"),
        ("Largest share on drawn prices", percent(drawn)),
        ("Money", found[0].currency),
    ]
