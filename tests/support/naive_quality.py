"""The slow twin of `simulator.quality.policy_kernels.play`: plain numbers, a list of what is under way."""

import math
from typing import NamedTuple


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


def naive_play(policy, values, prices, over, budget, cap, delay, start, eta=0.01, window=500, gain=0.3):
    """Plays `dual`, `bslb` or `waterlevel` from a multiplier of `start`."""
    under_way = []
    known = spend = wins = bids = refused = window_known = 0
    value = deviation = window_over = phi = 0.0
    multiplier, expected = start, float(len(values))
    for t in range(len(values)):
        for notice in [one for one in under_way if one[0] + delay < t]:
            under_way.remove(notice)
            if notice[2] >= 0:
                known += notice[2]
                if policy == "dual":
                    step = min(eta * notice[2] * expected / budget, 0.5)
                    multiplier = max(multiplier * math.exp(-step), 1e-6)
        if policy == "dual":
            expected = (len(values) * 0.02 + t) / (0.02 + over[t])
            rate = max(budget - known, 0) / budget / max(1.0 - over[t], 1e-9)
            wish = values[t] * multiplier
            multiplier = min(1.0, multiplier * math.exp(eta * min(rate, 4.0)))
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
        if bid > budget - known - sum(one[1] for one in under_way):
            refused += 1
        elif bid > 0:
            bids += 1
            won = bid > prices[t]
            under_way.append((t, bid, prices[t] if won else -1))
            if won:
                wins, spend, value = wins + 1, spend + prices[t], value + values[t]
        deviation = max(deviation, abs(spend / budget - over[t]))
    return Outcome(value, spend, wins, bids, refused, deviation, multiplier if policy == "dual" else phi)
