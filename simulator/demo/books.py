"""Our books against the exchange's: read from the bank's database, compared to the nano."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from bidder.core.bank import Bank, CampaignReport
from bidder.core.bankrules import BankRules
from bidder.store.books import Books as BankBooks
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from simulator.exchange.books import Books
from simulator.report import ExchangeBook, book_mismatches

_PATIENCE_S = 15.0


class Passed(NamedTuple):
    """A budget of which more was spent than its limit, in its own unit; of that, what nothing stood for any more."""

    account_id: str
    limit: int
    booked: int
    uncovered: int


def passed_budgets(place: Path | str) -> list[Passed]:
    """All budgets of every level that were passed; `place` is a file, or the URL of a PostgreSQL.

    Where no budget was lowered `booked <= limit + uncovered` must hold of each (`core.account`).
    """
    with Database(place) as database:
        rows = BankBooks(database).accounts()
    return [
        Passed(row.account_id, row.limit_units, row.booked, row.uncovered)
        for row in rows
        if row.booked > row.limit_units
    ]


def read_reports(place: Path | str, now_ns: int) -> dict[str, CampaignReport]:
    """What the bank has booked, by campaign id; raises `InvariantError` where it does not add up.

    Args:
        place: file of a SQLite, or the URL of a PostgreSQL. now_ns: the time.
    """
    with Database(place) as database:
        books = BankBooks(database)
        books.verify()
        bank = Bank(BankRules(), CampaignStore(database).all(), books.load(now_ns))
        return {report.id: report for report in bank.report()}


def exchange_books(books: Books) -> dict[str, ExchangeBook]:
    """The exchange's side, by campaign id."""
    return {
        campaign_id: ExchangeBook(
            wins=own.wins,
            impressions=own.impressions,
            clicks=own.clicks,
            conversions=own.conversions,
            spend_nanos=own.spend_nanos,
            value_nanos=own.value_nanos,
        )
        for campaign_id, own in books.campaigns.items()
    }


async def settle_books(
    place: Path | str,
    books: Books,
    now_ns: int,
    keep: Callable[[], Awaitable[None]] | None = None,
    patience_s: float = _PATIENCE_S,
) -> list[str]:
    """Waits until the bank has booked what the exchange has, and says what still differs when patience ends.

    `keep` is called while it waits: where processes were killed, somebody must start them again.
    """
    theirs = exchange_books(books)
    began_s = time.monotonic()
    while True:
        left = book_mismatches(read_reports(place, now_ns).values(), theirs)
        if not left or time.monotonic() - began_s > patience_s:
            return left
        if keep is not None:
            await keep()
        await asyncio.sleep(0.2)
