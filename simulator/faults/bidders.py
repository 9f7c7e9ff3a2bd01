"""A seat's worker: the order of calls of `runtime.worker_shell`, on virtual time."""

from collections import Counter
from collections.abc import Callable

from bidder.core.engine import Engine
from bidder.core.inbox import CONTROL_TOPICS
from bidder.core.messages import BID_REQUESTS
from bidder.errors import DeliveryError, SeatTaken
from bidder.runtime.transport import Outbound
from bidder.runtime.worker import BATCH, Worker
from simulator.faults.broker import Broker, Consumer, Place
from simulator.faults.dice import Dice
from simulator.faults.machines import Machine, Steps
from simulator.faults.oracle import Oracle
from simulator.faults.plan import MS, S, Scenario
from simulator.faults.scheduler import Scheduler

BID_GROUP = "clearbid-bid"
_POLL_NS, _TICK_NS, _COMMIT_NS = 60 * MS, 200 * MS, S
_LONGEST_STEP_NS = 4 * MS


class Bidder(Machine):
    """The worker of one seat.

    Args:
        seat: the one that it holds. plan: what is played. key: signs tokens. oracle: judges.
    """

    def __init__(
        self,
        name: str,
        seat: str,
        scheduler: Scheduler,
        broker: Broker,
        dice: Dice,
        counts: Counter[str],
        judged: Callable[[BaseException], None],
        plan: Scenario,
        key: bytes,
        oracle: Oracle,
    ) -> None:
        super().__init__(name, scheduler, broker, dice, counts, judged)
        self.seat = seat
        self._settings, self._key, self._oracle = plan.settings(seat), key, oracle
        self.worker: Worker | None = None
        self._requests: Consumer | None = None
        self._control: Consumer | None = None

    def begin(self) -> None:
        """Start = recover: a new epoch, control read from the beginning, then requests."""
        engine = Engine(self._settings, self._key, None, f"{self.name}.{self.lives}")
        self.worker = worker = Worker(engine)
        self._control = control = Consumer(self.broker, CONTROL_TOPICS)
        self._requests = requests = Consumer(self.broker, (BID_REQUESTS,), BID_GROUP)
        finished: dict[Place, int] = {}
        self._undelivered = False
        self.run(self._take_control(worker, control))
        self.run(self._tick(worker))
        self.run(self._take_requests(worker, control, requests, finished))
        self.run(self._commit(requests, finished))

    def ended(self) -> None:
        """Leaves its group; a crashed member is missed after a while, which rebalances alike."""
        if self._requests is not None:
            self._requests.leave()
            self._requests = None
        self.worker = None

    def thrown_out(self) -> None:
        """Its group goes on without it, until it asks again."""
        if self._requests is not None:
            self._requests.leave()

    @property
    def lag(self) -> int:
        """What it has not read of what concerns it."""
        return sum(each.lag() for each in (self._control, self._requests) if each is not None)

    def _take_control(self, worker: Worker, control: Consumer) -> Steps:
        while True:
            messages = control.poll(1_000)
            if messages:
                yield self.dice.between(0, _LONGEST_STEP_NS)
                worker.on_control(messages, self.now_ns)
                if worker.engine.superseded:
                    raise SeatTaken(f"seat {self.seat} was taken by another start")
            yield _POLL_NS

    def _tick(self, worker: Worker) -> Steps:
        while True:
            self._say(worker.on_tick(self.now_ns))
            yield _TICK_NS

    def _take_requests(
        self, worker: Worker, control: Consumer, requests: Consumer, finished: dict[Place, int]
    ) -> Steps:
        while not (control.caught_up() and worker.current and worker.ready):
            yield _POLL_NS
        while True:
            messages = requests.poll(BATCH)
            if messages:
                yield self.dice.between(0, _LONGEST_STEP_NS)
                bids, now_ns = worker.bids, self.now_ns
                runs = worker.decide(messages, now_ns, now_ns // MS)
                if worker.bids > bids:
                    self._oracle.bidding(self.life, self.seat, worker.engine.epoch, self.skew_ns)
                yield self.dice.between(0, _LONGEST_STEP_NS)
                self._say(
                    [Outbound(run.topic, None, value, run.partition) for run in runs for value in run.values]
                )
                finished.update({(m.topic, m.partition): m.offset + 1 for m in messages})
            yield _POLL_NS

    def _commit(self, requests: Consumer, finished: dict[Place, int]) -> Steps:
        while True:
            yield _COMMIT_NS
            if self._undelivered:
                raise DeliveryError("messages were not acknowledged")
            requests.commit(finished)

    def _say(self, messages: list[Outbound]) -> None:
        self._undelivered |= not self.send(messages)
