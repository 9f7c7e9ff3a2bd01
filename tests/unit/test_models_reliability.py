"""Calibration with weights, ratios and their intervals, weights of won rows, the factor by price."""

import math
import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from models.calibration import calibrate, effective_rows, fit_calibration, sigmoid
from models.dataset import table_from_arrow
from models.errors import ArtifactError, TableError
from models.landscape.counts import empty_counts
from models.landscape.curves import fit_landscape, landscape_of
from models.landscape.grid import price_grid
from models.reliability.change import change_of, change_words
from models.reliability.factor import Knots, PriceFactor, factor_of_bids, fit_price_factor
from models.reliability.page import Shown, render
from models.reliability.ratios import Ratio, Tenth, by_tenths, events_interval, ratio_of, worst
from models.reliability.report import ModelReliability, Sample
from models.reliability.store import load_factor, save_factor
from models.reliability.won import won_weights
from models.renewal.drift import calibrations
from models.schema import Declaration
from tests.support.landscapes import ALONE, market, read_market, seen


def draw(rows, seed=1):
    random = np.random.default_rng(seed)
    raw = random.normal(-2.0, 1.5, rows)
    return raw, (random.random(rows) < sigmoid(0.5 * raw - 1.0)).astype(float)


def supported(table, raw, labels):
    """Places of the steps that are neither the lowest nor among those that fewer than 20 clicks hold up."""
    return [k for k in range(1, len(table.raw)) if labels[raw > table.raw[k]].sum() >= 20]


def test_whole_weights_are_repeated_rows():
    raw, labels = draw(3000)
    times = np.random.default_rng(2).integers(1, 4, 3000)
    weighted = fit_calibration(raw, labels, times.astype(float))
    repeated = fit_calibration(np.repeat(raw, times), np.repeat(labels, times))
    np.testing.assert_allclose(weighted.raw, repeated.raw, rtol=1e-9)
    # The ends stand off from what they saw by how many rows they are worth, and repeated rows claim to be more. What
    # the ends give up is spread over all steps by one number in log odds.
    inner = supported(weighted, raw, labels)
    one, other = (np.array(table.probability)[inner] for table in (weighted, repeated))
    moved = np.log(one / (1.0 - one)) - np.log(other / (1.0 - other))
    np.testing.assert_allclose(moved, moved[0], atol=2e-3)
    assert abs(moved[0]) < 0.015


@pytest.mark.parametrize("rows", [40, 5000])
def test_only_ratios_of_weights_count(rows):
    raw, labels = draw(rows)
    weights = np.random.default_rng(3).uniform(0.5, 2.0, rows)
    one, other = fit_calibration(raw, labels, weights), fit_calibration(raw, labels, 84.3 * weights)
    np.testing.assert_allclose(calibrate(one, raw), calibrate(other, raw), rtol=1e-9)
    plain, even = fit_calibration(raw, labels), fit_calibration(raw, labels, np.full(rows, 3.0))
    np.testing.assert_allclose(calibrate(plain, raw), calibrate(even, raw), rtol=1e-9)


def test_rows_of_no_weight_do_not_count():
    raw, labels = draw(4000)
    kept = np.arange(4000) % 3 > 0
    assert fit_calibration(raw, labels, kept.astype(float)) == fit_calibration(raw[kept], labels[kept])


def test_weighted_probabilities_sum_to_the_weighted_labels():
    raw, labels = draw(8000)
    weights = np.random.default_rng(4).exponential(1.0, 8000)
    p = calibrate(fit_calibration(raw, labels, weights), raw)
    assert (weights * p).sum() == pytest.approx((weights * labels).sum(), rel=1e-9)


def test_weighted_steps_are_those_of_scikit_learn():
    raw, labels = draw(3000)
    weights = np.random.default_rng(5).uniform(0.5, 5.0, 3000)
    table = fit_calibration(raw, labels, weights)
    steps = IsotonicRegression().fit_transform(raw, labels, sample_weight=weights)
    inner = supported(table, raw, labels)
    assert len(inner) > 10
    for knot, probability in ((table.raw[place], table.probability[place]) for place in inner):
        step = steps[np.argmin(np.abs(raw - knot))]
        assert probability == pytest.approx(step, rel=0.05)


