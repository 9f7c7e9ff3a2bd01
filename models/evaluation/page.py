"""A judgement as one HTML page: the verdict in a sentence, then what backs it."""

import math
from collections.abc import Sequence

from models.evaluation.compare import Comparison
from models.evaluation.intervals import Interval, Judged
from models.evaluation.leaning import EVENTS
from models.evaluation.page_parts import PART_COLUMNS, columns_section, fairness_section, listed, part_row
from models.evaluation.report import Evaluation, ModelEvaluation
from models.evaluation.slices import ColumnReport
from models.evaluation.words import (
    FORMULAS,
    NAMES,
    calibration_said,
    comparison_said,
    off_said,
    ranking_said,
    sentence,
    shown,
    shown_percent,
    verdict,
)
from models.pages.blocks import (
    Column,
    Figure,
    card,
    data_details,
    document,
    figures,
    glossary,
    header,
    pair,
    section,
    table,
)
from models.pages.charts import Axis, ChartIds, Series, legend, plane_chart
from models.pages.markup import Content, Markup, el
from models.pages.text import DASH, count, counted, moment, percent


def render(evaluation: Evaluation) -> str:
    """The judgement as one HTML document that loads nothing, opens from disk and is well-formed XML too."""
    ids = ChartIds()
    said, good = verdict(evaluation)
    return document(
        f"Clearbid model evaluation: {evaluation.table}",
        header("Clearbid model evaluation", sentence(evaluation), _when(evaluation), said, good=good),
        _warnings(evaluation.warnings),
        figures([each for name, model in evaluation.models.items() for each in _figures(name, model.judged)]),
        *(_model(name, model, evaluation.labels, ids) for name, model in evaluation.models.items()),
        *(columns_section(name, model, ids) for name, model in evaluation.models.items() if model.columns),
        fairness_section(evaluation.fairness, ids) if evaluation.fairness else None,
        glossary(FORMULAS),
    )


def _when(evaluation: Evaluation) -> str:
    first, last = evaluation.table_window_ns
    drawn = "users" if evaluation.clusters == "user" else "stretches of time"
    weights = ", rows weighted" if evaluation.weighted else ""
    learned = "not known when its trees learned, calibrated on" if evaluation.brought else "trained on"
    said = (
        f"Model {evaluation.model} ({evaluation.hash[:12]}), {learned} {moment(evaluation.window_ns[0])} to "
        f"{moment(evaluation.window_ns[1])}; judged by {evaluation.table}, {moment(first)} to {moment(last)}"
        f"{', held-out rows only' if evaluation.held_out else ''}{weights}; {evaluation.draws} draws of {drawn}, "
        f"seed {evaluation.seed}"
    )
    if evaluation.against:
        said += f"; compared with {evaluation.against} ({(evaluation.against_hash or '')[:12]})"
    return said + "."


def _warnings(warnings: Sequence[str]) -> Markup | None:
    if not warnings:
        return None
    return section("Mind", None, card(listed(warnings)))


def _figures(name: str, judged: Judged) -> list[Figure]:
    rate = percent(judged.rate.value, 2)
    return [
        Figure(
            NAMES[name],
            count(judged.positives),
            f"of {counted(judged.rows, 'row')}, {rate}",
            FORMULAS["Rate"],
        ),
        Figure(
            "Calibration",
            _big(judged.calibration_ratio),
            _ends(judged.calibration_ratio),
            FORMULAS["Calibration"],
        ),
        Figure("NE", _big(judged.normalized_entropy), _ends(judged.normalized_entropy), FORMULAS["NE"]),
        Figure("AUC", _big(judged.auc), _ends(judged.auc), FORMULAS["AUC"]),
    ]


def _big(interval: Interval) -> str:
    return DASH if interval.value is None else f"{interval.value:.3f}"


def _ends(interval: Interval) -> str:
    if interval.value is None:
        return "not defined for these rows"
    if interval.low is None or interval.high is None:
        return "too few events for an interval"
    return f"95% interval {interval.low:.3f} to {interval.high:.3f}"


def _model(name: str, model: ModelEvaluation, labels: str, ids: ChartIds) -> Markup:
    cards = [_calibration_card(name, model.deciles, ids)]
    if model.gain:
        cards.append(_gain_card(name, model.gain, ids))
    numbers = [_metrics_card(model.judged)]
    if model.against is not None:
        numbers.append(_against_card(name, model.against))
    ranking = ranking_said(model.judged)
    note = f"{calibration_said(name, model.judged)} {ranking[0].upper()}{ranking[1:]}"
    if name == "cvr" and labels == "settled":
        note += " Labels are settled: clicks that were watched for as long as conversions may take."
    return section(NAMES[name], note, el("div", pair(*cards), pair(*numbers), class_="stack"))


