"""The worker over a broker: `clearbid bid` in its own process, the broker in its own, and this one asks.

Beside the two loops each round measures the same worker without a transport and the floor under it, in this process:
what the worker costs above them is the share of the broker's client.
"""

import asyncio
import gc
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka.admin import AdminClient

from benchmarks.alone import Alone, Ground
from benchmarks.figures import Cpu, Round
from benchmarks.kafka_generator import KafkaGenerator
from benchmarks.load import Bank, Load, schedule
from benchmarks.market import Market
from benchmarks.processes import (
    FIGURES,
    Broker,
    WorkerProcess,
    cpu_seconds,
    started_broker,
    started_worker,
)
from benchmarks.stages import (
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
from benchmarks.workload import write_config
from bidder.config import Config
from bidder.core.messages import COMPACTED, TOPICS
from bidder.core.scoring import Model
from bidder.runtime.clock import AffineClock
from bidder.runtime.figures import read_figures
from bidder.runtime.kafka_prefix import KafkaPlace
from bidder.store.seat import JOURNAL

ALONE_S, FLOOR_S = 2.0, 1.0
"""CPU time of the worker without a transport and of the floor, in each round."""
ALONE_BATCH = 64
FIRST_WARM_UP_S = 6.0
"""Before the first round: an Apache Kafka compiles its own code first."""
_SWITCH_S = 0.0005
"""Threads of the generator give way after so long, instead of 5 ms: who is late for the schedule adds latency."""


class Beside(NamedTuple):
    """What was measured beside the loops of a round, see `Round`."""

    floor_us: float
    alone_us: float


class OverKafka:
    """Measures `clearbid bid` over a broker.

    Args:
        kind: `embedded` or `kafka`.
        market: what is asked. directory: of the models. model: the same, compiled. ground: the floor.
        window: requests outstanding in the closed loop. seconds: of each loop.
    """

    def __init__(
        self,
        kind: str,
        market: Market,
        directory: Path,
        model: Model,
        ground: Ground,
        *,
        window: int,
        seconds: float,
    ) -> None:
        self._kind = kind
        self._market = market
        self._directory = directory
        self._model = model
        self._ground = ground
        self._window = window
        self._seconds = seconds

    def measure(self, folder: Path, seeds: Sequence[int], done: Callable[[], None]) -> list[Round]:
        """Rounds, one after another with the same worker; `done` is called after each.

        Raises:
            KafkaUnavailable: there is no such broker. BenchmarkError: something was lost or booked wrongly.
        """
        with started_broker(self._kind) as broker:
            # A prefix costs the worker a little for every message: only where others use the broker too.
            prefix = f"bench-{secrets.token_hex(4)}." if broker.shared else ""
            config = write_config(folder / "clearbid.toml", self._market, broker.bootstrap, prefix)
            _make_topics(config)
            clock = AffineClock(self._market.origin_ns, time.time_ns(), 1.0)
            try:
                with started_worker(folder / "clearbid.toml", self._directory, folder, clock) as worker:
                    load, stages, beside = self._run(config, broker, worker, clock, folder, seeds, done)
            finally:
                if broker.shared:
                    _drop_topics(config)
        records, sizes = load.records(), batches_of(folder / JOURNAL, stages)
        return [
            Round(
                closed_figures(stages[2 * place], records, self._window, sizes[2 * place]),
                open_figures(stages[2 * place + 1], records, sizes[2 * place + 1]),
                floor_us=found.floor_us,
                alone_us=found.alone_us,
            )
            for place, found in enumerate(beside)
        ]

    def _run(
        self,
        config: Config,
        broker: Broker,
        worker: WorkerProcess,
        clock: AffineClock,
        folder: Path,
        seeds: Sequence[int],
        done: Callable[[], None],
    ) -> tuple[Load, list[Stage], list[Beside]]:
        bank = Bank(self._market)
        load = Load(bank)

        def meters() -> Cpu:
            return Cpu(cpu_seconds(worker.pid), cpu_seconds(broker.pid), time.process_time())

        stages: list[Stage] = []
        beside: list[Beside] = []
        alone = Alone(self._market, config.engine_settings(), self._model, folder / "alone")
        with _quick_threads(), KafkaGenerator(config, load, bank, worker.check) as generator:
            generator.open_bank()
            watch = Watch(clock, meters)
            for seed in seeds:
                stages.append(self._closed(generator, watch, WARM_UP_S if stages else FIRST_WARM_UP_S))
                rate = LOAD_SHARE * load.records().rate(stages[-1].begin_ns, stages[-1].end_ns)
                beside.append(self._beside(alone))
                stages.append(self._open(generator, watch, seed, rate))
                done()
            generator.wait_until_booked()
        alone.close()
        worker.stop()
        check_run(load, bank, read_figures(folder / FIGURES).requests, generator.posted_nanos)
        return load, stages, beside

    def _beside(self, alone: Alone) -> Beside:
        gc.enable()  # the worker's is on too
        try:
            return Beside(self._ground.us_a_request(FLOOR_S), alone.us_a_request(ALONE_BATCH, ALONE_S))
        finally:
            gc.disable()

    def _closed(self, generator: KafkaGenerator, watch: Watch, warm_up_s: float) -> Stage:
        generator.keep_asking(self._market.bodies, self._window)
        generator.sleep(warm_up_s)
        watch.begin(generator.load.sent)
        generator.sleep(self._seconds)
        stage = watch.end()
        generator.drain()
        return stage

    def _open(self, generator: KafkaGenerator, watch: Watch, seed: int, rate: float) -> Stage:
        bodies = self._market.hurried
        generator.ask(bodies, schedule(seed, rate, LEAD_IN_S).tolist())
        watch.begin(generator.load.sent)
        generator.ask(bodies, schedule(seed + 1, rate, self._seconds).tolist())
        stage = watch.end()
        generator.drain()
        return stage


def _make_topics(config: Config) -> None:
    place = KafkaPlace(config.kafka.bootstrap, config.kafka.prefix)
    asyncio.run(place.ensure_topics(dict.fromkeys(TOPICS, config.kafka.partitions), COMPACTED))


def _drop_topics(config: Config) -> None:
    """Deletes what a run left on a broker that is not ours alone."""
    admin = AdminClient({"bootstrap.servers": config.kafka.bootstrap})
    for gone in admin.delete_topics([config.kafka.prefix + topic for topic in TOPICS]).values():
        gone.result(timeout=30)


@contextmanager
def _quick_threads() -> Iterator[None]:
    """Keeps pauses of this interpreter out of the latencies: no collector, short turns of threads."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval_s)
