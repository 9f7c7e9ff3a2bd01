"""All that was measured, as one JSON object and as tables of a console."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table as Grid

from simulator.quality.episodes import EpisodeRow
from simulator.quality.first_price import FirstRow
from simulator.quality.goals import Goal
from simulator.quality.policies import NAMES
from simulator.quality.regimes import RegimeRow
from simulator.quality.runs import Bound, Row
from simulator.quality.target_policies import NAMES as TARGET_NAMES
from simulator.quality.targets import TargetRow
from simulator.quality.through_engine import EngineRow


class Quality(msgspec.Struct, frozen=True):
    """One measurement.

    log: what was played. seed: of all that is drawn. eta: step of our policy. seconds: that it took.
    """

    log: str
    seed: int
    eta: float
    seconds: float
    goals: Sequence[Goal]
    bounds: Sequence[Bound]
    rows: Sequence[Row]
    episodes: Sequence[EpisodeRow]
    regimes: Sequence[RegimeRow]
    targets: Sequence[TargetRow]
    engine: Sequence[EngineRow]
    first_price: Sequence[FirstRow] = ()


def json_object(found: Quality) -> bytes:
    """Everything, with the ratios that follow from it."""
    plain = msgspec.to_builtins(found)
    for row, out in zip(found.rows, plain["rows"], strict=True):
        out |= {"ratio": row.ratio, "spent": row.spent}
    for goal, out in zip(found.goals, plain["goals"], strict=True):
        out["holds"] = goal.holds
    return msgspec.json.encode(plain)


class Mean(msgspec.Struct, frozen=True):
    """A policy over all campaigns and starts: mean and least value over hindsight, least spend over budget."""

    policy: str
    share: float
    delay: int
    ratio: float
    least: float
    spent: float


def means(rows: Sequence[Row]) -> list[Mean]:
    """By policy, budget and delay, in the order of policies."""
    groups: dict[tuple[str, float, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.policy, row.share, row.delay].append(row)
    ordered = sorted(groups.items(), key=lambda item: (NAMES.index(item[0][0]), *item[0][1:]))
    return [
        Mean(
            *key,
            sum(row.ratio for row in group) / len(group),
            min(row.ratio for row in group),
            min(row.spent for row in group),
        )
        for key, group in ordered
    ]


def print_quality(found: Quality, console: Console) -> None:
    """Goals, then policies by their mean value over hindsight."""
    grid = Grid(
        "goal",
        "bound",
        "median",
        "worst",
        "cases",
        "where it is worst",
        title=f"{found.log}, seed {found.seed}",
    )
    for goal in found.goals:
        sign, tone = (">=" if goal.at_least else "<="), ("green" if goal.holds else "red")
        grid.add_row(
            goal.name, f"{sign} {goal.bound:g}", _number(goal.median), f"[{tone}]{_number(goal.worst)}[/{tone}]",
            f"{goal.met} of {goal.cases}", goal.where,
        )  # fmt: skip
    console.print(grid)
    by: dict[str, dict[tuple[float, int], Mean]] = defaultdict(dict)
    for one in means(found.rows):
        by[one.policy][one.share, one.delay] = one
    keys = sorted({key for cells in by.values() for key in cells})
    heads = [f"1/{round(1 / share)}\n{delay:,}" for share, delay in keys]
    grid = Grid(
        "policy", *heads, title="value / hindsight by budget and delay, mean over campaigns and starts"
    )
    for policy, cells in by.items():
        grid.add_row(policy, *(f"{cells[key].ratio:.3f}" if key in cells else "" for key in keys))
    console.print(grid)
    if found.targets:
        console.print(_target_grid(found.targets))
    if found.first_price:
        console.print(first_table(found.first_price))


def first_table(rows: Sequence[FirstRow]) -> Grid:
    """First price learned from wins and losses, beside its rivals."""
    cases = list(dict.fromkeys((row.market, row.budget) for row in rows))
    names = list(dict.fromkeys(row.policy for row in rows))
    by = {(row.market, row.budget, row.policy): row for row in rows}
    title = "first price: surplus over the best bid's without a budget, later half; else value over the best"
    grid = Grid("market", "budget", *names, title=title)
    for market, budget in cases:
        own = [by.get((market, budget, name)) for name in names]
        cells = ["" if row is None else f"{row.surplus if budget is None else row.value:.3f}" for row in own]
        grid.add_row(market, "none" if budget is None else f"1/{round(1 / budget)}", *cells)
    return grid


def _target_grid(rows: Sequence[TargetRow]) -> Grid:
    """Policies that keep to a target, over all cases."""
    heads = ("policy", "mean score", "worst violation", "worst value / optimum", "worst / best in proportion")
    grid = Grid(*heads, title="targets of cost and return, all cases")
    for name in TARGET_NAMES:
        own = [row for row in rows if row.policy == name]
        if own:
            cells = (
                sum(row.score for row in own) / len(own), max(row.worst_violation for row in own),
                min(row.worst_ratio for row in own), min(row.worst_linear for row in own),
            )  # fmt: skip
            grid.add_row(name, *map(_number, cells))
    return grid


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