def test_few_events_of_large_weight_are_few():
    raw, labels = draw(5000)
    labels = labels * (np.cumsum(labels) <= 30)
    assert fit_calibration(raw, labels, np.full(5000, 84.3)).method == "offset"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, np.nan, 1.0], r"was|nan \(row 2\)"),
        ([1.0, 1.0, -1.0], r"-1.0 \(row 3\)"),
        ([1.0], "1 for 3 rows"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(TableError, match=message):
        fit_calibration(np.zeros(3), np.zeros(3), np.array(weights))


def test_weights_undo_a_sample_that_the_label_chose():
    """All clicks and a tenth of the rest, weighted: the rates of the whole come back; unweighted they do not."""
    raw, labels = draw(200_000)
    kept = (labels > 0) | (np.random.default_rng(6).random(200_000) < 0.1)
    weights = np.where(labels[kept] > 0, 1.0, 10.0)
    fresh, truth = draw(100_000, seed=7)
    p = calibrate(fit_calibration(raw[kept], labels[kept], weights), fresh)
    biased = calibrate(fit_calibration(raw[kept], labels[kept]), fresh)
    assert p.sum() / truth.sum() == pytest.approx(1.0, abs=0.02)
    assert biased.sum() / truth.sum() > 2.0


def test_interval_of_plain_counts_is_garwoods():
    for events in (0, 1, 7, 300):
        low, high = events_interval(np.ones(events), 1.0)
        assert low == pytest.approx(stats.gamma.ppf(0.025, events) if events else 0.0)
        assert high == pytest.approx(stats.gamma.ppf(0.975, events + 1))


def test_interval_scales_with_the_weights():
    one, other = events_interval(np.ones(12), 1.0), events_interval(np.full(12, 5.0), 5.0)
    np.testing.assert_allclose(np.array(other), 5 * np.array(one))


def assert_intervals_hold(worlds, rate=0.02):
    """Weighted and plain; 3 standard errors of the count of worlds are allowed below 95 %."""
    random = np.random.default_rng(8)
    held = np.zeros(2)
    for _ in range(worlds):
        p = random.uniform(0.5 * rate, 1.5 * rate, 2000)
        labels = (random.random(2000) < p).astype(float)
        for k, weights in enumerate((None, random.exponential(1.0, 2000) + 0.2)):
            found = ratio_of(p, labels, weights)
            held[k] += found.low <= 1.0 <= (np.inf if found.high is None else found.high)
    assert (held / worlds > 0.95 - 3 * np.sqrt(0.05 * 0.95 / worlds)).all()


def test_interval_holds_the_truth_in_a_sample_of_worlds():
    assert_intervals_hold(400)


@pytest.mark.slow
def test_interval_holds_the_truth_at_least_as_often_as_it_says():
    assert_intervals_hold(5000)


def test_a_wrong_model_is_outside_its_interval():
    raw, labels = draw(20_000)
    assert ratio_of(1.3 * sigmoid(0.5 * raw - 1.0), labels).excludes_one()
    assert not ratio_of(sigmoid(0.5 * raw - 1.0), labels).excludes_one()


def alike(users, rows_each, random):
    """Predictions of 10 %, right on the whole, of users who click always or never."""
    clicks = random.random(users) < 0.1
    user = np.repeat(np.arange(users, dtype=np.int32), rows_each)
    order = random.permutation(len(user))
    return np.full(len(user), 0.1), clicks[user[order]].astype(float), user[order]


def test_rows_of_one_user_widen_the_interval_everywhere():
    """Of reliability, of drift, and of the gate, which asks drift: 290 clicks of 29 users are 29."""
    p, labels, users = alike(400, 10, np.random.default_rng(15))
    alone, together = ratio_of(p, labels), ratio_of(p, labels, clusters=users)
    width = [math.log(found.high / found.low) for found in (alone, together)]
    assert width[1] == pytest.approx(width[0] * math.sqrt(10), rel=0.15)
    (tenth,) = by_tenths(p, p, labels, clusters=users)
    assert tenth.plain == together
    names = np.array([f"u{user}" for user in users], dtype=object)
    columns = {"at_ns": np.arange(4000), "click": labels.astype(int), "size": p}
    found = {}
    for state, extra in (("strangers", {}), ("users", {"user": names})):
        arrow = pa.table({**columns, "conversion": pa.nulls(4000, pa.int64()), **extra})
        table = table_from_arrow(arrow, (Declaration("size", "numeric"),), source="rows.parquet")
        found[state] = calibrations(table, np.stack((p, p), axis=1), (0.9, 1.1))[0]
        assert found[state].ratio == alone.ratio
    widths = [math.log(found[state].high / found[state].low) for state in ("strangers", "users")]
    assert widths[1] > 2.5 * widths[0]
    assert [found[state].level for state in ("strangers", "users")] == ["alarm", "ok"]
    expected = ratio_of(p, labels, clusters=users, level=0.99)
    assert (found["users"].low, found["users"].high) == pytest.approx((expected.low, expected.high))


def test_interval_over_users_holds_the_truth_where_one_over_rows_does_not():
    """400 worlds of 300 users: 3 standard errors of the count of worlds are allowed below 95 %."""
    random = np.random.default_rng(16)
    held = np.zeros(2)
    for _ in range(400):
        p, labels, users = alike(300, 6, random)
        for k, clusters in enumerate((None, users)):
            found = ratio_of(p, labels, clusters=clusters)
            held[k] += found.low <= 1.0 <= found.high
    assert held[0] / 400 < 0.75
    assert held[1] / 400 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400)


