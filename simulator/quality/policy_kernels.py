"""Policies as compiled steps on flat state, and the loop that plays one campaign's auctions.

Every policy is one function `*_step(s, k, table, value, over)`: it reads and moves its state at an opportunity and
returns what it wishes to bid, in nanos. `heard` moves it when a notice comes. State is `s`, float64[F_COLUMNS],
and `k`, int64[I_COLUMNS]; `table` is the value function of RLB. Nothing is allocated.

`dual` is ours: its steps are `bidder.core.pacing_kernels`, which the live engine calls.

A bid wins where it is above the price; a tie goes to the rival.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

from numba import njit

from bidder.core.draw_kernels import uniform_of
from bidder.core.pacing_kernels import (
    G_COLUMNS,
    G_DRIFT,
    G_LEAST,
    G_MOST,
    G_MULTIPLIER,
    MAX_RATE,
    N_COLUMNS,
    N_SEEN,
    charged,
    lifted,
    set_aside,
    solve,
    spent_on,
)

DUAL, CONST, RAND, MCPC, LIN, ORTB, PID, WATERLEVEL, PTR, BSLB, RLB = range(11)
"""Policies; names are in `simulator.quality.policies`."""

F_START, F_ETA, F_FIRST_ETA, F_A, F_B, F_C, F_PHI, F_SUM, F_LAST, F_OVER, F_PACE = range(11)
F_MULTIPLIER = F_PACE + G_MULTIPLIER
F_COLUMNS = F_PACE + G_COLUMNS
"""Multiplier at the start; of `dual` its steps; parameters of baselines; exponent, sum and last error of controllers;
the plan at the last window; then what pacing knows of a group, the multiplier first."""

(K_BUDGET, K_SPENT, K_RESERVED, K_SEEN, K_TICK, K_WINDOW, K_WINDOW_SPENT, K_SEED, K_EPISODE, K_EPISODE_BUDGET,
 K_EPISODE_BASE, K_TOTAL, K_UNIT, K_OFFERED, K_FIXED, K_PACE) = range(16)  # fmt: skip
K_COLUMNS = K_PACE + N_COLUMNS
"""Nanos of budget, known spend and outstanding bids; auctions so far; auctions between ticks and in a window; known
spend at its begin; seed; of RLB auctions and nanos of an episode and what was committed at its begin; auctions in
all; nanos of a step of its table; of `dual` nanos bid, and whether its target is fixed; then counts of pacing."""

T_SPEND, T_WINS, T_CLICKS, T_BIDS, T_REFUSED, T_MOST_RESERVED = range(6)
TOTALS = 6
"""What was paid, won, clicked, bid, refused by the budget's guard, and set aside at most at once."""

S_VALUE, S_DEVIATION = range(2)
SUMS = 2
"""Value won, and the largest distance of spend over budget from the plan."""

_ERROR_BOUND = 4.0
_LEAST_PACE = 1e-3


@njit(cache=True)
def dual_step(s, k, value, over):
    """Ours: the multiplier of `bidder.core.pacing`, its plan solved again at each tick."""
    if k[K_SEEN] % k[K_TICK] == 0:
        solve(
            s[F_PACE:], k[K_PACE:], s[F_ETA], s[F_FIRST_ETA], k[K_FIXED] != 0, k[K_BUDGET], k[K_BUDGET], k[K_SPENT],
            k[K_RESERVED], k[K_SPENT], k[K_OFFERED], over, 1.0, MAX_RATE,
        )  # fmt: skip
    multiplier = s[F_MULTIPLIER]
    s[F_MULTIPLIER] = lifted(multiplier, s[F_PACE + G_DRIFT], s[F_PACE + G_MOST])
    k[K_PACE + N_SEEN] += 1
    return value * multiplier


@njit(cache=True)
def const_step(s):
    """The same bid for every auction."""
    return s[F_A]


@njit(cache=True)
def rand_step(s, k):
    """A bid drawn evenly from 0 to a bound."""
    return s[F_A] * uniform_of(k[K_SEED], k[K_SEEN])


@njit(cache=True)
def linear_step(s, value):
    """LIN and mcpc: value times a number fixed beforehand."""
    return value * s[F_A]


@njit(cache=True)
def ortb_step(s, value):
    """ORTB: sqrt(c v / lambda + c^2) - c, the best bid where P(win | b) = b / (c + b) (Zhang et al., KDD 2014)."""
    c = s[F_B]
    return math.sqrt(max(c * value * s[F_A], 0.0) + c * c) - c


