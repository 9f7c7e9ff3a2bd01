"""The difference of two models in normalized entropy on the same rows, with its interval."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Difference = tuple[float | None, float | None, float | None]
"""New less old, below 0 is better; low and high end of its 95 % interval. None where it is not defined."""


def entropy_difference(
    y: Floats, p_old: Floats, p_new: Floats, weights: Floats | None, *, draws: int, seed: int
) -> Difference:
    """Paired bootstrap over rows.

    Args:
        y: float64[N] of 0.0 and 1.0, both kinds. p_old, p_new: float64[N] inside (0, 1).
        weights: float64[N] > 0, None is 1 each. draws: of the bootstrap. seed: of the draws.
    """
    try:
        compare: Any = importlib.import_module("models.evaluation.compare").compare
    except ModuleNotFoundError:
        return _bootstrapped(y, p_old, p_new, weights, draws, seed)
    value, low, high = compare(y, p_old, p_new, weights, draws=draws, seed=seed)["normalized_entropy"]
    return value, low, high


def _bootstrapped(
    y: Floats, p_old: Floats, p_new: Floats, weights: Floats | None, draws: int, seed: int
) -> Difference:
    w = np.ones(len(y)) if weights is None else weights
    gain = np.where(y > 0, np.log(p_old / p_new), np.log1p(-p_old) - np.log1p(-p_new))
    random = np.random.default_rng(seed)
    found = [_difference(w, y, gain)]
    found += [_difference(w * random.poisson(1.0, len(y)), y, gain) for _ in range(draws)]
    low, high = np.nanquantile(found[1:], (0.025, 0.975))
    return found[0], float(low), float(high)


def _difference(w: Floats, y: Floats, gain: Floats) -> float:
    """Of the weighted log losses, over the entropy of the weighted mean label."""
    total, mean = float(w.sum()), float(np.average(y, weights=w))
    entropy = -(mean * np.log(mean) + (1.0 - mean) * np.log1p(-mean)) if 0.0 < mean < 1.0 else np.nan
    return float((w * gain).sum() / total / entropy)
