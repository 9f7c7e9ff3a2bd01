"""How far a command is, on standard error, so that what is printed can be piped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def progress_bars(*, quiet: bool, as_bytes: bool = False) -> "Iterator[Progress]":
    """Bars with a count of steps, or of bytes; none where `quiet`, or where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    console = Console(stderr=True)
    # Where nobody watches, a bar would leave its last line and an empty one in a log.
    quiet = quiet or not console.is_terminal
    done = DownloadColumn() if as_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet) as bars:
        yield bars


@contextmanager
def progress_bar(what: str, *, quiet: bool, as_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar that hears how much of `what` is done, and of how much (0: not known); see `progress_bars`."""
    with progress_bars(quiet=quiet, as_bytes=as_bytes) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)
