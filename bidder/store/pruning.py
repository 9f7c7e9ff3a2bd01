"""What nobody asks for any more is taken out of the books: hours of lateness, users of old bookings, ended waits.

Money and what is counted stay as they are. A bank may run meanwhile: it has no use for what goes, and each slice of
the work is a transaction of its own, so that it never waits long.
"""

from typing import NamedTuple

from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.store.database import Database
from bidder.store.loading import KEEP_HOURS

SLICE = 5_000
"""Bids whose bookings one transaction changes."""


class Pruned(NamedTuple):
    """How many rows were deleted, and of `users` how many bookings no longer name their user."""

    lateness: int
    users: int
    orders: int
    held: int
    grants: int


def prune(database: Database, rules: BankRules, now_ns: int) -> Pruned:
    """Takes out what is over.

    Hours of lateness before the longest window that can be set; the user of a booking, and an order, once no repeat
    is to be recognised; a conversion that waits, once no bank could still book it: one that starts again decides
    those whose wait ended while none ran, and counts them. Grants of days on which nothing can be booked any more.

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
    return Pruned(lateness, _forget_users(database, now_ns), orders, held, grants)


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