def test_clusters_that_say_nothing_leave_the_interval_as_it_is():
    """One cluster cannot tell how much clusters vary; clusters of one row are rows."""
    raw, labels = draw(2000)
    p = sigmoid(0.5 * raw - 1.0)
    alone = ratio_of(p, labels)
    assert ratio_of(p, labels, clusters=np.zeros(2000, dtype=np.int32)) == alone
    each = ratio_of(p, labels, clusters=np.arange(2000, dtype=np.int32))
    assert (each.low, each.high) == pytest.approx((alone.low, alone.high), rel=1e-3)


def test_nothing_happened_has_no_ratio_but_a_bound():
    found = ratio_of(np.full(1000, 0.01), np.zeros(1000))
    assert (found.ratio, found.high) == (None, None)
    assert found.low == pytest.approx(10 / stats.gamma.ppf(0.975, 1))


def test_no_rows_have_nothing():
    found = ratio_of(np.empty(0), np.empty(0))
    assert (found.rows, found.ratio, found.low, found.high) == (0, None, None, None)


def test_tenths_sum_to_the_whole_and_keep_equals_together():
    random = np.random.default_rng(9)
    values = random.integers(0, 40, 1003).astype(float)
    values[:3] = np.nan
    p, labels = random.random(1003), (random.random(1003) < 0.3).astype(float)
    tenths = by_tenths(values, p, labels, winning=np.full(1003, 2.0))
    assert sum(tenth.plain.rows for tenth in tenths) == 1000
    assert sum(tenth.plain.predicted for tenth in tenths) == pytest.approx(p[3:].sum())
    assert sum(tenth.weighted.happened for tenth in tenths) == pytest.approx(2 * labels[3:].sum())
    assert all(one.end < other.begin for one, other in pairwise(tenths))


@pytest.mark.parametrize("values", [[np.nan] * 5, [3.0] * 5])
def test_tenths_of_no_and_of_one_value(values):
    found = by_tenths(np.array(values), np.full(5, 0.5), np.ones(5))
    assert len(found) == (0 if np.isnan(values[0]) else 1)


def test_won_weights_are_one_over_the_chance_up_to_the_clip():
    weights, facts = won_weights(np.array([1.0, 0.5, 0.01, 0.0]), clip=10.0)
    np.testing.assert_allclose(weights, [1, 2, 10, 10])
    assert (facts.clipped, facts.rows, facts.least_chance) == (2, 4, 0.0)
    assert facts.effective_rows == pytest.approx(23**2 / 205)
    assert effective_rows(np.empty(0)) == 0.0


@pytest.mark.parametrize("clip", [0.5, np.nan, np.inf])
def test_clip_below_one_is_refused(clip):
    with pytest.raises(TableError, match="clip of the weights must be 1 or more"):
        won_weights(np.ones(2), clip)


