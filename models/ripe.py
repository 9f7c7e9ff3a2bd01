"""Clicks whose conversion is settled: watched for as long as conversions may take.

A click of an hour ago that did not convert is no click that never will. A model that was trained for late conversions
predicts what will have come within its horizon, so it can be judged only by clicks that were watched so long: all of
them, converted or not, or quick conversions would count twice.
"""

import numpy as np
from numpy.typing import NDArray

from models.artifact import ModelBundle
from models.dataset import TrainingTable
from models.extras import UNKNOWN_NS

Bools = NDArray[np.bool_]


def horizon_of(*bundles: ModelBundle | None) -> int:
    """The longest horizon, in nanoseconds, that any of some models was trained for; 0 where none knows of delays."""
    reports = [bundle.manifest.training for bundle in bundles if bundle is not None]
    return max((report.delay.horizon_ns for report in reports if report), default=0)


def settled(table: TrainingTable, horizon_ns: int) -> Bools:
    """bool[N]: rows whose conversion is final after a horizon; all where there is none, or times are not known."""
    clicked, until = (table.extras.get(name) for name in ("click_at_ns", "observed_until_ns"))
    if horizon_ns <= 0 or clicked is None or until is None:
        return np.ones(len(table), dtype=np.bool_)
    clicked_ns, until_ns = (np.asarray(times, dtype=np.int64) for times in (clicked, until))
    known = (clicked_ns != UNKNOWN_NS) & (until_ns != UNKNOWN_NS)
    return np.asarray(~known | (until_ns - clicked_ns >= horizon_ns))
