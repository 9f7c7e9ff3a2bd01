"""A sink that need not be connected yet: for who can go on without the broker, and starts while it is away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from bidder.errors import BrokerUnavailable, DependencyError
from bidder.runtime.transport import Outbound, Run, Sink

log = logging.getLogger(__name__)


class LateSink:
    """A `Sink` in front of one that is connected as soon as that can be.

    Until then all that is published is refused, as by a broker that went away.

    Args:
        connect: connects a sink; raises a `DependencyError` where that cannot be done yet.
        again_s: wall seconds between tries.
    """

    def __init__(self, connect: Callable[[], Awaitable[Sink]], again_s: float = 1.0) -> None:
        self._connect = connect
        self._again_s = again_s
        self._sink: Sink | None = None
        self._connecting: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Begins to connect, and returns."""
        self._connecting = asyncio.ensure_future(self._until_connected())

    async def publish(self, messages: Sequence[Outbound]) -> None:
        """Takes messages for delivery; raises `BrokerUnavailable` while nothing is connected."""
        await self._connected().publish(messages)

    async def send(self, runs: Sequence[Run]) -> None:
        """Takes runs of messages for delivery; raises `BrokerUnavailable` while nothing is connected."""
        await self._connected().send(runs)

    async def flush(self) -> None:
        """Returns when all published messages are acknowledged."""
        await self._connected().flush()

    async def stop(self) -> None:
        """Connects no more, and stops what is connected."""
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._connecting
        if self._sink is not None:
            await self._sink.stop()

    def _connected(self) -> Sink:
        if self._sink is not None:
            return self._sink
        if self._connecting is not None and self._connecting.done():
            self._connecting.result()  # what no later try would mend
        raise BrokerUnavailable("the broker was not there yet: it is asked again and again")

    async def _until_connected(self) -> None:
        told = False
        while self._sink is None:
            try:
                self._sink = await self._connect()
            except DependencyError as error:
                if not told:
                    log.warning("started without the broker: %s", error)
                told = True
                await asyncio.sleep(self._again_s)
