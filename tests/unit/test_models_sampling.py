"""Sampled rows: what is learned from a part must be the probability of the whole."""

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from models.artifact import ModelBundle
from models.calibration import sigmoid
from models.dataset import TrainingTable, table_from_arrow
from models.schema import FeatureSpec
from models.scorer import Scorer
from models.train import TrainParams, train_bundle
from models.training.fit import fit_trees
from models.training.sample import Sample, thinned, unweighted
from tests.support.training import DECLARATIONS, make_table

PARAMS = TrainParams(num_threads=1, max_rounds=60)
ROWS = 20_000


def read(arrow: pa.Table) -> TrainingTable:
    return table_from_arrow(arrow, DECLARATIONS, source="t")


def trained(arrow: pa.Table, folder, **changes: object) -> ModelBundle:
    return train_bundle(read(arrow), DECLARATIONS, folder, params=msgspec.structs.replace(PARAMS, **changes))


def predicted(bundle: ModelBundle, arrow: pa.Table) -> np.ndarray:
    return Scorer(bundle).probabilities(bundle.spec.encode_table(read(arrow).columns))[:, 0]


def test_sampled_negatives_are_a_seeded_part_and_every_positive_stays():
    random = np.random.default_rng(1)
    y = (random.random(10_000) < 0.05).astype(float)
    sample = Sample(random.normal(size=(10_000, 1)), y)
    kept, shift = thinned(sample, 0.1, seed=7)
    assert kept.y.sum() == y.sum()
    assert (kept.y == 0).sum() == pytest.approx(0.1 * (y == 0).sum(), rel=0.15)
    assert shift == np.log(0.1)
    assert (thinned(sample, 0.1, seed=7)[0].x == kept.x).all()
    assert len(thinned(sample, 0.1, seed=8)[0]) != len(kept) or (thinned(sample, 0.1, 8)[0].x != kept.x).any()
    assert thinned(sample, 1.0, seed=7) == (sample, 0.0)


def test_correction_is_that_of_the_paper():
    """q = p / (p + (1 - p) / w) in log odds is adding log w."""
    p, w = np.linspace(0.01, 0.99, 50), 0.07
    np.testing.assert_allclose(sigmoid(np.log(p / (1 - p)) + np.log(w)), p / (p + (1 - p) / w), rtol=1e-12)


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_sum_of_the_trees_is_right_before_calibration(rate, tmp_path):
    """The raw sigmoid of all rows sums to the clicks within 4 %, where without correction it is far off."""
    arrow = make_table(ROWS, click_rate=0.05)
    bundle = trained(arrow, tmp_path / "m", negative_rate=rate)
    report = bundle.manifest.training
    clicks = int(read(arrow).click.sum())
    raw = Scorer(bundle).score_rows(bundle.spec.encode_table(read(arrow).columns))[:, 0]
    assert sigmoid(raw).sum() / clicks == pytest.approx(1.0, abs=0.05)
    assert sigmoid(raw - np.log(rate)).sum() / clicks > 1.5, "what the trees alone would have said"
    assert report.click_shift == pytest.approx(np.log(rate))
    train = bundle.manifest.rows["train"]
    positives = bundle.manifest.models["ctr"].training_positives
    assert report.click_rows == pytest.approx(positives + rate * (train - positives), rel=0.05)
    assert predicted(bundle, arrow).sum() / clicks == pytest.approx(1.0, abs=0.08)


def weighted(arrow: pa.Table, keep: float) -> pa.Table:
    """All clicks and a share of the rest, as an exporter would sample them: each kept row says what it stands for."""
    click = np.asarray(arrow["click"])
    random = np.random.default_rng(2)
    kept = (click > 0) | (random.random(len(click)) < keep)
    weight = np.where(click > 0, 1.0, 1.0 / keep)[kept]
    return arrow.filter(pa.array(kept)).append_column("weight", pa.array(weight))


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_rows_sampled_before_give_the_rate_of_all_rows(rate, tmp_path):
    """With and without a second sampling of our own; 600 clicks in the test, standard error of the ratio 6 %."""
    arrow = make_table(ROWS, click_rate=0.2)
    bundle = trained(weighted(arrow, 0.2), tmp_path / "m", negative_rate=rate)
    report = bundle.manifest
    assert report.training.weighted
    assert report.training.click_shift == pytest.approx(np.log(0.2 * rate))
    assert report.label_rates["ctr"] == pytest.approx(float(np.mean(np.asarray(arrow["click"]))), rel=0.02)
    assert report.models["ctr"].after.calibration_ratio == pytest.approx(1.0, abs=0.2)
    clicks = int(read(arrow).click.sum())
    assert predicted(bundle, arrow).sum() / clicks == pytest.approx(1.0, abs=0.1)


def test_weights_that_differ_within_a_label_count_in_the_likelihood():
    """A region sampled at a tenth: its rows weigh ten, and the rate of both regions together is that of all rows."""
    random = np.random.default_rng(3)
    x = random.integers(0, 2, (40_000, 1)).astype(float)
    y = (random.random(40_000) < np.where(x[:, 0] > 0, 0.3, 0.1)).astype(float)
    spec = FeatureSpec.from_json(b'{"features": [{"name": "z", "kind": "numeric", "side": "request"}]}')
    weight = np.where((x[:, 0] > 0) ^ (y > 0), 3.0, 1.0)
    sample = Sample(x, y, weight)
    assert unweighted(sample)[0] is sample
    model = fit_trees("ctr", sample, spec, PARAMS, 1, lambda *_: None)
    p = sigmoid(model.raw(np.array([[0.0], [1.0]])))
    expected = [(weight * y)[x[:, 0] == k].sum() / weight[x[:, 0] == k].sum() for k in (0, 1)]
    np.testing.assert_allclose(p, expected, rtol=0.05)


def test_whole_weights_give_the_model_of_repeated_rows(tmp_path):
    """Vocabularies and leaves count rows, so that only the priors can be compared to the last digit."""
    random = np.random.default_rng(4)
    y = np.array([1.0] * 3 + [0.0] * 97)
    weight = random.integers(1, 5, 100).astype(float)
    spec = FeatureSpec.from_json(b'{"features": [{"name": "z", "kind": "numeric", "side": "request"}]}')
    x = np.zeros((100, 1))
    times = weight.astype(int)
    one = fit_trees("cvr", Sample(x, y, weight), spec, PARAMS, 1, lambda *_: None)
    many = fit_trees(
        "cvr", Sample(np.repeat(x, times, axis=0), np.repeat(y, times)), spec, PARAMS, 1, lambda *_: None
    )
    assert one.kind == many.kind == "prior"
    np.testing.assert_allclose(one.raw(x[:1]), many.raw(x[:1]), rtol=1e-6)


def test_sampling_keeps_the_bundle_deterministic(tmp_path):
    arrow = weighted(make_table(6000), 0.5)
    one, two = (trained(arrow, tmp_path / name, negative_rate=0.5) for name in "ab")
    assert one.hash == two.hash
    other = train_bundle(
        read(arrow),
        DECLARATIONS,
        tmp_path / "c",
        seed=2,
        params=msgspec.structs.replace(PARAMS, negative_rate=0.5),
    )
    assert other.hash != one.hash
