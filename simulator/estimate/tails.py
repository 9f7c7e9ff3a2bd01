"""How surprising a weighted count of rare events is, as a deviation of the normal law.

Heavy weights on few events make a sum whose law is far from normal, and whose spread the sum itself cannot tell:
where the heavy events did not happen to come, the spread of those that came is far too small. So neither is measured
on the outcomes; both follow from the probabilities that are to be judged.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri_exp

Floats = NDArray[np.float64]

_LEAST, _MOST = 1e-12, 1.0 - 1e-12
_NEAR = 1e-3
"""Deviations from the mean within which the formula is 0 over 0 and its limit is taken."""
_STEPS = 200


class Sum(NamedTuple):
    """The sum of weights of independent events.

    Attributes:
        weight: float64[n], > 0. chance: float64[n], of each event.
    """

    weight: Floats
    chance: Floats

    @property
    def mean(self) -> float:
        """Expected sum."""
        return float(self.weight @ self.chance)

    @property
    def deviation(self) -> float:
        """Standard deviation of the sum."""
        return math.sqrt(self._moments(0.0)[1])

    def score(self, seen: float) -> float:
        """The deviation of the standard normal law that is as far in its tail as `seen` is in this sum's.

        The saddlepoint formula of Barndorff-Nielsen (Biometrika 1986; r* of Lugannani and Rice); at the ends of
        what is possible, the middle of the exact probability. 0 where there is no event.
        """
        if not len(self.weight):
            return 0.0
        if seen <= 0.0:
            return float(ndtri_exp(self._cumulants(-math.inf) - math.log(2.0)))
        if seen >= float(self.weight.sum()):
            return -float(ndtri_exp(self._cumulants(math.inf) - math.log(2.0)))
        mean, variance = self._moments(0.0)
        plain = (seen - mean) / math.sqrt(variance)
        if abs(plain) < _NEAR:
            return plain + self._skewness() / 6.0
        at = self._tilt(seen)
        root = math.copysign(math.sqrt(max(2.0 * (at * seen - self._cumulants(at)), 0.0)), plain)
        return root + math.log(at * math.sqrt(self._moments(at)[1]) / root) / root

    def _chances(self) -> Floats:
        return np.clip(self.chance, _LEAST, _MOST)

    def _cumulants(self, at: float) -> float:
        """Logarithm of E exp(at sum); where `at` is not finite, the logarithm of the chance of none, or of all."""
        chance = self._chances()
        if math.isinf(at):
            return float(np.log(chance).sum() if at > 0 else np.log1p(-chance).sum())
        return float(np.logaddexp(np.log1p(-chance), np.log(chance) + at * self.weight).sum())

    def _moments(self, at: float) -> tuple[float, float]:
        """Mean and variance where each event is exp(at weight) times as likely against its absence."""
        chance = self._chances()
        tilted = expit(np.log(chance) - np.log1p(-chance) + at * self.weight)
        return float(self.weight @ tilted), float((self.weight**2) @ (tilted * (1.0 - tilted)))

    def _skewness(self) -> float:
        chance = self._chances()
        third = float((self.weight**3) @ (chance * (1.0 - chance) * (1.0 - 2.0 * chance)))
        return third / math.pow(self._moments(0.0)[1], 1.5)

    def _tilt(self, seen: float) -> float:
        """The tilt whose mean is `seen`, by bisection: the mean rises with it."""
        reach = 1.0 / float(self.weight.max())
        while not self._moments(-reach)[0] <= seen <= self._moments(reach)[0]:
            reach *= 2.0
        low, high = -reach, reach
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            if middle in (low, high):
                break
            if self._moments(middle)[0] < seen:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)
