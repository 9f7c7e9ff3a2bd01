"""The compiled loops of an estimate: hidden prices drawn, the real controller played again, multipliers swept.

`play` moves the multiplier by the steps that the live engine takes (`bidder.core.pacing_kernels`, through
`simulator.quality.policy_kernels`). Rows are played in the order of `rows`, which a bootstrap repeats and leaves
out. The *price to beat* is the lowest bid that wins: a bid that equals it wins. Money is int64 nanos for one
impression; nothing is allocated.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

from bidder.core.draw_kernels import uniform_of
from bidder.core.pacing_kernels import charged
from models.landscape.kernels import point_below
from simulator.quality.policy_kernels import (
    DUAL,
    F_PACE,
    K_BUDGET,
    K_OFFERED,
    K_RESERVED,
    K_SEEN,
    K_SPENT,
    dual_step,
    heard,
    offer_of,
)

NEVER = np.int64(1) << np.int64(60)
"""A price that no bid beats."""

O_SPEND, O_WINS, O_IMPUTED, O_REFUSED, O_BIDS = range(5)
COUNTS = 5
"""What was paid, won, paid for auctions whose price was drawn, stopped by the guard, and bid."""

G_CLICKS, G_CONVERSIONS, G_VALUE = range(3)
GAINS = 3
"""Columns of what a won row brings: clicks, conversions, value in nanos."""

KNOWN, DRAWN, AT_LEAST = 0, 1, 2
"""Whether a row's price is known, drawn, or known to be beaten by what was bid then."""


@njit(cache=True, nogil=True)
def fraction_of(seed, number):
    """A draw in (0, 1) that depends on the low halves of seed and number alone."""
    return uniform_of(seed, number) + 0.5 / 4294967296.0


@njit(cache=True, nogil=True)
def reached(ratio, stratum, grid, cumulated):
    """P(price <= ratio), linear between points of the grid, level above the last."""
    low = point_below(ratio, grid)
    last = grid.shape[0] - 1
    if low < 0:
        return max(ratio, 0.0) / grid[0] * cumulated[stratum, 0]
    if low >= last:
        return cumulated[stratum, last]
    share = (ratio - grid[low]) / (grid[low + 1] - grid[low])
    return cumulated[stratum, low] + share * (cumulated[stratum, low + 1] - cumulated[stratum, low])


@njit(cache=True, nogil=True)
def ratio_at(mass, stratum, grid, cumulated):
    """The ratio that a share `mass` of prices does not pass; -1 where the curve does not reach so far."""
    row = cumulated[stratum]
    last = grid.shape[0] - 1
    if mass > row[last]:
        return -1.0
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        if row[middle] < mass:
            low = middle + 1
        else:
            high = middle
    begin = 0.0 if low == 0 else float(grid[low - 1])
    before = 0.0 if low == 0 else row[low - 1]
    width = row[low] - before
    share = (mass - before) / width if width > 0.0 else 1.0
    return begin + share * (grid[low] - begin)


@njit(cache=True, nogil=True)
def impute(kind, bound, scale, stratum, grid, cumulated, seed, price):
    """Fills the prices that the log hides: above the bound where lost, up to it where won, any where none was made.

    Args:
        kind: uint8[n], kinds of `simulator.history.auctions`. bound: int64[n], known price or the bid that bounds it.
        scale: float64[n], nanos of a ratio of 1. stratum: int64[n]. grid: int64[G], ratios.
        cumulated: float64[S, G], P(ratio <= point). seed: of the draws. price: int64[n], written.
    """
    for i in range(kind.shape[0]):
        if kind[i] == 0:
            price[i] = max(bound[i], 1)
            continue
        share = fraction_of(seed, i)
        low, high = 0.0, 1.0
        if kind[i] == 1:
            low = reached(bound[i] / scale[i], stratum[i], grid, cumulated)
        elif kind[i] == 2:
            high = reached(bound[i] / scale[i], stratum[i], grid, cumulated)
        found = ratio_at(low + share * (high - low), stratum[i], grid, cumulated) if high > low else -1.0
        if kind[i] == 2:
            price[i] = min(max(np.int64(found * scale[i]), 1), bound[i]) if found >= 0.0 else bound[i]
        elif found < 0.0:
            price[i] = NEVER
        else:
            drawn = np.int64(found * scale[i]) + 1
            price[i] = max(drawn, bound[i] + 1) if kind[i] == 1 else drawn


@njit(cache=True, nogil=True)
def cost_of(price, floor):
    """What a win costs at second price: a nano less than the lowest bid that wins, at least the floor."""
    return price - 1 if price > floor else price


