"""Two `clearbid bank` on one PostgreSQL share the advertisers over Apache Kafka: a start, a kill, an end."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from bidder.core.messages import (
    LEASES,
    NOTICES,
    SETTLEMENTS,
    SLICES,
    TOPICS,
    Lease,
    NoticeKind,
    Settlements,
    SliceReport,
    encode,
)
from bidder.core.shards import shard_of
from bidder.runtime.kafka_prefix import KafkaPlace
from bidder.runtime.transport import Outbound
from bidder.store.books import Books
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, bid_id, campaign, notice

SHOPS = [f"shop-{number}" for number in range(12)]
PRICE = 1_000
PARTITIONS = 4


class World:
    """The parts, and what was sent so far."""

    def __init__(self, database: Database, kafka: KafkaPlace, config: Path, stack: AsyncExitStack) -> None:
        self.database = database
        self.kafka = kafka
        self.config = config
        self.sink = kafka.sink("test")
        self.sent = 0
        self._stack = stack
        self._banks = 0

    async def start_bank(self) -> asyncio.subprocess.Process:
        """Starts one and waits until it says so."""
        self._banks += 1
        log = self._stack.enter_context((self.config.parent / f"bank-{self._banks}.log").open("wb"))
        bank = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bidder.cli.main", "bank", "--config", str(self.config),
            stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
        self._stack.push_async_callback(_end, bank)
        assert bank.stdout is not None
        async with asyncio.timeout(60):
            line = (await bank.stdout.readline()).decode()
        assert line.startswith("bank: 12 campaigns, database postgresql://clearbid@127.0.0.1:"), line
        return bank

    async def bill(self, count: int) -> None:
        """So many wins more, shared out evenly, each billed twice."""
        now_ns = time.time_ns()
        out = []
        for number in range(self.sent, self.sent + count):
            shop = SHOPS[number % len(SHOPS)]
            one = notice(
                NoticeKind.BILLING,
                f"b-{number}",
                campaign_id=f"c-{shop}",
                advertiser_id=shop,
                price_nanos=PRICE,
                at_ns=now_ns,
                liable_until_ns=now_ns + 600 * S,
            )
            out += [Outbound(NOTICES, shop.encode(), encode(one))] * 2
        self.sent += count
        await self.sink.publish(out)
        await self.sink.flush()

    def booked(self) -> int:
        return int(self.query("SELECT count(*) FROM bookings WHERE amount_nanos > 0")[0][0])

    def owners(self) -> dict[int, int]:
        return dict(self.query("SELECT shard, epoch FROM owners"))

    def query(self, statement: str) -> list[Any]:
        with self.database.reading() as session:
            return session.execute(statement).fetchall()

    async def until(self, ready: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + 60
        while not ready():
            said = "".join(each.read_text() for each in self.config.parent.glob("bank-*.log"))
            assert time.monotonic() < deadline_s, f"{what}; banks said: {said}"
            await asyncio.sleep(0.05)


async def _end(bank: asyncio.subprocess.Process) -> None:
    if bank.returncode is None:
        bank.kill()
        await bank.wait()


@pytest.mark.kafka
@pytest.mark.postgres
async def test_two_banks_share_the_work_and_lose_and_double_nothing(
    apache_bootstrap: str, postgres_place: str, tmp_path: Path
) -> None:
    prefix = f"two-{uuid4().hex[:8]}."
    config = tmp_path / "clearbid.toml"
    config.write_text(
        f'[kafka]\nbootstrap = "{apache_bootstrap}"\nprefix = "{prefix}"\npartitions = {PARTITIONS}\n'
        f'[store]\nurl = "{postgres_place}"\n[bank]\ntick_seconds = 0.05\n'
    )
    kafka = KafkaPlace(apache_bootstrap, prefix)
    await kafka.ensure_topics(dict.fromkeys(TOPICS, PARTITIONS), (LEASES,))
    now_ns = time.time_ns()
    async with AsyncExitStack() as stack:
        database = stack.enter_context(Database(postgres_place))
        stated = [
            campaign(f"c-{shop}", advertiser=shop, start_ns=now_ns - S, end_ns=now_ns + 3600 * S)
            for shop in SHOPS
        ]
        CampaignStore(database).put(stated, at_ns=now_ns)
        world = World(database, kafka, config, stack)
        heard = kafka.source((SETTLEMENTS, LEASES), None, "test")
        for part in (world.sink, heard):
            stack.push_async_callback(part.stop)
            await part.start()

        first = await world.start_bank()
        ask = SliceReport(seat="s1", epoch=0, seq=0, start_id="a", at_ns=now_ns, rows=())
        await world.sink.publish([Outbound(SLICES, b"s1", encode(ask))])
        await world.bill(1_200)
        await world.until(lambda: world.booked() == world.sent, "one bank must book what is of every shard")
        assert world.owners() == dict.fromkeys(range(PARTITIONS), 1)

        second = await world.start_bank()
        await world.bill(2_400)
        await world.until(
            lambda: sorted(world.owners().values()) == [1, 1, 2, 2], "two shards must change hands"
        )
        await world.until(lambda: world.booked() == world.sent, "two banks must book what is of every shard")

        await world.bill(1_200)
        first.kill()
        await world.bill(1_200)
        await world.until(
            lambda: world.booked() == world.sent, "the other must take over what a dead bank had"
        )
        assert sorted(world.owners().values()) == [2, 2, 2, 2]

        first = await world.start_bank()
        await world.bill(1_200)
        await world.until(lambda: world.booked() == world.sent, "a bank that comes back must find its place")
        for bank in (first, second):
            bank.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                assert await bank.wait() == 0

        Books(database).verify()
        (spent,) = world.query("SELECT sum(spend_nanos) FROM tallies")[0]
        assert spent == world.sent * PRICE
        by_shop = dict(world.query("SELECT advertiser_id, count(*) FROM bookings GROUP BY advertiser_id"))
        assert by_shop == dict.fromkeys(SHOPS, world.sent // len(SHOPS))
        assert len({shard_of(shop, PARTITIONS) for shop in SHOPS}) == PARTITIONS

        paid: set[str] = set()
        leases: list[Lease] = []
        while messages := await heard.poll(10_000, 2.0):
            for message in messages:
                if message.topic == LEASES:
                    leases.append(msgspec.json.decode(message.value, type=Lease))
                    continue
                rows = msgspec.json.decode(message.value, type=Settlements).each()
                assert {row.amount_nanos for row in rows} <= {PRICE}  # none where a bank says what it heard
                paid |= {row.bid_id for row in rows}
        assert paid == {bid_id(f"b-{number}") for number in range(world.sent)}
        assert {lease.account_id for lease in leases} == {f"c-{shop}" for shop in SHOPS}
        assert {lease.epoch for lease in leases} == {1}, "banks that lease one seat agree on its epoch"
