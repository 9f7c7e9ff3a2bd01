"""How surprising a weighted count of rare events is, as a deviation of the normal law.

Heavy weights on few events make a sum whose law is far from normal, and whose spread the sum itself cannot tell:
where the heavy events did not happen to come, the spread of those that came is far too small. So neither is measured
on the outcomes; both follow from the probabilities that are to be judged.

Of few effective events the law is one of steps, with gaps where weights are of several sizes, which no smooth formula
knows: there the characteristic function is inverted (Gil-Pelaez, Biometrika 1951). Noise of a hundredth of the
deviation is added to the sum, so that half of a step at what was seen counts as below it. Where events are many, and
further out than the inversion's digits reach, the saddlepoint formula holds.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri, ndtri_exp

Floats = NDArray[np.float64]

_LEAST, _MOST = 1e-12, 1.0 - 1e-12
_NEAR = 1e-3
"""Deviations from the mean within which the formula is 0 over 0 and its limit is taken."""
_STEPS = 200
_MANY = 400.0
"""Effective events, 1 over the excess of the kurtosis, from which on the formula is good to a hundredth."""
_NOISE = 0.01
_REACH = 6.5
"""Deviations of the noise's own law that are kept: the rest is 1e-9 of it."""
_MOST_FREQUENCIES = 16_384
_BLOCK = 1 << 18
"""Numbers that are held at once."""
_LEAST_TAIL = 1e-6
"""Chance down to which an inversion is good to some thousandths."""


class Sum(NamedTuple):
    """The sum of weights of independent events.

    Attributes:
        weight: float64[n], 0 or more. chance: float64[n], of each event.
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

        See above for how; at the ends of what is possible, the middle of the exact probability. 0 where there is no
        event of any weight.
        """
        if not self.weight.any():
            return 0.0
        if seen <= 0.0:
            return float(ndtri_exp(self._cumulants(-math.inf) - math.log(2.0)))
        if seen >= float(self.weight.sum()):
            return -float(ndtri_exp(self._cumulants(math.inf) - math.log(2.0)))
        most = float(self.weight.max())
        # In parts of the largest weight, squares of none that matters are lost.
        scaled = Sum(self.weight / most, self.chance)
        if scaled._effective() >= _MANY:
            return scaled._formula(seen / most)
        below = scaled._below(seen / most)
        if _LEAST_TAIL <= below <= 1.0 - _LEAST_TAIL:
            return float(ndtri(below))
        least = float(ndtri(1.0 - _LEAST_TAIL))
        return math.copysign(max(abs(scaled._formula(seen / most)), least), below - 0.5)

    def _formula(self, seen: float) -> float:
        """The saddlepoint formula of Barndorff-Nielsen (Biometrika 1986; r* of Lugannani and Rice)."""
        mean, variance = self._moments(0.0)
        plain = (seen - mean) / math.sqrt(variance)
        if abs(plain) < _NEAR:
            return plain + self._skewness() / 6.0
        at = self._tilt(seen)
        root = math.copysign(math.sqrt(max(2.0 * (at * seen - self._cumulants(at)), 0.0)), plain)
        spread = at * math.sqrt(self._moments(at)[1])
        # So far out that nothing is left to chance, there is no spread to correct by.
        return root + math.log(spread / root) / root if spread * root > 0.0 else root

    def _effective(self) -> float:
        """So many equal rare events have a law as near to the normal one."""
        chance = self._chances()
        each = chance * (1.0 - chance)
        return float(((self.weight**2) @ each) ** 2 / ((self.weight**4) @ each))

    def _below(self, seen: float) -> float:
        """The chance of less than `seen`, with that of so much by half, by inversion of the characteristic function.

        What the trapezoid rule folds back lies ten of the heaviest events, and more, away.
        """
        mean, variance = self._moments(0.0)
        unit = math.sqrt(variance)
        chance, weight, far = self._chances(), self.weight / unit, (seen - mean) / unit
        step = 2.0 * math.pi / (16.0 + 10.0 * float(weight.max()) + abs(far))
        many = min(math.ceil(_REACH / (_NOISE * step)), _MOST_FREQUENCIES)
        at = (np.arange(many) + 0.5) * step
        law = np.concatenate(
            [
                np.prod(1.0 - chance + chance * np.exp(1j * np.outer(part, weight)), axis=1)
                for part in np.array_split(at, 1 + many * len(weight) // _BLOCK)
            ]
        )
        faded = law * np.exp(-0.5 * (_REACH / at[-1] * at) ** 2 - 1j * at * (seen / unit))
        return 0.5 - float((faded.imag / at).sum()) * step / math.pi

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
