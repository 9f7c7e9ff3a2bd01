"""Policies that keep to a target as well as to a budget, as compiled steps, and the loop that plays them.

State is `s`, float64[F_COLUMNS] of `policy_kernels` and behind them the row of a target; `k` is as there. `target` is
ours: its steps are `bidder.core.pacing_kernels` and `bidder.core.target_kernels`, which the live engine calls. A bid
has a *worth*: what it may cost at target, by prediction. Its outcome, if it wins, comes later than its notice.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

from numba import njit

from bidder.core.pacing_kernels import charged, set_aside, spent_on
from bidder.core.target_kernels import (
    T_COLUMNS,
    T_OBSERVED,
    T_OUTCOMES,
    bid_ended,
    bid_made,
    most_of,
    opportunity_seen,
    ripen,
    solve_target,
)
from simulator.quality import policy_kernels
from simulator.quality.policy_kernels import (
    F_A,
    F_B,
    F_C,
    F_LAST,
    F_PACE,
    F_PHI,
    F_SUM,
    K_BUDGET,
    K_OFFERED,
    K_RESERVED,
    K_SEEN,
    K_SPENT,
    K_TICK,
    K_WINDOW,
    dual_step,
    offer_of,
)

TARGET, PRODUCT, PID, BUDGET = range(4)
"""Ours; both controllers' multipliers multiplied; PID on the cost of an outcome; the budget's controller alone."""

F_TARGET = policy_kernels.F_COLUMNS
(F_STEP, F_FIRST_STEP, F_PRIOR, F_RIPE, F_UNITS, F_WINDOW_WORTH, F_WINDOW_SPENT) = range(
    F_TARGET + T_COLUMNS, F_TARGET + T_COLUMNS + 7
)
F_COLUMNS = F_TARGET + T_COLUMNS + 7
"""Behind the row of the target: its steps, its prior in outcomes, the share of outcomes that comes to be known at
each auction, worth over value, and worth won and spend of PID's window."""

T_SPEND, T_WINS, T_OUTCOME, T_BIDS, T_REFUSED, T_MOST_RESERVED = range(6)
TOTALS = 6
S_WORTH, S_OBSERVED = range(2)
SUMS = 2
"""What was won is truly worth at target, and what its outcomes turned out to be worth."""
LEAST_PHI, MOST_PHI = -2.0, 5.0


@njit(cache=True)
def solve_at_tick(s, k, over):
    """The target's plan, solved again when the budget's is."""
    if k[K_SEEN] % k[K_TICK] == 0:
        solve_target(s[F_TARGET : F_TARGET + T_COLUMNS], s[F_STEP], s[F_FIRST_STEP], s[F_PRIOR], over)


@njit(cache=True)
def target_step(s, k, value, over):
    """Ours: the smaller of what the budget and what the target allow (Balseiro et al. 2023, min-pacing)."""
    f = s[F_TARGET : F_TARGET + T_COLUMNS]
    solve_at_tick(s, k, over)
    paced = dual_step(s, k, value, over)
    worth = value * s[F_UNITS]
    most = most_of(f, worth, worth)
    opportunity_seen(f, most < paced)
    return most if most < paced else paced


@njit(cache=True)
def product_step(s, k, value, over):
    """One after the other: what the target allows, times the multiplier of the budget."""
    f = s[F_TARGET : F_TARGET + T_COLUMNS]
    solve_at_tick(s, k, over)
    worth = value * s[F_UNITS]
    most = most_of(f, worth, worth)
    opportunity_seen(f, True)
    return dual_step(s, k, most, over)


@njit(cache=True)
def pid_step(s, k, value):
    """PID on the logarithm of the bid, steered to cost at worth in each window (Zhang et al., WSDM 2016)."""
    if k[K_SEEN] > 0 and k[K_SEEN] % k[K_WINDOW] == 0 and s[F_WINDOW_WORTH] > 0.0:
        error = min(max(1.0 - s[F_WINDOW_SPENT] / s[F_WINDOW_WORTH], -1.0), 1.0)
        s[F_SUM] += error
        phi = s[F_A] * error + s[F_B] * s[F_SUM] + s[F_C] * (error - s[F_LAST])
        s[F_LAST] = error
        s[F_PHI] = min(max(phi, LEAST_PHI), MOST_PHI)
        s[F_WINDOW_WORTH] = s[F_WINDOW_SPENT] = 0.0
    return value * s[F_UNITS] * math.exp(s[F_PHI])


@njit(cache=True)
def wish_of(policy, s, k, value, over):
    """What a policy wishes to bid, in nanos; moves its state on by one auction."""
    if policy == TARGET:
        wish = target_step(s, k, value, over)
    elif policy == PRODUCT:
        wish = product_step(s, k, value, over)
    elif policy == PID:
        wish = pid_step(s, k, value)
    else:
        wish = dual_step(s, k, value, over)
    k[K_SEEN] += 1
    return wish if value == value else math.nan


