"""What a table must have before anything is learned from it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.dataset import TrainingTable
from models.errors import TableError
from models.schema import Declaration
from models.texts import Texts
from models.training.params import TrainParams


def usable(
    table: TrainingTable, declarations: Sequence[Declaration], params: TrainParams
) -> tuple[tuple[Declaration, ...], tuple[str, ...]]:
    """The declarations whose columns hold anything, and the names of those left out.

    An optional column without any value is left out; so is a required one where `drop_missing` says so. No
    segments are not missing: most users are in none.

    Raises:
        TableError: every value of a required column is missing, or no column is left.
    """
    empty = [item for item in declarations if item.kind != "segments" and _is_empty(table, item.name)]
    required = [item.name for item in empty if not item.optional]
    if required and not params.drop_missing:
        raise TableError(
            f"column {required[0]} of {table.source} must hold values, all {len(table)} are missing: mend the "
            f"export, declare it optional, or leave such columns out with --drop-missing"
        )
    kept = tuple(item for item in declarations if item not in empty)
    if not kept:
        raise TableError(f"training table {table.source} must have a feature with values, all are missing")
    return kept, tuple(item.name for item in empty)


def _is_empty(table: TrainingTable, name: str) -> bool:
    values: Any = table.columns.get(name)
    if values is None:
        return False
    if isinstance(values, Texts):
        return bool((values.codes < 0).all())
    if isinstance(values, np.ndarray):
        return bool(np.isnan(values).all())
    return all(value is None for value in values)


def check_clicks(table: TrainingTable, params: TrainParams) -> None:
    """Refuses rows to learn from that hold no click, or nothing else, unless a prior is allowed.

    Raises:
        TableError: the labels are of one class.
    """
    clicks = int(table.click.sum())
    if 0 < clicks < len(table) or params.allow_prior:
        return
    was = "there is no click" if clicks == 0 else "there are clicks only"
    raise TableError(
        f"click must be 0 in some and 1 in other of the {len(table)} rows of {table.source} to learn from, "
        f"{was}: give more rows, or take a model that knows only the rate with --allow-prior"
    )
