"""Names, parameters and state of policies."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.pacing_kernels import begin_group
from bidder.core.settings import PacingSettings
from simulator.quality import policy_kernels as kernels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMES = ("dual", "const", "rand", "mcpc", "lin", "ortb", "pid", "waterlevel", "ptr", "bslb", "rlb")
"""In the order of their numbers in `policy_kernels`."""
STARTED = frozenset({"dual", "pid", "waterlevel", "ptr", "bslb"})
"""Policies that begin with a multiplier and correct it; the others bid by what was fitted beforehand."""
DEFAULT_ETA = PacingSettings().eta
DEFAULT_FIRST_ETA = PacingSettings().first_eta
WINDOW = 500
EPISODE = 1_000
_NO_TABLE: Floats = np.zeros((1, 1))


class Tuned(NamedTuple):
    """Parameters of a policy.

    Attributes:
        a, b, c: const and rand: bid or its bound in nanos; mcpc and lin: bid over value; ortb: 1 / lambda and c in
            nanos; pid: gains of error, sum and difference; waterlevel: gain; rlb: clicks over value.
        table: of rlb. unit_nanos: nanos of one of its columns. cap_units: its highest price in units.
        eta, first_eta, fixed, tick: of dual: see `PacingSettings`, and auctions between ticks.
    """

    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    table: Floats = _NO_TABLE
    unit_nanos: int = 1
    cap_units: int = 0
    eta: float = DEFAULT_ETA
    first_eta: float = DEFAULT_FIRST_ETA
    fixed: bool = False
    tick: int = 1


class State(NamedTuple):
    """A policy in the middle of a campaign: see `policy_kernels`."""

    number: int
    s: Floats
    k: Ints
    table: Floats

    def copy(self) -> "State":
        """The same, to go another way."""
        return self._replace(s=self.s.copy(), k=self.k.copy())

    def play(self, auctions: "Auctions", delay: int = 0) -> "Played":
        """Plays all auctions; see `play`."""
        return play(self, auctions, delay)

    def quotes(self, values: Floats, over: float, cap: int) -> Ints:
        """What it would bid for each value, as it stands, int64[n]."""
        out: Ints = np.zeros(len(values), dtype=np.int64)
        scratch = self.copy()
        kernels.quotes(self.number, values, over, cap, self.s, self.k, self.table, scratch.s, scratch.k, out)
        return out


def state_of(
    name: str, tuned: Tuned, budget_nanos: int, auctions: int, start: float = 1.0, *, seed: int = 1,
    episode: int = EPISODE, planned: float = 0.0,
) -> State:  # fmt: skip
    """A policy at the begin of a campaign.

    Args:
        name: of `NAMES`. tuned: its parameters. budget_nanos: of the campaign. auctions: that are expected.
        start: multiplier to begin with. seed: of its draws. episode: auctions of an episode of rlb.
        planned: auctions that dual foresees, where that is another number.
    """
    s = np.zeros(kernels.F_COLUMNS)
    k = np.zeros(kernels.K_COLUMNS, dtype=np.int64)
    number = NAMES.index(name)
    s[kernels.F_START] = start
    begin_group(s[kernels.F_PACE :], k[kernels.K_PACE :], start, planned or float(auctions))
    s[[kernels.F_ETA, kernels.F_FIRST_ETA]] = tuned.eta, tuned.first_eta
    k[kernels.K_FIXED] = tuned.fixed
    s[[kernels.F_A, kernels.F_B, kernels.F_C]] = tuned.a, tuned.b, tuned.c
    if name == "ptr":
        s[kernels.F_PHI] = _PTR_START
    k[kernels.K_BUDGET] = budget_nanos
    k[kernels.K_TICK] = tuned.tick
    k[kernels.K_WINDOW] = tuned.cap_units if name == "rlb" else WINDOW
    k[kernels.K_SEED] = seed
    k[kernels.K_EPISODE] = episode
    k[kernels.K_EPISODE_BUDGET] = budget_nanos * episode // max(auctions, 1)
    k[kernels.K_TOTAL] = auctions
    k[kernels.K_UNIT] = tuned.unit_nanos
    return State(number, s, k, tuned.table)


_PTR_START = 0.1
"""Share of auctions that the throttle enters first, as published."""


class Played(NamedTuple):
    """What a policy did: nanos, counts, and spend by slots of the curve.

    Attributes:
        value, spend_nanos, wins, clicks, bids: of what it won. refused: bids that the guard stopped.
        most_reserved_nanos: set aside at once. deviation: largest distance of spend / budget from the plan.
        overspend_nanos: spend above the budget. slots: int64[slots], nanos spent in each.
    """

    value: float
    spend_nanos: int
    wins: int
    clicks: int
    bids: int
    refused: int
    most_reserved_nanos: int
    deviation: float
    overspend_nanos: int
    slots: Ints


class Auctions(NamedTuple):
    """What the loop plays: see `policy_kernels.play`."""

    value: Floats
    gain: Floats
    price: Ints
    click: NDArray[np.uint8]
    over: Floats
    slot: NDArray[np.int32]
    slots: int
    cap_nanos: int
    first_price: bool = False
    shade: float = 1.0


def even_plan(auctions: int) -> Floats:
    """The plan where every auction is as likely as any other: share that is over before each."""
    return np.arange(auctions) / max(auctions, 1)


class Run:
    """A policy on auctions, that may be stopped and gone on with.

    Args:
        state: it is changed. auctions: what it plays. delay: auctions until a notice is heard.
    """

    def __init__(self, state: State, auctions: Auctions, delay: int) -> None:
        self.state, self._auctions = state, auctions
        self._ring: Ints = np.zeros((delay + 1, 2), dtype=np.int64)
        self._totals: Ints = np.zeros(kernels.TOTALS, dtype=np.int64)
        self._sums: Floats = np.zeros(kernels.SUMS)
        self._slots: Ints = np.zeros(auctions.slots, dtype=np.int64)

    def play(self, begin: int, end: int) -> None:
        """Plays auctions `begin` to `end`."""
        state, auctions = self.state, self._auctions
        kernels.play(
            state.number, begin, end, auctions.value, auctions.gain, auctions.price, auctions.click, auctions.over,
            auctions.slot, auctions.cap_nanos, auctions.first_price, auctions.shade, state.s, state.k, state.table,
            self._ring, self._totals, self._sums, self._slots,
        )  # fmt: skip

    def played(self) -> Played:
        """What came of it so far; what is under way counts as it will end."""
        totals = self._totals.tolist()
        spend = totals[kernels.T_SPEND]
        return Played(
            float(self._sums[kernels.S_VALUE]),
            spend,
            totals[kernels.T_WINS],
            totals[kernels.T_CLICKS],
            totals[kernels.T_BIDS],
            totals[kernels.T_REFUSED],
            totals[kernels.T_MOST_RESERVED],
            float(self._sums[kernels.S_DEVIATION]),
            max(0, spend - int(self.state.k[kernels.K_BUDGET])),
            self._slots.copy(),
        )


def play(state: State, auctions: Auctions, delay: int = 0) -> Played:
    """Plays all auctions."""
    run = Run(state, auctions, delay)
    run.play(0, len(auctions.price))
    return run.played()
