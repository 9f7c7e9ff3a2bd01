"""A loaded bundle that scores, after it has shown that it scores as LightGBM does.

On loading, rows are made that sit where a compiled tree could go wrong: at every threshold, one step of a
double to either side of it, at missing, zero, tiny, huge and infinite values, at known, unseen, negative and
fractional categories; a third of them are steered into leaves that chance would seldom reach. Leaf by leaf
and bit by bit the table must agree with LightGBM on all of them, or the bundle is refused.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models import kernels
from models.artifact import MODEL_NAMES, ModelBundle
from models.compile import CATEGORICAL, NUMERIC, ZERO_THRESHOLD, LeafMaskTable, compile_bundle, compile_value
from models.errors import ArtifactError, MismatchError
from models.native import NativeModels
from models.trees import CATEGORICAL_BIT, Tree, parse_forest

Floats = NDArray[np.float64]

CHECK_ROWS = 2000
_ODD_NUMBERS = (np.nan, 0.0, -0.0, 1.0, -1.0, ZERO_THRESHOLD, -ZERO_THRESHOLD, 1e-40, 1e300, np.inf, -np.inf)
_ODD_CODES = (np.nan, 0.0, -1.0, -0.5, 0.5, 1e6, 3e9, -3e9, np.inf, -np.inf)


class Scorer:
    """Scores whole rows; the bidder uses `table` with the kernels, side by side.

    Attributes:
        bundle: what was loaded.
        table: its compiled form.
    """

    def __init__(self, bundle: ModelBundle, *, check_rows: int = CHECK_ROWS) -> None:
        """Compiles a bundle and checks the result against LightGBM.

        Args:
            bundle: as `artifact.load_bundle` gives it.
            check_rows: how many rows to compare; more also covers every value at more partners.

        Raises:
            ArtifactError: a model is of a kind that we cannot score.
            MismatchError: the check found a difference.
        """
        self.bundle = bundle
        self.table = compile_bundle(bundle)
        check_table(self.table, [bundle.texts[name] for name in MODEL_NAMES], rows=check_rows)
        if bundle.value is not None:  # the bidder compiles it too
            check_table(compile_value(bundle.value, len(bundle.spec)), bundle.value.texts, rows=check_rows)

    def score_rows(self, values: Floats) -> Floats:
        """Raw scores, equal to LightGBM's to the last bit.

        Args:
            values: float64[N, F], columns in the order of the spec.

        Returns:
            float64[N, M], models in the order of `artifact.MODEL_NAMES`.
        """
        return score_rows(self.table, values)

    def probabilities(self, values: Floats) -> Floats:
        """Calibrated probabilities float64[N, M] of rows float64[N, F]."""
        raw = self.score_rows(values)
        out = np.empty_like(raw)
        table = self.table
        kernels.calibrate_rows(raw, table.knots_start, table.knots_raw, table.knots_probability, out)
        return out


class RowScorer:
    """Raw scores of whole rows by one table; what a call needs is laid out once.

    Args:
        table: any compiled table.
    """

    def __init__(self, table: LeafMaskTable) -> None:
        self._features, self._models = table.n_features, table.n_models
        # Every array of a call costs a tenth of a microsecond, as much as scoring a row: so there are few.
        self._arrays = (
            table.bins(), table.thresholds, table.category_rows, table.masks, table.leaf_values, table.tree_start,
        )  # fmt: skip

    def __call__(self, values: Floats) -> Floats:
        """Raw scores float64[N, M] of rows float64[N, F].

        Raises:
            ValueError: `values` has another number of columns than the table has features.
        """
        values = np.ascontiguousarray(values, np.float64)
        shape = values.shape
        if len(shape) != 2 or shape[1] != self._features:
            raise ValueError(f"values must be of shape (rows, {self._features}), was {shape}")
        out = np.empty((shape[0], self._models))
        kernels.score_rows(values, *self._arrays, out)
        return out


def score_rows(table: LeafMaskTable, values: Floats) -> Floats:
    """Raw scores float64[N, M] of rows float64[N, F], as `RowScorer` gives them."""
    return RowScorer(table)(values)


def leaves(table: LeafMaskTable, values: Floats) -> NDArray[np.int32]:
    """int32[N, T]: the leaf of each tree, -1 where the table does not leave exactly one possible."""
    out = np.empty((len(values), table.n_trees), dtype=np.int32)
    kernels.leaf_rows(
        values,
        table.masks,
        table.feature_kind,
        table.first_row,
        table.thr_start,
        table.thresholds,
        table.cat_start,
        table.category_rows,
        out,
    )
    return out


def check_table(table: LeafMaskTable, model_texts: Sequence[str], *, rows: int = CHECK_ROWS) -> None:
    """Compares a table with LightGBM's own predictions on the rows of `check_values`.

    Raises:
        ArtifactError: LightGBM does not read a model.
        MismatchError: a leaf or a bit of a score differs; the model, the row and both values are named.
    """
    import lightgbm as lgb

    values = check_values(table, model_texts, rows)
    ours, our_leaves = score_rows(table, values), leaves(table, values)
    for m, text in enumerate(model_texts):
        try:
            booster = lgb.Booster(model_str=text)
            theirs = np.asarray(booster.predict(values, raw_score=True, num_threads=1), dtype=np.float64)
            their_leaves = np.asarray(booster.predict(values, pred_leaf=True, num_threads=1))
        except lgb.basic.LightGBMError as error:
            raise ArtifactError(
                f"model {m} must be one that LightGBM reads, is not ({error}): train the model again"
            ) from error
        mine = our_leaves[:, table.tree_start[m] : table.tree_start[m + 1]]
        wrong = (ours[:, m].view(np.int64) != theirs.view(np.int64)) | (
            mine != their_leaves.reshape(mine.shape)
        ).any(axis=1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise MismatchError(
                f"compiled model {m} must equal LightGBM on all {len(values)} check rows, differed on "
                f"{int(wrong.sum())}, first {ours[row, m]!r} for {theirs[row]!r} at row {row}: "
                f"this model cannot be scored exactly; please report it with the model file"
            )


def check_native(table: LeafMaskTable, model_texts: Sequence[str], *, rows: int = CHECK_ROWS) -> NativeModels:
    """LightGBM's own models for the kernel, after their call has shown the same bits as `Booster.predict`.

    Raises:
        ArtifactError: LightGBM disagrees with itself, or refuses a model.
    """
    import lightgbm as lgb

    native = NativeModels(model_texts, table.n_features)
    values = check_values(table, model_texts, rows)
    ours = native.score_rows(values)
    for m, text in enumerate(model_texts):
        theirs = np.asarray(lgb.Booster(model_str=text).predict(values, raw_score=True, num_threads=1))
        wrong = np.flatnonzero(ours[:, m].view(np.int64) != theirs.view(np.int64))
        if len(wrong):
            raise ArtifactError(
                f"model {m} must have one score by both calls of LightGBM, had {ours[wrong[0], m]!r} and "
                f"{theirs[wrong[0]]!r} at check row {wrong[0]}: install another version of LightGBM"
            )
    return native


def check_values(table: LeafMaskTable, model_texts: Sequence[str], rows: int) -> Floats:
    """float64[rows, F] of values at and around all that the models split on; the same for the same models."""
    random = np.random.default_rng(20140824)
    out = np.empty((rows, table.n_features))
    trees = [tree for text in model_texts for tree in parse_forest(text).trees if tree.feature]
    with np.errstate(all="ignore"):  # a step above the largest double is infinite, as it should be
        for feature in range(table.n_features):
            out[:, feature] = random.permutation(np.resize(_pool(table, feature), rows))
        for row in range(0, rows if trees else 0, 3):
            _steer(out[row], trees[int(random.integers(len(trees)))], random)
    return out


def _pool(table: LeafMaskTable, feature: int) -> Floats:
    """Every threshold, a step below and a step above; every code; and what is odd."""
    kind = table.feature_kind[feature]
    if kind == NUMERIC:
        cuts = table.thresholds[table.thr_start[feature] : table.thr_start[feature + 1]]
        near = [cuts, np.nextafter(cuts, -np.inf), np.nextafter(cuts, np.inf)]
        return np.concatenate([*near, _ODD_NUMBERS])
    if kind == CATEGORICAL:
        codes = int(table.cat_start[feature + 1] - table.cat_start[feature])
        return np.concatenate([np.arange(codes + 2, dtype=np.float64), _ODD_CODES])
    return np.array([*_ODD_NUMBERS, 7.0])


def _steer(row: Floats, tree: Tree, random: np.random.Generator) -> None:
    """Walks down a tree and sets the value of each split to go a random way, latest split last."""
    node = 0
    while node >= 0:
        left = bool(random.random() < 0.5)
        feature, threshold = tree.feature[node], tree.threshold[node]
        if tree.decision[node] & CATEGORICAL_BIT:
            codes = tree.categories[node]
            if left and len(codes):
                row[feature] = codes[int(random.integers(len(codes)))]
        else:
            row[feature] = threshold if left else np.nextafter(threshold, np.inf)
        node = tree.left[node] if left else tree.right[node]
