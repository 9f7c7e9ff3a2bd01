"""The HTTP server under clients of every kind, over real sockets on loopback."""

import asyncio
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime

import msgspec
import pytest

from bidder.errors import ConfigError
from bidder.runtime.http import Handler, HttpServer, Limits, Reply, Request

HOST = b"Host: a\r\n"
QUICK = Limits(receive_timeout_s=0.2, idle_timeout_s=0.4, write_timeout_s=0.3, linger_s=0.2)


def echo(request: Request) -> Reply:
    """Says back what was asked."""
    text = f"{request.method} {request.target} {request.body.decode()}"
    return Reply(200, (("X-Asked", request.target),), text.encode())


@asynccontextmanager
async def serving(
    handler: Handler = echo,
    limits: Limits | None = None,
    on_error: Callable[[BaseException], None] | None = None,
) -> AsyncIterator[HttpServer]:
    errors: list[BaseException] = []
    lost: list[dict[str, object]] = []  # what was raised where nobody could catch it
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))
    server = HttpServer(handler, limits=limits, on_error=on_error or errors.append)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_s=0.2)
    assert not errors
    assert not lost


class Client:
    """A socket to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """Reads one answer."""
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:-2])
            length = int(headers.get("Content-Length", "0")) if body else 0
            return int(lines[0].split(" ")[1]), headers, await self.reader.readexactly(length)

    async def statuses(self) -> list[int]:
        """The statuses of all answers until the server closes."""
        async with asyncio.timeout(5):
            data = await self.reader.read()
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]

    async def closed(self) -> bool:
        """Whether the server closes without a further word."""
        try:
            async with asyncio.timeout(5):
                return await self.reader.read() == b""
        except ConnectionResetError:
            return True


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what the server does by itself."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nothing of the server tells of it
            await asyncio.sleep(0.001)


@asynccontextmanager
async def connected(server: HttpServer) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ask(data: bytes, handler: Handler = echo, limits: Limits | None = None) -> list[int]:
    """Statuses of all that the server says to `data` until it closes."""
    async with serving(handler, limits) as server, connected(server) as client:
        client.send(data)
        return await client.statuses()


def get(target: str = "/", headers: bytes = b"", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\n".encode() + HOST + headers + b"\r\n"


CLOSE = b"Connection: close\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"

# --- requests and answers


async def test_a_request_reaches_the_handler_as_it_was_sent() -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Reply:
        seen.append(request)
        return Reply(204)

    async with serving(handler) as server, connected(server) as client:
        client.send(
            b"POST /a?p=${X}&q=%20 HTTP/1.1\r\nHOST: h\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 4\r\n\r\nbody"
        )
        await client.reply()
    assert seen == [
        Request(
            "POST", "/a?p=${X}&q=%20", {b"host": b"h", b"x-one": b"1, 2", b"content-length": b"4"}, b"body"
        )
    ]


async def test_an_answer_carries_its_headers_length_and_date() -> None:
    async with serving() as server, connected(server) as client:
        client.send(get("/x"))
        status, headers, body = await client.reply()
    assert (status, body) == (200, b"GET /x ")
    assert headers["X-Asked"] == "/x"
    assert headers["Content-Length"] == "7"
    assert abs(parsedate_to_datetime(headers["Date"]).timestamp() - time.time()) < 5
    assert "Connection" not in headers


async def test_the_date_moves_on() -> None:
    async with serving(limits=QUICK) as server, connected(server) as client:
        client.send(get())
        first = (await client.reply())[1]["Date"]
        for _ in range(15):
            await asyncio.sleep(0.1)
            client.send(get())
            last = (await client.reply())[1]["Date"]
    assert parsedate_to_datetime(last) > parsedate_to_datetime(first)


async def test_204_has_neither_body_nor_length() -> None:
    async with serving(lambda request: Reply(204, body=b"never")) as server, connected(server) as client:
        client.send(get() + get(headers=CLOSE))
        data = await client.reader.read()
    assert data.count(b"HTTP/1.1 204 No Content\r\n") == 2
    assert b"Content-Length" not in data
    assert b"never" not in data


async def test_a_head_has_the_length_but_not_the_body() -> None:
    async with serving() as server, connected(server) as client:
        client.send(get(method="HEAD") + get("/next"))
        status, headers, _ = await client.reply(body=False)
        assert (status, headers["Content-Length"]) == (200, "7")
        assert (await client.reply())[2] == b"GET /next "


async def test_a_method_that_is_not_served_is_405_and_the_connection_lives() -> None:
    async with serving() as server, connected(server) as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get("/next"))
        status, headers, _ = await client.reply()
        assert (status, headers["Allow"]) == (405, "GET, HEAD, POST")
        assert (await client.reply())[0] == 200


async def test_statuses_are_counted() -> None:
    async with serving() as server, connected(server) as client:
        client.send(get() + get() + get(method="DELETE", headers=CLOSE))
        await client.statuses()
        assert server.statuses == {200: 2, 405: 1}


# --- framing


async def test_a_request_may_come_byte_by_byte() -> None:
    async with serving() as server, connected(server) as client:
        for byte in b"POST /slow?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody":
            client.send(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.reply())[2] == b"POST /slow?x=1 body"


async def test_requests_split_anywhere_are_answered_alike() -> None:
    data = get("/one") + b"POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + get("/three")
    async with serving() as server:
        for at in range(1, len(data)):
            async with connected(server) as client:
                client.send(data[:at])
                await asyncio.sleep(0)
                client.send(data[at:])
                bodies = [(await client.reply())[2] for _ in range(3)]
            assert bodies == [b"GET /one ", b"POST /two hi", b"GET /three "]


async def test_a_body_in_chunks_is_put_together() -> None:
    async with serving() as server, connected(server) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
        )
        assert (await client.reply())[2] == b"POST / abcde"


async def test_a_body_does_not_run_into_the_next() -> None:
    async with serving() as server, connected(server) as client:
        client.send(
            (POST + b"Content-Length: 2\r\n\r\nab" + POST + b"Content-Length: 2\r\n\r\ncd") * 2 + get()
        )
        assert [(await client.reply())[2][-2:] for _ in range(5)] == [b"ab", b"cd", b"ab", b"cd", b"/ "]


async def test_a_trailer_does_not_pass_for_a_header() -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Reply:
        seen.append(request)
        return Reply(204)

    async with serving(handler) as server, connected(server) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\na\r\n0\r\nX-Forwarded-For: 1\r\n\r\n"
        )
        await client.reply()
    assert b"x-forwarded-for" not in seen[0].headers


async def test_empty_lines_before_a_request_are_skipped() -> None:
    async with serving() as server, connected(server) as client:
        client.send(b"\r\n\r\n" + get("/x") + b"\r\n" + get("/y"))
        assert [(await client.reply())[2] for _ in range(2)] == [b"GET /x ", b"GET /y "]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00", 501),
        (b"\x00\x00\x00", 501),
        (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: +3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 400),
    ],
)
async def test_what_cannot_be_framed_ends_the_connection(data: bytes, status: int) -> None:
    assert await ask(data) == [status]


async def test_garbage_behind_requests_is_answered_after_them() -> None:
    assert await ask(get() + get() + b"garbage\r\n\r\n") == [200, 200, 501]


async def test_a_handler_never_sees_what_stands_behind_a_bad_request() -> None:
    seen: list[str] = []

    def handler(request: Request) -> Reply:
        seen.append(request.target)
        return Reply(204)

    smuggled = POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/smuggled")
    assert await ask(smuggled, handler) == [400]
    assert seen == []


# --- connections


async def test_close_is_honoured_and_said() -> None:
    async with serving() as server, connected(server) as client:
        client.send(get(headers=CLOSE) + get("/never"))
        _, headers, _ = await client.reply()
        assert headers["Connection"] == "close"
        assert await client.closed()


async def test_http_1_0_closes_unless_it_asks_to_keep() -> None:
    assert await ask(b"GET / HTTP/1.0\r\n\r\n") == [200]
    async with serving() as server, connected(server) as client:
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await client.reply())[1]["Connection"] == "keep-alive"
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.reply())[1]["Connection"] == "close"
        assert await client.closed()


async def test_an_upgrade_is_answered_as_a_plain_request() -> None:
    assert await ask(get(headers=b"Connection: Upgrade\r\nUpgrade: h2c\r\n") + get("/never")) == [200]


async def test_connect_is_not_served() -> None:
    assert await ask(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n") == [405]


async def test_a_client_that_only_sends_no_more_gets_its_answers() -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(0.05)
        return echo(request)

    async with serving(handler) as server, connected(server) as client:
        client.send(get() + get())
        client.writer.write_eof()
        assert await client.statuses() == [200, 200]


async def test_one_connection_too_many_is_turned_away() -> None:
    async with serving(limits=Limits(connections=1)) as server, connected(server) as first:
        first.send(get())
        await first.reply()
        async with connected(server) as second:
            assert await second.statuses() == [503]
        first.send(get())
        assert (await first.reply())[0] == 200


async def test_a_place_is_free_again_when_its_client_has_gone() -> None:
    async with serving(limits=Limits(connections=1)) as server:
        for _ in range(3):
            async with connected(server) as client:
                client.send(get(headers=CLOSE))
                assert await client.statuses() == [200]
            await until(lambda: not server.connections)


# --- order


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as server, connected(server) as client:
        client.send(b"".join(get(f"/{n}") for n in range(1000)))
        for n in range(1000):
            assert (await client.reply())[2] == b"GET /%d " % n


async def test_answers_that_are_ready_in_another_order_leave_in_order() -> None:
    futures: list[asyncio.Future[Reply]] = []

    def handler(request: Request) -> Reply | Awaitable[Reply]:
        if request.target == "/now":
            return Reply(204)
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    async with serving(handler) as server, connected(server) as client:
        client.send(get("/0") + get("/now") + get("/1") + get("/2"))
        await until(lambda: len(futures) == 3)
        for n in (2, 1, 0):
            futures[n].set_result(Reply(200, body=b"%d" % n))
            await asyncio.sleep(0.01)
        answers = [await client.reply() for _ in range(4)]
    assert [(status, body) for status, _, body in answers] == [
        (200, b"0"),
        (204, b""),
        (200, b"1"),
        (200, b"2"),
    ]


async def test_a_bad_request_waits_for_the_answers_before_it() -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(0.05)
        return Reply(204)

    assert await ask(get() + get() + b"?", handler, QUICK) == [204, 204, 501]


async def test_answers_ready_together_leave_in_one_write() -> None:
    futures: list[asyncio.Future[Reply]] = []

    def handler(request: Request) -> asyncio.Future[Reply]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    async with serving(handler) as server, connected(server) as client:
        client.send(get() * 20)
        await until(lambda: len(futures) == 20)
        (connection,) = server.connections
        writes: list[bytes] = []
        transport = connection._transport
        write = transport.write

        class Spy:
            def write(self, data: bytes) -> None:
                writes.append(data)
                write(data)

            def __getattr__(self, name: str) -> object:
                return getattr(transport, name)

        connection._transport = Spy()  # type: ignore[assignment]
        for future in futures:
            future.set_result(Reply(204))
        for _ in range(20):
            await client.reply()
        connection._transport = transport
    assert len(writes) == 1


async def test_many_clients_get_their_own_answers() -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(0.001)
        return echo(request)

    async with serving(handler) as server:

        async def client_of(number: int) -> list[bytes]:
            async with connected(server) as client:
                client.send(b"".join(get(f"/{number}/{n}") for n in range(20)))
                return [(await client.reply())[2] for _ in range(20)]

        answers = await asyncio.gather(*(client_of(number) for number in range(50)))
    assert answers == [[b"GET /%d/%d " % (number, n) for n in range(20)] for number in range(50)]


# --- handlers that fail


async def test_a_handler_that_raises_is_a_500_and_is_told() -> None:
    errors: list[BaseException] = []

    def handler(request: Request) -> Reply:
        raise KeyError("x")

    async with serving(handler, on_error=errors.append) as server, connected(server) as client:
        client.send(get() + get())
        assert await client.statuses() == [500]
    assert [type(error) for error in errors] == [KeyError]


async def test_a_handler_that_fails_later_is_a_500_and_is_told() -> None:
    errors: list[BaseException] = []

    async def handler(request: Request) -> Reply:
        await asyncio.sleep(0)
        raise KeyError(request.target)

    async with serving(handler, on_error=errors.append) as server, connected(server) as client:
        client.send(get("/a") + get("/b"))
        assert [(await client.reply())[0] for _ in range(2)] == [500, 500]
    assert sorted(map(str, errors)) == ["'/a'", "'/b'"]


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
async def test_a_header_with_a_line_end_is_never_sent(end: str) -> None:
    errors: list[BaseException] = []

    def handler(request: Request) -> Reply:
        return Reply(302, (("Location", f"https://a/{end}Set-Cookie: x=1"),))

    async with serving(handler, on_error=errors.append) as server, connected(server) as client:
        client.send(get())
        status, headers, _ = await client.reply()
    assert status == 500
    assert set(headers) == {"Date", "Content-Length"}
    assert "no line ends" in str(errors[0])


async def test_errors_are_logged_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: Request) -> Reply:
        raise KeyError("x")

    server = HttpServer(handler)
    await server.start()
    async with connected(server) as client:
        client.send(get())
        assert await client.statuses() == [500]
    await server.stop()
    assert "handler failed" in caplog.text


# --- sizes

SMALL = Limits(header_bytes=200, target_bytes=100, body_bytes=50, linger_s=0.2)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get("/" + "x" * 99, CLOSE), 200),
        (get("/" + "x" * 100), 414),
        (get("/" + "x" * 100_000), 414),
        (get(headers=b"X: " + b"y" * 150 + b"\r\n" + CLOSE), 200),
        (get(headers=b"X: " + b"y" * 200 + b"\r\n"), 431),
        (get(headers=b"X: y\r\n" * 40), 431),
        (POST + CLOSE + b"Content-Length: 50\r\n\r\n" + b"x" * 50, 200),
        (POST + b"Content-Length: 51\r\n\r\n", 413),
        (POST + b"Content-Length: 51\r\n\r\n" + b"x" * 1_000_000, 413),
        (
            POST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n" + b"a\r\n0123456789\r\n" * 5 + b"0\r\n\r\n",
            200,
        ),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"a\r\n0123456789\r\n" * 6, 413),
    ],
)
async def test_sizes_are_bounded_exactly(data: bytes, status: int) -> None:
    assert await ask(data, limits=SMALL) == [status]


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (b"GET /", b"x" * 20, 414),
        (b"GET / HTTP/1.1\r\nX: ", b"y" * 20, 431),
        (b"GET / HTTP/1.1\r\n", b"n" * 20, 431),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nTrail: ", b"z" * 20, 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"e" * 20, 413),
    ],
)
async def test_what_never_ends_is_cut_off_by_its_size(start: bytes, piece: bytes, status: int) -> None:
    limits = Limits(
        header_bytes=200, target_bytes=100, body_bytes=50 if status == 413 else 1 << 20, linger_s=0.2
    )
    async with serving(limits=limits) as server, connected(server) as client:
        client.send(start)
        answer = asyncio.ensure_future(client.statuses())
        for _ in range(100):
            if answer.done():
                break
            client.send(piece)
            await asyncio.sleep(0.002)
        assert await answer == [status]


async def test_the_sizes_of_earlier_requests_do_not_count() -> None:
    request = POST + b"Content-Length: 30\r\n\r\n" + b"x" * 30
    async with serving(limits=SMALL) as server, connected(server) as client:
        for _ in range(20):
            client.send(request[:20])
            await asyncio.sleep(0.002)
            client.send(request[20:60])
            await asyncio.sleep(0.002)
            client.send(request[60:])
            assert (await client.reply())[2] == b"POST / " + b"x" * 30


async def test_an_error_reaches_a_client_that_is_still_sending() -> None:
    async with serving(limits=SMALL) as server, connected(server) as client:
        client.send(POST + b"Content-Length: 30000000\r\n\r\n")
        for _ in range(100):
            client.send(b"x" * 100_000)
        assert (await client.reply())[0] == 413


# --- times


async def test_a_silent_client_is_closed_without_a_word() -> None:
    async with serving(limits=QUICK) as server, connected(server) as client:
        began = time.monotonic()
        assert await client.closed()
        assert 0.3 < time.monotonic() - began < 2


async def test_an_idle_connection_is_closed_after_its_last_answer() -> None:
    async with serving(limits=QUICK) as server, connected(server) as client:
        client.send(get())
        await client.reply()
        began = time.monotonic()
        assert await client.closed()
        assert 0.3 < time.monotonic() - began < 2


async def test_a_busy_connection_outlives_the_idle_time() -> None:
    async with serving(limits=QUICK) as server, connected(server) as client:
        for _ in range(10):
            client.send(get())
            assert (await client.reply())[0] == 200
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("start", [b"G", b"GET /", get()[:-2], POST + b"Content-Length: 9\r\n\r\n"])
async def test_a_request_that_trickles_in_is_timed_out(start: bytes) -> None:
    async with serving(limits=QUICK) as server, connected(server) as client:
        client.send(start)
        answer = asyncio.ensure_future(client.statuses())
        for _ in range(200):
            if answer.done():
                break
            client.send(b"x" if b"Length" in start else b"")
            await asyncio.sleep(0.05)
        assert await answer == [408]


async def test_empty_lines_do_not_keep_a_connection() -> None:
    async with serving(limits=QUICK) as server, connected(server) as client:
        closed = asyncio.ensure_future(client.closed())
        for _ in range(100):
            if closed.done():
                break
            client.send(b"\r\n")
            await asyncio.sleep(0.05)
        assert closed.done()


async def test_a_slow_handler_is_not_the_clients_fault() -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(0.8)
        return Reply(204)

    async with serving(handler, QUICK) as server, connected(server) as client:
        for _ in range(2):
            client.send(get())
            assert (await client.reply())[0] == 204
            await asyncio.sleep(0.15)  # nor does it eat up the time until the next request


@pytest.mark.parametrize("pipeline", [1, 2])
async def test_a_client_that_we_do_not_read_from_is_not_late(pipeline: int) -> None:
    """The last request stops half way, as reading stopped; the client goes on when we read again."""
    delays_s = {"/0": 0.5, "/1": 0.9, "/2": 0.0}

    async def handler(request: Request) -> Reply:
        await asyncio.sleep(delays_s[request.target])
        return Reply(204)

    limits = msgspec.structs.replace(QUICK, pipeline=pipeline)
    async with serving(handler, limits) as server, connected(server) as client:
        client.send(b"".join(get(f"/{n}") for n in range(pipeline)) + get("/2")[:-2])
        assert (await client.reply())[0] == 204
        await asyncio.sleep(0.08)
        client.send(b"\r\n")
        assert [(await client.reply())[0] for _ in range(pipeline)] == [204] * pipeline


async def test_a_close_does_not_wait_for_a_client_that_does_not_read() -> None:
    large = Reply(200, body=b"x" * 30_000_000)
    async with serving(lambda request: large, QUICK) as server, connected(server) as client:
        await until(lambda: len(server.connections) == 1)
        (connection,) = server.connections
        connection._transport.set_write_buffer_limits(high=1 << 30)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(get(headers=CLOSE))
        await until(lambda: not server.connections)


async def test_a_client_that_does_not_read_is_not_read_from_and_cut_off() -> None:
    taken = 0

    def handler(request: Request) -> Reply:
        nonlocal taken
        taken += 1
        return Reply(200, body=b"x" * 100_000)

    async with serving(handler, QUICK) as server, connected(server) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(500):
            client.send(get() * 20)
            await asyncio.sleep(0.005)
            if not server.connections:
                break
        assert not server.connections
        assert taken < 5_000


async def test_a_slow_reader_gets_everything() -> None:
    body = b"x" * 100_000
    async with serving(lambda request: Reply(200, body=body)) as server, connected(server) as client:
        client.send(get() * 200)
        for _ in range(200):
            assert (await client.reply())[2] == body


async def test_reading_stops_while_too_many_wait_and_goes_on_after() -> None:
    futures: list[asyncio.Future[Reply]] = []

    def handler(request: Request) -> asyncio.Future[Reply]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    async with serving(handler, Limits(pipeline=4)) as server, connected(server) as client:
        for _ in range(10):
            client.send(get())
            await asyncio.sleep(0.01)
        assert len(futures) == 4
        for answered in range(10):
            await until(lambda: len(futures) > answered)  # noqa: B023 - called before the loop goes on
            futures[answered].set_result(Reply(204))
            assert (await client.reply())[0] == 204


# --- the end


async def test_stop_answers_what_was_received_and_closes() -> None:
    let_go = asyncio.Event()

    async def handler(request: Request) -> Reply:
        await let_go.wait()
        return echo(request)

    server = HttpServer(handler)
    await server.start()
    async with connected(server) as busy, connected(server) as idle:
        busy.send(get("/a") + get("/b"))
        await asyncio.sleep(0.05)
        stopping = asyncio.ensure_future(server.stop())
        assert await idle.closed()
        assert not stopping.done()
        let_go.set()
        assert await busy.statuses() == [200, 200]
        await stopping


async def test_stop_lets_a_request_come_in_whole() -> None:
    server = HttpServer(echo)
    await server.start()
    async with connected(server) as client:
        client.send(get("/half")[:-2])
        await asyncio.sleep(0.05)
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0.05)
        client.send(b"\r\n")
        status, headers, _ = await client.reply()
        assert (status, headers["Connection"]) == (200, "close")
        await stopping


async def test_stop_takes_no_second_request() -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(0.5)
        return Reply(200)

    server = HttpServer(handler, limits=QUICK)
    await server.start()
    async with connected(server) as client:
        client.send(get("/half")[:-2])
        await asyncio.sleep(0.05)
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0.05)
        client.send(b"\r\n" + get("/next")[:-2])
        assert await client.statuses() == [200]
        await stopping


async def test_stop_cuts_off_when_its_grace_ends() -> None:
    ended: list[str] = []

    async def handler(request: Request) -> Reply:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(request.target)
        return Reply(204)

    server = HttpServer(handler)
    await server.start()
    async with connected(server) as client:
        client.send(get())
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await server.stop(grace_s=0.1)
        assert time.monotonic() - began < 2
        assert await client.closed()
        assert ended == ["/"]


async def test_after_the_stop_nobody_listens() -> None:
    server = HttpServer(echo)
    await server.start()
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)
    await server.stop()


async def test_an_address_that_is_taken_is_told() -> None:
    async with serving() as server:
        with pytest.raises(ConfigError, match=f"must be free and ours, was 127.0.0.1:{server.port}"):
            await HttpServer(echo, port=server.port).start()


async def test_a_client_that_goes_away_harms_nobody() -> None:
    let_go = asyncio.Event()

    async def handler(request: Request) -> Reply:
        await let_go.wait()
        return echo(request)

    async with serving(handler) as server:
        async with connected(server) as client:
            client.send(get() * 5)
            await until(lambda: len(server.tasks) == 5)
            # A reset: an orderly end could mean that the client only sends no more.
            raw = client.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.writer.transport.abort()
        await until(lambda: not server.connections)
        let_go.set()
        await until(lambda: not server.tasks)
        async with connected(server) as client:
            client.send(get())
            assert (await client.reply())[0] == 200


def test_it_runs_on_uvloop_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        await test_pipelined_requests_are_answered_in_order()
        await test_an_error_reaches_a_client_that_is_still_sending()
        await test_a_client_that_does_not_read_is_not_read_from_and_cut_off()
        await test_a_client_that_only_sends_no_more_gets_its_answers()
        await test_stop_answers_what_was_received_and_closes()
        await test_reading_stops_while_too_many_wait_and_goes_on_after()
        await test_a_client_that_goes_away_harms_nobody()
        await test_one_connection_too_many_is_turned_away()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
