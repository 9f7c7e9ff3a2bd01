"""The slow twin of the scorer: walks LightGBM's own dump of each tree, node by node, as its manual says."""

import math
from typing import Any

import numpy as np

ZERO = float(np.float32(1e-35))


def raw_score(dump: dict[str, Any], row: np.ndarray) -> float:
    """Raw score of one row by `Booster.dump_model()`."""
    seen = [0.0 if abs(value) <= ZERO else float(value) for value in row]
    total = 0.0
    for tree in dump["tree_info"]:
        node = tree["tree_structure"]
        while "split_feature" in node:
            node = node["left_child" if _goes_left(node, seen[node["split_feature"]]) else "right_child"]
        total += node["leaf_value"]
    return total


def _goes_left(node: dict[str, Any], value: float) -> bool:
    if node["decision_type"] == "==":
        known = {int(code) for code in node["threshold"].split("||")}
        return math.isfinite(value) and int(value) in known
    if math.isnan(value) and node["missing_type"] != "NaN":
        value = 0.0
    if math.isnan(value) or (node["missing_type"] == "Zero" and abs(value) <= ZERO):
        return bool(node["default_left"])
    return value <= node["threshold"]


def calibrated(raw: float, xs: list[float], ys: list[float]) -> float:
    """Linear between the knots, level outside."""
    if raw <= xs[0]:
        return ys[0]
    if raw >= xs[-1]:
        return ys[-1]
    place = next(i for i in range(len(xs) - 1) if xs[i] <= raw < xs[i + 1])
    share = (raw - xs[place]) / (xs[place + 1] - xs[place])
    return ys[place] + share * (ys[place + 1] - ys[place])
