"""The page of a landscape: curves with bands, errors on later rows, and every number in a table."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.landscape.curves import Landscape
from models.landscape.measure import LaterRows
from models.landscape.observations import EXACT, Observations
from models.pages.blocks import (
    Column,
    Figure,
    card,
    data_details,
    document,
    figures,
    glossary,
    grid,
    header,
    section,
    table,
)
from models.pages.charts import Axis, ChartIds, Series, legend, plane_chart
from models.pages.markup import Markup, el
from models.pages.text import DASH, count, counted, moment, percent, ratio

Floats = NDArray[np.float64]

_MICROS = 1_000_000
_FEW = 16
SHOWN_SHARE = 0.99
"""Of prices and of bids, by weight: what the axis of prices spans."""
_DECADE = 10.0
_HOW = {
    "P(win | bid)": "share of auctions whose price to beat is at most the bid: product limit of Kaplan and Meier "
    "where wins show their price, self-consistent estimate of Turnbull where some hide it; shrunk to the wider "
    "stratum; for all, the mixture of the strata",
    "Price of a win": "mean price to beat of the auctions that a bid wins; at second price that is paid, at first "
    "price the bid is",
    "Band": "percentiles 2.5 and 97.5 over fits to rows drawn again, each a Poisson number of times",
    "Error": "ten groups of later bids by predicted win probability: mean of |predicted - real share of wins|",
    "KL": "sum q log(q / p), nats: q from the later rows alone, p fitted before them, over the bins that 99% of "
    "bids reach and one for all above, each with 0.1% of its mass spread evenly",
}


class Curve(msgspec.Struct, frozen=True):
    """One stratum as it is shown: name, bids it was made from, curve and band (or None) at each point of the grid."""

    name: str
    bids: int
    win_probability: Floats
    low: Floats | None
    high: Floats | None
    mean_price: Floats


def render(
    landscape: Landscape,
    curves: Sequence[Curve],
    shares: dict[str, float],
    won: float,
    later: LaterRows | None,
    dropped: dict[str, int],
    window_ns: tuple[int, int],
    span_cpm_micros: tuple[float, float],
) -> str:
    """The whole page.

    Args:
        landscape: the fit. curves: of the strata to show, the first is all.
        shares: of bids whose price to beat is `exact`, `above`, `below`.
        won: share of the bids that won.
        later: errors on later rows, None where none could be held out.
        dropped: rows that said nothing, by reason.
        window_ns: times of the first and the last bid.
        span_cpm_micros: prices between which the curves are drawn, see `shown_span`.
    """
    ids = ChartIds()
    low, high = span_cpm_micros
    return document(
        f"Bid landscape of {landscape.source}",
        _header(landscape, curves[0], window_ns),
        figures(_figures(landscape, curves[0], shares, won, later)),
        section(
            "Chance to win by bid",
            f"{shown_words(len(curves) - 1, landscape)} The band holds 95 of 100 fits to rows drawn again. Where a "
            f"curve ends level, nothing higher was bid. The axis, of logarithms, runs from {cpm(low)} to {cpm(high)} "
            f"CPM: the middle {SHOWN_SHARE:.0%} of the bids, and of the prices seen as far as they lie within ten "
            f"times of these bids. What lies outside is among the numbers.",
            grid(*(_curve_card(ids, landscape, curve, span_cpm_micros) for curve in curves)),
        ),
        _later(ids, later) if later else None,
        _dropped(dropped) if dropped else None,
        glossary(_HOW),
    )


def cpm(micros: float) -> str:
    """A price per thousand impressions, with digits that count."""
    value = micros / _MICROS
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"


def _header(landscape: Landscape, whole: Curve, window_ns: tuple[int, int]) -> Markup:
    bid = _bid_that_wins(landscape, whole.win_probability, 0.5)
    best = float(whole.win_probability[-1])
    lead = (
        f"A bid of {cpm(bid)} CPM wins every second auction."
        if bid is not None
        else f"The highest bids win {percent(best)} of auctions; what more would win, nobody tried."
    )
    when = (
        f"{landscape.source}, {moment(window_ns[0])} to {moment(window_ns[1])}, strata by "
        f"{', '.join(landscape.strata.by) or 'nothing'}"
    )
    return header("Bid landscape", lead, when)


def _bid_that_wins(landscape: Landscape, win: Floats, share: float) -> float | None:
    reached = np.flatnonzero(win >= share)
    return float(landscape.grid[reached[0]]) if len(reached) else None


def _figures(
    landscape: Landscape, whole: Curve, shares: dict[str, float], won: float, later: LaterRows | None
) -> tuple[Figure, ...]:
    hidden = shares["above"] + shares["below"]
    error = percent(later.mean_error, 2) if later else "not measured"
    return (
        Figure("Bids", count(whole.bids), f"in {counted(len(landscape.strata), 'stratum', 'strata')}"),
        Figure("Price hidden", percent(hidden), f"{percent(shares['above'])} lost"),
        Figure("Win rate", percent(won), "of the bids made"),
        Figure("Error", error, "of the win rate, later rows", _HOW["Error"]),
    )


def shown_span(seen: Observations) -> tuple[float, float]:
    """Prices between which curves are drawn, micros of CPM: the middle of the bids, and of the prices seen near them.

    Auctions without a floor and a rival cost a millionth; they would leave most of a drawing to prices that nobody
    bids. So prices widen what bids span by a decade at most, either way.

    Args:
        seen: N rows, at least one.
    """
    known = seen.kind == EXACT
    low, high = _middle(seen.bid_cpm_micros, seen.weight)
    if known.any():
        cheap, dear = _middle(seen.cpm_micros[known], seen.weight[known])
        low, high = min(low, max(cheap, low / _DECADE)), max(high, min(dear, high * _DECADE))
    return (low, high) if high > low else (low / 2.0, high * 2.0)


def _middle(values: Floats, weights: Floats) -> tuple[float, float]:
    """Both ends of the middle `SHOWN_SHARE` of values, by weight."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    tails = np.array([(1.0 - SHOWN_SHARE) / 2.0, (1.0 + SHOWN_SHARE) / 2.0]) * reached[-1]
    low, high = values[order][np.minimum(np.searchsorted(reached, tails), len(order) - 1)].tolist()
    return low, high


