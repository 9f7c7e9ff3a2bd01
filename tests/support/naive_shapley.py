"""The slow twin of contributions: Shapley values by their definition, over all coalitions of features."""

import math
from itertools import combinations
from typing import Any

import numpy as np

from tests.support.naive_scorer import ZERO, _goes_left


def shapley(dump: dict[str, Any], row: np.ndarray) -> tuple[float, list[float]]:
    """Base and a value for each feature, by `Booster.dump_model()`; two to the power of the features steps."""
    count = len(row)
    seen = [0.0 if abs(value) <= ZERO else float(value) for value in row]

    def worth(known: frozenset[int]) -> float:
        return math.fsum(_mean(tree["tree_structure"], seen, known) for tree in dump["tree_info"])

    values = []
    for feature in range(count):
        others = [other for other in range(count) if other != feature]
        total = 0.0
        for size in range(count):
            share = 1.0 / (count * math.comb(count - 1, size))
            for chosen in combinations(others, size):
                known = frozenset(chosen)
                total += share * (worth(known | {feature}) - worth(known))
        values.append(total)
    return worth(frozenset()), values


def _mean(node: dict[str, Any], seen: list[float], known: frozenset[int]) -> float:
    """What a tree gives where only some features are known: over the others it averages by its training rows."""
    if "split_feature" not in node:
        return float(node["leaf_value"])
    left, right = node["left_child"], node["right_child"]
    feature = node["split_feature"]
    if feature in known:
        return _mean(left if _goes_left(node, seen[feature]) else right, seen, known)
    share = _rows(left) / node["internal_count"]
    return share * _mean(left, seen, known) + (1.0 - share) * _mean(right, seen, known)


def _rows(node: dict[str, Any]) -> int:
    return int(node["internal_count"] if "split_feature" in node else node["leaf_count"])
