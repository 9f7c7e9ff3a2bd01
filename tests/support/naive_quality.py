"""The slow twin of `simulator.quality.policy_kernels.play`: plain numbers, a list of what is under way."""

import math
from typing import Any, NamedTuple

import numpy as np


class Outcome(NamedTuple):
    """What was won, and how."""

    value: float
    spend: int
    wins: int
    bids: int
    refused: int
    deviation: float
    last: float
    """What the policy ends with: its multiplier, or its exponent."""


class NaivePace:
    """Pacing of `bidder.core.pacing` that keeps every auction and sums up anew."""

    def __init__(self, start: float, planned: float, eta: float, first_eta: float) -> None:
        self.multiplier, self._planned, self._etas = start, planned, (eta, first_eta)
        self._unit = self._ratio = self._charge = 0.0
        self._last = 0.0
        self._books: list[tuple[int, int, int]] = [(0, 0, 0)]
        self._gaps: list[float] = []
        self._prices: list[int] = []
        self.least = 0.0

    def spend(self, nanos: int) -> None:
        self.multiplier = max(self.multiplier * math.exp(-min(self._unit * nanos, 0.5)), 1e-6)
        self._prices.append(nanos)

    def hold(self, reserved: int) -> None:
        """Charges what bids under way are expected to cost, instead of what they were charged before."""
        charge = min(self._unit * self._ratio * reserved, 3.0)
        self.multiplier = min(max(self.multiplier * math.exp(self._charge - charge), 1e-6), 1.0)
        self._charge = charge

    def solve(self, t: int, over: float, budget: int, spent: int, reserved: int, offered: int) -> None:
        traffic = self._traffic(t, over)
        self._books.append((offered - reserved, spent, offered))
        ended, posted, bid = (decayed(np.diff(column), 10_000) for column in np.transpose(self._books))
        turns = decayed(np.ones(t), 10_000)
        mean = bid / turns if turns else 0.0
        if bid:
            self._ratio = min((posted + 0.3 * 200 * mean) / (ended + 200 * mean), 1.0)
        else:
            self._ratio = 0.3
        lag = reserved / mean if mean else 0.0
        eta, first = self._etas
        self.step = min(eta + first * 300 / (300 + max(t - lag, 0.0)), 0.5 / lag if lag else 1.0)
        unit = self.step * traffic / budget
        if self._unit:
            self._charge = min(self._charge * unit / self._unit, 3.0)
        self._unit = unit
        self.hold(reserved)
        left = max(budget - spent - self._ratio * reserved, 0.0) / budget
        self.rate = min(left / max(1.0 - over, 1e-9), 4.0)
        unspent, held = max(budget - spent, 0) / budget, reserved / budget
        if lag:
            self.rate = min(self.rate, 0.7 * self._ratio * unspent * traffic / lag)
        self.least = 0.0
        if held > 0.3 * unspent and self._prices:
            mean = decayed(self._prices, 999) / decayed(np.ones(len(self._prices)), 999)
            self.least = 0.3 * mean * (held - 0.3 * unspent) / max(unspent - held, 1e-6)

    def _traffic(self, t: int, over: float) -> float:
        """By the decayed counts of opportunities and of the plan that went by with each."""
        weight = min(0.02 * self._planned, 2_000.0)
        seen = decayed(np.append(weight, np.ones(max(t - 1, 0))), 2_000)
        gone = decayed(np.append(weight / self._planned, self._gaps), 2_000)
        if t:
            gap = min(over - self._last, 201 * gone / seen)
            self._gaps.append(gap)
            kept = 2_000 / 2_001
            seen, gone = seen * kept + 1.0, gone * kept + gap
        self._last = over
        mean = (self._planned * 0.02 + t) / (0.02 + over)
        return min(max(seen / gone, mean / 20), mean * 20)


def decayed(numbers: Any, count: float) -> float:
    """The sum where each number, oldest first, counts for `count / (count + 1)` of the next one."""
    ages = np.arange(len(numbers))[::-1]
    return float(np.dot(numbers, (count / (count + 1.0)) ** ages))


def naive_play(
    policy, values, prices, over, budget, cap, delay, start, eta=0.01, first_eta=0.015, window=500, gain=0.3
):
    """Plays `dual`, `bslb` or `waterlevel` from a multiplier of `start`."""
    under_way = []
    known = spend = offered = wins = bids = refused = window_known = 0
    value = deviation = window_over = phi = 0.0
    pace = NaivePace(start, float(len(values)), eta, first_eta)
    for t in range(len(values)):
        for notice in [one for one in under_way if one[0] + delay < t]:
            under_way.remove(notice)
            if notice[2] >= 0:
                known += notice[2]
                pace.spend(notice[2])
            pace.hold(sum(one[1] for one in under_way))
        if policy == "dual":
            pace.solve(t, over[t], budget, known, sum(one[1] for one in under_way), offered)
            wish = values[t] * pace.multiplier
            pace.multiplier = min(1.0, pace.multiplier * math.exp(pace.step * pace.rate))
        elif policy == "bslb":
            wish = values[t] * start * (max(budget - known, 0) / budget) / max(1.0 - over[t], 1e-9)
        else:
            if t and t % window == 0:
                left = max(budget - window_known, 0)
                planned = max(left * (over[t] - window_over) / max(1.0 - window_over, 1e-9), 1.0)
                error = max((planned - (known - window_known)) / planned, -4.0)
                window_over, window_known = over[t], known
                phi = min(max(phi + gain * error, -2.0), 5.0)
            wish = values[t] * start * math.exp(phi)
        bid = min(math.floor(wish), cap) if wish >= 1.0 else 0
        if bid > budget - known - sum(one[1] for one in under_way) or 0 < bid < pace.least:
            refused += 1
        elif bid > 0:
            bids += 1
            offered += bid
            pace.hold(bid + sum(one[1] for one in under_way))
            won = bid > prices[t]
            under_way.append((t, bid, prices[t] if won else -1))
            if won:
                wins, spend, value = wins + 1, spend + prices[t], value + values[t]
        deviation = max(deviation, abs(spend / budget - over[t]))
    return Outcome(value, spend, wins, bids, refused, deviation, pace.multiplier if policy == "dual" else phi)
