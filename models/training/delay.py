"""Conversions that have not come yet: how long they take, and what a click without one is worth.

A click of an hour ago without a conversion says little; the same click after a month says no. Counting both as
negatives makes a model that promises too little, the more so the fresher its rows. Both methods here give each
click a label *so far* and the probability F that its conversion, if there is one at all, would be known by now;
`training.fit` does the rest, and calibration and metrics use the same pair.

- *elapsed* (Chapelle, KDD 2014, with the exponential law left out): F is the distribution of delays, the same for
  all clicks, or for all of one value of a column (`delay_by`). It is the product-limit estimate for delays that
  are known only because they are over (right truncation; Lynden-Bell 1971, Woodroofe 1985): it looks at
  converted clicks only, so it does not mind that the rate moves with time or from click to click.
- *buckets* (Badanidiyuru, Evdokimov, Krishnan, Li, Vonnegut and Wang, 2021): the time after a click is cut into
  four; a model for each part says how likely the conversion comes in it and not before, learned only from clicks
  that have lived through the part. Together they say F for each click by its features: right also where delays
  depend on what the model knows, for more noise.

No method knows what comes later than clicks have been watched. The *horizon* is the age that a twentieth (and at
least 20) of the converted clicks have reached, with buckets a quarter, because a whole model must be learned from
those that lived through the last one. A conversion is one within the horizon, and later ones are none.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.dataset import CLICK_TIME, CONVERSION_TIME, OBSERVED_UNTIL, TrainingTable
from models.extras import UNKNOWN_NS
from models.texts import Texts
from models.training.sample import Sample, weight_of

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]

NEVER = -1
"""Delay of a click without a conversion so far."""
MIN_DELAYS = 50
MIN_AT_HORIZON, SHARE_AT_HORIZON = 20, 0.05
SHARE_AT_LAST_EDGE = 0.25
LEAST_SEEN = 1e-6
"""F of a click so fresh that no conversion was ever as quick; 0 would make the likelihood of one infinite."""


@dataclass(frozen=True, slots=True)
class Clicks:
    """Clicked rows with what is known of their time.

    Attributes:
        x: float64[N, F].
        delay_ns: int64[N] from click to conversion, `NEVER` where none has come.
        elapsed_ns: int64[N] from click to the end of observation.
        weight: float64[N] or None.
        group: int64[N], whose distribution of delays a row has; 0 for all where there is one.
    """

    x: Floats
    delay_ns: Instants
    elapsed_ns: Instants
    weight: Floats | None
    group: Instants

    @property
    def converted(self) -> NDArray[np.bool_]:
        """Whether a conversion has come."""
        return np.asarray(self.delay_ns != NEVER)

    def rows(self, which: NDArray[np.bool_]) -> "Clicks":
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[which]
        parts = (self.x[which], self.delay_ns[which], self.elapsed_ns[which], weight, self.group[which])
        return Clicks(*parts)


def clicks_of(table: TrainingTable, x: Floats, by: str | None = None) -> tuple[Clicks, int]:
    """The clicked rows, and how many clicked rows are left out because their times are not known.

    A click without a time of its own is taken to be of the time of its impression.

    Args:
        table: with the times of `models.extras`. x: its matrix. by: column that parts the distributions.
    """
    clicked, told, until = (
        np.asarray(table.extras[name]) for name in (CLICK_TIME, CONVERSION_TIME, OBSERVED_UNTIL)
    )
    begin = np.where(clicked == UNKNOWN_NS, table.at_ns, clicked)
    converted = table.conversion == 1.0
    undated = (until == UNKNOWN_NS) | (converted & (told == UNKNOWN_NS))
    group = table.columns.get(by) if by is not None else None
    rows = Clicks(
        x,
        np.where(converted, told - begin, NEVER),
        until - begin,
        weight_of(table),
        group.codes.astype(np.int64) if isinstance(group, Texts) else np.zeros(len(table), dtype=np.int64),
    )
    of_click = table.click > 0
    return rows.rows(of_click & ~undated), int((of_click & undated).sum())


@dataclass(frozen=True, slots=True)
class DelayCurve:
    """The distribution of delays of conversions that come within the horizon.

    Attributes:
        times_ns: int64[K], delays that occurred, ascending.
        share: float64[K] in (0, 1], share of the conversions that came by then; the last is 1.
        horizon_ns: the longest delay that is told from never.
    """

    times_ns: Instants
    share: Floats
    horizon_ns: int

    def seen(self, elapsed_ns: Instants) -> Floats:
        """Share in [LEAST_SEEN, 1] of conversions that would be known after so long."""
        place = np.searchsorted(self.times_ns, elapsed_ns, side="right") - 1
        found = np.where(place < 0, 0.0, self.share[np.maximum(place, 0)])
        return np.asarray(np.where(elapsed_ns >= self.horizon_ns, 1.0, np.maximum(found, LEAST_SEEN)))

    def quantile_ns(self, share: float) -> int:
        """Delay by which this share of the conversions has come."""
        place = min(int(np.searchsorted(self.share, share)), len(self.share) - 1)
        return int(self.times_ns[place])


def estimate_curve(
    delay_ns: Instants,
    elapsed_ns: Instants,
    weight: Floats | None = None,
    at_horizon: float = SHARE_AT_HORIZON,
) -> DelayCurve:
    """Product-limit estimate for right-truncated delays.

    A conversion is in the sample only because its delay d was at most its elapsed time e. Going down from the
    longest delay, the share of conversions as late as t among those that could have been as late or earlier is
    n(t) / R(t), R(t) counting d <= t <= e; so F(t) is the product of 1 - n(s) / R(s) over delays s > t.

    Args:
        delay_ns: int64[N] of converted clicks. elapsed_ns: int64[N], not below the delays. weight: float64[N].
        at_horizon: share of the clicks that must have reached the horizon.
    """
    oldest = np.sort(elapsed_ns)
    enough = min(max(MIN_AT_HORIZON, int(np.ceil(at_horizon * len(oldest)))), len(oldest))
    horizon = int(oldest[len(oldest) - enough])
    inside = delay_ns <= horizon
    delay, elapsed = delay_ns[inside], np.minimum(elapsed_ns[inside], horizon)
    weight = np.ones(len(delay)) if weight is None else weight[inside]
    times, place = np.unique(delay, return_inverse=True)
    events = np.bincount(place, weights=weight)
    ended = np.argsort(elapsed, kind="stable")
    gone = np.concatenate([[0.0], np.cumsum(weight[ended])])[np.searchsorted(elapsed[ended], times)]
    at_risk = np.cumsum(events) - gone
    kept = np.clip(1.0 - events / np.maximum(at_risk, events), 0.0, 1.0)
    share = np.concatenate([np.cumprod(kept[::-1])[::-1][1:], [1.0]])
    return DelayCurve(times, np.maximum(share, LEAST_SEEN), horizon)


class DelayModel(Protocol):
    """Says of clicks what is known so far, and how much of it could be known.

    Attributes:
        method: its name. curve: the distribution of delays of all conversions.
    """

    method: str
    curve: DelayCurve

    def sample(self, clicks: Clicks) -> Sample:
        """Features, labels so far, weights and F of the clicks that say anything yet."""
        ...


class Elapsed:
    """The same distribution of delays for all clicks, or for all of one group.

    Attributes:
        method: `elapsed`. curve: of all conversions. curves: of groups with enough of them; the horizon of one may
            be shorter.
    """

    method = "elapsed"

    def __init__(self, clicks: Clicks) -> None:
        """Estimates the curves from the clicks to learn from; at least one must have converted."""
        self.curve = _curve(clicks.rows(clicks.converted))
        self.curves: dict[int, DelayCurve] = {}
        groups, counts = np.unique(clicks.group[clicks.converted], return_counts=True)
        if len(np.unique(clicks.group)) > 1:
            for group, count in zip(groups.tolist(), counts.tolist(), strict=True):
                if count >= MIN_DELAYS:
                    self.curves[group] = _curve(clicks.rows(clicks.converted & (clicks.group == group)))

    def sample(self, clicks: Clicks) -> Sample:
        """Every click, labelled by whether it converted so far and within the horizon."""
        seen = self.curve.seen(clicks.elapsed_ns)
        horizon = np.full(len(seen), self.curve.horizon_ns)
        for group, curve in self.curves.items():
            mine = clicks.group == group
            seen[mine], horizon[mine] = curve.seen(clicks.elapsed_ns[mine]), curve.horizon_ns
        y = clicks.converted & (clicks.delay_ns <= horizon)
        return Sample(clicks.x, y.astype(np.float64), clicks.weight, seen)


def _curve(converted: Clicks, at_horizon: float = SHARE_AT_HORIZON) -> DelayCurve:
    return estimate_curve(converted.delay_ns, converted.elapsed_ns, converted.weight, at_horizon)


BUCKET_SHARES = (0.4, 0.7, 0.9, 1.0)
"""Of the conversions that have come by the end of each bucket, by the estimate for all clicks."""


class Hazard(Protocol):
    """A model of one bucket: rows float64[N, F] -> float64[N], P(conversion in the bucket | not before)."""

    def __call__(self, x: Floats) -> Floats:
        """Probabilities of rows."""
        ...


class Fitter(Protocol):
    """Learns a `Hazard` from a sample with complete labels."""

    def __call__(self, sample: Sample) -> Hazard:
        """The model."""
        ...


class Buckets:
    """F of each click by its features, from a model for each part of the time after it.

    Attributes:
        method: `buckets`. curve: of all conversions. edges_ns: int64[K], ends of the buckets, ascending; the last is
            the horizon. hazards: a model for each.
    """

    method = "buckets"

    def __init__(self, clicks: Clicks, fit: Fitter) -> None:
        """Learns from each click those buckets that it has lived through."""
        self.curve = _curve(clicks.rows(clicks.converted), SHARE_AT_LAST_EDGE)
        ends = {self.curve.quantile_ns(share) for share in BUCKET_SHARES[:-1]} | {self.curve.horizon_ns}
        self.edges_ns: Instants = np.array(sorted(ends), dtype=np.int64)
        self.hazards: list[Hazard] = []
        begin = -1
        for edge in self.edges_ns.tolist():
            before = clicks.converted & (clicks.delay_ns <= begin)
            mine = clicks.rows((clicks.elapsed_ns >= edge) & ~before)
            y = mine.converted & (mine.delay_ns <= edge)
            self.hazards.append(fit(Sample(mine.x, y.astype(np.float64), mine.weight)))
            begin = edge

    def sample(self, clicks: Clicks) -> Sample:
        """Clicks that have lived through a bucket, labelled as of the end of the last such bucket."""
        ended = np.searchsorted(self.edges_ns, clicks.elapsed_ns, side="right")
        clicks, ended = clicks.rows(ended > 0), ended[ended > 0]
        never = np.cumprod([1.0 - hazard(clicks.x) for hazard in self.hazards], axis=0)
        seen = (1.0 - never[ended - 1, np.arange(len(ended))]) / (1.0 - never[-1])
        y = clicks.converted & (clicks.delay_ns <= self.edges_ns[ended - 1])
        return Sample(clicks.x, y.astype(np.float64), clicks.weight, np.clip(seen, LEAST_SEEN, 1.0))
