"""Books: ours against the exchange's, and every sum that can be checked."""

from collections.abc import Sequence

from models.pages.blocks import section, table
from models.pages.markup import Content, Markup, el
from simulator.report import text
from simulator.report.blocks import column, pair
from simulator.report.rows import MOST_ROWS, largest, name_cell
from simulator.report.summary import EMPTY_BOOK, ExchangeBook, RunResult, book_mismatches, book_of, sum_checks


def books(result: RunResult) -> Markup:
    """Our books against the exchange's, and every sum that can be checked."""
    found = list(result.mismatches) or book_mismatches(result.campaigns, result.exchange_books)
    parts: list[Markup | None] = []
    if result.exchange_books:
        parts.append(el("div", _books_table(result), class_="card"))
    if found and (result.exchange_books or result.mismatches):
        most = found[:50]
        more = [f"and {len(found) - len(most)} more"] if len(found) > len(most) else []
        lines = el("ul", *(el("li", line) for line in [*most, *more]), class_="list")
        parts.append(
            el(
                "div",
                el("h3", "Where they differ", class_="bad"),
                lines,
                class_="card",
                style="margin-top:14px",
            )
        )
    side_by_side = el(
        "div",
        el("div", el("h3", "Sums that must hold"), _checks_table(result), class_="card"),
        _exchange_card(result),
        class_="pair",
    )
    return section(
        "Books",
        "The exchange keeps books of its own; ours must come to the same, nano for nano (a nano is a "
        f"thousand-millionth of 1 {result.currency})."
        if result.exchange_books
        else "The exchange's books by campaign are not part of this run.",
        *parts,
        el("div", side_by_side, style="margin-top:14px"),
    )


def _books_table(result: RunResult) -> Markup:
    names = {campaign.id: campaign for campaign in result.campaigns}
    ours = {campaign.id: book_of(campaign) for campaign in result.campaigns}
    ids = [campaign.id for campaign in largest(result.campaigns)]
    ids += sorted(result.exchange_books.keys() - ours.keys())
    sides = [(ours.get(key, EMPTY_BOOK), result.exchange_books.get(key, EMPTY_BOOK)) for key in ids]
    rows = [
        _books_row(name_cell(names[key]) if key in names else key, *side)
        for key, side in zip(ids[:MOST_ROWS], sides, strict=False)
    ]
    rest = sides[MOST_ROWS:]
    if rest:
        rows.append(_books_row(f"{len(rest)} further campaigns", *_summed(rest)))
    currency = result.currency
    columns = [
        column("Campaign"),
        column(f"Our spend ({currency})", "Spend"),
        column(f"Exchange's ({currency})"),
        column("Difference"),
        column("Wins"),
        column("Impressions"),
        column("Clicks"),
        column("Conversions"),
        column(f"Value ({currency})", "Value"),
    ]
    return table("Our books against the exchange's", columns, rows, _books_row("All", *_summed(sides)))


def _books_row(name: Content, ours: ExchangeBook, theirs: ExchangeBook) -> list[Content]:
    difference = ours.spend_nanos - theirs.spend_nanos
    return [
        name,
        el("data", text.exact(ours.spend_nanos), value=ours.spend_nanos),
        el("data", text.exact(theirs.spend_nanos), value=theirs.spend_nanos),
        el("strong", text.exact(difference), class_="bad") if difference else el("span", "0", class_="good"),
        pair(ours.wins, theirs.wins),
        pair(ours.impressions, theirs.impressions),
        pair(ours.clicks, theirs.clicks),
        pair(ours.conversions, theirs.conversions),
        pair(ours.value_nanos, theirs.value_nanos, exact=True),
    ]


def _summed(sides: Sequence[tuple[ExchangeBook, ExchangeBook]]) -> tuple[ExchangeBook, ExchangeBook]:
    def one(books: Sequence[ExchangeBook]) -> ExchangeBook:
        names = ExchangeBook.__struct_fields__
        return ExchangeBook(**{name: sum(getattr(book, name) for book in books) for name in names})

    return one([ours for ours, _ in sides]), one([theirs for _, theirs in sides])


def _checks_table(result: RunResult) -> Markup:
    rows = [
        [
            check.what,
            text.count(check.left),
            text.count(check.right),
            el("span", "✓ holds", class_="good") if check.holds else el("strong", "✗ broken", class_="bad"),
        ]
        for check in sum_checks(result)
    ]
    return table("Sums that must hold", [column("Sum"), column("Whole"), column("Parts"), column("")], rows)


def _exchange_card(result: RunResult) -> Markup | None:
    if not result.exchange:
        return None
    rows = []
    for name, number in result.exchange.items():
        ours = getattr(result, name, None)
        known = isinstance(ours, int)
        rows.append([text.plain(name), text.count(number), text.count(ours) if known else text.DASH])
    columns = [column("Counted"), column("By the exchange"), column("By us")]
    heading = "The exchange's own counts of the run"
    return el("div", el("h3", heading), table(heading, columns, rows), class_="card")
