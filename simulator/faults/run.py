"""One seeded run, and what came of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from time import process_time

import msgspec

from bidder.core.budgets import Unit
from bidder.core.messages import NOTICES, TOPICS, TRACKERS
from bidder.core.purse import Unit as PurseUnit
from bidder.store.brakes import BrakeStore
from bidder.store.campaigns import CampaignStore
from simulator.faults.banks import BankProcess
from simulator.faults.bidders import Bidder
from simulator.faults.broker import Broker
from simulator.faults.calls import World
from simulator.faults.dice import Dice
from simulator.faults.disk import Disk
from simulator.faults.history import keep
from simulator.faults.machines import Machine
from simulator.faults.market import Market
from simulator.faults.oracle import Broken, Oracle, Violation, watching
from simulator.faults.plan import MAX_BID_CPM_MICROS, MS, NO_FAULTS, S, Scenario, Stop
from simulator.faults.scheduler import Scheduler
from simulator.faults.shops import Shops
from simulator.faults.trackers import TrackerProcess

KEY = b"key of the runs with faults ...."
LEAST_SPENT = 0.99
"""Share of what can be spent that a run without faults must spend, where crumbs (`Run._crumbs`) are not more."""
_SETTLED_NS = 8 * S
"""After the last auction all reservations have ended by then."""
_LONGEST_REST_NS = 300 * S
_LOOK_NS = 489 * MS
"""No multiple of what processes wait between their steps, or it would see the same of them each time."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run.

    `faults` are counted by kind, `violations` likewise; `said` holds the first few in words. Spend and what could be
    spent are nanos; the late part is what came out of its time by the scheduler's clock. `measured`: the bank knew
    the law by which notices were late. `budgets` are those of which something was spent, `passed` those of them of
    which more was than is allowed, by late spend alone. `stops` says how often somebody was stopped, `spooled` how
    many notices a tracker's disk kept. `clicks` and `orders` are what was told to the bank, `orders_again` how often
    an order was told that was told before; `conversions` were booked, `value_nanos` is what they were worth.
    `seconds` are of the processor.
    """

    seed: int
    kind: str
    faulty: bool
    auctions: int
    bids: int
    wins: int
    spend_nanos: int
    feasible_nanos: int
    late_wins: int
    late_nanos: int
    measured: bool
    budgets: int
    passed: int
    stops: int
    spooled: int
    clicks: int
    orders: int
    orders_again: int
    conversions: int
    value_nanos: int
    faults: dict[str, int]
    violations: dict[str, int]
    said: tuple[Violation, ...]
    digest: str
    events: int
    seconds: float


def play(plan: Scenario) -> Outcome:
    """Plays a scenario to its end, or to where the code under test ends by a rule of its own."""
    return Run(plan).play()


class Run:
    """All parts of one run.

    Args:
        plan: what is played.
    """

    def __init__(self, plan: Scenario) -> None:
        self.plan = plan
        self.scheduler = scheduler = Scheduler(plan.start_ns)
        self.counts: Counter[str] = Counter()
        self.oracle = oracle = Oracle(plan, scheduler)
        self._dice = Dice(plan.seed, "run")
        self._broker_down_ns = self._disk_down_ns = 0
        topics = dict.fromkeys(TOPICS, plan.partitions) | {NOTICES: plan.shards, TRACKERS: 1}
        self.broker = broker = Broker(
            scheduler,
            self._dice.fork("broker"),
            plan.faults,
            lambda: scheduler.now_ns < self._broker_down_ns,
            topics,
            self.counts,
            oracle.heard,
        )
        self.disk = Disk(lambda: scheduler.now_ns < self._disk_down_ns)
        keep(self.disk, plan.history)
        self._store = CampaignStore(self.disk)
        self._brakes = BrakeStore(self.disk)
        self._rested: set[str] = set()
        self._told_ns = 0
        self._stops = 0
        self._campaigns = {campaign.id: campaign for campaign in plan.campaigns}
        self._store.put(plan.campaigns, at_ns=scheduler.now_ns, actor="faults")
        self._store.put_advertisers(plan.advertisers, at_ns=scheduler.now_ns, actor="faults")
        judged = watching(oracle)

        def common(
            name: str,
        ) -> tuple[str, Scheduler, Broker, Dice, Counter[str], Callable[[BaseException], None]]:
            return name, scheduler, broker, self._dice.fork(name), self.counts, judged

        def common_of(name: str, seat: str) -> Bidder:
            of_all = common(name)
            return Bidder(of_all[0], seat, *of_all[1:], plan, KEY, oracle)

        self.banks = [
            BankProcess(*common(f"bank-{number}"), self.disk, plan, oracle) for number in range(plan.banks)
        ]
        self.trackers = [
            TrackerProcess(*common(f"tracker-{number}"), KEY, spooled=plan.spooled)
            for number in range(plan.trackers)
        ]
        self.seats = [
            [common_of(f"bidder-{number}{copy}", f"seat-{number}") for copy in "ab"]
            for number in range(plan.seats)
        ]
        self._teams: list[Sequence[Machine]] = [*self.seats]
        for team in self._teams:
            for machine in team:
                machine.peers = [other for other in team if other is not machine]
        world = World(plan, scheduler, broker, KEY, self.trackers, oracle, self.counts)
        shops = Shops(world, self._dice.fork("shops"))
        self.market = Market(world, self._dice.fork("market"), shops)

    @property
    def machines(self) -> list[Machine]:
        """Every process."""
        return [*self.banks, *self.trackers, *(machine for team in self.seats for machine in team)]

    def play(self) -> Outcome:
        """Plays it."""
        began = process_time()
        try:
            self._begin()
            self._until(lambda: self.scheduler.now_ns >= self.plan.end_ns)
            self._calm()
            self._until(self._at_rest, self.plan.end_ns + _LONGEST_REST_NS)
            self._judge()
        except Broken:
            pass
        finally:
            for tracker in self.trackers:
                tracker.leave()
        return self._outcome(process_time() - began)

    # -- the play -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        scheduler, faults = self.scheduler, self.plan.faults
        for machine in (*self.banks, *self.trackers, *(team[0] for team in self.seats)):
            machine.start()
        scheduler.after(S, self.market.begin)
        for stop in self.plan.stops:
            self._plan_stop(stop)
        for mean_ns, act in (
            (faults.broker_out, self._broker_fails),
            (faults.database_out, self._database_fails),
            (faults.takeover, self._taken_over),
            (faults.rebalance, self._rebalanced),
            (faults.budget_changes, self._budget_changes),
            (faults.tracker_disk, self._tracker_disk_fails),
            (faults.tracker_cut, self._tracker_cut_off),
        ):
            if mean_ns:
                self._again(mean_ns, act, self._dice.fork(act.__name__))

    def _again(self, mean_ns: int, act: Callable[[Dice], None], dice: Dice) -> None:
        def happen() -> None:
            if self.broker.faults != NO_FAULTS:
                act(dice)
                self._again(mean_ns, act, dice)

        self.scheduler.after(dice.about(mean_ns), happen)

    def _broker_fails(self, dice: Dice) -> None:
        self.counts["broker_outage"] += 1
        self._broker_down_ns = self.scheduler.now_ns + dice.between(100 * MS, 5 * S)

    def _database_fails(self, dice: Dice) -> None:
        self.counts["database_outage"] += 1
        self._disk_down_ns = self.scheduler.now_ns + dice.between(100 * MS, 3 * S)

    def _tracker_disk_fails(self, dice: Dice) -> None:
        tracker = dice.pick(self.trackers)
        self.counts["tracker_disk_outage"] += 1
        tracker.fail_disk(failing=True)
        self.scheduler.after(dice.between(100 * MS, 3 * S), lambda: tracker.fail_disk(failing=False))

    def _tracker_cut_off(self, dice: Dice) -> None:
        self.counts["tracker_cut_off"] += 1
        dice.pick(self.trackers).cut_off_until_ns = self.scheduler.now_ns + dice.between(100 * MS, 5 * S)

    def _plan_stop(self, stop: Stop) -> None:
        """Somebody stops a name and lets it go; where the database is away, as soon as it is there."""

        def act(*, stopped: bool) -> None:
            if self.scheduler.now_ns < self._disk_down_ns or self.disk.cut_after is not None:
                self.scheduler.after(100 * MS, lambda: act(stopped=stopped))
            elif stopped:
                self._stops += 1
                self._brakes.stop(stop.name, at_ns=self.scheduler.now_ns, actor="faults")
                self.oracle.stop(stop.name, stop.end_ns)
            else:
                self._brakes.go(stop.name, at_ns=self.scheduler.now_ns, actor="faults")

        self.scheduler.at(stop.begin_ns, lambda: act(stopped=True))
        self.scheduler.at(stop.end_ns, lambda: act(stopped=False))

    def _taken_over(self, dice: Dice) -> None:
        """A second start of a seat, while the first one lives and does not know it."""
        team = dice.pick(self._teams)
        idle = [machine for machine in team if not machine.life.alive]
        if len(idle) < len(team) and idle:
            self.counts["takeover"] += 1
            idle[0].start()

    def _rebalanced(self, dice: Dice) -> None:
        self.counts["rebalance"] += 1
        self.broker.groups[dice.pick(sorted(self.broker.groups))].rebalance()

    def _budget_changes(self, dice: Dice) -> None:
        if self.scheduler.now_ns < self._disk_down_ns or self.disk.cut_after is not None:
            return
        self.counts["budget_change"] += 1
        name = dice.pick(sorted(self._campaigns))
        stated = self.plan.budgets[name].limit
        limit = stated * dice.between(60, 130) // 100
        self._campaigns[name] = msgspec.structs.replace(self._campaigns[name], budget_nanos=limit)
        self.oracle.restated(name, limit)
        self._store.put([self._campaigns[name]], at_ns=self.scheduler.now_ns, actor="faults")

    def _calm(self) -> None:
        """Faults end; what is down comes back."""
        self._broker_down_ns = self._disk_down_ns = 0
        self.broker.faults = NO_FAULTS
        self.disk.cut_after = None
        for machine in self.machines:
            machine.calm()
        for tracker in self.trackers:
            tracker.fail_disk(failing=False)
            tracker.cut_off_until_ns = 0

    def _at_rest(self) -> bool:
        """Whether all that was owed has been told of.

        Leases, marks and reports never end, so nobody is asked to have read all at one moment: first market and
        trackers are done, after that each bank was seen with nothing to read, and after that one bidder of each seat.
        """
        if not self.market.done or self.scheduler.now_ns < self.plan.end_ns + _SETTLED_NS:
            return False
        if not all(tracker.idle for tracker in self.trackers):
            return False
        if sum(bank.held for bank in self.banks) != self.plan.shards:
            return False
        self._rested |= {bank.name for bank in self.banks if bank.life.alive and bank.lag == 0}
        if any(bank.name not in self._rested for bank in self.banks) or self._waits():
            self._told_ns = self.scheduler.now_ns + S
        elif self.scheduler.now_ns >= self._told_ns:
            self._rested |= {
                one.name for team in self.seats for one in team if one.life.alive and one.lag == 0
            }
        return all(any(one.name in self._rested and one.life.alive for one in team) for team in self.seats)

    def _waits(self) -> bool:
        """Whether a conversion waits for its touch."""
        with self.disk.reading() as connection:
            return connection.execute("SELECT 1 FROM held LIMIT 1").fetchone() is not None

    def _until(self, over: Callable[[], bool], latest_ns: int | None = None) -> None:
        step, next_look_ns = self.scheduler.step, 0
        while True:
            if self.scheduler.now_ns >= next_look_ns:
                if over():
                    return
                next_look_ns = self.scheduler.now_ns + _LOOK_NS
                if latest_ns is not None and self.scheduler.now_ns > latest_ns:
                    self.oracle.violated("unrest", "the system did not come to rest after faults had ended")
                    return
            step()

    # -- the end --------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        self.oracle.quiet([bank.service for bank in self.banks if bank.service is not None], self.disk)
        turned_away = sum(tracker.turned_away for tracker in self.trackers)
        if turned_away:
            self.oracle.violated(
                "turned_away", f"with a spool no call may be answered 503, were {turned_away}"
            )
        for team in self.seats:
            for bidder in team:
                self._judge_bidder(bidder)
        if not self.plan.faulty:
            self._judge_calm()

    def _judge_bidder(self, bidder: Bidder) -> None:
        """The purse of a seat has posted what the bank booked of its epoch, and holds nothing back."""
        if bidder.worker is None:
            return
        engine = bidder.worker.engine
        with self.disk.reading() as connection:
            rows = connection.execute(
                "SELECT account_id, posted FROM grants WHERE seat = ? AND epoch = ?",
                (bidder.seat, engine.epoch),
            ).fetchall()
        purse = engine.wallet.purse
        for account_id, posted in rows:
            account = purse.account(account_id, PurseUnit(self.plan.budgets[account_id].unit))
            if purse.posted(account) != posted or purse.reserved(account):
                self.oracle.violated(
                    "seat_books",
                    f"{bidder.seat} must have {posted} posted and 0 reserved of {account_id}, had "
                    f"{purse.posted(account)} and {purse.reserved(account)}",
                )

    def _judge_calm(self) -> None:
        oracle, feasible = self.oracle, self._feasible()
        spent, least = self._spent(), min(int(LEAST_SPENT * feasible), feasible - self._crumbs())
        if spent < least:
            oracle.violated("underspent", f"spend without faults must be {least} of {feasible}, was {spent}")
        if oracle.late_wins:
            oracle.violated("late", f"without faults no win may be late, were {oracle.late_wins}")

    def _crumbs(self) -> int:
        """What is left of each campaign, and of one with more left than a bid may cost what that is.

        So much of small budgets may be too little for any bid.
        """
        plan = self.plan
        dearest = {campaign.id: 0 for campaign in plan.campaigns}
        for line, (campaign, _) in plan.lines.items():
            costs = (plan.charge(line, name).cost_nanos(MAX_BID_CPM_MICROS) for name in plan.exchanges)
            dearest[campaign.id] = max(dearest[campaign.id], *costs)
        return sum(
            min(cost, max(0, plan.budgets[name].limit - self.oracle.bounds[name].spent))
            for name, cost in dearest.items()
        )

    def _spent(self) -> int:
        oracle = self.oracle
        return sum(oracle.bounds[name].spent for name in self._campaigns)

    def _feasible(self) -> int:
        """What could be spent: of a campaign whose impressions are used up, what they cost."""
        oracle, feasible = self.oracle, self.plan.feasible_nanos
        for budget in self.plan.budgets.values():
            if budget.unit is Unit.IMPRESSIONS:
                used = oracle.bounds[budget.account_id].spent
                campaign = budget.account_id.split("/")[1]
                if used >= LEAST_SPENT * budget.limit:
                    left = self.plan.budgets[campaign].limit - oracle.bounds[campaign].in_time
                    feasible -= max(0, left)
        return feasible

    def _outcome(self, seconds: float) -> Outcome:
        plan, oracle = self.plan, self.oracle
        names = [campaign.id for campaign in plan.campaigns]
        return Outcome(
            seed=plan.seed,
            kind=plan.kind,
            faulty=plan.faulty,
            auctions=plan.auctions,
            bids=len(oracle.bids),
            wins=sum(bid.billed_ns > 0 for bid in oracle.bids.values()),
            spend_nanos=self._spent(),
            feasible_nanos=self._feasible(),
            late_wins=oracle.late_wins,
            late_nanos=sum(oracle.bounds[name].late for name in names),
            measured=bool(plan.history),
            budgets=sum(bound.spent > 0 for bound in oracle.bounds.values()),
            passed=sum(bound.passed for bound in oracle.bounds.values()),
            stops=self._stops,
            spooled=sum(tracker.spooled for tracker in self.trackers),
            clicks=oracle.credits.clicks,
            orders=oracle.credits.told,
            orders_again=oracle.credits.again,
            conversions=len(oracle.credits.found),
            value_nanos=sum(row.value_nanos for row in oracle.credits.found),
            faults=dict(sorted(self.counts.items())),
            violations=dict(sorted(oracle.counts.items())),
            said=tuple(oracle.violations),
            digest=self.scheduler.digest,
            events=self.scheduler.events,
            seconds=seconds,
        )
