"""The best split, how sure it is to help, and the part of the way that is recommended.

A split that is best by estimated curves looks better than it is: it was chosen where errors flatter. Bootstrap draws
tell by how much, as a draw is to the point estimate what that is to the truth (Efron 1983, on apparent error; Smith
and Winkler 2006, the optimizer's curse). For draw d with its own best split x_d, R the point estimate, b the split
now:

    e_d = [R_d(x_d) - R_d(b)] - [R(x_d) - R(b)]      what the gain of draw d was flattered by
    g_d = [R(x) - R(b)] - e_d                         what the gain of x may be in truth

The interval is that of all g_d, the probability that the move helps their share above 0, and the recommended move
goes that share of the way; as curves are concave, part of the way is never below where one stands. Where fewer than
`LEAST_DRAWS` are given nothing is said of certainty.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bidder.core.portfolio import Bound, Certificate, Frontier, certify, spend_of, value_of
from bidder.core.portfolio_moves import EVEN, HELD, Move, moves_between, part_way, within
from bidder.core.portfolio_steps import Stepped, solve
from bidder.core.responses import Response
from bidder.errors import InputError
from simulator.allocate.curves import CurveSet, Measure
from simulator.allocate.goals import Goal, Wanted, total_for
from simulator.allocate.terms import Asked

LEAST_DRAWS = 20
_INTERVAL = (2.5, 97.5)


class Sureness(msgspec.Struct, frozen=True):
    """What bootstrap draws say of a move.

    gain: of value, without what the choice flattered it by. low, high: 95 % interval. helps: share of draws in which
    the move helps. flattered: what was taken off the gain as it looked. draws: how many.
    """

    gain: float
    low: float
    high: float
    helps: float
    flattered: float
    draws: int


class Rules(NamedTuple):
    """When to hold: below this share of draws that help, or this gain as a share of the value now."""

    sure: float = 0.8
    least_gain: float = 0.001


class Plan(NamedTuple):
    """An answer.

    Attributes:
        measure, wanted: what was asked. names: of the campaigns. curves: the point estimate's.
        current: nanos as they are. base: what the new split is compared with: `current`, or that scaled to the total.
        best: the best split. recommended: `best`, part of the way to it, or `base` where the answer is to hold.
        bounds: as kept. certificate: proof of `best`, None where budgets are chosen among few: `stepped` then.
        allowed: whether `base` is within the bounds. apparent: gain of `best` by the point estimate.
        sureness: of `best`; of_recommended: of `recommended`; None where there are too few draws.
        moves: to `recommended`. hold: why nothing is to be moved; empty where something is.
    """

    measure: Measure
    wanted: Wanted
    names: tuple[str, ...]
    curves: list[Response]
    current: tuple[int, ...]
    base: tuple[int, ...]
    best: tuple[int, ...]
    recommended: tuple[int, ...]
    bounds: list[Bound]
    certificate: Certificate | None
    stepped: Stepped | None
    allowed: bool
    apparent: float
    sureness: Sureness | None
    of_recommended: Sureness | None
    moves: list[Move]
    hold: str

    def value(self, budgets: Sequence[int]) -> float:
        """Value of a split by the curves that were optimised."""
        return _value(self.curves, budgets, measured=self.stepped is not None)

    def estimated(self, budgets: Sequence[int]) -> float:
        """Value of a split by the points as they were estimated; the concave curves bridge their dips."""
        return _value(self.curves, budgets, measured=True)

    def spend(self, budgets: Sequence[int]) -> float:
        """Nanos that a split uses."""
        return spend_of(self.curves, budgets)


def plan(
    curves: CurveSet, asked: Asked, measure: Measure, wanted: Wanted | None = None, rules: Rules | None = None
) -> Plan:
    """The best split by the point estimate, and what to do.

    Args:
        curves: of all campaigns. asked: budgets now, bounds. measure: what is to be most.
        wanted: the goal; None for the same money. rules: when to hold.

    Raises:
        InputError: bounds or goals that cannot be kept, saying which and by how much.
    """
    wanted, rules = wanted or Wanted(), rules or Rules()
    if asked.whole and wanted.goal is not Goal.TOTAL:
        raise InputError(
            f"{wanted.goal} must stand without step, or_nothing and measured, was with: state a total instead"
        )
    responses = curves.responses(measure)
    known = Frontier(responses, [Bound(0, response.most) for response in responses])
    for response, now in zip(responses, asked.current, strict=True):
        if now > response.most:
            _too_large(response, now)
    total, best, bounds, stepped = _best(responses, asked, measure, wanted)
    same = wanted.goal is not Goal.TOTAL or total == sum(asked.current)
    base = asked.current if same else within(asked.current, total, known.bounds)
    allowed = _allowed(base, bounds, asked)
    certificate = None if stepped else certify(responses, bounds, total, best)
    measured = stepped is not None
    apparent = _value(responses, best, measured=measured) - _value(responses, base, measured=measured)
    sureness, share = None, 1.0
    draws = _Draws(curves, asked, measure, total, base) if curves.draws > LEAST_DRAWS else None
    if draws is not None:
        sureness = draws.sureness(responses, best, 1.0)
        if wanted.goal is Goal.TOTAL and allowed and not measured:
            share = sureness.helps
    hold = _hold(wanted, rules, allowed, apparent, _value(responses, base, measured=measured), sureness)
    recommended = base if hold else part_way(base, best, share)
    of_recommended = draws.sureness(responses, best, share) if draws is not None and not hold else None
    part = f"part of the way ({share:.0%})" if share < 1.0 else EVEN
    moves = moves_between(responses, bounds, base, recommended, HELD if hold else part)
    return Plan(
        measure, wanted, curves.names, responses, asked.current, base, best, recommended, bounds, certificate,
        stepped, allowed, apparent, sureness, of_recommended, moves, hold,
    )  # fmt: skip


def _best(
    responses: list[Response], asked: Asked, measure: Measure, wanted: Wanted
) -> tuple[int, tuple[int, ...], list[Bound], Stepped | None]:
    """Total, split, bounds as kept, and where budgets are chosen among few what is known of the distance."""
    now = sum(asked.current)
    relaxed = [each.bound._replace(least=0) if each.or_nothing else each.bound for each in asked.terms]
    frontier = Frontier(responses, relaxed)
    total = total_for(frontier, wanted, now, value_of(responses, asked.current), measure)
    if asked.whole:
        frontier.check(total)
        stepped = solve(responses, asked.terms, total, asked.current)
        return total, stepped.budgets, frontier.bounds, stepped
    frontier.check(total)
    near = within(asked.current, total, frontier.bounds) if wanted.goal is Goal.TOTAL else None
    return total, frontier.at(total, near).budgets, frontier.bounds, None


class _Draws:
    """The bootstrap draws, each with its own best split.

    Args:
        curves, asked, measure: as of `plan`. total: nanos. base: what splits are compared with.
    """

    def __init__(
        self, curves: CurveSet, asked: Asked, measure: Measure, total: int, base: tuple[int, ...]
    ) -> None:
        self._base = base
        self._drawn = [curves.responses(measure, draw) for draw in range(1, curves.draws)]
        self._bests: list[tuple[int, ...]] = []
        self._measured = asked.whole
        for drawn in self._drawn:
            if asked.whole:
                self._bests.append(solve(drawn, asked.terms, total, asked.current).budgets)
            else:
                frontier = Frontier(drawn, asked.bounds)
                near = within(base, total, frontier.bounds)
                self._bests.append(frontier.at(total, near).budgets)

    def sureness(self, point: list[Response], best: tuple[int, ...], share: float) -> Sureness:
        """Of a share of the way to a split."""
        looked = self._gain(point, best, share)
        flattered = np.array(
            [
                self._gain(drawn, own, share) - self._gain(point, own, share)
                for drawn, own in zip(self._drawn, self._bests, strict=True)
            ]
        )
        gains = looked - flattered
        low, high = np.percentile(gains, _INTERVAL).tolist()
        helps = float(np.mean(gains > 0.0))
        return Sureness(float(gains.mean()), low, high, helps, float(flattered.mean()), len(gains))

    def _gain(self, responses: list[Response], split: tuple[int, ...], share: float) -> float:
        """Value that part of the way to a split adds."""
        if share == 1.0:
            there: Sequence[int] = split
        else:
            there = part_way(self._base, split, share)
        measured = self._measured
        return _value(responses, there, measured=measured) - _value(responses, self._base, measured=measured)


def _value(responses: Sequence[Response], budgets: Sequence[int], *, measured: bool) -> float:
    if measured:
        return sum(each.points.value(budget) for each, budget in zip(responses, budgets, strict=True))
    return value_of(responses, budgets)


def _allowed(base: Sequence[int], bounds: Sequence[Bound], asked: Asked) -> bool:
    """Whether a split keeps all terms."""
    return all(
        (bound.least <= budget <= bound.most and not (terms.step and budget % terms.step))
        and (budget >= terms.bound.least or (terms.or_nothing and budget == 0))
        for budget, bound, terms in zip(base, bounds, asked.terms, strict=True)
    )


def _hold(
    wanted: Wanted, rules: Rules, allowed: bool, apparent: float, now: float, sureness: Sureness | None
) -> str:
    """Why nothing is to be moved; empty where something is."""
    if wanted.goal is not Goal.TOTAL or not allowed:
        return ""  # a target, or a bound, was asked for: what is now is no answer to it
    if apparent <= rules.least_gain * now:
        return (
            f"the split now is the best one to within {rules.least_gain:.2%} of its value: the best gains "
            f"{apparent / now if now else 0.0:.3%}"
        )
    if sureness is not None and sureness.helps < rules.sure:
        return (
            f"the move helps in {sureness.helps:.0%} of {sureness.draws} draws, fewer than {rules.sure:.0%}"
        )
    return ""


def _too_large(response: Response, now: int) -> None:
    raise InputError(
        f"current budget of {response.name} must be at most {response.most} nanos, the end of its curve, was {now}: "
        "estimate the curve for larger budgets"
    )
