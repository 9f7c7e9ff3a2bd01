"""The bank: the only owner of budgets. A pure state machine, `Effects` out for each step.

Inputs: `Notice` and `SliceReport` messages, changed campaigns, and ticks. Outputs: `Settlement` and `Lease`
messages and the rows to keep. Whoever runs it writes the rows and the consumed offsets in one transaction,
then publishes the messages (`runtime.bank`).

| part | knows |
|---|---|
| `core.account` | the money of one campaign, and the rule that it must keep, stated exactly |
| `core.bidbook` | what each bid has had, and the rules by which notices are refused |
| `core.leasing` | seats, epochs, chunks, renewal, and when money comes back |

Each bid's money event books once, by bid id, whichever URL or kind repeats: BILLING, or WIN where
`money_event` says so. It books only a price > 0 that is at most the cap in the token. One that came after its
reservation's own end is still owed: it is booked, flagged `late` and counted. What is not taken is counted by
rule; nothing is dropped silently. OpenRTB 2.6 implementation guide, section 7.8.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bidder.core.account import Account
from bidder.core.bankrules import BankRules, Rule
from bidder.core.bidbook import BidBook
from bidder.core.bookings import AccountRow, BankState, Booking
from bidder.core.campaigns import Campaign
from bidder.core.effects import Draft, Effects
from bidder.core.leasing import Leasing
from bidder.core.messages import (
    CampaignChange,
    Lease,
    Notice,
    NoticeKind,
    Settlement,
    SettlementKind,
    SliceReport,
)
from bidder.money import MAX_NANOS


class CampaignReport(msgspec.Struct, frozen=True, kw_only=True):
    """The books of one campaign.

    `leased_nanos` is granted and still open, `late_nanos` the spend that came after its reservation's end,
    `uncovered_nanos` the spend for which no grant had room, `unbilled` clicks and conversions of bids without
    spend, `refused` notices not taken, by rule.
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
    refused: dict[str, int]


