"""Two policies side by side, each with half of the users and half of the budget.

The design that keeps two policies from taking from each other (Liu, Mao and Kang 2020, "Trustworthy online
marketplace experimentation with budget-split design"): users are split, and so is every budget. It is the
experiment as it would be run live, played on the past, so that its size can be judged beforehand: how large a
difference it would show.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bidder.errors import InputError
from simulator.estimate.controller import Controller, Outcome, played
from simulator.estimate.resampling import groups_of, times_of
from simulator.estimate.study import Study
from simulator.history.auctions import Auctions
from simulator.whatif.compare import DRAWS, FIELDS, Line, line_of, verdict_of

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

POWER_FACTOR = 2.8
"""Deviations that a difference must have to be found four times in five at 95 %."""


class Split(NamedTuple):
    """What a split experiment would show; figures are of all traffic (twice a half).

    Attributes:
        share: of the users that the second policy has. lines: spend to value, and surplus. better, verdict: as in
            `what_if`. detectable: least share of the first policy's value that it would find four times in five.
    """

    share: float
    lines: tuple[Line, ...]
    better: float
    verdict: str
    detectable: float


def split_test(
    log: Auctions,
    one: Controller,
    two: Controller,
    budget_nanos: int,
    *,
    seed: int,
    share: float = 0.5,
    draws: int = DRAWS,
    progress: Callable[[int, int], None] | None = None,
) -> Split:
    """Plays two policies on two parts of the users.

    Args:
        log: one campaign's. one, two: the policies. budget_nanos: of both together. seed: of split and draws.
        share: of users and budget that `two` has. draws: of the intervals. progress: hears of draws.

    Raises:
        InputError: the share or the budget leaves a side nothing.
    """
    if not 0.05 <= share <= 0.95:
        raise InputError(f"share of the second policy must be from .05 to .95, was {share}")
    if budget_nanos < 100:
        raise InputError(f"budget must be at least 100 nanos, was {budget_nanos}")
    groups = groups_of(log)
    second = np.random.default_rng([seed, 89]).random(int(groups.max(initial=-1)) + 1) < share
    sides = [
        (one, np.flatnonzero(~second[groups]), 1 - share),
        (two, np.flatnonzero(second[groups]), share),
    ]
    study = Study(log, one)
    found = np.zeros((draws + 1, 2, len(FIELDS)))
    for draw in range(draws + 1):
        times = times_of(groups, seed, draw)
        lot = study.lot(times.astype(np.float64), seed * 1_009 + draw)
        for side, (controller, rows, part) in enumerate(sides):
            turns = np.repeat(rows, times[rows])
            got: Outcome = played(lot, turns, max(int(budget_nanos * part), 1), controller)
            found[draw, side] = [getattr(got, name) / part for name in FIELDS]
        if progress is not None:
            progress(draw + 1, draws + 1)
    return _said(found, share)


def _said(found: Floats, share: float) -> Split:
    surplus = found[:, :, -1] - found[:, :, 0]
    lines = [line_of(name, found[:, :, place]) for place, name in enumerate(FIELDS)]
    lines.append(line_of("surplus_nanos", surplus))
    gain = surplus[:, 1] - surplus[:, 0]
    deviation = float(gain[1:].std(ddof=1)) if len(gain) > 2 else 0.0
    # The split itself is chance: the point is one split's, the draws are others', round the same truth.
    better = float(_normal_share(gain[0], deviation))
    first = float(found[0, 0, -1])
    value = found[:, 1, -1] - found[:, 0, -1]
    spread = float(value[1:].std(ddof=1)) if len(value) > 2 else 0.0
    return Split(
        share,
        tuple(lines),
        better,
        verdict_of(better),
        POWER_FACTOR * spread / first if first > 0 else float("inf"),
    )


def _normal_share(mean: float, deviation: float) -> float:
    return float(ndtr(mean / deviation)) if deviation > 0 else 0.5
