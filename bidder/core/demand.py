"""What seats use of budgets, and who goes without: how large a chunk is, and who makes way for whom.

A seat's *need* of an account is what it uses of it in the time of one lease, posted and reserved, as its reports
show: looked at several times a lease and smoothed over about one. So a seat holds money for one to one and a half
leases, and a bank that falls silent stops nobody before the lease does.

Where all of a budget is granted, some seats may hold what they have no use for while others have none. So a seat
*yields* where nothing is left, another wants, and it holds more than four times its need, or a rest below one
largest bid that it did not touch of late. Its lease is not renewed, and once it says that no bid of it is open,
what it holds goes to another. It has *passed* then, and gets no more while another that has not passed wants. So the
few bids of a small budget over many seats go round, and stay where they are used.

All follows from reports and the times of ticks. Nothing of it is kept: a bank that starts again learns it anew.
"""

from collections.abc import Container, Sequence
from typing import Any

LOOKS_A_LEASE = 8
"""How often in the time of a lease the use of a seat is measured; the mean goes over as many."""

ENOUGH = 4
"""What is more than so many times a seat's need is of use elsewhere."""


class Use:
    """What one seat used of one account up to `at_ns`.

    `a_lease` is what it uses in a lease, None until known; `idle` whether it used nothing when last looked at.
    """

    __slots__ = ("a_lease", "at_ns", "idle", "used")

    def __init__(self, at_ns: int, used: int) -> None:
        self.at_ns = at_ns
        self.used = used
        self.a_lease: int | None = None
        self.idle = False

    def look(self, at_ns: int, used: int, lease_ns: int) -> None:
        """Takes what is used by now into the mean."""
        past_ns = at_ns - self.at_ns
        if past_ns * LOOKS_A_LEASE < lease_ns:
            return
        grown = max(0, used - self.used) * lease_ns // past_ns
        mean = grown if self.a_lease is None else self.a_lease
        self.a_lease = (mean * (LOOKS_A_LEASE - 1) + grown) // LOOKS_A_LEASE
        self.idle = used == self.used
        self.at_ns, self.used = at_ns, used


class Demand:
    """Needs of all seats, and who waits for which account.

    Args:
        lease_ns: the time of a lease.
    """

    def __init__(self, lease_ns: int) -> None:
        self._lease_ns = lease_ns
        self._uses: dict[str, dict[str, Use]] = {}
        self._wanted: dict[str, dict[str, int]] = {}
        self._passed: dict[str, set[str]] = {}

    def forget(self, seat: str) -> None:
        """A new epoch of a seat begins to count from 0."""
        for uses in self._uses.values():
            uses.pop(seat, None)

    def drop(self, account_id: str) -> None:
        """Nobody is granted of this account any more."""
        for of_account in (self._uses, self._wanted, self._passed):
            of_account.pop(account_id, None)

    def keep(self, accounts: Container[str], seats: Container[str]) -> None:
        """Forgets all other accounts and seats."""
        of_each: tuple[dict[str, Any], ...] = (self._uses, self._wanted, self._passed)
        for of_accounts in of_each:
            for name in [name for name in of_accounts if name not in accounts]:
                del of_accounts[name]
        of_seats: tuple[dict[str, Any], ...] = (*self._uses.values(), *self._wanted.values())
        for by_seat in of_seats:
            for seat in [seat for seat in by_seat if seat not in seats]:
                del by_seat[seat]
        for passed in self._passed.values():
            passed.difference_update([seat for seat in passed if seat not in seats])

    def look(self, account_id: str, seat: str, used: int, now_ns: int) -> None:
        """Notes what a seat has used by now, posted and reserved."""
        uses = self._uses.setdefault(account_id, {})
        use = uses.get(seat)
        if use is None:
            uses[seat] = Use(now_ns, used)
        else:
            use.look(now_ns, used, self._lease_ns)

    def need(self, account_id: str, seat: str) -> int | None:
        """What a seat uses of an account in a lease; None where that is not known yet."""
        use = self._uses.get(account_id, {}).get(seat)
        return use.a_lease if use is not None else None

    def needs(self, account_id: str, seats: Sequence[str]) -> int:
        """What some seats use of it together, as far as that is known."""
        return sum(self.need(account_id, seat) or 0 for seat in seats)

    def want(self, account_id: str, seat: str, now_ns: int) -> None:
        """A seat has too little of an account, and there is nothing left."""
        self._wanted.setdefault(account_id, {})[seat] = now_ns

    def content(self, account_id: str, seat: str) -> None:
        """A seat has enough of an account, or got what there was."""
        self._wanted.get(account_id, {}).pop(seat, None)

    def wanted(self, account_id: str, seat: str, now_ns: int) -> bool:
        """Whether another seat wanted of it in the last lease."""
        since_ns = now_ns - self._lease_ns
        wanted = self._wanted.get(account_id, {})
        return any(at_ns > since_ns for name, at_ns in wanted.items() if name != seat)

    def yields(self, account_id: str, seat: str, free: int, step: int, now_ns: int) -> bool:
        """Whether a seat that has so much free holds what another has more use for; `step` is the largest bid."""
        use = self._uses.get(account_id, {}).get(seat)
        if use is None or use.a_lease is None or free <= 0:
            return False
        of_no_use = free > ENOUGH * use.a_lease or (free < step and use.idle)
        return of_no_use and self.wanted(account_id, seat, now_ns)

    def passed(self, account_id: str, seat: str) -> None:
        """A seat gave back what it had no use for."""
        self._passed.setdefault(account_id, set()).add(seat)

    def waits(self, account_id: str, seat: str, seats: Sequence[str]) -> bool:
        """Whether others among `seats` have their turn before this one; once all had theirs, all begin anew."""
        passed = self._passed.get(account_id)
        if not passed or seat not in passed:
            return False
        if passed.issuperset(seats):
            passed.clear()
            return False
        wanted = self._wanted.get(account_id, {})
        return any(name in wanted and name not in passed for name in seats)
