"""How often creatives were shown and clicked, as the bank told: what the choice between them goes by."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bidder.core.creatives import Creatives
from bidder.core.messages import CreativeCounts


class Shown:
    """Counts by creative, and in the order of the table that is installed.

    Attributes:
        impressions, clicks: float64[creatives, at least one], by row of the table; 0 where nothing was told.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[int, int]] = {}
        self.impressions: NDArray[np.float64] = np.zeros(1, dtype=np.float64)
        self.clicks: NDArray[np.float64] = np.zeros(1, dtype=np.float64)

    def install(self, creatives: Creatives) -> None:
        """Goes on with the creatives of another table; of each what was told of it, whenever that was."""
        self._creatives = creatives
        count = max(1, len(creatives))
        self.impressions = np.zeros(count, dtype=np.float64)
        self.clicks = np.zeros(count, dtype=np.float64)
        for key in self._told:
            self._place(key)

    def take(self, counts: Iterable[CreativeCounts]) -> None:
        """Takes what the bank told; the last word on a creative holds."""
        for one in counts:
            key = (one.campaign_id, one.creative_id)
            self._told[key] = (one.impressions, one.clicks)
            self._place(key)

    def _place(self, key: tuple[str, str]) -> None:
        row = self._creatives.index(*key)
        if row >= 0:
            self.impressions[row], self.clicks[row] = self._told[key]
