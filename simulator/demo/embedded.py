"""The embedded run: broker, exchange, bidder, bank and tracker in one process and one event loop.

Real clients on a loopback broker, real HTTP, SQLite: what differs from a distributed run is only that all parts
share a process, and that the clock waits for the machine (`simulator.demo.clock`).
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from bidder.core.bankrules import BankRules
from bidder.core.engine import Engine
from bidder.core.inbox import CONTROL_TOPICS
from bidder.core.messages import BID_REQUESTS, BID_RESPONSES, DECISIONS, NOTICES, SLICES, TOPICS
from bidder.core.scoring import Model
from bidder.core.settings import NS_PER_SECOND, EngineSettings, ShadingSettings
from bidder.core.shading import Shading
from bidder.core.warm import warm_kernels
from bidder.errors import DependencyError
from bidder.runtime.bank import BANK_GROUP
from bidder.runtime.bank_loop import run_bank
from bidder.runtime.bank_shards import BankSource, ShardedBank
from bidder.runtime.bus import Bus, BusSink, BusSource
from bidder.runtime.heap import settle_heap
from bidder.runtime.kafka import KafkaSink, KafkaSource
from bidder.runtime.transport import Source
from bidder.runtime.worker import Worker
from bidder.runtime.worker_shell import WorkerShell
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from bidder.store.journal import JournalWriter
from bidder.store.landscape import load_and_keep
from bidder.store.seat import open_journal
from bidder.web.publish import run_tracker
from bidder.web.track import Tracker
from simulator.broker.server import EmbeddedBroker
from simulator.demo.books import settle_books
from simulator.demo.clock import PacedClock
from simulator.demo.exchange_shell import NEVER_NS, ExchangeShell
from simulator.demo.http_client import NoticeClient
from simulator.demo.plan import Plan
from simulator.exchange.exchange import Exchange

PARTITIONS = dict.fromkeys(TOPICS, 1)
"""One each: a single process gains nothing by more, and every partition costs fetches of its own."""
PATIENCE_S = 3.0
"""Wall seconds that the parts allow each other before money moves on: leases, reservations."""
LONGEST_S = 7 * 86_400.0
"""Most that settings allow for such times, in seconds of the shared clock."""
MAX_SPEEDUP = LONGEST_S / PATIENCE_S
"""Above it the longest times allowed are less than `PATIENCE_S` on the wall."""
DATABASE = "clearbid.db"
DECISION_LOG = "decisions.jsonl"
_DRAIN_S = 20.0
_Resource = TypeVar("_Resource")


@dataclass
class Run:
    """A run under way, for whoever looks at it.

    Attributes:
        shell: the exchange. worker: the bidder. tracker: the endpoints. clock: shared by all.
        speedup: of the clock where nothing holds it up.
    """

    plan: Plan
    shell: ExchangeShell
    worker: Worker
    tracker: Tracker
    clock: PacedClock
    speedup: float


def times_for(speedup: float) -> float:
    """Seconds of the shared clock that are `PATIENCE_S` on the wall, a minute at least and `LONGEST_S` at most."""
    return min(max(60.0, PATIENCE_S * speedup), LONGEST_S)


def settings_for(plan: Plan, speedup: float, public_url: str) -> EngineSettings:
    """The engine's settings for a plan."""
    return EngineSettings(
        currency=plan.currency,
        exchanges=plan.exchange_rules(times_for(speedup)),
        public_url=public_url,
        external_scores=plan.external_scores,
        pacing=plan.pacing,
    )


def bank_rules_for(speedup: float) -> BankRules:
    """The bank's rules for a speed of the clock."""
    seconds = times_for(speedup)
    return BankRules(
        lease_ns=int(seconds * NS_PER_SECOND),
        longest_reservation_ns=int(2 * seconds * NS_PER_SECOND),
        margin_ns=int(seconds * NS_PER_SECOND / 10),
        spent_refresh_ns=int(0.02 * speedup * NS_PER_SECOND),
    )


