"""Calibration tables: monotone, inside (0, 1), balanced; the kernel, the reference and the slow twin agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from models.calibration import (
    MAX_KNOTS,
    MIN_ISOTONIC,
    CalibrationTable,
    calibrate,
    check_table,
    fit_calibration,
    sigmoid,
)
from models.errors import ArtifactError
from models.evaluate import ece
from models.kernels import calibrated
from tests.support import naive_scorer

TABLE = CalibrationTable("isotonic", (-3.0, -1.0, 2.0), (0.1, 0.2, 0.8))


def draw(rows: int, seed: int = 1, tilt: float = 0.5, shift: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose log odds are off by a factor and a number."""
    random = np.random.default_rng(seed)
    raw = random.normal(-2.0, 1.5, rows)
    return raw, (random.random(rows) < sigmoid(tilt * raw + shift)).astype(float)


def test_between_knots_it_is_linear_and_outside_level():
    raw = np.array([-9.0, -3.0, -2.0, -1.0, 0.5, 2.0, 9.0])
    np.testing.assert_allclose(calibrate(TABLE, raw), [0.1, 0.1, 0.15, 0.2, 0.5, 0.8, 0.8], rtol=1e-15)


@given(raw=st.floats(-20, 20), seed=st.integers(0, 99))
def test_kernel_reference_and_slow_twin_agree_bit_for_bit(raw, seed):
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 20))
    xs, ys = np.unique(random.normal(0, 5, n).round(1)), np.sort(random.random(n))
    ys = ys[: len(xs)]
    table = CalibrationTable("isotonic", tuple(xs.tolist()), tuple(ys.tolist()))
    found = calibrated(raw, xs, ys, 0, len(xs))
    assert (
        found
        == calibrate(table, np.array([raw]))[0]
        == naive_scorer.calibrated(raw, xs.tolist(), ys.tolist())
    )


def test_kernel_reads_only_its_own_model():
    raws, probabilities = np.array([0.0, 1.0, -3.0, -1.0, 2.0]), np.array([0.5, 0.6, 0.1, 0.2, 0.8])
    assert calibrated(-2.0, raws, probabilities, 2, 5) == pytest.approx(0.15)
    assert calibrated(9.0, raws, probabilities, 0, 2) == 0.6


def test_kernel_without_knots_knows_no_probability():
    assert np.isnan(calibrated(0.0, np.empty(0), np.empty(0), 0, 0))


@pytest.mark.parametrize("rows", [0, 1, 30, 3000, 60_000])
def test_fit_gives_a_table_that_passes_its_own_check(rows):
    table = fit_calibration(*draw(rows))
    check_table(table, "fit")
    assert len(table.raw) <= MAX_KNOTS


def test_many_labels_are_fitted_by_steps_and_few_by_an_offset():
    raw, labels = draw(5000)
    few = labels * (np.cumsum(labels) <= MIN_ISOTONIC - 1)
    assert fit_calibration(raw, labels).method == "isotonic"
    assert fit_calibration(raw, few).method == "offset"


def test_isotonic_probabilities_sum_to_the_labels():
    raw, labels = draw(20_000)
    assert calibrate(fit_calibration(raw, labels), raw).sum() == pytest.approx(labels.sum(), rel=1e-9)


def test_calibration_repairs_scores_on_rows_it_has_not_seen():
    table = fit_calibration(*draw(40_000, seed=1))
    raw, labels = draw(40_000, seed=2)
    before, after = ece(labels, sigmoid(raw)), ece(labels, calibrate(table, raw))
    unavoidable = ece(labels, sigmoid(0.5 * raw - 1.0))  # the true law, on the same draw
    assert after < 1.5 * unavoidable
    assert before > 5 * after


def test_single_row_without_positive_does_not_lift_the_others():
    raw, labels = draw(5000)
    table = fit_calibration(np.append(raw, -50.0), np.append(labels, 0.0))
    assert table.probability[0] < 0.05
    assert calibrate(table, np.array([-2.0]))[0] == pytest.approx(sigmoid(np.array([-2.0]))[0], abs=0.05)


def test_offset_moves_towards_the_labels_and_is_held_back():
    raw = np.full(200, -2.0)
    labels = np.array([1.0] * 40 + [0.0] * 160)
    p = calibrate(fit_calibration(raw, labels), raw)[0]
    assert sigmoid(raw)[0] < p < 0.2
    assert p == pytest.approx(0.2, abs=0.02)


