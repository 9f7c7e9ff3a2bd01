"""Which rows of a table a bundle is judged by, and what the bundle says of them.

A model looks best on the rows it learned from. So each judgement says how many rows lie in the training window, and
`held_out` leaves only rows that can not have taught it, see `models.unseen`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.artifact import CTR, CVR, ModelBundle
from models.clusters import Clusters, clusters_of, users_in
from models.dataset import TrainingTable, read_table
from models.errors import ArtifactError, TableError
from models.evaluation.intervals import Sample, sample_of
from models.evaluation.slicing import Floats
from models.extras import NUMBERS, TEXTS, TIMES, UNKNOWN_NS
from models.ripe import horizon_of, settled
from models.schema import SEGMENT_PREFIX, SEGMENTS_COLUMN, Declaration, FeatureSpec
from models.scorer import Scorer
from models.unseen import first_unseen, is_brought, shown_rows

HOUR, DAY = "hour", "day"
_NS_PER_HOUR = 3_600 * 10**9


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to judge by, in the order of time.

    Attributes:
        table: with lost bids, where they were asked for.
        shown: bool[N], whether the row is an impression.
        settled: bool[N], whether its conversion is final by the horizon of every bundle.
        weights: float64[N] > 0.
        clusters: int32[N], see `models.clusters`. by_user: whether they are users.
        learned: impressions in the training window of any bundle, which it may have learned from.
        same_table: whether a bundle was trained on this very table.
        held_out: whether only rows that can not have taught are left.
        brought: whether it is not known when the trees of a bundle learned.
    """

    table: TrainingTable
    shown: NDArray[np.bool_]
    settled: NDArray[np.bool_]
    weights: Floats
    clusters: Clusters
    by_user: bool
    learned: int
    same_table: bool
    held_out: bool
    brought: bool

    def values(self, column: str) -> Sequence[object] | Floats:
        """A column to part the rows by.

        Raises:
            TableError: the table has no such column.
        """
        if column in self.table.columns:
            found = self.table.columns[column]
            return found if isinstance(found, np.ndarray) else _numbers_if(found)
        extra = self.table.extras.get(column)
        if isinstance(extra, np.ndarray):
            unknown = extra == UNKNOWN_NS if column in TIMES else np.zeros(len(extra), dtype=np.bool_)
            return np.where(unknown, np.nan, extra.astype(np.float64))
        if extra is not None:
            return extra
        if column in {HOUR, DAY}:
            return _time_parts(self.table.at_ns, column)
        has = ", ".join(dict.fromkeys((*self.table.columns, *self.table.extras, HOUR, DAY)))
        raise TableError(
            f"table {self.table.source} must have the column {column} to part it by, has {has}: name one of these"
        )


def read_rows(
    path: Path,
    bundles: Sequence[ModelBundle],
    parted_by: Sequence[str],
    *,
    lost: bool = False,
    held_out: bool = False,
) -> Rows:
    """Reads the rows of a table that bundles are judged by.

    Args:
        path: `.parquet` or `.csv`, as `dataset.read_table` takes it.
        bundles: the table must have the features of each.
        parted_by: further columns to read.
        lost: keep lost bids, where the table has any.
        held_out: leave only rows that no bundle can have learned from.

    Raises:
        TableError: as `dataset.read_table`; a feature is missing; or no row is left, or is known to be held out.
        ArtifactError: two bundles read one column in different ways.
    """
    table = read_table(path, _declarations(bundles, parted_by), lost=lost)
    for bundle in bundles:
        _check_features(table, bundle)
    if held_out:
        table = _held_out(table, bundles)
    shown = shown_rows(table)
    inside = np.zeros(len(table), dtype=np.bool_)
    for bundle in bundles:
        first, last = bundle.manifest.window_ns
        inside |= (table.at_ns >= first) & (table.at_ns <= last)
    weight = table.extras.get("weight")
    users = users_in(table.extras)
    return Rows(
        table=table,
        shown=shown,
        settled=settled(table, horizon_of(*bundles)),
        weights=np.ones(len(table)) if weight is None else np.asarray(weight, dtype=np.float64),
        clusters=clusters_of(users, len(table)),
        by_user=users is not None,
        learned=0 if held_out else int((inside & shown).sum()),
        same_table=any(table.sha256 == bundle.manifest.table_sha256 for bundle in bundles),
        held_out=held_out,
        brought=any(map(is_brought, bundles)),
    )


def predictions(rows: Rows, bundle: ModelBundle) -> Floats:
    """float64[impressions, 2]: calibrated click and conversion probabilities of the rows that were shown."""
    columns = {name: chosen(values, rows.shown) for name, values in rows.table.columns.items()}
    return Scorer(bundle).probabilities(bundle.spec.encode_table(columns))


