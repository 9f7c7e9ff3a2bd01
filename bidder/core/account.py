"""The money of one campaign at the bank: its budget, what is booked and what is granted.

    room = budget - committed
    committed = booked + outstanding
    outstanding = sum over grants that are not freed of max(0, granted - posted)

A grant moves money from room to outstanding, a booking from outstanding to booked, freeing from outstanding
back to room. So the rule that is checked after each operation is

    committed <= budget + uncovered + cut

where `uncovered` is spend that came when its grant had no room left (after the grant was freed, or beyond it)
and `cut` is by how much a lowered budget fell below what was committed already. Both are counted and neither
comes from granting: where no notice is late, no worker bids beyond its grant and no budget is lowered, both
are 0 and spend never passes the budget.
"""

from typing import NamedTuple

from bidder.core.bookings import AccountRow, GrantKey, GrantRow
from bidder.core.campaigns import Campaign, Status
from bidder.errors import InvariantError
from bidder.money import MAX_NANOS


class Sent(NamedTuple):
    """What a seat was last told of a grant: granted, bid until and budget, the spend, and when."""

    terms: tuple[int, int, int]
    spent_nanos: int
    at_ns: int


class Grant:
    """What one epoch of a seat may spend of one campaign; `granted_nanos` grows, but for `Account.shrink`.

    `sent` is the state in which the seat was last told, to tell it again only where something changed.
    """

    __slots__ = (
        "bid_until_ns",
        "campaign_id",
        "epoch",
        "freed",
        "granted_nanos",
        "posted_nanos",
        "seat",
        "sent",
    )

    def __init__(self, row: GrantRow) -> None:
        self.campaign_id = row.campaign_id
        self.seat = row.seat
        self.epoch = row.epoch
        self.granted_nanos = row.granted_nanos
        self.posted_nanos = row.posted_nanos
        self.bid_until_ns = row.bid_until_ns
        self.freed = bool(row.freed)
        self.sent: Sent | None = None

    @property
    def key(self) -> GrantKey:
        """Its name."""
        return GrantKey(self.campaign_id, self.seat, self.epoch)

    def tell(self, terms: tuple[int, int, int], spent_nanos: int, now_ns: int) -> None:
        """Notes what the seat is told now."""
        self.sent = Sent(terms, spent_nanos, now_ns)

    @property
    def unposted_nanos(self) -> int:
        """Granted and not posted, whether or not it still counts."""
        return max(0, self.granted_nanos - self.posted_nanos)

    @property
    def outstanding_nanos(self) -> int:
        """What the epoch may still post; 0 once freed."""
        return 0 if self.freed else self.unposted_nanos

    def row(self) -> GrantRow:
        """The grant as it is kept."""
        return GrantRow(
            self.campaign_id,
            self.seat,
            self.epoch,
            self.granted_nanos,
            self.posted_nanos,
            self.bid_until_ns,
            self.freed,
        )


