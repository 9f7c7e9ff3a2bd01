"""Answers callers when their notice is durable, not before.

Notices of concurrent calls share one publish and one flush (group commit), so the price of durability is
paid by batch, not by call. While a flush is under way the next batch gathers. Durable is what all in-sync replicas
acknowledged or, where there is a spool, what is synced to the local disk. Rules:

- The broker has `patience_s`; a batch that it did not acknowledge by then goes to the spool, and so does all that
  follows until the spool is empty again, so that notices reach the broker in the order they came.
- The spool is emptied beside that, a segment at a time. When the broker takes them and one segment is left, new
  batches wait for it rather than get behind it again.
- What cannot be made durable is answered 503 with Retry-After, and the exchange sends it again; whether the first
  try was stored does not matter, as the bank books each bid once.
- Without a spool a batch waits for the broker as long as the sink does.
- When it is asked to by `tick`, it says on topic `trackers` up to when all that it took is at the broker: in the send
  of the next batch, or by itself where nothing waits, and not while anything is spooled (`core.lowwater`).
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from bidder.core.budgets import FOREVER_NS
from bidder.core.messages import NOTICES, TRACKERS, Conversion, Notice, NoticeKind, TrackerMark, encode
from bidder.errors import DependencyError, InvariantError
from bidder.runtime.clock import Clock
from bidder.runtime.http import HttpServer, Limits, Reply, Request
from bidder.runtime.transport import Outbound, Sink
from bidder.web.spool import Record, Spool
from bidder.web.track import Tracker

log = logging.getLogger(__name__)

_GRACE_S = 5.0  # for what has been received at the end; a sink that hangs must not hold the process
_RETRY = Reply(503, (("Retry-After", "1"),))
_GATHER_S = 0.002  # what a sync to the disk waits for company: at most 500 syncs a second
_REPLAY_AGAIN_S = 0.5
_MARK_S = 0.5
_Result = TypeVar("_Result")


class _Waiting(NamedTuple):
    """A call that waits for its notice."""

    notice: Notice | Conversion
    reply: Reply
    answer: asyncio.Future[Reply]


class NoticePublisher:
    """Gathers notices into batches, makes them durable, and answers.

    Args:
        sink: where they go, topic `notices`, keyed by advertiser (by campaign where the token names none).
        max_pending: calls that may wait; more are answered 503 at once.
        max_batch: notices of one flush.
        spool: keeps them while the broker is away; None to answer 503 then.
        patience_s: how long a batch waits for the broker before it goes to the spool.
        threaded: whether the disk is written beside the event loop; False makes a run repeatable.
        name: by which banks know this tracker; empty to say no marks.

    Attributes:
        counts: notices `published` by the sink in `batches`, `undelivered` at first or for good, `refused` by the
            spool, `overloaded`: turned away at once. The spool counts for itself.
    """

    def __init__(
        self,
        sink: Sink,
        max_pending: int = 8_192,
        max_batch: int = 1_024,
        *,
        spool: Spool | None = None,
        patience_s: float = 1.0,
        threaded: bool = True,
        name: str = "",
    ) -> None:
        self._sink = sink
        self._name = name
        self._mark_ns = self._marked_ns = 0
        self._max_pending = max_pending
        self._max_batch = max_batch
        self._patience_s = patience_s
        self._waiting: list[_Waiting] = []
        self._pending = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._attempt: asyncio.Future[None] | None = None
        self._empty = asyncio.Event()
        self._filled = asyncio.Event()
        self._back = False
        self._thread = ThreadPoolExecutor(1, "spool") if spool is not None and threaded else None
        self.spool = spool
        self.counts: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """Calls that wait for their answer."""
        return self._pending

    def submit(self, notice: Notice | Conversion, reply: Reply) -> Reply | asyncio.Future[Reply]:
        """Takes a notice; the answer comes true when it is durable, as `reply` or as a 503."""
        if self._stopping or self._pending >= self._max_pending:
            self.counts["overloaded"] += 1
            return _failed(notice, reply)
        self._pending += 1
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(notice, reply, answer))
        self._wake.set()
        return answer

    def tick(self, now_ns: int) -> None:
        """Says with the next send that all is there that was taken before now, or before what is still under way."""
        if self._name:
            self._mark_ns = now_ns
            self._wake.set()

    async def run(self) -> None:
        """Publishes until `stop` and until nothing waits; what is spooled then stays for the next start.

        Raises:
            Exception: what the sink raised that is no `DependencyError`; all who wait have their 503 then.
        """
        replaying = asyncio.ensure_future(self._replay())
        replaying.add_done_callback(lambda _: self._wake.set())
        try:
            while self._waiting or not self._stopping:
                if replaying.done():
                    replaying.result()
                if not self._waiting:
                    await self._idle()
                    continue
                if self.spool:
                    await asyncio.sleep(_GATHER_S)
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                await self._commit(batch)
            await self._say_left()
        finally:
            self._stopping = True
            self._answer(self._waiting, durable=False)
            self._waiting = []
            await self._leave(replaying)

    def stop(self) -> None:
        """Takes no more; `run` ends when it has published what it holds."""
        self._stopping = True
        self._wake.set()

    async def _leave(self, replaying: asyncio.Future[None]) -> None:
        tasks = [task for task in (replaying, self._attempt) if task is not None]
        for task in tasks:
            task.cancel()
        if self._thread is not None:
            self._thread.shutdown(wait=False)
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- marks

    async def _idle(self) -> None:
        """Waits for something to do; says a mark where one is due and nothing else is under way."""
        if self._mark_ns > self._marked_ns and self._attempt is None and not self.spool:
            if not await self._published([], self._mark()):
                self._filled.set()  # somebody must settle the attempt
            return
        self._wake.clear()
        await self._wake.wait()

    def _mark(self, batch: Sequence[_Waiting] = ()) -> list[Outbound]:
        """What is to be said with this batch, before which all that was taken was acknowledged or refused."""
        if self._mark_ns <= self._marked_ns:
            return []
        self._marked_ns = self._mark_ns
        return [
            _mark_message(self._name, min([self._mark_ns, *map(_taken_ns, (one.notice for one in batch))]))
        ]

    async def _say_left(self) -> None:
        """Nothing is kept, and nobody has to wait for this tracker any more."""
        if not self._name or self.spool or self._attempt is not None:
            return
        with contextlib.suppress(DependencyError, TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await self._deliver([_mark_message(self._name, self._marked_ns, left=True)])

    # --- one batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        durable = 0
        messages = [_message(waiting.notice) for waiting in batch]
        try:
            if await self._published(messages, self._mark(batch)):
                durable = len(batch)
                self.counts["batches"] += 1
                self.counts["published"] += durable
            elif self.spool is not None:
                durable = await self._kept(self.spool, messages)
        except DependencyError as error:
            log.warning("notices could not be made durable and were answered 503: %s", error)
        finally:
            self._answer(batch[:durable], durable=True)
            self._answer(batch[durable:], durable=False)

    async def _published(self, messages: list[Outbound], marks: Sequence[Outbound] = ()) -> bool:
        """Whether the broker acknowledged them, as far as it is asked to; a mark is not kept for later."""
        if self.spool is not None and not await self._is_clear(self.spool):
            return False
        try:
            if self.spool is None:
                await self._deliver([*messages, *marks])
                return True
            attempt = self._attempt = asyncio.ensure_future(self._deliver([*messages, *marks]))
            await asyncio.wait({attempt}, timeout=self._patience_s)
            if attempt.done():
                self._attempt = None
                attempt.result()
                return True
        except DependencyError:
            pass
        self.counts["undelivered"] += len(messages)
        return False

    async def _is_clear(self, spool: Spool) -> bool:
        """Whether nothing is on its way to the broker that came before; waits for the last of it to arrive."""
        if self._attempt is not None:
            return False
        if len(spool) == 1 and self._back:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await self._empty.wait()
        return not spool

    async def _deliver(self, messages: Sequence[Outbound]) -> None:
        await self._sink.publish(messages)
        await self._sink.flush()

    async def _kept(self, spool: Spool, messages: list[Outbound]) -> int:
        """How many of them, from the first, are synced to the disk."""
        records = [Record(message.key or b"", message.value) for message in messages]
        kept = 0
        try:
            kept = await self._on_disk(lambda: spool.append(records))
        finally:
            self.counts["refused"] += len(records) - kept
            self._filled.set()  # also where nothing was kept: somebody must settle the attempt
        return kept

    def _answer(self, batch: list[_Waiting], *, durable: bool) -> None:
        self._pending -= len(batch)
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_result(
                    waiting.reply if durable else _failed(waiting.notice, waiting.reply)
                )

    # --- what is spooled

    async def _replay(self) -> None:
        """Sends what is spooled, oldest first, for as long as there is a spool."""
        spool, silent = self.spool, False
        while spool is not None:
            try:
                await self._settle_attempt()
                if await self._replayed(spool):
                    self._back, silent = True, False
                elif not spool:
                    self._empty.set()
                    self._filled.clear()
                    await self._filled.wait()
            except DependencyError as error:
                self._back = False
                if not silent:
                    log.warning("spooled notices wait for the broker: %s", error)
                silent = True
                await asyncio.sleep(_REPLAY_AGAIN_S)

    async def _settle_attempt(self) -> None:
        """Waits for the batch that the broker was too slow for: it is in the spool, and counts for nothing here."""
        attempt = self._attempt
        if attempt is None:
            return
        try:
            await asyncio.wait({attempt})
            if attempt.done() and not attempt.cancelled():
                attempt.result()
        finally:
            if attempt.done() and self._attempt is attempt:
                self._attempt = None

    async def _replayed(self, spool: Spool) -> bool:
        """Sends the oldest segment; whether there was one."""
        batch = await self._on_disk(spool.oldest)
        if batch is None:
            return False
        await self._deliver([Outbound(NOTICES, key or None, value) for key, value in batch.records])
        await self._on_disk(lambda: spool.done(batch.number))
        return True

    async def _on_disk(self, work: Callable[[], _Result]) -> _Result:
        """Calls the spool, beside the event loop where that may be."""
        if self._thread is None:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _message(notice: Notice | Conversion) -> Outbound:
    return Outbound(NOTICES, notice.key, encode(notice))


def _mark_message(name: str, until_ns: int, *, left: bool = False) -> Outbound:
    return Outbound(TRACKERS, name.encode(), encode(TrackerMark(tracker=name, until_ns=until_ns, left=left)))


def _taken_ns(notice: Notice | Conversion) -> int:
    """When it was taken, as far as a reservation may wait for it: a conversion says when it happened, for no one."""
    conversion = isinstance(notice, Conversion) or notice.kind is NoticeKind.CONVERSION
    return FOREVER_NS if conversion else notice.at_ns


def _failed(notice: Notice | Conversion, reply: Reply) -> Reply:
    """The answer without durability: all but a click are asked to come again.

    Behind a click stands a person, who gets to the page all the same; no browser would call again anyway.
    """
    return reply if isinstance(notice, Notice) and notice.kind is NoticeKind.CLICK else _RETRY


async def _tick(publisher: NoticePublisher, clock: Clock) -> None:
    while True:
        publisher.tick(clock.now_ns())
        await asyncio.sleep(_MARK_S)


async def run_tracker(
    tracker: Tracker,
    sink: Sink,
    clock: Clock,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    ready: "asyncio.Future[int] | None" = None,
    limits: Limits | None = None,
    publisher: NoticePublisher | None = None,
) -> None:
    """Serves the tracking endpoints until `stop` is set; the sink is started and stopped by the caller.

    Order of the end: no new connection, answer what waits, then return.

    Args:
        tracker: checks the calls.
        sink: takes the notices.
        clock: gives `at_ns` and the age of notices.
        host: address to listen on.
        port: port to listen on, 0 for a free one.
        stop: set it to end.
        ready: gets the port once it is listened on.
        limits: bounds of a client.
        publisher: instead of one with the defaults.

    Raises:
        ConfigError: if the address cannot be listened on.
        InvariantError: if our own logic broke a rule while handling a call (a failed assert is raised as it
            is); and whatever the sink raised that is no `DependencyError`.
    """
    publisher = publisher or NoticePublisher(sink)
    broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def handle(request: Request) -> Reply | asyncio.Future[Reply]:
        reply, notice = tracker.handle(request.method, request.target, request.headers, clock.now_ns())
        return reply if notice is None else publisher.submit(notice, reply)

    def on_error(error: BaseException) -> None:
        if not isinstance(error, (InvariantError, AssertionError)):
            log.error("call failed", exc_info=error)  # one call; it says nothing against the next
        elif not broken.done():
            broken.set_exception(error)

    server = HttpServer(handle, host, port, limits, on_error=on_error)
    await server.start()
    if ready is not None:
        ready.set_result(server.port)
    publishing = asyncio.ensure_future(publisher.run())
    ticking = asyncio.ensure_future(_tick(publisher, clock))
    stopping = asyncio.ensure_future(stop.wait())
    ends: set[asyncio.Future[Any]] = {publishing, stopping, broken}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await server.stop(_GRACE_S)
        ticking.cancel()
        publisher.stop()
        await asyncio.wait({publishing}, timeout=_GRACE_S)
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
    for end in (broken, publishing):
        if end.done() and not end.cancelled():
            end.result()
