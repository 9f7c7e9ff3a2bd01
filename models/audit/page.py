"""An audit as one HTML page: the verdict, what was found and what to do, then every column and every day."""

from models.audit.findings import Audit, Finding, LabelFacts
from models.pages import text
from models.pages.blocks import (
    Column,
    Figure,
    card,
    data_details,
    document,
    figures,
    glossary,
    header,
    section,
    table,
)
from models.pages.charts import Bar, BarRow, ChartIds, bar_chart
from models.pages.markup import Markup, el

FORMULAS = {
    "Missing": "Rows without a value / rows.",
    "Distinct": "Different values.",
    "Rare": "Rows whose value is too rare for a code of its own / rows.",
    "AUC alone": "How well the column alone tells clicks from the rest, on rows that it did not see; 0.5 is chance.",
    "PSI": "Population stability index against what is served: below 0.1 alike, above 0.25 not.",
    "Unseen": "Served rows whose value the table does not know / served rows.",
    "Rate": "Events / rows, with its 95 % interval (Wilson).",
    "Effective rows": "Rows that an unweighted sample of the same precision would have (Kish).",
}
_WORDS = {"block": "Blocks", "care": "Needs care", "note": "Note"}
_MOST_DAYS = 62


def render(audit: Audit) -> str:
    """The audit as one HTML document that loads nothing."""
    ids = ChartIds()
    span = f"{text.moment(audit.first_ns)} to {text.moment(audit.last_ns)}"
    return document(
        f"Clearbid audit: {audit.table}",
        header(
            "Clearbid data audit",
            sentence(audit),
            f"{audit.table}, {span}.",
            _verdict(audit),
            good=_is_good(audit),
        ),
        _figures(audit),
        _findings(audit.findings),
        _days(audit, ids),
        _columns(audit),
        glossary(FORMULAS),
    )


def sentence(audit: Audit) -> str:
    """What was found, in a sentence."""
    counts = {kind: sum(one.severity == kind for one in audit.findings) for kind in ("block", "care")}
    if counts["block"]:
        return f"This table is not ready to be learned from: {_things(counts['block'])} must be mended first."
    if counts["care"]:
        return f"This table can be learned from, but {_things(counts['care'])} should be looked at."
    return "This table is ready to be learned from."


def _things(count: int) -> str:
    return "one thing" if count == 1 else f"{count} things"


def _is_good(audit: Audit) -> bool:
    return audit.verdict != "not ready"


def _verdict(audit: Audit) -> str:
    return ("\u2713 " if _is_good(audit) else "\u2717 ") + audit.verdict.capitalize()


def _figures(audit: Audit) -> Markup:
    click, conversion = audit.labels
    days = (audit.last_ns - audit.first_ns) / 86_400e9
    return figures(
        [
            Figure("Impressions", text.count(audit.rows), f"worth {text.counted(audit.effective_rows, 'row')}",
                   FORMULAS["Effective rows"]),
            _rate("Clicks", click),
            _rate("Conversions", conversion),
            Figure("Days", f"{days:.1f}", f"{text.counted(len(audit.days), 'calendar day')}, UTC"),
        ]
    )  # fmt: skip


def _rate(name: str, label: LabelFacts) -> Figure:
    interval = f"{text.percent(label.low, 2)} to {text.percent(label.high, 2)}"
    beside = f"{text.percent(label.rate, 2)} ({interval})" if label.rows else "none known"
    return Figure(name, text.count(label.events), beside, FORMULAS["Rate"])


def _findings(findings: list[Finding]) -> Markup:
    if not findings:
        return section("What was found", None, card(el("p", "Nothing that needs anybody's care.")))
    rows = [
        (f"{place}. {_WORDS[one.severity]}", one.column or "the table", _text(one.said), _text(one.do))
        for place, one in enumerate(findings, start=1)
    ]
    columns = [Column("Severity"), Column("Where"), Column("Found"), Column("What to do")]
    note = "What blocks first, then what needs care."
    return section("What was found", note, card(_wide(table("What was found", columns, rows, stacks=True))))


def _text(said: str) -> Markup:
    return el("span", said[:1].upper() + said[1:], class_="said")


def _wide(body: Markup) -> Markup:
    return el("div", body, class_="prose")


def _days(audit: Audit, ids: ChartIds) -> Markup | None:
    if not audit.days:
        return None
    shown = audit.days[-_MOST_DAYS:]
    top = max((day.clicks / day.rows for day in shown), default=0.0) or 1.0
    bars = [
        BarRow(day.day, f"{text.percent(day.clicks / day.rows, 2)} of {text.count(day.rows)}",
               (Bar(day.clicks / day.rows / top, "spend"),))
        for day in shown
    ]  # fmt: skip
    rows = [
        (day.day, text.count(day.rows), text.count(day.clicks), text.percent(day.clicks / day.rows, 3))
        for day in shown
    ]
    chart = bar_chart(
        ids, "Click rate by day", "Share of the impressions of each day that were clicked.", bars
    )
    columns = [Column("Day (UTC)"), Column("Impressions"), Column("Clicks"), Column("Rate", FORMULAS["Rate"])]
    note = (
        None
        if len(shown) == len(audit.days)
        else f"The last {len(shown)} of {text.counted(len(audit.days), 'day')}."
    )
    return section("By day", note, card(chart, data_details("Data", table("By day", columns, rows))))


def _columns(audit: Audit) -> Markup:
    rows = [
        (
            one.name,
            one.kind,
            text.percent(one.missing),
            text.count(one.distinct),
            text.percent(one.rare),
            text.ratio(one.auc, 3),
            text.ratio(one.psi, 3),
            text.percent(one.unseen),
        )
        for one in audit.columns
    ]
    heads = ("Missing", "Distinct", "Rare", "AUC alone", "PSI", "Unseen")
    columns = [Column("Feature"), Column("Kind"), *(Column(name, FORMULAS[name]) for name in heads)]
    note = f"Compared with {audit.other}." if audit.other else "Too few rows to compare the later ones with."
    return section("Features", note, card(table("Features", columns, rows)))
