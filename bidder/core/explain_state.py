"""What trials of the engine's kernels start from and come to: see `bidder.core.explain_trial`."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bits = NDArray[np.uint64]


class Accounts(NamedTuple):
    """Budgets as the kernel reads them; `numbers` by account id, of those that it may ask for."""

    available: Numbers
    lease_until: Numbers
    unit: NDArray[np.uint8]
    chains: NDArray[np.int32]
    chain_start: NDArray[np.int32]
    chain_accounts: NDArray[np.int32]


@dataclass
class State:
    """What a decision changes."""

    available: Numbers
    paces: Floats
    pace_counts: Numbers
    targets: Floats
    offered: Numbers
    explorable: Numbers
    cap_users: Bits
    cap_rows: Numbers
    cap_state: Numbers

    def copied(self) -> "State":
        """The same, of its own memory."""
        return State(
            self.available.copy(), self.paces.copy(), self.pace_counts.copy(), self.targets.copy(),
            self.offered.copy(),
            self.explorable.copy(),
            self.cap_users.copy(), self.cap_rows.copy(), self.cap_state.copy(),
        )  # fmt: skip


class Result(NamedTuple):
    """How one opportunity ended, by O_ column (line item and creative -1 where none), and what is logged, by P_."""

    line: int
    creative: int
    reason: int
    bid_nanos: int
    price_micros: int
    amount: int
    cap: int
    pctr: float
    pcvr: float
    multiplier: float
    arm: float
    stratum: float
    worth: float
    chance: float
    factor: float
    density: float
    value: float
