"""What a change of models costs the requests that run meanwhile: none lost, and by how much the slowest are slower.

    python -m benchmarks.bench_swap [--seconds 12] [--rounds 4] [--every 3] [--load 0.7] [--in-thread] [--json FILE]

One worker on the in-process bus gets Poisson load at 70 % (`--load`) of what it carried just before. Spans without a
change and spans with one every few seconds take turns. Another process promotes, in a registry, one of two models of
2 x 100 trees; the worker sees it as `clearbid bid` does, lets a process read, check and compile it (with
`--in-thread` a thread of its own), and adopts it between two batches. A run in which a request is not answered
exactly once, or money is not as the bank booked it, has no figures.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Cpu, OpenLoop, batch_sizes, open_loop, spread
from benchmarks.in_process import Generator, Watched, posted_of, until
from benchmarks.load import Bank, Load, schedule
from benchmarks.market import KEY, START_ID, Market, make_market, trained
from benchmarks.processes import machine
from benchmarks.stages import LEAD_IN_S, LOAD_SHARE, WARM_UP_S, BenchmarkError, check_run
from benchmarks.traffic import TMAX_MS
from benchmarks.workload import write_config, write_models
from bidder.core.engine import Engine
from bidder.core.inbox import CONTROL_TOPICS
from bidder.core.messages import BID_REQUESTS, CAMPAIGNS, LEASES, TOPICS
from bidder.core.warm import warm_kernels
from bidder.runtime.bus import Bus
from bidder.runtime.clock import AffineClock
from bidder.runtime.heap import settle_heap
from bidder.runtime.renewal import ModelFolder, Renewal
from bidder.runtime.worker import Worker
from bidder.runtime.worker_shell import WorkerShell
from bidder.store.journal import ModelChange, read_journal
from bidder.store.model import load_model, model_mark
from bidder.store.model_apart import load_model_apart
from bidder.store.seat import JOURNAL, open_journal
from models.registry import ModelRegistry

LOOK_S = 0.25
"""Between looks at the registry."""
WINDOW = 256


class Swaps(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: a figure a round, quiet and with changes.

    requests: asked in all, each answered once. adopted: changes of the model that decided, as the journal has them.
    """

    machine: dict[str, str | float]
    rate: float
    requests: int
    adopted: int
    quiet: list[OpenLoop]
    swapping: list[OpenLoop]


