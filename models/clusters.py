"""Which rows belong together: those of one user, or of one stretch of time where no user is known.

Rows of a cluster are alike, so that they say less than as many rows of strangers would. What takes each row for
itself states an interval that is too narrow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clusters = NDArray[np.int32]
Floats = NDArray[np.float64]

TIME_BLOCKS = 500
"""Stretches of time that stand for clusters where no user is known: long enough to hold what belongs together (one
burst of traffic, one hour of a campaign), enough of them for 2.5 % at each end."""


def clusters_in(extras: Mapping[str, Any], rows: int) -> Clusters:
    """int32[rows]: the clusters of the rows of a table, by its column `user` where one is known."""
    return clusters_of(users_in(extras), rows)


def users_in(extras: Mapping[str, Any]) -> Sequence[object] | None:
    """The user of each row of a table; None where it has no column `user`, or no user in it."""
    found = extras.get("user")
    if found is None or isinstance(found, np.ndarray) or not any(user is not None for user in found):
        return None
    return found  # type: ignore[no-any-return]


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


def clustered_variance(values: Floats, clusters: Clusters) -> float:
    """Variance of the sum of values whose mean is 0, where those of one cluster move together.

    It is G / (G - 1) times the sum over G clusters of their squared sums (Liang and Zeger, 1986); 0 for one cluster,
    which cannot tell.
    """
    codes, count = packed(clusters)
    if count < 2:
        return 0.0
    sums = np.bincount(codes, weights=values)
    return float((sums * sums).sum()) * count / (count - 1)
