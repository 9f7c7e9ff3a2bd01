"""LightGBM models -> one table of bitset rows, scored exactly.

For every feature the values fall into bins that no split of any tree tells apart. A *row* belongs to one
(feature, bin) and holds, for every tree, the set of leaves that the tree's splits on that feature leave
possible, one bit a leaf. The AND of the rows of all features has exactly one bit for each tree: the leaf in
which LightGBM ends. Rows of request features and rows of campaign features are AND-ed apart and joined last,
which is what makes one more candidate cheap. The idea is QuickScorer's (Lucchese et al., SIGIR 2015) with the
loop turned round.

Several models share one table: bins are cut by the thresholds of all of them, so a value is binned once.

What LightGBM does with a value, and what each bin stands for:

- a dense row loses values of at most 1e-35f in size: they are 0.0 before any split sees them;
- NaN is 0.0 at a numeric split, unless its missing type is NaN: then it goes the split's default way;
- zero goes the default way at a numeric split whose missing type is zero;
- a categorical value is cut to an integer; NaN, negative and unseen ones go right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError
from models.kernels import Masks
from models.trees import (
    CATEGORICAL_BIT,
    DEFAULT_LEFT_BIT,
    MAX_LEAVES,
    MISSING_NAN,
    MISSING_ZERO,
    Forest,
    Tree,
    parse_forest,
)

if TYPE_CHECKING:
    from models.artifact import ModelBundle
    from models.value import ValueModel

NUMERIC, CATEGORICAL, UNUSED = 0, 1, 2
HALF_LEAVES = 32
"""Leaves of a tree up to which half a word is enough."""

# LightGBM's kZeroThreshold: a float literal held in a double.
ZERO_THRESHOLD = float(np.float32(1e-35))
_BELOW_ZERO = float(np.nextafter(-ZERO_THRESHOLD, -np.inf))

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LeafMaskTable:
    """All that the kernels read, C-contiguous; F features, T trees of M models one after the other.

    Attributes:
        masks: uint32[R, T], uint64 where a tree has more than 32 leaves; bit l of [r, t] = leaf l of tree t is
            still possible; none beyond its leaves.
        leaf_values: float64[T, 32 or 64], by LightGBM's leaf number; 0.0 beyond the tree's leaves.
        feature_kind: uint8[F], `NUMERIC`, `CATEGORICAL` or `UNUSED` (no split asks for it).
        first_row: int32[F], row of the feature's first bin; the row of all that is unknown, if categorical.
        thr_start: int32[F+1], where the feature's thresholds begin.
        thresholds: float64[], ascending for each feature; bin i is (thresholds[i-1], thresholds[i]], one more
            bin is above the last, and the row after that is for NaN.
        cat_start: int32[F+1], where the feature's codes begin.
        category_rows: int32[], code -> row.
        tree_start: int32[M+1], where the model's trees begin.
        knots_start: int32[M+1], where the model's calibration begins; nothing between two starts: none.
        knots_raw: float64[], ascending raw scores.
        knots_probability: float64[], their probabilities.
    """

    masks: Masks
    leaf_values: NDArray[np.float64]
    feature_kind: NDArray[np.uint8]
    first_row: NDArray[np.int32]
    thr_start: NDArray[np.int32]
    thresholds: NDArray[np.float64]
    cat_start: NDArray[np.int32]
    category_rows: NDArray[np.int32]
    tree_start: NDArray[np.int32]
    knots_start: NDArray[np.int32]
    knots_raw: NDArray[np.float64]
    knots_probability: NDArray[np.float64]

    def bins(self) -> NDArray[np.int32]:
        """int32[used features, 5], by the B_ columns of `models.kernels`: the features that some split asks for."""
        used = np.flatnonzero(self.feature_kind != UNUSED)
        is_categorical = self.feature_kind[used] == CATEGORICAL
        starts = np.where(is_categorical, self.cat_start[used], self.thr_start[used])
        ends = np.where(is_categorical, self.cat_start[used + 1], self.thr_start[used + 1])
        columns = (used, is_categorical, self.first_row[used], starts, ends - starts)
        return np.ascontiguousarray(np.stack(columns, axis=1).astype(np.int32))

    @property
    def n_features(self) -> int:
        """Columns of the matrix that is scored."""
        return len(self.feature_kind)

    @property
    def n_models(self) -> int:
        """Models in the table."""
        return len(self.tree_start) - 1

    @property
    def n_trees(self) -> int:
        """Trees of all models together."""
        return len(self.leaf_values)


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bins of one feature; a numeric one has a value that stands for each row, the last is NaN."""

    kind: int
    n_rows: int
    thresholds: NDArray[np.float64]
    values: NDArray[np.float64]
    classes: NDArray[np.int64]
    codes: NDArray[np.int64]

    def goes_left(self, tree: Tree, node: int) -> Bools:
        """bool[n_rows]: the bins that go left at a node on this feature."""
        if self.kind == CATEGORICAL:
            member = np.zeros(len(self.classes) + 1, dtype=np.bool_)
            member[tree.categories[node]] = True
            return member[self.codes]
        return numeric_goes_left(self.values, tree.threshold[node], tree.decision[node])


