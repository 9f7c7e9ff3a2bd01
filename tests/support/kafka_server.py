"""Brokers in processes of their own, for tests and benchmarks: an Apache Kafka, and the embedded broker.

    with apache_kafka() as bootstrap: ...       # 127.0.0.1:PORT of an Apache Kafka 4.1.1
    with embedded_broker() as bootstrap: ...    # the same of `python -m simulator.broker`

`python -m tests.support.kafka_server` starts an Apache Kafka, prints its address, and stops it on SIGTERM or at
the end of its input. It needs Java 17 or later and Maven, which fetches the jars that `kafka/pom.xml` names
from wherever Maven is set up to fetch from. A run's data is in a temporary directory and goes with it.
"""

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template

_FILES = Path(__file__).parent / "kafka"
_ROOT = Path(__file__).parents[2]
_OLDEST_JAVA = 17
_CLASSPATH_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
# The first run fetches some 100 MB.
_RESOLVE_TIMEOUT_S = 600
_READY_TIMEOUT_S = 90
_STOP_TIMEOUT_S = 30
# More than `offsets.topic.num.partitions` of kafka/server.properties, so that each has most likely been asked.
_GROUPS_ASKED = 16


class KafkaUnavailable(Exception):
    """No Apache Kafka can be started on this machine; the message says why."""


@contextmanager
def apache_kafka() -> Iterator[str]:
    """Starts an Apache Kafka on free ports of the loopback and gives its `HOST:PORT`.

    Raises:
        KafkaUnavailable: Java or Maven is missing, the jars cannot be had, or the broker does not come up.
    """
    _check_java()
    if shutil.which("mvn") is None:
        raise KafkaUnavailable("mvn is not installed")
    with tempfile.TemporaryDirectory(prefix="clearbid-kafka-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        classpath = _classpath(directory)
        broker_port, controller_port = _free_ports(2)
        settings = _write_settings(directory, broker_port, controller_port)
        cluster_id = _run([*_java(classpath), "kafka.tools.StorageTool", "random-uuid"], directory).strip()
        _run(
            [*_java(classpath), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings)],
            directory,
        )
        log = directory / "kafka.log"
        command = [
            *("java", "-Xms256m", "-Xmx512m", f"-Dlog4j2.configurationFile={_FILES / 'log4j2.properties'}"),
            *(f"-Dkafka.logs.dir={directory}", "-cp", classpath, "kafka.Kafka", str(settings)),
        ]
        bootstrap = f"127.0.0.1:{broker_port}"
        with log.open("wb") as output, _process(command, stdout=output, stderr=output) as process:
            _wait_ready(bootstrap, process, log)
            yield bootstrap


@contextmanager
def embedded_broker(topics: Mapping[str, int] | None = None) -> Iterator[str]:
    """Starts `python -m simulator.broker` and gives its `HOST:PORT`.

    Warnings are errors in it, and at the end it must have said nothing on its error output: a broker that logs
    an exception and lives on would otherwise pass.
    """
    named = [
        part for topic, partitions in (topics or {}).items() for part in ("--topic", f"{topic}:{partitions}")
    ]
    command = [sys.executable, "-W", "error", "-m", "simulator.broker", *named]
    with tempfile.TemporaryFile() as errors:
        with _process(command, stdout=subprocess.PIPE, stderr=errors, cwd=_ROOT) as process:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            if not line.startswith("bootstrap "):
                errors.seek(0)
                raise RuntimeError(f"the embedded broker did not start: {line}{errors.read().decode()}")
            yield line.split()[1]
        errors.seek(0)
        said = errors.read().decode()
        assert not said, f"the embedded broker complained:\n{said}"
        assert process.returncode == 0, f"the embedded broker ended with {process.returncode}"


def _check_java() -> None:
    if shutil.which("java") is None:
        raise KafkaUnavailable("java is not installed")
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < _OLDEST_JAVA:
        raise KafkaUnavailable(f"java must be {_OLDEST_JAVA} or later, was {found[1] if found else said!r}")


def _classpath(directory: Path) -> str:
    """The jars of Kafka, fetched by Maven where they are not there yet."""
    # A copy, because Maven may write beside the pom.
    shutil.copy(_FILES / "pom.xml", directory)
    output = directory / "classpath.txt"
    goal = [_CLASSPATH_GOAL, "-DincludeScope=runtime", f"-Dmdep.outputFile={output}"]
    _run(["mvn", "-q", "-B", "-f", str(directory / "pom.xml"), *goal], directory, _RESOLVE_TIMEOUT_S)
    return output.read_text().strip()


def _write_settings(directory: Path, broker_port: int, controller_port: int) -> Path:
    template = Template((_FILES / "server.properties").read_text())
    settings = directory / "server.properties"
    data_dir = directory / "data"
    settings.write_text(
        template.substitute(broker_port=broker_port, controller_port=controller_port, data_dir=data_dir)
    )
    return settings


def _java(classpath: str) -> list[str]:
    return ["java", f"-Dlog4j2.configurationFile={_FILES / 'log4j2.properties'}", "-cp", classpath]


def _run(command: Sequence[str], directory: Path, timeout_s: float = 60) -> str:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise KafkaUnavailable(f"{command[0]} did not end within {timeout_s} s") from error
    if done.returncode:
        last = (done.stdout + done.stderr).strip()[-600:]
        raise KafkaUnavailable(f"{command[0]} ended with {done.returncode}: {last}")
    return done.stdout


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; held all at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def _process(
    command: Sequence[str], *, stdout: object, stderr: object, cwd: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a process and ends it: asked first, killed if it does not listen."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=cwd)  # type: ignore[call-overload]
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_ready(bootstrap: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # Silent: before the broker listens, each try would be told on the error output.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 500})
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            if admin.list_topics(timeout=2).brokers:
                _ask_coordinators(bootstrap)
                return
        except KafkaException:
            time.sleep(0.1)
    raise KafkaUnavailable(f"Kafka did not come up: {log.read_text()[-2000:]}")


def _ask_coordinators(bootstrap: str) -> None:
    """Asks for the offsets of some groups, so that the topic that keeps them is made and loaded.

    Until then a group is told that it has no coordinator, and a consumer of librdkafka that was given its
    partitions by hand does not always ask again.
    """
    from confluent_kafka import Consumer, TopicPartition

    for number in range(_GROUPS_ASKED):
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"nobody-{number}", "log_level": 0})
        try:
            consumer.committed([TopicPartition("nothing", 0)], timeout=20)
        finally:
            consumer.close()


def main() -> int:
    """Runs an Apache Kafka until it is told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with apache_kafka() as bootstrap:
            print(f"bootstrap {bootstrap}", flush=True)
            sys.stdin.read()
    except KafkaUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
