"""A new split told move by move: from which budget to which, what a nano brings before and after, what stops it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from bidder.core.portfolio import Bound
from bidder.core.responses import Response


class Move(NamedTuple):
    """What becomes of one campaign.

    Attributes:
        name: of the campaign. before, after: budgets, nanos. gain: of value, by its curve; negative where it gives.
        return_before, return_after: value of the first and of the last nano that moves.
        stopped: why no more moves.
    """

    name: str
    before: int
    after: int
    gain: float
    return_before: float
    return_after: float
    stopped: str


EVEN = "more brings no more than elsewhere"
"""Why no more moves where a split is the best one: the next nano brings at most what the last one of others does."""
HELD = "on hold"


def moves_between(
    curves: Sequence[Response],
    bounds: Sequence[Bound],
    before: Sequence[int],
    after: Sequence[int],
    rest: str = EVEN,
) -> list[Move]:
    """One move a campaign, those that stay among them.

    Args:
        curves: of the campaigns. bounds: as kept, see `Frontier.bounds`. before, after: nanos by campaign.
        rest: why no more moves of a campaign that is between its bounds.
    """
    return [
        _move(curve, bound, old, new, rest)
        for curve, bound, old, new in zip(curves, bounds, before, after, strict=True)
    ]


def part_way(before: Sequence[int], after: Sequence[int], share: float) -> tuple[int, ...]:
    """A share of the way from one split to another of the same total, in whole nanos of that total.

    Args:
        before, after: nanos by campaign. share: in [0, 1].
    """
    part = Fraction(share)
    exact = [Fraction(old) + part * (new - old) for old, new in zip(before, after, strict=True)]
    down = [int(each) for each in exact]
    total = sum(before) + int(part * (sum(after) - sum(before)))
    # The nanos that rounding down left go to the largest remainders, earlier campaigns first.
    order = sorted(range(len(down)), key=lambda place: (down[place] - exact[place], place))
    for place in order[: total - sum(down)]:
        down[place] += 1
    return tuple(down)


def within(wanted: Sequence[int], total: int, bounds: Sequence[Bound]) -> tuple[int, ...]:
    """The split of a total in proportion to `wanted`, as nearly as bounds allow; it is `wanted` where that fits.

    Args:
        wanted: nanos by campaign. total: nanos, within the sums of the bounds. bounds: of each.
    """
    whole = sum(wanted)
    scaled = [total * each // whole if whole else 0 for each in wanted]
    placed = [min(max(each, bound.least), bound.most) for each, bound in zip(scaled, bounds, strict=True)]
    left = total - sum(placed)
    for place, bound in enumerate(bounds):
        more = min(left, bound.most - placed[place]) if left > 0 else max(left, bound.least - placed[place])
        placed[place] += more
        left -= more
    assert left == 0, "the total is within the bounds"
    return tuple(placed)


def _move(curve: Response, bound: Bound, before: int, after: int, rest: str) -> Move:
    gain = curve.value(after) - curve.value(before)
    if after > before:
        ends = curve.returns(before)[1], curve.returns(after)[0]
    elif after < before:
        ends = curve.returns(before)[0], curve.returns(after)[1]
    else:
        ends = (curve.returns(before)[after < curve.most],) * 2
    return Move(curve.name, before, after, gain, *ends, _stopped(bound, after, rest))


def _stopped(bound: Bound, after: int, rest: str) -> str:
    if bound.least == bound.most:
        return bound.why_least or "its bounds leave one budget"
    if after == bound.most:
        return f"at its largest: {bound.why_most or 'bound'}"
    if after == bound.least:
        return f"at its least: {bound.why_least or 'bound'}"
    return rest
