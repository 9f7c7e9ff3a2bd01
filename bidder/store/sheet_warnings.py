"""What a sheet may say and is likely not meant: limits that limit nothing, flights that are over, odd places."""

from collections.abc import Iterable, Iterator

from bidder.core.campaigns import Advertiser, Budgets, Campaign, LineItem
from bidder.money import NANOS_PER_UNIT, format_decimal
from bidder.store.columns_cells import format_instant

_STATES = (
    " AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK "
    "OR PA RI SC SD TN TX UT VT VA WA WV WI WY "
)
"""Regions that requests name by two letters, as OpenRTB has it."""


def warnings_of(campaigns: Iterable[Campaign], advertisers: Iterable[Advertiser], now_ns: int) -> list[str]:
    """A sentence for each thing that is likely not meant, advertisers first.

    Args:
        campaigns: with their line items. advertisers: as stated.
        now_ns: flights that end before it are over.
    """
    found: list[str] = []
    for advertiser in advertisers:
        found += (f"advertiser {advertiser.id}: {said}" for said in _of_budgets(advertiser.budgets, 0))
    for campaign in campaigns:
        found += (f"campaign {campaign.id}: {said}" for said in _of_campaign(campaign, now_ns))
        for item in campaign.line_items:
            found += (f"line item {item.id}: {said}" for said in _of_line_item(item, campaign, now_ns))
    return found


def _of_campaign(campaign: Campaign, now_ns: int) -> Iterator[str]:
    if campaign.end_ns <= now_ns:
        yield f"its flight is over since {format_instant(campaign.end_ns)}, so it cannot bid"
    yield from _of_budgets(campaign.budgets, campaign.budget_nanos)
    yield from _of_places(campaign)


def _of_line_item(item: LineItem, campaign: Campaign, now_ns: int) -> Iterator[str]:
    end_ns = max((own.end_ns for own in item.flights), default=campaign.end_ns)
    if end_ns <= now_ns < campaign.end_ns:
        yield f"its flights are over since {format_instant(end_ns)}, so it cannot bid"
    yield from _of_budgets(item.budgets, campaign.budget_nanos)
    yield from _of_places(item)


def _of_budgets(budgets: Budgets, above_nanos: int) -> Iterator[str]:
    """Limits of a day above a limit of the whole; `above_nanos` is one more of these, 0 where there is none."""
    whole = min(filter(None, (budgets.lifetime_nanos, above_nanos)), default=0)
    if whole and budgets.daily_nanos > whole:
        daily, budget = (format_decimal(nanos, NANOS_PER_UNIT) for nanos in (budgets.daily_nanos, whole))
        yield f"daily_budget {daily} is above the budget of {budget} for all days, so it limits nothing"
    if 0 < budgets.lifetime_impressions < budgets.daily_impressions:
        yield (
            f"daily_impressions {budgets.daily_impressions} is above impressions {budgets.lifetime_impressions}, "
            "so it limits nothing"
        )


def _of_places(record: Campaign | LineItem) -> Iterator[str]:
    """Places to bid in that are neither a country nor a state; other regions are as exchanges write them."""
    for value in record.targeting.geo.include:
        if value.isalpha() and len(value) != 3 and f" {value} " not in _STATES:
            yield (
                f"geo {value} is neither a country's three letters nor a state of the US: only requests that show "
                "it as their region are bid on"
            )
