"""Users -> groups, and how many groups there are.

Groups are those of k-means over the points of `space`: the best of several starts, on a sample where there are many
users. Mini-batches (Sculley 2010) are faster, but on 43,000 users of a market their end depended on their start so
much that halves agreed by .72 where full steps agree by .93. A number of groups is good where

- each has the smallest size: those that have not are merged into the nearest;
- it is stable: groups found again in random halves of the users put all users into the same groups (adjusted Rand
  index: Hubert & Arabie 1985; mean over the halves at least `STABLE`);
- and of these the one is taken whose silhouette (Rousseeuw 1987) on a sample of users is the highest.

Where no number is stable there is one group: everybody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.segments.behaviour import Floats, Ints

STABLE = 0.75
APART = 0.25
"""Silhouette below which groups overlap (Kaufman & Rousseeuw 1990, table 2)."""
TRIED = (*range(2, 13), *range(14, 25, 2))
"""Numbers of groups to choose from."""
_HALVES = 5
_SILHOUETTE_USERS = 2_000
_MOST_USERS = 20_000
_STARTS = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """One number of groups that was tried.

    Attributes:
        asked: groups that k-means was asked for. groups: left after small ones were merged.
        smallest: users of the smallest.
        silhouette: mean over a sample, -1 to 1. stability: mean adjusted Rand index over halves.
    """

    asked: int
    groups: int
    smallest: int
    silhouette: float
    stability: float

    @property
    def stable(self) -> bool:
        """Whether these groups may be used."""
        return self.groups > 1 and self.stability >= STABLE


@dataclass(frozen=True, slots=True)
class Clusters:
    """The groups.

    Attributes:
        labels: int64[users], 0 the largest group.
        centres: float64[groups, directions].
        trials: what was tried, in order. taken: the one whose groups these are, None where all are one.
    """

    labels: Ints
    centres: Floats
    trials: tuple[Trial, ...]
    taken: Trial | None = None

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.centres)


def clusters_of(
    points: Floats,
    smallest: int,
    groups: int | None,
    seed: int,
    progress: Callable[[int, int], None],
) -> Clusters:
    """Finds groups of users.

    Args:
        points: float64[users, directions].
        smallest: least users of a group.
        groups: how many, or None to choose; fewer where groups would be too small.
        seed: of k-means, halves and samples; the same seed gives the same groups.
        progress: called with how many of how many numbers are tried.

    Raises:
        ModelError: scikit-learn is not installed.
    """
    _check_library()
    from threadpoolctl import threadpool_limits

    most = len(points) // max(smallest, 1)
    asked: Sequence[int] = [k for k in TRIED if k <= most] if groups is None else [min(groups, most)]
    best: tuple[Trial, Ints] | None = None
    trials: list[Trial] = []
    # More threads add up in another order: the last bits, and with them the groups, would differ by machine.
    with threadpool_limits(1):
        for number, k in enumerate([k for k in asked if k > 1], start=1):
            trial, labels = _try(points, k, smallest, seed)
            trials.append(trial)
            usable = groups is not None or trial.stable
            if usable and (best is None or trial.silhouette > best[0].silhouette):
                best = trial, labels
            progress(number, len(asked))
    labels = best[1] if best is not None else np.zeros(len(points), dtype=np.int64)
    taken = best[0] if best is not None else None
    return Clusters(labels, _centres(points, labels), tuple(trials), taken)


def _check_library() -> None:
    try:
        import sklearn
    except ImportError as error:
        raise ModelError(
            "scikit-learn must be installed to find segments, is not: pip install 'clearbid[offline]'"
        ) from error
    del sklearn


def _try(points: Floats, k: int, smallest: int, seed: int) -> tuple[Trial, Ints]:
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    labels = _merged(points, _fit(points, k, seed).predict(points), smallest)
    found = int(labels.max()) + 1
    size = int(np.bincount(labels).min())
    if found < 2:
        return Trial(k, found, size, 0.0, 0.0), labels
    rng = np.random.default_rng([seed, k])
    agreed = []
    for half in range(_HALVES):
        chosen = rng.permutation(len(points))[: max(len(points) // 2, k)]
        again = _fit(points[chosen], k, seed + 1 + half).predict(points)
        agreed.append(adjusted_rand_score(labels, _merged(points, again, smallest)))
    sample = rng.permutation(len(points))[:_SILHOUETTE_USERS]
    shown = labels[sample]
    many = len(np.unique(shown)) > 1
    silhouette = float(silhouette_score(points[sample], shown)) if many else 0.0
    return Trial(k, found, size, silhouette, float(np.mean(agreed))), labels


def _fit(points: Floats, k: int, seed: int) -> Any:
    """K-means of at most `_MOST_USERS` users; the others are put to the nearest centre by `predict`."""
    from sklearn.cluster import KMeans

    if len(points) > _MOST_USERS:
        points = points[np.random.default_rng([seed, k]).permutation(len(points))[:_MOST_USERS]]
    return KMeans(k, n_init=_STARTS, max_iter=100, random_state=seed).fit(points)


def _merged(points: Floats, labels: NDArray[Any], smallest: int) -> Ints:
    """Labels with groups below the smallest size merged into the nearest, numbered by size."""
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    while True:
        sizes = np.bincount(labels)
        small = int(np.argmin(sizes))
        if len(sizes) == 1 or sizes[small] >= smallest:
            break
        centres = _centres(points, labels)
        distance = ((centres - centres[small]) ** 2).sum(axis=1)
        distance[small] = np.inf
        labels[labels == small] = int(np.argmin(distance))
        labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    order = np.argsort(-np.bincount(labels), kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[labels])


def _centres(points: Floats, labels: Ints) -> Floats:
    sizes = np.bincount(labels)
    sums = np.column_stack([np.bincount(labels, column) for column in points.T])
    return np.asarray(sums / sizes[:, None])
