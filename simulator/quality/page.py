"""The page of a measurement: goals, policies beside hindsight, spend curves, clicks, changes, every row."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

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
    pair,
    section,
    table,
)
from models.pages.charts import Axis, Bar, BarRow, ChartIds, Series, bar_chart, legend, plane_chart
from models.pages.markup import Content, Markup, el
from models.pages.text import DASH, count, duration, percent, ratio
from simulator.quality.episodes import EpisodeRow
from simulator.quality.fitting import STARTS
from simulator.quality.goals import OURS, Goal
from simulator.quality.page_first import first_section
from simulator.quality.regimes import NOON, RegimeRow
from simulator.quality.report import Quality, means
from simulator.quality.runs import DELAYS, Bound, Row
from simulator.quality.targets import TargetRow
from simulator.report.text import money

_SHARE_SHOWN = 1 / 8
_HOW = {
    "Hindsight": "the most expected clicks that the budget buys for one who knows all prices and probabilities: "
    "fractional knapsack, the auctions of most probability for their price first",
    "Value / hindsight": "expected clicks of the auctions that were won over those of hindsight, by the "
    "probabilities that the bidder believed",
    "Smooth": "hindsight where each two hundredth of the traffic has its share of the budget, over hindsight: what "
    "even spending costs, whoever does it",
    "Model": "true worth of what hindsight picks by believed probabilities over hindsight by true ones",
    "Fixed": "the optimum's multiplier from begin to end, with the guard: what money under way costs alone",
    "Deviation": "largest distance of spend / budget from the share of traffic that is over",
    "Hourly error": "mean distance of the hours' spend from their share of traffic, over the mean",
    "Violation": "spend over what the outcomes were worth at target, less 1: above 0 they cost more than they may",
    "Proportional": "over the most that bids in proportion to worth can buy within budget and target",
    "Score": "value / optimum times the square of 1 / (1 + violation), where that is below 1",
    "Start": "multiplier at the begin over the one that hindsight would bid; the others were fitted on earlier "
    "auctions",
    "Delay": "auctions until the outcome of a bid is known; its money is set aside until then",
    "Refused": "bids that the guard stopped: budget, less known spend, less bids under way, did not cover them",
    "Recovery": "minutes after noon, or after the outage, until half an hour's spend is within a tenth of what would "
    "use up the budget evenly",
    "Regret after": "1 - value from noon on over what the oracle makes of the same remaining money",
    "Best linear": "expected value of the best bid in proportion to value over the oracle's: what a constant share "
    "leaves",
}


def render(found: Quality) -> str:
    """The whole page: one HTML document that loads nothing."""
    ids = ChartIds()
    return document(
        f"Quality of bidding: {found.log}",
        _header(found),
        figures(_figures(found)),
        _goals(found.goals),
        _policies(found, ids),
        _curves(found, ids),
        _bounds(found.bounds),
        _episodes(found.episodes),
        _regimes(found.regimes, ids),
        first_section(found.first_price, ids),
        _targets(found.targets),
        _engine(found),
        _rows(found.rows),
        _conditions(found),
        glossary(_HOW),
    )


def _header(found: Quality) -> Markup:
    held = sum(goal.holds for goal in found.goals)
    said = f"{held} of {len(found.goals)} goals hold in every case"
    lead = "Value that each policy wins of what hindsight could have, campaign by campaign."
    when = f"{found.log}, seed {found.seed}, {count(len(found.rows))} runs in {duration(found.seconds)}."
    return header("Quality of bidding", lead, when, said + ".", good=held == len(found.goals))


def _figures(found: Quality) -> list[Figure]:
    summary = means(found.rows)
    ours = [one for one in summary if one.policy == OURS and one.delay in (0, 1_000)]
    others = [one for one in summary if one.policy != OURS and (one.share, one.delay) == (_SHARE_SHOWN, 0)]
    shown = [
        Figure(
            f"Budget {_share(one.share)}, delay {count(one.delay)}",
            _ratio(one.ratio),
            f"worst {_ratio(one.least)}, spend {percent(one.spent)} or more",
            _HOW["Value / hindsight"],
        )
        for one in sorted(ours, key=lambda one: (one.delay, one.share))
    ]
    if others:
        best = max(others, key=lambda one: one.ratio)
        name = f"Best baseline, {_share(_SHARE_SHOWN)}, delay 0"
        shown.append(Figure(name, _ratio(best.ratio), f"{best.policy}, worst {_ratio(best.least)}", None))
    over = max((row.overspend_nanos for row in found.rows), default=0)
    return [*shown, Figure("Overspend, nanos", count(over), f"most of {count(len(found.rows))} runs", None)]


def _goals(goals: Sequence[Goal]) -> Markup:
    rows: list[list[Content]] = [
        [
            goal.name,
            f"{'at least' if goal.at_least else 'at most'} {goal.bound:g}",
            _ratio(goal.median),
            _ratio(goal.worst),
            f"{goal.met} of {goal.cases}",
            goal.where,
        ]
        for goal in goals
    ]
    columns = [Column(name) for name in ("Goal", "Bound", "Median", "Worst", "Kept in", "Worst case")]
    return section(
        "Goals", "Of our policy, over all campaigns and starts.", card(table("Goals", columns, rows))
    )


def _policies(found: Quality, ids: ChartIds) -> Markup:
    summary = means(found.rows)
    cards = []
    for share in sorted({one.share for one in summary}):
        rows = []
        for policy in dict.fromkeys(one.policy for one in summary):
            cells = [one for one in summary if one.policy == policy and one.share == share]
            bars = tuple(Bar(one.ratio, "spend" if one.delay == 0 else "value") for one in cells)
            rows.append(BarRow(policy, " / ".join(_ratio(one.ratio, 3) for one in cells), bars))
        title = f"Value over hindsight, budget {_share(share)}"
        cards.append(card(bar_chart(ids, title, "A bar for each delay, 0 first.", rows), _caption(title)))
    body = [
        [
            one.policy,
            _share(one.share),
            count(one.delay),
            _ratio(one.ratio),
            _ratio(one.least),
            percent(one.spent, 2),
        ]
        for one in summary
    ]
    columns = [Column("Policy"), Column("Budget"), Column("Delay", _HOW["Delay"]), Column("Mean"), Column("Worst"),
               Column("Least spend")]  # fmt: skip
    note = "Value over hindsight, mean over campaigns and starts; delays of 0, 100 and 1,000 auctions from the top."
    return section(
        "Policies", note, grid(*cards), data_details("The numbers", table("Value by policy", columns, body))
    )


def _caption(text: str) -> Markup:
    return el("p", text, class_="note")


def _curves(found: Quality, ids: ChartIds) -> Markup:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in found.rows:
        if row.policy == OURS and row.start == STARTS[-1] and row.share == _SHARE_SHOWN and row.curve:
            groups[row.campaign].append(row)
    cards = [_curve(ids, name, rows) for name, rows in groups.items()]
    note = (
        f"Spend over budget less the share of traffic that is over; budget {_share(_SHARE_SHOWN)}, "
        f"started at {STARTS[-1]:g} times the optimum."
    )
    return section("How far spend is from the plan", note, grid(*cards))


def _curve(ids: ChartIds, name: str, rows: Sequence[Row]) -> Markup:
    lines = [Series("plan", ((0.0, 0.0), (1.0, 0.0)), "plan")]
    most = 0.01
    for row, tone in zip(rows, ("spend", "value", "fault"), strict=False):
        ends = [place / len(row.curve) for place in range(1, len(row.curve) + 1)]
        points = [(0.0, 0.0), *((end, y - end) for end, y in zip(ends, row.curve, strict=True))]
        most = max(most, *(abs(y) for _, y in points))
        lines.append(Series(f"delay {count(row.delay)}", tuple(points), tone))
    down = ((-most, f"-{percent(most)}"), (0.0, "0"), (most, percent(most)))
    across = ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))
    chart = plane_chart(
        ids, f"Spend less plan of {name}", f"At most {percent(most)} of the budget from the plan.",
        Axis("traffic", 0.0, 1.0, across), Axis(name, -most, most, down), lines,
    )  # fmt: skip
    return card(chart, legend(lines))


def _bounds(bounds: Sequence[Bound]) -> Markup:
    rows: list[list[Content]] = [
        [
            bound.campaign, _share(bound.share), count(bound.auctions), money(bound.budget_nanos),
            ratio(bound.clicks, 1), _ratio(bound.smoothness), _ratio(bound.model),
            *(_ratio(value) for value in bound.waiting or (None,) * len(DELAYS)),
        ]
        for bound in bounds
    ]  # fmt: skip
    columns = [Column("Campaign"), Column("Budget share"), Column("Auctions"), Column("Budget"),
               Column("Hindsight", _HOW["Hindsight"]), Column("Smooth", _HOW["Smooth"]),
               Column("Model", _HOW["Model"]),
               *(Column(f"Fixed, delay {count(delay)}", _HOW["Fixed"]) for delay in DELAYS)]  # fmt: skip
    note = (
        "What explains a loss beside control: the price of even spending, of the model where truth is known, and of "
        "money that waits for notices."
    )
    return section("What could be had", note, card(table("What could be had", columns, rows)))


def _episodes(rows: Sequence[EpisodeRow]) -> Markup:
    names = list(rows[0].clicks) if rows else []
    body: list[list[Content]] = []
    for row in rows:
        known = row.published or {}
        said = ", ".join(f"{name} {clicks}" for name, clicks in known.items()) or DASH
        body.append(
            [
                row.campaign, _share(row.share), *(count(row.clicks[name]) for name in names),
                *(ratio(row.value[name], 1) for name in names), said, row.rows,
            ]
        )  # fmt: skip
    columns = [Column("Campaign"), Column("Budget"), *(Column(f"{name}, clicks") for name in names),
               *(Column(f"{name}, expected") for name in names), Column("Published"), Column("Rows")]  # fmt: skip
    sources = "; ".join(dict.fromkeys(row.source for row in rows if row.source))
    note = "Episodes of 1,000 auctions with a budget each, as published; `dual_whole` has all money at once."
    return section(
        "Clicks by the published protocol", f"{note} {sources}", card(table("Clicks", columns, body))
    )


def _regimes(rows: Sequence[RegimeRow], ids: ChartIds) -> Markup:
    body: list[list[Content]] = [
        [
            f"{row.scenario}: {row.policy}", count(row.delay), _ratio(row.ratio), _ratio(row.linear),
            percent(1.0 - row.after), DASH if row.recovery is None else f"{row.recovery} min",
            percent(row.spend_nanos / max(row.budget_nanos, 1), 2), percent(row.quarters),
        ]
        for row in rows
    ]  # fmt: skip
    columns = [Column("Noon: policy"), Column("Delay"), Column("Value / oracle"),
               Column("Best linear", _HOW["Best linear"]), Column("Regret after", _HOW["Regret after"]),
               Column("Recovery", _HOW["Recovery"]), Column("Spent"), Column("15-minute error")]  # fmt: skip
    groups: dict[str, list[RegimeRow]] = defaultdict(list)
    for row in rows:
        if row.delay == 0 and row.policy in (OURS, "pid"):
            groups[row.scenario].append(row)
    cards = [_regime(ids, name, group) for name, group in groups.items()]
    note = "First price, truth known; at noon something changes. The plan knows nothing of it."
    return section("Changes", note, grid(*cards), card(table("Changes", columns, body)))


def _regime(ids: ChartIds, name: str, rows: Sequence[RegimeRow]) -> Markup:
    lines = []
    for row, tone in zip(rows, ("spend", "value"), strict=False):
        points = [(0.0, 0.0), *((24.0 * place / len(row.curve), y) for place, y in enumerate(row.curve, 1))]
        lines.append(Series(row.policy, tuple(points), tone))
    hours = ((0.0, "0"), (NOON / 60, "12"), (24.0, "24"))
    chart = plane_chart(
        ids, f"Spend, {name}", "Spend over the last budget by the hour.", Axis("hour", 0.0, 24.0, hours),
        Axis(name, 0.0, 1.0, ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))), lines,
    )  # fmt: skip
    return card(chart, legend(lines))


def _targets(rows: Sequence[TargetRow]) -> Markup:
    body: list[list[Content]] = [
        [
            f"{row.case}: {row.policy}", percent(row.violation, 2), percent(row.worst_violation, 2),
            percent(row.expected, 2), _ratio(row.ratio), _ratio(row.worst_ratio), _ratio(row.worst_linear),
            _ratio(row.score), percent(row.spent, 1), count(round(row.outcomes)),
        ]
        for row in rows
    ]  # fmt: skip
    columns = [Column("Case: policy"), Column("Violation", _HOW["Violation"]), Column("Worst"),
               Column("By true chances"), Column("Value / optimum"), Column("Worst"),
               Column("Worst / proportional", _HOW["Proportional"]), Column("Score", _HOW["Score"]),
               Column("Spend / optimum's"), Column("Outcomes")]  # fmt: skip
    note = (
        "A cost an outcome or a return that is to be kept over the campaign, beside a budget; truth known. No policy "
        "can keep it at all times and still buy as much, so the violation is measured."
    )
    return section("Targets of cost and return", note, card(table("Targets", columns, body)))


def _engine(found: Quality) -> Markup:
    body: list[list[Content]] = [
        [
            row.campaign, _share(row.share), f"x {row.start:g}", count(row.delay), count(row.auctions),
            _ratio(row.ratio), _ratio(row.kernel), "yes" if row.same else "NO",
            percent(row.spend_nanos / max(row.budget_nanos, 1), 2), percent(row.deviation), ratio(row.us, 0),
        ]
        for row in found.engine
    ]  # fmt: skip
    columns = [Column(name) for name in ("Campaign", "Budget", "Start", "Delay", "Auctions", "Engine", "Kernel",
                                         "Bit by bit", "Spent", "Deviation", "us an auction")]  # fmt: skip
    note = "The same auctions as requests to the real engine; counts, spend and last multiplier beside the kernel's."
    return section("Through the whole engine", note, card(table("Through the engine", columns, body)))


def _rows(rows: Iterable[Row]) -> Markup:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.campaign].append(row)
    columns = [Column("Policy"), Column("Budget"), Column("Start", _HOW["Start"]), Column("Delay", _HOW["Delay"]),
               Column("Value"), Column("Hindsight", _HOW["Hindsight"]), Column("Ratio", _HOW["Value / hindsight"]),
               Column("Spend"), Column("Of"), Column("Spent"), Column("Clicks"), Column("Wins"),
               Column("Refused", _HOW["Refused"]), Column("Deviation", _HOW["Deviation"]),
               Column("Hourly error", _HOW["Hourly error"])]  # fmt: skip
    parts = [
        data_details(
            f"{name}: {count(len(group))} runs", table(f"Runs of {name}", columns, [_row(r) for r in group])
        )
        for name, group in groups.items()
    ]
    return section("Every run", None, pair(*(card(part) for part in parts)))


def _row(row: Row) -> list[Content]:
    return [
        row.policy, _share(row.share), DASH if row.start is None else f"x {row.start:g}", count(row.delay),
        ratio(row.value, 2), ratio(row.hindsight, 2), _ratio(row.ratio), money(row.spend_nanos, 4),
        money(row.budget_nanos, 4), percent(row.spent, 2), count(row.clicks), count(row.wins), count(row.refused),
        percent(row.deviation), percent(row.hourly),
    ]  # fmt: skip


def _conditions(found: Quality) -> Markup:
    return section(
        "Conditions",
        None,
        card(
            facts(
                [
                    ("Seed", str(found.seed)),
                    ("Step of our policy", f"{found.eta:g}"),
                    ("Auctions", "a campaign's own in order of time; prices do not answer to bids"),
                    ("Split", "the first quarter fits the baselines, the rest is measured"),
                    ("Price", "second, except under Changes"),
                    ("Ties", "go to the rival; by the published protocol a tie wins, so RLB bids a nano more"),
                    ("Worth of a click", "sixteen times what the last one costs at the optimum"),
                ]
            )
        ),
    )  # fmt: skip


def _share(share: float) -> str:
    return f"1/{round(1 / share)}"


def _ratio(value: float | None, decimals: int = 4) -> str:
    return ratio(value, decimals)
