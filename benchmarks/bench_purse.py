"""What the worker's money costs a bid: looked up, reserved, settled, expired; the compiled purse and its slow twin.

    pytest benchmarks/bench_purse.py --benchmark-only -q

Batches of 64, every bid charged to a chain of five accounts, three of money and two of impressions, of 100 chains.
A tenth of the settlements are wins, a fifth posts, the rest losses, of bids drawn at random from all that are open,
so that lines are not in the cache because they were written a moment ago. As many bids stay open from round to round;
what ended is remembered for longer than any bid waits, as at the worker, in memory that was used before. The twin
gets its rows as tuples and the purse as columns, both made outside of the time; both are checked to have answered
OK throughout. Times are CPU time of the thread.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from bidder.core.purse import ONE_IMPRESSION, Purse, Unit
from tests.support.naive_ledger import NaiveLedger

BATCH = 64
ROUND = 128 * BATCH
ROUNDS = 15
S = 1_000_000_000
WAIT_NS = 600 * S
KEEP_NS = 660 * S
BEGAN_NS = 1_772_409_600 * S
AMPLE = 8 * 10**18
SIZES = (10_000, 1_000_000)
"""Open reservations; the twin is timed at the first only, of a million it takes half a gigabyte."""

_medians: dict[tuple[str, str, int], float] = {}


class Desk:
    """A book of either kind with many open reservations, and seeded work for it.

    Args:
        book: empty.
        open_bids: how many reservations stay open.
    """

    def __init__(self, book: Purse | NaiveLedger, open_bids: int) -> None:
        self.book = book
        self.now_ns = BEGAN_NS
        self._random = np.random.default_rng(7)
        self._open = np.zeros((0, 12), np.uint8)
        for number in range(260):
            unit = Unit.IMPRESSIONS if number % 2 else Unit.MONEY
            book.grant(book.account(f"budget-{number}", unit), AMPLE)
        self._chains = np.array(
            [book.chain((0, 1, 2 + n // 10, 60 + n, 160 + n)) for n in range(100)], dtype=np.int32
        )
        for _ in range(4 * ROUNDS):
            self.reserve(self.bids(), S)
        self.pass_time(S)
        self.pass_time(KEEP_NS)
        self._open = self._open[:0]
        for _ in range(-(-open_bids // ROUND)):
            self.reserve(self.bids(), WAIT_NS)

    def bids(self) -> list[np.ndarray]:
        """New ids in batches."""
        ids = self._random.integers(0, 256, (ROUND, 12), dtype=np.uint8)
        return [ids[begin : begin + BATCH] for begin in range(0, ROUND, BATCH)]

    def work(self, bids: list[np.ndarray], wait_ns: int) -> list[Any]:
        """Arguments of `reserve_rows`, a batch each."""
        work, until_ns = [], self.now_ns + wait_ns
        for ids in bids:
            columns = (
                self._random.choice(self._chains, len(ids)),
                self._random.integers(1_000, 10_000_000, len(ids)),
                np.full(len(ids), ONE_IMPRESSION),
                self._random.integers(0, 2**63, len(ids), dtype=np.uint64),
                np.full(len(ids), until_ns),
                np.full(len(ids), until_ns),
            )
            if isinstance(self.book, Purse):
                work.append((ids, *columns))
            else:
                chains, amounts, counts, tags, results, liables = (column.tolist() for column in columns)
                rows = zip(_bytes(ids), chains, amounts, results, liables, counts, tags, strict=True)
                work.append((list(rows),))
        return work

    def reserve(self, bids: list[np.ndarray], wait_ns: int) -> None:
        """Reserves bids and keeps them for later."""
        for arguments in self.work(bids, wait_ns):
            self.book.reserve_rows(*arguments)
        self._open = np.concatenate([self._open, *bids])

    def settlements(self) -> list[Any]:
        """Arguments of `settle_rows`, a batch each; their bids are not open any more."""
        order = self._random.permutation(len(self._open))
        picked, self._open = self._open[order[:ROUND]], self._open[order[ROUND:]]
        work = []
        for begin in range(0, ROUND, BATCH):
            ids = picked[begin : begin + BATCH].copy()
            kinds = self._random.choice(np.array([1, 2, 3], np.uint8), BATCH, p=[0.1, 0.2, 0.7])
            chains, amounts = self._random.choice(self._chains, BATCH), np.full(BATCH, 900)
            if isinstance(self.book, Purse):
                results, tags = np.full(BATCH, 255, np.uint8), np.empty(BATCH, np.uint64)
                work.append((ids, kinds, chains, amounts, self.now_ns, results, tags))
            else:
                rows = zip(
                    _bytes(ids), kinds.tolist(), chains.tolist(), amounts.tolist(), [0] * BATCH, strict=True
                )
                work.append((list(rows), self.now_ns))
        return work

    def pass_time(self, step_ns: int) -> None:
        """Ends what time ends meanwhile."""
        self.now_ns += step_ns
        self.book.expire(self.now_ns)


def _bytes(ids: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in ids]


@cache
def desk(kind: str, open_bids: int) -> Desk:
    book = Purse(KEEP_NS, 1_000_000 + open_bids) if kind == "purse" else NaiveLedger(KEEP_NS)
    return Desk(book, open_bids)


CASES = [("purse", SIZES[0]), ("purse", SIZES[1]), ("naive twin", SIZES[0])]


def _run(
    benchmark: Any, name: str, case: tuple[str, int], setup: Callable[[], Any], function: Callable[..., Any]
) -> None:
    benchmark.pedantic(function, setup=lambda: ((setup(),), {}), rounds=ROUNDS, warmup_rounds=1)
    if benchmark.stats is not None:
        us = benchmark.stats.stats.median / ROUND * 1e6
        _medians[name, *case] = us
        benchmark.extra_info["us_a_bid"] = us


@pytest.mark.benchmark(group="money: new ids looked up in batches of 64", timer=time.thread_time)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[1]} open")
def test_known(benchmark: Any, case: tuple[str, int]) -> None:
    own = desk(*case)

    def setup() -> list[Any]:
        bids = own.bids()
        return bids if isinstance(own.book, Purse) else [_bytes(ids) for ids in bids]

    found: list[Any] = []

    def known(batches: list[Any]) -> None:
        found[:] = [own.book.known_rows(ids) for ids in batches]

    _run(benchmark, "look up", case, setup, known)
    assert not any(np.any(batch) for batch in found)


@pytest.mark.benchmark(group="money: looked up and reserved in batches of 64", timer=time.thread_time)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[1]} open")
def test_reserve(benchmark: Any, case: tuple[str, int]) -> None:
    own = desk(*case)
    before = own.book.open_reservations

    def setup() -> list[Any]:
        own.pass_time(S)
        bids = own.bids()
        asked = bids if isinstance(own.book, Purse) else [_bytes(ids) for ids in bids]
        return list(zip(asked, own.work(bids, S), strict=True))

    def reserve(work: list[Any]) -> None:
        """As the engine does it: whether they are new is asked just before."""
        for ids, arguments in work:
            own.book.known_rows(ids)
            own.book.reserve_rows(*arguments)

    _run(benchmark, "both", case, setup, reserve)
    assert own.book.open_reservations == before + ROUND
    own.pass_time(S)


@pytest.mark.benchmark(group="money: settle in batches of 64", timer=time.thread_time)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[1]} open")
def test_settle(benchmark: Any, case: tuple[str, int]) -> None:
    own = desk(*case)
    results: list[Any] = []

    def setup() -> list[Any]:
        own.pass_time(S)
        own.reserve(own.bids(), WAIT_NS)
        return own.settlements()

    def settle(work: list[Any]) -> None:
        results[:] = [own.book.settle_rows(*arguments) for arguments in work]
        if isinstance(own.book, Purse):
            results[:] = [arguments[5] for arguments in work]

    _run(benchmark, "settle", case, setup, settle)
    done = results if isinstance(own.book, Purse) else [batch[0] for batch in results]
    assert not np.any(np.concatenate(done)), "every settlement must be OK"


@pytest.mark.benchmark(group="money: expire", timer=time.thread_time)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[1]} open")
def test_expire(benchmark: Any, case: tuple[str, int]) -> None:
    own = desk(*case)
    freed: list[int] = []

    def setup() -> int:
        own.pass_time(S)
        for arguments in own.work(own.bids(), S):
            own.book.reserve_rows(*arguments)
        return own.now_ns + S

    _run(benchmark, "expire", case, setup, lambda now_ns: freed.append(len(own.book.expire_rows(now_ns)[0])))
    assert set(freed) == {ROUND}


def test_table(capsys: Any) -> None:
    """Runs last, and prints what the others found; to reserve is what both take beyond the look-up."""
    if not _medians:
        pytest.skip("needs the benchmarks before it")
    for kind, open_bids in CASES:
        if {(name, kind, open_bids) for name in ("look up", "both")} <= _medians.keys():
            asked, both = (_medians[name, kind, open_bids] for name in ("look up", "both"))
            _medians["reserve", kind, open_bids] = both - asked
    with capsys.disabled():
        print("\n\nMoney of one bid, five accounts, batches of 64, CPU time, median:")
        for (name, kind, open_bids), us in _medians.items():
            twin = _medians.get((name, "naive twin", SIZES[0]), 0.0)
            print(
                f"  {name:<8} {kind:<10} {open_bids:9,d} open {us:7.3f} us, {1e6 / us:11,.0f} a second of one core, "
                f"{twin / us:5.1f} times the twin"
            )
