"""The part of the page about first price: what is learned from wins and losses, and how soon."""

from collections.abc import Sequence

from models.pages.blocks import Column, card, grid, section, table
from models.pages.charts import Axis, ChartIds, Series, legend, plane_chart
from models.pages.markup import Content, Markup
from models.pages.text import DASH, count, percent, ratio
from simulator.quality.first_price import FirstRow

_TONES = {"landscape": "spend", "constant share": "value", "law known": "plan"}
_HELP = {
    "Surplus": "expected (worth - bid) x chance to win, by the law of the market, over that of the best bid; later "
    "half of the auctions, without those that were held out; worth is value over the price of money",
    "With held out": "the same with the auctions that kept the constant share to compare with",
    "Value": "expected value of all bids over the most that the budget can buy for one who knows the law",
}


def first_section(rows: Sequence[FirstRow], ids: ChartIds) -> Markup:
    """All bidders on all markets, and the landscape's surplus while it learns."""
    body: list[list[Content]] = [
        [
            f"{row.market}: {row.policy}", DASH if row.budget is None else f"1/{round(1 / row.budget)}",
            ratio(row.surplus, 4), ratio(row.whole, 4), ratio(row.value, 4),
            percent(row.spend_nanos / row.budget_nanos, 2) if row.budget_nanos else DASH,
            count(row.bids), count(row.wins), count(row.held), count(row.explored),
        ]
        for row in rows
    ]  # fmt: skip
    columns = [Column("Market: bidder"), Column("Budget"), *(Column(name, said) for name, said in _HELP.items()),
               Column("Spent"), Column("Bids"), Column("Wins"), Column("Held out"), Column("Explored")]  # fmt: skip
    free = [row for row in rows if row.budget is None]
    cards = [
        _curve(ids, market, [row for row in free if row.market == market])
        for market in dict.fromkeys(row.market for row in free)
    ]
    note = (
        "Truth known to the measurement alone. The bidder begins with the constant share, hears only whether he won, "
        "and estimates the landscape anew again and again."
    )
    return section("First price, learned", note, grid(*cards), card(table("First price", columns, body)))


def _curve(ids: ChartIds, market: str, rows: Sequence[FirstRow]) -> Markup:
    lines = []
    for row in rows:
        if row.policy in _TONES:
            points = [((place + 1) / len(row.tenths), max(y, 0.0)) for place, y in enumerate(row.tenths)]
            lines.append(Series(row.policy, tuple(points), _TONES[row.policy]))
    chart = plane_chart(
        ids, f"Surplus over the best bid's, {market}", "By tenths of the auctions.",
        Axis("auctions", 0.0, 1.0, ((0.0, "0"), (0.5, "half"), (1.0, "all"))),
        Axis(market, 0.0, 1.0, ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))), lines,
    )  # fmt: skip
    return card(chart, legend(lines))
