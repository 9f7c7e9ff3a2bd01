"""Budgets as accounts: what each is called, what it limits, and which of them a bid charges.

An *account* is one budget over one time, leased and booked on its own. A bid charges all accounts of its line item
on the day on which it is made.

| account | limits |
|---|---|
| the campaign's id | its `budget_nanos`, the money of the flight |
| `a/ID/money`, `c/ID/money`, `l/ID/money` | money of an advertiser for ever, of a campaign's or line item's flight |
| `a/ID/imps`, `c/ID/imps`, `l/ID/imps` | the same, impressions |
| any of these with `/d20780` behind it | the same for one day: days since 1970-01-01 on the advertiser's calendar |

No id holds a slash, so no two budgets share a name. A campaign that states no line item is its own one, and its
budgets are the campaign's: it has no `l/` accounts.
"""

from bisect import bisect_right
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from bidder.core.campaigns import Advertiser, Budgets, Campaign, Flight, LineItem
from bidder.core.messages import ONE_IMPRESSION
from bidder.money import MAX_NANOS
from bidder.zones import day_end_ns, is_zone, local_day, zone_offsets

FOREVER_NS = MAX_NANOS
"""End of what has no end."""

_DAY_NS = 86_400_000_000_000
_BLOCK_NS = 64 * _DAY_NS
"""Days are worked out and remembered in blocks of this length."""


class Unit(IntEnum):
    """What an account counts: nanos of money, or millionths of an impression."""

    MONEY = 0
    IMPRESSIONS = 1


class Budget(NamedTuple):
    """One account: what it is called, counts and allows, from `begin_ns` until before `end_ns`; whose it is."""

    account_id: str
    unit: Unit
    limit: int
    begin_ns: int
    end_ns: int
    advertiser_id: str = ""


class DailyBudget(NamedTuple):
    """A limit that begins anew each day; `name` is the account's without the day."""

    name: str
    unit: Unit
    limit: int
    advertiser_id: str = ""

    def on(self, day: "Day") -> Budget:
        """The account of one day."""
        name = f"{self.name}/d{day.number}"
        return Budget(name, self.unit, self.limit, day.begin_ns, day.end_ns, self.advertiser_id)


class Day(NamedTuple):
    """A local day: its number since 1970-01-01, and [begin, end) in ns UTC."""

    number: int
    begin_ns: int
    end_ns: int


def day_of(zone: str, at_ns: int) -> Day:
    """The local day of an instant.

    Args:
        zone: name in the IANA database; one that is not there counts as UTC (`zone_is_known`).
        at_ns: ns since 1970 UTC.
    """
    days = _days(zone, at_ns // _BLOCK_NS)
    return days[bisect_right(days, at_ns, key=_begin_ns) - 1]


def zone_is_known(advertiser: Advertiser) -> bool:
    """Whether its days can be told; one whose days cannot must not bid."""
    return is_zone(advertiser.time_zone)


def advertiser_of(campaign: Campaign, advertisers: Mapping[str, Advertiser]) -> Advertiser:
    """The campaign's advertiser; one that nobody stated has no limits and lives in UTC."""
    return advertisers.get(campaign.advertiser) or Advertiser(id=campaign.advertiser)


def accounts_of(
    campaign: Campaign, item: LineItem | None, advertiser: Advertiser, at_ns: int
) -> tuple[Budget, ...]:
    """All accounts that a bid of a line item charges, the money of the campaign's flight first.

    Args:
        campaign: the campaign. advertiser: its own.
        item: the line item; None where the campaign is its own.
        at_ns: when the bid is made: the day of the accounts of a day.
    """
    daily = daily_budgets(campaign, item, advertiser)
    standing = standing_budgets(campaign, item, advertiser)
    if not daily:
        return standing
    day = day_of(advertiser.time_zone, at_ns)
    return (*standing, *(budget.on(day) for budget in daily))


def standing_budgets(campaign: Campaign, item: LineItem | None, advertiser: Advertiser) -> tuple[Budget, ...]:
    """The accounts of `accounts_of` that do not change with the day."""
    flight = (campaign.start_ns, campaign.end_ns)
    budgets = [Budget(campaign.id, Unit.MONEY, campaign.budget_nanos, *flight, advertiser.id)]
    for name, own, begin_ns, end_ns in (
        (f"a/{advertiser.id}", advertiser.budgets, 0, FOREVER_NS),
        (f"c/{campaign.id}", campaign.budgets, *flight),
        *((_of_item(item, flight),) if item is not None else ()),
    ):
        for suffix, unit, limit in _limits(own.lifetime_nanos, own.lifetime_impressions):
            budgets.append(Budget(f"{name}/{suffix}", unit, limit, begin_ns, end_ns, advertiser.id))
    return tuple(budgets)


def daily_budgets(
    campaign: Campaign, item: LineItem | None, advertiser: Advertiser
) -> tuple[DailyBudget, ...]:
    """The accounts of `accounts_of` that are of one day, without it."""
    levels = [(f"a/{advertiser.id}", advertiser.budgets), (f"c/{campaign.id}", campaign.budgets)]
    if item is not None:
        levels.append((f"l/{item.id}", item.budgets))
    return tuple(
        DailyBudget(f"{name}/{suffix}", unit, limit, advertiser.id)
        for name, own in levels
        for suffix, unit, limit in _limits(own.daily_nanos, own.daily_impressions)
    )


def _of_item(item: LineItem, flight: tuple[int, int]) -> tuple[str, Budgets, int, int]:
    own: tuple[Flight, ...] = item.flights
    begin_ns = max(flight[0], min((each.start_ns for each in own), default=flight[0]))
    end_ns = min(flight[1], max((each.end_ns for each in own), default=flight[1]))
    return f"l/{item.id}", item.budgets, begin_ns, end_ns


def _limits(nanos: int, impressions: int) -> list[tuple[str, Unit, int]]:
    """Suffix, unit and limit of what is limited at all."""
    both = [("money", Unit.MONEY, nanos), ("imps", Unit.IMPRESSIONS, impressions * ONE_IMPRESSION)]
    return [each for each in both if each[2]]


def _begin_ns(day: Day) -> int:
    return day.begin_ns


@lru_cache(maxsize=4_096)
def _days(zone: str, block: int) -> tuple[Day, ...]:
    """The local days that touch a block of time, in order."""
    first_ns, last_ns = block * _BLOCK_NS, (block + 1) * _BLOCK_NS
    # A day is at most two long (a clock put back by a day), so its begin lies in what is asked for.
    arrays = zone_offsets(zone if is_zone(zone) else "UTC", first_ns - 3 * _DAY_NS, last_ns)
    begin_ns = day_end_ns(arrays, first_ns - 3 * _DAY_NS)
    days: list[Day] = []
    while begin_ns < last_ns:
        end_ns = day_end_ns(arrays, begin_ns)
        if end_ns > first_ns:
            days.append(Day(local_day(arrays, begin_ns), begin_ns, end_ns))
        begin_ns = end_ns
    return tuple(days)
