"""What the landscape saves: figures against sums by hand, and intervals against a known truth."""

import numpy as np
import pytest

from bidder.errors import InputError
from simulator.arms import BLOCK_NS, MIN_BLOCKS, Compared, Outcome, Range, compared

SHARE = 0.25


def drawn(seed: int, bids: int = 4_000, blocks: int = 60) -> list[Outcome]:
    """Values even from 0 to 2, prices to beat even from 0 to 1: a half is bid by the landscape, 0.8 by the share."""
    random = np.random.default_rng(seed)
    worth = random.integers(1, 2_000_000, bids)
    rival = random.integers(0, 1_000_000, bids)
    held = random.random(bids) < SHARE
    bid = np.where(held, 0.8 * worth, 0.5 * worth).astype(np.int64)
    won = bid >= rival
    at = random.integers(0, blocks * BLOCK_NS, bids)
    return [
        Outcome(int(at[n]), "held" if held[n] else "landscape", bool(won[n]), int(bid[n]) if won[n] else 0,
                int(worth[n]), False)
        for n in range(bids)
    ]  # fmt: skip


def truth(share: float) -> tuple[float, float]:
    """Expected cost of a win and surplus of an auction, by a fine sum."""
    worth = (np.arange(200_000) + 0.5) * 10.0
    bid = share * worth
    won = np.minimum(bid / 1e6, 1.0)
    return float((bid * won).sum() / won.sum()), float(((worth - bid) * won).mean())


def test_figures_are_the_sums_of_their_arm() -> None:
    found = [
        Outcome(0, "landscape", True, 40, 100, True), Outcome(1, "landscape", False, 0, 90, False),
        Outcome(2, "landscape", True, 60, 80, False), Outcome(3, "held", True, 70, 100, False),
    ]  # fmt: skip
    told = compared(found, SHARE, {"open": 2})
    assert (told.landscape.bids, told.landscape.wins, told.landscape.spend_nanos, told.landscape.worth_nanos) == (
        3, 2, 100, 180,
    )  # fmt: skip
    assert told.landscape.cost_per_win_nanos == Range(50.0)
    assert told.landscape.surplus_nanos.value == pytest.approx(80 / 0.75)
    assert told.held.surplus_nanos == Range(30 / 0.25)
    assert told.saving.value == pytest.approx(1 - 50 / 70)
    assert told.gain_nanos.value == pytest.approx(80 / 0.75 - 120)
    assert (told.blocks, told.explored, told.left_out) == (1, 1, {"open": 2})


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    (cost, surplus), (held_cost, held_surplus) = truth(0.5), truth(0.8)
    runs: list[Compared] = [compared(drawn(seed), SHARE, draws=300, seed=seed) for seed in range(60)]
    inside = {
        "saving": sum(one.saving.low <= 1 - cost / held_cost <= one.saving.high for one in runs),
        "gain": sum(
            one.gain_nanos.low <= 4_000 * (surplus - held_surplus) <= one.gain_nanos.high for one in runs
        ),
        "cost": sum(
            one.held.cost_per_win_nanos.low <= held_cost <= one.held.cost_per_win_nanos.high for one in runs
        ),
    }
    # Of 60 at 95 %, 51 or fewer happen once in two thousand.
    assert {name: count for name, count in inside.items() if count < 52} == {}
    assert all(one.gain_nanos.low > 0 for one in runs[:10])


def test_a_seed_repeats_and_few_blocks_have_no_ends() -> None:
    assert compared(drawn(1), SHARE) == compared(drawn(1), SHARE)
    assert compared(drawn(1), SHARE, seed=2) != compared(drawn(1), SHARE)
    few = compared(drawn(1, blocks=MIN_BLOCKS - 1), SHARE)
    assert few.saving.low is None
    assert few.saving.value is not None


def test_an_arm_without_bids_is_no_comparison() -> None:
    alone = [one for one in drawn(1, 50) if one.arm == "landscape"]
    with pytest.raises(InputError, match="has none held: bid at first price with landscape_file"):
        compared(alone, SHARE)


def test_no_win_leaves_no_cost() -> None:
    found = [Outcome(n, arm, False, 0, 5, False) for n, arm in enumerate(("landscape", "held"))]
    told = compared(found, SHARE)
    assert told.saving == Range(None)
    assert told.gain_nanos == Range(0.0)
