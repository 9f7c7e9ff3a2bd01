"""An event loop on virtual time, for the one part whose real code is a coroutine: the tracker's publisher.

It has no sockets, threads or clock; its timers are the scheduler's. Who calls into the loop's code does so by `run`;
what that makes ready runs before `run` returns, in order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast

_Result = TypeVar("_Result")
_NS = 1e9


class VirtualLoop:
    """A loop that runs only while it is asked to: as much of one as futures, tasks and timers need.

    Args:
        now_ns: the time. plan: lets a call be made so many ns later, while the process lives.
    """

    def __init__(self, now_ns: Callable[[], int], plan: Callable[[int, Callable[[], None]], None]) -> None:
        self._now_ns, self._plan = now_ns, plan
        self._as_loop = cast("asyncio.AbstractEventLoop", self)
        self._ready: deque[tuple[asyncio.Handle, Callable[..., object], tuple[Any, ...], Context]] = deque()
        self._tasks: list[asyncio.Task[Any]] = []
        self.errors: list[BaseException] = []

    def run(self, call: Callable[..., _Result], *arguments: object) -> _Result:
        """Makes a call inside the loop, then runs what became ready."""
        # What every event loop calls to be the running one, and the only way.
        asyncio._set_running_loop(self._as_loop)  # noqa: SLF001
        try:
            result = call(*arguments)
            while self._ready:
                handle, callback, values, context = self._ready.popleft()
                if not handle.cancelled():
                    context.run(callback, *values)
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001
        return result

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Starts a coroutine; what it raises stands in `errors`."""
        self.run(self._begin, coroutine)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.create_task(coroutine).add_done_callback(self._ended)

    def close(self) -> None:
        """Ends what runs in it; nobody hears of that."""
        tasks, self._tasks = self._tasks, []
        self.run(lambda: [task.cancel() for task in tasks])

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.errors.append(error)

    # What asyncio's futures and tasks ask of a loop.

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """See `asyncio`."""
        context = context if context is not None else copy_context()
        handle = asyncio.Handle(callback, args, self._as_loop, context)
        self._ready.append((handle, callback, args, context))
        return handle

    def time(self) -> float:
        """See `asyncio`."""
        return self._now_ns() / _NS

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio`; a timer that is cancelled comes, and does nothing."""
        wait_ns = max(0, round(delay * _NS))
        context = context if context is not None else copy_context()
        when = (self._now_ns() + wait_ns) / _NS
        handle = asyncio.TimerHandle(when, callback, args, self._as_loop, context)

        def ring() -> None:
            if not handle.cancelled():
                self.run(self._ready.append, (handle, callback, args, context))

        self._plan(wait_ns, ring)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio`."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """What a handle tells its loop."""

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        """See `asyncio`."""
        task = asyncio.Task(coro, loop=self._as_loop, name=name, context=context)
        self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)
        return task

    def create_future(self) -> "asyncio.Future[Any]":
        """See `asyncio`."""
        return asyncio.Future(loop=self._as_loop)

    def get_debug(self) -> bool:
        """See `asyncio`."""
        return False

    def is_running(self) -> bool:
        """See `asyncio`."""
        return True

    def is_closed(self) -> bool:
        """See `asyncio`."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A task that is dropped in a crash is no error."""
