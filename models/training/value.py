"""What a conversion is worth: many are worth nothing, a few a great deal.

Two ways to meet the zeros. `gamma` and `lognormal` learn the value where there is one (a gamma likelihood with log
link; squares of the log of the value, whose mean is put right by one factor, Duan's smearing) and multiply it
with P(value > 0), a click-like model of its own. `tweedie` (power 1.5) has the zeros in its law and needs one
model. Which is best depends on the tail, so `auto` grows all three on the first 85 % of the rows and keeps the one
with the least Tweedie deviance on the rest: a measure that is least at the true mean whatever the law.

The last step makes the sum right: the scale is set so that predicted and actual values of the calibration rows
agree, drawn towards the scale of the training rows by as much as 50 rows weigh.
"""

from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np
from numpy.typing import NDArray

from models.dataset import TrainingTable
from models.reports import ValueReport
from models.schema import FeatureSpec
from models.training.fit import (
    GROWN_SHARE,
    Progress,
    dataset,
    fit_table,
    fit_trees,
    lightgbm_params,
    raw_scores,
)
from models.training.params import TrainParams
from models.training.sample import Sample, weight_of
from models.value import ValueModel, ValueTable

Floats = NDArray[np.float64]

MIN_VALUES = 100
"""Fewest values above zero to grow trees on; below, the mean is all that is learned."""
POWER = 1.5
SHRINK_ROWS = 50.0
_OBJECTIVES: dict[str, dict[str, Any]] = {
    "gamma": {"objective": "gamma", "metric": "gamma"},
    "tweedie": {"objective": "tweedie", "tweedie_variance_power": POWER, "metric": "tweedie"},
    "lognormal": {"objective": "regression", "metric": "l2"},
}


class Values(msgspec.Struct, frozen=True):
    """Converted rows with a value: x float64[N, F], value float64[N] nanos, weight float64[N]."""

    x: Floats
    value: Floats
    weight: Floats

    def rows(self, which: slice | NDArray[np.bool_]) -> "Values":
        """Some of the rows."""
        return Values(self.x[which], self.value[which], self.weight[which])

    @property
    def total(self) -> float:
        """Weighted sum of the values."""
        return float((self.weight * self.value).sum())

    @property
    def mean(self) -> float:
        """Weighted mean of the values."""
        return self.total / float(self.weight.sum())


def values_of(table: TrainingTable, x: Floats) -> Values:
    """The clicked and converted rows whose value is known."""
    value = np.asarray(table.extras["value_nanos"], dtype=np.float64)
    weight = weight_of(table)
    found = Values(x, value, np.ones(len(table)) if weight is None else weight)
    return found.rows((table.click > 0) & (table.conversion == 1.0) & ~np.isnan(value))


def fit_value(
    slices: dict[str, Values], spec: FeatureSpec, params: TrainParams, seed: int, tell: Progress
) -> tuple[ValueModel, ValueReport] | None:
    """The model of value and its report, or None where no conversion to learn from has a value above zero."""
    train = slices["train"]
    above = int((train.value > 0).sum())
    if params.value_model == "none" or above == 0:
        return None
    kind, booster = _choose(train, spec, params, seed, tell) if above >= MIN_VALUES else ("prior", None)
    rounds = 1 if booster is None else booster.current_iteration()
    text = _constant_text(spec) if booster is None else str(booster.model_to_string())
    positive_text, positive = None, None
    if kind not in {"tweedie", "prior"} and above < len(train.value):
        fitted = fit_trees("value", _is_above(train), spec, params, seed, tell)
        positive_text = fitted.text
        rows = slices["calibration"] if len(slices["calibration"].value) else train
        positive = fit_table(fitted.raw(rows.x), _is_above(rows))
    table = ValueTable(kind=kind, scale_nanos=1.0, positive=positive)  # type: ignore[arg-type]  # one of its names
    scale = _scale(ValueModel(text, positive_text, table), train, slices["calibration"])
    model = ValueModel(text, positive_text, msgspec.structs.replace(table, scale_nanos=scale))
    tell("value", 1, 1)
    return model, _report(model, rounds, train, slices["test"])


def _is_above(rows: Values) -> Sample:
    return Sample(rows.x, (rows.value > 0).astype(np.float64), rows.weight)