@njit(cache=True)
def offered(policy, s, k, bid, worth):
    """A bid was made."""
    k[K_RESERVED] += bid
    k[K_OFFERED] += bid
    if policy != PID:
        charged(s[F_PACE:F_TARGET], bid)
    if policy == TARGET or policy == PRODUCT:
        bid_made(s[F_TARGET : F_TARGET + T_COLUMNS], worth, float(bid))


@njit(cache=True)
def heard(policy, s, k, bid, paid, worth, count):
    """A notice: the bid is set aside no more; `paid` nanos where it won, -1 where it lost."""
    k[K_RESERVED] -= bid
    if paid >= 0:
        k[K_SPENT] += paid
        s[F_WINDOW_WORTH] += worth
        s[F_WINDOW_SPENT] += paid
    if policy != PID:
        if paid >= 0:
            spent_on(s[F_PACE:F_TARGET], paid)
        set_aside(s[F_PACE:F_TARGET], k[K_RESERVED])
    if policy == TARGET or policy == PRODUCT:
        bid_ended(s[F_TARGET : F_TARGET + T_COLUMNS], worth, float(bid), count, float(paid))


@njit(cache=True)
def play(
    policy, begin, end, value, chance, gain, price, outcome, lag, over, cap, first_price, shade, s, k, ring,
    ring_worth, told, told_worth, totals, sums,
):  # fmt: skip
    """Plays auctions `begin` to `end` of one campaign; may be called again to go on.

    Args:
        policy: by its number. begin, end: auctions to play.
        value: float64[n], nanos that the bidder bids for. chance: float64[n], outcomes that it predicts.
        gain: float64[n], nanos that an impression is truly worth at target.
        price: int64[n], nanos, the highest rival.
        outcome: float64[n], what the outcome is worth at target, 0 where there is none.
        lag: int64[n], auctions from the notice of a win until its outcome is known. over: float64[n], the plan.
        cap: highest bid, nanos. first_price: whether the winner pays its bid. shade: share of the wish bid there.
        s, k: state, see above.
        ring: int64[delay + 1, 2], bids under way and what they will turn out to cost, -1 where lost.
        ring_worth: float64[delay + 1, 2], their worth and predicted outcomes.
        told, told_worth: int64[n], float64[n], outcomes by the auction at which they are known; written.
        totals, sums: int64[TOTALS], float64[SUMS], added to.
    """
    places = ring.shape[0]
    f = s[F_TARGET : F_TARGET + T_COLUMNS]
    place = k[K_SEEN] % places
    for t in range(begin, end):
        if ring[place, 0] > 0:
            heard(policy, s, k, ring[place, 0], ring[place, 1], ring_worth[place, 0], ring_worth[place, 1])
            ring[place, 0] = 0
        if told[t] > 0:
            f[T_OUTCOMES] += told[t]
            f[T_OBSERVED] += told_worth[t]
        ripen(f, s[F_RIPE])
        wish = wish_of(policy, s, k, value[t], over[t])
        bid = offer_of(wish * shade if first_price else wish, cap)
        if bid > 0:
            if bid > k[K_BUDGET] - k[K_SPENT] - k[K_RESERVED]:
                totals[T_REFUSED] += 1
            else:
                totals[T_BIDS] += 1
                worth = value[t] * s[F_UNITS]
                offered(policy, s, k, bid, worth)
                ring[place, 0] = bid
                ring_worth[place, 0], ring_worth[place, 1] = worth, chance[t]
                if bid > price[t]:
                    paid = bid if first_price else price[t]
                    ring[place, 1] = paid
                    totals[T_SPEND] += paid
                    totals[T_WINS] += 1
                    sums[S_WORTH] += gain[t]
                    if outcome[t] > 0.0:
                        totals[T_OUTCOME] += 1
                        sums[S_OBSERVED] += outcome[t]
                        known = t + places + lag[t]
                        if known < told.shape[0]:
                            told[known] += 1
                            told_worth[known] += outcome[t]
                else:
                    ring[place, 1] = -1
                totals[T_MOST_RESERVED] = max(totals[T_MOST_RESERVED], k[K_RESERVED])
        place += 1
        if place == places:
            place = 0


@njit(cache=True)
def quotes(policy, values, over, cap, s, k, own_s, own_k, out):
    """What a policy would bid for each value from the same state, int64; `own_s` and `own_k` are scratch."""
    for i in range(values.shape[0]):
        own_s[:] = s
        own_k[:] = k
        out[i] = offer_of(wish_of(policy, own_s, own_k, values[i], over), cap)
