"""Seats, their epochs, and the leases they hold: how budgets reach the workers and come back.

A seat asks for an epoch with a fresh `start_id` and gets the next one; leases of older epochs are never
renewed. Each account is leased on its own, in chunks of its unit, as an absolute counter a (account, seat,
epoch). A lease may be bid on until `bid_until_ns`, renewed while the seat reports and a line item that charges
the account may bid; that of a day's account ends with the day. What a grant did not post comes back
`longest_reservation_ns + margin_ns` after its `bid_until_ns`, or earlier where another seat wants it and its own
says after that time that no bid of it is open (`core.demand`). The counter grows as long as the grant
stands; where it came back meanwhile, a renewal may lower it.
"""

import heapq
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from bidder.core.account import Account, Grant
from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bookings import GrantKey, PaceRow, SeatRow
from bidder.core.budgets import Unit
from bidder.core.demand import Demand
from bidder.core.effects import Draft
from bidder.core.lines import Line
from bidder.core.messages import Lease, Settlements, SliceReport, SliceRow
from bidder.core.opportunity import HOURS_PER_WEEK, NS_PER_HOUR

_NEVER_NS = -(2**62)
_NO_EPOCHS: Mapping[tuple[str, str], int] = {}
_LOOKS_A_LEASE = 30
"""How often in the time of a lease all accounts of a seat are looked at, to renew them and to see flights begin."""
_STARTS = 16
"""Starts of a seat that are remembered; of older ones the books know the number."""
_SILENT_NS = 24 * HOUR_NS
"""A seat that was silent for so long, and holds nothing, is forgotten; it is begun anew should it come back."""
_FEW_BIDS = 4
"""Maximum bids below which a chunk is of no use: of the same opportunities several line items and exchanges bid."""


