"""What is asked for, as a total to split: the same money, another sum, a return to keep, a result at least money."""

from enum import StrEnum
from typing import NamedTuple

from bidder.core.portfolio import Frontier
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal
from simulator.allocate.curves import Measure


class Goal(StrEnum):
    """What is to be best."""

    TOTAL = "total"
    RETURN = "target-roas"
    COST = "target-cpa"
    MARGINAL = "target-mroas"
    LEAST = "min-spend"


class Wanted(NamedTuple):
    """A goal with its number.

    Attributes:
        goal: which. target: value over spend, or of the last nano, by the measure; 0 where there is none.
        total: nanos that must be, or where a goal finds its own total may be placed at most; None for what is now.
    """

    goal: Goal = Goal.TOTAL
    target: float = 0.0
    total: int | None = None


def total_for(frontier: Frontier, wanted: Wanted, current: int, value: float, measure: Measure) -> int:
    """Nanos to place.

    Args:
        frontier: the most value of each total. wanted: the goal. current: nanos that are placed now.
        value: that they bring now. measure: how to say a return.

    Raises:
        InputError: a goal that no total within the bounds meets, and what is the best that one can have.
    """
    if wanted.goal is Goal.TOTAL:
        return current if wanted.total is None else wanted.total
    most = frontier.most if wanted.total is None else wanted.total
    if most < frontier.least:
        frontier.check(most)
    found = _found(frontier, wanted, value, measure)
    return min(found, most)


def _found(frontier: Frontier, wanted: Wanted, value: float, measure: Measure) -> int:
    if wanted.goal is Goal.MARGINAL:
        return frontier.total_of_return(wanted.target)
    if wanted.goal is Goal.LEAST:
        total = frontier.total_of_value(value)
        if total is None:
            now, most = (each / 1e9 * measure.per_unit for each in (value, frontier.values[-1]))
            raise InputError(
                f"result of the split now, {now:,.6g} {measure.name}, must be reachable within bounds, which allow "
                f"at most {most:,.6g}"
            )
        return total
    total = frontier.total_of_ratio(wanted.target)
    if total is None:
        best = frontier.best_ratio()
        if wanted.goal is Goal.COST:
            said = f"cost for one of {measure.name} must be at least {_cost(best)}"
            raise InputError(f"{said}, the least within the bounds, was {_cost(wanted.target)}")
        raise InputError(
            f"return on spend must be at most {best:.6g}, the best within the bounds, was {wanted.target:.6g}"
        )
    return total


def _cost(ratio: float) -> str:
    """Money an event, of events a nano."""
    return format_decimal(round(1.0 / ratio), NANOS_PER_UNIT) if ratio > 0 else "any"
