"""The bidder's shell: messages in, the engine's decisions out, in an order that loses nothing.

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
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from bidder.core.engine import Engine, Prepared, outputs_of
from bidder.core.inbox import Inbox
from bidder.core.messages import (
    BID_RESPONSES,
    CAMPAIGNS,
    DECISIONS,
    EXPOSURES,
    FUNNELS,
    MATCHES,
    PROFILES,
    SLICES,
    encode,
)
from bidder.core.scoring import Model
from bidder.errors import SeatTaken
from bidder.runtime.clock import Clock
from bidder.runtime.hours import FunnelHours
from bidder.runtime.latency import LatencyHistogram
from bidder.runtime.renewal import Renewal
from bidder.runtime.transport import ControlSource, HistorySource, Message, Outbound, Run, Sink, Source
from bidder.store.journal import JournalWriter, output_digest
from models.kernels import Masks

_log = logging.getLogger(__name__)

BATCH = 128
"""Most requests decided in one go: past 64 a larger batch wins little, and it holds up what waits behind it."""

MAX_RECORD_BYTES = 500_000
"""Most bytes of decisions sent as one record, well below the 1 MB that brokers take."""

PIECE_BYTES = 32_768
"""Campaign messages applied in one go: each is checked, at a microsecond a byte or so, and requests wait."""

MAX_AGE_MS = 86_400_000
"""Age above which requests are all of the same age: a sender's clock may be anywhere, the journal holds int64."""

_LAST = frozenset({EXPOSURES, PROFILES})
"""Counted for caps that stand in the table only, so they come after the campaigns of the same batch."""


_TICKS_A_LAG = 20
_LEAST_MEASURED = 1_000
_MOST_LAG_MS = 50
"""How often the own part of a request's time is taken from what was measured (p99), from how many on, and at most: a
moment of trouble must not make the bidder refuse everything from then on."""


def ages_ns(sent_ms: Sequence[int], wall_ms: int) -> list[int]:
    """Wall nanoseconds since messages were sent; 0 where one says that it is of the future."""
    if wall_ms - MAX_AGE_MS <= min(sent_ms) and max(sent_ms) <= wall_ms:
        return [(wall_ms - ms) * 1_000_000 for ms in sent_ms]
    return [min(max(0, wall_ms - ms), MAX_AGE_MS) * 1_000_000 for ms in sent_ms]


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


