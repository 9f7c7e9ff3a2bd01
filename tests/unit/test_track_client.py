"""The exchange's notice client: it calls loopback only, keeps order, and comes again where it must."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from bidder.errors import DependencyError, InputError
from bidder.runtime.http import Handler, HttpServer, Limits, Reply, Request
from simulator.demo.http_client import NoticeClient, Response, check_loopback


@asynccontextmanager
async def serving(handler: Handler, limits: Limits | None = None) -> AsyncIterator[HttpServer]:
    server = HttpServer(handler, limits=limits)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_s=0.1)


@asynccontextmanager
async def calling(server: HttpServer, **settings: float) -> AsyncIterator[NoticeClient]:
    client = NoticeClient("127.0.0.1", server.port, **({"retry_every_s": 0.01} | settings))  # type: ignore[arg-type]
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def ok(request: Request) -> Reply:
    return Reply(204)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_hosts_are_called(host: str) -> None:
    check_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "10.0.0.1",
        "0.0.0.0",
        "8.8.8.8",
        "::",
        "",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "2130706433",
    ],
)
def test_other_hosts_are_never_called(host: str) -> None:
    with pytest.raises(InputError, match="must be a loopback address"):
        NoticeClient(host, 80)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com:{port}/win",
        "http://127.0.0.1@example.com:{port}/win",
        "http://8.8.8.8:{port}/win",
        "//example.com/win",
        "/win",
        "",
        "https://127.0.0.1:{port}/win",
        "http://127.0.0.1:1/win",
        "http://127.0.0.1:99999/win",
        "http://127.0.0.1/win",
        "http://127.0.0.1:{port}/a b",
        "http://127.0.0.1:{port}/a\r\nX:y",
        "http://127.0.0.1:{port}/a\tb",
        "http://127.0.0.1:{port}/\u00e9",
    ],
)
async def test_a_url_of_another_place_is_refused_without_a_call(url: str) -> None:
    async with serving(ok) as server, calling(server) as client:
        with pytest.raises(InputError):
            await client.get(url.format(port=server.port))
        assert not server.statuses


async def test_calls_get_their_own_answers() -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(0.001)
        return Reply(302, (("Location", f"http://shop.example{request.target}"),))

    async with serving(handler) as server, calling(server) as client:
        urls = [f"http://127.0.0.1:{server.port}/{n}?q={n}" for n in range(500)]
        answers = await asyncio.gather(*map(client.get, urls))
    assert answers == [Response(302, f"http://shop.example/{n}?q={n}") for n in range(500)]


async def test_a_location_belongs_to_its_own_answer() -> None:
    def handler(request: Request) -> Reply:
        return Reply(302, (("Location", "http://a/"),)) if request.target == "/c" else Reply(204)

    async with serving(handler) as server, calling(server, connections=1) as client:
        base = f"http://127.0.0.1:{server.port}"
        answers = await asyncio.gather(*(client.get(f"{base}{path}") for path in ("/c", "/w")))
    assert answers == [Response(302, "http://a/"), Response(204, None)]


async def test_calls_are_pipelined_on_few_connections() -> None:
    most = 0

    async def handler(request: Request) -> Reply:
        nonlocal most
        most = max(most, len(server.tasks))
        await asyncio.sleep(0.01)
        return Reply(204)

    async with serving(handler) as server, calling(server, connections=2) as client:
        await asyncio.gather(*(client.get(f"http://127.0.0.1:{server.port}/") for _ in range(40)))
        assert len(server.connections) == 2
    assert most > 2


async def test_calls_under_way_are_bounded() -> None:
    most = 0

    async def handler(request: Request) -> Reply:
        nonlocal most
        most = max(most, len(server.tasks))
        await asyncio.sleep(0.005)
        return Reply(204)

    async with serving(handler) as server, calling(server, in_flight=3) as client:
        await asyncio.gather(*(client.get(f"http://127.0.0.1:{server.port}/") for _ in range(20)))
    assert most == 3


async def test_a_503_is_called_again_until_it_is_taken() -> None:
    answers = [Reply(204), Reply(503), Reply(503)]
    async with serving(lambda request: answers.pop()) as server, calling(server) as client:
        assert await client.get(f"http://127.0.0.1:{server.port}/") == Response(204, None)
        assert client.retried == 2


async def test_a_503_that_stays_is_the_answer_in_the_end() -> None:
    async with serving(lambda request: Reply(503)) as server, calling(server, retries=3) as client:
        assert await client.get(f"http://127.0.0.1:{server.port}/") == Response(503, None)
        assert server.statuses == {503: 4}


async def test_another_error_is_an_answer() -> None:
    async with serving(lambda request: Reply(400)) as server, calling(server) as client:
        assert await client.get(f"http://127.0.0.1:{server.port}/") == Response(400, None)
        assert server.statuses == {400: 1}


async def test_a_connection_that_the_server_closed_is_opened_again() -> None:
    limits = Limits(idle_timeout_s=0.1)
    async with serving(ok, limits) as server, calling(server) as client:
        for _ in range(3):
            assert (await client.get(f"http://127.0.0.1:{server.port}/")).status == 204
            await asyncio.sleep(0.25)
            assert not server.connections


async def test_calls_behind_a_connection_that_closes_are_called_again() -> None:
    calls = 0

    def sync(request: Request) -> Reply:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyError("x")  # a 500, and the connection ends with the rest of the pipeline unanswered
        return Reply(204)

    server = HttpServer(sync, on_error=lambda error: None)
    await server.start()
    async with calling(server, connections=1) as client:
        answers = await asyncio.gather(*(client.get(f"http://127.0.0.1:{server.port}/") for _ in range(10)))
        assert sorted(answer.status for answer in answers) == [204] * 9 + [500]
        assert client.retried >= 7
    await server.stop()


async def test_a_silent_server_is_given_up_after_the_tries() -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(60)
        return Reply(204)

    async with serving(handler) as server, calling(server, retries=1, timeout_s=0.05) as client:
        with pytest.raises(DependencyError, match=f"must answer on 127.0.0.1:{server.port}, was silent"):
            await client.get(f"http://127.0.0.1:{server.port}/")
        assert client.retried == 1


async def test_a_call_that_times_out_takes_no_answer_of_another() -> None:
    calls = 0

    async def handler(request: Request) -> Reply:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.sleep(0.3)
        return Reply(302, (("Location", request.target),))

    async with serving(handler) as server, calling(server, connections=1, timeout_s=0.1) as client:
        answers = await asyncio.gather(*(client.get(f"http://127.0.0.1:{server.port}/{n}") for n in range(5)))
    assert answers == [Response(302, f"/{n}") for n in range(5)]


async def test_a_connection_that_is_stuck_is_left() -> None:
    connections = 0
    ended = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        stuck = connections == 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                if not stuck:
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.release()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = NoticeClient("127.0.0.1", port, connections=1, timeout_s=0.1, retry_every_s=0.01)
    await client.start()
    assert await client.get(f"http://127.0.0.1:{port}/") == Response(204, None)
    assert connections == 2
    await client.close()
    for _ in range(connections):
        await ended.acquire()
    server.close()
    await server.wait_closed()


async def test_the_close_ends_calls_under_way_without_more_tries() -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(60)
        return Reply(204)

    async with serving(handler) as server, calling(server, retries=10_000) as client:
        answer = asyncio.ensure_future(client.get(f"http://127.0.0.1:{server.port}/"))
        await asyncio.sleep(0.05)
        await client.close()
        with pytest.raises(DependencyError, match="was silent"):
            await asyncio.wait_for(answer, 2)


async def test_a_server_that_is_not_there_is_told() -> None:
    async with serving(ok) as server:
        port = server.port
    with pytest.raises(DependencyError, match=f"must listen on 127.0.0.1:{port}, was not there"):
        await NoticeClient("127.0.0.1", port).start()


async def test_a_call_after_the_close_fails() -> None:
    async with serving(ok) as server:
        client = NoticeClient("127.0.0.1", server.port, retries=0)
        await client.start()
        await client.close()
        with pytest.raises(DependencyError, match="was silent"):
            await client.get(f"http://127.0.0.1:{server.port}/")


async def test_answers_that_are_no_http_end_the_connection() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"what?\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = NoticeClient("127.0.0.1", port, connections=1, retries=1, retry_every_s=0.01)
    await client.start()
    with pytest.raises(DependencyError, match="was silent"):
        await client.get(f"http://127.0.0.1:{port}/")
    await client.close()
    server.close()
    await server.wait_closed()
