"""Real processes that are killed at random moments: do the books still agree with the exchange's, to the nano?

Bidders, trackers and banks run as anyone runs them, over an Apache Kafka. A supervisor kills one of them
(SIGKILL: nothing is said, flushed or committed) at a seeded random moment, waits, starts it again, and goes on
until all kills are made and the exchange has played its log. The exchange behaves as exchanges do: it calls a
tracker until one answers. Then the exchange's own books and the bank's must be the same, and no budget may be
passed by more than what the bank booked as uncovered.
"""

import asyncio
import contextlib
import dataclasses
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

from bidder.errors import DependencyError, InputError
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from simulator.demo.books import passed_budgets, read_reports, settle_books
from simulator.demo.distributed import (
    BOOKS,
    ExchangeFigures,
    clock_options,
    end_processes,
    free_port,
    read_exchange,
    write_config,
)
from simulator.demo.embedded import DATABASE
from simulator.demo.plan import Plan

START_S = 25.0
"""Wall seconds for all interpreters to start, load kernels and join their groups."""
_LOOK_S = 0.2
_STOP_S = 20.0
_DRAIN_S = 60.0
_BOUND = 0.95
"""Share of a budget from which on it counts as one that bound."""
_EXCHANGE = "exchange"


class KillSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is killed, and when.

    kills: how many. seed: of moments and victims. every_s: mean wall seconds between two kills; down_s: the most
    that a victim stays away. bidders, trackers, banks: how many of each. patience_s: wall seconds that leases and
    reservations last. rows_per_second: pace of the log. budget_share: of the plan's budgets, so that they bind.
    store: URL of an empty PostgreSQL; else a SQLite in the folder of the run.
    """

    kills: int = 50
    seed: int = 7
    every_s: float = 5.0
    down_s: float = 2.0
    bidders: int = 2
    trackers: int = 2
    banks: int = 1
    patience_s: float = 10.0
    rows_per_second: float = 150.0
    budget_share: float = 0.04
    store: str | None = None

    def speedup(self, plan: Plan) -> float:
        """Seconds of the plan's time for each of the wall."""
        return (plan.end_ns - plan.start_ns) / 1e9 * self.rows_per_second / plan.row_count


class KillReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    kills: by process. own_exits: how often a process ended by itself, with what it said last; each was started
    again. unanswered: calls of the exchange that no tracker took. mismatches: where the books differ. over: what of
    each budget was spent above its limit, which only uncovered spend may be; overspent: what of that was not.
    campaigns, bound_campaigns: how many, and of how many at least 95 % of the budget was spent. uncovered_nanos,
    spend_nanos, budget_nanos: in all. bids, wins: at the exchange.
    """

    kills: Mapping[str, int]
    own_exits: Sequence[str]
    unanswered: int
    mismatches: Sequence[str]
    over: Mapping[str, int]
    overspent: Mapping[str, int]
    campaigns: int
    bound_campaigns: int
    uncovered_nanos: int
    spend_nanos: int
    budget_nanos: int
    bids: int
    wins: int
    offered: int
    timeouts: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled or overspent."""
        return not (self.unanswered or self.mismatches or self.overspent)


def with_budgets(plan: Plan, share: float) -> Plan:
    """The plan with so much of each campaign's budget: where money does not bind, no bound is tried."""
    campaigns = {
        name: msgspec.structs.replace(each, budget_nanos=int(each.budget_nanos * share))
        for name, each in plan.campaigns.items()
    }
    return dataclasses.replace(plan, campaigns=campaigns)


