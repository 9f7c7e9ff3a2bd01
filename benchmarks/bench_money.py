"""Ledger operations and bank notices a second of one core.

    pytest benchmarks/bench_money.py --benchmark-only -q

*Ledger.* Each bid is reserved on a chain of five accounts, a fifth are posted and the rest voided: two operations a
bid. The purse takes them in batches of 64 and one by one; the naive ledger of the tests, plain dicts, is the floor.
*Bank.* `BankService` on a durable SQLite file, in batches of 5,000 notices as they come off the topic: for each bid
its billing and its impression, decoded, booked, written with offsets and outbox in one transaction and synced. CPU
time is of the thread; the wall, which waits for the disk, is told beside it.
"""

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bidder.core.bankrules import BankRules
from bidder.core.messages import NOTICES, NoticeKind, encode
from bidder.core.purse import ONE_IMPRESSION, Purse, Unit
from bidder.runtime.bank import MAX_BATCH, BankService
from bidder.runtime.transport import Message
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, campaign, notice
from tests.support.naive_ledger import NaiveLedger

BIDS = 64 * 64
BATCH = 64
ROUNDS = 9
NOW_NS = 1_772_409_600 * S
KEEP_NS = 660 * S


def opened(book: Purse | NaiveLedger) -> int:
    """A chain of five accounts with ample money."""
    for number in range(5):
        book.grant(book.account(f"b{number}", Unit.IMPRESSIONS if number % 2 else Unit.MONEY), 8 * 10**18)
    return book.chain(tuple(range(5)))


def told(benchmark: Any, operations: int) -> None:
    if benchmark.stats is not None:
        benchmark.extra_info["operations_a_second"] = operations / benchmark.stats.stats.median


@pytest.mark.benchmark(group="ledger", timer=time.thread_time)
def test_purse_in_batches(benchmark: Any) -> None:
    book, random = Purse(KEEP_NS, 1 << 18), np.random.default_rng(7)
    chain = opened(book)
    results = np.zeros((BIDS // BATCH, BATCH), np.uint8)

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (random.integers(0, 256, (BIDS // BATCH, BATCH, 12), dtype=np.uint8),), {}

    chains, amounts = np.full(BATCH, chain, np.int32), np.full(BATCH, 1_000)
    counts, tags, until = (
        np.full(BATCH, ONE_IMPRESSION),
        np.ones(BATCH, np.uint64),
        np.full(BATCH, NOW_NS + S),
    )
    kinds, tags_out = np.where(np.arange(BATCH) % 5, 3, 2).astype(np.uint8), np.empty(BATCH, np.uint64)

    def work(ids: Any) -> None:
        for batch, out in zip(ids, results, strict=True):
            book.reserve_rows(batch, chains, amounts, counts, tags, until, until)
            book.settle_rows(batch, kinds, chains, amounts, NOW_NS, out, tags_out)

    benchmark.pedantic(work, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    assert not results.any()
    told(benchmark, 2 * BIDS)


@pytest.mark.benchmark(group="ledger", timer=time.thread_time)
@pytest.mark.parametrize("kind", [Purse, NaiveLedger], ids=["purse one by one", "naive ledger"])
def test_one_by_one(benchmark: Any, kind: type[Purse] | type[NaiveLedger]) -> None:
    book = kind(KEEP_NS)
    chain = opened(book)
    numbers = itertools.count()

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ([next(numbers).to_bytes(12, "big") for _ in range(BIDS)],), {}

    def work(ids: list[bytes]) -> None:
        for place, bid in enumerate(ids):
            book.reserve(bid, chain, 1_000, NOW_NS + S, NOW_NS + S)
            if place % 5:
                book.void(bid, NOW_NS)
            else:
                book.post(bid, chain, 1_000, NOW_NS)

    benchmark.pedantic(work, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    assert book.open_reservations == 0
    told(benchmark, 2 * BIDS)


@pytest.mark.benchmark(group="bank, durable SQLite", timer=time.thread_time)
def test_bank_notices(benchmark: Any, tmp_path: Path, capsys: Any) -> None:
    with Database(tmp_path / "bank.sqlite") as database:
        CampaignStore(database).put([campaign(budget_nanos=10**15)], at_ns=0, actor="bench")
        service = BankService.open(database, BankRules(), S)
        offsets, walls = itertools.count(), []

        def message(kind: NoticeKind, name: str) -> Message:
            value = encode(notice(kind, name, bid_at_ns=9 * S))
            return Message(NOTICES, 0, next(offsets), b"c1", value, 0)

        bids = itertools.count()

        def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
            names = [f"{next(bids):016d}" for _ in range(MAX_BATCH // 2)]
            kinds = (NoticeKind.BILLING, NoticeKind.IMPRESSION)
            return ([message(kind, name) for name in names for kind in kinds],), {}

        def work(messages: list[Message]) -> None:
            began = time.perf_counter()
            service.on_messages(messages, 10 * S)
            service.published()
            walls.append(time.perf_counter() - began)

        benchmark.pedantic(work, setup=setup, rounds=ROUNDS, warmup_rounds=1)
        (report,) = service.report()
        assert report.impressions == report.wins == next(bids)
        told(benchmark, MAX_BATCH)
    with capsys.disabled():
        print(f"\nbank: {MAX_BATCH / sorted(walls)[len(walls) // 2]:,.0f} notices a second of the wall")
