"""Small LightGBM models for tests: trained ones, and model texts with trees that training would seldom make."""

from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

TINY = float(np.float32(1e-35))

# Where an inexact scorer shows: both zeros, LightGBM's own zero, its neighbours, halves, extremes.
ODD = (
    *(0.0, -0.0, TINY, -TINY, 1e-36, -1e-36, 5e-324, 1e-34, -1e-34, 0.5, -0.5, -1.0, 1.0, 2.0, 1e300, -1e300),
    *(np.inf, -np.inf, np.nan, 31.0, 32.0, 63.9, 64.0, 2147483647.0, 2147483648.0, -2147483649.0, 1e18),
    *(float(np.nextafter(TINY, 1.0)), float(np.nextafter(-TINY, -1.0)), 1.7976931348623157e308),
)


def booster(text: str) -> lgb.Booster:
    return lgb.Booster(model_str=text)


def lightgbm_raw(text: str, rows: np.ndarray) -> np.ndarray:
    return np.asarray(booster(text).predict(rows, raw_score=True, num_threads=1), dtype=np.float64)


def same_bits(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(one).view(np.int64) == np.ascontiguousarray(two).view(np.int64)


def train(x: np.ndarray, y: np.ndarray, categorical: list[int], rounds: int, **params: object) -> str:
    settings = {
        "objective": "binary",
        "verbose": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "min_data_in_leaf": 2,
        "min_data_per_group": 2,
        "cat_smooth": 1.0,
        "seed": 3,
        **params,
    }
    data = lgb.Dataset(x, y, categorical_feature=categorical, params=settings)
    return str(lgb.train(settings, data, num_boost_round=rounds).model_to_string())


def random_rows(random: np.random.Generator, rows: int, categorical: list[bool]) -> np.ndarray:
    """Mostly plain values, a fifth of them odd ones."""
    out = random.normal(size=(rows, len(categorical)))
    for place, is_categorical in enumerate(categorical):
        if is_categorical:
            out[:, place] = random.integers(-1, 70, size=rows)
        odd = random.random(rows) < 0.2
        out[odd, place] = random.choice(ODD, size=int(odd.sum()))
    return out


@dataclass
class _Node:
    feature: int
    threshold: float
    decision: int
    left: int = 0
    right: int = 0


def random_text(random: np.random.Generator, categorical: list[bool], trees: int) -> str:
    """A model text of random trees: any missing type, default side, threshold and category set."""
    blocks = [_random_tree(random, categorical, place) for place in range(trees)]
    head = ["tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0"]
    head += [f"max_feature_idx={len(categorical) - 1}", "objective=binary sigmoid:1"]
    head += ["feature_names=" + " ".join(f"f{i}" for i in range(len(categorical)))]
    head += ["feature_infos=" + " ".join("[-1:1]" for _ in categorical)]
    sizes = "tree_sizes=" + " ".join(str(len(block)) for block in blocks)
    return "\n".join([*head, sizes, "", ""]) + "".join(blocks) + "end of trees\n"


def _random_tree(random: np.random.Generator, categorical: list[bool], place: int) -> str:
    leaves = int(random.integers(1, 65)) if random.random() < 0.3 else int(random.integers(1, 9))
    nodes: list[_Node] = []
    owners: list[tuple[int, str] | None] = [None]  # by leaf: the node and side that point at it
    words: list[int] = []
    bounds = [0]
    for _ in range(leaves - 1):
        leaf = int(random.integers(len(owners)))
        feature = int(random.integers(len(categorical)))
        owner = owners[leaf]
        if owner is not None:
            setattr(nodes[owner[0]], owner[1], len(nodes))
        if categorical[feature]:
            words += [int(word) for word in random.integers(0, 2**32, size=int(random.integers(1, 4)))]
            bounds.append(len(words))
            node = _Node(feature, len(bounds) - 2, 1 | int(random.integers(0, 2)) << 1 | 2 << 2)
        else:
            cut = float(random.choice(ODD)) if random.random() < 0.4 else float(random.normal())
            cut = 0.25 if np.isnan(cut) else cut
            node = _Node(feature, cut, int(random.integers(0, 2)) << 1 | int(random.integers(0, 3)) << 2)
        node.left, node.right = ~leaf, ~len(owners)
        owners[leaf] = (len(nodes), "left")
        owners.append((len(nodes), "right"))
        nodes.append(node)
    fields = {
        "num_leaves": [leaves],
        "num_cat": [len(bounds) - 1],
        "split_feature": [node.feature for node in nodes],
        "split_gain": [1 for _ in nodes],
        "threshold": [f"{node.threshold:.17g}" for node in nodes],
        "decision_type": [node.decision for node in nodes],
        "left_child": [node.left for node in nodes],
        "right_child": [node.right for node in nodes],
        "leaf_value": [f"{value:.17g}" for value in random.normal(size=leaves)],
        "leaf_weight": [1 for _ in range(leaves)] if leaves > 1 else [],
        "leaf_count": [1 for _ in range(leaves)],
        "internal_value": [0 for _ in nodes],
        "internal_weight": [0 for _ in nodes],
        "internal_count": [2 for _ in nodes],
    }
    if len(bounds) > 1:
        fields |= {"cat_boundaries": bounds, "cat_threshold": words}
    fields |= {"is_linear": [0], "shrinkage": [1]}
    lines = [f"{key}={' '.join(str(value) for value in values)}" for key, values in fields.items()]
    return "\n".join([f"Tree={place}", *lines, "", "", ""])
