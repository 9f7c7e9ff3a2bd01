"""Targets of cost and return: what a click, a conversion or an impression may cost on average, beside the budget.

A target is the constraint that what is spent over the flight is at most what was bought is *worth* at target: clicks
times the target cost of one, conversions likewise, conversions times their mean value over the target return, or
impressions times the cap. With u the worth of an opportunity by prediction, corrected, and V what it is valued at,
the dual of that constraint, nu, allows a bid of u + V / nu (arXiv 2302.08530, a field guide for pacing budget and
return on spend: min-pacing). The bid is the smaller of that and what the budget allows, never a product of both, for
which no such bound is known. 1 / nu is
kept as *room*, over the mean of V / u, so that where V is in proportion to u a bid is u (1 + room).

    at a win that costs c:           room *= exp(e (u - c) / s)
    at a bid, and back at its end:   room *= exp(e (w u - q a) / s)       what it is expected to leave over
    at an opportunity:               room *= exp(e S / (R s))

with s the mean spend of an opportunity, w and q the shares of the worth and of the amounts of bids that were won and
spent lately (10,000 opportunities), S all that was left over so far, with what bids under way are expected to leave,
and R the opportunities that are left. What is missing is made up for by the end, what is left over is used up slowly.
e is `eta`, more at first, and less where bids under way are many: a loop with dead time is stable only where step
times delay is small. While S >= 0 it is taken times the share of opportunities at which the target bounds the bid,
so that nothing is wound up where the budget does.

Predictions are corrected by what comes of them: u is times (observed + k) / (ripe + k), where ripe is the predicted
worth of wins whose outcomes must be known by now, by an exponential law of their delay, and k a prior of
`prior_outcomes`. Outcomes come from the bank over all seats; this seat's part of them is taken to be its part of the
spend. Until so many are known a target is *learning*: what it does rests on predictions more than on outcomes.
A seat that starts anew knows nothing of what was left over before it.

No policy online keeps a return at all times with sub-linear regret (Vaze and Sinha 2025): the violation at the end is
small and measured (`clearbid quality`), not zero. Line items that leave the target to their campaign share one.
"""

import math
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from bidder.core.batch import Batch
from bidder.core.decision_columns import (
    A_GROUP,
    A_KIND,
    A_NANOS,
    AIM_VALUE,
    O_AMOUNT,
    O_LINE,
    P_CTR,
    P_CVR,
    P_VALUE,
    R_QUANTITY,
    R_RESULT_NS,
)
from bidder.core.lines import Aim, Target
from bidder.core.messages import ONE_IMPRESSION, LineCounts, Settlement, SettlementKind, SettlementRow
from bidder.core.settings import NS_PER_SECOND, TargetSettings
from bidder.core.table import Column, LineTable
from bidder.core.target_kernels import (
    T_BOUGHT,
    T_COLUMNS,
    T_OBSERVED,
    T_OFFERED,
    T_OUTCOMES,
    T_RATIO,
    T_ROOM,
    T_SPENT,
    begin_target,
    bid_lost,
    bought,
    ripen,
    solve_target,
    worth_of,
)
from bidder.core.token import bid_id_bytes


class _Share(NamedTuple):
    """What a bid is to one of its targets: predicted worth at target in nanos, and counted events."""

    target: Target
    worth: float
    outcomes: float


class _Bid(NamedTuple):
    """A bid: what it is to its targets, its amount, and until when it is remembered, whether under way or not."""

    shares: tuple[_Share, ...]
    amount: float
    forget_ns: int


class TargetStatus(NamedTuple):
    """How a target of a line item stands at this seat.

    Attributes:
        aim: what it counts. nanos: what one may cost. owner: over whose spend it is kept.
        room: above the worth at target. ratio: observed over predicted. outcomes: known ones. learning: too few.
        worth_nanos, spent_nanos: corrected worth of what was won at this seat, and what it cost.
    """

    aim: str
    nanos: int
    owner: str
    room: float
    ratio: float
    outcomes: float
    learning: bool
    worth_nanos: float
    spent_nanos: float


