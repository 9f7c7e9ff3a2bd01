"""The bank's shell: messages in, rows and offsets in one transaction, messages out.

The order of each batch:

    poll -> apply -> write rows, consumed offsets and outbox in one transaction -> publish -> flush
         -> commit offsets to the broker, strike the outbox

A crash anywhere is mended by starting again, since the books' own offsets rule and not the broker's: what was
written is not written again (its offsets are behind), what was written and not told is told again (the outbox),
what was not written is read again. `BankService` is plain calls, so that a simulation can drive it on virtual
time; `run_bank` drives it on an event loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from bidder.config import Config
from bidder.core.bank import Bank, CampaignReport
from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bookings import Rows
from bidder.core.effects import Effects
from bidder.core.messages import (
    CAMPAIGNS,
    CREATIVES,
    EXPOSURES,
    LEASES,
    NOTICES,
    SETTLEMENTS,
    SLICES,
    VERSION,
    AdvertiserChange,
    CampaignChange,
    Conversion,
    CreativeCounts,
    Lease,
    Notice,
    Settlements,
    SliceReport,
    encode,
    in_bulk,
)
from bidder.core.settings import NS_PER_SECOND
from bidder.errors import DeliveryError, InvariantError
from bidder.runtime.clock import Clock
from bidder.runtime.transport import MarkedSource, Message, Outbound, Sink
from bidder.store.books import Batch, Books, Letter
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database

BANK_TOPICS = (NOTICES, SLICES)
BANK_GROUP = "clearbid-bank"
MAX_BATCH = 5_000
_TICKS_A_LEASE = 40

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_Record = Notice | Conversion | SliceReport


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
    )


class BankService:
    """A bank on its books.

    A failure to write leaves memory ahead of the books: from then on every call is refused, and a new service
    must be opened.

    Args:
        bank: built from the books.
        books: claimed by this process.
        campaigns: where campaigns change.
        version: of the campaigns that the bank was built with.
        now_ns: the time of the start; for one lease from then nothing is freed, so that notices that came
            while no bank ran are read first.
    """

    def __init__(self, bank: Bank, books: Books, campaigns: CampaignStore, version: int, now_ns: int) -> None:
        self.bank = bank
        self._books = books
        self._campaigns = campaigns
        self._version = version
        self._offsets = books.offsets()
        self._hold_until_ns = now_ns + bank.rules.lease_ns
        self._read: msgspec.json.Decoder[_Record] = msgspec.json.Decoder(_Record)
        self._posted, _ = books.outbox()
        self._sent = 0
        self._untold = self._posted > 0
        self._broken = False

    @classmethod
    def open(cls, database: Database, rules: BankRules, now_ns: int) -> "BankService":
        """Claims the books and rebuilds the bank from them: a first start and one after a crash alike."""
        books, campaigns = Books(database), CampaignStore(database)
        books.claim()
        version = campaigns.version()  # before the campaigns: one that changes in between is told twice
        bank = Bank(rules, campaigns.all(), books.load(now_ns), campaigns.advertisers())
        return cls(bank, books, campaigns, version, now_ns)

    def restate(self, now_ns: int) -> list[Outbound]:
        """All that counts, and what may not have been told: at a start, or after a failed send.

        Advertisers and campaigns, live leases, and what is counted of creatives.
        """
        self._posted, letters = self._books.outbox()
        self._untold |= bool(letters)
        told = [_change_message(change) for change in self._campaigns.changes_since(0)]
        told += [_lease_message(lease) for lease in self.bank.live_leases(now_ns)]
        told += [_outbound(_counts_letter(counts)) for counts in self.bank.creative_counts()]
        return told + [_outbound(letter) for letter in letters]

    def on_messages(self, messages: Sequence[Message], now_ns: int) -> list[Outbound]:
        """Books a batch; what it returns is to be published.

        A message below the offset that the books have is one that they may know: it changes nothing that is
        booked, and counts nowhere. One that they do not know, since the broker lost its log and began again,
        is taken all the same.
        """
        before: list[_Record] = []
        new: list[_Record] = []
        malformed = 0
        ends = dict(self._offsets)
        for message in messages:
            place = (message.topic, message.partition)
            known = message.offset < ends.get(place, 0)
            record = self._decode(message)
            if record is not None:
                (before if known else new).append(record)
            elif not known:
                malformed += 1
            ends[place] = max(ends.get(place, 0), message.offset + 1)
        steps = [self.bank.apply(before, now_ns, redelivered=True)] if before else []
        steps.append(self.bank.apply(new, now_ns))
        if malformed:
            steps.append(self.bank.count_malformed(malformed))
        letters = _letters(steps)
        moved = {
            place: (self._offsets.get(place, 0), end)
            for place, end in ends.items()
            if end != self._offsets.get(place, 0)
        }
        rows = _rows(steps)
        if rows or moved or letters:
            self._write(Batch(rows, moved, letters))
            self._offsets = ends
        self._untold |= bool(letters)
        return [_outbound(letter) for letter in letters]

    def on_tick(self, now_ns: int, seen_until_ns: int | None = None) -> list[Outbound]:
        """Takes changed campaigns and advertisers, frees, grants and renews; what it returns is to be published.

        Args:
            now_ns: the time now.
            seen_until_ns: all notices up to this time have been applied; by default `now_ns`. Leases count
                from then, and nothing is freed that a waiting notice might still post.
        """
        changes = self._campaigns.changes_since(self._version)
        steps = [self.bank.adopt(changes)] if changes else []
        seen_ns = now_ns if seen_until_ns is None else seen_until_ns
        steps.append(self.bank.tick(now_ns, seen_ns, free=now_ns >= self._hold_until_ns))
        rows, letters = _rows(steps), _letters(steps)
        if rows or letters:
            self._write(Batch(rows, letters=letters))
        if changes:
            self._version = changes[-1].version
        told = [_change_message(change) for change in changes]
        told += [_lease_message(lease) for step in steps for lease in step.leases]
        if not self._untold and not letters:
            # Behind what was acknowledged, in the same partition: a seat hears no mark before what it is about.
            told += [_outbound(_settlements_letter(mark)) for mark in self.bank.marks(now_ns, seen_ns)]
        self._untold |= bool(letters)
        return told + [_outbound(letter) for letter in letters]

    def published(self) -> None:
        """Notes that all returned so far was acknowledged; the outbox is struck with the next write."""
        self._sent = self._posted
        self._untold = False

    def close(self) -> None:
        """Strikes what was acknowledged from the outbox."""
        if self._sent and not self._broken:
            self._write(Batch())

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

    def _write(self, batch: Batch) -> None:
        if self._broken:
            raise InvariantError(
                "the bank's memory is ahead of its books since a write failed: start it again"
            )
        self._broken = True
        self._posted = self._books.write(batch._replace(sent=self._sent)) or self._posted
        self._broken = False
        self._sent = 0


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
    return letters


def _settlements_letter(settlements: Settlements) -> Letter:
    return Letter(SETTLEMENTS, settlements.seat.encode(), encode(settlements))


def _counts_letter(counts: CreativeCounts) -> Letter:
    return Letter(CREATIVES, f"{counts.campaign_id}/{counts.creative_id}".encode(), encode(counts))


def _outbound(letter: Letter) -> Outbound:
    partition = letter.partition if letter.partition >= 0 else None
    return Outbound(letter.topic, letter.key, letter.value, partition)


def _lease_message(lease: Lease) -> Outbound:
    # The topic is compacted to the last message of a key: so a key is one lease and not all of a seat's.
    return Outbound(LEASES, f"{lease.seat} {lease.account_id}".encode(), encode(lease))


def _change_message(change: CampaignChange | AdvertiserChange) -> Outbound:
    # No id of a campaign holds a slash, so an advertiser of its name has another key.
    key = f"advertiser/{change.advertiser_id}" if isinstance(change, AdvertiserChange) else change.campaign_id
    return Outbound(CAMPAIGNS, key.encode(), encode(change))


async def run_bank(
    service: BankService,
    source: MarkedSource,
    sink: Sink,
    clock: Clock,
    stop: asyncio.Event,
    *,
    tick_s: float = 0.1,
) -> None:
    """Runs a bank on a started source and sink until told to stop; the batch under way is finished.

    Args:
        service: what to run; its calls are made in one thread beside the loop, since a commit waits for the disk.
        source: of `notices` and `slices`; it says up to when all has been read, and until it does nothing is
            freed and no lease is renewed.
        sink: for `settlements`, `leases`, `campaigns`, `exposures` and `creatives`.
        clock: the shared clock.
        stop: ends the run.
        tick_s: wall seconds between ticks.

    Raises:
        DependencyError: if the database or the broker fails for good.
        InvariantError: if the books do not add up.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="bank") as thread:
        loop = _BankLoop(service, source, sink, clock, thread)
        try:
            await loop.restate()
            while not stop.is_set():
                await loop.round(tick_s)
            await loop.commit()
        finally:
            await loop.aside(service.close)


