"""Intervals: sums of a draw against rows written out, draws against the law they claim, and when there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.clusters import TIME_BLOCKS, clusters_of
from models.evaluate import evaluate
from models.evaluation.intervals import (
    Interval,
    interval,
    judge,
    judge_parts,
    metric_draws,
    part_draws,
    sample_of,
)
from models.evaluation.resampling import draws_of

NAMES = ("auc", "log_loss", "normalized_entropy", "calibration_ratio")
ROWS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 9), st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=40
)


def sample_from(rows):
    y, p, w, clusters = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return sample_of(y, p / 10, w, clusters.astype(np.int32))


def world(rows=3000, seed=1, rate=0.1):
    random = np.random.default_rng(seed)
    q = np.clip(random.beta(2, 2 / rate, rows), 1e-6, 1 - 1e-6)
    y = (random.random(rows) < q).astype(float)
    return y, q, random.integers(0, rows // 3, rows).astype(np.int32)


@given(ROWS)
def test_the_estimate_is_that_of_evaluate(rows):
    sample = sample_from(rows)
    plain, found = evaluate(sample.y, sample.p, sample.weights), judge(sample, draws=2)
    assert (found.rows, found.positives) == (plain.rows, plain.positives)
    for name in (*NAMES, "ece"):
        known = getattr(plain, name)
        assert getattr(found, name).value == (
            None if known is None else pytest.approx(known, rel=1e-9, abs=1e-12)
        )


@given(ROWS, st.integers(0, 5))
def test_each_draw_is_the_rows_as_often_as_their_cluster_was_drawn(rows, seed):
    sample = sample_from(rows)
    whole = np.zeros(len(sample), dtype=np.int64)
    found = metric_draws(part_draws(sample, whole, 1, 3, seed)[0])
    _, codes = np.unique(sample.clusters, return_inverse=True)
    for draw, times in enumerate(draws_of(int(codes.max()) + 1, 3, seed), start=1):
        again = np.repeat(np.arange(len(sample)), times[codes])
        plain = evaluate(sample.y[again], sample.p[again], sample.weights[again])
        for name in NAMES:
            known = getattr(plain, name)
            value = found[name][draw, 0]
            assert np.isnan(value) if known is None else value == pytest.approx(known, rel=1e-9), name


def test_counts_of_a_draw_are_poisson_with_mean_one():
    drawn = np.concatenate(list(draws_of(20_000, 20, seed=5)))
    seen = np.bincount(np.minimum(drawn, 6), minlength=7)
    law = np.append(stats.poisson.pmf(range(6), 1.0), stats.poisson.sf(5, 1.0))
    assert stats.chisquare(seen, law * len(drawn)).pvalue > 0.001


def test_draws_are_the_same_for_a_seed_and_differ_between_seeds():
    one, again, other = (list(draws_of(500, 3, seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_intervals_do_not_depend_on_the_order_of_the_rows(random):
    y, p, clusters = world(400)
    order = list(range(400))
    random.shuffle(order)
    one = judge(sample_of(y, p, None, clusters), draws=50)
    other = judge(sample_of(y[order], p[order], None, clusters[order]), draws=50)
    for name in (*NAMES, "ece"):
        assert list(getattr(one, name)) == pytest.approx(list(getattr(other, name)), rel=1e-9)


def test_intervals_of_rows_written_out_are_those_of_their_weights():
    y, p, clusters = world(600)
    times = np.random.default_rng(4).integers(1, 4, 600)
    weighed = judge(sample_of(y, p, times.astype(float), clusters), draws=50)
    repeated = judge(
        sample_of(*(np.repeat(each, times) for each in (y, p, np.ones(600), clusters))), draws=50
    )
    for name in (*NAMES, "ece"):
        assert list(getattr(weighed, name)) == pytest.approx(list(getattr(repeated, name)), rel=1e-9), name
    assert weighed.ece_by_chance is not None


def test_an_interval_is_about_as_wide_as_theory_says():
    """The mean of 4,000 labels: the binomial's standard deviation, within a tenth."""
    y, p, _ = world(4000)
    found = judge(sample_of(y, p), draws=1000)
    sd = np.sqrt(y.mean() * (1 - y.mean()) / 4000)
    assert (found.rate.high - found.rate.low) / (2 * 1.96 * sd) == pytest.approx(1.0, abs=0.1)