@njit(cache=True)
def window_error(s, k, over):
    """At the end of a window what its plan was missed by, over what was planned; NaN inside one.

    The plan of a window is its share of what was left of the budget when it began, so that controllers follow a
    budget that changes and make good what they missed.
    """
    if k[K_SEEN] == 0 or k[K_SEEN] % k[K_WINDOW] != 0:
        return math.nan
    left = max(k[K_BUDGET] - k[K_WINDOW_SPENT], 0)
    planned = max(left * (over - s[F_OVER]) / max(1.0 - s[F_OVER], 1e-9), 1.0)
    error = (planned - (k[K_SPENT] - k[K_WINDOW_SPENT])) / planned
    s[F_OVER] = over
    k[K_WINDOW_SPENT] = k[K_SPENT]
    return max(error, -_ERROR_BOUND)


@njit(cache=True)
def pid_step(s, k, value, over):
    """PID on the logarithm of the bid (Zhang et al., WSDM 2016), steered to the plan's spend of each window."""
    error = window_error(s, k, over)
    if error == error:
        s[F_SUM] += error
        phi = s[F_A] * error + s[F_B] * s[F_SUM] + s[F_C] * (error - s[F_LAST])
        s[F_LAST] = error
        s[F_PHI] = min(max(phi, -2.0), 5.0)
    return value * s[F_START] * math.exp(s[F_PHI])


@njit(cache=True)
def waterlevel_step(s, k, value, over):
    """Water level: the exponent moves by a share of each window's error."""
    error = window_error(s, k, over)
    if error == error:
        s[F_PHI] = min(max(s[F_PHI] + s[F_A] * error, -2.0), 5.0)
    return value * s[F_START] * math.exp(s[F_PHI])


@njit(cache=True)
def ptr_step(s, k, value, over):
    """Throttle: bids stay, a share of auctions is entered, up or down a tenth a window (Agarwal et al., KDD 2014)."""
    if k[K_SEEN] > 0 and k[K_SEEN] % k[K_WINDOW] == 0:
        behind = k[K_SPENT] <= over * k[K_BUDGET]
        s[F_PHI] = min(max(s[F_PHI] * (1.1 if behind else 0.9), _LEAST_PACE), 1.0)
    if uniform_of(k[K_SEED], k[K_SEEN]) >= s[F_PHI]:
        return 0.0
    return value * s[F_START]


@njit(cache=True)
def bslb_step(s, k, value, over):
    """Budget-smoothed linear bids: times the share of budget that is left over the share of traffic that is."""
    left = max(k[K_BUDGET] - k[K_SPENT], 0) / max(k[K_BUDGET], 1)
    return value * s[F_START] * left / max(1.0 - over, 1e-9)


