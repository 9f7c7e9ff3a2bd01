"""Where the draws of a sweep are played: in this process, over cores, or on a Dask cluster.

Each is a way to call one function on many numbers; results come in their order, so that none changes a figure.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bidder.errors import InputError

Floats = NDArray[np.float64]
Task = Callable[[int], Floats]


class Backend(Protocol):
    """Calls a task on numbers."""

    def map(self, task: Task, numbers: Sequence[int]) -> Iterator[Floats]:
        """The results in the order of the numbers, as they come."""
        ...


class Here:
    """In this process, one after the other."""

    def map(self, task: Task, numbers: Sequence[int]) -> Iterator[Floats]:
        """The results in the order of the numbers."""
        return map(task, numbers)


class Cores:
    """In processes of this machine.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def map(self, task: Task, numbers: Sequence[int]) -> Iterator[Floats]:
        """The results in the order of the numbers."""
        # A fresh interpreter each: threads of compiled code do not survive a fork.
        with ProcessPoolExecutor(
            self._workers, mp_context=get_context("spawn"), initializer=_adopt, initargs=(task,)
        ) as pool:
            yield from pool.map(_call, numbers)


class Dask:
    """On the workers of a Dask cluster, which must have the same Clearbid installed.

    Args:
        address: of its scheduler, such as `tcp://127.0.0.1:8786`.

    Raises:
        InputError: Dask is not installed, or nothing answers there.
    """

    def __init__(self, address: str) -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise InputError("--dask needs pip install 'clearbid[dask]'") from None
        try:
            self._client: Any = distributed.Client(address, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"--dask must be the address of a scheduler that answers, was {address}: {error}"
            ) from None

    def map(self, task: Task, numbers: Sequence[int]) -> Iterator[Floats]:
        """The results in the order of the numbers."""
        # The log goes to each worker once, not with each number.
        sent = self._client.scatter(task, broadcast=True)
        try:
            for future in self._client.map(_run, [sent] * len(numbers), list(numbers), pure=False):
                yield future.result()
        finally:
            self._client.close()


def backend_of(workers: int, dask: str) -> Backend:
    """The backend that is asked for: a cluster where one is named, else so many processes."""
    if dask:
        return Dask(dask)
    return Cores(workers) if workers > 1 else Here()


_task: Task | None = None


def _adopt(task: Task) -> None:
    global _task  # noqa: PLW0603, each process has one
    _task = task


def _call(number: int) -> Floats:
    assert _task is not None, "a process begins with its task"
    return _task(number)


def _run(task: Task, number: int) -> Floats:
    return task(number)
