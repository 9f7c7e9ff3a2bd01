"""What came of bids, counted: by line item and by creative; and the reports made of it."""

from collections.abc import Iterable, Mapping

import msgspec

from bidder.core.account import Account
from bidder.core.bookings import CreativeRow, TallyRow
from bidder.core.campaigns import Campaign
from bidder.core.messages import CreativeCounts
from bidder.money import MAX_NANOS

_NEVER_NS = -(2**62)


class Tally:
    """Counters of one line item.

    Args:
        row: counters so far.
    """

    __slots__ = TallyRow._fields

    def __init__(self, row: TallyRow) -> None:
        self.campaign_id = row.campaign_id
        self.line_item_id = row.line_item_id
        self.spend_nanos = row.spend_nanos
        self.late_nanos = row.late_nanos
        self.wins = row.wins
        self.impressions = row.impressions
        self.clicks = row.clicks
        self.conversions = row.conversions
        self.value_nanos = row.value_nanos
        self.late_wins = row.late_wins
        self.unbilled = row.unbilled
        self.views = row.views
        self.view_conversions = row.view_conversions

    def spend(self, nanos: int, *, late: bool) -> None:
        """Counts booked money."""
        self.spend_nanos += nanos
        if late:
            self.late_nanos += nanos
            self.late_wins += 1

    def convert(self, value_nanos: int, *, viewed: bool) -> None:
        """Counts one conversion, after a view alone or a click; the sum stays at the largest amount."""
        self.conversions += 1
        self.view_conversions += viewed
        self.value_nanos = min(MAX_NANOS, self.value_nanos + value_nanos)

    def row(self) -> TallyRow:
        """The counters as they are kept."""
        return TallyRow(
            self.campaign_id,
            self.line_item_id,
            self.spend_nanos,
            self.late_nanos,
            self.wins,
            self.impressions,
            self.clicks,
            self.conversions,
            self.value_nanos,
            self.late_wins,
            self.unbilled,
            self.views,
            self.view_conversions,
        )


class CreativeTally:
    """How often one creative was shown, viewed and clicked, and when that was last told.

    Args:
        row: counters so far.
    """

    __slots__ = ("campaign_id", "clicks", "creative_id", "impressions", "told_ns", "views")

    def __init__(self, row: CreativeRow) -> None:
        self.campaign_id = row.campaign_id
        self.creative_id = row.creative_id
        self.impressions = row.impressions
        self.clicks = row.clicks
        self.views = row.views
        self.told_ns = _NEVER_NS

    def row(self) -> CreativeRow:
        """The counters as they are kept."""
        return CreativeRow(self.campaign_id, self.creative_id, self.impressions, self.clicks, self.views)

    def counts(self) -> CreativeCounts:
        """The counters as they are told."""
        return CreativeCounts(
            campaign_id=self.campaign_id,
            creative_id=self.creative_id,
            impressions=self.impressions,
            clicks=self.clicks,
            views=self.views,
        )


class CampaignBook:
    """One campaign at the bank: what it is, what came of its line items, and what was refused of it.

    Args:
        campaign_id: its id.
        campaign: what it is; None where only its books are known.
    """

    __slots__ = ("advertiser", "id", "refused", "tallies")

    def __init__(self, campaign_id: str, campaign: Campaign | None = None) -> None:
        self.id = campaign_id
        self.advertiser = campaign.advertiser if campaign is not None else ""
        self.tallies: dict[str, Tally] = {}
        self.refused: dict[str, int] = {}

    def adopt(self, campaign: Campaign | None) -> None:
        """Takes a changed campaign; of one that was removed it is still known whose it was."""
        if campaign is not None:
            self.advertiser = campaign.advertiser

    @property
    def spend_nanos(self) -> int:
        """Spend of all its line items."""
        return sum(tally.spend_nanos for tally in self.tallies.values())

    def tally(self, line_item_id: str) -> Tally:
        """Counters of a line item, with nothing in them where it had none."""
        tally = self.tallies.get(line_item_id)
        if tally is None:
            tally = self.tallies[line_item_id] = Tally(TallyRow(self.id, line_item_id))
        return tally


