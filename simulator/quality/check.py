"""What every policy keeps, whatever it does: `check_policy`."""

from collections.abc import Iterator
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from simulator.quality import policy_kernels as kernels
from simulator.quality.policies import Auctions, even_plan

_AUCTIONS = 400
_VALUES = 33
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Run(Protocol):
    """What is asked of a run."""

    @property
    def bids(self) -> int: ...
    @property
    def overspend_nanos(self) -> int: ...
    @property
    def most_reserved_nanos(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


class Policy(Protocol):
    """What can be checked: a state that is copied, plays auctions, and says what it would bid."""

    @property
    def s(self) -> Floats: ...
    @property
    def k(self) -> Ints: ...
    def copy(self) -> Self: ...
    def play(self, auctions: Auctions, delay: int = 0) -> Run: ...
    def quotes(self, values: Floats, over: float, cap: int) -> Ints: ...


def check_policy(state: Policy, cap_nanos: int, seed: int = 0) -> None:
    """Tries a policy on random auctions.

    It is deterministic: the same state and auctions give the same run and leave the same state. It is monotone: in
    whatever state the run comes by, a higher value never gets a lower bid. It never bids above the cap, nor more than
    the budget has free. Without budget, without auctions and for values that are no numbers it does nothing wrong.

    Args:
        state: at the begin of a campaign; it is left as it is. cap_nanos: highest bid. seed: of the auctions.

    Raises:
        AssertionError: what it does not keep.
    """
    auctions = _auctions(cap_nanos, seed)
    _check_same(state, auctions)
    _check_quotes(state, auctions)
    for delay in (0, 3, _AUCTIONS):
        done = state.copy().play(auctions, delay)
        assert done.overspend_nanos == 0, f"spends {done.overspend_nanos} nanos too much at delay {delay}"
        budget = int(state.k[kernels.K_BUDGET])
        assert done.most_reserved_nanos <= budget, f"sets {done.most_reserved_nanos} aside of {budget}"
    poor = state.copy()
    poor.k[[kernels.K_BUDGET, kernels.K_EPISODE_BUDGET]] = 0
    assert poor.play(auctions).bids == 0, "bids without a budget"
    nothing = auctions._replace(value=np.full(_AUCTIONS, np.nan))
    assert state.copy().play(nothing).bids == 0, "bids for values that are no numbers"
    empty = state.copy()
    before = empty.copy()
    assert empty.play(_part(auctions, 0)).bids == 0, "bids where there is no auction"
    assert _alike(empty, before), "moves where there is no auction"


def _check_same(state: Policy, auctions: Auctions) -> None:
    one, two = state.copy(), state.copy()
    first, second = one.play(auctions, 2), two.play(auctions, 2)
    assert _alike(one, two), "the same auctions leave another state"
    same = (bool(np.all(a == b)) for a, b in zip(first, second, strict=True))
    assert all(same), "the same auctions are played in another way"


def _check_quotes(state: Policy, auctions: Auctions) -> None:
    """Bids for rising values, at the begin and after parts of the run."""
    cap = auctions.cap_nanos
    values = np.concatenate([[0.0], np.geomspace(1.0, 1e18, _VALUES), [np.inf]])
    for count in (0, 1, _AUCTIONS // 3, _AUCTIONS - 1):
        now = state.copy()
        now.play(_part(auctions, count))
        over = float(auctions.over[min(count, _AUCTIONS - 1)])
        out = now.quotes(values, over, cap)
        assert (np.diff(out) >= 0).all(), (
            f"bids fall where values rise, after {count} auctions: {out.tolist()}"
        )
        assert out.max() <= cap, f"bids {out.max()} above the cap of {cap}"
        assert out.min() >= 0, f"bids {out.min()}"


def _auctions(cap_nanos: int, seed: int) -> Auctions:
    rng = np.random.default_rng([seed, 17])
    value = cap_nanos * rng.lognormal(0.0, 2.0, _AUCTIONS)
    price = rng.integers(0, cap_nanos, _AUCTIONS)
    click = np.zeros(_AUCTIONS, dtype=np.uint8)
    slot = np.zeros(_AUCTIONS, dtype=np.int32)
    return Auctions(value, value, price, click, even_plan(_AUCTIONS), slot, 1, cap_nanos)


def _part(auctions: Auctions, count: int) -> Auctions:
    return auctions._replace(price=auctions.price[:count])


def _alike(one: Policy, two: Policy) -> bool:
    return np.array_equal(one.s, two.s, equal_nan=True) and np.array_equal(one.k, two.k)
