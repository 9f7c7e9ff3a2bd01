"""How much one worker carries: saturated requests a second, and latency at 70 % of that.

    python -m benchmarks.saturation [--transport bus|embedded|kafka|all] [--seconds 8] [--rounds 3] [--json FILE]

See README.md beside this file for what is measured and how to read it. Everything is on: journal, decision log,
leases, floors, pacing, signed tokens, settlements. The figures of a naive bidder come from the same run.
"""

import argparse
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.alone import Ground
from benchmarks.figures import Round, Spread, spread
from benchmarks.in_process import InProcess
from benchmarks.kafka_generator import LINGER_MS
from benchmarks.market import KEY, make_market, trained
from benchmarks.naive_bidder import NaiveBidder
from benchmarks.over_kafka import OverKafka
from benchmarks.processes import machine
from benchmarks.stages import LOAD_SHARE, BenchmarkError
from benchmarks.traffic import TMAX_MS, Bodies
from benchmarks.workload import write_config, write_models
from bidder.core.lines import lines_of
from bidder.core.scoring import Model
from bidder.core.warm import warm_kernels
from bidder.store.model import load_model
from bidder.store.seat import JOURNAL
from models.artifact import load_bundle
from simulator.replay import replay_journal
from tests.support.kafka_server import KafkaUnavailable

TRANSPORTS = ("bus", "embedded", "kafka")
WINDOW = 512
NAIVE_S = 3.0
REPLAY_BYTES = 24_000_000
"""Of a journal that is replayed: about 30,000 requests."""
_NAMES = {"bus": "in process", "embedded": "embedded broker", "kafka": "Apache Kafka"}


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Where and with what it was measured; `load_1m` before it began."""

    cpu: str
    cores: int
    load_1m: float
    python: str
    versions: dict[str, str]
    line_items: int
    campaigns: int
    trees: int
    candidates: float
    request_bytes: float
    partitions: int
    rounds: int
    seconds: float
    on: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured; `naive_per_core` and `replay_rows_per_s` have a value a round."""

    conditions: Conditions
    transports: dict[str, list[Round]]
    naive_per_core: list[float]
    replay_rows_per_s: list[float]
    left_out: dict[str, str]


