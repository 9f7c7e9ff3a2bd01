"""The kernel that measures and the engine that bids are one policy."""

import numpy as np
import pytest

from simulator.quality.fitting import auctions_of, optimal_multiplier
from simulator.quality.policy_kernels import F_MULTIPLIER
from simulator.quality.series import slots_of, synthetic_series
from simulator.quality.through_engine import EngineRun, twin

ETA = 0.004


@pytest.mark.parametrize("delay", [0, 1, 100])
@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_engine_and_kernel_bid_the_same(delay: int, factor: float) -> None:
    series = next(synthetic_series(5, 1, 2_500))
    budget = series.cost_nanos // 8
    worth = int(16e9 * optimal_multiplier(series.theta * 1e9, series.price, budget))
    start = factor * optimal_multiplier(series.theta * worth, series.price, budget)
    slots = slots_of(series, 20)
    run = EngineRun(series, worth, budget, start, delay, ETA)
    ours = run.play(slots.of)
    auctions = auctions_of(series, worth, slots, truth=False)
    theirs, state = twin(auctions, budget, start, delay, ETA)
    assert ours[1:6] == theirs[1:6]
    assert ours.most_reserved_nanos == theirs.most_reserved_nanos
    assert ours.value * worth == pytest.approx(theirs.value)
    assert np.array_equal(ours.slots, theirs.slots)
    assert run.multiplier == float(state.s[F_MULTIPLIER])
    assert ours.wins > 100
