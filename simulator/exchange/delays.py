"""How long what follows an auction takes: small swappable models of a uniform draw.

The defaults are log-normal, a common shape of such times, with medians chosen to be plausible; nothing here is
measured. Every delay is capped, so that a run knows when nothing more can come.
"""

import math
from statistics import NormalDist
from typing import NamedTuple, Protocol

_quantile = NormalDist().inv_cdf
_SECOND_NS = 1_000_000_000


class Delay(Protocol):
    """A law of one delay."""

    @property
    def longest_ns(self) -> int:
        """No draw gives more."""
        ...

    def draw_ns(self, uniform: float) -> int:
        """The delay at the quantile `uniform`, which is in (0, 1)."""
        ...


class FixedDelay(NamedTuple):
    """Always the same."""

    ns: int

    @property
    def longest_ns(self) -> int:
        """No draw gives more."""
        return self.ns

    def draw_ns(self, uniform: float) -> int:  # noqa: ARG002  # the law has no spread
        """The delay."""
        return self.ns


class LogNormalDelay(NamedTuple):
    """Log-normal with a median in seconds, a sigma, and a cap in seconds."""

    median_s: float
    sigma: float
    cap_s: float

    @property
    def longest_ns(self) -> int:
        """The cap."""
        return round(self.cap_s * _SECOND_NS)

    def draw_ns(self, uniform: float) -> int:
        """The delay at that quantile."""
        seconds = self.median_s * math.exp(self.sigma * _quantile(uniform))
        return round(min(seconds, self.cap_s) * _SECOND_NS)


class Delays(NamedTuple):
    """The delays after an auction.

    Attributes:
        notice: from decision to win or loss notice.
        render: from win notice to the ad being shown, when it is billed.
        click: from being shown to the click.
        conversion: from click to conversion.
    """

    notice: Delay = LogNormalDelay(0.2, 0.6, 10.0)
    render: Delay = LogNormalDelay(1.0, 0.8, 60.0)
    click: Delay = LogNormalDelay(10.0, 1.0, 600.0)
    conversion: Delay = LogNormalDelay(600.0, 1.0, 7_200.0)

    @property
    def longest_ns(self) -> int:
        """From the decision to the last thing that can follow it."""
        return sum(delay.longest_ns for delay in self)
