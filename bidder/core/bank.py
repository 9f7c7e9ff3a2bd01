"""The bank: the only owner of budgets. A pure state machine, `Effects` out for each step.

Inputs: `Notice`, `Conversion` and `SliceReport` messages, changed campaigns and advertisers, and ticks. Outputs:
`Settlement`, `Lease`, `Exposure` and counts as messages, and the rows to keep: whoever runs it writes them with the
consumed offsets in one transaction, then publishes (`runtime.bank`).

| part | knows |
|---|---|
| `core.budgets` | what the budgets of an advertiser, campaign or line item are called and limit |
| `core.account` | one of them, and the rule that it must keep, stated exactly |
| `core.chart` | which of them there are today, and which a line item charges |
| `core.bidbook` | what each bid has had, and the rules by which notices are refused |
| `core.attribution` | which bid a conversion counts for: windows, last touch, orders, and those that wait |
| `core.lateness` | which share of spend comes late or uncovered, and what is to be kept back for it |
| `core.leasing` | seats, epochs, chunks, renewal, and when what was granted comes back |
| `core.guard` | what is stopped, and what spends too fast |
| `core.creative_book`, `core.line_book` | counts of creatives and of line items |
| `core.tally` | what came of the bids of a line item and of a creative, and the reports |

Each bid's money event books once, by bid id, whichever URL or kind repeats: the kind of notice that the token
names for its exchange. It books only a price > 0 that is at most the cap in the token, on all accounts that the
line item charges on the day of the bid: on accounts of money the price and its fees, on accounts of impressions
what the bid bought. One that came after its reservation's own end is owed: it is booked and flagged `late`. What
is not taken is counted by rule, never dropped (OpenRTB 2.6 guide, section 7.8).

The first notice of a bid's impression, its IMPRESSION or its money event, makes one `Exposure` of a known user.
"""

from collections.abc import Iterable, Mapping, Sequence

from bidder.core.account import Account
from bidder.core.attribution import Attribution, Credit
from bidder.core.bankrules import BankRules, Rule
from bidder.core.bidbook import BidBook
from bidder.core.bookings import BankState, Booking, Had, UnattributedRow
from bidder.core.budgets import Unit
from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.chart import Chart
from bidder.core.creative_book import CreativeBook
from bidder.core.effects import (
    Draft,
    Effects,
    bid_at_ns,
    booking_of,
    exposure_of,
    is_late,
    line_item_of,
    settlement_of,
)
from bidder.core.guard import Guard
from bidder.core.lateness import Lateness, LateTail
from bidder.core.leasing import Leasing
from bidder.core.line_book import LineBook
from bidder.core.messages import (
    AdvertiserChange,
    Brake,
    CampaignChange,
    Conversion,
    CreativeCounts,
    Lease,
    LineCounts,
    Notice,
    NoticeKind,
    SettlementKind,
    Settlements,
    SliceReport,
    Trip,
)
from bidder.core.shards import WHOLE, Shard
from bidder.core.tally import (
    AccountReport,
    CampaignBook,
    CampaignReport,
    LineItemReport,
    Tally,
    account_report,
    campaign_report,
    line_item_report,
    recover_books,
)
from bidder.errors import InvariantError
from bidder.money import MAX_NANOS

__all__ = ["AccountReport", "Bank", "CampaignReport", "LineItemReport"]


