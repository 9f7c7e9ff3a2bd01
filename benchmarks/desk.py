"""An engine that is asked for a market's requests batch after batch, with a bank that settles what it bids.

Only `decide` is timed. Between batches the bank settles every bid, exposures come back, time passes and the purse
expires, as in a worker; that is not part of a decision and has a figure of its own.
"""

import time

from benchmarks.load import Bank
from benchmarks.market import Market
from bidder.core.engine import Engine
from bidder.core.inbox import Inbox
from bidder.core.messages import EXPOSURES, SETTLEMENTS
from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings
from bidder.openrtb.reasons import Reason

ARRIVAL_NS = 30_000
"""Between two requests by the clock of the run: a full worker's pace."""
SETTLE_EVERY = 8
"""Batches between two settlings, as in a worker whose bank gathers for some milliseconds."""


class Desk:
    """One engine on one market.

    Args:
        market: what is asked, and what bids. model: compiled. settings: others than the market's own.

    Attributes:
        engine: the engine. asked: requests so far. settle_s: CPU seconds of settling.
    """

    def __init__(self, market: Market, model: Model, settings: EngineSettings | None = None) -> None:
        self.engine: Engine = market.engine(model, settings=settings)
        self.asked = 0
        self.settle_s = 0.0
        self._settled_from = 0
        self._market = market
        self._bank = Bank(market)
        self._inbox = Inbox(self.engine)
        self._now_ns = market.origin_ns
        self._batches = 0

    @property
    def bid_rate(self) -> float:
        """Share of the opportunities that were bid on."""
        return self.engine.reasons.get(Reason.BID, 0) / max(self.engine.opportunities, 1)

    @property
    def eligible(self) -> float:
        """Line items that targeting left, mean a request."""
        return float(self.engine.funnel.stages[:, 0].sum()) / max(self.asked, 1)

    def decide(self, size: int) -> float:
        """Decides the next `size` requests; CPU seconds."""
        bodies = self._market.bodies.bodies(self.asked, size)
        ages = [0] * size
        self.asked += size
        self._now_ns += size * ARRIVAL_NS
        began_s = time.thread_time()
        answers = self.engine.decide(bodies, ages, self._now_ns)
        spent_s = time.thread_time() - began_s
        self._bank.settle_responses([answer.response for answer in answers if answer.bid])
        self._batches += 1
        if self._batches % SETTLE_EVERY == 0:
            self._settle()
        return spent_s

    def run(self, size: int, cpu_s: float) -> float:
        """Decides batches of `size` for `cpu_s` CPU seconds; microseconds a request."""
        spent_s, asked = 0.0, 0
        while spent_s < cpu_s:
            spent_s += self.decide(size)
            asked += size
        return spent_s / asked * 1e6

    def forget_times(self) -> None:
        """Begins to count settling anew, once what was compiled and first touched is over."""
        self.settle_s, self._settled_from = 0.0, self.asked

    @property
    def settle_us(self) -> float:
        """Microseconds of CPU of settling, exposures and ticks, a request."""
        return self.settle_s / max(self.asked - self._settled_from, 1) * 1e6

    def _settle(self) -> None:
        told = self._bank.tell()
        items = [(SETTLEMENTS, value) for value in told.settlements]
        items += [(EXPOSURES, value) for value in told.exposures]
        began_s = time.thread_time()
        self._inbox.apply(items, self._now_ns)
        self.engine.tick(self._now_ns)
        self.settle_s += time.thread_time() - began_s
        assert not self._inbox.refused, f"the engine must take what the bank says: {self._inbox.last_refusal}"
