"""What a request costs without a transport: the worker by itself, and the floor under it, in the minute of a run.

`Alone` is what a worker does for its requests and nothing of the broker's client: decode to log row, journal,
settlements, exposures, ticks. What a worker over Kafka costs above it is the client's share.
"""

import time
from pathlib import Path

import numpy as np

from benchmarks.floor import Floor
from benchmarks.load import Bank
from benchmarks.market import KEY, START_ID, Market
from benchmarks.sample import take_sample
from bidder.core.campaigns import Goal
from bidder.core.engine import Engine
from bidder.core.messages import BID_REQUESTS, BID_RESPONSES, CAMPAIGNS, EXPOSURES, LEASES, SETTLEMENTS
from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings
from bidder.runtime.transport import Message
from bidder.runtime.worker import Worker
from bidder.store.seat import open_journal

TICK_NS = 50_000_000
WARM_UP_S = 1.5
SAMPLE, FLOOR_BATCH = 2_048, 128
_PACE_NS = 40_000
"""Between two requests on the clock of the measurement."""


class Alone:
    """A worker with a journal and without a broker.

    Args:
        market: what is asked. settings: of the engine. model: compiled. folder: for the journal.
    """

    def __init__(self, market: Market, settings: EngineSettings, model: Model, folder: Path) -> None:
        self._market = market
        self._bank = Bank(market)
        self._journal = open_journal(folder, settings, KEY, model, START_ID)
        self._worker = Worker(Engine(settings, KEY, model, START_ID), self._journal)
        self._now_ns = self._ticked_ns = market.origin_ns
        self._asked = 0
        self._control([(CAMPAIGNS, value) for _, value in self._bank.changes()])
        self._control([(LEASES, value) for _, value in self._bank.leases(START_ID)])

    def _control(self, items: list[tuple[str, bytes]]) -> float:
        messages = [Message(topic, 0, 0, None, value, 0) for topic, value in items]
        began_s = time.thread_time()
        if messages:
            self._worker.on_control(messages, self._now_ns)
        return time.thread_time() - began_s

    def us_a_request(self, size: int, cpu_s: float) -> float:
        """Microseconds of CPU for a request, in batches of `size`, after a warm-up."""
        for limit_s in (WARM_UP_S, cpu_s):
            spent_s, first = 0.0, self._asked
            while spent_s < limit_s:
                spent_s += self._batch(size)
        return spent_s / (self._asked - first) * 1e6

    def _batch(self, size: int) -> float:
        bodies = self._market.bodies.bodies(self._asked, size)
        messages = [
            Message(BID_REQUESTS, place * 4 // size, self._asked + place, None, body, 0)
            for place, body in enumerate(bodies)
        ]
        self._asked += size
        self._now_ns += size * _PACE_NS
        began_s = time.thread_time()
        runs = self._worker.decide(messages, self._now_ns, 0)
        spent_s = time.thread_time() - began_s
        for run in runs:
            if run.topic == BID_RESPONSES:
                self._bank.settle_responses(run.values)
        if self._now_ns - self._ticked_ns >= TICK_NS:
            self._ticked_ns = self._now_ns
            told = self._bank.tell()
            spent_s += self._control(
                [(SETTLEMENTS, value) for value in told.settlements]
                + [(EXPOSURES, value) for value in told.exposures]
            )
            began_s = time.thread_time()
            self._worker.on_tick(self._now_ns)
            spent_s += time.thread_time() - began_s
        return spent_s

    def close(self) -> None:
        """Ends the journal."""
        self._journal.close()


class Ground:
    """The floor of a market: typed decode and scores of the very candidates, see `benchmarks.floor`.

    Args:
        market: whose requests. model: compiled.
    """

    def __init__(self, market: Market, model: Model) -> None:
        sample = take_sample(market, model, SAMPLE)
        lines = market.engine(model).table.lines
        converting = np.array([line.goal is Goal.CONVERSION for line in lines])
        self._floor = Floor(sample, model, model.line_masks(lines), converting)
        self._batches = [self._floor.prepare(first, FLOOR_BATCH) for first in range(0, SAMPLE, FLOOR_BATCH)]
        self.candidates = sample.candidates
        self.us_a_request(0.01)

    def us_a_request(self, cpu_s: float) -> float:
        """Microseconds of CPU for a request."""
        spent_s, asked = 0.0, 0
        while spent_s < cpu_s:
            began_s = time.thread_time()
            for place, columns in enumerate(self._batches):
                self._floor.decode(place * FLOOR_BATCH, FLOOR_BATCH)
                self._floor.score(columns)
            spent_s += time.thread_time() - began_s
            asked += SAMPLE
        return spent_s / asked * 1e6
