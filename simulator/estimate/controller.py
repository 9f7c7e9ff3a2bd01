"""What bids in an estimate: the live controller's settings, and its state at the begin of a budget."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.estimate import play_kernels as kernels
from simulator.history.auctions import Auctions
from simulator.quality.policies import DEFAULT_ETA, DEFAULT_FIRST_ETA, State, Tuned, state_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Controller(NamedTuple):
    """How a budget is spent, as the live bidder is configured.

    Attributes:
        start: multiplier at the begin. eta, first_eta, fixed: see `bidder.core.settings.PacingSettings`.
        tick: auctions between ticks. delay: auctions until a notice is heard.
        cap_nanos: highest bid. shade: share of the wish that is bid where a win pays its bid.
        explored: share of bids that exploration moves. sigma: deviation of the logarithm by which.
        seed: of what exploration draws.
    """

    start: float
    cap_nanos: int
    eta: float = DEFAULT_ETA
    first_eta: float = DEFAULT_FIRST_ETA
    fixed: bool = False
    tick: int = 1
    delay: int = 0
    shade: float = 1.0
    explored: float = 0.0
    sigma: float = 0.0
    seed: int = 1

    def state(self, budget_nanos: int, auctions: int) -> State:
        """State before the first of so many auctions."""
        tuned = Tuned(eta=self.eta, first_eta=self.first_eta, fixed=self.fixed, tick=self.tick)
        return state_of("dual", tuned, budget_nanos, auctions, self.start, planned=float(auctions))

    def factors(self, auctions: int) -> Floats:
        """float64[n], by which exploration moves each bid; 1 for most."""
        rng = np.random.default_rng([self.seed, 17])
        drawn = np.exp(self.sigma * rng.normal(0.0, 1.0, auctions))
        return np.asarray(np.where(rng.random(auctions) < self.explored, drawn, 1.0))


class Lot(NamedTuple):
    """What the loops play, n auctions: see `play_kernels.play`."""

    value: Floats
    factor: Floats
    price: Ints
    floor: Ints
    known: NDArray[np.uint8]
    bound: Ints
    gain: Floats
    first_price: NDArray[np.bool_]


class Outcome(NamedTuple):
    """What a budget or a multiplier brings: nanos, wins, expected clicks and conversions, expected value in nanos.

    `drawn_nanos` is the part of the spend that went to auctions whose price was drawn.
    """

    spend_nanos: float
    impressions: float
    clicks: float
    conversions: float
    value_nanos: float
    drawn_nanos: float

    @property
    def extrapolated(self) -> float:
        """Share of the spend that went to auctions whose price was drawn."""
        return self.drawn_nanos / self.spend_nanos if self.spend_nanos > 0 else 0.0


_NO_BIDS: Ints = np.zeros(0, dtype=np.int64)


def played(lot: Lot, rows: Ints, budget_nanos: int, controller: Controller, bids: Ints = _NO_BIDS) -> Outcome:
    """Plays one budget; `bids`, int64[len(rows)], is filled where given."""
    state = controller.state(budget_nanos, len(rows))
    ring: Ints = np.zeros((controller.delay + 1, 2), dtype=np.int64)
    counts: Ints = np.zeros(kernels.COUNTS, dtype=np.int64)
    gains: Floats = np.zeros(kernels.GAINS)
    kernels.play(
        0, len(rows), rows, lot.value, lot.factor, lot.price, lot.floor, lot.known, lot.bound, lot.gain,
        lot.first_price, controller.shade, controller.cap_nanos, state.s, state.k, ring, counts, gains, bids,
    )  # fmt: skip
    return _outcome(counts, gains)


def swept(lot: Lot, rows: Ints, multipliers: Floats, controller: Controller) -> list[Outcome]:
    """Plays each of float64[M] fixed multipliers without a budget."""
    counts: Ints = np.zeros((len(multipliers), kernels.COUNTS), dtype=np.int64)
    gains: Floats = np.zeros((len(multipliers), kernels.GAINS))
    kernels.sweep(
        rows, lot.value, lot.factor, lot.price, lot.floor, lot.known, lot.bound, lot.gain, lot.first_price,
        controller.shade, controller.cap_nanos, multipliers, counts, gains,
    )  # fmt: skip
    return [_outcome(*pair) for pair in zip(counts, gains, strict=True)]


def _outcome(counts: Ints, gains: Floats) -> Outcome:
    return Outcome(
        float(counts[kernels.O_SPEND]),
        float(counts[kernels.O_WINS]),
        float(gains[kernels.G_CLICKS]),
        float(gains[kernels.G_CONVERSIONS]),
        float(gains[kernels.G_VALUE]),
        float(counts[kernels.O_IMPUTED]),
    )


def value_of(auctions: Auctions) -> Floats:
    """float64[n], nanos that each impression was believed to be worth; NaN where no prediction says so."""
    chance = np.where(np.isnan(auctions.conversion), auctions.click, auctions.click * auctions.conversion)
    return np.asarray(chance * auctions.worth_nanos)
