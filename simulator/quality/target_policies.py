"""Names, parameters and state of the policies that keep to a target."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.pacing_kernels import begin_group
from bidder.core.settings import PacingSettings, TargetSettings
from bidder.core.target_kernels import T_COLUMNS, begin_target
from simulator.quality import policy_kernels as base
from simulator.quality import target_policy_kernels as kernels
from simulator.quality.policies import Auctions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMES = ("target", "product", "pid", "budget")
"""In the order of their numbers in `target_policy_kernels`."""
HEADROOM = 16.0
"""Value over worth at target: how far above it the budget's multiplier alone could bid."""
_NO_TABLE: Floats = np.zeros((1, 1))
_GAINS = (0.5, 0.1, 0.0)
"""Of PID, by its error in windows of 500 auctions."""


class TargetState(NamedTuple):
    """A policy in the middle of a campaign: see `target_policy_kernels`; `table` is of no use here."""

    number: int
    s: Floats
    k: Ints
    table: Floats = _NO_TABLE

    def copy(self) -> "TargetState":
        """The same, to go another way."""
        return self._replace(s=self.s.copy(), k=self.k.copy())

    def play(self, auctions: Auctions, delay: int = 0) -> "TargetPlayed":
        """Plays auctions of which every third has an outcome that is known after two more."""
        n = len(auctions.price)
        value = auctions.value[:n]
        outcome = np.where(np.arange(n) % 3 == 0, np.nan_to_num(value), 0.0)
        lag: Ints = np.full(n, 2, dtype=np.int64)
        offers = Offers(
            value, np.full(n, 1 / 3), np.nan_to_num(value), auctions.price, outcome, lag, auctions.over[:n],
            auctions.cap_nanos,
        )  # fmt: skip
        return play_target(self, offers, delay)

    def quotes(self, values: Floats, over: float, cap: int) -> Ints:
        """What it would bid for each value, as it stands, int64[n]."""
        out: Ints = np.zeros(len(values), dtype=np.int64)
        scratch = self.copy()
        kernels.quotes(self.number, values, over, cap, self.s, self.k, scratch.s, scratch.k, out)
        return out


class Offers(NamedTuple):
    """What the loop plays: see `target_policy_kernels.play`; `value` is that of `check.check_policy`."""

    value: Floats
    chance: Floats
    gain: Floats
    price: Ints
    outcome: Floats
    lag: Ints
    over: Floats
    cap_nanos: int
    first_price: bool = False
    shade: float = 1.0


class TargetPlayed(NamedTuple):
    """What a policy did.

    Attributes:
        worth, observed: what its wins are truly worth at target, and what their outcomes turned out to be, nanos.
        spend_nanos, wins, outcomes, bids, refused, most_reserved_nanos, overspend_nanos: as in `policies.Played`.
    """

    worth: float
    observed: float
    spend_nanos: int
    wins: int
    outcomes: int
    bids: int
    refused: int
    most_reserved_nanos: int
    overspend_nanos: int


def target_state(
    name: str, budget_nanos: int, auctions: int, *, ripe_auctions: float = 0.0, settings: TargetSettings | None = None
) -> TargetState:  # fmt: skip
    """A policy at the begin of a campaign.

    Args:
        name: of `NAMES`. budget_nanos: of the campaign. auctions: that are expected.
        ripe_auctions: mean number of auctions until an outcome is known. settings: of ours.
    """
    own, pacing = settings or TargetSettings(), PacingSettings()
    s = np.zeros(kernels.F_COLUMNS)
    k = np.zeros(base.K_COLUMNS, dtype=np.int64)
    number = NAMES.index(name)
    # What the target allows is the value of the product: it begins at the whole of it, to be no worse at the start.
    start = 1.0 if name == "product" else pacing.start
    begin_group(s[base.F_PACE :], k[base.K_PACE :], start, float(auctions))
    s[[base.F_ETA, base.F_FIRST_ETA]] = pacing.eta, pacing.first_eta
    s[[base.F_A, base.F_B, base.F_C]] = _GAINS
    begin_target(s[kernels.F_TARGET : kernels.F_TARGET + T_COLUMNS], own.start)
    s[[kernels.F_STEP, kernels.F_FIRST_STEP, kernels.F_PRIOR]] = own.eta, own.first_eta, own.prior_outcomes
    s[kernels.F_RIPE] = -math.expm1(-1.0 / ripe_auctions) if ripe_auctions else 1.0
    s[kernels.F_UNITS] = 1.0 / HEADROOM
    k[base.K_BUDGET] = k[base.K_EPISODE_BUDGET] = budget_nanos
    k[base.K_TICK] = 1
    k[base.K_WINDOW] = 500
    return TargetState(number, s, k)


def play_target(state: TargetState, offers: Offers, delay: int = 0) -> TargetPlayed:
    """Plays all auctions; `delay` auctions until a notice is heard."""
    n = len(offers.price)
    totals: Ints = np.zeros(kernels.TOTALS, dtype=np.int64)
    sums: Floats = np.zeros(kernels.SUMS)
    kernels.play(
        state.number, 0, n, offers.value, offers.chance, offers.gain, offers.price, offers.outcome, offers.lag,
        offers.over, offers.cap_nanos, offers.first_price, offers.shade, state.s, state.k,
        np.zeros((delay + 1, 2), dtype=np.int64), np.zeros((delay + 1, 2)), np.zeros(n, dtype=np.int64),
        np.zeros(n), totals, sums,
    )  # fmt: skip
    spend, wins, outcomes, bids, refused, most = totals.tolist()
    return TargetPlayed(
        float(sums[kernels.S_WORTH]),
        float(sums[kernels.S_OBSERVED]),
        spend,
        wins,
        outcomes,
        bids,
        refused,
        most,
        max(0, spend - int(state.k[base.K_BUDGET])),
    )