class Seat:
    """A seat, every start it had, and what it last reported of its epoch.

    `dirty` until the bank has looked at the report: at `stale` accounts, of which something changed, and from
    `whole_ns` on at all; while it is `away` nothing is noted, and all is looked at once it is back. `heard_ns` is up
    to when it was told that all notices were heard. `complete` once all that it posted in its epoch is known: it has
    just asked for one, or told of all its accounts. The latest starts are kept so that a worker that was replaced,
    or a request that is read again, never opens an epoch anew.
    """

    __slots__ = (
        "away",
        "complete",
        "dirty",
        "epoch",
        "heard_ns",
        "name",
        "reported_ns",
        "rows",
        "seq",
        "stale",
        "start_id",
        "starts",
        "told_ns",
        "whole_ns",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.starts: dict[str, None] = {}
        self.enter(0, "")
        self.reported_ns = _NEVER_NS
        self.dirty = False
        self.away = True

    def enter(self, epoch: int, start_id: str) -> None:
        """Begins an epoch, without a report yet."""
        self.epoch = epoch
        self.start_id = start_id
        self.starts.pop(start_id, None)
        self.starts[start_id] = None
        while len(self.starts) > _STARTS:
            del self.starts[next(iter(self.starts))]
        self.seq = -1
        self.complete = False
        self.rows: dict[str, SliceRow] = {}
        self.told_ns = _NEVER_NS
        self.stale: set[str] = set()
        self.whole_ns = _NEVER_NS
        self.heard_ns = 0

    def leave(self) -> None:
        """It is silent: nothing more is gathered for it."""
        self.away = True
        self.stale = set()
        self.whole_ns = _NEVER_NS

    def report(self, report: SliceReport, accounts: Container[str]) -> None:
        """Takes a newer report of the epoch, as far as it is about these accounts: others are another bank's."""
        before = self.rows
        told = {row.account_id: row for row in report.rows if row.account_id in accounts}
        self.stale.update([name for name, row in told.items() if row != before.get(name)])
        self.rows = told if report.whole else before | told
        self.complete = self.complete or report.whole
        self.seq, self.told_ns = report.seq, report.at_ns


class Leasing:
    """All seats, and the grants they hold in the accounts.

    Args:
        rules: lease times and chunk sizes.
        accounts: accounts by id that seats may hold grants of; shared with the chart, which changes it.
        epochs: every epoch of every seat as it was kept, older ones first.

    Attributes:
        stopped: whether a brake stops a line item, or None where none is stopped.
    """

    def __init__(self, rules: BankRules, accounts: Mapping[str, Account], epochs: Iterable[SeatRow]) -> None:
        self._rules = rules
        self._accounts = accounts
        self._seats: dict[str, Seat] = {}
        for row in epochs:
            self._seats.setdefault(row.seat, Seat(row.seat)).enter(row.epoch, row.start_id)
        self._tidied_ns: int | None = None
        self.stopped: Callable[[Line], bool] | None = None
        self._frees: list[tuple[int, GrantKey]] = []
        self._demand = Demand(rules.lease_ns)
        for account in accounts.values():
            for grant in account.grants.values():
                if not grant.freed:
                    self._schedule_free(grant)

    def knows(self, report: SliceReport) -> bool:
        """Whether the start that a report is of was seen before."""
        seat = self._seats.get(report.seat)
        return seat is not None and report.start_id in seat.starts

    def take(
        self,
        report: SliceReport,
        now_ns: int,
        draft: Draft,
        epochs: Mapping[tuple[str, str], int] = _NO_EPOCHS,
    ) -> None:
        """Takes a request for an epoch or a newer report of the current one; any other is of the past.

        `epochs` are numbers by (seat, start) that all banks of a seat agreed on; a start that has none there asks
        for the next.
        """
        seat = self._seats.get(report.seat) or Seat(report.seat)
        if report.start_id != seat.start_id:
            agreed = epochs.get((report.seat, report.start_id), 0 if report.epoch else seat.epoch + 1)
            if report.start_id in seat.starts or agreed <= seat.epoch:
                return
            self._seats[seat.name] = seat
            self._open_epoch(seat, report.start_id, draft, agreed)
        elif report.epoch == 0:
            self._forget_sent(seat)
        elif report.epoch != seat.epoch or report.seq <= seat.seq:
            return
        if report.epoch == seat.epoch:
            seat.report(report, self._accounts)
            self._note_paces(report, draft)
        elif report.epoch == 0:
            seat.complete = True
        seat.reported_ns = max(seat.reported_ns, now_ns)
        seat.dirty = True
        seat.away = False

    def _note_paces(self, report: SliceReport, draft: Draft) -> None:
        """Keeps how the seat paces budgets of this bank, for whoever moves money between campaigns."""
        week_hour = report.at_ns // NS_PER_HOUR % HOURS_PER_WEEK
        for pace in report.paces:
            if pace.account_id in self._accounts:
                row = PaceRow(pace.account_id, report.seat, week_hour, pace.multiplier_ppb, report.at_ns)
                draft.paces[row[:3]] = row

    def _open_epoch(self, seat: Seat, start_id: str, draft: Draft, epoch: int) -> None:
        """Begins a seat's newer epoch; what the one before still holds comes back in its own time."""
        for account in self._accounts.values():
            old = account.grants.get((seat.name, seat.epoch))
            if old is not None and old.freed:
                account.drop(old)
                draft.drop(account, old)
        seat.enter(epoch, start_id)
        self._demand.forget(seat.name)
        draft.seats.append(SeatRow(seat.name, seat.epoch, start_id))

    def _forget_sent(self, seat: Seat) -> None:
        """A start that asks again may have missed its leases: all are told again."""
        seat.whole_ns = _NEVER_NS
        for account in self._accounts.values():
            grant = account.grants.get((seat.name, seat.epoch))
            if grant is not None:
                grant.sent = None

    def look_again(self) -> None:
        """Makes the next `serve` look at all of every seat: budgets changed."""
        for seat in self._seats.values():
            seat.dirty = True
            seat.whole_ns = _NEVER_NS

    def changed(self, account_ids: Iterable[str]) -> None:
        """Makes the next look at a seat see these accounts: something was booked on them or came back."""
        for seat in self._seats.values():
            if not seat.away:
                seat.stale.update(account_ids)

    def locked(self) -> dict[str, int]:
        """By account, what seats hold in reservations, as they last said."""
        held: dict[str, int] = {}
        for seat in self._seats.values():
            for name, row in seat.rows.items():
                held[name] = held.get(name, 0) + row.reserved_nanos
        return held

    def serve(self, now_ns: int, seen_until_ns: int, draft: Draft, late_share_ppm: int = 0) -> None:
        """Brings the leases of all seats that reported up to date, and tells each seat what changed.

        A lease lasts from `seen_until_ns`, up to which all notices have been applied; where that is a whole
        lease ago the seats wait. `late_share_ppm` of what may still come is kept back, in millionths.
        """
        self._tidy(now_ns, draft)
        until_ns = seen_until_ns + self._rules.lease_ns
        if until_ns <= now_ns:
            return
        alive = [seat for _, seat in sorted(self._seats.items()) if self._alive(seat, now_ns)]
        names = [seat.name for seat in alive]
        for seat in alive:
            if seat.dirty:
                self._serve_seat(seat, now_ns, until_ns, names, late_share_ppm, draft)
                seat.dirty = False

    def free(self, seen_until_ns: int, draft: Draft) -> None:
        """Frees grants that nothing can be posted to in time any more; forgets those of old epochs and days."""
        while self._frees and self._frees[0][0] < seen_until_ns:
            _, key = heapq.heappop(self._frees)
            account = self._accounts.get(key.account_id)
            grant = account.grants.get((key.seat, key.epoch)) if account is not None else None
            if account is None or grant is None or grant.freed or self._free_at_ns(grant) >= seen_until_ns:
                continue  # renewed since: its later entry is in the heap
            account.free(grant)
            draft.move(account, grant)
            if account.closed or not self._current(grant):
                account.drop(grant)
                draft.drop(account, grant)
                if account.closed:
                    self._demand.drop(account.id)

    def live(self, now_ns: int) -> tuple[Lease, ...]:
        """Every lease of a current epoch that may still be bid on."""
        seats = sum(self._alive(seat, now_ns) for seat in self._seats.values())
        return tuple(
            self._lease(account, grant, max(1, seats))
            for account in self._accounts.values()
            for grant in account.grants.values()
            if not grant.freed and grant.bid_until_ns > now_ns and self._current(grant)
        )

    def marks(self, now_ns: int, seen_until_ns: int) -> list[Settlements]:
        """Tells seats up to when all notices were heard, by their clocks too; many times in the time of a lease."""
        heard_ns = max(0, seen_until_ns - self._rules.margin_ns)
        step_ns = self._rules.lease_ns // _LOOKS_A_LEASE
        marks = []
        for _, seat in sorted(self._seats.items()):
            if self._alive(seat, now_ns) and heard_ns > seat.heard_ns + step_ns:
                seat.heard_ns = heard_ns
                marks.append(Settlements(seat=seat.name, epoch=seat.epoch, rows=(), heard_until_ns=heard_ns))
        return marks

    def _tidy(self, now_ns: int, draft: Draft) -> None:
        """Gathers nothing for seats that are silent; now and then forgets those that stay so, and what is over."""
        for seat in self._seats.values():
            if not seat.away and not self._alive(seat, now_ns):
                seat.leave()
        if self._tidied_ns is None:
            self._tidied_ns = now_ns  # after a start all are silent
        elif now_ns - self._tidied_ns >= HOUR_NS:
            self._tidied_ns = now_ns
            self._forget_silent(now_ns, draft)
            self._demand.keep(self._accounts, self._seats)

    def _forget_silent(self, now_ns: int, draft: Draft) -> None:
        """Forgets seats that were silent for long, with grants of theirs that came back.

        One that comes back in its epoch is granted what it says that it posted, and more as it needs it.
        """
        held = {seat for account in self._accounts.values() for seat, _ in _unfreed(account)}
        silent = {
            name
            for name, seat in self._seats.items()
            if name not in held and now_ns - seat.reported_ns >= _SILENT_NS
        }
        for account in self._accounts.values():
            for grant in [grant for grant in account.grants.values() if grant.seat in silent]:
                account.drop(grant)
                draft.drop(account, grant)
        for name in silent:
            del self._seats[name]

    def _alive(self, seat: Seat, now_ns: int) -> bool:
        return seat.epoch > 0 and now_ns - seat.reported_ns < self._rules.lease_ns

    def _current(self, grant: Grant) -> bool:
        seat = self._seats.get(grant.seat)
        return seat is not None and seat.epoch == grant.epoch

    def _serve_seat(
        self, seat: Seat, now_ns: int, until_ns: int, seats: Sequence[str], late_share_ppm: int, draft: Draft
    ) -> None:
        """Looks at the accounts of which something changed, and at all of them many times a lease."""
        stale = seat.stale
        if now_ns >= seat.whole_ns:
            seat.whole_ns = now_ns + self._rules.lease_ns // _LOOKS_A_LEASE
            accounts: Iterable[Account] = self._accounts.values()
        else:
            accounts = [self._accounts[name] for name in sorted(stale) if name in self._accounts]
        seat.stale = set()
        for account in accounts:
            self._keep_back(account, late_share_ppm, now_ns)
            self._serve_account(seat, account, now_ns, until_ns, seats, draft)

    def _keep_back(self, account: Account, share_ppm: int, now_ns: int) -> None:
        """Sets an account's reserve; one of which more came uncovered than of all keeps back more."""
        rules = self._rules
        if rules.late_share_ppm is None:
            share_ppm = max(share_ppm, min(account.uncovered_ppm, rules.late_ceiling_ppm))
        account.keep_back(share_ppm, now_ns, rules.late_tail_ns)

    def _serve_account(
        self, seat: Seat, account: Account, now_ns: int, until_ns: int, seats: Sequence[str], draft: Draft
    ) -> None:
        biddable = account.biddable(now_ns, self._rules.lease_ns, self.stopped)
        grant = account.grants.get((seat.name, seat.epoch))
        if grant is None:
            if not biddable or not seat.complete:
                return
            row = seat.rows.get(account.id)
            # Above 0 where its grants were forgotten in a long silence: it spends what is above all it posted.
            grant = account.open(seat.name, seat.epoch, row.posted_nanos if row is not None else 0)
        if biddable:
            self._demand.look(account.id, seat.name, _used(seat, grant), now_ns)
            self._hand_on(account, grant, seat, now_ns, draft)
            self._renew(account, grant, seat, now_ns, until_ns, draft)
            if not grant.freed:
                self._top_up(account, grant, seat, seats, now_ns, draft)
        if not self._announce(account, grant, len(seats), now_ns, draft):
            seat.stale.add(account.id)

    def _hand_on(self, account: Account, grant: Grant, seat: Seat, now_ns: int, draft: Draft) -> None:
        """Takes back what a seat holds whose lease ended, where another wants it and no bid of it is open."""
        if grant.freed or not grant.unposted or grant.bid_until_ns >= now_ns:
            return
        if self._demand.wanted(account.id, seat.name, now_ns) and self._idle(seat, grant):
            account.free(grant)
            account.shrink(grant)
            self._demand.passed(account.id, seat.name)
            draft.move(account, grant)

    def _renew(
        self, account: Account, grant: Grant, seat: Seat, now_ns: int, until_ns: int, draft: Draft
    ) -> None:
        """Lets the seat bid until `until_ns` where that is at least a third of a lease more.

        A day's account goes up to the end of its day, however little more that is. An account whose limit was
        cut below what is committed is not renewed: its leases end, and what they did not post comes back; nor where
        nothing is left and the seat holds what another has more use for. A
        grant that came back and does not fit any more as a whole begins again with nothing free in it, to be
        topped up by what fits.
        """
        last = account.daily and until_ns >= account.end_ns
        if last:
            until_ns = account.end_ns
        gain_ns = until_ns - grant.bid_until_ns
        if account.cut or gain_ns <= 0 or (gain_ns * 3 < self._rules.lease_ns and not last):
            return
        free = grant.granted - _used(seat, grant)
        step = account.step
        if account.room < step and self._demand.yields(account.id, seat.name, free, step, now_ns):
            return
        if grant.freed and not account.reopen(grant):
            if not self._idle(seat, grant):
                return
            account.shrink(grant)
        grant.bid_until_ns = until_ns
        self._schedule_free(grant)
        draft.move(account, grant)

    def _idle(self, seat: Seat, grant: Grant) -> bool:
        """Whether the seat said, since its lease ended, that no bid of it is open and all spend is known.

        It cannot have bid since then; so all that it believes to be free may be taken from it.
        """
        row = seat.rows.get(grant.account_id)
        return (
            row is not None
            and seat.told_ns > grant.bid_until_ns
            and row.reserved_nanos == 0
            and row.posted_nanos >= grant.posted
        )

    def _top_up(
        self, account: Account, grant: Grant, seat: Seat, seats: Sequence[str], now_ns: int, draft: Draft
    ) -> None:
        """Grants one more chunk where less than half of one is unspent.

        Where that is more than is left, or would leave less than one bid, all of it is granted; less than one bid is
        granted to a seat only that has less than one, or each booking would bring a grant.
        """
        room, step = account.room, account.step
        chunk = self._chunk(account, seat, seats)
        free = grant.granted - _used(seat, grant)
        if free * 2 >= chunk:
            self._demand.content(account.id, seat.name)
            return
        if not room or (room < step <= free) or self._demand.waits(account.id, seat.name, seats):
            self._demand.want(account.id, seat.name, now_ns)
            return
        self._demand.content(account.id, seat.name)
        account.give(grant, room if room - chunk < step else chunk)
        draft.move(account, grant)

    def _chunk(self, account: Account, seat: Seat, seats: Sequence[str]) -> int:
        """How much a seat is granted at once, in whole impressions where the account counts these.

        What it uses in a lease, and a quarter of what it holds in reservations, for these come and go; at most half
        of what is left, shared out by the needs of all. While its need is not known, a quarter of its even share.
        At least `min_chunk_bids` of the largest bids, or its even share of the budget that is left where that is
        less, but never below a few of the largest bids: of a small budget some seats then have enough and others wait
        their turn, where a crumb for each would be of use to none.
        """
        room, step, name = account.room, account.step, account.id
        row = seat.rows.get(name)
        need = self._demand.need(name, seat.name)
        if need is None:
            chunk = room // (4 * len(seats))
        else:
            need += row.reserved_nanos // 4 if row else 0
            chunk = min(need, room * need // (2 * max(need, self._demand.needs(name, seats))) if need else 0)
        even = max(0, account.limit - account.booked) // len(seats)
        chunk = max(chunk, min(self._rules.min_chunk_bids * step, even), _FEW_BIDS * step)
        return chunk + -chunk % step if account.unit is Unit.IMPRESSIONS else chunk

    def _announce(self, account: Account, grant: Grant, seats: int, now_ns: int, draft: Draft) -> bool:
        """Tells the seat of a lease that changed; of spend alone only every `spent_refresh_ns`.

        Returns:
            Whether it knows all there is to tell.
        """
        terms, sent = (grant.granted, grant.bid_until_ns, account.limit), grant.sent
        if sent is not None and grant.granted < sent.terms[0] and grant.bid_until_ns == sent.terms[1]:
            return True  # handed on after its end: a seat takes less only with a later end, which it is told then
        if sent is not None and sent.terms == terms:
            if sent.spent == account.booked:
                return True
            if now_ns - sent.at_ns < self._rules.spent_refresh_ns:
                return False
        grant.tell(terms, account.booked, now_ns)
        draft.leases.append(self._lease(account, grant, seats))
        return True

    def _lease(self, account: Account, grant: Grant, seats: int) -> Lease:
        return Lease(
            seat=grant.seat,
            epoch=grant.epoch,
            start_id=self._seats[grant.seat].start_id,
            account_id=grant.account_id,
            granted_nanos=grant.granted,
            bid_until_ns=grant.bid_until_ns,
            budget_nanos=account.limit,
            spent_nanos=account.booked,
            seats=seats,
            held=True,
        )

    def _free_at_ns(self, grant: Grant) -> int:
        return grant.bid_until_ns + self._rules.longest_reservation_ns + self._rules.margin_ns

    def _schedule_free(self, grant: Grant) -> None:
        heapq.heappush(self._frees, (self._free_at_ns(grant), grant.key))


def _unfreed(account: Account) -> list[tuple[str, int]]:
    return [key for key, grant in account.grants.items() if not grant.freed]


def _used(seat: Seat, grant: Grant) -> int:
    """What the seat last said it posted and holds in reservations of a grant of its epoch."""
    row = seat.rows.get(grant.account_id)
    return row.posted_nanos + row.reserved_nanos if row else 0
