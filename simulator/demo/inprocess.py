"""The same parts on virtual time: exchange, bidder, bank and tracker without sockets, threads or an event loop.

Things happen one after the other in the order of their times, and those of one time in the order in which they
were planned; whatever is drawn comes from the plan's seed. So two runs with the same arguments give the same
bytes and the same books. Here the wall is the shared clock: a request ages as the virtual time passes.

What can go wrong outside the parts is told by `Faults`, so that the promises about money can be tried with it.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from bidder.core.bank import CampaignReport
from bidder.core.bankrules import BankRules
from bidder.core.engine import Engine
from bidder.core.inbox import CONTROL_TOPICS
from bidder.core.messages import BID_REQUESTS, BID_RESPONSES, NOTICES, SETTLEMENTS, encode
from bidder.core.scoring import Model
from bidder.core.settings import NS_PER_SECOND, EngineSettings
from bidder.runtime.bank import BANK_GROUP, BANK_TOPICS, MAX_BATCH, BankService
from bidder.runtime.bus import Bus
from bidder.runtime.clock import VirtualClock
from bidder.runtime.transport import Outbound
from bidder.runtime.worker import BATCH, Worker
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from bidder.store.seat import open_journal
from bidder.web.track import Tracker
from simulator.demo.embedded import DATABASE, PARTITIONS
from simulator.demo.plan import TMAX_MS, Plan
from simulator.exchange.books import Books, Call
from simulator.exchange.delays import Delay, FixedDelay
from simulator.exchange.exchange import Exchange
from simulator.logs.draws import key_of, uniform, uniforms
from simulator.logs.requests import message_key
from simulator.logs.rows import LogRow

PUBLIC_URL = "https://tracker.test"
BID_GROUP = "clearbid-bid"
_ALL = 1_000_000
_NS_PER_MS = 1_000_000


class Faults(NamedTuple):
    """What goes wrong between the parts; shares are drawn for each call of the exchange, by the plan's seed.

    Attributes:
        notice_delay_ns: how much later each call of the exchange reaches the tracker.
        settlement_delay_ns: how much later each settlement reaches the bidder.
        loss_share: calls that never reach the tracker.
        duplicate_share: calls that reach it twice.
        reorder_share: calls that reach it up to `shuffle_ns` late, behind others.
        shuffle_ns: the most by which a repeated or reordered call is late.
        bank_silent_ns: from when until when the bank neither reads nor speaks.
        restarts_ns: when the bidder is replaced by a new start of the same seat.
    """

    notice_delay_ns: int = 0
    settlement_delay_ns: int = 0
    loss_share: float = 0.0
    duplicate_share: float = 0.0
    reorder_share: float = 0.0
    shuffle_ns: int = 30 * NS_PER_SECOND
    bank_silent_ns: tuple[int, int] = (0, 0)
    restarts_ns: tuple[int, ...] = ()


AT_ONCE = FixedDelay(0)
NO_FAULTS = Faults()


@dataclass
class Played:
    """A finished run.

    Attributes:
        digest: of every message of the bidder, in order: the same run gives the same.
        books: of the exchange. reports: of the bank, by campaign id.
        workers: one for each start of the bidder, the last one last.
        statuses: answers of the tracker by HTTP status. bus: everything that was said.
    """

    digest: str
    books: Books
    reports: dict[str, CampaignReport]
    workers: list[Worker]
    statuses: Counter[int]
    bus: Bus


@dataclass
class _Agenda:
    """What is to happen when; `lasting` counts what keeps a run going, which a tick does not."""

    clock: VirtualClock
    lasting: int = 0
    _planned: int = 0
    _heap: list[tuple[int, int, bool, Callable[[], None]]] = field(default_factory=list)

    def at(self, at_ns: int, act: Callable[[], None], *, lasting: bool = True) -> None:
        """Plans `act`; what is late already happens now."""
        self._planned += 1
        self.lasting += lasting
        heapq.heappush(self._heap, (max(at_ns, self.clock.now_ns()), self._planned, lasting, act))

    def play(self) -> None:
        """Lets things happen until none is left that keeps the run going."""
        while self.lasting:
            at_ns, _, lasting, act = heapq.heappop(self._heap)
            self.clock.advance_to(at_ns)
            self.lasting -= lasting
            act()


def run_in_process(
    plan: Plan,
    model: Model | None,
    folder: Path | None,
    key: bytes,
    *,
    patience_s: float = 60.0,
    tick_s: float = 1.0,
    batch: int = BATCH,
    latency: Delay = AT_ONCE,
    faults: Faults = NO_FAULTS,
) -> Played:
    """Plays a plan and returns when all that follows from it is booked.

    Args:
        plan: what to play. model: compiled models, or None where the log brings scores.
        folder: for database and journals, one folder for each later start; None keeps the database in memory
            and no journal.
        key: signs tokens.
        patience_s: lease and each half of a reservation, in seconds of the clock.
        tick_s: seconds of the clock between ticks of the bidder and rounds of the bank.
        batch: most requests decided at once. latency: law of how long a request waits for the bidder to look.
        faults: what goes wrong.

    Raises:
        InvariantError: the books do not add up.
    """
    with ExitStack() as stack:
        return _Run(stack, plan, model, folder, key, patience_s, tick_s, batch, latency, faults).play()


class _Run:
    """The parts, and what each does when its time comes."""

    def __init__(
        self,
        stack: ExitStack,
        plan: Plan,
        model: Model | None,
        folder: Path | None,
        key: bytes,
        patience_s: float,
        tick_s: float,
        batch: int,
        latency: Delay,
        faults: Faults,
    ) -> None:
        self._stack, self._plan, self._model, self._folder, self._key = stack, plan, model, folder, key
        self._tick_ns = round(tick_s * NS_PER_SECOND)
        self._batch, self._latency, self._faults = batch, latency, faults
        self._settings = _settings(plan, patience_s)
        self._fault_key = key_of(plan.seed, "in-process faults")
        self._latency_key = key_of(plan.seed, "in-process latency")
        self._clock = VirtualClock(plan.start_ns)
        self._agenda = _Agenda(self._clock)
        self._bus = Bus(PARTITIONS, lambda: self._clock.now_ns() // _NS_PER_MS)
        self._sink = self._bus.sink()
        self._rows = plan.rows()
        self._exchange = Exchange(plan.encoder(), plan.outcomes, seed=plan.seed)
        self._responses = self._bus.source((BID_RESPONSES,))
        self._tracker = Tracker([key], plan.currency)
        self._bank_source = self._bus.source(BANK_TOPICS, BANK_GROUP)
        database = stack.enter_context(
            Database(folder / DATABASE if folder is not None else ":memory:", durable=False)
        )
        CampaignStore(database).put(plan.campaigns.values(), at_ns=plan.start_ns, actor="demo")
        self._bank = BankService.open(database, _bank_rules(patience_s), plan.start_ns)
        self._workers: list[Worker] = []
        self._digest = blake2b(digest_size=16)
        self._statuses: Counter[int] = Counter()
        self._looks = self._calls = 0

    def play(self) -> Played:
        """Plays all rows, then lets the bank read what came last."""
        self._sink.put(self._bank.restate(self._clock.now_ns()))
        self._start_worker()
        self._worker_ticks()
        self._bank_rounds()
        for at_ns in self._faults.restarts_ns:
            self._agenda.at(at_ns, self._restart_worker, lasting=False)
        self._plan_row()
        self._agenda.play()
        self._bank_round()
        self._agenda.play()  # what that round told late
        self._bank.close()
        self._bank.verify()
        reports = {report.id: report for report in self._bank.report()}
        return Played(
            self._digest.hexdigest(), self._exchange.books, reports, self._workers, self._statuses, self._bus
        )

    # -- the exchange ---------------------------------------------------------------------------------------

    def _plan_row(self) -> None:
        row = next(self._rows, None)
        if row is not None:
            self._agenda.at(row.at_ns, lambda: self._offer(row))

    def _offer(self, row: LogRow) -> None:
        now_ns = self._clock.now_ns()
        self._exchange.expire(now_ns)
        body = self._exchange.offer(row, now_ns + TMAX_MS * _NS_PER_MS)
        self._sink.put([Outbound(BID_REQUESTS, message_key(row), body)])
        self._looks += 1
        wait_ns = self._latency.draw_ns(uniform(self._latency_key, str(self._looks)))
        self._agenda.at(now_ns + wait_ns, self._look)
        self._plan_row()

    def _hear_answers(self) -> None:
        now_ns = self._clock.now_ns()
        self._exchange.expire(now_ns)
        for message in self._responses.take(_ALL):
            for call in self._exchange.respond(message.value, now_ns):
                self._agenda.at(call.at_ns, lambda call=call: self._happen(call))  # type: ignore[misc]

    def _happen(self, call: Call) -> None:
        """The exchange books a call, and it goes on its way."""
        self._exchange.happened(call)
        self._calls += 1
        faults, now_ns = self._faults, self._clock.now_ns()
        lost, twice, moved, by = uniforms(self._fault_key, str(self._calls))
        if lost < faults.loss_share:
            return
        due_ns = now_ns + faults.notice_delay_ns
        later_ns = due_ns + int(by * faults.shuffle_ns)
        self._agenda.at(later_ns if moved < faults.reorder_share else due_ns, lambda: self._track(call.url))
        if twice < faults.duplicate_share:
            self._agenda.at(later_ns, lambda: self._track(call.url))

    def _track(self, url: str) -> None:
        reply, notice = self._tracker.handle("GET", url, now_ns=self._clock.now_ns())
        self._statuses[reply.status] += 1
        if notice is not None:
            self._sink.put([Outbound(NOTICES, notice.key, encode(notice))])

    # -- the bidder -----------------------------------------------------------------------------------------

    def _start_worker(self) -> None:
        number = len(self._workers) + 1
        start_id = f"in-process-{self._plan.seed}-{number}"
        engine = Engine(self._settings, self._key, self._model, start_id)
        journal = None
        if self._folder is not None:
            place = self._folder if number == 1 else self._folder / f"start-{number}"
            journal = open_journal(place, self._settings, self._key, self._model, start_id)
            self._stack.enter_context(journal)
        self._worker = Worker(engine, journal)
        self._workers.append(self._worker)
        self._requests = self._bus.source((BID_REQUESTS,), BID_GROUP)
        self._control = self._bus.source(CONTROL_TOPICS)
        self._finished: dict[tuple[str, int], int] = {}
        self._hear_control()

    def _restart_worker(self) -> None:
        """A crash: what was not committed comes again to the next start, in a new epoch."""
        self._requests.close()
        self._control.close()
        self._start_worker()

    def _look(self) -> None:
        """Decides what waits, as soon as there is a lease to bid with."""
        if not self._worker.ready:
            return
        now_ns = self._clock.now_ns()
        while messages := self._requests.take(self._batch):
            self._say(self._worker.on_requests(messages, now_ns, now_ns // _NS_PER_MS))
            self._finished |= {(m.topic, m.partition): m.offset + 1 for m in messages}
        self._hear_answers()

    def _hear_control(self) -> None:
        while messages := self._control.take(_ALL):
            self._worker.on_control(messages, self._clock.now_ns())

    def _worker_ticks(self) -> None:
        self._agenda.at(self._clock.now_ns() + self._tick_ns, self._worker_ticks, lasting=False)
        self._say(self._worker.on_tick(self._clock.now_ns()))
        self._requests.store(self._finished)
        self._look()

    def _say(self, messages: Sequence[Outbound]) -> None:
        for message in messages:
            self._digest.update(f"{message.topic} {message.partition} {len(message.value)} ".encode())
            self._digest.update(message.value)
        self._sink.put(messages)

    # -- the bank -------------------------------------------------------------------------------------------

    def _bank_rounds(self) -> None:
        self._agenda.at(self._clock.now_ns() + self._tick_ns, self._bank_rounds, lasting=False)
        silent_from_ns, silent_to_ns = self._faults.bank_silent_ns
        if not silent_from_ns <= self._clock.now_ns() < silent_to_ns:
            self._bank_round()

    def _bank_round(self) -> None:
        now_ns = self._clock.now_ns()
        while messages := self._bank_source.take(MAX_BATCH):
            self._tell(self._bank.on_messages(messages, now_ns))
            self._bank.published()
        # A tick settles nothing: what it tells may come late without anybody waiting for it.
        self._tell(self._bank.on_tick(now_ns), lasting=False)
        self._bank.published()

    def _tell(self, messages: Sequence[Outbound], *, lasting: bool = True) -> None:
        delay_ns = self._faults.settlement_delay_ns
        late = [message for message in messages if delay_ns and message.topic == SETTLEMENTS]
        if late:
            self._agenda.at(self._clock.now_ns() + delay_ns, lambda: self._deliver(late), lasting=lasting)
        self._deliver([message for message in messages if not delay_ns or message.topic != SETTLEMENTS])

    def _deliver(self, messages: Sequence[Outbound]) -> None:
        self._sink.put(messages)
        self._hear_control()


def _settings(plan: Plan, patience_s: float) -> EngineSettings:
    return EngineSettings(
        currency=plan.currency,
        exchanges=plan.exchange_rules(patience_s),
        public_url=PUBLIC_URL,
        external_scores=plan.external_scores,
        pacing=plan.pacing,
    )


def _bank_rules(patience_s: float) -> BankRules:
    patience_ns = int(patience_s * NS_PER_SECOND)
    return BankRules(
        lease_ns=patience_ns, longest_reservation_ns=2 * patience_ns, margin_ns=patience_ns // 10
    )
