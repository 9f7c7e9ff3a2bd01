"""The page of a forecast: verdicts, what budgets bring, traffic by hour, win rate by bid, and what is assumed."""

from collections.abc import Callable

from models.pages.axes import round_axis
from models.pages.blocks import (
    Column,
    Figure,
    card,
    data_details,
    document,
    facts,
    figures,
    glossary,
    grid,
    header,
    section,
    table,
    two_lines,
)
from models.pages.charts import Axis, ChartIds, Series, legend, plane_chart
from models.pages.markup import Content, Markup
from models.pages.text import DASH, count, moment, percent, ratio
from simulator.forecast.backtest import Backtest
from simulator.forecast.flight import Forecast, Range
from simulator.forecast.traffic import NS_PER_HOUR
from simulator.report.text import money

ASSUMED = (
    "Rivals do not react to us.",
    "Opportunities to come are like those of the past: only how many there are changes.",
    "Users of whom nothing is known are like those that are known.",
    "A price that the log hides is drawn from the law that bids and prices of its kind followed.",
)
_HOW = {
    "Interval": "the flight is simulated many times, each time with traffic, past, hidden prices and outcomes drawn "
    "again; the figure is the median of these flights, and 95 % of them lie between its two ends",
    "Verdict": "likely where at least 90 % of the simulated flights spend 99 % of the budget, in doubt where half "
    "do, else at risk",
    "On drawn prices": "share of the spend on auctions whose price the log does not tell",
    "Users": "a negative binomial of opportunities by user, fitted to the past; users grow with time as they did",
    "Cap": "share of the impressions that the frequency cap takes away",
}
_MOST_GROUPS = 15
_MOST_HOURS = 14 * 24


def render(found: Forecast, name: str, tested: Backtest | None = None) -> str:
    """The whole page: one HTML document that loads nothing.

    Args:
        found: what was forecast. name: of the campaign. tested: the same of a time that is known, where there is one.
    """
    ids = ChartIds()
    first = found.deliveries[0]
    lead = f"What {name} would buy in {ratio(found.days, 1)} days, and how sure that is."
    return document(
        f"Forecast of {name}",
        header(f"Forecast of {name}", lead, moment(found.first_hour * NS_PER_HOUR),
               f"Delivery {first.verdict}", good=first.verdict == "likely", care=first.verdict == "in doubt"),
        figures(_figures(found)),
        _deliveries(found),
        _market(found, ids),
        _groups(found),
        _backtest(tested),
        section("Assumed", None, card(facts([(str(k), text) for k, text in enumerate(ASSUMED, 1)]))),
        glossary(_HOW),
    )  # fmt: skip


def interval(value: Range | None, form: Callable[[float], str]) -> str:
    """A range as text, `12 (10 to 15)`."""
    if value is None:
        return DASH
    return f"{form(value.point)} ({form(value.low)} to {form(value.high)})"


def whole(value: float) -> str:
    """A count as text."""
    return count(round(value))


def amount(value: float) -> str:
    """Nanos as text."""
    return money(round(value))


def _figures(found: Forecast) -> list[Figure]:
    first = found.deliveries[0]
    shown = [
        Figure("Spend", amount(first.spend_nanos.point), f"of {money(first.budget_nanos)}", _HOW["Verdict"]),
        Figure("Impressions", whole(first.impressions.point), _ends(first.impressions, whole)),
        Figure("Clicks", whole(first.clicks.point), _ends(first.clicks, whole), _HOW["Interval"]),
    ]
    if first.users is None:
        ends = _ends(found.opportunities, whole)
        return [*shown, Figure("Opportunities", whole(found.opportunities.point), ends)]
    return [*shown, Figure("Users", whole(first.users.point), _ends(first.users, whole), _HOW["Users"])]


def _ends(value: Range, form: Callable[[float], str]) -> str:
    return f"{form(value.low)} to {form(value.high)}"