class Bench:
    """One measurement.

    Args:
        folder: for models, registry and journal. seconds: of each span. rounds: of both kinds.
        every_s: seconds between changes. tell: is told what happens. share: of what it carried, for the load.
        apart: whether models are made in a process of their own, as `clearbid bid` does. lines: line items.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seconds: float,
        rounds: int,
        every_s: float,
        tell: Callable[[str], None],
        share: float = LOAD_SHARE,
        apart: bool = True,
        lines: int = 100,
    ) -> None:
        self._folder = folder
        self._share = share
        self._load = load_model_apart if apart else load_model
        self._seconds, self._rounds, self._every_s = seconds, rounds, every_s
        self._tell = tell
        self._machine = machine()
        tell("training two models")
        self._market: Market = make_market(lines)
        self._config = write_config(folder / "bus.toml", self._market, "127.0.0.1:9092", "")
        self._registry = ModelRegistry(folder / "registry", by="benchmark")
        self._hashes = self._add_models()

    def _add_models(self) -> tuple[str, str]:
        """Two models of the same trees, so that the load stays the same, and of other probabilities."""
        one = trained(self._market.seed)
        two = replace(one, knots=tuple(knots * [[1.0], [0.98]] for knots in one.knots))
        found = [
            self._registry.add(write_models(each, self._folder / name), "benchmark")
            for name, each in (("one", one), ("two", two))
        ]
        self._registry.promote(found[0], "benchmark")
        return found[0], found[1]

    def run(self) -> Swaps:
        """Measures.

        Raises:
            BenchmarkError: something was lost or repeated, or no model was changed.
        """
        model = load_model(self._registry.path)
        warm_kernels(model)
        folder = self._folder / "seat"
        settings = self._config.engine_settings()
        with open_journal(folder, settings, KEY, model, START_ID) as journal:
            worker = Worker(Engine(settings, KEY, model, START_ID), journal)
            found = uvloop.run(self._run(worker))
        adopted = sum(isinstance(entry, ModelChange) for entry in read_journal(folder / JOURNAL))
        if not adopted:
            raise BenchmarkError("a model must have been changed while requests ran, none was")
        return msgspec.structs.replace(found, adopted=adopted)

    async def _run(self, worker: Worker) -> Swaps:
        partitions = self._config.kafka.partitions
        bus = Bus(dict.fromkeys(TOPICS, partitions))
        clock = AffineClock(self._market.origin_ns, time.time_ns(), 1.0)
        watched = [Watched(bus.source((BID_REQUESTS,), "bid")), Watched(bus.source(CONTROL_TOPICS))]
        path = self._registry.path
        models = ModelFolder(path, self._load, model_mark, model_mark(path), LOOK_S)
        shell = WorkerShell(worker, *watched, bus.sink(), clock, renewal=Renewal(worker, clock, models))
        bank = Bank(self._market)
        load = Load(bank)
        generator = Generator(bus, load, bank, partitions, watched)
        stop = asyncio.Event()
        running = asyncio.create_task(shell.run(stop))
        try:
            generator.publish(CAMPAIGNS, bank.changes())
            generator.publish(LEASES, bank.leases(START_ID))
            await until(lambda: worker.ready and worker.current)
            settle_heap()
            rate = self._share * await self._carried(generator)
            quiet, swapping = [], []
            for number in range(self._rounds):
                self._tell(f"round {number + 1} of {self._rounds} at {rate:,.0f} requests/s")
                quiet.append(await self._span(generator, rate, seed=2 * number))
                swapping.append(await self._swapping(generator, rate, seed=2 * number + 1))
            generator.tell()
            await until(lambda: posted_of(worker.engine, bank) == bank.posted_nanos)
        finally:
            stop.set()
            await running
        check_run(load, bank, worker.requests, posted_of(worker.engine, bank))
        return Swaps(
            machine=self._machine, rate=rate, requests=load.sent, adopted=0, quiet=quiet, swapping=swapping
        )

    async def _carried(self, generator: Generator) -> float:
        """Requests a second with as many outstanding as it takes."""
        await generator.closed(self._market.bodies, WINDOW, WARM_UP_S)
        begin_ns = time.monotonic_ns()
        await generator.closed(self._market.bodies, WINDOW, 2.0)
        rate = generator.load.records().rate(begin_ns, time.monotonic_ns())
        await generator.drain()
        return rate

    async def _span(self, generator: Generator, rate: float, seed: int) -> OpenLoop:
        bodies = self._market.hurried
        await generator.open(bodies, schedule(1_000 + seed, rate, LEAD_IN_S).tolist())
        first, begin_ns = generator.load.sent, time.monotonic_ns()
        await generator.open(bodies, schedule(seed, rate, self._seconds).tolist())
        end_ns = time.monotonic_ns()
        await generator.drain()
        return open_loop(
            generator.load.records(first),
            begin_ns,
            end_ns,
            tmax_ms=TMAX_MS,
            cpu=Cpu(None, None, None),
            batches=batch_sizes(Counter()),
        )

    async def _swapping(self, generator: Generator, rate: float, seed: int) -> OpenLoop:
        """A span with changes; they are made by a process of its own, as they are in life."""
        count = max(1, int(self._seconds / self._every_s))
        context = multiprocessing.get_context("spawn")
        promoting = context.Process(
            target=_promote, args=(self._registry.path, self._hashes, count, self._every_s), daemon=True
        )
        await asyncio.to_thread(promoting.start)
        found = await self._span(generator, rate, seed)
        await asyncio.to_thread(promoting.join, 60.0)
        if promoting.exitcode != 0:
            raise BenchmarkError(f"the promoting process must end well, ended with {promoting.exitcode}")
        await asyncio.sleep(4 * LOOK_S)  # the last change is no part of the next quiet span
        return found


def _promote(path: Path, hashes: tuple[str, str], count: int, every_s: float) -> None:
    """Changes the champion `count` times."""
    registry = ModelRegistry(path, by="benchmark")
    time.sleep(LEAD_IN_S)
    for _ in range(count):
        registry.promote(hashes[registry.hash_of("champion") == hashes[0]], "benchmark")
        time.sleep(every_s)


def show(figures: Swaps, console: Console) -> None:
    """Prints conditions and latencies."""
    m = figures.machine
    console.print(f"{m['cpu']}, {m['cores']:.0f} cores, load {m['load_1m']:.2f} before")
    console.print(
        f"{figures.requests:,} requests at {figures.rate:,.0f}/s, each answered once: 0 lost; "
        f"{figures.adopted} changes of models adopted"
    )
    table = Table(title="milliseconds: median over rounds (least..greatest)", title_justify="left")
    for column in ("", "p50", "p99", "p99.9", "slowest", "late"):
        table.add_column(column, justify="left" if not column else "right")
    for name, rounds in (("without a change", figures.quiet), ("with changes", figures.swapping)):
        cells = []
        for field in ("p50_ms", "p99_ms", "p999_ms", "max_ms"):
            one = spread([getattr(each, field) for each in rounds])
            cells.append(f"{one.median:,.2f} ({one.low:,.2f}..{one.high:,.2f})")
        table.add_row(name, *cells, f"{spread([each.late for each in rounds]).median:.3%}")
    console.print(table)
    bump = spread([two.p99_ms - one.p99_ms for one, two in zip(figures.quiet, figures.swapping, strict=True)])
    console.print(f"p99 is {bump.median:+.2f} ms ({bump.low:+.2f}..{bump.high:+.2f}) while models change")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_swap", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="of each span (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="spans of each kind (%(default)s)")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between changes (%(default)s)")
    parser.add_argument("--load", type=float, default=LOAD_SHARE, help="share of capacity (%(default)s)")
    parser.add_argument("--in-thread", action="store_true", help="make models in a thread of the worker")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    arguments = parser.parse_args(argv)
    spans = arguments.seconds > 0 and arguments.rounds >= 1 and 0 < arguments.every <= arguments.seconds
    if not (spans and 0 < arguments.load <= 1):
        sys.stderr.write(
            "error: --load must be in (0, 1], --seconds > 0, --rounds >= 1, --every above 0 and at most --seconds\n"
        )
        return 2
    progress = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="clearbid-swap-") as folder:
        figures = Bench(
            Path(folder),
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            every_s=arguments.every,
            share=arguments.load,
            apart=not arguments.in_thread,
            tell=lambda what: progress.print(f"[dim]{time.strftime('%H:%M:%S')} {what}[/dim]"),
        ).run()
    show(figures, Console(width=140))
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
