"""Runs a process until it is told to stop: event loop, signals, a bounded end."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bidder.errors import DependencyError

STOP_S = 15.0
"""Wall seconds that a process has for its end once it was told to stop."""


def run_until_stopped(
    body: Callable[[asyncio.Event], Coroutine[Any, Any, None]], stop_s: float = STOP_S
) -> None:
    """Runs `body` with an event that SIGTERM or SIGINT sets; it then has `stop_s` to end.

    Args:
        body: what to run; returns soon after the event is set, or before if it is done.
        stop_s: wall seconds from the signal to the end.

    Raises:
        DependencyError: if it did not end in time and was cut off.
    """
    _run(_stoppable(body, stop_s))


async def _stoppable(body: Callable[[asyncio.Event], Awaitable[None]], stop_s: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.ensure_future(body(stop))
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([running, told], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait([running], timeout=stop_s)
        if not running.done():
            running.cancel()
            await asyncio.wait([running], timeout=stop_s)
            raise DependencyError(f"the end must take at most {stop_s:.0f} s, took longer: it was cut off")
        running.result()
    finally:
        told.cancel()


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:  # not made for every platform; the standard loop does the same, slower
        asyncio.run(main)
    else:
        uvloop.run(main)