class TargetBook:
    """The target controllers of one seat.

    Args:
        settings: steps, prior and delays. keep_ns: how long a bid may wait for its billing.

    Attributes:
        rows: float64[targets, T_COLUMNS], by `LineTable.targets`; the kernel moves them too.
    """

    def __init__(self, settings: TargetSettings, keep_ns: int) -> None:
        self._settings, self._keep_ns = settings, keep_ns
        self.rows: NDArray[np.float64] = np.zeros((0, T_COLUMNS), dtype=np.float64)
        self._index: dict[Target, int] = {}
        self._bids: dict[bytes, _Bid] = {}
        self._open: set[bytes] = set()
        self._ends: list[tuple[int, bytes]] = []
        self._told: dict[str, LineCounts] = {}
        self._first: dict[str, LineCounts] = {}
        self._at_ns = 0

    def install(self, table: LineTable, pace: NDArray[np.int32]) -> None:
        """Goes on with another table; what goes on with the same amount keeps what it learned.

        Args:
            table: the line items. pace: int32[lines], their pacing groups.
        """
        rows = np.zeros((len(table.targets), T_COLUMNS), dtype=np.float64)
        for place, target in enumerate(table.targets):
            was = self._index.get(target)
            if was is not None:
                rows[place] = self.rows[was]
            else:
                begin_target(rows[place], self._settings.start)
        self.rows, self._table = rows, table
        self._index = {target: place for place, target in enumerate(table.targets)}
        self._lines: dict[Target, list[str]] = {target: [] for target in table.targets}
        self._pace = np.zeros(len(table.targets), dtype=np.int64)
        for row, line in enumerate(table.lines):
            for target in line.targets:
                self._lines[target].append(line.id)
                self._pace[self._index[target]] = pace[row]

    # -- bids -----------------------------------------------------------------------------------------------

    def made(self, batch: Batch, numbers: Sequence[int], now_ns: int) -> None:
        """Remembers bids of a batch, of which the kernel has moved the targets.

        Args:
            batch: as decided. numbers: rows that bid. now_ns: the time.
        """
        if not self._index:
            return
        for number in numbers:
            self.bid(
                batch.rows[number].bid_id,
                batch.columns[number],
                batch.out[number],
                batch.logged[number],
                now_ns,
            )

    def bid(
        self,
        bid_id: bytes,
        columns: NDArray[np.int64],
        out: NDArray[np.int64],
        logged: NDArray[np.float64],
        now_ns: int,
    ) -> None:
        """Remembers one bid.

        Args:
            bid_id: its own. columns, out, logged: int64[], int64[], float64[], by R_, O_ and P_ column. now_ns: the
                time.
        """
        shares = self._shares(int(out[O_LINE]), logged.tolist(), int(columns[R_QUANTITY]))
        if shares:
            self._bids[bid_id] = _Bid(shares, float(out[O_AMOUNT]), now_ns + self._keep_ns)
            self._open.add(bid_id)
            heappush(self._ends, (int(columns[R_RESULT_NS]), bid_id))

    def _shares(self, line: int, logged: Sequence[float], quantity: int) -> tuple[_Share, ...]:
        """What a bid of a line item is to each of its targets; `logged` by P_ column."""
        pctr, pcvr, conversion = logged[P_CTR], logged[P_CVR], logged[P_VALUE]
        columns = self._table.columns[line]
        begin, end = int(columns[Column.AIM_START]), int(columns[Column.AIM_END])
        shares: list[_Share] = []
        for aim in self._table.aims[begin:end]:
            target = self._table.targets[int(aim[A_GROUP])]
            worth = float(worth_of(aim, pctr, pcvr, conversion)) * quantity / ONE_IMPRESSION
            by_value = aim[A_KIND] == AIM_VALUE
            count = pctr * pcvr * quantity / ONE_IMPRESSION if by_value else worth / float(aim[A_NANOS])
            shares.append(_Share(target, worth, count))
        return tuple(shares)

    def settle(self, rows: Iterable[Settlement | SettlementRow]) -> None:
        """Takes over what the bank booked, in order."""
        if not self._bids:
            return
        for row in rows:
            if row.kind is SettlementKind.POSTED:
                self.paid(bid_id_bytes(row.bid_id), row.amount_nanos)
            elif row.kind is SettlementKind.VOIDED:
                self.lost(bid_id_bytes(row.bid_id))

    def lost(self, bid_id: bytes) -> None:
        """A bid lost, or is awaited no more."""
        bid = self._bids.get(bid_id)
        if bid is None or bid_id not in self._open:
            return
        self._open.discard(bid_id)
        for share in bid.shares:
            place = self._index.get(share.target)
            if place is not None:
                bid_lost(self.rows[place], share.worth, bid.amount)

    def paid(self, bid_id: bytes, nanos: int) -> None:
        """A bid was booked at `nanos`, fees included; one that was awaited no more counts all the same."""
        self.lost(bid_id)
        bid = self._bids.pop(bid_id, None)
        if bid is None:
            return
        for share in bid.shares:
            place = self._index.get(share.target)
            if place is not None:
                bought(self.rows[place], share.worth, share.outcomes, float(nanos))

    def expire(self, now_ns: int) -> None:
        """Ends what waited long enough, and forgets what can be booked no more."""
        while self._ends and self._ends[0][0] <= now_ns:
            _, bid_id = heappop(self._ends)
            bid = self._bids.get(bid_id)
            if bid is None:
                continue
            self.lost(bid_id)
            if bid.forget_ns <= now_ns:
                del self._bids[bid_id]
            else:
                heappush(self._ends, (bid.forget_ns, bid_id))

    # -- outcomes -------------------------------------------------------------------------------------------

    def take(self, counts: Iterable[LineCounts]) -> None:
        """Takes what the bank counted of line items: absolute, over all seats; the last word holds."""
        for one in counts:
            name = one.line_item_id
            if name not in self._first:
                nothing = replace(one, spend_nanos=0, clicks=0, conversions=0, value_nanos=0)
                self._first[name] = nothing if self._bid_before(name) else one
            self._told[name] = one

    def _bid_before(self, name: str) -> bool:
        """Whether this seat bid for a line item before it was told of it: then all that is told is of its time."""
        row = self._table.index.get(name)
        targets = self._table.lines[row].targets if row is not None else ()
        return any(self.rows[self._index[target], T_OFFERED] > 0.0 for target in targets)

    def _ran_before(self, target: Target) -> bool:
        """Whether so much came before this seat began that as much of that is still to come as of its own wins."""
        firsts = [self._first[name] for name in self._lines[target] if name in self._first]
        clicks = target.aim is Aim.CPC
        known = sum(one.clicks if clicks else one.conversions for one in firsts)
        return known >= self._settings.prior_outcomes

    def _observe(self, target: Target, row: NDArray[np.float64]) -> None:
        """This seat's part of what was counted since it began."""
        spend = count = worth = 0.0
        for name in self._lines[target]:
            if name not in self._told:
                continue
            told, first = self._told[name], self._first[name]
            spend += told.spend_nanos - first.spend_nanos
            clicks, conversions = told.clicks - first.clicks, told.conversions - first.conversions
            if target.aim is Aim.CPC:
                count += clicks
                worth += clicks * target.nanos
            else:
                count += conversions
                if target.aim is Aim.ROAS:
                    # What may be spent for the value that came.
                    line = self._table.lines[self._table.index[name]]
                    worth += (told.value_nanos - first.value_nanos) * target.nanos / line.value_nanos
                else:
                    worth += conversions * target.nanos
        if spend <= 0.0:
            return
        part = min(float(row[T_SPENT]) / spend, 1.0)
        row[T_OUTCOMES], row[T_OBSERVED] = count * part, worth * part

    # -- time -----------------------------------------------------------------------------------------------

    def refresh(self, now_ns: int, over: NDArray[np.float64]) -> None:
        """Solves each target's plan again.

        Args:
            now_ns: the time. over: float64[pacing groups], share of each flight's traffic that is over.
        """
        settings, since = self._settings, max(now_ns - self._at_ns, 0)
        self._at_ns = now_ns
        for target, place in self._index.items():
            row = self.rows[place]
            prior = 0.0
            if target.aim is not Aim.CPM:
                self._observe(target, row)
                clicks = target.aim is Aim.CPC
                seconds = settings.click_delay_seconds if clicks else settings.conversion_delay_seconds
                # Outcomes of before the seat began come in the place of those that are still to come.
                whole = seconds == 0.0 or self._ran_before(target)
                ripen(row, 1.0 if whole else -math.expm1(-since / (seconds * NS_PER_SECOND)))
                prior = float(settings.prior_outcomes)
            solve_target(row, settings.eta, settings.first_eta, prior, float(over[self._pace[place]]))

    # -- reports --------------------------------------------------------------------------------------------

    def status(self, line: int) -> tuple[TargetStatus, ...]:
        """How the targets of a line item stand."""
        return tuple(self._status(target) for target in self._table.lines[line].targets)

    def _status(self, target: Target) -> TargetStatus:
        row = self.rows[self._index[target]]
        counted = target.aim is not Aim.CPM
        return TargetStatus(
            aim=target.aim.name.lower(),
            nanos=target.nanos,
            owner=target.owner,
            room=float(row[T_ROOM]),
            ratio=float(row[T_RATIO]),
            outcomes=float(row[T_OUTCOMES]),
            learning=counted and bool(row[T_OUTCOMES] < self._settings.prior_outcomes),
            worth_nanos=float(row[T_RATIO] * row[T_BOUGHT]),
            spent_nanos=float(row[T_SPENT]),
        )


def warm_targets() -> None:
    """Compiles what results of bids call."""
    row = np.zeros(T_COLUMNS, dtype=np.float64)
    begin_target(row, 1.0)
    bid_lost(row, 1.0, 1.0)
    bought(row, 1.0, 1.0, 1.0)
    ripen(row, 1.0)
    solve_target(row, 1e-3, 0.0, 1.0, 0.0)
