"""Late conversions: the distribution of delays, labels so far, and a rate that is right although labels are not."""

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from models.calibration import calibrate
from models.dataset import TrainingTable, table_from_arrow
from models.errors import TableError
from models.schema import fit_spec
from models.train import TrainParams, train_bundle
from models.training.delay import LEAST_SEEN, Clicks, Elapsed, clicks_of, estimate_curve
from models.training.delays import Conversions, conversions_of
from models.training.fit import fit_table, fit_trees
from models.training.split import split_table
from tests.support.delayed import DAY_NS, DECLARATIONS, Law, come_by, delayed_clicks

PARAMS = TrainParams(num_threads=1, max_rounds=150)


def read(arrow: pa.Table) -> TrainingTable:
    return table_from_arrow(arrow, DECLARATIONS, source="clicks.parquet")


def naive_curve(delay: np.ndarray, elapsed: np.ndarray, t: int) -> float:
    """The estimate by its definition: one factor for each distinct later delay."""
    share = 1.0
    for s in sorted(set(delay.tolist())):
        if s > t:
            share *= 1.0 - (delay == s).sum() / ((delay <= s) & (elapsed >= s)).sum()
    return share


def test_curve_is_the_product_limit_estimate_by_its_definition():
    random = np.random.default_rng(3)
    delay = random.integers(1, 40, 400)
    elapsed = delay + random.integers(0, 60, 400)
    curve = estimate_curve(delay, elapsed)
    inside = delay <= curve.horizon_ns
    ages = np.minimum(elapsed[inside], curve.horizon_ns)
    for t in (0, 1, 5, 17, 39, curve.horizon_ns - 1):
        expected = naive_curve(delay[inside], ages, t)
        assert curve.seen(np.array([t]))[0] == pytest.approx(max(expected, LEAST_SEEN), abs=1e-12)
    assert curve.seen(np.array([curve.horizon_ns, 10**9])).tolist() == [1.0, 1.0]


def test_curve_finds_the_law_that_cut_labels_hide():
    """Mean delay 4 days, ages 0 to 30: the mean of the delays seen is too short, the curve is not."""
    random = np.random.default_rng(4)
    delay, age = random.exponential(4.0, 20_000), random.random(20_000) * 30
    seen = delay <= age
    curve = estimate_curve((delay[seen] * 1e6).astype(np.int64), (age[seen] * 1e6).astype(np.int64))
    days = np.array([0.5, 2.0, 4.0, 10.0, 20.0])
    truth = (1 - np.exp(-days / 4)) / (1 - np.exp(-curve.horizon_ns / 4e6))
    found = curve.seen((days * 1e6).astype(np.int64))
    np.testing.assert_allclose(found, truth, atol=0.02)
    cut = np.array([(delay[seen] <= day).mean() for day in days])
    assert (cut[1:3] - truth[1:3]).min() > 0.04, "the distribution of what was seen is another one"


def test_weights_of_conversions_count_as_repeated_rows():
    random = np.random.default_rng(5)
    delay = random.integers(1, 30, 200)
    elapsed = np.full(200, 60)
    weight = random.integers(1, 4, 200)
    one = estimate_curve(delay, elapsed, weight.astype(np.float64))
    many = estimate_curve(np.repeat(delay, weight), np.repeat(elapsed, weight))
    np.testing.assert_allclose(one.share, many.share, atol=1e-12)


def fitted(
    law: Law, method: str, rows: int, seed: int, by: str | None = None
) -> tuple[float, np.ndarray, Conversions]:
    """Predicted over true conversions within the horizon: of all clicks, and by campaign."""
    arrow, p, campaign = delayed_clicks(law, rows, seed)
    table = read(arrow)
    params = msgspec.structs.replace(PARAMS, delay=method, delay_by=by)
    split = split_table(table, params, 1)
    spec = fit_spec(split.train.columns, DECLARATIONS)
    slices = {
        part: (rows_of, spec.encode_table(rows_of.columns))
        for part, rows_of in (
            ("train", split.train),
            ("calibration", split.calibration),
            ("test", split.test),
        )
    }
    found = conversions_of(slices, spec, params, 1)
    model = fit_trees("cvr", found.samples["train"], spec, params, 1, lambda *_: None)
    held = found.samples["calibration"]
    q = calibrate(fit_table(model.raw(held.x), held), model.raw(spec.encode_table(table.columns)))
    days = found.report.horizon_ns / DAY_NS or 30.0
    truth = p * come_by(law, campaign, days)
    by_campaign = np.array([q[campaign == k].sum() / truth[campaign == k].sum() for k in (0, 1)])
    return float(q.sum() / truth.sum()), by_campaign, found


def mean_ratio(law: Law, method: str, rows: int, worlds: int, by: str | None = None) -> np.ndarray:
    """Ratio of all clicks and of each campaign, over worlds."""
    return np.mean(
        [[found[0], *found[1]] for found in (fitted(law, method, rows, w, by) for w in range(worlds))], axis=0
    )


