"""Runs the tracker: a caller gets its answer when its notice is durable, not before.

Notices of concurrent calls share one publish and one flush (group commit), so the price of durability is
paid by batch, not by call. While a flush is under way the next batch gathers. What cannot be made durable is
answered 503 with Retry-After, and the exchange sends it again; whether the first try was stored does not
matter, as the bank books each bid once.
"""

import asyncio
import logging
from collections import Counter
from typing import Any, NamedTuple

from bidder.core.messages import NOTICES, Conversion, Notice, NoticeKind, encode
from bidder.errors import DependencyError, InvariantError
from bidder.runtime.clock import Clock
from bidder.runtime.http import HttpServer, Limits, Reply, Request
from bidder.runtime.transport import Outbound, Sink
from bidder.web.track import Tracker

log = logging.getLogger(__name__)

_GRACE_S = 5.0  # for what has been received at the end; a sink that hangs must not hold the process
_RETRY = Reply(503, (("Retry-After", "1"),))


class _Waiting(NamedTuple):
    """A call that waits for its notice."""

    notice: Notice | Conversion
    reply: Reply
    answer: asyncio.Future[Reply]


class NoticePublisher:
    """Gathers notices into batches, publishes them, and answers.

    Args:
        sink: where they go, topic `notices`, keyed by advertiser.
        max_pending: calls that may wait; more are answered 503 at once.
        max_batch: notices of one flush.
    """

    def __init__(self, sink: Sink, max_pending: int = 8_192, max_batch: int = 1_024) -> None:
        self._sink = sink
        self._max_pending = max_pending
        self._max_batch = max_batch
        self._waiting: list[_Waiting] = []
        self._pending = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self.counts: Counter[str] = Counter()

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

    async def run(self) -> None:
        """Publishes until `stop` and until nothing waits.

        Raises:
            Exception: what the sink raised that is no `DependencyError`; all who wait have their 503 then.
        """
        try:
            while self._waiting or not self._stopping:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                await self._commit(batch)
        finally:
            self._stopping = True
            self._answer(self._waiting, durable=False)
            self._waiting = []

    def stop(self) -> None:
        """Takes no more; `run` ends when it has published what it holds."""
        self._stopping = True
        self._wake.set()

    async def _commit(self, batch: list[_Waiting]) -> None:
        durable = False
        try:
            await self._sink.publish(
                [Outbound(NOTICES, waiting.notice.key, encode(waiting.notice)) for waiting in batch]
            )
            await self._sink.flush()
            durable = True
        except DependencyError:
            self.counts["undelivered"] += len(batch)
        finally:
            self._answer(batch, durable=durable)

    def _answer(self, batch: list[_Waiting], *, durable: bool) -> None:
        self._pending -= len(batch)
        if durable:
            self.counts["batches"] += 1
            self.counts["published"] += len(batch)
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_result(
                    waiting.reply if durable else _failed(waiting.notice, waiting.reply)
                )


def _failed(notice: Notice | Conversion, reply: Reply) -> Reply:
    """The answer without durability: all but a click are asked to come again.

    Behind a click stands a person, who gets to the page all the same; no browser would call again anyway.
    """
    return reply if isinstance(notice, Notice) and notice.kind is NoticeKind.CLICK else _RETRY


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
    stopping = asyncio.ensure_future(stop.wait())
    ends: set[asyncio.Future[Any]] = {publishing, stopping, broken}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await server.stop(_GRACE_S)
        publisher.stop()
        await asyncio.wait({publishing}, timeout=_GRACE_S)
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
    for end in (broken, publishing):
        if end.done() and not end.cancelled():
            end.result()
