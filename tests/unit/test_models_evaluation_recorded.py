"""Metrics and flags on real impressions, judged by a published click model's predictions for them."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from models.clusters import clusters_of
from models.evaluate import evaluate
from models.evaluation.intervals import sample_of
from models.evaluation.slices import by_column, flag
from models.evaluation.slicing import slicing_of
from tests.support.data import recorded


@pytest.fixture(scope="module")
def rows():
    """Clicks, predictions and campaigns of 700,000 impressions in the order of the log."""
    table = pq.read_table(recorded("ipinyou/auctions.parquet"))
    p = table["pctr_lr_insample"].to_numpy()
    known = ~np.isnan(p)
    return table["click"].to_numpy()[known].astype(float), p[known], table["campaign"].to_numpy()[known]


def test_metrics_of_real_rows_are_those_of_scikit_learn(rows):
    y, p, _ = rows
    w = np.random.default_rng(1).exponential(1.0, len(y))
    found = evaluate(y, p, w)
    assert found.auc == pytest.approx(roc_auc_score(y, p, sample_weight=w), rel=1e-9)
    assert found.log_loss == pytest.approx(log_loss(y, p, sample_weight=w), rel=1e-9)


def test_samples_with_clicks_of_choice_are_flagged_and_the_plain_one_is_not(rows):
    """Blocks were kept where they had clicks, which raised the rates of all campaigns but 2997's, the plainest."""
    y, p, campaign = rows
    sample = sample_of(y, p, None, clusters_of(None, len(y)))
    parts = slicing_of("campaign", [str(each) for each in campaign])
    (found,) = flag([by_column(sample, parts, draws=0)])
    assert {part.label for part in found.slices} - {part.label for part in found.flagged} == {"2997"}
    for part in found.flagged:
        assert part.judged.calibration_ratio.value < 0.6
