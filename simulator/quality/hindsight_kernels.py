"""The compiled sums of `simulator.quality.hindsight`."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit


@njit(cache=True)
def fill(order, value, price, budget):
    """Buys in order while there is money, a part of the last: value, cost, rows bought whole, share of the next."""
    bought, cost = 0.0, 0.0
    for place in range(order.shape[0]):
        row = order[place]
        if cost + price[row] > budget:
            share = (budget - cost) / price[row]
            return bought + share * value[row], float(budget), place, share
        cost += price[row]
        bought += value[row]
    return bought, cost, order.shape[0], 0.0


@njit(cache=True)
def taken(score, price, slack, budget_price, ros_price):
    """Dual sum of budget and return: rows whose reduced value is above 0, what they cost, and what they return."""
    total, cost, surplus = 0.0, 0.0, 0.0
    for row in range(score.shape[0]):
        reduced = score[row] + ros_price * slack[row] - budget_price * price[row]
        if reduced > 0.0:
            total += reduced
            cost += price[row]
            surplus += slack[row]
    return total, cost, surplus


@njit(cache=True)
def hull_steps(value, price, gains, costs):
    """Steps along the upper hull of each auction's slots, from nothing to its most valuable slot.

    Args:
        value, price: float64[n, slots], slots in order of price. gains, costs: float64[n, slots], written; a slot
            that is not on the hull gives a step of cost and gain 0.
    """
    slots = value.shape[1]
    kept = np.empty(slots, dtype=np.int64)
    for row in range(value.shape[0]):
        count = 0
        for slot in range(slots):
            v, p = value[row, slot], price[row, slot]
            gains[row, slot] = 0.0
            costs[row, slot] = 0.0
            if v <= (value[row, kept[count - 1]] if count else 0.0):
                continue
            while count:
                last = kept[count - 1]
                base_v = value[row, kept[count - 2]] if count > 1 else 0.0
                base_p = price[row, kept[count - 2]] if count > 1 else 0.0
                # The last slot stays where its slope is above the slope past it.
                if (value[row, last] - base_v) * (p - base_p) > (v - base_v) * (price[row, last] - base_p):
                    break
                count -= 1
            kept[count] = slot
            count += 1
        base_v, base_p = 0.0, 0.0
        for place in range(count):
            slot = kept[place]
            gains[row, slot] = value[row, slot] - base_v
            costs[row, slot] = price[row, slot] - base_p
            base_v, base_p = value[row, slot], price[row, slot]


@njit(cache=True)
def waited(value, price, cap, budget, multiplier, least, short, ring):
    """Value of one multiplier from begin to end where each bid is set aside whole until its notice.

    Args:
        value: float64[n], nanos. price: int64[n], nanos. cap: highest bid, nanos. budget: nanos.
        multiplier: of value. least: nanos, the least bid that is made while more than a share of `short` of the
            unspent money is set aside. ring: int64[delay + 1, 2], zeros; bids under way and costs, -1 where lost.
    """
    unspent, held, won, place = budget, 0, 0.0, 0
    for t in range(value.shape[0]):
        if ring[place, 0] > 0:
            held -= ring[place, 0]
            unspent -= max(ring[place, 1], 0)
            ring[place, 0] = 0
        wish = value[t] * multiplier
        bid = int(wish) if wish < cap else cap
        if 0 < bid <= unspent - held and (bid >= least or held <= short * unspent):
            held += bid
            ring[place, 0] = bid
            ring[place, 1] = price[t] if bid > price[t] else -1
            if bid > price[t]:
                won += value[t]
        place += 1
        if place == ring.shape[0]:
            place = 0
    return won
