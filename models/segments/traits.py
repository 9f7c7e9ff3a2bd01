"""What a group has that the others have not.

Over-representation is the log of the odds ratio with an informative Dirichlet prior (Monroe, Colaresi & Quinn,
"Fightin' Words", *Political Analysis* 16, 2008): counts of a group are compared with those of all others after both
were moved towards the average of all, so that rare values do not come out on top by luck. What is counted is users,
not rows, each once a column in the shares of one's rows: rows of one user are not independent.

The groups were made of these very shares, so the intervals say how well a difference is known, and not that it is
more than the grouping itself makes: even groups cut out of noise differ in what they were cut by. That there is a
structure at all is shown by `space` and `clusters`; how groups answer is another matter, since clicks did not make
them.
"""

from dataclasses import dataclass

import numpy as np

from models.segments.behaviour import ROWS, Behaviour, Floats, Ints, Kind

PRIOR_USERS = 50.0
"""Users whom the prior is worth; of the average shares."""
Z_SHOWN = 4.0
"""Standard deviations from no difference: hundreds of values are compared, and chance reaches 3 among them."""
MOST_TRAITS = 10
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Trait:
    """One value of one column that is more frequent in a group than among all others.

    Attributes:
        column, kind, value: what it is.
        share: of the group. share_others: of all others.
        odds: odds ratio after the prior; odds_low, odds_high: its 95 % interval.
        z: log of it in standard deviations.
    """

    column: str
    kind: Kind
    value: str
    share: float
    share_others: float
    odds: float
    odds_low: float
    odds_high: float
    z: float


def traits_of(behaviour: Behaviour, labels: Ints, smallest: int) -> list[tuple[Trait, ...]]:
    """The traits of each group, the most distinctive first; none where there is one group.

    Args:
        behaviour: of the users. labels: int64[users].
        smallest: least users of a group who have a value that is told of it.
    """
    groups = int(labels.max()) + 1
    found: list[list[Trait]] = [[] for _ in range(groups)]
    if groups < 2:
        return [() for _ in found]
    for block in behaviour.blocks:
        if block.kind == "habits":
            continue
        own, having = (_sums(shares, labels, groups) for shares in (block.shares, block.shares > 0))
        sizes = np.bincount(labels, minlength=groups).astype(np.float64)[:, None]
        log_odds, deviation = log_odds_of(own, sizes)
        others = own.sum(axis=0) - own
        for group, place in zip(
            *np.nonzero((log_odds / deviation >= Z_SHOWN) & (having >= smallest)), strict=True
        ):
            delta, sigma = float(log_odds[group, place]), float(deviation[group, place])
            found[group].append(
                Trait(
                    block.name,
                    block.kind,
                    block.values[place],
                    float(own[group, place] / sizes[group, 0]),
                    float(others[group, place] / (len(labels) - sizes[group, 0])),
                    float(np.exp(delta)),
                    float(np.exp(delta - _Z95 * sigma)),
                    float(np.exp(delta + _Z95 * sigma)),
                    delta / sigma,
                )
            )
    return [tuple(sorted(of, key=lambda one: (-one.z, one.column, one.value))[:MOST_TRAITS]) for of in found]


def log_odds_of(own: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Log odds ratio of each group against all others, and its standard deviation (Monroe et al., eq. 16 and 22).

    Args:
        own: float64[groups, values], users of each group with each value. sizes: float64[groups, 1], its users.
    """
    prior = PRIOR_USERS * own.sum(axis=0) / sizes.sum()
    others, rest = own.sum(axis=0) - own, sizes.sum() - sizes
    delta = np.zeros_like(own)
    variance = np.zeros_like(own)
    for counts, total, sign in ((own, sizes, 1.0), (others, rest, -1.0)):
        with_prior = counts + prior
        without = np.maximum(total + PRIOR_USERS - with_prior, 1e-9)
        delta += sign * np.log(np.maximum(with_prior, 1e-9) / without)
        variance += 1.0 / np.maximum(with_prior, 1e-9) + 1.0 / without
    return delta, np.sqrt(variance)


def rows_each(behaviour: Behaviour, labels: Ints) -> Floats:
    """float64[groups]: mean number of rows of a user."""
    assert behaviour.blocks[-1].values[0] == ROWS, "habits come last"
    return np.asarray(np.bincount(labels, behaviour.count) / np.bincount(labels))


def _sums(shares: object, labels: Ints, groups: int) -> Floats:
    """float64[groups, values]: sums of the shares of each group's users."""
    from scipy.sparse import csr_matrix

    users = len(labels)
    member = csr_matrix((np.ones(users), (labels, np.arange(users))), shape=(groups, users))
    return np.asarray((member @ shares).toarray())
