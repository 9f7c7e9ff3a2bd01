"""The worker on the in-process bus: its shell, engine, journal and ledger, no sockets.

Generator and worker share one thread. The generator's own CPU time is metered and taken off, and while the open
loop runs it spins between requests instead of sleeping, because timers of the event loop are a millisecond coarse.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

from benchmarks.alone import Ground
from benchmarks.figures import Cpu, Round
from benchmarks.load import Bank, Load, Told, schedule
from benchmarks.market import KEY, SEAT, START_ID, Market
from benchmarks.stages import (
    DRAIN_S,
    LEAD_IN_S,
    LOAD_SHARE,
    WARM_UP_S,
    Stage,
    Watch,
    batches_of,
    check_run,
    closed_figures,
    open_figures,
)
from benchmarks.traffic import Bodies
from bidder.config import Config
from bidder.core.engine import Engine
from bidder.core.inbox import CONTROL_TOPICS
from bidder.core.messages import (
    BID_REQUESTS,
    BID_RESPONSES,
    CAMPAIGNS,
    EXPOSURES,
    LEASES,
    SETTLEMENTS,
    TOPICS,
)
from bidder.core.scoring import Model
from bidder.runtime.bus import Bus, BusSource
from bidder.runtime.clock import AffineClock
from bidder.runtime.heap import settle_heap
from bidder.runtime.latency import LatencyHistogram
from bidder.runtime.transport import Message, Outbound
from bidder.runtime.worker import Worker
from bidder.runtime.worker_shell import WorkerShell
from bidder.store.journal import JournalWriter
from bidder.store.seat import JOURNAL, open_journal

FLOOR_S = 1.0
"""CPU time of the floor in each round."""
TELL_S = 0.01
"""The bank gathers for so long before it tells the worker."""
_UNREAD = tuple(sorted({*TOPICS} - {BID_REQUESTS, BID_RESPONSES, *CONTROL_TOPICS}))
_FORGOTTEN = Message("", 0, 0, None, b"", 0)


class InProcess:
    """Measures a worker on a bus.

    Args:
        market: what is asked. config: the worker's. model: compiled. ground: the floor of the market.
        window: requests outstanding in the closed loop. seconds: of each loop.
    """

    def __init__(
        self,
        market: Market,
        config: Config,
        model: Model,
        ground: Ground,
        *,
        window: int,
        seconds: float,
    ) -> None:
        self._market = market
        self._ground = ground
        self._config = config
        self._model = model
        self._window = window
        self._seconds = seconds

    def measure(self, folder: Path, seed: int) -> Round:
        """One round with a worker of its own, whose journal stays in `folder`."""
        settings = self._config.engine_settings()
        journal = open_journal(folder, settings, KEY, self._model, START_ID)
        with journal:
            load, stages, batch_ms = uvloop.run(self._run(journal, seed))
        batches = batches_of(folder / JOURNAL, stages)
        closed, open_ = stages
        return Round(
            closed_figures(closed, load.records(), self._window, batches[0]),
            open_figures(open_, load.records(), batches[1]),
            floor_us=self._ground.us_a_request(FLOOR_S),
            batch_ms=(batch_ms.quantile_ms(0.5), batch_ms.quantile_ms(0.99)),
        )

    async def _run(self, journal: JournalWriter, seed: int) -> tuple[Load, list[Stage], LatencyHistogram]:
        partitions = self._config.kafka.partitions
        bus = Bus(dict.fromkeys(TOPICS, partitions))
        clock = AffineClock(self._market.origin_ns, time.time_ns(), 1.0)
        engine = Engine(self._config.engine_settings(), KEY, self._model, START_ID)
        worker = Worker(engine, journal)
        requests = Watched(bus.source((BID_REQUESTS,), "bid"))
        control = Watched(bus.source(CONTROL_TOPICS))
        shell = WorkerShell(worker, requests, control, bus.sink(), clock)
        bank = Bank(self._market)
        load = Load(bank)
        generator = Generator(bus, load, bank, partitions, [requests, control])
        stop = asyncio.Event()
        running = asyncio.create_task(shell.run(stop))
        try:
            generator.publish(CAMPAIGNS, bank.changes())
            generator.publish(LEASES, bank.leases(START_ID))
            await until(lambda: worker.ready and worker.current)
            settle_heap()
            watch = Watch(clock, generator.meters)
            stages = [await self._closed(generator, watch)]
            rate = LOAD_SHARE * load.records().rate(stages[0].begin_ns, stages[0].end_ns)
            worker.latency = LatencyHistogram()
            stages.append(await self._open(generator, watch, seed, rate))
            generator.tell()
            await until(lambda: posted_of(worker.engine, bank) == bank.posted_nanos)
        finally:
            stop.set()
            await running
        check_run(load, bank, worker.requests, posted_of(engine, bank))
        return load, stages, worker.latency

    async def _closed(self, generator: "Generator", watch: Watch) -> Stage:
        bodies = self._market.bodies
        await generator.closed(bodies, self._window, WARM_UP_S)
        watch.begin(generator.load.sent)
        await generator.closed(bodies, self._window, self._seconds)
        stage = watch.end()
        await generator.drain()
        return stage

    async def _open(self, generator: "Generator", watch: Watch, seed: int, rate: float) -> Stage:
        bodies = self._market.hurried
        await generator.open(bodies, schedule(seed, rate, LEAD_IN_S).tolist())
        watch.begin(generator.load.sent)
        await generator.open(bodies, schedule(seed + 1, rate, self._seconds).tolist())
        stage = watch.end()._replace(cpu=Cpu(None, None, None))  # it spun
        await generator.drain()
        return stage


def posted_of(engine: Engine, bank: Bank) -> dict[str, int]:
    """What an engine has posted, by campaign."""
    purse = engine.wallet.purse
    return {campaign_id: purse.posted(purse.account(campaign_id)) for campaign_id in bank.posted_nanos}


async def until(done: Callable[[], bool]) -> None:
    """Lets the worker go on until something is so, for a bounded time; `check_run` says whether it came to be."""
    for _ in range(int(DRAIN_S * 100)):
        if done():
            return
        await asyncio.sleep(0.01)


class Watched:
    """A source of the worker that tells how far it was read, so that the bus can forget."""

    def __init__(self, source: BusSource) -> None:
        self._source = source
        self.polled: list[list[Message]] = []

    async def start(self) -> None:
        await self._source.start()

    async def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        messages = await self._source.poll(max_messages, timeout_s)
        if messages:
            self.polled.append(messages)
        return messages

    async def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        await self._source.commit(next_offsets)

    def caught_up(self) -> bool:
        return self._source.caught_up()

    async def stop(self) -> None:
        await self._source.stop()


class Generator:
    """Asks, takes answers, settles; its CPU time is metered."""

    def __init__(self, bus: Bus, load: Load, bank: Bank, partitions: int, watched: Sequence[Watched]) -> None:
        self.load = load
        self._bank = bank
        self._told_s = 0.0
        self._bus = bus
        self._partitions = partitions
        self._watched = watched
        self._responses = bus.source((BID_RESPONSES,))
        self._sink = bus.sink()
        self._cpu_ns = 0
        self._forgotten: dict[tuple[str, int], int] = {}

    def meters(self) -> Cpu:
        """CPU seconds so far: all of the process that is not the generator is the worker."""
        own = self._cpu_ns / 1e9
        return Cpu(time.process_time() - own, None, own)

    def publish(self, topic: str, items: Sequence[tuple[str, bytes]]) -> None:
        """Puts control messages."""
        self._sink.put([Outbound(topic, key.encode(), value) for key, value in items])

    async def closed(self, bodies: Bodies, window: int, seconds: float) -> None:
        """Keeps `window` requests outstanding for `seconds`."""
        end_ns = time.monotonic_ns() + int(seconds * 1e9)
        self._ask(bodies, [time.monotonic_ns()] * (window - self.load.outstanding))
        while (now_ns := time.monotonic_ns()) < end_ns:
            messages = await self._responses.poll(1_000, 0.1)
            self._take(messages)
            self._ask(bodies, [now_ns] * len(messages))
            await asyncio.sleep(0)

    async def open(self, bodies: Bodies, due_ns: Sequence[int]) -> None:
        """Asks when it is time, whatever was answered; returns after the last was sent."""
        begin_ns = time.monotonic_ns()
        place = 0
        while place < len(due_ns):
            now_ns = time.monotonic_ns() - begin_ns
            first = place
            while place < len(due_ns) and due_ns[place] <= now_ns:
                place += 1
            if place > first:
                self._ask(bodies, [begin_ns + at for at in due_ns[first:place]])
            await asyncio.sleep(0)
            self._take(self._responses.take(1_000))

    async def drain(self) -> None:
        """Takes what is still to come."""
        deadline_s = time.monotonic() + DRAIN_S
        while self.load.outstanding and time.monotonic() < deadline_s:
            self._take(await self._responses.poll(1_000, 0.1))

    def _ask(self, bodies: Bodies, due_ns: Sequence[int]) -> None:
        with self._metered():
            self._sink.put([bodies.outbound(self.load.send(at), self._partitions) for at in due_ns])

    def _take(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        at_ns = time.monotonic_ns()
        with self._metered():
            for message in messages:
                self.load.receive(message.value, at_ns)
            self._forget(messages)
            if time.monotonic() - self._told_s >= TELL_S:
                self._put(self._bank.tell())

    def tell(self) -> None:
        """Tells the worker what was booked since."""
        with self._metered():
            self._put(self._bank.tell())

    def _put(self, told: Told) -> None:
        self._told_s = time.monotonic()
        found = [Outbound(SETTLEMENTS, SEAT.encode(), value) for value in told.settlements]
        found += [Outbound(EXPOSURES, None, value, 0) for value in told.exposures]
        if found:
            self._sink.put(found)

    def _forget(self, responses: Sequence[Message]) -> None:
        """Empties the bus of what was read: it would keep everything, gigabytes, and slow the collector down."""
        ends = {(message.topic, message.partition): message.offset + 1 for message in responses}
        for source in self._watched:
            polled, source.polled = source.polled, []
            ends |= {(m.topic, m.partition): m.offset + 1 for messages in polled for m in messages}
        for topic in _UNREAD:
            ends |= {(topic, partition): len(log) for partition, log in enumerate(self._bus.log(topic))}
        for (topic, partition), end in ends.items():
            begin = self._forgotten.get((topic, partition), 0)
            if end > begin:
                self._bus.log(topic)[partition][begin:end] = [_FORGOTTEN] * (end - begin)
                self._forgotten[topic, partition] = end

    @contextmanager
    def _metered(self) -> Iterator[None]:
        began_ns = time.thread_time_ns()
        yield
        self._cpu_ns += time.thread_time_ns() - began_ns
