"""The bank's books: one transaction a batch, once each, by their owner only."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules
from bidder.core.bookings import BankState, Rows
from bidder.core.messages import NOTICES, NoticeKind
from bidder.errors import InvariantError
from bidder.store.books import Batch, Books, BooksTaken, Letter
from bidder.store.database import Database
from tests.support.banking import S, ask, campaign, notice

PLACE = (NOTICES, 0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "a.db", durable=False) as database:
        yield database


@pytest.fixture
def books(database: Database) -> Books:
    books = Books(database)
    books.claim()
    return books


def listed(state: BankState) -> list[list[object]]:
    return [list(rows) for rows in state]


def rows_of_a_day() -> tuple[Bank, list[Rows]]:
    """A bank after some of everything, and the rows it gave."""
    bank = Bank(BankRules(), {"c1": campaign()})
    notices = [notice(NoticeKind.WIN), notice(NoticeKind.BILLING), notice(NoticeKind.BILLING)]
    notices += [notice(NoticeKind.CLICK, "b-9"), notice(NoticeKind.CONVERSION, event_id="e", value_nanos=S)]
    notices += [notice(NoticeKind.BILLING, "b-2", at_ns=101 * S), notice(NoticeKind.IMPRESSION)]
    steps = [
        bank.apply([ask()], 0),
        bank.tick(0),
        bank.apply(notices, 10 * S),
        bank.apply([ask("b")], 11 * S),
    ]
    steps.append(bank.tick(11 * S))
    return bank, [step.rows for step in steps]


def test_a_bank_loaded_from_its_books_is_the_bank_that_wrote_them(books: Books) -> None:
    bank, steps = rows_of_a_day()
    for rows in steps:
        books.write(Batch(steps=[rows]))
    again = Bank(BankRules(), {"c1": campaign()}, books.load(12 * S))
    assert again.report() == bank.report()
    assert again.live_leases(12 * S) == bank.live_leases(12 * S)


def test_bookings_add_up_to_the_accounts(books: Books) -> None:
    _, steps = rows_of_a_day()
    books.write(Batch(steps=steps))
    books.verify()


def test_a_booking_that_is_missing_is_found(books: Books, database: Database) -> None:
    _, steps = rows_of_a_day()
    books.write(Batch(steps=steps))
    with database.transaction() as connection:
        connection.execute("DELETE FROM bookings WHERE kind = 5")
    with pytest.raises(InvariantError, match="bookings must add up to the line items"):
        books.verify()


def test_offsets_are_kept_with_the_rows(books: Books) -> None:
    _, steps = rows_of_a_day()
    books.write(Batch(steps=steps, offsets={PLACE: (0, 7)}))
    assert books.offsets() == {PLACE: 7}


def test_a_batch_that_began_elsewhere_is_refused_as_a_whole(books: Books) -> None:
    _, steps = rows_of_a_day()
    books.write(Batch(offsets={PLACE: (0, 7)}))
    with pytest.raises(BooksTaken, match="offset of notices 0 in the books must be 3"):
        books.write(Batch(steps=steps, offsets={PLACE: (3, 9)}))
    assert books.offsets() == {PLACE: 7}
    assert listed(books.load(0)) == [[]] * 7


def test_a_bank_that_was_replaced_cannot_write(books: Books, database: Database) -> None:
    Books(database).claim()
    with pytest.raises(BooksTaken, match="must be written by their owner, bank 2; this one is bank 1"):
        books.write(Batch(offsets={PLACE: (0, 7)}))


def test_a_bid_is_never_paid_twice_whatever_kind_paid_it(books: Books) -> None:
    _, steps = rows_of_a_day()
    books.write(Batch(steps=steps))
    first = next(row for rows in steps for row in rows.bookings if row.amount_nanos)
    for again in (first, first._replace(event_id="other")):
        with pytest.raises(InvariantError, match="the books refuse a row"):
            books.write(Batch(steps=[Rows(bookings=(again,))]))


def test_letters_stay_until_they_were_sent(books: Books) -> None:
    first, second = Letter("settlements", b"s1", b"{}"), Letter("settlements", b"s2", b"[]")
    number = books.write(Batch(letters=[first]))
    last = books.write(Batch(letters=[second]))
    assert books.outbox() == (last, [first, second])
    books.write(Batch(sent=number))
    assert books.outbox() == (last, [second])
    books.write(Batch(sent=last))
    assert books.outbox() == (0, [])


def test_bookings_are_loaded_only_while_a_repeat_may_be_taken(books: Books) -> None:
    _, steps = rows_of_a_day()
    books.write(Batch(steps=steps))
    keep_until_ns = 100 * S + BankRules().keep_ns
    assert len(list(books.load(keep_until_ns).bookings)) == 6
    assert list(books.load(keep_until_ns + 1).bookings) == []
