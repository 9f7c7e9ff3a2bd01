"""LightGBM's model text as plain trees; every number is read to the last bit.

The text is parsed rather than `Booster.dump_model()`, because the dump clips thresholds at 1e300 where the
text has all 17 digits. What we cannot score exactly is refused here, with what is allowed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError

MAX_LEAVES = 64
"""A leaf is a bit of one word. A second word would take 2.4 times as long a row (300 trees of 63 leaves, measured as
twice the trees) and bring nothing: on the benchmark's seeded market (60,000 rows, early stopping) normalized entropy
is .848 with 8 leaves, .859 with 31, .863 with 64, .864 with 128 and .872 with 255."""

# Bits of LightGBM's `decision_type` (include/LightGBM/tree.h).
CATEGORICAL_BIT = 1
DEFAULT_LEFT_BIT = 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree of n leaves and n-1 nodes; a child >= 0 is a node, a child < 0 is leaf ~child.

    Attributes:
        feature: split feature of each node.
        threshold: of numeric nodes; the rest are not used.
        decision: LightGBM's decision bits of each node.
        left, right: children of each node.
        categories: for each categorical node, the codes that go left (sorted); empty for numeric ones.
        leaf_values: float64[n].
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    decision: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    categories: tuple[NDArray[np.int64], ...]
    leaf_values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees of one model, in the order in which they are added up."""

    n_features: int
    trees: tuple[Tree, ...]


def parse_forest(text: str, name: str = "model") -> Forest:
    """Reads a LightGBM model text.

    Args:
        text: as `Booster.model_to_string()` gives it.
        name: what error messages call the model.

    Raises:
        ArtifactError: the text is no such model, is cut short, or is of a kind that we do not score.
    """
    head, *blocks = text.split("\nTree=")
    if not head.startswith("tree\n"):
        raise ArtifactError(
            f"{name} must be a LightGBM model text (first line 'tree'), was {head[:40]!r}: "
            f"save it with Booster.save_model"
        )
    fields = _fields(head)
    if not blocks or "\nend of trees" not in blocks[-1]:
        raise ArtifactError(_cut_short(name, fields, len(blocks)))
    lines = head.splitlines()
    if "average_output" in lines:
        raise ArtifactError(
            f"{name} must be a sum of trees, was a random forest, which is their mean: "
            f"train it again with boosting=gbdt or dart"
        )
    for key in ("num_class", "num_tree_per_iteration"):
        if fields.get(key) != "1":
            raise ArtifactError(
                f"{name} must have {key}=1 (one output), was {fields.get(key)}: "
                f"train one model for each output, with objective=binary"
            )
    n_features = _number(fields, "max_feature_idx", name) + 1
    trees = tuple(
        _parse_tree(_fields(block.split("\nend of trees")[0]), n_features, f"tree {place} of {name}")
        for place, block in enumerate(blocks)
    )
    return Forest(n_features, trees)


def header_of(text: str) -> dict[str, str]:
    """What stands above the first tree of a model text, by key."""
    return _fields(text.split("\nTree=", 1)[0])


def _cut_short(name: str, fields: dict[str, str], begun: int) -> str:
    """What to say of a text without its end; its header tells how many trees there were."""
    told = len(fields.get("tree_sizes", "").split())
    where = f"in tree {begun} of {told}" if begun and told else "before its first tree"
    return (
        f"{name} must hold trees up to the line 'end of trees', was cut short {where}: "
        f"copy the whole file, or save the model again with Booster.save_model"
    )


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _number(fields: dict[str, str], key: str, where: str) -> int:
    try:
        return int(fields[key])
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{where} must have an integer {key}, was {fields.get(key)!r}") from error


def _ints(fields: dict[str, str], key: str, length: int, where: str) -> tuple[int, ...]:
    try:
        values = tuple(int(part) for part in fields.get(key, "").split())
    except ValueError as error:
        raise ArtifactError(f"{key} of {where} must be integers, was {fields[key][:60]!r}") from error
    if len(values) != length:
        raise ArtifactError(f"{key} of {where} must have {length} values, had {len(values)}")
    return values


