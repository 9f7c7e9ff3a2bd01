"""What an impression brings: predictions corrected by what was seen of the impressions that were won.

Who wins where he believes most has believed too much: predictions are too high on the won set even where they are
right on average, and the more so the cheaper the impression, because rivals see some of what we do not. So the
correction is learned on what was won, given prediction and price:

    E[outcome] = p exp(a + b (log p - its stratum's mean) + c log(price / reference)) r(p) r(price)

a, b, c by Poisson likelihood, priors as below; where asked for, one over the chance to be won is the weight. r are
ratios of seen over expected in tenths of prediction and price, with a prior at 1, so that a law which is no line is
followed once there are outcomes enough to tell.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR_STD = 0.5
"""Deviation of the prior of the two slopes; the level is free."""
LEVEL_STD = 3.0
PRIOR_EVENTS = 50.0
"""Events that the ratio of a tenth is held at 1 by."""
TENTHS = 10
MOST_WEIGHT = 4.0
"""A won row stands for at most so many times as many as the mean one."""


class Line(NamedTuple):
    """A fitted correction: coefficients, and ratios by tenths of each regressor."""

    beta: Floats
    cuts: tuple[Floats, ...]
    ratios: tuple[Floats, ...]

    def factor(self, x: Floats) -> Floats:
        """float64[n], by which predictions of rows with regressors float64[n, R] are multiplied."""
        found = np.exp(np.clip(self.beta[0] + x @ self.beta[1:], -5.0, 5.0))
        for column, (cuts, ratios) in enumerate(zip(self.cuts, self.ratios, strict=True)):
            found *= ratios[np.searchsorted(cuts, x[:, column], side="right")]
        return np.asarray(found)


def fit_line(x: Floats, predicted: Floats, seen: Floats, weight: Floats, *, tenths: bool = True) -> Line:
    """The correction of predictions by what was seen.

    Args:
        x: float64[n, R], regressors without the constant. predicted: float64[n], > 0. seen: float64[n], outcomes,
            which may be above 1 where one stands for several. weight: float64[n].
    """
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    held = np.array([LEVEL_STD**-2] + [PRIOR_STD**-2] * x.shape[1])
    beta = np.zeros(design.shape[1])
    for _ in range(25):  # Newton on a convex function
        mean = predicted * np.exp(np.clip(design @ beta, -5.0, 5.0))
        gradient = design.T @ (weight * (mean - seen)) + held * beta
        step = np.linalg.solve((design * (weight * mean)[:, None]).T @ design + np.diag(held), gradient)
        beta = beta - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-8:
            break
    line = Line(beta, (), ())
    if not tenths or not len(x):
        return line
    return _with_tenths(line, x, predicted, seen, weight)


def _with_tenths(line: Line, x: Floats, predicted: Floats, seen: Floats, weight: Floats) -> Line:
    cuts: list[Floats] = []
    ratios: list[Floats] = []
    expected = predicted * line.factor(x) * weight
    for column in range(x.shape[1]):
        order = np.argsort(x[:, column], kind="stable")
        mass = np.cumsum(expected[order])
        inner = np.arange(1, TENTHS) / TENTHS * mass[-1]
        # Tenths of what is expected, so that each has about as many events.
        edges = np.unique(x[order[np.minimum(np.searchsorted(mass, inner), len(order) - 1)], column])
        place = np.searchsorted(edges, x[:, column], side="right")
        got = np.bincount(place, seen * weight, len(edges) + 1)
        due = np.bincount(place, expected, len(edges) + 1)
        ratio = (got + PRIOR_EVENTS) / (due + PRIOR_EVENTS)
        expected = expected * ratio[place]
        cuts.append(edges)
        ratios.append(ratio)
    return Line(line.beta, tuple(cuts), tuple(ratios))


def clipped_weights(won: Floats, times: Floats) -> Floats:
    """One over the chance to be won, at most `MOST_WEIGHT` of the mean; times how often each row counts."""
    inverse = 1.0 / np.maximum(won, 1e-3)
    total = float(times.sum())
    if total <= 0.0:
        return times
    inverse /= float((inverse * times).sum()) / total
    inverse = np.minimum(inverse, MOST_WEIGHT)
    inverse /= float((inverse * times).sum()) / total
    return np.asarray(inverse * times)
