"""The exchange's shell: what it offers when, what it waits for, and what it makes of silence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from bidder.core.messages import BID_REQUESTS, BID_RESPONSES
from bidder.errors import DependencyError
from bidder.runtime.bus import Bus
from bidder.runtime.clock import VirtualClock
from bidder.runtime.transport import Outbound
from simulator.demo import exchange_shell
from simulator.demo.exchange_shell import NEVER_NS, ExchangeShell
from simulator.demo.http_client import Response
from simulator.exchange.delays import Delays, FixedDelay
from simulator.exchange.exchange import Exchange
from simulator.exchange.outcomes import LoggedOutcomes
from simulator.logs.conversions import ConversionLaw
from simulator.logs.requests import RequestEncoder
from tests.support.data import PLAIN_ROW, answer, bid

S = 1_000_000_000
AT_ONCE = Delays(*(FixedDelay(0) for _ in range(4)))
Answerer = Callable[[str], bytes | None]


class Tracker:
    """Answers every call with a status, or not at all."""

    def __init__(self, status: int | None = 204) -> None:
        self.status = status
        self.called: list[str] = []

    async def get(self, url: str) -> Response:
        self.called.append(url)
        if self.status is None:
            raise DependencyError("silent")
        return Response(self.status, None)


class Stage:
    """A shell with `count` rows, a second apart, on a clock that goes where it is let."""

    def __init__(self, count: int, tracker: Tracker | None = None, **settings: object) -> None:
        self.bus = Bus({BID_REQUESTS: 1, BID_RESPONSES: 1})
        self.clock = VirtualClock(PLAIN_ROW.at_ns)
        self.tracker = tracker or Tracker()
        self.limits: list[int] = []
        rows = (PLAIN_ROW._replace(id=f"r{i}", at_ns=PLAIN_ROW.at_ns + i * S) for i in range(count))
        exchange = Exchange(RequestEncoder(), LoggedOutcomes(ConversionLaw(1)), seed=1, delays=AT_ONCE)
        self.shell = ExchangeShell(
            exchange,
            rows,
            count,
            responses=self.bus.source((BID_RESPONSES,)),
            sink=self.bus.sink(),
            client=self.tracker,  # type: ignore[arg-type]  # it has what the shell needs of one
            clock=self.clock,
            speedup=1_000.0,
            hold=self.limit,
            **settings,  # type: ignore[arg-type]  # a test names what it changes
        )
        self.asked: list[str] = []

    def limit(self, limit_ns: int) -> None:
        self.limits.append(limit_ns)
        self.clock.advance_to(max(self.clock.now_ns(), min(limit_ns, PLAIN_ROW.at_ns + 10_000 * S)))

    @asynccontextmanager
    async def answered(self, answerer: Answerer) -> AsyncIterator[None]:
        """A bidder that answers every request as `answerer` says; None is silence."""
        requests = self.bus.source((BID_REQUESTS,))

        async def serve() -> None:
            while True:
                for message in await requests.poll(100, 0.01):
                    name = orjson.loads(message.value)["id"]
                    self.asked.append(name)
                    if (said := answerer(name)) is not None:
                        self.bus.sink().put([Outbound(BID_RESPONSES, None, said)])
                await asyncio.sleep(0)

        serving = asyncio.create_task(serve())
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def play(self, answerer: Answerer) -> None:
        async with self.answered(answerer), asyncio.timeout(10):
            await self.shell.run()


def with_bid(name: str) -> bytes:
    return answer(bid(), request_id=name)


def without_bid(name: str) -> bytes:
    return answer(request_id=name)


async def test_every_row_is_offered_once_in_order() -> None:
    stage = Stage(5)
    await stage.play(without_bid)
    assert stage.asked == ["r0", "r1", "r2", "r3", "r4"]
    assert stage.shell.offered == stage.shell.exchange.books.no_bids == 5


async def test_no_row_is_offered_before_its_time() -> None:
    stage = Stage(3)
    stage.shell._hold = lambda _limit_ns: None
    async with stage.answered(without_bid):
        running = asyncio.create_task(stage.shell.run())
        await asyncio.sleep(0.1)
        assert stage.asked == ["r0"]
        stage.clock.advance_to(PLAIN_ROW.at_ns + S)
        await asyncio.sleep(0.15)
        assert stage.asked == ["r0", "r1"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_follows_a_win_is_called_and_booked() -> None:
    stage = Stage(3)
    await stage.play(with_bid)
    books = stage.shell.exchange.books.of("c1")
    assert (books.wins, books.impressions, books.spend_nanos) == (3, 3, 3 * 1_200_000)
    assert stage.shell.statuses == {204: 9}  # win, billing, pixel
    assert stage.shell.failed == 0
    assert sum(url.startswith("https://t.example/bill") for url in stage.tracker.called) == 3


@pytest.mark.parametrize("status", [None, 400, 500, 503])
async def test_calls_that_are_not_taken_are_counted(status: int | None) -> None:
    stage = Stage(2, Tracker(status))
    await stage.play(with_bid)
    assert stage.shell.failed == 6


async def test_a_redirect_is_an_answer() -> None:
    stage = Stage(2, Tracker(302))
    await stage.play(with_bid)
    assert stage.shell.failed == 0


async def test_silence_is_a_timeout() -> None:
    stage = Stage(4)
    await stage.play(lambda name: None if name == "r2" else without_bid(name))
    books = stage.shell.exchange.books
    assert (books.timeouts, books.answered) == (1, 3)


async def test_no_more_auctions_are_open_than_allowed() -> None:
    stage = Stage(30, max_open=4)
    seen = []

    def answerer(name: str) -> bytes:
        seen.append(stage.shell.exchange.open_auctions)
        return without_bid(name)

    stage.clock.advance_to(PLAIN_ROW.at_ns + 100 * S)
    await stage.play(answerer)
    assert max(seen) <= 4
    assert stage.shell.offered == 30


async def test_time_may_go_a_little_past_the_next_row_and_on_when_all_is_answered() -> None:
    stage = Stage(3)
    await stage.play(without_bid)
    slack_ns = int(exchange_shell._SLACK_S * 1_000 * S)
    assert stage.limits[0] <= PLAIN_ROW.at_ns + 2 * S + slack_ns
    assert stage.limits[-1] == NEVER_NS


async def test_offers_wait_while_money_settles_but_not_for_ever() -> None:
    """Nobody tells of bids that came too late: what does not move is not waited for."""
    stage = Stage(20, max_open=4, unsettled=lambda: 50)
    stage.clock.advance_to(PLAIN_ROW.at_ns + 100 * S)
    async with stage.answered(without_bid):
        running = asyncio.create_task(stage.shell.run())
        await asyncio.sleep(exchange_shell._SILENCE_S / 2)
        assert stage.asked == []
        async with asyncio.timeout(10):
            await running
    assert len(stage.asked) == 20
