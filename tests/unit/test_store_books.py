"""The bank's books: one transaction a batch, once each, by their owner only."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules
from bidder.core.bookings import BankState, Had, Rows, Since
from bidder.core.messages import NOTICES, NoticeKind
from bidder.errors import InvariantError
from bidder.store.books import Batch, Books, BooksTaken, Letter
from bidder.store.database import MIGRATIONS, Database
from tests.support.banking import S, advertiser, ask, bid_id, campaign, item, notice

PLACE = (NOTICES, 0)


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with Database(place, durable=False) as database:
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
    notices += [notice(NoticeKind.VIEW, bid, creative_id="b1") for bid in ("b-1", "b-1", "b-2")]
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
    assert listed(books.load(0)) == [[]] * (len(BankState._fields) - 1) + [list(Since())]


def test_a_bank_that_was_replaced_cannot_write(books: Books, database: Database) -> None:
    Books(database).claim()
    with pytest.raises(BooksTaken, match="must be written by its owner, bank 2; this one is bank 1"):
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


def test_of_bookings_only_those_of_bids_made_since_are_loaded(books: Books) -> None:
    _, steps = rows_of_a_day()
    books.write(Batch(steps=steps))
    rows = [row for each in steps for row in each.bookings]
    state = books.load(0, since=Since(bids_ns=10 * S, spent_ns=10 * S))
    key = Had._fields.index("kind")
    assert sorted(state.bookings) == sorted(
        Had(*[getattr(row, name) for name in Had._fields]) for row in rows if row.bid_at_ns >= 10 * S
    )
    assert len({had[key] for had in state.bookings}) > 3
    assert [spent.amount_nanos for spent in state.spent] == [
        row.amount_nanos for row in rows if row.amount_nanos
    ]
    later = books.load(0, since=Since(*[102 * S] * 4))
    assert (later.bookings, later.touches, later.spent) == ([], [], [])


def test_the_past_of_a_bid_is_all_that_was_booked_of_it(books: Books) -> None:
    _, steps = rows_of_a_day()
    books.write(Batch(steps=steps))
    rows = [row for each in steps for row in each.bookings]
    named = {rows[0].bid_id, bid_id("b-2")}
    past = books.past([*named, bid_id("nobody")])
    assert sorted((had.bid_id, had.kind, had.event_id) for had in past) == sorted(
        row[:3] for row in rows if row.bid_id in named
    )
    assert books.past([f"{number:016}" for number in range(1_200)]) == []


# Budgets of several levels

DAY = 86_400 * S
SHOES = item("shoes", daily_nanos=S, lifetime_impressions=100)
CAMPAIGNS = {"c1": campaign(line_items=(SHOES,))}
SHOP = {"acme": advertiser(daily_impressions=50, lifetime_nanos=S)}


def rows_of_two_days() -> tuple[Bank, list[Rows]]:
    """A bank whose bids charge five accounts, on two days."""
    bank = Bank(BankRules(late_share_ppm=0), CAMPAIGNS, None, SHOP)
    bids = [notice(NoticeKind.BILLING, line_item_id="shoes", creative_id="b1", bid_at_ns=10 * S)]
    bids += [notice(NoticeKind.BILLING, "b-2", line_item_id="shoes", bid_at_ns=DAY, impressions=2_500_000)]
    bids += [notice(NoticeKind.BILLING, "b-3", line_item_id="shoes", bid_at_ns=10 * S, at_ns=101 * S)]
    steps = [bank.apply([ask()], 0), bank.tick(0), bank.apply(bids, 200 * S), bank.tick(DAY)]
    return bank, [step.rows for step in steps]


def test_accounts_of_every_level_come_back_as_they_were(books: Books) -> None:
    bank, steps = rows_of_two_days()
    books.write(Batch(steps=steps))
    books.verify()
    again = Bank(BankRules(late_share_ppm=0), CAMPAIGNS, books.load(DAY), SHOP)
    again.tick(DAY)
    assert again.accounts() == bank.accounts()
    assert again.line_items() == bank.line_items()
    assert again.creative_counts() == bank.creative_counts() != ()
    assert sum(each.booked > 0 for each in again.accounts()) == 7


@pytest.mark.parametrize("account_id", ["c1", "a/acme/imps/d0", "l/shoes/money/d1"])
def test_an_account_that_does_not_have_what_was_booked_on_it_is_found(
    books: Books, database: Database, account_id: str
) -> None:
    _, steps = rows_of_two_days()
    books.write(Batch(steps=steps))
    with database.transaction() as connection:
        connection.execute("UPDATE accounts SET booked = booked + 1 WHERE account_id = ?", (account_id,))
    with pytest.raises(InvariantError, match=f"bookings must add up to the accounts.*{account_id}"):
        books.verify()


def test_an_account_of_a_day_long_over_is_kept_and_no_more_loaded(books: Books) -> None:
    _, steps = rows_of_two_days()
    books.write(Batch(steps=steps))
    rules = BankRules()
    keep_until_ns = DAY + rules.longest_reservation_ns + rules.keep_ns
    loaded = {row.account_id for row in books.load(keep_until_ns).accounts}
    later = {row.account_id for row in books.load(keep_until_ns + 1).accounts}
    assert loaded - later == {"l/shoes/money/d0", "a/acme/imps/d0"}
    assert loaded <= {row.account_id for row in books.accounts()}


def test_a_letter_keeps_the_partition_it_is_for(books: Books) -> None:
    books.write(Batch(letters=[Letter("exposures", None, b"{}", 3)]))
    assert books.outbox()[1] == [Letter("exposures", None, b"{}", 3)]


def test_a_letter_of_before_there_were_partitions_is_for_any(books: Books, database: Database) -> None:
    old = msgspec.msgpack.encode([("settlements", b"s1", b"{}")])
    with database.transaction() as connection:
        connection.execute("INSERT INTO outbox (messages) VALUES (?)", (old,))
    assert books.outbox()[1] == [Letter("settlements", b"s1", b"{}", -1)]


OLD_BOOKS = """
    INSERT INTO bookings VALUES
        ('b-1-------------', 1, '', 'c1', 's1', 1, 7, 0, 0, 10, 11, 0, 0, 9000000000000000000),
        ('b-1-------------', 2, '', 'c1', 's1', 1, 7, 7, 0, 10, 11, 0, 0, 9000000000000000000),
        ('b-2-------------', 5, '', 'c1', 's1', 1, 0, 0, 0, 10, 11, 0, 1, 9000000000000000000),
        ('b-2-------------', 6, 'e', 'c1', 's1', 1, 0, 0, 9, 10, 11, 0, 1, 9000000000000000000);
    INSERT INTO accounts VALUES ('c1', 7, 0, 2, 1, 0, 1, 1, 9, 0, 2);
    INSERT INTO grants VALUES ('c1', 's1', 1, 50, 5, 99, 0), ('c2', 's1', 1, 60, 0, 99, 0);
    INSERT INTO epochs VALUES ('s1', 1, 'a');
    INSERT INTO refusals VALUES ('c1', 'duplicate', 3);
"""


def test_books_of_before_budgets_had_levels_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    with monkeypatch.context() as patch:
        patch.setattr("bidder.store.database.MIGRATIONS", MIGRATIONS[:2])
        Database(path, durable=False).close()
    connection = sqlite3.connect(path)
    connection.executescript(OLD_BOOKS)
    connection.close()
    with Database(path, durable=False) as database:
        books = Books(database)
        books.claim()
        books.verify()
        bank = Bank(BankRules(), {"c1": campaign(), "c2": campaign("c2")}, books.load(12))
        first, second = bank.report()
        assert (first.spend_nanos, first.uncovered_nanos, first.wins, first.clicks) == (7, 2, 1, 1)
        assert (first.conversions, first.view_conversions, first.value_nanos) == (1, 0, 9)
        assert (first.leased_nanos, second.leased_nanos, first.refused) == (45, 60, {"duplicate": 3})
        late = bank.apply([notice(NoticeKind.BILLING, "b-3")], 10 * S)
        books.write(Batch(steps=[late.rows]))
        books.verify()
