"""Bootstrap intervals of a model's metrics on a million rows: seconds, and the same by copying rows.

    pytest benchmarks/bench_evaluation.py -s

Seeded synthetic rows with 2 % positives, AUC about .69, 300,000 users. Ways, one thread each:

- *ours*: `judge`, 200 draws: AUC, log loss, normalized entropy, calibration and ECE with intervals, from one sort;
- *parts*: the same for each of 20 parts of the rows at once;
- *paired*: `compare`, 200 paired draws of two models;
- *copied*: the plain way: users drawn with replacement, their rows copied, and all metrics computed anew by
  `models.evaluate`; 3 draws are timed, 200 of them reckoned;
- *scikit-learn*: `roc_auc_score` and `log_loss` of one draw by `sample_weight`, 3 timed, 200 reckoned: two of the
  five metrics.
"""

import time
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from models.evaluate import evaluate
from models.evaluation.compare import compare_samples
from models.evaluation.intervals import Sample, judge, judge_parts, sample_of
from models.evaluation.resampling import draws_of

ROWS, USERS, DRAWS, TIMED = 1_000_000, 300_000, 200, 3


@pytest.fixture(scope="module")
def samples() -> tuple[Sample, Sample]:
    """The true law and one that predicts 4 % too much, on the same rows."""
    random = np.random.default_rng(1)
    p = 1.0 / (1.0 + np.exp(4.0 - 0.7 * random.normal(size=ROWS)))
    y = (random.random(ROWS) < p).astype(np.float64)
    users = random.integers(0, USERS, ROWS).astype(np.int32)
    return sample_of(y, p, None, users), sample_of(y, np.minimum(p * 1.04, 0.999), None, users)


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """Median of a few; the first call, which compiles, is not among them."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return float(np.median(taken))


def _copied(sample: Sample) -> None:
    """Each user's rows as often as the user was drawn."""
    for times in draws_of(int(sample.clusters.max()) + 1, TIMED, 1):
        rows = np.repeat(np.arange(len(sample)), times[sample.clusters])
        evaluate(sample.y[rows], sample.p[rows], sample.weights[rows])


def _scikit_learn(sample: Sample) -> None:
    for times in draws_of(int(sample.clusters.max()) + 1, TIMED, 1):
        weights = sample.weights * times[sample.clusters]
        roc_auc_score(sample.y, sample.p, sample_weight=weights)
        log_loss(sample.y, sample.p, sample_weight=weights)


def test_intervals_of_a_million_rows_take_seconds(samples: tuple[Sample, Sample]) -> None:
    right, off = samples
    parts = np.arange(ROWS, dtype=np.int64) * 7919 % 20
    reckoned = DRAWS / TIMED
    found = {
        "ours": seconds(lambda: judge(off, draws=DRAWS)),
        "parts": seconds(lambda: judge_parts(off, parts, 20, draws=DRAWS)),
        "paired": seconds(lambda: compare_samples(right, off, draws=DRAWS)),
        "copied": seconds(lambda: _copied(off), 1) * reckoned,
        "scikit-learn": seconds(lambda: _scikit_learn(off), 1) * reckoned,
    }
    print(f"\n{ROWS:,} rows, {USERS:,} users, {DRAWS} draws, seconds of CPU")
    for name, taken in found.items():
        print(f"{name:>14} {taken:8.1f}   x {taken / found['ours']:.1f}")
    assert found["ours"] < found["copied"] / 10
