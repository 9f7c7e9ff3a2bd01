"""A seat's money: what it was leased, what its bids have set aside, and which budgets each line item is charged to.

The amounts live in `core.purse`; here is who owes them. A line item's *chain* are its budgets of all levels on the
day of the bid (`core.budgets`), so the chains of line items with daily budgets change at the end of their day.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.budgets import FOREVER_NS, day_of
from bidder.core.charges import AccountKeys, Charge, Charges
from bidder.core.columnar_kernels import spend_all
from bidder.core.decision_columns import O_AMOUNT, O_LINE
from bidder.core.messages import Lease, Settlement, SettlementKind, SettlementRow, Settlements, SliceRow
from bidder.core.pacing import Pacer
from bidder.core.purse import Purse, Result, Unit
from bidder.core.purse_kernels import agree
from bidder.core.table import LineTable
from bidder.core.token import bid_id_bytes

_MARK_BITS = 48
"""A bid's tag: below, what the caps know it by; above, the index of its exchange and 1, as 0 is an unknown bid."""
_MARK = (1 << _MARK_BITS) - 1
_DAY_NS = 86_400_000_000_000
_DAYS_KEPT = 3
"""Days after which one is over in every time zone, and nearly nothing of it is told any more."""


class Heard(NamedTuple):
    """How long after its bid a win was heard of, of which exchange; whether for the first time, or as billing."""

    exchange: int
    first: bool
    billed: bool
    delay_ns: int


class Settled(NamedTuple):
    """What settling came to: marks of bids that won, that were shown and that were freed; wins that were heard of.

    `late` is how many posts came after their reservation. `spent` has for each new post the row of its line item, its
    nanos and when it was bid, 0 where that is not said.
    """

    won_tags: list[int]
    posted_tags: list[int]
    freed_tags: list[int]
    heard: list[Heard]
    late: int
    spent: list[tuple[int, int, int]]


def tag_of(mark: int, exchange: int) -> int:
    """The tag of a bid: what the caps know it by, and the index of its exchange."""
    return mark | (exchange + 1) << _MARK_BITS


