"""The bank's books: what was booked, granted and consumed, each batch in one transaction.

A batch is kept only if the offsets it starts from are those stored and the writer still owns the books: a bank
that was replaced cannot write. What must be told to others goes into the outbox in the same transaction and
leaves it once it was acknowledged, so that a crash in between tells it again and never loses it.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from bidder.core.bankrules import HOUR_NS
from bidder.core.bookings import (
    AccountRow,
    BankState,
    Booking,
    CreativeRow,
    GrantRow,
    HeldRow,
    LateRow,
    OrderRow,
    RefusalRow,
    Rows,
    SeatRow,
    TallyRow,
    UnattributedRow,
)
from bidder.errors import DependencyError, InvariantError
from bidder.store.database import Database


class BooksTaken(DependencyError):
    """Another bank has written to these books since this one began: this one must stop."""


class Letter(NamedTuple):
    """One message to send: topic, key and value; with a partition of 0 or more, to that one."""

    topic: str
    key: bytes | None
    value: bytes
    partition: int = -1


class Batch(NamedTuple):
    """What is written at once.

    Attributes:
        steps: rows of the bank's steps, in order.
        offsets: by (topic, partition), the offset the batch began at and the one to read next.
        letters: messages to keep in the outbox until they are acknowledged.
        sent: outbox number up to which all was acknowledged.
    """

    steps: Sequence[Rows] = ()
    offsets: Mapping[tuple[str, int], tuple[int, int]] = {}
    letters: Sequence[Letter] = ()
    sent: int = 0


KEEP_HOURS = 24 * 62
"""How far back it is read what came late: as far as the longest window that a configuration may ask for."""

_letters = msgspec.msgpack.Decoder(list[Letter])
_UPSERTS = {
    "accounts": ("accounts", AccountRow, 1),
    "tallies": ("tallies", TallyRow, 2),
    "creatives": ("creatives", CreativeRow, 2),
    "refusals": ("refusals", RefusalRow, 2),
    "grants": ("grants", GrantRow, 3),
    "orders": ("orders", OrderRow, 2),
    "held": ("held", HeldRow, 1),
    "unattributed": ("unattributed", UnattributedRow, 2),
    "lateness": ("lateness", LateRow, 2),
}


class Books:
    """The bank's tables of a database, held by one bank at a time.

    Args:
        database: where they are; opened `durable` in production.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner = 0

    def claim(self) -> int:
        """Makes this the bank that may write, and all before it unable to; returns its number."""
        with self._database.transaction() as connection:
            (self._owner,) = connection.execute(
                "UPDATE numbers SET value = value + 1 WHERE name = 'bank_owner' RETURNING value"
            ).fetchone()
        return self._owner

    def load(self, now_ns: int) -> BankState:
        """All that a bank is rebuilt from.

        Accounts only while something may be booked on them, bookings while a repeat of them may be taken.
        """
        with self._database.reading() as connection:
            return BankState(
                accounts=[
                    AccountRow(*row)
                    for row in connection.execute(
                        _select("accounts", AccountRow) + " WHERE keep_until_ns >= ?", (now_ns,)
                    )
                ],
                tallies=[TallyRow(*row) for row in connection.execute(_select("tallies", TallyRow))],
                creatives=[
                    CreativeRow(*row) for row in connection.execute(_select("creatives", CreativeRow))
                ],
                refusals=[RefusalRow(*row) for row in connection.execute(_select("refusals", RefusalRow))],
                grants=[GrantRow(*row) for row in connection.execute(_select("grants", GrantRow))],
                seats=[
                    SeatRow(*row)
                    for row in connection.execute(
                        "SELECT seat, epoch, start_id FROM epochs ORDER BY seat, epoch"
                    )
                ],
                bookings=[
                    Booking(*row)
                    for row in connection.execute(
                        _select("bookings", Booking) + " WHERE keep_until_ns >= ?", (now_ns,)
                    )
                ],
                orders=[
                    OrderRow(*row)
                    for row in connection.execute(
                        _select("orders", OrderRow) + " WHERE keep_until_ns >= ?", (now_ns,)
                    )
                ],
                held=[HeldRow(*row) for row in connection.execute(_select("held", HeldRow))],
                unattributed=[
                    UnattributedRow(*row)
                    for row in connection.execute(_select("unattributed", UnattributedRow))
                ],
                lateness=[
                    LateRow(*row)
                    for row in connection.execute(
                        _select("lateness", LateRow) + " WHERE hour >= ?", (now_ns // HOUR_NS - KEEP_HOURS,)
                    )
                ],
            )

    def accounts(self) -> list[AccountRow]:
        """Every budget that there ever was, those of days long over among them, in the order of their ids."""
        with self._database.reading() as connection:
            rows = connection.execute(_select("accounts", AccountRow) + " ORDER BY account_id").fetchall()
        return [AccountRow(*row) for row in rows]

    def offsets(self) -> dict[tuple[str, int], int]:
        """By (topic, partition), the offset to read next."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT topic, partition, next_offset FROM offsets").fetchall()
        return {(topic, partition): next_offset for topic, partition, next_offset in rows}

    def write(self, batch: Batch) -> int:
        """Writes a batch as a whole, or not at all.

        Returns:
            Number of the outbox row its letters have; 0 where it has none.

        Raises:
            BooksTaken: if the books have another owner or moved past where the batch began.
            InvariantError: if a booking was there already, which the bank should have known.
            DependencyError: if the database cannot be written.
        """
        try:
            with self._database.transaction() as connection:
                self._check_owner(connection)
                for place, (began, after) in batch.offsets.items():
                    _move_offset(connection, place, began, after)
                for rows in batch.steps:
                    _write_rows(connection, rows)
                if batch.sent:
                    connection.execute("DELETE FROM outbox WHERE id <= ?", (batch.sent,))
                return _post(connection, batch.letters)
        except sqlite3.IntegrityError as error:
            raise InvariantError(f"the books refuse a row of the bank: {error}") from error

    def outbox(self) -> tuple[int, list[Letter]]:
        """Letters not known to be acknowledged, in order, and the number of the last outbox row."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT id, messages FROM outbox ORDER BY id").fetchall()
        letters = [letter for _, messages in rows for letter in _letters.decode(messages)]
        return (rows[-1][0] if rows else 0), letters

    def verify(self) -> None:
        """Adds up all bookings and compares them with the tallies of line items and with every account.

        Raises:
            InvariantError: naming the first line item or account that differs, and both sums.
        """
        with self._database.reading() as connection:
            counted = connection.execute(_SUMS).fetchall()
            tallies = connection.execute(
                """SELECT campaign_id, line_item_id, spend_nanos, late_nanos, wins, impressions, clicks, conversions,
                          late_wins, unbilled, views, view_conversions
                   FROM tallies ORDER BY campaign_id, line_item_id"""
            ).fetchall()
            booked = _booked(connection)
            kept = {
                account_id: (units, late)
                for account_id, units, late in connection.execute(
                    "SELECT account_id, booked, late FROM accounts WHERE booked > 0"
                )
            }
        _compare("line items", counted, tallies)
        _compare("accounts", sorted(booked.items()), sorted(kept.items()))

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        (owner,) = connection.execute("SELECT value FROM numbers WHERE name = 'bank_owner'").fetchone()
        if owner != self._owner:
            raise BooksTaken(
                f"books {self._database.path} must be written by their owner, bank {owner}; this one is bank "
                f"{self._owner}: run one bank for a database"
            )


