"""The bank on an event loop: one round after the other of poll, book, tick and tell.

What it runs is plain calls (`runtime.bank`), made in one thread beside the loop, since a commit waits for the disk.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Protocol, TypeVar

import msgspec

from bidder.core.lowwater import LowWater
from bidder.core.messages import NOTICES, TRACKERS, TrackerMark
from bidder.errors import DeliveryError
from bidder.runtime.bank import MAX_BATCH
from bidder.runtime.clock import Clock
from bidder.runtime.transport import Message, Outbound, Share, SharedSource, Sink
from bidder.store.books import BooksTaken

_ADRIFT_S = 15.0
"""How long a shard may be ours by the group and another's by the books: longer than a rebalance takes."""

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_read_mark = msgspec.json.Decoder(TrackerMark)


def read_mark(message: Message) -> TrackerMark | None:
    """What a tracker said; None where that cannot be read, and it counts as silent."""
    try:
        return _read_mark.decode(message.value)
    except msgspec.DecodeError:
        return None


class Banking(Protocol):
    """What `run_bank` runs: a `BankService`, or those of several shards."""

    def assign(self, partitions: frozenset[int], now_ns: int) -> list[Outbound]:
        """Holds the shards of these partitions of `notices` and no others; what it returns is to be published."""
        ...

    def holds(self, partition: int) -> bool:
        """Whether what was read of a partition of `notices` has been taken, so that its offset may be committed."""
        ...

    def adrift(self) -> BooksTaken | None:
        """What took a shard away that was assigned and was not taken back since, if anything did."""
        ...

    def resume(self) -> dict[tuple[str, int], int]:
        """By place, the first offset of `slices` that some shard has not read."""
        ...

    def restate(self, now_ns: int) -> list[Outbound]:
        """See `BankService`."""
        ...

    def on_messages(self, messages: Sequence[Message], now_ns: int) -> list[Outbound]:
        """See `BankService`."""
        ...

    def on_tick(
        self, now_ns: int, seen_until_ns: int | None = None, told_until_ns: int | None = None
    ) -> list[Outbound]:
        """See `BankService`."""
        ...

    def published(self) -> None:
        """See `BankService`."""
        ...

    def close(self) -> None:
        """See `BankService`."""
        ...


def bank_thread() -> ThreadPoolExecutor:
    """The one thread in which a bank's calls are made."""
    return ThreadPoolExecutor(1, thread_name_prefix="bank")


async def run_bank(
    service: Banking,
    source: SharedSource,
    sink: Sink,
    clock: Clock,
    stop: asyncio.Event,
    *,
    tick_s: float = 0.1,
    thread: ThreadPoolExecutor | None = None,
    low_water: LowWater | None = None,
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
        thread: for the service's calls, of one thread, where others look into its books too; else one of its own.
        low_water: takes the marks of trackers that the source brings; None to free without them.

    Raises:
        DependencyError: if the database or the broker fails for good.
        InvariantError: if the books do not add up.
    """
    with nullcontext(thread) if thread is not None else bank_thread() as own:
        loop = _BankLoop(service, source, sink, clock, own, low_water)
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
        self,
        service: Banking,
        source: SharedSource,
        sink: Sink,
        clock: Clock,
        thread: ThreadPoolExecutor,
        low_water: LowWater | None = None,
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
        self._low_water = low_water
        self._low_ns: int | None = None
        self._told_until_ns: int | None = None
        self._untold = False
        self._share = Share(0, frozenset())
        self._adrift_s: float | None = None

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
        messages = self._low_watered(await self._source.poll(MAX_BATCH, min(wait_s, tick_s)))
        # After the poll: what came is of this share or of one before.
        if self._source.share() != self._share:
            await self._take_share()
        if messages:
            out = await self.aside(self._service.on_messages, messages, self._clock.now_ns())
            taken = (m for m in messages if m.topic != NOTICES or self._service.holds(m.partition))
            await self._tell(out, {(m.topic, m.partition): m.offset + 1 for m in taken})
        if self._marked_ns is not None and await self._source.passed():
            self._seen_until_ns, self._told_until_ns = self._marked_ns, self._low_ns
            self._mark()
        if time.monotonic() >= self._next_tick_s:
            self._next_tick_s = time.monotonic() + tick_s
            await self._tick()

    def _low_watered(self, messages: list[Message]) -> list[Message]:
        """Takes the marks of trackers; gives what is for the service."""
        marks = [message for message in messages if message.topic == TRACKERS]
        if not marks:
            return messages
        if self._low_water is not None:
            for mark in filter(None, map(read_mark, marks)):
                self._low_water.take(mark)
        return [message for message in messages if message.topic != TRACKERS]

    async def _take_share(self) -> None:
        """Holds the shards that are ours from now on; of none of them is it known what has not been read yet."""
        self._share = self._source.share()
        self._marked_ns, self._seen_until_ns, self._told_until_ns = None, 0, None
        out = await self.aside(self._service.assign, self._share.partitions, self._clock.now_ns())
        self._source.rewind(self._service.resume())
        self._mark()
        await self._tell(out, {})

    def _check_adrift(self) -> None:
        """Raises where a shard stays another's by the books although it is ours by the group.

        A bank that slept through a rebalance hears of it a moment later; two banks not of one group never do.
        """
        taken = self._service.adrift()
        if taken is None:
            self._adrift_s = None
        elif self._adrift_s is None:
            self._adrift_s = time.monotonic()
        elif time.monotonic() - self._adrift_s > _ADRIFT_S:
            raise taken

    def _mark(self) -> None:
        """What is there now is to be booked before this moment counts as seen."""
        self._marked_ns = self._clock.now_ns()
        # Before the end of the log is looked up: what a mark speaks of was written before it.
        self._low_ns = self._low_water.until_ns(self._marked_ns) if self._low_water is not None else None
        self._source.mark()

    async def _tick(self) -> None:
        self._check_adrift()
        if self._untold:
            self._untold = False
            await self.restate()
        await self._tell(
            await self.aside(
                self._service.on_tick, self._clock.now_ns(), self._seen_until_ns, self._told_until_ns
            ),
            {},
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
