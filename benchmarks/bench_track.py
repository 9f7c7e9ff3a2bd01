"""What a notice costs the tracker: its rules alone, and the whole way from bytes of HTTP to a durable answer.

    pytest benchmarks/bench_track.py -q -s

*Rules* is `Tracker.handle`: token, price, bounds, notice. *Served* is HTTP bytes in and HTTP bytes out through the
server and the publisher into an in-process sink, without a kernel in between: requests come in bursts of 64 on one
connection, as exchanges pipeline them. The floor of that is the same server with a handler that answers 204 and does
nothing. With the broker away every notice goes to the spool: on a real disk, one sync a batch, so that row has a
disk in it and no figure of CPU alone. Tokens differ in all that differs from bid to bid, of 100 line items at four
exchanges. Times are CPU time of the thread, but for the spool's, which is the wall's.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from bidder.core.messages import NOTICES, encode
from bidder.core.token import Scope, TokenFields, read, sign, sign_landing
from bidder.runtime.bus import Bus
from bidder.runtime.http import HttpServer, Limits, Reply, Request
from bidder.runtime.http_connection import Connection
from bidder.runtime.transport import Sink
from bidder.web.disk import Disk
from bidder.web.publish import NoticePublisher
from bidder.web.spool import Spool
from bidder.web.track import Tracker

CALLS = 2_048
BURST = 64
ROUNDS = 15
KEY = b"k" * 32
NOW = 1_772_409_600_000_000_000
HEADERS = {b"host": b"track.example", b"user-agent": b"exchange/1.0"}
FIELDS = TokenFields(
    bid_id=bytes(12),
    campaign_id="campaign-1",
    seat="seat-1",
    epoch=3,
    partition=2,
    cap_nanos=2_500_000,
    currency="USD",
    result_until_ns=NOW + 10**9,
    liable_until_ns=NOW + 6 * 10**11,
    bid_at_ns=NOW - 10**9,
)
NO_CONTENT = Reply(204)

_medians: dict[str, float] = {}


def _fields(number: int) -> TokenFields:
    line = number % 100
    return msgspec.structs.replace(
        FIELDS,
        bid_id=(number * 2_654_435_761).to_bytes(12, "big"),
        campaign_id=f"campaign-{line // 4}",
        line_item_id=f"line-{line}",
        creative_id=f"creative-{line % 7}",
        advertiser_id=f"advertiser-{line % 5}",
        exchange=f"exchange-{number % 4}",
        user=number * 0x9E37_79B9_7F4A_7C15 % 2**64,
        cap_nanos=2_000_000 + number,
    )


def _urls(path: str, more: str, scope: Scope = Scope.EXCHANGE) -> list[str]:
    return [f"{path}?t={sign(_fields(number), KEY, scope)}{more}" for number in range(CALLS)]


BILLS = _urls("/bill", "&p=1.234567&c=USD")
URLS = {
    "billing": BILLS,
    "win": _urls("/win", "&p=1.25&c=USD"),
    "loss": _urls("/loss", "&l=102"),
    "impression": _urls("/i", "", Scope.BROWSER),
    "click": _urls("/c", "&" + sign_landing("https://shop.example/sale?id=7", KEY), Scope.BROWSER),
}


def _run(benchmark: Any, name: str, function: Callable[[], Any]) -> None:
    benchmark.pedantic(function, rounds=ROUNDS, warmup_rounds=2)
    if benchmark.stats is not None:
        us = benchmark.stats.stats.median / CALLS * 1e6
        _medians[name] = us
        benchmark.extra_info["us_a_notice"] = us


@pytest.mark.benchmark(group="tracker: rules", timer=time.thread_time)
@pytest.mark.parametrize("kind", URLS)
def test_rules(benchmark: Any, kind: str) -> None:
    tracker, urls = Tracker([KEY], "USD"), URLS[kind]

    def handle() -> None:
        for url in urls:
            tracker.handle("GET", url, HEADERS, NOW)

    _run(benchmark, f"rules: {kind}", handle)
    assert {outcome.value for _, outcome in tracker.counts} == {"accepted"}


@pytest.mark.benchmark(group="tracker: rules", timer=time.thread_time)
def test_token_alone(benchmark: Any) -> None:
    """What no tracker with these tokens could do without."""
    tokens, keys = [url.partition("?t=")[2].partition("&")[0] for url in BILLS], (KEY,)

    def read_all() -> None:
        for token in tokens:
            read(token, keys)

    _run(benchmark, "rules: its token alone", read_all)


@pytest.mark.benchmark(group="tracker: rules", timer=time.thread_time)
def test_message(benchmark: Any) -> None:
    """The notice as the broker gets it."""
    tracker = Tracker([KEY], "USD")
    notices = [tracker.handle("GET", url, HEADERS, NOW).notice for url in BILLS]

    def encode_all() -> None:
        for notice in notices:
            assert notice is not None
            encode(notice)

    _run(benchmark, "rules: its message", encode_all)


# --- served


class Wire(asyncio.Transport):
    """The other end of a connection: counts answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = self.accepted = 0
        self.changed = asyncio.Event()

    def write(self, data: Any) -> None:
        self.answers += data.count(b"HTTP/1.1 ")
        self.accepted += data.count(b"HTTP/1.1 204")
        self.changed.set()

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Bursts wait for their answers anyway."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""


