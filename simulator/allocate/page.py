"""A plan as one page: the answer, the moves, each campaign's curve with where it stands and goes, the proof."""

from bidder.money import NANOS_PER_UNIT
from models.pages.axes import round_axis, short
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
from models.pages.blocks import facts as facts_block
from models.pages.charts import ChartIds, Series, legend, plane_chart
from models.pages.markup import Content, Markup, el
from models.pages.text import DASH, count, percent
from simulator.allocate.curves import CurveSet
from simulator.allocate.plan import Plan
from simulator.allocate.words import MOVE_HEADS, amount, facts, move_cells, rate, verdict
from simulator.report.text import money

_MOST_DRAWN = 40
_HOW = {
    "Last unit": "what the last unit of the new budget brings, by the concave curve of its campaign",
    "Next unit": "what one unit more than the new budget would bring; beyond the curve it is unknown, not 0",
    "Gain": "value at the new budget less value at the present one, by the concave curve",
    "Price of money": "the return at which all campaigns that are free to move stand; at an optimum nobody who may "
    "give has less and nobody who may take has more",
    "KKT residual": "by how much of the larger return that is violated",
    "Dual gap": "distance of the value to what no split at all can pass, as a share of the value",
    "Helps": "share of bootstrap draws in which the gain, less the luck of picking the best, is above 0",
    "Luck of picking the best": "mean over draws of gain by the draw less gain by the estimate, each draw with its "
    "own best split: a split that is chosen for looking best looks better than it is",
    "Recommended": "the way from the present split to the best one, cut to the share of draws in which it helps",
    "Imputed": "share of the spend at that budget which comes from auctions whose price had to be estimated",
    "As estimated": "by the points of the curves, as they are",
    "Concave curve": "least concave curve above the measured points; how far is said where it is more than 1 %",
}


def render(found: Plan, curves: CurveSet, source: str) -> str:
    """The whole page: one HTML document that loads nothing.

    Args:
        found: the plan. curves: of which. source: what the curves are called.
    """
    ids = ChartIds()
    return document(
        f"Budgets: {source}",
        _header(found, curves, source),
        figures(_figures(found)),
        _moves(found, curves),
        _curves(found, curves, ids),
        section("What was found", None, card(facts_block(list(facts(found))))),
        glossary(_HOW),
    )


def _header(found: Plan, curves: CurveSet, source: str) -> Markup:
    draws = f"{count(curves.draws - 1)} draws" if curves.draws > 1 else "no draws"
    when = f"{source}: {count(len(found.names))} campaigns, {draws}; most {found.measure.name}."
    state = "Hold" if found.hold else "Move"
    return header("Budget allocation", verdict(found), when, state, good=True, care=bool(found.hold))


def _figures(found: Plan) -> list[Figure]:
    now = found.value(found.base)
    gain = found.value(found.recommended) - now
    sure = found.of_recommended or found.sureness
    proof = found.certificate
    return [
        Figure("Budgets", money(sum(found.recommended)), f"now {money(sum(found.current))}", None),
        Figure(
            f"{found.measure.name.capitalize()} expected",
            amount(found.value(found.recommended), found.measure),
            f"{'+' if gain >= 0 else ''}{percent(gain / now if now else None, 2)} by the concave curves",
            None,
        ),
        Figure(
            "Helps in",
            percent(found.sureness.helps) if found.sureness else DASH,
            f"of {count(sure.draws)} draws" if sure else "too few draws to say",
            _HOW["Helps"],
        ),
        Figure(
            "Price of money" if proof else "Gap",
            rate(proof.price, found.measure)
            if proof
            else percent(found.stepped.gap if found.stepped else None, 3),
            f"KKT residual {proof.residual:.0e}" if proof else "to what no split can pass",
            _HOW["Price of money"],
        ),
    ]


