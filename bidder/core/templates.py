"""Response templates of one table's creatives, each made when it is first needed."""

from bidder.core.specs import Slot
from bidder.core.table import LineTable
from bidder.core.templatebook import notice_urls, template_of, writable_protocols
from bidder.core.urls import TrackingUrls
from bidder.core.views import remember
from bidder.openrtb.native import NativeAsk
from bidder.openrtb.response import BidTemplate, Billing, NoticeUrls

CAPACITY = 65_536


class Templates:
    """Templates by creative, line item and what the slot asks, for the table that they were last asked for.

    Args:
        key: signs the landing pages. public_url: where the tracker is reached.
    """

    def __init__(self, key: bytes, public_url: str) -> None:
        self._key = key
        self._tracking = TrackingUrls(public_url)
        self._table: LineTable | None = None
        self._made: dict[tuple[int, int, int, NativeAsk | int | None, Billing | None], BidTemplate] = {}
        self._urls: dict[int, NoticeUrls] = {}

    def adopt(self, table: LineTable) -> None:
        """Goes on with another table."""
        self._table = table
        self._made.clear()
        self._urls.clear()

    def of(
        self, line: int, creative: int, slot: Slot, exp_s: int, billing: Billing | None = None
    ) -> BidTemplate:
        """The template of a creative in a slot.

        Args:
            line, creative: rows of the table. slot: that it fits. exp_s: stated in bids. billing: see `template_of`.
        """
        asked: NativeAsk | int | None = slot.ask
        if slot.protocols is not None:
            asked = self._protocol(creative, slot.protocols)
        key = (line, creative, exp_s, asked, billing)
        found = self._made.get(key)
        return found if found is not None else remember(self._made, key, self._make(*key), CAPACITY)

    def _protocol(self, creative: int, listed: tuple[int, ...]) -> int:
        """The protocol to write a creative in: the first of its own that a slot lists."""
        assert self._table is not None, "templates are of a table"
        return next(
            one for one in writable_protocols(self._table.creatives.owners[creative][1]) if one in listed
        )

    def _make(
        self,
        line: int,
        creative: int,
        exp_s: int,
        asked: NativeAsk | int | None,
        billing: Billing | None,
    ) -> BidTemplate:
        table = self._table
        assert table is not None, "templates are of a table"
        campaign, record = table.creatives.owners[creative]
        urls = self._urls.get(creative)
        if urls is None:
            urls = self._urls[creative] = notice_urls(record, self._tracking, self._key)
        return template_of(
            campaign,
            record,
            urls,
            line_item_id=table.lines[line].line_item_id,
            ask=None if isinstance(asked, int) else asked,
            exp_s=exp_s,
            protocol=asked if isinstance(asked, int) else 0,
            billing=billing,
        )
