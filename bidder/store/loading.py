"""What a bank starts from, read out of the books: all of it, or one shard of the advertisers.

Open accounts, grants and tallies are few and are sorted out here. Bookings are many, so the database is asked for
those of the shard's advertisers alone, of bids as late as is needed, and of them only for the columns that are.

Bids go by when they were made, and days by when they ended, not by how long they were to be kept when they were
written: a setting that was raised since counts for all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import msgspec

from bidder.core.bankrules import HOUR_NS
from bidder.core.bookings import (
    AccountRow,
    BankState,
    CreativeRow,
    GrantRow,
    Had,
    HeldRow,
    LateRow,
    OrderRow,
    RefusalRow,
    SeatRow,
    Since,
    Spent,
    TallyRow,
    Touched,
    UnattributedRow,
)
from bidder.core.messages import Conversion, NoticeKind
from bidder.core.shards import Shard
from bidder.store.driver import Session

_IDS_A_QUERY = 500
KEEP_HOURS = 24 * 62
"""How far back it is read what came late: as far as the longest window that a configuration may ask for."""
_held = msgspec.json.Decoder(Conversion).decode
_Row = TypeVar("_Row", TallyRow, CreativeRow)
_Part = TypeVar("_Part", Had, Touched, Spent)
_BILLING, _SEEN, _CLICK = int(NoticeKind.BILLING), int(NoticeKind.IMPRESSION), int(NoticeKind.CLICK)
_UNWRITTEN = """
    SELECT account_id FROM grants
    WHERE NOT EXISTS (SELECT 1 FROM accounts WHERE accounts.account_id = grants.account_id)"""
_LAST_STARTS = """
    SELECT seat, epoch, start_id FROM epochs
    WHERE epoch > (SELECT max(epoch) FROM epochs AS latest WHERE latest.seat = epochs.seat) - 16
    ORDER BY seat, epoch"""
"""As many as `core.leasing` remembers; where a start comes that it does not know, the books are asked."""
_EVERY_ADVERTISER = """
    WITH RECURSIVE whose (id) AS (
        SELECT min(advertiser_id) FROM bookings
        UNION ALL
        SELECT (SELECT min(advertiser_id) FROM bookings WHERE advertiser_id > whose.id)
        FROM whose WHERE whose.id IS NOT NULL
    )
    SELECT id FROM whose WHERE id IS NOT NULL"""
"""Advertisers with bookings: from each to the next by the index, where DISTINCT would read all of it."""


def load_state(
    session: Session, shard: Shard, now_ns: int, advertisers: Mapping[str, str], since: Since
) -> BankState:
    """The rows of a shard.

    Args:
        session: to read from.
        shard: whose rows; of unknown campaigns the counts are the first shard's.
        now_ns: accounts only where something may still be booked on them, orders where a repeat may be taken.
        advertisers: by id of campaign, and by `l/` and the id of a line item, whose it is.
        since: of bids made from when on what of their bookings. These are read while they are taken, one kind after
            the other in the order of `BankState`, and only as long as the session lasts: they may be millions.
    """
    open_accounts = session.execute(
        # The first is for the index: nothing is kept for less long than until its end.
        select("accounts", AccountRow) + " WHERE keep_until_ns >= ? AND (keep_until_ns >= ? OR end_ns >= ?)",
        (min(now_ns, since.days_ns), now_ns, since.days_ns),
    ).fetchall()
    accounts = [
        row for row in map(AccountRow._make, open_accounts) if shard.owns(_account_of(row, advertisers))
    ]
    known = {row.account_id for row in accounts}
    # Of days that are over nothing is wanted; of an account that was never written its grants are all there is.
    unwritten = {name for (name,) in session.execute(_UNWRITTEN)} if shard.of == 1 else ()
    ours = {campaign_id for campaign_id, advertiser in advertisers.items() if shard.owns(advertiser)}

    def own(rows: Iterable[_Row]) -> list[_Row]:
        return [row for row in rows if shard.of == 1 or row.campaign_id in ours]

    bookings = _Bookings(session, shard, advertisers)
    known_user = f"AND user_key <> '' AND keep_until_ns >= {int(now_ns)}"
    return BankState(
        accounts=accounts,
        tallies=own(map(TallyRow._make, session.execute(select("tallies", TallyRow)))),
        creatives=own(map(CreativeRow._make, session.execute(select("creatives", CreativeRow)))),
        refusals=[
            row
            for row in map(RefusalRow._make, session.execute(select("refusals", RefusalRow)))
            if shard.of == 1 or (row.campaign_id in ours if row.campaign_id else shard.number == 0)
        ],
        grants=[
            row
            for row in map(GrantRow._make, session.execute(select("grants", GrantRow)))
            if row.account_id in known or row.account_id in unwritten
        ],
        seats=[SeatRow(*row) for row in session.execute(_LAST_STARTS)],
        bookings=bookings.of(Had, since.bids_ns),
        touches=chain(
            bookings.of(Touched, since.seen_ns, f"AND kind IN ({_BILLING}, {_SEEN}) {known_user}"),
            bookings.of(Touched, since.clicked_ns, f"AND kind = {_CLICK} {known_user}"),
        ),
        spent=bookings.of(Spent, since.spent_ns, "AND amount_nanos > 0") if since.spent_ns else (),
        orders=[
            row
            for row in map(
                OrderRow._make,
                session.execute(select("orders", OrderRow) + " WHERE keep_until_ns >= ?", (now_ns,)),
            )
            if shard.owns(row.advertiser_id)
        ],
        held=[
            row
            for row in map(HeldRow._make, session.execute(select("held", HeldRow)))
            if shard.of == 1 or shard.owns(_held(row.message).advertiser_id)
        ],
        unattributed=[
            row
            for row in map(UnattributedRow._make, session.execute(select("unattributed", UnattributedRow)))
            if shard.owns(row.advertiser_id)
        ],
        lateness=[
            row
            for row in map(
                LateRow._make,
                session.execute(
                    select("lateness", LateRow) + " WHERE hour >= ?", (now_ns // HOUR_NS - KEEP_HOURS,)
                ),
            )
            if shard.owns(row.advertiser_id)
        ],
        since=since,
    )


def past_of(session: Session, bid_ids: Sequence[str]) -> Iterator[Had]:
    """What was booked of some bids, however long ago."""
    for first in range(0, len(bid_ids), _IDS_A_QUERY):
        some = bid_ids[first : first + _IDS_A_QUERY]
        marks = ", ".join("?" * len(some))
        rows = session.execute(f"{select('bookings', Had)} WHERE bid_id IN ({marks})", some)
        yield from map(Had._make, rows)


def select(table: str, row: type[NamedTuple]) -> str:
    """A query for all rows of a table as a tuple has them; both are names in the store."""
    return f"SELECT {', '.join(row._fields)} FROM {table}"  # noqa: S608


class _Bookings:
    """Bookings of a shard's advertisers, by when their bids were made: the database has an index of these."""

    def __init__(self, session: Session, shard: Shard, advertisers: Mapping[str, str]) -> None:
        self._session = session
        self._shard = shard
        self._advertisers = advertisers
        every = [name for (name,) in session.execute(_EVERY_ADVERTISER).fetchall()]
        self._ours = [name for name in every if name and shard.owns(name)]
        self._unnamed = "" in every

    def of(self, row: type[_Part], since_ns: int, which: str = "") -> Iterator[_Part]:
        """Those columns of the bookings of bids made since, of `which`."""
        make: Callable[[Iterable[Any]], _Part] = row._make
        for first in range(0, len(self._ours), _IDS_A_QUERY):
            some: list[Any] = self._ours[first : first + _IDS_A_QUERY]
            marks = ", ".join("?" * len(some))
            query = f"{select('bookings', row)} WHERE advertiser_id IN ({marks}) AND bid_at_ns >= ? {which}"
            yield from map(make, self._session.execute(query, [*some, since_ns]))
        if self._unnamed:
            # Those of before bookings named their advertiser are their campaign's.
            columns = ", ".join(row._fields)
            query = f"SELECT campaign_id, {columns} FROM bookings WHERE advertiser_id = '' AND bid_at_ns >= ? {which}"  # noqa: S608
            for found in self._session.execute(query, (since_ns,)):
                if self._shard.owns(self._advertisers.get(found[0], "")):
                    yield make(found[1:])


def _account_of(row: AccountRow, advertisers: Mapping[str, str]) -> str:
    """Whose an account is; of one that was written before accounts said so, by its name (`core.budgets`)."""
    if row.advertiser_id:
        return row.advertiser_id
    level, slash, rest = row.account_id.partition("/")
    own_id = rest.partition("/")[0]
    if not slash or level == "c":
        return advertisers.get(own_id or level, "")
    return own_id if level == "a" else advertisers.get(f"l/{own_id}", "")
