"""Reading model texts and compiling them: what is refused, and single cases of LightGBM's rules."""

import numpy as np
import pytest

from models import kernels
from models.compile import CATEGORICAL, NUMERIC, UNUSED, compile_boosters
from models.errors import ArtifactError
from models.scorer import check_table, leaves, score_rows
from models.trees import parse_forest
from tests.support.lightgbm_models import TINY, lightgbm_raw, random_rows, random_text, same_bits, train


@pytest.fixture(scope="module")
def text() -> str:
    random = np.random.default_rng(1)
    x = random.normal(size=(400, 3))
    x[:, 1] = random.integers(0, 20, 400)
    y = ((x[:, 0] > 0) ^ (x[:, 1] % 3 == 0)).astype(float)
    return train(x, y, [1], rounds=4, num_leaves=8)


def stump(threshold: str, decision: int, categories: str = "") -> str:
    """A model of one split on feature 0 of 2: left scores 1, right scores 2."""
    cats = f"cat_boundaries=0 1\ncat_threshold={categories}\n" if categories else ""
    tree = (
        f"Tree=0\nnum_leaves=2\nnum_cat={1 if categories else 0}\nsplit_feature=0\nsplit_gain=1\n"
        f"threshold={threshold}\ndecision_type={decision}\nleft_child=-1\nright_child=-2\nleaf_value=1 2\n"
        f"leaf_weight=1 1\nleaf_count=1 1\ninternal_value=0\ninternal_weight=0\ninternal_count=2\n{cats}"
        "is_linear=0\nshrinkage=1\n\n\n"
    )
    head = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n"
        "objective=binary sigmoid:1\nfeature_names=a b\nfeature_infos=[0:1] none\n"
    )
    return f"{head}tree_sizes={len(tree)}\n\n{tree}end of trees\n"


@pytest.mark.parametrize("default_left", [0, 2])
@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize(
    "threshold", ["0", "-0", "1.0000000180025095e-35", "-1.0000000180025095e-35", "0.5", "inf"]
)
def test_zero_tiny_and_missing_values_go_where_lightgbm_sends_them(threshold, missing, default_left):
    text = stump(threshold, missing << 2 | default_left)
    odd = [0.0, -0.0, TINY, -TINY, np.nextafter(TINY, 1), np.nextafter(-TINY, -1), 1e-40, -1e-40]
    values = np.array([[value, 0.0] for value in [*odd, 0.5, 1.0, -1.0, np.nan, np.inf, -np.inf]])
    assert same_bits(score_rows(compile_boosters([text], 2), values)[:, 0], lightgbm_raw(text, values)).all()


def test_categories_are_cut_to_integers_and_all_that_is_unknown_goes_right():
    text = stump("0", 9, categories=str(1 << 0 | 1 << 5))
    cases = {0.0: 1, 5.0: 1, 5.9: 1, -0.5: 1, 0.9: 1, 1.0: 2, -1.0: 2, 32.0: 2, 1e10: 2, np.inf: 2, np.nan: 2}
    values = np.array([[value, 0.0] for value in cases])
    found = score_rows(compile_boosters([text], 2), values)[:, 0]
    assert found.tolist() == list(cases.values()) == lightgbm_raw(text, values).tolist()


def test_split_on_no_category_at_all_sends_every_value_right():
    text = stump("0", 9, categories="0")
    values = np.array([[value, 0.0] for value in (-0.5, 0.0, 0.9, 3.0, np.nan)])
    table = compile_boosters([text], 2)
    assert table.category_rows.tolist() == [0]
    assert score_rows(table, values)[:, 0].tolist() == [2.0] * 5 == lightgbm_raw(text, values).tolist()


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 33])
def test_rows_score_alike_alone_and_in_blocks(text, rows):
    table = compile_boosters([text, random_text(np.random.default_rng(5), [False, True, False], 9)], 3)
    values = random_rows(np.random.default_rng(rows), rows, [False, True, False])
    alone = np.concatenate([score_rows(table, values[row : row + 1]) for row in range(rows)])
    assert same_bits(score_rows(table, values), alone).all()


