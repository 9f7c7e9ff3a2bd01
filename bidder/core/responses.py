"""Response curves: what a campaign's budget brings, as points, and the concave curve above them.

A curve is known at budgets of a grid, from 0, where nothing is bought. Between two of them it is a straight line;
beyond the last it is not known, and no budget goes there. More budget never brings less, as it need not be used:
values are raised to the largest before them. What is optimised is the least concave curve above the points (the upper
hull): a mixture over time of the two budgets at its ends reaches each point of an edge.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from bidder.errors import InputError
from bidder.money import MAX_NANOS


class Points(NamedTuple):
    """A curve as it was measured, by rising budget.

    Attributes:
        budgets: nanos, the first 0. values: what each brings, >= 0, in any one unit. spends: nanos that are used.
    """

    budgets: tuple[int, ...]
    values: tuple[float, ...]
    spends: tuple[float, ...]

    def value(self, budget: int) -> float:
        """Value at a budget of the grid's span."""
        return _between(self.budgets, self.values, budget)

    def spend(self, budget: int) -> float:
        """Nanos that are used of a budget of the grid's span."""
        return _between(self.budgets, self.spends, budget)


class Response:
    """The concave curve of a campaign, piecewise linear.

    Args:
        name: of the campaign.
        points: as measured, see `points_of`.

    Attributes:
        budgets: int[h], nanos, rising from 0: its corners. values: float[h]. spends: float[h], nanos.
        slopes: float[h - 1], value a nano along each edge: they fall, and none is negative.
    """

    __slots__ = ("budgets", "name", "points", "slopes", "spends", "values")

    def __init__(self, name: str, points: Points) -> None:
        self.name, self.points = name, points
        corners, self.slopes = _hull(points.budgets, points.values)
        self.budgets = [points.budgets[corner] for corner in corners]
        self.values = [points.values[corner] for corner in corners]
        self.spends = [points.spends[corner] for corner in corners]

    @property
    def most(self) -> int:
        """The largest budget that it is known for."""
        return self.budgets[-1]

    def value(self, budget: int) -> float:
        """Value at a budget in [0, most]."""
        return _between(self.budgets, self.values, budget)

    def spend(self, budget: int) -> float:
        """Nanos that are used at a budget in [0, most]."""
        return _between(self.budgets, self.spends, budget)

    def returns(self, budget: int) -> tuple[float, float]:
        """Value of the last nano before a budget and of the next one after it; the next beyond the end is worth 0."""
        before = bisect_left(self.budgets, budget) - 1
        after = bisect_right(self.budgets, budget) - 1
        next_nano = self.slopes[after] if after < len(self.slopes) else 0.0
        return (self.slopes[before] if before >= 0 else float("inf")), next_nano

    def lift(self) -> float:
        """How far the concave curve is above the points at most, as a share of the largest value."""
        points = self.points
        above = (self.value(at) - value for at, value in zip(points.budgets, points.values, strict=True))
        return max(above) / points.values[-1] if points.values[-1] else 0.0


def points_of(
    name: str, budgets: Sequence[int], values: Sequence[float], spends: Sequence[float] | None = None
) -> Points:
    """The points of a curve: in order, from 0, never falling.

    Args:
        name: of the campaign, for messages.
        budgets: nanos, of their own each, >= 0. values: of each, >= 0.
        spends: nanos that each uses; None where all of it is.

    Raises:
        InputError: if a budget is there twice or out of range, or a number is negative, or not one.
    """
    used = [float(budget) for budget in budgets] if spends is None else spends
    rows = sorted(zip(budgets, values, used, strict=True))
    if not rows or rows[-1][0] <= 0:
        raise InputError(f"curve of {name} must have a budget > 0, has none")
    if rows[0][0] != 0:
        rows.insert(0, (0, 0.0, 0.0))
    ordered: list[int] = []
    best: list[float] = []
    spent: list[float] = []
    for budget, value, spend in rows:
        if not 0 <= budget <= MAX_NANOS or (ordered and budget == ordered[-1]):
            raise InputError(
                f"budgets of the curve of {name} must be >= 0 and each its own, was {budget} nanos"
            )
        if not (0.0 <= value < float("inf") and 0.0 <= spend < float("inf")):
            raise InputError(
                f"value and spend of {name} at {budget} nanos must be numbers >= 0, were {value} and {spend}"
            )
        ordered.append(budget)
        best.append(max(value, best[-1]) if best else value)
        spent.append(spend)
    return Points(tuple(ordered), tuple(best), tuple(spent))


def _hull(budgets: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """Corners of the least concave curve above points, and the slopes between them, which fall strictly.

    Andrew's monotone chain (1979), by slopes themselves: whatever they round to, they fall.
    """
    corners, slopes = [0], list[float]()
    for point in range(1, len(budgets)):
        while True:
            last = corners[-1]
            slope = (values[point] - values[last]) / (budgets[point] - budgets[last])
            if not slopes or slope < slopes[-1]:
                break
            corners.pop()
            slopes.pop()
        corners.append(point)
        slopes.append(slope)
    return corners, slopes


def _between(budgets: Sequence[int], values: Sequence[float], budget: int) -> float:
    assert 0 <= budget <= budgets[-1], f"budget must be within the curve's {budgets[-1]} nanos, was {budget}"
    after = bisect_left(budgets, budget)
    if budgets[after] == budget:
        return values[after]
    low, high = budgets[after - 1], budgets[after]
    # Weights of both ends, so that the value at an end is its own to the last bit.
    share = (budget - low) / (high - low)
    return values[after - 1] * (1.0 - share) + values[after] * share
