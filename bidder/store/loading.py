"""What a bank starts from, read out of the books: all of it, or one shard of the advertisers.

Accounts, grants and tallies are few and are sorted out here. Bookings are many, so the database is asked for those of
the shard's advertisers alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

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
    SeatRow,
    TallyRow,
    UnattributedRow,
)
from bidder.core.messages import Conversion
from bidder.core.shards import Shard
from bidder.store.driver import Session

_IDS_A_QUERY = 500
KEEP_HOURS = 24 * 62
"""How far back it is read what came late: as far as the longest window that a configuration may ask for."""
_held = msgspec.json.Decoder(Conversion).decode
_Row = TypeVar("_Row", TallyRow, CreativeRow)


def load_state(session: Session, shard: Shard, now_ns: int, advertisers: Mapping[str, str]) -> BankState:
    """The rows of a shard.

    Args:
        session: to read from.
        shard: whose rows; of unknown campaigns the counts are the first shard's.
        now_ns: accounts only where something may still be booked on them, bookings where a repeat may be taken.
        advertisers: by id of campaign, and by `l/` and the id of a line item, whose it is.
    """
    everybody = session.execute(select("accounts", AccountRow))
    accounts = [row for row in map(AccountRow._make, everybody) if shard.owns(_account_of(row, advertisers))]
    known = {row.account_id for row in accounts}
    grants = [
        row
        for row in map(GrantRow._make, session.execute(select("grants", GrantRow)))
        if shard.of == 1 or row.account_id in known
    ]
    ours = {campaign_id for campaign_id, advertiser in advertisers.items() if shard.owns(advertiser)}

    def own(rows: Iterable[_Row]) -> list[_Row]:
        return [row for row in rows if shard.of == 1 or row.campaign_id in ours]

    return BankState(
        accounts=[row for row in accounts if row.keep_until_ns >= now_ns],
        tallies=own(map(TallyRow._make, session.execute(select("tallies", TallyRow)))),
        creatives=own(map(CreativeRow._make, session.execute(select("creatives", CreativeRow)))),
        refusals=[
            row
            for row in map(RefusalRow._make, session.execute(select("refusals", RefusalRow)))
            if shard.of == 1 or (row.campaign_id in ours if row.campaign_id else shard.number == 0)
        ],
        grants=grants,
        seats=[
            SeatRow(*row)
            for row in session.execute("SELECT seat, epoch, start_id FROM epochs ORDER BY seat, epoch")
        ],
        bookings=list(_bookings(session, shard, now_ns, advertisers)),
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
    )


def select(table: str, row: type[NamedTuple]) -> str:
    """A query for all rows of a table as a tuple has them; both are names in the store."""
    return f"SELECT {', '.join(row._fields)} FROM {table}"  # noqa: S608


def _bookings(
    session: Session, shard: Shard, now_ns: int, advertisers: Mapping[str, str]
) -> Iterator[Booking]:
    query = select("bookings", Booking) + " WHERE keep_until_ns >= ?"
    if shard.of == 1:
        yield from map(Booking._make, session.execute(query, (now_ns,)))
        return
    # Those of before bookings named their advertiser are their campaign's.
    for booking in map(Booking._make, session.execute(query + " AND advertiser_id = ''", (now_ns,))):
        if shard.owns(advertisers.get(booking.campaign_id, "")):
            yield booking
    ours = sorted({each for each in advertisers.values() if each and shard.owns(each)})
    for first in range(0, len(ours), _IDS_A_QUERY):
        some = ours[first : first + _IDS_A_QUERY]
        marks = ", ".join("?" * len(some))
        rows = session.execute(f"{query} AND advertiser_id IN ({marks})", (now_ns, *some))
        yield from map(Booking._make, rows)


def _account_of(row: AccountRow, advertisers: Mapping[str, str]) -> str:
    """Whose an account is; of one that was written before accounts said so, by its name (`core.budgets`)."""
    if row.advertiser_id:
        return row.advertiser_id
    level, slash, rest = row.account_id.partition("/")
    own_id = rest.partition("/")[0]
    if not slash or level == "c":
        return advertisers.get(own_id or level, "")
    return own_id if level == "a" else advertisers.get(f"l/{own_id}", "")
