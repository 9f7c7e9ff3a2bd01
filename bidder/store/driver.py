"""What the store asks of a database: statements in the part of SQL that SQLite and PostgreSQL share.

Statements mark values by `?`, compare and sort text byte by byte, keep truth as the integers 0 and 1, and insert
what may be there already by `ON CONFLICT`. What the two still say differently stands in the drivers alone:
`store.sqlite` and `store.postgres`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from bidder.errors import InvariantError


class RowRefused(InvariantError):
    """A row breaks a constraint of the schema: a mistake of ours, and nothing of its transaction is kept."""


class Result(Protocol):
    """Rows of a statement, to be fetched once."""

    @property
    def rowcount(self) -> int:
        """Rows that the statement changed."""
        ...

    def fetchone(self) -> Any:
        """The next row as a tuple, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All that are left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """One after the other."""
        ...


class Session(Protocol):
    """An open transaction."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Result:
        """Runs a statement with a value for each `?`."""
        ...

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Runs a statement once for each row of values, of one shape."""
        ...


class Driver(Protocol):
    """One connection to one database.

    Attributes:
        name: of the database, as it may be printed.
    """

    name: str

    def writing(self, lock: str) -> AbstractContextManager[Session]:
        """A transaction that is kept at the end, or rolled back where the block raises.

        Those of one lock run one after the other. Without one (empty), rows that are updated must do: a row that
        another transaction updated is waited for, and then seen as that one left it.

        Raises:
            RowRefused: a row breaks a constraint.
            DependencyError: the database or the connection to it failed.
        """
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """A transaction that sees one moment and keeps nothing."""
        ...

    def schema(self, statement: str) -> str:
        """A statement of a migration, as this database says it."""
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...
