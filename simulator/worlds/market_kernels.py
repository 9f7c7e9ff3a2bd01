"""The compiled loop of several learning bidders in one second-price auction.

Everyone paces a budget of his own by the steps of the live controller. The first bidder is ours; a tie goes to a
rival, so that our price to beat is a nano above the best rival's bid. Nothing is allocated.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

from bidder.core.pacing_kernels import charged
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


@njit(cache=True)
def compete(values, factor, floor, caps, s, k, bids, price, offers):
    """Plays all auctions among K bidders.

    Args:
        values: float64[n, K], nanos that each thinks an impression is worth. factor: float64[n], of our own bids.
        floor: int64[n]. caps: int64[K], highest bids. s, k: float64[K, F_COLUMNS], int64[K, K_COLUMNS], states.
        bids, price: int64[n], written: our bid, and the lowest that would have won. offers: int64[K], scratch.
    """
    bidders = values.shape[1]
    each = 1.0 / max(values.shape[0], 1)
    for t in range(values.shape[0]):
        best, second, winner = 0, 0, -1
        for j in range(bidders):
            wish = dual_step(s[j], k[j], values[t, j], t * each)
            k[j, K_SEEN] += 1
            bid = offer_of(wish * factor[t] if j == 0 else wish, caps[j])
            if bid > k[j, K_BUDGET] - k[j, K_SPENT]:
                bid = 0
            offers[j] = bid
            if j > 0:
                if bid > best:
                    best, second, winner = bid, best, j
                elif bid > second:
                    second = bid
        own = offers[0]
        price[t] = max(best + 1, floor[t])
        bids[t] = own
        won = own >= price[t]
        if won:
            winner = 0
        elif own > second:
            second = own
        for j in range(bidders):
            if offers[j] > 0:
                k[j, K_RESERVED] += offers[j]
                k[j, K_OFFERED] += offers[j]
                charged(s[j, F_PACE:], offers[j])
                paid = -1
                if j == winner and offers[j] >= floor[t]:
                    paid = max(best if won else second, floor[t])
                heard(DUAL, s[j], k[j], offers[j], paid)
