"""Campaigns as rows of a table: the largest as they are, the rest as one row of sums."""

from collections.abc import Sequence

import msgspec

from models.pages.markup import Markup, el, join
from simulator.report.reasons import summed
from simulator.report.summary import CampaignResult, totals

# What keeps the page below 500 kB and readable: charts for the largest, rows for most, one row for the rest.
MOST_CHARTS = 24
MOST_ROWS = 60


def largest(campaigns: Sequence[CampaignResult]) -> list[CampaignResult]:
    """By budget, largest first; by id where they are equal."""
    return sorted(campaigns, key=lambda campaign: (-campaign.budget_nanos, campaign.id))


def with_rest(campaigns: Sequence[CampaignResult]) -> list[CampaignResult]:
    """The largest as they are; what is beyond the most rows we show as one row of sums."""
    ranked = largest(campaigns)
    rest = ranked[MOST_ROWS:]
    return ranked[:MOST_ROWS] + ([merged_rows("", f"{len(rest)} further campaigns", rest)] if rest else [])


def merged_rows(campaign_id: str, name: str, campaigns: Sequence[CampaignResult]) -> CampaignResult:
    """One row of their sums, under another name."""
    return msgspec.structs.replace(
        campaigns[0],
        id=campaign_id,
        name=name,
        advertiser="",
        funnel=summed(campaign.funnel for campaign in campaigns),
        asked=sum(campaign.asked for campaign in campaigns),
        refused=summed(campaign.refused for campaign in campaigns),
        **totals(campaigns)._asdict(),
    )


def name_cell(campaign: CampaignResult) -> Markup:
    beneath = ", ".join(part for part in (campaign.id, campaign.advertiser) if part)
    return join(campaign.name, el("span", beneath, class_="id") if beneath else None)
