"""Which creative a bid shows, and its response template, made when it is first needed."""

from typing import NamedTuple

from bidder.core.table import CampaignTable
from bidder.core.token import sign_landing
from bidder.core.urls import TrackingUrls
from bidder.openrtb.response import TOKEN, BannerTemplate, NoticeUrls


class Template(NamedTuple):
    """A creative and everything of its bids that never changes."""

    creative_id: str
    banner: BannerTemplate


class Templates:
    """Templates by campaign and size, for the table that they were last asked for.

    Args:
        key: signs the landing pages. public_url: where the tracker is reached.
    """

    def __init__(self, key: bytes, public_url: str) -> None:
        self._key = key
        self._urls = TrackingUrls(public_url)
        self._table: CampaignTable | None = None
        self._made: dict[tuple[int, str], Template] = {}

    def of(self, table: CampaignTable, row: int, sizes: tuple[str, ...]) -> Template:
        """The template of a campaign's creative for the first of `sizes` that it has one for."""
        if table is not self._table:
            self._table = table
            self._made.clear()
        for size in sizes:
            found = self._made.get((row, size))
            if found is not None:
                return found
            if (row, size) in table.creatives:
                return self._made.setdefault((row, size), self._make(table, row, size))
        raise AssertionError(f"targeting let through campaign {table.ids[row]} without a creative of {sizes}")

    def _make(self, table: CampaignTable, row: int, size: str) -> Template:
        campaign, creative = table.campaigns[row], table.creatives[row, size]
        urls = self._urls
        banner = BannerTemplate(
            campaign_id=campaign.id,
            creative_id=creative.id,
            adomain=campaign.adomain,
            cat=campaign.cat,
            attr=creative.attr,
            w=creative.w,
            h=creative.h,
            image_url=creative.image_url,
            urls=NoticeUrls(
                nurl=urls.nurl(TOKEN),
                burl=urls.burl(TOKEN),
                lurl=urls.lurl(TOKEN),
                pixel=urls.pixel(TOKEN),
                click=urls.click(TOKEN, sign_landing(creative.landing_url, self._key)),
                conversion=urls.conversion(TOKEN),
            ),
        )
        return Template(creative.id, banner)