class Wallet:
    """Leases, chains and reservations of one seat and epoch.

    Args:
        keep_ns: how long ended reservations are remembered.

    Attributes:
        purse: the amounts. available: int64[accounts], the kernel's own view of what is free.
        lease_until: int64[accounts]. offered: int64[accounts], all that was bid so far; the kernel raises it.
        chains: int32[lines] of the table. paces: pacing groups. since_ns: int64[groups], from when on bids were
            charged to a group's account, 0 where it is not of a day.
        budgets, shares, spent: int64[groups], for pacing: whole budget, this seat's part of it, spend of all seats.
    """

    def __init__(self, keep_ns: int) -> None:
        self.purse = Purse(keep_ns)
        self.leases: dict[str, Lease] = {}
        self._heard_ns: int | None = None
        self._heard: dict[int, int] = {}
        self._shards = 1
        self._leased: list[str] = []
        self._leased_numbers: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._told: NDArray[np.int64] = np.zeros((0, 4), dtype=np.int64)
        self.available: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.lease_until: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.offered: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._next_day_ns = FOREVER_NS
        self._ids: tuple[str, ...] = ()
        self._charges: list[Charge] = []
        self._daily: list[int] = []
        self._daily_rows: frozenset[int] = frozenset()
        self.chains: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._swept_day = -1
        self._chains: dict[str, int] = {}
        self._chain_of_keys: dict[AccountKeys, int] = {}
        self._group_accounts: list[int] = []
        self._group_rows: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._groups_of: dict[str, list[int]] = {}

    # -- budgets of line items ------------------------------------------------------------------------------

    def open(self, charges: Charges, begin: int, end: int, now_ns: int) -> None:
        """Opens the accounts of some rows of a table before it is installed, which then has them to look up only."""
        for charge in charges.lines[begin:end]:
            self._chain(charge.on(now_ns)[0])
        self._grow()
        self.sync()

    def install(self, table: LineTable, charges: Charges, now_ns: int) -> None:
        """Opens the accounts of a table's line items.

        Args:
            table: the line items. charges: their budgets; its groups pace them. now_ns: the day of daily budgets.
        """
        self._ids = table.ids
        self._charges = charges.lines
        self.paces = charges.paces
        self._daily = charges.daily
        self._daily_rows = frozenset(charges.daily)
        self._next_day_ns = FOREVER_NS
        chains = [self._charge(charge, now_ns) for charge in charges.lines]
        self.chains = np.array(chains, dtype=np.int32)
        self._chains.update(zip(table.ids, chains, strict=True))
        self._pace(now_ns)
        self.sync()

    def _pace(self, now_ns: int) -> None:
        """Opens the accounts that multipliers are for, those of the day among them."""
        groups = self.paces.groups
        names = [group.account_on(now_ns) for group in groups]
        self._group_accounts = [
            self.purse.account(name, Unit(group.unit)) for name, group in zip(names, groups, strict=True)
        ]
        self._group_rows = np.array(self._group_accounts, dtype=np.int64)
        self.budgets: NDArray[np.int64] = np.zeros(len(groups), dtype=np.int64)
        self.shares: NDArray[np.int64] = np.zeros(len(groups), dtype=np.int64)
        self.spent: NDArray[np.int64] = np.zeros(len(groups), dtype=np.int64)
        begins = [day_of(group.zone, now_ns).begin_ns if group.daily else 0 for group in groups]
        self.since_ns: NDArray[np.int64] = np.array(begins, dtype=np.int64)
        self._groups_of = {}
        for number, name in enumerate(names):
            self._groups_of.setdefault(name, []).append(number)
        self._grow()
        for lease in self.leases.values():
            self._learn(lease)

    def _charge(self, charge: Charge, now_ns: int) -> int:
        """The chain of a line item on the day of `now_ns`; notes when that day ends."""
        keys, end_ns = charge.on(now_ns)
        if end_ns:
            self._next_day_ns = min(self._next_day_ns, end_ns)
        return self._chain(keys)

    def _chain(self, keys: AccountKeys) -> int:
        chain = self._chain_of_keys.get(keys)
        if chain is None:
            accounts = tuple([self.purse.account(account_id, Unit(unit)) for account_id, unit in keys])
            chain = self._chain_of_keys[keys] = self.purse.chain(accounts)
        return chain

    def turn(self, now_ns: int) -> bool:
        """Goes on to the next day's budgets where a day has ended, and says whether one has."""
        if now_ns < self._next_day_ns:
            return False
        self._next_day_ns = FOREVER_NS
        for row in self._daily:
            self.chains[row] = self._chains[self._ids[row]] = self._charge(self._charges[row], now_ns)
        self._pace(now_ns)
        self.sync()
        return True

    def _grow(self) -> None:
        """Makes room for accounts that were opened, and for as many again: they are opened one by one."""
        accounts, room = len(self.purse.available), len(self.lease_until)
        if accounts > room:
            more = np.zeros(2 * accounts - room, dtype=np.int64)
            self.lease_until = np.append(self.lease_until, more)
            self.offered = np.append(self.offered, more)

    def sync(self) -> None:
        """Lets the kernel see what is free now."""
        free = self.purse.available
        if len(free) == len(self.available):
            self.available[:] = free
        else:
            self.available = free.copy()

    def reserve(
        self,
        ids: NDArray[np.uint8],
        out: NDArray[np.int64],
        quantities: NDArray[np.int64],
        tags: Sequence[int],
        result_ns: NDArray[np.int64],
        liable_ns: Sequence[int],
    ) -> None:
        """Sets the money of bids aside, of which the kernel has seen that it is there.

        Args:
            ids: uint8[n, 12]. out: int64[n, 7], by O_ column. quantities: int64[n], millionths. tags: of their caps.
            result_ns, liable_ns: until when each waits for its result, and once won for its billing.
        """
        chains = self.chains[out[:, O_LINE]]
        self.purse.reserve_rows(
            ids,
            chains,
            out[:, O_AMOUNT].copy(),
            quantities.copy(),
            np.array(tags, dtype=np.uint64),
            result_ns,
            np.array(liable_ns, dtype=np.int64),
        )
        # Pair assertion: the kernel's view of what is left and the purse's own must agree after every batch.
        assert self.agrees(chains), "kernel and purse disagree"

    def agrees(self, chains: NDArray[np.int32] | None = None) -> bool:
        """Whether the kernel's view of what is free, in these chains or at all, and the purse's own are the same."""
        purse = self.purse
        if chains is None:
            return np.array_equal(self.available, purse.available)
        return bool(agree(chains, purse.chain_start, purse.chain_accounts, self.available, purse.available))

    # -- leases ---------------------------------------------------------------------------------------------

    def lease(self, lease: Lease) -> None:
        """Takes a lease; one of the past changes nothing: money that a later one took back is not given again."""
        held = self.leases.get(lease.account_id)
        if held is not None and lease.bid_until_ns < held.bid_until_ns:
            return
        if lease.held and self._heard_ns is None:
            self._heard_ns = 0
        account = self.purse.account(lease.account_id, _unit_of(lease.account_id))
        self._grow()
        if held is not None and lease.bid_until_ns > held.bid_until_ns:
            self.purse.lower(account, lease.granted_nanos)
        self.purse.grant(account, lease.granted_nanos)
        self.leases[lease.account_id] = lease
        self.lease_until[account] = lease.bid_until_ns
        self._learn(lease)

    def _learn(self, lease: Lease) -> None:
        """What pacing needs of a lease."""
        for group in self._groups_of.get(lease.account_id, ()):
            self.budgets[group] = lease.budget_nanos
            self.shares[group] = lease.budget_nanos // max(lease.seats, 1)
            self.spent[group] = max(lease.spent_nanos, self.purse.posted(self._group_accounts[group]))

    def books_of(self, group: int) -> tuple[int, int, int, int]:
        """Granted, reserved, posted and late nanos of the budget of a pacing group."""
        granted, reserved, posted, late = self.purse.books[self._group_accounts[group]].tolist()
        return granted, reserved, posted, late

    def group_books(self) -> NDArray[np.int64]:
        """Reserved, posted and bid nanos of the budget of each pacing group, int64[groups, 3]."""
        books = self.purse.books[self._group_rows, 1:]
        books[:, 2] = self.offered[self._group_rows]
        return books

    def rows(self, now_ns: int, *, whole: bool) -> tuple[bool, tuple[SliceRow, ...]]:
        """Whether these are all, and how leased accounts stand: all, or those that changed since they were told.

        With all of them, leases of days that are over are forgotten once nothing waits on them, and once a day the
        accounts of days that are over wherever on Earth they were.
        """
        if whole:
            self._forget_days(now_ns)
            if now_ns // _DAY_NS != self._swept_day:
                self._swept_day = now_ns // _DAY_NS
                self._forget_accounts(self._swept_day - _DAYS_KEPT)
        if len(self._leased) != len(self.leases):
            self._leased = list(self.leases)
            numbers = [self.purse.account(account_id, _unit_of(account_id)) for account_id in self._leased]
            self._leased_numbers = np.array(numbers, dtype=np.int64)
            whole = True
        books = self.purse.books[self._leased_numbers]
        if whole:
            changed = list(range(len(books)))
            rows = books.tolist()
        else:
            places = np.flatnonzero((books != self._told).any(axis=1))
            changed, rows = places.tolist(), books[places].tolist()
        self._told = books
        leased = self._leased
        return whole, tuple(
            SliceRow(leased[place], granted, reserved, posted)
            for place, (granted, reserved, posted, _) in zip(changed, rows, strict=True)
        )

    def _forget_days(self, now_ns: int) -> None:
        over = [name for name, lease in self.leases.items() if "/d" in name and lease.bid_until_ns < now_ns]
        for name in over:
            if not self.purse.reserved(self.purse.account(name, _unit_of(name))):
                del self.leases[name]
                self._leased = []

    def _forget_accounts(self, before: int) -> None:
        """Ends the accounts of days before one, and what of chains is about them.

        Those that stand are kept: a line item that comes back is leased what it was granted before, too, and what
        it spent of that must be known.
        """
        purse = self.purse
        now = set(self.chains.tolist())
        held = {name for keys, chain in self._chain_of_keys.items() if chain in now for name, _ in keys}
        old = [
            name
            for name in purse.account_keys()
            if -1 < _day_number(name) < before
            and name not in self.leases
            and name not in held
            and not purse.reserved(purse.account(name, _unit_of(name)))
        ]
        if not old:
            return
        accounts, ended = purse.forget(old)
        gone = set(ended)
        self.lease_until[accounts] = 0
        self.offered[accounts] = 0
        self._chain_of_keys = {
            keys: chain for keys, chain in self._chain_of_keys.items() if chain not in gone
        }
        self._chains = {line: chain for line, chain in self._chains.items() if chain not in gone}
        self.sync()

    # -- settling -------------------------------------------------------------------------------------------

    def settle(
        self, rows: Sequence[Settlement | SettlementRow], index: dict[str, int], pacer: Pacer, now_ns: int
    ) -> Settled:
        """Takes over what the bank booked, in order.

        Args:
            rows: of this seat and epoch. index: rows of the table by line item. now_ns: the time.
            pacer: hears of spend, and of what is under way no more.
        """
        count = len(rows)
        ids = np.frombuffer(b"".join([bid_id_bytes(row.bid_id) for row in rows]), dtype=np.uint8)
        kinds = np.array([row.kind for row in rows], dtype=np.uint8)
        amounts = np.array([row.amount_nanos for row in rows], dtype=np.int64)
        chains = np.array(
            [self._chain_of(row, index) if row.amount_nanos else 0 for row in rows], dtype=np.int32
        )
        impressions = np.array([row.impressions for row in rows], dtype=np.int64)
        results, tags = np.zeros(count, dtype=np.uint8), np.zeros(count, dtype=np.uint64)
        ids = ids.reshape(count, 12).copy()
        awaited = self.purse.awaited_rows(ids)
        self.purse.settle_rows(ids, kinds, chains, amounts, now_ns, results, tags, impressions)
        heard = _heard(rows, tags.tolist(), awaited.tolist(), now_ns)
        settled = Settled([], [], [], heard, int((results == Result.LATE).sum()), [])
        marks = (tags & np.uint64(_MARK)).tolist()
        posted: list[Settlement | SettlementRow] = []
        for row, result, tag in zip(rows, results.tolist(), marks, strict=True):
            if row.kind is SettlementKind.POSTED:
                assert result != Result.EXCEEDS, f"the bank booked {row} above its reservation"
                if result != Result.EXISTS:
                    posted.append(row)
                if tag and result == Result.OK:
                    settled.posted_tags.append(tag)
            elif tag and result == Result.OK:
                (settled.freed_tags if row.kind is SettlementKind.VOIDED else settled.won_tags).append(tag)
        self._spend(posted, index, pacer, settled)
        pacer.release(self.purse.books[self._group_rows, 1])
        self.sync()
        return settled

    def spend(
        self,
        lines: NDArray[np.int64],
        amounts: NDArray[np.int64],
        impressions: NDArray[np.int64],
        bid_at_ns: NDArray[np.int64],
        pacer: Pacer,
    ) -> None:
        """Tells pacing of spends that the purse has posted, in order.

        Args:
            lines: int64[k], rows of the table. amounts, impressions: int64[k], nanos and millionths.
            bid_at_ns: int64[k], 0 where it is not said: a bid of yesterday was charged to yesterday's budget.
            pacer: of the same table.
        """
        paces = self.paces
        spend_all(
            pacer.rows, pacer.asap, paces.starts, paces.places, self.since_ns, lines, amounts, impressions, bid_at_ns,
            self._group_rows, self.purse.books, self.spent,
        )  # fmt: skip

    def _spend(
        self,
        rows: Sequence[Settlement | SettlementRow],
        index: dict[str, int],
        pacer: Pacer,
        settled: Settled,
    ) -> None:
        """Tells pacing of new posts, those of line items that are in the table no more left out."""
        found: list[tuple[int, int, int, int]] = []
        for row in rows:
            place = index.get(row.line_item_id or row.campaign_id)
            if place is not None:
                settled.spent.append((place, row.amount_nanos, row.bid_at_ns))
                found.append((place, row.amount_nanos, row.impressions, row.bid_at_ns))
        if found:
            # Rows of a copy that lies close: a stride would be another type to the compiled loop.
            lines, amounts, impressions, made_ns = np.array(found, dtype=np.int64).T.copy()
            self.spend(lines, amounts, impressions, made_ns, pacer)

    def groups_of(self, line: int) -> list[int]:
        """Pacing groups of a row of the table."""
        begin, end = self.paces.starts[line : line + 2].tolist()
        found: list[int] = self.paces.places[begin:end].tolist()
        return found

    def _chain_of(self, row: Settlement | SettlementRow, index: dict[str, int]) -> int:
        """Who owes a spend that came after its reservation had ended: the line item's budgets of the bid's day."""
        line_id = row.line_item_id or row.campaign_id
        place = index.get(line_id)
        if place is not None and row.bid_at_ns and self._ids[place] == line_id and place in self._daily_rows:
            chain = self._chain(self._charges[place].on(row.bid_at_ns)[0])
            self._grow()
            return chain
        known = self._chains.get(line_id)
        if known is None:
            known = self._chains[line_id] = self.purse.chain((self.purse.account(row.campaign_id),))
            self._grow()
        return known

    def hear(self, record: Settlements) -> None:
        """Takes a bank's word that all notices up to then were settled here, or never will be.

        Where banks share the advertisers, of those of its shard; it counts once all shards have said so much.
        """
        if not record.heard_until_ns:
            return
        if record.shards != self._shards:
            self._shards, self._heard = record.shards, {}
        self._heard[record.shard] = max(self._heard.get(record.shard, 0), record.heard_until_ns)
        if len(self._heard) == self._shards:
            self._heard_ns = max(self._heard_ns or 0, min(self._heard.values()))

    def expire(self, now_ns: int) -> list[int]:
        """Frees what time frees; returns the tags of those bids.

        Where the bank says up to when it heard of bids, its word counts and not the clock: a billing that came in
        time may still be under way, and its money must not be bid again.
        """
        tags, _ = self.purse.expire_rows(now_ns if self._heard_ns is None else min(now_ns, self._heard_ns))
        self.sync()
        return [mark for mark in (tags & np.uint64(_MARK)).tolist() if mark]

    def of_campaigns(self, table: LineTable) -> dict[str, tuple[int, int]]:
        """Of each campaign of a table, nanos that its bids hold in reservations and nanos that it spent here."""
        names = dict.fromkeys(line.campaign.id for line in table.lines)
        purse = self.purse
        accounts = ((name, purse.account(name)) for name in names)
        return {name: (purse.reserved(number), purse.posted(number)) for name, number in accounts}


def _heard(
    rows: Sequence[Settlement | SettlementRow], tags: list[int], awaited: list[bool], now_ns: int
) -> list[Heard]:
    """Of wins and billings of bids that the purse knows, how long they took; `awaited` before these rows."""
    heard: list[Heard] = []
    won: set[str] = set()
    for row, tag, first in zip(rows, tags, awaited, strict=True):
        if tag and row.bid_at_ns and row.kind is not SettlementKind.VOIDED:
            heard.append(
                Heard(
                    (tag >> _MARK_BITS) - 1,
                    first and row.bid_id not in won,
                    row.kind is SettlementKind.POSTED,
                    now_ns - row.bid_at_ns,
                )
            )
            won.add(row.bid_id)
    return heard


def _day_number(account_id: str) -> int:
    """The day of an account of a day, see `core.budgets`; -1 of others."""
    _, mark, number = account_id.rpartition("/d")
    return int(number) if mark and number.isdigit() else -1


def _unit_of(account_id: str) -> Unit:
    """What an account of this name counts, see `core.budgets`."""
    return Unit.IMPRESSIONS if "/imps" in account_id else Unit.MONEY