class Bench:
    """One whole measurement.

    Args:
        folder: for models, journals and configurations.
        lines: line items. seconds: of each loop. rounds: of each transport.
        tell: is told what happens.
    """

    def __init__(
        self, folder: Path, *, lines: int, seconds: float, rounds: int, tell: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._rounds = rounds
        self._tell = tell
        self._machine = machine()
        tell("drawing the market")
        self.market = make_market(lines)
        tell("training the models")
        self._directory = write_models(trained(self.market.seed), folder / "model")
        self._config = write_config(folder / "bus.toml", self.market, "127.0.0.1:9092", "")
        tell("compiling models and kernels")
        self._model: Model = load_model(self._directory)
        warm_kernels(self._model)
        tell("taking a sample for the floor")
        self._ground = Ground(self.market, self._model)
        self._naive: list[float] = []
        self._replayed: list[float] = []

    def run(self, transports: Sequence[str]) -> Result:
        """Measures; a transport that cannot be had here is left out and named with the reason."""
        done: dict[str, list[Round]] = {}
        left_out: dict[str, str] = {}
        for transport in transports:
            try:
                done[transport] = self._bus() if transport == "bus" else self._kafka(transport)
            except KafkaUnavailable as error:
                left_out[transport] = str(error)
                self._tell(f"{transport}: left out, {error}")
        return Result(
            conditions=self._conditions(),
            transports=done,
            naive_per_core=self._naive,
            replay_rows_per_s=self._replayed,
            left_out=left_out,
        )

    def _bus(self) -> list[Round]:
        bench = InProcess(
            self.market, self._config, self._model, self._ground, window=WINDOW, seconds=self._seconds
        )
        rounds = []
        for number in range(self._rounds):
            self._tell(f"bus: round {number + 1} of {self._rounds}, then replay and the naive bidder")
            folder = self._folder / f"bus-{number}"
            rounds.append(bench.measure(folder, seed=number * 10))
            self._replayed.append(self._replay(folder / JOURNAL))
            shutil.rmtree(folder)
            self._naive.append(self._naive_per_core())
        return rounds

    def _kafka(self, kind: str) -> list[Round]:
        bench = OverKafka(
            kind,
            self.market,
            self._directory,
            self._model,
            self._ground,
            window=WINDOW,
            seconds=self._seconds,
        )
        folder = self._folder / kind
        folder.mkdir()
        self._tell(f"{kind}: starting the broker and the worker")
        count = iter(range(1, self._rounds + 1))
        rounds = bench.measure(
            folder,
            [number * 10 for number in range(self._rounds)],
            lambda: self._tell(f"{kind}: round {next(count)} of {self._rounds} done"),
        )
        shutil.rmtree(folder)
        return rounds

    def _replay(self, journal: Path) -> float:
        """Rows a second of the engine in replay, over the begin of a journal; every output must be the same."""
        begin = journal.with_name("begin")
        with journal.open("rb") as source, begin.open("wb") as target:
            target.write(source.read(REPLAY_BYTES))
        found = replay_journal(begin, [self._directory], KEY)
        # The cut may have parted the last decision from its digest.
        if found.difference is not None or found.same < found.calls - 1 or not found.requests:
            raise BenchmarkError(f"a replay must give the very same bytes, was {found}")
        return found.requests / found.seconds

    def _naive_per_core(self) -> float:
        market = self.market
        bidder = NaiveBidder(
            load_bundle(self._directory), lines_of(market.campaigns, market.advertisers), market.origin_ns
        )
        return requests_per_cpu_second(bidder.answer, market.bodies, NAIVE_S)

    def _conditions(self) -> Conditions:
        market = self.market
        names = ("numpy", "numba", "lightgbm", "msgspec", "aiokafka", "confluent-kafka", "uvloop")
        return Conditions(
            cpu=str(self._machine["cpu"]),
            cores=int(self._machine["cores"]),
            load_1m=float(self._machine["load_1m"]),
            python=platform.python_version(),
            versions={name: version(name) for name in names},
            line_items=market.lines,
            campaigns=len(market.campaigns),
            trees=self._model.table.n_trees,
            candidates=self._ground.candidates,
            request_bytes=market.bodies.mean_bytes,
            partitions=self._config.kafka.partitions,
            rounds=self._rounds,
            seconds=self._seconds,
            on="journal, decision log, leases of every budget, settlements in bulk (25 % of bids won and posted, the "
            "others voided), exposures, caps, floors, deals, currencies, privacy, traffic rules, supply chains, "
            "pacing, two signed tokens a bid",
        )


def requests_per_cpu_second(answer: Callable[[bytes], bytes], bodies: Bodies, seconds: float) -> float:
    """Requests that one thread answers for each second of its CPU time.

    Args:
        answer: one request to one response. bodies: what is asked. seconds: of wall time, after a short warm-up.
    """
    for number in range(200):
        answer(bodies.body(number))
    asked, cpu_s, end_s = 0, 0.0, time.monotonic() + seconds
    while time.monotonic() < end_s:
        batch = [bodies.body(number) for number in range(asked, asked + 50)]
        began_s = time.thread_time()
        for body in batch:
            answer(body)
        cpu_s += time.thread_time() - began_s
        asked += len(batch)
    return asked / cpu_s


def show(result: Result, console: Console) -> None:
    """Prints conditions and a table of medians with least and greatest."""
    c = result.conditions
    console.print(
        f"{c.cpu}, {c.cores} cores, load {c.load_1m:.2f} before; Python {c.python}, "
        + ", ".join(f"{name} {number}" for name, number in c.versions.items())
    )
    console.print(
        f"{c.line_items} line items of {c.campaigns} campaigns, {c.candidates:.1f} candidates scored a request, "
        f"{c.trees} trees, requests of {c.request_bytes:.0f} bytes, {c.partitions} "
        f"partitions, {c.rounds} rounds of {c.seconds:g} s a loop, window {WINDOW}, linger {LINGER_MS} ms"
    )
    console.print(f"On: {c.on}.")
    if result.transports:
        console.print(_transport_table(result))
    if result.naive_per_core:
        _show_rivals(result, console)
    for transport, reason in result.left_out.items():
        console.print(f"{_NAMES[transport]}: left out, {reason}")


def _transport_table(result: Result) -> Table:
    table = Table(title="One worker, everything on: median (least..greatest)", title_justify="left")
    table.add_column("")
    for transport in result.transports:
        table.add_column(_NAMES[transport], justify="right")
    runs = result.transports.values()
    for name, decimals, figure in _ROWS:
        values = [[value for one in rounds if (value := figure(one)) is not None] for rounds in runs]
        table.add_row(name, *(_text(found, decimals) for found in values))
    return table


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


_ROWS: tuple[tuple[str, int, Callable[[Round], float | None]], ...] = (
    ("saturated: requests/s", 0, lambda one: one.saturated.requests_per_s),
    ("requests per worker CPU s", 0, lambda one: one.saturated.per_core),
    ("floor (decode, scores), us a request", 2, lambda one: one.floor_us),
    ("floor / worker CPU", 2, lambda one: one.of_floor),
    ("worker without transport, us a request", 1, lambda one: one.alone_us),
    ("client's share of the worker's CPU, %", 0, lambda one: _percent(one.client_share)),
    ("worker CPU, cores", 2, lambda one: one.saturated.cpu.worker),
    ("broker CPU, cores", 2, lambda one: one.saturated.cpu.broker),
    ("generator CPU, cores", 2, lambda one: one.saturated.cpu.generator),
    ("batch, mean", 1, lambda one: one.saturated.batches.mean),
    ("bid rate, %", 1, lambda one: 100 * one.saturated.bid_rate),
    (f"open loop at {LOAD_SHARE:.0%}: requests/s", 0, lambda one: one.open_loop.offered_per_s),
    ("micro-batch p50 ms", 2, lambda one: one.batch_ms[0] if one.batch_ms else None),
    ("micro-batch p99 ms", 2, lambda one: one.batch_ms[1] if one.batch_ms else None),
    ("p50 ms", 2, lambda one: one.open_loop.p50_ms),
    ("p99 ms", 1, lambda one: one.open_loop.p99_ms),
    ("p99.9 ms", 1, lambda one: one.open_loop.p999_ms),
    (f"later than {TMAX_MS} ms, %", 2, lambda one: 100 * one.open_loop.late),
    ("worker CPU, cores", 2, lambda one: one.open_loop.cpu.worker),
    ("broker CPU, cores", 2, lambda one: one.open_loop.cpu.broker),
    ("generator CPU, cores", 2, lambda one: one.open_loop.cpu.generator),
    ("batch, mean", 1, lambda one: one.open_loop.batches.mean),
    ("batch, p10", 0, lambda one: one.open_loop.batches.p10),
    ("batch, p50", 0, lambda one: one.open_loop.batches.p50),
    ("batch, p90", 0, lambda one: one.open_loop.batches.p90),
    ("bid rate, %", 1, lambda one: 100 * one.open_loop.bid_rate),
)


def _show_rivals(result: Result, console: Console) -> None:
    naive = spread(result.naive_per_core)
    replay = spread(result.replay_rows_per_s)
    ours = spread(
        [r.saturated.per_core for r in result.transports["bus"] if r.saturated.per_core is not None]
    )
    console.print(f"Replay: {_spread_text(replay, 0)} rows/s of the engine, all outputs the same.")
    console.print(
        f"Naive bidder (dicts, a loop over line items, Booster.predict a request; no money, caps, law, log, journal, "
        f"tokens): {_spread_text(naive, 0)} requests per CPU s. Ours, in process: {_spread_text(ours, 0)}, "
        f"{ours.median / naive.median:.2f} times as many."
    )


def _text(values: Sequence[float], decimals: int) -> str:
    return _spread_text(spread(values), decimals) if values else "-"


def _spread_text(found: Spread, decimals: int) -> str:
    return f"{found.median:,.{decimals}f} ({found.low:,.{decimals}f}..{found.high:,.{decimals}f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.saturation",
        description="Measures one worker: saturation, then an open loop at "
        f"{LOAD_SHARE:.0%} of it, on each transport, beside a naive bidder.",
    )
    parser.add_argument("--transport", choices=[*TRANSPORTS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each loop (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each transport (%(default)s)")
    parser.add_argument("--lines", type=int, default=100, help="line items, by the hundred (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.seconds <= 0 or arguments.rounds < 1 or arguments.lines < 100 or arguments.lines % 100:
        sys.stderr.write("error: --seconds must be > 0, --rounds >= 1, --lines a multiple of 100\n")
        return 2
    console = Console()
    progress = Console(stderr=True, highlight=False)
    transports = TRANSPORTS if arguments.transport == "all" else (arguments.transport,)
    with tempfile.TemporaryDirectory(prefix="clearbid-bench-") as name:
        folder = Path(name)
        try:
            bench = Bench(
                folder,
                lines=arguments.lines,
                seconds=arguments.seconds,
                rounds=arguments.rounds,
                tell=lambda what: progress.print(f"[dim]{time.strftime('%H:%M:%S')} {what}[/dim]"),
            )
            result = bench.run(transports)
        except BenchmarkError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
    show(result, console)
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
