"""Our own inline SVG: lines of spend against plan, and rows of bars; colours come from the style sheet.

Text is 12 or 13 units high in a drawing about as wide as a phone, so that it stays readable at any width. Each
chart carries a title and a description, and the page puts its numbers in a table.
"""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from simulator.report import text
from simulator.report.markup import Markup, el, join
from simulator.report.summary import CurvePoint

WIDTH = 400
_PACING_WIDTH, _PACING_HEIGHT = 320, 156
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 38.0, 272.0, 12.0, 132.0
_ROW_HEIGHT, _BAR_HEIGHT = 40, 9
_TWO_DAYS_NS = 48 * 3600 * 10**9


class Bar(NamedTuple):
    """One bar: its length as a fraction of the whole width, and the class that colours it."""

    fraction: float
    tone: str


class BarRow(NamedTuple):
    """A label on the left, its number on the right, bars beneath, each on a track that shows the whole."""

    label: str
    value: str
    bars: tuple[Bar, ...]
    tracked: bool = True


class ChartIds:
    """Gives each chart of a page ids of its own, which its title and description are named by."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def next(self) -> str:
        """An id that was not given before."""
        return f"chart-{next(self._numbers)}"


def thin(points: Sequence[CurvePoint], most: int) -> list[CurvePoint]:
    """At most `most` (>= 2) points in order of time, evenly picked, the first and the last among them."""
    ordered = sorted(points, key=lambda point: point.at_ns)
    if len(ordered) <= most:
        return ordered
    last = len(ordered) - 1
    return [ordered[index * last // (most - 1)] for index in range(most)]


def pacing_chart(
    ids: ChartIds, name: str, points: Sequence[CurvePoint], budget_nanos: int, span_ns: tuple[int, int]
) -> Markup:
    """Spend (line and area) against plan (dashes) of one campaign, both in percent of its budget.

    Args:
        ids: of the page.
        name: of the campaign, for the title.
        points: in order of time, at least one.
        budget_nanos: what 100 % is, > 0.
        span_ns: first and last moment of the time axis, the same for all charts beside each other.
    """
    top = max(1.0, *(max(point.spend_nanos, point.plan_nanos) / budget_nanos for point in points))
    start_ns, end_ns = span_ns

    def x(at_ns: int) -> float:
        fraction = (at_ns - start_ns) / (end_ns - start_ns) if end_ns > start_ns else 1.0
        return _PLOT_LEFT + min(max(fraction, 0.0), 1.0) * (_PLOT_RIGHT - _PLOT_LEFT)

    def y(amount_nanos: float) -> float:
        return _PLOT_BOTTOM - amount_nanos / budget_nanos / top * (_PLOT_BOTTOM - _PLOT_TOP)

    spend = [(x(point.at_ns), y(point.spend_nanos)) for point in points]
    plan = [(x(point.at_ns), y(point.plan_nanos)) for point in points]
    area = [(spend[0][0], _PLOT_BOTTOM), *spend, (spend[-1][0], _PLOT_BOTTOM)]
    spent = text.percent(points[-1].spend_nanos / budget_nanos)
    planned = text.percent(points[-1].plan_nanos / budget_nanos)
    return _svg(
        ids,
        (_PACING_WIDTH, _PACING_HEIGHT),
        f"Spend against plan of {name}",
        f"At the end {spent} of the budget was spent; the plan had foreseen {planned}.",
        *(_gridline(y(budget_nanos * percent / 100), f"{percent}%") for percent in (0, 50, 100)),
        *_time_labels(start_ns, end_ns),
        el("path", d=_path(area) + "Z", class_="area"),
        el("path", d=_path(plan), class_="line plan"),
        el("path", d=_path(spend), class_="line spend"),
        el("circle", cx=spend[-1][0], cy=spend[-1][1], r=3, class_="dot"),
        el("text", spent, x=spend[-1][0] + 6, y=spend[-1][1] + 4, class_="strong"),
    )


def bar_chart(ids: ChartIds, title: str, description: str, rows: Sequence[BarRow]) -> Markup:
    """Rows of labelled bars, one below the other."""
    heights = [_ROW_HEIGHT + (len(row.bars) - 1) * (_BAR_HEIGHT + 2) for row in rows]
    drawn, at = [], 0
    for row, height in zip(rows, heights, strict=True):
        drawn.append(_bar_row(row, at))
        at += height
    return _svg(ids, (WIDTH, at), title, description, *drawn)


def _bar_row(row: BarRow, top: int) -> Markup:
    bars = []
    for index, bar in enumerate(row.bars):
        y = top + 22 + index * (_BAR_HEIGHT + 2)
        # Something that is there must be seen, be it one in a million: its bar is at least 1.5 long.
        length = max(1.5, min(bar.fraction, 1.0) * WIDTH) if bar.fraction > 0 else 0.0
        if row.tracked:
            bars.append(el("rect", x=0, y=y, width=WIDTH, height=_BAR_HEIGHT, rx=2, class_="track"))
        bars.append(el("rect", x=0, y=y, width=length, height=_BAR_HEIGHT, rx=2, class_=bar.tone))
    # About 8 units a character: the label gets what the number leaves of the row.
    room = WIDTH // 8 - len(row.value)
    label = row.label if len(row.label) <= room else row.label[: max(room - 1, 1)] + "…"
    return join(
        el("text", label, x=0, y=top + 15, class_="row"),
        el("text", row.value, x=WIDTH, y=top + 15, class_="strong end row"),
        *bars,
    )


def _svg(ids: ChartIds, size: tuple[int, int], title: str, description: str, *content: Markup) -> Markup:
    key = ids.next()
    return el(
        "svg",
        el("title", title, id=f"{key}-title"),
        el("desc", description, id=f"{key}-desc"),
        *content,
        viewBox=f"0 0 {size[0]} {size[1]}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def _gridline(y: float, label: str) -> Markup:
    return join(
        el("line", x1=_PLOT_LEFT, y1=y, x2=_PLOT_RIGHT, y2=y, class_="grid"),
        el("text", label, x=_PLOT_LEFT - 6, y=y + 4, class_="end"),
    )


def _time_labels(start_ns: int, end_ns: int) -> list[Markup]:
    form = "%d %b" if end_ns - start_ns > _TWO_DAYS_NS else "%H:%M"
    y = _PLOT_BOTTOM + 18
    moments = ((start_ns, _PLOT_LEFT, "start"), (end_ns, _PLOT_RIGHT, "end"))
    return [el("text", text.moment(at_ns, form), x=x, y=y, class_=anchor) for at_ns, x, anchor in moments] + [
        el(
            "text",
            text.moment((start_ns + end_ns) // 2, form),
            x=(_PLOT_LEFT + _PLOT_RIGHT) / 2,
            y=y,
            class_="middle",
        )
    ]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
