"""Which rows teach conversions, with which labels: complete ones, or those so far by the method that was chosen."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import sigmoid
from models.dataset import CONVERSION_TIME, OBSERVED_UNTIL, TrainingTable
from models.errors import TableError
from models.pages.text import counted
from models.reports import DelayReport
from models.schema import FeatureSpec
from models.texts import Texts
from models.training.delay import MIN_DELAYS, Buckets, Clicks, DelayModel, Elapsed, Hazard, clicks_of
from models.training.fit import fit_trees, raw_scores
from models.training.params import TrainParams
from models.training.sample import Sample, conversion_sample

Floats = NDArray[np.float64]
Slices = dict[str, tuple[TrainingTable, Floats]]


class Conversions(msgspec.Struct, frozen=True):
    """Samples of the conversion model by slice, and what was done about delays."""

    samples: dict[str, Sample]
    report: DelayReport


def conversions_of(slices: Slices, spec: FeatureSpec, params: TrainParams, seed: int) -> Conversions:
    """The samples of each slice; delays are learned from the rows to learn from alone.

    Raises:
        TableError: a method was asked for, and the table does not tell the times or lacks the column to part by.
    """
    table = slices["train"][0]
    missing = [name for name in (CONVERSION_TIME, OBSERVED_UNTIL) if name not in table.extras]
    if params.delay == "none" or (params.delay == "auto" and missing):
        return _complete(slices, "" if params.delay == "none" else f"no column {missing[0]}")
    if missing:
        raise TableError(
            f"delay {params.delay!r} needs the columns {CONVERSION_TIME} and {OBSERVED_UNTIL}, "
            f"{table.source} lacks {missing[0]}: export them, or train with delay 'none'"
        )
    if params.delay_by is not None and not isinstance(table.columns.get(params.delay_by), Texts):
        raise TableError(f"delay_by must be a declared categorical column, was {params.delay_by!r}")
    found = {part: clicks_of(*slices[part], params.delay_by) for part in slices}
    train = found["train"][0]
    dated = int(train.converted.sum())
    if dated < MIN_DELAYS:
        return _complete(
            slices, f"{counted(dated, 'dated conversion')}, {MIN_DELAYS} are needed to learn delays"
        )
    model = _model(train, spec, params, seed)
    curve = model.curve
    report = DelayReport(
        method=model.method,
        horizon_ns=curve.horizon_ns,
        median_ns=curve.quantile_ns(0.5),
        conversions=dated,
        groups=len(model.curves) if isinstance(model, Elapsed) else 0,
        undated=sum(undated for _, undated in found.values()),
    )
    return Conversions({part: model.sample(clicks) for part, (clicks, _) in found.items()}, report)


def _complete(slices: Slices, why: str) -> Conversions:
    samples = {part: conversion_sample(*slices[part]) for part in slices}
    return Conversions(samples, DelayReport(method="none", why=why))


def _model(train: Clicks, spec: FeatureSpec, params: TrainParams, seed: int) -> DelayModel:
    if params.delay != "buckets":
        return Elapsed(train)

    def fit(sample: Sample) -> Hazard:
        text = fit_trees("bucket", sample, spec, params, seed, lambda _stage, _done, _total: None).text
        return lambda x: sigmoid(raw_scores(text, x))

    return Buckets(train, fit)
