"""The slow twins of `simulator.estimate.play_kernels`: plain numbers, one row after the other."""

import math
from typing import NamedTuple

import numpy as np

from bidder.core.pacing_kernels import charged
from simulator.estimate.controller import Controller, Lot
from simulator.quality.policy_kernels import (
    DUAL,
    F_PACE,
    K_OFFERED,
    K_RESERVED,
    K_SEEN,
    K_SPENT,
    dual_step,
    heard,
)


class NaiveOutcome(NamedTuple):
    """What was won, and every bid."""

    spend: int
    wins: int
    clicks: float
    drawn: int
    bids: list[int]


def _bid(lot: Lot, row: int, wish: float, controller: Controller) -> int:
    if lot.first_price[row]:
        wish *= controller.shade
    if math.isnan(wish) or wish < 1.0:
        return 0
    return min(int(wish), controller.cap_nanos)


def naive_play(lot: Lot, rows: list[int], budget: int, controller: Controller) -> NaiveOutcome:
    """Every row in turn; money under way in a list, the oldest first."""
    state = controller.state(budget, len(rows))
    under_way: list[tuple[int, int]] = [(0, -1)] * (controller.delay + 1)
    spend, wins, clicks, drawn = 0, 0, 0.0, 0
    bids = []
    for turn, row in enumerate(rows):
        bid, paid = under_way.pop(0)
        if bid:
            heard(DUAL, state.s, state.k, bid, paid)
        wish = dual_step(state.s, state.k, lot.value[row], turn / len(rows)) * lot.factor[row]
        state.k[K_SEEN] += 1
        bid = _bid(lot, row, wish, controller)
        if bid > budget - int(state.k[K_SPENT]) - int(state.k[K_RESERVED]):
            bid = 0
        paid = -1
        if bid:
            state.k[K_RESERVED] += bid
            state.k[K_OFFERED] += bid
            charged(state.s[F_PACE:], bid)
            if bid >= lot.price[row]:
                paid = bid if lot.first_price[row] else max(int(lot.price[row]) - 1, int(lot.floor[row]))
                spend, wins, clicks = spend + paid, wins + 1, clicks + float(lot.gain[row, 0])
                if lot.known[row] == 1 or (lot.known[row] == 2 and bid < lot.bound[row]):
                    drawn += paid
        under_way.append((bid, paid))
        bids.append(bid)
    return NaiveOutcome(spend, wins, clicks, drawn, bids)


def naive_sweep(lot: Lot, multiplier: float, controller: Controller) -> NaiveOutcome:
    """One fixed multiplier, without a budget."""
    spend, wins, clicks, drawn = 0, 0, 0.0, 0
    bids = []
    for row in range(len(lot.value)):
        bid = _bid(lot, row, lot.value[row] * (multiplier * lot.factor[row]), controller)
        bids.append(bid)
        if bid > 0 and bid >= lot.price[row]:
            paid = bid if lot.first_price[row] else max(int(lot.price[row]) - 1, int(lot.floor[row]))
            spend, wins, clicks = spend + paid, wins + 1, clicks + float(lot.gain[row, 0])
            if lot.known[row] == 1 or (lot.known[row] == 2 and bid < lot.bound[row]):
                drawn += paid
    return NaiveOutcome(spend, wins, clicks, drawn, bids)


def random_lot(seed: int, n: int) -> Lot:
    """Auctions of every kind: both auction types, unknown values, prices that are known, drawn or bounded."""
    rng = np.random.default_rng(seed)
    value = np.exp(rng.normal(13.0, 1.0, n))
    value[rng.random(n) < 0.05] = np.nan
    price = np.exp(rng.normal(12.5, 1.0, n)).astype(np.int64) + 1
    floor = np.where(rng.random(n) < 0.3, price, price // 2)
    known = rng.integers(0, 3, n).astype(np.uint8)
    bound = np.where(known == 2, price + rng.integers(0, 200_000, n), 0)
    gain = rng.random((n, 3))
    factor = np.where(rng.random(n) < 0.2, np.exp(rng.normal(0, 0.3, n)), 1.0)
    return Lot(value, factor, price, floor, known, bound, gain, rng.random(n) < 0.4)
