"""The four click models that the scorer is timed and proved with: 100 x 31 and 300 x 63, numeric and categorical.

Forty features, 28 of the request and 12 of the campaign: 20 with categories (2 to 5,000, Zipf), 20 numeric, 4 of
those with missing values. Of the *categorical* models the categories are native; of the *numeric* ones each
category was replaced by the smoothed click rate of its training rows, as people do whose scorer knows no categories.
All of it is seeded synthetic data.
"""

from functools import lru_cache
from typing import NamedTuple

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

FEATURES = 40
CATEGORIES = (2, 3, 4, 6, 8, 12, 20, 30, 50, 80, 150, 300, 600, 1200, 3, 10, 40, 200, 1000, 5000)
"""How many categories each categorical feature has."""
CATEGORICAL = (*range(14), *range(28, 34))
REQUEST = np.arange(28)
CAMPAIGN = np.arange(28, FEATURES)
TRAIN_ROWS = 60_000

Floats = NDArray[np.float64]


class Shape(NamedTuple):
    """How large a model is, and whether its categories are native."""

    trees: int
    leaves: int
    native: bool

    @property
    def name(self) -> str:
        """`100x31 categorical`."""
        return f"{self.trees}x{self.leaves} {'categorical' if self.native else 'numeric'}"


SHAPES = (Shape(100, 31, True), Shape(100, 31, False), Shape(300, 63, True), Shape(300, 63, False))


class Trained(NamedTuple):
    """A model with what it is fed: `rates` stand for categories where the model takes numbers."""

    shape: Shape
    text: str
    rates: tuple[Floats, ...]

    def rows(self, raw: Floats) -> Floats:
        """Rows of `raw_rows` as this model takes them."""
        if self.shape.native:
            return raw
        out = raw.copy()
        for feature, rates in zip(CATEGORICAL, self.rates, strict=True):
            out[:, feature] = rates[raw[:, feature].astype(np.int64)]
        return out


def raw_rows(random: np.random.Generator, rows: int) -> Floats:
    """float64[rows, 40]: codes from 1 of categorical features, normal values of the others, some missing."""
    out = random.normal(size=(rows, FEATURES))
    for feature, count in zip(CATEGORICAL, CATEGORIES, strict=True):
        chance = 1.0 / np.arange(1, count + 1) ** 1.1
        out[:, feature] = 1 + random.choice(count, size=rows, p=chance / chance.sum())
    for feature in (14, 20, 34, 38):
        out[random.random(rows) < 0.1, feature] = np.nan
    return out


def request_rows(random: np.random.Generator, candidates: int) -> Floats:
    """Raw rows of one request: what is the request's is the same in all."""
    out = raw_rows(random, candidates)
    out[:, REQUEST] = out[0, REQUEST]
    return out


@lru_cache(maxsize=len(SHAPES))
def trained(shape: Shape, rows: int = TRAIN_ROWS) -> Trained:
    """A model grown on so many rows; the same bits on every machine with the same LightGBM."""
    random = np.random.default_rng(7)
    raw = raw_rows(random, rows)
    effects = [random.normal(scale=0.35, size=count + 1) for count in CATEGORIES]
    hidden = np.nan_to_num(raw[:, 20]) * 0.4 + raw[:, 15] * raw[:, 35] * 0.5 + np.sin(2.0 * raw[:, 36]) * 0.4
    for feature, effect in zip(CATEGORICAL, effects, strict=True):
        hidden += effect[raw[:, feature].astype(np.int64)]
    y = (random.random(rows) < 1.0 / (1.0 + np.exp(2.5 - hidden))).astype(np.float64)
    rates = tuple(
        _click_rates(raw[:, feature], y, n) for feature, n in zip(CATEGORICAL, CATEGORIES, strict=True)
    )
    fed = Trained(shape, "", rates)
    return fed._replace(text=_train(fed.rows(raw), y, shape))


def _click_rates(codes: Floats, y: Floats, count: int) -> Floats:
    """float64[count + 1], by code: clicks over rows, drawn to the mean of all by twenty rows."""
    places = codes.astype(np.int64)
    rows = np.bincount(places, minlength=count + 1)
    return np.asarray((np.bincount(places, weights=y, minlength=count + 1) + 20 * y.mean()) / (rows + 20))


def _train(x: Floats, y: Floats, shape: Shape) -> str:
    params = {
        "objective": "binary",
        "verbose": -1,
        "num_leaves": shape.leaves,
        "learning_rate": 0.05,
        "min_data_in_leaf": 20,
        "cat_smooth": 10.0,
        "num_threads": 2,
        "seed": 1,
        "deterministic": True,
        "force_row_wise": True,
    }
    categorical = list(CATEGORICAL) if shape.native else []
    data = lgb.Dataset(x, y, categorical_feature=categorical, params=params)
    return str(lgb.train(params, data, num_boost_round=shape.trees).model_to_string())