@pytest.mark.parametrize(
    ("law", "method", "naive_at_most"),
    [("exponential", "elapsed", 0.90), ("pareto", "elapsed", 0.92), ("exponential", "buckets", 0.90)],
)
def test_rate_is_right_where_counting_the_unseen_as_negatives_is_too_low(law, method, naive_at_most):
    """Four worlds of 12,000 clicks, about 250 conversions to calibrate on in each: sd of the mean ratio 3 %."""
    naive = mean_ratio(law, "none", 12_000, 4)[0]
    ours = mean_ratio(law, method, 12_000, 4)[0]
    assert naive < naive_at_most
    assert ours == pytest.approx(1.0, abs=0.07)
    assert ours - naive > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "method", "by", "campaigns"),
    [
        ("exponential", "elapsed", None, 0.06),
        ("pareto", "elapsed", None, 0.06),
        ("by_campaign", "elapsed", "campaign", 0.06),
        ("exponential", "buckets", None, 0.06),
        ("pareto", "buckets", None, 0.06),
        ("by_campaign", "buckets", None, 0.09),
    ],
)
def test_rate_is_right_in_many_worlds(law, method, by, campaigns):
    """Twelve worlds of 30,000 clicks: standard error of the mean ratio 1.2 %, of a campaign's 2 %."""
    found = mean_ratio(law, method, 30_000, 12, by)
    assert found[0] == pytest.approx(1.0, abs=0.035)
    np.testing.assert_allclose(found[1:], 1.0, atol=campaigns)


def test_one_law_for_all_is_wrong_where_delays_differ_and_a_law_of_their_own_is_right():
    """The negative control of `delay_by`: quick campaigns are promised too much, slow ones too little.

    The gap of one world has a standard error of 9 %, so eight are averaged.
    """
    pooled, own = (mean_ratio("by_campaign", "elapsed", 20_000, 8, by) for by in (None, "campaign"))
    assert pooled[1] - pooled[2] > 0.08
    assert abs(own[1] - own[2]) < 0.12
    assert abs(own[1] - own[2]) < pooled[1] - pooled[2] + 0.04


def clicks(**changes: object) -> pa.Table:
    arrow, _, _ = delayed_clicks("exponential", 3000, 1, click_rate=0.6)
    for name, column in changes.items():
        place = arrow.column_names.index(name)
        arrow = arrow.remove_column(place) if column is None else arrow.set_column(place, name, column)
    return arrow


def test_bundle_says_how_many_conversions_are_still_to_come(tmp_path):
    arrow, _, _ = delayed_clicks("exponential", 12_000, 2, click_rate=0.6)
    bundle = train_bundle(read(arrow), DECLARATIONS, tmp_path / "m", params=PARAMS)
    delay = bundle.manifest.training.delay
    assert (delay.method, delay.why, delay.undated) == ("elapsed", "", 0)
    assert delay.median_ns == pytest.approx(4 * np.log(2) * DAY_NS, rel=0.2)
    # Of conversions spread over 30 days with a mean delay of 4, the share 4 (1 - e^-7.5) / 30 is still to come.
    assert delay.to_come == pytest.approx(4 * (1 - np.exp(-7.5)) / 30, abs=0.03)
    # The test rows are the freshest: what is known of them by now is what is judged.
    assert bundle.manifest.models["cvr"].after.calibration_ratio == pytest.approx(1.0, abs=0.25)


def test_method_is_chosen_by_what_the_table_tells(tmp_path):
    for arrow, method, why in (
        (clicks(), "elapsed", ""),
        (clicks(observed_until_ns=None), "none", "no column observed_until_ns"),
        (clicks().slice(0, 300), "none", "dated conversions, 50 are needed"),
    ):
        bundle = train_bundle(read(arrow), DECLARATIONS, tmp_path / "m", params=PARAMS)
        assert bundle.manifest.training.delay.method == method
        assert why in bundle.manifest.training.delay.why


def test_method_that_was_asked_for_needs_its_columns(tmp_path):
    for change, params, said in (
        ({"conversion_at_ns": None}, {"delay": "buckets"}, "'buckets' needs .* lacks conversion_at_ns"),
        ({}, {"delay_by": "city"}, "delay_by must be a declared categorical column, was 'city'"),
    ):
        with pytest.raises(TableError, match=said):
            train_bundle(
                read(clicks(**change)),
                DECLARATIONS,
                tmp_path,
                params=msgspec.structs.replace(PARAMS, **params),
            )


def test_clicks_of_unknown_times_are_left_out_and_counted():
    arrow = clicks()
    none = pa.array([None] * len(arrow), pa.int64())
    table = read(arrow.set_column(arrow.column_names.index("conversion_at_ns"), "conversion_at_ns", none))
    found, undated = clicks_of(table, np.zeros((len(table), 1)))
    assert undated == int(np.nansum(table.conversion))
    assert not found.converted.any()
    assert len(found.x) + undated == int(table.click.sum())


def test_click_without_a_time_is_of_the_time_of_its_impression():
    arrow = clicks()
    none = pa.array([None] * len(arrow), pa.int64())
    table = read(arrow.set_column(arrow.column_names.index("click_at_ns"), "click_at_ns", none))
    found, _ = clicks_of(table, np.zeros((len(table), 1)))
    expected = (30 * DAY_NS - table.at_ns)[table.click > 0]
    np.testing.assert_array_equal(found.elapsed_ns, expected)


def test_conversion_later_than_the_horizon_is_none():
    old = Clicks(np.zeros((60, 1)), np.arange(1, 61), np.full(60, 61), None, np.zeros(60, dtype=np.int64))
    model = Elapsed(old)
    late = Clicks(np.zeros((1, 1)), np.array([99]), np.array([100]), None, np.zeros(1, dtype=np.int64))
    assert model.curve.horizon_ns == 61
    assert model.sample(late).y.tolist() == [0.0]
    assert model.sample(late).seen.tolist() == [1.0]
