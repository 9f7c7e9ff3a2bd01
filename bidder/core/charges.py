"""Which budgets each line item of a table is charged to, and which of them pace it: made once, beside the loop.

What it takes to know this grows with the line items, and nothing of it is of the engine's state; so it is worked out
with the table, and adopting the table only looks up the accounts.
"""

from typing import NamedTuple

from bidder.core.budgets import Budget, DailyBudget, daily_budgets, day_of, standing_budgets
from bidder.core.pacing_groups import PacingGroups
from bidder.core.table import LineTable

AccountKeys = tuple[tuple[str, int], ...]
"""Account ids with their units, the money of the campaign's flight first."""


class Charge(NamedTuple):
    """Budgets of one line item: those that stand, and those of a day, which are others on each."""

    standing: AccountKeys
    daily: tuple[DailyBudget, ...]
    time_zone: str

    def on(self, at_ns: int) -> tuple[AccountKeys, int]:
        """All accounts on the day of `at_ns`, and when that day ends; the end is 0 where none is of a day."""
        if not self.daily:
            return self.standing, 0
        day = day_of(self.time_zone, at_ns)
        own = tuple(_key(budget.on(day)) for budget in self.daily)
        return self.standing + own, day.end_ns


class Charges:
    """What all line items of a table are charged to.

    Args:
        table: the line items.

    Attributes:
        lines: of each line item. daily: rows of those with budgets of a day.
        paces: which multipliers pace them.
    """

    def __init__(self, table: LineTable) -> None:
        self.lines: list[Charge] = []
        self.daily: list[int] = []
        known: dict[AccountKeys, AccountKeys] = {}
        for row, line in enumerate(table.lines):
            standing = tuple(map(_key, standing_budgets(line.campaign, line.item, line.advertiser)))
            charge = Charge(
                known.setdefault(standing, standing),
                daily_budgets(line.campaign, line.item, line.advertiser),
                line.advertiser.time_zone,
            )
            self.lines.append(charge)
            if charge.daily:
                self.daily.append(row)
        self.paces = PacingGroups(table.lines)


def _key(budget: Budget) -> tuple[str, int]:
    return budget.account_id, int(budget.unit)
