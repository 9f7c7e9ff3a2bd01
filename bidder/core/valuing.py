"""The value of a conversion: the model of it as the decision kernel reads it, and counts of what it said.

A line item whose `value_source` is the model is valued by it, opportunity by opportunity, within the bounds that the
line item states. What the model does not know (it is not there, or gives no number) is worth what the line item
states; each prediction is counted by what became of it, so that a model that is held by the bounds is seen.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.lines import Line
from bidder.core.table import LineTable
from bidder.core.value_kernels import V_COLUMNS
from models.compile import LeafMaskTable
from models.kernels import B_FEATURE

Bits = NDArray[np.uint64]
Floats = NDArray[np.float64]


class ValueForest(NamedTuple):
    """A compiled model of value.

    Attributes:
        table: its trees, and those of P(value > 0) where it has them, as `compile_value` makes them.
        scale_nanos: what the exponential of the sum is times.
    """

    table: LeafMaskTable
    scale_nanos: float


class ValueArrays(NamedTuple):
    """What `decide_rows` needs of a model of value, in its order; all empty where there is none.

    Attributes:
        bins: int32[u, 5], features of requests that some split asks for, by place in a row of values.
        thresholds to knots_probability: see `LeafMaskTable`; `masks` are always uint64.
        scale: nanos.
    """

    bins: NDArray[np.int32]
    thresholds: Floats
    category_rows: NDArray[np.int32]
    masks: Bits
    leaf_values: Floats
    tree_start: NDArray[np.int32]
    knots_raw: Floats
    knots_probability: Floats
    scale: float

    @classmethod
    def of(cls, forest: ValueForest | None, request_features: NDArray[np.int32]) -> "ValueArrays":
        """Of a model, or of none; `request_features`: the place of each value of a request in the spec."""
        if forest is None:
            none, zero = np.zeros(0, dtype=np.float64), np.zeros(1, dtype=np.int32)
            bits = np.zeros((1, 0), dtype=np.uint64)
            return cls(
                np.zeros((0, 5), dtype=np.int32), none, zero, bits, np.zeros((0, 32)), zero, none, none, 0.0
            )
        table = forest.table
        places = {int(feature): place for place, feature in enumerate(request_features)}
        rows = [row for row in table.bins().tolist() if row[B_FEATURE] in places]
        for row in rows:
            row[B_FEATURE] = places[row[B_FEATURE]]
        bins = np.array(rows, dtype=np.int32).reshape(-1, 5)
        return cls(
            bins, table.thresholds, table.category_rows, table.masks.astype(np.uint64), table.leaf_values,
            table.tree_start, table.knots_raw, table.knots_probability, forest.scale_nanos,
        )  # fmt: skip


_Ints = NDArray[np.int32]
_InOrder = tuple[
    _Ints, Floats, _Ints, Bits, Floats, _Ints, Floats, Floats, float, Bits, Bits, NDArray[np.int64]
]  # fmt: skip


class ValueInputs(NamedTuple):
    """All that is known of the value of a conversion.

    Attributes:
        model: what is of the model alone. line_values: uint64[lines, trees], see `Model.line_values`.
        mask: uint64[trees], scratch. counts: int64[lines, V_COLUMNS], raised by the kernel.
    """

    model: ValueArrays
    line_values: Bits
    mask: Bits
    counts: NDArray[np.int64]

    def in_order(self) -> "_InOrder":
        """As `decide_rows` takes them."""
        return *self.model, self.line_values, self.mask, self.counts


class ValueCounts(NamedTuple):
    """What became of one line item's predictions, by V_ column."""

    model: int
    raised: int
    lowered: int
    stated: int


OUTCOMES = ValueCounts._fields
"""What became of predictions, by V_ column, as metrics call it."""
assert len(OUTCOMES) == V_COLUMNS, "what the kernel counts and what is told of it"


class ValueBook:
    """Predictions of the current table's line items, and how they ended.

    Attributes:
        counts: int64[lines, V_COLUMNS], raised by the kernel.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((0, V_COLUMNS), dtype=np.int64)
        self._ids: tuple[str, ...] = ()
        self._gone: dict[str, NDArray[np.int64]] = {}
        self.use(ValueArrays.of(None, np.zeros(0, dtype=np.int32)))

    @property
    def known(self) -> bool:
        """Whether there is a model of value."""
        return len(self._model.tree_start) > 1

    def use(self, arrays: ValueArrays) -> None:
        """Goes on with another model, or with none."""
        self._model = arrays
        self._mask: Bits = np.zeros(arrays.masks.shape[1], dtype=np.uint64)

    def install(self, table: LineTable, line_values: Bits) -> None:
        """Goes on with another table; counts of line items that stay, or come back, go on.

        Args:
            table: the line items. line_values: uint64[lines, trees], see `Model.line_values`.
        """
        asked = np.flatnonzero(self.counts.any(axis=1)).tolist()
        self._gone |= {self._ids[row]: self.counts[row] for row in asked}
        self.counts = np.zeros((len(table), V_COLUMNS), dtype=np.int64)
        for line_id in [line_id for line_id in self._gone if line_id in table.index]:
            self.counts[table.index[line_id]] = self._gone.pop(line_id)
        self._ids, self._line_values = table.ids, line_values

    def arrays(self) -> ValueInputs:
        """What the kernels need of it."""
        return ValueInputs(self._model, self._line_values, self._mask, self.counts)

    def apart(self) -> ValueInputs:
        """The same for a run on the side, which counts nothing here."""
        return self.arrays()._replace(mask=self._mask.copy(), counts=np.zeros_like(self.counts))

    def totals(self) -> ValueCounts:
        """Of all line items since the start."""
        parts = [*self._gone.values(), *self.counts]
        return ValueCounts(
            *(np.sum(parts, axis=0) if parts else np.zeros(V_COLUMNS, dtype=np.int64)).tolist()
        )


def wanting(lines: Iterable[Line]) -> list[str]:
    """Ids of line items whose conversions are worth what the model says."""
    return [line.id for line in lines if line.most_value_nanos]