async def run_kills(
    plan: Plan,
    kafka: str,
    folder: Path,
    arguments: Sequence[str],
    settings: KillSettings,
    watch: Callable[[str], None],
) -> KillReport:
    """Plays a plan by many processes and kills them.

    Args:
        plan: what to play. kafka: `host:port`. folder: of the run, with `model` where the plan needs one.
        arguments: those by which `clearbid exchange` makes the same plan.
        settings: what is killed, and when. watch: is told of each kill and start.

    Raises:
        DependencyError: a part cannot be kept running, or the exchange did not come to its end.
        InputError: the store has campaigns already.
    """
    began_s = time.monotonic()
    speedup = settings.speedup(plan)
    place = settings.store or folder / DATABASE
    with Database(place) as database:
        if CampaignStore(database).all():
            raise InputError(
                f"store must be empty, as the run is judged by all that is in it: {database.name}"
            )
        CampaignStore(database).put(plan.campaigns.values(), at_ns=plan.start_ns, actor="kills")
    config = write_config(plan, kafka, folder, settings.patience_s * speedup, settings.store)
    ports = [free_port() for _ in range(settings.trackers)]
    wall_ns = time.time_ns() + int(START_S * 1e9)
    common = ["--config", str(config), *clock_options(plan, wall_ns, speedup)]
    books = folder / BOOKS
    calling = [part for port in ports for part in ("--tracker", f"127.0.0.1:{port}")]
    parts = _parts(settings, ports, common, folder, has_model=not plan.external_scores)
    async with _Supervisor(folder, parts, watch) as supervisor:
        await supervisor.start_all()
        exchange = await supervisor.start_alone(
            _EXCHANGE, [_EXCHANGE, *common, *arguments, "--books", str(books), *calling]
        )
        await asyncio.sleep(max(0.0, wall_ns / 1e9 - time.time()))
        await _kill_and_mend(supervisor, settings, exchange)
        found = read_exchange(books)
        if exchange.returncode or found is None or not found.done:
            raise DependencyError(f"exchange must come to its end, did not: see {folder / 'exchange.log'}")
        left = await settle_books(place, found.books, plan.end_ns, supervisor.mend, _DRAIN_S)
        await supervisor.stop()
    return _report(plan, place, found, left, supervisor, time.monotonic() - began_s)


async def _kill_and_mend(
    supervisor: "_Supervisor", settings: KillSettings, exchange: asyncio.subprocess.Process
) -> None:
    """Kills at random moments, mends all the time, until all kills are made and the exchange has ended."""
    draws = random.Random(settings.seed)  # noqa: S311 - a seeded experiment
    left, next_s = settings.kills, time.monotonic() + draws.expovariate(1 / settings.every_s)
    while left or exchange.returncode is None:
        await asyncio.sleep(_LOOK_S)
        await supervisor.mend()
        if left and time.monotonic() >= next_s:
            left -= 1
            victim = draws.choice(sorted(supervisor.parts))
            await supervisor.kill(victim, down_s=draws.uniform(0.0, settings.down_s))
            next_s = time.monotonic() + draws.expovariate(1 / settings.every_s)
        if exchange.returncode:
            return


