"""The database that survives crashes: the bank's own, with outages, and transactions that end in the middle.

A crash inside a transaction leaves nothing of it, one after its commit all: SQLite's own promise, which is kept here
by its own rollback.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from bidder.errors import DependencyError
from bidder.store.database import Database


class Crash(BaseException):
    """The end of a process, wherever it is; no code of it may catch it as an error."""


class Disk(Database):
    """One database for all lives of all banks.

    Args:
        is_down: whether it cannot be reached now.

    Attributes:
        cut_after: statements of the next transaction after which its process ends, or None; where it has fewer,
            the process ends right after the commit.
    """

    def __init__(self, is_down: Callable[[], bool]) -> None:
        self._is_down: Callable[[], bool] = lambda: False
        self.cut_after: int | None = None
        super().__init__(":memory:", durable=False)
        self._is_down = is_down

    @contextmanager
    def transaction(self, lock: str = "store") -> Iterator[Any]:
        """See `Database.transaction`."""
        self._check()
        cut_after, self.cut_after = self.cut_after, None
        with super().transaction(lock) as connection:
            yield connection if cut_after is None else _Cut(connection, cut_after)
        if cut_after is not None:
            raise Crash

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """See `Database.reading`."""
        self._check()
        with super().reading() as connection:
            yield connection

    def _check(self) -> None:
        if self._is_down():
            raise DependencyError("database cannot be reached")


class _Cut:
    """A connection that ends its process after some statements."""

    def __init__(self, connection: Any, left: int) -> None:
        self._connection = connection
        self._left = left

    def execute(self, *arguments: Any) -> Any:
        """Of `sqlite3.Connection`."""
        return cast("Any", self._step(self._connection.execute, arguments))

    def executemany(self, *arguments: Any) -> Any:
        """Of `sqlite3.Connection`."""
        return self._step(self._connection.executemany, arguments)

    def _step(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if self._left <= 0:
            raise Crash
        self._left -= 1
        return call(*arguments)
