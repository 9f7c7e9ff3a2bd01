"""The bidder's shell: messages in, the engine's decisions out, in an order that loses nothing.

For a batch of requests: decide -> journal -> publish responses and decisions -> (on a timer, when all of that is
acknowledged) commit the offsets. A crash between publish and commit makes the batch come again, in a new epoch,
as new bids that the exchange has no auction for any more. Start = recover: a worker asks for a new epoch, reads
campaigns and leases from the beginning, and only then takes requests.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence

from bidder.core.call import Answer
from bidder.core.engine import Engine, outputs_of
from bidder.core.inbox import Inbox
from bidder.core.messages import BID_RESPONSES, DECISIONS, SLICES, encode
from bidder.errors import SeatTaken
from bidder.runtime.clock import Clock
from bidder.runtime.latency import LatencyHistogram
from bidder.runtime.transport import ControlSource, Message, Outbound, Sink, Source
from bidder.store.journal import JournalWriter, output_digest

_log = logging.getLogger(__name__)

BATCH = 128
"""Most requests decided in one go: past 64 a larger batch wins little, and it holds up what waits behind it."""

MAX_RECORD_BYTES = 500_000
"""Most bytes of decisions sent as one record, well below the 1 MB that brokers take."""


MAX_AGE_MS = 86_400_000
"""Age above which requests are all of the same age: a sender's clock may be anywhere, the journal holds int64."""


def age_ns(message: Message, wall_ms: int) -> int:
    """Wall nanoseconds since a message was sent; 0 where it says that it is of the future."""
    return min(max(0, wall_ms - message.timestamp_ms), MAX_AGE_MS) * 1_000_000


def joined(rows: Iterable[bytes], limit: int) -> list[bytes]:
    """Rows as few records of at most `limit` bytes, a larger row alone: readers split them, brokers are spared."""
    records: list[list[bytes]] = []
    room = 0
    for row in rows:
        if not records or len(row) > room:
            records.append([])
            room = limit
        records[-1].append(row)
        room -= len(row)
    return [b"".join(record) for record in records]


class Worker:
    """One seat: turns messages into engine calls, and answers into messages. Synchronous, without a clock.

    Args:
        engine: its engine.
        journal: where inputs and digests of outputs are recorded, or None.
    """

    def __init__(self, engine: Engine, journal: JournalWriter | None = None) -> None:
        self.engine = engine
        self.inbox = Inbox(engine)
        self.latency = LatencyHistogram()
        self.requests = 0
        self.bids = 0
        self._journal = journal

    @property
    def ready(self) -> bool:
        """Whether it has campaigns and money to bid with."""
        return self.engine.epoch > 0 and self.inbox.campaigns > 0

    def on_requests(self, messages: Sequence[Message], now_ns: int, wall_ms: int) -> list[Outbound]:
        """Decides bid requests.

        Args:
            messages: of topic `bid-requests`.
            now_ns: the clock's time. wall_ms: wall time in milliseconds, against the messages' own.
        """
        bodies = [message.value for message in messages]
        ages_ns = [age_ns(message, wall_ms) for message in messages]
        answers = self.engine.decide(bodies, ages_ns, now_ns)
        if self._journal is not None:
            self._journal.decide(now_ns, bodies, ages_ns)
            self._journal.output(output_digest(outputs_of(answers)))
        self.requests += len(messages)
        return self._outbound(messages, answers)

    def _outbound(self, messages: Sequence[Message], answers: Sequence[Answer]) -> list[Outbound]:
        out: list[Outbound] = []
        logs: dict[int, list[bytes]] = {}
        for message, answer in zip(messages, answers, strict=True):
            self.bids += answer.bid
            if answer.response:
                out.append(Outbound(BID_RESPONSES, None, answer.response, message.partition))
            logs.setdefault(message.partition, []).append(answer.decisions)
        for partition, rows in logs.items():
            out += [Outbound(DECISIONS, None, record, partition) for record in joined(rows, MAX_RECORD_BYTES)]
        return out

    def on_control(self, messages: Sequence[Message], now_ns: int) -> None:
        """Applies campaigns, leases and settlements."""
        items = [(message.topic, message.value) for message in messages]
        if self._journal is not None:
            self._journal.control(now_ns, items)
        self.inbox.apply(items, now_ns)

    def on_tick(self, now_ns: int) -> list[Outbound]:
        """Lets time pass and reports the slices to the bank."""
        if self._journal is not None:
            self._journal.tick(now_ns)
        report = self.engine.tick(now_ns)
        return [Outbound(SLICES, self.engine.settings.seat.encode(), encode(report))]


