"""Reaching a Kafka: addresses, whether a broker answers, which topics there are, leaving in bounded time.

aiokafka reports a broker that is not there by logging and by a traceback, creates topics that it is asked about
where the broker allows it, and may wait for ever when it is told to stop. So the questions are asked here first.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from bidder.errors import BrokerUnavailable, ConfigError, DependencyError, UnknownTopic

# ApiVersions (key 18), version 0, correlation id 1, no client id: every broker since 0.10 answers it, before any
# authentication; and what does not answer it with correlation id 1 is no Kafka.
_HELLO = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_MAX_HELLO_BYTES = 1 << 20
# How long a member of a group may be silent or busy with a rebalance before the group goes on without it.
SESSION_S = 10.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long, in seconds, the Kafka source and sink wait for what.

    Attributes:
        connect: for a broker, and then for its answer about topics, at the start.
        delivery: until a message that the broker did not acknowledge has failed; up to twice that long when
            it had to queue behind others.
        commit: for a commit, before it counts as failed.
        stop: for an orderly leave, before connections are cut.
        stall: without progress although there should be some, before `poll` raises.
        revoke_grace: when partitions are taken from us, for the work in hand to be finished and committed.
            Together with `commit` it must stay below the session of a member, `SESSION_S`.

    Raises:
        ConfigError: one is not > 0, or the last two are too long together.
    """

    connect: float = 10.0
    delivery: float = 30.0
    commit: float = 5.0
    stop: float = 5.0
    stall: float = 60.0
    revoke_grace: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            seconds = getattr(self, field.name)
            if not seconds > 0:
                raise ConfigError(f"timeout {field.name} must be > 0 s, was {seconds}")
        if self.revoke_grace + self.commit >= SESSION_S:
            raise ConfigError(
                f"timeouts revoke_grace and commit must be below {SESSION_S:g} s together, "
                f"were {self.revoke_grace:g} and {self.commit:g}: the group would give us up for dead"
            )


def parse_bootstrap(bootstrap: str) -> list[tuple[str, int]]:
    """Host and port of each address in `host:port[,host:port...]`; raises `ConfigError`."""
    addresses = []
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f"Kafka address must be host:port[,host:port...], was {bootstrap!r}")
        addresses.append((host.strip("[]"), int(port)))
    return addresses


async def find_broker(bootstrap: str, timeout_s: float) -> None:
    """Returns when a Kafka broker answers at one of the addresses; tries again until `timeout_s` is over.

    Raises:
        BrokerUnavailable: none did; says what was tried and what came of it.
        ConfigError: the addresses cannot be read.
    """
    addresses = parse_bootstrap(bootstrap)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    tries, wait_s, reason = 0, 0.05, "not tried"
    while (left_s := deadline - loop.time()) > 0:
        for host, port in addresses:
            tries += 1
            try:
                async with asyncio.timeout(left_s / len(addresses)):
                    await _say_hello(host, port)
            except (OSError, EOFError, ValueError) as error:
                reason = _reason(error)
            else:
                return
        await asyncio.sleep(min(wait_s, max(0.0, deadline - loop.time())))
        wait_s = min(2 * wait_s, 1.0)
    raise BrokerUnavailable(
        f"no Kafka broker answers at {bootstrap}: {reason} ({tries} tries in {timeout_s:g} s); "
        "start one there or correct the address"
    )


async def _say_hello(host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_HELLO)
        size, correlation_id = struct.unpack(">ii", await reader.readexactly(8))
        if correlation_id != 1 or not 4 < size < _MAX_HELLO_BYTES:
            raise ValueError("something answers that is not Kafka")
        await reader.readexactly(size - 4)
    finally:
        writer.transport.abort()


def _reason(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case TimeoutError():
            return "no answer"
        case EOFError() | ConnectionResetError():
            return "the connection is closed without an answer, as by something that is not Kafka"
    return str(error)


@asynccontextmanager
async def _admin(bootstrap: str, timeouts: Timeouts) -> AsyncIterator[AIOKafkaAdminClient]:
    await find_broker(bootstrap, timeouts.connect)
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(timeouts.connect * 1000))
    try:
        async with asyncio.timeout(timeouts.connect):
            await client.start()
            yield client
    except (KafkaError, TimeoutError) as error:
        raise unanswered(bootstrap, error) from error
    finally:
        await end_within(client.close(), timeouts.stop)


