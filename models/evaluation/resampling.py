"""Draws of a bootstrap: how many times each cluster counts.

Each cluster counts Poisson(1) times, independently of the others (Chamandy et al., Google 2012; Hanley and
MacGibbon, CMPB 2006). For sums over many clusters that is the multinomial draw without its fixed total, and all our
metrics are ratios of sums, in which the total cancels. No row is copied. The counts are those of a table with 2^16
entries, so that a million cost milliseconds; rounding to it moves no probability by more than 2^-17.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.uint8]
Clusters = NDArray[np.int32]

TIME_BLOCKS = 500
"""Stretches of time that stand for clusters where no user is known: long enough to hold what belongs together (one
burst of traffic, one hour of a campaign), enough of them for 2.5 % at each end."""


def _table() -> Times:
    steps = np.cumsum([math.exp(-1.0) / math.factorial(k) for k in range(10)])
    return np.searchsorted(steps, (np.arange(1 << 16) + 0.5) / (1 << 16), side="right").astype(np.uint8)


_TIMES = _table()


def draws_of(clusters: int, draws: int, seed: int) -> Iterator[Times]:
    """uint8[clusters], `draws` times; the same for the same three numbers, whatever the rows are."""
    for draw in range(draws):
        random = np.random.default_rng([seed, draw])
        yield _TIMES[random.integers(0, 1 << 16, clusters, dtype=np.uint16)]


def clusters_of(users: Sequence[object] | None, rows: int) -> Clusters:
    """int32[rows]: the cluster of each row, from 0 on without a gap.

    Args:
        users: a key of the user by row, None where not known: such a row is a cluster of its own. Without any known
            user, rows are cut into `TIME_BLOCKS` stretches of equally many.
        rows: how many, in the order of time.
    """
    if users is None or not any(user is not None for user in users):
        blocks = min(rows, TIME_BLOCKS)
        return (np.arange(rows, dtype=np.int64) * blocks // max(rows, 1)).astype(np.int32)
    known = np.array([user is not None for user in users])
    out = np.empty(rows, dtype=np.int64)
    names = np.array([str(user) for user in users if user is not None])
    _, out[known] = np.unique(names, return_inverse=True)
    first = int(out[known].max()) + 1
    out[~known] = first + np.arange(rows - int(known.sum()))
    return out.astype(np.int32)


def packed(clusters: NDArray[np.int32]) -> tuple[Clusters, int]:
    """The clusters of some of the rows, numbered from 0 without a gap, and how many there are."""
    values, codes = np.unique(clusters, return_inverse=True)
    return codes.astype(np.int32), len(values)
