"""Trees for probabilities: LightGBM on one sample, early stopping, the prior, and labels that are not complete yet.

*Complete labels* use LightGBM's own binary objective. *Labels so far* (`Sample.seen`) have the likelihood of
Chapelle (KDD 2014) with the distribution of delays given: with p the probability of an event and F the
probability that an event would be known by now, a row is seen positive with probability p F. In log odds s,

    seen:      d/ds of -log p        = p - 1
    not seen:  d/ds of -log(1 - p F) = p c,   c = F (1 - p) / (1 - p F)

so a row without event counts as a negative by the share c, which goes from about F while it is fresh to 1 when
it is old. The second derivative can be negative; its expectation (Fisher information) F p (1 - p)^2 / (1 - p F)
can not, and takes its place.

With fewer than 20 positives or negatives to learn from, a model is its prior: one leaf with the log odds of the
mean, as if 10 more rows had been seen with 1 % positives.
"""

from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import CalibrationTable, calibrate, fit_calibration, sigmoid
from models.schema import FeatureSpec
from models.training.params import TrainParams
from models.training.sample import Sample, thinned, unweighted

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Told of (stage, done, total) as training goes on."""

GROWN_SHARE = 0.85
PRIOR_POSITIVES, PRIOR_ROWS = 0.1, 10.0
_OBJECTIVE_LINE = "objective=binary sigmoid:1\n"


class Fitted(msgspec.Struct, frozen=True):
    """One trained model.

    Attributes:
        text: LightGBM's. kind: `lightgbm` or `prior`. rounds: trees.
        early_stopping: whether held-out rows chose the number of trees.
        rows: that the trees were grown on or stopped by.
        shift: log odds that were added to undo sampling by label.
    """

    text: str
    kind: str
    rounds: int
    early_stopping: bool
    rows: int
    shift: float

    def raw(self, x: Floats) -> Floats:
        """Raw scores (log odds) float64[N] of rows float64[N, F]."""
        return raw_scores(self.text, x)


def raw_scores(text: str, x: Floats) -> Floats:
    """LightGBM's raw scores float64[N] of rows float64[N, F]; N may be 0."""
    if len(x) == 0:
        return np.empty(0)
    return np.asarray(lgb.Booster(model_str=text).predict(x, raw_score=True), dtype=np.float64)


def fit_trees(
    name: str, sample: Sample, spec: FeatureSpec, params: TrainParams, seed: int, tell: Progress
) -> Fitted:
    """The model of one label.

    Args:
        name: `ctr` or `cvr`, the stage that `tell` is told; negatives of `ctr` are sampled.
        sample: rows in the order of time; the last 15 % decide when to stop where they hold enough of both labels.
        spec: of the features. params: how to train. seed: of LightGBM and of the sampling. tell: progress.
    """
    if not sample.can_teach:
        tell(name, 1, 1)
        return Fitted(
            _prior_text(sample, spec), "prior", 1, early_stopping=False, rows=len(sample), shift=0.0
        )
    used, by_weight = unweighted(sample)
    used, by_rate = thinned(used, params.negative_rate if name == "ctr" else 1.0, seed)
    cut = int(len(used) * GROWN_SHARE)
    grown, held = used.rows(slice(None, cut)), used.rows(slice(cut, None))
    stops = held.can_teach and grown.can_teach
    booster = _grow(name, grown if stops else used, held if stops else None, spec, params, seed, tell)
    best = booster.best_iteration if stops else booster.current_iteration()
    start = 0.0 if used.seen is None else _start(grown if stops else used)
    _shift(booster, by_weight + by_rate + start)
    text = str(booster.model_to_string(num_iteration=best))
    if used.seen is not None:
        # A model of an objective of our own does not know that its sum is in log odds.
        text = text.replace("\nfeature_names=", f"\n{_OBJECTIVE_LINE}feature_names=", 1)
    return Fitted(text, "lightgbm", best, early_stopping=stops, rows=len(used), shift=by_weight + by_rate)


def _grow(
    name: str,
    grown: Sample,
    held: Sample | None,
    spec: FeatureSpec,
    params: TrainParams,
    seed: int,
    tell: Progress,
) -> lgb.Booster:
    rounds = params.fixed_rounds if held is None else params.max_rounds
    options = lightgbm_params(params, seed, len(grown))
    callbacks: list[Any] = [lambda env: tell(name, env.iteration + 1, rounds)]
    if held is not None:
        callbacks.append(lgb.early_stopping(params.patience, verbose=False))
    data = dataset(grown, spec, options)
    valid = None if held is None else [_validation(data, held, grown)]
    loss = None
    if grown.seen is not None:
        options |= {"objective": _Thinning(grown), "metric": "None"}
        loss = _loss(held) if held is not None else None
    booster = lgb.train(
        options, data, num_boost_round=rounds, valid_sets=valid, feval=loss, callbacks=callbacks
    )
    tell(name, rounds, rounds)
    return booster


