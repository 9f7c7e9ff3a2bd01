"""Conversions that have not come yet: what one that is known stands for."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.history.auctions import Auctions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_DELAYS = 50
LEAST_KNOWN = 0.1
"""Below this share of conversions known a label says next to nothing: the prediction stands for it."""


class Lateness(NamedTuple):
    """How late conversions come.

    Attributes:
        known_until_ns: a conversion after this instant is not in the log.
        delays_ns: ascending delays. shares: of conversions that come within each; linear between, from 0 at 0.
    """

    known_until_ns: int
    delays_ns: tuple[float, ...]
    shares: tuple[float, ...]

    def known(self, auctions: Auctions) -> Floats:
        """float64[n]: the chance that a conversion of each auction, if there is one at all, is in the log."""
        elapsed = np.maximum(self.known_until_ns - auctions.at_ns, 0)
        return np.asarray(np.interp(elapsed, (0.0, *self.delays_ns), (0.0, *self.shares)))


def exponential(known_until_ns: int, mean_ns: float, points: int = 200) -> Lateness:
    """Delays of the exponential law (Chapelle, KDD 2014)."""
    delays = np.linspace(0.0, 8.0, points + 1)[1:] * mean_ns
    shares = -np.expm1(-delays / mean_ns)
    return Lateness(known_until_ns, tuple(delays.tolist()), tuple((shares / shares[-1]).tolist()))


def learned(delay_ns: Ints, elapsed_ns: Ints, known_until_ns: int) -> Lateness | None:
    """Delays of conversions that came, by the product limit for right truncation (Lynden-Bell, MNRAS 1971).

    A conversion is in the log only because it was quicker than its click is old; slow ones of young clicks
    are missing.

    Args:
        delay_ns: int64[n], from click to conversion. elapsed_ns: int64[n], from click to the end of the log,
            >= delay.
        known_until_ns: the end of the log.

    Returns:
        None below `LEAST_DELAYS` conversions.
    """
    kept = (delay_ns >= 0) & (elapsed_ns >= delay_ns)
    delay, elapsed = delay_ns[kept], elapsed_ns[kept]
    if len(delay) < LEAST_DELAYS:
        return None
    times, counts = np.unique(delay, return_counts=True)
    # At risk at t: those that are quicker or as quick, of clicks that were watched for so long.
    at_risk = np.searchsorted(np.sort(delay), times, side="right") - np.searchsorted(
        np.sort(elapsed), times, side="left"
    )
    left = np.concatenate([np.cumprod((1.0 - counts / np.maximum(at_risk, counts))[::-1])[::-1][1:], [1.0]])
    return Lateness(known_until_ns, tuple(times.astype(np.float64).tolist()), tuple(left.tolist()))
