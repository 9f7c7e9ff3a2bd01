"""Parts of the rows: how a column becomes parts, and which are flagged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.evaluation.intervals import sample_of
from models.evaluation.slices import (
    benjamini_hochberg,
    by_column,
    calibration_p_value,
    deciles,
    flag,
)
from models.evaluation.slicing import NO_SEGMENT, UNKNOWN, bands_of, slicing_of


def world(rows, seed=1, rate=0.05):
    random = np.random.default_rng(seed)
    q = random.beta(2, 2 / rate, rows)
    return (random.random(rows) < q).astype(float), q


def sizes(slicing):
    counts = np.bincount(slicing.codes, minlength=len(slicing.labels))
    return dict(zip(slicing.labels, counts.tolist(), strict=True))


def test_a_text_is_a_part_by_rows_and_what_is_not_known_is_the_last():
    found = slicing_of("exchange", ["b", "a", None, "b", None, None])
    assert sizes(found) == {"b": 2, "a": 1, UNKNOWN: 3}
    assert found.labels[-1] == UNKNOWN
    assert not found.overlapping


@pytest.mark.parametrize("names", [["10", "9", "0"], ["2026-03-15", "2026-03-02", "2026-02-28"]])
def test_hours_and_days_are_in_their_own_order(names):
    assert slicing_of("hour", [names[0], *names]).labels == tuple(reversed(names))


def test_the_smallest_values_are_pooled():
    values = ["a"] * 5 + ["b"] * 4 + ["c"] * 2 + ["d", "e"]
    assert sizes(slicing_of("domain", values, most=2)) == {"a": 5, "b": 4, "others (3)": 4}
    assert "others" not in str(slicing_of("domain", values, most=4).labels)  # one alone is named


def test_a_row_is_in_the_part_of_each_of_its_segments():
    found = slicing_of("segments", [("a", "b"), ("a", "a"), ()])
    assert sizes(found) == {"a": 2, "b": 1, NO_SEGMENT: 1}
    assert found.overlapping


def test_many_numbers_are_bands_and_few_are_values():
    found = slicing_of("price", np.array([*np.arange(100.0), np.nan]))
    assert sizes(found) == {**dict.fromkeys(found.labels[:10], 10), UNKNOWN: 1}
    assert found.labels[0] == "0 to 9"
    assert sizes(slicing_of("won", np.array([0.0, 1.0, 1.0, np.nan]))) == {"0": 1, "1": 2, UNKNOWN: 1}


def test_rows_of_one_value_stay_in_one_band():
    values = np.repeat([1.0, 2.0, 3.0], [60, 5, 35])
    found = bands_of("p", values, np.ones(100))
    assert sizes(found) == {"1": 60, "2": 5, "3": 35}


@given(st.lists(st.sampled_from([None, *"abcdefgh"]), min_size=1, max_size=60), st.integers(1, 5))
def test_parts_that_do_not_overlap_sum_to_the_whole(values, most):
    y, p = world(len(values), rate=0.5)
    found = by_column(sample_of(y, p), slicing_of("x", values, most), draws=0)
    assert sum(part.judged.rows for part in found.slices) == len(values)
    assert sum(part.judged.positives for part in found.slices) == y.sum()
    assert sum(part.judged.rows * part.judged.rate.value for part in found.slices) == pytest.approx(y.sum())
    assert sum(part.judged.rows * part.judged.predicted.value for part in found.slices) == pytest.approx(
        p.sum()
    )


def test_some_of_the_rows_have_the_same_parts():
    whole = slicing_of("segments", [("a",), ("b", "a"), ("c",), ("a",)])
    found = whole.take(np.array([False, True, False, True]))
    assert found.labels == whole.labels
    assert sizes(found) == {"a": 2, "b": 1, "c": 0}
    assert found.rows.tolist() == [0, 0, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_are_those_of_scipy(p_values):
    mixed = [None, *p_values, None]
    found = benjamini_hochberg(mixed)
    assert found[0] is None
    assert found[-1] is None
    assert found[1:-1] == pytest.approx(stats.false_discovery_control(p_values).tolist())


def test_p_values_are_even_where_predictions_are_right():
    """Five percent of them below 0.05, half below one half: 600 worlds, four standard deviations."""
    found = np.array([calibration_p_value(sample_of(*world(2000, seed))) for seed in range(600)])
    for level in (0.05, 0.5):
        assert np.mean(found < level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 600))


def test_p_values_know_that_rows_of_one_user_are_alike():
    """Each user's 20 rows click or do not click together: taken for independent, they cry wolf."""
    random = np.random.default_rng(1)
    users = np.repeat(np.arange(300, dtype=np.int32), 20)
    clustered, naive = [], []
    for _ in range(200):
        y = np.repeat((random.random(300) < 0.2).astype(float), 20)
        clustered.append(calibration_p_value(sample_of(y, np.full(6000, 0.2), None, users)))
        naive.append(calibration_p_value(sample_of(y, np.full(6000, 0.2))))
    assert np.mean(np.array(clustered) < 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 200))
    assert np.mean(np.array(naive) < 0.05) > 0.4


