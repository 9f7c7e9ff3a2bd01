"""`clearbid track` as a process: what it answered is in the topic, whatever was away or killed meanwhile."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import msgspec

from bidder.core.messages import NOTICES, Notice
from bidder.core.token import TokenFields, bid_id_text, sign
from bidder.runtime.clock import SystemClock
from bidder.runtime.kafka import KafkaSource
from simulator.broker.server import EmbeddedBroker
from simulator.demo.http_client import NoticeClient, Response

_RUN = "from bidder.cli.main import main; main()"
KEY = "ab" * 32


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings(folder: Path, bootstrap: str, port: int) -> Path:
    path = folder / "clearbid.toml"
    path.write_text(
        f"[kafka]\nbootstrap = '{bootstrap}'\n[track]\nsecret = '{KEY}'\nport = {port}\n"
        f"spool_dir = '{folder / 'spool'}'\nbroker_seconds = 0.2\n"
    )
    return path


async def track(config: Path, port: int) -> tuple[asyncio.subprocess.Process, NoticeClient]:
    """The process and a client of it, once it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN, "track", "--config", str(config), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = (await process.stdout.readline()).decode()
        assert line.startswith(f"track: http://127.0.0.1:{port}, Kafka "), line
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                break
    client = NoticeClient("127.0.0.1", port, retries=0)
    await client.start()
    return process, client


async def bill(client: NoticeClient, first: int, count: int) -> list[Response]:
    now_ns = SystemClock().now_ns()
    fields = TokenFields(b"\0" * 12, "c1", "s1", 1, 0, 2_500_000, "USD", now_ns, now_ns, advertiser_id="acme")
    key = bytes.fromhex(KEY)
    tokens = [
        sign(msgspec.structs.replace(fields, bid_id=number.to_bytes(12, "big")), key)
        for number in range(first, first + count)
    ]
    return await asyncio.gather(
        *(client.get(f"http://127.0.0.1:{client.port}/bill?t={one}&p=1") for one in tokens)
    )


async def stored(bootstrap: str, expected: set[str]) -> list[str]:
    """Bid ids of the topic, read until all that are expected are there."""
    source = KafkaSource(bootstrap, [NOTICES], group=None, client_id="test")
    await source.start()
    found: list[str] = []
    try:
        async with asyncio.timeout(30):
            while not expected <= set(found):
                messages = await source.poll(1_000, 0.1)
                assert all(message.key == b"acme" for message in messages)
                found += [msgspec.json.decode(message.value, type=Notice).bid_id for message in messages]
    finally:
        await source.stop()
    return found


async def test_a_tracker_killed_while_the_broker_is_away_loses_nothing_that_it_answered(
    tmp_path: Path,
) -> None:
    broker = EmbeddedBroker({})
    bootstrap = await broker.start()
    port = free_port()
    config = settings(tmp_path, bootstrap, port)
    process, client = await track(config, port)
    told: list[Response] = []
    try:
        told += await bill(client, 0, 20)
        await broker.stop()
        for first in range(20, 80, 20):
            told += await bill(client, first, 20)
        await client.close()
        process.kill()
        await process.wait()
        process, client = await track(config, port)  # with the broker still away
        told += await bill(client, 80, 20)
        await broker.start()
        told += await bill(client, 100, 20)
        assert told == [Response(204, None)] * 120
        ids = [bid_id_text(number.to_bytes(12, "big")) for number in range(120)]
        found = await stored(bootstrap, set(ids))
        assert set(found) == set(ids)
        async with asyncio.timeout(10):
            while list((tmp_path / "spool").glob("*.notices")):  # noqa: ASYNC110 - another process empties it
                await asyncio.sleep(0.05)
    finally:
        await client.close()
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await process.wait()
        await broker.stop()
    assert process.returncode == 0