@njit(cache=True, nogil=True)
def play(
    begin, end, rows, value, factor, price, floor, known, bound, gain, first_price, shade, cap, s, k, ring, counts,
    gains, bids,
):  # fmt: skip
    """Plays a budget: every row in turn is bid for by the live controller, won or lost, and heard of.

    Args:
        begin, end: turns to play; a later call goes on. rows: int64[m], which row comes at each turn.
        value: float64[n], nanos that an impression is believed to be worth.
        factor: float64[n], by which exploration moves a bid.
        price, floor: int64[n], to beat, and the exchange's. known: uint8[n], see `KNOWN`.
        bound: int64[n], the bid then. gain: float64[n, GAINS].
        first_price: bool[n], whether a win pays its bid. shade: share of the wish bid there. cap: highest bid.
        s, k: state of the controller, see `policy_kernels`; multiplier, budget and plan stand in it.
        ring: int64[delay + 1, 2], bids under way and what they will turn out to cost, -1 where lost.
        counts, gains: int64[COUNTS], float64[GAINS], added to. bids: int64[m], the bid of each turn; or empty.
    """
    turns, places = rows.shape[0], ring.shape[0]
    place = k[K_SEEN] % places
    noted = bids.shape[0] > 0
    each = 1.0 / max(turns, 1)
    spend, wins, drawn, refused, made = counts[O_SPEND], 0, 0, 0, 0
    clicks, conversions, worth = 0.0, 0.0, 0.0
    for t in range(begin, end):
        if ring[place, 0] > 0:
            heard(DUAL, s, k, ring[place, 0], ring[place, 1])
            ring[place, 0] = 0
        i = rows[t]
        wish = dual_step(s, k, value[i], t * each) * factor[i]
        k[K_SEEN] += 1
        bid = offer_of(wish * shade if first_price[i] else wish, cap)
        if bid > 0:
            if bid > k[K_BUDGET] - k[K_SPENT] - k[K_RESERVED]:
                refused += 1
                bid = 0
            else:
                made += 1
                k[K_RESERVED] += bid
                k[K_OFFERED] += bid
                charged(s[F_PACE:], bid)
                ring[place, 0] = bid
                ring[place, 1] = -1
                if bid >= price[i]:
                    paid = bid if first_price[i] else cost_of(price[i], floor[i])
                    ring[place, 1] = paid
                    spend += paid
                    wins += 1
                    clicks += gain[i, G_CLICKS]
                    conversions += gain[i, G_CONVERSIONS]
                    worth += gain[i, G_VALUE]
                    if known[i] == DRAWN or (known[i] == AT_LEAST and bid < bound[i]):
                        drawn += paid
        if noted:
            bids[t] = bid
        place += 1
        if place == places:
            place = 0
    counts[O_SPEND] = spend
    counts[O_WINS] += wins
    counts[O_IMPUTED] += drawn
    counts[O_REFUSED] += refused
    counts[O_BIDS] += made
    gains[G_CLICKS] += clicks
    gains[G_CONVERSIONS] += conversions
    gains[G_VALUE] += worth


@njit(cache=True, nogil=True)
def sweep(
    rows, value, factor, price, floor, known, bound, gain, first_price, shade, cap, multipliers, counts, gains
):  # fmt: skip
    """Plays fixed multipliers without a budget; `counts` int64[M, COUNTS], `gains` float64[M, GAINS], added to."""
    for m in range(multipliers.shape[0]):
        multiplier = multipliers[m]
        spend, wins, drawn = 0, 0, 0
        clicks, conversions, worth = 0.0, 0.0, 0.0
        for t in range(rows.shape[0]):
            i = rows[t]
            wish = value[i] * (multiplier * factor[i])
            bid = offer_of(wish * shade if first_price[i] else wish, cap)
            if bid > 0 and bid >= price[i]:
                paid = bid if first_price[i] else cost_of(price[i], floor[i])
                spend += paid
                wins += 1
                clicks += gain[i, G_CLICKS]
                conversions += gain[i, G_CONVERSIONS]
                worth += gain[i, G_VALUE]
                if known[i] == DRAWN or (known[i] == AT_LEAST and bid < bound[i]):
                    drawn += paid
        counts[m, O_SPEND] += spend
        counts[m, O_WINS] += wins
        counts[m, O_IMPUTED] += drawn
        gains[m, G_CLICKS] += clicks
        gains[m, G_CONVERSIONS] += conversions
        gains[m, G_VALUE] += worth


@njit(cache=True, nogil=True)
def reach(ratios, stratum, grid, cumulated, out):
    """out[i] = P(price <= ratios[i]) in stratum[i]."""
    for i in range(ratios.shape[0]):
        out[i] = reached(ratios[i], stratum[i], grid, cumulated)
