"""Our books against the exchange's: to the nano, in both directions."""

import time
from pathlib import Path

import pytest

from bidder.core.messages import NOTICES, NoticeKind, encode
from bidder.runtime.bank import BankService
from bidder.runtime.transport import Message
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from simulator.demo import books as demo_books
from simulator.demo.books import exchange_books, read_reports, settle_books
from simulator.demo.embedded import bank_rules_for
from simulator.exchange.books import Books, Call
from simulator.report import book_mismatches
from tests.support.banking import S, campaign, notice

PRICE = 1_234_567


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The bank's, with one booked impression of c1."""
    path = tmp_path / "a.db"
    with Database(path, durable=False) as opened:
        CampaignStore(opened).put([campaign()], at_ns=0)
        bank = BankService.open(opened, bank_rules_for(1.0), 0)
        notices = [
            notice(NoticeKind.WIN, price_nanos=PRICE),
            notice(NoticeKind.BILLING, price_nanos=PRICE),
            notice(NoticeKind.IMPRESSION),
            notice(NoticeKind.CLICK),
        ]
        messages = [Message(NOTICES, 0, place, None, encode(each), 0) for place, each in enumerate(notices)]
        bank.on_messages(messages, 20 * S)
    return path


def their_books(spend_nanos: int = PRICE) -> Books:
    books = Books()
    books.of("c1").wins = 1
    for kind, price in ((NoticeKind.BILLING, spend_nanos), (NoticeKind.CLICK, 0)):
        books.book(Call(0, kind, "", "c1", price))
    return books


def test_books_that_are_the_same_have_no_differences(database: Path) -> None:
    assert book_mismatches(read_reports(database, 0).values(), exchange_books(their_books())) == []


def test_one_nano_is_a_difference(database: Path) -> None:
    found = book_mismatches(read_reports(database, 0).values(), exchange_books(their_books(PRICE + 1)))
    assert found == [f"spend_nanos of campaign c1 must be the exchange's {PRICE + 1}, was {PRICE}"]


def test_a_campaign_that_only_we_know_is_compared_with_nothing(database: Path) -> None:
    found = book_mismatches(read_reports(database, 0).values(), {})
    assert f"spend_nanos of campaign c1 must be the exchange's 0, was {PRICE}" in found
    assert "clicks of campaign c1 must be the exchange's 0, was 1" in found


def test_a_campaign_that_only_the_exchange_knows_is_a_difference() -> None:
    found = book_mismatches([], exchange_books(their_books()))
    assert f"spend_nanos of campaign c1 must be the exchange's {PRICE}, was 0" in found


async def test_books_that_agree_are_not_waited_for(database: Path) -> None:
    began_s = time.monotonic()
    assert await settle_books(database, their_books(), 0) == []
    assert time.monotonic() - began_s < 5


async def test_books_that_never_agree_are_given_up_and_say_why(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_books, "_PATIENCE_S", 0.3)
    (line,) = await settle_books(database, their_books(PRICE - 1), 0)
    assert line == f"spend_nanos of campaign c1 must be the exchange's {PRICE - 1}, was {PRICE}"
