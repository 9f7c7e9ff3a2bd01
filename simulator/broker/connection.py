"""One client's connection: frames in, one request at a time, responses out in the same order.

As with Kafka, a connection whose request waits serves nothing else meanwhile. What a client can make us hold
is bounded: one frame on its way in, the frames read with it, and one response on its way out.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from typing import cast

from simulator.broker.codes import ApiKey
from simulator.broker.requests import Api, Request
from simulator.broker.wire import FrameBuffer, Reader, WireError, Writer, frame


class Connections:
    """Those who are connected, and why others no longer are.

    Attributes:
        open: connections at this moment.
        closed: how many ended, by reason: `client_left`, `broker_stopped`, `malformed`, `frame_too_large`,
            `unknown_api`, `unsupported_version`, `refused_without_acks`.
    """

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        self.closed: Counter[str] = Counter()
        self.all_closed = asyncio.Event()
        self.all_closed.set()

    def add(self, connection: "Connection") -> None:
        """Counts one in."""
        self.open.add(connection)
        self.all_closed.clear()

    def remove(self, connection: "Connection", reason: str) -> None:
        """Counts one out."""
        self.open.discard(connection)
        self.closed[reason] += 1
        if not self.open:
            self.all_closed.set()


class Connection(asyncio.Protocol):
    """Serves one client.

    Args:
        apis: what can be answered, by API key.
        connections: where it counts itself in and out.
        max_frame_bytes: the longest request taken.
    """

    def __init__(self, apis: Mapping[int, Api], connections: Connections, max_frame_bytes: int) -> None:
        self._apis = apis
        self._connections = connections
        self._frames = FrameBuffer(max_frame_bytes)
        self._queue: deque[memoryview] = deque()
        self._transport: asyncio.Transport | None = None
        self._waiting: Request | None = None
        self._serving = False
        self._may_write = True
        self._reason = "client_left"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        # Not checked by its class: uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended
        """The client is gone; a request of it that waits is forgotten."""
        self._transport = None
        self._queue.clear()
        if self._waiting is not None and self._waiting.abandoned is not None:
            self._waiting.abandoned()
        self._connections.remove(self, self._reason)

    def data_received(self, data: bytes) -> None:
        """Bytes came: serves the frames that they complete."""
        try:
            self._queue.extend(self._frames.feed(data))
        except WireError as error:
            self.close(error.reason)
            return
        self._serve_queue()
        if self._queue and self._transport is not None:
            # As Kafka does: nothing more is read while what was read waits.
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not take what it asked for: serve nothing more until it does."""
        self._may_write = False

    def resume_writing(self) -> None:
        """The client goes on reading."""
        self._may_write = True
        self._serve_queue()

    def close(self, reason: str) -> None:
        """Ends the connection; `reason` is counted."""
        if self._transport is not None and not self._transport.is_closing():
            self._reason = reason
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once, with what is not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    def _serve_queue(self) -> None:
        if self._serving:
            return
        self._serving = True
        try:
            while self._queue and self._may_write and self._waiting is None and self._is_open():
                self._serve(self._queue.popleft())
        except WireError as error:
            self.close(error.reason)
        finally:
            self._serving = False
        if self._transport is not None and not self._queue and self._is_open():
            # Does nothing when reading was not paused.
            self._transport.resume_reading()

    def _is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _serve(self, data: memoryview) -> None:
        reader = Reader(data)
        key, version, correlation_id = reader.int16(), reader.int16(), reader.int32()
        client_id = reader.nullable_string() or ""
        api = self._apis.get(key)
        if api is None:
            raise WireError(f"API key must be one of {sorted(self._apis)}, was {key}", "unknown_api")
        # A client that asks in which versions it may ask is answered whatever version it knows.
        if key != ApiKey.API_VERSIONS and not api.oldest <= version <= api.newest:
            raise WireError(
                f"{api.key.name} must have version {api.oldest} to {api.newest}, had {version}",
                "unsupported_version",
            )

        def answer(body: Writer | None) -> None:
            self._waiting = None
            if body is not None and self._transport is not None:
                self._transport.writelines(frame(correlation_id, body))
            self._serve_queue()

        self._waiting = request = Request(version, client_id, reader, answer, self.close)
        api.handle(request)
