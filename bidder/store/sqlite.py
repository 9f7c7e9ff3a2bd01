"""The store in a file of SQLite: for one machine, and what a newcomer gets.

Write-ahead logging, so that readers never wait for a writer. With `durable` each commit is synced to the disk
before it counts. A file is made for its owner alone: bookings have keys of users. It has one writer at a time,
whatever lock a transaction names.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from bidder.errors import DependencyError, InputError
from bidder.store.driver import RowRefused

BUSY_MS = 5_000
_OLDEST = (3, 37, 0)  # the first with STRICT tables


class Sqlite:
    """A `Driver` on a file.

    One thread at a time may use it, not always the same one.

    Args:
        path: the file, made where it is missing; `:memory:` for one that ends with the connection.
        durable: whether a commit waits until the disk has it.

    Raises:
        InputError: the file is no database.
        DependencyError: it cannot be opened, or SQLite is too old.
    """

    def __init__(self, path: str, *, durable: bool) -> None:
        self.name = path
        if sqlite3.sqlite_version_info < _OLDEST:
            raise DependencyError(
                f"SQLite must be {'.'.join(map(str, _OLDEST))} or newer, was {sqlite3.sqlite_version}"
            )
        _make_private(path)
        with self._errors():
            self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self.connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self.connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            self.connection.close()
            raise

    @contextmanager
    def writing(self, lock: str) -> Iterator[sqlite3.Connection]:  # noqa: ARG002 - the file is the lock
        """See `Driver`."""
        with self._errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """See `Driver`."""
        with self._errors():
            self.connection.execute("BEGIN")
            try:
                yield self.connection
            finally:
                self.connection.execute("ROLLBACK")

    def schema(self, statement: str) -> str:
        """As it stands: migrations are written in SQLite's words."""
        return statement

    def close(self) -> None:
        """See `Driver`."""
        self.connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise RowRefused(f"database {self.name} refuses a row: {error}") from error
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
            raise
        except sqlite3.OperationalError as error:
            raise DependencyError(f"database {self.name} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"database {self.name} must be a Clearbid store, was not: {error}") from error


def _make_private(path: str) -> None:
    """Makes a file that is missing, for its owner alone; SQLite gives the files beside it the same mode."""
    if path and path != ":memory:":
        # What cannot be made here is said by SQLite; what is there keeps the mode that somebody chose.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
