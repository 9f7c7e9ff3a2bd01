"""The bidder's shell: runs a worker on sources, a sink and a clock, in an order that loses nothing.

For a batch of requests: decide -> journal -> publish responses and decisions -> (on a timer, when all of that is
acknowledged) commit the offsets. A crash between publish and commit makes the batch come again, in a new epoch,
as new bids that the exchange has no auction for any more. Start = recover: a worker asks for a new epoch, reads
campaigns and leases from the beginning, adopts their table, reads what its users were shown and what is known of
them, and only then takes requests.

A change of campaigns is heard at once, but its table is made beside the loop and adopted between two batches, see
`runtime.renewal`.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence

from bidder.core.messages import (
    BRAKE_KEY,
    CAMPAIGNS,
    EXPOSURES,
)
from bidder.errors import SeatTaken
from bidder.runtime.clock import Clock
from bidder.runtime.renewal import Renewal
from bidder.runtime.transport import ControlSource, HistorySource, Message, Sink, Source
from bidder.runtime.worker import BATCH, Worker

_log = logging.getLogger(__name__)

PIECE_BYTES = 32_768
"""Campaign messages applied in one go: each is checked, at a microsecond a byte or so, and requests wait."""


def brakes_first(messages: Sequence[Message]) -> Sequence[Message]:
    """The same with brakes before all else, so that a stop does not wait for a thousand campaigns to be read."""
    brakes = [message for message in messages if _is_brake(message)]
    return brakes + [message for message in messages if not _is_brake(message)] if brakes else messages


def _is_brake(message: Message) -> bool:
    return message.topic == CAMPAIGNS and (message.key or b"").startswith(BRAKE_KEY)


def pieces(messages: Sequence[Message], limit: int = PIECE_BYTES) -> Iterator[Sequence[Message]]:
    """Control messages in parts that may be applied at once, in order: campaigns cost time by their bytes."""
    begin = room = 0
    for place, message in enumerate(messages):
        if message.topic == CAMPAIGNS:
            if room + len(message.value) > limit and place > begin:
                yield messages[begin:place]
                begin, room = place, 0
            room += len(message.value)
    if begin < len(messages):
        yield messages[begin:]


class WorkerShell:
    """Runs a worker on sources, a sink and a clock until told to stop.

    Args:
        worker: what to run.
        requests: source of `bid-requests`. control: source of campaigns, leases and settlements, from the start.
        sink: for what it says. clock: the shared clock.
        max_batch: requests decided at once, at most.
        tick_s: wall seconds between ticks. commit_s: wall seconds between commits.
        patience_s: wall seconds that requests wait for the first lease.
        history: source of exposures and profiles where `control` brings none; begun once the first table is
            there, since exposures count for its caps only, and read to its end before requests are let in.
            It reads every partition, not only those of the requests that this worker has: so a rebalance changes
            nothing, at the price of reading what others' users were shown too.
        renewal: makes tables, and looks for models, beside the loop.
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
        history: HistorySource | None = None,
        renewal: Renewal | None = None,
    ) -> None:
        self._worker = worker
        self._requests = requests
        self._control = control
        self._history = history
        self._sink = sink
        self._clock = clock
        self._renewal = renewal or Renewal(worker, clock)
        self._renewal.on_adopted = self._look_whether_ready
        self._max_batch = max_batch
        self._tick_s = tick_s
        self._commit_s = commit_s
        self._finished: dict[tuple[str, int], int] = {}
        self._committed: dict[tuple[str, int], int] = {}
        self._begun = asyncio.Event()
        self._remembered = history is None
        self._ready = asyncio.Event()
        self._patience_s = patience_s
        self._began_s = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set, commits what is finished and leaves; or until a part fails, and raises.

        Raises:
            SeatTaken: another start took the seat.
            DependencyError: the broker failed.
        """
        parts = [self._take_control, self._take_history, self._tick, self._commit, self._take_requests]
        parts += [self._renewal.run_tables, self._renewal.run_models, self._renewal.run_landscapes]
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(part(stop)) for part in parts]
        # Parts are left waiting where a seat never became ready, so the stop is waited for too.
        stopped: asyncio.Task[object] = asyncio.create_task(stop.wait())
        pending: set[asyncio.Task[object]] = {*tasks, stopped}
        try:
            # A part may have nothing to do, and end; the run does not.
            while not stopped.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            tasks.append(stopped)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        # After a failure nothing is committed: a flush tells of its losses once, and the next would pass.
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome
        await self._sink.publish(self._worker.on_stop(self._clock.now_ns()))
        await self._commit_finished()

    async def _take_requests(self, stop: asyncio.Event) -> None:
        await self._ready.wait()
        worker, sink, finished = self._worker, self._sink, self._finished
        while not stop.is_set():
            messages = await self._requests.poll(self._max_batch, 0.1)
            if messages:
                began = time.monotonic_ns()
                runs = worker.decide(messages, self._clock.now_ns(), time.time_ns() // 1_000_000)
                await sink.send(runs)
                if worker.engine.matches:
                    await sink.publish(worker.matches())
                worker.latency.add(time.monotonic_ns() - began, len(messages))
                topics, partitions, offsets, *_ = zip(*messages, strict=True)
                # The last of a partition is met last, and stays.
                finished.update(zip(zip(topics, partitions, strict=True), offsets, strict=True))
                # A source that always has more must not starve settlements and ticks.
                await asyncio.sleep(0)

    async def _take_control(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            messages = await self._control.poll(1_000, 0.1)
            for piece in pieces(brakes_first(messages)):
                if self._worker.take_control(piece, self._clock.now_ns()):
                    self._renewal.table_changed()
                self._check_seat()
                await asyncio.sleep(0)
            self._look_whether_ready()

    async def _take_history(self, stop: asyncio.Event) -> None:
        history = self._history
        if history is None:
            return
        await self._begun.wait()
        # A window on a clock that runs faster than the wall's is shorter there: this is enough on any clock.
        window_ns = self._worker.engine.caps.table.longest_window_ns
        await history.begin({EXPOSURES: max(0, time.time_ns() - window_ns) // 1_000_000})
        while not stop.is_set():
            messages = await history.poll(1_000, 0.1)
            if messages:
                self._worker.take_control(messages, self._clock.now_ns())
                await asyncio.sleep(0)
            if not self._remembered and history.caught_up():
                self._remembered = True
                self._look_whether_ready()

    def _look_whether_ready(self) -> None:
        """Lets requests in once all that stands in the control topics is read, and there is money to bid with.

        Where none comes for a while (no campaign is in flight, or the bank is away) they are let in all the
        same: each then ends in a numbered reason, and the exchange in an answer. What users were shown is waited for
        without end: caps are a promise.
        """
        if self._ready.is_set() or not self._control.caught_up() or not self._worker.current:
            return
        self._begun.set()
        if not self._remembered:
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
            place: offset + 1
            for place, offset in self._finished.items()
            if self._committed.get(place) != offset + 1
        }
        if due:
            await self._sink.flush()
            await self._requests.commit(due)
            self._committed |= due
