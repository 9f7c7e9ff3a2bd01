"""The bank's books: what was booked, granted and consumed, each batch in one transaction.

A batch is kept only if the offsets it starts from are those stored and the writer still owns the shard that it
writes of: a bank that was replaced cannot write. What must be told to others goes into the outbox in the same
transaction and leaves it once it was acknowledged, so that a crash in between tells it again and never loses it.

Several banks may each hold other shards of the same books. All rows are an advertiser's, so of one shard, but for
three: the epochs of seats, numbered here for all; the notices of campaigns that nobody knows, counted together;
and the offsets of `slices`, which every shard reads for itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from bidder.core.bookings import (
    AccountRow,
    BankState,
    Booking,
    CreativeRow,
    GrantRow,
    Had,
    HeldRow,
    LateRow,
    OrderRow,
    PaceRow,
    RefusalRow,
    Rows,
    SeatRow,
    Since,
    TallyRow,
    UnattributedRow,
)
from bidder.core.messages import SLICES
from bidder.core.shards import WHOLE, Shard
from bidder.errors import DependencyError, InvariantError
from bidder.store.database import Database
from bidder.store.driver import RowRefused, Session
from bidder.store.loading import load_state, past_of, select


class BooksTaken(DependencyError):
    """Another bank has claimed a shard since this one began: this one must write of it no more."""


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


class Start(NamedTuple):
    """A start of a seat that asks for an epoch, or, where it does not ask, that may have one already."""

    seat: str
    start_id: str
    asks: bool


_letters = msgspec.msgpack.Decoder(list[Letter])
_UPSERTS = {
    "accounts": ("accounts", AccountRow, 1),
    "tallies": ("tallies", TallyRow, 2),
    "creatives": ("creatives", CreativeRow, 2),
    "grants": ("grants", GrantRow, 3),
    "orders": ("orders", OrderRow, 2),
    "held": ("held", HeldRow, 1),
    "unattributed": ("unattributed", UnattributedRow, 2),
    "lateness": ("lateness", LateRow, 2),
    "paces": ("paces", PaceRow, 3),
}


class Books:
    """The bank's tables of a database, one shard of them held by one bank at a time.

    Args:
        database: where they are; opened `durable` in production.
        shard: whose advertisers' rows.
    """

    def __init__(self, database: Database, shard: Shard = WHOLE) -> None:
        self._database = database
        self._shard = shard
        self._owner = 0
        self._unknown: dict[str, int] = {}

    def claim(self, now_ns: int = 0) -> int:
        """Makes this the bank that may write of its shard, and all before it unable to; returns its number.

        Where the books were last shared out among another number of shards, it makes all of those unable to, and
        notes the time: see `shared_ns`.
        """
        of = self._shard.of
        with self._database.transaction("claim") as session:
            shared = session.execute(
                "UPDATE numbers SET value = ? WHERE name = 'bank_shards' AND value <> ?", (of, of)
            )
            if shared.rowcount:
                session.execute("UPDATE owners SET epoch = epoch + 1")
                # At the very first start nothing waits anywhere.
                if session.execute("SELECT 1 FROM offsets LIMIT 1").fetchone() is not None:
                    session.execute(
                        """INSERT INTO numbers (name, value) VALUES ('bank_shards_ns', ?)
                           ON CONFLICT (name) DO UPDATE SET value = excluded.value""",
                        (now_ns,),
                    )
            (self._owner,) = session.execute(
                """INSERT INTO owners (shard, epoch) VALUES (?, 1)
                   ON CONFLICT (shard) DO UPDATE SET epoch = owners.epoch + 1 RETURNING epoch""",
                (self._shard.number,),
            ).fetchone()
        return self._owner

    def shared_ns(self) -> int | None:
        """When the books were last shared out among another number of shards; None where they never were."""
        with self._database.reading() as session:
            row = session.execute("SELECT value FROM numbers WHERE name = 'bank_shards_ns'").fetchone()
        return None if row is None else int(row[0])

    def owns(self) -> bool:
        """Whether no other bank has claimed the shard since."""
        with self._database.reading() as session:
            return _owner(session, self._shard.number) == self._owner

    @contextmanager
    def loading(
        self, now_ns: int, advertisers: Mapping[str, str] | None = None, since: Since | None = None
    ) -> Iterator[BankState]:
        """All that a bank is rebuilt from, of its shard; to be taken within.

        Accounts only while something may be booked on them, orders while a repeat of them may be taken.

        Args:
            now_ns: the time.
            advertisers: whose each campaign and line item is, see `store.loading`; needed for a part.
            since: of bids made from when on what of their bookings; by default all of all.
        """
        with self._database.reading() as session:
            state = load_state(session, self._shard, now_ns, advertisers or {}, since or Since())
            self._unknown = {row.rule: row.times for row in state.refusals if not row.campaign_id}
            yield state

    def load(
        self, now_ns: int, advertisers: Mapping[str, str] | None = None, since: Since | None = None
    ) -> BankState:
        """The same at once, bookings in memory too."""
        with self.loading(now_ns, advertisers, since) as state:
            return state._replace(
                bookings=list(state.bookings), touches=list(state.touches), spent=list(state.spent)
            )

    def past(self, bid_ids: Iterable[str]) -> list[Had]:
        """What was booked of bids, however long ago."""
        ids = sorted(bid_ids)
        with self._database.reading() as session:
            return list(past_of(session, ids))

    def number(self, starts: Iterable[Start]) -> dict[tuple[str, str], int]:
        """The epoch of each start, by (seat, start), the same for every bank; one that nobody heard of gets the next.

        In a transaction before that of the batch: an epoch that nothing follows is one that nobody has, and whoever
        reads the request again is told it.

        Raises:
            BooksTaken: if the shard has another owner.
            DependencyError: if the database cannot be written.
        """
        epochs: dict[tuple[str, str], int] = {}
        with self._database.transaction("") as session:
            self._check_owner(session)
            for seat, start_id, asks in sorted(
                set(starts)
            ):  # in one order, so that no two banks wait for each other
                found = _epoch(session, seat, start_id)
                while found is None and asks:
                    session.execute(
                        _NEXT_EPOCH, (seat, start_id, seat)
                    )  # another bank may have taken that number
                    found = _epoch(session, seat, start_id)
                if found is not None:
                    epochs[seat, start_id] = found
        return epochs

    def accounts(self) -> list[AccountRow]:
        """Every budget that there ever was, those of days long over among them, in the order of their ids."""
        with self._database.reading() as session:
            rows = session.execute(select("accounts", AccountRow) + " ORDER BY account_id").fetchall()
        return [AccountRow(*row) for row in rows]

    def offsets(self) -> dict[tuple[str, int], int]:
        """By (topic, partition), the offset to read next."""
        with self._database.reading() as session:
            rows = session.execute(
                "SELECT topic, partition, next_offset FROM offsets WHERE topic <> ? OR shard = ?",
                (SLICES, self._shard.number),
            ).fetchall()
        return {(topic, partition): next_offset for topic, partition, next_offset in rows}

    def write(self, batch: Batch) -> int:
        """Writes a batch as a whole, or not at all.

        Returns:
            Number of the outbox row its letters have; 0 where it has none.

        Raises:
            BooksTaken: if the shard has another owner or moved past where the batch began.
            InvariantError: if a booking was there already, which the bank should have known.
            DependencyError: if the database cannot be written.
        """
        unknown = dict(self._unknown)
        try:
            with self._database.transaction("") as session:
                self._check_owner(session)
                for place, (began, after) in batch.offsets.items():
                    self._move_offset(session, place, began, after)
                for rows in batch.steps:
                    _write_rows(session, rows)
                    _write_refusals(session, rows.refusals, unknown)
                if batch.sent:
                    session.execute(
                        "DELETE FROM outbox WHERE id <= ? AND shard % ? = ?",
                        (batch.sent, self._shard.of, self._shard.number),
                    )
                posted = self._post(session, batch.letters)
        except RowRefused as error:
            raise InvariantError(f"the books refuse a row of the bank: {error}") from error
        self._unknown = unknown
        return posted

    def outbox(self) -> tuple[int, list[Letter]]:
        """Letters not known to be acknowledged, in order, and the number of the last outbox row."""
        with self._database.reading() as session:
            rows = session.execute(
                "SELECT id, messages FROM outbox WHERE shard % ? = ? ORDER BY id",
                (self._shard.of, self._shard.number),
            ).fetchall()
        letters = [letter for _, messages in rows for letter in _letters.decode(messages)]
        return (rows[-1][0] if rows else 0), letters

    def verify(self) -> None:
        """Adds up all bookings and compares them with the tallies of line items and with every account.

        Raises:
            InvariantError: naming the first line item or account that differs, and both sums.
        """
        with self._database.reading() as session:
            counted = session.execute(_SUMS).fetchall()
            tallies = session.execute(
                """SELECT campaign_id, line_item_id, spend_nanos, late_nanos, wins, impressions, clicks, conversions,
                          late_wins, unbilled, views, view_conversions
                   FROM tallies ORDER BY campaign_id, line_item_id"""
            ).fetchall()
            booked = _booked(session)
            kept = {
                account_id: (units, late)
                for account_id, units, late in session.execute(
                    "SELECT account_id, booked, late FROM accounts WHERE booked > 0"
                )
            }
        _compare("line items", counted, tallies)
        _compare("accounts", sorted(booked.items()), sorted(kept.items()))

    def _check_owner(self, session: Session) -> None:
        """That the shard is still ours, and stays so until the transaction ends: its row is ours until then."""
        number = self._shard.number
        held = session.execute(
            "UPDATE owners SET epoch = epoch WHERE shard = ? AND epoch = ?", (number, self._owner)
        )
        if held.rowcount != 1:
            raise BooksTaken(
                f"shard {number} of {self._shard.of} in {self._database.name} must be written by its owner, bank "
                f"{_owner(session, number)}; this one is bank {self._owner}: another bank has taken it over"
            )

    def _move_offset(self, session: Session, place: tuple[str, int], began: int, after: int) -> None:
        """Moves a stored offset on, if it is where the batch began."""
        topic, partition = place
        reader = self._shard.number if topic == SLICES else 0
        key = (topic, partition, reader)
        moved = session.execute(
            "UPDATE offsets SET next_offset = ? WHERE topic = ? AND partition = ? AND shard = ? AND next_offset = ?",
            (after, *key, began),
        ).rowcount
        if not moved and not began:
            moved = session.execute(
                """INSERT INTO offsets (topic, partition, shard, next_offset) VALUES (?, ?, ?, ?)
                   ON CONFLICT DO NOTHING""",
                (*key, after),
            ).rowcount
        if moved != 1:
            raise BooksTaken(
                f"offset of {topic} {partition} in the books must be {began}, was moved by another bank: "
                "run one bank for a partition"
            )

    def _post(self, session: Session, letters: Iterable[Letter]) -> int:
        """Keeps letters in the outbox, a row a batch; returns its number."""
        messages = list(letters)
        if not messages:
            return 0
        (posted,) = session.execute(
            "INSERT INTO outbox (shard, messages) VALUES (?, ?) RETURNING id",
            (self._shard.number, msgspec.msgpack.encode(messages)),
        ).fetchone()
        return int(posted)


_NEXT_EPOCH = """
    INSERT INTO epochs (seat, epoch, start_id)
    SELECT CAST(? AS TEXT), coalesce(max(epoch), 0) + 1, CAST(? AS TEXT) FROM epochs WHERE seat = ?
    ON CONFLICT DO NOTHING"""


# Kinds are numbers of NoticeKind: WIN 1, BILLING 2, IMPRESSION 4, CLICK 5, CONVERSION 6, VIEW 7; so is `touch`.
_SUMS = """
    SELECT campaign_id, line_item_id, sum(amount_nanos), sum(CASE WHEN late <> 0 THEN amount_nanos ELSE 0 END),
           count(DISTINCT CASE WHEN kind IN (1, 2) THEN bid_id END), count(CASE WHEN kind = 4 THEN 1 END),
           count(CASE WHEN kind = 5 THEN 1 END), count(CASE WHEN kind = 6 THEN 1 END),
           count(CASE WHEN late <> 0 AND amount_nanos > 0 THEN 1 END), sum(unbilled),
           count(CASE WHEN kind = 7 THEN 1 END), count(CASE WHEN kind = 6 AND touch = 4 THEN 1 END)
    FROM bookings GROUP BY campaign_id, line_item_id ORDER BY campaign_id, line_item_id"""


def _booked(session: Session) -> dict[str, tuple[int, int]]:
    """By account, what its bookings add up to, and the late part of that; accounts with nothing left out."""
    sums: dict[str, tuple[int, int]] = {
        campaign_id: (nanos, late)
        for campaign_id, nanos, late in session.execute(
            """SELECT campaign_id, sum(amount_nanos), sum(CASE WHEN late <> 0 THEN amount_nanos ELSE 0 END)
               FROM bookings WHERE amount_nanos > 0 GROUP BY campaign_id"""
        )
    }
    for accounts, nanos, impressions, late in session.execute(
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


def _insert(table: str, row: type[NamedTuple]) -> str:
    marks = ", ".join("?" * len(row._fields))
    return f"INSERT INTO {table} ({', '.join(row._fields)}) VALUES ({marks})"  # noqa: S608 - names in this file


def _upsert(table: str, row: type[NamedTuple], keys: int) -> str:
    names = row._fields
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[keys:])
    return f"{_insert(table, row)} ON CONFLICT ({', '.join(names[:keys])}) DO UPDATE SET {changes}"


def _write_rows(session: Session, rows: Rows) -> None:
    _insert_many(session, _insert("bookings", Booking), rows.bookings)
    for field, (table, row, keys) in _UPSERTS.items():
        _insert_many(session, _upsert(table, row, keys), getattr(rows, field))
    _insert_many(session, "DELETE FROM grants WHERE account_id = ? AND seat = ? AND epoch = ?", rows.dropped)
    _insert_many(session, "DELETE FROM held WHERE message = ?", [(message,) for message in rows.released])
    for seat in rows.seats:
        session.execute(_insert("epochs", SeatRow) + " ON CONFLICT DO NOTHING", seat)
        if _epoch(session, seat.seat, seat.start_id) != seat.epoch:
            raise BooksTaken(
                f"start {seat.start_id} of seat {seat.seat} must have epoch {seat.epoch}, has another in the books"
            )


def _write_refusals(session: Session, rows: Iterable[RefusalRow], unknown: dict[str, int]) -> None:
    """Counts by campaign as they are; those of unknown campaigns, which all shards count, by what came to them.

    Args:
        session: to write to.
        rows: counts, absolute.
        unknown: by rule, what was written before of unknown campaigns; is brought up to date.
    """
    _insert_many(session, _upsert("refusals", RefusalRow, 2), [row for row in rows if row.campaign_id])
    for row in sorted(row for row in rows if not row.campaign_id):  # in one order, as `Books.number`
        session.execute(
            _insert("refusals", RefusalRow)
            + " ON CONFLICT (campaign_id, rule) DO UPDATE SET times = refusals.times + excluded.times",
            row._replace(times=row.times - unknown.get(row.rule, 0)),
        )
        unknown[row.rule] = row.times


def _insert_many(session: Session, statement: str, rows: Sequence[Sequence[object]]) -> None:
    if rows:
        session.executemany(statement, rows)


def _owner(session: Session, shard: int) -> int:
    row = session.execute("SELECT epoch FROM owners WHERE shard = ?", (shard,)).fetchone()
    return 0 if row is None else int(row[0])


def _epoch(session: Session, seat: str, start_id: str) -> int | None:
    row = session.execute(
        "SELECT epoch FROM epochs WHERE seat = ? AND start_id = ?", (seat, start_id)
    ).fetchone()
    return None if row is None else int(row[0])
