"""What explored bids may cost: of each budget and day (UTC) a share, counted by the bids themselves.

A bid that is moved by chance tells what other bids would have won, and costs a little. It counts with all that is
set aside for it until it is lost, settled for less, or its time is over; so what explored bids spend in a day is
within the limit, but for wins that are told of after their time. Without knowledge of the budget nothing is explored.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bidder.core.decision_columns import O_AMOUNT, P_FACTOR
from bidder.core.messages import Settlement, SettlementKind, SettlementRow
from bidder.core.plans import Group
from bidder.core.settings import ShadingSettings
from bidder.core.token import bid_id_text

_DAY_NS = 86_400_000_000_000
_MILLION = 1_000_000


class ExplorationBook:
    """What is left to explore with.

    Args:
        settings: of the engine.

    Attributes:
        left: int64[groups], nanos that may still be set aside for explored bids today; the kernel lowers it.
    """

    def __init__(self, settings: ShadingSettings) -> None:
        self._ppm = settings.exploration_budget_ppm if settings.explore_share > 0 else 0
        self._groups: Sequence[Group] = ()
        self._days: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._day = -1
        self._taken: dict[str, int] = {}
        self._open: dict[str, tuple[str, int]] = {}
        self._ends: deque[tuple[int, str]] = deque()
        self.left: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def install(self, groups: Sequence[Group]) -> None:
        """Goes on with another table's groups; `refresh` is to follow."""
        self._groups = groups
        self._days = np.array([_days_of(group) for group in groups], dtype=np.int64)
        self.left = np.zeros(len(groups), dtype=np.int64)

    def refresh(self, now_ns: int, shares: NDArray[np.int64]) -> None:
        """Counts what is left.

        Args:
            now_ns: the time. shares: int64[groups], this seat's part of each budget in nanos, 0 where not known.
        """
        if not self._ppm:
            return
        self._turn(now_ns)
        while self._ends and self._ends[0][0] <= now_ns:
            self._free(self._ends.popleft()[1], 0)
        # Two groups of one account differ in pacing only: what one takes, the other has not.
        taken = np.array([self._taken.get(group.account_id, 0) for group in self._groups], dtype=np.int64)
        limits = shares // _MILLION * self._ppm // self._days
        self.left = np.maximum(limits - taken, 0)

    def take(
        self,
        ids: NDArray[np.uint8],
        logged: NDArray[np.float64],
        groups: NDArray[np.int32],
        out: NDArray[np.int64],
        until_ns: int,
        now_ns: int,
    ) -> None:
        """Counts those of some bids that were moved.

        Args:
            ids: uint8[n, 12]. logged: float64[n, 9], by P_ column. groups: int32[n]. out: int64[n, 7], by O_ column.
            until_ns: when the last of their money comes free. now_ns: the time.
        """
        moved = np.flatnonzero(logged[:, P_FACTOR]) if self._ppm else ()
        if not len(moved):
            return
        self._turn(now_ns)
        for n in moved:
            account, amount = self._groups[groups[n]].account_id, int(out[n, O_AMOUNT])
            name = bid_id_text(ids[n].tobytes())
            self._taken[account] = self._taken.get(account, 0) + amount
            self._open[name] = (account, amount)
            self._ends.append((until_ns, name))

    def settle(self, rows: Iterable[Settlement | SettlementRow]) -> None:
        """Hears what became of bids."""
        if not self._open:
            return
        for row in rows:
            if row.kind is not SettlementKind.WON and row.bid_id in self._open:
                self._free(row.bid_id, row.amount_nanos)

    def _free(self, name: str, spent: int) -> None:
        account, amount = self._open.pop(name, ("", 0))
        if account:
            self._taken[account] += spent - amount

    def _turn(self, now_ns: int) -> None:
        day = now_ns // _DAY_NS
        if day != self._day:
            self._day = day
            self._taken.clear()
            self._open.clear()
            self._ends.clear()


def _days_of(group: Group) -> int:
    """Days over which a group's budget is spread."""
    span_ns = group.flights[-1][1] - group.flights[0][0]
    return 1 if group.daily else max(1, -(-span_ns // _DAY_NS))
