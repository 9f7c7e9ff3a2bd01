"""What a booked notice costs the bank, by database: decoded, booked, written with its offset, on the disk.

    pytest benchmarks/bench_books.py -q -s

Billing notices as the tracker writes them, each of a bid of its own, for 200 campaigns of 50 advertisers with money
of the flight, of the advertiser and of the day; each batch is one transaction and is on the disk when it ends: SQLite
in a file with `synchronous = FULL`, PostgreSQL with `fsync` and `synchronous_commit` on, over the loopback. The bank
before (a SQLite in memory) says what is the disk's. Times are of the wall, and of the bank's own thread; the median
of the rounds counts. In the end the bookings must add up.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest

from bidder.core.bankrules import BankRules
from bidder.core.messages import NOTICES, NoticeKind, encode
from bidder.runtime.bank import BankService
from bidder.runtime.transport import Message
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, advertiser, campaign, notice
from tests.support.postgres_server import PostgresUnavailable, new_database, postgres_server

ADVERTISERS = 50
CAMPAIGNS = 200
NOTICES_A_RUN = 40_000
BATCHES = (100, 1_000, 5_000)


@contextmanager
def places(folder: Path) -> Iterator[dict[str, str]]:
    """Where each database is; PostgreSQL only where it can be started."""
    with ExitStack() as stack:
        found = {"memory": ":memory:", "SQLite": str(folder / "bank.db")}
        try:
            server = stack.enter_context(postgres_server(durable=True))
        except PostgresUnavailable as error:
            print(f"no PostgreSQL: {error}")
        else:
            found["PostgreSQL"] = stack.enter_context(new_database(server.url))
        yield found


def fill(database: Database) -> None:
    """Campaigns with budgets at three levels."""
    limits = {"lifetime_nanos": 10**6 * S, "daily_nanos": 10**5 * S}
    CampaignStore(database).put_all(
        [
            campaign(f"c-{n}", advertiser=f"shop-{n % ADVERTISERS}", budget_nanos=10**6 * S)
            for n in range(CAMPAIGNS)
        ],
        [advertiser(f"shop-{n}", **limits) for n in range(ADVERTISERS)],
        at_ns=0,
    )


def bills(first: int, count: int) -> list[Message]:
    """Notices of bids that were never heard of before."""
    return [
        Message(
            NOTICES,
            0,
            number,
            None,
            encode(
                notice(
                    NoticeKind.BILLING,
                    f"b-{number}",
                    campaign_id=f"c-{number % CAMPAIGNS}",
                    advertiser_id=f"shop-{number % ADVERTISERS}",
                    exchange="alpha",
                    creative_id="b1",
                    user=number,
                    bid_at_ns=9 * S,
                )
            ),
            0,
        )
        for number in range(first, first + count)
    ]


def run(service: BankService, first: int, batch: int) -> tuple[float, float]:
    """Seconds of the wall and of the bank's thread for each notice."""
    wall_s, own_s = [], []
    for begin in range(first, first + NOTICES_A_RUN, batch):
        messages = bills(begin, batch)
        began_s, thread_s = time.perf_counter(), time.thread_time()
        service.on_messages(messages, 10 * S)
        service.published()
        wall_s.append(time.perf_counter() - began_s)
        own_s.append(time.thread_time() - thread_s)
    return median(wall_s) / batch, median(own_s) / batch


@pytest.mark.parametrize("durable", [True])
def test_notices_a_second(tmp_path: Path, durable: bool) -> None:
    print(f"\n{'database':<12}{'batch':>8}{'notices/s':>12}{'us/notice':>12}{'of it own CPU':>16}")
    with places(tmp_path) as found:
        for name, place in found.items():
            with Database(place, durable=durable) as database:
                fill(database)
                service = BankService.open(database, BankRules(), 0)
                for number, batch in enumerate(BATCHES):
                    wall_s, own_s = run(service, number * NOTICES_A_RUN, batch)
                    print(
                        f"{name:<12}{batch:>8,}{1 / wall_s:>12,.0f}{wall_s * 1e6:>12.1f}{own_s * 1e6:>16.1f}"
                    )
                service.close()
                service.verify()
                spent = sum(report.spend_nanos for report in service.report())
                assert spent == 2_000_000 * NOTICES_A_RUN * len(BATCHES)
