"""One budget at the bank: its limit, what is booked on it and what is granted of it.

    room = limit - reserve - committed
    committed = booked + outstanding
    outstanding = sum over grants that are not freed of max(0, granted - posted)
    reserve = share * (limit - booked + recent)

A grant moves room to outstanding, a booking outstanding to booked, freeing outstanding back to room. *Uncovered*
is spend that came when its grant had no room left: after the grant was freed, or beyond it. For that the reserve
is kept back: `share` (`core.lateness`) of all that may still come uncovered, which is what is not booked yet and
`recent`, what was booked in the last `late_tail_ns` or up to twice that, as a measure of the wins of ended bids that
nobody told of yet. So the reserve is never above share * limit, and goes to 0 by itself as the budget is spent and
the tail of it is over: then all that is left may be leased. It is rounded down to the account's unit.

`held` is the part of the reserve that is there: after a limit was cut or more was uncovered than kept back it may be
less. Uncovered spend eats it first. The rule that is checked after each operation is

    committed + held <= limit + over + cut,      so      spend <= limit + over + cut

where `over` is the uncovered spend that neither reserve nor room had place for, and `cut` is by how much a lowered
limit fell below what was committed already. Neither comes from granting. Where no budget is lowered, `over` stays 0
and spend never passes the limit if, from no grant on, more of what may still come than `share` comes uncovered:
for then uncovered <= reserve at that grant. `core.lateness` says at which quantile that holds. Where no notice is
late and no worker bids beyond its grant nothing is uncovered at all.

All amounts are in the account's unit: nanos of money, or millionths of an impression.
"""

from collections.abc import Callable
from typing import NamedTuple

from bidder.core.bookings import AccountRow, GrantKey, GrantRow
from bidder.core.budgets import FOREVER_NS, Budget, Unit
from bidder.core.lines import Line
from bidder.core.messages import ONE_IMPRESSION
from bidder.errors import InvariantError

_MILLION = 1_000_000


class Sent(NamedTuple):
    """What a seat was last told of a grant: granted, bid until and limit, the spend, and when."""

    terms: tuple[int, int, int]
    spent: int
    at_ns: int


class Grant:
    """What one epoch of a seat may spend of one account; `granted` grows, but for `Account.shrink`.

    `key` is its name. `sent` is the state in which the seat was last told, to tell it again only where that changed.
    """

    __slots__ = ("account_id", "bid_until_ns", "epoch", "freed", "granted", "key", "posted", "seat", "sent")

    def __init__(self, row: GrantRow) -> None:
        self.account_id = row.account_id
        self.seat = row.seat
        self.epoch = row.epoch
        self.key = GrantKey(row.account_id, row.seat, row.epoch)
        self.granted = row.granted
        self.posted = row.posted
        self.bid_until_ns = row.bid_until_ns
        self.freed = bool(row.freed)
        self.sent: Sent | None = None

    def tell(self, terms: tuple[int, int, int], spent: int, now_ns: int) -> None:
        """Notes what the seat is told now."""
        self.sent = Sent(terms, spent, now_ns)

    @property
    def unposted(self) -> int:
        """Granted and not posted, whether or not it still counts."""
        return max(0, self.granted - self.posted)

    @property
    def outstanding(self) -> int:
        """What the epoch may still post; 0 once freed."""
        return 0 if self.freed else self.unposted

    def row(self) -> GrantRow:
        """The grant as it is kept."""
        return GrantRow(
            self.account_id,
            self.seat,
            self.epoch,
            self.granted,
            self.posted,
            self.bid_until_ns,
            self.freed,
        )


