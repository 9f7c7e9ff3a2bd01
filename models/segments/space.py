"""Users as points in few directions, and how many of these are more than chance.

Each column becomes deviations from the average share, divided by the root of that share (the chi-square distance
of correspondence analysis: Greenacre, *Correspondence Analysis in Practice*); deviations of visits are shrunk for
users of few rows. Themes (a column, or the three of the device) are then made equal by the first singular value of
each (multiple factor analysis: Escofier & Pagès 1994), so that a column of 300 domains does not drown one of four
parts of the day. The principal directions come from the exact covariance, which the sparse shares give without being
filled up.

A direction counts where its variance is above that of data in which the columns were shuffled against each other
(parallel analysis: Horn 1965; by permutation: Buja & Eyuboglu 1992). What is shuffled is what could be chance:

    visits      rows among users: whether a user has ways of one's own at all
    attributes  users, theme by theme: whether device and region go together, or with anything
    interests   users, id by id
    habits      click rates among users; the number of rows stays, because it is what deviations are shrunk by

Without such a direction there is no structure to find, and that is said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from models.segments.behaviour import (
    DAY_PART,
    PRIOR_ROWS,
    WEEK_PART,
    Behaviour,
    Block,
    Floats,
    Ints,
    shares_of,
)

MOST_DIRECTIONS = 20
_DRAWS = 10
_THEMES = ("device", "region")
_DEVIATIONS = 4.0
"""How far above shuffled data, in standard deviations of ten draws: chance reaches it in less than 1 of 100."""


@dataclass(frozen=True, slots=True)
class Space:
    """Users as points.

    Attributes:
        points: float64[users, directions].
        kept: directions that are more than chance; the points have no others, but at least two.
        variances: of the first directions, descending. chance: what shuffled data reach there.
    """

    points: Floats
    kept: int
    variances: tuple[float, ...]
    chance: tuple[float, ...]


def space_of(behaviour: Behaviour, seed: int, progress: Callable[[int, int], None]) -> Space:
    """Places users in the directions that are more than chance.

    Args:
        behaviour: of the users.
        seed: of the shuffling.
        progress: called with how many of how many shuffled copies are done.
    """
    trust = {
        "visits": behaviour.count / (behaviour.count + PRIOR_ROWS),
        "other": np.ones(len(behaviour.users)),
    }
    parts = _parts(behaviour.blocks, trust)
    variances, directions = _spectrum(parts)
    most = min(MOST_DIRECTIONS, len(variances))
    drawn = np.empty((_DRAWS, most))
    for number in range(_DRAWS):
        rng = np.random.default_rng([seed, number])
        shuffled = [
            _Part(shares, part.mean, part.scale, part.trust)
            for shares, part in zip(_shuffled(behaviour, rng), parts, strict=True)
        ]
        drawn[number] = _spectrum(shuffled)[0][:most]
        progress(number + 1, _DRAWS)
    chance = drawn.mean(axis=0) + _DEVIATIONS * drawn.std(axis=0, ddof=1)
    above = variances[:most] > chance * (1.0 + 1e-9)
    kept = int(np.argmin(above)) if not above.all() else most
    points = _points(parts, directions[:, : max(kept, 2)])
    return Space(points, kept, tuple(variances[:most].tolist()), tuple(chance.tolist()))


@dataclass(frozen=True, slots=True)
class _Part:
    """One column: its shares, what is taken from them, and by what each value is multiplied."""

    shares: Any
    mean: Floats
    scale: Floats
    trust: Floats

    def scaled(self) -> Any:
        """CSR [users, values], not yet centred."""
        from scipy.sparse import diags

        return (diags(self.trust) @ self.shares @ diags(self.scale)).tocsr()


def _parts(blocks: Sequence[Block], trusts: dict[str, Floats]) -> list[_Part]:
    """Columns with each theme's first singular value made 1."""
    parts = [_part(block, trusts["visits" if block.kind == "visits" else "other"]) for block in blocks]
    first: dict[str, float] = {}
    for theme in dict.fromkeys(block.theme for block in blocks):
        own = [part for part, block in zip(parts, blocks, strict=True) if block.theme == theme]
        first[theme] = float(_spectrum(own)[0][0])
    # A theme in which all users are the same has nothing to say, and must not be blown up.
    weights = {theme: 1.0 / np.sqrt(value) if value > 1e-12 else 0.0 for theme, value in first.items()}
    return [
        replace(part, scale=part.scale * weights[block.theme])
        for part, block in zip(parts, blocks, strict=True)
    ]


