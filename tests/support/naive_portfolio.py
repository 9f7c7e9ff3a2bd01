"""Splits of a budget found the slow way: linear programming, and every combination of few budgets."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.optimize import linprog

from bidder.core.portfolio import Bound
from bidder.core.responses import Response


def best_by_linprog(curves: Sequence[Response], bounds: Sequence[Bound], total: int) -> float:
    """The most value of a total: mixtures of the measured points as weights that sum to one for each campaign."""
    values, budgets, owner = [], [], []
    for place, curve in enumerate(curves):
        for budget, value in zip(curve.points.budgets, curve.points.values, strict=True):
            values.append(value)
            budgets.append(budget / total)
            owner.append(place)
    own = np.array(owner)
    spends = np.array(budgets)
    one_each = np.array([(own == place).astype(float) for place in range(len(curves))])
    spent = np.array([spends * (own == place) for place in range(len(curves))])
    highs = np.array(
        [min(bound.most, curve.most) / total for bound, curve in zip(bounds, curves, strict=True)]
    )
    lows = np.array([bound.least / total for bound in bounds])
    scale = max(*values, 1e-12)
    found = linprog(
        -np.array(values) / scale,
        A_ub=np.vstack([spent, -spent]),
        b_ub=np.concatenate([highs, -lows]),
        A_eq=np.vstack([one_each, spends]),
        b_eq=np.concatenate([np.ones(len(curves)), [1.0]]),
        method="highs",
    )
    assert found.status == 0, found.message
    return float(-found.fun * scale)


def best_by_trying(curves: Sequence[Response], choices: Sequence[Sequence[int]], total: int) -> float:
    """The most value of any combination of choices that costs at most the total, by the measured points."""
    return max(
        sum(curve.points.value(budget) for curve, budget in zip(curves, budgets, strict=True))
        for budgets in product(*choices)
        if sum(budgets) <= total
    )
