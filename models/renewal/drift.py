"""Whether fresh rows are of the kind that a model learned from.

Two statistics, each with a limit that knows how many rows there are:

- *PSI*, the population stability index: sum of (q - p) ln(q / p) over bins, p and q the shares of reference and fresh
  rows, half a row added to every bin. Bins are tenths of the reference for numbers, the most frequent values for
  categories; missing is a bin of its own. Without drift it is about (1/n + 1/m) times a chi-squared with bins - 1
  degrees of freedom (Yurdakul, 2018), so the alarm is at 0.2, the usual figure, or above what chance explains.
- *KS*, the largest distance of the two distribution functions, for numbers: alarm at 0.1, or above Smirnov's limit.

`ALPHA` is the chance of one false alarm or more in all that a report looks at, for rows that are independent.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import MODEL_NAMES
from models.clusters import Clusters, clusters_in
from models.dataset import TrainingTable
from models.reliability.ratios import MIN_EVENTS, ratio_of
from models.ripe import horizon_of, settled
from models.schema import SEGMENT_PREFIX, SEGMENTS_COLUMN, FeatureSpec, segments_of
from models.scorer import Scorer
from models.shift import ks, ks_limit, number_bins, psi_limit, psi_of_bins, text_bins

ALPHA = 0.001
PSI_ALARM, PSI_NOTICE = 0.2, 0.1
KS_ALARM, KS_NOTICE = 0.1, 0.05
CALENDAR = frozenset({"hour", "weekday"})
"""Features that differ between any two spans of time: told, never an alarm."""
NO_EVENT_CHANCE = 0.005
"""Chance of no event at all (Poisson) below which that is an alarm."""
CALIBRATION_LEVEL = 0.99
"""Of confidence of predicted over happened."""

Floats = NDArray[np.float64]
Level = Literal["ok", "notice", "alarm"]


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What of a report is an alarm.

    Attributes:
        psi, ks: least alarm of each, whatever the number of rows.
        calibration: an alarm where the whole interval of predicted over happened lies outside.
    """

    psi: float = PSI_ALARM
    ks: float = KS_ALARM
    calibration: tuple[float, float] = (0.9, 1.1)


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """How one feature, or the predictions of one model, differ.

    Attributes:
        name: of the feature; `prediction ctr` for predictions.
        kind: `numeric` or `categorical`.
        psi, psi_limit: the index, and where it is an alarm. ks, ks_limit: None for categories.
        missing: share of missing values in the reference and in the fresh rows.
        level: `ok`, `notice` or `alarm`. words: why.
        judged: whether it may be an alarm, see `drift_of`.
    """

    name: str
    kind: str
    judged: bool
    psi: float
    psi_limit: float
    ks: float | None
    ks_limit: float | None
    missing: tuple[float, float]
    level: Level
    words: str


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Events predicted over events that happened, on fresh rows, with a 99 % interval; None without events."""

    name: str
    rows: int
    positives: int
    ratio: float | None
    low: float | None
    high: float | None
    level: Level
    words: str


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """Fresh rows against a reference.

    Attributes:
        rows: of the reference and fresh. windows_ns: first and last time of each.
        features: in the order of the spec. predictions: of each model. calibration: of each model.
    """

    rows: tuple[int, int]
    windows_ns: tuple[tuple[int, int], tuple[int, int]]
    features: tuple[Shift, ...]
    predictions: tuple[Shift, ...]
    calibration: tuple[Calibration, ...]

    @property
    def alarms(self) -> list[str]:
        """What each alarm is about, in words."""
        parts: tuple[Shift | Calibration, ...] = (*self.features, *self.predictions, *self.calibration)
        return [f"{one.name}: {one.words}" for one in parts if one.level == "alarm"]


def calibration_of(
    name: str,
    y: Floats,
    p: Floats,
    weights: Floats | None,
    bounds: tuple[float, float],
    clusters: Clusters | None = None,
) -> Calibration:
    """Predicted over happened with the 99 % interval of `models.reliability.ratios`.

    Args:
        name: of the model. y: float64[N] of 0.0 and 1.0. p: float64[N] inside (0, 1).
        weights: float64[N] > 0, None is 1 each. bounds: where it is an alarm, see `Bounds`.
        clusters: int32[N], which rows belong together; None takes each for itself.
    """
    found = ratio_of(p, y, weights, clusters, CALIBRATION_LEVEL)
    ratio, low, high = found.ratio, found.low, found.high if found.high is not None else math.inf
    if ratio is None or low is None:
        return _without_events(name, len(y), float(p.sum()))
    few = f"; {found.positives} events are too few to call it right" if found.positives < MIN_EVENTS else ""
    level: Level = "ok" if low <= 1.0 <= high else "notice"
    if high < bounds[0] or low > bounds[1]:
        level = "alarm"
    return Calibration(
        name=name,
        rows=len(y),
        positives=found.positives,
        ratio=ratio,
        low=low,
        high=high,
        level=level,
        words=f"predicted {ratio:.3f} times what happened ({low:.3f} to {high:.3f}){few}",
    )


def _without_events(name: str, rows: int, expected: float) -> Calibration:
    """An alarm where so many events were predicted that none at all is no chance: tracking broke, or the model did.

    Args:
        name: of the model. rows: how many. expected: events predicted for them, each row counted once.
    """
    silent = expected > -math.log(NO_EVENT_CHANCE)
    words = f"no event, where {expected:,.1f} were predicted" if silent else "no event to tell by"
    level: Level = "alarm" if silent else "ok"
    none: dict[str, None] = {"ratio": None, "low": None, "high": None}
    return Calibration(name=name, rows=rows, positives=0, level=level, words=words, **none)


# -- one feature ------------------------------------------------------------------------------------------------


class _Judge:
    """Limits for a report of `tests` statistics."""

    def __init__(self, bounds: Bounds, tests: int) -> None:
        self._bounds = bounds
        self._alpha = ALPHA / max(tests, 1)

    def numbers(self, name: str, reference: Floats, fresh: Floats, *, mild: bool = False) -> Shift:
        known = reference[~np.isnan(reference)], fresh[~np.isnan(fresh)]
        counts = number_bins(reference, fresh)
        distance, most = ks(*known), ks_limit(len(known[0]), len(known[1]), self._alpha)
        return self._shift(name, "numeric", counts, mild=mild, distance=(distance, most))

    def categories(
        self, name: str, reference: Sequence[object], fresh: Sequence[object], *, mild: bool = False
    ) -> Shift:
        tallies = [Counter(value for value in part if isinstance(value, str)) for part in (reference, fresh)]
        missing = len(reference) - tallies[0].total(), len(fresh) - tallies[1].total()
        counts = text_bins(tallies[0], tallies[1], missing)
        return self._shift(name, "categorical", counts, mild=mild)

    def _shift(
        self,
        name: str,
        kind: str,
        counts: tuple[Floats, Floats],
        *,
        mild: bool,
        distance: tuple[float, float] | None = None,
    ) -> Shift:
        """`counts` are those of reference and fresh rows by bin, the last bin that of missing values."""
        n, m = (int(part.sum()) for part in counts)
        found = psi_of_bins(*counts)
        chance = psi_limit(int(np.count_nonzero(counts[0] + counts[1])), n, m, self._alpha)
        limit = max(self._bounds.psi, chance)
        far, far_limit = (distance[0], max(self._bounds.ks, distance[1])) if distance else (None, None)
        words, level = [], "ok"
        for measure, value, most, least, by_chance in (
            ("PSI", found, limit, PSI_NOTICE, chance),
            ("KS", far, far_limit, KS_NOTICE, distance[1] if distance else 0.0),
        ):
            if value is None or most is None or value <= max(least, by_chance):
                continue
            words.append(f"{measure} {value:.3f}, alarm above {most:.3f}")
            level = "alarm" if value > most or level == "alarm" else "notice"
        if level == "alarm" and mild:
            level = "notice"
        missing = tuple(float(part[-1] / part.sum()) if part.sum() else 0.0 for part in counts)
        return Shift(
            name=name,
            kind=kind,
            judged=not mild,
            psi=found,
            psi_limit=limit,
            ks=far,
            ks_limit=far_limit,
            missing=(missing[0], missing[1]),
            level=level,  # type: ignore[arg-type]
            words="; ".join(words) or "as before",
        )


# -- a report ---------------------------------------------------------------------------------------------------


def drift_of(
    scorer: Scorer, reference: TrainingTable, fresh: TrainingTable, bounds: Bounds | None = None
) -> DriftReport:
    """Compares the features and predictions of fresh rows with those of a reference.

    Features that the campaigns bring, and those of the calendar, are a notice at most: advertisers come and go, and
    any two spans of time differ in their hours. Segments are compared one by one, as having it or not.

    Raises:
        TableError: a table lacks a column of the model.
    """
    bounds = bounds or Bounds()
    spec = scorer.bundle.spec
    judge = _Judge(bounds, 2 * (len(spec) + 2))
    found = [scorer.probabilities(spec.encode_table(table.columns)) for table in (reference, fresh)]
    return DriftReport(
        rows=(len(reference), len(fresh)),
        windows_ns=(_window(reference), _window(fresh)),
        features=tuple(_features(judge, spec, reference, fresh)),
        predictions=tuple(
            judge.numbers(f"prediction {name}", found[0][:, place], found[1][:, place])
            for place, name in enumerate(MODEL_NAMES)
        ),
        calibration=tuple(calibrations(fresh, found[1], bounds.calibration, horizon_of(scorer.bundle))),
    )


def calibrations(
    table: TrainingTable, probabilities: Floats, bounds: tuple[float, float], horizon_ns: int = 0
) -> list[Calibration]:
    """Calibration of each model on the rows of a table whose label is known.

    Args:
        table: N rows. probabilities: float64[N, models]. bounds: where it is an alarm, see `Bounds`.
        horizon_ns: as `labels_of`.
    """
    found = []
    weights, clusters = weights_of(table), clusters_in(table.extras, len(table))
    for place, name in enumerate(MODEL_NAMES):
        rows, y = labels_of(table, name, horizon_ns)
        found.append(
            calibration_of(
                f"calibration {name}",
                y,
                probabilities[rows, place],
                weights[rows] if weights is not None else None,
                bounds,
                clusters[rows],
            )
        )
    return found


def labels_of(table: TrainingTable, name: str, horizon_ns: int = 0) -> tuple[NDArray[np.int64], Floats]:
    """Rows on which a model can be judged, and their labels: impressions, or clicks whose conversion is known.

    Args:
        table: the rows. name: of the model. horizon_ns: how long a click must have been watched, see `models.ripe`.
    """
    if name == "ctr":
        rows = np.flatnonzero(~np.isnan(table.click))
        return rows, table.click[rows]
    rows = np.flatnonzero((table.click > 0) & ~np.isnan(table.conversion) & settled(table, horizon_ns))
    return rows, table.conversion[rows]


def weights_of(table: TrainingTable) -> Floats | None:
    """How many rows each row stands for, where the table says so."""
    found = table.extras.get("weight")
    return np.asarray(found, dtype=np.float64) if found is not None else None


def _window(table: TrainingTable) -> tuple[int, int]:
    return (int(table.at_ns[0]), int(table.at_ns[-1])) if len(table) else (0, 0)


def _features(
    judge: _Judge, spec: FeatureSpec, reference: TrainingTable, fresh: TrainingTable
) -> Iterable[Shift]:
    for feature in spec.features:
        mild = feature.side == "campaign" or feature.name in CALENDAR
        if feature.name.startswith(SEGMENT_PREFIX):
            segment = feature.name.removeprefix(SEGMENT_PREFIX)
            sides = [_has(table.columns, segment) for table in (reference, fresh)]
            yield judge.categories(feature.name, *sides, mild=mild)
        elif feature.kind == "categorical":
            sides = [list(table.columns[feature.name]) for table in (reference, fresh)]
            yield judge.categories(feature.name, *sides, mild=mild)
        else:
            numbers = [np.asarray(table.columns[feature.name], np.float64) for table in (reference, fresh)]
            yield judge.numbers(feature.name, *numbers, mild=mild)


def _has(columns: Mapping[str, Sequence[object] | Floats], segment: str) -> list[object]:
    return ["yes" if segment in segments_of(ids) else "no" for ids in columns[SEGMENTS_COLUMN]]