async def run_embedded(
    plan: Plan,
    model: Model | None,
    folder: Path,
    key: bytes,
    speedup: float,
    watch: Callable[[Run], None],
    *,
    broker: bool = True,
    landscape: Path | None = None,
    priced: ShadingSettings | None = None,
) -> Run:
    """Plays a plan and returns when all that follows from it is booked.

    Args:
        plan: what to play. model: compiled models, or None where the log brings scores.
        folder: for the database, the journal and the decision log; made new for this run.
        key: signs tokens. speedup: of the clock.
        watch: called some times a second and once at the end.
        broker: whether messages go over a broker, by its clients, or by the bus within the process.
        landscape: prices bids at first price, where there is one. priced: settings of that.

    Raises:
        DependencyError: a part was not there or fell silent.
    """
    warm_kernels(model)
    with Database(folder / DATABASE) as database:
        CampaignStore(database).put(plan.campaigns.values(), at_ns=plan.start_ns, actor="demo")
    clock = PacedClock(plan.start_ns, speedup)
    async with AsyncExitStack() as stack:
        place: str | Bus = Bus(PARTITIONS)
        if broker:
            server = EmbeddedBroker(PARTITIONS)
            place = await server.start()
            stack.push_async_callback(server.stop)
        parts = _Parts(stack, place, clock)
        await _start_bank(parts, folder, bank_rules_for(speedup))
        tracker = Tracker([key], plan.currency)
        port = await _start_tracker(parts, tracker)
        settings = settings_for(plan, speedup, f"http://127.0.0.1:{port}")
        settings = msgspec.structs.replace(settings, shading=priced or settings.shading)
        shading = load_and_keep(landscape, folder) if landscape is not None else Shading.none()
        start_id = f"demo-{plan.seed}"
        engine = Engine(settings, key, model, start_id, shading)
        journal = open_journal(folder, settings, key, model, start_id, shading.hash)
        worker = await _start_worker(parts, engine, journal)
        await parts.start_log(folder / DECISION_LOG)
        shell = await _start_exchange(parts, plan, port, speedup, engine)
        run = Run(plan, shell, worker, tracker, clock, speedup)
        settle_heap()
        await _until(lambda: worker.ready, parts, "the bidder must get its first lease")
        await _play(run, parts, watch)
        await settle_books(folder / DATABASE, shell.exchange.books, plan.end_ns)
        watch(run)
        await parts.stop()
    return run


