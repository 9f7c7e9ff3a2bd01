"""Users among so many impressions, from how often each user was seen.

Opportunities of a user in a time are Poisson with a rate that is gamma over users: the negative binomial of
Ehrenberg (1959), fitted to users that were seen at all, so that those who were not seen yet are part of the
population. A user who was offered x times is shown more often the larger the share that is won. Reach follows:

    users reached = P (1 - (1 + m s / k)^-k),   impressions = P m s

P users, m opportunities each in the past, s how many times as many impressions as there were opportunities. A cap
of c in the flight turns the impressions of a user x into min(x, c), so the same impressions need more users.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import gammaln

from bidder.errors import InputError

Floats = NDArray[np.float64]

LEAST_USERS = 100
"""Known users without which nothing is said of reach."""
MOST_SCALE = 20.0
"""Beyond so many times what was seen the gamma's tail alone would speak."""


class Reach(NamedTuple):
    """users: reached. frequency: impressions of each. lost: impressions that a cap takes away, as a share."""

    users: float
    frequency: float
    lost: float


class Population(NamedTuple):
    """Users of a traffic: how many there are, what each is offered in the past time, and how unlike they are.

    Attributes:
        users: seen or not. mean: opportunities of one. shape: k of the gamma; the smaller, the more unlike.
        known: share of the opportunities whose user is known: the others are taken to be like them.
    """

    users: float
    mean: float
    shape: float
    known: float

    def reach(self, impressions: float, cap: int = 0) -> Reach:
        """Users that so many impressions reach.

        Args:
            impressions: in a time in which as many users come by as did in the past time. cap: most of one user in
                the flight, 0 for none.

        Raises:
            InputError: more impressions than the population says anything of.
        """
        most = self.users * self.mean * MOST_SCALE
        if not 0 <= impressions <= most:
            raise InputError(
                f"impressions must be from 0 to {most:,.0f}, {MOST_SCALE:.0f} times what was seen, were "
                f"{impressions:,.0f}"
            )
        if impressions == 0:
            return Reach(0.0, 0.0, 0.0)
        each = impressions / self.users
        users = self.users * float(-np.expm1(-self.shape * np.log1p(each / self.shape)))
        lost = 0.0
        if cap:
            kept = self._capped(each, cap)
            lost = 1.0 - kept / each
        return Reach(users, impressions * (1.0 - lost) / users, lost)

    def _capped(self, each: float, cap: int) -> float:
        """Mean of min(x, cap) where x has mean `each`."""
        x = np.arange(cap, dtype=np.float64)
        k = self.shape
        log = (
            gammaln(k + x)
            - gammaln(k)
            - gammaln(x + 1)
            + k * np.log(k / (k + each))
            + x * np.log(each / (k + each))
        )
        below = np.exp(log)
        return float((below * x).sum() + cap * max(1.0 - below.sum(), 0.0))


def fit_population(user: NDArray[np.uint64]) -> Population:
    """The population behind the users of past opportunities.

    Args:
        user: uint64[n], a key for each opportunity, 0 where not known. Of a sample users must be drawn whole, or they
            look rarer than they are.

    Raises:
        InputError: fewer than `LEAST_USERS` known users.
    """
    known = user[user != 0]
    times = np.unique(known, return_counts=True)[1]
    if len(times) < LEAST_USERS:
        raise InputError(
            f"reach needs {LEAST_USERS} known users, the history has {len(times)}: leave reach out, or keep the keys "
            "of users"
        )
    share = len(known) / len(user)
    mean, shape = _fit(times)
    seen = -np.expm1(-shape * np.log1p(mean / shape))
    # Opportunities of unknown users are of further users like these.
    return Population(len(times) / float(seen) / share, mean, shape, share)


def _fit(times: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and shape of the zero-truncated negative binomial by maximum likelihood."""
    values, counts = np.unique(times, return_counts=True)
    x = values.astype(np.float64)
    seen_mean = float(times.mean())
    if seen_mean < 1.0 + 1e-9:
        # Nobody came twice: the population is as large as the data let it be.
        return 1.0 / len(times), 1.0

    def loss(packed: Floats) -> float:
        mean, k = np.exp(np.clip(packed, -12.0, 12.0))
        log = gammaln(k + x) - gammaln(k) - gammaln(x + 1)
        log += k * np.log(k / (k + mean)) + x * np.log(mean / (k + mean))
        seen = -np.expm1(-k * np.log1p(mean / k))
        return float(-(counts * (log - np.log(seen))).sum())

    start = np.log([_poisson_mean(seen_mean), 1.0])
    found = minimize(
        loss, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-8, "maxiter": 2_000}
    )
    mean, shape = np.exp(np.clip(found.x, -12.0, 12.0))
    return float(mean), float(shape)


def _poisson_mean(seen_mean: float) -> float:
    """Mean of a Poisson law whose mean above zero is this."""
    return float(brentq(lambda m: m / -np.expm1(-m) - seen_mean, 1e-9, seen_mean + 1.0))
