"""Several seats that share the requests and the budgets of one plan, on virtual time."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from zlib import crc32

import msgspec

from bidder.core.engine import Engine
from bidder.core.inbox import CONTROL_TOPICS
from bidder.core.messages import BID_REQUESTS
from bidder.runtime.transport import Message
from bidder.runtime.worker import BATCH, Worker
from simulator.demo.inprocess import AT_ONCE, BID_GROUP, NO_FAULTS, Faults, Played, _Run
from simulator.demo.plan import Plan
from tests.support.playing import KEY

_ALL = 1_000_000
Share = Callable[[Message, int], int]


def by_key(message: Message, seats: int) -> int:
    """As partitions by user are shared out to a consumer group."""
    return crc32(message.key or b"") % seats


class FleetRun(_Run):
    """A run of several workers, each with a seat, an epoch and a control topic of its own; one bank.

    Args:
        seats: how many. share: which of them is asked a request.
    """

    def __init__(self, seats: int, share: Share, *arguments: Any) -> None:
        self.seats, self.share = seats, share
        super().__init__(*arguments)

    def _start_worker(self) -> None:
        self._fleet = []
        for number in range(self.seats):
            settings = msgspec.structs.replace(self._settings, seat=f"seat-{number + 1}")
            worker = Worker(Engine(settings, self._key, self._model, f"fleet-{number + 1}"))
            self._fleet.append((worker, self._bus.source(CONTROL_TOPICS)))
            self._workers.append(worker)
        self._requests = self._bus.source((BID_REQUESTS,), BID_GROUP)
        self._finished = {}
        self._hear_control()

    def _look(self) -> None:
        if not all(worker.ready for worker, _ in self._fleet):
            return
        now_ns = self._clock.now_ns()
        while messages := self._requests.take(self._batch):
            for seat, (worker, _) in enumerate(self._fleet):
                own = [message for message in messages if self.share(message, self.seats) == seat]
                self._say(worker.on_requests(own, now_ns, now_ns // 1_000_000))
            self._finished |= {(m.topic, m.partition): m.offset + 1 for m in messages}
        self._hear_answers()

    def _hear_control(self) -> None:
        for worker, control in self._fleet:
            while messages := control.take(_ALL):
                worker.on_control(messages, self._clock.now_ns())

    def _worker_ticks(self) -> None:
        self._agenda.at(self._clock.now_ns() + self._tick_ns, self._worker_ticks, lasting=False)
        for worker, _ in self._fleet:
            self._say(worker.on_tick(self._clock.now_ns()))
        self._requests.store(self._finished)
        self._look()


def run_fleet(
    plan: Plan,
    seats: int,
    *,
    share: Share = by_key,
    patience_s: float = 10.0,
    tick_s: float = 0.25,
    faults: Faults = NO_FAULTS,
) -> Played:
    """Plays a plan on `seats` workers, see `simulator.demo.inprocess.run_in_process`."""
    with ExitStack() as stack:
        run = FleetRun(seats, share, stack, plan, None, None, KEY, patience_s, tick_s, BATCH, AT_ONCE, faults)
        return run.play()