class _BankLoop:
    """One round after the other: poll, book, tick when it is time, tell."""

    def __init__(
        self, service: BankService, source: MarkedSource, sink: Sink, clock: Clock, thread: ThreadPoolExecutor
    ) -> None:
        self._service = service
        self._source = source
        self._sink = sink
        self._clock = clock
        self._thread = thread
        self._finished: dict[tuple[str, int], int] = {}
        self._next_tick_s = 0.0
        self._marked_ns: int | None = None
        self._seen_until_ns = 0
        self._untold = False

    async def aside(self, call: Callable[..., _Result], *arguments: object) -> _Result:
        """Makes a call in the bank's thread; a cancelled caller waits for it all the same."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    async def restate(self) -> None:
        """Tells again all that counts."""
        await self._tell(await self.aside(self._service.restate, self._clock.now_ns()), {})

    async def round(self, tick_s: float) -> None:
        """Takes what is there, at the latest until the next tick."""
        wait_s = max(0.0, self._next_tick_s - time.monotonic())
        if self._marked_ns is None:
            self._mark()
        messages = await self._source.poll(MAX_BATCH, min(wait_s, tick_s))
        if messages:
            out = await self.aside(self._service.on_messages, messages, self._clock.now_ns())
            await self._tell(out, {(m.topic, m.partition): m.offset + 1 for m in messages})
        if self._marked_ns is not None and await self._source.passed():
            self._seen_until_ns = self._marked_ns
            self._mark()
        if time.monotonic() >= self._next_tick_s:
            self._next_tick_s = time.monotonic() + tick_s
            await self._tick()

    def _mark(self) -> None:
        """What is there now is to be booked before this moment counts as seen."""
        self._marked_ns = self._clock.now_ns()
        self._source.mark()

    async def _tick(self) -> None:
        if self._untold:
            self._untold = False
            await self.restate()
        await self._tell(
            await self.aside(self._service.on_tick, self._clock.now_ns(), self._seen_until_ns), {}
        )
        await self.commit()

    async def _tell(self, out: Sequence[Outbound], finished: Mapping[tuple[str, int], int]) -> None:
        """Publishes; where the broker does not take it, all is told again on a later tick."""
        try:
            if out:
                await self._sink.publish(out)
                await self._sink.flush()
        except DeliveryError as error:
            _log.warning("what the bank told was not delivered, it will be told again: %s", error)
            self._untold = True
            return
        self._finished |= finished
        if not self._untold:
            self._service.published()

    async def commit(self) -> None:
        """Commits what is finished, so that a restart reads little again."""
        finished, self._finished = self._finished, {}
        if finished:
            await self._source.commit(finished)