def lightgbm_params(params: TrainParams, seed: int, rows: int) -> dict[str, Any]:
    """LightGBM's names of our parameters, for so many rows."""
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "verbose": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": params.num_threads,
        "num_leaves": params.num_leaves,
        "learning_rate": params.learning_rate,
        "lambda_l2": params.lambda_l2,
        "min_data_in_leaf": min(params.min_data_in_leaf, max(5, rows // 100)),
        "cat_smooth": params.cat_smooth,
        "cat_l2": params.cat_l2,
        "min_data_per_group": min(params.min_data_per_group, max(5, rows // 100)),
        "feature_fraction": params.feature_fraction,
        "bagging_fraction": params.bagging_fraction,
        "bagging_freq": 1,
    }


def dataset(sample: Sample, spec: FeatureSpec, options: dict[str, Any]) -> lgb.Dataset:
    """LightGBM's form of a sample."""
    categorical = [place for place, feature in enumerate(spec.features) if feature.kind == "categorical"]
    return lgb.Dataset(
        sample.x,
        sample.y,
        weight=sample.weight if sample.seen is None else None,
        init_score=None if sample.seen is None else np.full(len(sample), _start(sample)),
        # LightGBM forbids `:` in names, and the spec has the real ones.
        feature_name=[f"f{place}" for place in range(len(spec))],
        categorical_feature=categorical,
        params=options,
        free_raw_data=False,
    )


def _validation(data: lgb.Dataset, held: Sample, grown: Sample) -> lgb.Dataset:
    if held.seen is None:
        return data.create_valid(held.x, held.y, weight=held.weight)
    return data.create_valid(held.x, held.y, init_score=np.full(len(held), _start(grown)))


def _start(sample: Sample) -> float:
    """Log odds of the mean: positives over rows as far as they are complete."""
    mean = float((sample.weights * sample.y).sum() / sample.exposure.sum())
    mean = min(max(mean, 1e-6), 1 - 1e-6)
    return float(np.log(mean / (1 - mean)))


class _Thinning:
    """Gradient and expected Hessian of labels so far; a class, because LightGBM copies its parameters."""

    def __init__(self, sample: Sample) -> None:
        assert sample.seen is not None
        self._y, self._seen, self._weight = sample.y, sample.seen, sample.weights

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Thinning":
        return self

    def __call__(self, raw: Floats, _data: lgb.Dataset) -> tuple[Floats, Floats]:
        p, f = sigmoid(raw), self._seen
        rest = 1.0 - p * f
        gradient = np.where(self._y > 0, p - 1.0, p * f * (1.0 - p) / rest)
        return self._weight * gradient, self._weight * f * p * (1.0 - p) ** 2 / rest


def _loss(held: Sample) -> Callable[[Floats, lgb.Dataset], tuple[str, float, bool]]:
    """Log loss of what is known by now, on the held-out rows."""
    assert held.seen is not None
    y, seen, weight = held.y, held.seen, held.weights

    def loss(raw: Floats, _data: lgb.Dataset) -> tuple[str, float, bool]:
        p = sigmoid(raw) * seen
        return "loss", float(-(weight * np.where(y > 0, np.log(p), np.log1p(-p))).sum() / weight.sum()), False

    return loss


def _shift(booster: lgb.Booster, by: float) -> None:
    """Adds to every raw score, by way of the first tree."""
    if by:
        for leaf in range(booster.dump_model(num_iteration=1)["tree_info"][0]["num_leaves"]):
            booster.set_leaf_output(0, leaf, booster.get_leaf_output(0, leaf) + by)


def _prior_text(sample: Sample, spec: FeatureSpec) -> str:
    """A LightGBM model of one leaf; two rows with the smoothed counts as weights make it."""
    positives = float((sample.weights * sample.y).sum()) + PRIOR_POSITIVES
    rows = max(float(sample.exposure.sum()), float((sample.weights * sample.y).sum())) + PRIOR_ROWS
    params = {"objective": "binary", "verbose": -1, "num_leaves": 2, "min_data_in_leaf": 2, "num_threads": 1}
    data = lgb.Dataset(
        np.zeros((2, len(spec))),
        np.array([1.0, 0.0]),
        weight=np.array([positives, rows - positives]),
        feature_name=[f"f{place}" for place in range(len(spec))],
        params={**params, "feature_pre_filter": False},
    )
    return str(lgb.train(params, data, num_boost_round=1).model_to_string())


def fit_table(raw: Floats, sample: Sample) -> CalibrationTable:
    """The calibration of a model on rows that it was not trained on.

    Where labels are not complete, a row without event counts by its share c (see above) of the probability that
    the calibration itself gives it. A few rounds settle that, because c hardly moves with p.
    """
    if sample.seen is None:
        return _fit_calibration(raw, sample.y, sample.weight)
    p, f = sigmoid(raw), sample.seen
    for _ in range(8):
        negative = f * (1.0 - p) / (1.0 - p * f)
        weight = sample.weights * np.where(sample.y > 0, 1.0, negative)
        table = _fit_calibration(raw, sample.y, weight)
        before, p = p, calibrate(table, raw)
        if len(raw) == 0 or float(np.abs(p - before).max()) < 1e-9:
            break
    return table


def _fit_calibration(raw: Floats, y: Floats, weight: Floats | None) -> CalibrationTable:
    return fit_calibration(raw, y) if weight is None else fit_calibration(raw, y, weight)
