"""Which rows of a table a bundle can not have learned from: the one rule of all who judge a model by unseen rows.

Of the table that it was trained on those of the `test` slice, of any other table those later than the training
window, and never those to which its calibration was fitted again. Where the manifest can not tell, no row is
called unseen.
"""

import numpy as np
from numpy.typing import NDArray

from models.artifact import ModelBundle
from models.dataset import TrainingTable
from models.errors import TableError
from models.training.split import BY_TIME


def is_brought(bundle: ModelBundle) -> bool:
    """Whether its trees were trained elsewhere (`models import`): on which rows, no manifest knows."""
    return "brought" in bundle.manifest.params


def first_unseen(table: TrainingTable, bundle: ModelBundle) -> int:
    """Place of the first row, in the order of time, from which on the bundle has learned from none.

    Returns:
        The place; `len(table)` where all may have taught it.

    Raises:
        TableError: which rows taught it is not known: why, and what to do.
    """
    manifest = bundle.manifest
    if is_brought(bundle):
        raise TableError(
            f"{bundle.path} must tell when it learned for rows to be held out, but it is not known when its trees "
            f"learned (`models import` made it): judge it without held-out rows, by a table that you know "
            f"they were not trained on"
        )
    if table.sha256 != manifest.table_sha256:
        return int(np.searchsorted(table.at_ns, manifest.window_ns[1], side="right"))
    split_by = manifest.params.get("split_by", BY_TIME)
    if split_by != BY_TIME:
        raise TableError(
            f"table {table.source} is the one that {bundle.path} was trained on, but its slices are parted by "
            f"{split_by}, not by time: which rows it held out is not known; export later rows, or train it with "
            f"--split-by time"
        )
    times = table.at_ns[shown_rows(table)]
    parts, test = sum(manifest.rows.values()), manifest.rows.get("test", 0)
    if parts != len(times):
        raise TableError(
            f"table {table.source} is the one that {bundle.path} was trained on, but training used {parts} of its "
            f"{len(times)} impressions: which rows it held out is not known; export later rows"
        )
    if not test:
        return len(table)
    # Training puts rows of one time into one slice, so the time of its first test row parts all rows, lost ones too.
    begin = int(np.searchsorted(table.at_ns, times[len(times) - test], side="left"))
    fitted_until_ns = manifest.params.get("recalibration", {}).get("until_ns", 0)
    return max(begin, int(np.searchsorted(table.at_ns, fitted_until_ns, side="right")))


def shown_rows(table: TrainingTable) -> NDArray[np.bool_]:
    """bool[N], whether a row is an impression.

    Raises:
        TableError: none is.
    """
    won = table.extras.get("won")
    shown = np.ones(len(table), dtype=np.bool_) if won is None else np.asarray(won) > 0
    if not shown.any():
        raise TableError(f"table {table.source} must have impressions to judge by, had none")
    return shown
