"""What a page is built of: sections, tables with scope and tooltips, facts, and the frame that holds them."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from models.pages.markup import Content, Markup, el, escape, join

_NO_LOADS = "default-src 'none'; style-src 'unsafe-inline'"
"""Content security policy of a page: the browser itself refuses whatever would be loaded."""


class Column(NamedTuple):
    """A header, and how its figures are computed, for a tooltip."""

    header: str
    formula: str | None = None


class Figure(NamedTuple):
    """One large number: its name, itself, what stands beneath, and how it is computed."""

    name: str
    value: str
    beside: str
    formula: str | None = None


def document(title: str, *content: Markup | None) -> str:
    """One HTML document that loads nothing, opens from disk and is well-formed XML too."""
    style = resources.files("models.pages").joinpath("style.css").read_text(encoding="utf-8")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_NO_LOADS),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        el("style", Markup(style)),
    )
    page = el("html", head, el("body", el("main", *content)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def header(
    name: str, lead: str, when: str, verdict: str | None = None, *, good: bool = True, care: bool = False
) -> Markup:
    """The top of a page: what it is, what it says in a sentence, of what, and whether all is well.

    Args:
        name: of the page. lead: the sentence. when: of what. verdict: the badge, None for none.
        good, care: its colour: green, or amber (look before you use it); red where neither.
    """
    return el(
        "header",
        el("h1", name),
        el("p", lead, class_="lead"),
        el("p", when, class_="when"),
        el("p", verdict, class_=f"verdict {'care' if care else 'good' if good else 'bad'}")
        if verdict
        else None,
    )


def figures(entries: Sequence[Figure]) -> Markup:
    """Large numbers beside each other; four, or a multiple, fill their rows."""
    return el("dl", *map(_figure, entries), class_="figures")


def _figure(figure: Figure) -> Markup:
    return el(
        "div",
        el("dt", figure.name),
        join(el("dd", figure.value, class_="big"), el("dd", figure.beside, class_="small")),
        title=figure.formula,
    )


def section(heading: str, note: str | None, *content: Markup | None) -> Markup:
    """A part of the page under its heading."""
    return el("section", el("h2", heading), el("p", note, class_="note") if note else None, *content)


def card(*content: Markup | None) -> Markup:
    """A frame round what belongs together."""
    return el("div", *content, class_="card")


def grid(*cards: Markup) -> Markup:
    """Cards beside each other where there is room."""
    return el("div", *cards, class_="grid")


def pair(*cards: Markup) -> Markup:
    """Wider cards, two beside each other where there is room: for charts with long rows, and tables."""
    return el("div", *cards, class_="pair")


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Content]],
    foot: Sequence[Content] = (),
    *,
    stacks: bool = False,
) -> Markup:
    """A table whose first column names the row, in a frame that scrolls sideways by touch and by keyboard.

    The caption is heard, not seen: a heading above says the same to the eye.

    Args:
        caption: what it is. columns: their heads. rows: cells of each, as many as columns. foot: a last row, or none.
        stacks: on a phone each row is a block, each cell a line with its head: for few rows of many columns, or
            where what decides stands last. What stays a table there must have what decides next to the name.
    """
    heads = [column.header for column in columns] if stacks else None
    body = el(
        "table",
        el("caption", caption, class_="unseen"),
        el("thead", el("tr", *(_header(column) for column in columns))),
        el("tbody", *(_row(row, heads) for row in rows)),
        el("tfoot", _row(foot, heads)) if foot else None,
        role="table" if stacks else None,  # laid out as blocks it would no longer be heard as a table
    )
    return el(
        "div",
        body,
        class_="scroll stacks" if stacks else "scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def two_lines(text: str) -> Markup:
    """A figure with its interval, `12 (10 to 15)`, as two lines of a cell: so many columns fit side by side."""
    figure, bracket, ends = text.partition(" (")
    if not bracket:
        return escape(text)
    return join(figure, el("span", ends.removesuffix(")"), class_="ends"))


def data_details(summary: str, body: Markup) -> Markup:
    """Closed until asked for: the numbers behind a chart."""
    return el("details", el("summary", summary), body)


def facts(entries: Sequence[tuple[str, Content]]) -> Markup:
    """Names and what they are."""
    return el("dl", *(join(el("dt", name), el("dd", value)) for name, value in entries), class_="facts")


def glossary(formulas: Mapping[str, str]) -> Markup:
    """Names and how they are computed, at the end of a page."""
    return section("How each figure is computed", None, card(facts(list(formulas.items()))))


def _header(column: Column) -> Markup:
    named = el("abbr", column.header, title=column.formula) if column.formula else column.header
    return el("th", named, scope="col")


def _row(cells: Sequence[Content], heads: Sequence[str] | None = None) -> Markup:
    if heads is None:
        return el("tr", el("th", cells[0], scope="row"), *(el("td", cell) for cell in cells[1:]))
    named = [
        el("td", el("span", cell), role="cell", data_label=head)
        for cell, head in zip(cells[1:], heads[1:], strict=True)
    ]
    return el("tr", el("th", cells[0], scope="row", role="rowheader"), *named, role="row")