REQUESTS = [
    b"".join(
        f"GET {url} HTTP/1.1\r\nHost: track.example\r\nUser-Agent: exchange/1.0\r\n\r\n".encode()
        for url in BILLS[first : first + BURST]
    )
    for first in range(0, CALLS, BURST)
]


async def _serve(handler: Callable[[Request], Any]) -> None:
    """All requests through one connection, the next burst when the last is answered."""
    server = HttpServer(handler, limits=Limits(pipeline=BURST + 1))
    server.now_s = asyncio.get_running_loop().time()
    wire = Wire()
    connection = Connection(cast("Any", server), asyncio.get_running_loop())
    connection.connection_made(wire)
    for number, data in enumerate(REQUESTS, 1):
        connection.data_received(data)
        while wire.answers < number * BURST:
            wire.changed.clear()
            await wire.changed.wait()
    assert wire.accepted == CALLS


async def _tracked(sink: Sink, spool: Spool | None = None) -> None:
    tracker, publisher = Tracker([KEY], "USD"), NoticePublisher(sink, spool=spool, patience_s=0.01)
    running = asyncio.ensure_future(publisher.run())

    def handle(request: Request) -> Any:
        reply, notice = tracker.handle(request.method, request.target, request.headers, NOW)
        return reply if notice is None else publisher.submit(notice, reply)

    await _serve(handle)
    publisher.stop()
    await running


def _turns(
    loop: asyncio.AbstractEventLoop, main: Callable[[], Coroutine[Any, Any, None]]
) -> Callable[[], None]:
    return lambda: loop.run_until_complete(main())


@pytest.fixture
def loop() -> Any:
    uvloop = pytest.importorskip("uvloop")
    made = uvloop.new_event_loop()
    yield made
    made.close()


async def _floor() -> None:
    await _serve(lambda _: NO_CONTENT)


async def _to_bus() -> None:
    await _tracked(Bus({NOTICES: 4}).sink())


@pytest.mark.benchmark(group="tracker: served", timer=time.thread_time)
def test_served(benchmark: Any, loop: Any) -> None:
    _run(benchmark, "served: to an in-process sink", _turns(loop, _to_bus))


@pytest.mark.benchmark(group="tracker: served", timer=time.thread_time)
def test_floor(benchmark: Any, loop: Any) -> None:
    _run(benchmark, "served: floor, an empty handler", _turns(loop, _floor))


class Away:
    """A sink whose broker never answers."""

    async def start(self) -> None: ...

    async def publish(self, messages: Any) -> None:  # noqa: ARG002 - the sink's own signature
        await asyncio.Event().wait()

    async def send(self, runs: Any) -> None: ...

    async def flush(self) -> None: ...

    async def stop(self) -> None: ...


@pytest.mark.benchmark(group="tracker: spooled", timer=time.perf_counter)
def test_spooled(benchmark: Any, loop: Any, tmp_path: Path) -> None:
    """2,048 notices at once, as many connections would bring them, each answered when it is on the disk."""
    notices = [Tracker([KEY], "USD").handle("GET", url, HEADERS, NOW).notice for url in BILLS]

    async def spooled() -> None:
        with Disk(tmp_path) as disk:
            for name in disk.sizes():
                disk.remove(name)
            publisher = NoticePublisher(Away(), spool=Spool(disk, 1 << 30), patience_s=0.001)
            running = asyncio.ensure_future(publisher.run())
            answers = [publisher.submit(notice, NO_CONTENT) for notice in notices if notice is not None]
            assert {reply.status for reply in await asyncio.gather(*cast("Any", answers))} == {204}
            publisher.stop()
            await running

    _run(benchmark, "spooled: all at once, on disk", _turns(loop, spooled))


def test_table(capsys: Any) -> None:
    """Runs last, and prints what the others found."""
    if not _medians:
        pytest.skip("needs the benchmarks before it")
    with capsys.disabled():
        print(f"\n\nOne notice, {CALLS:,} of them, median of {ROUNDS} rounds:")
        for name, us in _medians.items():
            print(f"  {name:<34} {us:7.2f} us, {1e6 / us:9,.0f} a second of one core")
        served, floor = (
            _medians.get(f"served: {name}") for name in ("to an in-process sink", "floor, an empty handler")
        )
        if served and floor:
            print(f"  served / floor: {served / floor:.2f}")
