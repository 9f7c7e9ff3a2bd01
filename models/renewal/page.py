"""Drift as one HTML page: what has moved, how far, and what it was before."""

from models.pages import blocks, charts, text
from models.pages.markup import Markup, join
from models.renewal.drift import Calibration, DriftReport, Shift

PREDICTS = {"ctr": "Clicks", "cvr": "Conversions"}
"""What each model predicts."""
_SHOWN = 12
_TONES = {"ok": "value", "notice": "drop", "alarm": "fault"}
FORMULAS = {
    "PSI": "sum over bins of (q - p) ln(q / p), p and q the shares of reference and fresh rows, half a row added "
    "to each bin",
    "KS": "largest distance of the two distribution functions",
    "limit": "0.2 for PSI and 0.1 for KS, or what chance explains for so many rows, whichever is more",
    "calibration": "events predicted over events that happened, with a 99 % interval",
}


def drift_page(report: DriftReport, model: str) -> str:
    """The page of a report; `model` is the hash of the model."""
    ids = charts.ChartIds()
    alarms = report.alarms
    (first, last), (since, until) = report.windows_ns
    return blocks.document(
        "Drift of fresh rows",
        blocks.header(
            "Drift",
            _lead(report),
            f"{text.counted(report.rows[0], 'reference row')} {text.moment(first)} to {text.moment(last)}; "
            f"{text.counted(report.rows[1], 'fresh row')} {text.moment(since)} to {text.moment(until)}; "
            f"model {model[:12]}",
            text.counted(len(alarms), "alarm") if alarms else "no alarm",
            good=not alarms,
        ),
        *drift_sections(report, ids),
        blocks.glossary(FORMULAS),
    )


def drift_sections(report: DriftReport, ids: charts.ChartIds) -> list[Markup]:
    """What has moved, calibration, and every feature: also part of the page of a renewal."""
    shifts = sorted((*report.features, *report.predictions), key=lambda one: -one.psi)
    return [
        blocks.section(
            "What has moved most",
            "Population stability index; the track ends at 0.5. Above 0.2 is an alarm, above 0.1 worth a look. "
            "Hours, weekdays and what campaigns bring differ between any two spans of time: a notice at most.",
            blocks.card(_chart(ids, shifts[:_SHOWN])),
        ),
        blocks.section("Calibration on the fresh rows", None, blocks.card(_calibration(report.calibration))),
        blocks.section("Every feature", None, blocks.card(_table(shifts))),
    ]


def _lead(report: DriftReport) -> str:
    alarms = report.alarms
    if not alarms:
        return "The fresh rows are of the kind that the model learned from."
    return f"The fresh rows differ from what the model learned from: {'; '.join(alarms[:3])}" + (
        f", and {len(alarms) - 3} more." if len(alarms) > 3 else "."
    )


def _chart(ids: charts.ChartIds, shifts: list[Shift]) -> Markup:
    rows = [
        charts.BarRow(
            text.plain(one.name), f"{one.psi:.3f}", (charts.Bar(min(one.psi / 0.5, 1.0), _TONES[one.level]),)
        )
        for one in shifts
    ]
    return charts.bar_chart(ids, "PSI by feature", "The largest first; numbers are in the table below.", rows)


def _calibration(found: tuple[Calibration, ...]) -> Markup:
    columns = [blocks.Column(name) for name in ("Predicts", "State", "Events", "Ratio", "From", "To")]
    rows = [
        (
            PREDICTS.get(one.name.removeprefix("calibration "), one.name),
            one.level if one.ratio is not None else f"{one.level}: {one.words}",
            text.count(one.positives),
            *(text.ratio(value, 3) for value in (one.ratio, one.low, one.high)),
        )
        for one in found
    ]
    return blocks.table("Calibration on the fresh rows", columns, rows)


def _table(shifts: list[Shift]) -> Markup:
    columns = [
        blocks.Column(name, FORMULAS.get(name))
        for name in ("Feature", "State", "PSI", "limit", "KS", "KS limit", "missing before", "missing now")
    ]
    rows = [
        (
            join(one.name),
            one.level,
            f"{one.psi:.3f}",
            f"{one.psi_limit:.3f}",
            text.ratio(one.ks, 3),
            text.ratio(one.ks_limit, 3),
            *(text.percent(share) for share in one.missing),
        )
        for one in shifts
    ]
    return blocks.table("Every feature", columns, rows)
