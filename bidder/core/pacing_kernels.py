"""The scalar steps of dual pacing, compiled once: the engine, the pacer and the measuring of quality call these.

One group, one number at a time; `bidder.core.pacing` has the formulas and where they come from. Exponentials are
the C library's, one at a time, so that a step gives the same bits wherever it is called from.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

from numba import njit

MAX_RATE = 4.0
MAX_SPEND_STEP = 0.5
MIN_MULTIPLIER = 1e-6
PRIOR_SHARE = 0.02
"""Weight of the expected traffic, as a share of the flight, against the traffic counted so far."""


@njit(cache=True)
def lifted(multiplier, drift):
    """The multiplier after an eligible opportunity."""
    return min(1.0, multiplier * drift)


@njit(cache=True)
def lowered(multiplier, eta, nanos, expected, budget):
    """The multiplier after a spend of `nanos`, where a flight of `expected` opportunities has `budget` > 0 nanos."""
    step = min(eta * nanos * expected / budget, MAX_SPEND_STEP)
    return max(multiplier * math.exp(-step), MIN_MULTIPLIER)


@njit(cache=True)
def expected_traffic(planned, seen, over):
    """Opportunities of the whole flight, of the `planned` ones and those `seen` by the share `over` of the plan."""
    return (planned * PRIOR_SHARE + seen) / (PRIOR_SHARE + over)


@njit(cache=True)
def drift_of(eta, budget, spent, over):
    """The factor of each opportunity: the rate that is left over the rate of the plan, bounded, in exponents of eta.

    Args:
        eta: step. budget, spent: nanos, 0 where not known. over: share of the plan's traffic that is over.
    """
    left = max(budget - spent, 0) / max(budget, 1)
    rate = min(left / max(1.0 - over, 1e-9), MAX_RATE)
    return math.exp(eta * rate)


@njit(cache=True)
def refresh_groups(eta, budgets, spent, over, asap, planned, seen, drift, expected):
    """Solves the plan of each group again.

    Args:
        eta: step. budgets, spent: int64[groups], nanos. over: float64[groups]. asap: bool[groups], not paced.
        planned: float64[groups], opportunities foreseen. seen: int64[groups], opportunities so far.
        drift, expected: float64[groups], written.
    """
    for group in range(drift.shape[0]):
        expected[group] = expected_traffic(planned[group], seen[group], over[group])
        drift[group] = 1.0 if asap[group] else drift_of(eta, budgets[group], spent[group], over[group])
