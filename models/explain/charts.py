"""Bars that begin anywhere: a walk from a base to a total, or amounts to either side of nothing."""

from collections.abc import Sequence
from typing import NamedTuple

from models.pages.charts import WIDTH, ChartIds, svg
from models.pages.markup import Markup, el, join

_ROW, _BAR = 40, 9
UP, DOWN, WHOLE = "value", "fault", "spend"
"""Classes of the style sheet: what adds, what takes away, and a total."""


class SpanRow(NamedTuple):
    """A label on the left, its number on the right, beneath them a bar from `begin` to `end`."""

    label: str
    value: str
    begin: float
    end: float
    tone: str


def signed(label: str, value: str, amount: float) -> SpanRow:
    """A bar from nothing to an amount, coloured by its sign."""
    return SpanRow(label, value, 0.0, amount, UP if amount > 0 else DOWN)


def span_chart(ids: ChartIds, title: str, description: str, rows: Sequence[SpanRow], mark: float) -> Markup:
    """Rows one below the other on one scale, with an upright line at `mark`."""
    ends = [mark, *(row.begin for row in rows), *(row.end for row in rows)]
    low, width = min(ends), (max(ends) - min(ends)) or 1.0

    def at(value: float) -> float:
        return (value - low) / width * (WIDTH - 2) + 1.0

    height = _ROW * len(rows)
    line = el("line", x1=at(mark), y1=0, x2=at(mark), y2=height, class_="grid")
    drawn = [_row(row, place * _ROW, at(row.begin), at(row.end)) for place, row in enumerate(rows)]
    return svg(ids, (WIDTH, height), title, description, line, *drawn)


def _row(row: SpanRow, top: int, begin: float, end: float) -> Markup:
    left, length = min(begin, end), abs(end - begin)
    if row.begin != row.end:
        length = max(length, 1.5)  # what is there must be seen
    # About 7.5 units a character, as wide as the widest that are usual.
    room = int(WIDTH / 7.5) - len(row.value) - 1
    label = row.label if len(row.label) <= room else row.label[: max(room - 1, 1)] + "…"
    return join(
        el("text", label, x=0, y=top + 15, class_="row"),
        el("text", row.value, x=WIDTH, y=top + 15, class_="strong end row"),
        el("rect", x=0, y=top + 22, width=WIDTH, height=_BAR, rx=2, class_="track"),
        el("rect", x=min(left, WIDTH - 1.5), y=top + 22, width=length, height=_BAR, rx=2, class_=row.tone),
    )