def _calibration_card(name: str, deciles: ColumnReport, ids: ChartIds) -> Markup:
    parts = [part.judged for part in deciles.slices]
    numbers = [
        value
        for judged in parts
        for value in (judged.predicted.value, judged.rate.value, judged.rate.low, judged.rate.high)
        if value
    ]
    low, high = math.log10(min(numbers, default=0.001)), math.log10(max(numbers, default=1.0))
    low, high = low - 0.05 * (high - low) - 0.02, high + 0.05 * (high - low) + 0.02
    ticks = _log_ticks(low, high)
    points = tuple((_log(judged.predicted.value, low), _log(judged.rate.value, low)) for judged in parts)
    bars = tuple(_log_ends(judged.rate, low) for judged in parts)
    series = (
        Series("as predicted", ((low, low), (high, high)), "plan"),
        Series("as it was, with interval", points, "spend", marked=True, joined=False, bars=bars),
    )
    said = f"{off_said([deciles], 'tenth')}."
    if deciles.tested == 0:
        said = f"Too few {EVENTS[name]} to test the tenths of the rows."
    chart = plane_chart(
        ids,
        f"Predicted and real rate of {EVENTS[name]}",
        said,
        Axis("predicted rate", low, high, ticks),
        Axis("real rate", low, high, ticks),
        series,
    )
    rows = [part_row(part) for part in deciles.slices]
    return card(
        el("h3", "Predicted and real rate"),
        el("p", said, class_="note"),
        legend(series),
        chart,
        data_details("Numbers", table("Calibration by tenth of the rows", PART_COLUMNS, rows)),
    )


def _log(value: float | None, low: float) -> float:
    return math.log10(value) if value else low


def _log_ends(interval: Interval, low: float) -> tuple[float, float]:
    if interval.low is None or interval.high is None:
        return (_log(interval.value, low),) * 2
    return _log(interval.low, low), _log(interval.high, low)


def _log_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """1, 2 and 5 of each power of ten, in percent; only the powers where that would be too many."""
    powers = range(math.floor(low) - 1, math.ceil(high) + 1)
    found = [(math.log10(digit) + power, digit * 10.0**power) for power in powers for digit in (1, 2, 5)]
    inside = [(at, f"{value * 100:.4g}%") for at, value in found if low <= at <= high]
    if len(inside) > 6:
        inside = [(at, label) for at, label in inside if label.strip("0.%").startswith("1")]
    return tuple(inside)


def _gain_card(name: str, gain: Sequence[tuple[float, float]], ids: ChartIds) -> Markup:
    at_tenth = {round(rows, 2): hits for rows, hits in gain}.get(0.1, 0.0)
    said = (
        f"The tenth of the rows with the highest predictions holds {percent(at_tenth)} of the {EVENTS[name]}."
    )
    series = (
        Series("by chance", ((0.0, 0.0), (1.0, 1.0)), "plan"),
        Series("by this model", tuple(gain), "spend"),
    )
    ticks = tuple((tenth / 4, f"{tenth * 25}%") for tenth in range(5))
    chart = plane_chart(
        ids,
        f"Gain of {EVENTS[name]}",
        said,
        Axis("rows, highest predictions first", 0.0, 1.06, ticks),
        Axis(f"share of {EVENTS[name]}", 0.0, 1.08, ticks),
        series,
    )
    rows = [[percent(share, 0), percent(hits), f"{hits / share:.2f}"] for share, hits in gain if share]
    columns = (Column("Rows"), Column("Events", FORMULAS["Gain"]), Column("Lift", "Events / rows."))
    return card(
        el("h3", "Gain"),
        el("p", said, class_="note"),
        legend(series),
        chart,
        data_details("Numbers", table("Gain", columns, rows)),
    )


def _metrics_card(judged: Judged) -> Markup:
    chance = DASH if judged.ece_by_chance is None else f"{judged.ece_by_chance:.5f}"
    rows: list[list[Content]] = [
        ["Real rate", shown_percent(judged.rate, 3)],
        ["Predicted rate", shown_percent(judged.predicted, 3)],
        ["Calibration", shown(judged.calibration_ratio)],
        ["NE", shown(judged.normalized_entropy, 4)],
        ["AUC", shown(judged.auc, 4)],
        ["Log loss", shown(judged.log_loss, 5)],
        ["ECE", shown(judged.ece, 5)],
        ["ECE by chance alone", chance],
        ["Users or stretches of time", count(judged.clusters)],
    ]
    columns = (Column("Metric"), Column("Value (95% interval)", FORMULAS["Intervals"]))
    return card(el("h3", "All numbers"), table("All numbers", columns, rows))


def _against_card(name: str, comparison: Comparison) -> Markup:
    names = {"normalized_entropy": "NE", "log_loss": "Log loss", "auc": "AUC"}
    rows = [
        [names[metric], shown(difference, 5), percent(comparison.probability_better[metric])]
        for metric, difference in comparison.differences.items()
    ]
    columns = (
        Column("Metric"),
        Column("New less old (95% interval)", "Below 0 is better for NE and log loss, above 0 for AUC."),
        Column("Better in", "Share of the draws in which the new model was better."),
    )
    return card(
        el("h3", "Against the older model"),
        el("p", comparison_said(name, comparison), class_="note"),
        table("Against the older model", columns, rows),
    )
