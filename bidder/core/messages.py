"""What the processes tell each other: one frozen struct for each kind of message, with a version.

| topic | from | to | key | message |
|---|---|---|---|---|
| bid-requests | exchange | bid | user | OpenRTB BidRequest, as is |
| bid-responses | bid | exchange | - (the request's partition) | OpenRTB BidResponse, as is |
| decisions | bid | analysts | - (the request's partition) | one JSON row an opportunity, see `core.call` |
| notices | track | bank | advertiser id, else campaign id | `Notice`, `Conversion` |
| settlements | bank | bid | seat | `Settlements` |
| leases | bank | bid | seat and account id | `Lease` (compacted) |
| slices | bid | bank | seat | `SliceReport` |
| campaigns | bank | bid | campaign id; `advertiser/ID` | `CampaignChange`, `AdvertiserChange` (compacted) |
| campaigns | bank | bid | `brake/NAME` | `Brake` (compacted) |
| exposures | bank | bid | - (the partition of the bid's request) | `core.exposures.Exposure` |
| profiles | anyone | bid | user | `core.profiles.Profile` |
| creatives | bank | bid | campaign and creative id | `CreativeCounts` (compacted) |
| funnel | bid, funnel | analysts | seat | `FunnelHour` |
| matches | bid | funnel | seat | one binary record a batch, see `core.matches` |
| trackers | track | bank | tracker | `TrackerMark` (compacted, one partition) |

All amounts are int64 nanos (`bidder.money`), all times int64 nanoseconds on the shared clock.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Annotated

import msgspec

from bidder.core.campaigns import Advertiser, Campaign, Identifier, Instant, Nanos
from bidder.core.users import UserText

VERSION = 1

AccountId = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=r"\A[A-Za-z0-9._:/-]+\Z")]
"""Name of a budget: a campaign's own id for its flight's money, else as `core.budgets` makes it."""

BidId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{16}\Z")]
"""Text of a bid id, as `bidder.core.token.bid_id_text` writes it."""

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\A[^\x00]+\Z")]
"""Name of a seat or a start: text without NUL, at most as long as a token takes."""

MAX_COUNT = 2**62
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
"""An epoch or a sequence number: fits an int64 column with room to add to it."""

OwnName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._:-]{0,64}\Z")]
"""Id of a line item or a creative; empty where it is the campaign's own, or not known."""

BRAKE_KEY = b"brake/"
"""Begin of the keys of brakes in the topic of campaigns; no id of a campaign holds a slash."""
ALL = "all"
"""Name of a brake that stops everybody."""
BrakeName = Annotated[str, msgspec.Meta(pattern=r"\A(all|[acl]/[A-Za-z0-9._:-]{1,64})\Z")]
"""Who is stopped: `all`, or an advertiser, campaign or line item, such as `a/acme`."""

EventId = Annotated[str, msgspec.Meta(max_length=64, pattern=r"\A[A-Za-z0-9._:-]*\Z")]
"""Tells events of one bid apart; may be empty."""

BID_REQUESTS = "bid-requests"
BID_RESPONSES = "bid-responses"
DECISIONS = "decisions"
NOTICES = "notices"
SETTLEMENTS = "settlements"
LEASES = "leases"
SLICES = "slices"
CAMPAIGNS = "campaigns"
EXPOSURES = "exposures"
PROFILES = "profiles"
CREATIVES = "creatives"
FUNNELS = "funnel"
MATCHES = "matches"
TRACKERS = "trackers"
TOPICS = (
    BID_REQUESTS, BID_RESPONSES, DECISIONS, NOTICES, SETTLEMENTS, LEASES, SLICES, CAMPAIGNS, EXPOSURES, PROFILES,
    CREATIVES, FUNNELS, MATCHES, TRACKERS,
)  # fmt: skip
COMPACTED = (LEASES, CAMPAIGNS, CREATIVES, TRACKERS)
"""Topics that keep the last message of each key: what stands there is how it is."""
GUARDED = (NOTICES, SETTLEMENTS, LEASES)
"""Topics of money: a message of theirs that was acknowledged must outlive the loss of a broker."""

ONE_IMPRESSION = 1_000_000
"""Impressions are counted in millionths: one bid may buy a fraction of them (`imp.qty.multiplier`)."""
MAX_IMPRESSIONS = 10**12
"""Most millionths that one bid may buy: a million impressions."""