class Worker:
    """One seat: turns messages into engine calls, and answers into messages. Synchronous, without a clock.

    Args:
        engine: its engine.
        journal: where inputs and digests of outputs are recorded, or None.

    Attributes:
        lag_ms: what it takes from a request to its published answer, measured; part of its age.
        controls: batches of control messages taken so far; the journal counts them too.
        adopted_controls: how many of them the table knows of that decides now.
    """

    def __init__(self, engine: Engine, journal: JournalWriter | None = None) -> None:
        self.engine = engine
        self.inbox = Inbox(engine)
        self.latency = LatencyHistogram()
        self.requests = 0
        self.bids = 0
        self.lag_ms = 0
        self._measured = 0
        self._counts: tuple[int, ...] = ()
        self._ticks = 0
        self.controls = self.adopted_controls = 0
        self._changed_at = 0
        self._journal = journal
        self._seat_key = engine.settings.seat.encode()
        self._hours = FunnelHours(engine.settings.seat, engine.start_id, engine.funnel.untold)

    @property
    def ready(self) -> bool:
        """Whether it has campaigns and money to bid with."""
        return self.engine.epoch > 0 and self.inbox.campaigns > 0

    @property
    def current(self) -> bool:
        """Whether the table that decides knows of every change of campaigns that was taken."""
        return self._changed_at <= self.adopted_controls

    # -- requests -------------------------------------------------------------------------------------------

    def decide(self, messages: Sequence[Message], now_ns: int, wall_ms: int) -> list[Run]:
        """Decides bid requests.

        Args:
            messages: of topic `bid-requests`, those of a partition one after the other.
            now_ns: the clock's time. wall_ms: wall time in milliseconds, against the messages' own.

        Returns:
            Responses and decisions, those of a partition in the order of its requests.
        """
        self._hours.turn(now_ns)
        _, partitions, _, _, bodies, sent_ms = zip(*messages, strict=True)
        # A request is as old as it will be when its answer leaves, as far as was measured.
        ages = ages_ns(sent_ms, wall_ms + self.lag_ms)
        answers = self.engine.decide(bodies, ages, now_ns)
        if self._journal is not None:
            self._journal.decide(now_ns, bodies, ages)
            self._journal.output(output_digest(outputs_of(answers)))
        self.requests += len(messages)
        responses, decisions, bids = zip(*answers, strict=True)
        self.bids += sum(bids)
        runs: list[Run] = []
        begin, count = 0, len(partitions)
        while begin < count:
            partition = partitions[begin]
            end = begin + 1
            while end < count and partitions[end] == partition:
                end += 1
            if said := [response for response in responses[begin:end] if response]:
                runs.append(Run(BID_RESPONSES, partition, said))
            runs.append(Run(DECISIONS, partition, joined(decisions[begin:end], MAX_RECORD_BYTES)))
            begin = end
        return runs

    def on_requests(self, messages: Sequence[Message], now_ns: int, wall_ms: int) -> list[Outbound]:
        """`decide` and `matches`, message by message: for who has no use for runs."""
        if not messages:
            return []
        answered = [
            Outbound(run.topic, None, value, run.partition)
            for run in self.decide(messages, now_ns, wall_ms)
            for value in run.values
        ]
        return answered + self.matches()

    def matches(self) -> list[Outbound]:
        """What the last `decide` was asked, where targeting's refusals are counted elsewhere."""
        return [Outbound(MATCHES, self._seat_key, record) for record in self.engine.matches]

    # -- control --------------------------------------------------------------------------------------------

    def take_control(self, messages: Sequence[Message], now_ns: int) -> bool:
        """Applies campaigns, leases, settlements and what is known of users, but for the table of campaigns.

        Returns:
            Whether there is another table to be made, see `preparing` and `adopt`.
        """
        items = [(message.topic, message.value) for message in messages]
        if self._journal is not None:
            self._journal.control(now_ns, items)
        self.controls += 1
        changed = self.inbox.take(items, now_ns)
        if changed:
            self._changed_at = self.controls
        return changed

    def preparing(self) -> tuple[Callable[[], Prepared], int]:
        """What makes the table of the campaigns as they now are, in any thread, and `controls` as it now is."""
        return self.inbox.preparing(), self.controls

    def adopt(self, prepared: Prepared, controls: int, now_ns: int) -> None:
        """Goes on with a table that was made of `preparing`."""
        if self._journal is not None:
            self._journal.adopt(now_ns, controls)
        self.engine.adopt(prepared, now_ns)
        self.adopted_controls = controls

    def adopt_model(self, model: Model, line_masks: Masks, now_ns: int) -> None:
        """Goes on with another model; `line_masks` are its own of the table that decides now."""
        if self._journal is not None:
            self._journal.model(now_ns, model.hash)
        self.engine.adopt_model(model, now_ns, line_masks)

    def on_control(self, messages: Sequence[Message], now_ns: int) -> None:
        """`take_control`, and at once the table: for who can wait, such as a simulation."""
        last = [message for message in messages if message.topic in _LAST]
        first = [message for message in messages if message.topic not in _LAST] if last else messages
        for part in (first, last):
            if part and self.take_control(part, now_ns):
                prepare, controls = self.preparing()
                self.adopt(prepare(), controls, now_ns)

    def on_tick(self, now_ns: int) -> list[Outbound]:
        """Lets time pass, reports the slices to the bank, and the funnel of an hour that is over to analysts."""
        if self._journal is not None:
            self._journal.tick(now_ns)
        self._hours.turn(now_ns)
        self._ticks += 1
        if self._ticks % _TICKS_A_LAG == 0:
            self._measure_lag()
        report = self.engine.tick(now_ns)
        return [Outbound(SLICES, self._seat_key, encode(report)), *self._funnels()]

    def _measure_lag(self) -> None:
        """Takes the lag of what was answered lately: that of a rush is no reason to refuse for the rest of a life."""
        latency = self.latency
        if latency.count - self._measured >= _LEAST_MEASURED:
            self.lag_ms = min(math.ceil(latency.quantile_ms(0.99, self._counts)), _MOST_LAG_MS)
            self._measured, self._counts = latency.count, latency.counts()

    def on_stop(self, now_ns: int) -> list[Outbound]:
        """What is left to tell before it ends: the funnel of the hour that is not over."""
        self._hours.turn(now_ns)
        self._hours.end()
        return self._funnels()

    def _funnels(self) -> list[Outbound]:
        return [Outbound(FUNNELS, self._seat_key, encode(part)) for part in self._hours.due()]


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
        parts += [self._renewal.run_tables, self._renewal.run_models]
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
            for piece in pieces(messages):
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
