"""Money between an advertiser's campaigns under way: bounded moves to where the next nano brings more.

A paced campaign bids its value times m, so the dearest impression that it buys brings 1 / m for its price: the
inverse of the multiplier *is* the return of the next nano, and nothing needs to be estimated for it. How fast that
return falls is less sure. A curve through where a campaign stands is assumed,

    R(b) = (r B / a) (b / B)^a,    a = r / (value of a nano on average), within [0.1, 0.9]

with B the money left of its flight and r = 1 / m, so that R'(B) = r; a concave curve from nothing to B has just that
average. Who spends less than its plan without being held back by money (m near 1) gains nothing by more and loses
nothing down to what it will use. `core.portfolio` splits by these curves, within bounds that keep it honest:

- a campaign gives or takes at most `step` of its money left in one move, as the curve is good near by only;
- after a move it stays for a while (`pause_ns`), as pacing must find its new multiplier first; and it turns, to give
  after it took or take after it gave, only after `settle_ns`, so that two campaigns do not pass money to and fro;
- it moves only where its return is `edge` off the mean of all, or to serve one whose is; the whole gains
  `least_gain`, and no part of it is less than `least_part` of all that moves: below that it is noise.

What is assumed and not known: stated values of events are comparable between campaigns, predictions are equally
right, and at first price the share of value that is bid is alike. By the model's own estimate no proposal is below
the split now.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bidder.core.portfolio import Bound, Frontier, value_of
from bidder.core.portfolio_moves import HELD, Move, moves_between
from bidder.core.responses import Response, points_of

CENT_NANOS = 10_000_000
_NEAR = "its return is near the mean"
_LITTLE = 1.0 + 1e-9
_POINTS = 20
"""Points of an assumed curve on either side of where a campaign stands."""
_LEAST_POWER, _MOST_POWER = 0.1, 0.9
_FREE = 0.97
"""A multiplier from which a campaign is not held back by money."""
_USED_UP = 0.95
"""Share of its plan that a campaign which spends on plan spends at least."""


class LiveRules(NamedTuple):
    """How boldly to move, see above.

    Attributes:
        step, edge, least_gain, least_part: shares. pause_ns: before a campaign may move again; somewhat short of a
            day, for who asks once a day. settle_ns: before it may turn.
        least_rest_ns: what is left of a flight, below which it is left alone.
    """

    step: float = 0.1
    edge: float = 0.1
    least_gain: float = 0.0005
    least_part: float = 0.02
    pause_ns: int = 22 * 3_600 * 10**9
    settle_ns: int = 3 * 86_400 * 10**9
    least_rest_ns: int = 86_400 * 10**9


class Standing(NamedTuple):
    """One campaign as it stands.

    Attributes:
        name: its id. budget: of its flight, nanos. spent: of that, nanos.
        rest_ns: what is left of its flight. window_ns: time that the next two were counted in.
        window_spend: nanos. window_value: what its goal's events were worth, nanos.
        multiplier: of its pacing in that time, mean of logarithms; None where nobody told it.
        least, most: budgets that somebody wants, nanos. frozen: why it stays, or empty.
        moved: 1 where it last took, -1 where it gave, 0 where neither. moved_ago_ns: how long ago.
    """

    name: str
    budget: int
    spent: int
    rest_ns: int
    window_ns: int
    window_spend: int
    window_value: int
    multiplier: float | None
    least: int = 0
    most: int = 2**62
    frozen: str = ""
    moved: int = 0
    moved_ago_ns: int = 0

    @property
    def left(self) -> int:
        """Nanos that are not spent yet."""
        return max(0, self.budget - self.spent)


class Proposal(NamedTuple):
    """What to move, or why nothing.

    Attributes:
        moves: a move a campaign, by money left of flights; those that stay say why. gain: of value by the model,
            nanos until the flights end, and `share` of what the campaigns will bring.
        hold: why nothing moves; empty where something does.
    """

    moves: list[Move]
    gain: float
    share: float
    hold: str

    def budgets(self, standings: Sequence[Standing]) -> dict[str, int]:
        """New budgets of the flights that change, nanos by campaign."""
        return {
            one.name: one.budget + move.after - move.before
            for one, move in zip(standings, self.moves, strict=True)
            if move.after != move.before
        }


def propose(standings: Sequence[Standing], rules: LiveRules | None = None) -> Proposal:
    """Moves of one account's money, or a hold.

    Args:
        standings: of all its campaigns, in any fixed order. rules: how boldly.
    """
    rules = rules or LiveRules()
    curves = [_curve(one, rules) for one in standings]
    now = [one.left for one in standings]
    wide = [_bound(one, curve, rules) for one, curve in zip(standings, curves, strict=True)]
    standing = value_of(curves, now)
    free = [place for place, bound in enumerate(wide) if bound.least < bound.most]
    if len(free) < 2:
        return _held(curves, wide, now, "fewer than two campaigns are free to move")
    calm = _calmed(curves, wide, now, rules)
    if calm is None:
        return _held(curves, wide, now, f"no return is {rules.edge:.0%} from the mean of all")
    split, bounds = _without_crumbs(curves, calm, now, rules)
    gain = value_of(curves, split) - standing
    share = gain / standing if standing else 0.0
    if share < rules.least_gain or gain <= 0.0:
        return _held(
            curves,
            bounds,
            now,
            f"the move would gain {max(share, 0.0):.3%}, less than {rules.least_gain:.3%}",
        )
    return Proposal(moves_between(curves, bounds, now, split), gain, share, "")


def return_of(one: Standing) -> float | None:
    """What the next nano of a campaign brings; None where it is not known."""
    return None if one.multiplier is None or one.multiplier <= 0.0 else 1.0 / one.multiplier


def _held(curves: list[Response], bounds: list[Bound], now: list[int], why: str) -> Proposal:
    return Proposal(moves_between(curves, bounds, now, now, HELD), 0.0, 0.0, why)


def _needed(one: Standing) -> int | None:
    """Nanos that a campaign which money does not hold back will use; None where it will use all that it is given."""
    if one.multiplier is None or one.multiplier < _FREE or one.window_ns <= 0:
        return None
    needed = one.window_spend * one.rest_ns // one.window_ns
    return None if needed >= _USED_UP * one.left else needed


def _curve(one: Standing, rules: LiveRules) -> Response:
    """The assumed curve of a campaign's money left, up to the most that it may be given in one move."""
    left = max(one.left, 1)
    rate = return_of(one)
    if rate is None:
        return Response(one.name, points_of(one.name, [left], [0.0]))
    mean = one.window_value / one.window_spend if one.window_spend and one.window_value else rate / 0.5
    power = min(max(rate / mean, _LEAST_POWER), _MOST_POWER)
    reach = max(1, int(left * rules.step))
    budgets = {left, *(left + reach * place // _POINTS for place in range(-_POINTS, _POINTS + 1))}
    needed = _needed(one)
    if needed is not None:
        budgets.add(min(max(needed, left - reach), left))
    ordered = sorted(budget for budget in budgets if budget > 0)
    used = [budget if needed is None else min(budget, max(needed, left - reach)) for budget in ordered]
    # Of one that will not use its money up the curve ends where it stops, so that the return beyond is nothing.
    values = [rate * left / power * (each / left) ** power for each in used]
    return Response(one.name, points_of(one.name, ordered, values, [float(each) for each in used]))


def _bound(one: Standing, curve: Response, rules: LiveRules) -> Bound:
    left = one.left
    why = one.frozen or _not_yet(one, rules)
    if why:
        return Bound(left, left, why, why)
    reach = max(1, int(left * rules.step))
    lows = [(left - reach, f"at most {rules.step:.0%} at once"), (one.least - one.spent, "least budget")]
    highs = [(left + reach, f"at most {rules.step:.0%} at once"), (one.most - one.spent, "largest budget")]
    if one.moved and one.moved_ago_ns < rules.settle_ns:
        turned = "does not turn so soon"
        (lows if one.moved > 0 else highs).append((left, turned))
    low, high = max(lows), min(highs)
    # Somebody's own limits may be passed already; that is theirs to mend, and nothing is moved for it.
    return Bound(max(0, min(low[0], left)), min(max(high[0], left), max(curve.most, left)), low[1], high[1])


def _not_yet(one: Standing, rules: LiveRules) -> str:
    """Why a campaign's return is not known well enough to move its money; empty where it is."""
    if one.left == 0:
        return "its money is spent"
    if one.rest_ns < rules.least_rest_ns:
        return "its flight ends soon"
    if return_of(one) is None:
        return "no seat has told its multiplier"
    if one.window_spend == 0:
        return "it has not spent lately"
    if one.moved and one.moved_ago_ns < rules.pause_ns:
        return "it moved lately"
    return ""


def _calmed(
    curves: Sequence[Response], bounds: Sequence[Bound], now: Sequence[int], rules: LiveRules
) -> list[Bound] | None:
    """Bounds in which only those move whose return is far from the mean, and who must give to them or take of them.

    None where nobody's is far. The mean is of logarithms, weighted by money left.
    """
    free = [place for place, bound in enumerate(bounds) if bound.least < bound.most]
    rates = [_rate(curve, at) for curve, at in zip(curves, now, strict=True)]
    known = [place for place in free if rates[place] > 0.0]
    weight = sum(now[place] for place in known)
    mean = math.exp(sum(math.log(rates[place]) * now[place] for place in known) / weight) if weight else 0.0
    far = 1.0 + rules.edge
    takers = {place for place in free if curves[place].returns(now[place])[1] > mean * far}
    givers = {place for place in free if curves[place].returns(now[place])[0] * far < mean}
    if not takers and not givers:
        return None
    serving = {
        place
        for place in free
        if (takers and rates[place] <= mean * _LITTLE) or (givers and rates[place] * _LITTLE >= mean)
    }
    still = {*free} - takers - givers - serving
    return [
        Bound(now[place], now[place], _NEAR, _NEAR) if place in still else bound
        for place, bound in enumerate(bounds)
    ]


def _rate(curve: Response, at: int) -> float:
    """What a nano brings where a campaign stands: between the last one and the next, or the last where it is all."""
    last, more = curve.returns(at)
    return math.sqrt(last * more) if more > 0.0 else last


def _without_crumbs(
    curves: list[Response], bounds: list[Bound], now: list[int], rules: LiveRules
) -> tuple[list[int], list[Bound]]:
    """The best split of which no part is too small to be more than noise, in whole cents; and bounds as kept."""
    bounds = Frontier(curves, bounds).bounds
    while True:
        best = _in_cents(now, Frontier(curves, bounds).at(sum(now), now).budgets)
        moved = [abs(new - old) for new, old in zip(best, now, strict=True)]
        least = rules.least_part * sum(moved) / 2
        crumbs = [place for place, more in enumerate(moved) if 0 < more < least]
        if not crumbs:
            return best, bounds
        place = min(crumbs, key=lambda each: moved[each])
        small = f"its part would be less than {rules.least_part:.0%} of what moves"
        bounds[place] = Bound(now[place], now[place], small, small)


def _in_cents(now: Sequence[int], best: Sequence[int]) -> list[int]:
    """Moves cut to whole cents; what one side is cut short by, the other's largest moves give up."""
    moves = [math.trunc((new - old) / CENT_NANOS) * CENT_NANOS for new, old in zip(best, now, strict=True)]
    over = sum(moves)
    for place in sorted(range(len(moves)), key=lambda each: (-abs(moves[each]), each)):
        if over > 0 and moves[place] > 0:
            cut = min(over, moves[place])
        elif over < 0 and moves[place] < 0:
            cut = max(over, moves[place])
        else:
            continue
        moves[place] -= cut
        over -= cut
    return [old + move for old, move in zip(now, moves, strict=True)]