class CampaignReport(msgspec.Struct, frozen=True, kw_only=True):
    """The books of one campaign: the money of its flight, and what came of all its line items.

    `leased_nanos` is granted and still open, `late_nanos` the spend that came after its reservation's end,
    `uncovered_nanos` the spend for which no grant had room, `unbilled` clicks and conversions of bids without
    spend, `view_conversions` the conversions that no click came before, `refused` notices not taken, by rule.
    """

    id: str
    budget_nanos: int
    spend_nanos: int
    leased_nanos: int
    late_nanos: int
    uncovered_nanos: int
    wins: int
    impressions: int
    clicks: int
    conversions: int
    value_nanos: int
    late_wins: int
    unbilled: int
    views: int = 0
    refused: dict[str, int]
    view_conversions: int = 0


class LineItemReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one line item; `id` is the campaign's where the campaign is its own."""

    campaign_id: str
    id: str
    spend_nanos: int
    late_nanos: int
    wins: int
    impressions: int
    clicks: int
    conversions: int
    value_nanos: int
    late_wins: int
    unbilled: int
    views: int = 0
    view_conversions: int = 0


class AccountReport(msgspec.Struct, frozen=True, kw_only=True):
    """One budget of any level (`core.budgets`); amounts in its unit: nanos, or millionths of an impression.

    `booked` is spent, `leased` granted and still open, `late` the part of `booked` that came after its
    reservation's end, `uncovered` the part for which no grant had room; `reserve` is kept back for such spend
    that is still to come, see `core.account`. `locked` is what seats hold in reservations, as they last said.
    """

    id: str
    unit: int
    limit: int
    begin_ns: int
    end_ns: int
    booked: int
    leased: int
    late: int
    uncovered: int
    reserve: int
    locked: int


def campaign_report(book: CampaignBook, account: Account) -> CampaignReport:
    """The books of a campaign; `account` is the money of its flight."""
    tallies = list(book.tallies.values())
    return CampaignReport(
        id=book.id,
        budget_nanos=account.limit,
        spend_nanos=account.booked,
        leased_nanos=account.outstanding,
        late_nanos=account.late,
        uncovered_nanos=account.uncovered,
        wins=sum(tally.wins for tally in tallies),
        impressions=sum(tally.impressions for tally in tallies),
        clicks=sum(tally.clicks for tally in tallies),
        conversions=sum(tally.conversions for tally in tallies),
        value_nanos=min(MAX_NANOS, sum(tally.value_nanos for tally in tallies)),
        late_wins=sum(tally.late_wins for tally in tallies),
        unbilled=sum(tally.unbilled for tally in tallies),
        views=sum(tally.views for tally in tallies),
        refused=dict(sorted(book.refused.items())),
        view_conversions=sum(tally.view_conversions for tally in tallies),
    )


def line_item_report(tally: Tally) -> LineItemReport:
    """What came of a line item."""
    row = tally.row()._asdict()
    return LineItemReport(id=row.pop("line_item_id"), **row)


def account_report(account: Account, locked: int) -> AccountReport:
    """One budget as it stands; `locked` is what seats hold in reservations on it."""
    return AccountReport(
        id=account.id,
        unit=int(account.unit),
        limit=account.limit,
        begin_ns=account.begin_ns,
        end_ns=account.end_ns,
        booked=account.booked,
        leased=account.outstanding,
        late=account.late,
        uncovered=account.uncovered,
        reserve=account.reserve,
        locked=locked,
    )


def recover_books(
    campaigns: Mapping[str, Campaign], tallies: Iterable[TallyRow], accounts: Iterable[str]
) -> dict[str, CampaignBook]:
    """Books of all campaigns that there are or that have an account or a tally."""
    flights = (account_id for account_id in accounts if "/" not in account_id)
    books = {each: CampaignBook(each, campaigns.get(each)) for each in {*campaigns, *flights}}
    for row in tallies:
        book = books.setdefault(row.campaign_id, CampaignBook(row.campaign_id))
        book.tallies[row.line_item_id] = Tally(row)
    return books
