"""Draws of a bootstrap: how many times each cluster counts.

Each cluster counts Poisson(1) times, independently of the others (Chamandy et al., Google 2012; Hanley and
MacGibbon, CMPB 2006). For sums over many clusters that is the multinomial draw without its fixed total, and all our
metrics are ratios of sums, in which the total cancels. No row is copied. The counts are those of a table with 2^16
entries, so that a million cost milliseconds; rounding to it moves no probability by more than 2^-17.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.uint8]


def _table() -> Times:
    steps = np.cumsum([math.exp(-1.0) / math.factorial(k) for k in range(10)])
    return np.searchsorted(steps, (np.arange(1 << 16) + 0.5) / (1 << 16), side="right").astype(np.uint8)


_TIMES = _table()


def draws_of(clusters: int, draws: int, seed: int) -> Iterator[Times]:
    """uint8[clusters], `draws` times; the same for the same three numbers, whatever the rows are."""
    for draw in range(draws):
        random = np.random.default_rng([seed, draw])
        yield _TIMES[random.integers(0, 1 << 16, clusters, dtype=np.uint16)]
