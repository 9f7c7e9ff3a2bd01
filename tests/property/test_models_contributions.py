"""Contributions on random models: they are Shapley values by definition, and add up to the score."""

import lightgbm as lgb
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.explain.contributions import Contributor
from tests.support.lightgbm_models import ODD, booster, random_rows, train
from tests.support.naive_shapley import shapley


def _model(seed: int, rounds: int, features: int, categorical: int, **params: object) -> str:
    """A trained model over rows with odd and missing values; a fifth of them decides the label."""
    random = np.random.default_rng(seed)
    kinds = [place < categorical for place in range(features)]
    x = random_rows(random, 300, kinds)
    x[~np.isfinite(x) & ~np.isnan(x)] = 5.0  # training bins no infinities
    x[:, :categorical] = random.integers(-1, 12, size=(300, categorical))
    score = np.nan_to_num(x[:, -1]).clip(-3, 3) + (x[:, 0] > 5) * 1.5
    y = (random.random(300) < 1 / (1 + np.exp(-score))).astype(float)
    return train(x, y, list(range(categorical)), rounds, **{"num_leaves": 8, **params})


@given(
    seed=st.integers(0, 2**31),
    rounds=st.integers(1, 6),
    features=st.integers(2, 5),
    categorical=st.integers(0, 2),
    missing=st.booleans(),
)
@settings(max_examples=20)
def test_contributions_are_the_shapley_values_of_all_coalitions(seed, rounds, features, categorical, missing):
    text = _model(seed, rounds, features, min(categorical, features), zero_as_missing=missing)
    random = np.random.default_rng(seed)
    rows = random_rows(random, 5, [place < categorical for place in range(features)])
    rows[0] = random.choice(ODD, size=features)
    found = Contributor(text, "m")(rows)
    dump = booster(text).dump_model()
    for row, contributions in zip(rows, found.features, strict=True):
        base, wanted = shapley(dump, row)
        assert np.isclose(found.base, base, rtol=1e-9, atol=1e-12)
        assert np.allclose(contributions, wanted, rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 2**31), rounds=st.integers(1, 30), categorical=st.integers(0, 3))
@settings(max_examples=15)
def test_base_and_contributions_add_up_to_lightgbms_score(seed, rounds, categorical):
    text = _model(seed, rounds, 6, categorical)
    rows = random_rows(np.random.default_rng(seed), 600, [place < categorical for place in range(6)])
    found = Contributor(text, "m")(rows)
    assert np.array_equal(found.raw, booster(text).predict(rows, raw_score=True))
    scale = 1 + np.abs(found.features).sum(axis=1)
    assert (np.abs(found.base + found.features.sum(axis=1) - found.raw) <= 1e-12 * scale).all()
    whole = np.asarray(lgb.Booster(model_str=text).predict(rows, pred_contrib=True))
    assert np.array_equal(found.features, whole[:, :-1])
    split_on = {place for place, uses in enumerate(booster(text).feature_importance()) if uses}
    assert all((found.features[:, place] == 0).all() for place in set(range(6)) - split_on)
