"""Estimates judged by the truth of many worlds: bias, and how often intervals hold the truth.

Every world is a line of a file, so that a run that was stopped goes on where it was. Its line depends on its recipe
and seed alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulator.estimate.controller import Outcome
from simulator.estimate.estimate import Point, estimate
from simulator.estimate.intervals import Measure
from simulator.estimate.lateness import Lateness, exponential
from simulator.estimate.study import Options, Scenario, Study
from simulator.worlds.draw import AUCTIONS, world_of
from simulator.worlds.recipe import BREAKING, RECIPES
from simulator.worlds.truth import true_outcome
from simulator.worlds.world import World

Floats = NDArray[np.float64]

SHARES = (0.5, 1.0, 2.0)
MEASURES = ("spend_nanos", "impressions", "clicks", "conversions", "value_nanos", "roas", "cpa")
CONTROLS = {"won-only": Options(hidden="lost"), "uncalibrated": Options(corrected=False)}
"""Estimators that must fail."""


class Judged(msgspec.Struct, frozen=True):
    """One measure of one budget of one world."""

    share: float
    measure: str
    truth: float
    point: float
    low: float
    high: float


class Line(msgspec.Struct, frozen=True):
    """One world. luck: clicks that were logged over those that were to be expected of the won auctions, less 1."""

    recipe: str
    control: str
    seed: int
    auctions: int
    draws: int
    clicks: int
    luck: float
    extrapolated: tuple[float, ...]
    judged: tuple[Judged, ...]


class Row(msgspec.Struct, frozen=True):
    """A measure at a share of the logged budget over all worlds.

    bias: mean of estimate over truth, less 1. error: its standard error. steady: the same with the luck of the logged
    clicks, whose mean is known to be 0, taken out by regression; its error. covered: share of the worlds
    whose interval holds the truth. width: mean half-width over the point.
    """

    recipe: str
    control: str
    share: float
    measure: str
    worlds: int
    bias: float
    error: float
    steady: float
    steady_error: float
    covered: float
    width: float


def judge(name: str, seed: int, *, control: str = "", draws: int = 60, auctions: int = AUCTIONS) -> Line:
    """One world, estimated from its log alone and compared with its truth.

    Args:
        name: of the recipe. seed: of the world. control: of `CONTROLS`, or "" for the estimator. draws: of the
            bootstrap. auctions: of the world.
    """
    world = world_of(RECIPES[name], seed, auctions)
    # Exploration of the estimate is drawn anew, as it would be live.
    controller = world.controller._replace(seed=seed + 1_000_000)
    study = Study(world.log, controller, lateness_of(world), options=CONTROLS.get(control, Options()))
    budgets = [int(world.budget_nanos * share) for share in SHARES]
    found = estimate(
        study,
        [Scenario(budget) for budget in budgets],
        draws=draws,
        imputations=4,
        seed=seed,
        shifts=(),
        refuse=not control,
    )
    judged: list[Judged] = []
    for share, budget, point in zip(SHARES, budgets, found.points, strict=True):
        judged += compared(share, true_outcome(world, budget), point)
    won = world.log.won
    expected = float(world.hidden.click[won].sum())
    return Line(
        name, control, seed, auctions, draws, found.clicks, found.clicks / expected - 1.0,
        tuple(point.extrapolated for point in found.points), tuple(judged),
    )  # fmt: skip


def lateness_of(world: World) -> Lateness | None:
    """The law of delays that an estimate is told, None where conversions come at once."""
    return exponential(world.known_until_ns, world.delay_ns) if world.delay_ns > 0.0 else None


def compared(share: float, truth: Outcome, point: Point) -> list[Judged]:
    """Truth beside every measure that is said."""
    true = {
        "spend_nanos": truth.spend_nanos,
        "impressions": truth.impressions,
        "clicks": truth.clicks,
        "conversions": truth.conversions,
        "value_nanos": truth.value_nanos,
        "roas": truth.value_nanos / truth.spend_nanos,
        "cpa": truth.spend_nanos / truth.conversions,
    }
    found = []
    for name in MEASURES:
        measure: Measure = getattr(point, name)
        if measure.point is not None and measure.low is not None and measure.high is not None:
            found.append(Judged(share, name, true[name], measure.point, measure.low, measure.high))
    return found


def run(
    path: Path,
    plan: Sequence[tuple[str, str, int]],
    *,
    draws: int,
    auctions: int = AUCTIONS,
    workers: int = 1,
    tell: Callable[[str], None] | None = None,
) -> list[Line]:
    """Judges all worlds of a plan (recipe, control, seed) that the file does not hold yet; all lines of the plan."""
    lines = read(path)
    done = {
        (line.recipe, line.control, line.seed)
        for line in lines
        if (line.draws, line.auctions) == (draws, auctions)
    }
    todo = [(*key, draws, auctions) for key in plan if key not in done]
    with path.open("ab") as out, ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for line in pool.map(_judge, todo) if workers > 1 else map(_judge, todo):
            out.write(msgspec.json.encode(line) + b"\n")
            out.flush()
            lines.append(line)
            if tell is not None:
                tell(f"{line.recipe} {line.control} {line.seed}: {len(lines)} of {len(plan)}")
    wanted = set(plan)
    return [line for line in lines if (line.recipe, line.control, line.seed) in wanted]


def _judge(one: tuple[str, str, int, int, int]) -> Line:
    name, control, seed, draws, auctions = one
    return judge(name, seed, control=control, draws=draws, auctions=auctions)


def read(path: Path) -> list[Line]:
    """Lines of a file; the last may be torn, as a stopped run leaves it."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]


def plan_of(worlds: int, controls: int, breaking: int, seed: int) -> list[tuple[str, str, int]]:
    """Worlds of all recipes that keep the assumptions in turn; then controls; then what breaks the assumptions."""
    sound = [name for name in RECIPES if name not in BREAKING]
    found = [(sound[number % len(sound)], "", seed + number) for number in range(worlds)]
    found += [("second", control, seed + number) for number in range(controls) for control in CONTROLS]
    return found + [(name, "", seed + number) for number in range(breaking) for name in BREAKING]


def rows_of(lines: Iterable[Line], *, together: bool) -> list[Row]:
    """Lines by recipe, control, share and measure; `together` makes one of all sound recipes, named `all`."""
    groups: dict[tuple[str, str, float, str], list[tuple[Judged, float]]] = {}
    for line in lines:
        name = "all" if together and line.recipe not in BREAKING and not line.control else line.recipe
        for one in line.judged:
            groups.setdefault((name, line.control, one.share, one.measure), []).append((one, line.luck))
    return [_row(*key, group) for key, group in sorted(groups.items())]


def _row(recipe: str, control: str, share: float, measure: str, group: list[tuple[Judged, float]]) -> Row:
    errors = np.array([one.point / one.truth - 1.0 for one, _ in group])
    luck = np.array([each for _, each in group])
    many = len(group)
    slope = float(np.cov(errors, luck)[0, 1] / luck.var(ddof=1)) if many > 2 and luck.std() > 0 else 0.0
    rest = errors - slope * luck
    return Row(
        recipe, control, share, measure, many,
        float(errors.mean()), _error(errors), float(rest.mean()), _error(rest),
        float(np.mean([one.low <= one.truth <= one.high for one, _ in group])),
        float(np.mean([(one.high - one.low) / 2 / one.point for one, _ in group])),
    )  # fmt: skip


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
