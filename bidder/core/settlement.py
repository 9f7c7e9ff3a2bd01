"""The settlement pass: what each day's bids came to, and whether that is final.

Events may come late: a bid's notices are taken until its reservation's longest end and `accept_ns` after it. So what
is booked of a day is provisional until

    final_ns = end of the day + longest_reservation_ns + accept_ns

and nothing can be added to it from then on. A day is one of the advertiser's calendar, as its budgets have it, and a
booking counts on the day of its bid.

A win that was never billed holds no money any more once its billing time is over: it is counted, since an exchange
that bills it all the same will be found by `core.reconcile`.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bidder.core.bankrules import BankRules
from bidder.core.budgets import day_of

QUARTER_NS = 900_000_000_000
"""Clocks of all zones in use are whole quarters of an hour apart, so sums of a quarter are of one day."""


class QuarterSum(NamedTuple):
    """What was booked of the bids of one quarter of an hour; `quarter` counts from 1970."""

    campaign_id: str
    exchange: str
    advertiser_id: str
    quarter: int
    billed: int = 0
    amount_nanos: int = 0
    fees_nanos: int = 0
    late: int = 0
    late_nanos: int = 0
    unbilled_wins: int = 0


class DaySum(NamedTuple):
    """What the bids of one day came to, of one campaign at one exchange.

    Attributes:
        day: since 1970-01-01, of the advertiser's calendar.
        billed: bids that were paid. amount_nanos: what they cost, `fees_nanos` of it for fees.
        late, late_nanos: those of them that came after the end of their reservation.
        unbilled_wins: wins whose time to be billed is over.
        final_ns: from when nothing can change. final: whether that is now.
    """

    day: int
    campaign_id: str
    exchange: str
    billed: int
    amount_nanos: int
    fees_nanos: int
    late: int
    late_nanos: int
    unbilled_wins: int
    final_ns: int
    final: bool

    @property
    def price_nanos(self) -> int:
        """What the exchange is owed."""
        return self.amount_nanos - self.fees_nanos


def settle(
    sums: Iterable[QuarterSum], zones: Mapping[str, str], rules: BankRules, now_ns: int
) -> list[DaySum]:
    """Days in order, campaigns and exchanges within each.

    Args:
        sums: of the books. zones: time zone by advertiser; UTC where none is stated. rules: of the bank.
        now_ns: the time.
    """
    found: dict[tuple[int, str, str], list[int]] = {}
    ends: dict[tuple[int, str, str], int] = {}
    for one in sums:
        day = day_of(zones.get(one.advertiser_id, "UTC"), one.quarter * QUARTER_NS)
        key = (day.number, one.campaign_id, one.exchange)
        ends[key] = max(ends.get(key, 0), day.end_ns)
        counts = found.setdefault(key, [0] * 6)
        for place, number in enumerate(one[4:]):
            counts[place] += number
    wait_ns = rules.longest_reservation_ns + rules.accept_ns
    days: list[DaySum] = []
    for key, counts in sorted(found.items()):
        final_ns = ends[key] + wait_ns
        billed, amount_nanos, fees_nanos, late, late_nanos, unbilled_wins = counts
        days.append(
            DaySum(
                *key,
                billed,
                amount_nanos,
                fees_nanos,
                late,
                late_nanos,
                unbilled_wins,
                final_ns,
                now_ns > final_ns,
            )
        )
    return days
