"""Processes of a measurement: a broker, and the worker as `clearbid bid`; all ended when their block ends."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.stages import BenchmarkError
from bidder.runtime.clock import AffineClock
from tests.support.kafka_server import apache_kafka, embedded_broker

FIGURES = "bid.json"
_STOP_S = 30.0
_PROC = Path("/proc")


class Broker(NamedTuple):
    """A running broker; `pid` is None where it is not ours, `shared` says that others may use it too."""

    bootstrap: str
    pid: int | None
    shared: bool


@contextmanager
def started_broker(kind: str) -> Iterator[Broker]:
    """The embedded broker (`embedded`), or an Apache Kafka (`kafka`): that of `CLEARBID_KAFKA`, or a new one.

    Raises:
        KafkaUnavailable: no Apache Kafka can be started here; says why.
    """
    named = os.environ.get("CLEARBID_KAFKA")
    if kind == "kafka" and named:
        yield Broker(named, None, shared=True)
        return
    before = children()
    with (embedded_broker if kind == "embedded" else apache_kafka)() as bootstrap:
        new = children() - before
        yield Broker(bootstrap, new.pop() if len(new) == 1 else None, shared=False)


class WorkerProcess:
    """`clearbid bid`, started by this interpreter."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._process = process
        self._folder = folder

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raises `BenchmarkError` if it has ended, with the last that it said."""
        if self._process.poll() is not None:
            said = (self._folder / "bid.log").read_text(errors="replace").strip()[-600:]
            raise BenchmarkError(
                f"clearbid bid must run until it is told to stop, ended with {self._process.returncode}: {said}"
            )

    def stop(self) -> None:
        """Tells it to stop and waits; it must end well."""
        self._process.terminate()
        self._process.wait(_STOP_S)
        if self._process.returncode:
            self.check()


@contextmanager
def started_worker(config: Path, model: Path, folder: Path, clock: AffineClock) -> Iterator[WorkerProcess]:
    """Runs a worker with its journal and figures in `folder`; killed if it is still there at the end."""
    command = [
        *(sys.executable, "-m", "bidder.cli.main", "bid", "--config", str(config), "--model", str(model)),
        *("--journal", str(folder), "--figures", str(folder / FIGURES)),
        *("--clock-origin-ns", str(clock.origin_ns), "--clock-wall-ns", str(clock.wall_origin_ns)),
        *("--speedup", repr(clock.speedup)),
    ]
    with (folder / "bid.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    with process:
        try:
            yield WorkerProcess(process, folder)
        finally:
            process.kill()  # of one that has ended, this does nothing


def cpu_seconds(pid: int | None) -> float | None:
    """CPU time of all threads of a process so far, in ticks of 10 ms; None where the system does not tell."""
    if pid is None:
        return None
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field is the name in brackets, which may hold anything; user and system time are fields 14 and 15.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children() -> set[int]:
    """Processes that this one started and that still run; empty where the system does not tell."""
    found: set[int] = set()
    for task in (_PROC / "self" / "task").glob("*/children"):
        found.update(map(int, task.read_text().split()))
    return found


def machine() -> dict[str, str | float]:
    """Processor, its count and the load of the last minute."""
    try:
        lines = (_PROC / "cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = "unknown"
    return {
        "cpu": model,
        "cores": float(os.cpu_count() or 1),
        "load_1m": os.getloadavg()[0],
        "at": time.time(),
    }