class WorkerShell:
    """Runs a worker on sources, a sink and a clock until told to stop.

    Args:
        worker: what to run.
        requests: source of `bid-requests`. control: source of campaigns, leases and settlements, from the start.
        sink: for what it says. clock: the shared clock.
        max_batch: requests decided at once, at most.
        tick_s: wall seconds between ticks. commit_s: wall seconds between commits.
        patience_s: wall seconds that requests wait for the first lease.
    """

    def __init__(
        self,
        worker: Worker,
        requests: Source,
        control: ControlSource,
        sink: Sink,
        clock: Clock,
        *,
        max_batch: int = BATCH,
        tick_s: float = 0.05,
        commit_s: float = 1.0,
        patience_s: float = 5.0,
    ) -> None:
        self._worker = worker
        self._requests = requests
        self._control = control
        self._sink = sink
        self._clock = clock
        self._max_batch = max_batch
        self._tick_s = tick_s
        self._commit_s = commit_s
        self._finished: dict[tuple[str, int], int] = {}
        self._committed: dict[tuple[str, int], int] = {}
        self._ready = asyncio.Event()
        self._patience_s = patience_s
        self._began_s = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set, commits what is finished and leaves; or until a part fails, and raises.

        Raises:
            SeatTaken: another start took the seat.
            DependencyError: the broker failed.
        """
        parts = [self._take_control, self._tick, self._commit, self._take_requests]
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(part(stop)) for part in parts]
        # The request loop is left waiting where a seat never became ready, so the stop is waited for too.
        tasks.append(asyncio.create_task(stop.wait()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        # After a failure nothing is committed: a flush tells of its losses once, and the next would pass.
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome
        await self._commit_finished()

    async def _take_requests(self, stop: asyncio.Event) -> None:
        await self._ready.wait()
        while not stop.is_set():
            messages = await self._requests.poll(self._max_batch, 0.1)
            if messages:
                began = time.monotonic_ns()
                now_ns = self._clock.now_ns()
                out = self._worker.on_requests(messages, now_ns, time.time_ns() // 1_000_000)
                await self._sink.publish(out)
                self._worker.latency.add(time.monotonic_ns() - began, len(messages))
                for message in messages:
                    self._finished[message.topic, message.partition] = message.offset + 1
                # A source that always has more must not starve settlements and ticks.
                await asyncio.sleep(0)

    async def _take_control(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            messages = await self._control.poll(1_000, 0.1)
            if messages:
                self._worker.on_control(messages, self._clock.now_ns())
                self._check_seat()
                await asyncio.sleep(0)
            self._look_whether_ready()

    def _look_whether_ready(self) -> None:
        """Lets requests in once all that stands in the control topics is read, and there is money to bid with.

        Where none comes for a while (no campaign is in flight, or the bank is away) they are let in all the
        same: each then ends in a numbered reason, and the exchange in an answer.
        """
        if self._ready.is_set() or not self._control.caught_up():
            return
        if self._worker.ready:
            self._ready.set()
        elif time.monotonic() - self._began_s > self._patience_s:
            _log.warning(
                "no lease came in %.0f s: requests are answered without bids until one does", self._patience_s
            )
            self._ready.set()

    def _check_seat(self) -> None:
        engine = self._worker.engine
        if engine.superseded:
            raise SeatTaken(
                f"seat {engine.settings.seat} was taken by another start, and this one gets no money any more: "
                "give each worker its own [bid] seat"
            )

    async def _tick(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._sink.publish(self._worker.on_tick(self._clock.now_ns()))
            await asyncio.sleep(self._tick_s)

    async def _commit(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(self._commit_s)
            await self._commit_finished()

    async def _commit_finished(self) -> None:
        """Commits what was finished before everything published so far was acknowledged."""
        due = {
            place: offset for place, offset in self._finished.items() if self._committed.get(place) != offset
        }
        if due:
            await self._sink.flush()
            await self._requests.commit(due)
            self._committed |= due
