"""How fast, how well predicted, and under what conditions; and how each figure is computed."""

from models.pages.blocks import facts, section, table
from models.pages.charts import Bar, BarRow, ChartIds, bar_chart
from models.pages.markup import Content, Markup, el
from simulator.report import text
from simulator.report.blocks import FORMULAS, column
from simulator.report.summary import RunResult, share


def speed(result: RunResult, ids: ChartIds) -> Markup:
    """How fast decisions were, in wall time."""
    latency = result.decision_latency_ms
    entries: list[tuple[str, Content]] = [
        ("Requests a second", text.ratio(result.requests_per_second, 1)),
        ("Wall time", f"{text.duration(result.duration_s)} for {text.count(result.requests)} requests"),
        ("Median (p50)", text.milliseconds(latency.p50)),
        ("99th percentile (p99)", text.milliseconds(latency.p99)),
        ("Late win notices", f"{text.count(result.late_wins)} of {text.count(result.wins)} wins, all booked"),
    ]
    offered, timeouts = result.exchange.get("offered", 0), result.exchange.get("timeouts", 0)
    if offered:
        part = text.percent(share(timeouts, offered))
        said = f"{text.count(timeouts)} of {text.count(offered)} requests ({part})"
        if timeouts:
            said += ": a lower --speedup leaves more time for each"
        entries.append(("Answered too late", said))
    chart = None
    if result.deadline_ms and latency.p50 is not None and latency.p99 is not None:
        rows = [
            BarRow(name, text.milliseconds(value), (Bar(value / result.deadline_ms, "spend"),))
            for name, value in (("p50", latency.p50), ("p99", latency.p99))
        ]
        allowed = text.milliseconds(result.deadline_ms)
        title = f"Decision latency, once read, within the {allowed} that the exchange allowed"
        chart = el(
            "div",
            el("h3", title),
            bar_chart(ids, title, f"Median {rows[0].value}, 99th percentile {rows[1].value}.", rows),
            class_="card",
        )
    return section(
        "Speed",
        FORMULAS["Decision latency"],
        el("div", el("div", facts(entries), class_="card"), chart, class_="pair"),
    )


def models(result: RunResult) -> Markup | None:
    """How well the models predicted what they had not seen."""
    if not result.models:
        return None
    columns = [
        column("Model"),
        column("Rows"),
        column("Events"),
        column("AUC", "AUC"),
        column("Normalized entropy", "NE"),
        column("Calibration", "Calibration"),
        column("ECE", "ECE"),
    ]
    rows = [
        [
            name.upper(),
            text.count(model.rows),
            text.count(model.positives),
            text.ratio(model.auc, 4),
            text.ratio(model.normalized_entropy, 4),
            text.ratio(model.calibration_ratio, 3),
            text.ratio(model.ece, 5),
        ]
        for name, model in result.models.items()
    ]
    return section(
        "Model quality",
        "Measured on a slice of the log that is later than everything the models learned from.",
        el("div", table("Quality on held-out rows", columns, rows), class_="card"),
    )


def conditions(result: RunResult) -> Markup:
    """Under what conditions all this came to be."""
    span_s = (result.ended_at_ns - result.started_at_ns) / 1e9
    entries: list[tuple[str, Content]] = [
        ("Log", result.log),
        ("Seed", text.DASH if result.seed is None else str(result.seed)),
        ("Transport", result.transport),
        ("Clock", f"{text.duration(span_s)} of the log in {text.duration(result.duration_s)} of wall time"),
        ("Speedup", f"{text.ratio(result.speedup, 1)} seconds of the log in a second"),
        (
            "Versions",
            ", ".join(f"{name} {version}" for name, version in result.versions.items()) or text.DASH,
        ),
    ]
    synthetic = el("ul", *(el("li", line) for line in result.synthetic), class_="list")
    return section(
        "Conditions",
        None,
        el(
            "div",
            el("div", el("h3", "The run"), facts(entries), class_="card"),
            el("div", el("h3", "What was synthetic"), synthetic, class_="card") if result.synthetic else None,
            class_="pair",
        ),
    )


def formulas() -> Markup:
    """Footnotes: how each figure is computed, for readers without a pointer to hover with."""
    return el(
        "section",
        el("details", el("summary", "How each figure is computed"), facts(list(FORMULAS.items()))),
    )
