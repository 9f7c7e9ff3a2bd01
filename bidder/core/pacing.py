"""Dual pacing: one multiplier a budget, moved a little at each opportunity, bid and result.

A line item bids its value times m in (0, 1]. m is the inverse of the budget's dual variable, updated
multiplicatively (Balseiro, Lu and Mirrokni 2022, dual mirror descent with the entropy map). With a budget of B at
this seat, T opportunities in the whole plan, and a step of e:

    at an eligible opportunity:   m *= exp(+e r)
    at a bid of a:                m *= exp(-e T / B  q a)          what it is expected to cost
    at its result, a spend of s:  m *= exp(-e T / B (s - q a))     what it cost besides; s = 0 where it lost

so that m sits where money goes at the rate r. What is not known beforehand is solved again at each tick:

    r  what is left of the budget, without what is spent and what bids under way are expected to cost, over what is
       left of the plan: at most 4. The plan follows the traffic's shape by hour of the week.
    q  spend over amounts of the bids that ended lately (10,000 opportunities). As bids are charged when they are
       made, late results do not move m late; O. J. M. Smith (1957) steers processes with dead time so. The charge for
       all bids under way is q times what they hold, whatever frees it: a loss, an expiry, a billing below the bid.
    T  opportunities over plan at the recent rate (2,000 opportunities), so that a change of traffic is followed
       within minutes; a gap longer than chance makes is an outage and no rate. Within a factor of 20 of the mean.
    e  `eta`, and `first_eta` more at first, which falls with 1 / t; at most 1/2 over the delay of results, in
       opportunities, as a loop with dead time is stable only where step times delay is small. The delay is what bids
       under way hold over what an opportunity bids (J. D. C. Little, 1961).

Where results are late, bids that lose hold money that others could spend. Where bids under way hold more than three
tenths of what is unspent, a *least bid* rises, from nothing to without bound where they hold all of it, in units of
the mean spend: what a bid gains for each nano that it holds rises with the bid, so the smallest are left out first.
And r is at most seven tenths of what bids under way come to spend: a plan that asks for what held money cannot buy
would only lift the bids, which then hold more. The price of a deal is not ours, so a least bid does not refuse it.

Moves are bounded: m is in [1e-6, 1], so a bid never passes the expected value; a spend moves it by e^-0.5 at most,
all bids under way together by e^-3, and where m stands at 1 nothing is wound up. Re-solving and charging ahead are
practical variants outside the proof; `target = "fixed"` is the one inside it: r = 1, q = 0, e = `eta`, and T as
foreseen. Line items that share a budget share its multiplier: they are one *group*. The steps themselves are
`bidder.core.pacing_kernels`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.lines import Line
from bidder.core.opportunity import HOURS_PER_WEEK, NS_PER_HOUR
from bidder.core.pacing_kernels import (
    G_COLUMNS,
    G_DRIFT,
    G_MULTIPLIER,
    G_PLANNED,
    KEPT,
    N_COLUMNS,
    N_SEEN,
    begin_group,
    refresh_groups,
    release_groups,
    spent_on,
)
from bidder.core.settings import PacingSettings

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
        settings: steps, start, and the traffic that is expected.

    Attributes:
        begin: float64[groups], when each flight begins, in weeks of traffic.
        rows, counts: float64[groups, G_COLUMNS], int64[groups, N_COLUMNS], see `bidder.core.pacing_kernels`.
        multipliers, drift, seen: columns of these: the multiplier, its factor at an opportunity, and how many came.
    """

    def __init__(self, groups: Sequence[Group], shape: TrafficShape, settings: PacingSettings) -> None:
        self.index = {(group.account_id, group.asap): number for number, group in enumerate(groups)}
        self._shape, self._settings = shape, settings
        self.begin = shape.weeks(np.array([group.start_ns for group in groups], dtype=np.int64))
        ends = shape.weeks(np.array([group.end_ns for group in groups], dtype=np.int64))
        self._total = np.maximum(ends - self.begin, 1e-12)
        self.asap = np.array([group.asap for group in groups], dtype=np.bool_)
        self.rows: NDArray[np.float64] = np.zeros((len(groups), G_COLUMNS), dtype=np.float64)
        self.counts: NDArray[np.int64] = np.zeros((len(groups), N_COLUMNS), dtype=np.int64)
        for row, count, asap, total in zip(self.rows, self.counts, self.asap, self._total, strict=True):
            begin_group(
                row, count, 1.0 if asap else settings.start, float(total) * settings.weekly_opportunities
            )
        self.multipliers = self.rows[:, G_MULTIPLIER]
        self.drift = self.rows[:, G_DRIFT]
        self.seen = self.counts[:, N_SEEN]

    def adopt(self, old: "Pacer") -> None:
        """Takes over what `old` learned of the groups that go on."""
        for key, group in self.index.items():
            was = old.index.get(key)
            if was is None:
                continue
            planned = self.rows[group, G_PLANNED]
            same = old.rows[was, G_PLANNED] == planned and old.begin[was] == self.begin[group]
            kept = slice(None) if same else list(KEPT)
            self.rows[group, kept] = old.rows[was, kept]
            self.counts[group] = old.counts[was]

    def plan(self, now_ns: int) -> NDArray[np.float64]:
        """Share of each flight's traffic that is over by now, float64[groups] in [0, 1]."""
        return np.clip((self._shape.weeks(now_ns) - self.begin) / self._total, 0.0, 1.0)

    def refresh(
        self,
        now_ns: int,
        budgets: NDArray[np.int64],
        shares: NDArray[np.int64],
        spent: NDArray[np.int64],
        books: NDArray[np.int64],
    ) -> None:
        """Solves the plan again from what is left of budget and traffic.

        Args:
            now_ns: the time.
            budgets, shares: int64[groups], whole budgets and this seat's parts in nanos; 0 where not known yet.
            spent: int64[groups], spend over all seats in nanos.
            books: int64[groups, 3], nanos of this seat: of bids under way, spent, and bid since it began.
        """
        settings = self._settings
        refresh_groups(
            self.rows, self.counts, settings.eta, settings.first_eta, settings.target == "fixed", self.asap,
            budgets, shares, spent, books, self.plan(now_ns),
        )  # fmt: skip

    def spend(self, group: int, nanos: int) -> None:
        """Moves a multiplier down for a spend of `nanos`."""
        if not self.asap[group]:
            spent_on(self.rows[group], nanos)

    def release(self, reserved: NDArray[np.int64]) -> None:
        """Takes over what bids under way hold, int64[groups] in nanos: what they were charged and is free again."""
        release_groups(self.rows, self.asap, reserved)
