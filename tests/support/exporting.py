"""What an engine scored, caught as it scored it, and exported tables to hold against it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from bidder.core.batch import Batch, Opportunity
from bidder.core.token import bid_id_text
from models.dataset import TrainingTable, table_from_arrow
from models.schema import Declaration, FeatureSpec
from simulator.export.columns import FEATURES
from simulator.export.rows import SCHEMA

DECLARATIONS = (
    *(
        Declaration(name, "numeric" if name in ("floor_cpm", "segment_count") else "categorical")
        for name in FEATURES.names[:14]
    ),
    Declaration("segments", "segments"),
    *(Declaration(name, "categorical", "campaign") for name in ("campaign", "advertiser", "line_item")),
)
"""All that a model may use."""


@contextmanager
def caught() -> Iterator[dict[str, bytes]]:
    """By bid id, the bytes of the request-side features of every opportunity that an engine scores within."""
    found: dict[str, bytes] = {}
    add = Batch.add

    def catching(self: Batch, pending: Opportunity, hour: int, pod_first: int) -> None:
        add(self, pending, hour, pod_first)
        if self._encoder is not None:
            found[bid_id_text(pending.bid_id)] = self._values[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "add", catching)
        yield found


def as_table(rows: Sequence[Sequence[object]]) -> TrainingTable:
    """Exported rows as the models package reads them."""
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    arrow = pa.Table.from_arrays(arrays, schema=SCHEMA)
    return table_from_arrow(arrow, DECLARATIONS, source="exported", lost=True)


def differing(
    table: TrainingTable, spec: FeatureSpec, indices: NDArray[np.int32], served: dict[str, bytes]
) -> list[str]:
    """`bid id: feature` wherever a value of the table is not bit by bit what the engine was served."""
    encoded = spec.encode_table(table.columns)[:, indices]
    found = []
    for bid_id, row in zip(table.extras["bid_id"], encoded, strict=True):
        own = np.frombuffer(served[str(bid_id)], dtype=np.float64)
        places = np.flatnonzero(row.view(np.int64) != own.view(np.int64))
        found += [f"{bid_id}: {spec.names[indices[place]]}" for place in places]
    return found
