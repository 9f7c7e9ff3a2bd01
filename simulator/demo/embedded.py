"""The embedded run: broker, exchange, bidder, bank and tracker in one process and one event loop.

Real clients on a loopback broker, real HTTP, SQLite: what differs from a distributed run is only that all parts
share a process, and that the clock waits for the machine (`simulator.demo.clock`).
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bidder.core.bank import Bank, CampaignReport
from bidder.core.bankrules import BankRules
from bidder.core.engine import Engine
from bidder.core.inbox import CONTROL_TOPICS
from bidder.core.messages import (
    BID_REQUESTS,
    BID_RESPONSES,
    CAMPAIGNS,
    DECISIONS,
    LEASES,
    NOTICES,
    SETTLEMENTS,
    SLICES,
)
from bidder.core.scoring import Model
from bidder.core.settings import NS_PER_SECOND, EngineSettings
from bidder.core.warm import warm_kernels
from bidder.errors import DependencyError
from bidder.runtime.bank import BankService, run_bank
from bidder.runtime.clock import Clock
from bidder.runtime.kafka import KafkaSink, KafkaSource
from bidder.runtime.transport import Sink, Source
from bidder.runtime.worker import Worker, WorkerShell
from bidder.store.books import Books
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from bidder.store.seat import open_journal
from bidder.web.publish import run_tracker
from bidder.web.track import Tracker
from simulator.broker.server import EmbeddedBroker
from simulator.demo.clock import PacedClock
from simulator.demo.exchange_shell import ExchangeShell
from simulator.demo.http_client import NoticeClient
from simulator.demo.plan import Plan
from simulator.exchange.exchange import Exchange

PARTITIONS = {
    BID_REQUESTS: 4, BID_RESPONSES: 4, DECISIONS: 4, NOTICES: 4,
    SETTLEMENTS: 1, LEASES: 1, SLICES: 1, CAMPAIGNS: 1,
}  # fmt: skip
COMPACTED = (LEASES, CAMPAIGNS)
PATIENCE_S = 3.0
"""Wall seconds that the parts allow each other before money moves on: leases, reservations."""
_DRAIN_S = 20.0


@dataclass
class Run:
    """A run under way, for whoever looks at it.

    Attributes:
        shell: the exchange. worker: the bidder. tracker: the endpoints. clock: shared by all.
        report: the bank's books as they stand. speedup: of the clock where nothing holds it up.
    """

    plan: Plan
    shell: ExchangeShell
    worker: Worker
    tracker: Tracker
    clock: PacedClock
    report: Callable[[], dict[str, CampaignReport]]
    speedup: float
    failures: list[str] = field(default_factory=list)


def times_for(speedup: float) -> float:
    """Seconds of the shared clock that are `PATIENCE_S` on the wall, at least a minute."""
    return max(60.0, PATIENCE_S * speedup)


def settings_for(plan: Plan, speedup: float, public_url: str) -> EngineSettings:
    """The engine's settings for a plan."""
    rules = plan.exchange_rules(times_for(speedup))
    names = {"default", *plan.first_price, *plan.exchanges}
    return EngineSettings(
        currency=plan.currency,
        exchanges={name: rules.get(name, rules["default"]) for name in sorted(names)},
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
    plan: Plan, model: Model | None, folder: Path, key: bytes, speedup: float, watch: Callable[[Run], None]
) -> Run:
    """Plays a plan and returns when all that follows from it is booked.

    Args:
        plan: what to play. model: compiled models, or None where the log brings scores.
        folder: for the database, the journal and the decision log; made new for this run.
        key: signs tokens. speedup: of the clock.
        watch: called some times a second and once at the end.

    Raises:
        DependencyError: a part was not there or fell silent.
    """
    warm_kernels(model)
    stop = asyncio.Event()
    clock = PacedClock(plan.start_ns, speedup)
    async with AsyncExitStack() as stack:
        database = stack.enter_context(Database(folder / "clearbid.db"))
        store = CampaignStore(database)
        store.put(plan.campaigns.values(), at_ns=plan.start_ns, actor="demo")
        broker = EmbeddedBroker(PARTITIONS)
        bootstrap = await broker.start()
        stack.push_async_callback(broker.stop)
        parts = _Parts(stack, bootstrap, clock, stop)
        stack.push_async_callback(parts.stop)
        bank = await _start_bank(parts, database, store, speedup)
        tracker = Tracker([key], plan.currency)
        port = await _start_tracker(parts, tracker)
        worker = await _start_worker(parts, plan, model, folder, key, speedup, port)
        await parts.start_log(folder / "decisions.jsonl")
        shell = await _exchange(parts, plan, port, speedup)
        run = Run(plan, shell, worker, tracker, clock, bank, speedup)
        await _until(lambda: worker.ready, parts, "the bidder must get its first lease")
        playing = parts.spawn(shell.run())
        while not playing.done():
            await asyncio.wait([playing, parts.failed], timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            parts.check()
            watch(run)
        await playing
        await _drain(run, parts)
        watch(run)
    return run


class _Parts:
    """The tasks of a run, and the clients that they use; the first failure ends the run."""

    def __init__(self, stack: AsyncExitStack, bootstrap: str, clock: PacedClock, stop: asyncio.Event) -> None:
        self._stack = stack
        self._bootstrap = bootstrap
        self.clock = clock
        self.stopping = stop
        self._tasks: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def source(self, topics: tuple[str, ...], group: str | None) -> Source:
        source = KafkaSource(self._bootstrap, topics, group=group, client_id="demo", from_beginning=True)
        await source.start()
        self._stack.push_async_callback(source.stop)
        return source

    async def sink(self) -> Sink:
        sink = KafkaSink(self._bootstrap, client_id="demo")
        await sink.start()
        self._stack.push_async_callback(sink.stop)
        return sink

    def spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
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
    with path.open("wb") as file:
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
