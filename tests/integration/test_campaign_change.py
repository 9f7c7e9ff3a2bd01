"""What ad-ops change by the command reaches a running bidder within a second, through the real bank."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.core.bankrules import BankRules
from bidder.core.campaigns import Pacing
from bidder.core.engine import Engine
from bidder.core.inbox import CONTROL_TOPICS
from bidder.core.messages import BID_REQUESTS, BID_RESPONSES
from bidder.core.warm import warm_kernels
from bidder.runtime.bank import BANK_GROUP, BANK_TOPICS, BankService
from bidder.runtime.bank_loop import run_bank
from bidder.runtime.bus import Bus
from bidder.runtime.clock import SystemClock
from bidder.runtime.transport import Outbound
from bidder.runtime.worker import Worker
from bidder.runtime.worker_shell import WorkerShell
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from simulator.demo.embedded import PARTITIONS
from tests.support.factories import KEY, SETTINGS, START, Offer, S, body, campaign

LIMIT_S = 1.0
BID_NANOS = 2_000_000


@dataclass
class Market:
    """A running bidder and bank, and an exchange that asks."""

    bus: Bus
    worker: Worker
    database: Path
    asked: int = 0
    answers: list[bool] = field(default_factory=list)

    async def bids(self) -> bool:
        """Whether a new request gets a bid."""
        self.asked += 1
        offer = body(Offer(id=f"r{self.asked}", external=("c1", 0.01)))
        self.bus.sink().put([Outbound(BID_REQUESTS, b"u", offer)])
        async with asyncio.timeout(10):
            while len(log := self.bus.log(BID_RESPONSES)[0]) < self.asked:  # noqa: ASYNC110 - a list tells nobody
                await asyncio.sleep(0.002)
        return bool(orjson.loads(log[-1].value)["seatbid"])

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Returns when it is as wanted."""
        async with asyncio.timeout(10):
            while not wanted():  # noqa: ASYNC110 - the engine tells nobody
                await asyncio.sleep(0.005)

    async def until_bids(self, wanted: bool) -> None:
        """Returns when requests are bid on, or are not any more."""
        async with asyncio.timeout(10):
            while await self.bids() is not wanted:  # noqa: ASYNC110 - each turn asks
                await asyncio.sleep(0.005)

    async def change(self, *arguments: str) -> None:
        """`clearbid campaigns ARGUMENTS`."""
        line = ["campaigns", *arguments, "--db", str(self.database)]
        done = await asyncio.to_thread(CliRunner().invoke, build_app(), line)
        assert done.exit_code == 0, done.output


@asynccontextmanager
async def market(folder: Path, budget_nanos: int) -> AsyncIterator[Market]:
    """One campaign that bids its 2.00 CPM on everything; bank and bidder as they run live, on a bus."""
    warm_kernels(None)
    path, clock = folder / "clearbid.db", SystemClock()
    now_ns = clock.now_ns()
    one = campaign(
        budget_nanos=budget_nanos,
        start_ns=now_ns - S,
        end_ns=now_ns + 3_600 * S,
        max_bid_cpm_micros=BID_NANOS,
        pacing=Pacing.ASAP,
    )
    with Database(path) as database:
        CampaignStore(database).put([one], at_ns=now_ns)
    bus, stop = Bus(PARTITIONS), asyncio.Event()
    worker = Worker(Engine(SETTINGS, KEY, None, START))
    requests, control = bus.source((BID_REQUESTS,), "bid"), bus.source(CONTROL_TOPICS)
    with Database(path) as books:
        service = BankService.open(books, BankRules(), now_ns)
        async with asyncio.TaskGroup() as group:
            group.create_task(run_bank(service, bus.source(BANK_TOPICS, BANK_GROUP), bus.sink(), clock, stop))
            group.create_task(WorkerShell(worker, requests, control, bus.sink(), clock).run(stop))
            try:
                yield Market(bus, worker, path)
            finally:
                stop.set()


async def test_a_pause_reaches_a_running_bidder_within_a_second(tmp_path: Path) -> None:
    async with market(tmp_path, budget_nanos=S) as it:
        await it.until_bids(True)
        assert await it.bids()
        began_s = time.monotonic()
        await it.change("pause", "c1")
        await it.until_bids(False)
        assert time.monotonic() - began_s < LIMIT_S
        assert not await it.bids()


async def test_a_resume_reaches_a_running_bidder_within_a_second(tmp_path: Path) -> None:
    async with market(tmp_path, budget_nanos=S) as it:
        await it.until_bids(True)
        await it.change("pause", "c1")
        await it.until_bids(False)
        began_s = time.monotonic()
        await it.change("resume", "c1")
        await it.until_bids(True)
        assert time.monotonic() - began_s < LIMIT_S
        assert await it.bids()


async def test_a_raised_budget_is_bid_with_within_a_second(tmp_path: Path) -> None:
    """Nine bids take all the money there is: of the tenth a part is kept back for late wins."""
    async with market(tmp_path, budget_nanos=10 * BID_NANOS) as it:
        await it.until_bids(True)
        more = [await it.bids() for _ in range(20)]
        assert sum(more) == 8
        assert not more[-1]
        began_s = time.monotonic()
        await it.change("set-budget", "c1", "1.00")
        await it.until_bids(True)
        assert time.monotonic() - began_s < LIMIT_S
        assert await it.bids()


@pytest.mark.parametrize("amount", ["0.50", "0.0001"])
async def test_a_lowered_budget_is_known_within_a_second(tmp_path: Path, amount: str) -> None:
    """What is granted already ends with its lease; pacing works to the new budget at once."""
    async with market(tmp_path, budget_nanos=S) as it:
        await it.until_bids(True)
        began_s = time.monotonic()
        await it.change("set-budget", "c1", amount)
        nanos = int(float(amount) * S)
        await it.until(lambda: it.worker.engine.table.campaigns["c1"].budget_nanos == nanos)
        assert time.monotonic() - began_s < LIMIT_S
        assert it.worker.engine.table.campaigns["c1"].budget_nanos == nanos


async def test_a_new_campaign_bids_within_a_second(tmp_path: Path) -> None:
    async with market(tmp_path, budget_nanos=S) as it:
        await it.until_bids(True)
        await it.change("pause", "c1")
        await it.until_bids(False)
        exported = await asyncio.to_thread(
            CliRunner().invoke, build_app(), ["campaigns", "list", "--csv", "--db", str(it.database)]
        )
        sheet = tmp_path / "sheet.csv"
        sheet.write_text(exported.stdout.replace("paused", "active").replace("Campaign c1", "Campaign again"))
        began_s = time.monotonic()
        await it.change("import", str(sheet))
        await it.until_bids(True)
        assert time.monotonic() - began_s < LIMIT_S
        assert it.worker.engine.table.campaigns["c1"].name == "Campaign again"
