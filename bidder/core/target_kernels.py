"""The scalar steps of a target controller, compiled once: the engine and the measuring of quality call these.

One target is one row `f`, float64[T_COLUMNS]; `bidder.core.targets` has the formulas and where they come from.
Nothing is allocated; numbers go one at a time, so that a step gives the same bits wherever it is called from.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

from numba import njit

from bidder.core.decision_columns import (
    A_BASE,
    A_GROUP,
    A_KIND,
    A_NANOS,
    AIM_CLICK,
    AIM_CPM,
    AIM_VALUE,
    O_AMOUNT,
    P_CTR,
    P_CVR,
    P_VALUE,
)
from bidder.core.pacing_kernels import power_of_e
from bidder.core.price_kernels import MILLION

(T_ROOM, T_DRIFT, T_UNIT, T_PULL_WORTH, T_PULL, T_CHARGED, T_RATIO, T_BINDING, T_HELD_WORTH, T_HELD, T_BOUGHT,
 T_BOUGHT_COUNT, T_SPENT, T_RIPE, T_OUTCOMES, T_OBSERVED, T_SEEN, T_OVER, T_TOLD_SEEN, T_ENDED_WORTH, T_ENDED,
 T_WON_WORTH, T_POSTED, T_OFFERED, T_TURNS) = range(25)  # fmt: skip
T_COLUMNS = 25
"""Room above the worth at target; its factor at each opportunity; exponents of a nano of slack, and of nanos of
worth and of amount under way, and the exponent that it was moved by for these; observed over predicted outcomes;
recent share of opportunities at which the target and not the budget bounds the bid; predicted worth and amounts of
bids under way; predicted worth of what was won, the outcomes that are predicted of it, and what was spent on it;
the part of that worth whose outcomes must be known by now; outcomes and their worth as told; opportunities, and the
plan at the first one; opportunities at the last tick; decayed sums of worth and amounts of bids that ended, of
worth won, of spend, of amounts bid, and of opportunities."""

MIN_ROOM, MAX_ROOM = 1e-3, 1e3
MAX_STEP = 0.5
MAX_CHARGE = 3.0
MAX_RATE = 0.5
"""Slack that was left over or is missing is made up for at most at this share of the mean spend."""
MIN_RATIO, MAX_RATIO = 0.25, 4.0
RECENT = 200.0
"""Opportunities that the binding share is of."""
SETTLED = 10_000.0
PRIOR_TURNS, PRIOR_SPENT, PRIOR_WON = 200.0, 0.3, 0.4
"""Weight, in opportunities, of what is taken before a bid has ended: shares of amounts spent and of worth won."""
FIRST_HALF = 2_000.0
"""Opportunities after which half of the first steps' addition is left."""
STEP_TIMES_LAG = 2.0
LEAST_BINDING = 0.05
LAST = 500.0
SPREAD = 20.0
_RECENT_ONE = 1.0 / RECENT


@njit(cache=True)
def begin_target(f, start):
    """A target without history: the room to begin with."""
    f[:] = 0.0
    f[T_ROOM] = start
    f[T_DRIFT] = f[T_RATIO] = f[T_BINDING] = 1.0
    f[T_OVER] = -1.0


@njit(cache=True)
def most_of(f, worth, base):
    """The most that an impression may cost, fees included: its worth at target, corrected, and the room above it."""
    return f[T_RATIO] * (worth + f[T_ROOM] * base)


@njit(cache=True)
def opportunity_seen(f, binds):
    """Counts an opportunity, at which the target bounds the bid or does not, and lets the room drift."""
    f[T_SEEN] += 1.0
    f[T_BINDING] += ((1.0 if binds else 0.0) - f[T_BINDING]) * _RECENT_ONE
    f[T_ROOM] = min(max(f[T_ROOM] * f[T_DRIFT], MIN_ROOM), MAX_ROOM)


@njit(cache=True)
def _move(f, exponent):
    f[T_ROOM] = min(max(f[T_ROOM] * power_of_e(exponent), MIN_ROOM), MAX_ROOM)


