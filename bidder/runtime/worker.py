"""One seat's worker: turns messages into engine calls, and answers into messages; no loop, no clock."""

import math
from collections.abc import Callable, Iterable, Sequence

from bidder.core.call import outputs_of
from bidder.core.engine import Engine
from bidder.core.inbox import Inbox
from bidder.core.messages import (
    BID_RESPONSES,
    DECISIONS,
    EXPOSURES,
    FUNNELS,
    MATCHES,
    PROFILES,
    SLICES,
    encode,
)
from bidder.core.prepared import Prepared
from bidder.core.scoring import Model, Own
from bidder.core.shading import Shading
from bidder.runtime.hours import FunnelHours
from bidder.runtime.latency import LatencyHistogram
from bidder.runtime.transport import Message, Outbound, Run
from bidder.store.journal import JournalWriter, output_digest

BATCH = 128
"""Most requests decided in one go: past 64 a larger batch wins little, and it holds up what waits behind it."""

MAX_RECORD_BYTES = 500_000
"""Most bytes of decisions sent as one record, well below the 1 MB that brokers take."""

MAX_AGE_MS = 86_400_000
"""Age above which requests are all of the same age: a sender's clock may be anywhere, the journal holds int64."""

_LAST = frozenset({EXPOSURES, PROFILES})
"""Counted for caps that stand in the table only, so they come after the campaigns of the same batch."""


_TICKS_A_LAG = 20
_LEAST_MEASURED = 1_000
_MOST_LAG_MS = 50
"""How often the own part of a request's time is taken from what was measured (p99), from how many on, and at most: a
moment of trouble must not make the bidder refuse everything from then on."""


def ages_ns(sent_ms: Sequence[int], wall_ms: int) -> list[int]:
    """Wall nanoseconds since messages were sent; 0 where one says that it is of the future."""
    if wall_ms - MAX_AGE_MS <= min(sent_ms) and max(sent_ms) <= wall_ms:
        return [(wall_ms - ms) * 1_000_000 for ms in sent_ms]
    return [min(max(0, wall_ms - ms), MAX_AGE_MS) * 1_000_000 for ms in sent_ms]


def joined(rows: Iterable[bytes], limit: int) -> list[bytes]:
    """Rows as few records of at most `limit` bytes, a larger row alone: readers split them, brokers are spared."""
    records: list[list[bytes]] = []
    room = 0
    for row in rows:
        if not records or len(row) > room:
            records.append([])
            room = limit
        records[-1].append(row)
        room -= len(row)
    return [b"".join(record) for record in records]