def _part(block: Block, trust: Floats) -> _Part:
    if block.kind == "habits":
        return _Part(block.shares, np.zeros(len(block.values)), np.ones(len(block.values)), trust)
    mean = np.asarray(block.shares.mean(axis=0)).ravel()
    return _Part(block.shares, mean, 1.0 / np.sqrt(np.maximum(mean, 1e-12)), trust)


def _spectrum(parts: list[_Part]) -> tuple[Floats, Floats]:
    """Variances, descending, and directions float64[values, directions], of the centred columns beside each other."""
    from scipy.sparse import hstack

    scaled = hstack([part.scaled() for part in parts]).tocsr()
    trusts = np.column_stack([part.trust for part in parts])
    means = _means(parts)
    crossed = np.asarray(scaled.T @ trusts) @ means
    covariance = (scaled.T @ scaled).toarray() - crossed - crossed.T + means.T @ (trusts.T @ trusts) @ means
    values, vectors = np.linalg.eigh(covariance / scaled.shape[0])
    order = np.argsort(-values, kind="stable")
    vectors = vectors[:, order]
    # The sign of a direction is free: the largest entry is made positive, so that libraries agree.
    largest = np.argmax(np.abs(vectors), axis=0)
    signs = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return np.asarray(values[order]), np.asarray(vectors * signs)


def _means(parts: list[_Part]) -> Floats:
    """float64[parts, values]: the scaled average of each column in its own place."""
    widths = [len(part.mean) for part in parts]
    means = np.zeros((len(parts), sum(widths)))
    at = 0
    for row, (part, width) in enumerate(zip(parts, widths, strict=True)):
        means[row, at : at + width] = part.mean * part.scale
        at += width
    return means


def _points(parts: list[_Part], directions: Floats) -> Floats:
    from scipy.sparse import hstack

    scaled = hstack([part.scaled() for part in parts]).tocsr()
    trusts = np.column_stack([part.trust for part in parts])
    return np.asarray(scaled @ directions - trusts @ (_means(parts) @ directions))


def _shuffled(behaviour: Behaviour, rng: np.random.Generator) -> list[Any]:
    """The shares of each column as chance would make them, see the top of this file."""
    times = rng.permutation(len(behaviour.rows))
    people = {theme: rng.permutation(len(behaviour.users)) for theme in _THEMES}
    return [_shuffled_block(block, behaviour, times, people, rng) for block in behaviour.blocks]


def _shuffled_block(
    block: Block, behaviour: Behaviour, times: Ints, people: Mapping[str, Ints], rng: np.random.Generator
) -> Any:
    from scipy.sparse import csr_matrix

    users = len(behaviour.users)
    if block.kind == "visits":
        order = times if block.name in (DAY_PART, WEEK_PART) else rng.permutation(len(block.codes))
        return shares_of(
            block.codes[order], behaviour.row_user, behaviour.row_weight, users, len(block.values)
        )
    if block.kind == "attributes":
        return block.shares[people[block.theme]]
    if block.kind == "interests":
        return _shuffled_columns(block.shares, rng)
    numbers = block.shares.toarray()
    numbers[:, 1:] = numbers[rng.permutation(users), 1:]
    return csr_matrix(numbers)


def _shuffled_columns(shares: Any, rng: np.random.Generator) -> Any:
    """Each column's entries among all users, apart from the other columns."""
    columns = shares.tocsc(copy=True)
    for begin, end in pairwise(columns.indptr):
        columns.indices[begin:end] = rng.choice(shares.shape[0], end - begin, replace=False)
    columns.has_sorted_indices = False
    columns.sort_indices()
    return columns.tocsr()