def _parts(
    settings: KillSettings, ports: Sequence[int], common: Sequence[str], folder: Path, *, has_model: bool
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """By name, the command and the environment of each process that is killed."""
    bid = ["bid", *common, *(["--model", str(folder / "model")] if has_model else [])]
    parts: dict[str, tuple[list[str], dict[str, str]]] = {}
    for number in range(settings.banks):
        parts[f"bank-{number + 1}"] = (["bank", *common], {})
    for number, port in enumerate(ports):
        name = f"track-{number + 1}"
        # What a killed tracker had spooled it sends in its next life: two may not share a folder.
        own = {"CLEARBID_TRACK_PORT": str(port), "CLEARBID_TRACK_SPOOL_DIR": str(folder / f"{name}.spool")}
        parts[name] = (["track", *common], own)
    for number in range(settings.bidders):
        parts[f"bid-{number + 1}"] = (bid, {"CLEARBID_BID_SEAT": f"seat-{number + 1}"})
    return parts


def _report(
    plan: Plan,
    place: Path | str,
    found: ExchangeFigures,
    left: list[str],
    supervisor: "_Supervisor",
    seconds: float,
) -> KillReport:
    reports = read_reports(place, plan.end_ns)
    passed = passed_budgets(place)
    budgets = {name: campaign.budget_nanos for name, campaign in plan.campaigns.items()}
    bound = [name for name, report in reports.items() if report.spend_nanos >= _BOUND * budgets[name]]
    campaigns = found.books.campaigns.values()
    return KillReport(
        kills=dict(sorted(supervisor.kills.items())),
        own_exits=supervisor.own_exits,
        unanswered=found.failed_calls,
        mismatches=left,
        over={each.account_id: each.booked - each.limit for each in passed},
        overspent={
            each.account_id: each.booked - each.limit - each.uncovered
            for each in passed
            if each.booked > each.limit + each.uncovered
        },
        campaigns=len(budgets),
        bound_campaigns=len(bound),
        uncovered_nanos=sum(report.uncovered_nanos for report in reports.values()),
        spend_nanos=sum(report.spend_nanos for report in reports.values()),
        budget_nanos=sum(budgets.values()),
        bids=sum(own.bids for own in campaigns),
        wins=sum(own.wins for own in campaigns),
        offered=found.books.offered,
        timeouts=found.books.timeouts,
        seconds=seconds,
    )


class _Supervisor:
    """Keeps processes running, and kills them; each writes what it says to its own log.

    Attributes:
        parts: command and environment of each, by name. kills: by name. own_exits: ends that nobody asked for.
    """

    def __init__(
        self,
        folder: Path,
        parts: Mapping[str, tuple[list[str], dict[str, str]]],
        watch: Callable[[str], None],
    ) -> None:
        self.parts = parts
        self.kills: Counter[str] = Counter()
        self.own_exits: list[str] = []
        self._folder = folder
        self._watch = watch
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._down_until_s: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await end_processes(self._running.values())

    async def start_all(self) -> None:
        """Starts every part."""
        for name in self.parts:
            await self._start(name)

    async def start_alone(self, name: str, command: Sequence[str]) -> asyncio.subprocess.Process:
        """Starts a process that is neither killed nor started again."""
        self._running[name] = await self._spawn(name, command, {})
        return self._running[name]

    async def kill(self, name: str, *, down_s: float) -> None:
        """Kills a part where it stands; it stays away for `down_s`."""
        process = self._running[name]
        if process.returncode is None:
            process.kill()
            await process.wait()
        self.kills[name] += 1
        self._down_until_s[name] = time.monotonic() + down_s
        self._watch(f"killed {name}, away for {down_s:.1f} s")

    async def mend(self) -> None:
        """Starts what is down and was away for long enough."""
        now_s = time.monotonic()
        for name in self.parts:
            process = self._running[name]
            if process.returncode is None:
                continue
            if name not in self._down_until_s:
                self.own_exits.append(f"{name} ended with {process.returncode}: {self._last_line(name)}")
                self._watch(self.own_exits[-1])
                self._down_until_s[name] = now_s + 1.0
            if now_s >= self._down_until_s[name]:
                await self._start(name)

    async def stop(self) -> None:
        """Asks bidders, trackers and banks to stop, in this order, and waits for each."""
        for kind in ("bid", "track", "bank"):
            names = [name for name in self.parts if name.startswith(kind)]
            for name in names:
                with contextlib.suppress(ProcessLookupError):
                    self._running[name].send_signal(signal.SIGTERM)
            for name in names:
                async with asyncio.timeout(_STOP_S):
                    await self._running[name].wait()

    async def _start(self, name: str) -> None:
        command, environment = self.parts[name]
        self._down_until_s.pop(name, None)
        self._running[name] = await self._spawn(name, command, environment)

    async def _spawn(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        with (self._folder / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bidder.cli.main", *command,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def _last_line(self, name: str) -> str:
        said = (self._folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return said[-1] if said else ""