class Worker:
    """One seat: turns messages into engine calls, and answers into messages. Synchronous, without a clock.

    Args:
        engine: its engine.
        journal: where inputs and digests of outputs are recorded, or None.

    Attributes:
        lag_ms: what it takes from a request to its published answer, measured; part of its age.
        controls: batches of control messages taken so far; the journal counts them too.
        adopted_controls: how many of them the table knows of that decides now.
    """

    def __init__(self, engine: Engine, journal: JournalWriter | None = None) -> None:
        self.engine = engine
        self.inbox = Inbox(engine)
        self.latency = LatencyHistogram()
        self.requests = 0
        self.bids = 0
        self.lag_ms = 0
        self._measured = 0
        self._counts: tuple[int, ...] = ()
        self._ticks = 0
        self.controls = self.adopted_controls = 0
        self._changed_at = 0
        self._journal = journal
        self._seat_key = engine.settings.seat.encode()
        self._hours = FunnelHours(engine.settings.seat, engine.start_id, engine.funnel.untold)

    @property
    def ready(self) -> bool:
        """Whether it has campaigns and money to bid with."""
        return self.engine.epoch > 0 and self.inbox.campaigns > 0

    @property
    def current(self) -> bool:
        """Whether the table that decides knows of every change of campaigns that was taken."""
        return self._changed_at <= self.adopted_controls

    # -- requests -------------------------------------------------------------------------------------------

    def decide(self, messages: Sequence[Message], now_ns: int, wall_ms: int) -> list[Run]:
        """Decides bid requests.

        Args:
            messages: of topic `bid-requests`, those of a partition one after the other.
            now_ns: the clock's time. wall_ms: wall time in milliseconds, against the messages' own.

        Returns:
            Responses and decisions, those of a partition in the order of its requests.
        """
        self._hours.turn(now_ns)
        _, partitions, _, _, bodies, sent_ms = zip(*messages, strict=True)
        # A request is as old as it will be when its answer leaves, as far as was measured.
        ages = ages_ns(sent_ms, wall_ms + self.lag_ms)
        answers = self.engine.decide(bodies, ages, now_ns)
        if self._journal is not None:
            self._journal.decide(now_ns, bodies, ages)
            self._journal.output(output_digest(outputs_of(answers)))
        self.requests += len(messages)
        responses, decisions, bids = zip(*answers, strict=True)
        self.bids += sum(bids)
        runs: list[Run] = []
        begin, count = 0, len(partitions)
        while begin < count:
            partition = partitions[begin]
            end = begin + 1
            while end < count and partitions[end] == partition:
                end += 1
            if said := [response for response in responses[begin:end] if response]:
                runs.append(Run(BID_RESPONSES, partition, said))
            runs.append(Run(DECISIONS, partition, joined(decisions[begin:end], MAX_RECORD_BYTES)))
            begin = end
        return runs

    def on_requests(self, messages: Sequence[Message], now_ns: int, wall_ms: int) -> list[Outbound]:
        """`decide` and `matches`, message by message: for who has no use for runs."""
        if not messages:
            return []
        answered = [
            Outbound(run.topic, None, value, run.partition)
            for run in self.decide(messages, now_ns, wall_ms)
            for value in run.values
        ]
        return answered + self.matches()

    def matches(self) -> list[Outbound]:
        """What the last `decide` was asked, where targeting's refusals are counted elsewhere."""
        return [Outbound(MATCHES, self._seat_key, record) for record in self.engine.matches]

    # -- control --------------------------------------------------------------------------------------------

    def take_control(self, messages: Sequence[Message], now_ns: int) -> bool:
        """Applies campaigns, leases, settlements and what is known of users, but for the table of campaigns.

        Returns:
            Whether there is another table to be made, see `preparing` and `adopt`.
        """
        items = [(message.topic, message.value) for message in messages]
        if self._journal is not None:
            self._journal.control(now_ns, items)
        self.controls += 1
        changed = self.inbox.take(items, now_ns)
        if changed:
            self._changed_at = self.controls
        return changed

    def preparing(self) -> tuple[Callable[[], Prepared], int]:
        """What makes the table of the campaigns as they now are, in any thread, and `controls` as it now is."""
        return self.inbox.preparing(), self.controls

    def adopt(self, prepared: Prepared, controls: int, now_ns: int) -> None:
        """Goes on with a table that was made of `preparing`."""
        if self._journal is not None:
            self._journal.adopt(now_ns, controls)
        self.engine.adopt(prepared, now_ns)
        self.adopted_controls = controls

    def adopt_model(self, model: Model, own: Own, now_ns: int) -> None:
        """Goes on with another model; `own` is what the line items of the table that decides now bring to it."""
        if self._journal is not None:
            self._journal.model(now_ns, model.hash)
        self.engine.adopt_model(model, now_ns, own)

    def adopt_shading(self, shading: Shading, now_ns: int) -> None:
        """Goes on with another landscape."""
        if self._journal is not None:
            self._journal.landscape(now_ns, shading.hash)
        self.engine.adopt_shading(shading, now_ns)

    def on_control(self, messages: Sequence[Message], now_ns: int) -> None:
        """`take_control`, and at once the table: for who can wait, such as a simulation."""
        last = [message for message in messages if message.topic in _LAST]
        first = [message for message in messages if message.topic not in _LAST] if last else messages
        for part in (first, last):
            if part and self.take_control(part, now_ns):
                prepare, controls = self.preparing()
                self.adopt(prepare(), controls, now_ns)

    def on_tick(self, now_ns: int) -> list[Outbound]:
        """Lets time pass, reports the slices to the bank, and the funnel of an hour that is over to analysts."""
        if self._journal is not None:
            self._journal.tick(now_ns)
        self._hours.turn(now_ns)
        self._ticks += 1
        if self._ticks % _TICKS_A_LAG == 0:
            self._measure_lag()
        report = self.engine.tick(now_ns)
        return [Outbound(SLICES, self._seat_key, encode(report)), *self._funnels()]

    def _measure_lag(self) -> None:
        """Takes the lag of what was answered lately: that of a rush is no reason to refuse for the rest of a life."""
        latency = self.latency
        if latency.count - self._measured >= _LEAST_MEASURED:
            self.lag_ms = min(math.ceil(latency.quantile_ms(0.99, self._counts)), _MOST_LAG_MS)
            self._measured, self._counts = latency.count, latency.counts()

    def on_stop(self, now_ns: int) -> list[Outbound]:
        """What is left to tell before it ends: the funnel of the hour that is not over."""
        self._hours.turn(now_ns)
        self._hours.end()
        return self._funnels()

    def _funnels(self) -> list[Outbound]:
        return [Outbound(FUNNELS, self._seat_key, encode(part)) for part in self._hours.due()]
