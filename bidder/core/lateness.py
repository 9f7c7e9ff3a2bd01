"""Which share of spend comes late or uncovered, measured by the hour of the bids, and what is to be kept back for it.

Spend is *uncovered* where nothing stands for it any more when it is told of (`core.account`). What is kept back for
it is a share of all that may still come. Late notices come in clusters: an exchange's queue, a broker's outage. So no
law of single wins is taken, but whole blocks of time are compared. A block is an hour of bids, or as many hours as
it takes for `BLOCK_WINS` wins; its share is what of their spend came uncovered, or so late that only a grant that
still stood covered it, whenever it came. With n blocks in
the window the measured share is the k-th smallest of theirs,

    k = ceil((n + 1) * quantile),

and the next block's is at most that with probability k / (n + 1) >= quantile, if blocks are exchangeable: the upper
limit of Wilks (Determination of sample sizes for setting tolerance limits, Annals of Mathematical Statistics 12,
1941, p. 91), which assumes no distribution. For fewer blocks than that takes (99 at .99) the largest is taken, and
at least `late_start_ppm`, which is then an assumption and not a measurement. What is late now tends to stay late
for a while, which exchangeable blocks do not: so the share is never below that of the newest block. Floor and
ceiling come last. What it cannot know: a block's wins that are still on their way, and a future unlike the window.

Blocks are of all advertisers of this bank, since lateness is a matter of exchanges and networks; an account with a
larger share of its own keeps back that. All is integers and rows, so that a bank that starts again measures the same.
"""

from collections.abc import Iterable
from typing import NamedTuple

from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bookings import LateRow
from bidder.core.effects import Draft
from bidder.money import MAX_NANOS

BLOCK_WINS = 1_000
"""Wins that a block has at least: of fewer, one late win alone would make a share of some tenths of a percent."""

FEWEST_LATE = 20
"""Late billings of which it is first said that their tail is long: before that one exchange's hiccup would say it."""

_MILLION = 1_000_000


class LateBillings(NamedTuple):
    """How late billings came after their reservations' ends.

    `tail_ns` is within which the quantile of their money came, which `setting_ns` must not be below.
    """

    billings: int
    late_nanos: int
    tail_ns: int
    longest_ns: int
    setting_ns: int
    too_short: bool


def late_billings(rules: BankRules, late: Iterable[tuple[int, int]]) -> LateBillings:
    """What late billings say of the setting: `LateTail` says `too_short` of the same ones, and cannot say the tail.

    Args:
        rules: tail and quantile. late: of each how long after its reservation's end it came, ns, and its nanos; what
            is not above 0 counts nowhere.
    """
    rows = sorted([row for row in late if min(row) > 0], reverse=True)
    late_nanos = sum(nanos for _, nanos in rows)
    left = late_nanos * (_MILLION - rules.late_quantile_ppm) // _MILLION
    tail_ns = 0
    for by_ns, nanos in rows:
        left -= nanos
        if left < 0:
            tail_ns = by_ns
            break
    too_short = len(rows) >= FEWEST_LATE and tail_ns > rules.late_tail_ns
    longest_ns = rows[0][0] if rows else 0
    return LateBillings(len(rows), late_nanos, tail_ns, longest_ns, rules.late_tail_ns, too_short)


class LateTail:
    """How late billings come after their reservations' ends, against `late_tail_ns`, since a bank began.

    A bank keeps sums of what it sees and no rows, and begins anew at each start; `late_billings` of the rows that the
    books have of a window says within which time they came.

    The reserve counts what was booked in the last `late_tail_ns` as a measure of what of its time is still to come
    (`core.account`). Where more than the rest of `late_quantile_ppm` of all late money comes after that, the measured
    tail is longer than the setting: then a reserve may have ended before what it is for.

    Args:
        rules: tail and quantile.

    Attributes:
        billings: how many came late. late_nanos: what they were worth. beyond, beyond_nanos: those of them that came
            later than the tail. longest_ns: of all.
    """

    def __init__(self, rules: BankRules) -> None:
        self._rules = rules
        self.billings = self.late_nanos = self.beyond = self.beyond_nanos = self.longest_ns = 0

    def book(self, late_by_ns: int, nanos: int) -> None:
        """Counts a billing that came so long after its reservation's end; in time, or of 0, it counts nowhere."""
        if min(late_by_ns, nanos) <= 0:
            return
        self.billings += 1
        self.late_nanos += nanos
        self.longest_ns = max(self.longest_ns, late_by_ns)
        if late_by_ns > self._rules.late_tail_ns:
            self.beyond += 1
            self.beyond_nanos += nanos

    @property
    def too_short(self) -> bool:
        """Whether the measured tail is longer than the setting; of a few billings nothing is said."""
        allowed = self.late_nanos * (_MILLION - self._rules.late_quantile_ppm)
        return self.billings >= FEWEST_LATE and self.beyond_nanos * _MILLION > allowed