@pytest.mark.parametrize("used", range(11))
def test_and_of_rows_is_the_and_of_all_of_them(used):
    random = np.random.default_rng(used)
    masks = random.integers(0, 2**63, size=(20, 7), dtype=np.uint64) | np.uint64(2**62)
    rows = random.integers(0, 20, size=12)
    out = np.zeros(7, dtype=np.uint64)
    kernels.and_rows(masks, rows, used, out)
    expected = np.bitwise_and.reduce(masks[rows[:used]], axis=0) if used else np.full(7, 2**64 - 1, np.uint64)
    assert out.tolist() == expected.tolist()


def test_threshold_keeps_every_bit():
    exact = float.hex(0.1 + 0.2)
    text = stump(f"{0.1 + 0.2:.17g}", 0)
    table = compile_boosters([text], 2)
    assert float.hex(table.thresholds[0]) == exact
    at = 0.1 + 0.2
    values = np.array([[at, 0.0], [np.nextafter(at, 1), 0.0]])
    assert score_rows(table, values)[:, 0].tolist() == [1.0, 2.0]


def test_kinds_of_features_and_one_row_where_nothing_splits():
    table = compile_boosters([stump("0.5", 0)], 2)
    assert table.feature_kind.tolist() == [NUMERIC, UNUSED]
    assert table.masks[table.first_row[1]].tolist() == [3]
    assert compile_boosters([stump("0", 9, "1")], 2).feature_kind.tolist() == [CATEGORICAL, UNUSED]


def test_categories_that_no_split_tells_apart_share_a_row():
    table = compile_boosters([stump("0", 9, str(0b1010))], 2)
    assert table.category_rows.tolist() == [0, 1, 0, 1]
    assert table.masks.tolist() == [[2], [1], [3]]


def test_models_share_bins_and_keep_their_trees(text):
    other = random_text(np.random.default_rng(3), [False, True, False], 5)
    table = compile_boosters([text, other], 3)
    values = np.random.default_rng(4).integers(-2, 25, size=(200, 3)).astype(float)
    assert table.tree_start.tolist() == [0, 4, 9]
    assert same_bits(score_rows(table, values)[:, 0], lightgbm_raw(text, values)).all()
    assert same_bits(score_rows(table, values)[:, 1], lightgbm_raw(other, values)).all()


def test_pair_of_sums_has_the_bits_of_each_sum(text):
    other = random_text(np.random.default_rng(3), [False, True, False], 7)
    table = compile_boosters([text, other], 3)
    values = np.random.default_rng(4).normal(size=(50, 3))
    chosen = leaves(table, values)
    for row in range(50):
        left = np.left_shift(np.uint64(1), chosen[row].astype(np.uint64))
        pair = kernels.raw_score_pair(left, left, table.leaf_values, 0, 4, 11)
        assert list(pair) == score_rows(table, values)[row].tolist()


def test_arrays_are_what_kernels_read(text):
    table = compile_boosters([text], 3)
    kinds = {
        "masks": np.uint32,
        "leaf_values": np.float64,
        "feature_kind": np.uint8,
        "thresholds": np.float64,
        "knots_raw": np.float64,
        "knots_probability": np.float64,
    }
    kinds |= dict.fromkeys(
        ("first_row", "thr_start", "cat_start", "category_rows", "tree_start", "knots_start"), np.int32
    )
    for name, kind in kinds.items():
        array = getattr(table, name)
        assert array.dtype == kind, name
        assert array.flags.c_contiguous, name


