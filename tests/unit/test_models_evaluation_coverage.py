"""Intervals cover the truth as often as they say, in worlds whose truth is known.

Rows of one user are alike, as in life. The truth of a metric is what it tends to on ever more rows of the same law;
it is taken from a table some hundred times larger than that of a world.
"""

import math

import numpy as np
import pytest

from models.evaluate import evaluate
from models.evaluation.compare import compare
from models.evaluation.intervals import judge, sample_of

METRICS = ("auc", "log_loss", "normalized_entropy", "calibration_ratio")


def draw_world(random, users):
    """Labels, predictions of two models and the user of each row."""
    of_user = np.repeat(np.arange(users), 1 + random.poisson(4, users))
    x, z = random.normal(size=(2, len(of_user)))
    taste = 0.7 * random.normal(size=users)[of_user]
    y = (random.random(len(of_user)) < 1 / (1 + np.exp(2.6 - x - 0.3 * z - taste))).astype(float)
    p_old = 1 / (1 + np.exp(2.3 - 0.8 * x))
    p_new = 1 / (1 + np.exp(2.35 - 0.9 * x - 0.1 * z))
    return y, p_old, p_new, of_user.astype(np.int32)


@pytest.fixture(scope="module")
def truth():
    y, p_old, p_new, _ = draw_world(np.random.default_rng(0), 150_000)
    return evaluate(y, p_old), evaluate(y, p_new)


def covered(truth, worlds, seed, clustered=True):
    """How many intervals hold the truth, by metric; and those of the differences of two models."""
    random = np.random.default_rng(seed)
    old, new = truth
    hits = dict.fromkeys([*METRICS, "ece", "difference"], 0)
    for world in range(worlds):
        y, p_old, p_new, users = draw_world(random, 700)
        clusters = users if clustered else None
        found = judge(sample_of(y, p_old, clusters=clusters), draws=200, seed=world)
        for name in (*METRICS, "ece"):
            _, low, high = getattr(found, name)
            hits[name] += low <= getattr(old, name) <= high
        _, low, high = compare(y, p_old, p_new, clusters=clusters, seed=world)["normalized_entropy"]
        hits["difference"] += low <= new.normalized_entropy - old.normalized_entropy <= high
    return hits


def assert_covers(hits, worlds, spread):
    """95 % within `spread` standard deviations of a count, and a point for percentiles of 80 events."""
    slack = spread * math.sqrt(0.95 * 0.05 / worlds)
    for name in (*METRICS, "difference"):
        assert 0.94 - slack <= hits[name] / worlds <= 0.95 + slack, (name, hits[name] / worlds)
    assert hits["ece"] / worlds >= 0.95 - slack, hits["ece"]  # held on purpose more often than it says


def test_intervals_cover_the_truth_of_a_sample_of_worlds(truth):
    assert_covers(covered(truth, 60, seed=11), 60, spread=3.0)


@pytest.mark.slow
def test_intervals_cover_the_truth(truth):
    assert_covers(covered(truth, 600, seed=12), 600, spread=2.6)


@pytest.mark.slow
def test_rows_taken_for_independent_cover_less(truth):
    """Why users are drawn and not rows: the same worlds, the same rows, fewer intervals that hold the truth."""
    by_user, by_row = covered(truth, 400, seed=13), covered(truth, 400, seed=13, clustered=False)
    for name in ("log_loss", "calibration_ratio"):
        assert by_row[name] < by_user[name]