class Account:
    """Budget, spend and grants of one campaign.

    Args:
        row: counters so far.
        campaign: the campaign as it now is; None where it was removed: its budget is then 0.
    """

    def __init__(self, row: AccountRow, campaign: Campaign | None = None) -> None:
        self.id = row.campaign_id
        self.campaign = campaign
        self.budget_nanos = campaign.budget_nanos if campaign else 0
        self.booked_nanos = row.booked_nanos
        self.late_nanos = row.late_nanos
        self.uncovered_nanos = row.uncovered_nanos
        self.wins = row.wins
        self.impressions = row.impressions
        self.clicks = row.clicks
        self.conversions = row.conversions
        self.value_nanos = row.value_nanos
        self.late_wins = row.late_wins
        self.unbilled = row.unbilled
        self.refused: dict[str, int] = {}
        self.grants: dict[tuple[str, int], Grant] = {}
        self.outstanding_nanos = 0
        self.cut_nanos = 0
        self._measure_cut()

    @property
    def committed_nanos(self) -> int:
        """Booked, or granted and not freed."""
        return self.booked_nanos + self.outstanding_nanos

    @property
    def room_nanos(self) -> int:
        """What may still be granted."""
        return max(0, self.budget_nanos - self.committed_nanos)

    def biddable(self, now_ns: int, lead_ns: int) -> bool:
        """Whether seats may hold leases now; `lead_ns` before its start a campaign already gets them."""
        campaign = self.campaign
        return (
            campaign is not None
            and campaign.status is Status.ACTIVE
            and campaign.start_ns - lead_ns <= now_ns < campaign.end_ns
        )

    def adopt(self, campaign: Campaign | None) -> None:
        """Takes a changed campaign, its budget above all."""
        self.campaign = campaign
        self.budget_nanos = campaign.budget_nanos if campaign else 0
        self._measure_cut()

    def open(self, seat: str, epoch: int) -> Grant:
        """A new grant with nothing in it."""
        grant = Grant(GrantRow(self.id, seat, epoch, 0, 0, 0, False))
        self.grants[seat, epoch] = grant
        return grant

    def restore(self, row: GrantRow) -> Grant:
        """A grant that was kept, as it was."""
        grant = Grant(row)
        self.grants[grant.seat, grant.epoch] = grant
        self.outstanding_nanos += grant.outstanding_nanos
        self._measure_cut()
        return grant

    def give(self, grant: Grant, nanos: int) -> None:
        """Grants `nanos` more."""
        if not 0 < nanos <= self.room_nanos or grant.freed:
            raise InvariantError(
                f"a grant of campaign {self.id} must be from 1 to the room of {self.room_nanos} nanos and not "
                f"freed, was {nanos}, freed {grant.freed}"
            )
        before_nanos = grant.outstanding_nanos
        grant.granted_nanos += nanos
        self.outstanding_nanos += grant.outstanding_nanos - before_nanos

    def free(self, grant: Grant) -> None:
        """Takes back what the grant did not post; the caller knows that nothing can still come in time."""
        self.outstanding_nanos -= grant.outstanding_nanos
        grant.freed = True
        self._measure_cut()

    def reopen(self, grant: Grant) -> bool:
        """Lets a freed grant count again if all of it fits: its epoch may still believe in it."""
        if grant.unposted_nanos > self.room_nanos:
            return False
        grant.freed = False
        self.outstanding_nanos += grant.outstanding_nanos
        return True

    def shrink(self, grant: Grant) -> None:
        """Lets a freed grant count again with nothing left in it but what it posted.

        The caller knows that its epoch holds no reservation on it, and that it will be told.
        """
        if not grant.freed:
            raise InvariantError(f"grant {grant.key} must be freed before it is shrunk")
        grant.granted_nanos = min(grant.granted_nanos, grant.posted_nanos)
        grant.freed = False

    def drop(self, grant: Grant) -> None:
        """Forgets a freed grant of an epoch that is over."""
        if not grant.freed:
            raise InvariantError(f"grant {grant.key} must be freed before it is dropped")
        del self.grants[grant.seat, grant.epoch]

    def book(self, nanos: int, grant: Grant | None, *, late: bool) -> None:
        """Books `nanos` of spend, against its grant as far as that has room."""
        covered_nanos = 0
        if grant is not None:
            before_nanos = grant.outstanding_nanos
            grant.posted_nanos += nanos
            covered_nanos = before_nanos - grant.outstanding_nanos
        self.outstanding_nanos -= covered_nanos
        self.booked_nanos += nanos
        self.uncovered_nanos += nanos - covered_nanos
        if late:
            self.late_nanos += nanos
            self.late_wins += 1

    def convert(self, value_nanos: int) -> None:
        """Counts one conversion; the sum stays at the largest amount rather than wrap."""
        self.conversions += 1
        self.value_nanos = min(MAX_NANOS, self.value_nanos + value_nanos)

    def check(self) -> None:
        """Raises `InvariantError` where the books of this campaign do not add up."""
        outstanding_nanos = sum(grant.outstanding_nanos for grant in self.grants.values())
        if outstanding_nanos != self.outstanding_nanos:
            raise InvariantError(
                f"outstanding grants of campaign {self.id} must sum to {self.outstanding_nanos} nanos, "
                f"was {outstanding_nanos}"
            )
        allowed_nanos = self.budget_nanos + self.uncovered_nanos + self.cut_nanos
        if self.committed_nanos > allowed_nanos:
            raise InvariantError(
                f"booked and granted money of campaign {self.id} must be at most {allowed_nanos} nanos "
                f"(budget {self.budget_nanos}, uncovered {self.uncovered_nanos}, cut {self.cut_nanos}), "
                f"was {self.committed_nanos}"
            )
        if self.late_nanos > self.booked_nanos or self.uncovered_nanos > self.booked_nanos:
            raise InvariantError(f"late and uncovered spend of campaign {self.id} must be within its spend")

    def row(self) -> AccountRow:
        """The counters as they are kept."""
        return AccountRow(
            self.id,
            self.booked_nanos,
            self.late_nanos,
            self.uncovered_nanos,
            self.wins,
            self.impressions,
            self.clicks,
            self.conversions,
            self.value_nanos,
            self.late_wins,
            self.unbilled,
        )

    def _measure_cut(self) -> None:
        """Only where the budget or the grants change from outside, or where money comes back: never on a grant."""
        self.cut_nanos = max(0, self.committed_nanos - self.uncovered_nanos - self.budget_nanos)
