"""Rows of numbers with their intervals over one axis, such as calibration by campaign with 1 marked."""

from collections.abc import Sequence
from typing import NamedTuple

from models.pages.charts import WIDTH, Axis, ChartIds, svg
from models.pages.markup import Markup, el, join

_ROW_HEIGHT, _MARK_HEIGHT, _FOOT = 40, 11, 24
_LEFT, _RIGHT = 6.0, WIDTH - 6.0
_LABEL_ROOM = WIDTH // 8


class Mark(NamedTuple):
    """A dot at `value`, a line from `low` to `high` where they are known, and the class that colours them."""

    value: float | None
    low: float | None
    high: float | None
    tone: str


class RangeRow(NamedTuple):
    """A label on the left, its number on the right, marks beneath, one below the other."""

    label: str
    value: str
    marks: tuple[Mark, ...]


def range_chart(
    ids: ChartIds, title: str, description: str, rows: Sequence[RangeRow], axis: Axis, reference: float
) -> Markup:
    """Rows of marks; what lies outside the axis is drawn at its edge.

    Args:
        ids: of the page.
        title: of the chart.
        description: what it shows, for those who can't see it.
        rows: at least one.
        axis: the ends, and the ticks below the last row.
        reference: where a line goes down through all rows.
    """
    drawn, at = [], 0
    for row in rows:
        drawn.append(_row(row, at, axis))
        at += _ROW_HEIGHT + (len(row.marks) - 1) * _MARK_HEIGHT
    line = el("path", d=f"M{_x(reference, axis):.1f} 20L{_x(reference, axis):.1f} {at}", class_="line plan")
    ticks = [
        el("text", label, x=_x(value, axis), y=at + 14, class_=_anchor(value, axis))
        for value, label in axis.ticks
    ]
    name = el("text", axis.name, x=WIDTH / 2, y=at + 30, class_="middle")
    return svg(ids, (WIDTH, at + _FOOT + 12), title, description, line, *drawn, *ticks, name)


def _row(row: RangeRow, top: int, axis: Axis) -> Markup:
    room = _LABEL_ROOM - len(row.value)
    label = row.label if len(row.label) <= room else row.label[: max(room - 1, 1)] + "…"
    marks = [_mark(mark, top + 27 + place * _MARK_HEIGHT, axis) for place, mark in enumerate(row.marks)]
    return join(
        el("text", label, x=0, y=top + 15, class_="row"),
        el("text", row.value, x=WIDTH, y=top + 15, class_="strong end row"),
        *marks,
    )


def _mark(mark: Mark, y: int, axis: Axis) -> Markup:
    if mark.value is None:
        return join()
    line = None
    if mark.low is not None and mark.high is not None:
        line = el(
            "path",
            d=f"M{_x(mark.low, axis):.1f} {y}L{_x(mark.high, axis):.1f} {y}",
            class_=f"line {mark.tone}",
        )
    return join(line, el("circle", cx=_x(mark.value, axis), cy=y, r=4, class_=mark.tone))


def _x(value: float, axis: Axis) -> float:
    width = axis.high - axis.low
    share = min(max((value - axis.low) / width, 0.0), 1.0) if width > 0 else 0.5
    return _LEFT + share * (_RIGHT - _LEFT)


def _anchor(value: float, axis: Axis) -> str:
    """Ticks at the ends stay inside the drawing."""
    return "" if value <= axis.low else "end" if value >= axis.high else "middle"