def shown_words(shown: int, landscape: Landscape) -> str:
    """Which strata are shown, in a sentence."""
    there = len(landscape.strata) - 1
    if shown >= there:
        return (
            f"All of {counted(there, 'stratum', 'strata')} are shown."
            if there
            else "There is one stratum, all."
        )
    return f"{shown:,} of {counted(there, 'stratum', 'strata')} are shown, the largest of each level in turn."


def _curve_card(ids: ChartIds, landscape: Landscape, curve: Curve, span: tuple[float, float]) -> Markup:
    axis = _price_axis(span)
    points = np.log10(landscape.grid.astype(np.float64))
    inside = points[(points > axis.low) & (points < axis.high)]
    x = np.concatenate([[axis.low], inside, [axis.high]])

    def line(name: str, values: Floats, tone: str) -> Series:
        return Series(name, tuple(zip(x.tolist(), np.interp(x, points, values).tolist(), strict=True)), tone)

    ends = [values for values in (curve.low, curve.high) if values is not None]
    lines = (
        line("chance to win", curve.win_probability, "spend"),
        *(line("band", values, "plan") for values in ends),
    )
    percents = tuple((share, f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    description = (
        f"From {percent(float(curve.win_probability[0]))} to {percent(float(curve.win_probability[-1]))}."
    )
    return card(
        el("h3", curve.name),
        el("p", counted(curve.bids, "bid"), class_="note"),
        legend(lines[:2]),
        plane_chart(
            ids, f"Chance to win, {curve.name}", description, axis, Axis("", 0.0, 1.0, percents), lines
        ),
        data_details("Numbers", _curve_table(landscape, curve)),
    )


def _curve_table(landscape: Landscape, curve: Curve) -> Markup:
    places = np.unique(np.linspace(0, len(landscape.grid) - 1, _FEW).astype(int)).tolist()
    columns = (Column("Bid, CPM"), Column("Chance"), Column("Low"), Column("High"), Column("Price of a win"))
    rows = [
        (
            cpm(float(landscape.grid[place])),
            percent(float(curve.win_probability[place])),
            *(
                DASH if values is None else percent(float(values[place]))
                for values in (curve.low, curve.high)
            ),
            cpm(float(curve.mean_price[place])),
        )
        for place in places
    ]
    return table(f"Chance to win by bid, {curve.name}", columns, rows)


def _price_axis(span: tuple[float, float]) -> Axis:
    low, high = math.log10(span[0]), math.log10(span[1])
    ticks = tuple(
        (math.log10(value), cpm(value))
        for value in (10.0 ** np.linspace(low, high, 5)[:-1]).tolist()
    )  # fmt: skip
    return Axis("bid, CPM", low, high, ticks)


def _later(ids: ChartIds, later: LaterRows) -> Markup:
    top = max(max(group.predicted, group.won) for group in later.groups) or 1.0
    ticks = tuple((top * k / 4, percent(top * k / 4, 0)) for k in range(5))
    points = tuple((group.predicted, group.won) for group in later.groups)
    lines = (
        Series("as predicted", ((0.0, 0.0), (top, top)), "plan"),
        Series("later bids", points, "spend", marked=True, joined=False),
    )
    columns = (Column("Group"), Column("Bids"), Column("Predicted"), Column("Won"), Column("Difference"))
    rows = [
        (str(place), count(round(group.bids)), percent(group.predicted), percent(group.won),
         f"{(group.predicted - group.won) * 100:+.2f}")
        for place, group in enumerate(later.groups, start=1)
    ]  # fmt: skip
    kl = "not known, no price was seen" if later.kl is None else ratio(later.kl, 4)
    note = (
        f"Fitted to {_earlier(later)}, measured on the {counted(later.rows, 'bid')} after them: "
        f"predicted {percent(later.predicted)} wins, were {percent(later.win_rate)}; log loss "
        f"{ratio(later.log_loss, 4)} against {ratio(later.log_loss_of_mean, 4)} of always saying the mean; KL {kl}."
    )
    axis = Axis("predicted; won upwards", 0.0, top, ticks)
    chart = plane_chart(
        ids, "Later bids", "Share won by predicted chance.", axis, axis._replace(name=""), lines
    )
    numbers = table("Later bids by predicted chance", columns, rows)
    both = el("div", card(legend(lines), chart), card(numbers), class_="pair")
    return section("On later rows", note, both)


def _dropped(dropped: dict[str, int]) -> Markup:
    rows = [(reason, count(number)) for reason, number in dropped.items()]
    return section(
        "Rows left out", "They contradict themselves or say nothing.",
        card(table("Rows left out", (Column("Reason"), Column("Rows")), rows)),
    )  # fmt: skip


def _earlier(later: LaterRows) -> str:
    return f"the first {counted(later.fitted_rows, 'bid')}" if later.fitted_rows else "all bids before"