def numeric_goes_left(values: NDArray[np.float64], threshold: float, decision: int) -> Bools:
    """LightGBM's numeric decision for values that are already free of tiny non-zeros."""
    missing = decision >> 2
    unknown = np.isnan(values)
    seen = values if missing == MISSING_NAN else np.where(unknown, 0.0, values)
    defaults = {MISSING_ZERO: np.abs(seen) <= ZERO_THRESHOLD, MISSING_NAN: unknown}
    by_default = defaults.get(missing, np.zeros_like(unknown))
    return np.where(by_default, bool(decision & DEFAULT_LEFT_BIT), seen <= threshold)


def compile_bundle(bundle: "ModelBundle") -> LeafMaskTable:
    """The table of a bundle: models in the order of `artifact.MODEL_NAMES`, with their calibration.

    Raises:
        ArtifactError: a model that we cannot score exactly.
    """
    from models.artifact import MODEL_NAMES

    calibrations = [bundle.calibration[name] for name in MODEL_NAMES]
    return _compile(
        [parse_forest(bundle.texts[name], f"{name}.txt") for name in MODEL_NAMES],
        len(bundle.spec),
        [(np.array(table.raw), np.array(table.probability)) for table in calibrations],
    )


def compile_value(value: "ValueModel", n_features: int) -> LeafMaskTable:
    """The table of a model of value: its score, and where it has one that of P(value > 0) with its calibration.

    Raises:
        ArtifactError: a model that we cannot score exactly.
    """
    names = ("value.txt", "value_positive.txt")
    forests = [parse_forest(text, name) for text, name in zip(value.texts, names, strict=False)]
    nothing = (np.empty(0), np.empty(0))
    return _compile(forests, n_features, [nothing, value.knots][: len(forests)])


def compile_boosters(model_texts: Sequence[str], n_features: int) -> LeafMaskTable:
    """The table of LightGBM model texts, without calibration.

    Args:
        model_texts: as `Booster.model_to_string()` gives them, at least one.
        n_features: columns of the matrix that is scored; each model must be trained on as many.

    Raises:
        ArtifactError: a model that we cannot score exactly, with what is allowed.
    """
    nothing = np.empty(0)
    forests = [parse_forest(text, f"model {place}") for place, text in enumerate(model_texts)]
    return _compile(forests, n_features, [(nothing, nothing)] * len(forests))


