"""The worker's ledger: two-phase transfers in int64 nanos, idempotent by bid id.

One account a campaign, for the slice that this seat was granted. Money stands in one of three places:

    free --reserve--> reserved --post--> posted
                      reserved --void, expire--> free        (and what a post leaves over)

so `free + reserved + posted == granted` after every operation, asserted. `free` is below zero only through a
late win: money that is owed although its reservation had ended (see `Result.LATE`).
"""

import heapq
from enum import IntEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from bidder.money import MAX_NANOS


class Result(IntEnum):
    """How an operation ended; a closed set."""

    OK = 0
    EXISTS = 1
    """The same operation was done before: nothing changed."""
    NOT_FOUND = 2
    """No such reservation, and nothing was owed: nothing changed."""
    EXCEEDS = 3
    """The account has not enough free money, or a post is above its reservation: nothing changed."""
    LATE = 4
    """The reservation had ended before; the money is owed and was booked all the same."""


class State(IntEnum):
    """Where a reservation is in its life."""

    RESERVED = 0
    WON = 1
    POSTED = 2
    VOIDED = 3
    EXPIRED = 4


class Reservation(msgspec.Struct, gc=False):
    """One bid's money: what was set aside, for whom, until when, and how it ended.

    Hidden from the garbage collector: walking a hundred thousand of these took a hundred milliseconds.
    """

    account: int
    amount_nanos: int
    until_ns: int
    liable_until_ns: int
    state: State = State.RESERVED

    @property
    def open(self) -> bool:
        """Whether its money still stands reserved."""
        return self.state <= State.WON


