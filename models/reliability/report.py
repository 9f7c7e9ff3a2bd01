"""How right the models of a bundle are on a table: overall, by price, bid and prediction, weighted or not."""

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.clusters import Clusters, clusters_in
from models.dataset import TrainingTable
from models.errors import TableError
from models.landscape.curves import Landscape
from models.reliability.ratios import Ratio, Tenth, by_tenths, ratio_of
from models.reliability.won import WonFacts, won_weights
from models.ripe import settled

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

PRICE, BID, PREDICTION = "price", "bid", "prediction"


class ModelReliability(msgspec.Struct, frozen=True, kw_only=True):
    """One model.

    Attributes:
        name: `ctr` (rows that were won) or `cvr` (clicks whose conversion is known).
        overall: of all its rows. weighted: as if all that was bid on had been won; None without weights.
        won: what the weights did; None without.
        tenths: by `price` paid, by `bid` and by `prediction`, where the table tells them.
    """

    name: str
    overall: Ratio
    weighted: Ratio | None
    won: WonFacts | None
    tenths: dict[str, tuple[Tenth, ...]]


class Sample(msgspec.Struct, frozen=True):
    """Rows that one model is judged by.

    Attributes:
        rows: int64[N], places in the table.
        labels: float64[N] of 0.0 and 1.0.
        sampling: float64[N], how many rows each stands for; None is one each.
        clusters: int32[N], which rows belong together.
    """

    rows: Rows
    labels: Floats
    sampling: Floats | None
    clusters: Clusters

    def part(self, begin: int, end: int) -> "Sample":
        """Rows begin..end-1."""
        sampling = None if self.sampling is None else self.sampling[begin:end]
        return Sample(self.rows[begin:end], self.labels[begin:end], sampling, self.clusters[begin:end])


def samples_of(table: TrainingTable, horizon_ns: int = 0) -> dict[str, Sample]:
    """The rows of each model, in the order of time.

    Args:
        table: the rows. horizon_ns: how long a click must have been watched, see `models.ripe`.

    Raises:
        TableError: no row was won.
    """
    won = _extra(table, "won")
    shown = np.ones(len(table), dtype=np.bool_) if won is None else won > 0
    if not shown.any():
        raise TableError(f"table {table.source} must have won rows, all have won = 0")
    known = shown & (table.click > 0) & ~np.isnan(table.conversion) & settled(table, horizon_ns)
    weight, clusters = _extra(table, "weight"), clusters_in(table.extras, len(table))
    found = {}
    for name, mask, labels in (("ctr", shown, table.click), ("cvr", known, table.conversion)):
        rows = np.flatnonzero(mask)
        found[name] = Sample(rows, labels[rows], None if weight is None else weight[rows], clusters[rows])
    return found


def chances_of(table: TrainingTable, landscape: Landscape) -> Floats:
    """float64[N]: P(win | bid) of every row of a table by a landscape.

    Raises:
        TableError: a column is missing.
    """
    bid = _extra(table, "bid_cpm_micros")
    if bid is None:
        raise TableError(f"table {table.source} must have the column bid_cpm_micros: export the run again")
    places = landscape.strata.encode(table, np.arange(len(table)))
    return landscape.win_probability(bid, places)


def reliability(
    name: str, table: TrainingTable, sample: Sample, p: Floats, chances: Floats | None, clip: float
) -> ModelReliability:
    """How right one model is on its rows.

    Args:
        name: of the model. table: that the rows are of.
        sample: its rows and labels. p: float64[N] probabilities of these rows.
        chances: float64[table], P(win | bid), for the weights; None for none.
        clip: largest weight of a won row.
    """
    won, winning = None, None
    if chances is not None:
        winning, won = won_weights(chances[sample.rows], clip)
        winning = winning if sample.sampling is None else winning * sample.sampling
    values: Mapping[str, Floats | None] = {
        PRICE: _extra(table, "price_cpm_micros"),
        BID: _extra(table, "bid_cpm_micros"),
    }
    by = {key: value[sample.rows] for key, value in values.items() if value is not None} | {PREDICTION: p}
    return ModelReliability(
        name=name,
        overall=ratio_of(p, sample.labels, sample.sampling, sample.clusters),
        weighted=None if winning is None else ratio_of(p, sample.labels, winning, sample.clusters),
        won=won,
        tenths={
            key: tenths
            for key, value in by.items()
            if (tenths := by_tenths(value, p, sample.labels, sample.sampling, winning, sample.clusters))
        },
    )


def price_of(table: TrainingTable, sample: Sample) -> Floats | None:
    """float64[N]: what each row of a sample cost, NaN where not known; None where the table does not say."""
    price = _extra(table, "price_cpm_micros")
    return None if price is None else price[sample.rows]


def _extra(table: TrainingTable, name: str) -> Floats | None:
    found = table.extras.get(name)
    return None if found is None else np.asarray(found, dtype=np.float64)
