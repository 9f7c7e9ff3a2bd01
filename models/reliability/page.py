"""The page of a calibration: a sentence, the overall ratios, plots by tenths, every number in a table."""

import math
from collections.abc import Sequence

import msgspec

from models.pages.blocks import (
    Column,
    Figure,
    card,
    data_details,
    document,
    figures,
    glossary,
    grid,
    header,
    section,
    table,
)
from models.pages.charts import Axis, ChartIds, Series, legend, plane_chart
from models.pages.markup import Markup, el
from models.pages.text import DASH, count, counted, percent, ratio
from models.reliability.ratios import MIN_EVENTS, Ratio, Tenth
from models.reliability.report import PREDICTION, ModelReliability

LOW, HIGH = 0.95, 1.05
_MICROS = 1_000_000
_TEN = math.log2(10.0)
_EVENTS = {"ctr": "Clicks", "cvr": "Conversions"}
_HOW = {
    "Ratio": "sum of probabilities over number of events; 1 is right, above 1 promises too much",
    "Interval": "95%, of the weighted sum of rare events (Fay and Feuer 1997), wider where users have several",
    "As if all were won": "rows weighted by one over their chance to win, clipped",
    "Effective rows": "(sum of weights)^2 / sum of squared weights: of how many equal rows they are worth",
    "Tenth": "ten groups of equally many rows in the order of a value; equal values stay together",
}


class Shown(msgspec.Struct, frozen=True):
    """One state of a model: a name such as `as it is` or `fitted again`, and how right it is."""

    name: str
    found: ModelReliability


def render(
    title: str,
    when: str,
    models: Sequence[Sequence[Shown]],
    notes: Sequence[str],
    changes: Sequence[str] = (),
) -> str:
    """The whole page.

    Args:
        title: what was measured. when: on what.
        models: for each model its states, the last is what the sentence speaks of.
        notes: what the numbers can not say. changes: what tables that were fitted again change.
    """
    ids = ChartIds()
    last = models[0][-1].found
    return document(
        title,
        header(
            "Calibration",
            sentence(last),
            when,
            verdict(last),
            good=is_good(last) and last.overall.positives >= MIN_EVENTS,
        ),
        figures(_figures(last)),
        _listed("What the new tables change", changes) if changes else None,
        *(_model(ids, states) for states in models),
        _listed("What this does not say", notes),
        glossary(_HOW),
    )


def _listed(heading: str, lines: Sequence[str]) -> Markup:
    return section(heading, None, card(el("ul", *(el("li", line) for line in lines), class_="list")))


def sentence(found: ModelReliability) -> str:
    """One sentence for people."""
    whole = found.overall
    events = _EVENTS.get(found.name, found.name)
    if whole.ratio is None or whole.low is None:
        return f"{events}: none happened among {counted(whole.rows, 'row')}, so nothing can be said."
    if not whole.excludes_one():
        said = f"predicted over happened is {interval(whole)}"
        if whole.positives < MIN_EVENTS:
            return f"{events}: {count(whole.positives)} of them on what was won are too few events to tell; {said}."
        if _is_narrow(whole):
            return f"{events} are predicted right on what was won: {said}."
        told = f"{count(whole.positives)} of them tell no more"
        return f"{events} on what was won do not show a wrong prediction, but {told}: {said}."
    way = "high" if whole.ratio > 1.0 else "low"
    ends = sorted((abs(whole.low - 1.0), abs((whole.high or whole.ratio) - 1.0)))
    return (
        f"{events} are predicted {percent(abs(whole.ratio - 1.0))} too {way} on what was won "
        f"(interval {percent(ends[0])} to {percent(ends[1])})."
    )


def _is_narrow(group: Ratio) -> bool:
    return group.low is not None and group.high is not None and group.low >= LOW and group.high <= HIGH


def is_good(found: ModelReliability) -> bool:
    """Whether no group's interval lies wholly outside the bounds."""
    groups = [found.overall, *(tenth.plain for tenths in found.tenths.values() for tenth in tenths)]
    return not any(_is_off(group) for group in groups)