# Kinds are numbers of NoticeKind: WIN 1, BILLING 2, IMPRESSION 4, CLICK 5, CONVERSION 6, VIEW 7; so is `touch`.
_SUMS = """
    SELECT campaign_id, line_item_id, sum(amount_nanos), sum(CASE WHEN late THEN amount_nanos ELSE 0 END),
           count(DISTINCT CASE WHEN kind IN (1, 2) THEN bid_id END), sum(kind = 4), sum(kind = 5), sum(kind = 6),
           sum(late AND amount_nanos > 0), sum(unbilled), sum(kind = 7), sum(kind = 6 AND touch = 4)
    FROM bookings GROUP BY campaign_id, line_item_id ORDER BY campaign_id, line_item_id"""


def _booked(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """By account, what its bookings add up to, and the late part of that; accounts with nothing left out."""
    sums: dict[str, tuple[int, int]] = {
        campaign_id: (nanos, late)
        for campaign_id, nanos, late in connection.execute(
            """SELECT campaign_id, sum(amount_nanos), sum(CASE WHEN late THEN amount_nanos ELSE 0 END)
               FROM bookings WHERE amount_nanos > 0 GROUP BY campaign_id"""
        )
    }
    for accounts, nanos, impressions, late in connection.execute(
        "SELECT accounts, amount_nanos, impressions, late FROM bookings WHERE accounts <> ''"
    ):
        for account_id in accounts.split(" "):
            units = impressions if "/imps" in account_id else nanos
            before, late_before = sums.get(account_id, (0, 0))
            sums[account_id] = (before + units, late_before + units * late)
    return {account_id: each for account_id, each in sums.items() if each[0]}


def _compare(what: str, booked: Sequence[object], kept: Sequence[object]) -> None:
    if booked != kept:
        pairs = [pair for pair in zip(booked, kept, strict=False) if pair[0] != pair[1]]
        raise InvariantError(
            f"bookings must add up to the {what}, were {len(booked)} and {len(kept)}; first to differ: "
            f"{pairs[0] if pairs else 'one that only one of them has'}"
        )


def _select(table: str, row: type[NamedTuple]) -> str:
    return f"SELECT {', '.join(row._fields)} FROM {table}"  # noqa: S608 - both are names in this file


def _insert(table: str, row: type[NamedTuple]) -> str:
    marks = ", ".join("?" * len(row._fields))
    return f"INSERT INTO {table} ({', '.join(row._fields)}) VALUES ({marks})"  # noqa: S608 - names in this file


def _upsert(table: str, row: type[NamedTuple], keys: int) -> str:
    names = row._fields
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[keys:])
    return f"{_insert(table, row)} ON CONFLICT ({', '.join(names[:keys])}) DO UPDATE SET {changes}"


