"""What every policy keeps, whatever it does: `check_policy`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.quality import policy_kernels as kernels
from simulator.quality import target_policy_kernels as target_kernels
from simulator.quality.policies import Auctions, Played, State, even_plan, play
from simulator.quality.target_policies import Offers, TargetPlayed, TargetState, play_target

_AUCTIONS = 400
_VALUES = 33
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Player(NamedTuple):
    """How policies of one kind are played and asked.

    Attributes:
        play: a state, which it changes, auctions and a delay. quote: a state, which it leaves as it is, values, the
            plan and the cap, to what is bid for each value.
    """

    play: Callable[[Any, Auctions, int], Played | TargetPlayed]
    quote: Callable[[Any, Floats, float, int], Ints]


def _quote(state: State, values: Floats, over: float, cap: int) -> Ints:
    scratch = state.copy()
    out: Ints = np.zeros(len(values), dtype=np.int64)
    kernels.quotes(state.number, values, over, cap, state.s, state.k, state.table, scratch.s, scratch.k, out)
    return out


def _play_target(state: TargetState, auctions: Auctions, delay: int) -> TargetPlayed:
    """The same auctions, where every third has an outcome that is known after two more."""
    n = len(auctions.price)
    value = auctions.value[:n]
    outcome = np.where(np.arange(n) % 3 == 0, np.nan_to_num(value), 0.0)
    lag: Ints = np.full(n, 2, dtype=np.int64)
    return play_target(
        state,
        Offers(
            value, np.full(n, 1 / 3), np.nan_to_num(value), auctions.price, outcome, lag, auctions.over[:n],
            auctions.cap_nanos,
        ),
        delay,
    )  # fmt: skip


def _quote_target(state: TargetState, values: Floats, over: float, cap: int) -> Ints:
    scratch = state.copy()
    out: Ints = np.zeros(len(values), dtype=np.int64)
    target_kernels.quotes(state.number, values, over, cap, state.s, state.k, scratch.s, scratch.k, out)
    return out


OF_BUDGET = Player(play, _quote)
OF_TARGET = Player(_play_target, _quote_target)


def check_policy(
    state: State | TargetState, cap_nanos: int, seed: int = 0, player: Player = OF_BUDGET
) -> None:
    """Tries a policy on random auctions.

    It is deterministic: the same state and auctions give the same run and leave the same state. It is monotone: in
    whatever state the run comes by, a higher value never gets a lower bid. It never bids above the cap, nor more than
    the budget has free. Without budget, without auctions and for values that are no numbers it does nothing wrong.

    Args:
        state: at the begin of a campaign; it is left as it is. cap_nanos: highest bid. seed: of the auctions.
        player: how it is played and asked.

    Raises:
        AssertionError: what it does not keep.
    """
    auctions = _auctions(cap_nanos, seed)
    _check_same(state, auctions, player)
    _check_quotes(state, auctions, player)
    for delay in (0, 3, _AUCTIONS):
        done = player.play(state.copy(), auctions, delay)
        assert done.overspend_nanos == 0, f"spends {done.overspend_nanos} nanos too much at delay {delay}"
        budget = int(state.k[kernels.K_BUDGET])
        assert done.most_reserved_nanos <= budget, f"sets {done.most_reserved_nanos} aside of {budget}"
    poor = state.copy()
    poor.k[[kernels.K_BUDGET, kernels.K_EPISODE_BUDGET]] = 0
    assert player.play(poor, auctions, 0).bids == 0, "bids without a budget"
    nothing = auctions._replace(value=np.full(_AUCTIONS, np.nan))
    assert player.play(state.copy(), nothing, 0).bids == 0, "bids for values that are no numbers"
    empty = state.copy()
    before = empty.copy()
    assert player.play(empty, _part(auctions, 0), 0).bids == 0, "bids where there is no auction"
    assert _alike(empty, before), "moves where there is no auction"


def _check_same(state: State | TargetState, auctions: Auctions, player: Player) -> None:
    one, two = state.copy(), state.copy()
    first, second = player.play(one, auctions, 2), player.play(two, auctions, 2)
    assert _alike(one, two), "the same auctions leave another state"
    same = (bool(np.all(a == b)) for a, b in zip(first, second, strict=True))
    assert all(same), "the same auctions are played in another way"


def _check_quotes(state: State | TargetState, auctions: Auctions, player: Player) -> None:
    """Bids for rising values, at the begin and after parts of the run."""
    cap = auctions.cap_nanos
    values = np.concatenate([[0.0], np.geomspace(1.0, 1e18, _VALUES), [np.inf]])
    for count in (0, 1, _AUCTIONS // 3, _AUCTIONS - 1):
        now = state.copy()
        player.play(now, _part(auctions, count), 0)
        over = float(auctions.over[min(count, _AUCTIONS - 1)])
        out = player.quote(now, values, over, cap)
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


def _alike(one: State | TargetState, two: State | TargetState) -> bool:
    return np.array_equal(one.s, two.s, equal_nan=True) and np.array_equal(one.k, two.k)
