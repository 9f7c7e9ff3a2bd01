"""What nobody asks for any more is taken out of the books.

Hours of lateness, users of old bookings, ended waits, and starts of seats that others replaced long ago.

Money and what is counted stay as they are. A bank may run meanwhile: it has no use for what goes, and each slice of
the work is a transaction of its own, so that it never waits long.

Of the starts of a seat the newest stays for good, however long the seat is gone: it is the memory of the number. So
whoever returns is numbered above all epochs that the seat ever had, and a start that was only silent still has its
own. An older start is deleted `KEEP_STARTS_NS` after it was first seen to be replaced, which each pruning notes of
those that it finds, and not while it has grants. All that its row did until then was to tell that a request for an
epoch that is read again, from a log that keeps days, is an old one. Such a request must not begin a new epoch after
that: nothing would be spent twice, but the epoch would be above that of the start that lives, whose reports would be
of the past until it starts again. So banks do not answer a request that is older than `OLDEST_REQUEST_NS`.
"""

from typing import NamedTuple

from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.store.database import Database
from bidder.store.driver import Session
from bidder.store.loading import KEEP_HOURS

SLICE = 5_000
"""Bids whose bookings one transaction changes."""
KEEP_STARTS_NS = 62 * 24 * HOUR_NS
"""As long as anything may be kept by a setting; brokers keep `slices` for a week, unless they are told otherwise."""
OLDEST_REQUEST_NS = KEEP_STARTS_NS - 24 * HOUR_NS
"""Age up to which a bank answers a request for an epoch; clocks of seats and banks differ by much less than a day. A
seat asks again until it has an epoch, so one that lives has newer ones."""


_REPLACED = "epoch < (SELECT max(epoch) FROM epochs AS latest WHERE latest.seat = epochs.seat)"


class Pruned(NamedTuple):
    """How many rows were deleted, and of `users` how many bookings no longer name their user."""

    lateness: int
    users: int
    orders: int
    held: int
    grants: int
    starts: int


def prune(database: Database, rules: BankRules, now_ns: int) -> Pruned:
    """Takes out what is over.

    Hours of lateness before the longest window that can be set; the user of a booking, and an order, once no repeat
    is to be recognised; a conversion that waits, once no bank could still book it: one that starts again decides
    those whose wait ended while none ran, and counts them. Grants of days on which nothing can be booked any more.
    Starts of seats that were replaced `KEEP_STARTS_NS` ago.

    Args:
        database: whose books. rules: of the bank. now_ns: the time.
    """
    with database.transaction("prune") as session:
        lateness = session.execute(
            "DELETE FROM lateness WHERE hour < ?", (now_ns // HOUR_NS - KEEP_HOURS,)
        ).rowcount
        orders = session.execute("DELETE FROM orders WHERE keep_until_ns < ?", (now_ns,)).rowcount
        held = session.execute("DELETE FROM held WHERE until_ns < ?", (now_ns - rules.keep_ns,)).rowcount
        grants = session.execute(
            """DELETE FROM grants WHERE EXISTS (
                   SELECT 1 FROM accounts
                   WHERE accounts.account_id = grants.account_id AND keep_until_ns < ? AND end_ns < ?)""",
            (now_ns, now_ns - rules.longest_reservation_ns - rules.keep_ns),
        ).rowcount
        starts = _forget_starts(session, now_ns)
    return Pruned(lateness, _forget_users(database, now_ns), orders, held, grants, starts)


def _forget_starts(session: Session, now_ns: int) -> int:
    """Deletes starts that were replaced long ago, and notes which others are; how many were deleted.

    A bank may number a new start meanwhile: that only makes another the newest, and this one is old all the same.
    """
    session.execute(
        f"UPDATE epochs SET replaced_ns = ? WHERE replaced_ns = 0 AND {_REPLACED}",  # noqa: S608 - text of this file
        (now_ns,),
    )
    return session.execute(
        f"""DELETE FROM epochs WHERE replaced_ns > 0 AND replaced_ns < ? AND {_REPLACED} AND NOT EXISTS (
                SELECT 1 FROM grants WHERE grants.seat = epochs.seat AND grants.epoch = epochs.epoch)""",  # noqa: S608
        (now_ns - KEEP_STARTS_NS,),
    ).rowcount


def _forget_users(database: Database, now_ns: int) -> int:
    """Slice by slice in the order of bids, which is that of the rows; how many bookings named a user."""
    changed, after = 0, ""
    while True:
        with database.transaction("prune") as session:
            found = session.execute(
                """SELECT bid_id FROM bookings WHERE bid_id > ? AND user_key <> '' AND keep_until_ns < ?
                   ORDER BY bid_id LIMIT ?""",
                (after, now_ns, SLICE),
            ).fetchall()
            if not found:
                return changed
            before, after = after, found[-1][0]
            changed += session.execute(
                """UPDATE bookings SET user_key = ''
                   WHERE bid_id > ? AND bid_id <= ? AND user_key <> '' AND keep_until_ns < ?""",
                (before, after, now_ns),
            ).rowcount
