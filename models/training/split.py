"""Rows into train, calibration and test: by time, or by whole groups.

By time, each slice is wholly later than the one before: what a model will meet. By a column, all rows of one value
(one source, one user, one day) fall into one slice, so that nothing of a group is on two sides; groups are put
in the order of a hash of the seed and their value, and cut by share of the rows.
"""

import hashlib

import numpy as np

from models.dataset import TimeSplit, TrainingTable, split_by_time
from models.errors import TableError
from models.texts import Texts
from models.training.params import TrainParams

BY_TIME = "time"


def split_table(table: TrainingTable, params: TrainParams, seed: int) -> TimeSplit:
    """Three slices, as `params.split_by` says.

    Raises:
        TableError: the table is too small, of one moment, or lacks the column or enough different values in it.
    """
    if params.split_by == BY_TIME:
        return split_by_time(table, params.calibration_share, params.test_share)
    return _by_group(table, params, seed)


def _by_group(table: TrainingTable, params: TrainParams, seed: int) -> TimeSplit:
    name = params.split_by
    column = table.extras.get(name, table.columns.get(name))
    if not isinstance(column, Texts):
        raise TableError(
            f"split_by must be 'time' or a column of texts that was read, was {name!r} ({table.source})"
        )
    groups = column.values
    rows = np.bincount(column.codes + 1, minlength=len(groups) + 1)
    order = sorted(range(-1, len(groups)), key=lambda code: _draw(seed, None if code < 0 else groups[code]))
    present = [code for code in order if rows[code + 1]]
    if len(present) < 3:
        raise TableError(f"column {name} of {table.source} must have 3 or more values, had {len(present)}")
    ends = np.cumsum([rows[code + 1] for code in present])
    slice_of = np.empty(len(groups) + 1, dtype=np.int8)
    cuts = (params.test_share, params.test_share + params.calibration_share)
    for place, code in enumerate(present):
        # A group goes where its middle row would; the first two and the last see that no slice is empty.
        middle = (ends[place] - rows[code + 1] / 2) / len(table)
        by_share = 2 if middle < cuts[0] else 1 if middle < cuts[1] else 0
        slice_of[code + 1] = {0: 2, 1: 1, len(present) - 1: 0}.get(place, by_share)
    where = slice_of[column.codes + 1]
    return TimeSplit(*(table.take(np.flatnonzero(where == part)) for part in range(3)))


def _draw(seed: int, value: str | None) -> bytes:
    return hashlib.sha256(f"{seed}\0{'' if value is None else 'v' + value}".encode()).digest()
