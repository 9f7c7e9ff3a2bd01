"""How a group answers: clicks, conversions, value, and campaign by campaign, against all other users.

The unit is the user: rates are ratios of sums over users, and their variance is that of the ratio estimator with
users as clusters (Cochran, *Sampling Techniques*, 1977, section 6.4), never less than that of independent rows.
Intervals of rates are Jeffreys' with the number of rows that this variance is worth (Brown, Cai & DasGupta 2001), so
they stay sensible at few or no clicks; those of lifts and of values are normal on the log, so that none begins
below nothing.

A table of groups and campaigns asks many questions at once, so a cell holds only after Holm's correction (1979) over
all cells that could be asked. None of it is an experiment: the bidder chose who saw what.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from models.dataset import TrainingTable
from models.segments.behaviour import Behaviour, Floats, Ints

LEAST_EXPECTED = 5.0
"""Clicks that a cell must have been expected to have, at the rate of all, before anything is said of it."""
LEVEL = 0.05
_NO_LIFT: tuple[float | None, float | None, float | None] = (None, None, None)
_Z95 = 1.959963984540054


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events per trial, with 95 % intervals.

    Attributes:
        trials, events: sums of weights. rate, low, high: events by trials; None without trials, both ends
            also where a value is 0.
        lift, lift_low, lift_high: the rate by that of all other users; None where there is none to compare with.
    """

    trials: float
    events: float
    rate: float | None
    low: float | None
    high: float | None
    lift: float | None = None
    lift_low: float | None = None
    lift_high: float | None = None


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clicks of a group on a campaign.

    Attributes:
        segment, campaign: whose, on what. impressions, clicks: sums of weights.
        lift, lift_low, lift_high: click rate by that of all other users on the same campaign; None where too little
            was expected of it, see `LEAST_EXPECTED`.
        p: two-sided, corrected for all cells (Holm). holds: whether it is below 0.05.
    """

    segment: str
    campaign: str
    impressions: float
    clicks: float
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    p: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """Rates by group, in their order: clicks by impression, conversions by click, value (nanos) by impression."""

    ctr: tuple[Rate, ...]
    cvr: tuple[Rate, ...]
    value: tuple[Rate, ...] | None
    cells: tuple[Cell, ...]


def answers_of(
    table: TrainingTable,
    behaviour: Behaviour,
    labels: Ints,
    names: tuple[str, ...],
    from_ns: int,
    smallest: int,
) -> Answers:
    """What the impressions of each group led to.

    Args:
        table: of the rows. behaviour: which of them are whose. labels: int64[users].
        names: of the groups. from_ns: impressions from then on count.
        smallest: least users of a group on a campaign of which anything is told.
    """
    rows, weight = behaviour.rows, behaviour.row_weight
    click = table.click[rows]
    shown = ~np.isnan(click) & (table.at_ns[rows] >= from_ns)
    conversion = table.conversion[rows]
    known = shown & (click > 0) & ~np.isnan(conversion)
    by_user = _ByUser(behaviour.row_user, labels, len(names))
    ctr = by_user.rates(weight * click, weight, shown)
    cvr = by_user.rates(weight * conversion, weight, known)
    value = None
    worth = table.extras.get("value_nanos")
    if isinstance(worth, np.ndarray):
        value = by_user.rates(weight * np.nan_to_num(worth[rows]), weight, shown, share=False)
    return Answers(ctr, cvr, value, _cells(table, behaviour, labels, names, shown, smallest))


@dataclass(frozen=True, slots=True)
class _ByUser:
    user: Ints
    labels: Ints
    groups: int

    def rates(self, events: Floats, trials: Floats, rows: Any, *, share: bool = True) -> tuple[Rate, ...]:
        """A rate a group; `share` where each trial has at most one event."""
        users = len(self.labels)
        y = np.bincount(self.user[rows], events[rows], users)
        n = np.bincount(self.user[rows], trials[rows], users)
        squares = np.bincount(self.user[rows], trials[rows] ** 2, users)
        found = []
        for group in range(self.groups):
            own = self.labels == group
            a, b = (_Ratio.of(y[part], n[part], squares[part], share=share) for part in (own, ~own))
            lift = _lift(a, b)
            found.append(Rate(a.trials, a.events, *a.interval(), *(lift[:3] if lift else (None, None, None))))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Ratio:
    """A ratio of sums over users; variance: of the ratio."""

    trials: float
    events: float
    variance: float
    share: bool

    @classmethod
    def of(cls, y: Floats, n: Floats, squares: Floats, *, share: bool) -> "_Ratio":
        trials, events = float(n.sum()), float(y.sum())
        if trials <= 0:
            return cls(0.0, 0.0, 0.0, share)
        rate = events / trials
        users = max(int((n > 0).sum()), 2)
        variance = float((((y - rate * n) ** 2).sum()) * users / (users - 1) / trials**2)
        if share:
            # That of independent rows of these weights (Kish): few users can look more alike than they are.
            variance = max(variance, rate * (1.0 - rate) * float(squares.sum()) / trials**2)
            if events == 0.0:
                variance = float(squares.sum()) / trials**2 / 12.0
        return cls(trials, events, variance, share)

    def interval(self) -> tuple[float | None, float | None, float | None]:
        """Rate, low and high end."""
        if self.trials <= 0:
            return None, None, None
        rate = self.events / self.trials
        if not self.share:
            if rate <= 0.0:
                return rate, None, None  # nothing was earned: how much more might be, no row tells
            factor = float(np.exp(_Z95 * np.sqrt(self.variance) / rate))
            return rate, rate / factor, rate * factor
        from scipy.stats import beta

        spread = rate * (1.0 - rate)
        worth = min(spread / self.variance, self.trials) if spread > 0 and self.variance > 0 else self.trials
        yes, no = rate * worth + 0.5, (1.0 - rate) * worth + 0.5
        low = float(beta.ppf(0.025, yes, no)) if rate > 0 else 0.0
        high = float(beta.ppf(0.975, yes, no)) if rate < 1 else 1.0
        return rate, low, high


def _lift(own: _Ratio, others: _Ratio) -> tuple[float, float, float, float] | None:
    """Lift, low, high and the z of its log; None where a side has no events."""
    if min(own.trials, others.trials, own.events, others.events) <= 0:
        return None
    a, b = own.events / own.trials, others.events / others.trials
    log = float(np.log(a / b))
    sigma = float(np.sqrt(own.variance / a**2 + others.variance / b**2))
    if sigma <= 0:
        return None
    return (
        float(np.exp(log)),
        float(np.exp(log - _Z95 * sigma)),
        float(np.exp(log + _Z95 * sigma)),
        log / sigma,
    )


def _cells(
    table: TrainingTable,
    behaviour: Behaviour,
    labels: Ints,
    names: tuple[str, ...],
    shown: Any,
    smallest: int,
) -> tuple[Cell, ...]:
    column = table.columns.get("campaign")
    if column is None or len(names) < 2:
        return ()
    rows, users = behaviour.rows, len(labels)
    texts = np.array([column[row] or "" for row in rows], dtype=object)
    found: list[tuple[Cell, float | None]] = []
    for campaign in sorted({text for text in texts[shown] if text}):
        on = shown & (texts == campaign)
        weight, user = behaviour.row_weight[on], behaviour.row_user[on]
        y = np.bincount(user, weight * table.click[rows][on], users)
        n = np.bincount(user, weight, users)
        squares = np.bincount(user, weight**2, users)
        for group, name in enumerate(names):
            own = labels == group
            if int((n[own] > 0).sum()) < smallest:
                continue
            a, b = (_Ratio.of(y[part], n[part], squares[part], share=True) for part in (own, ~own))
            enough = a.trials * float(y.sum()) / max(float(n.sum()), 1e-9) >= LEAST_EXPECTED
            lift = _lift(a, b) if enough else None
            lifts = lift[:3] if lift is not None else _NO_LIFT
            cell = Cell(name, campaign, a.trials, a.events, *lifts, None, False)
            found.append((cell, lift[3] if lift else None))
    return _corrected(found)


def _corrected(found: list[tuple[Cell, float | None]]) -> tuple[Cell, ...]:
    from scipy.stats import norm

    asked = {place: z for place, (_, z) in enumerate(found) if z is not None}
    p = 2.0 * norm.sf(np.abs(np.array(list(asked.values()))))
    holm = dict(zip(asked, holm_corrected(np.asarray(p, dtype=np.float64)).tolist(), strict=True))
    return tuple(
        msgspec.structs.replace(cell, p=holm[place], holds=holm[place] < LEVEL) if place in holm else cell
        for place, (cell, _) in enumerate(found)
    )


def holm_corrected(p: Floats) -> Floats:
    """Values of p corrected for being many (Holm 1979): float64 of the same shape, at most 1."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(steps, 1.0)
    return out


def best_of(cells: tuple[Cell, ...]) -> dict[str, str | None]:
    """For each campaign the segment that answers it best for sure; None where none stands out.

    Of those whose lift holds and is above 1, the one with the highest low end.
    """
    best: dict[str, str | None] = {}
    for campaign in dict.fromkeys(cell.campaign for cell in cells):
        good = [
            cell
            for cell in cells
            if cell.campaign == campaign and cell.holds and cell.lift is not None and cell.lift > 1.0
        ]
        best[campaign] = (
            max(good, key=lambda cell: (cell.lift_low or 0.0, cell.segment)).segment if good else None
        )
    return best
