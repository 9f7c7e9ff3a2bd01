"""Asks a worker over Kafka, takes its answers and settles them: exchange and bank in one process.

The client is confluent-kafka (librdkafka), because on a machine of few cores a cheap generator takes least from
what is measured. One thread sends by the schedule; the other takes answers, settles and, in the closed loop, asks
anew.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition

from benchmarks.load import Bank, Load
from benchmarks.market import EPOCH, SEAT
from benchmarks.stages import DRAIN_S, BenchmarkError
from benchmarks.traffic import Bodies
from bidder.config import Config
from bidder.core.messages import (
    BID_REQUESTS,
    BID_RESPONSES,
    CAMPAIGNS,
    EXPOSURES,
    LEASES,
    SETTLEMENTS,
    SLICES,
    SliceReport,
)
from bidder.runtime.partitioner import partition_of

LINGER_MS = 5
"""How long the generator gathers requests into one batch, librdkafka's default; it counts as latency."""
TELL_S = 0.01
"""The bank gathers for so long before it tells the worker."""
_TURN_S = 0.0005
"""The sender sleeps at least so long between looks at its schedule; what it adds counts as latency too."""
_START_S = 60.0
_read_report = msgspec.json.Decoder(SliceReport).decode


class KafkaGenerator:
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
        self._exposures = self._prefix + EXPOSURES
        self._seat_partition = partition_of(SEAT.encode(), self._partitions)
        self._report: SliceReport | None = None
        self._posted: dict[str, int] = {}
        self._told_s = 0.0
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
            lambda report: report.epoch == EPOCH and self._posted.keys() >= self._bank.posted_nanos.keys(),
            "the worker must take its leases",
            _START_S,
        )

    @property
    def posted_nanos(self) -> dict[str, int]:
        """What the worker last reported as posted, by campaign."""
        return {name: self._posted.get(name, 0) for name in self._bank.posted_nanos}

    def wait_until_booked(self) -> None:
        """Waits until the worker reports as posted what the bank booked."""

        def agrees(_report: SliceReport) -> bool:
            return self.posted_nanos == self._bank.posted_nanos

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
                self._tell()
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
                self._posted.update((row.account_id, row.posted_nanos) for row in self._report.rows)
                continue
            self.load.receive(value, at_ns)

    def _tell(self) -> None:
        """What the bank booked meanwhile, gathered as the bank's own service gathers it."""
        if time.monotonic() - self._told_s < TELL_S:
            return
        self._told_s = time.monotonic()
        told = self._bank.tell()
        for value in told.settlements:
            self._producer.produce(
                self._settlements, value, SEAT.encode(), self._seat_partition, on_delivery=self._delivered
            )
        for value in told.exposures:
            self._producer.produce(self._exposures, value, None, 0, on_delivery=self._delivered)

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