def test_rows_that_repeat_within_users_make_intervals_wider_not_narrower():
    y, p, _ = world(1000)
    twice = [np.tile(each, 4) for each in (y, p)]
    users = np.tile(np.arange(1000, dtype=np.int32), 4)
    once, clustered = judge(sample_of(y, p), seed=3), judge(sample_of(*twice, None, users), seed=3)
    naive = judge(sample_of(*twice), seed=3)
    width = [found.auc.high - found.auc.low for found in (once, clustered, naive)]
    assert width[1] == pytest.approx(width[0], rel=1e-9)
    assert width[2] < 0.7 * width[1]


def test_the_ece_of_predictions_that_are_right_is_what_chance_makes_it():
    seen, expected = [], []
    for seed in range(30):
        y, p, _ = world(3000, seed)
        found = judge(sample_of(y, p), draws=50)
        seen.append(found.ece.value)
        expected.append(found.ece_by_chance)
        assert found.ece.low == 0.0
    assert np.mean(seen) == pytest.approx(np.mean(expected), rel=0.07)


def test_a_prediction_that_is_off_has_an_ece_above_chance():
    y, p, _ = world(20_000)
    found = judge(sample_of(y, np.clip(p * 1.5, 0, 0.99)), draws=100)
    assert found.ece.low > 0.0
    assert found.ece.value > 2 * found.ece_by_chance


@pytest.mark.parametrize(
    ("positives", "known"), [(0, False), (9, False), (10, True), (191, False), (200, False)]
)
def test_there_is_no_interval_from_a_handful_of_events(positives, known):
    y = np.zeros(200)
    y[:positives] = 1.0
    found = judge(sample_of(y, np.linspace(0.1, 0.9, 200)), draws=100)
    assert (found.calibration_ratio.low is not None) == known
    assert (found.auc.value is None) == (positives in {0, 200})
    assert (found.calibration_ratio.value is None) == (positives == 0)


@pytest.mark.parametrize(("users", "known"), [(9, False), (10, True)])
def test_there_is_no_interval_from_a_handful_of_users(users, known):
    y, p, _ = world(2000)
    found = judge(sample_of(y, p, None, np.arange(2000, dtype=np.int32) % users), draws=50)
    assert found.clusters == users
    assert (found.auc.low is not None) == known


def test_parts_are_judged_as_if_alone():
    y, p, clusters = world(900)
    codes = np.arange(900, dtype=np.int64) % 3
    parts = judge_parts(sample_of(y, p, None, clusters), codes, 4, draws=0)
    for part in range(3):
        alone = evaluate(y[codes == part], p[codes == part])
        assert parts[part].auc.value == pytest.approx(alone.auc)
        assert parts[part].ece.value == pytest.approx(alone.ece)
    assert (parts[3].rows, parts[3].auc, parts[3].ece_by_chance) == (0, Interval(None), None)
    assert sum(part.rows for part in parts) == 900
    assert sum(part.positives for part in parts) == y.sum()


def test_draws_without_the_number_are_left_out_unless_they_are_many():
    values = np.array([1.0, *np.linspace(0.5, 1.5, 95), *[np.nan] * 5])
    assert interval(values).low == pytest.approx(np.quantile(values[1:96], 0.025))
    assert interval(np.array([1.0, 1.0, np.nan])) == Interval(1.0)


def test_clusters_are_users_and_those_without_one_stand_alone():
    found = clusters_of(["b", None, "a", "b", None], 5)
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 4
    assert set(found.tolist()) == set(range(4))


@pytest.mark.parametrize("rows", [1, 7, TIME_BLOCKS, 12_345])
def test_without_users_clusters_are_stretches_of_time(rows):
    found = clusters_of(None, rows)
    sizes = np.bincount(found)
    assert len(sizes) == min(rows, TIME_BLOCKS)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(found) >= 0).all()
    assert (clusters_of([None] * rows, rows) == found).all()


@pytest.mark.parametrize(
    ("y", "p", "w", "said"),
    [
        ([1.0], [0.5, 0.5], None, "one length"),
        ([np.nan], [0.5], None, "0 or 1"),
        ([1.0], [np.nan], None, "inside"),
        ([1.0], [1.0], None, "inside"),
        ([1.0], [0.5], [np.nan], "> 0"),
        ([1.0], [0.5], [0.0], "> 0"),
    ],
)
def test_what_is_no_sample_is_refused(y, p, w, said):
    with pytest.raises(ValueError, match=said):
        sample_of(np.array(y), np.array(p), None if w is None else np.array(w))
