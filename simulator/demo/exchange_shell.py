"""The exchange's shell: offers rows when the clock shows their time, and makes the calls that follow.

The auction itself is pure (`simulator.exchange`). Here are the broker, the tracker's HTTP and the wall: answers
that come after `tmax`, by the wall's own clock, are timeouts.
"""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator

from bidder.core.messages import BID_REQUESTS
from bidder.errors import DependencyError
from bidder.runtime.clock import Clock
from bidder.runtime.transport import Outbound, Sink, Source
from simulator.demo.http_client import NoticeClient
from simulator.demo.plan import TMAX_MS
from simulator.demo.spread import SpreadClient
from simulator.exchange.books import Call
from simulator.exchange.exchange import Exchange
from simulator.logs.requests import message_key
from simulator.logs.rows import LogRow

_SLACK_S = 0.01
"""How far, in wall seconds, time may run ahead of the next row: below what a turn of the event loop takes,
time would stand still at every single row."""
_TURN_S = 0.002
"""Wall seconds between looks at the clock: shorter turns make smaller batches, which cost more everywhere."""
_OFFER = 256
_SILENCE_S = 0.3
NEVER_NS = 2**62
"""The limit of time when all rows have been answered: none."""
_DONE_OK = range(200, 400)


class ExchangeShell:
    """Plays rows against bidders and reports what it saw.

    Args:
        exchange: decides the auctions and keeps the books.
        rows: what to offer, in order of time. row_count: how many.
        responses: source of `bid-responses`. sink: takes `bid-requests`.
        client: calls the tracker.
        clock: the shared clock.
        speedup: of the clock.
        max_open: auctions open at once; more wait, and where `hold` is given time waits with them.
        hold: told how far the clock may go; None where the clock is not ours to hold.
        unsettled: how many bids have money set aside at the bidder; None where nobody can tell. Where many more
            have it than are open here or wait for a call, offers (and with `hold` time) wait for the money to
            settle: in an hour that passes in a second, a notice that takes a tenth of one would lock up money
            for minutes.

    Attributes:
        offered: rows offered so far. began_s: wall (monotonic) of the first offer. ended_s: of the last answer.
        statuses: answers of the tracker by HTTP status. failed: calls that got no answer.
        late_offers: rows offered more than `tmax` of wall time after their time was shown.
    """

    def __init__(
        self,
        exchange: Exchange,
        rows: Iterator[LogRow],
        row_count: int,
        *,
        responses: Source,
        sink: Sink,
        client: NoticeClient | SpreadClient,
        clock: Clock,
        speedup: float,
        max_open: int = 128,
        hold: Callable[[int], None] | None = None,
        unsettled: Callable[[], int] | None = None,
    ) -> None:
        self.exchange = exchange
        self.row_count = row_count
        self.offered = 0
        self.began_s = 0.0
        self.ended_s = 0.0
        self.failed = 0
        self.late_offers = 0
        self.statuses: Counter[int] = Counter()
        self._rows = rows
        self._responses = responses
        self._sink = sink
        self._client = client
        self._clock = clock
        self._speedup = speedup
        self._tmax_ns = TMAX_MS * 1_000_000
        self._max_open = max_open
        self._hold = hold or (lambda _limit_ns: None)
        self._unsettled = unsettled or (lambda: 0)
        self._calls: list[Call] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._offers_done = False
        self._still = (0, 0.0)
        self._silent = 0

    async def run(self) -> None:
        """Plays all rows and returns when everything that follows from them has happened."""
        async with asyncio.TaskGroup() as group:
            answers = group.create_task(self._take_answers())
            calls = group.create_task(self._make_calls())
            await self._offer_all()
            self._offers_done = True
            await answers
            self.ended_s = time.monotonic()
            self._hold(NEVER_NS)
            await calls

    async def _offer_all(self) -> None:
        self.began_s = time.monotonic()
        row = next(self._rows, None)
        while row is not None:
            now_ns = self._clock.now_ns()
            due: list[LogRow] = []
            room = self._room()
            while row is not None and row.at_ns <= now_ns and len(due) < room:
                due.append(row)
                row = next(self._rows, None)
            if due:
                await self._offer(due, now_ns)
            if row is not None:
                self._hold(row.at_ns + int(_SLACK_S * self._speedup * 1e9))
                wait_s = (row.at_ns - now_ns) / (self._speedup * 1e9)
                await asyncio.sleep(min(max(wait_s, _TURN_S), 0.05))

    def _room(self) -> int:
        """How many rows may be offered now."""
        open_auctions = self.exchange.open_auctions
        settling = self._settling(self._unsettled(), open_auctions + len(self._calls))
        return min(_OFFER, self._max_open - open_auctions, self._max_open - settling)

    def _settling(self, unsettled: int, not_due: int) -> int:
        """How many bids wait for money that is on its way.

        Of a bid that came too late nobody tells: its money comes back when its time is over on the clock. So
        what has not moved for a while is not waited for, or time and money would wait for each other for ever.
        """
        now_s = time.monotonic()
        if unsettled != self._still[0]:
            self._still = (unsettled, now_s)
        waiting = unsettled - not_due
        self._silent = min(self._silent, max(waiting, 0))
        if waiting - self._silent >= self._max_open and now_s - self._still[1] > _SILENCE_S:
            self._silent = waiting
        return waiting - self._silent

    async def _offer(self, due: list[LogRow], now_ns: int) -> None:
        deadline_ns = time.monotonic_ns() + self._tmax_ns
        late_ns = now_ns - int(self._tmax_ns * self._speedup)
        self.late_offers += sum(row.at_ns < late_ns for row in due)
        requests = [
            Outbound(BID_REQUESTS, message_key(row), self.exchange.offer(row, deadline_ns)) for row in due
        ]
        self.offered += len(due)
        await self._sink.publish(requests)

    async def _take_answers(self) -> None:
        while not (self._offers_done and self.exchange.open_auctions == 0):
            messages = await self._responses.poll(1_000, 0.02)
            self.exchange.expire(time.monotonic_ns())
            now_ns = self._clock.now_ns()
            for message in messages:
                for call in self.exchange.respond(message.value, now_ns):
                    heapq.heappush(self._calls, call)
            await asyncio.sleep(0)

    async def _make_calls(self) -> None:
        while self._calls or not self._offers_done or self.exchange.open_auctions:
            now_ns = self._clock.now_ns()
            while self._calls and self._calls[0].at_ns <= now_ns:
                call = heapq.heappop(self._calls)
                self.exchange.happened(call)
                task = asyncio.create_task(self._call(call))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(_TURN_S)
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _call(self, call: Call) -> None:
        try:
            response = await self._client.get(call.url)
        except DependencyError:
            self.failed += 1
            return
        self.statuses[response.status] += 1
        self.failed += response.status not in _DONE_OK
