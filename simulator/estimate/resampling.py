"""Which rows count how often in a draw: a bootstrap of users, or of blocks of time."""

import numpy as np
from numpy.typing import NDArray

from simulator.history.auctions import Auctions

Ints = NDArray[np.int64]

BLOCK_NS = 15 * 60 * 10**9
LEAST_KNOWN_USERS = 0.5


def groups_of(auctions: Auctions, by: str = "auto") -> Ints:
    """int64[n]: the group that each row is drawn with.

    Args:
        auctions: of the log. by: `user`, `block` (a quarter of an hour), or `auto`: users where half of the
            rows name one. A row without a user stands alone.
    """
    known = auctions.user != 0
    if by_user(auctions, by):
        found = np.unique(auctions.user, return_inverse=True)[1].astype(np.int64)
        found[~known] = int(found.max(initial=0)) + 1 + np.arange(int((~known).sum()))
        return np.unique(found, return_inverse=True)[1].astype(np.int64)
    return np.unique(auctions.at_ns // BLOCK_NS, return_inverse=True)[1].astype(np.int64)


def by_user(auctions: Auctions, by: str) -> bool:
    """Whether users are drawn, and not blocks of time."""
    return by == "user" or (by == "auto" and float((auctions.user != 0).mean()) >= LEAST_KNOWN_USERS)


def times_of(groups: Ints, seed: int, draw: int) -> Ints:
    """int64[n]: how often each row counts in a draw; draw 0 is the log itself."""
    if draw == 0:
        return np.ones(len(groups), dtype=np.int64)
    many = int(groups.max(initial=-1)) + 1
    rng = np.random.default_rng([seed, 23, draw])
    return np.bincount(rng.integers(0, many, many), minlength=many)[groups].astype(np.int64)
