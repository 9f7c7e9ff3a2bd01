"""The slow twin of `bidder.core.purse`: the same rules in plain dicts, lists and heaps, one bid after another."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from bidder.core.purse import ONE_IMPRESSION, Result, Unit
from bidder.errors import InvariantError
from bidder.money import MAX_NANOS

WON, POSTED, VOIDED = 1, 2, 3
OPEN = ("reserved", "won")


@dataclass(slots=True)
class Held:
    """A reservation, open or ended."""

    chain: int
    amount: int
    impressions: int
    until_ns: int
    liable_until_ns: int
    tag: int
    state: str = "reserved"

    @property
    def open(self) -> bool:
        return self.state in OPEN


@dataclass(slots=True)
class Account:
    """One budget, and the places that its amount stands in."""

    key: str
    unit: Unit
    granted: int = 0
    free: int = 0
    reserved: int = 0
    posted: int = 0
    late: int = 0

    def share(self, amount: int, impressions: int) -> int:
        """What of the two is counted here."""
        return amount if self.unit is Unit.MONEY else impressions

    def move(self, reserved: int = 0, posted: int = 0) -> None:
        self.reserved += reserved
        self.posted += posted
        self.free -= reserved + posted
        self.check()

    def check(self) -> None:
        if self.free + self.reserved + self.posted != self.granted or self.posted > MAX_NANOS:
            raise InvariantError(f"{self} does not add up")
        if self.reserved < 0 or self.free < -self.late:
            raise InvariantError(f"{self} is overdrawn")


class NaiveLedger:
    """Accounts, chains and reservations of one seat and epoch; answers as `Purse` does."""

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._numbers: dict[str, int] = {}
        self._chain_numbers: dict[tuple[int, ...], int] = {}
        self.accounts: list[Account] = []
        self.chains: list[tuple[int, ...]] = []
        self.bids: dict[bytes, Held] = {}
        self._ends: list[tuple[int, bytes]] = []
        self._forget: list[tuple[int, bytes]] = []
        self.open_reservations = 0

    def account(self, key: str, unit: Unit = Unit.MONEY) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self.accounts)
            self.accounts.append(Account(key, unit))
        return self._numbers[key]

    def chain(self, accounts: tuple[int, ...]) -> int:
        if accounts not in self._chain_numbers:
            self._chain_numbers[accounts] = len(self.chains)
            self.chains.append(accounts)
        return self._chain_numbers[accounts]

    def paying(self, chain: int) -> list[Account]:
        """The accounts of a chain."""
        return [self.accounts[number] for number in self.chains[chain]]

    def grant(self, account: int, granted: int) -> Result:
        own = self.accounts[account]
        if granted <= own.granted:
            return Result.EXISTS
        own.free += granted - own.granted
        own.granted = granted
        own.check()
        return Result.OK

    def lower(self, account: int, granted: int) -> Result:
        own = self.accounts[account]
        if granted >= own.granted:
            return Result.EXISTS
        if own.free > 0:
            taken = min(own.free, own.granted - granted)
            own.free -= taken
            own.granted -= taken
            own.check()
        return Result.OK if own.granted == granted else Result.EXCEEDS

    def knows(self, bid_id: bytes) -> bool:
        return bid_id in self.bids

    def tag(self, bid_id: bytes) -> int:
        held = self.bids.get(bid_id)
        return held.tag if held is not None else 0

    def known_rows(self, ids: Sequence[bytes]) -> list[bool]:
        return [bid_id in self.bids for bid_id in ids]

    def reserve(
        self,
        bid_id: bytes,
        chain: int,
        amount: int,
        result_until_ns: int,
        liable_until_ns: int,
        impressions: int = ONE_IMPRESSION,
        tag: int = 0,
    ) -> Result:
        if amount <= 0 or impressions <= 0:
            raise InvariantError("a reservation must be > 0")
        if bid_id in self.bids:
            return Result.EXISTS
        paying = self.paying(chain)
        if any(own.share(amount, impressions) > own.free for own in paying):
            return Result.EXCEEDS
        self.bids[bid_id] = Held(chain, amount, impressions, result_until_ns, liable_until_ns, tag)
        heapq.heappush(self._ends, (result_until_ns, bid_id))
        self.open_reservations += 1
        for own in paying:
            own.move(reserved=own.share(amount, impressions))
        return Result.OK

    def reserve_rows(self, rows: Sequence[tuple[bytes, int, int, int, int, int, int]]) -> None:
        """Rows in the order of the arguments of `reserve`."""
        for row in rows:
            if (done := self.reserve(*row)) is not Result.OK:
                raise InvariantError(done.name)

    def win(self, bid_id: bytes) -> Result:
        held = self.bids.get(bid_id)
        if held is None:
            return Result.NOT_FOUND
        if held.state != "reserved":
            return Result.EXISTS
        held.state = "won"
        held.until_ns = held.liable_until_ns
        heapq.heappush(self._ends, (held.until_ns, bid_id))
        return Result.OK

    def post(self, bid_id: bytes, chain: int, amount: int, now_ns: int, impressions: int = 0) -> Result:
        if amount <= 0 or impressions < 0:
            raise InvariantError("a post must be > 0")
        held = self.bids.get(bid_id)
        if held is not None and held.state == "posted":
            return Result.EXISTS
        if held is None or not held.open:
            return self._post_late(bid_id, chain, amount, now_ns, impressions)
        if amount > held.amount:
            return Result.EXCEEDS
        self._end(bid_id, held, "posted", now_ns)
        for own in self.paying(held.chain):
            reserved = own.share(held.amount, held.impressions)
            own.move(reserved=-reserved, posted=own.share(amount, held.impressions))
        return Result.OK

    def _post_late(self, bid_id: bytes, chain: int, amount: int, now_ns: int, impressions: int) -> Result:
        held = self.bids.get(bid_id)
        if held is None:
            held = self.bids[bid_id] = Held(chain, 0, ONE_IMPRESSION, now_ns, now_ns, 0)
            heapq.heappush(self._forget, (now_ns + self._keep_ns, bid_id))
        held.state = "posted"
        for own in self.paying(chain):
            owed = own.share(amount, impressions or held.impressions)
            own.late += owed
            own.move(posted=owed)
        return Result.LATE

    def void(self, bid_id: bytes, now_ns: int) -> Result:
        held = self.bids.get(bid_id)
        if held is None:
            return Result.NOT_FOUND
        if not held.open:
            return Result.EXISTS
        self._release(bid_id, held, "voided", now_ns)
        return Result.OK

    def settle_rows(
        self, rows: Sequence[tuple[bytes, int, int, int, int]], now_ns: int
    ) -> tuple[list[Result], list[int]]:
        """Rows of id, kind, chain, amount, impressions; results, and tags before each row."""
        results, tags = [], []
        for bid_id, kind, chain, amount, impressions in rows:
            tags.append(self.tag(bid_id))
            if kind == WON:
                results.append(self.win(bid_id))
            elif kind == VOIDED:
                results.append(self.void(bid_id, now_ns))
            else:
                results.append(self.post(bid_id, chain, amount, now_ns, impressions))
        return results, tags

    def expire_rows(self, now_ns: int) -> tuple[list[int], list[int]]:
        """Tags and chains of what was freed, by its time, then by its id."""
        freed: list[tuple[int, bytes, int, int]] = []
        while self._ends and self._ends[0][0] <= now_ns:
            _, bid_id = heapq.heappop(self._ends)
            held = self.bids.get(bid_id)
            # A win moved the end: the earlier entry in the heap is void then.
            if held is not None and held.open and held.until_ns <= now_ns:
                freed.append((held.until_ns, bid_id, held.tag, held.chain))
                self._release(bid_id, held, "expired", now_ns)
        while self._forget and self._forget[0][0] <= now_ns:
            _, bid_id = heapq.heappop(self._forget)
            del self.bids[bid_id]
        freed.sort()
        return [tag for _, _, tag, _ in freed], [chain for _, _, _, chain in freed]

    def expire(self, now_ns: int) -> int:
        return len(self.expire_rows(now_ns)[0])

    def _release(self, bid_id: bytes, held: Held, state: str, now_ns: int) -> None:
        self._end(bid_id, held, state, now_ns)
        for own in self.paying(held.chain):
            own.move(reserved=-own.share(held.amount, held.impressions))

    def _end(self, bid_id: bytes, held: Held, state: str, now_ns: int) -> None:
        heapq.heappush(self._forget, (now_ns + self._keep_ns, bid_id))
        self.open_reservations -= 1
        held.state = state
