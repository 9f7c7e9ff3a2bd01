"""Of which line items the bank has to tell what came of them: those with a target of cost or return."""

from collections.abc import Iterable, Mapping

from bidder.core.campaigns import TARGETS, Campaign
from bidder.core.effects import Draft
from bidder.core.messages import LineCounts
from bidder.core.tally import CampaignBook, Tally

_NEVER_NS = -(2**62)


def aimed_lines(campaign: Campaign | None) -> frozenset[str]:
    """Ids of a campaign's line items that have a target of cost or return."""
    if campaign is None:
        return frozenset()
    whole = any(getattr(campaign, name) for name in TARGETS)
    own = {item.id for item in campaign.line_items if whole or any(getattr(item, name) for name in TARGETS)}
    return frozenset(own or ({campaign.id} if whole else ()))


class LineBook:
    """Which line items changed and were not told of.

    Args:
        campaigns: by id. refresh_ns: a line item whose counts change is told of at most this often.
    """

    def __init__(self, campaigns: Mapping[str, Campaign], refresh_ns: int) -> None:
        self._refresh_ns = refresh_ns
        self._aimed = {name: aimed_lines(campaign) for name, campaign in campaigns.items()}
        self._told_ns: dict[tuple[str, str], int] = {}
        self._untold: dict[tuple[str, str], Tally] = {}

    def adopt(self, campaign_id: str, campaign: Campaign | None) -> None:
        """Takes a changed campaign."""
        self._aimed[campaign_id] = aimed_lines(campaign)

    def note(self, tallies: Mapping[tuple[str, str], Tally]) -> None:
        """Notes counts that changed."""
        for key, tally in tallies.items():
            if key[1] in self._aimed.get(key[0], ()):
                self._untold[key] = tally

    def tell(self, now_ns: int, draft: Draft) -> None:
        """Tells of line items whose counts changed and that were not told of for a while."""
        before_ns = now_ns - self._refresh_ns
        due = [key for key in self._untold if self._told_ns.get(key, _NEVER_NS) <= before_ns]
        for key in due:
            self._told_ns[key] = now_ns
            draft.line_counts.append(line_counts(self._untold.pop(key)))

    def counts(self, books: Iterable[CampaignBook]) -> tuple[LineCounts, ...]:
        """What came of every line item with a target."""
        return tuple(
            line_counts(tally)
            for book in books
            for name, tally in book.tallies.items()
            if name in self._aimed.get(book.id, ())
        )


def line_counts(tally: Tally) -> LineCounts:
    """The counters of a line item as they are told."""
    return LineCounts(
        campaign_id=tally.campaign_id,
        line_item_id=tally.line_item_id,
        spend_nanos=tally.spend_nanos,
        clicks=tally.clicks,
        conversions=tally.conversions,
        value_nanos=tally.value_nanos,
    )
