"""One log made ready to be asked, and one draw of what an estimate redoes: prices, corrections, the controller."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.estimate import play_kernels as kernels
from simulator.estimate.controller import Controller, Lot, Outcome, played, swept, value_of
from simulator.estimate.lateness import LEAST_KNOWN, Lateness
from simulator.estimate.outcomes import Line, clipped_weights, fit_line
from simulator.estimate.prices import Curves, Prices
from simulator.history.auctions import AT_MOST, EXACT, Auctions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CLIP = (1e-9, 1.0 - 1e-9)


class Scenario(NamedTuple):
    """A question.

    Attributes:
        budget_nanos: what may be spent, with the controller; None asks for the logged bids times `scale`.
        scale: of the logged bids, where there is no budget.
    """

    budget_nanos: int | None
    scale: float = 1.0


@dataclass(frozen=True)
class Options:
    """What an estimate leaves out: for negative controls, and for logs that cannot have it.

    hidden: "drawn" draws the prices of lost auctions, "lost" takes them as out of reach (won auctions alone).
    corrected: whether predictions are corrected by what was seen. weighted: whether a won row counts one over its
    chance to be won in that. The correction knows the price, so that weights mend nothing that it misses: over 80
    worlds they left the bias as it was and made errors a tenth larger.
    """

    hidden: Literal["drawn", "lost"] = "drawn"
    corrected: bool = True
    weighted: bool = False


PLAIN = Options()


class Study:
    """A log made ready.

    Args:
        log: one campaign's auctions. controller: that spends a budget. lateness: of conversions; None where all are
            known. only: bool[n], auctions that would be bid for (targeting); None is all. options: see there.
    """

    def __init__(
        self,
        log: Auctions,
        controller: Controller,
        lateness: Lateness | None = None,
        only: NDArray[np.bool_] | None = None,
        options: Options = PLAIN,
    ) -> None:
        self.log, self.controller, self.options = log, controller, options
        n = log.opportunities
        self.value = value_of(log)
        self._prices = Prices(log, self.value)
        self._only = np.ones(n, dtype=np.bool_) if only is None else only
        self.factor = controller.factors(n)
        self._known = np.where(
            log.price_kind == EXACT,
            kernels.KNOWN,
            np.where(log.price_kind == AT_MOST, kernels.AT_LEAST, kernels.DRAWN),
        ).astype(np.uint8)
        self._seen = log.won & (log.clicked >= 0) & (log.click > 0.0)
        self.late = np.ones(n) if lateness is None else lateness.known(log)
        self._click_x = _within(np.log(np.clip(log.click, *_CLIP)), log.stratum)
        self._goal_is_click = bool(np.isnan(log.conversion).all())
        chance = np.where(np.isnan(log.conversion), 1.0, log.conversion)
        self._conversion = np.clip(chance, *_CLIP)
        self._conversion_x = _within(np.log(self._conversion), log.stratum)

    def lot(self, times: Floats, seed: int, price_factor: float = 1.0) -> Lot:
        """Everything with each row counted float64[n] times: prices drawn, outcomes corrected.

        Args:
            times: how often each row counts. seed: of the draws. price_factor: by which all prices are raised.
        """
        curves = self._prices.curves(times)
        price = self._prices.impute(curves, seed)
        if self.options.hidden == "lost":
            price = np.where(self._known == kernels.DRAWN, kernels.NEVER, price)
        gain = self._gain(times, curves, price)
        if price_factor != 1.0:
            reachable = price < kernels.NEVER
            price = np.where(reachable, np.rint(np.where(reachable, price, 0) * price_factor), price).astype(
                np.int64
            )
        log = self.log
        return Lot(
            self.value,
            self.factor,
            price,
            log.floor_nanos,
            self._known,
            log.price_nanos,
            gain,
            log.first_price,
        )

    def outcomes(self, lot: Lot, times: Ints, scenarios: tuple[Scenario, ...]) -> list[Outcome]:
        """What each scenario brings on the rows that count, repeated as often as they do."""
        rows = np.repeat(np.arange(len(times)), np.where(self._only, times, 0))
        found = []
        for scenario in scenarios:
            if scenario.budget_nanos is not None:
                found.append(played(lot, rows, scenario.budget_nanos, self.controller))
            else:
                found.append(self.scaled(lot, rows, scenario.scale))
        return found

    def scaled(self, lot: Lot, rows: Ints, scale: float) -> Outcome:
        """The logged bids times a number, without a budget."""
        bids = self.log.bid_nanos.astype(np.float64)
        plain = self.controller._replace(shade=1.0)
        lot = lot._replace(value=bids, factor=np.ones(len(bids)))
        return swept(lot, rows, np.array([scale]), plain)[0]

    def bids(self, lot: Lot, budget_nanos: int) -> tuple[Ints, Ints]:
        """Rows in turn, and the bid of each, of one budget."""
        rows = np.flatnonzero(self._only)
        bids: Ints = np.zeros(len(rows), dtype=np.int64)
        played(lot, rows, budget_nanos, self.controller, bids)
        return rows, bids

    def curves(self, times: Floats) -> Curves:
        """The law of prices with each row counted so often."""
        return self._prices.curves(times)

    def _gain(self, times: Floats, curves: Curves, price: Ints) -> Floats:
        """float64[n, GAINS]: what each auction brings if it is won: as seen, else as predicted and corrected."""
        log, seen = self.log, self._seen
        clicks = np.where(seen, log.clicked, self.clicks_at(price, self.click_line(times, curves, price)))
        conversions = self._conversion
        line = self._conversion_line(times)
        if line is not None:
            conversions = np.minimum(conversions * line.factor(self._conversion_x[:, None]), 1.0)
        if self._goal_is_click:
            return np.stack([clicks, self._followed(times, clicks), clicks * log.worth_nanos], axis=1)
        told = seen & (log.converted >= 0) & ((self.late >= LEAST_KNOWN) | (log.clicked == 0))
        weight = 1.0 / np.maximum(self.late, LEAST_KNOWN)
        found = np.where(told, (log.converted > 0) * weight, clicks * conversions)
        return np.stack([clicks, found, self._worth(times, found, told, weight)], axis=1)

    @property
    def conversions_known(self) -> bool:
        """Whether the log says of any click whether a conversion followed, or any prediction does."""
        log = self.log
        return not self._goal_is_click or bool(((log.clicked > 0) & (log.converted >= 0)).any())

    def _followed(self, times: Floats, clicks: Floats) -> Floats:
        """float64[n]: conversions where none are predicted: as seen, else clicks at the rate of those that were."""
        log = self.log
        known = self._seen & (log.converted >= 0) & (self.late >= LEAST_KNOWN)
        clicked = known & (log.clicked > 0)
        weight = (log.converted > 0) / np.maximum(self.late, LEAST_KNOWN)
        many = float(times[clicked].sum())
        rate = float((times * weight)[clicked].sum()) / many if many > 0.0 else 0.0
        return np.asarray(
            np.where(known | (self._seen & (log.clicked == 0)), np.where(clicked, weight, 0.0), clicks * rate)
        )

    def _worth(self, times: Floats, conversions: Floats, told: NDArray[np.bool_], weight: Floats) -> Floats:
        """float64[n]: value as seen, else conversions times their worth, corrected by what conversions brought."""
        log = self.log
        rows = told & (log.converted > 0)
        due = float((times * log.worth_nanos)[rows].sum())
        got = float((times * log.value_nanos)[rows].sum())
        ratio = got / due if due > 0.0 and got > 0.0 else 1.0
        expected = conversions * log.worth_nanos * ratio
        return np.asarray(np.where(told & (got > 0.0), log.value_nanos * weight, expected))

    def clicks_at(self, price: Ints, line: Line | None) -> Floats:
        """float64[n]: corrected click probabilities of auctions that go at these prices."""
        clicks = np.where(self.log.click > 0.0, self.log.click, 0.0)
        return clicks if line is None else np.minimum(clicks * line.factor(self._click_columns(price)), 1.0)

    def blind_prices(self, curves: Curves, seed: int) -> Ints:
        """int64[n]: prices drawn as if nothing were known of any auction but its kind."""
        return self._prices.impute(curves, seed, blind=True)

    def _click_columns(self, price: Ints) -> Floats:
        """float64[n, 2]: the prediction in its stratum, and how dear the auction is for its kind."""
        ratio = np.where(price < kernels.NEVER, price / self._prices.reference, 1.0)
        return np.stack([self._click_x, np.log(np.clip(ratio, 1e-4, 1e4))], axis=1)

    def click_line(self, times: Floats, curves: Curves, price: Ints) -> Line | None:
        """The correction of click probabilities by what was won, at these prices; None where nothing was."""
        rows = np.flatnonzero(self._seen & (times > 0))
        if not len(rows) or not self.options.corrected:
            return None
        x = self._click_columns(price)
        weight = times[rows]
        if self.options.weighted:
            weight = clipped_weights(
                self._prices.win_probability(curves, self.log.bid_nanos[rows], rows), weight
            )
        return fit_line(x[rows], self.log.click[rows], self.log.clicked[rows].astype(np.float64), weight)

    def _conversion_line(self, times: Floats) -> Line | None:
        log = self.log
        rows = np.flatnonzero(
            self._seen & (log.clicked > 0) & (log.converted >= 0) & (times > 0) & (self.late >= LEAST_KNOWN)
        )
        if not len(rows) or self._goal_is_click or not self.options.corrected:
            return None
        # A click whose conversion would hardly be known yet counts as the part of one that is known.
        late = self.late[rows]
        seen = (log.converted[rows] > 0) / late
        return fit_line(self._conversion_x[rows][:, None], self._conversion[rows], seen, times[rows] * late)


def _within(logarithm: Floats, stratum: NDArray[np.int32]) -> Floats:
    """Less the mean of each stratum."""
    place = np.unique(stratum, return_inverse=True)[1]
    known = np.isfinite(logarithm)
    counts = np.maximum(np.bincount(place, known), 1.0)
    mean = np.bincount(place, np.where(known, logarithm, 0.0)) / counts
    return np.asarray(np.where(known, logarithm - mean[place], 0.0))