def test_a_part_in_which_nothing_happened_can_be_off():
    assert calibration_p_value(sample_of(np.zeros(1000), np.full(1000, 0.03))) < 1e-6


def test_a_part_in_which_nothing_happened_is_not_off_because_its_rows_agree():
    """Six expected, none seen: the cluster totals hardly vary, but chance alone does this once in 70 times."""
    assert calibration_p_value(sample_of(np.zeros(1000), np.full(1000, 0.006))) == pytest.approx(
        0.014, abs=0.002
    )


@pytest.mark.parametrize("p", [0.001, 0.999])
def test_a_part_of_which_little_is_expected_is_not_tested(p):
    assert calibration_p_value(sample_of(np.zeros(1000), np.full(1000, p))) is None


def test_a_part_of_a_handful_of_users_is_not_tested():
    users = np.arange(1000, dtype=np.int32) % 9
    assert calibration_p_value(sample_of(np.zeros(1000), np.full(1000, 0.5), None, users)) is None


def test_of_many_right_parts_few_are_flagged_though_several_intervals_miss_one():
    y, p = world(60_000, seed=2, rate=0.1)
    parts = slicing_of("x", [f"v{k % 60}" for k in range(60_000)], most=60)
    (found,) = flag([by_column(sample_of(y, p), parts, draws=200)])
    missed = [part for part in found.slices if not _holds_one(part.judged.calibration_ratio)]
    assert found.tested == 60
    assert len(missed) >= 1
    assert len(found.flagged) == 0


def _holds_one(interval):
    return interval.low <= 1.0 <= interval.high


def test_the_part_that_is_off_is_flagged_and_no_other():
    y, p = world(40_000, seed=3)
    place = np.arange(40_000) % 8
    wrong = np.where(place == 5, np.clip(p * 1.6, 0, 0.99), p)
    parts = slicing_of("campaign", [f"c{k}" for k in place])
    (found,) = flag([by_column(sample_of(y, wrong), parts, draws=50)])
    assert [part.label for part in found.flagged] == ["c5"]


def test_more_looks_need_stronger_evidence():
    """The same part is adjusted by all parts of all columns that were looked at."""
    y, p = world(20_000, seed=4)
    sample = sample_of(y, p)
    one = by_column(sample, slicing_of("a", [f"{k % 2}" for k in range(20_000)]), draws=0)
    other = by_column(sample, slicing_of("b", [f"{k % 19}" for k in range(20_000)]), draws=0)
    alone, together = flag([one])[0], flag([one, other])[0]
    for mine, shared in zip(alone.slices, together.slices, strict=True):
        assert mine.p_value == shared.p_value
    together_all = [part for report in flag([one, other]) for part in report.slices]
    expected = stats.false_discovery_control([part.p_value for part in together_all])
    assert [part.adjusted for part in together_all] == pytest.approx(expected.tolist())


def test_tenths_of_the_rows_rise_with_the_prediction():
    y, p = world(10_000, seed=5)
    found = deciles(sample_of(y, p), draws=50)
    means = [part.judged.predicted.value for part in found.slices]
    assert [part.judged.rows for part in found.slices] == [1000] * 10
    assert means == sorted(means)
