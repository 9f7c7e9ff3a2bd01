"""A reference price for every auction: what ones of its kind cost, so that prices compare as ratios to it.

The product limit needs bids that do not depend on prices inside a stratum. Bids follow the prediction, prices do
too, and both move over the day, so that strata would have to be tiny. Instead each price and bid is divided by the
price that its stratum, prediction and time let expect: a censored regression of the logarithm (Tobin, Econometrica
1958). It is a scale and no estimate: what it leaves over is measured by the product limit, whatever its law.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

from simulator.history.auctions import ABOVE, AT_MOST, EXACT, UNKNOWN, Auctions

Floats = NDArray[np.float64]

MOST_ROWS = 30_000
"""Rows that a reference is fitted to; of longer logs an even sample."""
KNOTS = 24
"""Of the piecewise linear course over time: an hour of a day."""
MIN_ROWS = 200
MOST_STRATA = 64
"""The largest strata have a level of their own; the product limit tells the others apart."""
_HELD = 1e-2
"""Weight of a prior towards 0 on each coefficient, as many rows at unit deviation."""
_ROOT = math.sqrt(2.0 * math.pi)


def reference_prices(auctions: Auctions) -> Floats:
    """float64[n], nanos: the price that each auction's stratum, predictions and time let expect, > 0."""
    n = auctions.opportunities
    bound = np.where(auctions.price_nanos > 0, auctions.price_nanos, 1).astype(np.float64)
    says = (auctions.price_kind != UNKNOWN) & (auctions.price_nanos > 0)
    if not says.any():
        return np.ones(n)
    columns = _columns(auctions)
    rows = np.flatnonzero(says)
    rows = rows[:: max(1, math.ceil(len(rows) / MOST_ROWS))]
    target = np.log(bound[rows])
    centre, spread = float(target.mean()), max(float(target.std()), 1e-3)
    found = _censored(columns[rows], (target - centre) / spread, auctions.price_kind[rows])
    log_price = centre + spread * (columns @ found)
    # A reference far outside of what was seen would only make ratios overflow.
    low, high = math.log(max(bound[says].min(), 1.0)) - 5.0, math.log(bound[says].max()) + 5.0
    return np.asarray(np.exp(np.clip(log_price, low, high)))


def _columns(auctions: Auctions) -> Floats:
    """float64[n, P]: one for all, the predictions, each stratum of enough rows, and hats over time."""
    n = auctions.opportunities
    codes, inverse, counts = np.unique(auctions.stratum, return_inverse=True, return_counts=True)
    large = np.argsort(-counts, kind="stable")[:MOST_STRATA]
    kept = large[counts[large] >= MIN_ROWS] if len(codes) > 1 else large[:0]
    strata = (inverse[:, None] == kept[None, :]).astype(np.float64)
    # Knots by time, each an equal share of the auctions, so that no hat is empty.
    place = np.linspace(0.0, KNOTS - 1.0, n)
    hats = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(KNOTS)[None, :]))
    return np.concatenate(
        [np.ones((n, 1)), *map(_centred, (auctions.click, auctions.conversion)), hats, strata], axis=1
    )


def _centred(chance: Floats) -> Floats:
    """float64[n, 1]: the logarithm of a prediction less its mean, 0 where there is none."""
    known = chance > 0.0
    found = np.log(np.where(known, chance, 1.0))
    if known.any():
        found -= found[known].mean()
    return np.asarray(np.where(known, found, 0.0))[:, None]


def _censored(x: Floats, y: Floats, kind: NDArray[np.uint8]) -> Floats:
    """Coefficients of the censored normal regression, float64[P]."""
    exact, above, most = kind == EXACT, kind == ABOVE, kind == AT_MOST

    def loss(packed: Floats) -> tuple[float, Floats]:
        beta, scale = packed[:-1], math.exp(packed[-1])
        z = (y - x @ beta) * scale
        value = np.empty(len(z))
        slope = np.empty(len(z))
        value[exact] = z[exact] ** 2 / 2 - packed[-1]
        slope[exact] = z[exact]
        value[above] = -log_ndtr(-z[above])
        slope[above] = _mills(-z[above])
        value[most] = -log_ndtr(z[most])
        slope[most] = -_mills(z[most])
        total = float(value.sum()) + _HELD * float(beta @ beta) / 2
        gradient = np.empty(len(packed))
        gradient[:-1] = -scale * (x.T @ slope) + _HELD * beta
        gradient[-1] = float((slope * z).sum()) - float(exact.sum())
        return total / len(z), gradient / len(z)

    start = np.zeros(x.shape[1] + 1)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(-20, 20)] * len(start), options={"maxiter": 60}
    )
    return np.asarray(found.x[:-1])


def _mills(z: Floats) -> Floats:
    """phi(z) / Phi(z), also far to the left."""
    return np.asarray(np.exp(-(z**2) / 2 - math.log(_ROOT) - log_ndtr(z))) if len(z) else ndtr(z)