def won_means(*, rivals_know):
    """True mean click rate of all that was bid on; of what was won; of what was won, weighted."""
    random = np.random.default_rng(10)
    rows = 60_000
    x, u = random.normal(0, 1, rows), random.normal(0, 1, rows)
    click = (random.random(rows) < sigmoid(-2.0 + 0.8 * x + (0.8 * u if rivals_know else 0.0))).astype(float)
    z, bid = np.exp(13.0 + 0.5 * u), np.exp(13.0 + 0.5 * x + random.normal(0, 0.2, rows))
    won = z <= bid
    counts = empty_counts(price_grid(1e4, 1e8), 1)
    counts.update(seen(z, bid), np.zeros(rows, dtype=np.int64))
    weights, _ = won_weights(landscape_of(counts, ALONE).win_probability(bid[won]), clip=50.0)
    return click.mean(), click[won].mean(), np.average(click[won], weights=weights)


def test_weights_of_won_rows_speak_for_all_that_was_bid_on():
    """Who bids more for better rows wins better rows; the weights bring the others back."""
    whole, won, weighted = won_means(rivals_know=False)
    assert won > whole + 0.04
    assert weighted == pytest.approx(whole, abs=0.01)


def test_weights_cannot_mend_what_rivals_know():
    """The limit: where dear auctions click more whatever we bid, what was lost is better than its weights say."""
    whole, _, weighted = won_means(rivals_know=True)
    assert weighted < whole - 0.02


def endogenous(rows, seed):
    """A market whose rivals see `u`, which moves clicks and prices and which the model does not know."""
    random = np.random.default_rng(seed)
    x, u = random.normal(0, 1, rows), random.normal(0, 1, rows)
    click = random.random(rows) < sigmoid(-2.2 + 0.6 * x + 0.35 * u)
    z = np.exp(13.6 + 0.3 * x + 0.4 * u + random.normal(0, 0.4, rows))
    bid = np.exp(13.5 + 0.35 * x + random.normal(0, 0.4, rows))
    won = z <= bid
    raw = 0.8 * x - 2.0 + random.normal(0, 0.2, rows)
    return raw[won], click[won].astype(float), z[won]


def assert_right_where_money_is_spent(rows, positives, whole, tenth):
    """Fitted on one draw of the market, measured on another; `positives` is the least of any tenth."""
    raw, labels, price = endogenous(rows, 11)
    table = fit_calibration(raw, labels)
    p = calibrate(table, raw)
    factor = fit_price_factor(p, labels, price)
    raw, labels, price = endogenous(rows, 12)
    before, p = sigmoid(raw), calibrate(table, raw)
    after = factor.apply(p, price)
    assert abs(ratio_of(before, labels).ratio - 1) > 0.2
    for found in (p, after):
        assert abs(ratio_of(found, labels).ratio - 1) < whole
    tenths = {key: by_tenths(value, after, labels) for key, value in (("price", price), ("prediction", p))}
    for groups in tenths.values():
        assert min(group.plain.positives for group in groups) >= positives
        assert worst(groups) < 1 + tenth
    # The negative control: no table over the prediction alone can be right at every price here.
    assert worst(by_tenths(price, p, labels)) > max(1.25, worst(tenths["price"]) + 0.05)


def test_right_at_every_price_and_prediction_in_a_small_market():
    """150 clicks in the smallest tenth: noise of 8 % in the fit and as much in the measure, so 35 % is allowed."""
    assert_right_where_money_is_spent(120_000, 150, 0.06, 0.35)


@pytest.mark.slow
def test_right_at_every_price_and_prediction():
    """The goals: .98-1.02 overall, .95-1.05 in every tenth. 1,500 clicks have noise of 2.6 % alone, so that 20 tenths
    in a row within 5 % take more: here no tenth has fewer than 6,000."""
    assert_right_where_money_is_spent(4_000_000, 6000, 0.02, 0.05)


def test_factor_where_prices_say_nothing_is_one():
    raw, labels = draw(60_000)
    p = sigmoid(0.5 * raw - 1.0)
    price = np.exp(np.random.default_rng(13).normal(13, 1, 60_000))
    factor = fit_price_factor(p, labels, price)
    assert np.abs(factor.apply(p, price) / p - 1).mean() < 0.08
    assert len(factor.price.places) == 20


def test_factor_of_few_events_is_one_number():
    p, price = np.full(400, 0.1), np.linspace(1e5, 1e6, 400)
    labels = (np.arange(400) % 20 == 0).astype(float)
    factor = fit_price_factor(p, labels, price)
    np.testing.assert_allclose(factor.apply(p, price), 0.05)


