"""Response templates of one table's creatives, each made when it is first needed."""

from bidder.core.specs import Slot
from bidder.core.table import LineTable
from bidder.core.templatebook import notice_urls, template_of, writable_protocols
from bidder.core.urls import TrackingUrls
from bidder.openrtb.response import BidTemplate, NoticeUrls

CAPACITY = 65_536
_VIDEO, _AUDIO, _NATIVE = 2, 3, 4


class Templates:
    """Templates by creative, line item and what the slot asks, for the table that they were last asked for.

    Args:
        key: signs the landing pages. public_url: where the tracker is reached.
    """

    def __init__(self, key: bytes, public_url: str) -> None:
        self._key = key
        self._tracking = TrackingUrls(public_url)
        self._table: LineTable | None = None
        self._made: dict[tuple[int, int, int, object], BidTemplate] = {}
        self._urls: dict[int, NoticeUrls] = {}

    def adopt(self, table: LineTable) -> None:
        """Goes on with another table."""
        self._table = table
        self._made.clear()
        self._urls.clear()

    def of(self, line: int, creative: int, slot: Slot, exp_s: int) -> BidTemplate:
        """The template of a creative in a slot.

        Args:
            line, creative: rows of the table. slot: that it fits. exp_s: stated in bids.
        """
        asked = (
            slot.ask if slot.media == _NATIVE else slot.protocols if slot.media in (_VIDEO, _AUDIO) else None
        )
        key = (line, creative, exp_s, asked)
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= CAPACITY:
                self._made.clear()
            found = self._made[key] = self._make(line, creative, slot, exp_s)
        return found

    def _make(self, line: int, creative: int, slot: Slot, exp_s: int) -> BidTemplate:
        table = self._table
        assert table is not None, "templates are of a table"
        campaign, record = table.creatives.owners[creative]
        urls = self._urls.get(creative)
        if urls is None:
            urls = self._urls[creative] = notice_urls(record, self._tracking, self._key)
        protocol = 0
        if slot.protocols is not None:
            protocol = next(one for one in writable_protocols(record) if one in slot.protocols)
        return template_of(
            campaign,
            record,
            urls,
            line_item_id=table.lines[line].line_item_id,
            ask=slot.ask,
            exp_s=exp_s,
            protocol=protocol,
        )
