"""Lines of spend against plan; each chart's numbers stand in a table too."""

from collections.abc import Sequence

from models.pages.charts import ChartIds, gridline, path, svg
from models.pages.markup import Markup, el
from simulator.report import text
from simulator.report.summary import CurvePoint

_PACING_WIDTH, _PACING_HEIGHT = 320, 156
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 38.0, 272.0, 12.0, 132.0
_TWO_DAYS_NS = 48 * 3600 * 10**9


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
    return svg(
        ids,
        (_PACING_WIDTH, _PACING_HEIGHT),
        f"Spend against plan of {name}",
        f"At the end {spent} of the budget was spent; the plan had foreseen {planned}.",
        *(
            gridline(y(budget_nanos * percent / 100), f"{percent}%", (_PLOT_LEFT, _PLOT_RIGHT))
            for percent in (0, 50, 100)
        ),
        *_time_labels(start_ns, end_ns),
        el("path", d=path(area) + "Z", class_="area"),
        el("path", d=path(plan), class_="line plan"),
        el("path", d=path(spend), class_="line spend"),
        el("circle", cx=spend[-1][0], cy=spend[-1][1], r=3, class_="dot"),
        el("text", spent, x=spend[-1][0] + 6, y=spend[-1][1] + 4, class_="strong"),
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
