"""The bank's shell: messages in, rows and offsets in one transaction, messages out.

The order of each batch:

    poll -> apply -> write rows, consumed offsets and outbox in one transaction -> publish -> flush
         -> commit offsets to the broker, strike the outbox

A crash anywhere is mended by starting again, since the books' own offsets rule and not the broker's: what was
written is not written again (its offsets are behind), what was written and not told is told again (the outbox),
what was not written is read again. `BankService` is plain calls, so that a simulation can drive it on virtual
time; `runtime.bank_loop` drives it, or the services of several shards (`runtime.bank_shards`), on an event loop.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

from bidder.config import Config
from bidder.core.attribution import longest_windows
from bidder.core.bank import Bank, CampaignReport
from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bookings import Rows, Since
from bidder.core.brakes import WINDOW_S
from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.effects import Effects
from bidder.core.guard import Guard
from bidder.core.messages import (
    BRAKE_KEY,
    CAMPAIGNS,
    CREATIVES,
    EXPOSURES,
    LEASES,
    NOTICES,
    SETTLEMENTS,
    SLICES,
    VERSION,
    AdvertiserChange,
    Brake,
    CampaignChange,
    Conversion,
    CreativeCounts,
    Lease,
    LineCounts,
    Notice,
    Settlements,
    SliceReport,
    encode,
    in_bulk,
)
from bidder.core.settings import NS_PER_SECOND, EngineSettings
from bidder.core.shards import WHOLE, Shard, shard_of
from bidder.errors import InvariantError
from bidder.runtime.transport import Message, Outbound
from bidder.store.books import Batch, Books, BooksTaken, Letter, Start
from bidder.store.brakes import BrakeStore
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from bidder.store.pruning import OLDEST_REQUEST_NS

_log = logging.getLogger(__name__)

BANK_TOPICS = (NOTICES, SLICES)
BANK_GROUP = "clearbid-bank"
MAX_BATCH = 5_000
_TICKS_A_LEASE = 40
_Record = Notice | Conversion | SliceReport
_KEEP_PLACE_NS = NS_PER_SECOND
"""How often it is written up to where `slices` were read while nothing else is."""


def bank_rules(config: Config, speedup: float = 1.0) -> BankRules:
    """The rules that a configuration states, for a clock that runs `speedup` times as fast as the wall.

    A lease lasts at least 40 ticks of the wall, whatever the clock: else a fast clock would let every lease
    end between two of its renewals.
    """
    bank = config.bank
    tick_ns = int(bank.tick_seconds * speedup * NS_PER_SECOND)
    return BankRules(
        lease_ns=max(int(bank.lease_seconds * NS_PER_SECOND), _TICKS_A_LEASE * tick_ns),
        longest_reservation_ns=int(config.longest_reservation_seconds * NS_PER_SECOND),
        margin_ns=int(bank.margin_seconds * NS_PER_SECOND),
        min_chunk_bids=bank.min_chunk_bids,
        accept_ns=bank.late_event_hours * HOUR_NS,
        conversion_ns=bank.conversion_days * 24 * HOUR_NS,
        late_share_ppm=None if isinstance(bank.late_reserve, str) else round(bank.late_reserve * 1e6),
        late_quantile_ppm=round(bank.late_quantile * 1e6),
        late_start_ppm=round(bank.late_start * 1e6),
        late_floor_ppm=round(bank.late_floor * 1e6),
        late_ceiling_ppm=round(bank.late_ceiling * 1e6),
        late_window_hours=bank.late_window_hours,
        late_tail_ns=int(bank.late_tail_seconds * NS_PER_SECOND),
        discrepancy_ppm=EngineSettings(exchanges=config.exchanges).highest_discrepancy_ppm,
        brakes=config.brakes,
    )


class Stated(NamedTuple):
    """All campaigns and advertisers by id, and the version of which they are at least."""

    version: int
    campaigns: dict[str, Campaign]
    advertisers: dict[str, Advertiser]

    @classmethod
    def read(cls, store: CampaignStore) -> "Stated":
        """As they are in the store."""
        version = store.version()  # before the campaigns: one that changes in between is told twice
        return cls(version, store.all(), store.advertisers())


class BankService:
    """A bank on its books, or on one shard of them.

    A failure to write leaves memory ahead of the books: from then on every call is refused, and a new service
    must be opened.

    Args:
        bank: built from the books.
        books: claimed by this process.
        stores: where campaigns and brakes change.
        stated: the campaigns that the bank was built with, those of other shards among them.
        now_ns: the time of the start; for one lease from then nothing is freed, so that notices that came
            while no bank ran are read first. After the number of shards changed nothing is for `BankRules.stray_ns`,
            and no seat is told up to when all was heard: a notice may wait in the partition of another shard, and is
            sent on from there.
        shard: whose advertisers are the bank's.
    """

    def __init__(
        self,
        bank: Bank,
        books: Books,
        stores: tuple[CampaignStore, BrakeStore],
        stated: Stated,
        now_ns: int,
        shard: Shard = WHOLE,
    ) -> None:
        self.bank = bank
        self.shard = shard
        self._books = books
        self._campaigns, self._brakes = stores
        self._version = self._brake_version = stated.version
        self._advertisers = {each.id: each.advertiser for each in stated.campaigns.values()}
        self._offsets = books.offsets()
        self._kept = dict(self._offsets)
        self._keep_place_ns = now_ns
        self._hold_until_ns = now_ns + bank.rules.lease_ns
        shared_ns, self._word_until_ns = books.shared_ns(), 0
        if shared_ns is not None:
            self._word_until_ns = shared_ns + bank.rules.stray_ns
            self._hold_until_ns = max(self._hold_until_ns, self._word_until_ns)
        self._read: msgspec.json.Decoder[_Record] = msgspec.json.Decoder(_Record)
        self._posted, _ = books.outbox()
        self._sent = 0
        self._untold = self._posted > 0
        self._broken = False
        self._warned = False

    @classmethod
    def open(
        cls,
        database: Database,
        rules: BankRules,
        now_ns: int,
        shard: Shard = WHOLE,
        stated: Stated | None = None,
        guard: Guard | None = None,
    ) -> "BankService":
        """Claims the shard and rebuilds the bank from the books: a first start, one after a crash, a takeover alike.

        Args:
            database: where the books are.
            rules: of the bank.
            now_ns: the time.
            shard: which; by default all of the books.
            stated: the campaigns, where they were read already, but for nothing that changed since.
            guard: of all shards of this process, where it may hold several.
        """
        books, campaigns, brakes = Books(database, shard), CampaignStore(database), BrakeStore(database)
        books.claim(now_ns)
        stated = stated or Stated.read(campaigns)
        ours = {each.id: each for each in stated.campaigns.values() if shard.owns(each.advertiser)}
        since = since_of(rules, ours.values(), now_ns)
        advertisers = {own_id: each for own_id, each in stated.advertisers.items() if shard.owns(own_id)}
        stopped = brakes.all().values()
        with books.loading(now_ns, _whose(stated.campaigns.values()), since) as state:
            bank = Bank(rules, ours, state, advertisers, stopped, guard=guard, shard=shard)
        return cls(bank, books, (campaigns, brakes), stated, now_ns, shard)

    def restate(self, now_ns: int) -> list[Outbound]:
        """All that counts, and what may not have been told: at a start, or after a failed send.

        Brakes, advertisers and campaigns, live leases, and what is counted of creatives.
        """
        self._posted, letters = self._books.outbox()
        self._untold |= bool(letters)
        told = [_change_message(brake) for brake in self._brakes.all().values()]
        told += [_change_message(change) for change in self._campaigns.changes_since(0) if self._ours(change)]
        told += [_lease_message(lease) for lease in self.bank.live_leases(now_ns)]
        told += [_outbound(_counts_letter(counts)) for counts in self.bank.creative_counts()]
        told += [_outbound(_line_letter(counts)) for counts in self.bank.line_counts()]
        return told + [_outbound(letter) for letter in letters]

    def on_messages(self, messages: Sequence[Message], now_ns: int) -> list[Outbound]:
        """Books a batch; what it returns is to be published.

        A message below the offset that the books have is one that they may know: it changes nothing that is
        booked, and counts nowhere. One that they do not know, since the broker lost its log and began again,
        is taken all the same, but for a request for an epoch that is so old that its start may be pruned.
        """
        before: list[_Record] = []
        new: list[_Record] = []
        strays: list[Letter] = []
        malformed = 0
        self._check_whole()
        ends = self._offsets
        for message in messages:
            place = (message.topic, message.partition)
            known = message.offset < ends.get(place, 0)
            record = self._decode(message)
            home = self.shard.number if record is None else self._home(record)
            if record is None:
                malformed += not known
            elif home != self.shard.number:
                strays.append(Letter(NOTICES, message.key, message.value, home))
            elif not _is_bygone(record, now_ns):
                (before if known else new).append(record)
            ends[place] = max(ends.get(place, 0), message.offset + 1)
        epochs = self._epochs(before + new)
        self._recall(self.bank.forgotten(before + new, now_ns), now_ns)
        steps = [self.bank.apply(before, now_ns, redelivered=True, epochs=epochs)] if before else []
        steps.append(self.bank.apply(new, now_ns, epochs=epochs))
        if malformed:
            steps.append(self.bank.count_malformed(malformed))
        letters = _letters(steps) + strays
        rows = _rows(steps)
        # Up to where `slices` were read may be written later: reading them again changes nothing.
        if rows or letters or any(topic != SLICES for topic, _ in self._moved()):
            self._write(Batch(rows, letters=letters))
        self._untold |= bool(letters)
        return [_outbound(letter) for letter in letters]

    def on_tick(
        self, now_ns: int, seen_until_ns: int | None = None, told_until_ns: int | None = None
    ) -> list[Outbound]:
        """Takes changed campaigns and advertisers, frees, grants and renews; what it returns is to be published.

        Args:
            now_ns: the time now.
            seen_until_ns: all notices up to this time have been applied; by default `now_ns`. Leases count
                from then, and nothing is freed that a waiting notice might still post.
            told_until_ns: trackers had written all that they took up to this time (`core.lowwater`); by default that
                is not asked. Nothing is freed that what they keep might still post.
        """
        self._check_whole()
        self._warn_of_tail()
        for trip in self.bank.tripped(now_ns):
            self._brakes.trip(trip)
        brakes = self._brakes.since(self._brake_version)
        since = self._campaigns.changes_since(self._version)
        for change in since:
            if isinstance(change, CampaignChange) and change.campaign is not None:
                self._advertisers[change.campaign_id] = change.campaign.advertiser
        changes = [change for change in since if self._ours(change)]
        steps = [self.bank.adopt([*brakes, *changes])] if brakes or changes else []
        seen_ns = now_ns if seen_until_ns is None else seen_until_ns
        self._recall(self.bank.forgotten_waiting(now_ns, seen_ns), now_ns)
        told_ns = seen_ns if told_until_ns is None else min(seen_ns, told_until_ns)
        free = now_ns >= self._hold_until_ns
        steps.append(self.bank.tick(now_ns, seen_ns, told_until_ns=told_ns, free=free))
        rows, letters = _rows(steps), _letters(steps)
        if rows or letters or (now_ns >= self._keep_place_ns and self._moved()):
            self._write(Batch(rows, letters=letters))
            self._keep_place_ns = now_ns + _KEEP_PLACE_NS
        # Each has its own: another may change between the two looks.
        if brakes:
            self._brake_version = brakes[-1].version
        if since:
            self._version = since[-1].version
        told = [_change_message(change) for change in (*brakes, *changes)]
        told += [_lease_message(lease) for step in steps for lease in step.leases]
        if not self._untold and not letters and now_ns >= self._word_until_ns:
            # Behind what was acknowledged, in the same partition: a seat hears no mark before what it is about.
            for mark in self.bank.marks(now_ns, told_ns):
                ours = msgspec.structs.replace(mark, shard=self.shard.number, shards=self.shard.of)
                told.append(_outbound(_settlements_letter(ours)))
        self._untold |= bool(letters)
        return told + [_outbound(letter) for letter in letters]

    def published(self) -> None:
        """Notes that all returned so far was acknowledged; the outbox is struck with the next write."""
        self._sent = self._posted
        self._untold = False

    def close(self) -> None:
        """Strikes what was acknowledged from the outbox, and writes up to where was read."""
        if not self._broken and (self._sent or self._moved()):
            self._write(Batch())

    def assign(self, partitions: frozenset[int], now_ns: int) -> list[Outbound]:  # noqa: ARG002 - see `bank_loop.Banking`
        """See `bank_loop.Banking`: whoever runs it gives it all that its shard is about."""
        return []

    def holds(self, partition: int) -> bool:  # noqa: ARG002 - see `bank_loop.Banking`
        """See `bank_loop.Banking`."""
        return True

    def adrift(self) -> BooksTaken | None:
        """See `bank_loop.Banking`: a shard that is lost raises."""
        return None

    def resume(self) -> dict[tuple[str, int], int]:
        """Up to where `slices` were read."""
        return {place: offset for place, offset in self._offsets.items() if place[0] == SLICES}

    def owned(self) -> bool:
        """Whether the shard is still this service's and the service can go on."""
        return not self._broken and self._books.owns()

    def report(self) -> list[CampaignReport]:
        """The books by campaign; by line item and by budget the bank has them."""
        return self.bank.report()

    def verify(self) -> None:
        """Raises `InvariantError` where the bookings do not add up to the accounts."""
        self.bank.check()
        self._books.verify()

    def _decode(self, message: Message) -> _Record | None:
        try:
            record = self._read.decode(message.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return record if record.v == VERSION else None

    def _home(self, record: _Record) -> int:
        """The shard that a record is for: this one, unless a notice is of an advertiser of another.

        Such a notice was keyed by who did not know its advertiser, or when there were more or fewer shards.
        """
        if self.shard.of == 1 or isinstance(record, SliceReport):
            return self.shard.number
        named = record.campaign_id if isinstance(record, Notice) else ""
        advertiser = self._advertisers.get(named) or record.advertiser_id
        return shard_of(advertiser, self.shard.of) if advertiser else self.shard.number

    def _ours(self, change: CampaignChange | AdvertiserChange) -> bool:
        if isinstance(change, AdvertiserChange):
            return self.shard.owns(change.advertiser_id)
        return self.shard.owns(self._advertisers.get(change.campaign_id, ""))

    def _epochs(self, records: Sequence[_Record]) -> dict[tuple[str, str], int]:
        """The epochs of starts that this bank has not heard of, which every bank must call the same."""
        new = self.bank.new_starts(each for each in records if isinstance(each, SliceReport))
        starts = [Start(each.seat, each.start_id, each.epoch == 0) for each in new]
        return self._books.number(starts) if starts else {}

    def _recall(self, bid_ids: Collection[str], now_ns: int) -> None:
        """Tells the bank what the books have of bids that it remembers no more."""
        if bid_ids:
            self.bank.recall(bid_ids, self._books.past(bid_ids), now_ns)

    def _moved(self) -> dict[tuple[str, int], tuple[int, int]]:
        """By place, from where to where was read since the last write."""
        kept = self._kept
        return {
            place: (kept.get(place, 0), end)
            for place, end in self._offsets.items()
            if end != kept.get(place, 0)
        }

    def _warn_of_tail(self) -> None:
        """Says once, and loudly, that billings come later than the setting says."""
        tail = self.bank.late_tail
        if self._warned or not tail.too_short:
            return
        self._warned = True
        _log.error(
            "late_tail_seconds in [bank] must be as long as billings come late, was %d: of %d late billings %d came "
            "later, the last after %d s; raise it, or what is kept back for them is leased before they come",
            self.bank.rules.late_tail_ns // NS_PER_SECOND,
            tail.billings,
            tail.beyond,
            tail.longest_ns // NS_PER_SECOND,
        )

    def _check_whole(self) -> None:
        if self._broken:
            raise InvariantError(
                "the bank's memory is ahead of its books since a write failed: start it again"
            )

    def _write(self, batch: Batch) -> None:
        self._check_whole()
        self._broken = True
        batch = batch._replace(offsets=self._moved(), sent=self._sent)
        self._posted = self._books.write(batch) or self._posted
        self._broken = False
        self._sent = 0
        self._kept = dict(self._offsets)


def _is_bygone(record: _Record, now_ns: int) -> bool:
    """Whether it asks for an epoch and is so old that the books may have forgotten its start (`store.pruning`)."""
    asks = isinstance(record, SliceReport) and record.epoch == 0
    return asks and record.at_ns < now_ns - OLDEST_REQUEST_NS


def _whose(campaigns: Iterable[Campaign]) -> dict[str, str]:
    """The advertiser of each campaign and line item, as `store.loading` asks for it."""
    whose = {}
    for campaign in campaigns:
        whose[campaign.id] = campaign.advertiser
        whose.update({f"l/{item.id}": campaign.advertiser for item in campaign.line_items})
    return whose


def since_of(rules: BankRules, campaigns: Iterable[Campaign], now_ns: int) -> Since:
    """From when on a bank that starts now wants to know of bids."""
    longest = longest_windows(campaigns)
    back_ns = (
        rules.remember_ns,
        rules.touch_ns(longest.view_ns),
        rules.touch_ns(longest.click_ns),
        WINDOW_S * NS_PER_SECOND,
        rules.longest_reservation_ns + rules.keep_ns,
    )
    return Since(*(max(0, now_ns - each) for each in back_ns))


def _rows(steps: Sequence[Effects]) -> list[Rows]:
    return [step.rows for step in steps if step.rows]


def _letters(steps: Sequence[Effects]) -> list[Letter]:
    """What must be told in any case, in the order in which it happened."""
    bulk = in_bulk(settlement for step in steps for settlement in step.settlements)
    letters = [_settlements_letter(settlements) for settlements in bulk]
    for step in steps:
        letters += [
            Letter(EXPOSURES, placed.exposure.user.encode(), encode(placed.exposure), placed.partition)
            for placed in step.exposures
        ]
        letters += [_counts_letter(counts) for counts in step.creative_counts]
        letters += [_line_letter(counts) for counts in step.line_counts]
    return letters


def _settlements_letter(settlements: Settlements) -> Letter:
    return Letter(SETTLEMENTS, settlements.seat.encode(), encode(settlements))


def _counts_letter(counts: CreativeCounts) -> Letter:
    return Letter(CREATIVES, f"{counts.campaign_id}/{counts.creative_id}".encode(), encode(counts))


def _line_letter(counts: LineCounts) -> Letter:
    # A line item's id is one of all, and no key of a creative has a second slash.
    return Letter(CREATIVES, f"line/{counts.campaign_id}/{counts.line_item_id}".encode(), encode(counts))


def _outbound(letter: Letter) -> Outbound:
    partition = letter.partition if letter.partition >= 0 else None
    return Outbound(letter.topic, letter.key, letter.value, partition)


def _lease_message(lease: Lease) -> Outbound:
    # The topic is compacted to the last message of a key: so a key is one lease and not all of a seat's.
    return Outbound(LEASES, f"{lease.seat} {lease.account_id}".encode(), encode(lease))


def _change_message(change: CampaignChange | AdvertiserChange | Brake) -> Outbound:
    if isinstance(change, Brake):
        return Outbound(CAMPAIGNS, BRAKE_KEY + change.name.encode(), encode(change))
    # No id of a campaign holds a slash, so an advertiser of its name has another key.
    key = f"advertiser/{change.advertiser_id}" if isinstance(change, AdvertiserChange) else change.campaign_id
    return Outbound(CAMPAIGNS, key.encode(), encode(change))
