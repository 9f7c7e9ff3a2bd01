"""Rows the bank keeps: what is written with the consumed offsets, and what a bank is rebuilt from.

The bank (`core.bank`) makes these and the store (`store.books`) keeps them; neither knows the other. A row of
a booking is written once; the other rows hold the latest absolute value, so that writing one twice changes
nothing.
"""

from collections.abc import Iterable
from typing import NamedTuple

from bidder.money import MAX_NANOS


class Booking(NamedTuple):
    """One notice that the bank took, unique by (bid_id, kind, event_id).

    Attributes:
        bid_id: the bid.
        kind: `NoticeKind` as a number.
        event_id: of a conversion; empty for the other kinds, which happen once a bid.
        campaign_id: whose money. seat: who made the bid. epoch: of that seat.
        price_nanos: as the notice stated it.
        amount_nanos: what was booked as spend; 0 where the notice is not the money event.
        value_nanos: what a conversion was worth.
        at_ns: when the tracker took it. booked_ns: when the bank did.
        late: whether it came after the end of its reservation.
        unbilled: whether a click or conversion came for a bid without booked spend.
        keep_until_ns: until when a repeat of this bid's notices must be recognised.
        line_item_id: whose bid it was; the campaign's id where the campaign is its own line item.
        creative_id: what was shown; empty where it is not known.
        bid_at_ns: when the bid was made; the day of what it charged.
        impressions: what it bought, in millionths.
        accounts: ids of the accounts that its spend was booked on beside the campaign's own, parted by spaces.
        exchange: who sold it; empty where its name fits no token. advertiser_id: whose budgets.
        fees_nanos: part of `amount_nanos` that is not the exchange's.
        user_key: of its user, as text; empty where that is not known or may not be kept.
        touch: of a conversion, the kind of notice that it counts for: CLICK or IMPRESSION; 0 of other kinds.
        touch_at_ns: when that was. goal: of a conversion, what the advertiser calls it.
    """

    bid_id: str
    kind: int
    event_id: str
    campaign_id: str
    seat: str
    epoch: int
    price_nanos: int
    amount_nanos: int
    value_nanos: int
    at_ns: int
    booked_ns: int
    late: bool
    unbilled: bool
    keep_until_ns: int
    line_item_id: str
    creative_id: str
    bid_at_ns: int
    impressions: int
    accounts: str
    exchange: str
    advertiser_id: str
    fees_nanos: int
    user_key: str = ""
    touch: int = 0
    touch_at_ns: int = 0
    goal: str = ""


class Had(NamedTuple):
    """What of a booking tells what its bid has had, see `Booking`."""

    bid_id: str
    kind: int
    event_id: str
    amount_nanos: int
    at_ns: int
    bid_at_ns: int


class Touched(NamedTuple):
    """What of the booking of a click or impression a conversion that counts for it takes over, see `Booking`."""

    bid_id: str
    kind: int
    at_ns: int
    bid_at_ns: int
    keep_until_ns: int
    user_key: str
    advertiser_id: str
    campaign_id: str
    line_item_id: str
    creative_id: str
    seat: str
    epoch: int
    exchange: str
    impressions: int


class Spent(NamedTuple):
    """What of a booking tells how fast money goes, see `Booking`."""

    campaign_id: str
    line_item_id: str
    advertiser_id: str
    amount_nanos: int
    bid_at_ns: int


class Since(NamedTuple):
    """From when on a bank wants to know what.

    Of bids made since: of all, of those seen, of those clicked, of those just paid. Days that ended since, beside
    those of which it was said when they were opened that they are to be kept until now.
    """

    bids_ns: int = 0
    seen_ns: int = 0
    clicked_ns: int = 0
    spent_ns: int = 0
    days_ns: int = MAX_NANOS


class AccountRow(NamedTuple):
    """One budget and what was booked on it, absolute; amounts in its unit (`core.budgets.Unit`).

    `late` is the part of `booked` that came late; `uncovered` the part for which no grant had room left. After
    `keep_until_ns` nothing can be booked on it any more. `advertiser_id` says whose it is.
    """

    account_id: str
    unit: int = 0
    limit_units: int = 0
    begin_ns: int = 0
    end_ns: int = MAX_NANOS
    booked: int = 0
    late: int = 0
    uncovered: int = 0
    keep_until_ns: int = MAX_NANOS
    advertiser_id: str = ""


