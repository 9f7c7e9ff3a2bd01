"""The worker over a broker: `clearbid bid` in its own process, the broker in its own, and this one asks.

The generator is confluent-kafka (librdkafka), because on a machine of few cores a cheap generator takes least from
what is measured. One thread sends by the schedule; the other takes answers, settles and, in the closed loop, asks
anew.
"""

import asyncio
import gc
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.figures import Cpu, Round
from benchmarks.load import EPOCH, Bank, Load, schedule
from benchmarks.processes import (
    FIGURES,
    Broker,
    WorkerProcess,
    cpu_seconds,
    started_broker,
    started_worker,
)
from benchmarks.stages import (
    DRAIN_S,
    LEAD_IN_S,
    LOAD_SHARE,
    WARM_UP_S,
    BenchmarkError,
    Stage,
    Watch,
    batches_of,
    check_run,
    closed_figures,
    open_figures,
)
from benchmarks.workload import SEAT, Bodies, Workload, write_config
from bidder.config import Config
from bidder.core.messages import (
    BID_REQUESTS,
    BID_RESPONSES,
    CAMPAIGNS,
    LEASES,
    SETTLEMENTS,
    SLICES,
    TOPICS,
    SliceReport,
)
from bidder.runtime.clock import AffineClock
from bidder.runtime.figures import read_figures
from bidder.runtime.kafka_prefix import KafkaPlace
from bidder.runtime.partitioner import partition_of
from bidder.store.seat import JOURNAL

LINGER_MS = 5
"""How long the generator gathers requests into one batch, librdkafka's default; it counts as latency."""
FIRST_WARM_UP_S = 6.0
"""Before the first round: an Apache Kafka compiles its own code first."""
_TURN_S = 0.0005
"""The sender sleeps at least so long between looks at its schedule; what it adds counts as latency too."""
_SWITCH_S = 0.0005
"""Threads of the generator give way after so long, instead of 5 ms: who is late for the schedule adds latency."""
_START_S = 60.0
_read_report = msgspec.json.Decoder(SliceReport).decode


class OverKafka:
    """Measures `clearbid bid` over a broker.

    Args:
        kind: `embedded` or `kafka`.
        workload: what is asked. model: directory of the models.
        window: requests outstanding in the closed loop. seconds: of each loop.
    """

    def __init__(self, kind: str, workload: Workload, model: Path, *, window: int, seconds: float) -> None:
        self._kind = kind
        self._workload = workload
        self._model = model
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
            config = write_config(folder / "clearbid.toml", self._workload.plan, broker.bootstrap, prefix)
            _make_topics(config)
            clock = AffineClock(self._workload.origin_ns, time.time_ns(), 1.0)
            try:
                with started_worker(folder / "clearbid.toml", self._model, folder, clock) as worker:
                    load, stages = self._run(config, broker, worker, clock, folder, seeds, done)
            finally:
                if broker.shared:
                    _drop_topics(config)
        records, sizes = load.records(), batches_of(folder / JOURNAL, stages)
        return [
            Round(
                closed_figures(stages[place], records, self._window, sizes[place]),
                open_figures(stages[place + 1], records, sizes[place + 1]),
            )
            for place in range(0, len(stages), 2)
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
    ) -> tuple[Load, list[Stage]]:
        bank = Bank(self._workload.campaigns)
        load = Load(bank)

        def meters() -> Cpu:
            return Cpu(cpu_seconds(worker.pid), cpu_seconds(broker.pid), time.process_time())

        stages: list[Stage] = []
        with _quick_threads(), _Generator(config, load, bank, worker.check) as generator:
            generator.open_bank()
            watch = Watch(clock, meters)
            for seed in seeds:
                stages.append(self._closed(generator, watch, WARM_UP_S if stages else FIRST_WARM_UP_S))
                rate = LOAD_SHARE * load.records().rate(stages[-1].begin_ns, stages[-1].end_ns)
                stages.append(self._open(generator, watch, seed, rate))
                done()
            generator.wait_until_booked()
        worker.stop()
        found = read_figures(folder / FIGURES)
        posted = {name: status.posted_nanos for name, status in found.campaigns.items()}
        check_run(load, bank, found.requests, posted)
        return load, stages

    def _closed(self, generator: "_Generator", watch: Watch, warm_up_s: float) -> Stage:
        generator.keep_asking(self._workload.patient, self._window)
        generator.sleep(warm_up_s)
        watch.begin(generator.load.sent)
        generator.sleep(self._seconds)
        stage = watch.end()
        generator.drain()
        return stage

    def _open(self, generator: "_Generator", watch: Watch, seed: int, rate: float) -> Stage:
        bodies = self._workload.hurried
        generator.ask(bodies, schedule(seed, rate, LEAD_IN_S).tolist())
        watch.begin(generator.load.sent)
        generator.ask(bodies, schedule(seed + 1, rate, self._seconds).tolist())
        stage = watch.end()
        generator.drain()
        return stage


def _make_topics(config: Config) -> None:
    place = KafkaPlace(config.kafka.bootstrap, config.kafka.prefix)
    asyncio.run(place.ensure_topics(dict.fromkeys(TOPICS, config.kafka.partitions), (LEASES, CAMPAIGNS)))


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


