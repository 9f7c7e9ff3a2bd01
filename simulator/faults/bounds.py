"""What one budget may come to, judged beside the bank: by what was stated of it, and by when each billing came.

    spend in time + what is held for late spend <= allowed
    uncovered <= late spend,  over = what passed,  booked <= limit + over + cut

`allowed` is the limit that the bank has adopted. One that was lowered below what was granted already allows that,
and no more: the least of what was granted when the bank took it, of what was allowed before, and never below
the limit itself. A limit counts from when the bank took it, since it hears of it by its store.
"""

from collections.abc import Iterator
from math import comb
from typing import NamedTuple

from bidder.core.bankrules import BankRules
from bidder.core.budgets import Budget, Unit
from bidder.core.messages import ONE_IMPRESSION
from bidder.core.tally import AccountReport

_MILLION = 1_000_000
_ALPHA = 0.001


def tolerated(judged: int, quantile_ppm: int) -> int:
    """Of so many budgets, how many late spend may pass, where each is kept at a quantile.

    The least number that more fail than with a probability of at most one in a thousand (binomial).
    """
    fails = 1 - quantile_ppm / _MILLION
    below, most = 0.0, -1
    while below < 1 - _ALPHA:
        most += 1
        below += comb(judged, most) * fails**most * (1 - fails) ** (judged - most)
    return most


class Complaint(NamedTuple):
    """Which rule did not hold, and what was seen."""

    kind: str
    what: str


class Bound:
    """One budget.

    Args:
        budget: as it was stated first. rules: of the bank.

    Attributes:
        allowed: the most that may be spent in time. in_time, late: what was, by the scheduler's clock.
        held: what the bank holds for late spend.
    """

    def __init__(self, budget: Budget, rules: BankRules) -> None:
        self._budget, self._rules = budget, rules
        self._stated = [budget.limit]
        self._adopted = 0
        self._granted = 0
        self.allowed = budget.limit
        self.in_time = self.late = self.held = 0

    @property
    def spent(self) -> int:
        """What was written, in time or late."""
        return self.in_time + self.late

    @property
    def passed(self) -> bool:
        """Whether more was spent than is allowed: then late spend passed the reserve."""
        return self.spent > self.allowed

    def state(self, limit: int) -> None:
        """Somebody wrote another limit."""
        self._stated.append(limit)

    def spend(self, units: int, *, late: bool) -> Iterator[Complaint]:
        """A billing was written."""
        if late:
            self.late += units
        else:
            self.in_time += units
            yield from self._judge()

    def take(self, report: AccountReport, *, started: bool = False) -> Iterator[Complaint]:
        """The bank that owns it says how it stands; where it has just `started`, by what it found in the books."""
        if started:
            self._granted = report.booked + report.leased - report.uncovered
        yield from self._adopt(report)
        self.held = report.held
        name, committed = report.id, report.booked + report.leased
        if report.booked > self.spent:
            yield Complaint("invented", f"{name} must have booked at most {self.spent}, was {report.booked}")
        if report.uncovered > self.late:
            yield Complaint(
                "uncovered",
                f"of {name} must be uncovered at most what came late, {self.late}, was {report.uncovered}",
            )
        if committed - report.uncovered > self.allowed:
            yield Complaint(
                "granted",
                f"spend and grants of {name} must be at most {self.allowed}, were {committed}, {report.uncovered} of "
                "it uncovered",
            )
        passed = max(0, committed - report.limit - report.cut)
        if report.over != passed or report.over > report.uncovered:
            yield Complaint("over", f"{name} must count {passed} as beyond its limit, counted {report.over}")
        yield from self._judge_reserve(report)
        yield from self._judge()

    def settled(self, report: AccountReport) -> Iterator[Complaint]:
        """All is quiet: what was written is what is booked, and each unit beyond the limit is accounted for."""
        if report.limit != self._stated[-1]:
            yield Complaint("limit", f"{report.id} must be limited to {self._stated[-1]}, was {report.limit}")
        if self.spent > report.limit + report.over + report.cut:
            yield Complaint(
                "unaccounted",
                f"spend of {report.id} must be at most {report.limit}, {report.over} over and {report.cut} cut, was "
                f"{self.spent}",
            )

    def _adopt(self, report: AccountReport) -> Iterator[Complaint]:
        """Where the bank took another limit: what that allows."""
        if report.limit == self._stated[self._adopted]:
            return
        later = self._stated[self._adopted + 1 :]
        if report.limit not in later:
            yield Complaint("limit", f"{report.id} must be limited to one of {later}, was {report.limit}")
            return
        self._adopted += 1 + later.index(report.limit)
        # Counted by the bank, and bounded by what was allowed before: so it cannot allow itself more.
        committed = report.booked + report.leased - report.uncovered
        self.allowed = max(report.limit, min(self.allowed, committed))

    def _judge(self) -> Iterator[Complaint]:
        if self.in_time + self.held > self.allowed:
            yield Complaint(
                "overspent",
                f"spend in time of {self._budget.account_id} and what is held for late spend must be at most "
                f"{self.allowed}, were {self.in_time} and {self.held}",
            )

    def _judge_reserve(self, report: AccountReport) -> Iterator[Complaint]:
        """After a grant the reserve is there, and is at least the least share of what may still come."""
        granted, before = report.booked + report.leased - report.uncovered, self._granted
        self._granted = granted
        if granted <= before:
            return
        least = max(0, report.limit - report.booked) * self._rules.late_floor_ppm // _MILLION
        if self._budget.unit is Unit.IMPRESSIONS:
            least -= least % ONE_IMPRESSION
        if min(report.reserve, report.held) < least:
            yield Complaint(
                "no_reserve",
                f"of {report.id} must be held at least {least} for late spend, was {report.held}",
            )
