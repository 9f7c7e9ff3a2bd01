"""What the page is built of: sections, tables with scope and formula, amounts with their exact value."""

from collections.abc import Sequence
from typing import NamedTuple

from simulator.report import text
from simulator.report.markup import Content, Markup, el, join

FORMULAS = {
    "Budget": "What the campaign may spend over its whole flight.",
    "Spend": "Sum of the clearing prices of the impressions won and booked, late notices included.",
    "Spent": "Spend / budget.",
    "Bid rate": "Bids / opportunities.",
    "Win rate": "Wins / bids.",
    "Impressions": "Wins that the exchange says were shown.",
    "eCPM": "Spend / impressions x 1,000: the effective cost of a thousand impressions.",
    "CTR": "Clicks / impressions.",
    "CPC": "Spend / clicks.",
    "CPA": "Spend / conversions.",
    "Value": "What the campaign's goal events were worth to the advertiser, as the campaign states it.",
    "ROAS": "Value / spend: what came back for each unit spent; 1 is break-even.",
    "Plan": "Spend that the pacing plan had foreseen by then.",
    "Eligible": "Opportunities that the campaign's targeting let through.",
    "Late win notices": "Win notices that came after their reservation had ended; they are owed, and booked.",
    "Decision latency": "Wall time from a request read to its answer ready, without what the request waited before; "
    "p50 is the median, 99 of 100 decisions were faster than p99.",
    "Answered too late": "Requests without an answer within the exchange's time, waits included; "
    "their bids cannot win.",
    "AUC": "Probability that an event was given a higher score than a non-event; 0.5 is chance.",
    "NE": "Normalized entropy: log loss / log loss of always guessing the average rate; below 1 is better.",
    "Calibration": "Events predicted / events that happened; 1 is right on average.",
    "ECE": "Expected calibration error: mean distance between the predicted and the real rate, "
    "over groups of equally many rows.",
}
"""How each figure is computed, for tooltips and for the footnotes."""


class Column(NamedTuple):
    """A header; `formula` names an entry of `FORMULAS`."""

    header: str
    formula: str | None = None


def section(heading: str, note: str | None, *content: Markup | None) -> Markup:
    """A part of the page under its heading."""
    return el("section", el("h2", heading), el("p", note, class_="note") if note else None, *content)


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Content]], foot: Sequence[Content] = ()
) -> Markup:
    """A table whose first column names the row, in a frame that scrolls sideways by touch and by keyboard.

    The caption is heard, not seen: a heading above says the same to the eye.
    """
    body = el(
        "table",
        el("caption", caption, class_="unseen"),
        el("thead", el("tr", *(_header(column) for column in columns))),
        el("tbody", *(_row(row) for row in rows)),
        el("tfoot", _row(foot)) if foot else None,
    )
    return el("div", body, class_="scroll", tabindex=0, role="region", aria_label=caption)


def data_details(summary: str, body: Markup) -> Markup:
    """Closed until asked for: the numbers behind a chart."""
    return el("details", el("summary", summary), body)


def amount(nanos: int | None, decimals: int = 2) -> Markup:
    """Money rounded for reading; the element's value is the nanos and its tooltip the exact amount."""
    if nanos is None:
        return el("span", text.DASH, title="Nothing to divide by")
    return el("data", text.money(nanos, decimals), value=nanos, title=text.exact(nanos))


def pair(ours: int, theirs: int, exact: bool = False) -> Markup:
    """A number that both books have, or both numbers where they differ."""
    form = text.exact if exact else text.count
    if ours == theirs:
        return el("data", form(ours), value=ours)
    return el("strong", f"{form(ours)} ≠ {form(theirs)}", class_="bad")


def facts(entries: Sequence[tuple[str, Content]]) -> Markup:
    """Names and what they are."""
    return el("dl", *(join(el("dt", name), el("dd", value)) for name, value in entries), class_="facts")


def _header(column: Column) -> Markup:
    formula = FORMULAS[column.formula] if column.formula else None
    return el("th", el("abbr", column.header, title=formula) if formula else column.header, scope="col")


def _row(cells: Sequence[Content]) -> Markup:
    return el("tr", el("th", cells[0], scope="row"), *(el("td", cell) for cell in cells[1:]))
