"""What stands in a LightGBM text: its objective, its size, and which features its splits ask for."""

import msgspec

from models.trees import CATEGORICAL_BIT, Forest, header_of


class Need(msgspec.Struct, frozen=True):
    """A feature that the models split on.

    Attributes:
        name: as the spec says, else as the text does. kind: `numeric`, `categorical` or `both`, by its splits.
        splits: in all trees. codes: of a categorical one, the highest code that a split names, plus one; else 0.
    """

    name: str
    kind: str
    splits: int
    codes: int


class TextCheck(msgspec.Struct, frozen=True):
    """One model text.

    Attributes:
        name: `ctr`, `cvr` or the file's name. objective: as LightGBM wrote it. output: what a raw score of it is.
        features: columns it was trained on. trees: how many. leaves: of the largest tree. bytes: of the text.
        read: whether all of it could be; else nothing but `bytes` is sure.
    """

    name: str
    objective: str
    output: str
    features: int
    trees: int
    leaves: int
    bytes: int
    read: bool = True


def text_check(name: str, text: str, forest: Forest | None) -> TextCheck:
    """What stands in a text; `forest` is None where it cannot be compiled."""
    fields = header_of(text)
    objective = fields.get("objective", "none")
    return TextCheck(
        name=name,
        objective=objective,
        output=_output_of(objective),
        features=len(names_in(text)),
        trees=len(forest.trees) if forest is not None else text.count("\nTree="),
        leaves=max((len(tree.leaf_values) for tree in forest.trees), default=0) if forest is not None else 0,
        bytes=len(text.encode()),
        read=forest is not None,
    )


def _output_of(objective: str) -> str:
    """What LightGBM itself would make of a raw score: the calibration takes its place."""
    kind, *words = objective.split()
    scale = next((word.removeprefix("sigmoid:") for word in words if word.startswith("sigmoid:")), "1")
    if kind in {"binary", "cross_entropy"}:
        return "log odds" if float(scale) == 1.0 else f"log odds over {scale}"
    if kind in {"poisson", "gamma", "tweedie"}:
        return "logarithm of the mean"
    return "root of the value, with its sign" if "sqrt" in words else "value"


def names_in(text: str) -> tuple[str, ...]:
    """Feature names of a model text, in the order of its columns."""
    return tuple(header_of(text).get("feature_names", "").split())


def needs_of(forests: list[Forest], names: tuple[str, ...]) -> list[Need]:
    """What the splits of all trees ask for, the most used first."""
    kinds: dict[int, set[bool]] = {}
    splits: dict[int, int] = {}
    codes: dict[int, int] = {}
    for tree in (tree for forest in forests for tree in forest.trees):
        for node, feature in enumerate(tree.feature):
            kinds.setdefault(feature, set()).add(bool(tree.decision[node] & CATEGORICAL_BIT))
            splits[feature] = splits.get(feature, 0) + 1
            if len(tree.categories[node]):
                codes[feature] = max(codes.get(feature, 0), int(tree.categories[node][-1]) + 1)
    order = sorted(splits, key=lambda feature: (-splits[feature], feature))
    words = {(True,): "categorical", (False,): "numeric", (False, True): "both"}
    return [
        Need(
            names[feature] if feature < len(names) else f"feature {feature}",
            words[tuple(sorted(kinds[feature]))],
            splits[feature],
            codes.get(feature, 0),
        )
        for feature in order
    ]
