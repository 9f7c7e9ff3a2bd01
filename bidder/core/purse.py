"""The worker's ledger on arrays: two-phase transfers, several budgets a bid, whole micro-batches in one call.

An *account* is one budget as far as it was granted to this seat: of an advertiser, a campaign or a line item,
for its life or for one local day, in nanos or in micro-impressions. A *chain* is the list of accounts that one
line item's bid is charged to on one day; a bid is paid by all of them or not made. In each account an amount
stands in one of three places:

    free --reserve--> reserved --post--> posted
                      reserved --void, expire--> free        (and what a post leaves over)

so `free + reserved + posted == granted`, `reserved >= 0` and `free >= -late` for every account that was touched,
checked after each operation. `free` is below zero only through a late win: an amount that is owed although its
reservation had ended (see `Result.LATE`). Money posts at the price; an impression that was reserved posts as
it was reserved.

No Python object a reservation: `bidder.core.purse_kernels` holds the arrays and loops, and
`tests/support/naive_ledger.py` the same rules in plain dicts.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bidder.core import purse_columns as columns
from bidder.core import purse_index_kernels as index_kernels
from bidder.core import purse_kernels as kernels
from bidder.core.purse_arrays import Column, make_records
from bidder.errors import InvariantError
from bidder.money import MAX_NANOS

BID_ID_BYTES = 12
ONE_IMPRESSION = columns.ONE_IMPRESSION
"""Micro-impressions of an ordinary impression; `imp.qty.multiplier` makes more or less of it."""

_WHEEL_TICKS = 1 << 14
_MOST_CHAINS = 1 << 28
_NO_IMPRESSIONS = np.zeros(0, dtype=np.int64)


class Unit(IntEnum):
    """What an account counts."""

    MONEY = 0
    """Nanos."""
    IMPRESSIONS = 1
    """Micro-impressions."""


class Result(IntEnum):
    """How an operation ended; a closed set."""

    OK = 0
    EXISTS = 1
    """The same operation was done before: nothing changed."""
    NOT_FOUND = 2
    """No such reservation, and nothing was owed: nothing changed."""
    EXCEEDS = 3
    """An account has not enough free, or a post is above its reservation: nothing changed."""
    LATE = 4
    """The reservation had ended before; the amount is owed and was booked all the same."""


_RESULTS = tuple(Result)
_FAULTS = {
    columns.F_SHAPE: "arrays of a batch must be as long as its ids, and an id 12 bytes",
    columns.F_AMOUNT: "amount and impressions must be > 0",
    columns.F_CHAIN: "chain must be registered",
    columns.F_KIND: "kind must be 1 (won), 2 (posted) or 3 (voided)",
    columns.F_BOOKS: "free, reserved and posted must add up to what was granted",
    columns.F_SPENT: f"what is posted must be at most {MAX_NANOS}",
    Result.EXISTS: "bid must be new, was reserved or booked before",
    Result.EXCEEDS: "every account must have free what is reserved",
}


class Purse:
    """Accounts, chains and reservations of one seat and epoch.

    A reservation, and one that ended until it is forgotten, takes 64 bytes and 13 to 27 of the index. Nothing that
    was taken is given back; what was forgotten, accounts and chains too, is used again. The index is full at 60 % and
    then doubles, between batches, which moves all: some 0.3 us a reservation, most of it the system's for new pages.
    `capacity` spares that; memory is taken when used.

    Args:
        keep_ns: how long an ended reservation is remembered, >= 0, so that repeats and late wins are known for
            what they are. Below the longest wait of a bid a settlement takes half as long again.
        capacity: reservations to have room for at first.

    Attributes:
        available: int64[accounts], free amount of each. A view that operations change and a new account replaces: a
            kernel that reduces it itself takes a copy.
        unit: uint8[accounts], by `Unit`.
        books: int64[accounts, 4], granted, reserved, posted and late of each; to be read only.
        chain_start: int32[chains + 1], where the accounts of each chain begin in `chain_accounts`, int32[].
    """

    def __init__(self, keep_ns: int, capacity: int = 1 << 20) -> None:
        if keep_ns < 0 or capacity < 1:
            raise InvariantError(f"keep_ns must be >= 0 and capacity >= 1, were {keep_ns} and {capacity}")
        self._accounts: dict[str, int] = {}
        self._names: list[str] = []
        self._chains: dict[tuple[int, ...], int] = {}
        self._free_accounts: list[int] = []
        self._free_chains: dict[int, list[int]] = {}
        self._available = Column(np.zeros(0, dtype=np.int64))
        self._books = Column(np.zeros((0, 4), dtype=np.int64))
        self._unit = Column(np.zeros(0, dtype=np.uint8))
        self._chain_start = Column(np.zeros(1, dtype=np.int32))
        self._chain_accounts = Column(np.zeros(0, dtype=np.int32))
        self._take_views()
        slots = 2
        while slots * 3 // 5 < capacity:
            slots *= 2
        self._index: NDArray[np.int64] = np.zeros(slots, dtype=np.int64)
        self._records: NDArray[np.int64] = make_records(slots * 3 // 5)
        self._wheel: NDArray[np.int32] = np.full(_WHEEL_TICKS, -1, dtype=np.int32)
        self._control: NDArray[np.int64] = np.zeros(10, dtype=np.int64)
        self._control[columns.C_FREE] = -1
        self._control[columns.C_KEEP] = keep_ns
        # A turn of the wheel is then longer than what is remembered: few records are met before their time.
        self._control[columns.C_SHIFT] = (keep_ns // _WHEEL_TICKS).bit_length()

    def _take_views(self) -> None:
        self.available: NDArray[np.int64] = self._available.view
        self.books: NDArray[np.int64] = self._books.view
        self.unit: NDArray[np.uint8] = self._unit.view
        self.chain_start: NDArray[np.int32] = self._chain_start.view
        self.chain_accounts: NDArray[np.int32] = self._chain_accounts.view

    # -- accounts and chains --------------------------------------------------------------------------------

    def account(self, key: str, unit: Unit = Unit.MONEY) -> int:
        """Number of the account of this key, opened with nothing in it if it is new.

        Raises:
            InvariantError: it was opened in another unit.
        """
        number = self._accounts.get(key)
        if number is None and self._free_accounts:
            number = self._accounts[key] = self._free_accounts.pop()
            self._names[number] = key
            self.unit[number] = unit
        elif number is None:
            number = self._accounts[key] = len(self._names)
            self._names.append(key)
            self._available.extend(np.zeros(1, dtype=np.int64))
            self._books.extend(np.zeros((1, 4), dtype=np.int64))
            self._unit.extend(np.array([unit], dtype=np.uint8))
            self._take_views()
        elif self.unit[number] != unit:
            raise InvariantError(
                f"unit of account {key} must be {Unit(self.unit[number]).name}, was {unit!r}"
            )
        return number

    def chain(self, accounts: tuple[int, ...]) -> int:
        """Number of the chain of these accounts, registered if it is new.

        Raises:
            InvariantError: none, an unknown one, or one that is named twice.
        """
        number = self._chains.get(accounts)
        if number is None:
            if not accounts or len(set(accounts)) < len(accounts):
                raise InvariantError(f"a chain must name at least one account, each once, was {accounts}")
            if min(accounts) < 0 or max(accounts) >= len(self._names):
                raise InvariantError(f"accounts must be below {len(self._names)}, were {accounts}")
            free = self._free_chains.get(len(accounts))
            if free:
                number = self._chains[accounts] = free.pop()
                begin = self.chain_start[number]
                self.chain_accounts[begin : begin + len(accounts)] = accounts
                return number
            number = len(self.chain_start) - 1
            if number >= _MOST_CHAINS:
                raise InvariantError(f"chains must be at most {_MOST_CHAINS}, was one more")
            self._chains[accounts] = number
            self._chain_accounts.extend(np.array(accounts, dtype=np.int32))
            self._chain_start.extend(np.array([len(self._chain_accounts.view)], dtype=np.int32))
            self._take_views()
        return number

    def account_keys(self) -> Iterable[str]:
        """Keys of all accounts."""
        return self._accounts.keys()

    def forget(self, keys: Iterable[str]) -> tuple[list[int], list[int]]:
        """Ends accounts on which nothing will be leased or bid any more, with all chains that name them.

        Returns:
            Numbers of the accounts and of the chains, which new ones will have.

        Raises:
            InvariantError: of an account that is not known, or on which something is reserved.
        """
        numbers = [self._accounts.get(key, -1) for key in keys]
        if any(number < 0 or self.reserved(number) for number in numbers):
            raise InvariantError("accounts must be known and hold nothing in reserve to be forgotten")
        # Whoever reserves does so on all accounts of a chain: so no open reservation has one of these.
        over = set(numbers)
        chains = [
            (accounts, number) for accounts, number in self._chains.items() if not over.isdisjoint(accounts)
        ]
        for accounts, number in chains:
            del self._chains[accounts]
            self._free_chains.setdefault(len(accounts), []).append(number)
        for number in numbers:
            del self._accounts[self._names[number]]
            self._names[number] = ""
            self.books[number] = 0
            self.available[number] = 0
        self._free_accounts += numbers
        return numbers, [number for _, number in chains]

    def grant(self, account: int, granted: int) -> Result:
        """Raises what the account was granted in all to `granted`; a lower or equal total changes nothing."""
        more = self._checked(account, granted) - self.granted(account)
        if more <= 0:
            return Result.EXISTS
        self.books[account, columns.B_GRANTED] = granted
        self.available[account] += more
        return Result.OK

    def lower(self, account: int, granted: int) -> Result:
        """Takes back what is free, so that the account was granted `granted` in all.

        Of a total below what is posted and reserved all that is free is taken (`EXCEEDS`): a bid keeps what it
        reserved, and nothing new may be bid with what another seat may have by now.
        """
        checked = self._checked(account, granted)
        before = self.granted(account)
        if checked >= before:
            return Result.EXISTS
        kept = max(granted, self.posted(account) + self.reserved(account))
        if kept < before:
            self.books[account, columns.B_GRANTED] = kept
            self.available[account] -= before - kept
        return Result.OK if kept == granted else Result.EXCEEDS

    def _checked(self, account: int, granted: int) -> int:
        if not 0 <= account < len(self._names):
            raise InvariantError(f"account must be below {len(self._names)}, was {account}")
        if not 0 <= granted <= MAX_NANOS:
            raise InvariantError(f"grant must be in 0..{MAX_NANOS}, was {granted}")
        return granted

    def granted(self, account: int) -> int:
        """Granted to the account in all."""
        return int(self.books[account, columns.B_GRANTED])

    def reserved(self, account: int) -> int:
        """Set aside for bids without a result."""
        return int(self.books[account, columns.B_RESERVED])

    def posted(self, account: int) -> int:
        """Spent."""
        return int(self.books[account, columns.B_POSTED])

    def late(self, account: int) -> int:
        """Spent by wins that came after their reservation had ended; part of `posted`."""
        return int(self.books[account, columns.B_LATE])

    # -- batches --------------------------------------------------------------------------------------------

    def known_rows(self, ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of these ids, uint8[n, 12], have a reservation that is open or ended lately; bool[n]."""
        out = np.empty(len(ids), dtype=np.bool_)
        if ids.shape[1] != BID_ID_BYTES:
            self._fail(columns.F_SHAPE)
        kernels.known(self._index, self._records, ids, out)
        return out

    def awaited_rows(self, ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Of which of these ids, uint8[n, 12], nothing was heard yet, though their time may be over; bool[n]."""
        out = np.empty(len(ids), dtype=np.uint8)
        kernels.states(self._index, self._records, ids, out)
        awaited: NDArray[np.bool_] = (out == columns.RESERVED) | (out == columns.EXPIRED)
        return awaited

    def reserve_rows(
        self,
        ids: NDArray[np.uint8],
        chains: NDArray[np.int32],
        amounts: NDArray[np.int64],
        impressions: NDArray[np.int64],
        tags: NDArray[np.uint64],
        result_until: NDArray[np.int64],
        liable_until: NDArray[np.int64],
    ) -> None:
        """Sets amounts aside for bids that were found affordable, in order.

        Arrays must be contiguous and writable, or their first use compiles once more.

        Args:
            ids: uint8[n, 12], each new.
            chains: int32[n], who pays.
            amounts: int64[n], the most that the bid may cost, nanos > 0.
            impressions: int64[n], micro-impressions > 0.
            tags: uint64[n], kept with the bid for the caller.
            result_until: int64[n], ns, end of waiting for a win or a loss.
            liable_until: int64[n], ns, once won, of waiting for the billing.

        Raises:
            InvariantError: a repeat, an account without enough, or a fault in the arguments; rows before it stand.
        """
        done = self._reserve(ids, chains, amounts, impressions, tags, result_until, liable_until)
        if done:
            self._fail(done, ids, chains, amounts)

    def settle_rows(
        self,
        ids: NDArray[np.uint8],
        kinds: NDArray[np.uint8],
        chains: NDArray[np.int32],
        amounts: NDArray[np.int64],
        now_ns: int,
        results_out: NDArray[np.uint8],
        tags_out: NDArray[np.uint64],
        impressions: NDArray[np.int64] | None = None,
    ) -> None:
        """Takes over wins, posts and voids in order: row by row the same as `win`, `post` and `void`.

        Args:
            ids: uint8[n, 12].
            kinds: uint8[n], 1 won, 2 posted, 3 voided, as `bidder.core.messages.SettlementKind`.
            chains: int32[n], who owes a late post. amounts: int64[n], nanos. Both are read of posts only.
            now_ns: the time, from which an ended reservation is remembered.
            results_out: uint8[n], by `Result`. tags_out: uint64[n], 0 where the bid was not known.
            impressions: int64[n], micro-impressions of late posts; 0 or none: see `post`.

        Raises:
            InvariantError: a fault in the arguments; rows before it stand.
        """
        self._make_room(len(ids))
        done = kernels.settle_rows(
            self._index, self._records, self._wheel, self._control, self.books, self.available, self.unit,
            self.chain_start, self.chain_accounts, ids, kinds, chains, amounts,
            _NO_IMPRESSIONS if impressions is None else impressions, now_ns, results_out, tags_out,
        )  # fmt: skip
        if done:
            self._fail(done, ids, chains, amounts)

    def expire_rows(self, now_ns: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        """Frees reservations whose time is over, forgets those long ended.

        Returns:
            Tags uint64[k] and chains int32[k] of what was freed, in order of its time, then of bid ids.
        """
        # Never touched beyond what is freed, so this takes no memory before.
        ended = np.empty((self.open_reservations, 2), dtype=np.int64)
        count = kernels.expire(
            self._index, self._records, self._wheel, self._control, self.books, self.available, self.unit,
            self.chain_start, self.chain_accounts, now_ns, ended,
        )  # fmt: skip
        if count < 0:
            self._fail(-count)
        rows = self._records[ended[:count, 0]]
        halves = rows.view(np.int32)
        tails, heads = halves[:, columns.H_TAIL].view(np.uint32), rows[:, columns.HEAD].view(np.uint64)
        order = np.lexsort((tails, heads, ended[:count, 1]))
        tags = rows[order, columns.TAG].view(np.uint64)
        return tags, halves[order, columns.H_MARK] >> 3

    def _reserve(
        self,
        ids: NDArray[np.uint8],
        chains: NDArray[np.int32],
        amounts: NDArray[np.int64],
        impressions: NDArray[np.int64],
        tags: NDArray[np.uint64],
        result_until: NDArray[np.int64],
        liable_until: NDArray[np.int64],
    ) -> int:
        self._make_room(len(ids))
        done: int = kernels.reserve_rows(
            self._index, self._records, self._wheel, self._control, self.books, self.available, self.unit,
            self.chain_start, self.chain_accounts, ids, chains, amounts, impressions, tags, result_until,
            liable_until,
        )  # fmt: skip
        return done

    def _make_room(self, more: int) -> None:
        need = int(self._control[columns.C_USED]) + more
        if need <= len(self._records):
            return
        slots = len(self._index)
        while slots * 3 // 5 < need:
            slots *= 2
        index = np.zeros(slots, dtype=np.int64)
        index_kernels.rehash(self._index, index)
        records = make_records(slots * 3 // 5)
        used = int(self._control[columns.C_TOP])
        records[:used] = self._records[:used]
        self._index, self._records = index, records

    def _fail(self, done: int, ids: Any = None, chains: Any = None, amounts: Any = None) -> NoReturn:
        """Raises what went wrong in a kernel."""
        message = _FAULTS[done]
        row = int(self._control[columns.C_ROW])
        if done in (columns.F_BOOKS, columns.F_SPENT):
            message += f" in account {self._names[int(self._control[columns.C_ACCOUNT])]}"
        if ids is not None and done != columns.F_SHAPE:
            message += (
                f": row {row}, bid {ids[row].tobytes().hex()}, chain {chains[row]}, amount {amounts[row]}"
            )
        raise InvariantError(message)

    # -- one at a time --------------------------------------------------------------------------------------

    @property
    def open_reservations(self) -> int:
        """How many bids have something set aside now."""
        return int(self._control[columns.C_OPEN])

    def knows(self, bid_id: bytes) -> bool:
        """Whether a reservation of this id is open or ended lately."""
        return self._record(bid_id) >= 0

    def tag(self, bid_id: bytes) -> int:
        """What the caller kept with a bid; 0 where it is not known."""
        record = self._record(bid_id)
        return int(self._records[record, columns.TAG].view(np.uint64)) if record >= 0 else 0

    def _record(self, bid_id: bytes) -> int:
        return int(kernels.record_of(self._index, self._records, _row(bid_id)))

    def reserve(
        self,
        bid_id: bytes,
        chain: int,
        amount_nanos: int,
        result_until_ns: int,
        liable_until_ns: int,
        impressions: int = ONE_IMPRESSION,
        tag: int = 0,
    ) -> Result:
        """Sets amounts aside for a bid; see `reserve_rows`.

        Returns:
            OK; EXISTS for a repeat and EXCEEDS where an account has not enough, which change nothing.

        Raises:
            InvariantError: a fault in the arguments.
        """
        ids, chains, amounts = _row(bid_id), np.array([chain], np.int32), np.array([amount_nanos], np.int64)
        done = self._reserve(
            ids, chains, amounts, np.array([impressions], np.int64), np.array([tag], np.uint64),
            np.array([result_until_ns], np.int64), np.array([liable_until_ns], np.int64),
        )  # fmt: skip
        if done not in (Result.OK, Result.EXISTS, Result.EXCEEDS):
            self._fail(done, ids, chains, amounts)
        return _RESULTS[done]

    def win(self, bid_id: bytes) -> Result:
        """Keeps a won bid's reservation until the end of waiting for its billing: a win is not a spend."""
        return self._settle(bid_id, columns.K_WON, 0, 0, 0, 0)

    def post(self, bid_id: bytes, chain: int, amount_nanos: int, now_ns: int, impressions: int = 0) -> Result:
        """Books what a bid cost; the rest of its reservation is free again.

        Args:
            bid_id: the bid.
            chain: who owes it where its reservation has ended or is not known any more.
            amount_nanos: price of the impression, > 0; above the reservation nothing is booked (`EXCEEDS`).
            now_ns: the time, from which an ended reservation is remembered.
            impressions: micro-impressions that a late post is charged; 0 for what was reserved, or for one
                impression where that is not known.
        """
        return self._settle(bid_id, columns.K_POSTED, chain, amount_nanos, now_ns, impressions)

    def void(self, bid_id: bytes, now_ns: int) -> Result:
        """Frees what a bid that lost had set aside."""
        return self._settle(bid_id, columns.K_VOIDED, 0, 0, now_ns, 0)

    def expire(self, now_ns: int) -> int:
        """Frees reservations whose time is over, forgets those long ended; returns how many were freed."""
        return len(self.expire_rows(now_ns)[0])

    def _settle(
        self, bid_id: bytes, kind: int, chain: int, amount: int, now_ns: int, impressions: int
    ) -> Result:
        results, tags = np.empty(1, np.uint8), np.empty(1, np.uint64)
        self.settle_rows(
            _row(bid_id), np.array([kind], np.uint8), np.array([chain], np.int32), np.array([amount], np.int64),
            now_ns, results, tags, np.array([impressions], np.int64),
        )  # fmt: skip
        return _RESULTS[int(results[0])]


def _row(bid_id: bytes) -> NDArray[np.uint8]:
    """A bid id as a batch of one, writable as the kernels were compiled for."""
    if len(bid_id) != BID_ID_BYTES:
        raise InvariantError(f"a bid id must have {BID_ID_BYTES} bytes, was {bid_id!r}")
    return np.frombuffer(bid_id, np.uint8).reshape(1, BID_ID_BYTES).copy()
