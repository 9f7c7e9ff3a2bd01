"""A model read, checked and compiled in a process of its own, so that requests go on beside it.

In a thread it takes half of the interpreter for about a second, and a worker that is busy needs more than the other
half: requests queue for hundreds of milliseconds. Apart, only its arrays come back, in some milliseconds.
"""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from bidder.core.scoring import Model
from bidder.core.valuing import ValueForest
from bidder.store.model import load_model
from models.compile import LeafMaskTable
from models.schema import FeatureSpec

LONGEST_S = 120.0
"""Seconds for what takes one or two."""


class _Parts(NamedTuple):
    spec: bytes
    table: LeafMaskTable
    hash: str
    value: ValueForest | None


def load_model_apart(directory: Path) -> Model:
    """As `load_model`, in another process, which is ended before it returns.

    Raises:
        ArtifactError, InputError: as `load_model`.
        ChildProcessError: the process could not be started, was ended from outside, or took longer than `LONGEST_S`:
            nothing is known of the model.
    """
    parts = _apart(_load, directory)
    if parts is None:
        return load_model(directory)
    return Model.of(FeatureSpec.from_json(parts.spec), parts.table, parts.hash, None, parts.value)


def _apart(work: Callable[[str], _Parts | None], directory: Path) -> _Parts | None:
    # A fork would copy locks that other threads hold.
    context = multiprocessing.get_context("spawn")
    try:
        ours, theirs = context.Pipe(duplex=False)
        with ours:
            process = context.Process(target=_tell, args=(theirs, work, str(directory)), daemon=True)
            try:
                with theirs:
                    process.start()
                if not ours.poll(LONGEST_S):
                    raise TimeoutError(f"it took longer than {LONGEST_S:g} s")
                found = ours.recv()
            finally:
                if process.pid is not None:
                    process.kill()
                    process.join()
    except (EOFError, OSError) as error:
        raise ChildProcessError(
            f"model {directory} must be checked in a process of its own, which did not end well "
            f"({str(error) or 'it was ended'}): see that there is memory for it"
        ) from error
    if isinstance(found, Exception):
        raise found
    return found  # type: ignore[no-any-return]


def _tell(to: Connection, work: Callable[[str], _Parts | None], directory: str) -> None:
    """The other process, from its begin to its end."""
    try:
        found: object = work(directory)
    except Exception as error:  # noqa: BLE001 - who asked raises it again
        found = error
    to.send(found)


def _load(directory: str) -> _Parts | None:
    """What the other process does: None where LightGBM itself must score, whose handles live in one process only."""
    if hasattr(os, "nice"):
        os.nice(10)  # requests go first where there is no idle core
    model = load_model(Path(directory))
    if model.native is not None:
        return None
    return _Parts(model.spec.to_json(), model.table, model.hash, model.value)
