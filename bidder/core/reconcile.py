"""An exchange's bill against our books, to the nano: integers only.

Where the bill has our bid ids, line meets booking; else sums of a day (and campaign) meet sums. What is compared is
the price, without fees: those are owed to others, and a discrepancy that was set aside is not what was paid.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bidder.money import MICROS_PER_UNIT

NO_DAY = -1


class BillLine(NamedTuple):
    """One line of a bill in the account's currency; `day` is `NO_DAY` and texts are empty where it does not say."""

    exchange: str
    day: int
    campaign_id: str
    bid_id: str
    impressions: int
    amount_nanos: int


class Booked(NamedTuple):
    """One bid that we paid: its price without fees, the day of the bid in the bill's time zone."""

    exchange: str
    day: int
    campaign_id: str
    bid_id: str
    price_nanos: int
    late: bool


class Part(NamedTuple):
    """How many impressions were paid, and what they come to."""

    impressions: int = 0
    nanos: int = 0

    def plus(self, nanos: int, impressions: int = 1) -> "Part":
        """With some more."""
        return Part(self.impressions + impressions, self.nanos + nanos)


class Compared(NamedTuple):
    """One day at one exchange.

    Attributes:
        ours: bookings. theirs: impressions billed, repeats among them.
        missing_here: billed, not booked. missing_there: booked, not billed. Without bid ids of whole campaigns.
        duplicates: lines that repeat a bid id. late: bookings that came after the end of their reservation.
    """

    day: int
    exchange: str
    ours: Part = Part()
    theirs: Part = Part()
    missing_here: Part = Part()
    missing_there: Part = Part()
    duplicates: Part = Part()
    late: Part = Part()

    @property
    def difference_nanos(self) -> int:
        """By how much the bill is above our books."""
        return self.theirs.nanos - self.ours.nanos

    @property
    def ratio_ppm(self) -> int | None:
        """The bill in millionths of our books, cut; None where we have nothing."""
        return self.theirs.nanos * MICROS_PER_UNIT // self.ours.nanos if self.ours.nanos else None


def reconcile(
    lines: Sequence[BillLine], booked: Iterable[Booked], days: Iterable[int] = ()
) -> list[Compared]:
    """Compares a bill with bookings, by day and exchange in order.

    Args:
        lines: of the bill. booked: our bookings, of more days than the bill has if need be.
        days: that are compared; those of the bill if none. Lines without a day stand with their booking's.
    """
    ours = list(booked)
    by_bid = {(one.exchange, one.bid_id): one for one in ours}
    lines = [_dated(line, by_bid) for line in lines]
    stated, billed = set(days), {(line.day, line.exchange) for line in lines}
    kept = [one for one in ours if (one.day in stated if stated else (one.day, one.exchange) in billed)]
    lines = [line for line in lines if not stated or line.day in stated or line.day == NO_DAY]
    found: dict[tuple[int, str], Compared] = {}
    for one in kept:
        row = _row(found, one.day, one.exchange)
        late = row.late.plus(one.price_nanos) if one.late else row.late
        found[row.day, row.exchange] = row._replace(ours=row.ours.plus(one.price_nanos), late=late)
    for line in lines:
        row = _row(found, line.day, line.exchange)
        found[row.day, row.exchange] = row._replace(
            theirs=row.theirs.plus(line.amount_nanos, line.impressions)
        )
    if any(line.bid_id for line in lines):
        _match_bids(found, lines, kept, by_bid)
    else:
        _match_campaigns(found, lines, kept)
    return [row for _, row in sorted(found.items())]


class CampaignSum(NamedTuple):
    """What a campaign paid at an exchange by our books, and what it is billed, nanos."""

    campaign_id: str
    exchange: str
    ours_nanos: int = 0
    theirs_nanos: int = 0


