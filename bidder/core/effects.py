"""What one step of the bank gives out, and the draft it is gathered in."""

from typing import NamedTuple

from bidder.core.account import Account, Grant
from bidder.core.bookings import (
    AccountRow,
    Booking,
    GrantKey,
    HeldRow,
    LateRow,
    OrderRow,
    PaceRow,
    RefusalRow,
    Rows,
    SeatRow,
    UnattributedRow,
)
from bidder.core.exposures import Exposure
from bidder.core.messages import (
    CreativeCounts,
    Lease,
    LineCounts,
    Notice,
    NoticeKind,
    Settlement,
    SettlementKind,
)
from bidder.core.tally import CreativeTally, Tally
from bidder.core.users import key_text


class PlacedExposure(NamedTuple):
    """An exposure and the partition of its bid's request, where its user is owned; -1 where there was none."""

    exposure: Exposure
    partition: int


class Effects(NamedTuple):
    """Rows to write with the consumed offsets, then messages to publish."""

    settlements: tuple[Settlement, ...]
    leases: tuple[Lease, ...]
    rows: Rows
    exposures: tuple[PlacedExposure, ...] = ()
    creative_counts: tuple[CreativeCounts, ...] = ()
    line_counts: tuple[LineCounts, ...] = ()


class Draft:
    """Effects of the step under way; `touched` are accounts of which anything changed."""

    __slots__ = (
        "bookings",
        "creative_counts",
        "creatives",
        "dropped",
        "exposures",
        "grants",
        "held",
        "lateness",
        "leases",
        "line_counts",
        "orders",
        "paces",
        "refusals",
        "released",
        "seats",
        "settlements",
        "tallies",
        "touched",
        "unattributed",
    )

    def __init__(self) -> None:
        self.settlements: list[Settlement] = []
        self.leases: list[Lease] = []
        self.exposures: list[PlacedExposure] = []
        self.creative_counts: list[CreativeCounts] = []
        self.line_counts: list[LineCounts] = []
        self.bookings: list[Booking] = []
        self.touched: dict[str, Account] = {}
        self.tallies: dict[tuple[str, str], Tally] = {}
        self.creatives: dict[tuple[str, str], CreativeTally] = {}
        self.refusals: dict[tuple[str, str], int] = {}
        self.grants: dict[GrantKey, Grant] = {}
        self.dropped: list[GrantKey] = []
        self.seats: list[SeatRow] = []
        self.orders: list[OrderRow] = []
        self.held: dict[str, HeldRow] = {}
        self.released: list[str] = []
        self.unattributed: dict[tuple[str, str], UnattributedRow] = {}
        self.lateness: dict[tuple[str, int], LateRow] = {}
        self.paces: dict[tuple[str, str, int], PaceRow] = {}

    def touch(self, account: Account) -> None:
        """Notes that an account changed."""
        self.touched[account.id] = account

    def move(self, account: Account, grant: Grant) -> None:
        """Notes that a grant changed."""
        self.touched[account.id] = account
        self.grants[grant.key] = grant

    def drop(self, account: Account, grant: Grant) -> None:
        """Notes that a grant is no more."""
        self.touched[account.id] = account
        self.grants.pop(grant.key, None)
        self.dropped.append(grant.key)

    def close(self) -> Effects:
        """Checks every touched account, then gives the effects.

        Raises:
            InvariantError: where the books of one of them do not add up.
        """
        for account in self.touched.values():
            account.check()
        rows = Rows(
            bookings=tuple(self.bookings),
            accounts=self._accounts(),
            tallies=tuple(tally.row() for tally in self.tallies.values()),
            creatives=tuple(creative.row() for creative in self.creatives.values()),
            refusals=tuple(RefusalRow(*key, times) for key, times in self.refusals.items()),
            grants=tuple(grant.row() for grant in self.grants.values()),
            dropped=tuple(self.dropped),
            seats=tuple(self.seats),
            orders=tuple(self.orders),
            held=tuple(self.held.values()),
            released=tuple(self.released),
            unattributed=tuple(self.unattributed.values()),
            lateness=tuple(self.lateness.values()),
            paces=tuple(self.paces.values()),
        )
        return Effects(
            tuple(self.settlements),
            tuple(self.leases),
            rows,
            tuple(self.exposures),
            tuple(self.creative_counts),
            tuple(self.line_counts),
        )

    def _accounts(self) -> tuple[AccountRow, ...]:
        """Rows of accounts that differ from what was last written: a lease alone changes none."""
        rows = []
        for account in self.touched.values():
            row = account.row()
            if row != account.written:
                account.written = row
                rows.append(row)
        return tuple(rows)


def is_late(notice: Notice) -> bool:
    """Whether a notice came after the end of its bid's reservation."""
    return notice.at_ns > notice.liable_until_ns


def bid_at_ns(notice: Notice) -> int:
    """When the bid was made, or where that is not said when it was first noticed."""
    return notice.bid_at_ns or notice.at_ns


def settlement_of(notice: Notice, kind: SettlementKind, amount_nanos: int) -> Settlement:
    """What the seat that made the bid is told of a notice."""
    return Settlement(
        kind=kind,
        seat=notice.seat,
        epoch=notice.epoch,
        bid_id=notice.bid_id,
        campaign_id=notice.campaign_id,
        amount_nanos=amount_nanos,
        late=is_late(notice),
        line_item_id=notice.line_item_id,
        bid_at_ns=bid_at_ns(notice),
        impressions=notice.impressions,
        at_ns=notice.at_ns,
    )


def exposure_of(notice: Notice, advertiser: str) -> PlacedExposure:
    """That a known user was shown an impression."""
    exposure = Exposure(
        bid_id=notice.bid_id,
        user=key_text(notice.user),
        line_item_id=line_item_of(notice),
        campaign_id=notice.campaign_id,
        advertiser=advertiser,
        at_ns=notice.at_ns,
    )
    return PlacedExposure(exposure, notice.partition)


def booking_of(
    notice: Notice,
    now_ns: int,
    keep_ns: int,
    line_item_id: str,
    advertiser: str,
    *,
    amount_nanos: int,
    unbilled: bool,
    accounts: str,
    touch: tuple[int, int],
) -> Booking:
    """The row of a notice that was taken; see `Booking` for each field. `keep_ns`: how long a repeat is known.

    `touch`: what a conversion counts for, and when that was; zeros of other kinds.
    """
    return Booking(
        notice.bid_id,
        int(notice.kind),
        notice.event_id if notice.kind is NoticeKind.CONVERSION else "",
        notice.campaign_id,
        notice.seat,
        notice.epoch,
        notice.price_nanos,
        amount_nanos,
        notice.value_nanos,
        notice.at_ns,
        now_ns,
        is_late(notice),
        unbilled,
        notice.liable_until_ns + keep_ns,
        line_item_id,
        notice.creative_id,
        bid_at_ns(notice),
        notice.impressions,
        accounts,
        notice.exchange,
        notice.advertiser_id or advertiser,
        notice.fees_nanos if amount_nanos else 0,
        key_text(notice.user) if notice.user else "",
        *touch,
    )


def line_item_of(notice: Notice) -> str:
    """Id of the line item: the campaign's where the campaign is its own."""
    return notice.line_item_id or notice.campaign_id
