"""HTTP/1.1 server for exchanges and notices: httptools on a bare `asyncio.Protocol`.

It knows nothing of what is asked: a handler maps a `Request` to a `Reply`, at once or by an awaitable. Rules:

- requests of a connection may be pipelined and are answered in the order they came, also where a later one
  is ready first; what one read brought is answered with one write;
- everything a client can make us hold is bounded (`Limits`), also in time; a client that does not read is not
  read from (flow control), and at last cut off;
- a request that cannot be trusted to be framed as it says (RFC 9112 section 6.3) ends its connection;
- headers after the body (trailers) are dropped, so that none can pass for a header;
- `stop` answers what has been received, then closes.

`Expect: 100-continue` is ignored, as RFC 9110 section 10.1.1 allows: no client of ours sends large bodies.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from bidder.errors import ConfigError
from bidder.runtime.http_connection import Connection, Handler, Limits, Reply, Request

__all__ = ["Handler", "HttpServer", "Limits", "Reply", "Request"]

log = logging.getLogger(__name__)


def _log_error(error: BaseException) -> None:
    log.error("handler failed", exc_info=error)


class HttpServer:
    """Listens and answers until it is stopped.

    Args:
        handler: called for each request, in order of arrival. One that raises makes a 500 and ends its
            connection, and the error goes to `on_error`.
        host: address to listen on.
        port: port to listen on; 0 takes a free one, see `port` after the start.
        limits: bounds of a client.
        methods: what is not among these is answered by 405 without asking the handler.
        on_error: told of what a handler raised; logs it by default.
    """

    def __init__(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        *,
        methods: tuple[str, ...] = ("GET", "HEAD", "POST"),
        on_error: Callable[[BaseException], None] = _log_error,
    ) -> None:
        self.handler = handler
        self.host = host
        self.port = port
        self.limits = limits or Limits()
        self.methods = {name.encode("ascii"): name for name in methods}
        self.not_allowed = Reply(405, (("Allow", ", ".join(methods)),))
        self.on_error = on_error
        self.statuses: Counter[int] = Counter()
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Future[Reply]] = set()
        self.draining = False
        self.now_s = 0.0  # coarse: read by every request, written by the tick
        self._starts: dict[int, bytes] = {}
        self._date_s = -1
        self._tick_handle: asyncio.TimerHandle | None = None
        self._listener: asyncio.Server | None = None
        self._empty = asyncio.Event()

    async def start(self) -> None:
        """Listens; raises `ConfigError` where the address cannot be listened on."""
        loop = asyncio.get_running_loop()
        self._tick()
        try:
            self._listener = await loop.create_server(
                lambda: Connection(self, loop), self.host, self.port, backlog=1024
            )
        except (OSError, OverflowError) as error:
            self._stop_ticking()
            address = f"{self.host}:{self.port}"
            raise ConfigError(
                f"address to listen on must be free and ours, was {address} ({error})"
            ) from error
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self, grace_s: float = 5.0) -> None:
        """Takes no new connection, answers what has been received, and cuts off after `grace_s`."""
        if self._listener is None:
            return
        self._listener.close()
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()
        if self.connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), grace_s)
            except TimeoutError:
                for connection in tuple(self.connections):
                    connection.abort()
        for task in self.tasks:
            task.cancel()
        self._stop_ticking()
        self._listener = None

    def serialise(self, reply: Reply, *, body: bool, connection: bytes) -> bytes:
        """The bytes of an answer; `connection` is a header line or nothing."""
        status = reply.status
        self.statuses[status] += 1
        start = self._starts.get(status) or self._start(status)
        if reply.headers:
            lines = "".join([f"{name}: {value}\r\n" for name, value in reply.headers]).encode("latin-1")
            if lines.count(b"\n") != len(reply.headers) or lines.count(b"\r") != len(reply.headers):
                raise ValueError(f"headers of a reply must hold no line ends, were {reply.headers}")
            start += lines
        if status in {204, 304}:
            return b"%b%b\r\n" % (start, connection)
        content = reply.body
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (
            start,
            connection,
            len(content),
            content if body else b"",
        )

    def opened(self, connection: Connection) -> bool:
        """Takes in a new connection; says whether it may stay."""
        room = len(self.connections) < self.limits.connections
        self.connections.add(connection)
        return room and not self.draining

    def closed(self, connection: Connection) -> None:
        """Forgets a connection that has ended."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def run(self, coroutine: Coroutine[Any, Any, Reply]) -> asyncio.Future[Reply]:
        """Starts a handler's coroutine and keeps hold of it until it ends."""
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _start(self, status: int) -> bytes:
        phrase = HTTPStatus(status).phrase
        line = f"HTTP/1.1 {status} {phrase}\r\nDate: {formatdate(self._date_s, usegmt=True)}\r\n"
        return self._starts.setdefault(status, line.encode("ascii"))

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        date_s = int(time.time())
        if date_s != self._date_s:
            self._date_s = date_s
            self._starts.clear()
        for connection in tuple(self.connections):
            connection.check(self.now_s)
        limits = self.limits
        shortest_s = min(
            limits.receive_timeout_s, limits.idle_timeout_s, limits.write_timeout_s, limits.linger_s, 2.0
        )
        self._tick_handle = loop.call_later(shortest_s / 4, self._tick)

    def _stop_ticking(self) -> None:
        if self._tick_handle is not None:
            self._tick_handle.cancel()
