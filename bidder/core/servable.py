"""Whether a bidder can serve what ad-ops state: beyond what each record checks of itself."""

import re
from collections.abc import Mapping

from bidder.core.campaigns import Campaign, Creative
from bidder.errors import InputError

_URL = re.compile(r"https?://[^\s\x00-\x20\x7f\\]+\Z")


def check_campaigns(campaigns: Mapping[str, Campaign], currency: str) -> None:
    """Raises `InputError` where a campaign cannot be served by a bidder with accounts in `currency`."""
    for campaign in campaigns.values():
        if campaign.currency != currency:
            raise InputError(
                f"currency of campaign {campaign.id} must be the account's {currency}, was {campaign.currency}"
            )
        for creative in campaign.creatives:
            _check_urls(creative, campaign.id)


def _check_urls(creative: Creative, campaign_id: str) -> None:
    for url in (*creative.assets, creative.landing_url):
        if _URL.match(url) is None:
            raise InputError(
                f"addresses of creative {creative.id} of campaign {campaign_id} must be http(s) without "
                f"spaces, backslashes and control characters, was {url[:200]!r}"
            )
