"""Our own inline SVG: rows of bars and lines over a plane; colours come from the style sheet.

Text is 12 or 13 units high in a drawing about as wide as a phone, so that it stays readable at any width. Each
chart carries a title and a description, and the page puts its numbers in a table.
"""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from models.pages.markup import Markup, el, join

WIDTH = 400
_ROW_HEIGHT, _BAR_HEIGHT = 40, 9
_PLANE_WIDTH, _PLANE_HEIGHT = 320, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 302.0, 26.0, 196.0


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


class Axis(NamedTuple):
    """One axis of a plane: its name, its ends, and how a number on it is written."""

    name: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


class Series(NamedTuple):
    """Points of a plane in the order in which a line joins them.

    tone: class that colours it (`spend`, `value`, `plan` is dashed). marked: dots at the points. joined: the line.
    bars: low and high end of each point, where it is uncertain; one that goes beyond the axis ends in an arrow.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    tone: str
    marked: bool = False
    joined: bool = True
    bars: tuple[tuple[float, float], ...] = ()


class ChartIds:
    """Gives each chart of a page ids of its own, which its title and description are named by."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def next(self) -> str:
        """An id that was not given before."""
        return f"chart-{next(self._numbers)}"


def bar_chart(ids: ChartIds, title: str, description: str, rows: Sequence[BarRow]) -> Markup:
    """Rows of labelled bars, one below the other."""
    heights = [_ROW_HEIGHT + (len(row.bars) - 1) * (_BAR_HEIGHT + 2) for row in rows]
    drawn, at = [], 0
    for row, height in zip(rows, heights, strict=True):
        drawn.append(_bar_row(row, at))
        at += height
    return svg(ids, (WIDTH, at), title, description, *drawn)


def plane_chart(
    ids: ChartIds, title: str, description: str, x: Axis, y: Axis, series: Sequence[Series]
) -> Markup:
    """Lines and dots over two axes, such as a calibration curve; what lies outside is drawn at the edge."""

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return (
            _LEFT + _within(point[0], x) * (_RIGHT - _LEFT),
            _BOTTOM - _within(point[1], y) * (_BOTTOM - _TOP),
        )

    drawn = [gridline(at((x.low, value))[1], label, (_LEFT, _RIGHT)) for value, label in y.ticks]
    drawn += [
        el("text", label, x=at((value, y.low))[0], y=_BOTTOM + 18, class_="middle")
        for value, label in x.ticks
    ]
    drawn.append(el("text", x.name, x=(_LEFT + _RIGHT) / 2, y=_BOTTOM + 36, class_="middle"))
    drawn.append(el("text", y.name, x=4, y=_TOP - 14))
    for line in series:
        places = [at(point) for point in line.points]
        if line.joined and len(places) > 1:
            drawn.append(el("path", d=path(places), class_=f"line {line.tone}"))
        for (left, _), (low, high) in zip(places, line.bars, strict=False):
            ends = at((x.low, low))[1], at((x.low, high))[1]
            drawn.append(el("path", d=path([(left, ends[0]), (left, ends[1])]), class_=f"line {line.tone}"))
            if high > y.high:
                drawn.append(_arrow(left, _TOP, 6.0, line.tone))
            if low < y.low:
                drawn.append(_arrow(left, _BOTTOM, -6.0, line.tone))
        if line.marked:
            drawn += [el("circle", cx=cx, cy=cy, r=3, class_=line.tone) for cx, cy in places]
    return svg(ids, (_PLANE_WIDTH, _PLANE_HEIGHT), title, description, *drawn)


def legend(series: Sequence[Series]) -> Markup:
    """Which line is which, to stand above a plane of several."""
    keys = [
        el(
            "span",
            el(
                "svg",
                el("path", d="M0 5L26 5", class_=f"line {line.tone}"),
                viewBox="0 0 26 10",
                aria_hidden="true",
            ),
            line.name,
        )
        for line in series
    ]
    return el("div", *keys, class_="legend")


def _arrow(x: float, y: float, back: float, tone: str) -> Markup:
    """The tip of a bar that goes on beyond the edge; `back` is how far its wings reach, down or up."""
    return el("path", d=path([(x - 4, y + back), (x, y), (x + 4, y + back)]), class_=f"line {tone} beyond")


def _within(value: float, axis: Axis) -> float:
    width = axis.high - axis.low
    return min(max((value - axis.low) / width, 0.0), 1.0) if width > 0 else 0.5


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


def svg(ids: ChartIds, size: tuple[int, int], title: str, description: str, *content: Markup) -> Markup:
    """A drawing that is named and described to those who cannot see it."""
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


def gridline(y: float, label: str, span: tuple[float, float]) -> Markup:
    """A level line from one end of `span` to the other, with its number on the left."""
    return join(
        el("line", x1=span[0], y1=y, x2=span[1], y2=y, class_="grid"),
        el("text", label, x=span[0] - 6, y=y + 4, class_="end"),
    )


def path(points: Sequence[tuple[float, float]]) -> str:
    """The points joined by straight lines."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