@njit(cache=True)
def rlb_step(s, k, table, value):
    """RLB: the highest price that is worth its money by the value function (Cai et al., WSDM 2017, algorithm 1)."""
    place = k[K_SEEN] % k[K_EPISODE]
    committed = k[K_SPENT] + k[K_RESERVED]
    if place == 0:
        k[K_EPISODE_BASE] = committed
    length = min(k[K_EPISODE], k[K_TOTAL] - (k[K_SEEN] - place))
    budget = k[K_EPISODE_BUDGET] * length // k[K_EPISODE]
    budget = min(budget, budget - (committed - k[K_EPISODE_BASE]), k[K_BUDGET] - committed)
    if budget < 0 or not value >= 0.0:
        return 0.0
    theta = value * s[F_A]
    row = table[max(length - place - 1, 0)]
    units = min(budget // k[K_UNIT], table.shape[1] - 1)
    low, high = 0, min(units, k[K_WINDOW])
    while low < high:
        middle = (low + high + 1) // 2
        if row[units] - row[units - middle] <= theta:
            low = middle
        else:
            high = middle - 1
    # A nano more, because a tie is lost here and won in the paper.
    return min(float(low * k[K_UNIT] + 1), float(budget))


@njit(cache=True)
def rlb_table(chances, theta, table):
    """Fills float64[T, units]: expected value of t auctions with so much money (Cai et al., 2017, equation 9).

    Args:
        chances: float64[prices], probability of each price in units. theta: mean value of an auction.
        table: written; row 0 is no auction left.
    """
    table[0] = 0.0
    for t in range(1, table.shape[0]):
        before, now = table[t - 1], table[t]
        for money in range(table.shape[1]):
            gain = 0.0
            for price in range(min(chances.shape[0], money + 1)):
                better = theta + before[money - price] - before[money]
                if better < 0.0:
                    break
                gain += chances[price] * better
            now[money] = before[money] + gain


@njit(cache=True)
def wish_of(policy, s, k, table, value, over):
    """What a policy wishes to bid, in nanos; moves its state on by one auction."""
    if policy == DUAL:
        wish = dual_step(s, k, value, over)
    elif policy == CONST:
        wish = const_step(s)
    elif policy == RAND:
        wish = rand_step(s, k)
    elif policy == MCPC or policy == LIN:
        wish = linear_step(s, value)
    elif policy == ORTB:
        wish = ortb_step(s, value)
    elif policy == PID:
        wish = pid_step(s, k, value, over)
    elif policy == WATERLEVEL:
        wish = waterlevel_step(s, k, value, over)
    elif policy == PTR:
        wish = ptr_step(s, k, value, over)
    elif policy == BSLB:
        wish = bslb_step(s, k, value, over)
    else:
        wish = rlb_step(s, k, table, value)
    k[K_SEEN] += 1
    # A row without a value gets no bid, whoever would bid the same for all.
    return wish if value == value else math.nan


@njit(cache=True)
def offer_of(wish, cap):
    """The bid that is made of a wish: whole nanos, at most `cap`, 0 for none; as the engine does it."""
    # Asked this way round, NaN is no bid.
    if not wish >= 1.0:
        return 0
    return int(wish) if wish < cap else cap


@njit(cache=True)
def heard(policy, s, k, bid, paid):
    """A notice: the bid is set aside no more; `paid` nanos where it won, -1 where it lost."""
    k[K_RESERVED] -= bid
    if paid >= 0:
        k[K_SPENT] += paid
    if policy == DUAL:
        if paid >= 0:
            spent_on(s[F_PACE:], paid)
        set_aside(s[F_PACE:], k[K_RESERVED])


@njit(cache=True)
def play(
    policy, begin, end, value, gain, price, click, over, slot, cap, first_price, shade, s, k, table, ring, totals,
    sums, slots,
):  # fmt: skip
    """Plays auctions `begin` to `end` of one campaign; may be called again to go on.

    Args:
        policy: by its number.
        begin, end: auctions to play.
        value: float64[n], nanos that the bidder thinks an impression is worth. gain: float64[n], what it is worth.
        price: int64[n], nanos, the highest rival. click: uint8[n]. over: float64[n], the plan at each auction.
        slot: int32[n], which part of the curve an auction is of.
        cap: highest bid, nanos. first_price: whether the winner pays its bid. shade: share of the wish bid there.
        s, k, table: state, see above.
        ring: int64[delay + 1, 2], bids under way and what they will turn out to cost, -1 where lost.
        totals, sums: int64[TOTALS], float64[SUMS], added to. slots: int64[slots], nanos spent in each.
    """
    places = ring.shape[0]
    budget_over = 1.0 / max(k[K_BUDGET], 1)
    spend, reserved_most = totals[T_SPEND], totals[T_MOST_RESERVED]
    deviation, won_value = sums[S_DEVIATION], sums[S_VALUE]
    wins, clicks, bids, refused = 0, 0, 0, 0
    place = k[K_SEEN] % places
    for t in range(begin, end):
        if ring[place, 0] > 0:
            heard(policy, s, k, ring[place, 0], ring[place, 1])
            ring[place, 0] = 0
        wish = wish_of(policy, s, k, table, value[t], over[t])
        bid = offer_of(wish * shade if first_price else wish, cap)
        if bid > 0:
            if bid > k[K_BUDGET] - k[K_SPENT] - k[K_RESERVED] or (
                policy == DUAL and bid < s[F_PACE + G_LEAST]
            ):
                refused += 1
            else:
                bids += 1
                k[K_RESERVED] += bid
                if policy == DUAL:
                    k[K_OFFERED] += bid
                    charged(s[F_PACE:], bid)
                ring[place, 0] = bid
                if bid > price[t]:
                    paid = bid if first_price else price[t]
                    ring[place, 1] = paid
                    spend += paid
                    wins += 1
                    clicks += int(click[t])
                    won_value += gain[t]
                    slots[slot[t]] += paid
                else:
                    ring[place, 1] = -1
                reserved_most = max(reserved_most, k[K_RESERVED])
        deviation = max(deviation, abs(spend * budget_over - over[t]))
        place += 1
        if place == places:
            place = 0
    totals[T_SPEND] = spend
    totals[T_MOST_RESERVED] = reserved_most
    totals[T_WINS] += wins
    totals[T_CLICKS] += clicks
    totals[T_BIDS] += bids
    totals[T_REFUSED] += refused
    sums[S_VALUE] = won_value
    sums[S_DEVIATION] = deviation


@njit(cache=True)
def quotes(policy, values, over, cap, s, k, table, own_s, own_k, out):
    """What a policy would bid for each value from the same state, int64; `own_s` and `own_k` are scratch."""
    for i in range(values.shape[0]):
        own_s[:] = s
        own_k[:] = k
        out[i] = offer_of(wish_of(policy, own_s, own_k, table, values[i], over), cap)