def test_without_labels_the_sigmoid_stays():
    raw = np.linspace(-8, 8, 33)
    table = fit_calibration(np.empty(0), np.empty(0))
    np.testing.assert_allclose(calibrate(table, raw), sigmoid(raw), rtol=2e-3)


def test_separable_labels_never_claim_certainty():
    raw = np.concatenate([np.linspace(-5, -1, 200), np.linspace(1, 5, 200)])
    p = calibrate(fit_calibration(raw, (raw > 0).astype(float)), raw)
    assert p.min() > 0.0
    assert p.max() < 1.0


def rare(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are right, of clicks at 2 %."""
    random = np.random.default_rng(seed)
    raw = random.normal(-4.3, 1.0, rows)
    return raw, (random.random(rows) < sigmoid(raw)).astype(float)


@pytest.mark.parametrize("rows", [6_000, 20_000])
def test_top_step_of_a_handful_of_clicks_is_not_above_the_truth(rows):
    """Over 40 worlds; the steps of scikit-learn, which are as they fell, promise half as much again."""
    ours = theirs = truth = 0.0
    for seed in range(40):
        raw, labels = rare(rows, seed)
        table = fit_calibration(raw, labels)
        assert table.method == "isotonic"
        ours += table.probability[-1]
        theirs += IsotonicRegression().fit(raw, labels).y_thresholds_[-1]
        truth += float(sigmoid(np.array(table.raw[-1:]))[0])
    assert theirs / truth > 1.4
    assert 0.8 < ours / truth < 1.15


def test_lucky_rows_at_the_top_are_not_believed():
    """Two clicks and a miss above all others, where the mean is 2 %: 67 % of three rows says next to nothing."""
    raw, labels = rare(20_000, 1)
    odd, score = np.array([1.0, 0.0, 1.0]), float(raw.max())
    table = fit_calibration(np.append(raw, score + 0.5 + 0.1 * np.arange(3)), np.append(labels, odd))
    mean = labels.mean()
    assert 2 * mean < table.probability[-1] < sigmoid(np.array([score + 0.6]))[0] * 1.3
    assert calibrate(table, raw).sum() == pytest.approx(labels.sum(), rel=0.01)


@pytest.mark.parametrize("share", [0.002, 0.02])
def test_steep_top_that_many_clicks_support_stays_steep(share):
    """Rows of 80 % far above all others, about 32 and 320 clicks: what they did is what is promised."""
    random = np.random.default_rng(5)
    hot = random.random(20_000) < share
    raw = np.where(hot, random.normal(2.0, 0.5, 20_000), random.normal(-4.3, 0.7, 20_000))
    labels = (random.random(20_000) < np.where(hot, 0.8, sigmoid(raw))).astype(float)
    table = fit_calibration(raw, labels)
    assert calibrate(table, raw[hot]).mean() == pytest.approx(labels[hot].mean(), rel=0.05)


@pytest.mark.parametrize("tilt", [1.0, -1.0])
def test_top_is_sober_whichever_way_the_scores_point(tilt):
    """Scores that rank backwards give no stretched sigmoid to lean on but their mean."""
    raw, labels = rare(8_000, 3)
    table = fit_calibration(tilt * raw, labels)
    check_table(table, "fit")
    assert calibrate(table, tilt * raw).sum() == pytest.approx(labels.sum(), rel=1e-9)


@pytest.mark.parametrize(
    ("raw", "probability", "message"),
    [
        ((), (), "1 to 256 knots"),
        ((0.0, 1.0), (0.5,), "in pairs"),
        ((0.0, 0.0), (0.1, 0.2), "strictly ascending"),
        ((0.0, float("nan")), (0.1, 0.2), "finite"),
        ((0.0, 1.0), (0.2, 0.1), "never descending"),
        ((0.0, 1.0), (0.0, 0.1), r"inside \(0, 1\)"),
        ((0.0, 1.0), (0.5, 1.0), r"inside \(0, 1\)"),
    ],
)
def test_broken_table_is_refused(raw, probability, message):
    with pytest.raises(ArtifactError, match=message):
        check_table(CalibrationTable("isotonic", raw, probability), "ctr")