class Bank:
    """Budgets, leases and bookings of all campaigns.

    Args:
        rules: what to go by.
        campaigns: all campaigns by id.
        state: what was kept; empty at the very first start. Starting is recovering.

    Raises:
        InvariantError: by every method, where the books stop adding up; the process must stop.
    """

    def __init__(
        self, rules: BankRules, campaigns: Mapping[str, Campaign], state: BankState | None = None
    ) -> None:
        state = state or BankState()
        self.rules = rules
        self._bids = BidBook(rules)
        self._unknown: dict[str, int] = {}
        self._accounts = _recover_accounts(campaigns, state)
        for refusal in state.refusals:
            self._refusals_of(self._accounts.get(refusal.campaign_id))[refusal.rule] = refusal.times
        for booking in state.bookings:
            self._bids.remember(booking)
        self._leasing = Leasing(rules, self._accounts, state.seats)
        self._draft = Draft()
        self.check()

    def apply(
        self, messages: Sequence[Notice | SliceReport], now_ns: int, *, redelivered: bool = False
    ) -> Effects:
        """Takes messages in order; a batch may be split anywhere without a difference.

        `redelivered` says that these were consumed before: what they did is known by their ids, and what is
        refused among them is not counted again.
        """
        for message in messages:
            if isinstance(message, Notice):
                self._take_notice(message, now_ns, quiet=redelivered)
            else:
                self._leasing.take(message, now_ns, self._draft)
        return self._close()

    def adopt(self, changes: Iterable[CampaignChange]) -> Effects:
        """Takes changed campaigns; leases with new budgets follow on the next tick."""
        for change in changes:
            account = self._accounts.get(change.campaign_id)
            if account is None:
                account = Account(AccountRow(change.campaign_id), change.campaign)
                self._accounts[account.id] = account
            else:
                account.adopt(change.campaign)
            self._draft.moved[account.id] = account
        self._leasing.look_again()
        return self._close()

    def tick(self, now_ns: int, seen_until_ns: int | None = None, *, free: bool = True) -> Effects:
        """Frees what can no longer be posted, then tops up and renews the leases of seats that reported.

        Args:
            now_ns: the time now.
            seen_until_ns: all notices up to this time have been applied; by default `now_ns`. While the bank
                lags behind its topic nothing is freed that a waiting notice might still post, and leases last
                only from then: a seat must not bid again what such a notice is about to spend.
            free: whether money may come back at all.
        """
        seen_ns = now_ns if seen_until_ns is None else min(now_ns, seen_until_ns)
        self._bids.evict(now_ns)
        if free:
            self._leasing.free(seen_ns, self._draft)
        self._leasing.serve(now_ns, seen_ns, self._draft)
        return self._close()

    def count_malformed(self, messages: int) -> Effects:
        """Counts messages that could not be read."""
        for _ in range(messages):
            self._refuse(None, Rule.MALFORMED)
        return self._close()

    def live_leases(self, now_ns: int) -> tuple[Lease, ...]:
        """Every lease of a current epoch that may still be bid on, to be told again after a start."""
        return self._leasing.live(now_ns)

    def report(self) -> list[CampaignReport]:
        """The books by campaign, in the order of their ids."""
        return [_report(account) for _, account in sorted(self._accounts.items())]

    def refused(self) -> dict[str, int]:
        """Refused notices by rule, over all campaigns and those of unknown ones."""
        totals = dict(self._unknown)
        for account in self._accounts.values():
            for rule, times in account.refused.items():
                totals[rule] = totals.get(rule, 0) + times
        return totals

    def check(self) -> None:
        """Raises `InvariantError` where the books of any campaign do not add up."""
        for account in self._accounts.values():
            account.check()

    def _take_notice(self, notice: Notice, now_ns: int, *, quiet: bool) -> None:
        account = self._accounts.get(notice.campaign_id)
        if account is None:
            rule: Rule | None = Rule.UNKNOWN_CAMPAIGN
        else:
            rule = self._bids.verdict(notice, now_ns) or self._overflow(account, notice)
        if account is None or rule is not None:
            if not quiet and rule is not None:
                self._refuse(account, rule)
        elif notice.kind is self._bids.money_kind:
            self._post(account, notice, now_ns)
        elif notice.kind is NoticeKind.LOSS:
            self._void(notice)
        else:
            self._count(account, notice, now_ns)

    def _overflow(self, account: Account, notice: Notice) -> Rule | None:
        """Refuses spend that would take a campaign's books past the largest amount that there is."""
        spends = notice.kind is self._bids.money_kind
        return Rule.BAD_VALUE if spends and account.booked_nanos + notice.price_nanos > MAX_NANOS else None

    def _post(self, account: Account, notice: Notice, now_ns: int) -> None:
        """The money event: books the price and tells the seat."""
        grant = account.grants.get((notice.seat, notice.epoch))
        account.book(notice.price_nanos, grant, late=_late(notice))
        if grant is not None:
            self._draft.move(account, grant)
        account.wins += not self._bids.won(notice.bid_id)
        self._keep(account, notice, now_ns, amount_nanos=notice.price_nanos)
        self._settle(notice, SettlementKind.POSTED, notice.price_nanos)

    def _count(self, account: Account, notice: Notice, now_ns: int) -> None:
        """A notice that books no spend: an impression, click, conversion, or a win or billing for information."""
        kind = notice.kind
        spent = self._bids.spent(notice.bid_id)
        unbilled = not spent and kind in {NoticeKind.CLICK, NoticeKind.CONVERSION}
        account.unbilled += unbilled
        if kind is NoticeKind.IMPRESSION:
            account.impressions += 1
        elif kind is NoticeKind.CLICK:
            account.clicks += 1
        elif kind is NoticeKind.CONVERSION:
            account.convert(notice.value_nanos)
        else:
            account.wins += not self._bids.won(notice.bid_id)
            if kind is NoticeKind.WIN and not spent:
                self._settle(notice, SettlementKind.WON, 0)
        self._keep(account, notice, now_ns, unbilled=unbilled)

    def _void(self, notice: Notice) -> None:
        """A loss leaves no row: voiding twice is voiding once, and only booked spend outweighs it."""
        if not self._bids.spent(notice.bid_id):
            self._settle(notice, SettlementKind.VOIDED, 0)

    def _settle(self, notice: Notice, kind: SettlementKind, amount_nanos: int) -> None:
        self._draft.settlements.append(
            Settlement(
                kind=kind,
                seat=notice.seat,
                epoch=notice.epoch,
                bid_id=notice.bid_id,
                campaign_id=notice.campaign_id,
                amount_nanos=amount_nanos,
                late=_late(notice),
            )
        )

    def _keep(
        self, account: Account, notice: Notice, now_ns: int, *, amount_nanos: int = 0, unbilled: bool = False
    ) -> None:
        booking = Booking(
            notice.bid_id,
            int(notice.kind),
            notice.event_id if notice.kind is NoticeKind.CONVERSION else "",
            notice.campaign_id,
            notice.seat,
            notice.epoch,
            notice.price_nanos,
            amount_nanos,
            notice.value_nanos,
            notice.at_ns,
            now_ns,
            _late(notice),
            unbilled,
            notice.liable_until_ns + self.rules.keep_ns,
        )
        self._bids.remember(booking)
        self._draft.bookings.append(booking)
        self._draft.counted[account.id] = account

    def _refuse(self, account: Account | None, rule: Rule) -> None:
        refusals = self._refusals_of(account)
        refusals[rule.value] = refusals.get(rule.value, 0) + 1
        self._draft.refusals[account.id if account else "", rule.value] = refusals[rule.value]

    def _refusals_of(self, account: Account | None) -> dict[str, int]:
        return self._unknown if account is None else account.refused

    def _close(self) -> Effects:
        draft, self._draft = self._draft, Draft()
        return draft.close()


def _late(notice: Notice) -> bool:
    return notice.at_ns > notice.liable_until_ns


def _recover_accounts(campaigns: Mapping[str, Campaign], state: BankState) -> dict[str, Account]:
    """Accounts in the order of their ids, with their grants."""
    grants = tuple(state.grants)
    rows = {row.campaign_id: AccountRow(row.campaign_id) for row in grants}
    rows |= {row.campaign_id: row for row in state.accounts}
    accounts = {
        campaign_id: Account(rows.get(campaign_id) or AccountRow(campaign_id), campaigns.get(campaign_id))
        for campaign_id in sorted({*campaigns, *rows})
    }
    for row in grants:
        accounts[row.campaign_id].restore(row)
    return accounts


def _report(account: Account) -> CampaignReport:
    return CampaignReport(
        id=account.id,
        budget_nanos=account.budget_nanos,
        spend_nanos=account.booked_nanos,
        leased_nanos=account.outstanding_nanos,
        late_nanos=account.late_nanos,
        uncovered_nanos=account.uncovered_nanos,
        wins=account.wins,
        impressions=account.impressions,
        clicks=account.clicks,
        conversions=account.conversions,
        value_nanos=account.value_nanos,
        late_wins=account.late_wins,
        unbilled=account.unbilled,
        refused=dict(sorted(account.refused.items())),
    )
