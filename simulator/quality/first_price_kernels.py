"""Bidders at first price as compiled steps, and the loop that plays their auctions.

A win is worth w, the value times the multiplier of dual pacing where a budget paces, else the value. The bid is w
itself, a constant share of w, or the landscape's best bid for w, by the kernel that the live engine calls. Arms and
exploration are drawn as live. A bid wins where it reaches the price to beat, as in `models.landscape`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

from numba import njit

from bidder.core.exploration_kernels import A_HELD, A_LANDSCAPE, L_SHARE, arm_of, explored, is_moved
from bidder.core.pacing_kernels import charged
from bidder.core.shading_kernels import shaded_worth
from simulator.quality.policy_kernels import (
    DUAL,
    F_PACE,
    K_BUDGET,
    K_OFFERED,
    K_RESERVED,
    K_SEED,
    K_SEEN,
    K_SPENT,
    S_DEVIATION,
    S_VALUE,
    T_BIDS,
    T_CLICKS,
    T_MOST_RESERVED,
    T_REFUSED,
    T_SPEND,
    T_WINS,
    dual_step,
    heard,
    offer_of,
)

TRUTHFUL, SHARE, LANDSCAPE = range(3)
"""What is bid of w."""
_SEED_STEP = 1 << 32


@njit(cache=True)
def worth_of_win(s, k, paced, value, over):
    """W of an auction; moves the state on by it. NaN where the value is none."""
    worth = dual_step(s, k, value, over) if paced else value
    k[K_SEEN] += 1
    return worth if value == value else math.nan


@njit(cache=True)
def wish_for(kind, share, worth, stratum, learned, starts, worths, segments, grid, survival):
    """What is bid for a win that is worth so much."""
    if kind == TRUTHFUL:
        return worth
    if kind == LANDSCAPE and learned:
        return shaded_worth(worth, share * worth, 0, stratum, starts, worths, segments, grid, survival)
    return share * worth


@njit(cache=True)
def play_first(
    kind, share, paced, learned, begin, end, value, price, click, over, slot, stratum, cap, law, starts, worths,
    segments, grid, survival, s, k, ring, totals, sums, slots, bids, factors,
):  # fmt: skip
    """Plays auctions `begin` to `end`; may be called again to go on.

    Args:
        kind: of the bidder. share: constant share of w, where it bids that. paced: whether a budget paces.
        learned: whether there are curves: starts to survival, of `bidder.core.shading.envelopes_of`.
        value: float64[n], nanos. price: int64[n], the least bid that wins. stratum: int32[n], whose curve.
        click, over, slot: as for `policy_kernels.play`. cap: highest bid. law: float64[3], of `exploration_kernels`.
        s, k, ring, totals, sums, slots: as `policy_kernels.play`.
        bids: int64[n], written, 0 for none. factors: float64[n], written: what chance moved a bid by, 0 for not.
    """
    places = ring.shape[0]
    budget_over = 1.0 / max(k[K_BUDGET], 1)
    place = k[K_SEEN] % places
    for t in range(begin, end):
        if ring[place, 0] > 0:
            heard(DUAL, s, k, ring[place, 0], ring[place, 1])
            ring[place, 0] = 0
        seed = k[K_SEED] * _SEED_STEP + t
        arm = arm_of(seed, kind == LANDSCAPE and learned, law)
        worth = worth_of_win(s, k, paced, value[t], over[t])
        by = kind if arm == A_LANDSCAPE or kind != LANDSCAPE else SHARE
        wish = wish_for(by, share, worth, stratum[t], learned, starts, worths, segments, grid, survival)
        bid = offer_of(wish, cap)
        bids[t], factors[t] = 0, 0.0
        if bid > 0:
            free = k[K_BUDGET] - k[K_SPENT] - k[K_RESERVED]
            if law[L_SHARE] > 0.0 and arm != A_HELD:
                bid, factors[t], _ = explored(
                    bid, seed, is_moved(seed, law), 1, cap, worth, 1.0, 1_000_000, 0, 0, free, law
                )
            if bid > free:
                totals[T_REFUSED] += 1
            else:
                bids[t] = bid
                totals[T_BIDS] += 1
                k[K_RESERVED] += bid
                k[K_OFFERED] += bid
                if paced:
                    charged(s[F_PACE:], bid)
                won = bid >= price[t]
                ring[place, 0], ring[place, 1] = bid, bid if won else -1
                if won:
                    totals[T_SPEND] += bid
                    totals[T_WINS] += 1
                    totals[T_CLICKS] += click[t]
                    sums[S_VALUE] += value[t]
                    slots[slot[t]] += bid
                totals[T_MOST_RESERVED] = max(totals[T_MOST_RESERVED], k[K_RESERVED])
        sums[S_DEVIATION] = max(sums[S_DEVIATION], abs(totals[T_SPEND] * budget_over - over[t]))
        place += 1
        if place == places:
            place = 0


@njit(cache=True)
def quotes_first(
    kind, share, paced, learned, values, over, cap, stratum, starts, worths, segments, grid, survival, s, k, own_s,
    own_k, out,
):  # fmt: skip
    """What a bidder would bid for each value from the same state, int64; `own_s` and `own_k` are scratch."""
    for i in range(values.shape[0]):
        own_s[:] = s
        own_k[:] = k
        worth = worth_of_win(own_s, own_k, paced, values[i], over)
        wish = wish_for(kind, share, worth, stratum, learned, starts, worths, segments, grid, survival)
        out[i] = offer_of(wish, cap)


@njit(cache=True)
def best_bids(worths_of_wins, stratum, starts, worths, segments, grid, survival, out):
    """out[i] = the best bid for a win that is worth so much, by the curves of stratum[i]; 0 where nothing is won."""
    for i in range(worths_of_wins.shape[0]):
        bid = shaded_worth(worths_of_wins[i], 0.0, 0, stratum[i], starts, worths, segments, grid, survival)
        out[i] = bid