def _write_rows(connection: sqlite3.Connection, rows: Rows) -> None:
    connection.executemany(_insert("bookings", Booking), rows.bookings)
    for field, (table, row, keys) in _UPSERTS.items():
        values = getattr(rows, field)
        if values:
            connection.executemany(_upsert(table, row, keys), values)
    connection.executemany("DELETE FROM grants WHERE account_id = ? AND seat = ? AND epoch = ?", rows.dropped)
    connection.executemany(_insert("epochs", SeatRow), rows.seats)
    connection.executemany("DELETE FROM held WHERE message = ?", [(message,) for message in rows.released])


def _move_offset(connection: sqlite3.Connection, place: tuple[str, int], began: int, after: int) -> None:
    """Moves a stored offset on, if it is where the batch began."""
    topic, partition = place
    connection.execute("INSERT OR IGNORE INTO offsets VALUES (?, ?, 0)", place)
    moved = connection.execute(
        "UPDATE offsets SET next_offset = ? WHERE topic = ? AND partition = ? AND next_offset = ?",
        (after, topic, partition, began),
    )
    if moved.rowcount != 1:
        raise BooksTaken(
            f"offset of {topic} {partition} in the books must be {began}, was moved by another bank: "
            "run one bank for a database"
        )


def _post(connection: sqlite3.Connection, letters: Iterable[Letter]) -> int:
    """Keeps letters in the outbox, a row a batch."""
    messages = list(letters)
    if not messages:
        return 0
    posted = connection.execute(
        "INSERT INTO outbox (messages) VALUES (?)", (msgspec.msgpack.encode(messages),)
    )
    return posted.lastrowid or 0
