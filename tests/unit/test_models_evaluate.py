"""Metrics: each against its definition, on numbers small enough to do by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