def verdict(found: ModelReliability) -> str:
    """Good or bad, in words."""
    if found.overall.positives == 0:
        return "Nothing to judge by"
    off = [
        f"{sum(_is_off(tenth.plain) for tenth in tenths)} tenths by {key}"
        for key, tenths in found.tenths.items()
        if any(_is_off(tenth.plain) for tenth in tenths)
    ]
    if is_good(found) and found.overall.positives < MIN_EVENTS:
        return f"Too few events to judge by: {found.overall.positives}, at least {MIN_EVENTS} are needed"
    if is_good(found):
        return f"No group has an interval outside {LOW} to {HIGH}"
    return f"Interval outside {LOW} to {HIGH}: " + ", ".join(off or ["the whole"])


def _is_off(group: Ratio) -> bool:
    return (group.low is not None and group.low > HIGH) or (group.high is not None and group.high < LOW)


def interval(group: Ratio) -> str:
    """A ratio with its interval."""
    if group.ratio is None:
        return DASH
    return f"{ratio(group.ratio)} ({ratio(group.low, 2)}{DASH}{ratio(group.high, 2)})"


def _figures(found: ModelReliability) -> tuple[Figure, ...]:
    whole, weighted, won = found.overall, found.weighted, found.won
    effective = count(round(won.effective_rows)) if won else DASH
    clipped = f"{count(won.clipped)} clipped at {won.clip:g}" if won else "no weights"
    return (
        Figure("Ratio", ratio(whole.ratio, 3), interval(whole), _HOW["Ratio"]),
        Figure("As if all were won", ratio(weighted.ratio, 3) if weighted else DASH,
               interval(weighted) if weighted else "needs lost bids", _HOW["As if all were won"]),
        Figure("Events", count(whole.positives), f"of {counted(whole.rows, 'row')}"),
        Figure("Effective rows", effective, clipped, _HOW["Effective rows"]),
    )  # fmt: skip


def _model(ids: ChartIds, states: Sequence[Shown]) -> Markup:
    cards = []
    for state in states:
        for key, tenths in state.found.tenths.items():
            chart = _reliability if key == PREDICTION else _by_value
            cards.append(
                card(
                    el("h3", f"{state.name}, by {key}"),
                    chart(ids, f"{state.found.name} {state.name}", key, tenths),
                    data_details("Numbers", _tenths_table(f"{state.found.name} {state.name}", key, tenths)),
                )
            )
    events = _EVENTS.get(states[0].found.name, states[0].found.name)
    columns = (
        Column("State"),
        Column("Rows"),
        Column("Events"),
        Column("Ratio"),
        Column("As if all were won"),
    )
    rows = [
        (state.name, count(state.found.overall.rows), count(state.found.overall.positives),
         interval(state.found.overall), interval(state.found.weighted) if state.found.weighted else DASH)
        for state in states
    ]  # fmt: skip
    overall = card(table(f"{events}, overall", columns, rows))
    return section(events, None, el("div", overall, grid(*cards), class_="stack"))


def _reliability(ids: ChartIds, name: str, key: str, tenths: Sequence[Tenth]) -> Markup:
    points, bars = [], []
    for tenth in tenths:
        group = tenth.plain
        # Both rates are over the same rows, so the interval of the rate is that of the ratio, turned over.
        rows = group.predicted / _mean(tenth) if _mean(tenth) else 1.0
        points.append((group.predicted / rows, group.happened / rows))
        low = group.predicted / group.high / rows if group.high else 0.0
        high = group.predicted / group.low / rows if group.low else group.happened / rows
        bars.append((low, high))
    top = max(max(x, y, high) for (x, y), (_, high) in zip(points, bars, strict=True)) or 1.0
    ticks = tuple((top * k / 4, percent(top * k / 4, 2)) for k in range(5))
    lines = (
        Series("right", ((0.0, 0.0), (top, top)), "plan"),
        Series("tenths", tuple(points), "spend", marked=True, joined=False, bars=tuple(bars)),
    )
    axis = Axis("predicted; happened upwards", 0.0, top, ticks[:4])
    drawn = plane_chart(
        ids,
        f"{name} by {key}",
        "Rate that happened by rate predicted.",
        axis,
        Axis("", 0.0, top, ticks),
        lines,
    )
    return Markup(legend(lines) + drawn)


