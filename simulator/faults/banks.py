"""A bank: the order of calls of `runtime.bank.run_bank`, on virtual time."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from bidder.runtime.bank import BANK_GROUP, BANK_TOPICS, MAX_BATCH, BankService
from bidder.runtime.transport import Outbound
from simulator.faults.broker import Broker, Consumer, Place
from simulator.faults.dice import Dice
from simulator.faults.disk import Disk
from simulator.faults.machines import Machine, Steps
from simulator.faults.oracle import Oracle
from simulator.faults.plan import MS, Scenario
from simulator.faults.scheduler import Scheduler

_POLL_NS, _TICK_NS = 50 * MS, 100 * MS
_LONGEST_STEP_NS = 6 * MS
_MOST_STATEMENTS = 25


class BankProcess(Machine):
    """One bank.

    Args:
        disk: the books. plan: what is played. oracle: judges.
    """

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        broker: Broker,
        dice: Dice,
        counts: Counter[str],
        judged: Callable[[BaseException], None],
        disk: Disk,
        plan: Scenario,
        oracle: Oracle,
    ) -> None:
        super().__init__(name, scheduler, broker, dice, counts, judged)
        self._disk, self._rules, self._oracle = disk, plan.rules(), oracle
        self.service: BankService | None = None
        self._source: Consumer | None = None

    def begin(self) -> None:
        """Claims the books, and begins where they end."""
        service = self.service = BankService.open(self._disk, self._rules, self.now_ns)
        source = self._source = Consumer(self.broker, BANK_TOPICS, BANK_GROUP)
        self._finished: dict[Place, int] = {}
        self._untold = False
        self.run(self._live(service, source))

    def ended(self) -> None:
        """Leaves its group; what it remembered is gone."""
        if self._source is not None:
            self._source.leave()
            self._source = None
        self.service = None
        self._disk.cut_after = None

    def thrown_out(self) -> None:
        """Its group goes on without it, until it asks again."""
        if self._source is not None:
            self._source.leave()

    def end_inside(self, dice: Dice) -> bool:
        """Inside the next transaction, or right after its commit."""
        if not dice.chance(0.6):
            return False
        self._disk.cut_after = dice.between(0, _MOST_STATEMENTS)
        self.counts["crash_in_transaction"] += 1
        return True

    @property
    def lag(self) -> int:
        """Messages that it has not read."""
        return self._source.lag() if self._source is not None else 1

    def _live(self, service: BankService, source: Consumer) -> Steps:
        self._tell(service, service.restate(self.now_ns), {})
        marked_ns: int | None = None
        seen_until_ns = next_tick_ns = 0
        while True:
            if marked_ns is None:
                marked_ns = self.now_ns
                source.mark()
            messages = source.poll(MAX_BATCH)
            if messages:
                yield self.dice.between(0, _LONGEST_STEP_NS)
                told = service.on_messages(messages, self.now_ns)
                self._oracle.banked(service)
                yield self.dice.between(0, _LONGEST_STEP_NS)
                self._tell(service, told, {(m.topic, m.partition): m.offset + 1 for m in messages})
            passed = source.passed()
            if passed:
                seen_until_ns = marked_ns
            if passed is not False:
                marked_ns = None
            if self.scheduler.now_ns >= next_tick_ns:
                next_tick_ns = self.scheduler.now_ns + _TICK_NS
                if self._untold:
                    self._untold = False
                    self._tell(service, service.restate(self.now_ns), {})
                told = service.on_tick(self.now_ns, seen_until_ns)
                self._oracle.banked(service)
                yield self.dice.between(0, _LONGEST_STEP_NS)
                self._tell(service, told, {})
                source.commit(self._finished)
                self._finished = {}
            yield _POLL_NS

    def _tell(self, service: BankService, told: Sequence[Outbound], finished: Mapping[Place, int]) -> None:
        """Publishes; where the broker does not take it, all is told again on a later tick."""
        if not self.send(told):
            self._untold = True
            return
        self._finished |= finished
        if not self._untold:
            service.published()
