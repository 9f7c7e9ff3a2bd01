"""A second calibration, by price: what a won row was worth, given what it cost, over what was predicted.

Where rivals know what the model does not, a price says something of the click: dear wins are better than
predicted, or cheap ones worse (the winner's curse). No table over the prediction alone can mend that. Here a
probability p of a row won at price z becomes p x a(p) x g(z). The factors a and g are found in turns until
the sums agree in every group by prediction and in every group by price (iterative proportional fitting,
Deming and Stephan 1940): g alone would mend the prices and spoil the predictions, because both rise together.

What it cannot do: a price is known only after the auction, so that a bid can use no more than the mean of g
over the prices that it beats. The factor is the same in every stratum. Beyond the prices that were won it is
level, so that it says nothing of auctions that were always lost. And it describes the rivals of the log:
where they change, it must be fitted again.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import TableError
from models.landscape.curves import Landscape
from models.landscape.estimate import bin_centres

MAX_KNOTS = 20
MIN_POSITIVES = 50
MAX_ROUNDS, TOLERANCE = 200, 1e-6
MAX_PROBABILITY = 1.0 - 1e-9

Floats = NDArray[np.float64]


class Knots(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Factors above 0 at strictly ascending places above 0: linear in the logarithm of the place, level outside."""

    places: tuple[float, ...]
    factors: tuple[float, ...]

    def at(self, values: Floats) -> Floats:
        """Factors of values; 1 for NaN."""
        logs = np.log(np.where(values > 0.0, values, self.places[0]))
        found = np.interp(logs, np.log(self.places), self.factors)
        return np.asarray(np.where(np.isnan(values), 1.0, found))


class PriceFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`prediction` is a(p), `price` is g(z) with z in micros of CPM."""

    prediction: Knots
    price: Knots

    def apply(self, p: Floats, cpm_micros: Floats) -> Floats:
        """Probabilities of rows won at these prices; NaN where the price is not known leaves g at 1."""
        return np.asarray(np.minimum(p * self.prediction.at(p) * self.price.at(cpm_micros), MAX_PROBABILITY))


class _Groups:
    """Rows grouped by one value, with a factor for each group."""

    def __init__(self, values: Floats, knots: int, weights: Floats, happened: Floats) -> None:
        edges = np.unique(np.quantile(values, np.arange(1, knots) / knots, method="inverted_cdf"))
        self._group = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]
        self._logs = np.log(values)
        # A group where nothing happened is held above 0 by half an event.
        self._happened = np.maximum(self._sum(happened), 0.5 * float(weights.mean()))
        self._centre = self._sum(weights * self._logs) / self._sum(weights)
        self._factor = np.ones(len(self._centre))

    def _sum(self, values: Floats) -> Floats:
        return np.asarray(np.bincount(self._group, weights=values), dtype=np.float64)

    def each(self) -> Floats:
        """The factor of every row."""
        return np.interp(self._logs, self._centre, self._factor)

    def fit(self, predicted: Floats) -> float:
        """Moves the factors so that the sums of their groups agree; the largest move, in logarithm."""
        move = self._happened / self._sum(predicted * self.each())
        self._factor = self._factor * move
        return float(np.abs(np.log(move)).max())

    def knots(self) -> Knots:
        return Knots(tuple(np.exp(self._centre).tolist()), tuple(self._factor.tolist()))


def fit_price_factor(
    p: Floats, labels: Floats, cpm_micros: Floats, weights: Floats | None = None
) -> PriceFactor:
    """The factor of rows that were won: at most 20 knots each way, one for every 50 events.

    Args:
        p: float64[N] calibrated probabilities. labels: float64[N] of 0.0 and 1.0.
        cpm_micros: float64[N], prices paid; rows without one are left out.
        weights: float64[N], how many rows each stands for.

    Raises:
        TableError: no row has a price above 0, or nothing happened in any.
    """
    known = cpm_micros > 0.0
    if not known.any() or not labels[known].any():
        raise TableError(
            "a factor by price needs won rows with price_cpm_micros above 0 and an event, had none"
        )
    p, labels, price = p[known], labels[known], cpm_micros[known]
    w = np.ones(len(p)) if weights is None else weights[known]
    knots = int(np.clip(labels.sum() // MIN_POSITIVES, 1, MAX_KNOTS))
    by_price, by_prediction = _Groups(price, knots, w, w * labels), _Groups(p, knots, w, w * labels)
    for _ in range(MAX_ROUNDS):
        moved = by_price.fit(w * p * by_prediction.each())
        moved = max(moved, by_prediction.fit(w * p * by_price.each()))
        if moved < TOLERANCE:
            break
    return PriceFactor(by_prediction.knots(), by_price.knots())


def factor_of_bids(factor: PriceFactor, landscape: Landscape) -> Floats:
    """float64[S, G]: mean of g over the prices that a bid at each point of the grid beats.

    A win of that bid is worth p x a(p) times this. Where nothing is won, it is the factor at the
    bid.
    """
    won = 1.0 - landscape.survival
    mass = np.diff(won, axis=1, prepend=0.0)
    each = factor.price.at(np.maximum(bin_centres(landscape.counts)[:-1], 1.0))
    weighted = np.cumsum(mass * each, axis=1)
    at_bid = np.broadcast_to(factor.price.at(landscape.grid.astype(np.float64)), won.shape)
    return np.asarray(np.where(won > 1e-12, weighted / np.where(won > 1e-12, won, 1.0), at_bid))