def _mean(tenth: Tenth) -> float:
    """Mean prediction of a tenth."""
    return tenth.plain.predicted / tenth.plain.rows if tenth.plain.rows else 0.0


def _by_value(ids: ChartIds, name: str, key: str, tenths: Sequence[Tenth]) -> Markup:
    known = [(place, tenth.plain) for place, tenth in enumerate(tenths, start=1) if tenth.plain.ratio]
    reach, ticks = _reach(
        [group.ratio for _, group in known], [end for _, group in known for end in (group.low, group.high)]
    )

    def log(value: float | None) -> float:
        return reach + 1.0 if value is None else math.log2(value)

    points = tuple((float(place), log(group.ratio)) for place, group in known)
    # What happened may be 0: the ratio has no upper end then, and the bar goes beyond the edge.
    bars = tuple((log(group.low), log(group.high)) for _, group in known)
    lines = (
        Series("right", ((0.5, 0.0), (len(tenths) + 0.5, 0.0)), "plan"),
        Series("predicted over happened", points, "spend", marked=True, joined=False, bars=bars),
    )
    x = Axis(
        f"tenth by {key}",
        0.5,
        len(tenths) + 0.5,
        tuple((float(k), str(k)) for k in range(1, len(tenths) + 1)),
    )
    y = Axis("", -reach, reach, ticks)
    drawn = plane_chart(
        ids,
        f"{name} by {key}",
        "Predicted over happened by tenth, on a logarithmic scale.",
        x,
        y,
        lines,
    )
    beyond = any(high > reach or low < -reach for low, high in bars)
    note = el(
        "p", "An arrow: the interval goes on beyond the axis; its ends are among the numbers.", class_="note"
    )
    return Markup(legend(lines) + drawn + (note if beyond else ""))


def _reach(
    ratios: Sequence[float | None], ends: Sequence[float | None]
) -> tuple[float, tuple[tuple[float, str], ...]]:
    """How far an axis goes either way of 1, in doublings, and its ticks: as far as the ratios, and intervals to ten.

    The interval of a tenth with one event goes to hundreds, and would press all others into a line.
    """
    reach, ticks = _doublings([*ratios, *ends])
    far = max((abs(math.log2(value)) for value in ratios if value), default=0.0)
    if reach <= _TEN:
        return reach, ticks
    if far < 0.98 * _TEN:
        return _TEN, tuple((math.log2(tick), f"{tick:g}") for tick in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
    return _doublings([2.0 ** (1.05 * far)])


def _doublings(values: Sequence[float | None]) -> tuple[float, tuple[tuple[float, str], ...]]:
    """How many doublings an axis must reach either way of 1 to hold all values, and its ticks."""
    logs = [abs(math.log2(value)) for value in values if value]
    reach = max(1, math.ceil(max(logs, default=0.0)))
    step = math.ceil(reach / 3)
    reach = math.ceil(reach / step) * step
    marks = range(-reach, reach + 1, step)
    return float(reach), tuple((float(mark), f"{2.0**mark:.3g}") for mark in marks)


def _tenths_table(name: str, key: str, tenths: Sequence[Tenth]) -> Markup:
    weighted = any(tenth.weighted for tenth in tenths)
    columns = [Column("Tenth"), Column("From"), Column("To"), Column("Events"), Column("Ratio")]
    columns += [Column("As if all were won", _HOW["As if all were won"])] if weighted else []
    rows = []
    for place, tenth in enumerate(tenths, start=1):
        cells = [str(place), value_text(key, tenth.begin), value_text(key, tenth.end)]
        cells += [count(tenth.plain.positives), interval(tenth.plain)]
        cells += [interval(tenth.weighted) if tenth.weighted else DASH] if weighted else []
        rows.append(tuple(cells))
    return table(f"{name} by {key}", columns, rows)


def value_text(key: str, value: float) -> str:
    """A probability or a price as people read it."""
    return percent(value, 3) if key == PREDICTION else f"{value / _MICROS:,.3g}"