def unanswered(bootstrap: str, error: Exception) -> BrokerUnavailable:
    """A broker that greets us but then does not answer: most often its `advertised.listeners` are wrong."""
    return BrokerUnavailable(
        f"the Kafka broker at {bootstrap} answers, but then it did not: {describe(error)}; "
        "look whether the addresses it advertises can be reached from here, and into its log"
    )


async def partition_counts(bootstrap: str, timeouts: Timeouts) -> dict[str, int]:
    """The number of partitions of each topic; asks for all, because asking for one may create it.

    Raises:
        BrokerUnavailable: nobody answers.
    """
    async with _admin(bootstrap, timeouts) as client:
        return {topic["topic"]: len(topic["partitions"]) for topic in await client.describe_topics()}


def unknown_topics(bootstrap: str, unknown: Collection[str], known: Collection[str]) -> UnknownTopic:
    """The error for topics that the broker does not have."""
    there = ", ".join(sorted(topic for topic in known if not topic.startswith("__"))) or "none"
    one = len(unknown) == 1
    return UnknownTopic(
        f"{'topic' if one else 'topics'} {', '.join(sorted(unknown))} {'is' if one else 'are'} not in Kafka at "
        f"{bootstrap}, which has {there}; create {'it' if one else 'them'} or correct the name"
    )


async def ensure_topics(
    bootstrap: str,
    partitions: Mapping[str, int],
    compacted: Collection[str] = (),
    *,
    retention_hours: Mapping[str, int] | None = None,
    replicas: int = 1,
    guarded: Collection[str] = (),
    timeouts: Timeouts | None = None,
) -> list[str]:
    """Creates the topics that are missing and waits until they can be used; leaves others as they are.

    Args:
        bootstrap: `host:port[,host:port...]`.
        partitions: topic -> number of partitions, > 0.
        compacted: those of them that keep the last message of each key for ever.
        retention_hours: how long others keep their messages, where it is not as the broker has it.
        replicas: copies of each partition, > 0; aiokafka cannot ask for the broker's default.
        guarded: those that take a message only when all copies but one have it (`min.insync.replicas`): what was
            acknowledged outlives the loss of a broker, and one broker that is away stops nobody.
        timeouts: how long to wait.

    Returns:
        The topics that were created.

    Raises:
        BrokerUnavailable: nobody answers.
        DependencyError: the broker refused, or a topic got no leader in time.
    """
    timeouts = timeouts or Timeouts()
    known = await partition_counts(bootstrap, timeouts)
    missing = [topic for topic in partitions if topic not in known]
    if not missing:
        return []
    hours = retention_hours or {}
    configs = {topic: _kept(topic in compacted, hours.get(topic)) for topic in missing}
    for topic in configs.keys() & set(guarded):
        configs[topic]["min.insync.replicas"] = str(max(1, replicas - 1))
    wanted = [
        NewTopic(topic, partitions[topic], replicas, topic_configs=configs[topic] or None)
        for topic in missing
    ]
    async with _admin(bootstrap, timeouts) as client:
        answer = await client.create_topics(wanted)
        for topic, code, *_ in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise DependencyError(
                    f"Kafka at {bootstrap} did not create topic {topic} with {partitions[topic]} "
                    f"partitions and {replicas} replicas ([kafka] replicas): {describe(error())}"
                )
        await _await_leaders(client, missing)
    return missing


def _kept(compacted: bool, retention_hours: int | None) -> dict[str, str]:
    if compacted:
        return {"cleanup.policy": "compact"}
    return {"retention.ms": str(retention_hours * 3_600_000)} if retention_hours is not None else {}


async def _await_leaders(client: AIOKafkaAdminClient, topics: list[str]) -> None:
    while True:
        described = await client.describe_topics(topics)
        leaders = [p["leader"] for topic in described for p in topic["partitions"]]
        if all(not topic["error_code"] for topic in described) and -1 not in leaders:
            return
        await asyncio.sleep(0.05)


def describe(error: BaseException) -> str:
    """One line for an error of aiokafka, some of which have no text or several lines."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name


async def end_within(ending: Coroutine[Any, Any, object], timeout_s: float) -> bool:
    """Runs the orderly end of a client for at most `timeout_s`, then cancels it; whether it ended by itself.

    `asyncio.wait_for` will not do: it waits for the cancelled end, which may itself wait for the broker.
    """
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if task.done():
            # An error on the way out changes nothing any more, but it must not be reported as never read.
            return task.cancelled() or task.exception() is None
    finally:
        if not task.done():
            task.cancel()
    await asyncio.wait({task}, timeout=1.0)
    return False