def _deliveries(found: Forecast) -> Markup:
    body: list[list[Content]] = [
        [*map(two_lines, (
            money(row.budget_nanos), amount(row.max_bid_nanos * 1e3), f"{row.verdict} ({percent(row.spent, 0)})",
            interval(row.spend_nanos, amount), interval(row.impressions, whole), interval(row.clicks, whole),
            interval(row.conversions, whole), interval(row.value_nanos, amount), interval(row.users, whole),
            interval(row.frequency, ratio), percent(row.capped), percent(row.extrapolated),
        ))]
        for row in found.deliveries
    ]  # fmt: skip
    columns = [Column("Budget"), Column("Highest bid, CPM"), Column("Verdict", _HOW["Verdict"]),
               Column("Spend", _HOW["Interval"]), Column("Impressions"), Column("Clicks"), Column("Conversions"),
               Column("Value"), Column("Users", _HOW["Users"]), Column("Frequency"), Column("Cap", _HOW["Cap"]),
               Column("On drawn prices", _HOW["On drawn prices"])]  # fmt: skip
    return section(
        "What budgets bring",
        "The median of the simulated flights, and below it where 95 % of them lie.",
        card(table("What budgets bring", columns, body, stacks=True)),
    )


def _market(found: Forecast, ids: ChartIds) -> Markup:
    said = (
        f"{interval(found.opportunities, whole)} opportunities in the flight; the trend is "
        f"{percent(found.trend, 2)} a day."
    )
    body: list[list[Content]] = [
        [ratio(row.bid_nanos / 1e6, 3), interval(row.won, percent)] for row in found.curve
    ]
    numbers = data_details(
        "Win rate in numbers", table("Win rate", [Column("Bid, CPM"), Column("Win rate")], body)
    )
    return section("Traffic and prices", said, grid(_traffic(found, ids), _win_rate(found, ids)), numbers)


def _traffic(found: Forecast, ids: ChartIds) -> Markup:
    # An hour that the flight ends within would look as if traffic fell.
    ends_within = len(found.hours) > max(1.0, found.days * 24.0 + 1e-6)
    hours = found.hours[: len(found.hours) - ends_within][:_MOST_HOURS]
    top = max(float(hours.max()), 1.0)
    points = tuple((float(hour), float(value)) for hour, value in enumerate(hours))
    days = [(float(hour), str(hour // 24)) for hour in range(0, len(hours), max(len(hours) // 168, 1) * 24)]
    lines = [Series("opportunities an hour", points, "spend")]
    chart = plane_chart(
        ids, "Opportunities by hour of the flight", f"At most {whole(top)} an hour.",
        Axis("days after the start", 0.0, float(max(len(hours) - 1, 1)), tuple(days)),
        round_axis("an hour", 0.0, top), lines,
    )  # fmt: skip
    return card(chart, legend(lines))


def _win_rate(found: Forecast, ids: ChartIds) -> Markup:
    bids = [row.bid_nanos / 1e6 for row in found.curve]
    top = max(*(row.won.high for row in found.curve), 0.01)

    def line(name: str, values: list[float], tone: str) -> Series:
        return Series(name, tuple(zip(bids, values, strict=True)), tone)

    lines = [
        line("win rate", [row.won.point for row in found.curve], "spend"),
        line("95 % band", [row.won.low for row in found.curve], "plan"),
        line("", [row.won.high for row in found.curve], "plan"),
    ]
    chart = plane_chart(
        ids, "Win rate by bid", f"At most {percent(top)}.", round_axis("bid, CPM", 0.0, bids[-1]),
        round_axis("won", 0.0, top, "{:.0%}".format), lines,
    )  # fmt: skip
    return card(chart, legend(lines[:2]))


def _groups(found: Forecast) -> Markup | None:
    by = found.deliveries[0].by
    if not by:
        return None
    body: list[list[Content]] = [
        [name, amount(spend), whole(wins), ratio(spend / wins / 1e6)]
        for name, (spend, wins) in list(by.items())[:_MOST_GROUPS]
    ]
    columns = [Column("Group"), Column("Spend"), Column("Impressions"), Column("CPM")]
    note = f"Of the first budget; the {min(len(by), _MOST_GROUPS)} with most spend of {len(by)}."
    return section("By group", note, card(table("By group", columns, body)))


def _backtest(tested: Backtest | None) -> Markup | None:
    if tested is None:
        return None
    body: list[list[Content]] = [
        [row.name, interval(row.said, whole if not row.is_money else amount),
         (amount if row.is_money else whole)(row.came), percent(row.said.point / row.came - 1) if row.came else DASH,
         "yes" if row.inside else "no"]
        for row in tested.rows
    ]  # fmt: skip
    columns = [Column("What"), Column("Said"), Column("Came"), Column("Off by"), Column("Inside")]
    note = f"The last {ratio(tested.days, 1)} days of the history, forecast from what was before them."
    return section("Tried on what is known", note, card(table("Tried on what is known", columns, body)))
