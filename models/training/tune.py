"""A search for better parameters, with optuna; an extra, offline.

Each trial grows trees on the training rows and is judged by the log loss of the calibrated model on the
calibration rows: the first half of them fits the calibration of the trial, the second half is judged. The test
rows are never looked at. The search begins with the parameters it was given, so that it can only find better
ones; the sampler is seeded and runs one trial at a time, so that it finds the same again.
"""

from typing import Any

import msgspec
import numpy as np

from models.calibration import calibrate
from models.errors import TableError
from models.evaluate import evaluate
from models.pages.text import counted
from models.reports import TuningReport
from models.schema import FeatureSpec
from models.training.fit import Progress, fit_table, fit_trees
from models.training.params import TrainParams
from models.training.sample import Sample

_WHOLE = {"num_leaves": (4, 31), "min_data_in_leaf": (20, 1000), "min_data_per_group": (50, 2000)}
_WIDE = {
    "learning_rate": (0.01, 0.2),
    "lambda_l2": (0.1, 100.0),
    "cat_smooth": (1.0, 1000.0),
    "cat_l2": (1.0, 500.0),
}
_SHARES = {"feature_fraction": (0.2, 1.0), "bagging_fraction": (0.4, 1.0)}


def tune_params(
    clicks: dict[str, Sample], spec: FeatureSpec, params: TrainParams, seed: int, trials: int, tell: Progress
) -> tuple[TrainParams, TuningReport]:
    """The best parameters of a search, judged by the click model, and what was found.

    Args:
        clicks: samples of the slices. spec: of the features. params: where the search begins.
        seed: of the search and of each training. trials: how many, at least 1. tell: stage `tune`.

    Raises:
        TableError: optuna is not installed, or the rows hold too few clicks to tell parameters apart.
    """
    try:
        import optuna
    except ImportError as error:
        raise TableError(
            "tuning needs optuna, which is not installed: pip install 'clearbid[offline]'"
        ) from error
    judged = clicks["calibration"].rows(slice(len(clicks["calibration"]) // 2, None))
    if not (judged.can_teach and clicks["train"].can_teach):
        raise TableError(
            "tuning needs 20 rows with and 20 without a click in the last half of the calibration rows, "
            f"had {counted(int(judged.y.sum()), 'click')} in {counted(len(judged), 'row')}: give more rows, or train "
            "without --tune"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({name: getattr(params, name) for name in (*_WHOLE, *_WIDE, *_SHARES)})
    losses: list[tuple[float, TrainParams]] = []

    def objective(trial: Any) -> float:
        tried = params if not losses else msgspec.structs.replace(params, **_suggest(trial))
        if not losses:
            _suggest(trial)
        losses.append((_loss(clicks, spec, tried, seed), tried))
        tell("tune", len(losses), trials)
        return losses[-1][0]

    tell("tune", 0, trials)
    study.optimize(objective, n_trials=trials, n_jobs=1)
    loss, best = min(losses, key=lambda found: found[0])
    changed = {
        name: value for name, value in msgspec.structs.asdict(best).items() if value != getattr(params, name)
    }
    return best, TuningReport(
        model="ctr", trials=trials, log_loss_default=losses[0][0], log_loss_best=loss, found=changed
    )


def _suggest(trial: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: trial.suggest_int(name, *bounds, log=True) for name, bounds in _WHOLE.items()
    }
    found |= {name: trial.suggest_float(name, *bounds, log=True) for name, bounds in _WIDE.items()}
    return found | {name: trial.suggest_float(name, *bounds) for name, bounds in _SHARES.items()}


def _loss(clicks: dict[str, Sample], spec: FeatureSpec, params: TrainParams, seed: int) -> float:
    fitted = fit_trees("ctr", clicks["train"], spec, params, seed, lambda _stage, _done, _total: None)
    held = clicks["calibration"]
    cut = len(held) // 2
    first, second = held.rows(slice(None, cut)), held.rows(slice(cut, None))
    p = calibrate(fit_table(fitted.raw(first.x), first), fitted.raw(second.x))
    found = evaluate(second.y, p) if second.weight is None else evaluate(second.y, p, second.weight)
    return float(np.inf) if found.log_loss is None else found.log_loss