def _choose(
    train: Values, spec: FeatureSpec, params: TrainParams, seed: int, tell: Progress
) -> tuple[str, lgb.Booster]:
    """The kind asked for, or the one with the least deviance on held-out rows, and its trees."""
    cut = int(len(train.value) * GROWN_SHARE)
    grown, held = train.rows(slice(None, cut)), train.rows(slice(cut, None))
    asked = tuple(_OBJECTIVES) if params.value_model == "auto" else (params.value_model,)
    found: dict[str, tuple[float, lgb.Booster]] = {}
    for place, kind in enumerate(asked):
        tell("value", place, len(asked))
        booster = _grow(kind, grown, held, spec, params, seed)
        guess = np.exp(raw_scores(booster.model_to_string(), train.x))
        if kind != "tweedie":
            guess = guess * _share_above(grown)
        guess = guess * (grown.total / float((grown.weight * guess[:cut]).sum()))
        found[kind] = (deviance(held.value, guess[cut:], held.weight), booster)
    best = min(found, key=lambda kind: (found[kind][0], kind))
    return best, found[best][1]


def _share_above(rows: Values) -> float:
    return float((rows.weight * (rows.value > 0)).sum() / rows.weight.sum())


def _grow(
    kind: str, grown: Values, held: Values, spec: FeatureSpec, params: TrainParams, seed: int
) -> lgb.Booster:
    """Trees that stop when the held-out rows gain no more; values are in units of their mean."""
    unit = grown.mean
    learn, stop = (_target(kind, rows, unit) for rows in (grown, held))
    # A leaf must not chase the few largest values: rows of value are few, and their law has a long tail.
    options = {**lightgbm_params(params, seed, len(learn)), **_OBJECTIVES[kind]}
    data = dataset(learn, spec, options)
    if len(stop) == 0:
        return lgb.train(options, data, num_boost_round=params.fixed_rounds)
    booster = lgb.train(
        options,
        data,
        num_boost_round=params.max_rounds,
        valid_sets=[data.create_valid(stop.x, stop.y, weight=stop.weight)],
        callbacks=[lgb.early_stopping(params.patience, verbose=False)],
    )
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))


def _target(kind: str, rows: Values, unit: float) -> Sample:
    if kind == "tweedie":
        return Sample(rows.x, rows.value / unit, rows.weight)
    rows = rows.rows(rows.value > 0)
    y = rows.value / unit
    return Sample(rows.x, np.log(y) if kind == "lognormal" else y, rows.weight)


def _constant_text(spec: FeatureSpec) -> str:
    """A model whose sum is 0 for every row: one leaf."""
    params = {
        "objective": "regression",
        "verbose": -1,
        "num_leaves": 2,
        "min_data_in_leaf": 2,
        "num_threads": 1,
    }
    data = lgb.Dataset(
        np.zeros((2, len(spec))),
        np.zeros(2),
        feature_name=[f"f{place}" for place in range(len(spec))],
        params={**params, "feature_pre_filter": False},
    )
    return str(lgb.train(params, data, num_boost_round=1).model_to_string())


def _scale(model: ValueModel, train: Values, calibration: Values) -> float:
    """Actual over predicted value of the calibration rows, drawn towards that of the training rows."""
    base = train.total / float((train.weight * model.nanos(train.x)).sum())
    rows = float(calibration.weight.sum())
    if rows == 0:
        return base
    guess = float((calibration.weight * model.nanos(calibration.x)).sum())
    prior = guess * SHRINK_ROWS / rows
    return (calibration.total + base * prior) / (guess + prior)


def deviance(value: Floats, guess: Floats, weight: Floats) -> float:
    """Mean Tweedie deviance of power 1.5 (Jorgensen 1987): 4 (sqrt v - sqrt g)^2 / sqrt g, weighted."""
    each = 4.0 * (np.sqrt(value) - np.sqrt(guess)) ** 2 / np.sqrt(guess)
    return float((weight * each).sum() / weight.sum()) if len(value) else 0.0


def _report(model: ValueModel, rounds: int, train: Values, test: Values) -> ValueReport:
    ratio, gain = None, None
    if test.total > 0:
        guess = model.nanos(test.x)
        ratio = float((test.weight * guess).sum()) / test.total
        constant = deviance(test.value, np.full(len(test.value), train.mean), test.weight)
        gain = 1.0 - deviance(test.value, guess, test.weight) / constant if constant else None
    return ValueReport(
        kind=model.table.kind,
        rounds=rounds,
        rows=len(train.value),
        zeros=float(np.mean(train.value == 0)),
        mean_nanos=train.mean,
        test_rows=len(test.value),
        ratio=ratio,
        gain=gain,
    )