def test_factor_weights_are_repeated_rows():
    random = np.random.default_rng(14)
    p, price = random.uniform(0.05, 0.5, 2000), np.exp(random.normal(13, 1, 2000))
    labels = (random.random(2000) < p).astype(float)
    labels[:] = np.where(price > np.median(price), labels, 0)
    one = fit_price_factor(p, labels, price, np.full(2000, 7.0))
    np.testing.assert_allclose(one.apply(p, price), fit_price_factor(p, labels, price).apply(p, price))


@pytest.mark.parametrize(("labels", "price"), [([0.0, 0.0], [5.0, 6.0]), ([1.0, 0.0], [np.nan, np.nan])])
def test_factor_of_nothing_is_refused(labels, price):
    with pytest.raises(TableError, match="price_cpm_micros above 0 and an event"):
        fit_price_factor(np.full(2, 0.1), np.array(labels), np.array(price))


def test_factor_of_a_bid_is_the_mean_over_the_prices_it_beats():
    table = read_market(market(20_000))
    landscape = fit_landscape(table, ())
    factor = PriceFactor(Knots((0.01,), (1.0,)), Knots((1e5, 1e6), (0.5, 2.0)))
    won = np.asarray(table.extras["won"]) > 0
    price = np.asarray(table.extras["price_cpm_micros"])
    found = factor_of_bids(factor, landscape)[0]
    mass = np.diff(1.0 - landscape.survival[0], prepend=0.0)
    place = 60
    each = factor.price.at(landscape.grid.astype(float))
    assert found[place] == pytest.approx(
        (mass[: place + 1] @ each[: place + 1]) / mass[: place + 1].sum(), rel=0.05
    )
    assert (np.diff(found) >= -1e-9).all()
    assert found[-1] > np.mean(factor.price.at(price[won]))


SMALL = PriceFactor(Knots((0.01, 0.1), (1.1, 0.9)), Knots((1e5, 1e6), (0.5, 2.0)))


def test_factor_file_gives_back_what_was_saved(tmp_path):
    save_factor(tmp_path / "f.json", "hash", "ctr", SMALL)
    assert load_factor(tmp_path / "f.json", "hash") == SMALL


@pytest.mark.parametrize(
    ("old", "new", "model", "message"),
    [
        ("0.5", "0.6", "hash", "it was altered"),
        ('"ctr"', '"cvr"', "hash", "it was altered"),
        ("0.5", "x", "hash", "must be a price factor"),
        ("0.5", "0.5", "other", "must be of model other, was of hash"),
    ],
)
def test_factor_file_that_was_altered_is_refused(tmp_path, old, new, model, message):
    path = tmp_path / "f.json"
    save_factor(path, "hash", "ctr", SMALL)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ArtifactError, match=message):
        load_factor(path, model)


def test_factor_file_with_broken_knots_is_refused(tmp_path):
    save_factor(tmp_path / "f.json", "hash", "ctr", PriceFactor(SMALL.price, Knots((5.0, 5.0), (1.0, 1.0))))
    with pytest.raises(ArtifactError, match="ascending places"):
        load_factor(tmp_path / "f.json", "hash")
    with pytest.raises(ArtifactError, match="readable file"):
        load_factor(tmp_path / "none.json", "hash")


def samples(rows, seed=18):
    raw, labels = draw(rows, seed)
    every = np.arange(rows)
    return Sample(every, labels, None, every.astype(np.int32)), sigmoid(0.5 * raw - 1.0)


@pytest.mark.parametrize(
    ("factor", "words", "worse"),
    [
        (1.5, "THE NEW TABLE IS WORSE.", True),
        (1.0, "The new table is no clear gain.", False),
        (1 / 1.5, "The new table is better.", False),
    ],
)
def test_change_of_a_table_is_judged_by_log_loss(factor, words, worse):
    sample, p = samples(20_000)
    before, after = (p, p * factor) if factor >= 1.0 else (p * 1.5, p)
    change = change_of(
        "ctr", sample, np.minimum(before, 0.99), np.minimum(after, 0.99), kept=False, learned=0
    )
    assert words in change_words(change)
    assert (change.is_worse, change.is_surely_worse) == (worse, worse)
    assert change.difference[0] == pytest.approx(change.log_loss[1] - change.log_loss[0])
    assert "held out: later than those of the fit" in change_words(change)


