"""The sections of the page that part the rows: by column, and by group."""

import math
from collections.abc import Sequence

from models.evaluation.fairness import Fairness, GroupReport
from models.evaluation.intervals import Interval
from models.evaluation.leaning import EVENTS
from models.evaluation.report import ModelEvaluation
from models.evaluation.slices import ColumnReport, SliceReport
from models.evaluation.words import FORMULAS, NAMES, off_said, shown, shown_percent
from models.pages.blocks import Column, card, data_details, pair, section, table
from models.pages.charts import Axis, ChartIds, Series, legend
from models.pages.markup import Content, Markup, el
from models.pages.ranges import Mark, RangeRow, range_chart
from models.pages.text import DASH, count, percent

_RATIO_TICKS = (0.25, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 4.0)


def listed(sentences: Sequence[str]) -> Markup:
    """Sentences as a list."""
    return el("ul", *(el("li", said) for said in sentences), class_="list")


PART_COLUMNS = (
    Column("Part"),
    Column("Off", FORMULAS["Off"]),
    Column("Rows"),
    Column("Events"),
    Column("Rate", FORMULAS["Rate"]),
    Column("Predicted"),
    Column("Calibration", FORMULAS["Calibration"]),
    Column("AUC", FORMULAS["AUC"]),
    Column("NE", FORMULAS["NE"]),
)


def part_row(part: SliceReport) -> list[Content]:
    """The cells of `PART_COLUMNS`."""
    judged = part.judged
    state = "off" if part.flagged else "not tested" if part.p_value is None else "no"
    return [
        part.label,
        state,
        count(judged.rows),
        count(judged.positives),
        shown_percent(judged.rate),
        percent(judged.predicted.value, 2),
        shown(judged.calibration_ratio, 2),
        shown(judged.auc),
        shown(judged.normalized_entropy),
    ]


def columns_section(name: str, model: ModelEvaluation, ids: ChartIds) -> Markup:
    """A model by each column: calibration with intervals, and all numbers beneath."""
    note = (
        f"{off_said(model.columns)}. All are taken together. The line marks 1, right on the whole; an interval that "
        f"misses it is no proof where many are looked at."
    )
    cards = [_column_card(name, column, ids) for column in model.columns]
    return section(f"{NAMES[name]} by part", note, pair(*cards))


def _column_card(name: str, column: ColumnReport, ids: ChartIds) -> Markup:
    rows = [
        RangeRow(
            part.label,
            _ratio_text(part.judged.calibration_ratio),
            (_ratio_mark(part.judged.calibration_ratio, "fault" if part.flagged else "spend"),),
        )
        for part in column.slices
    ]
    said = f"{off_said([column])}."
    if column.overlapping:
        said += " A row may be in several parts, so that they do not sum to the whole."
    title = f"Calibration of {EVENTS[name]} by {column.column}"
    chart = range_chart(
        ids, title, said, rows, _ratio_axis(rows, f"{EVENTS[name]} predicted / happened"), 0.0
    )
    return card(
        el("h3", f"By {column.column}"),
        el("p", said, class_="note"),
        chart,
        data_details("Numbers", table(title, PART_COLUMNS, [part_row(part) for part in column.slices])),
    )


def _ratio_text(interval: Interval) -> str:
    return DASH if interval.value is None else f"{interval.value:.2f}"


def _ratio_mark(interval: Interval, tone: str) -> Mark:
    """On a scale where half and double are equally far from 1."""
    value, low, high = (math.log2(each) if each else None for each in interval)
    return Mark(value, low, high, tone)


def _ratio_axis(rows: Sequence[RangeRow], name: str) -> Axis:
    numbers = [
        abs(each) for row in rows for mark in row.marks for each in mark[:3] if isinstance(each, float)
    ]
    end = min(max([0.4, *numbers]) * 1.05, 2.0)
    ticks = tuple((math.log2(tick), f"{tick:g}") for tick in _RATIO_TICKS if -end <= math.log2(tick) <= end)
    if len(ticks) > 5:
        ticks = tuple(tick for tick in ticks if tick[1] in {"0.25", "0.5", "1", "2", "4"})
    return Axis(name, -end, end, ticks)


def fairness_section(fairness: Fairness, ids: ChartIds) -> Markup:
    """The groups against the whole, and what can not be said of them."""
    series = (Series("real click rate", (), "value"), Series("predicted click rate", (), "spend"))
    rows = [
        RangeRow(
            group.label,
            f"{_ratio_text(group.actual_ratio)} / {_ratio_text(group.predicted_ratio)}",
            (_ratio_mark(group.actual_ratio, "value"), _ratio_mark(group.predicted_ratio, "spend")),
        )
        for group in fairness.groups
    ]
    off = ", ".join(fairness.flagged)
    said = (
        f"Calibration is off by more than chance allows for {off}."
        if off
        else "No group's calibration is off by more than chance allows."
    )
    chart = range_chart(
        ids,
        f"Click rates of the groups of {fairness.column} against the whole",
        said,
        rows,
        _ratio_axis(rows, "click rate of the group / of the whole"),
        0.0,
    )
    numbers = table(
        f"Groups of {fairness.column}",
        _GROUP_COLUMNS,
        [_group_row(group) for group in fairness.groups],
        stacks=True,
    )
    rates = card(el("h3", "Click rates against the whole"), legend(series), chart)
    limits = card(el("h3", "What these numbers can not say"), listed(fairness.limits))
    shares = card(el("h3", "Shares and rates"), numbers)
    return section(
        f"Fairness by {fairness.column}", said, el("div", pair(rates, limits), shares, class_="stack")
    )


_GROUP_COLUMNS = (
    Column("Group"),
    Column("Impressions"),
    Column("Of impressions"),
    Column("Of bids", "Share of the bids, where the table has lost ones."),
    Column("Of spend", "Share of the money paid, where the table has prices."),
    Column("Price / whole", "Mean price of an impression / that of the whole."),
    Column("Click rate"),
    Column("Predicted"),
    Column("Calibration", FORMULAS["Calibration"]),
)


def _group_row(group: GroupReport) -> list[Content]:
    return [
        group.label,
        count(group.impressions),
        shown_percent(group.impression_share, 1),
        shown_percent(group.bid_share, 1),
        shown_percent(group.spend_share, 1),
        shown(group.price_ratio, 2),
        shown_percent(group.actual),
        shown_percent(group.predicted),
        shown(group.calibration_ratio, 2),
    ]
