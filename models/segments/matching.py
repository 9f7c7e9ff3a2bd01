"""A refreshed set of groups against the one before: names stay with their people, and churn is counted.

Each old name goes to one new group so that as many users as possible keep their segment: the assignment problem,
solved exactly by `scipy.optimize.linear_sum_assignment`. A group that shares too little with the old one of that
name gets a new number; a number is never given twice.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from models.segments.behaviour import Ints

LEAST_OVERLAP = 0.25
"""Jaccard index of the users whom both sets know, below which a group is a new one."""


class Churn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a refresh changed.

    Attributes:
        before: segments before. kept: names that stayed. new: names that came. retired: names that went.
        stayed: users in the segment of the same name as before. moved: users in another one.
        had_none: users of the set before who were in no segment then.
        joined: users not in the set before. left: users of the set before who are not in the table now.
    """

    before: int
    kept: tuple[str, ...]
    new: tuple[str, ...]
    retired: tuple[str, ...]
    stayed: int
    moved: int
    had_none: int
    joined: int
    left: int


@dataclass(frozen=True, slots=True)
class Named:
    """Names of the groups, the number the next new one gets, what changed, and who is no longer there."""

    names: tuple[str, ...]
    next_number: int
    churn: Churn | None
    left: tuple[str, ...]


def name_groups(
    users: Sequence[str],
    labels: Ints,
    before: Mapping[str, str] | None,
    next_number: int,
    in_none: Collection[str] = (),
) -> Named:
    """Names groups, as before where there is a before.

    Args:
        users: keys. labels: int64[users].
        before: segment of each user in the set before. next_number: of the next new segment, from 1.
        in_none: users of the set before who were in no segment then.
    """
    groups = int(labels.max()) + 1
    if before is None:
        return Named(*_new(groups, next_number), None, ())
    old = sorted(set(before.values()))
    place = {name: index for index, name in enumerate(old)}
    was = np.array([place.get(before.get(user, ""), -1) for user in users], dtype=np.int64)
    matched = _match(labels, was, groups, len(old))
    fresh, following = _new(sum(index not in matched for index in range(groups)), next_number)
    unused = iter(fresh)
    names = tuple(old[matched[index]] if index in matched else next(unused) for index in range(groups))
    now = [names[label] for label in labels]
    known = [before.get(user) for user in users]
    stayed = sum(a == b for a, b in zip(now, known, strict=True))
    unassigned = set(in_none)
    had_none = sum(user in unassigned and one is None for user, one in zip(users, known, strict=True))
    joined = sum(one is None for one in known) - had_none
    left = tuple(sorted(set(before) - set(users)))
    churn = Churn(
        before=len(old),
        kept=tuple(name for name in old if name in names),
        new=tuple(name for name in names if name not in place),
        retired=tuple(name for name in old if name not in names),
        stayed=stayed,
        moved=len(users) - joined - had_none - stayed,
        had_none=had_none,
        joined=joined,
        left=len(left),
    )
    return Named(names, following, churn, left)


def _match(labels: Ints, was: Ints, groups: int, olds: int) -> dict[int, int]:
    """New group -> old one."""
    if olds == 0:
        return {}
    from scipy.optimize import linear_sum_assignment

    both = was >= 0
    shared = np.bincount(labels[both] * olds + was[both], minlength=groups * olds).reshape(groups, olds)
    union = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None, :] - shared
    rows, columns = linear_sum_assignment(shared, maximize=True)
    return {
        int(row): int(column)
        for row, column in zip(rows, columns, strict=True)
        if shared[row, column] > 0 and shared[row, column] >= LEAST_OVERLAP * union[row, column]
    }


def _new(count: int, number: int) -> tuple[tuple[str, ...], int]:
    return tuple(f"found-{number + index:02d}" for index in range(count)), number + count
