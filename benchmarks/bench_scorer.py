"""The compiled scorer against LightGBM's own predict: microseconds a row, ratio, largest difference.

    pytest benchmarks/bench_scorer.py

One click model of 100 trees of 31 leaves over 40 features (20 categorical, Zipf; 28 of the request, 12 of the
campaign), seeded synthetic data. A batch of n rows is one request with n candidates, which is how a bidder
scores. Three ways, one thread each:

- *lightgbm*: `Booster.predict(rows, raw_score=True, num_threads=1)` on the n full rows;
- *whole*: our kernel on the n full rows, every feature binned for every row;
- *factorised*: the request's features binned and AND-ed once, then one AND, ctz and gather a tree for each
  candidate; campaigns were AND-ed when they were loaded.

Every way is timed from Python, its call included. The table at the end divides the medians.
"""

import time

import lightgbm as lgb
import numpy as np
import pytest
from numba import njit

from models import kernels
from models.compile import LeafMaskTable, compile_boosters
from models.scorer import check_table, score_rows

TRAIN_ROWS = 40_000
FEATURES = 40
REQUEST = np.arange(28)
CAMPAIGN = np.arange(28, FEATURES)
CATEGORICAL = [*range(14), *range(28, 34)]
BATCHES = (1, 64, 1024)
CAMPAIGNS = 1024

_medians: dict[tuple[str, int], float] = {}


@njit(cache=True)
def score_candidates(
    request,
    features,
    masks,
    leaf_values,
    kind,
    first_row,
    thr_start,
    thresholds,
    cat_start,
    cat_rows,
    halves,
    out,
):
    """Raw scores of the first len(out) campaigns for one request."""
    rows = np.empty(features.shape[0], dtype=np.int64)
    for i in range(features.shape[0]):
        f = features[i]
        rows[i] = kernels.feature_row(
            request[f], f, kind, first_row, thr_start, thresholds, cat_start, cat_rows
        )
    left = np.empty(masks.shape[1], dtype=np.uint64)
    kernels.and_rows(masks, rows, rows.shape[0], left)
    for c in range(out.shape[0]):
        out[c] = kernels.raw_score(left, halves[c], leaf_values, 0, masks.shape[1])


def _values(random: np.random.Generator, rows: int) -> np.ndarray:
    out = random.normal(size=(rows, FEATURES))
    for place in CATEGORICAL:
        out[:, place] = np.minimum(random.zipf(1.4, rows), 5 * (place + 1) ** 2)
    out[random.random(rows) < 0.1, 20] = np.nan
    return out


@pytest.fixture(scope="module")
def model() -> tuple[lgb.Booster, LeafMaskTable, float]:
    random = np.random.default_rng(7)
    x = _values(random, TRAIN_ROWS)
    hidden = np.sin(x[:, CATEGORICAL]).sum(axis=1) * 0.4 + x[:, 15] * x[:, 35] + np.nan_to_num(x[:, 20])
    y = (random.random(TRAIN_ROWS) < 1 / (1 + np.exp(2.5 - hidden))).astype(float)
    params = {"objective": "binary", "verbose": -1, "num_leaves": 31, "num_threads": 2, "seed": 1}
    params |= {"deterministic": True, "force_row_wise": True}
    booster = lgb.train(
        params, lgb.Dataset(x, y, categorical_feature=CATEGORICAL, params=params), num_boost_round=100
    )
    text = booster.model_to_string()
    began = time.perf_counter()
    table = compile_boosters([text], FEATURES)
    build_s = time.perf_counter() - began
    check_table(table, [text])
    return booster, table, build_s


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """One request with every campaign: the request's columns are the same in all rows."""
    random = np.random.default_rng(8)
    out = _values(random, CAMPAIGNS)
    out[:, REQUEST] = out[0, REQUEST]
    return out


@pytest.fixture(scope="module")
def halves(model, rows) -> np.ndarray:
    """What is AND-ed once when campaigns are loaded."""
    _, table, _ = model
    out = np.empty((CAMPAIGNS, table.n_trees), dtype=np.uint64)
    for c in range(CAMPAIGNS):
        places = [
            kernels.feature_row(
                rows[c, f],
                f,
                table.feature_kind,
                table.first_row,
                table.thr_start,
                table.thresholds,
                table.cat_start,
                table.category_rows,
            )
            for f in CAMPAIGN
        ]
        kernels.and_rows(table.masks, np.array(places, dtype=np.int64), len(places), out[c])
    return out


def _factorised(table: LeafMaskTable, request: np.ndarray, halves: np.ndarray, n: int) -> np.ndarray:
    out = np.empty(n)
    score_candidates(
        request,
        REQUEST,
        table.masks,
        table.leaf_values,
        table.feature_kind,
        table.first_row,
        table.thr_start,
        table.thresholds,
        table.cat_start,
        table.category_rows,
        halves,
        out,
    )
    return out


def _run(benchmark, name: str, n: int, function, *arguments):
    function(*arguments)  # compiled before the clock starts
    benchmark.group = f"batch of {n}"
    result = benchmark(function, *arguments)
    if benchmark.stats is not None:
        _medians[name, n] = benchmark.stats.stats.median / n * 1e6
        benchmark.extra_info["us_a_row"] = _medians[name, n]
    return result


@pytest.mark.parametrize("n", BATCHES)
def test_lightgbm(benchmark, model, rows, n):
    booster, _, _ = model
    _run(benchmark, "lightgbm", n, lambda: booster.predict(rows[:n], raw_score=True, num_threads=1))


@pytest.mark.parametrize("n", BATCHES)
def test_whole(benchmark, model, rows, n):
    _, table, _ = model
    _run(benchmark, "whole", n, score_rows, table, rows[:n])


@pytest.mark.parametrize("n", BATCHES)
def test_factorised(benchmark, model, rows, halves, n):
    booster, table, _ = model
    found = _run(benchmark, "factorised", n, _factorised, table, rows[0], halves, n)
    theirs = booster.predict(rows[:n], raw_score=True, num_threads=1)
    assert (found.view(np.int64) == theirs.view(np.int64)).all()


def test_summary(model, capsys):
    """Prints the table; runs last."""
    booster, table, build_s = model
    random = np.random.default_rng(9)
    values = _values(random, 20_000)
    difference = np.abs(score_rows(table, values)[:, 0] - booster.predict(values, raw_score=True)).max()
    assert difference == 0.0
    with capsys.disabled():
        print(f"\n\n100 trees x 31 leaves, {FEATURES} features, {table.masks.shape[0]} rows of masks", end="")
        print(f" ({table.masks.nbytes / 1e6:.1f} MB), built in {build_s * 1e3:.0f} ms")
        print(f"largest difference on 20,000 rows: {difference}")
        for n in BATCHES:
            if ("lightgbm", n) not in _medians:
                continue
            theirs = _medians["lightgbm", n]
            print(f"batch {n:>5}: lightgbm {theirs:8.3f} us/row", end="")
            for name in ("whole", "factorised"):
                ours = _medians.get((name, n))
                if ours is not None:
                    print(f" | {name} {ours:7.3f} ({theirs / ours:5.1f}x)", end="")
            print()
