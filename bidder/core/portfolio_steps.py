"""One budget for several campaigns where curves are not concave or budgets not free: steps, least spends, S-curves.

Each campaign chooses one of few budgets: corners of its measured curve, multiples of its step, nothing or at least so
much. That is the multiple-choice knapsack. It is solved by dynamic programming over a money grid, on which costs are
rounded up, so that nothing is ever overspent; what rounding left is laid on campaigns that may take any amount, where
it brings most. The relaxation by concave curves (`core.portfolio`) bounds what any split could bring, so that the gap
is stated and not hoped for (Sinha and Zoltners 1979; Kellerer, Pferschy and Pisinger 2004, ch. 11).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.portfolio import Bound, Frontier, checked
from bidder.core.responses import Response
from bidder.errors import InputError

_GRID = 8_192
_MOST_CHOICES = 1_000


class Terms(NamedTuple):
    """What one campaign may be given.

    Attributes:
        bound: least and most, where it is given anything. step: nanos that its budget is a multiple of; 0 for any.
        or_nothing: whether 0 may be given instead.
    """

    bound: Bound
    step: int = 0
    or_nothing: bool = False


class Stepped(NamedTuple):
    """A split among choices.

    Attributes:
        budgets: nanos by campaign. value: by the measured curves. bound: what no split can pass.
        gap: (bound - value) / bound. left: nanos that no choice could take.
    """

    budgets: tuple[int, ...]
    value: float
    bound: float
    gap: float
    left: int


def solve(curves: Sequence[Response], terms: Sequence[Terms], total: int, current: Sequence[int]) -> Stepped:
    """The best choices that a money grid finds, never worse than the current split where that is allowed.

    Args:
        curves: of the campaigns; their measured points count. terms: of each. total: nanos.
        current: budgets as they are; one of the choices where the terms allow it.

    Raises:
        InputError: terms that cannot be kept, or a step that is too small.
    """
    for curve, each in zip(curves, terms, strict=True):
        checked(curve, each.bound)
    relaxed = [each.bound._replace(least=0) if each.or_nothing else each.bound for each in terms]
    frontier = Frontier(curves, relaxed)
    ideal = frontier.at(min(total, frontier.most), current)
    choices = [
        _choices(curve, each, bound, (now, best))
        for curve, each, bound, now, best in zip(
            curves, terms, frontier.bounds, current, ideal.budgets, strict=True
        )
    ]
    chosen = _filled(curves, terms, frontier.bounds, total, _grid(curves, choices, total))
    candidates = [chosen]
    if sum(current) <= total and all(now in own for now, own in zip(current, choices, strict=True)):
        candidates.append(list(current))
    value, budgets = max(((_measured(curves, each), each) for each in candidates), key=lambda found: found[0])
    # A bound by itself is no more than rounding away from what was found: never below it.
    bound = max(_measured_bound(frontier, total), value)
    gap = (bound - value) / bound if bound else 0.0
    return Stepped(tuple(budgets), value, bound, gap, total - sum(budgets))


def _measured(curves: Sequence[Response], budgets: Sequence[int]) -> float:
    return sum(curve.points.value(budget) for curve, budget in zip(curves, budgets, strict=True))


def _measured_bound(frontier: Frontier, total: int) -> float:
    """The concave curves are above the measured ones, so their best is above any choice."""
    split = frontier.at(min(total, frontier.most))
    return sum(curve.value(budget) for curve, budget in zip(frontier.curves, split.budgets, strict=True))


def _choices(curve: Response, terms: Terms, bound: Bound, likely: tuple[int, int]) -> list[int]:
    """Budgets that one campaign may be given, rising; `likely` ones are among them where they are allowed."""
    least, most = max(terms.bound.least, 0), bound.most
    if terms.step:
        first = -(-least // terms.step) * terms.step
        if first > most:
            raise InputError(
                f"multiples of {terms.step} nanos must lie from {least} to {most} for {curve.name}: there is none"
            )
        if (most - first) // terms.step >= _MOST_CHOICES:
            raise InputError(
                f"step of {curve.name} must leave at most {_MOST_CHOICES} budgets from {least} to {most} nanos, was "
                f"{terms.step}"
            )
        found = set(range(first, most + 1, terms.step))
    else:
        corners = (*curve.points.budgets, *likely)
        found = {least, most, *(budget for budget in corners if least <= budget <= most)}
    return sorted(found | ({0} if terms.or_nothing else set()))


def _grid(curves: Sequence[Response], choices: Sequence[Sequence[int]], total: int) -> list[int]:
    """One choice each, of most value on the money grid.

    Raises:
        InputError: if even the least choices pass the total.
    """
    least = [own[0] for own in choices]
    if sum(least) > total:
        raise InputError(
            f"total must be at least {sum(least)} nanos, the sum of the least choices, was {total}"
        )
    cell = max(1, -(-(total - sum(least)) // _GRID))
    cells = (total - sum(least)) // cell
    best: NDArray[np.float64] = np.zeros(cells + 1)
    picks: NDArray[np.int16] = np.zeros((len(curves), cells + 1), dtype=np.int16)
    costs = [[-(-(choice - own[0]) // cell) for choice in own] for own in choices]
    for place, (curve, own) in enumerate(zip(curves, choices, strict=True)):
        grown: NDArray[np.float64] = np.full(cells + 1, -1.0)
        for pick, (choice, cost) in enumerate(zip(own, costs[place], strict=True)):
            if cost > cells:
                break
            reached = best[: cells + 1 - cost] + curve.points.value(choice)
            better = reached > grown[cost:]
            grown[cost:][better] = reached[better]
            picks[place, cost:][better] = pick
        best = grown
    at, chosen = cells, [0] * len(curves)
    for place in range(len(curves) - 1, -1, -1):
        pick = int(picks[place, at])
        chosen[place] = choices[place][pick]
        at -= costs[place][pick]
    return chosen


def _filled(
    curves: Sequence[Response],
    terms: Sequence[Terms],
    bounds: Sequence[Bound],
    total: int,
    budgets: list[int],
) -> list[int]:
    """Lays what is left on campaigns without steps, each time along the edge that brings most."""
    filled = list(budgets)
    left = total - sum(filled)
    while left > 0:
        offers = [
            offer
            for place, (curve, each, bound) in enumerate(zip(curves, terms, bounds, strict=True))
            if (offer := _offer(curve, each, bound, filled[place], left, place)) is not None
        ]
        if not offers:
            break
        _, place, more = min(offers)
        filled[place] += more
        left -= more
    return filled


def _offer(
    curve: Response, terms: Terms, bound: Bound, budget: int, left: int, place: int
) -> tuple[float, int, int] | None:
    """(-return, campaign, nanos) of the next edge of a measured curve; None where none may be taken.

    A campaign that was given nothing instead of its least does not begin by what is left over.
    """
    if terms.step or budget >= bound.most or budget < terms.bound.least:
        return None
    corner = next((each for each in curve.points.budgets if each > budget), bound.most)
    more = min(left, min(corner, bound.most) - budget)
    if more <= 0:
        return None
    gain = curve.points.value(budget + more) - curve.points.value(budget)
    return -gain / more, place, more
