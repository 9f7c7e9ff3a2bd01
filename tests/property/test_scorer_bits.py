"""The proof of the compiled scorer: not one bit differs from LightGBM on rows with anything put into them.

The default is a sample on small models. The whole of it, 50,000 rows for each of the benchmark's four models, takes
some minutes, most of it training:

    python -m pytest tests/property/test_scorer_bits.py -m slow
"""

import numpy as np
import pytest

from benchmarks.scorer_models import FEATURES, SHAPES, Shape, Trained, raw_rows, trained
from models.compile import compile_boosters
from models.native import NativeModels
from models.scorer import check_table, score_rows
from tests.support.lightgbm_models import lightgbm_raw, same_bits

PERTURBED = ((0.03, np.nan), (0.02, 0.0), (0.01, -7.0), (0.01, 1e9), (0.005, np.inf))
"""Shares of all cells, and what is put there."""
SMALL = tuple(Shape(25, leaves, native) for leaves in (31, 63) for native in (True, False))


def perturbed(model: Trained, rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = model.rows(raw_rows(random, rows))
    for share, value in PERTURBED:
        values[random.random(values.shape) < share] = value
    return values


def assert_no_bit_differs(model: Trained, rows: int) -> None:
    table = compile_boosters([model.text], FEATURES)
    values = perturbed(model, rows, seed=11)
    ours = score_rows(table, values)[:, 0]
    assert int((~same_bits(ours, lightgbm_raw(model.text, values))).sum()) == 0
    assert len(np.unique(ours)) > rows // 4, "rows must reach different leaves to prove anything"
    check_table(table, [model.text])


@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.name)
def test_no_bit_differs_on_a_sample(shape):
    model = trained(shape, 4_000)
    assert_no_bit_differs(model, 3_000)
    values = perturbed(model, 300, seed=12)
    native = NativeModels([model.text], FEATURES).score_rows(values)[:, 0]
    assert same_bits(native, lightgbm_raw(model.text, values)).all()


def test_one_altered_leaf_is_seen():
    """The negative control: the last bit of one leaf value of the first tree."""
    model = trained(SMALL[0], 4_000)
    table = compile_boosters([model.text], FEATURES)
    table.leaf_values[0, :] = np.nextafter(table.leaf_values[0, :], np.inf)
    values = perturbed(model, 3_000, seed=11)
    assert not same_bits(score_rows(table, values)[:, 0], lightgbm_raw(model.text, values)).all()


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_no_bit_differs_on_fifty_thousand_rows(shape):
    assert_no_bit_differs(trained(shape), 50_000)