class TallyRow(NamedTuple):
    """What came of the bids of one line item, absolute; `view_conversions` are those without a click."""

    campaign_id: str
    line_item_id: str
    spend_nanos: int = 0
    late_nanos: int = 0
    wins: int = 0
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    value_nanos: int = 0
    late_wins: int = 0
    unbilled: int = 0
    views: int = 0
    view_conversions: int = 0


class LateRow(NamedTuple):
    """An advertiser's bids of one hour, absolute: money spent, the part that came late or uncovered, and the wins.

    Late spend is in that part though a grant of the moment covered it: at a budget's end none would have.
    """

    advertiser_id: str
    hour: int
    spent_nanos: int = 0
    uncovered_nanos: int = 0
    wins: int = 0


class CreativeRow(NamedTuple):
    """How often a creative was shown, clicked and viewed, absolute."""

    campaign_id: str
    creative_id: str
    impressions: int = 0
    clicks: int = 0
    views: int = 0


class GrantRow(NamedTuple):
    """What one epoch of a seat was granted of one account, and what was posted against it; absolute."""

    account_id: str
    seat: str
    epoch: int
    granted: int
    posted: int
    bid_until_ns: int
    freed: bool


class SeatRow(NamedTuple):
    """One epoch of a seat, and the start that asked for it."""

    seat: str
    epoch: int
    start_id: str


class RefusalRow(NamedTuple):
    """How many notices of a campaign a rule refused; the campaign is empty where it is not known."""

    campaign_id: str
    rule: str
    times: int


class OrderRow(NamedTuple):
    """An order of an advertiser that was booked, on which bid, and until when a repeat of it is recognised."""

    advertiser_id: str
    order_id: str
    bid_id: str
    keep_until_ns: int


class HeldRow(NamedTuple):
    """A conversion that waits for its touch: the message as text, and until when."""

    message: str
    until_ns: int


class UnattributedRow(NamedTuple):
    """How many conversions of an advertiser count for no bid, what they were worth, and why; absolute."""

    advertiser_id: str
    reason: str
    times: int
    value_nanos: int


class PaceRow(NamedTuple):
    """How a seat last paced a budget in an hour of the week, in thousand-millionths; a week later written over."""

    account_id: str
    seat: str
    week_hour: int
    multiplier_ppb: int
    at_ns: int


class GrantKey(NamedTuple):
    """Names one grant."""

    account_id: str
    seat: str
    epoch: int


class Rows(NamedTuple):
    """All that one step of the bank must write, in one transaction with the offsets it consumed."""

    bookings: tuple[Booking, ...] = ()
    accounts: tuple[AccountRow, ...] = ()
    tallies: tuple[TallyRow, ...] = ()
    creatives: tuple[CreativeRow, ...] = ()
    refusals: tuple[RefusalRow, ...] = ()
    grants: tuple[GrantRow, ...] = ()
    dropped: tuple[GrantKey, ...] = ()
    seats: tuple[SeatRow, ...] = ()
    orders: tuple[OrderRow, ...] = ()
    held: tuple[HeldRow, ...] = ()
    released: tuple[str, ...] = ()
    unattributed: tuple[UnattributedRow, ...] = ()
    lateness: tuple[LateRow, ...] = ()
    paces: tuple[PaceRow, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return any(map(len, self))


class BankState(NamedTuple):
    """What a bank starts from: rows of the store.

    Accounts only where something may still be booked on them, orders only where a repeat may still come; seats with
    older epochs first. Of bookings what a bank needs of them: `bookings` of bids that it remembers (`core.bidbook`),
    `touches` that a conversion may count for (`core.touches`), `spent` of the last minute for the breaker; from when
    on, `since` says.
    """

    accounts: Iterable[AccountRow] = ()
    tallies: Iterable[TallyRow] = ()
    creatives: Iterable[CreativeRow] = ()
    refusals: Iterable[RefusalRow] = ()
    grants: Iterable[GrantRow] = ()
    seats: Iterable[SeatRow] = ()
    bookings: Iterable[Booking | Had] = ()
    touches: Iterable[Booking | Touched] = ()
    spent: Iterable[Booking | Spent] = ()
    orders: Iterable[OrderRow] = ()
    held: Iterable[HeldRow] = ()
    unattributed: Iterable[UnattributedRow] = ()
    lateness: Iterable[LateRow] = ()
    since: Since = Since()
