"""One connection of the HTTP server: parser events in, ordered answers out. Its rules are in `http`."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, cast

import httptools
import msgspec


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request: `target` as sent, not decoded; header names in lower case, repeats joined by a comma."""

    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes


class Reply(msgspec.Struct, frozen=True, gc=False):
    """One answer; Date, Content-Length and Connection are added by the server."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Handler = Callable[[Request], Reply | Awaitable[Reply]]


class Limits(msgspec.Struct, frozen=True, gc=False):
    """What one client may make us hold or wait for.

    `header_bytes` and `target_bytes` are exact where they arrive in one read; in pieces, up to one read more
    is held before the limit shows. `pipeline` is how many unanswered requests are taken before reading stops.
    """

    header_bytes: int = 16_384
    target_bytes: int = 8_192
    body_bytes: int = 1 << 20
    pipeline: int = 256
    connections: int = 4_096
    receive_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 10.0
    linger_s: float = 2.0


class Server(Protocol):
    """What a connection needs of the server it belongs to."""

    handler: Handler
    limits: Limits
    methods: dict[bytes, str]
    not_allowed: Reply
    on_error: Callable[[BaseException], None]
    draining: bool
    now_s: float

    def opened(self, connection: "Connection") -> bool:
        """Whether there is room for one more; it is told of in either case."""
        ...

    def closed(self, connection: "Connection") -> None:
        """Forgets a connection that has ended."""
        ...

    def run(self, coroutine: Coroutine[Any, Any, Reply]) -> asyncio.Future[Reply]:
        """Starts a handler's coroutine."""
        ...

    def serialise(self, reply: Reply, *, body: bool, connection: bytes) -> bytes:
        """The bytes of an answer."""
        ...


