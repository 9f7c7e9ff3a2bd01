"""What the bank counts of creatives, and of which of them it has to tell."""

from collections.abc import Iterable

from bidder.core.bookings import CreativeRow
from bidder.core.effects import Draft
from bidder.core.messages import CreativeCounts, Notice
from bidder.core.tally import CreativeTally


class CreativeBook:
    """Counts of impressions, clicks and views by creative.

    Args:
        rows: counted so far.
        refresh_ns: a creative whose counts change is told of at most this often.
    """

    def __init__(self, rows: Iterable[CreativeRow], refresh_ns: int) -> None:
        self._refresh_ns = refresh_ns
        self._creatives = {row[:2]: CreativeTally(row) for row in rows}
        self._untold: dict[tuple[str, str], CreativeTally] = {}

    def count(
        self, notice: Notice, draft: Draft, *, impressions: int = 0, clicks: int = 0, views: int = 0
    ) -> None:
        """Adds to what is counted of the creative of a notice, where it names one."""
        if not notice.creative_id:
            return
        key = (notice.campaign_id, notice.creative_id)
        creative = self._creatives.get(key)
        if creative is None:
            creative = self._creatives[key] = CreativeTally(CreativeRow(*key))
        creative.impressions += impressions
        creative.clicks += clicks
        creative.views += views
        self._untold[key] = draft.creatives[key] = creative

    def tell(self, now_ns: int, draft: Draft) -> None:
        """Tells of creatives whose counts changed and that were not told of for a while."""
        before_ns = now_ns - self._refresh_ns
        due = [key for key, creative in self._untold.items() if creative.told_ns <= before_ns]
        for key in due:
            creative = self._untold.pop(key)
            creative.told_ns = now_ns
            draft.creative_counts.append(creative.counts())

    def counts(self) -> tuple[CreativeCounts, ...]:
        """What is counted of every creative."""
        return tuple(creative.counts() for creative in self._creatives.values())
