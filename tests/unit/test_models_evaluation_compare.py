"""Two models on the same rows."""

import numpy as np
import pytest

from models.evaluate import evaluate
from models.evaluation.compare import compare
from models.evaluation.intervals import judge, sample_of


def world(rows=20_000, seed=1):
    random = np.random.default_rng(seed)
    x, z = random.normal(size=(2, rows))
    q = 1 / (1 + np.exp(3.0 - x - 0.5 * z))
    worse = 1 / (1 + np.exp(2.95 - x))
    return (random.random(rows) < q).astype(float), worse, q


def test_a_model_is_no_better_than_itself():
    y, p, _ = world(2000)
    found = compare(y, p, p)
    assert not found.better
    for metric in ("normalized_entropy", "log_loss", "auc"):
        assert tuple(found[metric]) == (0.0, 0.0, 0.0)
        assert found.probability_better[metric] == 0.5


def test_the_truth_is_better_than_a_part_of_it():
    y, worse, truth = world()
    found = compare(y, worse, truth)
    difference, low, high = found["normalized_entropy"]
    assert found.better
    assert low < difference < high < 0.0
    assert found.probability_better["normalized_entropy"] == 1.0
    assert found["auc"].low > 0.0


def test_differences_are_those_of_the_two_metrics():
    y, worse, truth = world(3000)
    weights = np.random.default_rng(2).exponential(1.0, 3000) + 0.01
    found = compare(y, worse, truth, weights)
    old, new = evaluate(y, worse, weights), evaluate(y, truth, weights)
    for metric in ("normalized_entropy", "log_loss", "auc"):
        assert found[metric].value == pytest.approx(getattr(new, metric) - getattr(old, metric), rel=1e-6)


def test_the_other_way_round_is_the_other_sign():
    y, worse, truth = world(3000)
    one, other = compare(y, worse, truth), compare(y, truth, worse)
    for metric, interval in one.differences.items():
        value, low, high = other[metric]
        assert tuple(interval) == pytest.approx((-value, -high, -low))
        assert one.probability_better[metric] == pytest.approx(1 - other.probability_better[metric])


def test_paired_draws_see_what_two_intervals_do_not():
    y, worse, truth = world(6000, seed=3)
    old, new = (judge(sample_of(y, p)).normalized_entropy for p in (worse, truth))
    assert new.high > old.low  # by their own intervals the two can not be told apart
    assert compare(y, worse, truth).better


def test_models_that_differ_by_noise_are_seldom_called_better():
    """Of 100 pairs whose predictions are off at random alike, 2.5 % are expected, and 9 are four deviations above."""
    random, called = np.random.default_rng(7), 0
    for seed in range(100):
        y, _, truth = world(1500, seed)
        odds = np.log(truth / (1 - truth))
        old, new = (1 / (1 + np.exp(-odds - 0.3 * random.normal(size=1500))) for _ in range(2))
        called += compare(y, old, new, seed=seed).better
    assert called <= 9


def test_a_handful_of_events_proves_nothing():
    y = np.zeros(1000)
    y[:9] = 1.0
    found = compare(y, np.full(1000, 0.5), np.full(1000, 0.009))
    assert not found.better
    assert found["normalized_entropy"].high is None
    assert found.probability_better["normalized_entropy"] is None


def test_labels_all_alike_have_no_normalized_entropy():
    found = compare(np.zeros(100), np.full(100, 0.5), np.full(100, 0.1))
    assert not found.better
    assert found["normalized_entropy"].value is None
    assert found["log_loss"].value < 0.0
    assert found["auc"].value is None


def test_two_models_must_be_judged_by_the_same_rows():
    with pytest.raises(ValueError, match="one length"):
        compare(np.zeros(3), np.full(3, 0.5), np.full(2, 0.5))
