"""A tracker: `Tracker.handle`, then `NoticePublisher`, which answers when a notice is durable and not before."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from bidder.errors import DeliveryError, DependencyError
from bidder.runtime.http import Reply
from bidder.runtime.transport import Outbound, Sink
from bidder.web.calls import Answer
from bidder.web.publish import NoticePublisher
from bidder.web.spool import Spool
from bidder.web.track import Tracker
from simulator.disk import PowerCut, SimulatedDisk
from simulator.faults.broker import Broker
from simulator.faults.dice import Dice
from simulator.faults.disk import Crash
from simulator.faults.loop import VirtualLoop
from simulator.faults.machines import Machine
from simulator.faults.plan import ACCEPT_NS, CONVERSION_NS, MS
from simulator.faults.scheduler import Scheduler

Heard = Callable[[Answer | None, int, int], None]
"""Told what came of a call, the HTTP status (0 where no answer came), and when it came in by the tracker's clock."""
_LONGEST_STEP_NS = 8 * MS
_PATIENCE_S = 0.3
_MARK_NS = 50 * MS
_SPOOL_BYTES = 1 << 30


class TrackerProcess(Machine):
    """One tracker.

    Args:
        key: signs tokens. spooled: whether it has a disk that keeps notices while the broker is away.

    Attributes:
        disk: of all its lives. spool: of this one. turned_away: calls that a live one answered 503 though its disk
            was well: with a spool there is no reason to. cut_off_until_ns: until then it does not reach the broker,
            whoever else does. spooled: notices that its disk kept, of all lives
            that ended.
    """

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        broker: Broker,
        dice: Dice,
        counts: Counter[str],
        judged: Callable[[BaseException], None],
        key: bytes,
        *,
        spooled: bool,
    ) -> None:
        super().__init__(name, scheduler, broker, dice, counts, judged)
        self._key = key
        self.disk = SimulatedDisk()
        self.spool: Spool | None = None
        self.turned_away = self.spooled = 0
        self._spooled, self._failing = spooled, False
        self._cut = False
        self.cut_off_until_ns = 0
        self._waiting: dict[int, tuple[Answer | None, Heard, int]] = {}
        self._calls = 0

    def begin(self) -> None:
        """A tracker remembers nothing but what its disk has: with that, a new one is as good as the old."""
        self._tracker = Tracker([self._key], "USD", ACCEPT_NS, CONVERSION_NS)
        self._loop = VirtualLoop(lambda: self.scheduler.now_ns, self._plan)
        self.spool = Spool(self.disk, _SPOOL_BYTES) if self._spooled else None
        sink = cast("Sink", _Sink(self, self._loop))
        self._publisher = NoticePublisher(
            sink, spool=self.spool, patience_s=_PATIENCE_S, threaded=False, name=self.name
        )
        self._loop.begin(self._publisher.run())
        self._tick()

    def ended(self) -> None:
        """Whoever waits hears nothing; where the power went with it, so did what was not synced."""
        self.spooled += self.spool.counts["spooled"] if self.spool is not None else 0
        self.spool = None
        if self._cut or self.dice.chance(0.5):
            self.disk.restart(lambda _, size: self.dice.between(0, size))
        self._cut = False
        waiting, self._waiting = self._waiting, {}
        for answer, heard, handled_ns in waiting.values():
            heard(answer, 0, handled_ns)
        self._loop.close()

    def leave(self) -> None:
        """Ends with the run."""
        if self.life.alive:
            self.life.alive = False
            self.spooled += self.spool.counts["spooled"] if self.spool is not None else 0
            self._loop.close()

    def end_inside(self, dice: Dice) -> bool:
        """In the middle of the next write to its disk, where there is one to come soon."""
        if not self.spool:
            return False
        self._cut = True
        self.disk.cut_power_after(dice.between(0, 2_000))
        self.counts["crash_in_spool"] += 1
        return True

    def send(self, messages: Sequence[Outbound]) -> bool:
        """See `Machine`."""
        if self.scheduler.now_ns < self.cut_off_until_ns:
            self.counts["send_refused"] += 1
            return False
        return super().send(messages)

    def fail_disk(self, *, failing: bool) -> None:
        """Whether syncs of its disk fail from now on."""
        self._failing = failing
        self.disk.fail(failing=failing)

    @property
    def idle(self) -> bool:
        """Whether it lives and nothing waits on its disk."""
        return self.life.alive and not self.spool

    def call(self, url: str, heard: Heard, method: str = "GET") -> None:
        """A call comes in; `heard` is told once, later."""
        if not self.life.alive:
            heard(None, 0, 0)
            return
        self._calls += 1
        number, handled_ns = self._calls, self.now_ns
        self._waiting[number] = (None, heard, handled_ns)

        def handle() -> None:
            self.fate()
            answer = self._tracker.handle(method, url, now_ns=handled_ns)
            self._waiting[number] = (answer, heard, handled_ns)
            if answer.notice is None:
                self._answered(number, answer.reply)
                return
            outcome = self._loop.run(self._publisher.submit, answer.notice, answer.reply)
            if isinstance(outcome, Reply):
                self._answered(number, outcome)
            else:
                self._loop.run(outcome.add_done_callback, lambda done: self._answered(number, done.result()))

        self.guard(handle)

    def guard(self, act: Callable[[], object]) -> None:
        """Lets the code under test do something in this life."""

        def quiet() -> None:
            act()
            for error in self._loop.errors:
                raise Crash if isinstance(error, PowerCut) else error

        if self.life.alive:
            self._guarded(quiet)

    def _tick(self) -> None:
        self._loop.run(self._publisher.tick, self.now_ns)
        self._plan(_MARK_NS, self._tick)

    def _plan(self, wait_ns: int, act: Callable[[], None]) -> None:
        self.scheduler.after(wait_ns, lambda: self.guard(act), self.life)

    def _answered(self, number: int, reply: Reply) -> None:
        if number in self._waiting:
            answer, heard, handled_ns = self._waiting.pop(number)
            self.turned_away += reply.status == 503 and self._spooled and not (self._failing or self._cut)
            heard(answer, reply.status, handled_ns)


class _Sink:
    """A `Sink` as the publisher sees it: what it takes is written some time after, and acknowledged after that."""

    def __init__(self, machine: TrackerProcess, loop: VirtualLoop) -> None:
        self._machine, self._loop = machine, loop
        self._held: list[Outbound] = []

    async def publish(self, messages: Sequence[Outbound]) -> None:
        """Takes messages for delivery."""
        self._held += messages

    async def flush(self) -> None:
        """Returns when all of them are acknowledged; raises `DeliveryError` if some were not."""
        held, self._held = self._held, []
        machine, done = self._machine, self._loop.create_future()
        scheduler, life, dice = machine.scheduler, machine.life, machine.dice

        def write() -> None:
            machine.fate()
            acknowledged = machine.send(held)
            wait_ns = dice.between(0, _LONGEST_STEP_NS)
            scheduler.after(
                wait_ns, lambda: machine.guard(lambda: self._acknowledge(done, acknowledged)), life
            )

        scheduler.after(dice.between(0, _LONGEST_STEP_NS), lambda: machine.guard(write), life)
        await done

    def _acknowledge(self, done: "asyncio.Future[Any]", acknowledged: bool) -> None:
        self._machine.fate()
        error: DependencyError | None = None if acknowledged else DeliveryError("not acknowledged")
        if error is None:
            self._loop.run(done.set_result, None)
        else:
            self._loop.run(done.set_exception, error)
