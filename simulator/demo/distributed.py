"""The distributed run: exchange, bidder, bank and tracker as processes of their own, over an Apache Kafka.

All share one affine clock by three numbers. The parent writes the configuration and the campaigns, starts the
commands that anyone can start by hand, waits for the exchange to end, and reads the books.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from bidder.errors import DependencyError
from bidder.runtime.figures import Figures, read_figures
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from simulator.demo.books import settle_books
from simulator.demo.embedded import DATABASE, times_for
from simulator.demo.plan import Plan
from simulator.exchange.books import Books

START_S = 30.0
"""Wall seconds for four interpreters to start, load models and kernels, and join their groups."""
_STOP_S = 20.0
CONFIG = "clearbid.toml"
FIGURES = "bid.json"
BOOKS = "exchange.json"


class ExchangeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange's process leaves behind: its books, and how it went."""

    books: Books
    duration_s: float
    failed_calls: int
    late_offers: int
    done: bool


class Distributed(NamedTuple):
    """A finished run."""

    figures: Figures
    exchange: ExchangeFigures


async def run_distributed(
    plan: Plan,
    kafka: str,
    folder: Path,
    arguments: Sequence[str],
    speedup: float,
    watch: Callable[[ExchangeFigures | None, int], None],
) -> Distributed:
    """Plays a plan by four processes.

    Args:
        plan: what to play. kafka: `host:port`. folder: of the run; `model` in it, if there is one.
        arguments: those by which `clearbid exchange` makes the same plan.
        speedup: of the shared clock.
        watch: called now and then with what the exchange last wrote and the clock's time.

    Raises:
        DependencyError: a process ended before its time, with the end of what it said.
    """
    with Database(folder / DATABASE) as database:
        CampaignStore(database).put(plan.campaigns.values(), at_ns=plan.start_ns, actor="demo")
    config = write_config(plan, kafka, folder, times_for(speedup))
    wall_ns = time.time_ns() + int(START_S * 1e9)
    common = ["--config", str(config), *clock_options(plan, wall_ns, speedup)]
    model = [] if plan.external_scores else ["--model", str(folder / "model")]
    async with _Processes(folder) as processes:
        # Else the parent would end alone, and four processes would go on without it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, processes.owner.cancel)
        await processes.start("bank", common)
        await processes.start("track", common)
        await processes.start(
            "bid", [*common, *model, "--journal", str(folder), "--figures", str(folder / FIGURES)]
        )
        exchange = await processes.start("exchange", [*common, *arguments, "--books", str(folder / BOOKS)])
        while exchange.returncode is None:
            processes.check()
            seen = read_exchange(folder / BOOKS)
            watch(seen, plan.start_ns + max(0, int((time.time_ns() - wall_ns) * speedup)))
            await asyncio.sleep(0.5)
        processes.check()
        found = read_exchange(folder / BOOKS)
        if found is None or not found.done:
            raise DependencyError(
                f"exchange must write its books to {folder / BOOKS}, did not: see exchange.log"
            )
        await settle_books(folder / DATABASE, found.books, plan.end_ns)
        await processes.stop()
    return Distributed(read_figures(folder / FIGURES), found)


def read_exchange(path: Path) -> ExchangeFigures | None:
    """What the exchange last wrote, or None where it wrote nothing yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ExchangeFigures)
    except (OSError, msgspec.DecodeError):
        return None


def write_exchange(path: Path, figures: ExchangeFigures) -> None:
    """Writes the exchange's figures so that a reader sees them whole."""
    beside = path.with_suffix(".part")
    beside.write_bytes(msgspec.json.encode(figures))
    beside.replace(path)


def clock_options(plan: Plan, wall_ns: int, speedup: float) -> list[str]:
    """The options that let processes share one clock, which starts when the wall shows `wall_ns`."""
    origin = ["--clock-origin-ns", str(plan.start_ns)]
    return [*origin, "--clock-wall-ns", str(wall_ns), "--speedup", repr(speedup)]


def write_config(plan: Plan, kafka: str, folder: Path, seconds: float, store: str | None = None) -> Path:
    """Writes the configuration of all processes; prefix, port and secret are this run's own.

    Args:
        plan: what is played. kafka: `host:port`. folder: of the run.
        seconds: of the shared clock that leases and reservations last.
        store: URL of a PostgreSQL; else a SQLite in the folder.
    """
    path = folder / CONFIG
    path.touch(mode=0o600)
    path.write_text(_config(plan, kafka, folder, seconds, store), encoding="utf-8")
    return path


def _config(plan: Plan, kafka: str, folder: Path, seconds: float, store: str | None) -> str:
    port = free_port()
    lines = [
        "[kafka]",
        f'bootstrap = "{kafka}"',
        f'prefix = "demo-{secrets.token_hex(4)}."',
        "[account]",
        f'currency = "{plan.currency}"',
        "[store]",
        f'url = "{store}"' if store else f'path = "{folder / DATABASE}"',
        "[bank]",
        f"lease_seconds = {seconds}",
        f"margin_seconds = {seconds / 10}",
        "tick_seconds = 0.05",
        "[bid]",
        f"external_scores = {str(plan.external_scores).lower()}",
        "[track]",
        f"port = {port}",
        f'public_url = "http://127.0.0.1:{port}"',
        f'secret = "{secrets.token_hex(32)}"',
        "[pacing]",
        f"weekly_opportunities = {plan.pacing.weekly_opportunities!r}",
        f"traffic_shape = {list(plan.pacing.traffic_shape)}",
    ]
    for name, rules in plan.exchange_rules(seconds).items():
        lines += [
            f"[exchanges.{name}]",
            # TOML writes text, truth, numbers and lists as JSON does.
            *(f"{key} = {json.dumps(value)}" for key, value in msgspec.structs.asdict(rules).items()),
        ]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None, "made inside the event loop"
    return task


async def end_processes(processes: Iterable[asyncio.subprocess.Process]) -> None:
    """Kills those that still run, and waits for them."""
    for process in processes:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class _Processes:
    """Child processes, each with its output in a file; all ended when the block ends."""

    def __init__(self, folder: Path) -> None:
        self.owner = _current_task()
        self._folder = folder
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await end_processes(self._running.values())

    async def start(self, command: str, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        """Starts `clearbid COMMAND`, by this very interpreter."""
        with (self._folder / f"{command}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bidder.cli.main", command, *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        self._running[command] = process
        return process

    def check(self) -> None:
        """Raises for a process that ended badly, with the last line that it said."""
        for command, process in self._running.items():
            if process.returncode not in (None, 0):
                said = (self._folder / f"{command}.log").read_text(errors="replace").strip().splitlines()
                last = said[-1] if said else ""
                raise DependencyError(
                    f"clearbid {command} must run to the end, ended with {process.returncode}: {last}"
                )

    async def stop(self) -> None:
        """Tells the bidder, the tracker and the bank to stop, in this order, and waits for each."""
        for command in ("bid", "track", "bank"):
            process = self._running[command]
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        self.check()