class _Refused(Exception):
    """Ends a message that is over a limit or badly framed; `status` says why to the client."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Slot:
    """The place of one answer in the order of its connection."""

    __slots__ = ("body", "connection", "data")

    def __init__(self, *, body: bool, connection: bytes) -> None:
        self.body = body
        self.connection = connection
        self.data: bytes | None = None


_CLOSE = b"Connection: close\r\n"
_KEEP_ALIVE_1_0 = b"Connection: keep-alive\r\n"
_SERVER_ERROR = Reply(500)


class Connection(asyncio.Protocol):
    """One client: parser events in, ordered answers out."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_closing",
        "_deadline_s",
        "_flushing",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_limits",
        "_lingering",
        "_loop",
        "_out",
        "_parser",
        "_partial_bytes",
        "_reading",
        "_receiving",
        "_server",
        "_slots",
        "_target",
        "_transport",
        "_write_paused",
    )

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport = cast("asyncio.Transport", None)
        self._slots: deque[_Slot] = deque()
        self._out: list[bytes] = []
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = self._head_bytes = self._partial_bytes = 0
        self._deadline_s = 0.0
        self._receiving = self._in_head = False
        self._closing = self._lingering = self._flushing = self._write_paused = False
        self._reading = True

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._deadline_s = self._server.now_s + self._limits.idle_timeout_s
        if not self._server.opened(self):
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class names it
        self._closing = True
        self._slots.clear()
        self._out.clear()
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._partial_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # not offered: the request was answered as any other, with Connection: close
        except httptools.HttpParserError as error:
            if not self._closing:  # else it is what came behind a request that asked to close
                self._refuse(_status_of(error))
        else:
            if self._receiving and self._partial_bytes > self._most_bytes():
                self._refuse(431 if self._in_head else 413)
        if self._out:
            self._write()
        self._throttle()

    def eof_received(self) -> bool:
        if self._lingering or not self._slots:
            return False
        self._closing = True
        return True

    def pause_writing(self) -> None:
        self._write_paused = True
        self._deadline_s = self._server.now_s + self._limits.write_timeout_s
        self._throttle()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._throttle()

    # --- from the parser

    def on_message_begin(self) -> None:
        if self._closing:
            return
        self._receiving = self._in_head = True
        self._target = b""
        self._headers = {}
        self._head_bytes = self._partial_bytes = 0
        if not self._write_paused:
            self._deadline_s = self._server.now_s + self._limits.receive_timeout_s

    def on_url(self, data: bytes) -> None:
        self._target += data
        if len(self._target) > self._limits.target_bytes:
            raise _Refused(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.header_bytes:
            raise _Refused(431)
        if not self._in_head:
            return
        name = name.lower()
        headers = self._headers
        if name in headers:
            if name == b"host":
                raise _Refused(400)
            value = b"%b, %b" % (headers[name], value)
        headers[name] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        length = self._headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body_bytes:
            raise _Refused(413)

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > self._limits.body_bytes:
            raise _Refused(413)
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._receiving = False
        body = b""
        if self._body_bytes:
            body = b"".join(self._body)
            self._body.clear()
            self._body_bytes = 0
        if self._closing:
            return
        parser = self._parser
        old = parser.get_http_version() == "1.0"
        if not old and b"host" not in self._headers:  # RFC 9112 section 3.2
            raise _Refused(400)
        keep = parser.should_keep_alive() and not parser.should_upgrade() and not self._server.draining
        connection = b"" if keep and not old else _KEEP_ALIVE_1_0 if keep else _CLOSE
        self._closing = not keep
        method = parser.get_method()
        self._ask(method, body, connection)
        if not self._slots:
            self._rest()

    # --- answers

    def _ask(self, method: bytes, body: bytes, connection: bytes) -> None:
        server = self._server
        name = server.methods.get(method)
        result: Reply | Awaitable[Reply]
        if name is None:
            result = server.not_allowed
        else:
            try:
                result = server.handler(Request(name, self._target.decode("ascii"), self._headers, body))
            except Exception as error:  # noqa: BLE001 - one bad request must not end the others; it is told
                server.on_error(error)
                result, connection, self._closing = _SERVER_ERROR, _CLOSE, True
        if type(result) is Reply:
            self._put(result, body=method != b"HEAD", connection=connection)
        else:
            self._await(cast("Awaitable[Reply]", result), body=method != b"HEAD", connection=connection)

    def _put(self, reply: Reply, *, body: bool, connection: bytes) -> None:
        data = self._serialised(reply, body=body, connection=connection)
        if not self._slots:
            self._out.append(data)
            return
        slot = _Slot(body=body, connection=connection)
        slot.data = data
        self._slots.append(slot)

    def _serialised(self, reply: Reply, *, body: bool, connection: bytes) -> bytes:
        try:
            return self._server.serialise(reply, body=body, connection=connection)
        except Exception as error:  # noqa: BLE001 - a reply that cannot be sent is the handler's fault
            self._server.on_error(error)
            return self._server.serialise(_SERVER_ERROR, body=body, connection=connection)

    def _await(self, result: Awaitable[Reply], *, body: bool, connection: bytes) -> None:
        if isinstance(result, asyncio.Future):
            future = cast("asyncio.Future[Reply]", result)
        else:
            future = self._server.run(cast("Coroutine[Any, Any, Reply]", result))
        slot = _Slot(body=body, connection=connection)
        self._slots.append(slot)

        def done(future: asyncio.Future[Reply]) -> None:
            self._settle(slot, future)

        future.add_done_callback(done)

    def _settle(self, slot: _Slot, future: asyncio.Future[Reply]) -> None:
        if future.cancelled():
            reply = Reply(503)
        elif (error := future.exception()) is not None:
            self._server.on_error(error)
            reply = _SERVER_ERROR
        else:
            reply = future.result()
        if not self._slots:
            return  # the client has gone
        slot.data = self._serialised(reply, body=slot.body, connection=slot.connection)
        # Answers that get ready in the same turn of the loop leave in one write.
        if not self._flushing and self._slots[0].data is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        slots = self._slots
        while slots and slots[0].data is not None:
            self._out.append(slots.popleft().data or b"")
        if not slots:
            self._rest()
        if self._out:
            self._write()
        self._throttle()

    def _write(self) -> None:
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._transport.write(data)
        if self._slots or not (self._closing or (self._server.draining and not self._receiving)):
            return
        if self._lingering:
            self._half_close()
        else:
            self._close()

    def _refuse(self, status: int) -> None:
        """Answers with an error behind whatever is still owed, and reads nothing more."""
        self._closing = self._lingering = True
        self._receiving = self._in_head = False
        self._deadline_s = self._server.now_s + self._limits.linger_s
        self._put(Reply(status), body=True, connection=_CLOSE)
        if self._out:
            self._write()

    def _half_close(self) -> None:
        # Closing with unread bytes in the socket sends a reset, which can overtake the answer. So we only end
        # our side and drop what still comes, until the client closes or `linger_s` has passed.
        self._deadline_s = self._server.now_s + self._limits.linger_s
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._close()

    def _close(self) -> None:
        # What is written leaves first, so a client that does not read holds the connection open: `check`
        # cuts it off in the end.
        self._deadline_s = self._server.now_s + self._limits.write_timeout_s
        self._transport.close()

    # --- bounds

    def _most_bytes(self) -> int:
        # The parser gathers a header in memory and only tells of it when it ends, trailers too. A body in
        # chunks is longer than its content; four times is far beyond honest chunks.
        limits = self._limits
        return limits.header_bytes + limits.target_bytes + (0 if self._in_head else 4 * limits.body_bytes)

    def _rest(self) -> None:
        """Nothing is owed: how long until the next request must have come, or begun."""
        if not (self._lingering or self._write_paused):
            limits = self._limits
            self._deadline_s = self._server.now_s + (
                limits.receive_timeout_s if self._receiving else limits.idle_timeout_s
            )

    def _throttle(self) -> None:
        """Reads only while the client reads our answers and we keep up with its requests."""
        wanted = self._lingering or not (self._write_paused or len(self._slots) >= self._limits.pipeline)
        if wanted is self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._rest()  # while we did not read, the client could not be in time
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def check(self, now_s: float) -> None:
        """Ends the connection where it has been silent for too long; called by the tick."""
        if now_s < self._deadline_s:
            return
        if self._write_paused or self._transport.is_closing():
            self.abort()
        elif self._receiving and self._reading:
            self._refuse(408)
        elif not self._slots:
            self._close()

    def drain(self) -> None:
        """Closes now if nothing is owed or half received; otherwise the last answer closes."""
        if not (self._slots or self._receiving or self._lingering):
            self._close()

    def abort(self) -> None:
        """Cuts the client off."""
        self._transport.abort()


def _status_of(error: httptools.HttpParserError) -> int:
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return 501
    cause = error.__context__
    if isinstance(cause, _Refused):
        return cause.status
    return 400
