"""One budget for several campaigns: where each next nano brings most, and the proof of it.

    max  sum R_k(B_k)   where  sum B_k = B  and  l_k <= B_k <= u_k

with concave, piecewise linear R_k (`core.responses`). There is one price of money p such that each campaign stands
where its return falls through p, or at a bound (Karush, Kuhn and Tucker; of separable problems Everett 1963).
Edges of all curves in order of their return are the *frontier*; the price is found on it by bisection, so that it is
exact and all nanos are placed. Where edges of several campaigns share the price, the split that is nearest to
a wanted one is taken, so that no money moves for nothing; what is then left goes by order.

`core.portfolio_steps` solves what is not concave, `simulator.allocate` asks for analysts, `core.rebalance` for
campaigns under way.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from bidder.core.responses import Response
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal


class Bound(NamedTuple):
    """Least and most of one campaign's budget, nanos; `why` says who wants the least and the most."""

    least: int
    most: int
    why_least: str = ""
    why_most: str = ""


class Split(NamedTuple):
    """Budgets of all campaigns, nanos, in their order, and the price of money: value of the last nano."""

    budgets: tuple[int, ...]
    price: float


class Certificate(NamedTuple):
    """Why no other split brings more, worked out from the split alone.

    Attributes:
        price: value of a nano at which nobody would swap.
        residual: how far returns of campaigns that may give and may take differ, as a share of the larger: 0 at the
            optimum. gap: distance to the dual bound at `price`, as a share of the value. unplaced: nanos.
    """

    price: float
    residual: float
    gap: float
    unplaced: int

    @property
    def holds(self) -> bool:
        """Whether it proves the split."""
        return self.residual < 1e-6 and self.gap < 1e-6 and self.unplaced == 0


class _Edge(NamedTuple):
    """A part of one campaign's curve between its bounds: in order of `-slope`, then of campaigns."""

    fall: float
    campaign: int
    width: int
    spend: float


class Frontier:
    """The most value of each total, campaigns within their bounds.

    Args:
        curves: of the campaigns. bounds: of each.

    Attributes:
        least, most: nanos, sums of the bounds.
        totals: int[edges + 1], nanos, rising. values: float[edges + 1]. spends: float[edges + 1], nanos.

    Raises:
        InputError: bounds that cannot be kept, by name and by how much.
    """

    def __init__(self, curves: Sequence[Response], bounds: Sequence[Bound]) -> None:
        self.curves, self.bounds = curves, [checked(*each) for each in zip(curves, bounds, strict=True)]
        self.least = sum(bound.least for bound in self.bounds)
        self.most = sum(bound.most for bound in self.bounds)
        self._edges = sorted(
            edge for place in range(len(curves)) for edge in _edges(curves[place], self.bounds[place], place)
        )
        least = [bound.least for bound in self.bounds]
        gains = (-edge.fall * edge.width for edge in self._edges)
        self.totals = list(accumulate((edge.width for edge in self._edges), initial=self.least))
        self.values = list(accumulate(gains, initial=value_of(curves, least)))
        self.spends = list(accumulate((edge.spend for edge in self._edges), initial=spend_of(curves, least)))

    def at(self, total: int, near: Sequence[int] | None = None) -> Split:
        """The best split of a total.

        Args:
            total: nanos, in [least, most].
            near: budgets to stay near to where several splits are best; None for the order of campaigns.

        Raises:
            InputError: a total outside, by how much, and who asks most for it.
        """
        self.check(total)
        place = max(bisect_left(self.totals, total), 1) - 1
        budgets = [bound.least for bound in self.bounds]
        if not self._edges:
            return Split(tuple(budgets), 0.0)
        fall = self._edges[place].fall
        tied = [edge for edge in self._edges if edge.fall == fall]
        for edge in self._edges:
            if edge.fall < fall:
                budgets[edge.campaign] += edge.width
        left = total - sum(budgets)
        for campaign, more in _shared(tied, budgets, left, near):
            budgets[campaign] += more
        return Split(tuple(budgets), -fall)

    def total_of_return(self, least_return: float) -> int:
        """The largest total whose last nano brings at least this, value a nano; `least` where none does."""
        return self.totals[bisect_right(self._edges, -least_return, key=lambda edge: edge.fall)]

    def total_of_ratio(self, ratio: float) -> int | None:
        """The largest total at which value over spend is at least `ratio`; None where it is so nowhere."""
        slack = [value - ratio * spend for value, spend in zip(self.values, self.spends, strict=True)]
        for place in range(len(slack) - 1, -1, -1):
            if slack[place] >= 0.0:
                if self.spends[place] == 0.0:
                    break  # nothing spent keeps every ratio, and answers nothing
                if place == len(slack) - 1:
                    return self.totals[place]
                part = slack[place] / (slack[place] - slack[place + 1])
                return self.totals[place] + int(part * self._edges[place].width)
        return None

    def best_ratio(self) -> float:
        """The largest value over spend that any total has: at a corner, as both are linear between corners."""
        pairs = zip(self.values, self.spends, strict=True)
        return max((value / spend for value, spend in pairs if spend > 0), default=0.0)

    def total_of_value(self, value: float) -> int | None:
        """The least total that brings a value; None where none does."""
        place = bisect_left(self.values, value)
        if place == 0:
            return self.least
        if place == len(self.values):
            return None
        rest, gain = value - self.values[place - 1], self.values[place] - self.values[place - 1]
        width = self._edges[place - 1].width
        return self.totals[place - 1] + min(width, int(rest / gain * width) + 1)

    def check(self, total: int) -> None:
        """Raises `InputError` where a total is outside, by how much, and who asks most for it."""
        if total < self.least:
            whose = _largest(self.curves, [(bound.least, bound.why_least) for bound in self.bounds])
            raise InputError(
                f"total must be at least {_units(self.least)}, the sum of all least budgets, was {_units(total)}: "
                f"{_units(self.least - total)} too little; largest: {whose}"
            )
        if total > self.most:
            whose = _largest(self.curves, [(bound.most, bound.why_most) for bound in self.bounds])
            raise InputError(
                f"total must be at most {_units(self.most)}, the sum of all largest budgets, was {_units(total)}: "
                f"{_units(total - self.most)} too much; largest: {whose}"
            )


