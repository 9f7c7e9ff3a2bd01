"""Groups against the whole: every figure against plain sums, and what is not there is said."""

import numpy as np
import pytest

from models.evaluation.fairness import Exposure, by_group
from models.evaluation.intervals import Interval, sample_of
from models.evaluation.slices import by_column, flag
from models.evaluation.slicing import slicing_of

ROWS = 6000


@pytest.fixture
def rows():
    random = np.random.default_rng(1)
    group = np.array(["f", "m", None], dtype=object)[random.integers(0, 3, ROWS)]
    shown = random.random(ROWS) < np.where(group == "m", 0.7, 0.4)
    predicted = np.where(shown, random.uniform(0.02, 0.2, ROWS), 0.0)
    click = (shown & (random.random(ROWS) < predicted)).astype(float)
    price = np.where(shown, random.gamma(2, 1e6, ROWS), 0.0)
    weights = random.integers(1, 4, ROWS).astype(float)
    return group, shown, predicted, click, price, weights


def exposure_of(rows, **changes):
    _, shown, predicted, click, price, weights = rows
    fields = {
        "weights": weights,
        "shown": shown,
        "click": click,
        "predicted": predicted,
        "price_cpm_micros": price,
        "unpriced": 0,
        "clusters": np.arange(ROWS, dtype=np.int32),
        "has_lost": True,
    }
    return Exposure(**(fields | changes))


def judged(rows, exposure, values=None, draws=100):
    group, shown, predicted, click, _, weights = rows
    slicing = slicing_of("group", list(group) if values is None else values)
    sample = sample_of(click[shown], predicted[shown], weights[shown])
    parts = flag([by_column(sample, slicing.take(shown), draws=0)])[0]
    return by_group(exposure, slicing, parts, draws=draws)


def test_every_figure_is_a_plain_ratio_of_sums(rows):
    names, shown, predicted, click, price, w = rows
    found = judged(rows, exposure_of(rows))
    assert {group.label for group in found.groups} == {"f", "m", "not known"}
    for group in found.groups:
        mine = np.array([(name or "not known") == group.label for name in names])
        own, ctr = mine & shown, w[click > 0].sum() / w[shown].sum()
        assert (group.bids, group.impressions) == (mine.sum(), own.sum())
        assert group.clicks == click[mine].sum()
        assert group.bid_share.value == pytest.approx(w[mine].sum() / w.sum())
        assert group.impression_share.value == pytest.approx(w[own].sum() / w[shown].sum())
        assert group.spend_share.value == pytest.approx((w * price)[own].sum() / (w * price).sum())
        assert group.actual.value == pytest.approx(np.average(click[own], weights=w[own]))
        assert group.predicted.value == pytest.approx(np.average(predicted[own], weights=w[own]))
        assert group.actual_ratio.value == pytest.approx(group.actual.value / ctr)
        assert group.predicted_ratio.value == pytest.approx(
            group.predicted.value / np.average(predicted[shown], weights=w[shown])
        )
        assert group.calibration_ratio.value == pytest.approx(group.predicted.value / group.actual.value)
        assert group.price_ratio.value == pytest.approx(
            np.average(price[own], weights=w[own]) / np.average(price[shown], weights=w[shown])
        )


def test_shares_of_groups_that_do_not_overlap_sum_to_one(rows):
    found = judged(rows, exposure_of(rows))
    for name in ("impression_share", "bid_share", "spend_share"):
        assert sum(getattr(group, name).value for group in found.groups) == pytest.approx(1.0)
    assert sum(group.impressions for group in found.groups) == rows[1].sum()


def test_every_interval_holds_its_estimate(rows):
    for group in judged(rows, exposure_of(rows)).groups:
        for name in group.__struct_fields__:
            found = getattr(group, name)
            if isinstance(found, Interval):
                assert found.low < found.value < found.high, (group.label, name)


def test_an_interval_of_a_share_is_about_as_wide_as_theory_says(rows):
    found = judged(rows, exposure_of(rows, weights=np.ones(ROWS)), draws=1000)
    for group in found.groups:
        share = group.bid_share
        sd = np.sqrt(share.value * (1 - share.value) / ROWS)
        assert (share.high - share.low) / (2 * 1.96 * sd) == pytest.approx(1.0, abs=0.1)


def test_what_the_table_does_not_hold_is_left_out_and_said(rows):
    found = judged(rows, exposure_of(rows, price_cpm_micros=None, has_lost=False))
    for group in found.groups:
        assert (group.bid_share, group.spend_share, group.price_ratio) == (None, None, None)
    said = " ".join(found.limits)
    assert "price_cpm_micros" in said
    assert "lost bids" in said


def test_prices_that_are_not_known_are_counted_and_said(rows):
    assert not any("no known price" in limit for limit in judged(rows, exposure_of(rows)).limits)
    assert any("12 impressions" in limit for limit in judged(rows, exposure_of(rows, unpriced=12)).limits)


def test_a_group_that_is_believed_to_click_too_much_is_flagged(rows):
    group, shown, predicted, click, price, weights = rows
    wrong = np.where(group == "f", predicted * 2, predicted)
    wronged = (group, shown, wrong, click, price, weights)
    assert judged(rows, exposure_of(rows)).flagged == ()
    assert judged(wronged, exposure_of(wronged)).flagged == ("f",)


def test_a_group_nobody_of_which_was_shown_has_no_rates(rows):
    group, shown, predicted, click, price, weights = rows
    hidden = shown & (group != "m")
    kept = (group, hidden, predicted * hidden, click * hidden, price * hidden, weights)
    (found,) = [each for each in judged(kept, exposure_of(kept)).groups if each.label == "m"]
    assert found.impressions == 0
    assert found.bid_share.value > 0
    assert (found.actual, found.price_ratio) == (Interval(None), Interval(None))


def test_overlapping_groups_are_said_to_overlap(rows):
    found = judged(rows, exposure_of(rows), values=[("a", "b") if k % 2 else ("a",) for k in range(ROWS)])
    assert found.overlapping
    assert sum(group.bid_share.value for group in found.groups) > 1.2
    assert any("several groups" in limit for limit in found.limits)