def _moves(found: Plan, curves: CurveSet) -> Markup:
    order = sorted(
        range(len(found.moves)), key=lambda place: -abs(found.moves[place].after - found.moves[place].before)
    )
    rows: list[list[Content]] = [[*move_cells(found, curves, place)] for place in order]
    heads = [Column(head, _HOW.get(head)) for head in MOVE_HEADS]
    note = "Largest moves first. A campaign that keeps its budget says why too."
    return section("Moves", note, card(table("Moves", heads, rows, stacks=True)))


def _curves(found: Plan, curves: CurveSet, ids: ChartIds) -> Markup:
    order = sorted(
        range(len(found.moves)), key=lambda place: -abs(found.moves[place].after - found.moves[place].before)
    )
    cards = [_curve(found, curves, place, ids) for place in order[:_MOST_DRAWN]]
    left = len(order) - len(cards)
    note = "What each budget brings: points as estimated, with the middle 95 % of draws, and the concave curve above."
    if left:
        note += f" The {left} campaigns that move least are left out here."
    return section("Curves", note, grid(*cards))


def _curve(found: Plan, curves: CurveSet, place: int, ids: ChartIds) -> Markup:
    response, move = found.curves[place], found.moves[place]
    spans = _spans(curves, found, place)
    points = list(zip(response.points.budgets, response.points.values, strict=True))
    most = max([response.values[-1], *(high for _, high in spans)]) or 1.0
    lines = [
        Series("concave curve", _floats(response.budgets, response.values), "plan"),
        Series(
            "estimate", tuple((float(at), value) for at, value in points), "spend", marked=True, joined=False,
            bars=tuple(spans),
        ),
        Series("now", ((float(move.before), response.value(move.before)),), "fault", marked=True, joined=False),
        Series("new", ((float(move.after), response.value(move.after)),), "value", marked=True, joined=False),
    ]  # fmt: skip
    across = round_axis("budget", 0.0, float(response.most), _units)
    is_money = found.measure.per_unit == 1.0
    down = round_axis(found.measure.name, 0.0, most, _units if is_money else short)
    said = f"From {money(move.before)} to {money(move.after)}; {_returns(found, place)}; {move.stopped}."
    lift = response.lift()
    above = f" The concave curve is up to {percent(lift)} above the points." if lift > 0.01 else ""
    rows: list[list[Content]] = [
        [money(at), amount(value, found.measure), *(amount(end, found.measure) for end in span)]
        for (at, value), span in zip(points, spans or [(value, value) for _, value in points], strict=True)
    ]
    heads = [Column(name) for name in ("Budget", found.measure.name.capitalize(), "Low", "High")]
    return card(
        el("h3", response.name),
        el("p", said + above, class_="note"),
        legend([lines[0], *lines[2:]]),
        plane_chart(ids, f"Curve of {response.name}", said, across, down, lines),
        data_details("The numbers", table(f"Curve of {response.name}", heads, rows)),
    )


def _units(nanos: float) -> str:
    return short(nanos / NANOS_PER_UNIT)


def _returns(found: Plan, place: int) -> str:
    last, following = found.curves[place].returns(found.moves[place].after)
    brings = "" if last == float("inf") else f"the last unit brings {rate(last, found.measure)}, "
    return f"{brings}the next would bring {rate(following, found.measure)}"


def _spans(curves: CurveSet, found: Plan, place: int) -> list[tuple[float, float]]:
    """The middle 95 % of the draws at each point of a curve; empty where there are none."""
    import numpy as np

    drawn = curves.columns[found.measure.column][place][1:]
    if not len(drawn):
        return []
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    spans = list(zip(low.tolist(), high.tolist(), strict=True))
    if len(found.curves[place].points.budgets) > len(spans):
        spans.insert(0, (0.0, 0.0))  # the point at 0 that need not be stated
    return spans


def _floats(budgets: list[int], values: list[float]) -> tuple[tuple[float, float], ...]:
    return tuple((float(at), value) for at, value in zip(budgets, values, strict=True))
