"""Whether what counts matters: how much worse the model predicts where a group of features is shuffled.

Contributions say what moves the score; only labels say whether that is right. A group's columns are shuffled
together among the labelled rows (Breiman 2001; Fisher, Rudin and Dominici 2019), so that the group tells nothing
of its own row any more, and the log loss of the calibrated probability is compared row by row with that before. Its
mean has a 95 % interval from the spread over rows. A group that stands in for another, such as a city for its region,
may move little alone though both matter.

Rows that a model was trained on flatter what it learned by heart. Only rows that can not have taught it are taken
(`models.unseen`); where they are not known or have too few labels all are taken, and `Trial.unseen` is False.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import ModelBundle
from models.calibration import calibrate
from models.dataset import TrainingTable
from models.errors import TableError
from models.explain.contributions import Contributor
from models.explain.groups import Group, taken
from models.unseen import first_unseen

Floats = NDArray[np.float64]

MOST_ROWS = 40_000
REPEATS = 3
MIN_POSITIVES = 20
_Z95 = 1.959963984540054


class Shuffled(msgspec.Struct, frozen=True, kw_only=True):
    """One group, shuffled.

    Attributes:
        name: of the group. moved: mean |change| of the raw score, log odds.
        loss_increase: of the mean log loss, as a share of that before. low, high: its 95 % interval.
        matters: whether all of the interval is above 0.
    """

    name: str
    moved: float
    loss_increase: float
    low: float
    high: float
    matters: bool


class Trial:
    """The labelled rows of one model, scored once as they are.

    Args:
        bundle, name: the model. contributor: the same, ready. table: with labels. seed: of sample and shuffles.
    """

    def __init__(
        self, bundle: ModelBundle, name: str, contributor: Contributor, table: TrainingTable, seed: int
    ) -> None:
        self.name, self.random = name, np.random.default_rng(seed)
        labels = table.click if name == "ctr" else table.conversion
        known = ~np.isnan(labels) if name == "ctr" else (table.click > 0) & ~np.isnan(labels)
        later = known & _later(bundle, table)
        self.unseen = _rarer(labels[later]) >= MIN_POSITIVES
        rows = np.flatnonzero(later if self.unseen else known)
        if len(rows) > MOST_ROWS:
            rows = np.sort(self.random.choice(rows, size=MOST_ROWS, replace=False))
        self.rows = len(rows)
        self.labels = labels[rows]
        self.positives = int(self.labels.sum())
        self.refusal = self._refusal()
        if self.refusal:
            return
        self._contributor, self._table = contributor, bundle.calibration[name]
        columns = {key: taken(value, rows) for key, value in table.columns.items()}
        self.values = bundle.spec.encode_table(columns)
        weights = np.asarray(table.extras.get("weight", np.ones(len(table))), dtype=np.float64)[rows]
        self.weights = weights / weights.sum()
        self.raw, self.losses = self.score(self.values)

    def _refusal(self) -> str:
        if _rarer(self.labels) >= MIN_POSITIVES:
            return ""
        return (
            f"too few labels to tell whether a feature matters (positives: {self.positives:,} of {self.rows:,} "
            f"labelled rows; at least {MIN_POSITIVES} of either label are needed)"
        )

    def score(self, values: Floats) -> tuple[Floats, Floats]:
        """Raw scores and log losses (nats), float64[rows] each."""
        raw = self._contributor.raw(values)
        p = calibrate(self._table, raw)
        return raw, -np.where(self.labels > 0, np.log(p), np.log1p(-p))


def _rarer(labels: Floats) -> int:
    """How many rows have the label that fewer have."""
    positives = int(labels.sum())
    return min(positives, len(labels) - positives)


def _later(bundle: ModelBundle, table: TrainingTable) -> NDArray[np.bool_]:
    """Rows that neither trees nor calibration have seen, as far as the manifest can tell."""
    try:
        begin = first_unseen(table, bundle)
    except TableError:  # not known: all rows are taken, and said to flatter
        begin = len(table)
    return np.arange(len(table)) >= begin


def permute(
    trial: Trial, groups: Sequence[Group], tell: Callable[[str, int, int], None]
) -> tuple[Shuffled, ...]:
    """Each group shuffled in turn, the one that matters most first; nothing where the trial has a refusal."""
    if trial.refusal:
        return ()
    stage = f"{trial.name} shuffled"
    found = []
    tell(stage, 0, len(groups))
    for number, group in enumerate(groups, start=1):
        found.append(_shuffled(trial, group))
        tell(stage, number, len(groups))
    return tuple(sorted(found, key=lambda one: (-one.loss_increase, one.name)))


def _shuffled(trial: Trial, group: Group) -> Shuffled:
    places = list(group.places)
    more: Floats = np.zeros(trial.rows)
    moved = 0.0
    values = trial.values.copy()
    for _ in range(REPEATS):
        values[:, places] = trial.values[trial.random.permutation(trial.rows)][:, places]
        raw, losses = trial.score(values)
        more += (losses - trial.losses) / REPEATS
        moved += float(np.abs(raw - trial.raw) @ trial.weights) / REPEATS
    mean = float(more @ trial.weights)
    error = math.sqrt(float(((more - mean) ** 2) @ trial.weights**2))
    before = float(trial.losses @ trial.weights)
    low, high = ((mean + side * _Z95 * error) / before for side in (-1.0, 1.0))
    return Shuffled(
        name=group.name, moved=moved, loss_increase=mean / before, low=low, high=high, matters=low > 0.0
    )
