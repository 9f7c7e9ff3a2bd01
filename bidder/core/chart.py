"""Which accounts there are, who charges to them, and when days open and close.

| an account of a day | when |
|---|---|
| is opened | so early before its day begins that seats hold its leases at midnight |
| is closed | at the end of its day: its limit stays as it was, its leases end and come back |
| is offered to seats no more | once none of them holds a grant of it |
| is forgotten here | once no notice of its bids is taken any more; its row stays in the store |
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from bidder.core.account import Account
from bidder.core.bankrules import BankRules
from bidder.core.bookings import AccountRow, GrantRow
from bidder.core.budgets import (
    FOREVER_NS,
    Budget,
    DailyBudget,
    Day,
    Unit,
    advertiser_of,
    daily_budgets,
    day_of,
    standing_budgets,
    zone_is_known,
)
from bidder.core.campaigns import Advertiser, Campaign, LineItem
from bidder.core.effects import Draft
from bidder.core.lines import Line, line_of

_NO_DAY = Day(0, 0, 0)


class Payer:
    """One line item and what it charges: standing accounts, and accounts of a day.

    Attributes:
        key: campaign and line item; the campaign's id for both where it is its own.
        standing: the accounts that do not change with the day, the money of the campaign's flight first.
        joined: accounts that hold its limit, by id: the standing ones, and those of days that are not over.
    """

    __slots__ = ("_day", "_on_day", "budgets", "daily", "joined", "key", "line", "standing", "zone")

    def __init__(self, line: Line) -> None:
        # Whose days cannot be told has no limit of a day that could be kept.
        known = zone_is_known(line.advertiser)
        self.line = line if known else msgspec.structs.replace(line, active=False)
        self.key = (line.campaign.id, line.id)
        self.zone = line.advertiser.time_zone
        self.budgets = standing_budgets(line.campaign, line.item, line.advertiser)
        self.daily = daily_budgets(line.campaign, line.item, line.advertiser)
        self.standing: tuple[Account, ...] = ()
        self.joined: dict[str, Account] = {}
        self._day = _NO_DAY
        self._on_day: tuple[Account, ...] = ()

    def join(self, account: Account, limit: int) -> None:
        """States a limit of an account; the account is to be restated after that."""
        account.lines[self.key] = (self.line, limit)
        self.joined[account.id] = account

    def leave(self) -> dict[str, Account]:
        """States nothing any more; gives the accounts by id, which are to be restated."""
        for account in self.joined.values():
            account.lines.pop(self.key, None)
        return self.joined

    def known(self, at_ns: int) -> tuple[Account, ...] | None:
        """What a bid of that time charges, where that was asked for of the same day before."""
        if not self.daily:
            return self.standing
        return self._on_day if self._day.begin_ns <= at_ns < self._day.end_ns else None

    def remember(self, day: Day, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
        """Keeps what the bids of a day charge."""
        self._day, self._on_day = day, accounts
        return accounts

    def in_flight(self, day: Day) -> bool:
        """Whether it may bid on some part of a day."""
        return self.line.active and any(
            flight.start_ns < day.end_ns and day.begin_ns < flight.end_ns for flight in self.line.flights
        )


class Chart:
    """All accounts of the bank.

    Args:
        rules: how early days open, how long notices are taken.
        campaigns: all campaigns by id.
        advertisers: those that are stated, by id.
        accounts: accounts as they were kept.
        grants: grants as they were kept.

    Attributes:
        accounts: by id, all on which something may still be booked.
        offered: those of them that seats may hold grants of.
    """

    def __init__(
        self,
        rules: BankRules,
        campaigns: Mapping[str, Campaign],
        advertisers: Mapping[str, Advertiser],
        accounts: Iterable[AccountRow] = (),
        grants: Iterable[GrantRow] = (),
    ) -> None:
        self._rules = rules
        self._campaigns = dict(campaigns)
        self._advertisers = dict(advertisers)
        self._payers: dict[str, dict[str, Payer]] = {}
        self._whole: dict[str, Payer] = {}
        self._ends: list[tuple[int, str]] = []
        self._due_ns = 0
        self.accounts: dict[str, Account] = {}
        self.offered: dict[str, Account] = {}
        self._recover(accounts, tuple(grants))

    def adopt_campaign(self, campaign_id: str, campaign: Campaign | None, draft: Draft) -> None:
        """Takes a changed campaign, or that it was removed: it allows nothing then."""
        left = self._detach([campaign_id])
        if campaign is None:
            self._campaigns.pop(campaign_id, None)
            self.flight(campaign_id)
        else:
            self._campaigns[campaign_id] = campaign
            self._attach([campaign], left)
        self._restate(left, draft)

    def adopt_advertiser(self, advertiser_id: str, advertiser: Advertiser | None, draft: Draft) -> None:
        """Takes a changed advertiser, for all its campaigns; None states nothing of it any more."""
        if advertiser is None:
            self._advertisers.pop(advertiser_id, None)
        else:
            self._advertisers[advertiser_id] = advertiser
        theirs = [each for each in self._campaigns.values() if each.advertiser == advertiser_id]
        left = self._detach([campaign.id for campaign in theirs])
        self._attach(theirs, left)
        self._restate(left, draft)

    def roll(self, now_ns: int, draft: Draft) -> bool:
        """Closes the days that are over and opens those that begin soon; whether it opened any."""
        while self._ends and self._ends[0][0] <= now_ns:
            _, account_id = heapq.heappop(self._ends)
            account = self.accounts.get(account_id)
            if account is not None:
                self._end(account, now_ns, draft)
        if now_ns < self._due_ns:
            return False
        self._open_days(now_ns, draft)
        return True

    def flight(self, campaign_id: str) -> Account:
        """The money of a campaign's flight, which is always kept."""
        campaign = self._campaigns.get(campaign_id)
        whose = campaign.advertiser if campaign is not None else ""
        return self._standing(Budget(campaign_id, Unit.MONEY, 0, 0, FOREVER_NS, whose))

    def lines(self) -> Iterator[Line]:
        """All line items, resolved."""
        return (payer.line for payers in self._payers.values() for payer in payers.values())

    def charged(
        self, campaign_id: str, line_item_id: str, bid_at_ns: int, now_ns: int
    ) -> tuple[Account, ...]:
        """The accounts that a bid charges, the money of its campaign's flight first.

        Of a campaign that was removed that one alone; of a line item that is not in its campaign any more those of
        campaign and advertiser.
        """
        payer = self._payers.get(campaign_id, {}).get(line_item_id) or self._whole.get(campaign_id)
        if payer is None:
            return (self.flight(campaign_id),)
        known = payer.known(bid_at_ns)
        if known is not None:
            return known
        day = day_of(payer.zone, bid_at_ns)
        on_day = (self._of_day(payer, daily, day, now_ns) for daily in payer.daily)
        return payer.remember(day, payer.standing + tuple(each for each in on_day if each is not None))

    # -- accounts -------------------------------------------------------------------------------------------

    def _recover(self, rows: Iterable[AccountRow], grants: tuple[GrantRow, ...]) -> None:
        known = {grant.account_id: AccountRow(grant.account_id) for grant in grants}
        known |= {row.account_id: row for row in rows}
        for _, row in sorted(known.items()):
            account = Account(row)
            account.written = row
            if account.daily:  # it was written by the settings of its time
                account.keep_until_ns = max(account.keep_until_ns, self._keep_until_ns(account.end_ns))
            self._keep(account)
        for grant in grants:
            self.accounts[grant.account_id].restore(grant)
        stated = {account.id: account for account in self.accounts.values() if not account.daily}
        self._attach([campaign for _, campaign in sorted(self._campaigns.items())], stated)
        for account in stated.values():
            account.restate()

    def _keep(self, account: Account) -> Account:
        self.accounts[account.id] = self.offered[account.id] = account
        if account.daily:
            heapq.heappush(self._ends, (account.end_ns, account.id))
        return account

    def _standing(self, budget: Budget) -> Account:
        return self._found(budget) or self._keep(Account.opened(budget, FOREVER_NS))

    def _daily(self, budget: Budget) -> Account:
        return self._found(budget) or self._keep(Account.opened(budget, self._keep_until_ns(budget.end_ns)))

    def _found(self, budget: Budget) -> Account | None:
        found = self.accounts.get(budget.account_id)
        if found is not None and budget.advertiser_id:
            found.advertiser_id = budget.advertiser_id
        return found

    def _of_day(self, payer: Payer, daily: DailyBudget, day: Day, now_ns: int) -> Account | None:
        """The account of a day that a bid charges: None where it was forgotten, and must not begin anew."""
        budget = daily.on(day)
        known = self.accounts.get(budget.account_id)
        if known is not None or self._keep_until_ns(day.end_ns) < now_ns:
            return known
        account = self._daily(budget)
        if day.end_ns > now_ns:
            payer.join(account, budget.limit)
            account.restate()
        return account

    def _keep_until_ns(self, end_ns: int) -> int:
        """Until when the notices of a day's bids are taken."""
        return end_ns + self._rules.longest_reservation_ns + self._rules.keep_ns

    # -- line items -----------------------------------------------------------------------------------------

    def _detach(self, campaign_ids: Iterable[str]) -> dict[str, Account]:
        """Takes campaigns' line items from their accounts, and gives these, to be restated."""
        left: dict[str, Account] = {}
        for campaign_id in campaign_ids:
            self._whole.pop(campaign_id, None)
            for payer in self._payers.pop(campaign_id, {}).values():
                left |= payer.leave()
        return left

    def _attach(self, campaigns: Iterable[Campaign], left: dict[str, Account]) -> None:
        """Makes campaigns' line items charge their accounts, which are added to `left`.

        The accounts of days that were left go on where they are still stated; others are opened with the next
        `roll`.
        """
        open_days: dict[str, list[Account]] = {}
        for account in left.values():
            if account.daily:
                open_days.setdefault(account.id.rpartition("/")[0], []).append(account)
        for campaign in campaigns:
            advertiser = advertiser_of(campaign, self._advertisers)
            payers = self._payers[campaign.id] = {}
            for item in campaign.line_items or (None,):
                payer = Payer(self._line(campaign, item, advertiser))
                payers[payer.key[1]] = payer
                self._join_standing(payer, left)
                for daily in payer.daily:
                    for account in open_days.get(daily.name, ()):
                        payer.join(account, daily.limit)
            self._whole[campaign.id] = self._unjoined(Payer(self._line(campaign, None, advertiser)))

    def _line(self, campaign: Campaign, item: LineItem | None, advertiser: Advertiser) -> Line:
        """A line item whose bids cost what they cost at the exchange that bills the most."""
        line = line_of(campaign, item, advertiser)
        return msgspec.structs.replace(line, fee_ppm=line.fee_ppm + self._rules.discrepancy_ppm)

    def _join_standing(self, payer: Payer, left: dict[str, Account]) -> None:
        self._unjoined(payer)
        for account, budget in zip(payer.standing, payer.budgets, strict=True):
            account.begin_ns, account.end_ns = budget.begin_ns, budget.end_ns
            payer.join(account, budget.limit)
            left[account.id] = account

    def _unjoined(self, payer: Payer) -> Payer:
        payer.standing = tuple(self._standing(budget) for budget in payer.budgets)
        return payer

    def _restate(self, accounts: Mapping[str, Account], draft: Draft) -> None:
        for account in accounts.values():
            account.restate()
            draft.touch(account)
        self._due_ns = 0

    # -- days -----------------------------------------------------------------------------------------------

    def _open_days(self, now_ns: int, draft: Draft) -> None:
        """Opens the accounts of the days that are now or begin within one lease, and says when to look again."""
        until_ns = now_ns + self._rules.lease_ns
        zones: dict[str, list[Day]] = {}
        opened: dict[str, Account] = {}
        for payer in (payer for payers in self._payers.values() for payer in payers.values() if payer.daily):
            if payer.zone not in zones:
                zones[payer.zone] = _days_from(payer.zone, now_ns, until_ns)
            for day in filter(payer.in_flight, zones[payer.zone]):
                for daily in payer.daily:
                    account = self._daily(daily.on(day))
                    # Another time zone moves the day.
                    account.begin_ns, account.end_ns = day.begin_ns, day.end_ns
                    account.keep_until_ns = max(account.keep_until_ns, self._keep_until_ns(day.end_ns))
                    payer.join(account, daily.limit)
                    opened[account.id] = account
        for account in opened.values():
            account.restate()
            draft.touch(account)
        self._due_ns = min((days[-1].end_ns for days in zones.values()), default=FOREVER_NS)
        self._due_ns -= self._rules.lease_ns

    def _end(self, account: Account, now_ns: int, draft: Draft) -> None:
        """Closes a day that is over; forgets it once nothing holds it any more."""
        if account.end_ns > now_ns:
            heapq.heappush(self._ends, (account.end_ns, account.id))
            return
        if not account.closed:
            self._close(account)
        for grant in [grant for grant in account.grants.values() if grant.freed]:
            account.drop(grant)
            draft.drop(account, grant)
        if account.grants:
            heapq.heappush(self._ends, (now_ns + self._rules.lease_ns, account.id))
            return
        self.offered.pop(account.id, None)
        if account.keep_until_ns < now_ns:
            del self.accounts[account.id]
        else:
            heapq.heappush(self._ends, (account.keep_until_ns + 1, account.id))

    def _close(self, account: Account) -> None:
        """What was stated of a day that is over stays as it was."""
        account.closed = True
        for campaign_id, line_item_id in account.lines:
            payer = self._payers.get(campaign_id, {}).get(line_item_id)
            if payer is not None:
                payer.joined.pop(account.id, None)
        account.lines.clear()


def _days_from(zone: str, now_ns: int, until_ns: int) -> list[Day]:
    """The local days from that of one instant to that of another."""
    days = [day_of(zone, now_ns)]
    while days[-1].end_ns <= until_ns:
        days.append(day_of(zone, days[-1].end_ns))
    return days