class Account:
    """Limit, spend and grants of one budget.

    Args:
        row: counters so far.

    Attributes:
        advertiser_id: whose it is; empty until somebody states it.
        limit: the least that any of its line items states; 0 where none does any more.
        step: the most that one bid costs of it.
        reserve: what is kept back for spend that comes uncovered. held: the part of it that is there.
        lines: the line items that charge to it and the limit each states, by their id.
        closed: its day is over: what it limited then stays as it was, and nobody is granted of it.
        written: the row that was last given out to be kept.
    """

    __slots__ = (
        "_booked_before",
        "_booked_then",
        "_then_ns",
        "advertiser_id",
        "begin_ns",
        "booked",
        "closed",
        "cut",
        "end_ns",
        "grants",
        "held",
        "id",
        "keep_until_ns",
        "late",
        "limit",
        "lines",
        "outstanding",
        "over",
        "reserve",
        "step",
        "uncovered",
        "unit",
        "written",
    )

    def __init__(self, row: AccountRow) -> None:
        self.id = row.account_id
        self.advertiser_id = row.advertiser_id
        self.unit = Unit(row.unit)
        self.limit = row.limit_units
        self.begin_ns = row.begin_ns
        self.end_ns = row.end_ns
        self.keep_until_ns = row.keep_until_ns
        self.booked = row.booked
        self.late = row.late
        self.uncovered = row.uncovered
        self.step = 1
        self.lines: dict[tuple[str, str], tuple[Line, int]] = {}
        self.grants: dict[tuple[str, int], Grant] = {}
        self.outstanding = 0
        self.cut = self.over = self.reserve = self.held = 0
        self.closed = False
        self.written: AccountRow | None = None
        # After a start all that was booked counts as recent: too much is kept back for a while, never too little.
        self._booked_before = self._booked_then = 0
        self._then_ns: int | None = None
        self._measure()

    @classmethod
    def opened(cls, budget: Budget, keep_until_ns: int) -> "Account":
        """A budget that nothing was booked on yet; until `keep_until_ns` something may be."""
        return cls(
            AccountRow(
                budget.account_id,
                int(budget.unit),
                budget.limit,
                budget.begin_ns,
                budget.end_ns,
                keep_until_ns=keep_until_ns,
                advertiser_id=budget.advertiser_id,
            )
        )

    @property
    def daily(self) -> bool:
        """Whether it is of one day."""
        return self.keep_until_ns < FOREVER_NS

    @property
    def committed(self) -> int:
        """Booked, or granted and not freed."""
        return self.booked + self.outstanding

    @property
    def room(self) -> int:
        """What may still be granted."""
        return max(0, self.limit - self.reserve - self.committed)

    @property
    def uncovered_ppm(self) -> int:
        """Millionths of its spend that came uncovered."""
        return -(-self.uncovered * _MILLION // self.booked) if self.booked else 0

    def keep_back(self, share_ppm: int, now_ns: int, tail_ns: int) -> None:
        """Sets the reserve: millionths of what may still come, where what came `tail_ns` ago is over."""
        if self._then_ns is None:
            self._then_ns = now_ns
        elif now_ns - self._then_ns >= tail_ns:
            self._booked_before, self._booked_then, self._then_ns = self._booked_then, self.booked, now_ns
        to_come = max(0, self.limit - self.booked) + self.booked - self._booked_before
        self.reserve = to_come * share_ppm // _MILLION
        if self.unit is Unit.IMPRESSIONS:
            self.reserve -= self.reserve % self.step
        self.held = min(self.reserve, max(0, self.limit - self.committed))

    def biddable(self, now_ns: int, lead_ns: int, stopped: Callable[[Line], bool] | None = None) -> bool:
        """Whether seats may hold leases now; so early before its begin they already get them.

        Where all its line items are `stopped`, none is granted or renewed.
        """
        if self.closed or not self.begin_ns - lead_ns <= now_ns < self.end_ns:
            return False
        flying = (line for line, _ in self.lines.values() if _in_flight(line, now_ns, lead_ns))
        return any(stopped is None or not stopped(line) for line in flying)

    def restate(self) -> bool:
        """Takes the limit and the largest bid of its line items; whether the limit changed."""
        before = self.limit
        self.limit = min((limit for _, limit in self.lines.values()), default=0)
        if self.unit is Unit.MONEY:  # CPM micros are nanos an impression
            self.step = max((line.most_nanos for line, _ in self.lines.values()), default=1)
        else:
            self.step = ONE_IMPRESSION
        self._measure()
        return self.limit != before

    def open(self, seat: str, epoch: int, posted: int = 0) -> Grant:
        """A new grant with nothing in it but what its epoch posted already."""
        grant = Grant(GrantRow(self.id, seat, epoch, posted, posted, 0, False))
        self.grants[seat, epoch] = grant
        return grant

    def restore(self, row: GrantRow) -> Grant:
        """A grant that was kept, as it was."""
        grant = Grant(row)
        self.grants[grant.seat, grant.epoch] = grant
        self.outstanding += grant.outstanding
        self._measure()
        return grant

    def give(self, grant: Grant, units: int) -> None:
        """Grants so much more."""
        if not 0 < units <= self.room or grant.freed:
            raise InvariantError(
                f"a grant of account {self.id} must be from 1 to the room of {self.room} and not "
                f"freed, was {units}, freed {grant.freed}"
            )
        before = grant.outstanding
        grant.granted += units
        self.outstanding += grant.outstanding - before

    def free(self, grant: Grant) -> None:
        """Takes back what the grant did not post; the caller knows that nothing can still come in time."""
        self.outstanding -= grant.outstanding
        grant.freed = True
        self._measure()

    def reopen(self, grant: Grant) -> bool:
        """Lets a freed grant count again if all of it fits: its epoch may still believe in it."""
        if grant.unposted > self.room:
            return False
        grant.freed = False
        self.outstanding += grant.outstanding
        return True

    def shrink(self, grant: Grant) -> None:
        """Lets a freed grant count again with nothing left in it but what it posted.

        The caller knows that its epoch holds no reservation on it, and that it will be told.
        """
        if not grant.freed:
            raise InvariantError(f"grant {grant.key} must be freed before it is shrunk")
        grant.granted = min(grant.granted, grant.posted)
        grant.freed = False

    def drop(self, grant: Grant) -> None:
        """Forgets a freed grant of an epoch or a day that is over."""
        if not grant.freed:
            raise InvariantError(f"grant {grant.key} must be freed before it is dropped")
        del self.grants[grant.seat, grant.epoch]

    def book(self, units: int, grant: Grant | None, *, late: bool) -> int:
        """Books spend, against its grant as far as that has room; gives what of it is uncovered."""
        covered = 0
        if grant is not None:
            if not grant.freed:
                covered = min(units, grant.unposted)
            grant.posted += units
        self.outstanding -= covered
        self.booked += units
        self.uncovered += units - covered
        if late:
            self.late += units
        if covered < units:
            self._measure_over()
        return units - covered

    def check(self) -> None:
        """Raises `InvariantError` where the books of this account do not add up."""
        outstanding = sum(grant.outstanding for grant in self.grants.values())
        if outstanding != self.outstanding:
            raise InvariantError(
                f"outstanding grants of account {self.id} must sum to {self.outstanding}, was {outstanding}"
            )
        allowed = self.limit + self.over + self.cut
        if self.committed + self.held > allowed:
            raise InvariantError(
                f"what is booked on and granted of account {self.id} must be at most {allowed - self.held} (limit "
                f"{self.limit}, held for late spend {self.held}, beyond that {self.over}, cut {self.cut}), was "
                f"{self.committed}"
            )
        if self.over > self.uncovered:
            raise InvariantError(
                f"spend of account {self.id} beyond its reserve must be at most what came uncovered, "
                f"{self.uncovered}, was {self.over}"
            )
        if self.late > self.booked or self.uncovered > self.booked:
            raise InvariantError(f"late and uncovered spend of account {self.id} must be within its spend")

    def row(self) -> AccountRow:
        """The account as it is kept."""
        return AccountRow(
            self.id,
            int(self.unit),
            self.limit,
            self.begin_ns,
            self.end_ns,
            self.booked,
            self.late,
            self.uncovered,
            self.keep_until_ns,
            self.advertiser_id,
        )

    def _measure(self) -> None:
        """Only where the limit or the grants change from outside, or where units come back: never on a grant."""
        self.cut = max(0, self.committed - self.uncovered - self.limit)
        self._measure_over()

    def _measure_over(self) -> None:
        """What uncovered spend left of the reserve, and what it took beyond."""
        self.over = max(0, self.committed - self.limit - self.cut)
        self.held = min(self.held, max(0, self.limit - self.committed))


def _in_flight(line: Line, now_ns: int, lead_ns: int) -> bool:
    return line.active and any(flight.start_ns - lead_ns <= now_ns < flight.end_ns for flight in line.flights)
