"""A bank with the shards that its group gives it: the order of calls of `runtime.bank_loop`, on virtual time."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from bidder.core.lowwater import LowWater
from bidder.core.messages import NOTICES, SLICES, TRACKERS
from bidder.runtime.bank import BANK_GROUP, MAX_BATCH
from bidder.runtime.bank_loop import read_mark
from bidder.runtime.bank_shards import ShardedBank
from bidder.runtime.transport import Message, Outbound
from simulator.faults.broker import Broker, Consumer, Place
from simulator.faults.dice import Dice
from simulator.faults.disk import Disk
from simulator.faults.machines import Machine, Steps
from simulator.faults.oracle import Oracle
from simulator.faults.plan import MS, TRACKER_WAIT_NS, S, Scenario
from simulator.faults.scheduler import Scheduler

_POLL_NS, _TICK_NS = 50 * MS, 100 * MS
_LONGEST_STEP_NS = 6 * MS
_MOST_STATEMENTS = 25
_ADRIFT_NS = 15 * S


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
        self._disk, self._rules, self._oracle, self._shards = disk, plan.rules(), oracle, plan.shards
        self.service: ShardedBank | None = None
        self._source: Consumer | None = None
        self._slices: Consumer | None = None

    def begin(self) -> None:
        """Holds no shard until its group gives it some."""
        service = self.service = ShardedBank(self._disk, self._rules, self._shards)
        source = self._source = Consumer(self.broker, (NOTICES,), BANK_GROUP)
        slices = self._slices = Consumer(self.broker, (SLICES, TRACKERS))
        self._low_water = LowWater(TRACKER_WAIT_NS, self._rules.lease_ns, self.now_ns)
        self._finished: dict[Place, int] = {}
        self._untold = False
        self._generation = 0
        self._adrift_ns: int | None = None
        self.run(self._live(service, source, slices))

    def ended(self) -> None:
        """Leaves its group; what it remembered is gone."""
        if self._source is not None:
            self._source.leave()
        self._source = self._slices = None
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
    def held(self) -> int:
        """Shards that it holds."""
        return len(self.service.services) if self.service is not None else 0

    @property
    def lag(self) -> int:
        """Messages that it has not read."""
        return sum(each.lag() if each is not None else 1 for each in (self._source, self._slices))

    def _live(self, service: ShardedBank, source: Consumer, slices: Consumer) -> Steps:
        marked_ns: int | None = None
        seen_until_ns = next_tick_ns = low_ns = told_until_ns = 0
        while True:
            if marked_ns is None:
                marked_ns = self.now_ns
                low_ns = self._low_water.until_ns(marked_ns)
                source.mark()
            messages = self._low_watered([*source.poll(MAX_BATCH), *slices.poll(MAX_BATCH)])
            if source.generation != self._generation:
                seen_until_ns = 0
                yield from self._take_share(service, source, slices)
                marked_ns = self.now_ns
                low_ns = self._low_water.until_ns(marked_ns)
                source.mark()
            if messages:
                yield self.dice.between(0, _LONGEST_STEP_NS)
                told = service.on_messages(messages, self.now_ns)
                self._oracle.banked(service)
                yield self.dice.between(0, _LONGEST_STEP_NS)
                taken = (m for m in messages if m.topic == NOTICES and service.holds(m.partition))
                self._tell(service, told, {(m.topic, m.partition): m.offset + 1 for m in taken})
            passed = source.passed()
            if passed:
                seen_until_ns, told_until_ns = marked_ns, low_ns
            if passed is not False:
                marked_ns = None
            if self.scheduler.now_ns >= next_tick_ns:
                next_tick_ns = self.scheduler.now_ns + _TICK_NS
                self._check_adrift(service)
                if self._untold:
                    self._untold = False
                    self._tell(service, service.restate(self.now_ns), {})
                told = service.on_tick(self.now_ns, seen_until_ns, told_until_ns)
                self._oracle.banked(service)
                yield self.dice.between(0, _LONGEST_STEP_NS)
                self._tell(service, told, {})
                source.commit(self._finished)
                self._finished = {}
            yield _POLL_NS

    def _low_watered(self, messages: list[Message]) -> list[Message]:
        for message in messages:
            if message.topic == TRACKERS and (mark := read_mark(message)) is not None:
                self._low_water.take(mark)
        return [message for message in messages if message.topic != TRACKERS]

    def _take_share(self, service: ShardedBank, source: Consumer, slices: Consumer) -> Steps:
        self._generation = source.generation
        told = service.assign(frozenset(number for _, number in source.positions), self.now_ns)
        slices.rewind(service.resume())
        self._oracle.banked(service)
        yield self.dice.between(0, _LONGEST_STEP_NS)
        self._tell(service, told, {})

    def _check_adrift(self, service: ShardedBank) -> None:
        """Ends where a shard stays another's by the books although it is ours by the group."""
        taken = service.adrift()
        if taken is None:
            self._adrift_ns = None
        elif self._adrift_ns is None:
            self._adrift_ns = self.scheduler.now_ns
        elif self.scheduler.now_ns - self._adrift_ns > _ADRIFT_NS:
            raise taken

    def _tell(self, service: ShardedBank, told: Sequence[Outbound], finished: Mapping[Place, int]) -> None:
        """Publishes; where the broker does not take it, all is told again on a later tick."""
        if not self.send(told):
            self._untold = True
            return
        self._finished |= finished
        if not self._untold:
            service.published()