MAX_USERS = 3
"""Ids of a user that one conversion may state: our own, an extended one, a device's."""


class NoticeKind(IntEnum):
    """What the outside world told us of one bid."""

    WIN = 1
    BILLING = 2
    LOSS = 3
    IMPRESSION = 4
    CLICK = 5
    CONVERSION = 6
    VIEW = 7


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Base of our own messages; `v` is the version of the layout."""

    v: int = VERSION


class Notice(Message, frozen=True, gc=False, tag="notice"):
    """One checked call of a tracking URL: from the tracker to the bank.

    `price_nanos` is what the bid cost in the account's currency (WIN, BILLING) and 0 else, at the rate and for the
    quantity in its token; `value_nanos` what a conversion was worth, 0 else; `event_id` tells repeats of the
    same conversion apart from new ones, `order_id` those of one order whichever bid they name. The line item's id is
    empty where it is the campaign's. `bid_at_ns` is when the bid was made, `impressions` what it
    bought in millionths, `partition` that of its request (-1: none), `user` the key of its user (0: not known or not
    to be kept). `result_until_ns` is until when its reservation waited to hear that it won (0: not said). `money` is
    the kind that books the spend of this bid, `fees_nanos` what is owed on top of
    `price_nanos`, and to others than the exchange.

    Every field is bounded to what the books can keep: a record outside cannot be read, and is counted, where
    else it would end the bank again at each start.
    """

    kind: NoticeKind
    bid_id: BidId
    campaign_id: Identifier
    seat: Label
    epoch: Count
    cap_nanos: Nanos
    price_nanos: Nanos
    value_nanos: Nanos
    event_id: EventId
    at_ns: Instant
    liable_until_ns: Instant
    line_item_id: OwnName = ""
    creative_id: OwnName = ""
    bid_at_ns: Instant = 0
    impressions: Annotated[int, msgspec.Meta(ge=0, le=MAX_IMPRESSIONS)] = ONE_IMPRESSION
    partition: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] = -1
    user: Annotated[int, msgspec.Meta(ge=0)] = 0
    advertiser_id: OwnName = ""
    exchange: Annotated[str, msgspec.Meta(max_length=120, pattern=r"\A[^\x00]*\Z")] = ""
    money: NoticeKind = NoticeKind.BILLING
    fees_nanos: Nanos = 0
    order_id: EventId = ""
    result_until_ns: Instant = 0

    @property
    def key(self) -> bytes:
        """Key of its record: whose root of budgets it is, so that one bank hears all of an advertiser."""
        return (self.advertiser_id or self.campaign_id).encode()

    @property
    def cost_nanos(self) -> int:
        """What the budgets of the line item pay: the price and its fees."""
        return self.price_nanos + self.fees_nanos

    def __post_init__(self) -> None:
        # Not by `Meta`, whose bounds are of int64.
        if self.user >= 2**64:
            raise ValueError(f"user must fit 64 bits, was {self.user}")


class Conversion(Message, frozen=True, gc=False, tag="conversion"):
    """One conversion that names who converted and no bid: from the tracker to the bank.

    `users` are the keys of every id that the call gave, the strongest first (`core.users.user_keys`); none where
    none was given, or where the user may not be followed, which `permitted` tells apart. `order_id` is unique for
    the advertiser; where the call stated none it is of the call itself, so that a record that is delivered twice
    counts once. `goal` is what the advertiser calls it. `at_ns` is when it happened, `arrived_ns` when we heard.
    """

    advertiser_id: Identifier
    order_id: Annotated[EventId, msgspec.Meta(min_length=1)]
    value_nanos: Nanos
    at_ns: Instant
    arrived_ns: Instant
    goal: OwnName = ""
    users: Annotated[tuple[UserText, ...], msgspec.Meta(max_length=MAX_USERS)] = ()
    permitted: bool = True

    @property
    def key(self) -> bytes:
        """Key of its record, as `Notice.key`."""
        return self.advertiser_id.encode()


class SettlementKind(IntEnum):
    """What the bank did with a notice, as the worker that holds the reservation must see it."""

    WON = 1
    POSTED = 2
    VOIDED = 3


class Settlement(Message, frozen=True, gc=False, tag="settlement"):
    """One booked notice, for the seat that made the bid; it travels as a row of `Settlements`.

    `amount_nanos` is what was booked (POSTED), else 0; it is charged to the budgets of the line item (empty: the
    campaign's own) on the day of `bid_at_ns`. `late` says that the notice came after the
    reservation's own end, by the times in the token. `at_ns` is when the tracker took it (0: not said).
    """

    kind: SettlementKind
    seat: str
    epoch: int
    bid_id: BidId
    campaign_id: str
    amount_nanos: Nanos
    late: bool
    line_item_id: str = ""
    bid_at_ns: Instant = 0
    impressions: int = ONE_IMPRESSION
    at_ns: Instant = 0

    def __post_init__(self) -> None:
        if (self.kind is SettlementKind.POSTED) != (self.amount_nanos > 0):
            raise ValueError(f"amount must be > 0 where posted and 0 else, was {self.amount_nanos}")


class SettlementRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One row of `Settlements`, a JSON array: the fields of `Settlement` but for seat and epoch."""

    kind: SettlementKind
    bid_id: str
    campaign_id: str
    line_item_id: str
    amount_nanos: Nanos
    late: bool
    bid_at_ns: Instant
    impressions: int
    at_ns: Instant = 0


class Settlements(Message, frozen=True, tag="settlements"):
    """What the bank booked of one epoch of a seat, in order: many rows in one record.

    `heard_until_ns`: all notices of this epoch up to then, by any clock of ours, were booked or refused, and what
    came of them was told in this record or before it; 0 where it says nothing of that. A reservation that ended
    before may be freed: its billing cannot come in time any more. Where banks share the advertisers that is the word
    of one of their `shards`, and a seat that bids for all of them waits for the slowest.
    """

    seat: str
    epoch: int
    rows: tuple[SettlementRow, ...]
    heard_until_ns: Instant = 0
    shard: Annotated[int, msgspec.Meta(ge=0)] = 0
    shards: Annotated[int, msgspec.Meta(gt=0)] = 1

    def each(self) -> list[Settlement]:
        """The rows with their seat and epoch; raises `ValueError` where an amount contradicts its kind."""
        return [
            Settlement(
                kind=row.kind,
                seat=self.seat,
                epoch=self.epoch,
                bid_id=row.bid_id,
                campaign_id=row.campaign_id,
                amount_nanos=row.amount_nanos,
                late=row.late,
                line_item_id=row.line_item_id,
                bid_at_ns=row.bid_at_ns,
                impressions=row.impressions,
                at_ns=row.at_ns,
            )
            for row in self.rows
        ]


def in_bulk(settlements: Iterable[Settlement], most: int = 500) -> list[Settlements]:
    """Settlements as few records of at most `most` rows: by seat and epoch, in order within each."""
    rows: dict[tuple[str, int], list[SettlementRow]] = {}
    for one in settlements:
        rows.setdefault((one.seat, one.epoch), []).append(
            SettlementRow(
                one.kind,
                one.bid_id,
                one.campaign_id,
                one.line_item_id,
                one.amount_nanos,
                one.late,
                one.bid_at_ns,
                one.impressions,
                one.at_ns,
            )
        )
    return [
        Settlements(seat=seat, epoch=epoch, rows=tuple(of_seat[first : first + most]))
        for (seat, epoch), of_seat in rows.items()
        for first in range(0, len(of_seat), most)
    ]


class Lease(Message, frozen=True, gc=False, tag="lease"):
    """What one seat may spend of one budget; absolute, so that a repeat changes nothing.

    Amounts are nanos, or millionths of an impression where the account is one of impressions (`core.budgets`).

    `start_id` is the one that the seat asked with: a worker takes no lease of another start.
    `granted_nanos` is everything granted to this seat in this epoch since it began: the seat may spend
    granted - posted - reserved. It grows while `bid_until_ns` stays, and may be lower only where that moves on;
    a lease with an earlier one is of the past. `bid_until_ns` ends bidding where the bank falls silent.
    `budget_nanos` and `spent_nanos` are of the whole account, over all seats, for pacing; `seats` is how many
    share it. `held`: reservations of this epoch end when the bank says that it has heard all of their time
    (`Settlements.heard_until_ns`), not by the seat's own clock.
    """

    seat: str
    epoch: Annotated[int, msgspec.Meta(gt=0, le=MAX_COUNT)]
    start_id: str
    account_id: AccountId
    granted_nanos: Nanos
    bid_until_ns: Instant
    budget_nanos: Nanos
    spent_nanos: Nanos
    seats: Annotated[int, msgspec.Meta(gt=0)]
    held: bool = False


class SliceRow(msgspec.Struct, frozen=True, gc=False):
    """One account of a seat: absolute counters of this epoch, in its unit."""

    account_id: AccountId
    granted_nanos: Nanos
    reserved_nanos: Nanos
    posted_nanos: Nanos


class Brake(Message, frozen=True, gc=False, tag="brake"):
    """That a name may not bid, or may again: from the store to every worker. The one of the highest version holds.

    `until_ns` is when it ends by itself, 0 where somebody must let it go. `tripped` says that a breaker did it, and
    not a person.
    """

    version: Count
    name: BrakeName
    stopped: bool
    at_ns: Instant
    until_ns: Instant = 0
    tripped: bool = False


class Trip(msgspec.Struct, frozen=True, gc=False):
    """What a breaker found: `nanos` in a minute where `limit` are allowed; it holds until `until_ns`."""

    name: BrakeName
    at_ns: Instant
    until_ns: Instant
    nanos: Annotated[int, msgspec.Meta(ge=0)]
    limit: Nanos


class Pace(msgspec.Struct, frozen=True, gc=False):
    """How a seat paces a budget: its multiplier in thousand-millionths; its inverse is what the next nano brings."""

    account_id: AccountId
    multiplier_ppb: Count


class SliceReport(Message, frozen=True, tag="slices"):
    """What a seat did with its leases: from the worker to the bank, on each tick and at its start.

    `seq` counts the reports of an epoch; the bank ignores one that is not newer than the last it took. A seat
    asks for an epoch with `epoch=0`, `seq=0` and a fresh `start_id`; the bank answers by leases of a new
    epoch for that `start_id` and of no older one. A report that is not `whole` leaves out the accounts that stand
    as they were told before: with ten thousand line items few change between two ticks. `trips` are those of its
    breaker that the seat was not told of yet: they are said again until it is. `paces` stand in whole reports: of
    budgets that are paced and had opportunities.
    """

    seat: Label
    epoch: Count
    seq: Count
    start_id: Label
    at_ns: Instant
    rows: tuple[SliceRow, ...]
    whole: bool = True
    trips: tuple[Trip, ...] = ()
    paces: tuple[Pace, ...] = ()


class TrackerMark(Message, frozen=True, gc=False, tag="tracker"):
    """Up to when a tracker has brought all notices that it took to the broker, see `core.lowwater`.

    `left` says that it ended with nothing kept.
    """

    tracker: Label
    until_ns: Instant
    left: bool = False


class CampaignChange(Message, frozen=True, tag="campaign"):
    """One campaign as it now is: from the store to every worker. `None` means that it was removed."""

    version: int
    campaign_id: str
    campaign: Campaign | None


class AdvertiserChange(Message, frozen=True, tag="advertiser"):
    """One advertiser as it now is. `None` means that nothing is stated of it any more."""

    version: int
    advertiser_id: str
    advertiser: Advertiser | None


class CreativeCounts(Message, frozen=True, gc=False, tag="creative"):
    """How often a creative was shown, viewed and clicked, over all seats and absolute: to choose between them."""

    campaign_id: Identifier
    creative_id: Identifier
    impressions: Count
    clicks: Count
    views: Count = 0


class LineCounts(Message, frozen=True, gc=False, tag="line"):
    """What came of a line item, over all seats and absolute: for targets of cost and return.

    The line item's id is empty where it is the campaign's own. `value_nanos` is of its conversions.
    """

    campaign_id: Identifier
    line_item_id: OwnName
    spend_nanos: Nanos
    clicks: Count
    conversions: Count
    value_nanos: Nanos


class FunnelRow(msgspec.Struct, frozen=True, gc=False):
    """Where opportunities ended for one line item, see `core.funnel`; `refused` by dimension, 0 left out."""

    line_item_id: Identifier
    asked: Count
    refused: dict[str, Count]
    stages: dict[str, Count]


class FunnelHour(Message, frozen=True, tag="funnel"):
    """What one start of a seat counted in an hour that began at `hour_ns`, or in a part of it; rows add up.

    A line item of which nothing was counted has no row. Parts are numbered within a start: one that comes again is
    known by `start_id` and `part`.
    """

    seat: Label
    start_id: Label
    part: Count
    hour_ns: Instant
    rows: tuple[FunnelRow, ...]


_encoder = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """The message as JSON with its kind and version."""
    return _encoder.encode(message)
