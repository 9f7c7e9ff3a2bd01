"""A target's kernels beside their slow twin, over random lives."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core import target_kernels as kernels
from tests.support.naive_target import NaiveTarget


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    prior=st.sampled_from([0.0, 5.0, 200.0]),
    eta=st.sampled_from([1e-4, 2e-3, 0.05]),
    dear=st.floats(0.1, 3.0),
)
def test_a_target_moves_as_its_slow_twin(seed: int, prior: float, eta: float, dear: float) -> None:
    draw = random.Random(seed)
    row = np.zeros(kernels.T_COLUMNS)
    kernels.begin_target(row, 0.4)
    twin = NaiveTarget(eta, 0.02, prior)
    opened: list[tuple[float, float]] = []
    for turn in range(300):
        kernels.ripen(row, 0.1)
        twin.ripen(0.1)
        if turn % 7 == 0:
            kernels.solve_target(row, eta, 0.02, prior, turn / 300)
            twin.solve(turn / 300)
        worth = draw.uniform(1.0, 100.0)
        assert kernels.most_of(row, worth, 2 * worth) == pytest.approx(
            twin.allows(worth, 2 * worth), rel=1e-6
        )
        binds = draw.random() < 0.7
        kernels.opportunity_seen(row, binds)
        twin.opportunity(binds=binds)
        if draw.random() < 0.8:
            opened.append((worth, worth * draw.uniform(0.5, 2.0)))
            kernels.bid_made(row, *opened[-1])
            twin.bid(*opened[-1])
        while len(opened) > draw.randrange(8):
            bid = opened.pop(draw.randrange(len(opened)))
            paid = bid[0] * dear * draw.random() if draw.random() < 0.5 else None
            kernels.bid_ended(row, *bid, 0.25, -1.0 if paid is None else paid)
            twin.end(*bid, 0.25, paid)
        if draw.random() < 0.1:
            row[[kernels.T_OUTCOMES, kernels.T_OBSERVED]] += 1.0, 200.0 * draw.random()
            twin.outcomes, twin.observed = map(float, row[[kernels.T_OUTCOMES, kernels.T_OBSERVED]])
    assert row[kernels.T_ROOM] == pytest.approx(twin.room, rel=1e-6)
    assert kernels.MIN_ROOM <= row[kernels.T_ROOM] <= kernels.MAX_ROOM
