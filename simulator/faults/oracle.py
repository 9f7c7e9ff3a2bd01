"""What must hold, judged by what the scheduler saw and never by the ledger under test.

A billing is *in time* where a tracker took it before its reservation's end, by the times in the bid's own token on
the scheduler's clock, and brought it to the log of notices as soon as is promised: a first word that the bid won by
the end of waiting for a result, the billing by the end of liability, and no word before it that the bid lost. Any
other is *late*; so is one that a tracker had to keep for longer than banks wait for it, unless it was written before
that end. After every event each budget of every level and unit is within its bounds (`simulator.faults.bounds`), and
no seat has spent more than it was told that it may. After a stop no bid is made but for a stated time. Once all is
quiet, the books of the bank are those of the exchange, bid by bid, and those of the shops, order by order
(`simulator.faults.credits`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from weakref import WeakSet

import msgspec

from bidder.core.bankrules import Rule
from bidder.core.budgets import Unit
from bidder.core.messages import LEASES, NOTICES, ONE_IMPRESSION, NoticeKind
from bidder.core.shards import shard_of
from bidder.runtime.bank import BankService
from bidder.runtime.bank_shards import ShardedBank
from bidder.runtime.transport import Message
from bidder.store.books import Books
from simulator.faults.bounds import Bound, Complaint
from simulator.faults.credits import Booked, Credits, Shown
from simulator.faults.disk import Disk
from simulator.faults.plan import LEASE_NS, SLACK_NS, STOPPED_NS, TRACKER_WAIT_NS, Charge, Scenario
from simulator.faults.scheduler import Life, Scheduler

_STEPS_A_VERIFICATION, _STEPS_A_LOOK = 400, 10
_WINNING = frozenset({NoticeKind.WIN, NoticeKind.BILLING})
_TOUCHING = frozenset({NoticeKind.BILLING, NoticeKind.IMPRESSION, NoticeKind.CLICK})
_OF_ORDERS = frozenset({Rule.DUPLICATE_ORDER.value, Rule.OUTSIDE_WINDOW.value})
_CONVERSIONS = """
    SELECT advertiser_id, event_id, bid_id, line_item_id, value_nanos, touch, goal FROM bookings WHERE kind = ?
    ORDER BY bid_id, event_id"""
_STRAYS = "SELECT advertiser_id, sum(times), sum(value_nanos) FROM unattributed GROUP BY advertiser_id"


class Bid:
    """One bid as the exchange knows it; times in ns of the scheduler.

    Attributes:
        cap_nanos: its price as bid. price_nanos: what it is billed, 0 where it lost.
        result_ns, liable_ns: ends of its reservation. won: whether a word in time said so. lost_ns: when a first word
            that it lost was written. billed_ns: when what books its money was first written; 0 before. late: whether
            that was out of time.
        grant: seat and epoch that made it.
        charge: what books it, and what comes on top of its price.
        shown: what people and shops know of it.
    """

    __slots__ = (
        "accounts", "billed_ns", "cap_nanos", "charge", "grant", "id", "late", "liable_ns", "line",
        "local_liable_ns", "lost_ns", "price_nanos", "result_ns", "shown", "urls", "won",
    )  # fmt: skip

    def __init__(
        self,
        bid_id: str,
        line: str,
        accounts: tuple[str, ...],
        cap_nanos: int,
        result_ns: int,
        liable_ns: int,
        local_liable_ns: int,
        urls: dict[NoticeKind, str],
        charge: Charge,
        grant: tuple[str, int],
        shown: Shown,
    ) -> None:
        self.id, self.line, self.accounts, self.cap_nanos = bid_id, line, accounts, cap_nanos
        self.result_ns, self.liable_ns, self.local_liable_ns, self.urls = (
            result_ns,
            liable_ns,
            local_liable_ns,
            urls,
        )
        self.price_nanos = self.lost_ns = self.billed_ns = 0
        self.won = self.late = False
        self.charge, self.grant, self.shown = charge, grant, shown

    @property
    def cost_nanos(self) -> int:
        """What its budgets pay."""
        return self.charge.cost_nanos(self.price_nanos)


class _Notice(msgspec.Struct, frozen=True, gc=False, tag="notice"):
    """What is looked at of a written notice."""

    bid_id: str
    kind: int
    price_nanos: int
    at_ns: int
    fees_nanos: int = 0
    advertiser_id: str = ""
    order_id: str = ""
    value_nanos: int = 0


class _Conversion(msgspec.Struct, frozen=True, gc=False, tag="conversion"):
    """What is looked at of a written conversion."""

    advertiser_id: str
    order_id: str
    value_nanos: int
    at_ns: int


class _Lease(msgspec.Struct, frozen=True, gc=False):
    """What is looked at of a written lease."""

    seat: str
    epoch: int
    account_id: str
    granted_nanos: int
    bid_until_ns: int


class Violation(msgspec.Struct, frozen=True):
    """A rule that did not hold: which, when (ns after the start), and what was seen."""

    kind: str
    at_ns: int
    what: str


class Oracle:
    """Watches a run.

    Args:
        plan: what is played. scheduler: the time that counts.

    Attributes:
        violations: what did not hold, the first of each kind first. bids: all that an auction took, by id.
        bounds: of each budget. expected: refusals at the bank, by rule. credits: what orders must count for.
    """

    def __init__(self, plan: Scenario, scheduler: Scheduler) -> None:
        self._plan, self._scheduler = plan, scheduler
        self._begin_ns = scheduler.now_ns
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.bids: dict[str, Bid] = {}
        rules = plan.rules()
        self.bounds = {name: Bound(budget, rules) for name, budget in plan.budgets.items()}
        self.expected: Counter[str] = Counter()
        self.credits = Credits(plan)
        self.late_wins = 0
        self._taken: dict[tuple[str, int, int], int] = {}
        self._owners: dict[int, BankService] = {}
        self._known: WeakSet[BankService] = WeakSet()
        self._granted: Counter[tuple[str, int, str]] = Counter()
        self._used: Counter[tuple[str, int, str]] = Counter()
        self._noticed: set[tuple[str, int]] = set()
        self._lease_until: dict[tuple[str, int, str], int] = {}
        self._newest_epoch: dict[tuple[str, int], int] = {}
        self._promised: set[tuple[str, int]] = set()
        self._orders_written: set[bytes] = set()
        self._orders_promised: set[bytes] = set()
        self._units = {name: budget.unit for name, budget in plan.budgets.items()}
        self._stopped = {line: plan.stopped_by(line) for line in plan.lines}
        self.stops: dict[str, tuple[int, int]] = {}
        self._holders: dict[tuple[str, int], Life] = {}
        self._skews: dict[tuple[str, int], int] = {}
        self._steps = 0
        self._read_notice = msgspec.json.Decoder(_Notice | _Conversion)
        self._read_lease = msgspec.json.Decoder(_Lease)

    def violated(self, kind: str, what: str) -> None:
        """Notes that a rule did not hold; of each kind the first few in words."""
        self.counts[kind] += 1
        if self.counts[kind] <= 3:
            self.violations.append(Violation(kind, self._scheduler.now_ns - self._begin_ns, what))

    def _complain(self, complaints: Iterable[Complaint]) -> None:
        for kind, what in complaints:
            self.violated(kind, what)

    # -- bids -----------------------------------------------------------------------------------------------

    def bidding(self, life: Life, seat: str, epoch: int, skew_ns: int) -> None:
        """A process bids: an epoch has one life, and no other."""
        holder = self._holders.setdefault((seat, epoch), life)
        self._skews[seat, epoch] = skew_ns
        if holder is not life:
            self.violated("epoch_resumed", f"epoch {epoch} of {seat} was bid on by another start")

    def skew_ns(self, seat: str, epoch: int) -> int:
        """How much the clock was ahead that wrote the times in the tokens of an epoch."""
        return self._skews[seat, epoch]

    def stop(self, name: str, until_ns: int) -> None:
        """Somebody was stopped now, and is let go then."""
        self.stops[name] = (self._scheduler.now_ns, until_ns)

    def offered(self, seat: str, epoch: int, bid_at_ns: int, line: str, accounts: Iterable[str]) -> None:
        """A bid reached the exchange: its budgets must have been leased when it was made, and nobody stopped it."""
        after_ns = LEASE_NS + SLACK_NS if self._plan.faulty else STOPPED_NS
        made_ns = bid_at_ns - self._skews[seat, epoch]
        for name, (begin_ns, end_ns) in self.stops.items():
            if name in self._stopped[line] and begin_ns + after_ns < made_ns < end_ns:
                self.violated(
                    "bid_while_stopped",
                    f"{line} bid {(made_ns - begin_ns) / 1e9:.3f} s after {name} was stopped",
                )
        for account in accounts:
            until_ns = self._lease_until.get((seat, epoch, account), 0)
            if bid_at_ns >= until_ns:
                self.violated(
                    "bid_without_lease",
                    f"{seat} bid in epoch {epoch} on {account} at {bid_at_ns}, its lease ended at {until_ns}",
                )

    def taking(self, bid: Bid, kind: NoticeKind, local_ns: int) -> None:
        """A tracker is called, with this time on its clock."""
        self._taken.setdefault((bid.id, int(kind), local_ns), self._scheduler.now_ns)

    # -- what is written ------------------------------------------------------------------------------------

    def heard(self, message: Message) -> None:
        """A message was written to the broker's log: from now on it happened."""
        if message.topic == NOTICES:
            self._heard_notice(message.value)
        elif message.topic == LEASES:
            self._heard_lease(message.value)

    def _heard_notice(self, value: bytes) -> None:
        try:
            notice = self._read_notice.decode(value)
        except msgspec.DecodeError:
            return
        if isinstance(notice, _Conversion) or notice.kind == NoticeKind.CONVERSION:
            self._heard_order(notice, value)
            return
        bid = self.bids.get(notice.bid_id)
        if bid is None:
            return  # one that no tracker of ours wrote: whoever wrote it says what is to become of it
        key, now_ns = (bid.id, notice.kind), self._scheduler.now_ns
        self._promised.discard(key)
        if notice.kind == NoticeKind.LOSS:
            bid.lost_ns = bid.lost_ns or now_ns
            return
        if key in self._noticed:
            self.expected["duplicate"] += 1
            return
        self._noticed.add(key)
        came_ns = self._came_ns(notice)
        if notice.kind in _WINNING:
            bid.won |= came_ns <= bid.result_ns
        if notice.kind in _TOUCHING:
            self.credits.touch(bid.shown, notice.kind, notice.at_ns, came_ns)
        if notice.kind == bid.charge.money:
            self._billed(bid, notice.price_nanos + notice.fees_nanos, came_ns)

    def _heard_order(self, said: _Notice | _Conversion, value: bytes) -> None:
        self._orders_written.add(value)
        self._orders_promised.discard(value)
        key = said.advertiser_id, said.order_id
        if isinstance(said, _Conversion):
            found = self.credits.of_person(key, said.value_nanos, said.at_ns, self._scheduler.now_ns)
        else:
            found = self.credits.of_bid(key, said.value_nanos, said.at_ns)
        self._complain(found)

    def _came_ns(self, notice: _Notice) -> int:
        """When it counts as told: when a tracker took it, or where that was long ago, now that it is written."""
        now_ns = self._scheduler.now_ns
        taken_ns = self._taken.get((notice.bid_id, notice.kind, notice.at_ns), now_ns)
        return taken_ns if now_ns - taken_ns <= TRACKER_WAIT_NS else now_ns

    def _billed(self, bid: Bid, cost_nanos: int, came_ns: int) -> None:
        if cost_nanos != bid.cost_nanos:
            self.violated("price", f"notice of bid {bid.id} must cost {bid.cost_nanos}, cost {cost_nanos}")
        bid.billed_ns = self._scheduler.now_ns
        bid.late = bool(bid.lost_ns) or not bid.won or came_ns > bid.liable_ns
        self.late_wins += bid.late
        for account in bid.accounts:
            units = bid.cost_nanos if self._units[account] is Unit.MONEY else ONE_IMPRESSION
            self._complain(self.bounds[account].spend(units, late=bid.late))
            if not bid.late:
                self._use(bid, account, units)

    def _use(self, bid: Bid, account: str, units: int) -> None:
        """A seat spends in time no more than it was told that it may."""
        key = (*bid.grant, account)
        self._used[key] += units
        if self._used[key] > self._granted[key]:
            self.violated(
                "beyond_grant",
                f"spend in time of {key} must be at most {self._granted[key]}, was {self._used[key]}",
            )

    def _heard_lease(self, value: bytes) -> None:
        lease = self._read_lease.decode(value)
        key = (lease.seat, lease.epoch, lease.account_id)
        self._granted[key] = max(self._granted[key], lease.granted_nanos)
        # A shard knows of an epoch when it has read of it.
        of = lease.seat, shard_of(self._plan.budgets[lease.account_id].advertiser_id, self._plan.shards)
        before_ns = self._lease_until.get(key, 0)
        if lease.bid_until_ns > before_ns:
            self._lease_until[key] = lease.bid_until_ns
            if lease.epoch < self._newest_epoch.get(of, 0):
                self.violated("stale_lease", f"lease of {key} was renewed after a newer epoch began")
        self._newest_epoch[of] = max(self._newest_epoch.get(of, 0), lease.epoch)

    def acknowledged(self, bid: Bid, kind: NoticeKind, *, on_disk: Callable[[], bool]) -> None:
        """The exchange was told that its call was taken: it must be written by then, or be on a tracker's disk."""
        written = bid.lost_ns > 0 if kind is NoticeKind.LOSS else (bid.id, int(kind)) in self._noticed
        if written:
            return
        self._promised.add((bid.id, int(kind)))
        if not on_disk():
            self.violated("not_durable", f"{kind.name} of bid {bid.id} was acknowledged and not written")

    def acknowledged_order(self, written: bytes, *, on_disk: Callable[[], bool]) -> None:
        """A shop was told that its conversion was taken: see `acknowledged`."""
        if written in self._orders_written:
            return
        self._orders_promised.add(written)
        if not on_disk():
            self.violated("not_durable", f"{written.decode()} was acknowledged and not written")

    # -- the bank -------------------------------------------------------------------------------------------

    def restated(self, account: str, limit: int) -> None:
        """A budget was changed; the bank takes that a little later."""
        self.bounds[account].state(limit)

    def banked(self, sharded: ShardedBank) -> None:
        """The bank took a step: its own checks, and what it says against what was written."""
        self._steps += 1
        for number, service in sharded.services.items():
            service.bank.check()
            started = service not in self._known
            if started:
                self._known.add(service)
                self._owners[number] = service
            if self._owners[number] is not service:
                continue  # another has claimed the shard since: this one does not know it yet, and can write nothing
            for report in service.bank.accounts():
                self._complain(self.bounds[report.id].take(report, started=started))
            if self._steps % _STEPS_A_LOOK == 0:
                self._complain(self.credits.so_far(self._booked_orders(service)))
        if self._steps % _STEPS_A_VERIFICATION == 0:
            sharded.verify()

    def _booked_orders(self, service: BankService) -> Counter[str]:
        """Conversions that a bank has booked, by advertiser."""
        booked: Counter[str] = Counter()
        for each in service.bank.line_items():
            booked[self._plan.lines[each.id][0].advertiser] += each.conversions
        return booked

    def quiet(self, banks: Sequence[ShardedBank], disk: Disk) -> None:
        """All has come to rest: the banks' books and those of the exchange are the same, to the nano."""
        for bank in banks:
            bank.verify()
        for bid_id, kind in sorted(self._promised)[:3]:
            self.violated("not_delivered", f"{NoticeKind(kind).name} of bid {bid_id} stayed on a disk")
        for written in sorted(self._orders_promised)[:3]:
            self.violated("not_delivered", f"{written.decode()} stayed on a disk")
        with disk.reading() as connection:
            rows = connection.execute(
                "SELECT bid_id, amount_nanos FROM bookings WHERE amount_nanos > 0"
            ).fetchall()
            # Each shard adds to one row what it refused of campaigns that nobody knows.
            refused = connection.execute("SELECT rule, sum(times) FROM refusals GROUP BY rule").fetchall()
            found = connection.execute(_CONVERSIONS, (int(NoticeKind.CONVERSION),)).fetchall()
            strays = connection.execute(_STRAYS).fetchall()
        booked = dict(rows)
        if len(booked) < len(rows):
            self.violated("doubled", f"{len(rows) - len(booked)} bids were booked twice")
        owed = {bid.id: bid.cost_nanos for bid in self.bids.values() if bid.billed_ns}
        self._compare("lost", "bid", owed, booked)
        accounts = {name: bound.spent for name, bound in self.bounds.items()}
        self._compare(
            "books", "budget", accounts, {row.account_id: row.booked for row in Books(disk).accounts()}
        )
        unattributed = {name: (int(times), int(value)) for name, times, value in strays}
        self._complain(self.credits.judge(map(Booked._make, found), unattributed))
        expected = self.expected + Counter({Rule.DUPLICATE.value: self.credits.refused()})
        self._compare("refused", "rule", expected, _repeats_as_one(refused))
        services = [service for bank in banks for service in bank.services.values()]
        for report in (report for service in services for report in service.bank.accounts()):
            self._complain(self.bounds[report.id].settled(report))
        self._quiet_reports(services)

    def _quiet_reports(self, services: Sequence[BankService]) -> None:
        """What the banks say of line items and campaigns."""
        lines: Counter[str] = Counter()
        campaigns: Counter[str] = Counter()
        for bid in self.bids.values():
            if bid.billed_ns:
                lines[bid.line] += bid.cost_nanos
                campaigns[self._plan.lines[bid.line][0].id] += bid.cost_nanos
        theirs = {each.id: each.spend_nanos for service in services for each in service.bank.line_items()}
        self._compare("books", "line item", lines, theirs)
        theirs = {each.id: each.spend_nanos for service in services for each in service.report()}
        self._compare("books", "campaign", campaigns, theirs)
        self._quiet_conversions(services)

    def _quiet_conversions(self, services: Sequence[BankService]) -> None:
        """Conversions of each line item, those of them after a view alone, and their worth."""
        ours = self.credits.lines()
        reports = {each.id: each for service in services for each in service.bank.line_items()}
        for place, what in enumerate(("conversions", "view_conversions", "value_nanos")):
            theirs = {name: int(getattr(each, what)) for name, each in reports.items()}
            mine = {name: sums[place] for name, sums in ours.items()}
            self._compare("conversion_sums", f"{what} of line item", mine, theirs)

    def _compare(self, kind: str, what: str, ours: dict[str, int], theirs: dict[str, int]) -> None:
        names = {name for name in (*ours, *theirs) if ours.get(name, 0) != theirs.get(name, 0)}
        for name in sorted(names)[:3]:
            self.violated(
                kind,
                f"{what} {name} must have {ours.get(name, 0)} in the bank's books, had {theirs.get(name, 0)}",
            )


def _repeats_as_one(rows: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Refusals by rule; which of its rules a conversion broke depends on when the bank looked, so these are one."""
    counts: Counter[str] = Counter()
    for rule, times in rows:
        counts[Rule.DUPLICATE.value if rule in _OF_ORDERS else rule] += int(times)
    return counts


def watching(oracle: Oracle) -> Callable[[BaseException], None]:
    """Notes what the code under test itself says is wrong."""

    def judged(error: BaseException) -> None:
        oracle.violated("invariant", f"{type(error).__name__}: {error}")
        raise Broken from error

    return judged


class Broken(Exception):
    """The code under test ended by a rule of its own: the run cannot go on."""