def test_model_of_single_leaves_scores_their_sum():
    text = train(np.zeros((4, 2)), np.array([0.0, 1.0, 0.0, 1.0]), [], rounds=1)
    table = compile_boosters([text], 2)
    values = np.array([[np.nan, 3.0], [0.0, np.inf]])
    assert same_bits(score_rows(table, values)[:, 0], lightgbm_raw(text, values)).all()
    check_table(table, [text], rows=50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "Tree\n" + text, "first line 'tree'"),
        (lambda text: "", "LightGBM model text"),
        (lambda text: text[: text.index("end of trees")], "cut short"),
        (lambda text: text[: len(text) // 8], "cut short"),
        (lambda text: text.replace("num_class=1", "num_class=3"), "num_class=1 .*, was 3"),
        (lambda text: text.replace("is_linear=0", "is_linear=1", 1), "linear_tree=false"),
        (lambda text: text.replace("label_index=0", "label_index=0\naverage_output"), "random forest"),
        (lambda text: text.replace("num_leaves=8", "num_leaves=7", 1), "decision_type of tree . .* 6 values"),
        (lambda text: text.replace("num_leaves=8", "num_leaves=65", 1), "1 to 64 leaves, had 65"),
        (lambda text: text.replace("num_leaves=8", "num_leaves=x", 1), "integer num_leaves, was 'x'"),
        (lambda text: text.replace("left_child=", "left_child=6 ", 1), "left_child of tree 0"),
        (lambda text: text.replace("leaf_value=", "leaf_value=nan ", 1).replace(" ", " ", 1), "leaf_value"),
        (lambda text: text.replace("max_feature_idx=2", "max_feature_idx=0"), r"features 0\.\.0"),
    ],
)
def test_model_that_cannot_be_scored_is_refused_with_the_reason(text, change, message):
    with pytest.raises(ArtifactError, match=message):
        parse_forest(change(text), "ctr.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("left_child=-1", "left_child=-2"), "reach each leaf"),
        (lambda text: text.replace("left_child=-1", "left_child=0"), "reach each leaf"),
        (lambda text: text.replace("leaf_value=1 2", "leaf_value=1 inf"), "finite"),
        (lambda text: text.replace("threshold=0.5", "threshold=nan"), "was NaN"),
        (lambda text: text.replace("threshold=0.5", "threshold=half"), "must be numbers, was 'half'"),
        (lambda text: text.replace("decision_type=0", "decision_type=12"), "below 12"),
        (lambda text: text.replace("decision_type=0", "decision_type=9"), "category sets"),
        (lambda text: text.replace("split_feature=0", "split_feature=a"), "must be integers, was 'a'"),
    ],
)
def test_tree_that_is_no_tree_is_refused(change, message):
    with pytest.raises(ArtifactError, match=message):
        parse_forest(change(stump("0.5", 0)))


def test_tree_with_a_circle_is_refused():
    text = (
        stump("0.5", 0)
        .replace("num_leaves=2", "num_leaves=3")
        .replace("split_feature=0", "split_feature=0 0")
    )
    text = text.replace("threshold=0.5", "threshold=0.5 1").replace("decision_type=0", "decision_type=0 0")
    text = text.replace("left_child=-1", "left_child=-1 1").replace("right_child=-2", "right_child=-2 -3")
    text = text.replace("leaf_value=1 2", "leaf_value=1 2 3")
    with pytest.raises(ArtifactError, match="numbered above"):
        parse_forest(text)


def test_model_of_other_features_is_refused(text):
    with pytest.raises(ArtifactError, match="the 5 features of the spec, was trained on 3"):
        compile_boosters([text], 5)


def test_feature_that_is_both_numeric_and_categorical_is_refused():
    with pytest.raises(ArtifactError, match="numeric or categorical in all models"):
        compile_boosters([stump("0.5", 0), stump("0", 9, "1")], 2)


def test_multiclass_is_refused():
    random = np.random.default_rng(1)
    text = train(
        random.normal(size=(90, 2)), np.arange(90) % 3, [], rounds=1, objective="multiclass", num_class=3
    )
    with pytest.raises(ArtifactError, match="one output"):
        parse_forest(text)


def test_linear_trees_are_refused():
    random = np.random.default_rng(1)
    x = random.normal(size=(200, 2))
    text = train(x, x[:, 0], [], rounds=2, objective="regression", linear_tree=True)
    with pytest.raises(ArtifactError, match="constant leaves"):
        parse_forest(text)


def test_rows_of_another_width_are_refused(text):
    with pytest.raises(ValueError, match=r"\(rows, 3\), was \(2, 4\)"):
        score_rows(compile_boosters([text], 3), np.zeros((2, 4)))