class Lateness:
    """What was spent and what of it came uncovered, by advertiser and hour of the bid.

    Args:
        rules: quantile, window, floor and ceiling.
        rows: as they were kept.
    """

    def __init__(self, rules: BankRules, rows: Iterable[LateRow] = ()) -> None:
        self._rules = rules
        self._rows: dict[tuple[str, int], LateRow] = {}
        self._hours: dict[int, tuple[int, int, int]] = {}
        for row in rows:
            self._rows[row[:2]] = row
            self._add(row.hour, row.spent_nanos, row.uncovered_nanos, row.wins)
        self._share_ppm = self._look_ns = 0
        self._hour = -1

    def book(
        self, advertiser_id: str, bid_at_ns: int, spent_nanos: int, uncovered_nanos: int, draft: Draft
    ) -> None:
        """Counts the spend of one win; `uncovered_nanos` is all of it where it came late or uncovered, else 0."""
        hour = bid_at_ns // HOUR_NS
        key = (advertiser_id, hour)
        row = self._rows.get(key) or LateRow(*key)
        spent, uncovered = row.spent_nanos + spent_nanos, row.uncovered_nanos + uncovered_nanos
        self._rows[key] = draft.lateness[key] = LateRow(
            *key, min(spent, MAX_NANOS), min(uncovered, MAX_NANOS), row.wins + 1
        )
        self._add(hour, spent_nanos, uncovered_nanos, 1)

    def share_ppm(self, now_ns: int) -> int:
        """Millionths of what may still come that are to be kept back; looked at anew once in a while."""
        fixed = self._rules.late_share_ppm
        if fixed is not None:
            return fixed
        if now_ns >= self._look_ns or not self._share_ppm:
            self._look_ns = now_ns + self._rules.spent_refresh_ns
            self._forget(now_ns // HOUR_NS)
            self._share_ppm = self._measured()
        return self._share_ppm

    def _add(self, hour: int, spent: int, uncovered: int, wins: int) -> None:
        before = self._hours.get(hour, (0, 0, 0))
        self._hours[hour] = (before[0] + spent, before[1] + uncovered, before[2] + wins)

    def _forget(self, hour: int) -> None:
        """Drops what is out of the window, once an hour."""
        if hour == self._hour:
            return
        self._hour = hour
        first = hour - self._rules.late_window_hours
        self._hours = {each: counts for each, counts in self._hours.items() if each >= first}
        self._rows = {key: row for key, row in self._rows.items() if row.hour >= first}

    def _measured(self) -> int:
        rules = self._rules
        shares, newest_ppm = _shares(self._hours)
        place = -(-(len(shares) + 1) * rules.late_quantile_ppm // _MILLION)
        if place <= len(shares):
            share_ppm = sorted(shares)[place - 1]
        else:
            share_ppm = max(shares, default=0)
            share_ppm = max(share_ppm, rules.late_start_ppm)
        return min(max(share_ppm, newest_ppm, rules.late_floor_ppm), rules.late_ceiling_ppm)


def _shares(hours: dict[int, tuple[int, int, int]]) -> tuple[list[int], int]:
    """Millionths of each whole block, oldest first, and of the newest together with what is no whole block yet."""
    shares: list[int] = []
    last = (0, 0)
    spent = uncovered = wins = 0
    for _, counts in sorted(hours.items()):
        spent, uncovered, wins = spent + counts[0], uncovered + counts[1], wins + counts[2]
        if wins >= BLOCK_WINS:
            shares.append(_ppm(spent, uncovered))
            last = (spent, uncovered)
            spent = uncovered = wins = 0
    if not wins:
        return shares, shares[-1] if shares else 0
    if not shares:
        return shares, 0
    return shares, _ppm(last[0] + spent, last[1] + uncovered)


def _ppm(spent: int, uncovered: int) -> int:
    return -(-uncovered * _MILLION // spent) if spent else 0