class Bank:
    """Budgets, leases and bookings of all campaigns.

    Args:
        rules: what to go by.
        campaigns: all campaigns by id.
        state: what was kept; empty at the very first start. Starting is recovering.
        advertisers: by id those that are stated; another has no limits, and days of UTC.
        brakes: what is stopped, and what was let go.
        guard: of the process, where it holds several shards. shard: which of them this one is.

    Attributes:
        late_tail: how late billings came, against the setting.

    Raises:
        InvariantError: by every method, where the books stop adding up; the process must stop.
    """

    def __init__(
        self,
        rules: BankRules,
        campaigns: Mapping[str, Campaign],
        state: BankState | None = None,
        advertisers: Mapping[str, Advertiser] | None = None,
        brakes: Iterable[Brake] = (),
        *,
        guard: Guard | None = None,
        shard: Shard = WHOLE,
    ) -> None:
        state = state or BankState()
        self.rules = rules
        self._bids = BidBook(rules, state.since.bids_ns)
        self._unknown: dict[str, int] = {}
        self._chart = Chart(rules, campaigns, advertisers or {}, state.accounts, state.grants)
        self._books = recover_books(campaigns, state.tallies, self._chart.accounts)
        self._creatives = CreativeBook(state.creatives, rules.spent_refresh_ns)
        self._lines = LineBook(campaigns, rules.spent_refresh_ns)
        for one in state.refusals:
            self._refusals_of(self._books.get(one.campaign_id))[one.rule] = one.times
        self._attribution = Attribution(rules, campaigns, self._bids, state)
        for booking in state.bookings:
            self._bids.remember(booking)
        for touch in state.touches:
            self._attribution.remember(touch)
        self._leasing = Leasing(rules, self._chart.offered, state.seats)
        self._lateness = Lateness(rules, state.lateness)
        self.late_tail = LateTail(rules)
        self._guard = guard or Guard(rules.brakes)
        self._watch = self._guard.watch(shard, self._chart.lines)
        self._guard.take(brakes)
        for each in state.spent:
            own = (each.campaign_id, each.line_item_id, each.advertiser_id)
            self._watch.spend(own, each.amount_nanos, each.bid_at_ns)
        self._draft = Draft()
        self.check()

    def apply(
        self,
        messages: Sequence[Notice | Conversion | SliceReport],
        now_ns: int,
        *,
        redelivered: bool = False,
        epochs: Mapping[tuple[str, str], int] | None = None,
    ) -> Effects:
        """Takes messages in order; a batch may be split anywhere without a difference.

        `redelivered` says that these were consumed before: what they did is known by their ids, and what is
        refused among them is not counted again. `epochs` are numbers by (seat, start) where several banks must give
        the same (`new_starts`). What the books have of bids that are `forgotten` was recalled before.
        """
        for message in messages:
            if isinstance(message, Notice):
                self._take_notice(message, now_ns, quiet=redelivered)
            elif isinstance(message, Conversion):
                booking = self._attribution.take(message, now_ns, self._draft, quiet=redelivered)
                if booking is not None:
                    self._attribute(booking)
            else:
                self._leasing.take(message, now_ns, self._draft, epochs or {})
                self._watch.report(message, self._advertiser_of)
                self._guard.reported(message.trips)
        return self._close()

    def forgotten(self, messages: Iterable[Notice | Conversion | SliceReport], now_ns: int) -> frozenset[str]:
        """Bids that messages are about, or may count for, and of which the books must be asked first (`recall`)."""
        conversions = []
        found = set()
        for message in messages:
            if isinstance(message, Conversion):
                conversions.append(message)
            elif (
                isinstance(message, Notice)
                and self._bids.forgotten(message.bid_id, message.bid_at_ns, now_ns)
                and not self._bids.expired(message, now_ns)
            ):
                found.add(message.bid_id)
        return frozenset(found.union(self._attribution.unrecalled(conversions, now_ns)))

    def forgotten_waiting(self, now_ns: int, seen_until_ns: int) -> frozenset[str]:
        """The same, of conversions that the next tick looks at again."""
        waiting = self._attribution.due(min(now_ns, seen_until_ns))
        return frozenset(self._attribution.unrecalled(waiting, now_ns))

    def recall(self, bid_ids: Iterable[str], past: Iterable[Booking | Had], now_ns: int) -> None:
        """Takes all that the books have of bids: of some of them it may be nothing."""
        self._bids.recall(bid_ids, past, now_ns)

    def remembered(self) -> tuple[int, int]:
        """How many bids and touches it has in memory."""
        return len(self._bids), self._attribution.touches

    def new_starts(self, reports: Iterable[SliceReport]) -> list[SliceReport]:
        """Those of reports whose start was not heard of before."""
        return [report for report in reports if not self._leasing.knows(report)]

    def adopt(self, changes: Iterable[CampaignChange | AdvertiserChange | Brake]) -> Effects:
        """Takes changed campaigns, advertisers and brakes; leases with new budgets follow on the next tick."""
        for change in changes:
            if isinstance(change, Brake):
                self._guard.take([change])
            elif isinstance(change, AdvertiserChange):
                self._chart.adopt_advertiser(change.advertiser_id, change.advertiser, self._draft)
            else:
                book = self._books.setdefault(change.campaign_id, CampaignBook(change.campaign_id))
                book.adopt(change.campaign)
                self._lines.adopt(change.campaign_id, change.campaign)
                self._attribution.adopt(change.campaign_id, change.campaign)
                self._chart.adopt_campaign(change.campaign_id, change.campaign, self._draft)
        self._guard.restate()
        self._leasing.look_again()
        return self._close()

    def tripped(self, now_ns: int) -> list[Trip]:
        """What must be stopped because it spends too fast, by what was booked and by what seats reported.

        Of all shards that the process holds, each name once.
        """
        return self._guard.tripped(now_ns)

    def tick(
        self,
        now_ns: int,
        seen_until_ns: int | None = None,
        *,
        told_until_ns: int | None = None,
        free: bool = True,
    ) -> Effects:
        """Frees what can no longer be posted, then tops up and renews the leases of seats that reported.

        Conversions that waited for their touch are looked at first.

        Args:
            now_ns: the time now.
            seen_until_ns: all notices up to this time have been applied; by default `now_ns`. While the bank
                lags behind its topic nothing is freed that a waiting notice might still post, and leases last
                only from then: a seat must not bid again what such a notice is about to spend.
            told_until_ns: all that trackers took up to this time was there to be applied; by default all that they
                ever took. What is freed waits for that too.
            free: whether money may come back at all.
        """
        seen_ns = now_ns if seen_until_ns is None else min(now_ns, seen_until_ns)
        told_ns = seen_ns if told_until_ns is None else min(seen_ns, told_until_ns)
        for booking in self._attribution.retry(now_ns, told_ns, self._draft):
            self._attribute(booking)
        self._bids.evict(now_ns)
        self._attribution.evict(now_ns)
        if free:
            self._leasing.free(told_ns, self._draft)
        if self._chart.roll(now_ns, self._draft):
            self._leasing.look_again()
        self._leasing.stopped = self._guard.stopped(now_ns)
        self._leasing.serve(now_ns, seen_ns, self._draft, self._lateness.share_ppm(now_ns))
        self._creatives.tell(now_ns, self._draft)
        self._lines.tell(now_ns, self._draft)
        return self._close()

    def count_malformed(self, messages: int) -> Effects:
        """Counts messages that could not be read."""
        for _ in range(messages):
            self._refuse(None, Rule.MALFORMED)
        return self._close()

    def live_leases(self, now_ns: int) -> tuple[Lease, ...]:
        """Every lease of a current epoch that may still be bid on, to be told again after a start."""
        return self._leasing.live(now_ns)

    def marks(self, now_ns: int, seen_until_ns: int | None = None) -> list[Settlements]:
        """Up to when all notices were heard, for each seat; to be told behind all settlements, or not at all."""
        return self._leasing.marks(now_ns, now_ns if seen_until_ns is None else min(now_ns, seen_until_ns))

    def creative_counts(self) -> tuple[CreativeCounts, ...]:
        """What is counted of every creative, to be told again after a start."""
        return self._creatives.counts()

    def line_counts(self) -> tuple[LineCounts, ...]:
        """What came of every line item with a target, to be told again after a start."""
        return self._lines.counts(self._books.values())

    def report(self) -> list[CampaignReport]:
        """The books by campaign, in the order of their ids."""
        return [campaign_report(book, self._chart.flight(book.id)) for _, book in sorted(self._books.items())]

    def line_items(self) -> list[LineItemReport]:
        """What came of each line item that had a notice, in the order of campaigns and line items."""
        return [
            line_item_report(tally)
            for _, book in sorted(self._books.items())
            for _, tally in sorted(book.tallies.items())
        ]

    def unattributed(self) -> list[UnattributedRow]:
        """Conversions that count for no bid, by advertiser and reason."""
        return self._attribution.unattributed()

    def late_share_ppm(self, now_ns: int) -> int:
        """Millionths of what may still come that are kept back for late spend."""
        return self._lateness.share_ppm(now_ns)

    def accounts(self) -> list[AccountReport]:
        """Every budget on which something may still be booked, in the order of their ids."""
        locked = self._leasing.locked()
        accounts = sorted(self._chart.accounts.items())
        return [account_report(account, locked.get(name, 0)) for name, account in accounts]

    def refused(self) -> dict[str, int]:
        """Refused notices by rule, over all campaigns and those of unknown ones."""
        totals = dict(self._unknown)
        for book in self._books.values():
            for rule, times in book.refused.items():
                totals[rule] = totals.get(rule, 0) + times
        return totals

    def check(self) -> None:
        """Raises `InvariantError` where the books of any account or campaign do not add up."""
        for account in self._chart.accounts.values():
            account.check()
        for book in self._books.values():
            spend_nanos, booked = book.spend_nanos, self._chart.flight(book.id).booked
            if spend_nanos != booked:
                raise InvariantError(
                    f"spend of the line items of campaign {book.id} must sum to {booked} nanos, was {spend_nanos}"
                )

    # -- notices --------------------------------------------------------------------------------------------

    def _take_notice(self, notice: Notice, now_ns: int, *, quiet: bool) -> None:
        book = self._books.get(notice.campaign_id)
        if book is None:
            rule: Rule | None = Rule.UNKNOWN_CAMPAIGN
        else:
            rule = self._bids.verdict(notice, now_ns) or self._taken(book, notice, now_ns)
        if rule is not None and not quiet:
            self._refuse(book, rule)

    def _taken(self, book: CampaignBook, notice: Notice, now_ns: int) -> Rule | None:
        """Does what a notice says that no rule of the bid book refuses; the rule that refuses it all the same."""
        self._bids.look(notice)
        if notice.kind is notice.money:
            return self._post(book, notice, now_ns)
        if notice.kind is NoticeKind.CONVERSION:
            return self._convert(book, notice, now_ns)
        if notice.kind is NoticeKind.LOSS:
            self._void(notice)
        else:
            self._count(book, notice, now_ns)
        return None

    def _post(self, book: CampaignBook, notice: Notice, now_ns: int) -> Rule | None:
        """The money event: books what it spends on every account of its line item, and tells the seat.

        Spend that would take an account past the largest amount that there is, is refused.
        """
        charges = self._charges(notice, now_ns)
        if any(account.booked + units > MAX_NANOS for account, units in charges):
            return Rule.BAD_VALUE
        nanos, made_ns, late = notice.cost_nanos, bid_at_ns(notice), is_late(notice)
        uncovered = []
        for account, units in charges:
            grant = account.grants.get((notice.seat, notice.epoch))
            uncovered.append(account.book(units, grant, late=late))
            if grant is None:
                self._draft.touch(account)
            else:
                self._draft.move(account, grant)
        # Late spend counts whole, though a grant of the moment may still cover it: at a budget's end none does. So
        # does that of a bid that was said to have lost, or not known to have won, when its reservation ended.
        loose = late or any(uncovered) or self._bids.was_let_go(notice.bid_id)
        self._lateness.book(book.advertiser, made_ns, nanos, nanos if loose else 0, self._draft)
        self.late_tail.book(notice.at_ns - notice.liable_until_ns, nanos)
        tally = book.tally(line_item_of(notice))
        self._watch.spend((notice.campaign_id, tally.line_item_id, book.advertiser), nanos, made_ns)
        tally.spend(nanos, late=late)
        tally.wins += not self._bids.won(notice.bid_id)
        self._show(book, notice)
        others = " ".join(account.id for account, _ in charges[1:])
        self._keep(tally, notice, now_ns, amount_nanos=nanos, accounts=others)
        self._settle(notice, SettlementKind.POSTED, nanos)
        return None

    def _advertiser_of(self, campaign_id: str) -> str | None:
        """Empty where a campaign's advertiser is not known any more, None where the campaign is not this bank's."""
        book = self._books.get(campaign_id)
        return book.advertiser if book is not None else None

    def _charges(self, notice: Notice, now_ns: int) -> list[tuple[Account, int]]:
        """The accounts that a money event is booked on, the campaign's own first, with what each is charged."""
        accounts = self._chart.charged(notice.campaign_id, line_item_of(notice), bid_at_ns(notice), now_ns)
        return [
            (account, notice.cost_nanos if account.unit is Unit.MONEY else notice.impressions)
            for account in accounts
        ]

    def _count(self, book: CampaignBook, notice: Notice, now_ns: int) -> None:
        """A notice that books no spend: an impression, view, click; a win or billing for information."""
        kind = notice.kind
        spent = self._bids.spent(notice.bid_id)
        unbilled = not spent and kind is NoticeKind.CLICK
        tally = book.tally(line_item_of(notice))
        tally.unbilled += unbilled
        if kind is NoticeKind.IMPRESSION:
            tally.impressions += 1
            self._show(book, notice)
        elif kind is NoticeKind.CLICK:
            tally.clicks += 1
            self._creatives.count(notice, self._draft, clicks=1)
        elif kind is NoticeKind.VIEW:
            tally.views += 1
            self._creatives.count(notice, self._draft, views=1)
        else:
            tally.wins += not self._bids.won(notice.bid_id)
            if not spent:  # a billing in time says that it won, too
                self._settle(notice, SettlementKind.WON, 0)
        self._keep(tally, notice, now_ns, unbilled=unbilled)

    def _convert(self, book: CampaignBook, notice: Notice, now_ns: int) -> Rule | None:
        """A conversion that names its bid; the rule that refuses it, if one does."""
        advertiser_id = notice.advertiser_id or book.advertiser
        credit = self._attribution.credit(notice, advertiser_id, now_ns, self._draft)
        if isinstance(credit, Rule):
            return credit
        tally = book.tally(line_item_of(notice))
        tally.convert(notice.value_nanos, viewed=credit.kind is NoticeKind.IMPRESSION)
        unbilled = not self._bids.spent(notice.bid_id)
        tally.unbilled += unbilled
        self._keep(tally, notice, now_ns, unbilled=unbilled, credit=credit)
        return None

    def _attribute(self, booking: Booking) -> None:
        """Books a conversion that named its user; the bid book knows it already."""
        tally = self._books[booking.campaign_id].tally(booking.line_item_id)
        tally.convert(booking.value_nanos, viewed=booking.touch == NoticeKind.IMPRESSION)
        tally.unbilled += booking.unbilled
        self._write(booking, tally)

    def _void(self, notice: Notice) -> None:
        """A loss leaves no row: voiding twice is voiding once; a win that was heard of, or spend, outweighs it."""
        if not self._bids.won(notice.bid_id):
            self._bids.let_go(notice)
            self._settle(notice, SettlementKind.VOIDED, 0)

    def _show(self, book: CampaignBook, notice: Notice) -> None:
        """Counts a bid's impression once: for its creative, and for the caps of its user."""
        if self._bids.shown(notice.bid_id):
            return
        self._creatives.count(notice, self._draft, impressions=1)
        if notice.user and book.advertiser:
            self._draft.exposures.append(exposure_of(notice, book.advertiser))

    def _settle(self, notice: Notice, kind: SettlementKind, nanos: int) -> None:
        self._draft.settlements.append(settlement_of(notice, kind, nanos))

    def _keep(
        self,
        tally: Tally,
        notice: Notice,
        now_ns: int,
        *,
        amount_nanos: int = 0,
        unbilled: bool = False,
        accounts: str = "",
        credit: Credit | None = None,
    ) -> None:
        booking = booking_of(
            notice,
            now_ns,
            self.rules.keep_ns,
            tally.line_item_id,
            self._books[tally.campaign_id].advertiser,
            amount_nanos=amount_nanos,
            unbilled=unbilled,
            accounts=accounts,
            touch=(int(credit.kind), credit.at_ns) if credit is not None else (0, 0),
        )
        self._bids.remember(booking)
        self._attribution.remember(booking)
        self._write(booking, tally)

    def _write(self, booking: Booking, tally: Tally) -> None:
        self._draft.bookings.append(booking)
        self._draft.tallies[tally.campaign_id, tally.line_item_id] = tally

    def _refuse(self, book: CampaignBook | None, rule: Rule) -> None:
        refusals = self._refusals_of(book)
        refusals[rule.value] = refusals.get(rule.value, 0) + 1
        self._draft.refusals[book.id if book else "", rule.value] = refusals[rule.value]

    def _refusals_of(self, book: CampaignBook | None) -> dict[str, int]:
        return self._unknown if book is None else book.refused

    def _close(self) -> Effects:
        draft, self._draft = self._draft, Draft()
        self._lines.note(draft.tallies)
        self._leasing.changed(draft.touched)
        return draft.close()
