"""The floor of a decision: reading a request whole and scoring its candidates, and nothing else.

No bidder that reads what ours reads and scores what ours scores can be cheaper; what ours costs above it is the
price of all other rules: privacy, traffic, targeting, caps, budgets, tokens, response, log.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.sample import Sample, Scored
from benchmarks.typed import decode_typed
from bidder.core.scoring import Model
from models.kernels import and_rows, calibrated, feature_row, raw_score, raw_score_pair


@njit(cache=True)
def score_batch(
    codes, starts, lines, converting, features, kind, first_row, thr_start, thresholds, cat_start, category_rows,
    masks, leaf_values, tree_start, knots_start, knots_raw, knots_probability, line_masks, out,
):  # fmt: skip
    """Probabilities of all candidates of a batch, model by model, as the engine's kernel makes them.

    Args:
        codes: float64[opportunities, request features]. starts: int64[opportunities + 1], into `lines`.
        lines: int64[candidates]. converting: bool[line items], those that want the conversion model too.
        features to line_masks: see `bidder.core.kernels.decide_rows`. out: float64[candidates].
    """
    rows = np.empty(features.shape[0], dtype=np.int64)
    left = np.empty(masks.shape[1], dtype=np.uint64)
    for r in range(codes.shape[0]):
        for k in range(features.shape[0]):
            rows[k] = feature_row(
                codes[r, k], features[k], kind, first_row, thr_start, thresholds, cat_start, category_rows
            )
        and_rows(masks, rows, features.shape[0], left)
        for place in range(starts[r], starts[r + 1]):
            own = line_masks[lines[place]]
            if converting[lines[place]]:
                raw, second = raw_score_pair(
                    left, own, leaf_values, tree_start[0], tree_start[1], tree_start[2]
                )
                out[place] = calibrated(second, knots_raw, knots_probability, knots_start[1], knots_start[2])
            else:
                raw = raw_score(left, own, leaf_values, tree_start[0], tree_start[1])
                out[place] = 1.0
            out[place] *= calibrated(raw, knots_raw, knots_probability, knots_start[0], knots_start[1])


class Columns(NamedTuple):
    """Candidates of a batch as `score_batch` reads them."""

    codes: NDArray[np.float64]
    starts: NDArray[np.int64]
    lines: NDArray[np.int64]


class Floor:
    """Decodes and scores batches of a sample.

    Args:
        sample: requests with their candidates. model: compiled. line_masks: uint64[line items, trees].
        converting: bool[line items], those that want the conversion model too.
    """

    def __init__(
        self, sample: Sample, model: Model, line_masks: NDArray[np.uint64], converting: NDArray[np.bool_]
    ) -> None:
        self._sample = sample
        self._features = model.encoder.indices
        self._line_masks = line_masks
        self._converting = converting
        table = model.table
        self._model = (
            table.feature_kind, table.first_row, table.thr_start, table.thresholds, table.cat_start,
            table.category_rows, table.masks, table.leaf_values, table.tree_start, table.knots_start, table.knots_raw,
            table.knots_probability,
        )  # fmt: skip

    def prepare(self, first: int, size: int, lines: NDArray[np.int64] | None = None) -> Columns:
        """A batch's candidates in columns, which is no part of what is timed; `lines` stands for each one's own."""
        found = [one for each in self._sample.requests[first : first + size] for one in each]
        if lines is not None:
            found = [Scored(one.codes, lines) for one in found]
        return columns_of(found, len(self._features))

    def decode(self, first: int, size: int) -> None:
        """Reads a batch."""
        for body in self._sample.bodies[first : first + size]:
            decode_typed(body)

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Probabilities of a batch that was prepared, float64[candidates]."""
        out = np.empty(len(columns.lines))
        score_batch(*columns, self._converting, self._features, *self._model, self._line_masks, out)
        return out


def columns_of(found: Sequence[Scored], width: int) -> Columns:
    """Opportunities as codes, starts and lines of `score_batch`."""
    codes = np.array([one.codes for one in found], dtype=np.float64).reshape(-1, width)
    starts = np.cumsum([0, *(len(one.lines) for one in found)], dtype=np.int64)
    return Columns(
        codes, starts, np.concatenate([one.lines for one in found] or [np.zeros(0, dtype=np.int64)])
    )
