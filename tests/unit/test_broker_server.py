"""The embedded broker behind a socket: what rubbish does to it, what bounds it, how it stops and starts again."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bidder.errors import ConfigError
from simulator.broker import EmbeddedBroker
from simulator.broker.__main__ import main
from simulator.broker.codes import ApiKey, ErrorCode
from simulator.broker.wire import Reader, Writer
from tests.support.raw_kafka import RawClient, batch, produce_body, raw_client


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with running(EmbeddedBroker({"t": 2})) as running_broker:
        yield running_broker


class running:  # noqa: N801 - reads as a verb where it is used
    """Starts a broker and stops it."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker

    async def __aenter__(self) -> EmbeddedBroker:
        await self._broker.start()
        return self._broker

    async def __aexit__(self, *_: object) -> None:
        await self._broker.stop()


def fetch_body(
    topic: str, offset: int, *, partition: int = 0, max_wait_ms: int = 0, min_bytes: int = 1
) -> Writer:
    body = Writer()
    for number in (-1, max_wait_ms, min_bytes, 1 << 20):
        body.int32(number)
    body.int8(0)
    body.int32(1)
    body.string(topic)
    body.int32(1)
    body.int32(partition)
    body.int64(offset)
    body.int32(1 << 20)
    return body


def fetched(reader: Reader) -> tuple[int, int, int]:
    """Error, end offset and bytes of a fetch response of version 4 with one partition."""
    assert (reader.int32(), reader.int32()) == (0, 1)
    reader.string()
    assert reader.int32() == 1
    reader.int32()
    error, end_offset = reader.int16(), reader.int64()
    reader.int64()
    assert reader.int32() == 0
    records = reader.nullable_bytes()
    assert records is not None
    assert reader.left == 0
    return error, end_offset, len(records)


async def lost(broker: EmbeddedBroker) -> dict[str, int]:
    """Why connections ended, once the broker has seen the end of those that are gone."""
    for _ in range(100):
        if broker.closed_connections:
            break
        await asyncio.sleep(0.01)
    return dict(broker.closed_connections)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(struct.pack(">i", -1), "malformed", id="negative length"),
        pytest.param(struct.pack(">i", 200 * 1024 * 1024), "frame_too_large", id="huge length"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "frame_too_large", id="another protocol"),
        pytest.param(struct.pack(">ih", 2, 3), "malformed", id="no header"),
        pytest.param(struct.pack(">ihhih", 10, 77, 0, 1, -1), "unknown_api", id="unknown kind"),
        pytest.param(struct.pack(">ihhih", 10, 3, 99, 1, -1), "unsupported_version", id="version too new"),
        pytest.param(struct.pack(">ihhih", 10, 1, 0, 1, -1), "unsupported_version", id="version too old"),
        pytest.param(struct.pack(">ihhihi", 14, 3, 1, 1, -1, 1000), "malformed", id="more items than bytes"),
        pytest.param(struct.pack(">ihhih", 10, 3, 1, 1, 400), "malformed", id="client id too long"),
    ],
)
async def test_a_frame_that_cannot_be_ends_the_connection_with_a_reason(
    broker: EmbeddedBroker, data: bytes, reason: str
) -> None:
    async with raw_client(broker.bootstrap) as raw:
        await raw.send(data)
        assert await raw.is_closed()
    assert await lost(broker) == {reason: 1}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(list(ApiKey)),
    version=st.integers(0, 11),
    body=st.one_of(
        st.binary(max_size=80),
        # Much of it zero: more of it is read before it is found out.
        st.lists(st.sampled_from([b"\x00", b"\x00\x00\x00\x01", b"\x00\x01t", b"\xff\xff"]), max_size=40).map(
            b"".join
        ),
    ),
)
def test_no_body_of_a_request_breaks_the_broker(key: ApiKey, version: int, body: bytes) -> None:
    async def run() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with running(EmbeddedBroker({"t": 1, "probe": 1})) as broker:
            async with raw_client(broker.bootstrap) as raw:
                head = struct.pack(">hhih", key, version, 1, -1)
                await raw.send(struct.pack(">i", len(head) + len(body)) + head + body)
            async with raw_client(broker.bootstrap) as raw:
                # A body may well delete topic `t`.
                assert await raw.end_offset("probe", 0) >= 0
        assert not problems
        assert set(broker.closed_connections) <= {
            "broker_stopped",
            "client_left",
            "malformed",
            "unsupported_version",
            "refused_without_acks",
        }

    asyncio.run(run())


async def test_requests_sent_at_once_are_answered_in_order(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.bootstrap) as raw:
        sent = [await raw.send_request(ApiKey.API_VERSIONS, 0, Writer()) for _ in range(300)]
        assert [(await raw.receive())[0] for _ in sent] == sent


