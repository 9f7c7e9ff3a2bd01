"""What a bank tells of itself: `GET /metrics`."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from bidder.core.bankrules import BankRules
from bidder.core.messages import NOTICES, SLICES, Conversion, NoticeKind, SliceReport, encode
from bidder.runtime import bank_metrics
from bidder.runtime.bank_loop import bank_thread
from bidder.runtime.bank_metrics import BankMetrics
from bidder.runtime.bank_shards import ShardedBank
from bidder.runtime.clock import AffineClock
from bidder.runtime.http import Request
from bidder.runtime.metrics import metrics_server
from bidder.runtime.transport import Message
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, ask, campaign, notice

RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with bank_thread() as thread:
        yield thread


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[ShardedBank]:
    """One that has leased, booked, refused and not attributed."""
    with Database(tmp_path / "a.db", durable=False) as database:
        CampaignStore(database).put([campaign("c1"), campaign("c2")], at_ns=0)
        bank = ShardedBank(database, RULES, 1)
        bank.assign(frozenset({0}), 0)
        records = [
            notice(NoticeKind.BILLING, "b-1"),
            notice(NoticeKind.BILLING, "b-1"),
            notice(NoticeKind.CLICK, "b-1"),
            notice(NoticeKind.BILLING, "b-2", campaign_id="nobody"),
            Conversion(campaign("c1").advertiser, "o1", 0, 10 * S, 10 * S, permitted=False),
        ]
        messages = [Message(NOTICES, 0, n, None, encode(each), 0) for n, each in enumerate(records)]
        bank.on_messages([*messages, Message(SLICES, 0, 0, None, encode(ask()), 0)], 10 * S)
        bank.on_tick(11 * S)
        yield bank


def told(metrics: BankMetrics) -> dict[str, str]:
    """Value of each series by its name and labels."""
    return dict(line.rsplit(" ", 1) for line in metrics.text().splitlines() if not line.startswith("#"))


def test_the_books_are_told(bank: ShardedBank, thread: ThreadPoolExecutor) -> None:
    found = told(BankMetrics(bank, AffineClock(12 * S, 2**62, 1.0), thread))
    books = bank.services[0].bank
    (own, _) = books.report()
    assert own.spend_nanos > 0
    assert own.leased_nanos > 0
    for name in ("budget", "spend", "late", "uncovered", "leased"):
        stated = getattr(own, f"{name}_nanos")
        assert found[f'clearbid_bank_campaign_{name}_nanos{{campaign="c1"}}'] == str(stated)
        assert found[f"clearbid_bank_{name}_nanos"] == str(
            sum(getattr(each, f"{name}_nanos") for each in books.report())
        )
    assert found['clearbid_bank_events_total{kind="wins"}'] == "1"
    assert found['clearbid_bank_events_total{kind="clicks"}'] == "1"
    assert found['clearbid_bank_refused_total{rule="duplicate"}'] == "1"
    assert found['clearbid_bank_refused_total{rule="unknown_campaign"}'] == "1"
    (stray,) = books.unattributed()
    assert found[f'clearbid_bank_unattributed_total{{reason="{stray.reason}"}}'] == "1"
    assert found["clearbid_bank_leases"] == "2"
    assert found["clearbid_bank_shards"] == "1"
    assert found['clearbid_bank_late_share_ppm{shard="0"}'] == str(RULES.late_start_ppm)
    assert found["clearbid_bank_late_longest_seconds"] == "0"
    assert found["clearbid_bank_beyond_tail_total"] == "0"
    assert found['clearbid_bank_tail_too_short{shard="0"}'] == "0"


def test_late_billings_are_told(bank: ShardedBank, thread: ThreadPoolExecutor) -> None:
    late = [notice(NoticeKind.BILLING, f"late-{n}", at_ns=(3_690 + n) * S, price_nanos=1) for n in range(20)]
    messages = [Message(NOTICES, 0, 5 + n, None, encode(each), 0) for n, each in enumerate(late)]
    bank.on_messages(messages, 4_000 * S)
    found = told(BankMetrics(bank, AffineClock(4_000 * S, 2**62, 1.0), thread))
    assert found["clearbid_bank_late_longest_seconds"] == "3609"
    assert found["clearbid_bank_beyond_tail_total"] == "9"
    assert found['clearbid_bank_tail_too_short{shard="0"}'] == "1"


def test_what_seats_hold_is_told(bank: ShardedBank, thread: ThreadPoolExecutor) -> None:
    metrics = BankMetrics(bank, AffineClock(12 * S, 2**62, 1.0), thread)
    assert told(metrics)["clearbid_bank_locked_nanos"] == "0"
    row = {"account_id": "c1", "granted_nanos": 9, "reserved_nanos": 7, "posted_nanos": 0}
    report = msgspec.convert(
        {**msgspec.to_builtins(ask()), "epoch": 1, "seq": 1, "rows": [row], "whole": True}, SliceReport
    )
    bank.on_messages([Message(SLICES, 0, 1, None, encode(report), 0)], 13 * S)
    assert told(metrics)["clearbid_bank_locked_nanos"] == "7"
    assert told(metrics)['clearbid_bank_campaign_locked_nanos{campaign="c1"}'] == "7"


def test_many_campaigns_are_told_by_their_sum_alone(
    bank: ShardedBank, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_metrics, "MOST_CAMPAIGNS", 1)
    found = told(BankMetrics(bank, AffineClock(12 * S, 2**62, 1.0), thread))
    assert int(found["clearbid_bank_spend_nanos"]) > 0
    assert not any("campaign=" in name for name in found)


async def test_the_endpoint_answers_in_the_banks_thread(
    bank: ShardedBank, thread: ThreadPoolExecutor
) -> None:
    metrics = BankMetrics(bank, AffineClock(12 * S, 2**62, 1.0), thread)
    assert (await metrics.handle(Request("GET", "/", {}, b""))).status == 404
    server = metrics_server(metrics, "127.0.0.1", 0)
    await server.start()
    held = asyncio.Event()
    loop = asyncio.get_running_loop()
    busy = loop.run_in_executor(thread, lambda: asyncio.run_coroutine_threadsafe(held.wait(), loop).result())
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = asyncio.ensure_future(reader.read())
        done, _ = await asyncio.wait([answer], timeout=0.1)
        assert not done  # the bank is at work: nobody looks into its books meanwhile
        held.set()
        assert b"clearbid_bank_shards 1\n" in await answer
        writer.close()
    finally:
        held.set()
        await busy
        await server.stop()
