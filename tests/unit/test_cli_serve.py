"""Serving processes: they start, do their work, and stop in time when they are told to."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bidder.cli.options import configured, shared_clock
from bidder.cli.running import run_until_stopped
from bidder.cli.serve import connected, serve_track
from bidder.config import load_config, with_setting
from bidder.core.messages import CAMPAIGNS, LEASES, SLICES, TOPICS, CampaignChange, Lease, encode
from bidder.errors import ConfigError, DependencyError, InputError
from bidder.runtime.clock import AffineClock, SystemClock
from bidder.runtime.kafka import KafkaSink, KafkaSource
from bidder.runtime.transport import Message, Outbound
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from simulator.broker.server import EmbeddedBroker
from tests.support.banking import S, ask, campaign

_RUN = "from bidder.cli.main import main; main()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def read(source: KafkaSource, topic: str, count: int) -> list[Message]:
    """The first messages of a topic; fails after ten seconds."""
    found: list[Message] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += [message for message in await source.poll(100, 0.1) if message.topic == topic]
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_process_in_time(number: signal.Signals) -> None:
    ended = []

    async def body(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await stop.wait()
        ended.append(True)

    run_until_stopped(body)
    assert ended == [True]


def test_a_process_that_does_not_end_is_cut_off() -> None:
    async def body(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)

    with pytest.raises(DependencyError, match="must take at most 0 s, took longer: it was cut off"):
        run_until_stopped(body, stop_s=0.05)


def test_a_process_that_fails_says_why() -> None:
    async def body(stop: asyncio.Event) -> None:
        raise DependencyError("no broker")

    with pytest.raises(DependencyError, match="no broker"):
        run_until_stopped(body)


def test_the_clock_is_the_walls_unless_it_is_shared() -> None:
    assert isinstance(shared_clock(None, None, 1.0), SystemClock)
    clock = shared_clock(5, 0, 2.0)
    assert isinstance(clock, AffineClock)
    assert (clock.origin_ns, clock.wall_origin_ns, clock.speedup) == (5, 0, 2.0)


@pytest.mark.parametrize("clock", [(5, None, 1.0), (None, 5, 1.0), (None, None, 2.0)])
def test_half_a_shared_clock_is_refused(clock: tuple[int | None, int | None, float]) -> None:
    with pytest.raises(InputError, match="must be given together"):
        shared_clock(*clock)


def test_options_win_over_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "clearbid.toml"
    file.write_text("[kafka]\nbootstrap = 'a:1'\n[store]\npath = 'a.db'\n")
    config = configured(file, kafka="b:2", db="b.db")
    assert (config.kafka.bootstrap, config.store.path) == ("b:2", "b.db")
    with pytest.raises(ConfigError, match="bootstrap in --kafka"):
        configured(file, kafka="b")


async def run_bank(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN, "bank", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_a_bank_leases_over_kafka_hears_of_budgets_and_stops_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    now_ns = SystemClock().now_ns()
    with Database(path) as database:
        CampaignStore(database).put([campaign(start_ns=now_ns, end_ns=now_ns + 3600 * S)], at_ns=now_ns)
    broker = EmbeddedBroker({})
    bootstrap = await broker.start()
    bank = await run_bank("--db", str(path), "--kafka", bootstrap)
    try:
        assert bank.stdout is not None
        async with asyncio.timeout(30):
            line = (await bank.stdout.readline()).decode()
        assert line == f"bank: 1 campaigns, database {path}, Kafka {bootstrap}\n"
        sink = KafkaSink(bootstrap, client_id="test")
        source = KafkaSource(bootstrap, [CAMPAIGNS, LEASES], group=None, client_id="test")
        await sink.start()
        await source.start()
        await read(source, CAMPAIGNS, 1)
        await sink.publish([Outbound(SLICES, b"s1", encode(ask(at_ns=now_ns)))])
        await sink.flush()
        (message, *_) = await read(source, LEASES, 1)
        assert (
            msgspec.json.decode(message.value, type=Lease).granted_nanos == 24_925_000_000
        )  # a quarter, but for the reserve
        with Database(path) as database:
            CampaignStore(database).set_budget("c1", 7, at_ns=now_ns)
        async with asyncio.timeout(1):
            (message, *_) = await read(source, CAMPAIGNS, 1)
        changed = msgspec.json.decode(message.value, type=CampaignChange).campaign
        assert changed is not None
        assert changed.budget_nanos == 7
        await source.stop()
        await sink.stop()
    finally:
        bank.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            out, err = await bank.communicate()
        await broker.stop()
    assert (bank.returncode, out.decode(), err.decode()) == (0, "bank: stopped\n", "")


async def test_a_broker_that_is_not_there_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    bank = await run_bank("--db", str(tmp_path / "a.db"), "--kafka", "127.0.0.1:1")
    async with asyncio.timeout(60):
        out, err = await bank.communicate()
    assert (bank.returncode, out) == (3, b"")
    assert err.startswith(b"clearbid: error: ")
    assert err.count(b"\n") == 1


@pytest.mark.parametrize("spool", [False, True])
async def test_notices_are_acknowledged_by_all_replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: bool
) -> None:
    made: list[KafkaSink] = []

    class Seen(KafkaSink):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            made.append(self)

    monkeypatch.setattr("bidder.runtime.kafka_prefix.KafkaSink", Seen)
    broker = EmbeddedBroker({})
    config = load_config(None, {"CLEARBID_TRACK_SECRET": "ab" * 16})
    config = with_setting(config, "kafka", "bootstrap", await broker.start(), "a test")
    config = with_setting(config, "track", "port", free_port(), "a test")
    if spool:
        config = with_setting(config, "track", "spool_dir", str(tmp_path / "spool"), "a test")
    stop = asyncio.Event()
    serving = asyncio.ensure_future(serve_track(config, SystemClock(), stop))
    async with asyncio.timeout(20):
        while not (made and made[0]._producer):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    assert made[0]._producer._sender._acks == -1
    stop.set()
    await serving
    await broker.stop()


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2")])
async def test_topics_of_money_are_asked_for_with_the_copies_that_are_configured(
    monkeypatch: pytest.MonkeyPatch, replicas: int, in_sync: str
) -> None:
    asked: dict[str, NewTopic] = {}
    create = AIOKafkaAdminClient.create_topics

    async def noted(self: AIOKafkaAdminClient, topics: list[NewTopic]) -> Any:
        asked.update({topic.name: topic for topic in topics})
        return await create(self, topics)

    monkeypatch.setattr(AIOKafkaAdminClient, "create_topics", noted)
    broker = EmbeddedBroker({})
    settings = {"bootstrap": await broker.start(), "replicas": replicas, "prefix": "a-"}
    config = load_config(None, {})
    for name, value in settings.items():
        config = with_setting(config, "kafka", name, value, "a test")
    try:
        # The embedded broker is one alone, so it has no room for a second copy.
        with nullcontext() if replicas == 1 else pytest.raises(DependencyError, match=r"\[kafka\] replicas"):
            await connected(config)
    finally:
        await broker.stop()
    assert asked.keys() == {"a-" + topic for topic in TOPICS}
    assert {topic.replication_factor for topic in asked.values()} == {replicas}
    key = "min.insync.replicas"
    floors = {name: one.topic_configs[key] for name, one in asked.items() if key in (one.topic_configs or {})}
    assert floors == dict.fromkeys(("a-notices", "a-settlements", "a-leases"), in_sync)
    assert asked["a-leases"].topic_configs["cleanup.policy"] == "compact"
