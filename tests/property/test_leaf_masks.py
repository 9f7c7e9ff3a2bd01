"""The compiled scorer against LightGBM itself: the same leaf, and the same score to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.compile import LeafMaskTable, compile_boosters
from models.errors import ArtifactError
from models.scorer import check_table, check_values, leaves, score_rows
from tests.support.lightgbm_models import (
    booster,
    lightgbm_raw,
    random_rows,
    random_text,
    same_bits,
    train,
)
from tests.support.naive_scorer import raw_score

SEEDS = st.integers(0, 2**32 - 1)
SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
KINDS = st.lists(st.booleans(), min_size=1, max_size=5)


def assert_equals_lightgbm(texts: list[str], values: np.ndarray) -> LeafMaskTable:
    table = compile_boosters(texts, values.shape[1])
    ours = score_rows(table, values)
    for m, text in enumerate(texts):
        wrong = ~same_bits(ours[:, m], lightgbm_raw(text, values))
        assert not wrong.any(), (values[wrong][0].tolist(), ours[wrong][0, m])
    return table


@SLOW
@given(seed=SEEDS, kinds=KINDS, trees=st.integers(1, 6), models=st.integers(1, 3))
def test_random_trees_score_as_lightgbm_scores_them(seed, kinds, trees, models):
    random = np.random.default_rng(seed)
    texts = [random_text(random, kinds, trees) for _ in range(models)]
    table = assert_equals_lightgbm(texts, random_rows(random, 400, kinds))
    check_table(table, texts, rows=400)


@SLOW
@given(
    seed=SEEDS,
    kinds=KINDS,
    rounds=st.integers(1, 8),
    num_leaves=st.integers(2, 64),
    zero_as_missing=st.booleans(),
    use_missing=st.booleans(),
    nan_share=st.sampled_from([0.0, 0.1, 0.6]),
)
def test_trained_models_score_as_lightgbm_scores_them(
    seed, kinds, rounds, num_leaves, zero_as_missing, use_missing, nan_share
):
    random = np.random.default_rng(seed)
    x = random.normal(size=(300, len(kinds))).round(1)
    for place, is_categorical in enumerate(kinds):
        if is_categorical:
            x[:, place] = random.integers(0, 40, size=300)
    hidden = np.sin(3.0 * x).sum(axis=1) + random.normal(size=300)
    y = (hidden > np.median(hidden)).astype(float)
    x[random.random(x.shape) < nan_share] = np.nan
    text = train(
        x,
        y,
        [place for place, is_categorical in enumerate(kinds) if is_categorical],
        rounds,
        num_leaves=num_leaves,
        zero_as_missing=zero_as_missing,
        use_missing=use_missing,
    )
    table = assert_equals_lightgbm([text], np.concatenate([x, random_rows(random, 200, kinds)]))
    check_table(table, [text], rows=300)


@SLOW
@given(seed=SEEDS, kinds=KINDS)
def test_the_slow_twin_walks_to_the_same_score(seed, kinds):
    random = np.random.default_rng(seed)
    text = random_text(random, kinds, 3)
    values = random_rows(random, 40, kinds)
    plain = (np.abs(values) < 1e299) | np.isnan(values)  # the dump clips thresholds at 1e300
    values = values[plain.all(axis=1)]
    dump = booster(text).dump_model()
    walked = np.array([raw_score(dump, row) for row in values])
    assert same_bits(walked, score_rows(compile_boosters([text], len(kinds)), values)[:, 0]).all()


@SLOW
@given(seed=SEEDS, kinds=KINDS)
def test_both_sides_apart_give_the_score_of_the_whole_row(seed, kinds):
    from models import kernels

    random = np.random.default_rng(seed)
    text = random_text(random, kinds, 4)
    table = compile_boosters([text], len(kinds))
    values = random_rows(random, 30, kinds)
    side = random.random(len(kinds)) < 0.5
    found = []
    for row in values:
        halves = []
        for chosen in (np.flatnonzero(side), np.flatnonzero(~side)):
            rows = np.array([_row_of(table, row[f], f) for f in chosen] or [0], dtype=np.int64)
            half = np.empty(table.n_trees, dtype=np.uint64)
            kernels.and_rows(table.masks, rows, len(chosen), half)
            halves.append(half)
        found.append(kernels.raw_score(*halves, table.leaf_values, 0, table.n_trees))
    assert same_bits(np.array(found), score_rows(table, values)[:, 0]).all()


def _row_of(table: LeafMaskTable, value: float, feature: int) -> int:
    from models import kernels

    return kernels.feature_row(
        value,
        feature,
        table.feature_kind,
        table.first_row,
        table.thr_start,
        table.thresholds,
        table.cat_start,
        table.category_rows,
    )


@SLOW
@given(seed=SEEDS, kinds=KINDS, data=st.data())
def test_the_load_check_finds_one_altered_mask_bit(seed, kinds, data):
    """The negative control: clear or set one bit that decides a check row, and the check must refuse."""
    random = np.random.default_rng(seed)
    text = random_text(random, kinds, 3)
    table = compile_boosters([text], len(kinds))
    values = check_values(table, [text], 300)
    row = data.draw(st.integers(0, len(values) - 1), label="row")
    tree = data.draw(st.integers(0, table.n_trees - 1), label="tree")
    feature = data.draw(st.integers(0, len(kinds) - 1), label="feature")
    leaf = int(leaves(table, values[row : row + 1])[0, tree])
    masks = table.masks.copy()
    masks[_row_of(table, values[row, feature], feature), tree] ^= np.uint64(1) << np.uint64(leaf)
    check_table(table, [text], rows=300)
    with pytest.raises(ArtifactError, match="must equal LightGBM"):
        check_table(replace(table, masks=masks), [text], rows=300)