async def test_requests_behind_one_that_waits_are_answered_after_it(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.bootstrap) as raw:
        sent = [await raw.send_request(ApiKey.FETCH, 4, fetch_body("t", 0, max_wait_ms=200))]
        # More than is read at once: reading is paused and goes on.
        for _ in range(300):
            sent.append(await raw.send_request(ApiKey.API_VERSIONS, 0, bytes(8000)))  # noqa: PERF401
        assert [(await raw.receive())[0] for _ in sent] == sent


async def test_behind_a_request_that_waits_little_is_read(broker: EmbeddedBroker) -> None:
    async def flood(raw: RawClient) -> None:
        for _ in range(2000):
            await raw.send_request(ApiKey.API_VERSIONS, 0, bytes(8000))

    async with raw_client(broker.bootstrap) as raw:
        await raw.send_request(ApiKey.FETCH, 4, fetch_body("t", 0, max_wait_ms=60_000))
        flooding = asyncio.create_task(flood(raw))
        await asyncio.sleep(0.1)
        assert not flooding.done()
        (connection,) = broker._connections.open
        assert sum(map(len, connection._queue)) <= 512 * 1024
        flooding.cancel()
        raw.abort()


async def test_a_fetch_waits_for_as_many_bytes_as_it_wants(broker: EmbeddedBroker) -> None:
    records = batch(b"x" * 100)
    wanted = fetch_body("t", 0, max_wait_ms=5000, min_bytes=2 * len(records))
    async with raw_client(broker.bootstrap) as reads, raw_client(broker.bootstrap) as writes:
        await reads.send_request(ApiKey.FETCH, 4, wanted)
        answer = asyncio.create_task(reads.receive())
        await writes.produce("t", 0, records)
        await asyncio.sleep(0.05)
        assert not answer.done()
        await writes.produce("t", 0, records)
        assert fetched((await answer)[1]) == (ErrorCode.NONE, 2, 2 * len(records))


async def test_a_fetch_that_finds_nothing_is_answered_when_its_time_ends(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.bootstrap) as raw:
        answer = fetched(await raw.ask(ApiKey.FETCH, 4, fetch_body("t", 0, max_wait_ms=30)))
    assert answer == (ErrorCode.NONE, 0, 0)


async def test_a_fetch_whose_client_left_is_forgotten(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.bootstrap) as raw:
        await raw.send_request(ApiKey.FETCH, 4, fetch_body("t", 0, max_wait_ms=60_000))
        await asyncio.sleep(0.02)
        partition = broker._topics.partition("t", 0)
        assert partition is not None
        assert len(partition.waiting) == 1
    assert await lost(broker) == {"client_left": 1}
    assert not partition.waiting


async def test_a_fetch_of_a_deleted_topic_is_told_so(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.bootstrap) as raw:
        await raw.send_request(ApiKey.FETCH, 4, fetch_body("t", 0, max_wait_ms=60_000))
        await asyncio.sleep(0.02)
        broker._topics.delete("t")
        assert fetched((await raw.receive())[1])[0] == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_below_what_was_dropped_a_fetch_is_out_of_range() -> None:
    async with running(EmbeddedBroker({"t": 1}, retention_bytes=5000)) as broker:
        async with raw_client(broker.bootstrap) as raw:
            for _ in range(20):
                assert (await raw.produce("t", 0, batch(b"x" * 1000)))[0] == ErrorCode.NONE
            assert (
                fetched(await raw.ask(ApiKey.FETCH, 4, fetch_body("t", 0)))[0]
                == ErrorCode.OFFSET_OUT_OF_RANGE
            )
            assert fetched(await raw.ask(ApiKey.FETCH, 4, fetch_body("t", 19)))[:2] == (ErrorCode.NONE, 20)
        assert broker.held_bytes <= 5000
        assert broker.dropped_bytes > 15_000


async def test_a_batch_is_taken_up_to_the_limit_and_not_above() -> None:
    records = batch(b"x" * 1000)
    limited = EmbeddedBroker({"t": 1}, max_batch_bytes=len(records))
    async with running(limited) as broker, raw_client(broker.bootstrap) as raw:
        assert await raw.produce("t", 0, records) == (ErrorCode.NONE, 0)
        assert (await raw.produce("t", 0, batch(b"x" * 1001)))[0] == ErrorCode.MESSAGE_TOO_LARGE