def by_campaign(lines: Sequence[BillLine], booked: Sequence[Booked]) -> list[CampaignSum]:
    """A bill by campaign, in order; empty where some line names none.

    Args:
        lines: of the bill, of the days that are compared. booked: our bookings; those of days of the bill count.
    """
    by_bid = {(one.exchange, one.bid_id): one for one in booked}
    dated = [_dated(line, by_bid) for line in lines]
    if not all(line.campaign_id for line in dated):
        return []
    billed = {(line.day, line.exchange) for line in dated}
    found: dict[tuple[str, str], CampaignSum] = {}
    for line in dated:
        key = (line.campaign_id, line.exchange)
        row = found.get(key, CampaignSum(*key))
        found[key] = row._replace(theirs_nanos=row.theirs_nanos + line.amount_nanos)
    for one in booked:
        if (one.day, one.exchange) in billed:
            key = (one.campaign_id, one.exchange)
            row = found.get(key, CampaignSum(*key))
            found[key] = row._replace(ours_nanos=row.ours_nanos + one.price_nanos)
    return [found[key] for key in sorted(found)]


def total(rows: Iterable[Compared], exchange: str) -> Compared:
    """All days of an exchange as one."""
    whole = Compared(NO_DAY, exchange)
    for row in rows:
        if row.exchange == exchange:
            sums = (
                Part(a.impressions + b.impressions, a.nanos + b.nanos)
                for a, b in zip(whole[2:], row[2:], strict=True)
            )
            whole = Compared(NO_DAY, exchange, *sums)
    return whole


def suggested_ppm(row: Compared) -> int:
    """The `discrepancy_ppm` with which our cost would have covered the bill, rounded up; 0 where it did."""
    if row.difference_nanos <= 0 or not row.ours.nanos:
        return 0
    return -(-row.difference_nanos * MICROS_PER_UNIT // row.ours.nanos)


def within(row: Compared, tolerance_ppm: int) -> bool:
    """Whether bill and books differ by at most so many millionths of our books."""
    return abs(row.difference_nanos) * MICROS_PER_UNIT <= tolerance_ppm * row.ours.nanos


def _dated(line: BillLine, by_bid: dict[tuple[str, str], Booked]) -> BillLine:
    """A line on the day of our booking: theirs may be that of the impression."""
    one = by_bid.get((line.exchange, line.bid_id)) if line.bid_id else None
    return line._replace(day=one.day) if one is not None else line


def _row(found: dict[tuple[int, str], Compared], day: int, exchange: str) -> Compared:
    return found.setdefault((day, exchange), Compared(day, exchange))


def _match_bids(
    found: dict[tuple[int, str], Compared],
    lines: Sequence[BillLine],
    kept: Sequence[Booked],
    by_bid: dict[tuple[str, str], Booked],
) -> None:
    seen: set[tuple[str, str]] = set()
    for line in lines:
        row = found[line.day, line.exchange]
        key = (line.exchange, line.bid_id)
        if line.bid_id and key in seen:
            row = row._replace(duplicates=row.duplicates.plus(line.amount_nanos))
        elif key not in by_bid:
            row = row._replace(missing_here=row.missing_here.plus(line.amount_nanos))
        seen.add(key)
        found[line.day, line.exchange] = row
    for one in kept:
        if (one.exchange, one.bid_id) not in seen:
            row = found[one.day, one.exchange]
            found[one.day, one.exchange] = row._replace(missing_there=row.missing_there.plus(one.price_nanos))


def _match_campaigns(
    found: dict[tuple[int, str], Compared], lines: Sequence[BillLine], kept: Sequence[Booked]
) -> None:
    """Campaigns that one side alone has on a day; a bill without campaigns has all that day."""
    theirs = {(line.day, line.exchange, line.campaign_id) for line in lines}
    here = {(one.day, one.exchange, one.campaign_id) for one in kept}
    days = {(one.day, one.exchange) for one in kept}
    for line in lines:
        place = (line.day, line.exchange)
        known = (*place, line.campaign_id) in here if line.campaign_id else place in days
        if not known:
            row = found[place]
            found[place] = row._replace(
                missing_here=row.missing_here.plus(line.amount_nanos, line.impressions)
            )
    for one in kept:
        place = (one.day, one.exchange)
        if (*place, one.campaign_id) not in theirs and (*place, "") not in theirs:
            row = found[place]
            found[place] = row._replace(missing_there=row.missing_there.plus(one.price_nanos))