def samples_of(rows: Rows, probabilities: Floats) -> dict[str, tuple[NDArray[np.bool_], Sample]]:
    """For each model which impressions judge it, bool[impressions], and their labels and predictions.

    Clicks are judged on all impressions, conversions on clicks whose conversion is known.
    """
    click, conversion = rows.table.click[rows.shown], rows.table.conversion[rows.shown]
    weights, clusters = rows.weights[rows.shown], rows.clusters[rows.shown]
    known = (click > 0) & ~np.isnan(conversion) & rows.settled[rows.shown]
    every = np.ones(len(click), dtype=np.bool_)
    return {
        name: (chosen, sample_of(y[chosen], probabilities[chosen, model], weights[chosen], clusters[chosen]))
        for name, model, chosen, y in (("ctr", CTR, every, click), ("cvr", CVR, known, conversion))
    }


def unripe(rows: Rows) -> int:
    """Clicks without a conversion that were watched for too short a time to say that none will come.

    Too short is less than nine in ten of the table's conversions took from their click; 0 where times are not known.
    """
    names = ("click_at_ns", "conversion_at_ns", "observed_until_ns")
    found = [rows.table.extras.get(name) for name in names]
    if any(each is None for each in found):
        return 0
    clicked, converted, watched = (np.asarray(each, dtype=np.int64) for each in found)
    known = rows.shown & (rows.table.click > 0) & (clicked != UNKNOWN_NS)
    bought = known & (rows.table.conversion > 0) & (converted != UNKNOWN_NS)
    if not bought.any():
        return 0
    usual_ns = np.quantile((converted - clicked)[bought], 0.9)
    open_still = known & rows.settled & (rows.table.conversion == 0) & (watched != UNKNOWN_NS)
    return int((open_still & (watched - clicked < usual_ns)).sum())


def chosen(values: Sequence[object] | Floats, rows: NDArray[np.bool_]) -> Sequence[object] | Floats:
    """Some rows of a column."""
    return values[rows] if isinstance(values, np.ndarray) else list(compress(values, rows))


def _declarations(bundles: Sequence[ModelBundle], parted_by: Sequence[str]) -> list[Declaration]:
    """What to read. All are optional, so that what is missing can be named at once, with what to do."""
    out: dict[str, Declaration] = {}
    for bundle in bundles:
        for item in _features(bundle.spec):
            before = out.setdefault(item.name, item)
            if before.kind != item.kind:
                raise ArtifactError(
                    f"{bundle.path} must read the column {item.name} as the other model does, {before.kind}, "
                    f"reads it as {item.kind}: compare models of one set of feature declarations"
                )
    for name in parted_by:
        if name not in (*TEXTS, *TIMES, *NUMBERS):
            kind = "segments" if name == SEGMENTS_COLUMN else "categorical"
            out.setdefault(name, Declaration(name, kind, optional=True))  # type: ignore[arg-type]
    return list(out.values())


def _features(spec: FeatureSpec) -> list[Declaration]:
    plain = [feature for feature in spec.features if not feature.name.startswith(SEGMENT_PREFIX)]
    out = [Declaration(feature.name, feature.kind, optional=True) for feature in plain]
    if len(plain) < len(spec):
        out.append(Declaration(SEGMENTS_COLUMN, "segments", optional=True))
    return out


def _check_features(table: TrainingTable, bundle: ModelBundle) -> None:
    missing = [item.name for item in _features(bundle.spec) if item.name not in table.columns]
    if missing:
        raise TableError(
            f"table {table.source} must have the features of {bundle.path}, lacks {', '.join(missing)}: "
            f"export it with the columns that the model was trained on, or name a model trained on its columns"
        )


def _held_out(table: TrainingTable, bundles: Sequence[ModelBundle]) -> TrainingTable:
    begin = max(first_unseen(table, bundle) for bundle in bundles)
    if begin >= len(table):
        latest = max(bundle.manifest.window_ns[1] for bundle in bundles)
        raise TableError(
            f"table {table.source} must have rows that the model can not have learned from, its last is of "
            f"{int(table.at_ns[-1])} ns and the training window ends at {latest} ns: export later rows"
        )
    return table.slice(begin, len(table))


def _time_parts(at_ns: NDArray[np.int64], column: str) -> list[object]:
    """Hour of the day, or the day, of UTC."""
    if column == HOUR:
        return [str(hour) for hour in (at_ns // _NS_PER_HOUR % 24).tolist()]
    return [str(day) for day in at_ns.astype("datetime64[ns]").astype("datetime64[D]").tolist()]


def _numbers_if(values: Sequence[object]) -> Sequence[object] | Floats:
    """Numbers where every known value is a text that is no whole number but reads as one: bands suit them better.

    Whole numbers stay as they are: they are ids and hours more often than amounts.
    """
    texts = [value for value in values if isinstance(value, str)]
    if not texts or len(texts) < sum(value is not None for value in values):
        return values
    if all(text.removeprefix("-").isdecimal() for text in texts):
        return values
    try:
        return np.array([np.nan if value is None else float(str(value)) for value in values])
    except ValueError:
        return values
