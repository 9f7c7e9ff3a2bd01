"""Dual pacing: one multiplier a budget, moved a little at each opportunity and each spend.

A line item bids its value times m in (0, 1]. m is the inverse of the budget's dual variable, updated
multiplicatively (Balseiro, Lu and Mirrokni 2022, dual mirror descent with the entropy map):

    at an eligible opportunity:  m *= exp(+eta * r),   r = (budget left / budget) / (traffic left / traffic)
    at a spend of s:             m *= exp(-eta * s * T / budget)

T is the expected number of eligible opportunities of the flight, so that spending at the rate of the plan
leaves m where it is. r is solved again from what is left (a practical variant outside the proof), and m is
never above 1: a bid never passes the expected value. The plan follows the traffic's shape by hour of the week.
Line items that share a budget share its multiplier: they are one *group*. The steps themselves are
`bidder.core.pacing_kernels`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.lines import Line
from bidder.core.opportunity import HOURS_PER_WEEK, NS_PER_HOUR
from bidder.core.pacing_kernels import lowered, refresh_groups

_WEEK_NS = HOURS_PER_WEEK * NS_PER_HOUR
_MONDAY_NS = -72 * NS_PER_HOUR
"""A Monday 00:00 UTC at or before the epoch, so that phases count from it."""


class TrafficShape:
    """How much of a week's traffic falls into each hour.

    Args:
        weights: float[168], traffic by hour from Monday 00:00 UTC, any scale; empty for an even week.
    """

    def __init__(self, weights: Sequence[float] = ()) -> None:
        if weights and (len(weights) != HOURS_PER_WEEK or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError(f"traffic shape must be {HOURS_PER_WEEK} weights >= 0, not all 0")
        filled = np.asarray(weights or [1.0] * HOURS_PER_WEEK, dtype=np.float64)
        self._edges = np.arange(HOURS_PER_WEEK + 1, dtype=np.float64) * NS_PER_HOUR
        self._sums = np.concatenate(([0.0], np.cumsum(filled / filled.sum())))

    def weeks(self, at_ns: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """Traffic from a fixed Monday to `at_ns`, in weeks of traffic."""
        since = np.asarray(at_ns, dtype=np.int64) - _MONDAY_NS
        whole, phase = np.divmod(since, _WEEK_NS)
        return whole + np.interp(phase.astype(np.float64), self._edges, self._sums)


class Group(NamedTuple):
    """Line items that share a budget: its account, whether they are not paced, and the time that it is for."""

    account_id: str
    asap: bool
    start_ns: int
    end_ns: int


def group_of(line: Line, account_id: str, asap: bool) -> Group:
    """The group of a line item whose budget is `account_id`: its own or its campaign's."""
    if account_id == line.campaign.id or not line.flights:
        return Group(account_id, asap, line.campaign.start_ns, line.campaign.end_ns)
    return Group(account_id, asap, line.flights[0].start_ns, max(flight.end_ns for flight in line.flights))


class Pacer:
    """The multipliers of one table's groups.

    Args:
        groups: what they are for.
        shape: the plan's traffic shape.
        eta: step of the multiplier for one opportunity at the planned rate.
        start: multiplier of a group without history, in (0, 1].
        weekly_opportunities: eligible opportunities expected in a week at this seat.

    Attributes:
        multipliers, drift: float64[groups]. seen: int64[groups]; the kernel moves all but `drift`.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        shape: TrafficShape,
        eta: float,
        start: float,
        weekly_opportunities: float,
    ) -> None:
        self.index = {(group.account_id, group.asap): number for number, group in enumerate(groups)}
        self._shape = shape
        self._eta = eta
        self.multipliers = np.full(len(groups), start, dtype=np.float64)
        self.drift = np.ones(len(groups), dtype=np.float64)
        self.seen = np.zeros(len(groups), dtype=np.int64)
        self.asap = np.array([group.asap for group in groups], dtype=np.bool_)
        self.multipliers[self.asap] = 1.0
        self._begin = shape.weeks(np.array([group.start_ns for group in groups], dtype=np.int64))
        ends = shape.weeks(np.array([group.end_ns for group in groups], dtype=np.int64))
        self._total = np.maximum(ends - self._begin, 1e-12)
        self._planned = self._total * weekly_opportunities
        self._expected = self._planned.copy()

    def adopt(self, old: "Pacer") -> None:
        """Takes over what `old` learned of the groups that go on."""
        for key, group in self.index.items():
            was = old.index.get(key)
            if was is not None:
                if not self.asap[group]:
                    self.multipliers[group] = old.multipliers[was]
                self.seen[group] = old.seen[was]

    def plan(self, now_ns: int) -> NDArray[np.float64]:
        """Share of each flight's traffic that is over by now, float64[groups] in [0, 1]."""
        return np.clip((self._shape.weeks(now_ns) - self._begin) / self._total, 0.0, 1.0)

    def refresh(self, now_ns: int, budgets: NDArray[np.int64], spent: NDArray[np.int64]) -> None:
        """Solves the drift again from what is left of budget and traffic.

        Args:
            now_ns: the time.
            budgets: int64[groups], whole budgets in nanos; 0 where not known yet.
            spent: int64[groups], spend over all seats in nanos.
        """
        refresh_groups(
            self._eta, budgets, spent, self.plan(now_ns), self.asap, self._planned, self.seen, self.drift,
            self._expected,
        )  # fmt: skip

    def spend(self, group: int, nanos: int, budget_nanos: int) -> None:
        """Moves a multiplier down for a spend of `nanos`."""
        if self.asap[group] or budget_nanos <= 0:
            return
        self.multipliers[group] = lowered(
            self.multipliers[group], self._eta, nanos, float(self._expected[group]), budget_nanos
        )
