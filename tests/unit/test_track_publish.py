"""A caller is answered when its notice is durable, not before."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from bidder.core.messages import NOTICES, Notice, NoticeKind, encode
from bidder.core.token import Scope, TokenFields, sign, sign_landing
from bidder.errors import ConfigError, DeliveryError, DependencyError, InvariantError
from bidder.runtime.bus import Bus
from bidder.runtime.clock import VirtualClock
from bidder.runtime.http import Reply
from bidder.runtime.transport import Outbound, Sink
from bidder.web.calls import Answer, Outcome
from bidder.web.publish import NoticePublisher, run_tracker
from bidder.web.track import Tracker
from simulator.demo.http_client import NoticeClient, Response

KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000_000_000_000
FIELDS = TokenFields(b"\0" * 12, "campaign-7", "seat-1", 1, 0, 2_500_000, "USD", NOW, NOW)
NO_CONTENT = Reply(204)


def notice(number: int = 0, kind: NoticeKind = NoticeKind.BILLING) -> Notice:
    return Notice(
        kind=kind,
        bid_id=f"{number:016}",
        campaign_id=f"campaign-{number % 3}",
        seat="seat-1",
        epoch=1,
        cap_nanos=5,
        price_nanos=5,
        value_nanos=0,
        event_id="",
        at_ns=NOW,
        liable_until_ns=NOW,
    )


class SlowSink:
    """A sink whose flush waits until it is let go, or fails as it is told."""

    def __init__(self) -> None:
        self.published: list[list[Outbound]] = []
        self.flushing = asyncio.Event()
        self.let_go = asyncio.Semaphore(0)
        self.failures: list[BaseException] = []

    async def start(self) -> None: ...

    async def publish(self, messages: Sequence[Outbound]) -> None:
        self.published.append(list(messages))

    async def flush(self) -> None:
        self.flushing.set()
        await self.let_go.acquire()
        if self.failures:
            raise self.failures.pop()

    async def stop(self) -> None: ...


@asynccontextmanager
async def running(publisher: NoticePublisher) -> AsyncIterator[None]:
    task = asyncio.ensure_future(publisher.run())
    try:
        yield
    finally:
        publisher.stop()
        await task


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def waiting(publisher: NoticePublisher, submitted: Notice) -> asyncio.Future[Reply]:
    answer = publisher.submit(submitted, NO_CONTENT)
    assert isinstance(answer, asyncio.Future)
    return answer


async def test_no_answer_comes_before_the_flush() -> None:
    sink = SlowSink()
    publisher = NoticePublisher(sink)
    async with running(publisher):
        answer = waiting(publisher, notice())
        await sink.flushing.wait()
        await turns()
        assert not answer.done()
        sink.let_go.release()
        assert await answer == NO_CONTENT


async def test_calls_during_a_flush_share_the_next_one() -> None:
    sink = SlowSink()
    publisher = NoticePublisher(sink)
    async with running(publisher):
        first = waiting(publisher, notice(0))
        await sink.flushing.wait()
        others = [waiting(publisher, notice(number)) for number in range(1, 50)]
        sink.let_go.release()
        await first
        await turns()
        assert not any(answer.done() for answer in others)
        sink.let_go.release()
        await asyncio.gather(*others)
    assert [len(batch) for batch in sink.published] == [1, 49]
    assert publisher.counts == {"batches": 2, "published": 50}


@pytest.mark.parametrize(("advertiser", "key"), [("acme", b"acme"), ("", b"campaign-1")])
async def test_a_notice_is_published_under_its_advertiser_or_else_its_campaign(
    advertiser: str, key: bytes
) -> None:
    sink = SlowSink()
    sink.let_go.release()
    publisher = NoticePublisher(sink)
    sent = msgspec.structs.replace(notice(4), advertiser_id=advertiser)
    async with running(publisher):
        await waiting(publisher, sent)
    assert sink.published == [[Outbound(NOTICES, key, encode(sent))]]


async def test_a_batch_is_bounded() -> None:
    sink = SlowSink()
    publisher = NoticePublisher(sink, max_batch=10)
    answers = [waiting(publisher, notice(number)) for number in range(25)]
    for _ in range(3):
        sink.let_go.release()
    async with running(publisher):
        await asyncio.gather(*answers)
    assert [len(batch) for batch in sink.published] == [10, 10, 5]


async def test_what_was_not_delivered_is_asked_for_again() -> None:
    sink = SlowSink()
    sink.failures.append(DeliveryError("not acknowledged"))
    publisher = NoticePublisher(sink)
    async with running(publisher):
        answer = waiting(publisher, notice())
        sink.let_go.release()
        assert await answer == Reply(503, (("Retry-After", "1"),))
        again = waiting(publisher, notice())
        sink.let_go.release()
        assert await again == NO_CONTENT
    assert publisher.counts == {"undelivered": 1, "batches": 1, "published": 1}


async def test_more_than_may_wait_is_turned_away_at_once() -> None:
    sink = SlowSink()
    publisher = NoticePublisher(sink, max_pending=2)
    async with running(publisher):
        answers = [waiting(publisher, notice(0))]
        await sink.flushing.wait()  # under way counts as waiting
        answers.append(waiting(publisher, notice(1)))
        assert publisher.submit(notice(2), NO_CONTENT) == Reply(503, (("Retry-After", "1"),))
        for _ in answers:
            sink.let_go.release()
        await asyncio.gather(*answers)
        assert isinstance(publisher.submit(notice(2), NO_CONTENT), asyncio.Future)
        sink.let_go.release()


async def test_a_click_leads_to_its_page_though_it_could_not_be_kept() -> None:
    publisher = NoticePublisher(SlowSink(), max_pending=0)
    redirect = Reply(302, (("Location", "https://shop.example/"),))
    assert publisher.submit(notice(kind=NoticeKind.CLICK), redirect) == redirect
    assert publisher.counts == {"overloaded": 1}


async def test_an_error_of_our_own_ends_the_publisher_and_leaves_nobody_waiting() -> None:
    sink = SlowSink()
    sink.failures.append(InvariantError("broken"))
    publisher = NoticePublisher(sink, max_batch=1)
    answers = [waiting(publisher, notice(number)) for number in range(3)]
    sink.let_go.release()
    with pytest.raises(InvariantError, match="broken"):
        await publisher.run()
    assert {answer.result().status for answer in answers} == {503}
    assert publisher.submit(notice(), NO_CONTENT) == Reply(503, (("Retry-After", "1"),))


async def test_stop_publishes_what_waits() -> None:
    sink = SlowSink()
    publisher = NoticePublisher(sink)
    answer = waiting(publisher, notice())
    sink.let_go.release()
    publisher.stop()
    await publisher.run()
    assert answer.result() == NO_CONTENT


async def test_a_caller_that_has_gone_does_not_hold_up_the_others() -> None:
    sink = SlowSink()
    sink.let_go.release()
    publisher = NoticePublisher(sink)
    gone, stays = waiting(publisher, notice(0)), waiting(publisher, notice(1))
    gone.cancel()
    async with running(publisher):
        assert await stays == NO_CONTENT
    assert len(sink.published[0]) == 2


# --- the whole, over sockets


@asynccontextmanager
async def tracking(
    sink: Sink, tracker: Tracker | None = None, publisher: NoticePublisher | None = None
) -> AsyncIterator[NoticeClient]:
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    clock = VirtualClock(NOW)
    running = asyncio.ensure_future(
        run_tracker(
            tracker or Tracker([KEY], "USD"),
            sink,
            clock,
            "127.0.0.1",
            0,
            stop,
            ready=ready,
            publisher=publisher,
        )
    )
    client = NoticeClient("127.0.0.1", await ready, retry_every_s=0.01)
    await client.start()
    try:
        yield client
    finally:
        await client.close()
        stop.set()
        await running


def url(client: NoticeClient, path: str, number: int = 0, scope: Scope = Scope.EXCHANGE) -> str:
    fields = msgspec.structs.replace(FIELDS, bid_id=number.to_bytes(12, "big"))
    return f"http://127.0.0.1:{client.port}{path}?t={sign(fields, KEY, scope)}"


async def test_every_answered_call_is_in_the_topic() -> None:
    bus = Bus({NOTICES: 4})
    async with tracking(bus.sink()) as client:
        answers = await asyncio.gather(*(client.get(url(client, "/bill", n) + "&p=1") for n in range(300)))
    assert answers == [Response(204, None)] * 300
    stored = [message for partition in bus.log(NOTICES) for message in partition]
    assert {message.key for message in stored} == {b"campaign-7"}
    notices = [msgspec.json.decode(message.value, type=Notice) for message in stored]
    assert len({stored_notice.bid_id for stored_notice in notices}) == len(notices) == 300
    assert {(n.kind, n.price_nanos, n.at_ns) for n in notices} == {(NoticeKind.BILLING, 1_000_000, NOW)}


async def test_a_click_is_redirected_over_a_socket() -> None:
    landing = sign_landing("https://shop.example/?a=b", KEY)
    async with tracking(Bus({NOTICES: 1}).sink()) as client:
        answer = await client.get(url(client, "/c", scope=Scope.BROWSER) + f"&{landing}")
    assert answer == Response(302, "https://shop.example/?a=b")


async def test_a_refused_call_leaves_nothing_in_the_topic() -> None:
    bus = Bus({NOTICES: 1})
    async with tracking(bus.sink()) as client:
        assert await client.get(url(client, "/bill") + "&p=99") == Response(204, None)
        assert await client.get(url(client, "/bill", scope=Scope.BROWSER) + "&p=1") == Response(400, None)
    assert bus.log(NOTICES) == [[]]


async def test_a_notice_that_was_not_delivered_is_retried_until_it_is() -> None:
    sink = SlowSink()
    sink.failures = [DeliveryError("first"), DeliveryError("second")]
    for _ in range(3):
        sink.let_go.release()
    async with tracking(sink) as client:
        assert await client.get(url(client, "/bill") + "&p=1") == Response(204, None)
        assert client.retried == 2
    assert len(sink.published) == 3


async def test_stop_answers_what_waits_for_its_flush() -> None:
    sink = SlowSink()
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tracker = Tracker([KEY], "USD")
    running = asyncio.ensure_future(
        run_tracker(tracker, sink, VirtualClock(NOW), "127.0.0.1", 0, stop, ready=ready)
    )
    client = NoticeClient("127.0.0.1", await ready, connections=1)
    await client.start()
    answer = asyncio.ensure_future(client.get(url(client, "/bill") + "&p=1"))
    await sink.flushing.wait()
    stop.set()
    await turns()
    assert not running.done()
    sink.let_go.release()
    assert await answer == Response(204, None)
    await running
    await client.close()


async def test_a_notice_that_is_half_received_at_the_stop_is_kept() -> None:
    bus = Bus({NOTICES: 1})
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    running = asyncio.ensure_future(
        run_tracker(Tracker([KEY], "USD"), bus.sink(), VirtualClock(NOW), "127.0.0.1", 0, stop, ready=ready)
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", await ready)
    writer.write(f"GET /bill?t={sign(FIELDS, KEY)}&p=1 HTTP/1.1\r\nHost: a\r\n".encode())
    await asyncio.sleep(0.05)
    stop.set()
    await asyncio.sleep(0.05)
    writer.write(b"\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
    await running
    assert len(bus.log(NOTICES)[0]) == 1
    writer.close()


async def test_a_sink_that_hangs_does_not_hold_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidder.web.publish._GRACE_S", 0.1)
    sink = SlowSink()
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    running = asyncio.ensure_future(
        run_tracker(Tracker([KEY], "USD"), sink, VirtualClock(NOW), "127.0.0.1", 0, stop, ready=ready)
    )
    client = NoticeClient("127.0.0.1", await ready, retries=0)
    await client.start()
    answer = asyncio.ensure_future(client.get(url(client, "/bill") + "&p=1"))
    await sink.flushing.wait()
    stop.set()
    await asyncio.wait_for(running, 2)
    with pytest.raises(DependencyError, match="was silent"):
        await answer
    await client.close()


async def test_a_sink_that_breaks_ends_the_tracker_with_its_error() -> None:
    sink = SlowSink()
    sink.failures.append(InvariantError("offsets went back"))
    sink.let_go.release()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    running = asyncio.ensure_future(
        run_tracker(
            Tracker([KEY], "USD"), sink, VirtualClock(NOW), "127.0.0.1", 0, asyncio.Event(), ready=ready
        )
    )
    client = NoticeClient("127.0.0.1", await ready, retries=0)
    await client.start()
    assert await client.get(url(client, "/bill") + "&p=1") == Response(503, None)
    with pytest.raises(InvariantError, match="offsets went back"):
        await running
    await client.close()


class BrokenTracker(Tracker):
    """Raises what it is told to, on one path."""

    def __init__(self, error: Exception) -> None:
        super().__init__([KEY], "USD")
        self.error = error

    def handle(self, method: str, target: str | bytes, headers: object = None, now_ns: int = 0) -> Answer:
        if target == "/break":
            raise self.error
        return super().handle(method, target, {}, now_ns)


async def test_a_broken_rule_ends_the_tracker() -> None:
    broken = tracking(Bus({NOTICES: 1}).sink(), BrokenTracker(InvariantError("impossible")))
    client = await broken.__aenter__()
    assert await client.get(f"http://127.0.0.1:{client.port}/break") == Response(500, None)
    with pytest.raises(InvariantError, match="impossible"):
        await broken.__aexit__(None, None, None)


async def test_a_call_that_fails_is_logged_and_the_next_one_served(caplog: pytest.LogCaptureFixture) -> None:
    tracker = BrokenTracker(KeyError("x"))
    async with tracking(Bus({NOTICES: 1}).sink(), tracker) as client:
        assert await client.get(f"http://127.0.0.1:{client.port}/break") == Response(500, None)
        assert await client.get(url(client, "/bill") + "&p=1") == Response(204, None)
    assert "call failed" in caplog.text
    assert tracker.counts == {("/bill", Outcome.ACCEPTED): 1}


async def test_an_address_that_is_taken_is_told() -> None:
    async with tracking(Bus({NOTICES: 1}).sink()) as client:
        with pytest.raises(ConfigError, match=f"must be free and ours, was 127.0.0.1:{client.port}"):
            await run_tracker(
                Tracker([KEY], "USD"),
                Bus({NOTICES: 1}).sink(),
                VirtualClock(NOW),
                "127.0.0.1",
                client.port,
                asyncio.Event(),
            )
