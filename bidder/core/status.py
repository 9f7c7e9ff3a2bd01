"""How line items stand at a seat, for reports; and multipliers, as the bank is told them."""

from typing import NamedTuple

from bidder.core.budgets import Unit
from bidder.core.funnel import Funnel
from bidder.core.messages import Pace
from bidder.core.pacing import Pacer
from bidder.core.table import LineTable
from bidder.core.targets import TargetBook, TargetStatus
from bidder.core.wallet import Wallet

PARTS_OF_ONE = 10**9
"""Multipliers are told as whole numbers of thousand-millionths."""


class Status(NamedTuple):
    """Figures of one line item at this seat, for reports; the money is that of the budget that it is paced by."""

    granted_nanos: int
    reserved_nanos: int
    posted_nanos: int
    late_nanos: int
    multiplier: float
    seen: int
    planned_share: float
    asked: int
    refused: dict[str, int]
    funnel: dict[str, int]
    targets: tuple[TargetStatus, ...] = ()


def statuses(
    table: LineTable, wallet: Wallet, pacer: Pacer, funnel: Funnel, targets: TargetBook, now_ns: int
) -> dict[str, Status]:
    """Figures of each line item of a table, by id."""
    plan = pacer.plan(now_ns)
    counts = funnel.counts()
    multipliers = pacer.multipliers.tolist()
    found: dict[str, Status] = {}
    for row, line_id in enumerate(table.ids):
        # Of several budgets the one that binds.
        group = min(wallet.groups_of(row), key=multipliers.__getitem__)
        granted, reserved, posted, late = wallet.books_of(group)
        found[line_id] = Status(
            granted_nanos=granted,
            reserved_nanos=reserved,
            posted_nanos=posted,
            late_nanos=late,
            multiplier=multipliers[group],
            seen=int(pacer.seen[group]),
            planned_share=float(plan[group]),
            asked=counts[line_id].asked,
            refused=counts[line_id].refused,
            funnel=counts[line_id].stages,
            targets=targets.status(row),
        )
    return found


def paces_of(pacer: Pacer) -> tuple[Pace, ...]:
    """Multipliers of campaigns' money for the flight, where they are paced and had opportunities.

    Where line items of one campaign spend it in several ways, that which had most opportunities speaks for it.
    """
    most: dict[str, int] = {}
    for group, one in enumerate(pacer.groups):
        standing = one.unit is Unit.MONEY and not one.daily and "/" not in one.account_id
        if not standing or one.asap or not pacer.seen[group]:
            continue
        best = most.get(one.account_id)
        if best is None or pacer.seen[group] > pacer.seen[best]:
            most[one.account_id] = group
    return tuple(
        Pace(account_id, round(float(pacer.multipliers[group]) * PARTS_OF_ONE))
        for account_id, group in most.items()
    )
