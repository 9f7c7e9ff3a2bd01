"""The ledger against a model of plain dicts, under any order of operations."""

import copy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bidder.core.ledger import Ledger, Result

KEEP_NS = 50
ACCOUNTS = 2
bids = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
accounts = st.integers(0, ACCOUNTS - 1)
amounts = st.integers(1, 60)


class Books:
    """The model: what a clerk with one sheet of paper would keep."""

    def __init__(self) -> None:
        self.granted = [0] * ACCOUNTS
        self.spent = [0] * ACCOUNTS
        self.late = [0] * ACCOUNTS
        self.bids: dict[bytes, dict[str, Any]] = {}

    def reserved(self, account: int) -> int:
        return sum(bid["amount"] for bid in self.bids.values() if bid["open"] and bid["account"] == account)

    def free(self, account: int) -> int:
        return self.granted[account] - self.spent[account] - self.reserved(account)

    def reserve(self, name: bytes, account: int, amount: int, result: int, liable: int) -> Result:
        if name in self.bids:
            return Result.EXISTS
        if amount > self.free(account):
            return Result.EXCEEDS
        self.bids[name] = {
            "account": account, "amount": amount, "open": True, "won": False, "posted": False,
            "until": result, "liable": liable, "forget": None,
        }  # fmt: skip
        return Result.OK

    def win(self, name: bytes) -> Result:
        bid = self.bids.get(name)
        if bid is None:
            return Result.NOT_FOUND
        if not bid["open"] or bid["won"]:
            return Result.EXISTS
        bid.update(won=True, until=bid["liable"])
        return Result.OK

    def close(self, name: bytes, now: int) -> None:
        bid = self.bids[name]
        bid["open"] = False
        bid["forget"] = now + KEEP_NS

    def post(self, name: bytes, account: int, amount: int, now: int) -> Result:
        bid = self.bids.get(name)
        if bid is not None and bid["posted"]:
            return Result.EXISTS
        if bid is None or not bid["open"]:
            forget = now + KEEP_NS if bid is None else bid["forget"]
            self.bids[name] = {
                "open": False,
                "posted": True,
                "account": account,
                "amount": 0,
                "forget": forget,
            }
            self.spent[account] += amount
            self.late[account] += amount
            return Result.LATE
        if amount > bid["amount"]:
            return Result.EXCEEDS
        self.close(name, now)
        bid["posted"] = True
        self.spent[bid["account"]] += amount
        return Result.OK

    def void(self, name: bytes, now: int) -> Result:
        bid = self.bids.get(name)
        if bid is None:
            return Result.NOT_FOUND
        if not bid["open"]:
            return Result.EXISTS
        self.close(name, now)
        return Result.OK

    def expire(self, now: int) -> int:
        over = [name for name, bid in self.bids.items() if bid["open"] and bid["until"] <= now]
        for name in over:
            self.close(name, now)
        self.bids = {name: bid for name, bid in self.bids.items() if bid["open"] or bid["forget"] > now}
        return len(over)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(KEEP_NS)
        self.books = Books()
        self.now = 0
        self.posted = [0] * ACCOUNTS
        for number in range(ACCOUNTS):
            assert self.ledger.account(f"c{number}") == number

    @rule(account=accounts, total=st.integers(0, 200))
    def grant(self, account: int, total: int) -> None:
        result = Result.OK if total > self.books.granted[account] else Result.EXISTS
        self.books.granted[account] = max(total, self.books.granted[account])
        assert self.ledger.grant(account, total) is result

    @rule(account=accounts, total=st.integers(0, 200))
    def lower(self, account: int, total: int) -> None:
        books = self.books
        if total >= books.granted[account]:
            result = Result.EXISTS
        elif total < books.spent[account] + books.reserved(account):
            result = Result.EXCEEDS
        else:
            result = Result.OK
            books.granted[account] = total
        assert self.ledger.lower(account, total) is result

    @rule(name=bids, account=accounts, amount=amounts, wait=st.integers(1, 40), bill=st.integers(0, 60))
    def reserve(self, name: bytes, account: int, amount: int, wait: int, bill: int) -> None:
        times = self.now + wait, self.now + wait + bill
        assert self.ledger.reserve(name, account, amount, *times) is self.books.reserve(
            name, account, amount, *times
        )

    @rule(name=bids)
    def win(self, name: bytes) -> None:
        assert self.ledger.win(name) is self.books.win(name)

    @rule(name=bids, account=accounts, amount=amounts)
    def post(self, name: bytes, account: int, amount: int) -> None:
        result = self.books.post(name, account, amount, self.now)
        assert self.ledger.post(name, account, amount, self.now) is result

    @rule(name=bids)
    def void(self, name: bytes) -> None:
        assert self.ledger.void(name, self.now) is self.books.void(name, self.now)

    @rule(step=st.integers(1, 70))
    def wait(self, step: int) -> None:
        self.now += step
        assert self.ledger.expire(self.now) == self.books.expire(self.now)

    @rule(name=bids, account=accounts, amount=amounts)
    def repeat(self, name: bytes, account: int, amount: int) -> None:
        """Whatever was just answered, a second time changes nothing."""
        self.post(name, account, amount)
        before = copy.deepcopy(self.books)
        self.post(name, account, amount)
        self.void(name)
        if before.bids.get(name, {}).get("posted"):
            assert vars(before) == vars(self.books)

    @invariant()
    def every_account_agrees_with_the_books(self) -> None:
        for account in range(ACCOUNTS):
            assert int(self.ledger.available[account]) == self.books.free(account)
            assert self.ledger.reserved(account) == self.books.reserved(account)
            assert self.ledger.posted(account) == self.books.spent[account]
            assert self.ledger.late(account) == self.books.late[account]

    @invariant()
    def places_add_up_to_what_was_granted(self) -> None:
        for account in range(ACCOUNTS):
            places = (
                int(self.ledger.available[account])
                + self.ledger.reserved(account)
                + self.ledger.posted(account)
            )
            assert places == self.ledger.granted(account)

    @invariant()
    def only_late_wins_overdraw(self) -> None:
        for account in range(ACCOUNTS):
            assert int(self.ledger.available[account]) >= -self.ledger.late(account)
            assert self.ledger.reserved(account) >= 0

    @invariant()
    def booked_spend_never_falls(self) -> None:
        now = [self.ledger.posted(account) for account in range(ACCOUNTS)]
        assert all(later >= earlier for earlier, later in zip(self.posted, now, strict=True))
        self.posted = now

    @invariant()
    def known_bids_are_those_in_the_books(self) -> None:
        for name in (b"a", b"b", b"c", b"d", b"e"):
            assert self.ledger.knows(name) == (name in self.books.bids)
        assert self.ledger.open_reservations == sum(bid["open"] for bid in self.books.bids.values())


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
