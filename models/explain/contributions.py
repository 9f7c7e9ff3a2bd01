"""What each feature adds to the raw score of a row: exact TreeSHAP values, by LightGBM.

The contribution of a feature is its Shapley value in the game where a set of features is known and the trees
average over the rest by the training rows that went either way at each split (path-dependent TreeSHAP: Lundberg,
Erion and Lee 2018, arXiv:1802.03888, algorithm 2). The base is the score of the average training row; base and
contributions add up to the raw score, and a feature on which no tree splits has exactly 0. It says how the model
comes to its number, not what would happen in the world if the value were another one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError

Floats = NDArray[np.float64]

TOLERANCE = 1e-9
"""Of the sum of absolute contributions: more than rounding makes, far less than anything that is shown."""
CHUNK = 256
"""Rows at a time: about a tenth of a second, so that a bar moves."""


class Contributions(NamedTuple):
    """Of one model over rows: base float64, of features float64[N, F], raw float64[N] as the model scores."""

    base: float
    features: Floats
    raw: Floats


class Contributor:
    """One model, ready to be asked.

    Args:
        text: LightGBM model text. name: what errors call it.

    Raises:
        ArtifactError: a text that LightGBM cannot read.
    """

    def __init__(self, text: str, name: str) -> None:
        import lightgbm as lgb  # half a second: only who explains pays for it

        self._name = name
        try:
            self._booster = lgb.Booster(model_str=text)
        except lgb.basic.LightGBMError as error:
            raise ArtifactError(
                f"{name} must be a model that LightGBM reads: {error}; train it again"
            ) from error

    def raw(self, values: Floats) -> Floats:
        """Raw scores float64[N] of rows float64[N, F], by LightGBM."""
        return np.asarray(self._booster.predict(values, raw_score=True), dtype=np.float64)

    def __call__(self, values: Floats, tell: Callable[[int], None] | None = None) -> Contributions:
        """Contributions of rows.

        Args:
            values: float64[N, F], N > 0, in the order of the spec. tell: told how many rows are done.

        Raises:
            ArtifactError: contributions that do not add up to the score: a text without the counts that they
                rest on.
        """
        parts: list[Floats] = []
        for begin in range(0, len(values), CHUNK):
            found = self._booster.predict(values[begin : begin + CHUNK], pred_contrib=True)
            parts.append(np.asarray(found, dtype=np.float64))
            if tell is not None:
                tell(min(begin + CHUNK, len(values)))
        whole = np.concatenate(parts)
        found = Contributions(float(whole[0, -1]), whole[:, :-1], self.raw(values))
        self._check(found)
        return found

    def _check(self, found: Contributions) -> None:
        scale = 1.0 + abs(found.base) + np.abs(found.features).sum(axis=1)
        gap = np.abs(found.base + found.features.sum(axis=1) - found.raw)
        bad = ~(gap <= TOLERANCE * scale)  # this way round NaN is bad too
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ArtifactError(
                f"contributions of {self._name} must add up to its raw score, differed by {gap[row]:.3g} at row "
                f"{row + 1}: the model text lacks right leaf_count and internal_count, save it with LightGBM "
                "again, from the booster that was trained"
            )
