"""One budget at the bank: its limit, what is booked on it and what is granted of it.

    room = limit - committed
    committed = booked + outstanding
    outstanding = sum over grants that are not freed of max(0, granted - posted)

A grant moves room to outstanding, a booking outstanding to booked, freeing outstanding back to room. So the rule
that is checked after each operation is

    committed <= limit + uncovered + cut

where `uncovered` is spend that came when its grant had no room left (after the grant was freed, or beyond it)
and `cut` is by how much a lowered limit fell below what was committed already. Both are counted and neither
comes from granting: where no notice is late, no worker bids beyond its grant and no budget is lowered, both
are 0 and spend never passes the limit.

All amounts are in the account's unit: nanos of money, or millionths of an impression.
"""

from typing import NamedTuple

from bidder.core.bookings import AccountRow, GrantKey, GrantRow
from bidder.core.budgets import FOREVER_NS, Budget, Unit
from bidder.core.lines import Line
from bidder.core.messages import ONE_IMPRESSION
from bidder.errors import InvariantError


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
        lines: the line items that charge to it and the limit each states, by their id.
        closed: its day is over: what it limited then stays as it was, and nobody is granted of it.
        written: the row that was last given out to be kept.
    """

    __slots__ = (
        "advertiser_id",
        "begin_ns",
        "booked",
        "closed",
        "cut",
        "end_ns",
        "grants",
        "id",
        "keep_until_ns",
        "late",
        "limit",
        "lines",
        "outstanding",
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
        self.cut = 0
        self.closed = False
        self.written: AccountRow | None = None
        self._measure_cut()

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
        return max(0, self.limit - self.committed)

    def biddable(self, now_ns: int, lead_ns: int) -> bool:
        """Whether seats may hold leases now; so early before its begin they already get them."""
        if self.closed or not self.begin_ns - lead_ns <= now_ns < self.end_ns:
            return False
        return any(_in_flight(line, now_ns, lead_ns) for line, _ in self.lines.values())

    def restate(self) -> bool:
        """Takes the limit and the largest bid of its line items; whether the limit changed."""
        before = self.limit
        self.limit = min((limit for _, limit in self.lines.values()), default=0)
        if self.unit is Unit.MONEY:  # CPM micros are nanos an impression
            self.step = max((line.max_bid_cpm_micros for line, _ in self.lines.values()), default=1)
        else:
            self.step = ONE_IMPRESSION
        self._measure_cut()
        return self.limit != before

    def open(self, seat: str, epoch: int) -> Grant:
        """A new grant with nothing in it."""
        grant = Grant(GrantRow(self.id, seat, epoch, 0, 0, 0, False))
        self.grants[seat, epoch] = grant
        return grant

    def restore(self, row: GrantRow) -> Grant:
        """A grant that was kept, as it was."""
        grant = Grant(row)
        self.grants[grant.seat, grant.epoch] = grant
        self.outstanding += grant.outstanding
        self._measure_cut()
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
        self._measure_cut()

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

    def book(self, units: int, grant: Grant | None, *, late: bool) -> None:
        """Books spend, against its grant as far as that has room."""
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

    def check(self) -> None:
        """Raises `InvariantError` where the books of this account do not add up."""
        outstanding = sum(grant.outstanding for grant in self.grants.values())
        if outstanding != self.outstanding:
            raise InvariantError(
                f"outstanding grants of account {self.id} must sum to {self.outstanding}, was {outstanding}"
            )
        allowed = self.limit + self.uncovered + self.cut
        if self.committed > allowed:
            raise InvariantError(
                f"what is booked on and granted of account {self.id} must be at most {allowed} (limit "
                f"{self.limit}, uncovered {self.uncovered}, cut {self.cut}), was {self.committed}"
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

    def _measure_cut(self) -> None:
        """Only where the limit or the grants change from outside, or where units come back: never on a grant."""
        self.cut = max(0, self.committed - self.uncovered - self.limit)


def _in_flight(line: Line, now_ns: int, lead_ns: int) -> bool:
    return line.active and any(flight.start_ns - lead_ns <= now_ns < flight.end_ns for flight in line.flights)