async def _play(run: Run, parts: "_Parts", watch: Callable[[Run], None]) -> None:
    playing = parts.spawn(run.shell.run())
    while not playing.done():
        await asyncio.wait([playing, parts.failed], timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        parts.check()
        watch(run)
    await playing


class _Parts:
    """The tasks of a run, and what they use; the first failure ends the run."""

    def __init__(self, stack: AsyncExitStack, place: str | Bus, clock: PacedClock) -> None:
        self._stack = stack
        self._place = place
        self._tasks: list[asyncio.Task[None]] = []
        self.clock = clock
        self.stopping = asyncio.Event()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stack.push_async_callback(self.stop)

    def enter(self, resource: AbstractContextManager[_Resource]) -> _Resource:
        """Keeps a resource until all tasks have ended."""
        return self._stack.enter_context(resource)

    def defer(self, close: Callable[[], Coroutine[object, object, None]]) -> None:
        """Calls `close` at the end."""
        self._stack.push_async_callback(close)

    async def source(self, topics: tuple[str, ...], group: str | None) -> BusSource | KafkaSource:
        source = self._source(topics, group)
        await source.start()
        self._stack.push_async_callback(source.stop)
        return source

    def _source(self, topics: tuple[str, ...], group: str | None) -> BusSource | KafkaSource:
        if isinstance(self._place, Bus):
            return self._place.source(topics, group)
        return KafkaSource(self._place, topics, group=group, client_id="demo", from_beginning=True)

    async def sink(self) -> BusSink | KafkaSink:
        sink = (
            self._place.sink() if isinstance(self._place, Bus) else KafkaSink(self._place, client_id="demo")
        )
        await sink.start()
        self._stack.push_async_callback(sink.stop)
        return sink

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.append(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.failed.done():
            self.failed.set_result(None)

    def check(self) -> None:
        """Raises what ended a part before its time."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def stop(self) -> None:
        """Asks every part to end, waits a while, and cancels what has not."""
        self.stopping.set()
        if self._tasks:
            _, slow = await asyncio.wait(self._tasks, timeout=10.0)
            for task in slow:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start_log(self, path: Path) -> None:
        """Writes the decision log to a file, for analysts."""
        source = await self.source((DECISIONS,), None)
        self.spawn(_write_log(source, path, self.stopping))


async def _write_log(source: Source, path: Path, stop: asyncio.Event) -> None:
    # For its owner alone, as the journal: rows say what users were offered.
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(made, "wb") as file:
        while True:
            ending = stop.is_set()
            messages = await source.poll(1_000, 0.1)
            file.writelines(message.value for message in messages)
            if ending and not messages:
                return


async def _until(ready: Callable[[], bool], parts: _Parts, what: str) -> None:
    began_s = time.monotonic()
    while not ready():
        parts.check()
        if time.monotonic() - began_s > _DRAIN_S:
            raise DependencyError(f"{what} within {_DRAIN_S:.0f} s, had none")
        await asyncio.sleep(0.01)


async def _start_bank(parts: _Parts, folder: Path, rules: BankRules) -> None:
    database = parts.enter(Database(folder / DATABASE))
    notices = await parts.source((NOTICES,), BANK_GROUP)
    source = BankSource(notices, await parts.source((SLICES,), None))
    service = ShardedBank(database, rules, PARTITIONS[NOTICES])
    parts.spawn(run_bank(service, source, await parts.sink(), parts.clock, parts.stopping, tick_s=0.05))


async def _start_tracker(parts: _Parts, tracker: Tracker) -> int:
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sink = await parts.sink()
    parts.spawn(run_tracker(tracker, sink, parts.clock, "127.0.0.1", 0, parts.stopping, ready=ready))
    await _until(ready.done, parts, "the tracker must listen")
    return ready.result()


async def _start_worker(parts: _Parts, engine: Engine, journal: JournalWriter) -> Worker:
    parts.enter(journal)
    worker = Worker(engine, journal)
    requests = await parts.source((BID_REQUESTS,), "clearbid-bid")
    control = await parts.source(CONTROL_TOPICS, None)
    shell = WorkerShell(worker, requests, control, await parts.sink(), parts.clock)
    parts.spawn(shell.run(parts.stopping))
    return worker


async def _start_exchange(
    parts: _Parts, plan: Plan, port: int, speedup: float, engine: Engine
) -> ExchangeShell:
    client = NoticeClient("127.0.0.1", port)
    await client.start()
    parts.defer(client.close)
    return ExchangeShell(
        Exchange(plan.encoder(), plan.outcomes, seed=plan.seed),
        plan.rows(),
        plan.row_count,
        responses=await parts.source((BID_RESPONSES,), None),
        sink=await parts.sink(),
        client=client,
        clock=parts.clock,
        speedup=speedup,
        max_open=plan.max_open,
        hold=lambda limit_ns: parts.clock.set_limit(_before_end(limit_ns, plan)),
        unsettled=lambda: engine.wallet.purse.open_reservations,
    )


def _before_end(limit_ns: int, plan: Plan) -> int:
    """The limit of time; while there are rows it is within the flights, or the last bids would find them over."""
    return limit_ns if limit_ns == NEVER_NS else min(limit_ns, plan.end_ns - 1)