def test_change_says_what_it_cannot_tell():
    sample, p = samples(60)
    few = change_of("ctr", sample, p, np.minimum(p * 3, 0.9), kept=False, learned=40)
    assert "are too few to tell which is better, 30 are needed" in change_words(few)
    assert "40 of these rows are not later" in change_words(few)
    assert not few.is_surely_worse
    none = change_of("cvr", sample.part(0, 0), p[:0], p[:0], kept=False, learned=0)
    assert "not judged at all" in change_words(none)
    assert "stays as it was" in change_words(change_of("cvr", sample, p, p, kept=True, learned=0))


def test_interval_of_a_change_is_that_of_its_mean():
    """One in twenty of 400 worlds without a difference is called one, within three standard errors."""
    random, found = np.random.default_rng(19), 0
    for _ in range(400):
        p = np.full(500, 0.3)
        labels = (random.random(500) < p).astype(float)
        every = np.arange(500)
        odd = sigmoid(np.log(p / (1 - p)) + np.where(random.random(500) < 0.5, 0.05, -0.05))
        change = change_of(
            "ctr", Sample(every, labels, None, every.astype(np.int32)), odd, odd[::-1], kept=False, learned=0
        )
        found += not change.difference[1] <= 0.0 <= change.difference[2]
    assert found / 400 == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 400))


def shown(ratios):
    """A model whose tenths by price have these ratios, of 50 clicks each; None has no click."""
    tenths = []
    for place, ratio in enumerate(ratios):
        labels = np.repeat([1.0, 0.0], [50 if ratio else 0, 950 if ratio else 1000])
        found = ratio_of(np.full(1000, 0.05 * (ratio or 1.0)), labels)
        tenths.append(Tenth(begin=place, end=place + 0.5, plain=found, weighted=None))
    whole = ratio_of(np.full(1000, 0.05), np.repeat([1.0, 0.0], [50, 950]))
    found = ModelReliability(
        name="ctr", overall=whole, weighted=None, won=None, tenths={"price": tuple(tenths)}
    )
    return [[Shown("as it is", found)]]


@pytest.mark.parametrize(
    "ratios", [(1.0, 1.1, 0.9), (0.5, 1.0, 3.0), (0.05, 1.0, 18.0), (1.0, None, 2.0), (None, None)]
)
def test_every_ratio_and_interval_is_inside_its_drawing(ratios):
    """Nothing lies on the edge of the plane, where what is beyond it would be drawn, but a bar without an end."""
    page = render("t", "w", shown(ratios), ())
    drawing = page.split("<svg")[-1].split("</svg>")[0]
    known = [ratio for ratio in ratios if ratio]
    heights = [float(cy) for cy in re.findall(r'cy="([\d.]+)"', drawing)]
    assert len(heights) == len(known)
    assert [a > b for a, b in pairwise(heights)] == [a < b for a, b in pairwise(known)]
    ends = [
        float(y) for pair in re.findall(r'd="M[\d.]+ ([\d.]+)L[\d.]+ ([\d.]+)"', drawing)[1:] for y in pair
    ]
    assert len(ends) == 2 * len(known)
    assert all(26.0 < y < 196.0 for y in (*heights, *ends))
    grid = [float(y) for y in re.findall(r'<line[^>]* y1="([\d.]+)"', drawing)]
    assert 3 <= len(grid) <= 7
    assert (min(grid), max(grid)) == (26.0, 196.0)


def test_one_huge_interval_ends_in_an_arrow_instead_of_ruling_the_axis():
    huge = Ratio(rows=1000, positives=1, predicted=2.0, happened=1.0, ratio=2.0, low=0.0019, high=500.0)
    plain = ratio_of(np.full(1000, 0.05), np.repeat([1.0, 0.0], [50, 950]))
    tenths = tuple(
        Tenth(begin=k, end=k + 0.5, plain=one, weighted=None) for k, one in enumerate((plain, huge))
    )
    found = ModelReliability(name="ctr", overall=plain, weighted=None, won=None, tenths={"price": tenths})
    page = render("t", "w", [[Shown("as it is", found)]], ())
    drawing = page.split("<svg")[-1].split("</svg>")[0]
    ticks = re.findall(r'class="end">([\d.]+)<', drawing)
    assert ticks == ["0.1", "0.2", "0.5", "1", "2", "5", "10"]
    assert drawing.count("beyond") == 2  # of the huge one, both ends
    assert "An arrow: the interval goes on beyond the axis" in page
    steady = render("t", "w", shown((1.0, 1.1)), ())
    assert "An arrow" not in steady
