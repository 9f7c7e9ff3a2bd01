"""The exchange's side of notices: an HTTP/1.1 client that keeps a few connections and pipelines on them.

It calls loopback addresses only. The URLs it is given come out of bid responses, and a simulated exchange must
never call a real host, whatever a response says. A redirect is reported, never followed.
"""

import asyncio
import ipaddress
import re
from collections import deque
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from bidder.errors import DependencyError, InputError

_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


class Response(NamedTuple):
    """Status and, where it redirects, where to."""

    status: int
    location: str | None


def check_loopback(host: str) -> None:
    """Raises `InputError` unless `host` is `localhost` or a loopback address."""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise InputError(f"host of a notice must be a loopback address, was {host[:100]!r}")


class NoticeClient:
    """Calls the URLs of notices.

    A 503, a broken connection and a silent server are tried again, as exchanges do (OpenRTB 2.6 guide 7.8:
    every 10 s for a minute); a notice may thus arrive twice, which the other side must bear.

    Args:
        host: loopback address of the tracker.
        port: its port.
        connections: how many to keep.
        in_flight: calls under way at most; more wait.
        retries: tries after the first.
        retry_every_s: wall seconds between tries; a demo that runs faster than the clock divides the 10 s by
            its speedup.
        timeout_s: wall seconds for an answer.

    Raises:
        InputError: if the host is not loopback.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connections: int = 4,
        *,
        in_flight: int = 256,
        retries: int = 6,
        retry_every_s: float = 0.1,
        timeout_s: float = 10.0,
    ) -> None:
        check_loopback(host)
        self.host = host
        self.port = port
        self._netloc = f"{host}:{port}"
        self._origin = f"http://{self._netloc}"
        self._origin_slash = self._origin + "/"
        self._links = [_Link(host, port) for _ in range(connections)]
        self._free = asyncio.Semaphore(in_flight)
        self._retries = retries
        self._retry_every_s = retry_every_s
        self._timeout_s = timeout_s
        self._turn = 0
        self._closed = False
        self.retried = 0

    async def start(self) -> None:
        """Connects; raises `DependencyError` where nobody listens."""
        try:
            await asyncio.gather(*(link.stream() for link in self._links))
        except OSError as error:
            raise DependencyError(
                f"tracker must listen on {self.host}:{self.port}, was not there ({error})"
            ) from error

    async def get(self, url: str) -> Response:
        """Calls `url` until it is answered by something else than 503, or the tries are used up.

        Returns:
            The last answer, which may be a 503.

        Raises:
            InputError: if the URL is not http on the host and port of this client.
            DependencyError: if the last try got no answer at all.
        """
        request = self._request(url)
        async with self._free:
            for left in range(self._retries, -1, -1):
                try:
                    response = await self._try(request)
                except (OSError, TimeoutError) as error:
                    if not left or self._closed:
                        raise DependencyError(
                            f"tracker must answer on {self.host}:{self.port}, was silent ({error!r})"
                        ) from error
                else:
                    if response.status != 503 or not left:
                        return response
                self.retried += 1
                await asyncio.sleep(self._retry_every_s)
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        """Closes the connections; calls under way fail."""
        self._closed = True
        for link in self._links:
            link.close()
        await asyncio.sleep(0)

    def _request(self, url: str) -> bytes:
        # Nearly every URL begins with the address that was checked at the start; any other is looked at closely.
        target = url[len(self._origin) :] if url.startswith(self._origin_slash) else self._target(url)
        if not target.isascii() or _UNSAFE.search(target):
            raise InputError(f"URL of a notice must hold no spaces or control characters, was {url[:200]!r}")
        return f"GET {target} HTTP/1.1\r\nHost: {self._netloc}\r\n\r\n".encode("ascii")

    def _target(self, url: str) -> str:
        """Path and query of a URL of the tracker that is written in another way."""
        parts = urlsplit(url)
        check_loopback(parts.hostname or "")
        try:
            same = parts.scheme == "http" and (parts.port or 80) == self.port
        except ValueError:
            same = False
        if not same:
            raise InputError(f"URL of a notice must be http on port {self.port}, was {url[:200]!r}")
        return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"

    async def _try(self, request: bytes) -> Response:
        self._turn = (self._turn + 1) % len(self._links)
        async with asyncio.timeout(self._timeout_s):
            stream = await self._links[self._turn].stream()
            try:
                return await stream.send(request)
            except asyncio.CancelledError:
                # An answer is overdue: the connection may be stuck, so the next try gets a fresh one.
                stream.close()
                raise


class _Link:
    """One place for a connection, opened again where it broke."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._opening = asyncio.Lock()
        self._stream: _Stream | None = None
        self._closed = False

    async def stream(self) -> "_Stream":
        """The open connection; raises `OSError` where it cannot be opened."""
        if self._stream is not None and self._stream.open:
            return self._stream
        async with self._opening:
            if self._closed:
                raise ConnectionError("client is closed")
            if self._stream is None or not self._stream.open:
                loop = asyncio.get_running_loop()
                _, self._stream = await loop.create_connection(lambda: _Stream(loop), self._host, self._port)
            return self._stream

    def close(self) -> None:
        """Closes for good."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()


class _Stream(asyncio.Protocol):
    """One connection: requests out, answers in the same order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport = cast("asyncio.Transport", None)
        self._waiting: deque[asyncio.Future[Response]] = deque()
        self._out: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._location: str | None = None
        self.open = False

    def send(self, request: bytes) -> asyncio.Future[Response]:
        """Sends a request; requests of the same turn of the loop leave in one write."""
        answer: asyncio.Future[Response] = self._loop.create_future()
        if not self.open:
            answer.set_exception(ConnectionError("connection is closed"))
            return answer
        self._waiting.append(answer)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(request)
        return answer

    def close(self) -> None:
        """Closes; what still waits fails and may be sent again elsewhere."""
        self.open = False
        self._transport.abort()

    def _flush(self) -> None:
        if self.open:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.open = True
        # A name was checked by its text; what it led to counts.
        if not ipaddress.ip_address(transport.get_extra_info("peername")[0]).is_loopback:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        error = exc if isinstance(exc, OSError) else ConnectionError("connection was closed by the tracker")
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    # --- from the parser

    def on_message_begin(self) -> None:
        self._location = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"location":
            self._location = value.decode("latin-1")

    def on_message_complete(self) -> None:
        if not self._waiting:
            self.close()  # an answer that nobody asked for: whose the next is cannot be known
            return
        answer = self._waiting.popleft()
        if not answer.done():
            answer.set_result(Response(self._parser.get_status_code(), self._location))
        if not self._parser.should_keep_alive():
            self.close()
