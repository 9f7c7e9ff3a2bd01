"""What the books say of days that are over: sums for settlement, bookings for a bill, wins that nobody billed."""

from typing import NamedTuple

from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bookings import RefusalRow, UnattributedRow
from bidder.core.budgets import day_of
from bidder.core.lateness import LateBillings, late_billings
from bidder.core.reconcile import Booked
from bidder.core.settlement import QUARTER_NS, QuarterSum
from bidder.store.database import Database
from bidder.store.loading import select

# Kinds are numbers of NoticeKind: WIN 1.
_UNBILLED = """
    FROM bookings WHERE kind = 1 AND amount_nanos = 0 AND keep_until_ns < ?
    AND NOT EXISTS (SELECT 1 FROM bookings AS paid WHERE paid.bid_id = bookings.bid_id AND paid.amount_nanos > 0)"""


class UnbilledWin(NamedTuple):
    """A win whose billing time is over without a billing: its money was freed."""

    bid_id: str
    campaign_id: str
    line_item_id: str
    exchange: str
    bid_at_ns: int
    won_at_ns: int


class Ledger:
    """Reads bookings of a database; writes nothing.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def quarters(self, now_ns: int, keep_ns: int) -> list[QuarterSum]:
        """Spend, and wins that nobody billed, by campaign, exchange and quarter of an hour of the bid.

        Args:
            now_ns: the time. keep_ns: `BankRules.keep_ns`, how long after its last reservation a bid is remembered.
        """
        with self._database.reading() as connection:
            paid = connection.execute(
                f"""SELECT campaign_id, exchange, advertiser_id, bid_at_ns / {QUARTER_NS}, count(*),
                           sum(amount_nanos), sum(fees_nanos), sum(CASE WHEN late <> 0 THEN 1 ELSE 0 END),
                           sum(CASE WHEN late <> 0 THEN amount_nanos ELSE 0 END)
                    FROM bookings WHERE amount_nanos > 0
                    GROUP BY campaign_id, exchange, advertiser_id, bid_at_ns / {QUARTER_NS}"""  # noqa: S608 - a number
            ).fetchall()
            unbilled = connection.execute(
                f"""SELECT campaign_id, exchange, advertiser_id, bid_at_ns / {QUARTER_NS}, count(*) {_UNBILLED}
                    GROUP BY campaign_id, exchange, advertiser_id, bid_at_ns / {QUARTER_NS}""",
                (now_ns + keep_ns,),
            ).fetchall()
        # Sums of one database are integers, of another decimals.
        found = [
            QuarterSum(name, exchange, owner, *[int(each) for each in sums])
            for name, exchange, owner, *sums in paid
        ]
        found += [
            QuarterSum(name, exchange, owner, int(quarter), unbilled_wins=int(wins))
            for name, exchange, owner, quarter, wins in unbilled
        ]
        return found

    def unbilled_wins(self, now_ns: int, keep_ns: int) -> list[UnbilledWin]:
        """Wins whose billing time is over without a billing, in the order of their bids; arguments as `quarters`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"""SELECT bid_id, campaign_id, line_item_id, exchange, bid_at_ns, at_ns {_UNBILLED}
                    ORDER BY bid_at_ns, bid_id""",
                (now_ns + keep_ns,),
            ).fetchall()
        return [UnbilledWin(*row) for row in rows]

    def late_billings(self, rules: BankRules, now_ns: int) -> LateBillings:
        """How late billings come, of bids of the window that lateness is measured in.

        A reservation's end is known by how long its booking was to be kept. Of bookings that were written under
        other settings it is not, so those that would end before they began, or too late, are left out.

        Args:
            rules: quantile, window and setting. now_ns: the time.
        """
        with self._database.reading() as session:
            rows = session.execute(
                """SELECT at_ns - keep_until_ns + ?, amount_nanos FROM bookings
                   WHERE late <> 0 AND amount_nanos > 0 AND bid_at_ns >= ? AND at_ns > keep_until_ns - ?
                   AND keep_until_ns - ? - bid_at_ns BETWEEN 0 AND ?""",
                (
                    rules.keep_ns,
                    now_ns - rules.late_window_hours * HOUR_NS,
                    rules.keep_ns,
                    rules.keep_ns,
                    rules.longest_reservation_ns,
                ),
            ).fetchall()
        return late_billings(rules, rows)

    def unattributed(self) -> list[UnattributedRow]:
        """Conversions that count for no bid, by advertiser and reason."""
        query = select("unattributed", UnattributedRow) + " ORDER BY advertiser_id, reason"
        with self._database.reading() as session:
            return [UnattributedRow._make(row) for row in session.execute(query)]

    def refusals(self) -> list[RefusalRow]:
        """Notices that were not taken, by campaign, empty where it is not known, and rule."""
        query = select("refusals", RefusalRow) + " ORDER BY campaign_id, rule"
        with self._database.reading() as session:
            return [RefusalRow._make(row) for row in session.execute(query)]

    def booked(self, time_zone: str, exchange: str = "") -> list[Booked]:
        """Every bid that was paid, at one exchange or at all; days are those of a time zone."""
        with self._database.reading() as connection:
            rows = connection.execute(
                """SELECT exchange, bid_at_ns, campaign_id, bid_id, amount_nanos - fees_nanos, late
                   FROM bookings WHERE amount_nanos > 0 AND (? = '' OR exchange = ?)""",
                (exchange, exchange),
            ).fetchall()
        return [
            Booked(name, day_of(time_zone, at_ns).number, campaign_id, bid_id, price_nanos, bool(late))
            for name, at_ns, campaign_id, bid_id, price_nanos, late in rows
        ]
