"""Which multipliers each line item is paced by: one for each of its budgets that has an end, and the least is taken.

A budget of money or of impressions, for the flight or for a day, of the line item, its campaign, or a day of its
advertiser: each has a multiplier that spreads it over its time, and a bid goes by the lowest, so by the budget that
binds. Where a campaign says `shared_pacing`, the budgets of its line items are limits only, and all of them go by the
multipliers of the campaign. A line item that buys as fast as possible is paced by none.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bidder.core.budgets import Unit, daily_budgets, standing_budgets
from bidder.core.campaigns import Pacing
from bidder.core.lines import Line
from bidder.core.plans import EVERY_HOUR, Group, merged

_Name = tuple[str, Unit, bool]
_Key = tuple[str, Unit, bool, Pacing, float, bool]


def open_hours(line: Line) -> frozenset[int]:
    """Hours of the week, on the advertiser's clock, in which targeting lets a line item bid."""
    rule = line.rules.get("hour")
    if rule is None:
        return EVERY_HOUR
    included = frozenset(map(int, rule.include)) if rule.include else EVERY_HOUR
    return (included - frozenset(map(int, rule.exclude))) or EVERY_HOUR


def paced_budgets(line: Line) -> tuple[_Name, ...]:
    """Account, unit and whether it is of a day, of each budget that a line item is paced by."""
    campaign = line.campaign
    standing = standing_budgets(campaign, line.item, line.advertiser)
    daily = daily_budgets(campaign, line.item, line.advertiser)
    found = [(one.account_id, one.unit, False) for one in standing if not one.account_id.startswith("a/")]
    found += [(one.name, one.unit, True) for one in daily]
    if line.pacing is Pacing.ASAP:
        return (found[0],)
    if campaign.shared_pacing:
        return tuple(one for one in found if not one[0].startswith("l/"))
    return tuple(found)


class PacingGroups:
    """The groups of some line items.

    Attributes:
        groups: pacing groups. starts: int32[lines + 1] into `places`, int32[], the groups of each line item.
        first: int32[lines], that of the campaign's money.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        members: dict[_Key, list[Line]] = {}
        own: list[list[_Key]] = []
        for line in lines:
            ahead = line.ahead_percent / 100 if line.pacing is Pacing.AHEAD else 0.0
            drop = line.catch_up == "drop" and line.pacing is not Pacing.ASAP
            keys = [(*name, line.pacing, ahead, drop) for name in paced_budgets(line)]
            own.append(keys)
            for key in keys:
                members.setdefault(key, []).append(line)
        numbers = {key: number for number, key in enumerate(members)}
        places = [[numbers[key] for key in keys] for keys in own]
        together: list[set[tuple[int, ...]]] = [set() for _ in numbers]
        for mine in places:
            for number in mine:
                together[number].add(tuple(mine))
        self.groups = [
            _group(key, served, tied=len(together[numbers[key]]) == 1) for key, served in members.items()
        ]
        counts = [0, *map(len, places)]
        self.starts: NDArray[np.int32] = np.cumsum(counts).astype(np.int32)
        self.places: NDArray[np.int32] = np.array([n for mine in places for n in mine], dtype=np.int32)
        self.first: NDArray[np.int32] = self.places[self.starts[:-1]]


def _group(key: _Key, lines: Sequence[Line], *, tied: bool) -> Group:
    """The group of some line items: open when one of those that may bid is, of all where none may."""
    account_id, unit, daily, pacing, ahead, drop = key
    served = [line for line in lines if line.active] or list(lines)
    spans = [(flight.start_ns, flight.end_ns) for line in served for flight in line.flights]
    campaign = served[0].campaign
    return Group(
        account_id=account_id,
        flights=merged(spans) or ((campaign.start_ns, campaign.end_ns),),
        pacing=pacing,
        ahead=ahead,
        drop=drop,
        unit=unit,
        daily=daily,
        hours=frozenset().union(*(open_hours(line) for line in served)),
        zone=served[0].advertiser.time_zone,
        tied=tied,
    )
