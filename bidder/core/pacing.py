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
foreseen.

Line items that share a budget share its multiplier: they are one *group*. Who has several budgets bids by the least
of its multipliers (`bidder.core.pacing_groups`). One that does not bind is held below twice the one that does, so
that it is there when it binds. To spend ahead, r is taken times (1 + a - 2 a t) / (1 - a t) at a share t of the plan,
which is the rate of t + a t (1 - t). Where missed delivery is dropped, r is at most the plan's own, 1 + a - 2 a t.
At a price that is not ours, a deal's, a bid is made or not: of all opportunities a share of m, by the bid's own seed.
The steps themselves are `bidder.core.pacing_kernels`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bidder.core.pacing_kernels import (
    G_COLUMNS,
    G_DRIFT,
    G_MULTIPLIER,
    G_PLANNED,
    G_TIED,
    G_UNITS,
    KEPT,
    MAX_RATE,
    N_COLUMNS,
    N_SEEN,
    begin_group,
    next_plan,
    refresh_groups,
    release_groups,
    reshaped,
    spent_on,
)
from bidder.core.plans import Group, Plans
from bidder.core.settings import PacingSettings
from bidder.core.traffic_shape import TrafficShape


class Pacer:
    """The multipliers of one table's groups.

    Args:
        groups: what they are for.
        shape: the plan's traffic shape.
        settings: steps, start, and the traffic that is expected.
        now_ns: the day of daily budgets.

    Attributes:
        groups: as given. plans: when each is spent.
        rows, counts: float64[groups, G_COLUMNS], int64[groups, N_COLUMNS], see `bidder.core.pacing_kernels`.
        multipliers, drift, seen: columns of these: the multiplier, its factor at an opportunity, and how many came.
    """

    def __init__(
        self, groups: Sequence[Group], shape: TrafficShape, settings: PacingSettings, now_ns: int = 0
    ) -> None:
        self.groups, self._shape, self._settings = groups, shape, settings
        self.index = {_key(group): number for number, group in enumerate(groups)}
        self.plans = Plans(groups, shape, now_ns)
        self._accounts = [group.account_on(now_ns) for group in groups]
        self.asap = np.array([group.asap for group in groups], dtype=np.bool_)
        self._ahead = np.array([group.ahead for group in groups], dtype=np.float64)
        self._drop = np.array([group.drop for group in groups], dtype=np.bool_)
        self.rows: NDArray[np.float64] = np.zeros((len(groups), G_COLUMNS), dtype=np.float64)
        self.counts: NDArray[np.int64] = np.zeros((len(groups), N_COLUMNS), dtype=np.int64)
        for row, count, group, total in zip(self.rows, self.counts, groups, self.plans.total, strict=True):
            start = 1.0 if group.asap else settings.start
            begin_group(row, count, start, float(total) * settings.weekly_opportunities)
            row[G_UNITS], row[G_TIED] = group.unit, group.tied
        self.multipliers = self.rows[:, G_MULTIPLIER]
        self.drift = self.rows[:, G_DRIFT]
        self.seen = self.counts[:, N_SEEN]

    def adopt(self, old: "Pacer") -> None:
        """Takes over what `old` learned of the groups that go on, also where one is spent in another way now."""
        others = {(group.account_id, group.asap): number for number, group in enumerate(old.groups)}
        for key, group in self.index.items():
            now = self.groups[group]
            was = old.index.get(key, others.get((now.account_id, now.asap)))
            if was is None:
                continue
            planned, tied = self.rows[group, [G_PLANNED, G_TIED]].tolist()
            same = (
                old.plans.total[was] == self.plans.total[group]
                and old.plans.begin[was] == self.plans.begin[group]
            )
            kept = slice(None) if same else list(KEPT)
            self.rows[group, kept] = old.rows[was, kept]
            self.rows[group, G_TIED] = tied
            if not same:
                self.rows[group, G_PLANNED] = planned
            self.counts[group] = old.counts[was]

    def turn(self, now_ns: int) -> None:
        """Goes on to the plans of another day, where budgets are of a day."""
        before, self._accounts = self._accounts, [group.account_on(now_ns) for group in self.groups]
        self.plans = Plans(self.groups, self._shape, now_ns)
        for row, count, was, account in zip(self.rows, self.counts, before, self._accounts, strict=True):
            if was != account:
                next_plan(row, count)

    def reshape(self, shape: TrafficShape, now_ns: int) -> None:
        """Goes on with another shape of the traffic."""
        self._shape = shape
        self.plans = Plans(self.groups, shape, now_ns)
        for row, over in zip(self.rows, self.plan(now_ns).tolist(), strict=True):
            reshaped(row, over)

    def plan(self, now_ns: int) -> NDArray[np.float64]:
        """Share of each flight's traffic that is over by now, float64[groups] in [0, 1]."""
        return self.plans.over(now_ns)

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
        settings, over = self._settings, self.plan(now_ns)
        even = 1.0 + self._ahead - 2.0 * self._ahead * over
        urge = even / np.maximum(1.0 - self._ahead * over, 1e-9)
        refresh_groups(
            self.rows, self.counts, settings.eta, settings.first_eta, settings.target == "fixed", settings.first_wins,
            settings.first_most, self.asap, budgets, shares, spent, books, over, urge,
            np.where(self._drop, even, MAX_RATE),
        )  # fmt: skip

    def spend(self, group: int, units: int) -> None:
        """Moves a multiplier down for a spend, in what its budget counts."""
        if not self.asap[group]:
            spent_on(self.rows[group], units)

    def release(self, reserved: NDArray[np.int64]) -> None:
        """Takes over what bids under way hold, int64[groups]: what they were charged and is free again."""
        release_groups(self.rows, self.asap, reserved)


def _key(group: Group) -> tuple[str, bool, str, float, bool]:
    return group.account_id, group.daily, group.pacing.value, group.ahead, group.drop
