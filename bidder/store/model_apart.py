"""A model read, checked and compiled in a process of its own, so that requests go on beside it.

In a thread it takes half of the interpreter for about a second, and a worker that is busy needs more than the other
half: requests queue for hundreds of milliseconds. Apart, only its arrays come back, in some milliseconds.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from bidder.core.scoring import Model
from bidder.errors import InputError
from bidder.store.model import load_model
from models.compile import LeafMaskTable
from models.schema import FeatureSpec


class _Parts(NamedTuple):
    spec: bytes
    table: LeafMaskTable
    hash: str


def load_model_apart(directory: Path) -> Model:
    """As `load_model`, in another process, which is ended before it returns.

    Raises:
        ArtifactError, InputError: as `load_model`; also where the process was ended from outside.
    """
    # A fork would copy locks that other threads hold.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            parts = pool.submit(_load, str(directory)).result()
        except (BrokenProcessPool, OSError) as error:
            raise InputError(
                f"model {directory} must be checked in a process of its own, which did not end well ({error}): "
                f"see that there is memory for it"
            ) from error
    if parts is None:
        return load_model(directory)
    return Model.of(FeatureSpec.from_json(parts.spec), parts.table, parts.hash)


def _load(directory: str) -> _Parts | None:
    """The other process: None where LightGBM itself must score, whose handles live in one process only."""
    if hasattr(os, "nice"):
        os.nice(10)  # requests go first where there is no idle core
    model = load_model(Path(directory))
    if model.native is not None:
        return None
    return _Parts(model.spec.to_json(), model.table, model.hash)