def value_of(curves: Sequence[Response], budgets: Sequence[int]) -> float:
    """Value of a split."""
    return sum(curve.value(budget) for curve, budget in zip(curves, budgets, strict=True))


def spend_of(curves: Sequence[Response], budgets: Sequence[int]) -> float:
    """Nanos that a split uses."""
    return sum(curve.spend(budget) for curve, budget in zip(curves, budgets, strict=True))


def certify(
    curves: Sequence[Response], bounds: Sequence[Bound], total: int, budgets: Sequence[int]
) -> Certificate:
    """Proves a split, or says how far it is from a proof; reads nothing of how it was found."""
    highest, lowest = 0.0, float("inf")
    for curve, bound, budget in zip(curves, bounds, budgets, strict=True):
        last, more = curve.returns(budget)
        if budget < min(bound.most, curve.most):
            highest = max(highest, more)
        if budget > bound.least:
            lowest = min(lowest, last)
    price = highest if highest <= lowest else (highest + lowest) / 2.0
    residual = max(0.0, highest - lowest) / highest if highest else 0.0
    value = value_of(curves, budgets)
    dual = price * total + sum(
        _surplus(curve, bound, price) for curve, bound in zip(curves, bounds, strict=True)
    )
    gap = max(0.0, dual - value) / value if value else 0.0
    return Certificate(price, residual, gap, total - sum(budgets))


def _surplus(curve: Response, bound: Bound, price: float) -> float:
    """The most of value less cost that a campaign can have within its bounds; at a corner, or at a bound."""
    most = min(bound.most, curve.most)
    corners = [budget for budget in curve.budgets if bound.least < budget < most]
    return max(curve.value(budget) - price * budget for budget in (bound.least, *corners, most))


def checked(curve: Response, bound: Bound) -> Bound:
    """Bounds within the curve.

    Raises:
        InputError: where the least is above the most, or above what the curve knows.
    """
    if bound.least < 0 or bound.most < 0:
        raise InputError(f"bounds of {curve.name} must be >= 0, were {bound.least} and {bound.most} nanos")
    if bound.least > bound.most:
        raise InputError(
            f"least budget of {curve.name} must be at most its largest, {_units(bound.most)}{_said(bound.why_most)}, "
            f"was {_units(bound.least)}{_said(bound.why_least)}: {_units(bound.least - bound.most)} too much"
        )
    if bound.least > curve.most:
        raise InputError(
            f"least budget of {curve.name} must be at most {_units(curve.most)}, the end of its curve, was "
            f"{_units(bound.least)}{_said(bound.why_least)}: {_units(bound.least - curve.most)} too much"
        )
    if bound.most <= curve.most:
        return bound
    return bound._replace(most=curve.most, why_most="the end of its curve")


def _edges(curve: Response, bound: Bound, campaign: int) -> list[_Edge]:
    """The edges of a curve between its bounds."""
    found = []
    for place, slope in enumerate(curve.slopes):
        low = max(curve.budgets[place], bound.least)
        high = min(curve.budgets[place + 1], bound.most)
        if low < high:
            found.append(_Edge(-slope, campaign, high - low, curve.spend(high) - curve.spend(low)))
    return found


def _shared(
    tied: Sequence[_Edge], begun: Sequence[int], left: int, near: Sequence[int] | None
) -> list[tuple[int, int]]:
    """What each of the tied edges gets of the nanos that are left, at most its width; by campaign."""
    wanted = [
        min(max(near[edge.campaign] - begun[edge.campaign], 0), edge.width) if near is not None else 0
        for edge in tied
    ]
    over = left - sum(wanted)
    shares = []
    for edge, want in zip(tied, wanted, strict=True):
        more = min(over, edge.width - want) if over > 0 else max(over, -want)
        over -= more
        shares.append((edge.campaign, want + more))
    assert over == 0, "edges at the price hold what is left"
    return shares


def _largest(curves: Sequence[Response], amounts: Sequence[tuple[int, str]]) -> str:
    ranked = sorted(range(len(curves)), key=lambda place: (-amounts[place][0], place))[:3]
    return ", ".join(
        f"{curves[place].name} {_units(amounts[place][0])}{_said(amounts[place][1])}" for place in ranked
    )


def _said(why: str) -> str:
    return f" ({why})" if why else ""


def _units(nanos: int) -> str:
    return format_decimal(nanos, NANOS_PER_UNIT)
