"""A bank's books as Prometheus reads them: `GET /metrics`, of the shards that this process holds.

Everything is read from the books in memory when it is asked for, in the bank's own thread, between two of its calls.
Counts are those of the books: they go on where a bank starts again, and go with a shard to whoever takes it, so sums
over all banks are those of the installation. Series of single campaigns are left out where there are more than
`MOST_CAMPAIGNS`; `clearbid settle` has them all.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor

from bidder.core.budgets import Unit
from bidder.core.settings import NS_PER_SECOND
from bidder.core.tally import AccountReport, CampaignReport
from bidder.runtime.bank import BankService
from bidder.runtime.bank_shards import ShardedBank
from bidder.runtime.clock import Clock
from bidder.runtime.http import Reply, Request
from bidder.runtime.metrics import CONTENT_TYPE, Sample, family

MOST_CAMPAIGNS = 1_000

_EVENTS = (
    "wins",
    "late_wins",
    "impressions",
    "views",
    "clicks",
    "conversions",
    "view_conversions",
    "unbilled",
)
_MONEY = (
    ("budget", "gauge", "Money of a campaign's flight."),
    ("spend", "gauge", "Money booked on a campaign's flight."),
    ("late", "gauge", "Spend that was told of after its reservation had ended."),
    ("uncovered", "gauge", "Spend for which no grant had room left."),
    ("leased", "gauge", "Money granted to seats and still open."),
)


class BankMetrics:
    """What `GET /metrics` of a bank says.

    Args:
        bank: whose shards. clock: the shared clock. thread: the bank's own; no other may look into its books.
    """

    def __init__(self, bank: ShardedBank, clock: Clock, thread: Executor) -> None:
        self._bank = bank
        self._clock = clock
        self._thread = thread

    def text(self) -> str:
        """All families, as they stand now; to be called in the bank's thread."""
        services = list(self._bank.services.values())
        campaigns = self._bank.report()
        accounts = [
            account
            for service in services
            for account in service.bank.accounts()
            if account.unit == Unit.MONEY and "/" not in account.id
        ]
        lines = [*_events(campaigns), *_money(campaigns, accounts), *_refusals(services)]
        return "\n".join([*lines, *self._leases(services), *_tails(services)]) + "\n"

    async def handle(self, request: Request) -> Reply:
        """Answers one request of the endpoint."""
        if request.target.partition("?")[0] != "/metrics":
            return Reply(404, (), b"GET /metrics\n")
        text = await asyncio.get_running_loop().run_in_executor(self._thread, self.text)
        return Reply(200, CONTENT_TYPE, text.encode())

    def _leases(self, services: list[BankService]) -> Iterator[str]:
        now_ns = self._clock.now_ns()
        leases = sum(len(service.bank.live_leases(now_ns)) for service in services)
        yield from family("clearbid_bank_leases", "gauge", "Leases that may be bid on.", [Sample({}, leases)])
        yield from family(
            "clearbid_bank_shards", "gauge", "Shards that this bank holds.", [Sample({}, len(services))]
        )
        yield from family(
            "clearbid_bank_late_share_ppm",
            "gauge",
            "Share of what may still come that is kept back for late spend, in millionths.",
            [
                Sample({"shard": str(service.shard.number)}, service.bank.late_share_ppm(now_ns))
                for service in services
            ],
        )


def _tails(services: list[BankService]) -> Iterator[str]:
    tails = [service.bank.late_tail for service in services]
    yield from family(
        "clearbid_bank_late_longest_seconds",
        "gauge",
        "Longest that a billing came after its reservation's end, since this bank began.",
        [Sample({}, max((tail.longest_ns for tail in tails), default=0) / NS_PER_SECOND)],
    )
    yield from family(
        "clearbid_bank_beyond_tail_total",
        "counter",
        "Billings that came later than [bank] late_tail_seconds, since this bank began.",
        [Sample({}, sum(tail.beyond for tail in tails))],
    )
    yield from family(
        "clearbid_bank_tail_too_short",
        "gauge",
        "1 where the measured tail of late billings is longer than [bank] late_tail_seconds.",
        [Sample({"shard": str(each.shard.number)}, int(each.bank.late_tail.too_short)) for each in services],
    )


def _events(campaigns: list[CampaignReport]) -> Iterator[str]:
    yield from family(
        "clearbid_bank_events_total",
        "counter",
        "What was booked, by kind.",
        [Sample({"kind": kind}, sum(getattr(one, kind) for one in campaigns)) for kind in _EVENTS],
    )


def _money(campaigns: list[CampaignReport], accounts: list[AccountReport]) -> Iterator[str]:
    for name, kind, said in _MONEY:
        amounts = {one.id: getattr(one, f"{name}_nanos") for one in campaigns}
        yield from _of_campaigns(name, kind, said, amounts)
    yield from _of_campaigns(
        "locked",
        "gauge",
        "Money that seats hold in reservations of a campaign, as they last said.",
        {one.id: one.locked for one in accounts},
    )
    yield from _of_campaigns(
        "reserve",
        "gauge",
        "Money of a campaign that is kept back for late spend.",
        {one.id: one.reserve for one in accounts},
    )


def _of_campaigns(name: str, kind: str, said: str, amounts: dict[str, int]) -> Iterator[str]:
    """The sum over campaigns, and each of them where they are not too many."""
    total = [Sample({}, sum(amounts.values()))]
    yield from family(f"clearbid_bank_{name}_nanos", kind, said, total)
    if len(amounts) <= MOST_CAMPAIGNS:
        each = [Sample({"campaign": own}, amount) for own, amount in sorted(amounts.items())]
        yield from family(f"clearbid_bank_campaign_{name}_nanos", kind, said, each)


def _refusals(services: list[BankService]) -> Iterator[str]:
    refused: Counter[str] = Counter()
    strays: Counter[str] = Counter()
    for service in services:
        refused.update(service.bank.refused())
        for row in service.bank.unattributed():
            strays[row.reason] += row.times
    yield from family(
        "clearbid_bank_refused_total",
        "counter",
        "Notices that were not taken, by rule.",
        [Sample({"rule": rule}, times) for rule, times in sorted(refused.items())],
    )
    yield from family(
        "clearbid_bank_unattributed_total",
        "counter",
        "Conversions that count for no bid, by reason.",
        [Sample({"reason": reason}, times) for reason, times in sorted(strays.items())],
    )