@njit(cache=True)
def _charge(f):
    """Moves the room for what bids under way are expected to leave over, or takes that back."""
    charge = f[T_PULL_WORTH] * f[T_HELD_WORTH] - f[T_PULL] * f[T_HELD]
    charge = min(max(charge, -MAX_CHARGE), MAX_CHARGE)
    if charge != f[T_CHARGED]:
        _move(f, charge - f[T_CHARGED])
        f[T_CHARGED] = charge


@njit(cache=True)
def bid_made(f, worth, amount):
    """A new bid: its predicted worth at target, and the nanos that are set aside for it."""
    f[T_OFFERED] += amount
    f[T_HELD_WORTH] += worth
    f[T_HELD] += amount
    _charge(f)


@njit(cache=True)
def bid_lost(f, worth, amount):
    """A bid is under way no more, and nothing is known to have been won by it."""
    f[T_HELD_WORTH] = max(f[T_HELD_WORTH] - worth, 0.0)
    f[T_HELD] = max(f[T_HELD] - amount, 0.0)
    f[T_ENDED_WORTH] += worth
    f[T_ENDED] += amount
    _charge(f)


@njit(cache=True)
def bought(f, worth, count, paid):
    """What was won by a bid: a predicted worth and `count` outcomes for `paid` nanos."""
    f[T_BOUGHT] += worth
    f[T_BOUGHT_COUNT] += count
    f[T_SPENT] += paid
    f[T_WON_WORTH] += worth
    f[T_POSTED] += paid
    _move(f, min(max(f[T_UNIT] * (f[T_RATIO] * worth - paid), -MAX_STEP), MAX_STEP))


@njit(cache=True)
def bid_ended(f, worth, amount, count, paid):
    """A bid's result: `paid` nanos for a predicted worth and `count` outcomes, or -1 where it lost."""
    bid_lost(f, worth, amount)
    if paid >= 0.0:
        bought(f, worth, count, paid)


@njit(cache=True)
def worth_of(aim, pctr, pcvr, conversion):
    """What one impression may cost by a target, by prediction, nanos; `conversion`: nanos that one is worth."""
    if aim[A_KIND] == AIM_CPM:
        return aim[A_NANOS]
    if aim[A_KIND] == AIM_CLICK:
        return pctr * aim[A_NANOS]
    if aim[A_KIND] == AIM_VALUE:
        return pctr * pcvr * conversion * aim[A_NANOS]
    return pctr * pcvr * aim[A_NANOS]


@njit(cache=True)
def allowed_by(aims, targets, pctr, pcvr, conversion, factor, value, paced, test):
    """The smaller of what the budget allows, `paced`, and what each target does; counts the opportunity.

    Args:
        aims: float64[own, AIM_COLUMNS]. targets: float64[targets, T_COLUMNS]. pctr, pcvr: scores.
        conversion: nanos that one is worth, where the model says it.
        factor: of the modifiers. value: nanos, times that. test: whether nothing is to be counted.
    """
    allowed = paced
    for k in range(aims.shape[0]):
        target = targets[int(aims[k, A_GROUP])]
        worth = worth_of(aims[k], pctr, pcvr, conversion) * factor
        most = most_of(target, worth, worth if aims[k, A_BASE] == 0.0 else aims[k, A_BASE] * value)
        if not test:
            opportunity_seen(target, most < paced)
        if most < allowed:
            allowed = most
    return allowed


@njit(cache=True)
def aimed_at(aims, targets, logged, quantity, out):
    """Tells the targets of a line item, `aims`, of its bid: scores `logged` and the amount set aside in `out`."""
    for k in range(aims.shape[0]):
        worth = worth_of(aims[k], logged[P_CTR], logged[P_CVR], logged[P_VALUE]) * quantity / MILLION
        bid_made(targets[int(aims[k, A_GROUP])], worth, float(out[O_AMOUNT]))


@njit(cache=True)
def ripen(f, share):
    """Lets `share` of the worth whose outcomes are not known yet become known: 1 - exp(-time / mean delay)."""
    f[T_RIPE] += (f[T_BOUGHT] - f[T_RIPE]) * share