def _compile(
    forests: Sequence[Forest],
    n_features: int,
    knots: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> LeafMaskTable:
    for place, forest in enumerate(forests):
        if forest.n_features != n_features:
            raise ArtifactError(
                f"model {place} must be trained on the {n_features} features of the spec, "
                f"was trained on {forest.n_features}: use the spec it was trained with"
            )
    trees = [tree for forest in forests for tree in forest.trees]
    bins = [_bins_of(place, trees) for place in range(n_features)]
    first_row = _starts([item.n_rows for item in bins])
    most = max((len(tree.leaf_values) for tree in trees), default=1)
    width = HALF_LEAVES if most <= HALF_LEAVES else MAX_LEAVES
    return LeafMaskTable(
        masks=_masks(trees, bins, first_row, width),
        leaf_values=_leaf_values(trees, width),
        feature_kind=np.array([item.kind for item in bins], dtype=np.uint8),
        first_row=first_row[:-1].copy(),
        thr_start=_starts([len(item.thresholds) for item in bins]),
        thresholds=np.concatenate([item.thresholds for item in bins]),
        cat_start=_starts([len(item.classes) for item in bins]),
        category_rows=np.concatenate(
            [item.classes + first for item, first in zip(bins, first_row[:-1], strict=True)]
        ).astype(np.int32),
        tree_start=_starts([len(forest.trees) for forest in forests]),
        knots_start=_starts([len(raw) for raw, _ in knots]),
        knots_raw=np.concatenate([raw for raw, _ in knots]),
        knots_probability=np.concatenate([probability for _, probability in knots]),
    )


def _starts(lengths: Sequence[int]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _bins_of(feature: int, trees: Sequence[Tree]) -> _Bins:
    """The bins that the splits of all trees on one feature cut."""
    nodes = [(tree, node) for tree in trees for node, split in enumerate(tree.feature) if split == feature]
    categorical = {bool(tree.decision[node] & CATEGORICAL_BIT) for tree, node in nodes}
    if len(categorical) > 1:
        raise ArtifactError(f"feature {feature} must be numeric or categorical in all models, was both")
    if not nodes:
        return _Bins(UNUSED, 1, *(np.empty(0),) * 2, *(np.empty(0, dtype=np.int64),) * 2)
    return _categorical_bins(nodes) if categorical.pop() else _numeric_bins(nodes)


def _numeric_bins(nodes: Sequence[tuple[Tree, int]]) -> _Bins:
    """Cut at each threshold; the values that LightGBM takes for zero are one bin where that matters."""
    cuts = {tree.threshold[node] for tree, node in nodes}
    tiny = {cut for cut in cuts if abs(cut) <= ZERO_THRESHOLD}
    shell = bool(tiny) or any(tree.decision[node] >> 2 == MISSING_ZERO for tree, node in nodes)
    if shell:
        cuts = (cuts - tiny) | {_BELOW_ZERO, ZERO_THRESHOLD}
    thresholds = np.array(sorted(cuts))
    values = np.concatenate([thresholds, [np.inf, np.nan]])
    if shell:
        values[values == ZERO_THRESHOLD] = 0.0
    nothing = np.empty(0, dtype=np.int64)
    return _Bins(NUMERIC, len(values), thresholds, values, nothing, nothing)


def _categorical_bins(nodes: Sequence[tuple[Tree, int]]) -> _Bins:
    """Codes that are in the same sets at every split are one class; class 0 is in no set at all."""
    sets = [tree.categories[node] for tree, node in nodes]
    # At least one code, so that -0.5, which LightGBM cuts to code 0, finds a place even where all sets are empty.
    n_codes = 1 + max((int(codes[-1]) for codes in sets if len(codes)), default=0)
    member = np.zeros((n_codes + 1, len(sets)), dtype=np.bool_)
    for place, codes in enumerate(sets):
        member[codes, place] = True
    packed = np.packbits(member, axis=1)
    known: dict[bytes, int] = {packed[n_codes].tobytes(): 0}
    example = [n_codes]
    classes = np.empty(n_codes, dtype=np.int64)
    for code in range(n_codes):
        key = packed[code].tobytes()
        if key not in known:
            known[key] = len(known)
            example.append(code)
        classes[code] = known[key]
    nothing = np.empty(0)
    return _Bins(CATEGORICAL, len(known), nothing, nothing, classes, np.array(example))


def _masks(trees: Sequence[Tree], bins: Sequence[_Bins], first_row: NDArray[np.int32], width: int) -> Masks:
    """[R, T] of as many bits as `width`; made tree by tree with the trees outermost, then turned."""
    masks = np.empty((len(trees), int(first_row[-1])), dtype=np.uint64)
    for place, tree in enumerate(trees):
        masks[place] = _all_leaves(tree)
        under = _leaves_under(tree)
        for node, feature in enumerate(tree.feature):
            left = bins[feature].goes_left(tree, node)
            ruled_out = np.where(left, under[tree.right[node]], under[tree.left[node]])
            masks[place, first_row[feature] : first_row[feature + 1]] &= ~ruled_out
    turned = np.ascontiguousarray(masks.T)
    return turned.astype(np.uint32) if width == HALF_LEAVES else turned


def _all_leaves(tree: Tree) -> np.uint64:
    return np.uint64((1 << len(tree.leaf_values)) - 1)


def _leaves_under(tree: Tree) -> dict[int, np.uint64]:
    """The leaves under each child, by its number in the tree (a leaf is negative)."""
    under = {~leaf: np.uint64(1 << leaf) for leaf in range(len(tree.leaf_values))}
    for node in reversed(range(len(tree.feature))):
        under[node] = under[tree.left[node]] | under[tree.right[node]]
    return under


def _leaf_values(trees: Sequence[Tree], width: int) -> NDArray[np.float64]:
    values = np.zeros((len(trees), width))
    for place, tree in enumerate(trees):
        values[place, : len(tree.leaf_values)] = tree.leaf_values
    return values
