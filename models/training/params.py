"""How to train: one frozen record, checked before any work is done."""

from pathlib import Path
from typing import Literal

import msgspec

from models.errors import TableError
from models.keys import load_keys


class TrainParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to train.

    Attributes:
        num_leaves: leaves of a tree, 2 to 31; events are rare, so that small trees and strong shrinkage
            generalise best.
        learning_rate: shrinkage of each tree.
        max_rounds: most trees.
        fixed_rounds: trees where nothing can decide when to stop.
        patience: rounds without gain before stopping.
        min_data_in_leaf: fewest rows of a leaf; lowered for small tables to a hundredth of the rows.
        lambda_l2: shrinks leaf values.
        cat_smooth, cat_l2: shrink the statistics of a category, and splits on categories.
        min_data_per_group: fewest rows of a category that a split may single out; lowered for small tables
            to a hundredth of the rows.
        feature_fraction, bagging_fraction: share of features and of rows that each tree sees.
        max_categories: most values of a column that get a code of their own.
        min_count: fewest rows that a value needs to get one.
        num_threads: threads of LightGBM, which gives the same trees for any number.
        calibration_share, test_share: share of the rows that calibrate, and that test.
        split_by: `time`, or a column: all rows of one value fall into one slice.
        negative_rate: share of the rows without a click that the trees of the click model are grown on.
        delay: of conversions: `elapsed`, `buckets` or `none`; `auto` is `elapsed` where the table tells
            the times and holds enough conversions, else `none`.
        delay_by: a declared categorical column; each of its values with enough conversions gets a distribution
            of delays of its own.
        value_model: of a conversion: `gamma`, `tweedie` or `lognormal`; `auto` takes the best on held-out
            rows, `none` makes none.
        allow_prior: make a click model of one leaf where the rows hold no click at all, or nothing else.
        drop_missing: leave out declared columns of which every value is missing, instead of refusing the table.
    """

    num_leaves: int = 8
    learning_rate: float = 0.05
    max_rounds: int = 400
    fixed_rounds: int = 60
    patience: int = 40
    min_data_in_leaf: int = 300
    lambda_l2: float = 20.0
    cat_smooth: float = 300.0
    cat_l2: float = 200.0
    min_data_per_group: int = 1000
    feature_fraction: float = 0.4
    bagging_fraction: float = 0.7
    max_categories: int = 1000
    min_count: int = 10
    num_threads: int = 2
    calibration_share: float = 0.15
    test_share: float = 0.15
    split_by: str = "time"
    negative_rate: float = 1.0
    delay: Literal["auto", "none", "elapsed", "buckets"] = "auto"
    delay_by: str | None = None
    value_model: Literal["auto", "none", "gamma", "tweedie", "lognormal"] = "auto"
    allow_prior: bool = False
    drop_missing: bool = False


def load_params(path: Path) -> TrainParams:
    """Parameters of a TOML file with keys as `TrainParams` has them; what is absent is the default.

    Raises:
        TableError: the file is missing, is not TOML, or holds a key or value that is not allowed.
    """
    return load_keys(path, TrainParams, "training parameters", "clearbid models params train")


def check_params(params: TrainParams) -> None:
    """Raises `TableError` where a parameter is out of its range."""
    shares = params.calibration_share + params.test_share
    if min(params.calibration_share, params.test_share) <= 0.0 or shares >= 0.9:
        raise TableError(f"shares of calibration and test must be > 0 and sum to below 0.9, were {shares}")
    if not 2 <= params.num_leaves <= 31:
        raise TableError(f"num_leaves must be 2 to 31, was {params.num_leaves}")
    for name in ("negative_rate", "feature_fraction", "bagging_fraction", "learning_rate"):
        value = getattr(params, name)
        if not 0.0 < value <= 1.0:
            raise TableError(f"{name} must be above 0 and at most 1, was {value}")
    for name in ("max_rounds", "fixed_rounds", "patience", "num_threads", "min_count", "max_categories"):
        if getattr(params, name) < 1:
            raise TableError(f"{name} must be 1 or more, was {getattr(params, name)}")