@njit(cache=True)
def ratio_of(f, prior):
    """Observed over predicted worth, with a prior of 1 that weighs as much as `prior` predicted outcomes."""
    if f[T_BOUGHT_COUNT] <= 0.0 or prior <= 0.0:
        return 1.0
    weight = prior * f[T_BOUGHT] / f[T_BOUGHT_COUNT]
    return min(max((f[T_OBSERVED] + weight) / (f[T_RIPE] + weight), MIN_RATIO), MAX_RATIO)


@njit(cache=True)
def slack_of(f, prior):
    """Worth of what was won less what was spent on it, nanos; below 0 the target is missed so far.

    What was observed counts in place of what was predicted, as far as there is enough of it.
    """
    worth = f[T_RATIO] * f[T_BOUGHT]
    if prior > 0.0:
        known = f[T_OUTCOMES] / (f[T_OUTCOMES] + prior)
        worth += known * (f[T_OBSERVED] - f[T_RATIO] * f[T_RIPE])
    return worth - f[T_SPENT]


@njit(cache=True)
def solve_target(f, eta, first_eta, prior, over):
    """Solves again how much slack an opportunity may use, from what was won, spent and observed.

    Args:
        f: the target. eta: step. first_eta: what is added to it at first. prior: see `ratio_of`; 0 for no correction.
        over: share of the plan's traffic that is over.
    """
    if f[T_OVER] < 0.0:
        f[T_OVER] = over
    more = f[T_SEEN] - f[T_TOLD_SEEN]
    f[T_TOLD_SEEN] = f[T_SEEN]
    kept = SETTLED / (SETTLED + more)
    f[T_ENDED_WORTH] *= kept
    f[T_ENDED] *= kept
    f[T_WON_WORTH] *= kept
    f[T_POSTED] *= kept
    f[T_OFFERED] *= kept
    f[T_TURNS] = f[T_TURNS] * kept + more
    f[T_RATIO] = ratio_of(f, prior)
    if f[T_OFFERED] <= 0.0 or f[T_TURNS] <= 0.0:
        f[T_UNIT] = f[T_PULL_WORTH] = f[T_PULL] = f[T_CHARGED] = 0.0
        f[T_DRIFT] = 1.0
        return
    each = f[T_OFFERED] / f[T_TURNS]
    first = PRIOR_TURNS * each
    spent = (f[T_POSTED] + PRIOR_SPENT * first) / (f[T_ENDED] + first)
    won = PRIOR_WON
    if f[T_ENDED_WORTH] > 0.0:
        # So many turns' worth, at the mean worth of what ended for its amount.
        first_worth = first * f[T_ENDED_WORTH] / f[T_ENDED]
        won = (f[T_WON_WORTH] + PRIOR_WON * first_worth) / (f[T_ENDED_WORTH] + first_worth)
    mean = each * spent
    lag = f[T_HELD] / each
    step = eta + first_eta * FIRST_HALF / (FIRST_HALF + max(f[T_SEEN] - lag, 0.0))
    if step * lag > STEP_TIMES_LAG:
        step = STEP_TIMES_LAG / lag
    expected = won * f[T_RATIO] * f[T_HELD_WORTH] - spent * f[T_HELD]
    slack = slack_of(f, prior) + expected
    if slack >= 0.0:
        # Where the budget bounds bids, what they leave over says nothing of the room: it must not wind up.
        step *= max(f[T_BINDING], LEAST_BINDING)
    unit = step / mean
    if f[T_CHARGED] != 0.0 and f[T_UNIT] > 0.0:
        # In another unit the same bids are charged another exponent: that alone moves nothing.
        f[T_CHARGED] = min(max(f[T_CHARGED] * (unit / f[T_UNIT]), -MAX_CHARGE), MAX_CHARGE)
    f[T_UNIT], f[T_PULL_WORTH], f[T_PULL] = unit, unit * won * f[T_RATIO], unit * spent
    _charge(f)
    gone = over - f[T_OVER]
    left = f[T_SEEN] * (1.0 - over) / gone if gone > 0.0 else math.inf
    # What is left over is used up slowly, what is missing is made up for by the end: the first may turn out wrong.
    over_ahead = max(left, SPREAD / step) if slack > 0.0 else max(left, LAST + 2.0 * lag)
    rate = slack / over_ahead / mean
    f[T_DRIFT] = power_of_e(step * min(max(rate, -MAX_RATE), MAX_RATE))