class _Generator:
    """Asks and settles over Kafka."""

    def __init__(self, config: Config, load: Load, bank: Bank, check: Callable[[], None]) -> None:
        self.load = load
        self._bank = bank
        self._check = check
        self._prefix = config.kafka.prefix
        self._partitions = config.kafka.partitions
        self._requests = self._prefix + BID_REQUESTS
        self._responses = self._prefix + BID_RESPONSES
        self._settlements = self._prefix + SETTLEMENTS
        self._seat_partition = partition_of(SEAT.encode(), self._partitions)
        self._report: SliceReport | None = None
        self._target = 0
        self._bodies: Bodies | None = None
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._producer = Producer(self._settings(config) | _PRODUCER, logger=None)
        self._consumer = Consumer(self._settings(config) | _CONSUMER)
        self._thread = threading.Thread(target=self._receive, name="answers")

    def __enter__(self) -> Self:
        self._consumer.assign(
            [
                TopicPartition(self._prefix + topic, partition, OFFSET_BEGINNING)
                for topic in (BID_RESPONSES, SLICES)
                for partition in range(self._partitions)
            ]
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()
        self._producer.flush(5.0)

    # -- the bank -------------------------------------------------------------------------------------------

    def open_bank(self) -> None:
        """Sends campaigns, answers the worker's first report with leases, and waits until it holds them."""
        self._publish(CAMPAIGNS, self._bank.changes())
        start_id = self._wait(lambda report: report.start_id, "the worker must ask for its leases", _START_S)
        self._publish(LEASES, self._bank.leases(start_id))
        self._wait(
            lambda report: report.epoch == EPOCH and len(report.rows) == len(self._bank.posted_nanos),
            "the worker must take its leases",
            _START_S,
        )

    def wait_until_booked(self) -> None:
        """Waits until the worker reports as posted what the bank booked."""

        def agrees(report: SliceReport) -> bool:
            return {row.account_id: row.posted_nanos for row in report.rows} == self._bank.posted_nanos

        self._wait(agrees, "the worker must post what was settled", 4 * DRAIN_S)

    def _wait(self, wanted: Callable[[SliceReport], Any], what: str, seconds: float) -> Any:
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            self.sleep(0.02)
            found = wanted(self._report) if self._report is not None else None
            if found:
                return found
        raise BenchmarkError(f"{what}, did not within {seconds:.0f} s; its last report was {self._report}")

    def _publish(self, topic: str, items: Sequence[tuple[str, bytes]]) -> None:
        for key, value in items:
            encoded = key.encode()
            place = partition_of(encoded, self._partitions)
            self._producer.produce(self._prefix + topic, value, encoded, place, on_delivery=self._delivered)
        self._producer.poll(0)

    # -- asking ---------------------------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        """Waits; raises what ended the receiving thread or the worker."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._look()
            time.sleep(min(left_s, 0.2))

    def _look(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._check()

    def keep_asking(self, bodies: Bodies, window: int) -> None:
        """From now on keeps `window` requests outstanding."""
        self._bodies = bodies
        self._target = window

    def drain(self) -> None:
        """Asks no more and waits for the answers that are still to come."""
        self._target = 0
        deadline_s = time.monotonic() + DRAIN_S
        while self.load.outstanding and time.monotonic() < deadline_s:
            self.sleep(0.02)

    def ask(self, bodies: Bodies, due_ns: Sequence[int]) -> None:
        """Asks when it is time, whatever was answered; returns after the last was sent."""
        begin_ns = time.monotonic_ns()
        looked_ns = place = 0
        while place < len(due_ns):
            now_ns = time.monotonic_ns() - begin_ns
            while place < len(due_ns) and due_ns[place] <= now_ns:
                self._send(bodies, begin_ns + due_ns[place])
                place += 1
            if now_ns - looked_ns > 200_000_000:
                self._look()
                looked_ns = now_ns
            if place < len(due_ns):
                now_ns = time.monotonic_ns() - begin_ns
                time.sleep(max((due_ns[place] - now_ns) / 1e9, _TURN_S))

    def _send(self, bodies: Bodies, due_ns: int) -> None:
        number = self.load.send(due_ns)
        key = bodies.key(number)
        place = partition_of(key, self._partitions)
        self._producer.produce(self._requests, bodies.body(number), key, place, on_delivery=self._delivered)

    # -- answers --------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            while not self._stop.is_set():
                first = self._consumer.poll(0.05)
                if first is not None:
                    # `consume` waits until it has all that it was asked for: only `poll` returns at the first.
                    self._take([first, *self._consumer.consume(5_000, 0)], time.monotonic_ns())
                self._ask_anew()
                self._producer.poll(0)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._failure = error

    def _take(self, messages: Sequence[Message], at_ns: int) -> None:
        for message in messages:
            error, value = message.error(), message.value()
            if error is not None or value is None:
                raise BenchmarkError(f"an answer must be a message, was {error}")
            if message.topic() != self._responses:
                self._report = _read_report(value)
                continue
            for settlement in self.load.receive(value, at_ns):
                self._producer.produce(
                    self._settlements,
                    settlement,
                    SEAT.encode(),
                    self._seat_partition,
                    on_delivery=self._delivered,
                )

    def _ask_anew(self) -> None:
        if self._target and self._bodies is not None:
            now_ns = time.monotonic_ns()
            for _ in range(self._target - self.load.outstanding):
                self._send(self._bodies, now_ns)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        """Called for failures only, see `_PRODUCER`."""
        if error is not None and self._failure is None:
            self._failure = BenchmarkError(f"the generator's messages must be delivered: {error}")

    def _settings(self, config: Config) -> dict[str, Any]:
        return {
            "bootstrap.servers": config.kafka.bootstrap,
            "client.id": "clearbid-benchmark",
            "log_level": 3,
        }


_PRODUCER: dict[str, Any] = {
    "linger.ms": LINGER_MS,
    "acks": 1,
    "batch.size": 131_072,
    "queue.buffering.max.messages": 1_000_000,
    "delivery.report.only.error": True,
    "socket.nagle.disable": True,
}
_CONSUMER: dict[str, Any] = {
    "group.id": "clearbid-benchmark",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 100,
    "socket.nagle.disable": True,
}