class Ledger:
    """Accounts and reservations of one seat and epoch.

    Args:
        keep_ns: how long an ended reservation is remembered, so that repeats and late wins are known for what
            they are.

    Attributes:
        available: int64[accounts], free money of each account, for the kernel to read (a copy, never this one).
        open_reservations: how many bids have money set aside now.
    """

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._accounts: dict[str, int] = {}
        self._names: list[str] = []
        self._granted: list[int] = []
        self._reserved: list[int] = []
        self._posted: list[int] = []
        self._late: list[int] = []
        self._reservations: dict[bytes, Reservation] = {}
        self._ends: list[tuple[int, bytes]] = []
        self._forget: list[tuple[int, bytes]] = []
        self.available: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.open_reservations = 0

    def account(self, campaign_id: str) -> int:
        """Number of the campaign's account, opened with nothing in it if it is new."""
        number = self._accounts.get(campaign_id)
        if number is None:
            number = len(self._names)
            self._accounts[campaign_id] = number
            self._names.append(campaign_id)
            for column in (self._granted, self._reserved, self._posted, self._late):
                column.append(0)
            self.available = np.append(self.available, np.int64(0))
        return number

    def grant(self, account: int, granted_nanos: int) -> Result:
        """Raises what the account was granted in all to `granted_nanos`; a lower or equal total changes nothing."""
        assert 0 <= granted_nanos <= MAX_NANOS, f"grant must be in 0..{MAX_NANOS}, was {granted_nanos}"
        more = granted_nanos - self._granted[account]
        if more <= 0:
            return Result.EXISTS
        self._granted[account] = granted_nanos
        self._move(account, free=more)
        return Result.OK

    def lower(self, account: int, granted_nanos: int) -> Result:
        """Takes free money back, so that the account was granted `granted_nanos` in all.

        A total below what is posted and reserved changes nothing (`EXCEEDS`): a bid keeps its money.
        """
        assert 0 <= granted_nanos <= MAX_NANOS, f"grant must be in 0..{MAX_NANOS}, was {granted_nanos}"
        less = self._granted[account] - granted_nanos
        if less <= 0:
            return Result.EXISTS
        if granted_nanos < self._posted[account] + self._reserved[account]:
            return Result.EXCEEDS
        self._granted[account] = granted_nanos
        self._move(account, free=-less)
        return Result.OK

    def knows(self, bid_id: bytes) -> bool:
        """Whether a reservation of this id is open or ended lately."""
        return bid_id in self._reservations

    def reserve(
        self, bid_id: bytes, account: int, amount_nanos: int, result_until_ns: int, liable_until_ns: int
    ) -> Result:
        """Sets money aside for a bid.

        Args:
            bid_id: names the reservation; a repeat changes nothing.
            account: who pays. amount_nanos: the most that the bid may cost, > 0.
            result_until_ns: end of waiting for a win or a loss. liable_until_ns: once won, for the billing.
        """
        assert amount_nanos > 0, f"a reservation must be > 0, was {amount_nanos}"
        if bid_id in self._reservations:
            return Result.EXISTS
        if amount_nanos > self.available[account]:
            return Result.EXCEEDS
        self._reservations[bid_id] = Reservation(account, amount_nanos, result_until_ns, liable_until_ns)
        heapq.heappush(self._ends, (result_until_ns, bid_id))
        self.open_reservations += 1
        self._move(account, free=-amount_nanos, reserved=amount_nanos)
        return Result.OK

    def win(self, bid_id: bytes) -> Result:
        """Keeps a won bid's money until the end of waiting for its billing: a win is not a spend."""
        held = self._reservations.get(bid_id)
        if held is None:
            return Result.NOT_FOUND
        if held.state is State.RESERVED:
            held.state = State.WON
            held.until_ns = held.liable_until_ns
            heapq.heappush(self._ends, (held.until_ns, bid_id))
            return Result.OK
        return Result.EXISTS

    def post(self, bid_id: bytes, account: int, amount_nanos: int, now_ns: int) -> Result:
        """Books what a bid cost; the rest of its reservation is free again.

        Args:
            bid_id: the bid.
            account: who owes it where the reservation is not known any more.
            amount_nanos: price of the impression; above the reservation nothing is booked (`EXCEEDS`).
            now_ns: the time, from which an ended reservation is remembered.
        """
        assert amount_nanos > 0, f"a post must be > 0, was {amount_nanos}"
        held = self._reservations.get(bid_id)
        if held is not None and held.state is State.POSTED:
            return Result.EXISTS
        if held is None or not held.open:
            self._end(bid_id, Reservation(account, 0, now_ns, now_ns, State.EXPIRED), State.POSTED, now_ns)
            self._late[account] += amount_nanos
            self._move(account, free=-amount_nanos, posted=amount_nanos)
            return Result.LATE
        if amount_nanos > held.amount_nanos:
            return Result.EXCEEDS
        self._end(bid_id, held, State.POSTED, now_ns)
        rest = held.amount_nanos - amount_nanos
        self._move(held.account, free=rest, reserved=-held.amount_nanos, posted=amount_nanos)
        return Result.OK

    def void(self, bid_id: bytes, now_ns: int) -> Result:
        """Frees the money of a bid that lost."""
        held = self._reservations.get(bid_id)
        if held is None:
            return Result.NOT_FOUND
        if not held.open:
            return Result.EXISTS
        self._release(bid_id, held, State.VOIDED, now_ns)
        return Result.OK

    def expire(self, now_ns: int) -> int:
        """Frees reservations whose time is over, forgets those long ended; returns how many were freed."""
        freed = 0
        while self._ends and self._ends[0][0] <= now_ns:
            _, bid_id = heapq.heappop(self._ends)
            held = self._reservations.get(bid_id)
            # A win moved the end: the earlier entry in the heap is void then.
            if held is not None and held.open and held.until_ns <= now_ns:
                self._release(bid_id, held, State.EXPIRED, now_ns)
                freed += 1
        while self._forget and self._forget[0][0] <= now_ns:
            _, bid_id = heapq.heappop(self._forget)
            del self._reservations[bid_id]
        return freed

    def _release(self, bid_id: bytes, held: Reservation, state: State, now_ns: int) -> None:
        self._end(bid_id, held, state, now_ns)
        self._move(held.account, free=held.amount_nanos, reserved=-held.amount_nanos)

    def _end(self, bid_id: bytes, held: Reservation, state: State, now_ns: int) -> None:
        known = self._reservations.get(bid_id)
        if known is None or known.open:
            heapq.heappush(self._forget, (now_ns + self._keep_ns, bid_id))
        if held.open:
            self.open_reservations -= 1
        held.state = state
        self._reservations[bid_id] = held

    def _move(self, account: int, free: int = 0, reserved: int = 0, posted: int = 0) -> None:
        """Moves money between the places of one account and checks that none was made or lost."""
        self._reserved[account] += reserved
        self._posted[account] += posted
        left = int(self.available[account]) + free
        self.available[account] = left
        total = left + self._reserved[account] + self._posted[account]
        assert total == self._granted[account], (
            f"account {self._names[account]}: {total} is not what was granted"
        )
        assert self._reserved[account] >= 0, f"account {self._names[account]} has reserved less than nothing"
        assert left >= -self._late[account], (
            f"account {self._names[account]} is overdrawn beyond its late wins"
        )

    def granted(self, account: int) -> int:
        """Nanos granted to the account in all."""
        return self._granted[account]

    def reserved(self, account: int) -> int:
        """Nanos set aside for bids without a result."""
        return self._reserved[account]

    def posted(self, account: int) -> int:
        """Nanos spent."""
        return self._posted[account]

    def late(self, account: int) -> int:
        """Nanos spent by wins that came after their reservation had ended; part of `posted`."""
        return self._late[account]
