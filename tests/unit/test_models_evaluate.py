"""Metrics: each against its definition, on numbers small enough to do by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from models.evaluate import auc, calibration_ratio, ece, evaluate, log_loss, normalized_entropy

Y = np.array([0.0, 0.0, 1.0, 1.0])
P = np.array([0.1, 0.4, 0.35, 0.8])


def test_auc_counts_pairs_in_order():
    assert auc(Y, P) == 0.75


def test_auc_counts_ties_half():
    assert auc(np.array([0.0, 1.0, 1.0]), np.array([0.5, 0.5, 0.6])) == 0.75


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=1, max_size=30))
def test_auc_equals_the_count_of_pairs(rows):
    y = np.array([float(label) for label, _ in rows])
    p = np.array([score / 10 for _, score in rows])
    pairs = [(a > b) + 0.5 * (a == b) for a in p[y > 0] for b in p[y == 0]]
    if pairs:
        assert auc(y, p) == pytest.approx(sum(pairs) / len(pairs), abs=1e-15)
    else:
        assert math.isnan(auc(y, p))


def test_log_loss_is_the_mean_surprise():
    assert log_loss(Y, P) == pytest.approx(
        -(math.log(0.9) + math.log(0.6) + math.log(0.35) + math.log(0.8)) / 4
    )


def test_normalized_entropy_of_the_mean_is_one():
    y = np.array([1.0, 0.0, 0.0, 0.0])
    assert normalized_entropy(y, np.full(4, 0.25)) == pytest.approx(1.0)


def test_calibration_ratio_is_predicted_over_seen():
    assert calibration_ratio(Y, P) == pytest.approx(1.65 / 2)


def test_ece_of_one_bin_is_the_gap_of_the_means():
    assert ece(Y, P, bins=1) == pytest.approx(abs(1.65 - 2) / 4)


def test_ece_weighs_the_gap_of_each_bin():
    assert ece(Y, P, bins=2) == pytest.approx((abs(0.45 - 1) + abs(1.2 - 1)) / 4)


def test_what_is_not_defined_is_none():
    found = evaluate(np.zeros(3), np.full(3, 0.1))
    assert (found.rows, found.positives) == (3, 0)
    assert (found.auc, found.normalized_entropy, found.calibration_ratio) == (None, None, None)
    assert found.log_loss == pytest.approx(-math.log(0.9))
    assert evaluate(np.empty(0), np.empty(0)).log_loss is None


WEIGHED = st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=40)


def arrays(rows):
    y, p, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return y, p / 10, w


def as_numbers(metrics):
    return {name: math.nan if value is None else value for name, value in asdict(metrics).items()}


@given(WEIGHED)
def test_a_row_of_weight_three_is_that_row_three_times(rows):
    y, p, w = arrays(rows)
    times = w.astype(int)
    weighed = as_numbers(evaluate(y, p, w))
    repeated = as_numbers(evaluate(np.repeat(y, times), np.repeat(p, times)))
    assert auc(y, p, w) == pytest.approx(auc(np.repeat(y, times), np.repeat(p, times)), abs=0, nan_ok=True)
    for name in ("auc", "log_loss", "normalized_entropy", "calibration_ratio", "ece"):
        assert weighed[name] == pytest.approx(repeated[name], rel=1e-12, abs=1e-14, nan_ok=True), name
    assert (weighed["rows"], weighed["positives"]) == (len(rows), sum(label for label, _, _ in rows))


@given(WEIGHED, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, random):
    mixed = list(rows)
    random.shuffle(mixed)
    one, other = (as_numbers(evaluate(*arrays(each))) for each in (rows, mixed))
    assert one == pytest.approx(other, rel=1e-12, abs=1e-14, nan_ok=True)


@given(WEIGHED, st.floats(0.01, 100))
def test_the_unit_of_the_weights_does_not_matter(rows, unit):
    y, p, w = arrays(rows)
    one, other = as_numbers(evaluate(y, p, w)), as_numbers(evaluate(y, p, w * unit))
    assert one == pytest.approx(other, rel=1e-9, abs=1e-12, nan_ok=True)


def test_weighted_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(3)
    y, p = (random.random(5000) < 0.1).astype(float), np.round(random.uniform(0.01, 0.99, 5000), 2)
    w = random.exponential(1.0, 5000)
    assert auc(y, p, w) == pytest.approx(roc_auc_score(y, p, sample_weight=w), rel=1e-12)
    assert log_loss(y, p, w) == pytest.approx(sklearn_log_loss(y, p, sample_weight=w), rel=1e-12)
    mean = np.full(5000, np.average(y, weights=w))
    known = sklearn_log_loss(y, mean, sample_weight=w)
    assert normalized_entropy(y, p, w) == pytest.approx(
        sklearn_log_loss(y, p, sample_weight=w) / known, rel=1e-12
    )


def test_ties_of_the_prediction_are_shared_out_among_bins():
    """One value has one bin, however many were asked for: noise within it is no miscalibration."""
    assert ece(Y, np.full(4, 0.5)) == pytest.approx(0.0)
    assert ece(np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.5, 0.5, 0.5, 0.9]), bins=2) == pytest.approx(
        (abs(2 * 0.5 - 2 * 2 / 3) + abs(0.5 - 2 / 3 + 0.9 - 1)) / 4
    )