async def test_a_malformed_produce_stores_nothing(broker: EmbeddedBroker) -> None:
    """The first of its two batches is whole."""
    body = produce_body("t", 0, batch(b"a")).join()
    # Two partitions are announced, and the second one is missing.
    counted = body[:13] + body[13:].replace(struct.pack(">ii", 1, 0), struct.pack(">ii", 2, 0), 1)
    assert counted != body
    async with raw_client(broker.bootstrap) as raw:
        await raw.send_request(ApiKey.PRODUCE, 7, counted)
        assert await raw.is_closed()
    async with raw_client(broker.bootstrap) as raw:
        assert await raw.end_offset("t", 0) == 0


async def test_a_refusal_that_nobody_waits_for_ends_the_connection(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.bootstrap) as raw:
        await raw.send_request(ApiKey.PRODUCE, 7, produce_body("unknown", 0, batch(b"a"), acks=0))
        assert await raw.is_closed()
    assert await lost(broker) == {"refused_without_acks": 1}


async def test_a_stopped_broker_keeps_its_port_and_its_messages() -> None:
    broker = EmbeddedBroker({"t": 1})
    first = await broker.start()
    async with raw_client(first) as raw:
        await raw.produce("t", 0, batch(b"a"))
    await broker.stop()
    with pytest.raises(ConnectionRefusedError):
        async with raw_client(first):
            pass
    assert await broker.start() == first
    async with raw_client(first) as raw:
        assert await raw.end_offset("t", 0) == 1
    await broker.stop()


async def test_stopping_ends_connections_that_wait() -> None:
    broker = EmbeddedBroker({"t": 1})
    async with raw_client(await broker.start()) as raw:
        await raw.send_request(ApiKey.FETCH, 4, fetch_body("t", 0, max_wait_ms=60_000))
        await asyncio.sleep(0.02)
        await asyncio.wait_for(broker.stop(), 2)
        assert await raw.is_closed()
    assert broker.closed_connections == {"broker_stopped": 1}
    await broker.stop()


async def test_stopping_cuts_off_a_client_that_does_not_read() -> None:
    broker = EmbeddedBroker({"t": 1})
    host, port = (await broker.start()).split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    raw = RawClient(reader, writer)
    for _ in range(20):
        await raw.produce("t", 0, batch(b"x" * 900_000))
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    for offset in range(15):
        await raw.send_request(ApiKey.FETCH, 4, fetch_body("t", offset))
    await asyncio.sleep(0.1)
    await asyncio.wait_for(broker.stop(timeout_s=0.1), 2)
    writer.transport.abort()
    assert broker.closed_connections == {"broker_stopped": 1}


async def test_topics_are_made_on_demand_only_if_asked_for() -> None:
    for partitions, error in [(0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), (3, ErrorCode.NONE)]:
        async with running(EmbeddedBroker({}, auto_create_partitions=partitions)) as broker:
            body = Writer()
            body.int32(1)
            body.string("new")
            async with raw_client(broker.bootstrap) as raw:
                reader = await raw.ask(ApiKey.METADATA, 1, body)
            assert reader.int32() == 1
            reader.int32()
            assert f"{reader.string()}:{reader.int32()}" == broker.bootstrap
            reader.nullable_string()
            reader.int32()
            assert (reader.int32(), reader.int16(), reader.string()) == (1, error, "new")
            reader.boolean()
            assert reader.int32() == partitions


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "example.org", ""])
def test_only_the_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        EmbeddedBroker({}, host=host)


@pytest.mark.parametrize(("name", "partitions"), [("a b", 1), ("t", 0), ("t", 10_001)])
def test_a_topic_that_cannot_be_is_an_error_of_the_settings(name: str, partitions: int) -> None:
    with pytest.raises(ConfigError, match="topic"):
        EmbeddedBroker({name: partitions})


async def test_a_port_that_is_taken_is_an_error_that_names_it(
    broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    port = broker.bootstrap.split(":")[1]
    assert await asyncio.to_thread(main, ["--port", port]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["noparts", "t:", "t:x", "t:-1"])
def test_a_topic_on_the_command_line_has_a_number_of_partitions(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--topic", text])
    assert "NAME:PARTITIONS" in capsys.readouterr().err


@pytest.mark.parametrize(
    "scenario",
    [
        test_requests_sent_at_once_are_answered_in_order,
        test_requests_behind_one_that_waits_are_answered_after_it,
        test_behind_a_request_that_waits_little_is_read,
        test_a_fetch_waits_for_as_many_bytes_as_it_wants,
        test_a_fetch_whose_client_left_is_forgotten,
        test_a_malformed_produce_stores_nothing,
    ],
)
def test_the_same_holds_on_uvloop(scenario: Callable[[EmbeddedBroker], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running(EmbeddedBroker({"t": 2})) as broker:
            await scenario(broker)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
