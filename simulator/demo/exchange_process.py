"""The exchange as a process of its own: `clearbid exchange`."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import typer

from bidder.cli.serve import connected, started
from bidder.config import Config
from bidder.core.messages import BID_RESPONSES
from bidder.errors import DependencyError
from bidder.runtime.clock import AffineClock
from simulator.demo.distributed import ExchangeFigures, write_exchange
from simulator.demo.exchange_shell import ExchangeShell
from simulator.demo.http_client import NoticeClient
from simulator.demo.plan import Plan
from simulator.demo.spread import SpreadClient
from simulator.exchange.exchange import Exchange

_WRITE_S = 0.5
_MAX_OPEN = 2_000


async def serve_exchange(
    plan: Plan,
    config: Config,
    clock: AffineClock,
    books: Path | None,
    stop: asyncio.Event,
    trackers: Sequence[str] = (),
) -> None:
    """Plays a plan from the clock's start on, and returns when all that follows from it has happened.

    Args:
        plan: what to offer. config: where the broker and the tracker are. clock: the shared clock.
        books: file that is kept up to date with its books, or None.
        stop: ends it before its time. trackers: `host:port` of several, called in turn; else the public address.

    Raises:
        DependencyError: no broker or no tracker.
    """
    async with AsyncExitStack() as stack:
        place = await connected(config)
        responses = await started(stack, place.source((BID_RESPONSES,), None, "clearbid-exchange"))
        sink = await started(stack, place.sink("clearbid-exchange", acks=1))
        await asyncio.sleep(max(0.0, clock.wall_origin_ns / 1e9 - time.time()))
        client = _client(config.track.public_url, trackers)
        await client.start()
        stack.push_async_callback(client.close)
        shell = ExchangeShell(
            Exchange(plan.encoder(), plan.outcomes, seed=plan.seed),
            plan.rows(),
            plan.row_count,
            responses=responses,
            sink=sink,
            client=client,
            clock=clock,
            speedup=clock.speedup,
            max_open=_MAX_OPEN,
        )
        playing = asyncio.create_task(shell.run())
        while not playing.done() and not stop.is_set():
            await asyncio.wait([playing], timeout=_WRITE_S)
            if books is not None:
                write_exchange(books, figures_of(shell, done=False))
        if stop.is_set():
            playing.cancel()
            await asyncio.wait([playing])
            raise DependencyError(f"exchange was stopped after {shell.offered:,} of {plan.row_count:,} rows")
        await playing
    found = figures_of(shell, done=True)
    if books is not None:
        write_exchange(books, found)
    billed = sum(own.impressions for own in found.books.campaigns.values())
    typer.echo(
        f"exchange: {found.books.offered:,} offered, {found.books.timeouts:,} timeouts, {billed:,} billed"
    )


def _client(public_url: str, trackers: Sequence[str]) -> NoticeClient | SpreadClient:
    """Calls the public address, or trackers behind it in turn."""
    if not trackers:
        address = urlsplit(public_url)
        return NoticeClient(address.hostname or "127.0.0.1", address.port or 80)
    pairs = [tracker.rpartition(":") for tracker in trackers]
    clients = [NoticeClient(host, int(port), retries=0, timeout_s=5.0) for host, _, port in pairs]
    return SpreadClient(public_url.rstrip("/"), clients)


def figures_of(shell: ExchangeShell, *, done: bool) -> ExchangeFigures:
    """The exchange's figures as they stand."""
    ended_s = shell.ended_s or time.monotonic()
    return ExchangeFigures(
        books=shell.exchange.books,
        duration_s=ended_s - shell.began_s if shell.began_s else 0.0,
        failed_calls=shell.failed,
        late_offers=shell.late_offers,
        done=done,
    )