def _floats(fields: dict[str, str], key: str, length: int, where: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in fields.get(key, "").split())
    except ValueError as error:
        raise ArtifactError(f"{key} of {where} must be numbers, was {fields[key][:60]!r}") from error
    if len(values) != length:
        raise ArtifactError(f"{key} of {where} must have {length} values, had {len(values)}")
    return values


def _parse_tree(fields: dict[str, str], n_features: int, where: str) -> Tree:
    n_leaves = _number(fields, "num_leaves", where)
    if not 1 <= n_leaves <= MAX_LEAVES:
        raise ArtifactError(
            f"{where} must have 1 to {MAX_LEAVES} leaves, had {n_leaves}: "
            f"train it again with num_leaves={MAX_LEAVES} or fewer and let early stopping choose the trees"
        )
    if fields.get("is_linear", "0") != "0":
        raise ArtifactError(f"{where} must have constant leaves, was linear: train with linear_tree=false")
    nodes = n_leaves - 1
    decision = _ints(fields, "decision_type", nodes, where)
    threshold = _floats(fields, "threshold", nodes, where)
    tree = Tree(
        feature=_ints(fields, "split_feature", nodes, where),
        threshold=threshold,
        decision=decision,
        left=_ints(fields, "left_child", nodes, where),
        right=_ints(fields, "right_child", nodes, where),
        categories=_categories(fields, decision, threshold, where),
        leaf_values=np.array(_floats(fields, "leaf_value", n_leaves, where)),
    )
    _check_tree(tree, n_features, where)
    return tree


def _categories(
    fields: dict[str, str], decision: tuple[int, ...], threshold: tuple[float, ...], where: str
) -> tuple[NDArray[np.int64], ...]:
    """The codes of each categorical node: its threshold names a slice of the 32-bit words `cat_threshold`."""
    sets = _number(fields, "num_cat", where)
    bounds = _ints(fields, "cat_boundaries", sets + 1, where) if sets else (0,)
    words = np.array(_ints(fields, "cat_threshold", bounds[-1], where), dtype=np.int64)
    found: list[NDArray[np.int64]] = []
    for bits, which in zip(decision, threshold, strict=True):
        if not bits & CATEGORICAL_BIT:
            found.append(np.empty(0, dtype=np.int64))
            continue
        place = int(which)
        if not 0 <= place < sets or bounds[place] > bounds[place + 1]:
            raise ArtifactError(f"{where} must name one of its {sets} category sets, was {which}")
        mine = words[bounds[place] : bounds[place + 1]]
        member = (mine[:, None] >> np.arange(32)) & 1
        found.append(np.flatnonzero(member.ravel()).astype(np.int64))
    return tuple(found)


def _check_tree(tree: Tree, n_features: int, where: str) -> None:
    """Each leaf and each node but the root must be the child of one node, and numbers must be finite."""
    children = sorted(tree.left + tree.right)
    n_leaves = len(tree.leaf_values)
    if children != sorted([*range(-n_leaves, 0), *range(1, n_leaves - 1)]) and n_leaves > 1:
        raise ArtifactError(f"{where} must reach each leaf by one way, does not: the model text is broken")
    for node, (left, right) in enumerate(zip(tree.left, tree.right, strict=True)):
        # LightGBM numbers a node when it splits a leaf, so a child always has the higher number: no cycles.
        if 0 <= left <= node or 0 <= right <= node:
            raise ArtifactError(f"{where} must have children numbered above their node, node {node} has not")
    if any(not 0 <= feature < n_features for feature in tree.feature):
        raise ArtifactError(f"{where} must split on features 0..{n_features - 1}, was {max(tree.feature)}")
    if any(bits >> 2 > MISSING_NAN for bits in tree.decision):
        raise ArtifactError(f"{where} must have decision types below 12, was {max(tree.decision)}")
    if not np.isfinite(tree.leaf_values).all():
        raise ArtifactError(f"leaf_value of {where} must be finite numbers")
    if any(np.isnan(value) for value in tree.threshold):
        raise ArtifactError(f"threshold of {where} must be a number, was NaN")
