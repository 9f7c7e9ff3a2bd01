"""What one step of the bank gives out, and the draft it is gathered in."""

from typing import NamedTuple

from bidder.core.account import Account, Grant
from bidder.core.bookings import Booking, GrantKey, RefusalRow, Rows, SeatRow
from bidder.core.messages import Lease, Settlement


class Effects(NamedTuple):
    """Rows to write with the consumed offsets, then messages to publish."""

    settlements: tuple[Settlement, ...]
    leases: tuple[Lease, ...]
    rows: Rows


class Draft:
    """Effects of the step under way; `moved` are accounts whose grants changed, `counted` whose counters did."""

    __slots__ = (
        "bookings",
        "counted",
        "dropped",
        "grants",
        "leases",
        "moved",
        "refusals",
        "seats",
        "settlements",
    )

    def __init__(self) -> None:
        self.settlements: list[Settlement] = []
        self.leases: list[Lease] = []
        self.bookings: list[Booking] = []
        self.counted: dict[str, Account] = {}
        self.moved: dict[str, Account] = {}
        self.refusals: dict[tuple[str, str], int] = {}
        self.grants: dict[GrantKey, Grant] = {}
        self.dropped: list[GrantKey] = []
        self.seats: list[SeatRow] = []

    def move(self, account: Account, grant: Grant) -> None:
        """Notes that a grant changed."""
        self.moved[account.id] = account
        self.grants[grant.key] = grant

    def drop(self, account: Account, grant: Grant) -> None:
        """Notes that a grant is no more."""
        self.moved[account.id] = account
        self.grants.pop(grant.key, None)
        self.dropped.append(grant.key)

    def close(self) -> Effects:
        """Checks every touched account, then gives the effects.

        Raises:
            InvariantError: where the books of one of them do not add up.
        """
        for account in {**self.moved, **self.counted}.values():
            account.check()
        rows = Rows(
            bookings=tuple(self.bookings),
            accounts=tuple(account.row() for account in self.counted.values()),
            refusals=tuple(RefusalRow(*key, times) for key, times in self.refusals.items()),
            grants=tuple(grant.row() for grant in self.grants.values()),
            dropped=tuple(self.dropped),
            seats=tuple(self.seats),
        )
        return Effects(tuple(self.settlements), tuple(self.leases), rows)
